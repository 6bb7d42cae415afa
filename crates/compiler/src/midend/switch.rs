//! `br_table` with few cases as comparisons.
//!
//! Cranelift makes an indirect jump of each `br_table`, behind a clamp of the index, also for indices that lead to the
//! default. A handful of comparisons is cheaper where there are few targets, and predicted better where the default is
//! what mostly happens. Safety against speculation is not touched: what is left of indirect jumps keeps Cranelift's
//! clamp, and a comparison needs none.
//!
//! Why the result is the same: the index is split into [`Run`]s, ranges of indices with the same target and the same
//! arguments for it; whatever is in no run goes to the default. Runs are disjoint, so they may be tested in any order.
//! * `lo <= v <= hi` is tested as `v - lo <= hi - lo` without sign, which wraps to something larger for `v < lo`.
//! * A set of indices below 64 is tested as a bit of a constant, behind a test that the index is below 64.
//! * A test for the size of the table in front of a `br_table` repeats what the `br_table` does itself.
//!
//! Targets get the arguments they got before. Nothing is moved that may trap.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, Function, Inst, InstBuilder, InstructionData, JumpTable, JumpTableData, Value, types,
};
use smallvec::SmallVec;

use super::Plan;
use crate::error::Result;
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;

/// Tests that are cheaper than an indirect jump, where each is one comparison.
const MAX_TESTS: usize = 4;
/// Tests of bits, each of which is three instructions.
const MAX_BIT_TESTS: usize = 3;

pub(super) fn run(_: &ModuleEnv<'_>, _: &Plan, ir: &mut FuncIr) -> Result<bool> {
    let func = &mut ir.func;
    let mut tables = Vec::new();
    for block in func.layout.blocks() {
        if let Some(inst) = func.layout.last_inst(block)
            && let InstructionData::BranchTable { arg, table, .. } = func.dfg.insts[inst]
        {
            tables.push((inst, arg, table));
        }
    }
    let mut changed = false;
    for (inst, index, table) in tables {
        let cases = Cases::new(func, table);
        if let Some(tests) = cases.tests() {
            replace(func, inst, index, table, &cases, &tests);
            changed = true;
        } else if cases.has_holes {
            guard(func, inst, index, table, &cases);
            changed = true;
        }
    }
    Ok(changed)
}

/// Indices from `lo` to `hi`, both included, that lead to the same target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    lo: u32,
    hi: u32,
    /// Position in [`Cases::targets`].
    target: usize,
}

/// What a jump table says.
struct Cases {
    /// Different targets, the default first.
    targets: Vec<(Block, SmallVec<[BlockArg; 4]>)>,
    /// All but those that lead to the default; ascending.
    runs: Vec<Run>,
    /// Whether indices below the last run lead to the default.
    has_holes: bool,
    /// Least index behind the last run.
    end: u32,
}

/// One test and the target behind it.
#[derive(Debug, PartialEq, Eq)]
enum Test {
    /// Indices in a range.
    Run(Run),
    /// Indices whose bit is set.
    Bits(u64, usize),
}

impl Cases {
    fn new(func: &Function, table: JumpTable) -> Cases {
        let pool = &func.dfg.value_lists;
        let data = &func.dfg.jump_tables[table];
        let describe = |call: &BlockCall| (call.block(pool), call.args(pool).collect::<SmallVec<[BlockArg; 4]>>());
        let mut cases =
            Cases { targets: vec![describe(&data.default_block())], runs: vec![], has_holes: false, end: 0 };
        for (index, call) in (0..).zip(data.as_slice()) {
            let target = describe(call);
            // Where there are many targets, only the latest are looked at: that a target has two numbers is harmless.
            let known = cases.targets.iter().enumerate().rev().take(8).find(|(_, t)| **t == target).map(|(i, _)| i);
            let target = match known {
                _ if cases.targets[0] == target => continue,
                Some(known) => known,
                None => {
                    cases.targets.push(target);
                    cases.targets.len() - 1
                }
            };
            cases.has_holes |= index != cases.end;
            cases.end = index + 1;
            match cases.runs.last_mut().filter(|r| r.hi + 1 == index && r.target == target) {
                Some(run) => run.hi = index,
                None => cases.runs.push(Run { lo: index, hi: index, target }),
            }
        }
        cases
    }

    /// The tests to make, the default behind them; `None` if there would be too many.
    fn tests(&self) -> Option<Vec<Test>> {
        if self.runs.len() <= MAX_TESTS {
            // The longest first: they say most.
            let mut runs = self.runs.clone();
            runs.sort_by_key(|r| (std::cmp::Reverse(r.hi - r.lo), r.lo));
            return Some(runs.into_iter().map(Test::Run).collect());
        }
        if self.end > 64 || self.targets.len() > 1 + MAX_BIT_TESTS {
            return None;
        }
        let of = |target| self.runs.iter().filter(move |r| r.target == target);
        let tests = (1..self.targets.len()).map(|target| match of(target).copied().collect::<Vec<_>>()[..] {
            [one] => Test::Run(one),
            ref several => Test::Bits(several.iter().map(bits).fold(0, std::ops::BitOr::bitor), target),
        });
        let mut tests: Vec<Test> = tests.collect();
        tests.sort_by_key(|t| matches!(t, Test::Bits(..)));
        Some(tests)
    }

    /// Whether a test for indices behind the last run pays: the default has been seen to be a case among others, and it
    /// saves more than one test.
    fn wants_guard(&self, tests: &[Test]) -> bool {
        tests.iter().any(|t| matches!(t, Test::Bits(..))) || (tests.len() > 2 && self.has_holes)
    }
}

/// The bits of the indices in a run, which are below 64.
fn bits(run: &Run) -> u64 {
    (u64::MAX >> (63 - (run.hi - run.lo))) << run.lo
}

/// Makes tests of a `br_table`.
fn replace(func: &mut Function, inst: Inst, index: Value, table: JumpTable, cases: &Cases, tests: &[Test]) {
    // The table stays behind, unused: nothing in it may keep values alive.
    let (default, default_args) = &cases.targets[0];
    let unused = BlockCall::new(*default, [], &mut func.dfg.value_lists);
    func.dfg.jump_tables[table] = JumpTableData::new(unused, &[]);
    let wide = tests.iter().any(|t| matches!(t, Test::Bits(..)));
    let mut cursor = FuncCursor::new(func);
    cursor.goto_inst(inst);
    cursor.use_srcloc(inst);
    cursor.remove_inst();
    let guarded = cases.wants_guard(tests);
    if guarded {
        let inside = less(&mut cursor, index, cases.end);
        let next = follow(&mut cursor);
        cursor.ins().brif(inside, next, &[], *default, default_args);
        cursor.goto_bottom(next);
    }
    let bit = wide.then(|| cursor.ins().uextend(types::I64, index));
    for (n, test) in tests.iter().enumerate() {
        let (condition, target) = match *test {
            Test::Run(run) => (in_run(&mut cursor, index, run), run.target),
            Test::Bits(mask, target) => {
                let mask = cursor.ins().iconst(types::I64, mask as i64);
                let shifted = cursor.ins().ushr(mask, bit.unwrap_or(index));
                (cursor.ins().band_imm_u(shifted, 1), target)
            }
        };
        let (block, args) = &cases.targets[target];
        if n + 1 == tests.len() && guarded && !cases.has_holes {
            // The guard leaves nothing else.
            cursor.ins().jump(*block, args);
        } else if n + 1 == tests.len() {
            cursor.ins().brif(condition, *block, args, *default, default_args);
        } else {
            let next = follow(&mut cursor);
            cursor.ins().brif(condition, *block, args, next, &[]);
            cursor.goto_bottom(next);
        }
    }
    if tests.is_empty() {
        cursor.ins().jump(*default, default_args);
    }
}

/// Puts a test for the end of the table in front of a `br_table`.
fn guard(func: &mut Function, inst: Inst, index: Value, table: JumpTable, cases: &Cases) {
    let (default, args) = &cases.targets[0];
    let mut cursor = FuncCursor::new(func);
    cursor.goto_inst(inst);
    cursor.use_srcloc(inst);
    cursor.remove_inst();
    let inside = less(&mut cursor, index, cases.end);
    let next = follow(&mut cursor);
    cursor.ins().brif(inside, next, &[], *default, args);
    cursor.goto_bottom(next);
    cursor.ins().br_table(index, table);
}

/// A new block behind the current one.
fn follow(cursor: &mut FuncCursor<'_>) -> Block {
    let next = cursor.func.dfg.make_block();
    if let Some(current) = cursor.current_block() {
        cursor.func.layout.insert_block_after(next, current);
    }
    next
}

/// Whether an index is less than `end`, which is not 0.
fn less(cursor: &mut FuncCursor<'_>, index: Value, end: u32) -> Value {
    let end = constant(cursor, index, end);
    cursor.ins().icmp(IntCC::UnsignedLessThan, index, end)
}

fn in_run(cursor: &mut FuncCursor<'_>, index: Value, run: Run) -> Value {
    let lo = constant(cursor, index, run.lo);
    if run.lo == run.hi {
        return cursor.ins().icmp(IntCC::Equal, index, lo);
    }
    let from_lo = if run.lo == 0 { index } else { cursor.ins().isub(index, lo) };
    less(cursor, from_lo, run.hi - run.lo + 1)
}

fn constant(cursor: &mut FuncCursor<'_>, like: Value, n: u32) -> Value {
    let ty = cursor.func.dfg.value_type(like);
    cursor.ins().iconst(ty, i64::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(targets: usize, entries: &[usize]) -> Cases {
        let mut func = Function::new();
        let blocks: Vec<Block> = (0..=targets).map(|_| func.dfg.make_block()).collect();
        let calls: Vec<BlockCall> =
            entries.iter().map(|e| BlockCall::new(blocks[*e], [], &mut func.dfg.value_lists)).collect();
        let default = BlockCall::new(blocks[0], [], &mut func.dfg.value_lists);
        let table = func.create_jump_table(JumpTableData::new(default, &calls));
        Cases::new(&func, table)
    }

    /// Where tests send an index.
    fn decide(tests: &[Test], index: u32) -> usize {
        let hit = tests.iter().find_map(|t| match *t {
            Test::Run(r) => (r.lo..=r.hi).contains(&index).then_some(r.target),
            Test::Bits(mask, target) => (index < 64 && mask >> index & 1 != 0).then_some(target),
        });
        hit.unwrap_or(0)
    }

    #[test]
    fn tests_say_what_the_table_says() {
        let mut seed = 1u32;
        let mut random = |n: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % n
        };
        let (mut chains, mut bit_tests) = (0, 0);
        for _ in 0..2000 {
            let targets = 1 + random(4) as usize;
            let entries: Vec<usize> = (0..random(70)).map(|_| random(targets as u32 + 1) as usize).collect();
            let cases = cases(targets, &entries);
            let Some(tests) = cases.tests() else { continue };
            chains += usize::from(tests.iter().all(|t| matches!(t, Test::Run(_))));
            bit_tests += usize::from(tests.iter().any(|t| matches!(t, Test::Bits(..))));
            for index in (0..80).chain([u32::MAX]) {
                let expected = entries.get(index as usize).copied().unwrap_or(0);
                // Targets are numbered in order of appearance.
                let found = decide(&tests, index);
                let block = cases.targets[found].0.as_u32() as usize;
                assert_eq!(block, expected, "{entries:?} at {index}");
            }
        }
        assert!(chains > 100 && bit_tests > 100, "{chains} {bit_tests}");
    }

    #[test]
    fn many_targets_stay_a_table() {
        assert!(cases(20, &(1..=20).collect::<Vec<_>>()).tests().is_none());
        let far = cases(1, &[1; 4096]);
        assert_eq!(far.tests().unwrap().len(), 1);
        assert!(!far.has_holes);
        assert!(cases(1, &[]).tests().unwrap().is_empty());
    }
}
