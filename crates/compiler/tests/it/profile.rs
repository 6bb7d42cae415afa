//! What is known about how a module ran: it changes code and keys, and facts that fit nothing change nothing.

use std::sync::Arc;

use kiln_compiler::{Compiler, CompilerConfig, Profile};
use kiln_env::cache::MemoryStore;
use kiln_env::profile::FuncFacts;
use kiln_env::{DefinedFuncIndex, FuncKey, Image, MachineFunc};

use crate::{validate, wasm};

/// Function 0 calls through a table, at offset [`CALL`] of its body, function 4 likewise by a tail call.
const WAT: &str = r#"(module
    (type $t (func (param i32) (result i32)))
    (type $u (func (param i64) (result i64)))
    (global $n (mut i32) (i32.const 3))
    (table 3 funcref) (elem (i32.const 0) $small $large $other)
    (func (export "f") (param i32) (result i32) (call_indirect (type $t) (i32.const 7) (local.get 0)))
    (func $small (type $t) (i32.add (local.get 0) (i32.const 1)))
    (func $large (type $t)
        (loop (br_if 0 (call $small (local.get 0)))) (loop (br_if 0 (call $small (local.get 0))))
        (loop (br_if 0 (call $small (local.get 0)))) (loop (br_if 0 (call $small (local.get 0))))
        (call $small (i32.const 4)))
    (func $other (type $u) (local.get 0))
    (func (param i32) (result i32) (return_call_indirect (type $t) (i32.const 7) (local.get 0)))
    (func $divide (type $t) (i32.div_u (local.get 0) (global.get $n)))
    (func $remainder (type $t) (i32.rem_u (local.get 0) (global.get $n)))
    (func $calls_both (result i32) (i32.add (call 0 (i32.const 1)) (call 4 (i32.const 1)))))"#;

const CALL: u32 = 5;
const TAIL_CALLER: u32 = 4;
const CALLS_BOTH: u32 = 7;

/// Function 0 with these likely targets of the operators at these offsets; what the cache had.
fn compile(store: Option<&Arc<MemoryStore>>, targets: &[(u32, u32)]) -> (MachineFunc, u64) {
    compile_func(0, store, 0, targets)
}

/// A function where `caller` has these likely targets of the operators at these offsets.
fn compile_func(
    func: u32,
    store: Option<&Arc<MemoryStore>>,
    caller: u32,
    targets: &[(u32, u32)],
) -> (MachineFunc, u64) {
    let mut config = CompilerConfig { threads: 1, ..CompilerConfig::default() };
    config.cache = store.map(|s| s.clone() as _);
    let compiler = Compiler::new(&config).unwrap();
    let bytes = wasm(WAT);
    let module = validate(&compiler, &bytes).unwrap();
    let targets: Vec<_> = targets.iter().map(|(at, func)| (*at, DefinedFuncIndex(*func))).collect();
    let find = |func: DefinedFuncIndex| {
        if func.0 == caller {
            FuncFacts { targets: targets.clone(), ..FuncFacts::default() }
        } else {
            FuncFacts::default()
        }
    };
    let key = FuncKey::Wasm(DefinedFuncIndex(func));
    let code = compiler.compile_hot(&module, &bytes, key, &Profile::new(&find)).unwrap();
    (code, compiler.take_stats().cache.body_hits)
}

fn inlined(code: &MachineFunc) -> Vec<u32> {
    code.tables.inlined.iter().map(|body| body.func.0).collect()
}

fn calls(code: &MachineFunc, func: u32) -> bool {
    code.relocs.iter().any(|r| r.target == FuncKey::Wasm(DefinedFuncIndex(func)))
}

#[test]
fn likely_targets_are_called_directly_or_inlined() {
    let plain = compile(None, &[]).0;
    assert!(inlined(&plain).is_empty() && !calls(&plain, 1) && !calls(&plain, 2));
    // Nothing in $small is a place at which one can stop, so that it is in no table.
    let small = compile(None, &[(CALL, 1)]).0;
    assert!(small != plain && !calls(&small, 1));
    let large = compile(None, &[(CALL, 2)]).0;
    assert!(large != plain && large != small && calls(&large, 2));
    assert_eq!(compile(None, &[(CALL, 2)]).0, large, "the same again");
}

#[test]
fn two_likely_targets_are_both_inlined() {
    let both = compile(None, &[(CALL, 5), (CALL, 6)]).0;
    assert_eq!(inlined(&both), [5, 6]);
    assert_eq!(inlined(&compile(None, &[(CALL, 6), (CALL, 5)]).0), [6, 5], "the likelier first");
    assert_eq!(inlined(&compile(None, &[(CALL, 5)]).0), [5]);
    let one = compile(None, &[(CALL, 2), (CALL, 5)]).0;
    assert_eq!((inlined(&one), calls(&one, 2)), (vec![5], true), "one is too large");
    assert_eq!(compile(None, &[(CALL, 3), (CALL, 5)]).0, compile(None, &[(CALL, 5)]).0, "one is of another type");
    // As part of another function.
    let outer = compile_func(CALLS_BOTH, None, 0, &[(CALL, 5), (CALL, 6)]).0;
    assert!([0, 5, 6].iter().all(|func| inlined(&outer).contains(func)), "{:?}", inlined(&outer));
}

#[test]
fn likely_targets_of_tail_calls_are_called_directly() {
    let compile = |targets| compile_func(TAIL_CALLER, None, TAIL_CALLER, targets).0;
    let plain = compile(&[]);
    assert!(!calls(&plain, 5) && !calls(&plain, 6));
    let both = compile(&[(CALL, 5), (CALL, 6)]);
    assert!(calls(&both, 5) && calls(&both, 6) && inlined(&both).is_empty());
    assert!(both.tables.addresses.len() <= plain.tables.addresses.len() + 2, "no frame is left behind");
    // In a function that is inlined they are calls.
    let outer = compile_func(CALLS_BOTH, None, TAIL_CALLER, &[(CALL, 5), (CALL, 6)]).0;
    assert!(calls(&outer, 5) && calls(&outer, 6) && inlined(&outer).contains(&TAIL_CALLER), "{:?}", inlined(&outer));
}

#[test]
fn what_has_run_comes_first_whatever_the_threads() {
    let bytes = wasm(WAT);
    let image = |threads, profile: Option<&Profile<'_>>| {
        let config = CompilerConfig { threads, ..CompilerConfig::default() };
        let compiler = Compiler::new(&config).unwrap();
        let module = validate(&compiler, &bytes).unwrap();
        compiler.compile_profiled(&module, &bytes, &|_| (), profile).unwrap().0
    };
    let find = |func: DefinedFuncIndex| match func.0 {
        0 | 2 | 6 => FuncFacts { has_run: true, entries: 10 * func.0, ..FuncFacts::default() },
        _ => FuncFacts::default(),
    };
    let order = |image: &Image| -> Vec<u32> {
        assert!(image.funcs.is_sorted_by_key(|f| f.start));
        image.funcs.iter().filter_map(|f| f.key.body()).map(|f| f.0).collect()
    };
    let made = image(1, Some(&Profile::new(&find)));
    assert_eq!(order(&made), [6, 2, 0, 1, 3, 4, 5, 7]);
    assert_eq!(order(&image(1, None)), [0, 1, 2, 3, 4, 5, 6, 7]);
    for threads in [2, 5] {
        assert_eq!(image(threads, Some(&Profile::new(&find))), made, "{threads} threads");
    }
}

#[test]
fn facts_that_fit_nothing_change_nothing() {
    let plain = compile(None, &[]).0;
    assert_eq!(compile(None, &[(CALL, 3)]).0, plain, "a function of another type");
    assert_eq!(compile(None, &[(CALL - 1, 1), (CALL + 1, 1)]).0, plain, "no call there");
}

#[test]
fn code_is_found_again_under_the_same_facts_only() {
    let store = Arc::new(MemoryStore::new());
    let facts: [&[(u32, u32)]; 5] = [&[], &[(CALL, 1)], &[(CALL, 2)], &[(CALL, 5), (CALL, 6)], &[(CALL, 6), (CALL, 5)]];
    for facts in facts {
        let expected = compile(None, facts).0;
        let (code, hits) = compile(Some(&store), facts);
        assert_eq!((code == expected, hits), (true, 0), "{facts:?}");
        let (code, hits) = compile(Some(&store), facts);
        assert_eq!((code == expected, hits), (true, 1), "{facts:?}");
    }
}
