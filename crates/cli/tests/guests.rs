//! Guests that nobody trusts, and hosts that allow little: limits hold, and addresses cannot be guessed.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Ways to run a program.
const WAYS: [&[&str]; 4] = [&[], &["--tier", "eager"], &["--tier", "lazy"], &["--tier", "dynamic", "--no-cache"]];

/// Writes "ready", and ends when its standard input ends. Has data of more than a page.
const WAIT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 0) "\20\00\00\00\05\00\00\00") (data (i32.const 32) "ready") (data (i32.const 200000) "far away")
  (func (export "_start")
    (if (i32.ne (i32.load8_u (i32.const 200005)) (i32.const 119)) (then (unreachable)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// A folder with a module, and `kiln` run in it.
struct Bench(TempDir);

impl Bench {
    fn new(module: &str) -> Bench {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("guest.wat"), module).unwrap();
        Bench(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `kiln`, started by a shell after `before`.
    fn command(&self, before: &str, args: &[&[&str]]) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{before} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_kiln")]);
        command.args(args.concat()).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("KILN_CACHE_DIR", self.path("cache"));
        command
    }

    fn run(&self, before: &str, args: &[&[&str]]) -> Output {
        self.command(before, args).output().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn files_may_be_small_by_decree() {
    for limit in [0, 1, 64, 40_000] {
        let bench = Bench::new(WAIT);
        for way in WAYS {
            // Twice: with what the first run has left in the cache.
            for _ in 0..2 {
                let output = bench.run(&format!("ulimit -f {limit};"), &[&["run"], way, &["guest.wat"]]);
                assert_eq!(output.status.code(), Some(0), "{limit}, {way:?}: {output:?}");
                assert_eq!(output.stdout, b"ready", "{limit}, {way:?}: {output:?}");
            }
        }
        let output = bench.run(&format!("ulimit -f {limit};"), &[&["compile", "guest.wat", "-o", "out.kiln"]]);
        if limit <= 1 {
            assert_eq!(output.status.code(), Some(1), "{limit}: {output:?}");
            assert!(stderr(&output).contains("out.kiln") && stderr(&output).contains("File too large"), "{output:?}");
            assert!(!bench.path("out.kiln").exists());
        } else {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
    }
}

/// A guest that waits, and what of its address space is of interest.
fn started(bench: &Bench, way: &[&str]) -> (Child, Vec<u64>) {
    let mut command = bench.command("", &[&["run"], way, &["guest.wat"]]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    let mut places = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, mode, name) = (words.next().unwrap(), words.next().unwrap(), words.nth(3).unwrap_or(""));
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|n| u64::from_str_radix(n, 16).unwrap());
        // Code and its writable view, images of memories, memories, and the heap's arenas.
        let is_arena = mode.starts_with("rw") && name.is_empty() && end - start >= 64 << 20;
        if name.contains("memfd:kiln") || end - start >= 1 << 32 || is_arena {
            places.push(start);
        }
    }
    (child, places)
}

#[test]
fn nothing_is_where_it_was_in_the_last_run() {
    let bench = Bench::new(WAIT);
    for way in WAYS {
        let runs = [started(&bench, way), started(&bench, way)];
        let [first, second] = runs.map(|(mut child, places)| {
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success());
            places
        });
        assert!(first.len() >= 2 && second.len() >= 2, "{way:?}: {first:x?} {second:x?}");
        for place in &first {
            assert!(!second.contains(place), "{way:?}: {place:x} in {first:x?} and {second:x?}");
        }
        // Nor is one thing beside the other.
        let mut sorted = first.clone();
        sorted.sort_unstable();
        let gaps: Vec<u64> = sorted.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().filter(|gap| **gap < 1 << 30).count() <= gaps.len() / 2, "{way:?}: {sorted:x?}");
    }
}

/// Runs a guest with a time limit and says how long that took.
fn timed(bench: &Bench, args: &[&[&str]]) -> (Output, Duration) {
    let start = Instant::now();
    let mut command = bench.command("", args);
    // A pipe that nobody writes to.
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    (output, start.elapsed())
}

/// What ends after a `-W timeout` that it would exceed by far, and how it is run.
fn slow_guests() -> Vec<(&'static str, String)> {
    let body = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.xor (local.get 0) (i32.const 5))))";
    vec![
        ("a loop", r#"(module (func (export "_start") (loop (br 0))))"#.to_owned()),
        (
            "an atomic wait",
            r#"(module (memory 1 1 shared)
                (func (export "_start") (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))"#
                .to_owned(),
        ),
        (
            "large fills",
            r#"(module (memory 65536) (func (export "_start")
                (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) (br 0))))"#
                .to_owned(),
        ),
        (
            "compilation",
            format!(
                r#"(module (func $f (param i32) (result i32) {} (local.get 0))
                    (func (export "_start") (drop (call $f (i32.const 1)))))"#,
                body.repeat(150_000)
            ),
        ),
    ]
}

#[test]
fn a_timeout_ends_whatever_takes_long() {
    for (name, module) in slow_guests() {
        let bench = Bench::new(&module);
        for way in [&["--tier", "dynamic"][..], &["--tier", "eager"], &["--tier", "lazy"]] {
            if name == "compilation" && way[1] == "dynamic" {
                // The first tier is done with it before.
                continue;
            }
            let (output, time) = timed(&bench, &[&["run", "--no-cache", "-W", "timeout=300ms"], way, &["guest.wat"]]);
            assert_eq!(output.status.code(), Some(134), "{name}, {way:?}: {output:?}");
            assert!(stderr(&output).contains("wasm trap: interrupt"), "{name}, {way:?}: {output:?}");
            // Without the limit they take for ever, or half a minute.
            assert!(time < Duration::from_secs(15), "{name}, {way:?}: {time:?}");
        }
    }
}

#[test]
fn the_limit_of_a_memory_holds_for_shared_ones() {
    let bench = Bench::new(
        r#"(module (memory 1 65536 shared)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#,
    );
    for way in WAYS {
        let grow = |pages| {
            let args = ["run", "-W", "max-memory-size=1MiB", "--invoke", "grow"];
            let output = bench.run("", &[&args, way, &["guest.wat", pages]]);
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!([grow("15"), grow("16"), grow("16000")], ["1", "-1", "-1"], "{way:?}");
    }
}
