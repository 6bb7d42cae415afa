//! `kiln validate`: whether modules are valid, and whether the compiler takes them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use kiln::{Engine, Module};

use crate::args::Validate;
use crate::run::{locate, open_module};
use crate::{config, report};

/// Checks the modules, all of them whatever the first ones give; fails if one is not valid.
pub(crate) fn main(args: &Validate) -> Result<ExitCode> {
    let Some(engine) = config::engine(&args.groups)? else { return Ok(ExitCode::SUCCESS) };
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        if let Err(error) = check(&engine, file, args.compile) {
            code = report::failure(&error);
        }
    }
    Ok(code)
}

fn check(engine: &Engine, file: &Path, compile: bool) -> Result<()> {
    let bytes = open_module(engine, file)?;
    let checked = if compile {
        Module::from_module_file(engine, bytes).map(drop)
    } else {
        Module::binary_form(bytes.as_ref()).and_then(|binary| Module::validate(engine, &binary))
    };
    checked.map_err(|error| locate(error, file).context(format!("{} is not valid", file.display())))
}
