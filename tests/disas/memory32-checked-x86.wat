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
;;   movl %esi, %r11d
;;   movq 0x40(%rdi), %r10
;;   subq $0x8, %r10
;;   movq 0x38(%rdi), %rax
;;   leaq 4(%rax, %r11), %r8
;;   uninit  %rax
;;   xorq %rax, %rax
;;   cmpq %r10, %r11
;;   cmovaq %rax, %r8
;;   movl (%r8), %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 42 bytes of code
;; trap 0x22: MemoryOutOfBounds
