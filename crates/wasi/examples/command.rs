//! Runs a WASI command: `command [--dir HOST::GUEST]… [--env NAME=VALUE]… [--argv0 NAME] FILE.wasm [ARGUMENT]…`
//!
//! The least that an embedder needs. The `kiln` binary does the same and much more.

use std::process::ExitCode;

use anyhow::{Context, Result};
use kiln::{Config, Engine, Linker, Module, Store, Tiering};
use kiln_wasi::{DirAccess, I32Exit, WasiCtx, WasiCtxBuilder};

fn main() -> Result<ExitCode> {
    let mut builder = WasiCtxBuilder::new();
    builder.inherit_stdio();
    let mut args = std::env::args().skip(1);
    let mut argv0 = None;
    let file = loop {
        let arg = args.next().context("no file given")?;
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match &arg[..] {
            "--dir" => {
                let folder = value()?;
                let (host, guest) = folder.split_once("::").unwrap_or((&folder, &folder));
                builder.preopened_dir(host, guest, DirAccess::ReadWrite)?;
            }
            "--env" => {
                let variable = value()?;
                let (name, value) = variable.split_once('=').context("a variable is NAME=VALUE")?;
                builder.env(name, value);
            }
            "--argv0" => argv0 = Some(value()?),
            _ => break arg,
        }
    };
    builder.arg(argv0.as_deref().unwrap_or(&file)).args(args);

    // Functions are compiled when they are first called, so that large programs start at once.
    let engine = Engine::new(Config::new().tiering(Tiering::Lazy))?;
    let module = Module::from_file(&engine, &file)?;
    let mut linker = Linker::new(&engine);
    kiln_wasi::add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx)?;
    let mut store = Store::new(&engine, builder.build()?);
    let instance = linker.instantiate(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    match start.call(&mut store, ()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(ExitCode::from(exit.process_exit_code())),
            None => Err(error),
        },
    }
}
