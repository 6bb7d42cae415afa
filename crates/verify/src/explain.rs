//! States as text, beside the code.

use std::collections::BTreeMap;
use std::fmt::Write;

use iced_x86::Instruction;

use crate::check::{Function, Scratch, Statistics, check};
use crate::plan::Plan;
use crate::refusal::Refusal;
use crate::state::{Flags, State};
use crate::value::{Base, MAX_U32, Value};

const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// The code of a function, with what is known before each instruction, up to what is refused.
pub(crate) fn explain<'a>(plan: &'a Plan<'a>, function: &'a Function<'a>) -> (String, Result<Statistics, Refusal>) {
    let mut lines = BTreeMap::new();
    let mut show = |instruction: &Instruction, state: &State| {
        let at = instruction.ip();
        let bytes = &function.code[at as usize..at as usize + instruction.len()];
        let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.insert(at, format!("{at:6x}: {bytes:<24} {:?}\n          {}\n", instruction.code(), describe(state)));
    };
    let result = check(plan, &mut Scratch::new(), function, Some(&mut show));
    (lines.into_values().collect(), result)
}

/// What is known, but for numbers of which nothing is.
fn describe(state: &State) -> String {
    let mut out = String::new();
    for (name, value) in NAMES.iter().zip(state.registers) {
        if let Some(text) = value_text(state, value) {
            let _ = write!(out, "{name}={text} ");
        }
    }
    for cell in &state.cells {
        if let Some(text) = value_text(state, cell.value) {
            let _ = write!(out, "[{}:{}]={text} ", cell.at, cell.size);
        }
    }
    if let Flags::Compare(left, right, wide) = state.flags {
        let text = |value| value_text(state, value).unwrap_or_else(|| "?".to_owned());
        let _ = write!(out, "flags={} {} {}", text(left), if wide { "::" } else { ":" }, text(right));
    }
    out
}

fn value_text(state: &State, value: Value) -> Option<String> {
    let number = number_text(state, value);
    if value.base == Base::Number {
        return number;
    }
    let number = number.filter(|text| text != "0").map_or(String::new(), |text| format!("+{text}"));
    Some(format!("{:?}{number}", value.base))
}

fn number_text(state: &State, value: Value) -> Option<String> {
    if value.symbol == 0 {
        return Some(format!("{:#x}", value.offset).replace("0x0", "0"));
    }
    let fact = state.fact(value.symbol);
    let bounds = match (fact.low, fact.high) {
        (i64::MIN, i64::MAX) => String::new(),
        (0, MAX_U32) => "u32".to_owned(),
        (low, high) => format!("{low}..={high}"),
    };
    let below = fact.below.map_or(String::new(), |(length, n)| format!(" below {length:?} by {n}"));
    let ty = fact.callee.ty.map_or(String::new(), |ty| format!(" type {ty}"));
    if bounds.is_empty() && below.is_empty() && ty.is_empty() && value.base == Base::Number {
        return None;
    }
    let shift = if value.shift == 0 { String::new() } else { format!("<<{}", value.shift) };
    let offset = if value.offset == 0 { String::new() } else { format!("{:+}", value.offset) };
    Some(format!("s{}({bounds}{below}{ty}){shift}{offset}", value.symbol))
}
