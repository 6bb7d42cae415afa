//! Functions that change their tier while they run.

use std::time::{Duration, Instant};

use kiln::{Config, Engine, Instance, Module, OptLevel, Store, TierUp, Tiering, Trap, Val, WasmBacktrace};

fn engine(when: TierUp) -> Engine {
    Engine::new(Config::new().tiering(Tiering::Dynamic).tier_up(when)).unwrap()
}

const STRATEGIES: [TierUp; 4] = [TierUp::Background, TierUp::AtOnce, TierUp::Random(1), TierUp::Random(2)];

/// A loop within a loop, with operands below both.
const NESTED: &str = r#"(module (func (export "run") (param $n i32) (result i64)
    (local $i i32) (local $j i32) (local $sum i64) (local $v v128)
    (i64.const 1000000)
    (loop $outer (result i64)
      (i64.const 5)
      (local.set $j (i32.const 0))
      (loop $inner
        (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $j))))
        (local.set $v (i32x4.add (local.get $v) (i32x4.splat (i32.const 1))))
        (br_if $inner (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 10))))
      (local.set $sum (i64.add (local.get $sum)))
      (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))
      (i64.extend_i32_u (i32x4.extract_lane 3 (local.get $v))))
    (i64.add)
    (i64.add (local.get $sum))))"#;

#[test]
fn state_survives_the_change() {
    for when in STRATEGIES {
        let engine = engine(when);
        let module = Module::new(&engine, NESTED).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
        for n in [1, 2, 3, 100] {
            let n = i64::from(n);
            assert_eq!(run.call(&mut store, n as i32).unwrap(), 1_000_000 + n * (45 + 5) + n * 10, "{when:?}");
        }
        let tiers = module.compile_statistics().tiers.unwrap();
        assert_eq!(tiers.failed, 0);
        match when {
            TierUp::AtOnce => {
                assert_eq!((tiers.baseline_functions, tiers.optimized_functions), (1, 1));
                assert!(tiers.osr_entries > 0, "{tiers:?}");
            }
            TierUp::Background => assert_eq!(tiers.baseline_functions, 1),
            _ => {}
        }
    }
}

#[test]
fn vectors_behind_a_loop_do_not_change_how_it_is_left() {
    // Operands and a local are in a row of slots at the loop's header. What comes later is wider.
    let wat = r#"(module (func (export "run") (param $n i32) (result i64) (local $i i32)
        (i64.const 1000)
        (i64.const 20)
        (loop (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
        (i64.add)
        (i64.add (i64x2.extract_lane 1 (i64x2.add (i64x2.splat (i64.const 3)) (v128.const i64x2 1 4))))
        (i64.add (i64.extend_i32_u (local.get $i)))))"#;
    for when in STRATEGIES {
        let engine = engine(when);
        let module = Module::new(&engine, wat).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
        for n in [1, 2, 50] {
            assert_eq!(run.call(&mut store, n).unwrap(), 1_027 + i64::from(n), "{when:?}");
        }
        if when == TierUp::AtOnce {
            assert!(module.compile_statistics().tiers.unwrap().osr_entries > 0);
        }
    }
}

#[test]
fn a_function_that_never_returns_gets_fast() {
    let engine = engine(TierUp::Background);
    let module = Module::new(
        &engine,
        r#"(module (global $stop (export "stop") (mut i32) (i32.const 0)) (memory (export "memory") 1)
            (func (export "run") (local i32)
              (loop (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                (i32.store (i32.const 0) (local.get 0))
                (br_if 0 (i32.lt_u (local.get 0) (i32.const 2000000000))))))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
    run.call(&mut store, ()).unwrap();
    let tiers = module.compile_statistics().tiers.unwrap();
    assert_eq!((tiers.osr_functions, tiers.osr_entries), (1, 1), "{tiers:?}");
}

/// The body entered at the loop is there soon. Long before there are as many calls as make a function hot, a normal entry
/// takes its place.
#[test]
fn functions_entered_at_a_loop_get_normal_entries() {
    let engine = engine(TierUp::Background);
    let module = Module::new(
        &engine,
        r#"(module (func (export "f") (param i32) (result i32) (local i32)
            (loop (local.set 1 (i32.add (local.get 1) (local.get 0)))
              (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (local.get 1)))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    for _ in 0..400 {
        assert_eq!(f.call(&mut store, 20_000).unwrap(), 200_010_000);
        if module.compile_statistics().tiers.unwrap().optimized_functions == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let tiers = module.compile_statistics().tiers.unwrap();
    assert_eq!((tiers.osr_functions, tiers.optimized_functions), (1, 1), "{tiers:?}");
    f.call(&mut store, 20_000).unwrap();
    assert_eq!(module.compile_statistics().tiers.unwrap().osr_entries, tiers.osr_entries);
}

#[test]
fn hot_functions_are_replaced() {
    let engine = engine(TierUp::Background);
    let module =
        Module::new(&engine, r#"(module (func (export "f") (param i32) (result i32) (local.get 0)))"#).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    let start = Instant::now();
    while module.compile_statistics().tiers.unwrap().optimized_functions == 0 {
        for i in 0..1000 {
            assert_eq!(f.call(&mut store, i).unwrap(), i);
        }
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

/// What a guest can see of a run: results or trap with backtrace, and the fuel that is left.
fn observe(engine: &Engine, wat: &str, calls: &[(&str, i32)]) -> Vec<String> {
    let module = Module::new(engine, wat).unwrap();
    let mut store = Store::new(engine, ());
    store.set_fuel(1_000_000).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let mut seen = Vec::new();
    for (name, argument) in calls {
        let f = instance.get_func(&mut store, name).unwrap();
        let mut results = vec![Val::I32(0); f.ty(&store).results().len()];
        let outcome = match f.call(&mut store, &[Val::I32(*argument)], &mut results) {
            Ok(()) => format!("{results:?}"),
            Err(error) => {
                let trap = error.downcast_ref::<Trap>().copied();
                let frames = error.downcast_ref::<WasmBacktrace>().unwrap().frames();
                let frames: Vec<_> = frames.iter().map(|f| (f.func_index(), f.func_offset())).collect();
                format!("{trap:?} {frames:?}")
            }
        };
        seen.push(format!("{outcome} {}", store.get_fuel().unwrap()));
    }
    seen
}

const TRAPPING: &str = r#"(module
    (tag $t (param i32))
    (table funcref (elem $down $up))
    (type $f (func (param i32) (result i32)))
    (func $down (export "down") (type $f)
      (if (i32.eqz (local.get 0)) (then (unreachable)))
      (loop (br_if 0 (i32.gt_u (i32.and (local.tee 0 (i32.sub (local.get 0) (i32.const 1))) (i32.const 3)) (i32.const 0))))
      (call $up (local.get 0)))
    (func $up (type $f) (i32.add (i32.const 1) (call_indirect (type $f) (local.get 0) (i32.const 0))))
    (func (export "divide") (param i32) (result i32) (local $i i32)
      (loop (result i32)
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 20)))
        (i32.div_u (i32.const 1) (local.get 0))))
    (func $throw (param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))) (throw $t (i32.const 7))))
    (func (export "catch") (param i32) (result i32) (local $i i32) (local $sum i32)
      (loop $again
        (local.set $sum (i32.add (local.get $sum) (block $h (result i32)
          (try_table (catch $t $h) (loop (call $throw (local.get 0)) (br 0)))
          (i32.const 0))))
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
      (local.get $sum))
    (func $even (export "even") (type $f)
      (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
      (return_call $odd (i32.sub (local.get 0) (i32.const 1))))
    (func $odd (type $f)
      (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
      (return_call_indirect (type $g) (i32.sub (local.get 0) (i32.const 1)) (i32.const 2)))
    (type $g (func (param i32) (result i32)))
    (table $more funcref (elem))
    (elem (table 0) (i32.const 2) func)
    (func (export "many") (param i32) (result i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
      (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
      (local.get 0) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)
      (i32.const 5) (i32.const 6) (i32.const 7) (i32.const 8) (i32.const 9)))"#;

#[test]
fn nobody_sees_the_tier() {
    let calls = [
        ("down", 13),
        ("down", 13),
        ("divide", 1),
        ("divide", 0),
        ("divide", 0),
        ("catch", 3),
        ("catch", 5),
        ("even", 1000),
        ("even", 1001),
        ("many", 9),
        ("many", 9),
        ("down", 40),
    ];
    let config = |tiering, when| {
        let mut config = Config::new();
        config.tiering(tiering).tier_up(when).consume_fuel(true);
        config
    };
    let wat = TRAPPING.replace("(i32.const 2)))\n    (type $g", "(i32.const 0)))\n    (type $g");
    let expected = observe(&Engine::new(&config(Tiering::Eager, TierUp::Background)).unwrap(), &wat, &calls);
    assert!(expected[0].contains("Unreachable") && expected[3].contains("IntegerDivisionByZero"), "{expected:?}");
    let seeds: u64 = std::env::var("KILN_SEEDS").map_or(20, |n| n.parse().expect("KILN_SEEDS is a number"));
    let seeds = (0..seeds).map(TierUp::Random).chain([TierUp::AtOnce, TierUp::Background]);
    for when in seeds {
        for signals in [true, false] {
            let mut config = config(Tiering::Dynamic, when);
            config.signals_based_traps(signals).cranelift_opt_level(OptLevel::Speed);
            let seen = observe(&Engine::new(&config).unwrap(), &wat, &calls);
            assert_eq!(seen, expected, "{when:?}, signals {signals}");
        }
    }
}

/// A function that passes a thousand values to each of so many loops, more than is optimised, if it is given a number below 0.
fn too_large(loops: usize) -> String {
    let many = "i32 ".repeat(1_000);
    format!(
        "(module (type $many (func (param {many}) (result {many})))
           (func (export \"run\") (param $n i32) (result i32)
             (if (i32.lt_s (local.get $n) (i32.const 0)) (then {} {} {}))
             (i32.add (local.get $n) (i32.const 1))))",
        "i32.const 7 ".repeat(1_000),
        "loop (type $many) end ".repeat(loops),
        "drop ".repeat(1_000)
    )
}

#[test]
fn what_is_too_large_to_be_optimised_stays_in_the_first_tier() {
    let wat = too_large(2_500);
    for when in [TierUp::Background, TierUp::AtOnce] {
        let engine = engine(when);
        let module = Module::new(&engine, &wat).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        let tiers = || module.compile_statistics().tiers.unwrap();
        let start = Instant::now();
        for n in -1.. {
            assert_eq!(run.call(&mut store, n).unwrap(), n + 1);
            if (when == TierUp::AtOnce && n == 10)
                || tiers().over_limit > 0
                || start.elapsed() > Duration::from_secs(60)
            {
                break;
            }
        }
        let tiers = tiers();
        assert_eq!((tiers.over_limit, tiers.failed, tiers.optimized_functions), (1, 0, 0), "{when:?}: {tiers:?}");
        assert_eq!(run.call(&mut store, -5).unwrap(), -4);
    }
}

#[test]
fn what_is_too_large_to_be_optimised_is_an_error_or_compiled_without() {
    let wat = too_large(2_500);
    let eager = Engine::new(Config::new().tiering(Tiering::Eager)).unwrap();
    let error = format!("{:#}", Module::new(&eager, &wat).unwrap_err());
    assert!(error.contains("function 0") && error.contains("limit") && error.contains("dynamic tier"), "{error}");
    let lazy = Engine::new(Config::new().tiering(Tiering::Lazy)).unwrap();
    let module = Module::new(&lazy, &wat).unwrap();
    let mut store = Store::new(&lazy, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
    assert_eq!((run.call(&mut store, -1).unwrap(), run.call(&mut store, 1).unwrap()), (0, 2));
    assert_eq!(module.compile_statistics().unoptimized, 1);
}
