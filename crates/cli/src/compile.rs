//! `kiln compile`: a module from its file to an artifact.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use kiln::{ArtifactOptions, Engine};

use crate::args::Compile;
use crate::cache::UserCache;
use crate::config;
use crate::options::UsageError;
use crate::progress::Progress;
use crate::run::read_module;

/// Compiles the module and writes what came out.
pub(crate) fn main(args: &Compile) -> Result<ExitCode> {
    let Some(options) = config::options(&args.groups)? else { return Ok(ExitCode::SUCCESS) };
    let mut config = config::config(&args.groups, &options)?;
    let cache = UserCache::attach(&mut config, &args.groups, &options);
    let progress = Progress::watch(&mut config);
    let engine = Engine::new(&config).context("cannot make an engine with these options")?;
    let bytes = read_module(&args.file)?;
    let mut artifact = ArtifactOptions::new();
    artifact.embed_wasm(!args.no_wasm).cpus(args.cpus.iter().cloned());
    let compiled = engine
        .precompile_module(&bytes, &artifact)
        .with_context(|| format!("cannot compile {}", args.file.display()))?;
    drop(progress);
    cache.flush();
    let output = output(args, "kiln")?;
    write(&output, &compiled).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Where to write.
fn output(args: &Compile, ending: &str) -> Result<PathBuf, UsageError> {
    match &args.output {
        Some(output) => Ok(output.clone()),
        None if args.file == Path::new("-") => Err(UsageError("-o FILE must say where to write".to_owned())),
        None => Ok(args.file.with_extension(ending)),
    }
}

/// Writes a file as a whole or not at all: who runs the old one meanwhile keeps it.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        // A device or a pipe.
        return fs::write(path, bytes);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = fs::File::create(&unfinished).and_then(|mut file| file.write_all(bytes));
    let moved = written.and_then(|()| fs::rename(&unfinished, path));
    if moved.is_err() {
        _ = fs::remove_file(&unfinished);
    }
    moved
}
