//! What is measured: jobs, from the kernels, the corpus of real programs, and small modules of our own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use crate::root;

/// A set of jobs with one question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Suite {
    /// How fast is compiled code? Sightglass kernels, compiled before where the engine can
    Peak,
    /// How fast, and in how much memory, is a whole program compiled? All cores
    Compile,
    /// How long does a real program take from nothing to its last output?
    Cold,
    /// The same when the engine has compiled it before
    Warm,
    /// What do calls cost: direct, indirect, recursive, to the host
    Calls,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Peak => "peak",
            Suite::Compile => "compile",
            Suite::Cold => "cold",
            Suite::Warm => "warm",
            Suite::Calls => "calls",
        })
    }
}

/// A program with its arguments and surroundings, and what it must give.
pub(crate) struct Job {
    pub(crate) suite: Suite,
    pub(crate) name: String,
    pub(crate) wasm: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Host folder and its name in the guest.
    pub(crate) dirs: Vec<(PathBuf, String)>,
    pub(crate) argv0: Option<String>,
    pub(crate) flags: Vec<String>,
    pub(crate) preloads: Vec<(String, PathBuf)>,
    pub(crate) stdin: Option<PathBuf>,
    /// Working directory.
    pub(crate) folder: PathBuf,
    pub(crate) exit: i32,
    pub(crate) stdout: Option<Vec<u8>>,
}

impl Job {
    fn new(suite: Suite, name: &str, wasm: PathBuf, folder: PathBuf) -> Job {
        Job {
            suite,
            name: name.to_owned(),
            wasm,
            args: Vec::new(),
            env: Vec::new(),
            dirs: Vec::new(),
            argv0: None,
            flags: Vec::new(),
            preloads: Vec::new(),
            stdin: None,
            folder,
            exit: 0,
            stdout: None,
        }
    }
}

/// Where kernels are looked for unless named.
const KERNELS: &str = "../shared/suites/sightglass.tar.xz";

/// The jobs of a suite; those whose program is not there are left out with a message.
pub(crate) fn jobs(suite: Suite, kernels: Option<&Path>, scratch: &Path) -> Result<Vec<Job>> {
    match suite {
        Suite::Peak => peak(kernels, scratch),
        Suite::Compile => compile(scratch),
        Suite::Cold | Suite::Warm => programs(suite, scratch),
        Suite::Calls => calls(scratch),
    }
}

/// Whether two outputs are the same line by line, whatever ends the lines.
pub(crate) fn same_output(expected: &[u8], got: &[u8]) -> bool {
    let lines = |bytes| String::from_utf8_lossy(bytes).lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
    lines(expected) == lines(got)
}

fn peak(kernels: Option<&Path>, scratch: &Path) -> Result<Vec<Job>> {
    let workspace = root::workspace();
    let Some(folder) = kernel_folder(kernels, &workspace, scratch)? else {
        eprintln!("skip peak: no kernels at {KERNELS}; name them with --kernels");
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(&dir)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "wasm") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().map(|wasm| kernel(wasm, &folder)).collect()
}

fn kernel(wasm: &Path, folder: &Path) -> Result<Job> {
    let home = wasm.parent().context("a kernel without folder")?;
    let stem = wasm.file_stem().unwrap_or_default().to_string_lossy();
    let home_name = home.file_name().unwrap_or_default().to_string_lossy();
    let name = if stem == "benchmark" { home_name.as_ref() } else { stem.as_ref() };
    let mut job = Job::new(Suite::Peak, name, wasm.to_owned(), home.to_owned());
    job.dirs.push((home.to_owned(), ".".to_owned()));
    job.preloads.push(("bench".to_owned(), folder.join("bench.wat")));
    job.stdout = std::fs::read(home.join(format!("{stem}.stdout.expected"))).ok();
    Ok(job)
}

/// The folder of the kernels, unpacked if they are an archive.
fn kernel_folder(named: Option<&Path>, workspace: &Path, scratch: &Path) -> Result<Option<PathBuf>> {
    let path = named.map_or_else(|| workspace.join(KERNELS), Path::to_owned);
    if path.is_dir() {
        return Ok(Some(path));
    }
    if !path.is_file() {
        ensure!(named.is_none(), "{} does not exist", path.display());
        return Ok(None);
    }
    let into = scratch.join("sightglass");
    if !into.join("bench.wat").is_file() {
        let status =
            Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(scratch).status().context("cannot run tar")?;
        ensure!(status.success(), "tar ended with {status}");
    }
    Ok(Some(into))
}

/// A case of `tests/apps/cases.json`, as far as it matters here.
#[derive(Deserialize)]
struct Case {
    name: String,
    wasm: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    dirs: Vec<(String, String)>,
    argv0: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    inputs: Vec<String>,
    stdin: Option<String>,
    #[serde(default)]
    exit: i32,
    stdout: Option<String>,
}

fn cases() -> Result<Vec<Case>> {
    let path = root::workspace().join("tests/apps/cases.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))
}

/// The programs of the corpus that are there, each once.
fn compile(scratch: &Path) -> Result<Vec<Job>> {
    let corpus = root::workspace().join("corpus");
    let mut jobs: Vec<Job> = Vec::new();
    for case in cases()? {
        let wasm = corpus.join(&case.wasm);
        if wasm.is_file() && !jobs.iter().any(|j| j.wasm == wasm) {
            jobs.push(Job::new(Suite::Compile, &case.name, wasm, scratch.to_owned()));
        }
    }
    Ok(jobs)
}

/// The cases of the corpus whose program is there.
fn programs(suite: Suite, scratch: &Path) -> Result<Vec<Job>> {
    let apps = root::workspace().join("tests/apps");
    let corpus = root::workspace().join("corpus");
    let mut jobs = Vec::new();
    for case in cases()? {
        let wasm = corpus.join(&case.wasm);
        if !wasm.is_file() {
            eprintln!("skip {suite}/{}: {} is not there", case.name, wasm.display());
            continue;
        }
        let folder = scratch.join("cases").join(&case.name);
        std::fs::create_dir_all(folder.join("tmp"))?;
        for input in &case.inputs {
            let from = apps.join("inputs").join(input);
            std::fs::copy(&from, folder.join(from.file_name().context("an input without name")?))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
        let mut job = Job::new(suite, &case.name, wasm, folder.clone());
        for (host, guest) in case.dirs {
            let host = match host.as_str() {
                "@" => folder.clone(),
                "@tmp" => folder.join("tmp"),
                other => other.strip_prefix("corpus/").map_or_else(|| PathBuf::from(other), |rest| corpus.join(rest)),
            };
            job.dirs.push((host, guest));
        }
        job.args = case.args;
        job.env = case.env.into_iter().collect();
        job.argv0 = case.argv0;
        job.flags = case.flags;
        job.stdin = case.stdin.map(|s| apps.join("inputs").join(s));
        job.exit = case.exit;
        job.stdout = Some(match case.stdout {
            Some(file) => std::fs::read(apps.join("expected").join(file))?,
            None => Vec::new(),
        });
        jobs.push(job);
    }
    Ok(jobs)
}

/// Small modules that do little but call.
const CALLS: [(&str, &str); 4] = [
    ("recursion", include_str!("calls/recursion.wat")),
    ("indirect", include_str!("calls/indirect.wat")),
    ("host", include_str!("calls/host.wat")),
    ("tail", include_str!("calls/tail.wat")),
];

fn calls(scratch: &Path) -> Result<Vec<Job>> {
    let folder = scratch.join("calls");
    std::fs::create_dir_all(&folder)?;
    let mut jobs = Vec::new();
    for (name, text) in CALLS {
        let path = folder.join(format!("{name}.wasm"));
        std::fs::write(&path, wat::parse_str(text)?).with_context(|| format!("cannot write {}", path.display()))?;
        jobs.push(Job::new(Suite::Calls, name, path, folder.clone()));
    }
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_by_line() {
        assert!(same_output(b"a\r\nb\n", b"a\nb"));
        assert!(!same_output(b"a\nb\n", b"a\n"));
    }

    #[test]
    fn cases_are_readable() {
        assert!(cases().unwrap().iter().any(|c| c.name == "quickjs"));
    }
}
