//! Runs a target over seeds: `kiln-fuzz TARGET [--seed N] [--count N] [--jobs N]`.
//!
//! Cases run in child processes, so that a crash or a hang costs one case: the parent reports its seed and goes on
//! behind it. `kiln-fuzz TARGET --seed N --count 1` replays a case.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use clap::builder::PossibleValuesParser;
use kiln_fuzz::targets::{Settings, Target, Verdict};

/// A case that takes longer hangs.
const CASE_LIMIT: Duration = Duration::from_secs(60);
/// Cases of one child process.
const CHUNK: u64 = 250;

/// Runs generated or changed modules in all modes and reports what should not be
#[derive(clap::Parser)]
#[command(version)]
struct Args {
    #[arg(value_parser = PossibleValuesParser::new(Target::NAMES))]
    target: String,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    count: u64,
    /// How many processes run cases at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Folder with real modules, for `mutate`
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Bytes of the largest module that is mutated
    #[arg(long, value_name = "BYTES", default_value_t = Settings::default().max_size)]
    max_size: u64,
    /// Where the modules of findings are written
    #[arg(long, value_name = "DIR", default_value = "findings")]
    out: PathBuf,
    #[arg(long, hide = true)]
    worker: bool,
    /// Write the module of the first seed to standard output
    #[arg(long)]
    dump: bool,
}

impl Args {
    fn target(&self) -> Result<Target> {
        Target::new(&self.target, &Settings { corpus: self.corpus.clone(), max_size: self.max_size })
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.dump {
        std::io::stdout().write_all(&args.target()?.module(args.seed)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.worker { work(&args) } else { supervise(&args) }
}

/// The child: one line for each case before it runs, one after it.
fn work(args: &Args) -> Result<ExitCode> {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !kiln::claims_panic(info) {
            print(info);
        }
    }));
    let target = args.target()?;
    let mut out = std::io::stdout().lock();
    for seed in args.seed..args.seed.saturating_add(args.count) {
        writeln!(out, "start {seed}")?;
        out.flush()?;
        match target.case(seed) {
            Verdict::Pass => writeln!(out, "pass")?,
            Verdict::Skip(why) => writeln!(out, "skip {}", why.replace('\n', " "))?,
            Verdict::Find(what) => writeln!(out, "find {}", what.replace('\n', "\u{1}"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Totals {
    passed: AtomicU64,
    skipped: AtomicU64,
    finds: Mutex<Vec<(u64, String)>>,
}

fn supervise(args: &Args) -> Result<ExitCode> {
    let totals = Totals::default();
    let next = AtomicU64::new(args.seed);
    let end = args.seed.saturating_add(args.count);
    let start = Instant::now();
    println!("{}: seeds {}..{end}", args.target, args.seed);
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..args.jobs.max(1))
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                        if from >= end {
                            return Ok(());
                        }
                        chunk(args, from, (from + CHUNK).min(end), &totals)?;
                    }
                })
            })
            .collect();
        jobs.into_iter().try_for_each(|j| j.join().expect("a supervisor does not panic"))
    })?;
    let finds = totals.finds.into_inner().expect("a supervisor does not panic");
    let (passed, skipped) = (totals.passed.into_inner(), totals.skipped.into_inner());
    let seconds = start.elapsed().as_secs_f64();
    println!("{}: {passed} passed, {skipped} skipped, {} finds in {seconds:.0} s", args.target, finds.len());
    Ok(if finds.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the seeds `from..end`, in as many child processes as it takes.
fn chunk(args: &Args, mut from: u64, end: u64, totals: &Totals) -> Result<()> {
    while from < end {
        let mut child = spawn(args, from, end - from)?;
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().context("the child has a pipe")?);
        let reader = std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|l| send.send(l)));
        let mut running = None;
        let ended = loop {
            match lines.recv_timeout(CASE_LIMIT) {
                Ok(line) => match line.split_once(' ').unwrap_or((&line, "")) {
                    ("start", seed) => running = Some(seed.parse::<u64>()?),
                    (verdict, text) => {
                        let Some(seed) = running.take() else { continue };
                        from = seed + 1;
                        match verdict {
                            "pass" => drop(totals.passed.fetch_add(1, Ordering::Relaxed)),
                            "skip" => drop(totals.skipped.fetch_add(1, Ordering::Relaxed)),
                            _ => find(args, totals, seed, text.replace('\u{1}', "\n")),
                        }
                    }
                },
                Err(RecvTimeoutError::Timeout) => {
                    child.kill()?;
                    break Some(format!("no end after {} s", CASE_LIMIT.as_secs()));
                }
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        let status = child.wait()?;
        drop(reader.join());
        if let Some(seed) = running {
            find(args, totals, seed, ended.unwrap_or_else(|| format!("the process ended: {status}")));
            from = seed + 1;
        } else if !status.success() {
            bail!("a worker failed before its first case: {status}");
        }
    }
    Ok(())
}

fn spawn(args: &Args, seed: u64, count: u64) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([&args.target, "--worker", "--seed", &seed.to_string(), "--count", &count.to_string()]);
    command.args(["--max-size", &args.max_size.to_string()]);
    if let Some(corpus) = &args.corpus {
        command.arg("--corpus").arg(corpus);
    }
    // A panic's message says enough; the case can be replayed for more.
    command.env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start a worker")
}

fn find(args: &Args, totals: &Totals, seed: u64, what: String) {
    println!("FIND {} --seed {seed} --count 1\n{what}\n", args.target);
    let saved = args.target().and_then(|t| t.module(seed)).and_then(|wasm| {
        std::fs::create_dir_all(&args.out)?;
        Ok(std::fs::write(args.out.join(format!("{}-{seed}.wasm", args.target)), wasm)?)
    });
    if let Err(error) = saved {
        println!("(its module could not be saved: {error:#})");
    }
    totals.finds.lock().expect("a supervisor does not panic").push((seed, what));
}
