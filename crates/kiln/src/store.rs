//! Stores: what belongs together and runs on one thread at a time.

use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Result, ensure};

use crate::engine::Engine;
use crate::limits::{ResourceLimiter, UpdateDeadline};
use crate::trap::Trap;
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

    /// Sets the fuel that code of this store may consume: about one unit for each operator executed, and for bulk operators
    /// (`memory.fill`, `memory.copy`, `memory.init`, `table.fill`, `table.copy`, `table.init`, `table.grow`) one more for each 64
    /// bytes or 8 elements. The total is the same however the code is compiled.
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

    /// When the deadline passes, the guest traps with [`Trap::Interrupt`]. The default.
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

    /// Takes fuel for work that the host does for the guest, such as copying what the guest asked for. Without fuel in the
    /// engine's configuration it costs nothing.
    ///
    /// # Errors
    /// [`Trap::OutOfFuel`] if less is left; all of it is taken then. A host function returns the error
    /// to stop the guest.
    pub fn consume_fuel(&mut self, units: u64) -> Result<()> {
        self.0.charge_fuel(units).map_err(|code| Trap::from(code).into())
    }

    /// Checks whether the epoch deadline has passed, as compiled code does in loops, and if so calls the
    /// [callback](Store::epoch_deadline_callback). Without epochs in the engine's configuration there is no deadline.
    ///
    /// A host function that takes long calls this between pieces of its work that take no more than about a millisecond.
    ///
    /// # Errors
    /// [`Trap::Interrupt`], or the callback's error. A host function returns the error to stop the
    /// guest.
    pub fn check_epoch(&mut self) -> Result<()> {
        self.0.check_epoch()
    }

    /// Waits for something of the host, but no longer than to the epoch deadline. For host functions that wait: for input,
    /// for a time, for another thread.
    ///
    /// `turn` waits until what it waits for has happened, or the descriptor that it is given can be read from, whichever is
    /// first. It does not read from the descriptor. It returns [`Break`](ControlFlow::Break) with a result when it has what it
    /// waited for, and [`Continue`](ControlFlow::Continue) to wait for another turn, for any reason: then the epoch deadline is
    /// checked, as [`check_epoch`](StoreContextMut::check_epoch) does, and `turn` is called again. It is also checked before the
    /// first turn. Without epochs in the engine's configuration there is no descriptor; `turn` then waits without it.
    ///
    /// What cannot be polled, such as opening a FIFO, is done by another thread, which makes a descriptor of its own readable
    /// when it is done (an `eventfd`, a pipe).
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::ops::ControlFlow::{Break, Continue};
    ///
    /// use kiln::*;
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// let engine = Engine::new(Config::new().epoch_interruption(true))?;
    /// let mut store = Store::new(&engine, std::io::pipe()?);
    /// // Reads a byte of the pipe in the store's data.
    /// let read = Func::wrap(&mut store, |mut caller: Caller<'_, (std::io::PipeReader, std::io::PipeWriter)>| -> anyhow::Result<i32> {
    ///     caller.as_context_mut().wait(|mut store, wake| {
    ///         let pipe = &mut store.data_mut().0;
    ///         let mut fds: Vec<_> = [PollFd::new(pipe, PollFlags::IN)].into();
    ///         fds.extend(wake.as_ref().map(|wake| PollFd::new(wake, PollFlags::IN)));
    ///         match poll(&mut fds, None) {
    ///             Ok(_) if fds[0].revents().is_empty() => return Ok(Continue(())),
    ///             Err(rustix::io::Errno::INTR) => return Ok(Continue(())),
    ///             other => other?,
    ///         };
    ///         let mut byte = [0];
    ///         pipe.read_exact(&mut byte)?;
    ///         Ok(Break(i32::from(byte[0])))
    ///     })
    /// });
    /// let read = read.typed::<(), i32>(&store)?;
    ///
    /// store.set_epoch_deadline(1);
    /// store.data_mut().1.write_all(b"k")?;
    /// assert_eq!(read.call(&mut store, ())?, i32::from(b'k'));
    /// // Nothing more is written.
    /// std::thread::spawn(move || engine.increment_epoch());
    /// let error = read.call(&mut store, ()).unwrap_err();
    /// assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
    /// # anyhow::Ok(())
    /// ```
    ///
    /// # Errors
    /// An error of `turn`; [`Trap::Interrupt`], or the error of the epoch callback; the system has no
    /// more descriptors.
    pub fn wait<R>(
        &mut self,
        mut turn: impl FnMut(StoreContextMut<'_, T>, Option<BorrowedFd<'_>>) -> Result<ControlFlow<R>>,
    ) -> Result<R> {
        let waiting = self.0.waiting()?;
        loop {
            if let Some(waiting) = &waiting {
                self.0.begin_wait(waiting)?;
            }
            let wake = waiting.as_ref().map(|waiting| waiting.as_fd());
            if let ControlFlow::Break(result) = turn(StoreContextMut(self.0), wake)? {
                return Ok(result);
            }
        }
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
