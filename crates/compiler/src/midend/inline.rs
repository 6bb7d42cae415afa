//! Which calls are replaced by the body of the function that they call.
//!
//! The translator asks at each direct call, and translates the callee's body there if the answer is yes
//! (`translate/inline.rs`, where it is argued why that means the same). So IR of one function at a time is all there
//! ever is, a function that is compiled alone inlines the same as in its module, and threads need not wait for each
//! other.
//!
//! Answers follow from facts that validation has found out about caller and callee, and from what has been inlined into
//! the caller so far: never from time, nor from the order in which functions are compiled. A call inside an inlined body
//! is asked about like any other, so that chains of small functions melt from the bottom up.
//!
//! What it costs is bounded: each caller has a budget in proportion to its own size, to which inlined bodies are charged.

use cranelift_codegen::settings::OptLevel;
use kiln_env::DefinedFuncIndex;
use kiln_env::settings::Inlining;
use kiln_env::types::{FuncType, ValType};

use super::Plan;
use crate::info::FuncInfo;
use crate::module_env::ModuleEnv;

/// Callees up to this cost take no more code than calling them does.
const TINY: u32 = 8;
/// What is taken off each body's cost when it is charged: the call that it replaces.
const CALL: u32 = 5;
/// Cost up to which a callee without calls of its own is inlined, outside of loops.
const LEAF: u32 = 12;
/// The same for callees that call.
const CALLING: u32 = 8;
/// Limits are this many times higher inside of loops.
const IN_LOOP: u32 = 3;
/// And where it is known that calls are made often.
const IF_FREQUENT: u32 = 2;
/// Cost up to which a callee with loops of its own is inlined, wherever it is called: it hardly gains from that.
const LOOPING: u32 = 16;
/// Cost up to which a function with the signature of a wide multiplication is inlined, and what it is charged: the pass
/// `wide` leaves less of it than the call takes.
const WIDE: u32 = 80;
const WIDE_CHARGE: u32 = 1;
/// Cost up to which a function is inlined into itself, and how many times around each other.
const RECURSIVE: u32 = 40;
const RECURSIVE_LEVELS: usize = 3;
/// Bodies around each other.
const MAX_LEVELS: usize = 8;
/// Depth of loops: the cost of hoisting grows with its square.
const MAX_LOOP_DEPTH: u32 = 10;
/// Parameters of a callee.
const MAX_PARAMS: usize = 16;
/// Loops of a callee.
const MAX_CALLEE_LOOPS: u16 = 8;
/// What may be added to a function, whatever its size, and for each unit of its own cost (in percent).
const BUDGET_BASE: u32 = 60;
const BUDGET_PERCENT: u32 = 12;
/// The greatest budget.
const MAX_BUDGET: u32 = 4_000;
/// Where everything is inlined: the cost of a callee, and the budget of a caller.
const STRESS_CALLEE: u32 = 400;
const STRESS_BUDGET: u32 = 3_000;

/// How much is inlined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    stress: bool,
}

/// The module pass: switches inlining on.
pub(super) fn run(env: &ModuleEnv<'_>, plan: &mut Plan) {
    plan.inline = match plan.inlining {
        Inlining::No => None,
        Inlining::Yes => (env.isa.flags().opt_level() != OptLevel::None).then_some(Policy { stress: false }),
        Inlining::Stress => Some(Policy { stress: true }),
    };
}

/// What may still be added to one function.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u32,
    whole: u32,
}

/// A call that could be replaced.
pub(crate) struct Site<'a> {
    /// What it calls.
    pub(crate) callee: DefinedFuncIndex,
    /// Depth of loops around it.
    pub(crate) loop_depth: u32,
    /// Whether an argument is a constant.
    pub(crate) constant_argument: bool,
    /// Whether it is known to be made about as often as the caller is entered, or oftener.
    pub(crate) is_frequent: bool,
    /// Whether a trap is all that follows, unless the callee does not come back.
    pub(crate) ends: bool,
    /// The functions whose bodies it is in: the caller, then those that were inlined around each other.
    pub(crate) around: &'a [DefinedFuncIndex],
}

impl Policy {
    /// What may be inlined into a function; `None` if it costs too much to compile as it is.
    pub(crate) fn budget(self, env: &ModuleEnv<'_>, caller: DefinedFuncIndex) -> Option<Budget> {
        let info = env.infos.get(caller);
        if is_large(env, &info) {
            return None;
        }
        let whole = if self.stress {
            STRESS_BUDGET
        } else {
            (BUDGET_BASE + info.cost() * BUDGET_PERCENT / 100).min(MAX_BUDGET)
        };
        Some(Budget { left: whole, whole })
    }

    /// Whether a call is to be replaced. If so, the budget is charged.
    pub(crate) fn admits(self, env: &ModuleEnv<'_>, site: &Site<'_>, budget: &mut Budget) -> bool {
        let info = env.infos.get(site.callee);
        let callee = env.module.func_index(site.callee);
        let levels = if site.around.contains(&site.callee) { self.recursive_levels(site) } else { MAX_LEVELS };
        if site.around.len() > levels
            || site.loop_depth > MAX_LOOP_DEPTH
            || info.num_loops() > MAX_CALLEE_LOOPS
            || env.module.func_type(callee).params.len() > MAX_PARAMS
            || is_large(env, &info)
            // What runs once at most is no gain.
            || !self.stress && (site.ends || info.seems_final())
        {
            return false;
        }
        let wide = is_wide_multiplication(env.module.func_type(callee), &info);
        let charge = if wide { WIDE_CHARGE } else { info.cost().saturating_sub(CALL) + 1 };
        let in_loop = site.loop_depth > 0 || site.is_frequent;
        // What is executed most is not left with nothing by what comes before it.
        let left = if in_loop || self.stress { budget.left } else { budget.left.saturating_sub(budget.whole / 2) };
        let fits = info.cost() <= self.limit(env, site, &info) && charge <= left;
        if !(fits || info.cost() <= TINY && charge <= budget.left) {
            return false;
        }
        budget.left -= charge;
        true
    }

    /// What decides about calls of `callee`, for the cache: all that [`Policy::admits`] looks at beside its type. `None` if
    /// no call is ever replaced.
    pub(crate) fn facts(self, env: &ModuleEnv<'_>, callee: DefinedFuncIndex) -> Option<[u8; 8]> {
        if !self.may_admit(env, callee) {
            return None;
        }
        let info = env.infos.get(callee);
        let flags = [info.makes_calls(), is_large(env, &info), self.stress, info.seems_final()];
        let flags = flags.iter().enumerate().map(|(i, flag)| u8::from(*flag) << i).sum();
        let [a, b, c, d] = info.cost().to_le_bytes();
        let [e, f] = info.num_loops().to_le_bytes();
        Some([a, b, c, d, e, f, flags, 0])
    }

    /// Whether a call of `callee` is ever replaced, at the best of sites.
    fn may_admit(self, env: &ModuleEnv<'_>, callee: DefinedFuncIndex) -> bool {
        let info = env.infos.get(callee);
        let best = Site { callee, loop_depth: 1, constant_argument: true, is_frequent: true, ends: false, around: &[] };
        info.cost() <= self.limit(env, &best, &info).max(RECURSIVE)
    }

    /// How many bodies of a function may be around each other.
    fn recursive_levels(self, site: &Site<'_>) -> usize {
        let alone = site.around.iter().all(|f| *f == site.callee);
        if alone { RECURSIVE_LEVELS } else { 0 }
    }

    fn limit(self, env: &ModuleEnv<'_>, site: &Site<'_>, info: &FuncInfo<'_>) -> u32 {
        if self.stress {
            return STRESS_CALLEE;
        }
        if site.around.contains(&site.callee) {
            return RECURSIVE;
        }
        if info.num_loops() > 0 {
            return LOOPING;
        }
        if is_wide_multiplication(env.module.func_type(env.module.func_index(site.callee)), info) {
            return WIDE;
        }
        let limit = if info.makes_calls() { CALLING } else { LEAF };
        let limit = if site.constant_argument { limit + limit / 2 } else { limit };
        match site {
            _ if site.loop_depth > 0 => limit * IN_LOOP,
            _ if site.is_frequent => limit * IF_FREQUENT,
            _ => limit,
        }
    }
}

/// Whether a function looks like the multiplication of 128-bit numbers of C and Rust libraries: a place for the product, and
/// the halves of both factors. If it is none, code grows a bit.
fn is_wide_multiplication(ty: &FuncType, info: &FuncInfo<'_>) -> bool {
    let halves = [ValType::I64; 4];
    let params = ty.params.split_first();
    ty.results.is_empty()
        && params.is_some_and(|(place, rest)| *place == ValType::I32 && *rest == halves)
        && !info.makes_calls()
        && info.num_loops() == 0
        && info.cost() <= WIDE
}

/// Whether a function is one of those that are compiled with restraint, because they are so large.
fn is_large(env: &ModuleEnv<'_>, info: &FuncInfo<'_>) -> bool {
    info.is_costly() || info.keeps_locals_in_memory(!env.tunables.signals)
}
