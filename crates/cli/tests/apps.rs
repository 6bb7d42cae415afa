//! Real programs that others compiled: the cases of `tests/apps/cases.json` whose program `cargo xtask corpus` has
//! fetched, each with all functions compiled first, with functions compiled when called, with functions that change their
//! tier, going on where such a run ended, from the cache and from an artifact. Exit code, standard output and output files must be what was recorded.
//!
//! `cargo test --test apps -- NAME` runs the cases whose name contains NAME. `KILN_CORPUS` names another corpus folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// How each program is run, in this order: with functions that change their tier, without and with what earlier such runs
/// left, and with that optimised; all functions compiled first, without and with what that left in the cache;
/// functions compiled when called, with the cache and without; compiled to a file that is run then.
const RUNS: [(&str, &[&str]); 9] = [
    ("dynamic, first", &["--tier", "dynamic", "-C", "refine=n"]),
    ("dynamic, second", &["--tier", "dynamic", "-C", "refine=wait"]),
    ("dynamic, refined", &["--tier", "dynamic", "-C", "refine=wait"]),
    ("eager", &["--tier", "eager"]),
    ("eager, cached", &["--tier", "eager"]),
    ("lazy, cached", &["--tier", "lazy"]),
    ("lazy", &["--tier", "lazy", "--no-cache"]),
    ("dynamic", &["--tier", "dynamic", "--no-cache"]),
    (ARTIFACT, &[]),
];
const ARTIFACT: &str = "artifact";

#[derive(Deserialize)]
struct Case {
    name: String,
    /// Path in the corpus.
    wasm: String,
    #[serde(default)]
    flags: Vec<String>,
    argv0: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Host folder and its name in the guest: `@` is a fresh folder with the inputs, `@tmp` another fresh one,
    /// `corpus/...` is in the corpus.
    #[serde(default)]
    dirs: Vec<(String, String)>,
    /// Copied into the fresh folder.
    #[serde(default)]
    inputs: Vec<String>,
    stdin: Option<String>,
    #[serde(default)]
    exit: i32,
    /// File with the expected output; no output if there is none.
    stdout: Option<String>,
    /// Output files with their SHA-256.
    #[serde(default)]
    files: BTreeMap<String, String>,
}

struct Places {
    apps: PathBuf,
    corpus: PathBuf,
}

fn main() -> ExitCode {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpus = std::env::var_os("KILN_CORPUS").map_or_else(|| workspace.join("corpus"), PathBuf::from);
    let places = Places { apps: workspace.join("tests/apps"), corpus };
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let text = fs::read_to_string(places.apps.join("cases.json")).expect("the list of cases");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("a list of cases");
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for case in &cases {
        if !filters.is_empty() && !filters.iter().any(|f| case.name.contains(f.as_str())) {
            continue;
        }
        if !places.corpus.join(&case.wasm).is_file() {
            println!("test apps::{} ... skipped: corpus/{} is not there", case.name, case.wasm);
            skipped += 1;
            continue;
        }
        let cache = TempDir::new().expect("a folder");
        for (tier, flags) in RUNS {
            let start = Instant::now();
            let result = check(case, tier, flags, cache.path(), &places);
            let verdict = if result.is_ok() { "ok" } else { "FAILED" };
            println!("test apps::{} ({tier}) ... {verdict} ({:.1} s)", case.name, start.elapsed().as_secs_f64());
            match result {
                Ok(()) => passed += 1,
                Err(message) => failed.push(format!("{} ({tier}): {message}", case.name)),
            }
        }
    }
    if skipped > 0 {
        println!("fetch what was skipped with `cargo xtask corpus`");
    }
    for failure in &failed {
        println!("failure: {failure}");
    }
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed; {} failed; {skipped} ignored", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the case; what differs from what was recorded.
fn check(case: &Case, tier: &str, flags: &[&str], cache: &Path, places: &Places) -> Result<(), String> {
    let compiled = TempDir::new().expect("a folder");
    let (work, tmp) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    for input in &case.inputs {
        let from = places.apps.join("inputs").join(input);
        fs::copy(&from, work.path().join(from.file_name().expect("a name"))).expect("an input to copy");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    let mut program = places.corpus.join(&case.wasm);
    command.arg("run").args(flags).args(&case.flags).env("KILN_CACHE_DIR", cache);
    if tier == ARTIFACT {
        let artifact = compiled.path().join("program.kiln");
        let mut compile = Command::new(env!("CARGO_BIN_EXE_kiln"));
        compile.args(["compile", "-o"]).arg(&artifact).arg(&program).env("KILN_CACHE_DIR", cache);
        if !compile.status().expect("kiln runs").success() {
            return Err("it does not compile".to_owned());
        }
        program = artifact;
    }
    if let Some(name) = &case.argv0 {
        command.args(["--argv0", name]);
    }
    for (name, value) in &case.env {
        command.args(["--env", &format!("{name}={value}")]);
    }
    for (host, guest) in &case.dirs {
        let host = match host.as_str() {
            "@" => work.path().to_owned(),
            "@tmp" => tmp.path().to_owned(),
            other => other.strip_prefix("corpus/").map_or_else(|| other.into(), |rest| places.corpus.join(rest)),
        };
        command.args(["--dir", &format!("{}::{guest}", host.display())]);
    }
    command.arg(program).args(&case.args);
    command.stdin(match &case.stdin {
        Some(file) => File::open(places.apps.join("inputs").join(file)).expect("an input").into(),
        None => Stdio::null(),
    });
    let output = command.output().expect("kiln runs");
    let expected = case.stdout.as_ref().map(|f| fs::read(places.apps.join("expected").join(f)).expect("an output"));
    compare(case, &output, &expected.unwrap_or_default(), work.path())
}

fn compare(case: &Case, output: &std::process::Output, stdout: &[u8], work: &Path) -> Result<(), String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stderr: Vec<&str> = stderr.lines().collect();
    let stderr = stderr[stderr.len().saturating_sub(12)..].join("\n  ");
    if output.status.code() != Some(case.exit) {
        return Err(format!(
            "{} instead of exit code {}; standard error ends in\n  {stderr}",
            output.status, case.exit
        ));
    }
    if output.stdout != stdout {
        let (got, expected) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(stdout));
        let line = got.lines().zip(expected.lines()).position(|(g, e)| g != e);
        let line = line.unwrap_or_else(|| got.lines().count().min(expected.lines().count()));
        let (got, expected) = (got.lines().nth(line), expected.lines().nth(line));
        return Err(format!("output differs in line {}: {got:?}, expected {expected:?}\n  {stderr}", line + 1));
    }
    for (name, expected) in &case.files {
        let found = sha256(&work.join(name)).ok_or_else(|| format!("{name} was not written"))?;
        if found != *expected {
            return Err(format!("{name} has SHA-256 {found}, expected {expected}"));
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.read_to_end(&mut bytes).ok()?;
    Some(format!("{:x}", Sha256::digest(&bytes)))
}
