//! The grouped options `-W`, `-S`, `-O`, `-C` and `-D`: lists of `KEY` and `KEY=VALUE`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::args::Groups;

/// What stands wrong on the command line.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A kind of value.
trait Value: Sized {
    /// How the value looks in the list of options, with what separates it from the key.
    const SHAPE: &'static str;

    /// The value of a text; `None` is a key without `=`.
    fn parse(text: Option<&str>) -> Result<Self, String>;
}

impl Value for bool {
    const SHAPE: &'static str = "[=y|n]";

    fn parse(text: Option<&str>) -> Result<bool, String> {
        match text {
            None | Some("y" | "yes" | "true") => Ok(true),
            Some("n" | "no" | "false") => Ok(false),
            Some(other) => Err(format!("{other:?} is neither y nor n")),
        }
    }
}

impl Value for u64 {
    const SHAPE: &'static str = "=N";

    fn parse(text: Option<&str>) -> Result<u64, String> {
        let text = text.ok_or("a number is missing")?.replace('_', "");
        let (digits, factor) = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
            .into_iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
            .unwrap_or((&text, 1));
        let number = match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        let number = number.map_err(|_| format!("{text:?} is not a number"))?;
        number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too large"))
    }
}

impl Value for Duration {
    const SHAPE: &'static str = "=N|Ns|Nms|Nm|Nh";

    fn parse(text: Option<&str>) -> Result<Duration, String> {
        let text = text.ok_or("a duration is missing")?;
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let seconds = match unit {
            "" | "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "m" => 60.0,
            "h" => 3600.0,
            other => return Err(format!("unknown unit {other:?}")),
        };
        let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a duration"))?;
        Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("{text:?} is too long"))
    }
}

impl Value for PathBuf {
    const SHAPE: &'static str = "=FILE";

    fn parse(text: Option<&str>) -> Result<PathBuf, String> {
        text.filter(|t| !t.is_empty()).map(PathBuf::from).ok_or_else(|| "a file name is missing".to_owned())
    }
}

/// A number of bytes, with or without a unit.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    u64::parse(Some(text))
}

/// How much to optimise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OptLevel {
    None,
    Speed,
    SpeedAndSize,
}

/// Several names, separated by `+`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl Value for Names {
    const SHAPE: &'static str = "=NAME[+NAME..]";

    fn parse(text: Option<&str>) -> Result<Names, String> {
        let names = text.unwrap_or_default().split('+').filter(|n| !n.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names.is_empty() { Err("a name is missing".to_owned()) } else { Ok(Names(names)) }
    }
}

impl Value for OptLevel {
    const SHAPE: &'static str = "=0|1|2|s";

    fn parse(text: Option<&str>) -> Result<OptLevel, String> {
        match text {
            Some("0") => Ok(OptLevel::None),
            Some("1" | "2") => Ok(OptLevel::Speed),
            Some("s") => Ok(OptLevel::SpeedAndSize),
            _ => Err("must be 0, 1, 2 or s".to_owned()),
        }
    }
}

/// What compiles functions at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Baseline {
    Cranelift,
    Stencils,
}

impl Value for Baseline {
    const SHAPE: &'static str = "=cranelift|stencils";

    fn parse(text: Option<&str>) -> Result<Baseline, String> {
        match text {
            Some("cranelift") => Ok(Baseline::Cranelift),
            Some("stencils") => Ok(Baseline::Stencils),
            _ => Err("must be cranelift or stencils".to_owned()),
        }
    }
}

/// Which register allocator to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Regalloc {
    Backtracking,
    SinglePass,
}

impl Value for Regalloc {
    const SHAPE: &'static str = "=backtracking|single-pass";

    fn parse(text: Option<&str>) -> Result<Regalloc, String> {
        match text {
            Some("backtracking") => Ok(Regalloc::Backtracking),
            Some("single-pass") => Ok(Regalloc::SinglePass),
            _ => Err("must be backtracking or single-pass".to_owned()),
        }
    }
}

/// How artifacts are checked before they are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strictness {
    Marked,
    Strict,
}

impl Value for Strictness {
    const SHAPE: &'static str = "=marked|strict";

    fn parse(text: Option<&str>) -> Result<Strictness, String> {
        match text {
            Some("marked") => Ok(Strictness::Marked),
            Some("strict") => Ok(Strictness::Strict),
            _ => Err("must be marked or strict".to_owned()),
        }
    }
}

/// Whether what a program used is optimised when it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refine {
    No,
    Yes,
    Wait,
}

impl Value for Refine {
    const SHAPE: &'static str = "[=y|n|wait]";

    fn parse(text: Option<&str>) -> Result<Refine, String> {
        if text == Some("wait") {
            return Ok(Refine::Wait);
        }
        let on = bool::parse(text).map_err(|_| "must be y, n or wait".to_owned())?;
        Ok(if on { Refine::Yes } else { Refine::No })
    }
}

/// How much to inline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inlining {
    No,
    Yes,
    Stress,
}

impl Value for Inlining {
    const SHAPE: &'static str = "[=y|n|stress]";

    fn parse(text: Option<&str>) -> Result<Inlining, String> {
        if text == Some("stress") {
            return Ok(Inlining::Stress);
        }
        let on = bool::parse(text).map_err(|_| "must be y, n or stress".to_owned())?;
        Ok(if on { Inlining::Yes } else { Inlining::No })
    }
}

/// An option in the list that `help` prints.
struct Listed {
    name: &'static str,
    shape: &'static str,
    help: &'static str,
}

macro_rules! groups {
    ($($(#[doc = $about:literal])* $group:ident $letter:literal { $($(#[doc = $help:literal])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[doc = $about])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $group {
            $($(#[doc = $help])* pub(crate) $field: Option<$ty>,)*
        }

        impl $group {
            const LETTER: &'static str = $letter;
            const LIST: &'static [Listed] = &[$(Listed {
                name: stringify!($field),
                shape: <$ty as Value>::SHAPE,
                help: concat!($($help),*),
            },)*];

            /// Sets one option; `false` if there is none of this name.
            fn set(&mut self, key: &str, value: Option<&str>) -> Result<bool, String> {
                match key.replace('-', "_").as_str() {
                    $(stringify!($field) => self.$field = Some(<$ty as Value>::parse(value)?),)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    )*};
}

groups! {
    /// `-W`: limits and proposals.
    Wasm "W" {
        /// Trap when the program has used this much fuel, about one unit an instruction
        fuel: u64,
        /// Trap after this time
        timeout: Duration,
        /// Bytes of stack the program may use (default 8 MiB)
        max_wasm_stack: u64,
        /// Bytes to which a memory may grow
        max_memory_size: u64,
        /// Elements to which a table may grow
        max_table_elements: u64,
        /// Instances that may be made
        max_instances: u64,
        /// Tables that may be made
        max_tables: u64,
        /// Memories that may be made
        max_memories: u64,
        /// Trap when a memory or table cannot grow, instead of telling the program
        trap_on_grow_failure: bool,
        /// Functions that nothing provides trap when they are called
        unknown_imports_trap: bool,
        /// Functions that nothing provides return zeros and nulls
        unknown_imports_default: bool,
        /// All proposals that Kiln has
        all_proposals: bool,
    }
    /// `-S`: what the host gives.
    Wasi "S" {
        /// Give the program WASI preview 1 (default y)
        cli: bool,
        /// Pass on all environment variables of the host
        inherit_env: bool,
        /// Pass on standard input (default y)
        inherit_stdin: bool,
        /// Pass on standard output (default y)
        inherit_stdout: bool,
        /// Pass on standard error (default y)
        inherit_stderr: bool,
        /// Let the program start threads (wasi-threads; default n); limits and fuel are each thread's own
        threads: bool,
        /// With `threads`: how many there may be at a time, besides the first one (default 256)
        max_threads: u64,
        /// Let the program seek in, cut and overwrite files that are its standard streams (default n: it adds to them)
        rewrite_stdio: bool,
    }
    /// `-O`: optimisation and memory layout.
    Optimize "O" {
        /// How much to optimise (default 2)
        opt_level: OptLevel,
        /// Which register allocator to use (default backtracking)
        regalloc_algorithm: Regalloc,
        /// With `--tier dynamic`: what compiles functions at first (default stencils)
        baseline: Baseline,
        /// With `--tier dynamic`: recompile functions that become hot (default y)
        tier_up: bool,
        /// Bytes of address space reserved for each memory (default 4 GiB)
        memory_reservation: u64,
        /// Bytes of inaccessible address space behind each memory (default 32 MiB)
        memory_guard_size: u64,
        /// Ask the system for huge pages for what memories grow by beyond 8 MiB (default y)
        memory_huge_pages: bool,
        /// Find traps by signals instead of checking for them (default y)
        signals_based_traps: bool,
        /// Leave out these of Kiln's own passes, `all` of them
        passes_off: Names,
    }
    /// `-C`: code generation.
    Codegen "C" {
        /// Put the bodies of small functions in place of calls to them (default y); `stress`: of most
        inlining: Inlining,
        /// Compile on all cores (default y)
        parallel_compilation: bool,
        /// Compile functions in an order that this number decides: for tests of Kiln itself
        work_order: u64,
        /// Make unwind information for native debuggers and profilers (default y)
        native_unwind_info: bool,
        /// Check a compiled file once and note that, or copy and check it at each start (default marked)
        artifact_verification: Strictness,
        /// Check Cranelift's code between its passes: slow
        cranelift_debug_verifier: bool,
        /// Look for compiled functions in the user's cache, and keep them there (default y)
        cache: bool,
        /// Make code that the cache can give to programs with other data (default: y where the cache is used)
        share: bool,
        /// When a program has ended, optimise what it used, for its next run, in a process of the lowest priority (default y);
        /// `wait`: and wait for that
        refine: Refine,
    }
    /// `-D`: debugging.
    Debug "D" {
        /// Write a core dump to this file if the program traps
        coredump: PathBuf,
        /// Tell native debuggers of compiled code (default n)
        debug_info: bool,
        /// Print what becomes of these functions, e.g. wasm[7], behind each pass; all are compiled first unless `--tier` says
        /// otherwise
        dump_function: Names,
    }
}

/// All options of the groups.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) wasm: Wasm,
    /// Proposals that `-W` names, and whether they are on.
    pub(crate) proposals: Vec<(String, bool)>,
    pub(crate) wasi: Wasi,
    pub(crate) optimize: Optimize,
    pub(crate) codegen: Codegen,
    pub(crate) debug: Debug,
}

/// What the groups on a command line ask for.
pub(crate) enum Asked {
    /// To do it with these options.
    Go(Box<Options>),
    /// To print this list of options.
    Help(String),
}

/// Reads the groups. `proposals` are the names that `-W` also takes.
pub(crate) fn read(groups: &Groups, proposals: &[&str]) -> Result<Asked, UsageError> {
    let mut options = Options::default();
    macro_rules! read_group {
        ($group:ident, $texts:expr, $target:expr, $proposals:expr) => {
            for (key, value) in pairs($texts) {
                let letter = $group::LETTER;
                if key == "help" {
                    return Ok(Asked::Help(list(letter, $group::LIST, $proposals)));
                }
                let wrong = |e: String| UsageError(format!("-{letter} {key}: {e}"));
                if !$target.set(key, value).map_err(wrong)? {
                    let name = $proposals.iter().find(|p| p.replace('_', "-") == key.replace('_', "-"));
                    let name = name.ok_or_else(|| unknown(letter, key, $group::LIST, $proposals))?;
                    options.proposals.push(((*name).to_owned(), bool::parse(value).map_err(wrong)?));
                }
            }
        };
    }
    let none: &[&str] = &[];
    read_group!(Wasm, &groups.wasm, options.wasm, proposals);
    read_group!(Wasi, &groups.wasi, options.wasi, none);
    read_group!(Optimize, &groups.optimize, options.optimize, none);
    read_group!(Codegen, &groups.codegen, options.codegen, none);
    read_group!(Debug, &groups.debug, options.debug, none);
    Ok(Asked::Go(Box::new(options)))
}

fn pairs(texts: &[String]) -> impl Iterator<Item = (&str, Option<&str>)> {
    let items = texts.iter().flat_map(|t| t.split(',')).filter(|t| !t.is_empty());
    items.map(|item| item.split_once('=').map_or((item, None), |(key, value)| (key, Some(value))))
}

fn list(letter: &str, options: &[Listed], proposals: &[&str]) -> String {
    let mut lines = Vec::new();
    for option in options {
        lines.push((format!("{}{}", option.name.replace('_', "-"), option.shape), option.help.trim().to_owned()));
    }
    for name in proposals {
        let name = name.replace('_', "-");
        lines.push((format!("{name}[=y|n]"), format!("The proposal {name}")));
    }
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    lines.iter().map(|(key, help)| format!("  -{letter} {key:width$}  {help}\n")).collect()
}

fn unknown(letter: &str, key: &str, options: &[Listed], proposals: &[&str]) -> UsageError {
    let names = options.iter().map(|o| o.name).chain(proposals.iter().copied()).map(|n| n.replace('_', "-"));
    let near = names.map(|n| (distance(key, &n), n)).min().filter(|(d, n)| *d <= n.len().max(key.len()) / 3 + 1);
    let hint = near.map(|(_, n)| format!("; did you mean `{n}`?")).unwrap_or_default();
    UsageError(format!("unknown option -{letter} {key}{hint} (`-{letter} help` lists them)"))
}

/// Levenshtein's distance, in characters.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wasm(text: &str) -> Result<Options, String> {
        let groups = Groups { wasm: vec![text.to_owned()], ..Groups::default() };
        match read(&groups, &["simd", "tail_call"]) {
            Ok(Asked::Go(options)) => Ok(*options),
            Ok(Asked::Help(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn keys_and_values() {
        let options =
            wasm("unknown-imports-default=y,fuel=1_000,max-memory-size=2MiB,timeout=100ms,tail-call=n").unwrap();
        assert_eq!(options.wasm.unknown_imports_default, Some(true));
        assert_eq!(options.wasm.fuel, Some(1000));
        assert_eq!(options.wasm.max_memory_size, Some(2 << 20));
        assert_eq!(options.wasm.timeout, Some(Duration::from_millis(100)));
        assert_eq!(options.proposals, [("tail_call".to_owned(), false)]);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(wasm("unknown-import-default").unwrap_err().contains("unknown-imports-default"));
        assert!(wasm("fuel").unwrap_err().contains("-W fuel"));
        assert!(wasm("fuel=x").unwrap_err().contains("not a number"));
        assert!(wasm("simd=maybe").unwrap_err().contains("neither y nor n"));
        assert!(!wasm("quite-something-else").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn help_lists_options_and_proposals() {
        let text = wasm("help").unwrap_err();
        assert!(text.contains("-W max-wasm-stack=N") && text.contains("-W tail-call[=y|n]"), "{text}");
    }

    #[test]
    fn distances() {
        assert_eq!(distance("fuel", "fule"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
