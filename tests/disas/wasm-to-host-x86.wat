;;! test = "asm"
;;! show = ["wasm_to_host"]

(module
  (import "" "f" (func (param i32 i64) (result i64))))
;; function wasm_to_host[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x40, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;;   subq $0x30, %rsp
;;   movq %rbx, 0x20(%rsp)
;; block0:
;;   movq %rdx, %r8
;;   movq 0x10(%rdi), %rax
;;   movq    %rbp, %rcx
;;   movq (%rcx), %rcx
;;   movq    %rbp, %rdx
;;   movq 8(%rdx), %rdx
;;   movq %rdx, 0x18(%rax)
;;   movq %rcx, 0x20(%rax)
;;   leaq <offset:1>+(%rsp), %rdx
;;   movl %esi, <offset:1>+(%rsp)
;;   movq %r8, %rax
;;   movq %rax, <offset:1>+0x10(%rsp)
;;   movq 0x18(%rdi), %rsi
;;   movq 0x38(%rdi), %rax
;;   movq %rdi, %rbx
;;   call    *%rax
;;   testq %rax, %rax
;;   jz      label2; j label1
;; block1:
;;   movq <offset:1>+(%rsp), %rax
;;   movq 0x20(%rsp), %rbx
;;   addq $0x30, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block2:
;;   movq %rbx, %rdi
;;   movq 0x20(%rdi), %rax
;;   movq 0xd0(%rax), %rax
;;   call    *%rax
;;   ud2
;; 125 bytes of code
;; trap 0x79: Unreachable
;; trap 0x7b: StackOverflow
