//! Indirect calls that were found to call one function, and call others later: nobody sees a difference.

use std::time::{Duration, Instant};

use kiln::*;

/// Each function that is called indirectly depends on its instance, by a global. Calls are made from a function, from
/// a loop with an operand below it, by a reference, and where exceptions are caught.
const WAT: &str = r#"(module
    (type $t (func (param i32) (result i32)))
    (tag $tag (param i32))
    (import "host" "triple" (func $triple (type $t)))
    (global $mine (mut i32) (i32.const 0))
    (table $funcs (export "funcs") 8 funcref)
    (table $refs (export "refs") 8 (ref null $t))
    (func $add (export "add") (type $t) (i32.add (local.get 0) (global.get $mine)))
    (func $divide (export "divide") (type $t) (i32.div_u (global.get $mine) (local.get 0)))
    (func $throw (export "throw") (type $t)
        (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $tag (global.get $mine))))
        (i32.const 5))
    (func $nested (export "nested") (type $t)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 9))))
        (i32.add (i32.const 1000)
            (call_indirect $funcs (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))
    (func $counting (export "counting") (type $t)
        (if (i32.gt_u (local.get 0) (i32.const 1)) (then (unreachable)))
        (return_call $add (i32.add (local.get 0) (i32.const 7))))
    (func (export "other_type") (param i64))
    (func (export "set_mine") (param i32) (global.set $mine (local.get 0)))
    (func (export "indirect") (param $slot i32) (param $x i32) (result i32)
        (i32.sub (i32.const 1) (call_indirect $funcs (type $t) (local.get $x) (local.get $slot))))
    (func (export "loop") (param $slot i32) (param $x i32) (result i32) (local $i i32) (local $sum i32)
        (i32.const 77)
        (loop $l
            (local.set $sum
                (i32.add (local.get $sum) (call_indirect $funcs (type $t) (local.get $x) (local.get $slot))))
            (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 30))))
        (local.get $sum)
        (i32.add))
    (func (export "ref") (param $slot i32) (param $x i32) (result i32)
        (i32.mul (i32.const 3) (call_ref $t (local.get $x) (table.get $refs (local.get $slot)))))
    (func (export "catch") (param $slot i32) (param $x i32) (result i32)
        (block $h (result i32)
            (try_table (result i32) (catch $tag $h)
                (call_indirect $funcs (type $t) (local.get $x) (local.get $slot)))
            (return (i32.add (i32.const 100)))))
    (func $tail (export "tail") (param $slot i32) (param $x i32) (result i32)
        (return_call_indirect $funcs (type $t) (local.get $x) (local.get $slot)))
    (func $tail_ref (export "tail_ref") (param $slot i32) (param $x i32) (result i32)
        (return_call_ref $t (local.get $x) (table.get $refs (local.get $slot))))
    (func (export "calls_tail") (param $slot i32) (param $x i32) (result i32)
        (i32.add (call $tail (local.get $slot) (local.get $x)) (call $tail_ref (local.get $slot) (local.get $x))))
    (func (export "grow") (result i32) (table.grow $funcs (ref.null func) (i32.const 1))))"#;

const CALLERS: [&str; 7] = ["indirect", "loop", "ref", "catch", "tail", "tail_ref", "calls_tail"];
const CALLEES: [&str; 5] = ["add", "divide", "throw", "nested", "counting"];

fn config() -> Config {
    let mut config = Config::new();
    config.consume_fuel(true).wasm_exceptions(true).wasm_function_references(true).wasm_tail_call(true);
    config
}

/// Bits that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Two instances of a module that call each other's functions.
struct Run {
    store: Store<()>,
    instances: [Instance; 2],
    seen: Vec<String>,
}

impl Run {
    fn new(engine: &Engine) -> Run {
        Run::of(engine, &Module::new(engine, WAT).unwrap())
    }

    fn of(engine: &Engine, module: &Module) -> Run {
        let mut store = Store::new(engine, ());
        store.set_fuel(1 << 40).unwrap();
        let triple = Func::wrap(&mut store, |x: i32| x * 3);
        let mut instance = |mine: i32| {
            let instance = Instance::new(&mut store, module, &[triple.into()]).unwrap();
            let set = instance.get_typed_func::<i32, ()>(&mut store, "set_mine").unwrap();
            set.call(&mut store, mine).unwrap();
            instance
        };
        let instances = [instance(40), instance(5000)];
        let mut run = Run { store, instances, seen: Vec::new() };
        for slot in 0..8 {
            run.set(slot, Some((0, CALLEES[slot as usize % 5])));
        }
        run
    }

    /// Puts an instance's function, or null, into both tables of the first one.
    fn set(&mut self, slot: u64, func: Option<(usize, &str)>) {
        let func = func.map(|(instance, name)| self.instances[instance].get_func(&mut self.store, name).unwrap());
        for table in ["funcs", "refs"] {
            let table = self.instances[0].get_table(&mut self.store, table).unwrap();
            _ = table.set(&mut self.store, slot, Ref::Func(func));
        }
    }

    /// Makes the table one element longer.
    fn grow(&mut self) {
        let grow = self.instances[0].get_typed_func::<(), i32>(&mut self.store, "grow").unwrap();
        self.seen.push(format!("grown: {}", grow.call(&mut self.store, ()).unwrap()));
    }

    /// Notes results or trap, with the backtrace, and the fuel that is left.
    fn call(&mut self, caller: &str, slot: u64, x: i32) {
        let f = self.instances[0].get_typed_func::<(i32, i32), i32>(&mut self.store, caller).unwrap();
        let outcome = match f.call(&mut self.store, (slot as i32, x)) {
            Ok(result) => result.to_string(),
            Err(error) => {
                let trap = error.downcast_ref::<Trap>().copied();
                let backtrace = error.downcast_ref::<WasmBacktrace>();
                let frames = backtrace.map(|b| b.frames().iter().map(|f| (f.func_index(), f.func_offset())).collect());
                format!("{trap:?} {:?}", frames.unwrap_or_else(Vec::new))
            }
        };
        let fuel = self.store.get_fuel().unwrap();
        self.seen.push(format!("{caller} {slot} {x}: {outcome} {fuel}"));
    }

    /// What was learnt so far.
    fn profile(&self) -> Profile {
        let module = self.instances[0].module(&self.store).clone();
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("snapshot");
        std::fs::write(&path, module.snapshot().unwrap().expect("something was compiled")).unwrap();
        Profile::of_snapshot(&path).unwrap()
    }

    /// Calls and changes of the tables that follow from a seed: mostly one slot or two for a while.
    fn steps(&mut self, seed: u64) {
        let mut random = Random(seed);
        for _ in 0..12 {
            let usual = [random.below(8), random.below(8)];
            for _ in 0..20 {
                let (caller, unusual) = (CALLERS[random.below(CALLERS.len() as u64) as usize], random.below(8) == 0);
                let slot = if unusual { random.below(10) } else { usual[random.below(2) as usize] };
                let x = [1, 1, 1, 2, 0][random.below(5) as usize];
                match random.below(24) {
                    0 => self.set(slot % 8, None),
                    1 => self.set(slot % 8, Some((1, CALLEES[random.below(5) as usize]))),
                    2 => self.set(slot % 8, Some((0, "other_type"))),
                    3 => self.grow(),
                    4..7 => self.set(slot % 8, Some((0, CALLEES[random.below(5) as usize]))),
                    _ => self.call(caller, slot, x),
                }
            }
        }
    }
}

#[test]
fn nobody_sees_the_profile() {
    let seeds: u64 = std::env::var("KILN_SEEDS").map_or(8, |n| n.parse().expect("KILN_SEEDS is a number"));
    let traps = ["BadSignature", "IntegerDivisionByZero", "Null", "UndefinedElement"];
    let mut met = traps.map(|_| false);
    for seed in 0..seeds {
        let observe = |config: &Config| {
            let mut run = Run::new(&Engine::new(config).unwrap());
            run.steps(seed);
            run.seen
        };
        let expected = observe(config().tiering(Tiering::Eager));
        for (was_met, trap) in met.iter_mut().zip(traps) {
            *was_met |= expected.iter().any(|s| s.contains(trap));
        }
        for when in [TierUp::AtOnce, TierUp::Random(seed), TierUp::Random(seed + 100), TierUp::Background] {
            for (signals, inlining, baseline) in [
                (true, Inlining::Yes, BaselineCompiler::Stencils),
                (true, Inlining::Stress, BaselineCompiler::Cranelift),
                (false, Inlining::Stress, BaselineCompiler::Stencils),
                (true, Inlining::No, BaselineCompiler::Stencils),
            ] {
                let mut config = config();
                config.baseline_compiler(baseline);
                config.tiering(Tiering::Dynamic).tier_up(when).signals_based_traps(signals).compiler_inlining(inlining);
                let seen = observe(&config);
                let first = seen.iter().zip(&expected).position(|(a, b)| a != b);
                let differs = first.map(|at| (at, &seen[at], &expected[at]));
                assert_eq!(differs, None, "seed {seed}, {when:?}, signals {signals}, {inlining:?}, {baseline:?}");
                assert_eq!(seen.len(), expected.len());
            }
        }
    }
    assert_eq!(met, [true; 4], "{traps:?}");
}

/// The usual way: a call is hot with one target or two, and meets all the others behind that.
#[test]
fn targets_change_after_functions_have_become_hot() {
    let script = |run: &mut Run, usual: [&str; 2]| {
        run.set(0, Some((0, usual[0])));
        for caller in CALLERS {
            for _ in 0..3 {
                run.call(caller, 0, 1);
            }
        }
        for caller in CALLERS {
            for (slot, callee) in [
                (1, Some((1, "add"))),
                (0, Some((0, usual[1]))),
                (0, None),
                (0, Some((0, "divide"))),
                (0, Some((0, "throw"))),
            ] {
                run.set(slot, callee);
                for x in 0..3 {
                    run.call(caller, slot, x);
                }
            }
            run.set(0, Some((0, "other_type")));
            run.call(caller, 0, 1);
            run.call(caller, 8, 1);
            run.grow();
            run.call(caller, 8, 1);
            run.set(0, Some((0, usual[0])));
            run.call(caller, 0, 3);
        }
    };
    let mut modes = Vec::new();
    for baseline in [BaselineCompiler::Stencils, BaselineCompiler::Cranelift] {
        modes.extend([["add", "add"], ["add", "nested"], ["throw", "divide"]].map(|usual| (baseline, usual)));
    }
    for (baseline, usual) in modes {
        let mut expected = Run::new(&Engine::new(config().tiering(Tiering::Eager)).unwrap());
        let mut run = Run::new(&Engine::new(config().tiering(Tiering::Dynamic).baseline_compiler(baseline)).unwrap());
        let start = Instant::now();
        // Until all callers have been compiled again.
        let module = run.instances[0].module(&run.store).clone();
        while module.compile_statistics().tiers.unwrap().optimized_functions < CALLERS.len() as u64 + 1 {
            for i in 0..100 {
                run.set(0, Some((0, usual[i % 2])));
                for caller in CALLERS {
                    run.call(caller, 0, 1);
                }
            }
            assert!(start.elapsed() < Duration::from_secs(100));
        }
        run.seen.clear();
        run.store.set_fuel(1 << 40).unwrap();
        expected.store.set_fuel(1 << 40).unwrap();
        script(&mut run, usual);
        script(&mut expected, usual);
        assert_eq!(run.seen, expected.seen, "{baseline:?} {usual:?}");
    }
}

/// The tables of both compilers of the first tier, of calls of every kind.
#[test]
fn both_first_tiers_learn_the_same() {
    let learnt = [BaselineCompiler::Stencils, BaselineCompiler::Cranelift].map(|baseline| {
        let mut config = config();
        config.tiering(Tiering::Dynamic).tier_up(TierUp::Never).baseline_compiler(baseline);
        let mut run = Run::new(&Engine::new(&config).unwrap());
        for i in 0..200 {
            for caller in CALLERS {
                run.call(caller, [0, 0, 1, 0, 1, 2, 3, 5, 6, 9][i % 10], 1);
            }
        }
        format!("{:?}", run.profile())
    });
    assert_eq!(learnt[0], learnt[1]);
    // Sites in `indirect`, `loop`, `ref`, `catch`, `nested` and two tail calls.
    assert_eq!(learnt[0].matches("SiteCounts").count(), 7, "{}", learnt[0]);
}

/// An artifact that was made with a profile has two targets at most calls, and functions in another order.
#[test]
fn artifacts_with_a_profile_do_the_same() {
    let mut learning = config();
    learning.tiering(Tiering::Dynamic).tier_up(TierUp::Never);
    for usual in [["add", "nested"], ["throw", "divide"], ["counting", "counting"]] {
        let mut run = Run::new(&Engine::new(&learning).unwrap());
        for i in 0..200 {
            run.set(0, Some((0, usual[i % 2])));
            CALLERS.iter().for_each(|caller| run.call(caller, 0, 1));
        }
        let profile = run.profile();
        let make = |threads: usize, profile: Option<Profile>| {
            let engine = Engine::new(config().compilation_threads(threads)).unwrap();
            engine.precompile_module(WAT.as_bytes(), ArtifactOptions::new().profile(profile)).unwrap()
        };
        let bytes = make(1, Some(profile.clone()));
        assert!(bytes == make(3, Some(profile)), "whatever the threads");
        assert!(bytes != make(1, None), "it makes a difference");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let engine = Engine::new(&config()).unwrap();
        let module = Module::deserialize_file(&engine, file.path()).unwrap();
        for seed in 0..8 {
            let mut expected = Run::new(&engine);
            let mut run = Run::of(&engine, &module);
            expected.steps(seed);
            run.steps(seed);
            assert_eq!(run.seen, expected.seen, "{usual:?}, seed {seed}");
        }
    }
}
