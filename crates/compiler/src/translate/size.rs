//! How large a function is in IR, in operands, and how large it may be.

use cranelift_codegen::ir::{Function, InstructionData};
use cranelift_codegen::settings::OptLevel;
use kiln_env::tier::Tier;
use kiln_env::{DefinedFuncIndex, limits};

use crate::error::{CompileError, Result};
use crate::module_env::ModuleEnv;

/// What a call counts by itself: the registers that it does not preserve are operands for the register allocator.
const PER_CALL: u64 = 8;
/// What each argument and result of a call counts.
const PER_CALL_OPERAND: u64 = 4;
/// What each operand of a branch to a handler counts: every call in the handler's reach has an edge of its own.
const PER_EDGE_OPERAND: u64 = 16;
/// What a handler counts at least for each call in its reach: the branch has a target and passes the exception.
pub(super) const PER_HANDLER: u64 = 2 * PER_EDGE_OPERAND;

/// The number of operands of a function: see [`limits::MAX_OPTIMIZED_OPERANDS`].
pub(super) fn operands(func: &Function) -> u64 {
    let dfg = &func.dfg;
    let pool = &dfg.value_lists;
    let mut count = 0;
    for block in func.layout.blocks() {
        count += dfg.num_block_params(block) as u64;
        for inst in func.layout.block_insts(block) {
            let values = (dfg.inst_args(inst).len() + dfg.inst_results(inst).len()) as u64;
            count += match dfg.insts[inst].opcode().is_call() {
                true => PER_CALL + PER_CALL_OPERAND * values,
                false => 1 + values,
            };
            let branches = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
            count += branches.iter().map(|call| 1 + call.len(pool) as u64).sum::<u64>();
            if let InstructionData::TryCall { exception, .. } | InstructionData::TryCallIndirect { exception, .. } =
                dfg.insts[inst]
            {
                let to_handlers = branches.len() as u64 - 1;
                let all: u64 = branches.iter().map(|call| call.len(pool) as u64).sum();
                let passed = all - dfg.exception_tables[exception].normal_return().len(pool) as u64;
                count += (PER_EDGE_OPERAND - 1) * (to_handlers + passed);
            }
        }
    }
    count
}

/// How many operands a function may have.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    optimized: bool,
}

impl Limit {
    /// That of a function which is compiled at a tier.
    pub(super) fn new(env: &ModuleEnv<'_>, func: DefinedFuncIndex, tier: Tier) -> Limit {
        let optimizes = env.isa.flags().opt_level() != OptLevel::None;
        Limit { optimized: optimizes && tier == Tier::Optimized && !env.infos.get(func).is_costly() }
    }

    /// # Errors
    /// `found` is more.
    pub(super) fn check(self, found: u64) -> Result<()> {
        let (limit, what, advice) = match self.optimized {
            true => (
                limits::MAX_OPTIMIZED_OPERANDS,
                "operands of one optimised function",
                "split the function, or run the module in the dynamic tier, which does not optimise such functions",
            ),
            false => (limits::MAX_OPERANDS, "operands of one function", "split the function"),
        };
        if found <= limit { Ok(()) } else { Err(CompileError::limit_with_advice(what, found, limit, advice)) }
    }

    /// Whether a function of which so much is made already is large enough without inlining.
    pub(super) fn is_near(self, found: u64) -> bool {
        found > limits::MAX_OPTIMIZED_OPERANDS / 8
    }
}
