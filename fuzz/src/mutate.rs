//! Mutants of real modules: most damaged in their bytes, others still valid but with other operators and constants.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use wasmparser::{Operator, Parser, Payload};

use crate::rng::Rng;

/// Real modules, by name.
pub struct Corpus {
    modules: Vec<(String, Vec<u8>)>,
}

impl Corpus {
    /// All `.wasm` files under a folder that are not larger than `max_size` bytes, in order of their paths.
    ///
    /// # Errors
    /// If there is none, or one cannot be read.
    pub fn load(dir: &Path, max_size: u64) -> Result<Corpus> {
        let mut modules = Vec::new();
        let mut pending = vec![dir.to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    pending.push(path);
                } else if path.extension().is_some_and(|e| e == "wasm") && path.metadata()?.len() <= max_size {
                    modules.push((path.display().to_string(), std::fs::read(&path)?));
                }
            }
        }
        if modules.is_empty() {
            bail!("no .wasm file of at most {max_size} bytes under {}", dir.display());
        }
        modules.sort();
        Ok(Corpus { modules })
    }

    /// The mutant of this seed and the name of the module it was made from.
    pub fn mutant(&self, seed: u64) -> (&str, Vec<u8>) {
        let mut rng = Rng::new(seed);
        let (name, original) = rng.pick(&self.modules);
        let mut wasm = original.clone();
        if rng.one_in(2) {
            let (places, indices) = places(&wasm);
            for _ in 0..1 << rng.below(8) {
                change_operator(&mut wasm, &places, &mut rng);
            }
            if rng.one_in(4) {
                change_operator(&mut wasm, &indices, &mut rng);
            }
        } else {
            for _ in 0..1 << rng.below(5) {
                damage(&mut wasm, &mut rng);
            }
        }
        (name, wasm)
    }
}

/// Operators that take and give the same types, by ranges of their first bytes.
const CLASSES: &[(u8, u8)] = &[
    (0x46, 0x4f), // i32 comparisons
    (0x51, 0x5a),
    (0x5b, 0x60),
    (0x61, 0x66),
    (0x67, 0x69), // i32 unary
    (0x6a, 0x78), // i32 binary
    (0x79, 0x7b),
    (0x7c, 0x8a),
    (0x8b, 0x91),
    (0x92, 0x98),
    (0x99, 0x9f),
    (0xa0, 0xa6),
    (0xa8, 0xab), // truncations of f32 and f64: half of the changes are invalid
    (0xac, 0xad),
    (0xc2, 0xc4),
];

/// Something in a function body that can be replaced by bytes of the same length.
enum Place {
    /// The byte of an operator, and the class it can be changed within.
    Opcode(usize, (u8, u8)),
    /// A constant, index or offset.
    Immediate(Range<usize>),
}

/// Those that may keep the module valid, and indices, which hardly ever do.
fn places(wasm: &[u8]) -> (Vec<Place>, Vec<Place>) {
    let (mut places, mut indices) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(Payload::CodeSectionEntry(body)) = payload else { continue };
        let Ok(mut reader) = body.get_operators_reader() else { continue };
        while !reader.eof() {
            let start = reader.original_position() as usize;
            let Ok(op) = reader.read() else { break };
            let end = reader.original_position() as usize;
            let class = CLASSES.iter().find(|(low, high)| (low..=high).contains(&&wasm[start]));
            match op {
                _ if class.is_some() && end == start + 1 => places.extend(class.map(|c| Place::Opcode(start, *c))),
                Operator::I32Const { .. }
                | Operator::I64Const { .. }
                | Operator::F32Const { .. }
                | Operator::F64Const { .. } => places.push(Place::Immediate(start + 1..end)),
                Operator::LocalGet { .. }
                | Operator::LocalSet { .. }
                | Operator::GlobalGet { .. }
                | Operator::Call { .. }
                | Operator::Br { .. }
                | Operator::BrIf { .. } => indices.push(Place::Immediate(start + 1..end)),
                Operator::I32Load { .. } | Operator::I64Load { .. } | Operator::I32Store { .. } if end > start + 2 => {
                    places.push(Place::Immediate(start + 2..end));
                }
                _ => {}
            }
        }
    }
    (places, indices)
}

fn change_operator(wasm: &mut [u8], places: &[Place], rng: &mut Rng) {
    if places.is_empty() {
        return;
    }
    match rng.pick(places) {
        Place::Opcode(at, (low, high)) => wasm[*at] = low + rng.below(usize::from(high - low) + 1) as u8,
        Place::Immediate(range) => {
            // The continuation bits of a LEB128 stay, so that the operator keeps its length.
            let at = range.start + rng.below(range.len());
            wasm[at] = wasm[at] & 0x80 | rng.next() as u8 & 0x7f;
        }
    }
}

fn damage(wasm: &mut Vec<u8>, rng: &mut Rng) {
    if wasm.is_empty() {
        return;
    }
    // The declarations are few bytes among many: aim at them half of the time.
    let reach = if rng.one_in(2) { wasm.len() } else { wasm.len().min(4096) };
    let at = rng.below(reach);
    match rng.below(8) {
        0 => wasm[at] ^= 1 << rng.below(8),
        1 => wasm[at] = rng.next() as u8,
        2 => wasm[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x40, 0x60, 0x70, 0x6f, 0x69]),
        3 => wasm.insert(at, rng.next() as u8),
        4 => {
            wasm.remove(at);
        }
        5 => {
            let end = (at + 1 + rng.below(32)).min(wasm.len());
            wasm.drain(at..end);
        }
        6 => {
            let end = (at + 1 + rng.below(64)).min(wasm.len());
            let copy = wasm[at..end].to_vec();
            let to = rng.below(wasm.len());
            wasm.splice(to..to, copy);
        }
        _ => {
            if rng.one_in(8) {
                wasm.truncate(at);
            } else {
                // A count or size that is far too large.
                let end = (at + 5).min(wasm.len());
                wasm.splice(at..end, [0xff, 0xff, 0xff, 0xff, 0x0f]);
            }
        }
    }
}
