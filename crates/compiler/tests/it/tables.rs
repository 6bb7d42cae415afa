//! The tables beside the code say what is so.

use kiln_compiler::{Compiler, CompilerConfig, PassConfig};
use kiln_env::machine::FuncTables;
use kiln_env::settings::Inlining;
use kiln_env::{DefinedFuncIndex, FuncKey, MachineFunc, TagIndex, TrapCode, Tunables};

use crate::{compiler, validate, wasm};

fn compile_with(compiler: &Compiler, wat: &str) -> (MachineFunc, Vec<u8>) {
    let bytes = wasm(wat);
    let module = validate(compiler, &bytes).unwrap();
    let func = compiler.compile_function(&module, &bytes, FuncKey::Wasm(DefinedFuncIndex(0))).unwrap();
    let body = &module.module().bodies[DefinedFuncIndex(0)];
    (func, bytes[body.start as usize..body.end as usize].to_vec())
}

fn compile(wat: &str) -> (MachineFunc, Vec<u8>) {
    compile_with(&compiler(), wat)
}

/// The wasm offset of a code offset.
fn wasm_offset(tables: &FuncTables, offset: u32) -> Option<u32> {
    tables.positions(offset).next()?.wasm
}

#[test]
fn traps_and_calls_lead_to_their_operators() {
    let passes = PassConfig { inlining: Inlining::No, ..PassConfig::default() };
    let compiler = Compiler::new(&CompilerConfig { passes, ..CompilerConfig::default() }).unwrap();
    let (func, body) = compile_with(
        &compiler,
        "(module (memory 1) (func (param i32) (result i32)
           (if (i32.eqz (local.get 0)) (then unreachable))
           (i32.div_s (i32.load (local.get 0)) (call 1)))
         (func (result i32) (i32.const 7)))",
    );
    let at = |code| {
        let trap = func.tables.traps.iter().find(|t| t.code == code).unwrap();
        body[wasm_offset(&func.tables, trap.offset).unwrap() as usize]
    };
    assert_eq!(at(TrapCode::Unreachable), 0x00);
    assert_eq!(at(TrapCode::MemoryOutOfBounds), 0x28);
    assert_eq!(at(TrapCode::IntegerDivideByZero), 0x6d);
    assert_eq!(at(TrapCode::IntegerOverflow), 0x6d);
    let call = func.relocs.iter().find(|r| r.target == FuncKey::Wasm(DefinedFuncIndex(1))).unwrap();
    assert_eq!(body[wasm_offset(&func.tables, call.offset).unwrap() as usize], 0x10);
    // The check of the stack belongs to no operator.
    let overflow = func.tables.traps.iter().find(|t| t.code == TrapCode::StackOverflow).unwrap();
    assert_eq!(wasm_offset(&func.tables, overflow.offset), None);
}

#[test]
fn code_of_inlined_bodies_belongs_to_their_operators() {
    let (func, _) = compile(
        "(module (memory 1)
           (func (param i32) (call 2 (local.get 0)) drop)
           (func $load (param i32) (result i32) (i32.load (local.get 0)))
           (func $outer (param i32) (result i32) (local i32)
             (i32.add (call $load (local.get 0)) (memory.grow (local.get 0)))))",
    );
    let frames =
        |offset| -> Vec<_> { func.tables.positions(offset).map(|p| (p.inlined.map(|f| f.0), p.wasm)).collect() };
    let trap = func.tables.traps.iter().find(|t| t.code == TrapCode::MemoryOutOfBounds).unwrap();
    // Offsets: $load is 00 20 00 28..., $outer is 01 01 7f 20 00 10 ..., the first is 00 20 00 10 ...
    assert_eq!(frames(trap.offset), [(Some(1), Some(3)), (Some(2), Some(5)), (None, Some(3))]);
    let grow = func.relocs.iter().find(|r| r.target != FuncKey::Wasm(DefinedFuncIndex(1))).unwrap();
    assert_eq!(frames(grow.offset), [(Some(2), Some(9)), (None, Some(3))]);
}

#[test]
fn tables_can_be_left_out() {
    let tunables = Tunables { address_map: false, native_unwind_info: false, ..Tunables::default() };
    let compiler = Compiler::new(&CompilerConfig { tunables, ..CompilerConfig::default() }).unwrap();
    let (func, _) = compile_with(&compiler, "(module (func (call 0) unreachable))");
    assert!(func.tables.addresses.is_empty() && func.tables.unwind.is_empty() && !func.tables.traps.is_empty());
    let (func, _) = compile("(module (func (call 0) unreachable))");
    assert!(!func.tables.addresses.is_empty() && !func.tables.unwind.is_empty());
}

/// Loads `n` values, which all live at once, then stores them.
fn frame_of(n: u32) -> MachineFunc {
    let mut text = format!("(module (memory 1) (func (param i32) (local{})\n", " i64".repeat(n as usize));
    (1..=n).for_each(|i| text.push_str(&format!("(local.set {i} (i64.load offset={} (local.get 0)))\n", i * 8)));
    (1..=n)
        .rev()
        .for_each(|i| text.push_str(&format!("(i64.store offset={} (local.get 0) (local.get {i}))\n", i * 16)));
    compile(&(text + "))")).0
}

#[test]
fn leaf_functions_check_the_stack_only_if_their_frame_is_large() {
    let checks = |func: MachineFunc| func.tables.traps.iter().any(|t| t.code == TrapCode::StackOverflow);
    assert!(!checks(frame_of(3)));
    assert!(!checks(frame_of(200)));
    assert!(checks(frame_of(1000)));
}

#[test]
fn collected_references_live_across_calls_are_in_stack_maps() {
    let (func, _) = compile(
        "(module (import \"m\" \"f\" (func $f (param externref)))
           (func (param externref) (call $f (local.get 0)) (call $f (local.get 0))))",
    );
    let maps = &func.tables.stack_maps;
    assert!(!maps.is_empty());
    assert!(maps.iter().all(|m| m.fp_to_sp > 0 && m.slots.iter().all(|s| s % 4 == 0 && *s < m.fp_to_sp)));
    assert!(maps.iter().any(|m| m.slots.len() == 1));
}

#[test]
fn handlers_are_at_calls_and_in_the_function() {
    let (func, _) = compile(
        "(module (import \"m\" \"f\" (func $f)) (tag $a) (tag $b)
           (func (block $h (block $g (try_table (catch $b $h) (catch_all $g) (call $f)))) (call $f)))",
    );
    let [site] = &func.tables.handlers[..] else { panic!("{:?}", func.tables.handlers) };
    let tags: Vec<_> = site.handlers.iter().map(|h| h.tag).collect();
    assert_eq!(tags, [Some(TagIndex(1)), None]);
    assert!(site.handlers.iter().all(|h| (h.target as usize) < func.code.len()));
    assert!(site.context_slot.is_none_or(|slot| slot < site.fp_to_sp));
}
