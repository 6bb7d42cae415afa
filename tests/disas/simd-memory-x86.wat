;;! test = "asm"

(module
  (memory 1)
  (func (param i32) (result v128)
    (v128.load16x4_s offset=8 (local.get 0)))
  (func (param i32) (result v128)
    (v128.load32_splat (local.get 0)))
  (func (param i32) (result v128)
    (v128.load64_zero (local.get 0)))
  (func (param i32 v128) (result v128)
    (v128.load8_lane offset=3 7 (local.get 0) (local.get 1)))
  (func (param i32 v128)
    (v128.store32_lane 3 (local.get 0) (local.get 1)))
  (func (param i32 v128)
    (v128.store offset=16 (local.get 0) (i32x4.add (local.get 1) (v128.load (local.get 0))))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   pmovsxwd 8(%rdi, %rsi), %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 22 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   movss (%rdi, %rsi), %xmm0
;;   shufps $0x0, %xmm0, %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 24 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   movsd (%rdi, %rsi), %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 20 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[3]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   pinsrb $0x7, 3(%rdi, %rsi), %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 23 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[4]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   pextrd $0x3, %xmm0, (%rdi, %rsi)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 22 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[5]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %r9d
;;   movq 0x38(%rdi), %r8
;;   movdqu (%r8, %r9), %xmm7
;;   paddd %xmm7, %xmm0
;;   movdqu %xmm0, 0x10(%r8, %r9)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 33 bytes of code
;; trap 0xb: MemoryOutOfBounds
;; trap 0x15: MemoryOutOfBounds
