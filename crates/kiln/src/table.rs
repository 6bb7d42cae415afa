//! Tables.

use anyhow::{Context, Result, ensure};
use kiln_env::types as env;

use crate::store::{AsContext, AsContextMut};
use crate::trap::Trap;
use crate::types::TableType;
use crate::values::{Ref, Val};
use crate::vm::handle::Handle;
use crate::vm::instance::element_from_raw;
use crate::vm::store::{StoreOpaque, trap_of};
use crate::vm::table::{self as vm, Element, TableData};

/// A table of a store.
///
/// ```
/// use kiln::*;
///
/// let mut store = Store::new(&Engine::default(), ());
/// let table = Table::new(&mut store, TableType::new(RefType::FUNCREF, 2, None), Ref::Func(None))?;
/// let five = Func::wrap(&mut store, || 5);
/// table.set(&mut store, 1, Ref::Func(Some(five)))?;
/// assert!(table.get(&mut store, 0).is_some_and(|r| r.is_null()));
/// assert!(table.get(&mut store, 2).is_none());
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Table(pub(crate) Handle<TableData>);

impl Table {
    /// Makes a table, every element `init`.
    ///
    /// # Errors
    /// `init` has another type, or belongs to another store; the type belongs to another engine; the table is too large,
    /// or the store's limiter refuses.
    pub fn new(mut store: impl AsContextMut, ty: TableType, init: Ref) -> Result<Table> {
        let store = store.as_context_mut().0;
        ensure!(ty.element().is_of(store.engine().types()), "the type belongs to another engine");
        let init = to_element(store, init, ty.to_env().element)?;
        Ok(Table(store.add_table(ty, init)?))
    }

    /// Its type. Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> TableType {
        let store = store.as_context();
        TableType::from_env(store.0.engine().types(), *self.0.get(store.0).ty())
    }

    /// The element at `index`, or `None` if that is outside. Panics if the table belongs to another store.
    pub fn get(&self, mut store: impl AsContextMut, index: u64) -> Option<Ref> {
        let store = store.as_context_mut().0;
        let ty = env::ValType::Ref(self.0.get(store).ty().element);
        let element = self.0.get_mut(store).get(index).ok()??;
        Val::from_raw(store, element.to_raw(), &ty).ref_()
    }

    /// Sets the element at `index`. Panics if the table belongs to another store.
    ///
    /// # Errors
    /// `index` is outside; the value has another type, or belongs to another store.
    pub fn set(&self, store: impl AsContextMut, index: u64, value: Ref) -> Result<()> {
        self.fill(store, index, value, 1)
    }

    /// The number of elements. Panics if the table belongs to another store.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.0.get(store.as_context().0).len()
    }

    /// Grows by `delta` elements, each `init`, and returns the old size. Panics if the table belongs to another store.
    ///
    /// # Errors
    /// It cannot grow so far; `init` has another type, or belongs to another store.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64, init: Ref) -> Result<u64> {
        let store = store.as_context_mut().0;
        let ty = self.0.get(store).ty().element;
        let init = to_element(store, init, ty)?;
        let table = self.0.ptr(store);
        vm::grow(store, table, delta, init)?.context("failed to grow table")
    }

    /// Sets `len` elements from `start`. Panics if the table belongs to another store.
    ///
    /// # Errors
    /// Some are outside (none is set then); the value has another type, or belongs to another store.
    pub fn fill(&self, mut store: impl AsContextMut, start: u64, value: Ref, len: u64) -> Result<()> {
        let store = store.as_context_mut().0;
        let ty = self.0.get(store).ty().element;
        let element = to_element(store, value, ty)?;
        self.0.get_mut(store).fill(start, element, len).map_err(Trap::from)?;
        Ok(())
    }

    /// Copies `len` elements. Panics if a table belongs to another store.
    ///
    /// # Errors
    /// Some are outside (none is copied then), or the element types differ.
    pub fn copy(
        mut store: impl AsContextMut,
        dst: &Table,
        dst_index: u64,
        src: &Table,
        src_index: u64,
        len: u64,
    ) -> Result<()> {
        let store = store.as_context_mut().0;
        let (to, from) = (dst.0.get(store).ty().element, src.0.get(store).ty().element);
        let matches = crate::types::matching::ref_matches(store.engine().types(), from, to);
        ensure!(matches, "type mismatch: elements of the source table do not fit into the destination table");
        vm::copy(store, dst.0, src.0, dst_index, src_index, len).map_err(trap_of)
    }
}

fn to_element(store: &mut StoreOpaque, value: Ref, ty: env::RefType) -> Result<Element> {
    let value = Val::from(value);
    value.check_type(store, &env::ValType::Ref(ty)).context("table element")?;
    let raw = value.to_raw(store)?;
    Ok(element_from_raw(ty.repr(), raw))
}
