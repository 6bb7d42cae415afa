//! Calls between host and wasm, and what goes wrong in them.

use kiln::*;

fn engines() -> [Engine; 3] {
    [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic]
        .map(|tiering| Engine::new(Config::new().tiering(tiering)).unwrap())
}

#[test]
fn typed_calls_both_ways() -> anyhow::Result<()> {
    for engine in engines() {
        let module = Module::new(
            &engine,
            r#"(module
                (import "h" "mul" (func $mul (param i32 i64) (result i64)))
                (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
                (func (export "via") (param i32 i64) (result i64) (call $mul (local.get 0) (local.get 1)))
                (func (export "many") (param i32 i64 f32 f64 i32 i64 i32 i64 i32) (result i32 i64 f32 f64 i32)
                    local.get 0 local.get 1 local.get 2 local.get 3 local.get 8))"#,
        )?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("h", "mul", |mut caller: Caller<'_, u32>, a: i32, b: i64| {
            *caller.data_mut() += 1;
            i64::from(a) * b
        })?;
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module)?;
        let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
        assert_eq!(add.call(&mut store, (1, 2))?, 3);
        let via = instance.get_typed_func::<(i32, i64), i64>(&mut store, "via")?;
        assert_eq!(via.call(&mut store, (-3, 1 << 40))?, -3 << 40);
        assert_eq!(*store.data(), 1);
        let many = instance
            .get_typed_func::<(i32, i64, f32, f64, i32, i64, i32, i64, i32), (i32, i64, f32, f64, i32)>(
                &mut store, "many",
            )?;
        assert_eq!(many.call(&mut store, (1, 2, 3.0, 4.0, 5, 6, 7, 8, 9))?, (1, 2, 3.0, 4.0, 9));
    }
    Ok(())
}
