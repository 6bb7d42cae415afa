//! The cache of compiled functions: opening it for other commands, and `kiln cache`.

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};
use kiln::{CacheStore, Comparison, Config, Engine};
use kiln_cache::{DEFAULT_LIMIT, DiskStore};

use crate::args::{Cache, CacheCommand, Groups};
use crate::explain;
use crate::options::{Options, UsageError};

/// The user's cache, opened when somebody first asks for a function: not by runs of what is compiled already. One that is
/// out of order is as good as an empty one.
#[derive(Default)]
pub(crate) struct UserCache {
    opened: OnceLock<Result<DiskStore, String>>,
}

impl UserCache {
    /// Has engines of this configuration use the cache, unless the command line says otherwise.
    pub(crate) fn attach(config: &mut Config, groups: &Groups, options: &Options) -> Arc<UserCache> {
        let cache = Arc::new(UserCache::default());
        if !groups.no_cache && options.codegen.cache != Some(false) {
            config.cache(Some(cache.clone()));
        }
        cache
    }

    fn store(&self) -> Option<&DiskStore> {
        self.opened.get_or_init(|| open().map_err(|error| format!("{error:#}"))).as_ref().ok()
    }

    /// Writes what was compiled: to be called before the process ends.
    pub(crate) fn flush(&self) {
        if let Some(Ok(store)) = self.opened.get() {
            store.flush();
        }
    }

    /// Why the cache could not be used.
    pub(crate) fn problem(&self) -> Option<String> {
        self.opened.get()?.as_ref().err().cloned()
    }
}

impl CacheStore for UserCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.store()?.get(key)
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.store().is_some_and(|store| store.insert(key, value))
    }
}

fn folder() -> Result<PathBuf> {
    let folder = kiln_cache::default_folder(|name| std::env::var_os(name));
    folder.ok_or_else(|| anyhow!("no folder for the cache: neither KILN_CACHE_DIR, XDG_CACHE_HOME nor HOME is set"))
}

fn open() -> Result<DiskStore> {
    Ok(DiskStore::open(&folder()?, DEFAULT_LIMIT)?)
}

/// `kiln cache`.
pub(crate) fn main(args: &Cache) -> Result<ExitCode> {
    let text = match &args.command {
        CacheCommand::Why { old, new } => why(old, new)?,
        CacheCommand::Path => format!("{}\n", folder()?.display()),
        CacheCommand::Stats { json } => stats(*json)?,
        CacheCommand::Clear => {
            let folder = folder()?;
            kiln_cache::remove(&folder).with_context(|| format!("cannot remove the cache in {}", folder.display()))?;
            String::new()
        }
        CacheCommand::Prune { size } => {
            let bytes = match size {
                None => 0,
                Some(text) => crate::options::bytes(text).map_err(|e| UsageError(format!("--size: {e}")))?,
            };
            open()?.prune(bytes).context("cannot prune the cache")?;
            stats(false)?
        }
    };
    // A reader that has gone away wants no more.
    _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn why(old: &Path, new: &Path) -> Result<String> {
    let engine = Engine::new(&Config::new())?;
    let read = |file: &Path| -> Result<Vec<u8>> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(wat::parse_bytes(&bytes).with_context(|| format!("in {}", file.display()))?.into_owned())
    };
    Ok(compared(&engine.compare_modules(&read(old)?, &read(new)?)?))
}

fn compared(comparison: &Comparison) -> String {
    let share = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 * 100.0 };
    let Comparison { functions, found, common, same_body, same_code, misses, .. } = comparison;
    let mut text = format!(
        "{found} of {functions} functions ({:.1} %) are found by their bodies\n\
         {common} have the name of one in the other module; of these\n\
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
    text
}

fn stats(json: bool) -> Result<String> {
    let store = open()?;
    let usage = store.usage().context("cannot read the cache")?;
    if json {
        let value = serde_json::json!({
            "folder": store.folder(),
            "entries": usage.values,
            "entry_bytes": usage.value_bytes,
            "used_bytes": usage.used_bytes,
            "file_bytes": usage.file_bytes,
            "limit_bytes": usage.limit,
            "oldest_use_days": usage.oldest_days,
        });
        return Ok(format!("{value}\n"));
    }
    let size = explain::bytes;
    Ok(format!(
        "folder      {}\nentries     {}, {}\nin use      {} of {} at most\nfile        {}\noldest use  {} days ago\n",
        store.folder().display(),
        usage.values,
        size(usage.value_bytes),
        size(usage.used_bytes),
        size(usage.limit),
        size(usage.file_bytes),
        usage.oldest_days,
    ))
}
