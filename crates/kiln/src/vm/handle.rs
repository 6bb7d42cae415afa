//! Ownership and naming of a store's objects: addresses that stay, and handles that know their store.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::store::StoreOpaque;

/// Number of a store, never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StoreId(NonZeroU64);

impl StoreId {
    /// A number that no store has had.
    pub(crate) fn next() -> StoreId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        StoreId(NonZeroU64::new(id).expect("2^64 stores cannot be made"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store{}", self.0)
    }
}

/// A heap object with a stable address, to which others keep pointers. Unlike a `Box` it claims no unique access when it
/// is moved.
pub(crate) struct Owned<X>(NonNull<X>);

impl<X> Owned<X> {
    /// Moves `value` to the heap.
    pub(crate) fn new(value: X) -> Owned<X> {
        Owned(NonNull::from(Box::leak(Box::new(value))))
    }

    /// The address; valid until the owner is dropped.
    #[inline]
    pub(crate) fn ptr(&self) -> NonNull<X> {
        self.0
    }
}

impl<X> Deref for Owned<X> {
    type Target = X;
    #[inline]
    fn deref(&self) -> &X {
        // SAFETY: the object lives as long as its owner, which is borrowed.
        unsafe { self.0.as_ref() }
    }
}

impl<X> DerefMut for Owned<X> {
    #[inline]
    fn deref_mut(&mut self) -> &mut X {
        // SAFETY: as above; the owner is borrowed mutably.
        unsafe { self.0.as_mut() }
    }
}

impl<X> Drop for Owned<X> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked a box at this address and nobody else frees it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

// SAFETY: 1. it owns one `X` as a box does. 2. It hands out references by the usual borrowing rules only.
unsafe impl<X: Send> Send for Owned<X> {}
// SAFETY: as for `Send`.
unsafe impl<X: Sync> Sync for Owned<X> {}

/// Names an object of a store. It can be copied and sent anywhere; only with its store does it give access.
pub(crate) struct Handle<X> {
    store: StoreId,
    ptr: NonNull<X>,
}

impl<X> Clone for Handle<X> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<X> Copy for Handle<X> {}

impl<X> PartialEq for Handle<X> {
    fn eq(&self, other: &Self) -> bool {
        self.store == other.store && self.ptr == other.ptr
    }
}

impl<X> fmt::Debug for Handle<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{:?}", self.store, self.ptr)
    }
}

// SAFETY: 1. a handle alone reads and writes nothing. 2. Access needs a reference to the store, whose own `Send` and
// exclusive borrows rule who may touch the object.
unsafe impl<X> Send for Handle<X> {}
// SAFETY: as for `Send`.
unsafe impl<X> Sync for Handle<X> {}

impl<X> Handle<X> {
    /// Names the object at `ptr`.
    ///
    /// # Safety
    /// The object belongs to `store`: it stays at this address until the store is dropped, and is accessed with a
    /// borrow of the store only.
    pub(crate) unsafe fn new(store: StoreId, ptr: NonNull<X>) -> Handle<X> {
        Handle { store, ptr }
    }

    /// Whether it is an object of this store.
    #[inline]
    pub(crate) fn comes_from(&self, store: &StoreOpaque) -> bool {
        self.store == store.id()
    }

    /// The address. Panics if the object belongs to another store.
    #[inline]
    pub(crate) fn ptr(&self, store: &StoreOpaque) -> NonNull<X> {
        if self.store != store.id() {
            wrong_store();
        }
        self.ptr
    }

    /// The address, unchecked.
    pub(crate) fn raw(&self) -> NonNull<X> {
        self.ptr
    }

    /// The object. Panics if it belongs to another store.
    #[inline]
    pub(crate) fn get<'a>(&self, store: &'a StoreOpaque) -> &'a X {
        let ptr = self.ptr(store);
        // SAFETY: `new`'s contract: it lives as long as the store, which is borrowed.
        unsafe { ptr.as_ref() }
    }

    /// The object, mutably. Panics if it belongs to another store.
    #[inline]
    pub(crate) fn get_mut<'a>(&self, store: &'a mut StoreOpaque) -> &'a mut X {
        let mut ptr = self.ptr(store);
        // SAFETY: as above; the store is borrowed mutably, so nobody else has access.
        unsafe { ptr.as_mut() }
    }
}

#[cold]
#[inline(never)]
fn wrong_store() -> ! {
    panic!("object used with the wrong store: it belongs to another one")
}
