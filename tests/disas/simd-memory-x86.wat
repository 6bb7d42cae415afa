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
;;   movq %rsi, %r8
;;   movq 0x38(%rdi), %rsi
;;   movq %r8, %rdi
;;   movl %edi, %edi
;;   pmovsxwd 8(%rsi, %rdi), %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 22 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq %rsi, %r8
;;   movq 0x38(%rdi), %rsi
;;   movl %r8d, %edi
;;   movss (%rsi, %rdi), %xmm0
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
;;   movq %rsi, %r8
;;   movq 0x38(%rdi), %rsi
;;   movq %r8, %rdi
;;   movl %edi, %edi
;;   movsd (%rsi, %rdi), %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 20 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[3]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq 0x38(%rdi), %r8
;;   movl %esi, %edi
;;   pinsrb $0x7, 3(%r8, %rdi), %xmm0
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 23 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[4]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq %rsi, %r8
;;   movq 0x38(%rdi), %rsi
;;   movq %r8, %rdi
;;   movl %edi, %edi
;;   pextrd $0x3, %xmm0, (%rsi, %rdi)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 22 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[5]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq 0x38(%rdi), %rdi
;;   movl %esi, %r8d
;;   movdqu (%rdi, %r8), %xmm7
;;   paddd %xmm7, %xmm0
;;   movdqu %xmm0, 0x10(%rdi, %r8)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 33 bytes of code
;; trap 0xb: MemoryOutOfBounds
;; trap 0x15: MemoryOutOfBounds
