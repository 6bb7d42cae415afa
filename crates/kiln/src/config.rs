//! Configuration of an engine.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, ensure};
pub use kiln_env::settings::{Inlining, OptLevel, RegallocAlgorithm};
use kiln_env::{CacheStore, Tunables};

use crate::artifact::Verification;
use crate::key::SigningKey;
use crate::tier::TierUp;

/// When functions are compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Tiering {
    /// All of a module, on all threads, before [`Module::new`](crate::Module::new) returns.
    #[default]
    Eager,
    /// Each function when it is first called.
    Lazy,
    /// Each function when it is first called, as fast as possible; those that turn out to be hot are compiled again, fully
    /// optimised, while the program goes on. Calls and loops that are under way change to the better code.
    Dynamic,
}

/// What compiles functions at first, with [`Tiering::Dynamic`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum BaselineCompiler {
    /// Cranelift without optimisation.
    Cranelift,
    /// Pieces of machine code that were made of each operator when Kiln was built. Where there are none for the target or
    /// for the configuration, and for functions with something that there is no piece for, Cranelift without optimisation.
    #[default]
    Stencils,
}

/// What compiled code is announced to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ProfilingStrategy {
    /// Nobody.
    #[default]
    None,
    /// `perf`, through `/tmp/perf-PID.map`.
    PerfMap,
    /// `perf`, through a `jit-PID.dump` file for `perf inject`.
    JitDump,
}

/// How an [`Engine`](crate::Engine) compiles and runs modules.
///
/// ```
/// use kiln::{Config, Engine, OptLevel};
///
/// let mut config = Config::new();
/// config.consume_fuel(true).cranelift_opt_level(OptLevel::SpeedAndSize);
/// let engine = Engine::new(&config)?;
/// # anyhow::Ok(())
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) tunables: Tunables,
    pub(crate) opt_level: OptLevel,
    pub(crate) regalloc: RegallocAlgorithm,
    pub(crate) flags: Vec<(String, String)>,
    pub(crate) features: Vec<(String, bool)>,
    pub(crate) target: Option<String>,
    pub(crate) threads: usize,
    pub(crate) work_order: Option<u64>,
    pub(crate) verify: Option<bool>,
    pub(crate) max_wasm_stack: usize,
    pub(crate) memory_huge_pages: bool,
    pub(crate) tiering: Tiering,
    pub(crate) tier_up: TierUp,
    pub(crate) baseline: BaselineCompiler,
    pub(crate) profiler: ProfilingStrategy,
    pub(crate) debug_info: bool,
    pub(crate) progress: Option<ProgressFn>,
    pub(crate) interrupt: Option<InterruptFn>,
    /// Passes that do not run.
    pub(crate) passes_off: Vec<String>,
    pub(crate) share_code: Option<bool>,
    pub(crate) inlining: Inlining,
    /// Functions whose intermediate forms are shown, and how.
    pub(crate) dumps: Vec<(String, DumpFn)>,
    pub(crate) verification: Verification,
    pub(crate) signing_key: Option<SigningKey>,
    pub(crate) trust_unsigned: bool,
    pub(crate) artifacts_in_place: bool,
    pub(crate) cache: Option<Arc<dyn CacheStore>>,
    pub(crate) defer_compiler: bool,
}

/// Receives a stage and the function's form behind it; or no stage, and why there is no such function.
pub(crate) type DumpFn = Arc<dyn Fn(Option<&str>, &str) + Send + Sync>;

/// Told how many bytes of functions have been compiled, of how many.
type ProgressFn = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Whether what is being compiled is not wanted any more.
type InterruptFn = Arc<dyn Fn() -> bool + Send + Sync>;

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("tunables", &self.tunables)
            .field("opt_level", &self.opt_level)
            .field("regalloc", &self.regalloc)
            .field("flags", &self.flags)
            .field("features", &self.features)
            .field("target", &self.target)
            .field("threads", &self.threads)
            .field("work_order", &self.work_order)
            .field("max_wasm_stack", &self.max_wasm_stack)
            .field("memory_huge_pages", &self.memory_huge_pages)
            .field("tiering", &self.tiering)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            tunables: Tunables::default(),
            opt_level: OptLevel::Speed,
            regalloc: RegallocAlgorithm::Backtracking,
            flags: Vec::new(),
            features: Vec::new(),
            target: None,
            threads: 0,
            work_order: None,
            verify: None,
            max_wasm_stack: 512 << 10,
            memory_huge_pages: true,
            tiering: Tiering::Eager,
            tier_up: TierUp::default(),
            baseline: BaselineCompiler::default(),
            profiler: ProfilingStrategy::None,
            debug_info: false,
            progress: None,
            interrupt: None,
            passes_off: Vec::new(),
            share_code: None,
            inlining: Inlining::Yes,
            dumps: Vec::new(),
            verification: Verification::Strict,
            signing_key: None,
            trust_unsigned: false,
            artifacts_in_place: false,
            cache: None,
            defer_compiler: false,
        }
    }
}

macro_rules! feature_switches {
    ($($(#[$doc:meta])* $method:ident: $name:literal;)*) => {$(
        $(#[$doc])*
        pub fn $method(&mut self, enable: bool) -> &mut Config {
            self.features.push(($name.to_owned(), enable));
            self
        }
    )*};
}

impl Config {
    /// The default configuration: all finished proposals, full optimisation, eager compilation on all processors.
    pub fn new() -> Config {
        Config::default()
    }

    /// Whether an engine sets up its compiler when something is to be compiled for the first time: a host that mostly runs
    /// artifacts starts faster. Settings that make no sense are found only then. Off by default.
    #[cfg(feature = "compiler")]
    pub fn defer_compiler(&mut self, defer: bool) -> &mut Config {
        self.defer_compiler = defer;
        self
    }

    /// How artifacts in files are checked before their code runs. [`Verification::Strict`] by default.
    pub fn artifact_verification(&mut self, verification: Verification) -> &mut Config {
        self.verification = verification;
        self
    }

    /// Signs the artifacts, outlines and snapshots that engines of this configuration make, and has them load only those with
    /// this signature: others are [incompatible](crate::IncompatibleArtifact), and can be compiled again from the module in
    /// them. None by default: then a file is trusted if only the user and the administrator can have written it.
    pub fn signing_key(&mut self, key: Option<SigningKey>) -> &mut Config {
        self.signing_key = key;
        self
    }

    /// Whether [artifacts](crate::Module::deserialize_file) are loaded that the [key](Config::signing_key) has not signed.
    /// Their code runs with all rights of this process. Off by default.
    pub fn allow_precompiled(&mut self, allow: bool) -> &mut Config {
        self.trust_unsigned = allow;
        self
    }

    /// Whether the code of artifacts is executed where it is in their files, where [verification](Verification::Marked)
    /// allows that, which saves copying it. Off by default: whoever can write to such a file while a module of it is in use
    /// can change the code that runs. Switch it on only if no guest can reach the files: neither through the folders that it
    /// is given, nor through other names of the same files, nor as one of its standard streams.
    pub fn artifacts_in_place(&mut self, enable: bool) -> &mut Config {
        self.artifacts_in_place = enable;
        self
    }

    feature_switches! {
        /// Whether modules may use 128-bit vectors. On by default.
        wasm_simd: "simd";
        /// Whether modules may use vector operators whose results may differ between machines. On by default.
        wasm_relaxed_simd: "relaxed_simd";
        /// Whether modules may use atomic operators and shared memories. On by default.
        wasm_threads: "threads";
        /// Whether modules may use `externref`, `funcref` and operators for tables. On by default.
        wasm_reference_types: "reference_types";
        /// Whether modules may use typed function references. On by default.
        wasm_function_references: "function_references";
        /// Whether modules may use `memory.copy` and its like. On by default.
        wasm_bulk_memory: "bulk_memory";
        /// Whether functions and blocks may have several results. On by default.
        wasm_multi_value: "multi_value";
        /// Whether modules may have several memories. On by default.
        wasm_multi_memory: "multi_memory";
        /// Whether memories and tables may have 64-bit indices. On by default.
        wasm_memory64: "memory64";
        /// Whether modules may use `return_call` and its like. On by default.
        wasm_tail_call: "tail_call";
        /// Whether modules may use exceptions with `try_table` and `exnref`. On by default.
        wasm_exceptions: "exceptions";
        /// Whether modules may use exceptions in their older form, with `try` and `catch`. On by default.
        wasm_legacy_exceptions: "legacy_exceptions";
        /// Whether constant expressions may compute. On by default.
        wasm_extended_const: "extended_const";
        /// Whether memories may have pages of one byte. Off by default.
        wasm_custom_page_sizes: "custom_page_sizes";
        /// Whether modules may use sums, differences and products of 128 bits. Off by default.
        wasm_wide_arithmetic: "wide_arithmetic";
    }

    /// Switches a proposal by its name, for instance `"tail-call"`. An unknown name is an error of
    /// [`Engine::new`](crate::Engine::new).
    pub fn wasm_feature(&mut self, name: &str, enable: bool) -> &mut Config {
        self.features.push((name.to_owned(), enable));
        self
    }

    /// The names that [`Config::wasm_feature`] knows.
    #[cfg(feature = "compiler")]
    pub fn feature_names() -> &'static [&'static str] {
        kiln_compiler::Features::NAMES
    }

    /// How much to optimise. [`OptLevel::Speed`] by default.
    pub fn cranelift_opt_level(&mut self, level: OptLevel) -> &mut Config {
        self.opt_level = level;
        self
    }

    /// Which register allocator to use. [`RegallocAlgorithm::Backtracking`] by default.
    pub fn cranelift_regalloc_algorithm(&mut self, algorithm: RegallocAlgorithm) -> &mut Config {
        self.regalloc = algorithm;
        self
    }

    /// How many calls the compiler replaces by the body of the function that they call. [`Inlining::Yes`] by default.
    /// Backtraces are the same with and without.
    pub fn compiler_inlining(&mut self, inlining: Inlining) -> &mut Config {
        self.inlining = inlining;
        self
    }

    /// Whether one of the optimising passes that Kiln runs before Cranelift's is used. All are by default. An unknown
    /// name is an error of [`Engine::new`](crate::Engine::new).
    pub fn compiler_pass(&mut self, name: &str, enable: bool) -> &mut Config {
        self.passes_off.retain(|n| n != name);
        if !enable {
            self.passes_off.push(name.to_owned());
        }
        self
    }

    /// The names that [`Config::compiler_pass`] knows, in the order in which the passes run.
    #[cfg(feature = "compiler")]
    pub fn compiler_pass_names() -> Vec<&'static str> {
        kiln_compiler::pass_names().collect()
    }

    /// Shows the intermediate forms of one function: `show` gets the stage (`translate`, or the pass that changed it)
    /// and Cranelift's text form. `func` is `wasm[N]`, the N-th function of the module that has a body. Of each module that
    /// has no such function `show` gets no stage, and a sentence that says so.
    pub fn compiler_dump(
        &mut self,
        func: &str,
        show: impl Fn(Option<&str>, &str) + Send + Sync + 'static,
    ) -> &mut Config {
        self.dumps.push((func.to_owned(), Arc::new(show)));
        self
    }

    /// Whether Cranelift checks its own intermediate forms, to find bugs in compilers. Off by default in release builds.
    pub fn cranelift_debug_verifier(&mut self, enable: bool) -> &mut Config {
        self.verify = Some(enable);
        self
    }

    /// Switches on a setting of Cranelift or of the target. What is wrong with it, [`Engine::new`](crate::Engine::new)
    /// says.
    pub fn cranelift_flag_enable(&mut self, flag: &str) -> &mut Config {
        self.cranelift_flag_set(flag, "true")
    }

    /// Sets a setting of Cranelift or of the target likewise.
    pub fn cranelift_flag_set(&mut self, name: &str, value: &str) -> &mut Config {
        self.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether execution consumes fuel: see [`Store::set_fuel`](crate::Store::set_fuel). Off by default.
    pub fn consume_fuel(&mut self, enable: bool) -> &mut Config {
        self.tunables.fuel = enable;
        self
    }

    /// Whether code checks the engine's epoch: see [`Store::set_epoch_deadline`](crate::Store::set_epoch_deadline).
    /// Off by default.
    pub fn epoch_interruption(&mut self, enable: bool) -> &mut Config {
        self.tunables.epochs = enable;
        self
    }

    /// How many bytes of stack wasm may use before it traps: 512 KiB by default.
    pub fn max_wasm_stack(&mut self, bytes: usize) -> &mut Config {
        self.max_wasm_stack = bytes;
        self
    }

    /// How many bytes of address space are reserved for each memory: 4 GiB by default, with which 32-bit memories need
    /// no bounds checks. With less they are checked, and they move when they outgrow the reservation.
    pub fn memory_reservation(&mut self, bytes: u64) -> &mut Config {
        self.tunables.memory_reservation = bytes;
        self
    }

    /// How many inaccessible bytes follow the reservation: 32 MiB by default. Accesses whose static offset is less need
    /// no bounds check. Rounded up to whole pages.
    pub fn memory_guard_size(&mut self, bytes: u64) -> &mut Config {
        self.tunables.memory_guard = bytes.min(1 << 40).next_multiple_of(1 << 16);
        self
    }

    /// Whether the system is asked for huge pages for what memories grow by beyond 8 MiB: on by default. Fewer accesses fault
    /// then, and more may be resident than is touched. Where the system has no huge pages, or gives none, nothing changes.
    pub fn memory_huge_pages(&mut self, enable: bool) -> &mut Config {
        self.memory_huge_pages = enable;
        self
    }

    /// Whether traps may use signals. On by default. Without, all memory accesses are checked explicitly, and the
    /// process's signal handlers are left alone.
    pub fn signals_based_traps(&mut self, enable: bool) -> &mut Config {
        self.tunables.signals = enable;
        self
    }

    /// Whether modules are compiled on all processors, or on the calling thread. On by default.
    pub fn parallel_compilation(&mut self, enable: bool) -> &mut Config {
        self.threads = if enable { 0 } else { 1 };
        self
    }

    /// Compile functions in an order that this seed decides, instead of the largest first. For tests of Kiln itself: the order
    /// does not show in what is compiled.
    pub fn compilation_order(&mut self, seed: Option<u64>) -> &mut Config {
        self.work_order = seed;
        self
    }

    /// How many threads compile; 0 is as many as there are processors, the default.
    pub fn compilation_threads(&mut self, threads: usize) -> &mut Config {
        self.threads = threads;
        self
    }

    /// The target to compile for, as a triple. The default is this machine, with all the features of its processor; a
    /// named target starts with the least features. Code for another machine cannot be run here.
    ///
    /// # Errors
    /// The text is no target triple.
    pub fn target(&mut self, triple: &str) -> Result<&mut Config> {
        let parsed: Result<target_lexicon::Triple, _> = triple.parse();
        ensure!(parsed.is_ok(), "{triple:?} is not a target triple");
        self.target = Some(triple.to_owned());
        Ok(self)
    }

    /// Whether code has unwind information for native debuggers and profilers. On by default.
    pub fn native_unwind_info(&mut self, enable: bool) -> &mut Config {
        self.tunables.native_unwind_info = enable;
        self
    }

    /// Whether a native debugger is told of compiled code. Off by default.
    pub fn debug_info(&mut self, enable: bool) -> &mut Config {
        self.debug_info = enable;
        self
    }

    /// What compiled code is announced to. Nobody by default.
    pub fn profiler(&mut self, strategy: ProfilingStrategy) -> &mut Config {
        self.profiler = strategy;
        self
    }

    /// Calls `progress` now and then while a module is compiled, from any thread, with the bytes of functions that are
    /// done, and of all functions.
    pub fn compile_progress(&mut self, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> &mut Config {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Asks `interrupt` now and then while a module is compiled as a whole ([`Tiering::Eager`], artifacts), from any thread:
    /// before each function at least. Once it says yes, the module is given up with an error. What one function takes is
    /// bounded by its size; with other tierings a module is only validated when it is made.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use kiln::*;
    ///
    /// let late = Instant::now();
    /// let engine = Engine::new(Config::new().tiering(Tiering::Eager).compile_interrupt(move || Instant::now() > late))?;
    /// let error = Module::new(&engine, "(module (func))").unwrap_err();
    /// assert!(error.to_string().contains("interrupted"));
    /// # anyhow::Ok(())
    /// ```
    pub fn compile_interrupt(&mut self, interrupt: impl Fn() -> bool + Send + Sync + 'static) -> &mut Config {
        self.interrupt = Some(Arc::new(interrupt));
        self
    }

    /// Where compiled functions are kept and looked for, so that one is compiled once only: [`MemoryStore`] for engines of
    /// this process, or a store that others share. None by default. Whatever a store gives back is checked for being what
    /// was put in, but not for having been put in by Kiln: others must not be able to write to it.
    ///
    /// [`MemoryStore`]: crate::MemoryStore
    pub fn cache(&mut self, store: Option<Arc<dyn CacheStore>>) -> &mut Config {
        self.cache = store;
        self
    }

    /// Whether functions are compiled such that a cache can give their code to programs that have other data, or their data
    /// elsewhere: other ones with the same runtime, or the same after an edit. That takes some 4 % of the time, and is done
    /// by default where there is a [cache](Config::cache).
    pub fn share_code(&mut self, enable: bool) -> &mut Config {
        self.share_code = Some(enable);
        self
    }

    /// When functions are compiled. [`Tiering::Eager`] by default.
    pub fn tiering(&mut self, tiering: Tiering) -> &mut Config {
        self.tiering = tiering;
        self
    }

    /// What compiles functions at first, with [`Tiering::Dynamic`].
    pub fn baseline_compiler(&mut self, compiler: BaselineCompiler) -> &mut Config {
        self.baseline = compiler;
        self
    }

    /// When functions change their tier, with [`Tiering::Dynamic`]. [`TierUp::Background`] by default.
    pub fn tier_up(&mut self, when: TierUp) -> &mut Config {
        self.tier_up = when;
        self
    }
}
