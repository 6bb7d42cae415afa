//! First contents of memories: which data segments they follow from, and their pages in a file.

use super::{MemoryPages, MemoryRun, PAGE};
use crate::index::*;
use crate::module::{ConstExpr, ConstOp, Module, SegmentMode};

/// What becomes of active data segments.
#[derive(Clone, Debug, Default)]
pub struct DataPlan {
    /// For each defined memory, the segments that are part of its first contents, with their offsets.
    pub imaged: Vec<Vec<(u64, DataIndex)>>,
    /// Segments that are copied at instantiation, in order.
    pub eager: Vec<DataIndex>,
}

/// Lays data segments over the memories that the module defines, as long as nothing about them depends on the instance
/// or fails; from the first other one on they are copied. `fits(memory, offset, len)` says whether a range lies within
/// a memory's first size.
pub fn plan_data(module: &Module, fits: impl Fn(DefinedMemoryIndex, u64, u64) -> bool) -> DataPlan {
    let memories = module.memories.len() - module.num_imported_memories as usize;
    let mut plan = DataPlan { imaged: vec![Vec::new(); memories], eager: Vec::new() };
    for (index, segment) in module.datas.iter() {
        let SegmentMode::Active { target, offset } = &segment.mode else { continue };
        let len = u64::from(segment.bytes.end - segment.bytes.start);
        let place = || {
            let defined = module.defined_memory(*target)?;
            let offset = static_offset(offset)?;
            fits(defined, offset, len).then_some((defined, offset))
        };
        match place() {
            Some((defined, offset)) if plan.eager.is_empty() => plan.imaged[defined.0 as usize].push((offset, index)),
            _ => plan.eager.push(index),
        }
    }
    plan
}

/// The value of a segment's offset, if it is a constant.
pub(crate) fn static_offset(expr: &ConstExpr) -> Option<u64> {
    match &*expr.0 {
        [ConstOp::I32(v)] => Some(u64::from(*v as u32)),
        [ConstOp::I64(v)] => Some(*v as u64),
        _ => None,
    }
}

/// Runs with so many bytes of zeroes between them are one.
const GAP: u64 = 64 << 10;
/// A memory with more runs is filled from its segments instead: each run costs a system call for each instance.
const MAX_RUNS: usize = 8;

/// Appends the pages that segments (offset, bytes) make to `part`. `None` if there is nothing but zeroes, or too many
/// separate pieces.
pub(super) fn pages(segments: &[(u64, &[u8])], part: &mut Vec<u8>) -> Option<MemoryPages> {
    let page = PAGE as u64;
    let mut covered: Vec<(u64, u64)> = segments
        .iter()
        .filter(|(_, bytes)| bytes.iter().any(|b| *b != 0))
        .map(|(offset, bytes)| (offset / page * page, (offset + bytes.len() as u64).next_multiple_of(page)))
        .collect();
    covered.sort_unstable();
    let mut runs: Vec<MemoryRun> = Vec::new();
    for (start, end) in covered {
        match runs.last_mut() {
            Some(last) if start <= last.offset + last.len + GAP => last.len = last.len.max(end - last.offset),
            _ => runs.push(MemoryRun { offset: start, at: 0, len: end - start }),
        }
    }
    if runs.len() > MAX_RUNS {
        return None;
    }
    let last = *runs.last()?;
    for run in &mut runs {
        run.at = part.len() as u64;
        part.resize(part.len() + run.len as usize, 0);
    }
    // In the order of the segments: later ones win where they overlap.
    for (offset, bytes) in segments {
        let end = offset + bytes.len() as u64;
        let Some(run) = runs.iter().find(|r| r.offset <= *offset && end <= r.offset + r.len) else { continue };
        let at = (run.at + offset - run.offset) as usize;
        part[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Some(MemoryPages { len: last.offset + last.len, runs })
}
