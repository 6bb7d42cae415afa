//! The compiler's configuration, Cranelift's target made from it, and the fingerprint of both.

use std::str::FromStr;
use std::sync::Arc;

use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable, SetError};
use kiln_env::CacheStore;
use kiln_env::settings::{Fingerprint, OptLevel, RegallocAlgorithm, Tunables};
use target_lexicon::{Architecture, Triple};

use crate::error::{CompileError, Result};
use crate::features::Features;
use crate::link::LinkOptions;
use crate::midend::PassConfig;

/// What a [`crate::Compiler`] is made from.
#[derive(Clone)]
pub struct CompilerConfig {
    /// Target triple. `None` is this machine with all the features of its processor; a named target, be it the same, has
    /// the least features that Kiln needs, and what `flags` add.
    pub target: Option<String>,
    /// How much to optimise.
    pub opt_level: OptLevel,
    /// Which register allocator to use.
    pub regalloc: RegallocAlgorithm,
    /// Cranelift settings by name, shared ones and the target's: booleans, numbers, enumerations; a preset
    /// (`x86-64-v3`, `haswell`) takes the value `true`. Settings that Kiln relies on cannot be changed.
    pub flags: Vec<(String, String)>,
    /// Choices shared with the runtime.
    pub tunables: Tunables,
    /// What modules may use.
    pub features: Features,
    /// Threads that compile and validate; 0 is one for each that the machine runs at once.
    pub threads: usize,
    /// Instead of the best order, work is done in one that this seed decides. To test that it does not show.
    pub work_order: Option<u64>,
    /// Asked before each function of a module that is compiled as a whole, by all threads: whether the module is not wanted any
    /// more.
    pub interrupt: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    /// Which passes of Kiln's own run.
    pub passes: PassConfig,
    /// How images are linked.
    pub link: LinkOptions,
    /// Whether address maps name the wasm operator of every instruction, for people who read the code. Otherwise only of
    /// those at which one can stop. The code is the same.
    pub all_addresses: bool,
    /// Whether Cranelift checks its own intermediate forms: slow, for finding bugs in compilers.
    pub verify: bool,
    /// Where compiled functions are kept and looked for.
    pub cache: Option<Arc<dyn CacheStore>>,
}

impl Default for CompilerConfig {
    fn default() -> CompilerConfig {
        CompilerConfig {
            target: None,
            opt_level: OptLevel::default(),
            regalloc: RegallocAlgorithm::default(),
            flags: Vec::new(),
            tunables: Tunables::default(),
            features: Features::default(),
            threads: 0,
            work_order: None,
            interrupt: None,
            passes: PassConfig::default(),
            link: LinkOptions::default(),
            all_addresses: false,
            verify: cfg!(debug_assertions),
            cache: None,
        }
    }
}

/// Shared settings that generated code and runtime rely on.
const REQUIRED: &[(&str, &str)] = &[
    // More results than registers.
    ("enable_multi_ret_implicit_sret", "true"),
    // Backtraces, collection and exceptions walk frame pointers; Cranelift's tail calls need them too.
    ("preserve_frame_pointers", "true"),
    // Frames larger than a page touch each of their pages, so that overflow hits the guard and nothing behind it.
    ("enable_probestack", "true"),
    ("probestack_strategy", "inline"),
    ("probestack_size_log2", "12"),
    // Nothing absolute in the code.
    ("is_pic", "true"),
    ("enable_pinned_reg", "false"),
    // Where blocks begin, for relaxing x86-64's machine code.
    ("machine_code_cfg_info", "true"),
];

/// Settings that have their own field in the configuration.
const OWN_FIELD: &[&str] = &["opt_level", "regalloc_algorithm", "enable_verifier", "unwind_info"];

/// Settings that change no code.
const NOT_IN_FINGERPRINT: &[&str] = &["enable_verifier", "regalloc_verbose_logs", "machine_code_cfg_info"];

/// Makes Cranelift's target.
///
/// # Errors
/// Unknown or unsupported target, unknown settings or values, settings that contradict what Kiln relies on, a processor
/// that lacks what Kiln needs.
pub(crate) fn build(config: &CompilerConfig) -> Result<OwnedTargetIsa> {
    let mut isa_builder = match &config.target {
        None => cranelift_native::builder().map_err(|e| CompileError::config(format_args!("this machine: {e}")))?,
        Some(target) => {
            let triple = Triple::from_str(target)
                .map_err(|e| CompileError::config(format_args!("target {target:?} is not a target triple: {e}")))?;
            isa::lookup(triple).map_err(|e| CompileError::config(format_args!("target {target}: {e}")))?
        }
    };
    let mut shared = settings::builder();
    let set = |builder: &mut settings::Builder, name: &str, value: &str| {
        builder.set(name, value).map_err(|e| CompileError::internal(format_args!("setting {name}={value}: {e}")))
    };
    for (name, value) in REQUIRED {
        set(&mut shared, name, value)?;
    }
    set(&mut shared, "opt_level", &config.opt_level.to_string())?;
    let regalloc = match config.regalloc {
        RegallocAlgorithm::Backtracking => "backtracking",
        RegallocAlgorithm::SinglePass => "single_pass",
    };
    set(&mut shared, "regalloc_algorithm", regalloc)?;
    set(&mut shared, "enable_verifier", if config.verify { "true" } else { "false" })?;
    set(&mut shared, "unwind_info", if config.tunables.native_unwind_info { "true" } else { "false" })?;
    let is_x86 = matches!(isa_builder.triple().architecture, Architecture::X86_64 | Architecture::X86_64h);
    if is_x86 && config.target.is_some() {
        // Rounding, blends and shuffles would otherwise need library calls.
        isa_builder.enable("sse41").map_err(|e| CompileError::internal(format_args!("preset sse41: {e}")))?;
    }
    for (name, value) in &config.flags {
        set_flag(&mut shared, &mut isa_builder, name, value)?;
    }
    let isa = isa_builder.finish(settings::Flags::new(shared)).map_err(CompileError::config)?;
    check_isa(&*isa)?;
    Ok(isa)
}

/// The target that stencils are made for: x86-64 with the features of `preset`. What a function does around its operators
/// (probes, unwind information) is left out; so are rewrites of immediates.
pub(crate) fn for_stencils(preset: &str) -> Result<OwnedTargetIsa> {
    let triple = Triple::from_str("x86_64-unknown-linux-gnu").map_err(CompileError::config)?;
    let mut isa_builder = isa::lookup(triple).map_err(CompileError::config)?;
    let mut shared = settings::builder();
    let own = [
        ("enable_probestack", "false"),
        ("opt_level", "none"),
        ("regalloc_algorithm", "backtracking"),
        ("unwind_info", "false"),
        ("enable_verifier", "false"),
    ];
    let required = REQUIRED.iter().filter(|(name, _)| !name.contains("probestack"));
    for (name, value) in required.chain(&own) {
        shared.set(name, value).map_err(|e| CompileError::internal(format_args!("setting {name}={value}: {e}")))?;
    }
    isa_builder.enable(preset).map_err(|e| CompileError::config(format_args!("preset {preset}: {e}")))?;
    if preset != "x86-64-v2" {
        // The preset has AVX2 without what it is based on, and Cranelift then uses neither.
        isa_builder.enable("has_avx").map_err(CompileError::config)?;
    }
    isa_builder.finish(settings::Flags::new(shared)).map_err(CompileError::config)
}

fn set_flag(shared: &mut settings::Builder, isa: &mut isa::Builder, name: &str, value: &str) -> Result<()> {
    if let Some((_, required)) = REQUIRED.iter().find(|(n, _)| *n == name) {
        if *required == value {
            return Ok(());
        }
        return Err(CompileError::config(format_args!("setting {name} is always {required}")));
    }
    if OWN_FIELD.contains(&name) {
        return Err(CompileError::config(format_args!("setting {name} is configured elsewhere")));
    }
    let mut result = shared.set(name, value);
    if let Err(SetError::BadName(_)) = result {
        result = match isa.set(name, value) {
            // A preset is enabled, not set; that there is one does not show in the error.
            Err(SetError::BadName(_)) if matches!(value, "" | "true") => isa.enable(name),
            other => other,
        };
    }
    result.map_err(|e| match e {
        SetError::BadName(_) => {
            CompileError::config(format_args!("no setting is called {name} for target {}", isa.triple()))
        }
        other => CompileError::config(format_args!("setting {name}={value}: {other}")),
    })
}

fn check_isa(isa: &dyn isa::TargetIsa) -> Result<()> {
    if isa.pointer_bits() != 64 {
        return Err(CompileError::config(format_args!("target {}: only 64-bit targets are supported", isa.triple())));
    }
    if isa.name() == "x64" && flag(isa, "has_sse41") != Some(true) {
        return Err(CompileError::config("x86-64 processors need SSE4.1 (setting has_sse41)"));
    }
    Ok(())
}

/// A boolean setting of the target.
pub(crate) fn flag(isa: &dyn isa::TargetIsa, name: &str) -> Option<bool> {
    isa.isa_flags().iter().find(|f| f.name == name)?.as_bool()
}

/// The proposals of `features` that the target can execute: RISC-V without its vector extension has no vectors.
pub(crate) fn supported_features(isa: &dyn isa::TargetIsa, mut features: Features) -> Features {
    if flag(isa, "has_v") == Some(false) {
        features.simd = false;
        features.relaxed_simd = false;
    }
    features
}

/// Everything that generated code depends on beside the module.
pub(crate) fn fingerprint(isa: &dyn isa::TargetIsa, tunables: &Tunables) -> Fingerprint {
    let shared = isa.flags().iter().filter(|f| !NOT_IN_FINGERPRINT.contains(&f.name));
    let all = shared.chain(isa.isa_flags());
    let mut flags: Vec<_> = all.map(|f| (f.name.to_owned(), f.value_string())).collect();
    flags.sort();
    Fingerprint {
        compiler: kiln_env::settings::build_id(),
        target: isa.triple().to_string(),
        flags,
        tunables: tunables.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_flags(flags: &[(&str, &str)]) -> CompilerConfig {
        let flags = flags.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        CompilerConfig { target: Some("x86_64-unknown-linux-gnu".into()), flags, ..CompilerConfig::default() }
    }

    #[test]
    fn flags_by_name_presets_and_contradictions() {
        let isa = build(&with_flags(&[("x86-64-v3", "true"), ("enable_nan_canonicalization", "true")])).unwrap();
        assert_eq!(flag(&*isa, "has_avx2"), Some(true));
        assert!(isa.flags().enable_nan_canonicalization());
        for (name, value, expected) in [
            ("preserve_frame_pointers", "false", "always true"),
            ("opt_level", "none", "elsewhere"),
            ("no_such_setting", "true", "no setting"),
            ("has_avx", "perhaps", "has_avx=perhaps"),
            ("has_sse41", "false", "SSE4.1"),
        ] {
            let message = build(&with_flags(&[(name, value)])).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(expected), "{name}: {message}");
        }
    }

    #[test]
    fn the_version_of_cranelift_is_the_one_that_is_named() {
        assert_eq!(kiln_env::settings::CRANELIFT, cranelift_codegen::VERSION);
    }

    #[test]
    fn bad_targets_are_errors() {
        for target in ["", "nonsense", "mips-unknown-linux-gnu", "i686-unknown-linux-gnu"] {
            let config = CompilerConfig { target: Some(target.into()), ..CompilerConfig::default() };
            assert!(build(&config).is_err(), "{target}");
        }
    }

    #[test]
    fn fingerprints_cover_settings_and_tunables() {
        let print = |config: &CompilerConfig| fingerprint(&*build(config).unwrap(), &config.tunables);
        let base = print(&with_flags(&[]));
        assert_eq!(base, print(&with_flags(&[])));
        let other = print(&with_flags(&[("has_avx", "true")]));
        assert!(base.difference(&other).unwrap().contains("has_avx"));
        let mut fuel = with_flags(&[]);
        fuel.tunables.fuel = true;
        assert_ne!(base.digest(), print(&fuel).digest());
        let verifying = CompilerConfig { verify: true, ..with_flags(&[]) };
        let trusting = CompilerConfig { verify: false, ..with_flags(&[]) };
        assert_eq!(print(&verifying), print(&trusting));
    }
}
