//! The modes in which every semantic test runs: what a guest can see must be the same in all of them.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use kiln::{
    ArtifactOptions, BaselineCompiler, Config, Engine, Inlining, MemoryStore, Module, ModuleFile, Store, TierUp,
    Tiering,
};
use kiln_compiler::Features;

/// A way to configure the engine, with the proposals that are on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mode {
    /// Name, for messages and for `KILN_MODES`.
    pub name: &'static str,
    /// The proposals that modules may use.
    pub features: Features,
    tiering: Tiering,
    tier_up: TierUp,
    baseline: BaselineCompiler,
    parallel: bool,
    fuel: bool,
    epochs: bool,
    signals: bool,
    inlining: Inlining,
    /// Whether memories have guards. If not, code checks bounds.
    guards: bool,
    /// Whether modules are loaded from artifacts, which lack the wasm module.
    artifact: bool,
    /// Whether all functions are in a cache when a module is made.
    cached: bool,
    /// Whether modules go on from a snapshot in which all functions are optimised.
    refined: bool,
}

impl Mode {
    const EAGER: Mode = Mode {
        name: "eager",
        features: Features::DEFAULT,
        tiering: Tiering::Eager,
        tier_up: TierUp::Background,
        baseline: BaselineCompiler::Cranelift,
        parallel: true,
        fuel: false,
        epochs: false,
        signals: true,
        inlining: Inlining::Yes,
        guards: true,
        artifact: false,
        cached: false,
        refined: false,
    };

    /// Every mode: functions compiled at once, by one thread and by many, or when first called; with fuel and epochs
    /// counted; with bounds of memories checked by code; with no signal handled at all; from artifacts in files; from a
    /// cache of functions, which holds those of the modules before as well; with functions that change their tier, when
    /// they are hot, as soon as possible, or at random; with code that was optimised between two runs; with nothing inlined, and with as much as possible.
    pub fn all() -> Vec<Mode> {
        vec![
            Mode::EAGER,
            Mode { name: "eager-one-thread", parallel: false, ..Mode::EAGER },
            Mode { name: "lazy", tiering: Tiering::Lazy, ..Mode::EAGER },
            Mode { name: "lazy-metered", tiering: Tiering::Lazy, fuel: true, epochs: true, ..Mode::EAGER },
            Mode { name: "eager-bounds-checks", guards: false, inlining: Inlining::No, ..Mode::EAGER },
            Mode { name: "lazy-no-signals", tiering: Tiering::Lazy, signals: false, guards: false, ..Mode::EAGER },
            Mode { name: "artifact", artifact: true, ..Mode::EAGER },
            Mode { name: "cached", cached: true, ..Mode::EAGER },
            Mode { name: "dynamic", ..Mode::DYNAMIC },
            Mode { name: "dynamic-cached", cached: true, inlining: Inlining::Stress, ..Mode::DYNAMIC },
            Mode { name: "refined", refined: true, ..Mode::STENCILS },
            Mode { name: "tier-up-at-once", tier_up: TierUp::AtOnce, ..Mode::DYNAMIC },
            Mode { name: "tier-up-metered", tier_up: TierUp::AtOnce, fuel: true, epochs: true, ..Mode::DYNAMIC },
            Mode { name: "tier-up-random", tier_up: TierUp::Random(1), ..Mode::DYNAMIC },
            Mode {
                name: "tier-up-no-signals",
                tier_up: TierUp::Random(2),
                signals: false,
                guards: false,
                fuel: true,
                ..Mode::DYNAMIC
            },
            Mode { name: "eager-inlined", inlining: Inlining::Stress, ..Mode::EAGER },
            Mode {
                name: "lazy-inlined-metered",
                tiering: Tiering::Lazy,
                fuel: true,
                epochs: true,
                inlining: Inlining::Stress,
                ..Mode::EAGER
            },
            Mode {
                name: "eager-inlined-no-signals",
                signals: false,
                guards: false,
                inlining: Inlining::Stress,
                ..Mode::EAGER
            },
            Mode { name: "stencils", tier_up: TierUp::Never, ..Mode::STENCILS },
            Mode { name: "stencils-metered", tier_up: TierUp::Never, fuel: true, epochs: true, ..Mode::STENCILS },
            Mode { name: "stencils-bounds-checks", tier_up: TierUp::Never, guards: false, ..Mode::STENCILS },
            Mode { name: "stencils-tier-up-at-once", tier_up: TierUp::AtOnce, ..Mode::STENCILS },
            Mode { name: "stencils-tier-up-random", tier_up: TierUp::Random(3), fuel: true, ..Mode::STENCILS },
        ]
    }

    const STENCILS: Mode = Mode { baseline: BaselineCompiler::Stencils, ..Mode::DYNAMIC };

    const DYNAMIC: Mode = Mode { tiering: Tiering::Dynamic, ..Mode::EAGER };

    /// The mode in which functions change their tier at random, by a seed; with odd ones the first tier is stencils.
    pub fn random_tiers(seed: u64) -> Mode {
        let mode = if seed.is_multiple_of(2) { Mode::DYNAMIC } else { Mode::STENCILS };
        Mode { name: "tier-up-random", tier_up: TierUp::Random(seed), ..mode }
    }

    /// The modes that the environment variable `KILN_MODES` names, separated by commas; all modes if it is not set.
    ///
    /// # Panics
    /// A name is not that of a mode.
    pub fn chosen() -> Vec<Mode> {
        let Ok(names) = std::env::var("KILN_MODES") else { return Mode::all() };
        let all = Mode::all();
        let find = |name: &str| {
            let known: Vec<&str> = all.iter().map(|m| m.name).collect();
            let found = all.iter().find(|m| m.name == name).cloned();
            found.unwrap_or_else(|| panic!("KILN_MODES: no mode is called {name}; there are {}", known.join(", ")))
        };
        names.split(',').filter(|n| !n.is_empty()).map(find).collect()
    }

    /// The same mode with other proposals.
    #[must_use]
    pub fn with_features(&self, features: Features) -> Mode {
        Mode { features, ..self.clone() }
    }

    /// The configuration of an engine in this mode.
    ///
    /// # Errors
    /// A proposal is not known to the engine.
    pub fn config(&self) -> Result<Config> {
        let mut config = Config::new();
        config.tiering(self.tiering);
        config.tier_up(self.tier_up);
        config.baseline_compiler(self.baseline);
        config.parallel_compilation(self.parallel);
        config.consume_fuel(self.fuel);
        config.epoch_interruption(self.epochs);
        config.signals_based_traps(self.signals);
        config.compiler_inlining(self.inlining);
        if !self.guards {
            config.memory_reservation(1 << 20);
            config.memory_guard_size(0);
        }
        if self.cached {
            config.cache(Some(Arc::new(MemoryStore::new())));
        }
        for (name, on) in self.features.iter() {
            config.wasm_feature(name, on);
        }
        Ok(config)
    }

    /// An engine in this mode.
    ///
    /// # Errors
    /// The host does not support what the mode asks for.
    pub fn engine(&self) -> Result<Engine> {
        Engine::new(&self.config()?)
    }

    /// A module in this mode, from its binary or text form. `engine` is one in this mode.
    ///
    /// # Errors
    /// The module is not valid, or an artifact of it cannot be made or loaded.
    pub fn module(&self, engine: &Engine, bytes: &[u8]) -> Result<Module> {
        if self.cached {
            // Once for the cache, as a whole, and once from it. Settings that decide when functions are compiled are none
            // that decide about code.
            let mut eager = engine.config().clone();
            drop(Module::new(&Engine::new(eager.tiering(Tiering::Eager))?, bytes)?);
        }
        if self.refined {
            return refined(engine, &wat::parse_bytes(bytes)?);
        }
        if !self.artifact {
            return Module::new(engine, bytes);
        }
        let artifact = engine.precompile_module(bytes, ArtifactOptions::new().embed_wasm(false))?;
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&artifact)?;
        Module::deserialize_file(engine, file.path())
    }

    /// Gives a new store what it needs to run in this mode: fuel and a deadline that are never used up.
    ///
    /// # Errors
    /// The store is not of an engine in this mode.
    pub fn prepare<T>(&self, store: &mut Store<T>) -> Result<()> {
        if self.fuel {
            store.set_fuel(u64::MAX >> 1)?;
        }
        if self.epochs {
            store.set_epoch_deadline(u64::MAX / 2);
        }
        Ok(())
    }
}

/// A module that goes on where a run ended that had called all functions, which were optimised then.
fn refined(engine: &Engine, wasm: &[u8]) -> Result<Module> {
    let module = Module::new(engine, wasm)?;
    module.compile_functions()?;
    let folder = tempfile::tempdir()?;
    let [file, outline, snapshot] = ["wasm", "outline", "snapshot"].map(|name| folder.path().join(name));
    std::fs::write(&file, wasm)?;
    std::fs::write(&outline, module.outline()?)?;
    // There is none where there are no functions.
    let first = module.snapshot()?;
    first.map_or(Ok(()), |bytes| std::fs::write(&snapshot, bytes))?;
    let resume = || Module::resume(engine, ModuleFile::open(engine, &file)?, &outline, &snapshot, &[]);
    let end = Instant::now() + Duration::from_secs(3600);
    if let Some(bytes) = resume()?.refined_snapshot(0, end)? {
        std::fs::write(&snapshot, bytes)?;
    }
    resume()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = Mode::all().iter().map(|m| m.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Mode::all().len());
    }
}
