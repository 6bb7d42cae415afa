//! The list of what exceeds a limit already. It may only become shorter.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};

use super::source::Length;
use super::{Finding, Rule};

/// Lines of a function.
pub(super) const MAX_FUNCTION: usize = 80;
/// Lines of a file.
pub(super) const MAX_FILE: usize = 1_200;

/// A function of a file, or a file: what a length belongs to.
type Name = (String, Option<String>);

/// Lengths above the limit that are tolerated.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Ratchet {
    lengths: BTreeMap<Name, usize>,
}

const HEAD: &str = "# Functions and files that were longer than the house rules allow when the rule came: FILE [FUNCTION] LINES.\n\
                    # `cargo xtask tidy --tighten` lowers and removes entries; nothing adds one.\n";

impl Ratchet {
    /// Reads the list.
    pub(super) fn parse(text: &str) -> Result<Ratchet> {
        let mut lengths = BTreeMap::new();
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, lines) = match words[..] {
                [file, lines] => ((file.to_owned(), None), lines),
                [file, function, lines] => ((file.to_owned(), Some(function.to_owned())), lines),
                _ => anyhow::bail!("ratchet: not FILE [FUNCTION] LINES: {line}"),
            };
            lengths.insert(name, lines.parse().with_context(|| format!("ratchet: not a number of lines: {line}"))?);
        }
        Ok(Ratchet { lengths })
    }

    /// The list as text.
    pub(super) fn print(&self) -> String {
        let mut out = HEAD.to_owned();
        for ((file, function), lines) in &self.lengths {
            let function = function.as_ref().map(|f| format!(" {f}")).unwrap_or_default();
            writeln!(out, "{file}{function} {lines}").expect("a string takes all");
        }
        out
    }

    /// Compares what there is with the list. With what comes back, the tightened list.
    pub(super) fn check(&self, measured: &[(String, Length)]) -> (Vec<Finding>, Ratchet) {
        let mut findings = Vec::new();
        let mut tightened = Ratchet::default();
        for (file, length) in measured {
            let limit = if length.function.is_some() { MAX_FUNCTION } else { MAX_FILE };
            let name = (file.clone(), length.function.clone());
            let tolerated = self.lengths.get(&name).copied();
            if length.lines <= limit {
                continue;
            }
            let what = length.function.as_ref().map_or("file".to_owned(), |f| format!("function {f}"));
            let lines = length.lines;
            match tolerated {
                Some(max) if lines <= max => {
                    let entry = tightened.lengths.entry(name).or_default();
                    *entry = lines.max(*entry);
                }
                Some(max) => findings.push(Finding::new(
                    file,
                    length.line,
                    Rule::Length,
                    format!("{what} grew from {max} to {lines} lines; the limit is {limit}"),
                )),
                None => findings.push(Finding::new(
                    file,
                    length.line,
                    Rule::Length,
                    format!("{what} has {lines} lines; the limit is {limit} (rows of flat tables do not count)"),
                )),
            }
        }
        for ((file, function), max) in self.lengths.iter().filter(|(name, _)| !tightened.lengths.contains_key(*name)) {
            let what = function.as_deref().unwrap_or("file");
            findings.push(Finding::new(
                file,
                1,
                Rule::Length,
                format!("ratchet entry `{what} {max}` is no longer needed: run `cargo xtask tidy --tighten`"),
            ));
        }
        (findings, tightened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(lines: usize) -> Vec<(String, Length)> {
        vec![("a.rs".to_owned(), Length { function: Some("f".to_owned()), line: 3, lines })]
    }

    #[test]
    fn it_only_turns_one_way() {
        let list = Ratchet::parse("# x\na.rs f 100\n").unwrap();
        assert!(list.check(&measured(100)).0.is_empty());
        assert_eq!(list.check(&measured(101)).0.len(), 2, "grew, and the entry no longer holds");
        assert_eq!(list.check(&measured(80)).0.len(), 1);
        assert_eq!(list.check(&measured(90)).1.print().lines().last(), Some("a.rs f 90"));
        assert_eq!(Ratchet::default().check(&measured(81)).0.len(), 1);
    }

    #[test]
    fn it_reads_what_it_prints() {
        let list = Ratchet::parse("a.rs f 100\nb.rs 1300\n").unwrap();
        assert_eq!(Ratchet::parse(&list.print()).unwrap(), list);
        assert!(Ratchet::parse("a.rs f many\n").is_err());
    }
}
