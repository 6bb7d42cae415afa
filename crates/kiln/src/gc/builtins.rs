//! Bodies of the builtins that make, read and throw exceptions.

use std::ptr::NonNull;

use anyhow::{Context, Result};
use kiln_env::TrapCode;

use super::{GcRef, collect};
use crate::code::entry::Pending;
use crate::vm::context::{ValRaw, VmTag};
use crate::vm::store::StoreOpaque;

/// `NewException`: the reference.
///
/// # Safety
/// `tag` is a tag of the store, `payload` has `len` readable slots of the tag's types.
pub(crate) unsafe fn new_exception(store: &mut StoreOpaque, tag: *mut u8, payload: *const u8, len: u32) -> Result<u64> {
    let tag = NonNull::new(tag.cast::<VmTag>()).context("an exception has a tag")?;
    let payload = match len {
        // Without slots the pointer need not be one.
        0 => &[],
        // SAFETY: the caller's.
        _ => unsafe { std::slice::from_raw_parts(payload.cast::<ValRaw>(), len as usize) },
    };
    Ok(collect::alloc_exn(store, tag, payload)?.as_u32().into())
}

/// `ExceptionPayload`: the address of the slots.
pub(crate) fn exception_payload(store: &mut StoreOpaque, exception: u32) -> Result<u64> {
    let object = GcRef::from_u32(exception).ok_or(TrapCode::NullReference)?;
    let payload = store.gc_mut().heap().exn_payload(object);
    Ok(payload.cast::<u8>().as_ptr().expose_provenance() as u64)
}

/// `ExceptionTag`: the address of the tag.
pub(crate) fn exception_tag(store: &mut StoreOpaque, exception: u32) -> Result<u64> {
    let object = GcRef::from_u32(exception).ok_or(TrapCode::NullReference)?;
    Ok(store.gc_mut().heap().exn_tag(object).as_ptr().expose_provenance() as u64)
}

/// `ThrowRef`: what is to be left as pending. The trap for null is as the specification says.
pub(crate) fn throw_ref(store: &mut StoreOpaque, exception: u32) -> Pending {
    match GcRef::from_u32(exception) {
        None => Pending::Trap(TrapCode::NullReference),
        Some(object) => {
            let tag = store.gc_mut().heap().exn_tag(object);
            Pending::Exception { reference: exception, tag: tag.as_ptr() }
        }
    }
}
