//! Tests of the compiler from outside: what it refuses and how, that it is deterministic, and how its cost grows.

mod cache;
mod determinism;
mod errors;
mod infos;
mod limits;
mod mutants;
mod profile;
#[cfg(target_arch = "x86_64")]
mod relax;
mod scaling;
mod tables;
mod targets;
mod validators;

use kiln_compiler::{CompileError, Compiler, CompilerConfig, ValidatedModule};

/// A compiler with the default configuration, on one thread.
fn compiler() -> Compiler {
    Compiler::new(&CompilerConfig { threads: 1, ..CompilerConfig::default() }).unwrap()
}

/// Parses and validates.
fn validate(compiler: &Compiler, wasm: &[u8]) -> Result<ValidatedModule, CompileError> {
    compiler.parse(wasm).and_then(|parsed| compiler.validate(parsed, wasm))
}

/// Assembles the text format.
fn wasm(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

/// A module with functions of many kinds: calls, loops, memory, tables, floats, imports.
fn varied_module(functions: u32) -> Vec<u8> {
    let mut text = String::from(
        "(module (import \"host\" \"log\" (func $log (param i32 f64)))
         (import \"host\" \"get\" (func $get (result i64)))
         (type $binary (func (param i32 i32) (result i32)))
         (memory 1) (table 8 funcref) (global $g (mut i64) (i64.const 7))
         (elem (i32.const 0) func 2 3)\n",
    );
    for i in 0..functions {
        let callee = 2 + (i * 7 + 1) % functions;
        text.push_str(&format!(
            "(func (export \"f{i}\") (param i32 i32) (result i32) (local f64 i64)
               (local.set 2 (f64.convert_i32_s (local.get 0)))
               (loop $again
                 (i32.store offset={} (local.get 0) (i32.div_u (local.get 1) (i32.const {})))
                 (local.set 3 (i64.add (local.get 3) (global.get $g)))
                 (br_if $again (i32.lt_s (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (local.get 1))))
               (if (i64.eqz (local.get 3)) (then (call $log (local.get 0) (local.get 2))
                 (global.set $g (call $get))))
               (i32.xor (call {callee} (local.get 0) (local.get 1))
                 (call_indirect (type $binary) (local.get 1) (local.get 0) (i32.and (local.get 0) (i32.const 7)))))\n",
            i * 4,
            i + 1
        ));
    }
    text.push(')');
    wasm(&text)
}
