//! Validates all bodies of a module, in parallel, and collects on the way what compilers want to know.

mod quick;
mod resources;

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kiln_env::opcode::Class;
use kiln_env::{ContextLayout, DefinedFuncIndex, FuncIndex, IndexVec, Module, Op, Tunables, TypeIndex, limits};
use wasmparser::{
    BinaryReader, FrameKind, FuncToValidate, FuncValidator, FuncValidatorAllocations, FunctionBody, Operator,
    WasmFeatures,
};

use crate::body_key::Declarations;
use crate::error::{CompileError, Result};
use crate::features::Features;
use crate::info::{
    FuncInfos, MAX_HOIST_WORK, MAX_LOCAL_BLOCKS, MAX_LOCAL_CAUGHT, MAX_LOCAL_LOOPS, MAX_VALUES, PRODUCT_COST,
    RANKED_LOCALS, Record, encode_weight, flag, write_leb,
};
use crate::names;
use crate::parse::ParsedModule;
use crate::pool::Pool;
use quick::{QuickModule, QuickScratch};
use resources::Resources;

/// Bytes of bodies that are validated as one piece of work.
const CHUNK_BYTES: u64 = 128 << 10;
/// Below this many bytes of bodies the calling thread does it alone.
const PARALLEL_BYTES: u64 = 256 << 10;

/// A valid module: its declarations, the layout of its instances' contexts, and what is known about each body.
/// Does not hold the module's bytes; what compiles it is given them again.
pub struct ValidatedModule {
    module: Arc<Module>,
    layout: ContextLayout,
    infos: FuncInfos,
    features: Features,
    indirect_types: Box<[TypeIndex]>,
    canonical_sigs: IndexVec<TypeIndex, TypeIndex>,
    declarations: OnceLock<Declarations>,
    own_references: OnceLock<bool>,
    parse_time: Duration,
    validate_time: Duration,
}

impl ValidatedModule {
    /// A module of which this is known.
    pub(crate) fn new(
        parsed: ParsedModule,
        layout: ContextLayout,
        infos: FuncInfos,
        indirect_types: Box<[TypeIndex]>,
    ) -> ValidatedModule {
        let ParsedModule { module, features, time, .. } = parsed;
        ValidatedModule {
            layout,
            infos,
            features,
            indirect_types,
            canonical_sigs: module.canonical_signatures(),
            declarations: OnceLock::new(),
            own_references: OnceLock::new(),
            module,
            parse_time: time,
            validate_time: Duration::ZERO,
        }
    }

    /// The declarations.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Where everything is in an instance's context.
    pub fn layout(&self) -> &ContextLayout {
        &self.layout
    }

    /// What is known about the bodies.
    pub fn infos(&self) -> &FuncInfos {
        &self.infos
    }

    /// The features under which it is valid.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The types that bodies name in `call_indirect`, `call_ref` and their tail-calling forms; ascending, each once.
    pub fn indirect_types(&self) -> &[TypeIndex] {
        &self.indirect_types
    }

    /// What scans of bodies have in common.
    pub(crate) fn declarations(&self, tunables: &Tunables) -> &Declarations {
        self.declarations.get_or_init(|| Declarations::new(&self.module, tunables))
    }

    /// See [`Module::has_own_references_only`].
    pub(crate) fn has_own_references_only(&self) -> bool {
        *self.own_references.get_or_init(|| self.module.has_own_references_only())
    }

    /// How long parsing and validating took.
    pub fn times(&self) -> (Duration, Duration) {
        (self.parse_time, self.validate_time)
    }

    /// The first type with the same signature: trampolines exist under its index only.
    pub fn canonical_sig(&self, ty: TypeIndex) -> TypeIndex {
        self.canonical_sigs[ty]
    }
}

/// Who is told what ranges of a module's bytes were validated.
pub type Done<'a> = &'a (dyn Fn(Range<u32>) + Sync);

/// Validates the bodies of `parsed`, whose bytes are `source`, and tells `done` of all that are valid.
///
/// # Errors
/// The invalid function with the least index, with its name and the offset. A limit of `kiln_env::limits` is exceeded.
pub(crate) fn validate(parsed: ParsedModule, source: &[u8], pool: &Pool, done: Done<'_>) -> Result<ValidatedModule> {
    let start = Instant::now();
    let ParsedModule { module, features, resources, time: parse_time } = parsed;
    let layout = ContextLayout::new(&module).map_err(CompileError::limit_message)?;
    let (mut infos, mut indirect_types) = (FuncInfos::default(), Vec::new());
    if let Some(resources) = &resources {
        let shared = Shared {
            module: &module,
            source,
            resources: Resources::new(resources, &module),
            features: features.to_wasmparser(),
            failed: AtomicU32::new(u32::MAX),
            quick: QuickModule::new(&module, &features),
            done,
        };
        (infos, indirect_types) = shared.validate_all(pool)?;
    }
    indirect_types.sort_unstable();
    indirect_types.dedup();
    let indirect_types = indirect_types.into_iter().map(TypeIndex).collect();
    let module = ParsedModule { module, features, resources: None, time: parse_time };
    let mut validated = ValidatedModule::new(module, layout, infos, indirect_types);
    validated.validate_time = start.elapsed();
    Ok(validated)
}

/// What bodies yield, beside a record each.
#[derive(Default)]
struct Findings {
    arena: Vec<u8>,
    indirect_types: Vec<u32>,
}

/// What all threads look at.
struct Shared<'a> {
    module: &'a Module,
    source: &'a [u8],
    resources: Resources<'a>,
    features: WasmFeatures,
    /// Least index of a function that turned out invalid: what comes after need not be looked at.
    failed: AtomicU32,
    /// For the validator that is tried first.
    quick: Option<QuickModule>,
    done: Done<'a>,
}

impl Shared<'_> {
    fn validate_all(&self, pool: &Pool) -> Result<(FuncInfos, Vec<u32>)> {
        let chunks = self.chunks();
        let parallel = self.module.bodies.values().map(|r| u64::from(r.end - r.start)).sum::<u64>() >= PARALLEL_BYTES;
        let order: Vec<u32> = (0..chunks.len() as u32).collect();
        let threads = if parallel { usize::MAX } else { 1 };
        let mut records = vec![Record::default(); self.module.bodies.len()];
        let mut rest = &mut records[..];
        // Each is locked once.
        let mut parts = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(chunk.len());
            parts.push(Mutex::new(part));
            rest = behind;
        }
        let results = pool.map(threads, &order, Scratch::default, |scratch, i| {
            let mut part = parts[i as usize].lock().unwrap_or_else(PoisonError::into_inner);
            self.validate_chunk(chunks[i as usize].clone(), &mut part, scratch)
        });
        drop(parts);
        let mut all = Findings::default();
        all.arena.reserve_exact(results.iter().flatten().map(|found| found.arena.len()).sum());
        for (result, chunk) in results.into_iter().zip(chunks) {
            // Chunks are in order, so the first error is that of the least function.
            let found = result?;
            let base = u32::try_from(all.arena.len())
                .map_err(|_| CompileError::limit_message("bodies: what is known about them exceeds 4 GiB"))?;
            for record in &mut records[chunk.start as usize..chunk.end as usize] {
                record.arena += base;
            }
            all.arena.extend_from_slice(&found.arena);
            all.indirect_types.extend(found.indirect_types);
        }
        Ok((FuncInfos { records, arena: all.arena }, all.indirect_types))
    }

    /// Ranges of functions with about the same number of bytes.
    fn chunks(&self) -> Vec<Range<u32>> {
        let mut chunks = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (index, range) in self.module.bodies.iter() {
            bytes += u64::from(range.end - range.start);
            if bytes >= CHUNK_BYTES {
                chunks.push(start..index.0 + 1);
                (start, bytes) = (index.0 + 1, 0);
            }
        }
        let end = self.module.bodies.len() as u32;
        if start < end {
            chunks.push(start..end);
        }
        chunks
    }

    /// `records` are those of `funcs`.
    fn validate_chunk(&self, funcs: Range<u32>, records: &mut [Record], scratch: &mut Scratch) -> Result<Findings> {
        let mut out = Findings::default();
        for (func, record) in funcs.clone().zip(records) {
            // Only an error before this one could be reported, so the rest of this chunk does not matter.
            if self.failed.load(Ordering::Relaxed) < func {
                break;
            }
            match self.validate_body(DefinedFuncIndex(func), scratch, &mut out) {
                Ok(found) => *record = found,
                Err(e) => {
                    self.failed.fetch_min(func, Ordering::Relaxed);
                    let index = self.module.func_index(DefinedFuncIndex(func));
                    return Err(e.in_func(index, names::func_name(self.module, self.source, index)));
                }
            }
        }
        let bodies = &self.module.bodies;
        let [first, last] = [funcs.start, funcs.end - 1].map(|func| &bodies[DefinedFuncIndex(func)]);
        (self.done)(first.start..last.end);
        Ok(out)
    }

    fn validate_body(&self, func: DefinedFuncIndex, scratch: &mut Scratch, out: &mut Findings) -> Result<Record> {
        let index = self.module.func_index(func);
        let (start, code) = body_bytes(self.module, self.source, func)?;
        let ty = self.module.funcs[index].ty.0;
        scratch.facts.begin();
        if let Some(module) = &self.quick
            && quick::validate(module, ty, code, &mut scratch.quick, &mut scratch.facts).is_some()
        {
            let record = scratch.facts.finish(code, out);
            if cfg!(debug_assertions) {
                self.confirm((index, ty), start, code, scratch, (record, &out.arena[record.arena as usize..]));
            }
            return Ok(record);
        }
        scratch.facts.begin();
        self.validate_slowly((index, ty), start, code, scratch)?;
        Ok(scratch.facts.finish(code, out))
    }

    /// Checks that the two validators agree about a body: the quick one accepted it and found out `found`. Panics if they
    /// do not: a bug.
    fn confirm(
        &self,
        (index, ty): (FuncIndex, u32),
        start: u64,
        code: &[u8],
        scratch: &mut Scratch,
        found: (Record, &[u8]),
    ) {
        let mut again = Findings::default();
        scratch.facts.begin();
        if let Err(error) = self.validate_slowly((index, ty), start, code, scratch) {
            panic!("function {} is not valid, but passed for it: {error}", index.0);
        }
        let record = scratch.facts.finish(code, &mut again);
        assert_eq!((Record { arena: 0, ..found.0 }, found.1), (record, &again.arena[..]));
    }

    /// The same by `wasmparser`, which knows every operator.
    fn validate_slowly(
        &self,
        (index, ty): (FuncIndex, u32),
        start: u64,
        code: &[u8],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let to_validate = FuncToValidate { resources: self.resources, index: index.0, ty, features: self.features };
        let mut validator = to_validate.into_validator(std::mem::take(&mut scratch.allocations));
        let mut reader = BinaryReader::new_features(code, start, self.features);
        define_locals(&mut validator, &mut reader)?;
        while !reader.eof() {
            let at = reader.original_position();
            let ends_loop = scratch.facts.before(&code[(at - start) as usize..], &validator);
            reader.visit_operator(&mut validator.visitor(at))??;
            scratch.facts.after(ends_loop, &validator);
            if validator.control_stack_height() > limits::MAX_NESTING {
                let depth = u64::from(validator.control_stack_height());
                return Err(CompileError::limit("depth of nested blocks", depth, limits::MAX_NESTING.into()).at(at));
            }
        }
        reader.finish_expression(&validator.visitor(reader.original_position()))?;
        scratch.allocations = validator.into_allocations();
        Ok(())
    }
}

/// The bytes of a body and their offset in the module.
pub(crate) fn body_bytes<'a>(module: &Module, source: &'a [u8], func: DefinedFuncIndex) -> Result<(u64, &'a [u8])> {
    let range = &module.bodies[func];
    let bytes = source.get(range.start as usize..range.end as usize);
    let bytes =
        bytes.ok_or_else(|| CompileError::config("the source is not the one that the module was parsed from"))?;
    Ok((range.start.into(), bytes))
}

fn define_locals(validator: &mut FuncValidator<Resources<'_>>, reader: &mut BinaryReader<'_>) -> Result<()> {
    let mut total = u64::from(validator.len_locals());
    for _ in 0..reader.read_var_u32()? {
        let at = reader.original_position();
        let count = reader.read_var_u32()?;
        total += u64::from(count);
        if total > u64::from(limits::MAX_LOCALS) {
            return Err(CompileError::limit("locals of one function", total, limits::MAX_LOCALS.into()).at(at));
        }
        let ty = reader.read()?;
        validator.define_locals(at, count, ty)?;
    }
    Ok(())
}

/// What a thread keeps from body to body.
#[derive(Default)]
struct Scratch {
    allocations: FuncValidatorAllocations,
    quick: QuickScratch,
    facts: Facts,
}

/// Collects what is known about one body, from the opcodes alone.
#[derive(Default)]
struct Facts {
    /// Weight of each local; all zero between bodies.
    weights: Vec<u64>,
    /// The locals with a weight.
    touched: Vec<u32>,
    callees: Vec<u32>,
    types: Vec<u32>,
    loop_depth: u32,
    hoist_work: u64,
    max_stack: u32,
    num_loops: u32,
    /// Operators by their costs.
    cost: u32,
    /// Operators that end or begin a block of IR.
    num_blocks: u32,
    /// Operators that do so where their traps are explicit checks.
    num_checks: u32,
    flags: u16,
}

impl Facts {
    fn begin(&mut self) {
        self.touched.iter().for_each(|l| self.weights[*l as usize] = 0);
        self.touched.clear();
        self.callees.clear();
        self.types.clear();
        (self.loop_depth, self.hoist_work, self.max_stack, self.num_loops, self.flags) = (0, 0, 0, 0, 0);
        (self.num_blocks, self.num_checks, self.cost) = (0, 0, 0);
    }

    /// Looks at an operator before it is validated. Immediates may be nonsense here; returns whether it ends a loop.
    fn before(&mut self, code: &[u8], validator: &FuncValidator<Resources<'_>>) -> bool {
        let Some(op) = Op::decode(code) else { return false };
        self.cost += u32::from(op.cost());
        match op.class() {
            Class::Local => self.use_local(peek_leb(&code[1..])),
            Class::Control => return self.before_control(op, code.len(), validator),
            Class::Call => {
                self.flags |= flag::CALLS;
                match op {
                    Op::Call | Op::ReturnCall => self.callees.push(peek_leb(&code[1..])),
                    // Through a table or a reference: what is named is the type.
                    _ => self.types.push(peek_leb(&code[1..])),
                }
            }
            Class::Exception if matches!(op, Op::Try | Op::TryTable) => self.flags |= flag::CATCHES,
            // What traps where signals are not used, as an explicit check.
            Class::Load | Class::Store | Class::Partial | Class::Vector | Class::VectorAccess => self.num_checks += 1,
            Class::Atomic | Class::Fence => self.num_checks += 1,
            Class::Memory => self.num_checks += u32::from(op == Op::MemoryGrow),
            Class::Table => self.num_checks += u32::from(matches!(op, Op::TableGet | Op::TableSet)),
            Class::Reference => self.num_checks += u32::from(matches!(op, Op::RefFunc | Op::RefAsNonNull)),
            Class::Exception | Class::Parametric | Class::Global | Class::Constant => {}
            // Waiting and waking call the runtime.
            Class::Comparison | Class::Numeric | Class::Wide | Class::Aggregate | Class::Wait => {}
        }
        false
    }

    /// The same for blocks and branches; `len` is the number of bytes from the operator on.
    fn before_control(&mut self, op: Op, len: usize, validator: &FuncValidator<Resources<'_>>) -> bool {
        match op {
            Op::Loop => {
                self.num_loops += 1;
                self.num_blocks += 1;
                self.loop_depth += 1;
            }
            Op::End => return validator.get_control_frame(0).is_some_and(|f| f.kind == FrameKind::Loop),
            // Only the last end follows.
            Op::Unreachable if len == 2 => self.flags |= flag::ENDS_UNREACHABLE,
            Op::Unreachable | Op::Nop => {}
            Op::Return => {
                self.num_blocks += 1;
                self.flags |= flag::RETURNS;
            }
            // All else begins or ends a block.
            _ => self.num_blocks += 1,
        }
        false
    }

    #[inline]
    fn after(&mut self, ends_loop: bool, validator: &FuncValidator<Resources<'_>>) {
        self.loop_depth -= u32::from(ends_loop);
        let depth = u64::from(self.loop_depth);
        self.note_height(validator.operand_stack_height(), depth * depth);
    }

    /// Behind each operator: the height of the operand stack, and the square of the number of loops around.
    #[inline]
    fn note_height(&mut self, height: u32, depth_squared: u64) {
        self.hoist_work += depth_squared;
        self.max_stack = self.max_stack.max(height);
    }

    #[inline]
    fn use_local(&mut self, local: u32) {
        if local >= limits::MAX_LOCALS {
            return;
        }
        let at = local as usize;
        if at >= self.weights.len() {
            self.weights.resize(at + 1, 0);
        }
        if self.weights[at] == 0 {
            self.touched.push(local);
        }
        self.weights[at] = self.weights[at].saturating_add(1 << (3 * self.loop_depth.min(10)));
    }

    /// Whether the body looks like a product of 128 bits that is put together from smaller ones, of which the pass `wide`
    /// leaves little. Nothing but estimates depends on the answer.
    fn looks_like_product(&self, code: &[u8]) -> bool {
        let simple = self.callees.is_empty() && self.types.is_empty() && self.num_blocks == 0 && self.flags == 0;
        if !simple || !(20..=40).contains(&self.cost) {
            return false;
        }
        let body = FunctionBody::new(BinaryReader::new(code, 0));
        let Ok(operators) = body.get_operators_reader() else { return false };
        let (mut products, mut shifts) = (0, 0);
        for op in operators {
            match op {
                Ok(Operator::I64Mul) => products += 1,
                Ok(Operator::I64ShrU) => shifts += 1,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        (4..=6).contains(&products) && shifts >= 3
    }

    fn finish(&mut self, code: &[u8], out: &mut Findings) -> Record {
        if self.looks_like_product(code) {
            self.cost = PRODUCT_COST;
        }
        if self.hoist_work > MAX_HOIST_WORK || self.num_loops > limits::MAX_OPTIMIZED_LOOPS {
            self.flags |= flag::DEEP_LOOPS;
        }
        if self.touched.len() as u64 + u64::from(self.max_stack) > MAX_VALUES {
            self.flags |= flag::MANY_VALUES;
        }
        let locals = self.touched.len() as u64;
        // Calls may lead to a handler, with a value for each local that was set meanwhile.
        let caught = if self.flags & flag::CATCHES == 0 { 0 } else { (self.callees.len() + self.types.len()) as u64 };
        let too_many = |blocks: u64| {
            locals * blocks > MAX_LOCAL_BLOCKS
                || locals * u64::from(self.num_loops) > MAX_LOCAL_LOOPS
                || locals * caught > MAX_LOCAL_CAUGHT
        };
        // A call through a table checks twice, a check makes two blocks.
        let calls = (self.callees.len() + 4 * self.types.len()) as u64;
        if too_many(2 * u64::from(self.num_blocks) + calls) {
            self.flags |= flag::LOCALS_IN_MEMORY;
        }
        if too_many(2 * u64::from(self.num_blocks) + 2 * u64::from(self.num_checks) + calls) {
            self.flags |= flag::LOCALS_IN_MEMORY_IF_CHECKED;
        }
        let arena = out.arena.len() as u32;
        self.touched.sort_unstable_by_key(|l| (std::cmp::Reverse(self.weights[*l as usize]), *l));
        let ranked = &self.touched[..self.touched.len().min(RANKED_LOCALS)];
        for &local in ranked {
            out.arena.extend_from_slice(&(local as u16).to_le_bytes());
            out.arena.push(encode_weight(self.weights[local as usize]));
        }
        let num_ranked = ranked.len() as u8;
        self.callees.sort_unstable();
        self.callees.dedup();
        let mut last = 0;
        for &callee in &self.callees {
            write_leb(&mut out.arena, callee - last);
            last = callee;
        }
        self.types.sort_unstable();
        self.types.dedup();
        out.indirect_types.append(&mut self.types);
        if out.indirect_types.len() > 4096 {
            out.indirect_types.sort_unstable();
            out.indirect_types.dedup();
        }
        Record {
            arena,
            max_stack: u16::try_from(self.max_stack).unwrap_or(u16::MAX),
            num_loops: u16::try_from(self.num_loops).unwrap_or(u16::MAX),
            cost: u16::try_from(self.cost).unwrap_or(u16::MAX),
            flags: self.flags,
            num_ranked,
        }
    }
}

/// An unsigned LEB128 number that may be cut off or too long: then whatever, validation will say so.
#[inline]
fn peek_leb(bytes: &[u8]) -> u32 {
    let mut n = 0;
    for (i, b) in bytes.iter().take(5).enumerate() {
        n |= u32::from(b & 0x7f) << (7 * i);
        if b & 0x80 == 0 {
            break;
        }
    }
    n
}
