//! What the compiler is told about how a module ran.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_env::DefinedFuncIndex;
use kiln_env::profile::FuncFacts;

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

    /// Whether calls of a function are rare in the body of another, which is known well and has never called it.
    pub(crate) fn is_rare(&self, caller: &FuncFacts, callee: DefinedFuncIndex) -> bool {
        caller.is_known && !self.facts(callee).has_run
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
