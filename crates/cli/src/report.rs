//! What goes wrong, told on standard error, and the exit code that follows from it.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Error, Result};
use kiln::WasmBacktrace;
use kiln_env::text::printable_lines;
use kiln_wasi::I32Exit;

use crate::options::UsageError;

/// Exit code of a program that trapped, as if it had been ended by SIGABRT.
pub(crate) const TRAPPED: u8 = 134;
/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;

const NOT_WRITTEN: &str = "cannot write to standard output";

/// Whether standard error takes colours.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Writes a line to standard error, without characters that would change how a terminal shows it. If nobody reads it,
/// nothing is lost.
pub(crate) fn note(text: &str) {
    _ = writeln!(std::io::stderr(), "{}", printable_lines(text));
}

/// Writes what a command gives to standard output. A reader that has gone away wants no more of it.
pub(crate) fn give(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context(NOT_WRITTEN),
        _ => Ok(()),
    }
}

/// Writes what is wrong with a command line to standard error; or to standard output the help or version that it asks for.
pub(crate) fn command_line(error: &clap::Error) -> ExitCode {
    let written = error.print().and_then(|()| std::io::stdout().flush());
    match written {
        Err(e) if !error.use_stderr() && e.kind() != ErrorKind::BrokenPipe => {
            failure(&Error::from(e).context(NOT_WRITTEN))
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE)),
    }
}

/// The exit code of a program that ended with this error; tells what happened unless the program chose its end itself.
pub(crate) fn failure(error: &Error) -> ExitCode {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return ExitCode::from(exit.process_exit_code());
    }
    _ = writeln!(std::io::stderr(), "{}", text(error, colours()));
    ExitCode::from(exit_code(error))
}

fn exit_code(error: &Error) -> u8 {
    if error.is::<UsageError>() {
        USAGE
    } else if error.is::<kiln::Trap>() || error.is::<kiln::ThrownException>() {
        TRAPPED
    } else {
        1
    }
}

/// The error and what caused it, outermost first, each on its own line; then where wasm was.
fn text(error: &Error, colours: bool) -> String {
    let head = if colours { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if backtrace.as_ref() == Some(&cause) {
            continue;
        }
        // Layers that only repeat what is inside them say nothing new.
        match lines.last_mut() {
            Some(last) if last.ends_with(&cause) => {}
            _ => lines.push(cause),
        }
    }
    let mut text = format!("{head} {}", printable_lines(&lines.join("\n  caused by: ")));
    if let Some((_, frames)) = backtrace.as_ref().and_then(|b| b.split_once('\n')) {
        text.push('\n');
        text.push_str(frames);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_follow_each_other() {
        let error = Err::<(), _>(anyhow!("inner")).context("outer").unwrap_err();
        assert_eq!(text(&error, false), "error: outer\n  caused by: inner");
        let error = Err::<(), _>(anyhow!("inner")).context("outer: inner").unwrap_err();
        assert_eq!(text(&error, false), "error: outer: inner");
    }

    #[test]
    fn exit_codes() {
        assert_eq!(exit_code(&anyhow!("x")), 1);
        assert_eq!(exit_code(&UsageError("x".to_owned()).into()), 2);
        let trap = Error::from(kiln::Trap::IntegerOverflow).context("while running");
        assert_eq!(exit_code(&trap), 134);
    }
}
