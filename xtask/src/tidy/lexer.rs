//! Just enough of Rust's lexical grammar to look at sources without being fooled by strings and comments.

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Identifier or keyword.
    Word,
    /// String, character or number.
    Literal,
    /// A lifetime or label.
    Lifetime,
    /// Line or block comment, documentation included.
    Comment,
    /// A single character of punctuation.
    Punct,
}

/// A token of a source file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Line of its first character, from 1.
    pub(super) line: usize,
}

impl Token<'_> {
    /// Whether it is this punctuation.
    pub(super) fn is(&self, c: char) -> bool {
        self.kind == Kind::Punct && self.text.starts_with(c)
    }

    /// Whether it is this identifier or keyword.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }
}

/// Splits a source file into tokens. What is not valid Rust gives some tokens, never a panic.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < source.len() {
        let rest = &source[at..];
        let c = rest.chars().next().expect("not at the end");
        let (kind, len) = if c.is_whitespace() {
            line += usize::from(c == '\n');
            at += c.len_utf8();
            continue;
        } else if rest.starts_with("//") {
            (Kind::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (Kind::Comment, block_comment(rest))
        } else if let Some(len) = string(rest) {
            (Kind::Literal, len)
        } else if c == '\'' {
            quote(rest)
        } else if c.is_alphabetic() || c == '_' {
            (Kind::Word, word(rest))
        } else if c.is_ascii_digit() {
            (Kind::Literal, word(rest))
        } else {
            (Kind::Punct, c.len_utf8())
        };
        let text = &rest[..len];
        out.push(Token { kind, text, line });
        line += text.matches('\n').count();
        at += len;
    }
    out
}

fn word(rest: &str) -> usize {
    rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Length of the string literal at the start, whatever its prefix.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|p| {
        rest.strip_prefix(p).is_some_and(|r| r.starts_with('"') || (p.ends_with('r') && raw_hashes(r).is_some()))
    })?;
    let body = &rest[prefix.len()..];
    let len = if prefix.ends_with('r') {
        let hashes = raw_hashes(body)?;
        let close = format!("\"{}", "#".repeat(hashes));
        let from = hashes + 1;
        body[from..].find(&close).map_or(body.len(), |i| from + i + close.len())
    } else {
        escaped(body, '"')
    };
    Some(prefix.len() + len)
}

/// Number of `#` before the quote of a raw string.
fn raw_hashes(rest: &str) -> Option<usize> {
    let hashes = rest.bytes().take_while(|b| *b == b'#').count();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Length of a quoted text with escapes, both quotes included.
fn escaped(body: &str, quote: char) -> usize {
    let mut skip = false;
    for (i, c) in body.char_indices().skip(1) {
        match c {
            _ if skip => skip = false,
            '\\' => skip = true,
            _ if c == quote => return i + c.len_utf8(),
            _ => {}
        }
    }
    body.len()
}

/// A character literal or a lifetime.
fn quote(rest: &str) -> (Kind, usize) {
    let mut chars = rest[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => (Kind::Literal, escaped(rest, '\'')),
        _ => (Kind::Lifetime, 1 + word(&rest[1..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, &str)> {
        tokens(source).into_iter().map(|t| (t.kind, t.text)).collect()
    }

    #[test]
    fn strings_hide_their_contents() {
        assert_eq!(kinds(r##"r#"unsafe " "# b"\"{" c"}""##).len(), 3);
        assert!(kinds(r##"r#"unsafe " "# b"\"{" c"}""##).iter().all(|k| k.0 == Kind::Literal));
    }

    #[test]
    fn characters_and_lifetimes() {
        assert_eq!(
            kinds(r"'{' '\'' '\u{7f}' 'a 'static"),
            [
                (Kind::Literal, "'{'"),
                (Kind::Literal, r"'\''"),
                (Kind::Literal, r"'\u{7f}'"),
                (Kind::Lifetime, "'a"),
                (Kind::Lifetime, "'static"),
            ]
        );
    }

    #[test]
    fn comments_nest_and_lines_count() {
        let t = tokens("/* a /* b\n */ c */\n// d\nx");
        assert_eq!(
            t.iter().map(|t| (t.kind, t.line)).collect::<Vec<_>>(),
            [(Kind::Comment, 1), (Kind::Comment, 3), (Kind::Word, 4)]
        );
    }

    #[test]
    fn broken_input_ends() {
        for source in ["\"", "r#\"", "/*", "'", "'\\", "b'", "é'é", "0x"] {
            tokens(source);
        }
    }
}
