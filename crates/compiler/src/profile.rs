//! What the compiler is told about how a module ran.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_env::DefinedFuncIndex;
use kiln_env::profile::FuncFacts;

/// Entries from which on a function was so hot that it is not counted much longer.
const HOT: u32 = 500;

/// How often a function comes to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frequency {
    /// It has not yet, and is known well.
    Rare,
    /// Nothing is known.
    Unknown,
    /// The callee is entered about as often as the caller, or oftener.
    Frequent,
}

/// Tells what is known about functions. The program may run on and count meanwhile: what was told once stays so for as
/// long as this lives, so that the code and the key under which it is kept are made from the same facts.
pub struct Profile<'a> {
    find: &'a (dyn Fn(DefinedFuncIndex) -> FuncFacts + Sync),
    told: Mutex<HashMap<DefinedFuncIndex, Arc<FuncFacts>>>,
}

impl<'a> Profile<'a> {
    /// Tells what `find` finds, which is asked once for each function.
    pub fn new(find: &'a (dyn Fn(DefinedFuncIndex) -> FuncFacts + Sync)) -> Profile<'a> {
        Profile { find, told: Mutex::default() }
    }

    /// How often the body of one function calls another.
    pub(crate) fn frequency(&self, caller: &FuncFacts, callee: DefinedFuncIndex) -> Frequency {
        if !caller.is_known {
            return Frequency::Unknown;
        }
        let callee = self.facts(callee);
        if !callee.has_run {
            Frequency::Rare
        } else if callee.entries >= caller.entries.min(HOT) / 2 {
            Frequency::Frequent
        } else {
            Frequency::Unknown
        }
    }

    /// What is known about a function.
    pub(crate) fn facts(&self, func: DefinedFuncIndex) -> Arc<FuncFacts> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.entry(func).or_insert_with(|| Arc::new((self.find)(func))).clone()
    }
}

impl fmt::Debug for Profile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").finish_non_exhaustive()
    }
}
