//! What a run showed: compared between engines.

use crate::script::Value;

/// How an instantiation or call ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It returned.
    Values(Vec<Value>),
    /// It trapped; the reason in words of Kiln's.
    Trap(String),
    /// An exception left the outermost function.
    Exception,
    /// It failed otherwise, which is compared without its message.
    Error(String),
    /// It ended in a way whose time engines choose, such as stack overflow: nothing after it is comparable.
    Unordered(String),
}

/// One step.
#[derive(Clone, Debug)]
pub struct Event {
    /// What was called.
    pub what: String,
    /// How it ended.
    pub outcome: Outcome,
    /// A hash of the state that can be seen after it.
    pub state: u64,
}

/// All steps.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// In order.
    pub events: Vec<Event>,
}

impl Trace {
    /// The first difference, in words; `None` where there is none.
    pub fn difference(&self, other: &Trace) -> Option<String> {
        for (i, (a, b)) in self.events.iter().zip(&other.events).enumerate() {
            let same = match (&a.outcome, &b.outcome) {
                (Outcome::Unordered(_), _) | (_, Outcome::Unordered(_)) => return None,
                (Outcome::Error(_), Outcome::Error(_)) => true,
                (x, y) => x == y,
            };
            if !same {
                return Some(format!("step {i} `{}`: {:?} or {:?}", a.what, a.outcome, b.outcome));
            }
            if a.state != b.state {
                return Some(format!("step {i} `{}`: {:?}, but the state after it differs", a.what, a.outcome));
            }
        }
        (self.events.len() != other.events.len())
            .then(|| format!("{} steps or {} steps", self.events.len(), other.events.len()))
    }
}

/// FNV-1a, eight bytes at a time.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        h = (h ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    }
    for byte in chunks.remainder() {
        h = (h ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    h
}
