//! Golden files: `tests/disas/*.wat` carry the CLIF or assembly that Kiln makes of them.
//!
//! A file is a module in text form between a header and the expected output:
//!
//! ```text
//! ;;! target = "x86_64"
//! ;;! test = "asm"
//! ;;! flags = ["fuel"]
//! (module …)
//! ;; function wasm[0]:
//! ;; …
//! ```
//!
//! | key | value |
//! |---|---|
//! | `test` | `"clif"`: as translated; `"midend"`: behind Kiln's own passes; `"optimize"`: after Cranelift's mid-end; `"asm"`: machine code |
//! | `target` | `"x86_64"` (default), `"aarch64"`, `"riscv64"` or `"s390x"` |
//! | `isa` | target features over the target's baseline, e.g. `["has_avx", "has_fma"]` |
//! | `flags` | tunables that differ from the default: see [`Options`] |
//! | `show` | which functions are printed: a kind (`"wasm"`, the default, `"array_to_wasm"`, `"wasm_to_host"`, `"builtin"`) or one key (`"builtin[memory_grow]"`) |
//!
//! Nothing depends on the machine the test runs on. [`check`] compares, [`Mismatch::bless`] rewrites the expected output.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kiln_compiler::inspect::Stage;
use kiln_compiler::{Compiler, CompilerConfig, PassConfig};
use kiln_env::settings::Inlining;
use kiln_env::{FuncKey, Tunables};

/// What is printed of each function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Test {
    /// CLIF as the translator made it.
    Clif,
    /// CLIF after Kiln's own passes.
    Midend,
    /// CLIF after Cranelift's optimiser.
    Optimize,
    /// Machine code.
    Asm,
}

/// What a file's header says.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// What to print.
    pub test: Test,
    /// Architecture, as the first part of a target triple.
    pub target: String,
    /// Target features beside the baseline.
    pub isa: Vec<String>,
    /// Tunables: `fuel`, `epochs`, `no-signals`, `no-address-map`, `memory-reservation=BYTES`, `memory-guard=BYTES`.
    pub tunables: Tunables,
    /// How much is inlined: nothing, so that what a function's operators become is there to be seen, or as the flags
    /// `inlining` and `inlining-stress` say.
    pub inlining: Inlining,
    /// Kinds or keys of functions that are printed.
    pub show: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            test: Test::Clif,
            target: "x86_64".into(),
            isa: Vec::new(),
            tunables: Tunables::default(),
            inlining: Inlining::No,
            show: vec!["wasm".into()],
        }
    }
}

impl Options {
    /// Reads the header lines (`;;! key = value`) of a golden file.
    ///
    /// # Errors
    /// Names the line that is not understood.
    pub fn parse(text: &str) -> Result<Options> {
        let mut options = Options::default();
        for line in text.lines().take_while(|l| l.starts_with(";;!")) {
            options.set(&line[3..]).with_context(|| format!("in the header line `{line}`"))?;
        }
        Ok(options)
    }

    fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((key, value)) = assignment.split_once('=') else { bail!("expected `key = value`") };
        let values = parse_strings(value.trim())?;
        let single = || match &values[..] {
            [one] => Ok(one.as_str()),
            _ => bail!("expected one value"),
        };
        match key.trim() {
            "test" => {
                self.test = match single()? {
                    "clif" => Test::Clif,
                    "midend" => Test::Midend,
                    "optimize" => Test::Optimize,
                    "asm" => Test::Asm,
                    other => bail!("no test is called {other:?}"),
                }
            }
            "target" => self.target = single()?.to_owned(),
            "isa" => self.isa = values,
            "show" => self.show = values,
            "flags" => values.iter().try_for_each(|f| self.set_flag(f))?,
            other => bail!("no option is called {other:?}"),
        }
        Ok(())
    }

    fn shows(&self, key: FuncKey) -> bool {
        let name = key.to_string();
        self.show.iter().any(|kind| name == *kind || name.split('[').next() == Some(kind))
    }

    fn set_flag(&mut self, flag: &str) -> Result<()> {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let t = &mut self.tunables;
        match name {
            "fuel" => t.fuel = true,
            "epochs" => t.epochs = true,
            "no-signals" => t.signals = false,
            "no-address-map" => t.address_map = false,
            "memory-reservation" => t.memory_reservation = value.parse()?,
            "memory-guard" => t.memory_guard = value.parse()?,
            "inlining" => self.inlining = Inlining::Yes,
            "inlining-stress" => self.inlining = Inlining::Stress,
            other => bail!("no flag is called {other:?}"),
        }
        Ok(())
    }
}

/// `"a"` or `["a", "b"]`.
fn parse_strings(text: &str) -> Result<Vec<String>> {
    let list = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let unquote = |t: &str| {
        let inner = t.trim().strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        inner.map(str::to_owned).with_context(|| format!("expected a quoted string, not `{}`", t.trim()))
    };
    match list {
        Some(items) => items.split(',').filter(|t| !t.trim().is_empty()).map(unquote).collect(),
        None => Ok(vec![unquote(text)?]),
    }
}

/// Where the expected output differs from what came out.
pub struct Mismatch {
    /// The golden file.
    pub path: PathBuf,
    expected: String,
    actual: String,
}

impl Mismatch {
    /// Makes what came out the expected output.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn bless(&self) -> Result<()> {
        let text =
            std::fs::read_to_string(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        let (source, _) = split(&text);
        std::fs::write(&self.path, format!("{source}{}", self.actual))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: the output has changed (`-` expected, `+` now)", self.path.display())?;
        diff(f, &self.expected.lines().collect::<Vec<_>>(), &self.actual.lines().collect::<Vec<_>>())?;
        writeln!(f, "if the change is wanted: cargo xtask bless")
    }
}

/// Prints the lines between the common first and last lines, with three lines around them.
fn diff(f: &mut fmt::Formatter<'_>, old: &[&str], new: &[&str]) -> fmt::Result {
    let first = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let last = old[first..].iter().rev().zip(new[first..].iter().rev()).take_while(|(a, b)| a == b).count();
    for line in &old[first.saturating_sub(3)..first] {
        writeln!(f, "  {line}")?;
    }
    for line in &old[first..old.len() - last] {
        writeln!(f, "- {line}")?;
    }
    for line in &new[first..new.len() - last] {
        writeln!(f, "+ {line}")?;
    }
    for line in old[old.len() - last..].iter().take(3) {
        writeln!(f, "  {line}")?;
    }
    Ok(())
}

/// The golden files of a folder, sorted by name.
///
/// # Errors
/// If the folder cannot be read.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "wat") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What became of a golden file.
pub enum Outcome {
    /// The output is as expected.
    Same,
    /// It is not.
    Changed(Mismatch),
    /// This build has no compiler for the file's target: see the feature `all-arch`.
    Skipped,
}

/// Compiles a golden file and compares.
///
/// # Errors
/// If the file cannot be read, its header or module is wrong, or it does not compile.
pub fn check(path: &Path) -> Result<Outcome> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let options = Options::parse(&text).with_context(|| format!("in {}", path.display()))?;
    if !cfg!(feature = "all-arch") && options.target != std::env::consts::ARCH {
        return Ok(Outcome::Skipped);
    }
    let (_, expected) = split(&text);
    let actual = output(&options, &text).with_context(|| format!("in {}", path.display()))?;
    if expected == actual {
        return Ok(Outcome::Same);
    }
    Ok(Outcome::Changed(Mismatch { path: path.to_owned(), expected: expected.to_owned(), actual }))
}

/// Splits off the expected output: the comment lines at the end of the file.
fn split(text: &str) -> (&str, &str) {
    let mut at = text.len();
    for line in text.split_inclusive('\n').rev() {
        if !line.starts_with(";;") || line.starts_with(";;!") {
            break;
        }
        at -= line.len();
    }
    text.split_at(at)
}

/// The output as comment lines.
fn output(options: &Options, text: &str) -> Result<String> {
    let bytes = wat::parse_str(text)?;
    let compiler = Compiler::new(&CompilerConfig {
        target: Some(format!("{}-unknown-linux-gnu", options.target)),
        flags: options.isa.iter().map(|name| (name.clone(), "true".to_owned())).collect(),
        tunables: options.tunables.clone(),
        passes: PassConfig { inlining: options.inlining, ..PassConfig::default() },
        threads: 1,
        verify: true,
        ..CompilerConfig::default()
    })?;
    let module = compiler.validate(compiler.parse(&bytes)?, &bytes)?;
    let (image, _) = compiler.compile_module(&module, &bytes, &|_| {})?;
    let stage = match options.test {
        Test::Clif => Stage::Clif,
        Test::Midend => Stage::Midend,
        Test::Optimize => Stage::Optimized,
        Test::Asm => Stage::Assembly,
    };
    let mut keys: Vec<FuncKey> = image.funcs.iter().map(|f| f.key).filter(|k| options.shows(*k)).collect();
    keys.sort();
    let mut out = String::new();
    for key in keys {
        let body = compiler.inspect(&module, &bytes, key, stage)?;
        out.push_str(&format!(";; function {key}:\n"));
        for line in body.lines() {
            out.push_str(format!(";; {line}").trim_end());
            out.push('\n');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_mistakes_named() {
        let options =
            Options::parse(";;! test = \"asm\"\n;;! flags = [\"fuel\", \"memory-guard=7\"]\n(module)\n").unwrap();
        assert_eq!(options.test, Test::Asm);
        assert!(options.tunables.fuel);
        assert_eq!(options.tunables.memory_guard, 7);
        let error = format!("{:#}", Options::parse(";;! tests = \"asm\"\n").unwrap_err());
        assert!(error.contains("tests"), "{error}");
    }

    #[test]
    fn expected_output_is_the_trailing_comment() {
        let (source, expected) = split(";;! test = \"asm\"\n;; says what\n(module)\n;; function wasm[0]:\n;; x\n");
        assert_eq!(source, ";;! test = \"asm\"\n;; says what\n(module)\n");
        assert_eq!(expected, ";; function wasm[0]:\n;; x\n");
    }
}
