//! Between translation and code generation: passes of our own.
//!
//! Module passes run once, before any function is translated: they look at the declarations and at what validation found
//! out, and write down in a plan what function passes are to do. So functions can still be translated, changed and
//! compiled one by one, and never are all of them in memory. Function passes change one [`FuncIr`].
//!
//! | pass | kind | what it does |
//! |---|---|---|
//! | `inline` | module | small functions take the place of calls to them; done by the translator |
//! | `bulk` | translation | `memory.copy` and `memory.fill` of few bytes are loads and stores; done by the translator (`translate/ops/bulk.rs`) |
//! | `contexts` | translation | indirect calls do not ask whose functions are called where declarations say that all are the module's own; done by the translator (`translate/ops/call.rs`) |
//! | `compare` | function | branches and selections on negated float comparisons take the comparison itself |
//! | `bytes` | function | loops over bytes, like those of `memcpy`, do 16 at a time |
//! | `wide` | function | products of 128 bits, put together from four of 32, are computed at once |
//! | `thread` | function | branches decided by a constant that a predecessor passes become jumps |
//! | `switch` | function | `br_table` with few cases becomes comparisons |
//! | `numbers` | before and behind the optimiser (x86-64) | code is made for any addresses of data, so that programs share it |
//! | `order` | behind the optimiser | operations return to the order of the wasm, in which fewer values are alive at a time |
//! | `bases` | behind the optimiser (x86-64) | addresses that many accesses share take one register |
//! | `split` | behind the optimiser (x86-64) | long blocks have copies of their own of what they use often |
//! | `shorten` | machine code (x86-64) | jumps to near targets take two bytes |
//! | `align` | machine code (x86-64) | as few ends of cache lines as possible lie in short loops |
//!
//! Each file starts with the argument why what comes out means the same. A pass keeps source locations, trap codes and
//! what [`FuncIr`] promises. Debug builds verify the IR behind each pass that changed it. Functions that are compiled
//! without optimisation, and trampolines, are left alone by all but `shorten`. Whether a pass runs is part of the fingerprint.

mod bases;
mod bytes;
mod compare;
mod edit;
mod inline;
pub(crate) mod numbers;
mod order;
mod split;
mod switch;
mod thread;
mod wide;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cranelift_codegen::settings::OptLevel;
use kiln_env::builtins::Builtin;
use kiln_env::settings::Inlining;
use kiln_env::{DefinedFuncIndex, FuncKey, Module, TypeIndex};

use crate::codegen::guarded;
use crate::error::{CompileError, Result};
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;
use crate::names;
use crate::relax;
pub(crate) use inline::{Budget, Policy, Site};

pub(crate) use bases::Bases;
pub(crate) use order::Reorder;
pub(crate) use split::Split;

/// What module passes decided. Has a field for each pass that decides something.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    /// How much is wanted.
    inlining: Inlining,
    /// Which calls the translator replaces by bodies; none without.
    pub(crate) inline: Option<Policy>,
}

impl Plan {
    /// The same for a function that must not grow.
    pub(crate) fn without_inlining(&self) -> Plan {
        Plan { inline: None, ..self.clone() }
    }
}

/// A pass over the module.
struct ModulePass {
    name: &'static str,
    run: fn(&ModuleEnv<'_>, &mut Plan),
    /// Passes of the same table that must have run before.
    after: &'static [&'static str],
}

/// A pass over a function.
struct FuncPass {
    name: &'static str,
    /// Returns whether it changed anything.
    run: fn(&ModuleEnv<'_>, &Plan, &mut FuncIr) -> Result<bool>,
    /// Passes of the same table that must have run before.
    after: &'static [&'static str],
}

/// The module passes, in the order in which they run.
const MODULE_PASSES: &[ModulePass] = &[ModulePass { name: "inline", run: inline::run, after: &[] }];

/// The function passes, in the order in which they run.
/// `switch` comes behind `thread`, which copies fewer instructions of a `br_table` than of comparisons.
const FUNC_PASSES: &[FuncPass] = &[
    FuncPass { name: "bytes", run: bytes::run, after: &[] },
    FuncPass { name: "wide", run: wide::run, after: &[] },
    FuncPass { name: "thread", run: thread::run, after: &[] },
    FuncPass { name: "switch", run: switch::run, after: &["thread"] },
    FuncPass { name: "compare", run: compare::run, after: &[] },
];

/// What the translator does about short copies and fills.
const BULK: &str = "bulk";

/// What the translator does about contexts of indirect calls.
const CONTEXTS: &str = "contexts";

/// Which passes run, and what is shown of their work.
#[derive(Clone, Debug, Default)]
pub struct PassConfig {
    /// Names of passes that do not run.
    pub disabled: Vec<String>,
    /// How much is inlined.
    pub inlining: Inlining,
    /// Functions whose IR is shown after translation and after each pass.
    pub dumps: Vec<Dump>,
}

/// Receives the stage (`translate` or the name of a pass) and the function in Cranelift's text format; or no stage, and why a
/// module that was read has no such function.
pub type DumpSink = Arc<dyn Fn(Option<&str>, &str) + Send + Sync>;

/// Shows what becomes of one function.
#[derive(Clone)]
pub struct Dump {
    /// The function: its key as text, `wasm[7]`, by index among those with a body.
    pub func: String,
    /// Where its IR goes.
    pub sink: DumpSink,
}

impl Dump {
    /// Whether a module can have the function.
    fn is_of(&self, module: &Module) -> bool {
        let (func, offset) = self.func.split_once("@0x").map_or((&*self.func, None), |(func, at)| (func, Some(at)));
        let Some((kind, index)) = func.strip_suffix(']').and_then(|func| func.split_once('[')) else { return false };
        let number = index.parse().ok();
        let key = match (kind, number, offset.map(|offset| u32::from_str_radix(offset, 16))) {
            ("wasm", Some(n), None) => Some(FuncKey::Wasm(DefinedFuncIndex(n))),
            ("wasm", Some(n), Some(Ok(offset))) => Some(FuncKey::Osr { func: DefinedFuncIndex(n), offset }),
            ("array_to_wasm", Some(n), None) => Some(FuncKey::ArrayToWasm(TypeIndex(n))),
            ("wasm_to_host", Some(n), None) => Some(FuncKey::WasmToHost(TypeIndex(n))),
            ("builtin", None, None) => {
                (0..).map_while(Builtin::from_u32).find(|b| b.name() == index).map(FuncKey::WasmToBuiltin)
            }
            _ => None,
        };
        let is_there = |key: &FuncKey| match *key {
            FuncKey::Wasm(func) | FuncKey::Osr { func, .. } => module.bodies.get(func).is_some(),
            FuncKey::ArrayToWasm(ty) | FuncKey::WasmToHost(ty) => module.types.get(ty).is_some(),
            FuncKey::WasmToBuiltin(_) => true,
        };
        key.is_some_and(|key| is_there(&key) && key.to_string() == self.func)
    }

    /// Why a module whose bytes are `source` has no such function.
    fn absence(&self, module: &Module, source: &[u8]) -> String {
        let Dump { func, .. } = self;
        let of = module.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let meant = names::defined_func(module, source, func).map(FuncKey::Wasm);
        match (meant, module.bodies.len().checked_sub(1)) {
            (Some(key), _) => format!("functions are named by their keys: that of {func} is {key}"),
            (None, Some(last)) => format!("the module{of} has no {func}, but wasm[0] to wasm[{last}]"),
            (None, None) => format!("the module{of} has no {func}, and no function with a body at all"),
        }
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump").field("func", &self.func).finish_non_exhaustive()
    }
}

/// The passes of one compiler.
pub(crate) struct Midend {
    config: PassConfig,
}

/// Time spent in each pass that ran, by name.
pub type PassTimes = Vec<(&'static str, Duration)>;

/// Names of all passes.
pub fn pass_names() -> impl Iterator<Item = &'static str> {
    MODULE_PASSES.iter().map(|p| p.name).chain(FUNC_PASSES.iter().map(|p| p.name)).chain([
        BULK,
        CONTEXTS,
        numbers::NAME,
        order::NAME,
        bases::NAME,
        split::NAME,
        relax::SHORTEN,
        relax::ALIGN,
    ])
}

impl Midend {
    /// # Errors
    /// A name in the configuration is none of a pass.
    pub(crate) fn new(config: &PassConfig) -> Result<Midend> {
        for name in &config.disabled {
            if !pass_names().any(|n| n == name) {
                let names: Vec<&str> = pass_names().collect();
                let message = format_args!("no pass is called {name}; there are {}", names.join(", "));
                return Err(CompileError::config(message));
            }
        }
        check_order(MODULE_PASSES.iter().map(|p| (p.name, p.after)))?;
        check_order(FUNC_PASSES.iter().map(|p| (p.name, p.after)))?;
        Ok(Midend { config: config.clone() })
    }

    /// The passes that are switched off, for the fingerprint.
    pub(crate) fn disabled(&self) -> &[String] {
        &self.config.disabled
    }

    /// Whether the translator does short copies and fills of memories in line.
    pub(crate) fn has_bulk_in_line(&self) -> bool {
        self.runs(BULK)
    }

    /// Whether the translator makes use of it where no function of another instance can be called through references.
    pub(crate) fn knows_contexts(&self) -> bool {
        self.runs(CONTEXTS)
    }

    /// Whether blocks are put into order behind Cranelift's optimiser, where that runs.
    pub(crate) fn puts_into_order(&self) -> bool {
        self.runs(order::NAME)
    }

    /// Whether addresses that many accesses share are computed once, where the target has that.
    pub(crate) fn shares_bases(&self) -> bool {
        self.runs(bases::NAME)
    }

    /// Whether long blocks get copies of what they use often, where the target has that.
    pub(crate) fn splits_lives(&self) -> bool {
        self.runs(split::NAME)
    }

    /// Whether numbers are left open, where the target has that.
    pub(crate) fn opens_numbers(&self) -> bool {
        self.runs(numbers::NAME)
    }

    /// Opens numbers of a function behind all other passes.
    pub(crate) fn open_numbers(
        &self,
        env: &ModuleEnv<'_>,
        opener: &mut numbers::Opener,
        ir: &mut FuncIr,
    ) -> Result<()> {
        if guarded(|| Ok(opener.run(ir)))? {
            verify(env, numbers::NAME, ir)?;
            self.dump(numbers::NAME, ir);
        }
        Ok(())
    }

    /// What is done about machine code, where its target has that.
    pub(crate) fn relaxes(&self) -> relax::Wanted {
        relax::Wanted { shorten: self.runs(relax::SHORTEN), align: self.runs(relax::ALIGN) }
    }

    fn runs(&self, name: &str) -> bool {
        !self.config.disabled.iter().any(|d| d == name)
    }

    /// Runs the module passes.
    pub(crate) fn plan(&self, env: &ModuleEnv<'_>) -> (Plan, PassTimes) {
        let mut plan = Plan { inlining: self.config.inlining, ..Plan::default() };
        let mut times = PassTimes::new();
        for pass in MODULE_PASSES.iter().filter(|p| self.runs(p.name)) {
            let start = Instant::now();
            (pass.run)(env, &mut plan);
            times.push((pass.name, start.elapsed()));
        }
        (plan, times)
    }

    /// Runs the function passes; adds the time of the n-th enabled one to `times[n]`.
    pub(crate) fn run(&self, env: &ModuleEnv<'_>, plan: &Plan, ir: &mut FuncIr, times: &mut PassTimes) -> Result<()> {
        self.dump("translate", ir);
        let Some(func) = ir.key.body() else { return Ok(()) };
        if env.isa.flags().opt_level() == OptLevel::None || env.infos.get(func).is_costly() {
            return Ok(());
        }
        for (n, pass) in FUNC_PASSES.iter().filter(|p| self.runs(p.name)).enumerate() {
            let start = Instant::now();
            let changed = guarded(|| (pass.run)(env, plan, ir))?;
            if times.len() == n {
                times.push((pass.name, Duration::ZERO));
            }
            times[n].1 += start.elapsed();
            if changed {
                verify(env, pass.name, ir)?;
                self.dump(pass.name, ir);
            }
        }
        Ok(())
    }

    /// Whether somebody wants to see what becomes of this function.
    pub(crate) fn shows(&self, key: FuncKey) -> bool {
        self.config.dumps.iter().any(|d| d.func == key.to_string())
    }

    /// Tells who wants to see functions of a module, whose bytes are `source`, of those that it does not have.
    pub(crate) fn tell_absent(&self, module: &Module, source: &[u8]) {
        for dump in self.config.dumps.iter().filter(|dump| !dump.is_of(module)) {
            (dump.sink)(None, &dump.absence(module, source));
        }
    }

    fn dump(&self, stage: &str, ir: &FuncIr) {
        for dump in self.config.dumps.iter().filter(|d| d.func == ir.key.to_string()) {
            (dump.sink)(Some(stage), &ir.func.display().to_string());
        }
    }
}

/// Checks the IR behind a pass, where Cranelift checks its own.
fn verify(env: &ModuleEnv<'_>, pass: &str, ir: &FuncIr) -> Result<()> {
    if !env.isa.flags().enable_verifier() {
        return Ok(());
    }
    cranelift_codegen::verify_function(&ir.func, env.isa)
        .map_err(|e| CompileError::internal(format_args!("the pass {pass} left invalid IR: {e}")).for_key(ir.key))
}

/// Checks that the passes of a table come behind those they build on.
fn check_order<'a>(table: impl Iterator<Item = (&'a str, &'a [&'a str])>) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    for (name, after) in table {
        if let Some(needed) = after.iter().find(|needed| !seen.contains(*needed)) {
            return Err(CompileError::internal(format_args!("pass {name} must run after {needed}")));
        }
        seen.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_run_after_those_they_build_on() {
        check_order([("a", &[][..]), ("b", &["a"])].into_iter()).unwrap();
        assert!(check_order([("b", &["a"][..]), ("a", &[])].into_iter()).is_err());
        Midend::new(&PassConfig::default()).unwrap();
    }

    #[test]
    fn unknown_passes_cannot_be_disabled() {
        let config = PassConfig { disabled: vec!["nothing".into()], ..PassConfig::default() };
        assert!(Midend::new(&config).is_err());
    }
}
