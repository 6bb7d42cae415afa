//! Where the locals of a function are: SSA variables, or memory where there are too many of them.

use std::collections::HashMap;

use cranelift_codegen::ir::types::{F32, F64, I8X16, I32, I64};
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
    /// How many collected references there may be; only counted if there is a limit.
    max_references: Option<u32>,
    references: u32,
}

/// Where the locals of a function are to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// In SSA variables.
    Variables,
    /// In memory, as on-stack replacement wants them. Collected references are in variables.
    Memory,
    /// The same because there are too many of them for variables; thus few may be collected references.
    MemoryForSize,
}

/// Variables of inlined bodies that are done: the next one takes them, since each costs memory for every block of the
/// function.
#[derive(Default)]
pub(super) struct FreeVariables(HashMap<Kind, Vec<Variable>>);

/// Type of a variable, and whether the collector must find it.
type Kind = (Type, bool);

fn kind(ty: ValType) -> Kind {
    (clif_type(ty), ty.is_gc_ref())
}

/// Where a local is.
#[derive(Clone, Copy)]
enum Local {
    /// In an SSA variable.
    Variable(Variable, Type),
    /// In an SSA variable that the collector knows.
    Reference(Variable),
    /// In the stack slot, at the position of its index.
    Memory(Type),
}

impl Locals {
    /// Locals of a function, none yet; if they are to be in memory, there will be `count`.
    pub(super) fn new(e: &mut Emitter, home: Home, count: u32) -> Locals {
        let memory = (home != Home::Variables && count > 0).then(|| {
            let size = count * abi::SLOT_SIZE;
            e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4))
        });
        let max_references = (home == Home::MemoryForSize).then_some(limits::MAX_REFERENCE_LOCALS);
        Locals { places: Vec::new(), memory, max_references, references: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Their types, by index.
    pub(super) fn types(&self) -> impl Iterator<Item = Type> {
        self.places.iter().map(|p| match *p {
            Local::Variable(_, ty) | Local::Memory(ty) => ty,
            Local::Reference(_) => I32,
        })
    }

    /// The stack slot of locals in memory, which has a value slot for each local.
    pub(super) fn memory(&self) -> Option<StackSlot> {
        self.memory
    }

    /// Whether a local is in that stack slot.
    pub(super) fn is_in_memory(&self, index: u32) -> bool {
        matches!(self.places[index as usize], Local::Memory(_))
    }

    /// Declares the parameters and then the locals of a body. Parameters are those of the block `entry` behind the context;
    /// without one they are zero.
    ///
    /// # Errors
    /// Collected references are never in memory: a limit if there are many of them in a function that is too large.
    pub(super) fn declare(
        &mut self,
        e: &mut Emitter,
        entry: Option<Block>,
        params: &[ValType],
        body: &FunctionBody<'_>,
    ) -> Result<()> {
        for (i, ty) in params.iter().enumerate() {
            let value = match entry {
                Some(entry) => e.b.block_params(entry)[i + 1],
                None => zero(e, *ty),
            };
            self.add(e, *ty, value)?;
        }
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            let ty = convert::val_type(ty, convert::Kinds::of(&e.env.module.types))?;
            // One zero serves all locals of the group.
            let zero = zero(e, ty);
            for _ in 0..count {
                self.add(e, ty, zero)?;
            }
        }
        Ok(())
    }

    /// Locals of an inlined body, none yet.
    pub(super) fn inlined() -> Locals {
        Locals { places: Vec::new(), memory: None, references: 0, max_references: None }
    }

    /// Declares the parameters of an inlined body, which are `args` at first, and then its locals.
    pub(super) fn declare_inlined(
        &mut self,
        e: &mut Emitter,
        free: &mut FreeVariables,
        params: &[ValType],
        args: &[Value],
        body: &FunctionBody<'_>,
    ) -> Result<()> {
        for (ty, arg) in params.iter().zip(args) {
            self.add_inlined(e, free, *ty, *arg);
        }
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            let ty = convert::val_type(ty, convert::Kinds::of(&e.env.module.types))?;
            let zero = zero(e, ty);
            for _ in 0..count {
                self.add_inlined(e, free, ty, zero);
            }
        }
        Ok(())
    }

    fn add_inlined(&mut self, e: &mut Emitter, free: &mut FreeVariables, ty: ValType, value: Value) {
        let kind = kind(ty);
        let variable = free.0.get_mut(&kind).and_then(Vec::pop).unwrap_or_else(|| {
            let variable = e.b.declare_var(kind.0);
            if kind.1 {
                e.b.declare_var_needs_stack_map(variable);
            }
            variable
        });
        self.places.push(if kind.1 { Local::Reference(variable) } else { Local::Variable(variable, kind.0) });
        e.b.def_var(variable, value);
    }

    /// The body is done.
    pub(super) fn release(self, free: &mut FreeVariables) {
        for place in self.places {
            let (kind, variable) = match place {
                Local::Variable(variable, ty) => ((ty, false), variable),
                Local::Reference(variable) => ((I32, true), variable),
                Local::Memory(_) => continue,
            };
            free.0.entry(kind).or_default().push(variable);
        }
    }

    fn add(&mut self, e: &mut Emitter, ty: ValType, value: Value) -> Result<()> {
        let place = if ty.is_gc_ref() {
            let variable = e.b.declare_var(I32);
            e.b.declare_var_needs_stack_map(variable);
            self.references += 1;
            if let Some(limit) = self.max_references.filter(|max| self.references > *max) {
                let what = "locals that hold references in a function of this size";
                return Err(CompileError::limit(what, self.references.into(), limit.into()));
            }
            Local::Reference(variable)
        } else if self.memory.is_some() {
            Local::Memory(clif_type(ty))
        } else {
            Local::Variable(e.b.declare_var(clif_type(ty)), clif_type(ty))
        };
        self.places.push(place);
        self.set(e, self.places.len() as u32 - 1, value);
        Ok(())
    }

    /// The value of a local.
    pub(super) fn get(&self, e: &mut Emitter, index: u32) -> Value {
        match self.places[index as usize] {
            Local::Variable(variable, _) => e.b.use_var(variable),
            Local::Reference(variable) => {
                let value = e.b.use_var(variable);
                e.note_collected(value);
                value
            }
            Local::Memory(ty) => {
                let (addr, flags) = self.place(e, index);
                e.b.ins().load(ty, flags, addr, 0)
            }
        }
    }

    /// Gives a local a value.
    pub(super) fn set(&self, e: &mut Emitter, index: u32, value: Value) {
        match self.places[index as usize] {
            Local::Variable(variable, _) | Local::Reference(variable) => e.b.def_var(variable, value),
            Local::Memory(_) => {
                let (addr, flags) = self.place(e, index);
                e.b.ins().store(flags, value, addr, 0);
            }
        }
    }

    fn place(&self, e: &mut Emitter, index: u32) -> (Value, cranelift_codegen::ir::MemFlagsData) {
        let slot = self.memory.expect("locals in memory have a slot");
        let flags = e.slot_flags(Region::Slots);
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
