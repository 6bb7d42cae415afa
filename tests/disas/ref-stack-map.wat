;;! test = "asm"

;; A collected reference that is live across a call has a slot in the stack map; a function reference needs none.
(module
  (import "" "f" (func $f))
  (func (param externref funcref) (result externref funcref)
    (call $f)
    (local.get 0) (local.get 1)))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x30, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;;   subq $0x20, %rsp
;;   movq %r12, 0x10(%rsp)
;; block0:
;;   movq %rdx, %r12
;;   movl %esi, <offset:1>+(%rsp)
;;   movq 0x40(%rdi), %r8
;;   movq %rdi, %rax
;;   movq 0x48(%rax), %rdi
;;   movq 8(%rax), %r9
;;   movq %r9, 8(%rdi)
;;   movq %rax, 0x18(%rdi)
;;   call    *%r8
;;   ; UserStackMap { by_type: [(types::I32, CompoundBitSet {0})], sp_to_sized_stack_slots: None }
;;   movl <offset:1>+(%rsp), %eax
;;   movq %r12, %rcx
;;   movq 0x10(%rsp), %r12
;;   addq $0x20, %rsp
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 80 bytes of code
;; trap 0x4e: StackOverflow
;; stack map 0x3a: references at sp+[0] of fp-0x20
