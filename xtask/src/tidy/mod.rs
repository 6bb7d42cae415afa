//! `cargo xtask tidy`: the house rules that a machine can check.

mod edges;
mod lexer;
mod opcodes;
mod ratchet;
mod source;
mod supply;
mod text;
mod tree;

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::root;

/// Options of `tidy`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Lower the entries of xtask/ratchet.txt to what there is now, and remove those that are no longer needed
    #[arg(long)]
    tighten: bool,
}

/// Where the tolerated lengths stand.
const RATCHET: &str = "xtask/ratchet.txt";

/// A house rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Length,
    Unsafe,
    Safety,
    Banned,
    Edge,
    DeadFile,
    NamedPath,
    EmptyTests,
    Foreign,
    Supply,
    Opcode,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Length => "length",
            Rule::Unsafe => "unsafe",
            Rule::Safety => "safety",
            Rule::Banned => "banned",
            Rule::Edge => "edge",
            Rule::DeadFile => "dead-file",
            Rule::NamedPath => "named-path",
            Rule::EmptyTests => "empty-tests",
            Rule::Foreign => "foreign",
            Rule::Supply => "supply",
            Rule::Opcode => "opcode",
        })
    }
}

/// A place where a rule is broken.
#[derive(Debug)]
struct Finding {
    path: String,
    line: usize,
    rule: Rule,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: Rule, message: String) -> Finding {
        Finding { path: path.to_owned(), line, rule, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// Checks the tree; an error if a rule is broken.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = root::workspace();
    let (mut findings, tightened) = check(&workspace)?;
    if args.tighten {
        std::fs::write(workspace.join(RATCHET), tightened.print()).context("cannot write the ratchet")?;
        findings = check(&workspace)?.0;
    }
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("{n} finding{} of tidy", if n == 1 { "" } else { "s" }),
    }
}

fn check(workspace: &Path) -> Result<(Vec<Finding>, ratchet::Ratchet)> {
    let files = root::files(workspace)?;
    let packages = edges::packages(workspace)?;
    let foreign = text::Foreign::of_this_machine(workspace);
    let mut findings = edges::forbidden(workspace, &packages);
    findings.extend(supply::findings(workspace)?);
    let mut measured = Vec::new();
    for path in &files {
        let Ok(text) = std::fs::read_to_string(workspace.join(path)) else { continue };
        findings.extend(foreign.findings(path, &text));
        if path.ends_with(".rs") {
            let tokens = lexer::tokens(&text);
            findings.extend(source::words(path, &tokens));
            findings.extend(opcodes::findings(path, &tokens));
            measured.extend(source::lengths(&text, &tokens).into_iter().map(|l| (path.clone(), l)));
        }
    }
    let ratchet_text = std::fs::read_to_string(workspace.join(RATCHET)).context("cannot read the ratchet")?;
    let (lengths, tightened) = ratchet::Ratchet::parse(&ratchet_text)?.check(&measured);
    findings.extend(lengths);
    findings.extend(safe_crates(workspace, &packages));
    let roots: Vec<String> = packages.iter().flat_map(|p| p.roots(workspace)).collect();
    findings.extend(tree::dead_files(&files, &tree::reached(workspace, &roots)));
    findings.extend(tree::named_paths(workspace, &files));
    findings.extend(tree::empty_test_folders(workspace, &files));
    Ok((findings, tightened))
}

/// Crates that do not forbid `unsafe`, other than the runtime and the cache, which has a home for it.
fn safe_crates(workspace: &Path, packages: &[edges::Package]) -> Vec<Finding> {
    let mut out = Vec::new();
    for package in packages.iter().filter(|p| !matches!(p.name.as_str(), "kiln" | "kiln-cache")) {
        for root in package.product_roots(workspace) {
            let text = std::fs::read_to_string(workspace.join(&root)).unwrap_or_default();
            if !source::forbids_unsafe(&lexer::tokens(&text)) {
                let message = format!("{} must say #![forbid(unsafe_code)]", package.name);
                out.push(Finding::new(&root, 1, Rule::Unsafe, message));
            }
        }
    }
    out
}
