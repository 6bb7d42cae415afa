;;! test = "asm"

(module
  (type $t (func (param i32) (result i32)))
  (import "" "f" (func $imported (type $t)))
  (table 10 funcref)
  (func $direct (type $t)
    (return_call $direct (local.get 0)))
  (func (type $t)
    (return_call $imported (local.get 0)))
  (func (param i32 i32) (result i32)
    (return_call_indirect (type $t) (local.get 0) (local.get 1))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   return_call_known User(userextname0) (0) tmp=%r11 %rdi=%rdi %rsi=%rsi
;; 13 bytes of code
;; reloc 0x9: X86CallPcRel4 wasm[0]
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq 0x50(%rdi), %r10
;;   movq 0x58(%rdi), %r8
;;   movq 8(%rdi), %r9
;;   movq %r9, 8(%r8)
;;   movq %rdi, 0x18(%r8)
;;   movq %r8, %rdi
;;   return_call_unknown %r10 (0) tmp=%r11 %rdi=%rdi %rsi=%rsi
;; 34 bytes of code
;; function wasm[2]:
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
;;   movq 0x40(%rdi), %rcx
;;   movq 0x38(%rdi), %rax
;;   movq %rdi, %r8
;;   movq %rdx, %rsi
;;   shlq $0x5, %rsi
;;   leaq (%rax, %rsi), %rax
;;   uninit  %rsi
;;   xorq %rsi, %rsi
;;   cmpq %rcx, %rdx
;;   cmovaeq %rsi, %rax
;;   movl 8(%rax), %esi
;;   movq (%rax), %r10
;;   movq 0x10(%rax), %rdi
;;   movq %r8, %rax
;;   movl 0x64(%rax), %ecx
;;   cmpl %ecx, %esi
;;   jz      label2; j label1
;; block2:
;;   movq %r8, %rbx
;;   cmpq %rbx, %rdi
;;   jnz     label3; j label4
;; block4:
;;   movq %r12, %rsi
;;   jmp     label6
;; block6:
;;   return_call_unknown %r10 (0) tmp=%r11 %rdi=%rdi %rsi=%rsi
;; block1:
;;   uninit  %rsi
;;   xorl %esi, %esi
;;   movq %r8, %rbx
;;   movq %rbx, %rdi
;;   call    User(userextname0)
;;   movq (%rax), %r10
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
;; 160 bytes of code
;; trap 0x46: UndefinedElement
;; trap 0x9e: StackOverflow
;; reloc 0x82: X86CallPcRel4 builtin[resolve_indirect]
