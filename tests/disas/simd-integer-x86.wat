;;! test = "asm"

(module
  (func (param v128 v128) (result v128)
    (i8x16.add_sat_s (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get 0) (local.get 1)) (local.get 1)))
  (func (param v128 i32) (result v128)
    (i8x16.shl (local.get 0) (local.get 1)))
  (func (param v128 v128) (result v128)
    (i32x4.dot_i16x8_s (local.get 0) (local.get 1)))
  (func (param v128 v128) (result v128)
    (i16x8.q15mulr_sat_s (local.get 0) (local.get 1)))
  (func (param v128) (result v128)
    (i16x8.extadd_pairwise_i8x16_u (local.get 0)))
  (func (param v128 v128) (result v128)
    (i64x2.mul (local.get 0) (i64x2.extmul_high_i32x4_u (local.get 0) (local.get 1))))
  (func (param v128) (result i32)
    (i32.add (i16x8.all_true (local.get 0)) (i16x8.bitmask (local.get 0))))
  (func (param v128 v128) (result v128)
    (i8x16.swizzle (local.get 0) (local.get 1))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   punpcklbw %xmm1, %xmm0
;;   paddsb %xmm1, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 17 bytes of code
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   andq $0x7, %rsi
;;   movd %esi, %xmm5
;;   psllw %xmm5, %xmm0
;;   leaq (%rip), %r9
;;   shlq $0x4, %rsi
;;   movdqu (%r9, %rsi), %xmm1
;;   pand %xmm1, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 176 bytes of code
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   pmaddwd %xmm1, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 13 bytes of code
;; function wasm[3]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   pmulhrsw %xmm1, %xmm0
;;   movdqa %xmm0, %xmm5
;;   pcmpeqw (%rip), %xmm5
;;   pxor %xmm5, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 48 bytes of code
;; function wasm[4]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   pmaddubsw (%rip), %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 48 bytes of code
;; function wasm[5]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   pshufd $0xfa, %xmm0, %xmm5
;;   pshufd $0xfa, %xmm1, %xmm2
;;   pmuludq %xmm2, %xmm5
;;   movdqa %xmm0, %xmm2
;;   psrlq $0x20, %xmm2
;;   pmuludq %xmm5, %xmm2
;;   movdqa %xmm5, %xmm4
;;   psrlq $0x20, %xmm4
;;   movdqa %xmm0, %xmm3
;;   pmuludq %xmm4, %xmm3
;;   paddq %xmm3, %xmm2
;;   psllq $0x20, %xmm2
;;   pmuludq %xmm5, %xmm0
;;   paddq %xmm2, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 70 bytes of code
;; function wasm[6]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   uninit  %xmm1
;;   pxor %xmm1, %xmm1
;;   movdqa %xmm0, %xmm2
;;   pcmpeqw %xmm1, %xmm2
;;   ptest %xmm2, %xmm2
;;   sete %al
;;   movzbl %al, %r11d
;;   packsswb %xmm0, %xmm0
;;   pmovmskb %xmm0, %eax
;;   shrq $0x8, %rax
;;   leal (%r11, %rax), %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 48 bytes of code
;; function wasm[7]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   paddusb (%rip), %xmm1
;;   pshufb %xmm1, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 48 bytes of code
