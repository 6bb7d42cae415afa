//! The packs of a folder: looking values up in all of them, and keeping their number and size bounded.
//!
//! Each batch of values becomes a pack. When there are many of about one size they are merged, so that there are few to look
//! into; when all of them are too large, the values that were used least recently are left out of those that have some.
//! Packs are renamed into place, merged ones before the old ones are removed: whoever is killed leaves all values, some of
//! them twice.

use std::collections::HashMap;
use std::collections::hash_map;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::folder;
use crate::pack::{ENTRY, Name, Pack, Source, Unopened};

/// So many packs of about one size become one.
const MERGED: usize = 6;

/// Packs that are smaller are of about one size.
const SMALL: u64 = 1 << 20;

/// A pack takes no more than this part of the limit.
const LARGEST_PART: u64 = 8;

/// The end of packs' names.
const EXTENSION: &str = "pack";

/// Tells the packs of this process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// All packs of a folder, the newest first.
type List = Arc<Vec<Arc<Pack>>>;

pub(crate) struct Packs {
    folder: PathBuf,
    limit: u64,
    /// Those that were there when this process last looked; `None` before it has.
    open: Mutex<Option<List>>,
}

/// A value in one of several packs.
struct Found {
    /// When it was last used.
    day: u32,
    /// The pack's position, offset and length.
    place: Option<(usize, u64, u32)>,
}

impl Packs {
    /// The packs in a folder, which need not exist. They may take `limit` bytes.
    pub(crate) fn new(folder: PathBuf, limit: u64) -> Packs {
        Packs { folder, limit, open: Mutex::default() }
    }

    /// The value of that name, and the day of its last use.
    pub(crate) fn get(&self, name: &Name) -> io::Result<Option<(Vec<u8>, u32)>> {
        let mut day = 0;
        for pack in self.list()?.iter() {
            let Some(entry) = pack.find(name) else { continue };
            day = day.max(entry.day);
            let Some((offset, len)) = entry.value else { continue };
            match pack.read(offset, len) {
                Ok(value) => return Ok(Some((value, day))),
                Err(error) => tracing::debug!("{} was damaged while in use: {error}", pack.path.display()),
            }
        }
        Ok(None)
    }

    /// Adds a pack. `values` are by ascending name, each with the day of its last use.
    pub(crate) fn add(&self, values: &[(Name, u32, Source)]) -> io::Result<()> {
        folder::make(&self.folder)?;
        self.write(values)?;
        self.look()?;
        // If another process is at it, that is enough.
        let Some(_lock) = self.lock(File::try_lock)? else { return Ok(()) };
        folder::remove_left(&self.folder)?;
        let list = self.look()?;
        if list.iter().map(|pack| pack.bytes).sum::<u64>() > self.limit {
            self.evict_from(&list, self.limit / 4 * 3)?;
        } else {
            let merged = alike(&list);
            if merged.len() >= MERGED {
                self.rewrite(&list, &merged, |_, _| true)?;
            }
        }
        Ok(())
    }

    /// Leaves out what was used least recently until no more than `bytes` are taken.
    pub(crate) fn evict(&self, bytes: u64) -> io::Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        let _lock = self.lock(|file| file.lock().map_err(TryLockError::Error))?;
        let list = self.look()?;
        self.evict_from(&list, bytes)
    }

    /// Number of values, their bytes, those of all packs, and the day of the oldest last use.
    pub(crate) fn usage(&self) -> io::Result<(u64, u64, u64, Option<u32>)> {
        let list = self.look()?;
        let values = gather(&list, &(0..list.len()).collect::<Vec<_>>());
        let values = || values.values().filter(|found| found.place.is_some());
        let bytes = values().filter_map(|found| found.place).map(|(.., len)| u64::from(len)).sum();
        let files = list.iter().map(|pack| pack.bytes).sum();
        Ok((values().count() as u64, bytes, files, values().map(|found| found.day).min()))
    }

    /// Keeps other processes from merging. `None` if one does.
    fn lock(&self, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<File>> {
        let file = File::options().create(true).append(true).open(self.folder.join("lock"))?;
        match lock(&file) {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<List> {
        // Nothing is left half done under this lock.
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        open.map_or_else(|| self.look(), Ok)
    }

    /// Looks which packs there are. Damaged ones are removed.
    fn look(&self) -> io::Result<List> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut packs = open.take().unwrap_or_default();
        let mut listed = paths(&self.folder)?;
        // A listing is no snapshot: it may lack packs that were removed meanwhile, and what others merged them into as well.
        // The next listing has that.
        for _ in 0..LOOKS {
            packs = Arc::new(open_all(&listed, &packs));
            let again = paths(&self.folder)?;
            if again == listed {
                break;
            }
            listed = again;
        }
        *open = Some(packs.clone());
        Ok(packs)
    }

    /// Writes a pack that is found before all others.
    fn write(&self, values: &[(Name, u32, Source)]) -> io::Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = format!("{:020}-{process}-{number}.{EXTENSION}", since.as_nanos());
        Pack::write(&self.folder.join(name), values)
    }

    fn evict_from(&self, list: &List, bytes: u64) -> io::Result<()> {
        let all: Vec<usize> = (0..list.len()).collect();
        let mut values: Vec<_> = gather(list, &all).into_iter().filter(|(_, found)| found.place.is_some()).collect();
        // Among those of one day the order is that of the names, which are hashes.
        values.sort_by_key(|(name, found)| (std::cmp::Reverse(found.day), *name));
        let mut taken = 0;
        let fits = |(_, found): &&(Name, Found)| {
            taken += ENTRY + found.place.map_or(0, |(.., len)| u64::from(len));
            taken + HEADERS <= bytes
        };
        let kept: HashMap<Name, usize> =
            values.iter().take_while(fits).filter_map(|(name, found)| Some((*name, found.place?.0))).collect();
        // One that has nothing else than values that stay is left as it is.
        let has_others = |at: &usize| list[*at].entries().any(|entry| kept.get(&entry.name) != Some(at));
        let changed: Vec<usize> = all.into_iter().filter(has_others).collect();
        self.rewrite(list, &changed, |name, _| kept.contains_key(name))
    }

    /// Puts what is kept of some packs into new ones, in place of them.
    fn rewrite(&self, list: &List, merged: &[usize], keep: impl Fn(&Name, &Found) -> bool) -> io::Result<()> {
        let is_elsewhere = |name: &Name| {
            let others = (0..list.len()).filter(|at| !merged.contains(at));
            others.filter_map(|at| list[at].find(name)).any(|entry| entry.value.is_some())
        };
        let mut values: Vec<(Name, u32, Source)> = Vec::new();
        for (name, found) in gather(list, merged) {
            if !keep(&name, &found) {
                continue;
            }
            match found.place {
                Some((at, offset, len)) => {
                    values.push((name, found.day, Source::Pack(list[at].clone(), offset, len)));
                }
                None if is_elsewhere(&name) => values.push((name, found.day, Source::Elsewhere)),
                None => {}
            }
        }
        values.sort_by_key(|(name, ..)| *name);
        let mut rest = &values[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |(_, _, source): &&(Name, u32, Source)| {
                bytes += source.bytes();
                bytes <= self.limit / LARGEST_PART
            };
            let (part, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            self.write(part)?;
            rest = others;
        }
        merged.iter().try_for_each(|at| list[*at].remove())?;
        self.look()?;
        Ok(())
    }
}

/// Room for the headers of packs, when their bytes are counted by values.
const HEADERS: u64 = 1 << 10;

/// Others do not merge so often while somebody looks.
const LOOKS: usize = 16;

/// The packs' files, the newest first; none if there is no such folder.
fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == EXTENSION) {
            paths.push(path);
        }
    }
    // Their names begin with when they were written.
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

/// Opens packs that are not `known` yet. Damaged ones are removed.
fn open_all(paths: &[PathBuf], known: &[Arc<Pack>]) -> Vec<Arc<Pack>> {
    let open = |path: &PathBuf| {
        if let Some(pack) = known.iter().find(|pack| pack.path == *path) {
            return Some(pack.clone());
        }
        match Pack::open(path) {
            Ok(pack) => return Some(Arc::new(pack)),
            Err(Unopened::Damaged) => {
                tracing::debug!("removing {}, which is damaged", path.display());
                _ = fs::remove_file(path);
            }
            Err(Unopened::Failed(error)) => tracing::debug!("cannot read {}: {error}", path.display()),
        }
        None
    };
    paths.iter().filter_map(open).collect()
}

/// What some packs have together, each at its newest place.
fn gather(list: &[Arc<Pack>], some: &[usize]) -> HashMap<Name, Found> {
    let mut values: HashMap<Name, Found> = HashMap::new();
    for at in some {
        for entry in list[*at].entries() {
            let place = entry.value.map(|(offset, len)| (*at, offset, len));
            match values.entry(entry.name) {
                hash_map::Entry::Vacant(new) => _ = new.insert(Found { day: entry.day, place }),
                hash_map::Entry::Occupied(mut old) => {
                    let old = old.get_mut();
                    old.day = old.day.max(entry.day);
                    old.place = old.place.or(place);
                }
            }
        }
    }
    values
}

/// The smallest packs, each no larger than those before it together: positions in the list, the newest first.
fn alike(list: &[Arc<Pack>]) -> Vec<usize> {
    let mut by_size: Vec<usize> = (0..list.len()).collect();
    by_size.sort_by_key(|at| list[*at].bytes);
    let mut together = SMALL;
    let mut alike: Vec<usize> = by_size
        .into_iter()
        .take_while(|at| {
            let fits = list[*at].bytes <= together;
            together += list[*at].bytes;
            fits
        })
        .collect();
    alike.sort_unstable();
    alike
}
