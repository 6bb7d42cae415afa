//! How a module ran, for compiling it as a whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use kiln_env::DefinedFuncIndex;
use kiln_env::artifact::{read_header, read_snapshot, verify};
use kiln_env::profile::{ENOUGH, FuncCounts, FuncFacts};

/// How the functions of a module ran: which were called, and what their indirect calls called. For
/// [`ArtifactOptions::profile`](crate::ArtifactOptions::profile).
#[derive(Clone, Debug)]
pub struct Profile {
    counts: Arc<BTreeMap<u32, FuncCounts>>,
}

impl Profile {
    /// What runs learnt that left the file `snapshot`, the bytes of [`Module::snapshot`](crate::Module::snapshot).
    ///
    /// # Errors
    /// The file cannot be read, or is not a snapshot or damaged.
    pub fn of_snapshot(snapshot: &Path) -> Result<Profile> {
        let read = || {
            let file = std::fs::read(snapshot)?;
            let header = read_header(&file)?;
            verify(&file, &header)?;
            anyhow::Ok(read_snapshot(&file, &header)?.profile)
        };
        let profile = read().with_context(|| format!("cannot read the profile in {}", snapshot.display()))?;
        Ok(Profile { counts: Arc::new(profile.into_iter().collect()) })
    }

    /// How many functions were called.
    pub fn functions(&self) -> usize {
        self.counts.len()
    }

    /// What the code of a function may depend on, in a module with so many functions. Whatever the profile says, code does
    /// what the module says.
    pub(crate) fn facts(&self, func: DefinedFuncIndex, num_funcs: u32) -> FuncFacts {
        let Some(counts) = self.counts.get(&func.0) else { return FuncFacts::default() };
        let mut facts = counts.facts(ENOUGH);
        facts.targets.retain(|(_, target)| target.0 < num_funcs);
        facts
    }
}
