//! Where compiled functions are kept from one compilation to the next.
//!
//! A store maps keys to values, both opaque to it. What it gives back is not trusted: every value carries its own hash,
//! so that a store may forget, lose and damage what it likes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Bytes of a key: a BLAKE3 hash.
pub const KEY_BYTES: usize = 32;

/// The name of a value in a store: a hash of everything that the value depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(pub [u8; KEY_BYTES]);

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Keeps values under keys: for the process, or beyond it. Called by any number of threads at once.
pub trait CacheStore: Send + Sync {
    /// The value under `key`, if there is one. Anything else than what was inserted is as good as none.
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>>;

    /// Keeps `value` under `key` for as long as the store sees fit; whether it took it.
    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool;
}

/// A store in this process's memory. It grows without bound.
#[derive(Default)]
pub struct MemoryStore {
    values: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// The number of values, and of their bytes.
    pub fn len(&self) -> (usize, usize) {
        let values = self.lock();
        (values.len(), values.values().map(Vec::len).sum())
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Changes every value, to test what becomes of damage.
    pub fn for_each_value(&self, mut change: impl FnMut(&[u8], &mut Vec<u8>)) {
        self.lock().iter_mut().for_each(|(key, value)| change(key, value));
    }

    /// Forgets the values for which `keep` is false.
    pub fn retain(&self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.lock().retain(|key, value| keep(key, value));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Vec<u8>>> {
        // Nothing is left half done under this lock.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.lock().get(key).cloned().map(Cow::Owned)
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.lock().insert(key.to_owned(), value);
        true
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (values, bytes) = self.len();
        f.debug_struct("MemoryStore").field("values", &values).field("bytes", &bytes).finish()
    }
}

/// Bytes of the hash in front of a sealed value.
const SEAL: usize = 16;

/// A value as a store gets it: behind a hash of itself and its key.
pub fn seal(key: &CacheKey, value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SEAL + value.len());
    sealed.extend_from_slice(&hash(key, value));
    sealed.extend_from_slice(value);
    sealed
}

/// The value that [`seal`] was given for this key; `None` if these are any other bytes.
pub fn unseal<'a>(key: &CacheKey, sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (found, value) = sealed.split_at_checked(SEAL)?;
    (found == hash(key, value)).then_some(value)
}

fn hash(key: &CacheKey, value: &[u8]) -> [u8; SEAL] {
    let whole = blake3::keyed_hash(&key.0, value);
    let mut short = [0; SEAL];
    short.copy_from_slice(&whole.as_bytes()[..SEAL]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_and_exchanged_values_are_noticed() {
        let (key, other) = (CacheKey([1; 32]), CacheKey([2; 32]));
        let sealed = seal(&key, b"value");
        assert_eq!(unseal(&key, &sealed), Some(&b"value"[..]));
        assert_eq!(unseal(&other, &sealed), None);
        assert_eq!(unseal(&key, &sealed[..SEAL - 1]), None);
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&key, &damaged), None);
        }
        assert_eq!(unseal(&key, &seal(&key, b"")), Some(&b""[..]));
    }

    #[test]
    fn memory_stores_keep_what_they_are_given() {
        let store = MemoryStore::new();
        assert!(store.is_empty() && store.get(b"a").is_none());
        assert!(store.insert(b"a", vec![1]) && store.insert(b"a", vec![2, 3]));
        assert_eq!(store.get(b"a").as_deref(), Some(&[2, 3][..]));
        assert_eq!(store.len(), (1, 2));
    }
}
