//! What Kiln takes is what `wasmparser` takes, at each of its implementation limits. Both of Kiln's validators and its
//! reading of declarations are asked: a body that the quick one knows goes through it, and in this build `wasmparser`
//! confirms its judgement.

use std::borrow::Cow;

use kiln_compiler::{CompilerConfig, ErrorKind};
use kiln_env::limits;
use wasm_encoder::*;

use crate::{compiler, validate};

/// What is counted, its limit, what that says, and a module with so many.
type Case = (&'static str, u32, Verdict, fn(u32) -> Vec<u8>);

/// What is known about modules around a limit.
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    /// Up to the limit they are valid.
    Exact,
    /// Beyond it they are not; they may meet another limit before (that on the size of all types together).
    NotBeyond,
    /// They are valid on both sides: here the quick validator gives a body up, or instances are refused.
    Valid,
}
use Verdict::{Exact, NotBeyond, Valid};

const CASES: &[Case] = &[
    ("types", 1_000_000, Exact, types),
    ("functions", 1_000_000, Exact, functions),
    ("imports", 1_000_000, NotBeyond, imports),
    ("exports", 1_000_000, NotBeyond, exports),
    ("globals", 1_000_000, Exact, globals),
    ("tags", 1_000_000, Exact, tags),
    ("tables", 100_000, Exact, tables),
    ("memories", 100, Exact, memories),
    ("element segments", 100_000, Exact, elements),
    ("data segments", 100_000, Exact, datas),
    ("counted data segments", 100_000, Exact, counted_datas),
    ("bytes of a name", 100_000, Exact, name),
    ("entries of an element segment", 10_000_000, Exact, entries),
    ("expressions of an element segment", 10_000_000, Exact, expressions),
    ("least size of a table", 10_000_000, Valid, table_size),
    ("parameters", 1_000, Exact, |n| signature(n, 0)),
    ("results", 1_000, Exact, |n| signature(0, n)),
    ("locals", 50_000, Exact, |n| locals(0, n)),
    ("locals and parameters", 50_000, Exact, |n| locals(1_000, n - 1_000)),
    ("bytes of a body", 7_654_321, Exact, body_size),
    ("clauses of a try_table", 10_000, Exact, catches),
    ("clauses of a try_table with tags", 10_000, Exact, tagged_catches),
    ("types of a select", 1, Exact, select),
    ("targets of a br_table for the quick validator", 10_000, Valid, br_table),
];

fn one_function(f: Function) -> Module {
    let (mut types, mut funcs, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    funcs.function(0);
    code.function(&f);
    let mut tags = TagSection::new();
    tags.tag(TagType { kind: TagKind::Exception, func_type_idx: 0 });
    let mut module = Module::new();
    module.section(&types).section(&funcs).section(&tags).section(&code);
    module
}

fn body(emit: impl FnOnce(&mut InstructionSink<'_>)) -> Vec<u8> {
    let mut f = Function::new([]);
    emit(&mut f.instructions());
    f.instructions().end();
    one_function(f).finish()
}

fn section(section: &impl Section) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut module = Module::new();
    module.section(&types).section(section);
    module.finish()
}

fn types(n: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    (0..n).for_each(|_| types.ty().function([], []));
    let mut module = Module::new();
    module.section(&types);
    module.finish()
}

fn functions(n: u32) -> Vec<u8> {
    let (mut funcs, mut code) = (FunctionSection::new(), CodeSection::new());
    let mut empty = Function::new([]);
    empty.instructions().end();
    for _ in 0..n {
        funcs.function(0);
        code.function(&empty);
    }
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut module = Module::new();
    module.section(&types).section(&funcs).section(&code);
    module.finish()
}

fn imports(n: u32) -> Vec<u8> {
    let mut imports = ImportSection::new();
    for i in 0..n {
        // Two kinds, so that no other limit is met.
        let ty = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
        let entity = if i % 2 == 0 { EntityType::Function(0) } else { EntityType::Global(ty) };
        imports.import("", "", entity);
    }
    section(&imports)
}

fn exports(n: u32) -> Vec<u8> {
    let (mut memories, mut exports) = (MemorySection::new(), ExportSection::new());
    memories.memory(MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None });
    (0..n).for_each(|i| _ = exports.export(&format!("{i:x}"), ExportKind::Memory, 0));
    let mut module = Module::new();
    module.section(&memories).section(&exports);
    module.finish()
}

fn globals(n: u32) -> Vec<u8> {
    let mut globals = GlobalSection::new();
    let ty = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
    (0..n).for_each(|_| _ = globals.global(ty, &ConstExpr::i32_const(0)));
    section(&globals)
}

fn tags(n: u32) -> Vec<u8> {
    let mut tags = TagSection::new();
    (0..n).for_each(|_| _ = tags.tag(TagType { kind: TagKind::Exception, func_type_idx: 0 }));
    section(&tags)
}

fn table(minimum: u64) -> TableType {
    TableType { element_type: RefType::FUNCREF, minimum, maximum: None, table64: false, shared: false }
}

fn tables(n: u32) -> Vec<u8> {
    let mut tables = TableSection::new();
    (0..n).for_each(|_| _ = tables.table(table(0)));
    section(&tables)
}

fn table_size(n: u32) -> Vec<u8> {
    let mut tables = TableSection::new();
    tables.table(table(n.into()));
    section(&tables)
}

fn memories(n: u32) -> Vec<u8> {
    let mut memories = MemorySection::new();
    let ty = MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    (0..n).for_each(|_| _ = memories.memory(ty));
    section(&memories)
}

/// A module with one function and element segments.
fn with_elements(elements: &ElementSection) -> Vec<u8> {
    let (mut types, mut funcs, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    funcs.function(0);
    let mut empty = Function::new([]);
    empty.instructions().end();
    code.function(&empty);
    let mut module = Module::new();
    module.section(&types).section(&funcs).section(elements).section(&code);
    module.finish()
}

fn elements(n: u32) -> Vec<u8> {
    let mut elements = ElementSection::new();
    (0..n).for_each(|_| _ = elements.passive(Elements::Functions(Cow::Borrowed(&[0]))));
    with_elements(&elements)
}

fn entries(n: u32) -> Vec<u8> {
    let mut elements = ElementSection::new();
    elements.passive(Elements::Functions(Cow::Owned(vec![0; n as usize])));
    with_elements(&elements)
}

fn expressions(n: u32) -> Vec<u8> {
    let mut elements = ElementSection::new();
    let nulls = vec![ConstExpr::ref_null(HeapType::FUNC); n as usize];
    elements.passive(Elements::Expressions(RefType::FUNCREF, Cow::Owned(nulls)));
    with_elements(&elements)
}

fn datas(n: u32) -> Vec<u8> {
    let mut datas = DataSection::new();
    (0..n).for_each(|_| _ = datas.passive([]));
    let mut module = Module::new();
    module.section(&datas);
    module.finish()
}

fn counted_datas(n: u32) -> Vec<u8> {
    let mut datas = DataSection::new();
    (0..n).for_each(|_| _ = datas.passive([]));
    let mut module = Module::new();
    module.section(&DataCountSection { count: n }).section(&datas);
    module.finish()
}

fn name(n: u32) -> Vec<u8> {
    let mut imports = ImportSection::new();
    imports.import("", &"x".repeat(n as usize), EntityType::Function(0));
    section(&imports)
}

fn signature(params: u32, results: u32) -> Vec<u8> {
    let list = |n: u32| vec![ValType::I64; n as usize];
    let (mut types, mut funcs, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function(list(params), list(results));
    funcs.function(0);
    let mut f = Function::new([]);
    f.instructions().unreachable().end();
    code.function(&f);
    let mut module = Module::new();
    module.section(&types).section(&funcs).section(&code);
    module.finish()
}

fn locals(params: u32, n: u32) -> Vec<u8> {
    let (mut types, mut funcs, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function(vec![ValType::I32; params as usize], []);
    funcs.function(0);
    let mut f = Function::new([(n - 7, ValType::I32), (7, ValType::F64)]);
    f.instructions().end();
    code.function(&f);
    let mut module = Module::new();
    module.section(&types).section(&funcs).section(&code);
    module.finish()
}

fn body_size(n: u32) -> Vec<u8> {
    let mut f = Function::new([]);
    // The count of locals and the end take a byte each.
    f.raw(vec![0x01; n as usize - 2]);
    f.instructions().end();
    one_function(f).finish()
}

fn catches(n: u32) -> Vec<u8> {
    body(|f| {
        f.block(BlockType::Empty).try_table(BlockType::Empty, vec![Catch::All { label: 0 }; n as usize]).end().end();
    })
}

fn tagged_catches(n: u32) -> Vec<u8> {
    body(|f| {
        let clauses = vec![Catch::One { tag: 0, label: 0 }; n as usize];
        f.block(BlockType::Empty).try_table(BlockType::Empty, clauses).end().end();
    })
}

fn select(n: u32) -> Vec<u8> {
    let mut f = Function::new([]);
    f.instructions().i32_const(1).i32_const(2).i32_const(3);
    f.raw([0x1c]);
    f.raw([n as u8]);
    f.raw(vec![0x7f; n as usize]);
    f.instructions().drop().end();
    one_function(f).finish()
}

fn br_table(n: u32) -> Vec<u8> {
    body(|f| {
        f.block(BlockType::Empty).i32_const(1).br_table(vec![0; n as usize], 0).end();
    })
}

/// What both say; panics if they differ.
fn verdict(wasm: &[u8], what: &str) -> bool {
    let features = CompilerConfig::default().features.to_wasmparser();
    let theirs = wasmparser::Validator::new_with_features(features).validate_all(wasm).map(|_| ());
    let ours = validate(&compiler(), wasm).map(|_| ());
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{what}: Kiln says {ours:?}, wasmparser {theirs:?}");
    if let Err(error) = ours {
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Limit), "{what}: {error}");
    }
    theirs.is_ok()
}

#[test]
fn validators_agree_at_each_limit() {
    for &(what, limit, known, make) in CASES {
        for n in [limit - 1, limit, limit + 1] {
            let valid = verdict(&make(n), &format!("{n} {what}"));
            match known {
                // A `select` with an empty list of types is none.
                Exact => assert_eq!(valid, n <= limit && n > 0, "{n} {what}"),
                NotBeyond => assert!(!valid || n <= limit, "{n} {what}"),
                Valid => assert!(valid, "{n} {what}"),
            }
        }
    }
}

/// The limits that Kiln states are `wasmparser`'s, where it has one.
#[test]
fn limits_are_the_same() {
    let stated = [
        ("types", limits::MAX_TYPES),
        ("functions", limits::MAX_FUNCS),
        ("tables", limits::MAX_TABLES),
        ("memories", limits::MAX_MEMORIES),
        ("entries of an element segment", limits::MAX_TABLE_ELEMENTS as u32),
        ("parameters", limits::MAX_PARAMS),
        ("locals", limits::MAX_LOCALS),
        ("bytes of a body", limits::MAX_BODY_SIZE),
        ("clauses of a try_table", limits::MAX_CATCHES),
    ];
    for (what, limit) in stated {
        assert!(CASES.iter().any(|(name, l, ..)| *name == what && *l == limit), "{what}: {limit}");
    }
}
