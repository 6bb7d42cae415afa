//! What one operator or one object of a guest can take long over or make large: bulk operators, shared memories, the heap.

mod common;

use common::{in_all_modes, instance};
use kiln::*;

/// Bulk operators, by name; each takes a length.
const BULK: &str = r#"(module (memory (export "memory") 256) (table $t 200_000 300_000 funcref) (table $r 200_000 externref)
    (data $d "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
             "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789")
    (elem $e func $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f $f)
    (func $f)
    (func (export "memory.fill") (param i32) (memory.fill (i32.const 8) (i32.const 7) (local.get 0)))
    (func (export "memory.copy") (param i32) (memory.copy (i32.const 9) (i32.const 70) (local.get 0)))
    (func (export "memory.init") (param i32) (memory.init $d (i32.const 9) (i32.const 1) (local.get 0)))
    (func (export "table.fill") (param i32) (table.fill $t (i32.const 8) (ref.func $f) (local.get 0)))
    (func (export "table.fill.extern") (param i32) (table.fill $r (i32.const 8) (ref.null extern) (local.get 0)))
    (func (export "table.copy") (param i32) (table.copy $t $t (i32.const 9) (i32.const 70) (local.get 0)))
    (func (export "table.init") (param i32) (table.init $t $e (i32.const 9) (i32.const 1) (local.get 0)))
    (func (export "table.grow") (param i32) (drop (table.grow $t (ref.func $f) (local.get 0))))
    (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2))))"#;

#[test]
fn bulk_operators_cost_fuel_by_length() {
    let memory = [("memory.fill", 10_000_000), ("memory.copy", 10_000_000), ("memory.init", 190)];
    let table = [
        ("table.fill", 150_000),
        ("table.fill.extern", 150_000),
        ("table.copy", 150_000),
        ("table.init", 30),
        ("table.grow", 90_000),
    ];
    let all: Vec<(&str, i32, i32)> =
        memory.map(|(name, len)| (name, len, 64)).into_iter().chain(table.map(|(name, len)| (name, len, 8))).collect();
    in_all_modes(
        |c| {
            c.consume_fuel(true);
        },
        |engine| {
            let (mut store, instance) = instance(engine, BULK)?;
            for (name, len, unit) in all.clone() {
                let run = instance.get_typed_func::<i32, ()>(&mut store, name)?;
                let mut fuel = |len: i32| -> anyhow::Result<u64> {
                    store.set_fuel(1 << 40)?;
                    run.call(&mut store, len)?;
                    Ok((1 << 40) - store.get_fuel()?)
                };
                let base = fuel(0)?;
                assert!(base < 10, "{name}: {base}");
                for len in [1, unit - 1, unit, 3 * unit + 1, len] {
                    let len = if name == "memory.init" { len.min(190) } else { len };
                    assert_eq!(fuel(len)? - base, (len / unit) as u64, "{name} of {len}");
                }
                // What cannot be paid for is not done.
                store.set_fuel(base)?;
                let error = run.call(&mut store, 2 * unit).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel), "{name}");
                assert_eq!(store.get_fuel()?, 0, "{name}");
                // What is not within is no matter of fuel; a table that cannot grow is no error.
                store.set_fuel(base + 1)?;
                match run.call(&mut store, i32::MAX) {
                    Ok(()) => assert_eq!(name, "table.grow"),
                    Err(error) => {
                        let trap = error.downcast_ref();
                        assert!(
                            matches!(trap, Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds)),
                            "{name}: {error}"
                        );
                    }
                }
            }
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            memory.data_mut(&mut store).fill(0);
            store.set_fuel(1000)?;
            instance.get_typed_func::<i32, ()>(&mut store, "memory.fill")?.call(&mut store, 1 << 20).unwrap_err();
            assert!(memory.data(&store).iter().all(|byte| *byte == 0));
            Ok(())
        },
    );
}

#[test]
fn the_epoch_is_looked_at_during_bulk_operators() {
    in_all_modes(
        |c| {
            c.epoch_interruption(true);
        },
        |engine| {
            let module = Module::new(engine, BULK)?;
            let mut store = Store::new(engine, 0);
            let instance = Instance::new(&mut store, &module, &[])?;
            // The deadline has always passed.
            store.set_epoch_deadline(0);
            for (name, len, least) in [
                ("memory.fill", 16_000_000, 7),
                ("memory.copy", 16_000_000, 7),
                ("table.fill", 199_000, 3),
                ("table.fill.extern", 199_000, 3),
                ("table.copy", 199_000, 3),
                ("table.grow", 99_000, 1),
            ] {
                let run = instance.get_typed_func::<i32, ()>(&mut store, name)?;
                store.epoch_deadline_callback(|mut store| {
                    *store.data_mut() += 1;
                    Ok(UpdateDeadline::Continue(0))
                });
                *store.data_mut() = 0;
                run.call(&mut store, 0)?;
                let without = *store.data();
                *store.data_mut() = 0;
                run.call(&mut store, len)?;
                assert!(*store.data() - without >= least, "{name}: {} and {without}", store.data());
            }
            // It stops in the middle.
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            memory.data_mut(&mut store).fill(1);
            *store.data_mut() = 0;
            store.epoch_deadline_callback(|mut store| {
                *store.data_mut() += 1;
                Ok(if *store.data() == 5 { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(0) })
            });
            let fill = instance.get_typed_func::<i32, ()>(&mut store, "memory.fill")?;
            let error = fill.call(&mut store, 16_000_000).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
            let filled = memory.data(&store).iter().filter(|byte| **byte == 7).count();
            assert!((1..15_000_000).contains(&filled), "{filled}");
            Ok(())
        },
    );
}

#[test]
fn overlapping_copies_in_pieces_are_as_whole_ones() {
    in_all_modes(
        |c| {
            c.epoch_interruption(true);
        },
        |engine| {
            let (mut store, instance) = instance(engine, BULK)?;
            store.set_epoch_deadline(u64::MAX / 2);
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            let copy = instance.get_typed_func::<(i32, i32, i32), ()>(&mut store, "copy")?;
            let bytes: Vec<u8> = (0..memory.data_size(&store)).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
            for (dst, src, len) in [
                (1, 0, 16_000_000),
                (0, 1, 16_000_000),
                (3_000_000, 5, 13_000_000),
                (5, 3_000_000, 13_000_000),
                (2 << 20, 0, 4 << 20),
                (0, 2 << 20, (4 << 20) + 1),
            ] {
                memory.data_mut(&mut store).copy_from_slice(&bytes);
                copy.call(&mut store, (dst, src, len))?;
                let mut expected = bytes.clone();
                expected.copy_within(src as usize..(src + len) as usize, dst as usize);
                assert!(memory.data(&store) == expected, "{dst} {src} {len}");
            }
            Ok(())
        },
    );
}

#[test]
fn the_epoch_is_looked_at_during_instantiation() {
    in_all_modes(
        |c| {
            c.epoch_interruption(true);
        },
        |engine| {
            let data = "x".repeat(6 << 20);
            let data = format!(r#"(module (import "" "memory" (memory 200)) (data (i32.const 9) "{data}"))"#);
            let table = r#"(module (import "" "memory" (memory 1)) (table 400_000 funcref (ref.func $f)) (func $f))"#;
            for (wat, least) in [(&*data, 2), (table, 5)] {
                let module = Module::new(engine, wat)?;
                let mut store = Store::new(engine, 0);
                store.set_epoch_deadline(0);
                store.epoch_deadline_callback(|mut store| {
                    *store.data_mut() += 1;
                    Ok(UpdateDeadline::Continue(0))
                });
                let memory = Memory::new(&mut store, MemoryType::new(200, None))?;
                Instance::new(&mut store, &module, &[memory.into()])?;
                assert!(*store.data() >= least, "{}", store.data());
                store.epoch_deadline_trap();
                let error = Instance::new(&mut store, &module, &[memory.into()]).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt));
            }
            Ok(())
        },
    );
}

#[test]
fn a_limiter_bounds_shared_memories() {
    in_all_modes(
        |_| {},
        |engine| {
            let wat = r#"(module (memory (export "memory") 1 20000 shared)
                (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
            let module = Module::new(engine, wat)?;
            let limited = || {
                let mut store = Store::new(engine, StoreLimitsBuilder::new().memory_size(1 << 20).build());
                store.limiter(|limits| limits);
                store
            };
            let mut store = limited();
            let instance = Instance::new(&mut store, &module, &[])?;
            let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
            assert_eq!(grow.call(&mut store, 15)?, 1);
            for delta in [1, 16_000, -1] {
                assert_eq!(grow.call(&mut store, delta)?, -1);
            }
            assert_eq!(grow.call(&mut store, 0)?, 16);
            let mut store = limited();
            let large = Module::new(engine, "(module (memory 17 20000 shared))")?;
            let error = Instance::new(&mut store, &large, &[]).unwrap_err();
            assert!(error.to_string().contains("exceeds memory limits"), "{error}");
            // A memory of the host is what the host has made it; what the guest adds is limited.
            let importing = r#"(module (import "" "m" (memory 1 20000 shared))
                (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
            let importing = Module::new(engine, importing)?;
            let memory = SharedMemory::new(engine, MemoryType::shared(10, 20_000))?;
            let instance = Instance::new(&mut store, &importing, &[memory.clone().into()])?;
            let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
            assert_eq!([7, 6, 1].map(|delta| grow.call(&mut store, delta).unwrap()), [-1, 10, -1]);
            assert_eq!(memory.grow(100)?, 16);
            Ok(())
        },
    );
}

/// Keeps exceptions alive, each in the one that is thrown next; keeps references of the host in a table.
const HOARD: &str = r#"(module (import "" "new" (func $new (param i32) (result externref)))
    (tag $t (param exnref i64 i64)) (table $kept 100000 externref)
    (func $wrap (param $inner exnref) (result exnref)
        (block $caught (result exnref i64 i64 exnref)
            (try_table (catch_ref $t $caught) (throw $t (local.get $inner) (i64.const 1) (i64.const 2)))
            (unreachable))
        (return))
    (func (export "exceptions") (param $n i32) (local $all exnref)
        (loop $again
            (local.set $all (call $wrap (local.get $all)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "garbage") (param $n i32)
        (loop $again
            (drop (call $wrap (ref.null exn)))
            (drop (call $new (local.get $n)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "references") (param $n i32)
        (loop $again
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (table.set $kept (local.get $n) (call $new (local.get $n)))
            (br_if $again (local.get $n)))))"#;

#[test]
fn a_limiter_bounds_exceptions_and_references_of_the_host() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(engine, HOARD)?;
            let mut linker = Linker::new(engine);
            linker.func_wrap(
                "",
                "new",
                |mut caller: Caller<'_, StoreLimits>, n: i32| -> anyhow::Result<Option<Rooted<ExternRef>>> {
                    ExternRef::new(&mut caller, [n; 8]).map(Some)
                },
            )?;
            for (name, count) in [("exceptions", 50_000), ("references", 50_000)] {
                for limit in [None, Some(1 << 20)] {
                    let mut limits = StoreLimitsBuilder::new();
                    if let Some(limit) = limit {
                        limits = limits.memory_size(limit);
                    }
                    let mut store = Store::new(engine, limits.build());
                    store.limiter(|limits| limits);
                    let instance = linker.instantiate(&mut store, &module)?;
                    // What nobody keeps is no matter how much it is.
                    instance.get_typed_func::<i32, ()>(&mut store, "garbage")?.call(&mut store, 20_000)?;
                    let result = instance.get_typed_func::<i32, ()>(&mut store, name)?.call(&mut store, count);
                    if limit.is_none() {
                        result?;
                        continue;
                    }
                    let error = result.unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::AllocationTooLarge), "{name}");
                    let text = format!("{error:#}");
                    assert!(text.contains("exceptions and host references grow beyond"), "{text}");
                }
            }
            Ok(())
        },
    );
}

#[test]
fn compilation_can_be_interrupted() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let many = format!("(module {})", "(func (result i32) (i32.const 1))".repeat(100));
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let mut config = Config::new();
    config.tiering(Tiering::Eager).compile_interrupt(move || counter.fetch_add(1, Ordering::Relaxed) >= 10);
    let engine = Engine::new(&config).unwrap();
    for _ in 0..2 {
        let error = match asked.load(Ordering::Relaxed) {
            0 => Module::new(&engine, &many).map(|_| ()).unwrap_err(),
            _ => engine.precompile_module(many.as_bytes(), &ArtifactOptions::new()).map(|_| ()).unwrap_err(),
        };
        assert!(format!("{error:#}").contains("compilation was interrupted"), "{error:#}");
    }
    // Not every thread has compiled one more function in the end.
    assert!((12..60).contains(&asked.load(Ordering::Relaxed)));
}
