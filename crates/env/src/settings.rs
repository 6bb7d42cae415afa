//! What changes the meaning or shape of compiled code, and the fingerprint of it all.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of Cranelift that code is made with.
pub const CRANELIFT: &str = "0.135.8";

/// The build of Kiln, as far as code and runtime depend on it: two with the same name make the same code, and each runs
/// the other's.
pub fn build_id() -> String {
    format!("kiln {} (build {}, Cranelift {CRANELIFT})", env!("CARGO_PKG_VERSION"), env!("KILN_BUILD"))
}

/// Choices about generated code that compiler and runtime must share.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Tunables {
    /// Bytes of address space reserved for each memory. At 4 GiB or more, 32-bit memories need no bounds checks.
    pub memory_reservation: u64,
    /// Bytes of inaccessible address space behind the reservation.
    pub memory_guard: u64,
    /// Whether traps may rely on signals. If not, code checks explicitly and calls the runtime.
    pub signals: bool,
    /// Count fuel.
    pub fuel: bool,
    /// Check the epoch at function entries and loop headers.
    pub epochs: bool,
    /// Emit address maps for every instruction that can trap or call (needed for offsets in backtraces).
    pub address_map: bool,
    /// Emit unwind information for native debuggers and profilers.
    pub native_unwind_info: bool,
}

impl Default for Tunables {
    fn default() -> Self {
        Tunables {
            memory_reservation: 1 << 32,
            memory_guard: 32 << 20,
            signals: true,
            fuel: false,
            epochs: false,
            address_map: true,
            native_unwind_info: true,
        }
    }
}

/// How much the compiler optimises.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum OptLevel {
    /// Not at all.
    None,
    /// For speed.
    #[default]
    Speed,
    /// For speed and small code.
    SpeedAndSize,
}

/// Which register allocator the compiler uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum RegallocAlgorithm {
    /// Slower, better code.
    #[default]
    Backtracking,
    /// Faster, worse code.
    SinglePass,
}

/// How many calls the compiler replaces by the body of the function that they call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Inlining {
    /// None.
    No,
    /// Those that pay.
    #[default]
    Yes,
    /// As many as possible: to find bugs.
    Stress,
}

/// Everything that code depends on beside the module's bytes. Code made under one fingerprint is never run under another.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Version of Kiln and of Cranelift, and the format version of what is stored.
    pub compiler: String,
    /// Target triple.
    pub target: String,
    /// Target and shared Cranelift settings that differ from nothing: all of them, by name, sorted.
    pub flags: Vec<(String, String)>,
    /// The tunables.
    pub tunables: Tunables,
}

impl Fingerprint {
    /// A hash of the whole.
    pub fn digest(&self) -> [u8; 32] {
        let bytes = postcard::to_stdvec(self).expect("plain data serialises");
        *blake3::hash(&bytes).as_bytes()
    }

    /// The first difference to another fingerprint, worded for a user; `None` if they are equal.
    pub fn difference(&self, other: &Fingerprint) -> Option<String> {
        if self.compiler != other.compiler {
            return Some(format!("compiled by {}, but this is {}", self.compiler, other.compiler));
        }
        if self.target != other.target {
            return Some(format!("compiled for {}, but this host is {}", self.target, other.target));
        }
        let mine = self.flags.iter().find(|f| !other.flags.contains(f));
        if let Some((name, value)) = mine {
            let theirs = other.flags.iter().find(|(n, _)| n == name).map_or("absent", |(_, v)| v);
            return Some(format!("setting {name} is {value}, but {theirs} here"));
        }
        if let Some((name, value)) = other.flags.iter().find(|f| !self.flags.contains(f)) {
            return Some(format!("setting {name} is absent, but {value} here"));
        }
        (self.tunables != other.tunables)
            .then(|| format!("tunables are {:?}, but {:?} here", self.tunables, other.tunables))
    }
}

impl fmt::Display for OptLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OptLevel::None => "none",
            OptLevel::Speed => "speed",
            OptLevel::SpeedAndSize => "speed_and_size",
        })
    }
}
