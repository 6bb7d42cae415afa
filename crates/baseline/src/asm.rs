//! The few instructions that stand between stencils: moves, calls, jumps, frames. x86-64.

/// General-purpose registers by number.
pub(crate) mod reg {
    pub(crate) const RAX: u8 = 0;
    pub(crate) const RCX: u8 = 1;
    pub(crate) const RDX: u8 = 2;
    pub(crate) const RBX: u8 = 3;
    pub(crate) const RSP: u8 = 4;
    pub(crate) const RBP: u8 = 5;
    pub(crate) const RSI: u8 = 6;
    pub(crate) const RDI: u8 = 7;
    pub(crate) const R8: u8 = 8;
    pub(crate) const R9: u8 = 9;
    pub(crate) const R10: u8 = 10;
    pub(crate) const R11: u8 = 11;
    pub(crate) const R12: u8 = 12;
    pub(crate) const R13: u8 = 13;
    pub(crate) const R14: u8 = 14;
    pub(crate) const R15: u8 = 15;
    /// A vector register that no stencil passes on.
    pub(crate) const XMM_SCRATCH: u8 = 15;
}

use reg::*;

/// A memory operand: base register and displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mem(pub(crate) u8, pub(crate) i32);

/// Machine code under construction.
#[derive(Default)]
pub(crate) struct Assembler {
    pub(crate) code: Vec<u8>,
}

impl Assembler {
    pub(crate) fn position(&self) -> u32 {
        self.code.len() as u32
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    pub(crate) fn u32(&mut self, n: u32) {
        self.bytes(&n.to_le_bytes());
    }

    /// Writes 32 bits over what is there.
    pub(crate) fn patch(&mut self, at: u32, n: u32) {
        self.code[at as usize..at as usize + 4].copy_from_slice(&n.to_le_bytes());
    }

    pub(crate) fn read(&self, at: u32) -> u32 {
        let b = &self.code[at as usize..at as usize + 4];
        u32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }

    /// Makes the displacement at `field` lead to `target`.
    pub(crate) fn bind(&mut self, field: u32, target: u32) {
        self.patch(field, target.wrapping_sub(field + 4));
    }

    /// `[prefix] REX opcode modrm` with a memory operand.
    fn mem(&mut self, prefix: Option<u8>, wide: bool, opcode: &[u8], register: u8, m: Mem) {
        let Mem(base, disp) = m;
        self.code.extend(prefix);
        let rex = 0x40 | u8::from(wide) << 3 | (register >> 3) << 2 | base >> 3;
        if rex != 0x40 {
            self.code.push(rex);
        }
        self.bytes(opcode);
        let short = i8::try_from(disp).is_ok();
        let mode = if short { 0x40 } else { 0x80 };
        self.code.push(mode | (register & 7) << 3 | base & 7);
        if base & 7 == RSP {
            self.code.push(0x24);
        }
        if short {
            self.code.push(disp as u8);
        } else {
            self.u32(disp as u32);
        }
    }

    /// `REX opcode modrm` with registers.
    fn reg(&mut self, prefix: Option<u8>, wide: bool, opcode: &[u8], register: u8, rm: u8) {
        self.code.extend(prefix);
        let rex = 0x40 | u8::from(wide) << 3 | (register >> 3) << 2 | rm >> 3;
        if rex != 0x40 {
            self.code.push(rex);
        }
        self.bytes(opcode);
        self.code.push(0xc0 | (register & 7) << 3 | rm & 7);
    }

    /// 64 bits from memory.
    pub(crate) fn load(&mut self, to: u8, from: Mem) {
        self.mem(None, true, &[0x8b], to, from);
    }

    /// 32 bits from memory, zero-extended.
    pub(crate) fn load32(&mut self, to: u8, from: Mem) {
        self.mem(None, false, &[0x8b], to, from);
    }

    /// 64 bits to memory.
    pub(crate) fn store(&mut self, to: Mem, from: u8) {
        self.mem(None, true, &[0x89], from, to);
    }

    /// 64 bits to a float register.
    pub(crate) fn load_float(&mut self, to: u8, from: Mem) {
        self.mem(Some(0xf3), false, &[0x0f, 0x7e], to, from);
    }

    /// 64 bits from a float register.
    pub(crate) fn store_float(&mut self, to: Mem, from: u8) {
        self.mem(Some(0x66), false, &[0x0f, 0xd6], from, to);
    }

    /// 128 bits to a vector register.
    pub(crate) fn load_vector(&mut self, to: u8, from: Mem) {
        self.mem(None, false, &[0x0f, 0x10], to, from);
    }

    /// 128 bits from a vector register.
    pub(crate) fn store_vector(&mut self, to: Mem, from: u8) {
        self.mem(None, false, &[0x0f, 0x11], from, to);
    }

    /// The address of a memory operand.
    pub(crate) fn lea(&mut self, to: u8, from: Mem) {
        self.mem(None, true, &[0x8d], to, from);
    }

    pub(crate) fn mov(&mut self, to: u8, from: u8) {
        if to != from {
            self.reg(None, true, &[0x89], from, to);
        }
    }

    pub(crate) fn mov_vector(&mut self, to: u8, from: u8) {
        if to != from {
            self.reg(None, false, &[0x0f, 0x28], to, from);
        }
    }

    /// 64 bits of a float register to a general-purpose one.
    pub(crate) fn float_to_int(&mut self, to: u8, from: u8) {
        self.reg(Some(0x66), true, &[0x0f, 0x7e], from, to);
    }

    /// The other way round.
    pub(crate) fn int_to_float(&mut self, to: u8, from: u8) {
        self.reg(Some(0x66), true, &[0x0f, 0x6e], to, from);
    }

    /// A constant; flags are changed.
    pub(crate) fn constant(&mut self, to: u8, n: i64) {
        if n == 0 {
            self.reg(None, false, &[0x31], to, to);
        } else if u32::try_from(n).is_ok() {
            self.code.extend((to > 7).then_some(0x41));
            self.code.push(0xb8 | to & 7);
            self.u32(n as u32);
        } else if let Ok(n) = i32::try_from(n) {
            self.reg(None, true, &[0xc7], 0, to);
            self.u32(n as u32);
        } else {
            self.bytes(&[0x48 | to >> 3, 0xb8 | to & 7]);
            self.bytes(&n.to_le_bytes());
        }
    }

    /// A constant to memory, sign-extended to 64 bits.
    pub(crate) fn store_constant(&mut self, to: Mem, n: i32) {
        self.mem(None, true, &[0xc7], 0, to);
        self.u32(n as u32);
    }

    /// Adds to a register; flags are changed.
    pub(crate) fn add(&mut self, to: u8, n: i32) {
        if n != 0 {
            self.reg(None, true, &[0x81], 0, to);
            self.u32(n as u32);
        }
    }

    /// Adds to 32 bits of memory.
    pub(crate) fn add_memory(&mut self, to: Mem, n: i8) {
        self.mem(None, false, &[0x83], 0, to);
        self.code.push(n as u8);
    }

    /// Compares memory with a register.
    pub(crate) fn compare_memory(&mut self, m: Mem, register: u8) {
        self.mem(None, true, &[0x39], register, m);
    }

    pub(crate) fn compare(&mut self, a: u8, b: u8) {
        self.reg(None, true, &[0x39], b, a);
    }

    pub(crate) fn compare32(&mut self, a: u8, b: u8) {
        self.reg(None, false, &[0x39], b, a);
    }

    /// Moves if the last comparison's first operand was not below the second, unsigned.
    pub(crate) fn move_if_not_below32(&mut self, to: u8, from: u8) {
        self.reg(None, false, &[0x0f, 0x43], to, from);
    }

    /// Sets flags by a register's value.
    pub(crate) fn test(&mut self, a: u8) {
        self.reg(None, true, &[0x85], a, a);
    }

    /// A jump; the position of its displacement.
    pub(crate) fn jump(&mut self) -> u32 {
        self.bytes(&[0xe9, 0, 0, 0, 0]);
        self.position() - 4
    }

    /// A jump on a condition; the position of its displacement.
    pub(crate) fn jump_if(&mut self, condition: u8) -> u32 {
        self.bytes(&[0x0f, 0x80 | condition, 0, 0, 0, 0]);
        self.position() - 4
    }

    /// A jump on a condition over less than 128 bytes; the position of its displacement.
    pub(crate) fn jump_if_near(&mut self, condition: u8) -> u32 {
        self.bytes(&[0x70 | condition, 0]);
        self.position() - 1
    }

    /// Makes such a jump lead here.
    pub(crate) fn bind_near(&mut self, field: u32) {
        self.code[field as usize] = (self.position() - field - 1) as u8;
    }

    pub(crate) fn jump_to_register(&mut self, to: u8) {
        self.reg(None, false, &[0xff], 4, to);
    }

    pub(crate) fn call_register(&mut self, to: u8) {
        self.reg(None, false, &[0xff], 2, to);
    }

    /// A direct call; the position of its displacement.
    pub(crate) fn call(&mut self) -> u32 {
        self.bytes(&[0xe8, 0, 0, 0, 0]);
        self.position() - 4
    }

    /// An instruction that traps.
    pub(crate) fn trap(&mut self) {
        self.bytes(&[0x0f, 0x0b]);
    }

    /// `mov rsp, rbp; pop rbp`
    pub(crate) fn leave(&mut self) {
        self.bytes(&[0xc9]);
    }

    /// Returns and removes so many bytes of arguments.
    pub(crate) fn ret(&mut self, arguments: u32) {
        match arguments {
            0 => self.bytes(&[0xc3]),
            n => self.bytes(&[0xc2, n as u8, (n >> 8) as u8]),
        }
    }
}

/// Conditions of jumps.
pub(crate) mod condition {
    pub(crate) const BELOW: u8 = 2;
    pub(crate) const EQUAL: u8 = 4;
    pub(crate) const ABOVE: u8 = 7;
    pub(crate) const NOT_SIGN: u8 = 9;
}
