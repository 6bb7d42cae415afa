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
;;   movq 0x40(%rdi), %r8
;;   movq 0x48(%rdi), %r9
;;   movq 8(%rdi), %r10
;;   movq %r10, 8(%r9)
;;   movq %rdi, 0x18(%r9)
;;   movq %r9, %rdi
;;   call    *%r8
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 50 bytes of code
;; trap 0x30: StackOverflow
