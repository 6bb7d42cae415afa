//! What a condition that holds says of the values that were compared.

use iced_x86::ConditionCode;

use crate::check::Checker;
use crate::state::{Flags, State};
use crate::value::{Base, Fact, Length, MAX_U32, Value};

impl Checker<'_> {
    /// Adds to a state what follows from a condition. Bounds that are to be masked come from masks only: `masked` says
    /// that this is one.
    pub(crate) fn assume(&self, s: &mut State, condition: ConditionCode, masked: bool) {
        use ConditionCode as C;
        let Flags::Compare(left, right, wide) = s.flags else { return };
        match condition {
            C::b => self.assume_below(s, left, right, true, masked),
            C::be => self.assume_below(s, left, right, false, masked),
            C::a => self.assume_below(s, right, left, true, masked),
            C::ae => self.assume_below(s, right, left, false, masked),
            C::e => self.assume_equal(s, left, right),
            C::ne => self.assume_unequal(s, left, right),
            C::l | C::le | C::g | C::ge => {
                let (small, large) = if matches!(condition, C::l | C::le) { (left, right) } else { (right, left) };
                let strict = matches!(condition, C::l | C::g);
                let ((_, high), (low, _)) = (s.range(large), s.range(small));
                let signed = |(low, high): (i64, i64)| wide || (low >= 0 && high <= i64::from(i32::MAX));
                if left.base == Base::Number
                    && right.base == Base::Number
                    && signed(s.range(left))
                    && signed(s.range(right))
                {
                    narrow(s, small, i64::MIN, high.saturating_sub(strict.into()));
                    narrow(s, large, low.saturating_add(strict.into()), i64::MAX);
                }
            }
            _ => {}
        }
    }

    /// `small` is below `large` as unsigned numbers, or not above if it is not `strict`.
    fn assume_below(&self, s: &mut State, small: Value, large: Value, strict: bool, masked: bool) {
        let one = i64::from(strict);
        match (small.base, large.base) {
            // The stack limit and what a frame needs are below the stack pointer.
            (Base::StackLimit, Base::Frame) if small.symbol == 0 && large.symbol == 0 && small.offset >= 0 => {
                s.checked = s.checked.min(large.offset.saturating_sub(small.offset));
                s.room = s.room.min(s.checked);
            }
            (Base::Number, Base::Number) => {
                let ((low, _), (least, most)) = (s.range(small), s.range(large));
                if least < 0 {
                    return;
                }
                let wraps = s.range(small) == (i64::MIN, i64::MAX) && small.offset != 0;
                if !wraps || small.pure_symbol().is_some() {
                    self.note_length(s, small, large, one, masked);
                }
                // Below a number that is not negative as a signed one: neither is this.
                narrow(s, small, 0, most - one);
                if low >= 0 {
                    narrow(s, large, low.saturating_add(one), i64::MAX);
                }
            }
            _ => {}
        }
    }

    /// `small + one` is at most `large`, which may have to do with a length; neither wraps.
    fn note_length(&self, s: &mut State, small: Value, large: Value, one: i64, masked: bool) {
        if small.symbol == 0 || small.shift != 0 || large.symbol == 0 || large.shift != 0 {
            return;
        }
        let Some(length) = s.fact(large.symbol).length else { return };
        let wanted = match length {
            Length::Memory(_) => self.plan.memory_masks,
            Length::Table(_) => self.plan.table_masks,
        };
        if wanted && !masked {
            return;
        }
        // symbol + small.offset + one <= length + large.offset
        let free = small.offset.checked_add(one).and_then(|n| n.checked_sub(large.offset));
        let Some(free) = free else { return };
        let fact = &mut s.facts[small.symbol as usize];
        fact.below = match fact.below {
            Some((other, known)) if other == length && known >= free => Some((other, known)),
            _ => Some((length, free)),
        };
    }

    fn assume_equal(&self, s: &mut State, left: Value, right: Value) {
        for (one, other) in [(left, right), (right, left)] {
            match (one.base, other.base) {
                (Base::TypeOf, Base::TypeNumber(ty)) if other.offset == 0 && one.offset == 0 => {
                    s.facts[one.symbol as usize].callee.ty = Some(ty);
                }
                (Base::CalleeContext, Base::Context) if other == Value::base(Base::Context) && one.offset == 0 => {
                    s.facts[one.symbol as usize].callee.own = true;
                }
                (Base::Number, Base::Number) => {
                    let (low, high) = s.range(other);
                    narrow(s, one, low, high);
                }
                _ => {}
            }
        }
    }

    fn assume_unequal(&self, s: &mut State, left: Value, right: Value) {
        for (one, other) in [(left, right), (right, left)] {
            let Some(n) = other.as_constant() else { continue };
            if one.base != Base::Number || one.symbol == 0 {
                continue;
            }
            let (low, high) = s.range(one);
            if low == n {
                narrow(s, one, low.saturating_add(1), high);
            } else if high == n {
                narrow(s, one, low, high.saturating_sub(1));
            }
        }
    }

    /// What a conditional move gives: `new` if the condition holds, else `old`.
    pub(crate) fn select(&self, s: &mut State, condition: ConditionCode, old: Value, new: Value) -> Value {
        if old == new {
            return old;
        }
        let not = negated(condition);
        let null = Value::constant(0);
        for (address, other, holds) in [(old, new, not), (new, old, condition)] {
            if other != null {
                continue;
            }
            match address.base {
                Base::Table(table) => {
                    if let Some(value) = self.masked_element(s, table, address, holds) {
                        return value;
                    }
                }
                Base::Memory(memory) => {
                    let room = self.under(s, holds, |s| self.memory_room(s, memory, address));
                    let symbol = s.symbol(Fact { room: room.unwrap_or(0), ..Fact::TOP });
                    return Value::of(Base::Bounded(memory), symbol);
                }
                Base::FuncRef if address.offset == 0 => {
                    let fact = s.fact(address.symbol);
                    let symbol = s.symbol(fact);
                    return Value::of(Base::FuncRef, symbol);
                }
                Base::Reference => return Value::base(Base::Reference),
                _ => {}
            }
        }
        if old.base == Base::Reference && new.base == Base::Reference {
            return old;
        }
        if old.base == Base::FuncRef && new.base == Base::FuncRef && old.offset == 0 && new.offset == 0 {
            let mut fact = s.fact(old.symbol).join(s.fact(new.symbol));
            (fact.callee.own, fact.callee.limit, fact.callee.caller) = (false, false, false);
            let symbol = s.symbol(fact);
            return Value::of(Base::FuncRef, symbol);
        }
        if old.base != Base::Number || new.base != Base::Number {
            return s.unknown();
        }
        for (impossible, other) in [(condition, old), (not, new)] {
            if is_impossible(s, impossible) {
                let (low, high) = s.range(other);
                return s.ranged(low, high);
            }
        }
        let (low, high) = self.under(s, not, |s| s.range(old));
        let (other_low, other_high) = self.under(s, condition, |s| s.range(new));
        s.ranged(low.min(other_low), high.max(other_high))
    }

    /// An element's address, if the mask leaves only those of elements.
    fn masked_element(&self, s: &mut State, table: u32, address: Value, holds: ConditionCode) -> Option<Value> {
        let shift = self.plan.tables.get(table as usize)?.shift;
        if address.shift != shift || address.offset != 0 || address.symbol == 0 {
            return None;
        }
        let inside = self.under(s, holds, |s| {
            let fact = s.fact(address.symbol);
            fact.low >= 0 && fact.below.is_some_and(|(length, n)| length == Length::Table(table) && n >= 1)
        });
        inside.then(|| {
            let symbol = s.symbol(Fact::TOP);
            Value::of(Base::Element(table), symbol)
        })
    }

    /// What holds if a condition does; the state stays as it is.
    fn under<R>(&self, s: &mut State, condition: ConditionCode, what: impl FnOnce(&State) -> R) -> R {
        let Flags::Compare(left, right, _) = s.flags else { return what(s) };
        let saved = [left.symbol, right.symbol].map(|symbol| (symbol, s.fact(symbol)));
        let (room, checked) = (s.room, s.checked);
        self.assume(s, condition, true);
        let found = what(s);
        for (symbol, fact) in saved {
            s.facts[symbol as usize] = fact;
        }
        (s.room, s.checked) = (room, checked);
        found
    }
}

/// Whether a condition cannot hold, by the ranges of the numbers that were compared.
fn is_impossible(s: &State, condition: ConditionCode) -> bool {
    use ConditionCode as C;
    let Flags::Compare(left, right, wide) = s.flags else { return false };
    if left.base != Base::Number || right.base != Base::Number {
        return false;
    }
    let ((low, high), (least, most)) = (s.range(left), s.range(right));
    let end = if wide { i64::MAX } else { MAX_U32 };
    if low < 0 || least < 0 || high > end || most > end {
        return false;
    }
    match condition {
        C::b => low >= most,
        C::be => low > most,
        C::a => high <= least,
        C::ae => high < least,
        _ => false,
    }
}

/// The opposite.
pub(crate) fn negated(condition: ConditionCode) -> ConditionCode {
    use ConditionCode as C;
    match condition {
        C::None => C::None,
        C::o => C::no,
        C::no => C::o,
        C::b => C::ae,
        C::ae => C::b,
        C::e => C::ne,
        C::ne => C::e,
        C::be => C::a,
        C::a => C::be,
        C::s => C::ns,
        C::ns => C::s,
        C::p => C::np,
        C::np => C::p,
        C::l => C::ge,
        C::ge => C::l,
        C::le => C::g,
        C::g => C::le,
    }
}

/// A number is between `low` and `high`.
fn narrow(s: &mut State, value: Value, low: i64, high: i64) {
    if value.base != Base::Number || value.symbol == 0 || value.shift != 0 {
        return;
    }
    // What is known of the symbol must not wrap on the way to the value.
    if value.offset != 0 && s.range(value) == (i64::MIN, i64::MAX) {
        return;
    }
    let fact = &mut s.facts[value.symbol as usize];
    let bound = |n: i64, none: i64| if n == none { none } else { n.checked_sub(value.offset).unwrap_or(none) };
    let (low, high) = (bound(low, i64::MIN), bound(high, i64::MAX));
    fact.low = fact.low.max(low);
    fact.high = fact.high.min(high);
    if fact.low > fact.high {
        // Nothing comes here; a range that has a number is as good.
        fact.low = fact.high;
    }
}
