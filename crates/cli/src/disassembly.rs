//! Machine code as text, by `objdump`.

use std::collections::HashMap;
use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// An instruction.
pub(crate) struct Instruction {
    /// Offset from the start of its function.
    pub(crate) offset: u64,
    /// In the assembler's notation.
    pub(crate) text: String,
}

/// The instructions of an object's functions, by symbol.
///
/// # Errors
/// There is no `objdump`, or it does not know the object's target.
pub(crate) fn of_object(object: &[u8]) -> Result<HashMap<String, Vec<Instruction>>> {
    let mut file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    file.write_all(object)?;
    let output =
        Command::new("objdump").args(["-d", "-w", "--no-show-raw-insn", "--section=.text"]).arg(file.path()).output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no `objdump` on PATH, which turns machine code into text; it is part of GNU binutils")
        }
        other => other.context("cannot run `objdump`")?,
    };
    if !output.status.success() {
        bail!("`objdump` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads what `objdump` prints: `ADDRESS <SYMBOL>:` and then `ADDRESS:\tINSTRUCTION` for each.
fn parse(text: &str) -> HashMap<String, Vec<Instruction>> {
    let mut functions: HashMap<String, Vec<Instruction>> = HashMap::new();
    let mut current: Option<(String, u64)> = None;
    for line in text.lines() {
        if let Some((address, symbol)) = line.strip_suffix(">:").and_then(|l| l.split_once(" <")) {
            current = u64::from_str_radix(address, 16).ok().map(|start| (symbol.to_owned(), start));
            continue;
        }
        let (Some((symbol, start)), Some((address, text))) = (&current, line.split_once(":\t")) else { continue };
        let Ok(address) = u64::from_str_radix(address.trim(), 16) else { continue };
        let instruction = Instruction { offset: address.wrapping_sub(*start), text: text.trim().to_owned() };
        functions.entry(symbol.clone()).or_default().push(instruction);
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_objdump_are_understood() {
        let text = "\nx.o:     file format elf64-x86-64\n\nDisassembly of section .text:\n\n\
                    0000000000000000 <m_wasm_0>:\n   0:\tpush   %rbp\n   1:\tcall   20 <m_wasm_1>\n\n\
                    0000000000000020 <m_wasm_1>:\n  20:\tret\n\t...\n";
        let functions = parse(text);
        let of = |name: &str| functions[name].iter().map(|i| (i.offset, &*i.text)).collect::<Vec<_>>();
        assert_eq!(of("m_wasm_0"), [(0, "push   %rbp"), (1, "call   20 <m_wasm_1>")]);
        assert_eq!(of("m_wasm_1"), [(0, "ret")]);
    }
}
