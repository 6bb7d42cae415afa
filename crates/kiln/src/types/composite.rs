//! Types of structures and arrays as a host sees them.

use anyhow::{Result, ensure};
use kiln_env::types as env;

use super::registry::{RegisteredType, TypeRegistry};
use super::{Mutability, ValType};
use crate::engine::Engine;

/// What a field of a structure or an element of an array holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum StorageType {
    /// The low 8 bits of an `i32`.
    I8,
    /// The low 16 bits of an `i32`.
    I16,
    /// A value.
    ValType(ValType),
}

impl StorageType {
    /// The value type, if it is not packed.
    pub fn as_val_type(&self) -> Option<&ValType> {
        match self {
            StorageType::ValType(ty) => Some(ty),
            StorageType::I8 | StorageType::I16 => None,
        }
    }

    /// The type of the values that are put in and taken out: `i32` for packed ones.
    pub fn unpack(&self) -> ValType {
        match self {
            StorageType::ValType(ty) => ty.clone(),
            StorageType::I8 | StorageType::I16 => ValType::I32,
        }
    }

    /// Whether everything that can be stored in this one can be read as `other`.
    pub fn matches(&self, other: &StorageType) -> bool {
        match (self, other) {
            (StorageType::ValType(a), StorageType::ValType(b)) => a.matches(b),
            (a, b) => a == b,
        }
    }
}

/// Type of a field of a structure, or of the elements of an array.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FieldType {
    mutability: Mutability,
    element: StorageType,
}

impl FieldType {
    /// The type of fields that hold an `element_type`.
    pub fn new(mutability: Mutability, element_type: StorageType) -> FieldType {
        FieldType { mutability, element: element_type }
    }

    /// Whether it can be set.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }

    /// What it holds.
    pub fn element_type(&self) -> &StorageType {
        &self.element
    }

    /// Whether a field of this type can stand where one of `other` is expected: mutable ones must hold the same.
    pub fn matches(&self, other: &FieldType) -> bool {
        self.mutability == other.mutability
            && match self.mutability {
                Mutability::Const => self.element.matches(&other.element),
                Mutability::Var => self.element == other.element,
            }
    }

    fn from_env(registry: &TypeRegistry, ty: env::FieldType) -> FieldType {
        let element = match ty.storage {
            env::StorageType::I8 => StorageType::I8,
            env::StorageType::I16 => StorageType::I16,
            env::StorageType::Val(ty) => StorageType::ValType(ValType::from_env(registry, ty)),
        };
        FieldType { mutability: if ty.mutable { Mutability::Var } else { Mutability::Const }, element }
    }

    pub(super) fn to_env(&self) -> env::FieldType {
        let storage = match &self.element {
            StorageType::I8 => env::StorageType::I8,
            StorageType::I16 => env::StorageType::I16,
            StorageType::ValType(ty) => env::StorageType::Val(ty.to_env()),
        };
        env::FieldType { storage, mutable: self.mutability == Mutability::Var }
    }

    fn is_of(&self, registry: &TypeRegistry) -> bool {
        self.element.as_val_type().is_none_or(|ty| ty.is_of(registry))
    }
}

/// Whether other types may be declared below a type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Finality {
    /// They may not.
    Final,
    /// They may.
    NonFinal,
}

/// Registers a type. Fails if it does not fit its supertype.
fn register(
    engine: &Engine,
    finality: Finality,
    supertype: Option<&RegisteredType>,
    composite: env::CompositeType,
) -> Result<RegisteredType> {
    if let Some(supertype) = supertype {
        ensure!(supertype.is_of(engine.types()), "the supertype belongs to another engine");
        ensure!(!supertype.sub_type().is_final, "the supertype is final");
    }
    let sub = env::SubType {
        is_final: finality == Finality::Final,
        supertype: supertype.map(|ty| ty.id().as_index()),
        composite,
    };
    Ok(engine.types().register(sub)?)
}

/// Type of a structure. It belongs to an engine; equal types of an engine are `==`, whichever module they come from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StructType {
    pub(super) ty: RegisteredType,
}

impl StructType {
    /// The final type of structures with these fields.
    ///
    /// # Errors
    /// A field's type belongs to another engine, or the engine has too many types.
    pub fn new(engine: &Engine, fields: impl IntoIterator<Item = FieldType>) -> Result<StructType> {
        StructType::with_finality_and_supertype(engine, Finality::Final, None, fields)
    }

    /// The type of structures with these fields, declared below `supertype`, with whose fields they begin.
    ///
    /// # Errors
    /// As [`StructType::new`], or it cannot be below the supertype.
    pub fn with_finality_and_supertype(
        engine: &Engine,
        finality: Finality,
        supertype: Option<&StructType>,
        fields: impl IntoIterator<Item = FieldType>,
    ) -> Result<StructType> {
        let fields: Vec<FieldType> = fields.into_iter().collect();
        let most = kiln_env::limits::MAX_STRUCT_FIELDS;
        ensure!(fields.len() <= most, "a structure has {} fields, and at most {most} are allowed", fields.len());
        ensure!(
            fields.iter().all(|field| field.is_of(engine.types())),
            "the type of a field belongs to another engine"
        );
        if let Some(supertype) = supertype {
            let mut inherited = supertype.fields();
            let fits =
                inherited.len() <= fields.len() && fields.iter().zip(&mut inherited).all(|(f, of)| f.matches(&of));
            ensure!(fits, "the fields do not begin with those of the supertype");
        }
        let composite =
            env::CompositeType::Struct(env::StructType { fields: fields.iter().map(FieldType::to_env).collect() });
        Ok(StructType { ty: register(engine, finality, supertype.map(|s| &s.ty), composite)? })
    }

    /// The types of the fields, those of the supertype first.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = FieldType> + '_ {
        // Without the registry no concrete type can be asked for: the engine is gone, and with it every use.
        let registry = self.ty.registry().unwrap_or_default();
        self.definition().fields.iter().map(move |field| FieldType::from_env(&registry, *field))
    }

    /// The type of field `i`, if there are so many.
    pub fn field(&self, i: usize) -> Option<FieldType> {
        self.fields().nth(i)
    }

    /// Whether other types may be declared below it.
    pub fn finality(&self) -> Finality {
        if self.ty.sub_type().is_final { Finality::Final } else { Finality::NonFinal }
    }

    /// Whether structures of this type can stand where `other` is expected: it is the same or declared below it.
    pub fn matches(&self, other: &StructType) -> bool {
        self.ty.is_subtype_of(&other.ty)
    }

    fn definition(&self) -> &env::StructType {
        match &self.ty.sub_type().composite {
            env::CompositeType::Struct(ty) => ty,
            other => unreachable!("a handle of structure types holds {other:?}"),
        }
    }
}

/// Type of an array. It belongs to an engine; equal types of an engine are `==`, whichever module they come from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArrayType {
    pub(super) ty: RegisteredType,
}

impl ArrayType {
    /// The final type of arrays of such elements.
    ///
    /// # Errors
    /// The elements' type belongs to another engine, or the engine has too many types.
    pub fn new(engine: &Engine, field_type: FieldType) -> Result<ArrayType> {
        ArrayType::with_finality_and_supertype(engine, Finality::Final, None, field_type)
    }

    /// The type of arrays of such elements, declared below `supertype`.
    ///
    /// # Errors
    /// As [`ArrayType::new`], or it cannot be below the supertype.
    pub fn with_finality_and_supertype(
        engine: &Engine,
        finality: Finality,
        supertype: Option<&ArrayType>,
        field_type: FieldType,
    ) -> Result<ArrayType> {
        ensure!(field_type.is_of(engine.types()), "the type of the elements belongs to another engine");
        if let Some(supertype) = supertype {
            ensure!(field_type.matches(&supertype.field_type()), "the elements do not fit those of the supertype");
        }
        let composite = env::CompositeType::Array(env::ArrayType { element: field_type.to_env() });
        Ok(ArrayType { ty: register(engine, finality, supertype.map(|s| &s.ty), composite)? })
    }

    /// The type of the elements.
    pub fn field_type(&self) -> FieldType {
        // Without the registry no concrete type can be asked for: the engine is gone, and with it every use.
        let registry = self.ty.registry().unwrap_or_default();
        match &self.ty.sub_type().composite {
            env::CompositeType::Array(ty) => FieldType::from_env(&registry, ty.element),
            other => unreachable!("a handle of array types holds {other:?}"),
        }
    }

    /// Whether elements can be set.
    pub fn mutability(&self) -> Mutability {
        self.field_type().mutability
    }

    /// What an element holds.
    pub fn element_type(&self) -> StorageType {
        self.field_type().element
    }

    /// Whether other types may be declared below it.
    pub fn finality(&self) -> Finality {
        if self.ty.sub_type().is_final { Finality::Final } else { Finality::NonFinal }
    }

    /// Whether arrays of this type can stand where `other` is expected: it is the same or declared below it.
    pub fn matches(&self, other: &ArrayType) -> bool {
        self.ty.is_subtype_of(&other.ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{HeapType, RefType};

    fn field(mutability: Mutability, ty: ValType) -> FieldType {
        FieldType::new(mutability, StorageType::ValType(ty))
    }

    #[test]
    fn equal_definitions_are_one_type_and_read_as_in_the_text_format() {
        let engine = Engine::default();
        let make = || {
            StructType::new(
                &engine,
                [FieldType::new(Mutability::Var, StorageType::I8), field(Mutability::Const, ValType::F64)],
            )
        };
        let (a, b) = (make().unwrap(), make().unwrap());
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "(struct (field (mut i8)) (field f64))");
        let of = ValType::Ref(RefType::new(false, HeapType::ConcreteStruct(a.clone())));
        let array = ArrayType::new(&engine, field(Mutability::Var, of.clone())).unwrap();
        assert_eq!(array.element_type(), StorageType::ValType(of.clone()));
        assert_eq!(array.to_string(), format!("(array (mut {of}))"));
        assert_eq!(a.field(0).unwrap().element_type().unpack(), ValType::I32);
        assert!(a.field(2).is_none());
    }

    #[test]
    fn subtypes_extend_what_is_not_final() {
        let engine = Engine::default();
        let base = [field(Mutability::Const, ValType::FUNCREF)];
        let open = StructType::with_finality_and_supertype(&engine, Finality::NonFinal, None, base.clone()).unwrap();
        let null = field(Mutability::Const, ValType::Ref(RefType::new(true, HeapType::NoFunc)));
        let more = [null, field(Mutability::Var, ValType::I64)];
        let sub = StructType::with_finality_and_supertype(&engine, Finality::Final, Some(&open), more.clone()).unwrap();
        assert!(sub.matches(&open) && !open.matches(&sub) && sub.finality() == Finality::Final);
        let heap = HeapType::ConcreteStruct(sub.clone());
        assert!(heap.matches(&HeapType::Struct) && heap.matches(&HeapType::Eq) && heap.matches(&HeapType::Any));
        assert!(!heap.matches(&HeapType::Array) && HeapType::None.matches(&heap) && !HeapType::NoFunc.matches(&heap));
        for (finality, supertype, fields) in
            [(Finality::Final, &sub, &more[..]), (Finality::Final, &open, &more[1..]), (Finality::NonFinal, &open, &[])]
        {
            let made = StructType::with_finality_and_supertype(&engine, finality, Some(supertype), fields.to_vec());
            assert!(made.is_err());
        }
        let other = Engine::default();
        assert!(StructType::with_finality_and_supertype(&other, Finality::Final, Some(&open), base).is_err());
        assert!(ArrayType::new(&other, field(Mutability::Const, ValType::Ref(RefType::new(true, heap)))).is_err());
    }
}
