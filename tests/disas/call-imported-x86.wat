;;! test = "asm"

(module
  (import "" "f" (func $f (param i32) (result i32)))
  (func (param i32) (result i32)
    (call $f (local.get 0))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x10, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;; block0:
;;   movq 8(%rdi), %r9
;;   movq 0x48(%rdi), %r8
;;   movq %r9, 8(%r8)
;;   movq %rdi, 0x18(%r8)
;;   movq 0x40(%rdi), %r9
;;   movq %r8, %rdi
;;   call    *%r9
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 54 bytes of code
;; trap 0x34: StackOverflow
