//! Where arguments and results are: Cranelift's `tail` convention on x86-64.

use kiln_env::stencil::Ty;
use kiln_env::types::{RefRepr, ValType};

use crate::asm::reg::*;

/// A value's type as far as code is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct V {
    pub(crate) ty: Ty,
    /// A reference to an object of the collected heap.
    pub(crate) gc: bool,
}

impl V {
    pub(crate) const fn new(ty: Ty) -> V {
        V { ty, gc: false }
    }

    pub(crate) const GC: V = V { ty: Ty::I32, gc: true };

    /// Bytes of its slot.
    pub(crate) fn size(self) -> u32 {
        if self.ty == Ty::V128 { 16 } else { 8 }
    }
}

impl From<ValType> for V {
    fn from(ty: ValType) -> V {
        match ty {
            ValType::I32 => V::new(Ty::I32),
            ValType::I64 => V::new(Ty::I64),
            ValType::F32 => V::new(Ty::F32),
            ValType::F64 => V::new(Ty::F64),
            ValType::V128 => V::new(Ty::V128),
            ValType::Ref(r) => match r.repr() {
                RefRepr::FuncPointer => V::new(Ty::I64),
                RefRepr::Gc => V::GC,
            },
        }
    }
}

/// Where a value is passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loc {
    Int(u8),
    Float(u8),
    /// Offset in the area of arguments or results.
    Stack(u32),
}

const ARGUMENTS: [u8; 6] = [RDI, RSI, RDX, RCX, R8, R9];
const RESULTS: [u8; 8] = [RAX, RCX, RDX, RSI, RDI, R8, R9, R10];
const FLOATS: u8 = 8;

/// Values in the order of a signature.
struct Assign {
    ints: &'static [u8],
    used: usize,
    floats: u8,
    stack: u32,
}

impl Assign {
    fn next(&mut self, v: V) -> Loc {
        if v.ty.is_int() {
            if let Some(register) = self.ints.get(self.used) {
                self.used += 1;
                return Loc::Int(*register);
            }
        } else if self.floats < FLOATS {
            self.floats += 1;
            return Loc::Float(self.floats - 1);
        }
        let at = self.stack.next_multiple_of(v.size());
        self.stack = at + v.size();
        Loc::Stack(at)
    }
}

/// A signature's locations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signature {
    /// Types and places of the wasm parameters.
    pub(crate) params: Vec<(V, Loc)>,
    /// Of the results.
    pub(crate) results: Vec<(V, Loc)>,
    /// Bytes of arguments on the stack, which the callee removes.
    pub(crate) argument_bytes: u32,
    /// Bytes of results in memory; if there are any, their address is the first argument.
    pub(crate) result_bytes: u32,
}

impl Signature {
    pub(crate) fn set(&mut self, params: impl Iterator<Item = V>, results: impl Iterator<Item = V>) {
        let mut assign = Assign { ints: &RESULTS, used: 0, floats: 0, stack: 0 };
        self.results.clear();
        self.results.extend(results.map(|v| (v, assign.next(v))));
        self.result_bytes = assign.stack.next_multiple_of(16);
        // The address of results, then the context.
        let used = if self.result_bytes > 0 { 2 } else { 1 };
        let mut assign = Assign { ints: &ARGUMENTS, used, floats: 0, stack: 0 };
        self.params.clear();
        self.params.extend(params.map(|v| (v, assign.next(v))));
        self.argument_bytes = assign.stack.next_multiple_of(16);
    }

    /// The register of the callee's context.
    pub(crate) fn context(&self) -> u8 {
        if self.result_bytes > 0 { RSI } else { RDI }
    }
}
