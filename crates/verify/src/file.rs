//! Files with compiled code.

use kiln_env::artifact::{CodePart, CodeTables, Meta, ReadError, bytes_of, read_fingerprint, read_header, read_meta};
use kiln_env::machine::{FuncTables, Handler, HandlerSite, StackMap, TrapSite};
use kiln_env::{FuncKey, Module};

use crate::{Function, Refusal, Scratch, Statistics, Verifier};

/// What came of verifying a file.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Functions that are proven.
    pub accepted: usize,
    /// Those that are not, with the first reason found.
    pub refused: Vec<Refusal>,
    /// Bytes of machine code looked at.
    pub bytes: u64,
    /// Bytes of machine code that are proven.
    pub accepted_bytes: u64,
    /// Instructions that can be reached, in functions that are proven.
    pub instructions: u64,
    /// Instructions looked at, again ones included.
    pub steps: u64,
}

impl Report {
    /// Whether all of the code is proven.
    pub fn is_proven(&self) -> bool {
        self.refused.is_empty()
    }

    /// Adds what came of one function.
    pub fn add(&mut self, len: usize, result: Result<Statistics, Refusal>) {
        self.bytes += len as u64;
        match result {
            Ok(statistics) => {
                self.accepted += 1;
                self.accepted_bytes += len as u64;
                self.instructions += statistics.instructions;
                self.steps += statistics.steps;
            }
            Err(refusal) => self.refused.push(refusal),
        }
    }

    /// Adds what came of other functions.
    pub fn merge(&mut self, other: Report) {
        self.accepted += other.accepted;
        self.refused.extend(other.refused);
        self.bytes += other.bytes;
        self.accepted_bytes += other.accepted_bytes;
        self.instructions += other.instructions;
        self.steps += other.steps;
    }
}

/// An artifact whose parts were found. Whether its bytes are those that were written is not checked here.
pub struct Artifact<'a> {
    file: &'a [u8],
    header: kiln_env::artifact::Header,
    meta: Meta,
}

/// Code for one level of processors in an artifact.
pub struct Variant<'a> {
    verifier: Verifier<'a>,
    tables: CodeTables<'a>,
    text: &'a [u8],
}

impl<'a> Artifact<'a> {
    /// Reads what is needed of a file.
    ///
    /// # Errors
    /// It is no artifact, or its parts contradict each other.
    pub fn read(file: &'a [u8]) -> Result<Artifact<'a>, ReadError> {
        let header = read_header(file)?;
        let meta = read_meta(file, &header)?;
        if !is_consistent(&meta.module) {
            return Err(ReadError::Damaged("its declarations contradict each other"));
        }
        Ok(Artifact { file, header, meta })
    }

    /// How many levels of processors there is code for.
    pub fn variants(&self) -> usize {
        self.header.variants.len()
    }

    /// Code for one level of processors.
    ///
    /// # Errors
    /// It is damaged.
    pub fn variant(&self, index: usize) -> Result<Variant<'_>, ReadError> {
        let parts = self.header.variants.get(index).ok_or(ReadError::Damaged("there is no code"))?;
        let part = |part: CodePart| bytes_of(self.file, parts[part as usize].clone());
        let fingerprint = read_fingerprint(part(CodePart::Fingerprint))?;
        let module = &self.meta.module;
        let defined = module.funcs.len() - module.num_imported_funcs as usize;
        let tables = CodeTables::new(self.file, parts, defined);
        tables.check()?;
        let verifier = Verifier::new(module, &fingerprint).ok_or(ReadError::Damaged("its contexts are too large"))?;
        Ok(Variant { verifier, tables, text: part(CodePart::Text) })
    }
}

impl Variant<'_> {
    /// How many functions there are, trampolines included.
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Which function is at a position.
    pub fn key(&self, position: usize) -> Option<FuncKey> {
        self.tables.key(position)
    }

    /// Checks the functions at these positions.
    pub fn check(&self, scratch: &mut Scratch, positions: std::ops::Range<usize>) -> Report {
        let mut report = Report::default();
        for position in positions {
            self.with(position, |function| {
                let result = self.verifier.check(scratch, function);
                report.add(function.code.len(), result);
            });
        }
        report
    }

    /// The state before each instruction of the function at a position, as text beside the code, and what came of it.
    /// `None` if there is no such function.
    pub fn explain(&self, position: usize) -> Option<(String, Result<Statistics, Refusal>)> {
        let mut result = None;
        self.with(position, |function| result = Some(self.verifier.explain(function)));
        result
    }

    /// Calls `f` with the function at a position.
    fn with(&self, position: usize, f: impl FnOnce(&Function<'_>)) {
        let (Some((start, len)), Some(key)) = (self.tables.func(position), self.tables.key(position)) else { return };
        // What is not within the text has no code, and so is refused.
        let code = bytes_of(self.text, u64::from(start)..u64::from(start) + u64::from(len));
        let tables = self.tables_of(position, start, len);
        let at = |distance: i64| {
            let offset = u32::try_from(i64::from(start).checked_add(distance)?).ok()?;
            let position = self.tables.at(offset)?;
            (self.tables.func(position)?.0 == offset).then(|| self.tables.key(position))?
        };
        f(&Function { key, code, tables: &tables, at: &at, sites: 0 });
    }

    fn tables_of(&self, position: usize, start: u32, len: u32) -> FuncTables {
        let end = start.saturating_add(len);
        let traps = self.tables.sites(position);
        let traps = traps.filter_map(|site| Some(TrapSite { offset: site.offset, code: site.trap? })).collect();
        let stack_maps = self.tables.stack_map_sites(start, end).filter_map(|offset| {
            let map = self.tables.stack_map(offset)?;
            let offset = offset.checked_sub(start)?;
            Some(StackMap { offset, fp_to_sp: map.fp_to_sp, slots: map.slots.iter().collect() })
        });
        let handlers = self.tables.handler_sites(start, end).filter_map(|offset| {
            let site = self.tables.handlers(offset)?;
            // What lies before the function is no offset in it.
            let handlers = site.iter().map(|h| Handler { target: h.target.wrapping_sub(start), ..h }).collect();
            let offset = offset.checked_sub(start)?;
            Some(HandlerSite { offset, fp_to_sp: site.fp_to_sp, context_slot: site.context_slot, handlers })
        });
        FuncTables { traps, stack_maps: stack_maps.collect(), handlers: handlers.collect(), ..FuncTables::default() }
    }
}

/// Whether a module's declarations fit each other, as far as layouts and checks rely on it: a file may say anything.
fn is_consistent(module: &Module) -> bool {
    use kiln_env::EntityIndex as E;
    let counts = [
        (module.num_imported_funcs, module.funcs.len(), None),
        (module.num_imported_tables, module.tables.len(), Some(module.table_inits.len())),
        (module.num_imported_memories, module.memories.len(), None),
        (module.num_imported_globals, module.globals.len(), Some(module.global_inits.len())),
        (module.num_imported_tags, module.tags.len(), None),
    ];
    let fits = |(imported, all, defined): &(u32, usize, Option<usize>)| {
        all.checked_sub(*imported as usize).is_some_and(|rest| defined.is_none_or(|defined| defined == rest))
    };
    let imported = |is: fn(&E) -> bool| module.imports.iter().filter(|import| is(&import.index)).count();
    let types = module.types.len();
    counts.iter().all(fits)
        && imported(|index| matches!(index, E::Func(_))) == module.num_imported_funcs as usize
        && module.funcs.values().all(|func| (func.ty.0 as usize) < types)
        && module.tags.values().all(|tag| (tag.ty.0 as usize) < types)
}
