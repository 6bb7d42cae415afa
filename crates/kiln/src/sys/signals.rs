//! Hardware faults of compiled code: signal handlers, and the alternate stacks they run on.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SysError;
use super::mmap::{Access, Mapping, page_size};

/// A fault as the system reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Address of the instruction that faulted.
    pub(crate) pc: usize,
    /// Frame pointer at that instruction.
    pub(crate) fp: usize,
    /// What the processor complains about.
    pub(crate) cause: Cause,
    /// The address it could not access, for faults of memory accesses. The processor does not tell it for addresses that
    /// cannot be mapped at all, nor for accesses that are not aligned.
    pub(crate) address: Option<usize>,
    /// Whether there is nothing behind the address although it is mapped: its file has become shorter.
    pub(crate) beyond_file: bool,
}

/// The kind of a fault, by its signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// An access that is not allowed.
    Access,
    /// An access to what is mapped, but is not there.
    Bus,
    /// An instruction that there is none of.
    Illegal,
    /// A division.
    Arithmetic,
}

impl Cause {
    fn of(signal: c_int) -> Cause {
        match signal {
            libc::SIGBUS => Cause::Bus,
            libc::SIGILL => Cause::Illegal,
            libc::SIGFPE => Cause::Arithmetic,
            _ => Cause::Access,
        }
    }

    /// The name of its signal.
    pub(crate) fn signal(self) -> &'static str {
        match self {
            Cause::Access => "SIGSEGV",
            Cause::Bus => "SIGBUS",
            Cause::Illegal => "SIGILL",
            Cause::Arithmetic => "SIGFPE",
        }
    }
}

/// Writes a message to the standard error stream. For signal handlers: neither allocates nor locks.
pub(crate) fn say(message: fmt::Arguments<'_>) {
    struct Stderr;
    impl fmt::Write for Stderr {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            // SAFETY: the bytes are valid; without a standard error stream the call fails.
            let written = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
            if written < 0 { Err(fmt::Error) } else { Ok(()) }
        }
    }
    // There is nobody to tell that there is nobody to tell.
    let _ = fmt::Write::write_fmt(&mut Stderr, message);
}

/// What to do about a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Go on elsewhere.
    Resume(Resume),
    /// Try again: what was missing is there now.
    Retry,
}

/// Where to go on instead of where the fault was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resume {
    /// Next instruction.
    pub(crate) pc: usize,
    /// Stack pointer.
    pub(crate) sp: usize,
    /// Frame pointer.
    pub(crate) fp: usize,
}

/// Decides about a fault: `None` if compiled code has nothing to do with it. Runs in a signal handler: it neither
/// allocates nor locks.
pub(crate) type FaultHook = fn(&Fault) -> Option<Action>;

/// The signals that a fault of an instruction raises.
const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// What the process did on these signals before, written once before the handler that reads it is installed.
struct Previous(UnsafeCell<[MaybeUninit<libc::sigaction>; SIGNALS.len()]>);

// SAFETY: 1. Written by `install` only, under its lock, before the handler of the same signal is installed.
// 2. Read by that handler only, and by it alone changed (to the default action) through system calls, not here.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous = Previous(UnsafeCell::new([const { MaybeUninit::uninit() }; SIGNALS.len()]));
static HOOK: Mutex<Option<FaultHook>> = Mutex::new(None);
static mut HANDLER_HOOK: Option<FaultHook> = None;
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Installs the handlers, once per process; what was there before is called for faults that `hook` declines.
pub(crate) fn install(hook: FaultHook) -> Result<(), SysError> {
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    let mut installed = HOOK.lock().unwrap_or_else(|e| e.into_inner());
    if installed.is_some() {
        return Ok(());
    }
    // SAFETY: no handler that reads it is installed yet, and other writers wait for the lock.
    unsafe { HANDLER_HOOK = Some(hook) };
    for (i, signal) in SIGNALS.into_iter().enumerate() {
        // SAFETY: all zeroes are valid for the structure; the handler has the signature that SA_SIGINFO asks for,
        // and `previous` is not yet read by anyone.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            action.sa_sigaction = on_signal as *const () as usize;
            libc::sigemptyset(&mut action.sa_mask);
            let previous = &raw mut (*PREVIOUS.0.get())[i];
            // The old action must stand before the new one can run, hence two calls.
            if libc::sigaction(signal, ptr::null(), previous.cast()) != 0
                || libc::sigaction(signal, &action, previous.cast()) != 0
            {
                return Err(SysError::last("installing a signal handler"));
            }
        }
    }
    *installed = Some(hook);
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

/// The handler. Asks the hook, else behaves as if it were not there.
unsafe extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system passes valid pointers; the hook was written before this handler was installed.
    unsafe {
        // A signal that somebody sent (code of 0 or less) is no fault, even if it arrives in compiled code.
        if (*info).si_code > 0
            && let Some(hook) = HANDLER_HOOK
        {
            let context = &mut *context.cast::<libc::ucontext_t>();
            let fault = registers::read(context, signal, &*info);
            match hook(&fault) {
                Some(Action::Resume(resume)) => return registers::write(context, &resume),
                Some(Action::Retry) => return,
                None => {}
            }
        }
        chain(signal, info, context);
    }
}

/// Does what would have been done without our handler.
///
/// # Safety
/// Runs in a handler with the arguments of that handler.
unsafe fn chain(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(i) = SIGNALS.iter().position(|s| *s == signal) else { return };
    // SAFETY: `install` wrote the entry before it installed the handler that calls this. The functions called are
    // async-signal-safe; a handler that was installed before is called as the system would call it.
    unsafe {
        let previous = (*PREVIOUS.0.get())[i].assume_init_ref();
        let sent = (*info).si_code <= 0;
        match previous.sa_sigaction {
            libc::SIG_DFL => default_action(signal, sent),
            // The system does not let a fault be ignored: it kills.
            libc::SIG_IGN if sent => {}
            libc::SIG_IGN => default_action(signal, sent),
            handler => {
                let mut block = previous.sa_mask;
                if previous.sa_flags & libc::SA_NODEFER == 0 {
                    libc::sigaddset(&mut block, signal);
                }
                let mut before = MaybeUninit::<libc::sigset_t>::uninit();
                libc::pthread_sigmask(libc::SIG_BLOCK, &block, before.as_mut_ptr());
                if previous.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                        std::mem::transmute(handler);
                    handler(signal, info, context);
                } else {
                    let handler: unsafe extern "C" fn(c_int) = std::mem::transmute(handler);
                    handler(signal);
                }
                libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
            }
        }
    }
}

/// Restores the default action. A fault then happens again when the handler returns; what was sent is sent again.
///
/// # Safety
/// Runs in a handler of `signal`.
unsafe fn default_action(signal: c_int, sent: bool) {
    // SAFETY: all zeroes are the default action with an empty mask; both calls are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &action, ptr::null_mut());
        if sent {
            libc::raise(signal);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::*;

    pub(super) fn read(context: &libc::ucontext_t, signal: c_int, info: &libc::siginfo_t) -> Fault {
        let registers = &context.uc_mcontext.gregs;
        Fault {
            pc: registers[libc::REG_RIP as usize] as usize,
            fp: registers[libc::REG_RBP as usize] as usize,
            cause: Cause::of(signal),
            address: address(signal, info),
            beyond_file: is_beyond_file(signal, info),
        }
    }

    pub(super) fn write(context: &mut libc::ucontext_t, resume: &Resume) {
        let registers = &mut context.uc_mcontext.gregs;
        registers[libc::REG_RIP as usize] = resume.pc as i64;
        registers[libc::REG_RSP as usize] = resume.sp as i64;
        registers[libc::REG_RBP as usize] = resume.fp as i64;
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use super::*;

    pub(super) fn read(context: &libc::ucontext_t, signal: c_int, info: &libc::siginfo_t) -> Fault {
        let registers = &context.uc_mcontext;
        Fault {
            pc: registers.pc as usize,
            fp: registers.regs[29] as usize,
            cause: Cause::of(signal),
            address: address(signal, info),
            beyond_file: is_beyond_file(signal, info),
        }
    }

    pub(super) fn write(context: &mut libc::ucontext_t, resume: &Resume) {
        let registers = &mut context.uc_mcontext;
        registers.pc = resume.pc as u64;
        registers.sp = resume.sp as u64;
        registers.regs[29] = resume.fp as u64;
    }
}

/// What the system says of accesses of which it does not know the address.
const SI_KERNEL: c_int = 0x80;

/// The address of the access that failed. For the other signals the system gives the instruction's.
fn address(signal: c_int, info: &libc::siginfo_t) -> Option<usize> {
    let known = matches!(signal, libc::SIGSEGV | libc::SIGBUS) && info.si_code != SI_KERNEL;
    // SAFETY: the field is valid for these signals.
    known.then(|| unsafe { info.si_addr() } as usize)
}

fn is_beyond_file(signal: c_int, info: &libc::siginfo_t) -> bool {
    signal == libc::SIGBUS && info.si_code == libc::BUS_ADRERR
}

/// Bytes of an alternate signal stack: room for the largest register state (AMX: 11 KiB), for our handler and for
/// those it chains to, such as the Rust library's, which prints.
const ALTERNATE_STACK: usize = 64 << 10;

/// An alternate signal stack that this thread uses, with a guard page below. Dropped by the same thread.
#[derive(Debug)]
pub(crate) struct AlternateStack {
    /// `None`: the thread already had one that is large enough.
    mapping: Option<Mapping>,
}

impl AlternateStack {
    /// Gives the calling thread an alternate signal stack, unless it has one that is large enough.
    pub(crate) fn install() -> Result<AlternateStack, SysError> {
        let mut old = MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: only asks, into a structure that is large enough.
        if unsafe { libc::sigaltstack(ptr::null(), old.as_mut_ptr()) } != 0 {
            return Err(SysError::last("asking for the alternate signal stack"));
        }
        // SAFETY: the call succeeded and filled it in.
        let old = unsafe { old.assume_init() };
        if old.ss_flags & libc::SS_DISABLE == 0 && old.ss_size >= ALTERNATE_STACK {
            return Ok(AlternateStack { mapping: None });
        }
        let guard = page_size();
        let mapping = Mapping::accessible(guard + ALTERNATE_STACK)?;
        // SAFETY: nobody uses the new mapping yet.
        unsafe { mapping.protect(0, guard, Access::None)? };
        let stack = libc::stack_t {
            ss_sp: mapping.as_ptr().wrapping_add(guard).cast(),
            ss_flags: 0,
            ss_size: mapping.len() - guard,
        };
        // SAFETY: the stack is mapped until `drop`, which takes it out of use first.
        if unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } != 0 {
            return Err(SysError::last("setting the alternate signal stack"));
        }
        Ok(AlternateStack { mapping: Some(mapping) })
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        let Some(mapping) = self.mapping.take() else { return };
        // SAFETY: asks for the current stack and switches it off only if it is ours: the one that was there before
        // may be gone by now (the Rust library frees its own before it runs destructors of the thread).
        unsafe {
            let mut current: libc::stack_t = std::mem::zeroed();
            if libc::sigaltstack(ptr::null(), &mut current) == 0 && mapping.contains(current.ss_sp as usize) {
                let off = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
                if libc::sigaltstack(&off, ptr::null_mut()) != 0 {
                    // Unmapping it now would leave the thread with a stack that is gone.
                    std::mem::forget(mapping);
                }
            }
        }
    }
}
