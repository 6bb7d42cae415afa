//! Trampolines between conventions: see `kiln_env::abi`.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, ArgumentPurpose, Block, BlockArg, BlockCall, Endianness, ExceptionTableData, ExceptionTableItem,
    ExtFuncData, ExternalName, FuncRef, Function, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind,
    UserExternalName, UserFuncName, Value,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use kiln_env::abi::SLOT_SIZE;
use kiln_env::builtins::{BuiltinType, FAILED};
use kiln_env::layout::{BUILTINS, HOST_ARRAY_CALL, context, store_context};
use kiln_env::types::{FuncType, ValType};
use kiln_env::{Builtin, FuncKey, TrapCode, TypeIndex};
use target_lexicon::Architecture;

use super::emitter::{builtin_signature, builtin_type, clif_type, wasm_signature};
use crate::codegen::{set_stack_limit, trap_code};
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;

/// Accesses to the runtime's structures, and to values in slots.
const TRUSTED: MemFlagsData = MemFlagsData::trusted();
const SLOT: MemFlagsData = MemFlagsData::trusted().with_endianness(Endianness::Little);

/// A trampoline under construction.
struct Trampoline<'f, 'a> {
    b: FunctionBuilder<'f>,
    env: &'a ModuleEnv<'a>,
}

/// Makes one trampoline; `None` if the key names none.
pub(super) fn translate(env: &ModuleEnv<'_>, builder: &mut FunctionBuilderContext, key: FuncKey) -> Option<FuncIr> {
    let signature = match key {
        FuncKey::Wasm(_) | FuncKey::Osr { .. } => return None,
        FuncKey::ArrayToWasm(_) => array_to_wasm_signature(env),
        FuncKey::WasmToHost(ty) => wasm_signature(env.module.signature(ty)),
        FuncKey::WasmToBuiltin(builtin) => builtin_signature(builtin),
    };
    let (namespace, index) = key.pack();
    let mut func = Function::with_name_signature(UserFuncName::user(namespace, index), signature);
    let mut b = FunctionBuilder::new(&mut func, builder);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let mut t = Trampoline { b, env };
    match key {
        FuncKey::Wasm(_) | FuncKey::Osr { .. } => return None,
        FuncKey::ArrayToWasm(ty) => t.array_to_wasm(entry, ty),
        FuncKey::WasmToHost(ty) => t.wasm_to_host(entry, ty),
        FuncKey::WasmToBuiltin(builtin) => t.wasm_to_builtin(entry, builtin),
    }
    t.b.finalize(env.isa.frontend_config());
    if matches!(key, FuncKey::WasmToHost(_)) && env.tunables.signals {
        // Its array of values may be larger than what is left free below the limit.
        set_stack_limit(&mut func);
    }
    Some(FuncIr { key, func, inlined: Vec::new(), sites: Vec::new(), numbers: Vec::new() })
}

/// What comes before the code of a function with a frame of `frame` bytes: checks the stack for all of it and goes on
/// there by a tail call. `None` for functions without a context.
pub(super) fn stack_guard(
    env: &ModuleEnv<'_>,
    builder: &mut FunctionBuilderContext,
    key: FuncKey,
    signature: &Signature,
    frame: u32,
) -> Option<FuncIr> {
    let vmctx = signature.special_param_index(ArgumentPurpose::VMContext)?;
    let (namespace, index) = key.pack();
    let mut func = Function::with_name_signature(UserFuncName::user(namespace, index), signature.clone());
    let mut b = FunctionBuilder::new(&mut func, builder);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let params = b.block_params(entry).to_vec();
    let mut t = Trampoline { b, env };
    let body = t.func(key, signature.clone());
    if matches!(key, FuncKey::WasmToHost(_)) {
        t.record_exit(params[vmctx]);
    }
    t.check_stack(key, params[vmctx], frame);
    t.b.ins().return_call(body, &params);
    t.b.finalize(env.isa.frontend_config());
    Some(FuncIr { key, func, inlined: Vec::new(), sites: Vec::new(), numbers: Vec::new() })
}

fn array_to_wasm_signature(env: &ModuleEnv<'_>) -> Signature {
    let mut sig = Signature::new(env.host_call_conv());
    sig.params.extend([AbiParam::new(I64); 3]);
    sig.returns.push(AbiParam::new(I64));
    sig
}

/// What a host function is in the array convention: context, caller, values.
fn host_signature(env: &ModuleEnv<'_>) -> Signature {
    array_to_wasm_signature(env)
}

/// A builtin as the runtime defines it, in the C convention.
fn native_signature(env: &ModuleEnv<'_>, builtin: Builtin) -> Signature {
    let mut sig = Signature::new(env.host_call_conv());
    let param = |ty: BuiltinType| {
        let param = AbiParam::new(builtin_type(ty));
        match (ty, env.isa.triple().architecture) {
            // Where the C convention wants 32-bit arguments extended.
            (BuiltinType::I32, Architecture::Riscv64(_)) => param.sext(),
            (BuiltinType::I32, Architecture::S390x) => param.uext(),
            _ => param,
        }
    };
    sig.params.extend(builtin.params().iter().map(|ty| param(*ty)));
    if builtin.fallible() {
        sig.returns.push(AbiParam::new(I64));
    } else {
        sig.returns.extend(builtin.result().map(|ty| AbiParam::new(builtin_type(ty))));
    }
    sig
}

/// The fields of the store's context that make up an entry record.
const ENTRY_RECORD: [u32; 3] = [store_context::entry_sp, store_context::entry_fp, store_context::entry_handler];

impl Trampoline<'_, '_> {
    fn array_to_wasm(&mut self, entry: Block, ty: TypeIndex) {
        let ty = self.env.module.signature(ty);
        let (callee, code, values) = {
            let p = self.b.block_params(entry);
            (p[0], p[1], p[2])
        };
        let store = self.b.ins().load(I64, TRUSTED, callee, context::store as i32);
        let saved = ENTRY_RECORD.map(|field| self.b.ins().load(I64, TRUSTED, store, field as i32));

        let call = self.b.create_block();
        let returned = self.b.create_block();
        let unwound = self.b.create_block();
        self.b.set_cold_block(unwound);
        for result in &ty.results {
            self.b.append_block_param(returned, clif_type(*result));
        }
        self.b.ins().jump(call, &[]);
        self.b.seal_block(call);
        self.b.switch_to_block(call);
        let sp = self.b.ins().get_stack_pointer(I64);
        let fp = self.b.ins().get_frame_pointer(I64);
        let handler = self.b.ins().get_exception_handler_address(I64, call, 0);
        self.restore(store, [sp, fp, handler]);
        let mut args = vec![callee];
        args.extend(self.load_slots(values, &ty.params));
        let signature = self.b.import_signature(wasm_signature(ty));
        let pool = &mut self.b.func.dfg.value_lists;
        let normal = BlockCall::new(returned, (0..ty.results.len() as u32).map(BlockArg::TryCallRet), pool);
        let landing = ExceptionTableItem::Default(BlockCall::new(unwound, [], pool));
        let table = self.b.func.dfg.exception_tables.push(ExceptionTableData::new(signature, normal, [landing]));
        self.b.ins().try_call_indirect(code, &args, table);
        self.b.seal_block(returned);
        self.b.seal_block(unwound);

        self.b.switch_to_block(returned);
        let results = self.b.block_params(returned).to_vec();
        self.store_slots(values, &results);
        self.restore(store, saved);
        let one = self.b.ins().iconst(I64, 1);
        self.b.ins().return_(&[one]);

        self.b.switch_to_block(unwound);
        self.restore(store, saved);
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().return_(&[zero]);
    }

    /// Writes an entry record.
    fn restore(&mut self, store: Value, record: [Value; 3]) {
        for (field, value) in ENTRY_RECORD.into_iter().zip(record) {
            self.b.ins().store(TRUSTED, value, store, field as i32);
        }
    }

    fn wasm_to_host(&mut self, entry: Block, key_ty: TypeIndex) {
        let ty: &FuncType = self.env.module.signature(key_ty);
        let params = self.b.block_params(entry).to_vec();
        let vmctx = params[0];
        self.record_exit(vmctx);
        if !self.env.tunables.signals {
            self.check_stack(FuncKey::WasmToHost(key_ty), vmctx, 0);
        }
        let slots = ty.params.len().max(ty.results.len()) as u32;
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, slots * SLOT_SIZE, SLOT_SIZE.trailing_zeros() as u8);
        let slot = self.b.create_sized_stack_slot(data);
        let values = self.b.ins().stack_addr(I64, slot, 0);
        self.store_slots(values, &params[1..]);

        let caller = self.b.ins().load(I64, TRUSTED, vmctx, context::caller as i32);
        let code = self.b.ins().load(I64, TRUSTED, vmctx, HOST_ARRAY_CALL as i32);
        let signature = self.b.import_signature(host_signature(self.env));
        let call = self.b.ins().call_indirect(signature, code, &[vmctx, caller, values]);
        let ok = self.b.inst_results(call)[0];
        let failed = self.b.ins().icmp_imm_u(IntCC::Equal, ok, 0);
        self.raise_if(failed, vmctx);
        let results = self.load_slots(values, &ty.results);
        self.b.ins().return_(&results);
    }

    fn wasm_to_builtin(&mut self, entry: Block, builtin: Builtin) {
        let params = self.b.block_params(entry).to_vec();
        let vmctx = params[0];
        self.record_exit(vmctx);
        let results = self.call_native(vmctx, builtin, &params);
        if builtin.fallible() {
            let failed = self.b.ins().icmp_imm_s(IntCC::Equal, results[0], FAILED as i64);
            self.raise_if(failed, vmctx);
        }
        match builtin.result() {
            None => self.b.ins().return_(&[]),
            Some(BuiltinType::I32) if builtin.fallible() => {
                let narrow = self.b.ins().ireduce(I32, results[0]);
                self.b.ins().return_(&[narrow])
            }
            Some(_) => self.b.ins().return_(&results),
        };
    }

    /// Leaves in the store's context where wasm was left: the return address into the caller, and its frame pointer.
    fn record_exit(&mut self, vmctx: Value) {
        let store = self.b.ins().load(I64, TRUSTED, vmctx, context::store as i32);
        let pc = self.b.ins().get_return_address(I64);
        let own = self.b.ins().get_frame_pointer(I64);
        let fp = self.b.ins().load(I64, TRUSTED, own, 0);
        self.b.ins().store(TRUSTED, pc, store, store_context::exit_pc as i32);
        self.b.ins().store(TRUSTED, fp, store, store_context::exit_fp as i32);
    }

    fn call_native(&mut self, vmctx: Value, builtin: Builtin, args: &[Value]) -> Vec<Value> {
        let array = self.b.ins().load(I64, TRUSTED, vmctx, BUILTINS as i32);
        let code = self.b.ins().load(I64, TRUSTED, array, 8 * builtin as i32);
        let signature = self.b.import_signature(native_signature(self.env, builtin));
        let call = self.b.ins().call_indirect(signature, code, args);
        self.b.inst_results(call).to_vec()
    }

    /// Unwinds if `failed` is not zero.
    fn raise_if(&mut self, failed: Value, vmctx: Value) {
        let raise = self.b.create_block();
        let next = self.b.create_block();
        self.b.set_cold_block(raise);
        self.b.ins().brif(failed, raise, &[], next, &[]);
        self.b.seal_block(raise);
        self.b.seal_block(next);
        self.b.switch_to_block(raise);
        self.call_native(vmctx, Builtin::Raise, &[vmctx]);
        self.b.ins().trap(trap_code(TrapCode::Unreachable));
        self.b.switch_to_block(next);
    }

    /// A function to be called directly.
    fn func(&mut self, key: FuncKey, signature: Signature) -> FuncRef {
        let signature = self.b.import_signature(signature);
        let (namespace, index) = key.pack();
        let name = self.b.func.declare_imported_user_function(UserExternalName { namespace, index });
        let name = ExternalName::user(name);
        self.b.import_function(ExtFuncData { name, signature, colocated: true, patchable: false })
    }

    /// Stands for Cranelift's stack check where its trap is of no use: whether there are `frame` bytes below this frame.
    /// The trap is one of the function `key`.
    fn check_stack(&mut self, key: FuncKey, vmctx: Value, frame: u32) {
        let sp = self.b.ins().get_stack_pointer(I64);
        let sp = if frame == 0 { sp } else { self.b.ins().iadd_imm_s(sp, -i64::from(frame)) };
        let limit = self.b.ins().load(I64, TRUSTED, vmctx, context::stack_limit as i32);
        let below = self.b.ins().icmp(IntCC::UnsignedLessThan, sp, limit);
        let overflow = self.b.create_block();
        let next = self.b.create_block();
        self.b.set_cold_block(overflow);
        self.b.ins().brif(below, overflow, &[], next, &[]);
        self.b.seal_block(overflow);
        self.b.seal_block(next);
        self.b.switch_to_block(overflow);
        let code = self.b.ins().iconst(I32, i64::from(TrapCode::StackOverflow as u8));
        match key {
            FuncKey::Wasm(_) | FuncKey::Osr { .. } => {
                // Through the builtin's trampoline, so that this frame is in the backtrace.
                let raise =
                    self.func(FuncKey::WasmToBuiltin(Builtin::RaiseTrap), builtin_signature(Builtin::RaiseTrap));
                self.b.ins().call(raise, &[vmctx, code]);
            }
            _ => {
                self.call_native(vmctx, Builtin::RaiseTrap, &[vmctx, code]);
                self.call_native(vmctx, Builtin::Raise, &[vmctx]);
            }
        }
        self.b.ins().trap(trap_code(TrapCode::Unreachable));
        self.b.switch_to_block(next);
    }

    fn store_slots(&mut self, values: Value, from: &[Value]) {
        for (i, value) in from.iter().enumerate() {
            self.b.ins().store(SLOT, *value, values, i as i32 * SLOT_SIZE as i32);
        }
    }

    fn load_slots(&mut self, values: Value, types: &[ValType]) -> Vec<Value> {
        types
            .iter()
            .enumerate()
            .map(|(i, ty)| self.b.ins().load(clif_type(*ty), SLOT, values, i as i32 * SLOT_SIZE as i32))
            .collect()
    }
}
