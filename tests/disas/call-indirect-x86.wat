;;! test = "asm"

(module
  (type $t (func (param i32) (result i32)))
  (table 10 20 funcref)
  (func (param i32 i32) (result i32)
    (call_indirect (type $t) (local.get 0) (local.get 1))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x20, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;;   subq $0x10, %rsp
;;   movq %rbx, (%rsp)
;;   movq %r12, 8(%rsp)
;; block0:
;;   movq %rsi, %rbx
;;   movl %edx, %edx
;;   movq 0x40(%rdi), %rax
;;   movq 0x38(%rdi), %rcx
;;   movq %rdx, %rsi
;;   shlq $0x5, %rsi
;;   leaq (%rcx, %rsi), %rcx
;;   uninit  %rsi
;;   xorq %rsi, %rsi
;;   cmpq %rax, %rdx
;;   cmovaeq %rsi, %rcx
;;   movl 8(%rcx), %esi
;;   movq (%rcx), %rax
;;   movl 0x54(%rdi), %ecx
;;   movq %rdi, %r12
;;   cmpl %ecx, %esi
;;   jnz     label2; j label1
;; block1:
;;   movq %rbx, %rsi
;;   movq %r12, %rdi
;;   jmp     label3
;; block3:
;;   call    *%rax
;;   movq (%rsp), %rbx
;;   movq 8(%rsp), %r12
;;   addq $0x10, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block2:
;;   uninit  %rsi
;;   xorl %esi, %esi
;;   movq %r12, %rdi
;;   call    User(userextname0)
;;   movq (%rax), %rax
;;   movq %rbx, %rsi
;;   movq %r12, %rdi
;;   jmp     label3
;; 128 bytes of code
;; trap 0x3f: UndefinedElement
;; trap 0x7e: StackOverflow
;; reloc 0x6f: X86CallPcRel4 builtin[resolve_indirect]
