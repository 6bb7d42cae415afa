//! Functions of a store, of wasm and of the host, and how the host's are called.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use smallvec::{SmallVec, smallvec};

use crate::engine::Engine;
use crate::externs::Extern;
use crate::instance;
use crate::store::{AsContext, AsContextMut, StoreContext, StoreContextMut};
use crate::typed::{self, TypedFunc, WasmParams, WasmResults, WasmTy};
use crate::types::FuncType;
use crate::types::registry::TypeId;
use crate::values::Val;
use crate::vm::call;
use crate::vm::context::{ValRaw, VmFuncRef};
use crate::vm::handle::Handle;
use crate::vm::host::{HostCall, HostFunc};
use crate::vm::instance::InstanceData;
use crate::vm::store::{StoreInner, StoreOpaque};

/// A function of a store: exported by an instance, or of the host.
///
/// ```
/// use kiln::*;
///
/// let mut store = Store::new(&Engine::default(), 5);
/// let add = Func::wrap(&mut store, |caller: Caller<'_, i32>, n: i32| caller.data() + n);
/// let mut results = [Val::I32(0)];
/// add.call(&mut store, &[Val::I32(2)], &mut results)?;
/// assert_eq!(results[0].i32(), Some(7));
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Func(pub(crate) Handle<VmFuncRef>);

impl Func {
    /// A host function of type `ty`. `func` reads its parameters from the first slice and writes its results into the
    /// second; a result of the wrong type is an error for the caller. A panic travels to whoever called into wasm; an
    /// error likewise.
    ///
    /// # Panics
    /// If the type belongs to another engine than the store.
    pub fn new<T: 'static>(
        mut store: impl AsContextMut<Data = T>,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Func {
        let func = dynamic_host_func(ty, func);
        Func::from_host(store.as_context_mut().0, func)
    }

    /// A host function from a closure over [`WasmTy`] values, with or without a [`Caller`] before them, that returns
    /// what [`WasmRet`] stands for.
    pub fn wrap<T: 'static, Params, Results>(
        mut store: impl AsContextMut<Data = T>,
        func: impl IntoFunc<T, Params, Results>,
    ) -> Func {
        let store = store.as_context_mut().0;
        let func = func.into_host(store.engine());
        Func::from_host(store, func)
    }

    fn from_host(store: &mut StoreOpaque, func: HostFunc) -> Func {
        let func = Arc::new(func);
        Func(store.add_host_func(func))
    }

    /// Its type. Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> FuncType {
        let store = store.as_context();
        FuncType::from_id(store.0.engine().types(), self.type_id(store.0))
    }

    /// Calls the function. `results` must have as many values as the function has results, of any types. Panics if the
    /// function belongs to another store; a panic of a host function that it called comes out here again.
    ///
    /// # Errors
    /// The numbers or types of parameters or results are wrong, a parameter belongs to another store; otherwise as for
    /// [`TypedFunc::call`].
    pub fn call(&self, mut store: impl AsContextMut, params: &[Val], results: &mut [Val]) -> Result<()> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        let ty = store.func_type(self.type_id(store));
        let signature = ty.signature();
        let (expected, given) = (signature.params.len(), params.len());
        ensure!(expected == given, "expected {expected} arguments, got {given}");
        let (expected, given) = (signature.results.len(), results.len());
        ensure!(expected == given, "expected {expected} results, got {given}");
        let slots = signature.params.len().max(signature.results.len());
        let mut slots: SmallVec<[ValRaw; 8]> = smallvec![ValRaw::ZERO; slots];
        for (i, (value, ty)) in params.iter().zip(&signature.params).enumerate() {
            value.check_type(store, ty).with_context(|| format!("argument {i}"))?;
        }
        for (slot, value) in slots.iter_mut().zip(params) {
            *slot = value.to_raw(store)?;
        }
        call::invoke_checked(store, self.0, &mut slots)?;
        for ((slot, result), ty) in slots.iter().zip(results).zip(&signature.results) {
            *result = Val::from_raw(store, *slot, ty);
        }
        Ok(())
    }

    /// The function with its types known to Rust: for fast calls.
    ///
    /// # Errors
    /// The function's type is another.
    pub fn typed<P: WasmParams, R: WasmResults>(&self, store: impl AsContext) -> Result<TypedFunc<P, R>> {
        let store = store.as_context();
        typed::check_types::<P, R>(&self.ty(&store))?;
        Ok(TypedFunc::new_checked(*self))
    }

    /// The function that a reference from compiled code names.
    pub(crate) fn from_func_ref(store: &StoreOpaque, func: NonNull<VmFuncRef>) -> Func {
        Func(call::func_handle(store, func))
    }

    /// What compiled code knows it by. Panics if it belongs to another store.
    ///
    /// # Errors
    /// It is a host function that wasm cannot call, because this build has no compiler.
    pub(crate) fn func_ref(&self, store: &StoreOpaque) -> Result<NonNull<VmFuncRef>> {
        call::wasm_func_ref(store, self.0)
    }

    /// The engine-wide number of its type.
    pub(crate) fn type_id(&self, store: &StoreOpaque) -> TypeId {
        TypeId::from_u32(self.0.get(store).type_id as u32)
    }

    /// Whether it belongs to the store.
    pub(crate) fn comes_from(&self, store: &StoreOpaque) -> bool {
        self.0.comes_from(store)
    }
}

/// A host function's view of who called it: the store, and the calling instance.
pub struct Caller<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
    instance: Option<NonNull<InstanceData>>,
}

impl<'a, T> Caller<'a, T> {
    pub(crate) fn new(store: &'a mut StoreInner<T>, instance: Option<NonNull<InstanceData>>) -> Caller<'a, T> {
        Caller { store: StoreContextMut(store), instance }
    }

    /// The store's data.
    pub fn data(&self) -> &T {
        self.store.data()
    }

    /// The store's data, mutably.
    pub fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.store.engine()
    }

    /// An export of the calling instance; `None` if it has none of this name, or the host called.
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        let instance = self.instance?;
        instance::export_of_caller(self.store.0, instance, name)
    }

    /// The fuel left.
    ///
    /// # Errors
    /// The engine is not configured to count fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        self.store.get_fuel()
    }

    /// Sets the fuel.
    ///
    /// # Errors
    /// The engine is not configured to count fuel.
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.store.set_fuel(fuel)
    }

    /// Frees the objects of the store's heap that nothing refers to any more.
    pub fn gc(&mut self) {
        self.store.gc();
    }
}

impl<T> AsContext for Caller<'_, T> {
    type Data = T;
    #[inline]
    fn as_context(&self) -> StoreContext<'_, T> {
        self.store.as_context()
    }
}

impl<T> AsContextMut for Caller<'_, T> {
    #[inline]
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }
}

/// What a host closure may return: results as in [`WasmResults`], or a [`Result`] of them.
pub trait WasmRet {
    /// The results.
    #[doc(hidden)]
    type Results: WasmResults;

    /// The results, or the error for whoever called into wasm.
    #[doc(hidden)]
    fn into_results(self) -> Result<Self::Results>;
}

impl<R: WasmResults> WasmRet for R {
    type Results = R;
    #[inline]
    fn into_results(self) -> Result<R> {
        Ok(self)
    }
}

impl<R: WasmResults> WasmRet for Result<R> {
    type Results = R;
    #[inline]
    fn into_results(self) -> Result<R> {
        self
    }
}

/// A closure that can be a host function of stores with data of type `T`: `Fn(A, B, …) -> R` or
/// `Fn(Caller<'_, T>, A, B, …) -> R` with up to 16 parameters.
pub trait IntoFunc<T, Params, Results>: Send + Sync + 'static {
    /// Makes the host function.
    #[doc(hidden)]
    fn into_host(self, engine: &Engine) -> HostFunc;
}

/// A typed closure as [`HostCall`]: `F` takes the caller and the parameters as a tuple.
struct TypedHost<F, P, R> {
    func: F,
    marker: PhantomData<fn(P) -> R>,
}

impl<T, F, P, R> HostCall<T> for TypedHost<F, P, R>
where
    T: 'static,
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
    P: WasmParams,
    R: WasmRet + 'static,
{
    #[inline]
    fn slots(&self) -> usize {
        P::LEN.max(R::Results::LEN)
    }

    #[inline]
    fn call(&self, caller: Caller<'_, T>, values: &mut [ValRaw]) -> Result<()> {
        if !(P::HAS_REFS || R::Results::HAS_REFS) {
            let params = P::load(caller.store.0, values);
            // The results are numbers: they need no store.
            let again = Caller { store: StoreContextMut(&mut *caller.store.0), instance: caller.instance };
            let results = (self.func)(again, params).into_results()?;
            return results.store(caller.store.0, values);
        }
        let scope = caller.store.0.gc_mut().enter_scope();
        let params = P::load(caller.store.0, values);
        let again = Caller { store: StoreContextMut(&mut *caller.store.0), instance: caller.instance };
        let result = (self.func)(again, params).into_results();
        let result = result.and_then(|r| r.store(caller.store.0, values));
        caller.store.0.gc_mut().exit_scope(scope);
        result
    }
}

fn typed_host_func<T, F, P, R>(engine: &Engine, func: F) -> HostFunc
where
    T: 'static,
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
    P: WasmParams,
    R: WasmRet + 'static,
{
    let ty = FuncType::new(engine, P::valtypes(), R::Results::valtypes());
    HostFunc::new::<T, _>(ty, TypedHost { func, marker: PhantomData })
}

/// A dynamically typed closure as [`HostCall`].
struct DynamicHost<F> {
    ty: FuncType,
    func: F,
}

impl<T, F> HostCall<T> for DynamicHost<F>
where
    T: 'static,
    F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
{
    fn slots(&self) -> usize {
        let signature = self.ty.signature();
        signature.params.len().max(signature.results.len())
    }

    fn call(&self, caller: Caller<'_, T>, values: &mut [ValRaw]) -> Result<()> {
        let Caller { store: StoreContextMut(store), instance } = caller;
        let scope = store.gc_mut().enter_scope();
        let result = self.call_in_scope(store, instance, values);
        store.gc_mut().exit_scope(scope);
        result
    }
}

impl<F> DynamicHost<F> {
    fn call_in_scope<T>(
        &self,
        store: &mut StoreInner<T>,
        instance: Option<NonNull<InstanceData>>,
        values: &mut [ValRaw],
    ) -> Result<()>
    where
        F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()>,
    {
        let signature = self.ty.signature();
        let params: Vec<Val> =
            signature.params.iter().zip(&*values).map(|(ty, raw)| Val::from_raw(store, *raw, ty)).collect();
        let mut results: Vec<Val> = vec![Val::I32(0); signature.results.len()];
        (self.func)(Caller { store: StoreContextMut(store), instance }, &params, &mut results)?;
        for (i, (value, ty)) in results.iter().zip(&signature.results).enumerate() {
            value.check_type(store, ty).with_context(|| format!("result {i} of a host function"))?;
        }
        for (slot, value) in values.iter_mut().zip(&results) {
            *slot = value.to_raw(store)?;
        }
        Ok(())
    }
}

/// A host function of a type that is only known at run time.
pub(crate) fn dynamic_host_func<T: 'static>(
    ty: FuncType,
    func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
) -> HostFunc {
    HostFunc::new::<T, _>(ty.clone(), DynamicHost { ty, func })
}

macro_rules! into_func {
    ($(($($name:ident)*))*) => {$(
        #[allow(non_snake_case, reason = "parameters are named as their types")]
        impl<T, F, R, $($name),*> IntoFunc<T, ($($name,)*), R> for F
        where
            T: 'static,
            F: Fn($($name),*) -> R + Send + Sync + 'static,
            R: WasmRet + 'static,
            $($name: WasmTy,)*
        {
            fn into_host(self, engine: &Engine) -> HostFunc {
                typed_host_func::<T, _, ($($name,)*), R>(engine, move |_: Caller<'_, T>, ($($name,)*)| self($($name),*))
            }
        }

        #[allow(non_snake_case, reason = "parameters are named as their types")]
        impl<T, F, R, $($name),*> IntoFunc<T, (Caller<'_, T>, $($name,)*), R> for F
        where
            T: 'static,
            F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
            R: WasmRet + 'static,
            $($name: WasmTy,)*
        {
            fn into_host(self, engine: &Engine) -> HostFunc {
                typed_host_func::<T, _, ($($name,)*), R>(
                    engine,
                    move |caller: Caller<'_, T>, ($($name,)*)| self(caller, $($name),*),
                )
            }
        }
    )*};
}

into_func! {
    ()
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E G)
    (A B C D E G H)
    (A B C D E G H I)
    (A B C D E G H I J)
    (A B C D E G H I J K)
    (A B C D E G H I J K L)
    (A B C D E G H I J K L M)
    (A B C D E G H I J K L M N)
    (A B C D E G H I J K L M N O)
    (A B C D E G H I J K L M N O P)
    (A B C D E G H I J K L M N O P Q)
}
