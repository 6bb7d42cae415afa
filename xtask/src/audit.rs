//! `cargo xtask audit`: known vulnerabilities of the crates that Kiln is built of.
//!
//! It is no step of `cargo xtask ci`: the list of advisories is in a repository of its own, which no package registry
//! carries, so that a machine that reaches only the registries could never pass. Run it before a release, and from time to
//! time.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::root;

/// Options of `audit`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A copy of the RustSec advisory database to look in, instead of fetching it
    #[arg(long, value_name = "DIR")]
    db: Option<PathBuf>,
}

/// The lock files of the product and of its tools.
const LOCKS: [&str; 4] = ["Cargo.lock", "benches/Cargo.lock", "fuzz/Cargo.lock", "models/Cargo.lock"];

/// Looks up every crate of every lock file; an error if one has an advisory, or if nothing could be looked up.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = root::workspace();
    let has_tool =
        Command::new("cargo").args(["audit", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(
        has_tool.is_ok_and(|s| s.success()),
        "cargo-audit is missing: `cargo install --locked cargo-audit` installs it"
    );
    for lock in LOCKS.iter().filter(|lock| workspace.join(lock).exists()) {
        println!("{lock}");
        let mut command = Command::new("cargo");
        command.args(["audit", "--deny", "warnings", "--file", lock]).current_dir(&workspace);
        if let Some(db) = &args.db {
            command.args(["--no-fetch", "--stale", "--db"]).arg(db);
        }
        let status = command.status().context("cannot run cargo audit")?;
        ensure!(status.success(), "{lock}: cargo audit found advisories, or could not fetch their list (see --db)");
    }
    Ok(())
}
