//! `kiln compile --profile`: runs leave what compiling the module as a whole uses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A loop that calls `$add` through a table, or what a second argument says.
const WAT: &str = r#"(module
    (type $t (func (param i64 i64) (result i64)))
    (table 2 funcref) (elem (i32.const 0) $add $divide)
    (func $cold (export "cold") (param i64) (result i64) (call $divide (i64.const 100) (local.get 0)))
    (func $add (type $t) (i64.add (local.get 0) (local.get 1)))
    (func $divide (type $t) (i64.div_u (local.get 0) (local.get 1)))
    (func $apply (param $n i32) (param $f i32) (result i64) (local $i i64) (local $sum i64)
        (loop $again
            (local.set $sum (call_indirect (type $t) (local.get $sum) (local.get $i) (local.get $f)))
            (local.set $i (i64.add (local.get $i) (i64.const 1)))
            (br_if $again (i64.lt_u (local.get $i) (i64.extend_i32_u (local.get $n)))))
        (local.get $sum))
    (func (export "run") (param $n i32) (param $f i32) (result i64) (local $k i32)
        (loop $again
            (drop (call $apply (i32.const 1000) (i32.const 0)))
            (br_if $again (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 1000))))
        (call $apply (local.get $n) (local.get $f))))"#;

fn kiln(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(args).env("KILN_CACHE_DIR", folder.join("cache")).current_dir(folder).stdin(Stdio::null());
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn artifacts_are_made_from_what_runs_have_left() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path();
    fs::write(folder.join("m.wasm"), wat::parse_str(WAT).unwrap()).unwrap();
    let compile = ["compile", "--profile", "m.wasm", "-o", "profiled.kiln"];
    let output = kiln(folder, &compile);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("no run has left a profile of m.wasm"), "{}", stderr(&output));

    // What a run leaves is lost if it is in a hurry.
    for _ in 0..20 {
        let output = kiln(folder, &["run", "--invoke", "run", "m.wasm", "10", "0"]);
        assert_eq!((output.status.success(), &*output.stdout), (true, &b"45\n"[..]), "{}", stderr(&output));
        if kiln(folder, &compile).status.success() {
            break;
        }
    }
    assert!(kiln(folder, &["compile", "m.wasm", "-o", "plain.kiln"]).status.success());
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let profiled = read("profiled.kiln");
    assert!(profiled != read("plain.kiln"));
    assert!(kiln(folder, &compile).status.success());
    assert!(read("profiled.kiln") == profiled, "the same again");

    let calls: [&[&str]; 6] = [
        &["run", "10", "0"],
        &["run", "1000", "0"],
        &["run", "10", "1"],
        &["run", "10", "2"],
        &["cold", "7"],
        &["cold", "0"],
    ];
    for call in calls {
        let [plain, profiled] = ["plain.kiln", "profiled.kiln"].map(|file| {
            let output = kiln(folder, &[&["run", "--invoke", call[0], file], &call[1..]].concat());
            (output.status.code(), output.stdout.clone(), stderr(&output).replace(file, "FILE"))
        });
        assert_eq!(profiled, plain, "{call:?}");
    }

    // What has run stands before what has not.
    let place = |file: &str, func: &str| {
        let listing = String::from_utf8(kiln(folder, &["objdump", "--traps", file]).stdout).unwrap();
        let functions = listing.find("\nfunctions").unwrap_or_else(|| panic!("no functions in {listing}"));
        listing[functions..].find(func).unwrap_or_else(|| panic!("no {func} in {listing}"))
    };
    assert!(place("plain.kiln", "cold") < place("plain.kiln", "apply"));
    assert!(place("profiled.kiln", "cold") > place("profiled.kiln", "apply"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let temp = TempDir::new().unwrap();
    fs::write(temp.path().join("m.wat"), "(module)").unwrap();
    let asm = kiln(temp.path(), &["compile", "--profile", "--emit", "asm", "m.wat"]);
    assert!(!asm.status.success() && stderr(&asm).contains("artifacts and executables"), "{}", stderr(&asm));
    let none = kiln(temp.path(), &["compile", "--profile", "--no-cache", "m.wat"]);
    assert!(!none.status.success() && stderr(&none).contains("--no-cache"), "{}", stderr(&none));
}
