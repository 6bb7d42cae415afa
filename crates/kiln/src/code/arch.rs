//! The instructions that the runtime itself writes: entry stubs.

pub(crate) use target::{STUB_SIZE, STUB_SLOT_START, is_trap, jump, stub, thunk};

/// Bytes of a [`jump`].
pub(crate) const JUMP_SIZE: usize = 32;

#[cfg(target_arch = "x86_64")]
mod target {
    /// Bytes of an entry stub.
    pub(crate) const STUB_SIZE: usize = kiln_env::abi::ENTRY_STUB_SIZE as usize;

    /// Where in a stub its slot points while there is no code: behind the jump through the slot.
    pub(crate) const STUB_SLOT_START: usize = 6;

    /// Whether the instruction at an address is the one with which compiled code traps.
    ///
    /// # Safety
    /// The instruction can be read.
    pub(crate) unsafe fn is_trap(pc: *const u8) -> bool {
        // SAFETY: the caller's; `ud2`, and no instruction is a single 0x0f.
        unsafe { *pc == 0x0f && *pc.add(1) == 0x0b }
    }

    fn rel32(next: usize, target: usize) -> [u8; 4] {
        // The arena that all of this is in is smaller than 2 GiB.
        (target.wrapping_sub(next) as u32).to_le_bytes()
    }

    /// The stub at `at`: jumps through `slot`; behind that, loads `index` and jumps to the arena's `thunk`.
    pub(crate) fn stub(at: usize, slot: usize, thunk: usize, index: u32) -> [u64; 2] {
        let mut code = [0xff, 0x25, 0, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0];
        code[2..6].copy_from_slice(&rel32(at + 6, slot));
        code[7..11].copy_from_slice(&index.to_le_bytes());
        code[12..].copy_from_slice(&rel32(at + 16, thunk));
        let (low, high) = code.split_at(8);
        [low, high].map(|half| u64::from_le_bytes(half.try_into().expect("eight bytes")))
    }

    /// What a stub does, at any place `at` of the arena, for a slot that is zero while there is no code.
    pub(crate) fn jump(at: usize, slot: usize, thunk: usize, index: u32) -> [u8; super::JUMP_SIZE] {
        let mut code = [0xcc; super::JUMP_SIZE];
        // mov r11, [slot]; test r11, r11; je +3; jmp r11; mov eax, index; jmp thunk
        code[..3].copy_from_slice(&[0x4c, 0x8b, 0x1d]);
        code[3..7].copy_from_slice(&rel32(at + 7, slot));
        code[7..16].copy_from_slice(&[0x4d, 0x85, 0xdb, 0x74, 0x03, 0x41, 0xff, 0xe3, 0xb8]);
        code[16..20].copy_from_slice(&index.to_le_bytes());
        code[20] = 0xe9;
        code[21..25].copy_from_slice(&rel32(at + 25, thunk));
        code
    }

    /// The arena's thunk at `at`: loads the word at `data`, then jumps to the address in the word behind it.
    pub(crate) fn thunk(at: usize, data: usize) -> Vec<u8> {
        let mut code = vec![0x4c, 0x8b, 0x1d];
        code.extend(rel32(at + 7, data));
        code.extend([0xff, 0x25]);
        code.extend(rel32(at + 13, data + 8));
        code
    }
}

#[cfg(target_arch = "aarch64")]
mod target {
    /// Bytes of an entry stub.
    pub(crate) const STUB_SIZE: usize = 32;

    /// Where in a stub its slot points while there is no code: behind the jump through the slot.
    pub(crate) const STUB_SLOT_START: usize = 12;

    /// Whether the instruction at an address is the one with which compiled code traps.
    ///
    /// # Safety
    /// The instruction can be read.
    pub(crate) unsafe fn is_trap(pc: *const u8) -> bool {
        // SAFETY: the caller's; `udf` with any operand.
        unsafe { pc.cast::<u32>().read() >> 16 == 0 }
    }

    /// `adrp register, target`
    fn adrp(at: usize, target: usize, register: u32) -> u32 {
        let pages = ((target >> 12).wrapping_sub(at >> 12)) as u32;
        0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5 | register
    }

    /// `ldr to, [from, #low 12 bits of target]`
    fn load_low(target: usize, from: u32, to: u32) -> u32 {
        0xf940_0000 | ((target & 0xfff) as u32 >> 3) << 10 | from << 5 | to
    }

    /// The stub at `at`: jumps through `slot`; behind that, loads `index` and jumps to the arena's `thunk`.
    pub(crate) fn stub(at: usize, slot: usize, thunk: usize, index: u32) -> [u64; 4] {
        let code = [
            adrp(at, slot, 17),
            load_low(slot, 17, 17),
            0xd61f_0220,
            0x5280_0010 | (index & 0xffff) << 5,
            0x72a0_0010 | (index >> 16) << 5,
            0x1400_0000 | (thunk.wrapping_sub(at + 20) as u32 >> 2) & 0x03ff_ffff,
            0xd503_201f,
            0xd503_201f,
        ];
        std::array::from_fn(|i| u64::from(code[2 * i]) | u64::from(code[2 * i + 1]) << 32)
    }

    /// What a stub does, at any place `at` of the arena, for a slot that is zero while there is no code.
    pub(crate) fn jump(at: usize, slot: usize, thunk: usize, index: u32) -> [u8; super::JUMP_SIZE] {
        let code = [
            adrp(at, slot, 17),
            load_low(slot, 17, 17),
            0xb400_0051, // cbz x17, +8
            0xd61f_0220, // br x17
            0x5280_0010 | (index & 0xffff) << 5,
            0x72a0_0010 | (index >> 16) << 5,
            0x1400_0000 | (thunk.wrapping_sub(at + 24) as u32 >> 2) & 0x03ff_ffff,
            0xd503_201f,
        ];
        let mut bytes = [0; super::JUMP_SIZE];
        bytes.chunks_exact_mut(4).zip(code).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
        bytes
    }

    /// The arena's thunk at `at`: loads the word at `data`, then jumps to the address in the word behind it.
    pub(crate) fn thunk(at: usize, data: usize) -> Vec<u8> {
        let code = [
            adrp(at, data, 17),
            0x9100_0220 | ((data & 0xfff) as u32) << 10 | 15, // add x15, x17, #low
            0xf940_01f1,                                      // ldr x17, [x15]
            0xf940_05ef,                                      // ldr x15, [x15, #8]
            0xd61f_01e0,                                      // br x15
        ];
        code.iter().flat_map(|i: &u32| i.to_le_bytes()).collect()
    }
}
