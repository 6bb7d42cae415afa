//! Linear memories.

use std::cell::UnsafeCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::engine::Engine;
use crate::store::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::trap::Trap;
use crate::types::MemoryType;
use crate::vm::handle::Handle;
use crate::vm::memory::{self as vm, LinearMemory};
pub use crate::vm::parking::WaitResult;
use crate::vm::shared::SharedMemoryInner;

/// A linear memory of a store. Shared memories are [`SharedMemory`].
///
/// ```
/// use kiln::*;
///
/// let mut store = Store::new(&Engine::default(), ());
/// let memory = Memory::new(&mut store, MemoryType::new(1, Some(2)))?;
/// memory.write(&mut store, 100, b"kiln")?;
/// assert_eq!(&memory.data(&store)[100..104], b"kiln");
/// assert_eq!(memory.grow(&mut store, 1)?, 1);
/// assert_eq!(memory.data_size(&store), 128 << 10);
/// assert!(memory.grow(&mut store, 1).is_err());
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Memory(pub(crate) Handle<LinearMemory>);

/// An access outside a memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("out of bounds memory access")]
#[non_exhaustive]
pub struct MemoryAccessError {}

impl Memory {
    /// Makes a memory, all zero.
    ///
    /// # Errors
    /// The type is of a shared memory; the memory is too large, or the store's limiter refuses.
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Memory> {
        ensure!(!ty.is_shared(), "shared memories are made by SharedMemory::new");
        let store = store.as_context_mut().0;
        Ok(Memory(store.add_memory(&ty.to_env())?))
    }

    /// Its type. Panics if it belongs to another store, as all methods do.
    pub fn ty(&self, store: impl AsContext) -> MemoryType {
        MemoryType::from_env(*self.0.get(store.as_context().0).ty())
    }

    /// Its bytes.
    pub fn data<'a, T: 'static>(&self, store: impl Into<StoreContext<'a, T>>) -> &'a [u8] {
        self.0.get(store.into().0).data()
    }

    /// Its bytes, mutably.
    pub fn data_mut<'a, T: 'static>(&self, store: impl Into<StoreContextMut<'a, T>>) -> &'a mut [u8] {
        self.0.get_mut(store.into().0).data_mut()
    }

    /// Its bytes and the store's data, both mutably.
    pub fn data_and_store_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> (&'a mut [u8], &'a mut T) {
        store.into().0.memory_and_data(self.0)
    }

    /// Reads `buffer.len()` bytes at `offset`.
    ///
    /// # Errors
    /// They are not all within the memory.
    pub fn read(&self, store: impl AsContext, offset: usize, buffer: &mut [u8]) -> Result<(), MemoryAccessError> {
        let context = store.as_context();
        let data = self.0.get(context.0).data();
        let end = offset.checked_add(buffer.len()).ok_or(MemoryAccessError {})?;
        buffer.copy_from_slice(data.get(offset..end).ok_or(MemoryAccessError {})?);
        Ok(())
    }

    /// Writes `buffer` at `offset`.
    ///
    /// # Errors
    /// It does not fit; nothing is written then.
    pub fn write(&self, mut store: impl AsContextMut, offset: usize, buffer: &[u8]) -> Result<(), MemoryAccessError> {
        let context = store.as_context_mut();
        let data = self.0.get_mut(context.0).data_mut();
        let end = offset.checked_add(buffer.len()).ok_or(MemoryAccessError {})?;
        data.get_mut(offset..end).ok_or(MemoryAccessError {})?.copy_from_slice(buffer);
        Ok(())
    }

    /// Size in pages.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.0.get(store.as_context().0).pages()
    }

    /// Bytes of a page: 64 KiB, unless the module says otherwise.
    pub fn page_size(&self, store: impl AsContext) -> u64 {
        1 << self.page_size_log2(store)
    }

    /// Base-2 logarithm of the page size.
    pub fn page_size_log2(&self, store: impl AsContext) -> u8 {
        self.0.get(store.as_context().0).ty().page_size_log2
    }

    /// Size in bytes.
    pub fn data_size(&self, store: impl AsContext) -> usize {
        self.0.get(store.as_context().0).len()
    }

    /// Address of the first byte. It may change when the memory grows, unless it has its whole reservation.
    pub fn data_ptr(&self, store: impl AsContext) -> *mut u8 {
        self.0.get(store.as_context().0).base()
    }

    /// Grows by `delta` pages and returns the old size in pages.
    ///
    /// # Errors
    /// It cannot grow so far.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64) -> Result<u64> {
        let store = store.as_context_mut().0;
        let memory = self.0.ptr(store);
        vm::grow(store, memory, delta)?.context("failed to grow memory")
    }
}

/// A linear memory that stores on several threads may use at once.
///
/// ```
/// use kiln::*;
///
/// let engine = Engine::default();
/// let memory = SharedMemory::new(&engine, MemoryType::shared(1, 4))?;
/// let grower = memory.clone();
/// std::thread::spawn(move || grower.grow(2)).join().unwrap()?;
/// assert_eq!(memory.size(), 3);
/// # anyhow::Ok(())
/// ```
#[derive(Clone)]
pub struct SharedMemory {
    engine: Engine,
    inner: Arc<SharedMemoryInner>,
}

impl SharedMemory {
    /// Makes a shared memory, all zero.
    ///
    /// # Errors
    /// The type is not of a shared memory with a maximum, or the memory is too large.
    pub fn new(engine: &Engine, ty: MemoryType) -> Result<SharedMemory> {
        ensure!(ty.is_shared(), "shared memory must have the `shared` flag enabled on its memory type");
        ensure!(ty.maximum().is_some(), "a shared memory needs a maximum size");
        let inner = SharedMemoryInner::new(&ty.to_env(), engine)?;
        Ok(SharedMemory { engine: engine.clone(), inner })
    }

    pub(crate) fn from_inner(engine: &Engine, inner: Arc<SharedMemoryInner>) -> SharedMemory {
        SharedMemory { engine: engine.clone(), inner }
    }

    pub(crate) fn inner(&self) -> &Arc<SharedMemoryInner> {
        &self.inner
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its type.
    pub fn ty(&self) -> MemoryType {
        MemoryType::from_env(*self.inner.ty())
    }

    /// Size in pages; it may be more at any later time.
    pub fn size(&self) -> u64 {
        self.inner.len() as u64 >> self.inner.ty().page_size_log2
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        1 << self.inner.ty().page_size_log2
    }

    /// Size in bytes; it may be more at any later time.
    pub fn data_size(&self) -> usize {
        self.inner.len()
    }

    /// Reads `buffer.len()` bytes at `offset`. What other threads write meanwhile may be among them or not, byte by byte.
    ///
    /// # Errors
    /// They are not all within the memory.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), MemoryAccessError> {
        if self.inner.read(offset, buffer) { Ok(()) } else { Err(MemoryAccessError {}) }
    }

    /// Writes `buffer` at `offset`. Other threads may see some of the bytes before others.
    ///
    /// # Errors
    /// It does not fit; nothing is written then.
    pub fn write(&self, offset: usize, buffer: &[u8]) -> Result<(), MemoryAccessError> {
        if self.inner.write(offset, buffer) { Ok(()) } else { Err(MemoryAccessError {}) }
    }

    /// Its bytes, which guests on any thread may change at any time. Use atomic accesses.
    pub fn data(&self) -> &[UnsafeCell<u8>] {
        self.inner.data()
    }

    /// Grows by `delta` pages and returns the old size in pages.
    ///
    /// # Errors
    /// It cannot grow so far.
    pub fn grow(&self, delta: u64) -> Result<u64> {
        self.inner.grow(delta).context("failed to grow memory")
    }

    /// Wakes up to `count` threads that wait on `addr`, and returns how many: `memory.atomic.notify`.
    ///
    /// # Errors
    /// `addr` is outside or not aligned.
    pub fn atomic_notify(&self, addr: u64, count: u32) -> Result<u32, Trap> {
        Ok(self.inner.notify(addr, count)?)
    }

    /// Waits while the 32 bits at `addr` are `expected`, at most `timeout` (`None`: forever): `memory.atomic.wait32`.
    ///
    /// # Errors
    /// `addr` is outside or not aligned.
    pub fn atomic_wait32(&self, addr: u64, expected: u32, timeout: Option<Duration>) -> Result<WaitResult, Trap> {
        Ok(self.inner.wait32(addr, expected, timeout)?)
    }

    /// Waits while the 64 bits at `addr` are `expected`, at most `timeout` (`None`: forever): `memory.atomic.wait64`.
    ///
    /// # Errors
    /// `addr` is outside or not aligned.
    pub fn atomic_wait64(&self, addr: u64, expected: u64, timeout: Option<Duration>) -> Result<WaitResult, Trap> {
        Ok(self.inner.wait64(addr, expected, timeout)?)
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("ty", &self.ty()).field("size", &self.size()).finish()
    }
}
