//! The baseline compiler by itself. What its code does is tested by running it, in every mode of the test kit.

use kiln_baseline::{Baseline, Body, Error, Facts};
use kiln_compiler::{Compiler, CompilerConfig};
use kiln_env::opcode::{Class, sample};
use kiln_env::{DefinedFuncIndex, MachineFunc, Op, TrapCode, Tunables, limits};

fn compile(wat: &str) -> Result<MachineFunc, Error> {
    compile_bytes(&wat::parse_str(wat).unwrap())
}

fn compile_bytes(wasm: &[u8]) -> Result<MachineFunc, Error> {
    let mut config = CompilerConfig::default();
    config.features.wide_arithmetic = true;
    let compiler = Compiler::new(&config).unwrap();
    let validated = compiler.validate(compiler.parse(wasm).unwrap(), wasm).unwrap();
    let module = validated.module();
    let facts = Facts { module, layout: validated.layout(), tunables: &config.tunables, counters: true };
    let range = &module.bodies[DefinedFuncIndex(0)];
    let info = validated.infos().get(DefinedFuncIndex(0));
    let weights: Vec<(u32, u64)> = info.local_weights().map(|w| (w.local, w.weight)).collect();
    let bytes = &wasm[range.start as usize..range.end as usize];
    let body = Body { func: DefinedFuncIndex(0), bytes, weights: &weights, catches: info.catches() };
    let baseline = Baseline::new(&compiler.fingerprint().flags, &config.tunables).expect("tests run on x86-64");
    let code = baseline.compile(&facts, &body)?;
    assert_eq!(baseline.compile(&facts, &body)?, code, "the same again");
    Ok(code)
}

#[test]
fn targets_without_stencils() {
    let flags = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<Vec<_>>();
    assert!(Baseline::new(&flags(&[]), &Tunables::default()).is_none());
    let compiler = Compiler::new(&CompilerConfig::default()).unwrap();
    let host = &compiler.fingerprint().flags;
    assert!(Baseline::new(host, &Tunables { signals: false, ..Tunables::default() }).is_none());
    let mut other = host.clone();
    other.iter_mut().filter(|(n, _)| n == "enable_nan_canonicalization").for_each(|(_, v)| *v = "true".into());
    assert!(Baseline::new(&other, &Tunables::default()).is_none());
    let v2 = Compiler::new(&CompilerConfig {
        target: Some("x86_64-unknown-linux-gnu".into()),
        flags: flags(&[("x86-64-v2", "true")]),
        ..CompilerConfig::default()
    });
    let level = Baseline::new(&v2.unwrap().fingerprint().flags, &Tunables::default()).map(|b| b.level());
    assert_eq!(level, Some("x86-64-v2"));
}

/// A function for each operator that some tier compiles.
fn samples() -> impl Iterator<Item = (Op, String)> {
    let compiled = Op::ALL.into_iter().filter(|op| op.class() != Class::Aggregate);
    compiled.map(|op| (op, sample(op).unwrap_or_else(|| panic!("{op:?} has no sample"))))
}

#[test]
fn every_operator_has_its_code() {
    for (op, module) in samples() {
        compile(&module).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    }
}

#[test]
fn every_operator_is_skipped_where_nothing_reaches_it() {
    let nothing = compile("(module (func unreachable))").unwrap();
    for (op, module) in samples() {
        let (declarations, body) = module.split_once("(local $exn exnref)").unwrap();
        let module = format!("{declarations}(local $exn exnref) unreachable {body}");
        let code = compile(&module).unwrap_or_else(|e| panic!("{op:?}: {e}"));
        assert_eq!(code.tables.traps.len(), nothing.tables.traps.len(), "{op:?}");
        assert_eq!(code.relocs.len(), nothing.relocs.len(), "{op:?}");
    }
}

#[test]
fn tables_ascend_and_name_what_is_called() {
    let code = compile(
        "(module (memory 1) (func (param i32) (result i32)
            (loop (drop (memory.grow (local.get 0))) (br_if 0 (i32.div_u (i32.const 7) (local.get 0))))
            (call 0 (i32.load (local.get 0)))))",
    )
    .unwrap();
    assert!(code.relocs.is_sorted_by_key(|r| r.offset) && code.tables.traps.is_sorted_by_key(|t| t.offset));
    assert!(code.tables.addresses.is_sorted_by_key(|a| a.offset));
    let names: Vec<String> = code.relocs.iter().map(|r| r.target.to_string()).collect();
    for name in ["builtin[memory_grow]", "builtin[tier_up]", "builtin[osr]", "wasm[0]"] {
        assert!(names.iter().any(|n| n == name), "{name} is not among {names:?}");
    }
}

#[test]
fn references_are_found_at_calls() {
    let code = compile(
        "(module (import \"\" \"f\" (func $f (param externref)))
            (func (param externref i32) (call $f (local.get 0)) (call $f (ref.null extern))))",
    )
    .unwrap();
    assert!(code.tables.stack_maps.iter().all(|m| m.slots == [0] && m.fp_to_sp.is_multiple_of(16)));
    assert!(code.tables.stack_maps.len() >= 2);
}

#[test]
fn atomic_accesses_have_any_offset() {
    for (index, offset) in [("i32", 1), ("i32", 6), ("i32", u64::from(u32::MAX)), ("i64", u64::MAX - 3)] {
        let wat = format!(
            "(module (memory {index} 1) (func (param {index}) (result i64)
                (i64.atomic.rmw32.add_u offset={offset} (local.get 0) (i64.const 3))))"
        );
        let traps = compile(&wat).unwrap().tables.traps;
        let aligned = traps.iter().any(|t| t.code == TrapCode::HeapMisaligned);
        let bounds = traps.iter().any(|t| t.code == TrapCode::MemoryOutOfBounds);
        assert!(aligned && bounds, "offset {offset}: {traps:?}");
    }
}

/// `calls` calls inside of `nested` scopes with `clauses` handlers each.
fn catching(nested: usize, clauses: usize, calls: usize) -> String {
    let mut wat = String::from("(module ");
    (0..nested * clauses).for_each(|i| wat += &format!("(tag $t{i})"));
    wat += "(func (block $out ";
    for scope in 0..nested {
        wat += "(try_table ";
        (0..clauses).for_each(|i| wat += &format!("(catch $t{} $out)", scope * clauses + i));
    }
    wat += &"(call 0)".repeat(calls);
    wat + &")".repeat(nested) + ")))"
}

/// Handlers in different lists.
fn handlers_kept(func: &MachineFunc) -> usize {
    let mut lists: Vec<_> = func.tables.handlers.iter().map(|site| &site.handlers).collect();
    lists.sort_by_key(|list| list.as_ptr());
    lists.dedup_by_key(|list| list.as_ptr());
    lists.iter().map(|list| list.len()).sum()
}

#[test]
fn calls_share_their_lists_of_handlers() {
    for (nested, clauses) in [(1, 300), (300, 1), (20, 15)] {
        let made = [1, 2].map(|n| compile(&catching(nested, n * clauses, n * 500)).unwrap());
        let [one, two] = made.each_ref().map(handlers_kept);
        assert_eq!((one, two), (nested * clauses, 2 * nested * clauses));
        assert_eq!(made[1].tables.handlers.len(), 2 * 500);
        assert!(made[1].tables.handlers.iter().all(|site| site.handlers.len() == 2 * nested * clauses));
    }
}

/// Each call has a list of its own, with all that is around it.
#[test]
fn lists_of_handlers_are_bounded() {
    let deep = |scopes: usize| {
        let scope = |i| format!("(try_table (catch $t{} $out) (call 0) ", i % 10);
        let tags: String = (0..10).map(|i| format!("(tag $t{i})")).collect();
        let open: String = (0..scopes).map(scope).collect();
        format!("(module {tags} (func (block $out {open} {} )))", ")".repeat(scopes))
    };
    // Handlers that are not reached because of others inside are not in lists.
    assert!(handlers_kept(&compile(&deep(2_000)).unwrap()) <= 20_000);
    // To look for them takes time.
    assert_eq!(compile(&deep(5_000)).unwrap_err(), Error::TooLarge);
}

#[test]
fn references_at_calls_are_bounded() {
    let module = |references: usize, calls: usize| {
        let locals = "(local externref)".repeat(references);
        format!("(module (func {locals} {}))", "(call 0)".repeat(calls))
    };
    let made = compile(&module(1_000, 1_000)).unwrap();
    // There is one more, where the function may change its tier.
    assert_eq!(made.tables.stack_maps.iter().map(|map| map.slots.len()).sum::<usize>(), 1_001_000);
    let product = limits::MAX_BASELINE_ENTRIES / 1_000;
    assert_eq!(compile(&module(1_000, product + 1)).unwrap_err(), Error::TooLarge);
}

/// A call that takes and gives a thousand values is 16 KB of code.
#[test]
fn code_is_bounded() {
    let module = |calls: usize| {
        let many = "i64 ".repeat(1_000);
        let operands: String = (0..1_000).map(|i| format!("local.get {i} ")).collect();
        format!("(module (func (param {many}) (result {many}) {operands} {}))", "call 0 ".repeat(calls))
    };
    let made = [200, 400].map(|n| compile(&module(n)).unwrap().code.len() as f64);
    assert!(made[1] < 2.2 * made[0], "{made:?}");
    assert_eq!(compile(&module(10_000)).unwrap_err(), Error::TooLarge);
}
