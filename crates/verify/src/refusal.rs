//! Why code is refused.

use std::fmt;

use kiln_env::FuncKey;

/// What a proof needs, and could not find.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// Jumps, calls and returns lead to where they may.
    Control,
    /// Loads and stores reach what they may.
    Memory,
    /// The frame, the stack pointer and what callers want back.
    Frame,
    /// Arguments, results and contexts of calls.
    Call,
    /// Tables of traps, handlers and references.
    Table,
    /// Only instructions that compiled code has.
    Instruction,
    /// The proof would take too long.
    Limit,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Control => "control",
            Rule::Memory => "memory",
            Rule::Frame => "frame",
            Rule::Call => "call",
            Rule::Table => "table",
            Rule::Instruction => "instruction",
            Rule::Limit => "limit",
        })
    }
}

/// Code that is not proven safe.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{func}, instruction at {offset:#x} ({instruction}): rule {rule}: {reason}")]
pub struct Refusal {
    /// The function.
    pub func: FuncKey,
    /// Where in its code, in bytes.
    pub offset: u32,
    /// The instruction, by its form.
    pub instruction: String,
    /// What it breaks, as far as is known.
    pub rule: Rule,
    /// How.
    pub reason: String,
}

/// A refusal, before it is known where.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) reason: String,
}

pub(crate) type Result<T> = std::result::Result<T, Broken>;

/// Refuses.
pub(crate) fn broken<T>(rule: Rule, reason: impl Into<String>) -> Result<T> {
    Err(Broken { rule, reason: reason.into() })
}
