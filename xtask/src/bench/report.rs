//! Medians, ratios and geometric means, as a table and as JSON.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::Sample;
use super::engines::Engine;
use super::measure::Measured;
use super::suites::Job;
use crate::table;

/// What the tables compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Metric {
    /// Processor time of all threads
    Cpu,
    /// Wall clock time
    Wall,
    /// Largest resident set
    Memory,
}

impl Metric {
    fn of(self, m: &Measured) -> f64 {
        match self {
            Metric::Cpu => m.cpu,
            Metric::Wall => m.wall,
            Metric::Memory => m.memory as f64,
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Metric::Cpu | Metric::Wall => table::seconds(value),
            Metric::Memory => table::bytes(value as u64),
        }
    }
}

/// Prints a table for each suite: a row for each job, two columns for each engine: median, and ratio to the last.
pub(super) fn print(engines: &[Engine], jobs: &[Job], samples: &[Sample], metric: Metric) {
    let mut suites: Vec<_> = jobs.iter().map(|j| j.suite).collect();
    suites.dedup();
    for suite in suites {
        let mut heading = vec![format!("{suite} ({metric:?})").to_lowercase()];
        for engine in engines {
            heading.extend([engine.name.clone(), "ratio".to_owned()]);
        }
        let mut rows = vec![heading];
        let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); engines.len()];
        for job in jobs.iter().filter(|j| j.suite == suite) {
            let medians: Vec<Option<f64>> = engines.iter().map(|e| median_of(samples, job, &e.name, metric)).collect();
            let base = medians.last().copied().flatten();
            let mut row = vec![job.name.clone()];
            for (i, median) in medians.iter().enumerate() {
                let ratio = median.zip(base).map(|(m, b)| m / b);
                ratios[i].extend(ratio);
                row.push(median.map_or("failed".to_owned(), |m| metric.show(m)));
                row.push(ratio.map_or(String::new(), |r| format!("{r:.2}")));
            }
            rows.push(row);
        }
        let mut last = vec!["geometric mean".to_owned()];
        for r in &ratios {
            last.extend([String::new(), geometric_mean(r).map_or(String::new(), |m| format!("{m:.3}"))]);
        }
        rows.push(last);
        println!();
        table::lines(&rows).iter().for_each(|l| println!("{l}"));
    }
    print_failures(samples);
}

fn print_failures(samples: &[Sample]) {
    let mut lines: Vec<String> = samples
        .iter()
        .filter_map(|s| s.outcome.as_ref().err().map(|e| format!("{} on {}/{}: {e}", s.engine, s.suite, s.job)))
        .collect();
    lines.sort();
    lines.dedup();
    for line in lines {
        println!("failed: {line}");
    }
}

fn median_of(samples: &[Sample], job: &Job, engine: &str, metric: Metric) -> Option<f64> {
    let same = |s: &&Sample| s.suite == job.suite && s.job == job.name && s.engine == engine;
    let outcomes: Option<Vec<f64>> =
        samples.iter().filter(same).map(|s| s.outcome.as_ref().ok().map(|m| metric.of(m))).collect();
    median(outcomes?)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[n / 2]),
        _ => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
    }
}

fn geometric_mean(values: &[f64]) -> Option<f64> {
    let positive: Vec<f64> = values.iter().copied().filter(|v| *v > 0.0).collect();
    (!positive.is_empty()).then(|| (positive.iter().map(|v| v.ln()).sum::<f64>() / positive.len() as f64).exp())
}

/// Everything that was measured.
pub(super) fn json(engines: &[Engine], samples: &[Sample]) -> String {
    let engines: Vec<Value> = engines.iter().map(|e| json!({"name": e.name, "version": e.version})).collect();
    let samples: Vec<Value> = samples
        .iter()
        .map(|s| {
            let base = json!({"suite": s.suite.to_string(), "job": s.job, "engine": s.engine, "round": s.round});
            let more = match &s.outcome {
                Ok(m) => json!({"wall_seconds": m.wall, "cpu_seconds": m.cpu, "peak_memory_bytes": m.memory}),
                Err(error) => json!({"error": error}),
            };
            let (Value::Object(mut base), Value::Object(more)) = (base, more) else { return Value::Null };
            base.extend(more);
            Value::Object(base)
        })
        .collect();
    format!("{:#}\n", json!({"engines": engines, "samples": samples}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
        assert_eq!(median(Vec::new()), None);
        assert!((geometric_mean(&[0.5, 2.0]).unwrap() - 1.0).abs() < 1e-12);
    }
}
