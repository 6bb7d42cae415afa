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
;;   movl 8(%rcx), %eax
;;   movq (%rcx), %r10
;;   movl 0x64(%rdi), %ecx
;;   movq %rdi, %r12
;;   cmpl %ecx, %eax
;;   jnz     label2; j label1
;; block1:
;;   movq %rbx, %rsi
;;   movq %r12, %rdi
;;   jmp     label3
;; block3:
;;   return_call_unknown %r10 (0) tmp=%r11 %rdi=%rdi %rsi=%rsi
;; block2:
;;   uninit  %rsi
;;   xorl %esi, %esi
;;   movq %r12, %rdi
;;   call    User(userextname0)
;;   movq (%rax), %r10
;;   movq %rbx, %rsi
;;   movq %r12, %rdi
;;   jmp     label3
;; 128 bytes of code
;; trap 0x3f: UndefinedElement
;; trap 0x7e: StackOverflow
;; reloc 0x6f: X86CallPcRel4 builtin[resolve_indirect]
