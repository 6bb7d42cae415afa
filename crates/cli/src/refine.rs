//! What a program used is optimised when it has ended, by a process of the lowest priority: its next run finds it done.
//!
//! There is one such process for a user. It takes modules from those that wait in the cache, one after the other, and starts a
//! process for each, which has limits of its own. Meanwhile nobody else changes what the cache has of the module: that process
//! holds a lock on the module's outline, of which those who leave something have a share.

use std::ffi::{OsStr, OsString};
use std::path::{Path, absolute};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use kiln::{Engine, ModuleFile, Trap};
use kiln_cache::{Added, Refinement};
use kiln_env::limits::{MAX_REFINE_MEMORY, MAX_REFINE_SECONDS};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::{self, Groups, Tier};
use crate::cache::{self, Outline, UserCache};
use crate::config;
use crate::options::{Options, Refine};

/// Functions that were used less in all runs together are left as they are.
const LEAST_USES: u32 = 8;

/// Nothing more is compiled after so long, where somebody waits for it.
const LONGEST: Duration = Duration::from_secs(180);

/// A file that is older does not count as written just now.
const YOUNG: Duration = Duration::from_millis(40);

/// How far it stands back behind other processes: as far as possible.
const NICENESS: i32 = 19;

/// What a module gets at least whose program came to the end of less: a start alone takes that.
const LEAST_SECONDS: u64 = 1;
const LEAST_MEMORY: u64 = 256 << 20;

/// Has a module optimised that has this place in the cache and this file; `error` is what its program ended with. That is done
/// by a process that outlives this one, which may `wait` for it, however.
pub(crate) fn begin(
    groups: &Groups,
    options: &Options,
    (place, file): (&Path, &Path),
    error: Option<&Error>,
    wait: bool,
) -> Result<()> {
    let (place, file) = (absolute(place)?, file.canonicalize()?);
    let (seconds, memory) = limits(options, error);
    let module = Refinement { place, file, seconds, memory, options: arguments(groups) };
    if wait {
        // It says itself what is wrong.
        spawn(&worker(&module), true)?.wait()?;
        return Ok(());
    }
    let waits = cache::refinements()?;
    if waits.add(&module, cache::now())? == Added::Waiting && !waits.is_running() {
        spawn(&[], false)?;
    }
    Ok(())
}

/// Seconds and bytes for a program's module. What it was not allowed to take when it ran is not taken for it afterwards.
fn limits(options: &Options, error: Option<&Error>) -> (u64, u64) {
    let (mut seconds, mut memory) = (MAX_REFINE_SECONDS, MAX_REFINE_MEMORY.min(machine_memory() / 2));
    if let Some(error) = error {
        let is_late = error.downcast_ref() == Some(&Trap::Interrupt);
        if let Some(timeout) = options.wasm.timeout.filter(|_| is_late) {
            seconds = seconds.min(timeout.as_secs()).max(LEAST_SECONDS);
        }
        if let Some(bytes) = options.wasm.max_memory_size {
            memory = memory.min(bytes);
        }
    }
    (seconds, memory.max(LEAST_MEMORY))
}

/// Bytes of memory of this machine; as good as endless if the system does not say.
fn machine_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB")?.trim().parse().ok());
    total.map_or(u64::MAX, |kilobytes: u64| kilobytes.saturating_mul(1024))
}

/// Options of the command line that decide about code.
fn arguments(groups: &Groups) -> Vec<OsString> {
    let lists = [("-W", &groups.wasm), ("-O", &groups.optimize), ("-C", &groups.codegen), ("-D", &groups.debug)];
    let arguments = lists.into_iter().flat_map(|(flag, values)| values.iter().flat_map(move |value| [flag, value]));
    arguments.map(OsString::from).collect()
}

/// Arguments of the process for one module.
fn worker(module: &Refinement) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--seconds".into(),
        module.seconds.to_string().into(),
        "--memory".into(),
        module.memory.to_string().into(),
    ];
    arguments.extend(module.options.iter().cloned());
    arguments.extend([OsStr::new("--"), module.place.as_os_str(), module.file.as_os_str()].map(OsStr::to_owned));
    arguments
}

/// Starts `kiln cache refine`.
fn spawn(arguments: &[OsString], says_what_is_wrong: bool) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["cache", "refine"]).args(arguments).env("KILN_CACHE_DIR", absolute(cache::folder()?)?);
    // Nobody is to wait for it because it has something of theirs open, nor to end it with the program.
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    command.stderr(if says_what_is_wrong { Stdio::inherit() } else { Stdio::null() });
    kiln::close_files_on_exec()?;
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command.spawn()?)
}

/// `kiln cache refine`: what these processes do.
pub(crate) fn main(refine: &args::Refine) -> Result<ExitCode> {
    // What lists of processes show.
    _ = rustix::thread::set_name(c"kiln-refine");
    match &refine.place_and_file[..] {
        [place, file] => one(refine, place, file)?,
        _ => all()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Works on what waits until nothing does.
fn all() -> Result<()> {
    // Where this is refused, it does as well without. On Linux it is about this thread and those that it starts.
    _ = rustix::process::setpriority_process(None, NICENESS);
    let waits = cache::refinements()?;
    // What was added after this process has found nothing, but before others could see that it is at its end, waits for it.
    while !waits.is_empty() {
        let Some(refiner) = waits.begin()? else { break };
        while let Some(module) = refiner.next(cache::now())? {
            waits.note_try(&module.place, cache::now())?;
            if spawn(&worker(&module), false)?.wait()?.success() {
                waits.forgive(&module.place)?;
            }
        }
    }
    Ok(())
}

fn one(refine: &args::Refine, place: &Path, file: &Path) -> Result<()> {
    let groups = Groups { tier: Some(Tier::Dynamic), ..refine.groups.clone() };
    let Some(options) = config::options(&groups)? else { return Ok(()) };
    let longest = match options.codegen.refine {
        Some(Refine::Wait) => LONGEST,
        // Its processor time is limited, of which a busy machine gives it little.
        _ => Duration::from_secs(MAX_REFINE_SECONDS),
    };
    limit(Resource::Cpu, refine.seconds)?;
    limit(Resource::Data, refine.memory)?;
    limit(Resource::Core, 0)?;
    ensure!(place.starts_with(absolute(cache::folder()?)?), "{} is not in the cache", place.display());
    let mut config = config::config(&groups, &options)?;
    let cache = UserCache::attach(&mut config, &groups, &options);
    let outline = Outline::beside(place);
    let _lock = outline.lock().context("no run has left anything of the module")?;
    config.defer_compiler(true);
    cache.identify(file).with_context(|| format!("cannot read {}", file.display()))?;
    let engine = Engine::new(&config)?;
    let open = || ModuleFile::open(&engine, file).with_context(|| format!("cannot read {}", file.display()));
    let module = outline.resume(&engine, open()?)?;
    let snapshot = module.refined_snapshot(LEAST_USES, Instant::now() + longest)?;
    let is_new = snapshot.is_some();
    cache.keep_refined(&outline, snapshot)?;
    if is_new {
        // The next run is to find that the file was checked, which is not noted of those that were written just now.
        std::thread::sleep(YOUNG);
        outline.resume(&engine, open()?)?;
    }
    Ok(())
}

/// Has the system end this process when it takes more of something.
fn limit(resource: Resource, most: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(resource);
    let current = Some(current.map_or(most, |before| before.min(most)));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}
