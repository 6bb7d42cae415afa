//! What loads and stores may reach, and what loads give.

use kiln_env::FuncKey;
use kiln_env::abi::SLOT_SIZE;
use kiln_env::layout::{GLOBAL_SIZE, context, func_ref, memory, store_context, table};
use kiln_env::limits::MAX_OSR_SLOTS;
use kiln_env::tier::{entry_counter, loop_counter, sites_address};

use crate::abi::{Kind, Place};
use crate::check::Checker;
use crate::plan::Field;
use crate::refusal::{Result, Rule, broken};
use crate::state::{Flags, State};
use crate::value::{Base, Fact, Length, MAX_U32, Value};

/// What an instruction does to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Reads.
    Load,
    /// Writes this value; `None` is one that is not tracked.
    Store(Option<Value>),
    /// Reads and writes: numbers only.
    Update,
}

impl Access {
    fn writes(self) -> bool {
        self != Access::Load
    }
}

/// Nothing is mapped below this address: an access there faults. The kernel's least `mmap_min_addr` that Kiln runs with.
const NULL_PAGE: i64 = 4096;

/// Sizes of memories and tables are below this.
const MAX_LENGTH: i64 = 1 << 47;

fn unsafe_access<T>(reason: impl Into<String>) -> Result<T> {
    broken(Rule::Memory, reason)
}

/// Whether `size` bytes at `at` lie within so many bytes.
fn within(at: i64, size: u32, bytes: i64) -> bool {
    at >= 0 && at.checked_add(size.into()).is_some_and(|end| end <= bytes)
}

impl Checker<'_> {
    /// Checks an access of `size` bytes at `address`; gives what a load gets, zero-extended.
    pub(crate) fn access(&self, s: &mut State, address: Value, size: u32, access: Access) -> Result<Value> {
        let exact = (address.symbol == 0 || address.base.is_identity()).then_some(address.offset);
        match (address.base, exact) {
            (Base::Frame, Some(at)) => self.frame_access(s, at, size, access),
            (Base::Context, Some(at)) => self.context_access(s, at, size, access),
            (Base::Store, Some(at)) => self.store_access(s, at, size, access),
            (Base::Memory(index), _) => self.memory_access(s, index, address, size),
            (Base::Bounded(_), _) => {
                let room = s.fact(address.symbol).room;
                if within(address.offset, size, room.min(NULL_PAGE)) {
                    return Ok(self.loaded(s, size));
                }
                unsafe_access(format!("{size} bytes at {} of an address that was checked for {room}", address.offset))
            }
            (Base::Element(index), Some(at)) => self.element_access(s, index, address.symbol, at, size, access),
            (Base::FuncRef, Some(at)) if access == Access::Load => self.func_ref_load(s, address.symbol, at, size),
            (Base::CalleeContext | Base::ImportContext(_), Some(at)) => {
                self.foreign_store(s, address, at, size, access)
            }
            (Base::Global(index), Some(at)) => {
                let Some(ty) = self.plan.module.globals.values().nth(index as usize) else {
                    return unsafe_access("a global that there is not");
                };
                self.global_access(s, Kind::of(ty.content), ty.mutable, (at, ty.content.size()), size, access)
            }
            (Base::VmMemory(index), Some(at)) if access == Access::Load && size == 8 => match at as u32 {
                memory::base => Ok(Value::base(Base::Memory(index))),
                memory::len => Ok(self.length(s, Length::Memory(index))),
                _ => unsafe_access("a field that a memory has not"),
            },
            (Base::VmTable(index), Some(at)) if access == Access::Load && size == 8 => match at as u32 {
                table::base => Ok(Value::base(Base::Table(index))),
                table::len => Ok(self.length(s, Length::Table(index))),
                _ => unsafe_access("a field that a table has not"),
            },
            (Base::Counters, Some(at)) => self.counter_access(s, at, size, access),
            (Base::Sites, Some(at)) if within(at, size, self.sites_len()) => Ok(self.loaded(s, size)),
            (Base::OsrBuffer, Some(at)) if within(at, size, i64::from(MAX_OSR_SLOTS * SLOT_SIZE)) => {
                Ok(self.loaded(s, size))
            }
            (Base::Epoch, Some(0)) if access == Access::Load && size == 8 => Ok(s.unknown()),
            (Base::Builtins, Some(_)) => unsafe_access("only trampolines call builtins themselves"),
            (Base::Results, Some(at)) => self.results_access(s, at, size, access),
            (Base::Text, _) if access == Access::Load => {
                let (low, high) = s.range(address);
                if low >= 0 && within(high, size, self.function.code.len() as i64) {
                    return Ok(self.loaded(s, size));
                }
                unsafe_access("a constant outside of the function")
            }
            (Base::Number, _) => {
                let (low, high) = s.range(address);
                if low >= 0 && within(high, size, NULL_PAGE) {
                    // It faults.
                    return Ok(self.loaded(s, size));
                }
                unsafe_access("the address is a number")
            }
            _ => unsafe_access(format!(
                "{size} bytes at {:?} plus {} are not to be touched",
                address.base, address.offset
            )),
        }
    }

    /// A number of so many bytes.
    pub(crate) fn loaded(&self, s: &mut State, size: u32) -> Value {
        match size {
            1 => s.ranged(0, 0xff),
            2 => s.ranged(0, 0xffff),
            4 => s.ranged(0, MAX_U32),
            _ => s.unknown(),
        }
    }

    fn length(&self, s: &mut State, length: Length) -> Value {
        let least = match length {
            Length::Memory(index) => self.plan.memories[index as usize].least as i64,
            Length::Table(_) => 0,
        };
        s.number(Fact { length: Some(length), ..Fact::range(least, MAX_LENGTH) })
    }

    fn frame_access(&self, s: &mut State, at: i64, size: u32, access: Access) -> Result<Value> {
        // Below the return address is the frame; above it are the arguments on the stack, which are the function's own.
        let top = 8 + i64::from(self.signature.stack);
        if at < s.room || at + i64::from(size) > top {
            return unsafe_access(format!("the frame reaches from {} to {top}, not to {at}", s.room));
        }
        match access {
            Access::Load => {
                let known = match size {
                    4 | 8 => s.cell(at, size as u8),
                    _ => None,
                };
                Ok(match known {
                    Some(value) if size == 8 => value,
                    Some(value) => self.low_half(s, value),
                    None => self.loaded(s, size),
                })
            }
            Access::Store(Some(value)) if size == 8 || size == 4 => {
                let value = if size == 4 { self.low_half(s, value) } else { value };
                s.set_cell(at, size as u8, value);
                Ok(value)
            }
            Access::Store(_) | Access::Update => {
                s.forget(at, size.into());
                Ok(self.loaded(s, size))
            }
        }
    }

    fn context_access(&self, s: &mut State, at: i64, size: u32, access: Access) -> Result<Value> {
        let Some((field, bytes)) = self.plan.field(at) else {
            return unsafe_access(format!("nothing of the context at {at:#x} is for compiled code"));
        };
        match field {
            Field::Global { kind, mutable } => self.global_access(s, kind, mutable, (0, bytes), size, access),
            _ if access.writes() => unsafe_access(format!("the context at {at:#x} is never written")),
            _ if size != bytes => unsafe_access(format!("the context at {at:#x} has {bytes} bytes, not {size}")),
            Field::Word(base) => Ok(Value::base(base)),
            Field::Length(length) => Ok(self.length(s, length)),
            Field::Type(ty) => Ok(Value::base(Base::TypeNumber(ty))),
        }
    }

    fn global_access(
        &self,
        s: &mut State,
        kind: Kind,
        mutable: bool,
        (at, bytes): (i64, u32),
        size: u32,
        access: Access,
    ) -> Result<Value> {
        const { assert!(GLOBAL_SIZE >= 16) };
        if !within(at, size, bytes.into()) {
            return unsafe_access(format!("{size} bytes of a global of {bytes}"));
        }
        if access.writes() && !mutable {
            return unsafe_access("the global cannot be set");
        }
        if !matches!(kind, Kind::FuncRef(_) | Kind::Reference) {
            return Ok(self.loaded(s, size));
        }
        match access {
            _ if size != bytes => unsafe_access("part of a reference"),
            Access::Load => Ok(self.of_kind(s, kind)),
            Access::Store(Some(value)) if self.is_of(s, value, kind) => Ok(value),
            _ => unsafe_access("what is written to the global is no reference of its type"),
        }
    }

    fn store_access(&self, s: &mut State, at: i64, size: u32, access: Access) -> Result<Value> {
        if size != 8 {
            return unsafe_access("part of a field of the store");
        }
        let load = access == Access::Load;
        match u32::try_from(at) {
            Ok(store_context::fuel | store_context::epoch_deadline) => Ok(s.unknown()),
            Ok(store_context::epoch) if load => Ok(Value::base(Base::Epoch)),
            Ok(store_context::osr_buffer) if load => Ok(Value::base(Base::OsrBuffer)),
            _ => unsafe_access(format!("the store at {at:#x} is not for this function")),
        }
    }

    fn memory_access(&self, s: &mut State, index: u32, address: Value, size: u32) -> Result<Value> {
        let Some(room) = self.memory_room(s, index, address) else {
            let (low, high) = s.range(address);
            return unsafe_access(format!("memory {index} from {low:#x} to {high:#x}: it may be outside"));
        };
        if i64::from(size) <= room {
            return Ok(self.loaded(s, size));
        }
        let (low, high) = s.range(address);
        unsafe_access(format!("memory {index} from {low:#x} to {high:#x}, of {size} bytes only {room} are inside"))
    }

    /// How many bytes at an address in a memory are in it, or in what is reserved for it.
    pub(crate) fn memory_room(&self, s: &State, index: u32, address: Value) -> Option<i64> {
        let memory = self.plan.memories.get(index as usize)?;
        let (low, high) = s.range(address);
        let reach = memory.reach.max(memory.least) as i64;
        if low >= 0 && high <= reach {
            return Some(reach - high);
        }
        let fact = s.fact(address.symbol);
        let (length, free) = fact.below?;
        let start = fact.low.checked_add(address.offset)?;
        let inside = length == Length::Memory(index) && address.shift == 0 && fact.low >= 0 && start >= 0;
        inside.then(|| free.saturating_sub(address.offset))
    }

    fn element_access(
        &self,
        s: &mut State,
        table: u32,
        element: u32,
        at: i64,
        size: u32,
        access: Access,
    ) -> Result<Value> {
        let plan = self.plan.tables[table as usize];
        if plan.collected {
            if at != 0 || size != 4 {
                return unsafe_access("part of an element");
            }
            return match access {
                Access::Load => Ok(Value::base(Base::Reference)),
                Access::Store(Some(value)) if self.is_of(s, value, Kind::Reference) => Ok(value),
                _ => unsafe_access("what is written to the table is no reference"),
            };
        }
        if access != Access::Load {
            return unsafe_access("tables of functions are never written by compiled code");
        }
        if (at, size) == (i64::from(func_ref::reference), 8) {
            let ty = self.plan.module.tables.values().nth(table as usize).map(|ty| ty.element);
            let kind = ty.map_or(Kind::FuncRef(None), |ty| Kind::of(kiln_env::types::ValType::Ref(ty)));
            return Ok(self.of_kind(s, kind));
        }
        self.func_ref_load(s, element, at, size)
    }

    /// A field of a function reference, or of an element of a table of those.
    fn func_ref_load(&self, s: &mut State, callee: u32, at: i64, size: u32) -> Result<Value> {
        const OWN_NUMBER: u32 = func_ref::type_id + 4;
        match (u32::try_from(at), size) {
            (Ok(func_ref::code), 8) => Ok(Value::of(Base::Code, callee)),
            (Ok(func_ref::context), 8) => Ok(Value::of(Base::CalleeContext, callee)),
            (Ok(func_ref::type_id), 4) => Ok(Value::of(Base::TypeOf, callee)),
            (Ok(OWN_NUMBER), 4) => Ok(s.ranged(0, MAX_U32)),
            (Ok(func_ref::reference), 8) => {
                let symbol = s.symbol(Fact::TOP);
                Ok(Value::of(Base::FuncRef, symbol))
            }
            _ => unsafe_access("a field that a function reference has not"),
        }
    }

    /// A caller leaves its stack limit and itself in the context of a callee.
    fn foreign_store(&self, s: &mut State, address: Value, at: i64, size: u32, access: Access) -> Result<Value> {
        let Access::Store(Some(value)) = access else {
            return unsafe_access("the context of another function is not read");
        };
        let field = u32::try_from(at).ok().filter(|_| size == 8);
        let callee = match address.base {
            Base::ImportContext(import) => s.import(import),
            _ => match s.facts.get_mut(address.symbol as usize) {
                Some(fact) => &mut fact.callee,
                None => return unsafe_access("the context of nothing"),
            },
        };
        match field {
            Some(context::stack_limit) if value == Value::base(Base::StackLimit) => callee.limit = true,
            Some(context::caller) if value == Value::base(Base::Context) => callee.caller = true,
            _ => return unsafe_access("what is written to the context of another function is not what belongs there"),
        }
        Ok(value)
    }

    fn counter_access(&self, s: &mut State, at: i64, size: u32, access: Access) -> Result<Value> {
        let FuncKey::Wasm(func) = self.function.key else {
            return unsafe_access("only functions of the first tier count");
        };
        match (u32::try_from(at), size) {
            (Ok(at), 4) if at == entry_counter(func) || at == loop_counter(func) => Ok(s.ranged(0, MAX_U32)),
            (Ok(at), 8) if at == sites_address(func) && access == Access::Load => Ok(Value::base(Base::Sites)),
            _ => unsafe_access("not one of the function's own counters"),
        }
    }

    /// Bytes of the records of indirect calls.
    fn sites_len(&self) -> i64 {
        i64::from(kiln_env::tier::site::SIZE) * i64::from(self.function.sites)
    }

    fn results_access(&self, s: &mut State, at: i64, size: u32, access: Access) -> Result<Value> {
        if !within(at, size, self.signature.area.into()) {
            return unsafe_access("outside of the place for results");
        }
        let place = |(_, place): &&(Kind, Place)| *place == Place::Memory(at as u32);
        let kind = self.signature.results.iter().find(place).map(|(kind, _)| *kind);
        match (kind, access) {
            (_, Access::Load) => Ok(self.loaded(s, size)),
            (Some(kind @ (Kind::FuncRef(_) | Kind::Reference)), Access::Store(Some(value)))
                if self.is_of(s, value, kind) =>
            {
                Ok(value)
            }
            (Some(Kind::FuncRef(_) | Kind::Reference), _) => unsafe_access("the result is no reference of its type"),
            // Numbers may be written in parts; what is written over a reference in parts is refused.
            _ if self.overlaps_reference(at, size) => unsafe_access("part of a reference"),
            _ => Ok(self.loaded(s, size)),
        }
    }

    fn overlaps_reference(&self, at: i64, size: u32) -> bool {
        self.signature.results.iter().any(|(kind, place)| match (kind, place) {
            (Kind::FuncRef(_) | Kind::Reference, Place::Memory(start)) => {
                at < i64::from(*start) + 8 && i64::from(*start) < at + i64::from(size)
            }
            _ => false,
        })
    }

    /// The low 32 bits of a value, zero-extended.
    pub(crate) fn low_half(&self, s: &mut State, value: Value) -> Value {
        match value.base {
            Base::Reference | Base::TypeOf | Base::TypeNumber(_) if value.offset == 0 => value,
            Base::Number => {
                if let Some(n) = value.as_constant() {
                    return Value::constant(i64::from(n as u32));
                }
                let (low, high) = s.range(value);
                if low >= 0 && high <= MAX_U32 {
                    return value;
                }
                let Some(symbol) = value.pure_symbol() else { return s.ranged(0, MAX_U32) };
                let known = s.fact(symbol).half;
                if known != 0 {
                    return Value::of(Base::Number, known);
                }
                let half = s.symbol(Fact::range(0, MAX_U32));
                s.facts[symbol as usize].half = half;
                Value::of(Base::Number, half)
            }
            _ => s.ranged(0, MAX_U32),
        }
    }

    /// A value of a kind, as a callee gives or gets it.
    pub(crate) fn of_kind(&self, s: &mut State, kind: Kind) -> Value {
        match kind {
            Kind::FuncRef(ty) => {
                let mut fact = Fact::TOP;
                fact.callee.ty = ty;
                let symbol = s.symbol(fact);
                Value::of(Base::FuncRef, symbol)
            }
            Kind::Reference => Value::base(Base::Reference),
            Kind::Context => Value::base(Base::Context),
            Kind::Results(_) => Value::base(Base::Results),
            _ => s.unknown(),
        }
    }

    /// Whether a value is one of a kind.
    pub(crate) fn is_of(&self, s: &State, value: Value, kind: Kind) -> bool {
        let null = value == Value::constant(0);
        match kind {
            Kind::FuncRef(None) => null || (value.base == Base::FuncRef && value.offset == 0),
            Kind::FuncRef(Some(ty)) => {
                let found = s.fact(value.symbol).callee.ty;
                null || (value.base == Base::FuncRef && value.offset == 0 && self.plan.is_subtype(found, ty))
            }
            Kind::Reference => null || value == Value::base(Base::Reference),
            Kind::Context => value == Value::base(Base::Context),
            Kind::Int32 | Kind::Int64 | Kind::Vector(_) => true,
            Kind::Results(_) | Kind::Pointer => false,
        }
    }

    /// Forgets what a call may change: where things are that move, and the contexts that were prepared.
    pub(crate) fn forget_after_call(&self, s: &mut State) {
        let moves = |base: Base| match base {
            Base::Memory(index) => !self.plan.memories[index as usize].fixed,
            Base::Table(_) | Base::Element(_) | Base::Bounded(_) => true,
            // Another thread or a new stack may have another limit.
            Base::StackLimit | Base::OsrBuffer => true,
            _ => false,
        };
        // A symbol for each: they are not the same number.
        let mut next = s.facts.len() as u32;
        for value in s.values_mut() {
            if moves(value.base) {
                *value = Value::of(Base::Number, next);
                next += 1;
            }
        }
        s.facts.resize(next as usize, Fact::TOP);
        for fact in &mut s.facts {
            (fact.callee.limit, fact.callee.caller) = (false, false);
        }
        s.imports.clear();
        s.flags = Flags::Unknown;
    }
}
