//! Random valid modules that end by themselves.

use anyhow::{Result, bail};
use arbitrary::{Arbitrary as _, Unstructured};
use wasm_smith::{Config, Module};
use wasmparser::{Operator, Parser, Payload};

use crate::rng::Rng;

/// Which proposals modules use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Everything that Kiln supports.
    All,
    /// As `All`, always with exceptions and tail calls.
    ExceptionsAndTailCalls,
}

/// Loop iterations and calls that a module may make before it traps.
const FUEL: u32 = 1_000;

/// A module for this seed.
///
/// # Errors
/// If `wasm-smith` cannot make one of these random bytes, or made one that might wait for another thread for ever.
pub fn module(seed: u64, profile: Profile) -> Result<Vec<u8>> {
    let mut rng = Rng::new(seed);
    let len = 512 << rng.below(7);
    let bytes = rng.bytes(len);
    let mut u = Unstructured::new(&bytes);
    let config = config(&mut u, &mut rng, profile)?;
    let mut module = Module::new(config, &mut u)?;
    module.ensure_termination(FUEL)?;
    let wasm = module.to_bytes();
    if waits(&wasm)? {
        bail!("the module may wait for ever");
    }
    Ok(wasm)
}

fn config(u: &mut Unstructured<'_>, rng: &mut Rng, profile: Profile) -> Result<Config> {
    let all = profile == Profile::ExceptionsAndTailCalls;
    let swarm = Config::arbitrary(u)?;
    Ok(Config {
        // What Kiln does not do yet.
        gc_enabled: false,
        compact_imports_enabled: false,
        shared_everything_threads_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        custom_descriptors_enabled: false,
        // What makes all state visible, and results comparable to the bit.
        export_everything: true,
        canonicalize_nans: true,
        disallow_traps: false,
        // What keeps a case short.
        max_imports: rng.below(8),
        max_types: swarm.max_types.clamp(1, 60),
        max_funcs: swarm.max_funcs.clamp(1, 30),
        max_globals: swarm.max_globals.min(30),
        max_memories: swarm.max_memories.min(3),
        max_tables: swarm.max_tables.min(4),
        max_tags: swarm.max_tags.min(10),
        max_data_segments: swarm.max_data_segments.min(20),
        max_element_segments: swarm.max_element_segments.min(20),
        max_elements: swarm.max_elements.min(50),
        max_table_elements: 1_000,
        table_max_size_required: true,
        max_memory32_bytes: 4 << 16,
        max_memory64_bytes: 4 << 16,
        memory_max_size_required: true,
        max_type_size: 40,
        max_instructions: swarm.max_instructions.max(20),
        exceptions_enabled: all || swarm.exceptions_enabled,
        tail_call_enabled: all || swarm.tail_call_enabled,
        reference_types_enabled: all || swarm.reference_types_enabled,
        multi_value_enabled: all || swarm.multi_value_enabled,
        bulk_memory_enabled: true,
        ..swarm
    })
}

/// Whether there is an operator that may block the only thread.
fn waits(wasm: &[u8]) -> Result<bool> {
    any_operator(wasm, |op| matches!(op, Operator::MemoryAtomicWait32 { .. } | Operator::MemoryAtomicWait64 { .. }))
}

/// Whether there is an operator of relaxed SIMD, whose results engines may choose.
///
/// # Errors
/// If the module is malformed.
pub fn is_relaxed(wasm: &[u8]) -> Result<bool> {
    any_operator(wasm, |op| format!("{op:?}").contains("Relaxed"))
}

fn any_operator(wasm: &[u8], wanted: impl Fn(&Operator<'_>) -> bool) -> Result<bool> {
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            for op in body.get_operators_reader()? {
                if wanted(&op?) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
