//! `kiln validate`: whether modules are valid, and whether the compiler takes them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use kiln::{Engine, Module, ModuleFile};

use crate::args::Validate;
use crate::{config, report};

/// Checks the modules, all of them whatever the first ones give; fails if one is not valid.
pub(crate) fn main(args: &Validate) -> Result<ExitCode> {
    let Some(engine) = config::engine(&args.groups)? else { return Ok(ExitCode::SUCCESS) };
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        if let Err(error) = check(&engine, file, args.compile) {
            code = report::failure(&error.context(file.display().to_string()));
        }
    }
    Ok(code)
}

fn check(engine: &Engine, file: &Path, compile: bool) -> Result<()> {
    let file = ModuleFile::open(engine, file).context("cannot read it")?;
    if compile {
        Module::from_module_file(engine, file).map(drop)
    } else {
        Module::validate(engine, &wat::parse_bytes(file.as_ref())?)
    }
}
