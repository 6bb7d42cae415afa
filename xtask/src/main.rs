//! Kiln's chores, run as `cargo xtask NAME`: `tidy`, `ci`, `bless`, `audit`, `corpus`, `same`, `bench`.
#![forbid(unsafe_code)]

mod audit;
mod bench;
mod bless;
mod ci;
mod corpus;
mod root;
mod same;
mod table;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Kiln's chores", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check the house rules
    Tidy(tidy::Args),
    /// Everything that must pass before a change is merged: what .ci/run calls
    Ci(ci::Args),
    /// Run the golden-file tests and write what they saw into the files
    Bless(bless::Args),
    /// Look for known vulnerabilities of the crates that Kiln is built of
    Audit(audit::Args),
    /// Fetch real programs from package registries into corpus/
    Corpus(corpus::Args),
    /// Check that artifacts of real programs depend neither on threads nor on the cache
    Same(same::Args),
    /// Measure Kiln and its rivals side by side
    Bench(Box<bench::Args>),
}

fn main() -> ExitCode {
    let result = match Args::parse().chore {
        Chore::Tidy(args) => tidy::run(&args),
        Chore::Ci(args) => ci::run(&args),
        Chore::Bless(args) => bless::run(&args),
        Chore::Audit(args) => audit::run(&args),
        Chore::Corpus(args) => corpus::run(&args),
        Chore::Same(args) => same::run(&args),
        Chore::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
