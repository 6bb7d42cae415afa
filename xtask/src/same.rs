//! `cargo xtask same`: compiles real programs in ways that must not show in the artifact: with one thread and with all, in
//! the best order and in others, without cache, with an empty one, and with what that left.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{root, table};

/// Options of `same`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The `kiln` to use
    #[arg(long, value_name = "FILE", default_value = "target/release/kiln")]
    kiln: PathBuf,
    /// Leave out programs that are larger: a number of bytes, or with kB, MB, GB
    #[arg(long, value_name = "SIZE", value_parser = crate::corpus::parse_size, default_value = "10MB")]
    max_size: u64,
    /// The folder with the programs
    #[arg(long, value_name = "DIR", default_value = "corpus")]
    corpus: PathBuf,
}

/// How a program is compiled: what it is called, flags, and whether with the cache that the run before left.
const WAYS: [(&str, &[&str]); 6] = [
    ("one thread", &["--no-cache", "-C", "share=y,parallel-compilation=n"]),
    ("all threads", &["--no-cache", "-C", "share=y"]),
    ("another order", &["--no-cache", "-C", "share=y,work-order=1"]),
    ("another order, one thread", &["--no-cache", "-C", "share=y,work-order=2,parallel-compilation=n"]),
    ("empty cache", &[]),
    ("full cache", &["-C", "parallel-compilation=n"]),
];

/// Compiles each program in each way; fails if two artifacts differ.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = root::workspace();
    let mut programs = Vec::new();
    find(&workspace.join(&args.corpus), &mut programs)?;
    programs.retain(|p| p.metadata().is_ok_and(|m| m.len() <= args.max_size));
    programs.sort();
    ensure!(!programs.is_empty(), "no programs are in {}; `cargo xtask corpus` fetches them", args.corpus.display());
    let scratch = std::env::temp_dir().join(format!("kiln-same-{}", std::process::id()));
    let mut differ = Vec::new();
    for program in &programs {
        let start = Instant::now();
        std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        let made = WAYS.iter().map(|(_, flags)| compile(&workspace.join(&args.kiln), flags, program, &scratch));
        let made = made.collect::<Result<Vec<_>>>();
        std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
        let made = made.with_context(|| format!("in {}", program.display()))?;
        let different: Vec<&str> =
            WAYS.iter().zip(&made).filter(|(_, hash)| **hash != made[0]).map(|((way, _), _)| *way).collect();
        let name = program.file_name().unwrap_or_default().display();
        let verdict =
            if different.is_empty() { "same".to_owned() } else { format!("DIFFERS: {}", different.join(", ")) };
        println!("{name} ... {verdict} ({})", table::seconds(start.elapsed().as_secs_f64()));
        if !different.is_empty() {
            differ.push(name.to_string());
        }
    }
    ensure!(differ.is_empty(), "artifacts depend on how they are compiled: {}", differ.join(", "));
    println!("{} programs, {} ways: all the same", programs.len(), WAYS.len());
    Ok(())
}

/// Modules below a folder.
fn find(folder: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "wasm") {
            out.push(path);
        }
    }
    Ok(())
}

/// Compiles a program with the cache in `scratch`; the hash of what came out.
fn compile(kiln: &Path, flags: &[&str], program: &Path, scratch: &Path) -> Result<String> {
    let artifact = scratch.join("made.kiln");
    let mut command = Command::new(kiln);
    command
        .arg("compile")
        .args(flags)
        .arg(program)
        .arg("-o")
        .arg(&artifact)
        .env("KILN_CACHE_DIR", scratch.join("cache"));
    let status = command.status().with_context(|| format!("cannot run {}", kiln.display()))?;
    ensure!(status.success(), "{}: {status}", flags.join(" "));
    let bytes = std::fs::read(&artifact).context("cannot read what was compiled")?;
    Ok(format!("{:x}", Sha256::digest(&bytes)))
}
