//! All functions of a module, placed.

use serde::{Deserialize, Serialize};

use crate::func_key::FuncKey;
use crate::machine::FuncTables;

/// The linked code of a module: text whose internal references are all resolved pc-relative, so that it can be mapped
/// anywhere, and what is known about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Machine code of all functions.
    pub text: Vec<u8>,
    /// The functions, by ascending position in the text.
    pub funcs: Vec<ImageFunc>,
}

/// A function in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFunc {
    /// Which one.
    pub key: FuncKey,
    /// Offset of its first byte in the text.
    pub start: u32,
    /// Bytes of its code.
    pub len: u32,
    /// The tables, by code offset from `start`.
    pub tables: FuncTables,
}

impl Image {
    /// The function that contains this text offset.
    pub fn func_at(&self, offset: u32) -> Option<&ImageFunc> {
        let i = self.funcs.partition_point(|f| f.start <= offset).checked_sub(1)?;
        let func = &self.funcs[i];
        (offset - func.start < func.len).then_some(func)
    }
}
