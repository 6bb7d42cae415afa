//! The operators of WebAssembly, one table: their names, encodings, immediates and types, and what compilers count for them.
//!
//! Whatever knows operators by their numbers takes them from here; `cargo xtask tidy` refuses the number of an operator
//! anywhere else. Each column is an array by operators' numbers. The compiler's tests hold the table against `wasmparser`'s list of operators and its validator.
//! [`sample()`] has a module around each of them, for tests that go through all.
//! Operators that no tier compiles yet are here as well, so that whoever meets one has to say what happens.

mod sample;

pub use sample::sample;

/// Immediates of an operator in the binary format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Immediates {
    /// None.
    None,
    /// A block type.
    Block,
    /// An index or label.
    Index,
    /// Two indices.
    TwoIndices,
    /// A `br_table`'s labels.
    Labels,
    /// Alignment, memory and offset. With the base-2 logarithm of the number of bytes that are accessed.
    MemArg(u8),
    /// The same, then a lane.
    MemArgLane(u8),
    /// A lane, of so many.
    Lane(u8),
    /// Sixteen bytes, a lane of two vectors each.
    Lanes,
    /// A byte: a memory ordering.
    Ordering,
    /// A signed 32-bit number.
    I32,
    /// A signed 64-bit number.
    I64,
    /// Four bytes.
    F32,
    /// Eight bytes.
    F64,
    /// Sixteen bytes.
    V128,
    /// A heap type.
    HeapType,
    /// A list of value types.
    Types,
    /// A block type and handlers.
    TryTable,
    /// A byte of flags, a label and two heap types.
    Cast,
}

/// Added to an access' alignment if the index of a memory follows it.
pub const MEMORY_FOLLOWS: u8 = 0x40;

/// What an operator is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Blocks and branches.
    Control,
    /// Exceptions: throwing them and what catches them.
    Exception,
    /// Calls and tail calls.
    Call,
    /// Operands of any type.
    Parametric,
    /// Locals.
    Local,
    /// Globals.
    Global,
    /// Tables and segments of elements.
    Table,
    /// Memories as a whole, and segments of data.
    Memory,
    /// Loads of scalars.
    Load,
    /// Stores of scalars.
    Store,
    /// Constants that are scalars.
    Constant,
    /// Comparisons of scalars: they give a truth value.
    Comparison,
    /// Arithmetic on and conversions of scalars, never trapping.
    Numeric,
    /// The same that trap for some operands.
    Partial,
    /// Integer arithmetic with results of 128 bits.
    Wide,
    /// References, whatever they refer to.
    Reference,
    /// Structures, arrays, small integers as references, and casts.
    Aggregate,
    /// Vectors without an access to memory.
    Vector,
    /// Loads and stores of vectors and of their lanes.
    VectorAccess,
    /// Atomic loads, stores and read-modify-writes.
    Atomic,
    /// Waiting for other threads and waking them.
    Wait,
    /// Fences.
    Fence,
}

/// Type of an operand or a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperandType {
    /// `i32`.
    I32,
    /// `i64`.
    I64,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `v128`.
    V128,
    /// An index into the memory or table that the immediates name: `i32` or `i64`, as its type says.
    Index,
}

/// Types of an operator's operands and results, from the bottom of the operand stack up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    /// Operands.
    pub params: &'static [OperandType],
    /// Results.
    pub results: &'static [OperandType],
}

/// The first byte of operators that have a number behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Prefix {
    /// Structures, arrays and casts.
    Aggregate = 0xfb,
    /// Saturating conversions, operators on whole memories and tables, wide arithmetic.
    Misc = 0xfc,
    /// Vectors.
    Vector = 0xfd,
    /// Atomic operators.
    Atomic = 0xfe,
}

/// What the first byte of an operator means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lead {
    /// It is the operator.
    Op(Op),
    /// A number follows.
    Prefix(Prefix),
    /// It begins no operator.
    Unknown,
}

macro_rules! signature {
    (varies) => { None };
    ($($param:ident)* -> $($result:ident)*) => {
        Some(Signature { params: &[$(OperandType::$param),*], results: &[$(OperandType::$result),*] })
    };
}

macro_rules! operators {
    ($(
        $op:ident [$($byte:literal)+] $name:literal: $immediates:ident $(($of:literal))?, $class:ident, ($($types:tt)*),
        cost $cost:literal, fuel $fuel:literal;
    )*) => {
        /// An operator. Numbered without gaps, in order of their encodings.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum Op {
            $(#[doc = concat!("`", $name, "`.")] $op,)*
        }

        impl Op {
            /// The number of operators.
            pub const COUNT: usize = [$(Op::$op),*].len();

            /// All operators, by number.
            pub const ALL: [Op; Op::COUNT] = [$(Op::$op),*];
        }

        static NAMES: [&str; Op::COUNT] = [$($name),*];
        static ENCODINGS: [&[u16]; Op::COUNT] = [$(&[$($byte),+]),*];
        static IMMEDIATES: [Immediates; Op::COUNT] = [$(Immediates::$immediates $(($of))?),*];
        static CLASSES: [Class; Op::COUNT] = [$(Class::$class),*];
        static SIGNATURES: [Option<Signature>; Op::COUNT] = [$(signature!($($types)*)),*];
        static COSTS: [u8; Op::COUNT] = [$($cost),*];
        static FUEL: [u8; Op::COUNT] = [$($fuel),*];
    };
}

impl Op {
    /// Its number among all, from 0 on.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in the text format. Some have the same: they differ in the types of their immediates.
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// Its immediates.
    #[inline]
    pub const fn immediates(self) -> Immediates {
        IMMEDIATES[self as usize]
    }

    /// What it is about.
    #[inline]
    pub const fn class(self) -> Class {
        CLASSES[self as usize]
    }

    /// Its types; `None` where they depend on more than the type of the memory or table that it works on.
    pub const fn signature(self) -> Option<Signature> {
        SIGNATURES[self as usize]
    }

    /// About how many instructions it takes. Locals, constants and blocks take none.
    #[inline]
    pub const fn cost(self) -> u8 {
        COSTS[self as usize]
    }

    /// Units of fuel that it costs: the same in every tier. One, but for what only shapes the code.
    #[inline]
    pub const fn fuel(self) -> u8 {
        FUEL[self as usize]
    }

    /// Its prefix, if it has one, and its number behind that, or else its byte.
    pub const fn encoding(self) -> (Option<Prefix>, u16) {
        match *ENCODINGS[self as usize] {
            [prefix, number] => (Prefix::of(prefix as u8), number),
            [byte, ..] => (None, byte),
            [] => panic!("every operator has an encoding"),
        }
    }

    /// The byte that it is, if it has no prefix.
    pub const fn byte(self) -> Option<u8> {
        match self.encoding() {
            (None, byte) => Some(byte as u8),
            _ => None,
        }
    }

    /// Appends its opcode.
    pub fn encode(self, out: &mut Vec<u8>) {
        let (prefix, mut number) = self.encoding();
        let Some(prefix) = prefix else { return out.push(number as u8) };
        out.push(prefix as u8);
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }

    /// The operator with this prefix and number.
    #[inline]
    pub const fn prefixed(prefix: Prefix, number: u32) -> Option<Op> {
        let table: &[Option<Op>] = match prefix {
            Prefix::Aggregate => &AGGREGATES,
            Prefix::Misc => &MISC,
            Prefix::Vector => &VECTORS,
            Prefix::Atomic => &ATOMICS,
        };
        if (number as usize) < table.len() { table[number as usize] } else { None }
    }

    /// The operator that these bytes begin with. `None` if there is none, or if its number is cut off or has more than
    /// five bytes.
    pub fn decode(bytes: &[u8]) -> Option<Op> {
        let prefix = match Lead::of(*bytes.first()?) {
            Lead::Op(op) => return Some(op),
            Lead::Prefix(prefix) => prefix,
            Lead::Unknown => return None,
        };
        let mut number = 0;
        for (i, byte) in bytes[1..].iter().take(5).enumerate() {
            number |= u32::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Op::prefixed(prefix, number);
            }
        }
        None
    }
}

impl Prefix {
    /// The prefix that this byte is.
    pub const fn of(byte: u8) -> Option<Prefix> {
        match byte {
            0xfb => Some(Prefix::Aggregate),
            0xfc => Some(Prefix::Misc),
            0xfd => Some(Prefix::Vector),
            0xfe => Some(Prefix::Atomic),
            _ => None,
        }
    }
}

impl Lead {
    /// What an operator is that begins with this byte.
    #[inline]
    pub const fn of(byte: u8) -> Lead {
        LEADS[byte as usize]
    }
}

/// Operators with a prefix, by number.
const fn by_number<const N: usize>(prefix: Prefix) -> [Option<Op>; N] {
    let mut table = [None; N];
    let mut i = 0;
    while i < Op::COUNT {
        if let (Some(found), number) = Op::ALL[i].encoding()
            && found as u8 == prefix as u8
        {
            table[number as usize] = Some(Op::ALL[i]);
        }
        i += 1;
    }
    table
}

static AGGREGATES: [Option<Op>; 0x20] = by_number(Prefix::Aggregate);
static MISC: [Option<Op>; 0x18] = by_number(Prefix::Misc);
static VECTORS: [Option<Op>; 0x114] = by_number(Prefix::Vector);
static ATOMICS: [Option<Op>; 0x4f] = by_number(Prefix::Atomic);

static LEADS: [Lead; 256] = {
    let mut table = [Lead::Unknown; 256];
    let mut i = 0;
    while i < Op::COUNT {
        match Op::ALL[i].encoding() {
            (Some(prefix), _) => table[prefix as usize] = Lead::Prefix(prefix),
            (None, byte) => table[byte as usize] = Lead::Op(Op::ALL[i]),
        }
        i += 1;
    }
    table
};

// In each row: the first byte, or the prefix and the number; the name; immediates; class; types; the last two columns.
operators! {
    Unreachable [0x00] "unreachable": None, Control, (varies), cost 1, fuel 0;
    Nop [0x01] "nop": None, Control, (->), cost 0, fuel 0;
    Block [0x02] "block": Block, Control, (varies), cost 0, fuel 0;
    Loop [0x03] "loop": Block, Control, (varies), cost 1, fuel 0;
    If [0x04] "if": Block, Control, (varies), cost 1, fuel 1;
    Else [0x05] "else": None, Control, (varies), cost 1, fuel 0;
    Try [0x06] "try": Block, Exception, (varies), cost 1, fuel 0;
    Catch [0x07] "catch": Index, Exception, (varies), cost 1, fuel 0;
    Throw [0x08] "throw": Index, Exception, (varies), cost 6, fuel 1;
    Rethrow [0x09] "rethrow": Index, Exception, (varies), cost 6, fuel 1;
    ThrowRef [0x0a] "throw_ref": None, Exception, (varies), cost 6, fuel 1;
    End [0x0b] "end": None, Control, (varies), cost 0, fuel 0;
    Br [0x0c] "br": Index, Control, (varies), cost 1, fuel 1;
    BrIf [0x0d] "br_if": Index, Control, (varies), cost 1, fuel 1;
    BrTable [0x0e] "br_table": Labels, Control, (varies), cost 6, fuel 1;
    Return [0x0f] "return": None, Control, (varies), cost 1, fuel 0;
    Call [0x10] "call": Index, Call, (varies), cost 3, fuel 1;
    CallIndirect [0x11] "call_indirect": TwoIndices, Call, (varies), cost 10, fuel 1;
    ReturnCall [0x12] "return_call": Index, Call, (varies), cost 3, fuel 1;
    ReturnCallIndirect [0x13] "return_call_indirect": TwoIndices, Call, (varies), cost 10, fuel 1;
    CallRef [0x14] "call_ref": Index, Call, (varies), cost 6, fuel 1;
    ReturnCallRef [0x15] "return_call_ref": Index, Call, (varies), cost 6, fuel 1;
    Delegate [0x18] "delegate": Index, Exception, (varies), cost 1, fuel 0;
    CatchAll [0x19] "catch_all": None, Exception, (varies), cost 1, fuel 0;
    Drop [0x1a] "drop": None, Parametric, (varies), cost 0, fuel 0;
    Select [0x1b] "select": None, Parametric, (varies), cost 1, fuel 1;
    TypedSelect [0x1c] "select": Types, Parametric, (varies), cost 1, fuel 1;
    TryTable [0x1f] "try_table": TryTable, Exception, (varies), cost 1, fuel 0;
    LocalGet [0x20] "local.get": Index, Local, (varies), cost 0, fuel 1;
    LocalSet [0x21] "local.set": Index, Local, (varies), cost 0, fuel 1;
    LocalTee [0x22] "local.tee": Index, Local, (varies), cost 0, fuel 1;
    GlobalGet [0x23] "global.get": Index, Global, (varies), cost 1, fuel 1;
    GlobalSet [0x24] "global.set": Index, Global, (varies), cost 1, fuel 1;
    TableGet [0x25] "table.get": Index, Table, (varies), cost 6, fuel 1;
    TableSet [0x26] "table.set": Index, Table, (varies), cost 6, fuel 1;
    I32Load [0x28] "i32.load": MemArg(2), Load, (Index -> I32), cost 1, fuel 1;
    I64Load [0x29] "i64.load": MemArg(3), Load, (Index -> I64), cost 1, fuel 1;
    F32Load [0x2a] "f32.load": MemArg(2), Load, (Index -> F32), cost 1, fuel 1;
    F64Load [0x2b] "f64.load": MemArg(3), Load, (Index -> F64), cost 1, fuel 1;
    I32Load8S [0x2c] "i32.load8_s": MemArg(0), Load, (Index -> I32), cost 1, fuel 1;
    I32Load8U [0x2d] "i32.load8_u": MemArg(0), Load, (Index -> I32), cost 1, fuel 1;
    I32Load16S [0x2e] "i32.load16_s": MemArg(1), Load, (Index -> I32), cost 1, fuel 1;
    I32Load16U [0x2f] "i32.load16_u": MemArg(1), Load, (Index -> I32), cost 1, fuel 1;
    I64Load8S [0x30] "i64.load8_s": MemArg(0), Load, (Index -> I64), cost 1, fuel 1;
    I64Load8U [0x31] "i64.load8_u": MemArg(0), Load, (Index -> I64), cost 1, fuel 1;
    I64Load16S [0x32] "i64.load16_s": MemArg(1), Load, (Index -> I64), cost 1, fuel 1;
    I64Load16U [0x33] "i64.load16_u": MemArg(1), Load, (Index -> I64), cost 1, fuel 1;
    I64Load32S [0x34] "i64.load32_s": MemArg(2), Load, (Index -> I64), cost 1, fuel 1;
    I64Load32U [0x35] "i64.load32_u": MemArg(2), Load, (Index -> I64), cost 1, fuel 1;
    I32Store [0x36] "i32.store": MemArg(2), Store, (Index I32 ->), cost 1, fuel 1;
    I64Store [0x37] "i64.store": MemArg(3), Store, (Index I64 ->), cost 1, fuel 1;
    F32Store [0x38] "f32.store": MemArg(2), Store, (Index F32 ->), cost 1, fuel 1;
    F64Store [0x39] "f64.store": MemArg(3), Store, (Index F64 ->), cost 1, fuel 1;
    I32Store8 [0x3a] "i32.store8": MemArg(0), Store, (Index I32 ->), cost 1, fuel 1;
    I32Store16 [0x3b] "i32.store16": MemArg(1), Store, (Index I32 ->), cost 1, fuel 1;
    I64Store8 [0x3c] "i64.store8": MemArg(0), Store, (Index I64 ->), cost 1, fuel 1;
    I64Store16 [0x3d] "i64.store16": MemArg(1), Store, (Index I64 ->), cost 1, fuel 1;
    I64Store32 [0x3e] "i64.store32": MemArg(2), Store, (Index I64 ->), cost 1, fuel 1;
    MemorySize [0x3f] "memory.size": Index, Memory, (-> Index), cost 1, fuel 1;
    MemoryGrow [0x40] "memory.grow": Index, Memory, (Index -> Index), cost 4, fuel 1;
    I32Const [0x41] "i32.const": I32, Constant, (-> I32), cost 0, fuel 1;
    I64Const [0x42] "i64.const": I64, Constant, (-> I64), cost 0, fuel 1;
    F32Const [0x43] "f32.const": F32, Constant, (-> F32), cost 0, fuel 1;
    F64Const [0x44] "f64.const": F64, Constant, (-> F64), cost 0, fuel 1;
    I32Eqz [0x45] "i32.eqz": None, Comparison, (I32 -> I32), cost 1, fuel 1;
    I32Eq [0x46] "i32.eq": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32Ne [0x47] "i32.ne": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32LtS [0x48] "i32.lt_s": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32LtU [0x49] "i32.lt_u": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32GtS [0x4a] "i32.gt_s": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32GtU [0x4b] "i32.gt_u": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32LeS [0x4c] "i32.le_s": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32LeU [0x4d] "i32.le_u": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32GeS [0x4e] "i32.ge_s": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I32GeU [0x4f] "i32.ge_u": None, Comparison, (I32 I32 -> I32), cost 1, fuel 1;
    I64Eqz [0x50] "i64.eqz": None, Comparison, (I64 -> I32), cost 1, fuel 1;
    I64Eq [0x51] "i64.eq": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64Ne [0x52] "i64.ne": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64LtS [0x53] "i64.lt_s": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64LtU [0x54] "i64.lt_u": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64GtS [0x55] "i64.gt_s": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64GtU [0x56] "i64.gt_u": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64LeS [0x57] "i64.le_s": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64LeU [0x58] "i64.le_u": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64GeS [0x59] "i64.ge_s": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    I64GeU [0x5a] "i64.ge_u": None, Comparison, (I64 I64 -> I32), cost 1, fuel 1;
    F32Eq [0x5b] "f32.eq": None, Comparison, (F32 F32 -> I32), cost 1, fuel 1;
    F32Ne [0x5c] "f32.ne": None, Comparison, (F32 F32 -> I32), cost 1, fuel 1;
    F32Lt [0x5d] "f32.lt": None, Comparison, (F32 F32 -> I32), cost 1, fuel 1;
    F32Gt [0x5e] "f32.gt": None, Comparison, (F32 F32 -> I32), cost 1, fuel 1;
    F32Le [0x5f] "f32.le": None, Comparison, (F32 F32 -> I32), cost 1, fuel 1;
    F32Ge [0x60] "f32.ge": None, Comparison, (F32 F32 -> I32), cost 1, fuel 1;
    F64Eq [0x61] "f64.eq": None, Comparison, (F64 F64 -> I32), cost 1, fuel 1;
    F64Ne [0x62] "f64.ne": None, Comparison, (F64 F64 -> I32), cost 1, fuel 1;
    F64Lt [0x63] "f64.lt": None, Comparison, (F64 F64 -> I32), cost 1, fuel 1;
    F64Gt [0x64] "f64.gt": None, Comparison, (F64 F64 -> I32), cost 1, fuel 1;
    F64Le [0x65] "f64.le": None, Comparison, (F64 F64 -> I32), cost 1, fuel 1;
    F64Ge [0x66] "f64.ge": None, Comparison, (F64 F64 -> I32), cost 1, fuel 1;
    I32Clz [0x67] "i32.clz": None, Numeric, (I32 -> I32), cost 1, fuel 1;
    I32Ctz [0x68] "i32.ctz": None, Numeric, (I32 -> I32), cost 1, fuel 1;
    I32Popcnt [0x69] "i32.popcnt": None, Numeric, (I32 -> I32), cost 1, fuel 1;
    I32Add [0x6a] "i32.add": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32Sub [0x6b] "i32.sub": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32Mul [0x6c] "i32.mul": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32DivS [0x6d] "i32.div_s": None, Partial, (I32 I32 -> I32), cost 1, fuel 1;
    I32DivU [0x6e] "i32.div_u": None, Partial, (I32 I32 -> I32), cost 1, fuel 1;
    I32RemS [0x6f] "i32.rem_s": None, Partial, (I32 I32 -> I32), cost 1, fuel 1;
    I32RemU [0x70] "i32.rem_u": None, Partial, (I32 I32 -> I32), cost 1, fuel 1;
    I32And [0x71] "i32.and": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32Or [0x72] "i32.or": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32Xor [0x73] "i32.xor": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32Shl [0x74] "i32.shl": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32ShrS [0x75] "i32.shr_s": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32ShrU [0x76] "i32.shr_u": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32Rotl [0x77] "i32.rotl": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I32Rotr [0x78] "i32.rotr": None, Numeric, (I32 I32 -> I32), cost 1, fuel 1;
    I64Clz [0x79] "i64.clz": None, Numeric, (I64 -> I64), cost 1, fuel 1;
    I64Ctz [0x7a] "i64.ctz": None, Numeric, (I64 -> I64), cost 1, fuel 1;
    I64Popcnt [0x7b] "i64.popcnt": None, Numeric, (I64 -> I64), cost 1, fuel 1;
    I64Add [0x7c] "i64.add": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64Sub [0x7d] "i64.sub": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64Mul [0x7e] "i64.mul": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64DivS [0x7f] "i64.div_s": None, Partial, (I64 I64 -> I64), cost 1, fuel 1;
    I64DivU [0x80] "i64.div_u": None, Partial, (I64 I64 -> I64), cost 1, fuel 1;
    I64RemS [0x81] "i64.rem_s": None, Partial, (I64 I64 -> I64), cost 1, fuel 1;
    I64RemU [0x82] "i64.rem_u": None, Partial, (I64 I64 -> I64), cost 1, fuel 1;
    I64And [0x83] "i64.and": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64Or [0x84] "i64.or": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64Xor [0x85] "i64.xor": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64Shl [0x86] "i64.shl": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64ShrS [0x87] "i64.shr_s": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64ShrU [0x88] "i64.shr_u": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64Rotl [0x89] "i64.rotl": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    I64Rotr [0x8a] "i64.rotr": None, Numeric, (I64 I64 -> I64), cost 1, fuel 1;
    F32Abs [0x8b] "f32.abs": None, Numeric, (F32 -> F32), cost 1, fuel 1;
    F32Neg [0x8c] "f32.neg": None, Numeric, (F32 -> F32), cost 1, fuel 1;
    F32Ceil [0x8d] "f32.ceil": None, Numeric, (F32 -> F32), cost 1, fuel 1;
    F32Floor [0x8e] "f32.floor": None, Numeric, (F32 -> F32), cost 1, fuel 1;
    F32Trunc [0x8f] "f32.trunc": None, Numeric, (F32 -> F32), cost 1, fuel 1;
    F32Nearest [0x90] "f32.nearest": None, Numeric, (F32 -> F32), cost 1, fuel 1;
    F32Sqrt [0x91] "f32.sqrt": None, Numeric, (F32 -> F32), cost 1, fuel 1;
    F32Add [0x92] "f32.add": None, Numeric, (F32 F32 -> F32), cost 1, fuel 1;
    F32Sub [0x93] "f32.sub": None, Numeric, (F32 F32 -> F32), cost 1, fuel 1;
    F32Mul [0x94] "f32.mul": None, Numeric, (F32 F32 -> F32), cost 1, fuel 1;
    F32Div [0x95] "f32.div": None, Numeric, (F32 F32 -> F32), cost 1, fuel 1;
    F32Min [0x96] "f32.min": None, Numeric, (F32 F32 -> F32), cost 1, fuel 1;
    F32Max [0x97] "f32.max": None, Numeric, (F32 F32 -> F32), cost 1, fuel 1;
    F32Copysign [0x98] "f32.copysign": None, Numeric, (F32 F32 -> F32), cost 1, fuel 1;
    F64Abs [0x99] "f64.abs": None, Numeric, (F64 -> F64), cost 1, fuel 1;
    F64Neg [0x9a] "f64.neg": None, Numeric, (F64 -> F64), cost 1, fuel 1;
    F64Ceil [0x9b] "f64.ceil": None, Numeric, (F64 -> F64), cost 1, fuel 1;
    F64Floor [0x9c] "f64.floor": None, Numeric, (F64 -> F64), cost 1, fuel 1;
    F64Trunc [0x9d] "f64.trunc": None, Numeric, (F64 -> F64), cost 1, fuel 1;
    F64Nearest [0x9e] "f64.nearest": None, Numeric, (F64 -> F64), cost 1, fuel 1;
    F64Sqrt [0x9f] "f64.sqrt": None, Numeric, (F64 -> F64), cost 1, fuel 1;
    F64Add [0xa0] "f64.add": None, Numeric, (F64 F64 -> F64), cost 1, fuel 1;
    F64Sub [0xa1] "f64.sub": None, Numeric, (F64 F64 -> F64), cost 1, fuel 1;
    F64Mul [0xa2] "f64.mul": None, Numeric, (F64 F64 -> F64), cost 1, fuel 1;
    F64Div [0xa3] "f64.div": None, Numeric, (F64 F64 -> F64), cost 1, fuel 1;
    F64Min [0xa4] "f64.min": None, Numeric, (F64 F64 -> F64), cost 1, fuel 1;
    F64Max [0xa5] "f64.max": None, Numeric, (F64 F64 -> F64), cost 1, fuel 1;
    F64Copysign [0xa6] "f64.copysign": None, Numeric, (F64 F64 -> F64), cost 1, fuel 1;
    I32WrapI64 [0xa7] "i32.wrap_i64": None, Numeric, (I64 -> I32), cost 1, fuel 1;
    I32TruncF32S [0xa8] "i32.trunc_f32_s": None, Partial, (F32 -> I32), cost 1, fuel 1;
    I32TruncF32U [0xa9] "i32.trunc_f32_u": None, Partial, (F32 -> I32), cost 1, fuel 1;
    I32TruncF64S [0xaa] "i32.trunc_f64_s": None, Partial, (F64 -> I32), cost 1, fuel 1;
    I32TruncF64U [0xab] "i32.trunc_f64_u": None, Partial, (F64 -> I32), cost 1, fuel 1;
    I64ExtendI32S [0xac] "i64.extend_i32_s": None, Numeric, (I32 -> I64), cost 1, fuel 1;
    I64ExtendI32U [0xad] "i64.extend_i32_u": None, Numeric, (I32 -> I64), cost 1, fuel 1;
    I64TruncF32S [0xae] "i64.trunc_f32_s": None, Partial, (F32 -> I64), cost 1, fuel 1;
    I64TruncF32U [0xaf] "i64.trunc_f32_u": None, Partial, (F32 -> I64), cost 1, fuel 1;
    I64TruncF64S [0xb0] "i64.trunc_f64_s": None, Partial, (F64 -> I64), cost 1, fuel 1;
    I64TruncF64U [0xb1] "i64.trunc_f64_u": None, Partial, (F64 -> I64), cost 1, fuel 1;
    F32ConvertI32S [0xb2] "f32.convert_i32_s": None, Numeric, (I32 -> F32), cost 1, fuel 1;
    F32ConvertI32U [0xb3] "f32.convert_i32_u": None, Numeric, (I32 -> F32), cost 1, fuel 1;
    F32ConvertI64S [0xb4] "f32.convert_i64_s": None, Numeric, (I64 -> F32), cost 1, fuel 1;
    F32ConvertI64U [0xb5] "f32.convert_i64_u": None, Numeric, (I64 -> F32), cost 1, fuel 1;
    F32DemoteF64 [0xb6] "f32.demote_f64": None, Numeric, (F64 -> F32), cost 1, fuel 1;
    F64ConvertI32S [0xb7] "f64.convert_i32_s": None, Numeric, (I32 -> F64), cost 1, fuel 1;
    F64ConvertI32U [0xb8] "f64.convert_i32_u": None, Numeric, (I32 -> F64), cost 1, fuel 1;
    F64ConvertI64S [0xb9] "f64.convert_i64_s": None, Numeric, (I64 -> F64), cost 1, fuel 1;
    F64ConvertI64U [0xba] "f64.convert_i64_u": None, Numeric, (I64 -> F64), cost 1, fuel 1;
    F64PromoteF32 [0xbb] "f64.promote_f32": None, Numeric, (F32 -> F64), cost 1, fuel 1;
    I32ReinterpretF32 [0xbc] "i32.reinterpret_f32": None, Numeric, (F32 -> I32), cost 1, fuel 1;
    I64ReinterpretF64 [0xbd] "i64.reinterpret_f64": None, Numeric, (F64 -> I64), cost 1, fuel 1;
    F32ReinterpretI32 [0xbe] "f32.reinterpret_i32": None, Numeric, (I32 -> F32), cost 1, fuel 1;
    F64ReinterpretI64 [0xbf] "f64.reinterpret_i64": None, Numeric, (I64 -> F64), cost 1, fuel 1;
    I32Extend8S [0xc0] "i32.extend8_s": None, Numeric, (I32 -> I32), cost 1, fuel 1;
    I32Extend16S [0xc1] "i32.extend16_s": None, Numeric, (I32 -> I32), cost 1, fuel 1;
    I64Extend8S [0xc2] "i64.extend8_s": None, Numeric, (I64 -> I64), cost 1, fuel 1;
    I64Extend16S [0xc3] "i64.extend16_s": None, Numeric, (I64 -> I64), cost 1, fuel 1;
    I64Extend32S [0xc4] "i64.extend32_s": None, Numeric, (I64 -> I64), cost 1, fuel 1;
    RefNull [0xd0] "ref.null": HeapType, Reference, (varies), cost 1, fuel 1;
    RefIsNull [0xd1] "ref.is_null": None, Reference, (varies), cost 1, fuel 1;
    RefFunc [0xd2] "ref.func": Index, Reference, (varies), cost 1, fuel 1;
    RefEq [0xd3] "ref.eq": None, Aggregate, (varies), cost 1, fuel 1;
    RefAsNonNull [0xd4] "ref.as_non_null": None, Reference, (varies), cost 1, fuel 1;
    BrOnNull [0xd5] "br_on_null": Index, Control, (varies), cost 1, fuel 1;
    BrOnNonNull [0xd6] "br_on_non_null": Index, Control, (varies), cost 1, fuel 1;

    StructNew [0xfb 0x00] "struct.new": Index, Aggregate, (varies), cost 4, fuel 1;
    StructNewDefault [0xfb 0x01] "struct.new_default": Index, Aggregate, (varies), cost 4, fuel 1;
    StructGet [0xfb 0x02] "struct.get": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    StructGetS [0xfb 0x03] "struct.get_s": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    StructGetU [0xfb 0x04] "struct.get_u": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    StructSet [0xfb 0x05] "struct.set": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    ArrayNew [0xfb 0x06] "array.new": Index, Aggregate, (varies), cost 4, fuel 1;
    ArrayNewDefault [0xfb 0x07] "array.new_default": Index, Aggregate, (varies), cost 4, fuel 1;
    ArrayNewFixed [0xfb 0x08] "array.new_fixed": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    ArrayNewData [0xfb 0x09] "array.new_data": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    ArrayNewElem [0xfb 0x0a] "array.new_elem": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    ArrayGet [0xfb 0x0b] "array.get": Index, Aggregate, (varies), cost 4, fuel 1;
    ArrayGetS [0xfb 0x0c] "array.get_s": Index, Aggregate, (varies), cost 4, fuel 1;
    ArrayGetU [0xfb 0x0d] "array.get_u": Index, Aggregate, (varies), cost 4, fuel 1;
    ArraySet [0xfb 0x0e] "array.set": Index, Aggregate, (varies), cost 4, fuel 1;
    ArrayLen [0xfb 0x0f] "array.len": None, Aggregate, (varies), cost 4, fuel 1;
    ArrayFill [0xfb 0x10] "array.fill": Index, Aggregate, (varies), cost 4, fuel 1;
    ArrayCopy [0xfb 0x11] "array.copy": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    ArrayInitData [0xfb 0x12] "array.init_data": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    ArrayInitElem [0xfb 0x13] "array.init_elem": TwoIndices, Aggregate, (varies), cost 4, fuel 1;
    RefTestNonNull [0xfb 0x14] "ref.test": HeapType, Aggregate, (varies), cost 4, fuel 1;
    RefTestNullable [0xfb 0x15] "ref.test": HeapType, Aggregate, (varies), cost 4, fuel 1;
    RefCastNonNull [0xfb 0x16] "ref.cast": HeapType, Aggregate, (varies), cost 4, fuel 1;
    RefCastNullable [0xfb 0x17] "ref.cast": HeapType, Aggregate, (varies), cost 4, fuel 1;
    BrOnCast [0xfb 0x18] "br_on_cast": Cast, Aggregate, (varies), cost 4, fuel 1;
    BrOnCastFail [0xfb 0x19] "br_on_cast_fail": Cast, Aggregate, (varies), cost 4, fuel 1;
    AnyConvertExtern [0xfb 0x1a] "any.convert_extern": None, Aggregate, (varies), cost 4, fuel 1;
    ExternConvertAny [0xfb 0x1b] "extern.convert_any": None, Aggregate, (varies), cost 4, fuel 1;
    RefI31 [0xfb 0x1c] "ref.i31": None, Aggregate, (varies), cost 4, fuel 1;
    I31GetS [0xfb 0x1d] "i31.get_s": None, Aggregate, (varies), cost 4, fuel 1;
    I31GetU [0xfb 0x1e] "i31.get_u": None, Aggregate, (varies), cost 4, fuel 1;

    I32TruncSatF32S [0xfc 0x00] "i32.trunc_sat_f32_s": None, Numeric, (F32 -> I32), cost 4, fuel 1;
    I32TruncSatF32U [0xfc 0x01] "i32.trunc_sat_f32_u": None, Numeric, (F32 -> I32), cost 4, fuel 1;
    I32TruncSatF64S [0xfc 0x02] "i32.trunc_sat_f64_s": None, Numeric, (F64 -> I32), cost 4, fuel 1;
    I32TruncSatF64U [0xfc 0x03] "i32.trunc_sat_f64_u": None, Numeric, (F64 -> I32), cost 4, fuel 1;
    I64TruncSatF32S [0xfc 0x04] "i64.trunc_sat_f32_s": None, Numeric, (F32 -> I64), cost 4, fuel 1;
    I64TruncSatF32U [0xfc 0x05] "i64.trunc_sat_f32_u": None, Numeric, (F32 -> I64), cost 4, fuel 1;
    I64TruncSatF64S [0xfc 0x06] "i64.trunc_sat_f64_s": None, Numeric, (F64 -> I64), cost 4, fuel 1;
    I64TruncSatF64U [0xfc 0x07] "i64.trunc_sat_f64_u": None, Numeric, (F64 -> I64), cost 4, fuel 1;
    MemoryInit [0xfc 0x08] "memory.init": TwoIndices, Memory, (Index I32 I32 ->), cost 4, fuel 1;
    DataDrop [0xfc 0x09] "data.drop": Index, Memory, (->), cost 4, fuel 1;
    MemoryCopy [0xfc 0x0a] "memory.copy": TwoIndices, Memory, (varies), cost 4, fuel 1;
    MemoryFill [0xfc 0x0b] "memory.fill": Index, Memory, (Index I32 Index ->), cost 4, fuel 1;
    TableInit [0xfc 0x0c] "table.init": TwoIndices, Table, (Index I32 I32 ->), cost 4, fuel 1;
    ElemDrop [0xfc 0x0d] "elem.drop": Index, Table, (->), cost 4, fuel 1;
    TableCopy [0xfc 0x0e] "table.copy": TwoIndices, Table, (varies), cost 4, fuel 1;
    TableGrow [0xfc 0x0f] "table.grow": Index, Table, (varies), cost 4, fuel 1;
    TableSize [0xfc 0x10] "table.size": Index, Table, (-> Index), cost 4, fuel 1;
    TableFill [0xfc 0x11] "table.fill": Index, Table, (varies), cost 4, fuel 1;
    I64Add128 [0xfc 0x13] "i64.add128": None, Wide, (I64 I64 I64 I64 -> I64 I64), cost 4, fuel 1;
    I64Sub128 [0xfc 0x14] "i64.sub128": None, Wide, (I64 I64 I64 I64 -> I64 I64), cost 4, fuel 1;
    I64MulWideS [0xfc 0x15] "i64.mul_wide_s": None, Wide, (I64 I64 -> I64 I64), cost 4, fuel 1;
    I64MulWideU [0xfc 0x16] "i64.mul_wide_u": None, Wide, (I64 I64 -> I64 I64), cost 4, fuel 1;

    V128Load [0xfd 0x00] "v128.load": MemArg(4), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load8x8S [0xfd 0x01] "v128.load8x8_s": MemArg(3), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load8x8U [0xfd 0x02] "v128.load8x8_u": MemArg(3), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load16x4S [0xfd 0x03] "v128.load16x4_s": MemArg(3), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load16x4U [0xfd 0x04] "v128.load16x4_u": MemArg(3), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load32x2S [0xfd 0x05] "v128.load32x2_s": MemArg(3), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load32x2U [0xfd 0x06] "v128.load32x2_u": MemArg(3), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load8Splat [0xfd 0x07] "v128.load8_splat": MemArg(0), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load16Splat [0xfd 0x08] "v128.load16_splat": MemArg(1), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load32Splat [0xfd 0x09] "v128.load32_splat": MemArg(2), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load64Splat [0xfd 0x0a] "v128.load64_splat": MemArg(3), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Store [0xfd 0x0b] "v128.store": MemArg(4), VectorAccess, (Index V128 ->), cost 2, fuel 1;
    V128Const [0xfd 0x0c] "v128.const": V128, Vector, (-> V128), cost 2, fuel 1;
    I8x16Shuffle [0xfd 0x0d] "i8x16.shuffle": Lanes, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16Swizzle [0xfd 0x0e] "i8x16.swizzle": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16Splat [0xfd 0x0f] "i8x16.splat": None, Vector, (I32 -> V128), cost 2, fuel 1;
    I16x8Splat [0xfd 0x10] "i16x8.splat": None, Vector, (I32 -> V128), cost 2, fuel 1;
    I32x4Splat [0xfd 0x11] "i32x4.splat": None, Vector, (I32 -> V128), cost 2, fuel 1;
    I64x2Splat [0xfd 0x12] "i64x2.splat": None, Vector, (I64 -> V128), cost 2, fuel 1;
    F32x4Splat [0xfd 0x13] "f32x4.splat": None, Vector, (F32 -> V128), cost 2, fuel 1;
    F64x2Splat [0xfd 0x14] "f64x2.splat": None, Vector, (F64 -> V128), cost 2, fuel 1;
    I8x16ExtractLaneS [0xfd 0x15] "i8x16.extract_lane_s": Lane(16), Vector, (V128 -> I32), cost 2, fuel 1;
    I8x16ExtractLaneU [0xfd 0x16] "i8x16.extract_lane_u": Lane(16), Vector, (V128 -> I32), cost 2, fuel 1;
    I8x16ReplaceLane [0xfd 0x17] "i8x16.replace_lane": Lane(16), Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I16x8ExtractLaneS [0xfd 0x18] "i16x8.extract_lane_s": Lane(8), Vector, (V128 -> I32), cost 2, fuel 1;
    I16x8ExtractLaneU [0xfd 0x19] "i16x8.extract_lane_u": Lane(8), Vector, (V128 -> I32), cost 2, fuel 1;
    I16x8ReplaceLane [0xfd 0x1a] "i16x8.replace_lane": Lane(8), Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I32x4ExtractLane [0xfd 0x1b] "i32x4.extract_lane": Lane(4), Vector, (V128 -> I32), cost 2, fuel 1;
    I32x4ReplaceLane [0xfd 0x1c] "i32x4.replace_lane": Lane(4), Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I64x2ExtractLane [0xfd 0x1d] "i64x2.extract_lane": Lane(2), Vector, (V128 -> I64), cost 2, fuel 1;
    I64x2ReplaceLane [0xfd 0x1e] "i64x2.replace_lane": Lane(2), Vector, (V128 I64 -> V128), cost 2, fuel 1;
    F32x4ExtractLane [0xfd 0x1f] "f32x4.extract_lane": Lane(4), Vector, (V128 -> F32), cost 2, fuel 1;
    F32x4ReplaceLane [0xfd 0x20] "f32x4.replace_lane": Lane(4), Vector, (V128 F32 -> V128), cost 2, fuel 1;
    F64x2ExtractLane [0xfd 0x21] "f64x2.extract_lane": Lane(2), Vector, (V128 -> F64), cost 2, fuel 1;
    F64x2ReplaceLane [0xfd 0x22] "f64x2.replace_lane": Lane(2), Vector, (V128 F64 -> V128), cost 2, fuel 1;
    I8x16Eq [0xfd 0x23] "i8x16.eq": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16Ne [0xfd 0x24] "i8x16.ne": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16LtS [0xfd 0x25] "i8x16.lt_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16LtU [0xfd 0x26] "i8x16.lt_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16GtS [0xfd 0x27] "i8x16.gt_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16GtU [0xfd 0x28] "i8x16.gt_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16LeS [0xfd 0x29] "i8x16.le_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16LeU [0xfd 0x2a] "i8x16.le_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16GeS [0xfd 0x2b] "i8x16.ge_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16GeU [0xfd 0x2c] "i8x16.ge_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8Eq [0xfd 0x2d] "i16x8.eq": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8Ne [0xfd 0x2e] "i16x8.ne": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8LtS [0xfd 0x2f] "i16x8.lt_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8LtU [0xfd 0x30] "i16x8.lt_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8GtS [0xfd 0x31] "i16x8.gt_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8GtU [0xfd 0x32] "i16x8.gt_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8LeS [0xfd 0x33] "i16x8.le_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8LeU [0xfd 0x34] "i16x8.le_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8GeS [0xfd 0x35] "i16x8.ge_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8GeU [0xfd 0x36] "i16x8.ge_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4Eq [0xfd 0x37] "i32x4.eq": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4Ne [0xfd 0x38] "i32x4.ne": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4LtS [0xfd 0x39] "i32x4.lt_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4LtU [0xfd 0x3a] "i32x4.lt_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4GtS [0xfd 0x3b] "i32x4.gt_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4GtU [0xfd 0x3c] "i32x4.gt_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4LeS [0xfd 0x3d] "i32x4.le_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4LeU [0xfd 0x3e] "i32x4.le_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4GeS [0xfd 0x3f] "i32x4.ge_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4GeU [0xfd 0x40] "i32x4.ge_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Eq [0xfd 0x41] "f32x4.eq": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Ne [0xfd 0x42] "f32x4.ne": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Lt [0xfd 0x43] "f32x4.lt": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Gt [0xfd 0x44] "f32x4.gt": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Le [0xfd 0x45] "f32x4.le": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Ge [0xfd 0x46] "f32x4.ge": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Eq [0xfd 0x47] "f64x2.eq": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Ne [0xfd 0x48] "f64x2.ne": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Lt [0xfd 0x49] "f64x2.lt": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Gt [0xfd 0x4a] "f64x2.gt": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Le [0xfd 0x4b] "f64x2.le": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Ge [0xfd 0x4c] "f64x2.ge": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    V128Not [0xfd 0x4d] "v128.not": None, Vector, (V128 -> V128), cost 2, fuel 1;
    V128And [0xfd 0x4e] "v128.and": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    V128AndNot [0xfd 0x4f] "v128.andnot": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    V128Or [0xfd 0x50] "v128.or": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    V128Xor [0xfd 0x51] "v128.xor": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    V128Bitselect [0xfd 0x52] "v128.bitselect": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    V128AnyTrue [0xfd 0x53] "v128.any_true": None, Vector, (V128 -> I32), cost 2, fuel 1;
    V128Load8Lane [0xfd 0x54] "v128.load8_lane": MemArgLane(0), VectorAccess, (Index V128 -> V128), cost 2, fuel 1;
    V128Load16Lane [0xfd 0x55] "v128.load16_lane": MemArgLane(1), VectorAccess, (Index V128 -> V128), cost 2, fuel 1;
    V128Load32Lane [0xfd 0x56] "v128.load32_lane": MemArgLane(2), VectorAccess, (Index V128 -> V128), cost 2, fuel 1;
    V128Load64Lane [0xfd 0x57] "v128.load64_lane": MemArgLane(3), VectorAccess, (Index V128 -> V128), cost 2, fuel 1;
    V128Store8Lane [0xfd 0x58] "v128.store8_lane": MemArgLane(0), VectorAccess, (Index V128 ->), cost 2, fuel 1;
    V128Store16Lane [0xfd 0x59] "v128.store16_lane": MemArgLane(1), VectorAccess, (Index V128 ->), cost 2, fuel 1;
    V128Store32Lane [0xfd 0x5a] "v128.store32_lane": MemArgLane(2), VectorAccess, (Index V128 ->), cost 2, fuel 1;
    V128Store64Lane [0xfd 0x5b] "v128.store64_lane": MemArgLane(3), VectorAccess, (Index V128 ->), cost 2, fuel 1;
    V128Load32Zero [0xfd 0x5c] "v128.load32_zero": MemArg(2), VectorAccess, (Index -> V128), cost 2, fuel 1;
    V128Load64Zero [0xfd 0x5d] "v128.load64_zero": MemArg(3), VectorAccess, (Index -> V128), cost 2, fuel 1;
    F32x4DemoteF64x2Zero [0xfd 0x5e] "f32x4.demote_f64x2_zero": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F64x2PromoteLowF32x4 [0xfd 0x5f] "f64x2.promote_low_f32x4": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I8x16Abs [0xfd 0x60] "i8x16.abs": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I8x16Neg [0xfd 0x61] "i8x16.neg": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I8x16Popcnt [0xfd 0x62] "i8x16.popcnt": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I8x16AllTrue [0xfd 0x63] "i8x16.all_true": None, Vector, (V128 -> I32), cost 2, fuel 1;
    I8x16Bitmask [0xfd 0x64] "i8x16.bitmask": None, Vector, (V128 -> I32), cost 2, fuel 1;
    I8x16NarrowI16x8S [0xfd 0x65] "i8x16.narrow_i16x8_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16NarrowI16x8U [0xfd 0x66] "i8x16.narrow_i16x8_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Ceil [0xfd 0x67] "f32x4.ceil": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4Floor [0xfd 0x68] "f32x4.floor": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4Trunc [0xfd 0x69] "f32x4.trunc": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4Nearest [0xfd 0x6a] "f32x4.nearest": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I8x16Shl [0xfd 0x6b] "i8x16.shl": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I8x16ShrS [0xfd 0x6c] "i8x16.shr_s": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I8x16ShrU [0xfd 0x6d] "i8x16.shr_u": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I8x16Add [0xfd 0x6e] "i8x16.add": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16AddSatS [0xfd 0x6f] "i8x16.add_sat_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16AddSatU [0xfd 0x70] "i8x16.add_sat_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16Sub [0xfd 0x71] "i8x16.sub": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16SubSatS [0xfd 0x72] "i8x16.sub_sat_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16SubSatU [0xfd 0x73] "i8x16.sub_sat_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Ceil [0xfd 0x74] "f64x2.ceil": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F64x2Floor [0xfd 0x75] "f64x2.floor": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I8x16MinS [0xfd 0x76] "i8x16.min_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16MinU [0xfd 0x77] "i8x16.min_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16MaxS [0xfd 0x78] "i8x16.max_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I8x16MaxU [0xfd 0x79] "i8x16.max_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Trunc [0xfd 0x7a] "f64x2.trunc": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I8x16AvgrU [0xfd 0x7b] "i8x16.avgr_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8ExtAddPairwiseI8x16S [0xfd 0x7c] "i16x8.extadd_pairwise_i8x16_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8ExtAddPairwiseI8x16U [0xfd 0x7d] "i16x8.extadd_pairwise_i8x16_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4ExtAddPairwiseI16x8S [0xfd 0x7e] "i32x4.extadd_pairwise_i16x8_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4ExtAddPairwiseI16x8U [0xfd 0x7f] "i32x4.extadd_pairwise_i16x8_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8Abs [0xfd 0x80] "i16x8.abs": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8Neg [0xfd 0x81] "i16x8.neg": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8Q15MulrSatS [0xfd 0x82] "i16x8.q15mulr_sat_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8AllTrue [0xfd 0x83] "i16x8.all_true": None, Vector, (V128 -> I32), cost 2, fuel 1;
    I16x8Bitmask [0xfd 0x84] "i16x8.bitmask": None, Vector, (V128 -> I32), cost 2, fuel 1;
    I16x8NarrowI32x4S [0xfd 0x85] "i16x8.narrow_i32x4_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8NarrowI32x4U [0xfd 0x86] "i16x8.narrow_i32x4_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8ExtendLowI8x16S [0xfd 0x87] "i16x8.extend_low_i8x16_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8ExtendHighI8x16S [0xfd 0x88] "i16x8.extend_high_i8x16_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8ExtendLowI8x16U [0xfd 0x89] "i16x8.extend_low_i8x16_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8ExtendHighI8x16U [0xfd 0x8a] "i16x8.extend_high_i8x16_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8Shl [0xfd 0x8b] "i16x8.shl": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I16x8ShrS [0xfd 0x8c] "i16x8.shr_s": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I16x8ShrU [0xfd 0x8d] "i16x8.shr_u": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I16x8Add [0xfd 0x8e] "i16x8.add": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8AddSatS [0xfd 0x8f] "i16x8.add_sat_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8AddSatU [0xfd 0x90] "i16x8.add_sat_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8Sub [0xfd 0x91] "i16x8.sub": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8SubSatS [0xfd 0x92] "i16x8.sub_sat_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8SubSatU [0xfd 0x93] "i16x8.sub_sat_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Nearest [0xfd 0x94] "f64x2.nearest": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I16x8Mul [0xfd 0x95] "i16x8.mul": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8MinS [0xfd 0x96] "i16x8.min_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8MinU [0xfd 0x97] "i16x8.min_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8MaxS [0xfd 0x98] "i16x8.max_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8MaxU [0xfd 0x99] "i16x8.max_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8AvgrU [0xfd 0x9b] "i16x8.avgr_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8ExtMulLowI8x16S [0xfd 0x9c] "i16x8.extmul_low_i8x16_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8ExtMulHighI8x16S [0xfd 0x9d] "i16x8.extmul_high_i8x16_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8ExtMulLowI8x16U [0xfd 0x9e] "i16x8.extmul_low_i8x16_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8ExtMulHighI8x16U [0xfd 0x9f] "i16x8.extmul_high_i8x16_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4Abs [0xfd 0xa0] "i32x4.abs": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4Neg [0xfd 0xa1] "i32x4.neg": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4AllTrue [0xfd 0xa3] "i32x4.all_true": None, Vector, (V128 -> I32), cost 2, fuel 1;
    I32x4Bitmask [0xfd 0xa4] "i32x4.bitmask": None, Vector, (V128 -> I32), cost 2, fuel 1;
    I32x4ExtendLowI16x8S [0xfd 0xa7] "i32x4.extend_low_i16x8_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4ExtendHighI16x8S [0xfd 0xa8] "i32x4.extend_high_i16x8_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4ExtendLowI16x8U [0xfd 0xa9] "i32x4.extend_low_i16x8_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4ExtendHighI16x8U [0xfd 0xaa] "i32x4.extend_high_i16x8_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4Shl [0xfd 0xab] "i32x4.shl": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I32x4ShrS [0xfd 0xac] "i32x4.shr_s": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I32x4ShrU [0xfd 0xad] "i32x4.shr_u": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I32x4Add [0xfd 0xae] "i32x4.add": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4Sub [0xfd 0xb1] "i32x4.sub": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4Mul [0xfd 0xb5] "i32x4.mul": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4MinS [0xfd 0xb6] "i32x4.min_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4MinU [0xfd 0xb7] "i32x4.min_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4MaxS [0xfd 0xb8] "i32x4.max_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4MaxU [0xfd 0xb9] "i32x4.max_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4DotI16x8S [0xfd 0xba] "i32x4.dot_i16x8_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4ExtMulLowI16x8S [0xfd 0xbc] "i32x4.extmul_low_i16x8_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4ExtMulHighI16x8S [0xfd 0xbd] "i32x4.extmul_high_i16x8_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4ExtMulLowI16x8U [0xfd 0xbe] "i32x4.extmul_low_i16x8_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4ExtMulHighI16x8U [0xfd 0xbf] "i32x4.extmul_high_i16x8_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2Abs [0xfd 0xc0] "i64x2.abs": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I64x2Neg [0xfd 0xc1] "i64x2.neg": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I64x2AllTrue [0xfd 0xc3] "i64x2.all_true": None, Vector, (V128 -> I32), cost 2, fuel 1;
    I64x2Bitmask [0xfd 0xc4] "i64x2.bitmask": None, Vector, (V128 -> I32), cost 2, fuel 1;
    I64x2ExtendLowI32x4S [0xfd 0xc7] "i64x2.extend_low_i32x4_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I64x2ExtendHighI32x4S [0xfd 0xc8] "i64x2.extend_high_i32x4_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I64x2ExtendLowI32x4U [0xfd 0xc9] "i64x2.extend_low_i32x4_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I64x2ExtendHighI32x4U [0xfd 0xca] "i64x2.extend_high_i32x4_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I64x2Shl [0xfd 0xcb] "i64x2.shl": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I64x2ShrS [0xfd 0xcc] "i64x2.shr_s": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I64x2ShrU [0xfd 0xcd] "i64x2.shr_u": None, Vector, (V128 I32 -> V128), cost 2, fuel 1;
    I64x2Add [0xfd 0xce] "i64x2.add": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2Sub [0xfd 0xd1] "i64x2.sub": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2Mul [0xfd 0xd5] "i64x2.mul": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2Eq [0xfd 0xd6] "i64x2.eq": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2Ne [0xfd 0xd7] "i64x2.ne": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2LtS [0xfd 0xd8] "i64x2.lt_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2GtS [0xfd 0xd9] "i64x2.gt_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2LeS [0xfd 0xda] "i64x2.le_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2GeS [0xfd 0xdb] "i64x2.ge_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2ExtMulLowI32x4S [0xfd 0xdc] "i64x2.extmul_low_i32x4_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2ExtMulHighI32x4S [0xfd 0xdd] "i64x2.extmul_high_i32x4_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2ExtMulLowI32x4U [0xfd 0xde] "i64x2.extmul_low_i32x4_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I64x2ExtMulHighI32x4U [0xfd 0xdf] "i64x2.extmul_high_i32x4_u": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Abs [0xfd 0xe0] "f32x4.abs": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4Neg [0xfd 0xe1] "f32x4.neg": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4Sqrt [0xfd 0xe3] "f32x4.sqrt": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4Add [0xfd 0xe4] "f32x4.add": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Sub [0xfd 0xe5] "f32x4.sub": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Mul [0xfd 0xe6] "f32x4.mul": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Div [0xfd 0xe7] "f32x4.div": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Min [0xfd 0xe8] "f32x4.min": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4Max [0xfd 0xe9] "f32x4.max": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4PMin [0xfd 0xea] "f32x4.pmin": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4PMax [0xfd 0xeb] "f32x4.pmax": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Abs [0xfd 0xec] "f64x2.abs": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F64x2Neg [0xfd 0xed] "f64x2.neg": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F64x2Sqrt [0xfd 0xef] "f64x2.sqrt": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F64x2Add [0xfd 0xf0] "f64x2.add": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Sub [0xfd 0xf1] "f64x2.sub": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Mul [0xfd 0xf2] "f64x2.mul": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Div [0xfd 0xf3] "f64x2.div": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Min [0xfd 0xf4] "f64x2.min": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2Max [0xfd 0xf5] "f64x2.max": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2PMin [0xfd 0xf6] "f64x2.pmin": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2PMax [0xfd 0xf7] "f64x2.pmax": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4TruncSatF32x4S [0xfd 0xf8] "i32x4.trunc_sat_f32x4_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4TruncSatF32x4U [0xfd 0xf9] "i32x4.trunc_sat_f32x4_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4ConvertI32x4S [0xfd 0xfa] "f32x4.convert_i32x4_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4ConvertI32x4U [0xfd 0xfb] "f32x4.convert_i32x4_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4TruncSatF64x2SZero [0xfd 0xfc] "i32x4.trunc_sat_f64x2_s_zero": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4TruncSatF64x2UZero [0xfd 0xfd] "i32x4.trunc_sat_f64x2_u_zero": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F64x2ConvertLowI32x4S [0xfd 0xfe] "f64x2.convert_low_i32x4_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F64x2ConvertLowI32x4U [0xfd 0xff] "f64x2.convert_low_i32x4_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I8x16RelaxedSwizzle [0xfd 0x100] "i8x16.relaxed_swizzle": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4RelaxedTruncF32x4S [0xfd 0x101] "i32x4.relaxed_trunc_f32x4_s": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4RelaxedTruncF32x4U [0xfd 0x102] "i32x4.relaxed_trunc_f32x4_u": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4RelaxedTruncF64x2SZero [0xfd 0x103] "i32x4.relaxed_trunc_f64x2_s_zero": None, Vector, (V128 -> V128), cost 2, fuel 1;
    I32x4RelaxedTruncF64x2UZero [0xfd 0x104] "i32x4.relaxed_trunc_f64x2_u_zero": None, Vector, (V128 -> V128), cost 2, fuel 1;
    F32x4RelaxedMadd [0xfd 0x105] "f32x4.relaxed_madd": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    F32x4RelaxedNmadd [0xfd 0x106] "f32x4.relaxed_nmadd": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    F64x2RelaxedMadd [0xfd 0x107] "f64x2.relaxed_madd": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    F64x2RelaxedNmadd [0xfd 0x108] "f64x2.relaxed_nmadd": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    I8x16RelaxedLaneselect [0xfd 0x109] "i8x16.relaxed_laneselect": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    I16x8RelaxedLaneselect [0xfd 0x10a] "i16x8.relaxed_laneselect": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    I32x4RelaxedLaneselect [0xfd 0x10b] "i32x4.relaxed_laneselect": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    I64x2RelaxedLaneselect [0xfd 0x10c] "i64x2.relaxed_laneselect": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;
    F32x4RelaxedMin [0xfd 0x10d] "f32x4.relaxed_min": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F32x4RelaxedMax [0xfd 0x10e] "f32x4.relaxed_max": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2RelaxedMin [0xfd 0x10f] "f64x2.relaxed_min": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    F64x2RelaxedMax [0xfd 0x110] "f64x2.relaxed_max": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8RelaxedQ15mulrS [0xfd 0x111] "i16x8.relaxed_q15mulr_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I16x8RelaxedDotI8x16I7x16S [0xfd 0x112] "i16x8.relaxed_dot_i8x16_i7x16_s": None, Vector, (V128 V128 -> V128), cost 2, fuel 1;
    I32x4RelaxedDotI8x16I7x16AddS [0xfd 0x113] "i32x4.relaxed_dot_i8x16_i7x16_add_s": None, Vector, (V128 V128 V128 -> V128), cost 2, fuel 1;

    MemoryAtomicNotify [0xfe 0x00] "memory.atomic.notify": MemArg(2), Wait, (Index I32 -> I32), cost 3, fuel 1;
    MemoryAtomicWait32 [0xfe 0x01] "memory.atomic.wait32": MemArg(2), Wait, (Index I32 I64 -> I32), cost 3, fuel 1;
    MemoryAtomicWait64 [0xfe 0x02] "memory.atomic.wait64": MemArg(3), Wait, (Index I64 I64 -> I32), cost 3, fuel 1;
    AtomicFence [0xfe 0x03] "atomic.fence": Ordering, Fence, (->), cost 3, fuel 1;
    I32AtomicLoad [0xfe 0x10] "i32.atomic.load": MemArg(2), Atomic, (Index -> I32), cost 3, fuel 1;
    I64AtomicLoad [0xfe 0x11] "i64.atomic.load": MemArg(3), Atomic, (Index -> I64), cost 3, fuel 1;
    I32AtomicLoad8U [0xfe 0x12] "i32.atomic.load8_u": MemArg(0), Atomic, (Index -> I32), cost 3, fuel 1;
    I32AtomicLoad16U [0xfe 0x13] "i32.atomic.load16_u": MemArg(1), Atomic, (Index -> I32), cost 3, fuel 1;
    I64AtomicLoad8U [0xfe 0x14] "i64.atomic.load8_u": MemArg(0), Atomic, (Index -> I64), cost 3, fuel 1;
    I64AtomicLoad16U [0xfe 0x15] "i64.atomic.load16_u": MemArg(1), Atomic, (Index -> I64), cost 3, fuel 1;
    I64AtomicLoad32U [0xfe 0x16] "i64.atomic.load32_u": MemArg(2), Atomic, (Index -> I64), cost 3, fuel 1;
    I32AtomicStore [0xfe 0x17] "i32.atomic.store": MemArg(2), Atomic, (Index I32 ->), cost 3, fuel 1;
    I64AtomicStore [0xfe 0x18] "i64.atomic.store": MemArg(3), Atomic, (Index I64 ->), cost 3, fuel 1;
    I32AtomicStore8 [0xfe 0x19] "i32.atomic.store8": MemArg(0), Atomic, (Index I32 ->), cost 3, fuel 1;
    I32AtomicStore16 [0xfe 0x1a] "i32.atomic.store16": MemArg(1), Atomic, (Index I32 ->), cost 3, fuel 1;
    I64AtomicStore8 [0xfe 0x1b] "i64.atomic.store8": MemArg(0), Atomic, (Index I64 ->), cost 3, fuel 1;
    I64AtomicStore16 [0xfe 0x1c] "i64.atomic.store16": MemArg(1), Atomic, (Index I64 ->), cost 3, fuel 1;
    I64AtomicStore32 [0xfe 0x1d] "i64.atomic.store32": MemArg(2), Atomic, (Index I64 ->), cost 3, fuel 1;
    I32AtomicRmwAdd [0xfe 0x1e] "i32.atomic.rmw.add": MemArg(2), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmwAdd [0xfe 0x1f] "i64.atomic.rmw.add": MemArg(3), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmw8AddU [0xfe 0x20] "i32.atomic.rmw8.add_u": MemArg(0), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I32AtomicRmw16AddU [0xfe 0x21] "i32.atomic.rmw16.add_u": MemArg(1), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmw8AddU [0xfe 0x22] "i64.atomic.rmw8.add_u": MemArg(0), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw16AddU [0xfe 0x23] "i64.atomic.rmw16.add_u": MemArg(1), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw32AddU [0xfe 0x24] "i64.atomic.rmw32.add_u": MemArg(2), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmwSub [0xfe 0x25] "i32.atomic.rmw.sub": MemArg(2), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmwSub [0xfe 0x26] "i64.atomic.rmw.sub": MemArg(3), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmw8SubU [0xfe 0x27] "i32.atomic.rmw8.sub_u": MemArg(0), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I32AtomicRmw16SubU [0xfe 0x28] "i32.atomic.rmw16.sub_u": MemArg(1), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmw8SubU [0xfe 0x29] "i64.atomic.rmw8.sub_u": MemArg(0), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw16SubU [0xfe 0x2a] "i64.atomic.rmw16.sub_u": MemArg(1), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw32SubU [0xfe 0x2b] "i64.atomic.rmw32.sub_u": MemArg(2), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmwAnd [0xfe 0x2c] "i32.atomic.rmw.and": MemArg(2), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmwAnd [0xfe 0x2d] "i64.atomic.rmw.and": MemArg(3), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmw8AndU [0xfe 0x2e] "i32.atomic.rmw8.and_u": MemArg(0), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I32AtomicRmw16AndU [0xfe 0x2f] "i32.atomic.rmw16.and_u": MemArg(1), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmw8AndU [0xfe 0x30] "i64.atomic.rmw8.and_u": MemArg(0), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw16AndU [0xfe 0x31] "i64.atomic.rmw16.and_u": MemArg(1), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw32AndU [0xfe 0x32] "i64.atomic.rmw32.and_u": MemArg(2), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmwOr [0xfe 0x33] "i32.atomic.rmw.or": MemArg(2), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmwOr [0xfe 0x34] "i64.atomic.rmw.or": MemArg(3), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmw8OrU [0xfe 0x35] "i32.atomic.rmw8.or_u": MemArg(0), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I32AtomicRmw16OrU [0xfe 0x36] "i32.atomic.rmw16.or_u": MemArg(1), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmw8OrU [0xfe 0x37] "i64.atomic.rmw8.or_u": MemArg(0), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw16OrU [0xfe 0x38] "i64.atomic.rmw16.or_u": MemArg(1), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw32OrU [0xfe 0x39] "i64.atomic.rmw32.or_u": MemArg(2), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmwXor [0xfe 0x3a] "i32.atomic.rmw.xor": MemArg(2), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmwXor [0xfe 0x3b] "i64.atomic.rmw.xor": MemArg(3), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmw8XorU [0xfe 0x3c] "i32.atomic.rmw8.xor_u": MemArg(0), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I32AtomicRmw16XorU [0xfe 0x3d] "i32.atomic.rmw16.xor_u": MemArg(1), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmw8XorU [0xfe 0x3e] "i64.atomic.rmw8.xor_u": MemArg(0), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw16XorU [0xfe 0x3f] "i64.atomic.rmw16.xor_u": MemArg(1), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw32XorU [0xfe 0x40] "i64.atomic.rmw32.xor_u": MemArg(2), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmwXchg [0xfe 0x41] "i32.atomic.rmw.xchg": MemArg(2), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmwXchg [0xfe 0x42] "i64.atomic.rmw.xchg": MemArg(3), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmw8XchgU [0xfe 0x43] "i32.atomic.rmw8.xchg_u": MemArg(0), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I32AtomicRmw16XchgU [0xfe 0x44] "i32.atomic.rmw16.xchg_u": MemArg(1), Atomic, (Index I32 -> I32), cost 3, fuel 1;
    I64AtomicRmw8XchgU [0xfe 0x45] "i64.atomic.rmw8.xchg_u": MemArg(0), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw16XchgU [0xfe 0x46] "i64.atomic.rmw16.xchg_u": MemArg(1), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw32XchgU [0xfe 0x47] "i64.atomic.rmw32.xchg_u": MemArg(2), Atomic, (Index I64 -> I64), cost 3, fuel 1;
    I32AtomicRmwCmpxchg [0xfe 0x48] "i32.atomic.rmw.cmpxchg": MemArg(2), Atomic, (Index I32 I32 -> I32), cost 3, fuel 1;
    I64AtomicRmwCmpxchg [0xfe 0x49] "i64.atomic.rmw.cmpxchg": MemArg(3), Atomic, (Index I64 I64 -> I64), cost 3, fuel 1;
    I32AtomicRmw8CmpxchgU [0xfe 0x4a] "i32.atomic.rmw8.cmpxchg_u": MemArg(0), Atomic, (Index I32 I32 -> I32), cost 3, fuel 1;
    I32AtomicRmw16CmpxchgU [0xfe 0x4b] "i32.atomic.rmw16.cmpxchg_u": MemArg(1), Atomic, (Index I32 I32 -> I32), cost 3, fuel 1;
    I64AtomicRmw8CmpxchgU [0xfe 0x4c] "i64.atomic.rmw8.cmpxchg_u": MemArg(0), Atomic, (Index I64 I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw16CmpxchgU [0xfe 0x4d] "i64.atomic.rmw16.cmpxchg_u": MemArg(1), Atomic, (Index I64 I64 -> I64), cost 3, fuel 1;
    I64AtomicRmw32CmpxchgU [0xfe 0x4e] "i64.atomic.rmw32.cmpxchg_u": MemArg(2), Atomic, (Index I64 I64 -> I64), cost 3, fuel 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_in_order_and_found_by_their_encodings() {
        let key = |op: &Op| (op.encoding().0.map(|prefix| prefix as u8), op.encoding().1);
        assert!(Op::ALL.is_sorted_by(|a, b| key(a) < key(b)));
        for (i, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op.index(), i);
            let mut bytes = Vec::new();
            op.encode(&mut bytes);
            assert_eq!(Op::decode(&bytes), Some(op), "{op:?}");
            bytes.pop();
            assert_eq!(Op::decode(&bytes), None, "{op:?}");
        }
    }

    #[test]
    fn unknown_encodings_are_no_operators() {
        for bytes in
            [&[][..], &[0x16], &[0xff], &[0xfc, 0x12], &[0xfd, 0x9a, 0x01], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert_eq!(Op::decode(bytes), None, "{bytes:02x?}");
        }
        // A number may be longer than it need be.
        assert_eq!(Op::decode(&[0xfc, 0x80, 0x00]), Some(Op::I32TruncSatF32S));
    }

    #[test]
    fn prefixes_are_the_bytes_they_stand_for() {
        for byte in 0..=u8::MAX {
            assert_eq!(Prefix::of(byte).map(|prefix| prefix as u8).unwrap_or(byte), byte);
        }
    }
}
