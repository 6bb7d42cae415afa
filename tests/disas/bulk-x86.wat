;;! test = "asm"

(module
  (memory 1)
  (func $constant (param i32 i32)
    (memory.copy (local.get 0) (local.get 1) (i32.const 23)))
  (func $copy (param i32 i32 i32)
    (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func $fill (param i32 i32 i32)
    (memory.fill (local.get 0) (local.get 1) (local.get 2))))
;; function wasm[0]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;; block0:
;;   movl %edx, %r9d
;;   movq 0x38(%rdi), %r8
;;   movl %esi, %r10d
;;   movdqu 7(%r8, %r9), %xmm0
;;   movdqu (%r8, %r9), %xmm1
;;   movdqu %xmm0, 7(%r8, %r10)
;;   movdqu %xmm1, (%r8, %r10)
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; 45 bytes of code
;; trap 0xe: MemoryOutOfBounds
;; trap 0x1b: MemoryOutOfBounds
;; function wasm[1]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x10, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;; block0:
;;   leal -1(%rcx), %eax
;;   cmpl $0x40, %eax
;;   jnb     label8; j label1
;; block1:
;;   cmpl $0x10, %ecx
;;   jnb     label7; j label2
;; block2:
;;   cmpl $0x8, %ecx
;;   jnb     label6; j label3
;; block3:
;;   cmpl $0x4, %ecx
;;   jnb     label5; j label4
;; block4:
;;   movl %edx, %edx
;;   movq 0x38(%rdi), %rax
;;   leaq (%rax, %rdx), %r8
;;   movl %esi, %esi
;;   leaq (%rax, %rsi), %rdi
;;   leal -1(%rcx), %r9d
;;   andl $0x3, %r9d
;;   shrl $1, %ecx
;;   andl $0x1, %ecx
;;   movzbq (%r8, %r9), %r10
;;   movzbq (%r8, %rcx), %r8
;;   movzbq (%rax, %rdx), %rdx
;;   movb %r10b, (%rdi, %r9)
;;   movb %r8b, (%rdi, %rcx)
;;   movb %dl, (%rax, %rsi)
;;   jmp     label9
;; block5:
;;   leal -4(%rcx), %ecx
;;   andl $0x3, %ecx
;;   movq 0x38(%rdi), %rdi
;;   movl %edx, %r8d
;;   leaq (%rdi, %r8), %rdx
;;   movl (%rdx, %rcx), %edx
;;   movl (%rdi, %r8), %r8d
;;   movl %esi, %esi
;;   leaq (%rdi, %rsi), %r9
;;   movl %edx, (%r9, %rcx)
;;   movl %r8d, (%rdi, %rsi)
;;   jmp     label9
;; block6:
;;   leal -8(%rcx), %r8d
;;   andl $0x7, %r8d
;;   movq 0x38(%rdi), %rdi
;;   movl %edx, %r10d
;;   leaq (%rdi, %r10), %r9
;;   movq (%r9, %r8), %r9
;;   movq (%rdi, %r10), %r10
;;   movl %esi, %esi
;;   leaq (%rdi, %rsi), %r11
;;   movq %r9, (%r11, %r8)
;;   movq %r10, (%rdi, %rsi)
;;   jmp     label9
;; block7:
;;   leal -0x10(%rcx), %r8d
;;   andl $0x3f, %r8d
;;   movl $0x10, %r10d
;;   cmpq %r8, %r10
;;   movq %r8, %r9
;;   cmovbq %r10, %r9
;;   cmpq %r8, %r10
;;   movq %r8, %r11
;;   cmovaeq %r10, %r11
;;   movq 0x38(%rdi), %r10
;;   movl %edx, %eax
;;   leaq (%r10, %rax), %rcx
;;   movdqu (%rcx, %r8), %xmm0
;;   movdqu -0x10(%rcx, %r11), %xmm1
;;   movdqu (%rcx, %r9), %xmm2
;;   movdqu (%r10, %rax), %xmm3
;;   movl %esi, %eax
;;   leaq (%r10, %rax), %rcx
;;   movdqu %xmm0, (%rcx, %r8)
;;   movdqu %xmm1, -0x10(%rcx, %r11)
;;   movdqu %xmm2, (%rcx, %r9)
;;   movdqu %xmm3, (%r10, %rax)
;;   jmp     label9
;; block9:
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block8:
;;   movq %rdx, %rax
;;   leaq 0x38(%rdi), %rdx
;;   movl %ecx, %r9d
;;   movl %esi, %ecx
;;   movq %rax, %rsi
;;   movl %esi, %r8d
;;   movq %rdx, %rsi
;;   call    User(userextname0)
;;   jmp     label9
;; 336 bytes of code
;; trap 0x51: MemoryOutOfBounds
;; trap 0x60: MemoryOutOfBounds
;; trap 0x84: MemoryOutOfBounds
;; trap 0x91: MemoryOutOfBounds
;; trap 0xb1: MemoryOutOfBounds
;; trap 0xbf: MemoryOutOfBounds
;; trap 0xf5: MemoryOutOfBounds
;; trap 0x114: MemoryOutOfBounds
;; trap 0x14e: StackOverflow
;; reloc 0x148: X86CallPcRel4 builtin[copy_bytes]
;; function wasm[2]:
;;   pushq %rbp
;;   movq %rsp, %rbp
;;   movq 8(%rdi), %r10
;;   addq $0x10, %r10
;;   cmpq %rsp, %r10
;;   jnbe #trap=stk_ovf
;; block0:
;;   leal -1(%rcx), %eax
;;   cmpl $0x40, %eax
;;   jnb     label8; j label1
;; block1:
;;   cmpl $0x10, %ecx
;;   jnb     label7; j label2
;; block2:
;;   cmpl $0x8, %ecx
;;   jnb     label6; j label3
;; block3:
;;   cmpl $0x4, %ecx
;;   jnb     label5; j label4
;; block4:
;;   movl %esi, %eax
;;   movq 0x38(%rdi), %rsi
;;   leaq (%rsi, %rax), %rdi
;;   leal -1(%rcx), %r8d
;;   andl $0x3, %r8d
;;   shrl $1, %ecx
;;   andl $0x1, %ecx
;;   movb %dl, (%rdi, %r8)
;;   movb %dl, (%rdi, %rcx)
;;   movb %dl, (%rsi, %rax)
;;   jmp     label9
;; block5:
;;   leal -4(%rcx), %eax
;;   andl $0x3, %eax
;;   movzbl %dl, %ecx
;;   movq %rcx, %rdx
;;   shll $0x8, %edx
;;   orl %edx, %ecx
;;   movq %rcx, %rdx
;;   shll $0x10, %edx
;;   orl %edx, %ecx
;;   movq 0x38(%rdi), %rdx
;;   movl %esi, %esi
;;   leaq (%rdx, %rsi), %rdi
;;   movl %ecx, (%rdi, %rax)
;;   movl %ecx, (%rdx, %rsi)
;;   jmp     label9
;; block6:
;;   leal -8(%rcx), %eax
;;   andl $0x7, %eax
;;   movzbq %dl, %rcx
;;   movq %rcx, %rdx
;;   shlq $0x8, %rdx
;;   orq %rdx, %rcx
;;   movq %rcx, %rdx
;;   shlq $0x10, %rdx
;;   orq %rdx, %rcx
;;   movq %rcx, %rdx
;;   shlq $0x20, %rdx
;;   orq %rdx, %rcx
;;   movq 0x38(%rdi), %rdx
;;   movl %esi, %esi
;;   leaq (%rdx, %rsi), %rdi
;;   movq %rcx, (%rdi, %rax)
;;   movq %rcx, (%rdx, %rsi)
;;   jmp     label9
;; block7:
;;   leal -0x10(%rcx), %r8d
;;   andl $0x3f, %r8d
;;   movl $0x10, %r11d
;;   cmpq %r8, %r11
;;   movq %r8, %r9
;;   cmovbq %r11, %r9
;;   cmpq %r8, %r11
;;   movq %r8, %r10
;;   cmovaeq %r11, %r10
;;   movd %edx, %xmm6
;;   uninit  %xmm7
;;   pxor %xmm7, %xmm7
;;   pshufb %xmm7, %xmm6
;;   movq 0x38(%rdi), %rdi
;;   movl %esi, %esi
;;   leaq (%rdi, %rsi), %r11
;;   movdqu %xmm6, (%r11, %r8)
;;   movdqu %xmm6, -0x10(%r11, %r10)
;;   movdqu %xmm6, (%r11, %r9)
;;   movdqu %xmm6, (%rdi, %rsi)
;;   jmp     label9
;; block9:
;;   movq %rbp, %rsp
;;   popq %rbp
;;   retq
;; block8:
;;   movq %rsi, %rax
;;   movq %rdx, %r9
;;   leaq 0x38(%rdi), %rsi
;;   movl %ecx, %r8d
;;   movl %eax, %edx
;;   movq %r9, %rcx
;;   call    User(userextname0)
;;   jmp     label9
;; 309 bytes of code
;; trap 0x4b: MemoryOutOfBounds
;; trap 0x7d: MemoryOutOfBounds
;; trap 0xba: MemoryOutOfBounds
;; trap 0xfd: MemoryOutOfBounds
;; trap 0x133: StackOverflow
;; reloc 0x12d: X86CallPcRel4 builtin[fill_bytes]
