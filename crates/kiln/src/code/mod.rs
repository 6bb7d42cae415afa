//! Executable code: memory it lives in, lookup by address, lazy compilation, entering and leaving it.

mod append;
mod arch;
pub(crate) mod entry;
mod fault;
pub(crate) mod frames;
mod gdb;
mod lazy;
mod load;
mod mapped;
mod memory;
mod perf;
pub(crate) mod registry;
mod sealed;
mod tables;
mod unwind;

#[cfg(test)]
pub(crate) mod tests;

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Instant;

use kiln_env::artifact::{CodePart, PartRange, Warmth};
use kiln_env::machine::{MachineFunc, RelocKind, UnwindOp};
use kiln_env::profile::FuncFacts;
use kiln_env::reloc::OutOfReach;
use kiln_env::{ContextLayout, DefinedFuncIndex, FuncKey, Image};

pub(crate) use tables::FoundFunc;

use crate::sys::SysError;
use crate::sys::file::MappedFile;
pub(crate) use lazy::{Captured, Refined, SnapshotFile, TierCounts, TierSetup};

/// Compiles one function, on whatever thread needs it first. Errors are kept and repeated.
pub(crate) type CompileFn = Arc<dyn Fn(FuncKey) -> anyhow::Result<MachineFunc> + Send + Sync>;

/// The same for a function that has run, with somebody to ask about how functions ran.
pub(crate) type HotFn =
    Arc<dyn Fn(FuncKey, &(dyn Fn(DefinedFuncIndex) -> FuncFacts + Sync)) -> anyhow::Result<MachineFunc> + Send + Sync>;

/// Names a function for debuggers and profilers.
pub(crate) type NameFn = Arc<dyn Fn(FuncKey) -> String + Send + Sync>;

/// How `perf` learns about code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum PerfMode {
    /// Not at all.
    #[default]
    None,
    /// By `/tmp/perf-PID.map`: names only. `perf` ignores the file for code in memory files, so that lazily compiled
    /// code is not put into one; each function then takes pages of its own.
    Map,
    /// By `jit-PID.dump` in the current folder, for `perf inject --jit`: names and code.
    Jitdump,
}

/// What a module's code comes with.
#[derive(Clone)]
pub(crate) struct CodeSetup {
    /// Where things are in the contexts of the module's instances; exception tags are found through it.
    pub(crate) layout: Arc<ContextLayout>,
    /// Whatever the API layer wants to find again from a code address. Must not own the [`ModuleCode`].
    pub(crate) info: Arc<dyn Any + Send + Sync>,
    /// Tell native unwinders about the code.
    pub(crate) native_unwind: bool,
    /// Tell GDB and LLDB about the code.
    pub(crate) gdb: bool,
    /// Tell `perf` about the code.
    pub(crate) perf: PerfMode,
    /// Names for the two; not called otherwise.
    pub(crate) names: NameFn,
}

/// Code could not be placed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodeError {
    /// The system refused.
    #[error(transparent)]
    System(#[from] SysError),
    /// This process is a fork of the one the code belongs to.
    #[error(
        "process {process} is a fork of process {owner} and shares its code memory, to which it must not add; \
         compile the module again after the fork, or compile all of it before"
    )]
    Forked {
        /// Who made the memory.
        owner: u32,
        /// Who asks.
        process: u32,
    },
    /// No room left in a module's arena.
    #[error("the module's code arena of {0} bytes is full")]
    ArenaFull(usize),
    /// A module with so many functions that calls among them would be out of reach.
    #[error("{0} functions are too many for one code arena")]
    TooManyFunctions(u32),
    /// A call leads too far.
    #[error(transparent)]
    OutOfReach(OutOfReach),
    /// Damaged code.
    #[error("a relocation of kind {0:?} lies outside of its function")]
    BadRelocation(RelocKind),
    /// Code refers to a function, or somebody asks for one, that the module does not have.
    #[error("the module has no code for {0}")]
    Missing(FuncKey),
    /// An image whose functions overlap or are not within its text.
    #[error("the code image is damaged: {0}")]
    BadImage(&'static str),
}

/// A function is larger than what is optimised: in the words of the compiler. It stays in the first tier.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OverLimit(pub(crate) String);

/// A function that could not be compiled. Found once, reported at each call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{key} could not be compiled: {reason:#}")]
pub(crate) struct CompileFailure {
    /// Which function.
    pub(crate) key: FuncKey,
    /// What the compiler said.
    pub(crate) reason: Arc<anyhow::Error>,
}

/// The executable code of one module. While it lives, its addresses are in the [`registry`].
///
/// A store keeps the code of everything it instantiated as long as it lives.
pub(crate) struct ModuleCode {
    // In order of dropping: who knows about the code forgets it before it goes away.
    observers: Observers,
    form: Form,
    setup: CodeSetup,
}

enum Form {
    /// All of it, placed at once. Calls within it are direct.
    Sealed(sealed::SealedCode),
    /// All of it, in a file.
    Mapped(mapped::MappedCode),
    /// Compiled function by function when they are first called. Calls go through entry stubs.
    Lazy(Box<lazy::LazyCode>),
}

/// Who outside was told about the code, and forgets it when this is dropped.
struct Observers {
    registered: Option<usize>,
    _unwind: Option<unwind::Registration>,
    debugger: gdb::Registrations,
}

impl Drop for Observers {
    fn drop(&mut self) {
        if let Some(start) = self.registered {
            registry::unregister(start);
        }
    }
}

impl Observers {
    fn none() -> Observers {
        Observers { registered: None, _unwind: None, debugger: gdb::Registrations::default() }
    }
}

/// A function that was just placed: what observers want to know.
struct Placed<'a> {
    key: FuncKey,
    range: Range<usize>,
    unwind: &'a [UnwindOp],
}

impl ModuleCode {
    /// Places a whole image. Its functions are final.
    pub(crate) fn sealed(image: Image, setup: CodeSetup) -> Result<Arc<ModuleCode>, CodeError> {
        let form = Form::Sealed(sealed::SealedCode::new(image)?);
        let code = Arc::new(ModuleCode { observers: Observers::none(), form, setup });
        Ok(code.observed())
    }

    /// Code that is in an artifact: what `parts` says, for a module that defines so many functions. It is executed where
    /// it is.
    pub(crate) fn mapped(
        file: Arc<MappedFile>,
        parts: [PartRange; CodePart::COUNT],
        num_defined_funcs: usize,
        setup: CodeSetup,
    ) -> Result<Arc<ModuleCode>, CodeError> {
        let form = Form::Mapped(mapped::MappedCode::new(file, parts, num_defined_funcs)?);
        let code = Arc::new(ModuleCode { observers: Observers::none(), form, setup });
        Ok(code.observed())
    }

    /// Code that is compiled by `compile` when it is first called.
    ///
    /// `body_bytes`: about how large all function bodies are together; address space for their code is reserved.
    /// Without defined functions it is a place for trampolines of no module.
    pub(crate) fn lazy(
        num_defined_funcs: u32,
        body_bytes: u64,
        compile: CompileFn,
        setup: CodeSetup,
    ) -> Result<Arc<ModuleCode>, CodeError> {
        ModuleCode::tiered(num_defined_funcs, body_bytes, compile, None, None, setup)
    }

    /// The same where functions change their tier: `compile` makes code of the second one. `snapshot` is what an earlier
    /// run compiled.
    pub(crate) fn tiered(
        num_defined_funcs: u32,
        body_bytes: u64,
        compile: CompileFn,
        tiers: Option<TierSetup>,
        snapshot: Option<SnapshotFile>,
        setup: CodeSetup,
    ) -> Result<Arc<ModuleCode>, CodeError> {
        let map_file = setup.perf == PerfMode::Map;
        let lazy = lazy::LazyCode::new(num_defined_funcs, body_bytes, compile, tiers, snapshot, map_file)?;
        let form = Form::Lazy(Box::new(lazy));
        let code = Arc::new(ModuleCode { observers: Observers::none(), form, setup });
        Ok(code.observed())
    }

    /// Tells observers about code that nobody else has seen yet.
    fn observed(mut self: Arc<Self>) -> Arc<ModuleCode> {
        let this = Arc::get_mut(&mut self).expect("new");
        let range = this.text();
        match &this.form {
            Form::Sealed(sealed) => {
                if this.setup.native_unwind {
                    this.observers._unwind = unwind::register_functions(&sealed.placed());
                }
                this.setup.tell_tools(&this.observers.debugger, &sealed.placed());
            }
            Form::Mapped(mapped) => {
                if this.setup.native_unwind {
                    this.observers._unwind = unwind::register_by_frame_pointer(range.clone());
                }
                if this.setup.wants_tools() {
                    this.setup.tell_tools(&this.observers.debugger, &mapped.placed());
                }
            }
            Form::Lazy(lazy) => {
                if this.setup.native_unwind {
                    this.observers._unwind = unwind::register_by_frame_pointer(range.clone());
                }
                if this.setup.wants_tools() {
                    this.setup.tell_tools(&this.observers.debugger, &lazy.resumed());
                }
            }
        }
        this.observers.registered = Some(range.start);
        if let Form::Lazy(lazy) = &self.form {
            lazy.bind(&self);
        }
        registry::register(range, &self);
        self
    }

    /// A copy of the image that was placed.
    pub(crate) fn image(&self) -> Option<Image> {
        match &self.form {
            Form::Sealed(code) => Some(code.image()),
            Form::Mapped(_) | Form::Lazy(_) => None,
        }
    }

    /// Addresses of the text, as far as it may ever reach.
    pub(crate) fn text(&self) -> Range<usize> {
        match &self.form {
            Form::Sealed(code) => code.text(),
            Form::Mapped(code) => code.text(),
            Form::Lazy(code) => code.text(),
        }
    }

    /// Whether functions are compiled when they are first called.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self.form, Form::Lazy(_))
    }

    /// What the API layer attached, if it is a `T`.
    pub(crate) fn info<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.setup.info.downcast_ref()
    }

    /// The layout of contexts of the module's instances.
    pub(crate) fn layout(&self) -> &ContextLayout {
        &self.setup.layout
    }

    /// Where to call a function of the module, in the wasm convention: its body, or its entry stub. Stays valid, and
    /// the same, while the code lives. Panics if there is no such function.
    pub(crate) fn entry(&self, index: DefinedFuncIndex) -> NonNull<u8> {
        match &self.form {
            Form::Sealed(code) => code.entry(index),
            Form::Mapped(code) => code.entry(index),
            Form::Lazy(code) => code.entry(index),
        }
    }

    /// Where to call a trampoline; compiles it if need be. Fails if a sealed image has none, or if compiling fails.
    /// For a wasm function this is its body.
    pub(crate) fn trampoline(&self, key: FuncKey) -> anyhow::Result<NonNull<u8>> {
        match &self.form {
            Form::Sealed(code) => Ok(code.function(key)?),
            Form::Mapped(code) => Ok(code.function(key)?),
            Form::Lazy(code) => code.ready(key),
        }
    }

    /// A trampoline, if it is there already.
    pub(crate) fn own_trampoline(&self, key: FuncKey) -> Option<NonNull<u8>> {
        match &self.form {
            Form::Sealed(code) => code.function(key).ok(),
            Form::Mapped(code) => code.function(key).ok(),
            Form::Lazy(code) => code.resumed_trampoline(key),
        }
    }

    /// Whether a function or trampoline is compiled.
    pub(crate) fn has(&self, key: FuncKey) -> bool {
        match &self.form {
            Form::Sealed(code) => code.function(key).is_ok(),
            Form::Mapped(code) => code.function(key).is_ok(),
            Form::Lazy(code) => code.has(key),
        }
    }

    /// Whether more was compiled than what the code began with.
    pub(crate) fn outgrew_snapshot(&self) -> bool {
        matches!(&self.form, Form::Lazy(code) if code.outgrew_snapshot())
    }

    /// Bytes of a snapshot of what was compiled so far, about; 0 where there are none.
    pub(crate) fn snapshot_size(&self) -> u64 {
        match &self.form {
            Form::Sealed(_) | Form::Mapped(_) => 0,
            Form::Lazy(code) => code.snapshot_size(),
        }
    }

    /// What was compiled so far, if more was than what the code began with.
    pub(crate) fn capture(&self) -> Option<Captured<'_>> {
        match &self.form {
            Form::Sealed(_) | Form::Mapped(_) => None,
            Form::Lazy(code) => code.capture(),
        }
    }

    /// What was compiled so far, made anew: see [`Refined`].
    pub(crate) fn refined(&self, least: u32, threads: usize, end: Instant) -> anyhow::Result<Option<Refined>> {
        match &self.form {
            Form::Sealed(_) | Form::Mapped(_) => Ok(None),
            Form::Lazy(code) => code.refined(least, threads, end),
        }
    }

    /// How much functions were used at the first tier, if it was much.
    pub(crate) fn warmth(&self, least: u64) -> Option<Warmth> {
        match &self.form {
            Form::Sealed(_) | Form::Mapped(_) => None,
            Form::Lazy(code) => code.warmth(least),
        }
    }

    /// The array of the functions' counters; see `kiln_env::tier`. Null where functions do not change their tier.
    pub(crate) fn counters(&self) -> *mut u8 {
        match &self.form {
            Form::Sealed(_) | Form::Mapped(_) => ptr::null_mut(),
            Form::Lazy(code) => code.counters(),
        }
    }

    /// A function's counter ran out when the function was entered.
    pub(crate) fn entry_hot(self: &Arc<Self>, func: DefinedFuncIndex) {
        if let Form::Lazy(code) = &self.form {
            code.entry_hot(self, func);
        }
    }

    /// A function's counter ran out at the loop at this offset: where to go on, if not where it is.
    pub(crate) fn loop_hot(self: &Arc<Self>, func: DefinedFuncIndex, offset: u32) -> Option<NonNull<u8>> {
        match &self.form {
            Form::Sealed(_) | Form::Mapped(_) => None,
            Form::Lazy(code) => code.loop_hot(self, func, offset),
        }
    }

    /// Compiles something in the background.
    pub(crate) fn run_job(&self, key: FuncKey) {
        if let Form::Lazy(code) = &self.form {
            code.run_job(key);
        }
    }

    /// How many functions are in which tier; `None` where they do not change it.
    pub(crate) fn tier_counts(&self) -> Option<TierCounts> {
        match &self.form {
            Form::Sealed(_) | Form::Mapped(_) => None,
            Form::Lazy(code) => code.tier_counts(),
        }
    }

    /// The function that contains `pc`. Neither allocates nor locks.
    pub(crate) fn find(&self, pc: usize) -> Option<FoundFunc<'_>> {
        match &self.form {
            Form::Sealed(code) => code.find(pc),
            Form::Mapped(code) => code.find(pc),
            Form::Lazy(code) => code.find(pc),
        }
    }
}

impl CodeSetup {
    /// Whether debugger or profiler want to know about functions.
    fn wants_tools(&self) -> bool {
        self.gdb || self.perf != PerfMode::None
    }

    /// Tells debugger and profiler, as far as wanted, about functions.
    fn tell_tools(&self, debugger: &gdb::Registrations, placed: &[Placed<'_>]) {
        if self.gdb {
            debugger.add(placed, &self.names);
        }
        if self.perf != PerfMode::None {
            perf::tell(self.perf, placed, &self.names);
        }
    }
}

impl fmt::Debug for ModuleCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Sealed(_) => "sealed",
            Form::Mapped(_) => "mapped",
            Form::Lazy(_) => "lazy",
        };
        write!(f, "ModuleCode({form}, {:x?})", self.text())
    }
}
