//! What the code of an operator is made with: a function builder and the operator's environment.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::ops::call::{Callee, Target};
use crate::codegen::trap_code;
use crate::module_env::ModuleEnv;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, AliasRegion, AliasRegionData, AliasRegionSet, ArgumentPurpose, Block, Endianness, ExtFuncData,
    ExternalName, FuncRef, Inst, InstBuilder, MemFlagsData, SigRef, Signature, Type, UserExternalName, Value,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::FunctionBuilder;
use kiln_env::builtins::BuiltinType;
use kiln_env::layout::{context, func_ref, store_context};
use kiln_env::types::{FuncType, RefRepr, ValType};
use kiln_env::{Builtin, ContextLayout, DefinedFuncIndex, FuncKey, Module, TrapCode, Tunables, TypeIndex};

/// Parts of memory that never overlap, so that a store to one leaves what is known about the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Region {
    /// An instance's context and what it points to, except for the following.
    Context,
    /// All linear memories.
    Heap,
    /// Elements of all tables.
    Table,
    /// Values of all globals.
    Global,
    /// The store's context.
    Store,
    /// Stack slots and arrays of values.
    Slots,
    /// Counters of functions.
    Counters,
}

impl Region {
    const COUNT: usize = 7;

    fn data(self) -> AliasRegionData {
        let name = match self {
            Region::Context => "context",
            Region::Heap => "heap",
            Region::Table => "table",
            Region::Global => "global",
            Region::Store => "store",
            Region::Slots => "slots",
            Region::Counters => "counters",
        };
        AliasRegionData { user_id: self as u32, description: name.into() }
    }
}

/// What an operator's code depends on beside its operands: everything that is a constant in the finished code (offsets,
/// limits, types, settings) is asked for here.
pub(crate) struct OpEnv<'m> {
    /// The module's declarations.
    pub(crate) module: &'m Module,
    /// Offsets in the context.
    pub(crate) layout: &'m ContextLayout,
    /// Choices shared with the runtime.
    pub(crate) tunables: &'m Tunables,
    /// The target.
    pub(crate) isa: &'m dyn TargetIsa,
    /// The instance's context.
    pub(crate) vmctx: Value,
    /// The base of the first memory, where it is in a register already.
    pub(crate) memory_base: Option<Value>,
    /// Whether addresses behind bounds checks are guarded against speculation.
    pub(crate) heap_spectre: bool,
    /// The same for table accesses.
    pub(crate) table_spectre: bool,
    /// Whether the context of whatever a table or reference leads to is known to be the caller's own.
    pub(crate) own_references: bool,
    /// Whether short copies and fills of memories are done in line.
    pub(crate) bulk_in_line: bool,
    regions: [Option<AliasRegion>; Region::COUNT],
    funcs: HashMap<FuncKey, FuncRef>,
    sigs: HashMap<TypeIndex, SigRef>,
    fuel: u64,
    /// The values that are collected references, where somebody asks: see [`Emitter::is_collected`].
    collected: Option<HashSet<Value>>,
    /// Whether the code makes calls, tail calls apart.
    pub(crate) makes_calls: bool,
}

impl<'m> OpEnv<'m> {
    /// An environment for one function whose context is `vmctx`.
    pub(crate) fn new(env: &ModuleEnv<'m>, vmctx: Value) -> OpEnv<'m> {
        OpEnv {
            module: env.module,
            layout: env.layout,
            tunables: env.tunables,
            isa: env.isa,
            vmctx,
            memory_base: None,
            heap_spectre: env.isa.flags().enable_heap_access_spectre_mitigation(),
            table_spectre: env.isa.flags().enable_table_access_spectre_mitigation(),
            own_references: env.own_references,
            bulk_in_line: env.bulk_in_line,
            regions: [None; Region::COUNT],
            funcs: HashMap::new(),
            sigs: HashMap::new(),
            fuel: 0,
            collected: None,
            makes_calls: false,
        }
    }

    /// What is added to the offset of a 64-bit field to reach its low 32 bits.
    fn low_half(&self) -> u32 {
        match self.isa.endianness() {
            cranelift_codegen::ir::Endianness::Little => 0,
            cranelift_codegen::ir::Endianness::Big => 4,
        }
    }
}

/// The Cranelift type of a wasm value. All vectors are `i8x16` between operators.
pub(crate) fn clif_type(ty: ValType) -> Type {
    use cranelift_codegen::ir::types;
    match ty {
        ValType::I32 => I32,
        ValType::I64 => I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => types::I8X16,
        ValType::Ref(r) => match r.repr() {
            RefRepr::FuncPointer => I64,
            RefRepr::Gc => I32,
        },
    }
}

/// The signature of a wasm function: the context first, then the wasm parameters.
pub(crate) fn wasm_signature(ty: &FuncType) -> Signature {
    let mut sig = Signature::new(CallConv::Tail);
    sig.params.push(AbiParam::special(I64, ArgumentPurpose::VMContext));
    sig.params.extend(ty.params.iter().map(|t| AbiParam::new(clif_type(*t))));
    sig.returns.extend(ty.results.iter().map(|t| AbiParam::new(clif_type(*t))));
    sig
}

/// The Cranelift type of a builtin's parameter or result.
pub(crate) fn builtin_type(ty: BuiltinType) -> Type {
    match ty {
        BuiltinType::Pointer | BuiltinType::I64 => I64,
        BuiltinType::I32 => I32,
    }
}

/// The signature of a builtin's trampoline, as wasm functions call it.
pub(crate) fn builtin_signature(builtin: Builtin) -> Signature {
    let mut sig = Signature::new(CallConv::Tail);
    for (i, ty) in builtin.params().iter().enumerate() {
        let purpose = if i == 0 { ArgumentPurpose::VMContext } else { ArgumentPurpose::Normal };
        sig.params.push(AbiParam::special(builtin_type(*ty), purpose));
    }
    sig.returns.extend(builtin.result().map(|t| AbiParam::new(builtin_type(t))));
    sig
}

/// Emits the code of operators: a function builder and the environment. Knows nothing of the operand stack, of control
/// frames and of locals.
pub(crate) struct Emitter<'f, 'm> {
    /// Where instructions go.
    pub(crate) b: FunctionBuilder<'f>,
    /// What they depend on.
    pub(crate) env: OpEnv<'m>,
}

/// Memory flags, contexts and the store's context.
impl Emitter<'_, '_> {
    /// Flags of an access that cannot fault, in a region.
    pub(crate) fn trusted(&mut self, region: Region) -> MemFlagsData {
        let region = self.region(region);
        MemFlagsData::trusted().with_alias_region(Some(region))
    }

    /// Flags of a load that cannot fault, whose result never changes while the function runs.
    pub(crate) fn constant(&mut self, region: Region) -> MemFlagsData {
        self.trusted(region).with_readonly().with_can_move()
    }

    /// Flags of accesses to linear memories: little-endian, may fault with `MemoryOutOfBounds`.
    pub(crate) fn heap_flags(&mut self) -> MemFlagsData {
        let region = self.region(Region::Heap);
        MemFlagsData::new().with_endianness(Endianness::Little).with_alias_region(Some(region))
    }

    /// Flags of values in slots and globals: little-endian, cannot fault.
    pub(crate) fn slot_flags(&mut self, region: Region) -> MemFlagsData {
        self.trusted(region).with_endianness(Endianness::Little)
    }

    fn region(&mut self, region: Region) -> AliasRegion {
        let slot = &mut self.env.regions[region as usize];
        *slot.get_or_insert_with(|| self.b.func.dfg.alias_regions.insert(region.data()))
    }

    /// Gives collected references that are spilled around calls a region: a store without one counts as a store to all.
    pub(crate) fn name_spills(&mut self) {
        let region = |regions: &mut AliasRegionSet, _, _, _| Some(regions.insert(Region::Slots.data()));
        self.b.make_stack_map_alias_region(Box::new(region));
    }

    /// A field of the context that never changes while the function runs.
    pub(crate) fn context_constant(&mut self, ty: Type, offset: u32) -> Value {
        let flags = self.constant(Region::Context);
        let vmctx = self.env.vmctx;
        self.b.ins().load(ty, flags, vmctx, offset as i32)
    }

    /// A field of the context.
    pub(crate) fn context_field(&mut self, ty: Type, offset: u32) -> Value {
        let flags = self.trusted(Region::Context);
        let vmctx = self.env.vmctx;
        self.b.ins().load(ty, flags, vmctx, offset as i32)
    }

    /// Address of the store's context.
    pub(crate) fn store_context(&mut self) -> Value {
        self.context_constant(I64, context::store)
    }

    /// Offset of the type number (32 bits) in a `VmFuncRef`.
    pub(crate) fn type_id_field(&self) -> i32 {
        (func_ref::type_id + self.env.low_half()) as i32
    }

    /// Offset of a function's number among those of its instance (32 bits), likewise.
    pub(crate) fn own_number_field(&self) -> i32 {
        (func_ref::type_id + 4 - self.env.low_half()) as i32
    }
}

/// Calls.
impl Emitter<'_, '_> {
    /// A function of this module.
    pub(crate) fn wasm_func(&mut self, func: DefinedFuncIndex) -> FuncRef {
        let key = FuncKey::Wasm(func);
        if let Some(found) = self.env.funcs.get(&key) {
            return *found;
        }
        let module = self.env.module;
        let signature = self.sig_ref(module.funcs[module.func_index(func)].ty);
        self.declare_func(key, signature)
    }

    fn builtin_func(&mut self, builtin: Builtin) -> FuncRef {
        let key = FuncKey::WasmToBuiltin(builtin);
        if let Some(found) = self.env.funcs.get(&key) {
            return *found;
        }
        let signature = self.b.func.import_signature(builtin_signature(builtin));
        self.declare_func(key, signature)
    }

    fn declare_func(&mut self, key: FuncKey, signature: SigRef) -> FuncRef {
        let (namespace, index) = key.pack();
        let name = self.b.func.declare_imported_user_function(UserExternalName { namespace, index });
        let func = self.b.func.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: true,
            patchable: false,
        });
        self.env.funcs.insert(key, func);
        func
    }

    /// The signature of a wasm function type of the module.
    pub(crate) fn sig_ref(&mut self, ty: TypeIndex) -> SigRef {
        let module = self.env.module;
        match self.env.sigs.entry(ty) {
            Entry::Occupied(e) => *e.get(),
            Entry::Vacant(e) => *e.insert(self.b.func.import_signature(wasm_signature(module.signature(ty)))),
        }
    }

    /// Calls a builtin with the context and `args`, and returns its result if it has one. Fuel is exact there.
    pub(crate) fn builtin(&mut self, builtin: Builtin, args: &[Value]) -> Option<Value> {
        let callee = self.builtin_callee(builtin);
        let call = self.call(callee, args);
        self.b.inst_results(call).first().copied()
    }

    /// A builtin as a callee.
    pub(crate) fn builtin_callee(&mut self, builtin: Builtin) -> Callee {
        Callee { target: Target::Direct(self.builtin_func(builtin)), context: self.env.vmctx }
    }

    /// Calls a function, outside of all handlers.
    pub(crate) fn call(&mut self, callee: Callee, args: &[Value]) -> Inst {
        self.flush_fuel();
        self.env.makes_calls = true;
        let mut all = smallvec::SmallVec::<[Value; 16]>::new();
        all.push(callee.context);
        all.extend_from_slice(args);
        match callee.target {
            Target::Direct(func) => self.b.ins().call(func, &all),
            Target::Indirect(signature, code) => self.b.ins().call_indirect(signature, code, &all),
        }
    }

    /// Calls a builtin that has a result.
    pub(crate) fn builtin_value(&mut self, builtin: Builtin, args: &[Value]) -> Value {
        self.builtin(builtin, args).expect("the table says that this builtin has a result")
    }
}

/// Values.
impl Emitter<'_, '_> {
    /// A 32-bit constant.
    pub(crate) fn i32(&mut self, n: u32) -> Value {
        self.b.ins().iconst(I32, i64::from(n))
    }

    /// A 64-bit constant.
    pub(crate) fn i64(&mut self, n: u64) -> Value {
        self.b.ins().iconst(I64, n as i64)
    }

    /// An index or size as 64 bits: zero-extended if it is 32 bits wide.
    pub(crate) fn widen(&mut self, index: Value) -> Value {
        if self.b.func.dfg.value_type(index) == I32 { self.b.ins().uextend(I64, index) } else { index }
    }

    /// A 64-bit size or index as the index type of a memory or table.
    pub(crate) fn as_index(&mut self, value: Value, is_64: bool) -> Value {
        if is_64 { value } else { self.b.ins().ireduce(I32, value) }
    }

    /// Notes that `value` is a reference of type `ty`, so that the collector finds it where it is live across a call.
    pub(crate) fn note_ref(&mut self, value: Value, ty: ValType) {
        if ty.is_gc_ref() {
            self.collected(value);
        }
    }

    /// Notes that `value` is a collected reference.
    pub(crate) fn collected(&mut self, value: Value) {
        self.b.declare_value_needs_stack_map(value);
        self.note_collected(value);
    }

    /// Notes that `value`, of which the collector knows already, is a collected reference.
    pub(crate) fn note_collected(&mut self, value: Value) {
        if let Some(collected) = &mut self.env.collected {
            collected.insert(value);
        }
    }

    /// From now on it is remembered which values are collected references.
    pub(crate) fn remember_collected(&mut self) {
        self.env.collected = Some(HashSet::new());
    }

    /// Whether `value` is known to be a collected reference. Null constants may not be.
    pub(crate) fn is_collected(&self, value: Value) -> bool {
        self.env.collected.as_ref().is_some_and(|c| c.contains(&value))
    }

    /// The collector's barrier before a collected reference is stored to a table or global. The collector stops the
    /// world and marks from exact roots, so there is nothing to do.
    pub(crate) fn store_barrier(&mut self, _address: Value, _value: Value) {}
}

/// Traps and unlikely paths.
impl Emitter<'_, '_> {
    /// Ends the block with a trap.
    pub(crate) fn trap(&mut self, code: TrapCode) {
        self.flush_fuel();
        if self.env.tunables.signals {
            self.b.ins().trap(trap_code(code));
        } else {
            let number = self.i32(code as u32);
            self.builtin(Builtin::RaiseTrap, &[number]);
            self.b.ins().trap(trap_code(TrapCode::Unreachable));
        }
    }

    /// Traps if `condition` is not zero.
    pub(crate) fn trap_if(&mut self, condition: Value, code: TrapCode) {
        self.flush_fuel();
        if self.env.tunables.signals {
            self.b.ins().trapnz(condition, trap_code(code));
        } else {
            let (cold, next) = self.branch_cold(condition);
            self.b.switch_to_block(cold);
            self.trap(code);
            self.b.seal_block(next);
            self.b.switch_to_block(next);
        }
    }

    /// Where traps cannot rely on signals, Cranelift's own stack check (a trap in the prologue) is of no use: this one
    /// comes right behind the prologue.
    pub(crate) fn check_stack(&mut self) {
        let sp = self.b.ins().get_stack_pointer(I64);
        let limit = self.context_field(I64, context::stack_limit);
        let below = self.b.ins().icmp(IntCC::UnsignedLessThan, sp, limit);
        self.trap_if(below, TrapCode::StackOverflow);
    }

    /// Runs the code that `body` emits if `condition` is not zero, which is unlikely.
    pub(crate) fn unlikely(&mut self, condition: Value, body: impl FnOnce(&mut Self)) {
        let (cold, next) = self.branch_cold(condition);
        self.b.switch_to_block(cold);
        body(self);
        self.b.ins().jump(next, &[]);
        self.b.seal_block(next);
        self.b.switch_to_block(next);
    }

    /// `value`, or what `body` computes if `condition` is not zero, which is unlikely. Both have the same type.
    pub(crate) fn unlikely_value(
        &mut self,
        condition: Value,
        value: Value,
        body: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        self.flush_fuel();
        let cold = self.b.create_block();
        let next = self.b.create_block();
        self.b.set_cold_block(cold);
        let ty = self.b.func.dfg.value_type(value);
        let result = self.b.append_block_param(next, ty);
        self.b.ins().brif(condition, cold, &[], next, &[value.into()]);
        self.b.seal_block(cold);
        self.b.switch_to_block(cold);
        let other = body(self);
        self.b.ins().jump(next, &[other.into()]);
        self.b.seal_block(next);
        self.b.switch_to_block(next);
        result
    }

    /// Branches to a cold block (sealed) if `condition` is not zero, else to the next block (not sealed).
    fn branch_cold(&mut self, condition: Value) -> (Block, Block) {
        self.flush_fuel();
        let cold = self.b.create_block();
        let next = self.b.create_block();
        self.b.set_cold_block(cold);
        self.b.ins().brif(condition, cold, &[], next, &[]);
        self.b.seal_block(cold);
        (cold, next)
    }
}

/// Fuel and epochs.
impl Emitter<'_, '_> {
    /// Counts `cost` units of fuel; they reach the store's counter with the next [`Emitter::flush_fuel`].
    pub(crate) fn count_fuel(&mut self, cost: u64) {
        if self.env.tunables.fuel {
            self.env.fuel += cost;
        }
    }

    /// Brings the store's fuel counter up to date: before whatever may trap, call, or go to another block.
    pub(crate) fn flush_fuel(&mut self) {
        if self.env.fuel == 0 {
            return;
        }
        let units = std::mem::take(&mut self.env.fuel);
        let store = self.store_context();
        let flags = self.trusted(Region::Store);
        let fuel = self.b.ins().load(I64, flags, store, store_context::fuel as i32);
        let units = self.i64(units);
        let fuel = self.b.ins().iadd(fuel, units);
        self.b.ins().store(flags, fuel, store, store_context::fuel as i32);
    }

    /// At function entries and loop headers: whether fuel has run out or the epoch deadline has passed.
    pub(crate) fn check_interrupts(&mut self) {
        if self.env.tunables.fuel {
            self.flush_fuel();
            let store = self.store_context();
            let flags = self.trusted(Region::Store);
            let fuel = self.b.ins().load(I64, flags, store, store_context::fuel as i32);
            let out = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, fuel, 0);
            self.unlikely(out, |e| {
                e.builtin(Builtin::OutOfFuel, &[]);
            });
        }
        if self.env.tunables.epochs {
            let store = self.store_context();
            let constant = self.constant(Region::Store);
            let epoch = self.b.ins().load(I64, constant, store, store_context::epoch as i32);
            // Atomic, so that no earlier load of the counter is reused: another thread advances it.
            let now = self.b.ins().atomic_load(I64, MemFlagsData::trusted(), epoch);
            let flags = self.trusted(Region::Store);
            let deadline = self.b.ins().load(I64, flags, store, store_context::epoch_deadline as i32);
            let passed = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, now, deadline);
            self.unlikely(passed, |e| {
                e.builtin(Builtin::NewEpoch, &[]);
            });
        }
    }
}
