//! Faults that compilers had, put into code that was good.

use std::sync::Arc;

use iced_x86::{Code, Mnemonic, OpKind, Register};
use kiln_env::machine::TrapSite;
use kiln_env::module::Export;
use kiln_env::settings::Tunables;
use kiln_env::{EntityIndex, FuncKey, TableIndex, TrapCode};
use kiln_verify::Rule;

use super::{compile, compile_with, drop_instruction};

/// A load at a 32-bit index.
const LOAD: &str = "(module (memory 1 10) (func (param i32) (result i32) (i32.load (local.get 0))))";

/// Calls through a table.
const INDIRECT: &str = "(module (type $t (func (param i32) (result i32))) (table (export \"t\") 10 20 funcref)
    (func (param i32) (result i32) (call_indirect (type $t) (local.get 0) (local.get 0))))";

#[test]
fn an_entry_that_is_not_the_first_block() {
    let mut code = compile(
        "(module (func $f (param i32) (result i32) (if (result i32) (local.get 0)
        (then (call $f (i32.const 0))) (else (i32.const 1)))))",
    )
    .accepted();
    // The first bytes are then those of a block in the middle, with no frame.
    let position = code.position(0);
    let (at, _) = code.instructions(0)[2];
    let moved = at as u32 - code.image.funcs[position].start;
    let func = &mut code.image.funcs[position];
    (func.start, func.len) = (func.start + moved, func.len - moved);
    func.tables = Default::default();
    code.refused(0, Rule::Frame);
}

#[test]
fn a_sign_extension_in_place_of_a_zero_extension() {
    let mut code = compile(LOAD).accepted();
    let extension = code.find(0, |i| {
        i.code() == Code::Mov_r32_rm32 && i.op1_register() == Register::ESI
            || i.code() == Code::Mov_rm32_r32 && i.op1_register() == Register::ESI
    });
    // `mov %esi,%esi` has two bytes, `movsxd` three: what follows is moved into the room that the epilogue has.
    assert_eq!(extension.len(), 2);
    drop_instruction(extension);
    assert!(code.refused(0, Rule::Memory).contains("may be outside"));
}

#[test]
fn a_wrong_prefix_on_an_extension() {
    // An index of 64 bits that was once extended: a REX prefix makes a move of 32 bits one of 64.
    let mut code = compile(
        "(module (memory 1 10) (func (param i32 i64 i64 i64 i64) (result i32)
        (i32.load (i32.wrap_i64 (local.get 4)))))",
    )
    .accepted();
    let extension = code.find(0, |i| {
        i.op0_kind() == OpKind::Register
            && i.op0_register().is_gpr32()
            && i.mnemonic() == Mnemonic::Mov
            && i.op1_kind() == OpKind::Register
    });
    assert_eq!(extension[0] & 0xf0, 0x40);
    extension[0] |= 8;
    code.refused(0, Rule::Memory);
}

#[test]
fn a_bounds_check_that_is_dropped() {
    let tunables = Tunables { memory_reservation: 0, memory_guard: 0, ..Tunables::default() };
    for check in [Mnemonic::Cmova, Mnemonic::Cmp] {
        let mut code = compile_with(LOAD, &[], tunables.clone()).accepted();
        drop_instruction(code.find(0, |i| i.mnemonic() == check));
        code.refused(0, Rule::Memory);
    }
}

#[test]
fn a_bounds_check_of_the_wrong_sense() {
    let tunables = Tunables { memory_reservation: 0, memory_guard: 0, ..Tunables::default() };
    let mut code = compile_with(LOAD, &[], tunables).accepted();
    let select = code.find(0, |i| i.mnemonic() == Mnemonic::Cmova);
    // `cmova` and `cmovbe` differ in one bit.
    let condition = select.iter().position(|byte| *byte == 0x47).unwrap();
    select[condition] ^= 1;
    code.refused(0, Rule::Memory);
}

#[test]
fn an_offset_beyond_the_guard() {
    let mut code =
        compile("(module (memory 1 10) (func (param i32) (result i32) (i32.load offset=0x10000 (local.get 0))))")
            .accepted();
    let load = code.find(0, |i| i.memory_displacement64() == 0x1_0000);
    let at = load.windows(4).position(|bytes| bytes == 0x1_0000u32.to_le_bytes()).unwrap();
    load[at..at + 4].copy_from_slice(&0x7fff_0000u32.to_le_bytes());
    assert!(code.refused(0, Rule::Memory).contains("may be outside"));
}

/// A copy of few bytes or of many.
const COPY: &str = "(module (memory 1 10)
    (func (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2))))";

#[test]
fn a_length_that_is_not_masked() {
    let mut code = compile(COPY).accepted();
    drop_instruction(code.find(0, |i| i.mnemonic() == Mnemonic::And && i.immediate32() == 63));
    assert!(code.refused(0, Rule::Memory).contains("may be outside"));
}

#[test]
fn a_call_with_what_is_no_memory() {
    let mut code = compile(COPY).accepted();
    let fields = code.find(0, |i| {
        i.mnemonic() == Mnemonic::Lea && i.memory_index() == Register::None && i.memory_base() == Register::RDI
    });
    *fields.last_mut().unwrap() += 8;
    assert!(code.refused(0, Rule::Call).contains("VmMemory"));
}

#[test]
fn an_offset_that_wraps() {
    let mut code =
        compile("(module (memory 1 10) (func (param i32) (result i32) (i32.load offset=0x10000 (local.get 0))))")
            .accepted();
    let load = code.find(0, |i| i.memory_displacement64() == 0x1_0000);
    let at = load.windows(4).position(|bytes| bytes == 0x1_0000u32.to_le_bytes()).unwrap();
    load[at..at + 4].copy_from_slice(&(-8i32).to_le_bytes());
    code.refused(0, Rule::Memory);
}

#[test]
fn a_shift_of_an_element_that_is_dropped_or_too_far() {
    let mut code = compile(INDIRECT).accepted();
    drop_instruction(code.find(0, |i| i.mnemonic() == Mnemonic::Shl));
    code.refused(0, Rule::Memory);
    let mut code = compile(INDIRECT).accepted();
    let shift = code.find(0, |i| i.mnemonic() == Mnemonic::Shl);
    *shift.last_mut().unwrap() += 1;
    code.refused(0, Rule::Memory);
}

#[test]
fn an_element_whose_index_is_not_masked() {
    let mut code = compile(INDIRECT).accepted();
    drop_instruction(code.find(0, |i| i.mnemonic() == Mnemonic::Cmovae));
    code.refused(0, Rule::Memory);
}

#[test]
fn a_call_of_a_type_that_was_not_compared() {
    let mut code = compile(INDIRECT).accepted();
    // The jump to what resolves the call.
    drop_instruction(code.find(0, |i| i.mnemonic() == Mnemonic::Jne));
    assert!(code.refused(0, Rule::Call).contains("type was not compared"));
}

#[test]
fn a_call_with_a_context_that_is_not_the_callees() {
    let mut code = compile(INDIRECT).accepted();
    let context = code.find(0, |i| i.op0_register() == Register::RDI && i.memory_displacement64() == 16);
    // The reference instead of the context.
    *context.last_mut().unwrap() = 24;
    code.refused(0, Rule::Call);
}

#[test]
fn a_context_that_is_said_to_be_the_own_one() {
    // Nobody can put other functions into the table. Then the declarations say that it is exported.
    let own = INDIRECT.replace("(export \"t\") ", "");
    let mut code = compile(&own).accepted();
    let export = Export { name: "t".into(), index: EntityIndex::Table(TableIndex(0)) };
    Arc::make_mut(&mut code.module).exports.push(export);
    assert!(code.refused(0, Rule::Call).contains("context"));
}

#[test]
fn a_context_that_was_not_prepared() {
    let import = "(module (import \"\" \"f\" (func)) (func (call 0)))";
    let mut code = compile(import).accepted();
    // Where the caller is left.
    drop_instruction(code.find(0, |i| i.op0_kind() == OpKind::Memory && i.memory_displacement64() == 24));
    assert!(code.refused(0, Rule::Call).contains("lacks"));
}

#[test]
fn a_jump_table_without_its_clamp() {
    let labels: String = (0..20).map(|i| format!("{i} ")).collect();
    let ends: String = (0..20).map(|i| format!(") (global.set 0 (i32.const {}))", i * i)).collect();
    let text = format!(
        "(module (global (mut i32) (i32.const 0)) (func (param i32) {} (br_table {labels} (local.get 0)) {ends}))",
        "(block ".repeat(20)
    );
    let mut code = compile(&text).accepted();
    let clamp = code.find(0, |i| i.mnemonic() == Mnemonic::Cmovb);
    // A move instead of a conditional one, of the same registers.
    let at = clamp.iter().position(|byte| *byte == 0x0f).unwrap();
    (clamp[at], clamp[at + 1]) = (0x8b, clamp[at + 2]);
    clamp[at + 2] = 0x90;
    assert!(code.refused(0, Rule::Memory).contains("a constant outside"));
}

#[test]
fn a_stack_check_that_is_dropped_or_too_small() {
    let text = "(module (func $f (call $f)))";
    let mut code = compile(text).accepted();
    drop_instruction(code.find(0, |i| i.mnemonic() == Mnemonic::Ja));
    code.refused(0, Rule::Frame);
    let text = "(module (func $f (param i32 i32 i32) (result i32) (call $f (local.get 1) (local.get 2) (local.get 0))
        (i32.add (local.get 0)) (i32.add (local.get 1)) (i32.add (local.get 2))))";
    let mut code = compile(text).accepted();
    // Two registers, the frame pointer and the return address are checked for; the last two are in what callers leave.
    let needs = code.find(0, |i| i.mnemonic() == Mnemonic::Add && i.op0_register() == Register::R10);
    *needs.last_mut().unwrap() -= 24;
    assert!(code.refused(0, Rule::Frame).contains("than was checked"));
}

#[test]
fn registers_that_are_not_given_back() {
    let text = "(module (func $f (param i32) (result i32) (call $f (local.get 0)) (i32.add (local.get 0))))";
    let restore = |i: &iced_x86::Instruction| {
        i.mnemonic() == Mnemonic::Mov && i.op1_kind() == OpKind::Memory && i.memory_base() == Register::RSP
    };
    let mut code = compile(text).accepted();
    drop_instruction(code.find(0, restore));
    assert!(code.refused(0, Rule::Frame).contains("given back"));
    // From half of its place: 32 bits of what the caller had.
    let mut code = compile(text).accepted();
    let bytes = code.find(0, restore);
    assert_eq!(bytes[0] & 0xf8, 0x48);
    bytes[0] &= !8;
    assert!(code.refused(0, Rule::Frame).contains("given back"));
}

#[test]
fn a_jump_into_an_instruction_and_one_that_leaves() {
    let text = "(module (func (param i32) (result i32) (if (result i32) (local.get 0)
        (then (i32.const 0x12345)) (else (i32.const 0x54321)))))";
    for distance in [1i8, 0x7f] {
        let mut code = compile(text);
        let jump = code.find(0, |i| i.is_jcc_short());
        jump[1] = jump[1].wrapping_add_signed(distance);
        let rule = code.check(code.position(0)).unwrap_err().rule;
        assert!(matches!(rule, Rule::Control | Rule::Instruction | Rule::Memory), "{rule}");
    }
}

#[test]
fn instructions_that_no_compiled_code_has() {
    let text = "(module (global (mut i64) (i64.const 0)) (func (global.set 0 (i64.const 0x123456789abcdef))))";
    // syscall, int 3, in, rdtsc, cli, wrfsbase
    for bytes in [&[0x0f, 0x05][..], &[0xcc], &[0xec], &[0x0f, 0x31], &[0xfa], &[0xf3, 0x48, 0x0f, 0xae, 0xd0]] {
        let mut code = compile(text);
        let constant = code.find(0, |i| i.code() == Code::Mov_r64_imm64);
        constant.fill(0x90);
        constant[..bytes.len()].copy_from_slice(bytes);
        code.refused(0, Rule::Instruction);
    }
    // gs:, and one that the settings do not claim: vzeroupper is none of compiled code, vpaddd needs AVX.
    let mut code = compile(text);
    let constant = code.find(0, |i| i.code() == Code::Mov_r64_imm64);
    constant.fill(0x90);
    constant[..4].copy_from_slice(&[0xc5, 0xf9, 0xfe, 0xc0]);
    assert!(code.refused(0, Rule::Instruction).contains("does not claim"));
}

#[test]
fn a_global_that_cannot_be_set_and_fields_that_are_not_globals() {
    let text = "(module (global (mut i64) (i64.const 0)) (func (param i64) (global.set 0 (local.get 0))))";
    let mut code = compile(text).accepted();
    let store = code.find(0, |i| i.op0_kind() == OpKind::Memory);
    // The field for the store's context.
    *store.last_mut().unwrap() = 16;
    code.refused(0, Rule::Memory);
}

#[test]
fn a_reference_that_is_a_number() {
    let text =
        "(module (global (mut externref) (ref.null extern)) (func (param externref i32) (global.set 0 (local.get 0))))";
    let mut code = compile(text).accepted();
    let store = code.find(0, |i| i.op0_kind() == OpKind::Memory);
    // %edx instead of %esi.
    store[1] ^= 0x20;
    assert!(code.refused(0, Rule::Memory).contains("no reference"));
}

#[test]
fn a_trap_where_no_instruction_begins() {
    let mut code = compile("(module (func unreachable))").accepted();
    let position = code.position(0);
    code.image.funcs[position].tables.traps.insert(0, TrapSite { offset: 2, code: TrapCode::Unreachable });
    let refusal = code.check(position).unwrap_err();
    assert_eq!((refusal.rule, refusal.func), (Rule::Table, FuncKey::Wasm(kiln_env::DefinedFuncIndex(0))));
}
