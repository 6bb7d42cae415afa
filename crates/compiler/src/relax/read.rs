//! Finds out of machine code all that depends on where it is.

use std::ops::Range;

use kiln_env::MachineFunc;

use super::decode::{Kind, decode};
use crate::midend::numbers::is_candidate;

/// Why a function was left as it was.
pub(crate) type Reason = &'static str;

/// A jump within the function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    /// Offset of its first byte.
    pub(super) start: u32,
    /// Offset of the instruction that it leads to.
    pub(super) target: u32,
    /// Whether it has a condition: then it is `jcc`, otherwise `jmp`.
    pub(super) conditional: bool,
    /// Whether it gets the short form.
    pub(super) short: bool,
    /// Bytes of the instruction in front, with which processors may fuse it.
    pub(super) before: u8,
    /// How many branches start in front of it.
    pub(super) index: u32,
    /// How many branches start in front of the target.
    pub(super) rank: u32,
    /// How many places where padding may go lie between it and its target.
    pub(super) crossed: u32,
}

impl Branch {
    /// Bytes of the long form, which is what Cranelift emits.
    pub(super) fn long_len(&self) -> u32 {
        if self.conditional { 6 } else { 5 }
    }

    /// Where it ended.
    pub(super) fn end(&self) -> u32 {
        self.start + self.long_len()
    }

    /// Bytes that the short form has less.
    pub(super) fn saving(&self) -> u32 {
        self.long_len() - 2
    }

    /// Bytes of the form that was chosen.
    pub(super) fn len(&self) -> u32 {
        if self.short { 2 } else { self.long_len() }
    }
}

/// A 32-bit field that holds the distance from `end` to `target`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distance {
    pub(super) field: u32,
    pub(super) end: u32,
    pub(super) target: u32,
}

/// What depends on places. All lists ascend.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) branches: Vec<Branch>,
    /// Tables of 32-bit distances from their own beginning.
    pub(super) tables: Vec<Range<u32>>,
    /// References to constants, tables, and by `lea` to blocks.
    pub(super) distances: Vec<Distance>,
    /// Where calls end.
    pub(super) calls: Vec<u32>,
    /// Fields that may have to do with open numbers: where their instructions begin, how far they are into these, what is
    /// in them.
    pub(super) fields: Vec<(u32, u8, i32)>,
    /// A bit for each offset at which an instruction begins.
    starts: Vec<u64>,
    /// Where instructions and tables end.
    pub(super) code_end: u32,
    /// Where constants begin; the end of everything if there are none.
    pub(super) data_start: u32,
    /// Bytes of the constants.
    pub(super) data_len: u32,
}

/// Where a walk over a function is.
struct Walk<'a> {
    code: &'a [u8],
    at: u32,
    /// Where the instruction in front begins.
    previous: u32,
    /// Whether execution does not get here from the instruction in front.
    is_behind_end: bool,
    /// Whether the instruction in front is an indirect jump.
    is_behind_indirect: bool,
    /// Relocations that are still ahead: their offsets.
    relocs: std::slice::Iter<'a, kiln_env::machine::Reloc>,
    /// What the last `lea` refers to, a table, or else constants; `NOWHERE` if there is none.
    address: u32,
    /// The first constant, as far as is known.
    data: u32,
}

/// What lies behind everything.
const NOWHERE: u32 = u32::MAX;

/// More padding than any constant needs.
const MAX_PADDING: u32 = 64;

impl Reading {
    /// Reads a function whose blocks begin at `blocks`.
    ///
    /// # Errors
    /// Something in it is not explained by what is known of Cranelift's code.
    pub(super) fn read(&mut self, func: &MachineFunc, blocks: &[u32]) -> Result<(), Reason> {
        let len = u32::try_from(func.code.len()).ok().filter(|len| *len < 1 << 31).ok_or("too long")?;
        if !blocks.is_sorted() {
            return Err("blocks are out of order");
        }
        self.branches.clear();
        self.tables.clear();
        self.distances.clear();
        self.calls.clear();
        self.fields.clear();
        self.starts.clear();
        self.starts.resize(len as usize / 64 + 1, 0);
        let mut walk = Walk {
            code: &func.code,
            at: 0,
            previous: 0,
            is_behind_end: false,
            is_behind_indirect: false,
            relocs: func.relocs.iter(),
            address: NOWHERE,
            data: len,
        };
        while walk.at < walk.data.min(walk.address) {
            if walk.is_behind_end && walk.only_padding_follows() {
                break;
            }
            self.instruction(&mut walk, blocks)?;
            if walk.is_behind_indirect && walk.at == walk.address {
                self.table(&mut walk, func, blocks)?;
            }
        }
        self.code_end = walk.at;
        self.data_start = walk.data.min(walk.address);
        self.data_len = len.saturating_sub(self.data_start);
        let is_filled = func.code[walk.at as usize..self.data_start as usize].iter().all(|byte| *byte == 0);
        if !is_filled || walk.at > self.data_start || !walk.is_behind_end {
            return Err("code does not end where constants begin");
        }
        if walk.relocs.next().is_some() {
            return Err("a relocation in something that is no call");
        }
        self.check_targets(&func.code)?;
        self.check_tables(func, blocks)
    }

    fn instruction(&mut self, walk: &mut Walk<'_>, blocks: &[u32]) -> Result<(), Reason> {
        let start = walk.at;
        let inst = decode(&walk.code[start as usize..]).ok_or("an unknown instruction")?;
        let end = start + inst.len;
        self.starts[start as usize / 64] |= 1 << (start % 64);
        let is_reloc = matches!(inst.kind, Kind::Call | Kind::Jump)
            && walk.relocs.as_slice().first().is_some_and(|r| r.offset == start + 1);
        (walk.is_behind_end, walk.is_behind_indirect) = (false, false);
        for field in inst.fields.into_iter().filter(|field| *field > 0) {
            let value = walk.word(start + u32::from(field)).unwrap_or(0);
            if is_candidate(value) {
                self.fields.push((start, field, value));
            }
        }
        match inst.kind {
            Kind::Plain => {}
            Kind::Data(field) | Kind::Address(field) => {
                let field = start + u32::from(field);
                let target = walk.relative(field, end).ok_or("a reference to something outside")?;
                self.distances.push(Distance { field, end, target });
                let is_address = matches!(inst.kind, Kind::Address(_));
                if is_address && blocks.binary_search(&target).is_ok() {
                    // Trampolines store the address of their handler.
                } else if target < end {
                    return Err("a reference backwards");
                } else if is_address {
                    walk.data = walk.data.min(std::mem::replace(&mut walk.address, target));
                } else {
                    walk.data = walk.data.min(target);
                }
            }
            Kind::Call if !is_reloc => return Err("a call without a relocation"),
            Kind::Call | Kind::Jump if is_reloc => {
                walk.relocs.next();
                walk.is_behind_end = inst.kind == Kind::Jump;
                self.calls.push(end);
            }
            Kind::IndirectCall => self.calls.push(end),
            Kind::IndirectJump => (walk.is_behind_end, walk.is_behind_indirect) = (true, true),
            Kind::End => walk.is_behind_end = true,
            Kind::Branch | Kind::Jump | Kind::Call => {
                let conditional = inst.kind == Kind::Branch;
                let target = walk.relative(end - 4, end).ok_or("a jump to somewhere outside")?;
                let before = (start - walk.previous) as u8;
                let branch = Branch { start, target, conditional, short: false, before, index: 0, rank: 0, crossed: 0 };
                self.branches.push(branch);
                walk.is_behind_end = !conditional;
            }
        }
        (walk.previous, walk.at) = (start, end);
        Ok(())
    }

    /// The table at `walk.at`, up to the next block, trap or constant.
    fn table(&mut self, walk: &mut Walk<'_>, func: &MachineFunc, blocks: &[u32]) -> Result<(), Reason> {
        let start = walk.at;
        walk.address = NOWHERE;
        let block = blocks.get(blocks.partition_point(|b| *b <= start)).copied();
        let traps = &func.tables.traps;
        let trap = traps.get(traps.partition_point(|t| t.offset <= start)).map(|t| t.offset);
        let code = block.into_iter().chain(trap).min().filter(|at| *at <= walk.data);
        let mut end = code.unwrap_or(walk.data);
        if code.is_none() {
            // No entry is zero, as that would be the table itself.
            end -= (end - start) % 4;
            while end > start && walk.word(end - 4) == Some(0) {
                end -= 4;
            }
        }
        if end <= start || !(end - start).is_multiple_of(4) {
            return Err("a table without an end");
        }
        self.tables.push(start..end);
        (walk.at, walk.previous, walk.is_behind_indirect) = (end, end, false);
        Ok(())
    }

    /// Whether an instruction begins here.
    fn is_start(&self, at: u32) -> bool {
        at < self.code_end && self.starts[at as usize / 64] >> (at % 64) & 1 != 0
    }

    /// Whether an instruction begins or the last one ends here.
    fn is_boundary(&self, at: u32) -> bool {
        at == self.code_end || self.is_start(at)
    }

    fn check_targets(&self, code: &[u8]) -> Result<(), Reason> {
        if !self.branches.iter().all(|b| self.is_start(b.target)) {
            return Err("a jump into an instruction");
        }
        for table in &self.tables {
            let entries = code[table.start as usize..table.end as usize].chunks_exact(4);
            let mut targets = entries.map(|e| {
                let distance = i32::from_le_bytes(e.try_into().expect("four bytes"));
                table.start.checked_add_signed(distance)
            });
            if !targets.all(|t| t.is_some_and(|t| self.is_start(t))) {
                return Err("a table of something else than code");
            }
        }
        let is_known = |d: &Distance| {
            let is_table = || self.tables.binary_search_by_key(&d.target, |t| t.start).is_ok();
            d.target >= self.data_start || self.is_start(d.target) || is_table()
        };
        self.distances.iter().all(is_known).then_some(()).ok_or("a reference to something else than code or constants")
    }

    /// What Cranelift says about the code is a second opinion about where instructions begin.
    fn check_tables(&self, func: &MachineFunc, blocks: &[u32]) -> Result<(), Reason> {
        let tables = &func.tables;
        let is_return = |at: u32| self.calls.binary_search(&at).is_ok();
        let all = blocks.iter().all(|b| self.is_boundary(*b))
            && tables.traps.iter().all(|t| self.is_start(t.offset))
            && tables.stack_maps.iter().all(|m| is_return(m.offset))
            && tables
                .handlers
                .iter()
                .all(|h| is_return(h.offset) && h.handlers.iter().all(|h| self.is_start(h.target)))
            && tables.unwind.iter().all(|u| self.is_boundary(u.offset));
        all.then_some(()).ok_or("tables about something else")
    }
}

impl Walk<'_> {
    fn word(&self, at: u32) -> Option<i32> {
        let bytes = self.code.get(at as usize..at as usize + 4)?;
        Some(i32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    /// What the distance at `field` from `end` leads to, if that is in the function.
    fn relative(&self, field: u32, end: u32) -> Option<u32> {
        end.checked_add_signed(self.word(field)?).filter(|target| (*target as usize) < self.code.len())
    }

    fn only_padding_follows(&self) -> bool {
        let data = self.data.min(self.address);
        let is_near = data < self.code.len() as u32 && data - self.at < MAX_PADDING;
        is_near && self.code[self.at as usize..data as usize].iter().all(|byte| *byte == 0)
    }
}
