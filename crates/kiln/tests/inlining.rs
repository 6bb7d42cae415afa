//! What a guest and its host can see is the same with and without inlining: results, traps, backtraces, fuel.

use anyhow::Result;
use kiln::*;

/// A frame of a backtrace: function, offset in its body.
type Frames = Vec<(u32, Option<usize>)>;

fn frames(backtrace: &WasmBacktrace) -> Frames {
    backtrace.frames().iter().map(|f| (f.func_index(), f.func_offset())).collect()
}

/// Functions with something to inline at every call: nested, recursive, tail calls, handlers, loops, branches out of
/// the function, results in several places, calls of the host in the midst, traps at known places.
const PROGRAM: &str = r#"(module $m
    (type $unary (func (param i32) (result i32)))
    (import "host" "see" (func $see (param i32)))
    (memory 1)
    (table 4 4 funcref)
    (elem (i32.const 0) $double $fib $late)
    (tag $odd (param i32))
    (func $double (param i32) (result i32) (i32.shl (local.get 0) (i32.const 1)))
    (func $load (param i32) (result i32) (i32.load (local.get 0)))
    (func $load_twice (param i32) (result i32) (i32.add (call $load (local.get 0)) (call $load (i32.const 4))))
    (func $divide (param i32 i32) (result i32)
        (if (i32.eqz (local.get 1)) (then (call $see (i32.const -1))))
        (i32.div_s (local.get 0) (local.get 1)))
    (func $fib (param i32) (result i32)
        (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (i32.const 1))
            (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 2)))
                (call $fib (i32.sub (local.get 0) (i32.const 1)))))))
    (func $early (param i32) (result i32)
        (block $out (br_if $out (i32.lt_s (local.get 0) (i32.const 3))) (return (i32.const 7)))
        (br_if 0 (i32.const 8) (i32.eqz (local.get 0))) drop
        (local.set 0 (i32.add (local.get 0) (i32.const 100)))
        (local.get 0))
    (func $zeroed (param i32) (result i32) (local i32)
        (local.set 1 (i32.add (local.get 1) (local.get 0)))
        (local.get 1))
    (func $stop (call $see (i32.const 9)) unreachable)
    (func $late (param i32) (result i32) (return_call $divide (i32.const 100) (local.get 0)))
    (func $late_throw (param i32) (result i32)
        (block $h (try_table (catch_all $h) (return_call $check (local.get 0))))
        (i32.const -5))
    (func $late_indirect (param i32) (result i32)
        (return_call_indirect (type $unary) (i32.const 1) (local.get 0)))
    (func $check (param i32) (result i32)
        (if (i32.and (local.get 0) (i32.const 1)) (then (throw $odd (local.get 0))))
        (local.get 0))
    (func $caught (param i32) (result i32)
        (block $h (result i32) (try_table (result i32) (catch $odd $h) (call $check (local.get 0)))
            (return (i32.const -2)))
        (i32.add (i32.const 1000)))
    (func $sum (param i32) (result i32) (local i32)
        (loop $l
            (local.set 1 (i32.add (local.get 1) (call $zeroed (local.get 0))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
    (func (export "load") (param i32) (result i32) (call $load_twice (local.get 0)))
    (func (export "divide") (param i32) (result i32) (call $double (call $divide (i32.const 84) (local.get 0))))
    (func (export "fib") (param i32) (result i32) (call $fib (local.get 0)))
    (func (export "early") (param i32) (result i32) (i32.add (call $early (local.get 0)) (call $early (i32.const 0))))
    (func (export "sum") (param i32) (result i32) (i32.add (call $sum (local.get 0)) (call $sum (i32.const 4))))
    (func (export "stop") (param i32) (result i32)
        (if (local.get 0) (then (call $stop)))
        (i32.const 3))
    (func (export "late") (param i32) (result i32) (i32.add (call $late (local.get 0)) (call $late (i32.const 5))))
    (func (export "late_throw") (param i32) (result i32)
        (block $h (result i32)
            (try_table (result i32) (catch $odd $h) (call $late_throw (local.get 0)))))
    (func (export "late_indirect") (param i32) (result i32) (call $late_indirect (i32.and (local.get 0) (i32.const 7))))
    (func (export "caught") (param i32) (result i32) (call $caught (local.get 0)))
    (func (export "uncaught") (param i32) (result i32) (call $check (call $double (call $check (local.get 0))))))"#;

const EXPORTS: [&str; 11] =
    ["load", "divide", "fib", "early", "sum", "stop", "late", "late_throw", "late_indirect", "caught", "uncaught"];

/// All that can be seen of one call.
#[derive(PartialEq, Debug)]
struct Seen {
    call: (&'static str, i32),
    /// Result, or the trap and its backtrace.
    result: Result<i32, (Option<Trap>, Frames)>,
    /// What the host was called with, and the frames then.
    host: Vec<(i32, Frames)>,
    fuel: Option<u64>,
}

#[derive(Default)]
struct Host(Vec<(i32, Frames)>);

fn observe(config: &Config, fuel: bool) -> Result<Vec<Seen>> {
    let engine = Engine::new(config)?;
    let module = Module::new(&engine, PROGRAM)?;
    let mut linker = Linker::<Host>::new(&engine);
    linker.func_wrap("host", "see", |mut caller: Caller<'_, Host>, n: i32| {
        let seen = frames(&WasmBacktrace::capture(&caller));
        caller.data_mut().0.push((n, seen));
    })?;
    let mut all = Vec::new();
    for name in EXPORTS {
        for arg in [0, 1, 2, 3, 9, 65_536] {
            let arg = if name == "fib" || name == "sum" { arg.clamp(1, 12) } else { arg };
            let mut store = Store::new(&engine, Host::default());
            if fuel {
                store.set_fuel(100_000)?;
            }
            let instance = linker.instantiate(&mut store, &module)?;
            let func = instance.get_typed_func::<i32, i32>(&mut store, name)?;
            let result = func.call(&mut store, arg).map_err(|error| {
                let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
                (error.downcast_ref().copied(), backtrace)
            });
            let fuel = if fuel { Some(store.get_fuel()?) } else { None };
            all.push(Seen { call: (name, arg), result, host: std::mem::take(&mut store.data_mut().0), fuel });
        }
    }
    Ok(all)
}

#[test]
fn nothing_can_be_seen_of_it() -> Result<()> {
    for fuel in [false, true] {
        let mut config = Config::new();
        config.consume_fuel(fuel);
        let expected = observe(config.compiler_inlining(Inlining::No), fuel)?;
        let traps = expected.iter().filter(|s| s.result.is_err()).count();
        assert!(traps > 8, "{traps} traps");
        for inlining in [Inlining::Yes, Inlining::Stress] {
            for signals in [true, false] {
                for tiering in [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic] {
                    config.compiler_inlining(inlining).signals_based_traps(signals).tiering(tiering);
                    for (seen, expected) in observe(&config, fuel)?.iter().zip(&expected) {
                        assert_eq!(seen, expected, "{inlining:?}, signals {signals}, {tiering:?}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn fuel_runs_out_at_the_same_place() -> Result<()> {
    let run = |inlining, fuel: u64| -> Result<_> {
        let engine = Engine::new(Config::new().consume_fuel(true).compiler_inlining(inlining))?;
        let module = Module::new(&engine, PROGRAM)?;
        let mut linker = Linker::<()>::new(&engine);
        linker.func_wrap("host", "see", |_: i32| ())?;
        let mut store = Store::new(&engine, ());
        store.set_fuel(fuel)?;
        let instance = linker.instantiate(&mut store, &module)?;
        let func = instance.get_typed_func::<i32, i32>(&mut store, "sum")?;
        let result = func.call(&mut store, 5);
        Ok(result.map_err(|e| e.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default()))
    };
    for fuel in [0, 1, 2, 3, 5, 7, 8, 10, 15, 30, 31, 32, 33, 60, 100] {
        assert_eq!(run(Inlining::No, fuel)?, run(Inlining::Stress, fuel)?, "{fuel} units");
    }
    Ok(())
}

#[test]
fn recursion_that_was_inlined_into_itself_still_ends() -> Result<()> {
    for inlining in [Inlining::No, Inlining::Yes, Inlining::Stress] {
        let engine = Engine::new(Config::new().compiler_inlining(inlining))?;
        let module = Module::new(
            &engine,
            r#"(module (func $f (export "f") (param i32) (result i32)
                (i32.add (call $f (i32.add (local.get 0) (i32.const 1))) (local.get 0))))"#,
        )?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let error = instance.get_typed_func::<i32, i32>(&mut store, "f")?.call(&mut store, 0).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow), "{inlining:?}");
        let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
        let frames = frames(backtrace);
        assert!(frames.len() > 50 && frames[0] == (0, None) && frames[1..].iter().all(|f| *f == frames[1]));
    }
    Ok(())
}
