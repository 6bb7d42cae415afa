//! What is known about positions in a function's code, whether in memory or in an artifact.

use kiln_env::artifact::{CodeTables, FileHandlers, FileStackMap};
use kiln_env::machine::{FuncTables, Handler, HandlerSite, Positions, StackMap};
use kiln_env::{FuncKey, TrapCode};

/// A compiled function that contains an address asked for.
pub(crate) struct FoundFunc<'a> {
    /// Which function.
    pub(crate) key: FuncKey,
    /// Address of its first byte.
    pub(crate) start: usize,
    /// What is known about positions in it.
    pub(super) tables: Tables<'a>,
}

/// The tables of one function.
pub(super) enum Tables<'a> {
    /// By offset in the function.
    Own(&'a FuncTables),
    /// Those of a whole text.
    File {
        /// By offset in the text.
        tables: CodeTables<'a>,
        /// Which of the functions.
        position: usize,
        /// Where it begins.
        start: u32,
    },
}

impl<'a> FoundFunc<'a> {
    fn offset(&self, pc: usize) -> u32 {
        (pc - self.start) as u32
    }

    /// The wasm frames that the instruction at `pc` belongs to, inlined ones first.
    pub(crate) fn positions(&self, pc: usize) -> Positions<'a> {
        let offset = self.offset(pc);
        match self.tables {
            Tables::Own(tables) => tables.positions(offset),
            Tables::File { tables, position, .. } => tables.positions(position, offset),
        }
    }

    /// Why the instruction at `pc` would trap, if it can.
    pub(crate) fn trap(&self, pc: usize) -> Option<TrapCode> {
        let offset = self.offset(pc);
        match &self.tables {
            Tables::Own(tables) => {
                let traps = &tables.traps;
                traps.binary_search_by_key(&offset, |t| t.offset).ok().map(|i| traps[i].code)
            }
            Tables::File { tables, position, .. } => tables.trap(*position, offset),
        }
    }

    /// Where collected references are while the call that returns to `pc` is under way.
    pub(crate) fn stack_map(&self, pc: usize) -> Option<StackMapRef<'a>> {
        let offset = self.offset(pc);
        match self.tables {
            Tables::Own(tables) => {
                let maps = &tables.stack_maps;
                maps.binary_search_by_key(&offset, |m| m.offset).ok().map(|i| StackMapRef::Own(&maps[i]))
            }
            Tables::File { tables, start, .. } => tables.stack_map(start.checked_add(offset)?).map(StackMapRef::File),
        }
    }

    /// The exception handlers around the call that returns to `pc`.
    pub(crate) fn handlers(&self, pc: usize) -> Option<HandlersRef<'a>> {
        let offset = self.offset(pc);
        match self.tables {
            Tables::Own(tables) => {
                let sites = &tables.handlers;
                sites.binary_search_by_key(&offset, |h| h.offset).ok().map(|i| HandlersRef::Own(&sites[i]))
            }
            Tables::File { tables, start, .. } => {
                let found = tables.handlers(start.checked_add(offset)?)?;
                Some(HandlersRef::File { handlers: found, start })
            }
        }
    }
}

/// Where collected references are in a frame.
pub(crate) enum StackMapRef<'a> {
    /// In memory.
    Own(&'a StackMap),
    /// In an artifact.
    File(FileStackMap<'a>),
}

impl StackMapRef<'_> {
    /// `frame pointer - stack pointer` at the call, in bytes.
    pub(crate) fn fp_to_sp(&self) -> u32 {
        match self {
            StackMapRef::Own(map) => map.fp_to_sp,
            StackMapRef::File(map) => map.fp_to_sp,
        }
    }

    /// Calls `f` with the offset from the stack pointer of each reference.
    pub(crate) fn each_slot(&self, f: &mut dyn FnMut(u32)) {
        match self {
            StackMapRef::Own(map) => map.slots.iter().for_each(|slot| f(*slot)),
            StackMapRef::File(map) => map.slots.iter().for_each(f),
        }
    }
}

/// The exception handlers around a call.
pub(crate) enum HandlersRef<'a> {
    /// In memory.
    Own(&'a HandlerSite),
    /// In an artifact.
    File {
        /// Their targets are offsets in the text.
        handlers: FileHandlers<'a>,
        /// Where the function begins in the text.
        start: u32,
    },
}

impl HandlersRef<'_> {
    /// `frame pointer - stack pointer` at the call, in bytes.
    pub(crate) fn fp_to_sp(&self) -> u32 {
        match self {
            HandlersRef::Own(site) => site.fp_to_sp,
            HandlersRef::File { handlers, .. } => handlers.fp_to_sp,
        }
    }

    /// Offset from the stack pointer of the slot that holds the function's context.
    pub(crate) fn context_slot(&self) -> Option<u32> {
        match self {
            HandlersRef::Own(site) => site.context_slot,
            HandlersRef::File { handlers, .. } => handlers.context_slot,
        }
    }

    /// The first handler that `catches`; its target is an offset in the function.
    pub(crate) fn find(&self, mut catches: impl FnMut(&Handler) -> bool) -> Option<Handler> {
        match self {
            HandlersRef::Own(site) => site.handlers.iter().find(|h| catches(h)).copied(),
            HandlersRef::File { handlers, start } => {
                let found = handlers.iter().find(|h| catches(h))?;
                Some(Handler { target: found.target.checked_sub(*start)?, ..found })
            }
        }
    }
}
