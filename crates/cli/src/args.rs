//! The command line: what a user can say.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use kiln_env::limits::{MAX_REFINE_MEMORY, MAX_REFINE_SECONDS};

/// Compiles WebAssembly to machine code and runs it.
#[derive(Parser)]
#[command(
    name = "kiln",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "kiln [OPTIONS] FILE [ARGS]...\n       kiln COMMAND ...",
    after_help = "`kiln FILE` is short for `kiln run FILE`. What stands after FILE belongs to the program."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// The commands, for those who misspell them.
pub(crate) const COMMANDS: [&str; 10] =
    ["run", "compile", "objdump", "verify", "explore", "wast", "validate", "cache", "settings", "completions"];

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a program
    Run(Run),
    /// Compile a module ahead of its runs
    Compile(Compile),
    /// Show what is in a compiled file
    Objdump(Objdump),
    /// Prove that the code of a compiled file stays in the sandbox
    Verify(Verify),
    /// Make a page that shows a module beside its machine code
    Explore(Explore),
    /// Run scripts of the official test suite's format
    Wast(Wast),
    /// Check modules without running them
    Validate(Validate),
    /// Look into the cache of compiled functions, or empty it
    Cache(Cache),
    /// Show the host's features, the defaults and the limits
    Settings(Settings),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Options that decide how code is made and what it may do; the groups are those of other runtimes' command lines.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Groups {
    /// Limits and proposals of WebAssembly; `-W help` lists them
    #[arg(short = 'W', long = "wasm", value_name = "KEY[=VAL],..")]
    pub(crate) wasm: Vec<String>,
    /// What the host gives to the program; `-S help` lists it
    #[arg(short = 'S', long = "wasi", value_name = "KEY[=VAL],..")]
    pub(crate) wasi: Vec<String>,
    /// Optimisation and memory layout; `-O help` lists them
    #[arg(short = 'O', long = "optimize", value_name = "KEY[=VAL],..")]
    pub(crate) optimize: Vec<String>,
    /// Code generation; `-C help` lists it
    #[arg(short = 'C', long = "codegen", value_name = "KEY[=VAL],..")]
    pub(crate) codegen: Vec<String>,
    /// Debugging; `-D help` lists it
    #[arg(short = 'D', long = "debug", value_name = "KEY[=VAL],..")]
    pub(crate) debug: Vec<String>,
    /// When functions are compiled [default: dynamic for programs that are run, else eager]
    #[arg(long, value_enum, value_name = "TIER", overrides_with = "tier")]
    pub(crate) tier: Option<Tier>,
    /// How compiled functions are made known to profilers, where they run
    #[arg(skip)]
    pub(crate) profilers: Option<Profile>,
    /// Neither look for compiled functions in the user's cache nor keep them there
    #[arg(long)]
    pub(crate) no_cache: bool,
}

/// When functions are compiled.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tier {
    /// All before the program starts, on all cores
    Eager,
    /// Each when it is first called
    Lazy,
    /// Each when it is first called, in little time; those that become hot again, fully optimised, in the background
    Dynamic,
}

/// How compiled functions are made known to profilers.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    /// A map of addresses for `perf report`: /tmp/perf-PID.map
    Perfmap,
    /// A jitdump file for `perf inject`
    Jitdump,
}

/// How `--explain` prints.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Explain {
    /// For people
    Table,
    /// One line of JSON
    Json,
}

/// `kiln run`.
#[derive(clap::Args, Clone)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) groups: Groups,
    /// Write what profilers need to name compiled functions
    #[arg(long, value_enum, value_name = "STRATEGY")]
    pub(crate) profile: Option<Profile>,
    /// Let the program use a folder of the host, under another name if one is given; `::ro` lets it read only
    #[arg(long = "dir", value_name = "HOST[::GUEST[::ro]]")]
    pub(crate) dirs: Vec<OsString>,
    /// Set an environment variable of the program, or pass on the host's
    #[arg(long = "env", value_name = "NAME[=VAL]")]
    pub(crate) env: Vec<OsString>,
    /// The program's name as it sees it itself
    #[arg(long, value_name = "NAME")]
    pub(crate) argv0: Option<OsString>,
    /// Call this exported function instead of the program's entry; ARGS are its arguments, results are printed
    #[arg(long, value_name = "FUNCTION")]
    pub(crate) invoke: Option<String>,
    /// Instantiate a module before the program and let the program import from it
    #[arg(long = "preload", value_name = "NAME=FILE")]
    pub(crate) preloads: Vec<OsString>,
    /// Print to standard error where the time went
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "table")]
    pub(crate) explain: Option<Explain>,
    /// Write a WebAssembly core dump to this file if the program traps
    #[arg(long, value_name = "FILE")]
    pub(crate) coredump: Option<PathBuf>,
    /// Run compiled files whatever they are called and whoever compiled them: their code has all rights that you have
    #[arg(long)]
    pub(crate) allow_precompiled: bool,
    /// The module, binary, text (`-` for standard input) or compiled (FILE.kiln), and the program's arguments
    #[arg(value_name = "FILE", required = true, trailing_var_arg = true)]
    pub(crate) file_and_args: Vec<OsString>,
}

/// `kiln compile`.
#[derive(clap::Args)]
pub(crate) struct Compile {
    #[command(flatten)]
    pub(crate) groups: Groups,
    /// Where to write (`-` for standard output; default: the module's name, with another ending)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Emit::Artifact)]
    pub(crate) emit: Emit,
    /// Leave the wasm module out of the artifact: it is smaller, but can only be run by this build of Kiln on machines
    /// like this one, and backtraces have no source lines
    #[arg(long)]
    pub(crate) no_wasm: bool,
    /// Make code for these CPU levels (baseline, v2, v3, v4), the least demanding first, instead of for this machine; the
    /// best one is chosen at each start
    #[arg(long = "cpu", value_name = "LEVEL,..", value_delimiter = ',')]
    pub(crate) cpus: Vec<String>,
    /// Use what earlier runs of the module, with the same options, have left in the cache about how it runs: calls through
    /// tables that mostly call one function become direct, and what was never called is kept out of the way
    #[arg(long, conflicts_with = "no_cache")]
    pub(crate) profile: bool,
    /// The module, binary or text (`-` for standard input)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// With `--emit exe`: options of `kiln run` that hold whenever the executable runs
    #[arg(value_name = "RUN OPTIONS", last = true, allow_hyphen_values = true)]
    pub(crate) run_options: Vec<String>,
}

/// What `kiln compile` writes.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Emit {
    /// A file that `kiln run` starts at once
    Artifact,
    /// Cranelift's IR of every function, as text
    Clif,
    /// Machine code of every function, as text, with operators' offsets (needs `objdump`)
    Asm,
    /// A relocatable object for other linkers, and a C header beside it
    Obj,
    /// An executable that needs neither Kiln nor the module
    Exe,
}

/// `kiln objdump`.
#[derive(clap::Args)]
pub(crate) struct Objdump {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the functions' code may trap, and why
    #[arg(long)]
    pub(crate) traps: bool,
    /// Which code belongs to which operators
    #[arg(long)]
    pub(crate) addresses: bool,
    /// Only functions of these names or indices
    #[arg(long = "function", value_name = "NAME")]
    pub(crate) functions: Vec<String>,
    /// The compiled file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `kiln verify`.
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the code of a function (`wasm[7]`) with what is known before each instruction
    #[arg(long, value_name = "FUNCTION")]
    pub(crate) explain: Option<String>,
    /// The compiled file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `kiln explore`.
#[derive(clap::Args)]
pub(crate) struct Explore {
    #[command(flatten)]
    pub(crate) groups: Groups,
    /// Where to write (`-` for standard output; default: the module's name, ending in .html)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The module, binary or text (`-` for standard input)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `kiln wast`.
#[derive(clap::Args)]
pub(crate) struct Wast {
    /// Proposals to switch on or off, beside what the folder of a script says (`proposals/NAME/`)
    #[arg(short = 'W', long = "wasm", value_name = "PROPOSAL[=y|n],..")]
    pub(crate) wasm: Vec<String>,
    /// Only these modes; all if none is named
    #[arg(long = "mode", value_name = "MODE")]
    pub(crate) modes: Vec<String>,
    /// The scripts
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// `kiln validate`.
#[derive(clap::Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) groups: Groups,
    /// Also compile every function, and throw the code away
    #[arg(long)]
    pub(crate) compile: bool,
    /// The modules, binary or text (`-` for standard input)
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// `kiln cache`.
#[derive(clap::Args)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

#[derive(Subcommand)]
pub(crate) enum CacheCommand {
    /// Show where it is, how much it holds and how much it may hold
    Stats {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove it
    Clear,
    /// Remove what was used least recently
    Prune {
        /// Keep this many bytes of functions and modules together (`100MiB`); nothing if not given
        #[arg(long, value_name = "BYTES")]
        size: Option<String>,
    },
    /// Print its folder
    Path,
    /// Optimise what runs of programs used: `kiln run` starts this when a program has ended
    #[command(hide = true)]
    Refine(Refine),
    /// Compare the functions of two modules: how many of the second one's the cache has when the first was compiled, and
    /// why it does not have the others
    Why {
        /// The module that was compiled
        old: PathBuf,
        /// The other one
        new: PathBuf,
    },
}

/// `kiln cache refine`.
#[derive(clap::Args)]
pub(crate) struct Refine {
    #[command(flatten)]
    pub(crate) groups: Groups,
    /// Seconds of processor time that it may take
    #[arg(long, default_value_t = MAX_REFINE_SECONDS)]
    pub(crate) seconds: u64,
    /// Bytes of memory that it may take
    #[arg(long, default_value_t = MAX_REFINE_MEMORY)]
    pub(crate) memory: u64,
    /// The place of the module's artifact in the cache, and the module; those that wait, one after the other, if not given
    #[arg(value_name = "PLACE FILE", num_args = 2)]
    pub(crate) place_and_file: Vec<PathBuf>,
}

/// `kiln settings`.
#[derive(clap::Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) groups: Groups,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Args {
        Args::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
        let command = Args::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, COMMANDS);
    }

    #[test]
    fn flags_after_the_file_are_the_guests() {
        let run = parse("kiln --dir . -W fuel=1 a.wasm --dir x -h --").run;
        assert_eq!(run.dirs, ["."]);
        assert_eq!(run.file_and_args, ["a.wasm", "--dir", "x", "-h", "--"]);
        let Some(Command::Run(run)) = parse("kiln run --invoke f a.wasm -1 2").command else { panic!("not run") };
        assert_eq!(run.file_and_args, ["a.wasm", "-1", "2"]);
        assert_eq!(run.invoke.as_deref(), Some("f"));
    }

    #[test]
    fn names_of_commands_after_the_file_are_the_guests() {
        let args = parse("kiln a.wasm run");
        assert!(args.command.is_none());
        assert_eq!(args.run.file_and_args, ["a.wasm", "run"]);
    }

    #[test]
    fn explain_takes_no_following_word() {
        let run = parse("kiln --explain a.wasm").run;
        assert_eq!(run.explain, Some(Explain::Table));
        assert_eq!(parse("kiln --explain=json a.wasm").run.explain, Some(Explain::Json));
    }

    #[test]
    fn unknown_flags_suggest_near_ones() {
        let error = Args::try_parse_from(["kiln", "run", "--invok", "f", "a.wasm"]).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--invoke"), "{error}");
    }
}
