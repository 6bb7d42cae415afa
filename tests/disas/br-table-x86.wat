;;! test = "asm"

(module
  (func (param i32) (result i32)
    (block $default
      (block $one
        (block $zero
          (br_table $zero $one $zero $default (local.get 0)))
        (return (i32.const 100)))
      (return (i32.const 101)))
    (i32.const 102)))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl $0x3, %edi
;;   movl %esi, %r8d
;;   cmpl %edi, %r8d
;;   cmovbl %r8d, %edi
;;   br_table %rdi, %rcx, %rax
;; block1:
;;   jmp     label4
;; block2:
;;   jmp     label4
;; block3:
;;   movl $0x65, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block4:
;;   movl $0x64, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block5:
;;   movl $0x66, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 86 bytes of code
