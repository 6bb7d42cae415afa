//! Values and errors, in the least form that calls need.

pub(crate) mod trap {
    use kiln_env::TrapCode;

    /// A trap.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
    #[error("{0}")]
    pub struct Trap(TrapCode);

    impl Trap {
        pub(crate) fn code(&self) -> TrapCode {
            self.0
        }
    }

    impl From<TrapCode> for Trap {
        fn from(code: TrapCode) -> Trap {
            Trap(code)
        }
    }
}

pub(crate) mod values {
    use std::ptr::NonNull;

    use anyhow::{Result, ensure};
    use kiln_env::types as env;

    use crate::func::Func;
    use crate::types::ValType;
    use crate::vm::context::ValRaw;
    use crate::vm::store::StoreOpaque;

    /// A vector.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct V128(u128);

    impl V128 {
        /// Its bits.
        pub fn as_u128(self) -> u128 {
            self.0
        }
    }

    impl From<u128> for V128 {
        fn from(v: u128) -> V128 {
            V128(v)
        }
    }

    /// A value.
    #[derive(Clone, Debug)]
    #[allow(missing_docs)]
    pub enum Val {
        I32(i32),
        I64(i64),
        F32(u32),
        F64(u64),
        V128(V128),
        FuncRef(Option<Func>),
    }

    /// A reference.
    #[derive(Clone, Debug)]
    #[allow(missing_docs)]
    pub enum Ref {
        Func(Option<Func>),
    }

    impl From<Ref> for Val {
        fn from(r: Ref) -> Val {
            let Ref::Func(f) = r;
            Val::FuncRef(f)
        }
    }

    impl Val {
        /// As i32.
        pub fn i32(&self) -> Option<i32> {
            match self {
                Val::I32(v) => Some(*v),
                _ => None,
            }
        }

        /// As a reference.
        pub fn ref_(self) -> Option<Ref> {
            match self {
                Val::FuncRef(f) => Some(Ref::Func(f)),
                _ => None,
            }
        }

        pub(crate) fn from_raw(store: &mut StoreOpaque, raw: ValRaw, ty: &env::ValType) -> Val {
            match ty {
                env::ValType::I32 => Val::I32(raw.get_i32()),
                env::ValType::I64 => Val::I64(raw.get_i64()),
                env::ValType::F32 => Val::F32(raw.get_u32()),
                env::ValType::F64 => Val::F64(raw.get_u64()),
                env::ValType::V128 => Val::V128(raw.get_v128().into()),
                env::ValType::Ref(_) => {
                    let f = NonNull::new(std::ptr::with_exposed_provenance_mut(raw.get_u64() as usize));
                    Val::FuncRef(f.map(|f| Func::from_func_ref(store, f)))
                }
            }
        }

        pub(crate) fn to_raw(&self, store: &mut StoreOpaque) -> Result<ValRaw> {
            Ok(match self {
                Val::I32(v) => ValRaw::i32(*v),
                Val::I64(v) => ValRaw::i64(*v),
                Val::F32(v) => ValRaw::u32(*v),
                Val::F64(v) => ValRaw::u64(*v),
                Val::V128(v) => ValRaw::v128(v.0),
                Val::FuncRef(None) => ValRaw::ZERO,
                Val::FuncRef(Some(f)) => {
                    ensure!(f.comes_from(store), "wrong store");
                    ValRaw::u64(f.func_ref(store)?.as_ptr().expose_provenance() as u64)
                }
            })
        }

        pub(crate) fn check_type(&self, _: &StoreOpaque, ty: &env::ValType) -> Result<()> {
            let same = match (self, ty) {
                (Val::I32(_), env::ValType::I32) => true,
                (Val::I64(_), env::ValType::I64) => true,
                (Val::F32(_), env::ValType::F32) => true,
                (Val::F64(_), env::ValType::F64) => true,
                (Val::V128(_), env::ValType::V128) => true,
                (Val::FuncRef(_), env::ValType::Ref(_)) => true,
                _ => false,
            };
            ensure!(same, "type mismatch");
            Ok(())
        }

        pub(crate) fn default_for_ty(ty: &ValType) -> Option<Val> {
            Some(match ty {
                ValType::I32 => Val::I32(0),
                ValType::I64 => Val::I64(0),
                ValType::F32 => Val::F32(0),
                ValType::F64 => Val::F64(0),
                ValType::V128 => Val::V128(V128(0)),
                ValType::Ref(_) => Val::FuncRef(None),
            })
        }
    }
}

pub(crate) mod backtrace {
    use crate::code::frames::RawBacktrace;

    pub(crate) fn attach_raw(error: anyhow::Error, _: RawBacktrace) -> anyhow::Error {
        error
    }
}

pub(crate) mod symbols {
    use kiln_env::FuncKey;

    use crate::vm::module::ModuleInfo;

    #[derive(Default)]
    pub(crate) struct Symbols;

    pub(crate) fn code_name(_: &ModuleInfo, key: FuncKey) -> String {
        key.to_string()
    }
}

pub(crate) mod gc_rest {
    use std::ptr::NonNull;

    use crate::store::AsContext;
    use crate::types::TagType;
    use crate::types::registry::TypeId;
    use crate::vm::context::VmTag;
    use crate::vm::store::StoreOpaque;

    /// A tag.
    #[derive(Clone, Copy, Debug)]
    pub struct Tag(crate::vm::handle::Handle<VmTag>);

    impl Tag {
        /// Its type.
        pub fn ty(&self, _: impl AsContext) -> TagType {
            unimplemented!()
        }

        pub(crate) fn from_vm(_: &mut StoreOpaque, _: NonNull<VmTag>) -> Tag {
            unimplemented!()
        }

        pub(crate) fn vm(&self, store: &StoreOpaque) -> NonNull<VmTag> {
            self.0.ptr(store)
        }

        pub(crate) fn type_id(&self, store: &StoreOpaque) -> TypeId {
            TypeId::from_u32(self.0.get(store).type_id as u32)
        }

        pub(crate) fn comes_from(&self, store: &StoreOpaque) -> bool {
            self.0.comes_from(store)
        }
    }

    pub(crate) fn thrown_error(_: &mut StoreOpaque, _: u32, _: *const VmTag) -> anyhow::Error {
        anyhow::anyhow!("uncaught exception")
    }

    pub(crate) fn take_thrown(_: &mut StoreOpaque, _: &anyhow::Error) -> Option<(u32, *const VmTag)> {
        None
    }

    pub(crate) fn collect(_: &mut StoreOpaque) {}

    pub(crate) mod builtins {
        use anyhow::{Result, bail};

        use crate::vm::store::StoreOpaque;

        pub(crate) fn new_exception(_: &mut StoreOpaque, _: *mut u8, _: *mut u8, _: u32) -> Result<u64> {
            bail!("exceptions")
        }
        pub(crate) fn exception_payload(_: &mut StoreOpaque, _: u32) -> Result<u64> {
            bail!("exceptions")
        }
        pub(crate) fn exception_tag(_: &mut StoreOpaque, _: u32) -> Result<u64> {
            bail!("exceptions")
        }
        pub(crate) fn throw_ref(_: &mut StoreOpaque, _: u32) -> Result<u64> {
            bail!("exceptions")
        }
    }
}
