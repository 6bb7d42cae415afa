//! The store on disk: what it keeps, what it forgets, and what it survives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kiln_cache::{DEFAULT_LIMIT, DiskStore, Error};
use kiln_env::CacheStore;

fn open(folder: &Path) -> DiskStore {
    DiskStore::open(folder, DEFAULT_LIMIT).unwrap()
}

fn key(n: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    key[4..8].copy_from_slice(&n.to_be_bytes());
    key
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
    assert!(usage.used_bytes >= usage.value_bytes && usage.file_bytes >= usage.used_bytes, "{usage:?}");
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("data.mdb"))), (0o700, 0o600));
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
    assert!(usage.used_bytes <= limit && usage.used_bytes > limit / 4, "{usage:?}");
    store.prune(limit / 8).unwrap();
    let pruned = store.usage().unwrap();
    assert!(pruned.used_bytes <= limit / 8 + limit / 16 && pruned.values > 0, "{pruned:?}");
    assert!(!store.insert(&key(9), vec![0; limit as usize]));
    store.prune(0).unwrap();
    assert_eq!(store.usage().unwrap().values, 0);
}

#[test]
fn damaged_files_are_replaced() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data.mdb");
    let damages: [fn(&Path); 3] = [
        |data| fs::write(data, b"this is no database").unwrap(),
        |data| fs::File::options().write(true).open(data).unwrap().set_len(3 * 4096).unwrap(),
        |data| fs::write(data, vec![0xff; 1 << 16]).unwrap(),
    ];
    for damage in damages {
        let store = open(temp.path());
        (0..200).for_each(|n| _ = store.insert(&key(n), vec![7; 3000]));
        drop(store);
        damage(&data);
        let store = open(temp.path());
        assert!(store.get(&key(3)).is_none());
        store.insert(&key(3), vec![1]);
        drop(store);
        assert!(open(temp.path()).get(&key(3)).is_some());
    }
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
    let again = temp.path().join("again");
    let _first = DiskStore::open(&again, DEFAULT_LIMIT).unwrap();
    assert!(matches!(open(&again), Err(Error::Database { .. })));
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
