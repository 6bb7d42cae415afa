//! Why a function of one module is not found in the cache when it was compiled for another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::mem::discriminant;

use kiln_env::opcode::Prefix;
use kiln_env::types::MemoryType;
use kiln_env::{
    CacheKey, DefinedFuncIndex, FuncIndex, FuncKey, GlobalIndex, MemoryIndex, TableIndex, TagIndex, TypeIndex,
};
use wasmparser::{BinaryReader, BlockType, FunctionBody, MemArgTarget, Operator, OperatorsReader};

use crate::compile::Compiler;
use crate::error::Result;
use crate::names;
use crate::validate::{ValidatedModule, body_bytes};

/// In what two functions of the same name differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Difference {
    /// Other operators, other locals, another signature.
    Body,
    /// Nothing but which functions that it calls are inlined, or these.
    Callees,
    /// Such numbers in functions that it calls, and that are inlined.
    InlinedNumbers,
    /// Numbers in the code, mostly addresses of data and positions of functions in tables.
    Constants,
    /// Offsets of accesses to memory, mostly addresses of data.
    Offsets,
    /// The same operators take another number of bytes, so that positions in the body differ.
    Encoding,
    /// Signatures of callees, of indirect calls or of blocks; callees that are imported in one module only.
    Signatures,
    /// Where imported functions are in the context.
    ImportPlaces,
    /// Where the numbers of types are in the context.
    TypePlaces,
    /// Index, declaration, value or place of a global.
    Globals,
    /// Declaration or place of a memory.
    Memories,
    /// Index, declaration or place of a table.
    Tables,
    /// Index, declaration or place of an exception tag.
    Tags,
    /// Indices of segments and of functions in references.
    Indices,
}

impl Difference {
    /// Whether it is in places and numbers that a module gives to its things, and not in what the function does.
    pub fn is_index(self) -> bool {
        use Difference::*;
        !matches!(self, Body | InlinedNumbers | Constants | Offsets)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Difference::Body => "another body",
            Difference::Callees => "what is inlined",
            Difference::InlinedNumbers => "constants and offsets in what is inlined",
            Difference::Constants => "constants",
            Difference::Offsets => "offsets of accesses",
            Difference::Encoding => "length of encodings",
            Difference::Signatures => "signatures",
            Difference::ImportPlaces => "places of imports",
            Difference::TypePlaces => "places of types",
            Difference::Globals => "globals",
            Difference::Memories => "memories",
            Difference::Tables => "tables",
            Difference::Tags => "tags",
            Difference::Indices => "indices of segments or references",
        })
    }
}

/// How functions of two modules are paired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pairing {
    /// By their names, as both modules have a name section.
    #[default]
    Names,
    /// By their operators, without constants, offsets of accesses and indices into the module.
    Operators,
}

/// What compiling one module leaves in the cache for another.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Functions of the second module.
    pub functions: u64,
    /// Of these, those whose body has the key of one in the first module, whatever their names.
    pub found: u64,
    /// How it is told which functions the modules have in common.
    pub pairing: Pairing,
    /// Functions of the second module that have counterparts in the first.
    pub common: u64,
    /// Of these, those that differ in nothing but indices from one of their counterparts: the functions that are the same in
    /// both programs.
    pub same: u64,
    /// Of those in common, those whose body has the key of a counterpart: found without translation.
    pub same_body: u64,
    /// Of the others, those that become the same code as a counterpart: found behind translation.
    pub same_code: u64,
    /// The rest, by what differs from the counterpart that is most like them: how many, and some of them by name or index.
    pub misses: BTreeMap<Vec<Difference>, (u64, Vec<String>)>,
}

/// How many names are kept for each reason.
const EXAMPLES: usize = 5;
/// How many counterparts a function is compared with.
const MAX_COUNTERPARTS: usize = 64;

/// A module that is compared: its declarations, its bytes, and the keys of its functions.
struct Program<'a> {
    module: &'a ValidatedModule,
    source: &'a [u8],
    keys: Vec<Option<CacheKey>>,
    codes: HashMap<DefinedFuncIndex, (CacheKey, Vec<u32>)>,
    /// Whether code serves for other numbers.
    open: HashMap<DefinedFuncIndex, bool>,
}

impl<'a> Program<'a> {
    fn new(compiler: &Compiler, (module, source): (&'a ValidatedModule, &'a [u8])) -> Result<Program<'a>> {
        Ok(Program {
            module,
            source,
            keys: compiler.cache_keys(module, source)?,
            codes: HashMap::new(),
            open: HashMap::new(),
        })
    }

    fn key(&self, func: DefinedFuncIndex) -> Option<CacheKey> {
        self.keys[func.0 as usize]
    }

    /// What the cache knows the code of a function by, and the numbers that are open in it.
    fn code(&mut self, compiler: &Compiler, func: DefinedFuncIndex) -> Result<(CacheKey, Vec<u32>)> {
        if let Some(code) = self.codes.get(&func) {
            return Ok(code.clone());
        }
        let code = compiler.stencil_key(self.module, self.source, FuncKey::Wasm(func))?;
        self.codes.insert(func, code.clone());
        Ok(code)
    }

    fn is_open(&mut self, compiler: &Compiler, func: DefinedFuncIndex) -> Result<bool> {
        if let Some(open) = self.open.get(&func) {
            return Ok(*open);
        }
        let open = compiler.is_open(self.module, self.source, FuncKey::Wasm(func))?;
        self.open.insert(func, open);
        Ok(open)
    }

    fn side(&self, func: DefinedFuncIndex) -> Result<Side<'a>> {
        Side::new((self.module, self.source), func)
    }

    fn names(&self) -> Vec<(DefinedFuncIndex, Vec<u8>)> {
        let names = names::defined_names(self.module.module(), self.source).into_iter();
        names.map(|(func, name)| (func, name.as_bytes().to_vec())).collect()
    }

    fn outlines(&self) -> Result<Vec<(DefinedFuncIndex, Vec<u8>)>> {
        let funcs = self.module.module().bodies.keys();
        funcs.map(|func| Ok((func, outline(&self.side(func)?)?))).collect()
    }

    /// A function as the user knows it.
    fn call(&self, func: DefinedFuncIndex, name: &[u8], pairing: Pairing) -> String {
        match pairing {
            Pairing::Names => String::from_utf8_lossy(name).into_owned(),
            Pairing::Operators => format!("{}", self.module.module().func_index(func).0),
        }
    }
}

impl Compiler {
    /// Compares the functions of two modules by what the cache knows them by. Each module comes with its bytes.
    ///
    /// # Errors
    /// A function cannot be translated.
    pub fn compare(&self, old: (&ValidatedModule, &[u8]), new: (&ValidatedModule, &[u8])) -> Result<Comparison> {
        let (mut old, mut new) = (Program::new(self, old)?, Program::new(self, new)?);
        let known: BTreeSet<CacheKey> = old.keys.iter().flatten().copied().collect();
        let names = [old.names(), new.names()];
        let pairing = if names.iter().all(|names| !names.is_empty()) { Pairing::Names } else { Pairing::Operators };
        let [old_names, new_names] = match pairing {
            Pairing::Names => names,
            Pairing::Operators => [old.outlines()?, new.outlines()?],
        };
        let mut counterparts: HashMap<Vec<u8>, Vec<DefinedFuncIndex>> = HashMap::new();
        for (func, name) in old_names {
            counterparts.entry(name).or_default().push(func);
        }
        let mut comparison = Comparison {
            functions: new.keys.len() as u64,
            found: new.keys.iter().flatten().filter(|k| known.contains(k)).count() as u64,
            pairing,
            ..Comparison::default()
        };
        for (func, name) in new_names {
            let Some(counterparts) = counterparts.get(&name) else { continue };
            comparison.common += 1;
            let counterparts = &counterparts[..counterparts.len().min(MAX_COUNTERPARTS)];
            let differences = self.nearest(&old, counterparts, &new, func)?;
            comparison.same += u64::from(differences.iter().all(|d| d.is_index()));
            match self.how_found(&mut old, counterparts, &mut new, func)? {
                Some(Found::Body) => comparison.same_body += 1,
                Some(Found::Code) => comparison.same_code += 1,
                None => {
                    let (count, examples) = comparison.misses.entry(differences).or_default();
                    *count += 1;
                    if examples.len() < EXAMPLES {
                        examples.push(new.call(func, &name, pairing));
                    }
                }
            }
        }
        Ok(comparison)
    }

    /// How a function is found in the cache that was filled with its counterparts.
    fn how_found(
        &self,
        old: &mut Program<'_>,
        counterparts: &[DefinedFuncIndex],
        new: &mut Program<'_>,
        func: DefinedFuncIndex,
    ) -> Result<Option<Found>> {
        let (key, (code, numbers)) = (new.key(func), new.code(self, func)?);
        let mut found = None;
        for &before in counterparts {
            let (old_code, old_numbers) = old.code(self, before)?;
            if old_code == code && (old_numbers == numbers || old.is_open(self, before)?) {
                // Bodies that are inlined are not part of the key, but must be the same as well.
                if key.is_some() && old.key(before) == key && old_numbers == numbers {
                    return Ok(Some(Found::Body));
                }
                found = Some(Found::Code);
            }
        }
        Ok(found)
    }

    /// In what a function differs from the counterpart that is most like it.
    fn nearest(
        &self,
        old: &Program<'_>,
        counterparts: &[DefinedFuncIndex],
        new: &Program<'_>,
        func: DefinedFuncIndex,
    ) -> Result<Vec<Difference>> {
        let (mut nearest, mut best) = (vec![Difference::Body], None);
        let rank = |found: &[Difference]| (found.iter().filter(|d| !d.is_index()).count(), found.len());
        for &before in counterparts {
            let found = differences([old.side(before)?, new.side(func)?])?;
            let is_other = nearest == [Difference::Body];
            if found != [Difference::Body] && (is_other || rank(&found) < rank(&nearest)) {
                nearest = found;
                best = Some(before);
            }
        }
        if let (Some(before), [Difference::Callees]) = (best, &nearest[..]) {
            nearest = self.inlined_differences([(old, before), (new, func)])?;
        }
        Ok(nearest)
    }

    /// In what functions differ that differ in nothing but what is inlined.
    fn inlined_differences(&self, funcs: [(&Program<'_>, DefinedFuncIndex); 2]) -> Result<Vec<Difference>> {
        let inlined = |(program, func): (&Program<'_>, DefinedFuncIndex)| -> Result<Vec<DefinedFuncIndex>> {
            let ir = self.func_ir(program.module, program.source, FuncKey::Wasm(func), true)?;
            Ok(ir.inlined.iter().map(|body| body.func).collect())
        };
        let [old, new] = [inlined(funcs[0])?, inlined(funcs[1])?];
        let mut found = BTreeSet::new();
        for (before, func) in old.iter().zip(&new) {
            found.extend(differences([funcs[0].0.side(*before)?, funcs[1].0.side(*func)?])?);
        }
        found.remove(&Difference::Callees);
        let numbers = [Difference::Constants, Difference::Offsets];
        if old.len() != new.len() || found.contains(&Difference::Body) || found.is_empty() {
            return Ok(vec![Difference::Callees]);
        }
        if numbers.iter().fold(false, |any, difference| found.remove(difference) | any) {
            found.insert(Difference::InlinedNumbers);
        }
        Ok(found.into_iter().collect())
    }
}

/// How a function is found.
enum Found {
    Body,
    Code,
}

/// A body without constants, offsets of accesses and indices into the module.
fn outline(side: &Side<'_>) -> Result<Vec<u8>> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?}", side.signature()).as_bytes()).update(side.locals()?);
    let (bytes, start) = (side.body.as_bytes(), side.body.range().start);
    let mut reader = side.body.get_operators_reader()?;
    while !reader.eof() {
        let (op, offset) = reader.read_with_offset()?;
        let (from, to) = ((offset - start) as usize, (reader.original_position() - start) as usize);
        // What an operator is, is in its first byte, or in two.
        let to = if names_nothing(&op) { to } else { from + if Prefix::of(bytes[from]).is_some() { 2 } else { 1 } };
        hasher.update(&bytes[from..to]).update(&[u8::MAX]);
    }
    Ok(hasher.finalize().as_bytes().to_vec())
}

/// Whether the immediates of an operator are neither numbers nor indices into the module.
fn names_nothing(op: &Operator<'_>) -> bool {
    matches!(
        op,
        Operator::LocalGet { .. }
            | Operator::LocalSet { .. }
            | Operator::LocalTee { .. }
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
    )
}

/// One of two functions that are compared.
#[derive(Clone)]
struct Side<'a> {
    module: &'a ValidatedModule,
    func: DefinedFuncIndex,
    body: FunctionBody<'a>,
    /// The callees so far, by their positions.
    callees: HashMap<FuncIndex, usize>,
}

impl<'a> Side<'a> {
    fn new((module, source): (&'a ValidatedModule, &'a [u8]), func: DefinedFuncIndex) -> Result<Side<'a>> {
        let (offset, bytes) = body_bytes(module.module(), source, func)?;
        let body = FunctionBody::new(BinaryReader::new_features(bytes, offset, module.features().to_wasmparser()));
        Ok(Side { module, func, body, callees: HashMap::new() })
    }

    fn locals(&self) -> Result<&'a [u8]> {
        let end = self.body.get_operators_reader()?.original_position() - self.body.range().start;
        Ok(&self.body.as_bytes()[..end as usize])
    }

    fn signature(&self) -> &kiln_env::types::FuncType {
        let module = self.module.module();
        module.func_type(module.func_index(self.func))
    }

    /// The position at which the body first names this callee.
    fn position(&mut self, callee: u32) -> usize {
        let next = self.callees.len();
        *self.callees.entry(FuncIndex(callee)).or_insert(next)
    }
}

fn differences(mut sides: [Side<'_>; 2]) -> Result<Vec<Difference>> {
    let body = Ok(vec![Difference::Body]);
    if sides[0].signature() != sides[1].signature() || sides[0].locals()? != sides[1].locals()? {
        return body;
    }
    let mut readers = [sides[0].body.get_operators_reader()?, sides[1].body.get_operators_reader()?];
    let mut found = BTreeSet::new();
    let read = |reader: &mut OperatorsReader<'_>| -> Result<u64> { Ok(reader.original_position()) };
    while !readers[0].eof() && !readers[1].eof() {
        let starts = [read(&mut readers[0])?, read(&mut readers[1])?];
        let ops = [readers[0].read()?, readers[1].read()?];
        if discriminant(&ops[0]) != discriminant(&ops[1]) {
            return body;
        }
        let lengths = [0, 1].map(|i| readers[i].original_position() - starts[i]);
        if lengths[0] != lengths[1] {
            found.insert(Difference::Encoding);
        }
        let Some(difference) = operator(&ops, &mut sides) else { return body };
        found.extend(difference);
    }
    if !readers[0].eof() || !readers[1].eof() {
        return body;
    }
    if found.is_empty() {
        found.insert(Difference::Callees);
    }
    Ok(found.into_iter().collect())
}

/// In what an operator differs, beside its index: `None` in the function itself.
fn operator(ops: &[Operator<'_>; 2], sides: &mut [Side<'_>; 2]) -> Option<Vec<Difference>> {
    use Operator::*;
    let [first, second] = sides;
    let modules = [first.module, second.module];
    let mut out = Vec::new();
    match (&ops[0], &ops[1]) {
        (I32Const { .. } | I64Const { .. } | F32Const { .. } | F64Const { .. } | V128Const { .. }, _) => {
            out.extend((ops[0] != ops[1]).then_some(Difference::Constants));
        }
        (Call { function_index: a }, Call { function_index: b })
        | (ReturnCall { function_index: a }, ReturnCall { function_index: b }) => {
            if first.position(*a) != second.position(*b) {
                return None;
            }
            out.extend(callee(modules, [FuncIndex(*a), FuncIndex(*b)]));
        }
        (CallIndirect { type_index: a, table_index: t }, CallIndirect { type_index: b, table_index: u })
        | (
            ReturnCallIndirect { type_index: a, table_index: t },
            ReturnCallIndirect { type_index: b, table_index: u },
        ) => {
            out.extend(signature(modules, [*a, *b]));
            let place = |i: usize, ty: u32| modules[i].layout().type_id(TypeIndex(ty));
            out.extend((place(0, *a) != place(1, *b)).then_some(Difference::TypePlaces));
            out.extend(table(modules, [*t, *u]));
        }
        (CallRef { type_index: a }, CallRef { type_index: b })
        | (ReturnCallRef { type_index: a }, ReturnCallRef { type_index: b }) => {
            out.extend(signature(modules, [*a, *b]));
        }
        (Block { blockty: a }, Block { blockty: b })
        | (Loop { blockty: a }, Loop { blockty: b })
        | (If { blockty: a }, If { blockty: b })
        | (Try { blockty: a }, Try { blockty: b }) => match (a, b) {
            (BlockType::FuncType(a), BlockType::FuncType(b)) => out.extend(signature(modules, [*a, *b])),
            _ if a == b => {}
            _ => return None,
        },
        (GlobalGet { global_index: a }, GlobalGet { global_index: b })
        | (GlobalSet { global_index: a }, GlobalSet { global_index: b }) => out.extend(global(modules, [*a, *b])),
        (TableGet { table: a }, TableGet { table: b })
        | (TableSet { table: a }, TableSet { table: b })
        | (TableSize { table: a }, TableSize { table: b }) => out.extend(table(modules, [*a, *b])),
        (Throw { tag_index: a }, Throw { tag_index: b }) | (Catch { tag_index: a }, Catch { tag_index: b }) => {
            let place = |i: usize, tag: u32| modules[i].layout().tag(TagIndex(tag));
            out.extend((a != b || place(0, *a) != place(1, *b)).then_some(Difference::Tags));
        }
        (MemorySize { mem: a }, MemorySize { mem: b }) | (MemoryGrow { mem: a }, MemoryGrow { mem: b }) => {
            out.extend(memory(modules, [*a, *b]));
            let limits = |i: usize, m: u32| modules[i].module().memories[MemoryIndex(m)].limits;
            out.extend((limits(0, *a) != limits(1, *b)).then_some(Difference::Memories));
        }
        _ if names_nothing(&ops[0]) && ops[0] != ops[1] => return None,
        _ => out.extend(other(ops, modules)),
    }
    Some(out)
}

/// Operators whose immediates are not told apart one by one.
fn other(ops: &[Operator<'_>; 2], modules: [&ValidatedModule; 2]) -> Vec<Difference> {
    let mut out = Vec::new();
    match (memarg(&ops[0]), memarg(&ops[1])) {
        (Some((offset, a)), Some((other, b))) => {
            out.extend((offset != other).then_some(Difference::Offsets));
            out.extend(memory(modules, [a, b]));
        }
        _ if ops[0] != ops[1] => out.push(Difference::Indices),
        _ => {}
    }
    out
}

macro_rules! define_memarg {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident $ann:tt)*) => {
        /// Offset and memory of an access.
        fn memarg(op: &Operator<'_>) -> Option<(u64, u32)> {
            match op {
                $(Operator::$op $({ $($arg),* })? => find_memarg!($ann $($($arg)*)?),)*
                _ => None,
            }
        }
    };
}

/// The memory operand of an operator that has one: its first immediate.
macro_rules! find_memarg {
    ((arity memarg $($ann:tt)*) $memarg:ident $($rest:ident)*) => {{
        $(_ = $rest;)*
        match $memarg.target {
            MemArgTarget::Memory(memory) => Some(($memarg.offset, memory)),
            MemArgTarget::Array(_) => None,
        }
    }};
    ($ann:tt $($arg:ident)*) => {{ $(_ = $arg;)* None }};
}

wasmparser::for_each_operator!(define_memarg);

fn signature(modules: [&ValidatedModule; 2], [a, b]: [u32; 2]) -> Option<Difference> {
    let [first, second] = modules.map(|m| m.module());
    let differ = first.signature(TypeIndex(a)) != second.signature(TypeIndex(b));
    differ.then_some(Difference::Signatures)
}

fn callee(modules: [&ValidatedModule; 2], [a, b]: [FuncIndex; 2]) -> Option<Difference> {
    let [first, second] = modules.map(|m| m.module());
    if first.func_type(a) != second.func_type(b) {
        return Some(Difference::Signatures);
    }
    match (first.defined_func(a), second.defined_func(b)) {
        (Some(_), Some(_)) => None,
        (None, None) => {
            let same = modules[0].layout().imported_func(a) == modules[1].layout().imported_func(b);
            (!same).then_some(Difference::ImportPlaces)
        }
        _ => Some(Difference::Signatures),
    }
}

fn global(modules: [&ValidatedModule; 2], [a, b]: [u32; 2]) -> Option<Difference> {
    let describe = |i: usize, index: u32| {
        let (module, global) = (modules[i].module(), GlobalIndex(index));
        let ty = module.globals[global];
        let init = module.defined_global(global).filter(|_| !ty.mutable).map(|g| module.global_inits[g].clone());
        (index, ty, init, modules[i].layout().global(global))
    };
    (describe(0, a) != describe(1, b)).then_some(Difference::Globals)
}

fn table(modules: [&ValidatedModule; 2], [a, b]: [u32; 2]) -> Option<Difference> {
    // How long it is and may become is not in the code.
    let describe = |i: usize, t: u32| {
        let ty = modules[i].module().tables[TableIndex(t)];
        (t, ty.element, ty.limits.is_64, modules[i].layout().table(TableIndex(t)))
    };
    (describe(0, a) != describe(1, b)).then_some(Difference::Tables)
}

/// Sizes are left out: few operators depend on them.
fn memory(modules: [&ValidatedModule; 2], [a, b]: [u32; 2]) -> Option<Difference> {
    let describe = |i: usize, m: u32| {
        let MemoryType { limits, shared, page_size_log2 } = modules[i].module().memories[MemoryIndex(m)];
        (m, limits.is_64, shared, page_size_log2, modules[i].layout().memory(MemoryIndex(m)))
    };
    (describe(0, a) != describe(1, b)).then_some(Difference::Memories)
}
