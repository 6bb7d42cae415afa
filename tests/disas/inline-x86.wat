;;! test = "asm"
;;! flags = ["inlining"]

;; A caller of leaves only is a leaf: it has no stack check. The tables name the bodies that addresses belong to.
(module
  (memory 1)
  (func $load (param i32) (result i32)
    (i32.load (local.get 0)))
  (func (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.add (local.get 1) (call $load (local.get 0))))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 4)))))
    (local.get 1)))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %esi, %esi
;;   movq 0x38(%rdi), %rdi
;;   movl (%rdi, %rsi), %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 18 bytes of code
;; trap 0xa: MemoryOutOfBounds
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   uninit  %rax
;;   xorl %eax, %eax
;;   movq 0x38(%rdi), %r11
;;   jmp     label1
;; block1:
;;   movl %esi, %ecx
;;   movl (%r11, %rcx), %ecx
;;   leal (%rax, %rcx), %eax
;;   subl $0x4, %esi
;;   testl %esi, %esi
;;   jnz     label2; j label3
;; block2:
;;   jmp     label1
;; block3:
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 30 bytes of code
;; inlined wasm[0] from 0x1c on, for the call at 0x9
;; trap 0xc: MemoryOutOfBounds
