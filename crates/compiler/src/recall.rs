//! What validation found out about a module, as bytes: a module that was valid is valid.

use kiln_env::{ContextLayout, FuncKey, MachineFunc, TypeIndex};

use crate::compile::Compiler;
use crate::error::{CompileError, Result};
use crate::info::{FuncInfos, Record};
use crate::parse::ParsedModule;
use crate::validate::{Done, ValidatedModule};

/// Bytes of a record.
const RECORD: usize = 13;

impl Compiler {
    /// The same as [`Compiler::validate`], but a module that was validated before is only remembered, if there is a cache.
    /// Also says whether that was so. `hash` is that of `source`: see [`kiln_env::artifact::source_hash`]. `done` is told
    /// ranges of the module's bytes that were validated and are not needed soon.
    ///
    /// # Errors
    /// As for [`Compiler::validate`].
    pub fn validate_or_recall(
        &self,
        parsed: ParsedModule,
        source: &[u8],
        hash: impl FnOnce() -> [u8; 32],
        done: Done<'_>,
    ) -> Result<(ValidatedModule, bool)> {
        let Some(cache) = self.cache() else { return Ok((self.validate_and_release(parsed, source, done)?, false)) };
        let key = cache.module_key(&hash(), self.features());
        if let Some(findings) = cache.findings(&key).and_then(|bytes| decode(&bytes))
            && findings.infos.len() == parsed.module.bodies.len()
        {
            return Ok((findings.into_module(parsed)?, true));
        }
        let module = self.validate_and_release(parsed, source, done)?;
        cache.note_findings(&key, &encode(module.infos(), module.indirect_types()));
        Ok((module, false))
    }

    /// The code of a function, if it is in the cache, or of a trampoline, which is made if it is not. `source` is the
    /// module's bytes.
    ///
    /// # Errors
    /// A trampoline cannot be made.
    pub fn find(&self, module: &ValidatedModule, source: &[u8], key: FuncKey) -> Result<Option<MachineFunc>> {
        let Some(func) = key.body() else { return self.compile_function(module, source, key).map(Some) };
        if module.module().bodies.get(func).is_none() {
            return Ok(None);
        }
        Ok(self.find_function(module, source, key))
    }
}

/// What validation found out.
struct Findings {
    infos: FuncInfos,
    indirect_types: Box<[TypeIndex]>,
}

impl Findings {
    fn into_module(self, parsed: ParsedModule) -> Result<ValidatedModule> {
        let layout = ContextLayout::new(&parsed.module).map_err(CompileError::limit_message)?;
        Ok(ValidatedModule::new(parsed, layout, self.infos, self.indirect_types))
    }
}

fn encode(infos: &FuncInfos, indirect_types: &[TypeIndex]) -> Vec<u8> {
    let FuncInfos { records, arena } = infos;
    let mut out = Vec::with_capacity(12 + records.len() * RECORD + arena.len() + indirect_types.len() * 4);
    for len in [records.len(), arena.len(), indirect_types.len()] {
        out.extend_from_slice(&(len as u32).to_le_bytes());
    }
    for record in records {
        let Record { arena, max_stack, num_loops, cost, flags, num_ranked } = *record;
        out.extend_from_slice(&arena.to_le_bytes());
        [max_stack, num_loops, cost, flags].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        out.push(num_ranked);
    }
    out.extend_from_slice(arena);
    indirect_types.iter().for_each(|ty| out.extend_from_slice(&ty.0.to_le_bytes()));
    out
}

/// Reads little-endian numbers off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }
}

fn decode(bytes: &[u8]) -> Option<Findings> {
    let mut reader = Reader(bytes);
    let [records, arena, types] = [reader.u32()?, reader.u32()?, reader.u32()?].map(|n| n as usize);
    let mut last = 0;
    let mut record = |reader: &mut Reader<'_>| {
        last = reader.u32().filter(|at| (last..=arena as u32).contains(at))?;
        Some(Record {
            arena: last,
            max_stack: reader.u16()?,
            num_loops: reader.u16()?,
            cost: reader.u16()?,
            flags: reader.u16()?,
            num_ranked: reader.take(1)?[0],
        })
    };
    // The lengths say how much there must be, before anything is made of it.
    let mut rows = Reader(reader.take(records.checked_mul(RECORD)?)?);
    let infos = FuncInfos {
        records: (0..records).map(|_| record(&mut rows)).collect::<Option<_>>()?,
        arena: reader.take(arena)?.to_vec(),
    };
    let mut rows = Reader(reader.take(types.checked_mul(4)?)?);
    let indirect_types = (0..types).map(|_| rows.u32().map(TypeIndex)).collect::<Option<_>>()?;
    reader.0.is_empty().then_some(Findings { infos, indirect_types })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_round_trip() {
        let record = Record { arena: 0, max_stack: 400, num_loops: 5, cost: 600, flags: 800, num_ranked: 7 };
        let infos = FuncInfos { records: vec![record, Record { arena: 2, ..Record::default() }], arena: vec![1, 2, 3] };
        let bytes = encode(&infos, &[TypeIndex(4), TypeIndex(70_000)]);
        let found = decode(&bytes).unwrap();
        assert_eq!(found.infos.records, infos.records);
        assert_eq!(
            (&found.infos.arena, &*found.indirect_types),
            (&infos.arena, &[TypeIndex(4), TypeIndex(70_000)][..])
        );
        assert!((0..bytes.len()).all(|len| decode(&bytes[..len]).is_none()));
    }
}
