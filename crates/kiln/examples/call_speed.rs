//! Times calls between host and wasm, and instantiation: `cargo run --profile fast --example call_speed`.

use std::hint::black_box;
use std::time::Instant;

use kiln::*;

const WAT: &str = r#"(module
    (import "h" "f0" (func $f0))
    (import "h" "f1" (func $f1 (param i32 i32) (result i32)))
    (memory (export "memory") 2)
    (table 10 funcref)
    (elem (i32.const 0) func $add)
    (data (i32.const 1024) "hello")
    (global $g (mut i32) (i32.const 65536))
    (func (export "nop"))
    (func $add (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "loop0") (param i32) (loop (call $f0)
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "loop1") (param i32) (result i32) (local i32) (loop
        (local.set 1 (call $f1 (local.get 1) (local.get 0)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (local.get 1))
    (func (export "loopi") (param i32) (result i32) (local i32) (loop
        (local.set 1 (call_indirect (param i32 i32) (result i32) (local.get 1) (local.get 0) (i32.const 0)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (local.get 1))
)"#;

fn time(what: &str, n: u32, mut f: impl FnMut()) {
    let mut best = f64::INFINITY;
    let wanted = std::env::args().nth(1);
    if wanted.as_ref().is_some_and(|w| !what.contains(&**w)) {
        return;
    }
    for _ in 0..if wanted.is_some() { 60 } else { 7 } {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(n));
    }
    println!("{what:32} {best:9.2} ns");
}

fn main() -> anyhow::Result<()> {
    for tiering in [Tiering::Eager, Tiering::Lazy] {
        println!("{tiering:?}");
        let engine = Engine::new(Config::new().tiering(tiering))?;
        let module = Module::new(&engine, WAT)?;
        let mut linker: Linker<u64> = Linker::new(&engine);
        linker.func_wrap("h", "f0", || {})?;
        linker.func_wrap("h", "f1", |mut c: Caller<'_, u64>, a: i32, b: i32| {
            *c.data_mut() += 1;
            a.wrapping_add(b)
        })?;
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module)?;
        let n = 1_000_000;
        let nop = instance.get_typed_func::<(), ()>(&mut store, "nop")?;
        time("host to wasm, nop", n, || (0..n).for_each(|_| nop.call(&mut store, ()).unwrap()));
        let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
        time("host to wasm, add", n, || {
            (0..n).for_each(|i| _ = black_box(add.call(&mut store, (black_box(i as i32), 2)).unwrap()))
        });
        let dynamic = instance.get_func(&mut store, "add").unwrap();
        let mut results = [Val::I32(0)];
        time("host to wasm, add, dynamic", n, || {
            (0..n).for_each(|i| dynamic.call(&mut store, &[Val::I32(i as i32), Val::I32(2)], &mut results).unwrap())
        });
        let loop0 = instance.get_typed_func::<u32, ()>(&mut store, "loop0")?;
        time("wasm to host, nop", n, || loop0.call(&mut store, n).unwrap());
        let loop1 = instance.get_typed_func::<u32, i32>(&mut store, "loop1")?;
        time("wasm to host, add with data", n, || _ = black_box(loop1.call(&mut store, n).unwrap()));
        let loopi = instance.get_typed_func::<u32, i32>(&mut store, "loopi")?;
        time("wasm to wasm, indirect", n, || _ = black_box(loopi.call(&mut store, n).unwrap()));
        let pre = linker.instantiate_pre(&module)?;
        let n = 5_000;
        time("store and instance, and drop", n, || {
            (0..n).for_each(|_| {
                let mut store = Store::new(&engine, 0);
                black_box(pre.instantiate(&mut store).unwrap());
            })
        });
        let small = Module::new(&engine, "(module (func (export \"f\")))")?;
        let pre = Linker::<u64>::new(&engine).instantiate_pre(&small)?;
        time("the same, empty module", n, || {
            (0..n).for_each(|_| {
                let mut store = Store::new(&engine, 0);
                black_box(pre.instantiate(&mut store).unwrap());
            })
        });
    }
    Ok(())
}
