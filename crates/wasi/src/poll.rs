//! `poll_oneoff`: waits for the first of several events.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::retry_on_intr;
use rustix::time::ClockId;

use crate::abi::{Event, Subscription, SubscriptionUnstable, eventrwflags, eventtype, rights, subclockflags};
use crate::limits::SUBSCRIPTIONS;
use crate::pause::{Handle, Progress, Wait};
use crate::process::{clock, now, timespec};
use crate::table::Table;
use crate::{Errno, GuestMemory, WasiCtx};

impl WasiCtx {
    /// `poll_oneoff`: waits until one of `count` subscriptions at `subscriptions` occurs, writes an event
    /// for each that has, and their number. A subscription that is wrong in itself is an event with an error.
    ///
    /// # Errors
    /// `inval` for no subscription, more than 16,384, or unknown kinds of them; `fault`; `nomem`.
    pub fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: u32,
        events: u32,
        count: u32,
        nevents: u32,
    ) -> Result<(), Errno> {
        self.poll(memory, subscriptions, events, count, nevents, Subscription::SIZE, |memory, at| {
            memory.read(at).map(|bytes| Subscription::from_bytes(&bytes))
        })
    }

    /// `poll_oneoff` of `wasi_unstable`, whose subscriptions are longer.
    ///
    /// # Errors
    /// As [`Self::poll_oneoff`].
    pub fn poll_oneoff_unstable(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: u32,
        events: u32,
        count: u32,
        nevents: u32,
    ) -> Result<(), Errno> {
        self.poll(memory, subscriptions, events, count, nevents, SubscriptionUnstable::SIZE, |memory, at| {
            let old = memory.read(at).map(|bytes| SubscriptionUnstable::from_bytes(&bytes))?;
            let SubscriptionUnstable { userdata, tag, fd, id, timeout, precision, flags } = old;
            let id_or_fd = if tag == eventtype::CLOCK { id } else { fd };
            Ok(Subscription { userdata, tag, id_or_fd, timeout, precision, flags })
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the specification's parameters and the layout")]
    fn poll(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: u32,
        events: u32,
        count: u32,
        nevents: u32,
        size: usize,
        parse: impl Fn(&GuestMemory<'_>, u32) -> Result<Subscription, Errno>,
    ) -> Result<(), Errno> {
        if count == 0 || count > SUBSCRIPTIONS {
            return Err(Errno::Inval);
        }
        memory.check(subscriptions, count as usize * size)?;
        memory.check(events, count as usize * Event::SIZE)?;
        memory.check(nevents, 4)?;
        let mut wanted = Vec::with_capacity(count as usize);
        for index in 0..count {
            wanted.push(parse(memory, subscriptions + index * size as u32)?);
        }
        let start = match memory.progress() {
            Some(Progress { start: Some(start), .. }) => *start,
            _ => now(ClockId::Monotonic)?,
        };
        let mut waiting = Waiting::new(&mut self.fds, &wanted, start)?;
        let occurred = match memory.progress() {
            None => {
                waiting.wait()?;
                waiting.events(&wanted)?
            }
            Some(progress) => {
                let occurred = waiting.events_by_now(&wanted)?;
                if occurred.is_empty() {
                    progress.start = Some(start);
                    let wait = Wait { events: waiting.events_to_come(&wanted), until: waiting.until };
                    return Err(progress.pause(wait));
                }
                occurred
            }
        };
        let mut at = events;
        for event in occurred {
            memory.write(at, &event.to_bytes())?;
            at += Event::SIZE as u32;
        }
        memory.write_u32(nevents, (at - events) / Event::SIZE as u32)
    }
}

/// How the subscription at the same place of the list gets its event.
enum Source {
    /// It occurred already, with this error if it is one.
    Ready(Result<(), Errno>),
    /// At this time of the monotonic clock.
    At(u64),
    /// With the next of the polled descriptors.
    Polled,
}

/// What is waited for.
struct Waiting<'fd> {
    table: &'fd Table,
    sources: Vec<Source>,
    polled: Vec<PollFd<'fd>>,
    /// When the first clock is due, on the monotonic clock; 0 if something occurred already.
    until: Option<u64>,
}

impl<'fd> Waiting<'fd> {
    /// `start` is when the call began.
    fn new(table: &'fd mut Table, wanted: &[Subscription], start: u64) -> Result<Self, Errno> {
        for subscription in wanted {
            // The types decide whether rights are enough; learn them while the table can change.
            if subscription.tag != eventtype::CLOCK
                && let Ok(file) = table.get_mut(subscription.id_or_fd)
            {
                let _ = file.filetype();
            }
        }
        let table = &*table;
        let mut this = Self { table, sources: Vec::with_capacity(wanted.len()), polled: Vec::new(), until: None };
        for subscription in wanted {
            let source = match subscription.tag {
                eventtype::CLOCK => match deadline(subscription, start) {
                    Ok(time) => Source::At(time),
                    Err(errno) => Source::Ready(Err(errno)),
                },
                eventtype::FD_READ => this.add(table, subscription.id_or_fd, rights::FD_READ, PollFlags::IN),
                eventtype::FD_WRITE => this.add(table, subscription.id_or_fd, rights::FD_WRITE, PollFlags::OUT),
                _ => return Err(Errno::Inval),
            };
            let time = match source {
                Source::Ready(_) => Some(0),
                Source::At(time) => Some(time),
                Source::Polled => None,
            };
            this.until = [this.until, time].into_iter().flatten().min();
            this.sources.push(source);
        }
        Ok(this)
    }

    fn add(&mut self, table: &'fd Table, fd: u32, right: u64, events: PollFlags) -> Source {
        let file = match table.get(fd) {
            Ok(file) => file,
            Err(errno) => return Source::Ready(Err(errno)),
        };
        let needed = right | rights::POLL_FD_READWRITE;
        if file.rights & needed != needed {
            return Source::Ready(Err(Errno::Notcapable));
        }
        match file.fd() {
            Some(fd) => {
                self.polled.push(PollFd::from_borrowed_fd(fd, events));
                Source::Polled
            }
            // What lies in memory never blocks.
            None => Source::Ready(Ok(())),
        }
    }

    /// The events that have occurred already.
    fn events_by_now(&mut self, wanted: &[Subscription]) -> Result<Vec<Event>, Errno> {
        if !self.polled.is_empty() {
            let zero = timespec(0);
            retry_on_intr(|| rustix::event::poll(&mut self.polled, Some(&zero)))?;
        }
        self.events(wanted)
    }

    /// The descriptors that are polled.
    fn events_to_come(&self, wanted: &[Subscription]) -> Vec<(Handle, PollFlags)> {
        let polled = self.sources.iter().zip(wanted).filter(|(source, _)| matches!(source, Source::Polled));
        let handle = |subscription: &Subscription| self.table.get(subscription.id_or_fd).ok()?.handle();
        polled
            .filter_map(|(_, subscription)| {
                let events = if subscription.tag == eventtype::FD_READ { PollFlags::IN } else { PollFlags::OUT };
                Some((handle(subscription)?, events))
            })
            .collect()
    }

    /// Returns when there is an event.
    fn wait(&mut self) -> Result<(), Errno> {
        loop {
            let rest = match self.until {
                None => None,
                Some(0) => Some(0),
                Some(until) => Some(until.saturating_sub(now(ClockId::Monotonic)?)),
            };
            let timeout = rest.map(timespec);
            match rustix::event::poll(&mut self.polled, timeout.as_ref()) {
                // Interrupted by a signal of the host, or woken a little early.
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) if rest != Some(0) => {}
                result => return result.map(drop).map_err(Errno::from),
            }
        }
    }

    /// The events that occurred, in the order of their subscriptions.
    fn events(&self, wanted: &[Subscription]) -> Result<Vec<Event>, Errno> {
        let time = now(ClockId::Monotonic)?;
        let mut polled = self.polled.iter();
        let mut events = Vec::new();
        for (source, subscription) in self.sources.iter().zip(wanted) {
            let Subscription { userdata, tag, .. } = *subscription;
            let event = Event { userdata, tag, ..Event::default() };
            match source {
                Source::Ready(Ok(())) => events.push(Event { nbytes: 1, ..event }),
                Source::Ready(Err(errno)) => events.push(Event { error: errno.code(), ..event }),
                Source::At(due) if *due <= time => events.push(event),
                Source::At(_) => {}
                Source::Polled => {
                    let Some(polled) = polled.next() else { continue };
                    if !polled.revents().is_empty() {
                        events.push(readiness(polled, event));
                    }
                }
            }
        }
        Ok(events)
    }
}

/// Completes the event of a descriptor that the host reported.
fn readiness(polled: &PollFd<'_>, mut event: Event) -> Event {
    let flags = polled.revents();
    if flags.contains(PollFlags::NVAL) {
        event.error = Errno::Badf.code();
        return event;
    }
    if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
        event.flags = eventrwflags::HANGUP;
    }
    event.nbytes = match event.tag {
        eventtype::FD_READ => readable_bytes(polled.as_fd()),
        // At least one; the host does not say more.
        _ => 1,
    };
    event
}

/// How many bytes can be read without blocking; 0 where the host does not say, as for listening sockets.
fn readable_bytes(fd: BorrowedFd<'_>) -> u64 {
    rustix::io::ioctl_fionread(fd).unwrap_or(0)
}

/// When a clock's subscription is due, on the monotonic clock, if it was made at `start`.
fn deadline(subscription: &Subscription, start: u64) -> Result<u64, Errno> {
    if subscription.flags & !subclockflags::ALL != 0 {
        return Err(Errno::Inval);
    }
    let id = match clock(subscription.id_or_fd)? {
        id @ (ClockId::Realtime | ClockId::Monotonic) => id,
        // Nothing on Linux waits for processor time.
        _ => return Err(Errno::Notsup),
    };
    let delay = if subscription.flags & subclockflags::ABSTIME != 0 {
        subscription.timeout.saturating_sub(now(id)?)
    } else {
        subscription.timeout
    };
    // 0 stands for "occurred already".
    Ok(start.saturating_add(delay).max(1))
}
