//! `kiln wast`: scripts of the official test suite's format.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use kiln::Engine;
use kiln_testkit::{Features, Mode, script, suite};

use crate::args::Wast;
use crate::options::UsageError;
use crate::report;

/// Runs the scripts in the chosen modes; fails if an assertion does.
pub(crate) fn main(args: &Wast) -> Result<ExitCode> {
    let mut modes = Mode::all();
    for name in &args.modes {
        if !modes.iter().any(|m| m.name == name) {
            let known: Vec<&str> = modes.iter().map(|m| m.name).collect();
            return Err(UsageError(format!("no mode is called {name}; there are {}", known.join(", "))).into());
        }
    }
    modes.retain(|m| args.modes.is_empty() || args.modes.iter().any(|n| n == m.name));
    let mut failed = 0;
    for mode in &modes {
        let mut engines: Vec<(Mode, Engine)> = Vec::new();
        for file in &args.files {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
            let mode = mode.with_features(features(file, &args.wasm)?);
            let known = engines.iter().position(|(m, _)| *m == mode);
            let at = known.map_or_else(|| make_engine(&mut engines, mode), Ok)?;
            let (mode, engine) = &engines[at];
            let outcome = script::run(&name, &text, engine, mode)?;
            for failure in &outcome.failures {
                report::note(&format!("{failure} [{}]", mode.name));
            }
            failed += outcome.failures.len();
            let (passed, bad) = (outcome.passed, outcome.failures.len());
            report::note(&format!("{name} [{}]: {passed} passed, {bad} failed", mode.name));
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds an engine in this mode, and returns where it is.
fn make_engine(engines: &mut Vec<(Mode, Engine)>, mode: Mode) -> Result<usize> {
    let engine = mode.engine().with_context(|| format!("cannot make an engine in mode {}", mode.name))?;
    engines.push((mode, engine));
    Ok(engines.len() - 1)
}

/// What a script may use: what its folder says, then what the command line says.
fn features(script: &Path, given: &[String]) -> Result<Features> {
    let mut features = suite::features(script);
    for item in given.iter().flat_map(|texts| texts.split(',')).filter(|text| !text.is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, "y"));
        let on = match value {
            "y" | "yes" | "true" => true,
            "n" | "no" | "false" => false,
            _ => return Err(UsageError(format!("-W {name} is y or n, not `{value}`")).into()),
        };
        features.set(name, on).map_err(|error| UsageError(format!("-W {name}: {error}")))?;
    }
    Ok(features)
}
