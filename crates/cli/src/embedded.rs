//! Executables that contain a program: this command with an artifact behind it.
//!
//! In the executable's data there is a mark, all zeroes but for its name in the command as it is built; `kiln compile --emit
//! exe` writes into a copy where the artifact is and how it is to be run.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use kiln::Config;

use crate::args::{Args, Command};
use crate::options::{self, Asked, UsageError};
use crate::run;

const NAME: usize = 16;
const MARK: usize = NAME + 24;
/// Artifacts begin at multiples of this, to be mapped.
const ALIGN: usize = 4096;

/// The mark: a name, and three numbers: where the artifact begins, how long it is, and how long the options behind it are.
#[used]
static PROGRAM: [u8; MARK] = *b"kiln-program-at:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A program in this executable.
pub(crate) struct Program {
    artifact: Range<u64>,
    options: Range<u64>,
}

impl Program {
    /// The one that there is, if there is one.
    pub(crate) fn own() -> Option<Program> {
        // Whoever compiles this must not take the zeroes for granted.
        let mark = black_box(&PROGRAM);
        let number = |i: usize| mark[NAME + 8 * i..].first_chunk().map(|b| u64::from_le_bytes(*b));
        let (start, artifact, options) = (number(0)?, number(1)?, number(2)?);
        let middle = start.checked_add(artifact)?;
        (start > 0).then(|| Program { artifact: start..middle, options: middle..middle.saturating_add(options) })
    }

    /// Runs it with the arguments of this process.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let options: Vec<String> =
            serde_json::from_slice(&read(&self.options)?).context("this executable's options are damaged")?;
        let mut own = std::env::args_os();
        let name = own.next().unwrap_or_else(|| "program".into());
        match Args::parse_from(command_line(&options, name).chain(own)).command {
            Some(Command::Run(run)) => run::main(run, Some(self.artifact)),
            _ => bail!("this executable's options are damaged"),
        }
    }
}

/// The command line that stands for an executable of this name.
fn command_line(options: &[String], name: OsString) -> impl Iterator<Item = OsString> {
    // Login shells are called by names that look like options.
    let line = ["kiln", "run"].into_iter().chain(options.iter().map(String::as_str)).chain(["--"]);
    line.map(OsString::from).chain([name])
}

/// Checks options of `kiln run` that are to hold whenever an executable runs.
pub(crate) fn check_options(options: &[String]) -> Result<(), UsageError> {
    let name = OsString::from("program");
    let run = match Args::try_parse_from(command_line(options, name.clone())).map(|args| args.command) {
        Ok(Some(Command::Run(run))) => run,
        Ok(_) => return Err(UsageError("options behind `--` must be those of `kiln run`".to_owned())),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            return Err(UsageError(format!("options behind `--` must be those of `kiln run`: {first}")));
        }
    };
    if run.file_and_args != [name] {
        let given = run.file_and_args[0].display();
        return Err(UsageError(format!(
            "`{given}` behind `--` is no option; arguments are given when the program runs"
        )));
    }
    match options::read(&run.groups, Config::feature_names())? {
        Asked::Go(_) => Ok(()),
        Asked::Help(_) => Err(UsageError("`help` is not for programs".to_owned())),
    }
}

/// Bytes of the running executable.
pub(crate) fn read(range: &Range<u64>) -> Result<Vec<u8>> {
    let file = File::open("/proc/self/exe").context("cannot read the running program")?;
    let found = file.metadata()?.len();
    if range.start > range.end || range.end > found {
        bail!("the program is truncated: it should have {} bytes, but has {found}", range.end);
    }
    let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// An executable that runs an artifact with these options of `kiln run`.
pub(crate) fn executable(artifact: &[u8], options: &[String]) -> Result<Vec<u8>> {
    let mut exe = fs::read("/proc/self/exe").context("cannot read the running program")?;
    let name = &black_box(&PROGRAM)[..NAME];
    let mut places = exe.windows(MARK).enumerate().filter(|(_, w)| w.starts_with(name) && w[NAME..] == [0; 24]);
    let (Some((at, _)), None) = (places.next(), places.next()) else {
        bail!("this build of Kiln cannot be made into other executables: its mark is not there once");
    };
    let options = serde_json::to_vec(options)?;
    let start = exe.len().next_multiple_of(ALIGN);
    let numbers = [start, artifact.len(), options.len()];
    let numbers: Vec<u8> = numbers.iter().flat_map(|n| (*n as u64).to_le_bytes()).collect();
    exe[at + NAME..at + MARK].copy_from_slice(&numbers);
    exe.resize(start, 0);
    exe.extend_from_slice(artifact);
    exe.extend(options);
    Ok(exe)
}
