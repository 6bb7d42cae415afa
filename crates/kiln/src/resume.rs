//! Going on where an earlier run of the same module ended.
//!
//! Two files take the place of parsing, validating and compiling: an *outline*, which is an artifact without code, and a
//! *snapshot* of the code that earlier runs needed. What is neither in one nor in the other is done when it is needed.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use kiln_env::artifact::{self, Meta, SnapshotMeta};
use kiln_env::{ContextLayout, EntityIndex, FuncKey};

use crate::artifact::{IncompatibleArtifact, LoadedArtifact, Verified, choose};
use crate::code::{Captured, CodeSetup, SnapshotFile};
use crate::compile::on_demand_code;
use crate::config::Tiering;
use crate::engine::{Engine, code_setup};
use crate::module_file::ModuleFile;
use crate::on_demand::OnDemand;
use crate::types::registry::TypeId;
use crate::vm::module::{ModuleData, ModuleInfo, Outlined, code_info, keeps_segments};

/// Loads a module from what earlier runs left; `wasm` is its bytes.
pub(crate) fn resume(
    engine: &Engine,
    wasm: ModuleFile,
    outline: &Path,
    snapshot: &Path,
    warmth: &[u8],
) -> Result<ModuleData> {
    if engine.config().tiering == Tiering::Eager {
        bail!("where modules are compiled as a whole, nothing of them is compiled later");
    }
    let verified = Verified::open(engine, outline)?;
    let (file, header) = (verified.file, verified.header);
    choose(engine, file.bytes(), &header).map_err(IncompatibleArtifact)?;
    let Meta { module, images, .. } = artifact::read_meta(file.bytes(), &header)?;
    let env = Arc::new(module);
    let copy = if keeps_segments(&env) { wasm.copied()? } else { None };
    let wasm = copy.unwrap_or(wasm);
    let layout = Arc::new(ContextLayout::new(&env)?);
    let types = engine.types().register_module(&env)?;
    let root = header.root;
    let outline = LoadedArtifact::new(file, header, images);
    let found = open_snapshot(engine, snapshot, &root);
    let (snapshot, snapshot_file) = match found {
        Ok((snapshot, file)) => (Some(snapshot), Some(file)),
        Err(error) => {
            tracing::debug!("beginning without code: {error:#}");
            (None, None)
        }
    };
    let outlined = Outlined { outline, wasm, snapshot: snapshot_file };
    let info = Arc::new(ModuleInfo::outlined(env, outlined));
    let names = info.clone();
    let setup = CodeSetup {
        names: Arc::new(move |key| crate::symbols::code_name(&names, key)),
        ..code_setup(engine.config(), layout.clone(), code_info(&info))
    };
    let functions = Arc::new(OnDemand::later(engine, &info));
    let warmth = artifact::read_warmth(&root, warmth).unwrap_or_default();
    let code = on_demand_code(engine, &info, &functions, (snapshot, warmth), setup)?;
    let data = ModuleData::new(engine, info, layout, types, code)?;
    data.info.check_files()?;
    Ok(data)
}

fn open_snapshot(
    engine: &Engine,
    path: &Path,
    outline: &[u8; 32],
) -> Result<(SnapshotFile, Arc<crate::sys::file::MappedFile>)> {
    let Verified { file, header } = Verified::open(engine, path)?;
    let parts = choose(engine, file.bytes(), &header).map_err(IncompatibleArtifact)?.clone();
    let meta = artifact::read_snapshot(file.bytes(), &header)?;
    if &meta.outline != outline {
        bail!("the snapshot belongs to another outline");
    }
    Ok((SnapshotFile::new(file.clone(), header, parts, meta), file))
}

/// The bytes of a module's outline.
pub(crate) fn outline(module: &ModuleData) -> Result<Vec<u8>> {
    let outline = module.engine.compiler()?.outline(&module.info);
    module.info.check_files()?;
    let outline = outline?;
    let header = artifact::read_header(&outline)?;
    // Another thread has set it to the same.
    _ = module.outline.set(header.root);
    Ok(outline)
}

/// What names a module's outline.
fn root(module: &ModuleData) -> Result<[u8; 32]> {
    if let Some(file) = module.info.declarations() {
        return Ok(file.root());
    }
    if module.outline.get().is_none() {
        outline(module)?;
    }
    module.outline.get().copied().context("an outline was made")
}

/// The bytes of a snapshot, if more was compiled than there was at the start.
pub(crate) fn snapshot(module: &ModuleData) -> Result<Option<Vec<u8>>> {
    if !module.code.is_lazy() {
        return Ok(None);
    }
    make_trampolines(module)?;
    module.code.capture().map(|captured| write(module, captured)).transpose()
}

/// The bytes of a snapshot whose code is made anew, if more of it is optimised than of what is there.
pub(crate) fn refined(module: &ModuleData, least: u32, end: Instant) -> Result<Option<Vec<u8>>> {
    let threads = match module.engine.config().threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let Some(refined) = module.code.refined(least, threads, end)? else { return Ok(None) };
    tracing::debug!(functions = refined.optimized, "optimised what earlier runs used");
    refined.capture().map(|captured| write(module, captured)).transpose()
}

fn write(module: &ModuleData, captured: Captured<'_>) -> Result<Vec<u8>> {
    let Captured { image, text_at, stubs, tiers, profile, before } = captured;
    let meta = SnapshotMeta::new(root(module)?, text_at, stubs, tiers.into_iter(), profile);
    let compiler = module.engine.compiler().context("what was compiled has a compiler")?;
    let snapshot = compiler.snapshot(&module.env, &meta, before, &image);
    // What is missing was taken for zeroes.
    module.info.check_files()?;
    snapshot
}

/// How much functions were used at the first tier, if it is worth noting.
pub(crate) fn warmth(module: &ModuleData, least: u64) -> Result<Option<Vec<u8>>> {
    let Some(warmth) = module.code.warmth(least) else { return Ok(None) };
    Ok(Some(artifact::write_warmth(&root(module)?, &warmth)))
}

/// Makes the trampolines of the engine that the module used its own.
fn make_trampolines(module: &ModuleData) -> Result<()> {
    let trampolines = module.engine.trampolines();
    let canonical = module.env.canonical_signatures();
    let mut keys: Vec<FuncKey> = Vec::new();
    for import in &module.env.imports {
        if let EntityIndex::Func(func) = import.index {
            keys.push(FuncKey::WasmToHost(canonical[module.env.funcs[func].ty]));
        }
    }
    for export in &module.env.exports {
        if let EntityIndex::Func(func) = export.index {
            keys.push(FuncKey::ArrayToWasm(canonical[module.env.funcs[func].ty]));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (ty, to_host) = match key {
            FuncKey::WasmToHost(ty) => (ty, true),
            FuncKey::ArrayToWasm(ty) => (ty, false),
            _ => continue,
        };
        let id = TypeId::from_u32(module.types.ids()[ty.0 as usize]);
        if trampolines.was_made(id, to_host) && module.code.own_trampoline(key).is_none() {
            module.code.trampoline(key)?;
        }
    }
    Ok(())
}
