//! A script with all atomic operators on memories of every kind, at offsets that are no multiples of their sizes.

use std::fmt::Write as _;

const PAGE: u64 = 1 << 16;
const PAGES: u64 = 3;
/// What is in memory before each access, and the address. In the second page, so that large offsets reach it, too.
const CELL: u64 = 0x8877_6655_4433_2211;
const AT: u64 = 2 * PAGE;
/// The value that operators work with.
const VALUE: u64 = 0xf1e2_d3c4_b5a6_9788;
/// All of them odd; below and above a page.
const OFFSETS: [u64; 4] = [1, 0x100a5, 7, 0x1fff3];

/// Memories: imported and defined, with indices of both sizes.
struct Memory {
    name: &'static str,
    is_64: bool,
}

const MEMORIES: [Memory; 5] = [
    Memory { name: "first", is_64: false },
    Memory { name: "imported", is_64: false },
    Memory { name: "imported64", is_64: true },
    Memory { name: "defined", is_64: false },
    Memory { name: "defined64", is_64: true },
];

/// An operator, what it leaves on the stack and in the cell.
struct Operator {
    name: String,
    is_64: bool,
    size: u64,
    /// Operands beside the index.
    operands: Vec<u64>,
    result: Option<u64>,
    new: u64,
}

/// What is in memory behind a change, from what was there and the operand.
type Change = fn(u64, u64) -> u64;

fn operators() -> Vec<Operator> {
    let mut all = Vec::new();
    for (is_64, bits) in [(false, 8), (false, 16), (false, 32), (true, 8), (true, 16), (true, 32), (true, 64)] {
        let ty = if is_64 { "i64" } else { "i32" };
        let full = bits == if is_64 { 64 } else { 32 };
        let (narrow, unsigned) = if full { (String::new(), "") } else { (bits.to_string(), "_u") };
        let mask = u64::MAX >> (64 - bits);
        let old = CELL & mask;
        let mut add = |name: String, operands: &[u64], result: Option<u64>, new: u64| {
            let new = CELL & !mask | new & mask;
            all.push(Operator { name, is_64, size: bits / 8, operands: operands.to_vec(), result, new });
        };
        add(format!("{ty}.atomic.load{narrow}{unsigned}"), &[], Some(old), CELL);
        add(format!("{ty}.atomic.store{narrow}"), &[VALUE], None, VALUE);
        let changes: [(&str, Change); 6] = [
            ("add", u64::wrapping_add),
            ("sub", u64::wrapping_sub),
            ("and", |a, b| a & b),
            ("or", |a, b| a | b),
            ("xor", |a, b| a ^ b),
            ("xchg", |_, b| b),
        ];
        for (change, f) in changes {
            add(format!("{ty}.atomic.rmw{narrow}.{change}{unsigned}"), &[VALUE], Some(old), f(CELL, VALUE));
        }
        add(format!("{ty}.atomic.rmw{narrow}.cmpxchg{unsigned}"), &[old, VALUE], Some(old), VALUE);
    }
    all
}

fn index_type(memory: &Memory) -> &'static str {
    if memory.is_64 { "i64" } else { "i32" }
}

fn constant(is_64: bool, n: u64) -> String {
    if is_64 { format!("(i64.const {})", n as i64) } else { format!("(i32.const {})", n as i32) }
}

/// A function that fills the cell, uses the operator, and gives its result and the cell.
fn function(out: &mut String, memory: &Memory, operator: &Operator, offset: u64) {
    let Operator { name, is_64, operands, result, .. } = operator;
    let (index, m) = (index_type(memory), memory.name);
    let operands: String = operands.iter().map(|n| constant(*is_64, *n)).collect();
    let operation = format!("({name} ${m} offset={offset} (local.get 0) {operands})");
    let value = match (result, is_64) {
        (None, _) => format!("{operation} (i64.const 0)"),
        (Some(_), false) => format!("(i64.extend_i32_u {operation})"),
        (Some(_), true) => operation,
    };
    let cell = constant(memory.is_64, AT);
    writeln!(
        out,
        "(func (export \"{m} {name}\") (param {index}) (result i64 i64)
           (i64.store ${m} {cell} (i64.const {})) {value} (i64.load ${m} {cell}))",
        CELL as i64
    )
    .expect("strings can be written to");
}

/// `memory.atomic.notify` and waits that do not wait.
fn waits(out: &mut String, memory: &Memory, offset: u64) {
    let (index, m) = (index_type(memory), memory.name);
    for (name, operands) in [
        ("notify", "(i32.const 1)"),
        ("wait32", "(i32.const 1) (i64.const -1)"),
        ("wait64", "(i64.const 1) (i64.const -1)"),
    ] {
        writeln!(
            out,
            "(func (export \"{m} {name}\") (param {index}) (result i32)
               (memory.atomic.{name} ${m} offset={offset} (local.get 0) {operands}))"
        )
        .expect("strings can be written to");
    }
}

/// What the access does at these effective addresses: in the cell, unaligned, behind the end, at the end of all addresses.
fn assertions(out: &mut String, memory: &Memory, name: &str, size: u64, offset: u64, expected: &str) {
    let mut assert = |address: u64, expected: &str| {
        let index = constant(memory.is_64, address.wrapping_sub(offset));
        let invoke = format!("(invoke \"{} {name}\" {index})", memory.name);
        let line = match expected.strip_prefix("trap ") {
            Some(trap) => format!("(assert_trap {invoke} \"{trap}\")"),
            None => format!("(assert_return {invoke} {expected})"),
        };
        writeln!(out, "{line}").expect("strings can be written to");
    };
    let (unaligned, outside) = ("trap unaligned atomic", "trap out of bounds memory access");
    let end = PAGES * PAGE;
    let wrapped = if memory.is_64 { 0 } else { 1 << 32 };
    assert(AT, expected);
    assert(end, outside);
    assert(wrapped, outside);
    if size > 1 {
        // Also with an aligned index; and this is looked at before the bounds.
        assert(AT + 1, unaligned);
        assert(AT + size / 2, unaligned);
        assert(AT + offset, unaligned);
        assert(end + size - 1, unaligned);
        // Waits hand on the address, for which 64 bits are not enough here: that comes first. With an offset of 1 the index is 0.
        let has_no_address = memory.is_64 && offset > 1 && !name.contains('.');
        assert(wrapped + 1, if has_no_address { outside } else { unaligned });
    }
}

/// The script, for shared memories or others.
pub(crate) fn script(shared: bool) -> String {
    let limits = if shared { format!("{PAGES} {PAGES} shared") } else { format!("{PAGES} 4") };
    let mut out = String::from("(module $Memories\n");
    let (mut module, mut calls) = (String::from("(module\n"), String::new());
    for memory in &MEMORIES {
        let ty = format!("{}{limits}", if memory.is_64 { "i64 " } else { "" });
        let m = memory.name;
        let imported = !m.starts_with("defined");
        if imported {
            writeln!(out, "(memory (export \"{m}\") {ty})").expect("strings can be written to");
        }
        let import = if imported { format!("(import \"memories\" \"{m}\") ") } else { String::new() };
        writeln!(module, "(memory ${m} {import}{ty})").expect("strings can be written to");
    }
    for (i, memory) in MEMORIES.iter().enumerate() {
        for (n, operator) in operators().iter().enumerate() {
            let offset = OFFSETS[(i + n) % OFFSETS.len()];
            function(&mut module, memory, operator, offset);
            let [old, new] = [operator.result.unwrap_or(0), operator.new].map(|n| constant(true, n));
            assertions(&mut calls, memory, &operator.name, operator.size, offset, &format!("{old} {new}"));
        }
        let offset = OFFSETS[i % OFFSETS.len()];
        waits(&mut module, memory, offset);
        assertions(&mut calls, memory, "notify", 4, offset, "(i32.const 0)");
        for (name, size) in [("wait32", 4), ("wait64", 8)] {
            let expected = if shared { "(i32.const 1)" } else { "trap expected shared memory" };
            assertions(&mut calls, memory, name, size, offset, expected);
        }
    }
    out + ")\n(register \"memories\" $Memories)\n" + &module + ")\n" + &calls
}
