//! `--explain`: where the time went.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kiln::{CompileStatistics, StencilStatistics, TierStatistics};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::cache::Found;

/// What a run took, phase by phase. Phases of compilation are sums over threads.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Explanation {
    pub(crate) read_seconds: f64,
    pub(crate) parse_seconds: f64,
    pub(crate) validate_seconds: f64,
    pub(crate) translate_seconds: f64,
    /// Kiln's own passes together, and each by its name.
    pub(crate) passes_seconds: f64,
    pub(crate) passes: BTreeMap<&'static str, f64>,
    pub(crate) codegen_seconds: f64,
    /// Finding compiled functions in the cache, and keeping them there.
    pub(crate) cache_seconds: f64,
    pub(crate) link_seconds: f64,
    /// Wall clock time of all compilation before the start.
    pub(crate) compile_wall_seconds: f64,
    pub(crate) instantiate_seconds: f64,
    pub(crate) run_seconds: f64,
    /// Processor time of the program's thread.
    pub(crate) run_cpu_seconds: f64,
    /// Functions compiled, at the start or when first called.
    pub(crate) functions: u64,
    pub(crate) wasm_bytes: u64,
    pub(crate) code_bytes: u64,
    /// Functions whose machine code stayed as Cranelift made it.
    pub(crate) unrelaxed_functions: u64,
    /// Functions compiled without optimisation because they exceed a limit of what is optimised.
    pub(crate) unoptimized_functions: u64,
    /// Functions found in the cache without translating them.
    pub(crate) cache_body_hits: u64,
    /// Functions and trampolines found in the cache by their IR.
    pub(crate) cache_code_hits: u64,
    pub(crate) cache_misses: u64,
    pub(crate) cache_inserts: u64,
    pub(crate) cache_inserted_bytes: u64,
    /// Whether the module was found in the cache as a whole.
    pub(crate) cached_module: bool,
    /// Whether the run went on with what earlier ones left.
    pub(crate) resumed: bool,
    /// Why the cache was not used although it was wanted.
    pub(crate) cache_problem: Option<String>,
    pub(crate) peak_memory_bytes: u64,
    /// With `--tier dynamic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tiers: Option<Tiers>,
}

/// Functions by tier.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Tiers {
    /// Functions that earlier runs compiled.
    pub(crate) resumed_functions: u64,
    pub(crate) resumed_bytes: u64,
    pub(crate) baseline_functions: u64,
    pub(crate) baseline_bytes: u64,
    pub(crate) optimized_functions: u64,
    pub(crate) optimized_bytes: u64,
    pub(crate) osr_functions: u64,
    pub(crate) osr_bytes: u64,
    pub(crate) osr_entries: u64,
    /// Functions that could not be compiled at the second tier.
    pub(crate) failed: u64,
    /// Functions that exceed a limit of what is optimised.
    pub(crate) over_limit: u64,
    /// Time for which the program waited for code.
    pub(crate) waited_seconds: f64,
    /// Time that was spent on code in the background.
    pub(crate) background_seconds: f64,
    /// Unless `-O baseline=cranelift`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stencils: Option<Stencils>,
}

/// What the stencil compiler did.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Stencils {
    pub(crate) functions: u64,
    pub(crate) wasm_bytes: u64,
    pub(crate) seconds: f64,
    /// Functions left to Cranelift.
    pub(crate) fallbacks: u64,
}

impl Stencils {
    fn new(s: StencilStatistics) -> Stencils {
        let StencilStatistics { functions, wasm_bytes, time, fallbacks, .. } = s;
        Stencils { functions, wasm_bytes, seconds: time.as_secs_f64(), fallbacks }
    }

    fn line(&self) -> String {
        format!(
            "\nstencils: {} functions, {} in {}; {} left to Cranelift",
            self.functions,
            bytes(self.wasm_bytes),
            seconds(self.seconds),
            self.fallbacks
        )
    }
}

impl Tiers {
    fn new(t: &TierStatistics) -> Tiers {
        Tiers {
            resumed_functions: t.resumed_functions,
            resumed_bytes: t.resumed_bytes,
            baseline_functions: t.baseline_functions,
            baseline_bytes: t.baseline_bytes,
            optimized_functions: t.optimized_functions,
            optimized_bytes: t.optimized_bytes,
            osr_functions: t.osr_functions,
            osr_bytes: t.osr_bytes,
            osr_entries: t.osr_entries,
            failed: t.failed,
            over_limit: t.over_limit,
            waited_seconds: t.waited.as_secs_f64(),
            background_seconds: t.background.as_secs_f64(),
            stencils: t.stencils.map(Stencils::new),
        }
    }

    fn table(&self) -> String {
        let mut failed = String::new();
        if self.failed > 0 {
            failed += &format!("; {} could not be optimised", self.failed);
        }
        if self.over_limit > 0 {
            failed += &format!("; {} too large to be optimised", self.over_limit);
        }
        format!(
            "\nfrom earlier runs: {} functions, {}\ntier 0: {} functions, {}; tier 1: {}, {}{failed}\n\
             entered at loops: {} bodies, {}, {} times\n\
             waited for code {}; background {}{}",
            self.resumed_functions,
            bytes(self.resumed_bytes),
            self.baseline_functions,
            bytes(self.baseline_bytes),
            self.optimized_functions,
            bytes(self.optimized_bytes),
            self.osr_functions,
            bytes(self.osr_bytes),
            self.osr_entries,
            seconds(self.waited_seconds),
            seconds(self.background_seconds),
            self.stencils.map(|s| s.line()).unwrap_or_default(),
        )
    }
}

impl Explanation {
    /// Takes over what was found in the cache.
    pub(crate) fn cached(&mut self, found: Option<&Found>) {
        self.cached_module = matches!(found, Some(Found::Artifact(_)));
        self.resumed = matches!(found, Some(Found::Outline(_)));
    }

    /// Takes over what the compiler counted.
    pub(crate) fn compiled(&mut self, statistics: &CompileStatistics) {
        self.parse_seconds = statistics.parse.as_secs_f64();
        self.validate_seconds = statistics.validate.as_secs_f64();
        self.translate_seconds = statistics.translate.as_secs_f64();
        self.passes = statistics.passes.iter().map(|(name, time)| (*name, time.as_secs_f64())).collect();
        self.passes_seconds = self.passes.values().fold(0.0, |sum, seconds| sum + seconds);
        self.codegen_seconds = statistics.codegen.as_secs_f64();
        self.link_seconds = statistics.link.as_secs_f64();
        self.cache_seconds = statistics.cache.as_secs_f64();
        self.cache_body_hits = statistics.cache_body_hits;
        self.cache_code_hits = statistics.cache_code_hits;
        self.cache_misses = statistics.cache_misses;
        self.cache_inserts = statistics.cache_inserts;
        self.cache_inserted_bytes = statistics.cache_inserted_bytes;
        self.functions = statistics.functions;
        self.wasm_bytes = statistics.wasm_bytes;
        self.code_bytes = statistics.code_bytes;
        self.unrelaxed_functions = statistics.unrelaxed;
        self.unoptimized_functions = statistics.unoptimized;
        self.tiers = statistics.tiers.as_ref().map(Tiers::new);
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers serialise")
    }

    fn cache(&self) -> String {
        if let Some(problem) = &self.cache_problem {
            return problem.clone();
        }
        if self.cached_module {
            return "the whole module was found".to_owned();
        }
        if self.resumed {
            return "what earlier runs left was found".to_owned();
        }
        let (bodies, code, misses) = (self.cache_body_hits, self.cache_code_hits, self.cache_misses);
        if bodies + code + misses == 0 {
            return String::new();
        }
        let inserted = bytes(self.cache_inserted_bytes);
        format!("{bodies} found by body, {code} by IR, {misses} not found; {inserted} inserted")
    }

    /// A table for people.
    pub(crate) fn table(&self) -> String {
        let compiled = format!(
            "compiled {} functions: {} of wasm to {} of code",
            self.functions,
            bytes(self.wasm_bytes),
            bytes(self.code_bytes)
        );
        let wall = format!("all threads; {} by the clock", seconds(self.compile_wall_seconds));
        let mut passes: Vec<_> = self.passes.iter().filter(|(_, time)| **time > 0.0).collect();
        passes.sort_by(|a, b| b.1.total_cmp(a.1));
        let passes: Vec<String> = passes.iter().map(|(name, time)| format!("{name} {}", seconds(**time))).collect();
        let rows = [
            ("read", self.read_seconds, String::new()),
            ("parse", self.parse_seconds, String::new()),
            ("validate", self.validate_seconds, "all threads".to_owned()),
            ("translate", self.translate_seconds, "all threads".to_owned()),
            ("passes", self.passes_seconds, passes.join(", ")),
            ("codegen", self.codegen_seconds, wall),
            ("cache", self.cache_seconds, self.cache()),
            ("link", self.link_seconds, String::new()),
            ("instantiate", self.instantiate_seconds, String::new()),
            ("run", self.run_seconds, format!("{} of processor time", seconds(self.run_cpu_seconds))),
        ];
        let mut out: String = rows
            .iter()
            .map(|(name, time, note)| format!("{name:<12}{:>12}  {note}", seconds(*time)).trim_end().to_owned() + "\n")
            .collect();
        out.push_str(&format!("{:<12}{:>12}\n", "peak memory", bytes(self.peak_memory_bytes)));
        out.push_str(&compiled);
        if self.unoptimized_functions > 0 {
            out.push_str(&format!("\n{} functions too large to be optimised", self.unoptimized_functions));
        }
        if let Some(tiers) = &self.tiers {
            out.push_str(&tiers.table());
        }
        out
    }
}

fn seconds(s: f64) -> String {
    if s < 1.0 { format!("{:.3} ms", s * 1e3) } else { format!("{s:.3} s") }
}

pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// Runs `f`; its result and the seconds it took.
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = f();
    (result, start.elapsed().as_secs_f64())
}

/// Processor time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Processor time of all threads of this process.
pub(crate) fn process_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Largest resident set of this process so far, in bytes; 0 where the system does not tell.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(seconds(0.0125), "12.500 ms");
        assert_eq!(seconds(2.0), "2.000 s");
        assert_eq!(bytes(1_500_000), "1.5 MB");
    }

    #[test]
    fn both_forms_name_every_phase() {
        let explanation = Explanation { run_seconds: 1.5, ..Explanation::default() };
        let table = explanation.table();
        for phase in [
            "read",
            "parse",
            "validate",
            "translate",
            "passes",
            "codegen",
            "cache",
            "link",
            "instantiate",
            "run",
            "peak memory",
        ] {
            assert!(table.contains(phase), "{table}");
        }
        assert!(explanation.json().contains("\"run_cpu_seconds\":0.0"));
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(peak_memory() > 100_000);
        assert!(thread_cpu_time() > Duration::ZERO);
    }
}
