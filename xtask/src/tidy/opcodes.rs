//! Operators of WebAssembly are named, not numbered: their numbers stand in one table.

use super::lexer::{Kind, Token};
use super::{Finding, Rule};

/// Crates that read operators.
const READERS: [&str; 3] = ["crates/env/src/", "crates/compiler/src/", "crates/baseline/src/"];

/// Files and folders of these crates in which short hexadecimal numbers are something else.
const OTHERS: [(&str, &str); 9] = [
    ("crates/env/src/opcode.rs", "the table of operators"),
    ("crates/env/src/types.rs", "bytes that types are"),
    ("crates/env/src/reloc.rs", "machine code"),
    ("crates/env/src/artifact/eh_frame.rs", "unwind instructions"),
    ("crates/compiler/src/link.rs", "machine code"),
    ("crates/compiler/src/relax/", "machine code"),
    ("crates/compiler/src/stencils/cut.rs", "machine code"),
    ("crates/compiler/src/stencils/mod.rs", "values that stencils are tried with"),
    ("crates/baseline/src/asm.rs", "machine code"),
];

/// Hexadecimal numbers that may be operators'. What is an operand of a comparison of size, of a shift or of arithmetic on
/// bits is none.
pub(super) fn findings(path: &str, tokens: &[Token<'_>]) -> Vec<Finding> {
    let reads = READERS.iter().any(|folder| path.starts_with(folder));
    if !reads || OTHERS.iter().any(|(other, _)| path.starts_with(other)) {
        return Vec::new();
    }
    let code: Vec<&Token<'_>> = tokens.iter().filter(|t| t.kind != Kind::Comment).collect();
    let mut out = Vec::new();
    for (i, t) in code.iter().enumerate() {
        if is_short_hexadecimal(t) && !is_bits(&code, i) {
            let message = format!("{} may be an operator's number: name it as crates/env/src/opcode.rs does", t.text);
            out.push(Finding::new(path, t.line, Rule::Opcode, message));
        }
    }
    out
}

/// Whether it is a hexadecimal number of at most three digits.
fn is_short_hexadecimal(t: &Token<'_>) -> bool {
    let digits = t.text.strip_prefix("0x").filter(|_| t.kind == Kind::Literal);
    digits.is_some_and(|digits| digits.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '_').count() <= 3)
}

/// Whether the number at `i` is an operand of an operator that nobody would use on the number of a WebAssembly operator.
fn is_bits(code: &[&Token<'_>], i: usize) -> bool {
    let at = |i: usize| code.get(i).copied();
    let is = |t: Option<&Token<'_>>, c: char| t.is_some_and(|t| t.is(c));
    let (before, after) = (i.checked_sub(1).and_then(at), at(i + 1));
    // An alternative of a pattern has another number, or an arrow, on its other side.
    let alternative = |other: Option<&Token<'_>>| other.is_none_or(|t| is_short_hexadecimal(t));
    let or = (is(before, '|') && !alternative(i.checked_sub(2).and_then(at)) && !is(after, '=') && !is(after, '|'))
        || (is(after, '|') && !alternative(at(i + 2)) && !is(before, ',') && !is(before, '{'));
    let size = |t: Option<&Token<'_>>| is(t, '<') || is(t, '>');
    // `>=` and `<=` are two tokens each.
    let compared = size(before) || (is(before, '=') && size(i.checked_sub(2).and_then(at)));
    let arrow = is(after, '=') && is(at(i + 2), '>');
    is(before, '&') || is(after, '&') || is(before, '^') || or || (compared && !arrow) || size(after)
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn lines(source: &str) -> Vec<usize> {
        findings("crates/baseline/src/walk.rs", &tokens(source)).into_iter().map(|f| f.line).collect()
    }

    #[test]
    fn numbers_of_operators_are_found() {
        for source in [
            "match op { 0x20 => a(), _ => {} }",
            "match op { _ => {} 0x20..=0x22 if b => a() }",
            "match op { 0x02 | 0x03 => a() }",
            "matches!(op, 0x45)",
            "if op == 0x45 {}",
            "const IF: u8 = 0x04;",
            "self.operator(0xd4, 1)",
            "let free = [0x01, 0x02];",
            "match op { X | 0x1f => a() }",
        ] {
            assert!(!lines(source).is_empty(), "{source}");
        }
    }

    #[test]
    fn bits_and_machine_code_are_not() {
        let source =
            "while n >= 0x80 { push(n as u8 | 0x80); n |= u32::from(b & 0x7f) << 7; if b < 0x80 || b & 0x40 == 0 {} }";
        assert!(lines(source).is_empty());
        assert!(lines("let x = 0x1234_5678; // 0x20").is_empty());
        let code = tokens("asm.bytes([0x90]);");
        assert!(findings("crates/baseline/src/asm.rs", &code).is_empty());
        assert!(findings("crates/verify/src/value.rs", &code).is_empty());
        assert_eq!(findings("crates/baseline/src/emit.rs", &code).len(), 1);
    }
}
