//! Abstract states: registers, places in the frame, what is known of symbols; and their join.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::value::{Base, Callee, Fact, Symbol, Value};

/// A hasher for small keys made here: no file can choose them so that it matters.
#[derive(Default)]
pub(crate) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_i64(&mut self, n: i64) {
        self.write_u64(n as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}

type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// A place in the frame whose contents are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    /// Distance from the stack pointer at entry.
    pub(crate) at: i64,
    /// Bytes: 4 or 8.
    pub(crate) size: u8,
    /// What it holds.
    pub(crate) value: Value,
}

/// What the flags come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flags {
    /// Nothing of interest.
    Unknown,
    /// A comparison of two values of 64 bits, or, if the last is false, of 32 bits, zero-extended.
    Compare(Value, Value, bool),
}

/// Number of general registers.
pub(crate) const REGISTERS: usize = 16;
/// Numbers of registers in machine code.
pub(crate) const RAX: usize = 0;
pub(crate) const RCX: usize = 1;
pub(crate) const RDX: usize = 2;
pub(crate) const RSP: usize = 4;
pub(crate) const RBP: usize = 5;
pub(crate) const RSI: usize = 6;
pub(crate) const RDI: usize = 7;

/// The stack was not checked.
pub(crate) const UNCHECKED: i64 = i64::MAX;

/// What is known when an instruction is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    /// The general registers.
    pub(crate) registers: [Value; REGISTERS],
    /// What symbols are; the first is not used.
    pub(crate) facts: Vec<Fact>,
    /// Places in the frame, by ascending distance.
    pub(crate) cells: Vec<Cell>,
    /// Imported functions whose contexts were prepared: by ascending number.
    pub(crate) imports: Vec<(u32, Callee)>,
    /// The flags.
    pub(crate) flags: Flags,
    /// Least distance from the stack pointer at entry that the stack has room for.
    pub(crate) room: i64,
    /// Least distance that was found to be above the stack limit; [`UNCHECKED`] while none was.
    pub(crate) checked: i64,
}

impl State {
    /// A state in which nothing is known, with this much room below the stack pointer at entry.
    pub(crate) fn new(room: i64) -> State {
        let mut state = State {
            registers: [Value::constant(0); REGISTERS],
            facts: vec![Fact::range(0, 0)],
            cells: Vec::new(),
            imports: Vec::new(),
            flags: Flags::Unknown,
            room,
            checked: UNCHECKED,
        };
        for register in 0..REGISTERS {
            state.registers[register] = state.unknown();
        }
        state
    }

    /// A new symbol.
    pub(crate) fn symbol(&mut self, fact: Fact) -> Symbol {
        self.facts.push(fact);
        (self.facts.len() - 1) as Symbol
    }

    /// A number of which nothing is known.
    pub(crate) fn unknown(&mut self) -> Value {
        self.number(Fact::TOP)
    }

    /// A number in a range.
    pub(crate) fn ranged(&mut self, low: i64, high: i64) -> Value {
        if low == high { Value::constant(low) } else { self.number(Fact::range(low, high)) }
    }

    /// A number of which this is known.
    pub(crate) fn number(&mut self, fact: Fact) -> Value {
        let symbol = self.symbol(fact);
        Value::of(Base::Number, symbol)
    }

    /// What is known of a symbol.
    pub(crate) fn fact(&self, symbol: Symbol) -> Fact {
        self.facts.get(symbol as usize).copied().unwrap_or(Fact::TOP)
    }

    /// Least and greatest value of the number that a value adds to its base; everything where it may wrap.
    pub(crate) fn range(&self, value: Value) -> (i64, i64) {
        let number = value.number();
        if number.symbol == 0 {
            return (number.offset, number.offset);
        }
        let fact = self.fact(number.symbol);
        let scaled = |n: i64| i128::from(n) << number.shift;
        let low = scaled(fact.low) + i128::from(number.offset);
        let high = scaled(fact.high) + i128::from(number.offset);
        match (i64::try_from(low), i64::try_from(high)) {
            (Ok(low), Ok(high)) => (low, high),
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// The first place at or above a distance.
    fn cell_from(&self, at: i64) -> usize {
        self.cells.partition_point(|cell| cell.at < at)
    }

    /// What a place holds, if exactly that is known.
    pub(crate) fn cell(&self, at: i64, size: u8) -> Option<Value> {
        let cell = self.cells.get(self.cell_from(at))?;
        (cell.at == at && (cell.size == size || (size == 4 && cell.size == 8))).then_some(cell.value)
    }

    /// Forgets what is in `size` bytes of the frame.
    pub(crate) fn forget(&mut self, at: i64, size: i64) {
        let start = self.cell_from(at.saturating_sub(7));
        let end = self.cell_from(at.saturating_add(size));
        if start >= end {
            return;
        }
        let mut kept = start;
        for i in start..end {
            let cell = self.cells[i];
            if cell.at + i64::from(cell.size) <= at {
                self.cells[kept] = cell;
                kept += 1;
            }
        }
        self.cells.drain(kept..end);
    }

    /// Writes a place.
    pub(crate) fn set_cell(&mut self, at: i64, size: u8, value: Value) {
        let i = self.cell_from(at);
        if let Some(cell) = self.cells.get_mut(i)
            && cell.at == at
            && cell.size == 8
            && size == 8
        {
            cell.value = value;
            return;
        }
        self.forget(at, size.into());
        let i = self.cell_from(at);
        self.cells.insert(i, Cell { at, size, value });
    }

    /// What is known of an imported function's context.
    pub(crate) fn import(&mut self, import: u32) -> &mut Callee {
        let i = self.imports.partition_point(|(n, _)| *n < import);
        if self.imports.get(i).is_none_or(|(n, _)| *n != import) {
            self.imports.insert(i, (import, Callee::default()));
        }
        &mut self.imports[i].1
    }

    /// Applies a function to every value in registers and places.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.registers.iter_mut().chain(self.cells.iter_mut().map(|cell| &mut cell.value))
    }

    /// The state with its symbols numbered in the order in which they are met, without those that nothing names.
    pub(crate) fn canonical(&self) -> State {
        join(self, self, false)
    }
}

/// A join under way: pairs of what stands in the same place of both states become one.
struct Joiner<'a> {
    left: &'a State,
    right: &'a State,
    widen: bool,
    facts: Vec<Fact>,
    symbols: QuickMap<(Symbol, Symbol), Symbol>,
    numbers: QuickMap<(Value, Value), Value>,
}

impl Joiner<'_> {
    fn add(&mut self, fact: Fact, before: Fact) -> Symbol {
        self.facts.push(if self.widen { fact.widen(before) } else { fact });
        (self.facts.len() - 1) as Symbol
    }

    /// The symbol for a pair of symbols.
    fn symbol(&mut self, left: Symbol, right: Symbol) -> Symbol {
        if let Some(found) = self.symbols.get(&(left, right)) {
            return *found;
        }
        let (before, other) = (self.left.fact(left), self.right.fact(right));
        let symbol = self.add(before.join(other), before);
        self.symbols.insert((left, right), symbol);
        if before.half != 0 && other.half != 0 {
            // A half has none itself.
            self.facts[symbol as usize].half = self.symbol(before.half, other.half);
        }
        symbol
    }

    /// A number for a pair of numbers.
    fn number(&mut self, left: Value, right: Value) -> Value {
        if left == right && left.symbol == 0 {
            return left;
        }
        let alike = left.shift == right.shift && left.offset == right.offset;
        if alike && left.symbol != 0 && right.symbol != 0 {
            return Value { symbol: self.symbol(left.symbol, right.symbol), ..left };
        }
        if let Some(found) = self.numbers.get(&(left, right)) {
            return *found;
        }
        let ((l, h), (low, high)) = (self.left.range(left), self.right.range(right));
        let symbol = self.add(Fact::range(l.min(low), h.max(high)), Fact::range(l, h));
        let value = Value::of(Base::Number, symbol);
        self.numbers.insert((left, right), value);
        value
    }

    /// A value of which nothing is known.
    fn top(&mut self, left: Value, right: Value) -> Value {
        if let Some(found) = self.numbers.get(&(left, right)) {
            return *found;
        }
        let symbol = self.add(Fact::TOP, Fact::TOP);
        let value = Value::of(Base::Number, symbol);
        self.numbers.insert((left, right), value);
        value
    }

    /// A reference that may be null: the symbol that names it, where `null` stands for one of the two.
    fn nullable(&mut self, base: Base, left: Value, right: Value) -> Value {
        let of = |value: Value| if value.base == base { value.symbol } else { 0 };
        if let Some(found) = self.numbers.get(&(left, right)) {
            return *found;
        }
        let (left_fact, right_fact) = (self.left.fact(of(left)), self.right.fact(of(right)));
        // Null is a reference of any type.
        let mut fact = if left.base == base { left_fact } else { right_fact };
        if left.base == base && right.base == base {
            fact = left_fact.join(right_fact);
        }
        fact.half = 0;
        let symbol = self.add(fact, fact);
        let value = Value::of(base, symbol);
        self.numbers.insert((left, right), value);
        value
    }

    fn value(&mut self, left: Value, right: Value) -> Value {
        let null = Value::constant(0);
        if left.base == right.base {
            if left.base == Base::Number {
                return self.number(left, right);
            }
            if left.base == Base::Reference {
                return left;
            }
            if left.base.is_identity() {
                if left.offset != right.offset {
                    return self.top(left, right);
                }
                return Value { symbol: self.symbol(left.symbol, right.symbol), ..left };
            }
            let number = self.number(left.number(), right.number());
            return Value { base: left.base, ..number };
        }
        for (one, other) in [(left, right), (right, left)] {
            match one.base {
                Base::Reference if other == null => return Value::base(Base::Reference),
                base @ (Base::FuncRef | Base::Element(_) | Base::Bounded(_)) if other == null && one.offset == 0 => {
                    return self.nullable(base, left, right);
                }
                _ => {}
            }
        }
        self.top(left, right)
    }
}

/// What holds in both states.
///
/// Sound, since a machine state that one of them describes is described by the result: for each symbol of the result, which
/// stands for a pair, take the value of that side's symbol or number. Pairs that are equal got one symbol, so that every
/// equation of the result holds on both sides; facts of the result are implied by either side's.
pub(crate) fn join(left: &State, right: &State, widen: bool) -> State {
    let mut joiner = Joiner {
        left,
        right,
        widen,
        facts: Vec::with_capacity(left.facts.len().min(64)),
        symbols: QuickMap::default(),
        numbers: QuickMap::default(),
    };
    joiner.facts.push(Fact::range(0, 0));
    let mut registers = left.registers;
    for (register, other) in registers.iter_mut().zip(right.registers) {
        *register = joiner.value(*register, other);
    }
    let mut cells = Vec::with_capacity(left.cells.len());
    let mut others = right.cells.iter().peekable();
    for cell in &left.cells {
        while others.next_if(|other| other.at < cell.at).is_some() {}
        let Some(other) = others.peek().filter(|other| other.at == cell.at && other.size == cell.size) else {
            continue;
        };
        let value = joiner.value(cell.value, other.value);
        // Numbers of which nothing is known need no place.
        let known = value.pure_symbol().is_none_or(|symbol| joiner.facts[symbol as usize] != Fact::TOP);
        if known {
            cells.push(Cell { value, ..*cell });
        }
    }
    let flags = match (left.flags, right.flags) {
        (Flags::Compare(a, b, wide), Flags::Compare(c, d, other)) if wide == other => {
            Flags::Compare(joiner.value(a, c), joiner.value(b, d), wide)
        }
        _ => Flags::Unknown,
    };
    let mut imports = Vec::new();
    for (n, callee) in &left.imports {
        if let Some((_, other)) = right.imports.iter().find(|(m, _)| m == n) {
            let limit = callee.limit && other.limit;
            let caller = callee.caller && other.caller;
            imports.push((*n, Callee { limit, caller, ..Callee::default() }));
        }
    }
    State {
        registers,
        facts: joiner.facts,
        cells,
        imports,
        flags,
        room: left.room.max(right.room),
        checked: left.checked.max(right.checked),
    }
}
