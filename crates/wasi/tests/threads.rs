//! Programs that start threads.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Result;
use kiln::{Engine, Linker, Module, Store, Trap};
use kiln_testkit::Mode;
use kiln_wasi::{I32Exit, OutputPipe, SharedWasiCtx, WasiCtxBuilder, WasiThreads};

/// What all programs have in common. `$say` writes the bytes of a number's low four decimal digits and a newline to standard
/// output, from a place of memory that belongs to the caller.
const PRELUDE: &str = r#"
    (import "env" "memory" (memory 2 4 shared))
    (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (export "memory" (memory 0))
    (func $say (param $place i32) (param $number i32) (local $i i32)
        (i32.store (local.get $place) (i32.add (local.get $place) (i32.const 16)))
        (i32.store offset=4 (local.get $place) (i32.const 5))
        (local.set $i (i32.const 3))
        (loop $digit
            (i32.store8 offset=16 (i32.add (local.get $place) (local.get $i))
                (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
            (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
            (local.set $i (i32.sub (local.get $i) (i32.const 1)))
            (br_if $digit (i32.ge_s (local.get $i) (i32.const 0))))
        (i32.store8 offset=20 (local.get $place) (i32.const 10))
        (drop (call $write (i32.const 1) (local.get $place) (i32.const 1)
            (i32.add (local.get $place) (i32.const 8)))))
    ;; Waits until the cell at an address has a value.
    (func $await (param $at i32) (param $value i32) (local $now i32)
        (block $done (loop $again
            (local.set $now (i32.atomic.load (local.get $at)))
            (br_if $done (i32.eq (local.get $now) (local.get $value)))
            (drop (memory.atomic.wait32 (local.get $at) (local.get $now) (i64.const -1)))
            (br $again))))
    ;; Adds one to the cell at an address, and wakes who waits for it.
    (func $count (param $at i32)
        (drop (i32.atomic.rmw.add (local.get $at) (i32.const 1)))
        (drop (memory.atomic.notify (local.get $at) (i32.const -1))))
    ;; Sleeps for an hour.
    (func $sleep
        (i32.store8 (i32.const 1040) (i32.const 1))
        (i64.store (i32.const 1048) (i64.const 3600000000000))
        (drop (call $poll (i32.const 1024) (i32.const 1152) (i32.const 1) (i32.const 1280))))
    ;; Reads from standard input, which says nothing.
    (func $listen
        (i32.store (i32.const 1024) (i32.const 1100))
        (i32.store (i32.const 1028) (i32.const 10))
        (drop (call $read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032))))"#;

/// A run: its result, what it wrote, and the threads that it had.
struct Run {
    result: Result<()>,
    written: String,
    threads: WasiThreads<SharedWasiCtx>,
}

impl Run {
    fn is_exit(&self, code: i32) -> bool {
        self.result.as_ref().is_err_and(|error| error.downcast_ref() == Some(&I32Exit(code)))
    }
}

/// Runs a program in some modes: all functions compiled first, when first called, and changing their tier.
fn run(most: usize, program: &str, check: impl Fn(Run)) {
    let modes = ["eager", "lazy", "dynamic", "stencils", "tier-up-at-once", "artifact"];
    for mode in Mode::all().into_iter().filter(|mode| modes.contains(&mode.name)) {
        println!("{}", mode.name);
        check(run_in(&mode, most, program).unwrap());
    }
}

fn run_in(mode: &Mode, most: usize, program: &str) -> Result<Run> {
    let engine = Engine::new(mode.config()?.epoch_interruption(true))?;
    let module = mode.module(&engine, &wat::parse_str(format!("(module {PRELUDE} {program})"))?)?;
    let (input, _kept_open) = std::io::pipe()?;
    let output = OutputPipe::new(1 << 20);
    let ctx = WasiCtxBuilder::new().stdin(std::os::fd::OwnedFd::from(input)).stdout(&output).build()?;
    let ctx = SharedWasiCtx::from(ctx);
    let mut linker = Linker::new(&engine);
    kiln_wasi::add_shared_to_linker(&mut linker, |ctx: &SharedWasiCtx| ctx)?;
    let new_store = move || {
        let mut store = Store::new(&engine, ctx.clone());
        store.set_epoch_deadline(1);
        Ok(store)
    };
    let mut store = new_store()?;
    let threads = WasiThreads::with_limits(most, 16 << 20, new_store);
    let instance = threads.instantiate(&mut linker, &mut store, &module)?;
    let main = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    let result = main.call(&mut store, ());
    let result = threads.finish(result);
    threads.wait();
    Ok(Run { result, written: String::from_utf8(output.contents())?, threads })
}

#[test]
fn threads_share_memory_and_output_and_have_globals_of_their_own() {
    let program = r#"
        (global $mine (mut i32) (i32.const 0))
        (func (export "wasi_thread_start") (param $id i32) (param $argument i32) (local $i i32)
            (loop $again
                (drop (i32.atomic.rmw.add (i32.const 4) (i32.const 1)))
                (global.set $mine (i32.add (global.get $mine) (i32.const 1)))
                (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000))))
            (if (i32.ne (global.get $mine) (i32.const 5000)) (then unreachable))
            (call $say (i32.add (i32.const 4096) (i32.mul (local.get $id) (i32.const 64))) (local.get $argument))
            (call $count (i32.const 0)))
        (func (export "_start") (local $i i32)
            (loop $again
                (if (i32.le_s (call $spawn (i32.add (i32.const 1230) (local.get $i))) (i32.const 0)) (then unreachable))
                (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 6))))
            (call $await (i32.const 0) (i32.const 6))
            (if (i32.ne (i32.atomic.load (i32.const 4)) (i32.const 30000)) (then unreachable))
            (call $say (i32.const 4096) (i32.const 9999)))"#;
    run(6, program, |run| {
        run.result.unwrap();
        let mut lines: Vec<_> = run.written.lines().collect();
        assert_eq!(lines.pop(), Some("9999"));
        lines.sort_unstable();
        assert_eq!(lines, ["1230", "1231", "1232", "1233", "1234", "1235"]);
    });
}

/// Whatever the others do meanwhile, they are stopped.
#[test]
fn one_thread_ends_them_all() {
    let doings = ["(loop (br 0))", "(call $await (i32.const 64) (i32.const 1))", "(call $sleep)", "(call $listen)"];
    for doing in doings {
        for (end, code) in [("(call $exit (i32.const 7))", Some(7)), ("(unreachable)", None)] {
            let program = format!(
                r#"(func (export "wasi_thread_start") (param $id i32) (param $argument i32)
                    (if (local.get $argument) (then (call $count (i32.const 0)) {doing}))
                    (call $await (i32.const 0) (i32.const 2))
                    {end})
                (func (export "_start")
                    (drop (call $spawn (i32.const 1)))
                    (drop (call $spawn (i32.const 0)))
                    (call $count (i32.const 0))
                    {doing})"#
            );
            run(4, &program, |run| match code {
                Some(code) => assert!(run.is_exit(code), "{doing}: {:?}", run.result),
                None => {
                    let error = run.result.unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached), "{doing}");
                    let frames = error.downcast_ref::<kiln::WasmBacktrace>().unwrap().frames().len();
                    assert!(frames > 0, "the backtrace is that of the thread");
                }
            });
        }
    }
}

#[test]
fn the_first_thread_ends_the_others() {
    for (end, code) in [("", None), ("(call $exit (i32.const 3))", Some(3)), ("unreachable", None)] {
        let program = format!(
            r#"(func (export "wasi_thread_start") (param i32 i32) (call $count (i32.const 0)) (loop (br 0)))
            (func (export "_start")
                (drop (call $spawn (i32.const 0)))
                (drop (call $spawn (i32.const 0)))
                (call $await (i32.const 0) (i32.const 2))
                {end})"#
        );
        run(4, &program, |run| match (end, code) {
            ("", _) => run.result.unwrap(),
            (_, Some(code)) => assert!(run.is_exit(code), "{:?}", run.result),
            _ => assert_eq!(run.result.unwrap_err().downcast_ref(), Some(&Trap::UnreachableCodeReached)),
        });
    }
}

#[test]
fn there_are_no_more_threads_than_allowed() {
    // The numbers of four attempts, of which two succeed; when those have ended, another one does.
    let program = r#"
        (func (export "wasi_thread_start") (param i32 i32)
            (call $await (i32.const 0) (local.get 1))
            (call $count (i32.const 8)))
        (func $attempt (param $argument i32)
            (call $say (i32.const 4096) (i32.add (i32.const 1000) (call $spawn (local.get $argument)))))
        (func (export "_start")
            (call $attempt (i32.const 1)) (call $attempt (i32.const 1)) (call $attempt (i32.const 1))
            (call $attempt (i32.const 1))
            (call $count (i32.const 0))
            (call $await (i32.const 8) (i32.const 2))
            ;; They may take a moment to be gone.
            (loop $again (br_if $again (i32.lt_s (call $spawn (i32.const 1)) (i32.const 0))))
            (call $await (i32.const 8) (i32.const 3)))"#;
    run(2, program, |run| {
        run.result.unwrap();
        assert_eq!(run.written, "1001\n1002\n0999\n0999\n");
        assert_eq!(run.threads.count(), 0);
    });
}

/// A thread that waits for input or for a time keeps nobody from writing.
#[test]
fn who_waits_is_in_nobodys_way() {
    for waiting in ["(call $sleep)", "(call $listen)"] {
        let program = format!(
            r#"(func (export "wasi_thread_start") (param i32 i32) (call $count (i32.const 0)) {waiting})
            (func (export "_start") (local $i i32)
                (drop (call $spawn (i32.const 0)))
                (call $await (i32.const 0) (i32.const 1))
                (loop $again
                    (call $say (i32.const 4096) (local.get $i))
                    (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 500)))))"#
        );
        let (told, tell) = channel();
        std::thread::spawn(move || {
            run(1, &program, |run| {
                run.result.unwrap();
                assert_eq!(run.written.len(), 2500);
            });
            told.send(()).unwrap();
        });
        let start = Instant::now();
        tell.recv_timeout(Duration::from_secs(600)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(600));
    }
}

#[test]
fn what_is_no_program_with_threads_is_refused() {
    let spawn = r#"(import "wasi" "thread-spawn" (func (param i32) (result i32)))"#;
    let memory = r#"(import "env" "memory" (memory 1 1 shared))"#;
    let start = r#"(func (export "wasi_thread_start") (param i32 i32))"#;
    let refused = |program: String| {
        let engine = Engine::default();
        let module = Module::new(&engine, format!("(module {program})")).unwrap();
        let mut store = Store::new(&engine, ());
        let threads = WasiThreads::new(move || Ok(Store::new(&engine, ())));
        threads.instantiate(&mut Linker::new(module.engine()), &mut store, &module).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(refused(format!("{spawn} {memory} {start}")), Ok(()));
    assert_eq!(refused(format!("{memory} {start}")), Ok(()));
    let error = refused(format!("{spawn} {start}")).unwrap_err();
    assert!(error.contains("imports no shared memory"), "{error}");
    for start in
        ["", r#"(func (export "wasi_thread_start") (param i32))"#, r#"(memory (export "wasi_thread_start") 1)"#]
    {
        let error = refused(format!("{spawn} {memory} {start}")).unwrap_err();
        assert!(error.contains("exports no function `wasi_thread_start`"), "{error}");
    }
}
