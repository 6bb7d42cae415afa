//! `cargo xtask bless`: golden files take what the tests see now. The difference is read in review.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root;

/// Options of `bless`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only cases whose path contains this
    filter: Option<String>,
}

/// Runs the golden tests in the mode that rewrites their expectations.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--package", "kiln-testkit", "--test", "disas"]).env("KILN_BLESS", "1");
    if let Some(filter) = &args.filter {
        cargo.env("KILN_FILTER", filter);
    }
    let status = cargo.current_dir(root::workspace()).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the golden tests did not pass: {status}");
    }
    println!("blessed; see `git diff tests/disas`");
    Ok(())
}
