//! `cargo xtask ci`: everything that must pass, in the order in which a failure is cheapest to learn.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{root, table};

/// Options of `ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only these steps
    steps: Vec<String>,
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
    /// Print the names of the steps
    #[arg(long)]
    list: bool,
}

/// A command of the run. Tests and the programs they run share the `dev` profile, in which Cranelift is optimised, so
/// that it is built once.
struct Step {
    name: &'static str,
    program: &'static str,
    args: &'static str,
    env: &'static [(&'static str, &'static str)],
}

const fn cargo(name: &'static str, args: &'static str) -> Step {
    Step { name, program: "cargo", args, env: &[] }
}

/// The steps. The programs of the corpus step are at most 30 MB each; the apps tests run those that are there.
const STEPS: [Step; 10] = [
    cargo("fmt", "fmt --all --check"),
    cargo("tidy", "run --quiet --package xtask -- tidy"),
    cargo(
        "corpus",
        "run --quiet --package xtask -- corpus --max-size 30MB quickjs cpython312 svg-flatten micropython avr-gcc rust assemblyscript go",
    ),
    cargo("build", "build --workspace --all-targets"),
    Step {
        name: "test",
        program: "cargo",
        args: "test --workspace --no-fail-fast",
        // Errors that are expected need no backtrace of the host: among thousands of modules it is slow to make.
        env: &[("RUST_LIB_BACKTRACE", "0")],
    },
    // What users run: optimised code of Kiln behaves differently where it has a fault, and has no checks of its own.
    Step {
        name: "suite",
        program: "cargo",
        args: "test --profile quick --package kiln-testkit --test wast",
        env: &[("RUST_LIB_BACKTRACE", "0")],
    },
    cargo("clippy", "clippy --workspace --all-targets -- --deny warnings"),
    Step {
        name: "doc",
        program: "cargo",
        args: "doc --workspace --no-deps --document-private-items",
        env: &[("RUSTDOCFLAGS", "--deny warnings")],
    },
    cargo("models", "run --quiet --manifest-path models/Cargo.toml"),
    cargo("runtime-only", "check --package kiln --no-default-features"),
];

/// Free bytes below which a failure is likely one of the disk: test programs are linked and run side by side.
const SCARCE: u64 = 300 << 20;

struct Outcome {
    name: &'static str,
    seconds: f64,
    passed: bool,
    /// The least that was free on the file system of the build, in bytes.
    free: u64,
}

/// Runs the steps and prints how each went; an error if one failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.list {
        STEPS.iter().for_each(|s| println!("{}: {} {}", s.name, s.program, s.args));
        return Ok(());
    }
    if let Some(name) = args.steps.iter().find(|n| !STEPS.iter().any(|s| s.name == n.as_str())) {
        bail!("no step is called {name}; there are {}", STEPS.map(|s| s.name).join(", "));
    }
    let workspace = root::workspace();
    let mut outcomes = Vec::new();
    for step in STEPS.iter().filter(|s| args.steps.is_empty() || args.steps.iter().any(|n| n == s.name)) {
        let outcome = run_step(step, &workspace)?;
        let failed = !outcome.passed;
        outcomes.push(outcome);
        if failed && args.fail_fast {
            break;
        }
    }
    report(&outcomes)
}

fn run_step(step: &Step, workspace: &Path) -> Result<Outcome> {
    println!("\n=== {}: {} {}", step.name, step.program, step.args);
    let start = Instant::now();
    let mut command = Command::new(step.program);
    command.args(step.args.split_whitespace()).envs(step.env.iter().copied()).current_dir(workspace);
    // Each step chooses its own toolchain variables, as it would from a shell.
    command.env_remove("CARGO").env_remove("RUSTC");
    let (status, free) = std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        let least = scope.spawn(move || {
            let mut least = free_space(workspace);
            while end.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                least = least.min(free_space(workspace));
            }
            least
        });
        let status = command.status();
        drop(ended);
        (status, least.join().unwrap_or(u64::MAX))
    });
    let status = status.with_context(|| format!("cannot run {}", step.program))?;
    Ok(Outcome { name: step.name, seconds: start.elapsed().as_secs_f64(), passed: status.success(), free })
}

/// Bytes that may still be written where the workspace is; many if nobody knows.
fn free_space(workspace: &Path) -> u64 {
    rustix::fs::statvfs(workspace).map_or(u64::MAX, |s| s.f_bavail.saturating_mul(s.f_frsize))
}

fn report(outcomes: &[Outcome]) -> Result<()> {
    let mut rows = vec![vec!["step".to_owned(), "time".to_owned(), "free".to_owned(), "result".to_owned()]];
    for outcome in outcomes {
        let result = if outcome.passed { "ok" } else { "FAILED" };
        let free = format!("{} MB", outcome.free >> 20);
        rows.push(vec![outcome.name.to_owned(), table::seconds(outcome.seconds), free, result.to_owned()]);
    }
    let total = outcomes.iter().map(|o| o.seconds).sum();
    rows.push(vec!["total".to_owned(), table::seconds(total), String::new()]);
    println!();
    table::lines(&rows).iter().for_each(|l| println!("{l}"));
    let failed: Vec<&str> = outcomes.iter().filter(|o| !o.passed).map(|o| o.name).collect();
    if !failed.is_empty() {
        let least = outcomes.iter().map(|o| o.free).min().unwrap_or(u64::MAX);
        if least < SCARCE {
            let why = "tests and compilers fail on a full disk, often without saying so; a clean build takes 4 GB";
            bail!("failed: {}; only {} MB of disk were left: {why}", failed.join(", "), least >> 20);
        }
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_an_error() {
        let outcome = |passed, free| Outcome { name: "a", seconds: 1.0, passed, free };
        assert!(report(&[outcome(true, 1 << 40)]).is_ok());
        assert!(report(&[outcome(true, 0)]).is_ok());
        let said = |free| report(&[outcome(true, 1 << 40), outcome(false, free)]).unwrap_err().to_string();
        assert_eq!(said(1 << 40), "failed: a");
        assert!(said(5 << 20).contains("only 5 MB of disk"), "{}", said(5 << 20));
    }
}
