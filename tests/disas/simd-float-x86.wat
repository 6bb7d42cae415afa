;;! test = "asm"

(module
  (func (param v128 v128) (result v128)
    (f32x4.pmin (local.get 0) (local.get 1)))
  (func (param v128 v128) (result v128)
    (f64x2.pmax (local.get 0) (local.get 1)))
  (func (param v128 v128) (result v128)
    (f32x4.min (local.get 0) (local.get 1)))
  (func (param v128) (result v128)
    (i32x4.trunc_sat_f64x2_s_zero (local.get 0)))
  (func (param v128) (result v128)
    (i32x4.trunc_sat_f64x2_u_zero (local.get 0)))
  (func (param v128) (result v128)
    (f64x2.convert_low_i32x4_u (f32x4.demote_f64x2_zero (local.get 0)))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movdqa %xmm0, %xmm4
;;   movdqa %xmm1, %xmm0
;;   minps %xmm4, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 20 bytes of code
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movdqa %xmm0, %xmm4
;;   movdqa %xmm1, %xmm0
;;   maxpd %xmm4, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 21 bytes of code
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movdqa %xmm0, %xmm7
;;   minps %xmm1, %xmm7
;;   minps %xmm0, %xmm1
;;   orps %xmm1, %xmm7
;;   movdqa %xmm7, %xmm0
;;   cmpunordps %xmm1, %xmm0
;;   orps %xmm0, %xmm7
;;   psrld $0xa, %xmm0
;;   andnps %xmm7, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 41 bytes of code
;; function wasm[3]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movdqa %xmm0, %xmm3
;;   cmpeqpd %xmm0, %xmm3
;;   andps (%rip), %xmm3
;;   minpd %xmm3, %xmm0
;;   cvttpd2dq %xmm0, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 64 bytes of code
;; function wasm[4]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   uninit  %xmm3
;;   xorpd %xmm3, %xmm3
;;   maxpd %xmm3, %xmm0
;;   minpd (%rip), %xmm0
;;   roundpd $0x3, %xmm0, %xmm0
;;   addpd (%rip), %xmm0
;;   shufps $0x88, %xmm3, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 80 bytes of code
;; function wasm[5]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   cvtpd2ps %xmm0, %xmm0
;;   unpcklps (%rip), %xmm0
;;   subpd (%rip), %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 64 bytes of code
