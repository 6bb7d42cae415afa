//! A function with very many locals and blocks keeps its locals in memory, which nobody may notice.

use kiln::{Caller, Config, Engine, ExternRef, Func, Instance, Module, Rooted, Store, Tiering};

/// Every kind of local in loops, branches, calls that collect, and handlers of exceptions. `FILLER` has no effect.
const WAT: &str = r#"
    (module
        (import "" "gc" (func $gc))
        (tag $t)
        (func $seven (result i32) (i32.const 7))
        (elem declare func $seven)
        (func (export "run") (param i32 i64 f32 f64 externref) (result i32 i64 f32 f64 i64 externref i32 i32)
            (local $n i32) (local $v v128) (local $f funcref) (local $e externref) (local $zero i64) (local $caught i32)
            FILLER
            (loop $again
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (local.set 1 (i64.add (local.get 1) (i64.extend_i32_s (local.get $n))))
                (if (i32.and (local.get $n) (i32.const 1))
                    (then
                        (local.set 2 (f32.mul (local.get 2) (f32.const 1.5)))
                        (local.set $v (i32x4.add (local.get $v) (i32x4.splat (local.get $n)))))
                    (else
                        (local.set 3 (f64.sub (local.get 3) (f64.const 0.25)))
                        (local.set $e (local.get 4))
                        (local.set $f (ref.func $seven))))
                (call $gc)
                (block $next
                    (try_table (catch $t $next)
                        (local.set $caught (i32.add (local.get $caught) (i32.const 10)))
                        (if (i32.rem_u (local.get $n) (i32.const 3))
                            (then (throw $t)))
                        (local.set $caught (i32.sub (local.get $caught) (i32.const 1)))))
                (br_if $again (i32.lt_u (local.get $n) (local.get 0))))
            (local.get $n) (local.get 1) (local.get 2) (local.get 3)
            (i64.add (local.get $zero) (i64x2.extract_lane 1 (local.get $v)))
            (local.get $e) (ref.is_null (local.get $f)) (local.get $caught))
    )"#;

type Results = (i32, i64, f32, f64, i64, Option<Rooted<ExternRef>>, i32, i32);

fn run(engine: &Engine, filler: &str) -> (i32, i64, f32, f64, i64, Option<String>, i32, i32) {
    let wat = WAT.replace("FILLER", filler);
    let module = Module::new(engine, wat).unwrap();
    let mut store = Store::new(engine, ());
    let gc = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| caller.gc());
    let instance = Instance::new(&mut store, &module, &[gc.into()]).unwrap();
    let run =
        instance.get_typed_func::<(i32, i64, f32, f64, Option<Rooted<ExternRef>>), Results>(&mut store, "run").unwrap();
    let object = ExternRef::new(&mut store, String::from("object")).unwrap();
    let r = run.call(&mut store, (20, 5, 1.0, 2.0, Some(object))).unwrap();
    let text = r.5.and_then(|e| {
        let data = e.data(&store).unwrap();
        data.and_then(|d| d.downcast_ref::<String>()).cloned()
    });
    (r.0, r.1, r.2, r.3, r.4, text, r.6, r.7)
}

#[test]
fn in_memory_or_not() {
    // Enough locals and blocks to exceed `MAX_LOCAL_BLOCKS`.
    let mut filler = format!("(local {})", "i64 ".repeat(2_000));
    for i in 11..2_011 {
        filler.push_str(&format!("(local.set {i} (i64.const {i}))"));
    }
    filler.push_str(&"(block)".repeat(40_000));
    let expected = (20, 215, 1.5f32.powi(10), 2.0 - 2.5, 100 + (100 << 32), Some("object".to_owned()), 0, 194);
    for tiering in [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic] {
        for signals in [true, false] {
            let engine = Engine::new(Config::new().tiering(tiering).signals_based_traps(signals)).unwrap();
            assert_eq!(run(&engine, ""), expected);
            assert_eq!(run(&engine, &filler), expected);
        }
    }
}
