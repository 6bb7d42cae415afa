;;! test = "asm"

(module
  (memory 1)
  (func (param i32) (result i32)
    (i32.add (i32.load offset=4 (local.get 0)) (i32.load8_s (local.get 0))))
  (func (param i32 i64)
    (i64.store16 offset=65536 (local.get 0) (local.get 1))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %r10d
;;   movq 0x38(%rdi), %r8
;;   movl 4(%r8, %r10), %r9d
;;   movsbq (%r8, %r10), %rdi
;;   leal (%r9, %rdi), %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 30 bytes of code
;; trap 0xb: MemoryOutOfBounds
;; trap 0x10: MemoryOutOfBounds
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   movw %dx, 0x10000(%rdi, %rsi)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 23 bytes of code
;; trap 0xa: MemoryOutOfBounds
