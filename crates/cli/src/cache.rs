//! The cache of compiled functions: opening it for other commands, and `kiln cache`.

use std::borrow::Cow;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use kiln::{CacheStore, Comparison, Config, Engine, Module, ModuleFile, Pairing, Profile, SigningKey};
use kiln_cache::{DEFAULT_LIMIT, DiskStore, FileIdentity, ModuleIndex, RefineStatus, Refinements};

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
    /// Of which module this run left something that is worth refining.
    left: OnceLock<Outline>,
}

/// A thread that writes: it gives nothing, but ends.
type Writer = Receiver<()>;

/// What a run learnt is written when it has ended, in this part of the processor time that it took, or in this time if that is
/// more. It is work that is bounded, not time: on a machine that is busy both take as much longer.
const WRITING_PART: u32 = 8;
const WRITING_TIME: Duration = Duration::from_millis(5);

/// Nanoseconds of processor time for a byte of a snapshot: it is put together, hashed and written.
const SNAPSHOT_NANOS: u64 = 2;

/// Whether a run that took so much processor time has the time to write a snapshot of so many bytes.
fn is_affordable(bytes: u64, spent: Duration) -> bool {
    Duration::from_nanos(bytes.saturating_mul(SNAPSHOT_NANOS)) <= WRITING_TIME.max(spent / WRITING_PART)
}

/// With fewer uses of functions at the first tier a run would hardly have been shorter had they been at the second.
const WORTH_REFINING: u64 = 5_000;

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
}

impl Outline {
    /// Beside the place of the module's artifact.
    pub(crate) fn beside(artifact: &Path) -> Outline {
        let [outline, snapshot, warmth] = ["outline", "snapshot", "warmth"].map(|kind| artifact.with_extension(kind));
        Outline { outline, snapshot, warmth }
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

    /// Keeps others from changing what the cache has of the module, until the lock is dropped; waits until nobody is at it.
    pub(crate) fn lock(&self) -> std::io::Result<File> {
        let file = File::open(&self.outline)?;
        file.lock()?;
        Ok(file)
    }

    /// The same, but others may have it as well. `None` if somebody is at it who keeps others out.
    fn share(&self) -> std::io::Result<Option<File>> {
        let file = File::open(&self.outline)?;
        match file.try_lock_shared() {
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

    /// Keeps what was compiled of a module, if that is more than before and the run has the time for it, and how much of it
    /// was used: what is not kept of the code is then made anew by who refines it.
    pub(crate) fn leave(&self, module: &Module, outline: &Outline) {
        self.leave_all(module, outline).unwrap_or_else(|error| tracing::debug!("the cache of modules: {error:#}"));
    }

    fn leave_all(&self, module: &Module, outline: &Outline) -> Result<()> {
        let is_more = module.outgrew_snapshot();
        let is_affordable = is_affordable(module.snapshot_size(), explain::process_cpu_time());
        let least = if is_more && !is_affordable { 1 } else { WORTH_REFINING };
        let warmth = module.warmth(least)?;
        if warmth.is_none() && !is_more {
            return Ok(());
        }
        // It refers to the outline.
        self.wait_for_writers();
        // Who refines what there is has more to leave.
        let Some(_share) = outline.share()? else { return Ok(()) };
        if let Some(warmth) = &warmth {
            self.keep_file(&outline.warmth, warmth)?;
        }
        if is_more
            && is_affordable
            && let Some(snapshot) = module.snapshot()?
        {
            self.keep_file(&outline.snapshot, &snapshot)?;
            // There is something else to refine.
            refinements()?.forgive(outline.place())?;
        }
        if warmth.is_some() {
            _ = self.left.set(outline.clone());
        }
        Ok(())
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
        self.wait_for_writers();
    }

    fn wait_for_writers(&self) {
        let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
        for writer in writers {
            // It has told what went wrong.
            _ = writer.recv();
        }
    }

    /// The same for a program whose functions change their tier. If it was `resumed` it does not wait for single functions,
    /// which are in its snapshot as well. What it left that is worth refining.
    pub(crate) fn flush_left(&self, resumed: bool) -> Option<&Outline> {
        if resumed {
            self.wait_for_writers()
        } else {
            self.flush()
        }
        self.left.get()
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

/// What waits to be refined.
pub(crate) fn refinements() -> Result<Refinements> {
    Ok(Refinements::new(&folder()?))
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn open() -> Result<DiskStore> {
    Ok(DiskStore::open(&folder()?, DEFAULT_LIMIT)?)
}

/// `kiln cache`.
pub(crate) fn main(args: &Cache) -> Result<ExitCode> {
    let text = match &args.command {
        CacheCommand::Refine(refine) => return crate::refine::main(refine),
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
            let removed = removed.and_then(|()| kiln_cache::remove_refinements(&folder));
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
    let status = refinements()?.status();
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
            "refining": status.running.as_ref().map(|running| serde_json::json!({
                "process": running.process,
                "file": running.file,
                "seconds": now().saturating_sub(running.since),
            })),
            "waiting": status.waiting,
            "tried_in_vain": status.tried,
        });
        return Ok(format!("{value}\n"));
    }
    let size = explain::bytes;
    Ok(format!(
        "folder      {}\nentries     {}, {}\nfiles       {} of {} at most\noldest use  {} days ago\n\
         modules     {modules}, {} of {} at most\n{}",
        store.folder().display(),
        usage.values,
        size(usage.value_bytes),
        size(usage.file_bytes),
        size(usage.limit),
        usage.oldest_days,
        size(module_bytes),
        size(usage.limit),
        refining(&status),
    ))
}

/// What of programs that have ended is being optimised, and what waits for that.
fn refining(status: &RefineStatus) -> String {
    let mut text = match &status.running {
        Some(running) => {
            let seconds = now().saturating_sub(running.since);
            format!("optimising  {} for {seconds} s, process {}\n", running.file.display(), running.process)
        }
        None => "optimising  nothing\n".to_owned(),
    };
    for file in &status.waiting {
        text += &format!("  waiting   {}\n", file.display());
    }
    if status.tried > 0 {
        text += &format!("  in vain   {} modules, which will be tried again\n", status.tried);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_written_by_runs_that_took_longer() {
        let ms = Duration::from_millis;
        assert!(is_affordable(2_500_000, ms(0)) && !is_affordable(2_500_001, ms(0)));
        assert!(is_affordable(5_000_000, ms(80)) && !is_affordable(5_000_000, ms(79)));
        assert!(!is_affordable(u64::MAX, ms(1000)));
    }
}
