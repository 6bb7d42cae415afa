;;! test = "asm"

(module
  (memory 1 1 shared)
  (func (param i32) (result i32)
    (i32.atomic.load offset=4 (local.get 0)))
  (func (param i32 i64)
    (i64.atomic.store16 (local.get 0) (local.get 1)))
  (func (param i32 i32) (result i32)
    (i32.atomic.rmw8.add_u (local.get 0) (local.get 1)))
  (func (param i32 i64) (result i64)
    (i64.atomic.rmw.xchg (local.get 0) (local.get 1)))
  (func (param i32 i32 i32) (result i32)
    (i32.atomic.rmw16.cmpxchg_u offset=1 (local.get 0) (local.get 1) (local.get 2)))
  (func (atomic.fence)))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   testl $0x3, %esi
;;   jnz #trap=user3
;;   movl %esi, %r8d
;;   movq 0x40(%rdi), %rdi
;;   movl 4(%rdi, %r8), %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 31 bytes of code
;; trap 0x13: MemoryOutOfBounds
;; trap 0x1d: HeapMisaligned
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   testl $0x1, %esi
;;   jnz #trap=user3
;;   movl %esi, %r8d
;;   movq 0x40(%rdi), %rdi
;;   movw %dx, (%rdi, %r8)
;;   mfence
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 34 bytes of code
;; trap 0x13: MemoryOutOfBounds
;; trap 0x20: HeapMisaligned
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %r9d
;;   movq 0x40(%rdi), %r8
;;   lock xaddb %dl, (%r8, %r9)
;;   movzbl %dl, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 25 bytes of code
;; trap 0xb: MemoryOutOfBounds
;; function wasm[3]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   testl $0x7, %esi
;;   jnz #trap=user3
;;   movl %esi, %r8d
;;   movq 0x40(%rdi), %r9
;;   movq %rdx, %rax
;;   xchgq %rax, (%r9, %r8)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 33 bytes of code
;; trap 0x16: MemoryOutOfBounds
;; trap 0x1f: HeapMisaligned
;; function wasm[4]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   leal 1(%rsi), %r9d
;;   testl $0x1, %r9d
;;   jnz #trap=user3
;;   movl %esi, %r11d
;;   movq 0x40(%rdi), %rsi
;;   movq %rdx, %rax
;;   lock cmpxchgw %cx, 1(%rsi, %r11) ;; implicit: %ax
;;   movzwl %ax, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 45 bytes of code
;; trap 0x1b: MemoryOutOfBounds
;; trap 0x2b: HeapMisaligned
;; function wasm[5]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   mfence
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 12 bytes of code
