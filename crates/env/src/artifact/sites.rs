//! Traps and address map of a function, in as few bytes as can be read quickly.
//!
//! A site begins with a number in LEB128: the distance from the site before, times four, plus what there is: an entry of
//! the address map (1: alone; 2: and an access that may be out of a memory's bounds), or another trap (0: alone; 3: and an
//! entry of the address map). Another trap's code follows in one byte; an entry's location follows as the difference to the
//! last one, its sign in the lowest bit, plus one; 0 is code that belongs to no operator.

use crate::machine::{FuncTables, NO_WASM_OFFSET};
use crate::trap::TrapCode;

/// A place in a function's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// Its offset from the start of the function.
    pub offset: u32,
    /// From here on code belongs to this [location](crate::machine::AddressEntry), which may be [`NO_WASM_OFFSET`].
    pub location: Option<u32>,
    /// Why the instruction may trap.
    pub trap: Option<TrapCode>,
}

const TRAP_ALONE: u64 = 0;
const ENTRY_ALONE: u64 = 1;
const ENTRY_AND_BOUNDS: u64 = 2;
const ENTRY_AND_TRAP: u64 = 3;

fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the sites of a function.
pub(super) fn encode(tables: &FuncTables, out: &mut Vec<u8>) {
    let (mut traps, mut entries) = (tables.traps.iter().peekable(), tables.addresses.iter().peekable());
    let (mut at, mut last) = (0, 0i64);
    while let Some(offset) = traps.peek().map(|t| t.offset).into_iter().chain(entries.peek().map(|e| e.offset)).min() {
        let trap = traps.next_if(|t| t.offset == offset).map(|t| t.code);
        let entry = entries.next_if(|e| e.offset == offset).map(|e| e.wasm);
        let kind = match (entry, trap) {
            (None, _) => TRAP_ALONE,
            (Some(_), None) => ENTRY_ALONE,
            (Some(_), Some(TrapCode::MemoryOutOfBounds)) => ENTRY_AND_BOUNDS,
            (Some(_), Some(_)) => ENTRY_AND_TRAP,
        };
        put(u64::from(offset - at) << 2 | kind, out);
        at = offset;
        if let (TRAP_ALONE | ENTRY_AND_TRAP, Some(trap)) = (kind, trap) {
            out.push(trap as u8);
        }
        match entry {
            None => {}
            Some(NO_WASM_OFFSET) => put(0, out),
            Some(location) => {
                let delta = i64::from(location) - last;
                put((delta.unsigned_abs() << 1 | u64::from(delta < 0)) + 1, out);
                last = i64::from(location);
            }
        }
    }
}

/// Reads sites until the bytes end or make no sense.
#[derive(Clone, Debug)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    offset: u32,
    location: i64,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { bytes, offset: 0, location: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..42).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn location(&mut self) -> Option<u32> {
        let Some(number) = self.number()?.checked_sub(1) else { return Some(NO_WASM_OFFSET) };
        let delta = (number >> 1) as i64;
        self.location += if number & 1 == 1 { -delta } else { delta };
        u32::try_from(self.location).ok()
    }
}

impl Iterator for Decoder<'_> {
    type Item = Site;

    fn next(&mut self) -> Option<Site> {
        let head = self.number()?;
        self.offset = self.offset.checked_add(u32::try_from(head >> 2).ok()?)?;
        let kind = head & 3;
        let trap = match kind {
            TRAP_ALONE | ENTRY_AND_TRAP => Some(TrapCode::from_u8(self.byte()?)?),
            ENTRY_AND_BOUNDS => Some(TrapCode::MemoryOutOfBounds),
            _ => None,
        };
        let location = if kind == TRAP_ALONE { None } else { Some(self.location()?) };
        Some(Site { offset: self.offset, location, trap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{AddressEntry, TrapSite};

    #[test]
    fn sites_come_back_and_damaged_bytes_end_them() {
        let entry = |offset, wasm| AddressEntry { offset, wasm };
        let trap = |offset, code| TrapSite { offset, code };
        let tables = FuncTables {
            traps: vec![
                trap(3, TrapCode::MemoryOutOfBounds),
                trap(9, TrapCode::Unreachable),
                trap(1_000_000, TrapCode::IntegerOverflow),
            ],
            addresses: vec![
                entry(0, NO_WASM_OFFSET),
                entry(3, 500_000),
                entry(7, 20),
                entry(1_000_000, u32::MAX - 1),
                entry(1_000_001, 0),
            ],
            ..FuncTables::default()
        };
        let mut bytes = Vec::new();
        encode(&tables, &mut bytes);
        let sites: Vec<Site> = Decoder::new(&bytes).collect();
        let traps: Vec<_> = sites.iter().filter_map(|s| Some(trap(s.offset, s.trap?))).collect();
        let entries: Vec<_> = sites.iter().filter_map(|s| Some(entry(s.offset, s.location?))).collect();
        assert_eq!((traps, entries), (tables.traps, tables.addresses));
        for end in 0..bytes.len() {
            assert!(Decoder::new(&bytes[..end]).count() < sites.len());
        }
        for byte in 0..=255 {
            Decoder::new(&[byte; 64]).count();
        }
    }
}
