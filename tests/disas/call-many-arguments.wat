;;! test = "asm"

;; Arguments beyond the registers go to the stack; the callee pops them.
(module
  (func $callee (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (i64.add (local.get 0) (local.get 7)))
  (func (param i64) (result i64)
    (call $callee (local.get 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5) (i64.const 6)
      (i64.const 7))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq <offset:0>+-0x10(%rbp), %rdx
;;   leaq (%rsi, %rdx), %rax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq $0x20
;; 19 bytes of code
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x30, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;;   subq $0x20, %rsp
;; block0:
;;   movl $0x1, %edx
;;   movl $0x2, %ecx
;;   movl $0x3, %r8d
;;   movl $0x4, %r9d
;;   movl $0x5, %r10d
;;   movl $0x6, %r11d
;;   movl $0x7, %eax
;;   movq %r10, (%rsp)
;;   movq %r11, 8(%rsp)
;;   movq %rax, 0x10(%rsp)
;;   call    User(userextname0)
;;   addq $0x20, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 94 bytes of code
;; trap 0x5c: StackOverflow
;; reloc 0x4b: X86CallPcRel4 wasm[0]
