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
;;   testl %esi, %esi
;;   jz      label1; j label2
;; block1:
;;   jmp     label7
;; block2:
;;   cmpl $0x1, %esi
;;   jz      label6; j label3
;; block3:
;;   cmpl $0x2, %esi
;;   jz      label4; j label5
;; block4:
;;   jmp     label7
;; block5:
;;   movl $0x66, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block6:
;;   movl $0x65, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block7:
;;   movl $0x64, %eax
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 48 bytes of code
