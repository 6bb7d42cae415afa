//! Calls with types known to Rust: no allocation, no lookup.

use std::marker::PhantomData;

use anyhow::{Context, Result, ensure};

use crate::func::Func;
use crate::gc::{ExnRef, ExternRef, Rooted};

use crate::store::AsContextMut;
use crate::types::{FuncType, HeapType, RefType, ValType};
use crate::values::{V128, Val};
use crate::vm::call;
use crate::vm::context::ValRaw;
use crate::vm::store::StoreOpaque;

/// A Rust type that stands for a wasm value type.
///
/// | Rust | wasm |
/// |---|---|
/// | `i32`, `u32` | `i32` |
/// | `i64`, `u64` | `i64` |
/// | `f32`, `f64` | `f32`, `f64` |
/// | [`V128`] | `v128` |
/// | `Option<Func>`, [`Func`] | `funcref`, `(ref func)` |
/// | `Option<Rooted<ExternRef>>`, `Rooted<ExternRef>` | `externref`, `(ref extern)` |
/// | `Option<Rooted<ExnRef>>`, `Rooted<ExnRef>` | `exnref`, `(ref exn)` |
pub trait WasmTy: Send + Sized + 'static {
    /// Whether values of the type refer to objects of a store.
    #[doc(hidden)]
    const IS_REF: bool = false;

    /// The wasm type.
    fn valtype() -> ValType;

    /// The value as compiled code takes it.
    #[doc(hidden)]
    fn into_raw(self, store: &mut StoreOpaque) -> Result<ValRaw>;

    /// The value from what compiled code gave.
    #[doc(hidden)]
    fn from_raw(raw: ValRaw, store: &mut StoreOpaque) -> Self;
}

macro_rules! number {
    ($($ty:ty, $val:ident, |$v:ident| $to:expr, |$r:ident| $from:expr;)*) => {$(
        impl WasmTy for $ty {
            #[inline]
            fn valtype() -> ValType {
                ValType::$val
            }

            #[inline]
            fn into_raw(self, _: &mut StoreOpaque) -> Result<ValRaw> {
                let $v = self;
                Ok($to)
            }

            #[inline]
            fn from_raw($r: ValRaw, _: &mut StoreOpaque) -> Self {
                $from
            }
        }
    )*};
}

number! {
    i32, I32, |v| ValRaw::i32(v), |r| r.get_i32();
    u32, I32, |v| ValRaw::u32(v), |r| r.get_u32();
    i64, I64, |v| ValRaw::i64(v), |r| r.get_i64();
    u64, I64, |v| ValRaw::u64(v), |r| r.get_u64();
    f32, F32, |v| ValRaw::u32(v.to_bits()), |r| f32::from_bits(r.get_u32());
    f64, F64, |v| ValRaw::u64(v.to_bits()), |r| f64::from_bits(r.get_u64());
    V128, V128, |v| ValRaw::v128(v.as_u128()), |r| V128::from(r.get_v128());
}

macro_rules! reference {
    ($($ty:ty, $variant:ident, $heap:ident;)*) => {$(
        impl WasmTy for Option<$ty> {
            const IS_REF: bool = true;

            fn valtype() -> ValType {
                ValType::Ref(RefType::new(true, HeapType::$heap))
            }

            fn into_raw(self, store: &mut StoreOpaque) -> Result<ValRaw> {
                Val::$variant(self).to_raw(store)
            }

            fn from_raw(raw: ValRaw, store: &mut StoreOpaque) -> Self {
                match Val::from_raw(store, raw, &Self::valtype().to_env()) {
                    Val::$variant(r) => r,
                    _ => None,
                }
            }
        }

        impl WasmTy for $ty {
            const IS_REF: bool = true;

            fn valtype() -> ValType {
                ValType::Ref(RefType::new(false, HeapType::$heap))
            }

            fn into_raw(self, store: &mut StoreOpaque) -> Result<ValRaw> {
                Some(self).into_raw(store)
            }

            fn from_raw(raw: ValRaw, store: &mut StoreOpaque) -> Self {
                Option::<$ty>::from_raw(raw, store).expect("a value of a non-null type is not null")
            }
        }
    )*};
}

reference! {
    Func, FuncRef, Func;
    Rooted<ExternRef>, ExternRef, Extern;
    Rooted<ExnRef>, ExnRef, Exn;
}

/// Parameters of a [`TypedFunc`]: a [`WasmTy`], or a tuple of up to 16 of them.
pub trait WasmParams: Send + Sized + 'static {
    /// How many there are.
    #[doc(hidden)]
    const LEN: usize;
    #[doc(hidden)]
    const HAS_REFS: bool;

    /// The wasm types.
    #[doc(hidden)]
    fn valtypes() -> Vec<ValType>;

    /// Writes the values into the first slots.
    #[doc(hidden)]
    fn store(self, store: &mut StoreOpaque, slots: &mut [ValRaw]) -> Result<()>;

    /// Reads the values from the first slots.
    #[doc(hidden)]
    fn load(store: &mut StoreOpaque, slots: &[ValRaw]) -> Self;
}

/// Results of a [`TypedFunc`]: a [`WasmTy`], or a tuple of up to 16 of them.
pub trait WasmResults: WasmParams {}

impl<P: WasmParams> WasmResults for P {}

impl<A: WasmTy> WasmParams for A {
    const LEN: usize = 1;
    const HAS_REFS: bool = A::IS_REF;

    fn valtypes() -> Vec<ValType> {
        vec![A::valtype()]
    }

    #[inline]
    fn store(self, store: &mut StoreOpaque, slots: &mut [ValRaw]) -> Result<()> {
        slots[0] = self.into_raw(store)?;
        Ok(())
    }

    #[inline]
    fn load(store: &mut StoreOpaque, slots: &[ValRaw]) -> Self {
        A::from_raw(slots[0], store)
    }
}

macro_rules! tuples {
    ($(($n:literal $($name:ident $i:tt)*))*) => {$(
        impl<$($name: WasmTy),*> WasmParams for ($($name,)*) {
            const LEN: usize = $n;
            const HAS_REFS: bool = false $(|| $name::IS_REF)*;

            fn valtypes() -> Vec<ValType> {
                vec![$($name::valtype()),*]
            }

            #[inline]
            #[allow(unused_variables, reason = "the empty tuple")]
            fn store(self, store: &mut StoreOpaque, slots: &mut [ValRaw]) -> Result<()> {
                $(slots[$i] = self.$i.into_raw(store)?;)*
                Ok(())
            }

            #[inline]
            #[allow(unused_variables, clippy::unused_unit, reason = "the empty tuple")]
            fn load(store: &mut StoreOpaque, slots: &[ValRaw]) -> Self {
                ($($name::from_raw(slots[$i], store),)*)
            }
        }
    )*};
}

tuples! {
    (0)
    (1 A 0)
    (2 A 0 B 1)
    (3 A 0 B 1 C 2)
    (4 A 0 B 1 C 2 D 3)
    (5 A 0 B 1 C 2 D 3 E 4)
    (6 A 0 B 1 C 2 D 3 E 4 F 5)
    (7 A 0 B 1 C 2 D 3 E 4 F 5 G 6)
    (8 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7)
    (9 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8)
    (10 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9)
    (11 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10)
    (12 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11)
    (13 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12)
    (14 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12 N 13)
    (15 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12 N 13 O 14)
    (16 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 M 12 N 13 O 14 P 15)
}

/// A function whose parameters and results are known to be `P` and `R`. Made by [`Func::typed`].
///
/// ```
/// use kiln::*;
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"
///     (module (func (export "add") (param i32 i32) (result i32)
///         (i32.add (local.get 0) (local.get 1))))
/// "#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
/// assert_eq!(add.call(&mut store, (40, 2))?, 42);
/// # anyhow::Ok(())
/// ```
pub struct TypedFunc<P, R> {
    func: Func,
    marker: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for TypedFunc<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for TypedFunc<P, R> {}

impl<P, R> std::fmt::Debug for TypedFunc<P, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypedFunc").field(&self.func).finish()
    }
}

/// Slots that are always there; longer lists are on the heap.
const FEW: usize = 4;
const MANY: usize = 16;

impl<P: WasmParams, R: WasmResults> TypedFunc<P, R> {
    /// A function whose type was checked.
    pub(crate) fn new_checked(func: Func) -> TypedFunc<P, R> {
        TypedFunc { func, marker: PhantomData }
    }

    /// The function without its types.
    pub fn func(&self) -> &Func {
        &self.func
    }

    /// Calls the function. Panics if it belongs to another store; a panic of a host function that it called comes out
    /// here again.
    ///
    /// # Errors
    /// The function trapped ([`Trap`](crate::Trap)), a host function that it called returned an error (which comes out
    /// as it is, with a [`WasmBacktrace`](crate::WasmBacktrace) as context), or a parameter belongs to another store.
    #[inline]
    pub fn call(&self, mut store: impl AsContextMut, params: P) -> Result<R> {
        let store: &mut StoreOpaque = store.as_context_mut().0;
        // Both are constants: the branch costs nothing, and short lists are cheap to clear.
        if P::LEN <= FEW && R::LEN <= FEW {
            self.call_with::<FEW>(store, params)
        } else {
            self.call_with::<MANY>(store, params)
        }
    }

    #[inline]
    fn call_with<const N: usize>(&self, store: &mut StoreOpaque, params: P) -> Result<R> {
        let mut slots = [ValRaw::ZERO; N];
        params.store(store, &mut slots)?;
        call::invoke_checked(store, self.func.0, &mut slots)?;
        Ok(R::load(store, &slots))
    }
}

/// Whether a function type has these Rust types.
pub(crate) fn check_types<P: WasmParams, R: WasmResults>(ty: &FuncType) -> Result<()> {
    let (params, results) = (P::valtypes(), R::valtypes());
    let check = |what: &str, i: usize, sub: &ValType, sup: &ValType, rust: &ValType, wasm: &ValType| {
        ensure!(sub.matches(sup), "type mismatch with {what} {i}: expected {wasm}, found {rust}");
        Ok(())
    };
    let count = |what: &str, wasm: usize, rust: usize| {
        ensure!(wasm == rust, "type mismatch: expected {wasm} {what}s, found {rust}");
        Ok(())
    };
    let checked = || -> Result<()> {
        count("parameter", ty.params().len(), params.len())?;
        count("result", ty.results().len(), results.len())?;
        for (i, (wasm, rust)) in ty.params().zip(&params).enumerate() {
            check("parameter", i, rust, &wasm, rust, &wasm)?;
        }
        for (i, (wasm, rust)) in ty.results().zip(&results).enumerate() {
            check("result", i, &wasm, rust, rust, &wasm)?;
        }
        Ok(())
    };
    checked().with_context(|| format!("the function has type {ty}"))
}
