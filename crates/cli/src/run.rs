//! `kiln run`: a program from its file to its exit code.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Error, Result, anyhow, ensure};
use kiln::{
    Config, Engine, ExternType, IncompatibleArtifact, Instance, Linker, Module, ModuleFile, SigningKey, Store,
    StoreLimits, StoreLimitsBuilder, UnknownImportError, WasmBacktrace,
};
use kiln_env::text::printable;
use kiln_wasi::{DirAccess, I32Exit, SharedWasiCtx, WasiCtx, WasiCtxBuilder, WasiThreads};

use crate::args::{self, Explain, Run, Tier};
use crate::cache::{CachedModule, Found, Outline, UserCache};
use crate::config::{self, size};
use crate::explain::{self, Explanation, timed};
use crate::options::{self, Options, Refine, UsageError, Wasm};
use crate::progress::Progress;
use crate::reach::Reach;
use crate::timeout::Timeout;
use crate::{cache, compile, embedded, invoke, reach, refine, report};

/// Stack of the program's thread beside what the program itself may use: for host functions, and for the compiler,
/// which in lazy mode runs on its own stacks but is entered from this one.
const HOST_STACK: usize = 56 << 20;

/// What the store keeps for the host's side.
struct Host {
    wasi: Wasi,
    limits: StoreLimits,
}

/// The program's side of WASI.
enum Wasi {
    Own(Box<WasiCtx>),
    /// That of a program which may start threads (`-S threads`).
    Shared(SharedWasiCtx),
}

impl Host {
    fn own(&mut self) -> &mut WasiCtx {
        match &mut self.wasi {
            Wasi::Own(ctx) => ctx,
            Wasi::Shared(_) => {
                unreachable!("functions for a context of the store's own are linked to stores that have one")
            }
        }
    }

    fn shared(&self) -> &SharedWasiCtx {
        match &self.wasi {
            Wasi::Shared(ctx) => ctx,
            Wasi::Own(_) => unreachable!("functions for a shared context are linked to stores that have one"),
        }
    }
}

/// How the program ends: the first to send this decides. `Err` is a panic.
type End = Sender<thread::Result<Result<ExitCode>>>;

/// A run, worked out from the command line.
struct Plan {
    run: Run,
    options: Options,
    /// `-` is standard input.
    file: PathBuf,
    args: Vec<OsString>,
    /// Where the artifact is in the running program, if it is there.
    embedded: Option<Range<u64>>,
    /// Bytes of stack of a thread on which the program runs.
    stack: usize,
    end: End,
    reach: Reach,
}

impl Plan {
    /// Whether a file is taken as native code if it is that: others are compiled again.
    fn may_be_precompiled(&self, file: &Path) -> bool {
        self.run.allow_precompiled || file.extension().is_some_and(|ending| ending == ENDING)
    }

    /// Whether no file from which code runs can be written to by the program.
    fn is_code_out_of_reach(&self) -> bool {
        let files = [cache::folder().ok(), self.embedded.is_some().then(|| PathBuf::from("/proc/self/exe"))];
        let preloads = self.run.preloads.iter().filter_map(|preload| Some(PathBuf::from(split_once(preload, "=")?.1)));
        let mut files = files.into_iter().flatten().chain(preloads).filter(|file| file.exists());
        !self.reach.can_write(&self.file) && !files.any(|file| self.reach.can_write(&file))
    }

    /// Warns of what the program could do to all later runs.
    fn warn(&self) {
        let key =
            SigningKey::default_path().and_then(|path| self.reach.folder_with(&path, false).map(|dir| (dir, path)));
        let key = key.map(|found| (found, "your key, with which it can pass off code as compiled by you"));
        let writable = |path: Option<PathBuf>| path.and_then(|path| Some((self.reach.folder_with(&path, true)?, path)));
        let cache = writable(cache::folder().ok()).map(|found| (found, "Kiln's cache of compiled code"));
        // What the user may not write to, the program may not either.
        let own = std::env::current_exe().ok().filter(|own| reach::is_replaceable(own));
        let own = writable(own).map(|found| (found, "Kiln itself"));
        for ((folder, path), what) in [key, cache, own].into_iter().flatten() {
            let (folder, path) = (folder.display(), path.display());
            report::note(&format!("warning: --dir {folder} gives the program {what}: {path}"));
        }
    }
}

/// What the names of files with native code end in.
const ENDING: &str = "kiln";

/// Runs the program; its exit code. An artifact that is part of the running program itself is run instead of the file that
/// `run` names.
pub(crate) fn main(mut run: Run, embedded: Option<Range<u64>>) -> Result<ExitCode> {
    run.groups.profilers = run.profile;
    let Some(options) = config::options(&run.groups)? else { return Ok(ExitCode::SUCCESS) };
    // What is to be shown is optimised, however little it is used.
    let is_shown = options.debug.dump_function.is_some();
    run.groups.tier.get_or_insert(if is_shown { Tier::Eager } else { Tier::Dynamic });
    let (file, args) = run.file_and_args.split_first().ok_or_else(|| UsageError("no file is named".to_owned()))?;
    let (file, args) = (PathBuf::from(file), args.to_vec());
    let reach = Reach::of(&run)?;
    let stack = size("-W max-wasm-stack", options.wasm.max_wasm_stack.unwrap_or(0))?.max(config::MAX_WASM_STACK);
    // The main thread's stack is as small as the shell likes; this one is as large as the program may ask for.
    let stack = stack.saturating_add(HOST_STACK);
    let (end, ended) = mpsc::channel();
    let plan = Plan { run, options, file, args, embedded, stack, end, reach };
    plan.warn();
    let thread = thread::Builder::new().name("guest".to_owned()).stack_size(stack);
    let guest = move || {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| execute(&plan)));
        // Nobody listens if a thread of the program was faster.
        _ = plan.end.send(result);
    };
    thread.spawn(guest).context("cannot start a thread with that much stack")?;
    match ended.recv().context("the program's thread is gone")? {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn execute(plan: &Plan) -> Result<ExitCode> {
    let mut explanation = Explanation::default();
    let mut module = None;
    let mut config = config::config(&plan.run.groups, &plan.options)?;
    let cache = UserCache::attach(&mut config, &plan.run.groups, &plan.options);
    let result = program(plan, config, &cache, &mut explanation, &mut module);
    if cache.is_dynamic() {
        if let Some(outline) = cache.flush_left(explanation.resumed) {
            refine(plan, outline, result.as_ref().err());
        }
    } else {
        cache.flush();
    }
    explanation.cache_problem = cache.problem();
    if let Some(form) = plan.run.explain {
        if let Some(module) = &module {
            explanation.compiled(&Module::compile_statistics(module));
        }
        explanation.peak_memory_bytes = explain::peak_memory();
        report::note(&match form {
            Explain::Table => explanation.table(),
            Explain::Json => explanation.json(),
        });
    }
    // The system frees them at once.
    std::mem::forget((module, cache));
    result
}

/// Has what the program used optimised when it has ended, with an error perhaps. Where that cannot be it is as it was.
fn refine(plan: &Plan, outline: &Outline, error: Option<&Error>) {
    let mode = plan.options.codegen.refine.unwrap_or(Refine::Yes);
    if mode != Refine::No && plan.run.profile.is_none() {
        let wait = mode == Refine::Wait;
        match refine::begin(&plan.run.groups, &plan.options, (outline.place(), &plan.file), error, wait) {
            Ok(()) => {}
            Err(error) if wait => report::note(&format!("what the program used is not optimised: {error:#}")),
            Err(error) => tracing::debug!("what the program used is not optimised: {error:#}"),
        }
    }
}

/// Everything but the report: reads, compiles, instantiates, runs.
fn program(
    plan: &Plan,
    mut config: Config,
    cache: &Arc<UserCache>,
    explanation: &mut Explanation,
    module: &mut Option<Module>,
) -> Result<ExitCode> {
    let progress = Progress::watch(&mut config);
    let is_artifact = plan.embedded.is_some() || Module::is_artifact_file(&plan.file);
    config.allow_precompiled(plan.run.allow_precompiled).artifacts_in_place(plan.is_code_out_of_reach());
    let cached = if is_artifact { None } else { cache.identify(&plan.file) };
    let cached = cached.map(|module| (cache.find(module), module));
    config.defer_compiler(is_artifact || matches!(cached, Some((Some(_), _))));
    let engine = Engine::new(&config).context("cannot make an engine with these options")?;
    let name = plan.file.display().to_string();
    let limit = plan.options.wasm.timeout;
    let timeout = limit.map(|limit| Timeout::begin(&engine, limit, &name)).transpose()?;
    let (compiled, outline) = match cached {
        Some((found, module)) => load_cached(&engine, plan, cache, found, module, explanation)?,
        None => (load(&engine, plan, is_artifact, explanation)?, None),
    };
    drop(progress);
    let compiled = module.insert(compiled);

    let (made, seconds) = timed(|| {
        let mut store = store(plan, &engine)?;
        if let Some(timeout) = &timeout {
            timeout.enter(&mut store);
        }
        let instance = instantiate(plan, &mut store, compiled);
        Ok::<_, Error>((store, instance))
    });
    explanation.instantiate_seconds = seconds;
    let (mut store, instance) = made?;
    let instance = instance.map_err(|error| ended(plan, &mut store, error, "instantiate", &name))?;

    let (start, cpu) = (Instant::now(), explain::thread_cpu_time());
    let result = enter(plan, &mut store, instance);
    drop(timeout);
    explanation.run_seconds = start.elapsed().as_secs_f64();
    explanation.run_cpu_seconds = explain::thread_cpu_time().saturating_sub(cpu).as_secs_f64();
    let result = result.map_err(|error| ended(plan, &mut store, error, "run", &name));
    // The process ends now, and the system frees it all at once.
    std::mem::forget(store);
    if let Some(outline) = outline {
        cache.leave(compiled, &outline);
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// A module for which there is a place in the cache: loaded from there, or compiled and kept there. Where the cache is to
/// have what will be compiled of it.
fn load_cached(
    engine: &Engine,
    plan: &Plan,
    cache: &Arc<UserCache>,
    found: Option<Found>,
    module: &Arc<CachedModule>,
    explanation: &mut Explanation,
) -> Result<(Module, Option<Outline>)> {
    // One that is damaged, or that this engine cannot run after all, is replaced.
    let (loaded, seconds) = timed(|| load_found(engine, plan, found.as_ref()?).ok());
    explanation.read_seconds = seconds;
    if let Some(loaded) = loaded {
        explanation.cached(found.as_ref());
        cache.confirm(module);
        return Ok(loaded);
    }
    let (bytes, seconds) = timed(|| open_program(engine, plan));
    explanation.read_seconds += seconds;
    let bytes = bytes?;
    let place = cache.artifact_of(module, bytes.as_ref());
    let other = place.as_deref().and_then(|place| cache.at(place)).filter(|other| found.as_ref() != Some(other));
    if let Some(loaded) = other.as_ref().and_then(|other| load_found(engine, plan, other).ok()) {
        explanation.cached(other.as_ref());
        return Ok(loaded);
    }
    let is_binary = bytes.as_ref().starts_with(b"\0asm");
    let (compiled, seconds) = timed(|| compile(engine, plan, bytes));
    explanation.compile_wall_seconds = seconds;
    let compiled = compiled?;
    let mut outline = None;
    if let Some(place) = place {
        // Text would have to be translated again for each function that is compiled later.
        outline = if is_binary { cache.keep_outline(&compiled, &place) } else { None };
        cache.keep(&compiled, place);
    }
    Ok((compiled, outline))
}

/// Loads what the cache has of the program.
fn load_found(engine: &Engine, plan: &Plan, found: &Found) -> Result<(Module, Option<Outline>)> {
    match found {
        Found::Artifact(artifact) => Ok((Module::deserialize_file(engine, artifact)?, None)),
        Found::Outline(outline) => {
            let module = outline.resume(engine, open_program(engine, plan)?)?;
            Ok((module, Some(outline.clone())))
        }
    }
}

fn compile(engine: &Engine, plan: &Plan, bytes: ModuleFile) -> Result<Module> {
    Module::from_module_file(engine, bytes)
        .map_err(|error| locate(error, &plan.file).context(format!("cannot compile {}", plan.file.display())))
}

/// The error of a module that was read from a file: where it shows the place in a text, it names the file.
pub(crate) fn locate(mut error: Error, file: &Path) -> Error {
    if let Some(error) = error.downcast_mut::<wat::Error>() {
        error.set_path(file);
    }
    error
}

/// The program's module: compiled, or loaded if it is an artifact.
fn load(engine: &Engine, plan: &Plan, is_artifact: bool, explanation: &mut Explanation) -> Result<Module> {
    let file = &*plan.file;
    let (bytes, seconds) = timed(|| {
        if !is_artifact {
            return open_program(engine, plan).map(Err);
        }
        let loaded = match &plan.embedded {
            Some(range) => Module::deserialize_own(engine, range.start, range.end - range.start),
            None => precompiled(engine, plan, file),
        };
        match loaded {
            Ok(module) => {
                if plan.options.debug.dump_function.is_some() {
                    report::note("note: -D dump-function: nothing is compiled, as the file is compiled already");
                }
                Ok(Ok(module))
            }
            Err(error) => {
                let wasm = wasm_in_unfit(error, || match &plan.embedded {
                    Some(range) => embedded::read(range),
                    None => read_module(file),
                })?;
                Ok(Err(wasm.into()))
            }
        }
    });
    explanation.read_seconds = seconds;
    let bytes = match bytes? {
        Ok(module) => return Ok(module),
        Err(bytes) => bytes,
    };
    let (compiled, seconds) = timed(|| compile(engine, plan, bytes));
    explanation.compile_wall_seconds = seconds;
    compiled
}

/// The module in an artifact, if its name says that it is one.
fn precompiled(engine: &Engine, plan: &Plan, file: &Path) -> Result<Module> {
    if !plan.may_be_precompiled(file) {
        let why = format!("only files called *.{ENDING} are run as native code, unless `--allow-precompiled` is given");
        return Err(IncompatibleArtifact::new(why).into());
    }
    if !plan.run.allow_precompiled
        && let Err(no_key) = config::signing_key()
    {
        let why = "nothing tells whether you have compiled it".to_owned();
        return Err(Error::from(IncompatibleArtifact::new(why)).context(no_key));
    }
    Module::deserialize_file(engine, file)
}

/// The wasm module in an artifact that does not fit this host, which is what `error` says, to be compiled again.
fn wasm_in_unfit(error: Error, read: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    if !error.is::<IncompatibleArtifact>() {
        return Err(error);
    }
    let bytes = read()?;
    let Some(wasm) = Module::embedded_wasm(&bytes) else {
        let advice = "the artifact has no wasm module that could be compiled again; if you trust its maker, and this build of \
                      Kiln made it for machines like this one, `--allow-precompiled` runs it";
        return Err(error.context(advice));
    };
    report::note(&format!("note: {error:#}; compiling it again"));
    Ok(wasm.to_vec())
}

/// The module of `--preload`: compiled, or loaded if it is an artifact.
fn preloaded(engine: &Engine, plan: &Plan, file: &Path) -> Result<Module> {
    let bytes = if Module::is_artifact_file(file) {
        match precompiled(engine, plan, file) {
            Ok(module) => return Ok(module),
            Err(error) => wasm_in_unfit(error, || read_module(file))?,
        }
    } else {
        read_module(file)?
    };
    Module::new(engine, bytes)
        .map_err(|error| locate(error, file).context(format!("cannot compile {}", file.display())))
}

/// The bytes of a module's file, not yet read, or of standard input.
pub(crate) fn open_module(engine: &Engine, file: &Path) -> Result<ModuleFile> {
    if file == Path::new("-") {
        return Ok(read_module(file)?.into());
    }
    ModuleFile::open(engine, file).map_err(|error| unreadable(file, error))
}

/// The same of the program, which need not be copied if it cannot write to its file.
fn open_program(engine: &Engine, plan: &Plan) -> Result<ModuleFile> {
    let file = &*plan.file;
    if file == Path::new("-") || plan.reach.can_write(file) {
        return open_module(engine, file);
    }
    ModuleFile::open_in_place(engine, file).map_err(|error| unreadable(file, error))
}

/// The bytes of a module's file, or of standard input.
pub(crate) fn read_module(file: &Path) -> Result<Vec<u8>> {
    read(file).map_err(|error| unreadable(file, error))
}

/// The bytes of a file, or of standard input.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return fs::read(file);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why the file cannot be read. A word without a dot that is no file may be a command misspelt.
fn unreadable(file: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot read {}", file.display());
    let word = file.to_str().filter(|w| !w.contains(['.', '/']) && error.kind() == std::io::ErrorKind::NotFound);
    let near = word.and_then(|w| args::COMMANDS.iter().find(|c| options::distance(w, c) <= c.len() / 3));
    match near {
        Some(command) => Error::from(error).context(format!("{message}; did you mean `kiln {command}`?")),
        None => Error::from(error).context(message),
    }
}

/// A store with what the program gets from the host.
fn store(plan: &Plan, engine: &Engine) -> Result<Store<Host>> {
    let wasm = &plan.options.wasm;
    let mut limits = StoreLimitsBuilder::new();
    if let Some(n) = wasm.max_memory_size {
        limits = limits.memory_size(size("-W max-memory-size", n)?);
    }
    if let Some(n) = wasm.max_table_elements {
        limits = limits.table_elements(size("-W max-table-elements", n)?);
    }
    if let Some(n) = wasm.max_instances {
        limits = limits.instances(size("-W max-instances", n)?);
    }
    if let Some(n) = wasm.max_tables {
        limits = limits.tables(size("-W max-tables", n)?);
    }
    if let Some(n) = wasm.max_memories {
        limits = limits.memories(size("-W max-memories", n)?);
    }
    if let Some(trap) = wasm.trap_on_grow_failure {
        limits = limits.trap_on_grow_failure(trap);
    }
    let ctx = wasi(plan)?;
    let wasi = if threads_are_allowed(plan) { Wasi::Shared(ctx.into()) } else { Wasi::Own(Box::new(ctx)) };
    new_store(engine, Host { wasi, limits: limits.build() }, wasm)
}

/// A store for a thread of the program: fuel and deadline are each thread's own.
fn new_store(engine: &Engine, host: Host, wasm: &Wasm) -> Result<Store<Host>> {
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.limits);
    if let Some(fuel) = wasm.fuel {
        store.set_fuel(fuel)?;
    }
    if wasm.timeout.is_some() {
        store.set_epoch_deadline(1);
        store.epoch_deadline_trap();
    }
    Ok(store)
}

/// The program's side of WASI: arguments, environment, folders, standard streams.
fn wasi(plan: &Plan) -> Result<WasiCtx> {
    let (run, options) = (&plan.run, &plan.options.wasi);
    let mut wasi = WasiCtxBuilder::new();
    let name = plan.file.file_name().unwrap_or(plan.file.as_os_str());
    wasi.arg(run.argv0.as_deref().unwrap_or(name)).args(&plan.args);
    if options.inherit_env == Some(true) {
        wasi.inherit_env();
    }
    for variable in &run.env {
        match split_once(variable, "=") {
            Some((name, value)) => _ = wasi.env(name, value),
            None => {
                let absent = || UsageError(format!("--env {}: the host has no such variable", variable.display()));
                wasi.env(variable, std::env::var_os(variable).ok_or_else(absent)?);
            }
        }
    }
    for dir in &run.dirs {
        let (host, guest, access) = folder(dir)?;
        wasi.preopened_dir(host, guest, access).with_context(|| format!("--dir {}", dir.display()))?;
    }
    wasi.rewrite_stdio(options.rewrite_stdio == Some(true));
    if options.inherit_stdin != Some(false) {
        wasi.inherit_stdin();
    }
    if options.inherit_stdout != Some(false) {
        wasi.inherit_stdout();
    }
    if options.inherit_stderr != Some(false) {
        wasi.inherit_stderr();
    }
    Ok(wasi.build()?)
}

/// What `--dir` says: the folder, its name for the program, and what the program may do with it.
pub(crate) fn folder(dir: &OsStr) -> Result<(&OsStr, &OsStr, DirAccess), UsageError> {
    let Some((host, rest)) = split_once(dir, "::") else { return Ok((dir, dir, DirAccess::ReadWrite)) };
    match split_once(rest, "::") {
        None => Ok((host, rest, DirAccess::ReadWrite)),
        Some((guest, access)) if access == "ro" => Ok((host, guest, DirAccess::ReadOnly)),
        Some(_) => {
            let dir = dir.display();
            Err(UsageError(format!(
                "--dir {dir}: expected HOST, HOST::GUEST, or HOST::GUEST::ro for a read-only folder"
            )))
        }
    }
}

/// What stands before and behind the first `separator`. Names of the host need not be valid Unicode.
fn split_once<'a>(text: &'a OsStr, separator: &str) -> Option<(&'a OsStr, &'a OsStr)> {
    let at = text.as_bytes().windows(separator.len()).position(|bytes| bytes == separator.as_bytes())?;
    let (before, behind) = text.as_bytes().split_at(at);
    Some((OsStr::from_bytes(before), OsStr::from_bytes(&behind[separator.len()..])))
}

/// Links the module to the host, the preloaded modules and, if asked for, to made-up functions.
fn instantiate(plan: &Plan, store: &mut Store<Host>, module: &Module) -> Result<Instance> {
    let engine = store.engine().clone();
    let mut linker: Linker<Host> = Linker::new(&engine);
    let has_others = !plan.run.preloads.is_empty() || plan.options.wasm.unknown_imports_default == Some(true);
    if threads_are_allowed(plan) && has_others {
        let what = "a module of --preload, or what unknown-imports-default makes, would belong to one thread";
        return Err(UsageError(format!("-S threads: {what}")).into());
    }
    if plan.options.wasi.cli != Some(false) {
        if threads_are_allowed(plan) {
            kiln_wasi::add_shared_to_linker(&mut linker, Host::shared)?;
        } else {
            kiln_wasi::add_to_linker(&mut linker, Host::own)?;
        }
    }
    for preload in &plan.run.preloads {
        let parts = split_once(preload, "=").and_then(|(name, file)| Some((name.to_str()?, Path::new(file))));
        let unclear = || UsageError(format!("--preload {}: expected NAME=FILE", preload.display()));
        let (name, file) = parts.ok_or_else(unclear)?;
        let preloaded = preloaded(&engine, plan, file)?;
        let failed = || format!("cannot instantiate {}", file.display());
        linker.module(&mut *store, name, &preloaded).with_context(failed)?;
    }
    if plan.options.wasm.unknown_imports_default == Some(true) {
        linker.define_unknown_imports_as_default_values(&mut *store, module)?;
    }
    if plan.options.wasm.unknown_imports_trap == Some(true) {
        linker.define_unknown_imports_as_traps(module)?;
    }
    if threads_are_allowed(plan) {
        return instantiate_with_threads(plan, &mut linker, store, module);
    }
    let starts_threads = module.imports().any(|import| (import.module(), import.name()) == ("wasi", "thread-spawn"));
    linker.instantiate(&mut *store, module).map_err(|error| match error.downcast_ref::<UnknownImportError>() {
        Some(_) if starts_threads => {
            error.context("the program starts threads by wasi::thread-spawn, which `-S threads` allows")
        }
        _ => error,
    })
}

fn threads_are_allowed(plan: &Plan) -> bool {
    plan.options.wasi.threads == Some(true)
}

/// Instantiates a program that may start threads. When one of them ends the program, this process ends, whatever the others
/// are doing.
fn instantiate_with_threads(
    plan: &Plan,
    linker: &mut Linker<Host>,
    store: &mut Store<Host>,
    module: &Module,
) -> Result<Instance> {
    let most = match plan.options.wasi.max_threads {
        Some(most) => size("-S max-threads", most)?,
        None => kiln_wasi::DEFAULT_THREADS,
    };
    let (engine, wasm) = (store.engine().clone(), plan.options.wasm.clone());
    let (wasi, limits) = (store.data().shared().clone(), store.data().limits.clone());
    let threads = WasiThreads::with_limits(most, plan.stack, move || {
        new_store(&engine, Host { wasi: Wasi::Shared(wasi.clone()), limits: limits.clone() }, &wasm)
    });
    let (end, coredump) = (plan.end.clone(), plan.run.coredump.is_some() || plan.options.debug.coredump.is_some());
    let name = plan.file.display().to_string();
    threads.on_end(move |error| {
        if coredump && !error.is::<I32Exit>() {
            report::note("no core dump: the program trapped on another thread than its first one");
        }
        let error = if error.is::<I32Exit>() { error } else { error.context(format!("failed to run {name}")) };
        _ = end.send(Ok(Err(error)));
    });
    let instance = threads.instantiate(linker, store, module);
    // They last as long as this process.
    std::mem::forget(threads);
    instance
}

/// Calls what the command line asks for: a function by name, or the entry of a command. A library without an entry has
/// done all it does when it is instantiated and initialised.
fn enter(plan: &Plan, store: &mut Store<Host>, instance: Instance) -> Result<()> {
    if let Some(initialize) = instance.get_func(&mut *store, "_initialize") {
        initialize.call(&mut *store, &[], &mut [])?;
    }
    let Some(name) = &plan.run.invoke else {
        return match instance.get_func(&mut *store, "_start") {
            Some(start) => {
                let ty = start.ty(&*store);
                ensure!(
                    ty.params().len() + ty.results().len() == 0,
                    "`_start` is no program's entry, which takes and gives nothing, but a function of type {ty}: \
                     `--invoke _start` calls it with arguments"
                );
                start.call(&mut *store, &[], &mut [])
            }
            None => Ok(()),
        };
    };
    let function = instance.get_func(&mut *store, name).ok_or_else(|| no_function(store, instance, name))?;
    let args: Vec<String> = plan.args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let lines = invoke::call(&mut *store, &function, name, &args)?;
    report::give(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())
}

fn no_function(store: &mut Store<Host>, instance: Instance, name: &str) -> Error {
    let module = instance.module(&*store);
    let functions = module.exports().filter(|e| matches!(e.ty(), ExternType::Func(_)));
    let functions: Vec<String> = functions.map(|e| format!("`{}`", printable(e.name()))).take(20).collect();
    let functions = if functions.is_empty() { "none".to_owned() } else { functions.join(", ") };
    anyhow!("the module exports no function `{name}`; it exports {functions}")
}

/// The error of a program that did not come to its end by itself; leaves a core dump if one is wanted.
fn ended(plan: &Plan, store: &mut Store<Host>, error: Error, what: &str, name: &str) -> Error {
    if error.is::<I32Exit>() {
        return error;
    }
    if let Some(file) = plan.run.coredump.as_ref().or(plan.options.debug.coredump.as_ref()) {
        match error.downcast_ref::<WasmBacktrace>().map(|b| b.core_dump(&mut *store, name)) {
            Some(dump) => match compile::write_private(file, &dump) {
                Ok(()) => report::note(&format!("core dump written to {}", file.display())),
                Err(e) => report::note(&format!("cannot write the core dump to {}: {e}", file.display())),
            },
            None => report::note("no core dump: the program did not trap"),
        }
    }
    error.context(format!("failed to {what} {name}"))
}
