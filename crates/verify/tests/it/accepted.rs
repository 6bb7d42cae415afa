//! What compilers make is accepted.

use kiln_env::settings::Tunables;

use super::{compile, compile_with};

/// Accesses of all sizes, with offsets, to a memory of this type.
fn accesses(memory: &str, index: &str) -> String {
    let mut text = format!("(module (memory {memory})\n");
    for (load, offset) in [
        ("i32.load8_u", 0u64),
        ("i32.load16_s", 7),
        ("i32.load", 4096),
        ("i64.load", 65_528),
        ("i64.load32_s", 1 << 20),
        ("f64.load", 0x7fff_fff0),
        ("v128.load", 0xffff_fff0),
    ] {
        let result = &load[..load.find('.').unwrap()];
        text.push_str(&format!(
            "(func (param {index}) (result {result}) ({load} offset={offset} (local.get 0)))
             (func (param {index} i64) (result i64) (local i64)
               (loop $l
                 (i64.store8 offset={offset} (local.get 0) (local.get 1))
                 (local.set 2 (i64.xor (local.get 2) (i64.load16_u (local.get 0))))
                 (br_if $l (i64.ne (local.get 2) (local.get 1)))) (local.get 2))\n"
        ));
    }
    text.push(')');
    text
}

#[test]
fn reserved_memories() {
    compile(&accesses("1 10", "i32")).accepted();
    compile(&accesses("3 3", "i32")).accepted();
}

#[test]
fn reserved_memories_of_every_level_of_processors() {
    for level in ["x86-64-v2", "x86-64-v3", "x86-64-v4"] {
        let flags: &[_] = &[(level, "true"), ("has_avx", "true")];
        compile_with(
            &accesses("1 10", "i32"),
            if level == "x86-64-v2" { &flags[..1] } else { flags },
            Tunables::default(),
        )
        .accepted();
    }
}

#[test]
fn checked_memories() {
    let tunables = Tunables { memory_reservation: 0, memory_guard: 0, ..Tunables::default() };
    compile_with(&accesses("1 10", "i32"), &[], tunables.clone()).accepted();
    compile_with(&accesses("1 1", "i32"), &[], tunables).accepted();
}

#[test]
fn calls_tables_globals_and_jump_tables() {
    let cases: String = "(block ".repeat(20);
    let labels: String = (0..20).map(|i| format!("{i} ")).collect();
    let ends: String = (0..20).map(|i| format!(") (global.set $g (i32.const {}))", i * i)).collect();
    compile(&format!(
        "(module (import \"\" \"f\" (func $f (param i32 i64 f32) (result i64)))
           (type $t (func (param i32 i32) (result i32))) (table 10 20 funcref) (table $r 5 externref)
           (global $g (mut i32) (i32.const 1)) (global $h (mut externref) (ref.null extern))
           (func (result i64) (call $f (global.get $g) (i64.const 2) (f32.const 3)))
           (func (param i32) (result i32) (call_indirect (type $t) (i32.const 1) (local.get 0) (local.get 0)))
           (func (param i32) (result i32)
             (return_call_indirect (type $t) (i32.const 1) (local.get 0) (local.get 0)))
           (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (local.get 9))
           (func (param i32) (result i32) (return_call 4 (i32.const 1) (i32.const 1) (i32.const 1) (i32.const 1)
             (i32.const 1) (i32.const 1) (i32.const 1) (i32.const 1) (i32.const 1) (local.get 0)))
           (func (param i32) (result externref) (global.set $h (table.get $r (local.get 0))) (global.get $h))
           (func (param i32 externref) (table.set $r (local.get 0) (local.get 1)))
           (func (param i32) {cases} (br_table {labels} (local.get 0)) {ends})
           (func (param i32 i32) (result i32) (i32.div_s (local.get 0) (i32.rem_u (local.get 1) (i32.const 9)))))"
    ))
    .accepted();
}

/// Copies and fills within memories and between them, by constant lengths and others.
const BULK: &str = "(module (import \"\" \"m\" (memory $i 1 10)) (memory $d 1 10) (memory $w i64 1 10)
    (func (param i32 i32) (memory.copy $d $i (local.get 0) (local.get 1) (i32.const 128)))
    (func (param i32 i32) (memory.copy $i $d (local.get 0) (local.get 1) (i32.const 3)))
    (func (param i32 i32 i32) (memory.copy $i $i (local.get 0) (local.get 1) (local.get 2)))
    (func (param i32 i32 i32) (memory.copy $d $i (local.get 0) (local.get 1) (local.get 2)))
    (func (param i32 i64 i32) (memory.copy $d $w (local.get 0) (local.get 1) (local.get 2)))
    (func (param i32 i32 i32) (memory.fill $d (local.get 0) (local.get 1) (local.get 2)))
    (func (param i32 i32 i32)
      (memory.copy $d $i (local.get 0) (local.get 1) (i32.add (i32.and (local.get 2) (i32.const 7)) (i32.const 16))))
    (func (param i64 i32 i64) (memory.fill $w (local.get 0) (local.get 1) (local.get 2))))";

#[test]
fn copies_and_fills() {
    compile(BULK).accepted();
    for (fuel, epochs) in [(true, false), (false, true)] {
        compile_with(BULK, &[], Tunables { fuel, epochs, ..Tunables::default() }).accepted();
    }
    let tunables = Tunables { memory_reservation: 0, memory_guard: 0, ..Tunables::default() };
    compile_with(BULK, &[], tunables).accepted();
}

#[test]
fn indirect_calls_of_own_functions_and_of_others() {
    for (table, import) in [("", ""), ("(export \"t\")", ""), ("", "(elem (i32.const 1) func $i)")] {
        compile(&format!(
            "(module (import \"\" \"i\" (func $i (param i32) (result i32)))
               (type $t (func (param i32) (result i32))) (table {table} 10 20 funcref) {import}
               (elem (i32.const 0) func $f) (elem declare func $f)
               (func $f (param i32) (result i32) (call_indirect (type $t) (local.get 0) (local.get 0)))
               (func (param i32) (result i32) (return_call_indirect (type $t) (local.get 0) (local.get 0)))
               (func (param i32) (result i32) (call_ref $t (local.get 0) (ref.func $f))))"
        ))
        .accepted();
    }
}
