//! Running one process and asking the system what it took.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wait4::Wait4;

/// A process to run.
pub(super) struct Step {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) folder: PathBuf,
    pub(super) stdin: Option<PathBuf>,
    /// Whether standard error holds the time of the run proper, as `kiln run --explain=json` prints it.
    pub(super) explains: bool,
}

/// What a process took and gave.
pub(super) struct Measured {
    /// Wall clock time, in seconds.
    pub(super) wall: f64,
    /// Processor time of all threads, in seconds; of the guest alone where the engine tells.
    pub(super) cpu: f64,
    /// Largest resident set, in bytes.
    pub(super) memory: u64,
    /// Exit code; 128 plus the number of a signal.
    pub(super) exit: i32,
    pub(super) stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Measured {
    /// The last line of standard error, for messages.
    pub(super) fn stderr_end(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").chars().take(200).collect()
    }
}

impl Step {
    /// Runs the process; after `timeout` seconds it is ended, and its exit code tells so.
    pub(super) fn run(&self, timeout: f64) -> Result<Measured> {
        let stdin = match &self.stdin {
            Some(path) => File::open(path).with_context(|| format!("cannot open {}", path.display()))?.into(),
            None => Stdio::null(),
        };
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.program.display()))?;
        let stdout = drain(child.stdout.take().context("no pipe")?);
        let stderr = drain(child.stderr.take().context("no pipe")?);
        let pid = child.id();
        let (done, is_done) = mpsc::channel::<()>();
        let watch = thread::spawn(move || {
            if is_done.recv_timeout(Duration::from_secs_f64(timeout)) == Err(mpsc::RecvTimeoutError::Timeout) {
                _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
        });
        let used = child.wait4().context("cannot wait for the process")?;
        let wall = start.elapsed().as_secs_f64();
        drop(done);
        _ = watch.join();
        let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        let whole = (used.rusage.utime + used.rusage.stime).as_secs_f64();
        let cpu = if self.explains { guest_cpu(&stderr).unwrap_or(whole) } else { whole };
        let exit = exit_code(used.status);
        Ok(Measured { wall, cpu, memory: used.rusage.maxrss, exit, stdout, stderr })
    }
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|s| 128 + s)).unwrap_or(-1)
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// The processor time of the guest in the report that ends standard error.
fn guest_cpu(stderr: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(stderr).ok()?;
    let line = text.lines().rev().find(|l| l.starts_with('{'))?;
    let report: serde_json::Value = serde_json::from_str(line).ok()?;
    report.get("run_cpu_seconds")?.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(script: &str) -> Step {
        let args = ["-c", script].map(OsString::from).to_vec();
        Step { program: "/bin/sh".into(), args, folder: ".".into(), stdin: None, explains: false }
    }

    #[test]
    fn output_and_exit_code() {
        let done = step("echo out; echo err >&2; exit 3").run(10.0).unwrap();
        assert_eq!((done.exit, done.stdout.as_slice(), done.stderr_end().as_str()), (3, &b"out\n"[..], "err"));
        assert!(done.wall > 0.0 && done.memory > 100_000);
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        assert_eq!(step("exec sleep 30").run(0.1).unwrap().exit, 128 + 9);
    }

    #[test]
    fn guest_time() {
        assert_eq!(guest_cpu(b"noise\n{\"run_cpu_seconds\": 1.5}\n"), Some(1.5));
        assert_eq!(guest_cpu(b"noise\n"), None);
    }
}
