;;! test = "asm"

;; A pc-relative call; one context, passed on as it is.
(module
  (func $callee (param i32 i64 f32) (result i32)
    (local.get 0))
  (func (param i64) (result i32)
    (call $callee (i32.const 7) (local.get 0) (f32.const 1.5))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq %rsi, %rax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 12 bytes of code
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x10, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;; block0:
;;   movq %rsi, %rdx
;;   movl $0x7, %esi
;;   movl $0x3fc00000, %r8d
;;   movd %r8d, %xmm0
;;   call    User(userextname0)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 48 bytes of code
;; trap 0x2e: StackOverflow
;; reloc 0x25: X86CallPcRel4 wasm[0]
