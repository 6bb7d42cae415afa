//! A host that is built without the compiler runs what the compiler left behind, and has nothing of Cranelift in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSymbol};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).arg("--offline");
    command
}

#[test]
fn no_dependency_of_the_runtime_is_of_cranelift() {
    let mut command = cargo();
    command.args(["tree", "--package", "kiln", "--no-default-features", "--edges", "normal", "--prefix", "none"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("kiln-env"), "{tree}");
    for crate_name in ["cranelift", "kiln-compiler", "wasmparser", "regalloc2"] {
        assert!(!tree.lines().any(|l| l.starts_with(crate_name)), "{crate_name} is among\n{tree}");
    }
}

#[test]
fn a_host_without_compiler_runs_artifacts() {
    let mut command = cargo();
    command.args(["build", "--package", "kiln", "--no-default-features", "--example", "run_artifact"]);
    let output = command.arg("--message-format=json-render-diagnostics").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = messages.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let executable =
        executable.filter_map(|m| m["executable"].as_str().map(PathBuf::from)).next_back().expect("an example");

    let bytes = fs::read(&executable).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let symbols: Vec<&str> = file.symbols().filter_map(|s| s.name().ok()).collect();
    assert!(symbols.iter().any(|s| s.contains("kiln")), "the example has no symbols");
    let foreign: Vec<_> =
        symbols.iter().filter(|s| s.contains("cranelift") || s.contains("wasmparser")).take(3).collect();
    assert!(foreign.is_empty(), "{foreign:?}");

    let folder = tempfile::tempdir().unwrap();
    let (wat, artifact) = (folder.path().join("m.wat"), folder.path().join("m.kiln"));
    let module = r#"(module
        (import "host" "print" (func $print (param i32)))
        (memory 1) (data (i32.const 8) "\05")
        (table funcref (elem $twice))
        (func $twice (param i32) (result i32) (i32.shl (local.get 0) (i32.const 1)))
        (func (export "run") (param i32) (result i32)
            (call $print (i32.load8_u (i32.const 8)))
            (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))"#;
    fs::write(&wat, module).unwrap();
    let compile = Command::new(env!("CARGO_BIN_EXE_kiln")).arg("compile").arg(&wat).arg("-o").arg(&artifact).status();
    assert!(compile.unwrap().success());
    let run = Command::new(&executable).arg(&artifact).args(["run", "21"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&run.stdout), "printed 5\n42\n", "{}", String::from_utf8_lossy(&run.stderr));
}
