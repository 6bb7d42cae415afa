//! What a program used is optimised when it has ended, by a process of the lowest priority: its next run finds it done.
//!
//! Only one such process is at a module, and meanwhile nobody else changes what the cache has of it: it holds a lock on the
//! module's outline, of which those who leave something have a share.

use std::path::{Path, absolute};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kiln::{Engine, ModuleFile};

use crate::args::{Groups, Tier};
use crate::cache::{self, Outline, UserCache};
use crate::config;
use crate::options::Refine;

/// Functions that were used less in all runs together are left as they are.
const LEAST_USES: u32 = 8;

/// Nothing more is compiled after so long.
const LONGEST: Duration = Duration::from_secs(180);

/// A file that is older does not count as written just now.
const YOUNG: Duration = Duration::from_millis(40);

/// How far it stands back behind other processes: as far as possible.
const NICENESS: i32 = 19;

/// Starts the process for a module with this file and place in the cache. It outlives this one, which may `wait` for it,
/// however.
pub(crate) fn begin(groups: &Groups, place: &Path, file: &Path, wait: bool) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["cache", "refine"]);
    let lists = [("-W", &groups.wasm), ("-O", &groups.optimize), ("-C", &groups.codegen), ("-D", &groups.debug)];
    for (flag, values) in lists {
        values.iter().for_each(|value| _ = command.arg(flag).arg(value));
    }
    command
        .arg("--")
        .arg(absolute(place)?)
        .arg(file.canonicalize()?)
        .env("KILN_CACHE_DIR", absolute(cache::folder()?)?);
    // Nobody is to wait for it because it has something of theirs open, nor to end it with the program.
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    command.stderr(if wait { Stdio::inherit() } else { Stdio::null() });
    kiln::close_files_on_exec()?;
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command.spawn()?)
}

/// `kiln cache refine`: what that process does.
pub(crate) fn main(groups: &Groups, place: &Path, file: &Path) -> Result<ExitCode> {
    let groups = Groups { tier: Some(Tier::Dynamic), ..groups.clone() };
    let Some(options) = config::options(&groups)? else { return Ok(ExitCode::SUCCESS) };
    if options.codegen.refine != Some(Refine::Wait) {
        // Where this is refused, it does as well without. On Linux it is about this thread and those that it starts.
        _ = rustix::process::setpriority_process(None, NICENESS);
    }
    let mut config = config::config(&groups, &options)?;
    let cache = UserCache::attach(&mut config, &groups, &options);
    let outline = Outline::beside(place);
    let Some(_lock) = outline.lock()? else { return Ok(ExitCode::SUCCESS) };
    config.defer_compiler(true);
    cache.identify(file).with_context(|| format!("cannot read {}", file.display()))?;
    let engine = Engine::new(&config)?;
    let open = || ModuleFile::open(&engine, file).with_context(|| format!("cannot read {}", file.display()));
    let module = outline.resume(&engine, open()?)?;
    let snapshot = module.refined_snapshot(LEAST_USES, Instant::now() + LONGEST)?;
    let is_new = snapshot.is_some();
    cache.keep_refined(&outline, snapshot)?;
    if is_new {
        // The next run is to find that the file was checked, which is not noted of those that were written just now.
        std::thread::sleep(YOUNG);
        outline.resume(&engine, open()?)?;
    }
    Ok(ExitCode::SUCCESS)
}
