//! Host values as `externref`.

use std::any::Any;

use anyhow::Result;

use super::{GcRef, Rooted, collect};
use crate::store::{AsContextMut, StoreContext, StoreContextMut};
use crate::vm::store::StoreOpaque;

/// A value of the host that wasm passes around as `externref` and cannot look into. It is in the heap of a store and is
/// used through [`Rooted<ExternRef>`](Rooted).
///
/// ```
/// use kiln::{Engine, ExternRef, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let greeting = ExternRef::new(&mut store, String::from("hello"))?;
/// let text = greeting.data(&store)?.and_then(|d| d.downcast_ref::<String>());
/// assert_eq!(text.unwrap(), "hello");
/// # anyhow::Ok(())
/// ```
#[derive(Debug)]
pub struct ExternRef {
    _none: std::convert::Infallible,
}

impl ExternRef {
    /// Moves a value into the store's heap. It may collect garbage first. The value is dropped some time after nothing
    /// refers to it any more, on the thread that uses the store.
    ///
    /// # Errors
    /// The heap is full: [`Trap::AllocationTooLarge`](crate::Trap::AllocationTooLarge).
    pub fn new<T: Any + Send + Sync>(mut store: impl AsContextMut, value: T) -> Result<Rooted<ExternRef>> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let object = collect::alloc_host(store, Box::new(value))?;
        Ok(Rooted::new(store, object))
    }

    /// A handle for what compiled code knows by this number; see [`Rooted::to_raw`]. `None` for 0, which is null, and
    /// for what is no host value in the heap of the store.
    pub fn from_raw(mut store: impl AsContextMut, raw: u32) -> Option<Rooted<ExternRef>> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let object = GcRef::from_u32(raw).filter(|o| store.gc_mut().heap().is_live(*o, true))?;
        Some(Rooted::new(store, object))
    }
}

impl Rooted<ExternRef> {
    /// The value. `None` if the object did not come from [`ExternRef::new`].
    ///
    /// # Errors
    /// The handle's scope has ended, or it belongs to another store.
    pub fn data<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<Option<&'a (dyn Any + Send + Sync)>> {
        let store: &'a StoreOpaque = store.into().0;
        let object = self.object(store)?;
        Ok(store.gc().objects().map(|heap| heap.host_value(object)))
    }

    /// The value, mutably. `None` if the object did not come from [`ExternRef::new`].
    ///
    /// # Errors
    /// The handle's scope has ended, or it belongs to another store.
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> Result<Option<&'a mut (dyn Any + Send + Sync)>> {
        let store: &'a mut StoreOpaque = store.into().0;
        let object = self.object(store)?;
        Ok(Some(store.gc_mut().heap().host_value_mut(object)))
    }

    /// The number by which compiled code knows the value. It is good until the handle's scope ends or the next
    /// collection, unless something else keeps the value.
    ///
    /// # Errors
    /// The handle's scope has ended, or it belongs to another store.
    pub fn to_raw(&self, mut store: impl AsContextMut) -> Result<u32> {
        Ok(self.object(store.as_context_mut().0)?.as_u32())
    }
}
