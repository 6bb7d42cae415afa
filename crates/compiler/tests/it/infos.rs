//! What validation finds out about functions.

use kiln_env::{DefinedFuncIndex, FuncIndex, TypeIndex};

use crate::{compiler, validate, wasm};

#[test]
fn facts_about_functions() {
    let bytes = wasm(
        "(module
           (type $t (func)) (tag $e)
           (import \"m\" \"f\" (func $imported (param i32)))
           (table 1 funcref) (memory 1)
           (func $leaf (param i32 i32) (result i32) (local i64)
             (loop $l (loop $m
               (local.set 0 (i32.add (local.get 0) (local.get 1)))
               (br_if $m (local.get 0))))
             local.get 1)
           (func $caller (call $leaf (i32.const 1) (i32.const 2)) drop
             (call $imported (i32.const 3)) (call $leaf (i32.const 1) (i32.const 2)) drop)
           (func $indirect (call_indirect (type $t) (i32.const 0)))
           (func $tail (return_call $caller))
           (func $thrower (throw $e))
           (func $catcher (block $h (try_table (catch_all $h) (call $thrower))))
           (func $grower (drop (memory.grow (i32.const 1)))))",
    );
    let module = validate(&compiler(), &bytes).unwrap();
    let info = |i| module.infos().get(DefinedFuncIndex(i));

    let leaf = info(0);
    assert!(!leaf.makes_calls() && !leaf.catches());
    assert_eq!((leaf.num_loops(), leaf.max_stack()), (2, 2));
    let weights: Vec<_> = leaf.local_weights().map(|w| (w.local, w.weight)).collect();
    // Three uses at depth 2 (64 each, 192), one at depth 2 and one outside (65, three bits: 64).
    assert_eq!(weights, [(0, 192), (1, 64)]);

    let callees: Vec<_> = info(1).callees().collect();
    assert_eq!(callees, [FuncIndex(0), FuncIndex(1)]);
    assert!(info(1).makes_calls() && info(2).makes_calls());
    assert_eq!(module.indirect_types(), [TypeIndex(0)]);
    assert!(info(3).makes_calls() && !info(4).makes_calls());
    assert!(info(5).catches() && !info(6).makes_calls());
}

#[test]
fn escaping_functions() {
    let bytes = wasm(
        "(module (import \"m\" \"f\" (func $imported)) (func $hidden) (func $exported (export \"e\"))
           (func $in_table) (func $in_global) (func $declared) (table 2 funcref)
           (elem (i32.const 0) func $in_table) (elem declare func $declared)
           (elem funcref (ref.func $imported) (ref.null func))
           (global funcref (ref.func $in_global)) (start $hidden))",
    );
    let module = validate(&compiler(), &bytes).unwrap();
    let escapes: Vec<_> = module.module().funcs.values().map(|f| f.escapes).collect();
    assert_eq!(escapes, [true, false, true, true, true, true]);
}

#[test]
fn records_stay_small() {
    let bytes = crate::varied_module(300);
    let module = validate(&compiler(), &bytes).unwrap();
    assert!(module.infos().memory_size() <= 40 * module.infos().len());
}

#[test]
fn equal_signatures_share_their_trampolines() {
    let bytes = wasm(
        "(module (type (func (param i32))) (type (func)) (type (func (param i32)))
           (import \"m\" \"f\" (func (type 2))) (func (export \"g\") (type 0)) (func (export \"h\") (type 2)))",
    );
    let compiler = compiler();
    let module = validate(&compiler, &bytes).unwrap();
    assert_eq!(module.canonical_sig(TypeIndex(2)), TypeIndex(0));
    let (image, _) = compiler.compile_module(&module, &bytes, &|_| {}).unwrap();
    let keys: Vec<String> = image.funcs.iter().map(|f| f.key.to_string()).collect();
    assert_eq!(keys, ["wasm[0]", "wasm[1]", "array_to_wasm[0]", "wasm_to_host[0]", "builtin[raise]"]);
}
