//! Guests that nobody trusts: each gets so much fuel, time, memory and stack, whatever it tries, and what it does wrong is its
//! own: `cargo run --example untrusted`.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kiln::{
    AsContextMut, Caller, Config, Engine, ExternRef, Linker, Module, Rooted, Store, StoreLimits, StoreLimitsBuilder,
    Tiering, Trap, WasmBacktrace,
};
use rustix::event::{PollFd, PollFlags, poll};

/// Bytes of a guest's module. What it costs to compile one follows from that: functions are compiled when they are first called,
/// and those that would take out of proportion are refused.
const MODULE_BYTES: usize = 1 << 20;
/// Bytes that each of its memories may have, and its exceptions and references of the host together.
const MEMORY_BYTES: usize = 1 << 20;
/// Elements that each of its tables may have.
const TABLE_ELEMENTS: usize = 1_000;
/// About how many operators it may execute.
const FUEL: u64 = 5_000_000;
/// How long it may take.
const TIME: Duration = Duration::from_millis(200);
/// How exactly that is known.
const TICK: Duration = Duration::from_millis(20);
/// Bytes of stack.
const STACK: usize = 256 << 10;

/// What guests run in.
pub(crate) struct Sandbox {
    engine: Engine,
    linker: Linker<StoreLimits>,
}

impl Sandbox {
    /// With functions compiled in this way.
    pub(crate) fn new(tiering: Tiering) -> Result<Sandbox> {
        let mut config = Config::new();
        config.tiering(tiering).consume_fuel(true).epoch_interruption(true).max_wasm_stack(STACK);
        let engine = Engine::new(&config)?;
        let clock = engine.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(TICK);
                clock.increment_epoch();
            }
        });
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "sleep", sleep)?;
        linker.func_wrap("host", "bytes", bytes)?;
        Ok(Sandbox { engine, linker })
    }

    /// Calls `run` of a fresh instance: one guest's mistakes are no other's.
    pub(crate) fn run(&self, module: &[u8]) -> Result<i32> {
        self.run_with(module, FUEL, TIME)
    }

    /// The same with any amount of fuel and time.
    fn run_with(&self, module: &[u8], fuel: u64, time: Duration) -> Result<i32> {
        ensure!(module.len() <= MODULE_BYTES, "a module of {} bytes is too large", module.len());
        let module = Module::new(&self.engine, module)?;
        let limits = StoreLimitsBuilder::new()
            .memory_size(MEMORY_BYTES)
            .table_elements(TABLE_ELEMENTS)
            .instances(1)
            .memories(2)
            .tables(2)
            .build();
        let mut store: Store<StoreLimits> = Store::new(&self.engine, limits);
        store.limiter(|limits| limits);
        store.set_fuel(fuel)?;
        store.set_epoch_deadline((time.as_millis() / TICK.as_millis()) as u64);
        // Before anything of the guest runs, instantiation included.
        let instance = self.linker.instantiate(&mut store, &module)?;
        instance.get_typed_func::<(), i32>(&mut store, "run")?.call(&mut store, ())
    }
}

/// Sleeps for a guest, who may want to for ever; but not longer than the guest's time.
fn sleep(mut caller: Caller<'_, StoreLimits>, milliseconds: u64) -> Result<()> {
    let until = Instant::now().checked_add(Duration::from_millis(milliseconds));
    caller.as_context_mut().wait(|_, wake| {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(ControlFlow::Break(()));
        }
        let mut fds: Vec<_> = wake.iter().map(|wake| PollFd::new(wake, PollFlags::IN)).collect();
        match poll(&mut fds, left.and_then(|left| left.try_into().ok()).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(ControlFlow::Continue(())),
            Err(error) => Err(error.into()),
        }
    })
}

/// Gives a guest bytes of the host, which are made for it and paid for by it.
fn bytes(mut caller: Caller<'_, StoreLimits>, len: u32) -> Result<Option<Rooted<ExternRef>>> {
    caller.as_context_mut().consume_fuel(u64::from(len) / 64)?;
    ensure!(len <= 1 << 10, "{len} bytes at once are too many");
    // What a value owns elsewhere would not count, so it owns nothing.
    Ok(Some(ExternRef::new(&mut caller, [len as u8; 1 << 10])?))
}

/// A guest that wants more than it gets.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    module: &'static str,
    /// Whether it has all the fuel that there is, so that it is time that ends it.
    has_fuel: bool,
    pub(crate) end: End,
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum End {
    Trap(Trap),
    /// An error that says this.
    Error(&'static str),
    /// It is told no, and gets no more than this.
    Gets(i32),
}

impl Hostile {
    const fn new(name: &'static str, end: End, module: &'static str) -> Hostile {
        Hostile { name, module, has_fuel: false, end }
    }

    const fn waits(name: &'static str, module: &'static str) -> Hostile {
        Hostile { name, module, has_fuel: true, end: End::Trap(Trap::Interrupt) }
    }

    /// Runs it. An error if it does not end as it should.
    pub(crate) fn run(&self, sandbox: &Sandbox) -> Result<()> {
        // What is to end by another limit has the time for that on a slow machine, too.
        let (fuel, time) = if self.has_fuel { (u64::MAX, TIME) } else { (FUEL, 1_000 * TIME) };
        let result = sandbox.run_with(self.module.as_bytes(), fuel, time);
        let fits = match (&self.end, &result) {
            (End::Trap(trap), Err(error)) => error.downcast_ref() == Some(trap),
            (End::Error(text), Err(error)) => format!("{error:#}").contains(text),
            (End::Gets(n), Ok(result)) => n == result,
            _ => false,
        };
        ensure!(fits, "{} should end with {:?}, not {result:?}", self.name, self.end);
        Ok(())
    }
}

/// One for each limit.
pub(crate) const HOSTILE: &[Hostile] = &[
    Hostile::new(
        "a loop",
        End::Trap(Trap::OutOfFuel),
        r#"(module (func (export "run") (result i32) (loop (br 0)) (unreachable)))"#,
    ),
    Hostile::new(
        "a loop of large fills",
        End::Trap(Trap::OutOfFuel),
        r#"(module (memory 16) (func (export "run") (result i32)
            (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 1048576)) (br 0)) (unreachable)))"#,
    ),
    Hostile::waits("a loop with fuel", r#"(module (func (export "run") (result i32) (loop (br 0)) (unreachable)))"#),
    Hostile::waits(
        "large fills with fuel",
        r#"(module (memory 16) (func (export "run") (result i32)
            (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 1048576)) (br 0)) (unreachable)))"#,
    ),
    Hostile::waits(
        "a wait for a notification",
        r#"(module (memory 1 1 shared) (func (export "run") (result i32)
            (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))"#,
    ),
    Hostile::waits(
        "a sleep of years",
        r#"(module (import "host" "sleep" (func $sleep (param i64)))
            (func (export "run") (result i32) (call $sleep (i64.const -1)) (i32.const 0)))"#,
    ),
    Hostile::waits(
        "a loop of its start function",
        r#"(module (func $spin (loop (br 0))) (start $spin) (func (export "run") (result i32) (i32.const 0)))"#,
    ),
    Hostile::new(
        "recursion",
        End::Trap(Trap::StackOverflow),
        r#"(module (func $deeper (export "run") (result i32) (i32.add (call $deeper) (i32.const 1))))"#,
    ),
    Hostile::new(
        "a memory that grows",
        End::Gets((MEMORY_BYTES >> 16) as i32),
        r#"(module (memory 0) (func (export "run") (result i32)
            (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (memory.size)))"#,
    ),
    Hostile::new(
        "a shared memory that grows",
        End::Gets((MEMORY_BYTES >> 16) as i32),
        r#"(module (memory 0 65536 shared) (func (export "run") (result i32)
            (drop (memory.grow (i32.const 60000)))
            (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (memory.size)))"#,
    ),
    Hostile::new(
        "a memory that is large from the beginning",
        End::Error("exceeds memory limits"),
        r#"(module (memory 20000) (func (export "run") (result i32) (i32.const 0)))"#,
    ),
    Hostile::new(
        "many memories",
        End::Error("memory count too high"),
        r#"(module (memory 1) (memory 1) (memory 1) (func (export "run") (result i32) (i32.const 0)))"#,
    ),
    Hostile::new(
        "a table that grows",
        End::Gets(TABLE_ELEMENTS as i32),
        r#"(module (table 0 funcref) (func (export "run") (result i32)
            (loop (br_if 0 (i32.ne (table.grow (ref.null func) (i32.const 1)) (i32.const -1)))) (table.size)))"#,
    ),
    Hostile::new(
        "a table that is large from the beginning",
        End::Error("exceeds table limits"),
        r#"(module (table 5000000 funcref) (func (export "run") (result i32) (i32.const 0)))"#,
    ),
    Hostile::new(
        "exceptions in exceptions",
        End::Trap(Trap::AllocationTooLarge),
        r#"(module (tag $t (param exnref))
            (func $wrap (param exnref) (result exnref)
                (block $caught (result exnref exnref)
                    (try_table (catch_ref $t $caught) (throw $t (local.get 0)))
                    (unreachable))
                (return))
            (func (export "run") (result i32) (local exnref)
                (loop (local.set 0 (call $wrap (local.get 0))) (br 0)) (unreachable)))"#,
    ),
    Hostile::new(
        "references of the host",
        End::Trap(Trap::AllocationTooLarge),
        r#"(module (import "host" "bytes" (func $bytes (param i32) (result externref)))
            (table $kept 1000 externref)
            (func (export "run") (result i32) (local $i i32)
                (loop
                    (table.set $kept (local.get $i) (call $bytes (i32.const 1024)))
                    (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
                (unreachable)))"#,
    ),
];

#[allow(dead_code, reason = "the test of this example has its own")]
fn main() -> Result<()> {
    let sandbox = Sandbox::new(Tiering::Dynamic)?;
    let honest = r#"(module (func (export "run") (result i32) (local i32 i32)
        (local.set 0 (i32.const 100))
        (loop (local.set 1 (i32.add (local.get 1) (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1)))"#;
    println!("an honest guest: {}", sandbox.run(honest.as_bytes())?);
    for hostile in HOSTILE {
        hostile.run(&sandbox)?;
        println!("{}: {:?}", hostile.name, hostile.end);
    }
    // Whoever runs guests sees where one was.
    let loops = HOSTILE[0].module.as_bytes();
    if let Some(backtrace) = sandbox.run(loops).unwrap_err().downcast_ref::<WasmBacktrace>() {
        println!("{backtrace}");
    }
    Ok(())
}
