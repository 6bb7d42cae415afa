//! The collected heap of a store, its roots, and the handles of the host.
//!
//! `externref` and `exnref` values are 32-bit numbers of objects in the heap. A collection is exact: the roots are what
//! compiled frames hold by their stack maps, tables, globals, element segments, the handles of the host, and the exception
//! that is on its way through the host. It runs when an allocation finds that about as much was allocated since the last
//! one as lives, so its cost per object is constant.

mod anyref;
pub(crate) mod builtins;
mod collect;
mod exnref;
mod externref;
mod heap;
mod rooting;
mod roots;
mod tag;

pub use anyref::AnyRef;
pub use exnref::{ExnRef, ThrownException};
pub use externref::ExternRef;
pub use rooting::{OwnedRooted, RootScope, Rooted};
pub use tag::Tag;

pub(crate) use collect::collect;
pub(crate) use exnref::{take_thrown, thrown_error};
pub(crate) use heap::{GcRef, Heap, HostValue, PayloadLayout};
pub(crate) use roots::{OwnedRoot, Root, Roots, ScopeMark};

use crate::types::FuncType;
use crate::vm::context::VmTag;
use crate::vm::handle::Owned;

/// What a store has of all this. Empty, it owns no memory.
#[derive(Default)]
pub(crate) struct GcStore {
    heap: Option<Box<Heap>>,
    roots: Roots,
    /// The exception that a host function is throwing or that the host has not taken yet.
    pending_exception: Option<GcRef>,
    /// Tags that the host made, and their types, which have to stay registered.
    tags: Vec<(Owned<VmTag>, FuncType)>,
    /// Whether the store has a limiter, which is asked before the heap grows.
    limited: bool,
}

impl GcStore {
    /// The objects, made room for.
    #[inline]
    pub(crate) fn heap(&mut self) -> &mut Heap {
        self.heap.get_or_insert_with(|| {
            let mut heap = Box::new(Heap::new(kiln_env::limits::MAX_OBJECT_HEAP));
            if self.limited {
                heap.grant(0);
            }
            heap
        })
    }

    /// From now on the store's limiter is asked before the heap grows.
    pub(crate) fn limit(&mut self) {
        self.limited = true;
        if let Some(heap) = &mut self.heap {
            heap.grant(heap.bytes());
        }
    }

    /// The objects, if there ever was one.
    pub(crate) fn objects(&self) -> Option<&Heap> {
        self.heap.as_deref()
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
