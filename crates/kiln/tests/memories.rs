//! Memories and tables: initial contents, growth, many instances, sharing between threads.

mod common;

use std::time::Duration;

use common::{in_all_modes, instance};
use kiln::*;

#[test]
fn initial_contents_are_fresh_in_every_instance() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(
                engine,
                r#"(module (memory (export "m") 3)
                    (data (i32.const 10) "first") (data (i32.const 12) "X") (data (i32.const 196600) "at the e")
                    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#,
            )?;
            // More rounds than a module keeps memories for the next instances.
            for round in 0..40 {
                let mut store = Store::new(engine, ());
                let instance = Instance::new(&mut store, &module, &[])?;
                let memory = instance.get_memory(&mut store, "m").unwrap();
                let data = memory.data(&store);
                assert_eq!(data.len(), 3 << 16);
                assert_eq!(&data[8..16], b"\0\0fiXst\0");
                assert_eq!(&data[196_600..], b"at the e");
                assert_eq!(data.iter().filter(|b| **b != 0).count(), 13);
                let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
                assert_eq!(grow.call(&mut store, round % 5)?, 3);
                let data = memory.data_mut(&mut store);
                assert_eq!(data.len(), (3 + round as usize % 5) << 16);
                assert!(data[3 << 16..].iter().all(|b| *b == 0));
                data.fill(0xaa);
            }
            Ok(())
        },
    );
}

#[test]
fn what_was_written_before_a_trap_stays() {
    in_all_modes(
        |_| {},
        |engine| {
            let mut store = Store::new(engine, ());
            let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
            let table = Table::new(&mut store, TableType::new(RefType::FUNCREF, 4, None), Ref::Func(None))?;
            let module = Module::new(
                engine,
                r#"(module
                    (import "h" "m" (memory 1)) (import "h" "t" (table 4 funcref)) (memory 1)
                    (global $g (mut i32) (i32.const 7))
                    (func $f (result i32) (global.get $g))
                    (elem (i32.const 1) func $f)
                    (data (i32.const 5) "abc") (data (i32.const 65534) "defg") (data (i32.const 20) "never"))"#,
            )?;
            let error = Instance::new(&mut store, &module, &[memory.into(), table.into()]).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
            assert_eq!(&memory.data(&store)[4..9], b"\0abc\0");
            assert_eq!(memory.data(&store)[65_535], 0);
            assert_eq!(memory.data(&store)[20], 0);
            // The function of the instance that failed works.
            let f = table.get(&mut store, 1).unwrap().as_func().flatten().copied().expect("set");
            assert_eq!(f.typed::<(), i32>(&store)?.call(&mut store, ())?, 7);
            Ok(())
        },
    );
}

#[test]
fn memories_of_all_styles_grow_and_trap() {
    for reservation in [1 << 32, 1 << 20, 0] {
        in_all_modes(
            |c| {
                c.memory_reservation(reservation).memory_guard_size(1 << 16);
            },
            |engine| {
                for index in ["i32", "i64"] {
                    let wat = format!(
                        r#"(module (memory (export "m") {index} 1 40)
                            (func (export "grow") (param {index}) (result {index}) (memory.grow (local.get 0)))
                            (func (export "load") (param {index}) (result i32) (i32.load offset=4 (local.get 0)))
                            (func (export "store") (param {index} i32) (i32.store (local.get 0) (local.get 1))))"#
                    );
                    let (mut store, instance) = instance(engine, &wat)?;
                    let func = |store: &mut Store<()>, name: &str| instance.get_func(store, name).unwrap();
                    let number = |n: i64| if index == "i32" { Val::I32(n as i32) } else { Val::I64(n) };
                    let (grow, load, put) =
                        (func(&mut store, "grow"), func(&mut store, "load"), func(&mut store, "store"));
                    let mut call = |f: Func, args: &[Val], results: usize| {
                        let mut out = vec![Val::I32(0); results];
                        f.call(&mut store, args, &mut out).map(|()| out)
                    };
                    call(put, &[number(65_532), Val::I32(42)], 0)?;
                    assert!(call(put, &[number(65_533), Val::I32(42)], 0).is_err());
                    for pages in 1..=39 {
                        let old = call(grow, &[number(1)], 1)?;
                        assert_eq!(format!("{:?}", old[0]), format!("{:?}", number(pages)));
                        assert_eq!(call(load, &[number(65_528)], 1)?[0].i32(), Some(42));
                        assert_eq!(call(load, &[number((pages + 1) * 65_536 - 8)], 1)?[0].i32(), Some(0));
                        let error = call(load, &[number((pages + 1) * 65_536 - 7)], 1).unwrap_err();
                        assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
                    }
                    let failed = call(grow, &[number(1)], 1)?;
                    assert_eq!(format!("{:?}", failed[0]), format!("{:?}", number(-1)));
                    assert!(call(load, &[number(-4)], 1).is_err());
                }
                Ok(())
            },
        );
    }
}

#[test]
fn ten_thousand_instances_live_at_once() -> anyhow::Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (memory (export "m") 1) (data (i32.const 0) "\05")
            (table 10 funcref) (elem (i32.const 0) func $f)
            (func $f (export "f") (result i32) (i32.load8_u (i32.const 0))))"#,
    )?;
    let pre = Linker::new(&engine).instantiate_pre(&module)?;
    let mut stores = Vec::new();
    for i in 0..10_000usize {
        let mut store = Store::new(&engine, ());
        let instance = pre.instantiate(&mut store)?;
        let f = instance.get_typed_func::<(), i32>(&mut store, "f")?;
        if i % 2 == 0 {
            instance.get_memory(&mut store, "m").unwrap().grow(&mut store, 1)?;
        }
        stores.push((store, f));
    }
    for (store, f) in stores.iter_mut().step_by(97) {
        assert_eq!(f.call(store, ())?, 5);
    }
    let maps = std::fs::read_to_string("/proc/self/maps")?.lines().count();
    assert!(maps < 31_000, "{maps} mappings");
    Ok(())
}

#[test]
fn large_tables_are_built_as_they_are_used() {
    in_all_modes(
        |_| {},
        |engine| {
            let count = 50_000;
            let mut wat = String::from("(module (type $t (func (result i32)))");
            for i in 0..50 {
                wat += &format!("(func $f{i} (result i32) (i32.const {i}))");
            }
            wat += &format!("(table (export \"t\") {count} funcref) (elem (i32.const 0) func");
            for i in 0..count - 1 {
                wat += &format!(" $f{}", i % 50);
            }
            wat += r#")
                (func (export "call") (param i32) (result i32) (call_indirect (type $t) (local.get 0)))
                (func (export "copy") (param i32 i32 i32) (table.copy (local.get 0) (local.get 1) (local.get 2)))
                (func (export "grow") (param i32) (result i32) (table.grow (ref.null func) (local.get 0)))
                (func (export "null") (param i32) (table.set (local.get 0) (ref.null func))))"#;
            let (mut store, instance) = instance(engine, &wat)?;
            let call = instance.get_typed_func::<i32, i32>(&mut store, "call")?;
            let copy = instance.get_typed_func::<(i32, i32, i32), ()>(&mut store, "copy")?;
            let null = instance.get_typed_func::<i32, ()>(&mut store, "null")?;
            let table = instance.get_table(&mut store, "t").unwrap();
            assert_eq!(call.call(&mut store, 49_998)?, 48);
            assert!(call.call(&mut store, 49_999).is_err());
            assert!(table.get(&mut store, 49_999).unwrap().is_null());
            copy.call(&mut store, (100, 103, 20))?;
            assert_eq!(call.call(&mut store, 100)?, 3);
            null.call(&mut store, 200)?;
            assert!(call.call(&mut store, 200).is_err());
            let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
            assert_eq!(grow.call(&mut store, 100_000)?, count);
            assert_eq!(call.call(&mut store, 100)?, 3);
            assert_eq!(call.call(&mut store, 101)?, 4);
            assert_eq!(call.call(&mut store, 777)?, 27);
            assert!(call.call(&mut store, 200).is_err());
            assert!(call.call(&mut store, 149_999).is_err());
            assert_eq!(table.size(&store), 150_000);
            Ok(())
        },
    );
}

const SHARED: &str = r#"(module (import "h" "m" (memory 1 10 shared))
    (func (export "add") (param $times i32) (loop
        (drop (i32.atomic.rmw.add (i32.const 64) (i32.const 1)))
        (br_if 0 (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
    (func (export "wait") (param i32 i64) (result i32)
        (memory.atomic.wait32 (i32.const 0) (local.get 0) (local.get 1)))
    (func (export "notify") (param i32) (result i32) (memory.atomic.notify (i32.const 0) (local.get 0)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size)))"#;

fn shared_instance(engine: &Engine, module: &Module, memory: &SharedMemory) -> anyhow::Result<(Store<()>, Instance)> {
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[memory.clone().into()])?;
    Ok((store, instance))
}

#[test]
fn shared_memories_serve_threads() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(engine, SHARED)?;
            let memory = SharedMemory::new(engine, MemoryType::shared(1, 10))?;
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let (mut store, instance) = shared_instance(engine, &module, &memory).unwrap();
                        let add = instance.get_typed_func::<i32, ()>(&mut store, "add").unwrap();
                        add.call(&mut store, 10_000).unwrap();
                        let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow").unwrap();
                        grow.call(&mut store, 1).unwrap();
                    });
                }
            });
            assert_eq!(memory.size(), 5);
            assert_eq!(memory.atomic_wait32(64, 40_000, Some(Duration::ZERO))?, WaitResult::TimedOut);
            let (mut store, instance) = shared_instance(engine, &module, &memory)?;
            assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "size")?.call(&mut store, ())?, 5);
            Ok(())
        },
    );
}

#[test]
fn waiting_and_notifying() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(engine, SHARED)?;
            let memory = SharedMemory::new(engine, MemoryType::shared(1, 10))?;
            let (mut store, instance) = shared_instance(engine, &module, &memory)?;
            let wait = instance.get_typed_func::<(i32, i64), i32>(&mut store, "wait")?;
            assert_eq!(wait.call(&mut store, (1, -1))?, 1);
            assert_eq!(wait.call(&mut store, (0, 1_000_000))?, 2);

            let memory = SharedMemory::new(engine, MemoryType::shared(1, 10))?;
            let (mut store, instance) = shared_instance(engine, &module, &memory)?;
            let wait = instance.get_typed_func::<(i32, i64), i32>(&mut store, "wait")?;
            let waiter = std::thread::spawn(move || wait.call(&mut store, (0, -1)).unwrap());
            while memory.atomic_notify(0, 1)? == 0 {
                std::thread::yield_now();
            }
            assert_eq!(waiter.join().unwrap(), 0);
            assert_eq!(memory.atomic_notify(0, u32::MAX)?, 0);
            assert_eq!(memory.atomic_notify(2, 1).unwrap_err(), Trap::HeapMisaligned);
            assert_eq!(memory.atomic_wait64(65_536, 0, None).unwrap_err(), Trap::MemoryOutOfBounds);
            Ok(())
        },
    );
}

#[test]
fn host_memories_are_imported_and_grow_for_all() {
    in_all_modes(
        |_| {},
        |engine| {
            let module = Module::new(
                engine,
                r#"(module (import "h" "m" (memory 1)) (export "m" (memory 0))
                    (func (export "size") (result i32) (memory.size))
                    (func (export "last") (result i32)
                        (i32.load8_u (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)))))"#,
            )?;
            let mut store = Store::new(engine, ());
            let memory = Memory::new(&mut store, MemoryType::new(1, Some(5)))?;
            let one = Instance::new(&mut store, &module, &[memory.into()])?;
            let reexported = one.get_memory(&mut store, "m").unwrap();
            let two = Instance::new(&mut store, &module, &[reexported.into()])?;
            reexported.grow(&mut store, 3)?;
            let last = memory.data_size(&store) - 1;
            memory.write(&mut store, last, &[9])?;
            assert!(memory.write(&mut store, last, &[1, 2]).is_err());
            for instance in [one, two] {
                assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "size")?.call(&mut store, ())?, 4);
                assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "last")?.call(&mut store, ())?, 9);
            }
            Ok(())
        },
    );
}

/// Whether the system is asked for huge pages at an address.
fn asks_for_huge_pages(address: *const u8) -> bool {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in maps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = range.map(|(start, end)| (number(start), number(end))) {
            inside = (start..end).contains(&address.addr());
        } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
            return flags.split(' ').any(|flag| flag == "hg");
        }
    }
    panic!("nothing is mapped at {address:p}");
}

#[test]
fn large_memories_grow_by_huge_pages_if_wanted() {
    // Systems without huge pages cannot be asked for any.
    let has_any = std::path::Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists();
    for wanted in [true, false] {
        in_all_modes(
            |c| {
                c.memory_huge_pages(wanted);
            },
            |engine| {
                for (min, shared) in [(1, ""), (300, ""), (1, "1000 shared")] {
                    let text = format!(
                        "(module (memory (export \"m\") {min} {shared}) (data (i32.const 9) \"data\")
                           (func (export \"grow\") (param i32) (result i32) (memory.grow (local.get 0)))
                           (func (export \"set\") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
                           (func (export \"get\") (param i32) (result i32) (i32.load (local.get 0))))"
                    );
                    let module = Module::new(engine, &text)?;
                    let mut store = Store::new(engine, ());
                    let instance = Instance::new(&mut store, &module, &[])?;
                    let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
                    let set = instance.get_typed_func::<(i32, i32), ()>(&mut store, "set")?;
                    let get = instance.get_typed_func::<i32, i32>(&mut store, "get")?;
                    let asked = |store: &mut Store<()>, at: usize| {
                        let base = match instance.get_export(&mut *store, "m").unwrap() {
                            Extern::Memory(memory) => memory.data_ptr(&*store).cast_const(),
                            Extern::SharedMemory(memory) => memory.data().as_ptr().cast(),
                            _ => panic!("not a memory"),
                        };
                        asks_for_huge_pages(base.wrapping_add(at))
                    };
                    // 7 MiB, or 20 to begin with.
                    assert_eq!(grow.call(&mut store, 111)?, min);
                    set.call(&mut store, ((7 << 20) - 4, 5))?;
                    assert!(!asked(&mut store, 6 << 20));
                    assert_eq!(grow.call(&mut store, 500)?, min + 111);
                    assert!(!asked(&mut store, 6 << 20));
                    assert_eq!(asked(&mut store, 30 << 20), wanted && has_any);
                    assert_eq!(get.call(&mut store, (7 << 20) - 4)?, 5);
                    assert_eq!(get.call(&mut store, 9)?, i32::from_le_bytes(*b"data"));
                    assert_eq!(get.call(&mut store, 30 << 20)?, 0);
                    set.call(&mut store, (30 << 20, 6))?;
                    assert_eq!(grow.call(&mut store, 100)?, min + 611);
                    assert_eq!(get.call(&mut store, 30 << 20)?, 6);
                }
                Ok(())
            },
        );
    }
}
