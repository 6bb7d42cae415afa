//! Native stacks: how large the thread's own is, and a second one for the runtime's own work.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};

use super::mmap::{Access, Mapping, page_size};
use super::{SysError, asm};

/// Bytes at the lower end of a thread's stack that wasm never gets: host functions that wasm calls, trampolines and
/// the frames that compiled code may use below its limit live there.
pub(crate) const HOST_RESERVE: usize = 128 << 10;

/// Address range of a thread's stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StackBounds {
    /// Lowest address that may be used.
    pub(crate) low: usize,
    /// One past the highest.
    pub(crate) high: usize,
    /// Accesses in `guard_low..low` mean that the stack is used up.
    pub(crate) guard_low: usize,
}

thread_local! {
    // A high of 0: not asked for yet. Without a destructor, so that signal handlers may read it.
    static BOUNDS: Cell<StackBounds> = const { Cell::new(StackBounds { low: 0, high: 0, guard_low: 0 }) };
}

/// Bounds of the calling thread's stack; asked for once per thread. `None` if the system does not say.
#[inline]
pub(crate) fn current_bounds() -> Option<StackBounds> {
    let bounds = BOUNDS.get();
    if bounds.high == 0 { ask_bounds() } else { (bounds.high > 1).then_some(bounds) }
}

/// The bounds if they are known already. For signal handlers.
pub(crate) fn known_bounds() -> Option<StackBounds> {
    let bounds = BOUNDS.get();
    (bounds.high > 1).then_some(bounds)
}

#[cold]
fn ask_bounds() -> Option<StackBounds> {
    let bounds = system_bounds();
    BOUNDS.set(bounds.unwrap_or(StackBounds { low: 0, high: 1, guard_low: 0 }));
    bounds
}

fn system_bounds() -> Option<StackBounds> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the calls fill in what they are given, and the attributes are destroyed once.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let (mut address, mut size, mut guard) = (std::ptr::null_mut::<c_void>(), 0, 0);
        let stack = libc::pthread_attr_getstack(attributes.as_ptr(), &mut address, &mut size);
        if libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard) != 0 {
            guard = 0;
        }
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if stack != 0 || size == 0 {
            return None;
        }
        let low = address as usize;
        // The main thread has no guard of its own: the system refuses to let the stack grow any further.
        Some(StackBounds { low, high: low + size, guard_low: low.saturating_sub(guard.max(64 << 10)) })
    }
}

/// The lowest address that wasm may use if it starts here and now and may have `max_wasm_stack` bytes.
///
/// On the thread's own stack [`HOST_RESERVE`] is left free; on a stack that somebody else made nothing is known of it.
#[inline]
pub(crate) fn limit_for(max_wasm_stack: usize) -> usize {
    let sp = asm::stack_pointer();
    let wanted = sp.saturating_sub(max_wasm_stack);
    match current_bounds() {
        Some(bounds) if (bounds.low..bounds.high).contains(&sp) => wanted.max(bounds.low + HOST_RESERVE),
        _ => wanted,
    }
}

/// Bytes of a service stack. Reserved address space: pages are used when they are touched.
const SERVICE_STACK: usize = 4 << 20;

/// Bytes of inaccessible address space below a service stack.
const SERVICE_GUARD: usize = 64 << 10;

/// This thread's second stack.
struct ServiceStack {
    mapping: UnsafeCell<Option<Mapping>>,
    in_use: Cell<bool>,
}

thread_local! {
    static SERVICE: ServiceStack = const { ServiceStack { mapping: UnsafeCell::new(None), in_use: Cell::new(false) } };
}

/// Runs `f` on the thread's service stack, which has megabytes to spare however deep wasm has called.
///
/// Runs it in place if it is on that stack already, while the thread ends, or where the system has no memory for one.
/// A panic comes out again on the stack of the caller.
pub(crate) fn on_service_stack<R>(f: impl FnOnce() -> R) -> R {
    let Some(top) = SERVICE.try_with(ServiceStack::claim).ok().flatten() else {
        return f();
    };
    let mut call = Call { f: Some(f), result: None };
    // SAFETY: `claim` gave the stack to us alone until `release`; `run` takes exactly this `Call` and does not unwind.
    unsafe { asm::call_on_stack(top, call.runner(), (&raw mut call).cast()) };
    SERVICE.with(|s| s.in_use.set(false));
    match call.result.expect("the call sets its result") {
        Ok(result) => result,
        Err(payload) => panic::resume_unwind(payload),
    }
}

impl ServiceStack {
    /// The end of the stack, now in use; `None` if it is in use already or cannot be made.
    fn claim(&self) -> Option<*mut u8> {
        if self.in_use.get() {
            return None;
        }
        // SAFETY: the value belongs to this thread, and nothing between here and the end of the function calls back.
        let mapping = unsafe { &mut *self.mapping.get() };
        if mapping.is_none() {
            match new_service_stack() {
                Ok(new) => *mapping = Some(new),
                Err(error) => {
                    tracing::warn!(%error, "no service stack: running on the thread's own");
                    return None;
                }
            }
        }
        self.in_use.set(true);
        mapping.as_ref().map(|m| m.as_ptr().wrapping_add(m.len()))
    }
}

fn new_service_stack() -> Result<Mapping, SysError> {
    let guard = SERVICE_GUARD.next_multiple_of(page_size());
    let mapping = Mapping::reserve(guard + SERVICE_STACK)?;
    // SAFETY: nobody uses the new mapping yet.
    unsafe { mapping.protect(guard, mapping.len() - guard, Access::ReadWrite)? };
    Ok(mapping)
}

struct Call<F, R> {
    f: Option<F>,
    result: Option<Result<R, Box<dyn Any + Send>>>,
}

impl<F: FnOnce() -> R, R> Call<F, R> {
    /// [`Call::run`] for a call whose types have no names.
    fn runner(&self) -> unsafe extern "C" fn(*mut c_void) {
        Call::<F, R>::run
    }

    /// # Safety
    /// `data` is a `Call` of these types that nobody else uses.
    unsafe extern "C" fn run(data: *mut c_void) {
        // SAFETY: the caller's promise.
        let call = unsafe { &mut *data.cast::<Call<F, R>>() };
        let f = call.f.take().expect("runs once");
        // The closure's state is either consumed or dropped by the unwinding: nothing broken stays visible.
        call.result = Some(panic::catch_unwind(AssertUnwindSafe(f)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_contain_the_stack() {
        for threads in 0..2 {
            let check = || {
                let bounds = current_bounds().unwrap();
                let sp = asm::stack_pointer();
                assert!(bounds.low < sp && sp < bounds.high && bounds.guard_low < bounds.low);
                assert_eq!(current_bounds(), Some(bounds));
                assert_eq!(limit_for(usize::MAX), bounds.low + HOST_RESERVE);
                assert!(limit_for(4096) > bounds.low + HOST_RESERVE);
            };
            if threads == 0 { check() } else { std::thread::spawn(check).join().unwrap() }
        }
    }

    #[test]
    fn service_stack_is_another_one_and_nests() {
        let outside = asm::stack_pointer();
        let (first, nested) = on_service_stack(|| {
            let first = asm::stack_pointer();
            (first, on_service_stack(asm::stack_pointer))
        });
        assert!(outside.abs_diff(first) > SERVICE_STACK / 2);
        assert!(first.abs_diff(nested) < 64 << 10);
        // Deep recursion fits.
        fn deep(n: u32) -> u64 {
            let pad = std::hint::black_box([n as u64; 32]);
            if n == 0 { pad[0] } else { deep(n - 1) + pad[31] }
        }
        assert_eq!(on_service_stack(|| deep(5_000)), 5_000 * 5_001 / 2);
    }

    #[test]
    fn panics_come_back_from_the_service_stack() {
        let caught = panic::catch_unwind(|| on_service_stack(|| panic::resume_unwind(Box::new(7_u32))));
        assert_eq!(*caught.unwrap_err().downcast::<u32>().unwrap(), 7);
        assert_eq!(on_service_stack(|| 3), 3);
    }
}
