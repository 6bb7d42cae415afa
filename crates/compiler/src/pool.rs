//! Threads that share out pieces of work.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{CompileError, Result};

/// Bytes of stack of a pool's threads. Cranelift is not deeply recursive, but its verifier and printers have long frames
/// in debug builds; untouched stack costs nothing.
const STACK_BYTES: usize = 8 << 20;

/// A pool of threads, started when it is first needed.
pub(crate) struct Pool {
    threads: usize,
    /// Decides an order in place of the given ones.
    seed: Option<u64>,
    pool: OnceLock<Option<rayon::ThreadPool>>,
}

impl Pool {
    /// A pool of this many threads; 0 stands for as many as the machine runs at once. `seed`: see
    /// [`CompilerConfig::work_order`](crate::CompilerConfig::work_order).
    pub(crate) fn new(threads: usize, seed: Option<u64>) -> Result<Pool> {
        let available = || std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = if threads == 0 { available() } else { threads };
        if threads > 1024 {
            return Err(CompileError::config(format_args!("{threads} compiler threads are too many (at most 1024)")));
        }
        Ok(Pool { threads, seed, pool: OnceLock::new() })
    }

    /// How many threads work at once.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// The results of `work` for `0..order.len()`, in order. At most `max_threads` threads take the next number of
    /// `order` whenever they are free, each with its own `state`. Blocks until all is done; a panic of `work` is passed on.
    pub(crate) fn map<S, R: Send + Sync>(
        &self,
        max_threads: usize,
        order: &[u32],
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, u32) -> R + Sync,
    ) -> Vec<R> {
        let threads = self.threads.min(max_threads).min(order.len());
        let shuffled = self.seed.map(|seed| shuffle(order, seed));
        let order = shuffled.as_deref().unwrap_or(order);
        let pool = if threads > 1 { self.start() } else { None };
        let mut results: Vec<OnceLock<R>> = Vec::new();
        results.resize_with(order.len(), OnceLock::new);
        let next = AtomicUsize::new(0);
        let run = |_| {
            let mut state = state();
            while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Each number stands in the order once.
                let _ = results[i as usize].set(work(&mut state, i));
            }
        };
        match pool {
            None => run(0),
            Some(pool) => pool.install(|| {
                use rayon::prelude::*;
                (0..threads).into_par_iter().with_max_len(1).for_each(run);
            }),
        }
        results.into_iter().map(|r| r.into_inner().expect("every number stands in the order")).collect()
    }

    /// The threads, or `None` where the system refuses them: then the caller works alone.
    fn start(&self) -> Option<&rayon::ThreadPool> {
        let build = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(self.threads)
                .stack_size(STACK_BYTES)
                .thread_name(|i| format!("kiln-compile-{i}"))
                .build()
        };
        self.pool.get_or_init(|| build().inspect_err(|e| tracing::warn!("compiling on one thread: {e}")).ok()).as_ref()
    }
}

/// The same numbers in an order that the seed decides.
fn shuffle(order: &[u32], seed: u64) -> Vec<u32> {
    let mut shuffled = order.to_vec();
    shuffled.sort_by_cached_key(|i| *blake3::hash(&(seed ^ u64::from(*i) << 32).to_le_bytes()).as_bytes());
    shuffled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_for_any_number_of_threads() {
        for threads in [1, 2, 7] {
            for seed in [None, Some(1), Some(2)] {
                let pool = Pool::new(threads, seed).unwrap();
                let order: Vec<u32> = (0..1000).rev().collect();
                let squares = pool.map(usize::MAX, &order, || (), |(), i| i * i);
                assert!(squares.iter().zip(0..).all(|(s, i)| *s == i * i));
            }
        }
        assert!(Pool::new(4000, None).is_err());
        let order: Vec<u32> = (0..100).collect();
        assert!(shuffle(&order, 1) != order && shuffle(&order, 1) != shuffle(&order, 2));
    }
}
