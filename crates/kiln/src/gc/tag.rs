//! Exception tags.

use std::ptr::NonNull;

use anyhow::{Result, ensure};

use crate::store::{AsContext, AsContextMut};
use crate::types::registry::TypeId;
use crate::types::{FuncType, TagType};
use crate::vm::context::VmTag;
use crate::vm::handle::{Handle, Owned};
use crate::vm::store::StoreOpaque;

/// An exception tag of a store: what a handler tells exceptions apart by, and the type of their payload. Two tags are
/// the same only if they are one tag, whatever their types.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tag(Handle<VmTag>);

impl Tag {
    /// A new tag, different from all others.
    ///
    /// # Errors
    /// The function type of `ty` has results.
    ///
    /// # Panics
    /// If `ty` belongs to another engine.
    pub fn new(mut store: impl AsContextMut, ty: &TagType) -> Result<Tag> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let func = ty.ty();
        assert!(func.is_of(store.engine().types()), "a tag's type belongs to another engine");
        ensure!(func.results().len() == 0, "the function type of a tag has no results, but {func} has");
        let tag = Owned::new(VmTag { type_id: u64::from(func.id().as_u32()) });
        let ptr = tag.ptr();
        store.gc_mut().tags.push((tag, func.clone()));
        Ok(Tag::from_vm(store, ptr))
    }

    /// Its type.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> TagType {
        let store: &StoreOpaque = store.as_context().0;
        TagType::new(FuncType::from_id(store.engine().types(), self.type_id(store)))
    }

    /// Whether two tags are one.
    ///
    /// # Panics
    /// If one belongs to another store.
    pub fn eq(a: &Tag, b: &Tag, store: impl AsContext) -> bool {
        let store: &StoreOpaque = store.as_context().0;
        a.vm(store) == b.vm(store)
    }

    /// The tag at an address, which is one of this store.
    pub(crate) fn from_vm(store: &StoreOpaque, tag: NonNull<VmTag>) -> Tag {
        // SAFETY: tags live in contexts of the store's instances or in its `GcStore`, as long as the store, and do not
        // change.
        Tag(unsafe { store.handle(tag) })
    }

    /// Its address, which is its identity. Panics if it belongs to another store.
    pub(crate) fn vm(&self, store: &StoreOpaque) -> NonNull<VmTag> {
        self.0.ptr(store)
    }

    /// Number of the function type of its payload.
    pub(crate) fn type_id(&self, store: &StoreOpaque) -> TypeId {
        TypeId::from_u32(self.0.get(store).type_id as u32)
    }

    /// Whether it belongs to the store.
    pub(crate) fn comes_from(&self, store: &StoreOpaque) -> bool {
        self.0.comes_from(store)
    }
}
