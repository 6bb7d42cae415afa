//! A list that grows while others read it without locks.
//!
//! `models/` explores this file with another `crate::sync`.

use std::ptr;

use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Items of the first bucket; each further bucket is twice as large.
const FIRST: usize = 64;
const BUCKETS: usize = 32;

/// A list to which one thread at a time appends while any number of threads, signal handlers among them, read.
/// Items never move.
#[derive(Debug)]
pub(crate) struct AppendList<T> {
    buckets: [AtomicPtr<T>; BUCKETS],
    len: AtomicUsize,
}

// SAFETY: 1. An item is written before `len` is released past it and is never written again.
// 2. Readers get shared references only, hence `T: Sync`; the list drops its items, hence `T: Send`.
unsafe impl<T: Send + Sync> Sync for AppendList<T> {}

/// Bucket and position in it of item `index`; and the bucket's size.
fn locate(index: usize) -> (usize, usize, usize) {
    let bucket = (index / FIRST + 1).ilog2() as usize;
    let first = FIRST * ((1 << bucket) - 1);
    (bucket, index - first, FIRST << bucket)
}

impl<T> AppendList<T> {
    /// An empty list, which owns no memory.
    pub(crate) fn new() -> AppendList<T> {
        AppendList { buckets: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())), len: AtomicUsize::new(0) }
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Appends an item.
    ///
    /// # Safety
    /// No other thread appends at the same time.
    pub(crate) unsafe fn push(&self, item: T) {
        let len = self.len.load(Ordering::Relaxed);
        let (bucket, at, size) = locate(len);
        let mut items = self.buckets[bucket].load(Ordering::Relaxed);
        if items.is_null() {
            let new: Box<[std::mem::MaybeUninit<T>]> = Box::new_uninit_slice(size);
            items = Box::into_raw(new).cast();
            self.buckets[bucket].store(items, Ordering::Relaxed);
        }
        // SAFETY: the place is within the bucket, and beyond `len`, so that nobody reads it yet.
        unsafe { items.add(at).write(item) };
        self.len.store(len + 1, Ordering::Release);
    }

    /// The item at `index`, if there are so many.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        if index >= self.len() {
            return None;
        }
        let (bucket, at, _) = locate(index);
        let items = self.buckets[bucket].load(Ordering::Relaxed);
        // SAFETY: the index is below the acquired length, so that the item and its bucket are written for good.
        Some(unsafe { &*items.add(at) })
    }

    /// In a list sorted by `before`: how many items are before.
    pub(crate) fn partition_point(&self, mut before: impl FnMut(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(&mut before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl<T> Drop for AppendList<T> {
    fn drop(&mut self) {
        let mut left = self.len.load(Ordering::Relaxed);
        for (bucket, items) in self.buckets.iter().enumerate() {
            let items = items.load(Ordering::Relaxed);
            let size = FIRST << bucket;
            if items.is_null() {
                break;
            }
            let used = left.min(size);
            left -= used;
            // SAFETY: the bucket came from a boxed slice of `size`, of which the first `used` items are written.
            unsafe {
                ptr::drop_in_place(ptr::slice_from_raw_parts_mut(items, used));
                drop(Box::from_raw(ptr::slice_from_raw_parts_mut(items.cast::<std::mem::MaybeUninit<T>>(), size)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_and_are_found() {
        let list = AppendList::new();
        for i in 0..1000_usize {
            // SAFETY: one thread.
            unsafe { list.push(Box::new(i * 2)) };
        }
        assert_eq!(list.len(), 1000);
        assert!((0..1000).all(|i| **list.get(i).unwrap() == i * 2));
        assert_eq!(list.partition_point(|b| **b < 501), 251);
        assert!(list.get(1000).is_none());
    }
}
