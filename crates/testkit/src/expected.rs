//! The list of failures that are expected, each with its reason. It fails when one of them no longer happens.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use crate::script::Failure;

/// A script, or one line of it, that is expected to fail, in all modes or in one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    script: String,
    line: Option<usize>,
    mode: Option<String>,
}

/// The list.
///
/// A line of its text is `SCRIPT[:LINE,..] [in MODE] | REASON`; lines that start with `#` and empty lines do not count.
#[derive(Debug, Default)]
pub struct Expected {
    entries: BTreeMap<Entry, Use>,
}

#[derive(Debug)]
struct Use {
    reason: String,
    happened: bool,
}

impl Expected {
    /// Reads the list.
    ///
    /// # Errors
    /// A line has no reason, its line number is no number, or it stands there twice.
    pub fn parse(text: &str) -> Result<Expected> {
        let mut entries = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (what, reason) = line.split_once('|').with_context(|| format!("no reason is given: {line}"))?;
            ensure!(!reason.trim().is_empty(), "no reason is given: {line}");
            let (place, mode) = match what.trim().split_once(" in ") {
                Some((place, mode)) => (place.trim(), Some(mode.trim().to_owned())),
                None => (what.trim(), None),
            };
            let (script, lines) = match place.rsplit_once(':') {
                Some((script, lines)) => (script, line_numbers(lines).with_context(|| format!("in {line:?}"))?),
                None => (place, vec![None]),
            };
            for number in lines {
                let entry = Entry { script: script.to_owned(), line: number, mode: mode.clone() };
                let old = entries.insert(entry, Use { reason: reason.trim().to_owned(), happened: false });
                ensure!(old.is_none(), "stands there twice: {line}");
            }
        }
        Ok(Expected { entries })
    }

    /// Whether the failure is on the list; remembers that it happened.
    pub fn covers(&mut self, failure: &Failure, mode: &str) -> bool {
        let mut covered = false;
        for line in [Some(failure.line), None] {
            for mode in [Some(mode.to_owned()), None] {
                let entry = Entry { script: failure.script.clone(), line, mode };
                if let Some(found) = self.entries.get_mut(&entry) {
                    found.happened = true;
                    covered = true;
                }
            }
        }
        covered
    }

    /// The entries about these scripts that did not happen, worded for the person who removes them.
    pub fn stale(&self, scripts: &[String]) -> Vec<String> {
        let unused = self.entries.iter().filter(|(entry, u)| !u.happened && scripts.contains(&entry.script));
        unused
            .map(|(entry, u)| {
                let line = entry.line.map(|l| format!(":{l}")).unwrap_or_default();
                let mode = entry.mode.as_ref().map(|m| format!(" in {m}")).unwrap_or_default();
                format!("{}{line}{mode} passes now; take it off the list ({})", entry.script, u.reason)
            })
            .collect()
    }
}

fn line_numbers(text: &str) -> Result<Vec<Option<usize>>> {
    text.split(',').map(|n| Ok(Some(n.parse::<usize>().with_context(|| format!("not a line number: {n}"))?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(script: &str, line: usize) -> Failure {
        Failure { script: script.to_owned(), line, column: 1, message: String::new() }
    }

    #[test]
    fn entries_by_script_line_and_mode() {
        let mut list = Expected::parse("# x\na.wast | why\nb.wast:3 in lazy | why\n\nc.wast:4,7 | why").unwrap();
        assert!(list.covers(&failure("a.wast", 9), "eager"));
        assert!(list.covers(&failure("b.wast", 3), "lazy"));
        assert!(!list.covers(&failure("b.wast", 3), "eager"));
        assert!(!list.covers(&failure("c.wast", 5), "eager"));
        let all = ["a.wast", "b.wast", "c.wast"].map(str::to_owned);
        assert_eq!(list.stale(&all).len(), 2, "only the entries of c.wast did not happen");
        assert_eq!(list.stale(&all[..2]).len(), 0, "scripts that did not run say nothing");
    }

    #[test]
    fn reasons_are_required() {
        assert!(Expected::parse("a.wast").is_err());
        assert!(Expected::parse("a.wast | ").is_err());
        assert!(Expected::parse("a.wast:x | why").is_err());
        assert!(Expected::parse("a.wast | why\na.wast | why").is_err());
    }
}
