//! The functions that a function may refer to, numbered without regard to their places in the module.
//!
//! Number 0 is the function itself; then come its callees in the order in which its body first names them, and the callees
//! of each body that is inlined into it, in the order in which these are. Functions of two modules that are made from the
//! same bodies, and have the same numbers for what these call, become the same code.

use std::collections::HashMap;

use kiln_env::profile::FuncFacts;
use kiln_env::{DefinedFuncIndex, FuncIndex, FuncKey};

use crate::midend::Policy;
use crate::module_env::ModuleEnv;
use crate::profile::Frequency;

/// The numbers of one function's callees. Keeps its memory from function to function.
#[derive(Default)]
pub(crate) struct Callees {
    funcs: Vec<FuncIndex>,
    numbers: HashMap<FuncIndex, u32>,
}

impl Callees {
    /// Begins with a function.
    pub(crate) fn begin(&mut self, func: FuncIndex) {
        self.funcs.clear();
        self.numbers.clear();
        self.number(func);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.funcs.len()
    }

    /// Forgets all but the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        for func in self.funcs.drain(len.min(self.funcs.len())..) {
            self.numbers.remove(&func);
        }
    }

    /// The number of a function: the next one if it has none.
    pub(crate) fn number(&mut self, func: FuncIndex) -> u32 {
        let next = self.funcs.len() as u32;
        let number = *self.numbers.entry(func).or_insert(next);
        if number == next {
            self.funcs.push(func);
        }
        number
    }

    /// The number of a function, if it has one.
    pub(crate) fn find(&self, func: FuncIndex) -> Option<u32> {
        self.numbers.get(&func).copied()
    }

    /// The function with a number.
    pub(crate) fn get(&self, number: u32) -> Option<FuncIndex> {
        self.funcs.get(number as usize).copied()
    }

    /// A hash of a body and of what matters about its callees: their numbers, and what decides about inlining them. `known`:
    /// how it ran.
    pub(crate) fn describe(
        &mut self,
        env: &ModuleEnv<'_>,
        policy: Option<Policy>,
        body: &blake3::Hash,
        callees: &[FuncIndex],
        known: Option<&FuncFacts>,
    ) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(body.as_bytes());
        for callee in callees {
            self.describe_callee(env, policy, *callee, &mut hasher);
            let profile = known.zip(env.profile).zip(env.module.defined_func(*callee));
            let frequency = profile.map(|((known, profile), defined)| profile.frequency(known, defined));
            hasher.update(&[frequency.unwrap_or(Frequency::Unknown) as u8]);
        }
        for offset in known.map(|known| known.idle.as_slice()).unwrap_or_default() {
            hasher.update(b"idle").update(&offset.to_le_bytes());
        }
        // Of likely targets the code knows their places in the module besides.
        let targets = known.map(|known| known.targets.as_slice()).unwrap_or_default();
        for (offset, target) in targets {
            hasher.update(b"target").update(&offset.to_le_bytes()).update(&target.0.to_le_bytes());
            let func = env.module.func_index(*target);
            let ty = env.module.funcs[func].ty;
            let signature = postcard::to_stdvec(env.module.func_type(func)).expect("plain data serialises");
            hasher.update(&ty.0.to_le_bytes()).update(&(signature.len() as u64).to_le_bytes()).update(&signature);
            self.describe_callee(env, policy, func, &mut hasher);
        }
        hasher.finalize()
    }

    fn describe_callee(
        &mut self,
        env: &ModuleEnv<'_>,
        policy: Option<Policy>,
        callee: FuncIndex,
        hasher: &mut blake3::Hasher,
    ) {
        hasher.update(&self.number(callee).to_le_bytes());
        let defined = env.module.defined_func(callee);
        let facts = defined.zip(policy).and_then(|(callee, policy)| policy.facts(env, callee));
        match facts {
            None => hasher.update(&[0]),
            Some(facts) => hasher.update(&[1]).update(&facts),
        };
    }

    /// A function as a key.
    pub(crate) fn key(&self, env: &ModuleEnv<'_>, number: u32) -> Option<FuncKey> {
        env.module.defined_func(self.get(number)?).map(FuncKey::Wasm)
    }

    /// The number of a function of this module.
    pub(crate) fn number_of(&self, env: &ModuleEnv<'_>, func: DefinedFuncIndex) -> Option<u32> {
        self.find(env.module.func_index(func))
    }
}
