//! Errors and panics of host functions, nested activations, and who is dropped when.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{in_all_modes, instance};
use kiln::*;

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the host's error {0}")]
struct HostError(i32);

/// `down(n)` calls the host, which calls `down(n - 1)`, and so on; at 0 the host does `last`.
const NESTED: &str = r#"(module
    (import "h" "step" (func $step (param i32) (result i32)))
    (func (export "down") (param i32) (result i32) (i32.add (call $step (local.get 0)) (i32.const 1))))"#;

type Down = TypedFunc<i32, i32>;

fn nested(
    engine: &Engine,
    last: impl Fn() -> anyhow::Result<i32> + Send + Sync + 'static,
) -> anyhow::Result<(Store<Vec<i32>>, Down)> {
    let mut linker: Linker<Vec<i32>> = Linker::new(engine);
    linker.func_wrap("h", "step", move |mut caller: Caller<'_, Vec<i32>>, n: i32| -> anyhow::Result<i32> {
        caller.data_mut().push(n);
        if n == 0 {
            return last();
        }
        let down = caller.get_export("down").and_then(Extern::into_func).expect("exported");
        let result = down.typed::<i32, i32>(&caller)?.call(&mut caller, n - 1);
        caller.data_mut().push(-n);
        result
    })?;
    let mut store = Store::new(engine, Vec::new());
    let instance = linker.instantiate(&mut store, &Module::new(engine, NESTED)?)?;
    let down = instance.get_typed_func(&mut store, "down")?;
    Ok((store, down))
}

#[test]
fn calls_nest_and_return() {
    in_all_modes(
        |_| {},
        |engine| {
            let (mut store, down) = nested(engine, || Ok(100))?;
            assert_eq!(down.call(&mut store, 3)?, 104);
            assert_eq!(store.data(), &[3, 2, 1, 0, -1, -2, -3]);
            Ok(())
        },
    );
}

#[test]
fn an_error_of_the_host_travels_through_all_activations() {
    in_all_modes(
        |_| {},
        |engine| {
            let (mut store, down) = nested(engine, || Err(HostError(7).into()))?;
            for _ in 0..3 {
                store.data_mut().clear();
                let error = down.call(&mut store, 3).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&HostError(7)));
                assert_eq!(store.data(), &[3, 2, 1, 0, -1, -2, -3]);
            }
            Ok(())
        },
    );
}

#[test]
fn a_panic_of_the_host_travels_through_all_activations() {
    in_all_modes(
        |_| {},
        |engine| {
            let (mut store, down) = nested(engine, || std::panic::panic_any(HostError(8)))?;
            for _ in 0..3 {
                let payload = catch_unwind(AssertUnwindSafe(|| down.call(&mut store, 3))).unwrap_err();
                assert_eq!(payload.downcast_ref(), Some(&HostError(8)));
            }
            let (mut store, down) = nested(engine, || Ok(1))?;
            assert_eq!(down.call(&mut store, 5)?, 7);
            Ok(())
        },
    );
}

#[test]
fn a_trap_can_be_caught_by_the_host_in_between() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(
                engine,
                r#"(module
                    (import "h" "try" (func $try (result i32)))
                    (func (export "trap") (drop (i32.div_u (i32.const 1) (i32.const 0))))
                    (func (export "run") (result i32) (i32.add (call $try) (call $try))))"#,
            )?;
            let mut linker: Linker<()> = Linker::new(engine);
            linker.func_wrap("h", "try", |mut caller: Caller<'_, ()>| {
                let trap = caller.get_export("trap").and_then(Extern::into_func).expect("exported");
                let error = trap.call(&mut caller, &[], &mut []).unwrap_err();
                i32::from(error.downcast_ref() == Some(&Trap::IntegerDivisionByZero))
            })?;
            let mut store = Store::new(engine, ());
            let instance = linker.instantiate(&mut store, &module)?;
            assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "run")?.call(&mut store, ())?, 2);
            Ok(())
        },
    );
}

#[test]
fn stores_nest() {
    in_all_modes(
        |_| {},
        |engine| {
            let (inner_store, inner) = nested(engine, || Err(HostError(1).into()))?;
            let inner_store = std::sync::Mutex::new(inner_store);
            let (mut store, down) = nested(engine, move || {
                let error = inner.call(&mut *inner_store.lock().unwrap(), 2).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&HostError(1)));
                Ok(50)
            })?;
            assert_eq!(down.call(&mut store, 2)?, 53);
            Ok(())
        },
    );
}

#[test]
fn dynamic_host_functions_are_checked() {
    in_all_modes(
        |_| {},
        |engine| {
            let ty = FuncType::new(engine, [ValType::I32], [ValType::I64, ValType::F32]);
            let mut store = Store::new(engine, ());
            let good = Func::new(&mut store, ty.clone(), |_, params, results| {
                results[0] = Val::I64(params[0].unwrap_i32().into());
                results[1] = Val::F32(1.5f32.to_bits());
                Ok(())
            });
            let bad = Func::new(&mut store, ty, |_, _, results| {
                results[0] = Val::I32(1);
                Ok(())
            });
            let wat = r#"(module (import "" "" (func $f (param i32) (result i64 f32)))
                (func (export "run") (param i32) (result i64) (call $f (local.get 0)) drop))"#;
            let module = Module::new(engine, wat)?;
            let run = |store: &mut Store<()>, f: Func| -> anyhow::Result<i64> {
                let instance = Instance::new(&mut *store, &module, &[f.into()])?;
                instance.get_typed_func::<i32, i64>(&mut *store, "run")?.call(store, -5)
            };
            assert_eq!(run(&mut store, good)?, -5);
            let error = format!("{:#}", run(&mut store, bad).unwrap_err());
            assert!(error.contains("result 0 of a host function"), "{error}");
            let mut results = [Val::I32(0), Val::I32(0)];
            good.call(&mut store, &[Val::I32(9)], &mut results)?;
            assert_eq!(results[0].i64(), Some(9));
            assert!(good.call(&mut store, &[], &mut results).is_err());
            assert!(good.call(&mut store, &[Val::I64(9)], &mut results).is_err());
            assert!(good.call(&mut store, &[Val::I32(9)], &mut []).is_err());
            Ok(())
        },
    );
}

#[test]
fn function_references_go_through_wasm_and_back() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(
                engine,
                r#"(module
                    (type $t (func (param i32) (result i32)))
                    (import "h" "id" (func $id (param funcref) (result funcref)))
                    (table 4 funcref)
                    (func $inc (export "inc") (type $t) (i32.add (local.get 0) (i32.const 1)))
                    (elem (i32.const 2) func $inc)
                    (func (export "set") (param i32 funcref) (table.set (local.get 0) (call $id (local.get 1))))
                    (func (export "get") (param i32) (result funcref) (table.get (local.get 0)))
                    (func (export "call") (param i32 i32) (result i32)
                        (call_indirect (type $t) (local.get 1) (local.get 0))))"#,
            )?;
            let mut linker: Linker<()> = Linker::new(engine);
            linker.func_wrap("h", "id", |f: Option<Func>| f)?;
            let mut store = Store::new(engine, ());
            let instance = linker.instantiate(&mut store, &module)?;
            let set = instance.get_typed_func::<(i32, Option<Func>), ()>(&mut store, "set")?;
            let get = instance.get_typed_func::<i32, Option<Func>>(&mut store, "get")?;
            let call = instance.get_typed_func::<(i32, i32), i32>(&mut store, "call")?;
            assert_eq!(call.call(&mut store, (2, 1))?, 2);
            assert_eq!(call.call(&mut store, (0, 1)).unwrap_err().downcast_ref(), Some(&Trap::IndirectCallToNull));
            assert_eq!(call.call(&mut store, (4, 1)).unwrap_err().downcast_ref(), Some(&Trap::UndefinedElement));
            let triple = Func::wrap(&mut store, |n: i32| 3 * n);
            set.call(&mut store, (0, Some(triple)))?;
            assert_eq!(call.call(&mut store, (0, 5))?, 15);
            let other_type = Func::wrap(&mut store, || {});
            set.call(&mut store, (1, Some(other_type)))?;
            assert_eq!(call.call(&mut store, (1, 1)).unwrap_err().downcast_ref(), Some(&Trap::BadSignature));
            let inc = get.call(&mut store, 2)?.expect("not null");
            assert_eq!(inc.typed::<i32, i32>(&store)?.call(&mut store, 41)?, 42);
            assert!(get.call(&mut store, 3)?.is_none());
            set.call(&mut store, (2, None))?;
            assert!(get.call(&mut store, 2)?.is_none());
            Ok(())
        },
    );
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn everything_is_dropped_once_and_not_too_early() -> anyhow::Result<()> {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = || CountDrop(dropped.clone());
    let engine = Engine::default();
    let (in_linker, in_store) = (count(), count());
    let mut linker: Linker<CountDrop> = Linker::new(&engine);
    linker.func_wrap("h", "f", move || {
        let _ = &in_linker;
        5
    })?;
    let mut store = Store::new(&engine, count());
    let own = Func::wrap(&mut store, move || {
        let _ = &in_store;
        6
    });
    let module = Module::new(
        &engine,
        r#"(module (import "h" "f" (func $f (result i32))) (import "h" "g" (func $g (result i32)))
            (func (export "run") (result i32) (i32.add (call $f) (call $g))))"#,
    )?;
    linker.define(&store, "h", "g", own)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
    // The store keeps all that it needs.
    drop((linker, module, engine));
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    assert_eq!(run.call(&mut store, ())?, 11);
    let data = store.into_data();
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
    drop(data);
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    Ok(())
}

#[test]
fn a_store_moves_between_threads() {
    in_all_modes(
        |_| {},
        |engine| {
            let (mut store, instance) = instance(
                engine,
                r#"(module (memory (export "m") 1) (func (export "trap") unreachable)
                    (func (export "next") (result i32)
                        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                        (i32.load (i32.const 0))))"#,
            )?;
            let next = instance.get_typed_func::<(), i32>(&mut store, "next")?;
            let trap = instance.get_typed_func::<(), ()>(&mut store, "trap")?;
            for i in 1..10 {
                store = std::thread::spawn(move || {
                    assert_eq!(next.call(&mut store, ()).unwrap(), i);
                    assert!(trap.call(&mut store, ()).is_err());
                    store
                })
                .join()
                .unwrap();
            }
            Ok(())
        },
    );
}
