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
;;   movq 0x38(%rdi), %rdi
;;   movl %esi, %r8d
;;   movl 4(%rdi, %r8), %r9d
;;   movsbq (%rdi, %r8), %rdi
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
;;   movq %rsi, %r8
;;   movq 0x38(%rdi), %rsi
;;   movq %r8, %rdi
;;   movl %edi, %edi
;;   movw %dx, 0x10000(%rsi, %rdi)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 23 bytes of code
;; trap 0xa: MemoryOutOfBounds
