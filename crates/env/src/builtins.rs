//! The runtime functions that compiled code calls, one table.
//!
//! Compiled code calls the trampoline `FuncKey::WasmToBuiltin(b)` in the `tail` convention. The trampoline records the
//! exit (see [`crate::abi`]), loads the function's address from the context's builtin array and calls it in the C
//! convention. A `fallible` builtin returns [`FAILED`] when it has left an error in the store; the trampoline then
//! calls [`Builtin::Raise`], which does not return. Every result of a fallible builtin is 64 bits wide.

use serde::{Deserialize, Serialize};

/// What a fallible builtin returns when it failed: no valid result of any builtin.
pub const FAILED: u64 = 1 << 63;

/// Bytes that a bulk operator on memories works on for one unit of fuel, beside the unit that each operator costs: about what
/// a plain operator takes. Less than that many are free.
pub const BYTES_PER_FUEL: u64 = 64;

/// The same in elements, for operators on tables.
pub const ELEMENTS_PER_FUEL: u64 = 8;

/// Type of a builtin's parameter or result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuiltinType {
    /// A host pointer.
    Pointer,
    /// A 32-bit integer, or a collected reference.
    I32,
    /// A 64-bit integer.
    I64,
}

/// Hands the table to a macro: `$callback! { builtins… }`, one `name(params) -> result, fallible;` a builtin.
///
/// Types: `vmctx` (pointer to the caller's context, always first), `pointer`, `i32`, `i64`.
#[macro_export]
macro_rules! for_each_builtin {
    ($callback:ident) => {
        $callback! {
            /// `memory.grow` by `delta` pages: the old size in pages, or -1.
            MemoryGrow memory_grow(vmctx: vmctx, memory: i32, delta: i64) -> i64, fallible;
            /// `memory.copy`.
            MemoryCopy memory_copy(vmctx: vmctx, dst_memory: i32, src_memory: i32, dst: i64, src: i64, len: i64), fallible;
            /// `memory.fill`.
            MemoryFill memory_fill(vmctx: vmctx, memory: i32, dst: i64, value: i32, len: i64), fallible;
            /// `memory.init`.
            MemoryInit memory_init(vmctx: vmctx, memory: i32, data: i32, dst: i64, src: i64, len: i64), fallible;
            /// `data.drop`.
            DataDrop data_drop(vmctx: vmctx, data: i32);
            /// `table.grow` of a function table: the old size, or -1.
            TableGrowFunc table_grow_func(vmctx: vmctx, table: i32, delta: i64, init: pointer) -> i64, fallible;
            /// `table.grow` of a table of collected references: the old size, or -1.
            TableGrowRef table_grow_ref(vmctx: vmctx, table: i32, delta: i64, init: i32) -> i64, fallible;
            /// `table.fill` of a function table.
            TableFillFunc table_fill_func(vmctx: vmctx, table: i32, dst: i64, value: pointer, len: i64), fallible;
            /// `table.fill` of a table of collected references.
            TableFillRef table_fill_ref(vmctx: vmctx, table: i32, dst: i64, value: i32, len: i64), fallible;
            /// `table.copy`.
            TableCopy table_copy(vmctx: vmctx, dst_table: i32, src_table: i32, dst: i64, src: i64, len: i64), fallible;
            /// `table.init`.
            TableInit table_init(vmctx: vmctx, table: i32, elem: i32, dst: i64, src: i64, len: i64), fallible;
            /// `elem.drop`.
            ElemDrop elem_drop(vmctx: vmctx, elem: i32);
            /// `table.get` of a function table where the element is not built yet: the function reference. Bounds are checked by the caller.
            TableGetFunc table_get_func(vmctx: vmctx, table: i32, index: i64) -> pointer, fallible;
            /// `table.set` of a function table. Bounds are checked here.
            TableSetFunc table_set_func(vmctx: vmctx, table: i32, index: i64, value: pointer), fallible;
            /// Slow path of an indirect call: the entry is null, not built yet, or of another type than `ty` (an engine-wide type number).
            /// The function reference to call; fails with the right trap. The index is within bounds.
            ResolveIndirect resolve_indirect(vmctx: vmctx, table: i32, index: i64, ty: i32) -> pointer, fallible;
            /// `ref.func`: the function reference.
            RefFunc ref_func(vmctx: vmctx, func: i32) -> pointer, fallible;
            /// `memory.atomic.wait32`; the address is the effective one, alignment and bounds are checked here.
            AtomicWait32 atomic_wait32(vmctx: vmctx, memory: i32, addr: i64, expected: i32, timeout_ns: i64) -> i64, fallible;
            /// `memory.atomic.wait64`; likewise.
            AtomicWait64 atomic_wait64(vmctx: vmctx, memory: i32, addr: i64, expected: i64, timeout_ns: i64) -> i64, fallible;
            /// `memory.atomic.notify`: how many were woken; likewise.
            AtomicNotify atomic_notify(vmctx: vmctx, memory: i32, addr: i64, count: i32) -> i64, fallible;
            /// The fuel counter rose above zero: refills it or fails.
            OutOfFuel out_of_fuel(vmctx: vmctx), fallible;
            /// The epoch deadline passed: the new deadline, or fails.
            NewEpoch new_epoch(vmctx: vmctx) -> i64, fallible;
            /// Fails with the trap of this number: for explicit checks where signals are left to the host.
            RaiseTrap raise_trap(vmctx: vmctx, code: i32), fallible;
            /// Allocates an exception with a tag (pointer to the tag) and `len` payload slots (16 bytes each) at `payload`: the reference.
            NewException new_exception(vmctx: vmctx, tag: pointer, payload: pointer, len: i32) -> i64, fallible;
            /// Address of the payload slots of an exception; valid until the next call that may collect.
            ExceptionPayload exception_payload(vmctx: vmctx, exception: i32) -> pointer, fallible;
            /// The tag (pointer) of an exception.
            ExceptionTag exception_tag(vmctx: vmctx, exception: i32) -> pointer, fallible;
            /// Leaves the exception as the store's pending error and fails with it: `throw`, `throw_ref`.
            ThrowRef throw_ref(vmctx: vmctx, exception: i32), fallible;
            /// Unwinds to the nearest handler of the error pending in the store. Called by trampolines only; does not return.
            Raise raise(vmctx: vmctx);
            /// The counter of a function rose to zero when the function was entered: see `tier`.
            TierUp tier_up(vmctx: vmctx, func: i32);
            /// The counter of a function rose to zero at the `loop` operator at this offset of its body: see `tier`. The code
            /// that goes on there, or 0 to stay.
            Osr osr(vmctx: vmctx, func: i32, offset: i32) -> pointer, fallible;
            /// `memory.copy` where neither fuel nor epochs are counted. Memories are told by the addresses of their `VmMemory`.
            CopyBytes copy_bytes(vmctx: vmctx, dst_memory: pointer, src_memory: pointer, dst: i64, src: i64, len: i64), fallible;
            /// `memory.fill`, likewise.
            FillBytes fill_bytes(vmctx: vmctx, memory: pointer, dst: i64, value: i32, len: i64), fallible;
        }
    };
}

macro_rules! define_builtins {
    (@type vmctx) => { BuiltinType::Pointer };
    (@type pointer) => { BuiltinType::Pointer };
    (@type i32) => { BuiltinType::I32 };
    (@type i64) => { BuiltinType::I64 };
    (@fallible fallible) => { true };
    (@fallible) => { false };
    (@result $ty:ident) => { Some(define_builtins!(@type $ty)) };
    (@result) => { None };
    ($($(#[$doc:meta])* $name:ident $snake:ident ($($param:ident: $pty:ident),*) $(-> $rty:ident)? $(, $fallible:ident)?;)*) => {
        /// A runtime function that compiled code may call. The numbers are positions in the context's builtin array.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[repr(u32)]
        pub enum Builtin {
            $($(#[$doc])* $name,)*
        }

        impl Builtin {
            /// Every builtin, in order of number.
            pub const ALL: &'static [Builtin] = &[$(Builtin::$name),*];

            /// The builtin with this number.
            pub fn from_u32(n: u32) -> Option<Builtin> {
                Self::ALL.get(n as usize).copied()
            }

            /// Its name in the table.
            pub const fn name(self) -> &'static str {
                match self { $(Builtin::$name => stringify!($snake),)* }
            }

            /// Parameter types, the context first.
            pub const fn params(self) -> &'static [BuiltinType] {
                match self { $(Builtin::$name => &[$(define_builtins!(@type $pty)),*],)* }
            }

            /// Result type as compiled code sees it.
            pub const fn result(self) -> Option<BuiltinType> {
                match self { $(Builtin::$name => define_builtins!(@result $($rty)?),)* }
            }

            /// Whether it returns 64 bits of which [`FAILED`] means that an error is pending.
            pub const fn fallible(self) -> bool {
                match self { $(Builtin::$name => define_builtins!(@fallible $($fallible)?),)* }
            }
        }
    };
}

for_each_builtin!(define_builtins);
