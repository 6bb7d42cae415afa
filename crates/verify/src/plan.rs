//! What follows from a module's declarations and the settings: where things are in a context, and what memories promise.

use std::collections::HashMap;

use kiln_env::layout::{ContextLayout, MemoryPlace, MemoryStyle, Place, context, imported_func, memory, table};
use kiln_env::settings::Fingerprint;
use kiln_env::types::RefRepr;
use kiln_env::{FuncIndex, FuncKey, GlobalIndex, MemoryIndex, Module, TableIndex, TagIndex, TypeIndex};

use crate::abi::{Kind, Signature};
use crate::value::{Base, Length};

/// What is at a place of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// Eight bytes of this kind, never written.
    Word(Base),
    /// Eight bytes: a length.
    Length(Length),
    /// Four bytes: the number of a type.
    Type(u32),
    /// Storage of a global.
    Global { kind: Kind, mutable: bool },
}

/// A memory, as far as accesses are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryPlan {
    /// Bytes from its base that are reserved, and fault where there is no memory.
    pub(crate) reach: u64,
    /// Bytes that it always has.
    pub(crate) least: u64,
    /// Whether its base never changes.
    pub(crate) fixed: bool,
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TablePlan {
    /// Base-2 logarithm of an element's bytes.
    pub(crate) shift: u8,
    /// Whether its elements are collected references.
    pub(crate) collected: bool,
}

/// What all functions of a module are checked against.
pub(crate) struct Plan<'m> {
    pub(crate) module: &'m Module,
    /// By offset in the context.
    fields: HashMap<u32, (Field, u32)>,
    pub(crate) memories: Vec<MemoryPlan>,
    pub(crate) tables: Vec<TablePlan>,
    /// Whether what is out of bounds is to be masked, not only branched over.
    pub(crate) table_masks: bool,
    pub(crate) memory_masks: bool,
    /// Whether references lead to functions of the same instance only.
    pub(crate) own_references: bool,
    signatures: Vec<Option<Signature>>,
    flags: HashMap<String, String>,
}

impl<'m> Plan<'m> {
    pub(crate) fn new(module: &'m Module, fingerprint: &Fingerprint) -> Option<Plan<'m>> {
        let layout = ContextLayout::new(module).ok()?;
        let flags: HashMap<String, String> = fingerprint.flags.iter().cloned().collect();
        let set = |name: &str| flags.get(name).is_some_and(|value| value == "true");
        let memories = module.memories.values().map(|ty| {
            let style = MemoryStyle::of(ty, &fingerprint.tunables);
            MemoryPlan {
                reach: match style {
                    MemoryStyle::Reserved { guard } => (1u64 << 32).saturating_add(guard).min(1 << 46),
                    MemoryStyle::Checked { .. } => 0,
                },
                least: ty.min_bytes().unwrap_or(0).min(1 << 46),
                fixed: style.base_is_fixed(),
            }
        });
        let tables = module.tables.values().map(|ty| match ty.element.repr() {
            RefRepr::FuncPointer => TablePlan { shift: 5, collected: false },
            RefRepr::Gc => TablePlan { shift: 2, collected: true },
        });
        let mut plan = Plan {
            module,
            fields: HashMap::new(),
            memories: memories.collect(),
            tables: tables.collect(),
            table_masks: set("enable_table_access_spectre_mitigation"),
            own_references: module.has_own_references_only(),
            memory_masks: set("enable_heap_access_spectre_mitigation"),
            signatures: module.types.values().map(|ty| ty.as_func().map(Signature::wasm)).collect(),
            flags,
        };
        plan.add_fields(&layout);
        Some(plan)
    }

    fn word(&mut self, at: u32, base: Base) {
        self.fields.insert(at, (Field::Word(base), 8));
    }

    fn add_fields(&mut self, layout: &ContextLayout) {
        let module = self.module;
        let header = [
            (context::stack_limit, Base::StackLimit),
            (context::store, Base::Store),
            (context::builtins, Base::Builtins),
            (context::counters, Base::Counters),
        ];
        header.into_iter().for_each(|(at, base)| self.word(at, base));
        for index in (0..module.memories.len() as u32).map(MemoryIndex) {
            let length = Field::Length(Length::Memory(index.0));
            match layout.memory(index) {
                MemoryPlace::Inline(at) => {
                    self.word(at + memory::base, Base::Memory(index.0));
                    self.fields.insert(at + memory::len, (length, 8));
                }
                MemoryPlace::Indirect(at) => {
                    self.word(at, Base::VmMemory(index.0));
                    if self.memories[index.0 as usize].fixed {
                        self.word(at + 8, Base::Memory(index.0));
                    }
                }
            }
        }
        for index in (0..module.tables.len() as u32).map(TableIndex) {
            match layout.table(index) {
                Place::Inline(at) => {
                    self.word(at + table::base, Base::Table(index.0));
                    self.fields.insert(at + table::len, (Field::Length(Length::Table(index.0)), 8));
                }
                Place::Indirect(at) => self.word(at, Base::VmTable(index.0)),
            }
        }
        for (index, ty) in (0..).map(GlobalIndex).zip(module.globals.values()) {
            match layout.global(index) {
                Place::Inline(at) => {
                    let field = Field::Global { kind: Kind::of(ty.content), mutable: ty.mutable };
                    self.fields.insert(at, (field, ty.content.size()));
                }
                Place::Indirect(at) => self.word(at, Base::Global(index.0)),
            }
        }
        for index in (0..module.tags.len() as u32).map(TagIndex) {
            if let Place::Indirect(at) = layout.tag(index) {
                self.word(at, Base::Tag(index.0));
            }
        }
        for index in (0..module.num_imported_funcs).map(FuncIndex) {
            let at = layout.imported_func(index);
            self.word(at + imported_func::code, Base::ImportCode(index.0));
            self.word(at + imported_func::context, Base::ImportContext(index.0));
        }
        for index in (0..module.types.len() as u32).map(TypeIndex) {
            self.fields.insert(layout.type_id(index), (Field::Type(index.0), 4));
        }
    }

    /// What is at an offset of the context, and how many bytes of it.
    pub(crate) fn field(&self, at: i64) -> Option<(Field, u32)> {
        self.fields.get(&u32::try_from(at).ok()?).copied()
    }

    /// Whether a memory's `VmMemory` is at an offset of the context.
    pub(crate) fn has_memory_at(&self, at: i64) -> bool {
        let field = |offset: u32| self.field(at.checked_add(offset.into())?).map(|(field, _)| field);
        match (field(memory::base), field(memory::len)) {
            (Some(Field::Word(Base::Memory(a))), Some(Field::Length(Length::Memory(b)))) => a == b,
            _ => false,
        }
    }

    /// The tag whose storage is at an offset of the context.
    pub(crate) fn tag_at(&self, at: i64) -> Option<u32> {
        let layout = ContextLayout::new(self.module).ok()?;
        let tags = (0..self.module.tags.len() as u32).map(TagIndex);
        tags.filter(|tag| layout.tag(*tag) == Place::Inline(at as u32) && at >= 0).map(|tag| tag.0).next()
    }

    /// The signature of functions of a type.
    pub(crate) fn signature(&self, ty: u32) -> Option<&Signature> {
        self.signatures.get(ty as usize)?.as_ref()
    }

    /// The signature of a function in the wasm convention.
    pub(crate) fn signature_of(&self, key: FuncKey) -> Option<Signature> {
        match key {
            FuncKey::Wasm(func) => {
                let decl = self.module.funcs.get(self.module.func_index(func))?;
                self.signature(decl.ty.0).cloned()
            }
            key => Signature::of(self.module, key),
        }
    }

    /// Whether a reference of the type `found`, if that is known, is one of the type `wanted`.
    pub(crate) fn is_subtype(&self, found: Option<u32>, wanted: u32) -> bool {
        let mut ty = found;
        // Chains of supertypes are short: a bound is enough for files that lie.
        for _ in 0..64 {
            match ty {
                Some(ty) if ty == wanted => return true,
                Some(index) => {
                    ty = self.module.types.get(TypeIndex(index)).and_then(|ty| ty.supertype).map(|ty| ty.0);
                }
                None => return false,
            }
        }
        false
    }

    /// The type of an imported function.
    pub(crate) fn import_type(&self, import: u32) -> Option<u32> {
        Some(self.module.funcs.get(FuncIndex(import))?.ty.0)
    }

    /// Whether a target feature is claimed.
    pub(crate) fn claims(&self, feature: &str) -> bool {
        self.flags.get(feature).is_some_and(|value| value == "true")
    }
}
