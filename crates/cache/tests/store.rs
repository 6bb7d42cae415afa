//! The store on disk: what it keeps, what it forgets, and what it survives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kiln_cache::{DEFAULT_LIMIT, DiskStore, Error};
use kiln_env::CacheStore;
use kiln_env::cache::{CacheKey, seal, unseal};

fn open(folder: &Path) -> DiskStore {
    DiskStore::open(folder, DEFAULT_LIMIT).unwrap()
}

fn key(n: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    key[4..8].copy_from_slice(&n.to_be_bytes());
    key
}

/// The files of values.
fn packs(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.join("functions")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "pack")).collect()
}

#[test]
fn values_are_found_at_once_and_by_the_next_process() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("a/b");
    let store = open(&folder);
    assert!(store.get(&key(1)).is_none());
    for n in 0..100 {
        assert!(store.insert(&key(n), vec![n as u8; n as usize * 90]));
    }
    assert_eq!(store.get(&key(70)).unwrap().len(), 6300);
    store.flush();
    assert_eq!(store.get(&key(99)).as_deref(), Some(&[99; 8910][..]));
    drop(store);
    let store = open(&folder);
    assert!((0..100).all(|n| store.get(&key(n)).is_some_and(|v| v.len() == n as usize * 90)));
    let usage = store.usage().unwrap();
    assert_eq!((usage.values, usage.oldest_days), (100, 0));
    assert!(usage.file_bytes >= usage.value_bytes, "{usage:?}");
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&packs(&folder)[0])), (0o700, 0o400));
}

#[test]
fn what_is_dropped_without_a_flush_is_written_too() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    store.insert(&key(1), vec![5]);
    drop(store);
    assert_eq!(open(temp.path()).get(&key(1)).as_deref(), Some(&[5][..]));
}

#[test]
fn the_size_stays_bounded() {
    let temp = tempfile::tempdir().unwrap();
    let limit = 4 << 20;
    let store = DiskStore::open(temp.path(), limit).unwrap();
    for n in 0..4000 {
        store.insert(&key(n), vec![1; 6000]);
    }
    store.flush();
    let usage = store.usage().unwrap();
    assert!(usage.file_bytes <= limit && usage.file_bytes > limit / 4, "{usage:?}");
    store.prune(limit / 8).unwrap();
    let pruned = store.usage().unwrap();
    assert!(pruned.file_bytes <= limit / 8 + limit / 16 && pruned.values > 0, "{pruned:?}");
    assert!(!store.insert(&key(9), vec![0; limit as usize]));
    store.prune(0).unwrap();
    assert_eq!(store.usage().unwrap().values, 0);
}

/// Numbers that look random: the same ones in every run.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn damaged_files_are_as_good_as_none() {
    let sealed = |n: u32| seal(&CacheKey(key(n)), &vec![n as u8; 300 + n as usize]);
    let (mut state, mut lost) = (1, 0);
    for round in 0..200 {
        let temp = tempfile::tempdir().unwrap();
        let open = || DiskStore::open(temp.path(), 1 << 20).unwrap();
        for batch in 0..3 {
            let store = open();
            (batch * 20..batch * 20 + 20).for_each(|n| _ = store.insert(&key(n), sealed(n)));
        }
        let files = packs(temp.path());
        let file = &files[random(&mut state) % files.len()];
        let mut bytes = fs::read(file).unwrap();
        // More in what is not values.
        let at = random(&mut state) % if round % 2 == 0 { bytes.len() } else { 600 };
        let in_use = open();
        let opened = (round % 3 == 0).then(|| in_use.get(&key(0)).is_some());
        match round % 5 {
            0 | 1 => bytes[at] ^= 1 << (round % 8),
            2 => bytes.truncate(at),
            3 => bytes.iter_mut().skip(at).take(4096).for_each(|byte| *byte = random(&mut state) as u8),
            _ => bytes.clear(),
        }
        fs::write(file, &bytes).unwrap();
        for store in [in_use, open()] {
            for n in 0..60 {
                let found = store.get(&key(n));
                let found = found.as_deref().and_then(|found| unseal(&CacheKey(key(n)), found));
                assert!(found.is_none_or(|value| value == &vec![n as u8; 300 + n as usize][..]));
                lost += u32::from(found.is_none());
                // Whoever finds nothing makes it again.
                if found.is_none() {
                    assert!(store.insert(&key(n), sealed(n)));
                }
            }
            store.flush();
            store.usage().unwrap();
        }
        let store = open();
        let is_whole = |n: u32| store.get(&key(n)).is_some_and(|v| unseal(&CacheKey(key(n)), &v).is_some());
        assert!((0..60).all(is_whole), "round {round}, opened before: {opened:?}");
        store.prune(0).unwrap();
        assert!(packs(temp.path()).is_empty());
    }
    assert!(lost > 200, "the damages hit nothing");
}

#[test]
fn packs_stay_few_and_lose_nothing() {
    let temp = tempfile::tempdir().unwrap();
    for n in 0..100 {
        let store = open(temp.path());
        store.insert(&key(n), vec![n as u8; 3000 * (n as usize % 7)]);
    }
    assert!(packs(temp.path()).len() < 12, "{:?}", packs(temp.path()));
    let store = open(temp.path());
    assert!((0..100).all(|n| store.get(&key(n)).is_some_and(|v| v.len() == 3000 * (n as usize % 7))));
    // A process that is killed while it writes has nobody who removes what it wrote.
    let left = temp.path().join("functions/1.pack.1-1.tmp");
    fs::write(&left, "unfinished").unwrap();
    store.insert(&key(200), vec![1]);
    store.flush();
    assert!(!left.exists());
}

#[test]
fn processes_find_what_others_write_while_packs_are_merged() {
    let temp = tempfile::tempdir().unwrap();
    std::thread::scope(|s| {
        for t in 0..4 {
            let folder = temp.path();
            s.spawn(move || {
                for n in 0..40 {
                    let store = open(folder);
                    store.insert(&key(t * 1000 + n), vec![t as u8; 5000]);
                    store.flush();
                    let store = open(folder);
                    assert!((0..=n).all(|n| store.get(&key(t * 1000 + n)).is_some()), "thread {t}, {n}");
                }
            });
        }
    });
}

#[test]
fn folders_that_cannot_be_used_are_errors() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    let open = |folder: &Path| DiskStore::open(folder, DEFAULT_LIMIT).map(|_| ());
    assert!(matches!(open(&file.join("sub")), Err(Error::Folder { .. })));
    let shared = temp.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let error = open(&shared).unwrap_err();
    assert!(matches!(error, Error::NotPrivate(_)) && error.to_string().contains("shared"), "{error}");
}

#[test]
fn threads_share_a_store() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    std::thread::scope(|s| {
        for t in 0..4 {
            let store = &store;
            s.spawn(move || {
                for n in 0..300 {
                    let value = vec![n as u8; 500];
                    match store.get(&key(n)) {
                        Some(found) => assert_eq!(&*found, &value[..]),
                        None => assert!(store.insert(&key(n), value)),
                    }
                    if n % 100 == t {
                        store.flush();
                    }
                }
            });
        }
    });
    store.flush();
    assert_eq!(store.usage().unwrap().values, 300);
}
