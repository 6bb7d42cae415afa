//! Tests with code assembled by hand. What the compiler makes is run by the tests of the embedding API.
#![cfg(target_arch = "x86_64")]

use std::arch::{global_asm, naked_asm};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use kiln_env::image::ImageFunc;
use kiln_env::layout::{self, context, store_context};
use kiln_env::machine::*;
use kiln_env::{ContextLayout, DefinedFuncIndex, FuncKey, Image, Module, TagIndex, TrapCode, TypeIndex};

use super::entry::{self, Pending, Reason, Unwound, enter};
use super::memory::{CodeMemory, FirstText};
use super::*;
use crate::vm::context::*;

/// No mapping of this process may be written and executed at once.
pub(crate) fn assert_no_writable_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines() {
        let access = line.split(' ').nth(1).unwrap();
        assert!(!(access.contains('w') && access.contains('x')), "{line}");
    }
}

/// An entry trampoline for `i64 -> i64`, as `kiln_env::abi` describes it.
#[unsafe(naked)]
unsafe extern "C" fn enter_i64(callee: *mut VmContext, code: *const u8, values: *mut ValRaw) -> u64 {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov r12, [rdi + {store}]",
        "push qword ptr [r12 + {sp}]",
        "push qword ptr [r12 + {fp}]",
        "push qword ptr [r12 + {handler}]",
        "push rdx",
        "push r12",
        "mov [r12 + {sp}], rsp",
        "mov [r12 + {fp}], rbp",
        "lea rax, [rip + 2f]",
        "mov [r12 + {handler}], rax",
        "mov rax, rsi",
        "mov rsi, [rdx]",
        "call rax",
        "mov rcx, [rsp + 8]",
        "mov [rcx], rax",
        "mov eax, 1",
        "jmp 3f",
        "2:",
        "xor eax, eax",
        "3:",
        "pop r12",
        "pop rdx",
        "pop qword ptr [r12 + {handler}]",
        "pop qword ptr [r12 + {fp}]",
        "pop qword ptr [r12 + {sp}]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        store = const context::store,
        sp = const store_context::entry_sp,
        fp = const store_context::entry_fp,
        handler = const store_context::entry_handler,
    )
}

// Functions in the wasm convention: context in rdi, an i64 in rsi, the result in rax. They are copied into code memory.
global_asm!(
    ".pushsection .rodata",
    ".globl kt_unreachable, kt_unreachable_site, kt_unreachable_end, kt_divide, kt_divide_site, kt_divide_end, kt_load, kt_load_site, kt_load_end, kt_recurse, kt_recurse_site, kt_recurse_end, kt_plunge, kt_plunge_end",
    ".globl kt_increment, kt_increment_end, kt_forward, kt_forward_call, kt_forward_end, kt_fill, kt_fill_call, kt_fill_end, kt_check, kt_check_end, kt_host, kt_host_end, kt_catch, kt_catch_call, kt_catch_return, kt_catch_handler, kt_catch_end",
    // Traps.
    "kt_unreachable: push rbp",
    "mov rbp, rsp",
    "kt_unreachable_site: ud2",
    "kt_unreachable_end:",
    // 1 / the argument, unsigned.
    "kt_divide: push rbp",
    "mov rbp, rsp",
    "xor edx, edx",
    "mov eax, 1",
    "kt_divide_site: div rsi",
    "pop rbp",
    "ret",
    "kt_divide_end:",
    // Loads from the address that is the argument.
    "kt_load: push rbp",
    "mov rbp, rsp",
    "kt_load_site: mov rax, [rsi]",
    "pop rbp",
    "ret",
    "kt_load_end:",
    // Calls itself for ever, with a stack check.
    "kt_recurse: push rbp",
    "mov rbp, rsp",
    "cmp rsp, [rdi + {limit}]",
    "jb kt_recurse_site",
    "call kt_recurse",
    "pop rbp",
    "ret",
    "kt_recurse_site: ud2",
    "kt_recurse_end:",
    // Calls itself for ever, without.
    "kt_plunge: push rbp",
    "mov rbp, rsp",
    "call kt_plunge",
    "pop rbp",
    "ret",
    "kt_plunge_end:",
    // Returns the argument plus 1, from all its registers.
    "kt_increment: push rbp",
    "mov rbp, rsp",
    "lea rax, [rsi + 1]",
    "pop rbp",
    "ret",
    "kt_increment_end:",
    // Calls another function with its own argument.
    "kt_forward: push rbp",
    "mov rbp, rsp",
    "kt_forward_call: call kt_forward_end",
    "pop rbp",
    "ret",
    "kt_forward_end:",
    // Fills all argument registers, calls another function, and returns 1 if that saw them all: see kt_check.
    "kt_fill: push rbp",
    "mov rbp, rsp",
    "mov edx, 3",
    "mov ecx, 4",
    "mov r8d, 5",
    "mov r9d, 6",
    "mov eax, 7",
    "movq xmm7, rax",
    "pshufd xmm7, xmm7, 0x44",
    "movaps xmm0, xmm7",
    "paddq xmm0, xmm7",
    "sub rsp, 16",
    "mov qword ptr [rsp], 9",
    "kt_fill_call: call kt_fill_end",
    "add rsp, 16",
    "pop rbp",
    "ret",
    "kt_fill_end:",
    "kt_check: push rbp",
    "mov rbp, rsp",
    "lea rax, [rsi + rdx]",
    "add rax, rcx",
    "add rax, r8",
    "add rax, r9",
    "movq r10, xmm7",
    "add rax, r10",
    "pextrq r10, xmm7, 1",
    "add rax, r10",
    "pextrq r10, xmm0, 1",
    "add rax, r10",
    "add rax, [rbp + 16]",
    "pop rbp",
    "ret",
    "kt_check_end:",
    // Calls the host function of the context; its trampoline stands in the same piece.
    "kt_host: push rbp",
    "mov rbp, rsp",
    "call 2f",
    "pop rbp",
    "ret",
    "2: push rbp",
    "mov rbp, rsp",
    "mov rax, [rdi + {store}]",
    "mov rcx, [rbp + 8]",
    "mov [rax + {exit_pc}], rcx",
    "mov rcx, [rbp]",
    "mov [rax + {exit_fp}], rcx",
    "sub rsp, 32",
    "mov [rsp], rsi",
    "mov [rsp + 16], rdi",
    "mov rdx, rsp",
    "xor esi, esi",
    "call qword ptr [rdi + {host_call}]",
    "test rax, rax",
    "je 3f",
    "mov rax, [rsp]",
    "mov rsp, rbp",
    "pop rbp",
    "ret",
    "3: mov rdi, [rsp + 16]",
    "call qword ptr [rdi + {raise}]",
    "ud2",
    "kt_host_end:",
    // Calls another function in the reach of a handler that adds 1000 to the exception.
    "kt_catch: push rbp",
    "mov rbp, rsp",
    "sub rsp, 32",
    "mov [rsp + 8], rdi",
    "kt_catch_call: call kt_catch_end",
    "kt_catch_return: mov rsp, rbp",
    "pop rbp",
    "ret",
    "kt_catch_handler: add rax, 1000",
    "mov rsp, rbp",
    "pop rbp",
    "ret",
    "kt_catch_end:",
    ".popsection",
    limit = const context::stack_limit,
    store = const context::store,
    exit_pc = const store_context::exit_pc,
    exit_fp = const store_context::exit_fp,
    host_call = const layout::HOST_ARRAY_CALL,
    raise = const layout::HOST_ARRAY_CALL + 8,
);

macro_rules! labels {
    ($($name:ident)*) => {
        unsafe extern "C" { $(static $name: u8;)* }
    };
}
labels! {
    kt_unreachable kt_unreachable_site kt_unreachable_end kt_divide kt_divide_site kt_divide_end
    kt_load kt_load_site kt_load_end kt_recurse kt_recurse_site kt_recurse_end kt_plunge kt_plunge_end
    kt_increment kt_increment_end kt_forward kt_forward_call kt_forward_end
    kt_fill kt_fill_call kt_fill_end kt_check kt_check_end kt_host kt_host_end
    kt_catch kt_catch_call kt_catch_return kt_catch_handler kt_catch_end
}

/// The address of a label.
macro_rules! at {
    ($label:ident) => {
        (&raw const $label) as usize
    };
}

fn piece(start: usize, end: usize) -> MachineFunc {
    // SAFETY: both are labels of one section, in this order.
    let code = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) }.to_vec();
    MachineFunc { code, align: 16, ..MachineFunc::default() }
}

macro_rules! piece {
    ($start:ident .. $end:ident) => {
        piece(at!($start), at!($end))
    };
}

fn trapping(mut func: MachineFunc, offset: usize, code: TrapCode) -> MachineFunc {
    func.tables.traps.push(TrapSite { offset: offset as u32, code });
    func.tables.addresses.push(AddressEntry { offset: 0, wasm: NO_WASM_OFFSET });
    func.tables.addresses.push(AddressEntry { offset: offset as u32, wasm: 77 });
    func
}

fn calling(mut func: MachineFunc, call: usize, index: u32) -> MachineFunc {
    let target = FuncKey::Wasm(DefinedFuncIndex(index));
    let kind = RelocKind::X86CallPcRel4;
    func.relocs.push(Reloc { offset: call as u32 + 1, kind, target, addend: -4 });
    func.tables.addresses.push(AddressEntry { offset: call as u32, wasm: 55 });
    func
}

fn unreachable_func() -> MachineFunc {
    let func = piece!(kt_unreachable..kt_unreachable_end);
    trapping(func, at!(kt_unreachable_site) - at!(kt_unreachable), TrapCode::Unreachable)
}

fn forward(index: u32) -> MachineFunc {
    calling(piece!(kt_forward..kt_forward_end), at!(kt_forward_call) - at!(kt_forward), index)
}

fn increment() -> MachineFunc {
    piece!(kt_increment..kt_increment_end)
}

fn host() -> MachineFunc {
    piece!(kt_host..kt_host_end)
}

/// The module's only tag is its first.
fn catch(index: u32) -> MachineFunc {
    let offset = |label: usize| label - at!(kt_catch);
    let mut func = calling(piece!(kt_catch..kt_catch_end), offset(at!(kt_catch_call)), index);
    func.tables.handlers.push(HandlerSite {
        offset: offset(at!(kt_catch_return)) as u32,
        fp_to_sp: 32,
        context_slot: Some(8),
        handlers: [Handler { tag: Some(TagIndex(0)), target: offset(at!(kt_catch_handler)) as u32 }].into(),
    });
    func
}

fn all_traps() -> Vec<(MachineFunc, u64, TrapCode)> {
    let recurse = piece!(kt_recurse..kt_recurse_end);
    let recurse = trapping(recurse, at!(kt_recurse_site) - at!(kt_recurse), TrapCode::StackOverflow);
    let divide = piece!(kt_divide..kt_divide_end);
    let divide = trapping(divide, at!(kt_divide_site) - at!(kt_divide), TrapCode::IntegerDivideByZero);
    let load = piece!(kt_load..kt_load_end);
    let load = trapping(load, at!(kt_load_site) - at!(kt_load), TrapCode::MemoryOutOfBounds);
    vec![
        (unreachable_func(), 0, TrapCode::Unreachable),
        (divide, 0, TrapCode::IntegerDivideByZero),
        (load, 8, TrapCode::MemoryOutOfBounds),
        (recurse, 0, TrapCode::StackOverflow),
        (piece!(kt_plunge..kt_plunge_end), 0, TrapCode::StackOverflow),
    ]
}

fn setup() -> CodeSetup {
    // A module with one tag.
    let mut module = Module::default();
    module.tags.push(kiln_env::types::TagType { ty: TypeIndex(0) });
    CodeSetup {
        layout: Arc::new(ContextLayout::new(&module).unwrap()),
        info: Arc::new("information"),
        native_unwind: true,
        gdb: false,
        perf: PerfMode::None,
        names: Arc::new(|key| format!("test {key}")),
    }
}

/// Links functions that call each other into an image.
fn link(funcs: Vec<MachineFunc>) -> Image {
    let mut image = Image::default();
    let mut starts = Vec::new();
    for (i, func) in funcs.iter().enumerate() {
        image.text.resize(image.text.len().next_multiple_of(16), 0xcc);
        starts.push(image.text.len());
        image.text.extend(&func.code);
        image.funcs.push(ImageFunc {
            key: FuncKey::Wasm(DefinedFuncIndex(i as u32)),
            start: starts[i] as u32,
            len: func.code.len() as u32,
            tables: func.tables.clone(),
        });
    }
    for (start, func) in starts.iter().zip(&funcs) {
        for reloc in &func.relocs {
            let FuncKey::Wasm(target) = reloc.target else { panic!("only calls among functions") };
            let code = &mut image.text[*start..];
            reloc.apply(code, *start as u64, starts[target.0 as usize] as u64).unwrap();
        }
    }
    image
}

fn sealed(funcs: Vec<MachineFunc>) -> Arc<ModuleCode> {
    ModuleCode::sealed(link(funcs), setup()).unwrap()
}

fn lazy(funcs: Vec<MachineFunc>) -> Arc<ModuleCode> {
    let count = funcs.len() as u32;
    let compile: CompileFn = Arc::new(move |key| match key {
        FuncKey::Wasm(i) => Ok(funcs[i.0 as usize].clone()),
        other => anyhow::bail!("no {other}"),
    });
    ModuleCode::lazy(count, 0, compile, setup()).unwrap()
}

/// Both forms of code, and the lazy one without executable memory files.
fn each_form(funcs: impl Fn() -> Vec<MachineFunc>, test: impl Fn(Arc<ModuleCode>)) {
    test(sealed(funcs()));
    test(lazy(funcs()));
    let funcs = funcs();
    let count = funcs.len() as u32;
    let compile: CompileFn = Arc::new(move |key| match key {
        FuncKey::Wasm(i) => Ok(funcs[i.0 as usize].clone()),
        other => anyhow::bail!("no {other}"),
    });
    let memory = CodeMemory::reserve(1 << 16, 1 << 24, FirstText::default()).unwrap();
    let form = Form::Lazy(Box::new(lazy::LazyCode::with_memory(memory, count, compile).unwrap()));
    test(Arc::new(ModuleCode { observers: Observers::none(), form, setup: setup() }).observed());
}

/// What the host function does.
type Closure = dyn Fn(&World, u64) -> Result<u64, Pending>;

/// A store, and in it an instance with a host function and a tag.
#[repr(C)]
struct World {
    context: VmContextHeader,
    host: HostArrayCall,
    raise: unsafe extern "C" fn(*mut VmContext) -> !,
    store: VmStoreContext,
    closure: Box<Closure>,
    code: Option<Arc<ModuleCode>>,
    tag: VmTag,
}

unsafe extern "C" fn call_closure(host: *mut VmHostContext, _caller: *mut VmContext, values: *mut ValRaw) -> u64 {
    // SAFETY: the context is the start of a `World`, and the array has one slot.
    let (world, value) = unsafe { (&*host.cast::<World>(), &mut *values) };
    entry::catch_host(|| {
        *value = ValRaw::u64((world.closure)(world, value.get_u64())?);
        Ok(())
    })
}

/// Stack of wasm in these tests.
const STACK: usize = 64 << 10;

impl World {
    fn new(closure: impl Fn(&World, u64) -> Result<u64, Pending> + 'static) -> Box<World> {
        entry::install_signal_handlers().unwrap();
        let mut world = Box::new(World {
            context: VmContextHeader { magic: layout::MAGIC_INSTANCE, ..VmContextHeader::ZERO },
            host: call_closure,
            raise: entry::raise,
            store: VmStoreContext::ZERO,
            closure: Box::new(closure),
            code: None,
            tag: VmTag::ZERO,
        });
        world.context.store = (&raw mut world.store).cast();
        world
    }

    fn plain() -> Box<World> {
        World::new(|_, value| Ok(value))
    }

    fn call_with(&self, stack: usize, code: &ModuleCode, func: u32, value: u64) -> Result<u64, Box<Unwound>> {
        let mut values = [ValRaw::u64(value)];
        let code = code.entry(DefinedFuncIndex(func)).as_ptr();
        let this = std::ptr::from_ref(self).cast_mut();
        // SAFETY: the code was made for this convention and context; nobody keeps references to what it changes.
        unsafe { enter(&raw mut (*this).store, stack, enter_i64, this.cast(), code, values.as_mut_ptr())? };

        Ok(values[0].get_u64())
    }

    fn call(&self, code: &ModuleCode, func: u32, value: u64) -> Result<u64, Box<Unwound>> {
        self.call_with(STACK, code, func, value)
    }

    fn trap(&self, code: &ModuleCode, func: u32, value: u64) -> TrapCode {
        let unwound = self.call(code, func, value).unwrap_err();
        let Reason::Trap { code, .. } = unwound.reason else { panic!("{unwound:?}") };
        code
    }
}

#[test]
fn every_kind_of_trap_comes_back() {
    let funcs = || all_traps().into_iter().map(|t| t.0).collect::<Vec<_>>();
    each_form(funcs, |code| {
        for thread in 0..2 {
            let code = code.clone();
            let test = move || {
                let world = World::plain();
                for (i, (_, value, expected)) in all_traps().into_iter().enumerate() {
                    // Twice: nothing of the first time is left.
                    for _ in 0..2 {
                        let unwound = world.call(&code, i as u32, value).unwrap_err();
                        let Reason::Trap { code: trap, fault_address, .. } = unwound.reason else { panic!() };
                        assert_eq!(trap, expected);
                        if expected == TrapCode::MemoryOutOfBounds {
                            assert_eq!(fault_address, Some(8));
                        }
                        let newest = &unwound.backtrace.frames[0];
                        assert_eq!(newest.key, FuncKey::Wasm(DefinedFuncIndex(i as u32)));
                        assert_eq!(unwound.backtrace.truncated, expected == TrapCode::StackOverflow);
                        if expected != TrapCode::StackOverflow {
                            assert_eq!(newest.wasm_offset, Some(77));
                            assert_eq!(unwound.backtrace.frames.len(), 1);
                        }
                    }
                }
                assert_eq!(world.store.entry_fp, 0);
            };
            // The last function overruns the stack: of a thread that is small, and of the one that runs the test.
            if thread == 0 {
                test()
            } else {
                std::thread::Builder::new().stack_size(300 << 10).spawn(test).unwrap().join().unwrap()
            }
        }
        assert_no_writable_code();
    });
}

#[test]
fn calls_reach_the_callee_with_all_arguments() {
    let funcs = || {
        let fill = calling(piece!(kt_fill..kt_fill_end), at!(kt_fill_call) - at!(kt_fill), 3);
        vec![forward(1), increment(), fill, piece!(kt_check..kt_check_end)]
    };
    each_form(funcs, |code| {
        let world = World::plain();
        for i in 0..3 {
            assert_eq!(world.call(&code, 0, i).unwrap(), i + 1);
            assert_eq!(world.call(&code, 2, 2).unwrap(), 2 + 3 + 4 + 5 + 6 + 7 + 7 + 14 + 9);
        }
        let pc = code.entry(DefinedFuncIndex(1)).as_ptr() as usize;
        assert!(registry::code_at(pc).is_some_and(|c| Arc::ptr_eq(&c, &code)));
        assert_eq!(code.info::<&str>(), Some(&"information"));
        let range = code.text();
        drop(code);
        assert!(registry::code_at(range.start).is_none());
    });
}

#[test]
fn activations_nest_and_backtraces_cross_them() {
    // 0 → 1 → host → 0 → … → 2 traps.
    each_form(
        || vec![forward(1), host(), unreachable_func()],
        |code| {
            let mut world = World::new(|world, depth| {
                let code = world.code.clone().unwrap();
                // SAFETY: a host function of the store.
                let frames = unsafe { frames::backtrace(&world.store) };
                assert_eq!(frames.frames.len() as u64, 2 * (4 - depth));
                assert_eq!(frames.frames[1].wasm_offset, Some(55));
                let func = if depth == 0 { 2 } else { 0 };
                let before = world.store.exit_fp;
                let unwound = world.call(&code, func, depth.saturating_sub(1)).unwrap_err();
                assert_eq!(world.store.exit_fp, before);
                let frames = unwound.backtrace.frames.len() as u64;
                assert_eq!(frames, if depth == 0 { 9 } else { 2 * (5 - depth) });
                Err(match unwound.reason {
                    Reason::Trap { code, .. } if depth == 0 => Pending::Trap(code),
                    Reason::Trap { code, .. } => Pending::Error(anyhow::Error::from(code).context("depth 1")),
                    Reason::Error(error) => Pending::Error(error.context(format!("depth {depth}"))),
                    _ => panic!("{:?}", unwound.backtrace),
                })
            });
            world.code = Some(code.clone());
            let mut unwound = world.call(&code, 0, 3);
            if let Err(u) = &mut unwound {
                // Frames from the host function outwards.
                assert_eq!(u.backtrace.frames.len(), 2);
            }
            let Reason::Error(error) = unwound.unwrap_err().reason else { panic!() };
            assert_eq!(format!("{error:#}"), format!("depth 3: depth 2: depth 1: {}", TrapCode::Unreachable));
            world.code = None;
        },
    );
}

#[test]
fn panics_of_the_host_cross_wasm_without_unwinding_it() {
    each_form(
        || vec![forward(1), host()],
        |code| {
            let world = World::new(|_, value| std::panic::resume_unwind(Box::new(value)));
            let Reason::Panic(payload) = world.call(&code, 0, 42).unwrap_err().reason else { panic!() };
            assert_eq!(*payload.downcast::<u64>().unwrap(), 42);
        },
    );
}

#[test]
fn exceptions_are_caught_by_the_nearest_handler_with_their_tag() {
    each_form(
        || vec![catch(1), forward(2), host()],
        |code| {
            // Offset of the tag in the context: behind the header there is nothing else.
            let layout = code.layout();
            let layout::Place::Inline(tag) = layout.tag(TagIndex(0)) else { panic!() };
            let tag = move |world: &World| std::ptr::from_ref(world).cast::<u8>().wrapping_add(tag as usize).cast();
            let world = World::new(move |world, value| {
                let other = if value == 5 { std::ptr::null() } else { tag(world) };
                Err(Pending::Exception { reference: value as u32, tag: other })
            });
            for _ in 0..3 {
                assert_eq!(world.call(&code, 0, 7).unwrap(), 1007);
            }
            let unwound = world.call(&code, 0, 5).unwrap_err();
            assert!(matches!(unwound.reason, Reason::Exception { reference: 5, .. }), "{unwound:?}");
            assert_eq!(unwound.backtrace.frames.len(), 3);
            let unwound = world.call(&code, 1, 7).unwrap_err();
            assert!(matches!(unwound.reason, Reason::Exception { reference: 7, .. }), "{unwound:?}");
        },
    );
}

#[test]
fn stack_maps_lead_to_the_references_of_frames() {
    // A function that keeps its context at [rsp + 8] during a call: taken for two references.
    let keeper = || {
        let mut func = catch(1);
        let site = func.tables.handlers.remove(0);
        func.tables.stack_maps.push(StackMap { offset: site.offset, fp_to_sp: 32, slots: vec![8, 12] });
        func
    };
    each_form(
        || vec![keeper(), host()],
        |code| {
            let world = World::new(|world, value| {
                let mut found = Vec::new();
                // SAFETY: a host function of the store; the slots hold the context.
                unsafe { frames::for_each_root(&world.store, |slot| found.push(*slot)) };
                let context = std::ptr::from_ref(world) as u64;
                assert_eq!(found, [context as u32, (context >> 32) as u32]);
                Ok(value)
            });
            assert_eq!(world.call(&code, 0, 7).unwrap(), 7);
        },
    );
}

#[test]
fn threads_that_race_for_a_function_compile_it_once() {
    let compiled: Arc<[AtomicUsize; 64]> = Arc::new([const { AtomicUsize::new(0) }; 64]);
    let counts = compiled.clone();
    let compile: CompileFn = Arc::new(move |key| {
        let FuncKey::Wasm(i) = key else { anyhow::bail!("no {key}") };
        counts[i.0 as usize].fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(1));
        Ok(if i.0 == 63 { increment() } else { forward(i.0 + 1) })
    });
    let code = ModuleCode::lazy(64, 0, compile, setup()).unwrap();
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8_u32)
        .map(|t| {
            let (code, barrier) = (code.clone(), barrier.clone());
            std::thread::spawn(move || {
                let world = World::plain();
                barrier.wait();
                for i in 0..64 {
                    assert_eq!(world.call(&code, (i * 7 + t * 11) % 64, 1).unwrap(), 2);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert!(compiled.iter().all(|c| c.load(Ordering::SeqCst) == 1));
    assert_no_writable_code();
}

#[test]
fn functions_that_cannot_be_compiled_trap_with_the_reason_each_time() {
    let compile: CompileFn = Arc::new(|key| match key {
        FuncKey::Wasm(DefinedFuncIndex(0)) => Ok(forward(1)),
        FuncKey::Wasm(DefinedFuncIndex(1)) => Err(anyhow::anyhow!("too hard")),
        FuncKey::Wasm(DefinedFuncIndex(2)) => std::panic::resume_unwind(Box::new("broken")),
        _ => Ok(forward(100)),
    });
    let code = ModuleCode::lazy(4, 0, compile, setup()).unwrap();
    let world = World::plain();
    for _ in 0..2 {
        let unwound = world.call(&code, 0, 0).unwrap_err();
        assert_eq!(unwound.backtrace.frames.len(), 1);
        let Reason::Trap { code: TrapCode::CompileFailed, source: Some(error), .. } = unwound.reason else { panic!() };
        assert_eq!(error.to_string(), "wasm[1] could not be compiled: too hard");
    }
    assert!(matches!(world.call(&code, 2, 0).unwrap_err().reason, Reason::Panic(_)));
    assert_eq!(world.trap(&code, 2, 0), TrapCode::CompileFailed);
    assert_eq!(world.trap(&code, 3, 0), TrapCode::CompileFailed);
    assert!(code.trampoline(FuncKey::Wasm(DefinedFuncIndex(4))).is_err());
    assert!(code.trampoline(FuncKey::ArrayToWasm(TypeIndex(0))).is_err());
}

#[test]
fn a_module_of_many_functions_starts_without_touching_them() {
    let compile: CompileFn = Arc::new(|_| Ok(increment()));
    let start = || {
        let begin = std::time::Instant::now();
        let code = ModuleCode::lazy(620_000, 26 << 20, compile.clone(), setup()).unwrap();
        (begin.elapsed(), code)
    };
    // One that nothing else on the machine disturbed.
    let (took, code) = (0..10).map(|_| start()).min_by_key(|(took, _)| *took).unwrap();
    assert!(took < std::time::Duration::from_millis(50), "{took:?}");
    let world = World::plain();
    for i in [0, 255, 256, 619_999] {
        assert_eq!(world.call(&code, i, 1).unwrap(), 2);
    }
    let huge = ModuleCode::lazy(u32::MAX, 0, Arc::new(|_| Ok(increment())), setup());
    assert!(matches!(huge, Err(CodeError::TooManyFunctions(_))));
}

#[test]
fn damaged_images_are_refused() {
    let good = || link(vec![forward(1), increment()]);
    let refused = |change: fn(&mut Image)| {
        let mut image = good();
        change(&mut image);
        assert!(matches!(ModuleCode::sealed(image, setup()), Err(CodeError::BadImage(_))));
    };
    refused(|i| i.funcs[1].start = 0);
    refused(|i| i.funcs[1].len = u32::MAX);
    refused(|i| i.funcs[0].key = i.funcs[1].key);
    refused(|i| i.funcs[1].key = FuncKey::Wasm(DefinedFuncIndex(9)));
    refused(|i| i.text.clear());
}

#[test]
fn native_unwinders_see_through_wasm() {
    extern "C" fn note(context: *mut libc::c_void, pcs: *mut libc::c_void) -> i32 {
        // SAFETY: the unwinder passes what was given to it.
        unsafe { (*pcs.cast::<Vec<usize>>()).push(_Unwind_GetIP(context)) };
        0
    }
    unsafe extern "C" {
        fn _Unwind_Backtrace(
            f: extern "C" fn(*mut libc::c_void, *mut libc::c_void) -> i32,
            data: *mut libc::c_void,
        ) -> i32;
        fn _Unwind_GetIP(context: *mut libc::c_void) -> usize;
    }
    #[inline(never)]
    fn outermost(test: &dyn Fn()) {
        test();
        std::hint::black_box(());
    }
    let funcs = || {
        let mut funcs = vec![forward(1), host()];
        // As the compiler would say it: push rbp; mov rbp, rsp.
        for func in &mut funcs {
            func.tables.unwind = vec![
                UnwindOp { offset: 1, op: CfiOp::DefCfaOffset(16) },
                UnwindOp { offset: 1, op: CfiOp::Offset(6, -16) },
                UnwindOp { offset: 4, op: CfiOp::DefCfaRegister(6) },
            ];
        }
        funcs
    };
    each_form(funcs, |code| {
        let world = World::new(|world, value| {
            let mut pcs = Vec::<usize>::new();
            // SAFETY: the callback expects this.
            unsafe { _Unwind_Backtrace(note, (&raw mut pcs).cast()) };
            // SAFETY: a host function of the store.
            let wasm = unsafe { frames::backtrace(&world.store) };
            let at = pcs.iter().position(|pc| *pc == wasm.frames[0].pc).expect("the newest wasm frame");
            assert_eq!(pcs[at + 1], wasm.frames[1].pc);
            // Beyond: the entry trampoline, and whoever entered.
            assert!(pcs.len() > at + 5);
            Ok(value)
        });
        outermost(&|| assert_eq!(world.call(&code, 0, 1).unwrap(), 1));
    });
}

/// Runs a test of this file again, alone in a process of its own, with `KILN_TEST_CHILD` set.
fn in_child(test: &str) -> std::process::Output {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("code::tests::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env("KILN_TEST_CHILD", "1")
        .output()
        .unwrap()
}

fn is_child() -> bool {
    std::env::var_os("KILN_TEST_CHILD").is_some()
}

#[test]
fn foreign_handlers_still_run_and_default_actions_still_kill() {
    use std::os::unix::process::ExitStatusExt;
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn foreign(_: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: a signal handler with the arguments of one. Skips the 3 bytes of the load below.
        unsafe {
            SEEN.store((*info).si_addr() as usize, Ordering::SeqCst);
            (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] += 3;
        }
    }
    if !is_child() {
        let output = in_child("foreign_handlers_still_run_and_default_actions_still_kill");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("so far so good"));
        return;
    }
    // SAFETY: the handler has the signature for its flags.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        action.sa_sigaction = foreign as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()), 0);
        // Not handled by anyone: kills, although our handler is in between.
        action.sa_flags = 0;
        action.sa_sigaction = libc::SIG_DFL;
        assert_eq!(libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()), 0);
    }
    let world = World::plain();
    let code = sealed(all_traps().into_iter().map(|t| t.0).collect());
    assert_eq!(world.trap(&code, 2, 8), TrapCode::MemoryOutOfBounds);
    assert_eq!(SEEN.load(Ordering::SeqCst), 0);
    // SAFETY: the foreign handler skips the load.
    unsafe { std::arch::asm!("mov {0}, [{0}]", inout(reg) 16_usize => _) };
    assert_eq!(SEEN.load(Ordering::SeqCst), 16);
    assert_eq!(world.trap(&code, 2, 8), TrapCode::MemoryOutOfBounds);
    println!("so far so good");
    // SAFETY: kills the process, which is what is tested: a signal sent, and one that is a fault.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            std::arch::asm!("ud2");
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGILL);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut());
        libc::raise(libc::SIGSEGV);
    }
}

#[test]
fn a_fork_runs_what_is_compiled_and_refuses_to_add_to_it() {
    if !is_child() {
        let output = in_child("a_fork_runs_what_is_compiled_and_refuses_to_add_to_it");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let world = World::plain();
    let code = lazy(vec![forward(2), forward(2), increment(), forward(2)]);
    assert_eq!(world.call(&code, 0, 1).unwrap(), 2);
    // SAFETY: the child runs this test's code only and leaves without destructors.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let same = world.call(&code, 0, 1).is_ok_and(|v| v == 2);
            let refused = world.call(&code, 1, 1).unwrap_err();
            let Reason::Trap { code: TrapCode::CompileFailed, source: Some(error), .. } = refused.reason else {
                libc::_exit(3)
            };
            let clear = error.to_string().contains("is a fork of process");
            let traps = {
                let code = lazy(vec![unreachable_func()]);
                world.trap(&code, 0, 0) == TrapCode::Unreachable
            };
            libc::_exit(if same && clear && traps { 0 } else { 4 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    }
    assert_eq!(world.call(&code, 1, 1).unwrap(), 2);
    assert_eq!(world.call(&code, 3, 1).unwrap(), 2);
}

#[test]
fn gdb_sees_the_frames() {
    use std::process::Command;
    if is_child() {
        let code = ModuleCode::sealed(
            link(vec![forward(1), host()].into_iter().map(with_unwind).collect()),
            CodeSetup { gdb: true, ..setup() },
        );
        let (sealed, funcs) = (code.unwrap(), [forward(1), host()].map(with_unwind));
        let compile: CompileFn = Arc::new(move |key| match key {
            FuncKey::Wasm(i) => Ok(funcs[i.0 as usize].clone()),
            other => anyhow::bail!("no {other}"),
        });
        let names: NameFn = Arc::new(|key| format!("lazy {key}"));
        let lazy = ModuleCode::lazy(2, 0, compile, CodeSetup { gdb: true, names, ..setup() }).unwrap();
        let world = World::new(move |world, value| {
            if value == 1 {
                return world.call(&sealed, 0, 0).map_err(|_| Pending::Trap(TrapCode::Unreachable));
            }
            // SAFETY: stops here under the debugger.
            unsafe { std::arch::asm!("int3") };
            Ok(value)
        });
        assert_eq!(world.call(&lazy, 0, 1).unwrap(), 0);
        return;
    }
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: there is no gdb");
        return;
    }
    let output = Command::new("gdb")
        .args(["-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", "run", "-ex", "bt 120", "--args"])
        .arg(std::env::current_exe().unwrap())
        .args(["code::tests::gdb_sees_the_frames", "--exact", "--nocapture", "--test-threads=1"])
        .env("KILN_TEST_CHILD", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("ptrace: Operation not permitted") {
        println!("skipped: gdb may not trace here");
        return;
    }
    let mut rest = &*text;
    for name in ["test wasm[1]", "test wasm[0]", "lazy wasm[1]", "lazy wasm[0]", "gdb_sees_the_frames"] {
        let at = rest
            .find(name)
            .unwrap_or_else(|| panic!("no {name} in {text} {}", String::from_utf8_lossy(&output.stderr)));
        rest = &rest[at..];
    }
}

/// What the compiler would say about `push rbp; mov rbp, rsp`.
fn with_unwind(mut func: MachineFunc) -> MachineFunc {
    func.tables.unwind = vec![
        UnwindOp { offset: 1, op: CfiOp::DefCfaOffset(16) },
        UnwindOp { offset: 1, op: CfiOp::Offset(6, -16) },
        UnwindOp { offset: 4, op: CfiOp::DefCfaRegister(6) },
    ];
    func
}

#[test]
fn perf_map_names_functions() {
    if !is_child() {
        let output = in_child("perf_map_names_functions");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let code = ModuleCode::sealed(link(vec![increment()]), CodeSetup { perf: PerfMode::Map, ..setup() }).unwrap();
    let path = format!("/tmp/perf-{}.map", std::process::id());
    let map = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let entry = code.entry(DefinedFuncIndex(0)).as_ptr() as usize;
    assert_eq!(map, format!("{entry:x} {:x} test wasm[0]\n", increment().code.len()));
}

/// Not a test of anything but speed: `cargo test --profile fast -p kiln -- --ignored --nocapture cost_of`.
#[test]
#[ignore = "prints figures"]
fn cost_of_entering_and_first_calls() {
    let world = World::plain();
    let code = lazy(vec![increment(), host()]);
    for (func, what) in [(0, "host to wasm"), (1, "host to wasm to host")] {
        for _ in 0..3 {
            let begin = std::time::Instant::now();
            let mut value = 0;
            for _ in 0..10_000_000 {
                value = world.call(&code, func, value).unwrap();
            }
            println!("{what}: {:.1} ns", begin.elapsed().as_nanos() as f64 / 1e7);
        }
    }
    let code = sealed(vec![unreachable_func()]);
    let begin = std::time::Instant::now();
    for _ in 0..100_000 {
        world.trap(&code, 0, 0);
    }
    println!("trap: {:.0} ns", begin.elapsed().as_nanos() as f64 / 1e5);
    let code = ModuleCode::lazy(620_000, 26 << 20, Arc::new(|_| Ok(increment())), setup()).unwrap();
    let begin = std::time::Instant::now();
    for i in 0..620_000 {
        world.call(&code, i, 0).unwrap();
    }
    println!("first call without compiling: {:.0} ns", begin.elapsed().as_nanos() as f64 / 620e3);
}
