;;! test = "asm"

;; A function that calls compares the stack pointer with the limit; one that does not has no check.
(module
  (func $leaf (param i32) (result i32)
    (i32.add (local.get 0) (i32.const 1)))
  (func (param i32) (result i32)
    (call $leaf (call $leaf (local.get 0)))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   leal 1(%rsi), %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 12 bytes of code
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x20, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;;   subq $0x10, %rsp
;;   movq %r12, (%rsp)
;; block0:
;;   movq %rdi, %r12
;;   call    User(userextname0)
;;   movq %rax, %rsi
;;   movq %r12, %rdi
;;   call    User(userextname0)
;;   movq (%rsp), %r12
;;   addq $0x10, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 59 bytes of code
;; trap 0x39: StackOverflow
;; reloc 0x1d: X86CallPcRel4 wasm[0]
;; reloc 0x28: X86CallPcRel4 wasm[0]
