;;! test = "asm"

;; The frame's address is computed once, where enough accesses in other blocks need it: they have one register instead of
;; two. The second function has one access less.
(module
  (memory 1)
  (func (param i32 i32)
    (i32.store (local.get 0) (local.get 1))
    (if (local.get 1) (then
      (i32.store offset=4 (local.get 0) (local.get 1))
      (i32.store offset=8 (local.get 0) (local.get 1))
      (i32.store offset=12 (local.get 0) (local.get 1))
      (i32.store offset=16 (local.get 0) (local.get 1))
      (i32.store offset=20 (local.get 0) (local.get 1))
      (i32.store offset=24 (local.get 0) (local.get 1))
      (i32.store offset=28 (local.get 0) (local.get 1))
      (i32.store offset=32 (local.get 0) (local.get 1))
      (i32.store offset=36 (local.get 0) (local.get 1))
      (i32.store offset=40 (local.get 0) (local.get 1))
      (i32.store offset=44 (local.get 0) (local.get 1))
      (i32.store offset=48 (local.get 0) (local.get 1))
      (i32.store offset=52 (local.get 0) (local.get 1))
      (i32.store offset=56 (local.get 0) (local.get 1))
      (i32.store offset=60 (local.get 0) (local.get 1))
      (i32.store offset=64 (local.get 0) (local.get 1))
    )))
  (func (param i32 i32)
    (i32.store (local.get 0) (local.get 1))
    (if (local.get 1) (then
      (i32.store offset=4 (local.get 0) (local.get 1))
      (i32.store offset=8 (local.get 0) (local.get 1))
      (i32.store offset=12 (local.get 0) (local.get 1))
      (i32.store offset=16 (local.get 0) (local.get 1))
      (i32.store offset=20 (local.get 0) (local.get 1))
      (i32.store offset=24 (local.get 0) (local.get 1))
      (i32.store offset=28 (local.get 0) (local.get 1))
      (i32.store offset=32 (local.get 0) (local.get 1))
      (i32.store offset=36 (local.get 0) (local.get 1))
      (i32.store offset=40 (local.get 0) (local.get 1))
      (i32.store offset=44 (local.get 0) (local.get 1))
      (i32.store offset=48 (local.get 0) (local.get 1))
      (i32.store offset=52 (local.get 0) (local.get 1))
      (i32.store offset=56 (local.get 0) (local.get 1))
      (i32.store offset=60 (local.get 0) (local.get 1))
    ))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   leaq (%rdi, %rsi), %rsi
;;   movl %edx, (%rsi)
;;   testl %edx, %edx
;;   jnz     label2; j label1
;; block1:
;;   jmp     label3
;; block2:
;;   movl %edx, 4(%rsi)
;;   movl %edx, 8(%rsi)
;;   movl %edx, 0xc(%rsi)
;;   movl %edx, 0x10(%rsi)
;;   movl %edx, 0x14(%rsi)
;;   movl %edx, 0x18(%rsi)
;;   movl %edx, 0x1c(%rsi)
;;   movl %edx, 0x20(%rsi)
;;   movl %edx, 0x24(%rsi)
;;   movl %edx, 0x28(%rsi)
;;   movl %edx, 0x2c(%rsi)
;;   movl %edx, 0x30(%rsi)
;;   movl %edx, 0x34(%rsi)
;;   movl %edx, 0x38(%rsi)
;;   movl %edx, 0x3c(%rsi)
;;   movl %edx, 0x40(%rsi)
;;   jmp     label3
;; block3:
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 72 bytes of code
;; trap 0xd: MemoryOutOfBounds
;; trap 0x13: MemoryOutOfBounds
;; trap 0x16: MemoryOutOfBounds
;; trap 0x19: MemoryOutOfBounds
;; trap 0x1c: MemoryOutOfBounds
;; trap 0x1f: MemoryOutOfBounds
;; trap 0x22: MemoryOutOfBounds
;; trap 0x25: MemoryOutOfBounds
;; trap 0x28: MemoryOutOfBounds
;; trap 0x2b: MemoryOutOfBounds
;; trap 0x2e: MemoryOutOfBounds
;; trap 0x31: MemoryOutOfBounds
;; trap 0x34: MemoryOutOfBounds
;; trap 0x37: MemoryOutOfBounds
;; trap 0x3a: MemoryOutOfBounds
;; trap 0x3d: MemoryOutOfBounds
;; trap 0x40: MemoryOutOfBounds
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   movl %edx, (%rdi, %rsi)
;;   testl %edx, %edx
;;   jnz     label2; j label1
;; block1:
;;   jmp     label3
;; block2:
;;   movl %edx, 4(%rdi, %rsi)
;;   movl %edx, 8(%rdi, %rsi)
;;   movl %edx, 0xc(%rdi, %rsi)
;;   movl %edx, 0x10(%rdi, %rsi)
;;   movl %edx, 0x14(%rdi, %rsi)
;;   movl %edx, 0x18(%rdi, %rsi)
;;   movl %edx, 0x1c(%rdi, %rsi)
;;   movl %edx, 0x20(%rdi, %rsi)
;;   movl %edx, 0x24(%rdi, %rsi)
;;   movl %edx, 0x28(%rdi, %rsi)
;;   movl %edx, 0x2c(%rdi, %rsi)
;;   movl %edx, 0x30(%rdi, %rsi)
;;   movl %edx, 0x34(%rdi, %rsi)
;;   movl %edx, 0x38(%rdi, %rsi)
;;   movl %edx, 0x3c(%rdi, %rsi)
;;   jmp     label3
;; block3:
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 82 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; trap 0x11: MemoryOutOfBounds
;; trap 0x15: MemoryOutOfBounds
;; trap 0x19: MemoryOutOfBounds
;; trap 0x1d: MemoryOutOfBounds
;; trap 0x21: MemoryOutOfBounds
;; trap 0x25: MemoryOutOfBounds
;; trap 0x29: MemoryOutOfBounds
;; trap 0x2d: MemoryOutOfBounds
;; trap 0x31: MemoryOutOfBounds
;; trap 0x35: MemoryOutOfBounds
;; trap 0x39: MemoryOutOfBounds
;; trap 0x3d: MemoryOutOfBounds
;; trap 0x41: MemoryOutOfBounds
;; trap 0x45: MemoryOutOfBounds
;; trap 0x49: MemoryOutOfBounds
