//! Host→wasm calls, wasm→host calls, instantiation and exceptions, Kiln beside another engine in one process.
//!
//! Each case is one closure per engine made by the same source text (the API names are the same), run in alternating
//! rounds; printed are the fastest rounds and the ratio: whatever else runs on the machine only makes rounds slower. `--json` prints an object a program can read,
//! `--rounds N` sets the number of rounds (default 201).

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What each round of a case does `iterations` times.
type Case = Box<dyn FnMut(u64)>;

const MODULE: &str = r#"
(module
  (import "host" "nop" (func $nop))
  (import "host" "add" (func $add (param i32 i64) (result i64)))
  (import "host" "through" (func $through))
  (memory (export "memory") 2)
  (data (i32.const 1024) "some initial data that an image can hold")
  (table 64 funcref)
  (elem (i32.const 0) $id $call_nop $call_add $deep)
  (type $deep (func (param i32)))
  (tag $e (param i32))
  (global $g (mut i32) (i32.const 7))
  (func $id (export "id") (param i32) (result i32) local.get 0)
  (func (export "nop"))
  (func (export "six") (param i32 i64 f32 f64 i32 i64) (result i64)
    local.get 1 local.get 5 i64.add)
  (func $call_nop (export "call_nop") (param i32)
    loop
      call $nop
      local.get 0 i32.const 1 i32.sub local.tee 0
      br_if 0
    end)
  (func $call_add (export "call_add") (param i32) (result i64) (local i64)
    loop
      (local.set 1 (call $add (local.get 0) (local.get 1)))
      local.get 0 i32.const 1 i32.sub local.tee 0
      br_if 0
    end
    local.get 1)
  ;; Throws behind as many further frames. Called through the table, so that nobody inlines it.
  (func $deep (type $deep)
    (if (i32.eqz (local.get 0)) (then (throw $e (i32.const 7))))
    (call_indirect (type $deep) (i32.sub (local.get 0) (i32.const 1)) (i32.const 3)))
  (func (export "throw") (call_indirect (type $deep) (i32.const 0) (i32.const 3)))
  (func $catch (export "catch") (param $n i32) (param $frames i32) (result i32) (local $sum i32)
    loop
      block $h (result i32)
        (try_table (catch $e $h) (call_indirect (type $deep) (local.get $frames) (i32.const 3)))
        unreachable
      end
      local.get $sum i32.add local.set $sum
      local.get $n i32.const 1 i32.sub local.tee $n
      br_if 0
    end
    local.get $sum)
  (func (export "catch_1") (param i32) (result i32) (call $catch (local.get 0) (i32.const 0)))
  (func (export "catch_10") (param i32) (result i32) (call $catch (local.get 0) (i32.const 9)))
  (func (export "catch_host") (param $n i32) (result i32) (local $sum i32)
    loop
      block $h (result i32)
        (try_table (catch $e $h) (call $through))
        unreachable
      end
      local.get $sum i32.add local.set $sum
      local.get $n i32.const 1 i32.sub local.tee $n
      br_if 0
    end
    local.get $sum))
"#;

macro_rules! engine_cases {
    ($module:ident, $engine:ident, $error:ty, $configure:expr) => {
        mod $module {
            use super::*;
            type Error = $error;
            use $engine::{Caller, Config, Engine, InstancePre, Linker, Module, Store};

            /// Calls `throw` and lets pass what comes.
            fn through(mut caller: Caller<'_, ()>) -> std::result::Result<(), Error> {
                let throw = caller.get_export("throw").and_then(|e| e.into_func()).expect("exported");
                throw.typed::<(), ()>(&caller)?.call(&mut caller, ())
            }

            fn pre(engine: &Engine) -> InstancePre<()> {
                let module = Module::new(engine, MODULE).expect("the module is valid");
                let mut linker: Linker<()> = Linker::new(engine);
                linker.func_wrap("host", "nop", || {}).expect("a fresh name");
                linker.func_wrap("host", "add", |a: i32, b: i64| b.wrapping_add(a.into())).expect("a fresh name");
                linker.func_wrap("host", "through", through).expect("a fresh name");
                linker.instantiate_pre(&module).expect("all imports are there")
            }

            pub(super) fn cases() -> Vec<Case> {
                let engine = {
                    let mut config = Config::new();
                    let configure: fn(&mut Config) = $configure;
                    configure(&mut config);
                    Engine::new(&config).expect("a good configuration")
                };
                let pre = pre(&engine);
                macro_rules! call {
                    ($name:literal, $params:ty, $results:ty, $args:expr) => {{
                        let mut store = Store::new(&engine, ());
                        let instance = pre.instantiate(&mut store).expect("instantiates");
                        let func = instance.get_typed_func::<$params, $results>(&mut store, $name).expect("exported");
                        Box::new(move |n: u64| {
                            for _ in 0..n {
                                black_box(func.call(&mut store, black_box($args)).expect("does not trap"));
                            }
                        }) as Case
                    }};
                    (loop $name:literal, $results:ty) => {{
                        let mut store = Store::new(&engine, ());
                        let instance = pre.instantiate(&mut store).expect("instantiates");
                        let func = instance.get_typed_func::<i32, $results>(&mut store, $name).expect("exported");
                        Box::new(move |n: u64| {
                            black_box(func.call(&mut store, n as i32).expect("does not trap"));
                        }) as Case
                    }};
                }
                let instantiate = {
                    let (engine, pre) = (engine.clone(), pre.clone());
                    Box::new(move |n: u64| {
                        for _ in 0..n {
                            let mut store = Store::new(&engine, ());
                            black_box(pre.instantiate(&mut store).expect("instantiates"));
                        }
                    }) as Case
                };
                vec![
                    call!("nop", (), (), ()),
                    call!("id", i32, i32, 5),
                    call!("six", (i32, i64, f32, f64, i32, i64), i64, (1, 2, 3.0, 4.0, 5, 6)),
                    call!(loop "call_nop", ()),
                    call!(loop "call_add", i64),
                    instantiate,
                    call!(loop "catch_1", i32),
                    call!(loop "catch_10", i32),
                    call!(loop "catch_host", i32),
                ]
            }
        }
    };
}

engine_cases!(ours, kiln, anyhow::Error, |_| {});
engine_cases!(theirs, wasmtime, wasmtime::Error, |config| {
    config.wasm_exceptions(true);
});

const NAMES: [(&str, u64); 9] = [
    ("host→wasm typed, () -> ()", 20_000),
    ("host→wasm typed, i32 -> i32", 20_000),
    ("host→wasm typed, 6 parameters", 20_000),
    ("wasm→host typed, () -> ()", 40_000),
    ("wasm→host typed, (i32, i64) -> i64", 40_000),
    ("store + instance, memory with data, table", 50),
    ("throw, caught 1 frame up", 1_000),
    ("throw, caught 10 frames up", 500),
    ("throw, caught behind a host function", 200),
];

fn time(case: &mut Case, iterations: u64) -> Duration {
    let start = Instant::now();
    case(iterations);
    start.elapsed()
}

fn fastest(times: &[Duration], iterations: u64) -> f64 {
    times.iter().min().map_or(0.0, |t| t.as_nanos() as f64 / iterations as f64)
}

fn options() -> Result<(bool, usize)> {
    let (mut json, mut rounds) = (false, 201);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = true,
            "--rounds" => rounds = args.next().as_deref().unwrap_or("").parse::<usize>()?.max(1),
            "--bench" => {}
            other => bail!("unknown argument {other}; known: --json, --rounds N"),
        }
    }
    Ok((json, rounds))
}

fn main() -> Result<()> {
    let (json, rounds) = options()?;
    let (ours, theirs) = (ours::cases(), theirs::cases());
    let mut rows = Vec::new();
    for (((name, iterations), mut a), mut b) in NAMES.into_iter().zip(ours).zip(theirs) {
        let (mut ta, mut tb) = (Vec::new(), Vec::new());
        time(&mut a, iterations);
        time(&mut b, iterations);
        for _ in 0..rounds {
            ta.push(time(&mut a, iterations));
            tb.push(time(&mut b, iterations));
        }
        rows.push((name, fastest(&ta, iterations), fastest(&tb, iterations)));
    }
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, a, b)| serde_json::json!({"case": name, "kiln_ns": a, "wasmtime_ns": b, "ratio": a / b}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!("{:<44} {:>11} {:>11} {:>6}", "ns per operation", "kiln", "wasmtime", "ratio");
    for (name, a, b) in rows {
        println!("{name:<44} {a:>11.1} {b:>11.1} {:>6.2}", a / b);
    }
    Ok(())
}
