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

use crate::library::{Hole, Stencil, Values};

/// A memory operand: base register and displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mem(pub(crate) u8, pub(crate) i32);

/// Machine code under construction.
#[derive(Default)]
pub(crate) struct Assembler {
    /// Longer than the code: it is written in pieces of a fixed size, whatever their length.
    buffer: Vec<u8>,
    len: usize,
}

/// Bytes that are written at once when code is copied.
const CHUNK: usize = 32;

/// Bytes that an instruction may have at most.
const LONGEST: usize = 16;

/// An opcode: what is before the registers' number, without the REX prefix.
#[derive(Clone, Copy)]
struct Opcode {
    /// 0 for none.
    prefix: u8,
    wide: bool,
    bytes: u32,
    len: u32,
}

impl Opcode {
    const fn new(prefix: u8, wide: bool, bytes: &[u8]) -> Opcode {
        let mut packed = 0;
        let mut i = 0;
        while i < bytes.len() {
            packed |= (bytes[i] as u32) << (8 * i);
            i += 1;
        }
        Opcode { prefix, wide, bytes: packed, len: bytes.len() as u32 }
    }

    /// For 32 bits.
    const fn narrow(byte: u8) -> Opcode {
        Opcode::new(0, false, &[byte])
    }

    /// For 64 bits.
    const fn wide(byte: u8) -> Opcode {
        Opcode::new(0, true, &[byte])
    }
}

/// An instruction without its displacement, in the lowest bytes. With a constant opcode little of this is left.
struct Instruction {
    bytes: u64,
    bits: u32,
}

impl Instruction {
    /// `[prefix] [REX] opcode`, for a register of the instruction and one of its operand.
    #[inline(always)]
    fn new(opcode: Opcode, register: u8, rm: u8) -> Instruction {
        let mut i = Instruction { bytes: 0, bits: 0 };
        if opcode.prefix != 0 {
            i.push(opcode.prefix);
        }
        let rex = u8::from(opcode.wide) << 3 | (register >> 3) << 2 | rm >> 3;
        if rex != 0 {
            i.push(0x40 | rex);
        }
        i.bytes |= u64::from(opcode.bytes) << i.bits;
        i.bits += 8 * opcode.len;
        i
    }

    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.bytes |= u64::from(byte) << self.bits;
        self.bits += 8;
    }

    #[inline(always)]
    fn len(&self) -> usize {
        // At most 7; said so that nothing has to be checked where it is used.
        (self.bits / 8) as usize & 7
    }
}

impl Assembler {
    /// With a buffer that is used again.
    pub(crate) fn new(buffer: Vec<u8>) -> Assembler {
        Assembler { buffer, len: 0 }
    }

    /// The code, and the buffer to be used again.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        (self.code().to_vec(), self.buffer)
    }

    pub(crate) fn code(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    #[inline]
    pub(crate) fn position(&self) -> u32 {
        self.len as u32
    }

    /// The next `N` bytes, to be written.
    #[inline(always)]
    fn window<const N: usize>(&mut self) -> &mut [u8; N] {
        if self.buffer.len() < self.len + N {
            self.grow(N);
        }
        self.buffer[self.len..].first_chunk_mut().expect("there is room")
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, n: usize) {
        let len = (2 * self.buffer.len()).max(self.len + n + 4096);
        self.buffer.resize(len, 0);
    }

    /// Appends the first `len` of these bytes.
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        *self.window() = bytes;
        self.len += len;
    }

    /// Appends the code of a stencil with values in its holes. Code and holes are written in pieces of a fixed size, whatever
    /// their length.
    #[inline(always)]
    pub(crate) fn copy(&mut self, stencil: &Stencil, values: &Values) {
        let room = stencil.len.next_multiple_of(CHUNK) + size_of::<u64>();
        if self.buffer.len() < self.len + room {
            self.grow(room);
        }
        let to = &mut self.buffer[self.len..self.len + room];
        let mut at = 0;
        while at < stencil.len {
            to[at..at + CHUNK].copy_from_slice(&stencil.code[at..at + CHUNK]);
            at += CHUNK;
        }
        // Holes ascend: what is written behind one is what was there, and the next one comes later.
        for hole in stencil.holes {
            let hole = Hole(u64::from_le_bytes(*hole));
            let at = hole.at();
            let old = &stencil.code[at..at + size_of::<u64>()];
            let mut old = u64::from_le_bytes(*old.first_chunk().expect("there are 8 bytes"));
            let mask = hole.mask();
            old = old & !mask | hole.fill(values) & mask;
            to[at..at + size_of::<u64>()].copy_from_slice(&old.to_le_bytes());
        }
        self.len += stencil.len;
    }

    #[inline(always)]
    fn bytes<const N: usize>(&mut self, bytes: [u8; N]) {
        self.put(bytes, N);
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.put([byte], 1);
    }

    #[inline]
    pub(crate) fn u32(&mut self, n: u32) {
        self.put(n.to_le_bytes(), 4);
    }

    /// Writes 32 bits over what is there.
    pub(crate) fn patch(&mut self, at: u32, n: u32) {
        self.buffer[at as usize..at as usize + 4].copy_from_slice(&n.to_le_bytes());
    }

    pub(crate) fn read(&self, at: u32) -> u32 {
        let b = &self.buffer[at as usize..at as usize + 4];
        u32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }

    /// Makes the displacement at `field` lead to `target`.
    pub(crate) fn bind(&mut self, field: u32, target: u32) {
        self.patch(field, target.wrapping_sub(field + 4));
    }

    /// An instruction with a memory operand.
    #[inline(always)]
    fn mem(&mut self, opcode: Opcode, register: u8, m: Mem) {
        let Mem(base, disp) = m;
        let mut i = Instruction::new(opcode, register, base);
        let short = disp == i32::from(disp as i8);
        let mode = if short { 0x40 } else { 0x80 };
        i.push(mode | (register & 7) << 3 | base & 7);
        if base & 7 == RSP {
            i.push(0x24);
        }
        let window: &mut [u8; LONGEST] = self.window();
        window[..8].copy_from_slice(&i.bytes.to_le_bytes());
        window[i.len()..i.len() + 4].copy_from_slice(&disp.to_le_bytes());
        self.len += i.len() + if short { 1 } else { 4 };
    }

    /// An instruction with registers.
    #[inline(always)]
    fn reg(&mut self, opcode: Opcode, register: u8, rm: u8) {
        let mut i = Instruction::new(opcode, register, rm);
        i.push(0xc0 | (register & 7) << 3 | rm & 7);
        self.put(i.bytes.to_le_bytes(), i.len());
    }

    /// 64 bits from memory.
    pub(crate) fn load(&mut self, to: u8, from: Mem) {
        self.mem(Opcode::wide(0x8b), to, from);
    }

    /// 32 bits from memory, zero-extended.
    pub(crate) fn load32(&mut self, to: u8, from: Mem) {
        self.mem(Opcode::narrow(0x8b), to, from);
    }

    /// 64 bits to memory.
    pub(crate) fn store(&mut self, to: Mem, from: u8) {
        self.mem(Opcode::wide(0x89), from, to);
    }

    /// 64 bits to a float register.
    pub(crate) fn load_float(&mut self, to: u8, from: Mem) {
        self.mem(const { Opcode::new(0xf3, false, &[0x0f, 0x7e]) }, to, from);
    }

    /// 64 bits from a float register.
    pub(crate) fn store_float(&mut self, to: Mem, from: u8) {
        self.mem(const { Opcode::new(0x66, false, &[0x0f, 0xd6]) }, from, to);
    }

    /// 128 bits to a vector register.
    pub(crate) fn load_vector(&mut self, to: u8, from: Mem) {
        self.mem(const { Opcode::new(0, false, &[0x0f, 0x10]) }, to, from);
    }

    /// 128 bits from a vector register.
    pub(crate) fn store_vector(&mut self, to: Mem, from: u8) {
        self.mem(const { Opcode::new(0, false, &[0x0f, 0x11]) }, from, to);
    }

    /// The address of a memory operand.
    pub(crate) fn lea(&mut self, to: u8, from: Mem) {
        self.mem(Opcode::wide(0x8d), to, from);
    }

    pub(crate) fn mov(&mut self, to: u8, from: u8) {
        if to != from {
            self.reg(Opcode::wide(0x89), from, to);
        }
    }

    pub(crate) fn mov_vector(&mut self, to: u8, from: u8) {
        if to != from {
            self.reg(const { Opcode::new(0, false, &[0x0f, 0x28]) }, to, from);
        }
    }

    /// 64 bits of a float register to a general-purpose one.
    pub(crate) fn float_to_int(&mut self, to: u8, from: u8) {
        self.reg(const { Opcode::new(0x66, true, &[0x0f, 0x7e]) }, from, to);
    }

    /// The other way round.
    pub(crate) fn int_to_float(&mut self, to: u8, from: u8) {
        self.reg(const { Opcode::new(0x66, true, &[0x0f, 0x6e]) }, to, from);
    }

    pub(crate) fn zero_vector(&mut self, to: u8) {
        self.reg(const { Opcode::new(0, false, &[0x0f, 0x57]) }, to, to);
    }

    /// The low half of a vector to its high half.
    pub(crate) fn double_low_half(&mut self, to: u8) {
        self.reg(const { Opcode::new(0x66, false, &[0x0f, 0x6c]) }, to, to);
    }

    /// 64 bits of a general-purpose register to the high half of a vector.
    pub(crate) fn int_to_high_half(&mut self, to: u8, from: u8) {
        self.reg(const { Opcode::new(0x66, true, &[0x0f, 0x3a, 0x22]) }, to, from);
        self.byte(1);
    }

    /// A constant; flags are changed.
    pub(crate) fn constant(&mut self, to: u8, n: i64) {
        if n == 0 {
            self.reg(Opcode::narrow(0x31), to, to);
        } else if u32::try_from(n).is_ok() {
            if to > 7 {
                self.byte(0x41);
            }
            self.byte(0xb8 | to & 7);
            self.u32(n as u32);
        } else if let Ok(n) = i32::try_from(n) {
            self.reg(Opcode::wide(0xc7), 0, to);
            self.u32(n as u32);
        } else {
            self.bytes([0x48 | to >> 3, 0xb8 | to & 7]);
            self.bytes(n.to_le_bytes());
        }
    }

    /// A constant to memory, sign-extended to 64 bits.
    pub(crate) fn store_constant(&mut self, to: Mem, n: i32) {
        self.mem(Opcode::wide(0xc7), 0, to);
        self.u32(n as u32);
    }

    /// Adds to a register; flags are changed.
    pub(crate) fn add(&mut self, to: u8, n: i32) {
        match i8::try_from(n) {
            Ok(0) => {}
            Ok(n) => {
                self.reg(Opcode::wide(0x83), 0, to);
                self.byte(n as u8);
            }
            Err(_) => {
                self.reg(Opcode::wide(0x81), 0, to);
                self.u32(n as u32);
            }
        }
    }

    /// Adds to 32 bits of memory.
    pub(crate) fn add_memory(&mut self, to: Mem, n: i8) {
        self.mem(Opcode::narrow(0x83), 0, to);
        self.byte(n as u8);
    }

    /// Compares memory with a register.
    pub(crate) fn compare_memory(&mut self, m: Mem, register: u8) {
        self.mem(Opcode::wide(0x39), register, m);
    }

    pub(crate) fn compare(&mut self, a: u8, b: u8) {
        self.reg(Opcode::wide(0x39), b, a);
    }

    pub(crate) fn compare32(&mut self, a: u8, b: u8) {
        self.reg(Opcode::narrow(0x39), b, a);
    }

    /// Moves if the last comparison's first operand was not below the second, unsigned.
    pub(crate) fn move_if_not_below32(&mut self, to: u8, from: u8) {
        self.reg(const { Opcode::new(0, false, &[0x0f, 0x43]) }, to, from);
    }

    /// Sets flags by a register's value.
    pub(crate) fn test(&mut self, a: u8) {
        self.reg(Opcode::wide(0x85), a, a);
    }

    /// A jump; the position of its displacement.
    pub(crate) fn jump(&mut self) -> u32 {
        self.bytes([0xe9, 0, 0, 0, 0]);
        self.position() - 4
    }

    /// A jump on a condition; the position of its displacement.
    pub(crate) fn jump_if(&mut self, condition: u8) -> u32 {
        self.bytes([0x0f, 0x80 | condition, 0, 0, 0, 0]);
        self.position() - 4
    }

    /// A jump on a condition over less than 128 bytes; the position of its displacement.
    pub(crate) fn jump_if_near(&mut self, condition: u8) -> u32 {
        self.bytes([0x70 | condition, 0]);
        self.position() - 1
    }

    /// A jump over less than 128 bytes; the position of its displacement.
    pub(crate) fn jump_near(&mut self) -> u32 {
        self.bytes([0xeb, 0]);
        self.position() - 1
    }

    /// Makes such a jump lead here.
    pub(crate) fn bind_near(&mut self, field: u32) {
        self.buffer[field as usize] = (self.position() - field - 1) as u8;
    }

    /// Jumps to the entry numbered `r10` of the table that follows: distances from the table's begin, 32 bits each.
    pub(crate) fn jump_by_table(&mut self) {
        // lea r11, [rip + table]; movsxd r10, dword [r11 + 4 * r10]; add r11, r10
        self.bytes([0x4c, 0x8d, 0x1d, 10, 0, 0, 0, 0x4f, 0x63, 0x14, 0x93, 0x4d, 0x01, 0xd3]);
        self.jump_to_register(R11);
    }

    /// Sets up the frame pointer and begins to compute the end of the frame in `r11`: four bytes, its negative size, are
    /// to follow.
    pub(crate) fn begin_frame(&mut self) {
        // push rbp; mov rbp, rsp; lea r11, [rbp - …]
        self.bytes([0x55, 0x48, 0x89, 0xe5, 0x4c, 0x8d, 0x9d]);
    }

    pub(crate) fn nop(&mut self) {
        self.byte(0x90);
    }

    pub(crate) fn jump_to_register(&mut self, to: u8) {
        self.reg(Opcode::narrow(0xff), 4, to);
    }

    pub(crate) fn call_register(&mut self, to: u8) {
        self.reg(Opcode::narrow(0xff), 2, to);
    }

    /// A direct call; the position of its displacement.
    pub(crate) fn call(&mut self) -> u32 {
        self.bytes([0xe8, 0, 0, 0, 0]);
        self.position() - 4
    }

    /// An instruction that traps.
    pub(crate) fn trap(&mut self) {
        self.bytes([0x0f, 0x0b]);
    }

    /// `mov rsp, rbp; pop rbp`
    pub(crate) fn leave(&mut self) {
        self.bytes([0xc9]);
    }

    /// Returns and removes so many bytes of arguments.
    pub(crate) fn ret(&mut self, arguments: u32) {
        match arguments {
            0 => self.bytes([0xc3]),
            n => self.bytes([0xc2, n as u8, (n >> 8) as u8]),
        }
    }
}

/// Conditions of jumps.
pub(crate) mod condition {
    pub(crate) const BELOW: u8 = 2;
    pub(crate) const EQUAL: u8 = 4;
    pub(crate) const ABOVE: u8 = 7;
    pub(crate) const SIGN: u8 = 8;
    pub(crate) const NOT_SIGN: u8 = 9;
}
