//! `kiln compile`: a module from its file to an artifact.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use kiln::{ArtifactOptions, Engine, IrStage, Module, Profile};

use crate::args::{Compile, Emit};
use crate::cache::UserCache;
use crate::options::UsageError;
use crate::progress::Progress;
use crate::run::{locate, read_module};
use crate::{config, disassembly, embedded, report};

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
    if !matches!(args.emit, Emit::Artifact | Emit::Exe) && (args.no_wasm || !args.cpus.is_empty()) {
        return Err(UsageError("`--no-wasm` and `--cpu` are for artifacts and executables".to_owned()).into());
    }
    if args.emit == Emit::Exe {
        embedded::check_options(&run_options(args))?;
    }
    let bytes = read_module(&args.file)?;
    let failed = |error| locate(error, &args.file).context(format!("cannot compile {}", args.file.display()));
    Module::binary_form(&bytes).map_err(failed)?;
    let output = output(args.output.as_deref(), &args.file, ending(args.emit))?;
    let header_file = (args.emit == Emit::Obj).then(|| header_beside(&output, &args.file)).transpose()?;
    let profile = if args.profile { Some(cache.profile(&args.file, &bytes)?) } else { None };
    let made = emit(args, &engine, &bytes, profile).map_err(failed)?;
    drop(progress);
    cache.flush();
    if let (Some(file), Some(header)) = (&header_file, &made.header) {
        write(file, header.as_bytes(), false)?;
    }
    write(&output, &made.bytes, args.emit == Emit::Exe)?;
    Ok(ExitCode::SUCCESS)
}

/// What the names of files end in.
fn ending(emit: Emit) -> &'static str {
    match emit {
        Emit::Artifact => "kiln",
        Emit::Clif => "clif",
        Emit::Asm => "s",
        Emit::Obj => "o",
        Emit::Exe => "",
    }
}

/// Where the C header of an object goes.
fn header_beside(output: &Path, module: &Path) -> Result<PathBuf, UsageError> {
    let header = output.with_extension("h");
    if header == output || output == Path::new("-") {
        let output = output.display();
        return Err(UsageError(format!("-o {output}: a C header goes beside an object, which must have another name")));
    }
    keep_module(&header, module)?;
    Ok(header)
}

/// What is to be written.
struct Made {
    bytes: Vec<u8>,
    header: Option<String>,
}

fn emit(args: &Compile, engine: &Engine, bytes: &[u8], profile: Option<Profile>) -> Result<Made> {
    let mut options = ArtifactOptions::new();
    options.embed_wasm(!args.no_wasm).cpus(args.cpus.iter().cloned()).profile(profile);
    let made = |bytes| Made { bytes, header: None };
    Ok(match args.emit {
        Emit::Artifact => made(engine.precompile_module(bytes, &options)?),
        Emit::Exe => made(embedded::executable(&engine.precompile_module(bytes, &options)?, &run_options(args))?),
        Emit::Clif => made(clif(engine, bytes)?.into_bytes()),
        Emit::Asm => made(assembly(engine, bytes)?.into_bytes()),
        Emit::Obj => {
            let name = args.output.as_deref().unwrap_or(&args.file).file_stem().unwrap_or_default();
            let object = engine.compile_object(bytes, &name.to_string_lossy())?;
            Made { bytes: object.object, header: Some(object.header) }
        }
    })
}

/// The options of an executable's runs: those under which the code was made, and those that are for its runs alone.
fn run_options(args: &Compile) -> Vec<String> {
    let groups = &args.groups;
    let lists = [("-W", &groups.wasm), ("-S", &groups.wasi), ("-O", &groups.optimize), ("-C", &groups.codegen)];
    let groups =
        lists.into_iter().flat_map(|(letter, list)| list.iter().flat_map(move |o| [letter.to_owned(), o.clone()]));
    groups.chain(args.run_options.iter().cloned()).collect()
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

/// Where to write what is made of a module; `-` is standard output.
pub(crate) fn output(output: Option<&Path>, module: &Path, ending: &str) -> Result<PathBuf, UsageError> {
    let output = match output {
        Some(output) => output.to_owned(),
        None if module == Path::new("-") => return Err(UsageError("-o FILE must say where to write".to_owned())),
        None => module.with_extension(ending),
    };
    keep_module(&output, module)?;
    Ok(output)
}

/// Nothing is to be written in place of the module that it is made of.
fn keep_module(output: &Path, module: &Path) -> Result<(), UsageError> {
    let is_same = match (fs::metadata(output), fs::metadata(module)) {
        (Ok(output), Ok(module)) => output.is_file() && (output.dev(), output.ino()) == (module.dev(), module.ino()),
        _ => false,
    };
    if is_same {
        let output = output.display();
        return Err(UsageError(format!(
            "{output} is the module, and would be overwritten: -o FILE names another file"
        )));
    }
    Ok(())
}

/// Writes a file as a whole or not at all: who runs the old one meanwhile keeps it. `-` is standard output.
pub(crate) fn write(path: &Path, bytes: &[u8], executable: bool) -> Result<()> {
    if path == Path::new("-") {
        return report::give(bytes);
    }
    let written = if is_written_in_place(path) {
        fs::write(path, bytes)
    } else {
        // Where there is a link, its target is replaced.
        let mode = if executable { 0o777 } else { 0o666 };
        publish(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), bytes, mode)
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Whether a file is no regular one, a name of what the process has open, or a link to nothing.
fn is_written_in_place(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(metadata) => !metadata.is_file() || path.starts_with("/dev") || path.starts_with("/proc"),
        Err(_) => path.is_symlink(),
    }
}

/// Writes a file that only its owner may read, as a whole or not at all. What the path leads to is not followed: who may
/// write to its folder could have put a link there.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let is_device = (path.starts_with("/dev") && !path.starts_with("/dev/shm")) || path.starts_with("/proc");
    match fs::symlink_metadata(path) {
        Ok(_) if is_device => fs::write(path, bytes),
        Ok(metadata) if !metadata.is_file() && !metadata.is_symlink() => {
            let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            fs::OpenOptions::new().write(true).custom_flags(flags).open(path)?.write_all(bytes)
        }
        _ => publish(path, bytes, 0o600),
    }
}

/// Puts a file in the place of what is at the path. It is written under a name that nobody can guess, and that was not
/// there before.
fn publish(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut unfinished = tempfile::Builder::new()
        .prefix(".kiln-")
        .suffix(".tmp")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    unfinished.write_all(bytes)?;
    unfinished.persist(path).map(drop).map_err(|error| error.error)
}
