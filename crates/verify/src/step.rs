//! What one instruction makes of a state.

use iced_x86::{Code, Instruction, Mnemonic, OpAccess, OpKind, Register};

use crate::access::Access;
use crate::assume::negated;
use crate::check::{Checker, Scratch};
use crate::insn::is_vector;
use crate::refusal::{Result, Rule, broken};
use crate::state::{Flags, RAX, RDX, RSP, State, UNCHECKED};
use crate::value::{Base, Fact, MAX_U32, Value};

/// The number of a general register in machine code.
pub(crate) fn number_of(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}

fn register_size(register: Register) -> u32 {
    register.size() as u32
}

impl Checker<'_> {
    /// The address of an instruction's memory operand.
    pub(crate) fn address(&self, s: &mut State, instruction: &Instruction) -> Value {
        let displacement = instruction.memory_displacement64() as i64;
        if instruction.is_ip_rel_memory_operand() {
            // Instructions are decoded as if the function stood at 0.
            return Value { offset: displacement, ..Value::base(Base::Text) };
        }
        let mut address = Value::constant(displacement);
        if let Some(base) = number_of(instruction.memory_base()) {
            address = self.add(s, s.registers[base], address);
        }
        if let Some(index) = number_of(instruction.memory_index()) {
            let scale = instruction.memory_index_scale().trailing_zeros() as u8;
            let scaled = self.shift_left(s, s.registers[index], scale);
            address = self.add(s, address, scaled);
        }
        address
    }

    /// The sum of two values of 64 bits.
    pub(crate) fn add(&self, s: &mut State, left: Value, right: Value) -> Value {
        if let Some(n) = right.as_constant() {
            return Value { offset: left.offset.wrapping_add(n), ..left };
        }
        if let Some(n) = left.as_constant() {
            return Value { offset: right.offset.wrapping_add(n), ..right };
        }
        for (distance, table) in [(left, right), (right, left)] {
            if let Base::JumpDistance(at) = distance.base
                && table.distance_to(Base::Text) == Some(at.into())
            {
                return Value { base: Base::JumpTarget(at), ..distance };
            }
        }
        let (base, number) = match (left.base, right.base) {
            (base, Base::Number) if !base.is_identity() => (left, right),
            (Base::Number, base) if !base.is_identity() => (right, left),
            _ => return s.unknown(),
        };
        if base.symbol == 0 {
            return Value { base: base.base, offset: base.offset.wrapping_add(number.offset), ..number };
        }
        let (low, high) = s.range(base.number());
        let (other_low, other_high) = s.range(number);
        let sum = match (low.checked_add(other_low), high.checked_add(other_high)) {
            (Some(low), Some(high)) => s.number(Fact::range(low, high)),
            _ => s.unknown(),
        };
        Value { base: base.base, ..sum }
    }

    fn subtract(&self, s: &mut State, left: Value, right: Value) -> Value {
        if let Some(n) = right.as_constant() {
            return Value { offset: left.offset.wrapping_sub(n), ..left };
        }
        if left.base == right.base && left.symbol == right.symbol && left.shift == right.shift {
            return Value::constant(left.offset.wrapping_sub(right.offset));
        }
        if left.base != Base::Number || right.base != Base::Number {
            return s.unknown();
        }
        let ((low, high), (other_low, other_high)) = (s.range(left), s.range(right));
        match (low.checked_sub(other_high), high.checked_sub(other_low)) {
            (Some(low), Some(high)) => s.ranged(low, high),
            _ => s.unknown(),
        }
    }

    fn shift_left(&self, s: &mut State, value: Value, by: u8) -> Value {
        if by == 0 {
            return value;
        }
        if value.base != Base::Number {
            return s.unknown();
        }
        if value.symbol == 0 {
            return Value::constant(value.offset.wrapping_shl(by.into()));
        }
        let shift = value.shift + by;
        let wraps = s.range(value) == (i64::MIN, i64::MAX) && value.offset != 0;
        if shift > 8 || wraps {
            let (low, high) = s.range(value);
            return match (low.checked_mul(1 << by.min(62)), high.checked_mul(1 << by.min(62))) {
                (Some(low), Some(high)) if by < 62 => s.ranged(low, high),
                _ => s.unknown(),
            };
        }
        Value { shift, offset: value.offset.wrapping_shl(by.into()), ..value }
    }

    /// Puts a value into a register, of which `size` bytes are written.
    fn write(&self, s: &mut State, register: Register, value: Value) {
        let Some(number) = number_of(register) else { return };
        s.registers[number] = match register_size(register) {
            8 => value,
            4 => self.low_half(s, value),
            _ => s.unknown(),
        };
    }

    fn read_register(&self, s: &mut State, register: Register) -> Value {
        let Some(number) = number_of(register) else { return s.unknown() };
        let value = s.registers[number];
        match register_size(register) {
            8 => value,
            4 => self.low_half(s, value),
            size => match value.as_constant() {
                Some(n) => Value::constant(n & ((1 << (8 * size)) - 1)),
                None => self.loaded(s, size),
            },
        }
    }

    /// An operand's value, loaded if it is in memory; zero-extended from the operand's size.
    fn read(&self, s: &mut State, instruction: &Instruction, operand: u32) -> Result<Value> {
        match instruction.op_kind(operand) {
            OpKind::Register => Ok(self.read_register(s, instruction.op_register(operand))),
            OpKind::Memory => {
                let address = self.address(s, instruction);
                let size = instruction.memory_size().size() as u32;
                self.access(s, address, size, Access::Load)
            }
            _ => {
                let n = instruction.immediate(operand) as i64;
                let narrow = self.operand_size(instruction) == 4;
                Ok(Value::constant(if narrow { i64::from(n as u32) } else { n }))
            }
        }
    }

    /// Bytes that an integer instruction works on.
    fn operand_size(&self, instruction: &Instruction) -> u32 {
        match instruction.op0_kind() {
            OpKind::Register => register_size(instruction.op0_register()),
            OpKind::Memory => instruction.memory_size().size() as u32,
            _ => 8,
        }
    }

    /// One instruction that goes on at the next.
    pub(crate) fn step(&self, s: &mut State, scratch: &mut Scratch, instruction: &Instruction) -> Result<()> {
        use Mnemonic as M;
        let before = s.registers[RSP];
        match instruction.mnemonic() {
            M::Nop => {}
            M::Mov => self.mov(s, instruction)?,
            M::Movzx => {
                let value = self.read(s, instruction, 1)?;
                self.write(s, instruction.op0_register(), value);
            }
            M::Movsxd | M::Movsx => self.sign_extend(s, instruction)?,
            M::Lea => {
                let address = self.address(s, instruction);
                self.write(s, instruction.op0_register(), address);
            }
            M::Add | M::Sub | M::And | M::Or | M::Xor | M::Inc | M::Dec => self.arithmetic(s, scratch, instruction)?,
            M::Shl | M::Shr | M::Sar => self.shift(s, scratch, instruction)?,
            M::Cmp | M::Test => self.compare(s, instruction)?,
            M::Push => self.push(s, instruction)?,
            M::Pop => self.pop(s, instruction)?,
            M::Imul if instruction.op_count() > 1 => self.other(s, scratch, instruction)?,
            mnemonic if is_select(mnemonic) => self.conditional_move(s, instruction)?,
            _ => self.other(s, scratch, instruction)?,
        }
        if s.registers[RSP] != before { self.check_stack_pointer(s) } else { Ok(()) }
    }

    fn check_stack_pointer(&self, s: &mut State) -> Result<()> {
        let Some(at) = s.registers[RSP].distance_to(Base::Frame) else {
            return broken(Rule::Frame, "the stack pointer is not known");
        };
        if at < s.room {
            let needs = if s.checked == UNCHECKED { "without a check" } else { "more than was checked" };
            return broken(Rule::Frame, format!("{} bytes of stack are taken, {needs}", -at));
        }
        Ok(())
    }

    fn mov(&self, s: &mut State, instruction: &Instruction) -> Result<()> {
        let value = match instruction.op1_kind() {
            OpKind::Register | OpKind::Memory => self.read(s, instruction, 1)?,
            _ => {
                let n = instruction.immediate(1) as i64;
                let narrow = self.operand_size(instruction) == 4;
                Value::constant(if narrow { i64::from(n as u32) } else { n })
            }
        };
        if instruction.op0_kind() == OpKind::Register {
            self.write(s, instruction.op0_register(), value);
            return Ok(());
        }
        let address = self.address(s, instruction);
        let size = instruction.memory_size().size() as u32;
        self.access(s, address, size, Access::Store(Some(value)))?;
        Ok(())
    }

    fn sign_extend(&self, s: &mut State, instruction: &Instruction) -> Result<()> {
        let (to, from) = (instruction.op0_register(), instruction.op1_kind());
        if from == OpKind::Memory {
            let address = self.address(s, instruction);
            let value = self.read(s, instruction, 1)?;
            let size = instruction.memory_size().size();
            let (low, high) = s.range(value);
            // The entry of a jump table: a distance from the table.
            if let Some(table) = self.jump_table(s, address).filter(|_| size == 4 && register_size(to) == 8) {
                self.write(s, to, Value { base: Base::JumpDistance(table), offset: 0, ..address });
                return Ok(());
            }
            let sign = 1i64 << (8 * size - 1);
            let value =
                if value.base == Base::Number && low >= 0 && high < sign { value } else { s.ranged(-sign, sign - 1) };
            self.write(s, to, value);
            return Ok(());
        }
        let value = self.read(s, instruction, 1)?;
        let size = register_size(instruction.op1_register());
        let sign = 1i64 << (8 * size - 1);
        let (low, high) = s.range(value);
        let fits = value.base == Base::Number && low >= 0 && high < sign;
        let value = if fits { value } else { s.ranged(-sign, sign - 1) };
        self.write(s, to, value);
        Ok(())
    }

    /// Where a jump table begins, if an address is that of one of its entries.
    fn jump_table(&self, s: &State, address: Value) -> Option<u32> {
        let plain = address.base == Base::Text && (address.symbol == 0 || address.shift == 2);
        let (low, _) = s.range(Value { offset: 0, ..address });
        let table = u32::try_from(address.offset).ok()?;
        (plain && address.symbol != 0 && low >= 0).then_some(table)
    }

    fn arithmetic(&self, s: &mut State, scratch: &mut Scratch, instruction: &Instruction) -> Result<()> {
        use Mnemonic as M;
        let size = self.operand_size(instruction);
        if instruction.op0_kind() != OpKind::Register || size < 4 {
            return self.other(s, scratch, instruction);
        }
        let to = instruction.op0_register();
        let left = self.read_register(s, to);
        let mnemonic = instruction.mnemonic();
        let same = instruction.op_count() > 1
            && instruction.op1_kind() == OpKind::Register
            && instruction.op1_register() == to;
        let right = match mnemonic {
            M::Inc | M::Dec => Value::constant(1),
            _ => self.read(s, instruction, 1)?,
        };
        // Modulo 2^32 an immediate may as well be negative.
        let right = match right.as_constant() {
            Some(n) if size == 4 && matches!(mnemonic, M::Add | M::Sub) => Value::constant(i64::from(n as i32)),
            _ => right,
        };
        let value = match mnemonic {
            M::Add | M::Inc => self.add(s, left, right),
            M::Sub | M::Dec => self.subtract(s, left, right),
            M::Xor if same => Value::constant(0),
            M::And => self.bits_and(s, left, right),
            _ => self.bits_or(s, left, right),
        };
        self.write(s, to, value);
        s.flags = Flags::Unknown;
        if matches!(mnemonic, M::Sub) {
            s.flags = Flags::Compare(left, right, size == 8);
        }
        if size == 4 && matches!(mnemonic, M::Sub) && right.as_constant().is_some_and(|n| n < 0) {
            s.flags = Flags::Unknown;
        }
        Ok(())
    }

    fn bits_and(&self, s: &mut State, left: Value, right: Value) -> Value {
        let numbers = [left, right].into_iter().filter(|value| value.base == Base::Number);
        let highs = numbers.map(|value| s.range(value)).filter(|(low, _)| *low >= 0).map(|(_, high)| high);
        match highs.min() {
            Some(high) => s.ranged(0, high),
            None => s.unknown(),
        }
    }

    fn bits_or(&self, s: &mut State, left: Value, right: Value) -> Value {
        let ((low, high), (other_low, other_high)) = (s.range(left), s.range(right));
        if low < 0 || other_low < 0 || left.base != Base::Number || right.base != Base::Number {
            return s.unknown();
        }
        let bits = 64 - (high | other_high).leading_zeros();
        s.ranged(0, if bits >= 63 { i64::MAX } else { (1 << bits) - 1 })
    }

    fn shift(&self, s: &mut State, scratch: &mut Scratch, instruction: &Instruction) -> Result<()> {
        let size = self.operand_size(instruction);
        let by = match instruction.op1_kind() {
            OpKind::Immediate8 => Some(u32::from(instruction.immediate8()) & (8 * size - 1)),
            _ => None,
        };
        let (Some(by), true) = (by, instruction.op0_kind() == OpKind::Register && size >= 4) else {
            return self.other(s, scratch, instruction);
        };
        let to = instruction.op0_register();
        let value = self.read_register(s, to);
        let (low, high) = s.range(value);
        let result = match instruction.mnemonic() {
            _ if value.base != Base::Number => s.unknown(),
            Mnemonic::Shl => self.shift_left(s, value, by as u8),
            Mnemonic::Shr if low >= 0 => s.ranged(low >> by, high >> by),
            Mnemonic::Shr if by > 0 => s.ranged(0, (u64::MAX >> by) as i64),
            Mnemonic::Sar if size == 8 => s.ranged(low >> by, high >> by),
            _ => s.unknown(),
        };
        self.write(s, to, result);
        s.flags = Flags::Unknown;
        Ok(())
    }

    fn compare(&self, s: &mut State, instruction: &Instruction) -> Result<()> {
        let size = self.operand_size(instruction);
        let left = self.read(s, instruction, 0)?;
        let right = self.read(s, instruction, 1)?;
        s.flags = Flags::Unknown;
        if size < 4 {
            return Ok(());
        }
        if instruction.mnemonic() == Mnemonic::Cmp {
            s.flags = Flags::Compare(left, right, size == 8);
        } else if left == right {
            s.flags = Flags::Compare(left, Value::constant(0), size == 8);
        }
        Ok(())
    }

    fn push(&self, s: &mut State, instruction: &Instruction) -> Result<()> {
        let value = match instruction.op0_kind() {
            OpKind::Register if register_size(instruction.op0_register()) == 8 => self.read(s, instruction, 0)?,
            _ => return broken(Rule::Instruction, "only whole registers are pushed"),
        };
        let at = Value { offset: s.registers[RSP].offset.wrapping_sub(8), ..s.registers[RSP] };
        self.access(s, at, 8, Access::Store(Some(value)))?;
        s.registers[RSP] = at;
        Ok(())
    }

    fn pop(&self, s: &mut State, instruction: &Instruction) -> Result<()> {
        let to = instruction.op0_register();
        if instruction.op0_kind() != OpKind::Register || register_size(to) != 8 || to == Register::RSP {
            return broken(Rule::Instruction, "only whole registers are popped");
        }
        let at = s.registers[RSP];
        let value = self.access(s, at, 8, Access::Load)?;
        self.write(s, to, value);
        s.registers[RSP] = Value { offset: at.offset.wrapping_add(8), ..at };
        Ok(())
    }

    fn conditional_move(&self, s: &mut State, instruction: &Instruction) -> Result<()> {
        let to = instruction.op0_register();
        let new = self.read(s, instruction, 1)?;
        let old = self.read_register(s, to);
        let value = self.select(s, instruction.condition_code(), old, new);
        if register_size(to) < 4 {
            self.write(s, to, Value::constant(0));
            return Ok(());
        }
        self.write(s, to, value);
        Ok(())
    }

    /// Any other instruction: what it writes is not known, what it reads and writes in memory is checked.
    fn other(&self, s: &mut State, scratch: &mut Scratch, instruction: &Instruction) -> Result<()> {
        if is_vector(instruction.mnemonic()) && !has_memory(instruction) {
            // Of vector registers nothing is known anyway.
            for operand in 0..instruction.op_count() {
                if instruction.op_kind(operand) == OpKind::Register {
                    let register = instruction.op_register(operand);
                    if operand == 0 && register.is_gpr() {
                        let value = if register_size(register) == 4 { s.ranged(0, MAX_U32) } else { s.unknown() };
                        self.write(s, register, value);
                    }
                }
            }
            if instruction.rflags_modified() != 0 {
                s.flags = Flags::Unknown;
            }
            return Ok(());
        }
        let info = scratch.info.info(instruction);
        for memory in info.used_memory() {
            let access = match memory.access() {
                OpAccess::Read | OpAccess::CondRead => Access::Load,
                OpAccess::Write => Access::Store(None),
                OpAccess::None | OpAccess::NoMemAccess => continue,
                _ => Access::Update,
            };
            let size = memory.memory_size().size() as u32;
            if size == 0 {
                return broken(Rule::Memory, "an access of unknown size");
            }
            let address = self.address(s, instruction);
            self.access(s, address, size, access)?;
        }
        for used in info.used_registers() {
            let writes = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
            if let (true, Some(number)) = (writes, number_of(used.register())) {
                // Writes of 32 bits clear the rest.
                s.registers[number] = s.unknown();
            }
        }
        // Writes of 32 bits clear the rest.
        let to = instruction.op0_register();
        let certain = !matches!(instruction.mnemonic(), Mnemonic::Bsf | Mnemonic::Bsr | Mnemonic::Cmpxchg);
        if certain && to.is_gpr32() && matches!(info.op0_access(), OpAccess::Write | OpAccess::ReadWrite) {
            let value = s.ranged(0, MAX_U32);
            self.write(s, to, value);
        }
        self.bound_result(s, instruction);
        if instruction.rflags_modified() != 0 {
            s.flags = Flags::Unknown;
        }
        Ok(())
    }

    /// Bounds of results that are small.
    fn bound_result(&self, s: &mut State, instruction: &Instruction) {
        use Mnemonic as M;
        let bits = match instruction.mnemonic() {
            M::Lzcnt | M::Tzcnt | M::Popcnt if instruction.op0_kind() == OpKind::Register => 64,
            M::Div if matches!(instruction.code(), Code::Div_rm32) => {
                (s.registers[RAX], s.registers[RDX]) = (s.ranged(0, MAX_U32), s.ranged(0, MAX_U32));
                return;
            }
            _ => return,
        };
        let value = s.ranged(0, bits);
        if register_size(instruction.op0_register()) >= 4 {
            self.write(s, instruction.op0_register(), value);
        }
    }

    /// The state when a jump is taken and the one when it is not.
    pub(crate) fn branch(&self, s: &State, instruction: &Instruction) -> (State, State) {
        let condition = instruction.condition_code();
        let (mut taken, mut not) = (s.clone(), s.clone());
        self.assume(&mut taken, condition, false);
        self.assume(&mut not, negated(condition), false);
        (taken, not)
    }
}

fn has_memory(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
}

fn is_select(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Cmova
            | M::Cmovae
            | M::Cmovb
            | M::Cmovbe
            | M::Cmove
            | M::Cmovg
            | M::Cmovge
            | M::Cmovl
            | M::Cmovle
            | M::Cmovne
            | M::Cmovno
            | M::Cmovnp
            | M::Cmovns
            | M::Cmovo
            | M::Cmovp
            | M::Cmovs
    )
}
