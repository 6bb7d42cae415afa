//! The engines, one table, and how each is told to do a job.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::measure::Step;
use super::suites::{Job, Suite};
use crate::root;

/// A family of command lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Kiln,
    Wasmtime,
    Node,
    Wasmi,
    Wamr,
}

/// An engine by name: where its program may be, and the flags that make the variant.
struct Known {
    name: &'static str,
    kind: Kind,
    programs: &'static [&'static str],
    flags: &'static [&'static str],
}

const fn known(
    name: &'static str,
    kind: Kind,
    programs: &'static [&'static str],
    flags: &'static [&'static str],
) -> Known {
    Known { name, kind, programs, flags }
}

const KILN: &[&str] = &["target/release/kiln", "target/fast/kiln"];

/// The engines. Programs with a folder are looked for in the workspace, others on PATH.
const KNOWN: [Known; 15] = [
    known("kiln", Kind::Kiln, KILN, &["-C", "cache=n", "--tier", "eager"]),
    known("kiln-dynamic", Kind::Kiln, KILN, &["-C", "cache=n", "--tier", "dynamic"]),
    known("kiln-lazy", Kind::Kiln, KILN, &["-C", "cache=n", "--tier", "lazy"]),
    known("kiln-cached", Kind::Kiln, KILN, &["--tier", "eager"]),
    known("kiln-dynamic-cached", Kind::Kiln, KILN, &["--tier", "dynamic"]),
    known("kiln-lazy-cached", Kind::Kiln, KILN, &["--tier", "lazy"]),
    known("wasmtime", Kind::Wasmtime, &["wasmtime"], &["-C", "cache=n"]),
    known("wasmtime-inlining", Kind::Wasmtime, &["wasmtime"], &["-C", "cache=n,inlining=y"]),
    known(
        "wasmtime-single-pass",
        Kind::Wasmtime,
        &["wasmtime"],
        &["-C", "cache=n", "-O", "opt-level=0,regalloc-algorithm=single-pass"],
    ),
    known("winch", Kind::Wasmtime, &["wasmtime"], &["-C", "cache=n,compiler=winch"]),
    known("node", Kind::Node, &["node"], &[]),
    known("node-liftoff", Kind::Node, &["node"], &["--liftoff-only"]),
    known("node-turbofan", Kind::Node, &["node"], &["--no-liftoff"]),
    known("wasmi", Kind::Wasmi, &["wasmi", "wasmi_cli"], &[]),
    known("wamr", Kind::Wamr, &["iwasm"], &[]),
];

/// An engine that is there.
pub(super) struct Engine {
    pub(super) name: String,
    kind: Kind,
    pub(super) program: PathBuf,
    pub(super) version: String,
    flags: Vec<String>,
}

/// Finds the named engines. `names` are NAME or NAME=PATH; `flags` are NAME=FLAGS with NAME or BASE:VARIANT.
pub(super) fn find(names: &[String], flags: &[String], scratch: &Path) -> Result<Vec<Engine>> {
    let mut engines = Vec::new();
    for entry in names {
        let (name, path) = entry.split_once('=').map_or((entry.as_str(), None), |(n, p)| (n, Some(PathBuf::from(p))));
        let base = name.split(':').next().unwrap_or(name);
        let Some(known) = KNOWN.iter().find(|k| k.name == base) else {
            bail!("no engine is called {base}; there are {}", KNOWN.map(|k| k.name).join(", "));
        };
        let program = path.or_else(|| locate(known.programs)).with_context(|| {
            format!("{name} is not there: build it, put it on PATH or name it: --engines {name}=PATH")
        })?;
        if is_script(&program) {
            eprintln!(
                "note: {} is a script; name the program itself, or its start counts: --engines {name}=PATH",
                program.display()
            );
        }
        let extra = flags.iter().filter_map(|f| f.split_once('=')).filter(|(n, _)| *n == name);
        let mut all: Vec<String> = known.flags.iter().map(|f| (*f).to_owned()).collect();
        all.extend(extra.flat_map(|(_, f)| f.split_whitespace().map(str::to_owned)));
        let version = version(&program);
        engines.push(Engine { name: name.to_owned(), kind: known.kind, program, version, flags: all });
    }
    std::fs::write(scratch.join("run.mjs"), include_str!("run.mjs")).context("cannot write the Node script")?;
    Ok(engines)
}

fn locate(programs: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    programs.iter().find_map(|program| {
        if program.contains('/') {
            return Some(root::workspace().join(program)).filter(|p| p.is_file());
        }
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file())
    })
}

fn is_script(program: &Path) -> bool {
    let mut head = [0; 2];
    std::fs::File::open(program).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut head)).is_ok()
        && head == *b"#!"
}

fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// Arguments under construction.
struct Line(Vec<OsString>);

impl Line {
    fn new(first: &[&str], flags: &[String]) -> Line {
        let mut line = Line(first.iter().map(OsString::from).collect());
        line.0.extend(flags.iter().map(OsString::from));
        line
    }

    fn add(&mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> &mut Line {
        self.0.extend(words.into_iter().map(Into::into));
        self
    }
}

impl Engine {
    /// The processes that do the job; the last one is measured.
    pub(super) fn steps(&self, job: &Job, scratch: &Path) -> Result<Vec<Step>> {
        let precompiled = scratch.join(format!("{}-{}.compiled", self.name.replace([':', '/'], "-"), job.name));
        match (job.suite, self.kind) {
            (Suite::Compile, Kind::Kiln) => {
                let mut line = Line::new(&["validate", "--compile"], &self.flags);
                line.add([&job.wasm]);
                Ok(vec![self.step(job, line)])
            }
            (Suite::Compile, Kind::Wasmtime) => Ok(vec![self.wasmtime_compile(job, &precompiled)]),
            (Suite::Compile, Kind::Node) => {
                let mut line = Line::new(&["--no-warnings"], &self.flags);
                line.add([scratch.join("run.mjs").into_os_string(), "--compile".into(), job.wasm.clone().into()]);
                Ok(vec![self.step(job, line)])
            }
            (Suite::Compile, _) => bail!("{} does not compile ahead of time", self.name),
            (Suite::Peak | Suite::Warm, Kind::Wasmtime) => {
                let mut steps = Vec::new();
                if !precompiled.is_file() {
                    steps.push(self.wasmtime_compile(job, &precompiled));
                }
                steps.push(self.step(job, self.wasmtime_run(job, &precompiled, &["--allow-precompiled"])));
                Ok(steps)
            }
            (_, Kind::Wasmtime) => Ok(vec![self.step(job, self.wasmtime_run(job, &job.wasm, &[]))]),
            (_, Kind::Kiln) => {
                let mut step = self.step(job, self.kiln_run(job));
                step.explains = job.suite == Suite::Peak;
                Ok(vec![step])
            }
            (_, Kind::Node) => Ok(vec![self.step(job, self.node_run(job, scratch)?)]),
            (_, Kind::Wasmi | Kind::Wamr) => Ok(vec![self.step(job, self.plain_run(job)?)]),
        }
    }

    fn step(&self, job: &Job, line: Line) -> Step {
        Step {
            program: self.program.clone(),
            args: line.0,
            folder: job.folder.clone(),
            stdin: job.stdin.clone(),
            explains: false,
        }
    }

    fn wasmtime_compile(&self, job: &Job, to: &Path) -> Step {
        let flags: Vec<String> = self.flags.iter().map(|f| without_cache(f)).collect();
        let mut line = Line::new(&["compile"], &flags);
        line.add(["-W", "all-proposals=y", "-o"]).add([to, &job.wasm]);
        self.step(job, line)
    }

    fn wasmtime_run(&self, job: &Job, file: &Path, first: &[&str]) -> Line {
        let mut line = Line::new(&["run"], &self.flags);
        line.add(first).add(["-W", "all-proposals=y"]);
        common(&mut line, job);
        line.add([file]).add(&job.args);
        line
    }

    fn kiln_run(&self, job: &Job) -> Line {
        let mut line = Line::new(&["run"], &self.flags);
        if job.suite == Suite::Peak {
            line.add(["--explain=json"]);
        }
        common(&mut line, job);
        line.add([&job.wasm]).add(&job.args);
        line
    }

    fn node_run(&self, job: &Job, scratch: &Path) -> Result<Line> {
        let mut line = Line::new(&["--no-warnings"], &self.flags);
        line.add([scratch.join("run.mjs")]);
        for (host, guest) in &job.dirs {
            line.add([format!("--dir={}::{guest}", host.display())]);
        }
        for (name, value) in &job.env {
            line.add([format!("--env={name}={value}")]);
        }
        if let Some(name) = &job.argv0 {
            line.add([format!("--argv0={name}")]);
        }
        line.add([&job.wasm]).add(&job.args);
        Ok(line)
    }

    /// Engines with a plain command line: folders under their own names only.
    fn plain_run(&self, job: &Job) -> Result<Line> {
        if !job.preloads.is_empty() || job.dirs.iter().any(|(host, guest)| host.to_str() != Some(guest)) {
            bail!("{} cannot preload modules or rename folders", self.name);
        }
        let mut line = Line::new(&[], &self.flags);
        for (_, guest) in &job.dirs {
            line.add([if self.kind == Kind::Wamr { format!("--dir={guest}") } else { format!("--dir {guest}") }]);
        }
        line.add([&job.wasm]).add(&job.args);
        Ok(line)
    }
}

/// Flags that Kiln and Wasmtime spell alike.
fn common(line: &mut Line, job: &Job) {
    for (host, guest) in &job.dirs {
        line.add(["--dir".to_owned(), format!("{}::{guest}", host.display())]);
    }
    for (name, value) in &job.env {
        line.add(["--env".to_owned(), format!("{name}={value}")]);
    }
    for (name, file) in &job.preloads {
        line.add(["--preload".to_owned(), format!("{name}={}", file.display())]);
    }
    if let Some(name) = &job.argv0 {
        line.add(["--argv0", name]);
    }
    line.add(&job.flags);
}

/// `wasmtime compile` knows no cache.
fn without_cache(flags: &str) -> String {
    let rest: Vec<&str> = flags.split(',').filter(|f| *f != "cache=n").collect();
    if rest.is_empty() { "parallel-compilation=y".to_owned() } else { rest.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_engines_are_named() {
        let error = find(&["kilm".to_owned()], &[], &std::env::temp_dir()).err().unwrap().to_string();
        assert!(error.contains("kilm") && error.contains("wasmtime"), "{error}");
    }

    #[test]
    fn a_named_path_wins() {
        let scratch = std::env::temp_dir();
        let engines = find(&["kiln:x=/bin/true".to_owned()], &["kiln:x=--tier lazy".to_owned()], &scratch).unwrap();
        assert_eq!(engines[0].program, Path::new("/bin/true"));
        assert!(engines[0].flags.ends_with(&["--tier".to_owned(), "lazy".to_owned()]), "{:?}", engines[0].flags);
    }

    #[test]
    fn the_compile_command_has_no_cache_flag() {
        assert_eq!(without_cache("cache=n,compiler=winch"), "compiler=winch");
        assert_eq!(without_cache("cache=n"), "parallel-compilation=y");
    }
}
