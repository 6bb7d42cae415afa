//! Tables.
//!
//! An element of a function table is a copy of the function's `VmFuncRef` with a pointer to it, so that an indirect
//! call reads one place. Fresh elements are zero, which is `TYPE_LAZY`: their value is what the module's element
//! segments say, found when somebody first asks.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::{self, NonNull};

use anyhow::{Context, Result};
use kiln_env::layout::{TYPE_LAZY, TYPE_NULL, table_element_size};
use kiln_env::limits::MAX_TABLE_ELEMENTS;
use kiln_env::types::{RefRepr, TableType};
use kiln_env::{DefinedTableIndex, TrapCode};

use super::context::{ValRaw, VmFuncRef, VmTable};
use super::handle::Handle;
use super::instance::InstanceData;
use super::store::StoreOpaque;
use crate::sys::mmap::Mapping;

/// One table of a store. Compiled code sees its `VmTable`, which stands elsewhere and is kept up to date here.
pub(crate) struct TableData {
    ty: TableType,
    repr: RefRepr,
    vm: NonNull<VmTable>,
    elements: Elements,
    /// The instance whose segments say what untouched elements are.
    owner: Option<(NonNull<InstanceData>, DefinedTableIndex)>,
}

/// An element as the runtime passes it about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    /// Of a function table; `None` is null.
    Func(Option<NonNull<VmFuncRef>>),
    /// Of a table of collected references; 0 is null.
    Gc(u32),
}

impl Element {
    /// As a value of compiled code.
    pub(crate) fn to_raw(self) -> ValRaw {
        match self {
            Element::Func(f) => ValRaw::u64(f.map_or(0, |f| f.as_ptr().expose_provenance() as u64)),
            Element::Gc(r) => ValRaw::u32(r),
        }
    }
}

/// Zeroed memory for elements.
struct Elements {
    ptr: NonNull<u8>,
    layout: Layout,
    /// Where the memory is pages of its own.
    pages: Option<Mapping>,
}

/// From so many bytes on elements have pages of their own, of which those cost nothing that nobody touches: an allocator may
/// clear all of them.
const OWN_PAGES: usize = 256 << 10;

impl Elements {
    fn new(repr: RefRepr, capacity: u64) -> Option<Elements> {
        let bytes = usize::try_from(capacity).ok()?.checked_mul(table_element_size(repr) as usize)?;
        let layout = Layout::from_size_align(bytes, 16).ok()?;
        if bytes == 0 {
            return Some(Elements { ptr: NonNull::dangling(), layout, pages: None });
        }
        if bytes >= OWN_PAGES {
            let pages = Mapping::accessible(bytes).ok()?;
            return Some(Elements { ptr: NonNull::new(pages.as_ptr())?, layout, pages: Some(pages) });
        }
        // SAFETY: the size is not zero.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Elements { ptr, layout, pages: None })
    }
}

impl Drop for Elements {
    fn drop(&mut self) {
        if self.layout.size() > 0 && self.pages.is_none() {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.ptr.as_ptr(), self.layout) };
        }
    }
}

const NULL_ENTRY: VmFuncRef = VmFuncRef { type_id: TYPE_NULL as u64, ..VmFuncRef::ZERO };

impl TableData {
    /// A table of type `ty` (engine-numbered) with untouched elements; its descriptor will be `vm`.
    ///
    /// # Safety
    /// `vm` stays valid and at its place until the table is dropped, and is not written by others. So does `owner`.
    pub(crate) unsafe fn new(
        ty: TableType,
        vm: NonNull<VmTable>,
        owner: Option<(NonNull<InstanceData>, DefinedTableIndex)>,
    ) -> Result<TableData> {
        let repr = ty.element.repr();
        anyhow::ensure!(
            ty.limits.min <= MAX_TABLE_ELEMENTS,
            "a table of {} elements exceeds the limit of {MAX_TABLE_ELEMENTS}",
            ty.limits.min
        );
        let elements = Elements::new(repr, ty.limits.min)
            .with_context(|| format!("no memory for a table of {} elements", ty.limits.min))?;
        // SAFETY: the caller hands it over.
        unsafe { vm.write(VmTable { base: elements.ptr.as_ptr(), len: ty.limits.min }) };
        Ok(TableData { ty, repr, vm, elements, owner })
    }

    /// Its type, engine-numbered.
    pub(crate) fn ty(&self) -> &TableType {
        &self.ty
    }

    /// Where its descriptor is.
    pub(crate) fn vm(&self) -> NonNull<VmTable> {
        self.vm
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> u64 {
        // SAFETY: `new`'s contract.
        unsafe { (*self.vm.as_ptr()).len }
    }

    fn func_entry(&self, index: u64) -> *mut VmFuncRef {
        debug_assert!(self.repr == RefRepr::FuncPointer && index < self.len());
        self.elements.ptr.as_ptr().cast::<VmFuncRef>().wrapping_add(index as usize)
    }

    fn gc_entry(&self, index: u64) -> *mut u32 {
        debug_assert!(self.repr == RefRepr::Gc && index < self.len());
        self.elements.ptr.as_ptr().cast::<u32>().wrapping_add(index as usize)
    }

    /// Whether `len` elements from `start` are all within.
    pub(crate) fn check(&self, start: u64, len: u64) -> Result<(), TrapCode> {
        match start.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(TrapCode::TableOutOfBounds),
        }
    }

    /// The function at `index`, which must be within.
    pub(crate) fn get_func(&mut self, index: u64) -> Result<Option<NonNull<VmFuncRef>>> {
        let entry = self.func_entry(index);
        // SAFETY: within the table, of which the borrow is unique.
        let VmFuncRef { type_id, reference, .. } = unsafe { *entry };
        if type_id as u32 != TYPE_LAZY {
            return Ok(NonNull::new(reference.cast()));
        }
        let func = match self.owner {
            // SAFETY: `new`'s contract; instances hand out function references through raw fields only.
            Some((instance, table)) => unsafe { InstanceData::lazy_element(instance, table, index)? },
            None => None,
        };
        self.put_func(index, func);
        Ok(func)
    }

    fn put_func(&mut self, index: u64, func: Option<NonNull<VmFuncRef>>) {
        let value = match func {
            // SAFETY: a function reference lives as long as the store.
            Some(f) => unsafe { VmFuncRef { reference: f.as_ptr().cast(), ..*f.as_ptr() } },
            None => NULL_ENTRY,
        };
        // SAFETY: within the table.
        unsafe { self.func_entry(index).write(value) };
    }

    /// The element at `index`, or `None` if that is outside.
    pub(crate) fn get(&mut self, index: u64) -> Result<Option<Element>> {
        if index >= self.len() {
            return Ok(None);
        }
        Ok(Some(match self.repr {
            RefRepr::FuncPointer => Element::Func(self.get_func(index)?),
            // SAFETY: within the table.
            RefRepr::Gc => Element::Gc(unsafe { *self.gc_entry(index) }),
        }))
    }

    /// Sets `len` elements from `start`.
    pub(crate) fn fill(&mut self, start: u64, value: Element, len: u64) -> Result<(), TrapCode> {
        self.check(start, len)?;
        for index in start..start + len {
            match value {
                Element::Func(f) => self.put_func(index, f),
                // SAFETY: within the table.
                Element::Gc(r) => unsafe { *self.gc_entry(index) = r },
            }
        }
        Ok(())
    }

    /// Writes the elements that `values` gives, from `start`.
    pub(crate) fn write(&mut self, start: u64, len: u64, mut value: impl FnMut(u64) -> Result<Element>) -> Result<()> {
        self.check(start, len)?;
        for i in 0..len {
            match value(i)? {
                Element::Func(f) => self.put_func(start + i, f),
                // SAFETY: within the table.
                Element::Gc(r) => unsafe { *self.gc_entry(start + i) = r },
            }
        }
        Ok(())
    }

    /// `table.copy`. The two may be the same table.
    ///
    /// # Safety
    /// Both are live tables with the same kind of elements, and nobody has a reference to either.
    pub(crate) unsafe fn copy(
        dst: NonNull<TableData>,
        src: NonNull<TableData>,
        dst_start: u64,
        src_start: u64,
        len: u64,
    ) -> Result<()> {
        // SAFETY: the caller's. At most one mutable reference exists at a time.
        unsafe {
            (*src.as_ptr()).check(src_start, len)?;
            (*dst.as_ptr()).check(dst_start, len)?;
            if len == 0 {
                return Ok(());
            }
            if (*src.as_ptr()).repr == RefRepr::Gc {
                let from = (*src.as_ptr()).gc_entry(src_start);
                ptr::copy(from, (*dst.as_ptr()).gc_entry(dst_start), len as usize);
                return Ok(());
            }
            // What an untouched element means depends on where it stands, so it is built before it moves.
            for index in src_start..src_start + len {
                (*src.as_ptr()).get_func(index)?;
            }
            let from = (*src.as_ptr()).func_entry(src_start);
            ptr::copy(from, (*dst.as_ptr()).func_entry(dst_start), len as usize);
        }
        Ok(())
    }

    /// Reports every collected reference.
    pub(crate) fn trace_roots(&self, f: &mut dyn FnMut(u32)) {
        if self.repr == RefRepr::Gc {
            for index in 0..self.len() {
                // SAFETY: within the table.
                f(unsafe { *self.gc_entry(index) });
            }
        }
    }

    /// Makes it `len` long; new elements are untouched. False if there is no memory.
    fn resize(&mut self, len: u64) -> bool {
        let size = u64::from(table_element_size(self.repr));
        if len * size > self.elements.layout.size() as u64 {
            let limit = self.ty.limits.max.unwrap_or(u64::MAX).min(MAX_TABLE_ELEMENTS);
            let capacity = len.max((len + len / 2).min(limit));
            let Some(elements) = Elements::new(self.repr, capacity) else { return false };
            // SAFETY: both hold the old length and do not overlap.
            unsafe {
                let bytes = (self.len() * size) as usize;
                ptr::copy_nonoverlapping(self.elements.ptr.as_ptr(), elements.ptr.as_ptr(), bytes);
            }
            self.elements = elements;
        }
        // SAFETY: `new`'s contract.
        unsafe { self.vm.write(VmTable { base: self.elements.ptr.as_ptr(), len }) };
        true
    }
}

/// Copies elements between tables of a store. Panics if one is of another store.
pub(crate) fn copy(
    store: &mut StoreOpaque,
    dst: Handle<TableData>,
    src: Handle<TableData>,
    dst_start: u64,
    src_start: u64,
    len: u64,
) -> Result<()> {
    let (dst, src) = (dst.ptr(store), src.ptr(store));
    // SAFETY: both belong to the store, which is borrowed mutably.
    unsafe { TableData::copy(dst, src, dst_start, src_start, len) }
}

/// Grows a table: the old size, or `None` if it could not grow. Fails only if the limiter does.
pub(crate) fn grow(
    store: &mut StoreOpaque,
    mut table: NonNull<TableData>,
    delta: u64,
    init: Element,
) -> Result<Option<u64>> {
    let Some(old) = grow_unfilled(store, table, delta)? else { return Ok(None) };
    // SAFETY: the table belongs to the store, which is borrowed mutably.
    unsafe { table.as_mut() }.fill(old, init, delta)?;
    Ok(Some(old))
}

/// The same, but the new elements are untouched: the caller fills them.
pub(crate) fn grow_unfilled(store: &mut StoreOpaque, mut table: NonNull<TableData>, delta: u64) -> Result<Option<u64>> {
    // SAFETY: the table belongs to the store, which is borrowed mutably; the limiter below has no access to tables.
    let table = unsafe { table.as_mut() };
    let old = table.len();
    let maximum = table.ty.limits.max;
    let wanted = old.saturating_add(delta);
    if let Some(mut limiter) = store.limiter() {
        let max = maximum.and_then(|m| usize::try_from(m).ok());
        let (current, desired) = (old as usize, usize::try_from(wanted).unwrap_or(usize::MAX));
        if !limiter.get().table_growing(current, desired, max)? {
            return Ok(None);
        }
    }
    if wanted > maximum.unwrap_or(u64::MAX).min(MAX_TABLE_ELEMENTS) || !table.resize(wanted) {
        if let Some(mut limiter) = store.limiter() {
            limiter.get().table_grow_failed(anyhow::anyhow!("table maximum size exceeded"))?;
        }
        return Ok(None);
    }
    Ok(Some(old))
}

/// Asks the limiter whether a table may be made.
pub(crate) fn check_new(store: &mut StoreOpaque, ty: &TableType) -> Result<()> {
    if let Some(mut limiter) = store.limiter() {
        let maximum = ty.limits.max.and_then(|m| usize::try_from(m).ok());
        let wanted = usize::try_from(ty.limits.min).unwrap_or(usize::MAX);
        let allowed = limiter.get().table_growing(0, wanted, maximum)?;
        anyhow::ensure!(allowed, "table minimum size of {} elements exceeds table limits", ty.limits.min);
    }
    Ok(())
}
