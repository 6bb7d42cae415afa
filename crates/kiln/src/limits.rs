//! Limits of what a store may use, and what happens when a deadline passes.

use anyhow::Result;

/// Decides about the growth of memories and tables of a store. See [`Store::limiter`](crate::Store::limiter).
pub trait ResourceLimiter: Send + Sync {
    /// Whether a memory may grow from `current` to `desired` bytes; `maximum` is what its type allows. Asked for new
    /// memories too, with a `current` of 0. Of shared memories each store's limiter is asked for what its own guests want.
    ///
    /// # Errors
    /// An error stops the guest with it, where `false` only lets `memory.grow` return -1.
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool>;

    /// A memory could not grow although [`memory_growing`](ResourceLimiter::memory_growing) allowed it.
    ///
    /// # Errors
    /// An error stops the guest with it.
    fn memory_grow_failed(&mut self, error: anyhow::Error) -> Result<()> {
        let _ = error;
        Ok(())
    }

    /// Whether a table may grow from `current` to `desired` elements; `maximum` is what its type allows.
    ///
    /// # Errors
    /// An error stops the guest with it.
    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool>;

    /// A table could not grow although [`table_growing`](ResourceLimiter::table_growing) allowed it.
    ///
    /// # Errors
    /// An error stops the guest with it.
    fn table_grow_failed(&mut self, error: anyhow::Error) -> Result<()> {
        let _ = error;
        Ok(())
    }

    /// Whether the store's heap, which has the exceptions that guests throw and what host functions give them as `externref`,
    /// may grow from `current` to `desired` bytes. What host values own beside their own size does not count. If it may not
    /// and a collection does not help, the guest traps with [`Trap::AllocationTooLarge`](crate::Trap::AllocationTooLarge).
    ///
    /// Unless it is implemented, [`memory_growing`](ResourceLimiter::memory_growing) is asked, as for one more memory.
    ///
    /// # Errors
    /// An error stops the guest with it.
    fn heap_growing(&mut self, current: usize, desired: usize) -> Result<bool> {
        self.memory_growing(current, desired, None)
    }

    /// How many instances the store may have. Asked once, when the limiter is set.
    fn instances(&self) -> usize {
        DEFAULT_COUNT
    }

    /// How many tables the instances may define. Asked once.
    fn tables(&self) -> usize {
        DEFAULT_COUNT
    }

    /// How many memories the instances may define. Asked once.
    fn memories(&self) -> usize {
        DEFAULT_COUNT
    }
}

/// Instances, tables and memories of a store without a limiter.
pub(crate) const DEFAULT_COUNT: usize = 10_000;

/// A [`ResourceLimiter`] with fixed limits. Made by a [`StoreLimitsBuilder`].
///
/// ```
/// use kiln::{Engine, Store, StoreLimits, StoreLimitsBuilder};
///
/// let limits: StoreLimits = StoreLimitsBuilder::new().memory_size(1 << 20).instances(2).build();
/// let mut store = Store::new(&Engine::default(), limits);
/// store.limiter(|limits| limits);
/// ```
#[derive(Clone, Debug)]
pub struct StoreLimits {
    memory_size: Option<usize>,
    table_elements: Option<usize>,
    instances: usize,
    tables: usize,
    memories: usize,
    trap_on_grow_failure: bool,
}

impl Default for StoreLimits {
    fn default() -> StoreLimits {
        StoreLimits {
            memory_size: None,
            table_elements: None,
            instances: DEFAULT_COUNT,
            tables: DEFAULT_COUNT,
            memories: DEFAULT_COUNT,
            trap_on_grow_failure: false,
        }
    }
}

impl StoreLimits {
    fn decide(&self, what: &str, desired: usize, limit: Option<usize>, maximum: Option<usize>) -> Result<bool> {
        let allowed = limit.is_none_or(|l| desired <= l) && maximum.is_none_or(|m| desired <= m);
        anyhow::ensure!(allowed || !self.trap_on_grow_failure, "forcing trap when growing {what} to {desired}");
        Ok(allowed)
    }
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.decide("memory", desired, self.memory_size, maximum)
    }

    fn memory_grow_failed(&mut self, error: anyhow::Error) -> Result<()> {
        if self.trap_on_grow_failure {
            Err(error.context("forcing a memory growth failure to be a trap"))
        } else {
            Ok(())
        }
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.decide("table", desired, self.table_elements, maximum)
    }

    fn table_grow_failed(&mut self, error: anyhow::Error) -> Result<()> {
        if self.trap_on_grow_failure {
            Err(error.context("forcing a table growth failure to be a trap"))
        } else {
            Ok(())
        }
    }

    fn heap_growing(&mut self, _current: usize, desired: usize) -> Result<bool> {
        Ok(self.memory_size.is_none_or(|limit| desired <= limit))
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

/// Makes [`StoreLimits`].
#[derive(Clone, Debug, Default)]
pub struct StoreLimitsBuilder(StoreLimits);

impl StoreLimitsBuilder {
    /// No limits but 10,000 instances, tables and memories.
    pub fn new() -> StoreLimitsBuilder {
        StoreLimitsBuilder::default()
    }

    /// Bytes that each memory may have, shared ones included, and as many for the store's heap of exceptions and host
    /// references. (The heap grows by 64 KiB at a time.)
    pub fn memory_size(mut self, bytes: usize) -> StoreLimitsBuilder {
        self.0.memory_size = Some(bytes);
        self
    }

    /// Elements that each table may have.
    pub fn table_elements(mut self, elements: usize) -> StoreLimitsBuilder {
        self.0.table_elements = Some(elements);
        self
    }

    /// Instances that the store may have.
    pub fn instances(mut self, count: usize) -> StoreLimitsBuilder {
        self.0.instances = count;
        self
    }

    /// Tables that its instances may define.
    pub fn tables(mut self, count: usize) -> StoreLimitsBuilder {
        self.0.tables = count;
        self
    }

    /// Memories that its instances may define.
    pub fn memories(mut self, count: usize) -> StoreLimitsBuilder {
        self.0.memories = count;
        self
    }

    /// Whether a refused `memory.grow` or `table.grow` stops the guest instead of returning -1.
    pub fn trap_on_grow_failure(mut self, trap: bool) -> StoreLimitsBuilder {
        self.0.trap_on_grow_failure = trap;
        self
    }

    /// The limits.
    pub fn build(self) -> StoreLimits {
        self.0
    }
}

/// What to do when the epoch deadline passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UpdateDeadline {
    /// Go on, until so many epochs from now.
    Continue(u64),
    /// Stop the guest with [`Trap::Interrupt`](crate::Trap::Interrupt).
    Interrupt,
}
