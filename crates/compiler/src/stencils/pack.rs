//! A library's flat form.

use kiln_env::stencil::{self, Choice, Piece, Shape, record};

use super::Stencil;
use super::subjects::Entry;

/// A library under construction.
pub(super) struct Pack {
    ops: Vec<[u16; 2]>,
    variants: Vec<u8>,
    cells: Vec<u16>,
    stencils: Vec<u8>,
    spill: u32,
    count: usize,
}

impl Pack {
    pub(super) fn new() -> Pack {
        Pack {
            ops: vec![[stencil::ABSENT, 0]; Piece::COUNT],
            variants: Vec::new(),
            cells: Vec::new(),
            stencils: Vec::new(),
            spill: 0,
            count: 0,
        }
    }

    /// Adds a variant; variants of an operator come one after the other. Gives the position of its first cell.
    pub(super) fn variant(&mut self, entry: &Entry) -> usize {
        let s = &entry.subject;
        let op = &mut self.ops[s.piece.number()];
        if op[0] == stencil::ABSENT {
            op[0] = (self.variants.len() / record::VARIANT) as u16;
        }
        while op[1] < s.variant.into() {
            // A number without a meaning.
            self.variants.extend(u32::MAX.to_le_bytes());
            self.variants.extend([0; 8]);
            op[1] += 1;
        }
        assert_eq!(op[1], s.variant.into(), "{}", s.piece);
        op[1] += 1;
        let first = self.cells.len();
        self.cells.extend(std::iter::repeat_n(stencil::ABSENT, entry.shape.cells()));
        self.variants.extend((first as u32).to_le_bytes());
        let flags = if s.framed { stencil::FRAMED } else { 0 };
        let result = entry.result.map_or(stencil::NO_RESULT, |ty| ty as u8);
        self.variants.extend([entry.shape.bits(), flags, s.params.len() as u8, result]);
        for i in 0..4 {
            self.variants.push(s.params.get(i).map_or(0, |ty| *ty as u8));
        }
        first
    }

    /// Adds a stencil.
    pub(super) fn stencil(&mut self, first_cell: usize, shape: Shape, choice: Choice, stencil: &Stencil) {
        let cut = &stencil.cut;
        let unit = self.stencils.len() / record::UNIT;
        let unit = u16::try_from(unit).ok().filter(|u| *u != stencil::ABSENT).expect("fewer than 2 MB of stencils");
        let cell = &mut self.cells[first_cell + shape.cell(choice)];
        assert_eq!(*cell, stencil::ABSENT, "two choices with one number");
        *cell = unit;
        self.count += 1;
        let out = &mut self.stencils;
        out.extend((cut.code.len() as u16).to_le_bytes());
        out.extend(cut.branch.map_or(stencil::ABSENT, |at| at as u16).to_le_bytes());
        let spills = stencil.holes.iter().any(|hole| hole.value == stencil::value::SPILL);
        let flags = if cut.aligned { stencil::ALIGNED } else { 0 } | if spills { stencil::SPILLS } else { 0 };
        assert!(stencil.holes.is_sorted_by_key(|hole| hole.at), "holes ascend");
        out.extend([stencil.holes.len() as u8, cut.traps.len() as u8, cut.calls.len() as u8, flags]);
        for hole in &stencil.holes {
            out.extend((hole.at as u16).to_le_bytes());
            out.extend([hole.value as u8, hole.fill]);
            out.extend(hole.addend.to_le_bytes());
            if hole.value == stencil::value::SPILL {
                self.spill = self.spill.max(hole.addend as u32 + 16);
            }
        }
        for (at, trap) in &cut.traps {
            out.extend((*at as u16).to_le_bytes());
            out.extend((*trap as u16).to_le_bytes());
        }
        for (at, builtin) in &cut.calls {
            out.extend((*at as u16).to_le_bytes());
            out.extend((*builtin as u16).to_le_bytes());
        }
        out.extend(&cut.code);
        out.resize(out.len().next_multiple_of(record::UNIT), 0);
    }

    /// The library and the number of its stencils.
    pub(super) fn finish(mut self) -> (Vec<u8>, usize) {
        self.stencils.extend([0; record::PADDING]);
        let ops = self.ops.iter().flat_map(|[first, count]| {
            let [low, high] = first.to_le_bytes();
            [low, high, *count as u8, 0]
        });
        let ops: Vec<u8> = ops.collect();
        let cells: Vec<u8> = self.cells.iter().flat_map(|n| n.to_le_bytes()).collect();
        let sections = [&ops, &self.variants, &cells, &self.stencils];
        let mut bytes = stencil::MAGIC.to_le_bytes().to_vec();
        let mut at = record::HEADER;
        for section in sections {
            bytes.extend((at as u32).to_le_bytes());
            at += section.len();
        }
        bytes.extend(self.spill.next_multiple_of(16).to_le_bytes());
        debug_assert_eq!(bytes.len(), record::HEADER);
        sections.iter().for_each(|s| bytes.extend(*s));
        (bytes, self.count)
    }
}
