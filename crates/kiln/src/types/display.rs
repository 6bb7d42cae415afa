//! Types as in the text format. Function types inside other types are named by number, since types can be recursive.

use std::fmt;

use kiln_env::types as env;

use super::registry::{TypeId, TypeRegistry};
use super::*;

/// Shows a type number or an engine-numbered type.
pub(crate) struct EnvDisplay<'a, T>(pub(crate) &'a TypeRegistry, pub(crate) T);

impl fmt::Display for EnvDisplay<'_, TypeId> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(self.1) {
            Some(ty) => sub_type(f, ty.sub_type()),
            None => write!(f, "(type {})", self.1.as_u32()),
        }
    }
}

impl fmt::Display for EnvDisplay<'_, env::TableType> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TableType::from_env(self.0, self.1).fmt(f)
    }
}

impl fmt::Display for EnvDisplay<'_, env::GlobalType> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        GlobalType::from_env(self.0, self.1).fmt(f)
    }
}

fn sub_type(f: &mut fmt::Formatter<'_>, ty: &env::SubType) -> fmt::Result {
    if ty.is_final && ty.supertype.is_none() {
        return composite(f, &ty.composite);
    }
    f.write_str(if ty.is_final { "(sub final " } else { "(sub " })?;
    if let Some(supertype) = ty.supertype {
        write!(f, "(type {}) ", supertype.0)?;
    }
    composite(f, &ty.composite)?;
    f.write_str(")")
}

fn composite(f: &mut fmt::Formatter<'_>, ty: &env::CompositeType) -> fmt::Result {
    match ty {
        env::CompositeType::Func(signature) => signature_text(f, "func", signature),
        env::CompositeType::Struct(ty) => {
            f.write_str("(struct")?;
            for field in &ty.fields {
                f.write_str(" (field ")?;
                field_text(f, *field)?;
                f.write_str(")")?;
            }
            f.write_str(")")
        }
        env::CompositeType::Array(ty) => {
            f.write_str("(array ")?;
            field_text(f, ty.element)?;
            f.write_str(")")
        }
    }
}

/// A field without the word itself: `(mut i8)`.
pub(super) fn field_text(f: &mut fmt::Formatter<'_>, ty: env::FieldType) -> fmt::Result {
    if ty.mutable {
        f.write_str("(mut ")?;
    }
    match ty.storage {
        env::StorageType::I8 => f.write_str("i8")?,
        env::StorageType::I16 => f.write_str("i16")?,
        env::StorageType::Val(ty) => val_text(f, ty)?,
    }
    if ty.mutable { f.write_str(")") } else { Ok(()) }
}

fn signature_text(f: &mut fmt::Formatter<'_>, kind: &str, signature: &env::FuncType) -> fmt::Result {
    write!(f, "({kind}")?;
    for (name, types) in [("param", &signature.params), ("result", &signature.results)] {
        if !types.is_empty() {
            write!(f, " ({name}")?;
            for ty in types {
                f.write_str(" ")?;
                val_text(f, *ty)?;
            }
            f.write_str(")")?;
        }
    }
    f.write_str(")")
}

fn val_text(f: &mut fmt::Formatter<'_>, ty: env::ValType) -> fmt::Result {
    match ty {
        env::ValType::Ref(env::RefType { nullable, heap: env::HeapType::Concrete(_, t) }) => {
            write!(f, "(ref {}(type {}))", if nullable { "null " } else { "" }, t.0)
        }
        env::ValType::Ref(env::RefType { nullable: true, heap }) => f.write_str(match heap {
            env::HeapType::NoFunc => "nullfuncref",
            env::HeapType::NoExtern => "nullexternref",
            env::HeapType::NoExn => "nullexnref",
            env::HeapType::None => "nullref",
            env::HeapType::Func | env::HeapType::Concrete(..) => "funcref",
            env::HeapType::Extern => "externref",
            env::HeapType::Exn => "exnref",
            env::HeapType::Any => "anyref",
            env::HeapType::Eq => "eqref",
            env::HeapType::I31 => "i31ref",
            env::HeapType::Struct => "structref",
            env::HeapType::Array => "arrayref",
        }),
        other => write!(f, "{other}"),
    }
}

fn limits(f: &mut fmt::Formatter<'_>, limits: &env::Limits) -> fmt::Result {
    if limits.is_64 {
        f.write_str(" i64")?;
    }
    write!(f, " {}", limits.min)?;
    limits.max.map_or(Ok(()), |max| write!(f, " {max}"))
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        val_text(f, self.to_env())
    }
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        val_text(f, env::ValType::Ref(self.to_env()))
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeapType::ConcreteFunc(_) | HeapType::ConcreteStruct(_) | HeapType::ConcreteArray(_) => {
                let env::HeapType::Concrete(_, index) = self.to_env() else { return Err(fmt::Error) };
                write!(f, "(type {})", index.0)
            }
            other => write!(f, "{}", other.to_env()),
        }
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sub_type(f, self.ty.sub_type())
    }
}

impl fmt::Display for StructType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sub_type(f, self.ty.sub_type())
    }
}

impl fmt::Display for ArrayType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sub_type(f, self.ty.sub_type())
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        field_text(f, self.to_env())
    }
}

impl fmt::Display for GlobalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mutability {
            Mutability::Const => write!(f, "(global {})", self.content),
            Mutability::Var => write!(f, "(global (mut {}))", self.content),
        }
    }
}

impl fmt::Display for TableType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(table")?;
        limits(f, &self.limits)?;
        write!(f, " {})", self.element)
    }
}

impl fmt::Display for MemoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(memory")?;
        limits(f, &self.ty.limits)?;
        if self.ty.shared {
            f.write_str(" shared")?;
        }
        if self.ty.page_size_log2 != 16 {
            write!(f, " (pagesize {})", self.page_size())?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for TagType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        signature_text(f, "tag", self.ty.signature())
    }
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExternType::Func(ty) => ty.fmt(f),
            ExternType::Global(ty) => ty.fmt(f),
            ExternType::Table(ty) => ty.fmt(f),
            ExternType::Memory(ty) => ty.fmt(f),
            ExternType::Tag(ty) => ty.fmt(f),
        }
    }
}

macro_rules! debug_as_display {
    ($($ty:ident)*) => {$(
        impl fmt::Debug for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

debug_as_display!(ValType RefType HeapType FuncType StructType ArrayType FieldType);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_as_in_the_text_format() {
        let registry = TypeRegistry::default();
        let inner = FuncType::new_in(&registry, [], []);
        let concrete = RefType::new(false, HeapType::ConcreteFunc(inner.clone()));
        let id = inner.id().as_u32();
        let ty = FuncType::new_in(
            &registry,
            [ValType::I32, ValType::Ref(concrete.clone())],
            [ValType::V128, ValType::EXTERNREF],
        );
        let nothing = RefType::new(true, HeapType::NoExtern);
        let cases: [(&dyn fmt::Display, String); 12] = [
            (&inner, "(func)".into()),
            (&ty, format!("(func (param i32 (ref (type {id}))) (result v128 externref))")),
            (&concrete, format!("(ref (type {id}))")),
            (&nothing, "nullexternref".into()),
            (&RefType::new(false, HeapType::Exn), "(ref exn)".into()),
            (&GlobalType::new(ValType::F64, Mutability::Var), "(global (mut f64))".into()),
            (&GlobalType::new(ValType::EXNREF, Mutability::Const), "(global exnref)".into()),
            (&TableType::new(RefType::FUNCREF, 1, Some(2)), "(table 1 2 funcref)".into()),
            (&TableType::new64(RefType::EXTERNREF, 1, None), "(table i64 1 externref)".into()),
            (&MemoryType::shared(1, 2), "(memory 1 2 shared)".into()),
            (
                &MemoryType::builder().memory64(true).page_size_log2(0).build().unwrap(),
                "(memory i64 0 (pagesize 1))".into(),
            ),
            (&TagType::new(FuncType::new_in(&registry, [ValType::I64], [])), "(tag (param i64))".into()),
        ];
        for (ty, text) in cases {
            assert_eq!(ty.to_string(), text);
        }
    }

    #[test]
    fn memory_types_are_checked() {
        let builder = |f: &dyn Fn(&mut MemoryTypeBuilder)| {
            let mut b = MemoryType::builder();
            f(&mut b);
            b.build().map_err(|e| e.to_string())
        };
        assert!(builder(&|b| _ = b.min(65536)).is_ok());
        assert_eq!(builder(&|b| _ = b.min(65537)).unwrap_err(), "a memory of this kind has at most 65536 pages");
        assert!(builder(&|b| _ = b.min(2).max(Some(1))).is_err());
        assert!(builder(&|b| _ = b.shared(true)).is_err());
        assert!(builder(&|b| _ = b.page_size_log2(12)).is_err());
        assert!(builder(&|b| _ = b.memory64(true).max(Some(1 << 48))).is_ok());
    }

    #[test]
    fn parts_of_types_come_back() {
        let registry = TypeRegistry::default();
        let inner = FuncType::new_in(&registry, [ValType::I32], []);
        let param = ValType::Ref(RefType::new(true, HeapType::ConcreteFunc(inner.clone())));
        let ty = FuncType::new_in(&registry, [param.clone(), ValType::F32], [ValType::FUNCREF]);
        drop(inner);
        assert_eq!(ty.param(0), Some(param.clone()));
        assert_eq!((ty.param(1), ty.param(2)), (Some(ValType::F32), None));
        assert_eq!(ty.results().collect::<Vec<_>>(), [ValType::FUNCREF]);
        assert!(param.matches(&ValType::FUNCREF) && !ValType::FUNCREF.matches(&param));
        assert_eq!(ty, FuncType::new_in(&registry, [param, ValType::F32], [ValType::FUNCREF]));
    }
}
