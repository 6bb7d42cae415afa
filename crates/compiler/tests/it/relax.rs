//! What becomes of machine code behind code generation: the same instructions at other places. Another decoder than the
//! product's says so.

use std::collections::BTreeMap;
use std::path::Path;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use kiln_compiler::{Compiler, CompilerConfig, PassConfig};
use kiln_env::image::ImageFunc;
use kiln_env::machine::{CfiOp, FuncTables};
use kiln_env::{FuncKey, Image, Tunables};

use crate::{validate, varied_module, wasm};

/// A function of an image.
struct Side<'a> {
    image: &'a Image,
    func: &'a ImageFunc,
    at: usize,
}

impl<'a> Side<'a> {
    fn code(&self) -> &'a [u8] {
        &self.image.text[self.func.start as usize..][..self.func.len as usize]
    }

    /// The next instruction; offsets in it are those in the image.
    fn next(&mut self) -> Instruction {
        let ip = u64::from(self.func.start) + self.at as u64;
        let inst = Decoder::with_ip(64, &self.code()[self.at..], ip, DecoderOptions::NONE).decode();
        assert!(!inst.is_invalid(), "{}: no instruction at {:#x}", self.func.key, self.at);
        self.at += inst.len();
        inst
    }

    fn word(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.code()[at..at + 4].try_into().unwrap())
    }

    /// What a place in the image is to the function.
    fn place(&self, address: u64) -> Place {
        match address.checked_sub(self.func.start.into()) {
            Some(own) if own < self.func.len.into() => Place::Own(own as u32),
            _ => Place::Other(self.image.funcs.iter().find(|f| u64::from(f.start) == address).unwrap().key),
        }
    }
}

#[derive(PartialEq, Debug)]
enum Place {
    Own(u32),
    Other(FuncKey),
}

/// What a comparison of two forms of a function found.
#[derive(Default)]
struct Found {
    /// Old beginnings of instructions to new ones, and old ends to new ones.
    starts: BTreeMap<u32, u32>,
    ends: BTreeMap<u32, u32>,
    /// Old and new places that must mean the same.
    same: Vec<(u32, u32)>,
    padded: usize,
    short: usize,
    tables: usize,
}

fn is_jump(inst: &Instruction) -> bool {
    matches!(inst.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
}

/// Compares a function before and after, and returns what was seen.
fn compare(mut old: Side<'_>, mut new: Side<'_>) -> Found {
    let mut found = Found::default();
    let key = old.func.key;
    let mut constants = old.func.len as usize;
    let mut table = None;
    while old.at < constants && old.code()[old.at..constants].iter().any(|byte| *byte != 0) {
        let (start, new_start) = (old.at as u32, new.at as u32);
        let (before, mut after) = (old.next(), new.next());
        let mut begin = new_start;
        while after.mnemonic() == Mnemonic::Nop && before.mnemonic() != Mnemonic::Nop {
            begin = new.at as u32;
            found.padded += after.len();
            after = new.next();
        }
        found.starts.insert(start, begin);
        found.ends.insert(old.at as u32, new.at as u32);
        assert_eq!(before.mnemonic(), after.mnemonic(), "{key} at {start:#x} and {begin:#x}");
        if before.is_call_near() || is_jump(&before) {
            match (old.place(before.near_branch_target()), new.place(after.near_branch_target())) {
                (Place::Own(from), Place::Own(to)) => found.same.push((from, to)),
                (from, to) => assert_eq!(from, to, "{key} at {start:#x}"),
            }
            found.short += usize::from(after.len() == 2);
            assert!(after.len() != 2 || is_jump(&after));
        } else if before.is_ip_rel_memory_operand() {
            let distances = [(&old, before), (&new, after)].map(|(side, inst)| {
                assert_eq!(side.place(inst.ip_rel_memory_address()), Place::Own(relative(side, &inst) as u32));
                relative(side, &inst)
            });
            assert_eq!(before.len(), after.len());
            let [from, to] = distances.map(|d| d as u32);
            if is_table(&old, &before) {
                table = Some(distances);
            } else if is_handler(&old.func.tables, from) {
                found.same.push((from, to));
            } else {
                check_constant(&old, &new, distances);
                constants = constants.min(distances[0]);
            }
        } else {
            let bytes = |side: &Side<'_>, len| side.code()[side.at - len..side.at].to_vec();
            assert_eq!(bytes(&old, before.len()), bytes(&new, after.len()), "{key} at {start:#x}");
        }
        if let Some([from, to]) = table
            && before.flow_control() == FlowControl::IndirectBranch
        {
            assert_eq!((from, to), (old.at, new.at));
            found.tables += 1;
            read_table(&mut old, &mut new, &mut found);
            table = None;
        }
    }
    found
}

fn relative(side: &Side<'_>, inst: &Instruction) -> usize {
    (inst.ip_rel_memory_address() - u64::from(side.func.start)) as usize
}

/// Whether a `lea` names the table behind the indirect jump that comes next.
fn is_table(side: &Side<'_>, lea: &Instruction) -> bool {
    let mut ahead = Side { ..*side };
    let jump = [(); 3].map(|()| ahead.next())[2];
    lea.code() == Code::Lea_r64_m
        && jump.flow_control() == FlowControl::IndirectBranch
        && relative(side, lea) == ahead.at
}

fn is_handler(tables: &FuncTables, at: u32) -> bool {
    tables.handlers.iter().any(|h| h.handlers.iter().any(|h| h.target == at))
}

/// Constants have kept their distance from the end, their bytes, and their alignment.
fn check_constant(old: &Side<'_>, new: &Side<'_>, [from, to]: [usize; 2]) {
    assert_eq!(old.code()[from..], new.code()[to..], "{}", old.func.key);
    assert_eq!((old.func.start as usize + from) % 16 % 8, (new.func.start as usize + to) % 16 % 8);
}

/// Reads tables of jumps up to something that begins where a jump leads to.
fn read_table(old: &mut Side<'_>, new: &mut Side<'_>, found: &mut Found) {
    let (from, to) = (old.at, new.at);
    let mut known: Vec<u32> = found.same.iter().map(|(from, _)| *from).collect();
    while !known.contains(&(old.at as u32)) {
        let target = from.checked_add_signed(old.word(old.at) as isize).filter(|t| *t < old.code().len() && *t != from);
        let Some(target) = target else { break };
        let moved = to.checked_add_signed(new.word(new.at) as isize).unwrap();
        found.same.push((target as u32, moved as u32));
        known.push(target as u32);
        (old.at, new.at) = (old.at + 4, new.at + 4);
    }
}

fn check_tables(old: &FuncTables, new: &FuncTables, found: &Found) {
    let starts = |at: u32| found.starts[&at];
    let ends = |at: u32| if at == 0 { 0 } else { found.ends[&at] };
    found.same.iter().for_each(|(from, to)| assert_eq!(starts(*from), *to));
    let traps = old.traps.iter().map(|t| (starts(t.offset), t.code));
    assert!(traps.eq(new.traps.iter().map(|t| (t.offset, t.code))));
    let maps = old.stack_maps.iter().map(|m| (ends(m.offset), m.fp_to_sp, &m.slots));
    assert!(maps.eq(new.stack_maps.iter().map(|m| (m.offset, m.fp_to_sp, &m.slots))));
    let unwind = old.unwind.iter().map(|u| (ends(u.offset), u.op));
    assert!(is_joined(old) || unwind.eq(new.unwind.iter().map(|u| (u.offset, u.op))));
    assert_eq!(old.handlers.len(), new.handlers.len());
    for (old, new) in old.handlers.iter().zip(&new.handlers) {
        assert_eq!((ends(old.offset), old.fp_to_sp, old.context_slot), (new.offset, new.fp_to_sp, new.context_slot));
        let handlers = old.handlers.iter().map(|h| (h.tag, starts(h.target)));
        assert!(handlers.eq(new.handlers.iter().map(|h| (h.tag, h.target))));
    }
    assert_eq!(old.inlined, new.inlined);
    // Every instruction has the operators that it had; of a call, its last byte is asked for.
    let positions = |tables: &FuncTables, at| tables.positions(at).collect::<Vec<_>>();
    for (from, to) in old.traps.iter().map(|t| t.offset).map(|at| (at, starts(at))) {
        assert_eq!(positions(old, from), positions(new, to));
    }
    for (from, to) in found.ends.iter().filter(|(from, _)| old.addresses.iter().any(|a| a.offset < **from)) {
        assert_eq!(positions(old, from - 1), positions(new, to - 1));
    }
}

/// Whether a function has a guard in front, with padding between.
fn is_joined(tables: &FuncTables) -> bool {
    tables.unwind.iter().any(|u| u.op == CfiOp::RestoreState)
}

/// The sum of what was seen.
#[derive(Default)]
struct Sum {
    padded: usize,
    short: usize,
    tables: usize,
    bytes: [usize; 2],
}

fn check(bytes: &[u8], config: &CompilerConfig, sum: &mut Sum) {
    let image = |off: &[&str]| {
        let disabled = off.iter().map(|name| name.to_string()).collect();
        let passes = PassConfig { disabled, ..PassConfig::default() };
        let compiler = Compiler::new(&CompilerConfig { passes, threads: 1, ..config.clone() }).unwrap();
        let module = validate(&compiler, bytes).unwrap();
        let (image, stats) = compiler.compile_module(&module, bytes, &|_| {}).unwrap();
        assert_eq!(stats.unrelaxed, 0);
        image
    };
    let (old, new) = (image(&["shorten", "align"]), image(&[]));
    assert_eq!(old.funcs.len(), new.funcs.len());
    for (before, after) in old.funcs.iter().zip(&new.funcs) {
        assert_eq!(before.key, after.key);
        let side = |image, func| Side { image, func, at: 0 };
        let found = compare(side(&old, before), side(&new, after));
        check_tables(&before.tables, &after.tables, &found);
        sum.padded += found.padded;
        sum.short += found.short;
        sum.tables += found.tables;
        sum.bytes[0] += before.len as usize;
        sum.bytes[1] += after.len as usize;
    }
}

fn x86() -> CompilerConfig {
    let flags = vec![("x86-64-v3".to_owned(), "true".to_owned())];
    CompilerConfig { target: Some("x86_64-unknown-linux-gnu".to_owned()), flags, ..CompilerConfig::default() }
}

#[test]
fn code_is_the_same_but_for_jumps_and_padding() {
    let mut sum = Sum::default();
    check(&varied_module(30), &x86(), &mut sum);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    for program in ["as-hello.wasm", "rs-hello-196.wasm"] {
        check(&std::fs::read(tests.join("apps/programs").join(program)).unwrap(), &x86(), &mut sum);
    }
    let mut golden: Vec<_> = std::fs::read_dir(tests.join("disas")).unwrap().map(|e| e.unwrap().path()).collect();
    golden.sort();
    for path in golden {
        check(&wat::parse_file(&path).unwrap(), &x86(), &mut sum);
    }
    let Sum { padded, short, tables, bytes: [before, after] } = sum;
    assert!(padded > 100 && short > 2000 && tables > 5, "{padded} {short} {tables}");
    assert!(after * 100 < before * 97, "{before} became {after}");
}

#[test]
fn code_is_the_same_in_other_modes() {
    let tunables = Tunables { fuel: true, epochs: true, memory_reservation: 0, ..Tunables::default() };
    check(&varied_module(5), &CompilerConfig { tunables, ..x86() }, &mut Sum::default());
    let mut sum = Sum::default();
    check(&varied_module(5), &CompilerConfig { opt_level: kiln_env::settings::OptLevel::None, ..x86() }, &mut sum);
    // Loops are aligned where speed counts.
    assert!(sum.padded == 0 && sum.short > 0);
}

#[test]
fn references_handlers_and_masks_are_where_they_are_said_to_be() {
    let text = "(module
      (import \"m\" \"f\" (func $f (param externref) (result i32))) (memory 1) (tag $a) (tag $b)
      (func (param externref i32) (result i32)
        (block $h (block $g
          (loop $l
            (local.set 1 (i32.add (local.get 1)
              (try_table (result i32) (catch $b $h) (catch_all $g) (call $f (local.get 0)))))
            (br_if $l (i32.load (local.get 1)))))
          (return (local.get 1)))
        (call $f (local.get 0)))
      (func (param v128 i32) (result v128)
        (loop $l
          (local.set 0 (i8x16.shl (i8x16.shuffle 1 3 5 7 9 2 4 6 8 10 12 14 16 31 30 29 (local.get 0) (local.get 0))
            (local.get 1)))
          (br_if $l (i32.lt_s (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 100))))
        (f32x4.mul (local.get 0) (v128.const f32x4 1 2 3 4))))";
    check(&wasm(text), &x86(), &mut Sum::default());
    let tunables = Tunables { signals: false, ..Tunables::default() };
    check(&wasm(text), &CompilerConfig { tunables, ..x86() }, &mut Sum::default());
}
