//! Where x86-64 instructions end, and what in them depends on where they are.
//!
//! Knows what Cranelift emits, and says so where it does not know: an instruction that is missing here costs the function
//! that has it its relaxation, nothing else.

/// What an instruction means to somebody who moves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Means the same anywhere, and the next one follows.
    Plain,
    /// An operand in memory is named by a 32-bit distance from the instruction's end, which is this far into it.
    Data(u8),
    /// A `lea` with such an operand.
    Address(u8),
    /// `jcc` with a 32-bit distance.
    Branch,
    /// `jmp` with a 32-bit distance.
    Jump,
    /// `call` with a 32-bit distance.
    Call,
    /// `call` through a register or memory.
    IndirectCall,
    /// `jmp` through a register or memory.
    IndirectJump,
    /// `ret` or `ud2`.
    End,
}

impl Kind {
    /// Whether its immediate is a number, and not the distance to another instruction.
    fn is_operation(self) -> bool {
        matches!(self, Kind::Plain | Kind::Data(_) | Kind::Address(_))
    }
}

/// An instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inst {
    /// Bytes.
    pub(super) len: u32,
    pub(super) kind: Kind,
    /// How far into it a 32-bit distance from a register is, and a 32-bit immediate; 0 if it has none.
    pub(super) fields: [u8; 2],
}

/// What follows an opcode.
#[derive(Clone, Copy)]
struct Form {
    /// A ModRM byte, and all that belongs to it.
    operand: bool,
    /// Bytes of immediates.
    immediate: usize,
    kind: Kind,
}

/// A form without operands in memory.
const fn bare(immediate: usize) -> Option<Form> {
    Some(Form { operand: false, immediate, kind: Kind::Plain })
}

/// A form with one that may be in memory.
const fn operand(immediate: usize) -> Option<Form> {
    Some(Form { operand: true, immediate, kind: Kind::Plain })
}

/// A form that goes elsewhere.
const fn leaving(immediate: usize, kind: Kind) -> Option<Form> {
    Some(Form { operand: false, immediate, kind })
}

/// The first instruction of `code`. `None` if it is none, or none that is known here.
pub(super) fn decode(code: &[u8]) -> Option<Inst> {
    let mut at = 0;
    let mut next = || {
        at += 1;
        code.get(at - 1).copied()
    };
    let mut short = false;
    let mut opcode = loop {
        match next()? {
            0x66 => short = true,
            0xf0 | 0xf2 | 0xf3 => {}
            other => break other,
        }
    };
    let mut wide = false;
    if opcode & 0xf0 == 0x40 {
        wide = opcode & 8 != 0;
        opcode = next()?;
    }
    let mut is_lea = false;
    let form = match opcode {
        0x0f => match next()? {
            0x38 => next().and(operand(0)),
            0x3a => next().and(operand(1)),
            second => two_bytes(second),
        },
        0xc5 => {
            next()?;
            vector(1, next()?)
        }
        0xc4 => {
            let map = next()? & 0x1f;
            next()?;
            vector(map, next()?)
        }
        0x62 => {
            let map = next()? & 7;
            next()?;
            next()?;
            vector(map, next()?)
        }
        _ => {
            is_lea = opcode == 0x8d;
            let word = if wide || !short { 4 } else { 2 };
            one_byte(opcode, word, wide, code.get(at).copied())
        }
    }?;
    finish(code, at, form, is_lea)
}

/// The instruction whose opcode ends at `at`.
fn finish(code: &[u8], at: usize, form: Form, is_lea: bool) -> Option<Inst> {
    let mut kind = form.kind;
    let mut len = at;
    let mut fields = [0; 2];
    if form.operand {
        let (size, is_relative) = operand_size(code, at)?;
        if size > 4 && !is_relative {
            fields[0] = (at + size - 4) as u8;
        }
        if is_relative {
            let field = at as u8 + 1;
            kind = match kind {
                Kind::Plain if is_lea => Kind::Address(field),
                Kind::Plain => Kind::Data(field),
                _ => return None,
            };
        }
        len += size;
    }
    len += form.immediate;
    if form.immediate == 4 && kind.is_operation() {
        fields[1] = (len - 4) as u8;
    }
    let is_right = match kind {
        Kind::Branch => len == 6,
        Kind::Jump | Kind::Call => len == 5,
        _ => len <= 15,
    };
    (is_right && len <= code.len()).then_some(Inst { len: len as u32, kind, fields })
}

/// Bytes of a ModRM byte at `at` with what belongs to it, and whether it names memory by its distance.
fn operand_size(code: &[u8], at: usize) -> Option<(usize, bool)> {
    let modrm = *code.get(at)?;
    let size = match (modrm >> 6, modrm & 7) {
        (0, 5) => return Some((5, true)),
        (0, 4) if code.get(at + 1)? & 7 == 5 => 6,
        (0, 4) => 2,
        (0, _) | (3, _) => 1,
        (1, 4) => 3,
        (1, _) => 2,
        (_, 4) => 6,
        _ => 5,
    };
    Some((size, false))
}

/// Opcodes of one byte. `word` is the size of immediates that depend on the operand's; `modrm` the byte behind.
fn one_byte(opcode: u8, word: usize, wide: bool, modrm: Option<u8>) -> Option<Form> {
    let group = || modrm.map(|m| m >> 3 & 7);
    match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => operand(0),
            4 => bare(1),
            5 => bare(word),
            _ => None,
        },
        0x50..=0x5f | 0x90..=0x99 | 0xa4 | 0xa5 | 0xaa | 0xab => bare(0),
        0x63 | 0x84..=0x8b | 0x8d | 0xd0..=0xd3 | 0xfe => operand(0),
        0x6a | 0xa8 | 0xb0..=0xb7 => bare(1),
        0x68 | 0xa9 => bare(word),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => operand(1),
        0x69 | 0x81 | 0xc7 => operand(word),
        0xb8..=0xbf => bare(if wide { 8 } else { word }),
        0xc2 => leaving(2, Kind::End),
        0xc3 => leaving(0, Kind::End),
        0xe8 => leaving(4, Kind::Call),
        0xe9 => leaving(4, Kind::Jump),
        0xf6 => operand(if group()? < 2 { 1 } else { 0 }),
        0xf7 => operand(if group()? < 2 { word } else { 0 }),
        0xff => match group()? {
            0 | 1 | 6 => operand(0),
            2 => Some(Form { operand: true, immediate: 0, kind: Kind::IndirectCall }),
            4 => Some(Form { operand: true, immediate: 0, kind: Kind::IndirectJump }),
            _ => None,
        },
        _ => None,
    }
}

/// Opcodes behind `0f`.
fn two_bytes(opcode: u8) -> Option<Form> {
    match opcode {
        0x0b => leaving(0, Kind::End),
        0x80..=0x8f => leaving(4, Kind::Branch),
        0xa2 | 0xc8..=0xcf => bare(0),
        0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => operand(1),
        0x0d | 0x10..=0x18 | 0x1f | 0x28..=0x2f | 0x40..=0x6f | 0x74..=0x76 | 0x7c..=0x7f | 0x90..=0x9f => operand(0),
        0xa3 | 0xa5 | 0xab | 0xad..=0xb1 | 0xb3 | 0xb6..=0xb8 | 0xbb..=0xc1 | 0xc3 | 0xc7 | 0xd0..=0xfe => operand(0),
        _ => None,
    }
}

/// Opcodes behind VEX and EVEX prefixes, by the map that these name.
fn vector(map: u8, opcode: u8) -> Option<Form> {
    match (map, opcode) {
        (1, 0x77) => bare(0),
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) | (3, _) => operand(1),
        (1 | 2 | 5 | 6, _) => operand(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(bytes: &[u8], kind: Kind) {
        let expected = Some((bytes.len() as u32, kind));
        // What follows does not matter, what is missing does.
        let decoded = decode(&[bytes, &[0xff; 15]].concat()).map(|inst| (inst.len, inst.kind));
        assert_eq!(decoded, expected, "{bytes:02x?}");
        (0..bytes.len()).for_each(|n| assert_eq!(decode(&bytes[..n]), None, "{bytes:02x?}"));
    }

    #[test]
    fn lengths_follow_from_prefixes_operands_and_immediates() {
        let plain: [&[u8]; 18] = [
            &[0x48, 0x89, 0xe5],
            &[0x41, 0x8b, 0x44, 0x24, 0x08],
            &[0x8b, 0x84, 0x24, 0, 1, 0, 0],
            &[0x8b, 0x04, 0x25, 0, 1, 0, 0],
            &[0x8b, 0x04, 0x0c],
            &[0x66, 0x81, 0xc1, 1, 2],
            &[0x66, 0x48, 0x81, 0xc1, 1, 2, 3, 4],
            &[0x49, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xf7, 0xc1, 1, 2, 3, 4],
            &[0xf7, 0xd9],
            &[0xf6, 0x00, 7],
            &[0x0f, 0xba, 0xe0, 3],
            &[0x66, 0x0f, 0x3a, 0x0b, 0xc1, 4],
            &[0xf3, 0x48, 0x0f, 0xb8, 0xc1],
            &[0xc5, 0xf8, 0x77],
            &[0xc4, 0xe3, 0xfb, 0xf0, 0xc1, 7],
            &[0x62, 0xf1, 0x7c, 0x48, 0x58, 0x44, 0x24, 1],
            &[0xf0, 0x41, 0x0f, 0xb1, 0x0c, 0x24],
        ];
        plain.iter().for_each(|bytes| is(bytes, Kind::Plain));
    }

    #[test]
    fn what_depends_on_places_is_told_apart() {
        is(&[0xf3, 0x0f, 0x10, 0x05, 1, 2, 3, 4], Kind::Data(4));
        is(&[0x80, 0x3d, 1, 2, 3, 4, 9], Kind::Data(2));
        is(&[0x4c, 0x8d, 0x05, 1, 2, 3, 4], Kind::Address(3));
        is(&[0x0f, 0x84, 1, 2, 3, 4], Kind::Branch);
        is(&[0xe9, 1, 2, 3, 4], Kind::Jump);
        is(&[0xe8, 1, 2, 3, 4], Kind::Call);
        is(&[0x41, 0xff, 0xd3], Kind::IndirectCall);
        is(&[0xff, 0xe0], Kind::IndirectJump);
        is(&[0xc3], Kind::End);
        is(&[0x0f, 0x0b], Kind::End);
    }

    #[test]
    fn fields_are_where_numbers_are() {
        let cases: [(&[u8], [u8; 2]); 14] = [
            (&[0xb8, 1, 2, 3, 4], [0, 1]),
            (&[0x41, 0xb8, 1, 2, 3, 4], [0, 2]),
            (&[0x49, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8], [0, 0]),
            (&[0x66, 0x81, 0xc1, 1, 2], [0, 0]),
            (&[0x48, 0x81, 0xc1, 1, 2, 3, 4], [0, 3]),
            (&[0x8b, 0x84, 0x24, 0, 1, 0, 0], [3, 0]),
            (&[0x8b, 0x04, 0x25, 0, 1, 0, 0], [3, 0]),
            (&[0x8b, 0x04, 0x0c], [0, 0]),
            (&[0x8b, 0x80, 1, 2, 3, 4], [2, 0]),
            (&[0x8b, 0x40, 8], [0, 0]),
            (&[0xc7, 0x84, 0x0f, 1, 2, 3, 4, 5, 6, 7, 8], [3, 7]),
            (&[0xc7, 0x05, 1, 2, 3, 4, 5, 6, 7, 8], [0, 6]),
            (&[0xc5, 0xf8, 0x10, 0x87, 1, 2, 3, 4], [4, 0]),
            (&[0xe8, 1, 2, 3, 4], [0, 0]),
        ];
        for (bytes, fields) in cases {
            assert_eq!(
                decode(bytes).map(|inst| (inst.len as usize, inst.fields)),
                Some((bytes.len(), fields)),
                "{bytes:02x?}"
            );
        }
    }

    #[test]
    fn other_instructions_are_none() {
        let unknown: [&[u8]; 8] = [
            &[0x74, 2],
            &[0xeb, 2],
            &[0xff, 0x25, 0, 0, 0, 0],
            &[0x66, 0xe9, 0, 0, 0, 0],
            &[0x0f, 0x05],
            &[0xf4],
            &[0x65],
            &[0xcc],
        ];
        for bytes in unknown {
            assert_eq!(decode(&[bytes, &[0; 15]].concat()), None, "{bytes:02x?}");
        }
        assert_eq!(decode(&[0x66; 40]), None);
    }
}
