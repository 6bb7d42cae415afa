//! A compiled function without its names: the form in which it is cached.
//!
//! Code generation sees of another function only a number, the position of its name in a table that belongs to the
//! function, and of wasm offsets only their distances from the first one. So two functions that differ in nothing else
//! get the same code, and what is kept of it may not know more: [`UnboundFunc::bind`] puts names and offsets in.
//! Numbers that the compiler left open, mostly addresses of data, are put in likewise.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::builtins::Builtin;
use crate::func_key::FuncKey;
use crate::machine::{AddressEntry, FuncTables, InlinedBody, MachineFunc, NO_WASM_OFFSET, Reloc, RelocKind};

/// A [`MachineFunc`] whose relocations are positions in a table of names, and whose wasm offsets count from a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnboundFunc {
    #[serde(with = "as_bytes")]
    code: Vec<u8>,
    align: u32,
    relocs: Vec<UnboundReloc>,
    inlined: Vec<UnboundBody>,
    /// The numbers for which the code was made, and where others may be put in their place.
    numbers: Vec<u32>,
    open: Vec<OpenNumber>,
    /// Without `inlined`.
    tables: FuncTables,
}

/// Four bytes of code that hold a number, or the sum of it and a distance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenNumber {
    /// Offset of the bytes.
    pub offset: u32,
    /// Which of the function's numbers it is.
    pub number: u32,
}

/// What a function depends on, and code generation does not see.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The functions that the code refers to, by position.
    pub funcs: &'a [FuncKey],
    /// The wasm offset from which those of the code are counted.
    pub base: u32,
    /// The numbers that the code may be made for whatever they are.
    pub numbers: &'a [u32],
}

/// A function that the code refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Target {
    /// A position in the table of names.
    Name(u32),
    /// The same in every module.
    Builtin(Builtin),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UnboundReloc {
    offset: u32,
    kind: RelocKind,
    target: Target,
    addend: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UnboundBody {
    start: u32,
    name: u32,
    call: u32,
}

impl UnboundFunc {
    /// Takes names and offsets out of a function. `open` says where it holds numbers; without any of these it is for its
    /// numbers only. `None` if it refers to a function that is not among the names.
    pub fn unbind(func: &MachineFunc, names: Names<'_>, open: &[OpenNumber]) -> Option<UnboundFunc> {
        let Names { funcs, base, numbers } = names;
        let positions: HashMap<FuncKey, u32> = funcs.iter().copied().zip(0..).collect();
        let MachineFunc { code, align, relocs, tables, sites } = func;
        if !sites.is_empty() {
            // Code that counts belongs to one module.
            return None;
        }
        let relocs = relocs.iter().map(|r| {
            let Reloc { offset, kind, target, addend } = *r;
            let target = match target {
                FuncKey::WasmToBuiltin(builtin) => Target::Builtin(builtin),
                other => Target::Name(*positions.get(&other)?),
            };
            Some(UnboundReloc { offset, kind, target, addend })
        });
        let inlined = tables.inlined.iter().map(|body| {
            let InlinedBody { start, func, call } = *body;
            let name = *positions.get(&FuncKey::Wasm(func))?;
            Some(UnboundBody { start: start.wrapping_sub(base), name, call: call.wrapping_sub(base) })
        });
        Some(UnboundFunc {
            code: code.clone(),
            align: *align,
            relocs: relocs.collect::<Option<_>>()?,
            inlined: inlined.collect::<Option<_>>()?,
            numbers: numbers.to_vec(),
            open: open.to_vec(),
            tables: rebased(tables.clone(), Vec::new(), |wasm| wasm.wrapping_sub(base)),
        })
    }

    /// The function with these names. `None` if there are too few of them, or it is for other numbers.
    pub fn bind(mut self, names: Names<'_>) -> Option<MachineFunc> {
        self.put_numbers(names.numbers)?;
        let Names { funcs: names, base, numbers: _ } = names;
        let relocs = self.relocs.iter().map(|r| {
            let UnboundReloc { offset, kind, target, addend } = *r;
            let target = match target {
                Target::Name(name) => *names.get(name as usize)?,
                Target::Builtin(builtin) => FuncKey::WasmToBuiltin(builtin),
            };
            Some(Reloc { offset, kind, target, addend })
        });
        let inlined = self.inlined.iter().map(|body| {
            let UnboundBody { start, name, call } = *body;
            let FuncKey::Wasm(func) = *names.get(name as usize)? else { return None };
            Some(InlinedBody { start: start.wrapping_add(base), func, call: call.wrapping_add(base) })
        });
        let inlined = inlined.collect::<Option<_>>()?;
        Some(MachineFunc {
            relocs: relocs.collect::<Option<_>>()?,
            code: self.code,
            align: self.align,
            tables: rebased(self.tables, inlined, |wasm| wasm.wrapping_add(base)),
            sites: Vec::new(),
        })
    }

    fn put_numbers(&mut self, numbers: &[u32]) -> Option<()> {
        if self.numbers == numbers {
            return Some(());
        }
        if self.open.is_empty() || self.numbers.len() != numbers.len() {
            return None;
        }
        for &OpenNumber { offset, number } in &self.open {
            let change = numbers.get(number as usize)?.wrapping_sub(self.numbers[number as usize]);
            let bytes = self.code.get_mut(offset as usize..)?.first_chunk_mut::<4>()?;
            *bytes = u32::from_le_bytes(*bytes).wrapping_add(change).to_le_bytes();
        }
        Some(())
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data serialises")
    }

    /// From the bytes of [`UnboundFunc::encode`]; `None` if they are something else.
    pub fn decode(bytes: &[u8]) -> Option<UnboundFunc> {
        let (func, rest) = postcard::take_from_bytes::<UnboundFunc>(bytes).ok()?;
        (rest.is_empty() && func.align.is_power_of_two()).then_some(func)
    }
}

/// The tables with other inlined bodies and wasm offsets. Whoever adds a table has to say here what in it depends on the
/// function's place.
fn rebased(tables: FuncTables, inlined: Vec<InlinedBody>, offset: impl Fn(u32) -> u32) -> FuncTables {
    let FuncTables { traps, mut addresses, inlined: _, stack_maps, handlers, unwind } = tables;
    for AddressEntry { wasm, .. } in &mut addresses {
        if *wasm != NO_WASM_OFFSET {
            *wasm = offset(*wasm);
        }
    }
    FuncTables { traps, addresses, inlined, stack_maps, handlers, unwind }
}

/// Code as one run of bytes instead of a sequence of numbers, which takes many times as long.
mod as_bytes {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::DefinedFuncIndex;

    fn func(callees: [u32; 2], base: u32) -> MachineFunc {
        let reloc = |offset, callee| Reloc {
            offset,
            kind: RelocKind::X86CallPcRel4,
            target: FuncKey::Wasm(DefinedFuncIndex(callee)),
            addend: -4,
        };
        let entry = |offset, wasm| AddressEntry { offset, wasm };
        MachineFunc {
            code: vec![1; 40],
            align: 16,
            relocs: vec![reloc(3, callees[0]), reloc(9, callees[1]), reloc(20, callees[0])],
            tables: FuncTables {
                addresses: vec![entry(0, NO_WASM_OFFSET), entry(3, base + 2), entry(9, base + 7)],
                inlined: vec![InlinedBody { start: base + 5, func: DefinedFuncIndex(callees[1]), call: base + 2 }],
                ..FuncTables::default()
            },
            sites: Vec::new(),
        }
    }

    #[test]
    fn names_and_offsets_are_exchanged() {
        let names = |callees: [u32; 2]| callees.map(|c| FuncKey::Wasm(DefinedFuncIndex(c)));
        let unbind = |func: &MachineFunc, funcs: &[FuncKey], base| {
            UnboundFunc::unbind(func, Names { funcs, base, numbers: &[] }, &[])
        };
        let unbound = unbind(&func([5, 8], 100), &names([5, 8]), 100).unwrap();
        let again = UnboundFunc::decode(&unbound.encode()).unwrap();
        assert_eq!(again, unbound);
        assert_eq!(unbound, unbind(&func([8, 5], 3), &names([8, 5]), 3).unwrap());
        assert_eq!(again.bind(Names { funcs: &names([7, 1]), base: 31, numbers: &[] }), Some(func([7, 1], 31)));
    }

    #[test]
    fn open_numbers_are_exchanged_and_others_are_not() {
        let with = |first: u32, second: u32| {
            let mut func = func([5, 8], 0);
            func.code[4..8].copy_from_slice(&first.to_le_bytes());
            func.code[30..34].copy_from_slice(&second.wrapping_sub(3).to_le_bytes());
            func
        };
        let funcs = [5, 8].map(|c| FuncKey::Wasm(DefinedFuncIndex(c)));
        fn named<'a>(funcs: &'a [FuncKey], numbers: &'a [u32]) -> Names<'a> {
            Names { funcs, base: 0, numbers }
        }
        let names = |numbers: &'static [u32]| named(&funcs, numbers);
        let open = [OpenNumber { offset: 4, number: 0 }, OpenNumber { offset: 30, number: 1 }];
        let unbound = UnboundFunc::unbind(&with(1024, 70_000), names(&[1024, 70_000]), &open).unwrap();
        let unbound = UnboundFunc::decode(&unbound.encode()).unwrap();
        for numbers in [&[1024, 70_000], &[70_000, 1024], &[5_000, 5_000]] {
            assert_eq!(unbound.clone().bind(names(numbers)), Some(with(numbers[0], numbers[1])));
        }
        assert_eq!(unbound.clone().bind(names(&[1024])), None);
        let fixed = UnboundFunc::unbind(&with(1024, 70_000), names(&[1024, 70_000]), &[]).unwrap();
        assert_eq!(fixed.clone().bind(names(&[1024, 70_000])), Some(with(1024, 70_000)));
        assert_eq!(fixed.bind(names(&[1024, 70_001])), None);
        let outside = [OpenNumber { offset: 37, number: 0 }];
        let damaged = UnboundFunc::unbind(&with(1024, 0), names(&[1024]), &outside).unwrap();
        assert_eq!(damaged.bind(names(&[1025])), None);
    }

    #[test]
    fn missing_names_and_other_bytes_are_refused() {
        let other = [FuncKey::Wasm(DefinedFuncIndex(5))];
        let named = |funcs| Names { funcs, base: 0, numbers: &[] };
        assert_eq!(UnboundFunc::unbind(&func([5, 8], 0), named(&other), &[]), None);
        let names = [5, 8].map(|c| FuncKey::Wasm(DefinedFuncIndex(c)));
        let unbound = UnboundFunc::unbind(&func([5, 8], 0), named(&names), &[]).unwrap();
        assert_eq!(unbound.clone().bind(named(&names[..1])), None);
        let mut bytes = unbound.encode();
        bytes.push(0);
        assert_eq!(UnboundFunc::decode(&bytes), None);
        assert_eq!(UnboundFunc::decode(&bytes[..5]), None);
    }
}
