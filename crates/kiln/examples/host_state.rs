//! A guest that calls the host with a text in its memory; what the host makes of it is in the store:
//! `cargo run --example host_state`.

use anyhow::{Context, Result};
use kiln::{Caller, Engine, Linker, Module, Store};

const GUEST: &str = r#"(module
    (import "host" "log" (func $log (param i32 i32)))
    (import "host" "next" (func $next (result i64)))
    (memory (export "memory") 1)
    (data (i32.const 32) "hello from the guest")
    (func (export "run") (result i64)
        (call $log (i32.const 32) (i32.const 20))
        (call $log (i32.const 38) (i32.const 14))
        (i64.mul (call $next) (call $next))))"#;

#[derive(Default)]
struct Host {
    lines: Vec<String>,
    counter: u64,
}

fn main() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, GUEST)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |mut caller: Caller<'_, Host>| {
        caller.data_mut().counter += 6;
        caller.data().counter
    })?;
    // A host function that fails ends the guest; the error comes out of the call that began it.
    linker.func_wrap("host", "log", |mut caller: Caller<'_, Host>, at: u32, len: u32| -> Result<()> {
        let memory = caller.get_export("memory").and_then(|e| e.into_memory()).context("the guest has no memory")?;
        let (bytes, host) = memory.data_and_store_mut(&mut caller);
        let text = bytes.get(at as usize..).and_then(|rest| rest.get(..len as usize)).context("outside the memory")?;
        host.lines.push(std::str::from_utf8(text)?.to_owned());
        Ok(())
    })?;

    let mut store = Store::new(&engine, Host::default());
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), u64>(&mut store, "run")?;
    assert_eq!(run.call(&mut store, ())?, 6 * 12);

    // The host reads and writes the guest's memory between calls, too.
    let memory = instance.get_memory(&mut store, "memory").context("the guest has no memory")?;
    memory.write(&mut store, 32, b"HELLO")?;
    run.call(&mut store, ())?;
    let lines = store.into_data().lines;
    assert_eq!(lines, ["hello from the guest", "from the guest", "HELLO from the guest", "from the guest"]);
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
