//! Code of a module that is in a mapped artifact, and stays there.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use kiln_env::artifact::{CodePart, CodeTables, PartRange};
use kiln_env::{DefinedFuncIndex, FuncKey};

use super::tables::Tables;
use super::{CodeError, FoundFunc, Placed};
use crate::sys::file::MappedFile;

/// Code for one CPU level in an artifact.
pub(super) struct MappedCode {
    file: Arc<MappedFile>,
    parts: [PartRange; CodePart::COUNT],
    defined: usize,
    /// The text, by offset in the file.
    text: Range<usize>,
}

impl MappedCode {
    /// Makes the code executable where it is. `defined` is the number of functions that the module defines.
    pub(super) fn new(
        file: Arc<MappedFile>,
        parts: [PartRange; CodePart::COUNT],
        defined: usize,
    ) -> Result<MappedCode, CodeError> {
        CodeTables::new(file.bytes(), &parts, defined)
            .check()
            .map_err(|_| CodeError::BadImage("its functions are not those of the module"))?;
        let text = parts[CodePart::Text as usize].clone();
        let text = text.start as usize..text.end as usize;
        // If the file becomes shorter, compiled code is left through its entry trampoline: that has to be there. Trampolines
        // come last.
        if let Some((start, _)) = CodeTables::new(file.bytes(), &parts, defined).func(defined) {
            // SAFETY: the code is not known to anybody yet.
            unsafe { file.detach(text.start.saturating_add(start as usize)..text.end)? };
        }
        if !text.is_empty() {
            file.make_executable(text.clone())?;
        }
        Ok(MappedCode { file, parts, defined, text })
    }

    fn tables(&self) -> CodeTables<'_> {
        CodeTables::new(self.file.bytes(), &self.parts, self.defined)
    }

    fn base(&self) -> usize {
        self.file.bytes().as_ptr() as usize + self.text.start
    }

    pub(super) fn text(&self) -> Range<usize> {
        self.base()..self.base() + self.text.len()
    }

    fn at(&self, position: usize) -> Option<NonNull<u8>> {
        let (start, _) = self.tables().func(position)?;
        let address = self.file.bytes().get(self.text.clone())?.get(start as usize..)?.as_ptr();
        NonNull::new(address.cast_mut())
    }

    pub(super) fn entry(&self, index: DefinedFuncIndex) -> NonNull<u8> {
        self.function(FuncKey::Wasm(index)).expect("there are as many functions as the module defines")
    }

    pub(super) fn function(&self, key: FuncKey) -> Result<NonNull<u8>, CodeError> {
        self.tables().position(key).and_then(|p| self.at(p)).ok_or(CodeError::Missing(key))
    }

    pub(super) fn find(&self, pc: usize) -> Option<FoundFunc<'_>> {
        let offset = u32::try_from(pc.checked_sub(self.base())?).ok()?;
        let tables = self.tables();
        let position = tables.at(offset)?;
        let (start, _) = tables.func(position)?;
        let key = tables.key(position)?;
        Some(FoundFunc { key, start: self.base() + start as usize, tables: Tables::File { tables, position, start } })
    }

    /// All functions, for observers. How to unwind is in the file.
    pub(super) fn placed(&self) -> Vec<Placed<'static>> {
        let tables = self.tables();
        let placed = |position| {
            let (start, len) = tables.func(position)?;
            let start = self.base() + start as usize;
            Some(Placed { key: tables.key(position)?, range: start..start + len as usize, unwind: &[] })
        };
        (0..tables.len()).filter_map(placed).collect()
    }
}
