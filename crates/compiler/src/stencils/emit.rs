//! One operator as a function of its own, made with the operator core.

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::types::{F32, F64, I8X16, I32, I64};
use cranelift_codegen::ir::{
    self, AbiParam, ExtFuncData, ExternalName, Function, InstBuilder, MemFlagsData, Signature, StackSlotData,
    StackSlotKind, Type, UserExternalName, UserFuncName, Value,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::{Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use kiln_env::module::FuncDecl;
use kiln_env::opcode::{Class, Immediates};
use kiln_env::stencil::{self, Choice, FORM_BASE, Glue, LANE, Piece, Ty, value};
use kiln_env::types::*;
use kiln_env::{ContextLayout, FuncIndex, FuncKey, Module, Op, TableIndex, Tunables, TypeIndex};

use super::cut::Raw;
use super::signatures::{Values, decode, encode};
use crate::codegen::{check_entry, from_trap_code};
use crate::info::FuncInfos;
use crate::module_env::ModuleEnv;
use crate::translate::emitter::{Emitter, OpEnv};
use crate::translate::ops;
use crate::translate::ops::call::Source;

/// An operator in one of its variants.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) piece: Piece,
    pub(super) variant: u8,
    pub(super) params: Vec<Ty>,
    /// Base-2 logarithm of the bytes accessed, for memory operators.
    pub(super) align: u8,
    /// Whether nothing but operands and results is in registers.
    pub(super) framed: bool,
    pub(super) module: Facts,
}

impl Subject {
    /// Whether its operands are in slots that follow each other: the first one's place is a value, the others' are not. Results
    /// but the last take the first of these slots.
    pub(super) fn is_row(&self) -> bool {
        matches!(self.piece, Piece::Op(op) if op.class() == Class::Wide)
    }

    /// How many operands have a value of their own.
    pub(super) fn placed(&self) -> usize {
        if self.is_row() { 1 } else { self.params.len() }
    }

    /// Whether it must be aligned.
    pub(super) fn is_atomic_access(&self) -> bool {
        matches!(self.piece, Piece::Op(op) if op.class() == Class::Atomic)
    }
}

/// The module around an operator.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// What the operator works on is behind a pointer.
    pub(super) indirect: bool,
    /// Indices have 64 bits; of the second memory or table.
    pub(super) is_64: bool,
    pub(super) is_64_too: bool,
    /// Element type of tables and globals.
    pub(super) content: Option<ValType>,
    /// The memory's base is in its register.
    pub(super) based: bool,
    /// Fuel is counted; epochs are checked.
    pub(super) fuel: bool,
    pub(super) epochs: bool,
}

impl Facts {
    /// A module of which nothing matters.
    pub(super) const NONE: Facts = Facts {
        indirect: false,
        is_64: false,
        is_64_too: false,
        content: None,
        based: false,
        fuel: false,
        epochs: false,
    };
}

/// Namespace of the exits.
const EXIT: u32 = 0xffff_0000;

/// Entities of each kind in the module around an operator.
const ENTITIES: u32 = 6;

fn clif(ty: Ty) -> Type {
    match ty {
        Ty::I32 => I32,
        Ty::I64 => I64,
        Ty::F32 => F32,
        Ty::F64 => F64,
        Ty::V128 => I8X16,
    }
}

fn module(facts: &Facts, page: u8) -> Module {
    let ty = FuncType { params: Box::new([]), results: Box::new([]) };
    let mut module = Module { num_imported_funcs: ENTITIES, ..Module::default() };
    module.types.push(SubType { is_final: true, supertype: None, composite: CompositeType::Func(ty) });
    for i in 0..ENTITIES {
        module.funcs.push(FuncDecl { ty: TypeIndex(0), escapes: false });
        // The second index of copies is even.
        let is_64 = if i % 2 == 0 { facts.is_64_too } else { facts.is_64 };
        let limits = Limits { min: 0, max: None, is_64 };
        let content = facts.content.unwrap_or(ValType::FUNCREF);
        let element = match content {
            ValType::Ref(r) => r,
            _ => RefType::FUNCREF,
        };
        module.memories.push(MemoryType { limits, shared: false, page_size_log2: if facts.based { 16 } else { page } });
        module.tables.push(TableType { element, limits });
        module.globals.push(GlobalType { content, mutable: true });
    }
    module
}

/// Makes code of operators.
pub(super) struct Maker {
    isa: OwnedTargetIsa,
    context: Context,
    frontend: FunctionBuilderContext,
    infos: FuncInfos,
    /// How many times each stencil is verified.
    pub(super) rounds: usize,
    /// Functions compiled so far.
    pub(super) compiled: usize,
}

impl Maker {
    pub(super) fn new(isa: OwnedTargetIsa, rounds: usize) -> Maker {
        let (context, frontend) = (Context::new(), FunctionBuilderContext::new());
        Maker { isa, context, frontend, infos: FuncInfos::default(), rounds, compiled: 0 }
    }

    /// Compiles an operator with these values in its holes.
    pub(super) fn make(&mut self, s: &Subject, c: Choice, v: &[i64; value::COUNT]) -> Result<Raw, String> {
        self.compiled += 1;
        self.context.clear();
        let index = v[value::INDEX] as u32;
        let module = module(&s.module, v[value::PAGE] as u8);
        let place = v[value::PLACE] as u32;
        let layout = ContextLayout::of_one(index, place, v[value::TYPE] as u32, s.module.indirect, ENTITIES as usize);
        let tunables = Tunables {
            fuel: s.module.fuel,
            epochs: s.module.epochs,
            memory_guard: 1 << 40,
            memory_reservation: if s.module.based { 1 << 32 } else { 0 },
            ..Tunables::default()
        };
        let env = ModuleEnv {
            module: &module,
            layout: &layout,
            tunables: &tunables,
            infos: &self.infos,
            isa: &*self.isa,
            profile: None,
            own_references: false,
            bulk_in_line: s.module.based,
        };
        let mut stencil = Stencil::begin(&mut self.context.func, &mut self.frontend, &env, s, c, v);
        stencil.body(v)?;
        stencil.e.b.seal_all_blocks();
        stencil.e.b.finalize(self.isa.frontend_config());
        self.compile()
    }

    fn compile(&mut self) -> Result<Raw, String> {
        if let Err(e) = self.context.compile(&*self.isa, &mut ControlPlane::default()) {
            return Err(format!("{:?}", e.inner));
        }
        check_entry(&self.context.func, &self.context.domtree).map_err(|e| e.to_string())?;
        let code = self.context.compiled_code().ok_or("Cranelift left no code")?;
        let buffer = &code.buffer;
        let mut raw = Raw {
            code: buffer.data().to_vec(),
            exits: Vec::new(),
            calls: Vec::new(),
            traps: Vec::new(),
            blocks: code.bb_starts.len(),
            aligned: buffer.alignment > 1,
        };
        for reloc in buffer.relocs() {
            let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = &reloc.target else {
                return Err(format!("relocation {:?}", reloc.target));
            };
            let name = &self.context.func.params.user_named_funcs()[*name];
            let at = reloc.offset as usize;
            if name.namespace == EXIT {
                raw.exits.push((at, name.index == 1));
                continue;
            }
            match FuncKey::unpack(name.namespace, name.index) {
                Ok(FuncKey::WasmToBuiltin(builtin)) => raw.calls.push((at, builtin as u32)),
                other => return Err(format!("a call of {other:?}")),
            }
        }
        for trap in buffer.traps() {
            raw.traps.push((trap.offset as usize, from_trap_code(trap.code).ok_or("unknown trap")?));
        }
        Ok(raw)
    }
}

/// Lanes of a shuffle from its masks.
fn lanes(v: &[i64; value::COUNT]) -> [u8; 16] {
    let mask = |at: usize, lane: usize| v[at + lane / 8].to_le_bytes()[lane % 8];
    std::array::from_fn(|lane| match mask(value::LANES, lane) {
        first @ 0..16 => first,
        _ => 16 + mask(value::LANES2, lane) % 16,
    })
}

/// Positions of parameters in registers.
const TEMP: usize = 2;
const PIN: usize = 3;
const FLOAT_TEMP: usize = 6;
const FLOAT_PIN: usize = 7;

/// The parameter that an operand of this kind is.
fn register(kind: u8, ty: Ty) -> usize {
    match (kind, ty.is_int()) {
        (stencil::TEMP, true) => TEMP,
        (stencil::TEMP, false) => FLOAT_TEMP,
        (pin, true) => PIN + usize::from(pin - stencil::PIN),
        (pin, false) => FLOAT_PIN + usize::from(pin - stencil::PIN),
    }
}

/// A stencil under construction.
struct Stencil<'a, 'f, 'm> {
    e: Emitter<'f, 'm>,
    s: &'a Subject,
    c: Choice,
    params: Vec<Value>,
    slot: ir::StackSlot,
}

impl<'a, 'f, 'm> Stencil<'a, 'f, 'm> {
    fn begin(
        func: &'f mut Function,
        frontend: &'f mut FunctionBuilderContext,
        env: &ModuleEnv<'m>,
        s: &'a Subject,
        c: Choice,
        v: &[i64; value::COUNT],
    ) -> Self {
        let mut types = vec![I64; 6];
        if !s.framed {
            types.extend([F64; 1 + stencil::FLOAT_PINS]);
        }
        for (ty, kind) in s.params.iter().zip([c.a, c.b]) {
            if !ty.is_int() && kind != stencil::SLOT && kind != stencil::IMM {
                types[register(kind, *ty)] = clif(*ty);
            }
        }
        let mut signature = Signature::new(CallConv::Tail);
        signature.params.extend(types.iter().map(|t| AbiParam::new(*t)));
        func.signature = signature;
        func.name = UserFuncName::user(0, 0);
        let mut b = FunctionBuilder::new(func, frontend);
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        b.ensure_inserted_block();
        let params = b.block_params(block).to_vec();
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, v[value::SPILL] as u32, 4);
        let slot = b.create_sized_stack_slot(data);
        let mut e = Emitter { b, env: OpEnv::new(env, params[0]) };
        if s.module.based {
            e.env.memory_base = Some(params[1]);
        }
        Stencil { e, s, c, params, slot }
    }

    /// An operand.
    fn operand(&mut self, i: usize, v: &[i64; value::COUNT]) -> Value {
        let ty = self.s.params[i];
        if self.s.is_row() {
            let address = self.in_row(i, v);
            return self.e.b.ins().load(clif(ty), MemFlagsData::new().with_notrap(), address, 0);
        }
        let kind = [self.c.a, self.c.b, stencil::SLOT][i];
        let b = &mut self.e.b;
        match kind {
            stencil::SLOT => {
                let address = b.ins().stack_addr(I64, self.slot, Offset32::new(v[i] as i32));
                b.ins().load(clif(ty), MemFlagsData::new().with_notrap(), address, 0)
            }
            stencil::IMM if ty == Ty::I32 => b.ins().iconst(I32, i64::from(v[i] as u32)),
            stencil::IMM => b.ins().iconst(I64, v[i]),
            kind => {
                let value = self.params[register(kind, ty)];
                if ty == Ty::I32 { b.ins().ireduce(I32, value) } else { value }
            }
        }
    }

    /// The address of a slot in a row.
    fn in_row(&mut self, i: usize, v: &[i64; value::COUNT]) -> Value {
        let offset = v[0] as i32 + (i * size_of::<u64>()) as i32;
        self.e.b.ins().stack_addr(I64, self.slot, Offset32::new(offset))
    }

    fn body(&mut self, v: &[i64; value::COUNT]) -> Result<(), String> {
        let mut args: Vec<Value> = (0..self.s.params.len()).map(|i| self.operand(i, v)).collect();
        if self.s.piece == Op::I8x16Shuffle.into() && args.len() == 1 {
            args.push(args[0]);
        }
        // Cranelift would compute the address of a slot in a register of its own to make the load part of the operator.
        self.e.b.ins().sequence_point();
        let e = &mut self.e;
        let mut context = self.params[0];
        let mut results: Vec<Value> = match self.s.piece {
            Piece::Glue(glue @ (Glue::CalleeImport | Glue::CalleeElement | Glue::CalleeRef)) => {
                let callee = match glue {
                    Glue::CalleeImport => ops::call::direct(e, FuncIndex(v[value::INDEX] as u32)),
                    Glue::CalleeElement => {
                        let source = Source::element(e, TableIndex(v[value::INDEX] as u32), args[0]);
                        source.callee(e, TypeIndex(0))
                    }
                    _ => Source::reference(e, args[0]).callee(e, TypeIndex(0)),
                };
                let ops::call::Target::Indirect(_, code) = callee.target else { return Err("a direct callee".into()) };
                context = callee.context;
                vec![code]
            }
            Piece::Glue(Glue::Fuel) => {
                e.count_fuel(v[0] as u64);
                e.flush_fuel();
                Vec::new()
            }
            Piece::Glue(Glue::Interrupts) => {
                e.check_interrupts();
                Vec::new()
            }
            Piece::Op(op) => {
                let lane = if self.s.align == u8::MAX { self.s.variant } else { self.s.variant / LANE };
                let is_access = self.s.align != u8::MAX;
                let values = Values {
                    number: if is_access { v[value::OFFSET] } else { v[0] },
                    index: if self.s.module.based { FORM_BASE.into() } else { v[value::INDEX] as u32 },
                    index2: if self.s.module.based { FORM_BASE.into() } else { v[value::INDEX2] as u32 },
                    lane: if op.immediates() == Immediates::Index { 0 } else { lane },
                    align: if is_access { self.s.align } else { 0 },
                    lanes: stencil::shuffle::lanes(lane, v[value::FORM] as u8).unwrap_or_else(|| lanes(v)),
                };
                let bytes = encode(op, &values);
                let op = decode(&bytes).ok_or_else(|| format!("{bytes:02x?} is no operator"))?;
                ops::emit(e, &op, &args).map_err(|e| e.to_string())?.to_vec()
            }
        };
        if self.s.is_row()
            && let Some(last) = results.pop()
        {
            for (i, result) in results.iter().enumerate() {
                let address = self.in_row(i, v);
                self.e.b.ins().store(MemFlagsData::new().with_notrap(), *result, address, 0);
            }
            results = vec![last];
        }
        self.exit(context, &results);
        Ok(())
    }

    /// Ends the stencil: what is in registers goes on to the next one.
    fn exit(&mut self, context: Value, results: &[Value]) {
        let is_float = |this: &Self, v: Value| !this.e.b.func.dfg.value_type(v).is_int();
        let args = if self.s.framed {
            let is_callee =
                matches!(self.s.piece, Piece::Glue(Glue::CalleeImport | Glue::CalleeElement | Glue::CalleeRef));
            is_callee.then_some(context).into_iter().chain(results.iter().copied()).collect()
        } else {
            let mut args = self.params.clone();
            if self.c.branch == stencil::PLAIN
                && let Some(result) = results.first()
            {
                let at = if is_float(self, *result) { FLOAT_TEMP } else { TEMP };
                args[at] = *result;
            }
            args
        };
        match self.c.branch {
            stencil::PLAIN => self.leave(0, &args),
            branch => {
                let b = &mut self.e.b;
                let (taken, next) = (b.create_block(), b.create_block());
                b.set_cold_block(next);
                let (then, otherwise) = if branch == stencil::IF_TRUE { (taken, next) } else { (next, taken) };
                b.ins().brif(results[0], then, &[], otherwise, &[]);
                b.switch_to_block(taken);
                self.leave(1, &args);
                self.e.b.switch_to_block(next);
                self.leave(0, &args);
            }
        }
    }

    fn leave(&mut self, index: u32, args: &[Value]) {
        let b = &mut self.e.b;
        let mut signature = Signature::new(CallConv::Tail);
        signature.params.extend(args.iter().map(|v| AbiParam::new(b.func.dfg.value_type(*v))));
        let signature = b.import_signature(signature);
        let name = b.func.declare_imported_user_function(UserExternalName { namespace: EXIT, index });
        let name = ExternalName::user(name);
        let func = b.import_function(ExtFuncData { name, signature, colocated: true, patchable: false });
        b.ins().return_call(func, args);
    }
}
