//! Fuel, epochs, and limits of stores.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{in_all_modes, instance};
use kiln::*;

const COUNT: &str = r#"(module (func (export "count") (param $n i32) (loop
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br_if 0 (local.get $n)))))"#;

#[test]
fn fuel_is_consumed_and_runs_out() {
    in_all_modes(
        |c| {
            c.consume_fuel(true);
        },
        |engine| {
            let (mut store, instance) = instance(engine, COUNT)?;
            let count = instance.get_typed_func::<i32, ()>(&mut store, "count")?;
            assert_eq!(store.get_fuel()?, 0);
            assert_eq!(count.call(&mut store, 1).unwrap_err().downcast_ref(), Some(&Trap::OutOfFuel));
            store.set_fuel(10_000)?;
            count.call(&mut store, 100)?;
            let used = 10_000 - store.get_fuel()?;
            assert!((300..2_000).contains(&used), "{used}");
            store.set_fuel(10_000)?;
            count.call(&mut store, 200)?;
            let twice = 10_000 - store.get_fuel()?;
            assert_eq!(twice, 2 * used);
            store.set_fuel(used)?;
            assert!(count.call(&mut store, 200).is_err());
            store.set_fuel(u64::MAX)?;
            count.call(&mut store, 100)?;
            assert_eq!(store.get_fuel()?, u64::MAX - used);
            Ok(())
        },
    );
}

#[test]
fn fuel_of_another_configuration_is_an_error() {
    let mut store = Store::new(&Engine::default(), ());
    assert!(store.set_fuel(1).is_err() && store.get_fuel().is_err());
}

#[test]
fn an_epoch_stops_a_loop() {
    in_all_modes(
        |c| {
            c.epoch_interruption(true);
        },
        |engine| {
            let (mut store, instance) = instance(engine, r#"(module (func (export "spin") (loop (br 0))))"#)?;
            let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
            store.set_epoch_deadline(2);
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                        engine.increment_epoch();
                    }
                });
                let error = spin.call(&mut store, ()).unwrap_err();
                done.store(true, Ordering::Relaxed);
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
            });
            Ok(())
        },
    );
}

#[test]
fn an_epoch_callback_decides() {
    in_all_modes(
        |c| {
            c.epoch_interruption(true);
        },
        |engine| {
            let module = Module::new(engine, r#"(module (func (export "spin") (loop (br 0))))"#)?;
            let mut store = Store::new(engine, 0);
            let instance = Instance::new(&mut store, &module, &[])?;
            let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
            let ticking = engine.clone();
            store.epoch_deadline_callback(move |mut store| {
                *store.data_mut() += 1;
                ticking.increment_epoch();
                match store.data() {
                    ..=3 => Ok(UpdateDeadline::Continue(0)),
                    4 => anyhow::bail!("enough"),
                    _ => Ok(UpdateDeadline::Interrupt),
                }
            });
            store.set_epoch_deadline(0);
            assert_eq!(spin.call(&mut store, ()).unwrap_err().root_cause().to_string(), "enough");
            assert_eq!(*store.data(), 4);
            assert_eq!(spin.call(&mut store, ()).unwrap_err().downcast_ref(), Some(&Trap::Interrupt));
            Ok(())
        },
    );
}

/// Calls `f` while another thread starts new epochs.
fn with_clock<R>(engine: &Engine, f: impl FnOnce() -> R) -> R {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
                engine.increment_epoch();
            }
        });
        let result = f();
        done.store(true, Ordering::Relaxed);
        result
    })
}

const WAIT: &str = r#"(module (memory (export "memory") 1 1 shared)
    (func (export "wait32") (param i64) (result i32) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (local.get 0)))
    (func (export "wait64") (param i64) (result i32) (memory.atomic.wait64 (i32.const 8) (i64.const 0) (local.get 0))))"#;

#[test]
fn an_epoch_ends_an_atomic_wait() {
    in_all_modes(
        |c| {
            c.epoch_interruption(true);
        },
        |engine| {
            let (mut store, instance) = instance(engine, WAIT)?;
            for name in ["wait32", "wait64"] {
                let wait = instance.get_typed_func::<i64, i32>(&mut store, name)?;
                store.set_epoch_deadline(3);
                store.epoch_deadline_trap();
                let error = with_clock(engine, || wait.call(&mut store, -1)).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{name}");
                // Nobody is left in the queue.
                let memory = instance.get_shared_memory(&mut store, "memory").unwrap();
                assert_eq!([0, 8].map(|addr| memory.atomic_notify(addr, u32::MAX).unwrap()), [0, 0]);

                // A callback that lets it go on does not end the wait: it is the notification that does.
                store.set_epoch_deadline(1);
                let mut left = 3;
                store.epoch_deadline_callback(move |_| {
                    left -= 1;
                    if left == 0 {
                        assert_eq!(memory.atomic_notify(if name == "wait32" { 0 } else { 8 }, 1)?, 1);
                    }
                    Ok(UpdateDeadline::Continue(1))
                });
                assert_eq!(with_clock(engine, || wait.call(&mut store, -1))?, 0, "{name}");
                // Nor does it change when a wait times out.
                assert_eq!(with_clock(engine, || wait.call(&mut store, 5_000_000))?, 2, "{name}");
                assert_eq!(wait.call(&mut store, 0)?, 2, "{name}");
            }
            Ok(())
        },
    );
}

#[test]
fn a_wait_of_the_host_ends_with_the_epoch() {
    use std::ops::ControlFlow;
    in_all_modes(
        |c| {
            c.epoch_interruption(true).consume_fuel(true);
        },
        |engine| {
            let module =
                Module::new(engine, r#"(module (import "" "wait" (func $wait)) (func (export "run") (call $wait)))"#)?;
            let mut linker = Linker::new(engine);
            linker.func_wrap("", "wait", |mut caller: Caller<'_, u32>| -> anyhow::Result<()> {
                caller.as_context_mut().consume_fuel(100)?;
                caller.as_context_mut().wait(|mut store, wake| {
                    *store.data_mut() += 1;
                    let wake = wake.expect("there are epochs");
                    rustix::event::poll(&mut [rustix::event::PollFd::new(&wake, rustix::event::PollFlags::IN)], None)?;
                    Ok(if *store.data() == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })
            })?;
            let mut store = Store::new(engine, 0);
            let instance = linker.instantiate(&mut store, &module)?;
            let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
            store.set_fuel(10_000)?;
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
            with_clock(engine, || run.call(&mut store, ()))?;
            assert_eq!(*store.data(), 5);
            assert!((100..200).contains(&(10_000 - store.get_fuel()?)), "{}", store.get_fuel()?);
            store.epoch_deadline_trap();
            let error = with_clock(engine, || run.call(&mut store, ())).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
            store.set_fuel(50)?;
            store.set_epoch_deadline(u64::MAX / 2);
            let error = run.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
            assert_eq!(store.get_fuel()?, 0);
            Ok(())
        },
    );
}

const GROW: &str = r#"(module
    (memory (export "memory") 1) (table (export "table") 1 funcref)
    (func (export "memory.grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "table.grow") (param i32) (result i32) (table.grow (ref.null func) (local.get 0))))"#;

#[test]
fn a_limiter_bounds_memories_tables_and_instances() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(engine, GROW)?;
            let limits =
                StoreLimitsBuilder::new().memory_size(3 << 16).table_elements(5).instances(2).memories(2).build();
            let mut store = Store::new(engine, limits);
            store.limiter(|limits| limits);
            let instance = Instance::new(&mut store, &module, &[])?;
            let memory_grow = instance.get_typed_func::<i32, i32>(&mut store, "memory.grow")?;
            let table_grow = instance.get_typed_func::<i32, i32>(&mut store, "table.grow")?;
            assert_eq!(memory_grow.call(&mut store, 2)?, 1);
            assert_eq!(memory_grow.call(&mut store, 1)?, -1);
            assert_eq!(memory_grow.call(&mut store, 0)?, 3);
            assert_eq!(table_grow.call(&mut store, 4)?, 1);
            assert_eq!(table_grow.call(&mut store, 1)?, -1);
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            assert!(memory.grow(&mut store, 1).is_err());
            Instance::new(&mut store, &module, &[])?;
            let error = Instance::new(&mut store, &module, &[]).unwrap_err();
            assert!(error.to_string().contains("instance count too high at 3"), "{error}");
            let large = Module::new(engine, "(module (memory 4))")?;
            let mut store = Store::new(engine, StoreLimitsBuilder::new().memory_size(1 << 16).build());
            store.limiter(|limits| limits);
            let error = Instance::new(&mut store, &large, &[]).unwrap_err();
            assert!(error.to_string().contains("exceeds memory limits"), "{error}");
            Ok(())
        },
    );
}

#[test]
fn refused_growth_can_be_a_trap() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(engine, GROW)?;
            let limits = StoreLimitsBuilder::new().memory_size(1 << 16).trap_on_grow_failure(true).build();
            let mut store = Store::new(engine, limits);
            store.limiter(|limits| limits);
            let instance = Instance::new(&mut store, &module, &[])?;
            let memory_grow = instance.get_typed_func::<i32, i32>(&mut store, "memory.grow")?;
            let error = format!("{:#}", memory_grow.call(&mut store, 1).unwrap_err());
            assert!(error.contains("forcing trap when growing memory"), "{error}");
            Ok(())
        },
    );
}

#[test]
fn recursion_ends_with_the_stack_and_the_store_goes_on() {
    in_all_modes(
        |_| {},
        |engine| {
            let wat = r#"(module (func $f (export "f") (param i64) (result i64)
                (i64.add (call $f (i64.add (local.get 0) (i64.const 1))) (local.get 0))))"#;
            let run = || -> anyhow::Result<()> {
                let (mut store, instance) = instance(engine, wat)?;
                let f = instance.get_typed_func::<i64, i64>(&mut store, "f")?;
                for _ in 0..3 {
                    assert_eq!(f.call(&mut store, 0).unwrap_err().downcast_ref(), Some(&Trap::StackOverflow));
                }
                Ok(())
            };
            run()?;
            std::thread::scope(|scope| scope.spawn(run).join().unwrap())
        },
    );
}

#[test]
fn what_is_no_module_is_refused_by_place() {
    let engine = Engine::default();
    for (bytes, place) in
        [(&b"\0aso\x01\0\0\0"[..], 0), (b"\xffasm", 0), (b"(module \0)", 8), (b"abc\x80", 3), (b"\0esm\x01\0\xff", 6)]
    {
        let error = Module::new(&engine, bytes).unwrap_err().to_string();
        assert!(error.contains("not a module"), "{bytes:?}: {error}");
        assert!(error.contains(&format!("at byte {place} ")), "{bytes:?}: {error}");
    }
    let error = Module::new(&engine, b"").unwrap_err().to_string();
    assert!(error.contains("it is empty"), "{error}");
    let error = Module::new(&engine, "(module (bogus))").unwrap_err().to_string();
    assert!(error.contains("<anon>:1:10"), "{error}");
}
