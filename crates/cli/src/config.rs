//! From options to an engine's configuration.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches};
use kiln::{
    BaselineCompiler, Config, Engine, Inlining, OptLevel, ProfilingStrategy, RegallocAlgorithm, SigningKey, TierUp,
    Tiering, Verification,
};

use crate::args::{Args, Groups, Profile, Tier};
use crate::options::{self, Asked, Options, Strictness, UsageError};
use crate::report;

/// Bytes of stack that a program may use unless told otherwise.
pub(crate) const MAX_WASM_STACK: usize = 8 << 20;

/// What is noted in the cache of artifacts that were checked.
pub(crate) const CHECKED: &str = "verified";

/// Reads the groups; `None` if they asked for a list of options, which has been printed then.
pub(crate) fn options(groups: &Groups) -> Result<Option<Options>> {
    match options::read(groups, Config::feature_names())? {
        Asked::Go(options) => Ok(Some(*options)),
        Asked::Help(text) => {
            report::give(text.as_bytes())?;
            Ok(None)
        }
    }
}

/// The list of options that an incomplete command line asks for, as `kiln run -W help`, which names no file.
pub(crate) fn list_asked_for() -> Option<String> {
    let matches = Args::command().ignore_errors(true).try_get_matches().ok()?;
    let mut matches = &matches;
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    // Not all commands have the groups.
    matches.try_contains_id("wasm").ok()?;
    let groups = Groups::from_arg_matches(matches).ok()?;
    match options::read(&groups, Config::feature_names()) {
        Ok(Asked::Help(text)) => Some(text),
        _ => None,
    }
}

/// The configuration that the command line asks for.
pub(crate) fn config(groups: &Groups, options: &Options) -> Result<Config> {
    let mut config = Config::new();
    config.tiering(match groups.tier.unwrap_or(Tier::Eager) {
        Tier::Eager => Tiering::Eager,
        Tier::Lazy => Tiering::Lazy,
        Tier::Dynamic => Tiering::Dynamic,
    });
    config.profiler(match groups.profilers {
        None => ProfilingStrategy::None,
        Some(Profile::Perfmap) => ProfilingStrategy::PerfMap,
        Some(Profile::Jitdump) => ProfilingStrategy::JitDump,
    });
    wasm(&mut config, options)?;
    optimize(&mut config, options);
    if let Some(on) = options.codegen.parallel_compilation {
        config.parallel_compilation(on);
    }
    config.compilation_order(options.codegen.work_order);
    if let Some(on) = options.codegen.share {
        config.share_code(on);
    }
    if let Some(inlining) = options.codegen.inlining {
        config.compiler_inlining(match inlining {
            options::Inlining::No => Inlining::No,
            options::Inlining::Yes => Inlining::Yes,
            options::Inlining::Stress => Inlining::Stress,
        });
    }
    if let Some(on) = options.codegen.native_unwind_info {
        config.native_unwind_info(on);
    }
    if let Some(on) = options.codegen.cranelift_debug_verifier {
        config.cranelift_debug_verifier(on);
    }
    if options.codegen.artifact_verification != Some(Strictness::Strict)
        && let Some(folder) = cache_dir()
    {
        config.artifact_verification(Verification::Marked { records: folder.join(CHECKED) });
    }
    config.signing_key(signing_key().ok());
    if let Some(on) = options.debug.debug_info {
        config.debug_info(on);
    }
    for name in options.debug.dump_function.iter().flat_map(|names| &names.0) {
        let func = name.clone();
        config.compiler_dump(name, move |stage, text| {
            report::note(&match stage {
                Some(stage) => format!(";; {func} behind {stage}\n{text}"),
                None => format!("note: -D dump-function: {text}"),
            });
        });
    }
    Ok(config)
}

/// The user's key, which is made when it is first needed.
///
/// # Errors
/// It cannot be read or made: what was compiled is then neither kept nor trusted.
pub(crate) fn signing_key() -> Result<SigningKey> {
    let path = SigningKey::default_path();
    let path = path.context("no place for the key: neither KILN_KEY_FILE, XDG_STATE_HOME nor HOME is set")?;
    SigningKey::load_or_create(&path).with_context(|| format!("cannot use the key {}", path.display()))
}

/// Where Kiln keeps what it can do without; `None` if the user has no such place.
fn cache_dir() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    path("KILN_CACHE_DIR")
        .or_else(|| Some(path("XDG_CACHE_HOME").filter(|p| p.is_absolute())?.join("kiln")))
        .or_else(|| Some(path("HOME")?.join(".cache/kiln")))
}

fn wasm(config: &mut Config, options: &Options) -> Result<()> {
    let wasm = &options.wasm;
    if let Some(on) = wasm.all_proposals {
        for name in Config::feature_names() {
            config.wasm_feature(name, on);
        }
    }
    for (name, on) in &options.proposals {
        config.wasm_feature(name, *on);
    }
    config.consume_fuel(wasm.fuel.is_some());
    config.epoch_interruption(wasm.timeout.is_some());
    config.max_wasm_stack(match wasm.max_wasm_stack {
        Some(bytes) => size("-W max-wasm-stack", bytes)?,
        None => MAX_WASM_STACK,
    });
    Ok(())
}

fn optimize(config: &mut Config, options: &Options) {
    let optimize = &options.optimize;
    if let Some(level) = optimize.opt_level {
        config.cranelift_opt_level(match level {
            options::OptLevel::None => OptLevel::None,
            options::OptLevel::Speed => OptLevel::Speed,
            options::OptLevel::SpeedAndSize => OptLevel::SpeedAndSize,
        });
    }
    if let Some(baseline) = optimize.baseline {
        config.baseline_compiler(match baseline {
            options::Baseline::Cranelift => BaselineCompiler::Cranelift,
            options::Baseline::Stencils => BaselineCompiler::Stencils,
        });
    }
    if optimize.tier_up == Some(false) {
        config.tier_up(TierUp::Never);
    }
    if let Some(algorithm) = optimize.regalloc_algorithm {
        config.cranelift_regalloc_algorithm(match algorithm {
            options::Regalloc::Backtracking => RegallocAlgorithm::Backtracking,
            options::Regalloc::SinglePass => RegallocAlgorithm::SinglePass,
        });
    }
    if let Some(bytes) = optimize.memory_reservation {
        config.memory_reservation(bytes);
    }
    if let Some(bytes) = optimize.memory_guard_size {
        config.memory_guard_size(bytes);
    }
    if let Some(on) = optimize.memory_huge_pages {
        config.memory_huge_pages(on);
    }
    let off = optimize.passes_off.iter().flat_map(|names| &names.0);
    for name in off {
        match name.as_str() {
            "all" => Config::compiler_pass_names().into_iter().for_each(|n| _ = config.compiler_pass(n, false)),
            name => _ = config.compiler_pass(name, false),
        }
    }
    if let Some(on) = optimize.signals_based_traps {
        config.signals_based_traps(on);
    }
}

/// A number of bytes or things that fits this machine.
pub(crate) fn size(option: &str, number: u64) -> Result<usize, UsageError> {
    usize::try_from(number).map_err(|_| UsageError(format!("{option}: {number} is too large for this machine")))
}

/// An engine as the command line asks for it; `None` if it asked for a list of options.
pub(crate) fn engine(groups: &Groups) -> Result<Option<Engine>> {
    let Some(options) = options(groups)? else { return Ok(None) };
    let engine = Engine::new(&config(groups, &options)?).context("cannot make an engine with these options")?;
    Ok(Some(engine))
}
