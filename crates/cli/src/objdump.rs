//! `kiln objdump`: what is in a compiled file.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use kiln_env::FuncKey;
use kiln_env::artifact::{self, CodePart, CodeTables, Header, Meta, Part};
use kiln_env::machine::NO_WASM_OFFSET;
use kiln_env::text::printable;
use object::{Object, ObjectSection, ObjectSymbol};
use serde_json::{Value, json};

use crate::args::Objdump;
use crate::report;

/// Prints it.
pub(crate) fn main(args: &Objdump) -> Result<ExitCode> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let dump = Dump::read(&bytes, args).with_context(|| format!("in {}", args.file.display()))?;
    let text = if args.json { format!("{:#}\n", dump.json()) } else { dump.text() };
    report::give(text.as_bytes()).map(|()| ExitCode::SUCCESS)
}

/// What is to be printed.
struct Dump {
    summary: Vec<(&'static str, String)>,
    sections: Vec<(String, u64, u64)>,
    functions: Vec<Function>,
}

struct Function {
    key: FuncKey,
    /// In the module's index space, if it is one of the module's.
    index: Option<u32>,
    name: String,
    cpu: String,
    start: u32,
    len: u32,
    traps: Option<Vec<(u32, String)>>,
    addresses: Option<Vec<(u32, Option<u64>)>>,
}

impl Dump {
    fn read(bytes: &[u8], args: &Objdump) -> Result<Dump> {
        let header = artifact::read_header(bytes)?;
        artifact::verify(bytes, &header)?;
        let meta = artifact::read_meta(bytes, &header)?;
        let file = object::File::parse(bytes)?;
        let section = |s: object::Section<'_, '_>| Some((s.name().ok()?.to_owned(), s.file_range()?.0, s.size()));
        let sections = file.sections().filter_map(section).collect();
        let functions = functions(bytes, &header, &meta, &file, args);
        if functions.is_empty() && !args.functions.is_empty() {
            bail!("no function is called {}", args.functions.join(" or "));
        }
        Ok(Dump { summary: summary(bytes, &header, &meta)?, sections, functions })
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.summary {
            _ = writeln!(out, "{name:10} {}", printable(value));
        }
        _ = writeln!(out, "\nsections\n    offset      bytes  name");
        for (name, at, size) in &self.sections {
            _ = writeln!(out, "  {at:8x} {size:10}  {}", printable(name));
        }
        _ = writeln!(out, "\nfunctions\n    offset      bytes  name");
        for function in &self.functions {
            let index = function.index.map_or_else(|| function.key.to_string(), |i| i.to_string());
            let cpu = if function.cpu.is_empty() { String::new() } else { format!(" [{}]", function.cpu) };
            _ = writeln!(
                out,
                "  {:8x} {:10}  {index} {}{cpu}",
                function.start,
                function.len,
                printable(&function.name)
            );
            for (offset, trap) in function.traps.iter().flatten() {
                _ = writeln!(out, "      {offset:6x}  {trap}");
            }
            for (offset, operator) in function.addresses.iter().flatten() {
                let operator = operator.map_or_else(|| "none".to_owned(), |o| format!("{o:#x}"));
                _ = writeln!(out, "      {offset:6x}  operator at {operator}");
            }
        }
        out
    }

    fn json(&self) -> Value {
        let summary: serde_json::Map<String, Value> =
            self.summary.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let sections: Vec<Value> =
            self.sections.iter().map(|(name, at, size)| json!({"name": name, "offset": at, "bytes": size})).collect();
        let function = |f: &Function| {
            let mut value = json!({
                "key": f.key.to_string(), "index": f.index, "name": f.name, "offset": f.start, "bytes": f.len,
            });
            if !f.cpu.is_empty() {
                value["cpu"] = json!(f.cpu);
            }
            if let Some(traps) = &f.traps {
                let trap = |(offset, trap): &(u32, String)| json!({"offset": offset, "trap": trap});
                value["traps"] = traps.iter().map(trap).collect();
            }
            if let Some(addresses) = &f.addresses {
                let entry = |(offset, at): &(u32, Option<u64>)| json!({"offset": offset, "operator": at});
                value["addresses"] = addresses.iter().map(entry).collect();
            }
            value
        };
        let functions: Vec<Value> = self.functions.iter().map(function).collect();
        json!({"summary": summary, "sections": sections, "functions": functions})
    }
}

fn summary(bytes: &[u8], header: &Header, meta: &Meta) -> Result<Vec<(&'static str, String)>> {
    let mut out = Vec::new();
    if let Some(name) = &meta.module.name {
        out.push(("module", name.clone()));
    }
    let part = header.part(Part::Source);
    out.push((
        "wasm",
        if meta.has_wasm { format!("{} bytes", part.end - part.start) } else { "not embedded".to_owned() },
    ));
    for parts in &header.variants {
        let found = artifact::bytes_of(bytes, parts[CodePart::Fingerprint as usize].clone());
        let found = artifact::read_fingerprint(found)?;
        let features = found.flags.iter().filter(|(name, value)| name.starts_with("has_") && value == "true");
        let features: Vec<&str> = features.map(|(name, _)| &name["has_".len()..]).collect();
        out.push(("compiler", found.compiler));
        out.push(("target", found.target));
        out.push(("cpu", features.join(" ")));
        out.push(("tunables", format!("{:?}", found.tunables)));
    }
    Ok(out)
}

fn functions(bytes: &[u8], header: &Header, meta: &Meta, file: &object::File<'_>, args: &Objdump) -> Vec<Function> {
    let module = &meta.module;
    let defined = module.funcs.len() - module.num_imported_funcs as usize;
    let bodies = artifact::U32s::new(artifact::bytes_of(bytes, header.part(Part::Bodies)));
    let texts: Vec<_> = file.sections().filter(|s| s.name().is_ok_and(|n| n.starts_with(".text"))).collect();
    let names: std::collections::HashMap<u64, &str> =
        file.symbols().filter_map(|s| Some((s.address(), s.name().ok()?))).collect();
    let mut out = Vec::new();
    for (parts, text) in header.variants.iter().zip(&texts) {
        let tables = CodeTables::new(bytes, parts, defined);
        let cpu = text.name().unwrap_or_default().trim_start_matches(".text").trim_start_matches('.');
        for position in 0..tables.len() {
            let (Some((start, len)), Some(key)) = (tables.func(position), tables.key(position)) else { continue };
            let name = names.get(&(text.address() + u64::from(start))).copied().unwrap_or_default();
            let index = key.body().map(|f| module.func_index(f).0);
            let wanted = |n: &String| n == name || *n == key.to_string() || index.is_some_and(|i| *n == i.to_string());
            if !args.functions.is_empty() && !args.functions.iter().any(wanted) {
                continue;
            }
            // Whoever asks for functions by name wants to know all about them.
            let all = !args.functions.is_empty() && !args.traps && !args.addresses;
            let trap = |s: artifact::Site| Some((s.offset, s.trap?.message().to_owned()));
            let address = |s: artifact::Site| {
                let operator = (s.location? != NO_WASM_OFFSET).then(|| {
                    let frame = tables.positions(position, s.offset).next()?;
                    let body = bodies.get(frame.inlined.or(key.body())?.0 as usize)?;
                    Some(u64::from(body) + u64::from(frame.wasm?))
                });
                Some((s.offset, operator.flatten()))
            };
            out.push(Function {
                key,
                index,
                name: name.to_owned(),
                cpu: if header.variants.len() > 1 && cpu.is_empty() { "lowest".to_owned() } else { cpu.to_owned() },
                start,
                len,
                traps: (all || args.traps).then(|| tables.sites(position).filter_map(trap).collect()),
                addresses: (all || args.addresses).then(|| tables.sites(position).filter_map(address).collect()),
            });
        }
    }
    out
}
