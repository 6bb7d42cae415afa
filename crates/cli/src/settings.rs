//! `kiln settings`: the host, the defaults, the limits.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use kiln::Engine;
use kiln_env::limits;
use serde_json::{Map, Value, json};

use crate::args::Settings;
use crate::{config, report};

/// Prints the settings that the command line leads to.
pub(crate) fn main(args: &Settings) -> Result<ExitCode> {
    let Some(options) = config::options(&args.groups)? else { return Ok(ExitCode::SUCCESS) };
    let config = config::config(&args.groups, &options)?;
    let engine = Engine::new(&config)?;
    let settings = settings(&engine);
    let text = if args.json { format!("{settings:#}\n") } else { table(&settings) };
    report::give(text.as_bytes()).map(|()| ExitCode::SUCCESS)
}

/// All there is to know, in groups.
fn settings(engine: &Engine) -> Value {
    let fingerprint = engine.fingerprint();
    let tunables = &fingerprint.tunables;
    let flags: Map<String, Value> =
        fingerprint.flags.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let proposals: Map<String, Value> =
        engine.features().map(|(name, on)| (name.replace('_', "-"), json!(on))).collect();
    json!({
        "kiln": {
            "version": env!("CARGO_PKG_VERSION"),
            "compiler": fingerprint.compiler,
            "target": fingerprint.target,
            "processors": std::thread::available_parallelism().map_or(1, usize::from),
        },
        "defaults": {
            "max-wasm-stack": config::MAX_WASM_STACK,
            "memory-reservation": tunables.memory_reservation,
            "memory-guard-size": tunables.memory_guard,
            "signals-based-traps": tunables.signals,
            "native-unwind-info": tunables.native_unwind_info,
        },
        "proposals": proposals,
        "limits": {
            "module-bytes": limits::MAX_MODULE_SIZE,
            "functions": limits::MAX_FUNCS,
            "function-bytes": limits::MAX_BODY_SIZE,
            "locals": limits::MAX_LOCALS,
            "nesting": limits::MAX_NESTING,
            "parameters": limits::MAX_PARAMS,
            "memories": limits::MAX_MEMORIES,
            "tables": limits::MAX_TABLES,
            "table-elements": limits::MAX_TABLE_ELEMENTS,
            "types": limits::MAX_TYPES,
        },
        "flags": flags,
    })
}

fn table(settings: &Value) -> String {
    let mut out = String::new();
    for (group, entries) in settings.as_object().into_iter().flatten() {
        writeln!(out, "{group}").expect("a string takes all");
        for (name, value) in entries.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(out, "  {name:<36} {value}").expect("a string takes all");
        }
    }
    out
}
