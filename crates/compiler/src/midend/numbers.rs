//! Numbers that may be others in another program: addresses of data, mostly. On x86-64 code is made for any of them.
//!
//! Two programs with one runtime have the same functions, but their data at different addresses. Code that passes such a
//! number on, stores it, or adds it to get an address, is the same but for four bytes. So the numbers are taken out of the
//! IR in front of Cranelift's optimiser (*opened*) and belong to a function as the names of its callees do: the cache finds
//! the code whatever they are, and puts them in.
//!
//! Why the result is the same:
//! * The optimiser sees an opened number as a symbol, of which it knows nothing. Behind it, a stand-in takes its place: a
//!   constant that needs four bytes, as the number does, and occurs nowhere else in the function.
//! * A number is opened for good only if all its uses are such that the backend puts it into four bytes of an instruction:
//!   as an argument, as what is stored, as one side of an addition, as an offset of an access.
//! * In the machine code each field of four bytes whose value is close to a stand-in is the stand-in, or an address to
//!   which it was added: everything else that the function contains is known to be far away, sums included. The field
//!   gets the number, with the same distance.
//! * Where one of these things cannot be shown, the function gets its numbers back in front of code generation, and the
//!   cache keeps its code for these numbers only. All of this follows from the IR without the numbers, so that what the
//!   cache gives back is what would have been compiled.

use std::collections::HashMap;

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{
    Block, Function, GlobalValue, GlobalValueData, Inst, InstBuilder, InstructionData, MemFlagsData, Opcode, Type,
    Value, types,
};
use kiln_env::unbound::OpenNumber;

use super::edit;
use crate::func_ir::FuncIr;

/// Name of the pass, for switching it off: it makes code that programs with other data can share.
pub const NAME: &str = "numbers";

/// The least number that is opened. Below this, instructions with it may be shorter.
const LEAST: i64 = 1 << 10;
/// What numbers are below.
const LIMIT: i64 = 1 << 28;
/// How many are opened in one function.
const MAX_NUMBERS: usize = 64;
/// Where stand-ins lie: numbers that are no common constants, neither as integers nor as floats or letters. The sum of two
/// has more than 31 bits, so that it is no distance from a register.
const STAND_INS: i64 = 0x5600_0000;
/// Distance of stand-ins, with the same space around all of them.
const APART: i64 = 1 << 21;
/// How far from a stand-in its fields may be. More than the sum of a constant and an offset below [`NEAR`].
const REACH: i64 = 1 << 19;
/// Constants in additions, and offsets of accesses, are below this in functions with open numbers.
const NEAR: i64 = 1 << 18;

fn stand_in(number: usize) -> i64 {
    STAND_INS + number as i64 * APART + APART / 2
}

/// Whether a constant is in reach of the stand-ins, or could be confused with what is.
fn is_in_the_way(value: i64) -> bool {
    (STAND_INS - APART..STAND_INS + (MAX_NUMBERS as i64 + 1) * APART).contains(&value)
}

/// Whether a field of machine code may have to do with open numbers.
pub(crate) fn is_candidate(field: i32) -> bool {
    is_in_the_way(field.into())
}

/// Puts numbers into the fields of machine code that hold stand-ins, and says where these are. `None` if a field cannot be
/// told, one of the numbers that are `needed` has none, or one may be among the `data_len` bytes of constants behind the
/// code.
pub(crate) fn fill(
    code: &mut [u8],
    data_len: usize,
    fields: &[(u32, i32)],
    numbers: &[u32],
    needed: u64,
) -> Option<Vec<OpenNumber>> {
    let data = &code[code.len().checked_sub(data_len)?..];
    // The backend takes some operands from there.
    if data.array_windows().any(|bytes| is_candidate(i32::from_le_bytes(*bytes))) {
        return None;
    }
    let mut missing = needed;
    let mut open = Vec::with_capacity(fields.len());
    for &(offset, value) in fields {
        let number = usize::try_from((i64::from(value) - STAND_INS).div_euclid(APART)).ok()?;
        let distance = i64::from(value) - stand_in(number);
        if distance.abs() >= REACH {
            return None;
        }
        let filled = i64::from(*numbers.get(number)?) + distance;
        let bytes = code.get_mut(offset as usize..offset as usize + 4)?;
        bytes.copy_from_slice(&i32::try_from(filled).ok()?.to_le_bytes());
        missing &= !(1 << number);
        open.push(OpenNumber { offset, number: number as u32 });
    }
    (missing == 0).then_some(open)
}

/// What a value is to somebody who looks for numbers to open.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Other,
    /// The constant with this position in the list.
    Number(u32),
    /// A sum of it and something else.
    Sum(u32),
}

/// A constant that may be opened.
struct Candidate {
    inst: Inst,
    value: i64,
    is_open: bool,
}

/// Opens numbers; holds scratch memory that is used again.
#[derive(Default)]
pub(crate) struct Opener {
    kinds: SecondaryMap<Value, Kind>,
    candidates: Vec<Candidate>,
    /// Extensions of candidates to 64 bits.
    extensions: Vec<(Inst, u32)>,
    /// Accesses with an offset that may be opened.
    accesses: Vec<(Inst, i64)>,
    /// The symbols of numbers, with 32 and with 64 bits.
    symbols: HashMap<i64, [GlobalValue; 2]>,
    /// The function's context, as what symbols are loaded from.
    base: Option<GlobalValue>,
}

/// How an instruction uses a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It takes it as it is.
    Plain,
    /// It adds it to something.
    Addition,
    Extension,
    /// It is the address of an access.
    Address,
    /// Its value matters.
    Other,
}

/// How `inst` uses the value at position `at` among those it names.
fn how_used(func: &Function, inst: Inst, at: usize) -> Use {
    if at >= func.dfg.inst_args(inst).len() {
        // An argument of a block.
        return Use::Plain;
    }
    let data = &func.dfg.insts[inst];
    match data.opcode() {
        Opcode::Call | Opcode::ReturnCall | Opcode::TryCall | Opcode::Return => Use::Plain,
        Opcode::CallIndirect | Opcode::ReturnCallIndirect | Opcode::TryCallIndirect if at > 0 => Use::Plain,
        Opcode::Store if at == 0 => Use::Plain,
        Opcode::Iadd => Use::Addition,
        Opcode::Uextend => Use::Extension,
        _ if address(func, inst).is_some_and(|(place, _)| place == at) => Use::Address,
        _ => Use::Other,
    }
}

/// The address of an access: its position among the operands, and the offset from it.
fn address(func: &Function, inst: Inst) -> Option<(usize, i64)> {
    match func.dfg.insts[inst] {
        InstructionData::Load { offset, .. } => Some((0, i32::from(offset).into())),
        InstructionData::Store { offset, .. } => Some((1, i32::from(offset).into())),
        _ => None,
    }
}

fn constant(func: &Function, value: Value) -> Option<i64> {
    match func.dfg.insts[edit::def(&func.dfg, value)?] {
        // The bits of negative numbers are those of large ones.
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } if func.dfg.value_type(value) == types::I32 => {
            Some((imm.bits() as i32).into())
        }
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
        _ => None,
    }
}

/// Whether a value is the sum of another one and a constant, which the optimiser would add to a second constant.
fn has_constant(func: &Function, value: Value) -> bool {
    let Some(inst) = edit::def(&func.dfg, value) else { return false };
    let is_sum = matches!(func.dfg.insts[inst].opcode(), Opcode::Iadd | Opcode::Isub);
    is_sum && func.dfg.inst_args(inst).iter().any(|arg| constant(func, *arg).is_some())
}

/// The other side of an addition.
fn other_side(func: &Function, inst: Inst, at: usize) -> Value {
    func.dfg.inst_args(inst)[1 - at]
}

impl Opener {
    /// Opens the numbers of a function where that costs nothing.
    pub(crate) fn run(&mut self, ir: &mut FuncIr) -> bool {
        self.kinds.clear();
        self.candidates.clear();
        self.extensions.clear();
        self.accesses.clear();
        self.symbols.clear();
        self.base = None;
        let func = &mut ir.func;
        self.find(func);
        if self.candidates.is_empty() && self.accesses.is_empty() {
            return false;
        }
        if !self.candidates.is_empty() {
            self.check(func);
        }
        self.open_constants(func, &mut ir.numbers);
        self.open_offsets(func, &mut ir.numbers);
        !ir.numbers.is_empty()
    }

    /// Lists constants and accesses.
    fn find(&mut self, func: &Function) {
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                match func.dfg.insts[inst] {
                    InstructionData::UnaryImm { opcode: Opcode::Iconst, imm }
                        if (LEAST..LIMIT).contains(&imm.bits()) =>
                    {
                        let value = func.dfg.first_result(inst);
                        if func.dfg.value_type(value) == types::I32 {
                            self.kinds[value] = Kind::Number(self.candidates.len() as u32);
                            self.candidates.push(Candidate { inst, value: imm.bits(), is_open: true });
                        }
                    }
                    InstructionData::Load { flags, offset, .. } | InstructionData::Store { flags, offset, .. } => {
                        let offset = i64::from(i32::from(offset));
                        if (LEAST..LIMIT).contains(&offset) && func.dfg.mem_flags[flags].trap_code().is_some() {
                            self.accesses.push((inst, offset));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Finds out which constants are used in ways that the optimiser gains nothing from.
    fn check(&mut self, func: &Function) {
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                let args = func.dfg.inst_args(inst);
                for (at, value) in args.iter().enumerate() {
                    self.look_at(func, inst, at, *value);
                }
                let branch = &func.dfg.insts[inst];
                if branch.opcode().is_terminator() {
                    for (at, value) in func.dfg.inst_values(inst).enumerate().skip(args.len()) {
                        self.look_at(func, inst, at, value);
                    }
                }
            }
        }
    }

    /// Looks at the use of a value at a position among those that an instruction names.
    #[inline]
    fn look_at(&mut self, func: &Function, inst: Inst, at: usize, value: Value) {
        let mut kind = self.kinds[value];
        if kind == Kind::Other && func.dfg.value_is_alias(value) {
            kind = self.kinds[func.dfg.resolve_aliases(value)];
        }
        let (Kind::Number(number) | Kind::Sum(number)) = kind else { return };
        if !self.admits(func, inst, at, kind) {
            self.candidates[number as usize].is_open = false;
        }
    }

    fn admits(&mut self, func: &Function, inst: Inst, at: usize, kind: Kind) -> bool {
        match (how_used(func, inst, at), kind) {
            (Use::Plain, _) => true,
            (Use::Addition, Kind::Number(number)) => {
                let other = other_side(func, inst, at);
                self.kinds[func.dfg.first_result(inst)] = Kind::Sum(number);
                constant(func, other).is_none() && !has_constant(func, other)
            }
            (Use::Addition, _) => constant(func, other_side(func, inst, at)).is_none(),
            (Use::Extension, Kind::Number(number)) => {
                let result = func.dfg.first_result(inst);
                self.kinds[result] = kind;
                self.extensions.push((inst, number));
                func.dfg.value_type(result) == types::I64
            }
            (Use::Extension, _) => true,
            (Use::Address, Kind::Sum(_)) => address(func, inst).is_some_and(|(_, offset)| (0..NEAR).contains(&offset)),
            _ => false,
        }
    }

    /// The symbols of a number. `None` if there are too many.
    fn symbol(&mut self, func: &mut Function, numbers: &mut Vec<u32>, value: i64) -> Option<[GlobalValue; 2]> {
        if let Some(symbols) = self.symbols.get(&value) {
            return Some(*symbols);
        }
        if numbers.len() == MAX_NUMBERS {
            return None;
        }
        let base = *self.base.get_or_insert_with(|| func.create_global_value(GlobalValueData::VMContext));
        let flags = func.dfg.mem_flags.insert_unchecked(MemFlagsData::trusted());
        // What symbols stand for is never looked up. Those that are loaded may have any type.
        let offset = (numbers.len() as i32).into();
        let symbols = [types::I32, types::I64]
            .map(|global_type| func.create_global_value(GlobalValueData::Load { base, offset, global_type, flags }));
        numbers.push(value as u32);
        self.symbols.insert(value, symbols);
        Some(symbols)
    }

    fn open_constants(&mut self, func: &mut Function, numbers: &mut Vec<u32>) {
        for i in 0..self.candidates.len() {
            let Candidate { inst, value, is_open } = self.candidates[i];
            let symbol = if is_open { self.symbol(func, numbers, value) } else { None };
            self.candidates[i].is_open = symbol.is_some();
            if let Some([symbol, _]) = symbol {
                func.dfg.insts[inst] = symbol_value(symbol);
            }
        }
        for (inst, number) in &self.extensions {
            let Candidate { value, is_open, .. } = self.candidates[*number as usize];
            if is_open {
                func.dfg.insts[*inst] = symbol_value(self.symbols[&value][1]);
            }
        }
    }

    fn open_offsets(&mut self, func: &mut Function, numbers: &mut Vec<u32>) {
        for (inst, value) in std::mem::take(&mut self.accesses) {
            let Some((at, _)) = address(func, inst) else { continue };
            let base = func.dfg.inst_args(inst)[at];
            // The optimiser would add up the constants.
            if has_constant(func, base) || matches!(self.kinds[func.dfg.resolve_aliases(base)], Kind::Sum(_)) {
                continue;
            }
            let Some([_, symbol]) = self.symbol(func, numbers, value) else { continue };
            let location = func.srcloc(inst);
            let mut cursor = FuncCursor::new(func).at_inst(inst).with_srcloc(location);
            let number = cursor.ins().symbol_value(types::I64, symbol);
            let sum = cursor.ins().iadd(base, number);
            func.dfg.inst_args_mut(inst)[at] = sum;
            set_offset(func, inst, 0);
        }
    }
}

fn symbol_value(global_value: GlobalValue) -> InstructionData {
    InstructionData::UnaryGlobalValue { opcode: Opcode::SymbolValue, global_value }
}

fn set_offset(func: &mut Function, inst: Inst, value: i64) {
    if let InstructionData::Load { offset, .. } | InstructionData::Store { offset, .. } = &mut func.dfg.insts[inst] {
        // Numbers and stand-ins fit.
        *offset = Offset32::new(value as i32);
    }
}

/// The open numbers of a function whose optimisation is over.
#[derive(Default)]
pub(crate) struct Settler {
    /// One more than the number that a value is; 0 for others.
    numbers: SecondaryMap<Value, u8>,
    constants: Vec<(Inst, usize)>,
    offsets: Vec<(Inst, usize)>,
    /// Constants that were made in the block at hand.
    here: Vec<(usize, Type, Value)>,
    insts: Vec<Inst>,
    /// Numbers that the code must contain, as bits.
    pub(crate) needed: u64,
    /// Whether the code can be made for any numbers.
    pub(crate) is_open: bool,
}

impl Settler {
    /// Puts stand-ins in place of symbols, and looks whether the backend will put them into fields.
    pub(crate) fn run(&mut self, func: &mut Function, numbers: &[u32]) {
        self.constants.clear();
        self.offsets.clear();
        (self.needed, self.is_open) = (0, !numbers.is_empty());
        if numbers.is_empty() {
            return;
        }
        self.numbers.clear();
        self.close_symbols(func);
        let mut next = func.layout.entry_block();
        while let Some(block) = next {
            self.here.clear();
            self.insts.clear();
            self.insts.extend(func.layout.block_insts(block));
            for i in 0..self.insts.len() {
                let inst = self.insts[i];
                self.access(func, inst);
                self.localise(func, inst, block);
                self.is_open = self.is_open && self.is_right(func, inst);
            }
            next = func.layout.next_block(block);
        }
        if !self.is_open {
            self.give_back(func, numbers);
        }
    }

    /// Puts the numbers in place of stand-ins: for code that is for these only.
    pub(crate) fn give_back(&mut self, func: &mut Function, numbers: &[u32]) {
        self.is_open = false;
        for &(inst, number) in &self.constants {
            set_constant(func, inst, numbers[number].into());
        }
        for &(inst, number) in &self.offsets {
            set_offset(func, inst, numbers[number].into());
        }
    }

    fn close_symbols(&mut self, func: &mut Function) {
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                let InstructionData::UnaryGlobalValue { opcode: Opcode::SymbolValue, global_value } =
                    func.dfg.insts[inst]
                else {
                    continue;
                };
                let GlobalValueData::Load { offset, .. } = func.global_values[global_value] else { continue };
                let number = i32::from(offset) as usize;
                self.constants.push((inst, number));
                self.numbers[func.dfg.first_result(inst)] = number as u8 + 1;
            }
        }
        for &(inst, number) in &self.constants {
            set_constant(func, inst, stand_in(number));
        }
    }

    /// The number that a value is.
    #[inline]
    fn number(&self, func: &Function, value: Value) -> Option<usize> {
        let number = match self.numbers[value] {
            0 if func.dfg.value_is_alias(value) => self.numbers[func.dfg.resolve_aliases(value)],
            number => number,
        };
        usize::from(number).checked_sub(1)
    }

    /// Makes a number the offset of an access again.
    fn access(&mut self, func: &mut Function, inst: Inst) {
        let Some((at, 0)) = address(func, inst) else { return };
        let Some(sum) = edit::def(&func.dfg, func.dfg.inst_args(inst)[at]) else { return };
        if func.dfg.insts[sum].opcode() != Opcode::Iadd {
            return;
        }
        let [a, b] = [0, 1].map(|i| func.dfg.inst_args(sum)[i]);
        let (number, base) = match (self.number(func, a), self.number(func, b)) {
            (Some(number), None) => (number, b),
            (None, Some(number)) => (number, a),
            _ => return,
        };
        func.dfg.inst_args_mut(inst)[at] = base;
        set_offset(func, inst, stand_in(number));
        self.offsets.push((inst, number));
        self.needed |= 1 << number;
    }

    /// Makes constants in the blocks that use them, as the optimiser does with others.
    fn localise(&mut self, func: &mut Function, inst: Inst, block: Block) {
        let is_foreign = |func: &Function, value| {
            let def = edit::def(&func.dfg, value).and_then(|def| func.layout.inst_block(def));
            self.number(func, value).filter(|_| def != Some(block))
        };
        if !func.dfg.inst_values(inst).any(|value| is_foreign(func, value).is_some()) {
            return;
        }
        let foreign: Vec<(Value, usize)> =
            func.dfg.inst_values(inst).filter_map(|value| Some((value, is_foreign(func, value)?))).collect();
        let mut local = HashMap::new();
        for (value, number) in foreign {
            let ty = func.dfg.value_type(value);
            let known = self.here.iter().find(|(n, t, _)| (*n, *t) == (number, ty)).map(|(_, _, value)| *value);
            let made = known.unwrap_or_else(|| {
                let location = func.srcloc(inst);
                let mut cursor = FuncCursor::new(func).at_inst(inst).with_srcloc(location);
                let made = cursor.ins().iconst(ty, stand_in(number));
                self.here.push((number, ty, made));
                self.numbers[made] = number as u8 + 1;
                self.constants.extend(edit::def(&func.dfg, made).map(|def| (def, number)));
                made
            });
            local.insert(value, made);
        }
        func.dfg.map_inst_values(inst, |value| local.get(&value).copied().unwrap_or(value));
    }

    /// Whether an instruction keeps to what is said above.
    fn is_right(&mut self, func: &Function, inst: Inst) -> bool {
        match func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
                return self.number(func, func.dfg.first_result(inst)).is_some() || !is_in_the_way(imm.bits());
            }
            InstructionData::UnaryIeee32 { imm, .. } => return !is_in_the_way(imm.bits().into()),
            InstructionData::UnaryIeee64 { imm, .. } => return !is_in_the_way(imm.bits() as i64),
            _ => {}
        }
        if let Some((_, offset)) = address(func, inst)
            && offset.abs() >= NEAR
            && self.offsets.last().is_none_or(|(last, _)| *last != inst)
        {
            return false;
        }
        let is_sum = matches!(func.dfg.insts[inst].opcode(), Opcode::Iadd | Opcode::Isub);
        for (at, value) in func.dfg.inst_values(inst).enumerate() {
            match self.number(func, value) {
                None if is_sum && constant(func, value).is_some_and(|c| !(-NEAR..NEAR).contains(&c)) => return false,
                None => {}
                Some(number) => match how_used(func, inst, at) {
                    Use::Plain => self.needed |= 1 << number,
                    Use::Addition if constant(func, other_side(func, inst, at)).is_none() => {}
                    _ => return false,
                },
            }
        }
        true
    }
}

fn set_constant(func: &mut Function, inst: Inst, value: i64) {
    func.dfg.insts[inst] = InstructionData::UnaryImm { opcode: Opcode::Iconst, imm: value.into() };
}
