;;! test = "asm"
;;! flags = ["memory-reservation=0"]

(module
  (memory 1)
  (func (param i32) (result i32)
    (i32.load offset=4 (local.get 0))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq 0x40(%rdi), %r8
;;   movq 0x38(%rdi), %r11
;;   movl %esi, %eax
;;   subq $0x8, %r8
;;   uninit  %rcx
;;   xorq %rcx, %rcx
;;   leaq 4(%r11, %rax), %r10
;;   cmpq %r8, %rax
;;   cmovaq %rcx, %r10
;;   movl (%r10), %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 42 bytes of code
;; trap 0x22: MemoryOutOfBounds
