//! Wasm bytes to declarations. Everything but function bodies is validated here; bodies are only outlined.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_env::limits;
use kiln_env::module::*;
use kiln_env::types::{CompositeKind, SubType};
use kiln_env::*;
use wasmparser::{
    BinaryReader, Chunk, ElementItems, ElementKind, ExternalKind, Operator, Parser, Payload, TypeRef, Validator,
    ValidatorResources,
};

use crate::convert::{self, Kinds};
use crate::error::{CompileError, Result};
use crate::features::Features;
use crate::names;

/// A module whose declarations are valid and whose bodies nobody has looked at.
pub struct ParsedModule {
    pub(crate) module: Arc<Module>,
    pub(crate) features: Features,
    /// What the validation of bodies needs to know about the module; `None` where there are no bodies.
    pub(crate) resources: Option<ValidatorResources>,
    /// How long it took.
    pub(crate) time: Duration,
}

impl ParsedModule {
    /// The declarations.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// How long it took.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// The features under which it was parsed.
    pub fn features(&self) -> &Features {
        &self.features
    }
}

/// Reads and validates a module's declarations.
///
/// # Errors
/// The bytes are not a module, not valid under `features`, or exceed a limit of `kiln_env::limits`.
pub fn parse(bytes: &[u8], features: &Features) -> Result<ParsedModule> {
    let start = Instant::now();
    check_limit("bytes of the module", bytes.len() as u64, limits::MAX_MODULE_SIZE as u64)?;
    // What is wrong, and where, is for the validator to say that sees every byte.
    let plain = || read(bytes, features, Items::Validators);
    let (module, resources) = read(bytes, features, Items::Ours).or_else(|_| plain())?;
    if cfg!(debug_assertions)
        && let Err(error) = plain()
    {
        panic!("the module is not valid, but passed for it: {error}");
    }
    Ok(ParsedModule { module: Arc::new(module), features: *features, resources, time: start.elapsed() })
}

/// Who validates lists of functions in element segments.
///
/// The validator puts each function into a hash table: half of the time of this whole phase in a module with 600,000.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Items {
    /// We, for bodies that are validated with [`FuncDecl::escapes`] instead of that table.
    Ours,
    /// The validator.
    Validators,
}

fn read(bytes: &[u8], features: &Features, items: Items) -> Result<(Module, Option<ValidatorResources>)> {
    let flags = features.to_wasmparser();
    let mut parser = Parser::new(0);
    parser.set_features(flags);
    let validator = Validator::new_with_features(flags);
    let mut builder = Builder { module: Module::default(), validator, resources: None, bytes, items };
    let mut rest = bytes;
    loop {
        let (consumed, payload) = match parser.parse(rest, true)? {
            Chunk::Parsed { consumed, payload } => (consumed, payload),
            Chunk::NeedMoreData(_) => return Err(CompileError::internal("the parser waits for data behind the end")),
        };
        rest = &rest[consumed..];
        if let Payload::CodeSectionStart { count, size, .. } = payload {
            builder.payload(payload)?;
            let at = (bytes.len() - rest.len()) as u64;
            if let Some(len) = builder.bodies(rest, at, count, size)? {
                parser.skip_section();
                rest = &rest[len..];
            }
            continue;
        }
        let at_end = matches!(payload, Payload::End(_));
        builder.payload(payload)?;
        if at_end {
            break;
        }
    }
    let Builder { mut module, resources, .. } = builder;
    mark_escapes(&mut module);
    module.name = names::module_name(&module, bytes);
    Ok((module, resources))
}

fn check_limit(what: &str, found: u64, limit: u64) -> Result<()> {
    if found > limit { Err(CompileError::limit(what, found, limit)) } else { Ok(()) }
}

/// The functions of an element segment that is a list of them.
type FuncList = Option<Box<[FuncIndex]>>;

struct Builder<'a> {
    module: Module,
    validator: Validator,
    resources: Option<ValidatorResources>,
    bytes: &'a [u8],
    items: Items,
}

impl Builder<'_> {
    fn payload(&mut self, payload: Payload<'_>) -> Result<()> {
        match payload {
            Payload::Version { num, encoding, range } => {
                if encoding == wasmparser::Encoding::Component {
                    return Err(CompileError::unsupported("components (this is one; a core module is expected)"));
                }
                self.validator.version(num, encoding, &range)?;
            }
            Payload::TypeSection(section) => self.types(section)?,
            Payload::ImportSection(section) => self.imports(section)?,
            Payload::FunctionSection(section) => self.functions(section)?,
            Payload::TableSection(section) => self.tables(section)?,
            Payload::MemorySection(section) => self.memories(section)?,
            Payload::TagSection(section) => {
                self.validator.tag_section(&section)?;
                for ty in section {
                    self.module.tags.push(convert::tag_type(ty?));
                }
            }
            Payload::GlobalSection(section) => self.globals(section)?,
            Payload::ExportSection(section) => self.exports(section)?,
            Payload::StartSection { func, range } => {
                self.validator.start_section(func, &range)?;
                self.module.start = Some(FuncIndex(func));
            }
            Payload::ElementSection(section) => self.elements(section)?,
            Payload::DataCountSection { count, range } => self.validator.data_count_section(count, &range)?,
            Payload::DataSection(section) => self.datas(section)?,
            Payload::CodeSectionStart { count, unchecked_range, .. } => {
                self.validator.code_section_start(&unchecked_range)?;
                self.module.bodies = IndexVec::with_capacity((count as usize).min(self.module.funcs.len()));
            }
            Payload::CodeSectionEntry(body) => self.body(&body)?,
            Payload::CustomSection(section) => {
                self.module.customs.push((section.name().to_owned(), source_range(&section.data_range())?));
            }
            Payload::UnknownSection { id, range, .. } => self.validator.unknown_section(id, &range)?,
            Payload::End(offset) => {
                self.validator.end(offset)?;
            }
            other => return Err(CompileError::unsupported(format_args!("section {other:?}"))),
        }
        Ok(())
    }

    fn types(&mut self, section: wasmparser::TypeSectionReader<'_>) -> Result<()> {
        self.validator.type_section(&section)?;
        for group in section {
            let start = self.module.types.len() as u32;
            let group: Vec<wasmparser::SubType> = group?.into_types().collect();
            let kinds = group.iter().map(convert::composite_kind).collect::<Result<Vec<CompositeKind>>>()?;
            let read: Vec<SubType> = {
                let kinds = Kinds::reading(&self.module.types, &kinds);
                group.iter().map(|ty| convert::sub_type(ty, start, kinds)).collect::<Result<_>>()?
            };
            read.into_iter().for_each(|ty| _ = self.module.types.push(ty));
            let end = self.module.types.len() as u32;
            check_limit("types", end.into(), limits::MAX_TYPES.into())?;
            self.module.rec_groups.push(start..end);
        }
        Ok(())
    }

    fn imports(&mut self, section: wasmparser::ImportSectionReader<'_>) -> Result<()> {
        self.validator.import_section(&section)?;
        let m = &mut self.module;
        let kinds = Kinds::of(&m.types);
        for import in section.into_imports() {
            let import = import?;
            let index = match import.ty {
                TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                    m.num_imported_funcs += 1;
                    EntityIndex::Func(m.funcs.push(FuncDecl { ty: TypeIndex(ty), escapes: false }))
                }
                TypeRef::Table(ty) => {
                    m.num_imported_tables += 1;
                    EntityIndex::Table(m.tables.push(convert::table_type(ty, kinds)?))
                }
                TypeRef::Memory(ty) => {
                    m.num_imported_memories += 1;
                    EntityIndex::Memory(m.memories.push(convert::memory_type(ty)?))
                }
                TypeRef::Global(ty) => {
                    m.num_imported_globals += 1;
                    EntityIndex::Global(m.globals.push(convert::global_type(ty, kinds)?))
                }
                TypeRef::Tag(ty) => {
                    m.num_imported_tags += 1;
                    EntityIndex::Tag(m.tags.push(convert::tag_type(ty)))
                }
            };
            m.imports.push(Import { module: import.module.to_owned(), name: import.name.to_owned(), index });
        }
        check_limit("functions", m.funcs.len() as u64, limits::MAX_FUNCS.into())
    }

    fn functions(&mut self, section: wasmparser::FunctionSectionReader<'_>) -> Result<()> {
        let count = self.module.funcs.len() as u64 + u64::from(section.count());
        check_limit("functions", count, limits::MAX_FUNCS.into())?;
        self.validator.function_section(&section)?;
        for ty in section {
            self.module.funcs.push(FuncDecl { ty: TypeIndex(ty?), escapes: false });
        }
        Ok(())
    }

    fn tables(&mut self, section: wasmparser::TableSectionReader<'_>) -> Result<()> {
        let count = self.module.tables.len() as u64 + u64::from(section.count());
        check_limit("tables", count, limits::MAX_TABLES.into())?;
        self.validator.table_section(&section)?;
        for table in section {
            let table = table?;
            let kinds = Kinds::of(&self.module.types);
            let ty = convert::table_type(table.ty, kinds)?;
            self.module.tables.push(ty);
            self.module.table_inits.push(match table.init {
                wasmparser::TableInit::RefNull => None,
                wasmparser::TableInit::Expr(e) => Some(const_expr(&e, kinds)?),
            });
        }
        Ok(())
    }

    fn memories(&mut self, section: wasmparser::MemorySectionReader<'_>) -> Result<()> {
        let count = self.module.memories.len() as u64 + u64::from(section.count());
        check_limit("memories", count, limits::MAX_MEMORIES.into())?;
        self.validator.memory_section(&section)?;
        for ty in section {
            self.module.memories.push(convert::memory_type(ty?)?);
        }
        Ok(())
    }

    fn globals(&mut self, section: wasmparser::GlobalSectionReader<'_>) -> Result<()> {
        self.validator.global_section(&section)?;
        for global in section {
            let global = global?;
            let kinds = Kinds::of(&self.module.types);
            self.module.globals.push(convert::global_type(global.ty, kinds)?);
            self.module.global_inits.push(const_expr(&global.init_expr, kinds)?);
        }
        Ok(())
    }

    fn exports(&mut self, section: wasmparser::ExportSectionReader<'_>) -> Result<()> {
        self.validator.export_section(&section)?;
        for export in section {
            let export = export?;
            let index = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => EntityIndex::Func(FuncIndex(export.index)),
                ExternalKind::Table => EntityIndex::Table(TableIndex(export.index)),
                ExternalKind::Memory => EntityIndex::Memory(MemoryIndex(export.index)),
                ExternalKind::Global => EntityIndex::Global(GlobalIndex(export.index)),
                ExternalKind::Tag => EntityIndex::Tag(TagIndex(export.index)),
            };
            self.module.exports.push(Export { name: export.name.to_owned(), index });
        }
        Ok(())
    }

    fn elements(&mut self, section: wasmparser::ElementSectionReader<'_>) -> Result<()> {
        if self.items == Items::Validators {
            self.validator.element_section(&section)?;
            return section.into_iter().try_for_each(|element| self.element(element?, None));
        }
        let (rest, mut lists) = self.take_lists(&section)?;
        let reader = BinaryReader::new_features(&rest, section.range().start, *self.validator.features());
        let section = wasmparser::ElementSectionReader::new(reader)?;
        self.validator.element_section(&section)?;
        section.into_iter().zip(lists.iter_mut()).try_for_each(|(element, list)| self.element(element?, list.take()))
    }

    /// `list`: the functions of a segment that was validated without them.
    fn element(&mut self, element: wasmparser::Element<'_>, list: Option<Box<[FuncIndex]>>) -> Result<()> {
        let kinds = Kinds::of(&self.module.types);
        let mode = match element.kind {
            ElementKind::Passive => SegmentMode::Passive,
            ElementKind::Declared => SegmentMode::Declared,
            ElementKind::Active { table_index, offset_expr } => SegmentMode::Active {
                target: TableIndex(table_index.unwrap_or(0)),
                offset: const_expr(&offset_expr, kinds)?,
            },
        };
        let (ty, items) = match (element.items, list) {
            (_, Some(list)) => (wasmparser::RefType::FUNCREF, ElemItems::Funcs(list)),
            (ElementItems::Functions(funcs), None) => {
                let funcs: Result<Box<[_]>, _> = funcs.into_iter().map(|f| f.map(FuncIndex)).collect();
                (wasmparser::RefType::FUNCREF, ElemItems::Funcs(funcs?))
            }
            (ElementItems::Expressions(ty, exprs), None) => (ty, elem_exprs(exprs, kinds)?),
        };
        self.module.elems.push(ElemSegment { mode, ty: convert::ref_type(ty, kinds)?, items });
        Ok(())
    }

    /// The element section with empty lists instead of those of functions; these, which are valid, for each segment.
    fn take_lists(&self, section: &wasmparser::ElementSectionReader<'_>) -> Result<(Vec<u8>, Vec<FuncList>)> {
        let bytes = |range: Range<u64>| &self.bytes[range.start as usize..range.end as usize];
        let (mut rest, mut lists) = (bytes(section.range().start..section.original_position()).to_vec(), Vec::new());
        for element in section.clone() {
            let element = element?;
            let ElementItems::Functions(funcs) = element.items else {
                rest.extend_from_slice(bytes(element.range));
                lists.push(None);
                continue;
            };
            check_limit("elements of a segment", funcs.count().into(), limits::MAX_TABLE_ELEMENTS)?;
            rest.extend_from_slice(bytes(element.range.start..funcs.range().start));
            rest.push(0);
            let list = funcs.into_iter().map(|func| {
                let func = func?;
                let known = u64::from(func) < self.module.funcs.len() as u64;
                if known { Ok(FuncIndex(func)) } else { Err(CompileError::internal("a function that there is not")) }
            });
            lists.push(Some(list.collect::<Result<_>>()?));
        }
        Ok((rest, lists))
    }

    fn datas(&mut self, section: wasmparser::DataSectionReader<'_>) -> Result<()> {
        self.validator.data_section(&section)?;
        let kinds = Kinds::of(&self.module.types);
        for data in section {
            let data = data?;
            let mode = match data.kind {
                wasmparser::DataKind::Passive => SegmentMode::Passive,
                wasmparser::DataKind::Active { memory_index, offset_expr } => {
                    SegmentMode::Active { target: MemoryIndex(memory_index), offset: const_expr(&offset_expr, kinds)? }
                }
            };
            // The segment's bytes are the last part of it.
            let end = data.range.end;
            let bytes = source_range(&(end - data.data.len() as u64..end))?;
            self.module.datas.push(DataSegment { mode, bytes });
        }
        Ok(())
    }

    /// Outlines all bodies of the code section, of which `rest`, at `start` in the module, is the part behind the count:
    /// `size` bytes. `None` if something is wrong; the parser then finds out what.
    fn bodies(&mut self, rest: &[u8], start: u64, count: u32, size: u32) -> Result<Option<usize>> {
        let defined = self.module.funcs.len() - self.module.num_imported_funcs as usize;
        let Some(section) = rest.get(..size as usize).filter(|_| count as usize == defined && count > 0) else {
            return Ok(None);
        };
        let mut reader = BinaryReader::new(section, start);
        let mut bodies = IndexVec::with_capacity(count as usize);
        for _ in 0..count {
            let Ok(len) = reader.read_var_u32() else { return Ok(None) };
            let at = reader.original_position();
            if len > limits::MAX_BODY_SIZE || reader.read_bytes(len as usize).is_err() {
                return Ok(None);
            }
            bodies.push(source_range(&(at..at + u64::from(len)))?);
        }
        if !reader.eof() {
            return Ok(None);
        }
        // The validator wants to see one of them, and gives what it knows about the module.
        let first: &SourceRange = bodies.values().next().expect("there is one");
        let begin = (u64::from(first.start) - start) as usize;
        let body = BinaryReader::new(&section[begin..begin + first.len()], first.start.into());
        let body = wasmparser::FunctionBody::new(body);
        self.resources = Some(self.validator.code_section_entry(&body)?.resources);
        self.module.bodies = bodies;
        Ok(Some(section.len()))
    }

    fn body(&mut self, body: &wasmparser::FunctionBody<'_>) -> Result<()> {
        let range = body.range();
        let m = &mut self.module;
        let index = FuncIndex(m.num_imported_funcs + m.bodies.len() as u32);
        let size = range.end - range.start;
        if size > u64::from(limits::MAX_BODY_SIZE) {
            return Err(CompileError::limit("bytes of a function's body", size, limits::MAX_BODY_SIZE.into())
                .in_func(index, names::func_name(m, self.bytes, index))
                .at(range.start));
        }
        let to_validate = self.validator.code_section_entry(body)?;
        if self.resources.is_none() {
            self.resources = Some(to_validate.resources);
        }
        m.bodies.push(source_range(&range)?);
        Ok(())
    }
}

/// A range of the module's bytes, of which there are at most `MAX_MODULE_SIZE`.
fn source_range(range: &Range<u64>) -> Result<SourceRange> {
    let ends = u32::try_from(range.start).ok().zip(u32::try_from(range.end).ok());
    let (start, end) =
        ends.ok_or_else(|| CompileError::limit("bytes of the module", range.end, limits::MAX_MODULE_SIZE as u64))?;
    Ok(start..end)
}

fn elem_exprs(exprs: wasmparser::SectionLimited<'_, wasmparser::ConstExpr<'_>>, kinds: Kinds<'_>) -> Result<ElemItems> {
    let exprs = exprs.into_iter().map(|e| const_expr(&e?, kinds)).collect::<Result<Box<[_]>>>()?;
    // The common case, `ref.func` throughout, is kept in its compact form.
    let funcs = exprs.iter().map(|e| match &*e.0 {
        [ConstOp::RefFunc(f)] => Some(*f),
        _ => None,
    });
    Ok(match funcs.collect::<Option<Box<[_]>>>() {
        Some(funcs) => ElemItems::Funcs(funcs),
        None => ElemItems::Exprs(exprs),
    })
}

/// Converts a constant expression that has been validated.
fn const_expr(expr: &wasmparser::ConstExpr<'_>, kinds: Kinds<'_>) -> Result<ConstExpr> {
    let mut ops = Vec::with_capacity(1);
    let mut reader = expr.get_operators_reader();
    loop {
        let (op, offset) = reader.read_with_offset()?;
        ops.push(match op {
            Operator::End => break,
            Operator::I32Const { value } => ConstOp::I32(value),
            Operator::I64Const { value } => ConstOp::I64(value),
            Operator::F32Const { value } => ConstOp::F32(value.bits()),
            Operator::F64Const { value } => ConstOp::F64(value.bits()),
            Operator::V128Const { value } => ConstOp::V128(u128::from_le_bytes(*value.bytes())),
            Operator::GlobalGet { global_index } => ConstOp::GlobalGet(GlobalIndex(global_index)),
            Operator::RefNull { hty } => ConstOp::RefNull(convert::heap_type(hty, kinds)?),
            Operator::RefFunc { function_index } => ConstOp::RefFunc(FuncIndex(function_index)),
            Operator::I32Add => ConstOp::I32Add,
            Operator::I32Sub => ConstOp::I32Sub,
            Operator::I32Mul => ConstOp::I32Mul,
            Operator::I64Add => ConstOp::I64Add,
            Operator::I64Sub => ConstOp::I64Sub,
            Operator::I64Mul => ConstOp::I64Mul,
            other => {
                let what = format_args!("{other:?} in a constant expression");
                return Err(CompileError::unsupported(what).at(offset));
            }
        });
    }
    Ok(ConstExpr(ops.into()))
}

/// Finds the functions to which a reference can exist. Validation admits `ref.func` in bodies only for these.
fn mark_escapes(module: &mut Module) {
    let mut escaping = Vec::new();
    let in_expr = |e: &ConstExpr, out: &mut Vec<FuncIndex>| {
        out.extend(e.0.iter().filter_map(|op| if let ConstOp::RefFunc(f) = op { Some(*f) } else { None }));
    };
    for export in &module.exports {
        if let EntityIndex::Func(f) = export.index {
            escaping.push(f);
        }
    }
    let inits = module.global_inits.values().chain(module.table_inits.values().flatten());
    inits.for_each(|e| in_expr(e, &mut escaping));
    for elem in module.elems.values() {
        match &elem.items {
            ElemItems::Funcs(funcs) => escaping.extend_from_slice(funcs),
            ElemItems::Exprs(exprs) => exprs.iter().for_each(|e| in_expr(e, &mut escaping)),
        }
    }
    for f in escaping {
        module.funcs[f].escapes = true;
    }
}
