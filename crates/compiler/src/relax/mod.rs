//! Makes machine code shorter and loops lie better, behind code generation; for x86-64.
//!
//! Cranelift emits all jumps with 32-bit distances, and aligns no loops. Here jumps whose target is near get the form of two
//! bytes, and short loops are moved so that as few ends of the processor's cache lines as possible lie within their blocks.
//!
//! Why the result does the same: no instruction but jumps changes, their order stays, and all that depends on places is
//! known and adjusted: jumps, tables of `br_table`, references to constants, and every offset in the function's tables.
//! It is known because the whole function is read (`read.rs`): every byte is part of an instruction that `decode.rs` knows, of a
//! table behind the indirect jump that uses it, or of the constants at the end; jumps and tables lead to the beginning of
//! instructions; blocks, traps, calls, handlers and relocations are where Cranelift says. A function in which something
//! does not fit stays as it was, is counted, and still runs.
//!
//! Stencils are cut from Cranelift's own output and never come here.

mod decode;
mod layout;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kiln_env::MachineFunc;

use layout::Layout;
use read::Reading;
pub(crate) use read::Reason;

/// Name of short jumps for switching them off.
pub(crate) const SHORTEN: &str = "shorten";
/// Name of aligned loops for switching them off.
pub(crate) const ALIGN: &str = "align";

/// What is wanted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    /// Short jumps.
    pub(crate) shorten: bool,
    /// Aligned loops.
    pub(crate) align: bool,
}

impl Wanted {
    /// Whether there is anything to do.
    pub(crate) fn any(self) -> bool {
        self.shorten || self.align
    }
}

/// Rewrites functions; holds scratch memory that is used again.
#[derive(Default)]
pub(crate) struct Relaxer {
    reading: Reading,
    layout: Layout,
}

/// Instructions of one to nine bytes that do nothing, as both Intel and AMD recommend them.
const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

impl Relaxer {
    /// Rewrites a function whose blocks begin at `blocks`, and whose constants need no more alignment than `data_align`.
    ///
    /// # Errors
    /// Why the function was left as it was, though something was wanted.
    pub(crate) fn run(
        &mut self,
        func: &mut MachineFunc,
        blocks: &[u32],
        data_align: u32,
        wanted: Wanted,
    ) -> Result<(), Reason> {
        self.reading.read(func, blocks)?;
        self.layout.run(&mut self.reading, wanted.shorten, wanted.align);
        if !self.layout.is_empty() {
            let code = self.emit(&func.code, data_align).ok_or("a jump does not reach")?;
            self.move_tables(func);
            func.code = code;
        }
        func.align = func.align.max(self.layout.align);
        Ok(())
    }

    /// Bytes of constants behind the code of the function rewritten last.
    pub(crate) fn data_len(&self) -> usize {
        self.reading.data_len as usize
    }

    /// Fields of the function rewritten last that may have to do with open numbers, with what is in them. Such a field is a
    /// distance from a register or an immediate, of 32 bits.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (u32, i32)> {
        let is_moved = !self.layout.is_empty();
        self.reading.fields.iter().map(move |(start, field, value)| {
            let start = if is_moved { self.layout.start(*start) } else { *start };
            (start + u32::from(*field), *value)
        })
    }

    /// The new code. `None` if a distance has become too great, which the layout rules out.
    fn emit(&self, old: &[u8], data_align: u32) -> Option<Vec<u8>> {
        let Reading { branches, code_end, data_start, .. } = &self.reading;
        let mut out = Vec::with_capacity(old.len() + self.layout.loops.iter().map(|l| l.pad as usize).sum::<usize>());
        let mut loops = self.layout.loops.iter().filter(|l| l.pad > 0).peekable();
        let mut from = 0;
        for b in branches {
            while let Some(l) = loops.next_if(|l| l.header <= b.start) {
                out.extend_from_slice(&old[from..l.header as usize]);
                pad(&mut out, l.pad as usize);
                from = l.header as usize;
            }
            out.extend_from_slice(&old[from..b.start as usize]);
            from = b.end() as usize;
            let end = out.len() as u32 + b.len();
            let distance = self.layout.start(b.target).wrapping_sub(end) as i32;
            let opcode = &old[b.start as usize..from - 4];
            if b.short {
                // 0f 8x becomes 7x.
                out.push(if b.conditional { opcode[1] - 0x10 } else { 0xeb });
                out.extend(i8::try_from(distance).ok()?.to_le_bytes());
            } else {
                out.extend_from_slice(opcode);
                out.extend(distance.to_le_bytes());
            }
        }
        // The header of a loop is in front of the jump back to it, so there is no padding left.
        out.extend_from_slice(&old[from..*code_end as usize]);
        let mut data = *data_start;
        if (*data_start as usize) < old.len() {
            while out.len() as u32 % data_align != data_start % data_align {
                out.push(0);
            }
            data = out.len() as u32;
            out.extend_from_slice(&old[*data_start as usize..]);
        }
        self.move_distances(old, &mut out, data);
        Some(out)
    }

    /// Adjusts tables, and references to them and to the constants, which begin at `data` now.
    fn move_distances(&self, old: &[u8], out: &mut [u8], data: u32) {
        let mut put = |at: u32, word: u32| out[at as usize..at as usize + 4].copy_from_slice(&word.to_le_bytes());
        for d in &self.reading.distances {
            let end = self.layout.end(d.end);
            let is_data = d.target >= self.reading.data_start;
            let target = if is_data { d.target - self.reading.data_start + data } else { self.layout.start(d.target) };
            put(end - (d.end - d.field), target.wrapping_sub(end));
        }
        for table in &self.reading.tables {
            let start = self.layout.start(table.start);
            let entries = old[table.start as usize..table.end as usize].chunks_exact(4);
            for (place, entry) in (start..).step_by(4).zip(entries) {
                let distance = i32::from_le_bytes(entry.try_into().expect("four bytes"));
                let target = self.layout.start(table.start.wrapping_add_signed(distance));
                put(place, target.wrapping_sub(start));
            }
        }
    }

    /// Adjusts the tables about the function.
    fn move_tables(&self, func: &mut MachineFunc) {
        let (start, end) = (|at: &mut u32| *at = self.layout.start(*at), |at: &mut u32| *at = self.layout.end(*at));
        let MachineFunc { code: _, align: _, relocs, tables, sites: _ } = func;
        let kiln_env::machine::FuncTables { traps, addresses, inlined: _, stack_maps, handlers, unwind } = tables;
        relocs.iter_mut().for_each(|r| start(&mut r.offset));
        traps.iter_mut().for_each(|t| start(&mut t.offset));
        addresses.iter_mut().for_each(|a| start(&mut a.offset));
        stack_maps.iter_mut().for_each(|m| end(&mut m.offset));
        unwind.iter_mut().for_each(|u| end(&mut u.offset));
        for site in handlers {
            end(&mut site.offset);
            Arc::make_mut(&mut site.handlers).iter_mut().for_each(|h| start(&mut h.target));
        }
    }
}

/// Adds so many bytes that do nothing.
fn pad(out: &mut Vec<u8>, mut bytes: usize) {
    while bytes > 0 {
        let nop = NOPS[bytes.min(NOPS.len()) - 1];
        out.extend_from_slice(nop);
        bytes -= nop.len();
    }
}
