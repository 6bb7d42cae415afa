//! WebAssembly types as a host sees them.

use std::fmt;
use std::ops::RangeInclusive;

use anyhow::{Result, bail, ensure};
use kiln_env::types as env;

pub(crate) mod matching;
pub(crate) mod registry;

mod composite;

pub use composite::{ArrayType, FieldType, Finality, StorageType, StructType};

use registry::{ModuleTypes, RegisteredType, TypeId, TypeRegistry};

/// Whether a global can be set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mutability {
    /// It cannot.
    Const,
    /// It can.
    Var,
}

/// Type of a value.
#[derive(Clone, PartialEq, Eq, Hash)]
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

/// Type of a reference: what it may refer to, and whether it may be null.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RefType {
    nullable: bool,
    heap: HeapType,
}

/// What a reference refers to.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeapType {
    /// Any function.
    Func,
    /// Functions of one type and its subtypes.
    ConcreteFunc(FuncType),
    /// Nothing: only null is of this type and of every function type.
    NoFunc,
    /// A value of the host.
    Extern,
    /// Nothing: only null is of this type and of `extern`.
    NoExtern,
    /// An exception.
    Exn,
    /// Nothing: only null is of this type and of `exn`.
    NoExn,
    /// An object of the guest, or a number of 31 bits.
    Any,
    /// What can be compared: an object of the guest, or a number of 31 bits.
    Eq,
    /// A number of 31 bits.
    I31,
    /// A structure.
    Struct,
    /// Structures of one type and its subtypes.
    ConcreteStruct(StructType),
    /// An array.
    Array,
    /// Arrays of one type and its subtypes.
    ConcreteArray(ArrayType),
    /// Nothing: only null is of this type and of every other type below `any`.
    None,
}

impl ValType {
    /// `externref`: a nullable reference to a host value.
    pub const EXTERNREF: ValType = ValType::Ref(RefType::EXTERNREF);
    /// `funcref`: a nullable reference to a function.
    pub const FUNCREF: ValType = ValType::Ref(RefType::FUNCREF);
    /// `exnref`: a nullable reference to an exception.
    pub const EXNREF: ValType = ValType::Ref(RefType::EXNREF);

    /// Whether it is one of the number types.
    pub fn is_num(&self) -> bool {
        matches!(self, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64)
    }

    /// Whether it is `v128`.
    pub fn is_vector(&self) -> bool {
        matches!(self, ValType::V128)
    }

    /// Whether it is a reference type.
    pub fn is_ref(&self) -> bool {
        self.as_ref().is_some()
    }

    /// Whether it is exactly `funcref`.
    pub fn is_funcref(&self) -> bool {
        *self == ValType::FUNCREF
    }

    /// Whether it is exactly `externref`.
    pub fn is_externref(&self) -> bool {
        *self == ValType::EXTERNREF
    }

    /// Whether it is exactly `exnref`.
    pub fn is_exnref(&self) -> bool {
        *self == ValType::EXNREF
    }

    /// The reference type, if it is one.
    pub fn as_ref(&self) -> Option<&RefType> {
        match self {
            ValType::Ref(r) => Some(r),
            _ => None,
        }
    }

    /// Whether every value of this type is a value of `other`.
    pub fn matches(&self, other: &ValType) -> bool {
        match (self, other) {
            (ValType::Ref(a), ValType::Ref(b)) => a.matches(b),
            (a, b) => a == b,
        }
    }

    /// From an engine-numbered type, which is registered.
    pub(crate) fn from_env(registry: &TypeRegistry, ty: env::ValType) -> ValType {
        match ty {
            env::ValType::I32 => ValType::I32,
            env::ValType::I64 => ValType::I64,
            env::ValType::F32 => ValType::F32,
            env::ValType::F64 => ValType::F64,
            env::ValType::V128 => ValType::V128,
            env::ValType::Ref(r) => ValType::Ref(RefType::from_env(registry, r)),
        }
    }

    /// As an engine-numbered type, valid as long as `self` keeps it registered.
    pub(crate) fn to_env(&self) -> env::ValType {
        match self {
            ValType::I32 => env::ValType::I32,
            ValType::I64 => env::ValType::I64,
            ValType::F32 => env::ValType::F32,
            ValType::F64 => env::ValType::F64,
            ValType::V128 => env::ValType::V128,
            ValType::Ref(r) => env::ValType::Ref(r.to_env()),
        }
    }

    /// Whether it can be used with this registry.
    pub(crate) fn is_of(&self, registry: &TypeRegistry) -> bool {
        self.as_ref().is_none_or(|r| r.is_of(registry))
    }
}

impl RefType {
    /// `externref`: a nullable reference to a host value.
    pub const EXTERNREF: RefType = RefType::new(true, HeapType::Extern);
    /// `funcref`: a nullable reference to a function.
    pub const FUNCREF: RefType = RefType::new(true, HeapType::Func);
    /// `exnref`: a nullable reference to an exception.
    pub const EXNREF: RefType = RefType::new(true, HeapType::Exn);

    /// The type of references to `heap_type`.
    pub const fn new(nullable: bool, heap_type: HeapType) -> RefType {
        RefType { nullable, heap: heap_type }
    }

    /// Whether null is a value of it.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// What it refers to.
    pub fn heap_type(&self) -> &HeapType {
        &self.heap
    }

    /// Whether every value of this type is a value of `other`.
    pub fn matches(&self, other: &RefType) -> bool {
        (!self.nullable || other.nullable) && self.heap.matches(&other.heap)
    }

    pub(crate) fn from_env(registry: &TypeRegistry, ty: env::RefType) -> RefType {
        RefType { nullable: ty.nullable, heap: HeapType::from_env(registry, ty.heap) }
    }

    pub(crate) fn to_env(&self) -> env::RefType {
        env::RefType { nullable: self.nullable, heap: self.heap.to_env() }
    }

    /// Whether it can be used with this registry.
    pub(crate) fn is_of(&self, registry: &TypeRegistry) -> bool {
        self.heap.registered().is_none_or(|ty| ty.is_of(registry))
    }
}

impl HeapType {
    /// The function type, if it names one.
    pub fn as_concrete_func(&self) -> Option<&FuncType> {
        match self {
            HeapType::ConcreteFunc(f) => Some(f),
            _ => None,
        }
    }

    /// The structure type, if it names one.
    pub fn as_concrete_struct(&self) -> Option<&StructType> {
        match self {
            HeapType::ConcreteStruct(s) => Some(s),
            _ => None,
        }
    }

    /// The array type, if it names one.
    pub fn as_concrete_array(&self) -> Option<&ArrayType> {
        match self {
            HeapType::ConcreteArray(a) => Some(a),
            _ => None,
        }
    }

    /// The greatest type of its hierarchy: `func`, `extern`, `exn` or `any`.
    pub fn top(&self) -> HeapType {
        match self.to_env().top() {
            env::HeapType::Extern => HeapType::Extern,
            env::HeapType::Exn => HeapType::Exn,
            env::HeapType::Any => HeapType::Any,
            _ => HeapType::Func,
        }
    }

    /// Whether every value of this type is a value of `other`.
    pub fn matches(&self, other: &HeapType) -> bool {
        match (self.registered(), other.registered()) {
            (Some(a), Some(b)) => a.is_subtype_of(b),
            _ => self.to_env().is_below_abstract(other.to_env()),
        }
    }

    /// The definition that it names, if it is a concrete type.
    fn registered(&self) -> Option<&RegisteredType> {
        match self {
            HeapType::ConcreteFunc(f) => Some(&f.ty),
            HeapType::ConcreteStruct(s) => Some(&s.ty),
            HeapType::ConcreteArray(a) => Some(&a.ty),
            _ => None,
        }
    }

    pub(crate) fn from_env(registry: &TypeRegistry, ty: env::HeapType) -> HeapType {
        let registered = |t: kiln_env::TypeIndex| {
            let known = registry.get(TypeId::from_u32(t.0));
            known.expect("whoever knows a type's number keeps the type registered")
        };
        match ty {
            env::HeapType::Func => HeapType::Func,
            env::HeapType::NoFunc => HeapType::NoFunc,
            env::HeapType::Extern => HeapType::Extern,
            env::HeapType::NoExtern => HeapType::NoExtern,
            env::HeapType::Exn => HeapType::Exn,
            env::HeapType::NoExn => HeapType::NoExn,
            env::HeapType::Any => HeapType::Any,
            env::HeapType::Eq => HeapType::Eq,
            env::HeapType::I31 => HeapType::I31,
            env::HeapType::Struct => HeapType::Struct,
            env::HeapType::Array => HeapType::Array,
            env::HeapType::None => HeapType::None,
            env::HeapType::Concrete(env::CompositeKind::Func, t) => {
                HeapType::ConcreteFunc(FuncType { ty: registered(t) })
            }
            env::HeapType::Concrete(env::CompositeKind::Struct, t) => {
                HeapType::ConcreteStruct(StructType { ty: registered(t) })
            }
            env::HeapType::Concrete(env::CompositeKind::Array, t) => {
                HeapType::ConcreteArray(ArrayType { ty: registered(t) })
            }
        }
    }

    pub(crate) fn to_env(&self) -> env::HeapType {
        let concrete = |kind, ty: &RegisteredType| env::HeapType::Concrete(kind, ty.id().as_index());
        match self {
            HeapType::Func => env::HeapType::Func,
            HeapType::NoFunc => env::HeapType::NoFunc,
            HeapType::Extern => env::HeapType::Extern,
            HeapType::NoExtern => env::HeapType::NoExtern,
            HeapType::Exn => env::HeapType::Exn,
            HeapType::NoExn => env::HeapType::NoExn,
            HeapType::Any => env::HeapType::Any,
            HeapType::Eq => env::HeapType::Eq,
            HeapType::I31 => env::HeapType::I31,
            HeapType::Struct => env::HeapType::Struct,
            HeapType::Array => env::HeapType::Array,
            HeapType::None => env::HeapType::None,
            HeapType::ConcreteFunc(f) => concrete(env::CompositeKind::Func, &f.ty),
            HeapType::ConcreteStruct(s) => concrete(env::CompositeKind::Struct, &s.ty),
            HeapType::ConcreteArray(a) => concrete(env::CompositeKind::Array, &a.ty),
        }
    }
}

/// Type of a function. It belongs to an engine; equal types of an engine are `==`, whichever module they come from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FuncType {
    ty: RegisteredType,
}

impl FuncType {
    /// The final function type with these parameters and results.
    ///
    /// # Panics
    /// If a parameter or result names a function type of another engine.
    pub(crate) fn new_in(
        registry: &TypeRegistry,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> FuncType {
        // They keep what the signature refers to registered until it is itself.
        let params: Vec<ValType> = params.into_iter().collect();
        let results: Vec<ValType> = results.into_iter().collect();
        assert!(
            params.iter().chain(&results).all(|t| t.is_of(registry)),
            "a type of one engine cannot be part of a function type of another"
        );
        let signature = env::FuncType {
            params: params.iter().map(ValType::to_env).collect(),
            results: results.iter().map(ValType::to_env).collect(),
        };
        FuncType { ty: registry.register_func(signature).unwrap_or_else(|full| panic!("{full}")) }
    }

    /// The types of the parameters.
    pub fn params(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.types(&self.ty.signature().params)
    }

    /// The type of parameter `i`, if there are so many.
    pub fn param(&self, i: usize) -> Option<ValType> {
        self.params().nth(i)
    }

    /// The types of the results.
    pub fn results(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.types(&self.ty.signature().results)
    }

    /// The type of result `i`, if there are so many.
    pub fn result(&self, i: usize) -> Option<ValType> {
        self.results().nth(i)
    }

    /// Whether functions of this type can stand where `other` is expected: it is the same or declared as its subtype.
    pub fn matches(&self, other: &FuncType) -> bool {
        self.ty.is_subtype_of(&other.ty)
    }

    /// The engine-wide number.
    pub(crate) fn id(&self) -> TypeId {
        self.ty.id()
    }

    /// The signature, engine-numbered.
    pub(crate) fn signature(&self) -> &env::FuncType {
        self.ty.signature()
    }

    /// The type with this number, which is registered.
    pub(crate) fn from_id(registry: &TypeRegistry, id: TypeId) -> FuncType {
        FuncType { ty: registry.get(id).expect("whoever knows a type's number keeps the type registered") }
    }

    /// Whether it belongs to this registry.
    pub(crate) fn is_of(&self, registry: &TypeRegistry) -> bool {
        self.ty.is_of(registry)
    }

    fn types<'a>(&'a self, types: &'a [env::ValType]) -> impl ExactSizeIterator<Item = ValType> + 'a {
        // Without the registry nobody can be asked for a concrete type: the engine is gone, and with it every use.
        let registry = self.ty.registry().unwrap_or_default();
        types.iter().map(move |t| ValType::from_env(&registry, *t))
    }
}

/// Type of a global.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GlobalType {
    content: ValType,
    mutability: Mutability,
}

impl GlobalType {
    /// The type of globals that hold a `content`.
    pub fn new(content: ValType, mutability: Mutability) -> GlobalType {
        GlobalType { content, mutability }
    }

    /// Type of the value.
    pub fn content(&self) -> &ValType {
        &self.content
    }

    /// Whether it can be set.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }

    pub(crate) fn from_env(registry: &TypeRegistry, ty: env::GlobalType) -> GlobalType {
        let mutability = if ty.mutable { Mutability::Var } else { Mutability::Const };
        GlobalType { content: ValType::from_env(registry, ty.content), mutability }
    }

    pub(crate) fn to_env(&self) -> env::GlobalType {
        env::GlobalType { content: self.content.to_env(), mutable: self.mutability == Mutability::Var }
    }
}

/// Type of a table; sizes in elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TableType {
    element: RefType,
    limits: env::Limits,
}

impl TableType {
    /// The type of tables with 32-bit indices.
    pub fn new(element: RefType, min: u32, max: Option<u32>) -> TableType {
        let limits = env::Limits { min: min.into(), max: max.map(u64::from), is_64: false };
        TableType { element, limits }
    }

    /// The type of tables with 64-bit indices.
    pub fn new64(element: RefType, min: u64, max: Option<u64>) -> TableType {
        TableType { element, limits: env::Limits { min, max, is_64: true } }
    }

    /// Type of the elements.
    pub fn element(&self) -> &RefType {
        &self.element
    }

    /// Least size.
    pub fn minimum(&self) -> u64 {
        self.limits.min
    }

    /// Greatest size, if bounded.
    pub fn maximum(&self) -> Option<u64> {
        self.limits.max
    }

    /// Whether indices are 64 bits wide.
    pub fn is_64(&self) -> bool {
        self.limits.is_64
    }

    pub(crate) fn from_env(registry: &TypeRegistry, ty: env::TableType) -> TableType {
        TableType { element: RefType::from_env(registry, ty.element), limits: ty.limits }
    }

    pub(crate) fn to_env(&self) -> env::TableType {
        env::TableType { element: self.element.to_env(), limits: self.limits }
    }
}

/// Type of a linear memory; sizes in pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemoryType {
    ty: env::MemoryType,
}

impl MemoryType {
    /// The type of unshared memories with 32-bit addresses and pages of 64 KiB.
    pub fn new(minimum: u32, maximum: Option<u32>) -> MemoryType {
        let limits = env::Limits { min: minimum.into(), max: maximum.map(u64::from), is_64: false };
        MemoryType { ty: env::MemoryType { limits, shared: false, page_size_log2: 16 } }
    }

    /// The type of unshared memories with 64-bit addresses and pages of 64 KiB.
    pub fn new64(minimum: u64, maximum: Option<u64>) -> MemoryType {
        let limits = env::Limits { min: minimum, max: maximum, is_64: true };
        MemoryType { ty: env::MemoryType { limits, shared: false, page_size_log2: 16 } }
    }

    /// The type of shared memories with 32-bit addresses and pages of 64 KiB.
    pub fn shared(minimum: u32, maximum: u32) -> MemoryType {
        let ty = MemoryType::new(minimum, Some(maximum)).ty;
        MemoryType { ty: env::MemoryType { shared: true, ..ty } }
    }

    /// Any memory type, property by property.
    pub fn builder() -> MemoryTypeBuilder {
        MemoryTypeBuilder { ty: MemoryType::new(0, None).ty }
    }

    /// Whether addresses are 64 bits wide.
    pub fn is_64(&self) -> bool {
        self.ty.limits.is_64
    }

    /// Whether several threads may use it at once.
    pub fn is_shared(&self) -> bool {
        self.ty.shared
    }

    /// Least size, in pages.
    pub fn minimum(&self) -> u64 {
        self.ty.limits.min
    }

    /// Greatest size in pages, if bounded.
    pub fn maximum(&self) -> Option<u64> {
        self.ty.limits.max
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        1 << self.ty.page_size_log2
    }

    /// Base-2 logarithm of the page size: 16, or 0 with custom page sizes.
    pub fn page_size_log2(&self) -> u8 {
        self.ty.page_size_log2
    }

    pub(crate) fn from_env(ty: env::MemoryType) -> MemoryType {
        MemoryType { ty }
    }

    pub(crate) fn to_env(self) -> env::MemoryType {
        self.ty
    }
}

/// Builds a [`MemoryType`]. It starts as that of an unshared, empty, unbounded memory with 32-bit addresses.
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryTypeBuilder {
    ty: env::MemoryType,
}

impl MemoryTypeBuilder {
    /// Sets the least size, in pages.
    pub fn min(&mut self, pages: u64) -> &mut MemoryTypeBuilder {
        self.ty.limits.min = pages;
        self
    }

    /// Sets the greatest size, in pages.
    pub fn max(&mut self, pages: Option<u64>) -> &mut MemoryTypeBuilder {
        self.ty.limits.max = pages;
        self
    }

    /// Sets whether addresses are 64 bits wide.
    pub fn memory64(&mut self, yes: bool) -> &mut MemoryTypeBuilder {
        self.ty.limits.is_64 = yes;
        self
    }

    /// Sets whether several threads may use it at once; it needs a greatest size then.
    pub fn shared(&mut self, yes: bool) -> &mut MemoryTypeBuilder {
        self.ty.shared = yes;
        self
    }

    /// Sets the base-2 logarithm of the page size: 16 or 0.
    pub fn page_size_log2(&mut self, log2: u8) -> &mut MemoryTypeBuilder {
        self.ty.page_size_log2 = log2;
        self
    }

    /// The type.
    ///
    /// # Errors
    /// If the sizes exceed the address space or each other, a shared memory is unbounded, or the page size is not one
    /// that the custom-page-sizes proposal allows.
    pub fn build(&self) -> Result<MemoryType> {
        let env::MemoryType { limits, shared, page_size_log2 } = self.ty;
        ensure!(matches!(page_size_log2, 0 | 16), "a page has 1 or 65536 bytes, not 2^{page_size_log2}");
        ensure!(!shared || limits.max.is_some(), "a shared memory needs a maximum size");
        let absolute = env::MemoryType { limits: env::Limits { max: None, ..limits }, ..self.ty }.max_pages();
        let range: RangeInclusive<u64> = 0..=absolute;
        if !range.contains(&limits.min) || !limits.max.is_none_or(|max| range.contains(&max)) {
            bail!("a memory of this kind has at most {absolute} pages");
        }
        ensure!(limits.max.is_none_or(|max| max >= limits.min), "the maximum size is below the minimum");
        Ok(MemoryType { ty: self.ty })
    }
}

/// Type of an exception tag.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TagType {
    ty: FuncType,
}

impl TagType {
    /// The type of tags whose exceptions carry the parameters of `ty`. A tag type with results fits no tag: creating one fails.
    pub fn new(ty: FuncType) -> TagType {
        TagType { ty }
    }

    /// The function type whose parameters are the payload.
    pub fn ty(&self) -> &FuncType {
        &self.ty
    }
}

/// The kinds of things that modules import and export.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ExternKind {
    Func,
    Global,
    Table,
    Memory,
    Tag,
}

impl fmt::Display for ExternKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExternKind::Func => "function",
            ExternKind::Global => "global",
            ExternKind::Table => "table",
            ExternKind::Memory => "memory",
            ExternKind::Tag => "tag",
        })
    }
}

/// Type of anything that can be imported or exported.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A global.
    Global(GlobalType),
    /// A table.
    Table(TableType),
    /// A linear memory.
    Memory(MemoryType),
    /// An exception tag.
    Tag(TagType),
}

macro_rules! extern_accessors {
    ($($variant:ident $ty:ident $get:ident $unwrap:ident;)*) => {
        impl ExternType {$(
            #[doc = concat!("The [`", stringify!($ty), "`], if it is one.")]
            pub fn $get(&self) -> Option<&$ty> {
                match self {
                    ExternType::$variant(ty) => Some(ty),
                    _ => None,
                }
            }

            #[doc = concat!("The [`", stringify!($ty), "`].\n\n# Panics\nIf it is of another kind.")]
            pub fn $unwrap(&self) -> &$ty {
                self.$get().unwrap_or_else(|| panic!("expected a {}, found {self}", ExternKind::$variant))
            }
        )*}

        $(impl From<$ty> for ExternType {
            fn from(ty: $ty) -> ExternType {
                ExternType::$variant(ty)
            }
        })*
    };
}

extern_accessors! {
    Func FuncType func unwrap_func;
    Global GlobalType global unwrap_global;
    Table TableType table unwrap_table;
    Memory MemoryType memory unwrap_memory;
    Tag TagType tag unwrap_tag;
}

impl ExternType {
    /// From a type of a module's import or export.
    pub(crate) fn from_env(registry: &TypeRegistry, types: &ModuleTypes, ty: env::EntityType) -> ExternType {
        match ty {
            env::EntityType::Func(t) => ExternType::Func(FuncType::from_id(registry, types.id(t))),
            env::EntityType::Table(t) => ExternType::Table(TableType::from_env(registry, types.table_type(t))),
            env::EntityType::Memory(t) => ExternType::Memory(MemoryType::from_env(t)),
            env::EntityType::Global(t) => ExternType::Global(GlobalType::from_env(registry, types.global_type(t))),
            env::EntityType::Tag(t) => ExternType::Tag(TagType::new(FuncType::from_id(registry, types.id(t.ty)))),
        }
    }
}

/// An import that a module declares.
#[derive(Clone, Debug)]
pub struct ImportType<'module> {
    module: &'module str,
    name: &'module str,
    ty: ExternType,
}

impl<'module> ImportType<'module> {
    pub(crate) fn new(module: &'module str, name: &'module str, ty: ExternType) -> ImportType<'module> {
        ImportType { module, name, ty }
    }

    /// First level of its name.
    pub fn module(&self) -> &'module str {
        self.module
    }

    /// Second level of its name.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// What is to be given.
    pub fn ty(&self) -> ExternType {
        self.ty.clone()
    }
}

/// An export that a module declares.
#[derive(Clone, Debug)]
pub struct ExportType<'module> {
    name: &'module str,
    ty: ExternType,
}

impl<'module> ExportType<'module> {
    pub(crate) fn new(name: &'module str, ty: ExternType) -> ExportType<'module> {
        ExportType { name, ty }
    }

    /// Its name.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// What it is.
    pub fn ty(&self) -> ExternType {
        self.ty.clone()
    }
}

mod display;
pub(crate) use display::EnvDisplay;
