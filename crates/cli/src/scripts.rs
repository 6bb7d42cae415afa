//! `kiln wast`: scripts of the official test suite's format.

use std::process::ExitCode;

use anyhow::{Context, Result};
use kiln_testkit::{Mode, script};

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
        let engine = mode.engine().with_context(|| format!("cannot make an engine in mode {}", mode.name))?;
        for file in &args.files {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
            let outcome = script::run(&name, &text, &engine, mode)?;
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
