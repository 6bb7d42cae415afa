//! Hardware faults in compiled code: which are traps of the guest, and which are crashes.
//!
//! Compiled code relies on faults in few places, each of which can access few addresses. Whatever else faults in it did not
//! do what it was compiled to do: to call that a trap, from which the host goes on, would hide it, and let a guest try again.

use kiln_env::TrapCode;

use super::entry::{leave, newest_activation};
use super::{ModuleCode, arch, registry};
use crate::sys::signals::{Action, Cause, Fault, say};
use crate::sys::{page_size, stack, watch};
use crate::vm::store::StoreOpaque;

/// Decides about a hardware fault; see [`crate::sys::signals`]. Runs in a signal handler.
pub(super) fn on_fault(fault: &Fault) -> Option<Action> {
    if fault.beyond_file
        && let Some(missing) = fault.address.and_then(watch::missing)
    {
        // SAFETY: if it is code that faulted, it is on the stack of a store, which keeps it alive.
        let in_code = unsafe { registry::with_code(fault.pc, |_| ()) }.is_some();
        return match in_code {
            true => leave(fault, TrapCode::FileTruncated),
            false => missing.replace().then_some(Action::Retry),
        };
    }
    // First of all: only a thread that runs our code is sure to have its thread-local storage.
    // SAFETY: the code that faulted is on the stack of a store, which keeps it alive.
    unsafe {
        registry::with_code(fault.pc, |code| {
            let action = trap(fault, code).and_then(|trap| leave(fault, trap));
            if action.is_none() {
                report(fault, code);
            }
            action
        })?
    }
}

/// The trap that a fault in compiled code is.
fn trap(fault: &Fault, code: &ModuleCode) -> Option<TrapCode> {
    if watch::is_behind_end(fault.pc) {
        return Some(TrapCode::FileTruncated);
    }
    let trap = code.find(fault.pc).and_then(|func| func.trap(fault.pc));
    let access = fault.address.filter(|_| fault.cause == Cause::Access);
    // Whatever uses the stack: calls, spills, probes.
    if let (Some(address), None | Some(TrapCode::StackOverflow)) = (access, trap)
        && stack::known_bounds().is_some_and(|stack| (stack.guard_low..stack.low).contains(&address))
    {
        return Some(TrapCode::StackOverflow);
    }
    let trap = trap?;
    let expected = match (fault.cause, trap) {
        (Cause::Access, TrapCode::MemoryOutOfBounds) => access.is_some_and(|at| is_null(at) || is_in_memory(at)),
        // A reference that is null, or an element's address that a failed check has replaced.
        (Cause::Access, TrapCode::TableOutOfBounds | TrapCode::UndefinedElement | TrapCode::NullReference) => {
            access.is_some_and(is_null)
        }
        (Cause::Arithmetic, TrapCode::IntegerDivideByZero | TrapCode::IntegerOverflow) => true,
        // SAFETY: the processor has just read the instruction.
        (Cause::Illegal, _) => unsafe { arch::is_trap(fault.pc as *const u8) },
        _ => false,
    };
    expected.then_some(trap)
}

/// Whether an address is one that an access through a null pointer has.
fn is_null(address: usize) -> bool {
    address < page_size()
}

/// Whether an address lies in one of the memories of the store that runs, accessible or not.
fn is_in_memory(address: usize) -> bool {
    // SAFETY: an activation lives as long as it is in the chain, and its store as long as the activation. The store is lent
    // to the compiled code that faulted, which changes nothing that is looked at.
    unsafe {
        let Some(newest) = newest_activation().as_ref() else { return false };
        let owner = (*newest.store).owner.cast::<StoreOpaque>();
        owner.as_ref().is_some_and(|store| store.has_memory_at(address))
    }
}

/// Says what has happened before the process dies of it. Neither allocates nor locks.
fn report(fault: &Fault, code: &ModuleCode) {
    let Fault { pc, cause, address, .. } = *fault;
    let signal = cause.signal();
    say(format_args!("kiln: crash in compiled code: {signal} at {pc:#x}"));
    if let Some(func) = code.find(pc) {
        say(format_args!(", {} + {:#x}", func.key, pc - func.start));
        if let Some(wasm) = func.positions(pc).next().and_then(|position| position.wasm) {
            say(format_args!(", byte {wasm:#x} of its body"));
        }
        if let Some(trap) = func.trap(pc) {
            say(format_args!(", which may only trap with `{}`", trap.message()));
        }
    }
    match address {
        Some(address) => say(format_args!(", accessing {address:#x}")),
        None if matches!(cause, Cause::Access | Cause::Bus) => {
            say(format_args!(", accessing an address that cannot be"))
        }
        None => {}
    }
    say(format_args!(". This is a fault of Kiln, not of the program: please report it.\n"));
}

#[cfg(all(test, feature = "compiler", feature = "wat"))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use crate::sys::mmap::{Access, Mapping, page_size};
    use crate::*;

    const MODULE: &str = r#"(module (memory (export "memory") 1) (table (export "table") 3 externref)
        (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
        (func (export "store") (param i32) (result i32) (i32.store (local.get 0) (i32.const 1)) (i32.const 0))
        (func (export "get") (param i32) (result i32) (ref.is_null (table.get (local.get 0)))))"#;

    /// What is done to an instance, the function that is called then, and the signal that is to end the process.
    const CASES: [(&str, &str, i32); 6] = [
        ("another reservation", "load", libc::SIGSEGV),
        ("another reservation", "store", libc::SIGSEGV),
        ("unmapped", "load", libc::SIGSEGV),
        ("no address", "load", libc::SIGSEGV),
        ("beyond a file", "load", libc::SIGBUS),
        ("table", "get", libc::SIGSEGV),
    ];

    const MODES: usize = 5;

    fn engine(mode: usize) -> Engine {
        let mut config = Config::new();
        match mode {
            0 => config.tiering(Tiering::Eager),
            1 => config.tiering(Tiering::Eager).memory_reservation(0),
            2 => config.tiering(Tiering::Lazy),
            3 => config.tiering(Tiering::Dynamic).tier_up(TierUp::Never),
            _ => config.tiering(Tiering::Dynamic).tier_up(TierUp::AtOnce),
        };
        Engine::new(&config).unwrap()
    }

    /// An address that an instance has no business with, mapped as long as the process lives.
    fn wrong_address(what: &str) -> *mut u8 {
        match what {
            "unmapped" => std::ptr::without_provenance_mut(page_size()),
            "no address" => std::ptr::without_provenance_mut(1 << 62),
            "beyond a file" => {
                let file = tempfile::tempfile().unwrap();
                let mapping = Mapping::shared_file(std::os::fd::AsFd::as_fd(&file), page_size(), Access::Read).unwrap();
                std::mem::ManuallyDrop::new(mapping).as_ptr()
            }
            _ => std::mem::ManuallyDrop::new(Mapping::reserve(page_size()).unwrap()).as_ptr(),
        }
    }

    /// Runs a case in a mode in this process, which is to die of it.
    fn crash(mode: usize, (what, function, _): (&str, &str, i32)) {
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(rustix::process::Resource::Core, none).unwrap();
        let engine = engine(mode);
        let module = Module::new(&engine, MODULE).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let table = instance.get_table(&mut store, "table").unwrap();
        let function = instance.get_typed_func::<i32, i32>(&mut store, function).unwrap();
        // Real traps are traps.
        let error = function.call(&mut store, 1 << 20).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds)), "{error:?}");
        function.call(&mut store, 0).unwrap();
        let address = wrong_address(what);
        let store_ref = store.as_context_mut().0;
        // SAFETY: none; what a fault of the compiler or the runtime would do is what is tested.
        unsafe {
            match what {
                "table" => (*table.0.get(store_ref).vm().as_ptr()).base = address,
                _ => (*memory.0.get(store_ref).vm().as_ptr()).base = address,
            }
        }
        let result = function.call(&mut store, 0);
        println!("survived: {result:?}");
    }

    #[test]
    fn a_fault_at_an_address_that_no_trap_has_is_a_crash() {
        const CASE: &str = "KILN_TEST_CRASH";
        let (name, all) =
            ("code::fault::tests::a_fault_at_an_address_that_no_trap_has_is_a_crash", CASES.len() * MODES);
        if let Ok(case) = std::env::var(CASE) {
            let case: usize = case.parse().unwrap();
            return crash(case / CASES.len(), CASES[case % CASES.len()]);
        }
        for case in 0..all {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CASE, case.to_string());
            let output = child.output().unwrap();
            let (mode, (what, function, signal)) = (case / CASES.len(), CASES[case % CASES.len()]);
            let context = format!("mode {mode}, {what}, {function}: {output:?}");
            assert_eq!(output.status.signal(), Some(signal), "{context}");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("kiln: crash in compiled code: SIG"), "{context}");
            assert!(stderr.contains("wasm[") && stderr.contains("please report it"), "{context}");
        }
    }
}
