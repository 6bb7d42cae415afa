//! Guests that nobody trusts: each gets so much fuel, time, memory and stack, and what it does wrong is its own:
//! `cargo run --example untrusted`.

use std::time::Duration;

use anyhow::Result;
use kiln::{Config, Engine, Instance, Module, Store, StoreLimits, StoreLimitsBuilder, Trap, WasmBacktrace};

const GUEST: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "sum") (param i32) (result i32) (local i32)
        (loop (local.set 1 (i32.add (local.get 1) (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
    (func (export "spin") (param i32) (result i32) (loop (br 0)) (unreachable))
    (func $deeper (export "recurse") (param i32) (result i32) (i32.add (call $deeper (local.get 0)) (i32.const 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;

/// Calls a function of a fresh instance: one guest's mistakes are no other's.
fn call(engine: &Engine, module: &Module, fuel: u64, function: &str, param: i32) -> Result<i32> {
    let limits = StoreLimitsBuilder::new().memory_size(1 << 20).instances(1).build();
    let mut store: Store<StoreLimits> = Store::new(engine, limits);
    store.limiter(|limits| limits);
    store.set_fuel(fuel)?;
    // The second tick from now on.
    store.set_epoch_deadline(2);
    let instance = Instance::new(&mut store, module, &[])?;
    let result = instance.get_typed_func::<i32, i32>(&mut store, function)?.call(&mut store, param);
    println!("{function}({param}): {:?}, {} units of fuel left", result.as_ref().ok(), store.get_fuel()?);
    result
}

fn main() -> Result<()> {
    let mut config = Config::new();
    config.consume_fuel(true).epoch_interruption(true).max_wasm_stack(256 << 10);
    let engine = Engine::new(&config)?;
    let clock = engine.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(250));
            clock.increment_epoch();
        }
    });
    let module = Module::new(&engine, GUEST)?;

    assert_eq!(call(&engine, &module, 1_000_000, "sum", 100)?, 5050);
    // A memory that must not grow says so to the guest.
    assert_eq!(call(&engine, &module, 1_000, "grow", 3)?, 1);
    assert_eq!(call(&engine, &module, 1_000, "grow", 16)?, -1);

    let out_of_fuel = call(&engine, &module, 1_000_000, "spin", 0).unwrap_err();
    assert_eq!(out_of_fuel.downcast_ref(), Some(&Trap::OutOfFuel));
    let out_of_time = call(&engine, &module, u64::MAX, "spin", 0).unwrap_err();
    assert_eq!(out_of_time.downcast_ref(), Some(&Trap::Interrupt));
    let too_deep = call(&engine, &module, u64::MAX, "recurse", 0).unwrap_err();
    assert_eq!(too_deep.downcast_ref(), Some(&Trap::StackOverflow));
    let backtrace = too_deep.downcast_ref::<WasmBacktrace>().expect("traps have one");
    assert_eq!(backtrace.frames()[0].func_name(), Some("deeper"));
    Ok(())
}
