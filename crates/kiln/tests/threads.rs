//! Shared memories between stores on several threads: atomics, wait and notify, growth.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use kiln::*;

const MODULE: &str = r#"(module
    (import "env" "memory" (memory 1 4 shared))
    ;; Adds 1 to each of six cells of all widths, n times.
    (func (export "count") (param $n i32)
        (loop $again
            (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
            (drop (i64.atomic.rmw.add (i32.const 8) (i64.const 1)))
            (drop (i32.atomic.rmw16.add_u (i32.const 18) (i32.const 1)))
            (drop (i64.atomic.rmw8.add_u (i32.const 21) (i64.const 1)))
            (call $cas_add (i32.const 24))
            (call $lock) (i32.store (i32.const 28) (i32.add (i32.load (i32.const 28)) (i32.const 1))) (call $unlock)
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func $cas_add (param $at i32) (local $old i32)
        (loop $again
            (local.set $old (i32.atomic.load (local.get $at)))
            (br_if $again (i32.ne (local.get $old)
                (i32.atomic.rmw.cmpxchg (local.get $at) (local.get $old) (i32.add (local.get $old) (i32.const 1)))))))
    ;; A lock that sleeps, at 64: 0 free, 1 held, 2 held and waited for.
    (func $lock (local $was i32)
        (local.set $was (i32.atomic.rmw.cmpxchg (i32.const 64) (i32.const 0) (i32.const 1)))
        (if (local.get $was) (then
            (loop $again
                (if (i32.or (i32.eq (local.get $was) (i32.const 2))
                            (i32.ne (i32.atomic.rmw.cmpxchg (i32.const 64) (i32.const 1) (i32.const 2)) (i32.const 0)))
                    (then (drop (memory.atomic.wait32 (i32.const 64) (i32.const 2) (i64.const -1)))))
                (local.set $was (i32.atomic.rmw.cmpxchg (i32.const 64) (i32.const 0) (i32.const 2)))
                (br_if $again (local.get $was))))))
    (func $unlock
        (if (i32.ne (i32.atomic.rmw.sub (i32.const 64) (i32.const 1)) (i32.const 1)) (then
            (i32.atomic.store (i32.const 64) (i32.const 0))
            (drop (memory.atomic.notify (i32.const 64) (i32.const 1))))))
    ;; Hands a turn back and forth: waits until the cell at 128 is `mine`, then makes it `next`, n times.
    (func (export "turns") (param $mine i32) (param $next i32) (param $n i32) (local $now i32)
        (loop $again
            (block $ready
                (loop $wait
                    (local.set $now (i32.atomic.load (i32.const 128)))
                    (br_if $ready (i32.eq (local.get $now) (local.get $mine)))
                    (drop (memory.atomic.wait32 (i32.const 128) (local.get $now) (i64.const -1)))
                    (br $wait)))
            (i32.atomic.store (i32.const 128) (local.get $next))
            (drop (memory.atomic.notify (i32.const 128) (i32.const -1)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "wait32") (param i32 i32 i64) (result i32)
        (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
        (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "notify") (param i32 i32) (result i32) (memory.atomic.notify (local.get 0) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
)"#;

struct World {
    engine: Engine,
    module: Module,
    memory: SharedMemory,
}

impl World {
    fn all() -> [World; 3] {
        [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic].map(|tiering| {
            let engine = Engine::new(Config::new().tiering(tiering)).unwrap();
            let module = Module::new(&engine, MODULE).unwrap();
            let memory = SharedMemory::new(&engine, MemoryType::shared(1, 4)).unwrap();
            World { engine, module, memory }
        })
    }

    /// A new instance over the shared memory, in a store of its own.
    fn instance(&self) -> (Store<()>, Instance) {
        let mut store = Store::new(&self.engine, ());
        let instance = Instance::new(&mut store, &self.module, &[self.memory.clone().into()]).unwrap();
        (store, instance)
    }

    fn call<P: WasmParams, R: WasmResults>(&self, name: &str, params: P) -> Result<R> {
        let (mut store, instance) = self.instance();
        instance.get_typed_func::<P, R>(&mut store, name)?.call(&mut store, params)
    }

    fn load(&self, at: i32) -> u32 {
        self.call("load", at).unwrap()
    }
}

const THREADS: u32 = 4;

#[test]
fn no_count_is_lost() {
    let rounds = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
    for world in World::all() {
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| world.call::<_, ()>("count", rounds).unwrap());
            }
        });
        let total = THREADS * rounds;
        assert_eq!([0, 8, 24, 28].map(|at| world.load(at)), [total; 4]);
        assert_eq!(world.load(12), 0);
        assert_eq!(world.load(16) >> 16, total & 0xffff);
        assert_eq!(world.load(20) >> 8 & 0xff, total & 0xff);
        assert_eq!(world.load(64), 0, "the lock is free");
    }
}

#[test]
fn turns_go_round_without_a_lost_wakeup() {
    let rounds = if cfg!(debug_assertions) { 3_000u32 } else { 30_000 };
    for world in World::all() {
        thread::scope(|scope| {
            for i in 0..THREADS {
                let world = &world;
                scope.spawn(move || world.call::<_, ()>("turns", (i, (i + 1) % THREADS, rounds)).unwrap());
            }
        });
        assert_eq!(world.load(128), 0);
    }
}

#[test]
fn waits_end_as_they_should() -> Result<()> {
    const OK: i32 = 0;
    const MISMATCH: i32 = 1;
    const TIMED_OUT: i32 = 2;
    for world in World::all() {
        assert_eq!(world.call::<_, i32>("wait32", (0, 1, -1i64))?, MISMATCH);
        assert_eq!(world.call::<_, i32>("wait64", (8, 1i64, -1i64))?, MISMATCH);
        let start = Instant::now();
        assert_eq!(world.call::<_, i32>("wait32", (0, 0, 20_000_000i64))?, TIMED_OUT);
        assert_eq!(world.call::<_, i32>("wait64", (8, 0i64, 0i64))?, TIMED_OUT);
        assert!(start.elapsed() >= Duration::from_millis(20));

        let trap = |name: &str, at: i32| {
            let error = match name {
                "wait32" => world.call::<_, i32>(name, (at, 0, 0i64)),
                "wait64" => world.call::<_, i32>(name, (at, 0i64, 0i64)),
                _ => world.call::<_, i32>(name, (at, 1)),
            };
            *error.unwrap_err().downcast_ref::<Trap>().unwrap()
        };
        for (name, at) in [("wait32", 2), ("wait64", 4), ("notify", 1)] {
            assert_eq!(trap(name, at), Trap::HeapMisaligned);
        }
        for (name, at) in [("wait32", 65536), ("wait64", 65536), ("notify", 65536), ("notify", -4)] {
            assert_eq!(trap(name, at), Trap::MemoryOutOfBounds);
        }

        // All that wait are woken, each once: by wasm, then by the host.
        let woken: Vec<i32> = thread::scope(|scope| {
            let waiters: Vec<_> =
                (0..THREADS).map(|_| scope.spawn(|| world.call::<_, i32>("wait32", (4, 0, -1i64)).unwrap())).collect();
            let mut left = THREADS;
            while left > 2 {
                left -= world.call::<_, u32>("notify", (4, 1)).unwrap();
            }
            while left > 0 {
                left -= world.memory.atomic_notify(4, 1).unwrap();
            }
            waiters.into_iter().map(|w| w.join().unwrap()).collect()
        });
        assert_eq!(woken, [OK; THREADS as usize]);
        assert_eq!(world.call::<_, u32>("notify", (4, -1))?, 0);
        let waited = world.memory.atomic_wait32(0, 0, Some(Duration::from_millis(1))).unwrap();
        assert_eq!(waited, WaitResult::TimedOut);
    }
    Ok(())
}

#[test]
fn growth_is_seen_by_all() -> Result<()> {
    for world in World::all() {
        let (mut store, instance) = world.instance();
        let load = instance.get_typed_func::<i32, i32>(&mut store, "load")?;
        let size = instance.get_typed_func::<(), i32>(&mut store, "size")?;
        assert_eq!(load.call(&mut store, 65536).unwrap_err().downcast_ref(), Some(&Trap::MemoryOutOfBounds));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert!(world.call::<_, i32>("grow", 1).unwrap() > 0));
            }
        });
        assert_eq!(size.call(&mut store, ())?, 4);
        assert_eq!(load.call(&mut store, 4 * 65536 - 4)?, 0);
        assert_eq!(world.call::<_, i32>("grow", 1)?, -1);
        assert_eq!((world.memory.size(), world.memory.data_size()), (4, 4 << 16));
    }
    Ok(())
}

#[test]
fn memories_that_are_not_shared_have_atomics_but_no_waits() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (memory 1)
            (func (export "add") (result i32)
                (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 3)))
                (i32.atomic.rmw.xchg (i32.const 0) (i32.const 9)))
            (func (export "notify") (result i32) (memory.atomic.notify (i32.const 0) (i32.const 1)))
            (func (export "wait") (result i32) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0))))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let mut call = |name: &str| instance.get_typed_func::<(), i32>(&mut store, name)?.call(&mut store, ());
    assert_eq!(call("add")?, 3);
    assert_eq!(call("notify")?, 0);
    assert_eq!(call("wait").unwrap_err().downcast_ref(), Some(&Trap::AtomicWaitNonSharedMemory));
    Ok(())
}

#[test]
fn traps_on_several_threads_stay_with_their_own() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (memory 1)
            (func $deep (export "deep") (call $deep) (nop) (call $deep))
            (func (export "load") (drop (i32.load (i32.const 70000))))
            (func (export "div") (param i32) (drop (i32.div_s (i32.const 1) (local.get 0)))))"#,
    )
    .unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let mut trap = |name: &str, args: &[Val]| {
                    let func = instance.get_func(&mut store, name).unwrap();
                    let error = func.call(&mut store, args, &mut []).unwrap_err();
                    *error.downcast_ref::<Trap>().unwrap()
                };
                for _ in 0..50 {
                    assert_eq!(trap("deep", &[]), Trap::StackOverflow);
                    assert_eq!(trap("load", &[]), Trap::MemoryOutOfBounds);
                    assert_eq!(trap("div", &[Val::I32(0)]), Trap::IntegerDivisionByZero);
                }
            });
        }
    });
}

/// How much faster two threads draw a Mandelbrot set than one.
#[test]
#[ignore = "a measurement: it needs two idle processors"]
fn two_threads_are_nearly_twice_as_fast() -> Result<()> {
    const ROWS: i32 = 600;
    let wat = r#"(module
        (import "env" "memory" (memory 1 4 shared))
        (func (export "sum") (result i64) (i64.atomic.load (i32.const 8)))
        ;; Takes rows from the counter at 0 until there are none left; adds the iterations to the cell at 8.
        (func (export "work") (param $rows i32)
            (local $row i32) (local $col i32) (local $i i32) (local $sum i64)
            (local $x f64) (local $y f64) (local $cx f64) (local $cy f64) (local $t f64)
            (block $done
                (loop $next
                    (local.set $row (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
                    (br_if $done (i32.ge_s (local.get $row) (local.get $rows)))
                    (local.set $cy (f64.sub (f64.div (f64.convert_i32_s (local.get $row)) (f64.const 300)) (f64.const 1)))
                    (local.set $col (i32.const 0))
                    (loop $pixel
                        (local.set $cx
                            (f64.sub (f64.div (f64.convert_i32_s (local.get $col)) (f64.const 300)) (f64.const 1.5)))
                        (local.set $x (f64.const 0)) (local.set $y (f64.const 0)) (local.set $i (i32.const 0))
                        (block $out
                            (loop $step
                                (local.set $t (f64.add (local.get $cx) (f64.sub
                                    (f64.mul (local.get $x) (local.get $x)) (f64.mul (local.get $y) (local.get $y)))))
                                (local.set $y (f64.add (local.get $cy)
                                    (f64.mul (f64.const 2) (f64.mul (local.get $x) (local.get $y)))))
                                (local.set $x (local.get $t))
                                (br_if $out (f64.gt (f64.add (f64.mul (local.get $x) (local.get $x))
                                    (f64.mul (local.get $y) (local.get $y))) (f64.const 4)))
                                (br_if $step (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                                    (i32.const 500)))))
                        (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_s (local.get $i))))
                        (br_if $pixel (i32.lt_s (local.tee $col (i32.add (local.get $col) (i32.const 1)))
                            (i32.const 600))))
                    (br $next)))
            (drop (i64.atomic.rmw.add (i32.const 8) (local.get $sum)))))"#;
    let engine = Engine::default();
    let module = Module::new(&engine, wat)?;
    let run = |threads: usize| {
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 4)).unwrap();
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut store = Store::new(&engine, ());
                    let instance = Instance::new(&mut store, &module, &[memory.clone().into()]).unwrap();
                    let work = instance.get_typed_func::<i32, ()>(&mut store, "work").unwrap();
                    work.call(&mut store, ROWS).unwrap();
                });
            }
        });
        let time = start.elapsed();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[memory.into()]).unwrap();
        let sum = instance.get_typed_func::<(), u64>(&mut store, "sum").unwrap();
        (time, sum.call(&mut store, ()).unwrap())
    };
    let (_, iterations) = run(2);
    let best = |threads: usize| {
        let times = (0..5).map(|_| {
            let (time, sum) = run(threads);
            assert_eq!(sum, iterations, "every row is drawn once");
            time
        });
        times.min().unwrap()
    };
    let (one, two) = (best(1), best(2));
    let scaling = one.as_secs_f64() / two.as_secs_f64();
    println!("one thread {one:?}, two {two:?}: {scaling:.2} times as fast");
    assert!(scaling >= 1.8);
    Ok(())
}
