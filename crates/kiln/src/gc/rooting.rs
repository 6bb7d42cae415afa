//! The host's handles of objects in a store's heap.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use anyhow::{Context, Result, ensure};

use super::{GcRef, OwnedRoot, Root, ScopeMark};
use crate::store::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::vm::handle::StoreId;
use crate::vm::store::StoreOpaque;

/// A handle of an object of type `T` ([`ExternRef`](super::ExternRef), [`ExnRef`](super::ExnRef)) in a store's heap.
///
/// The object lives as long as its handle's scope: the innermost [`RootScope`] in which the handle was made, the call of
/// a host function (its arguments and all that it makes), or else the life of the store. Handles are copied freely;
/// using one after its scope ended, or with another store, is an error. What is to live longer becomes an
/// [`OwnedRooted`].
pub struct Rooted<T> {
    store: StoreId,
    root: Root,
    marker: PhantomData<fn() -> T>,
}

impl<T> Clone for Rooted<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Rooted<T> {}

impl<T> fmt::Debug for Rooted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = std::any::type_name::<T>();
        write!(f, "Rooted<{}>({:?})", name.rsplit("::").next().unwrap_or(name), self.root)
    }
}

/// By handle, not by object: for that see [`Rooted::ref_eq`].
impl<T> PartialEq for Rooted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.store == other.store && self.root == other.root
    }
}

impl<T> Eq for Rooted<T> {}

impl<T> Hash for Rooted<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.root.hash(hasher);
    }
}

impl<T> Rooted<T> {
    /// Gives an object a root in the innermost scope.
    pub(crate) fn new(store: &mut StoreOpaque, object: GcRef) -> Rooted<T> {
        Rooted { store: store.id(), root: store.gc_mut().roots.push(object), marker: PhantomData }
    }

    /// The object. Fails if the handle's scope ended or it belongs to another store.
    pub(crate) fn object(&self, store: &StoreOpaque) -> Result<GcRef> {
        ensure!(self.store == store.id(), "a reference belongs to another store");
        store.gc().roots.get(self.root).context("a reference was used after the scope that it was valid in")
    }

    /// Whether two handles are of the same object.
    ///
    /// # Errors
    /// The scope of one has ended, or one belongs to another store.
    pub fn ref_eq(store: impl AsContext, a: &Rooted<T>, b: &Rooted<T>) -> Result<bool> {
        let store: &StoreOpaque = store.as_context().0;
        Ok(a.object(store)? == b.object(store)?)
    }

    /// A handle of the same object that is bound to no scope.
    ///
    /// # Errors
    /// The handle's scope has ended, or it belongs to another store.
    pub fn to_owned_rooted(&self, mut store: impl AsContextMut) -> Result<OwnedRooted<T>> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let object = self.object(store)?;
        let root = store.gc_mut().roots.own(object);
        Ok(OwnedRooted { store: self.store, root, marker: PhantomData })
    }
}

/// A handle of an object in a store's heap that keeps the object alive until the handle and its clones are dropped.
///
/// Unlike a [`Rooted`] it may outlive any scope and can be kept in the host's own data.
pub struct OwnedRooted<T> {
    store: StoreId,
    root: OwnedRoot,
    marker: PhantomData<fn() -> T>,
}

impl<T> Clone for OwnedRooted<T> {
    fn clone(&self) -> Self {
        OwnedRooted { store: self.store, root: self.root.clone(), marker: PhantomData }
    }
}

impl<T> fmt::Debug for OwnedRooted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = std::any::type_name::<T>();
        write!(f, "OwnedRooted<{}>({:?})", name.rsplit("::").next().unwrap_or(name), self.root)
    }
}

impl<T> OwnedRooted<T> {
    /// A handle of the same object in the innermost scope.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn to_rooted(&self, mut store: impl AsContextMut) -> Rooted<T> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        assert!(self.store == store.id(), "object used with the wrong store: it belongs to another one");
        let object = store.gc().roots.get_owned(&self.root).expect("an owned root lives as long as its handle");
        Rooted::new(store, object)
    }
}

/// A scope for handles of heap objects: those that are made through it end with it. It stands for the store.
///
/// ```
/// use kiln::{Engine, ExternRef, RootScope, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let inner = {
///     let mut scope = RootScope::new(&mut store);
///     ExternRef::new(&mut scope, "hello")?
/// };
/// assert!(inner.data(&store).is_err());
/// # anyhow::Ok(())
/// ```
pub struct RootScope<C: AsContextMut> {
    store: C,
    mark: ScopeMark,
}

impl<C: AsContextMut> RootScope<C> {
    /// Begins a scope; it ends when it is dropped.
    pub fn new(mut store: C) -> RootScope<C> {
        let mark = store.as_context_mut().0.gc_mut().enter_scope();
        RootScope { store, mark }
    }
}

impl<C: AsContextMut> Drop for RootScope<C> {
    fn drop(&mut self) {
        self.store.as_context_mut().0.gc_mut().exit_scope(self.mark);
    }
}

impl<C: AsContextMut> AsContext for RootScope<C> {
    type Data = C::Data;
    fn as_context(&self) -> StoreContext<'_, C::Data> {
        self.store.as_context()
    }
}

impl<C: AsContextMut> AsContextMut for RootScope<C> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        self.store.as_context_mut()
    }
}
