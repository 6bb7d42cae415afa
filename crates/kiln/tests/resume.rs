//! Modules go on where earlier runs ended: same results, nothing compiled twice, and files that are not what they were
//! do no harm.

use std::fs;
use std::path::PathBuf;

use kiln::*;
use tempfile::TempDir;

const WAT: &str = r#"(module $resumed
    (import "host" "add" (func $add (param i32 i32) (result i32)))
    (type $unary (func (param i32) (result i32)))
    (tag $t (param i32))
    (table funcref (elem $double $fail))
    (memory (export "memory") 2)
    (data (i32.const 8) "first contents")
    (data $later "later")
    (global $calls (mut i32) (i32.const 3))
    (func $double (type $unary) (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (call $add (local.get 0) (local.get 0)))
    (func $fail (type $unary) (i32.div_u (local.get 0) (i32.const 0)))
    (func (export "double") (type $unary) (call $double (local.get 0)))
    (func (export "indirect") (param i32 i32) (result i32)
        (call_indirect (type $unary) (local.get 0) (local.get 1)))
    (func $throw (param i32) (throw $t (local.get 0)))
    (func (export "catch") (param i32) (result i32)
        (block $h (result i32) (try_table (catch $t $h) (call $throw (local.get 0))) (i32.const -1)))
    (func (export "late") (param i32) (result i32)
        (memory.init $later (i32.const 100) (i32.const 0) (i32.const 5))
        (i32.add (i32.load8_u (i32.const 100)) (call $double (local.get 0))))
    (func $rare (param i32) (result i32) (i32.mul (local.get 0) (i32.const 10)))
    (func (export "maybe") (param i32) (result i32)
        (if (result i32) (local.get 0) (then (call $rare (local.get 0))) (else (i32.const -1))))
    (func (export "loop") (param i32) (result i32) (local $sum i32)
        (loop $l
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u (i32.and (local.get 0) (i32.const 31)))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get $sum)))"#;

struct Files {
    dir: TempDir,
    wasm: Vec<u8>,
    strategy: TierUp,
}

impl Files {
    fn new(strategy: TierUp) -> Files {
        Files { dir: TempDir::new().unwrap(), wasm: wat::parse_str(WAT).unwrap(), strategy }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn engine(&self) -> Engine {
        let mut config = Config::new();
        config.tiering(Tiering::Dynamic).tier_up(self.strategy).wasm_exceptions(true).defer_compiler(true);
        Engine::new(&config).unwrap()
    }

    fn resume(&self) -> anyhow::Result<Run> {
        let engine = self.engine();
        fs::write(self.path("wasm"), &self.wasm).unwrap();
        let file = ModuleFile::open(&engine, &self.path("wasm")).unwrap();
        Ok(Run::new(Module::resume(&engine, file, &self.path("outline"), &self.path("snapshot"), &self.warmth())?))
    }

    fn warmth(&self) -> Vec<u8> {
        fs::read(self.path("warmth")).unwrap_or_default()
    }

    /// Leaves what a run compiled and counted.
    fn leave(&self, run: &Run) -> bool {
        let warmth = run.module.warmth(1_000).unwrap();
        warmth.into_iter().for_each(|bytes| fs::write(self.path("warmth"), bytes).unwrap());
        let snapshot = run.module.snapshot().unwrap();
        let more = snapshot.is_some();
        snapshot.into_iter().for_each(|bytes| fs::write(self.path("snapshot"), bytes).unwrap());
        more
    }

    /// A run of the module from its bytes, which leaves its outline.
    fn begin(&self) -> Run {
        let module = Module::from_binary(&self.engine(), &self.wasm).unwrap();
        fs::write(self.path("outline"), module.outline().unwrap()).unwrap();
        Run::new(module)
    }
}

struct Run {
    module: Module,
    store: Store<()>,
    instance: Instance,
}

impl Run {
    fn new(module: Module) -> Run {
        let mut store = Store::new(module.engine(), ());
        let mut linker = Linker::new(module.engine());
        linker.func_wrap("host", "add", |a: i32, b: i32| a.wrapping_add(b)).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Run { module, store, instance }
    }

    /// What a call gives; of a trap, all that is said about it.
    fn call(&mut self, name: &str, args: &[i32]) -> String {
        let func = self.instance.get_func(&mut self.store, name).unwrap();
        let args: Vec<Val> = args.iter().map(|a| Val::I32(*a)).collect();
        let mut results = [Val::I32(0)];
        match func.call(&mut self.store, &args, &mut results) {
            Ok(()) => results[0].unwrap_i32().to_string(),
            Err(error) => format!("{error:#}"),
        }
    }

    fn early(&mut self) -> Vec<String> {
        let mut seen = vec![
            self.call("double", &[21]),
            self.call("indirect", &[4, 0]),
            self.call("indirect", &[4, 1]),
            self.call("catch", &[77]),
            self.call("loop", &[40_000]),
        ];
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        seen.push(String::from_utf8_lossy(&memory.data(&self.store)[..32]).into_owned());
        seen
    }

    /// Functions that an earlier run compiled, and those that this one did.
    fn functions(&self) -> (u64, u64) {
        let statistics = self.module.compile_statistics();
        let tiers = statistics.tiers.unwrap();
        (tiers.resumed_functions, tiers.baseline_functions + tiers.optimized_functions + tiers.osr_functions)
    }
}

#[test]
fn later_runs_go_on_where_earlier_ones_ended() {
    for strategy in [TierUp::Never, TierUp::Background, TierUp::AtOnce, TierUp::Random(7)] {
        let files = Files::new(strategy);
        let mut first = files.begin();
        let expected = first.early();
        assert!(expected[2].contains("divide by zero") && expected[2].contains("resumed!fail"), "{}", expected[2]);
        assert!(files.leave(&first));

        let mut second = files.resume().unwrap();
        assert_eq!(second.early(), expected, "{strategy:?}");
        assert_eq!(second.module.name(), Some("resumed"));
        let (resumed, compiled) = second.functions();
        assert!(resumed >= 7, "{resumed}");
        if strategy == TierUp::Never {
            assert_eq!((compiled, files.leave(&second)), (0, false));
        }
        // This is not in the snapshot.
        let late = second.call("late", &[50]);
        assert_eq!(late, "208");
        assert!(files.leave(&second), "{strategy:?}");

        let mut third = files.resume().unwrap();
        assert_eq!((third.early(), third.call("late", &[50])), (expected, late));
        assert!(third.functions().0 > resumed);
        if strategy == TierUp::Never {
            assert_eq!(third.functions().1, 0);
        }
    }
}

#[test]
fn what_does_not_fit_is_left_out() {
    let files = Files::new(TierUp::Never);
    let mut first = files.begin();
    let expected = first.early();
    assert!(files.leave(&first));
    let snapshot = fs::read(files.path("snapshot")).unwrap();
    let outline = fs::read(files.path("outline")).unwrap();

    let mut flipped = snapshot.clone();
    flipped[5000] ^= 1;
    let mut other = Files::new(TierUp::Never);
    other.wasm = wat::parse_str(WAT.replace("const 3)", "const 4)")).unwrap();
    let mut run = other.begin();
    run.early();
    assert!(other.leave(&run));
    let foreign = fs::read(other.path("snapshot")).unwrap();
    for bytes in [&b""[..], &snapshot[..5000], &flipped, &outline, &foreign] {
        fs::write(files.path("snapshot"), bytes).unwrap();
        let mut run = files.resume().unwrap();
        assert_eq!(run.early(), expected);
        assert_eq!(run.functions().0, 0);
    }

    for bytes in [&b""[..], &outline[..5000], &snapshot] {
        fs::write(files.path("outline"), bytes).unwrap();
        assert!(files.resume().is_err());
    }

    // The module's file has other contents than those of which the rest was made.
    fs::write(files.path("outline"), outline).unwrap();
    fs::write(files.path("snapshot"), snapshot).unwrap();
    let files = Files { wasm: other.wasm, ..files };
    let mut run = files.resume().unwrap();
    assert_eq!(run.early(), expected);
    assert!(run.call("late", &[50]).contains("is not the one of which the outline was made"));

    let engine = Engine::default();
    let file = ModuleFile::open(&engine, &files.path("wasm")).unwrap();
    assert!(Module::resume(&engine, file, &files.path("outline"), &files.path("snapshot"), &[]).is_err());
}

#[test]
fn a_resumed_module_can_be_compiled_as_a_whole() {
    let files = Files::new(TierUp::Never);
    let mut first = files.begin();
    let expected = first.early();
    files.leave(&first);
    let artifact = files.resume().unwrap().module.serialize().unwrap();
    fs::write(files.path("artifact"), artifact).unwrap();
    let engine = files.engine();
    let module = Module::deserialize_file(&engine, files.path("artifact")).unwrap();
    assert!(module.outline().is_err() && module.snapshot().unwrap().is_none());
    assert_eq!(Run::new(module).early()[..2], expected[..2]);
}

#[test]
fn what_is_hot_in_all_runs_together_is_optimised() {
    let files = Files::new(TierUp::Background);
    let used = |run: &mut Run, times: u32| {
        for _ in 0..times {
            assert_eq!(run.call("double", &[21]), "42");
            assert_eq!(run.call("catch", &[77]), "77");
        }
        run.call("loop", &[6_000])
    };
    let mut first = files.begin();
    let sum = used(&mut first, 300);
    assert!(files.leave(&first));
    let mut optimized = Vec::new();
    for _ in 0..4 {
        let mut run = files.resume().unwrap();
        assert_eq!(used(&mut run, 300), sum);
        assert!(run.module.engine().settle(std::time::Instant::now() + std::time::Duration::from_secs(60)));
        files.leave(&run);
        optimized.push(run.module.compile_statistics().tiers.unwrap().optimized_functions);
    }
    // Two exports and what they call; and what loops. None is hot in one run, all are in two.
    assert_eq!(optimized, [5, 0, 0, 0]);

    // One run alone does not get as far, whatever stands there instead.
    fs::remove_file(files.path("snapshot")).unwrap();
    for damage in [&b"no such thing"[..], &[]] {
        fs::write(files.path("warmth"), damage).unwrap();
        let mut run = files.resume().unwrap();
        assert_eq!(used(&mut run, 300), sum);
        assert!(run.module.engine().settle(std::time::Instant::now()));
    }
}

#[test]
fn what_was_used_is_optimised_without_running_it() {
    let files = Files::new(TierUp::Background);
    let soon = || std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut first = files.begin();
    let expected = first.early();
    for _ in 0..120 {
        assert_eq!(first.call("maybe", &[0]), "-1");
    }
    for _ in 0..200 {
        first.call("double", &[21]);
        first.call("catch", &[77]);
    }
    assert!(files.leave(&first));

    let idle = files.resume().unwrap().module;
    assert!(idle.refined_snapshot(u32::MAX, soon()).unwrap().is_none());
    let refined = idle.refined_snapshot(1_000, soon()).unwrap().expect("the loop went round so often");
    let more = idle.refined_snapshot(100, soon()).unwrap().expect("functions were called so often");
    let nothing = idle.refined_snapshot(100, std::time::Instant::now()).unwrap();
    assert!(nothing.is_none(), "there was no time");
    assert!(!idle.outgrew_snapshot() && Run::new(idle).early() == expected);

    // In each run the functions that are not optimised become hot: six of them, then five, then none.
    let before = fs::read(files.path("snapshot")).unwrap();
    for (snapshot, left) in [(before, 6), (refined, 5), (more, 0)] {
        fs::write(files.path("snapshot"), snapshot).unwrap();
        let mut run = files.resume().unwrap();
        assert_eq!(run.early(), expected);
        for _ in 0..600 {
            assert_eq!((run.call("double", &[21]), run.call("catch", &[77])), ("42".to_owned(), "77".to_owned()));
            assert_eq!(run.call("maybe", &[0]), "-1");
        }
        assert!(run.module.engine().settle(soon()));
        let tiers = run.module.compile_statistics().tiers.unwrap();
        assert_eq!((tiers.baseline_functions, tiers.optimized_functions), (0, left));
        assert_eq!(run.call("late", &[50]), "208", "what is not in the snapshot calls what is");
        for i in 1..1000 {
            assert_eq!(run.call("maybe", &[i]), (10 * i).to_string(), "what is in the snapshot calls what is not");
        }
    }
    assert!(files.resume().unwrap().module.refined_snapshot(100, soon()).unwrap().is_none());

    // Nothing is compiled of a file that has other contents.
    fs::remove_file(files.path("snapshot")).unwrap();
    let mut run = files.resume().unwrap();
    run.early();
    assert!(files.leave(&run));
    let mut other = Files::new(TierUp::Background);
    other.wasm = wat::parse_str(WAT.replace("const 3)", "const 4)")).unwrap();
    let files = Files { wasm: other.wasm, ..files };
    let error = files.resume().unwrap().module.refined_snapshot(1, soon()).unwrap_err();
    assert!(format!("{error:#}").contains("is not the one of which the outline was made"), "{error:#}");
}

#[test]
fn refined_snapshots_of_many_functions_are_run_where_they_are() {
    const COUNT: i32 = 1500;
    let functions = |i: i32| {
        format!(
            "(func $rare{i} (param i32) (result i32) (if (result i32) (local.get 0)
                (then (call $rare{i} (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const {i}))))
             (func $few{i} (param i32) (result i32) (if (result i32) (local.get 0)
                (then (call $few{i} (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const -{i}))))
             (func $f{i} (param i32) (result i32) (local $n i32)
                (if (i32.eq (local.get 0) (i32.const 1)) (then (return (call $few{i} (i32.const 2)))))
                (if (i32.eqz (local.get 0)) (then (return (call $rare{i} (i32.const 5)))))
                (loop $l (local.set 0 (i32.rotl (i32.mul (local.get 0) (i32.const {i})) (local.get $n)))
                    (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 40))))
                (local.get 0))"
        )
    };
    let bodies: String = (0..COUNT).map(functions).collect();
    let targets: String = (0..COUNT).map(|i| format!(" $f{i}")).collect();
    let wat = format!(
        "(module (type $t (func (param i32) (result i32))) (table funcref (elem{targets})) {bodies}
            (func (export \"call\") (param i32 i32) (result i32)
                (call_indirect (type $t) (local.get 1) (local.get 0))))"
    );
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("wasm"), wat::parse_str(wat).unwrap()).unwrap();
    let engine = || {
        let mut config = Config::new();
        config.tiering(Tiering::Dynamic).artifact_verification(Verification::Marked { records: path("records") });
        config.artifacts_in_place(true);
        Engine::new(&config).unwrap()
    };
    let resume = |engine: &Engine, warmth: &[u8]| {
        let file = ModuleFile::open(engine, &path("wasm")).unwrap();
        Module::resume(engine, file, &path("outline"), &path("snapshot"), warmth).unwrap()
    };
    let first = Module::from_file(&engine(), path("wasm")).unwrap();
    fs::write(path("outline"), first.outline().unwrap()).unwrap();
    let call = |module: &Module, funcs: std::ops::Range<i32>, arg: i32| -> anyhow::Result<Vec<i32>> {
        let mut store = Store::new(module.engine(), ());
        let instance = Instance::new(&mut store, module, &[])?;
        let f = instance.get_typed_func::<(i32, i32), i32>(&mut store, "call")?;
        funcs.map(|i| f.call(&mut store, (i, arg))).collect()
    };
    let expected = call(&first, 0..COUNT, 7).unwrap();
    // These stay at the first tier.
    let few = call(&first, 0..COUNT, 1).unwrap();
    fs::write(path("snapshot"), first.snapshot().unwrap().unwrap()).unwrap();
    let warmth = first.warmth(1_000).unwrap().unwrap();
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let refined = resume(&engine(), &warmth).refined_snapshot(8, soon).unwrap().unwrap();
    fs::write(path("snapshot"), &refined).unwrap();
    let module = resume(&engine(), &[]);
    assert_eq!(call(&module, 0..COUNT, 7).unwrap(), expected);
    assert_eq!(call(&module, 0..COUNT, 1).unwrap(), few);
    // Functions that nobody has called before are found by those that have been optimised.
    assert_eq!(call(&module, 0..COUNT, 0).unwrap(), (0..COUNT).collect::<Vec<_>>());
    for keep in [0, refined.len() as u64 / 2] {
        fs::write(path("snapshot"), &refined).unwrap();
        let module = resume(&engine(), &[]);
        assert_eq!(call(&module, 0..10, 7).unwrap(), expected[..10]);
        fs::OpenOptions::new().write(true).open(path("snapshot")).unwrap().set_len(keep).unwrap();
        let error = call(&module, 0..COUNT, 7).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::FileTruncated), "{error:#}");
        assert!(call(&module, 0..1, 7).is_err(), "nothing of it runs any more");
        // The next run does without.
        assert_eq!(call(&resume(&engine(), &[]), 0..COUNT, 7).unwrap(), expected);
    }
}

#[test]
fn what_is_missing_in_a_truncated_file_is_not_taken_for_zeroes() {
    let files = Files::new(TierUp::Never);
    let mut first = files.begin();
    first.early();
    assert_eq!(first.call("late", &[50]), "208");
    assert!(files.leave(&first));
    // It is not read before something of it is needed.
    let mut run = files.resume().unwrap();
    fs::OpenOptions::new().write(true).open(files.path("wasm")).unwrap().set_len(0).unwrap();
    let error = run.call("maybe", &[1]);
    assert!(error.contains("not the one of which the outline was made"), "{error}");
    assert_eq!(run.call("double", &[21]), "42");
}

#[test]
fn snapshots_stop_growing() {
    for strategy in [TierUp::AtOnce, TierUp::Random(3)] {
        let files = Files::new(strategy);
        let mut first = files.begin();
        let expected = first.early();
        assert!(files.leave(&first));
        let mut sizes = Vec::new();
        for _ in 0..12 {
            let mut run = files.resume().unwrap();
            assert_eq!(run.early(), expected);
            files.leave(&run);
            sizes.push(fs::metadata(files.path("snapshot")).unwrap().len());
        }
        // A function has a body of each tier, and one for each loop.
        assert!(sizes[8..].iter().all(|size| *size == sizes[8]), "{sizes:?}");
    }
}
