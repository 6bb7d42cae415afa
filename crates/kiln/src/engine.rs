//! Engines: what modules and stores have in common.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use kiln_env::{ContextLayout, Module as EnvModule, Tunables};

#[cfg(feature = "compiler")]
use crate::artifact_options::ArtifactOptions;
use crate::code::entry::install_signal_handlers;
use crate::code::{CodeSetup, CompileFn, ModuleCode, NameFn, PerfMode};
#[cfg(feature = "compiler")]
use crate::compile::ModuleCompiler;
use crate::config::{Config, ProfilingStrategy};
use crate::sys::SysError;
use crate::sys::event::Event;
use crate::tier::TierQueue;
#[cfg(feature = "compiler")]
use crate::trampolines::MakeTrampoline;
use crate::trampolines::Trampolines;
use crate::types::registry::TypeRegistry;
use crate::types::{FuncType, ValType};

/// The compiler and all that modules and stores share. Cheap to clone; one for each configuration is enough for a
/// process.
///
/// ```
/// use kiln::Engine;
///
/// let engine = Engine::default();
/// let same = engine.clone();
/// assert!(Engine::same(&engine, &same));
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<EngineInner>,
}

struct EngineInner {
    config: Config,
    types: TypeRegistry,
    trampolines: Trampolines,
    #[cfg(feature = "compiler")]
    compiler: Arc<DeferredCompiler>,
    /// What is compiled again in the background.
    tiers: Arc<TierQueue>,
    /// On a cache line of its own: all threads read it, in loops.
    epoch: CacheLine<AtomicU64>,
    /// Happens after each increment of the epoch. Made when somebody first waits for it.
    alarm: OnceLock<Event>,
}

impl Drop for EngineInner {
    fn drop(&mut self) {
        self.tiers.close();
    }
}

/// A compiler that is set up when it is needed.
#[cfg(feature = "compiler")]
pub(crate) struct DeferredCompiler {
    config: Config,
    made: OnceLock<Result<Arc<ModuleCompiler>, String>>,
}

#[cfg(feature = "compiler")]
impl DeferredCompiler {
    pub(crate) fn get(&self) -> Result<&Arc<ModuleCompiler>> {
        let made =
            self.made.get_or_init(|| ModuleCompiler::new(&self.config).map(Arc::new).map_err(|e| format!("{e:#}")));
        made.as_ref().map_err(|e| anyhow::anyhow!("{e}"))
    }

    /// Makes trampolines.
    fn trampoline_fn(this: &Arc<DeferredCompiler>) -> MakeTrampoline {
        let this = this.clone();
        Arc::new(move |ty, to_host| this.get()?.trampoline(ty, to_host))
    }
}

/// Room for trampolines, in terms of the wasm code that would need as much.
const TRAMPOLINE_BYTES: u64 = 1 << 20;

#[repr(align(128))]
struct CacheLine<X>(X);

impl Default for Engine {
    /// An engine with the default configuration. Panics if this machine is not supported.
    fn default() -> Engine {
        Engine::new(&Config::default()).expect("this machine is supported")
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.inner.config).finish()
    }
}

impl Engine {
    /// An engine with this configuration.
    ///
    /// # Errors
    /// The configuration makes no sense, or this machine or its processor is not supported; with signal-based traps,
    /// if the signal handlers cannot be installed.
    pub fn new(config: &Config) -> Result<Engine> {
        if config.tunables.signals {
            install_signal_handlers().context("cannot install signal handlers")?;
        }
        let types = TypeRegistry::default();
        #[cfg(feature = "compiler")]
        let compiler = Arc::new(DeferredCompiler { config: config.clone(), made: OnceLock::new() });
        #[cfg(feature = "compiler")]
        if !config.defer_compiler {
            compiler.get()?;
        }
        #[cfg(feature = "compiler")]
        let make = Some(DeferredCompiler::trampoline_fn(&compiler));
        #[cfg(not(feature = "compiler"))]
        let make = None;
        let layout = Arc::new(ContextLayout::new(&EnvModule::default())?);
        let setup = CodeSetup { names: Arc::new(|key| key.to_string()), ..code_setup(config, layout, Arc::new(())) };
        let make_code =
            move |stubs, compile: CompileFn| Ok(ModuleCode::lazy(stubs, TRAMPOLINE_BYTES, compile, setup.clone())?);
        let trampolines = Trampolines::new(make, Box::new(make_code));
        let inner = EngineInner {
            config: config.clone(),
            types,
            trampolines,
            #[cfg(feature = "compiler")]
            compiler,
            tiers: TierQueue::new(config.threads),
            epoch: CacheLine(AtomicU64::new(0)),
            alarm: OnceLock::new(),
        };
        Ok(Engine { inner: Arc::new(inner) })
    }

    /// Whether two are clones of one engine.
    pub fn same(&self, other: &Engine) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Whether code may be stopped while it runs: by [fuel](Config::consume_fuel) or
    /// [epochs](Config::epoch_interruption).
    pub fn is_interruptible(&self) -> bool {
        let tunables = self.tunables();
        tunables.fuel || tunables.epochs
    }

    /// Starts the next epoch: see [`Store::set_epoch_deadline`](crate::Store::set_epoch_deadline). May be called from
    /// any thread and from signal handlers.
    ///
    /// ```
    /// use kiln::*;
    ///
    /// let engine = Engine::new(Config::new().epoch_interruption(true))?;
    /// let module = Module::new(&engine, r#"(module (func (export "spin") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_epoch_deadline(1);
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
    /// std::thread::spawn(move || engine.increment_epoch());
    /// let error = spin.call(&mut store, ()).unwrap_err();
    /// assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    /// # anyhow::Ok(())
    /// ```
    pub fn increment_epoch(&self) {
        // Before it is asked whether anybody waits: whoever begins to wait asks for the epoch afterwards.
        self.inner.epoch.0.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if let Some(alarm) = self.inner.alarm.get() {
            alarm.signal();
        }
    }

    /// Waits until all functions of the engine's modules are optimised that are worth it so far, but not longer than to `end`.
    /// Whether that was so. With other [tierings](Config::tiering) than [`Tiering::Dynamic`](crate::Tiering::Dynamic) there
    /// is nothing to wait for.
    ///
    /// For hosts that let guests warm up before they take requests or measure them.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use kiln::*;
    ///
    /// let engine = Engine::new(Config::new().tiering(Tiering::Dynamic))?;
    /// let module = Module::new(&engine, r#"(module (func (export "one") (result i32) (i32.const 1)))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let one = instance.get_typed_func::<(), i32>(&mut store, "one")?;
    /// for _ in 0..1_000 {
    ///     assert_eq!(one.call(&mut store, ())?, 1);
    /// }
    /// if engine.settle(Instant::now() + Duration::from_secs(60)) {
    ///     assert_eq!(module.compile_statistics().tiers.unwrap().optimized_functions, 1);
    /// }
    /// # anyhow::Ok(())
    /// ```
    #[cfg(feature = "compiler")]
    pub fn settle(&self, end: std::time::Instant) -> bool {
        self.tiers().wait_until(end)
    }

    /// How many functions, in all modules of the engine, could not be compiled at the second tier and stay in the first. Their
    /// results are right, but a compiler's error is behind it; the log (`tracing`) says which. Anything but 0 is worth a report.
    #[cfg(feature = "compiler")]
    pub fn failed_tier_ups(&self) -> u64 {
        self.tiers().failures()
    }

    /// Everything that compiled code depends on beside the module: compiler, target, settings, tunables.
    ///
    /// # Panics
    /// The compiler was [deferred](Config::defer_compiler) and its configuration makes no sense.
    #[cfg(feature = "compiler")]
    pub fn fingerprint(&self) -> &kiln_env::Fingerprint {
        self.expect_compiler().fingerprint()
    }

    /// Compiles a module, in binary or text form, to the bytes of an artifact, which [`Module::deserialize_file`] loads
    /// from a file.
    ///
    /// # Errors
    /// As for [`Module::new`]; or a CPU level is not known.
    ///
    /// [`Module::deserialize_file`]: crate::Module::deserialize_file
    /// [`Module::new`]: crate::Module::new
    #[cfg(feature = "compiler")]
    pub fn precompile_module(&self, bytes: &[u8], options: &ArtifactOptions) -> Result<Vec<u8>> {
        let wasm = crate::compile::to_binary(bytes)?;
        self.compiler()?.artifact(&wasm, options, self.inner.config.progress.as_deref())
    }

    /// Compares the functions of two modules in binary form: how many of the new one's are in the [cache](Config::cache) when
    /// the old one was compiled with it, and why the others are not.
    ///
    /// # Errors
    /// A module is not valid.
    #[cfg(feature = "compiler")]
    pub fn compare_modules(&self, old: &[u8], new: &[u8]) -> Result<kiln_compiler::Comparison> {
        self.inner.compiler.get()?.compare(old, new)
    }

    /// The proposals by name, and whether modules may use them.
    ///
    /// # Panics
    /// As for [`Engine::fingerprint`].
    #[cfg(feature = "compiler")]
    pub fn features(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.expect_compiler().features().iter()
    }

    #[cfg(feature = "compiler")]
    pub(crate) fn compiler(&self) -> Result<&Arc<ModuleCompiler>> {
        self.inner.compiler.get()
    }

    /// The same, to be asked for later.
    #[cfg(feature = "compiler")]
    pub(crate) fn deferred_compiler(&self) -> &Arc<DeferredCompiler> {
        &self.inner.compiler
    }

    /// The compiler, if somebody has needed it.
    #[cfg(feature = "compiler")]
    pub(crate) fn made_compiler(&self) -> Option<&Arc<ModuleCompiler>> {
        self.inner.compiler.made.get()?.as_ref().ok()
    }

    #[cfg(feature = "compiler")]
    fn expect_compiler(&self) -> &Arc<ModuleCompiler> {
        self.compiler().expect("the compiler's configuration makes sense")
    }

    #[cfg(feature = "compiler")]
    pub(crate) fn tiers(&self) -> &Arc<TierQueue> {
        &self.inner.tiers
    }

    pub(crate) fn types(&self) -> &TypeRegistry {
        &self.inner.types
    }

    pub(crate) fn trampolines(&self) -> &Trampolines {
        &self.inner.trampolines
    }

    pub(crate) fn tunables(&self) -> &Tunables {
        &self.inner.config.tunables
    }

    pub(crate) fn memory_huge_pages(&self) -> bool {
        self.inner.config.memory_huge_pages
    }

    pub(crate) fn max_wasm_stack(&self) -> usize {
        self.inner.config.max_wasm_stack
    }

    pub(crate) fn epoch(&self) -> &AtomicU64 {
        &self.inner.epoch.0
    }

    /// What happens after each increment of the epoch. An epoch that is read after this call is not older than what the event
    /// tells of.
    pub(crate) fn alarm(&self) -> Result<&Event, SysError> {
        if self.inner.alarm.get().is_none() {
            // Another thread may be faster; then this one is closed again.
            let _ = self.inner.alarm.set(Event::new()?);
        }
        fence(Ordering::SeqCst);
        Ok(self.inner.alarm.get().expect("set above"))
    }
}

/// How a module's code is announced, under this configuration; without names.
pub(crate) fn code_setup(
    config: &Config,
    layout: Arc<ContextLayout>,
    info: Arc<dyn std::any::Any + Send + Sync>,
) -> CodeSetup {
    let names: NameFn = Arc::new(|key| key.to_string());
    CodeSetup {
        layout,
        info,
        native_unwind: config.tunables.native_unwind_info,
        gdb: config.debug_info,
        perf: match config.profiler {
            ProfilingStrategy::None => PerfMode::None,
            ProfilingStrategy::PerfMap => PerfMode::Map,
            ProfilingStrategy::JitDump => PerfMode::Jitdump,
        },
        names,
    }
}

impl FuncType {
    /// The type of functions with these parameters and results.
    ///
    /// # Panics
    /// If a type in it belongs to another engine, or the engine has billions of types.
    pub fn new(
        engine: &Engine,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> FuncType {
        FuncType::new_in(engine.types(), params, results)
    }
}
