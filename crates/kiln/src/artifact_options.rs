//! What goes into an artifact.

use crate::profile::Profile;

/// How [`Engine::precompile_module`](crate::Engine::precompile_module) makes an artifact.
///
/// ```
/// use kiln::{ArtifactOptions, Engine};
///
/// let engine = Engine::default();
/// let wat = "(module (memory 1))";
/// let with = engine.precompile_module(wat.as_bytes(), &ArtifactOptions::new())?;
/// let without = engine.precompile_module(wat.as_bytes(), ArtifactOptions::new().embed_wasm(false))?;
/// assert!(without.len() <= with.len());
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct ArtifactOptions {
    pub(crate) embed_wasm: bool,
    pub(crate) cpus: Vec<String>,
    pub(crate) profile: Option<Profile>,
}

impl Default for ArtifactOptions {
    fn default() -> ArtifactOptions {
        ArtifactOptions { embed_wasm: true, cpus: Vec::new(), profile: None }
    }
}

impl ArtifactOptions {
    /// The wasm module is embedded, and code is for the engine's target.
    pub fn new() -> ArtifactOptions {
        ArtifactOptions::default()
    }

    /// Whether the artifact contains the wasm module, so that it can be compiled again where its code does not run; and
    /// with it what debuggers need. On by default.
    pub fn embed_wasm(&mut self, embed: bool) -> &mut ArtifactOptions {
        self.embed_wasm = embed;
        self
    }

    /// The CPU levels for which the artifact has code, the least demanding first; the best one is chosen when it is
    /// loaded. `baseline` is what every supported processor of the architecture can do; for x86-64 there are `v2`, `v3` and
    /// `v4`. None by default: code is for the engine's target.
    pub fn cpus<S: Into<String>>(&mut self, levels: impl IntoIterator<Item = S>) -> &mut ArtifactOptions {
        self.cpus = levels.into_iter().map(Into::into).collect();
        self
    }

    /// How the module ran before: functions that were called mostly by indirect calls are called directly there, or inlined,
    /// and what was never called is kept out of the way of the rest. It changes nothing but speed. None by default.
    pub fn profile(&mut self, profile: Option<Profile>) -> &mut ArtifactOptions {
        self.profile = profile;
        self
    }
}
