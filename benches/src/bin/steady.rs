//! How soon functions that change their tier are as fast as functions that were optimised before the start.
//!
//! `steady FOLDER`: a folder with `bench.wat` and kernels as Sightglass has them. Each kernel's `_start` is called over and
//! over in new instances of one module, for two seconds with [`Tiering::Dynamic`] alone, then alternating with
//! [`Tiering::Eager`]. After the kernels come programs whose `main` never ends. `--only NAME` leaves out the others.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kiln::{Config, Engine, InstancePre, Linker, Module, Store, Tiering};
use kiln_wasi::{DirAccess, WasiCtx, WasiCtxBuilder};

/// When full speed has to be reached.
const WARM: Duration = Duration::from_secs(2);
/// For how long speeds are compared after that, at least.
const COMPARED: Duration = Duration::from_millis(1_500);
const ROUNDS: usize = 5;
/// Share of the full speed that counts as reached.
const REACHED: f64 = 0.97;

/// Programs with one activation that never ends; each tells the host how far it is, which ends it.
const ENDLESS: [(&str, &str); 3] = [
    ("endless: sieve", include_str!("endless/sieve.wat")),
    ("endless: mandelbrot", include_str!("endless/mandelbrot.wat")),
    ("endless: interpreter", include_str!("endless/interpreter.wat")),
];

fn engine(tiering: Tiering) -> Result<Engine> {
    let mut config = Config::new();
    config.tiering(tiering);
    Engine::new(&config)
}

/// A kernel that was made ready in one engine.
struct Kernel {
    engine: Engine,
    pre: InstancePre<WasiCtx>,
    folder: PathBuf,
}

impl Kernel {
    fn new(wasm: &Path, tiering: Tiering) -> Result<Kernel> {
        let engine = engine(tiering)?;
        let module = Module::from_file(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        kiln_wasi::add_to_linker(&mut linker, |ctx| ctx)?;
        linker.func_wrap("bench", "start", || {})?;
        linker.func_wrap("bench", "end", || {})?;
        let pre = linker.instantiate_pre(&module)?;
        let folder = wasm.parent().context("a kernel without folder")?.to_owned();
        Ok(Kernel { engine, pre, folder })
    }

    /// Runs it once and returns how long its `_start` took.
    fn round(&self) -> Result<Duration> {
        let ctx = WasiCtxBuilder::new().preopened_dir(&self.folder, ".", DirAccess::ReadOnly)?.build()?;
        let mut store = Store::new(&self.engine, ctx);
        let instance = self.pre.instantiate(&mut store)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        let begin = Instant::now();
        if let Err(error) = start.call(&mut store, ()) {
            match error.downcast_ref::<kiln_wasi::I32Exit>() {
                Some(exit) if exit.0 == 0 => {}
                _ => return Err(error),
            }
        }
        Ok(begin.elapsed())
    }
}

/// What is known of a program at the end.
struct Row {
    name: String,
    /// Milliseconds of a round: optimised before the start; the first one that changes tiers; the same after [`WARM`].
    eager: f64,
    first: f64,
    dynamic: f64,
    /// Seconds from the start to the first round or window at full speed.
    reached: Option<f64>,
}

impl Row {
    fn speed(&self) -> f64 {
        self.eager / self.dynamic
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn kernel(wasm: &Path, name: String) -> Result<Row> {
    let eager = Kernel::new(wasm, Tiering::Eager)?;
    eager.round()?;
    let begin = Instant::now();
    let dynamic = Kernel::new(wasm, Tiering::Dynamic)?;
    let mut early = Vec::new();
    while begin.elapsed() < WARM {
        let time = dynamic.round()?;
        early.push((begin.elapsed(), millis(time)));
    }
    let begin = Instant::now();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    while a.len() < ROUNDS || begin.elapsed() < COMPARED {
        a.push(millis(eager.round()?));
        b.push(millis(dynamic.round()?));
    }
    let (eager, dynamic) = (median(a), median(b));
    let reached = early.iter().find(|(_, time)| eager / time >= REACHED).map(|(at, _)| at.as_secs_f64());
    let first = early.first().map_or(f64::NAN, |(_, time)| *time);
    Ok(Row { name, eager, first, dynamic, reached })
}

/// Runs an endless program and returns when it reported.
fn ticks(wat: &str, tiering: Tiering) -> Result<Vec<Duration>> {
    let engine = engine(tiering)?;
    let begin = Instant::now();
    let module = Module::new(&engine, wat)?;
    let mut linker: Linker<Vec<Duration>> = Linker::new(&engine);
    linker.func_wrap("host", "tick", move |mut caller: kiln::Caller<'_, Vec<Duration>>| {
        let now = begin.elapsed();
        caller.data_mut().push(now);
        if now >= WARM + COMPARED {
            bail!("enough");
        }
        Ok(())
    })?;
    let mut store = Store::new(&engine, Vec::new());
    let instance = linker.instantiate(&mut store, &module)?;
    let main = instance.get_typed_func::<(), ()>(&mut store, "main")?;
    match main.call(&mut store, ()) {
        Err(error) if store.data().last().is_some_and(|at| *at >= WARM + COMPARED) => drop(error),
        Err(error) => return Err(error),
        Ok(()) => bail!("an endless program ended"),
    }
    Ok(store.into_data())
}

/// Milliseconds from each report to the next, with the time of the second.
fn steps(ticks: &[Duration]) -> Vec<(Duration, f64)> {
    ticks.windows(2).map(|pair| (pair[1], millis(pair[1] - pair[0]))).collect()
}

fn endless(name: &str, wat: &str) -> Result<Row> {
    let late = |steps: &[(Duration, f64)]| median(steps.iter().filter(|s| s.0 >= WARM).map(|s| s.1).collect());
    let eager = late(&steps(&ticks(wat, Tiering::Eager)?));
    let all = steps(&ticks(wat, Tiering::Dynamic)?);
    let reached = all.iter().find(|(_, time)| eager / time >= REACHED).map(|(at, _)| at.as_secs_f64());
    let first = all.first().map_or(f64::NAN, |(_, time)| *time);
    Ok(Row { name: name.to_owned(), eager, first, dynamic: late(&all), reached })
}

fn kernels(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "wasm") {
                let stem = if path.ends_with("benchmark.wasm") { path.parent() } else { Some(path.as_path()) };
                let name = stem.and_then(Path::file_stem).unwrap_or_default().to_string_lossy().into_owned();
                found.push((name, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn main() -> Result<()> {
    let (mut folder, mut only) = (None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--only" => only = Some(args.next().context("--only takes a name")?),
            other if !other.starts_with('-') && folder.is_none() => folder = Some(PathBuf::from(other)),
            other => bail!("unknown argument {other}; known: FOLDER, --only NAME"),
        }
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    println!("{:<28} {:>10} {:>10} {:>10} {:>7} {:>9}", "ms a round", "eager", "first", "after 2 s", "speed", "reached");
    let print = |row: Row| {
        let reached = row.reached.map_or_else(|| "not".to_owned(), |at| format!("{at:.2} s"));
        let speed = row.speed() * 100.0;
        println!(
            "{:<28} {:>10.3} {:>10.3} {:>10.3} {speed:>6.1}% {reached:>9}",
            row.name, row.eager, row.first, row.dynamic
        );
    };
    for (name, wat) in ENDLESS {
        if wanted(name) {
            print(endless(name, wat)?);
        }
    }
    for (name, wasm) in folder.map(|f| kernels(&f)).transpose()?.unwrap_or_default() {
        if wanted(&name) {
            match kernel(&wasm, name.clone()) {
                Ok(row) => print(row),
                Err(error) => eprintln!("skip {name}: {error:#}"),
            }
        }
    }
    Ok(())
}
