//! The collected heap of a store, its roots, and the handles of the host.
//!
//! `externref` and `exnref` values are 32-bit numbers of objects in the heap. A collection is exact: the roots are what
//! compiled frames hold by their stack maps, tables, globals, element segments, the handles of the host, and the exception
//! that is on its way through the host. It runs when an allocation finds that about as much was allocated since the last
//! one as lives, so its cost per object is constant.

mod heap;
mod roots;

pub(crate) use heap::{GcRef, Heap, HostValue, PayloadLayout};
pub(crate) use roots::{OwnedRoot, Root, Roots, ScopeMark};

/// What a store has of all this. Empty, it owns no memory.
#[derive(Default)]
pub(crate) struct GcStore {
    heap: Option<Box<Heap>>,
    roots: Roots,
    /// The exception that a host function is throwing or that the host has not taken yet.
    pending_exception: Option<GcRef>,
}

impl GcStore {
    /// An empty one.
    pub(crate) fn new() -> GcStore {
        GcStore::default()
    }

    /// The objects.
    #[inline]
    pub(crate) fn heap(&mut self) -> &mut Heap {
        self.heap.get_or_insert_with(|| Box::new(Heap::new(kiln_env::limits::MAX_OBJECT_HEAP)))
    }

    /// Begins a scope of host handles: done around each call of a host function whose signature has references.
    #[inline]
    pub(crate) fn enter_scope(&self) -> ScopeMark {
        self.roots.enter_scope()
    }

    /// Ends a scope: its handles become invalid.
    #[inline]
    pub(crate) fn exit_scope(&mut self, mark: ScopeMark) {
        self.roots.exit_scope(mark);
    }
}
pub use crate::stand_in::gc_rest::Tag;
pub(crate) use crate::stand_in::gc_rest::{builtins, collect, take_thrown, thrown_error};
