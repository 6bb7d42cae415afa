//! Calls, returns and handlers.

use iced_x86::{Instruction, OpKind};
use kiln_env::builtins::BuiltinType;
use kiln_env::machine::HandlerSite;
use kiln_env::{Builtin, FuncIndex, FuncKey};

use crate::abi::{Kind, Place, SAVED, Signature};
use crate::access::Access;
use crate::check::Checker;
use crate::refusal::{Result, Rule, broken};
use crate::state::{RAX, RBP, RSP, State, UNCHECKED};
use crate::step::number_of;
use crate::value::{Base, Value};

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A function by its name.
    Direct(FuncKey),
    /// The callee that a symbol names.
    Callee(u32),
    /// An imported function.
    Import(u32),
}

/// What an argument of a builtin must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Anything,
    Memory,
    /// The address of a memory's `VmMemory`.
    VmMemory,
    Table,
    Data,
    Elem,
    Func,
    Defined,
    TypeNumber,
    FuncRef,
    Reference,
    Tag,
    /// So many bytes of the frame as the next argument says slots.
    Payload,
}

/// What each builtin wants beside the context.
fn wanted(builtin: Builtin) -> &'static [Wanted] {
    use Wanted::*;
    match builtin {
        Builtin::MemoryGrow => &[Memory, Anything],
        Builtin::MemoryCopy => &[Memory, Memory, Anything, Anything, Anything],
        Builtin::MemoryFill => &[Memory, Anything, Anything, Anything],
        Builtin::MemoryInit => &[Memory, Data, Anything, Anything, Anything],
        Builtin::DataDrop => &[Data],
        Builtin::TableGrowFunc => &[Table, Anything, FuncRef],
        Builtin::TableGrowRef => &[Table, Anything, Reference],
        Builtin::TableFillFunc => &[Table, Anything, FuncRef, Anything],
        Builtin::TableFillRef => &[Table, Anything, Reference, Anything],
        Builtin::TableCopy => &[Table, Table, Anything, Anything, Anything],
        Builtin::TableInit => &[Table, Elem, Anything, Anything, Anything],
        Builtin::ElemDrop => &[Elem],
        Builtin::TableGetFunc => &[Table, Anything],
        Builtin::TableSetFunc => &[Table, Anything, FuncRef],
        Builtin::ResolveIndirect => &[Table, Anything, TypeNumber],
        Builtin::RefFunc => &[Func],
        Builtin::AtomicWait32 | Builtin::AtomicWait64 => &[Memory, Anything, Anything, Anything],
        Builtin::AtomicNotify => &[Memory, Anything, Anything],
        Builtin::OutOfFuel | Builtin::NewEpoch => &[],
        Builtin::RaiseTrap => &[Anything],
        Builtin::NewException => &[Tag, Payload, Anything],
        Builtin::ExceptionPayload | Builtin::ExceptionTag | Builtin::ThrowRef => &[Reference],
        Builtin::Raise => &[],
        Builtin::TierUp => &[Defined],
        Builtin::Osr => &[Defined, Anything],
        Builtin::CopyBytes => &[VmMemory, VmMemory, Anything, Anything, Anything],
        Builtin::FillBytes => &[VmMemory, Anything, Anything, Anything],
    }
}

fn wrong<T>(reason: impl Into<String>) -> Result<T> {
    broken(Rule::Call, reason)
}

impl Checker<'_> {
    /// What an indirect call or jump calls.
    pub(crate) fn target(&self, s: &mut State, instruction: &Instruction) -> Result<Target> {
        let value = match instruction.op0_kind() {
            OpKind::Register => number_of(instruction.op0_register()).map(|n| s.registers[n]),
            OpKind::Memory => {
                let address = self.address(s, instruction);
                Some(self.access(s, address, 8, Access::Load)?)
            }
            _ => None,
        };
        match value {
            Some(Value { base: Base::Code, symbol, offset: 0, .. }) => Ok(Target::Callee(symbol)),
            Some(Value { base: Base::ImportCode(import), symbol: 0, offset: 0, .. }) => Ok(Target::Import(import)),
            _ => broken(Rule::Control, "the target is not the code of a callee"),
        }
    }

    fn signature_of(&self, s: &State, target: Target) -> Result<Signature> {
        let ty = match target {
            Target::Direct(key) => {
                let found = self.plan.signature_of(key);
                return found.map_or_else(|| wrong(format!("{key} is never called by wasm")), Ok);
            }
            Target::Callee(symbol) => s.fact(symbol).callee.ty,
            Target::Import(import) => self.plan.import_type(import),
        };
        let signature = ty.and_then(|ty| self.plan.signature(ty));
        signature.map_or_else(|| wrong("the callee's type was not compared"), |found| Ok(found.clone()))
    }

    /// Whether the context in the register of arguments belongs to the callee, and is prepared.
    fn check_context(&self, s: &mut State, target: Target, value: Value) -> Result<()> {
        let (fits, ready) = match target {
            Target::Direct(_) => (value == Value::base(Base::Context), true),
            Target::Callee(symbol) => {
                let callee = s.fact(symbol).callee;
                let is_own = callee.own || self.plan.own_references;
                let own = is_own && value == Value::base(Base::Context);
                (value == Value::of(Base::CalleeContext, symbol) || own, is_own || callee.ready())
            }
            Target::Import(import) => (value == Value::base(Base::ImportContext(import)), s.import(import).ready()),
        };
        if !fits {
            return wrong("the context is not that of the callee");
        }
        if !ready {
            return wrong("the callee's context lacks the stack limit or the caller");
        }
        Ok(())
    }

    /// Arguments, of which those on the stack begin at `stack`.
    fn check_arguments(&self, s: &mut State, target: Target, signature: &Signature, stack: i64) -> Result<()> {
        for (i, (kind, place)) in signature.params.iter().enumerate() {
            let value = match place {
                Place::Register(register) => Some(s.registers[*register]),
                Place::Memory(at) => s.cell(stack + i64::from(*at), 8),
                Place::Vector => None,
            };
            match kind {
                Kind::Context => {
                    let Some(value) = value else { return wrong("the context is not known") };
                    self.check_context(s, target, value)?;
                }
                Kind::FuncRef(_) | Kind::Reference => {
                    if !value.is_some_and(|value| self.is_of(s, value, *kind)) {
                        return wrong(format!("argument {i} is no reference of its type"));
                    }
                }
                Kind::Results(_) | Kind::Pointer | Kind::Int32 | Kind::Int64 | Kind::Vector(_) => {}
            }
        }
        match target {
            Target::Direct(FuncKey::WasmToBuiltin(builtin)) => self.check_builtin(s, builtin, signature),
            _ => Ok(()),
        }
    }

    fn check_builtin(&self, s: &State, builtin: Builtin, signature: &Signature) -> Result<()> {
        let module = self.plan.module;
        let arguments = signature.params.iter().filter(|(kind, _)| *kind != Kind::Context);
        let value = |place: &Place| match place {
            Place::Register(register) => Some(s.registers[*register]),
            Place::Memory(at) => s.cell(s.registers[RSP].offset + i64::from(*at), 8),
            Place::Vector => None,
        };
        let arguments: Vec<Option<Value>> = arguments.map(|(_, place)| value(place)).collect();
        for (i, (value, wanted)) in arguments.iter().zip(wanted(builtin)).enumerate() {
            let index = |count: usize| {
                let n = value.and_then(|value| value.as_constant()).map(|n| n as u32 as usize);
                n.is_some_and(|n| n < count)
            };
            let fits = match wanted {
                Wanted::Anything => true,
                Wanted::Memory => index(module.memories.len()),
                Wanted::VmMemory => value.is_some_and(|value| self.is_vm_memory(value)),
                Wanted::Table => index(module.tables.len()),
                Wanted::Data => index(module.datas.len()),
                Wanted::Elem => index(module.elems.len()),
                // Where no reference leads elsewhere, none is made that does.
                Wanted::Func if self.plan.own_references => {
                    index(module.funcs.len()) && !index(module.num_imported_funcs as usize)
                }
                Wanted::Func => index(module.funcs.len()),
                Wanted::Defined => index(module.funcs.len() - module.num_imported_funcs as usize),
                Wanted::TypeNumber => {
                    value.is_some_and(|value| matches!(value.base, Base::TypeNumber(_)) && value.offset == 0)
                }
                Wanted::FuncRef => value.is_some_and(|value| self.is_of(s, value, Kind::FuncRef(None))),
                Wanted::Reference => value.is_some_and(|value| self.is_of(s, value, Kind::Reference)),
                Wanted::Tag => value.is_some_and(|value| self.is_tag(value)),
                Wanted::Payload => {
                    let slots = arguments.get(i + 1).copied().flatten().and_then(|value| value.as_constant());
                    value.zip(slots).is_some_and(|(value, slots)| self.is_payload(s, value, slots))
                }
            };
            if !fits {
                return wrong(format!("argument {} of {} is not {wanted:?}", i + 1, builtin.name()));
            }
        }
        Ok(())
    }

    /// A pointer to a memory's fields, in the context or outside of it.
    fn is_vm_memory(&self, value: Value) -> bool {
        match value.base {
            Base::VmMemory(_) => value.symbol == 0 && value.offset == 0,
            Base::Context => value.symbol == 0 && self.plan.has_memory_at(value.offset),
            _ => false,
        }
    }

    fn is_tag(&self, value: Value) -> bool {
        match value.base {
            Base::Tag(_) => value.symbol == 0 && value.offset == 0,
            Base::Context => value.symbol == 0 && self.plan.tag_at(value.offset).is_some(),
            _ => false,
        }
    }

    fn is_payload(&self, s: &State, value: Value, slots: i64) -> bool {
        let Some(at) = value.distance_to(Base::Frame) else { return value == Value::constant(0) && slots == 0 };
        let end = at.saturating_add(slots.saturating_mul(16));
        slots >= 0 && at >= s.registers[RSP].offset && end <= 0
    }

    /// Makes a call.
    pub(crate) fn call(&self, s: &mut State, target: Target) -> Result<()> {
        let signature = self.signature_of(s, target)?;
        self.check_frame(s)?;
        let Some(stack) = s.registers[RSP].distance_to(Base::Frame) else {
            return broken(Rule::Frame, "the stack pointer is not known");
        };
        if stack < s.checked {
            let needs = if s.checked == UNCHECKED { "without a check" } else { "with more than was checked" };
            return broken(Rule::Frame, format!("a call {needs} of the stack"));
        }
        if stack.rem_euclid(16) != 8 {
            return broken(Rule::Frame, "the stack is not aligned at a call");
        }
        self.check_arguments(s, target, &signature, stack)?;
        let back = stack + i64::from(signature.stack);
        let ty = self.result_type(s, target);
        if let Some((Kind::Results(area), Place::Register(register))) = signature.params.first() {
            self.results_area(s, s.registers[*register], *area, back)?;
        }
        // What is below the stack pointer is the callee's.
        s.cells.retain(|cell| cell.at >= back);
        for register in (0..16).filter(|register| *register != RSP && !SAVED.contains(register)) {
            s.registers[register] = s.unknown();
        }
        self.forget_after_call(s);
        s.registers[RSP] = Value { offset: back, ..Value::base(Base::Frame) };
        for (kind, place) in &signature.results {
            let Place::Register(register) = place else { continue };
            let kind = match (kind, ty) {
                (Kind::Pointer, Some(ty)) => Kind::FuncRef(ty),
                (kind, _) => *kind,
            };
            if matches!(kind, Kind::FuncRef(_) | Kind::Reference) {
                s.registers[*register] = self.of_kind(s, kind);
            }
        }
        self.builtin_result(s, target);
        Ok(())
    }

    /// The type of the reference that a builtin gives, where it gives one.
    fn result_type(&self, s: &State, target: Target) -> Option<Option<u32>> {
        let Target::Direct(FuncKey::WasmToBuiltin(builtin)) = target else { return None };
        let argument = |n: usize| s.registers[crate::abi::ARGUMENTS[n]];
        let constant = |n: usize| argument(n).as_constant().map(|n| n as u32);
        match builtin {
            Builtin::RefFunc => Some(Some(self.plan.module.funcs.get(FuncIndex(constant(1)?))?.ty.0)),
            Builtin::TableGetFunc => {
                let ty = self.plan.module.tables.values().nth(constant(1)? as usize)?.element;
                match Kind::of(kiln_env::types::ValType::Ref(ty)) {
                    Kind::FuncRef(ty) => Some(ty),
                    _ => None,
                }
            }
            Builtin::ResolveIndirect => match argument(3).base {
                Base::TypeNumber(ty) => Some(Some(ty)),
                _ => None,
            },
            _ => None,
        }
    }

    /// What is known of results of builtins beside their types.
    fn builtin_result(&self, s: &mut State, target: Target) {
        let Target::Direct(FuncKey::WasmToBuiltin(builtin)) = target else { return };
        debug_assert_eq!(builtin.params().first(), Some(&BuiltinType::Pointer));
        if builtin == Builtin::NewException {
            s.registers[RAX] = Value::base(Base::Reference);
        }
    }

    /// The place for a callee's results is in the frame, above what the call takes.
    fn results_area(&self, s: &mut State, value: Value, area: u32, back: i64) -> Result<()> {
        let Some(at) = value.distance_to(Base::Frame) else {
            return wrong("the place for results is not in the frame");
        };
        let Some(frame) = s.registers[RBP].distance_to(Base::Frame) else {
            return broken(Rule::Frame, "the frame pointer is not known");
        };
        if at < back || at + i64::from(area) > frame {
            return wrong("the place for results is not within the frame");
        }
        s.forget(at, area.into());
        Ok(())
    }

    /// Checks that what the caller wants back is there, with the return address at `at`.
    fn check_saved(&self, s: &State, at: i64) -> Result<()> {
        if s.registers[RSP].distance_to(Base::Frame) != Some(at) {
            return broken(Rule::Frame, "the stack pointer is not where the caller expects it");
        }
        if s.cell(at, 8) != Some(Value::base(Base::ReturnAddress)) {
            return broken(Rule::Frame, "the return address is not what the caller left");
        }
        for register in SAVED {
            if s.registers[register] != Value::base(Base::Saved(register as u8)) {
                return broken(Rule::Frame, format!("register {register} is not given back as it was"));
            }
        }
        Ok(())
    }

    /// A return.
    pub(crate) fn returns(&self, s: &State, instruction: &Instruction) -> Result<()> {
        let popped = if instruction.op_count() == 0 { 0 } else { u32::from(instruction.immediate16()) };
        if popped != self.signature.stack {
            return broken(Rule::Frame, "it removes other arguments than the caller passed");
        }
        self.check_saved(s, 0)?;
        for (kind, place) in &self.signature.results {
            let Place::Register(register) = place else { continue };
            if matches!(kind, Kind::FuncRef(_) | Kind::Reference) && !self.is_of(s, s.registers[*register], *kind) {
                return wrong("a result is no reference of its type");
            }
        }
        Ok(())
    }

    /// A tail call.
    pub(crate) fn tail_call(&self, s: &mut State, target: Target) -> Result<()> {
        let signature = self.signature_of(s, target)?;
        let at = i64::from(self.signature.stack) - i64::from(signature.stack);
        self.check_saved(s, at)?;
        let compatible = signature.results.len() == self.signature.results.len()
            && signature.area == self.signature.area
            && signature.results.iter().zip(&self.signature.results).all(|((kind, place), (own, own_place))| {
                let fits = match (kind, own) {
                    (Kind::FuncRef(_), Kind::FuncRef(None)) => true,
                    (Kind::FuncRef(found), Kind::FuncRef(Some(wanted))) => self.plan.is_subtype(*found, *wanted),
                    (kind, own) => kind == own,
                };
                fits && place == own_place
            });
        if !compatible {
            return wrong("the callee of a tail call has other results");
        }
        if let Some((Kind::Results(_), Place::Register(register))) = signature.params.first()
            && s.registers[*register] != Value::base(Base::Results)
        {
            return wrong("the callee of a tail call writes its results elsewhere");
        }
        self.check_arguments(s, target, &signature, at + 8)
    }

    /// The states in which the handlers of a call are entered.
    pub(crate) fn handlers(&self, s: &State, site: &HandlerSite) -> Result<Vec<(u32, State)>> {
        let (stack, frame) = (s.registers[RSP].offset, s.registers[RBP].offset);
        if frame - stack != i64::from(site.fp_to_sp) {
            return broken(Rule::Table, "the distance from frame to stack pointer at a call is wrong");
        }
        if let Some(slot) = site.context_slot
            && s.cell(stack + i64::from(slot), 8) != Some(Value::base(Base::Context))
        {
            return broken(Rule::Table, "the slot of a call with handlers does not hold the context");
        }
        let mut state = s.clone();
        for register in (0..16).filter(|register| ![RSP, RBP].contains(register)) {
            state.registers[register] = state.unknown();
        }
        state.registers[RAX] = Value::base(Base::Reference);
        Ok(site.handlers.iter().map(|handler| (handler.target, state.clone())).collect())
    }
}
