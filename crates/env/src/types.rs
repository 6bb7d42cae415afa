//! WebAssembly types as a module states them. Types across modules are compared by the engine's
//! canonical numbers, not by these.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::index::TypeIndex;

/// The bytes that types are in the binary format.
pub mod binary {
    /// `i32`.
    pub const I32: u8 = 0x7f;
    /// `i64`.
    pub const I64: u8 = 0x7e;
    /// `f32`.
    pub const F32: u8 = 0x7d;
    /// `f64`.
    pub const F64: u8 = 0x7c;
    /// `v128`.
    pub const V128: u8 = 0x7b;
    /// `funcref`.
    pub const FUNCREF: u8 = 0x70;
    /// `externref`.
    pub const EXTERNREF: u8 = 0x6f;
    /// `exnref`.
    pub const EXNREF: u8 = 0x69;
    /// `ref null`: a heap type follows.
    pub const REF_NULL: u8 = 0x63;
    /// `ref`: a heap type follows.
    pub const REF: u8 = 0x64;
    /// A block without parameters and with no result.
    pub const EMPTY_BLOCK: u8 = 0x40;

    /// Abstract heap types, which are negative numbers among the indices of types.
    pub mod heap {
        /// `extern`.
        pub const EXTERN: i64 = -0x11;
        /// `noextern`.
        pub const NO_EXTERN: i64 = -0x0e;
        /// `exn`.
        pub const EXN: i64 = -0x17;
        /// `noexn`.
        pub const NO_EXN: i64 = -0x0c;
    }
}

/// A value type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// A reference.
    Ref(RefType),
}

impl ValType {
    /// `funcref`.
    pub const FUNCREF: ValType = ValType::Ref(RefType::FUNCREF);
    /// `externref`.
    pub const EXTERNREF: ValType = ValType::Ref(RefType::EXTERNREF);
    /// `exnref`.
    pub const EXNREF: ValType = ValType::Ref(RefType { nullable: true, heap: HeapType::Exn });

    /// Whether values of this type are objects of the store's collected heap.
    pub fn is_gc_ref(self) -> bool {
        matches!(self, ValType::Ref(r) if r.repr() == RefRepr::Gc)
    }

    /// A number for hashes, the same in all modules. References to concrete types have one for all of those of a kind.
    pub fn number(self) -> u8 {
        let heap = |heap| match heap {
            HeapType::Func => 0,
            HeapType::NoFunc => 1,
            HeapType::Extern => 2,
            HeapType::NoExtern => 3,
            HeapType::Exn => 4,
            HeapType::NoExn => 5,
            HeapType::Concrete(CompositeKind::Func, _) => 6,
            HeapType::Any => 7,
            HeapType::Eq => 8,
            HeapType::I31 => 9,
            HeapType::Struct => 10,
            HeapType::Array => 11,
            HeapType::None => 12,
            HeapType::Concrete(CompositeKind::Struct, _) => 13,
            HeapType::Concrete(CompositeKind::Array, _) => 14,
        };
        match self {
            ValType::I32 => 1,
            ValType::I64 => 2,
            ValType::F32 => 3,
            ValType::F64 => 4,
            ValType::V128 => 5,
            ValType::Ref(r) => 16 + heap(r.heap) * 2 + u8::from(r.nullable),
        }
    }

    /// How many bytes a value takes in compiled code (a collected reference is 32 bits wide).
    pub fn size(self) -> u32 {
        match self {
            ValType::I32 | ValType::F32 => 4,
            ValType::I64 | ValType::F64 => 8,
            ValType::V128 => 16,
            ValType::Ref(r) => match r.repr() {
                RefRepr::FuncPointer => 8,
                RefRepr::Gc => 4,
            },
        }
    }
}

/// A reference type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefType {
    /// Whether null is a value of the type.
    pub nullable: bool,
    /// What a non-null value refers to.
    pub heap: HeapType,
}

impl RefType {
    /// `(ref null func)`.
    pub const FUNCREF: RefType = RefType { nullable: true, heap: HeapType::Func };
    /// `(ref null extern)`.
    pub const EXTERNREF: RefType = RefType { nullable: true, heap: HeapType::Extern };

    /// How values of this type are represented in compiled code.
    pub fn repr(self) -> RefRepr {
        match self.heap.top() {
            HeapType::Func => RefRepr::FuncPointer,
            _ => RefRepr::Gc,
        }
    }
}

/// How a reference is represented in compiled code, tables and globals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefRepr {
    /// A pointer to a `VmFuncRef`, 0 for null. Lives as long as the store, so no collector looks at it.
    FuncPointer,
    /// A 32-bit number of an object in the store's heap, 0 for null. A root where it is live across a call.
    Gc,
}

/// The target of a reference type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeapType {
    /// Any function.
    Func,
    /// No function (bottom of the function hierarchy).
    NoFunc,
    /// A host value.
    Extern,
    /// No host value.
    NoExtern,
    /// An exception.
    Exn,
    /// No exception.
    NoExn,
    /// An object, or a number of 31 bits.
    Any,
    /// What can be compared: an object of the guest, or a number of 31 bits.
    Eq,
    /// A number of 31 bits.
    I31,
    /// A structure of any type.
    Struct,
    /// An array of any type.
    Array,
    /// No object (bottom of the hierarchy of `any`).
    None,
    /// A function or object of the type with this index in the module, which defines something of this kind.
    Concrete(CompositeKind, TypeIndex),
}

impl HeapType {
    /// The index of the type, if it is a concrete one.
    pub fn concrete(self) -> Option<TypeIndex> {
        match self {
            HeapType::Concrete(_, index) => Some(index),
            _ => None,
        }
    }

    /// The greatest type of its hierarchy: `func`, `extern`, `exn` or `any`.
    pub fn top(self) -> HeapType {
        match self {
            HeapType::Func | HeapType::NoFunc | HeapType::Concrete(CompositeKind::Func, _) => HeapType::Func,
            HeapType::Extern | HeapType::NoExtern => HeapType::Extern,
            HeapType::Exn | HeapType::NoExn => HeapType::Exn,
            HeapType::Any
            | HeapType::Eq
            | HeapType::I31
            | HeapType::Struct
            | HeapType::Array
            | HeapType::None
            | HeapType::Concrete(CompositeKind::Struct | CompositeKind::Array, _) => HeapType::Any,
        }
    }

    /// Whether it is the other type or declared below it, where that does not depend on definitions: by the hierarchy of
    /// abstract types, in which concrete ones stand below the one of their kind.
    pub fn is_below_abstract(self, other: HeapType) -> bool {
        use CompositeKind as Kind;
        match (self, other) {
            (HeapType::Concrete(a, i), HeapType::Concrete(b, j)) => a == b && i == j,
            (HeapType::NoFunc, _) => other.top() == HeapType::Func,
            (HeapType::NoExtern, _) => other.top() == HeapType::Extern,
            (HeapType::NoExn, _) => other.top() == HeapType::Exn,
            (HeapType::None, _) => other.top() == HeapType::Any,
            (_, HeapType::Any) => self.top() == HeapType::Any,
            (_, HeapType::Eq) => self.top() == HeapType::Any && self != HeapType::Any,
            (HeapType::Concrete(Kind::Func, _), HeapType::Func)
            | (HeapType::Concrete(Kind::Struct, _), HeapType::Struct)
            | (HeapType::Concrete(Kind::Array, _), HeapType::Array) => true,
            (a, b) => a == b,
        }
    }
}

/// The kinds of things that type definitions define.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum CompositeKind {
    /// A function type.
    Func,
    /// A structure type.
    Struct,
    /// An array type.
    Array,
}

/// Parameters and results of a function.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct FuncType {
    /// Parameter types.
    pub params: Box<[ValType]>,
    /// Result types.
    pub results: Box<[ValType]>,
}

/// What a field of a structure or an element of an array holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum StorageType {
    /// The low 8 bits of an `i32`.
    I8,
    /// The low 16 bits of an `i32`.
    I16,
    /// A value.
    Val(ValType),
}

/// A field of a structure, or the elements of an array.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct FieldType {
    /// What it holds.
    pub storage: StorageType,
    /// Whether it can be set.
    pub mutable: bool,
}

/// The fields of a structure.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StructType {
    /// Fields in order of declaration, those of the supertype first.
    pub fields: Box<[FieldType]>,
}

/// The elements of an array.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ArrayType {
    /// What each element is.
    pub element: FieldType,
}

/// What a type definition defines.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum CompositeType {
    /// A function type.
    Func(FuncType),
    /// A structure type.
    Struct(StructType),
    /// An array type.
    Array(ArrayType),
}

impl CompositeType {
    /// Which kind it is.
    pub fn kind(&self) -> CompositeKind {
        match self {
            CompositeType::Func(_) => CompositeKind::Func,
            CompositeType::Struct(_) => CompositeKind::Struct,
            CompositeType::Array(_) => CompositeKind::Array,
        }
    }

    /// The value types in it, in order of declaration.
    pub fn val_types(&self) -> impl Iterator<Item = ValType> + '_ {
        let (params, results, fields): (&[ValType], &[ValType], &[FieldType]) = match self {
            CompositeType::Func(f) => (&f.params, &f.results, &[]),
            CompositeType::Struct(s) => (&[], &[], &s.fields),
            CompositeType::Array(a) => (&[], &[], std::slice::from_ref(&a.element)),
        };
        let stored = fields.iter().filter_map(|field| match field.storage {
            StorageType::Val(ty) => Some(ty),
            StorageType::I8 | StorageType::I16 => None,
        });
        params.iter().chain(results).copied().chain(stored)
    }

    /// The same with other value types.
    pub fn map(&self, f: impl Fn(ValType) -> ValType) -> CompositeType {
        let field = |field: &FieldType| FieldType {
            storage: match field.storage {
                StorageType::Val(ty) => StorageType::Val(f(ty)),
                packed => packed,
            },
            ..*field
        };
        let list = |types: &[ValType]| types.iter().map(|ty| f(*ty)).collect();
        match self {
            CompositeType::Func(ty) => {
                CompositeType::Func(FuncType { params: list(&ty.params), results: list(&ty.results) })
            }
            CompositeType::Struct(ty) => {
                CompositeType::Struct(StructType { fields: ty.fields.iter().map(field).collect() })
            }
            CompositeType::Array(ty) => CompositeType::Array(ArrayType { element: field(&ty.element) }),
        }
    }
}

/// One entry of the type section.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SubType {
    /// Whether no type may declare this one as its supertype.
    pub is_final: bool,
    /// The declared supertype.
    pub supertype: Option<TypeIndex>,
    /// The definition.
    pub composite: CompositeType,
}

impl SubType {
    /// The function type, if this defines one.
    pub fn as_func(&self) -> Option<&FuncType> {
        match &self.composite {
            CompositeType::Func(f) => Some(f),
            CompositeType::Struct(_) | CompositeType::Array(_) => None,
        }
    }
}

/// Type of a global.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct GlobalType {
    /// Type of the value it holds.
    pub content: ValType,
    /// Whether it can be set.
    pub mutable: bool,
}

/// Minimum and maximum size, and the width of indices, of a memory (in pages) or table (in elements).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Initial size.
    pub min: u64,
    /// Greatest size, if bounded.
    pub max: Option<u64>,
    /// Whether indices are 64 bits wide.
    pub is_64: bool,
}

/// Type of a linear memory; sizes in pages of `1 << page_size_log2` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct MemoryType {
    /// Size limits, in pages.
    pub limits: Limits,
    /// Whether several threads may use it at once.
    pub shared: bool,
    /// Base-2 logarithm of the page size: 16, or 0 with custom page sizes.
    pub page_size_log2: u8,
}

impl MemoryType {
    /// Initial size in bytes; `None` where it does not fit in 64 bits.
    pub fn min_bytes(&self) -> Option<u64> {
        self.limits.min.checked_mul(1 << self.page_size_log2)
    }

    /// Greatest number of pages: the declared maximum, or what the index type allows.
    pub fn max_pages(&self) -> u64 {
        let absolute = if self.limits.is_64 {
            if self.page_size_log2 == 0 { u64::MAX } else { 1 << (64 - u32::from(self.page_size_log2)) }
        } else {
            (1u64 << 32) >> self.page_size_log2
        };
        self.limits.max.map_or(absolute, |m| m.min(absolute))
    }
}

/// Type of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TableType {
    /// Type of the elements.
    pub element: RefType,
    /// Size limits, in elements.
    pub limits: Limits,
}

/// Type of an exception tag: the parameters of its function type are the payload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TagType {
    /// A function type without results.
    pub ty: TypeIndex,
}

/// Type of anything that can be imported or exported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum EntityType {
    /// A function of the given type.
    Func(TypeIndex),
    /// A table.
    Table(TableType),
    /// A linear memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
    /// An exception tag.
    Tag(TagType),
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValType::I32 => f.write_str("i32"),
            ValType::I64 => f.write_str("i64"),
            ValType::F32 => f.write_str("f32"),
            ValType::F64 => f.write_str("f64"),
            ValType::V128 => f.write_str("v128"),
            ValType::Ref(r) => r.fmt(f),
        }
    }
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.nullable, self.heap) {
            (true, HeapType::Concrete(_, t)) => write!(f, "(ref null {})", t.0),
            (true, heap) => write!(f, "{heap}ref"),
            (false, heap) => write!(f, "(ref {heap})"),
        }
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeapType::Func => f.write_str("func"),
            HeapType::NoFunc => f.write_str("nofunc"),
            HeapType::Extern => f.write_str("extern"),
            HeapType::NoExtern => f.write_str("noextern"),
            HeapType::Exn => f.write_str("exn"),
            HeapType::NoExn => f.write_str("noexn"),
            HeapType::Any => f.write_str("any"),
            HeapType::Eq => f.write_str("eq"),
            HeapType::I31 => f.write_str("i31"),
            HeapType::Struct => f.write_str("struct"),
            HeapType::Array => f.write_str("array"),
            HeapType::None => f.write_str("none"),
            HeapType::Concrete(_, t) => write!(f, "{}", t.0),
        }
    }
}

impl fmt::Debug for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValType]| -> fmt::Result {
            f.write_str("(")?;
            for (i, t) in types.iter().enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                write!(f, "{t}")?;
            }
            f.write_str(")")
        };
        list(f, &self.params)?;
        f.write_str(" -> ")?;
        list(f, &self.results)
    }
}
