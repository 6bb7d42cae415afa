//! A host that runs compiled modules and needs no compiler: `cargo run --no-default-features --example run_artifact -- FILE
//! FUNCTION [NUMBER]...`. Functions take and give 32-bit integers; the module may import `host.print`.

use anyhow::{Context, Result};
use kiln::{Config, Engine, Linker, Module, Store, Val};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let file = args.next().context("which file?")?;
    let function = args.next().context("which function?")?;
    let params = args.map(|arg| Ok(Val::I32(arg.parse()?))).collect::<Result<Vec<Val>>>()?;

    let engine = Engine::new(&Config::new())?;
    let module = Module::deserialize_file(&engine, &file)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "print", |n: i32| println!("printed {n}"))?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let function = instance.get_func(&mut store, &function).context("the module exports no such function")?;
    let mut results = vec![Val::I32(0); function.ty(&store).results().len()];
    function.call(&mut store, &params, &mut results)?;
    for result in results {
        println!("{}", result.unwrap_i32());
    }
    Ok(())
}
