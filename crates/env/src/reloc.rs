//! Patching code that depends on where functions are, and the jumps (*veneers*) that help where a target is out of a
//! call's reach.

use crate::machine::{Reloc, RelocKind};

/// A relocation's target is too far away for its instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a {kind:?} relocation cannot span {distance} bytes")]
pub struct OutOfReach {
    /// The kind of relocation.
    pub kind: RelocKind,
    /// Bytes from the patched place to the target.
    pub distance: i64,
}

impl Reloc {
    /// Patches `code`, the bytes of the function, which begin at address `base`, so that it refers to `target`.
    ///
    /// Addresses are of one address space, or offsets in one text. Panics if the relocation lies outside the code.
    pub fn apply(&self, code: &mut [u8], base: u64, target: u64) -> Result<(), OutOfReach> {
        let at = self.offset as usize;
        let place = base.wrapping_add(u64::from(self.offset));
        self.kind.patch(&mut code[at..], target.wrapping_add_signed(self.addend).wrapping_sub(place) as i64)
    }
}

impl RelocKind {
    /// Bytes of code that patching changes, from the relocation's offset on.
    pub const fn patch_size(self) -> u32 {
        match self {
            RelocKind::X86CallPcRel4 | RelocKind::Arm64Call | RelocKind::S390xPlt32Dbl => 4,
            RelocKind::RiscvCallPlt => 8,
        }
    }

    /// Bytes of a veneer: a jump with a reach of at least 2 GiB that changes no register a caller could rely on.
    pub const fn veneer_size(self) -> u32 {
        match self {
            RelocKind::X86CallPcRel4 => 5,
            RelocKind::Arm64Call => 12,
            RelocKind::RiscvCallPlt => 8,
            RelocKind::S390xPlt32Dbl => 6,
        }
    }

    /// Alignment of a veneer.
    pub const fn veneer_align(self) -> u32 {
        match self {
            RelocKind::X86CallPcRel4 => 1,
            RelocKind::Arm64Call | RelocKind::RiscvCallPlt => 4,
            RelocKind::S390xPlt32Dbl => 2,
        }
    }

    /// Least and greatest distance that the instruction can span.
    pub const fn reach(self) -> (i64, i64) {
        match self {
            RelocKind::X86CallPcRel4 => (i32::MIN as i64, i32::MAX as i64),
            RelocKind::Arm64Call => (-(1 << 27), (1 << 27) - 4),
            // The lower half is sign-extended, so the range is shifted down by half its span.
            RelocKind::RiscvCallPlt => (i32::MIN as i64 - 0x800, i32::MAX as i64 - 0x800),
            RelocKind::S390xPlt32Dbl => (i32::MIN as i64 * 2, i32::MAX as i64 * 2),
        }
    }

    /// Whether the instruction can span this distance.
    pub fn reaches(self, distance: i64) -> bool {
        let (least, greatest) = self.reach();
        (least..=greatest).contains(&distance)
    }

    /// Patches the instruction whose relocated bytes begin at `code[0]` to span `distance`.
    fn patch(self, code: &mut [u8], distance: i64) -> Result<(), OutOfReach> {
        if !self.reaches(distance) {
            return Err(OutOfReach { kind: self, distance });
        }
        let mut edit = |at: usize, f: &dyn Fn(u32) -> u32| {
            let word: &mut [u8; 4] = (&mut code[at..at + 4]).try_into().expect("four bytes");
            *word = f(u32::from_le_bytes(*word)).to_le_bytes();
        };
        match self {
            RelocKind::X86CallPcRel4 => edit(0, &|_| distance as u32),
            RelocKind::Arm64Call => edit(0, &|word| word & 0xfc00_0000 | (distance >> 2) as u32 & 0x03ff_ffff),
            RelocKind::RiscvCallPlt => {
                let (high, low) = riscv_halves(distance);
                edit(0, &|word| word & 0xfff | high);
                edit(4, &|word| word & 0x000f_ffff | low);
            }
            RelocKind::S390xPlt32Dbl => code[..4].copy_from_slice(&((distance >> 1) as i32).to_be_bytes()),
        }
        Ok(())
    }

    /// Writes a veneer to the start of `code`, which is at address `place`: it jumps to `target`.
    pub fn write_veneer(self, code: &mut [u8], place: u64, target: u64) -> Result<(), OutOfReach> {
        let distance = target.wrapping_sub(place) as i64;
        let out_of_reach = Err(OutOfReach { kind: self, distance });
        match self {
            RelocKind::X86CallPcRel4 => {
                // jmp rel32
                let Ok(relative) = i32::try_from(distance - 5) else { return out_of_reach };
                code[0] = 0xe9;
                code[1..5].copy_from_slice(&relative.to_le_bytes());
            }
            RelocKind::Arm64Call => {
                // adrp x16, page; add x16, x16, offset; br x16. The ABI sets x16 aside for this.
                let pages = (target >> 12) as i64 - (place >> 12) as i64;
                if !(-(1 << 20)..1 << 20).contains(&pages) {
                    return out_of_reach;
                }
                let pages = pages as u32;
                let adrp = 0x9000_0010 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5;
                let add = 0x9100_0210 | ((target & 0xfff) as u32) << 10;
                for (chunk, word) in code.chunks_exact_mut(4).zip([adrp, add, 0xd61f_0200]) {
                    chunk.copy_from_slice(&word.to_le_bytes());
                }
            }
            RelocKind::RiscvCallPlt => {
                if !self.reaches(distance) {
                    return out_of_reach;
                }
                // auipc t6, high; jalr zero, low(t6). No argument and nothing saved is in t6.
                let (high, low) = riscv_halves(distance);
                code[..4].copy_from_slice(&(0x0000_0f97 | high).to_le_bytes());
                code[4..8].copy_from_slice(&(0x000f_8067 | low).to_le_bytes());
            }
            RelocKind::S390xPlt32Dbl => {
                // jg
                if !self.reaches(distance) {
                    return out_of_reach;
                }
                code[..2].copy_from_slice(&[0xc0, 0xf4]);
                code[2..6].copy_from_slice(&((distance >> 1) as i32).to_be_bytes());
            }
        }
        Ok(())
    }
}

/// A distance as the immediate fields of `auipc` and `jalr`.
fn riscv_halves(distance: i64) -> (u32, u32) {
    let high = (distance + 0x800) as u32 & 0xffff_f000;
    let low = (distance as u32).wrapping_sub(high) << 20;
    (high, low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::func_key::FuncKey;
    use crate::index::DefinedFuncIndex;

    fn word(code: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(code[at..at + 4].try_into().unwrap())
    }

    fn riscv_distance(code: &[u8]) -> i64 {
        i64::from((word(code, 0) & 0xffff_f000) as i32) + i64::from(word(code, 4) as i32 >> 20)
    }

    #[test]
    fn patches_decode_to_their_distance() {
        for distance in [0, 4, -4, 0x7fc, 0x800, -0x800, -0x804, 0x1234_5678 & !3, (1 << 27) - 4, -(1 << 27)] {
            let mut code = [0xffu8; 8];
            RelocKind::X86CallPcRel4.patch(&mut code, distance).unwrap();
            assert_eq!(i64::from(word(&code, 0) as i32), distance);
            assert_eq!(code[4..], [0xff; 4]);

            let mut code = 0x9400_0000u32.to_le_bytes();
            match RelocKind::Arm64Call.patch(&mut code, distance) {
                Ok(()) => assert_eq!(i64::from((word(&code, 0) << 6) as i32 >> 4), distance),
                Err(e) => assert!(e.distance > 1 << 27),
            }
            assert_eq!(word(&code, 0) >> 26, 0x25);

            // auipc ra, 0; jalr ra, 0(ra)
            let mut code = [0x97, 0, 0, 0, 0xe7, 0x80, 0, 0];
            RelocKind::RiscvCallPlt.patch(&mut code, distance).unwrap();
            assert_eq!(riscv_distance(&code), distance);
            assert_eq!((word(&code, 0) & 0xfff, word(&code, 4) & 0xf_ffff), (0x97, 0x80e7));

            let mut code = [0u8; 4];
            RelocKind::S390xPlt32Dbl.patch(&mut code, distance).unwrap();
            assert_eq!(i64::from(i32::from_be_bytes(code)) * 2, distance);
        }
    }

    #[test]
    fn veneers_decode_to_their_target() {
        for (place, target) in [(0x10_0000u64, 0x7654_3210), (0x7654_3210, 0x10_0000), (0x1ffc, 0x2000)] {
            let distance = target as i64 - place as i64;
            let mut code = [0u8; 12];
            RelocKind::X86CallPcRel4.write_veneer(&mut code, place, target).unwrap();
            assert_eq!((code[0], i64::from(word(&code, 1) as i32) + 5), (0xe9, distance));

            RelocKind::Arm64Call.write_veneer(&mut code, place, target).unwrap();
            let adrp = word(&code, 0);
            let pages = i64::from(((adrp >> 5 & 0x7_ffff) << 2 | adrp >> 29 & 3) << 11) << 32 >> 43;
            let reached = (((place as i64 >> 12) + pages) << 12) + i64::from(word(&code, 4) >> 10 & 0xfff);
            assert_eq!(reached, target as i64);
            assert_eq!(word(&code, 8), 0xd61f_0200);

            RelocKind::RiscvCallPlt.write_veneer(&mut code, place, target).unwrap();
            assert_eq!(riscv_distance(&code), distance);

            RelocKind::S390xPlt32Dbl.write_veneer(&mut code, place, target).unwrap();
            assert_eq!(i64::from(i32::from_be_bytes(code[2..6].try_into().unwrap())) * 2, distance);
        }
    }

    #[test]
    fn far_targets_are_errors() {
        let target = FuncKey::Wasm(DefinedFuncIndex(0));
        let reloc = Reloc { offset: 1, kind: RelocKind::X86CallPcRel4, target, addend: -4 };
        let mut code = [0xe8, 0, 0, 0, 0];
        reloc.apply(&mut code, 0x1000, 0x2000).unwrap();
        assert_eq!(word(&code, 1), 0xffb);
        assert!(reloc.apply(&mut code, 0x1000, 1 << 40).is_err());
    }
}
