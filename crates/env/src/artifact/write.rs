//! The writer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use object::endian::Endianness;
use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Writer};
use object::{elf, write};
use target_lexicon::{Architecture, Triple};

use super::{
    CodePart, FORMAT_VERSION, HEADER_AT, Header, MAGIC, MAX_VARIANTS, MemoryPages, Meta, PAGE, Part, PartRange,
    eh_frame, hash, image, sites,
};
use crate::func_key::FuncKey;
use crate::image::Image;
use crate::index::*;
use crate::machine::{FuncTables, HandlerSite, InlinedBody, StackMap};
use crate::module::{DataSegment, ElemItems, Module, SegmentMode, SourceRange};
use crate::settings::Fingerprint;

/// Where the root hash is in the header.
pub(super) const ROOT_AT: usize = 32;
/// Where the parts' ranges begin in the header.
pub(super) const RANGES_AT: usize = 104;

/// What goes into a file.
pub struct Contents<'a> {
    /// The declarations.
    pub module: &'a Module,
    /// The module's bytes.
    pub wasm: &'a [u8],
    /// What becomes of these.
    pub source: WasmSource,
    /// Code, the least demanding CPU level first. Empty names for the only one.
    pub variants: &'a [CodeVariant<'a>],
    /// Names of functions for native tools.
    pub names: &'a dyn Fn(FuncKey) -> String,
}

/// Where the module's bytes are of which a file's declarations speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WasmSource {
    /// In the file, as they are.
    Embedded,
    /// In the file is what a run needs of them.
    Reduced,
    /// Not in the file, which has a hash of them: whoever loads it has them.
    Elsewhere,
}

/// Code for one CPU level.
#[derive(Clone, Copy)]
pub struct CodeVariant<'a> {
    /// What follows the names of its sections: empty, or as in `.v3`.
    pub suffix: &'a str,
    /// Under what it was made.
    pub fingerprint: &'a Fingerprint,
    /// The code.
    pub image: &'a Image,
}

/// A file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The fingerprint names a target that is not known.
    #[error("artifacts for target {0} cannot be written")]
    Target(String),
    /// Too many CPU levels, or none.
    #[error("an artifact has code for 1 to {MAX_VARIANTS} CPU levels, not {0}")]
    Variants(usize),
    /// The functions of the image are not those of the module, before all others.
    #[error("the code image lacks a function or has one in the wrong place: {0}")]
    Image(FuncKey),
    /// A context of the module would be too large.
    #[error(transparent)]
    Context(#[from] crate::layout::ContextTooLarge),
    /// The ELF library refused.
    #[error("cannot write an ELF file: {0}")]
    Elf(#[from] write::Error),
}

/// Makes a file. The same contents give the same bytes.
///
/// # Errors
/// See [`WriteError`].
pub fn write(contents: &Contents<'_>) -> Result<Vec<u8>, WriteError> {
    if contents.variants.is_empty() || contents.variants.len() > MAX_VARIANTS {
        return Err(WriteError::Variants(contents.variants.len()));
    }
    let (triple, machine) = target(contents.variants[0].fingerprint)?;
    let mut pieces = Pieces::new(contents.variants.len());
    let mut module_parts = module_parts(contents);
    // Small tables that every start reads first, then what is mapped by the page, then what is seldom read.
    for part in [Part::Meta, Part::FuncDecls, Part::ElemFuncs, Part::Bodies] {
        pieces.add_part(part, std::mem::take(&mut module_parts[part as usize]));
    }
    for (i, variant) in contents.variants.iter().enumerate() {
        let parts = code_parts(contents.module, variant)?;
        for (part, bytes) in CodePart::ALL.iter().zip(parts) {
            match part {
                CodePart::EhFrame => {}
                CodePart::Text => pieces.add_code(i, *part, variant.suffix, &*variant.image.text),
                _ => pieces.add_code(i, *part, variant.suffix, bytes),
            }
        }
        let text = pieces.list.last().map_or(0, |text| text.at);
        let at = pieces.end().next_multiple_of(CodePart::EhFrame.align());
        let (frames, _) = eh_frame::section(&triple.architecture, variant.image, (at - text) as u64);
        pieces.add_code(i, CodePart::EhFrame, variant.suffix, frames);
    }
    match contents.source {
        WasmSource::Embedded => pieces.add_part(Part::Source, contents.wasm),
        _ => pieces.add_part(Part::Source, std::mem::take(&mut module_parts[Part::Source as usize])),
    }
    add_symbols(&mut pieces, contents);
    pieces.add_part(Part::Memory, std::mem::take(&mut module_parts[Part::Memory as usize]));
    finish(&pieces, contents.variants.len(), machine, is_big_endian(&triple))
}

pub(super) fn is_big_endian(triple: &Triple) -> bool {
    triple.endianness() == Ok(target_lexicon::Endianness::Big)
}

/// Whose code a fingerprint is for.
pub(super) fn target(fingerprint: &Fingerprint) -> Result<(Triple, elf::Machine), WriteError> {
    let unknown = || WriteError::Target(fingerprint.target.clone());
    let triple = Triple::from_str(&fingerprint.target).map_err(|_| unknown())?;
    let machine = machine(&triple).ok_or_else(unknown)?;
    Ok((triple, machine))
}

fn machine(triple: &Triple) -> Option<elf::Machine> {
    Some(match triple.architecture {
        Architecture::X86_64 | Architecture::X86_64h => elf::EM_X86_64,
        Architecture::Aarch64(_) => elf::EM_AARCH64,
        Architecture::Riscv64(_) => elf::EM_RISCV,
        Architecture::S390x => elf::EM_S390,
        _ => return None,
    })
}

/// Whose range a piece is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Part(Part),
    Code(usize, CodePart),
    Other,
}

/// A section in the making.
struct Piece<'a> {
    owner: Owner,
    name: String,
    align: usize,
    at: usize,
    bytes: Cow<'a, [u8]>,
    /// Zeroes behind the bytes, part of the piece.
    padding: usize,
    kind: elf::SectionType,
    entry_size: u64,
}

impl Piece<'_> {
    fn len(&self) -> usize {
        self.bytes.len() + self.padding
    }

    fn end(&self) -> usize {
        self.at + self.len()
    }

    fn is_text(&self) -> bool {
        matches!(self.owner, Owner::Code(_, CodePart::Text))
    }
}

pub(super) struct Pieces<'a> {
    list: Vec<Piece<'a>>,
    /// Where the first one may begin.
    start: usize,
}

/// Bytes of Kiln's header.
fn header_len(variants: usize) -> usize {
    RANGES_AT + 16 * (Part::COUNT + variants * CodePart::COUNT)
}

impl<'a> Pieces<'a> {
    /// None yet, of a file with code for so many CPU levels.
    pub(super) fn new(variants: usize) -> Pieces<'a> {
        Pieces { list: Vec::new(), start: HEADER_AT + header_len(variants) }
    }

    fn end(&self) -> usize {
        self.list.last().map_or(self.start, Piece::end)
    }

    fn add(&mut self, owner: Owner, name: String, align: usize, bytes: Cow<'a, [u8]>) {
        let kind = elf::SHT_PROGBITS;
        let at = self.end().next_multiple_of(align);
        let mut piece = Piece { owner, name, align, at, bytes, padding: 0, kind, entry_size: 0 };
        // What follows the text is not on its last page, which is mapped executable.
        if piece.is_text() {
            piece.padding = piece.end().next_multiple_of(PAGE) - piece.end();
        }
        self.list.push(piece);
    }

    pub(super) fn add_part(&mut self, part: Part, bytes: impl Into<Cow<'a, [u8]>>) {
        self.add(Owner::Part(part), part.section().to_owned(), part.align(), bytes.into());
    }

    pub(super) fn add_code(&mut self, variant: usize, part: CodePart, suffix: &str, bytes: impl Into<Cow<'a, [u8]>>) {
        self.add(Owner::Code(variant, part), format!("{}{suffix}", part.section()), part.align(), bytes.into());
    }

    fn range(&self, owner: Owner) -> PartRange {
        let piece = self.list.iter().find(|p| p.owner == owner);
        piece.map_or(0..0, |p| p.at as u64..p.end() as u64)
    }
}

/// The parts that exist once, by [`Part`], without a module that is there as it is.
fn module_parts(contents: &Contents<'_>) -> [Vec<u8>; Part::COUNT] {
    let module = contents.module;
    let words = |words: &mut dyn Iterator<Item = u32>| words.flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    let decls = words(&mut module.funcs.values().map(|f| f.ty.0 << 1 | u32::from(f.escapes)));
    let mut elem_funcs = Vec::new();
    let mut elem_lens = Vec::new();
    for segment in module.elems.values() {
        let funcs: &[FuncIndex] = if let ElemItems::Funcs(funcs) = &segment.items { funcs } else { &[] };
        elem_lens.push(funcs.len() as u32);
        elem_funcs.extend(words(&mut funcs.iter().map(|f| f.0)));
    }
    let bodies = words(&mut module.bodies.values().map(|b| b.start));
    let mut memory = Vec::new();
    let images = images(module, contents.wasm, &mut memory);
    let mut slim = slim(module);
    forget_imaged(&mut slim, &images);
    let source = match contents.source {
        WasmSource::Embedded => Vec::new(),
        WasmSource::Reduced => kept_source(&mut slim, contents.wasm),
        WasmSource::Elsewhere => hash::source_hash(contents.wasm).to_vec(),
    };
    let meta = Meta { module: slim, elem_lens, images, has_wasm: contents.source == WasmSource::Embedded };
    let meta = postcard::to_stdvec(&meta).expect("plain data serialises");
    [meta, decls, elem_funcs, bodies, memory, source]
}

/// The declarations without what stands in flat tables.
fn slim(module: &Module) -> Module {
    let mut slim = Module { funcs: IndexVec::new(), bodies: IndexVec::new(), ..module.clone() };
    for segment in slim.elems.values_mut() {
        if let ElemItems::Funcs(funcs) = &mut segment.items {
            *funcs = Box::default();
        }
    }
    slim
}

fn bytes<'a>(wasm: &'a [u8], range: &SourceRange) -> &'a [u8] {
    super::bytes_of(wasm, range.clone())
}

/// The segments that first contents of memories follow from, as far as those can be in the file.
pub(super) fn images(module: &Module, wasm: &[u8], part: &mut Vec<u8>) -> Vec<Option<MemoryPages>> {
    let min = |m: DefinedMemoryIndex| module.memories[module.memory_index(m)].min_bytes().unwrap_or(0);
    let plan = image::plan_data(module, |m, offset, len| offset.checked_add(len).is_some_and(|end| end <= min(m)));
    let pages = plan.imaged.iter().map(|segments| {
        let segments: Vec<_> = segments.iter().map(|(at, i)| (*at, bytes(wasm, &module.datas[*i].bytes))).collect();
        image::pages(&segments, part)
    });
    pages.collect()
}

/// Reduces the segments of which pages of memories were made to what is left of them at run time: nothing.
fn forget_imaged(module: &mut Module, images: &[Option<MemoryPages>]) {
    let min = |m: DefinedMemoryIndex| module.memories[module.memory_index(m)].min_bytes().unwrap_or(0);
    let plan = image::plan_data(module, |m, offset, len| offset.checked_add(len).is_some_and(|end| end <= min(m)));
    let forgotten = DataSegment { mode: SegmentMode::Declared, bytes: 0..0 };
    for (segments, _) in plan.imaged.iter().zip(images).filter(|(_, image)| image.is_some()) {
        for (_, index) in segments {
            module.datas[*index] = forgotten.clone();
        }
    }
    let kept = module.datas.values().rposition(|d| d.mode != SegmentMode::Declared).map_or(0, |last| last + 1);
    module.datas = module.datas.values().take(kept).cloned().collect();
}

/// What is kept of a module whose bytes are not: segments that are copied at run time, and custom sections but those for
/// debuggers. Changes the module's ranges accordingly.
fn kept_source(module: &mut Module, wasm: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut keep = |range: &mut SourceRange| {
        let start = kept.len() as u32;
        kept.extend_from_slice(bytes(wasm, range));
        *range = start..kept.len() as u32;
    };
    module.datas.values_mut().for_each(|segment| keep(&mut segment.bytes));
    module.customs.retain(|(name, _)| !name.starts_with(".debug_") && !name.starts_with("reloc."));
    module.customs.iter_mut().for_each(|(_, range)| keep(range));
    kept
}

/// The parts of code for one CPU level, by [`CodePart`], without the text.
fn code_parts(module: &Module, variant: &CodeVariant<'_>) -> Result<[Vec<u8>; CodePart::COUNT], WriteError> {
    let mut parts = [const { Vec::new() }; CodePart::COUNT];
    parts[CodePart::Fingerprint as usize] =
        postcard::to_stdvec(&needed(variant.fingerprint)).expect("plain data serialises");
    let mut trampolines = BTreeMap::new();
    let defined = module.bodies.len();
    let mut positions = vec![None; defined];
    for (position, func) in variant.image.funcs.iter().enumerate() {
        let expected = position < defined;
        match func.key {
            FuncKey::Wasm(i) if expected && positions.get(i.0 as usize) == Some(&None) => {
                positions[i.0 as usize] = Some(position as u32);
            }
            key @ FuncKey::Wasm(_) => return Err(WriteError::Image(key)),
            key if expected => return Err(WriteError::Image(key)),
            key => {
                let (namespace, index) = key.pack();
                put(&mut parts[CodePart::Keys as usize], [namespace, index]);
                trampolines.insert((namespace, index), position as u32);
            }
        }
        let sites = parts[CodePart::Sites as usize].len() as u32;
        put(&mut parts[CodePart::Funcs as usize], [func.start, func.len, sites]);
        put_tables(&mut parts, func.start, &func.tables);
    }
    let positions: Vec<u32> = positions.into_iter().flatten().collect();
    if !positions.is_sorted() {
        let funcs = variant.image.funcs.iter().take(defined).filter_map(|func| func.key.body()).map(|func| func.0);
        positions.iter().copied().chain(funcs).for_each(|word| put(&mut parts[CodePart::Order as usize], [word]));
    }
    add_aliases(module, &mut trampolines);
    for ((namespace, index), position) in trampolines {
        put(&mut parts[CodePart::Trampolines as usize], [namespace, index, position]);
    }
    Ok(parts)
}

/// A fingerprint without the target features that the code does not use.
pub(super) fn needed(fingerprint: &Fingerprint) -> Fingerprint {
    let mut needed = fingerprint.clone();
    needed.flags.retain(|(name, value)| !(name.starts_with("has_") && value == "false"));
    needed
}

/// Names trampolines by every type with their signature, not only by the first.
pub(super) fn add_aliases(module: &Module, trampolines: &mut BTreeMap<(u32, u32), u32>) {
    for (ty, canonical) in module.canonical_signatures().iter() {
        for key in [FuncKey::ArrayToWasm, FuncKey::WasmToHost] {
            if let Some(position) = trampolines.get(&key(*canonical).pack()).copied() {
                trampolines.entry(key(ty).pack()).or_insert(position);
            }
        }
    }
}

pub(super) fn put<const N: usize>(part: &mut Vec<u8>, words: [u32; N]) {
    part.extend(words.into_iter().flat_map(u32::to_le_bytes));
}

fn words(part: &[u8]) -> u32 {
    (part.len() / 4) as u32
}

pub(super) fn put_tables(parts: &mut [Vec<u8>; CodePart::COUNT], start: u32, tables: &FuncTables) {
    let FuncTables { traps: _, addresses: _, inlined, stack_maps, handlers, unwind: _ } = tables;
    sites::encode(tables, &mut parts[CodePart::Sites as usize]);
    if !inlined.is_empty() {
        let first = words(&parts[CodePart::InlinedBodies as usize]) / 3;
        put(&mut parts[CodePart::Inlined as usize], [start, first]);
    }
    for InlinedBody { start, func, call } in inlined {
        put(&mut parts[CodePart::InlinedBodies as usize], [*start, func.0, *call]);
    }
    for StackMap { offset, fp_to_sp, slots } in stack_maps {
        let first = words(&parts[CodePart::StackMapWords as usize]);
        put(&mut parts[CodePart::StackMaps as usize], [start + offset, first]);
        let pool = &mut parts[CodePart::StackMapWords as usize];
        put(pool, [*fp_to_sp, slots.len() as u32]);
        slots.iter().for_each(|slot| put(pool, [*slot]));
    }
    let mut last: Option<(&HandlerSite, u32)> = None;
    for site in handlers {
        let HandlerSite { offset, fp_to_sp, context_slot, handlers } = site;
        // Neighbours often share all that is said about them.
        let shared = last.filter(|(other, _)| {
            Arc::ptr_eq(&other.handlers, handlers) && (other.fp_to_sp, other.context_slot) == (*fp_to_sp, *context_slot)
        });
        let first = shared.map_or_else(|| words(&parts[CodePart::HandlerWords as usize]), |(_, first)| first);
        put(&mut parts[CodePart::Handlers as usize], [start + offset, first]);
        last = Some((site, first));
        if shared.is_some() {
            continue;
        }
        let pool = &mut parts[CodePart::HandlerWords as usize];
        put(pool, [*fp_to_sp, context_slot.map_or(0, |s| s + 1), handlers.len() as u32]);
        handlers.iter().for_each(|h| put(pool, [h.tag.map_or(0, |t| t.0 + 1), start + h.target]));
    }
}

const SYMBOL_SIZE: usize = 24;

/// Adds `.symtab` and `.strtab`: every function by its name.
fn add_symbols(pieces: &mut Pieces<'_>, contents: &Contents<'_>) {
    let mut strings = vec![0u8];
    let mut symbols = vec![0u8; SYMBOL_SIZE];
    for (v, variant) in contents.variants.iter().enumerate() {
        let Some((section, text)) = (1u16..).zip(&pieces.list).find(|(_, p)| p.owner == Owner::Code(v, CodePart::Text))
        else {
            continue;
        };
        for func in &variant.image.funcs {
            symbols.extend((strings.len() as u32).to_le_bytes());
            symbols.extend([elf::STB_LOCAL.0 << 4 | elf::STT_FUNC.0, 0]);
            symbols.extend(section.to_le_bytes());
            symbols.extend((text.at as u64 + u64::from(func.start)).to_le_bytes());
            symbols.extend(u64::from(func.len).to_le_bytes());
            strings.extend((contents.names)(func.key).bytes().filter(|b| *b != 0));
            strings.push(0);
        }
    }
    let mut add = |name: &str, align, bytes: Vec<u8>, kind, entry_size| {
        pieces.add(Owner::Other, name.to_owned(), align, bytes.into());
        if let Some(piece) = pieces.list.last_mut() {
            (piece.kind, piece.entry_size) = (kind, entry_size);
        }
    };
    add(".symtab", 8, symbols, elf::SHT_SYMTAB, SYMBOL_SIZE as u64);
    add(".strtab", 1, strings, elf::SHT_STRTAB, 0);
}

/// Segments: stretches of sections that are mapped alike.
fn segments(pieces: &Pieces<'_>) -> Vec<(usize, usize, bool)> {
    let mut segments = vec![(0, pieces.start, false)];
    for piece in pieces.list.iter().filter(|p| p.owner != Owner::Other) {
        match segments.last_mut() {
            Some(last) if last.2 == piece.is_text() => last.1 = piece.end(),
            _ => segments.push((piece.at, piece.end(), piece.is_text())),
        }
    }
    segments
}

pub(super) fn finish(
    pieces: &Pieces<'_>,
    variants: usize,
    machine: elf::Machine,
    big_endian: bool,
) -> Result<Vec<u8>, WriteError> {
    let segments = segments(pieces);
    // With names, section headers and hashes. Growing later would copy it all.
    let about = pieces.end() + 200 * (pieces.list.len() + 8);
    let mut file = Vec::with_capacity(about + hash::list_len(about));
    let mut w = Writer::new(if big_endian { Endianness::Big } else { Endianness::Little }, true, &mut file);
    w.reserve_file_header();
    w.reserve_program_headers(segments.len() as u32);
    w.reserve_until((HEADER_AT + header_len(variants)) as u64);
    let names: Vec<_> = pieces.list.iter().map(|p| w.add_section_name(p.name.as_bytes())).collect();
    for piece in &pieces.list {
        w.reserve_section_index();
        w.reserve_until(piece.at as u64);
        w.reserve(piece.len() as u64, 1);
    }
    let hashes_name = w.add_section_name(b".kiln.hashes");
    w.reserve_section_index();
    w.reserve_shstrtab_section_index();
    w.reserve_shstrtab()?;
    w.reserve_section_headers();
    let body_len = w.reserved_len();
    w.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_DYN,
        e_machine: machine,
        e_entry: 0,
        e_flags: Default::default(),
    })?;
    w.write_align_program_headers();
    for (start, end, executable) in segments {
        w.write_program_header(&ProgramHeader {
            p_type: elf::PT_LOAD,
            p_flags: if executable { elf::PF_R | elf::PF_X } else { elf::PF_R },
            p_offset: start as u64,
            p_vaddr: start as u64,
            p_paddr: start as u64,
            p_filesz: (end - start) as u64,
            p_memsz: (end - start) as u64,
            p_align: PAGE as u64,
        });
    }
    w.pad_until(HEADER_AT as u64);
    w.write(&header_bytes(pieces, variants, body_len));
    for piece in &pieces.list {
        w.pad_until(piece.at as u64);
        w.write(&piece.bytes);
        w.pad_until(piece.end() as u64);
    }
    w.write_shstrtab();
    w.write_null_section_header();
    for (i, (piece, name)) in pieces.list.iter().zip(names).enumerate() {
        let header = SectionHeader { sh_name: w.section_name_offset(Some(name)), ..section_header(piece, i) };
        w.write_section_header(&header);
    }
    let hashes = SectionHeader {
        sh_name: w.section_name_offset(Some(hashes_name)),
        sh_type: elf::SHT_PROGBITS,
        sh_offset: body_len,
        sh_size: hash::list_len(body_len as usize) as u64,
        sh_addralign: 1,
        ..SectionHeader::default()
    };
    w.write_section_header(&hashes);
    w.write_shstrtab_section_header();
    hash::seal(&mut file);
    Ok(file)
}

/// A piece's section header, but for its name. `index` is its place in the list.
fn section_header(piece: &Piece<'_>, index: usize) -> SectionHeader {
    let symbols = piece.kind == elf::SHT_SYMTAB;
    let loaded = piece.owner != Owner::Other;
    let flags = match (loaded, piece.is_text()) {
        (false, _) => Default::default(),
        (true, false) => elf::SHF_ALLOC,
        (true, true) => elf::SHF_ALLOC | elf::SHF_EXECINSTR,
    };
    SectionHeader {
        sh_type: piece.kind,
        sh_flags: flags,
        sh_addr: if loaded { piece.at as u64 } else { 0 },
        sh_offset: piece.at as u64,
        sh_size: piece.len() as u64,
        // The names stand right behind the symbols, all of which are local.
        sh_link: if symbols { index as u32 + 2 } else { 0 },
        sh_info: if symbols { (piece.len() / SYMBOL_SIZE) as u32 } else { 0 },
        sh_addralign: piece.align as u64,
        sh_entsize: piece.entry_size,
        ..SectionHeader::default()
    }
}

fn header_bytes(pieces: &Pieces<'_>, variants: usize, body_len: u64) -> Vec<u8> {
    let header = Header {
        file_len: body_len + hash::list_len(body_len as usize) as u64,
        body_len,
        root: [0; 32],
        signature: [0; 32],
        parts: std::array::from_fn(|i| pieces.range(Owner::Part(Part::ALL[i]))),
        variants: (0..variants)
            .map(|v| std::array::from_fn(|i| pieces.range(Owner::Code(v, CodePart::ALL[i]))))
            .collect(),
    };
    header.encode()
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.file_len.to_le_bytes());
        out.extend(self.body_len.to_le_bytes());
        debug_assert_eq!(out.len(), ROOT_AT);
        out.extend(self.root);
        out.extend(self.signature);
        out.extend((self.variants.len() as u64).to_le_bytes());
        debug_assert_eq!(out.len(), RANGES_AT);
        for range in self.parts.iter().chain(self.variants.iter().flatten()) {
            out.extend(range.start.to_le_bytes());
            out.extend(range.end.to_le_bytes());
        }
        out
    }
}
