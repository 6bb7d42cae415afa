;;! test = "asm"

;; Results in registers, and more results than registers: a pointer to their place comes first.
(module
  (func $swap (param i32 i64) (result i64 i32)
    (local.get 1) (local.get 0))
  (func $ten (result i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
    (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
    (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9))
  (func (result i64)
    (call $ten)
    (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop)))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq %rdx, %rax
;;   movq %rsi, %rcx
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 15 bytes of code
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   subq $0x20, %rsp
;;   movq %rbx, (%rsp)
;;   movq %r12, 8(%rsp)
;;   movq %r13, 0x10(%rsp)
;; block0:
;;   movq %rdi, %r13
;;   uninit  %rax
;;   xorq %rax, %rax
;;   movl $0x1, %ecx
;;   movl $0x2, %edx
;;   movl $0x3, %esi
;;   movl $0x4, %edi
;;   movl $0x5, %r8d
;;   movl $0x6, %r9d
;;   movl $0x7, %r10d
;;   movl $0x8, %r11d
;;   movl $0x9, %r12d
;;   movq %r13, %rbx
;;   movq %r11, (%rbx)
;;   movq %r12, 8(%rbx)
;;   movq (%rsp), %rbx
;;   movq 8(%rsp), %r12
;;   movq 0x10(%rsp), %r13
;;   addq $0x20, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 111 bytes of code
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x30, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;;   subq $0x20, %rsp
;;   movq %r12, 0x10(%rsp)
;;   movq %r13, 0x18(%rsp)
;; block0:
;;   movq %rdi, %rsi
;;   leaq (%rsp), %rdi
;;   call    User(userextname0)
;;   movq 0x10(%rsp), %r12
;;   movq 0x18(%rsp), %r13
;;   addq $0x20, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 73 bytes of code
;; trap 0x47: StackOverflow
;; reloc 0x27: X86CallPcRel4 wasm[1]
