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
;;   movl %esi, %r10d
;;   movq 0x38(%rdi), %r11
;;   movl (%r11, %r10), %r9d
;;   xorl 4(%r11, %r10), %r9d
;;   movl 8(%r11, %r10), %eax
;;   xorl 0xc(%r11, %r10), %eax
;;   movl 0x10(%r11, %r10), %ecx
;;   xorl 0x14(%r11, %r10), %ecx
;;   movl %ecx, (%r11, %r10)
;;   movl %eax, 4(%r11, %r10)
;;   movl %r9d, 8(%r11, %r10)
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
