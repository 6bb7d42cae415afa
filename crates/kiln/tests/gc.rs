//! The collected heap: what is referred to stays, the rest goes, in constant memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use kiln::*;

/// A host value that counts how many of its kind live.
struct Counted {
    live: Arc<AtomicUsize>,
    number: usize,
}

impl Counted {
    fn new(live: &Arc<AtomicUsize>, number: usize) -> Counted {
        live.fetch_add(1, Ordering::Relaxed);
        Counted { live: live.clone(), number }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

fn number(store: impl AsContext, r: &Rooted<ExternRef>) -> usize {
    let store = store.as_context();
    r.data(&store).unwrap().unwrap().downcast_ref::<Counted>().unwrap().number
}

type Live = Arc<AtomicUsize>;

fn engines() -> [Engine; 3] {
    [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic]
        .map(|tiering| Engine::new(Config::new().tiering(tiering)).unwrap())
}

/// Runs a test in all modes. `make` and `gc` are host functions: a new counted value, and a collection.
fn in_all_modes(wat: &str, test: impl Fn(&mut Store<Live>, &Instance) -> Result<()>) {
    for engine in engines() {
        let module = Module::new(&engine, wat).unwrap();
        let mut linker = Linker::<Live>::new(&engine);
        let make = |mut caller: Caller<'_, Live>, n: i32| {
            let value = Counted::new(caller.data(), n as usize);
            ExternRef::new(&mut caller, value).map(Some)
        };
        linker.func_wrap("host", "make", make).unwrap();
        linker.func_wrap("host", "gc", |mut caller: Caller<'_, Live>| caller.gc()).unwrap();
        let again = |mut caller: Caller<'_, Live>, n: i32| -> Result<Option<Rooted<ExternRef>>> {
            let func = caller.get_export("hold").unwrap().into_func().unwrap();
            let func = func.typed::<i32, Option<Rooted<ExternRef>>>(&caller)?;
            func.call(&mut caller, n)
        };
        linker.func_wrap("host", "again", again).unwrap();
        let live = Live::default();
        let mut store = Store::new(&engine, live.clone());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        test(&mut store, &instance).unwrap();
        drop(store);
        assert_eq!(live.load(Ordering::Relaxed), 0, "values outlive their store");
    }
}

const HOLD: &str = r#"(module
    (import "host" "make" (func $make (param i32) (result externref)))
    (import "host" "gc" (func $gc))
    (import "host" "again" (func $again (param i32) (result externref)))
    (table $t (export "table") 10 externref)
    (global $g (export "global") (mut externref) (ref.null extern))
    (func (export "hold") (param $n i32) (result externref)
        (local $kept externref)
        (local.set $kept (call $make (local.get $n)))
        (drop (call $make (i32.const 1000)))
        (if (local.get $n)
            (then (drop (call $again (i32.sub (local.get $n) (i32.const 1)))))
            (else (call $gc)))
        (local.get $kept))
    (func (export "park") (param $n i32)
        (table.set $t (i32.const 3) (call $make (local.get $n)))
        (global.set $g (call $make (i32.add (local.get $n) (i32.const 1)))))
    (func (export "many") (param $n i32)
        (loop $again
            (drop (call $make (local.get $n)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "pass") (param externref) (result externref) (call $gc) (local.get 0))
)"#;

#[test]
fn frames_of_all_activations_keep_what_they_hold() {
    in_all_modes(HOLD, |store, instance| {
        let hold = instance.get_typed_func::<i32, Option<Rooted<ExternRef>>>(&mut *store, "hold")?;
        let mut scope = RootScope::new(&mut *store);
        let kept = hold.call(&mut scope, 20)?.unwrap();
        assert_eq!(number(&scope, &kept), 20);
        scope.as_context_mut().gc();
        assert_eq!(scope.as_context().data().load(Ordering::Relaxed), 1);
        drop(scope);
        store.gc();
        assert_eq!(store.data().load(Ordering::Relaxed), 0);
        assert!(kept.data(&*store).is_err());
        Ok(())
    });
}

#[test]
fn tables_globals_and_handles_keep_what_they_hold() {
    in_all_modes(HOLD, |store, instance| {
        let park = instance.get_typed_func::<i32, ()>(&mut *store, "park")?;
        let owned = {
            let mut scope = RootScope::new(&mut *store);
            let value = Counted::new(scope.as_context().data(), 77);
            ExternRef::new(&mut scope, value)?.to_owned_rooted(&mut scope)?
        };
        park.call(&mut *store, 5)?;
        park.call(&mut *store, 7)?;
        store.gc();
        assert_eq!(store.data().load(Ordering::Relaxed), 3);
        let table = instance.get_table(&mut *store, "table").unwrap();
        let global = instance.get_global(&mut *store, "global").unwrap();
        {
            let mut scope = RootScope::new(&mut *store);
            let Some(Ref::Extern(Some(in_table))) = table.get(&mut scope, 3) else { panic!("not there") };
            let in_global = global.get(&mut scope).unwrap_externref().unwrap();
            let again = owned.to_rooted(&mut scope);
            let numbers = [&in_table, &in_global, &again].map(|r| number(&scope, r));
            assert_eq!(numbers, [7, 8, 77]);
            assert!(!Rooted::ref_eq(&scope, &in_table, &in_global)?);
            table.set(&mut scope, 3, Ref::Extern(Some(in_global)))?;
        }
        drop(owned);
        store.gc();
        assert_eq!(store.data().load(Ordering::Relaxed), 1);
        global.set(&mut *store, Val::null_extern_ref())?;
        table.fill(&mut *store, 0, Ref::Extern(None), 10)?;
        store.gc();
        assert_eq!(store.data().load(Ordering::Relaxed), 0);
        Ok(())
    });
}

#[test]
fn arguments_survive_a_collection_in_the_callee() {
    in_all_modes(HOLD, |store, instance| {
        let pass = instance.get_func(&mut *store, "pass").unwrap();
        for n in 0..100 {
            let mut scope = RootScope::new(&mut *store);
            let value = Counted::new(scope.as_context().data(), n);
            let r = ExternRef::new(&mut scope, value)?;
            let mut result = [Val::I32(0)];
            pass.call(&mut scope, &[Val::from(r)], &mut result)?;
            assert_eq!(number(&scope, &result[0].unwrap_externref().unwrap()), n);
            pass.call(&mut scope, &[Val::null_extern_ref()], &mut result)?;
            assert!(result[0].unwrap_externref().is_none());
        }
        Ok(())
    });
}

#[test]
fn ten_million_values_take_constant_memory() {
    let count = if cfg!(debug_assertions) { 1_000_000 } else { 10_000_000 };
    in_all_modes(HOLD, |store, instance| {
        let many = instance.get_typed_func::<i32, ()>(&mut *store, "many")?;
        many.call(&mut *store, count)?;
        let live = store.data().load(Ordering::Relaxed);
        assert!(live < 50_000, "{live} of {count} values live");
        store.gc();
        assert_eq!(store.data().load(Ordering::Relaxed), 0);
        Ok(())
    });
}

#[test]
fn handles_are_of_one_store_and_one_scope() -> Result<()> {
    let engine = Engine::default();
    let (mut a, mut b) = (Store::new(&engine, ()), Store::new(&engine, ()));
    let r = ExternRef::new(&mut a, 1u32)?;
    assert!(r.data(&b).is_err());
    assert!(r.to_owned_rooted(&mut b).is_err());
    let global = GlobalType::new(ValType::EXTERNREF, Mutability::Var);
    assert!(Global::new(&mut b, global.clone(), r.into()).is_err());
    let global = Global::new(&mut a, global, r.into())?;
    assert!(global.set(&mut a, Val::I32(1)).is_err());

    let raw = r.to_raw(&mut a)?;
    let same = ExternRef::from_raw(&mut a, raw).unwrap();
    assert!(Rooted::ref_eq(&a, &r, &same)? && r != same);
    assert!(ExternRef::from_raw(&mut a, 0).is_none() && ExternRef::from_raw(&mut a, raw + 1).is_none());
    assert!(ExternRef::from_raw(&mut b, raw).is_none() && ExnRef::from_raw(&mut a, raw).is_none());
    *r.data_mut(&mut a)?.unwrap().downcast_mut::<u32>().unwrap() = 5;
    assert_eq!(same.data(&a)?.unwrap().downcast_ref(), Some(&5u32));
    Ok(())
}

#[test]
fn a_panicking_destructor_harms_nobody_else() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }
    let engine = Engine::default();
    let live = Live::default();
    let mut store = Store::new(&engine, ());
    {
        let mut scope = RootScope::new(&mut store);
        for i in 0..10 {
            ExternRef::new(&mut scope, Counted::new(&live, i)).unwrap();
        }
        ExternRef::new(&mut scope, Bomb).unwrap();
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.gc()));
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"bomb"));
    assert_eq!(live.load(Ordering::Relaxed), 0);
    ExternRef::new(&mut store, 1).unwrap();
    store.gc();
}

#[test]
fn collections_at_every_epoch_check() -> Result<()> {
    for tiering in [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic] {
        let engine = Engine::new(Config::new().tiering(tiering).epoch_interruption(true))?;
        let wat = r#"(module
            (tag $t (param externref i64 externref))
            (func $loop (param externref i32) (result externref)
                (loop $again (br_if $again (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
                (local.get 0))
            (func $throw (param externref externref i32)
                (throw $t (call $loop (local.get 0) (local.get 2)) (i64.const 7) (local.get 1)))
            (func (export "run") (param externref externref i32) (result externref externref)
                (local externref) (local $exception exnref)
                (block $caught (result externref i64 externref exnref)
                    (try_table (catch_ref $t $caught) (call $throw (local.get 0) (local.get 1) (local.get 2)))
                    (unreachable))
                (local.set $exception) (drop) (drop) (drop)
                (block $again (result externref i64 externref)
                    (try_table (catch $t $again) (throw_ref (local.get $exception)))
                    (unreachable))
                (local.set 3) (drop) (local.get 2) (call $loop) (local.get 3)))"#;
        let module = Module::new(&engine, wat)?;
        let live = Live::default();
        let mut store = Store::new(&engine, live.clone());
        store.epoch_deadline_callback(|mut store| {
            store.gc();
            // Passed again at once.
            Ok(UpdateDeadline::Continue(0))
        });
        let run = Instance::new(&mut store, &module, &[])?.get_func(&mut store, "run").unwrap();
        for n in 0..50 {
            let mut scope = RootScope::new(&mut store);
            let mut value = |n| {
                let value = Counted::new(scope.as_context().data(), n);
                ExternRef::new(&mut scope, value)
            };
            let args = [Val::from(value(n)?), value(n + 1_000)?.into(), Val::I32(n as i32 % 5 + 1)];
            let mut results = [Val::I32(0), Val::I32(0)];
            run.call(&mut scope, &args, &mut results)?;
            let results = results.map(|r| number(&scope, &r.unwrap_externref().unwrap()));
            assert_eq!(results, [n, n + 1_000]);
        }
        store.gc();
        assert_eq!(live.load(Ordering::Relaxed), 0);
    }
    Ok(())
}
