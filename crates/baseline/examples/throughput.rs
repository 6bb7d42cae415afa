//! Compiles all functions of wasm modules by stencils and says how fast: `throughput FILE..`.

use std::time::Duration;

use kiln_baseline::{Baseline, Body, Facts};
use kiln_compiler::{Compiler, CompilerConfig};

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = CompilerConfig::default();
    let compiler = Compiler::new(&config)?;
    let Some(baseline) = Baseline::new(&compiler.fingerprint().flags, &config.tunables) else {
        return Err("there are no stencils for this machine".into());
    };
    for path in std::env::args().skip(1) {
        let wasm = std::fs::read(&path)?;
        let validated = compiler.validate(compiler.parse(&wasm)?, &wasm)?;
        let module = validated.module();
        let facts = Facts { module, layout: validated.layout(), tunables: &config.tunables, counters: true };
        let (mut wasm_bytes, mut code_bytes, mut failed) = (0, 0, 0);
        let start = cpu_time();
        for (func, range) in module.bodies.iter() {
            let info = validated.infos().get(func);
            let weights: Vec<(u32, u64)> = info.local_weights().map(|w| (w.local, w.weight)).collect();
            let bytes = &wasm[range.start as usize..range.end as usize];
            let body = Body { func, bytes, weights: &weights, catches: info.catches() };
            match baseline.compile(&facts, &body) {
                Ok(code) => code_bytes += code.code.len(),
                Err(error) => {
                    failed += 1;
                    eprintln!("function {}: {error}", func.0);
                }
            }
            wasm_bytes += bytes.len();
        }
        let time = cpu_time() - start;
        println!(
            "{path}: {} functions, {wasm_bytes} bytes, {code_bytes} bytes of code, {failed} failed, {time:.1?}, {:.1} MB/s",
            module.bodies.len(),
            wasm_bytes as f64 / 1e6 / time.as_secs_f64()
        );
    }
    Ok(())
}
