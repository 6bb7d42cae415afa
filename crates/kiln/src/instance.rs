//! Instances.

use std::ptr::NonNull;

use anyhow::{Context, Result, bail, ensure};
use kiln_env::EntityIndex;
use kiln_env::text::printable;

use crate::externs::{Export, Extern};
use crate::func::Func;
use crate::gc::Tag;
use crate::global::Global;
use crate::linker::ImportError;
use crate::memory::{Memory, SharedMemory};
use crate::module::Module;
use crate::store::{AsContext, AsContextMut, StoreContextMut};
use crate::table::Table;
use crate::typed::{TypedFunc, WasmParams, WasmResults};
use crate::types::matching;
use crate::vm::handle::Handle;
use crate::vm::instance::{Imports, InstanceData};
use crate::vm::store::StoreOpaque;

/// An instance of a module in a store.
///
/// ```
/// use kiln::*;
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"
///     (module
///         (import "host" "double" (func $double (param i32) (result i32)))
///         (func (export "run") (result i32) (call $double (i32.const 21))))
/// "#)?;
/// let mut store = Store::new(&engine, ());
/// let double = Func::wrap(&mut store, |n: i32| 2 * n);
/// let instance = Instance::new(&mut store, &module, &[double.into()])?;
/// let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
/// assert_eq!(run.call(&mut store, ())?, 42);
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Instance(pub(crate) Handle<InstanceData>);

impl Instance {
    /// Instantiates a module with `imports` in the order in which it declares them, and runs its start function. A
    /// [`Linker`](crate::Linker) finds imports by name.
    ///
    /// # Errors
    /// The number of imports is wrong, one has the wrong type or belongs to another store; a limit of the store; a trap
    /// while segments are copied or in the start function. What was written to imported memories and tables before a
    /// trap stays written.
    pub fn new(mut store: impl AsContextMut, module: &Module, imports: &[Extern]) -> Result<Instance> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let expected = module.data().env.imports.len();
        ensure!(imports.len() == expected, "expected {expected} imports, got {}", imports.len());
        let mut list = Imports::default();
        for (i, import) in imports.iter().enumerate() {
            add_import(store, module, &mut list, i, import)?;
        }
        instantiate(store, module, list)
    }

    /// The module.
    pub fn module(&self, store: impl AsContext) -> Module {
        Module::from_data(self.0.get(store.as_context().0).module().clone())
    }

    /// An export by name. Panics if the instance belongs to another store, as all methods do.
    pub fn get_export(&self, mut store: impl AsContextMut, name: &str) -> Option<Extern> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let index = self.0.get(store).module().export(name)?;
        Some(self.extern_at(store, index))
    }

    /// What is at an index of the instance's index spaces.
    pub(crate) fn extern_at(&self, store: &mut StoreOpaque, index: EntityIndex) -> Extern {
        let entity = store.entity(self.0, index);
        Extern::from_entity(store, entity)
    }

    /// All exports, in the order of the module.
    pub fn exports<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> impl ExactSizeIterator<Item = Export<'a>> {
        let store: &'a mut StoreOpaque = store.into().0;
        let indices: Vec<_> = self.0.get(store).module().env.exports.iter().map(|e| e.index).collect();
        let externs: Vec<_> = indices.into_iter().map(|index| self.extern_at(store, index)).collect();
        let names: &'a [kiln_env::module::Export] = &self.0.get(store).module().env.exports;
        names.iter().zip(externs).map(|(e, definition)| Export::new(&e.name, definition))
    }

    /// An exported function.
    pub fn get_func(&self, store: impl AsContextMut, name: &str) -> Option<Func> {
        self.get_export(store, name)?.into_func()
    }

    /// An exported function with its types known to Rust.
    ///
    /// # Errors
    /// There is no such function, or its type is another.
    pub fn get_typed_func<P: WasmParams, R: WasmResults>(
        &self,
        mut store: impl AsContextMut,
        name: &str,
    ) -> Result<TypedFunc<P, R>> {
        let Some(export) = self.get_export(&mut store, name) else {
            bail!("failed to find function export `{}`", printable(name));
        };
        let func = export.into_func().with_context(|| format!("export `{}` is not a function", printable(name)))?;
        func.typed(&store).with_context(|| format!("failed to convert function `{}` to given type", printable(name)))
    }

    /// An exported table.
    pub fn get_table(&self, store: impl AsContextMut, name: &str) -> Option<Table> {
        self.get_export(store, name)?.into_table()
    }

    /// An exported memory that is not shared.
    pub fn get_memory(&self, store: impl AsContextMut, name: &str) -> Option<Memory> {
        self.get_export(store, name)?.into_memory()
    }

    /// An exported shared memory.
    pub fn get_shared_memory(&self, store: impl AsContextMut, name: &str) -> Option<SharedMemory> {
        self.get_export(store, name)?.into_shared_memory()
    }

    /// An exported global.
    pub fn get_global(&self, store: impl AsContextMut, name: &str) -> Option<Global> {
        self.get_export(store, name)?.into_global()
    }

    /// An exported tag.
    pub fn get_tag(&self, store: impl AsContextMut, name: &str) -> Option<Tag> {
        self.get_export(store, name)?.into_tag()
    }
}

/// An export of the instance that called a host function.
pub(crate) fn export_of_caller(store: &mut StoreOpaque, instance: NonNull<InstanceData>, name: &str) -> Option<Extern> {
    Instance(store.instance_handle(instance)).get_export_in(store, name)
}

impl Instance {
    fn get_export_in(&self, store: &mut StoreOpaque, name: &str) -> Option<Extern> {
        let index = self.0.get(store).module().export(name)?;
        Some(self.extern_at(store, index))
    }
}

/// Makes the instance and runs its start function.
pub(crate) fn instantiate(store: &mut StoreOpaque, module: &Module, imports: Imports) -> Result<Instance> {
    ensure!(module.engine().same(store.engine()), "cross-`Engine` instantiation is not supported");
    store.instantiate(module.data(), imports).map(Instance)
}

/// Checks an import and adds it to the list.
pub(crate) fn add_import(
    store: &mut StoreOpaque,
    module: &Module,
    list: &mut Imports,
    i: usize,
    import: &Extern,
) -> Result<()> {
    if !import.comes_from(store) {
        let at = &module.data().env.imports[i];
        bail!("import `{}::{}` belongs to another store", printable(&at.module), printable(&at.name));
    }
    check_import(store, module, i, import).map_err(|e| ImportError::incompatible(module, i, e))?;
    match import {
        Extern::Func(f) => list.funcs.push(f.func_ref(store)?),
        Extern::Table(t) => list.tables.push(t.0.ptr(store)),
        Extern::Memory(m) => list.memories.push(m.0.ptr(store)),
        Extern::SharedMemory(m) => list.memories.push(store.adopt_shared(m.inner())),
        Extern::Global(g) => list.globals.push(g.0),
        Extern::Tag(t) => list.tags.push(t.vm(store)),
    }
    Ok(())
}

fn check_import(store: &StoreOpaque, module: &Module, i: usize, found: &Extern) -> Result<(), matching::Mismatch> {
    let data = module.data();
    let registry = store.engine().types();
    match (data.env.imports[i].index, found) {
        (EntityIndex::Func(f), Extern::Func(found)) => {
            matching::check_func(registry, data.types.id(data.env.funcs[f].ty), found.type_id(store))
        }
        (EntityIndex::Table(t), Extern::Table(found)) => {
            let found = found.0.get(store);
            matching::check_table(registry, &data.types.table_type(data.env.tables[t]), found.ty(), found.len())
        }
        (EntityIndex::Memory(m), Extern::Memory(found)) => {
            let found = found.0.get(store);
            matching::check_memory(&data.env.memories[m], found.ty(), found.pages())
        }
        (EntityIndex::Memory(m), Extern::SharedMemory(found)) => {
            matching::check_memory(&data.env.memories[m], found.inner().ty(), found.size())
        }
        (EntityIndex::Global(g), Extern::Global(found)) => {
            matching::check_global(registry, &data.types.global_type(data.env.globals[g]), &found.0.ty)
        }
        (EntityIndex::Tag(t), Extern::Tag(found)) => {
            matching::check_tag(registry, data.types.id(data.env.tags[t].ty), found.type_id(store))
        }
        (expected, found) => Err(matching::kind_mismatch(kind_of(expected), found.kind())),
    }
}

fn kind_of(index: EntityIndex) -> crate::types::ExternKind {
    use crate::types::ExternKind;
    match index {
        EntityIndex::Func(_) => ExternKind::Func,
        EntityIndex::Table(_) => ExternKind::Table,
        EntityIndex::Memory(_) => ExternKind::Memory,
        EntityIndex::Global(_) => ExternKind::Global,
        EntityIndex::Tag(_) => ExternKind::Tag,
    }
}

/// Checks a host function, which belongs to no store yet, against an import.
pub(crate) fn check_host_import(module: &Module, i: usize, found: &crate::types::FuncType) -> Result<()> {
    let data = module.data();
    let registry = module.engine().types();
    let checked = match data.env.imports[i].index {
        EntityIndex::Func(f) => matching::check_func(registry, data.types.id(data.env.funcs[f].ty), found.id()),
        expected => Err(matching::kind_mismatch(kind_of(expected), crate::types::ExternKind::Func)),
    };
    checked.map_err(|e| ImportError::incompatible(module, i, e).into())
}
