//! The targets: what is done with a case and what counts as a find.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use anyhow::{Result, bail};
use wasmparser::{Validator, WasmFeatures};

use crate::generate::{self, Profile};
use crate::limits;
use crate::mutate::Corpus;
use crate::passes::{self, Passes};
#[cfg(feature = "rival")]
use crate::rival;
use crate::script::Script;
use crate::subject;
use crate::subject::Mode;
use crate::trace::{Outcome, Trace};

/// The proposals that Kiln has.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::THREADS)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::LEGACY_EXCEPTIONS)
    .union(WasmFeatures::FUNCTION_REFERENCES);

/// How a case ended.
pub enum Verdict {
    /// As it should.
    Pass,
    /// There was nothing to test.
    Skip(String),
    /// A bug, in words.
    Find(String),
}

/// Options of targets.
pub struct Settings {
    /// Folder with real modules, for `mutate`.
    pub corpus: Option<PathBuf>,
    /// Bytes of the largest module that is mutated.
    pub max_size: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { corpus: None, max_size: 300_000 }
    }
}

/// A target, ready to run cases.
pub enum Target {
    /// `wasm-smith` modules run in every mode and agree with each other.
    Smith(Vec<Mode>),
    /// They agree with another engine as well.
    #[cfg(feature = "rival")]
    Differential(Profile, Vec<Mode>, wasmtime::Engine),
    /// Mutants of real modules, under an epoch deadline, leave the process alive and explain themselves.
    Mutate(Corpus, Vec<Mode>),
    /// Modules of what Kiln's passes look for, and of what is nearly that, behave the same without them.
    Passes(Passes),
    /// Modules with counts at the limits of validators are valid for Kiln if they are for `wasmparser`.
    Limits(kiln::Engine),
}

impl Target {
    /// What [`Target::new`] knows.
    pub const NAMES: &[&str] = &[
        "smith",
        #[cfg(feature = "rival")]
        "differential",
        #[cfg(feature = "rival")]
        "exceptions",
        "passes",
        "limits",
        "mutate",
    ];

    /// The target with this name.
    ///
    /// # Errors
    /// If there is none, or its corpus is missing.
    pub fn new(name: &str, settings: &Settings) -> Result<Target> {
        Ok(match name {
            "smith" => Target::Smith(Mode::all(false)?),
            #[cfg(feature = "rival")]
            "differential" => Target::Differential(Profile::All, Mode::all(false)?, rival::engine()?),
            #[cfg(feature = "rival")]
            "exceptions" => Target::Differential(Profile::ExceptionsAndTailCalls, Mode::all(false)?, rival::engine()?),
            "passes" => Target::Passes(Passes::new()?),
            "limits" => Target::Limits(kiln::Engine::new(kiln::Config::new().compilation_threads(1))?),
            "mutate" => {
                let Some(dir) = &settings.corpus else { bail!("mutate needs --corpus DIR, a folder with .wasm files") };
                Target::Mutate(Corpus::load(dir, settings.max_size)?, Mode::all(true)?)
            }
            other => bail!("no target is called {other:?}; there are {}", Self::NAMES.join(", ")),
        })
    }

    /// The module of a seed.
    ///
    /// # Errors
    /// If this seed makes none.
    pub fn module(&self, seed: u64) -> Result<Vec<u8>> {
        match self {
            Target::Smith(_) => generate::module(seed, Profile::All),
            #[cfg(feature = "rival")]
            Target::Differential(profile, ..) => generate::module(seed, *profile),
            Target::Mutate(corpus, _) => Ok(corpus.mutant(seed).1),
            Target::Passes(_) => Ok(passes::module(seed)),
            Target::Limits(_) => limits::module(seed),
        }
    }

    /// Runs a case. A panic is a find.
    pub fn case(&self, seed: u64) -> Verdict {
        let module = match self.module(seed) {
            Ok(module) => module,
            Err(error) => return Verdict::Skip(format!("{error:#}")),
        };
        catch_unwind(AssertUnwindSafe(|| self.check(seed, &module)))
            .unwrap_or_else(|_| Verdict::Find("a panic: see its message above".into()))
    }

    fn check(&self, seed: u64, module: &[u8]) -> Verdict {
        let result = match self {
            Target::Smith(modes) => smith(modes, module, seed),
            #[cfg(feature = "rival")]
            Target::Differential(_, modes, engine) => differential(modes, engine, module, seed),
            Target::Mutate(_, modes) => mutant(modes, module, seed),
            Target::Passes(passes) => passes.check(module, seed).map(|()| Verdict::Pass),
            Target::Limits(engine) => limits::check(engine, &mut Validator::new_with_features(FEATURES), module)
                .map(|valid| if valid { Verdict::Pass } else { Verdict::Skip("both refuse it".into()) }),
        };
        result.unwrap_or_else(|error| Verdict::Find(format!("{error:#}")))
    }
}

/// Traces of all modes, which must not differ.
fn agreed_trace(modes: &[Mode], module: &[u8], script: &Script) -> Result<std::result::Result<Trace, String>> {
    let mut first: Option<Trace> = None;
    for mode in modes {
        let compiled = match mode.compile(module, script) {
            Ok(compiled) => compiled,
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        let trace = subject::run(&mode.engine, &compiled, script)?;
        match &first {
            None => first = Some(trace),
            Some(other) => {
                if let Some(difference) = other.difference(&trace) {
                    bail!("{} and {} differ: {difference}", modes[0].name, mode.name);
                }
            }
        }
    }
    Ok(first.ok_or_else(|| "no mode".into()))
}

fn smith(modes: &[Mode], module: &[u8], seed: u64) -> Result<Verdict> {
    let script = Script::for_module(module, seed)?;
    Ok(match agreed_trace(modes, module, &script)? {
        Ok(_) => Verdict::Pass,
        Err(refusal) => Verdict::Find(format!("a valid module is refused: {refusal}")),
    })
}

#[cfg(feature = "rival")]
fn differential(modes: &[Mode], engine: &wasmtime::Engine, module: &[u8], seed: u64) -> Result<Verdict> {
    if generate::is_relaxed(module)? {
        return Ok(Verdict::Skip("relaxed SIMD: engines may differ".into()));
    }
    let script = Script::for_module(module, seed)?;
    let expected = match rival::compile(engine, module) {
        Ok(compiled) => rival::run(engine, &compiled, &script),
        Err(error) => Err(error),
    };
    let expected = match expected {
        Ok(trace) => trace,
        Err(error) => return Ok(Verdict::Skip(format!("the oracle refuses: {error:#}"))),
    };
    Ok(match agreed_trace(modes, module, &script)? {
        Ok(actual) => match actual.difference(&expected) {
            None => Verdict::Pass,
            Some(difference) => Verdict::Find(format!("Kiln or wasmtime: {difference}")),
        },
        Err(refusal) => Verdict::Find(format!("wasmtime runs it, Kiln refuses: {refusal}")),
    })
}

fn mutant(modes: &[Mode], module: &[u8], seed: u64) -> Result<Verdict> {
    let script = Script::for_module(module, seed).unwrap_or(Script { calls: Vec::new() });
    let verdict = Validator::new_with_features(FEATURES).validate_all(module);
    let mut pass = Verdict::Skip("invalid".into());
    // Two of the modes: what mutants find is in the compiler and in what runs code, seldom in one mode alone.
    let chosen = [0, modes.len() / 2].map(|i| &modes[(seed as usize + i) % modes.len()]);
    for mode in chosen {
        match (subject::compile(&mode.engine, module), &verdict) {
            (Ok(_), Err(invalid)) => bail!("{} takes an invalid module: {invalid}", mode.name),
            (Ok(compiled), Ok(_)) => {
                let trace = mode.under_deadline(|| subject::run(&mode.engine, &compiled, &script));
                explain(trace?)?;
                pass = Verdict::Pass;
            }
            (Err(error), _) => {
                subject::explains_refusal(&error)?;
                let text = format!("{error:#}");
                let supported = !["limit", "supported", "too large", "at most"].iter().any(|w| text.contains(w));
                if verdict.is_ok() && supported {
                    bail!("{} refuses a valid module: {text}", mode.name);
                }
            }
        }
    }
    Ok(pass)
}

/// Every error of a run says what happened.
fn explain(trace: Trace) -> Result<()> {
    for event in trace.events {
        if let Outcome::Error(message) = &event.outcome
            && message.trim().is_empty()
        {
            bail!("`{}` failed without a message", event.what);
        }
    }
    Ok(())
}

/// One case of a target without options, for fuzzers that choose seeds themselves.
///
/// # Panics
/// If it is a find.
pub fn fuzz(name: &'static str, seed: u64) {
    thread_local! {
        static TARGET: std::cell::OnceCell<Target> = const { std::cell::OnceCell::new() };
    }
    TARGET.with(|target| {
        let target = target.get_or_init(|| Target::new(name, &Settings::default()).expect("the target exists"));
        if let Verdict::Find(what) = target.case(seed) {
            panic!("seed {seed}: {what}");
        }
    });
}
