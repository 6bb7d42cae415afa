//! Traps, threads, stacks and processes: what compiled code does to the machine under it, in every mode.
//!
//! Runs without the test harness: some of it must run on the process's first thread, and in processes that fork.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use kiln::*;

/// A test by name.
type Test = (&'static str, fn() -> Result<()>);

const TESTS: &[Test] = &[
    ("traps_of_every_kind_on_every_thread", traps_of_every_kind_on_every_thread),
    ("stacks_overflow_into_traps_only", stacks_overflow_into_traps_only),
    ("frames_that_would_end_in_the_signal_stack", frames_that_would_end_in_the_signal_stack),
    ("large_frames_without_signals", large_frames_without_signals),
    ("threads_race_for_lazy_functions", threads_race_for_lazy_functions),
    ("no_page_is_writable_and_executable", no_page_is_writable_and_executable),
    ("wasm_in_wasm_in_wasm", wasm_in_wasm_in_wasm),
    ("a_fork_runs_what_is_compiled", a_fork_runs_what_is_compiled),
    ("a_fork_leaves_functions_in_their_tier", a_fork_leaves_functions_in_their_tier),
    ("many_functions_start_fast_when_lazy", many_functions_start_fast_when_lazy),
    ("code_goes_away_with_its_module", code_goes_away_with_its_module),
    ("debuggers_see_wasm_frames", debuggers_see_wasm_frames),
    ("profilers_name_wasm_functions", profilers_name_wasm_functions),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return Ok(());
    }
    if arguments.iter().any(|a| a == "under-debugger") {
        return stop_in_host_function();
    }
    if arguments.iter().any(|a| a == "without-signals") {
        return overflow_without_signals();
    }
    if let Some(at) = arguments.iter().position(|a| a == "under-profiler") {
        return spin(&arguments[at + 1], &arguments[at + 2]);
    }
    if arguments.iter().any(|a| a == "figures") {
        return figures();
    }
    let exact = arguments.iter().any(|a| a == "--exact");
    let filters: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    for (name, test) in TESTS {
        let wanted = |f: &&String| if exact { *f == name } else { name.contains(f.as_str()) };
        if filters.is_empty() || filters.iter().any(wanted) {
            let begin = Instant::now();
            test()?;
            println!("test {name} ... ok ({:.1?})", begin.elapsed());
        }
    }
    Ok(())
}

/// Every way to compile: eager and lazy, traps by signals and by explicit checks.
fn engines() -> Vec<Engine> {
    let mut engines = Vec::new();
    for tiering in [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic] {
        for signals in [true, false] {
            engines.push(Engine::new(Config::new().tiering(tiering).signals_based_traps(signals)).unwrap());
        }
    }
    engines
}

const TRAPS: &str = r#"(module
    (memory 1)
    (table 3 funcref)
    (elem (i32.const 1) $wide)
    (type $narrow (func (result i32)))
    (func $wide (param i64 i64))
    (func (export "unreachable") (result i32) unreachable)
    (func (export "divide") (result i32) (i32.div_s (i32.const 1) (i32.load (i32.const 0))))
    (func (export "overflow") (result i32) (i32.div_s (i32.const 0x80000000) (i32.sub (i32.load (i32.const 0)) (i32.const 1))))
    (func (export "remainder") (result i64) (i64.rem_u (i64.const 1) (i64.load (i32.const 0))))
    (func (export "convert") (result i32) (i32.trunc_f64_s (f64.sqrt (f64.sub (f64.convert_i32_s (i32.load (i32.const 0))) (f64.const 1)))))
    (func (export "load") (result i32) (i32.load offset=0xffff_fff0 (i32.const -1)))
    (func (export "store") (result i32) (i32.store (i32.const 65533) (i32.const 1)) (i32.const 1))
    (func (export "fill") (result i32) (memory.fill (i32.const 1) (i32.const 1) (i32.const 65536)) (i32.const 1))
    (func (export "null") (result i32) (call_indirect (type $narrow) (i32.const 0)))
    (func (export "outside") (result i32) (call_indirect (type $narrow) (i32.const 3)))
    (func (export "type") (result i32) (call_indirect (type $narrow) (i32.const 1)))
    (func $down (param i32) (result i32) (i32.add (i32.const 1) (call $down (i32.add (local.get 0) (i32.const 1)))))
    (func (export "recurse") (result i32) (call $down (i32.const 0)))
    (func (export "fine") (result i32) (i32.const 42)))"#;

const KINDS: &[(&str, Trap)] = &[
    ("unreachable", Trap::UnreachableCodeReached),
    ("divide", Trap::IntegerDivisionByZero),
    ("overflow", Trap::IntegerOverflow),
    ("remainder", Trap::IntegerDivisionByZero),
    ("convert", Trap::BadConversionToInteger),
    ("load", Trap::MemoryOutOfBounds),
    ("store", Trap::MemoryOutOfBounds),
    ("fill", Trap::MemoryOutOfBounds),
    ("null", Trap::IndirectCallToNull),
    ("outside", Trap::UndefinedElement),
    ("type", Trap::BadSignature),
    ("recurse", Trap::StackOverflow),
];

fn trap_all(engine: &Engine, module: &Module) -> Result<()> {
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[])?;
    for _ in 0..2 {
        for (name, expected) in KINDS {
            let func = instance.get_func(&mut store, name).unwrap();
            let error = func.call(&mut store, &[], &mut [Val::I32(0)]).unwrap_err();
            let trap = error.downcast_ref::<Trap>();
            assert_eq!(trap, Some(expected), "{name}: {error:?}");
            let trace = error.downcast_ref::<WasmBacktrace>().unwrap();
            assert!(!trace.frames().is_empty(), "{name}");
            let fine = instance.get_typed_func::<(), i32>(&mut store, "fine")?;
            assert_eq!(fine.call(&mut store, ())?, 42);
        }
    }
    Ok(())
}

fn traps_of_every_kind_on_every_thread() -> Result<()> {
    for engine in engines() {
        let module = Module::new(&engine, TRAPS)?;
        trap_all(&engine, &module)?;
        let threads: Vec<_> = [256 << 10, 2 << 20, 16 << 20]
            .into_iter()
            .map(|size| {
                let (engine, module) = (engine.clone(), module.clone());
                std::thread::Builder::new().stack_size(size).spawn(move || trap_all(&engine, &module)).unwrap()
            })
            .collect();
        for thread in threads {
            thread.join().unwrap()?;
        }
    }
    Ok(())
}

/// Frames of all sizes, host functions that need stack, calls from host functions: nothing but the trap.
fn stacks_overflow_into_traps_only() -> Result<()> {
    let mut text = String::from(r#"(module (import "" "host" (func $host (param i32)))"#);
    for locals in [0, 1, 100, 2_000, 40_000] {
        write!(text, r#"(func $f{locals} (export "f{locals}") (param i32) (local v128) "#)?;
        // Locals that are all alive across the call.
        let used = locals.min(300);
        for _ in 0..locals {
            text.push_str("(local i64)");
        }
        for i in 0..used {
            write!(text, "(local.set {} (i64.extend_i32_u (i32.mul (local.get 0) (i32.const {i}))))", i + 2)?;
        }
        write!(text, "(call $host (local.get 0)) (call $f{locals} (i32.add (local.get 0) (i32.const 1)))")?;
        for i in 0..used {
            write!(text, "(drop (i64.div_u (i64.const 1) (local.get {})))", i + 2)?;
        }
        text.push(')');
    }
    text.push(')');
    for engine in engines() {
        let module = Module::new(&engine, &text)?;
        for size in [192 << 10, 512 << 10, 8 << 20] {
            let (engine, module) = (engine.clone(), module.clone());
            let test = move || -> Result<()> {
                let mut store = Store::new(&engine, 0_u32);
                let mut linker = Linker::new(&engine);
                linker.func_wrap("", "host", |mut caller: Caller<'_, u32>, depth: i32| {
                    // As much as a host function can be expected to need.
                    let buffer = std::hint::black_box([depth as u8; 16 << 10]);
                    std::hint::black_box(buffer[77]);
                    *caller.data_mut() = depth as u32;
                })?;
                let instance = linker.instantiate(&mut store, &module)?;
                for locals in [0, 1, 100, 2_000, 40_000] {
                    let func = instance.get_typed_func::<i32, ()>(&mut store, &format!("f{locals}"))?;
                    let error = func.call(&mut store, 0).unwrap_err();
                    assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::StackOverflow), "{error:?}");
                }
                Ok(())
            };
            std::thread::Builder::new().stack_size(size).spawn(test)?.join().unwrap()?;
        }
    }
    Ok(())
}

/// A frame for which there is no room may reach to wherever other things are mapped, such as the thread's signal stack.
/// A system that finds the stack pointer in there believes that a handler runs already, and begins where it points to.
fn frames_that_would_end_in_the_signal_stack() -> Result<()> {
    const LOCALS: usize = 40_000;
    const SIGNAL_STACK: usize = 64 << 10;
    let text = format!(
        r#"(module (func $nothing) (func (export "f") (result i64) {} (call $nothing) (local.get {})))"#,
        "(local i64)".repeat(LOCALS),
        LOCALS - 1
    );
    for tiering in [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic] {
        let engine = Engine::new(Config::new().tiering(tiering).max_wasm_stack(LOCALS * 8 - SIGNAL_STACK))?;
        let module = Module::new(&engine, &text)?;
        let test = move || -> Result<()> {
            let here = 0_u8;
            let end = &raw const here as usize - LOCALS * 8;
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[])?;
            let func = instance.get_typed_func::<(), i64>(&mut store, "f")?;
            let mut before = None;
            // One of them begins just below where the frame would end.
            for below in (0..32 << 10).step_by(1 << 10) {
                let stack = libc::stack_t { ss_sp: (end - below) as *mut _, ss_flags: 0, ss_size: SIGNAL_STACK };
                before.get_or_insert(set_signal_stack(&stack));
                // Optimised code needs no frame for it.
                match func.call(&mut store, ()) {
                    Ok(value) => {
                        assert!(value == 0 && (tiering != Tiering::Dynamic || cfg!(not(target_arch = "x86_64"))))
                    }
                    Err(error) => assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow), "{error:?}"),
                }
            }
            before.iter().for_each(|before| _ = set_signal_stack(before));
            Ok(())
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(test)?.join().unwrap()?;
    }
    Ok(())
}

/// Gives the thread another signal stack, and returns what it had.
fn set_signal_stack(new: &libc::stack_t) -> libc::stack_t {
    let mut old = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: the new one is part of the thread's own stack, which reaches down to it only where a test failed.
    assert_eq!(unsafe { libc::sigaltstack(new, &mut old) }, 0);
    old
}

/// A module of `count` functions, each of which calls some later ones.
fn graph(count: u32) -> String {
    let mut text = String::from("(module ");
    for i in 0..count {
        write!(text, "(func $f{i} (export \"f{i}\") (param i64 f64) (result i64)").unwrap();
        write!(text, "(local.set 0 (i64.add (local.get 0) (i64.const {i})))").unwrap();
        if i + 7 < count {
            let (a, b) = (i + 7, i + 1 + i % 6);
            write!(
                text,
                "(if (i64.eqz (i64.and (local.get 0) (i64.const 1))) (then (return (call $f{a} (local.get 0) (local.get 1)))))"
            )
            .unwrap();
            write!(text, "(return (call $f{b} (local.get 0) (f64.add (local.get 1) (f64.const 0.5))))").unwrap();
        } else {
            write!(text, "(i64.add (local.get 0) (i64.trunc_f64_s (local.get 1)))").unwrap();
        }
        text.push(')');
    }
    text.push(')');
    text
}

/// In a process in which nobody handles signals, neither a trap instruction nor a touch of a guard page is survived.
fn large_frames_without_signals() -> Result<()> {
    let status = Command::new(std::env::current_exe()?).arg("without-signals").status()?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// Functions with frames of up to twice what is free below the limit: with calls and without, called by wasm and by the
/// host, and one of a host function's trampoline.
fn overflow_without_signals() -> Result<()> {
    const FRAMES: [usize; 3] = [500, 1_500, 6_000];
    let mut text = String::from(r#"(module (import "" "many" (func $many (param"#);
    text.push_str(&" v128".repeat(1_000));
    text.push_str(r#"))) (memory (export "memory") 8) (func $nothing)"#);
    let down = |text: &mut String, name: &str, call: &str| {
        write!(
            text,
            r#"(func $r_{name} (export "r_{name}") (param i32)
                   (if (local.get 0) (then (call $r_{name} (i32.sub (local.get 0) (i32.const 1)))) (else {call})))"#
        )
    };
    for count in FRAMES {
        for (kind, call) in [("leaf", ""), ("calls", "(call $nothing)")] {
            write!(text, r#"(func ${kind}{count} (export "{kind}{count}") (param i32) (local"#)?;
            text.push_str(&" v128".repeat(count));
            text.push(')');
            for i in 0..count {
                write!(text, "(local.set {} (v128.load offset={} (local.get 0)))", i + 1, i * 16)?;
            }
            text.push_str(call);
            for i in 0..count {
                write!(text, "(v128.store offset={} (local.get 0) (local.get {}))", (count - 1 - i) * 16, i + 1)?;
            }
            text.push(')');
            down(&mut text, &format!("{kind}{count}"), &format!("(call ${kind}{count} (i32.const 0))"))?;
        }
    }
    let zeros = "(v128.const i64x2 0 0)".repeat(1_000);
    down(&mut text, "host", &format!("(call $many {zeros})"))?;
    text.push(')');

    for tiering in [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic] {
        let mut config = Config::new();
        config.tiering(tiering).signals_based_traps(false).cranelift_opt_level(OptLevel::None);
        config.cranelift_debug_verifier(false);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, &text)?;
        let test = move || -> Result<()> {
            let mut store = Store::new(&engine, ());
            let ty = FuncType::new(&engine, vec![ValType::V128; 1_000], []);
            let many = Func::new(&mut store, ty, |_, _, _| Ok(()));
            let instance = Instance::new(&mut store, &module, &[many.into()])?;
            let names =
                FRAMES.iter().flat_map(|n| [format!("leaf{n}"), format!("calls{n}")]).chain(["host".to_owned()]);
            for name in names {
                // Whatever is left of the stack when it is called: the right result, or an overflow.
                let r = instance.get_typed_func::<i32, ()>(&mut store, &format!("r_{name}"))?;
                let (mut good, mut bad) = (0, 0);
                let mut depth = 0;
                while bad < 20 {
                    match r.call(&mut store, depth) {
                        Ok(()) => good += 1,
                        Err(error) => {
                            assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::StackOverflow), "{name}: {error:?}");
                            bad += 1;
                        }
                    }
                    depth += 61;
                }
                assert!(good > 0, "{name}: {good} {bad}");
            }
            Ok(())
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(test)?.join().unwrap()?;
    }
    Ok(())
}

fn threads_race_for_lazy_functions() -> Result<()> {
    let text = graph(300);
    let run = |module: &Module, order: u32| -> Result<Vec<i64>> {
        let mut store = Store::new(module.engine(), ());
        let instance = Instance::new(&mut store, module, &[])?;
        let mut results = vec![0; 300];
        for i in 0..300_u32 {
            let i = (i * 7 + order * 41) % 300;
            let func = instance.get_typed_func::<(i64, f64), i64>(&mut store, &format!("f{i}"))?;
            results[i as usize] = func.call(&mut store, (i64::from(i) * 13, 1.5))?;
        }
        Ok(results)
    };
    let eager = Engine::new(Config::new().tiering(Tiering::Eager))?;
    let expected = Arc::new(run(&Module::new(&eager, &text)?, 0)?);
    let lazy = Engine::new(Config::new().tiering(Tiering::Lazy))?;
    let module = Module::new(&lazy, &text)?;
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|t| {
            let (module, barrier, expected) = (module.clone(), barrier.clone(), expected.clone());
            std::thread::spawn(move || {
                barrier.wait();
                for round in 0..3 {
                    assert_eq!(run(&module, t + round).unwrap(), *expected);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    Ok(())
}

fn no_page_is_writable_and_executable() -> Result<()> {
    for engine in engines() {
        let module = Module::new(&engine, TRAPS)?;
        trap_all(&engine, &module)?;
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        for line in maps.lines() {
            let access = line.split(' ').nth(1).unwrap();
            assert!(!(access.contains('w') && access.contains('x')), "{line}");
        }
    }
    Ok(())
}

/// Host functions that enter other stores and their own, with traps that pass through all of it.
fn wasm_in_wasm_in_wasm() -> Result<()> {
    const MODULE: &str = r#"(module
        (import "" "down" (func $down (param i32) (result i32)))
        (func (export "go") (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (return (i32.div_u (i32.const 1) (local.get 0)))))
            (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1))))))"#;
    for engine in engines() {
        let module = Module::new(&engine, MODULE)?;
        let mut linker = Linker::new(&engine);
        let again = module.clone();
        linker.func_wrap(
            "",
            "down",
            move |mut caller: Caller<'_, Option<Linker<Option<()>>>>, n: i32| -> Result<i32> {
                let go = caller.get_export("go").and_then(Extern::into_func).unwrap().typed::<i32, i32>(&caller)?;
                if n % 3 == 1 {
                    // A store of its own, whose trap stays there.
                    let mut store = Store::new(caller.engine(), None);
                    let mut linker = Linker::<Option<Linker<Option<()>>>>::new(caller.engine());
                    linker.func_wrap("", "down", |n: i32| n)?;
                    let instance = linker.instantiate(&mut store, &again)?;
                    let inner = instance.get_typed_func::<i32, i32>(&mut store, "go")?;
                    assert_eq!(inner.call(&mut store, 5)?, 5);
                    let error = inner.call(&mut store, 0).unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero));
                }
                go.call(&mut caller, n)
            },
        )?;
        let mut store = Store::new(&engine, None);
        let instance = linker.instantiate(&mut store, &module)?;
        let go = instance.get_typed_func::<i32, i32>(&mut store, "go")?;
        for _ in 0..2 {
            let error = go.call(&mut store, 10).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero));
            assert_eq!(error.downcast_ref::<WasmBacktrace>().unwrap().frames().len(), 11);
        }
        // Without end: every level takes a bit of the host's stack too.
        let error = go.call(&mut store, i32::MAX).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow), "{error:?}");
    }
    Ok(())
}

fn a_fork_runs_what_is_compiled() -> Result<()> {
    let lazy = Engine::new(Config::new().tiering(Tiering::Lazy))?;
    let eager = Engine::new(Config::new().tiering(Tiering::Eager))?;
    let text =
        r#"(module (func (export "old") (result i32) (i32.const 1)) (func (export "new") (result i32) (i32.const 2)))"#;
    let open = |engine: &Engine| -> Result<_> {
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &Module::new(engine, text)?, &[])?;
        let old = instance.get_typed_func::<(), i32>(&mut store, "old")?;
        let new = instance.get_typed_func::<(), i32>(&mut store, "new")?;
        assert_eq!(old.call(&mut store, ())?, 1);
        Ok((store, old, new))
    };
    let (mut store, old, new) = open(&lazy)?;
    let (mut eager_store, _, eager_new) = open(&eager)?;
    let trapping = Module::new(&eager, TRAPS)?;
    // SAFETY: the child runs what follows and leaves without destructors. No other thread is at work that could hold a
    // lock; the compiler's threads do not exist in the child, so that it compiles with an engine of its own.
    match unsafe { libc::fork() } {
        0 => {
            let fine = (|| -> Result<bool> {
                let refused = new.call(&mut store, ()).unwrap_err();
                let traps = trap_all(&eager, &trapping).is_ok();
                Ok(old.call(&mut store, ())? == 1
                    && eager_new.call(&mut eager_store, ())? == 2
                    && format!("{refused:?}").contains("is a fork of process")
                    && open(&Engine::new(Config::new().tiering(Tiering::Lazy))?).is_ok()
                    && traps)
            })();
            if !matches!(fine, Ok(true)) {
                eprintln!("in the fork: {fine:?}");
            }
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!matches!(fine, Ok(true)))) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
    assert_eq!(new.call(&mut store, ())?, 2);
    Ok(())
}

/// A function becomes hot in a fork, which shares the memory for code with its parent. That has more code there meanwhile.
fn a_fork_leaves_functions_in_their_tier() -> Result<()> {
    let engine = Engine::new(Config::new().tiering(Tiering::Dynamic))?;
    let text = r#"(module
        (func (export "old") (result i32) (i32.const 1))
        (func (export "new") (result i32) (i32.const 2))
        (func (export "loop") (param i32) (result i32)
            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (i32.const 3)))"#;
    let module = Module::new(&engine, text)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let old = instance.get_typed_func::<(), i32>(&mut store, "old")?;
    let new = instance.get_typed_func::<(), i32>(&mut store, "new")?;
    let looping = instance.get_typed_func::<i32, i32>(&mut store, "loop")?;
    assert_eq!((old.call(&mut store, ())?, looping.call(&mut store, 5)?), (1, 3));
    let (mut done, mut go_on) = std::io::pipe()?;
    // SAFETY: the child runs what follows and leaves without destructors. No other thread is at this module.
    match unsafe { libc::fork() } {
        0 => {
            let fine = (|| -> Result<bool> {
                std::io::Read::read_exact(&mut done, &mut [0])?;
                let mut fine = true;
                for _ in 0..2_000 {
                    fine &= old.call(&mut store, ())? == 1;
                }
                fine &= looping.call(&mut store, 100_000)? == 3;
                fine &= engine.settle(Instant::now() + Duration::from_secs(60));
                let tiers = module.compile_statistics().tiers.unwrap();
                Ok(fine && tiers.optimized_functions + tiers.osr_functions == 0)
            })();
            if !matches!(fine, Ok(true)) {
                eprintln!("in the fork: {fine:?}");
            }
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!matches!(fine, Ok(true)))) }
        }
        child => {
            assert_eq!(new.call(&mut store, ())?, 2);
            std::io::Write::write_all(&mut go_on, &[0])?;
            let mut status = 0;
            // SAFETY: waits for the child.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(new.call(&mut store, ())?, 2, "the fork has put other code in its place");
            assert_eq!(status, 0);
        }
    }
    Ok(())
}

fn many_functions_start_fast_when_lazy() -> Result<()> {
    let count = 100_000;
    let mut text = String::from("(module");
    for i in 0..count {
        write!(text, "(func (result i32) (i32.const {i}))")?;
    }
    write!(text, "(export \"first\" (func 0)) (export \"last\" (func {})))", count - 1)?;
    let bytes = wat::parse_str(&text)?;
    let engine = Engine::new(Config::new().tiering(Tiering::Lazy))?;
    let begin = Instant::now();
    let module = Module::new(&engine, &bytes)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let last = instance.get_typed_func::<(), i32>(&mut store, "last")?;
    assert_eq!(last.call(&mut store, ())?, count - 1);
    let took = begin.elapsed();
    // On a busy machine and without optimisation of our own code; compiling them all takes far longer.
    assert!(took < Duration::from_secs(5), "{took:?}");
    Ok(())
}

fn code_goes_away_with_its_module() -> Result<()> {
    let mappings = || std::fs::read_to_string("/proc/self/maps").map(|m| m.lines().count());
    for engine in engines() {
        let once = || -> Result<()> {
            let module = Module::new(&engine, TRAPS)?;
            trap_all(&engine, &module)
        };
        once()?;
        let before = mappings()?;
        for _ in 0..20 {
            once()?;
        }
        let after = mappings()?;
        assert!(after < before + 10, "{before} mappings became {after}");
    }
    let engine = Engine::new(Config::new().tiering(Tiering::Lazy))?;
    let codes: Arc<Mutex<HashSet<String>>> = Arc::default();
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let (engine, codes) = (engine.clone(), codes.clone());
            std::thread::spawn(move || {
                for i in 0..10 {
                    let module = Module::new(&engine, TRAPS).unwrap();
                    trap_all(&engine, &module).unwrap();
                    codes.lock().unwrap().insert(format!("{t} {i}"));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(codes.lock().unwrap().len(), 40);
    Ok(())
}

fn stop_in_host_function() -> Result<()> {
    for tiering in [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic] {
        // For a debugger, a function and what is inlined into it are one frame.
        let mut config = Config::new();
        config.tiering(tiering).debug_info(true).compiler_inlining(Inlining::No);
        let engine = Engine::new(&config)?;
        let module = Module::new(
            &engine,
            r#"(module (import "" "stop" (func $stop)) (func $inner (call $stop)) (func $outer (export "outer") (call $inner)))"#,
        )?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "stop", || {
            // SAFETY: the debugger takes it from here.
            unsafe { libc::raise(libc::SIGTRAP) };
        })?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        instance.get_typed_func::<(), ()>(&mut store, "outer")?.call(&mut store, ())?;
    }
    Ok(())
}

fn debuggers_see_wasm_frames() -> Result<()> {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: there is no gdb");
        return Ok(());
    }
    let output = Command::new("gdb")
        .args([
            "-nx",
            "-q",
            "-batch",
            "-ex",
            "set debuginfod enabled off",
            "-ex",
            "run",
            "-ex",
            "bt",
            "-ex",
            "continue",
        ])
        .args(["-ex", "bt", "--args"])
        .arg(std::env::current_exe()?)
        .arg("under-debugger")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("ptrace: Operation not permitted") {
        println!("skipped: gdb may not trace here");
        return Ok(());
    }
    let mut rest = &*text;
    for name in ["inner", "outer", "stop_in_host_function", "inner", "outer", "stop_in_host_function", "main"] {
        let at = rest.find(name);
        let at = at.unwrap_or_else(|| panic!("no {name} in {text} {}", String::from_utf8_lossy(&output.stderr)));
        rest = &rest[at + name.len()..];
    }
    Ok(())
}

/// Runs a named function for a while.
fn spin(strategy: &str, tiering: &str) -> Result<()> {
    let strategy = if strategy == "map" { ProfilingStrategy::PerfMap } else { ProfilingStrategy::JitDump };
    let tiering = if tiering == "eager" { Tiering::Eager } else { Tiering::Lazy };
    let mut config = Config::new();
    // The function is to stay one of its own.
    config.tiering(tiering).profiler(strategy).compiler_inlining(Inlining::No);
    let engine = Engine::new(&config)?;
    let module = Module::new(
        &engine,
        r#"(module (func $whirl (param i32) (result i32)
                (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 0))
            (func (export "go") (param i32) (result i32) (call $whirl (local.get 0))))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let go = instance.get_typed_func::<i32, i32>(&mut store, "go")?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        go.call(&mut store, 1_000_000)?;
    }
    println!("process {}", std::process::id());
    Ok(())
}

fn profilers_name_wasm_functions() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("kiln-perf-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let perf = |arguments: &[&str]| Command::new("perf").args(arguments).current_dir(&folder).output();
    let usable = perf(&["record", "-q", "-e", "cpu-clock", "-o", "try.data", "true"]);
    if !usable.is_ok_and(|o| o.status.success()) {
        println!("skipped: there is no perf, or it may not record here");
        return Ok(());
    }
    let this = std::env::current_exe()?;
    let this = this.to_str().unwrap();
    for (strategy, tiering) in [("map", "eager"), ("map", "lazy"), ("dump", "eager"), ("dump", "lazy")] {
        let record = ["record", "-q", "-k", "mono", "-e", "cpu-clock", "-o", "a.data"];
        let output = perf(&[&record[..], &[this, "under-profiler", strategy, tiering]].concat())?;
        assert!(output.status.success(), "{output:?}");
        let data = if strategy == "map" { "a.data" } else { "b.data" };
        if strategy == "dump" {
            let output = perf(&["inject", "--jit", "-i", "a.data", "-o", "b.data"])?;
            assert!(output.status.success(), "{output:?}");
        }
        let report = perf(&["report", "--stdio", "-i", data, "--sort", "symbol"])?;
        let report = String::from_utf8_lossy(&report.stdout);
        assert!(report.contains("whirl"), "{strategy} {tiering}: {report}");
        let process = String::from_utf8_lossy(&output.stdout);
        if let Some(id) = process.trim().strip_prefix("process ") {
            let _ = std::fs::remove_file(format!("/tmp/perf-{id}.map"));
        }
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Processor time that this thread has taken, whatever else the machine does.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Not a test: `cargo test --profile fast -p kiln --test machine -- figures`.
fn figures() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "" "h" (func $h (param i32) (result i32)))
            (func (export "leaf") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
            (func (export "trap") unreachable)
            (func (export "host") (param i32) (result i32) (local i32)
                (loop (local.set 1 (call $h (local.get 1)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "h", |n: i32| n + 1)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let leaf = instance.get_typed_func::<i32, i32>(&mut store, "leaf")?;
    let host = instance.get_typed_func::<i32, i32>(&mut store, "host")?;
    let trap = instance.get_typed_func::<(), ()>(&mut store, "trap")?;
    for _ in 0..5 {
        let begin = cpu_time();
        let mut n = 0;
        for _ in 0..10_000_000 {
            n = leaf.call(&mut store, n)?;
        }
        let enter = (cpu_time() - begin).as_nanos() as f64 / 1e7;
        let begin = cpu_time();
        assert_eq!(host.call(&mut store, 10_000_000)?, 10_000_000);
        let leave = (cpu_time() - begin).as_nanos() as f64 / 1e7;
        let begin = cpu_time();
        for _ in 0..20_000 {
            trap.call(&mut store, ()).unwrap_err();
        }
        let trapped = (cpu_time() - begin).as_nanos() as f64 / 2e4;
        println!("host to wasm {enter:.1} ns, wasm to host {leave:.1} ns, trap {trapped:.0} ns");
    }
    Ok(())
}
