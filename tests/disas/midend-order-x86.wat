;;! test = "asm"

;; Each sum is needed only by the stores at the end, but takes two values and leaves one: behind the optimiser it is
;; computed where it stands here, so no load waits in a register for its partner's.
(module
  (memory 1)
  (func (param i32)
    (local i32 i32 i32)
    (local.set 1 (i32.xor (i32.load (local.get 0)) (i32.load offset=4 (local.get 0))))
    (local.set 2 (i32.xor (i32.load offset=8 (local.get 0)) (i32.load offset=12 (local.get 0))))
    (local.set 3 (i32.xor (i32.load offset=16 (local.get 0)) (i32.load offset=20 (local.get 0))))
    (i32.store (local.get 0) (local.get 3))
    (i32.store offset=4 (local.get 0) (local.get 2))
    (i32.store offset=8 (local.get 0) (local.get 1))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq 0x38(%rdi), %rax
;;   movl %esi, %ecx
;;   movl (%rax, %rcx), %esi
;;   movl 4(%rax, %rcx), %edx
;;   movl 8(%rax, %rcx), %r8d
;;   movl 0xc(%rax, %rcx), %edi
;;   movl 0x10(%rax, %rcx), %r11d
;;   xorl 0x14(%rax, %rcx), %r11d
;;   movl %r11d, (%rax, %rcx)
;;   xorl %edi, %r8d
;;   movl %r8d, 4(%rax, %rcx)
;;   xorl %edx, %esi
;;   movl %esi, 8(%rax, %rcx)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 59 bytes of code
;; trap 0xb: MemoryOutOfBounds
;; trap 0xf: MemoryOutOfBounds
;; trap 0x14: MemoryOutOfBounds
;; trap 0x19: MemoryOutOfBounds
;; trap 0x1e: MemoryOutOfBounds
;; trap 0x23: MemoryOutOfBounds
;; trap 0x28: MemoryOutOfBounds
;; trap 0x2c: MemoryOutOfBounds
;; trap 0x31: MemoryOutOfBounds
