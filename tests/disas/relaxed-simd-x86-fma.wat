;;! test = "asm"
;;! isa = ["has_avx", "has_fma"]

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
;;   vfmadd213ps %xmm2, %xmm1, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 14 bytes of code
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   vfnmadd213pd %xmm2, %xmm1, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 14 bytes of code
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   vpmovsxbw %xmm0, %xmm3
;;   vpmovsxbw %xmm1, %xmm4
;;   vpmullw %xmm4, %xmm3, %xmm3
;;   vpalignr $0x8, %xmm0, %xmm0, %xmm0
;;   vpmovsxbw %xmm0, %xmm0
;;   vpalignr $0x8, %xmm1, %xmm1, %xmm1
;;   vpmovsxbw %xmm1, %xmm1
;;   vpmullw %xmm1, %xmm0, %xmm0
;;   vpmaddwd (%rip), %xmm3, %xmm1
;;   vpmaddwd (%rip), %xmm0, %xmm0
;;   vphaddd %xmm0, %xmm1, %xmm0
;;   vpaddd %xmm2, %xmm0, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 112 bytes of code
;; function wasm[3]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   vpand %xmm2, %xmm0, %xmm4
;;   vpandn %xmm1, %xmm2, %xmm6
;;   vpor %xmm4, %xmm6, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 21 bytes of code
