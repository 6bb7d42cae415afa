//! The readers. They take the bytes where they are and look at as few of them as they can; nothing in a file makes them
//! panic.

use super::sites::{Decoder, Site};
use super::write::{RANGES_AT, ROOT_AT};
use super::{CodePart, FORMAT_VERSION, HEADER_AT, Header, MAGIC, MAX_VARIANTS, Meta, Part, PartRange, ReadError};
use crate::func_key::FuncKey;
use crate::index::*;
use crate::machine::{Bodies, Handler, NO_WASM_OFFSET, Positions};
use crate::module::{ElemItems, FuncDecl};
use crate::trap::TrapCode;

/// First bytes of every ELF file.
const ELF_MAGIC: &[u8] = b"\x7fELF";

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

/// Whether a file that begins with these bytes ([`super::PAGE`] are enough) claims to be an artifact.
pub fn is_artifact(start: &[u8]) -> bool {
    start.starts_with(ELF_MAGIC) && start.get(HEADER_AT..).is_some_and(|h| h.starts_with(&MAGIC))
}

/// Reads the header of a file.
///
/// # Errors
/// It is no artifact, of another version, or has another length than it should.
pub fn read_header(file: &[u8]) -> Result<Header, ReadError> {
    if !is_artifact(file) {
        return Err(ReadError::NotAnArtifact);
    }
    let header = &file[HEADER_AT..];
    let version = word(header, 8).ok_or(ReadError::NotAnArtifact)?;
    if version != FORMAT_VERSION {
        return Err(ReadError::Version(version));
    }
    let field = |at| long(header, at).ok_or(ReadError::Length { expected: 0, found: file.len() as u64 });
    let (file_len, body_len, variants) = (field(16)?, field(24)?, field(ROOT_AT + 64)?);
    if file_len != file.len() as u64 {
        return Err(ReadError::Length { expected: file_len, found: file.len() as u64 });
    }
    if body_len > file_len || variants == 0 || variants > MAX_VARIANTS as u64 {
        return Err(ReadError::Damaged("its header makes no sense"));
    }
    let range = |i: usize| -> Result<PartRange, ReadError> {
        let (start, end) = (field(RANGES_AT + 16 * i)?, field(RANGES_AT + 16 * i + 8)?);
        if start > end || end > body_len {
            return Err(ReadError::Damaged("a part of it is not within the file"));
        }
        Ok(start..end)
    };
    let mut parts = [const { 0..0 }; Part::COUNT];
    for (i, part) in parts.iter_mut().enumerate() {
        *part = range(i)?;
    }
    let mut codes = Vec::with_capacity(variants as usize);
    for v in 0..variants as usize {
        let mut code = [const { 0..0 }; CodePart::COUNT];
        for (i, part) in code.iter_mut().enumerate() {
            *part = range(Part::COUNT + v * CodePart::COUNT + i)?;
        }
        codes.push(code);
    }
    let root = *header[ROOT_AT..].first_chunk().ok_or(ReadError::NotAnArtifact)?;
    let signature = *header[ROOT_AT + 32..].first_chunk().ok_or(ReadError::NotAnArtifact)?;
    Ok(Header { file_len, body_len, root, signature, parts, variants: codes })
}

/// Reads what is needed at once. The module lacks its [bodies](crate::Module::bodies), whose starts are in
/// [`Part::Bodies`].
///
/// # Errors
/// It cannot be decoded.
pub fn read_meta(file: &[u8], header: &Header) -> Result<Meta, ReadError> {
    let part = |part| super::bytes_of(file, header.part(part));
    let meta = postcard::from_bytes::<Meta>(part(Part::Meta));
    let mut meta = meta.map_err(|_| ReadError::Damaged("its metadata cannot be decoded"))?;
    let words = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| word(b, 0).unwrap_or_default()).collect::<Vec<u32>>();
    let decls = words(part(Part::FuncDecls));
    if decls.iter().any(|d| (d >> 1) as usize >= meta.module.types.len())
        || decls.len() < meta.module.num_imported_funcs as usize
    {
        return Err(ReadError::Damaged("a function has no type"));
    }
    let decl = |d: u32| FuncDecl { ty: TypeIndex(d >> 1), escapes: d & 1 != 0 };
    meta.module.funcs = decls.into_iter().map(decl).collect();
    let mut funcs = part(Part::ElemFuncs);
    for (segment, len) in meta.module.elems.values_mut().zip(&meta.elem_lens) {
        let Some((own, rest)) = funcs.split_at_checked(*len as usize * 4) else {
            return Err(ReadError::Damaged("an element segment is too long"));
        };
        funcs = rest;
        if let ElemItems::Funcs(items) = &mut segment.items {
            *items = own.chunks_exact(4).map(|b| FuncIndex(word(b, 0).unwrap_or_default())).collect();
        }
    }
    Ok(meta)
}

/// Words in a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct U32s<'a>(&'a [u8]);

impl<'a> U32s<'a> {
    /// The words that these bytes are; a rest of up to three bytes is left out.
    pub fn new(bytes: &'a [u8]) -> U32s<'a> {
        U32s(bytes)
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.len() / 4
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn get(self, index: usize) -> Option<u32> {
        word(self.0, index.checked_mul(4)?)
    }

    /// All of them.
    pub fn iter(self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.chunks_exact(4).map(|b| word(b, 0).unwrap_or_default())
    }

    /// `len` of them from `start` on; fewer if there are not that many.
    fn slice(self, start: usize, len: usize) -> U32s<'a> {
        let start = start.saturating_mul(4).min(self.0.len());
        let end = len.saturating_mul(4).saturating_add(start).min(self.0.len());
        U32s(&self.0[start..end])
    }

    /// In records of `stride` words, of which the first ascends: how many begin with at most `value`.
    fn up_to(self, stride: usize, value: u32) -> usize {
        let (mut low, mut high) = (0, self.len() / stride);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle * stride).is_some_and(|v| v <= value) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The record that begins with `value`.
    fn find(self, stride: usize, value: u32) -> Option<usize> {
        let at = self.up_to(stride, value).checked_sub(1)?;
        (self.get(at * stride)? == value).then_some(at)
    }
}

/// The tables about code for one CPU level, where they are in the file. Offsets are text offsets.
#[derive(Clone, Copy, Debug)]
pub struct CodeTables<'a> {
    file: &'a [u8],
    parts: &'a [PartRange; CodePart::COUNT],
    defined: usize,
}

impl<'a> CodeTables<'a> {
    /// The tables of a file's variant. `defined` is the number of functions that the module defines.
    pub fn new(file: &'a [u8], parts: &'a [PartRange; CodePart::COUNT], defined: usize) -> CodeTables<'a> {
        CodeTables { file, parts, defined }
    }

    fn bytes(&self, part: CodePart) -> &'a [u8] {
        super::bytes_of(self.file, self.parts[part as usize].clone())
    }

    fn words(&self, part: CodePart) -> U32s<'a> {
        U32s(self.bytes(part))
    }

    /// Checks what placing the code relies on: functions ascend and are within the text.
    ///
    /// # Errors
    /// They are not. Looks at the first and the last only: the hashes cover the rest.
    pub fn check(&self) -> Result<(), ReadError> {
        let text = self.bytes(CodePart::Text).len() as u64;
        let last = self.len().checked_sub(1).and_then(|last| self.func(last));
        let end = last.map_or(0, |(start, len)| u64::from(start) + u64::from(len));
        if end > text
            || self.len() < self.defined
            || self.words(CodePart::Keys).len() != 2 * (self.len() - self.defined)
            || ![0, 2 * self.defined].contains(&self.words(CodePart::Order).len())
        {
            return Err(ReadError::Damaged("its functions are not those of the module"));
        }
        Ok(())
    }

    /// How many functions there are, trampolines included.
    pub fn len(&self) -> usize {
        self.words(CodePart::Funcs).len() / 3
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Offset and length of a function, by position.
    pub fn func(&self, position: usize) -> Option<(u32, u32)> {
        let funcs = self.words(CodePart::Funcs);
        Some((funcs.get(3 * position)?, funcs.get(3 * position + 1)?))
    }

    /// Which function is at a position.
    pub fn key(&self, position: usize) -> Option<FuncKey> {
        let Some(other) = position.checked_sub(self.defined) else {
            let func = self.reordered(self.defined + position, position)?;
            return Some(FuncKey::Wasm(DefinedFuncIndex(func as u32)));
        };
        let keys = self.words(CodePart::Keys);
        FuncKey::unpack(keys.get(2 * other)?, keys.get(2 * other + 1)?).ok()
    }

    /// The position of a function.
    pub fn position(&self, key: FuncKey) -> Option<usize> {
        let (namespace, index) = key.pack();
        if let FuncKey::Wasm(_) = key {
            let index = Some(index as usize).filter(|i| *i < self.defined)?;
            return self.reordered(index, index);
        }
        let table = self.words(CodePart::Trampolines);
        let (mut low, mut high) = (0, table.len() / 3);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = (table.get(3 * middle)?, table.get(3 * middle + 1)?);
            match found.cmp(&(namespace, index)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return table.get(3 * middle + 2).map(|p| p as usize),
            }
        }
        None
    }

    /// The word at `at` of the table of functions that are not in order, which is one of them or a position; `in_order` where
    /// there is none.
    fn reordered(&self, at: usize, in_order: usize) -> Option<usize> {
        let order = self.words(CodePart::Order);
        let found = if order.is_empty() { in_order } else { order.get(at)? as usize };
        Some(found).filter(|found| *found < self.defined)
    }

    /// The position of the function that contains an offset.
    pub fn at(&self, offset: u32) -> Option<usize> {
        let position = self.words(CodePart::Funcs).up_to(3, offset).checked_sub(1)?;
        let (start, len) = self.func(position)?;
        (offset.checked_sub(start)? < len).then_some(position)
    }

    /// The places at which the function at a position may trap or be called back, in order.
    pub fn sites(&self, position: usize) -> impl Iterator<Item = Site> + use<'a> {
        let funcs = self.words(CodePart::Funcs);
        let first = funcs.get(3 * position + 2).map_or(usize::MAX, |at| at as usize);
        let end = funcs.get(3 * position + 5).map_or(usize::MAX, |at| at as usize);
        let bytes = self.bytes(CodePart::Sites);
        Decoder::new(bytes.get(first..end.min(bytes.len())).unwrap_or_default())
    }

    /// Why the instruction at an offset of the function at a position would trap, if it can.
    pub fn trap(&self, position: usize, offset: u32) -> Option<TrapCode> {
        self.sites(position).find(|site| site.offset >= offset).filter(|site| site.offset == offset)?.trap
    }

    /// The wasm frames that the instruction at an offset of the function at a position stands for, inlined ones first.
    pub fn positions(&self, position: usize, offset: u32) -> Positions<'a> {
        let sites = self.sites(position).take_while(|site| site.offset <= offset);
        let location = sites.filter_map(|site| site.location).last().unwrap_or(NO_WASM_OFFSET);
        let start = self.func(position).map_or(0, |(start, _)| start);
        Positions::new(self.inlined(start), location)
    }

    /// The bodies inlined into the function that begins at `start`.
    fn inlined(&self, start: u32) -> Bodies<'a> {
        let (index, bodies) = (self.words(CodePart::Inlined), self.words(CodePart::InlinedBodies));
        let range = || {
            let at = index.find(2, start)?;
            let first = index.get(2 * at + 1)? as usize;
            let end = index.get(2 * at + 3).map_or(bodies.len() / 3, |end| end as usize);
            Some(bodies.slice(first.checked_mul(3)?, end.saturating_sub(first).checked_mul(3)?))
        };
        Bodies::File(range().unwrap_or_default())
    }

    /// Where collected references are while the call that returns to `offset` is under way.
    pub fn stack_map(&self, offset: u32) -> Option<FileStackMap<'a>> {
        let maps = self.words(CodePart::StackMaps);
        let first = maps.get(2 * maps.find(2, offset)? + 1)? as usize;
        let words = self.words(CodePart::StackMapWords);
        let slots = words.slice(first.checked_add(2)?, words.get(first.checked_add(1)?)? as usize);
        Some(FileStackMap { fp_to_sp: words.get(first)?, slots })
    }

    /// The return addresses with a stack map, of those from `start` to `end`.
    pub fn stack_map_sites(&self, start: u32, end: u32) -> impl Iterator<Item = u32> + use<'a> {
        records(self.words(CodePart::StackMaps), start, end)
    }

    /// The return addresses with exception handlers, of those from `start` to `end`.
    pub fn handler_sites(&self, start: u32, end: u32) -> impl Iterator<Item = u32> + use<'a> {
        records(self.words(CodePart::Handlers), start, end)
    }

    /// The exception handlers around the call that returns to `offset`.
    pub fn handlers(&self, offset: u32) -> Option<FileHandlers<'a>> {
        let sites = self.words(CodePart::Handlers);
        let first = sites.get(2 * sites.find(2, offset)? + 1)? as usize;
        let words = self.words(CodePart::HandlerWords);
        let count = words.get(first.checked_add(2)?)? as usize;
        Some(FileHandlers {
            fp_to_sp: words.get(first)?,
            context_slot: words.get(first + 1)?.checked_sub(1),
            handlers: words.slice(first + 3, count.saturating_mul(2)),
        })
    }
}

/// First words of records of two, of those from `start` to `end`.
fn records(words: U32s<'_>, start: u32, end: u32) -> impl Iterator<Item = u32> {
    let first = start.checked_sub(1).map_or(0, |before| words.up_to(2, before));
    (first..words.len() / 2).map_while(move |i| words.get(2 * i)).take_while(move |offset| *offset <= end)
}

/// See [`StackMap`](crate::machine::StackMap).
#[derive(Clone, Copy, Debug)]
pub struct FileStackMap<'a> {
    /// `frame pointer - stack pointer` at the call, in bytes.
    pub fp_to_sp: u32,
    /// Offsets from the stack pointer of 32-bit references.
    pub slots: U32s<'a>,
}

/// See [`HandlerSite`](crate::machine::HandlerSite).
#[derive(Clone, Copy, Debug)]
pub struct FileHandlers<'a> {
    /// `frame pointer - stack pointer` at the call, in bytes.
    pub fp_to_sp: u32,
    /// Offset from the stack pointer of the slot that holds the function's context.
    pub context_slot: Option<u32>,
    handlers: U32s<'a>,
}

impl<'a> FileHandlers<'a> {
    /// The handlers, to be tried in order; their targets are text offsets.
    pub fn iter(&self) -> impl Iterator<Item = Handler> + use<'a> {
        let words = self.handlers;
        (0..words.len() / 2).filter_map(move |i| {
            let tag = words.get(2 * i)?.checked_sub(1).map(TagIndex);
            Some(Handler { tag, target: words.get(2 * i + 1)? })
        })
    }
}
