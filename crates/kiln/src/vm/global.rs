//! Storage of globals.

use std::cell::UnsafeCell;

use kiln_env::types::GlobalType;

use super::context::ValRaw;
use super::handle::Handle;
use super::store::StoreOpaque;

/// The 16 bytes of a global, in an instance's context or made by the host.
#[repr(C, align(16))]
pub(crate) struct GlobalStorage(UnsafeCell<ValRaw>);

const _: () = assert!(size_of::<GlobalStorage>() == kiln_env::layout::GLOBAL_SIZE as usize);

impl GlobalStorage {
    /// A global's storage with its first value.
    pub(crate) fn new(value: ValRaw) -> GlobalStorage {
        GlobalStorage(UnsafeCell::new(value))
    }

    /// Its value.
    pub(crate) fn get(&self) -> ValRaw {
        // SAFETY: a global belongs to one store, and whoever has a reference to it borrows that store, so that no code
        // of the store runs meanwhile.
        unsafe { *self.0.get() }
    }

    /// Sets its value.
    pub(crate) fn set(&self, value: ValRaw) {
        // SAFETY: as for `get`; nobody keeps references to the contents.
        unsafe { *self.0.get() = value }
    }
}

/// A global made by the host.
pub(crate) struct HostGlobal {
    pub(crate) storage: GlobalStorage,
    /// Its type, engine-numbered.
    pub(crate) ty: GlobalType,
    /// Keeps the types registered that the type names.
    pub(crate) _public: crate::types::GlobalType,
}

/// A global of a store, with its engine-numbered type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GlobalHandle {
    pub(crate) storage: Handle<GlobalStorage>,
    pub(crate) ty: GlobalType,
}

impl GlobalHandle {
    /// Its value. Panics if it belongs to another store.
    pub(crate) fn get(&self, store: &StoreOpaque) -> ValRaw {
        self.storage.get(store).get()
    }

    /// Sets its value, whose type the caller has checked. Panics if it belongs to another store.
    pub(crate) fn set(&self, store: &mut StoreOpaque, value: ValRaw) {
        self.storage.get(store).set(value);
    }
}
