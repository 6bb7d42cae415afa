//! Programs that write to the files they run from, and files that somebody else has made, as users of the command meet them.

use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Overwrites the file `NAME` in its first folder with zeroes and sets its time back, then calls a function that nobody has
/// called before, and copies from a segment. Says `ok` if both are what they were.
const EVIL: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_set_times" (func $times (param i32 i64 i64 i32) (result i32)))
    (memory (export "memory") 2)
    (data (i32.const 0) "NAME")
    (data $passive "ok\n")
    (global $file (mut i32) (i32.const 0))
    (table funcref (elem $late))
    (func $late (param i32) (result i32) (i32.mul (local.get 0) (i32.const 1234567)))
    (func (export "_start") (local $at i64)
        (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const LEN) (i32.const 0)
                (i64.const 0x800044) (i64.const 0) (i32.const 0) (i32.const 64))
            (then (unreachable)))
        (global.set $file (i32.load (i32.const 64)))
        (i32.store (i32.const 72) (i32.const 65536))
        (i32.store (i32.const 76) (i32.const 4096))
        (loop $more
            (if (call $pwrite (global.get $file) (i32.const 72) (i32.const 1) (local.get $at) (i32.const 80))
                (then (unreachable)))
            (local.set $at (i64.add (local.get $at) (i64.const 4096)))
            (br_if $more (i64.lt_u (local.get $at) (i64.const SIZE))))
        (if (call $times (global.get $file) (i64.const 0) (i64.const TIME) (i32.const 4)) (then (unreachable)))
        (if (i32.ne (call_indirect (param i32) (result i32) (i32.const 3) (i32.const 0)) (i32.const 3703701))
            (then (unreachable)))
        (memory.init $passive (i32.const 200) (i32.const 0) (i32.const 3))
        (i32.store (i32.const 72) (i32.const 200))
        (i32.store (i32.const 76) (i32.const 3))
        (drop (call $write (i32.const 1) (i32.const 72) (i32.const 1) (i32.const 80)))))"#;

/// Says `ready`, waits for the end of its input, and calls a function that nobody has called before.
const PATIENT: &str = r#"(module
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
        (if (i32.ne (call $late) (i32.const 1234567)) (then (unreachable)))
        (call $say)))"#;

/// Files, a cache, a key, and `kiln` run with them.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        fs::create_dir(place.path("work")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(args).current_dir(self.path("work")).stdin(Stdio::null());
        command.env("KILN_CACHE_DIR", self.path("cache")).env("KILN_KEY_FILE", self.path("state/key"));
        command
    }

    fn kiln(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("work").join(name);
        fs::write(&path, bytes).unwrap();
        // Files that were changed just now are not recognised by their times.
        std::thread::sleep(Duration::from_millis(40));
        path
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeds(output: &Output) -> (String, String) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    (stdout, stderr)
}

/// The program that overwrites a file of that name and about that size.
fn evil(name: &str, size: usize) -> Vec<u8> {
    let time = 1_600_000_000_000_000_000_u64.to_string();
    let (len, size) = (name.len().to_string(), size.to_string());
    wat::parse_str(EVIL.replace("NAME", name).replace("LEN", &len).replace("SIZE", &size).replace("TIME", &time))
        .unwrap()
}

#[test]
fn a_program_that_overwrites_its_own_file_goes_on_as_it_was() {
    for flags in [&["--tier", "lazy"][..], &["--tier", "dynamic"], &["--tier", "eager"], &["--no-cache"]] {
        let place = Place::new();
        let bytes = evil("app.wasm", 4096);
        place.write("app.wasm", &bytes);
        let mut args = vec!["run", "--dir", ".", "-C", "refine=n"];
        args.extend(flags);
        args.push("app.wasm");
        // The first run, and those that go on where it ended.
        for _ in 0..3 {
            place.write("app.wasm", &bytes);
            assert_eq!(succeeds(&place.kiln(&args)).0, "ok\n", "{flags:?}");
            assert!(fs::read(place.path("work/app.wasm")).unwrap().iter().all(|byte| *byte == 0));
        }
        // By another name, from a folder that is not the program's.
        place.write("app.wasm", &bytes);
        fs::create_dir(place.path("other")).unwrap();
        fs::hard_link(place.path("work/app.wasm"), place.path("other/app.wasm")).unwrap();
        let other = place.path("other").display().to_string();
        let mut args = args.clone();
        args[2] = &other;
        assert_eq!(succeeds(&place.kiln(&args)).0, "ok\n", "{flags:?}");
    }
}

#[test]
fn a_program_that_overwrites_its_artifact_goes_on_as_it_was() {
    let place = Place::new();
    let name = "app.kiln";
    place.write("app.wasm", evil(name, 1 << 16));
    succeeds(&place.kiln(&["compile", "app.wasm"]));
    let bytes = fs::read(place.path("work").join(name)).unwrap();
    for checked in [false, true] {
        place.write(name, &bytes);
        if checked {
            // By a run whose program has no folder to write to.
            assert!(!place.kiln(&["run", name]).status.success());
        }
        assert_eq!(succeeds(&place.kiln(&["run", "--dir", ".", name])).0, "ok\n");
        assert_ne!(fs::read(place.path("work").join(name)).unwrap(), bytes);
    }
}

/// Runs the patient program, does something to its file when it is ready, and gives how it ended.
fn meanwhile(place: &Place, flags: &[&str], change: impl FnOnce(&Path)) -> (bool, String) {
    let mut command = place.command(&["run", "-C", "refine=n"]);
    command.args(flags).arg("app.wasm").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = command.spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    change(&place.path("work/app.wasm"));
    drop(program.stdin.take());
    let output = program.wait_with_output().unwrap();
    (output.status.success(), text(&output.stderr))
}

#[test]
fn a_file_that_is_touched_or_written_again_ends_no_program() {
    let place = Place::new();
    let bytes = wat::parse_str(PATIENT).unwrap();
    for flags in
        [&["--tier", "lazy"][..], &["--tier", "dynamic"], &["--tier", "eager"], &["--no-cache"], &["--dir", "."]]
    {
        for _ in 0..2 {
            place.write("app.wasm", &bytes);
            let touch = |file: &Path| fs::File::open(file).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
            assert_eq!(meanwhile(&place, flags, touch), (true, String::new()), "{flags:?}");
            assert_eq!(
                meanwhile(&place, flags, |file| fs::write(file, &bytes).unwrap()),
                (true, String::new()),
                "{flags:?}"
            );
            let replace = |file: &Path| {
                fs::write(file.with_extension("new"), b"another").unwrap();
                fs::rename(file.with_extension("new"), file).unwrap();
            };
            assert_eq!(meanwhile(&place, flags, replace), (true, String::new()), "{flags:?}");
        }
    }
}

#[test]
fn nothing_is_compiled_of_a_file_that_another_program_has_changed() {
    let place = Place::new();
    let bytes = wat::parse_str(PATIENT).unwrap();
    let change = |file: &Path| {
        let before = fs::metadata(file).unwrap().modified().unwrap();
        let at = bytes.windows(4).position(|w| w == [0x87, 0xad, 0xcb, 0x00]).unwrap() as u64;
        let file = OpenOptions::new().write(true).open(file).unwrap();
        file.write_all_at(&[0x88], at).unwrap();
        file.set_times(FileTimes::new().set_modified(before)).unwrap();
    };
    for (flags, goes_on) in [(&["--tier", "dynamic"][..], false), (&["--dir", "."], true), (&["--tier", "eager"], true)]
    {
        for _ in 0..2 {
            place.write("app.wasm", &bytes);
            let (success, errors) = meanwhile(&place, flags, change);
            assert_eq!(success, goes_on, "{flags:?} {errors}");
            assert!(goes_on || errors.contains("was changed while it was in use"), "{errors}");
        }
        // Nothing of it was kept.
        place.write("app.wasm", &bytes);
        assert_eq!(meanwhile(&place, flags, |_| ()), (true, String::new()));
    }
}

const SUM: &str = r#"(module (func (export "f") (result i32) (i32.const 1234567)))"#;

/// Changes the constant in an artifact's code, and all hashes, as somebody does who knows the format.
fn forge(file: &Path) {
    use kiln_env::artifact::{CHUNK, CodePart, read_header, source_hash};
    let bytes = fs::read(file).unwrap();
    let header = read_header(&bytes).unwrap();
    let text = header.variants[0][CodePart::Text as usize].clone();
    let mut body = bytes[..header.body_len as usize].to_vec();
    let at = body[text.start as usize..text.end as usize].windows(4).position(|w| w == 1_234_567_i32.to_le_bytes());
    let at = at.expect("the constant is in the code") + text.start as usize;
    body[at] ^= 1;
    let (root, signature) = (1024 + 32..1024 + 64, 1024 + 64..1024 + 96);
    let signed = body[signature.clone()].to_vec();
    body[root.start..signature.end].fill(0);
    let list: Vec<u8> = body.chunks(CHUNK).flat_map(source_hash).collect();
    body[root].copy_from_slice(&source_hash(&list));
    body[signature].copy_from_slice(&signed);
    body.extend(list);
    // As a guest that may write to the folder can: another file in its place.
    fs::remove_file(file).unwrap();
    fs::write(file, body).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn only_named_and_signed_artifacts_are_native_code() {
    let place = Place::new();
    place.write("a.wat", SUM);
    succeeds(&place.kiln(&["compile", "a.wat"]));
    let call = |file: &str| place.kiln(&["run", "--invoke", "f", file]);
    assert_eq!(succeeds(&call("a.kiln")), ("1234567\n".to_owned(), String::new()));
    let artifact = fs::read(place.path("work/a.kiln")).unwrap();

    // In place of a module.
    place.write("tool.wasm", &artifact);
    forge(&place.path("work/tool.wasm"));
    let (out, errors) = succeeds(&call("tool.wasm"));
    assert!(out == "1234567\n" && errors.contains("only files called *.kiln"), "{errors}");
    // With its name, but not signed.
    forge(&place.path("work/a.kiln"));
    let (out, errors) = succeeds(&call("a.kiln"));
    assert!(out == "1234567\n" && errors.contains("not that of your key"), "{errors}");
    // As a module to import from.
    place.write("b.wat", r#"(module (import "a" "f" (func $f (result i32))) (export "f" (func $f)))"#);
    let importing = place.kiln(&["run", "--preload", "a=tool.wasm", "--invoke", "f", "b.wat"]);
    let (out, errors) = succeeds(&importing);
    assert!(out == "1234567\n" && errors.contains("only files called *.kiln"), "{errors}");
    // Where that is wanted.
    let trusted = place.kiln(&["run", "--allow-precompiled", "--invoke", "f", "tool.wasm"]);
    assert_eq!(succeeds(&trusted), ("1234566\n".to_owned(), String::new()));
    // Without a module in it there is nothing to do.
    succeeds(&place.kiln(&["compile", "--no-wasm", "a.wat", "-o", "c.kiln"]));
    assert_eq!(succeeds(&call("c.kiln")).0, "1234567\n");
    forge(&place.path("work/c.kiln"));
    let refused = call("c.kiln");
    let errors = text(&refused.stderr);
    assert!(!refused.status.success() && errors.contains("--allow-precompiled"), "{errors}");
}

#[test]
fn artifacts_that_others_could_have_written_are_compiled_again() {
    let place = Place::new();
    place.write("a.wat", SUM);
    succeeds(&place.kiln(&["compile", "a.wat"]));
    let file = place.path("work/a.kiln");
    for (of_file, of_folder, why) in
        [(0o664, 0o755, "its group may write to it"), (0o644, 0o777, "everybody may write to its folder")]
    {
        fs::set_permissions(&file, Permissions::from_mode(of_file)).unwrap();
        fs::set_permissions(place.path("work"), Permissions::from_mode(of_folder)).unwrap();
        let (out, errors) = succeeds(&place.kiln(&["run", "--invoke", "f", "a.kiln"]));
        assert!(out == "1234567\n" && errors.contains(why), "{errors}");
    }
    fs::set_permissions(place.path("work"), Permissions::from_mode(0o755)).unwrap();
    // Another user, with another key.
    let mut other = place.command(&["run", "--invoke", "f", "a.kiln"]);
    let (out, errors) = succeeds(&other.env("KILN_KEY_FILE", place.path("other/key")).output().unwrap());
    assert!(out == "1234567\n" && errors.contains("not that of your key"), "{errors}");
    // No key at all.
    let mut other = place.command(&["run", "--invoke", "f", "a.kiln"]);
    let (out, errors) = succeeds(&other.env("KILN_KEY_FILE", "/proc/none/key").output().unwrap());
    assert!(out == "1234567\n" && errors.contains("cannot use the key"), "{errors}");
}

/// The files of a kind in the cache's folder for modules.
fn kept(place: &Place, kind: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(place.path("cache/modules")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == kind)).collect()
}

#[test]
fn what_somebody_else_puts_into_the_cache_is_not_run() {
    let place = Place::new();
    place.write("a.wasm", wat::parse_str(SUM).unwrap());
    for (tier, kind) in [("eager", "kiln"), ("dynamic", "snapshot")] {
        let run = || succeeds(&place.kiln(&["run", "--tier", tier, "-C", "refine=wait", "--invoke", "f", "a.wasm"]));
        for _ in 0..3 {
            assert_eq!(run().0, "1234567\n");
        }
        for file in kept(&place, kind) {
            forge(&file);
        }
        // It may have been noted as checked.
        for _ in 0..3 {
            assert_eq!(run().0, "1234567\n");
        }
        fs::remove_dir_all(place.path("cache/modules")).unwrap();
    }
    // Functions that were signed with another key.
    let explained = |key: &str| {
        let mut command = place.command(&["run", "--tier", "lazy", "--explain=json", "--invoke", "f", "a.wasm"]);
        let output = command.env("KILN_KEY_FILE", place.path(key)).output().unwrap();
        let errors = succeeds(&output).1;
        let explained: serde_json::Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
        explained["cache_body_hits"].as_u64().unwrap() + explained["cache_code_hits"].as_u64().unwrap()
    };
    explained("one/key");
    assert!(explained("one/key") > 0);
    assert_eq!(explained("two/key"), 0);
}

#[test]
fn a_folder_with_what_later_runs_rely_on_is_warned_of() {
    let place = Place::new();
    place.write("a.wat", SUM);
    succeeds(&place.kiln(&["run", "--invoke", "f", "a.wat"]));
    let all = place.0.path().display().to_string();
    let (_, errors) = succeeds(&place.kiln(&["run", "--dir", &all, "--invoke", "f", "a.wat"]));
    assert!(
        errors.contains("gives the program your key") && errors.contains("gives the program Kiln's cache"),
        "{errors}"
    );
    let (_, errors) = succeeds(&place.kiln(&["run", "--dir", &format!("{all}::/a::ro"), "--invoke", "f", "a.wat"]));
    assert!(errors.contains("your key") && !errors.contains("Kiln's cache"), "{errors}");
    let own = Path::new(env!("CARGO_BIN_EXE_kiln")).parent().unwrap().display().to_string();
    let (_, errors) = succeeds(&place.kiln(&["run", "--dir", &own, "--invoke", "f", "a.wat"]));
    assert!(errors.contains("gives the program Kiln itself"), "{errors}");
    let (_, errors) = succeeds(&place.kiln(&["run", "--dir", ".", "--invoke", "f", "a.wat"]));
    assert_eq!(errors, "");
}
