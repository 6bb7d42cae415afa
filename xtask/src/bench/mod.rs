//! `cargo xtask bench`: Kiln and its rivals do the same jobs in turn; outputs are compared, medians and ratios printed.
//!
//! A job is one process of one engine. Rounds are interleaved: each round runs every engine once on every job, the
//! order of the engines turns from round to round, so that drift of the machine meets all of them.

mod engines;
mod measure;
mod report;
mod suites;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::root;
use engines::Engine;
use measure::{Measured, Step};
use suites::{Job, Suite};

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Suites to run
    #[arg(value_enum, default_values_t = [Suite::Peak, Suite::Compile, Suite::Cold])]
    suites: Vec<Suite>,
    /// Engines, in the order of the columns; ratios are against the last. NAME or NAME=PATH of its program
    #[arg(long, value_delimiter = ',', default_values_t = ["kiln".to_owned(), "wasmtime".to_owned()])]
    engines: Vec<String>,
    /// Extra flags for one engine: NAME=FLAGS; makes a variant if NAME is BASE:VARIANT
    #[arg(long, value_name = "NAME=FLAGS")]
    flags: Vec<String>,
    /// Rounds to run
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only jobs whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// Folder with the Sightglass kernels, or the archive of them
    #[arg(long, value_name = "PATH")]
    kernels: Option<PathBuf>,
    /// What to compare
    #[arg(long, value_enum, default_value_t = report::Metric::Cpu)]
    metric: report::Metric,
    /// Write all measurements to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seconds after which a process is ended and counts as failed
    #[arg(long, default_value_t = 300.0)]
    timeout: f64,
    /// List the engines found and the jobs, and run nothing
    #[arg(long)]
    list: bool,
}

/// What one engine did in one round of one job.
pub(crate) struct Sample {
    suite: Suite,
    job: String,
    engine: String,
    round: usize,
    outcome: Result<Measured, String>,
}

/// Runs the suites and reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.rounds > 0, "at least one round is needed");
    let scratch = root::workspace().join("target/bench");
    std::fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let engines = engines::find(&args.engines, &args.flags, &scratch)?;
    let mut jobs = Vec::new();
    for suite in &args.suites {
        jobs.extend(suites::jobs(*suite, args.kernels.as_deref(), &scratch)?);
    }
    jobs.retain(|j| args.filter.as_ref().is_none_or(|f| j.name.contains(f.as_str())));
    if args.list {
        engines.iter().for_each(|e| println!("engine {}: {} ({})", e.name, e.program.display(), e.version));
        jobs.iter().for_each(|j| println!("job {}/{}: {}", j.suite, j.name, j.wasm.display()));
        return Ok(());
    }
    if jobs.is_empty() {
        bail!("no job: fetch programs with `cargo xtask corpus`, or name the kernels with --kernels");
    }
    let mut samples = Vec::new();
    for round in 0..args.rounds {
        for (i, job) in jobs.iter().enumerate() {
            eprint!("\rround {}/{} job {}/{}: {:40}", round + 1, args.rounds, i + 1, jobs.len(), job.name);
            for turn in 0..engines.len() {
                let engine = &engines[(turn + round) % engines.len()];
                samples.push(sample(engine, job, round, args, &scratch));
            }
        }
    }
    eprintln!();
    report::print(&engines, &jobs, &samples, args.metric);
    if let Some(path) = &args.json {
        std::fs::write(path, report::json(&engines, &samples))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = samples.iter().filter(|s| s.outcome.is_err()).count();
    ensure!(failed == 0, "{failed} of {} processes failed", samples.len());
    Ok(())
}

fn sample(engine: &Engine, job: &Job, round: usize, args: &Args, scratch: &std::path::Path) -> Sample {
    let outcome =
        engine.steps(job, scratch).map_err(|e| format!("{e:#}")).and_then(|steps| job_steps(&steps, job, args));
    Sample { suite: job.suite, job: job.name.clone(), engine: engine.name.clone(), round, outcome }
}

/// Runs the steps of a job; only the last is measured, its output must be the expected one.
fn job_steps(steps: &[Step], job: &Job, args: &Args) -> Result<Measured, String> {
    let mut last = Err("no step".to_owned());
    for step in steps {
        let done = step.run(args.timeout).map_err(|e| format!("{e:#}"))?;
        if done.exit != job.exit {
            return Err(format!("exit code {} instead of {}: {}", done.exit, job.exit, done.stderr_end()));
        }
        last = Ok(done);
    }
    let done = last?;
    match &job.stdout {
        Some(expected) if !suites::same_output(expected, &done.stdout) => Err("wrong output".to_owned()),
        _ => Ok(done),
    }
}
