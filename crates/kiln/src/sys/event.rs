//! Descriptors by which one thread wakes others that wait for descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::io::Errno;

use super::SysError;

/// Something that happens again and again.
#[derive(Debug)]
pub(crate) struct Event(OwnedFd);

impl Event {
    /// An event that has not happened.
    pub(crate) fn new() -> Result<Event, SysError> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Event(fd.map_err(|e| SysError::new("making an event descriptor", e))?))
    }

    /// It happens. One system call, which a signal handler may make.
    pub(crate) fn signal(&self) {
        // The only failure is a counter that is full, after 2^64 signals.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// No time.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A duration for the system, which knows no longer ones than 2^63 seconds.
fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().min(i64::MAX as u64) as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

/// One of many that see the same events, each by itself: a descriptor that is readable from when one of up to two events
/// happens until [`Observer::clear`].
#[derive(Debug)]
pub(crate) struct Observer(OwnedFd);

impl Observer {
    /// Observes events. It may begin as if they had just happened.
    pub(crate) fn new<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Observer, SysError> {
        let error = |e| SysError::new("observing an event descriptor", e);
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(error)?;
        for event in events {
            // Edge-triggered: nobody reads the event's counter, which all observers have in common.
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&fd, &event.0, epoll::EventData::new_u64(0), flags).map_err(error)?;
        }
        Ok(Observer(fd))
    }

    /// Waits until one of the events has happened since the last [`Observer::clear`], or until `until`. May also return for
    /// no reason.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Result<(), SysError> {
        let left = until.map(|u| timespec(u.saturating_duration_since(Instant::now())));
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(SysError::new("waiting for an event", e)),
        }
    }

    /// Forgets what has happened so far.
    pub(crate) fn clear(&self) {
        let mut seen = [const { std::mem::MaybeUninit::uninit() }; 2];
        // A valid descriptor that is not waited for has no way to fail.
        let _ = epoll::wait(&self.0, &mut seen, Some(&NOW));
    }

    /// Whether the event has happened since the last [`Observer::clear`].
    #[cfg(test)]
    fn is_set(&self) -> bool {
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&NOW)).unwrap() == 1
    }
}

impl AsFd for Observer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_observer_sees_each_time() {
        let event = Event::new().unwrap();
        let (a, b) = (Observer::new([&event]).unwrap(), Observer::new([&event]).unwrap());
        for observer in [&a, &b] {
            observer.clear();
            assert!(!observer.is_set());
        }
        for _ in 0..3 {
            event.signal();
            assert!(a.is_set() && b.is_set());
            a.clear();
            assert!(!a.is_set() && b.is_set());
            b.clear();
            assert!(!b.is_set());
        }
        event.signal();
        let late = Observer::new([&event]).unwrap();
        late.clear();
        assert!(!late.is_set());
        event.signal();
        assert!(late.is_set());
    }
}
