//! Reading a function body that has been validated.

use kiln_env::opcode::{Immediates, Lead, MEMORY_FOLLOWS, Prefix};
use kiln_env::stencil::Ty;
use kiln_env::types::{FuncType, binary};
use kiln_env::{Module, Op, TypeIndex};

use crate::abi::V;

/// A position in a body.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

/// Parameters and results of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sig {
    Empty,
    One(V),
    Func(TypeIndex),
}

impl Sig {
    fn func(self, module: &Module) -> Option<&FuncType> {
        match self {
            Sig::Func(index) => Some(module.signature(index)),
            _ => None,
        }
    }

    pub(crate) fn params(self, module: &Module) -> impl ExactSizeIterator<Item = V> + use<'_> {
        self.func(module).map_or(&[][..], |f| &f.params).iter().map(|ty| V::from(*ty))
    }

    pub(crate) fn results(self, module: &Module) -> Results<'_> {
        match self {
            Sig::Empty => Results::One(None),
            Sig::One(v) => Results::One(Some(v)),
            Sig::Func(index) => Results::Many(module.signature(index).results.iter()),
        }
    }
}

/// Results of a block.
pub(crate) enum Results<'a> {
    One(Option<V>),
    Many(std::slice::Iter<'a, kiln_env::types::ValType>),
}

impl Iterator for Results<'_> {
    type Item = V;

    fn next(&mut self) -> Option<V> {
        match self {
            Results::One(v) => v.take(),
            Results::Many(types) => types.next().map(|ty| V::from(*ty)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = match self {
            Results::One(v) => usize::from(v.is_some()),
            Results::Many(types) => types.len(),
        };
        (n, Some(n))
    }
}

impl ExactSizeIterator for Results<'_> {}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next byte, without taking it; 0 behind the end.
    pub(crate) fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> u8 {
        let b = self.bytes[self.at];
        self.at += 1;
        b
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> u32 {
        self.u64() as u32
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> u64 {
        let b = self.byte();
        if b < 0x80 { b.into() } else { self.long(b) }
    }

    fn long(&mut self, first: u8) -> u64 {
        let mut n = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let b = self.byte();
            n |= u64::from(b & 0x7f) << shift;
            shift += 7;
            if b < 0x80 {
                return n;
            }
        }
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> i64 {
        let b = self.byte();
        if b < 0x80 { i64::from(b) << 57 >> 57 } else { self.long_signed(b) }
    }

    fn long_signed(&mut self, first: u8) -> i64 {
        let mut n = i64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let b = self.byte();
            n |= i64::from(b & 0x7f) << shift;
            shift += 7;
            if b < 0x80 {
                let unused = 64u32.saturating_sub(shift);
                return if unused == 0 { n } else { n << unused >> unused };
            }
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        out
    }

    /// The next operator.
    #[inline]
    pub(crate) fn op(&mut self) -> Op {
        match Lead::of(self.byte()) {
            Lead::Op(op) => op,
            Lead::Prefix(prefix) => self.prefixed(prefix),
            Lead::Unknown => unreachable!("all operators of valid functions are in the table"),
        }
    }

    fn prefixed(&mut self, prefix: Prefix) -> Op {
        Op::prefixed(prefix, self.u32()).expect("all operators of valid functions are in the table")
    }

    fn heap_type(&mut self) -> V {
        use binary::heap;
        match self.i64() {
            heap::EXTERN | heap::NO_EXTERN | heap::EXN | heap::NO_EXN => V::GC,
            _ => V::new(Ty::I64),
        }
    }

    pub(crate) fn heap(&mut self) -> V {
        self.heap_type()
    }

    pub(crate) fn value_type(&mut self) -> V {
        match self.peek(0) {
            binary::I32 => self.plain(Ty::I32),
            binary::I64 => self.plain(Ty::I64),
            binary::F32 => self.plain(Ty::F32),
            binary::F64 => self.plain(Ty::F64),
            binary::V128 => self.plain(Ty::V128),
            binary::REF | binary::REF_NULL => {
                self.at += 1;
                self.heap_type()
            }
            _ => self.heap_type(),
        }
    }

    fn plain(&mut self, ty: Ty) -> V {
        self.at += 1;
        V::new(ty)
    }

    pub(crate) fn block_type(&mut self) -> Sig {
        match self.peek(0) {
            binary::EMPTY_BLOCK => {
                self.at += 1;
                Sig::Empty
            }
            binary::REF_NULL..=binary::I32 => Sig::One(self.value_type()),
            _ => Sig::Func(TypeIndex(self.i64() as u32)),
        }
    }

    /// Alignment, memory and offset of an access; gives the last two.
    #[inline]
    pub(crate) fn memarg(&mut self) -> (u32, u64) {
        let align = self.u32();
        let memory = if align & u32::from(MEMORY_FOLLOWS) != 0 { self.u32() } else { 0 };
        (memory, self.u64())
    }

    /// Goes behind the immediates of an operator.
    pub(crate) fn skip(&mut self, op: Op) {
        match op.immediates() {
            Immediates::None => {}
            Immediates::Block => {
                self.block_type();
            }
            Immediates::Index => {
                self.u32();
            }
            Immediates::TwoIndices => {
                self.u32();
                self.u32();
            }
            Immediates::Labels => {
                for _ in 0..=self.u32() {
                    self.u32();
                }
            }
            Immediates::MemArg(_) => {
                self.memarg();
            }
            Immediates::MemArgLane(_) => {
                self.memarg();
                self.at += 1;
            }
            Immediates::Lane(_) | Immediates::Ordering => self.at += 1,
            Immediates::I32 | Immediates::I64 | Immediates::HeapType => {
                self.i64();
            }
            Immediates::F32 => self.at += 4,
            Immediates::F64 => self.at += 8,
            Immediates::V128 | Immediates::Lanes => self.at += 16,
            Immediates::Types => {
                for _ in 0..self.u32() {
                    self.value_type();
                }
            }
            Immediates::TryTable => {
                self.block_type();
                for _ in 0..self.u32() {
                    if self.byte() < 2 {
                        self.u32();
                    }
                    self.u32();
                }
            }
            Immediates::Cast => {
                self.at += 1;
                self.u32();
                self.heap_type();
                self.heap_type();
            }
        }
    }
}
