//! Wasm core dumps: <https://github.com/WebAssembly/tool-conventions/blob/main/Coredump.md>.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_env::{EntityIndex, GlobalIndex, MemoryIndex};
use wasm_encoder::{
    ConstExpr, CoreDumpInstancesSection, CoreDumpModulesSection, CoreDumpSection, CoreDumpStackSection, CoreDumpValue,
    DataSection, GlobalSection, MemorySection, Module,
};

use crate::backtrace::WasmBacktrace;
use crate::code::ModuleCode;
use crate::externs::Extern;
use crate::instance::Instance;
use crate::memory::{Memory, SharedMemory};
use crate::store::AsContextMut;
use crate::types::MemoryType;
use crate::values::Val;
use crate::vm::store::StoreOpaque;

/// Memory is dumped in pieces of this many bytes; those that are all zero are left out.
const PIECE: usize = 4096;

impl WasmBacktrace {
    /// A wasm core dump: the frames of this backtrace, and the instances of the store with what their memories and
    /// globals hold now. `program` is the name of what ran.
    ///
    /// Locals and operands of the frames are not known and are left out. If a module has several instances in the
    /// store, its frames are given to the first.
    ///
    /// ```
    /// use kiln::{Engine, Instance, Module, Store, WasmBacktrace};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module (memory 1) (func (export "run") unreachable))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let run = Instance::new(&mut store, &module, &[])?.get_typed_func::<(), ()>(&mut store, "run")?;
    /// let error = run.call(&mut store, ()).unwrap_err();
    /// let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
    /// let dump: Vec<u8> = backtrace.core_dump(&mut store, "program.wasm");
    /// assert!(dump.starts_with(b"\0asm"));
    /// # anyhow::Ok(())
    /// ```
    pub fn core_dump(&self, mut store: impl AsContextMut, program: &str) -> Vec<u8> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let mut dump = Dump::new();
        let instances: Vec<Instance> = store.instance_handles().map(Instance).collect();
        for instance in instances {
            dump.add_instance(store, instance);
        }
        let mut stack = CoreDumpStackSection::new("main");
        for (frame, code) in self.frames().iter().map(|frame| (frame, frame.code())) {
            let instance = dump.instance_of.get(&Arc::as_ptr(code)).copied().unwrap_or_default();
            let offset = frame.func_offset().unwrap_or_default() as u32;
            stack.frame(instance, frame.func_index(), offset, [], Vec::<CoreDumpValue>::new());
        }
        dump.finish(program, &stack)
    }
}

/// What was put into a core dump so far.
struct Dump {
    modules: CoreDumpModulesSection,
    instances: CoreDumpInstancesSection,
    memories: MemorySection,
    globals: GlobalSection,
    data: DataSection,
    /// Modules by their code.
    module_of: HashMap<*const ModuleCode, u32>,
    /// First instances of modules, likewise.
    instance_of: HashMap<*const ModuleCode, u32>,
    /// The memories and globals that are in already: several instances may share one.
    known: Vec<(Extern, u32)>,
}

impl Dump {
    fn new() -> Dump {
        Dump {
            modules: CoreDumpModulesSection::new(),
            instances: CoreDumpInstancesSection::new(),
            memories: MemorySection::new(),
            globals: GlobalSection::new(),
            data: DataSection::new(),
            module_of: HashMap::new(),
            instance_of: HashMap::new(),
            known: Vec::new(),
        }
    }

    fn add_instance(&mut self, store: &mut StoreOpaque, instance: Instance) {
        let module = instance.0.get(store).module().clone();
        let code = Arc::as_ptr(&module.code);
        let number = *self.module_of.entry(code).or_insert_with(|| {
            self.modules.module(module.env.name.as_deref().unwrap_or("<unknown>"));
            self.modules.len() - 1
        });
        self.instance_of.entry(code).or_insert(self.instances.len());
        let memories = (0..module.env.memories.len() as u32).map(|i| EntityIndex::Memory(MemoryIndex(i)));
        let memories: Vec<u32> = memories.map(|i| self.entity(store, &instance, i)).collect();
        let globals = (0..module.env.globals.len() as u32).map(|i| EntityIndex::Global(GlobalIndex(i)));
        let globals: Vec<u32> = globals.map(|i| self.entity(store, &instance, i)).collect();
        self.instances.instance(number, memories, globals);
    }

    /// The number of a memory or global in the dump.
    fn entity(&mut self, store: &mut StoreOpaque, instance: &Instance, index: EntityIndex) -> u32 {
        let entity = instance.extern_at(store, index);
        let same = |(known, _): &&(Extern, u32)| match (known, &entity) {
            (Extern::Memory(a), Extern::Memory(b)) => a.0 == b.0,
            (Extern::SharedMemory(a), Extern::SharedMemory(b)) => Arc::ptr_eq(a.inner(), b.inner()),
            (Extern::Global(a), Extern::Global(b)) => a.0.storage == b.0.storage,
            _ => false,
        };
        if let Some((_, number)) = self.known.iter().find(same) {
            return *number;
        }
        let number = match &entity {
            Extern::Memory(memory) => self.memory(store, memory),
            Extern::SharedMemory(memory) => self.shared_memory(memory),
            Extern::Global(global) => {
                let raw = global.0.get(store);
                let value = Val::from_raw(store, raw, &global.0.ty.content);
                self.global(value, global.0.ty.mutable)
            }
            _ => unreachable!("only memories and globals are dumped"),
        };
        self.known.push((entity, number));
        number
    }

    fn memory(&mut self, store: &StoreOpaque, memory: &Memory) -> u32 {
        let memory = memory.0.get(store);
        let number = self.memory_type(MemoryType::from_env(*memory.ty()), memory.pages());
        self.contents(number, memory.ty().limits.is_64, memory.data());
        number
    }

    fn shared_memory(&mut self, memory: &SharedMemory) -> u32 {
        let number = self.memory_type(memory.ty(), memory.size());
        self.contents(number, memory.ty().is_64(), &memory.inner().snapshot());
        number
    }

    fn memory_type(&mut self, ty: MemoryType, pages: u64) -> u32 {
        self.memories.memory(wasm_encoder::MemoryType {
            minimum: pages,
            maximum: ty.maximum(),
            memory64: ty.is_64(),
            shared: ty.is_shared(),
            page_size_log2: (ty.page_size_log2() != 16).then(|| ty.page_size_log2().into()),
        });
        self.memories.len() - 1
    }

    /// Adds the pieces of a memory that are not zero, neighbours as one.
    fn contents(&mut self, memory: u32, is_64: bool, bytes: &[u8]) {
        let mut run: Option<usize> = None;
        let pieces = bytes.chunks(PIECE).map(|piece| piece.iter().any(|b| *b != 0)).chain([false]);
        for (i, used) in pieces.enumerate() {
            match (run, used) {
                (None, true) => run = Some(i * PIECE),
                (Some(start), false) => {
                    let offset = match is_64 {
                        true => ConstExpr::i64_const(start as i64),
                        false => ConstExpr::i32_const(start as i32),
                    };
                    self.data.active(memory, &offset, bytes[start..(i * PIECE).min(bytes.len())].iter().copied());
                    run = None;
                }
                _ => {}
            }
        }
    }

    /// References cannot be written down: they become null.
    fn global(&mut self, value: Val, mutable: bool) -> u32 {
        use wasm_encoder::{RefType, ValType};
        let null = |ty: RefType| (ValType::Ref(ty), ConstExpr::ref_null(ty.heap_type));
        let (val_type, init) = match value {
            Val::I32(v) => (ValType::I32, ConstExpr::i32_const(v)),
            Val::I64(v) => (ValType::I64, ConstExpr::i64_const(v)),
            Val::F32(bits) => (ValType::F32, ConstExpr::f32_const(f32::from_bits(bits).into())),
            Val::F64(bits) => (ValType::F64, ConstExpr::f64_const(f64::from_bits(bits).into())),
            Val::V128(v) => (ValType::V128, ConstExpr::v128_const(v.as_u128() as i128)),
            Val::FuncRef(_) => null(RefType::FUNCREF),
            Val::ExternRef(_) => null(RefType::EXTERNREF),
            Val::ExnRef(_) => null(RefType::EXNREF),
            Val::AnyRef(_) => null(RefType::ANYREF),
        };
        self.globals.global(wasm_encoder::GlobalType { val_type, mutable, shared: false }, &init);
        self.globals.len() - 1
    }

    fn finish(self, program: &str, stack: &CoreDumpStackSection) -> Vec<u8> {
        let mut dump = Module::new();
        dump.section(&CoreDumpSection::new(program));
        dump.section(&self.modules);
        dump.section(&self.instances);
        dump.section(stack);
        dump.section(&self.memories);
        dump.section(&self.globals);
        dump.section(&self.data);
        dump.finish()
    }
}
