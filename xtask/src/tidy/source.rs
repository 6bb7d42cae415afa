//! Rules about one Rust source file: length of functions and files, `unsafe`, banned words.

use super::lexer::{Kind, Token};
use super::{Finding, Rule};

/// Folders under which `unsafe` is allowed: parts of the runtime, and its tests.
const UNSAFE_HOMES: [&str; 6] = [
    "crates/kiln/tests/",
    "models/src/",
    "crates/kiln/src/vm/",
    "crates/kiln/src/code/",
    "crates/kiln/src/gc/",
    "crates/kiln/src/sys/",
];

/// Macros that must not be left in.
const BANNED_MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Marks of unfinished work in comments. Each stands here in two pieces so that this file does not find itself.
const BANNED_MARKS: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Something with a length that the house rules bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Length {
    /// Name of the function; `None` for the file as a whole.
    pub(super) function: Option<String>,
    pub(super) line: usize,
    /// Lines that count: without rows of a flat table.
    pub(super) lines: usize,
}

/// Length of the file and of each function in it that has a body.
pub(super) fn lengths(source: &str, tokens: &[Token<'_>]) -> Vec<Length> {
    let total = source.lines().count();
    let rows = table_rows(total, tokens);
    let count = |from: usize, to: usize| (from..=to).filter(|l| !rows[*l]).count();
    let mut out = vec![Length { function: None, line: 1, lines: count(1, total) }];
    let code: Vec<&Token<'_>> = tokens.iter().filter(|t| t.kind != Kind::Comment).collect();
    for (i, pair) in code.windows(2).enumerate() {
        if pair[0].is_word("fn")
            && pair[1].kind == Kind::Word
            && let Some(end) = body_end(&code[i..])
        {
            let (line, last) = (pair[0].line, end.line);
            out.push(Length { function: Some(pair[1].text.to_owned()), line, lines: count(line, last) });
        }
    }
    out
}

/// The brace that closes the body of the function that starts here; `None` for a declaration.
fn body_end<'a>(code: &[&Token<'a>]) -> Option<Token<'a>> {
    let mut depth = 0usize;
    let mut in_body = false;
    for t in code {
        match t.text.chars().next()? {
            ';' if depth == 0 && t.is(';') => return None,
            '{' if t.is('{') => {
                in_body |= depth == 0;
                depth += 1;
            }
            '(' | '[' if t.kind == Kind::Punct => depth += 1,
            '}' | ')' | ']' if t.kind == Kind::Punct => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && in_body && t.is('}') {
                    return Some(**t);
                }
            }
            _ => {}
        }
    }
    None
}

/// For each line, whether it is a row of a flat table: a whole match arm, or one more pattern of an arm.
fn table_rows(total: usize, tokens: &[Token<'_>]) -> Vec<bool> {
    let mut rows = vec![false; total + 2];
    for line in tokens.chunk_by(|a, b| a.line == b.line) {
        let code: Vec<&Token<'_>> = line.iter().filter(|t| t.kind != Kind::Comment).collect();
        let (Some(first), Some(last)) = (code.first(), code.last()) else { continue };
        let arm = code.windows(2).any(|w| w[0].is('=') && w[1].is('>'));
        let closed = last.is(',') || last.is(';') || last.is('}');
        if balanced(&code) && ((arm && closed) || first.is('|')) {
            rows[first.line] = true;
        }
    }
    rows
}

fn balanced(code: &[&Token<'_>]) -> bool {
    let mut depth = 0isize;
    for t in code.iter().filter(|t| t.kind == Kind::Punct) {
        match t.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// `unsafe` outside its folders or without its argument, macros and marks of unfinished work.
pub(super) fn words(path: &str, tokens: &[Token<'_>]) -> Vec<Finding> {
    let mut out = Vec::new();
    let unsafe_home = UNSAFE_HOMES.iter().any(|home| path.starts_with(home));
    for (i, t) in tokens.iter().enumerate() {
        let mut find = |rule, message: String| out.push(Finding::new(path, t.line, rule, message));
        let next = tokens[i + 1..].iter().find(|t| t.kind != Kind::Comment);
        if t.is_word("unsafe") {
            let homes = "vm, code, gc, sys and raw of crates/kiln/src, crates/kiln/tests and models";
            if !unsafe_home {
                find(Rule::Unsafe, format!("`unsafe` is allowed only in {homes}"));
            }
            let argues = next.is_some_and(|n| n.is('{') || n.is_word("impl"));
            if argues && !has_argument(&tokens[..i]) {
                find(Rule::Safety, "`unsafe` without a `// SAFETY:` comment before it".to_owned());
            }
        }
        if t.kind == Kind::Word && BANNED_MACROS.contains(&t.text) && next.is_some_and(|n| n.is('!')) {
            find(Rule::Banned, format!("`{}!` is unfinished work", t.text));
        }
        if t.kind == Kind::Comment {
            let words = t.text.split(|c: char| !c.is_alphanumeric());
            for mark in words.filter(|w| BANNED_MARKS.contains(w)) {
                find(Rule::Banned, format!("comment says {mark}: finish it, or file it where work is planned"));
            }
        }
    }
    out
}

/// Whether the statement that these tokens end in has a comment with the word that starts a safety argument. Blocks of
/// the statement around the end, as that of an `else`, are part of it.
fn has_argument(before: &[Token<'_>]) -> bool {
    let mut closed = 0usize;
    let mut next: Option<&Token<'_>> = None;
    for t in before.iter().rev() {
        match t.kind {
            Kind::Comment if closed == 0 && t.text.contains("SAFETY:") => return true,
            Kind::Comment => continue,
            Kind::Punct if t.is('}') => {
                let goes_on = next.is_some_and(|n| n.is_word("else") || matches!(n.text, "." | "," | ")" | "?" | "="));
                if closed == 0 && !goes_on {
                    return false;
                }
                closed += 1;
            }
            Kind::Punct if t.is('{') => closed = closed.saturating_sub(1),
            Kind::Punct if t.is(';') && closed == 0 => return false,
            Kind::Word if t.text == "fn" && closed == 0 && next.is_some_and(|n| n.kind == Kind::Word) => return false,
            _ => {}
        }
        next = Some(t);
    }
    false
}

/// Whether the file forbids unsafe code as a whole: `#![forbid(unsafe_code)]`.
pub(super) fn forbids_unsafe(tokens: &[Token<'_>]) -> bool {
    let code: Vec<&str> = tokens.iter().filter(|t| t.kind != Kind::Comment).map(|t| t.text).collect();
    code.windows(8).any(|w| w == ["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"])
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn rules(path: &str, source: &str) -> Vec<Rule> {
        words(path, &tokens(source)).into_iter().map(|f| f.rule).collect()
    }

    #[test]
    fn function_lengths() {
        let source = "fn a(\n    x: [u8; 2],\n) {\n    b();\n}\n\ntrait T {\n    fn c();\n}\n";
        let found = lengths(source, &tokens(source));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].lines, 9);
        assert_eq!(found[1], Length { function: Some("a".into()), line: 1, lines: 5 });
    }

    #[test]
    fn rows_of_a_table_do_not_count() {
        let arms: String = (0..200).map(|i| format!("        Op::A{i} => f({i}),\n")).collect();
        let source = format!(
            "fn t(op: Op) {{\n    match op {{\n{arms}        Op::B => {{\n            g()\n        }}\n    }}\n}}\n"
        );
        let found = lengths(&source, &tokens(&source));
        assert_eq!(found[1].lines, 7);
    }

    #[test]
    fn unsafe_needs_home_and_argument() {
        let argued = "fn f() {\n    // SAFETY: it is.\n    let x = unsafe { g() };\n}";
        assert_eq!(rules("crates/kiln/src/sys/mod.rs", argued), []);
        assert_eq!(rules("crates/kiln/src/func.rs", argued), [Rule::Unsafe]);
        let bare = "fn f() {\n    // SAFETY: it is.\n    a();\n    unsafe { g() };\n}";
        assert_eq!(rules("crates/kiln/src/sys/mod.rs", bare), [Rule::Safety]);
        let branch = "fn f() {\n    // SAFETY: it is.\n    let x = if a { b(); 1 } else { unsafe { g() } };\n}";
        assert_eq!(rules("crates/kiln/src/sys/mod.rs", branch), []);
        let other = "// SAFETY: of f.\nfn f() {}\nfn g() { unsafe { h() } }";
        assert_eq!(rules("crates/kiln/src/sys/mod.rs", other), [Rule::Safety]);
        assert_eq!(rules("crates/kiln/src/sys/mod.rs", "type F = unsafe extern \"C\" fn();"), []);
        assert_eq!(
            rules("crates/env/src/lib.rs", "#![forbid(unsafe_code)]\n// unsafe\nconst S: &str = \"unsafe {\";"),
            []
        );
    }

    #[test]
    fn unfinished_work() {
        let source = format!("fn f() {{ {}!() }} // {}: later", "todo", concat!("FIX", "ME"));
        assert_eq!(rules("a.rs", &source), [Rule::Banned, Rule::Banned]);
    }

    #[test]
    fn forbid_is_seen() {
        assert!(forbids_unsafe(&tokens("//! x\n#![forbid(unsafe_code)]\n")));
        assert!(!forbids_unsafe(&tokens("// #![forbid(unsafe_code)]\n")));
    }
}
