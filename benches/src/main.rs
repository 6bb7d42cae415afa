//! Host→wasm calls, wasm→host calls and instantiation, Kiln beside another engine in one process.
//!
//! Each case is one closure per engine made by the same source text (the API names are the same), run in alternating
//! rounds; printed are medians over the rounds and the ratio. `--json` prints an object a program can read,
//! `--rounds N` sets the number of rounds (default 31).

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What each round of a case does `iterations` times.
type Case = Box<dyn FnMut(u64)>;

const MODULE: &str = r#"
(module
  (import "host" "nop" (func $nop))
  (import "host" "add" (func $add (param i32 i64) (result i64)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "some initial data that an image can hold")
  (table 64 funcref)
  (elem (i32.const 0) $id $call_nop $call_add)
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
    local.get 1))
"#;

macro_rules! engine_cases {
    ($module:ident, $engine:ident) => {
        mod $module {
            use super::*;
            use $engine::{Engine, InstancePre, Linker, Module, Store};

            fn pre(engine: &Engine) -> InstancePre<()> {
                let module = Module::new(engine, MODULE).expect("the module is valid");
                let mut linker: Linker<()> = Linker::new(engine);
                linker.func_wrap("host", "nop", || {}).expect("a fresh name");
                linker.func_wrap("host", "add", |a: i32, b: i64| b.wrapping_add(a.into())).expect("a fresh name");
                linker.instantiate_pre(&module).expect("all imports are there")
            }

            pub(super) fn cases() -> Vec<Case> {
                let engine = Engine::default();
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
                ]
            }
        }
    };
}

engine_cases!(ours, kiln);
engine_cases!(theirs, wasmtime);

const NAMES: [(&str, u64); 6] = [
    ("host→wasm typed, () -> ()", 200_000),
    ("host→wasm typed, i32 -> i32", 200_000),
    ("host→wasm typed, 6 parameters", 200_000),
    ("wasm→host typed, () -> ()", 1_000_000),
    ("wasm→host typed, (i32, i64) -> i64", 1_000_000),
    ("store + instance, memory with data, table", 500),
];

fn time(case: &mut Case, iterations: u64) -> Duration {
    let start = Instant::now();
    case(iterations);
    start.elapsed()
}

fn median(mut times: Vec<Duration>, iterations: u64) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64 / iterations as f64
}

fn options() -> Result<(bool, usize)> {
    let (mut json, mut rounds) = (false, 31);
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
        rows.push((name, median(ta, iterations), median(tb, iterations)));
    }
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, a, b)| serde_json::json!({"case": name, "kiln_ns": a, "wasmtime_ns": b, "ratio": a / b}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!("{:<44} {:>11} {:>11} {:>6}", "median ns per operation", "kiln", "wasmtime", "ratio");
    for (name, a, b) in rows {
        println!("{name:<44} {a:>11.1} {b:>11.1} {:>6.2}", a / b);
    }
    Ok(())
}
