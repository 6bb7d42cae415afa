//! One compiled module for many threads, and for later runs: from a file if it is there, else compiled, each function only
//! once: `cargo run --example threads`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use kiln::{ArtifactOptions, Config, Engine, IncompatibleArtifact, InstancePre, Linker, MemoryStore, Module, Store};

const GUEST: &str = r#"(module
    (import "host" "seed" (func $seed (result i64)))
    (func $step (param i64) (result i64) (i64.rotl (i64.mul (local.get 0) (i64.const 0x9e3779b97f4a7c15)) (i64.const 29)))
    (func (export "run") (param i32) (result i64) (local i64)
        (local.set 1 (call $seed))
        (loop (local.set 1 (call $step (local.get 1)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1)))"#;

/// Loads the module from its artifact, which is made if it is not there or another build of Kiln made it.
fn load(engine: &Engine, artifact: &Path) -> Result<Module> {
    if artifact.is_file() {
        match Module::deserialize_file(engine, artifact) {
            Err(error) if error.is::<IncompatibleArtifact>() => println!("{error:#}"),
            loaded => return loaded,
        }
    }
    std::fs::write(artifact, engine.precompile_module(GUEST.as_bytes(), &ArtifactOptions::new())?)?;
    Module::deserialize_file(engine, artifact)
}

/// A store of the thread's own for each task.
fn task(pre: &InstancePre<u64>, seed: u64) -> Result<u64> {
    let mut store = Store::new(pre.module().engine(), seed);
    let instance = pre.instantiate(&mut store)?;
    instance.get_typed_func::<u32, u64>(&mut store, "run")?.call(&mut store, 100_000)
}

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("kiln-example-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let cache = Arc::new(MemoryStore::default());
    let engine = Engine::new(Config::new().cache(Some(cache.clone())))?;
    let module = load(&engine, &folder.join("guest.kiln"))?;
    // The second time it is there, and what else is compiled of the same functions comes from the cache.
    load(&engine, &folder.join("guest.kiln"))?;
    let again = Module::new(&engine, GUEST)?.compile_statistics();
    assert!(again.cache_misses == 0, "{again:?}");

    let mut linker: Linker<u64> = Linker::new(&engine);
    linker.func_wrap("host", "seed", |caller: kiln::Caller<'_, u64>| *caller.data())?;
    let pre = linker.instantiate_pre(&module)?;
    let threads: Vec<_> = (1..=4)
        .map(|seed| {
            let pre = pre.clone();
            std::thread::spawn(move || task(&pre, seed))
        })
        .collect();
    for (seed, thread) in (1..).zip(threads) {
        let result = thread.join().expect("it does not panic")?;
        assert_eq!(result, task(&pre, seed)?);
        println!("{seed}: {result:x}");
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
