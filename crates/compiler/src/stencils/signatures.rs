//! Operators with their immediates and types.

use kiln_env::Op;
use kiln_env::opcode::{Immediates, MEMORY_FOLLOWS, OperandType, Signature};
use kiln_env::stencil::Ty;
use wasmparser::{BinaryReader, Operator, WasmFeatures};

/// Appends an unsigned number.
pub(super) fn leb(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

fn signed_leb(bytes: &mut Vec<u8>, mut n: i64) {
    loop {
        let byte = n as u8 & 0x7f;
        n >>= 7;
        if (n == 0 && byte & 0x40 == 0) || (n == -1 && byte & 0x40 != 0) {
            return bytes.push(byte);
        }
        bytes.push(byte | 0x80);
    }
}

/// What the immediates of an operator are to be.
#[derive(Clone, Copy, Default)]
pub(super) struct Values {
    /// An offset, or a constant.
    pub(super) number: i64,
    /// The first index: of the memory for accesses.
    pub(super) index: u32,
    /// The second index.
    pub(super) index2: u32,
    /// The lane.
    pub(super) lane: u8,
    /// The access' size in bytes as a base-2 logarithm.
    pub(super) align: u8,
    /// The lanes of a shuffle.
    pub(super) lanes: [u8; 16],
}

/// The binary form of an operator. Those that there is no stencil of have no immediates here.
pub(super) fn encode(op: Op, v: &Values) -> Vec<u8> {
    let mut bytes = Vec::new();
    op.encode(&mut bytes);
    match op.immediates() {
        Immediates::Index => leb(&mut bytes, v.index.into()),
        Immediates::TwoIndices => {
            // The format has the segment before the memory or table.
            let segment_first = matches!(op, Op::MemoryInit | Op::TableInit);
            let (first, second) = if segment_first { (v.index2, v.index) } else { (v.index, v.index2) };
            leb(&mut bytes, first.into());
            leb(&mut bytes, second.into());
        }
        Immediates::MemArg(_) | Immediates::MemArgLane(_) => {
            bytes.push(v.align | MEMORY_FOLLOWS);
            leb(&mut bytes, v.index.into());
            leb(&mut bytes, v.number as u64);
            if matches!(op.immediates(), Immediates::MemArgLane(_)) {
                bytes.push(v.lane);
            }
        }
        Immediates::Lane(_) | Immediates::Ordering => bytes.push(v.lane),
        Immediates::I32 => signed_leb(&mut bytes, (v.number as i32).into()),
        Immediates::I64 => signed_leb(&mut bytes, v.number),
        Immediates::F32 => bytes.extend(&v.number.to_le_bytes()[..4]),
        Immediates::F64 => bytes.extend(v.number.to_le_bytes()),
        Immediates::Lanes | Immediates::V128 => bytes.extend(v.lanes),
        Immediates::None | Immediates::Block | Immediates::Labels | Immediates::HeapType => {}
        Immediates::Types | Immediates::TryTable | Immediates::Cast => {}
    }
    bytes
}

/// The operator that these bytes stand for.
pub(super) fn decode(bytes: &[u8]) -> Option<Operator<'_>> {
    let mut reader = wasmparser::OperatorsReader::new(BinaryReader::new_features(bytes, 0, WasmFeatures::all()));
    reader.read().ok()
}

fn stencil_type(ty: OperandType) -> Ty {
    match ty {
        OperandType::I32 | OperandType::Index => Ty::I32,
        OperandType::I64 => Ty::I64,
        OperandType::F32 => Ty::F32,
        OperandType::F64 => Ty::F64,
        OperandType::V128 => Ty::V128,
    }
}

/// Operand types and result type of an operator that depends on no declaration but that of a memory with 32-bit indices.
/// `None` for others, and where there are several results.
pub(super) fn signature(op: Op) -> Option<(Vec<Ty>, Option<Ty>)> {
    let Signature { params, results } = op.signature()?;
    let result = match results {
        [] => None,
        [result] => Some(stencil_type(*result)),
        _ => return None,
    };
    Some((params.iter().map(|ty| stencil_type(*ty)).collect(), result))
}
