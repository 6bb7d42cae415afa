//! `kiln explore`: a page that shows a module's operators beside its machine code.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use kiln_env::text::printable;

use crate::args::Explore;
use crate::compile::{operator_at, output, write};
use crate::config;
use crate::disassembly::{self, Instruction};
use crate::run::{locate, read_module};

/// The page around the functions: style and script are in it, so that it needs nothing else.
const PAGE: &str = include_str!("explore.html");
/// What the functions replace in it.
const FUNCTIONS: &str = "<!-- functions -->";
/// What the title replaces in it.
const TITLE: &str = "<!-- title -->";

/// Makes the page.
pub(crate) fn main(args: &Explore) -> Result<ExitCode> {
    let Some(engine) = config::engine(&args.groups)? else { return Ok(ExitCode::SUCCESS) };
    let output = output(args.output.as_deref(), &args.file, "html")?;
    let bytes = read_module(&args.file)?;
    let name = args.file.display().to_string();
    let object = engine
        .compile_object(&bytes, "module")
        .map_err(|error| locate(error, &args.file).context(format!("cannot compile {name}")))?;
    let mut instructions = disassembly::of_object(&object.object)?;
    let mut functions = String::new();
    for function in &object.functions {
        let code = instructions.remove(&function.symbol).unwrap_or_default();
        add_function(&mut functions, function, &code);
    }
    let page = PAGE.replace(TITLE, &escape(&name)).replace(FUNCTIONS, &functions);
    write(&output, page.as_bytes(), false)?;
    Ok(ExitCode::SUCCESS)
}

/// Adds a function: its operators and its instructions, each with the operator's offset in the module as its class.
fn add_function(out: &mut String, function: &kiln::CompiledFunction, code: &[Instruction]) {
    let len = function.code.end - function.code.start;
    _ = writeln!(
        out,
        "<details><summary>{} <small>{} operators, {len} bytes of code</small></summary><div class=pair><ol class=wat>",
        escape(&function.name),
        function.wat.len()
    );
    for (offset, depth, text) in &function.wat {
        let indent = "  ".repeat(*depth);
        _ = writeln!(out, "<li data-op={offset:x}><i>{offset:x}</i>{indent}{}</li>", escape(text));
    }
    out.push_str("</ol><ol class=asm>\n");
    for instruction in code.iter().filter(|i| i.offset < len) {
        let operator = operator_at(&function.operators, instruction.offset);
        let data = operator.map(|o| format!(" data-op={o:x}")).unwrap_or_default();
        _ = writeln!(out, "<li{data}><i>{:x}</i>{}</li>", instruction.offset, escape(&instruction.text));
    }
    out.push_str("</ol></div></details>\n");
}

/// Text for the page: without markup, and without characters that change how others are shown.
fn escape(text: &str) -> String {
    printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
