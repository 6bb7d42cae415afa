//! The official WASI preview 1 testsuite, prebuilt, in every mode.
//!
//! The suite is not part of this repository. It is looked for in the folder that the variable
//! `KILN_SHARED_SUITES` names, or else in `../shared` beside the repository, as `wasi-preview1.tar.xz` there or in
//! `suites`; without it the test says that it was skipped. Beside each program of the suite there may be a JSON
//! file: `args`, `env`, `root` (a folder to lend as `/`), `stdout`, `exit_code`.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use kiln::{Engine, Linker, Store};
use kiln_testkit::Mode;
use kiln_wasi::{DirAccess, I32Exit, OutputPipe, SharedWasiCtx, WasiCtxBuilder};
use serde::Deserialize;

/// Programs that the suite has; a smaller number means that it was not found whole.
const PROGRAMS: usize = 72;

/// What a program is given, and what it has to do.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    root: Option<String>,
    stdout: Option<String>,
    exit_code: i32,
}

#[test]
fn the_official_suite_passes_in_every_mode() {
    let Some(archive) = archive() else {
        println!("skipped: no wasi-preview1.tar.xz in $KILN_SHARED_SUITES or ../shared");
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let status = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(temp.path()).status().unwrap();
    assert!(status.success(), "cannot unpack {}", archive.display());
    let programs = programs(temp.path());
    assert_eq!(programs.len(), PROGRAMS, "programs in {}", archive.display());

    let modes = Mode::chosen();
    let runs = modes.iter().flat_map(|mode| programs.iter().map(move |program| (mode, false, program)));
    // In one mode also as if threads shared the context, so that no call waits or moves much at once.
    let shared = modes.first().into_iter().flat_map(|mode| programs.iter().map(move |program| (mode, true, program)));
    let runs: Vec<_> = runs.chain(shared).collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(|| {
                while let Some((mode, is_shared, program)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = run(mode, *is_shared, program) {
                        let name = program.strip_prefix(temp.path()).unwrap_or(program).display();
                        let shared = if *is_shared { ", shared" } else { "" };
                        failures.lock().unwrap().push(format!("{name} in mode {}{shared}: {error:?}", mode.name));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n\n"));
}

fn archive() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("KILN_SHARED_SUITES").map_or(beside, PathBuf::from);
    let name = "wasi-preview1.tar.xz";
    [folder.join(name), folder.join("suites").join(name)].into_iter().find(|path| path.is_file())
}

/// All programs below a folder, in order.
fn programs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wasm") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Runs a program in a mode and compares what it did.
fn run(mode: &Mode, is_shared: bool, program: &Path) -> Result<()> {
    let case: Case = match fs::read(program.with_extension("json")) {
        Ok(json) => serde_json::from_slice(&json)?,
        Err(_) => Case::default(),
    };
    let (stdout, stderr) = (OutputPipe::new(1 << 20), OutputPipe::new(1 << 20));
    let mut builder = WasiCtxBuilder::new();
    builder.arg(program.file_name().context("a file")?).args(&case.args).envs(&case.env);
    builder.stdout(&stdout).stderr(&stderr);
    // Programs change the folder and expect to find it as it was.
    let copy = tempfile::tempdir()?;
    if let Some(root) = &case.root {
        let root = program.parent().context("a folder")?.join(root);
        copy_folder(&root, copy.path())?;
        builder.preopened_dir(copy.path(), "/", DirAccess::ReadWrite)?;
    }
    let ctx = builder.build()?;
    let code = if is_shared {
        let add = |linker: &mut Linker<SharedWasiCtx>| kiln_wasi::add_shared_to_linker(linker, |ctx| ctx);
        start(mode, program, SharedWasiCtx::from(ctx), add)
    } else {
        start(mode, program, ctx, |linker| kiln_wasi::add_to_linker(linker, |ctx| ctx))
    };
    let said = || format!("it wrote: {}{}", text(&stdout), text(&stderr));
    let code = code.with_context(said)?;
    ensure!(code == case.exit_code, "exit code {code}, not {}; {}", case.exit_code, said());
    if let Some(expected) = &case.stdout {
        ensure!(stdout.contents() == expected.as_bytes(), "not what it should write; {}", said());
    }
    Ok(())
}

/// Runs a program to its end; returns its exit code.
fn start<T: Send + 'static>(
    mode: &Mode,
    program: &Path,
    ctx: T,
    add: impl FnOnce(&mut Linker<T>) -> Result<()>,
) -> Result<i32> {
    let engine: Engine = mode.engine()?;
    let module = mode.module(&engine, &fs::read(program)?)?;
    let mut linker = Linker::new(&engine);
    add(&mut linker)?;
    let mut store = Store::new(&engine, ctx);
    mode.prepare(&mut store)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    match start.call(&mut store, ()) {
        Ok(()) => Ok(0),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(exit.0),
            None => bail!(error),
        },
    }
}

fn text(pipe: &OutputPipe) -> String {
    String::from_utf8_lossy(&pipe.contents()).into_owned()
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
