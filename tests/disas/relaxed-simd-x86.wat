;;! test = "asm"
;; Without fused multiply-add: two roundings, no library call.
(module
  (func (param v128 v128 v128) (result v128)
    (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))
  (func (param v128 v128 v128) (result v128)
    (f64x2.relaxed_nmadd (local.get 0) (local.get 1) (local.get 2)))
  (func (param v128 v128 v128) (result v128)
    (i32x4.relaxed_dot_i8x16_i7x16_add_s (local.get 0) (local.get 1) (local.get 2)))
  (func (param v128 v128 v128) (result v128)
    (i16x8.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   mulps %xmm1, %xmm0
;;   addps %xmm2, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 15 bytes of code
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   uninit  %xmm3
;;   pcmpeqd %xmm3, %xmm3
;;   psllq $0x3f, %xmm3
;;   xorpd %xmm3, %xmm0
;;   mulpd %xmm1, %xmm0
;;   addpd %xmm2, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 30 bytes of code
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   pmovsxbw %xmm0, %xmm4
;;   pmovsxbw %xmm1, %xmm3
;;   pmullw %xmm3, %xmm4
;;   palignr $0x8, %xmm0, %xmm0
;;   pmovsxbw %xmm0, %xmm3
;;   palignr $0x8, %xmm1, %xmm1
;;   pmovsxbw %xmm1, %xmm0
;;   pmullw %xmm0, %xmm3
;;   movdqa %xmm4, %xmm0
;;   pmaddwd (%rip), %xmm0
;;   pmaddwd (%rip), %xmm3
;;   phaddd %xmm3, %xmm0
;;   paddd %xmm2, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 112 bytes of code
;; function wasm[3]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   pand %xmm2, %xmm0
;;   movdqa %xmm0, %xmm7
;;   pandn %xmm1, %xmm2
;;   movdqa %xmm7, %xmm1
;;   movdqa %xmm2, %xmm0
;;   por %xmm1, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 33 bytes of code
