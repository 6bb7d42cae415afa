//! A module's declarations: everything but the function bodies.
//!
//! Bytes (data segments, custom sections) are ranges into the module's *source*, the wasm file it was
//! parsed from or the section of an artifact that replaces it, so that nothing is copied.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::index::*;
use crate::types::*;

/// A range of bytes in the module's source, which is at most [`MAX_MODULE_SIZE`](crate::limits::MAX_MODULE_SIZE) long.
pub type SourceRange = Range<u32>;

/// The declarations of one module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Module {
    /// The module's name, from its name section.
    pub name: Option<String>,
    /// Type section, recursion groups flattened.
    pub types: IndexVec<TypeIndex, SubType>,
    /// The recursion groups: consecutive ranges of `types`.
    pub rec_groups: Vec<Range<u32>>,
    /// Imports in order of declaration.
    pub imports: Vec<Import>,
    /// Exports in order of declaration; names are unique.
    pub exports: Vec<Export>,
    /// Start function.
    pub start: Option<FuncIndex>,
    /// All functions, imported ones first.
    pub funcs: IndexVec<FuncIndex, FuncDecl>,
    /// All tables, imported ones first.
    pub tables: IndexVec<TableIndex, TableType>,
    /// All memories, imported ones first.
    pub memories: IndexVec<MemoryIndex, MemoryType>,
    /// All globals, imported ones first.
    pub globals: IndexVec<GlobalIndex, GlobalType>,
    /// All exception tags, imported ones first.
    pub tags: IndexVec<TagIndex, TagType>,
    /// How many of `funcs` are imported.
    pub num_imported_funcs: u32,
    /// How many of `tables` are imported.
    pub num_imported_tables: u32,
    /// How many of `memories` are imported.
    pub num_imported_memories: u32,
    /// How many of `globals` are imported.
    pub num_imported_globals: u32,
    /// How many of `tags` are imported.
    pub num_imported_tags: u32,
    /// First value of each defined table's elements (`None`: null).
    pub table_inits: IndexVec<DefinedTableIndex, Option<ConstExpr>>,
    /// First value of each defined global.
    pub global_inits: IndexVec<DefinedGlobalIndex, ConstExpr>,
    /// Element segments.
    pub elems: IndexVec<ElemIndex, ElemSegment>,
    /// Data segments.
    pub datas: IndexVec<DataIndex, DataSegment>,
    /// Custom sections, by name and payload, in order. The name section and DWARF are among them and are read lazily.
    pub customs: Vec<(String, SourceRange)>,
    /// Bodies of the defined functions: the bytes from the local declarations to the final `end`.
    pub bodies: IndexVec<DefinedFuncIndex, SourceRange>,
}

/// One import.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Import {
    /// First level of the name.
    pub module: String,
    /// Second level of the name.
    pub name: String,
    /// What is imported: the index it gets here.
    pub index: EntityIndex,
}

/// One export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What is exported.
    pub index: EntityIndex,
}

/// Declaration of a function.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct FuncDecl {
    /// Its type.
    pub ty: TypeIndex,
    /// Whether a reference to it can exist: exported, in an element segment or a global, or declared for `ref.func`.
    pub escapes: bool,
}

/// One instruction of a constant expression. Operands are on a stack, as in any expression.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum ConstOp {
    /// `i32.const`
    I32(i32),
    /// `i64.const`
    I64(i64),
    /// `f32.const`, by its bits
    F32(u32),
    /// `f64.const`, by its bits
    F64(u64),
    /// `v128.const`, little-endian
    V128(u128),
    /// `global.get`
    GlobalGet(GlobalIndex),
    /// `ref.null`
    RefNull(HeapType),
    /// `ref.func`
    RefFunc(FuncIndex),
    /// `i32.add`
    I32Add,
    /// `i32.sub`
    I32Sub,
    /// `i32.mul`
    I32Mul,
    /// `i64.add`
    I64Add,
    /// `i64.sub`
    I64Sub,
    /// `i64.mul`
    I64Mul,
}

/// A constant expression, validated, without its `end`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConstExpr(pub Box<[ConstOp]>);

/// When a segment's contents are used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum SegmentMode<T> {
    /// By `memory.init` or `table.init` only.
    Passive,
    /// Copied at instantiation, then dropped.
    Active {
        /// Where to.
        target: T,
        /// From which offset.
        offset: ConstExpr,
    },
    /// Never: it only declares functions for `ref.func`.
    Declared,
}

/// An element segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ElemSegment {
    /// When it is used.
    pub mode: SegmentMode<TableIndex>,
    /// Type of the elements.
    pub ty: RefType,
    /// The elements.
    pub items: ElemItems,
}

/// The elements of a segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ElemItems {
    /// References to these functions.
    Funcs(Box<[FuncIndex]>),
    /// Values of these expressions.
    Exprs(Box<[ConstExpr]>),
}

impl ElemItems {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            ElemItems::Funcs(f) => f.len(),
            ElemItems::Exprs(e) => e.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A data segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataSegment {
    /// When it is used. `Declared` in artifacts: it is part of a memory's first contents, and of no use any more.
    pub mode: SegmentMode<MemoryIndex>,
    /// Its bytes.
    pub bytes: SourceRange,
}

macro_rules! defined_index {
    ($($entity:ident, $defined:ident, $count:ident, $to_defined:ident, $to_index:ident;)*) => {$(
        /// The index among the defined ones, or `None` if it is imported.
        pub fn $to_defined(&self, index: $entity) -> Option<$defined> {
            index.0.checked_sub(self.$count).map($defined)
        }

        /// The index in the whole index space.
        pub fn $to_index(&self, defined: $defined) -> $entity {
            $entity(defined.0 + self.$count)
        }
    )*};
}

impl Module {
    defined_index! {
        FuncIndex, DefinedFuncIndex, num_imported_funcs, defined_func, func_index;
        TableIndex, DefinedTableIndex, num_imported_tables, defined_table, table_index;
        MemoryIndex, DefinedMemoryIndex, num_imported_memories, defined_memory, memory_index;
        GlobalIndex, DefinedGlobalIndex, num_imported_globals, defined_global, global_index;
        TagIndex, DefinedTagIndex, num_imported_tags, defined_tag, tag_index;
    }

    /// The type of a function.
    pub fn func_type(&self, index: FuncIndex) -> &FuncType {
        self.signature(self.funcs[index].ty)
    }

    /// The function type at a type index. Panics if the type is none: validation has seen to it.
    #[inline]
    pub fn signature(&self, index: TypeIndex) -> &FuncType {
        self.types[index].as_func().expect("validated: a function type")
    }

    /// For each type the first one with an equal signature. Trampolines exist once for each of these.
    pub fn canonical_signatures(&self) -> IndexVec<TypeIndex, TypeIndex> {
        let mut first = std::collections::HashMap::with_capacity(self.types.len());
        self.types.keys().map(|ty| *first.entry(self.types[ty].as_func()).or_insert(ty)).collect()
    }

    /// The type of anything importable or exportable.
    pub fn entity_type(&self, index: EntityIndex) -> EntityType {
        match index {
            EntityIndex::Func(i) => EntityType::Func(self.funcs[i].ty),
            EntityIndex::Table(i) => EntityType::Table(self.tables[i]),
            EntityIndex::Memory(i) => EntityType::Memory(self.memories[i]),
            EntityIndex::Global(i) => EntityType::Global(self.globals[i]),
            EntityIndex::Tag(i) => EntityType::Tag(self.tags[i]),
        }
    }

    /// Whether every function reference that there can ever be in an instance is one to a function with a body here, of that
    /// instance. Follows from declarations alone: references to other functions come in through what is imported, through what
    /// the host or other modules can write to, and as arguments and results.
    pub fn has_own_references_only(&self) -> bool {
        let is_func = |ty: &ValType| matches!(ty, ValType::Ref(ty) if ty.repr() == RefRepr::FuncPointer);
        let passes = |ty: &FuncType| ty.params.iter().chain(&ty.results).any(is_func);
        let imported = |index: &FuncIndex| index.0 < self.num_imported_funcs;
        let names_import =
            |expr: &ConstExpr| expr.0.iter().any(|op| matches!(op, ConstOp::RefFunc(func) if imported(func)));
        let comes_in = |import: &Import| match import.index {
            EntityIndex::Func(func) => self.funcs[func].escapes,
            EntityIndex::Table(table) => is_func(&ValType::Ref(self.tables[table].element)),
            EntityIndex::Global(global) => is_func(&self.globals[global].content),
            EntityIndex::Memory(_) | EntityIndex::Tag(_) => false,
        };
        let is_written = |export: &Export| match export.index {
            EntityIndex::Table(table) => is_func(&ValType::Ref(self.tables[table].element)),
            EntityIndex::Global(global) => self.globals[global].mutable && is_func(&self.globals[global].content),
            EntityIndex::Func(_) | EntityIndex::Memory(_) | EntityIndex::Tag(_) => false,
        };
        let is_filled = |segment: &ElemSegment| match &segment.items {
            ElemItems::Funcs(funcs) => funcs.iter().any(imported),
            ElemItems::Exprs(exprs) => exprs.iter().any(names_import),
        };
        self.types.values().all(|ty| ty.as_func().is_some_and(|ty| !passes(ty)))
            && !self.imports.iter().any(comes_in)
            && !self.exports.iter().any(is_written)
            && !self.elems.values().any(is_filled)
            && !self.global_inits.values().any(names_import)
            && !self.table_inits.values().flatten().any(names_import)
    }

    /// The payload of the first custom section with this name.
    pub fn custom(&self, name: &str) -> Option<SourceRange> {
        self.customs.iter().find(|(n, _)| n == name).map(|(_, r)| r.clone())
    }
}
