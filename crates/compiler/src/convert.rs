//! `wasmparser`'s types to those of `kiln_env`. Total: what has no counterpart is an error.

use kiln_env::types::*;
use kiln_env::{IndexVec, TagIndex, TypeIndex};
use wasmparser::{AbstractHeapType, CompositeInnerType, UnpackedIndex};

use crate::error::{CompileError, Result};

/// What the types of a module define, as far as they are known.
#[derive(Clone, Copy)]
pub struct Kinds<'a> {
    types: &'a IndexVec<TypeIndex, SubType>,
    /// Those of the recursion group that is being read, which follows.
    group: &'a [CompositeKind],
}

impl<'a> Kinds<'a> {
    /// Those of a module whose types have been read.
    pub fn of(types: &'a IndexVec<TypeIndex, SubType>) -> Kinds<'a> {
        Kinds { types, group: &[] }
    }

    /// Those of a module while a recursion group after `types` is read, whose types are of the kinds `group`.
    pub fn reading(types: &'a IndexVec<TypeIndex, SubType>, group: &'a [CompositeKind]) -> Kinds<'a> {
        Kinds { types, group }
    }

    fn concrete(self, index: u32) -> Result<HeapType> {
        let kind = match self.types.get(TypeIndex(index)) {
            Some(ty) => ty.composite.kind(),
            None => {
                let kind = self.group.get(index as usize - self.types.len()).copied();
                kind.ok_or_else(|| CompileError::internal(format_args!("type {index} is used before it is read")))?
            }
        };
        Ok(HeapType::Concrete(kind, TypeIndex(index)))
    }
}

/// What an entry of the type section defines.
pub fn composite_kind(ty: &wasmparser::SubType) -> Result<CompositeKind> {
    match &ty.composite_type.inner {
        CompositeInnerType::Func(_) => Ok(CompositeKind::Func),
        CompositeInnerType::Struct(_) => Ok(CompositeKind::Struct),
        CompositeInnerType::Array(_) => Ok(CompositeKind::Array),
        CompositeInnerType::Cont(_) => Err(CompileError::unsupported("continuation types")),
    }
}

/// Converts a value type.
pub fn val_type(ty: wasmparser::ValType, kinds: Kinds<'_>) -> Result<ValType> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(r) => ValType::Ref(ref_type(r, kinds)?),
    })
}

/// Converts a reference type.
pub fn ref_type(ty: wasmparser::RefType, kinds: Kinds<'_>) -> Result<RefType> {
    Ok(RefType { nullable: ty.is_nullable(), heap: heap_type(ty.heap_type(), kinds)? })
}

/// Converts a heap type as it stands in a module (its indices are the module's).
pub fn heap_type(ty: wasmparser::HeapType, kinds: Kinds<'_>) -> Result<HeapType> {
    match ty {
        wasmparser::HeapType::Concrete(UnpackedIndex::Module(i)) => kinds.concrete(i),
        wasmparser::HeapType::Abstract { shared: false, ty } => match ty {
            AbstractHeapType::Func => Ok(HeapType::Func),
            AbstractHeapType::NoFunc => Ok(HeapType::NoFunc),
            AbstractHeapType::Extern => Ok(HeapType::Extern),
            AbstractHeapType::NoExtern => Ok(HeapType::NoExtern),
            AbstractHeapType::Exn => Ok(HeapType::Exn),
            AbstractHeapType::NoExn => Ok(HeapType::NoExn),
            AbstractHeapType::Any => Ok(HeapType::Any),
            AbstractHeapType::Eq => Ok(HeapType::Eq),
            AbstractHeapType::I31 => Ok(HeapType::I31),
            AbstractHeapType::Struct => Ok(HeapType::Struct),
            AbstractHeapType::Array => Ok(HeapType::Array),
            AbstractHeapType::None => Ok(HeapType::None),
            AbstractHeapType::Cont | AbstractHeapType::NoCont => {
                Err(CompileError::unsupported(format_args!("references to {ty:?} (stack switching proposal)")))
            }
        },
        _ => Err(CompileError::unsupported(format_args!("heap type {ty:?}"))),
    }
}

/// Converts a function type.
pub fn func_type(ty: &wasmparser::FuncType, kinds: Kinds<'_>) -> Result<FuncType> {
    let list = |types: &[wasmparser::ValType]| types.iter().map(|t| val_type(*t, kinds)).collect::<Result<Box<[_]>>>();
    Ok(FuncType { params: list(ty.params())?, results: list(ty.results())? })
}

fn field_type(ty: &wasmparser::FieldType, kinds: Kinds<'_>) -> Result<FieldType> {
    let storage = match ty.element_type {
        wasmparser::StorageType::I8 => StorageType::I8,
        wasmparser::StorageType::I16 => StorageType::I16,
        wasmparser::StorageType::Val(ty) => StorageType::Val(val_type(ty, kinds)?),
    };
    Ok(FieldType { storage, mutable: ty.mutable })
}

/// Converts an entry of the type section. `rec_start` is the index of the first type of its recursion group.
pub fn sub_type(ty: &wasmparser::SubType, rec_start: u32, kinds: Kinds<'_>) -> Result<SubType> {
    let index = |packed: &wasmparser::PackedIndex| match packed.unpack() {
        UnpackedIndex::Module(i) => Ok(TypeIndex(i)),
        UnpackedIndex::RecGroup(i) => Ok(TypeIndex(rec_start + i)),
        UnpackedIndex::Id(_) => Err(CompileError::internal("a type in a module refers to a canonical type number")),
    };
    let composite = &ty.composite_type;
    if composite.shared || composite.descriptor_idx.is_some() || composite.describes_idx.is_some() {
        return Err(CompileError::unsupported(format_args!("type {ty}")));
    }
    let supertype = match &ty.supertype_idxs[..] {
        [] => None,
        [one] => Some(index(one)?),
        _ => return Err(CompileError::unsupported("a type with several supertypes")),
    };
    let composite = match &composite.inner {
        CompositeInnerType::Func(f) => CompositeType::Func(func_type(f, kinds)?),
        CompositeInnerType::Array(a) => CompositeType::Array(ArrayType { element: field_type(&a.0, kinds)? }),
        CompositeInnerType::Struct(s) => {
            let fields = s.fields.iter().map(|field| field_type(field, kinds)).collect::<Result<_>>()?;
            CompositeType::Struct(StructType { fields })
        }
        CompositeInnerType::Cont(_) => return Err(CompileError::unsupported("continuation types")),
    };
    Ok(SubType { is_final: ty.is_final, supertype, composite })
}

/// Converts the type of a global.
pub fn global_type(ty: wasmparser::GlobalType, kinds: Kinds<'_>) -> Result<GlobalType> {
    if ty.shared {
        return Err(CompileError::unsupported("shared globals"));
    }
    Ok(GlobalType { content: val_type(ty.content_type, kinds)?, mutable: ty.mutable })
}

/// Converts the type of a table.
pub fn table_type(ty: wasmparser::TableType, kinds: Kinds<'_>) -> Result<TableType> {
    if ty.shared {
        return Err(CompileError::unsupported("shared tables"));
    }
    Ok(TableType {
        element: ref_type(ty.element_type, kinds)?,
        limits: Limits { min: ty.initial, max: ty.maximum, is_64: ty.table64 },
    })
}

/// Converts the type of a memory.
pub fn memory_type(ty: wasmparser::MemoryType) -> Result<MemoryType> {
    let page_size_log2 = ty.page_size_log2();
    if page_size_log2 != 16 && page_size_log2 != 0 {
        return Err(CompileError::unsupported(format_args!("pages of 2^{page_size_log2} bytes")));
    }
    Ok(MemoryType {
        limits: Limits { min: ty.initial, max: ty.maximum, is_64: ty.memory64 },
        shared: ty.shared,
        page_size_log2: page_size_log2 as u8,
    })
}

/// Converts the type of a tag.
pub fn tag_type(ty: wasmparser::TagType) -> TagType {
    let wasmparser::TagKind::Exception = ty.kind;
    TagType { ty: TypeIndex(ty.func_type_idx) }
}

/// A tag's index as Cranelift's exception tables carry it.
pub fn exception_tag(tag: TagIndex) -> cranelift_codegen::ir::ExceptionTag {
    cranelift_codegen::ir::ExceptionTag::from_u32(tag.0)
}
