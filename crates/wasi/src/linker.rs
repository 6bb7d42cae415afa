//! The functions as host functions of a [`kiln::Linker`].

use anyhow::Result;
use kiln::{Caller, Extern, Linker};

use crate::for_each_function;
use crate::functions::FUNCTIONS;
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
    for_each_function!(define, (linker, get,));
    Ok(())
}

macro_rules! define {
    (
        $linker:ident, $get:ident,
        errno { $($name:ident($($param:ident: $ty:ident),*);)* }
        raise { $($raise:ident($($rparam:ident: $rty:ident),*);)* }
        exit { $($exit:ident($($eparam:ident: $ety:ident),*);)* }
        unstable { $($old:ident = $unstable:ident($($uparam:ident: $uty:ident),*);)* }
    ) => {
        $($linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($param: $ty),*| {
            let result = with_memory(&mut caller, $get, |ctx, memory| ctx.$name(memory, $($param),*))?;
            trace!($name($($param),*), result);
            Ok::<_, anyhow::Error>(code(result))
        })?;)*
        $($linker.func_wrap(MODULE, stringify!($raise), move |mut caller: Caller<'_, T>, $($rparam: $rty),*| {
            let result = $get(caller.data_mut()).$raise($($rparam),*)?;
            trace!($raise($($rparam),*), result);
            Ok::<_, anyhow::Error>(code(result))
        })?;)*
        $($linker.func_wrap(MODULE, stringify!($exit), move |mut caller: Caller<'_, T>, $($eparam: $ety),*| {
            trace!($exit($($eparam),*), Ok::<(), Errno>(()));
            Ok::<_, anyhow::Error>($get(caller.data_mut()).$exit($($eparam),*)?)
        })?;)*
        $($linker.func_wrap(UNSTABLE_MODULE, stringify!($old), move |mut caller: Caller<'_, T>, $($uparam: $uty),*| {
            let result = with_memory(&mut caller, $get, |ctx, memory| ctx.$unstable(memory, $($uparam),*))?;
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
fn with_memory<T: 'static, R>(
    caller: &mut Caller<'_, T>,
    get: impl Fn(&mut T) -> &mut WasiCtx,
    f: impl FnOnce(&mut WasiCtx, &mut GuestMemory<'_>) -> R,
) -> Result<R> {
    let memory = match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => memory,
        other => return Err(no_memory(other)),
    };
    let (bytes, data) = memory.data_and_store_mut(&mut *caller);
    Ok(f(get(data), &mut GuestMemory::new(bytes)))
}

#[cold]
fn no_memory(export: Option<Extern>) -> anyhow::Error {
    let reason = match export {
        Some(Extern::SharedMemory(_)) => {
            "its memory is shared between threads, which is not supported for WASI preview 1"
        }
        Some(_) => "its export `memory` is not a memory",
        None => "it exports no memory with the name `memory`",
    };
    anyhow::anyhow!("the module calls a WASI function, but {reason}")
}
