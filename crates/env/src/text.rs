//! Names of modules where they become text that people read.
//!
//! Names are any Unicode text: one may move the cursor of a terminal, change its title, or turn a line around so that it
//! reads as another. So whatever comes out of a module passes through [`printable`] on its way into a message.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The name with each character escaped, as Rust writes it, that does not show but changes what is shown: control
/// characters, separators of lines, and what sets the direction of text or has no width (Unicode's `Cc`, `Zl`, `Zp`, and
/// those of `Cf` that are not part of written words).
///
/// ```
/// assert_eq!(kiln_env::text::printable("grüße"), "grüße");
/// assert_eq!(kiln_env::text::printable("a\x1b[31m\n\u{202e}b"), "a\\u{1b}[31m\\n\\u{202e}b");
/// ```
#[must_use]
pub fn printable(name: &str) -> Cow<'_, str> {
    escaped(name, is_misleading)
}

/// The same for text of several lines: line feeds and tabs stay.
///
/// ```
/// assert_eq!(kiln_env::text::printable_lines("a\n\tb\r\x07"), "a\n\tb\\r\\u{7}");
/// ```
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && is_misleading(c))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            // Writing to a string does not fail.
            _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Marks of direction, embeddings, overrides and isolates.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Separators of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // No width: two names that differ would look the same. The joiners U+200C and U+200D belong to words.
            | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            // Annotations and tags.
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_how_text_is_shown_is_escaped_and_words_of_all_scripts_are_left() {
        for c in ['\0', '\x07', '\x1b', '\x7f', '\u{85}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{feff}'] {
            let escaped = printable(&format!("a{c}b")).into_owned();
            assert!(escaped.chars().all(|c| c.is_ascii_graphic()), "{escaped:?}");
            assert!(escaped.contains(&format!("{}", c.escape_default())), "{escaped:?}");
        }
        for word in ["naïve", "имя", "שם", "نام", "की", "名前", "👩\u{200d}🚀", "a b", "$_Z\\u{1b}"]
        {
            assert_eq!(printable(word), word);
        }
    }
}
