//! wasi-threads: programs that start threads.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;

use anyhow::{Context, Error, Result, ensure};
use kiln::{ExternType, Instance, InstancePre, Linker, Module, SharedMemory, Store, ValType};

use crate::limits::THREADS;

/// The import by which a program starts a thread.
const IMPORT: (&str, &str) = ("wasi", "thread-spawn");

/// The export at which a thread begins.
const START: &str = "wasi_thread_start";

/// Numbers of threads are positive and leave three bits to the program.
const LAST_ID: i32 = 0x1fff_ffff;

/// The threads of one program.
///
/// A program imports its memory, which is shared, and `wasi::thread-spawn`, and exports `wasi_thread_start`. Each thread is a
/// thread of the host, with an instance of its own in a store of its own. The stores usually share a
/// [`SharedWasiCtx`](crate::SharedWasiCtx).
///
/// The program ends when one of its threads ends it, by `proc_exit` or a trap, or its main function returns. Others
/// are stopped then if the engine has epochs: the next epoch begins, and stores whose deadline is that one trap. Without
/// epochs they go on until they end, or this process does.
///
/// ```
/// use kiln::{Config, Engine, Linker, Module, Store};
/// use kiln_wasi::{SharedWasiCtx, WasiCtxBuilder, WasiThreads};
///
/// let engine = Engine::new(Config::new().epoch_interruption(true))?;
/// let module = Module::new(&engine, r#"
///     (module
///         (import "env" "memory" (memory 1 1 shared))
///         (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
///         (export "memory" (memory 0))
///         (func (export "wasi_thread_start") (param $id i32) (param $argument i32)
///             (i32.atomic.store (i32.const 0) (local.get $argument))
///             (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
///         (func (export "_start")
///             (drop (call $spawn (i32.const 42)))
///             (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))
/// "#)?;
/// let ctx = SharedWasiCtx::from(WasiCtxBuilder::new().build()?);
/// let mut linker = Linker::new(&engine);
/// kiln_wasi::add_shared_to_linker(&mut linker, |ctx: &SharedWasiCtx| ctx)?;
///
/// let new_store = move || {
///     let mut store = Store::new(&engine, ctx.clone());
///     store.set_epoch_deadline(1);
///     Ok(store)
/// };
/// let mut store = new_store()?;
/// let threads = WasiThreads::new(new_store);
/// let instance = threads.instantiate(&mut linker, &mut store, &module)?;
/// let main = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
/// let result = main.call(&mut store, ());
/// threads.finish(result)?;
/// # anyhow::Ok(())
/// ```
pub struct WasiThreads<T: 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: 'static> {
    new_store: Box<dyn Fn() -> Result<Store<T>> + Send + Sync>,
    on_end: OnceLock<Box<dyn Fn(Error) + Send + Sync>>,
    program: OnceLock<InstancePre<T>>,
    most: usize,
    stack: usize,
    state: Mutex<State>,
    /// Notified when a thread has ended.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The threads that there are, but for the first one.
    live: HashSet<i32>,
    last: i32,
    is_over: bool,
    /// How the program ended, if a thread ended it.
    end: Option<Error>,
}

impl<T: 'static> fmt::Debug for WasiThreads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasiThreads")
            .field("live", &self.inner.state.lock().map_or(0, |state| state.live.len()))
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> WasiThreads<T> {
    /// For a program whose threads get the stores that `new_store` makes. There are at most 256 threads at a time, besides the
    /// first one, with 16 MiB of stack each.
    pub fn new(new_store: impl Fn() -> Result<Store<T>> + Send + Sync + 'static) -> Self {
        Self::with_limits(THREADS, 16 << 20, new_store)
    }

    /// [`Self::new`] with at most `most` threads at a time, besides the first one, and `stack` bytes of the host's stack for
    /// each: more than the program may use by the engine's configuration.
    pub fn with_limits(
        most: usize,
        stack: usize,
        new_store: impl Fn() -> Result<Store<T>> + Send + Sync + 'static,
    ) -> Self {
        let inner = Inner {
            new_store: Box::new(new_store),
            on_end: OnceLock::new(),
            program: OnceLock::new(),
            most,
            stack,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Has `f` called, once and on that thread, when a thread other than the first ends the program: it gets how, instead
    /// of [`Self::finish`]. For hosts that end then, and do not wait for the first thread, which without epochs may not end.
    pub fn on_end(&self, f: impl Fn(Error) + Send + Sync + 'static) {
        // A second one is not called.
        let _ = self.inner.on_end.set(Box::new(f));
    }

    /// Defines `wasi::thread-spawn` and the shared memories that the module imports, where the linker does not have them, and
    /// instantiates the module in the store of its first thread. What else the linker has belongs to no store.
    ///
    /// # Errors
    /// As for [`Linker::instantiate`]; the module imports `wasi::thread-spawn`, but no shared memory, or it exports no function
    /// `wasi_thread_start` of two numbers; a program was instantiated by this before.
    pub fn instantiate(&self, linker: &mut Linker<T>, store: &mut Store<T>, module: &Module) -> Result<Instance> {
        self.define(linker, store, module)?;
        let program = linker.instantiate_pre(module)?;
        ensure!(self.inner.program.set(program.clone()).is_ok(), "these are the threads of another program");
        program.instantiate(store)
    }

    fn define(&self, linker: &mut Linker<T>, store: &mut Store<T>, module: &Module) -> Result<()> {
        let (mut spawns, mut shares) = (false, false);
        for import in module.imports() {
            match import.ty() {
                ExternType::Memory(ty) if ty.is_shared() => {
                    shares = true;
                    if linker.get_by_import(&mut *store, &import).is_none() {
                        let memory = SharedMemory::new(module.engine(), ty)?;
                        linker.define(&*store, import.module(), import.name(), memory)?;
                    }
                }
                _ => spawns |= (import.module(), import.name()) == IMPORT,
            }
        }
        if !spawns {
            return Ok(());
        }
        ensure!(shares, "the module starts threads, but imports no shared memory that they could use");
        let start = module.exports().find(|export| export.name() == START).map(|export| export.ty());
        let is_start = |ty: &ExternType| match ty {
            ExternType::Func(ty) => {
                ty.results().len() == 0 && ty.params().len() == 2 && ty.params().all(|ty| matches!(ty, ValType::I32))
            }
            _ => false,
        };
        ensure!(
            start.as_ref().is_some_and(is_start),
            "the module starts threads, but exports no function `{START}` with two parameters of type i32"
        );
        let threads = Arc::downgrade(&self.inner);
        linker.func_wrap(IMPORT.0, IMPORT.1, move |argument: i32| Inner::spawn(&threads, argument))?;
        Ok(())
    }

    /// How many threads there are besides the first one.
    pub fn count(&self) -> usize {
        self.inner.lock().live.len()
    }

    /// Ends the program: its main function has returned this. The result is that of the thread which ended the program
    /// first.
    ///
    /// # Errors
    /// That of the main function or of the thread.
    pub fn finish(&self, main: Result<()>) -> Result<()> {
        let mut state = self.inner.lock();
        let first = std::mem::replace(&mut state.is_over, true);
        let end = state.end.take();
        drop(state);
        self.inner.stop();
        match end {
            Some(end) if first => Err(end),
            _ => main,
        }
    }

    /// Waits until there is no thread but the first one.
    pub fn wait(&self) {
        let mut state = self.inner.lock();
        while !state.live.is_empty() {
            state = self.inner.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Send + 'static> Inner<T> {
    /// Starts a thread: its number, or -1 if there cannot be another one.
    fn spawn(this: &Weak<Self>, argument: i32) -> i32 {
        let Some(this) = this.upgrade() else { return -1 };
        let Some(id) = this.new_id() else { return -1 };
        let thread = thread::Builder::new().name(format!("guest-{id}")).stack_size(this.stack);
        let inner = this.clone();
        match thread.spawn(move || inner.run(id, argument)) {
            Ok(_) => id,
            Err(error) => {
                tracing::warn!(%error, "the program's thread {id} cannot be started");
                this.forget(id);
                -1
            }
        }
    }

    fn new_id(&self) -> Option<i32> {
        let mut state = self.lock();
        if state.is_over || state.live.len() >= self.most {
            return None;
        }
        // There are more numbers than threads.
        loop {
            state.last = if state.last == LAST_ID { 1 } else { state.last + 1 };
            let id = state.last;
            if state.live.insert(id) {
                return Some(id);
            }
        }
    }

    fn forget(&self, id: i32) {
        self.lock().live.remove(&id);
        self.changed.notify_all();
    }

    /// A thread, from its beginning to its end.
    fn run(&self, id: i32, argument: i32) {
        let _gone = Gone { threads: self, id };
        let Err(error) = self.enter(id, argument) else { return };
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_over, true) {
            return;
        }
        match self.on_end.get() {
            Some(on_end) => {
                drop(state);
                on_end(error);
            }
            None => {
                state.end = Some(error);
                drop(state);
            }
        }
        self.stop();
    }

    fn enter(&self, id: i32, argument: i32) -> Result<()> {
        let program = self.program.get().context("the program has not been instantiated")?;
        let mut store = (self.new_store)()?;
        let instance = program.instantiate(&mut store).with_context(|| format!("failed to start thread {id}"))?;
        instance.get_typed_func::<(i32, i32), ()>(&mut store, START)?.call(&mut store, (id, argument))
    }

    /// Stops threads that have a deadline.
    fn stop(&self) {
        if let Some(program) = self.program.get() {
            program.module().engine().increment_epoch();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a thread at its end, also if it panics.
struct Gone<'a, T: Send + 'static> {
    threads: &'a Inner<T>,
    id: i32,
}

impl<T: Send + 'static> Drop for Gone<'_, T> {
    fn drop(&mut self) {
        self.threads.forget(self.id);
    }
}
