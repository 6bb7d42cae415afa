//! Fuel is counted operator by operator: the total is exact at every return, trap, host call and handler, in every mode.

use common::in_all_modes;
use kiln::{Caller, Linker, Module, Store};

mod common;

const WAT: &str = r#"(module
  (import "" "h" (func $h))
  (type $v (func))
  (memory 1 2) (table $t 4 funcref) (table $x 4 externref)
  (tag $e (param i32))
  (global $g (mut i32) (i32.const 0))
  (func $throw (throw $e (i32.const 1)))
  (func $callee (param i32) (result i32) (local.get 0))

  (func (export "return") (param i32) (result i32) (return (i32.add (local.get 0) (i32.const 1))))
  (func (export "load") (param i32) (drop (i32.load (local.get 0))) (nop) (global.set $g (i32.const 1)))
  (func (export "far load") (param i32) (drop (i32.load offset=0xf0000000 (local.get 0))))
  (func (export "store") (param i32) (i64.store (local.get 0) (i64.const 1)) (nop))
  (func (export "vector") (param i32) (v128.store (local.get 0) (v128.const i64x2 1 2)))
  (func (export "atomic") (param i32) (drop (i32.atomic.rmw.add (local.get 0) (i32.const 1))))
  (func (export "fill") (param i32) (memory.fill (local.get 0) (i32.const 1) (i32.const 8)))
  (func (export "divide") (param i32) (drop (i32.div_s (i32.const 5) (local.get 0))))
  (func (export "remainder") (param i32) (drop (i64.rem_u (i64.const 5) (i64.extend_i32_u (local.get 0)))))
  (func (export "truncate") (param i32) (drop (i32.trunc_f32_s (f32.reinterpret_i32 (local.get 0)))))
  (func (export "unreachable") (param i32) (drop (i32.const 1)) (unreachable))
  (func (export "host") (param i32) (drop (i32.const 1)) (call $h) (drop (i32.const 1)))
  (func (export "loop") (param i32)
    (loop $l
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $l (local.get 0))))
  (func (export "if") (param i32)
    (if (local.get 0) (then (nop) (unreachable)) (else (drop (i32.const 1)))))
  (func (export "if alone") (param i32)
    (if (local.get 0) (then (global.set $g (i32.const 1)))) (global.set $g (i32.const 1)))
  (func (export "table") (param i32)
    (block $d (block $c (block $b (block $a (br_table $a $b $b $b $b $b $b $c $d (local.get 0)))
      (drop (i32.const 1))) (drop (i32.const 1))) (drop (i32.const 1))) (drop (i32.const 1)))
  (func (export "call") (param i32) (drop (call $callee (local.get 0))))
  (func (export "tail call") (param i32) (result i32) (return_call $callee (local.get 0)))
  (func (export "indirect") (param i32) (call_indirect (type $v) (local.get 0)))
  (func (export "reference") (param i32) (call_ref $v (ref.null $v)))
  (func (export "table get") (param i32) (drop (table.get $x (local.get 0))))
  (func (export "table set") (param i32) (table.set $t (local.get 0) (ref.null func)))
  (func (export "non-null") (param i32) (drop (ref.as_non_null (ref.null func))))
  (func (export "catch") (param i32)
    (block $h (result i32) (try_table (catch $e $h) (call $throw) (drop (i32.const 1))) (return))
    (drop) (drop (i32.const 1)))
  (func (export "throw here") (param i32)
    (block $h (result i32) (try_table (catch $e $h) (throw $e (local.get 0))) (unreachable)) (drop))
  (func (export "legacy catch") (param i32)
    try call $throw catch $e drop catch_all i32.const 1 drop end i32.const 1 drop)
  (func (export "uncaught") (param i32) (drop (i32.const 1)) (call $throw)))"#;

/// Function, argument, units: counted by hand. Operators are free that only shape the code: `block`, `loop`, `else`, `end`,
/// `try`, `try_table`, `catch`, and `nop`, `drop`, `return`, `unreachable`.
const CASES: &[(&str, i32, u64)] = &[
    ("return", 1, 3),
    ("load", 0, 4),
    ("load", -1, 2),
    ("far load", 0, 2),
    ("store", 0, 3),
    ("store", 65530, 3),
    ("vector", 8, 3),
    ("vector", 65530, 3),
    ("atomic", 8, 3),
    ("atomic", 9, 3),
    ("fill", 0, 4),
    ("fill", 65535, 4),
    ("divide", 1, 3),
    ("divide", 0, 3),
    ("remainder", 3, 4),
    ("remainder", 0, 4),
    ("truncate", 0, 3),
    ("truncate", 0x7fc0_0000, 3),
    ("truncate", 0x7f00_0000, 3),
    ("unreachable", 0, 1),
    ("host", 0, 3),
    ("loop", 1, 6),
    ("loop", 10, 60),
    ("if", 1, 2),
    ("if", 0, 3),
    ("if alone", 1, 6),
    ("if alone", 0, 4),
    ("table", 0, 6),
    ("table", 3, 5),
    ("table", 7, 4),
    ("table", 99, 3),
    ("call", 0, 3),
    ("tail call", 0, 3),
    ("indirect", 0, 2),
    ("indirect", 4, 2),
    ("reference", 0, 2),
    ("table get", 0, 2),
    ("table get", 4, 2),
    ("table set", 0, 3),
    ("table set", 4, 3),
    ("non-null", 0, 2),
    ("catch", 0, 4),
    ("throw here", 0, 2),
    ("legacy catch", 0, 4),
    ("uncaught", 0, 4),
];

fn check(guards: bool) {
    in_all_modes(
        |c| {
            c.consume_fuel(true);
            if !guards {
                c.memory_reservation(0).memory_guard_size(0);
            }
        },
        |engine| {
            const FULL: u64 = 1_000_000;
            let module = Module::new(engine, WAT)?;
            let mut linker = Linker::new(engine);
            linker.func_wrap("", "h", |mut caller: Caller<'_, u64>| {
                *caller.data_mut() = caller.get_fuel().unwrap_or(0);
            })?;
            let mut store = Store::new(engine, 0);
            store.set_fuel(FULL)?;
            let instance = linker.instantiate(&mut store, &module)?;
            for (name, argument, units) in CASES {
                let func = instance.get_func(&mut store, name).expect("it is exported");
                let mut results = vec![kiln::Val::I32(0); func.ty(&store).results().len()];
                store.set_fuel(FULL)?;
                // Some trap: that is seen in other tests.
                let _ = func.call(&mut store, &[kiln::Val::I32(*argument)], &mut results);
                assert_eq!(FULL - store.get_fuel()?, *units, "{name} {argument}");
            }
            assert_eq!(FULL - *store.data(), 2, "at the host call");
            Ok(())
        },
    );
}

#[test]
fn fuel_is_exact_with_guards() {
    check(true);
}

#[test]
fn fuel_is_exact_with_bounds_checks() {
    check(false);
}
