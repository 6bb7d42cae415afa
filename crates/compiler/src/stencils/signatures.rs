//! Operators with their types, found out by asking the validator.

use kiln_env::stencil::{FC, FD, FE, Immediates, Ty, immediates};
use wasmparser::{BinaryReader, Operator, Validator, WasmFeatures};

/// Bytes of an operator's opcode.
pub(super) fn opcode(op: u16) -> Vec<u8> {
    let (prefix, number) = match op {
        FE.. => (0xfe, op - FE),
        FD.. => (0xfd, op - FD),
        FC.. => (0xfc, op - FC),
        _ => return vec![op as u8],
    };
    let mut bytes = vec![prefix];
    leb(&mut bytes, number.into());
    bytes
}

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

/// The binary form of an operator.
pub(super) fn encode(op: u16, v: &Values) -> Vec<u8> {
    let mut bytes = opcode(op);
    match immediates(op).unwrap_or(Immediates::None) {
        Immediates::Index => leb(&mut bytes, v.index.into()),
        Immediates::TwoIndices => {
            // The format has the segment before the memory or table.
            let (first, second) = if matches!(op, 0x108 | 0x10c) { (v.index2, v.index) } else { (v.index, v.index2) };
            leb(&mut bytes, first.into());
            leb(&mut bytes, second.into());
        }
        Immediates::MemArg | Immediates::MemArgLane => {
            bytes.push(v.align | 0x40);
            leb(&mut bytes, v.index.into());
            leb(&mut bytes, v.number as u64);
            if immediates(op) == Some(Immediates::MemArgLane) {
                bytes.push(v.lane);
            }
        }
        Immediates::Lane => bytes.push(v.lane),
        Immediates::I32 => signed_leb(&mut bytes, (v.number as i32).into()),
        Immediates::I64 => signed_leb(&mut bytes, v.number),
        Immediates::F32 => bytes.extend(&v.number.to_le_bytes()[..4]),
        Immediates::F64 => bytes.extend(v.number.to_le_bytes()),
        Immediates::V128 => bytes.extend(v.lanes),
        _ => {}
    }
    bytes
}

/// The operator that these bytes stand for.
pub(super) fn decode(bytes: &[u8]) -> Option<Operator<'_>> {
    let mut reader = wasmparser::OperatorsReader::new(BinaryReader::new_features(bytes, 0, WasmFeatures::all()));
    reader.read().ok()
}

fn val_type(ty: Ty) -> u8 {
    0x7f - ty as u8
}

fn section(out: &mut Vec<u8>, id: u8, body: &[u8]) {
    out.push(id);
    leb(out, body.len() as u64);
    out.extend(body);
}

/// Whether an operator takes these operands and leaves this.
fn accepts(code: &[u8], params: &[Ty], result: Option<Ty>) -> bool {
    let mut body = vec![5];
    for ty in Ty::ALL {
        body.extend([1, val_type(ty)]);
    }
    for ty in params {
        body.extend([0x20, *ty as u8]);
    }
    body.extend(code);
    if let Some(ty) = result {
        body.extend([0x21, ty as u8]);
    }
    body.push(0x0b);
    let mut functions = vec![1];
    leb(&mut functions, body.len() as u64);
    functions.extend(body);
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 0]);
    section(&mut module, 3, &[1, 0]);
    section(&mut module, 5, &[1, 0, 1]);
    section(&mut module, 10, &functions);
    Validator::new_with_features(WasmFeatures::all()).validate_all(&module).is_ok()
}

/// Operand types and result type of an operator that depends on no declaration but that of a memory with 32-bit indices.
pub(super) fn signature(op: u16, count: usize, align: u8) -> Option<(Vec<Ty>, Option<Ty>)> {
    let code = encode(op, &Values { align, ..Values::default() });
    let results = || Ty::ALL.into_iter().map(Some).chain([None]);
    // Most operators take operands of one type.
    let uniform = Ty::ALL.into_iter().map(|ty| vec![ty; count]);
    let all =
        (0..5usize.pow(count as u32)).map(|n| (0..count).map(|i| Ty::ALL[n / 5usize.pow(i as u32) % 5]).collect());
    uniform
        .chain(all)
        .flat_map(|params: Vec<Ty>| results().map(move |result| (params.clone(), result)))
        .find(|(params, result)| accepts(&code, params, *result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validator_tells_types() {
        assert_eq!(signature(0x6a, 2, 0), Some((vec![Ty::I32; 2], Some(Ty::I32))));
        assert_eq!(signature(0x37, 2, 0), Some((vec![Ty::I32, Ty::I64], None)));
        assert_eq!(signature(0x8c, 1, 0), Some((vec![Ty::F32], Some(Ty::F32))));
        assert_eq!(signature(FD + 0x1f, 1, 0), Some((vec![Ty::V128], Some(Ty::F32))));
        assert_eq!(signature(FE + 0x49, 3, 3), Some((vec![Ty::I32, Ty::I64, Ty::I64], Some(Ty::I64))));
        assert_eq!(signature(FE + 0x49, 3, 2), None);
    }
}
