//! What several tests use.

use kiln::{Config, Engine, Instance, Linker, Module, OptLevel, Store, Tiering};

/// Every tiering, with signals and without, by name.
pub(crate) fn modes() -> impl Iterator<Item = (String, Config)> {
    let tierings = [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic].into_iter();
    tierings.flat_map(|tiering| [true, false].map(|signals| (tiering, signals))).map(|(tiering, signals)| {
        let mut config = Config::new();
        config.tiering(tiering).signals_based_traps(signals);
        (format!("{tiering:?}, signals {signals}"), config)
    })
}

/// The same, each with Cranelift's optimiser and without.
#[allow(dead_code, reason = "not all tests use all of this")]
pub(crate) fn modes_and_levels() -> impl Iterator<Item = (String, Config)> {
    modes().flat_map(|(name, config)| {
        [OptLevel::Speed, OptLevel::None].map(|level| {
            let mut config = config.clone();
            config.cranelift_opt_level(level);
            (format!("{name}, {level:?}"), config)
        })
    })
}

/// Runs a test with an engine of each of the [`modes`].
#[allow(dead_code, reason = "not all tests use all of this")]
pub(crate) fn in_all_modes(configure: impl Fn(&mut Config), test: impl Fn(&Engine) -> anyhow::Result<()>) {
    for (name, mut config) in modes() {
        configure(&mut config);
        let engine = Engine::new(&config).expect("the configuration is fine");
        if let Err(e) = test(&engine) {
            panic!("{name}: {e:?}");
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
