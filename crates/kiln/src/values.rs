//! WebAssembly values as a host sees them.

use std::fmt;
use std::ptr::{self, NonNull};

use anyhow::{Result, bail, ensure};
use kiln_env::types::{self as env, CompositeKind, HeapType};

use crate::func::Func;
use crate::gc::{AnyRef, ExnRef, ExternRef, GcRef, Rooted};
use crate::store::AsContext;
use crate::types::{RefType, ValType, matching};
use crate::vm::context::{ValRaw, VmFuncRef};
use crate::vm::store::StoreOpaque;

/// A 128-bit vector. Lane 0 is in the lowest bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct V128(u128);

impl V128 {
    /// The bits.
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

impl From<u128> for V128 {
    fn from(bits: u128) -> V128 {
        V128(bits)
    }
}

impl From<V128> for u128 {
    fn from(v: V128) -> u128 {
        v.0
    }
}

impl fmt::Debug for V128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V128({:#034x})", self.0)
    }
}

/// A value.
///
/// Floats are held by their bits, so that no NaN changes on its way. References belong to a store, and those to objects
/// of its heap are valid in the [scope](crate::RootScope) that they were got in.
#[derive(Clone, Copy, Debug)]
pub enum Val {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A 32-bit float, by its bits.
    F32(u32),
    /// A 64-bit float, by its bits.
    F64(u64),
    /// A 128-bit vector.
    V128(V128),
    /// A function or null.
    FuncRef(Option<Func>),
    /// A value of the host or null.
    ExternRef(Option<Rooted<ExternRef>>),
    /// An exception or null.
    ExnRef(Option<Rooted<ExnRef>>),
    /// An object of the guest, a number of 31 bits, or null.
    AnyRef(Option<Rooted<AnyRef>>),
}

/// A reference.
#[derive(Clone, Copy, Debug)]
pub enum Ref {
    /// A function or null.
    Func(Option<Func>),
    /// A value of the host or null.
    Extern(Option<Rooted<ExternRef>>),
    /// An exception or null.
    Exn(Option<Rooted<ExnRef>>),
    /// An object of the guest, a number of 31 bits, or null.
    Any(Option<Rooted<AnyRef>>),
}

macro_rules! val_accessors {
    ($($get:ident $unwrap:ident $what:literal $ty:ty: $pattern:pat => $value:expr;)*) => {$(
        #[doc = concat!("The ", $what, ", if it is one.")]
        pub fn $get(&self) -> Option<$ty> {
            match *self {
                $pattern => Some($value),
                _ => None,
            }
        }

        #[doc = concat!("The ", $what, ".\n\n# Panics\nIf it is of another type.")]
        pub fn $unwrap(&self) -> $ty {
            self.$get().unwrap_or_else(|| panic!(concat!("expected ", $what, ", found {:?}"), self))
        }
    )*};
}

impl Val {
    val_accessors! {
        i32 unwrap_i32 "`i32`" i32: Val::I32(v) => v;
        i64 unwrap_i64 "`i64`" i64: Val::I64(v) => v;
        f32 unwrap_f32 "`f32`" f32: Val::F32(bits) => f32::from_bits(bits);
        f64 unwrap_f64 "`f64`" f64: Val::F64(bits) => f64::from_bits(bits);
        v128 unwrap_v128 "`v128`" V128: Val::V128(v) => v;
        funcref unwrap_funcref "function reference" Option<Func>: Val::FuncRef(r) => r;
        externref unwrap_externref "`externref`" Option<Rooted<ExternRef>>: Val::ExternRef(r) => r;
        exnref unwrap_exnref "`exnref`" Option<Rooted<ExnRef>>: Val::ExnRef(r) => r;
        anyref unwrap_anyref "`anyref`" Option<Rooted<AnyRef>>: Val::AnyRef(r) => r;
    }

    /// The reference, if it is one.
    pub fn ref_(&self) -> Option<Ref> {
        match *self {
            Val::FuncRef(r) => Some(Ref::Func(r)),
            Val::ExternRef(r) => Some(Ref::Extern(r)),
            Val::ExnRef(r) => Some(Ref::Exn(r)),
            Val::AnyRef(r) => Some(Ref::Any(r)),
            _ => None,
        }
    }

    /// The null function reference.
    pub const fn null_func_ref() -> Val {
        Val::FuncRef(None)
    }

    /// The null reference to a host value.
    pub const fn null_extern_ref() -> Val {
        Val::ExternRef(None)
    }

    /// The null reference to an exception.
    pub const fn null_exn_ref() -> Val {
        Val::ExnRef(None)
    }

    /// The null reference to an object of the guest.
    pub const fn null_any_ref() -> Val {
        Val::AnyRef(None)
    }

    /// The value that variables of the type begin with: zero or null. `None` for references that cannot be null.
    pub fn default_for_ty(ty: &ValType) -> Option<Val> {
        match ty.as_ref() {
            Some(r) if !r.is_nullable() => None,
            _ => Some(Val::placeholder(&ty.to_env())),
        }
    }

    /// The most specific type of the value.
    ///
    /// # Errors
    /// It belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> Result<ValType> {
        let store: &StoreOpaque = store.as_context().0;
        Ok(ValType::from_env(store.engine().types(), self.env_type(store)?))
    }

    /// Whether it is a value of type `ty`.
    ///
    /// # Errors
    /// It belongs to another store.
    pub fn matches_ty(&self, store: impl AsContext, ty: &ValType) -> Result<bool> {
        let store: &StoreOpaque = store.as_context().0;
        Ok(matching::val_matches(store.engine().types(), self.env_type(store)?, ty.to_env()))
    }

    /// Zero or null of the kind of an engine-numbered type: not a value of it if it is a non-null reference type.
    pub(crate) fn placeholder(ty: &env::ValType) -> Val {
        match ty {
            env::ValType::I32 => Val::I32(0),
            env::ValType::I64 => Val::I64(0),
            env::ValType::F32 => Val::F32(0),
            env::ValType::F64 => Val::F64(0),
            env::ValType::V128 => Val::V128(V128(0)),
            env::ValType::Ref(r) => match r.heap.top() {
                HeapType::Extern => Val::ExternRef(None),
                HeapType::Exn => Val::ExnRef(None),
                HeapType::Any => Val::AnyRef(None),
                _ => Val::FuncRef(None),
            },
        }
    }

    /// Its most specific type, engine-numbered. Fails for a value of another store.
    fn env_type(&self, store: &StoreOpaque) -> Result<env::ValType> {
        let reference = |nullable: bool, heap| env::ValType::Ref(env::RefType { nullable, heap });
        Ok(match self {
            Val::I32(_) => env::ValType::I32,
            Val::I64(_) => env::ValType::I64,
            Val::F32(_) => env::ValType::F32,
            Val::F64(_) => env::ValType::F64,
            Val::V128(_) => env::ValType::V128,
            Val::FuncRef(None) => reference(true, HeapType::NoFunc),
            Val::ExternRef(None) => reference(true, HeapType::NoExtern),
            Val::ExnRef(None) => reference(true, HeapType::NoExn),
            Val::AnyRef(None) => reference(true, HeapType::None),
            Val::FuncRef(Some(f)) => {
                ensure!(f.comes_from(store), "a function belongs to another store");
                reference(false, HeapType::Concrete(CompositeKind::Func, f.type_id(store).as_index()))
            }
            Val::ExternRef(Some(r)) => {
                r.object(store)?;
                reference(false, HeapType::Extern)
            }
            Val::ExnRef(Some(r)) => {
                r.object(store)?;
                reference(false, HeapType::Exn)
            }
            Val::AnyRef(Some(r)) => {
                r.object(store)?;
                reference(false, HeapType::Any)
            }
        })
    }

    /// Fails with both types named if it is no value of an engine-numbered type, or belongs to another store.
    pub(crate) fn check_type(&self, store: &StoreOpaque, ty: &env::ValType) -> Result<()> {
        let registry = store.engine().types();
        let found = self.env_type(store)?;
        if !matching::val_matches(registry, found, *ty) {
            let show = |ty| ValType::from_env(registry, ty);
            bail!("type mismatch: expected {}, found {}", show(*ty), show(found));
        }
        Ok(())
    }

    /// The value in a slot. Collected references get a root in the innermost scope.
    pub(crate) fn from_raw(store: &mut StoreOpaque, raw: ValRaw, ty: &env::ValType) -> Val {
        match ty {
            env::ValType::I32 => Val::I32(raw.get_i32()),
            env::ValType::I64 => Val::I64(raw.get_i64()),
            env::ValType::F32 => Val::F32(raw.get_u32()),
            env::ValType::F64 => Val::F64(raw.get_u64()),
            env::ValType::V128 => Val::V128(V128(raw.get_v128())),
            env::ValType::Ref(r) => match r.heap.top() {
                HeapType::Extern => Val::ExternRef(GcRef::from_u32(raw.get_u32()).map(|o| Rooted::new(store, o))),
                HeapType::Exn => Val::ExnRef(GcRef::from_u32(raw.get_u32()).map(|o| Rooted::new(store, o))),
                HeapType::Any => Val::AnyRef(GcRef::from_u32(raw.get_u32()).map(|o| Rooted::new(store, o))),
                _ => {
                    let address = ptr::with_exposed_provenance_mut::<VmFuncRef>(raw.get_u64() as usize);
                    Val::FuncRef(NonNull::new(address).map(|f| Func::from_func_ref(store, f)))
                }
            },
        }
    }

    /// The value for a slot. Nothing keeps a collected reference in it alive: it has to reach compiled code before the
    /// next allocation.
    ///
    /// Fails if it belongs to another store or its scope has ended.
    pub(crate) fn to_raw(self, store: &mut StoreOpaque) -> Result<ValRaw> {
        Ok(match self {
            Val::I32(v) => ValRaw::i32(v),
            Val::I64(v) => ValRaw::i64(v),
            Val::F32(bits) => ValRaw::f32(bits),
            Val::F64(bits) => ValRaw::f64(bits),
            Val::V128(v) => ValRaw::v128(v.0),
            Val::FuncRef(None) | Val::ExternRef(None) | Val::ExnRef(None) | Val::AnyRef(None) => ValRaw::ZERO,
            Val::FuncRef(Some(f)) => {
                ensure!(f.comes_from(store), "a function belongs to another store");
                ValRaw::u64(f.func_ref(store)?.as_ptr().expose_provenance() as u64)
            }
            Val::ExternRef(Some(r)) => ValRaw::u32(r.object(store)?.as_u32()),
            Val::ExnRef(Some(r)) => ValRaw::u32(r.object(store)?.as_u32()),
            Val::AnyRef(Some(r)) => ValRaw::u32(r.object(store)?.as_u32()),
        })
    }
}

impl Ref {
    /// The null reference of a heap type's hierarchy.
    pub fn null(ty: &crate::types::HeapType) -> Ref {
        use crate::types::HeapType;
        match ty.top() {
            HeapType::Extern => Ref::Extern(None),
            HeapType::Exn => Ref::Exn(None),
            HeapType::Any => Ref::Any(None),
            _ => Ref::Func(None),
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Ref::Func(None) | Ref::Extern(None) | Ref::Exn(None) | Ref::Any(None))
    }

    /// The function, if it is one; `Some(None)` for a null function reference.
    pub fn as_func(&self) -> Option<Option<&Func>> {
        match self {
            Ref::Func(r) => Some(r.as_ref()),
            _ => None,
        }
    }

    /// The host value, if it is one; `Some(None)` for null.
    pub fn as_extern(&self) -> Option<Option<&Rooted<ExternRef>>> {
        match self {
            Ref::Extern(r) => Some(r.as_ref()),
            _ => None,
        }
    }

    /// The exception, if it is one; `Some(None)` for null.
    pub fn as_exn(&self) -> Option<Option<&Rooted<ExnRef>>> {
        match self {
            Ref::Exn(r) => Some(r.as_ref()),
            _ => None,
        }
    }

    /// The most specific type of the reference.
    ///
    /// # Errors
    /// It belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> Result<RefType> {
        match Val::from(*self).ty(store)? {
            ValType::Ref(ty) => Ok(ty),
            other => unreachable!("a reference is not of type {other}"),
        }
    }
}

impl From<Ref> for Val {
    fn from(r: Ref) -> Val {
        match r {
            Ref::Func(r) => Val::FuncRef(r),
            Ref::Extern(r) => Val::ExternRef(r),
            Ref::Exn(r) => Val::ExnRef(r),
            Ref::Any(r) => Val::AnyRef(r),
        }
    }
}

macro_rules! conversions {
    ($($ty:ty => |$v:ident| $value:expr;)*) => {$(
        impl From<$ty> for Val {
            fn from($v: $ty) -> Val {
                $value
            }
        }
    )*};
}

conversions! {
    i32 => |v| Val::I32(v);
    i64 => |v| Val::I64(v);
    f32 => |v| Val::F32(v.to_bits());
    f64 => |v| Val::F64(v.to_bits());
    u128 => |v| Val::V128(V128(v));
    V128 => |v| Val::V128(v);
    Func => |v| Val::FuncRef(Some(v));
    Option<Func> => |v| Val::FuncRef(v);
    Rooted<ExternRef> => |v| Val::ExternRef(Some(v));
    Option<Rooted<ExternRef>> => |v| Val::ExternRef(v);
    Rooted<ExnRef> => |v| Val::ExnRef(Some(v));
    Option<Rooted<ExnRef>> => |v| Val::ExnRef(v);
}

macro_rules! ref_conversions {
    ($($ty:ty, $variant:ident;)*) => {$(
        impl From<$ty> for Ref {
            fn from(v: $ty) -> Ref {
                Ref::$variant(Some(v))
            }
        }

        impl From<Option<$ty>> for Ref {
            fn from(v: Option<$ty>) -> Ref {
                Ref::$variant(v)
            }
        }
    )*};
}

ref_conversions! {
    Func, Func;
    Rooted<ExternRef>, Extern;
    Rooted<ExnRef>, Exn;
}
