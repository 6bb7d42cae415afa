//! Exceptions: as objects, and on their way through the host.

use std::fmt;
use std::ptr::NonNull;

use anyhow::{Context, Result, ensure};

use super::{GcRef, Rooted, Tag, collect};
use crate::func::Caller;
use crate::store::{AsContext, AsContextMut, Store, StoreContextMut};
use crate::types::FuncType;
use crate::values::Val;
use crate::vm::context::{ValRaw, VmTag};
use crate::vm::store::StoreOpaque;

/// An exception: a tag and a payload. It is in the heap of a store and is used through [`Rooted<ExnRef>`](Rooted).
///
/// A host function throws one by returning what [`throw`](Caller::throw) gives it; wasm that called it can catch it.
/// A call into wasm that ends with an exception returns a [`ThrownException`], and the exception itself is taken with
/// [`take_pending_exception`](Store::take_pending_exception). A host function that returns that error as it is lets the
/// exception pass.
///
/// ```
/// use kiln::*;
///
/// let engine = Engine::default();
/// let mut store = Store::new(&engine, ());
/// let tag = Tag::new(&mut store, &TagType::new(FuncType::new(&engine, [ValType::I32], [])))?;
/// let exception = ExnRef::new(&mut store, &tag, &[Val::I32(7)])?;
/// assert_eq!(exception.field(&mut store, 0)?.unwrap_i32(), 7);
///
/// let error = store.throw::<()>(exception).unwrap_err();
/// assert_eq!(error.to_string(), "uncaught exception");
/// assert!(store.take_pending_exception().is_some());
/// # anyhow::Ok(())
/// ```
#[derive(Debug)]
pub struct ExnRef {
    _none: std::convert::Infallible,
}

impl ExnRef {
    /// Makes an exception. It may collect garbage first.
    ///
    /// # Errors
    /// The fields do not fit the tag's type, something belongs to another store, or the heap is full
    /// ([`Trap::AllocationTooLarge`](crate::Trap::AllocationTooLarge)).
    pub fn new(mut store: impl AsContextMut, tag: &Tag, fields: &[Val]) -> Result<Rooted<ExnRef>> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        ensure!(tag.comes_from(store), "the tag belongs to another store");
        let ty = FuncType::from_id(store.engine().types(), tag.type_id(store));
        let params = &ty.signature().params;
        ensure!(
            params.len() == fields.len(),
            "the tag's exceptions have {} fields, not {}",
            params.len(),
            fields.len()
        );
        let mut payload = Vec::with_capacity(fields.len());
        for (i, (field, ty)) in fields.iter().zip(params).enumerate() {
            field.check_type(store, ty).with_context(|| format!("field {i} of an exception"))?;
            payload.push(field.to_raw(store)?);
        }
        let object = collect::alloc_exn(store, tag.vm(store), &payload)?;
        Ok(Rooted::new(store, object))
    }

    /// A handle for what compiled code knows by this number; see [`Rooted::to_raw`]. `None` for 0, which is null, and
    /// for what is no exception in the heap of the store.
    pub fn from_raw(mut store: impl AsContextMut, raw: u32) -> Option<Rooted<ExnRef>> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let object = GcRef::from_u32(raw).filter(|o| store.gc_mut().heap().is_live(*o, false))?;
        Some(Rooted::new(store, object))
    }
}

impl Rooted<ExnRef> {
    /// Its tag.
    ///
    /// # Errors
    /// The handle's scope has ended, or it belongs to another store.
    pub fn tag(&self, mut store: impl AsContextMut) -> Result<Tag> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let object = self.object(store)?;
        let tag = store.gc_mut().heap().exn_tag(object);
        Ok(Tag::from_vm(store, tag))
    }

    /// Field `index` of its payload.
    ///
    /// # Errors
    /// There are fewer fields, the handle's scope has ended, or it belongs to another store.
    pub fn field(&self, mut store: impl AsContextMut, index: usize) -> Result<Val> {
        let mut fields = self.fields(&mut store)?;
        ensure!(index < fields.len(), "the exception has {} fields, not more than {index}", fields.len());
        Ok(fields.swap_remove(index))
    }

    /// The fields of its payload.
    ///
    /// # Errors
    /// The handle's scope has ended, or it belongs to another store.
    pub fn fields(&self, mut store: impl AsContextMut) -> Result<Vec<Val>> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let object = self.object(store)?;
        let heap = store.gc_mut().heap();
        let (tag, payload) = (heap.exn_tag(object), heap.exn_payload(object));
        let ty = FuncType::from_id(store.engine().types(), Tag::from_vm(store, tag).type_id(store));
        let fields = ty.signature().params.iter().enumerate().map(|(i, ty)| {
            // SAFETY: the object is rooted, so its payload stays; it has a slot for each parameter of its tag's type.
            let raw = unsafe { payload.cast::<ValRaw>().add(i).read() };
            Val::from_raw(store, raw, ty)
        });
        Ok(fields.collect())
    }

    /// The number by which compiled code knows the exception. It is good until the handle's scope ends or the next
    /// collection, unless something else keeps the exception.
    ///
    /// # Errors
    /// The handle's scope has ended, or it belongs to another store.
    pub fn to_raw(&self, mut store: impl AsContextMut) -> Result<u32> {
        Ok(self.object(store.as_context_mut().0)?.as_u32())
    }
}

/// The error that stands for a wasm exception on its way through the host. The exception itself is with the store:
/// [`Store::take_pending_exception`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThrownException;

impl fmt::Display for ThrownException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("uncaught exception")
    }
}

impl std::error::Error for ThrownException {}

/// The error that a call into wasm returns which ended with an exception.
#[cold]
pub(crate) fn thrown_error(store: &mut StoreOpaque, reference: u32) -> anyhow::Error {
    store.gc_mut().pending_exception = GcRef::from_u32(reference);
    ThrownException.into()
}

/// The exception that an error stands for, if it does.
pub(crate) fn take_thrown(store: &mut StoreOpaque, error: &anyhow::Error) -> Option<(u32, *const VmTag)> {
    if !error.is::<ThrownException>() {
        return None;
    }
    let object = store.gc_mut().pending_exception.take()?;
    let tag: NonNull<VmTag> = store.gc_mut().heap().exn_tag(object);
    Some((object.as_u32(), tag.as_ptr()))
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// Makes an exception the pending one: see [`Store::throw`].
    ///
    /// # Errors
    /// Always: the error is what a host function returns.
    pub fn throw<R>(&mut self, exception: Rooted<ExnRef>) -> Result<R> {
        let object = exception.object(self.0)?;
        self.0.gc_mut().pending_exception = Some(object);
        Err(ThrownException.into())
    }

    /// Takes the pending exception: see [`Store::take_pending_exception`].
    pub fn take_pending_exception(&mut self) -> Option<Rooted<ExnRef>> {
        let object = self.0.gc_mut().pending_exception.take()?;
        Some(Rooted::new(self.0, object))
    }

    /// Whether an exception is pending: see [`Store::has_pending_exception`].
    pub fn has_pending_exception(&self) -> bool {
        self.0.gc().pending_exception.is_some()
    }
}

impl<T: 'static> Store<T> {
    /// Makes an exception the pending one and returns a [`ThrownException`]. A host function that returns this error
    /// throws the exception.
    ///
    /// # Errors
    /// Always.
    pub fn throw<R>(&mut self, exception: Rooted<ExnRef>) -> Result<R> {
        self.as_context_mut().throw(exception)
    }

    /// Takes the exception with which a call into wasm ended: after it returned a [`ThrownException`].
    pub fn take_pending_exception(&mut self) -> Option<Rooted<ExnRef>> {
        self.as_context_mut().take_pending_exception()
    }

    /// Whether an exception is pending.
    pub fn has_pending_exception(&self) -> bool {
        self.as_context().0.gc().pending_exception.is_some()
    }
}

impl<T: 'static> Caller<'_, T> {
    /// Makes an exception the pending one: see [`Store::throw`].
    ///
    /// # Errors
    /// Always: the error is what a host function returns.
    pub fn throw<R>(&mut self, exception: Rooted<ExnRef>) -> Result<R> {
        self.as_context_mut().throw(exception)
    }

    /// Takes the pending exception: see [`Store::take_pending_exception`].
    pub fn take_pending_exception(&mut self) -> Option<Rooted<ExnRef>> {
        self.as_context_mut().take_pending_exception()
    }
}
