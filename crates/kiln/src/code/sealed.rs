//! Code of a module that was compiled as a whole.

use std::collections::HashMap;
use std::ops::Range;
use std::ptr::NonNull;

use kiln_env::image::ImageFunc;
use kiln_env::{DefinedFuncIndex, FuncKey, Image};

use super::memory::FixedCode;
use super::tables::Tables;
use super::{CodeError, FoundFunc, Placed};

/// A placed image.
pub(super) struct SealedCode {
    memory: FixedCode,
    /// Bytes of the text.
    text_len: usize,
    /// By ascending position.
    funcs: Vec<ImageFunc>,
    /// Text offset of each defined function.
    entries: Box<[u32]>,
    /// Text offsets of everything else.
    trampolines: HashMap<FuncKey, u32>,
}

impl SealedCode {
    /// Places an image. Fails if it contradicts itself or lacks one of the functions below its highest index.
    pub(super) fn new(image: Image) -> Result<SealedCode, CodeError> {
        let Image { text, funcs } = image;
        let mut free = 0_u64;
        for func in &funcs {
            if u64::from(func.start) < free {
                return Err(CodeError::BadImage("functions overlap or are not sorted"));
            }
            free = u64::from(func.start) + u64::from(func.len);
        }
        if free > text.len() as u64 {
            return Err(CodeError::BadImage("a function lies outside of the text"));
        }
        let defined = |f: &ImageFunc| if let FuncKey::Wasm(i) = f.key { Some(i.0 as usize) } else { None };
        let count = funcs.iter().filter_map(defined).count();
        let mut entries = vec![u32::MAX; count];
        let mut trampolines = HashMap::new();
        for func in &funcs {
            match defined(func) {
                Some(index) => {
                    let entry = entries.get_mut(index).ok_or(CodeError::BadImage("a function is missing"))?;
                    *entry = func.start;
                }
                None => {
                    trampolines.insert(func.key, func.start);
                }
            }
        }
        if entries.contains(&u32::MAX) {
            return Err(CodeError::BadImage("a function is there twice"));
        }
        let memory = FixedCode::new(&text)?;
        Ok(SealedCode { memory, text_len: text.len(), funcs, entries: entries.into(), trampolines })
    }

    pub(super) fn text(&self) -> Range<usize> {
        let start = self.memory.text() as usize;
        start..start + self.memory.len()
    }

    /// A copy of the image.
    pub(super) fn image(&self) -> Image {
        // SAFETY: the mapping has at least so many bytes, and they never change.
        let text = unsafe { std::slice::from_raw_parts(self.memory.text(), self.text_len) };
        Image { text: text.to_vec(), funcs: self.funcs.clone() }
    }

    fn at(&self, offset: u32) -> NonNull<u8> {
        NonNull::new(self.memory.text().wrapping_add(offset as usize)).expect("no mapping is at 0")
    }

    pub(super) fn entry(&self, index: DefinedFuncIndex) -> NonNull<u8> {
        self.at(self.entries[index.0 as usize])
    }

    pub(super) fn function(&self, key: FuncKey) -> Result<NonNull<u8>, CodeError> {
        let offset = match key {
            FuncKey::Wasm(index) => self.entries.get(index.0 as usize),
            _ => self.trampolines.get(&key),
        };
        offset.map(|o| self.at(*o)).ok_or(CodeError::Missing(key))
    }

    pub(super) fn find(&self, pc: usize) -> Option<FoundFunc<'_>> {
        let offset = u32::try_from(pc.checked_sub(self.memory.text() as usize)?).ok()?;
        let func = &self.funcs[self.funcs.partition_point(|f| f.start <= offset).checked_sub(1)?];
        (offset - func.start < func.len).then(|| FoundFunc {
            key: func.key,
            start: self.memory.text() as usize + func.start as usize,
            tables: Tables::Own(&func.tables),
        })
    }

    /// All functions, for observers.
    pub(super) fn placed(&self) -> Vec<Placed<'_>> {
        let text = self.memory.text() as usize;
        let range = |f: &ImageFunc| text + f.start as usize..text + f.start as usize + f.len as usize;
        self.funcs.iter().map(|f| Placed { key: f.key, range: range(f), unwind: &f.tables.unwind }).collect()
    }
}
