//! Code that an earlier run compiled: put back where it was, and captured for the next run.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln_env::artifact::{CodePart, CodeTables, Header, PartRange, SnapshotMeta, bytes_of};
use kiln_env::image::ImageFunc;
use kiln_env::limits::{MAX_REPLACED_CODE, MAX_REPLACED_FACTOR};
use kiln_env::profile::FuncCounts;
use kiln_env::tier::Tier;
use kiln_env::{FuncKey, Image};

use super::{LazyCode, Progress};
use crate::code::memory::FirstText;
use crate::code::tables::Tables;
use crate::code::{CodeError, FoundFunc, Placed};
use crate::sys::file::MappedFile;
use crate::sys::page_size;

/// A snapshot in a file: see `kiln_env::artifact::Snapshot`.
pub(crate) struct SnapshotFile {
    file: Arc<MappedFile>,
    header: Header,
    parts: [PartRange; CodePart::COUNT],
    meta: SnapshotMeta,
}

/// What was compiled so far.
pub(crate) struct Captured<'a> {
    /// The whole text, and the functions that were compiled since the code was made.
    pub(crate) image: Image,
    /// Offset of the text in the arena.
    pub(crate) text_at: u64,
    /// Chunks of stubs that are written.
    pub(crate) stubs: Vec<u32>,
    /// The tiers of all functions, those of `before` first.
    pub(crate) tiers: Vec<Tier>,
    /// What is known about how functions ran, by ascending index.
    pub(crate) profile: Vec<(u32, FuncCounts)>,
    /// What the code began with.
    pub(crate) before: Option<(&'a [u8], &'a Header)>,
}

impl SnapshotFile {
    /// A snapshot whose bytes are those that were written.
    pub(crate) fn new(
        file: Arc<MappedFile>,
        header: Header,
        parts: [PartRange; CodePart::COUNT],
        meta: SnapshotMeta,
    ) -> SnapshotFile {
        SnapshotFile { file, header, parts, meta }
    }

    fn tables(&self) -> CodeTables<'_> {
        CodeTables::new(self.file.bytes(), &self.parts, 0)
    }

    /// The functions: position, which, where in the text. Those that make no sense are left out.
    pub(super) fn funcs(&self) -> impl Iterator<Item = (usize, FuncKey, Range<u32>)> {
        let tables = self.tables();
        let func = move |position| {
            let (start, len) = tables.func(position)?;
            Some((position, tables.key(position)?, start..start.checked_add(len)?))
        };
        (0..tables.len()).filter_map(func)
    }

    /// Whether this is code for an arena with so many functions, and room for so many bytes from the offset `at` on.
    pub(super) fn check(&self, num_funcs: u32, at: usize, room: usize) -> Result<(), CodeError> {
        let (chunks, text) = ((at - page_size()) / page_size(), self.text().len());
        let bound = |key| !matches!(key, FuncKey::Wasm(func) if func.0 >= num_funcs);
        let fits = self.meta.text_at == at as u64
            && text <= room
            && self.meta.stubs.iter().all(|chunk| (*chunk as usize) < chunks)
            && self.funcs().all(|(_, key, range)| bound(key) && range.end as usize <= text);
        if fits { Ok(()) } else { Err(CodeError::BadImage("its snapshot is not one of this module")) }
    }

    /// The text without the padding behind it.
    pub(super) fn text(&self) -> &[u8] {
        let text = bytes_of(self.file.bytes(), self.parts[CodePart::Text as usize].clone());
        let tables = self.tables();
        let last = tables.len().checked_sub(1).and_then(|last| tables.func(last));
        let end = last.map_or(0, |(start, len)| start as usize + len as usize);
        text.get(..end).unwrap_or(text)
    }

    /// The text, to be put at an offset of an arena.
    pub(super) fn first_text(&self, at: usize) -> FirstText<'_> {
        // If the file becomes shorter, compiled code is left through its entry trampoline, which has to be there. Where
        // trampolines come first the rest can stay where it is.
        let is_body = |key: &FuncKey| matches!(key, FuncKey::Wasm(_));
        let first = self.funcs().find(|(_, key, _)| is_body(key)).map(|(.., range)| range.start as usize);
        let first =
            first.filter(|_| self.funcs().skip_while(|(_, key, _)| !is_body(key)).all(|(_, key, _)| is_body(&key)));
        let start = self.parts[CodePart::Text as usize].start as usize;
        FirstText { at, bytes: self.text(), file: first.map(|first| (&*self.file, start, first)) }
    }

    /// The function that contains `pc`, if the text begins at `base`.
    pub(super) fn find(&self, base: usize, pc: usize) -> Option<FoundFunc<'_>> {
        let offset = u32::try_from(pc.checked_sub(base)?).ok()?;
        let tables = self.tables();
        let position = tables.at(offset)?;
        let (start, _) = tables.func(position)?;
        let key = tables.key(position)?;
        Some(FoundFunc { key, start: base + start as usize, tables: Tables::File { tables, position, start } })
    }
}

/// Whether so much of a text is no longer in use that it is not worth keeping for the rest.
fn is_wasteful(live: u64, text: u64) -> bool {
    text.saturating_sub(live) > MAX_REPLACED_CODE.saturating_add(live.saturating_mul(MAX_REPLACED_FACTOR))
}

impl LazyCode {
    /// Where functions begin, behind thunk and stubs.
    fn bodies_offset(&self) -> usize {
        self.stubs + self.written.len() * page_size()
    }

    pub(super) fn bodies_start(&self) -> usize {
        self.memory.text() as usize + self.bodies_offset()
    }

    /// Takes over the functions of an earlier run, whose text is in the arena already.
    pub(super) fn resume(&mut self, mut snapshot: SnapshotFile) {
        let at = self.bodies_offset();
        for chunks in snapshot.meta.stubs.chunk_by(|chunk, next| chunk.checked_add(1) == Some(*next)) {
            self.write_first_stubs(chunks[0] as usize..chunks[0] as usize + chunks.len());
        }
        let mut placing = self.lock();
        // Pages that are the file's have no place for other code.
        placing.free = (at + snapshot.text().len()).next_multiple_of(page_size());
        let mut counting = HashSet::new();
        for (position, key, range) in snapshot.funcs() {
            let tier = snapshot.meta.tier(position).unwrap_or(Tier::Optimized);
            if let (FuncKey::Wasm(func), Tier::Baseline) = (key, tier) {
                counting.insert(func);
            }
            self.begin_again(key, tier, range.end - range.start);
            self.set(&mut placing, key, tier, Progress::Ready(self.text_at(at + range.start as usize)));
        }
        drop(placing);
        self.resume_profile(std::mem::take(&mut snapshot.meta.profile), &counting);
        self.snapshot = Some(snapshot);
    }

    /// A trampoline that an earlier run compiled.
    pub(in crate::code) fn resumed_trampoline(&self, key: FuncKey) -> Option<NonNull<u8>> {
        let tables = self.snapshot.as_ref()?.tables();
        let (start, _) = tables.func(tables.position(key)?)?;
        Some(self.text_at(self.bodies_offset() + start as usize))
    }

    /// Whether code is there.
    pub(in crate::code) fn has(&self, key: FuncKey) -> bool {
        matches!(self.progress(&self.lock(), key), Some(Progress::Ready(_)))
    }

    /// The functions that an earlier run compiled, for observers.
    pub(in crate::code) fn resumed(&self) -> Vec<Placed<'static>> {
        let start = self.bodies_start();
        let placed = |(_, key, range): (usize, FuncKey, Range<u32>)| {
            let range = start + range.start as usize..start + range.end as usize;
            Placed { key, range, unwind: &[] }
        };
        self.snapshot.iter().flat_map(SnapshotFile::funcs).map(placed).collect()
    }

    pub(in crate::code) fn outgrew_snapshot(&self) -> bool {
        self.placed.len() > 0
    }

    /// Bytes of a snapshot of what is there, about: tables take a quarter of what code takes.
    pub(in crate::code) fn snapshot_size(&self) -> u64 {
        let text = self.lock().free.saturating_sub(self.bodies_offset()) as u64;
        text + text / 4
    }

    /// Bytes of code that is still in use: bodies that were replaced are not.
    fn live_bytes(&self) -> u64 {
        let old = self.snapshot.iter().flat_map(|s| s.funcs().map(|(_, key, range)| (key, range.end - range.start)));
        let new = (0..self.placed.len()).filter_map(|i| self.placed.get(i)).map(|func| (func.key, func.len));
        let last: HashMap<FuncKey, u32> = old.chain(new).collect();
        last.values().map(|len| u64::from(*len)).sum()
    }

    /// What was compiled so far; `None` if it is no more than what the code began with, and nothing at all if it is better
    /// to begin anew.
    pub(in crate::code) fn capture(&self) -> Option<Captured<'_>> {
        let text_at = self.bodies_offset();
        // Nothing is placed meanwhile.
        let placing = self.lock();
        if !self.outgrew_snapshot() {
            return None;
        }
        let new = || (0..self.placed.len()).filter_map(|i| self.placed.get(i));
        let old = self.snapshot.iter().flat_map(|s| s.funcs().map(|(i, ..)| s.meta.tier(i).unwrap_or(Tier::Optimized)));
        let tiers = old.chain(new().map(|func| func.tier)).collect();
        let live = self.live_bytes();
        if is_wasteful(live, (placing.free - text_at) as u64) {
            let image = Image { text: Vec::new(), funcs: Vec::new() };
            return Some(Captured {
                image,
                text_at: text_at as u64,
                stubs: Vec::new(),
                tiers: Vec::new(),
                profile: self.profile(),
                before: None,
            });
        }
        let image_func = |func: &super::PlacedFunc| {
            let (key, len, tables) = (func.key, func.len, func.tables.clone());
            ImageFunc { key, start: func.start - text_at as u32, len, tables }
        };
        // SAFETY: this part of the arena is readable, and what has been placed does not change.
        let text = unsafe {
            let start = self.memory.text().add(text_at);
            std::slice::from_raw_parts(start, placing.free.min(self.memory.text_len()) - text_at)
        };
        let image = Image { text: text.to_vec(), funcs: new().map(image_func).collect() };
        let written = self.written.iter().enumerate().filter(|(_, written)| written.load(Ordering::Acquire));
        let stubs = written.map(|(chunk, _)| chunk as u32).collect();
        let before = self.snapshot.as_ref().map(|s| (s.file.bytes(), &s.header));
        Some(Captured { image, text_at: text_at as u64, stubs, tiers, profile: self.profile(), before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_given_up_when_little_of_it_is_in_use() {
        assert!(!is_wasteful(0, 0) && !is_wasteful(100, MAX_REPLACED_CODE));
        let live = 8 << 20;
        let most = live + MAX_REPLACED_CODE + live * MAX_REPLACED_FACTOR;
        assert_eq!((is_wasteful(live, most), is_wasteful(live, most + 1)), (false, true));
    }
}
