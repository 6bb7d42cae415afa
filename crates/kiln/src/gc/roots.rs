//! What the host holds of a store's heap. Handles name a root, never an object, so that objects may move.
//!
//! Two kinds of root: those of scopes, last in first out, which all handles that a host gets are at first, and owned
//! ones, which live as long as their handle. Using a handle whose root is gone is an error, never another object: each
//! root has a number that no other root of the store ever has.

use std::sync::{Arc, Weak};

use super::heap::GcRef;

/// Names a root of a scope.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Root {
    index: u32,
    unique: u64,
}

/// How many roots there were when a scope began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct ScopeMark(usize);

/// Names an owned root, and keeps it.
#[derive(Clone, Debug)]
pub(crate) struct OwnedRoot {
    index: u32,
    alive: Arc<()>,
}

struct ScopedSlot {
    object: GcRef,
    unique: u64,
}

struct OwnedSlot {
    object: GcRef,
    alive: Weak<()>,
}

/// The roots that a store's host holds.
#[derive(Default)]
pub(crate) struct Roots {
    scoped: Vec<ScopedSlot>,
    next_unique: u64,
    owned: Vec<Option<OwnedSlot>>,
    owned_free: Vec<u32>,
}

impl Roots {
    /// Adds a root to the innermost scope.
    pub(crate) fn push(&mut self, object: GcRef) -> Root {
        let root = Root { index: self.scoped.len() as u32, unique: self.next_unique };
        self.next_unique += 1;
        self.scoped.push(ScopedSlot { object, unique: root.unique });
        root
    }

    /// The object of a root, unless its scope has ended.
    pub(crate) fn get(&self, root: Root) -> Option<GcRef> {
        self.scoped.get(root.index as usize).filter(|slot| slot.unique == root.unique).map(|slot| slot.object)
    }

    /// Begins a scope.
    #[inline]
    pub(crate) fn enter_scope(&self) -> ScopeMark {
        ScopeMark(self.scoped.len())
    }

    /// Ends a scope and those within it.
    #[inline]
    pub(crate) fn exit_scope(&mut self, mark: ScopeMark) {
        self.scoped.truncate(mark.0);
    }

    /// Adds an owned root.
    pub(crate) fn own(&mut self, object: GcRef) -> OwnedRoot {
        if self.owned_free.is_empty() && self.owned.len() == self.owned.capacity() {
            self.trim();
        }
        let root = OwnedRoot { index: self.owned_free.pop().unwrap_or(self.owned.len() as u32), alive: Arc::new(()) };
        let slot = Some(OwnedSlot { object, alive: Arc::downgrade(&root.alive) });
        match self.owned.get_mut(root.index as usize) {
            Some(place) => *place = slot,
            None => self.owned.push(slot),
        }
        root
    }

    /// The object of an owned root of this store.
    pub(crate) fn get_owned(&self, root: &OwnedRoot) -> Option<GcRef> {
        let slot = self.owned.get(root.index as usize)?.as_ref()?;
        std::ptr::eq(slot.alive.as_ptr(), Arc::as_ptr(&root.alive)).then_some(slot.object)
    }

    /// Forgets the owned roots whose handles are gone.
    pub(crate) fn trim(&mut self) {
        for (index, place) in self.owned.iter_mut().enumerate() {
            if place.as_ref().is_some_and(|slot| slot.alive.strong_count() == 0) {
                *place = None;
                self.owned_free.push(index as u32);
            }
        }
    }

    /// Calls `f` with the object of every root.
    pub(crate) fn each(&self, mut f: impl FnMut(GcRef)) {
        self.scoped.iter().for_each(|slot| f(slot.object));
        self.owned.iter().flatten().for_each(|slot| f(slot.object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(n: u32) -> GcRef {
        GcRef::from_u32(n).unwrap()
    }

    #[test]
    fn scopes_end_last_in_first_out() {
        let mut roots = Roots::default();
        let a = roots.push(object(1));
        let outer = roots.enter_scope();
        let b = roots.push(object(2));
        let inner = roots.enter_scope();
        let c = roots.push(object(3));
        assert_eq!(roots.get(c), Some(object(3)));
        roots.exit_scope(inner);
        assert_eq!((roots.get(c), roots.get(b)), (None, Some(object(2))));
        roots.exit_scope(outer);
        let d = roots.push(object(4));
        // The place of `b` is used again, but `b` stays invalid.
        assert_eq!((roots.get(a), roots.get(b), roots.get(d)), (Some(object(1)), None, Some(object(4))));
    }

    #[test]
    fn owned_roots_live_as_long_as_their_handles() {
        let mut roots = Roots::default();
        let keep = roots.own(object(9));
        for n in 1..100_000 {
            let own = roots.own(object(n));
            assert_eq!(roots.get_owned(&own), Some(object(n)));
        }
        assert!(roots.owned.capacity() <= 16, "{}", roots.owned.capacity());
        let again = keep.clone();
        drop(keep);
        roots.trim();
        let mut all = Vec::new();
        roots.each(|o| all.push(o));
        assert_eq!((all, roots.get_owned(&again)), (vec![object(9)], Some(object(9))));
    }
}
