//! Stores: what belongs together and runs on one thread at a time.

use std::fmt;

use anyhow::{Result, ensure};

use crate::engine::Engine;
use crate::limits::{ResourceLimiter, UpdateDeadline};
use crate::vm::handle::Owned;
use crate::vm::store::StoreInner;

/// Owner of instances and of all that they use, with data of type `T` for the host's functions.
///
/// Objects of a store ([`Func`](crate::Func), [`Memory`](crate::Memory), [`Instance`](crate::Instance) …) are small
/// handles. They live until the store is dropped, whatever happens to the handles, so a store is meant for one task,
/// not for the whole life of a process. A handle only works with the store that it belongs to: **methods panic if they
/// are given another store**; where an object of another store is passed as an argument (as an import, or as a
/// function reference), they return an error.
///
/// A store can be sent to another thread if its data can. Code of a store runs on one thread at a time.
///
/// ```
/// use kiln::{Engine, Store};
///
/// let mut store = Store::new(&Engine::default(), 1);
/// *store.data_mut() += 1;
/// assert_eq!(store.into_data(), 2);
/// ```
pub struct Store<T: 'static> {
    inner: Owned<StoreInner<T>>,
}

/// A borrowed store.
pub struct StoreContext<'a, T: 'static>(pub(crate) &'a StoreInner<T>);

/// A mutably borrowed store.
pub struct StoreContextMut<'a, T: 'static>(pub(crate) &'a mut StoreInner<T>);

/// Something that gives access to a store: a [`Store`], a [`Caller`](crate::Caller), a reference to one.
pub trait AsContext {
    /// The store's data.
    type Data: 'static;

    /// Borrows the store.
    fn as_context(&self) -> StoreContext<'_, Self::Data>;
}

/// Something that gives mutable access to a store.
pub trait AsContextMut: AsContext {
    /// Borrows the store mutably.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

impl<T> Store<T> {
    /// An empty store.
    pub fn new(engine: &Engine, data: T) -> Store<T> {
        Store { inner: StoreInner::new(engine, data) }
    }

    /// The data.
    #[inline]
    pub fn data(&self) -> &T {
        self.inner.data()
    }

    /// The data, mutably.
    #[inline]
    pub fn data_mut(&mut self) -> &mut T {
        self.inner.data_mut()
    }

    /// Drops the store and returns the data.
    pub fn into_data(self) -> T {
        StoreInner::into_data(self.inner)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.inner.engine()
    }

    /// Asks the limiter that `limiter` finds in the data before memories and tables are made or grow, and takes its
    /// limits for instances, tables and memories.
    ///
    /// ```
    /// use kiln::{Engine, Store, StoreLimits, StoreLimitsBuilder};
    ///
    /// let limits = StoreLimitsBuilder::new().memory_size(1 << 16).build();
    /// let mut store: Store<StoreLimits> = Store::new(&Engine::default(), limits);
    /// store.limiter(|data| data);
    /// ```
    pub fn limiter(&mut self, limiter: impl FnMut(&mut T) -> &mut (dyn ResourceLimiter) + Send + Sync + 'static) {
        self.inner.set_limiter(limiter);
    }

    /// Sets the fuel that code of this store may consume: about one unit for each operator executed.
    ///
    /// # Errors
    /// The engine is not [configured](crate::Config::consume_fuel) to count fuel.
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.as_context_mut().set_fuel(fuel)
    }

    /// The fuel left.
    ///
    /// # Errors
    /// The engine is not configured to count fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        self.as_context().get_fuel()
    }

    /// Lets code of this store run until the engine's epoch is `ticks_beyond_current` more than now. What happens then,
    /// [`epoch_deadline_trap`](Store::epoch_deadline_trap) and
    /// [`epoch_deadline_callback`](Store::epoch_deadline_callback) say. If the engine is
    /// [configured](crate::Config::epoch_interruption) for epochs, a new store has a deadline that has passed already.
    pub fn set_epoch_deadline(&mut self, ticks_beyond_current: u64) {
        self.inner.set_epoch_deadline(ticks_beyond_current);
    }

    /// When the deadline passes, the guest traps with [`Trap::Interrupt`](crate::Trap::Interrupt). The default.
    pub fn epoch_deadline_trap(&mut self) {
        self.inner.clear_epoch_callback();
    }

    /// When the deadline passes, `callback` decides. An error that it returns stops the guest.
    pub fn epoch_deadline_callback(
        &mut self,
        mut callback: impl FnMut(StoreContextMut<'_, T>) -> Result<UpdateDeadline> + Send + Sync + 'static,
    ) {
        self.inner.set_epoch_callback(move |store| callback(StoreContextMut(store)));
    }

    /// Frees the objects of the store's heap that nothing refers to any more.
    pub fn gc(&mut self) {
        self.as_context_mut().gc();
    }
}

impl<T: fmt::Debug> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("id", &self.inner.id()).field("data", self.data()).finish()
    }
}

impl<'a, T> StoreContext<'a, T> {
    /// The data.
    pub fn data(&self) -> &'a T {
        self.0.data()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.0.engine()
    }

    /// The fuel left: see [`Store::get_fuel`].
    ///
    /// # Errors
    /// The engine is not configured to count fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        ensure!(self.engine().tunables().fuel, "fuel is not configured in this engine");
        Ok(self.0.fuel())
    }
}

impl<'a, T> StoreContextMut<'a, T> {
    /// The data.
    pub fn data(&self) -> &T {
        self.0.data()
    }

    /// The data, mutably.
    pub fn data_mut(&mut self) -> &mut T {
        self.0.data_mut()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.0.engine()
    }

    /// The fuel left: see [`Store::get_fuel`].
    ///
    /// # Errors
    /// The engine is not configured to count fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        self.as_context().get_fuel()
    }

    /// Sets the fuel: see [`Store::set_fuel`].
    ///
    /// # Errors
    /// The engine is not configured to count fuel.
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        ensure!(self.engine().tunables().fuel, "fuel is not configured in this engine");
        self.0.set_fuel(fuel);
        Ok(())
    }

    /// Sets the epoch deadline: see [`Store::set_epoch_deadline`].
    pub fn set_epoch_deadline(&mut self, ticks_beyond_current: u64) {
        self.0.set_epoch_deadline(ticks_beyond_current);
    }

    /// Frees the objects of the store's heap that nothing refers to any more.
    pub fn gc(&mut self) {
        crate::gc::collect(self.0);
    }
}

impl<T> AsContext for Store<T> {
    type Data = T;
    #[inline]
    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(&self.inner)
    }
}

impl<T> AsContextMut for Store<T> {
    #[inline]
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(&mut self.inner)
    }
}

impl<T> AsContext for StoreContext<'_, T> {
    type Data = T;
    #[inline]
    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T> AsContext for StoreContextMut<'_, T> {
    type Data = T;
    #[inline]
    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T> AsContextMut for StoreContextMut<'_, T> {
    #[inline]
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.0)
    }
}

impl<C: AsContext> AsContext for &C {
    type Data = C::Data;
    #[inline]
    fn as_context(&self) -> StoreContext<'_, C::Data> {
        C::as_context(self)
    }
}

impl<C: AsContext> AsContext for &mut C {
    type Data = C::Data;
    #[inline]
    fn as_context(&self) -> StoreContext<'_, C::Data> {
        C::as_context(self)
    }
}

impl<C: AsContextMut> AsContextMut for &mut C {
    #[inline]
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        C::as_context_mut(self)
    }
}

impl<'a, T, C: AsContext<Data = T>> From<&'a C> for StoreContext<'a, T> {
    fn from(c: &'a C) -> StoreContext<'a, T> {
        c.as_context()
    }
}

impl<'a, T, C: AsContextMut<Data = T>> From<&'a mut C> for StoreContextMut<'a, T> {
    fn from(c: &'a mut C) -> StoreContextMut<'a, T> {
        c.as_context_mut()
    }
}
