//! Functions made by hand.

use kiln_env::machine::{
    AddressEntry, CfiOp, Handler, HandlerSite, InlinedBody, Reloc, RelocKind, StackMap, TrapSite, UnwindOp,
};
use kiln_env::{Builtin, DefinedFuncIndex, FuncKey, MachineFunc, TrapCode};

use super::*;

/// Code under construction. Labels are numbers.
#[derive(Default)]
struct Code {
    func: MachineFunc,
    blocks: Vec<u32>,
    labels: Vec<(usize, usize)>,
    /// Fields: where, what they count from, and the label that they lead to.
    fields: Vec<(usize, usize, usize)>,
}

const NOP: [u8; 3] = [0x0f, 0x1f, 0x00];
const RET: [u8; 1] = [0xc3];
const JE: [u8; 2] = [0x0f, 0x84];
const JNE: [u8; 2] = [0x0f, 0x85];
const JMP: [u8; 1] = [0xe9];
const CALL: [u8; 1] = [0xe8];
const DEC: [u8; 2] = [0xff, 0xc9];

impl Code {
    fn new() -> Code {
        Code { func: MachineFunc { align: 32, ..MachineFunc::default() }, ..Code::default() }
    }

    fn at(&self) -> u32 {
        self.func.code.len() as u32
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Code {
        self.func.code.extend_from_slice(bytes);
        self
    }

    /// Instructions that do nothing, three bytes each.
    fn fill(&mut self, count: usize) -> &mut Code {
        self.put(&NOP.repeat(count))
    }

    /// Begins a block.
    fn label(&mut self, label: usize) -> &mut Code {
        self.blocks.push(self.at());
        self.data(label)
    }

    fn data(&mut self, label: usize) -> &mut Code {
        self.labels.push((label, self.func.code.len()));
        self
    }

    /// An instruction that ends in a distance.
    fn to(&mut self, opcode: &[u8], label: usize) -> &mut Code {
        let field = self.func.code.len() + opcode.len();
        self.fields.push((field, field + 4, label));
        self.put(opcode).put(&[0; 4])
    }

    /// An entry of a table that begins at `start`.
    fn entry(&mut self, start: usize, label: usize) -> &mut Code {
        self.fields.push((self.func.code.len(), start, label));
        self.put(&[0; 4])
    }

    fn call(&mut self) -> &mut Code {
        let target = FuncKey::WasmToBuiltin(Builtin::Raise);
        let reloc = Reloc { offset: self.at() + 1, kind: RelocKind::X86CallPcRel4, target, addend: -4 };
        self.func.relocs.push(reloc);
        self.put(&CALL).put(&[0; 4])
    }

    fn finish(&mut self) -> MachineFunc {
        for (field, base, label) in &self.fields {
            let target = self.labels.iter().find(|(l, _)| l == label).unwrap().1;
            let distance = (target as i32 - *base as i32).to_le_bytes();
            self.func.code[*field..field + 4].copy_from_slice(&distance);
        }
        self.func.clone()
    }

    /// The function relaxed.
    fn relaxed(&mut self, wanted: Wanted) -> Result<MachineFunc, Reason> {
        let before = self.finish();
        let mut func = before.clone();
        let result = Relaxer::default().run(&mut func, &self.blocks, 16, wanted);
        assert!(result.is_ok() || func == before);
        result.map(|()| func)
    }

    fn short(&mut self) -> MachineFunc {
        self.relaxed(SHORT).unwrap()
    }
}

const SHORT: Wanted = Wanted { shorten: true, align: false };
const ALIGNED: Wanted = Wanted { shorten: true, align: true };

#[test]
fn jumps_are_short_where_their_targets_are_near() {
    let mut code = Code::new();
    code.label(0).to(&JE, 1).fill(42).to(&JMP, 2).label(1).to(&JNE, 0).label(2).put(&RET);
    let func = code.short();
    // 126 bytes and a short jump are one too many for a forward jump; back it is 6 + 126 + 2 + 2.
    let expected =
        [&[0x0f, 0x84, 128, 0, 0, 0][..], &NOP.repeat(42), &[0xeb, 6, 0x0f, 0x85], &[0x74, 0xff, 0xff, 0xff]];
    assert_eq!(func.code, [&expected.concat()[..], &RET].concat());

    let mut code = Code::new();
    code.label(0).to(&JE, 1).fill(41).put(&[0x66, 0x90]).to(&JMP, 1).label(1).put(&RET);
    let func = code.short();
    assert_eq!(func.code, [&[0x74, 127][..], &NOP.repeat(41), &[0x66, 0x90, 0xeb, 0], &RET].concat());

    // The greatest distance back is 128, the jump included.
    for (more, expected) in [(&[][..], &[0x75, 0x80][..]), (&[0x90], &[0x0f, 0x85, 0x7b, 0xff, 0xff, 0xff])] {
        let mut code = Code::new();
        code.label(0).fill(42).put(more).to(&JNE, 0).put(&RET);
        assert_eq!(code.short().code, [&NOP.repeat(42)[..], more, expected, &RET].concat());
    }
}

#[test]
fn every_condition_keeps_its_meaning() {
    for condition in 0..16 {
        let mut code = Code::new();
        code.label(0).to(&[0x0f, 0x80 | condition], 0).put(&RET);
        assert_eq!(code.short().code, [0x70 | condition, 0xfe, 0xc3]);
    }
}

#[test]
fn short_jumps_bring_others_into_reach() {
    // The outer jump reaches its target when the inner ones are short, and these when those within are.
    let mut code = Code::new();
    code.label(0);
    for label in 1..=8 {
        code.to(&JE, label);
    }
    code.fill(35);
    for label in (1..=8).rev() {
        code.label(label).put(&[0x90]);
    }
    code.put(&RET);
    let func = code.short();
    assert_eq!(func.code.len(), 8 * 2 + 35 * 3 + 9);
}

#[test]
fn tables_constants_and_addresses_are_adjusted() {
    let mut code = Code::new();
    // jump over much; lea; movsxd; add; jmp; table; constants of eight and of sixteen bytes.
    code.label(0).to(&JE, 3).to(&[0xf3, 0x0f, 0x10, 0x05], 7).to(&[0x48, 0x8d, 0x05], 6);
    code.put(&[0x48, 0x63, 0x0c, 0x88]).put(&[0x48, 0x01, 0xc8]).put(&[0xff, 0xe0]).data(6);
    let table = code.at() as usize;
    code.entry(table, 1).entry(table, 2).entry(table, 3);
    code.label(1).to(&JMP, 3).label(2).to(&[0x66, 0x0f, 0x6f, 0x05], 8).label(3).put(&[0x90]).put(&RET);
    while code.at() % 16 != 8 {
        code.put(&[0]);
    }
    code.data(7).put(&[7; 8]).data(8).put(&[8; 16]);
    let old = code.at();
    let func = code.short();
    let len = func.code.len();
    assert!(len < old as usize && len.is_multiple_of(16));
    let word = |at: usize| i32::from_le_bytes(func.code[at..at + 4].try_into().unwrap());
    assert_eq!((func.code[0], word(6) as usize), (0x74, len - 24 - 10));
    assert_eq!(word(13), 9);
    let table = table - 4;
    let targets: Vec<i32> = (0..3).map(|i| word(table + 4 * i)).collect();
    assert_eq!(targets, [12, 14, 22]);
    assert_eq!(&func.code[table + 12..table + 14], &[0xeb, 8]);
    assert_eq!(word(table + 18) as usize, len - 16 - (table + 22));
    assert_eq!(func.code[len - 24..], [[7; 8], [8; 8], [8; 8]].concat());
}

#[test]
fn all_tables_move() {
    let mut code = Code::new();
    code.label(0).put(&[0x55]).to(&JE, 1).call();
    let returned = code.at();
    code.label(1).put(&[0x8b, 0x00]).to(&JNE, 2).put(&RET).label(2).put(&[0x0f, 0x0b]);
    let tables = &mut code.func.tables;
    tables.traps = vec![
        TrapSite { offset: 12, code: TrapCode::MemoryOutOfBounds },
        TrapSite { offset: 21, code: TrapCode::Unreachable },
    ];
    tables.addresses = [(7, 3), (12, 5), (21, 9)].map(|(offset, wasm)| AddressEntry { offset, wasm }).to_vec();
    tables.inlined = vec![InlinedBody { start: 4, func: DefinedFuncIndex(1), call: 2 }];
    tables.stack_maps = vec![StackMap { offset: returned, fp_to_sp: 16, slots: vec![4] }];
    let handlers = vec![Handler { tag: None, target: 12 }, Handler { tag: None, target: 21 }];
    tables.handlers =
        vec![HandlerSite { offset: returned, fp_to_sp: 16, context_slot: Some(8), handlers: handlers.into() }];
    tables.unwind = [0, 1, 12].map(|offset| UnwindOp { offset, op: CfiOp::DefCfaOffset(16) }).to_vec();
    let old = code.finish();
    let new = code.short();
    assert_eq!(new.code.len(), old.code.len() - 8);
    assert_eq!(new.relocs[0].offset, 4);
    assert_eq!(new.relocs[0].target, old.relocs[0].target);
    let t = &new.tables;
    assert_eq!(t.traps.iter().map(|t| t.offset).collect::<Vec<_>>(), [8, 13]);
    assert_eq!(t.addresses.iter().map(|a| (a.offset, a.wasm)).collect::<Vec<_>>(), [(3, 3), (8, 5), (13, 9)]);
    assert_eq!((t.stack_maps[0].offset, t.handlers[0].offset), (8, 8));
    assert_eq!(t.handlers[0].handlers.iter().map(|h| h.target).collect::<Vec<_>>(), [8, 13]);
    assert_eq!(t.unwind.iter().map(|u| u.offset).collect::<Vec<_>>(), [0, 1, 8]);
    assert_eq!(t.inlined, old.tables.inlined);
}

/// A loop of `len` bytes at `place`, behind a call that returns to it if `call`.
fn loop_at(place: usize, len: usize, call: bool) -> (Code, MachineFunc) {
    let mut code = Code::new();
    let front = if call { place - 5 } else { place };
    code.blocks.push(0);
    code.put(&vec![0x90; front]);
    if call {
        code.call();
        code.func.tables.stack_maps.push(StackMap { offset: place as u32, fp_to_sp: 0, slots: Vec::new() });
    }
    code.label(0).put(&vec![0x90; len - 4]).put(&DEC).to(&JNE, 0).put(&RET);
    let func = code.relaxed(ALIGNED).unwrap();
    (code, func)
}

#[test]
fn short_loops_lie_in_as_few_lines_as_they_can() {
    for place in 5..70 {
        for len in [6, 17, 31, 40, 64] {
            let (_, func) = loop_at(place, len, true);
            let end = func.code.len() - 1;
            let start = end - len;
            let least = (place..).find(|start| start % 64 + len <= 64).unwrap();
            assert!((least..=least + 15).contains(&start) && start % 64 + len <= 64, "{place} {len}");
            assert!(func.align == 64 && func.code[end - 2] == 0x75);
            assert_eq!(func.tables.stack_maps[0].offset as usize, place);
        }
    }
}

#[test]
fn interpreters_reach_their_table_within_a_line() {
    for place in 0..70 {
        for front in [5, 20, 30] {
            let mut code = Code::new();
            code.put(&vec![0x90; place]).label(0).put(&DEC).put(&vec![0x90; front]);
            code.to(&[0x48, 0x8d, 0x05], 6);
            code.put(&[0x48, 0x63, 0x0c, 0x88]).put(&[0x48, 0x01, 0xc8]).put(&[0xff, 0xe0]).data(6);
            let table = code.at() as usize;
            code.entry(table, 1).entry(table, 2);
            // What stands behind the table may be long, and call.
            code.label(1).fill(100).to(&JMP, 0).label(2).call().to(&JMP, 0).put(&RET);
            let header = code.blocks[0] as usize;
            let func = code.relaxed(ALIGNED).unwrap();
            let start = func.code.windows(2).position(|w| w == DEC).unwrap();
            let len = table - header;
            assert!(start % 64 + len <= 64 && func.align == 64, "{place} {front}");
            let word = |at: usize| i32::from_le_bytes(func.code[at..at + 4].try_into().unwrap());
            let table = start + len;
            assert_eq!((word(table), word(table - 13)), (8, 9));
        }
    }
}

#[test]
fn padding_does_nothing_and_is_only_where_it_helps() {
    let (code, func) = loop_at(8, 20, false);
    assert_eq!(func.code.len(), code.at() as usize - 4);
    let (_, func) = loop_at(20, 20, false);
    assert_eq!(func.code[20..32], [NOPS[8], NOPS[2]].concat());
    // The jump would end at the end of a window.
    let (_, func) = loop_at(22, 10, false);
    assert_eq!(func.code[22..32], [NOPS[8], NOPS[0]].concat());
    (1..100).for_each(|bytes| {
        let mut out = Vec::new();
        pad(&mut out, bytes);
        let mut at = 0;
        while at < bytes {
            let inst = decode::decode(&out[at..]).unwrap();
            assert_eq!(inst.kind, decode::Kind::Plain);
            at += inst.len as usize;
        }
        assert_eq!((at, out.len()), (bytes, bytes));
    });
    // Of nested loops the outer one is moved; long ones, and those with calls, stay.
    let (code, func) = loop_at(20, 300, false);
    assert_eq!(func.code.len(), code.at() as usize);
    let mut code = Code::new();
    code.label(0).fill(10).label(1).fill(1).label(2).fill(5).to(&JE, 2).to(&JNE, 1).put(&RET);
    let func = code.relaxed(ALIGNED).unwrap();
    assert_eq!(func.code[28..35], [0x1f, 0x00, 0x66, 0x90, 0x0f, 0x1f, 0x00]);
    assert_eq!(func.code[func.code.len() - 5..], [0x74, 0xef, 0x75, 0xea, 0xc3]);
    let mut code = Code::new();
    code.label(0).fill(10).label(1).call().to(&JNE, 1).put(&RET);
    assert_eq!(code.relaxed(ALIGNED).unwrap().code.len(), 38);
}

#[test]
fn what_is_not_explained_stays() {
    let refused = |emit: fn(&mut Code) -> &mut Code| {
        let mut code = Code::new();
        code.label(0).to(&JE, 0);
        emit(&mut code);
        code.relaxed(ALIGNED).unwrap_err()
    };
    assert_eq!(refused(|c| c.put(&[0xf4, 0xc3])), "an unknown instruction");
    assert_eq!(refused(|c| c.put(&[0xeb, 0xfe])), "an unknown instruction");
    assert_eq!(refused(|c| c.put(&NOP[..2])), "an unknown instruction");
    assert_eq!(
        refused(|c| c.put(&[0x90]).data(1).put(&NOP).to(&JMP, 2).put(&[0xb8]).data(2).put(&[0; 4])),
        "code does not end where constants begin"
    );
    assert_eq!(refused(|c| c.put(&NOP)), "code does not end where constants begin");
    assert_eq!(refused(|c| c.put(&[0xb8]).data(1).put(&[0; 4]).to(&JMP, 1)), "a jump into an instruction");
    assert_eq!(refused(|c| c.put(&[0xe9, 0xff, 0xff, 0xff, 0x7f])), "a jump to somewhere outside");
    assert_eq!(refused(|c| c.put(&CALL).put(&[0; 4]).put(&RET)), "a call without a relocation");
    assert_eq!(refused(|c| c.to(&[0x8b, 0x05], 0).put(&RET)), "a reference backwards");
    assert_eq!(refused(|c| c.to(&[0x8b, 0x05], 1).data(1).put(&RET)), "code does not end where constants begin");
    fn trap(c: &mut Code) -> &mut Code {
        c.func.tables.traps.push(TrapSite { offset: 1, code: TrapCode::Unreachable });
        c.put(&RET)
    }
    fn block(c: &mut Code) -> &mut Code {
        c.blocks.push(3);
        c.put(&RET)
    }
    assert_eq!([trap, block].map(refused), ["tables about something else"; 2]);
    fn table(c: &mut Code, label: usize) -> &mut Code {
        c.to(&[0x48, 0x8d, 0x05], 6).put(&[0xff, 0xe0]).data(6);
        let start = c.at() as usize;
        c.entry(start, label).label(1).put(&[0xb8]).data(2).put(&[0; 4]).put(&RET)
    }
    assert_eq!(refused(|c| table(c, 2)), "a table of something else than code");
    let mut code = Code::new();
    table(&mut code, 1);
    code.relaxed(ALIGNED).unwrap();
}

/// Chains in which each round brings one more jump into reach have an end, and cost no square.
#[test]
fn many_jumps_take_few_rounds() {
    let mut code = Code::new();
    for i in 0..100_000 {
        code.blocks.push(code.at());
        code.labels.push((i, code.func.code.len()));
        let field = code.func.code.len() + 2;
        let target = (code.func.code.len() as i32 + 12 * 11).min(100_000 * 12);
        code.func.code.extend(JE);
        code.func.code.extend((target - field as i32 - 4).to_le_bytes());
        code.func.code.extend([0x66, 0x0f, 0x1f, 0x44, 0, 0]);
    }
    code.put(&RET);
    code.labels.clear();
    let before = code.at();
    let mut func = code.func.clone();
    Relaxer::default().run(&mut func, &code.blocks, 1, ALIGNED).unwrap();
    assert_eq!(func.code.len() as u32, before - 400_000);
}
