//! The few things that only assembly can say.

use std::arch::naked_asm;
use std::ffi::c_void;

/// Continues at `pc` with the given stack and frame pointers and `payload` in the first exception payload register.
/// Never returns: all frames below `sp` are gone without any of their destructors having run.
///
/// # Safety
/// `pc` expects to be resumed like this, `sp` and `fp` belong to its frame, and no frame below it owns anything.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resume(sp: usize, fp: usize, pc: usize, payload: u64) -> ! {
    naked_asm!("mov rsp, rdi", "mov rbp, rsi", "mov rax, rcx", "jmp rdx")
}

/// Continues at `pc` with the given stack and frame pointers and `payload` in the first exception payload register.
/// Never returns: all frames below `sp` are gone without any of their destructors having run.
///
/// # Safety
/// `pc` expects to be resumed like this, `sp` and `fp` belong to its frame, and no frame below it owns anything.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resume(sp: usize, fp: usize, pc: usize, payload: u64) -> ! {
    naked_asm!("mov sp, x0", "mov x29, x1", "mov x0, x3", "br x2")
}

/// Calls `function(data)` with `stack_top` as stack pointer and comes back to the present stack.
///
/// Debuggers and unwinders see through: the frame on the old stack is linked and described.
///
/// # Safety
/// `stack_top` is 16-aligned and the end of a stack nobody uses, large enough for `function`, which does not unwind.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_on_stack(
    stack_top: *mut u8,
    function: unsafe extern "C" fn(*mut c_void),
    data: *mut c_void,
) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// Calls `function(data)` with `stack_top` as stack pointer and comes back to the present stack.
///
/// # Safety
/// `stack_top` is 16-aligned and the end of a stack nobody uses, large enough for `function`, which does not unwind.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_on_stack(
    stack_top: *mut u8,
    function: unsafe extern "C" fn(*mut c_void),
    data: *mut c_void,
) {
    naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset x29, -16",
        ".cfi_offset x30, -8",
        "mov x29, sp",
        ".cfi_def_cfa_register x29",
        "mov sp, x0",
        "mov x0, x2",
        "blr x1",
        "mov sp, x29",
        ".cfi_def_cfa_register sp",
        "ldp x29, x30, [sp], #16",
        ".cfi_def_cfa_offset 0",
        "ret",
        ".cfi_endproc",
    )
}

/// The stack pointer, about.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let sp: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a register and touches nothing.
    unsafe {
        std::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register and touches nothing.
    unsafe {
        std::arch::asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags));
    }
    sp
}

/// What a function that runs when a lazy function is first called gets to know:
/// the word at the start of the code's data, the function's index, the caller's frame pointer and the return address.
/// It returns the code to go on with.
pub(crate) type FirstCall =
    unsafe extern "C" fn(code: *const c_void, index: u32, caller_fp: usize, return_pc: usize) -> *const u8;

/// Makes the common part of all entry thunks: entered by a jump in place of a function of the `tail` convention, with
/// the function's index and the code's data in scratch registers. It keeps every register in which that convention
/// passes arguments (among them the hidden pointer to the return area), calls `$first_call` in the C convention and
/// jumps to what that returns. The stack arguments stay where they are.
#[cfg(target_arch = "x86_64")]
macro_rules! define_first_call_thunk {
    ($name:ident, $first_call:path) => {
        /// Runs on the first call of a function; see `define_first_call_thunk`. In: eax index, r11 code.
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            const _: $crate::sys::asm::FirstCall = $first_call;
            ::std::arch::naked_asm!(
                ".cfi_startproc",
                "push rbp",
                ".cfi_def_cfa_offset 16",
                ".cfi_offset rbp, -16",
                "mov rbp, rsp",
                ".cfi_def_cfa_register rbp",
                "sub rsp, 176",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], rcx",
                "mov [rsp + 32], r8",
                "mov [rsp + 40], r9",
                "movaps [rsp + 48], xmm0",
                "movaps [rsp + 64], xmm1",
                "movaps [rsp + 80], xmm2",
                "movaps [rsp + 96], xmm3",
                "movaps [rsp + 112], xmm4",
                "movaps [rsp + 128], xmm5",
                "movaps [rsp + 144], xmm6",
                "movaps [rsp + 160], xmm7",
                "mov rdi, r11",
                "mov esi, eax",
                "mov rdx, [rbp]",
                "mov rcx, [rbp + 8]",
                "call {first_call}",
                "mov rdi, [rsp]",
                "mov rsi, [rsp + 8]",
                "mov rdx, [rsp + 16]",
                "mov rcx, [rsp + 24]",
                "mov r8, [rsp + 32]",
                "mov r9, [rsp + 40]",
                "movaps xmm0, [rsp + 48]",
                "movaps xmm1, [rsp + 64]",
                "movaps xmm2, [rsp + 80]",
                "movaps xmm3, [rsp + 96]",
                "movaps xmm4, [rsp + 112]",
                "movaps xmm5, [rsp + 128]",
                "movaps xmm6, [rsp + 144]",
                "movaps xmm7, [rsp + 160]",
                "mov rsp, rbp",
                "pop rbp",
                ".cfi_def_cfa rsp, 8",
                "jmp rax",
                ".cfi_endproc",
                first_call = sym $first_call,
            )
        }
    };
}

/// The same for AArch64. In: w16 index, x17 code; x0-x7, x8 (return area) and q0-q7 are kept.
#[cfg(target_arch = "aarch64")]
macro_rules! define_first_call_thunk {
    ($name:ident, $first_call:path) => {
        /// Runs on the first call of a function; see `define_first_call_thunk`. In: w16 index, x17 code.
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            const _: $crate::sys::asm::FirstCall = $first_call;
            ::std::arch::naked_asm!(
                ".cfi_startproc",
                "stp x29, x30, [sp, #-16]!",
                ".cfi_def_cfa_offset 16",
                ".cfi_offset x29, -16",
                ".cfi_offset x30, -8",
                "mov x29, sp",
                ".cfi_def_cfa_register x29",
                "sub sp, sp, #208",
                "stp x0, x1, [sp]",
                "stp x2, x3, [sp, #16]",
                "stp x4, x5, [sp, #32]",
                "stp x6, x7, [sp, #48]",
                "str x8, [sp, #64]",
                "stp q0, q1, [sp, #80]",
                "stp q2, q3, [sp, #112]",
                "stp q4, q5, [sp, #144]",
                "stp q6, q7, [sp, #176]",
                "mov x0, x17",
                "mov w1, w16",
                "ldp x2, x3, [x29]",
                "bl {first_call}",
                "mov x16, x0",
                "ldp x0, x1, [sp]",
                "ldp x2, x3, [sp, #16]",
                "ldp x4, x5, [sp, #32]",
                "ldp x6, x7, [sp, #48]",
                "ldr x8, [sp, #64]",
                "ldp q0, q1, [sp, #80]",
                "ldp q2, q3, [sp, #112]",
                "ldp q4, q5, [sp, #144]",
                "ldp q6, q7, [sp, #176]",
                "mov sp, x29",
                ".cfi_def_cfa_register sp",
                "ldp x29, x30, [sp], #16",
                ".cfi_def_cfa_offset 0",
                "br x16",
                ".cfi_endproc",
                first_call = sym $first_call,
            )
        }
    };
}

pub(crate) use define_first_call_thunk;
