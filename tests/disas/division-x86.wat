;;! test = "asm"

;; The processor's own fault is the trap. A divisor in memory is loaded first, so that what faults is one or the other.
(module
  (memory 1)
  (func (param i32 i32) (result i32)
    (i32.div_s (local.get 0) (local.get 1)))
  (func (param i64 i64) (result i64)
    (i64.rem_s (local.get 0) (local.get 1)))
  (func (param i32) (result i32)
    (i32.div_u (local.get 0) (i32.const 10)))
  (func (param i32 i32) (result i32)
    (i32.div_u (local.get 0) (i32.load (local.get 1)))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq %rsi, %rax
;;   movq %rdx, %r11
;;   cltd  ;; implicit: %edx, %eax
;;   testl %r11d, %r11d
;;   jz #trap=int_divz
;;   idivl %r11d ;; implicit: %eax, %edx, trap=252
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 26 bytes of code
;; trap 0x10: IntegerOverflow
;; trap 0x18: IntegerDivideByZero
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq %rsi, %rax
;;   movq %rdx, %r9
;;   cqto  ;; implicit: %rdx, %rax
;;   checked_srem_seq %rax, %rdx, %r9, %rax, %rdx
;;   movq %rdx, %rax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 36 bytes of code
;; trap 0x19: IntegerDivideByZero
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movq %rsi, %rax
;;   mull (%rip) ;; implicit: %eax, %edx
;;   movq %rdx, %rax
;;   shrl $0x3, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 32 bytes of code
;; function wasm[3]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %edx, %r10d
;;   movq 0x38(%rdi), %r11
;;   movl (%r11, %r10), %r10d
;;   uninit  %rdx
;;   xorq %rdx, %rdx
;;   movq %rsi, %rax
;;   divl %r10d ;; implicit: %eax, %edx, trap=254
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 29 bytes of code
;; trap 0xb: MemoryOutOfBounds
;; trap 0x15: IntegerDivideByZero
