//! The structures that compiled code reads and writes, as Rust types made from the table in `kiln_env::layout`.

use std::mem::offset_of;
use std::ptr;

use kiln_env::layout;

macro_rules! define_structs {
    (@type ptr) => { *mut u8 };
    (@type u64) => { u64 };
    (@type i64) => { i64 };
    (@zero ptr) => { ptr::null_mut() };
    (@zero u64) => { 0 };
    (@zero i64) => { 0 };
    ($($(#[$doc:meta])* $name:ident $module:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub(crate) struct $name {
            $($(#[$fdoc])* pub(crate) $field: define_structs!(@type $ty),)*
        }

        impl $name {
            /// All fields zero or null.
            #[allow(dead_code, reason = "one table makes all structures")]
            pub(crate) const ZERO: $name = $name { $($field: define_structs!(@zero $ty),)* };
        }

        const _: () = {
            $(assert!(offset_of!($name, $field) == layout::$module::$field as usize);)*
            assert!(size_of::<$name>() == layout::$module::SIZE as usize);
        };
    )*};
}

kiln_env::for_each_vm_struct!(define_structs);

/// First part of every instance's context; the rest is laid out by `kiln_env::ContextLayout`.
#[repr(C, align(16))]
pub(crate) struct VmContext {
    pub(crate) header: VmContextHeader,
}

/// Context of a host function: the header, then the function of the array convention.
#[repr(C)]
pub(crate) struct VmHostContext {
    pub(crate) header: VmContextHeader,
    /// See `kiln_env::abi`, "Array convention, wasm to host".
    pub(crate) array_call: HostArrayCall,
}

const _: () = assert!(offset_of!(VmHostContext, array_call) == layout::HOST_ARRAY_CALL as usize);

/// A host function in the array convention: 1 if the results are in the slots, 0 if an error is pending in the store.
pub(crate) type HostArrayCall =
    unsafe extern "C" fn(host: *mut VmHostContext, caller: *mut VmContext, values: *mut ValRaw) -> u64;

/// An entry trampoline (`FuncKey::ArrayToWasm`): 1 if the results are in the slots, 0 if the callee was unwound.
pub(crate) type ArrayToWasm = unsafe extern "C" fn(callee: *mut VmContext, code: *const u8, values: *mut ValRaw) -> u64;

/// A slot of the array convention: a value little-endian from its first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct ValRaw([u8; 16]);

const _: () = assert!(size_of::<ValRaw>() == kiln_env::abi::SLOT_SIZE as usize);

impl ValRaw {
    /// All bytes zero: 0 in every number type, null in every reference type.
    pub const ZERO: ValRaw = ValRaw([0; 16]);
}

macro_rules! val_raw_accessors {
    ($($(#[$doc:meta])* $ty:ty: $get:ident, $make:ident;)*) => {
        impl ValRaw {$(
            $(#[$doc])*
            #[inline]
            pub const fn $make(value: $ty) -> ValRaw {
                let mut bytes = [0; 16];
                let value = value.to_le_bytes();
                let mut i = 0;
                while i < value.len() {
                    bytes[i] = value[i];
                    i += 1;
                }
                ValRaw(bytes)
            }

            $(#[$doc])*
            #[inline]
            pub fn $get(self) -> $ty {
                <$ty>::from_le_bytes(self.0[..size_of::<$ty>()].try_into().expect("a slot is wide enough"))
            }
        )*}
    };
}

val_raw_accessors! {
    /// As `i32`.
    i32: get_i32, i32;
    /// As an unsigned 32-bit number: also a collected reference.
    u32: get_u32, u32;
    /// As `i64`.
    i64: get_i64, i64;
    /// As an unsigned 64-bit number: also a function reference.
    u64: get_u64, u64;
    /// As `v128`.
    u128: get_v128, v128;
}

impl ValRaw {
    /// As `f32`, by its bits.
    #[inline]
    pub fn f32(bits: u32) -> ValRaw {
        ValRaw::u32(bits)
    }

    /// As `f64`, by its bits.
    #[inline]
    pub fn f64(bits: u64) -> ValRaw {
        ValRaw::u64(bits)
    }
}
