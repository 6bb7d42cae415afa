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
mod refine;
mod report;
mod run;
mod scripts;
mod settings;
mod validate;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
