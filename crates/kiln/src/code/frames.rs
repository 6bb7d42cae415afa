//! Walking the frames of compiled code.
//!
//! Compiled functions keep frame pointers: at a frame's address stands its caller's frame pointer, above it the return
//! address. A store's newest frames begin at its recorded exit and end at its entry trampoline; those of an entry
//! before that begin at the exit that the activation recorded, and so on.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use kiln_env::layout::{self, Place};
use kiln_env::{FuncKey, TagIndex};

use super::entry::{self, Activation};
use super::{ModuleCode, registry};
use crate::vm::context::{VmStoreContext, VmTag};

/// A frame of compiled code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// Where it goes on: the return address, or the instruction that trapped.
    pub(crate) pc: usize,
    /// Its frame pointer.
    pub(crate) fp: usize,
}

/// A position in compiled code, and the code kept alive so that it can be named later.
#[derive(Clone)]
pub(crate) struct CodeFrame {
    /// Whose code.
    pub(crate) code: Arc<ModuleCode>,
    /// Which function.
    pub(crate) key: FuncKey,
    /// The wasm operator, as an offset into the function's body, if the code stands for one.
    pub(crate) wasm_offset: Option<u32>,
    /// The address.
    #[cfg_attr(not(test), expect(dead_code, reason = "native unwinders are compared with it"))]
    pub(crate) pc: usize,
}

impl fmt::Debug for CodeFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        match self.wasm_offset {
            Some(offset) => write!(f, "@{offset:#x}"),
            None => Ok(()),
        }
    }
}

/// The frames of compiled code at some moment, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawBacktrace {
    /// The frames.
    pub(crate) frames: Vec<CodeFrame>,
    /// Whether older frames are left out. Not how many: that takes a look-up of each, since functions may be inlined.
    pub(crate) truncated: bool,
}

/// Most frames of a backtrace.
const MAX_FRAMES: usize = 128;

/// A backtrace before anyone looked up what the addresses mean. Of fixed size, so that a signal handler can fill it.
pub(super) struct Trace {
    /// The first one is as it is; the others are return addresses. So is the first if `first_returns`.
    pcs: [usize; MAX_FRAMES],
    len: usize,
    first_returns: bool,
    truncated: bool,
}

impl Trace {
    /// No frames.
    pub(super) const EMPTY: Trace = Trace { pcs: [0; MAX_FRAMES], len: 0, first_returns: false, truncated: false };

    /// Fills it with the frames of `store` from `pc` and `fp` on. Neither allocates nor locks.
    ///
    /// # Safety
    /// As for [`walk`].
    pub(super) unsafe fn capture(
        &mut self,
        pc: usize,
        fp: usize,
        returns: bool,
        store: *const VmStoreContext,
        newest: *const Activation,
    ) {
        (self.len, self.first_returns, self.truncated) = (0, returns, false);
        // SAFETY: the caller's promise.
        unsafe {
            walk(Frame { pc, fp }, store, newest, |frame| {
                let Some(place) = self.pcs.get_mut(self.len) else {
                    self.truncated = true;
                    return ControlFlow::Break(());
                };
                *place = frame.pc;
                self.len += 1;
                ControlFlow::Continue(())
            });
        }
    }

    /// Looks the addresses up. One address stands for several frames where functions were inlined.
    pub(super) fn resolve(&self) -> RawBacktrace {
        let mut frames = Vec::new();
        for (i, pc) in self.pcs[..self.len].iter().enumerate() {
            // A return address may be the next function's first byte; the call is before it.
            let returns = i > 0 || self.first_returns;
            registry::lookup(pc - usize::from(returns), *pc, |frame| frames.push(frame));
        }
        // As many frames as without inlining.
        let truncated = self.truncated || frames.len() > MAX_FRAMES;
        frames.truncate(MAX_FRAMES);
        RawBacktrace { frames, truncated }
    }
}

/// Calls `f` for frames of `store`, newest first, beginning with `first`, until it breaks. Neither allocates nor locks.
///
/// # Safety
/// `first` is a frame of the store's newest entry, or has a frame pointer of 0; `newest` is the thread's newest
/// activation. The frames are not overwritten yet.
unsafe fn walk(
    first: Frame,
    store: *const VmStoreContext,
    newest: *const Activation,
    mut f: impl FnMut(Frame) -> ControlFlow<()>,
) {
    // SAFETY: activations in the chain are alive, and so are the frames between an exit and its entry: each has its
    // caller's frame pointer and return address at its frame pointer.
    unsafe {
        let mut frame = first;
        let mut entry_fp = (*store).entry_fp as usize;
        let mut activation = newest;
        loop {
            if entry_fp != 0 {
                // Frame pointers ascend towards the entry.
                while frame.fp != 0 && frame.fp < entry_fp {
                    if f(frame).is_break() {
                        return;
                    }
                    let link = frame.fp as *const usize;
                    frame = Frame { pc: *link.add(1), fp: *link };
                }
            }
            while !activation.is_null() && !std::ptr::eq((*activation).store, store) {
                activation = (*activation).older;
            }
            let Some(older) = activation.as_ref() else { return };
            frame = Frame { pc: older.exit_pc as usize, fp: older.exit_fp as usize };
            entry_fp = older.entry_fp as usize;
            activation = older.older;
        }
    }
}

/// Calls `f` for each frame of compiled code of `store`, newest first, until it breaks: from the newest exit through
/// all entries that are under way on this thread.
///
/// # Safety
/// The calling thread is the one on which the store runs, if it does, and is in the host now.
pub(crate) unsafe fn for_each_frame(store: *const VmStoreContext, f: impl FnMut(Frame) -> ControlFlow<()>) {
    // SAFETY: the store has exited to the host, so that its exit is recorded.
    unsafe {
        let first = Frame { pc: (*store).exit_pc as usize, fp: (*store).exit_fp as usize };
        walk(first, store, entry::newest_activation(), f);
    }
}

/// The frames of compiled code of `store`.
///
/// # Safety
/// As for [`for_each_frame`].
pub(crate) unsafe fn backtrace(store: *const VmStoreContext) -> RawBacktrace {
    let mut trace = Box::new(Trace::EMPTY);
    // SAFETY: the caller's promise.
    unsafe {
        let (pc, fp) = ((*store).exit_pc as usize, (*store).exit_fp as usize);
        trace.capture(pc, fp, true, store, entry::newest_activation());
    }
    trace.resolve()
}

/// Calls `f` with the address of each collected reference that a frame of compiled code of `store` holds.
/// `f` may change the references.
///
/// # Safety
/// As for [`for_each_frame`].
pub(crate) unsafe fn for_each_root(store: *const VmStoreContext, mut f: impl FnMut(*mut u32)) {
    // SAFETY: the frames' code is alive, since the store is. A stack map describes the frame at its return address.
    unsafe {
        for_each_frame(store, |frame| {
            registry::with_code(frame.pc, |code| {
                let Some(func) = code.find(frame.pc - 1) else { return };
                let Some(map) = func.stack_map(frame.pc) else { return };
                let sp = frame.fp - map.fp_to_sp() as usize;
                map.each_slot(&mut |slot| f((sp + slot as usize) as *mut u32));
            });
            ControlFlow::Continue(())
        });
    }
}

/// Where an exception is caught.
pub(super) struct CatchSite {
    pub(super) pc: usize,
    pub(super) sp: usize,
    pub(super) fp: usize,
}

/// The nearest handler for an exception with this tag among the frames of the store's newest entry.
///
/// # Safety
/// As for [`for_each_frame`].
pub(super) unsafe fn find_handler(store: *const VmStoreContext, tag: *const VmTag) -> Option<CatchSite> {
    let mut found = None;
    // SAFETY: the frames' code is alive, since the store is; a handler site describes the frame at its return address.
    unsafe {
        let entry_fp = (*store).entry_fp as usize;
        for_each_frame(store, |frame| {
            if frame.fp >= entry_fp {
                return ControlFlow::Break(());
            }
            found = registry::with_code(frame.pc, |code| handler_in(code, frame, tag)).flatten();
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    found
}

/// # Safety
/// `frame` is alive and its code is `code`.
unsafe fn handler_in(code: &ModuleCode, frame: Frame, tag: *const VmTag) -> Option<CatchSite> {
    let func = code.find(frame.pc - 1)?;
    let site = func.handlers(frame.pc)?;
    let sp = frame.fp - site.fp_to_sp() as usize;
    let handler = site.find(|handler| match (handler.tag, site.context_slot()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(index), Some(slot)) => {
            // SAFETY: the slot of the living frame holds its instance's context.
            unsafe { std::ptr::eq(tag_address(code, *((sp + slot as usize) as *const *mut u8), index), tag) }
        }
    })?;
    Some(CatchSite { pc: func.start + handler.target as usize, sp, fp: frame.fp })
}

/// Address of a tag of the instance with this context.
///
/// # Safety
/// The context belongs to an instance of the code's module.
unsafe fn tag_address(code: &ModuleCode, context: *mut u8, index: TagIndex) -> *const VmTag {
    // SAFETY: the context is laid out like that.
    unsafe {
        debug_assert_eq!(context.cast::<u64>().read(), layout::MAGIC_INSTANCE);
        match code.layout().tag(index) {
            Place::Inline(offset) => context.add(offset as usize).cast(),
            Place::Indirect(offset) => *context.add(offset as usize).cast::<*const VmTag>(),
        }
    }
}
