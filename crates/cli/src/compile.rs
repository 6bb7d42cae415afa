//! `kiln compile`: a module from its file to an artifact.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use kiln::{ArtifactOptions, Engine, IrStage, Profile};

use crate::args::{Compile, Emit};
use crate::cache::UserCache;
use crate::options::UsageError;
use crate::progress::Progress;
use crate::run::read_module;
use crate::{config, disassembly, embedded};

/// Compiles the module and writes what came out.
pub(crate) fn main(args: &Compile) -> Result<ExitCode> {
    let Some(options) = config::options(&args.groups)? else { return Ok(ExitCode::SUCCESS) };
    let mut config = config::config(&args.groups, &options)?;
    let cache = UserCache::attach(&mut config, &args.groups, &options);
    let progress = Progress::watch(&mut config);
    let engine = Engine::new(&config).context("cannot make an engine with these options")?;
    if args.emit != Emit::Exe && !args.run_options.is_empty() {
        return Err(UsageError("options behind `--` are for `--emit exe`".to_owned()).into());
    }
    if args.profile && !matches!(args.emit, Emit::Artifact | Emit::Exe) {
        return Err(UsageError("`--profile` is for artifacts and executables".to_owned()).into());
    }
    let bytes = read_module(&args.file)?;
    let profile = if args.profile { Some(cache.profile(&args.file, &bytes)?) } else { None };
    let made =
        emit(args, &engine, &bytes, profile).with_context(|| format!("cannot compile {}", args.file.display()))?;
    drop(progress);
    cache.flush();
    let output = output(args.output.as_deref(), &args.file, made.ending)?;
    if let Some(header) = &made.header {
        let header_file = output.with_extension("h");
        write(&header_file, header.as_bytes(), false)
            .with_context(|| format!("cannot write {}", header_file.display()))?;
    }
    write(&output, &made.bytes, args.emit == Emit::Exe)
        .with_context(|| format!("cannot write {}", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be written.
struct Made {
    bytes: Vec<u8>,
    header: Option<String>,
    ending: &'static str,
}

fn emit(args: &Compile, engine: &Engine, bytes: &[u8], profile: Option<Profile>) -> Result<Made> {
    let mut options = ArtifactOptions::new();
    options.embed_wasm(!args.no_wasm).cpus(args.cpus.iter().cloned()).profile(profile);
    let made = |bytes, ending| Made { bytes, header: None, ending };
    Ok(match args.emit {
        Emit::Artifact => made(engine.precompile_module(bytes, &options)?, "kiln"),
        Emit::Exe => {
            let run_options: Vec<String> = group_options(args).chain(args.run_options.iter().cloned()).collect();
            made(embedded::executable(&engine.precompile_module(bytes, &options)?, &run_options)?, "")
        }
        Emit::Clif => made(clif(engine, bytes)?.into_bytes(), "clif"),
        Emit::Asm => made(assembly(engine, bytes)?.into_bytes(), "s"),
        Emit::Obj => {
            let name = args.output.as_deref().unwrap_or(&args.file).file_stem().unwrap_or_default();
            let object = engine.compile_object(bytes, &name.to_string_lossy())?;
            Made { bytes: object.object, header: Some(object.header), ending: "o" }
        }
    })
}

/// The options under which the code was made hold for its runs, too.
fn group_options(args: &Compile) -> impl Iterator<Item = String> {
    let groups = &args.groups;
    let lists = [("-W", &groups.wasm), ("-S", &groups.wasi), ("-O", &groups.optimize), ("-C", &groups.codegen)];
    lists.into_iter().flat_map(|(letter, list)| list.iter().flat_map(move |o| [letter.to_owned(), o.clone()]))
}

fn clif(engine: &Engine, bytes: &[u8]) -> Result<String> {
    let mut out = String::new();
    for function in engine.compile_ir(bytes, IrStage::Optimized)? {
        out += &format!("; {}, whose body begins at {:#x}\n{}\n", function.name, function.body, function.text);
    }
    Ok(out)
}

/// Every function's instructions, with the offset in the module of the operator that each is for.
fn assembly(engine: &Engine, bytes: &[u8]) -> Result<String> {
    let object = engine.compile_object(bytes, "module")?;
    let mut instructions = disassembly::of_object(&object.object)?;
    let mut out = String::new();
    for function in &object.functions {
        out += &format!("# {}, body {:#x}..{:#x}\n", function.name, function.body.start, function.body.end);
        out += &format!("{}:\n", function.symbol);
        let mut last = None;
        for instruction in instructions.remove(&function.symbol).unwrap_or_default() {
            if instruction.offset >= function.code.end - function.code.start {
                break;
            }
            let operator = operator_at(&function.operators, instruction.offset);
            let beside = match operator {
                Some(offset) if operator != last => format!("{offset:#x}"),
                _ => String::new(),
            };
            last = operator;
            out += &format!("{beside:>10}  {:6x}:  {}\n", instruction.offset, instruction.text);
        }
        out.push('\n');
    }
    Ok(out)
}

/// The operator to which the code at an offset belongs.
pub(crate) fn operator_at(operators: &[(u32, Option<u64>)], offset: u64) -> Option<u64> {
    let at = operators.partition_point(|(start, _)| u64::from(*start) <= offset).checked_sub(1)?;
    operators[at].1
}

/// Where to write what was made of a file.
pub(crate) fn output(output: Option<&Path>, file: &Path, ending: &str) -> Result<PathBuf, UsageError> {
    match output {
        Some(output) => Ok(output.to_owned()),
        None if file == Path::new("-") => Err(UsageError("-o FILE must say where to write".to_owned())),
        None => Ok(file.with_extension(ending)),
    }
}

/// Writes a file as a whole or not at all: who runs the old one meanwhile keeps it.
pub(crate) fn write(path: &Path, bytes: &[u8], executable: bool) -> std::io::Result<()> {
    if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        // A device or a pipe.
        return fs::write(path, bytes);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let mode = if executable { 0o777 } else { 0o666 };
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&unfinished);
    let written = file.and_then(|mut file| file.write_all(bytes));
    let moved = written.and_then(|()| fs::rename(&unfinished, path));
    if moved.is_err() {
        _ = fs::remove_file(&unfinished);
    }
    moved
}
