//! Function bodies like those that passes look for, and others that are nearly the same.
//!
//! All functions of a module have one type and the same locals, so that any piece can stand in any of them.

use wasm_encoder::{BlockType, Catch, Function, Instruction as I, MemArg, MemArgTarget, ValType};

use crate::rng::Rng;

/// Parameters: two addresses and a length, two numbers.
pub const PARAMS: [ValType; 5] = [ValType::I32, ValType::I32, ValType::I32, ValType::I64, ValType::I64];
const LOCALS: [(u32, ValType); 3] = [(3, ValType::I32), (8, ValType::I64), (2, ValType::F64)];

const A: u32 = 0;
const B: u32 = 1;
const N: u32 = 2;
const X: u32 = 3;
const Y: u32 = 4;
/// An index, a state, what loops may still do.
const INDEX: u32 = 5;
const STATE: u32 = 6;
const LEFT: u32 = 7;
/// Eight numbers.
const T: u32 = 8;
const F: u32 = 16;

/// Calls that may still be made, in all.
const GLOBAL: u32 = 0;

/// A body under construction.
pub struct Body<'r> {
    func: Function,
    rng: &'r mut Rng,
    /// The functions that may be called.
    callees: u32,
    /// Labels around, and how much may still be added.
    labels: u32,
    size: usize,
}

impl Body<'_> {
    /// A function of a module with `callees` functions: one to three pieces, and a result of all that they left behind.
    pub fn function(rng: &mut Rng, callees: u32) -> Function {
        let mut body = Body { func: Function::new(LOCALS), rng, callees, labels: 1, size: 14 };
        body.begin();
        for _ in 0..1 + body.rng.below(2) {
            match body.rng.below(8) {
                0 | 1 => body.byte_loop(),
                2 => body.product(),
                3 => body.machine(),
                4 => body.floats(),
                5 => body.straight(6),
                _ => body.calls(),
            }
        }
        body.result();
        body.func
    }

    /// A function that is so short that its calls may be replaced.
    pub fn small(rng: &mut Rng, callees: u32) -> Function {
        let mut body = Body { func: Function::new(LOCALS), rng, callees, labels: 1, size: 4 };
        match body.rng.below(6) {
            0 => {
                body.count_call();
                body.call();
            }
            1 => {
                body.load_number(A);
                body.end_of(&I::I64Add, X);
            }
            2 => {
                body.ops(&[I::LocalGet(X), I::LocalGet(Y), I::I64DivS]);
            }
            3 => {
                body.ops(&[I::LocalGet(N), I::If(BlockType::Empty)]);
                body.ops(&[I::LocalGet(X), I::Throw(0), I::End, I::LocalGet(Y)]);
            }
            4 => body.ops(&[I::LocalGet(A), I::LocalGet(Y), I::I64Store(at(0)), I::LocalGet(X)]),
            _ => body.ops(&[I::LocalGet(A), I::LocalGet(B), I::I32Store8(at(1)), I::Unreachable]),
        }
        body.ops(&[I::End]);
        body.func
    }

    fn ops(&mut self, ops: &[I<'_>]) {
        for op in ops {
            self.func.instruction(op);
        }
    }

    fn end_of(&mut self, op: &I<'_>, local: u32) {
        self.ops(&[I::LocalGet(local), op.clone()]);
    }

    /// Numbers to start with, and a bound for loops.
    fn begin(&mut self) {
        let left = 1 + self.rng.below(40) as i32;
        self.ops(&[I::I32Const(left), I::LocalSet(LEFT)]);
        let state = self.rng.below(6) as i32;
        self.ops(&[I::I32Const(state), I::LocalSet(STATE)]);
        self.ops(&[I::LocalGet(X), I::LocalSet(T), I::LocalGet(Y), I::LocalSet(T + 1)]);
        self.ops(&[I::LocalGet(X), I::F64ReinterpretI64, I::LocalSet(F)]);
        self.ops(&[I::LocalGet(Y), I::F64ReinterpretI64, I::LocalSet(F + 1)]);
    }

    fn result(&mut self) {
        self.ops(&[I::LocalGet(X)]);
        for local in [A, B, N, INDEX, STATE] {
            self.ops(&[I::I64Const(31), I::I64Mul, I::LocalGet(local), I::I64ExtendI32U, I::I64Add]);
        }
        for local in T..T + 8 {
            self.ops(&[I::I64Const(5), I::I64Rotl, I::LocalGet(local), I::I64Xor]);
        }
        // Which bits a number has that is none is the processor's choice.
        for local in [F, F + 1] {
            self.ops(&[I::LocalGet(local), I::LocalGet(local), I::F64Eq, I::If(BlockType::Result(ValType::I64))]);
            self.ops(&[I::LocalGet(local), I::I64ReinterpretF64, I::Else, I::I64Const(0), I::End, I::I64Add]);
        }
        self.ops(&[I::End]);
    }

    fn offset(&mut self) -> u64 {
        match self.rng.below(8) {
            0 => self.rng.below(40) as u64,
            1 => 65_530 + self.rng.below(10) as u64,
            2 => 1_000 + self.rng.below(8_000) as u64,
            _ => 0,
        }
    }

    fn add(&mut self, local: u32, step: i32) {
        self.ops(&[I::LocalGet(local), I::I32Const(step), I::I32Add, I::LocalSet(local)]);
    }

    /// The address in a local, perhaps with the index.
    fn address(&mut self, local: u32, indexed: bool) {
        self.ops(&[I::LocalGet(local)]);
        if indexed {
            self.end_of(&I::I32Add, INDEX);
        }
    }

    /// A loop that copies, fills, compares or searches. Its pointers move, so that it ends at the memory's end at last.
    fn byte_loop(&mut self) {
        let width = *self.rng.pick(&[1, 1, 1, 2, 4, 8]);
        let indexed = self.rng.one_in(3);
        let down = !indexed && self.rng.one_in(3);
        let step = if self.rng.one_in(10) { 1 + self.rng.below(9) as i32 } else { width };
        let step = if down { -step } else { step };
        let other = if self.rng.one_in(12) { step + 1 - self.rng.below(3) as i32 } else { step };
        let at_top = self.rng.one_in(3);
        let guarded = self.rng.one_in(2);
        self.ops(&[I::I32Const(0), I::LocalSet(INDEX)]);
        if guarded {
            self.ops(&[I::Block(BlockType::Empty), I::LocalGet(N), I::I32Eqz, I::BrIf(0)]);
        }
        self.ops(&[I::Block(BlockType::Empty), I::Loop(BlockType::Empty)]);
        let count = self.rng.below(5);
        if at_top {
            self.counter(count, true);
        }
        if down {
            self.add(A, step);
            self.add(B, other);
        }
        self.access(width, indexed);
        if indexed {
            self.add(INDEX, step);
        } else if !down {
            self.add(A, step);
            self.add(B, other);
        }
        if at_top {
            self.ops(&[I::Br(0)]);
        } else {
            self.counter(count, false);
        }
        self.ops(&[I::End, I::End]);
        if guarded {
            self.ops(&[I::End]);
        }
    }

    /// Leaves the loop from its top, or goes on from its bottom.
    fn counter(&mut self, kind: usize, at_top: bool) {
        let (x, y) = if kind == 4 { (A, B) } else { (INDEX, N) };
        match kind {
            0 | 1 => {
                let down = self.rng.one_in(2);
                if kind == 1 && at_top {
                    self.ops(&[I::LocalGet(N), I::I32Eqz, I::BrIf(1)]);
                }
                let step = if down { [I::I32Const(1), I::I32Sub] } else { [I::I32Const(-1), I::I32Add] };
                self.ops(&[I::LocalGet(N)]);
                self.ops(&step);
                self.ops(&[I::LocalTee(N)]);
                let exit = if at_top { [I::I32Eqz, I::BrIf(1)] } else { [I::Nop, I::BrIf(0)] };
                if kind == 1 && at_top {
                    self.ops(&[I::Drop]);
                } else {
                    self.ops(&exit);
                }
            }
            _ => {
                let stays = [I::I32LtU, I::I32LtS, I::I32Ne, I::I32LeU];
                let leaves = [I::I32GeU, I::I32GeS, I::I32Eq, I::I32GtU];
                let which = self.rng.below(4);
                // The index that does not move with the pointers is moved here.
                if self.rng.one_in(2) {
                    self.add(INDEX, 1);
                }
                self.ops(&[I::LocalGet(x), I::LocalGet(y)]);
                self.ops(&if at_top {
                    [leaves[which].clone(), I::BrIf(1)]
                } else {
                    [stays[which].clone(), I::BrIf(0)]
                });
            }
        }
    }

    /// What an iteration does: copies, fills, compares with the other or with a constant.
    fn access(&mut self, width: i32, indexed: bool) {
        let (to, from) = (self.offset(), self.offset());
        match self.rng.below(4) {
            0 => {
                self.address(A, indexed);
                self.address(B, indexed);
                let (load, store) = match width {
                    1 if self.rng.one_in(3) => (I::I32Load8S(at(from)), I::I32Store8(at(to))),
                    1 => (I::I32Load8U(at(from)), I::I32Store8(at(to))),
                    2 => (I::I32Load16U(at(from)), I::I32Store16(at(to))),
                    4 => (I::F32Load(at(from)), I::F32Store(at(to))),
                    _ => (I::I64Load(at(from)), I::I64Store(at(to))),
                };
                self.ops(&[load, store]);
            }
            1 => {
                self.address(A, indexed);
                match width {
                    8 => self.ops(&[I::LocalGet(X), I::I64Store(at(to))]),
                    4 => self.ops(&[I::LocalGet(STATE), I::I32Store(at(to))]),
                    2 => self.ops(&[I::LocalGet(STATE), I::I32Store16(at(to))]),
                    _ => self.ops(&[I::LocalGet(STATE), I::I32Store8(at(to))]),
                }
            }
            2 => {
                self.address(A, indexed);
                self.ops(&[I::I32Load8U(at(to)), I::LocalTee(STATE)]);
                self.address(B, indexed);
                self.ops(&[I::I32Load8U(at(from)), I::I32Ne, I::BrIf(1)]);
            }
            _ => {
                let wanted = self.rng.below(4) as i32;
                self.address(A, indexed);
                self.ops(&[I::I32Load8U(at(to)), I::I32Const(wanted), I::I32Eq, I::BrIf(1)]);
            }
        }
    }

    /// A product of 128 bits out of products of 32, in one of two forms; now and then something is changed.
    fn product(&mut self) {
        let mut edit = if self.rng.one_in(2) { self.rng.below(40) as i32 } else { -1 };
        // What is counted down may become another constant or operand.
        let mut shift = || {
            edit -= 1;
            if edit == 0 { 31 } else { 32 }
        };
        let mask = |low: &mut Vec<I<'static>>, local| {
            low.extend([I::LocalGet(local), I::I64Const(0xffff_ffff), I::I64And]);
        };
        let mut code = Vec::new();
        let high = |code: &mut Vec<I<'static>>, local, by| {
            code.extend([I::LocalGet(local), I::I64Const(by), I::I64ShrU]);
        };
        // t2 = al, t3 = ah, t4 = bl, t5 = bh
        for (n, local) in [(0, X), (1, Y)] {
            mask(&mut code, local);
            code.push(I::LocalSet(T + 2 + 2 * n));
            high(&mut code, local, shift());
            code.push(I::LocalSet(T + 3 + 2 * n));
        }
        let times = |code: &mut Vec<I<'static>>, x, y| {
            code.extend([I::LocalGet(T + x), I::LocalGet(T + y), I::I64Mul]);
        };
        // t6 = al * bl
        times(&mut code, 2, 4);
        code.push(I::LocalSet(T + 6));
        if shift() == 31 || self.rng.one_in(2) {
            in_three_steps(&mut code, &mut shift, times, high, mask);
        } else {
            with_carries(&mut code, &mut shift, times, high);
        }
        self.ops(&code);
    }

    /// Statements that lead from state to state.
    fn machine(&mut self) {
        self.ops(&[I::Block(BlockType::Empty)]);
        self.labels += 1;
        self.statements();
        self.labels -= 1;
        self.ops(&[I::End]);
    }

    fn statements(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            if self.size > 0 && self.labels < 10 {
                self.size -= 1;
                self.statement();
            }
        }
    }

    fn statement(&mut self) {
        let constant = self.rng.below(6) as i32;
        let label = self.rng.below(self.labels as usize - 1) as u32;
        match self.rng.below(9) {
            0 | 1 => self.ops(&[I::I32Const(constant), I::LocalSet(STATE)]),
            2 => self.nested(I::Block(BlockType::Empty)),
            3 => {
                self.ops(&[I::Loop(BlockType::Empty)]);
                self.labels += 1;
                self.add(LEFT, -1);
                let out = self.labels - 2;
                self.ops(&[I::LocalGet(LEFT), I::I32Const(0), I::I32LtS, I::BrIf(out)]);
                self.statements();
                self.labels -= 1;
                self.ops(&[I::End]);
            }
            4 => {
                self.ops(&[I::LocalGet(STATE), I::I32Const(constant), I::I32Eq]);
                self.nested(I::If(BlockType::Empty));
            }
            5 => {
                let count = 1 + self.rng.below(9);
                let all = self.labels as usize - 1;
                let targets: Vec<u32> = (0..count).map(|_| self.rng.below(all) as u32).collect();
                self.ops(&[I::Block(BlockType::Empty), I::LocalGet(STATE)]);
                // One label more is around here.
                self.ops(&[I::BrTable(targets.into(), label), I::End]);
            }
            6 => self.ops(&[I::LocalGet(STATE), I::I32Const(constant), I::I32GtU, I::BrIf(label)]),
            7 => {
                self.add(A, constant + 1);
                self.ops(&[I::LocalGet(A), I::I32Const(7), I::I32And, I::LocalSet(STATE)]);
            }
            _ => self.straight(2),
        }
    }

    fn nested(&mut self, opener: I<'_>) {
        self.ops(&[opener]);
        self.labels += 1;
        self.statements();
        self.labels -= 1;
        self.ops(&[I::End]);
    }

    /// Branches and selections on comparisons of floats.
    fn floats(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            let compare = self.rng.pick(&[I::F64Lt, I::F64Gt, I::F64Le, I::F64Ge, I::F64Eq, I::F64Ne]).clone();
            let (x, y) = if self.rng.one_in(2) { (F, F + 1) } else { (F + 1, F) };
            let negations = self.rng.below(3);
            let selects = self.rng.one_in(2);
            if selects {
                let (first, second) = if self.rng.one_in(2) { (x, y) } else { (y, x) };
                self.ops(&[I::LocalGet(first), I::LocalGet(second)]);
            }
            self.ops(&[I::LocalGet(x), I::LocalGet(y), compare]);
            (0..negations).for_each(|_| self.ops(&[I::I32Eqz]));
            if selects {
                self.ops(&[I::Select, I::LocalSet(F)]);
            } else {
                self.ops(&[I::If(BlockType::Empty), I::LocalGet(F), I::LocalGet(F + 1), I::F64Add, I::LocalSet(F)]);
                self.ops(&[I::Else]);
                self.add(STATE, 3);
                self.ops(&[I::End]);
            }
        }
    }

    /// Reads a number at an address that is mostly within the memory.
    fn load_number(&mut self, local: u32) {
        let offset = self.offset();
        self.ops(&[I::LocalGet(local)]);
        if !self.rng.one_in(6) {
            self.ops(&[I::I32Const(0xfff), I::I32And]);
        }
        self.ops(&[I::I64Load(at(offset))]);
    }

    /// Operations on numbers, with loads and stores in between.
    fn straight(&mut self, lines: usize) {
        const PURE: [I<'static>; 9] =
            [I::I64Add, I::I64Sub, I::I64Mul, I::I64Xor, I::I64And, I::I64Or, I::I64Rotl, I::I64Shl, I::I64ShrU];
        for _ in 0..lines + self.rng.below(2 * lines) {
            let [x, y, z] = [0; 3].map(|_| T + self.rng.below(8) as u32);
            match self.rng.below(8) {
                0 => {
                    let address = *self.rng.pick(&[A, B, N]);
                    self.load_number(address);
                    self.ops(&[I::LocalSet(x)]);
                }
                1 => {
                    let offset = self.offset();
                    self.ops(&[I::LocalGet(A), I::I32Const(0xfff), I::I32And, I::LocalGet(x), I::I64Store(at(offset))]);
                }
                2 if self.rng.one_in(4) => self.ops(&[I::LocalGet(x), I::LocalGet(y), I::I64DivU, I::LocalSet(z)]),
                _ => {
                    let op = self.rng.pick(&PURE).clone();
                    self.ops(&[I::LocalGet(x), I::LocalGet(y), op, I::LocalSet(z)]);
                }
            }
        }
    }

    /// As long as calls may be made; else the function returns.
    fn count_call(&mut self) {
        self.ops(&[I::GlobalGet(GLOBAL), I::I32Eqz, I::If(BlockType::Empty), I::LocalGet(X), I::Return, I::End]);
        self.ops(&[I::GlobalGet(GLOBAL), I::I32Const(1), I::I32Sub, I::GlobalSet(GLOBAL)]);
    }

    /// Calls any function of the module; its result is on the stack.
    fn call(&mut self) {
        let callee = self.rng.below(self.callees as usize) as u32;
        self.arguments();
        self.ops(&[I::Call(callee)]);
    }

    fn arguments(&mut self) {
        for local in [A, B, N] {
            match self.rng.below(5) {
                0 => {
                    // Small numbers, and such as could be addresses of data.
                    let constant = match self.rng.below(3) {
                        0 => 1_000 + self.rng.below(60_000) as i32,
                        1 => 0x5600_0000 + self.rng.below(0x800_0000) as i32,
                        _ => self.rng.below(70) as i32,
                    };
                    self.ops(&[I::I32Const(constant)]);
                }
                1 => {
                    let other = *self.rng.pick(&[A, B, N, STATE]);
                    self.ops(&[I::LocalGet(other)]);
                }
                _ => self.ops(&[I::LocalGet(local)]),
            }
        }
        for local in [X, Y] {
            match self.rng.below(4) {
                0 => {
                    let constant = self.rng.interesting() as i64;
                    self.ops(&[I::I64Const(constant)]);
                }
                1 => {
                    let other = T + self.rng.below(8) as u32;
                    self.ops(&[I::LocalGet(other)]);
                }
                _ => self.ops(&[I::LocalGet(local)]),
            }
        }
    }

    /// A call by itself, in a loop, under a handler, or in place of the return.
    fn calls(&mut self) {
        self.count_call();
        let to = T + self.rng.below(8) as u32;
        match self.rng.below(6) {
            0 => {
                self.ops(&[I::Loop(BlockType::Empty)]);
                self.count_call();
                self.call();
                self.ops(&[I::LocalSet(to)]);
                self.add(LEFT, -9);
                self.ops(&[I::LocalGet(LEFT), I::I32Const(0), I::I32GtS, I::BrIf(0), I::End]);
            }
            1 => {
                let result = BlockType::Result(ValType::I64);
                let catch = if self.rng.one_in(2) {
                    vec![Catch::One { tag: 0, label: 0 }]
                } else {
                    vec![Catch::One { tag: 1, label: 0 }]
                };
                self.ops(&[I::Block(result), I::TryTable(result, catch.into())]);
                self.call();
                self.ops(&[I::End, I::End, I::LocalSet(to)]);
            }
            2 => {
                let callee = self.rng.below(self.callees as usize) as u32;
                self.ops(&[I::LocalGet(STATE), I::If(BlockType::Empty)]);
                self.arguments();
                self.ops(&[I::ReturnCall(callee), I::End]);
            }
            _ => {
                self.call();
                self.ops(&[I::LocalSet(to)]);
            }
        }
    }
}

fn at(offset: u64) -> MemArg {
    MemArg { offset, align: 0, target: MemArgTarget::Memory(0), ordering: None }
}

type Code = Vec<I<'static>>;

/// `t7 = (t6 >> 32) + ah*bl`, `t0 = low(t7) + al*bh`; lower half to `x`, upper half to `y`.
fn in_three_steps(
    code: &mut Code,
    shift: &mut impl FnMut() -> i64,
    times: impl Fn(&mut Code, u32, u32),
    high: impl Fn(&mut Code, u32, i64),
    mask: impl Fn(&mut Code, u32),
) {
    high(code, T + 6, shift());
    times(code, 3, 4);
    code.extend([I::I64Add, I::LocalSet(T + 7)]);
    mask(code, T + 7);
    times(code, 5, 2);
    code.extend([I::I64Add, I::LocalSet(T)]);
    // The upper half.
    times(code, 3, 5);
    high(code, T + 7, shift());
    code.push(I::I64Add);
    high(code, T, shift());
    code.extend([I::I64Add, I::LocalSet(Y)]);
    // The lower half.
    code.extend([I::LocalGet(T), I::I64Const(shift()), I::I64Shl]);
    mask(code, T + 6);
    code.extend([if shift() == 31 { I::I64Add } else { I::I64Or }, I::LocalSet(X)]);
}

/// `t7 = ah*bl`, `t0 = t7 + al*bh`, `t1 = t6 + (t0 << 32)`; the carries make up the upper half.
fn with_carries(
    code: &mut Code,
    shift: &mut impl FnMut() -> i64,
    times: impl Fn(&mut Code, u32, u32),
    high: impl Fn(&mut Code, u32, i64),
) {
    times(code, 3, 4);
    code.push(I::LocalTee(T + 7));
    times(code, 2, 5);
    code.extend([I::I64Add, I::LocalSet(T)]);
    code.extend([I::LocalGet(T + 6), I::LocalGet(T), I::I64Const(shift()), I::I64Shl, I::I64Add, I::LocalSet(T + 1)]);
    times(code, 3, 5);
    code.extend([I::LocalGet(T), I::LocalGet(T + 7), I::I64LtU, I::I64ExtendI32U, I::I64Const(shift()), I::I64Shl]);
    high(code, T, shift());
    code.extend([I::I64Or, I::I64Add]);
    let part = if shift() == 31 { T + 7 } else { T + 6 };
    code.extend([I::LocalGet(T + 1), I::LocalGet(part), I::I64LtU, I::I64ExtendI32U, I::I64Add]);
    code.extend([I::LocalSet(Y), I::LocalGet(T + 1), I::LocalSet(X)]);
}
