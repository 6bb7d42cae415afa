//! What several tests use.

use kiln::{Config, Engine, Instance, Linker, Module, Store, Tiering};

/// Runs a test with engines that compile eagerly and lazily, with signals and without.
pub(crate) fn in_all_modes(configure: impl Fn(&mut Config), test: impl Fn(&Engine) -> anyhow::Result<()>) {
    for tiering in [Tiering::Eager, Tiering::Lazy] {
        for signals in [true, false] {
            let mut config = Config::new();
            config.tiering(tiering).signals_based_traps(signals);
            configure(&mut config);
            let engine = Engine::new(&config).expect("the configuration is fine");
            if let Err(e) = test(&engine) {
                panic!("{tiering:?}, signals {signals}: {e:?}");
            }
        }
    }
}

/// An instance without imports, with its store.
#[allow(dead_code, reason = "not all tests use all of this")]
pub(crate) fn instance(engine: &Engine, wat: &str) -> anyhow::Result<(Store<()>, Instance)> {
    let module = Module::new(engine, wat)?;
    let mut store = Store::new(engine, ());
    let instance = Linker::new(engine).instantiate(&mut store, &module)?;
    Ok((store, instance))
}
