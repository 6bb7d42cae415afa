//! `kiln verify`: whether compiled code is proven to stay in the sandbox.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use kiln_env::artifact;
use kiln_verify::{Artifact, Report, Scratch, Variant};
use serde_json::json;

use crate::args::Verify;
use crate::report;

/// Functions that a thread takes at once.
const BATCH: usize = 64;
/// Refusals that are printed; there may be as many as functions.
const SHOWN: usize = 20;

/// Verifies a file; fails if something in it is not proven.
pub(crate) fn main(args: &Verify) -> Result<ExitCode> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let verify = || {
        let header = artifact::read_header(&bytes)?;
        artifact::verify(&bytes, &header)?;
        let file = Artifact::read(&bytes)?;
        if let Some(name) = &args.explain {
            return explain(&file, name).map(|text| (text, true));
        }
        let mut report = Report::default();
        for variant in 0..file.variants() {
            report.merge(check(&file.variant(variant)?));
        }
        let text = if args.json { json_text(&report) } else { text(&report) };
        Ok((text, report.is_proven()))
    };
    let (text, proven) = verify().with_context(|| format!("in {}", args.file.display()))?;
    report::give(text.as_bytes())?;
    Ok(if proven { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks all functions, with all threads that the machine runs at once.
fn check(variant: &Variant<'_>) -> Report {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(variant.len().div_ceil(BATCH).max(1));
    let (next, report) = (AtomicUsize::new(0), Mutex::new(Report::default()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut scratch = Scratch::default();
                loop {
                    let start = next.fetch_add(BATCH, Ordering::Relaxed);
                    if start >= variant.len() {
                        return;
                    }
                    let part = variant.check(&mut scratch, start..variant.len().min(start + BATCH));
                    report.lock().unwrap_or_else(PoisonError::into_inner).merge(part);
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.refused.sort_by_key(|refusal| refusal.func);
    report
}

/// The function of a name, like `wasm[7]`, in the first variant.
fn explain(file: &Artifact<'_>, name: &str) -> Result<String> {
    let variant = file.variant(0)?;
    let is_it = |position: &usize| variant.key(*position).is_some_and(|key| key.to_string() == name);
    let Some(position) = (0..variant.len()).find(is_it) else {
        bail!("no function is called {name}; functions are called wasm[0], builtin[memory_grow] and so on");
    };
    let Some((mut text, result)) = variant.explain(position) else { bail!("{name} has no code") };
    match result {
        Ok(_) => text.push_str("proven\n"),
        Err(refusal) => _ = writeln!(text, "refused: {refusal}"),
    }
    Ok(text)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn text(report: &Report) -> String {
    let all = report.accepted + report.refused.len();
    let mut out = format!(
        "proven     {} of {all} functions ({:.2} %), {} of {} bytes of machine code ({:.2} %)\n",
        report.accepted,
        share(report.accepted as u64, all as u64),
        report.accepted_bytes,
        report.bytes,
        share(report.accepted_bytes, report.bytes),
    );
    let mut rules = BTreeMap::new();
    for refusal in &report.refused {
        *rules.entry(refusal.rule).or_insert(0usize) += 1;
    }
    for (rule, count) in rules {
        _ = writeln!(out, "refused    {count} by rule {rule}");
    }
    for refusal in report.refused.iter().take(SHOWN) {
        _ = writeln!(out, "  {refusal}");
    }
    if report.refused.len() > SHOWN {
        _ = writeln!(out, "  and {} more; --json has all", report.refused.len() - SHOWN);
    }
    out
}

fn json_text(report: &Report) -> String {
    let refused = report.refused.iter().map(|refusal| {
        json!({
            "function": refusal.func.to_string(),
            "offset": refusal.offset,
            "instruction": refusal.instruction,
            "rule": refusal.rule.to_string(),
            "reason": refusal.reason,
        })
    });
    let value = json!({
        "proven": report.is_proven(),
        "functions": report.accepted + report.refused.len(),
        "accepted": report.accepted,
        "bytes": report.bytes,
        "accepted_bytes": report.accepted_bytes,
        "refused": refused.collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}
