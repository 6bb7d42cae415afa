//! The functions as host functions of a [`kiln::Linker`].

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use kiln::{AsContext, AsContextMut, Caller, Extern, Linker, StoreContextMut};

use crate::for_each_function;
use crate::functions::FUNCTIONS;
use crate::limits::BYTES_OF_FUEL;
use crate::pause::Progress;
use crate::{Errno, GuestMemory, WasiCtx};

/// The name under which programs import the functions.
const MODULE: &str = "wasi_snapshot_preview1";

/// The name of the version before, which old programs use.
const UNSTABLE_MODULE: &str = "wasi_unstable";

/// Defines all functions of `wasi_snapshot_preview1`, and those of its predecessor `wasi_unstable`, in a
/// linker. `get` finds the [`WasiCtx`] in the data of a store.
///
/// A program that calls `proc_exit` ends with the error [`I32Exit`](crate::I32Exit), also for code 0.
///
/// Every call is a `tracing` event of level TRACE and target `kiln_wasi`, with the arguments and the result.
///
/// ```
/// use kiln::{Engine, Linker, Module, Store};
/// use kiln_wasi::{I32Exit, OutputPipe, WasiCtx, WasiCtxBuilder};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"
///     (module
///         (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
///         (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
///         (memory (export "memory") 1)
///         (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
///         (func (export "_start")
///             (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
/// "#)?;
/// let mut linker = Linker::new(&engine);
/// kiln_wasi::add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx)?;
///
/// let stdout = OutputPipe::new(1 << 20);
/// let ctx = WasiCtxBuilder::new().arg("hello").stdout(&stdout).build()?;
/// let mut store = Store::new(&engine, ctx);
/// let instance = linker.instantiate(&mut store, &module)?;
/// let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
/// let error = start.call(&mut store, ()).unwrap_err();
/// assert_eq!(error.downcast_ref(), Some(&I32Exit(0)));
/// assert_eq!(stdout.contents(), b"hello\n");
/// # anyhow::Ok(())
/// ```
///
/// # Errors
/// The linker has one of the functions already.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    get: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
) -> Result<()> {
    let access = Own(get);
    for_each_function!(define, (linker, access,));
    Ok(())
}

/// [`add_to_linker`] for stores that share a context, which may be on several threads: those of a program that starts
/// threads ([`WasiThreads`](crate::WasiThreads)).
///
/// A function that has to wait leaves the context to the others meanwhile.
///
/// # Errors
/// The linker has one of the functions already.
pub fn add_shared_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    get: impl Fn(&T) -> &SharedWasiCtx + Copy + Send + Sync + 'static,
) -> Result<()> {
    let access = Shared(get);
    for_each_function!(define, (linker, access,));
    Ok(())
}

/// A context that several stores use.
#[derive(Clone, Debug)]
pub struct SharedWasiCtx(Arc<Mutex<WasiCtx>>);

impl From<WasiCtx> for SharedWasiCtx {
    fn from(ctx: WasiCtx) -> Self {
        Self(Arc::new(Mutex::new(ctx)))
    }
}

/// How a function comes to the context of its store.
trait Access<T>: Copy + Send + Sync + 'static {
    /// Whether others use the context at the same time.
    const IS_SHARED: bool;

    fn with<R>(&self, data: &mut T, f: impl FnOnce(&mut WasiCtx) -> R) -> R;
}

#[derive(Clone, Copy)]
struct Own<G>(G);

#[derive(Clone, Copy)]
struct Shared<G>(G);

impl<T, G: Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static> Access<T> for Own<G> {
    const IS_SHARED: bool = false;

    #[inline]
    fn with<R>(&self, data: &mut T, f: impl FnOnce(&mut WasiCtx) -> R) -> R {
        f((self.0)(data))
    }
}

impl<T, G: Fn(&T) -> &SharedWasiCtx + Copy + Send + Sync + 'static> Access<T> for Shared<G> {
    const IS_SHARED: bool = true;

    fn with<R>(&self, data: &mut T, f: impl FnOnce(&mut WasiCtx) -> R) -> R {
        // A function that panics leaves descriptors as they were or changed, but none in between.
        f(&mut (self.0)(data).0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

macro_rules! define {
    (
        $linker:ident, $access:ident,
        errno { $($name:ident($($param:ident: $ty:ident),*);)* }
        raise { $($raise:ident($($rparam:ident: $rty:ident),*);)* }
        exit { $($exit:ident($($eparam:ident: $ety:ident),*);)* }
        unstable { $($old:ident = $unstable:ident($($uparam:ident: $uty:ident),*);)* }
    ) => {
        $($linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($param: $ty),*| {
            let result = call(&mut caller, $access, |ctx, memory| ctx.$name(memory, $($param),*))?;
            trace!($name($($param),*), result);
            Ok::<_, anyhow::Error>(code(result))
        })?;)*
        $($linker.func_wrap(MODULE, stringify!($raise), move |mut caller: Caller<'_, T>, $($rparam: $rty),*| {
            let result = $access.with(caller.data_mut(), |ctx| ctx.$raise($($rparam),*))?;
            trace!($raise($($rparam),*), result);
            Ok::<_, anyhow::Error>(code(result))
        })?;)*
        $($linker.func_wrap(MODULE, stringify!($exit), move |mut caller: Caller<'_, T>, $($eparam: $ety),*| {
            trace!($exit($($eparam),*), Ok::<(), Errno>(()));
            Ok::<_, anyhow::Error>($access.with(caller.data_mut(), |ctx| ctx.$exit($($eparam),*))?)
        })?;)*
        $($linker.func_wrap(UNSTABLE_MODULE, stringify!($old), move |mut caller: Caller<'_, T>, $($uparam: $uty),*| {
            let result = call(&mut caller, $access, |ctx, memory| ctx.$unstable(memory, $($uparam),*))?;
            trace!($unstable($($uparam),*), result);
            Ok::<_, anyhow::Error>(code(result))
        })?;)*
        let changed = [$(stringify!($old)),*];
        for function in FUNCTIONS.iter().filter(|function| !changed.contains(&function.name)) {
            $linker.alias(MODULE, function.name, UNSTABLE_MODULE, function.name)?;
        }
    };
}
use define;

/// Reports a call with its arguments, as one would write it.
macro_rules! trace {
    ($name:ident($($param:ident),*), $result:expr) => {
        tracing::trace!(
            target: "kiln_wasi",
            concat!(stringify!($name), "(", $(stringify!($param), "={}, ",)* ")", " -> {}"),
            $($param,)*
            outcome($result),
        )
    };
}
use trace;

fn outcome(result: Result<(), Errno>) -> &'static str {
    match result {
        Ok(()) => "success",
        Err(errno) => errno.name(),
    }
}

/// What the wasm function returns.
fn code(result: Result<(), Errno>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(errno) => i32::from(errno.code()),
    }
}

/// Calls `f` with the caller's context and memory.
#[inline]
fn call<T: 'static, A: Access<T>>(
    caller: &mut Caller<'_, T>,
    access: A,
    f: impl Fn(&mut WasiCtx, &mut GuestMemory<'_>) -> Result<(), Errno>,
) -> Result<Result<(), Errno>> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) if !A::IS_SHARED && !caller.as_context().engine().is_interruptible() => {
            let (bytes, data) = memory.data_and_store_mut(&mut *caller);
            Ok(access.with(data, |ctx| f(ctx, &mut GuestMemory::new(bytes))))
        }
        Some(Extern::Memory(memory)) => in_turns(caller.as_context_mut(), |store, progress| {
            let (bytes, data) = memory.data_and_store_mut(store);
            access.with(data, |ctx| f(ctx, &mut GuestMemory::new(bytes).with_progress(progress)))
        }),
        Some(Extern::SharedMemory(memory)) => in_turns(caller.as_context_mut(), |store, progress| {
            let data = store.data_mut();
            access.with(data, |ctx| f(ctx, &mut GuestMemory::shared(&memory).with_progress(progress)))
        }),
        other => Err(no_memory(other.as_ref())),
    }
}

/// Makes a call that may be broken off, as often as it takes. Between its turns the store's deadline is checked, and
/// fuel is taken for what was moved.
fn in_turns<T: 'static>(
    mut store: StoreContextMut<'_, T>,
    mut turn: impl FnMut(&mut StoreContextMut<'_, T>, &mut Progress) -> Result<(), Errno>,
) -> Result<Result<(), Errno>> {
    let mut progress = Progress::default();
    let first = turn(&mut store, &mut progress);
    if progress.wait.is_none() {
        return Ok(first);
    }
    let mut paid = 0;
    store.wait(|mut store, wake| {
        let moved = progress.done - paid;
        paid = progress.done;
        store.consume_fuel((moved / BYTES_OF_FUEL) as u64)?;
        if let Some(wait) = progress.wait.take() {
            wait.wait(wake)?;
        }
        let result = turn(&mut store, &mut progress);
        Ok(if progress.wait.is_none() { ControlFlow::Break(result) } else { ControlFlow::Continue(()) })
    })
}

#[cold]
fn no_memory(export: Option<&Extern>) -> anyhow::Error {
    let reason = match export {
        Some(_) => "its export `memory` is not a memory",
        None => "it exports no memory with the name `memory`",
    };
    anyhow::anyhow!("the module calls a WASI function, but {reason}")
}
