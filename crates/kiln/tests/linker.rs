//! Finding imports, and the errors about those that are not found or do not fit.

use kiln::*;

fn engine() -> Engine {
    Engine::default()
}

fn error_of<X>(result: anyhow::Result<X>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(e) => format!("{e:#}"),
    }
}

#[track_caller]
fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn an_unknown_import_is_named_with_its_type_and_near_names() -> anyhow::Result<()> {
    let engine = engine();
    let mut linker: Linker<()> = Linker::new(&engine);
    linker.func_wrap("wasi_snapshot_preview1", "fd_write", |_: i32| 0)?;
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |_: i32| {})?;
    let module =
        Module::new(&engine, r#"(module (import "wasi_unstable" "fd_write" (func (param i32 i64) (result f32))))"#)?;
    let result = linker.instantiate(Store::new(&engine, ()), &module);
    let error = result.unwrap_err();
    assert_contains(
        &error.to_string(),
        &["wasi_unstable::fd_write", "(param i32 i64)", "(result f32)", "`wasi_snapshot_preview1::fd_write`"],
    );
    assert!(!error.to_string().contains("proc_exit"));
    let unknown: &UnknownImportError = error.downcast_ref().expect("its type is public");
    assert_eq!((unknown.module(), unknown.name()), ("wasi_unstable", "fd_write"));
    Ok(())
}

#[test]
fn incompatible_imports_say_both_types() -> anyhow::Result<()> {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, Some(2)))?;
    let table = Table::new(&mut store, TableType::new(RefType::FUNCREF, 1, None), Ref::Func(None))?;
    let global = Global::new(&mut store, GlobalType::new(ValType::I32, Mutability::Const), Val::I32(1))?;
    let mut linker = Linker::new(&engine);
    linker.define(&store, "m", "memory", memory)?;
    linker.define(&store, "m", "table", table)?;
    linker.define(&store, "m", "global", global)?;
    linker.func_wrap("m", "func", |_: i32| 1i64)?;
    let cases: &[(&str, &[&str])] = &[
        (r#"(import "m" "func" (func (param i64)))"#, &["(func (param i64))", "(func (param i32) (result i64))"]),
        (r#"(import "m" "memory" (memory 3))"#, &["(memory 3)", "(memory 1 2)"]),
        (r#"(import "m" "memory" (memory 1 1))"#, &["(memory 1 1)", "(memory 1 2)"]),
        (r#"(import "m" "table" (table 1 externref))"#, &["externref", "funcref"]),
        (r#"(import "m" "global" (global (mut i32)))"#, &["(global (mut i32))", "(global i32)"]),
        (r#"(import "m" "global" (func))"#, &["expected function, found global"]),
        (r#"(import "m" "func" (memory 1))"#, &["expected memory, found function"]),
    ];
    for (import, parts) in cases {
        let module = Module::new(&engine, format!("(module {import})"))?;
        let error = error_of(linker.instantiate(&mut store, &module));
        assert_contains(&error, parts);
        assert_contains(&error, &["incompatible import type for `m::"]);
    }
    Ok(())
}

#[test]
fn shadowing_is_an_error_unless_allowed() -> anyhow::Result<()> {
    let engine = engine();
    let mut linker: Linker<()> = Linker::new(&engine);
    linker.func_wrap("a", "f", || 1)?;
    assert_contains(&error_of(linker.func_wrap("a", "f", || 2)), &["`a::f` defined twice"]);
    linker.allow_shadowing(true);
    linker.func_wrap("a", "f", || 3)?;
    linker.alias("a", "f", "b", "g")?;
    linker.alias_module("a", "c")?;
    let mut store = Store::new(&engine, ());
    for (module, name) in [("a", "f"), ("b", "g"), ("c", "f")] {
        let f = linker.get(&mut store, module, name).unwrap().into_func().unwrap();
        assert_eq!(f.typed::<(), i32>(&store)?.call(&mut store, ())?, 3);
    }
    assert!(linker.alias("a", "nothing", "b", "h").is_err());
    assert_eq!(linker.iter(&mut store).count(), 3);
    Ok(())
}

#[test]
fn unknown_imports_as_traps_and_as_defaults() -> anyhow::Result<()> {
    let engine = engine();
    let module = Module::new(
        &engine,
        r#"(module
            (import "x" "f" (func $f (result i32 f64 funcref)))
            (func (export "run") (result i32) (call $f) drop drop))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&module)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
    assert_contains(&error_of(run.call(&mut store, ())), &["x::f", "has not been defined"]);

    let module = Module::new(
        &engine,
        r#"(module
            (import "x" "f" (func $f (result i32 f64 funcref)))
            (import "x" "g" (global $g i64)) (import "x" "m" (memory 2)) (import "x" "t" (table 3 funcref))
            (import "x" "e" (tag (param i32)))
            (func (export "run") (result i32) (call $f) drop drop
                (i32.add (memory.size)) (i32.add (table.size 0)) (i32.add (i32.wrap_i64 (global.get $g)))))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_default_values(&mut store, &module)?;
    let instance = linker.instantiate(&mut store, &module)?;
    assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "run")?.call(&mut store, ())?, 5);
    Ok(())
}

#[test]
fn commands_get_an_instance_for_each_call_and_reactors_one() -> anyhow::Result<()> {
    let engine = engine();
    let counter = r#"
        (global $n (mut i32) (i32.const 0))
        (func (export "next") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))"#;
    let command = Module::new(&engine, format!(r#"(module {counter} (func (export "_start")))"#))?;
    let reactor = Module::new(
        &engine,
        format!(r#"(module {counter} (func (export "_initialize") (global.set $n (i32.const 10))))"#),
    )?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.module(&mut store, "command", &command)?;
    linker.module(&mut store, "reactor", &reactor)?;
    let mut next = |module: &str| -> anyhow::Result<i32> {
        let f = linker.get(&mut store, module, "next").unwrap().into_func().unwrap();
        f.typed::<(), i32>(&store)?.call(&mut store, ())
    };
    assert_eq!([next("command")?, next("command")?], [1, 1]);
    assert_eq!([next("reactor")?, next("reactor")?], [11, 12]);
    linker.get_default(&mut store, "command")?.call(&mut store, &[], &mut [])?;
    Ok(())
}

#[test]
fn one_linker_serves_stores_on_many_threads() -> anyhow::Result<()> {
    let engine = engine();
    let mut linker: Linker<u64> = Linker::new(&engine);
    linker.func_wrap("h", "add", |mut c: Caller<'_, u64>, n: u64| *c.data_mut() += n)?;
    let module = Module::new(
        &engine,
        r#"(module (import "h" "add" (func $add (param i64)))
            (func (export "run") (param $n i64) (loop
                (call $add (local.get $n))
                (local.tee $n (i64.sub (local.get $n) (i64.const 1)))
                (br_if 0 (i64.ne (i64.const 0))))))"#,
    )?;
    let pre = linker.instantiate_pre(&module)?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut store = Store::new(&engine, 0);
                    let instance = pre.instantiate(&mut store).unwrap();
                    let run = instance.get_typed_func::<u64, ()>(&mut store, "run").unwrap();
                    run.call(&mut store, 1000).unwrap();
                    assert_eq!(store.into_data(), 500_500);
                }
            });
        }
    });
    Ok(())
}

#[test]
fn objects_of_other_stores_are_refused() -> anyhow::Result<()> {
    let engine = engine();
    let module = Module::new(&engine, r#"(module (import "a" "b" (func)))"#)?;
    let (mut one, mut two) = (Store::new(&engine, ()), Store::new(&engine, ()));
    let func = Func::wrap(&mut one, || {});
    assert_contains(&error_of(Instance::new(&mut two, &module, &[func.into()])), &["`a::b` belongs to another store"]);
    let mut linker = Linker::new(&engine);
    assert!(linker.define(&two, "a", "b", func).is_err());
    linker.define(&one, "a", "b", func)?;
    assert_contains(&error_of(linker.instantiate(&mut two, &module)), &["another store"]);
    let table = Table::new(&mut two, TableType::new(RefType::FUNCREF, 1, None), Ref::Func(None))?;
    assert!(table.set(&mut two, 0, Ref::Func(Some(func))).is_err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| func.call(&mut two, &[], &mut [])));
    assert!(panicked.is_err(), "a method that is given another store panics");

    let other = Engine::default();
    let mut foreign = Store::new(&other, ());
    assert_contains(
        &error_of(Instance::new(&mut foreign, &Module::new(&engine, "(module)")?, &[])),
        &["cross-`Engine`"],
    );
    Ok(())
}

#[test]
fn exports_and_imports_are_listed_in_order() -> anyhow::Result<()> {
    let engine = engine();
    let module = Module::new(
        &engine,
        r#"(module $name
            (import "i" "f" (func (param i32)))
            (memory (export "m") 1 3) (global (export "g") (mut f32) (f32.const 1)) (table (export "t") 2 externref)
            (func (export "f") (result i64) (i64.const 0)))"#,
    )?;
    assert_eq!(module.name(), Some("name"));
    let exports: Vec<String> = module.exports().map(|e| format!("{} {}", e.name(), e.ty())).collect();
    assert_eq!(exports, ["m (memory 1 3)", "g (global (mut f32))", "t (table 2 externref)", "f (func (result i64))"]);
    assert_eq!(module.imports().len(), 1);
    let mut store = Store::new(&engine, ());
    let f = Func::wrap(&mut store, |_: i32| {});
    let instance = Instance::new(&mut store, &module, &[f.into()])?;
    let names: Vec<String> = instance.exports(&mut store).map(|e| e.name().to_owned()).collect();
    assert_eq!(names, ["m", "g", "t", "f"]);
    assert!(instance.get_export(&mut store, "nothing").is_none());
    let error = error_of(instance.get_typed_func::<i32, i64>(&mut store, "f"));
    assert_contains(&error, &["`f`", "expected 0 parameters, found 1"]);
    Ok(())
}
