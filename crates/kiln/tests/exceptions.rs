//! Exceptions between wasm and the host.

use anyhow::Result;
use kiln::*;

fn engines() -> [Engine; 3] {
    [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic]
        .map(|tiering| Engine::new(Config::new().tiering(tiering).wasm_feature("exceptions", true)).unwrap())
}

const MODULE: &str = r#"(module $m
    (import "host" "call" (func $call (param i32)))
    (import "host" "tag" (tag $imported (param i32)))
    (tag $own (export "own") (param i64 externref f64))
    (func $throw_own (export "throw_own") (param i64 externref f64)
        (throw $own (local.get 0) (local.get 1) (local.get 2)))
    (func $throw_imported (export "throw_imported") (param i32) (throw $imported (local.get 0)))
    ;; What a call of the host throws with the imported tag, or -1 for other exceptions, or -2.
    (func $catch (export "catch") (param i32) (result i32)
        (block $all
            (block $h (result i32)
                (try_table (catch $imported $h) (catch_all $all) (call $call (local.get 0)))
                (return (i32.const -2)))
            (return))
        (i32.const -1))
    (func (export "rethrow") (param i32)
        (block $h (result exnref)
            (try_table (catch_all_ref $h) (call $call (local.get 0)))
            (return))
        (throw_ref))
    (func (export "null") (throw_ref (ref.null exn)))
    (func (export "loop") (param $n i32) (result i32)
        (local $sum i32)
        (loop $again
            (block $h (result i32)
                (try_table (catch $imported $h) (call $throw_imported (local.get $n)))
                (unreachable))
            (local.set $sum (i32.add (local.get $sum)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum))
)"#;

/// What the host's function does.
#[derive(Clone, Copy)]
enum Act {
    Nothing,
    Throw,
    ThrowOther,
    Fail,
    Trap,
    /// Calls `throw_imported` and passes on what comes.
    Pass,
    /// Calls `catch` with 1 less, which lets this function act again.
    Nest,
}

struct Setup {
    store: Store<Option<Tag>>,
    instance: Instance,
    tag: Tag,
}

fn setup(engine: &Engine, act: impl Fn(i32) -> Act + Send + Sync + 'static) -> Result<Setup> {
    let module = Module::new(engine, MODULE)?;
    let mut store = Store::new(engine, None);
    let tag = Tag::new(&mut store, &TagType::new(FuncType::new(engine, [ValType::I32], [])))?;
    let other = Tag::new(&mut store, &TagType::new(FuncType::new(engine, [ValType::I32], [])))?;
    *store.data_mut() = Some(tag);
    let mut linker = Linker::new(engine);
    linker.define(&store, "host", "tag", tag)?;
    let call = move |mut caller: Caller<'_, Option<Tag>>, n: i32| -> Result<()> {
        let nested = |caller: &mut Caller<'_, _>, name: &str, n: i32| -> Result<()> {
            let func = caller.get_export(name).unwrap().into_func().unwrap();
            let mut results = vec![Val::I32(0); func.ty(&*caller).results().len()];
            func.call(caller, &[Val::I32(n)], &mut results)
        };
        match act(n) {
            Act::Nothing => Ok(()),
            Act::Throw | Act::ThrowOther => {
                let tag = if matches!(act(n), Act::Throw) { tag } else { other };
                let exception = ExnRef::new(&mut caller, &tag, &[Val::I32(n * 10)])?;
                caller.throw(exception)
            }
            Act::Fail => anyhow::bail!("host failed"),
            Act::Trap => Err(Trap::IntegerOverflow.into()),
            Act::Pass => nested(&mut caller, "throw_imported", n + 100),
            Act::Nest => nested(&mut caller, "catch", n - 1),
        }
    };
    linker.func_wrap("host", "call", call)?;
    let instance = linker.instantiate(&mut store, &module)?;
    Ok(Setup { store, instance, tag })
}

#[test]
fn wasm_catches_what_the_host_throws_and_nothing_else() -> Result<()> {
    for engine in engines() {
        let act = |n| [Act::Nothing, Act::Throw, Act::ThrowOther, Act::Fail, Act::Trap, Act::Pass][n as usize];
        let Setup { mut store, instance, .. } = setup(&engine, act)?;
        let catch = instance.get_typed_func::<i32, i32>(&mut store, "catch")?;
        assert_eq!(catch.call(&mut store, 0)?, -2);
        assert_eq!(catch.call(&mut store, 1)?, 10);
        assert_eq!(catch.call(&mut store, 2)?, -1);
        assert_eq!(catch.call(&mut store, 3).unwrap_err().root_cause().to_string(), "host failed");
        assert_eq!(catch.call(&mut store, 4).unwrap_err().downcast_ref(), Some(&Trap::IntegerOverflow));
        assert_eq!(catch.call(&mut store, 5)?, 105);
        assert!(!store.has_pending_exception());
    }
    Ok(())
}

#[test]
fn exceptions_leave_wasm_with_their_payload_and_where_they_were_thrown() -> Result<()> {
    for engine in engines() {
        let Setup { mut store, instance, .. } = setup(&engine, |_| Act::Nothing)?;
        let value = ExternRef::new(&mut store, "payload")?;
        let throw = instance.get_func(&mut store, "throw_own").unwrap();
        let args = [Val::I64(7), value.into(), Val::from(1.5f64)];
        let error = throw.call(&mut store, &args, &mut []).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&ThrownException));
        let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
        assert_eq!(backtrace.frames()[0].func_name(), Some("throw_own"));

        let exception = store.take_pending_exception().unwrap();
        assert!(store.take_pending_exception().is_none());
        store.gc();
        let own = instance.get_tag(&mut store, "own").unwrap();
        assert!(Tag::eq(&exception.tag(&mut store)?, &own, &store));
        let fields = exception.fields(&mut store)?;
        assert_eq!((fields[0].unwrap_i64(), fields[2].unwrap_f64()), (7, 1.5));
        let same = fields[1].unwrap_externref().unwrap();
        assert!(Rooted::ref_eq(&store, &same, &value)?);
        assert!(exception.field(&mut store, 3).is_err());
    }
    Ok(())
}

#[test]
fn exceptions_pass_through_host_frames_and_can_be_thrown_again() -> Result<()> {
    for engine in engines() {
        let act = |n| if n == 0 { Act::Throw } else { Act::Nest };
        let Setup { mut store, instance, .. } = setup(&engine, act)?;
        // Each level but the innermost gets the result of the next, so only the innermost sees the exception.
        let catch = instance.get_typed_func::<i32, i32>(&mut store, "catch")?;
        assert_eq!(catch.call(&mut store, 5)?, -2);

        let Setup { mut store, instance, tag } = setup(&engine, |_| Act::Pass)?;
        let rethrow = instance.get_typed_func::<i32, ()>(&mut store, "rethrow")?;
        let error = rethrow.call(&mut store, 3).unwrap_err();
        assert!(error.is::<ThrownException>());
        let exception = store.take_pending_exception().unwrap();
        assert!(Tag::eq(&exception.tag(&mut store)?, &tag, &store));
        assert_eq!(exception.field(&mut store, 0)?.unwrap_i32(), 103);

        let null = instance.get_typed_func::<(), ()>(&mut store, "null")?;
        assert_eq!(null.call(&mut store, ()).unwrap_err().downcast_ref(), Some(&Trap::NullReference));
    }
    Ok(())
}

#[test]
fn a_hundred_million_exceptions_take_constant_memory() -> Result<()> {
    let (rounds, count) = if cfg!(debug_assertions) { (2, 50_000) } else { (100, 1_000_000) };
    let Setup { mut store, instance, .. } = setup(&engines()[0], |_| Act::Nothing)?;
    let throw = instance.get_typed_func::<i32, i32>(&mut store, "loop")?;
    throw.call(&mut store, count)?;
    let before = resident_bytes();
    for _ in 0..rounds {
        throw.call(&mut store, count)?;
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more after {rounds} rounds of {count} exceptions");
    Ok(())
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn tags_and_fields_are_checked() -> Result<()> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    assert!(Tag::new(&mut store, &TagType::new(FuncType::new(&engine, [], [ValType::I32]))).is_err());
    let ty = TagType::new(FuncType::new(&engine, [ValType::I32, ValType::FUNCREF], []));
    let tag = Tag::new(&mut store, &ty)?;
    assert_eq!(tag.ty(&store), ty);
    let error = |store: &mut Store<()>, fields: &[Val]| format!("{:#}", ExnRef::new(store, &tag, fields).unwrap_err());
    assert_eq!(error(&mut store, &[]), "the tag's exceptions have 2 fields, not 0");
    let wrong = [Val::I32(1), Val::null_extern_ref()];
    assert_eq!(
        error(&mut store, &wrong),
        "field 1 of an exception: type mismatch: expected funcref, found nullexternref"
    );
    let mut other = Store::new(&engine, ());
    assert!(ExnRef::new(&mut other, &tag, &[Val::I32(1), Val::null_func_ref()]).is_err());
    Ok(())
}

/// Nanoseconds for one throw that is caught some frames up, and through a frame of the host.
#[test]
#[ignore = "a measurement"]
fn time_of_a_throw() -> Result<()> {
    const WAT: &str = r#"(module
        (import "host" "call" (func $host (param i32)))
        (tag $t (param i32))
        (func $deep (export "deep") (param $depth i32)
            (if (i32.eqz (local.get $depth)) (then (throw $t (i32.const 1))))
            (call $deep (i32.sub (local.get $depth) (i32.const 1))) (nop))
        (func (export "wasm") (param $n i32) (param $depth i32)
            (loop $again
                (block $h (result i32) (try_table (catch $t $h) (call $deep (local.get $depth))) (unreachable))
                (drop)
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
        (func (export "host") (param $n i32) (param $depth i32)
            (loop $again
                (block $h (result i32) (try_table (catch $t $h) (call $host (local.get $depth))) (unreachable))
                (drop)
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;
    for engine in engines() {
        let module = Module::new(&engine, WAT)?;
        let mut linker = Linker::<Option<TypedFunc<i32, ()>>>::new(&engine);
        let call = |mut caller: Caller<'_, Option<TypedFunc<i32, ()>>>, depth: i32| {
            let deep = caller.data().unwrap();
            deep.call(&mut caller, depth)
        };
        linker.func_wrap("host", "call", call)?;
        let mut store = Store::new(&engine, None);
        let instance = linker.instantiate(&mut store, &module)?;
        *store.data_mut() = Some(instance.get_typed_func(&mut store, "deep")?);
        for (name, depth) in [("wasm", 0), ("wasm", 9), ("wasm", 99), ("host", 0), ("host", 9)] {
            let func = instance.get_typed_func::<(i32, i32), ()>(&mut store, name)?;
            let count = 200_000;
            let best = (0..5)
                .map(|_| {
                    let start = std::time::Instant::now();
                    func.call(&mut store, (count, depth)).unwrap();
                    start.elapsed().as_nanos() / count as u128
                })
                .min();
            println!("{name}, {} frames up: {} ns", depth + 1, best.unwrap());
        }
    }
    Ok(())
}
