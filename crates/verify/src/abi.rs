//! Where arguments and results are: the conventions of [`kiln_env::abi`] on x86-64.

use kiln_env::builtins::BuiltinType;
use kiln_env::types::{FuncType, HeapType, RefRepr, ValType};
use kiln_env::{Builtin, FuncKey, Module};

use crate::state::{RAX, RCX, RDI, RDX, RSI};

/// What a parameter or result may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The callee's context.
    Context,
    /// A place of so many bytes for results.
    Results(u32),
    /// An integer of 32 bits: what is above is anything.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// A float or vector of so many bytes.
    Vector(u32),
    /// A function reference, of a type if one is given.
    FuncRef(Option<u32>),
    /// A collected reference.
    Reference,
    /// A host pointer to or from a builtin.
    Pointer,
}

impl Kind {
    /// Of a wasm type.
    pub(crate) fn of(ty: ValType) -> Kind {
        match ty {
            ValType::I32 => Kind::Int32,
            ValType::I64 => Kind::Int64,
            ValType::F32 => Kind::Vector(4),
            ValType::F64 => Kind::Vector(8),
            ValType::V128 => Kind::Vector(16),
            ValType::Ref(r) => match (r.repr(), r.heap) {
                (RefRepr::Gc, _) => Kind::Reference,
                (RefRepr::FuncPointer, HeapType::Concrete(_, ty)) => Kind::FuncRef(Some(ty.0)),
                (RefRepr::FuncPointer, _) => Kind::FuncRef(None),
            },
        }
    }

    fn is_integer(self) -> bool {
        !matches!(self, Kind::Vector(_))
    }

    /// Bytes on the stack, and alignment there.
    pub(crate) fn size(self) -> u32 {
        match self {
            Kind::Vector(16) => 16,
            _ => 8,
        }
    }
}

/// Where a value is passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In a general register.
    Register(usize),
    /// In a vector register, of which nothing is tracked.
    Vector,
    /// In memory, so many bytes from the start of the area.
    Memory(u32),
}

/// A function's parameters and results.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Signature {
    /// In order.
    pub(crate) params: Vec<(Kind, Place)>,
    /// Bytes of the parameters that are on the stack; the callee removes them.
    pub(crate) stack: u32,
    /// In order.
    pub(crate) results: Vec<(Kind, Place)>,
    /// Bytes of the results that are in memory.
    pub(crate) area: u32,
}

/// Registers for integer arguments, in order.
pub(crate) const ARGUMENTS: [usize; 6] = [RDI, RSI, RDX, RCX, 8, 9];
/// Registers for integer results, in order.
const RESULTS: [usize; 8] = [RAX, RCX, RDX, RSI, RDI, 8, 9, 10];
/// Registers for float and vector values, arguments and results alike.
const VECTORS: usize = 8;
/// Registers that a callee gives back as they were; the frame pointer is among them.
pub(crate) const SAVED: [usize; 6] = [3, 5, 12, 13, 14, 15];

fn assign(kinds: impl Iterator<Item = Kind>, registers: &[usize]) -> (Vec<(Kind, Place)>, u32) {
    let (mut integers, mut vectors, mut stack) = (registers.iter(), 0, 0u32);
    let mut places = Vec::new();
    for kind in kinds {
        let register = match kind.is_integer() {
            true => integers.next().map(|register| Place::Register(*register)),
            false => (vectors < VECTORS).then(|| {
                vectors += 1;
                Place::Vector
            }),
        };
        places.push((
            kind,
            register.unwrap_or_else(|| {
                let at = stack.next_multiple_of(kind.size());
                stack = at + kind.size();
                Place::Memory(at)
            }),
        ));
    }
    (places, stack.next_multiple_of(16))
}

impl Signature {
    fn new(params: impl Iterator<Item = Kind>, results: impl Iterator<Item = Kind>) -> Signature {
        let (results, area) = assign(results, &RESULTS);
        let place = (area > 0).then_some(Kind::Results(area));
        let (params, stack) = assign(place.into_iter().chain(params), &ARGUMENTS);
        Signature { params, stack, results, area }
    }

    /// Of wasm functions of a type.
    pub(crate) fn wasm(ty: &FuncType) -> Signature {
        let params = ty.params.iter().map(|ty| Kind::of(*ty));
        Signature::new([Kind::Context].into_iter().chain(params), ty.results.iter().map(|ty| Kind::of(*ty)))
    }

    /// Of a builtin's trampoline.
    pub(crate) fn builtin(builtin: Builtin) -> Signature {
        let kind = |ty: &BuiltinType| match ty {
            BuiltinType::Pointer => Kind::Pointer,
            BuiltinType::I32 => Kind::Int32,
            BuiltinType::I64 => Kind::Int64,
        };
        let params = builtin.params().iter().skip(1).map(kind);
        Signature::new([Kind::Context].into_iter().chain(params), builtin.result().iter().map(kind))
    }

    /// Of a function in the wasm convention; `None` for those of another, and for keys that name nothing of the module.
    pub(crate) fn of(module: &Module, key: FuncKey) -> Option<Signature> {
        let ty = |ty| module.types.get(ty)?.as_func();
        match key {
            FuncKey::Wasm(func) => Some(Signature::wasm(ty(module.funcs.get(module.func_index(func))?.ty)?)),
            FuncKey::Osr { func, .. } => {
                let ty = ty(module.funcs.get(module.func_index(func))?.ty)?;
                let none = FuncType { params: [].into(), results: ty.results.clone() };
                Some(Signature::wasm(&none))
            }
            FuncKey::WasmToHost(index) => Some(Signature::wasm(ty(index)?)),
            FuncKey::WasmToBuiltin(builtin) => Some(Signature::builtin(builtin)),
            FuncKey::ArrayToWasm(_) => None,
        }
    }
}
