//! The command line as users meet it: exit codes, messages, what goes where.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "hello\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

const MATHS: &str = r#"(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "two") (result i64 f64) (i64.const -7) (f64.const 2.5))
  (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "null") (param externref) (result externref) (local.get 0)))"#;

/// Prints its arguments, one a line, all but the first.
const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $i i32) (local $p i32) (local $end i32)
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 64) (i32.const 1024)))
    (local.set $p (i32.load (i32.const 64)))
    (local.set $end (i32.add (local.get $p) (i32.load (i32.const 4))))
    (loop $next
      (if (i32.lt_u (local.get $p) (local.get $end)) (then
        (if (i32.eqz (i32.load8_u (local.get $p))) (then (i32.store8 (local.get $p) (i32.const 10))))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br $next))))
    (i32.store (i32.const 16) (i32.load (i32.const 64)))
    (i32.store (i32.const 20) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#;

/// A folder with files, and `kiln` run in it.
struct Bench(TempDir);

impl Bench {
    fn new(files: &[(&str, &str)]) -> Bench {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Bench(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null()).env("KILN_CACHE_DIR", self.path("cache"));
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::new(self.command(args).output().unwrap())
    }
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
    }

    #[track_caller]
    fn prints(&self, text: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(0), text), "{self:?}");
    }
}

#[test]
fn text_modules_run_with_and_without_the_command_and_in_both_tiers() {
    let bench = Bench::new(&[("hello.wat", HELLO)]);
    bench.run(&["hello.wat"]).prints("hello\n");
    bench.run(&["run", "hello.wat"]).prints("hello\n");
    bench.run(&["run", "--tier", "lazy", "hello.wat"]).prints("hello\n");
    assert_eq!(bench.run(&["hello.wat"]).stderr, "", "nothing else is said");
}

#[test]
fn a_module_on_standard_input() {
    let bench = Bench::new(&[]);
    let mut child = bench.command(&["-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(HELLO.as_bytes()).unwrap();
    Ran::new(child.wait_with_output().unwrap()).prints("hello\n");
}

#[test]
fn arguments_after_the_file_are_the_guests() {
    let bench = Bench::new(&[("echo.wat", ECHO)]);
    bench.run(&["echo.wat", "--dir", "x", "-W"]).prints("echo.wat\n--dir\nx\n-W\n");
    bench.run(&["run", "--argv0", "other", "echo.wat", "run", "--"]).prints("other\nrun\n--\n");
}

#[test]
fn the_programs_exit_code_is_ours() {
    let exit = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (i32.const 7))))"#;
    let bench = Bench::new(&[("exit.wat", exit)]);
    for flags in [&["exit.wat"][..], &["--coredump", "core.wasm", "--tier", "lazy", "exit.wat"]] {
        let ran = bench.run(flags);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(7), ""));
    }
    assert!(!bench.path("core.wasm").exists());
}

#[test]
fn a_trap_prints_a_backtrace_and_exits_134() {
    let trap = r#"(module $m
        (func $inner unreachable)
        (func $outer (call $inner))
        (func (export "_start") (call $outer)))"#;
    let bench = Bench::new(&[("trap.wat", trap)]);
    for tier in ["eager", "lazy"] {
        bench
            .run(&["run", "--tier", tier, "trap.wat"])
            .fails(134, &["error:", "unreachable", "inner", "outer", "trap.wat"]);
    }
}

#[test]
fn deep_recursion_is_a_trap() {
    let deep = r#"(module (func $f (export "_start") (call $f)))"#;
    let bench = Bench::new(&[("deep.wat", deep)]);
    bench.run(&["deep.wat"]).fails(134, &["call stack exhausted"]);
    bench.run(&["-W", "max-wasm-stack=100000", "deep.wat"]).fails(134, &["call stack exhausted"]);
    bench.run(&["-W", "max-wasm-stack=256MiB", "--tier", "lazy", "deep.wat"]).fails(134, &["call stack exhausted"]);
}

#[test]
fn fuel_timeouts_and_limits() {
    let endless = r#"(module (func (export "_start") (loop $l (br $l))))"#;
    let grow = r#"(module (memory 1) (func (export "grow") (result i32) (memory.grow (i32.const 10))))"#;
    let bench = Bench::new(&[("endless.wat", endless), ("grow.wat", grow)]);
    bench.run(&["-W", "fuel=10000", "endless.wat"]).fails(134, &["all fuel consumed"]);
    bench.run(&["-W", "timeout=50ms", "endless.wat"]).fails(134, &["interrupt"]);
    bench.run(&["-W", "timeout=50ms", "--tier=lazy", "endless.wat"]).fails(134, &["interrupt"]);
    bench.run(&["--invoke", "grow", "grow.wat"]).prints("1\n");
    bench.run(&["-W", "max-memory-size=100000", "--invoke", "grow", "grow.wat"]).prints("-1\n");
    let trapping = ["-W", "max-memory-size=100000,trap-on-grow-failure", "--invoke", "grow", "grow.wat"];
    assert_ne!(bench.run(&trapping).code, Some(0));
}

#[test]
fn functions_by_name() {
    let bench = Bench::new(&[("maths.wat", MATHS)]);
    bench.run(&["--invoke", "add", "maths.wat", "2", "-3"]).prints("-1\n");
    bench.run(&["run", "--invoke", "add", "maths.wat", "0xffffffff", "1"]).prints("0\n");
    bench.run(&["--invoke", "two", "maths.wat"]).prints("-7\n2.5\n");
    bench.run(&["--invoke", "null", "maths.wat", "null"]).prints("null\n");
    bench.run(&["--invoke", "add", "maths.wat", "1"]).fails(2, &["`add` takes 2 arguments (i32 i32), but 1 is given"]);
    bench.run(&["--invoke", "add", "maths.wat", "1", "x"]).fails(2, &["argument 2", "\"x\"", "i32"]);
    bench.run(&["--invoke", "sub", "maths.wat"]).fails(1, &["no function `sub`", "`add`"]);
    bench.run(&["--invoke", "div", "maths.wat", "1", "0"]).fails(134, &["integer divide by zero"]);
}

#[test]
fn mistakes_on_the_command_line_exit_2_and_say_what_is_near() {
    let bench = Bench::new(&[("hello.wat", HELLO)]);
    bench.run(&["--invok", "f", "hello.wat"]).fails(2, &["--invok", "--invoke"]);
    bench.run(&["-W", "feul=1", "hello.wat"]).fails(2, &["feul", "`fuel`"]);
    bench.run(&["-O", "opt-level=7", "hello.wat"]).fails(2, &["opt-level"]);
    bench
        .run(&["-O", "passes-off=nope", "hello.wat"])
        .fails(1, &["no pass is called nope", "inline", "thread", "align"]);
    bench.run(&["--preload", "bench", "hello.wat"]).fails(2, &["NAME=FILE"]);
    bench.run(&["--env", "KILN_TEST_NO_SUCH_VARIABLE", "hello.wat"]).fails(2, &["no such variable"]);
    bench.run(&["--tier", "later", "hello.wat"]).fails(2, &["eager", "lazy"]);
    bench.run(&["run"]).fails(2, &["FILE"]);
    bench.run(&[]).fails(2, &["Usage"]);
}

#[test]
fn files_that_are_not_there_or_no_modules() {
    let bench = Bench::new(&[("bad.wat", "(module (func (result i32)))"), ("torn.wat", "(module")]);
    bench.run(&["absent.wasm"]).fails(1, &["cannot read absent.wasm"]);
    bench.run(&["validat"]).fails(1, &["did you mean `kiln validate`?"]);
    bench.run(&["bad.wat"]).fails(1, &["bad.wat", "type mismatch"]);
    bench.run(&["torn.wat"]).fails(1, &["torn.wat"]);
    bench.run(&["--dir", "absent", "bad.wat"]).fails(1, &["bad.wat"]);
    std::fs::write(bench.path("noise.wasm"), [0u8, 1, 2, 3]).unwrap();
    bench.run(&["noise.wasm"]).fails(1, &["noise.wasm"]);
}

#[test]
fn imports_that_nothing_provides() {
    let needs = r#"(module
        (import "env" "answer" (func $answer (result i32)))
        (import "wasi_snapshot_preview1" "fd_wrote" (func (param i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "f") (result i32) (call $answer)))"#;
    let bench = Bench::new(&[("needs.wat", needs)]);
    bench.run(&["--invoke", "f", "needs.wat"]).fails(1, &["env", "answer"]);
    bench.run(&["-W", "unknown-imports-default=y", "--invoke", "f", "needs.wat"]).prints("0\n");
    bench.run(&["-W", "unknown-imports-trap", "--invoke", "f", "needs.wat"]).fails(1, &["answer", "wasm backtrace"]);
    let misspelt = r#"(module (import "wasi_snapshot_preview1" "fd_wrote" (func (param i32) (result i32))))"#;
    let bench = Bench::new(&[("misspelt.wat", misspelt)]);
    bench.run(&["misspelt.wat"]).fails(1, &["fd_wrote", "fd_write"]);
}

#[test]
fn preloaded_modules() {
    let library = r#"(module (func (export "answer") (result i32) (i32.const 42)))"#;
    let user = r#"(module (import "lib" "answer" (func $f (result i32))) (func (export "f") (result i32) (call $f)))"#;
    let bench = Bench::new(&[("library.wat", library), ("user.wat", user)]);
    bench.run(&["--preload", "lib=library.wat", "--invoke", "f", "user.wat"]).prints("42\n");
    bench.run(&["--preload", "lib=absent.wat", "user.wat"]).fails(1, &["cannot read absent.wat"]);
    // Compiled ahead, the one and the other.
    bench.run(&["compile", "library.wat", "-o", "library.kiln"]).prints("");
    bench.run(&["compile", "user.wat", "-o", "user.kiln"]).prints("");
    for program in ["user.wat", "user.kiln"] {
        bench.run(&["--preload", "lib=library.kiln", "--invoke", "f", program]).prints("42\n");
    }
    // One that does not fit is compiled again.
    let ran = bench.run(&["-W", "fuel=10000", "--preload", "lib=library.kiln", "--invoke", "f", "user.wat"]);
    ran.prints("42\n");
    assert!(ran.stderr.contains("compiling it again"), "{ran:?}");
}

#[test]
fn proposals_can_be_switched_off() {
    let simd = r#"(module (func (export "f") (result v128) (v128.const i64x2 1 2)))"#;
    let bench = Bench::new(&[("simd.wat", simd)]);
    bench.run(&["--invoke", "f", "simd.wat"]).prints("0x00000000000000020000000000000001\n");
    bench.run(&["-W", "simd=n,relaxed-simd=n", "--invoke", "f", "simd.wat"]).fails(1, &["SIMD"]);
}

#[test]
fn explain_goes_to_standard_error() {
    let bench = Bench::new(&[("hello.wat", HELLO)]);
    let ran = bench.run(&["run", "--explain", "hello.wat"]);
    ran.prints("hello\n");
    for phase in ["read", "parse", "validate", "translate", "codegen", "link", "instantiate", "run", "peak memory"] {
        assert!(ran.stderr.contains(phase), "{ran:?}");
    }
    let ran = bench.run(&["run", "--explain=json", "hello.wat"]);
    let report: serde_json::Value = serde_json::from_str(ran.stderr.trim()).unwrap();
    assert!(report["run_seconds"].as_f64().unwrap() > 0.0);
    assert!(report["functions"].as_u64().unwrap() >= 1);
    assert!(report["peak_memory_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn output_that_nobody_reads_does_not_crash() {
    let chatty = HELLO
        .replace("(drop (call $write", "(loop $l (br_if $l (i32.eqz (call $write")
        .replace("(i32.const 1) (i32.const 8)))))", "(i32.const 1) (i32.const 8)))))))");
    let bench = Bench::new(&[("chatty.wat", &chatty)]);
    let mut child = bench.command(&["chatty.wat"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::new(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "the program saw the error and ended");
}

#[test]
fn validation_tells_of_every_file() {
    let bench = Bench::new(&[("good.wat", HELLO), ("bad.wat", "(module (func (result i32)))"), ("worse.wat", "(")]);
    let ran = bench.run(&["validate", "good.wat"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
    bench.run(&["validate", "--compile", "good.wat"]).prints("");
    bench.run(&["validate", "bad.wat", "good.wat", "worse.wat"]).fails(1, &["bad.wat", "worse.wat"]);
}

#[test]
fn scripts() {
    let good = r#"(module (func (export "f") (result i32) (i32.const 1))) (assert_return (invoke "f") (i32.const 1))"#;
    let bad = r#"(module (func (export "f") (result i32) (i32.const 1)))
(assert_return (invoke "f") (i32.const 2))"#;
    let bench = Bench::new(&[("good.wast", good), ("bad.wast", bad)]);
    let ran = bench.run(&["wast", "good.wast"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    bench.run(&["wast", "--mode", "lazy", "bad.wast"]).fails(1, &["bad.wast:2:", "expected i32 2", "[lazy]"]);
    bench.run(&["wast", "--mode", "quick", "bad.wast"]).fails(2, &["quick", "lazy"]);
}

#[test]
fn settings_and_lists() {
    let bench = Bench::new(&[]);
    let ran = bench.run(&["settings", "--json"]);
    let settings: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(settings["proposals"]["simd"], true);
    assert!(settings["kiln"]["target"].as_str().unwrap().contains('-'));
    assert!(bench.run(&["settings"]).stdout.contains("max-wasm-stack"));
    let ran = bench.run(&["settings", "-W", "simd=n,relaxed-simd=n", "--json"]);
    let settings: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(settings["proposals"]["simd"], false);
    let ran = bench.run(&["run", "-W", "help", "x.wasm"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("max-memory-size"), "{ran:?}");
}

#[test]
fn completions_and_help() {
    let bench = Bench::new(&[]);
    for shell in ["bash", "zsh", "fish"] {
        assert!(bench.run(&["completions", shell]).stdout.contains("invoke"), "{shell}");
    }
    assert!(bench.run(&["--help"]).stdout.contains("--invoke"));
    assert!(bench.run(&["--version"]).stdout.starts_with("kiln "));
}

#[test]
fn core_dumps() {
    let trap = r#"(module $m (memory 1) (func $inner unreachable) (func (export "_start") (call $inner)))"#;
    let bench = Bench::new(&[("trap.wat", trap)]);
    bench.run(&["--coredump", "core.wasm", "trap.wat"]).fails(134, &["core dump written to core.wasm"]);
    let dump = std::fs::read(bench.path("core.wasm")).unwrap();
    assert!(dump.starts_with(b"\0asm"));
    assert!(dump.windows(9).any(|w| w == b"corestack"));
}

/// The program may have put a link where its core dump goes.
#[test]
fn core_dumps_are_private_and_follow_no_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let trap = r#"(module (func (export "_start") unreachable))"#;
    let bench = Bench::new(&[("trap.wat", trap), ("victim", "untouched"), ("public", "old")]);
    symlink("victim", bench.path("link")).unwrap();
    symlink("nowhere", bench.path("dangling")).unwrap();
    for name in ["core.wasm", "link", "dangling", "public"] {
        bench.run(&["--coredump", name, "trap.wat"]).fails(134, &["core dump written to"]);
        let metadata = std::fs::symlink_metadata(bench.path(name)).unwrap();
        assert!(metadata.is_file(), "{name}");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::read_to_string(bench.path("victim")).unwrap(), "untouched");
    assert!(!bench.path("nowhere").exists());
    let left = std::fs::read_dir(bench.0.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp"));
    assert_eq!(left.count(), 0, "nothing unfinished stays");
    bench.run(&["--coredump", "/dev/null", "trap.wat"]).fails(134, &["core dump written to"]);
    assert!(!std::path::Path::new("/dev/null").is_file());
}

/// Opens `new` in the first folder for writing, creating it, and exits with the error number.
const CREATE: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "new")
  (func (export "_start")
    (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 3) (i32.const 1) (i64.const 64)
      (i64.const 0) (i32.const 0) (i32.const 0)))))"#;

#[test]
fn folders_may_be_lent_read_only() {
    let bench = Bench::new(&[("create.wat", CREATE)]);
    std::fs::create_dir(bench.path("folder")).unwrap();
    let rofs = 69;
    for dir in ["folder::/w::ro", "folder::::ro"] {
        assert_eq!(bench.run(&["--dir", dir, "create.wat"]).code, Some(rofs));
        assert!(!bench.path("folder/new").exists());
    }
    for dir in ["folder::/w::rw", "folder::/w::", "folder::/w::ro::x"] {
        bench.run(&["--dir", dir, "create.wat"]).fails(2, &[dir, "HOST::GUEST::ro"]);
    }
    for dir in ["folder", "folder::ro"] {
        bench.run(&["--dir", dir, "create.wat"]).prints("");
        std::fs::remove_file(bench.path("folder/new")).unwrap();
    }
}

/// A program whose `_start` starts a thread and then does `main`; the thread does `thread`.
fn threads(main: &str, thread: &str) -> String {
    format!(
        r#"(module
  (import "env" "memory" (memory 1 1 shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (export "memory" (memory 0))
  (func $say
    (i64.store (i32.const 0) (i64.const 0x300000010))
    (i32.store (i32.const 16) (i32.const 0x0a6968))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $wait (drop (memory.atomic.wait32 (i32.const 64) (i32.const 0) (i64.const -1))))
  (func $wake
    (i32.atomic.store (i32.const 64) (i32.const 1))
    (drop (memory.atomic.notify (i32.const 64) (i32.const 1))))
  (func (export "wasi_thread_start") (param i32 i32) {thread})
  (func (export "_start")
    (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0)) (then (call $exit (i32.const 11))))
    {main}))"#
    )
}

#[test]
fn programs_with_threads() {
    let bench = Bench::new(&[
        ("both.wat", &threads("(call $wait)", "(call $say) (call $wake)")),
        ("exit.wat", &threads("(call $wait)", "(call $say) (call $exit (i32.const 5))")),
        ("spin.wat", &threads("(loop (br 0))", "(call $exit (i32.const 0))")),
        ("trap.wat", &threads("(call $wait)", "unreachable")),
        ("main.wat", &threads("(call $wait) (call $exit (i32.const 6))", "(call $wake) (loop (br 0))")),
        ("idle.wat", &threads("(call $wait)", "(call $wait)")),
    ]);
    for tier in ["eager", "lazy", "dynamic"] {
        let run = |args: &[&str]| bench.run(&[&["run", "-S", "threads", "--tier", tier], args].concat());
        run(&["both.wat"]).prints("hi\n");
        let ran = run(&["exit.wat"]);
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (Some(5), "hi\n", ""));
        run(&["spin.wat"]).prints("");
        run(&["trap.wat"]).fails(134, &["unreachable", "failed to run", "wasm backtrace"]);
        assert_eq!(run(&["main.wat"]).code, Some(6));
        run(&["-W", "timeout=50ms", "idle.wat"]).fails(134, &["interrupt"]);
        assert_eq!(run(&["-S", "max-threads=0", "both.wat"]).code, Some(11));
    }
    bench.run(&["both.wat"]).fails(1, &["thread-spawn", "-S threads"]);
    bench.run(&["-S", "threads", "--preload", "x=both.wat", "both.wat"]).fails(2, &["--preload"]);
}

/// What a program waits for ends with its timeout.
#[test]
fn timeouts_end_what_waits() {
    let sleep = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (i32.store8 (i32.const 16) (i32.const 1))
            (i64.store (i32.const 24) (i64.const 3600000000000))
            (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
            (call $exit (i32.const 9))))"#;
    let read = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (i64.store (i32.const 0) (i64.const 0x100000010))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $exit (i32.const 9))))"#;
    let bench = Bench::new(&[("sleep.wat", sleep), ("read.wat", read)]);
    for tier in ["eager", "lazy", "dynamic"] {
        for file in ["sleep.wat", "read.wat"] {
            let (input, _kept_open) = std::io::pipe().unwrap();
            let mut command = bench.command(&["run", "--tier", tier, "-W", "timeout=100ms", file]);
            Ran::new(command.stdin(input).output().unwrap()).fails(134, &["interrupt"]);
        }
    }
}

#[test]
fn standard_output_that_is_a_file_is_only_added_to() {
    // Cuts standard output to nothing and exits with the error number.
    let cut = r#"(module
        (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $cut (param i32 i64) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (call $cut (i32.const 1) (i64.const 0)))))"#;
    let bench = Bench::new(&[("cut.wat", cut), ("hello.wat", HELLO), ("log", "before\n")]);
    let log = || std::fs::File::options().append(true).open(bench.path("log")).unwrap();
    let notcapable = 76;
    let run = |args: &[&str]| bench.command(args).stdout(log()).status().unwrap().code();
    assert_eq!(run(&["cut.wat"]), Some(notcapable));
    assert_eq!(run(&["hello.wat"]), Some(0));
    assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), "before\nhello\n");
    assert_eq!(run(&["-S", "rewrite-stdio", "cut.wat"]), Some(0));
    assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), "");
}

#[test]
fn lists_of_options_need_no_file() {
    let bench = Bench::new(&[]);
    for command in [&["-W", "help"][..], &["run", "-Whelp"], &["compile", "--wasm=help"], &["validate", "-W", "help"]] {
        let ran = bench.run(command);
        assert!(ran.code == Some(0) && ran.stdout.contains("max-memory-size"), "{ran:?}");
    }
    bench.run(&["compile", "-W", "fuel=1"]).fails(2, &["<FILE>"]);
}

#[test]
fn modules_come_through_pipes() {
    let bench = Bench::new(&[("hello.wat", HELLO)]);
    bench.run(&["compile", "hello.wat"]).prints("");
    let through_pipe = |args: &[&str], bytes: &[u8]| {
        let mut command = bench.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        Ran::new(child.wait_with_output().unwrap())
    };
    through_pipe(&["/dev/stdin"], HELLO.as_bytes()).prints("hello\n");
    through_pipe(&["validate", "-"], HELLO.as_bytes()).prints("");
    let artifact = std::fs::read(bench.path("hello.kiln")).unwrap();
    through_pipe(&["/dev/stdin"], &artifact).fails(1, &["/dev/stdin", "artifact", "regular file"]);
}

#[test]
fn what_is_no_module_is_named() {
    let bench = Bench::new(&[("hello.wat", HELLO), ("torn.wat", "(module")]);
    bench.run(&["compile", "hello.wat"]).prints("");
    for command in [&["compile"][..], &["validate"], &["explore"], &["cache", "why", "hello.wat"]] {
        bench.run(&[command, &["hello.kiln"]].concat()).fails(1, &["hello.kiln", "artifact"]);
        bench.run(&[command, &["torn.wat"]].concat()).fails(1, &["torn.wat:1:"]);
    }
    bench.run(&["--preload", "a=torn.wat", "hello.wat"]).fails(1, &["torn.wat:1:"]);
    std::fs::write(bench.path("elf"), b"\x7fELF\x02\x01\x01").unwrap();
    bench.run(&["elf"]).fails(1, &["ELF"]);
}

#[test]
fn entries_have_no_parameters_and_no_results() {
    let start = r#"(module (func (export "_start") (result i32) (i32.const 3)))"#;
    let bench = Bench::new(&[("start.wat", start), ("nothing.wat", "(module)")]);
    bench.run(&["start.wat"]).fails(1, &["`_start`", "(func (result i32))", "--invoke"]);
    bench.run(&["--invoke", "_start", "start.wat"]).prints("3\n");
    bench.run(&["--invoke", "f", "nothing.wat"]).fails(1, &["it exports none"]);
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let bench = Bench::new(&[("maths.wat", MATHS), ("hello.wat", HELLO)]);
    bench.run(&["compile", "hello.wat"]).prints("");
    let commands = [
        &["settings"][..],
        &["cache", "path"],
        &["completions", "bash"],
        &["objdump", "hello.kiln"],
        &["-W", "help"],
        &["--invoke", "add", "maths.wat", "1", "2"],
        &["compile", "--emit", "clif", "hello.wat", "-o", "-"],
    ];
    let helps =
        [&["--help"][..], &["-h"], &["--version"], &["help", "run"], &["run", "--help"], &["cache", "prune", "-h"]];
    for args in commands.into_iter().chain(helps) {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = Ran::new(bench.command(args).stdout(full).output().unwrap());
        ran.fails(1, &["cannot write to standard output"]);
    }
    // Who has gone away wants no more.
    for args in helps {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Ran::new(bench.command(args).stdout(writer).output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn functions_to_be_shown_that_there_are_not_are_named() {
    let add = r#"(module $m (import "a" "imported" (func))
        (func $sum (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "f")))"#;
    let bench = Bench::new(&[("add.wat", add), ("empty.wat", "(module)"), ("library.wat", "(module (func) (func))")]);
    let shown = |names: &str, file: &str| {
        let option = format!("dump-function={names}");
        bench.run(&["-D", &option, "-W", "unknown-imports-trap", "--preload", "l=library.wat", "--invoke", "f", file])
    };
    for names in ["wasm[0]+wasm[1]", "wasm[1]+array_to_wasm[0]+wasm[0]"] {
        let ran = shown(names, "add.wat");
        ran.prints("");
        let is_shown = |name: &str| ran.stderr.contains(&format!(";; {name} behind translate\nfunction"));
        assert!(names.split('+').all(is_shown) && !ran.stderr.contains("note:"), "{ran:?}");
    }
    let says = |names: &str, words: &[&str]| {
        let ran = shown(names, "add.wat");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let note = |word: &&str| ran.stderr.contains(&format!("note: -D dump-function: {word}"));
        assert!(words.iter().all(note), "{words:?} {ran:?}");
    };
    // The program's module and the other one.
    says("wasm[2]", &["the module m has no wasm[2], but wasm[0] to wasm[1]", "the module has no wasm[2], but"]);
    for name in ["wasm[00]", "sub", "0", "wasm[1]@x", "wasm_to_host[9]", "builtin[nothing]", "["] {
        says(name, &[&format!("the module m has no {name}, but")]);
    }
    for name in ["sum", "add", "1"] {
        says(name, &[&format!("functions are named by their keys: that of {name} is wasm[0]")]);
    }
    says("wasm[0]+wasm[7]", &["the module m has no wasm[7]"]);
    bench.run(&["-D", "dump-function=wasm[0]", "empty.wat"]).prints("");
    assert!(bench.run(&["-D", "dump-function=wasm[0]", "empty.wat"]).stderr.contains("no function with a body at all"));
    bench.run(&["compile", "empty.wat"]).prints("");
    assert!(bench.run(&["-D", "dump-function=wasm[0]", "empty.kiln"]).stderr.contains("is compiled already"));
}

#[test]
fn little_stack_from_the_shell_is_enough() {
    let deep = r#"(module (func $f (export "_start") (call $f)))"#;
    let bench = Bench::new(&[("hello.wat", HELLO), ("deep.wat", deep)]);
    let run = |args: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -s 32; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kiln")]).args(args);
        // Arguments and environment are on the stack.
        command.env_clear().env("KILN_CACHE_DIR", bench.path("cache")).current_dir(bench.0.path()).stdin(Stdio::null());
        Ran::new(command.output().unwrap())
    };
    run(&["hello.wat"]).prints("hello\n");
    run(&["run", "--tier", "eager", "hello.wat"]).prints("hello\n");
    run(&["compile", "hello.wat"]).prints("");
    run(&["hello.kiln"]).prints("hello\n");
    run(&["deep.wat"]).fails(134, &["call stack exhausted"]);
    run(&["--invok", "f", "hello.wat"]).fails(2, &["--invoke"]);
    assert!(run(&["run", "--help"]).stdout.contains("--invoke"));
}

#[test]
fn the_module_is_not_overwritten_by_what_is_made_of_it() {
    let bench = Bench::new(&[("a", HELLO), ("a.kiln", HELLO), ("a.h", HELLO), ("a.html", HELLO), ("b.wat", HELLO)]);
    std::os::unix::fs::symlink("b.wat", bench.path("link")).unwrap();
    let commands = [
        (&["compile", "--emit", "exe", "a"][..], "a"),
        (&["compile", "a.kiln"], "a.kiln"),
        (&["compile", "--emit", "obj", "a.h"], "a.h"),
        (&["explore", "a.html"], "a.html"),
        (&["compile", "b.wat", "-o", "link"], "b.wat"),
    ];
    for (args, file) in commands {
        bench.run(args).fails(2, &["is the module", "-o FILE"]);
        assert_eq!(std::fs::read_to_string(bench.path(file)).unwrap(), HELLO, "{args:?}");
    }
    bench.run(&["compile", "--emit", "obj", "b.wat", "-o", "b.h"]).fails(2, &["b.h", "header"]);
}

#[test]
fn output_goes_where_links_and_names_of_open_files_lead() {
    let bench = Bench::new(&[("hello.wat", HELLO)]);
    let clif = |output: &str| ["compile", "--emit", "clif", "hello.wat", "-o", output].map(str::to_owned);
    let run = |output: &str| bench.run(&clif(output).each_ref().map(String::as_str));
    let expected = run("-").stdout;
    assert!(expected.contains("function"), "{expected}");
    std::os::unix::fs::symlink("target.clif", bench.path("link.clif")).unwrap();
    // The target is made, then replaced.
    for _ in 0..2 {
        run("link.clif").prints("");
        assert!(bench.path("link.clif").is_symlink());
        assert_eq!(std::fs::read_to_string(bench.path("target.clif")).unwrap(), expected);
    }
    let file = std::fs::File::create(bench.path("open")).unwrap();
    let mut command = bench.command(&clif("/proc/self/fd/1").each_ref().map(String::as_str));
    assert!(command.stdout(file).status().unwrap().success());
    assert_eq!(std::fs::read_to_string(bench.path("open")).unwrap(), expected);
}

#[test]
fn options_of_what_is_compiled_make_sense() {
    let bench = Bench::new(&[("hello.wat", HELLO)]);
    let exe = |options: &[&str]| {
        bench.run(&[&["compile", "--emit", "exe", "hello.wat", "-o", "hello", "--"], options].concat())
    };
    exe(&["--bogus"]).fails(2, &["--bogus", "kiln run"]);
    exe(&["-W", "feul=1"]).fails(2, &["feul", "`fuel`"]);
    exe(&["--dir", ".", "argument"]).fails(2, &["`argument`"]);
    assert!(!bench.path("hello").exists());
    bench.run(&["compile", "--emit", "asm", "--cpu", "v3", "hello.wat"]).fails(2, &["--cpu"]);
    bench.run(&["compile", "--emit", "clif", "--no-wasm", "hello.wat"]).fails(2, &["--no-wasm"]);
    bench.run(&["compile", "--cpu", "v9", "hello.wat"]).fails(1, &["`v9`", "baseline"]);
}

#[test]
fn executables_may_be_called_by_any_name() {
    let bench = Bench::new(&[("echo.wat", ECHO)]);
    bench.run(&["compile", "--emit", "exe", "echo.wat", "-o", "echo"]).prints("");
    let mut command = Command::new(bench.path("echo"));
    std::os::unix::process::CommandExt::arg0(&mut command, "-echo");
    Ran::new(command.args(["--help", "--", "x"]).output().unwrap()).prints("-echo\n--help\n--\nx\n");
}

#[test]
fn names_of_the_host_need_not_be_unicode() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let name = |text: &[u8]| OsString::from_vec(text.to_vec());
    let bench = Bench::new(&[("hello.wat", HELLO)]);
    std::fs::create_dir(bench.0.path().join(name(b"d\xff"))).unwrap();
    let mut command = bench.command(&["--dir"]);
    command.arg(name(b"d\xff::/w")).arg("--env").arg(name(b"A=\xff")).arg("hello.wat");
    Ran::new(command.output().unwrap()).prints("hello\n");
}

/// A name that would colour a terminal, ring its bell, begin a line that looks like another message, and read backwards.
const HOSTILE: &str = r"x\1b[31m\07\nerror: y\u{202e}z";
const SHOWN: &str = r"x\u{1b}[31m\u{7}\nerror: y\u{202e}z";

#[test]
fn names_of_a_module_do_not_change_how_messages_are_shown() {
    let module = |text: &str| text.replace("NAME", HOSTILE);
    let trap = module(
        r#"(module (@name "NAME")
      (func (@name "NAME") unreachable)
      (func (export "_start") call 0)
      (func (export "NAME")))"#,
    );
    let import = module(r#"(module (import "NAME" "NAME" (func)))"#);
    let twice = module(r#"(module (func) (export "NAME" (func 0)) (export "NAME" (func 0)))"#);
    let invalid = module(r#"(module (func (@name "NAME") i32.const 1))"#);
    let files = [("trap.wat", &*trap), ("import.wat", &import), ("twice.wat", &twice), ("invalid.wat", &invalid)];
    let bench = Bench::new(&files);
    let is_clean = |text: &str| {
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{7}';
        assert!(!text.contains(bad) && !text.lines().any(|line| line.starts_with("error: y")), "{text:?}");
    };
    for (args, how_often) in [
        (&["run", "trap.wat"][..], 1),
        (&["run", "--invoke", "none", "trap.wat"], 1),
        (&["run", "import.wat"], 2),
        (&["run", "twice.wat"], 1),
        (&["validate", "twice.wat"], 1),
        (&["run", "invalid.wat"], 1),
        (&["compile", "invalid.wat"], 1),
    ] {
        let ran = bench.run(args);
        assert_ne!(ran.code, Some(0), "{args:?}");
        assert!(ran.stderr.matches(SHOWN).count() >= how_often, "{args:?}: {:?}", ran.stderr);
        is_clean(&ran.stderr);
    }
    assert_eq!(bench.run(&["compile", "trap.wat"]).code, Some(0));
    for args in [&["objdump", "trap.kiln"][..], &["objdump", "--traps", "trap.kiln"]] {
        let ran = bench.run(args);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains(SHOWN), "{}", ran.stdout);
        is_clean(&ran.stdout);
    }
    assert_eq!(bench.run(&["explore", "trap.wat", "-o", "page.html"]).code, Some(0));
    let page = std::fs::read_to_string(bench.path("page.html")).unwrap();
    assert!(page.contains(SHOWN) && !page.contains(['\u{202e}', '\x1b', '\x07']));
}

#[test]
fn scripts_may_use_what_their_folder_and_the_command_line_say() {
    // Legacy exceptions folded, as the suite's scripts of them are written.
    let legacy = r#"(module (tag $t (param i32)) (func (export "f") (result i32)
      (try (result i32) (do (throw $t (i32.const 7))) (catch $t))))
      (assert_return (invoke "f") (i32.const 7))"#;
    let pages = r#"(module (memory (export "m") 3 (pagesize 1)) (func (export "size") (result i32) (memory.size)))
      (assert_return (invoke "size") (i32.const 3))"#;
    let bench = Bench::new(&[("legacy.wast", legacy), ("pages.wast", pages)]);
    let folder = bench.path("proposals/custom-page-sizes");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(bench.path("pages.wast"), folder.join("pages.wast")).unwrap();
    let ran = |args: &[&str]| {
        let ran = bench.run(&[&["wast", "--mode", "eager", "--mode", "stencils"], args].concat());
        (ran.code, ran.stderr.matches("2 passed, 0 failed").count(), ran.stderr)
    };
    for args in
        [&["legacy.wast"][..], &["proposals/custom-page-sizes/pages.wast"], &["-W", "custom-page-sizes", "pages.wast"]]
    {
        let (code, passed, stderr) = ran(args);
        assert_eq!((code, passed), (Some(0), 2), "{args:?}: {stderr}");
    }
    assert_eq!(ran(&["pages.wast"]).0, Some(1));
    assert_eq!(ran(&["-W", "custom-page-sizes=n", "proposals/custom-page-sizes/pages.wast"]).0, Some(1));
    for wrong in ["custom-page-size", "gc=maybe"] {
        let (code, _, stderr) = ran(&["-W", wrong, "pages.wast"]);
        assert_eq!(code, Some(2), "{stderr}");
    }
}
