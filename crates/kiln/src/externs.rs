//! Things that can be imported and exported.

use anyhow::{Context, Result, bail};

use crate::func::Func;
use crate::gc::Tag;
use crate::global::Global;
use crate::memory::{Memory, SharedMemory};
use crate::store::{AsContext, AsContextMut};
use crate::table::Table;
use crate::types::{ExternKind, ExternType, ValType};
use crate::values::Val;
use crate::vm::instance::Entity;
use crate::vm::store::StoreOpaque;

/// Something that can be imported and exported.
#[derive(Clone, Debug)]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A global.
    Global(Global),
    /// A table.
    Table(Table),
    /// A linear memory.
    Memory(Memory),
    /// A linear memory that other stores may use too.
    SharedMemory(SharedMemory),
    /// An exception tag.
    Tag(Tag),
}

macro_rules! accessors {
    ($($name:ident $ty:ident $what:literal;)*) => {
        impl Extern {$(
            #[doc = concat!("The ", $what, ", if it is one.")]
            pub fn $name(self) -> Option<$ty> {
                match self {
                    Extern::$ty(x) => Some(x),
                    _ => None,
                }
            }
        )*}

        $(
            impl From<$ty> for Extern {
                fn from(x: $ty) -> Extern {
                    Extern::$ty(x)
                }
            }
        )*
    };
}

accessors! {
    into_func Func "function";
    into_global Global "global";
    into_table Table "table";
    into_memory Memory "memory";
    into_shared_memory SharedMemory "shared memory";
    into_tag Tag "tag";
}

impl Extern {
    /// Its type. Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        let store = store.as_context();
        match self {
            Extern::Func(x) => ExternType::Func(x.ty(store)),
            Extern::Global(x) => ExternType::Global(x.ty(store)),
            Extern::Table(x) => ExternType::Table(x.ty(store)),
            Extern::Memory(x) => ExternType::Memory(x.ty(store)),
            Extern::SharedMemory(x) => ExternType::Memory(x.ty()),
            Extern::Tag(x) => ExternType::Tag(x.ty(store)),
        }
    }

    /// Something empty of this type: a memory or table of its least size, a global with a zero or null, a new tag.
    pub(crate) fn default_of<T: 'static>(store: impl AsContextMut<Data = T>, ty: &ExternType) -> Result<Extern> {
        Ok(match ty {
            ExternType::Global(ty) => {
                let value = Val::default_for_ty(ty.content()).context("the type has no default value")?;
                Global::new(store, ty.clone(), value)?.into()
            }
            ExternType::Table(ty) => {
                let value = Val::default_for_ty(&ValType::Ref(ty.element().clone()));
                let value = value.and_then(|v| v.ref_()).context("the element type has no default value")?;
                Table::new(store, ty.clone(), value)?.into()
            }
            ExternType::Memory(ty) if ty.is_shared() => SharedMemory::new(store.as_context().engine(), *ty)?.into(),
            ExternType::Memory(ty) => Memory::new(store, *ty)?.into(),
            ExternType::Tag(ty) => Tag::new(store, ty)?.into(),
            ExternType::Func(_) => bail!("there is no default for functions"),
        })
    }

    pub(crate) fn from_entity(store: &mut StoreOpaque, entity: Entity) -> Extern {
        match entity {
            Entity::Func(f) => Extern::Func(Func(f)),
            Entity::Table(t) => Extern::Table(Table(t)),
            Entity::Global(g) => Extern::Global(Global(g)),
            Entity::Tag(t) => Extern::Tag(Tag::from_vm(store, t)),
            Entity::Memory(m) => match m.get(store).shared() {
                Some(shared) => Extern::SharedMemory(SharedMemory::from_inner(store.engine(), shared.clone())),
                None => Extern::Memory(Memory(m)),
            },
        }
    }

    /// Whether it may be used with this store.
    pub(crate) fn comes_from(&self, store: &StoreOpaque) -> bool {
        match self {
            Extern::Func(x) => x.0.comes_from(store),
            Extern::Global(x) => x.0.storage.comes_from(store),
            Extern::Table(x) => x.0.comes_from(store),
            Extern::Memory(x) => x.0.comes_from(store),
            Extern::SharedMemory(x) => x.engine().same(store.engine()),
            Extern::Tag(x) => x.comes_from(store),
        }
    }

    pub(crate) fn kind(&self) -> ExternKind {
        match self {
            Extern::Func(_) => ExternKind::Func,
            Extern::Global(_) => ExternKind::Global,
            Extern::Table(_) => ExternKind::Table,
            Extern::Memory(_) | Extern::SharedMemory(_) => ExternKind::Memory,
            Extern::Tag(_) => ExternKind::Tag,
        }
    }
}

/// An export of an instance.
#[derive(Clone, Debug)]
pub struct Export<'instance> {
    name: &'instance str,
    definition: Extern,
}

impl<'instance> Export<'instance> {
    pub(crate) fn new(name: &'instance str, definition: Extern) -> Export<'instance> {
        Export { name, definition }
    }

    /// Its name.
    pub fn name(&self) -> &'instance str {
        self.name
    }

    /// What is exported.
    pub fn into_extern(self) -> Extern {
        self.definition
    }

    /// Its type. Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        self.definition.ty(store)
    }

    /// The function, if it is one.
    pub fn into_func(self) -> Option<Func> {
        self.definition.into_func()
    }

    /// The memory, if it is one.
    pub fn into_memory(self) -> Option<Memory> {
        self.definition.into_memory()
    }

    /// The table, if it is one.
    pub fn into_table(self) -> Option<Table> {
        self.definition.into_table()
    }

    /// The global, if it is one.
    pub fn into_global(self) -> Option<Global> {
        self.definition.into_global()
    }
}
