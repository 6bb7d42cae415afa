//! A module as instances see it: everything that is the same for all of them, computed once.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::ptr;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use kiln_env::artifact::{Part, U32s, plan_data};
use kiln_env::layout::{MAGIC_INSTANCE, Place};
use kiln_env::module::{ConstExpr, ConstOp, ElemItems, ElemSegment, SegmentMode, SourceRange};
use kiln_env::types::{RefRepr, TableType};
use kiln_env::{
    ContextLayout, DataIndex, DefinedFuncIndex, DefinedGlobalIndex, ElemIndex, EntityIndex, FuncIndex, Module,
};

use super::builtins;
use super::const_expr::eval_static;
use super::context::{ValRaw, VmContextHeader, VmTag};
use super::memory::MemoryPlan;
use crate::artifact::LoadedArtifact;
use crate::code::ModuleCode;
use crate::engine::Engine;
#[cfg(feature = "compiler")]
use crate::module_file::ModuleFile;
use crate::symbols::Symbols;
use crate::sys::MemoryImage;
#[cfg(feature = "compiler")]
use crate::sys::file::MappedFile;
use crate::types::registry::ModuleTypes;

/// What is known about a module without its code: for instances, and for backtraces through its code.
pub(crate) struct ModuleInfo {
    env: Arc<Module>,
    source: Source,
    symbols: Symbols,
}

/// Where the bytes are that a module's ranges refer to.
enum Source {
    /// The wasm module.
    #[cfg(feature = "compiler")]
    Wasm(ModuleFile),
    /// A part of an artifact.
    Artifact(LoadedArtifact),
    /// The wasm module, while an artifact without code has the declarations.
    #[cfg(feature = "compiler")]
    Outlined(Outlined),
}

/// What a module consists of that goes on where an earlier run ended.
#[cfg(feature = "compiler")]
pub(crate) struct Outlined {
    /// The declarations.
    pub(crate) outline: LoadedArtifact,
    /// The wasm module.
    pub(crate) wasm: ModuleFile,
    /// What was compiled.
    pub(crate) snapshot: Option<Arc<MappedFile>>,
}

impl ModuleInfo {
    /// The declarations with the bytes that their ranges refer to.
    #[cfg(feature = "compiler")]
    pub(crate) fn new(env: Arc<Module>, source: ModuleFile) -> ModuleInfo {
        ModuleInfo { env, source: Source::Wasm(source), symbols: Symbols::default() }
    }

    /// The declarations that came out of an artifact.
    pub(crate) fn of_artifact(env: Arc<Module>, artifact: LoadedArtifact) -> ModuleInfo {
        ModuleInfo { env, source: Source::Artifact(artifact), symbols: Symbols::default() }
    }

    /// The declarations of an artifact without code, and the module that they are of.
    #[cfg(feature = "compiler")]
    pub(crate) fn outlined(env: Arc<Module>, outlined: Outlined) -> ModuleInfo {
        ModuleInfo { env, source: Source::Outlined(outlined), symbols: Symbols::default() }
    }

    /// The artifact that the module was loaded from.
    #[cfg(feature = "compiler")]
    pub(crate) fn artifact(&self) -> Option<&LoadedArtifact> {
        match &self.source {
            Source::Artifact(artifact) => Some(artifact),
            Source::Wasm(_) | Source::Outlined(_) => None,
        }
    }

    /// The file that has the declarations, and first contents of memories.
    pub(crate) fn declarations(&self) -> Option<&LoadedArtifact> {
        match &self.source {
            Source::Artifact(artifact) => Some(artifact),
            #[cfg(feature = "compiler")]
            Source::Outlined(outlined) => Some(&outlined.outline),
            #[cfg(feature = "compiler")]
            Source::Wasm(_) => None,
        }
    }

    /// Whether a file that code or data is in has become shorter than it was.
    pub(crate) fn is_damaged(&self) -> bool {
        match &self.source {
            // What is read of it is checked.
            #[cfg(feature = "compiler")]
            Source::Wasm(_) => false,
            Source::Artifact(artifact) => artifact.is_damaged(),
            #[cfg(feature = "compiler")]
            Source::Outlined(Outlined { outline, wasm: _, snapshot }) => {
                outline.is_damaged() || snapshot.as_ref().is_some_and(|s| s.is_damaged())
            }
        }
    }

    /// An error if what was read of the module's artifacts is not to be relied on.
    #[cfg(feature = "compiler")]
    pub(crate) fn check_files(&self) -> Result<()> {
        anyhow::ensure!(!self.is_damaged(), "a file of the module was truncated while it was in use");
        Ok(())
    }

    /// The file of the wasm module, unless the module came out of an artifact.
    #[cfg(feature = "compiler")]
    fn wasm(&self) -> Option<&ModuleFile> {
        match &self.source {
            Source::Wasm(wasm) | Source::Outlined(Outlined { wasm, .. }) => Some(wasm),
            Source::Artifact(_) => None,
        }
    }

    /// Whether nobody has touched the file of the wasm module, or it does not matter.
    #[cfg(feature = "compiler")]
    pub(crate) fn is_untouched(&self) -> bool {
        self.wasm().is_none_or(ModuleFile::is_untouched)
    }

    /// Does something with the wasm bytes, or what an artifact kept of them. It may be done again: what it gave before is
    /// dropped, because somebody has touched the module's file meanwhile.
    ///
    /// # Errors
    /// The bytes are not those any more that were validated, or cannot be read; or that of `work`.
    pub(crate) fn with_source<T>(&self, work: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        match &self.source {
            #[cfg(feature = "compiler")]
            Source::Wasm(wasm) | Source::Outlined(Outlined { wasm, .. }) => wasm.with(work),
            Source::Artifact(artifact) => work(artifact.part(Part::Source)),
        }
    }

    /// Notes that the wasm bytes are validated, if their hash is this.
    #[cfg(feature = "compiler")]
    pub(crate) fn seal(&self, hash: [u8; 32]) {
        self.wasm().into_iter().for_each(|wasm| wasm.seal(hash));
    }

    /// Notes that the bytes in this range are validated, and not needed soon.
    #[cfg(feature = "compiler")]
    pub(crate) fn validated(&self, range: Range<u32>) {
        self.wasm().into_iter().for_each(|wasm| wasm.validated(range.clone()));
    }

    /// Notes that the rest of the bytes is what the module was made of.
    #[cfg(feature = "compiler")]
    pub(crate) fn validated_rest(&self) {
        self.wasm().into_iter().for_each(ModuleFile::validated_rest);
    }

    /// A range of the bytes, checked; empty if there is no such range, or if they are no longer what they were.
    pub(crate) fn checked_bytes(&self, range: &SourceRange) -> Cow<'_, [u8]> {
        #[cfg(feature = "compiler")]
        if self.wasm().is_some_and(ModuleFile::is_in_place) {
            let copy = self.with_source(|source| Ok(kiln_env::artifact::bytes_of(source, range.clone()).to_vec()));
            return Cow::Owned(copy.unwrap_or_else(|error| {
                tracing::debug!("names and positions are not known: {error:#}");
                Vec::new()
            }));
        }
        Cow::Borrowed(self.bytes(range))
    }

    /// The declarations.
    pub(crate) fn env(&self) -> &Arc<Module> {
        &self.env
    }

    /// The wasm bytes, or what an artifact kept of them; where others may change them, as they are now.
    pub(crate) fn source(&self) -> &[u8] {
        match &self.source {
            #[cfg(feature = "compiler")]
            Source::Wasm(source) => source.as_ref(),
            Source::Artifact(artifact) => artifact.part(Part::Source),
            #[cfg(feature = "compiler")]
            Source::Outlined(outlined) => outlined.wasm.as_ref(),
        }
    }

    /// The bytes in this range are not needed soon: memory that can be had again is given back.
    pub(crate) fn release(&self, range: Range<u32>) {
        match &self.source {
            #[cfg(feature = "compiler")]
            Source::Wasm(source) => source.release(range),
            #[cfg(feature = "compiler")]
            Source::Outlined(outlined) => outlined.wasm.release(range),
            // An artifact keeps few segments.
            Source::Artifact(_) => _ = range,
        }
    }

    /// Where a function's body begins in the wasm module.
    pub(crate) fn body_start(&self, func: DefinedFuncIndex) -> Option<u64> {
        match self.declarations() {
            None => self.env.bodies.get(func).map(|b| b.start.into()),
            Some(file) => U32s::new(file.part(Part::Bodies)).get(func.0 as usize).map(u64::from),
        }
    }

    /// About how many bytes a function's body has.
    #[cfg(feature = "compiler")]
    pub(crate) fn body_len(&self, func: DefinedFuncIndex) -> u64 {
        if let Some(body) = self.env.bodies.get(func) {
            return body.len() as u64;
        }
        let start = self.body_start(func).unwrap_or(0);
        self.body_start(DefinedFuncIndex(func.0 + 1)).map_or(0, |next| next.saturating_sub(start))
    }

    /// About how many bytes all bodies have together.
    #[cfg(feature = "compiler")]
    pub(crate) fn code_len(&self) -> u64 {
        match self.declarations() {
            None => self.env.bodies.values().map(|r| r.len() as u64).sum(),
            Some(file) => {
                let starts = U32s::new(file.part(Part::Bodies));
                let last = starts.len().checked_sub(1).and_then(|last| starts.get(last));
                u64::from(last.unwrap_or(0).saturating_sub(starts.get(0).unwrap_or(0)))
            }
        }
    }

    /// A range of these bytes; empty if there is no such range.
    pub(crate) fn bytes(&self, range: &SourceRange) -> &[u8] {
        kiln_env::artifact::bytes_of(self.source(), range.clone())
    }

    /// Names and source positions, read when somebody asks.
    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }
}

/// A function index in 32 bits with a niche.
#[derive(Clone, Copy)]
pub(crate) struct PlannedFunc(NonZeroU32);

impl PlannedFunc {
    fn new(index: FuncIndex) -> Option<PlannedFunc> {
        NonZeroU32::new(index.0.wrapping_add(1)).map(PlannedFunc)
    }

    /// The index.
    pub(crate) fn get(self) -> FuncIndex {
        FuncIndex(self.0.get() - 1)
    }
}

/// Bytes of data segments that are copied before memory is given back.
const RELEASE_BYTES: u32 = 1 << 20;

/// Data segments of one memory with their offsets.
type Placed = Vec<(u64, DataIndex)>;

/// A table that the module defines.
pub(crate) struct TablePlan {
    /// Engine-numbered.
    pub(crate) ty: TableType,
    /// What segments with constant offsets put into untouched elements.
    pub(crate) funcs: Vec<Option<PlannedFunc>>,
}

/// Everything that instances of one module share.
pub(crate) struct ModuleData {
    pub(crate) engine: Engine,
    pub(crate) info: Arc<ModuleInfo>,
    pub(crate) env: Arc<Module>,
    pub(crate) layout: Arc<ContextLayout>,
    pub(crate) types: ModuleTypes,
    pub(crate) code: Arc<ModuleCode>,
    /// A context with all that is the same in every instance.
    pub(crate) template: Box<[ValRaw]>,
    pub(crate) tables: Box<[TablePlan]>,
    pub(crate) memories: Box<[Arc<MemoryPlan>]>,
    /// Globals whose first value depends on the instance.
    pub(crate) dynamic_globals: Box<[DefinedGlobalIndex]>,
    /// Active element segments that are copied at instantiation.
    pub(crate) eager_elems: Box<[ElemIndex]>,
    /// Active data segments that are copied at instantiation.
    pub(crate) eager_datas: Box<[DataIndex]>,
    /// The data segments before those: with their offsets, by defined memory.
    imaged_datas: Vec<Placed>,
    exports: OnceLock<HashMap<String, EntityIndex>>,
    /// What names the module's outline, once one was made.
    #[cfg(feature = "compiler")]
    pub(crate) outline: OnceLock<[u8; 32]>,
    /// What compiling it cost.
    #[cfg(feature = "compiler")]
    pub(crate) statistics: crate::compile::CompileStatistics,
}

impl ModuleData {
    /// Prepares a module for instantiation. Fails if one of its memories cannot exist on this host.
    pub(crate) fn new(
        engine: &Engine,
        info: Arc<ModuleInfo>,
        layout: Arc<ContextLayout>,
        types: ModuleTypes,
        code: Arc<ModuleCode>,
    ) -> Result<ModuleData> {
        let env = info.env.clone();
        let (tables, eager_elems) = plan_tables(&env, &types);
        let defined = env.memories.values().skip(env.num_imported_memories as usize);
        let memories: Box<[_]> = defined.map(|ty| Arc::new(MemoryPlan::new(ty, engine))).collect();
        let datas = plan_data(&env, |memory, offset, len| memories[memory.0 as usize].fits(offset, len));
        let (imaged_datas, eager_datas) = (datas.imaged, datas.eager.into());
        let (template, dynamic_globals) = make_template(&env, &layout, &types, &code);
        Ok(ModuleData {
            engine: engine.clone(),
            info,
            env,
            layout,
            types,
            code,
            template,
            tables,
            memories,
            dynamic_globals,
            eager_elems,
            eager_datas,
            imaged_datas,
            exports: OnceLock::new(),
            #[cfg(feature = "compiler")]
            outline: OnceLock::new(),
            #[cfg(feature = "compiler")]
            statistics: Default::default(),
        })
    }

    /// The initial contents of a defined memory; `None` if they are all zero.
    pub(crate) fn memory_image(&self, defined: usize) -> Result<Option<MemoryImage>> {
        if let Some(file) = self.info.declarations()
            && let Some(image) = file.memory_image(defined, self.memories[defined].min())?
        {
            return Ok(Some(image));
        }
        let segments = &self.imaged_datas[defined];
        let ranges = segments.iter().map(|(offset, index)| (*offset, &self.env.datas[*index].bytes));
        let end = ranges.clone().map(|(offset, range)| offset + range.len() as u64).max().unwrap_or(0);
        if ranges.clone().all(|(_, range)| range.is_empty()) {
            return Ok(None);
        }
        let image = self.info.with_source(|source| {
            // They lie one after the other in the file, of which only the part that is being copied is needed.
            let mut copied = ranges.clone().next().map_or(0, |(_, range)| range.start);
            let segments = ranges.clone().map(|(offset, range)| {
                if range.start.saturating_sub(copied) >= RELEASE_BYTES {
                    self.info.release(std::mem::replace(&mut copied, range.start)..range.start);
                }
                (offset, kiln_env::artifact::bytes_of(source, range.clone()))
            });
            Ok(MemoryImage::new(usize::try_from(end)?, segments)?)
        });
        Ok(Some(image.context("cannot make the initial image of a memory")?))
    }

    /// Makes the initial images of all memories now.
    pub(crate) fn make_images(&self) -> Result<()> {
        for (i, plan) in self.memories.iter().enumerate() {
            plan.image(&|| self.memory_image(i))?;
        }
        Ok(())
    }

    /// The index of an export.
    pub(crate) fn export(&self, name: &str) -> Option<EntityIndex> {
        const FEW: usize = 8;
        if self.env.exports.len() <= FEW {
            return self.env.exports.iter().find(|e| e.name == name).map(|e| e.index);
        }
        let make = || self.env.exports.iter().map(|e| (e.name.clone(), e.index)).collect();
        self.exports.get_or_init(make).get(name).copied()
    }
}

/// Whether instances of a module copy from segments while they run, so that the segments' bytes have to be kept.
#[cfg(feature = "compiler")]
pub(crate) fn keeps_segments(env: &Module) -> bool {
    env.datas.values().any(|segment| segment.mode == SegmentMode::Passive && !segment.bytes.is_empty())
}

/// What `ModuleCode` keeps for whoever looks up an address.
pub(crate) fn code_info(info: &Arc<ModuleInfo>) -> Arc<dyn Any + Send + Sync> {
    info.clone()
}

fn static_offset(expr: &ConstExpr) -> Option<u64> {
    match &*expr.0 {
        [ConstOp::I32(v)] => Some(u64::from(*v as u32)),
        [ConstOp::I64(v)] => Some(*v as u64),
        _ => None,
    }
}

/// Lays element segments over the tables as long as nothing about them depends on the instance; the rest is eager.
fn plan_tables(env: &Module, types: &ModuleTypes) -> (Box<[TablePlan]>, Box<[ElemIndex]>) {
    let defined = env.tables.values().skip(env.num_imported_tables as usize);
    let mut plans: Box<[TablePlan]> =
        defined.map(|ty| TablePlan { ty: types.table_type(*ty), funcs: Vec::new() }).collect();
    let mut eager = Vec::new();
    for (index, segment) in env.elems.iter() {
        if !matches!(segment.mode, SegmentMode::Active { .. }) {
            continue;
        }
        if !eager.is_empty() || plan_elem(env, &mut plans, segment).is_none() {
            eager.push(index);
        }
    }
    (plans, eager.into())
}

fn plan_elem(env: &Module, plans: &mut [TablePlan], segment: &ElemSegment) -> Option<()> {
    let SegmentMode::Active { target, offset } = &segment.mode else { return None };
    let defined = env.defined_table(*target)?;
    let plan = &mut plans[defined.0 as usize];
    let start = static_offset(offset)?;
    let end = start.checked_add(segment.items.len() as u64)?;
    if end > plan.ty.limits.min || end > kiln_env::limits::MAX_TABLE_ELEMENTS {
        return None;
    }
    if plan.ty.element.repr() != RefRepr::FuncPointer || env.table_inits[defined].is_some() {
        return None;
    }
    let funcs: Vec<Option<PlannedFunc>> = match &segment.items {
        ElemItems::Funcs(funcs) => funcs.iter().map(|f| PlannedFunc::new(*f)).collect(),
        ElemItems::Exprs(exprs) => {
            let func = |e: &ConstExpr| match &*e.0 {
                [ConstOp::RefFunc(f)] => Some(PlannedFunc::new(*f)),
                [ConstOp::RefNull(_)] => Some(None),
                _ => None,
            };
            exprs.iter().map(func).collect::<Option<_>>()?
        }
    };
    if plan.funcs.len() < end as usize {
        plan.funcs.resize(end as usize, None);
    }
    plan.funcs[start as usize..end as usize].copy_from_slice(&funcs);
    Some(())
}

/// A context with header, type numbers, tags and constant globals; and the globals that are not constant.
fn make_template(
    env: &Module,
    layout: &ContextLayout,
    types: &ModuleTypes,
    code: &ModuleCode,
) -> (Box<[ValRaw]>, Box<[DefinedGlobalIndex]>) {
    let mut template = vec![ValRaw::ZERO; layout.size() as usize / size_of::<ValRaw>()];
    let at = |offset: u32| {
        assert!(offset < layout.size(), "the layout says where");
        template.as_mut_ptr().cast::<u8>().wrapping_add(offset as usize)
    };
    let header = VmContextHeader {
        magic: MAGIC_INSTANCE,
        builtins: builtins::array().cast_mut(),
        counters: code.counters(),
        ..VmContextHeader::ZERO
    };
    let mut at = at;
    // SAFETY: every context has a header.
    unsafe { at(0).cast::<VmContextHeader>().write(header) };
    for (index, _) in env.types.iter() {
        let id = types.ids()[index.0 as usize];
        // SAFETY: that field of the context, here and below; type numbers are 4-aligned, the others 8.
        unsafe { at(layout.type_id(index)).cast::<u32>().write(id) };
    }
    for (index, tag) in env.tags.iter().skip(env.num_imported_tags as usize) {
        let Place::Inline(offset) = layout.tag(index) else { continue };
        let tag = VmTag { type_id: u64::from(types.ids()[tag.ty.0 as usize]) };
        // SAFETY: see above.
        unsafe { at(offset).cast::<VmTag>().write(tag) };
    }
    let mut dynamic = Vec::new();
    for (defined, init) in env.global_inits.iter() {
        let Place::Inline(offset) = layout.global(env.global_index(defined)) else { continue };
        match eval_static(init) {
            // SAFETY: see above; globals are 16-aligned.
            Some(value) => unsafe { ptr::write(at(offset).cast::<ValRaw>(), value) },
            None => dynamic.push(defined),
        }
    }
    (template.into(), dynamic.into())
}
