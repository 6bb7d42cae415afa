//! Arguments, environment, clocks, random bytes, scheduling and the end of the program.

use rustix::time::{ClockId, Timespec};

use crate::ctx::Strings;
use crate::pause::Wait;
use crate::{Errno, GuestMemory, I32Exit, WasiCtx};

impl WasiCtx {
    /// `args_get`: writes the arguments, each with a NUL, to `argv_buf` and their addresses to `argv`.
    ///
    /// # Errors
    /// `fault`.
    pub fn args_get(&mut self, memory: &mut GuestMemory<'_>, argv: u32, argv_buf: u32) -> Result<(), Errno> {
        write_strings(&self.args, memory, argv, argv_buf)
    }

    /// `args_sizes_get`: writes the number of arguments and the bytes that they take.
    ///
    /// # Errors
    /// `fault`.
    pub fn args_sizes_get(&mut self, memory: &mut GuestMemory<'_>, count: u32, size: u32) -> Result<(), Errno> {
        write_sizes(&self.args, memory, count, size)
    }

    /// `environ_get`: writes the variables as `NAME=value`, each with a NUL, to `environ_buf` and their
    /// addresses to `environ`.
    ///
    /// # Errors
    /// `fault`.
    pub fn environ_get(&mut self, memory: &mut GuestMemory<'_>, environ: u32, environ_buf: u32) -> Result<(), Errno> {
        write_strings(&self.env, memory, environ, environ_buf)
    }

    /// `environ_sizes_get`: writes the number of variables and the bytes that they take.
    ///
    /// # Errors
    /// `fault`.
    pub fn environ_sizes_get(&mut self, memory: &mut GuestMemory<'_>, count: u32, size: u32) -> Result<(), Errno> {
        write_sizes(&self.env, memory, count, size)
    }

    /// `clock_res_get`: writes the resolution of a clock in nanoseconds.
    ///
    /// # Errors
    /// `inval` for an unknown clock; `fault`.
    pub fn clock_res_get(&mut self, memory: &mut GuestMemory<'_>, id: u32, resolution: u32) -> Result<(), Errno> {
        memory.write_u64(resolution, nanoseconds(rustix::time::clock_getres(clock(id)?))?)
    }

    /// `clock_time_get`: writes the time of a clock in nanoseconds. The host's clocks are read at full
    /// precision whatever `_precision` allows.
    ///
    /// # Errors
    /// `inval` for an unknown clock; `fault`.
    pub fn clock_time_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        id: u32,
        _precision: u64,
        time: u32,
    ) -> Result<(), Errno> {
        memory.write_u64(time, now(clock(id)?)?)
    }

    /// `random_get`: fills `len` bytes at `buf` with random ones.
    ///
    /// # Errors
    /// `fault`, or what the host's generator reports.
    pub fn random_get(&mut self, memory: &mut GuestMemory<'_>, buf: u32, len: u32) -> Result<(), Errno> {
        memory.check(buf, len as usize)?;
        let mut done = memory.done() as u32;
        while done < len {
            let filled = memory.fill(buf + done, len - done, |bytes| {
                self.fill_random(bytes)?;
                Ok(bytes.len())
            })?;
            done += filled as u32;
            if done < len
                && let Some(progress) = memory.progress()
            {
                progress.done = done as usize;
                return Err(progress.pause(Wait::for_nothing()));
            }
        }
        Ok(())
    }

    /// `sched_yield`: lets other threads of the host run.
    ///
    /// # Errors
    /// None.
    pub fn sched_yield(&mut self, _memory: &mut GuestMemory<'_>) -> Result<(), Errno> {
        rustix::thread::sched_yield();
        Ok(())
    }

    /// `proc_exit`: ends the program. The error carries the code to the embedder.
    ///
    /// # Errors
    /// Always.
    pub fn proc_exit(&mut self, code: u32) -> Result<(), I32Exit> {
        Err(I32Exit(code.cast_signed()))
    }

    /// `proc_raise`: sends a signal to the program itself. Guests cannot catch signals, so each has its
    /// default effect: nothing, or the end of the program with 128 plus the number that the signal has
    /// on Linux as exit code, as shells show it. The inner result goes back to the guest: `inval` for a number that
    /// is no signal, `notsup` for signals that stop a process.
    ///
    /// # Errors
    /// Where the signal ends the program.
    pub fn proc_raise(&mut self, signal: u32) -> Result<Result<(), Errno>, I32Exit> {
        match SIGNALS.get(signal as usize) {
            Some(Effect::Ends(number)) => Err(I32Exit(128 + number)),
            Some(Effect::Ignored) => Ok(Ok(())),
            Some(Effect::Stops) => Ok(Err(Errno::Notsup)),
            None => Ok(Err(Errno::Inval)),
        }
    }
}

/// What a signal does to a process that does not handle it.
enum Effect {
    /// Ends it; the number is the signal's on Linux.
    Ends(i32),
    Ignored,
    Stops,
}

/// The signals by their numbers in WASI.
const SIGNALS: [Effect; 31] = {
    use Effect::*;
    [
        Ignored,  // none
        Ends(1),  // hup
        Ends(2),  // int
        Ends(3),  // quit
        Ends(4),  // ill
        Ends(5),  // trap
        Ends(6),  // abrt
        Ends(7),  // bus
        Ends(8),  // fpe
        Ends(9),  // kill
        Ends(10), // usr1
        Ends(11), // segv
        Ends(12), // usr2
        Ends(13), // pipe
        Ends(14), // alrm
        Ends(15), // term
        Ignored,  // chld
        Ignored,  // cont
        Stops,    // stop
        Stops,    // tstp
        Stops,    // ttin
        Stops,    // ttou
        Ignored,  // urg
        Ends(24), // xcpu
        Ends(25), // xfsz
        Ends(26), // vtalrm
        Ends(27), // prof
        Ignored,  // winch
        Ends(29), // poll
        Ends(30), // pwr
        Ends(31), // sys
    ]
};

fn write_sizes(strings: &Strings, memory: &mut GuestMemory<'_>, count: u32, size: u32) -> Result<(), Errno> {
    let (strings, bytes) = strings.sizes();
    memory.write_u32(count, strings)?;
    memory.write_u32(size, bytes)
}

fn write_strings(strings: &Strings, memory: &mut GuestMemory<'_>, pointers: u32, buffer: u32) -> Result<(), Errno> {
    memory.write(buffer, strings.bytes())?;
    let (count, _) = strings.sizes();
    memory.check(pointers, count as usize * 4)?;
    // The buffer lies in memory, so this does not overflow.
    let addresses = strings.starts().iter().flat_map(|start| buffer.wrapping_add(*start).to_le_bytes());
    memory.write(pointers, &addresses.collect::<Vec<u8>>())
}

/// The host's clock for a `clockid`.
pub(crate) fn clock(id: u32) -> Result<ClockId, Errno> {
    match id {
        0 => Ok(ClockId::Realtime),
        1 => Ok(ClockId::Monotonic),
        2 => Ok(ClockId::ProcessCPUTime),
        3 => Ok(ClockId::ThreadCPUTime),
        _ => Err(Errno::Inval),
    }
}

/// The time of a clock in nanoseconds.
pub(crate) fn now(id: ClockId) -> Result<u64, Errno> {
    nanoseconds(rustix::time::clock_gettime(id))
}

/// `overflow` for times before 1970 and after 2554.
fn nanoseconds(time: Timespec) -> Result<u64, Errno> {
    let seconds = u64::try_from(time.tv_sec).map_err(|_| Errno::Overflow)?;
    let nanoseconds = u64::try_from(time.tv_nsec).map_err(|_| Errno::Overflow)?;
    seconds.checked_mul(1_000_000_000).and_then(|time| time.checked_add(nanoseconds)).ok_or(Errno::Overflow)
}

/// The length of a span of nanoseconds in the host's form.
pub(crate) fn timespec(nanoseconds: u64) -> Timespec {
    Timespec { tv_sec: (nanoseconds / 1_000_000_000).cast_signed(), tv_nsec: (nanoseconds % 1_000_000_000) as _ }
}
