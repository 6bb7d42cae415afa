//! Finding imports by name.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use kiln_env::EntityIndex;
use kiln_env::text::printable;

use crate::engine::Engine;
use crate::externs::Extern;
use crate::func::{Caller, IntoFunc, dynamic_host_func};
use crate::instance::{self, Instance};
use crate::module::Module;
use crate::similar;
use crate::store::{AsContext, AsContextMut};
use crate::types::{ExternType, FuncType, ImportType, matching};
use crate::values::Val;
use crate::vm::host::{HostBatch, HostFunc};
use crate::vm::instance::Imports;
use crate::vm::store::StoreOpaque;

/// Definitions by the two names that imports have, for instantiating modules.
///
/// Host functions defined with [`Linker::func_wrap`] and [`Linker::func_new`] belong to no store: one linker serves any
/// number of stores with data of type `T`, on any thread. Other definitions ([`Linker::define`]) belong to their store.
///
/// ```
/// use kiln::*;
///
/// let engine = Engine::default();
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("host", "log", |caller: Caller<'_, Vec<i32>>, n: i32| {
///     let mut caller = caller;
///     caller.data_mut().push(n);
/// })?;
/// let module = Module::new(&engine, r#"
///     (module (import "host" "log" (func $log (param i32))) (func (export "run") (call $log (i32.const 7))))
/// "#)?;
/// let mut store = Store::new(&engine, Vec::new());
/// let instance = linker.instantiate(&mut store, &module)?;
/// instance.get_typed_func::<(), ()>(&mut store, "run")?.call(&mut store, ())?;
/// assert_eq!(store.data(), &[7]);
/// # anyhow::Ok(())
/// ```
pub struct Linker<T: 'static> {
    engine: Engine,
    modules: HashMap<Arc<str>, HashMap<Arc<str>, Definition>>,
    allow_shadowing: bool,
    marker: PhantomData<fn(T)>,
}

#[derive(Clone)]
enum Definition {
    /// Belongs to a store.
    Extern(Extern),
    /// Belongs to none.
    Host(Arc<HostFunc>),
}

impl<T> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Linker {
            engine: self.engine.clone(),
            modules: self.modules.clone(),
            allow_shadowing: self.allow_shadowing,
            marker: PhantomData,
        }
    }
}

/// Both levels of an import's name, for messages.
fn path(module: &str, name: &str) -> String {
    format!("{}::{}", printable(module), printable(name))
}

/// An import that is not defined. The message names it, its type, and names that are defined and similar.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "unknown import: `{}::{}` has not been defined; a {ty} is expected{hint}",
    printable(.module),
    printable(.name)
)]
pub struct UnknownImportError {
    module: String,
    name: String,
    ty: ExternType,
    hint: String,
}

impl UnknownImportError {
    /// First level of the import's name.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// Second level of the import's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type that is expected.
    pub fn ty(&self) -> ExternType {
        self.ty.clone()
    }
}

/// An import whose definition has the wrong type.
#[derive(Debug, thiserror::Error)]
#[error("incompatible import type for `{}::{}`: {mismatch}", printable(.module), printable(.name))]
pub(crate) struct ImportError {
    module: String,
    name: String,
    mismatch: matching::Mismatch,
}

impl ImportError {
    pub(crate) fn incompatible(module: &Module, i: usize, mismatch: matching::Mismatch) -> ImportError {
        let import = &module.data().env.imports[i];
        ImportError { module: import.module.clone(), name: import.name.clone(), mismatch }
    }
}

impl<T: 'static> Linker<T> {
    /// A linker without definitions.
    pub fn new(engine: &Engine) -> Linker<T> {
        Linker { engine: engine.clone(), modules: HashMap::new(), allow_shadowing: false, marker: PhantomData }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether a name may be defined again, replacing what it was. An error otherwise, the default.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Linker<T> {
        self.allow_shadowing = allow;
        self
    }

    /// Defines something that belongs to `store`.
    ///
    /// # Errors
    /// The name is defined already and shadowing is not allowed; the item belongs to another store.
    pub fn define(
        &mut self,
        store: impl AsContext<Data = T>,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Linker<T>> {
        let item = item.into();
        ensure!(item.comes_from(store.as_context().0), "`{}` belongs to another store", path(module, name));
        self.insert(module, name, Definition::Extern(item))?;
        Ok(self)
    }

    /// Defines something under a name with an empty first level.
    ///
    /// # Errors
    /// As for [`Linker::define`].
    pub fn define_name(
        &mut self,
        store: impl AsContext<Data = T>,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Linker<T>> {
        self.define(store, "", name, item)
    }

    /// Defines a host function of type `ty`: see [`Func::new`](crate::Func::new).
    ///
    /// # Errors
    /// The name is defined already and shadowing is not allowed.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Linker<T>> {
        ensure!(ty.is_of(self.engine.types()), "the function type belongs to another engine");
        self.insert(module, name, Definition::Host(Arc::new(dynamic_host_func(ty, func))))?;
        Ok(self)
    }

    /// Defines a host function from a closure: see [`Func::wrap`](crate::Func::wrap).
    ///
    /// # Errors
    /// The name is defined already and shadowing is not allowed.
    pub fn func_wrap<Params, Results>(
        &mut self,
        module: &str,
        name: &str,
        func: impl IntoFunc<T, Params, Results>,
    ) -> Result<&mut Linker<T>> {
        let func = func.into_host(&self.engine);
        self.insert(module, name, Definition::Host(Arc::new(func)))?;
        Ok(self)
    }

    /// Defines all exports of an instance under the first-level name `module`.
    ///
    /// # Errors
    /// As for [`Linker::define`].
    pub fn instance(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Linker<T>> {
        let mut context = store.as_context_mut();
        let exports: Vec<_> = instance.exports(&mut context).map(|e| (e.name().to_owned(), e.into_extern())).collect();
        for (name, item) in exports {
            self.insert(module, &name, Definition::Extern(item))?;
        }
        Ok(self)
    }

    /// Instantiates a module and defines its exports under the first-level name `name`.
    ///
    /// A module that exports `_start` is a *command*: each call of one of its functions runs in an instance of its own.
    /// Any other is a *reactor*: it is instantiated now, and its export `_initialize`, if there is one, is called.
    ///
    /// # Errors
    /// As for [`Linker::instantiate`] and [`Linker::define`]; an error in `_initialize`.
    pub fn module(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        name: &str,
        module: &Module,
    ) -> Result<&mut Linker<T>> {
        if matches!(module.data().export("_start"), Some(EntityIndex::Func(_))) {
            return self.command(store, name, module);
        }
        let instance = self.instantiate(&mut store, module)?;
        if let Some(init) = instance.get_func(&mut store, "_initialize") {
            init.typed::<(), ()>(&store).context("export `_initialize`")?.call(&mut store, ())?;
        }
        self.instance(store, name, instance)
    }

    fn command(&mut self, store: impl AsContextMut<Data = T>, name: &str, module: &Module) -> Result<&mut Linker<T>> {
        let pre = self.instantiate_pre(module)?;
        drop(store);
        for export in module.exports() {
            let ExternType::Func(ty) = export.ty() else { continue };
            let (pre, export_name) = (pre.clone(), export.name().to_owned());
            self.func_new(name, export.name(), ty, move |mut caller, params, results| {
                let instance = pre.instantiate(&mut caller)?;
                let func = instance.get_func(&mut caller, &export_name).context("the export is a function")?;
                func.call(&mut caller, params, results)
            })?;
        }
        Ok(self)
    }

    /// Defines a name as another.
    ///
    /// # Errors
    /// The other is not defined; the name is defined already and shadowing is not allowed.
    pub fn alias(&mut self, module: &str, name: &str, as_module: &str, as_name: &str) -> Result<&mut Linker<T>> {
        let Some(definition) = self.definition(module, name).cloned() else {
            bail!("no item named `{}` has been defined", path(module, name));
        };
        self.insert(as_module, as_name, definition)?;
        Ok(self)
    }

    /// Defines all that is defined under one first-level name under another too.
    ///
    /// # Errors
    /// As for [`Linker::alias`].
    pub fn alias_module(&mut self, module: &str, as_module: &str) -> Result<&mut Linker<T>> {
        let Some(items) = self.modules.get(module).cloned() else {
            bail!("no item of a module named `{}` has been defined", printable(module));
        };
        for (name, definition) in items {
            self.insert(as_module, &name, definition)?;
        }
        Ok(self)
    }

    /// Defines every import of `module` that is not defined yet and is a function as one that traps, saying that it was
    /// not defined.
    ///
    /// # Errors
    /// None today.
    pub fn define_unknown_imports_as_traps(&mut self, module: &Module) -> Result<()> {
        for import in module.imports() {
            let ExternType::Func(ty) = import.ty() else { continue };
            if self.definition(import.module(), import.name()).is_none() {
                let error = self.unknown(&import);
                let stop = move |_: Caller<'_, T>, _: &[Val], _: &mut [Val]| Err(error.clone().into());
                self.func_new(import.module(), import.name(), ty, stop)?;
            }
        }
        Ok(())
    }

    /// Defines every import of `module` that is not defined yet: functions return zeros and null references, globals
    /// hold them, memories and tables are empty.
    ///
    /// # Errors
    /// A type has no default value, or a memory or table cannot be made.
    pub fn define_unknown_imports_as_default_values(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<()> {
        for import in module.imports() {
            if self.definition(import.module(), import.name()).is_some() {
                continue;
            }
            let what = || format!("import `{}` has no default value", path(import.module(), import.name()));
            match import.ty() {
                ExternType::Func(ty) => {
                    let defaults = ty.results().map(|t| Val::default_for_ty(&t)).collect::<Option<Vec<_>>>();
                    let defaults = defaults.with_context(what)?;
                    self.func_new(import.module(), import.name(), ty, move |_, _, results| {
                        results.clone_from_slice(&defaults);
                        Ok(())
                    })?;
                }
                other => {
                    let item = Extern::default_of(&mut store, &other).with_context(what)?;
                    self.define(&store, import.module(), import.name(), item)?;
                }
            }
        }
        Ok(())
    }

    /// Instantiates a module with what is defined.
    ///
    /// # Errors
    /// An import is not defined ([`UnknownImportError`]) or has the wrong type, or belongs to another store; otherwise
    /// as for [`Instance::new`].
    pub fn instantiate(&self, store: impl AsContextMut<Data = T>, module: &Module) -> Result<Instance> {
        self.instantiate_pre(module)?.instantiate(store)
    }

    /// Finds the imports of a module, so that instantiating it later is fast.
    ///
    /// # Errors
    /// An import is not defined ([`UnknownImportError`]), or a host function has the wrong type.
    pub fn instantiate_pre(&self, module: &Module) -> Result<InstancePre<T>> {
        ensure!(module.engine().same(&self.engine), "cross-`Engine` instantiation is not supported");
        let mut items = Vec::new();
        let mut host = Vec::new();
        for (i, import) in module.imports().enumerate() {
            match self.definition(import.module(), import.name()) {
                Some(Definition::Host(func)) => {
                    instance::check_host_import(module, i, func.ty())?;
                    if let EntityIndex::Func(index) = module.data().env.imports[i].index {
                        host.push((index, func.clone()));
                        items.push(PreItem::Host);
                    }
                }
                Some(Definition::Extern(item)) => items.push(PreItem::Extern(i, item.clone())),
                None => return Err(self.unknown(&import).into()),
            }
        }
        let host = HostBatch::for_module(module.data(), host)?;
        let inner = PreInner { module: module.clone(), items: items.into(), host };
        Ok(InstancePre { inner: Arc::new(inner), marker: PhantomData })
    }

    /// What is defined under a name, for use in `store`. Panics if that belongs to another engine.
    pub fn get(&self, mut store: impl AsContextMut<Data = T>, module: &str, name: &str) -> Option<Extern> {
        let definition = self.definition(module, name)?;
        let store = store.as_context_mut();
        Some(match definition {
            Definition::Extern(item) => item.clone(),
            Definition::Host(func) => Extern::Func(crate::func::Func(store.0.add_host_func(func.clone()))),
        })
    }

    /// What an import of this type would get, for use in `store`.
    pub fn get_by_import(&self, store: impl AsContextMut<Data = T>, import: &ImportType<'_>) -> Option<Extern> {
        self.get(store, import.module(), import.name())
    }

    /// The function of a module that is run when no other is named: its export with the empty name, or `_start`, or one
    /// that does nothing.
    ///
    /// # Errors
    /// The definition with the empty name is not a function.
    pub fn get_default(&self, mut store: impl AsContextMut<Data = T>, module: &str) -> Result<crate::Func> {
        for name in ["", "_start"] {
            if let Some(item) = self.get(&mut store, module, name) {
                return item
                    .into_func()
                    .with_context(|| format!("default export of `{}` is not a function", printable(module)));
            }
        }
        Ok(crate::Func::wrap(store, || {}))
    }

    /// All that is defined, for use in `store`: names of both levels, and the item.
    pub fn iter<'a>(
        &'a self,
        mut store: impl AsContextMut<Data = T> + 'a,
    ) -> impl Iterator<Item = (&'a str, &'a str, Extern)> {
        let names = self.names();
        names.filter_map(move |(module, name)| Some((module, name, self.get(&mut store, module, name)?)))
    }

    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.modules.iter().flat_map(|(module, items)| items.keys().map(move |name| (&**module, &**name)))
    }

    fn definition(&self, module: &str, name: &str) -> Option<&Definition> {
        self.modules.get(module)?.get(name)
    }

    fn insert(&mut self, module: &str, name: &str, definition: Definition) -> Result<()> {
        if !self.modules.contains_key(module) {
            self.modules.insert(module.into(), HashMap::new());
        }
        let items = self.modules.get_mut(module).context("inserted above")?;
        if !self.allow_shadowing && items.contains_key(name) {
            bail!("import of `{}` defined twice", path(module, name));
        }
        items.insert(name.into(), definition);
        Ok(())
    }

    fn unknown(&self, import: &ImportType<'_>) -> UnknownImportError {
        let similar = similar::names(import.module(), import.name(), self.names());
        let hint = match &*similar {
            [] => String::new(),
            names => format!("; defined under a similar name: {}", printable(&names.join(", "))),
        };
        UnknownImportError { module: import.module().to_owned(), name: import.name().to_owned(), ty: import.ty(), hint }
    }
}

/// A module whose imports are found. See [`Linker::instantiate_pre`].
///
/// ```
/// use kiln::*;
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, "(module (memory (export \"memory\") 1))")?;
/// let pre: InstancePre<()> = Linker::new(&engine).instantiate_pre(&module)?;
/// for _ in 0..3 {
///     let mut store = Store::new(&engine, ());
///     let instance = pre.instantiate(&mut store)?;
///     assert!(instance.get_memory(&mut store, "memory").is_some());
/// }
/// # anyhow::Ok(())
/// ```
pub struct InstancePre<T: 'static> {
    inner: Arc<PreInner>,
    marker: PhantomData<fn(T)>,
}

struct PreInner {
    module: Module,
    items: Box<[PreItem]>,
    host: HostBatch,
}

enum PreItem {
    /// The next function of `host`.
    Host,
    /// An import by its position, with what belongs to a store.
    Extern(usize, Extern),
}

impl<T> Clone for InstancePre<T> {
    fn clone(&self) -> Self {
        InstancePre { inner: self.inner.clone(), marker: PhantomData }
    }
}

impl<T: 'static> InstancePre<T> {
    /// The module.
    pub fn module(&self) -> &Module {
        &self.inner.module
    }

    /// Instantiates the module in a store, and runs its start function.
    ///
    /// # Errors
    /// As for [`Instance::new`].
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>) -> Result<Instance> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let PreInner { module, items, host } = &*self.inner;
        ensure!(module.engine().same(store.engine()), "cross-`Engine` instantiation is not supported");
        let mut imports = Imports::default();
        if host.len() == items.len() {
            imports.funcs = store.add_host_batch(host).collect();
        } else {
            let mut funcs = store.add_host_batch(host);
            for item in items {
                match item {
                    PreItem::Host => imports.funcs.extend(funcs.next()),
                    PreItem::Extern(i, item) => instance::add_import(store, module, &mut imports, *i, item)?,
                }
            }
        }
        instance::instantiate(store, module, imports)
    }
}
