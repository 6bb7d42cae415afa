//! Modules with counts at the implementation limits of validators, and damaged ones: what Kiln takes is what `wasmparser`
//! takes. Kiln has a validator of its own for what most bodies consist of; in builds of this workspace `wasmparser` also
//! confirms each body that it accepts.

use anyhow::{Result, bail};
use wasm_encoder::{
    BlockType, Catch, CodeSection, DataSection, ElementSection, Elements, Encode as _, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, MemorySection, MemoryType, Module, RefType, TableSection, TableType,
    TagKind, TagSection, TagType, TypeSection, ValType,
};

use crate::generate::{self, Profile};
use crate::rng::Rng;

const TYPES: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];

/// The module of a seed.
///
/// # Errors
/// If this seed makes none.
pub fn module(seed: u64) -> Result<Vec<u8>> {
    let mut rng = Rng::new(seed);
    if rng.one_in(4) {
        let mut wasm = generate::module(seed, Profile::All)?;
        damage(&mut wasm, &mut rng);
        return Ok(wasm);
    }
    let mut wasm = Counts::new(&mut rng).module(&mut rng);
    if rng.one_in(3) {
        damage(&mut wasm, &mut rng);
    }
    Ok(wasm)
}

/// Whether both say the same.
///
/// # Errors
/// They do not.
pub fn check(engine: &kiln::Engine, validator: &mut wasmparser::Validator, wasm: &[u8]) -> Result<bool> {
    let theirs = validator.validate_all(wasm);
    validator.reset();
    match (kiln::Module::validate(engine, wasm), theirs) {
        (Ok(()), Ok(_)) => Ok(true),
        (Err(_), Err(_)) => Ok(false),
        (Ok(()), Err(invalid)) => bail!("Kiln takes an invalid module: {invalid}"),
        (Err(error), Ok(_)) => {
            let text = format!("{error:#}");
            // The only limit of Kiln's own among those that are met here.
            if text.contains("depth of nested blocks") { Ok(false) } else { bail!("Kiln refuses a valid module: {text}") }
        }
    }
}

/// How many there are of everything.
#[derive(Default)]
struct Counts {
    params: u32,
    results: u32,
    locals: u32,
    groups: u32,
    catches: u32,
    targets: u32,
    nesting: u32,
    select: u32,
    name: u32,
    imports: u32,
    tables: u32,
    memories: u32,
    globals: u32,
    tags: u32,
    elements: u32,
    datas: u32,
    /// Bytes of the body, by operators that do nothing.
    padding: u32,
}

impl Counts {
    /// Few of most things; of one or two as many as there may be, or nearly so.
    fn new(rng: &mut Rng) -> Counts {
        let mut few = |max: usize| rng.below(max) as u32;
        let mut counts = Counts {
            params: few(4),
            results: few(3),
            locals: few(20),
            groups: 1 + few(4),
            catches: few(4),
            targets: few(6),
            nesting: few(5),
            select: 1,
            name: few(9),
            imports: few(3),
            tables: 1,
            memories: 1,
            globals: few(3),
            tags: 1 + few(3),
            elements: few(3),
            datas: few(3),
            padding: few(20),
        };
        for _ in 0..1 + rng.below(2) {
            let near = |limit: u32, rng: &mut Rng| limit - 2 + rng.below(5) as u32;
            match rng.below(if rng.one_in(20) { 16 } else { 9 }) {
                0 => counts.params = near(1_000, rng),
                1 => counts.results = near(1_000, rng),
                2 => counts.locals = near(50_000, rng),
                3 => counts.locals = near(50_000, rng).saturating_sub(counts.params),
                4 | 5 => counts.catches = near(10_000, rng),
                6 => counts.targets = near(10_000, rng),
                7 => counts.select = rng.below(13) as u32,
                8 => counts.memories = near(100, rng),
                9 => counts.nesting = near(50_000, rng),
                10 => counts.name = near(100_000, rng),
                11 => counts.tables = near(100_000, rng),
                12 => counts.elements = near(100_000, rng),
                13 => counts.datas = near(100_000, rng),
                14 => counts.padding = near(7_654_321, rng) - 60,
                _ => counts.imports = near(100_000, rng),
            }
        }
        counts
    }

    fn module(&self, rng: &mut Rng) -> Vec<u8> {
        let list = |n: u32, rng: &mut Rng| (0..n).map(|_| *rng.pick(&TYPES)).collect::<Vec<_>>();
        let (mut types, mut imports, mut funcs) = (TypeSection::new(), ImportSection::new(), FunctionSection::new());
        types.ty().function([], []);
        let (params, results) = (list(self.params, rng), list(self.results, rng));
        types.ty().function(params, results);
        for _ in 0..self.imports {
            imports.import("", &"n".repeat(self.name as usize), wasm_encoder::EntityType::Function(0));
        }
        funcs.function(1);
        let (mut tables, mut memories, mut globals) = (TableSection::new(), MemorySection::new(), GlobalSection::new());
        for _ in 0..self.tables {
            let ty = RefType::FUNCREF;
            tables.table(TableType { element_type: ty, minimum: 1, maximum: None, table64: false, shared: false });
        }
        for _ in 0..self.memories {
            let (minimum, maximum) = (1, Some(2));
            memories.memory(MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None });
        }
        for _ in 0..self.globals {
            let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
            globals.global(ty, &wasm_encoder::ConstExpr::i32_const(1));
        }
        let (mut tags, mut elements, mut datas) = (TagSection::new(), ElementSection::new(), DataSection::new());
        (0..self.tags).for_each(|_| _ = tags.tag(TagType { kind: TagKind::Exception, func_type_idx: 0 }));
        (0..self.elements).for_each(|_| _ = elements.passive(Elements::Functions([self.imports][..].into())));
        (0..self.datas).for_each(|_| _ = datas.passive([]));
        let mut code = CodeSection::new();
        code.function(&self.body(rng));
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&funcs).section(&tables).section(&memories).section(&tags);
        module.section(&globals).section(&elements).section(&code).section(&datas);
        module.finish()
    }

    fn body(&self, rng: &mut Rng) -> Function {
        let mut groups: Vec<(u32, ValType)> = Vec::new();
        let mut left = self.locals;
        for group in (0..self.groups).rev() {
            let n = if group == 0 { left } else { rng.below(left as usize + 1) as u32 };
            groups.push((n, *rng.pick(&TYPES)));
            left -= n;
        }
        let mut f = Function::new(groups);
        f.raw(vec![0x01; self.padding as usize]);
        // A block for each label that is needed: that of what is to be nested, of the clauses, of the table.
        (0..self.nesting).for_each(|_| _ = f.instructions().block(BlockType::Empty));
        f.instructions().block(BlockType::Empty).block(BlockType::Empty);
        let clauses: Vec<Catch> = (0..self.catches)
            .map(|_| {
                let label = rng.below(2) as u32;
                if rng.one_in(2) { Catch::All { label } } else { Catch::One { tag: rng.below(self.tags as usize) as u32, label } }
            })
            .collect();
        f.instructions().try_table(BlockType::Empty, clauses).call(self.imports.saturating_sub(1)).end();
        self.select(&mut f, rng);
        let targets: Vec<u32> = (0..self.targets).map(|_| rng.below(2) as u32).collect();
        f.instructions().i32_const(rng.next() as i32).br_table(targets, 1).end().end();
        (0..self.nesting).for_each(|_| _ = f.instructions().end());
        f.instructions().unreachable().end();
        f
    }

    /// A `select` with types, whose count may be encoded longer than it has to be.
    fn select(&self, f: &mut Function, rng: &mut Rng) {
        f.instructions().i32_const(1).i32_const(2).i32_const(3);
        let mut bytes = vec![0x1c];
        self.select.encode(&mut bytes);
        if rng.one_in(2) {
            let last = bytes.len() - 1;
            bytes[last] |= 0x80;
            bytes.extend([&[0x80, 0x80][..rng.below(3)], &[0]].concat());
        }
        bytes.extend(vec![0x7f; self.select as usize]);
        f.raw(bytes);
        f.instructions().drop();
    }
}

/// Changes bytes, most of them in the last part, where bodies are.
fn damage(wasm: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..1 + rng.below(3) {
        let reach = if rng.one_in(3) { wasm.len() } else { wasm.len().min(300) };
        let at = wasm.len() - 1 - rng.below(reach.min(wasm.len()));
        match rng.below(5) {
            0 => wasm[at] ^= 1 << rng.below(8),
            1 => wasm[at] = rng.next() as u8,
            2 => wasm[at] = *rng.pick(&[0x0b, 0x1f, 0x0e, 0x1c, 0x40, 0x7f, 0x80, 0x00, 0x10, 0x0c]),
            3 => wasm[at] = wasm[at].wrapping_add(1),
            _ => {
                let other = wasm.len() - 1 - rng.below(reach);
                wasm.swap(at, other);
            }
        }
    }
}
