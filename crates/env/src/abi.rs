//! How compiled code and the runtime call each other.
//!
//! # Wasm convention
//! Every wasm function, in every tier, uses Cranelift's `tail` convention with the callee's context (`vmctx`) as its
//! first integer parameter (`ArgumentPurpose::VMContext`), then the wasm parameters, and returns the wasm results.
//! `i32`, `i64`, `f32`, `f64`, `v128` (as `i8x16`) travel as themselves, function references as pointer-sized integers,
//! collected references as `i32`. Where results exceed the registers Cranelift's implicit struct-return pointer is used
//! (`enable_multi_ret_implicit_sret`).
//!
//! A caller that may leave its instance (calls of imports, indirect calls, calls of references) first stores its own
//! `stack_limit` and its own context (`caller`) into the header of the callee's context: see [`crate::layout`].
//! Host function contexts have the same header.
//!
//! # Array convention, host to wasm
//! `ArrayToWasm(ty)`: a C-convention function
//! `fn(callee: *mut VmContext, code: *const u8, values: *mut ValRaw) -> u64`.
//! It saves all callee-saved registers (it contains a `try_call`), fills the store context's *entry record*
//! (`entry_sp`, `entry_fp`, `entry_handler`) after saving the previous record in its own frame, reads the parameters from
//! `values` (one 16-byte slot each), calls `code` and writes the results over them from slot 0. It returns 1. When the
//! callee is unwound (trap, host error, panic, uncaught exception) the runtime resumes at `entry_handler` with `entry_sp`
//! and `entry_fp`; the function then returns 0. Either way the previous record is put back.
//! The caller sees to it that `values` has room for the greater of parameters and results, and sets the `stack_limit`
//! of the callee's context.
//!
//! # Array convention, wasm to host
//! `WasmToHost(ty)`: wasm convention; its context is a host function context. It records the *exit* (`exit_pc`: its own
//! return address; `exit_fp`: the frame pointer of its caller, the newest wasm frame; both in the store context), writes
//! the parameters into an array of slots on its stack and calls the function pointer at
//! [`HOST_ARRAY_CALL`](crate::layout::HOST_ARRAY_CALL) in the C convention:
//! `fn(host_context: *mut VmHostContext, caller: *mut VmContext, values: *mut ValRaw) -> u64` with `caller` as loaded from the
//! context's header. 1: the results are in `values` from slot 0. 0: an error is pending in the store, and it calls
//! `Builtin::Raise`.
//!
//! # Builtins
//! `WasmToBuiltin(b)`: wasm convention with the caller's context; records the exit likewise, calls the builtin by its
//! address in the array at [`BUILTINS`](crate::layout::BUILTINS).
//!
//! # Frames
//! Every compiled function keeps a frame pointer; the return address is above it. Between `exit_fp` and the frame of the
//! entry trampoline there are compiled frames only.
//!
//! # Values in slots
//! A [`SLOT_SIZE`]-byte slot holds a value little-endian from its first byte, whatever the host's byte order.
//!
//! # Traps
//! A trap is an instruction listed in the trap table (fault or `ud2`); the signal handler resumes at the entry record.
//! Where signals are left to the host (`Tunables::signals` false) compiled code calls `Builtin::RaiseTrap` instead.
//!
//! # Exceptions
//! `throw` allocates an exception object and calls `ThrowRef`. The unwinder walks frame pointers; at each return address
//! that has an entry in the exception table with a matching tag it resumes at the handler with the frame's stack and
//! frame pointers and the exception reference in the first exception payload register (zero-extended).

/// Bytes of a value slot in the array convention, and alignment of the array.
pub const SLOT_SIZE: u32 = 16;

/// Bytes of an entry stub on x86-64: an indirect jump through the function's slot, then the thunk that loads the
/// function's index and enters the lazy compiler.
pub const ENTRY_STUB_SIZE: u32 = 16;

/// Bytes below the stack limit that compiled code may use without a check: frames of functions that make no call.
/// The runtime leaves them free in every stack.
pub const STACK_RESERVE: u32 = 4096;

/// Bytes of the largest frame that a function may have which checks its stack only when it has its frame, as all do where
/// signals are left to the host. The runtime leaves several times as much free below the limit of stacks it knows.
pub const CHECKED_FRAME: u32 = 16 << 10;
