//! Globals.

use anyhow::{Context, Result, ensure};

use crate::store::{AsContext, AsContextMut};
use crate::types::GlobalType;
use crate::values::Val;
use crate::vm::global::GlobalHandle;

/// A global of a store.
///
/// ```
/// use kiln::*;
///
/// let mut store = Store::new(&Engine::default(), ());
/// let counter = Global::new(&mut store, GlobalType::new(ValType::I64, Mutability::Var), Val::I64(1))?;
/// counter.set(&mut store, Val::I64(2))?;
/// assert_eq!(counter.get(&mut store).i64(), Some(2));
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Global(pub(crate) GlobalHandle);

impl Global {
    /// Makes a global.
    ///
    /// # Errors
    /// The value has another type, or belongs to another store; the type belongs to another engine.
    pub fn new(mut store: impl AsContextMut, ty: GlobalType, value: Val) -> Result<Global> {
        let store = store.as_context_mut().0;
        ensure!(ty.content().is_of(store.engine().types()), "the type belongs to another engine");
        let env = ty.to_env();
        value.check_type(store, &env.content).context("initial value of a global")?;
        let raw = value.to_raw(store)?;
        Ok(Global(store.add_global(ty, raw)))
    }

    /// Its type. Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> GlobalType {
        let store = store.as_context();
        let _ = self.0.storage.get(store.0);
        GlobalType::from_env(store.0.engine().types(), self.0.ty)
    }

    /// Its value. Panics if it belongs to another store.
    pub fn get(&self, mut store: impl AsContextMut) -> Val {
        let store = store.as_context_mut().0;
        let raw = self.0.get(store);
        Val::from_raw(store, raw, &self.0.ty.content)
    }

    /// Sets its value. Panics if it belongs to another store.
    ///
    /// # Errors
    /// The global is immutable; the value has another type, or belongs to another store.
    pub fn set(&self, mut store: impl AsContextMut, value: Val) -> Result<()> {
        let store = store.as_context_mut().0;
        ensure!(self.0.ty.mutable, "immutable global cannot be set");
        value.check_type(store, &self.0.ty.content).context("value for a global")?;
        let raw = value.to_raw(store)?;
        self.0.set(store, raw);
        Ok(())
    }
}
