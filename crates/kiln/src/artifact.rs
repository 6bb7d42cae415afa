//! Artifacts: compiled modules in files.

mod marks;
mod trust;

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use kiln_env::artifact::{self, CodePart, Header, Host, Meta, PAGE, Part, PartRange, ReadError};
use kiln_env::{ContextLayout, settings};
use target_lexicon::Triple;

use crate::code::{CodeSetup, ModuleCode};
use crate::engine::{Engine, code_setup};
use crate::sys::file::MappedFile;
use crate::sys::image::ImageRun;
use crate::sys::{MemoryImage, cpu};
use crate::vm::module::{ModuleData, ModuleInfo, code_info};

use marks::Records;
use trust::Origin;
#[cfg(feature = "compiler")]
pub(crate) use trust::signed;

/// How artifacts in files are checked before their code runs: see [`Module::deserialize_file`](crate::Module::deserialize_file).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Verification {
    /// All of a file is copied to where nobody can change it, and checked, each time.
    #[default]
    Strict,
    /// A file is checked when it is seen for the first time, and again when its device, inode, size or times have changed.
    /// It is copied even so, unless it may be executed [in place](crate::Config::artifacts_in_place).
    Marked {
        /// The folder in which is noted what was checked. Only its owner must be able to write there.
        records: PathBuf,
    },
}

/// An artifact whose bytes are as they were written, but which this engine cannot run: another build of Kiln made it, or
/// it is for another machine or other settings, or its maker is not trusted. The message says what differs.
///
/// What can be done about it is to compile the module again: see [`Module::embedded_wasm`](crate::Module::embedded_wasm).
#[derive(Debug, thiserror::Error)]
#[error("cannot run the artifact: {0}")]
pub struct IncompatibleArtifact(pub(crate) String);

impl IncompatibleArtifact {
    /// An artifact that is not to be run for this reason, though it may be compiled again.
    pub fn new(reason: impl Into<String>) -> IncompatibleArtifact {
        IncompatibleArtifact(reason.into())
    }
}

/// What remains of an artifact when its module is loaded.
pub(crate) struct LoadedArtifact {
    file: Arc<MappedFile>,
    header: Header,
    images: Vec<Option<artifact::MemoryPages>>,
}

impl LoadedArtifact {
    /// The file with this header, in which `images` are.
    pub(crate) fn new(
        file: Arc<MappedFile>,
        header: Header,
        images: Vec<Option<artifact::MemoryPages>>,
    ) -> LoadedArtifact {
        LoadedArtifact { file, header, images }
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.file.bytes()
    }

    /// What names the contents.
    #[cfg(feature = "compiler")]
    pub(crate) fn root(&self) -> [u8; 32] {
        self.header.root
    }

    /// Whether the file has become shorter, and somebody needed what is gone.
    pub(crate) fn is_damaged(&self) -> bool {
        self.file.is_damaged()
    }

    /// The bytes of a part.
    pub(crate) fn part(&self, part: Part) -> &[u8] {
        artifact::bytes_of(self.file.bytes(), self.header.part(part))
    }

    /// The first contents of a memory of at least `min` bytes, if they are in the file.
    ///
    /// # Errors
    /// They make no sense, or the system has no memory for a copy.
    pub(crate) fn memory_image(&self, defined: usize, min: usize) -> Result<Option<MemoryImage>> {
        let Some(pages) = self.images.get(defined).and_then(Option::as_ref) else { return Ok(None) };
        let damaged = ReadError::Damaged("the first contents of a memory are not within it");
        let len = usize::try_from(pages.len).ok().filter(|len| *len <= min.next_multiple_of(PAGE));
        let len = len.ok_or(damaged)?;
        let part = self.header.part(Part::Memory);
        let run = |run: &artifact::MemoryRun| {
            let at = run.at.checked_add(part.start)?;
            Some(ImageRun { offset: usize::try_from(run.offset).ok()?, at, len: usize::try_from(run.len).ok()? })
        };
        let runs = pages.runs.iter().map(run).collect::<Option<Box<[_]>>>();
        if let Some(mapped) = runs.and_then(|runs| MemoryImage::of_file(&self.file, len, runs)) {
            return Ok(Some(mapped));
        }
        // Pages of this host are larger than those of the file.
        let bytes = |run: &artifact::MemoryRun| {
            let start = part.start.saturating_add(run.at);
            (run.offset, artifact::bytes_of(self.file.bytes(), start..start.saturating_add(run.len)))
        };
        Ok(Some(MemoryImage::new(len, pages.runs.iter().map(bytes))?))
    }
}

/// An artifact whose bytes are those that were written.
pub(crate) struct Verified {
    pub(crate) file: Arc<MappedFile>,
    pub(crate) header: Header,
}

impl Verified {
    /// Checks bytes, of which it keeps a copy.
    pub(crate) fn copy_of(bytes: &[u8]) -> Result<Verified> {
        let file = Arc::new(MappedFile::sealed_copy(bytes)?);
        let header = read_header(file.bytes())?;
        artifact::verify(file.bytes(), &header)?;
        Ok(Verified { file, header })
    }

    /// Checks a file as the engine is configured to.
    pub(crate) fn open(engine: &Engine, path: &Path) -> Result<Verified> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            bail!("it is not a regular file");
        }
        Verified::of_file(engine, &file, &found, (0, found.len()), &Origin::File(&found, path))
    }

    /// Checks `len` bytes from `start` of the program that runs.
    pub(crate) fn open_own(engine: &Engine, start: u64, len: u64) -> Result<Verified> {
        let file = File::open("/proc/self/exe")?;
        let found = file.metadata()?;
        if start.checked_add(len).is_none_or(|end| end > found.len()) {
            bail!("the program is truncated");
        }
        Verified::of_file(engine, &file, &found, (start, len), &Origin::Own)
    }

    fn of_file(
        engine: &Engine,
        file: &File,
        found: &Metadata,
        (start, len): (u64, u64),
        origin: &Origin<'_>,
    ) -> Result<Verified> {
        let config = engine.config();
        let len = usize::try_from(len)?;
        if len == 0 {
            return Err(ReadError::NotAnArtifact.into());
        }
        let records = match &config.verification {
            Verification::Marked { records } => Some(Records::new(records, config.signing_key.as_ref())),
            Verification::Strict => None,
        };
        // Without signal handlers a file that becomes shorter would end the process. One that has another name may be
        // reached by that.
        let in_place = config.artifacts_in_place && engine.tunables().signals && found.nlink() == 1;
        let mapped = match &records {
            Some(_) if in_place => MappedFile::map(OwnedFd::from(file.try_clone()?), start, len)?,
            _ => MappedFile::sealed_copy_of(file, start, len)?,
        };
        let mapped = Arc::new(mapped);
        let header = read_header(mapped.bytes())?;
        // What is noted of the file holds for these bytes if it was not changed before all of them were there.
        let is_same = || file.metadata().is_ok_and(|now| marks::is_same(&now, found));
        if !records.as_ref().is_some_and(|records| records.is_marked(found, &header.root) && is_same()) {
            artifact::verify(mapped.bytes(), &header)?;
            if let Some(records) = records.filter(|_| !mapped.is_damaged()) {
                records.mark(file, found, &header.root);
            }
        }
        trust::decide(config, origin, &header)?;
        Ok(Verified { file: mapped, header })
    }

    /// The module in it.
    pub(crate) fn module(self, engine: &Engine) -> Result<ModuleData> {
        let Verified { file, header } = self;
        let parts = choose(engine, file.bytes(), &header).map_err(IncompatibleArtifact)?.clone();
        let Meta { module, images, .. } = artifact::read_meta(file.bytes(), &header)?;
        let defined = module.funcs.len() - module.num_imported_funcs as usize;
        let env = Arc::new(module);
        let layout = Arc::new(ContextLayout::new(&env)?);
        let types = engine.types().register_module(&env)?;
        let loaded = LoadedArtifact { file: file.clone(), header, images };
        let info = Arc::new(ModuleInfo::of_artifact(env, loaded));
        let names = info.clone();
        let setup = CodeSetup {
            names: Arc::new(move |key| crate::symbols::code_name(&names, key)),
            ..code_setup(engine.config(), layout.clone(), code_info(&info))
        };
        let code = ModuleCode::mapped(file.clone(), parts, defined, setup)?;
        let data = ModuleData::new(engine, info, layout, types, code);
        if file.is_damaged() {
            bail!("the file was truncated while it was loaded");
        }
        data
    }
}

/// Reads a header; a version that is not ours can be compiled again.
fn read_header(bytes: &[u8]) -> Result<Header> {
    artifact::read_header(bytes).map_err(|error| match error {
        ReadError::Version(_) => IncompatibleArtifact(error.to_string()).into(),
        _ => error.into(),
    })
}

/// The most demanding code that runs here, or why the least demanding does not.
pub(crate) fn choose<'a>(
    engine: &Engine,
    bytes: &[u8],
    header: &'a Header,
) -> Result<&'a [PartRange; CodePart::COUNT], String> {
    let build = settings::build_id();
    let host = Host {
        build: &build,
        target: Triple::host(),
        tunables: engine.tunables(),
        settings: &engine.config().flags,
        has: &cpu::has,
    };
    let mut reason = String::new();
    for parts in header.variants.iter().rev() {
        let fingerprint = artifact::bytes_of(bytes, parts[CodePart::Fingerprint as usize].clone());
        let fingerprint = artifact::read_fingerprint(fingerprint).map_err(|e| e.to_string())?;
        match artifact::check(&fingerprint, &host) {
            Ok(()) => return Ok(parts),
            Err(mismatch) => reason = mismatch.to_string(),
        }
    }
    Err(reason)
}

/// Whether a file that begins with these bytes is an artifact.
pub(crate) fn looks_like_artifact(path: &Path) -> bool {
    // What is read from a pipe is gone.
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let mut start = [0; PAGE];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    read.is_ok_and(|len| artifact::is_artifact(&start[..len]))
}

/// The wasm module in an artifact of whatever version, if it has one.
pub(crate) fn embedded_wasm(bytes: &[u8]) -> Option<&[u8]> {
    use object::{Object, ObjectSection};
    let file = object::File::parse(bytes).ok()?;
    let section = file.section_by_name(Part::Source.section())?;
    section.data().ok().filter(|data| data.starts_with(b"\0asm"))
}

#[cfg(all(test, feature = "compiler"))]
mod tests {
    use super::*;

    #[test]
    fn contents_of_a_memory_that_make_no_sense_are_not_left_out() {
        let engine = Engine::default();
        let wat = r#"(module (memory 2) (data (i32.const 8) "first contents"))"#;
        let artifact = engine.precompile_module(wat.as_bytes(), &crate::ArtifactOptions::new()).unwrap();
        let Verified { file, header } = Verified::copy_of(&artifact).unwrap();
        let images = artifact::read_meta(file.bytes(), &header).unwrap().images;
        let mut loaded = LoadedArtifact::new(file, header, images);
        assert_eq!(loaded.memory_image(0, 2 << 16).unwrap().expect("the file has them").len(), PAGE);
        assert!(loaded.memory_image(1, 2 << 16).unwrap().is_none());
        assert!(loaded.memory_image(0, 0).is_err());
        loaded.images[0].as_mut().unwrap().runs[0].offset = 2 << 16;
        assert!(loaded.memory_image(0, 2 << 16).is_err());
    }
}
