//! Why a function of one module is not found in the cache when it was compiled for another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::mem::discriminant;

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
    /// Nothing but functions that it calls, and that are inlined.
    Callees,
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

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Difference::Body => "another body",
            Difference::Callees => "what is inlined",
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

/// What compiling one module leaves in the cache for another.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Functions of the second module.
    pub functions: u64,
    /// Of these, those whose body has the key of one in the first module, whatever their names.
    pub found: u64,
    /// Functions of the second module that have the name of one of the first.
    pub common: u64,
    /// Of these, those whose body has the same key: found without translation.
    pub same_body: u64,
    /// Of the others, those that become the same code: found behind translation.
    pub same_code: u64,
    /// The rest, by what differs: how many, and some of their names.
    pub misses: BTreeMap<Vec<Difference>, (u64, Vec<String>)>,
}

/// How many names are kept for each reason.
const EXAMPLES: usize = 5;

impl Compiler {
    /// Compares the functions of two modules by what the cache knows them by. Each module comes with its bytes.
    ///
    /// # Errors
    /// A function cannot be translated.
    pub fn compare(&self, old: (&ValidatedModule, &[u8]), new: (&ValidatedModule, &[u8])) -> Result<Comparison> {
        let keys = |(module, source)| self.cache_keys(module, source);
        let (old_keys, new_keys) = (keys(old)?, keys(new)?);
        let known: BTreeSet<CacheKey> = old_keys.iter().flatten().copied().collect();
        let mut comparison = Comparison {
            functions: new_keys.len() as u64,
            found: new_keys.iter().flatten().filter(|k| known.contains(k)).count() as u64,
            ..Comparison::default()
        };
        let mut old_names = HashMap::new();
        for (func, name) in names::defined_names(old.0.module(), old.1) {
            old_names.entry(name).or_insert(func);
        }
        for (func, name) in names::defined_names(new.0.module(), new.1) {
            let Some(&before) = old_names.get(&name) else { continue };
            comparison.common += 1;
            let (a, b) = (old_keys[before.0 as usize], new_keys[func.0 as usize]);
            let code = [(old, before), (new, func)].map(|(m, func)| self.stencil_key(m.0, m.1, FuncKey::Wasm(func)));
            let [old_code, new_code] = code;
            if old_code? == new_code? {
                // Bodies that are inlined are not part of the key, but must be the same as well.
                let count = if a.is_some() && a == b { &mut comparison.same_body } else { &mut comparison.same_code };
                *count += 1;
            } else {
                let sides = [Side::new(old, before)?, Side::new(new, func)?];
                let (count, examples) = comparison.misses.entry(differences(sides)?).or_default();
                *count += 1;
                if examples.len() < EXAMPLES {
                    examples.push(name.to_owned());
                }
            }
        }
        Ok(comparison)
    }
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
