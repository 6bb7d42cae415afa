//! Kiln's cache of compiled functions on disk: packs of values in a folder of the user's own.
//!
//! Any number of processes use it at once. Each batch of values becomes a file of its own, which is renamed into place when
//! it is whole and never changes after that (`pack`), so that nobody waits for anybody, and a process that is killed loses
//! what it had not written and nothing else. Files are read, not mapped: whatever happens to them, a value is the worse for
//! it at most. Values are written by a thread in the background; what a process has not flushed when it ends is lost, which
//! costs time and nothing else.
//!
//! Whole modules are kept beside them, as artifacts: [`ModuleIndex`].
//!
//! The store does not look into values: whoever gets one checks it ([`kiln_env::cache::unseal`]).

#![forbid(unsafe_code)]

mod folder;
mod modules;
mod pack;
mod packs;
mod refinements;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_env::CacheStore;

use pack::{Name, Source};
use packs::Packs;

pub use folder::{default_folder, remove};
pub use modules::{FileIdentity, ModuleIndex, module_usage, prune_modules, remove_modules};
pub use refinements::{Added, RefineStatus, Refinement, Refinements, Refiner, Running, remove_refinements};

/// How large the cache may become unless told otherwise.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// Values of this many bytes wait for nothing else.
const BATCH_BYTES: usize = 4 << 20;

/// Values wait no longer than this for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made, read or written.
    #[error("cannot use the folder {}: {source}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others could put code there that this user would run.
    #[error("the folder {} belongs to another user, or others may write to it", .0.display())]
    NotPrivate(PathBuf),
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of values.
    pub values: u64,
    /// Bytes of the values themselves.
    pub value_bytes: u64,
    /// Bytes of the files that they are in.
    pub file_bytes: u64,
    /// Bytes that the files may take.
    pub limit: u64,
    /// Days since the value was last used that was not used for longest.
    pub oldest_days: u32,
}

/// A store on disk. Made once for each folder and process, and shared.
pub struct DiskStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    packs: Packs,
    folder: PathBuf,
    limit: u64,
    queue: Mutex<Queue>,
    /// There is something to write, or a flush was asked for.
    wake: Condvar,
    /// A batch is written.
    written: Condvar,
}

/// What waits to be written.
#[derive(Default)]
struct Queue {
    values: HashMap<Vec<u8>, Arc<[u8]>>,
    bytes: usize,
    /// Keys whose last use was noted on another day.
    used: Vec<Vec<u8>>,
    /// What is being written right now: still to be found by readers of this process.
    writing: Arc<HashMap<Vec<u8>, Arc<[u8]>>>,
    busy: bool,
    flush: bool,
    stop: bool,
}

/// What is written at once.
struct Batch {
    values: Arc<HashMap<Vec<u8>, Arc<[u8]>>>,
    used: Vec<Vec<u8>>,
}

impl DiskStore {
    /// Opens the cache in `folder`, which is made if it is missing. `limit`: bytes that it may take; what was used least
    /// recently makes room for what is new. What is damaged in it is as good as absent.
    ///
    /// # Errors
    /// The folder cannot be used, or is not the user's own.
    pub fn open(folder: &Path, limit: u64) -> Result<DiskStore, Error> {
        folder::prepare(folder)?;
        let shared = Shared {
            packs: Packs::new(folder.join(folder::FUNCTIONS), limit),
            folder: folder.to_owned(),
            limit,
            queue: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
        };
        Ok(DiskStore { shared: Arc::new(shared), writer: Mutex::new(None) })
    }

    /// What the cache holds.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn usage(&self) -> io::Result<Usage> {
        let (values, value_bytes, file_bytes, oldest) = self.shared.packs.usage()?;
        let oldest_days = oldest.map_or(0, |day| today().saturating_sub(day));
        Ok(Usage { values, value_bytes, file_bytes, limit: self.shared.limit, oldest_days })
    }

    /// Removes what was used least recently until no more than `bytes` are taken.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn prune(&self, bytes: u64) -> io::Result<()> {
        self.flush();
        self.shared.packs.evict(bytes)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Waits until all that was inserted is written, or could not be.
    pub fn flush(&self) {
        let mut queue = self.shared.lock();
        while queue.busy || !queue.is_empty() {
            queue.flush = true;
            self.shared.wake.notify_all();
            if !self.ensure_writer() {
                drop(queue);
                self.shared.write_queue();
                return;
            }
            queue = self.shared.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.flush = false;
    }

    /// Starts the thread that writes, if it does not run; whether it does now.
    fn ensure_writer(&self) -> bool {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_none() {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name("kiln-cache".to_owned());
            *writer = thread.spawn(move || shared.write_until_stopped()).ok();
        }
        writer.is_some()
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_all();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.take() {
            // It has told what went wrong.
            _ = writer.join();
        }
    }
}

impl CacheStore for DiskStore {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        if let Some(value) = self.shared.lock().find(key) {
            return Some(Cow::Owned(value.to_vec()));
        }
        let found = self.shared.packs.get(&pack::name(key)).unwrap_or_else(|error| {
            tracing::debug!("cannot read from the cache: {error}");
            None
        });
        let (value, day) = found?;
        if day < today() {
            self.shared.lock().used.push(key.to_owned());
        }
        Some(Cow::Owned(value))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        if value.len() as u64 > self.shared.limit / 8 {
            return false;
        }
        let mut queue = self.shared.lock();
        queue.bytes += key.len() + value.len();
        queue.values.insert(key.to_owned(), value.into());
        let first = queue.values.len() == 1 || queue.bytes >= BATCH_BYTES;
        drop(queue);
        if first {
            self.ensure_writer();
            self.shared.wake.notify_all();
        }
        true
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.used.is_empty()
    }

    fn find(&self, key: &[u8]) -> Option<&Arc<[u8]>> {
        self.values.get(key).or_else(|| self.writing.get(key))
    }

    /// Takes what there is to be written.
    fn take(&mut self) -> Batch {
        self.bytes = 0;
        self.busy = true;
        self.writing = Arc::new(std::mem::take(&mut self.values));
        Batch { values: self.writing.clone(), used: std::mem::take(&mut self.used) }
    }
}

/// A hash of some bytes, for [`ModuleIndex::open`].
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Days since the epoch: how exactly uses are remembered.
fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() / 86_400) as u32
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing is left half done under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_stopped(&self) {
        loop {
            let mut queue = self.lock();
            while queue.is_empty() && !queue.stop {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let wait = |q: &mut Queue| q.bytes < BATCH_BYTES && !q.flush && !q.stop;
            let waited = self.wake.wait_timeout_while(queue, BATCH_DELAY, wait);
            let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let (empty, stop) = (queue.is_empty(), queue.stop);
            drop(queue);
            if !empty {
                self.write_queue();
            }
            if stop {
                return;
            }
        }
    }

    /// Writes what waits. What cannot be written is dropped.
    fn write_queue(&self) {
        let batch = self.lock().take();
        if let Err(error) = self.write(&batch) {
            tracing::debug!("cannot write to the cache: {error}");
        }
        let mut queue = self.lock();
        queue.writing = Arc::default();
        queue.busy = false;
        drop(queue);
        self.written.notify_all();
    }

    fn write(&self, batch: &Batch) -> io::Result<()> {
        let today = today();
        let used = batch.used.iter().filter(|key| !batch.values.contains_key(*key));
        let used = used.map(|key| (pack::name(key), today, Source::Elsewhere));
        let new = batch.values.iter().map(|(key, value)| (pack::name(key), today, Source::Bytes(value.clone())));
        let mut values: Vec<(Name, u32, Source)> = used.chain(new).collect();
        values.sort_by_key(|(name, ..)| *name);
        values.dedup_by_key(|(name, ..)| *name);
        self.packs.add(&values)
    }
}
