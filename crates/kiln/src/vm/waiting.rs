//! What takes long outside of compiled code: it is paid for with fuel, and ends when the store's epoch deadline passes.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use kiln_env::TrapCode;

use super::store::StoreOpaque;
use crate::engine::Engine;
use crate::sys::SysError;
use crate::sys::event::{Event, Observer};

/// What a store waits with: for the engine's epoch to change, and for other threads.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Of `own` and of the engine's alarm.
    observer: Observer,
    own: Event,
}

impl Waiting {
    /// For stores of this engine.
    pub(crate) fn new(engine: &Engine) -> Result<Waiting, SysError> {
        let own = Event::new()?;
        let observer = Observer::new([engine.alarm()?, &own])?;
        Ok(Waiting { observer, own })
    }

    /// Wakes whoever waits.
    pub(crate) fn wake(&self) {
        self.own.signal();
    }

    /// Waits until it is woken or the epoch changes, or until `until`. May also return for no reason.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Result<(), SysError> {
        self.observer.wait(until)
    }
}

impl AsFd for Waiting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.observer.as_fd()
    }
}

impl StoreOpaque {
    /// Takes fuel for work that is done outside of compiled code. Takes all that is left if that is not enough.
    #[inline]
    pub(crate) fn charge_fuel(&mut self, units: u64) -> Result<(), TrapCode> {
        if units == 0 || !self.has_fuel {
            return Ok(());
        }
        self.vm.fuel = self.vm.fuel.saturating_add_unsigned(units);
        if self.vm.fuel > 0 && !self.refuel() { Err(TrapCode::OutOfFuel) } else { Ok(()) }
    }

    /// Lets what is to happen at the epoch deadline happen, if it has passed.
    pub(crate) fn check_epoch(&mut self) -> Result<()> {
        if self.has_epochs && self.engine().epoch().load(Ordering::Relaxed) >= self.vm.epoch_deadline {
            self.new_epoch()?;
        }
        Ok(())
    }

    /// The same before another turn of waiting: from now on until the epoch changes or somebody wakes it, `waiting` waits.
    pub(crate) fn begin_wait(&mut self, waiting: &Waiting) -> Result<()> {
        waiting.observer.clear();
        // After it is forgotten that the epoch has changed, the change is seen.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.check_epoch()
    }

    /// What to wait with, if there are epochs.
    pub(crate) fn waiting(&mut self) -> Result<Option<Arc<Waiting>>> {
        if !self.has_epochs {
            return Ok(None);
        }
        if self.waiting.is_none() {
            self.waiting = Some(Arc::new(Waiting::new(self.engine())?));
        }
        Ok(self.waiting.clone())
    }
}
