//! Kiln under test, in each of its modes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kiln as api;
use kiln::{Config, Inlining, OptLevel, TierUp, Tiering, Trap};

include!("glue.rs");

type Error = anyhow::Error;

/// An engine in one mode.
pub struct Mode {
    /// What findings call it.
    pub name: &'static str,
    /// The engine.
    pub engine: api::Engine,
    /// Whether modules go on where a run of the same script ended, optimised since.
    refined: bool,
}

/// How long a mutant may run in all.
const DEADLINE: Duration = Duration::from_millis(40);

impl Mode {
    fn new(name: &'static str, deadline: bool, set: impl FnOnce(&mut Config)) -> Result<Mode> {
        let mut config = Config::new();
        config.compilation_threads(1).epoch_interruption(deadline);
        set(&mut config);
        let engine = api::Engine::new(&config).map_err(|e| anyhow!("mode {name}: {e:?}"))?;
        Ok(Mode { name, engine, refined: false })
    }

    /// A module in this mode that is to run a script.
    pub fn compile(&self, wasm: &[u8], script: &Script) -> Result<api::Module> {
        let module = compile(&self.engine, wasm)?;
        if !self.refined {
            return Ok(module);
        }
        run(&self.engine, &module, script)?;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kiln-fuzz-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let refined = self.refined(&module, wasm, &folder);
        fs::remove_dir_all(&folder)?;
        refined
    }

    /// The module with what it used optimised.
    fn refined(&self, module: &api::Module, wasm: &[u8], folder: &Path) -> Result<api::Module> {
        let [file, outline, snapshot] = ["wasm", "outline", "snapshot"].map(|name| folder.join(name));
        fs::write(&file, wasm)?;
        fs::write(&outline, module.outline()?)?;
        if let Some(bytes) = module.snapshot()? {
            fs::write(&snapshot, bytes)?;
        }
        let open = || api::ModuleFile::open(&self.engine, &file);
        let resumed = api::Module::resume(&self.engine, open()?, &outline, &snapshot, &[])?;
        if let Some(bytes) = resumed.refined_snapshot(0, Instant::now() + Duration::from_secs(600))? {
            fs::write(&snapshot, bytes)?;
        }
        api::Module::resume(&self.engine, open()?, &outline, &snapshot, &[])
    }

    /// All modes; with epoch checks if modules may run for ever.
    pub fn all(deadline: bool) -> Result<Vec<Mode>> {
        Ok(vec![
            Mode::new("eager, for any data", deadline, |c| {
                c.share_code(true);
            })?,
            Mode::new("lazy", deadline, |c| {
                c.tiering(Tiering::Lazy);
            })?,
            Mode::new("eager, not optimised, checked memories", deadline, |c| {
                c.cranelift_opt_level(OptLevel::None).memory_reservation(0).memory_guard_size(0);
            })?,
            Mode::new("lazy, no signals, fuel", deadline, |c| {
                c.tiering(Tiering::Lazy).signals_based_traps(false).consume_fuel(true);
            })?,
            Mode::new("first tier only", deadline, |c| {
                c.tiering(Tiering::Dynamic).tier_up(TierUp::Never);
            })?,
            Mode::new("tiers change at random", deadline, |c| {
                c.tiering(Tiering::Dynamic).tier_up(TierUp::Random(7));
            })?,
            Mode {
                refined: true,
                ..Mode::new("refined after a run", deadline, |c| {
                    c.tiering(Tiering::Dynamic);
                })?
            },
            Mode::new("eager, all calls inlined", deadline, |c| {
                c.compiler_inlining(Inlining::Stress);
            })?,
        ])
    }

    /// Runs `work` while a clock makes guests stop.
    pub fn under_deadline<R>(&self, work: impl FnOnce() -> R) -> R {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clock = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::thread::park_timeout(DEADLINE / 8);
                    self.engine.increment_epoch();
                }
            });
            let result = work();
            done.store(true, Ordering::Relaxed);
            clock.thread().unpark();
            result
        })
    }
}

/// A refusal says what is wrong, and where if it is about the module's bytes.
pub fn explains_refusal(error: &anyhow::Error) -> Result<()> {
    let text = format!("{error:#}");
    if text.contains("panicked") || text.contains("internal error") {
        return Err(anyhow!("the compiler failed: {text}"));
    }
    let places = ["offset", "byte", "function", "func", "limit", "not supported", "unsupported", "import", "export"];
    if places.iter().any(|p| text.contains(p)) {
        return Ok(());
    }
    Err(anyhow!("an error that does not say where: {text}"))
}

fn prepare(store: &mut api::Store<State>) {
    // The deadline only matters to engines that check epochs, fuel to those that count it.
    store.set_epoch_deadline(8);
    let _ = store.set_fuel(u64::MAX >> 2);
}

fn host_error() -> Error {
    anyhow!("host error")
}

/// How a failed instantiation or call compares.
fn outcome(error: &anyhow::Error) -> Outcome {
    if error.is::<api::ThrownException>() {
        return Outcome::Exception;
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return Outcome::Error(format!("{error:?}"));
    };
    let name = match trap {
        Trap::StackOverflow => return Outcome::Unordered("stack overflow".into()),
        Trap::AllocationTooLarge => return Outcome::Unordered("allocation too large".into()),
        Trap::Interrupt => return Outcome::Unordered("interrupt".into()),
        Trap::MemoryOutOfBounds => "MemoryOutOfBounds",
        Trap::HeapMisaligned => "HeapMisaligned",
        // Other engines have one trap for both.
        Trap::TableOutOfBounds | Trap::UndefinedElement => "TableOutOfBounds",
        Trap::IndirectCallToNull => "UninitializedElement",
        Trap::BadSignature => "BadSignature",
        Trap::IntegerOverflow => "IntegerOverflow",
        Trap::IntegerDivisionByZero => "IntegerDivideByZero",
        Trap::BadConversionToInteger => "BadConversionToInteger",
        Trap::UnreachableCodeReached => "Unreachable",
        Trap::OutOfFuel => "OutOfFuel",
        Trap::NullReference => "NullReference",
        Trap::AtomicWaitNonSharedMemory => "AtomicWaitNonShared",
        other => return Outcome::Trap(format!("{other:?}: {error:?}")),
    };
    Outcome::Trap(name.into())
}
