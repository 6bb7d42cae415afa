//! Compiles all functions of wasm modules by stencils and says how fast: `throughput FILE..`. The best of as many rounds as the
//! variable `ROUNDS` says, 5 if it is not set.

use std::time::Duration;

use kiln_baseline::{Baseline, Body, Facts};
use kiln_compiler::{Compiler, CompilerConfig, ValidatedModule};

/// As in the program `kiln`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

/// What one round made of what.
#[derive(Default)]
struct Sums {
    wasm_bytes: usize,
    code_bytes: usize,
    failed: usize,
}

fn round(baseline: &Baseline, facts: &Facts<'_>, validated: &ValidatedModule, wasm: &[u8]) -> Sums {
    let mut sums = Sums::default();
    for (func, range) in facts.module.bodies.iter() {
        let info = validated.infos().get(func);
        let weights: Vec<(u32, u64)> = info.local_weights().map(|w| (w.local, w.weight)).collect();
        let bytes = &wasm[range.start as usize..range.end as usize];
        let body = Body { func, bytes, weights: &weights, catches: info.catches() };
        match baseline.compile(facts, &body) {
            Ok(code) => sums.code_bytes += code.code.len(),
            Err(error) => {
                sums.failed += 1;
                eprintln!("function {}: {error}", func.0);
            }
        }
        sums.wasm_bytes += bytes.len();
    }
    sums
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = CompilerConfig::default();
    let compiler = Compiler::new(&config)?;
    let Some(baseline) = Baseline::new(&compiler.fingerprint().flags, &config.tunables) else {
        return Err("there are no stencils for this machine".into());
    };
    let rounds: u32 = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    for path in std::env::args().skip(1) {
        let wasm = std::fs::read(&path)?;
        let validated = compiler.validate(compiler.parse(&wasm)?, &wasm)?;
        let module = validated.module();
        let facts = Facts { module, layout: validated.layout(), tunables: &config.tunables, counters: true };
        let mut best = Duration::MAX;
        let mut sums = Sums::default();
        for _ in 0..rounds {
            let start = cpu_time();
            sums = round(&baseline, &facts, &validated, &wasm);
            best = best.min(cpu_time() - start);
        }
        let Sums { wasm_bytes, code_bytes, failed } = sums;
        println!(
            "{path}: {} functions, {wasm_bytes} bytes, {code_bytes} bytes of code, {failed} failed, {best:.1?}, {:.1} MB/s",
            module.bodies.len(),
            wasm_bytes as f64 / 1e6 / best.as_secs_f64()
        );
    }
    Ok(())
}
