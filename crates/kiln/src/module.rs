//! Modules.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
#[cfg(feature = "compiler")]
use kiln_env::{DefinedFuncIndex, FuncKey};

use crate::artifact::{self, Verified};
#[cfg(feature = "compiler")]
use crate::artifact_options::ArtifactOptions;
#[cfg(feature = "compiler")]
use crate::compile::{self, CompileStatistics, TierStatistics};
use crate::engine::Engine;
#[cfg(feature = "compiler")]
use crate::module_file::ModuleFile;
#[cfg(feature = "compiler")]
use crate::resume;
use crate::types::{ExportType, ExternType, ImportType};
use crate::vm::module::ModuleData;

/// A compiled module. Cheap to clone; it can be instantiated any number of times, in stores of its engine.
///
/// ```
/// use kiln::{Engine, Module};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module $m (import "a" "b" (func)) (memory (export "mem") 1))"#)?;
/// assert_eq!(module.name(), Some("m"));
/// assert_eq!(module.imports().next().unwrap().name(), "b");
/// assert!(module.get_export("mem").unwrap().memory().is_some());
/// # anyhow::Ok(())
/// ```
#[derive(Clone)]
pub struct Module {
    data: Arc<ModuleData>,
}

#[cfg(feature = "compiler")]
impl Module {
    /// Compiles a module from its binary form, or, with the feature `wat`, its text form.
    ///
    /// # Errors
    /// The module is invalid, uses proposals that are not [configured](crate::Config), or exceeds a limit. The message
    /// says where.
    pub fn new(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Module> {
        let bytes = compile::to_binary(bytes.as_ref())?.into_owned();
        Module::from_bytes(engine, bytes)
    }

    /// Compiles a module from its binary form.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn from_binary(engine: &Engine, binary: &[u8]) -> Result<Module> {
        Module::from_bytes(engine, binary.to_vec())
    }

    /// Compiles a module from a file in binary or text form.
    ///
    /// # Errors
    /// The file cannot be read; otherwise as for [`Module::new`].
    pub fn from_file(engine: &Engine, file: impl AsRef<Path>) -> Result<Module> {
        let file = file.as_ref();
        let bytes = ModuleFile::open(engine, file).with_context(|| format!("cannot read {}", file.display()))?;
        Module::from_module_file(engine, bytes).with_context(|| format!("in {}", file.display()))
    }

    /// Compiles a module from a file that was opened before.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn from_module_file(engine: &Engine, file: ModuleFile) -> Result<Module> {
        match compile::to_binary(file.bytes()?)? {
            std::borrow::Cow::Owned(binary) => Module::from_bytes(engine, binary),
            std::borrow::Cow::Borrowed(_) => Module::from_source(engine, file),
        }
    }

    /// The same as [`Module::new`], but takes over the bytes: a large binary is not copied.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn from_vec(engine: &Engine, bytes: Vec<u8>) -> Result<Module> {
        let binary = match compile::to_binary(&bytes)? {
            std::borrow::Cow::Borrowed(_) => bytes,
            std::borrow::Cow::Owned(binary) => binary,
        };
        Module::from_bytes(engine, binary)
    }

    fn from_bytes(engine: &Engine, bytes: Vec<u8>) -> Result<Module> {
        Module::from_source(engine, ModuleFile::from(bytes))
    }

    fn from_source(engine: &Engine, bytes: ModuleFile) -> Result<Module> {
        Ok(Module::from_data(Arc::new(engine.compiler()?.module(engine, bytes)?)))
    }

    /// The binary form of a module in that form or, with the feature `wat`, the text form.
    ///
    /// # Errors
    /// The bytes are neither.
    pub fn binary_form(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>> {
        compile::to_binary(bytes)
    }

    /// Checks the binary form of a module without compiling it.
    ///
    /// # Errors
    /// As for [`Module::new`].
    pub fn validate(engine: &Engine, binary: &[u8]) -> Result<()> {
        engine.compiler()?.validate(binary)
    }

    /// The bytes of an artifact of this module: write them to a file, and [`Module::deserialize_file`] loads it without
    /// compiling anything. A module whose functions are compiled when they are called is compiled as a whole for this.
    ///
    /// # Errors
    /// A function cannot be compiled, or the target's artifacts cannot be written.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        if let Some(artifact) = self.data.info.artifact() {
            return Ok(artifact.bytes().to_vec());
        }
        let compiler = self.data.engine.compiler()?;
        let options = ArtifactOptions::default();
        let artifact = match self.data.code.image() {
            Some(image) => compiler.artifact_of_image(&self.data.info, &image, &options),
            None => self.data.info.with_source(|source| compiler.artifact(source, &options, None)),
        };
        artifact.and_then(|artifact| self.data.info.check_files().map(|()| artifact))
    }

    /// Makes a module from what earlier runs left of it: an [outline](Module::outline) and a
    /// [snapshot](Module::snapshot). Nothing is parsed, validated or compiled until a function is called that is not in
    /// the snapshot, which may also be missing, damaged or older. The files are trusted and checked as
    /// [`Module::deserialize_file`] does.
    ///
    /// `warmth` is what [`Module::warmth`] gave last, or anything else, which is as good as nothing: functions that were hot
    /// in all runs together, though not in one, are optimised.
    ///
    /// `file` has the bytes of which the outline was made. If it has others, functions that are not in the snapshot
    /// cannot be compiled.
    ///
    /// # Errors
    /// As for [`Module::deserialize_file`], of the outline; or the engine's [tiering](crate::Config::tiering) compiles modules as a
    /// whole.
    pub fn resume(engine: &Engine, file: ModuleFile, outline: &Path, snapshot: &Path, warmth: &[u8]) -> Result<Module> {
        let data = resume::resume(engine, file, outline, snapshot, warmth);
        let data = data.with_context(|| format!("in {}", outline.display()))?;
        Ok(Module::from_data(Arc::new(data)))
    }

    /// The bytes of a file from which the module can be [resumed](Module::resume): its declarations and first contents of memories.
    ///
    /// # Errors
    /// The module came out of an artifact, or the target's artifacts cannot be written.
    pub fn outline(&self) -> Result<Vec<u8>> {
        if self.data.info.declarations().is_some() {
            anyhow::bail!("the module was not made from its bytes");
        }
        resume::outline(&self.data)
    }

    /// Whether functions were compiled that are not in the snapshot with which the module was resumed, if it was.
    pub fn outgrew_snapshot(&self) -> bool {
        self.data.code.outgrew_snapshot()
    }

    /// The bytes of a file with the code of all functions that were compiled so far, for the next
    /// [resumption](Module::resume) with an outline; `None` if those with which the module was resumed are all.
    ///
    /// # Errors
    /// A trampoline cannot be compiled, or the target's artifacts cannot be written.
    pub fn snapshot(&self) -> Result<Option<Vec<u8>>> {
        resume::snapshot(&self.data)
    }

    /// Compiles all functions that are not compiled yet and would be when they are first called, at the tier at which they
    /// would begin: a [snapshot](Module::snapshot) then has all of them.
    ///
    /// # Errors
    /// One cannot be compiled.
    pub fn compile_functions(&self) -> Result<()> {
        let count = self.data.env.funcs.len() - self.data.env.num_imported_funcs as usize;
        for func in 0..u32::try_from(count)? {
            self.data.code.trampoline(FuncKey::Wasm(DefinedFuncIndex(func)))?;
        }
        Ok(())
    }

    /// Bytes that a [snapshot](Module::snapshot) of the module would have now, about: making one takes a time that is
    /// proportional to it, 2 ns for each.
    pub fn snapshot_size(&self) -> u64 {
        self.data.code.snapshot_size()
    }

    /// The bytes of a snapshot in which functions are optimised that earlier runs used `least` times at least, for the next
    /// [resumption](Module::resume): what a module was resumed from, made anew. `None` if there are no such functions.
    ///
    /// It compiles as many functions as it can until `end`, on all threads that the engine may use, and takes long where
    /// there are many: it is for a process of its own, when nobody waits. The module does not change, nor need it run.
    ///
    /// # Errors
    /// The module's file is not the one it was resumed with, there is no memory for the code, or the target's artifacts
    /// cannot be written.
    pub fn refined_snapshot(&self, least: u32, end: std::time::Instant) -> Result<Option<Vec<u8>>> {
        resume::refined(&self.data, least, end)
    }

    /// How much functions were used while they waited to be optimised, in this run and those before, for the next
    /// [resumption](Module::resume); `None` if this run adds fewer than `least` uses. An entry of a function is one, four
    /// arrivals at loop headers are another; each would have been shorter by some nanoseconds.
    ///
    /// # Errors
    /// The target's artifacts cannot be written.
    pub fn warmth(&self, least: u64) -> Result<Option<Vec<u8>>> {
        resume::warmth(&self.data, least)
    }

    /// What compiling the module cost. In lazy mode, what was compiled when it was first called is counted for all
    /// modules of the engine together.
    pub fn compile_statistics(&self) -> CompileStatistics {
        let mut statistics = self.data.statistics.clone();
        if self.data.code.is_lazy()
            && let Some(compiler) = self.data.engine.made_compiler()
        {
            statistics.add_lazy(&compiler.lazy_statistics());
        }
        statistics.tiers = self.data.code.tier_counts().map(|counts| {
            let stencils = self.data.engine.made_compiler().and_then(|c| c.stencil_statistics());
            TierStatistics::new(counts, stencils)
        });
        if let Some(stencils) = statistics.tiers.and_then(|t| t.stencils) {
            statistics.functions += stencils.functions;
            statistics.wasm_bytes += stencils.wasm_bytes;
            statistics.code_bytes += stencils.code_bytes;
        }
        statistics
    }
}

impl Module {
    /// Loads a module from an artifact in a file, as `kiln compile` or [`Module::serialize`] make it. Nothing is compiled;
    /// with [`Verification::Marked`](crate::Verification::Marked), little more is read than what runs.
    ///
    /// The code in the file is run, so that the file must belong to the user or the administrator, like any program that
    /// is run, and not be writable by everybody. That its bytes are those that were written is checked as
    /// [configured](crate::Config::artifact_verification). Do not take over files from people whose programs you would
    /// not run.
    ///
    /// # Errors
    /// The file cannot be read, is no artifact, or was changed since it was written; or this engine cannot run it, which
    /// is an [`IncompatibleArtifact`](crate::IncompatibleArtifact). The message says what differs.
    pub fn deserialize_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        let load = || Verified::open(engine, path)?.module(engine);
        let data = load().with_context(|| format!("in {}", path.display()))?;
        Ok(Module::from_data(Arc::new(data)))
    }

    /// Loads a module from an artifact that is part of the running program's own file: `len` bytes from `start` on, which is
    /// a multiple of the page size.
    ///
    /// # Errors
    /// As for [`Module::deserialize_file`].
    pub fn deserialize_own(engine: &Engine, start: u64, len: u64) -> Result<Module> {
        let load = || Verified::open_own(engine, start, len)?.module(engine);
        let data = load().context("in the program itself")?;
        Ok(Module::from_data(Arc::new(data)))
    }

    /// Whether a file is an artifact, by its first bytes.
    pub fn is_artifact_file(path: impl AsRef<Path>) -> bool {
        artifact::looks_like_artifact(path.as_ref())
    }

    /// The wasm module in the bytes of an artifact, unless that was made without. It can be compiled again where the artifact
    /// cannot be run.
    pub fn embedded_wasm(artifact: &[u8]) -> Option<&[u8]> {
        artifact::embedded_wasm(artifact)
    }

    pub(crate) fn from_data(data: Arc<ModuleData>) -> Module {
        Module { data }
    }

    pub(crate) fn data(&self) -> &Arc<ModuleData> {
        &self.data
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.data.engine
    }

    /// The name that the module gives itself.
    pub fn name(&self) -> Option<&str> {
        self.data.env.name.as_deref()
    }

    /// The imports, in order of declaration.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        let data = &*self.data;
        data.env.imports.iter().map(move |i| {
            let ty = ExternType::from_env(data.engine.types(), &data.types, data.env.entity_type(i.index));
            ImportType::new(&i.module, &i.name, ty)
        })
    }

    /// The exports, in order of declaration.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = ExportType<'_>> {
        let data = &*self.data;
        data.env.exports.iter().map(move |e| {
            let ty = ExternType::from_env(data.engine.types(), &data.types, data.env.entity_type(e.index));
            ExportType::new(&e.name, ty)
        })
    }

    /// The type of an export.
    pub fn get_export(&self, name: &str) -> Option<ExternType> {
        let data = &*self.data;
        let ty = data.env.entity_type(data.export(name)?);
        Some(ExternType::from_env(data.engine.types(), &data.types, ty))
    }

    /// The payloads of all custom sections with this name.
    pub fn custom_sections<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let customs = self.data.env.customs.iter().filter(move |(n, _)| n == name);
        customs.map(|(_, range)| self.data.info.bytes(range))
    }

    /// Makes the initial images of memories now instead of at the first instantiation.
    ///
    /// # Errors
    /// The system has no memory for them.
    pub fn initialize_copy_on_write_image(&self) -> Result<()> {
        self.data.make_images()
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.name()).finish()
    }
}
