//! The JIT interface of GDB and LLDB: small ELF objects in memory, in a list that the debugger knows how to find.

use std::ptr;
use std::sync::Mutex;

use super::{NameFn, Placed, unwind};

// The debugger finds both by name. They are weak, since another runtime linked into the process may have them too.
std::arch::global_asm!(
    ".pushsection .text.__jit_debug_register_code,\"ax\",@progbits",
    ".weak __jit_debug_register_code",
    ".type __jit_debug_register_code,@function",
    "__jit_debug_register_code:",
    "ret",
    ".size __jit_debug_register_code, .-__jit_debug_register_code",
    ".popsection",
    ".pushsection .data.__jit_debug_descriptor,\"aw\",@progbits",
    ".weak __jit_debug_descriptor",
    ".type __jit_debug_descriptor,@object",
    ".balign 8",
    "__jit_debug_descriptor:",
    ".long 1",
    ".long 0",
    ".quad 0",
    ".quad 0",
    ".size __jit_debug_descriptor, .-__jit_debug_descriptor",
    ".popsection",
);

/// `struct jit_code_entry`
#[repr(C)]
struct Entry {
    next: *mut Entry,
    previous: *mut Entry,
    object: *const u8,
    object_size: u64,
}

/// `struct jit_descriptor`
#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

const REGISTER: u32 = 1;
const UNREGISTER: u32 = 2;

unsafe extern "C" {
    fn __jit_debug_register_code();
    static mut __jit_debug_descriptor: Descriptor;
}

/// One thread at a time changes the list.
static LIST: Mutex<()> = Mutex::new(());

/// Objects that the debugger knows until this is dropped.
#[derive(Default)]
pub(super) struct Registrations {
    objects: Mutex<Vec<Object>>,
}

struct Object {
    entry: *mut Entry,
    bytes: Box<[u8]>,
}

// SAFETY: the entry is owned, and changed under the list's lock only.
unsafe impl Send for Object {}

impl Registrations {
    /// Tells the debugger about functions: their names, and how to unwind through them.
    pub(super) fn add(&self, functions: &[Placed<'_>], names: &NameFn) {
        if functions.is_empty() {
            return;
        }
        let bytes: Box<[u8]> = elf_object(functions, names).into();
        let entry = Box::into_raw(Box::new(Entry {
            next: ptr::null_mut(),
            previous: ptr::null_mut(),
            object: bytes.as_ptr(),
            object_size: bytes.len() as u64,
        }));
        {
            let _one = LIST.lock().unwrap_or_else(|e| e.into_inner());
            // SAFETY: the list is ours while we hold the lock; the entry and its object live until `drop`.
            unsafe {
                let list = &raw mut __jit_debug_descriptor;
                (*entry).next = (*list).first;
                if !(*entry).next.is_null() {
                    (*(*entry).next).previous = entry;
                }
                (*list).first = entry;
                tell(entry, REGISTER);
            }
        }
        self.objects.lock().unwrap_or_else(|e| e.into_inner()).push(Object { entry, bytes });
    }
}

/// # Safety
/// The list's lock is held and the entry is alive.
unsafe fn tell(entry: *mut Entry, action: u32) {
    // SAFETY: the caller's promise; the function exists for the debugger's breakpoint and does nothing.
    unsafe {
        let list = &raw mut __jit_debug_descriptor;
        (*list).relevant = entry;
        (*list).action = action;
        __jit_debug_register_code();
        (*list).action = 0;
        (*list).relevant = ptr::null_mut();
    }
}

impl Drop for Registrations {
    fn drop(&mut self) {
        let objects = self.objects.get_mut().unwrap_or_else(|e| e.into_inner());
        if objects.is_empty() {
            return;
        }
        let _one = LIST.lock().unwrap_or_else(|e| e.into_inner());
        for Object { entry, bytes } in objects.drain(..) {
            // SAFETY: `add` made the entry and put it into the list, which is ours while we hold the lock.
            unsafe {
                let list = &raw mut __jit_debug_descriptor;
                let (next, previous) = ((*entry).next, (*entry).previous);
                if previous.is_null() {
                    (*list).first = next;
                } else {
                    (*previous).next = next;
                }
                if !next.is_null() {
                    (*next).previous = previous;
                }
                tell(entry, UNREGISTER);
                drop(Box::from_raw(entry));
            }
            drop(bytes);
        }
    }
}

/// Little-endian bytes in the making.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16s(&mut self, values: &[u16]) {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    fn u32s(&mut self, values: &[u32]) {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    fn u64s(&mut self, values: &[u64]) {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    fn align(&mut self) -> u64 {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self.0.len() as u64
    }
}

/// An ELF file that says: at these addresses there are these functions, and this is how to unwind through them.
/// It has no code of its own: the text section only names the addresses.
fn elf_object(functions: &[Placed<'_>], names: &NameFn) -> Vec<u8> {
    use object::elf;
    const TEXT: u16 = 1;
    let start = functions.iter().map(|f| f.range.start).min().unwrap_or(0);
    let end = functions.iter().map(|f| f.range.end).max().unwrap_or(0);
    let text = start..end;
    let mut out = Bytes(vec![0; 64]);

    let frames_at = out.align();
    out.0.extend(unwind::eh_frame(functions).unwrap_or_default());
    let frames_len = out.0.len() as u64 - frames_at;

    let mut strings = vec![0_u8];
    let symbols_at = out.align();
    out.u64s(&[0; 3]);
    for function in functions {
        out.u32s(&[strings.len() as u32]);
        out.0.extend([elf::STB_GLOBAL.0 << 4 | elf::STT_FUNC.0, 0]);
        out.u16s(&[TEXT]);
        out.u64s(&[function.range.start as u64, function.range.len() as u64]);
        strings.extend(names(function.key).bytes().filter(|b| *b != 0));
        strings.push(0);
    }
    let symbols_len = out.0.len() as u64 - symbols_at;
    let strings_at = out.align();
    out.0.extend(&strings);

    let section_names = b"\0.text\0.eh_frame\0.symtab\0.strtab\0.shstrtab\0";
    let section_names_at = out.align();
    out.0.extend(section_names);

    let headers_at = out.align();
    out.u64s(&[0; 8]);
    let mut section =
        |name: u32, kind: u32, flags: u64, address: u64, at: u64, len: u64, link: u32, info: u32, entry| {
            out.u32s(&[name, kind]);
            out.u64s(&[flags, address, at, len]);
            out.u32s(&[link, info]);
            out.u64s(&[8, entry]);
        };
    let (alloc, exec) = (2, 4);
    section(1, 8, alloc | exec, text.start as u64, 0, text.len() as u64, 0, 0, 0);
    section(7, 1, alloc, 0, frames_at, frames_len, 0, 0, 0);
    section(17, 2, 0, 0, symbols_at, symbols_len, 4, 1, 24);
    section(25, 3, 0, 0, strings_at, strings.len() as u64, 0, 0, 0);
    section(33, 3, 0, 0, section_names_at, section_names.len() as u64, 0, 0, 0);

    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let mut header = Bytes(vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    header.u16s(&[2, machine]); // ET_EXEC: symbols are addresses.
    header.u32s(&[1]);
    header.u64s(&[0, 0, headers_at]);
    header.u32s(&[0]);
    header.u16s(&[64, 0, 0, 64, 6, 5]);
    out.0[..64].copy_from_slice(&header.0);
    out.0
}
