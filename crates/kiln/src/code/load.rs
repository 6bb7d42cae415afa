//! The one way to run code from bytes that are not known to come from the user's own compiler.

use std::sync::Arc;

use anyhow::Result;

use crate::artifact::Verified;
use crate::{Engine, Module};

impl Module {
    /// Loads a module from the bytes of an artifact, as [`Module::serialize`] makes them. Nothing is compiled.
    ///
    /// # Errors
    /// The bytes are no artifact, or were changed since they were written; or this engine cannot run it, which is an
    /// [`IncompatibleArtifact`](crate::IncompatibleArtifact). The message says what differs.
    ///
    /// # Safety
    /// The bytes come from Kiln and from someone who may run any code in this process. That they are whole is checked,
    /// who made them cannot be: an artifact made with intent does anything.
    ///
    /// ```
    /// use kiln::{Engine, Instance, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let bytes = Module::new(&engine, r#"(module (func (export "two") (result i32) i32.const 2))"#)?.serialize()?;
    /// // SAFETY: the bytes were made just now.
    /// let module = unsafe { Module::deserialize(&engine, &bytes)? };
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "two")?.call(&mut store, ())?, 2);
    /// # anyhow::Ok(())
    /// ```
    pub unsafe fn deserialize(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Module> {
        let data = Verified::copy_of(bytes.as_ref())?.module(engine)?;
        Ok(Module::from_data(Arc::new(data)))
    }
}
