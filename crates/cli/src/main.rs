//! The `kiln` command: runs WebAssembly programs.
#![forbid(unsafe_code)]

mod args;
mod cache;
mod compile;
mod config;
mod disassembly;
mod embedded;
mod explain;
mod explore;
mod invoke;
mod objdump;
mod options;
mod progress;
mod reach;
mod refine;
mod report;
mod run;
mod scripts;
mod settings;
mod timeout;
mod validate;
mod verify;

use std::process::ExitCode;
use std::thread;

use clap::{CommandFactory, Parser};

use args::{Args, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of stack for all but the program and the compiler, which have stacks of their own: what systems usually give to the
/// main thread.
const STACK: u64 = 8 << 20;

fn main() -> ExitCode {
    match rustix::process::getrlimit(rustix::process::Resource::Stack).current {
        // Whoever starts this decides how much the main thread has, which may be too little to read the command line.
        Some(bytes) if bytes < STACK => {
            let command = thread::Builder::new().name("command".to_owned()).stack_size(STACK as usize).spawn(command);
            match command.map(thread::JoinHandle::join) {
                Ok(Ok(code)) => code,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => report::failure(&anyhow::Error::from(error).context("cannot start a thread")),
            }
        }
        _ => command(),
    }
}

#[inline(never)]
fn command() -> ExitCode {
    kiln::survive_file_size_limit();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !kiln::claims_panic(info) {
            print(info);
        }
    }));
    if let Some(own) = embedded::Program::own() {
        return own.run().unwrap_or_else(|error| report::failure(&error));
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => match config::list_asked_for() {
            Some(list) => {
                return report::give(list.as_bytes()).map_or_else(|e| report::failure(&e), |()| ExitCode::SUCCESS);
            }
            None => return report::command_line(&error),
        },
    };
    let result = match args.command {
        Some(Command::Run(run)) => run::main(run, None),
        Some(Command::Compile(compile)) => compile::main(&compile),
        Some(Command::Objdump(objdump)) => objdump::main(&objdump),
        Some(Command::Verify(verify)) => verify::main(&verify),
        Some(Command::Explore(explore)) => explore::main(&explore),
        Some(Command::Wast(wast)) => scripts::main(&wast),
        Some(Command::Validate(validate)) => validate::main(&validate),
        Some(Command::Cache(cache)) => cache::main(&cache),
        Some(Command::Settings(settings)) => settings::main(&settings),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "kiln", &mut script);
            report::give(&script).map(|()| ExitCode::SUCCESS)
        }
        None => run::main(args.run, None),
    };
    result.unwrap_or_else(|error| report::failure(&error))
}
