//! A bar on the terminal while a large module compiles.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln::Config;

/// What compiles faster than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar that appears on standard error, if that is a terminal, when compilation takes long. Cleared when dropped.
pub(crate) struct Progress {
    bar: Option<Arc<Mutex<Option<ProgressBar>>>>,
}

impl Progress {
    /// Has engines of this configuration report to the bar.
    pub(crate) fn watch(config: &mut Config) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress { bar: None };
        }
        let bar = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&bar);
        let start = Instant::now();
        config.compile_progress(move |done, total| {
            if start.elapsed() < PATIENCE {
                return;
            }
            // A worker that finds the bar in use has nothing newer to say.
            if let Ok(mut bar) = shared.try_lock() {
                bar.get_or_insert_with(|| new_bar(total)).set_position(done);
            }
        });
        Progress { bar: Some(bar) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.as_ref().and_then(|b| b.lock().ok()?.take()) {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "compiling [{bar:30}] {percent:>3} % of {total_bytes} {eta}";
    let style = ProgressStyle::with_template(template).expect("the template is sound").progress_chars("=> ");
    bar.set_style(style);
    bar
}
