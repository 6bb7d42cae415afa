//! Stack overflow is always the same trap, wherever it happens, and leaves everything usable.

mod common;

use std::fmt::Write as _;

use common::modes_and_levels;
use kiln::{Caller, Config, Engine, Func, Inlining, Instance, Linker, Module, Store, Tiering, Trap};

/// Runs a test on a new engine of every mode.
fn in_all_modes(test: impl Fn(&Engine)) {
    for (name, config) in modes_and_levels() {
        println!("{name}");
        test(&Engine::new(&config).unwrap());
    }
}

#[track_caller]
fn expect_overflow<R: std::fmt::Debug>(result: anyhow::Result<R>) {
    let error = result.expect_err("the stack should overflow");
    assert!(is_overflow(&error), "{error:?}");
}

fn is_overflow(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Trap>().is_some_and(|t| t.to_string().contains("call stack exhausted"))
}

/// Either the right result, or an overflow.
#[track_caller]
fn expect_or_overflow<R: PartialEq + std::fmt::Debug>(result: anyhow::Result<R>, expected: R) {
    match result {
        Ok(value) => assert_eq!(value, expected),
        Err(error) => assert!(is_overflow(&error), "{error:?}"),
    }
}

const RECURSION: &str = r#"
    (module
        (func $deep (export "deep") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0))
                (then (call $bottom))
                (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))))
        (func $bottom (export "bottom") (result i32)
            (i32.const 7))
        (func $endless (export "endless") (param i64 f64) (result i64)
            (i64.add (i64.const 1) (call $endless (local.get 0) (local.get 1)))))"#;

fn instantiate(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, wat).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    (store, instance)
}

#[test]
fn endless_recursion_traps_and_the_instance_goes_on() {
    in_all_modes(|engine| {
        let (mut store, instance) = instantiate(engine, RECURSION);
        let endless = instance.get_typed_func::<(i64, f64), i64>(&mut store, "endless").unwrap();
        let deep = instance.get_typed_func::<i32, i32>(&mut store, "deep").unwrap();
        for _ in 0..3 {
            expect_overflow(endless.call(&mut store, (1, 2.0)));
            assert_eq!(deep.call(&mut store, 100).unwrap(), 107);
        }
    });
}

#[test]
fn on_a_second_thread_with_a_small_stack() {
    in_all_modes(|engine| {
        for stack in [768 << 10, 1 << 20, 8 << 20] {
            let engine = engine.clone();
            let thread = std::thread::Builder::new().stack_size(stack).spawn(move || {
                let (mut store, instance) = instantiate(&engine, RECURSION);
                let endless = instance.get_typed_func::<(i64, f64), i64>(&mut store, "endless").unwrap();
                expect_overflow(endless.call(&mut store, (1, 2.0)));
                expect_overflow(endless.call(&mut store, (1, 2.0)));
            });
            thread.unwrap().join().unwrap();
        }
    });
}

#[test]
fn a_store_moves_to_another_thread_after_an_overflow() {
    in_all_modes(|engine| {
        let (mut store, instance) = instantiate(engine, RECURSION);
        let endless = instance.get_typed_func::<(i64, f64), i64>(&mut store, "endless").unwrap();
        expect_overflow(endless.call(&mut store, (1, 2.0)));
        std::thread::spawn(move || expect_overflow(endless.call(&mut store, (1, 2.0)))).join().unwrap();
    });
}

/// `run` calls itself as often as it is told and then a function whose `count` vector locals are all live, across a call
/// or without one.
fn many_locals(count: usize, call: bool) -> String {
    let mut wat = String::from(
        r#"(module (memory (export "memory") 64)
        (func $run (export "run") (param i32)
            (if (local.get 0)
                (then (call $run (i32.sub (local.get 0) (i32.const 1))))
                (else (call $large (i32.const 0)))))
        (func $f)
        (func $large (param i32) (local"#,
    );
    for _ in 0..count {
        wat.push_str(" v128");
    }
    wat.push(')');
    for i in 0..count {
        write!(wat, "(local.set {} (v128.load offset={} (local.get 0)))", i + 1, i * 16).unwrap();
    }
    if call {
        wat.push_str("(call $f)");
    }
    for i in (0..count).rev() {
        write!(wat, "(v128.store offset={} (local.get 0) (local.get {}))", (count - 1 - i) * 16, i + 1).unwrap();
    }
    wat.push_str("))");
    wat
}

/// A frame of one to four megabytes: it fits, but not below other frames.
#[test]
fn fifty_thousand_live_vectors() {
    const COUNT: usize = 49_999;
    // With explicit checks every access begins a block. Cranelift's register allocator, where its assertions are on, then
    // takes the square of their number: 20 s.
    const COUNT_CHECKED: usize = if cfg!(debug_assertions) { 9_999 } else { COUNT };
    let run = |tiering, signals, count: usize, wasm: &[u8]| {
        let mut config = Config::new();
        config.tiering(tiering).signals_based_traps(signals);
        config.max_wasm_stack(6 << 20).cranelift_debug_verifier(false);
        // Recursion that is inlined into itself takes less stack.
        config.compiler_inlining(Inlining::No);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<i32, ()>(&mut store, "run").unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        expect_overflow(run.call(&mut store, 370_000));
        memory.data_mut(&mut store)[0] = 1;
        run.call(&mut store, 0).unwrap();
        assert_eq!(memory.data(&store)[(count - 1) * 16], 1);
    };
    let test = move || {
        let wasm = wat::parse_str(many_locals(COUNT, true)).unwrap();
        run(Tiering::Eager, true, COUNT, &wasm);
        run(Tiering::Lazy, true, COUNT, &wasm);
        run(Tiering::Lazy, false, COUNT_CHECKED, &wat::parse_str(many_locals(COUNT_CHECKED, true)).unwrap());
        run(Tiering::Eager, true, COUNT, &wat::parse_str(many_locals(COUNT, false)).unwrap());
    };
    std::thread::Builder::new().stack_size(16 << 20).spawn(test).unwrap().join().unwrap();
}

/// Large frames: the one that does not fit may lie far behind the guard.
#[test]
fn recursion_with_frames_larger_than_a_guard_page() {
    let mut wat = String::from("(module (memory 1) (func $f (export \"run\") (param i32) (local");
    for _ in 0..1_000 {
        wat.push_str(" v128");
    }
    wat.push(')');
    for i in 0..1_000 {
        write!(wat, "(local.set {} (v128.load offset={} (local.get 0)))", i + 1, i * 16).unwrap();
    }
    wat.push_str("(call $f (local.get 0))");
    for i in 0..1_000 {
        write!(wat, "(v128.store offset={} (local.get 0) (local.get {}))", i * 16, i + 1).unwrap();
    }
    wat.push_str("))");
    in_all_modes(|engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        let run = instance.get_typed_func::<i32, ()>(&mut store, "run").unwrap();
        expect_overflow(run.call(&mut store, 0));
        expect_overflow(run.call(&mut store, 0));
    });
}

/// The first call of a function, near the limit: in lazy mode it is compiled there.
#[test]
fn first_call_near_the_limit() {
    in_all_modes(|engine| {
        let deepest = {
            let (mut store, instance) = instantiate(engine, RECURSION);
            let deep = instance.get_typed_func::<i32, i32>(&mut store, "deep").unwrap();
            let (mut low, mut high) = (0, 1 << 20);
            while high - low > 1 {
                let middle = (low + high) / 2;
                match deep.call(&mut store, middle) {
                    Ok(value) => {
                        assert_eq!(value, middle + 7);
                        low = middle;
                    }
                    Err(_) => high = middle,
                }
            }
            low
        };
        assert!(deepest > 1_000, "{deepest}");
        for depth in (deepest - 40..deepest + 5).rev() {
            let (mut store, instance) = instantiate(engine, RECURSION);
            let deep = instance.get_typed_func::<i32, i32>(&mut store, "deep").unwrap();
            expect_or_overflow(deep.call(&mut store, depth), depth + 7);
            let bottom = instance.get_typed_func::<(), i32>(&mut store, "bottom").unwrap();
            assert_eq!(bottom.call(&mut store, ()).unwrap(), 7);
        }
    });
}

const PING: &str = r#"
    (module
        (import "other" "pong" (func $pong (param i32) (result i32)))
        (func (export "ping") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0))
                (then (i32.const 0))
                (else (i32.add (i32.const 1) (call $pong (i32.sub (local.get 0) (i32.const 1))))))))"#;

const PONG: &str = r#"
    (module
        (table (export "table") 1 funcref)
        (type $t (func (param i32) (result i32)))
        (func (export "pong") (param i32) (result i32)
            (call_indirect (type $t) (local.get 0) (i32.const 0)))
        (func $endless (export "endless") (result i32)
            (i32.add (i32.const 1) (call $endless))))"#;

#[test]
fn through_two_instances() {
    in_all_modes(|engine| {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        let pong = linker.instantiate(&mut store, &Module::new(engine, PONG).unwrap()).unwrap();
        linker.instance(&mut store, "other", pong).unwrap();
        let ping = linker.instantiate(&mut store, &Module::new(engine, PING).unwrap()).unwrap();
        let ping_func = ping.get_func(&mut store, "ping").unwrap();
        let table = pong.get_table(&mut store, "table").unwrap();
        table.set(&mut store, 0, kiln::Ref::Func(Some(ping_func))).unwrap();
        let ping = ping.get_typed_func::<i32, i32>(&mut store, "ping").unwrap();
        let endless = pong.get_typed_func::<(), i32>(&mut store, "endless").unwrap();
        for _ in 0..3 {
            assert_eq!(ping.call(&mut store, 1_000).unwrap(), 1_000);
            expect_overflow(ping.call(&mut store, i32::MAX));
            // The other instance was entered last: its limit is still that of this stack.
            expect_overflow(endless.call(&mut store, ()));
        }
    });
}

#[test]
fn through_the_host() {
    in_all_modes(|engine| {
        let wat = r#"
            (module
                (import "" "again" (func $again (param i32) (result i32)))
                (func (export "run") (param i32) (result i32)
                    (if (result i32) (i32.eqz (local.get 0))
                        (then (i32.const 0))
                        (else (i32.add (i32.const 1) (call $again (i32.sub (local.get 0) (i32.const 1))))))))"#;
        let module = Module::new(engine, wat).unwrap();
        let mut store = Store::new(engine, None::<Func>);
        let again = Func::wrap(&mut store, |mut caller: Caller<'_, Option<Func>>, n: i32| -> anyhow::Result<i32> {
            let run = caller.data().expect("set below").typed::<i32, i32>(&caller)?;
            run.call(&mut caller, n)
        });
        let instance = Instance::new(&mut store, &module, &[again.into()]).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        *store.data_mut() = Some(run);
        let run = run.typed::<i32, i32>(&store).unwrap();
        for _ in 0..2 {
            assert_eq!(run.call(&mut store, 10).unwrap(), 10);
            expect_overflow(run.call(&mut store, i32::MAX));
        }
    });
}

/// The stack is what a configuration says, whatever the thread's.
#[test]
fn the_limit_is_configured() {
    let depth = |bytes: usize| {
        let mut config = Config::new();
        config.max_wasm_stack(bytes);
        let (mut store, instance) = instantiate(&Engine::new(&config).unwrap(), RECURSION);
        let deep = instance.get_typed_func::<i32, i32>(&mut store, "deep").unwrap();
        let mut depth = 1;
        while deep.call(&mut store, depth).is_ok() {
            depth *= 2;
        }
        depth
    };
    assert!(depth(1 << 20) > depth(64 << 10));
}
