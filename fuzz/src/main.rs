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
use kiln_fuzz::targets::{Settings, Target, Verdict};

/// A case that takes longer hangs.
const CASE_LIMIT: Duration = Duration::from_secs(60);
/// Cases of one child process.
const CHUNK: u64 = 250;

struct Args {
    target: String,
    seed: u64,
    count: u64,
    jobs: usize,
    settings: Settings,
    /// Where the modules of findings are written.
    out: PathBuf,
    worker: bool,
    dump: bool,
}

const USAGE: &str = "usage: kiln-fuzz smith|differential|exceptions|mutate|passes [--seed N] [--count N] [--jobs N] \
                     [--corpus DIR] [--max-size BYTES] [--out DIR] [--dump]";

fn parse_args() -> Result<Args> {
    let mut args = std::env::args().skip(1);
    let target = args.next().context(USAGE)?;
    let mut parsed = Args {
        target,
        seed: 0,
        count: 1_000,
        jobs: 1,
        settings: Settings::default(),
        out: "findings".into(),
        worker: false,
        dump: false,
    };
    while let Some(name) = args.next() {
        if matches!(&*name, "--worker" | "--dump") {
            parsed.worker |= name == "--worker";
            parsed.dump |= name == "--dump";
            continue;
        }
        let value = args.next().with_context(|| format!("{name} takes a value\n{USAGE}"))?;
        match &*name {
            "--seed" => parsed.seed = value.parse()?,
            "--count" => parsed.count = value.parse()?,
            "--jobs" => parsed.jobs = value.parse::<usize>()?.max(1),
            "--corpus" => parsed.settings.corpus = Some(value.into()),
            "--max-size" => parsed.settings.max_size = value.parse()?,
            "--out" => parsed.out = value.into(),
            _ => bail!("no option is called {name}\n{USAGE}"),
        }
    }
    Ok(parsed)
}

fn main() -> Result<ExitCode> {
    let args = parse_args()?;
    if args.dump {
        let target = Target::new(&args.target, &args.settings)?;
        std::io::stdout().write_all(&target.module(args.seed)?)?;
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
    let target = Target::new(&args.target, &args.settings)?;
    let mut out = std::io::stdout().lock();
    for seed in args.seed..args.seed + args.count {
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
    let end = args.seed + args.count;
    let start = Instant::now();
    println!("{}: seeds {}..{end}", args.target, args.seed);
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..args.jobs)
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
    command.args(["--max-size", &args.settings.max_size.to_string()]);
    if let Some(corpus) = &args.settings.corpus {
        command.arg("--corpus").arg(corpus);
    }
    // A panic's message says enough; the case can be replayed for more.
    command.env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start a worker")
}

fn find(args: &Args, totals: &Totals, seed: u64, what: String) {
    println!("FIND {} --seed {seed} --count 1\n{what}\n", args.target);
    let saved = Target::new(&args.target, &args.settings).and_then(|t| t.module(seed)).and_then(|wasm| {
        std::fs::create_dir_all(&args.out)?;
        Ok(std::fs::write(args.out.join(format!("{}-{seed}.wasm", args.target)), wasm)?)
    });
    if let Err(error) = saved {
        println!("(its module could not be saved: {error:#})");
    }
    totals.finds.lock().expect("a supervisor does not panic").push((seed, what));
}
