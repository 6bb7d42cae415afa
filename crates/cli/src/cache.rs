//! The cache of compiled functions: opening it for other commands, and `kiln cache`.

use std::borrow::Cow;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use kiln::{CacheStore, Comparison, Config, Engine, Module, ModuleFile, Pairing, Profile, SigningKey};
use kiln_cache::{DEFAULT_LIMIT, DiskStore, FileIdentity, ModuleIndex};

use crate::args::{Cache, CacheCommand, Groups, Tier};
use crate::options::{Codegen, Options, UsageError};
use crate::run::locate;
use crate::{config, explain, report};

/// The user's cache, opened when somebody first asks for a function: not by runs of what is compiled already. One that is
/// out of order is as good as an empty one.
#[derive(Default)]
pub(crate) struct UserCache {
    opened: OnceLock<Result<DiskStore, String>>,
    /// Signs what is kept, so that what others put there is not taken for it.
    key: Option<SigningKey>,
    /// Artifacts of whole modules; `None` where they are not wanted.
    modules: Option<ModuleIndex>,
    /// Whether modules are compiled as a whole, so that there are artifacts to keep.
    eager: bool,
    /// Whether functions change their tier, so that there is something for later runs to go on with.
    dynamic: bool,
    /// The program's module.
    program: OnceLock<Arc<CachedModule>>,
    /// What is written beside the program.
    writers: Mutex<Vec<Writer>>,
    /// One writes at a time: what runs leave refers to the outline.
    writing: Arc<Mutex<()>>,
    /// Of which module this run leaves something, once it has ended.
    left: OnceLock<Left>,
}

/// A module of which a run leaves something.
struct Left {
    outline: Outline,
    /// Whether the run would have been shorter had more of it been optimised.
    is_worth_refining: bool,
}

/// A thread that writes: it gives nothing, but ends.
type Writer = Receiver<()>;

/// A program waits for what it leaves in the cache for so long, or for this part of the time it took if that is more. What is
/// not written then is lost, but the next run waits for twice as long.
const PATIENCE: Duration = Duration::from_millis(5);
const PATIENT_PART: u32 = 8;

/// With fewer uses of functions at the first tier a run would hardly have been shorter had they been at the second.
const WORTH_REFINING: u64 = 5_000;

/// What is not done when so many runs have tried is not worth waiting for: the last of them waited for a second to write.
const MAX_TRIES: u8 = 9;

/// How long to wait for what `base` is usually enough for, after so many runs in which it was not.
fn patience(base: Duration, tries: u8) -> Duration {
    if tries < MAX_TRIES { base.max(PATIENCE * (1 << tries)) } else { base }
}

/// A module's file, and what the cache has of it.
pub(crate) struct CachedModule {
    file: PathBuf,
    identity: FileIdentity,
}

/// What the cache has of a module.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// All of it is compiled.
    Artifact(PathBuf),
    /// What earlier runs left.
    Outline(Outline),
}

/// Where a module's outline and snapshot are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    outline: PathBuf,
    snapshot: PathBuf,
    warmth: PathBuf,
    /// How many runs in a row left nothing, or could not be refined.
    tries: PathBuf,
}

impl Outline {
    /// Beside the place of the module's artifact.
    pub(crate) fn beside(artifact: &Path) -> Outline {
        let [outline, snapshot, warmth, tries] =
            ["outline", "snapshot", "warmth", "tries"].map(|kind| artifact.with_extension(kind));
        Outline { outline, snapshot, warmth, tries }
    }

    /// Loads the module, whose file this is.
    pub(crate) fn resume(&self, engine: &Engine, file: ModuleFile) -> Result<Module> {
        // What is missing or damaged is as good as nothing.
        let warmth = std::fs::read(&self.warmth).unwrap_or_default();
        Module::resume(engine, file, &self.outline, &self.snapshot, &warmth)
    }

    /// A place from which the others are found.
    pub(crate) fn place(&self) -> &Path {
        &self.outline
    }

    fn tries(&self) -> u8 {
        std::fs::read(&self.tries).map_or(0, |tries| tries.first().copied().unwrap_or(0))
    }

    /// Notes whether something was left, or refined; there were so many `tries` before.
    fn note(&self, is_done: bool, tries: u8) {
        // Without a note the next run does as this one.
        match is_done {
            true if tries > 0 => _ = std::fs::remove_file(&self.tries),
            false if tries < MAX_TRIES => _ = std::fs::write(&self.tries, [tries + 1]),
            _ => {}
        }
    }

    /// Keeps others from changing what the cache has of the module, until the lock is dropped. `None` if somebody is at it.
    pub(crate) fn lock(&self) -> std::io::Result<Option<File>> {
        self.locked(File::try_lock)
    }

    /// The same, but others may have it as well.
    fn share(&self) -> std::io::Result<Option<File>> {
        self.locked(File::try_lock_shared)
    }

    fn locked(&self, lock: fn(&File) -> Result<(), TryLockError>) -> std::io::Result<Option<File>> {
        let file = File::open(&self.outline)?;
        match lock(&file) {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl UserCache {
    /// Has engines of this configuration use the cache, unless the command line says otherwise.
    pub(crate) fn attach(config: &mut Config, groups: &Groups, options: &Options) -> Arc<UserCache> {
        if groups.no_cache || options.codegen.cache == Some(false) {
            return Arc::default();
        }
        let key = match config::signing_key() {
            Ok(key) => key,
            Err(error) => {
                let cache =
                    Arc::new(UserCache { opened: OnceLock::from(Err(format!("{error:#}"))), ..UserCache::default() });
                config.cache(Some(cache.clone()));
                return cache;
            }
        };
        // Where somebody wants to see functions compiled, they are.
        let whole = groups.tier != Some(Tier::Lazy) && options.debug.dump_function.is_none();
        let index = || ModuleIndex::open(&folder().ok()?, common(&key, groups, options), DEFAULT_LIMIT).ok();
        let modules = whole.then(index).flatten();
        let (eager, dynamic) = (groups.tier == Some(Tier::Eager), groups.tier == Some(Tier::Dynamic));
        let cache = Arc::new(UserCache { modules, eager, dynamic, key: Some(key), ..UserCache::default() });
        config.cache(Some(cache.clone()));
        cache
    }

    /// Looks at the file of the program's module, before it is read.
    pub(crate) fn identify(&self, file: &Path) -> Option<&Arc<CachedModule>> {
        let identity = self.modules.as_ref()?.identify(file)?;
        Some(self.program.get_or_init(|| Arc::new(CachedModule { file: file.to_owned(), identity })))
    }

    /// What there is of the file, if it was run before and has not changed since.
    pub(crate) fn find(&self, module: &CachedModule) -> Option<Found> {
        self.at(&self.modules.as_ref()?.by_identity(&module.identity)?)
    }

    /// What there is of the module that has its artifact, if it has one, at a place.
    pub(crate) fn at(&self, place: &Path) -> Option<Found> {
        if place.is_file() {
            return Some(Found::Artifact(place.to_owned()));
        }
        let outline = Outline::beside(place);
        (self.dynamic && outline.outline.is_file()).then_some(Found::Outline(outline))
    }

    /// The artifact of a module that was read from the file: another file may have had the same contents.
    pub(crate) fn artifact_of(&self, module: &CachedModule, bytes: &[u8]) -> Option<PathBuf> {
        let index = self.modules.as_ref()?;
        let artifact = index.by_contents(bytes);
        // What cannot be noted is looked for again the next time.
        _ = index.note(&module.file, &module.identity, bytes);
        Some(artifact)
    }

    /// What earlier runs of the module in a file, with these bytes, have learnt about how it runs.
    pub(crate) fn profile(&self, file: &Path, bytes: &[u8]) -> Result<Profile> {
        let index = self.modules.as_ref().context("`--profile` needs the cache")?;
        let snapshot = Outline::beside(&index.by_contents(bytes)).snapshot;
        if !snapshot.is_file() {
            let file = file.display();
            bail!("no run has left a profile of {file}: let `kiln run {file}` run it first, with the same options");
        }
        Profile::of_snapshot(&snapshot)
    }

    /// Keeps the artifact of a module if it was compiled as a whole.
    pub(crate) fn keep(self: &Arc<Self>, module: &Module, place: PathBuf) {
        if !self.eager {
            return;
        }
        let (module, cache) = (module.clone(), self.clone());
        self.beside(move || cache.keep_file(&place, &module.serialize()?));
    }

    /// Keeps the outline of a module that was compiled function by function; where it is.
    pub(crate) fn keep_outline(self: &Arc<Self>, module: &Module, place: &Path) -> Option<Outline> {
        if !self.dynamic {
            return None;
        }
        let outline = Outline::beside(place);
        let (module, cache, file) = (module.clone(), self.clone(), outline.outline.clone());
        self.beside(move || cache.keep_file(&file, &module.outline()?));
        Some(outline)
    }

    /// Keeps what was compiled of a module, if that is more than before, and how much of it was used.
    pub(crate) fn leave(self: &Arc<Self>, module: &Module, outline: &Outline) {
        let warmth = module.warmth(WORTH_REFINING).ok().flatten();
        let left = Left { outline: outline.clone(), is_worth_refining: warmth.is_some() };
        if !left.is_worth_refining && !module.outgrew_snapshot() {
            return;
        }
        _ = self.left.set(left);
        let (module, cache, outline) = (module.clone(), self.clone(), outline.clone());
        self.beside(move || {
            // Who refines what there is has more to leave.
            let Some(_share) = outline.share()? else { return Ok(()) };
            if let Some(warmth) = warmth {
                cache.keep_file(&outline.warmth, &warmth)?;
            }
            match module.snapshot()? {
                Some(snapshot) => cache.keep_file(&outline.snapshot, &snapshot),
                None => Ok(()),
            }
        });
    }

    /// Keeps what was made of the program's module. Its file is mapped: what was made after somebody wrote to it may be of
    /// neither the old contents nor the new.
    fn keep_file(&self, place: &Path, bytes: &[u8]) -> Result<()> {
        let index = self.modules.as_ref().context("there is an index if there is a place")?;
        let CachedModule { file, identity } =
            &**self.program.get().context("there is a place if there is a program")?;
        if !index.is_same(file, identity)? {
            bail!("{} has changed meanwhile", file.display());
        }
        Ok(index.keep(place, bytes)?)
    }

    /// Keeps a snapshot that was refined, if there was anything to refine, under the outline's lock.
    pub(crate) fn keep_refined(&self, outline: &Outline, snapshot: Option<Vec<u8>>) -> Result<()> {
        outline.note(snapshot.is_some(), outline.tries());
        if let Some(snapshot) = snapshot {
            self.keep_file(&outline.snapshot, &snapshot)?;
            // What was used is optimised.
            std::fs::remove_file(&outline.warmth).or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
        self.flush();
        Ok(())
    }

    /// Looks into the file of a module that was started without reading it, if that was not done for long.
    pub(crate) fn confirm(self: &Arc<Self>, module: &Arc<CachedModule>) {
        if !self.modules.as_ref().is_some_and(|index| index.is_due(&module.identity)) {
            return;
        }
        let (cache, module) = (self.clone(), module.clone());
        self.beside(move || {
            let index = cache.modules.as_ref().context("there is an index if a file was found in it")?;
            Ok(index.confirm(&module.file, &module.identity)?)
        });
    }

    /// Does something while the program runs. That it fails is no reason for the program to fail.
    fn beside(&self, work: impl FnOnce() -> Result<()> + Send + 'static) {
        let (end, ended): (Sender<()>, Writer) = mpsc::channel();
        let writing = self.writing.clone();
        let report = move || {
            let _end = end;
            let _alone = writing.lock().unwrap_or_else(PoisonError::into_inner);
            work().unwrap_or_else(|error| tracing::debug!("the cache of modules: {error:#}"));
        };
        if std::thread::Builder::new().name("kiln-modules".to_owned()).spawn(report).is_ok() {
            self.writers.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
        }
    }

    fn store(&self) -> Option<&DiskStore> {
        self.opened.get_or_init(|| open().map_err(|error| error.to_string())).as_ref().ok()
    }

    /// Writes what was compiled: to be called before the process ends.
    pub(crate) fn flush(&self) {
        if let Some(Ok(store)) = self.opened.get() {
            store.flush();
        }
        for writer in self.take_writers() {
            // It has told what went wrong.
            _ = writer.recv();
        }
    }

    fn take_writers(&self) -> Vec<Writer> {
        std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same, but does not let a program wait for long that took the time since `start`. If it was `resumed` it does not
    /// wait for single functions, which are in its snapshot as well. `wait` is how long if that is not for it to say. What is
    /// left that is worth refining.
    pub(crate) fn flush_soon(
        self: &Arc<Self>,
        start: Instant,
        resumed: bool,
        wait: Option<Duration>,
    ) -> Option<&Outline> {
        if self.opened.get().is_some() && !resumed {
            let cache = self.clone();
            self.beside(move || {
                if let Some(Ok(store)) = cache.opened.get() {
                    store.flush();
                }
                Ok(())
            });
        }
        let writers = self.take_writers();
        let left = self.left.get();
        if writers.is_empty() {
            return None;
        }
        let tries = left.map_or(0, |left| left.outline.tries());
        let wait = wait.unwrap_or_else(|| patience(PATIENCE.max(start.elapsed() / PATIENT_PART), tries));
        let begun = Instant::now();
        let is_late = |writer: &Writer| {
            writer.recv_timeout(wait.saturating_sub(begun.elapsed())) == Err(RecvTimeoutError::Timeout)
        };
        let is_late = writers.iter().any(is_late);
        let Left { outline, is_worth_refining } = left?;
        if is_late {
            outline.note(false, tries);
            return None;
        }
        if !is_worth_refining {
            outline.note(true, tries);
        }
        (*is_worth_refining && tries < MAX_TRIES).then_some(outline)
    }

    /// Whether functions change their tier.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.dynamic
    }

    /// Why the cache could not be used.
    pub(crate) fn problem(&self) -> Option<String> {
        self.opened.get()?.as_ref().err().cloned()
    }
}

impl CacheStore for UserCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let value = self.store()?.get(key)?;
        let (contents, signature) = value.split_last_chunk()?;
        let is_ours = self.key.as_ref()?.is_signed(MATTER, &signed(key, contents), signature);
        is_ours.then(|| Cow::Owned(contents.to_vec()))
    }

    fn insert(&self, key: &[u8], mut value: Vec<u8>) -> bool {
        let Some(signing) = &self.key else { return false };
        // The program's file is mapped: what was read of it counts if nobody has touched it since.
        if let (Some(index), Some(program)) = (&self.modules, self.program.get())
            && !index.is_same(&program.file, &program.identity).unwrap_or(false)
        {
            return false;
        }
        value.extend(signing.sign(MATTER, &signed(key, &value)));
        self.store().is_some_and(|store| store.insert(key, value))
    }
}

/// In which matter functions in the cache are signed.
const MATTER: &str = "function";

/// What is signed of a function: under which key it is found, and what it is.
fn signed(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&(key.len() as u64).to_le_bytes(), key, value].concat()
}

/// A secret that depends on what decides about an artifact beside the module: this build, and what the command line says.
fn common(key: &SigningKey, groups: &Groups, options: &Options) -> [u8; 32] {
    let Options { wasm, proposals, wasi: _, optimize, codegen, debug } = options;
    // When functions are optimised makes no difference to them.
    let codegen = Codegen { refine: None, ..codegen.clone() };
    let told = (groups.profilers, wasm, proposals, optimize, codegen, debug);
    key.sign("cache", format!("{} {told:?}", kiln_env::settings::build_id()).as_bytes())
}

/// Where the user's cache is.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = kiln_cache::default_folder(|name| std::env::var_os(name));
    folder.ok_or_else(|| anyhow!("no folder for the cache: neither KILN_CACHE_DIR, XDG_CACHE_HOME nor HOME is set"))
}

fn open() -> Result<DiskStore> {
    Ok(DiskStore::open(&folder()?, DEFAULT_LIMIT)?)
}

/// `kiln cache`.
pub(crate) fn main(args: &Cache) -> Result<ExitCode> {
    let text = match &args.command {
        CacheCommand::Refine { groups, place, file } => return crate::refine::main(groups, place, file),
        CacheCommand::Why { old, new } => why(old, new)?,
        CacheCommand::Path => format!("{}\n", folder()?.display()),
        CacheCommand::Stats { json } => stats(*json)?,
        CacheCommand::Clear => {
            let folder = folder()?;
            let checked = match std::fs::remove_dir_all(folder.join(config::CHECKED)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
            let removed = checked.and_then(|()| kiln_cache::remove_modules(&folder));
            let removed = removed.and_then(|()| kiln_cache::remove(&folder));
            removed.with_context(|| format!("cannot remove the cache in {}", folder.display()))?;
            String::new()
        }
        CacheCommand::Prune { size } => {
            let bytes = match size {
                None => 0,
                Some(text) => crate::options::bytes(text).map_err(|e| UsageError(format!("--size: {e}")))?,
            };
            prune(bytes).context("cannot prune the cache")?;
            stats(false)?
        }
    };
    report::give(text.as_bytes()).map(|()| ExitCode::SUCCESS)
}

/// Removes what was used least recently until functions and modules take no more than `bytes` together. Half of that is for
/// either, and what the other one leaves.
fn prune(bytes: u64) -> Result<()> {
    let store = open()?;
    let (used, (_, modules)) = (store.usage()?.file_bytes, kiln_cache::module_usage(store.folder()));
    let functions = used.min(bytes.saturating_sub(modules).max(bytes / 2));
    store.prune(functions)?;
    Ok(kiln_cache::prune_modules(store.folder(), bytes - functions)?)
}

fn why(old: &Path, new: &Path) -> Result<String> {
    let engine = Engine::new(Config::new().share_code(true))?;
    let read = |file: &Path| -> Result<Vec<u8>> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let binary = Module::binary_form(&bytes).map_err(|error| locate(error, file));
        Ok(binary.with_context(|| format!("in {}", file.display()))?.into_owned())
    };
    Ok(compared(&engine.compare_modules(&read(old)?, &read(new)?)?))
}

fn compared(comparison: &Comparison) -> String {
    let share = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 * 100.0 };
    let Comparison { functions, found, pairing, common, same, same_body, same_code, misses } = comparison;
    let like = match pairing {
        Pairing::Names => "have the name of one in the other module",
        Pairing::Operators => "have the operators of one in the other module, as one of them has no names",
    };
    let mut text = format!(
        "{found} of {functions} functions ({:.1} %) are found by their bodies\n\
         {common} {like}; of these\n\
         {same_body:>8} ({:.1} %) are found by their bodies\n\
         {same_code:>8} ({:.1} %) by their code, after translation\n",
        share(*found, *functions),
        share(*same_body, *common),
        share(*same_code, *common),
    );
    let mut misses: Vec<_> = misses.iter().collect();
    misses.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (differences, (count, examples)) in misses {
        let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
        text += &format!(
            "{count:>8} ({:.1} %) differ in {}: {}\n",
            share(*count, *common),
            differences.join(", "),
            examples.join(" ")
        );
    }
    text += &format!(
        "{same} of them differ in nothing but indices: {:.1} % of these are found\n",
        share((same_body + same_code).min(*same), *same)
    );
    text
}

fn stats(json: bool) -> Result<String> {
    let store = open()?;
    let usage = store.usage().context("cannot read the cache")?;
    let (modules, module_bytes) = kiln_cache::module_usage(store.folder());
    if json {
        let value = serde_json::json!({
            "folder": store.folder(),
            "entries": usage.values,
            "entry_bytes": usage.value_bytes,
            "file_bytes": usage.file_bytes,
            "limit_bytes": usage.limit,
            "oldest_use_days": usage.oldest_days,
            "modules": modules,
            "module_bytes": module_bytes,
        });
        return Ok(format!("{value}\n"));
    }
    let size = explain::bytes;
    Ok(format!(
        "folder      {}\nentries     {}, {}\nfiles       {} of {} at most\noldest use  {} days ago\n\
         modules     {modules}, {} of {} at most\n",
        store.folder().display(),
        usage.values,
        size(usage.value_bytes),
        size(usage.file_bytes),
        size(usage.limit),
        usage.oldest_days,
        size(module_bytes),
        size(usage.limit),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_until_something_is_left() {
        let temp = tempfile::tempdir().unwrap();
        let outline = Outline::beside(&temp.path().join("module.kiln"));
        let mut waits = Vec::new();
        for _ in 0..=MAX_TRIES {
            waits.push(patience(PATIENCE, outline.tries()));
            outline.note(false, outline.tries());
        }
        assert!(waits[..9].is_sorted_by(|a, b| 2 * *a == *b) && waits[8] > Duration::from_secs(1), "{waits:?}");
        assert_eq!((waits[9], outline.tries()), (PATIENCE, MAX_TRIES));
        outline.note(true, outline.tries());
        assert_eq!(outline.tries(), 0);
        assert_eq!(patience(Duration::from_secs(3), 1), Duration::from_secs(3));
    }
}
