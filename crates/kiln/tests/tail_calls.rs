//! Tail calls in constant stack: mutual recursion across instances, in every mode.

mod common;

use common::modes_and_levels;
use kiln::*;

/// `ping` passes on to `next`, of another instance, until `n` is 0; counts in `sum`. `wide` has more parameters than
/// there are registers, `narrow` has few: the space for arguments grows and shrinks all the time.
const MODULE: &str = r#"(module
    (type $few (func (param i64 i64) (result i64)))
    (type $many (func (param i64 i64 f64 i64 i64 i64 i64 i64 v128 i64 f32 i64) (result i64)))
    (import "other" "few" (func $other_few (type $few)))
    (import "other" "many" (func $other_many (type $many)))
    (import "other" "table" (table $other 4 funcref))
    (import "host" "end" (func $end (param i64) (result i64)))
    (table (export "table") 4 funcref)
    (elem (table 1) (i32.const 0) func $few $many)
    (func $few (export "few") (type $few)
        (if (i64.eqz (local.get 0)) (then (return_call $end (local.get 1))))
        (if (i64.ne (i64.and (local.get 0) (i64.const 5)) (i64.const 0))
            (then (return_call $other_few
                (i64.sub (local.get 0) (i64.const 1)) (i64.add (local.get 1) (i64.const 1)))))
        (return_call_indirect $other (type $many)
            (i64.sub (local.get 0) (i64.const 1)) (i64.add (local.get 1) (i64.const 1)) (f64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
            (i64.const 5) (i64.const 6) (v128.const i64x2 7 8) (i64.const 9) (f32.const 10) (i64.const 1) (i32.const 1)))
    (func $many (export "many") (type $many)
        (if (i64.eqz (local.get 0)) (then (return_call $end (local.get 1))))
        (if (i64.ne (i64.and (local.get 0) (i64.const 2)) (i64.const 0))
            (then (return_call $few (i64.sub (local.get 0) (i64.const 1))
                (i64.add (local.get 1) (i64.add (local.get 11) (i64.extend_i32_u (f64.ne (local.get 2) (f64.const 1))))))))
        (return_call $other_few (i64.sub (local.get 0) (i64.const 1)) (i64.add (local.get 1) (local.get 11)))))"#;

/// What an instance needs to be the first of two.
const STANDIN: &str = r#"(module
    (type $few (func (param i64 i64) (result i64)))
    (type $many (func (param i64 i64 f64 i64 i64 i64 i64 i64 v128 i64 f32 i64) (result i64)))
    (table (export "table") 4 funcref)
    (func (export "few") (type $few)
        (return_call_indirect (type $few) (local.get 0) (local.get 1) (i32.const 0)))
    (func (export "many") (type $many)
        (return_call_indirect (type $many)
            (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6)
            (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11) (i32.const 1))))"#;

/// Runs `calls` tail calls (and those through the stand-in) between two instances in 64 KiB of stack. Each adds 1 to what
/// comes back.
fn ping_pong(config: &mut Config, calls: u64) -> anyhow::Result<()> {
    let engine = Engine::new(config.max_wasm_stack(64 << 10))?;
    let (module, standin) = (Module::new(&engine, MODULE)?, Module::new(&engine, STANDIN)?);
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.allow_shadowing(true).func_wrap("host", "end", |n: u64| n)?;
    let standin = linker.instantiate(&mut store, &standin)?;
    linker.instance(&mut store, "other", standin)?;
    let first = linker.instantiate(&mut store, &module)?;
    linker.instance(&mut store, "other", first)?;
    let second = linker.instantiate(&mut store, &module)?;
    // The first instance reaches the second through the stand-in.
    let table = standin.get_table(&mut store, "table").expect("exported");
    for (i, name) in ["few", "many"].into_iter().enumerate() {
        let func = second.get_func(&mut store, name).expect("exported");
        table.set(&mut store, i as u64, Ref::Func(Some(func)))?;
    }
    let few = first.get_typed_func::<(u64, u64), u64>(&mut store, "few")?;
    assert_eq!(few.call(&mut store, (calls, 0))?, calls);
    Ok(())
}

#[test]
fn ten_million_calls_across_instances() -> anyhow::Result<()> {
    for (name, mut config) in modes_and_levels() {
        println!("{name}");
        ping_pong(&mut config, 10_000_000)?;
    }
    Ok(())
}

/// `cargo test --package kiln --test tail_calls -- --ignored`
#[test]
#[ignore = "takes half a minute"]
fn a_billion_calls_across_instances() -> anyhow::Result<()> {
    for (name, mut config) in modes_and_levels() {
        let start = std::time::Instant::now();
        ping_pong(&mut config, 1_000_000_000)?;
        println!("{name}: {:.1?}", start.elapsed());
    }
    Ok(())
}
