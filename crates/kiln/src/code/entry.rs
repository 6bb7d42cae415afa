//! Going into compiled code and coming out of it again, in whatever way.
//!
//! Each entry is an [`Activation`] in a chain of its thread. What stops compiled code (a trap, an error of the host, a
//! panic, an exception) is left with the thread; then control goes back to the newest entry, which hands it over as
//! [`Unwound`]. No Rust frame is ever unwound over a frame of compiled code.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_env::TrapCode;
use kiln_env::builtins::FAILED;

use super::fault;
use super::frames::{self, RawBacktrace, Trace};
use crate::sys::signals::{Action, AlternateStack, Fault, Resume};
use crate::sys::{SysError, asm, signals, stack, watch};
use crate::vm::context::{ArrayToWasm, ValRaw, VmContext, VmContextHeader, VmStoreContext, VmTag};
use crate::vm::store::StoreOpaque;

/// An entry into compiled code that has not been left yet, and what the store's context held before it.
///
/// `exit_pc` and `exit_fp` are apart so that they are copied one by one: one wide load right after the two narrow stores
/// of the last entry's end would wait for these to leave the store buffer.
#[repr(C)]
pub(super) struct Activation {
    /// The exit to the host during which this entry happened.
    pub(super) exit_pc: u64,
    /// The next older one of the thread.
    pub(super) older: *const Activation,
    /// Frame pointer at that exit.
    pub(super) exit_fp: u64,
    /// The store that was entered.
    pub(super) store: *mut VmStoreContext,
    /// Frame pointer of the store's next older entry trampoline, or 0.
    pub(super) entry_fp: u64,
}

/// What the runtime keeps for each thread. Without destructor, so that a signal handler may use it.
struct Thread {
    /// The newest activation.
    newest: Cell<*const Activation>,
    /// Whether the thread is prepared for signals.
    prepared: Cell<bool>,
    /// The trap that a signal handler found.
    trap: Cell<Option<Trap>>,
    /// Why compiled code is to be left, if it is not a trap found by a signal handler. Owned.
    pending: Cell<*mut Pending>,
    /// Where compiled code was left.
    trace: UnsafeCell<Trace>,
}

#[derive(Clone, Copy)]
struct Trap {
    code: TrapCode,
    address: Option<usize>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            newest: Cell::new(ptr::null()),
            prepared: Cell::new(false),
            trap: Cell::new(None),
            pending: Cell::new(ptr::null_mut()),
            trace: UnsafeCell::new(Trace::EMPTY),
        }
    };
    static ALTERNATE_STACK: Cell<Option<AlternateStack>> = const { Cell::new(None) };
}

/// Whether threads must be prepared before they enter compiled code.
static SIGNALS: AtomicBool = AtomicBool::new(false);

/// Why compiled code is to be left.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A trap that the runtime found.
    Trap(TrapCode),
    /// A function could not be compiled.
    CompileFailed(anyhow::Error),
    /// An error of a host function.
    Error(anyhow::Error),
    /// A panic of a host function or of the runtime.
    Panic(Box<dyn Any + Send>),
    /// A wasm exception. The only one that compiled code can catch.
    Exception {
        /// The exception object.
        reference: u32,
        /// Identity of its tag.
        tag: *const VmTag,
    },
}

/// Compiled code was left before it was done.
pub(crate) struct Unwound {
    /// Why.
    pub(crate) reason: Reason,
    /// Where it was then.
    pub(crate) backtrace: RawBacktrace,
}

/// Why compiled code was left.
pub(crate) enum Reason {
    /// It trapped.
    Trap {
        /// Why.
        code: TrapCode,
        /// The address it could not access, where an access trapped.
        fault_address: Option<usize>,
        /// For [`TrapCode::CompileFailed`]: the compiler's error.
        source: Option<anyhow::Error>,
    },
    /// A host function failed.
    Error(anyhow::Error),
    /// A host function panicked. The panic continues when the caller resumes it.
    Panic(Box<dyn Any + Send>),
    /// It threw an exception and did not catch it.
    Exception {
        /// The exception object. The collector does not know of this reference.
        reference: u32,
        /// Identity of its tag.
        tag: *const VmTag,
    },
}

impl fmt::Debug for Unwound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Trap { code, fault_address, source } => {
                write!(f, "trap {code:?} at {fault_address:x?}: {source:?}")
            }
            Reason::Error(error) => write!(f, "error {error:?}"),
            Reason::Panic(_) => f.write_str("panic"),
            Reason::Exception { reference, tag } => write!(f, "exception {reference} of tag {tag:?}"),
        }?;
        write!(f, " in {:?}", self.backtrace)
    }
}

/// Lets hardware faults of compiled code become traps: installs signal handlers, once per process.
/// From then on every thread that enters compiled code gets an alternate signal stack.
pub(crate) fn install_signal_handlers() -> Result<(), SysError> {
    signals::install(fault::on_fault)?;
    SIGNALS.store(true, Ordering::Relaxed);
    Ok(())
}

/// Calls compiled code. `Err` if it did not return.
///
/// Sets the stack limit: `max_wasm_stack` bytes from here for the outermost entry into the store, and never more than
/// the thread's stack allows.
///
/// # Safety
/// `trampoline` is of the type of the function at `code` and `callee` is that function's context, in `store`.
/// `values` has room for parameters and results, and holds the parameters. All code that this runs is kept alive by
/// the store, which nobody else uses meanwhile.
#[inline]
pub(crate) unsafe fn enter(
    store: *mut VmStoreContext,
    max_wasm_stack: usize,
    trampoline: ArrayToWasm,
    callee: *mut VmContext,
    code: *const u8,
    values: *mut ValRaw,
) -> Result<(), Box<Unwound>> {
    THREAD.with(|thread| {
        if SIGNALS.load(Ordering::Relaxed) && !thread.prepared.get() {
            prepare(thread)?;
        }
        // SAFETY: store and callee are valid, says the caller; the activation outlives the call, and the chain is put
        // back when it ends, which the trampoline always does by returning here.
        let returned = unsafe {
            let activation = Activation {
                older: thread.newest.get(),
                store,
                entry_fp: (*store).entry_fp,
                exit_pc: (*store).exit_pc,
                exit_fp: (*store).exit_fp,
            };
            if activation.entry_fp == 0 {
                (*store).stack_limit = stack::limit_for(max_wasm_stack) as u64;
            }
            (*callee).header.stack_limit = (*store).stack_limit;
            thread.newest.set(&raw const activation);
            let returned = trampoline(callee, code, values);
            thread.newest.set(activation.older);
            (*store).exit_pc = activation.exit_pc;
            (*store).exit_fp = activation.exit_fp;
            returned
        };
        if returned == 0 { Err(unwound(thread)) } else { Ok(()) }
    })
}

/// Gives the thread its alternate signal stack. It is freed when the thread ends.
#[cold]
fn prepare(thread: &Thread) -> Result<(), Box<Unwound>> {
    let installed = AlternateStack::install();
    let result = installed.map(|new| {
        // While the thread's destructors run there is no more chance to free it.
        let leaked = ALTERNATE_STACK.try_with(|stack| stack.set(Some(new))).is_err();
        if leaked {
            tracing::debug!("a thread entered wasm while it ended: its signal stack is not freed");
        }
        // Asking for the bounds is not possible later, in the signal handler.
        let _ = stack::current_bounds();
        thread.prepared.set(true);
    });
    result.map_err(|e| {
        let error = anyhow::Error::from(e).context("preparing the thread for signals");
        Box::new(Unwound { reason: Reason::Error(error), backtrace: RawBacktrace::default() })
    })
}

/// What the thread left when it left compiled code.
#[cold]
fn unwound(thread: &Thread) -> Box<Unwound> {
    // SAFETY: only the signal handler and `raise` write it, both of which ended by coming here.
    let backtrace = unsafe { (*thread.trace.get()).resolve() };
    let reason = match (thread.trap.take(), take_pending(thread)) {
        (Some(trap), _) => Reason::Trap { code: trap.code, fault_address: trap.address, source: None },
        (None, Some(pending)) => match *pending {
            Pending::Trap(code) => Reason::Trap { code, fault_address: None, source: None },
            Pending::CompileFailed(error) => {
                Reason::Trap { code: TrapCode::CompileFailed, fault_address: None, source: Some(error) }
            }
            Pending::Error(error) => Reason::Error(error),
            Pending::Panic(payload) => Reason::Panic(payload),
            Pending::Exception { reference, tag } => Reason::Exception { reference, tag },
        },
        (None, None) => Reason::Error(anyhow::anyhow!("internal error: wasm was left without a reason")),
    };
    Box::new(Unwound { reason, backtrace })
}

fn take_pending(thread: &Thread) -> Option<Box<Pending>> {
    let pending = thread.pending.replace(ptr::null_mut());
    // SAFETY: `set_pending` put it there, out of a box; it is taken once.
    (!pending.is_null()).then(|| unsafe { Box::from_raw(pending) })
}

/// Notes why compiled code of this thread is to be left. The caller then tells compiled code that it failed.
/// Replaces what was noted before.
pub(crate) fn set_pending(pending: Pending) {
    let new = Box::into_raw(Box::new(pending));
    drop(THREAD.with(|thread| {
        let old = take_pending(thread);
        thread.pending.set(new);
        old
    }));
}

/// Runs the body of a fallible builtin: [`FAILED`], and the reason noted, if it fails or panics.
#[inline]
pub(crate) fn catch_builtin(f: impl FnOnce() -> Result<u64, Pending>) -> u64 {
    caught(FAILED, || match f() {
        Ok(value) if !watch::any_damage() => value,
        Ok(value) => check_files(FAILED, value),
        Err(pending) => failed(FAILED, pending),
    })
}

/// Runs the body of a host function in the array convention: 1, or 0 and the reason noted if it fails or panics.
#[inline]
pub(crate) fn catch_host(f: impl FnOnce() -> Result<(), Pending>) -> u64 {
    caught(0, || match f() {
        Ok(()) if !watch::any_damage() => 1,
        Ok(()) => check_files(0, 1),
        Err(pending) => failed(0, pending),
    })
}

/// Runs `f`; `failure`, and the panic noted, if it panics.
///
/// Only an integer comes out of `f`: of a larger result its parts would be written one by one and read back as a whole,
/// for which processors wait as long as for the rest of a call.
#[inline]
fn caught(failure: u64, f: impl FnOnce() -> u64) -> u64 {
    // A panic is passed on, by `enter`, to whoever owns what the closure uses.
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => value,
        Err(payload) => failed(failure, Pending::Panic(payload)),
    }
}

#[cold]
fn failed(failure: u64, pending: Pending) -> u64 {
    set_pending(pending);
    failure
}

/// After some file has become shorter: `value`, or `failure` if it is one whose code or data the newest activation's store
/// uses.
#[cold]
fn check_files(failure: u64, value: u64) -> u64 {
    // SAFETY: an activation lives as long as it is in the chain, and its store as long as the activation; the store
    // waits for the host function that this ends.
    let damaged = THREAD.with(|thread| unsafe {
        let newest = thread.newest.get().as_ref();
        newest.is_some_and(|newest| (*(*newest.store).owner.cast::<StoreOpaque>()).uses_damaged_file())
    });
    if damaged { failed(failure, Pending::Trap(TrapCode::FileTruncated)) } else { value }
}

/// Notes the exit of compiled code to the runtime, for the newest activation.
///
/// # Safety
/// The newest activation's compiled code has just called; `pc` is the return address and `fp` the frame pointer of
/// the calling frame.
pub(super) unsafe fn record_exit(pc: usize, fp: usize) {
    THREAD.with(|thread| {
        // SAFETY: an activation lives as long as it is in the chain, and its store as long as the activation.
        unsafe {
            let store = (*thread.newest.get()).store;
            (*store).exit_pc = pc as u64;
            (*store).exit_fp = fp as u64;
        }
    });
}

/// Builtin [`kiln_env::Builtin::Raise`]: goes to the nearest handler of what is pending.
///
/// # Safety
/// Called by a trampoline that recorded the exit, with the context of its caller. Frames between here and that
/// trampoline own nothing.
pub(crate) unsafe extern "C" fn raise(context: *mut VmContext) -> ! {
    // SAFETY: the context is valid, be it a host function's, which is less aligned, and with it its store; the rest is
    // the caller's promise.
    unsafe { raise_in((*context.cast::<VmContextHeader>()).store.cast()) }
}

/// The same for the store of the newest activation.
///
/// # Safety
/// The exit is recorded. Frames between here and it own nothing.
pub(super) unsafe fn raise_newest() -> ! {
    // SAFETY: there is an activation; the rest is the caller's promise.
    unsafe { raise_in(THREAD.with(|thread| (*thread.newest.get()).store)) }
}

/// # Safety
/// As for [`raise`].
unsafe fn raise_in(store: *mut VmStoreContext) -> ! {
    THREAD.with(|thread| {
        // SAFETY: what is pending is owned by the thread; nobody else looks at it now.
        let exception = match unsafe { thread.pending.get().as_ref() } {
            Some(Pending::Exception { reference, tag }) => Some((*reference, *tag)),
            _ => None,
        };
        // SAFETY: the exit is recorded, so that the frames up to the entry can be walked, and a handler found in one
        // of them expects to be resumed. The entry's handler likewise.
        unsafe {
            if let Some((reference, tag)) = exception
                && let Some(handler) = frames::find_handler(store, tag)
            {
                drop(take_pending(thread));
                asm::resume(handler.sp, handler.fp, handler.pc, u64::from(reference));
            }
            let newest = thread.newest.get();
            (*thread.trace.get()).capture((*store).exit_pc as usize, (*store).exit_fp as usize, true, store, newest);
            let record = &*store;
            asm::resume(record.entry_sp as usize, record.entry_fp as usize, record.entry_handler as usize, 0)
        }
    })
}

/// Leaves the compiled code that faulted, with a trap. `None` if the thread runs no compiled code. For signal handlers.
pub(super) fn leave(fault: &Fault, code: TrapCode) -> Option<Action> {
    THREAD.with(|thread| {
        let newest = thread.newest.get();
        if newest.is_null() {
            return None;
        }
        thread.trap.set(Some(Trap { code, address: fault.address }));
        // SAFETY: the newest activation runs compiled code, or there would be no fault in it; its frames are linked.
        unsafe {
            let store = (*newest).store;
            (*thread.trace.get()).capture(fault.pc, fault.fp, false, store, newest);
            let record = &*store;
            Some(Action::Resume(Resume {
                pc: record.entry_handler as usize,
                sp: record.entry_sp as usize,
                fp: record.entry_fp as usize,
            }))
        }
    })
}

/// The newest activation of the calling thread, or null.
pub(super) fn newest_activation() -> *const Activation {
    THREAD.with(|thread| thread.newest.get())
}
