//! The cache of compiled functions as users meet it: runs find what earlier ones left, and nothing that happens to the cache
//! happens to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Modules, a cache, and `kiln` run with both.
struct Bench(TempDir);

impl Bench {
    fn new() -> Bench {
        Bench(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// Writes a module of so many functions; `edited` is a constant in the first. It exports the sum of them all.
    fn module(&self, name: &str, functions: u32, edited: u32) -> PathBuf {
        let body = |i: u32| {
            let constant = if i == 0 { edited } else { i * 7 + 1 };
            format!(
                "(func $f{i} (param $n i32) (result i32) (local $x i32) (local $y f64)
                   (loop $again
                     (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 31)) (i32.const {constant})))
                     (local.set $y (f64.add (local.get $y) (f64.convert_i32_s (local.get $x))))
                     (i32.store offset={i} (i32.and (local.get $x) (i32.const 1023)) (local.get $n))
                     (br_if $again (i32.ge_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 0))))
                   (i32.xor (local.get $x) (i32.trunc_sat_f64_s (local.get $y))))\n"
            )
        };
        let bodies: String = (0..functions).map(body).collect();
        let calls: String =
            (0..functions).map(|i| format!("(call $f{i} (i32.const {})) i32.add\n", i % 9 + 1)).collect();
        let sum = format!("(func (export \"sum\") (result i32) (i32.const 0) {calls})");
        let file = self.path(name);
        fs::write(&file, format!("(module (memory 1)\n{bodies}{sum})")).unwrap();
        // Files that were changed just now are not recognised by their times.
        std::thread::sleep(Duration::from_millis(40));
        file
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(args).env("KILN_CACHE_DIR", self.cache()).stdin(Stdio::null());
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Calls `sum`, with all functions compiled first unless `flags` name a tier, and gives what it printed, and what
    /// `--explain` said.
    #[track_caller]
    fn sum(&self, flags: &[&str], module: &Path) -> (String, Value) {
        let mut command = self.command(&["run", "--explain=json", "--invoke", "sum"]);
        if !flags.contains(&"--tier") {
            command.args(["--tier", "eager"]);
        }
        let output = command.args(flags).arg(module).output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stderr}");
        (stdout, serde_json::from_str(stderr.lines().last().unwrap()).unwrap())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(explanation: &Value, name: &str) -> u64 {
    explanation[name].as_u64().unwrap_or_else(|| panic!("no {name} in {explanation}"))
}

#[test]
fn later_runs_find_what_earlier_ones_compiled() {
    let bench = Bench::new();
    let module = bench.module("a.wat", 30, 5);
    let (expected, plain) = bench.sum(&["--no-cache"], &module);
    assert_eq!((number(&plain, "cache_misses"), number(&plain, "cache_inserts")), (0, 0));
    assert!(!bench.cache().join("functions").exists());
    let (first, cold) = bench.sum(&[], &module);
    assert!(number(&cold, "cache_misses") >= 30 && cold["cached_module"] == false, "{cold}");
    let (second, warm) = bench.sum(&[], &module);
    assert_eq!((&first, &second), (&expected, &expected));
    assert_eq!((number(&warm, "functions"), &warm["cached_module"]), (0, &Value::Bool(true)));

    // The same contents in another file.
    let copy = bench.path("copy.wat");
    fs::copy(&module, &copy).unwrap();
    assert_eq!(bench.sum(&[], &copy).1["cached_module"], true);

    for tier in ["lazy", "dynamic"] {
        let (sum, lazy) = bench.sum(&["--tier", tier, "-C", "cache=y"], &module);
        assert_eq!((sum, number(&lazy, "cache_misses")), (expected.clone(), 0), "{tier}");
    }
    bench.sum(&["--tier", "lazy"], &module);
    let (_, lazy) = bench.sum(&["--tier", "lazy"], &module);
    // Some of the thirty stand in place of their calls.
    assert!(number(&lazy, "cache_body_hits") > 20 && lazy["validate_seconds"].as_f64() == Some(0.0), "{lazy}");
}

#[test]
fn programs_go_on_where_earlier_runs_ended() {
    let bench = Bench::new();
    let text = bench.module("a.wat", 30, 5);
    let module = bench.path("a.wasm");
    fs::write(&module, wat::parse_file(&text).unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    let dynamic = ["--tier", "dynamic"];
    let (expected, _) = bench.sum(&["--no-cache", "--tier", "dynamic"], &module);
    // What is not written soon after a program has ended is lost, so that it may take some runs.
    let mut resumed = None;
    for _ in 0..20 {
        let (sum, explanation) = bench.sum(&dynamic, &module);
        assert_eq!(sum, expected);
        let found = explanation["tiers"]["resumed_functions"].as_u64().unwrap();
        if found > 0 && explanation["tiers"]["baseline_functions"] == 0 {
            resumed = Some((found, explanation));
            break;
        }
    }
    let (functions, explanation) = resumed.expect("one of twenty runs found what another one left");
    assert!(functions > 30 && explanation["resumed"] == true, "{explanation}");
    assert_eq!(explanation["validate_seconds"].as_f64(), Some(0.0));

    // Whatever happens to the files, programs run.
    let files = || fs::read_dir(bench.cache().join("modules")).unwrap().map(|e| e.unwrap().path());
    for kind in ["snapshot", "outline"] {
        for file in files().filter(|p| p.extension().is_some_and(|e| e == kind)) {
            let mut bytes = fs::read(&file).unwrap();
            bytes[4000] ^= 4;
            fs::write(&file, bytes).unwrap();
        }
        assert_eq!(bench.sum(&dynamic, &module).0, expected);
        assert_eq!(bench.sum(&dynamic, &module).0, expected);
    }
    // Another configuration has files of its own.
    assert_eq!(bench.sum(&["--tier", "dynamic", "-O", "opt-level=0"], &module).1["resumed"], false);
}

#[test]
fn what_is_made_of_a_file_that_was_changed_is_not_kept() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::FileExt;
    let bench = Bench::new();
    let module = bench.path("a.wasm");
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\40\00\00\00\06\00\00\00\50\00\00\00\01\00\00\00")
        (data (i32.const 64) "ready\n")
        (func $late (result i32) (i32.const 1234567))
        (func $say (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))))
        (func (export "_start")
            (call $say)
            (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 32)))
            (if (i32.ne (call $late) (i32.const 1234567)) (then (i32.store8 (i32.const 64) (i32.const 87))))
            (call $say)))"#;
    let bytes = wat::parse_str(text).unwrap();
    fs::write(&module, &bytes).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    let constant = [0x87, 0xad, 0xcb, 0x00];
    let at = bytes.windows(4).position(|w| w == constant).expect("the constant in the first function") as u64;
    let file = fs::OpenOptions::new().write(true).open(&module).unwrap();
    for is_changed in [true, false, false] {
        let mut command = bench.command(&["run", "-C", "refine=wait"]);
        command.arg(&module).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        // Nobody has needed the function yet. The first run finds another one than it began with.
        if is_changed {
            file.write_all_at(&[constant[0] + 1], at).unwrap();
        }
        drop(program.stdin.take());
        let said: Vec<_> = lines.map(Result::unwrap).collect();
        let output = program.wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        if is_changed {
            assert!(!output.status.success() && errors.contains("was changed while it was in use"), "{errors}");
            file.write_all_at(&constant, at).unwrap();
        } else {
            assert!(output.status.success() && said == ["ready"], "{said:?} {errors}");
        }
    }
}

/// Whether nobody is at a module in the cache, and what its snapshot is.
fn settled_snapshot(bench: &Bench) -> Option<(PathBuf, Vec<u8>)> {
    let find = |kind: &str| {
        let mut files = fs::read_dir(bench.cache().join("modules")).ok()?.map(|e| e.unwrap().path());
        files.find(|path| path.extension().is_some_and(|e| e == kind))
    };
    fs::File::open(find("outline")?).ok()?.try_lock().ok()?;
    let snapshot = find("snapshot")?;
    let bytes = fs::read(&snapshot).ok()?;
    Some((snapshot, bytes))
}

/// A module whose first run is worth refining.
fn worth_refining(bench: &Bench) -> PathBuf {
    let module = bench.path("a.wasm");
    let bodies: String = (0..30)
        .map(|i| format!("(func $f{i} (param i32) (result i32) (i32.mul (local.get 0) (i32.const {i})))\n"))
        .collect();
    let calls: String = (0..30).map(|i| format!("(call $f{i} (local.get $n)) i32.add\n")).collect();
    let sum = format!(
        "(module {bodies} (func $all (param $n i32) (result i32) (i32.const 0) {calls})
         (func (export \"sum\") (result i32) (local $n i32) (local $sum i32) (local.set $n (i32.const 300))
            (loop (local.set $sum (i32.add (call $all (local.get $n)) (local.get $sum)))
                (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (local.get $sum)))"
    );
    fs::write(&module, wat::parse_str(sum).unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    module
}

#[test]
fn who_refines_has_nothing_open_that_the_program_was_given() {
    use rustix::fs::{CWD, FileType, Mode, OFlags};
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let module = worth_refining(&bench);
    // A command that is removed before it starts, for which another one stands in where it starts itself: that one waits.
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (kiln, stand_in) = (folder.path().join("kiln"), folder.path().join("kiln (deleted)"));
    fs::hard_link(env!("CARGO_BIN_EXE_kiln"), &kiln).unwrap();
    fs::write(&stand_in, "#!/bin/sh\nread line < \"$KILN_TEST_HOLD\"\n").unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o700)).unwrap();
    let hold = folder.path().join("hold");
    rustix::fs::mknodat(CWD, &hold, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();

    let script =
        "exec 7>&1 >/dev/null 8<\"$0\"; rm \"$0\"; exec /proc/self/fd/8 run -C refine=wait --invoke sum \"$1\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(&kiln)
        .arg(&module)
        .env("KILN_CACHE_DIR", bench.cache())
        .env("KILN_TEST_HOLD", &hold);
    let mut program = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut pipe = program.stdout.take().unwrap();
    // Can be opened for writing once somebody reads.
    let held = loop {
        match rustix::fs::open(&hold, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            Ok(held) => break held,
            Err(error) => assert_eq!(error, rustix::io::Errno::NXIO),
        }
        assert!(program.try_wait().unwrap().is_none(), "the program has ended, and nobody refines it");
        std::thread::sleep(Duration::from_millis(5));
    };
    program.kill().unwrap();
    program.wait().unwrap();
    let (ended, end) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        pipe.read_to_end(&mut Vec::new()).unwrap();
        // Nobody waits for it any more if it was late.
        _ = ended.send(());
    });
    let ended = end.recv_timeout(Duration::from_secs(30));
    drop(held);
    reader.join().unwrap();
    assert!(ended.is_ok(), "the pipe stayed open as long as the module was refined");
}

#[test]
fn what_a_program_used_is_optimised_when_it_has_ended() {
    let bench = Bench::new();
    let module = worth_refining(&bench);
    let flags = |refine| ["--tier", "dynamic", "-C", refine];
    let (expected, _) = bench.sum(&["--no-cache", "--tier", "dynamic"], &module);
    let before = (0..20).find_map(|_| {
        _ = fs::remove_dir_all(bench.cache());
        assert_eq!(bench.sum(&flags("refine=n"), &module).0, expected);
        Some(settled_snapshot(&bench)?.1)
    });
    let before = before.expect("one of twenty runs leaves something");

    // Others do not change what somebody is at.
    let (snapshot, _) = settled_snapshot(&bench).unwrap();
    let outline = fs::File::open(snapshot.with_extension("outline")).unwrap();
    outline.lock().unwrap();
    assert_eq!(bench.sum(&flags("refine=wait"), &module).0, expected);
    assert_eq!(fs::read(&snapshot).unwrap(), before);
    drop(outline);

    assert_eq!(bench.sum(&flags("refine=wait"), &module).0, expected);
    let (_, after) = settled_snapshot(&bench).unwrap();
    assert!(after != before, "the snapshot is refined");
    let (sum, explanation) = bench.sum(&flags("refine=y"), &module);
    let tiers = &explanation["tiers"];
    assert_eq!(sum, expected);
    assert!(number(tiers, "resumed_functions") > 0 && number(tiers, "baseline_functions") == 0, "{explanation}");
    assert_eq!((number(tiers, "optimized_functions"), number(tiers, "osr_functions")), (0, 0), "{explanation}");
    assert_eq!(settled_snapshot(&bench).unwrap().1, after, "nothing is left to refine");

    // A cache's folder may be named from where the program runs, but the process works elsewhere.
    fs::remove_file(&snapshot).unwrap();
    let args = ["run", "-C", "refine=wait", "--invoke", "sum"];
    let output = bench.command(&args).arg(&module).env("KILN_CACHE_DIR", "cache").current_dir(bench.path("")).output();
    let Output { status, stdout, stderr } = output.unwrap();
    assert!(status.success() && String::from_utf8_lossy(&stdout) == expected && stderr.is_empty(), "{stderr:?}");
    assert!(settled_snapshot(&bench).is_some_and(|(_, now)| now != before), "the snapshot is refined");

    // Beside the program that follows.
    fs::remove_file(&snapshot).unwrap();
    let start = Instant::now();
    while settled_snapshot(&bench).is_none_or(|(_, now)| now == before) {
        assert!(start.elapsed() < Duration::from_secs(60), "nobody refined the module");
        assert_eq!(bench.sum(&flags("refine=y"), &module).0, expected);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The optimised form of a module that `worth_refining` makes is there.
fn is_refined(bench: &Bench, module: &Path) -> bool {
    let (_, explanation) = bench.sum(&["--tier", "dynamic", "-C", "refine=n"], module);
    let tiers = &explanation["tiers"];
    let others = ["baseline_functions", "optimized_functions", "osr_functions"];
    number(tiers, "resumed_functions") > 0 && others.iter().all(|name| number(tiers, name) == 0)
}

/// Processes that take all the time there is, until they are dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn new(count: usize) -> Busy {
        let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Busy((0..count).map(|_| busy()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
fn what_a_run_learns_on_a_busy_machine_is_kept() {
    let bench = Bench::new();
    let module = worth_refining(&bench);
    let busy = Busy::new(4);
    for _ in 0..5 {
        _ = fs::remove_dir_all(bench.cache());
        for refine in ["refine=n", "refine=wait"] {
            let mut command = Command::new("nice");
            command.args(["-n", "19", env!("CARGO_BIN_EXE_kiln"), "run", "-C", refine, "--invoke", "sum"]).arg(&module);
            let output = command.env("KILN_CACHE_DIR", bench.cache()).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            assert!(settled_snapshot(&bench).is_some(), "the run left nothing");
        }
        assert!(is_refined(&bench, &module));
    }
    drop(busy);
    let left = files_below(&bench.cache()).into_iter().filter(|f| f.extension().is_some_and(|e| e == "tmp"));
    assert_eq!(left.count(), 0);
}

#[test]
fn one_process_refines_what_many_programs_left() {
    let bench = Bench::new();
    let first = worth_refining(&bench);
    let bytes = fs::read(&first).unwrap();
    let modules: Vec<PathBuf> = (0..4u8)
        .map(|n| {
            let module = bench.path(&format!("{n}.wasm"));
            // A custom section makes each another module.
            fs::write(&module, [&bytes[..], &[0, 3, 1, b'n', n]].concat()).unwrap();
            module
        })
        .collect();
    std::thread::sleep(Duration::from_millis(40));
    let stats = || -> Value { serde_json::from_slice(&bench.output(&["cache", "stats", "--json"]).stdout).unwrap() };
    // Somebody else is at work.
    fs::create_dir_all(bench.cache().join("refine")).unwrap();
    let lock = fs::File::create(bench.cache().join("refine/lock")).unwrap();
    lock.lock().unwrap();
    let run = |module: &PathBuf| _ = bench.sum(&["--tier", "dynamic", "-C", "refine=y"], module);
    modules.iter().for_each(run);
    run(&modules[1]);
    let waiting = stats();
    assert_eq!(waiting["waiting"].as_array().unwrap().len(), modules.len(), "{waiting}");
    drop(lock);
    // The next program to end has it done for all.
    run(&modules[2]);
    let start = Instant::now();
    while stats()["waiting"] != Value::Array(Vec::new()) || !stats()["refining"].is_null() {
        assert!(start.elapsed() < Duration::from_secs(60), "nobody refined the modules: {}", stats());
        std::thread::sleep(Duration::from_millis(20));
    }
    let lock = fs::File::open(bench.cache().join("refine/lock")).unwrap();
    lock.lock().unwrap();
    assert!(modules.iter().all(|module| is_refined(&bench, module)));
    assert_eq!(number(&stats(), "tried_in_vain"), 0);
}

#[test]
fn who_refines_has_limits_and_what_is_in_vain_is_tried_again() {
    let bench = Bench::new();
    let module = worth_refining(&bench);
    let flags = |refine| ["--tier", "dynamic", "-C", refine];
    let (expected, _) = bench.sum(&flags("refine=n"), &module);
    let (snapshot, before) = settled_snapshot(&bench).expect("the run left something");
    let place = snapshot.with_extension("kiln");
    for limit in ["--memory=4000000", "--seconds=0"] {
        let mut command = bench.command(&["cache", "refine", limit, "--"]);
        let output = command.arg(&place).arg(&module).output().unwrap();
        assert!(!output.status.success(), "{limit}: {output:?}");
        assert_eq!(settled_snapshot(&bench).unwrap().1, before);
    }
    // It was tried in vain just now, and often.
    let tried = bench.cache().join("refine").join(place.file_stem().unwrap()).with_extension("tried");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    fs::create_dir_all(tried.parent().unwrap()).unwrap();
    fs::write(&tried, [&[200][..], &now.to_le_bytes()].concat()).unwrap();
    assert_eq!(bench.sum(&flags("refine=y"), &module).0, expected);
    let stats = text(&bench.output(&["cache", "stats"]).stdout);
    assert!(stats.contains("optimising  nothing") && stats.contains("in vain   1 modules"), "{stats}");
    assert!(tried.exists());
    // Whoever waits for it gets it.
    assert_eq!(bench.sum(&flags("refine=wait"), &module).0, expected);
    assert!(is_refined(&bench, &module));
    // Nothing outside of the cache is refined.
    let elsewhere = bench.path("elsewhere.kiln");
    let output = bench.command(&["cache", "refine", "--"]).arg(elsewhere).arg(&module).output().unwrap();
    assert!(text(&output.stderr).contains("is not in the cache"), "{output:?}");
}

#[test]
fn after_an_edit_one_function_is_compiled() {
    let bench = Bench::new();
    let (first, _) = bench.sum(&[], &bench.module("a.wat", 40, 5));
    let (second, explanation) = bench.sum(&[], &bench.module("a.wat", 40, 6));
    assert_ne!(first, second);
    // The caller as well, if the function is inlined there.
    assert!((1..=2).contains(&number(&explanation, "cache_misses")), "{explanation}");
    assert!(number(&explanation, "cache_body_hits") >= 39, "{explanation}");
    let why = bench.output(&["cache", "why", "a.wat", "a.wat"]);
    assert!(!why.status.success());
    let (old, new) = (bench.module("old.wat", 40, 5), bench.module("new.wat", 40, 6));
    let why = text(&bench.output(&["cache", "why", old.to_str().unwrap(), new.to_str().unwrap()]).stdout);
    assert!(why.contains("40 of 41 functions") && why.contains("differ in constants: f0"), "{why}");
}

#[test]
fn damaged_artifacts_in_the_cache_are_replaced() {
    let bench = Bench::new();
    let module = bench.module("a.wat", 10, 5);
    let (expected, _) = bench.sum(&[], &module);
    let artifacts = || {
        let files = fs::read_dir(bench.cache().join("modules")).unwrap().map(|e| e.unwrap().path());
        files.filter(|p| p.extension().is_some_and(|e| e == "kiln")).collect::<Vec<_>>()
    };
    let [artifact] = &artifacts()[..] else { panic!("one artifact is there") };
    for damage in [&b""[..], b"no artifact", &fs::read(artifact).unwrap()[..5000]] {
        fs::write(artifact, damage).unwrap();
        let (sum, explanation) = bench.sum(&[], &module);
        assert_eq!((sum, &explanation["cached_module"]), (expected.clone(), &Value::Bool(false)));
        assert_eq!(number(&explanation, "cache_misses"), 0, "the functions are still there");
        assert_eq!(bench.sum(&[], &module).1["cached_module"], true);
    }
}

/// All files in a folder and those in it.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn whatever_is_damaged_in_the_cache_programs_run_and_commands_work() {
    let bench = Bench::new();
    let text = bench.module("a.wat", 30, 5);
    let module = bench.path("a.wasm");
    fs::write(&module, wat::parse_file(&text).unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    let (expected, _) = bench.sum(&["--no-cache"], &module);
    let output = bench.path("a.kiln");
    let run = |args: &[&str]| {
        let result = bench.command(args).output().unwrap();
        assert!(result.status.success(), "{args:?}: {result:?}");
        result.stdout
    };
    let names = [&module, &output].map(|path| path.to_str().unwrap());
    let eager = ["run", "--tier", "eager", "--invoke", "sum", names[0]];
    let default = ["run", "-C", "refine=n", "--invoke", "sum", names[0]];
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..200 {
        // So that functions are looked up, which are not where the whole module is found.
        if round % 3 == 0 {
            _ = fs::remove_dir_all(bench.cache().join("modules"));
        }
        assert_eq!(run(&eager), expected.as_bytes(), "round {round}");
        run(&["cache", "stats"]);
        let files = files_below(&bench.cache());
        let file = &files[random(files.len())];
        let mut bytes = fs::read(file).unwrap();
        let at = random(bytes.len().max(1));
        match round % 5 {
            0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (round % 8)),
            2 => bytes.truncate(at),
            3 => bytes.iter_mut().skip(at / 4096 * 4096).take(4096).for_each(|byte| *byte = random(256) as u8),
            _ => bytes.clear(),
        }
        fs::write(file, bytes).unwrap();
        assert_eq!(run(&eager), expected.as_bytes(), "round {round}, {}", file.display());
        match round % 4 {
            0 => assert_eq!(run(&default), expected.as_bytes(), "round {round}, {}", file.display()),
            1 => _ = run(&["compile", names[0], "-o", names[1]]),
            2 => _ = run(&["cache", "stats", "--json"]),
            _ => _ = run(&["cache", "prune", "--size", "1MiB"]),
        }
        if round % 50 == 49 {
            run(&["cache", "clear"]);
            assert!(!bench.cache().exists(), "{:?}", files_below(&bench.cache()));
        }
    }
}

#[test]
fn a_cache_that_cannot_be_used_is_no_failure() {
    let bench = Bench::new();
    let module = bench.module("a.wat", 10, 5);
    let (expected, _) = bench.sum(&["-C", "cache=n"], &module);
    assert!(!bench.cache().exists());
    fs::write(bench.cache(), "a file in its place").unwrap();
    let (sum, explanation) = bench.sum(&[], &module);
    assert_eq!(sum, expected);
    assert!(explanation["cache_problem"].as_str().unwrap().contains("cache"), "{explanation}");
    let plain = bench.command(&["run", "--invoke", "sum"]).arg(&module).output().unwrap();
    assert_eq!((text(&plain.stdout), text(&plain.stderr)), (expected.clone(), String::new()));
    let stats = bench.output(&["cache", "stats"]);
    assert!(!stats.status.success() && text(&stats.stderr).contains("cannot use the folder"), "{stats:?}");
    fs::remove_file(bench.cache()).unwrap();

    // No byte fits on the disk: files may not become longer than a few blocks.
    let script = "trap '' XFSZ; ulimit -f 2; exec \"$0\" run --invoke sum \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_kiln")]).arg(&module).env("KILN_CACHE_DIR", bench.cache());
    for _ in 0..2 {
        let output = command.output().unwrap();
        assert_eq!((text(&output.stdout), text(&output.stderr)), (expected.clone(), String::new()));
    }
    assert_eq!(bench.sum(&[], &module).0, expected);
    assert_eq!(bench.sum(&[], &module).1["cached_module"], true);
}

#[test]
fn the_command_shows_and_empties_the_cache() {
    let bench = Bench::new();
    let path = bench.output(&["cache", "path"]);
    assert_eq!(text(&path.stdout).trim_end(), bench.cache().to_str().unwrap());
    bench.sum(&[], &bench.module("a.wat", 20, 5));
    let stats = || -> Value { serde_json::from_slice(&bench.output(&["cache", "stats", "--json"]).stdout).unwrap() };
    let full = stats();
    assert!(number(&full, "entries") > 40 && number(&full, "modules") == 1, "{full}");
    assert!(text(&bench.output(&["cache", "stats"]).stdout).contains("of 1.07 GB at most"));
    // Functions and modules together.
    let taken = |stats: &Value| number(stats, "file_bytes") + number(stats, "module_bytes");
    let size = number(&full, "file_bytes").max(number(&full, "module_bytes"));
    assert!(bench.output(&["cache", "prune", "--size", &size.to_string()]).status.success());
    let pruned = stats();
    assert!(taken(&pruned) < taken(&full) && number(&pruned, "entries") > 0, "{full} {pruned}");
    assert!(bench.output(&["cache", "prune", "--size", "12KiB"]).status.success());
    let pruned = stats();
    assert!(number(&pruned, "entries") < number(&full, "entries") && number(&pruned, "entries") > 0, "{pruned}");
    assert_eq!(bench.output(&["cache", "prune", "--size", "much"]).status.code(), Some(2));
    fs::create_dir_all(bench.cache().join("verified")).unwrap();
    fs::write(bench.cache().join("verified/0-0"), "a record").unwrap();
    assert!(bench.output(&["cache", "clear"]).status.success());
    assert!(!bench.cache().exists(), "something is left");
    let cleared = stats();
    assert_eq!((number(&cleared, "entries"), number(&cleared, "modules")), (0, 0));
}

/// Many processes compile and run modules that share most of their functions; every tenth is killed at some moment.
fn killed_at_random(processes: u32, at_once: usize) {
    let bench = Bench::new();
    let binary = |i: u32| {
        let text = bench.module(&format!("{i}.wat"), 60, 100 + i);
        let module = text.with_extension("wasm");
        fs::write(&module, wat::parse_file(&text).unwrap()).unwrap();
        module
    };
    let modules: Vec<PathBuf> = (0..5).map(binary).collect();
    std::thread::sleep(Duration::from_millis(40));
    let expected: Vec<String> = modules.iter().map(|m| bench.sum(&["--no-cache"], m).0).collect();
    let mut running: Vec<(usize, Option<Instant>, Child)> = Vec::new();
    let mut killed = 0;
    let mut reap = |running: &mut Vec<(usize, Option<Instant>, Child)>| {
        running.retain_mut(|(module, deadline, child)| {
            if deadline.is_some_and(|d| d <= Instant::now()) {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
                return false;
            }
            if child.try_wait().unwrap().is_none() {
                return true;
            }
            let mut printed = String::new();
            std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut printed).unwrap();
            assert_eq!(printed, expected[*module]);
            false
        });
        std::thread::sleep(Duration::from_millis(2));
    };
    for i in 0..processes {
        while running.len() >= at_once {
            reap(&mut running);
        }
        let module = i as usize % modules.len();
        let tier = ["eager", "lazy", "dynamic"][i as usize / modules.len() % 3];
        let mut command = bench.command(&["run", "--tier", tier, "--invoke", "sum"]);
        let child = command.arg(&modules[module]).stdout(Stdio::piped()).spawn().unwrap();
        // From the very beginning to behind the end of most.
        let deadline = (i % 10 == 3).then(|| Instant::now() + Duration::from_millis(u64::from(i / 10 * 7 % 100)));
        running.push((module, deadline, child));
        reap(&mut running);
    }
    while !running.is_empty() {
        reap(&mut running);
    }
    assert!(killed > 0, "nobody was killed");
    let stats = bench.output(&["cache", "stats"]);
    assert!(stats.status.success(), "{stats:?}");
    for (module, expected) in modules.iter().zip(&expected) {
        assert_eq!(bench.sum(&["--tier", "lazy"], module).0, *expected);
        let (sum, explanation) = bench.sum(&["--tier", "lazy"], module);
        assert_eq!((&sum, number(&explanation, "cache_misses")), (expected, 0));
    }
}

#[test]
fn processes_that_are_killed_leave_the_cache_whole() {
    killed_at_random(200, 8);
}
