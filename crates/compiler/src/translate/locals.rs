//! Where the locals of a function are: SSA variables, or memory where there are too many of them.

use cranelift_codegen::ir::types::{F32, F64, I8X16, I64};
use cranelift_codegen::ir::{Block, InstBuilder, StackSlot, StackSlotData, StackSlotKind, Type, Value};
use cranelift_frontend::Variable;
use kiln_env::types::ValType;
use kiln_env::{abi, limits};
use wasmparser::FunctionBody;

use super::emitter::{Emitter, Region, clif_type};
use crate::convert;
use crate::error::{CompileError, Result};

/// The locals of one function.
pub(super) struct Locals {
    places: Vec<Local>,
    /// The stack slot of locals in memory, which has a value slot for each local.
    memory: Option<StackSlot>,
    references: u32,
}

/// Where a local is.
#[derive(Clone, Copy)]
enum Local {
    /// In an SSA variable.
    Variable(Variable),
    /// In the stack slot, at the position of its index.
    Memory(Type),
}

impl Locals {
    /// Locals of a function, none yet: in memory if SSA variables would take too much of it.
    pub(super) fn new(e: &mut Emitter, in_memory: bool, count: u32) -> Locals {
        let memory = in_memory.then(|| {
            let size = count * abi::SLOT_SIZE;
            e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4))
        });
        Locals { places: Vec::new(), memory, references: 0 }
    }

    /// Declares the parameters and then the locals of a body.
    ///
    /// # Errors
    /// Collected references are never in memory: a limit if there are many of them in a function that is too large.
    pub(super) fn declare(
        &mut self,
        e: &mut Emitter,
        entry: Block,
        params: &[ValType],
        body: &FunctionBody<'_>,
    ) -> Result<()> {
        for (i, ty) in params.iter().enumerate() {
            let value = e.b.block_params(entry)[i + 1];
            self.add(e, *ty, value)?;
        }
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            let ty = convert::val_type(ty)?;
            // One zero serves all locals of the group.
            let zero = zero(e, ty);
            for _ in 0..count {
                self.add(e, ty, zero)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, e: &mut Emitter, ty: ValType, value: Value) -> Result<()> {
        let place = if self.memory.is_some() && !ty.is_gc_ref() {
            Local::Memory(clif_type(ty))
        } else {
            let variable = e.b.declare_var(clif_type(ty));
            if ty.is_gc_ref() {
                e.b.declare_var_needs_stack_map(variable);
                self.references += 1;
            }
            if self.memory.is_some() && self.references > limits::MAX_REFERENCE_LOCALS {
                let what = "locals that hold references in a function of this size";
                let limit = limits::MAX_REFERENCE_LOCALS.into();
                return Err(CompileError::limit(what, self.references.into(), limit));
            }
            Local::Variable(variable)
        };
        self.places.push(place);
        self.set(e, self.places.len() as u32 - 1, value);
        Ok(())
    }

    /// The value of a local.
    pub(super) fn get(&self, e: &mut Emitter, index: u32) -> Value {
        match self.places[index as usize] {
            Local::Variable(variable) => e.b.use_var(variable),
            Local::Memory(ty) => {
                let (addr, flags) = self.place(e, index);
                e.b.ins().load(ty, flags, addr, 0)
            }
        }
    }

    /// Gives a local a value.
    pub(super) fn set(&self, e: &mut Emitter, index: u32, value: Value) {
        match self.places[index as usize] {
            Local::Variable(variable) => e.b.def_var(variable, value),
            Local::Memory(_) => {
                let (addr, flags) = self.place(e, index);
                e.b.ins().store(flags, value, addr, 0);
            }
        }
    }

    fn place(&self, e: &mut Emitter, index: u32) -> (Value, cranelift_codegen::ir::MemFlagsData) {
        let slot = self.memory.expect("locals in memory have a slot");
        let flags = e.trusted(Region::Slots);
        (e.b.ins().stack_addr(I64, slot, (index * abi::SLOT_SIZE) as i32), flags)
    }
}

/// The first value of locals that are no parameters.
fn zero(e: &mut Emitter, ty: ValType) -> Value {
    match clif_type(ty) {
        F32 => e.b.ins().f32const(0.0),
        F64 => e.b.ins().f64const(0.0),
        I8X16 => {
            let zero = e.b.func.dfg.constants.insert([0; 16].as_slice().into());
            e.b.ins().vconst(I8X16, zero)
        }
        int => e.b.ins().iconst(int, 0),
    }
}
