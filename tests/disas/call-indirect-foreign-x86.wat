;;! test = "asm"

(module
  (type $t (func (param i32) (result i32)))
  (table (export "table") 10 20 funcref)
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
;;   movq %rsi, %r12
;;   movl %edx, %edx
;;   movq 0x40(%rdi), %rax
;;   movq 0x38(%rdi), %rcx
;;   movq %rdi, %r9
;;   movq %rdx, %rsi
;;   shlq $0x5, %rsi
;;   leaq (%rcx, %rsi), %rcx
;;   uninit  %rsi
;;   xorq %rsi, %rsi
;;   cmpq %rax, %rdx
;;   cmovaeq %rsi, %rcx
;;   movl 8(%rcx), %esi
;;   movq (%rcx), %r8
;;   movq 0x10(%rcx), %rdi
;;   movq %r9, %rax
;;   movl 0x54(%rax), %ecx
;;   cmpl %ecx, %esi
;;   jz      label2; j label1
;; block2:
;;   movq %r9, %rbx
;;   cmpq %rbx, %rdi
;;   jnz     label3; j label4
;; block4:
;;   movq %r12, %rsi
;;   jmp     label6
;; block6:
;;   call    *%r8
;;   movq (%rsp), %rbx
;;   movq 8(%rsp), %r12
;;   addq $0x10, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block1:
;;   uninit  %rsi
;;   xorl %esi, %esi
;;   movq %r9, %rbx
;;   movq %rbx, %rdi
;;   call    User(userextname0)
;;   movq (%rax), %r8
;;   movq 0x10(%rax), %rdi
;;   jmp     label5
;; block3:
;;   jmp     label5
;; block5:
;;   movq 8(%rbx), %rax
;;   movq %rax, 8(%rdi)
;;   movq %rbx, 0x18(%rdi)
;;   movq %r12, %rsi
;;   jmp     label6
;; 161 bytes of code
;; trap 0x46: UndefinedElement
;; trap 0x9f: StackOverflow
;; reloc 0x83: X86CallPcRel4 builtin[resolve_indirect]
