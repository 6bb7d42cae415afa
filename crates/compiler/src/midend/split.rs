//! Long blocks get copies of their own of what they use often, for x86-64 behind Cranelift's optimiser.
//!
//! The register allocator splits the life of a value at most twice. What is alive for long and loses its register again, as
//! the base of the memory does in functions with more values than registers, is then loaded from the stack for each use,
//! even where registers are free. A copy that lives in one block only is a value of its own: it is allocated for
//! what happens in that block, and the original is free to wait on the stack meanwhile.
//!
//! Why the result is the same: the copy is the sum of the value and zero, at the start of the block, and takes the place of
//! the value in that block alone. What defines the value is in another block and dominates a use in this one, so
//! it dominates the whole block. The `bitcast` around the sum, from the type to itself, makes no instruction; it keeps
//! the backend's patterns from seeing through.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::entity::packed_option::PackedOption;
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder, MemFlagsData, Opcode, Value, ValueDef, types};

/// Name for switching it off.
pub(super) const NAME: &str = "split";

/// From how many instructions on a block is long: a copy is hardly noticed there.
const LONG: usize = 100;
/// From how many uses on a value gets a copy.
const OFTEN: u32 = 8;

/// Finds the values; holds scratch memory that is used again.
#[derive(Default)]
pub(crate) struct Split {
    /// What is known of values from outside of the block at hand.
    values: SecondaryMap<Value, Uses>,
    /// Those values.
    seen: Vec<Value>,
}

/// How a block uses a value from outside.
#[derive(Clone, Copy, Default)]
struct Uses {
    number: u32,
    /// What it is to use instead.
    copy: PackedOption<Value>,
}

impl Split {
    /// Changes a function whose optimisation is over.
    pub(crate) fn run(&mut self, func: &mut Function) {
        if func.dfg.num_insts() < LONG {
            return;
        }
        let mut next = func.layout.entry_block();
        while let Some(block) = next {
            if func.layout.block_insts(block).nth(LONG - 1).is_some() {
                self.count(func, block);
                let first = func.layout.first_inst(block);
                self.copy(func, block);
                self.replace(func, block, first);
                for value in self.seen.drain(..) {
                    self.values[value] = Uses::default();
                }
            }
            next = func.layout.next_block(block);
        }
    }

    /// Counts uses of values that are defined in other blocks, but for those by the block's last instruction.
    fn count(&mut self, func: &Function, block: Block) {
        for inst in func.layout.block_insts(block).filter(|inst| func.layout.last_inst(block) != Some(*inst)) {
            for &value in func.dfg.inst_args(inst) {
                let value = func.dfg.resolve_aliases(value);
                if func.dfg.value_type(value) != types::I64 || !comes_from_outside(func, value, block) {
                    continue;
                }
                let uses = &mut self.values[value];
                if uses.number == 0 {
                    self.seen.push(value);
                }
                uses.number += 1;
            }
        }
    }

    /// Makes copies at the start of the block.
    fn copy(&mut self, func: &mut Function, block: Block) {
        let mut cursor = FuncCursor::new(func).at_first_inst(block);
        for &value in &self.seen {
            let uses = &mut self.values[value];
            if uses.number >= OFTEN {
                let zero = cursor.ins().iconst(types::I64, 0);
                let sum = cursor.ins().iadd(value, zero);
                uses.copy = cursor.ins().bitcast(types::I64, MemFlagsData::new(), sum).into();
            }
        }
    }

    /// Lets the block use the copies, from its former first instruction on.
    fn replace(&self, func: &mut Function, block: Block, first: Option<Inst>) {
        let mut next = first;
        while let Some(inst) = next.filter(|inst| func.layout.last_inst(block) != Some(*inst)) {
            for at in 0..func.dfg.inst_args(inst).len() {
                let value = func.dfg.resolve_aliases(func.dfg.inst_args(inst)[at]);
                if let Some(copy) = self.values[value].copy.expand() {
                    func.dfg.inst_args_mut(inst)[at] = copy;
                }
            }
            next = func.layout.next_inst(inst);
        }
    }
}

/// Whether a value is defined in another block and takes a register.
fn comes_from_outside(func: &Function, value: Value, block: Block) -> bool {
    match func.dfg.value_def(value) {
        // These are made where they are used, or are part of an address.
        ValueDef::Result(def, _) if matches!(func.dfg.insts[def].opcode(), Opcode::Iconst | Opcode::StackAddr) => false,
        ValueDef::Result(def, _) => func.layout.inst_block(def) != Some(block),
        ValueDef::Param(home, _) => home != block,
        ValueDef::Union(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use cranelift_codegen::ir::{AbiParam, Signature};
    use cranelift_codegen::isa::CallConv;

    use super::*;

    /// A function whose second block adds its parameter `uses` times, in `length` instructions with the last.
    fn function(uses: usize, length: usize) -> (Function, Block) {
        let mut func = Function::new();
        func.signature = Signature::new(CallConv::Tail);
        func.signature.params.push(AbiParam::new(types::I64));
        func.signature.returns.push(AbiParam::new(types::I64));
        let (entry, long) = (func.dfg.make_block(), func.dfg.make_block());
        let param = func.dfg.append_block_param(entry, types::I64);
        let mut cursor = FuncCursor::new(&mut func);
        cursor.insert_block(entry);
        cursor.ins().jump(long, &[]);
        cursor.insert_block(long);
        let mut sum = cursor.ins().iconst(types::I64, 7);
        for n in 2..length {
            sum = if n < uses + 2 { cursor.ins().iadd(sum, param) } else { cursor.ins().ineg(sum) };
        }
        cursor.ins().return_(&[param]);
        (func, long)
    }

    fn uses(func: &Function, block: Block, value: Value) -> usize {
        let values = func.layout.block_insts(block).flat_map(|inst| func.dfg.inst_args(inst));
        values.filter(|v| **v == value).count()
    }

    #[test]
    fn long_blocks_copy_what_they_use_often() {
        let often = OFTEN as usize;
        let mut split = Split::default();
        for (number, length, copied) in [(often, LONG, true), (often - 1, LONG, false), (often, LONG - 1, false)] {
            let (mut func, block) = function(number, length);
            let param = func.dfg.block_params(func.layout.entry_block().unwrap())[0];
            split.run(&mut func);
            // The copy and the return are left.
            assert_eq!(uses(&func, block, param), if copied { 2 } else { number + 1 }, "{number} of {length}");
            cranelift_codegen::verify_function(
                &func,
                &cranelift_codegen::settings::Flags::new(cranelift_codegen::settings::builder()),
            )
            .unwrap();
            let copy =
                func.layout.block_insts(block).map(|i| func.dfg.insts[i].opcode()).position(|o| o == Opcode::Bitcast);
            assert_eq!(copy, copied.then_some(2));
        }
    }
}
