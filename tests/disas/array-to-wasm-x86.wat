;;! test = "asm"
;;! show = ["array_to_wasm"]

(module
  (func (export "f") (param i32 i64) (result i64)
    unreachable))
;; function array_to_wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   subq $0x60, %rsp
;;   movq %rbx, 0x30(%rsp)
;;   movq %r12, 0x38(%rsp)
;;   movq %r13, 0x40(%rsp)
;;   movq %r14, 0x48(%rsp)
;;   movq %r15, 0x50(%rsp)
;; block0:
;;   movq %rsi, %rax
;;   movq 0x10(%rdi), %r8
;;   movq (%r8), %rcx
;;   movq %rcx, <offset:1>+0x18(%rsp)
;;   movq 8(%r8), %rcx
;;   movq %rcx, <offset:1>+0x10(%rsp)
;;   movq 0x10(%r8), %rcx
;;   movq %rcx, <offset:1>+8(%rsp)
;;   jmp     label1
;; block1:
;;   movq    %rsp, %rcx
;;   movq %rcx, (%r8)
;;   movq    %rbp, %rcx
;;   movq %rcx, 8(%r8)
;;   label_address %rcx, MachLabel(3)
;;   movq %rcx, 0x10(%r8)
;;   movq %r8, <offset:1>+0x20(%rsp)
;;   movl (%rdx), %esi
;;   movq %rdx, %rcx
;;   movq 0x10(%rcx), %rdx
;;   movq %rcx, <offset:1>+(%rsp)
;;   call    *%rax; jmp MachLabel(2); catch [default: MachLabel(3)]
;; block2:
;;   movq <offset:1>+(%rsp), %rdx
;;   movq %rax, (%rdx)
;;   movq <offset:1>+0x18(%rsp), %rax
;;   movq <offset:1>+0x20(%rsp), %r8
;;   movq %rax, (%r8)
;;   movq <offset:1>+0x10(%rsp), %rdx
;;   movq %rdx, 8(%r8)
;;   movq <offset:1>+8(%rsp), %rcx
;;   movq %rcx, 0x10(%r8)
;;   movl $0x1, %eax
;;   movq 0x30(%rsp), %rbx
;;   movq 0x38(%rsp), %r12
;;   movq 0x40(%rsp), %r13
;;   movq 0x48(%rsp), %r14
;;   movq 0x50(%rsp), %r15
;;   addq $0x60, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block3:
;;   movq <offset:1>+0x18(%rsp), %rax
;;   movq <offset:1>+8(%rsp), %rcx
;;   movq <offset:1>+0x10(%rsp), %rdx
;;   movq <offset:1>+0x20(%rsp), %r8
;;   movq %rax, (%r8)
;;   movq %rdx, 8(%r8)
;;   movq %rcx, 0x10(%r8)
;;   uninit  %rax
;;   xorq %rax, %rax
;;   movq 0x30(%rsp), %rbx
;;   movq 0x38(%rsp), %r12
;;   movq 0x40(%rsp), %r13
;;   movq 0x48(%rsp), %r14
;;   movq 0x50(%rsp), %r15
;;   addq $0x60, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 255 bytes of code
;; handlers 0x6e: context at None of fp-0x60
;;   any -> 0xbb
