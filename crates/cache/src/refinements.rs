//! Modules that wait to be optimised by what their runs used: one process for a user does that, one module after the other.
//!
//! ```text
//! refine/lock         locked by the process
//! refine/running      what it is at
//! refine/MODULE.job   what waits; MODULE is the name of the module's artifact
//! refine/MODULE.tried how often it was tried in vain, and when last
//! ```
//! What is damaged is as good as absent. When to try again is decided by a clock that the caller has, so that tests can set it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use kiln_env::limits::MAX_REFINEMENTS;

use crate::folder;

/// The folder in the cache's.
const FOLDER: &str = "refine";

/// Seconds until what was tried in vain once is tried again; twice as long after each time.
const FIRST_DELAY: u64 = 60;

/// The longest of these delays: a day.
const LONGEST_DELAY: u64 = 24 * 60 * 60;

/// A module that is to be optimised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refinement {
    /// The place of its artifact in the cache.
    pub place: PathBuf,
    /// Its file.
    pub file: PathBuf,
    /// Seconds of processor time that it may take.
    pub seconds: u64,
    /// Bytes of memory that it may take.
    pub memory: u64,
    /// Options of the command line that decide about its code.
    pub options: Vec<OsString>,
}

/// What became of a module that was to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It waits.
    Waiting,
    /// Too many others do.
    Full,
    /// It was tried in vain; so many seconds are left until it may be tried again.
    TooSoon(u64),
}

/// A process that optimises.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Running {
    /// Its number.
    pub process: u32,
    /// The module's file.
    pub file: PathBuf,
    /// When it began with the module: seconds since the epoch.
    pub since: u64,
}

/// What waits, and what is being done.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RefineStatus {
    /// The process, if there is one.
    pub running: Option<Running>,
    /// Files of modules that wait, the one first that has waited longest.
    pub waiting: Vec<PathBuf>,
    /// Modules that were tried in vain, and wait to be tried again.
    pub tried: usize,
}

/// The modules that wait in a cache's folder.
#[derive(Clone, Debug)]
pub struct Refinements {
    folder: PathBuf,
}

/// The right to work on what waits: of one process at a time.
#[derive(Debug)]
pub struct Refiner {
    refinements: Refinements,
    _lock: File,
}

impl Refinements {
    /// What waits in a cache's folder, which need not exist.
    pub fn new(folder: &Path) -> Refinements {
        Refinements { folder: folder.join(FOLDER) }
    }

    /// Has a module wait, unless it does already. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// It cannot be noted, or its place has no name.
    pub fn add(&self, module: &Refinement, now: u64) -> io::Result<Added> {
        let delay = self.delay(&module.place, now)?;
        if delay > 0 {
            return Ok(Added::TooSoon(delay));
        }
        folder::make(&self.folder)?;
        let job = self.named(&module.place, "job")?;
        if !job.exists() && self.jobs()?.len() >= MAX_REFINEMENTS {
            return Ok(Added::Full);
        }
        let (seconds, memory) = (module.seconds.to_string(), module.memory.to_string());
        let first = [module.place.as_os_str(), module.file.as_os_str(), OsStr::new(&seconds), OsStr::new(&memory)];
        write(&job, &join(first.into_iter().chain(module.options.iter().map(OsString::as_os_str))))?;
        Ok(Added::Waiting)
    }

    /// Seconds for which a module, named by the place of its artifact, is not tried again because it was in vain.
    ///
    /// # Errors
    /// The place has no name.
    pub fn delay(&self, place: &Path, now: u64) -> io::Result<u64> {
        let (times, last) = self.tried(place)?;
        let delay = match times {
            0 => 0,
            n => FIRST_DELAY.saturating_mul(1 << u64::from(n - 1).min(32)).min(LONGEST_DELAY),
        };
        // A clock that was set back is no reason to wait for longer.
        Ok(if last > now { 0 } else { (last + delay).saturating_sub(now) })
    }

    /// How often a module was tried in vain, and when last.
    fn tried(&self, place: &Path) -> io::Result<(u8, u64)> {
        let bytes = fs::read(self.named(place, "tried")?).unwrap_or_default();
        let [times, last @ ..] = &bytes[..] else { return Ok((0, 0)) };
        let last = last.try_into().map_or(0, u64::from_le_bytes);
        Ok((*times, last))
    }

    /// Forgets that a module was tried in vain.
    ///
    /// # Errors
    /// The place has no name.
    pub fn forgive(&self, place: &Path) -> io::Result<()> {
        _ = fs::remove_file(self.named(place, "tried")?);
        Ok(())
    }

    /// Notes that a module is tried, before it is: whatever ends the process, it was in vain.
    ///
    /// # Errors
    /// It cannot be noted.
    pub fn note_try(&self, place: &Path, now: u64) -> io::Result<()> {
        let (times, _) = self.tried(place)?;
        folder::make(&self.folder)?;
        let mut bytes = vec![times.saturating_add(1)];
        bytes.extend(now.to_le_bytes());
        write(&self.named(place, "tried")?, &bytes)
    }

    /// Whether a process works on what waits.
    pub fn is_running(&self) -> bool {
        let lock = File::open(self.folder.join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The right to work on what waits; `None` if another process has it.
    ///
    /// # Errors
    /// The folder cannot be made, or has no locks.
    pub fn begin(&self) -> io::Result<Option<Refiner>> {
        folder::make(&self.folder)?;
        let lock = File::options().create(true).append(true).open(self.folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Refiner { refinements: self.clone(), _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether something waits.
    pub fn is_empty(&self) -> bool {
        self.jobs().unwrap_or_default().is_empty()
    }

    /// What waits, and what is being done.
    pub fn status(&self) -> RefineStatus {
        let running = self.is_running().then(|| self.running()).flatten();
        let jobs = self.jobs().unwrap_or_default();
        let waiting = jobs.iter().filter_map(|job| Some(read(job)?.file)).collect();
        let tried = self.files("tried").map_or(0, |files| files.len());
        RefineStatus { running, waiting, tried }
    }

    fn running(&self) -> Option<Running> {
        let bytes = fs::read(self.folder.join("running")).ok()?;
        let [process, since, file] = &split(&bytes)[..] else { return None };
        let number = |text: &OsString| text.to_str()?.parse().ok();
        Some(Running { process: u32::try_from(number(process)?).ok()?, since: number(since)?, file: file.into() })
    }

    /// Files of those that wait, the one first that has waited longest.
    fn jobs(&self) -> io::Result<Vec<PathBuf>> {
        let mut jobs = self.files("job")?;
        jobs.sort_by_cached_key(|job| fs::metadata(job).and_then(|job| job.modified()).ok());
        Ok(jobs)
    }

    fn files(&self, kind: &str) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
        Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == kind)).collect())
    }

    fn named(&self, place: &Path, kind: &str) -> io::Result<PathBuf> {
        let name = place.file_stem().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.folder.join(name).with_extension(kind))
    }
}

impl Refiner {
    /// Takes the module that has waited longest, and notes that this process is at it. `None` if none waits.
    ///
    /// # Errors
    /// That it waits no longer cannot be noted.
    pub fn next(&self, now: u64) -> io::Result<Option<Refinement>> {
        let waits = &self.refinements;
        _ = folder::remove_left(&waits.folder);
        for job in waits.jobs()? {
            let module = read(&job);
            fs::remove_file(&job)?;
            // A damaged one names another place, or none.
            let Some(module) = module.filter(|m| waits.named(&m.place, "job").is_ok_and(|named| named == job)) else {
                continue;
            };
            let (process, since) = (std::process::id().to_string(), now.to_string());
            let running = [OsStr::new(&process), OsStr::new(&since), module.file.as_os_str()];
            write(&waits.folder.join("running"), &join(running.into_iter()))?;
            return Ok(Some(module));
        }
        _ = fs::remove_file(waits.folder.join("running"));
        Ok(None)
    }
}

/// Removes what waits in a cache's folder.
///
/// # Errors
/// It cannot be removed.
pub fn remove_refinements(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(job: &Path) -> Option<Refinement> {
    let bytes = fs::read(job).ok()?;
    let [place, file, seconds, memory, options @ ..] = &split(&bytes)[..] else { return None };
    let number = |text: &OsString| text.to_str()?.parse().ok();
    let (seconds, memory) = (number(seconds)?, number(memory)?);
    Some(Refinement { place: place.into(), file: file.into(), seconds, memory, options: options.to_vec() })
}

/// Texts without a NUL, each with one after it.
fn join<'a>(texts: impl Iterator<Item = &'a OsStr>) -> Vec<u8> {
    texts.flat_map(|text| text.as_bytes().iter().copied().chain([0])).collect()
}

fn split(bytes: &[u8]) -> Vec<OsString> {
    let texts = bytes.strip_suffix(&[0]).map(|bytes| bytes.split(|byte| *byte == 0));
    texts.into_iter().flatten().map(|text| OsString::from_vec(text.to_vec())).collect()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    folder::write_whole(path, bytes.len() as u64, |mut file| file.write_all(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(n: usize) -> Refinement {
        Refinement {
            place: format!("/cache/modules/{n:064}.kiln").into(),
            file: format!("/programs/{n}.wasm").into(),
            seconds: 10,
            memory: 1 << 30,
            options: vec!["-W".into(), "fuel=1".into()],
        }
    }

    #[test]
    fn one_process_works_on_all_that_wait() {
        let temp = tempfile::tempdir().unwrap();
        let waits = Refinements::new(temp.path());
        assert!(waits.is_empty() && waits.status() == RefineStatus::default());
        for n in [1, 2, 1, 2, 2] {
            assert_eq!(waits.add(&module(n), 5).unwrap(), Added::Waiting);
        }
        assert_eq!(waits.status().waiting.len(), 2, "each waits once");
        let refiner = waits.begin().unwrap().unwrap();
        assert!(waits.begin().unwrap().is_none() && waits.is_running());
        let first = refiner.next(7).unwrap().unwrap();
        let status = waits.status();
        assert_eq!((status.waiting.len(), &status.running.as_ref().unwrap().file), (1, &first.file));
        assert_eq!(status.running.unwrap().since, 7);
        // One that is run again meanwhile waits again.
        assert_eq!(waits.add(&first, 8).unwrap(), Added::Waiting);
        let (second, third) = (refiner.next(8).unwrap().unwrap(), refiner.next(9).unwrap().unwrap());
        assert_eq!((&third, first.place != second.place), (&first, true));
        assert!(refiner.next(9).unwrap().is_none());
        drop(refiner);
        assert!(!waits.is_running() && waits.status() == RefineStatus::default());
        remove_refinements(temp.path()).unwrap();
        assert!(waits.begin().unwrap().is_some());
    }

    #[test]
    fn no_more_wait_than_the_limit() {
        let temp = tempfile::tempdir().unwrap();
        let waits = Refinements::new(temp.path());
        for n in 0..MAX_REFINEMENTS {
            assert_eq!(waits.add(&module(n), 0).unwrap(), Added::Waiting);
        }
        assert_eq!(waits.add(&module(MAX_REFINEMENTS), 0).unwrap(), Added::Full);
        assert_eq!(waits.add(&module(3), 0).unwrap(), Added::Waiting);
    }

    #[test]
    fn what_is_tried_in_vain_is_tried_again_after_longer_and_longer() {
        let temp = tempfile::tempdir().unwrap();
        let waits = Refinements::new(temp.path());
        let (module, mut now) = (module(1), 1_000_000);
        let mut delays = Vec::new();
        for _ in 0..14 {
            assert_eq!(waits.add(&module, now).unwrap(), Added::Waiting);
            waits.note_try(&module.place, now).unwrap();
            let Added::TooSoon(delay) = waits.add(&module, now).unwrap() else { panic!("it was just tried") };
            assert_eq!(waits.add(&module, now + delay - 1).unwrap(), Added::TooSoon(1));
            delays.push(delay);
            now += delay;
        }
        assert!(delays[0] == FIRST_DELAY && delays.is_sorted() && delays[13] == LONGEST_DELAY, "{delays:?}");
        // However often that was, it is not for ever, and what succeeds once begins anew.
        waits.note_try(&module.place, now).unwrap();
        waits.forgive(&module.place).unwrap();
        assert_eq!(waits.add(&module, now).unwrap(), Added::Waiting);
        // The clock was set back.
        waits.note_try(&module.place, now).unwrap();
        assert_eq!(waits.add(&module, now - 1).unwrap(), Added::Waiting);
    }

    #[test]
    fn damaged_jobs_are_left_out() {
        let temp = tempfile::tempdir().unwrap();
        let waits = Refinements::new(temp.path());
        waits.add(&module(1), 0).unwrap();
        let job = waits.jobs().unwrap().pop().unwrap();
        let whole = fs::read(&job).unwrap();
        for len in 0..whole.len() {
            fs::write(&job, &whole[..len]).unwrap();
            fs::write(waits.folder.join("running"), &whole[..len]).unwrap();
            let refiner = waits.begin().unwrap().unwrap();
            waits.status();
            assert!(refiner.next(0).unwrap().is_none_or(|found| found.place == module(1).place), "{len} bytes");
        }
    }
}
