//! The cache of compiled functions: what hits, what must not, and that nothing shows in the code.

use std::sync::Arc;

use kiln_compiler::{CacheStatistics, Compiler, CompilerConfig};
use kiln_env::artifact::source_hash;
use kiln_env::cache::MemoryStore;
use kiln_env::settings::Inlining;
use kiln_env::{DefinedFuncIndex, FuncKey, Image, MachineFunc};

use crate::{validate, varied_module, wasm};

fn compiler(store: Option<&Arc<MemoryStore>>, change: impl FnOnce(&mut CompilerConfig)) -> Compiler {
    let mut config = CompilerConfig { threads: 1, ..CompilerConfig::default() };
    if let Some(store) = store {
        config.cache = Some(store.clone());
    }
    change(&mut config);
    Compiler::new(&config).unwrap()
}

/// Compiles a module and says what came of asking the cache.
fn compile(compiler: &Compiler, bytes: &[u8]) -> (Image, CacheStatistics) {
    let module = validate(compiler, bytes).unwrap();
    let (image, stats) = compiler.compile_module(&module, bytes, &|_| {}).unwrap();
    (image, stats.cache)
}

fn cached(store: &Arc<MemoryStore>, bytes: &[u8]) -> (Image, CacheStatistics) {
    compile(&compiler(Some(store), |c| c.passes.inlining = Inlining::No), bytes)
}

fn uncached(bytes: &[u8]) -> Image {
    compile(&compiler(None, |c| c.passes.inlining = Inlining::No), bytes).0
}

#[test]
fn warm_and_cold_give_the_same_image() {
    let store = Arc::new(MemoryStore::new());
    let bytes = varied_module(40);
    let expected = uncached(&bytes);
    let (cold, first) = cached(&store, &bytes);
    assert!(first.misses >= 40 && first.inserts > first.misses, "{first:?}");
    let (warm, second) = cached(&store, &bytes);
    assert_eq!((second.body_hits, second.misses, second.inserts), (40, 0, 0), "{second:?}");
    assert!(cold == expected && warm == expected);
    let (parallel, _) =
        compile(&compiler(Some(&store), |c| (c.threads, c.passes.inlining) = (4, Inlining::No)), &bytes);
    assert!(parallel == expected);
}

#[test]
fn single_functions_are_cached_too() {
    let store = Arc::new(MemoryStore::new());
    let bytes = varied_module(3);
    let get = |store: Option<&Arc<MemoryStore>>| -> (Vec<MachineFunc>, CacheStatistics) {
        let compiler = compiler(store, |c| c.passes.inlining = Inlining::No);
        let module = validate(&compiler, &bytes).unwrap();
        let keys = (0..3).map(|i| FuncKey::Wasm(DefinedFuncIndex(i)));
        let keys = keys.chain([FuncKey::WasmToHost(kiln_env::TypeIndex(0))]);
        let funcs = keys.map(|key| compiler.compile_function(&module, &bytes, key).unwrap()).collect();
        (funcs, compiler.take_stats().cache)
    };
    let (plain, none) = get(None);
    assert_eq!(none, CacheStatistics::default());
    assert_eq!(get(Some(&store)).0, plain);
    let (warm, stats) = get(Some(&store));
    assert_eq!(warm, plain);
    assert_eq!((stats.body_hits, stats.stencil_hits, stats.misses), (3, 1, 0));
}

#[test]
fn bodies_that_may_be_inlined_are_part_of_the_key() {
    let with = |callee: &str, other: &str| {
        wasm(&format!(
            "(module (memory 1) {other}
               (func $leaf (param i32) (result i32) {callee})
               (func $middle (param i32) (result i32) (i32.add (call $leaf (local.get 0)) (i32.const 1)))
               (func (export \"f\") (param i32) (result i32) (call $middle (call $leaf (local.get 0)))))"
        ))
    };
    let large = "(i32.load ".repeat(500) + "(local.get 0)" + &")".repeat(500);
    let store = Arc::new(MemoryStore::new());
    for callee in ["(i32.load (local.get 0))", "(i32.load offset=4 (local.get 0))", &large, "(i32.const 7)"] {
        for other in ["", "(func (result i64) (i64.const 9))"] {
            let bytes = with(callee, other);
            let image = compile(&compiler(Some(&store), |_| {}), &bytes).0;
            assert!(image == compile(&compiler(None, |_| {}), &bytes).0);
        }
    }
}

#[test]
fn functions_that_differ_only_in_the_callee_share_code_and_call_their_own() {
    let bytes = wasm(
        "(module
           (func $a (param i32) (result i32) (i32.div_u (i32.const 100) (local.get 0)))
           (func $b (param i32) (result i32) (i32.rem_u (i32.const 100) (local.get 0)))
           (func (export \"x\") (param i32) (result i32) (i32.add (call $a (local.get 0)) (call $b (i32.const 3))))
           (func (export \"y\") (param i32) (result i32) (i32.add (call $b (local.get 0)) (call $a (i32.const 3)))))",
    );
    let store = Arc::new(MemoryStore::new());
    let (image, stats) = compile(&compiler(Some(&store), |c| c.passes.disabled = inliner()), &bytes);
    assert!(image == compile(&compiler(None, |c| c.passes.disabled = inliner()), &bytes).0);
    // One of the two came from the other.
    assert_eq!(stats.body_hits, 1, "{stats:?}");
}

/// The names of the passes that would take the calls out of these tests, as far as there are any.
fn inliner() -> Vec<String> {
    kiln_compiler::midend::pass_names().filter(|n| n.contains("inline")).map(str::to_owned).collect()
}

/// A function that uses much of its module, among others that stand before it.
fn moved(before: usize, imports: usize) -> Vec<u8> {
    let mut text = String::from("(module\n");
    (0..imports).for_each(|i| text += &format!("(import \"m\" \"f{i}\" (func (param i64)))\n"));
    text += "(memory 1) (table 4 funcref) (global $sp (mut i32) (i32.const 65536)) (global i64 (i64.const 5))\n";
    (0..before).for_each(|i| text += &format!("(func (result i64) (i64.const {i}))\n"));
    text += "(func $callee (param i32) (result f64) (f64.load (local.get 0)))
             (func (export \"f\") (param i32) (result f64)
               (global.set $sp (i32.sub (global.get $sp) (i32.const 16)))
               (block (result f64)
                 (drop (i32.load (i32.const 1024)))
                 (f64.add (call $callee (local.get 0)) (call $callee (global.get $sp))))))";
    wasm(&text)
}

#[test]
fn functions_are_found_again_at_another_index_and_offset() {
    let store = Arc::new(MemoryStore::new());
    cached(&store, &moved(3, 0));
    for before in [0, 7, 60] {
        let bytes = moved(before, 0);
        let (image, stats) = cached(&store, &bytes);
        assert!(stats.body_hits >= 2, "{before}: {stats:?}");
        assert!(image == uncached(&bytes));
    }
}

#[test]
fn what_the_body_does_not_say_is_part_of_the_key() {
    let variants = [
        // Types of the callee, of a global, of the memory, of the table; values of constant globals; a block's type.
        "(func $c (param i32) (result i32) (local.get 0)) (func (result i32) (call $c (i32.const 1)))",
        "(func $c (param i32) (result i64) (i64.const 0)) (func (result i64) (call $c (i32.const 1)))",
        "(global $g i32 (i32.const 1)) (func (result i32) (global.get $g))",
        "(global $g i32 (i32.const 2)) (func (result i32) (global.get $g))",
        "(global $g (mut i32) (i32.const 2)) (func (result i32) (global.get $g))",
        "(import \"m\" \"g\" (global $g i32)) (func (result i32) (global.get $g))",
        "(memory 1) (func (result i32) (i32.load8_u (i32.const 9)))",
        "(memory 1 1) (func (result i32) (i32.load8_u (i32.const 9)))",
        "(memory 1 1 shared) (func (result i32) (i32.load8_u (i32.const 9)))",
        "(import \"m\" \"m\" (memory 1)) (func (result i32) (i32.load8_u (i32.const 9)))",
        "(table 3 funcref) (func (result i32) (table.size 0))",
        "(table 3 3 funcref) (func (result i32) (table.size 0))",
        "(table 4 4 externref) (func (result i32) (table.size 0))",
        "(type $t (func)) (table 4 4 funcref) (func (call_indirect (type $t) (i32.const 0)))",
        "(type $u (func (param i32))) (type $t (func)) (table 4 4 funcref) (func (call_indirect (type $t) (i32.const 0)))",
        "(tag $t) (func (throw $t))",
        "(tag $u) (tag $t) (func (throw $t))",
        "(import \"m\" \"t\" (tag $t)) (func (throw $t))",
        "(import \"m\" \"f\" (func $f)) (func (call $f))",
        "(func $f) (func (call $f))",
        "(import \"m\" \"g\" (func)) (import \"m\" \"f\" (func $f)) (func (call $f))",
        "(func (param i32 i64) (local f32))",
        "(func (param i32 i64) (local f64))",
        "(elem declare func 0) (func (drop (ref.func 0)))",
        // Builtins of one signature.
        "(memory 1) (data \"a\") (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))",
        "(table 1 funcref) (elem func) (func (table.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))",
        "(elem declare func 1) (func) (func (drop (ref.func 1)))",
    ];
    let store = Arc::new(MemoryStore::new());
    for _ in 0..2 {
        for variant in variants {
            let bytes = wasm(&format!("(module {variant})"));
            assert!(cached(&store, &bytes).0 == uncached(&bytes), "{variant}");
        }
    }
}

#[test]
fn another_build_host_or_setting_finds_nothing() {
    type Change = fn(&mut CompilerConfig);
    let store = Arc::new(MemoryStore::new());
    let bytes = varied_module(5);
    cached(&store, &bytes);
    let changes: [Change; 4] = [
        |c| c.tunables.fuel = true,
        |c| c.tunables.address_map = false,
        |c| c.opt_level = kiln_env::settings::OptLevel::None,
        |c| c.target = Some("x86_64-unknown-linux-gnu".to_owned()),
    ];
    for change in changes {
        let (image, stats) = compile(&compiler(Some(&store), change), &bytes);
        assert_eq!((stats.body_hits, stats.stencil_hits), (0, 0), "{stats:?}");
        assert!(image == compile(&compiler(None, change), &bytes).0);
    }
}

#[test]
fn damaged_and_lost_entries_are_compiled_again() {
    let bytes = varied_module(6);
    let expected = uncached(&bytes);
    let store = Arc::new(MemoryStore::new());
    cached(&store, &bytes);
    let mut turn = 0;
    let mut damage = |_: &[u8], value: &mut Vec<u8>| {
        turn += 1;
        let at = turn * 7 % value.len();
        match turn % 3 {
            0 => value[at] ^= 4,
            1 => value.truncate(at),
            _ => value.push(1),
        }
    };
    store.for_each_value(&mut damage);
    let (image, stats) = cached(&store, &bytes);
    assert!(image == expected);
    assert_eq!((stats.body_hits, stats.stencil_hits), (0, 0), "{stats:?}");
    // Every other entry is gone: bodies without their code, code without its bodies.
    for keep in [0, 1] {
        cached(&store, &bytes);
        store.retain(|key, _| key[0] % 2 == keep);
        assert!(cached(&store, &bytes).0 == expected);
    }
}

#[test]
fn editing_one_function_compiles_one() {
    let module = |constant: u32| {
        let filler: String = (0..50)
            .map(|i| format!("(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const {})))", i + 10))
            .collect();
        wasm(&format!("(module (func (result i32) (i32.const {constant})) {filler})"))
    };
    let store = Arc::new(MemoryStore::new());
    cached(&store, &module(1));
    let (_, stats) = cached(&store, &module(2));
    assert_eq!((stats.body_hits, stats.misses), (50, 1), "{stats:?}");
}

/// A caller with a small callee that calls another; `before` functions stand in front of them.
fn nested(before: usize, middle: u32, inner: u32, extra_caller: bool) -> Vec<u8> {
    let filler: String = (0..before).map(|i| format!("(func (result i64) (i64.const {i}))\n")).collect();
    let extra = if extra_caller { "(func (export \"e\") (result i32) (call $middle (i32.const 1)))" } else { "" };
    wasm(&format!(
        "(module {filler}
           (func $inner (param i32) (result i32) (i32.mul (local.get 0) (i32.const {inner})))
           (func $other (param i32) (result i32) (i32.mul (local.get 0) (i32.const {inner})))
           (func $middle (param i32) (result i32) (i32.add (call $inner (local.get 0)) (call $other (i32.const {middle}))))
           (func (export \"f\") (param i32) (result i32) (i32.xor (call $middle (local.get 0)) (call $inner (i32.const 4))))
           {extra})"
    ))
}

/// Functions that use three numbers in every way.
fn addresses([a, b, c]: [u32; 3]) -> Vec<u8> {
    let offset = c & 0x0fff_ffff;
    wasm(&format!(
        "(module
           (memory 1) (table 4 funcref) (type $t (func (param i32) (result i32)))
           (func $take (param i32 i32 i32) (result i32) (i32.load (local.get 0)))
           (func $pass (export \"pass\") (result i32) (call $take (i32.const {a}) (i32.const {b}) (i32.const {c})))
           (func $same (export \"same\") (result i32) (call $take (i32.const {a}) (i32.const {a}) (i32.const {b})))
           (func $indirect (export \"indirect\") (param i32) (result i32) (call_indirect (type $t) (i32.const {a}) (local.get 0)))
           (func $store (export \"store\") (param i32)
             (i32.store (local.get 0) (i32.const {a})) (i32.store offset={offset} (local.get 0) (i32.const {b})))
           (func $load (export \"load\") (param i32) (result i32)
             (i32.add (i32.load offset={offset} (local.get 0)) (i32.load offset=8 (i32.const {a}))))
           (func $wide (export \"wide\") (param i32) (result i64)
             (i64.add (i64.load offset={offset} (local.get 0)) (i64.load offset={offset} (i32.const 8))))
           (func $index (export \"index\") (param i32) (result i32)
             (i32.load (i32.add (i32.const {a}) (i32.shl (local.get 0) (i32.const 2)))))
           (func $next (export \"next\") (param i32) (result i32) (i32.add (i32.add (local.get 0) (i32.const {a})) (i32.const 8)))
           (func $choose (export \"choose\") (param i32) (result i32) (select (i32.const {a}) (i32.const {b}) (local.get 0)))
           (func $branch (export \"branch\") (param i32) (result i32)
             (if (result i32) (local.get 0) (then (i32.const {a})) (else (i32.const {b}))))
           (func $loop (export \"loop\") (param i32) (result i32)
             (loop $again
               (i32.store (i32.add (local.get 0) (i32.const {a})) (i32.const {c}))
               (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 4)))))
             (i32.const {a}))
           (func $compare (export \"compare\") (param i32) (result i32)
             (if (i32.eq (local.get 0) (i32.const {a})) (then (return (i32.const {b})))) (i32.const {a}))
           (func $narrow (export \"narrow\") (param i32) (i32.store8 (local.get 0) (i32.const {a})))
           (func $mask (export \"mask\") (param i32) (result i32)
             (i32.store (local.get 0) (i32.const {b})) (i32.and (local.get 0) (i32.const {a})))
           (func $float (export \"float\") (param i32) (result f32)
             (i32.store (local.get 0) (i32.const {a})) (f32.reinterpret_i32 (i32.const {b})))
           (func $vector (export \"vector\") (param i32) (result v128)
             (i32.store (local.get 0) (i32.const {a})) (v128.const i32x4 {b} {c} {b} {c})))"
    ))
}

#[test]
fn code_is_shared_whatever_the_addresses_in_it_are() {
    let store = Arc::new(MemoryStore::new());
    let (_, cold) = cached(&store, &addresses([70_000, 80_000, 90_000]));
    // As many bytes as in the first: where operators are is part of the key.
    let sets =
        [[80_000, 70_000, 90_001], [1_048_575, 16_384, 20_000], [16_384, 16_385, 16_386], [70_000, 80_001, 90_000]];
    for set in sets {
        let bytes = addresses(set);
        let (image, stats) = cached(&store, &bytes);
        assert!(image == uncached(&bytes), "{set:?}");
        // In the rest numbers are operands from behind the code, or their values matter.
        let hits = stats.body_hits + stats.stencil_hits;
        assert!(hits >= cold.misses - 7 && stats.misses <= 7, "{set:?}: {stats:?} after {cold:?}");
        let (again, warm) = cached(&store, &bytes);
        assert!(again == image);
        assert_eq!(warm.misses, 0, "{warm:?}");
    }
}

#[test]
fn numbers_that_are_no_addresses_and_look_like_stand_ins_stay_what_they_are() {
    let edges =
        [0, 1, 127, 128, 1023, 1024, (1 << 28) - 1, 1 << 28, 0x55f0_0000, 0x5600_0000, 0x5610_0000, 0x5630_0000];
    let more = [0x5e10_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1023, u32::MAX];
    let edges: Vec<u32> = edges.into_iter().chain(more).collect();
    let store = Arc::new(MemoryStore::new());
    for (i, a) in edges.iter().enumerate() {
        for shift in [0, 1, 5] {
            let b = edges[(i + shift) % edges.len()];
            for set in [[*a, b, 3_000], [2_000, *a, b], [b, 2_000, *a]] {
                let bytes = addresses(set);
                let (image, stats) = cached(&store, &bytes);
                assert!(image == uncached(&bytes), "{set:x?}: {stats:?}");
            }
        }
    }
}

#[test]
fn inlined_bodies_are_part_of_what_a_function_is() {
    let store = Arc::new(MemoryStore::new());
    cached(&store, &nested(0, 3, 5, false));
    for (before, middle, inner, extra) in
        [(0, 3, 5, false), (9, 3, 5, false), (0, 4, 5, false), (0, 3, 6, false), (2, 3, 5, true), (0, 3, 5, false)]
    {
        let bytes = nested(before, middle, inner, extra);
        let (image, stats) = cached(&store, &bytes);
        assert!(image == uncached(&bytes), "{before} {middle} {inner} {extra}: {stats:?}");
        let (again, warm) = cached(&store, &bytes);
        assert!(again == image);
        let functions = 4 + before as u64 + u64::from(extra);
        assert_eq!((warm.body_hits, warm.misses), (functions, 0), "nothing is translated: {warm:?}");
    }
    // Moved only: all of it is found.
    let (_, stats) = cached(&store, &nested(9, 3, 5, false));
    assert_eq!((stats.body_hits, stats.misses), (13, 0), "{stats:?}");
}

#[test]
fn validation_is_remembered() {
    let store = Arc::new(MemoryStore::new());
    let bytes = varied_module(9);
    let validate = |bytes: &[u8]| {
        let compiler = compiler(Some(&store), |_| {});
        let (module, known) =
            compiler.validate_or_recall(compiler.parse(bytes).unwrap(), bytes, || source_hash(bytes), &|_| ()).unwrap();
        let (image, _) = compiler.compile_module(&module, bytes, &|_| {}).unwrap();
        (known, image)
    };
    let (first, image) = validate(&bytes);
    let (second, again) = validate(&bytes);
    assert_eq!((first, second), (false, true));
    assert!(image == again && image == uncached(&bytes));
    let mut invalid = wasm("(module (func (result i32) (i32.const 0)))");
    assert!(!validate(&invalid).0);
    // Two `nop` in place of the constant.
    let at = invalid.windows(2).position(|w| w == [0x41, 0]).unwrap();
    invalid.splice(at..at + 2, [0x01, 0x01]);
    let compiler = compiler(Some(&store), |_| {});
    let parsed = compiler.parse(&invalid).unwrap();
    assert!(compiler.validate_or_recall(parsed, &invalid, || source_hash(&invalid), &|_| ()).is_err());
}
