//! What is known about a function while its code is made: locals, the operand stack, registers.

use kiln_env::layout::{MemoryPlace, MemoryStyle, memory};
use kiln_env::machine::{AddressEntry, FuncTables, MachineFunc, NO_WASM_OFFSET, Reloc, RelocKind, StackMap, TrapSite};
use kiln_env::stencil::{self, Ty};
use kiln_env::{Builtin, FuncKey, MemoryIndex, TrapCode, TypeIndex};

use crate::abi::{Signature, V};
use crate::asm::reg::*;
use crate::asm::{Assembler, Mem};
use crate::control::Frame;
use crate::entry::{Entry, Local, Place};
use crate::exceptions::Exceptions;
use crate::frame::Cold;
use crate::library::Library;
use crate::read::Reader;
use crate::{Body, Facts};

/// A local in a register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pin {
    pub(crate) slot: u32,
    pub(crate) register: u8,
    pub(crate) int: bool,
}

const MAX_PINS: usize = stencil::INT_PINS + stencil::FLOAT_PINS;

/// The pinned locals of a function. Sets of them are bits by their positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pins {
    list: [Pin; MAX_PINS],
    all: u8,
    /// Their registers hold the values.
    valid: u8,
    /// Their slots may not.
    dirty: u8,
}

impl Pins {
    const NONE: Pins = {
        let pin = Pin { slot: 0, register: 0, int: true };
        Pins { list: [pin; MAX_PINS], all: 0, valid: 0, dirty: 0 }
    };

    /// Adds one; its position.
    fn add(&mut self, pin: Pin) -> u8 {
        let index = self.all.count_ones() as u8;
        self.list[usize::from(index)] = pin;
        self.all |= 1 << index;
        index
    }

    #[inline]
    fn get(&self, index: u8) -> Pin {
        self.list[usize::from(index) % MAX_PINS]
    }

    /// The register holds the value.
    #[inline]
    pub(crate) fn is_valid(&self, index: u8) -> bool {
        self.valid >> index & 1 != 0
    }

    /// The values are nowhere but in the slots.
    pub(crate) fn forget(&mut self) {
        (self.valid, self.dirty) = (0, 0);
    }
}

/// The positions in a set, in order.
fn members(mut set: u8) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let index = set.trailing_zeros() as u8;
        set &= set.wrapping_sub(1);
        (index < 8).then_some(index)
    })
}

/// Largest access in bytes.
pub(crate) const MAX_ACCESS: u64 = 16;

const INT_PINS: [u8; stencil::INT_PINS] = [RCX, R8, R9];
pub(crate) const INT_TEMP: u8 = RDX;
pub(crate) const FLOAT_TEMP: u8 = 0;

/// Memory that one function after the other uses. All of it is empty in between.
#[derive(Default)]
pub(crate) struct Scratch {
    buffer: Vec<u8>,
    locals: Vec<Local>,
    stack: Vec<Entry>,
    frames: Vec<Frame>,
    spills: Vec<u32>,
    cold: Vec<Cold>,
    cold_references: Vec<Vec<u32>>,
    relocs: Vec<Reloc>,
    traps: Vec<TrapSite>,
    addresses: Vec<AddressEntry>,
    signatures: [Signature; 2],
    arguments: Vec<Entry>,
}

/// Bytes of a buffer that is kept.
const MAX_KEPT: usize = 1 << 20;

/// A function under compilation.
pub(crate) struct Func<'a> {
    pub(crate) lib: Library,
    pub(crate) facts: Facts<'a>,
    pub(crate) asm: Assembler,
    pub(crate) signature: Signature,
    pub(crate) index: u32,
    pub(crate) locals: Vec<Local>,
    pub(crate) pins: Pins,
    /// Slots of locals that hold collected references.
    pub(crate) gc_locals: Vec<u32>,
    pub(crate) stack: Vec<Entry>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) exceptions: Exceptions,
    /// End of the slots in use, and the highest there was.
    pub(crate) top: u32,
    pub(crate) high: u32,
    /// Operands below this are in their slots.
    pub(crate) flushed: usize,
    /// Operands that are values of locals.
    pub(crate) aliases: u32,
    /// The operand in each temporary: integer, float.
    pub(crate) temps: [Option<u32>; 2],
    /// The local, not pinned, that has the same value as the operand in each temporary.
    pub(crate) homes: [Option<u32>; 2],
    /// The local, not pinned, whose value each temporary has at this position of the code.
    pub(crate) in_temp: [Option<(u32, u32)>; 2],
    /// The base of the first memory is in its register.
    pub(crate) memory_valid: bool,
    pub(crate) has_vectors: bool,
    pub(crate) saves_registers: bool,
    /// Whether the current position can be reached.
    pub(crate) reachable: bool,
    /// Operands that are collected references.
    pub(crate) gc_operands: u32,
    /// Frames that are in a handler of a legacy `try`.
    pub(crate) open_handlers: u32,
    /// Entries of lists that were made for calls and loops, with what it took to find them.
    pub(crate) entries: usize,
    /// References at the positions that have code behind the end.
    cold_references: Vec<Vec<u32>>,
    pub(crate) fuel: u64,
    /// Offset of the current operator in the body.
    pub(crate) offset: u32,
    pub(crate) tables: FuncTables,
    pub(crate) relocs: Vec<Reloc>,
    /// Displacements to which the offset of the area for spills is added at the end.
    pub(crate) spills: Vec<u32>,
    pub(crate) cold: Vec<Cold>,
    /// Offsets of the calls that have a record of their targets.
    pub(crate) sites: Vec<u32>,
    last_address: u32,
    /// For the signature and the arguments of a callee.
    pub(crate) callee: Signature,
    pub(crate) arguments: Vec<Entry>,
    /// The first memory, if its base is in its register when it is used: where the context has the base, and the end of the
    /// offsets at which accesses need no check.
    pub(crate) base: Option<(i32, u64)>,
}

impl<'a> Func<'a> {
    pub(crate) fn new(lib: Library, facts: Facts<'a>, body: &Body<'_>, scratch: Scratch) -> Func<'a> {
        let index = facts.module.func_index(body.func);
        let ty = facts.module.funcs[index].ty;
        let [mut signature, callee] = scratch.signatures;
        set_signature(&mut signature, &facts, ty);
        Func {
            lib,
            facts,
            asm: Assembler::new(scratch.buffer),
            signature,
            callee,
            arguments: scratch.arguments,
            base: base(&facts),
            index: body.func.0,
            locals: scratch.locals,
            pins: Pins::NONE,
            gc_locals: Vec::new(),
            stack: scratch.stack,
            frames: scratch.frames,
            exceptions: Exceptions::default(),
            top: 0,
            high: 0,
            flushed: 0,
            aliases: 0,
            temps: [None; 2],
            homes: [None; 2],
            in_temp: [None; 2],
            memory_valid: false,
            has_vectors: false,
            saves_registers: body.catches,
            reachable: true,
            gc_operands: 0,
            open_handlers: 0,
            entries: 0,
            cold_references: scratch.cold_references,
            fuel: 0,
            offset: NO_WASM_OFFSET,
            tables: FuncTables { traps: scratch.traps, addresses: scratch.addresses, ..FuncTables::default() },
            relocs: scratch.relocs,
            spills: scratch.spills,
            cold: scratch.cold,
            sites: Vec::new(),
            last_address: NO_WASM_OFFSET,
        }
    }

    /// Gives the memory back, and the code with its tables.
    pub(crate) fn into_parts(self) -> (MachineFunc, Scratch) {
        let (code, mut buffer) = self.asm.finish();
        if buffer.len() > MAX_KEPT {
            buffer = Vec::new();
        }
        let FuncTables { traps, addresses, inlined, stack_maps, handlers, unwind } = self.tables;
        let tables =
            FuncTables { traps: traps.to_vec(), addresses: addresses.to_vec(), inlined, stack_maps, handlers, unwind };
        let code = MachineFunc { code, align: 16, relocs: self.relocs.to_vec(), tables, sites: self.sites };
        let mut scratch = Scratch {
            buffer,
            locals: self.locals,
            stack: self.stack,
            frames: self.frames,
            spills: self.spills,
            cold: self.cold,
            cold_references: self.cold_references,
            relocs: self.relocs,
            traps,
            addresses,
            signatures: [self.signature, self.callee],
            arguments: self.arguments,
        };
        scratch.clear();
        (code, scratch)
    }

    /// Declares parameters and locals, and decides which are pinned.
    pub(crate) fn declare(&mut self, reader: &mut Reader<'_>, weights: &[(u32, u64)]) {
        for i in 0..self.signature.params.len() {
            self.local(self.signature.params[i].0);
        }
        for _ in 0..reader.u32() {
            let count = reader.u32();
            let v = reader.value_type();
            (0..count).for_each(|_| self.local(v));
        }
        self.high = self.top;
        let mut used = [0, 0];
        for (local, weight) in weights {
            let info = self.locals[*local as usize];
            let class = info.class();
            let limit = [stencil::INT_PINS, stencil::FLOAT_PINS][class];
            if info.v().gc || info.v().ty == Ty::V128 || *weight < 3 || used[class] == limit {
                continue;
            }
            let n = used[class];
            used[class] += 1;
            let register = if class == 0 { INT_PINS[n] } else { 1 + n as u8 };
            let position = self.pins.add(Pin { slot: info.slot(), register, int: class == 0 });
            self.locals[*local as usize].pin_to(stencil::PIN + n as u8, position);
        }
    }

    fn local(&mut self, v: V) {
        self.locals.push(Local::new(self.locals.len() as u32, v, self.top));
        if v.gc {
            self.gc_locals.push(self.top);
        }
        self.has_vectors |= v.ty == Ty::V128;
        self.top += v.size();
    }
}

impl Scratch {
    fn clear(&mut self) {
        self.locals.clear();
        self.stack.clear();
        self.frames.clear();
        self.spills.clear();
        self.cold.clear();
        self.cold_references.clear();
        self.relocs.clear();
        self.traps.clear();
        self.addresses.clear();
        self.arguments.clear();
    }
}

/// Locations of a function type's parameters and results.
pub(crate) fn set_signature(signature: &mut Signature, facts: &Facts<'_>, ty: TypeIndex) {
    let ty = facts.module.signature(ty);
    signature.set(ty.params.iter().map(|t| V::from(*t)), ty.results.iter().map(|t| V::from(*t)));
}

/// See [`Func::base`].
fn base(facts: &Facts<'_>) -> Option<(i32, u64)> {
    let ty = facts.module.memories.get(MemoryIndex(0))?;
    let MemoryStyle::Reserved { guard } = MemoryStyle::of(ty, facts.tunables) else { return None };
    let field = match facts.layout.memory(MemoryIndex(0)) {
        MemoryPlace::Inline(at) => at + memory::base,
        MemoryPlace::Indirect(at) => at + 8,
    };
    Some((field as i32, (guard + 1).saturating_sub(MAX_ACCESS).min(i32::MAX as u64)))
}

/// A slot, with the stack pointer `shift` bytes below where it is between stencils.
pub(crate) fn slot(offset: u32, shift: u32) -> Mem {
    Mem(RSP, (offset + shift) as i32)
}

/// The operand stack.
impl Func<'_> {
    /// The slot for the next operand, which this one takes.
    #[inline]
    fn next_slot(&mut self, v: V) -> u32 {
        let slot = self.top;
        self.top += v.size();
        self.high = self.high.max(self.top);
        // Branches that are hardly ever taken cost less than sums in memory.
        if v.gc {
            self.gc_operands += 1;
        }
        if v.ty == Ty::V128 {
            self.has_vectors = true;
        }
        slot
    }

    /// Puts a value on the stack that is in its slot.
    #[inline]
    pub(crate) fn push_slot(&mut self, v: V) {
        let slot = self.next_slot(v);
        self.flushed += usize::from(self.flushed == self.stack.len());
        self.stack.push(Entry::in_slot(v, slot));
    }

    /// Puts what is in the temporary of its class on the stack.
    #[inline]
    pub(crate) fn push_temp(&mut self, v: V) {
        let slot = self.next_slot(v);
        self.temps[usize::from(!v.ty.is_int())] = Some(self.stack.len() as u32);
        self.stack.push(Entry::in_temp(v, slot));
    }

    /// Puts a constant on the stack.
    #[inline]
    pub(crate) fn push_constant(&mut self, n: i64, v: V) {
        let slot = self.next_slot(v);
        self.stack.push(Entry::constant(n, v, slot));
    }

    /// Puts the value of a local on the stack.
    #[inline]
    pub(crate) fn push_local(&mut self, index: u32) {
        let local = self.locals[index as usize];
        let class = local.class();
        if self.in_temp[class] == Some((index, self.asm.position())) && self.temps[class].is_none() {
            self.push_temp(local.v());
            self.homes[class] = Some(index);
        } else {
            self.push_alias(local);
        }
    }

    /// The same where the value is not in a temporary.
    #[inline]
    pub(crate) fn push_alias(&mut self, local: Local) {
        let slot = self.next_slot(local.v());
        self.aliases += 1;
        self.stack.push(local.operand(slot));
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Entry {
        let entry = self.stack.pop().expect("validated: there is an operand");
        self.top = entry.slot();
        self.flushed = self.flushed.min(self.stack.len());
        self.remove(&entry);
        entry
    }

    /// Takes the topmost one or two operands off, which are these, from position `base` on; the second may be none.
    #[inline(always)]
    pub(crate) fn take(&mut self, base: usize, entries: &[Entry; 2]) {
        self.stack.truncate(base);
        self.top = entries[0].slot();
        self.flushed = self.flushed.min(base);
        self.remove(&entries[0]);
        self.remove(&entries[1]);
    }

    /// An operand is no longer on the stack.
    #[inline]
    fn remove(&mut self, entry: &Entry) {
        if entry.is_gc() {
            self.gc_operands -= 1;
        }
        self.forget(entry);
    }

    /// An operand is no longer where it was.
    #[inline]
    fn forget(&mut self, entry: &Entry) {
        self.aliases -= u32::from(entry.is_any_local());
        if entry.is_temp() {
            let class = entry.class();
            (self.temps[class], self.homes[class]) = (None, None);
        }
    }

    #[inline]
    pub(crate) fn truncate(&mut self, height: usize) {
        while self.stack.len() > height {
            self.pop();
        }
    }

    /// Puts an operand into its slot.
    pub(crate) fn flush(&mut self, i: usize) {
        let entry = self.stack[i];
        if !entry.is_slot() {
            self.store_to(&entry, entry.slot());
            self.forget(&entry);
            self.stack[i] = entry.flushed();
        }
    }

    /// Puts all operands from `from` on into their slots.
    pub(crate) fn flush_from(&mut self, from: usize) {
        for i in from.max(self.flushed)..self.stack.len() {
            self.flush(i);
        }
        if from <= self.flushed {
            self.flushed = self.stack.len();
        }
    }

    /// Puts all operands below `end` into their slots.
    pub(crate) fn flush_to(&mut self, end: usize) {
        for i in self.flushed..end {
            self.flush(i);
        }
        self.flushed = self.flushed.max(end);
    }

    pub(crate) fn flush_all(&mut self) {
        self.flush_from(0);
    }

    /// Puts an operand in a temporary into its slot, so that the temporary is free.
    #[inline]
    pub(crate) fn free_temp(&mut self, int: bool) {
        let class = usize::from(!int);
        if let Some(i) = self.temps[class] {
            self.empty_temp(class, i);
        }
    }

    #[inline(never)]
    fn empty_temp(&mut self, class: usize, i: u32) {
        match self.homes[class] {
            None => self.flush(i as usize),
            Some(local) => {
                (self.temps[class], self.homes[class]) = (None, None);
                let slot = self.stack[i as usize].slot();
                self.stack[i as usize] = self.locals[local as usize].operand(slot);
                self.aliases += 1;
            }
        }
    }

    /// Stores an operand's value to a slot. Scratch registers are changed.
    pub(crate) fn store_to(&mut self, entry: &Entry, to: u32) {
        let to_memory = slot(to, 0);
        match entry.place() {
            Place::Slot => self.copy(entry.v(), entry.slot(), to, 0),
            Place::Local(local) => {
                let local = self.locals[local as usize];
                match local.pin() {
                    None => self.copy(entry.v(), local.slot(), to, 0),
                    Some(pin) => {
                        let pin = self.valid_pin(pin);
                        self.store_register(to_memory, pin.register, pin.int);
                    }
                }
            }
            Place::Temp if entry.v().ty == Ty::V128 => self.asm.store_vector(to_memory, FLOAT_TEMP),
            Place::Temp if entry.v().ty.is_int() => self.asm.store(to_memory, INT_TEMP),
            Place::Temp => self.asm.store_float(to_memory, FLOAT_TEMP),
            Place::Const(n) => self.store_const(n, to_memory),
        }
    }

    pub(crate) fn store_const(&mut self, n: i64, to: Mem) {
        self.store_const_by(n, to, RAX);
    }

    /// Stores a constant, by way of a register if it is a long one.
    pub(crate) fn store_const_by(&mut self, n: i64, to: Mem, register: u8) {
        match i32::try_from(n) {
            Ok(n) => self.asm.store_constant(to, n),
            Err(_) => {
                self.asm.constant(register, n);
                self.asm.store(to, register);
            }
        }
    }

    fn store_register(&mut self, to: Mem, register: u8, int: bool) {
        if int { self.asm.store(to, register) } else { self.asm.store_float(to, register) }
    }

    /// Copies a value from slot to slot.
    pub(crate) fn copy(&mut self, v: V, from: u32, to: u32, shift: u32) {
        if from == to {
            return;
        }
        if v.ty == Ty::V128 {
            self.asm.load_vector(XMM_SCRATCH, slot(from, shift));
            self.asm.store_vector(slot(to, shift), XMM_SCRATCH);
        } else {
            self.asm.load(RAX, slot(from, shift));
            self.asm.store(slot(to, shift), RAX);
        }
    }
}

/// Pinned locals.
impl Func<'_> {
    /// A pin whose register holds the value.
    #[inline]
    pub(crate) fn valid_pin(&mut self, index: u8) -> Pin {
        let pin = self.pins.get(index);
        if !self.pins.is_valid(index) {
            self.load_pin(index);
        }
        pin
    }

    #[inline(never)]
    fn load_pin(&mut self, index: u8) {
        let pin = self.pins.get(index);
        self.pins.valid |= 1 << index;
        let from = slot(pin.slot, 0);
        if pin.int { self.asm.load(pin.register, from) } else { self.asm.load_float(pin.register, from) }
    }

    /// A pin whose register is given another value.
    #[inline]
    pub(crate) fn set_pin(&mut self, index: u8) {
        self.pins.valid |= 1 << index;
        self.pins.dirty |= 1 << index;
    }

    /// A pin, whether its register holds the value or not.
    #[inline]
    pub(crate) fn pin(&self, index: u8) -> Pin {
        self.pins.get(index)
    }

    /// All pins in their registers: at labels.
    #[inline]
    pub(crate) fn validate_pins(&mut self) {
        let missing = self.pins.all & !self.pins.valid;
        if missing != 0 {
            members(missing).for_each(|i| self.load_pin(i));
        }
    }

    /// All pins in their slots: at calls.
    pub(crate) fn save_pins(&mut self) {
        members(self.pins.dirty).for_each(|i| self.save_pin(i));
    }

    pub(crate) fn save_pin(&mut self, index: u8) {
        let bit = 1 << index;
        if self.pins.dirty & bit != 0 {
            self.pins.dirty &= !bit;
            let pin = self.pins.get(index);
            self.store_register(slot(pin.slot, 0), pin.register, pin.int);
        }
    }

    /// A call has changed all registers. The context is put back into its.
    pub(crate) fn after_call(&mut self) {
        self.pins.valid = 0;
        self.memory_valid = false;
        self.asm.load(RDI, Mem(RBP, -8));
    }

    /// At a label all pins are in their registers, and nothing is known about their slots.
    pub(crate) fn at_label(&mut self) {
        (self.pins.valid, self.pins.dirty) = (self.pins.all, self.pins.all);
        self.memory_valid = false;
        self.in_temp = [None; 2];
    }
}

/// Notes about the code.
impl Func<'_> {
    /// The code from here on belongs to the current operator.
    pub(crate) fn note_address(&mut self) {
        if self.facts.tunables.address_map && self.last_address != self.offset {
            self.last_address = self.offset;
            self.tables.addresses.push(AddressEntry { offset: self.asm.position(), wasm: self.offset });
        }
    }

    /// A trap at the current operator.
    pub(crate) fn trap(&mut self, code: TrapCode) {
        self.note_address();
        self.tables.traps.push(TrapSite { offset: self.asm.position(), code });
        self.asm.trap();
    }

    /// Refers to a function at a displacement.
    pub(crate) fn reloc(&mut self, field: u32, target: FuncKey) {
        self.relocs.push(Reloc { offset: field, kind: RelocKind::X86CallPcRel4, target, addend: -4 });
    }

    /// Calls a function; what is known about the return address is noted.
    pub(crate) fn call_key(&mut self, target: FuncKey) {
        self.note_address();
        let field = self.asm.call();
        self.reloc(field, target);
        self.note_call(self.asm.position());
    }

    pub(crate) fn call_builtin(&mut self, builtin: Builtin) {
        self.call_key(FuncKey::WasmToBuiltin(builtin));
    }

    /// Collected references in slots: locals and operands.
    fn references(&mut self) -> Vec<u32> {
        let mut slots = self.gc_locals.clone();
        if self.gc_operands > 0 {
            self.entries += self.stack.len() / 8;
            slots.extend(self.stack.iter().filter(|e| e.is_gc() && e.is_slot()).map(|e| e.slot()));
        }
        self.entries += slots.len();
        slots
    }

    /// Notes the references at a return address.
    pub(crate) fn note_call(&mut self, offset: u32) {
        if self.gc_locals.is_empty() && self.gc_operands == 0 {
            return;
        }
        let slots = self.references();
        if !slots.is_empty() {
            self.tables.stack_maps.push(StackMap { offset, fp_to_sp: 0, slots });
        }
    }

    /// Keeps the references for the code behind the end that belongs to this position.
    pub(crate) fn note_cold_references(&mut self) {
        let slots = self.references();
        self.cold_references.push(slots);
    }

    /// Makes them those of the current position.
    pub(crate) fn restore_references(&mut self, cold: usize) {
        self.gc_locals = std::mem::take(&mut self.cold_references[cold]);
        self.gc_operands = 0;
    }
}
