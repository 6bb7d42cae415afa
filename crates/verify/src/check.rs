//! One function: its control flow is recovered and its states are computed until they hold everywhere.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory};
use kiln_env::FuncKey;
use kiln_env::abi::STACK_RESERVE;
use kiln_env::machine::FuncTables;

use crate::abi::{Kind, Place, SAVED, Signature};
use crate::insn::Judge;
use crate::plan::Plan;
use crate::refusal::{Broken, Refusal, Result, Rule, broken};
use crate::state::{RBP, RSP, State, join};
use crate::step::number_of;
use crate::value::{Base, Value};

/// A function to be checked.
pub struct Function<'a> {
    /// Which one it is.
    pub key: FuncKey,
    /// Its machine code, with its jump tables and constants.
    pub code: &'a [u8],
    /// What is said of places in it.
    pub tables: &'a FuncTables,
    /// The function that begins so many bytes from the first of this one's, negative ones before it.
    pub at: &'a dyn Fn(i64) -> Option<FuncKey>,
    /// How many of its indirect calls have a record.
    pub sites: u32,
}

/// Memory that is used again from function to function.
pub(crate) struct Scratch {
    pub(crate) info: InstructionInfoFactory,
    judge: Judge,
    /// For each byte of the function 0, the number of the instruction that begins there plus 1, or [`INSIDE`].
    starts: Vec<u32>,
    instructions: Vec<Decoded>,
}

/// An instruction, and the block whose walk came over it last.
#[derive(Clone, Copy)]
struct Decoded {
    instruction: Instruction,
    block: u32,
}

/// A byte within an instruction.
const INSIDE: u32 = u32::MAX;

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch {
            info: InstructionInfoFactory::new(),
            judge: Judge::new(),
            starts: Vec::new(),
            instructions: Vec::new(),
        }
    }
}

/// What is known at a block's start.
struct Block {
    state: State,
    /// How often it has changed.
    changes: u32,
}

/// After so many changes of a block's state bounds are widened.
const PATIENCE: u32 = 2;
/// More changes of one block's state than this are refused: none is known to need a tenth.
const MAX_CHANGES: u32 = 1000;

/// What a walk over a function finds out.
#[derive(Clone, Copy, Default, Debug)]
pub struct Statistics {
    /// Instructions that can be reached.
    pub instructions: u64,
    /// Instructions that were looked at, again ones included.
    pub steps: u64,
}

/// Where control goes from an instruction.
enum Next {
    Fall,
    End,
}

pub(crate) struct Checker<'a> {
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) function: &'a Function<'a>,
    pub(crate) signature: Signature,
}

/// The walk over a function.
struct Walk<'a, 's, 'w> {
    checker: Checker<'a>,
    scratch: &'s mut Scratch,
    blocks: HashMap<u32, Block>,
    queue: BinaryHeap<Reverse<u32>>,
    statistics: Statistics,
    show: Option<Show<'w>>,
}

/// Called with each instruction and the state before it.
pub(crate) type Show<'s> = &'s mut dyn FnMut(&Instruction, &State);

/// Checks a function. `show` gets each state when it is looked at: of an instruction's, the last is the one that holds.
pub(crate) fn check<'a>(
    plan: &'a Plan<'a>,
    scratch: &mut Scratch,
    function: &'a Function<'a>,
    show: Option<Show<'_>>,
) -> std::result::Result<Statistics, Refusal> {
    scratch.starts.clear();
    scratch.starts.resize(function.code.len(), 0);
    scratch.instructions.clear();
    let mut at = 0;
    prove(plan, scratch, function, show, &mut at).map_err(|Broken { rule, reason }| {
        let found = scratch.starts.get(at as usize).copied().filter(|n| *n != 0 && *n != INSIDE);
        let instruction = found.and_then(|n| scratch.instructions.get(n as usize - 1));
        let instruction = instruction.map_or("?".to_owned(), |i| format!("{:?}", i.instruction.code()));
        Refusal { func: function.key, offset: at, instruction, rule, reason }
    })
}

/// `at` is where it was when something was not proven.
fn prove<'a>(
    plan: &'a Plan<'a>,
    scratch: &mut Scratch,
    function: &'a Function<'a>,
    show: Option<Show<'_>>,
    at: &mut u32,
) -> Result<Statistics> {
    let Some(signature) = plan.signature_of(function.key) else {
        return broken(Rule::Call, "functions of this convention are not checked yet");
    };
    let mut walk = Walk {
        checker: Checker { plan, function, signature },
        scratch,
        blocks: HashMap::new(),
        queue: BinaryHeap::new(),
        statistics: Statistics::default(),
        show,
    };
    let entry = walk.checker.entry();
    walk.edge(0, &entry)?;
    while let Some(Reverse(block)) = walk.queue.pop() {
        walk.run(block, at)?;
    }
    walk.statistics.instructions = walk.scratch.instructions.len() as u64;
    walk.checker.check_tables(walk.scratch)?;
    Ok(walk.statistics)
}

impl Walk<'_, '_, '_> {
    /// Control comes to an offset with a state.
    fn edge(&mut self, to: u32, state: &State) -> Result<()> {
        if let Some(block) = self.blocks.get_mut(&to) {
            let joined = join(&block.state, state, block.changes >= PATIENCE);
            if joined == block.state {
                return Ok(());
            }
            block.state = joined;
            block.changes += 1;
            if block.changes > MAX_CHANGES {
                return broken(Rule::Limit, "the states of a loop do not settle");
            }
            self.queue.push(Reverse(to));
            return Ok(());
        }
        // A walk that came over this place has to stop here from now on.
        if let Some(n) = self.scratch.starts.get(to as usize).copied().filter(|n| *n != 0 && *n != INSIDE) {
            self.queue.push(Reverse(self.scratch.instructions[n as usize - 1].block));
        }
        self.blocks.insert(to, Block { state: state.canonical(), changes: 0 });
        self.queue.push(Reverse(to));
        Ok(())
    }

    /// The instruction at an offset.
    fn decode(&mut self, at: u32, block: u32) -> Result<Instruction> {
        let code = self.checker.function.code;
        let Some(start) = self.scratch.starts.get(at as usize).copied() else {
            return broken(Rule::Control, "control leaves the function at its end");
        };
        match start {
            0 => {}
            INSIDE => return broken(Rule::Control, "control comes to the middle of an instruction"),
            n => {
                let decoded = &mut self.scratch.instructions[n as usize - 1];
                decoded.block = block;
                return Ok(decoded.instruction);
            }
        }
        let bytes = &code[at as usize..code.len().min(at as usize + 15)];
        let mut decoder = Decoder::with_ip(64, bytes, at.into(), DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return broken(Rule::Instruction, "these bytes are no instruction");
        }
        let range = at as usize..at as usize + instruction.len();
        if self.scratch.starts[range.clone()].iter().any(|byte| *byte != 0) {
            return broken(Rule::Control, "two instructions overlap");
        }
        self.scratch.instructions.push(Decoded { instruction, block });
        self.scratch.starts[range.clone()].fill(INSIDE);
        self.scratch.starts[range.start] = self.scratch.instructions.len() as u32;
        if let Some(reason) = self.scratch.judge.refuse(self.checker.plan, &instruction) {
            return broken(Rule::Instruction, reason);
        }
        Ok(instruction)
    }

    /// Walks over a block.
    fn run(&mut self, block: u32, place: &mut u32) -> Result<()> {
        let Some(entered) = self.blocks.get(&block) else { return Ok(()) };
        let mut state = entered.state.clone();
        let mut at = block;
        loop {
            *place = at;
            let instruction = self.decode(at, block)?;
            self.statistics.steps += 1;
            if let Some(show) = &mut self.show {
                show(&instruction, &state);
            }
            let next = match instruction.flow_control() {
                FlowControl::Next => {
                    self.checker.step(&mut state, self.scratch, &instruction)?;
                    Next::Fall
                }
                _ => self.transfer(&mut state, &instruction)?,
            };
            let Next::Fall = next else { return Ok(()) };
            at = instruction.next_ip() as u32;
            if self.blocks.contains_key(&at) {
                *place = at;
                return self.edge(at, &state);
            }
        }
    }

    /// The offset in the function that a jump leads to.
    fn inside(&self, target: i64) -> Option<u32> {
        let at = u32::try_from(target).ok()?;
        ((at as usize) < self.checker.function.code.len()).then_some(at)
    }

    fn transfer(&mut self, s: &mut State, instruction: &Instruction) -> Result<Next> {
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch => {
                let target = instruction.near_branch64() as i64;
                match self.inside(target) {
                    Some(to) => self.edge(to, s)?,
                    None => {
                        let Some(key) = (self.checker.function.at)(target) else {
                            return broken(
                                Rule::Control,
                                format!("nothing begins at {target:#x}, where the jump leads"),
                            );
                        };
                        self.checker.tail_call(s, crate::call::Target::Direct(key))?;
                    }
                }
                Ok(Next::End)
            }
            FlowControl::ConditionalBranch => {
                if !instruction.is_jcc_short_or_near() {
                    return broken(Rule::Instruction, "no compiled code has this jump");
                }
                let Some(to) = self.inside(instruction.near_branch64() as i64) else {
                    return broken(Rule::Control, "a conditional jump leaves the function");
                };
                let (taken, not) = self.checker.branch(s, instruction);
                self.edge(to, &taken)?;
                *s = not;
                Ok(Next::Fall)
            }
            FlowControl::IndirectBranch => {
                self.indirect_jump(s, instruction)?;
                Ok(Next::End)
            }
            FlowControl::Return => {
                self.checker.returns(s, instruction)?;
                Ok(Next::End)
            }
            FlowControl::Call => {
                let target = instruction.near_branch64() as i64;
                let Some(key) = (self.checker.function.at)(target) else {
                    return broken(Rule::Control, format!("nothing begins at {target:#x}, which is called"));
                };
                self.call(s, instruction, crate::call::Target::Direct(key))
            }
            FlowControl::IndirectCall => {
                let target = self.checker.target(s, instruction)?;
                self.call(s, instruction, target)
            }
            FlowControl::Exception if instruction.mnemonic() == iced_x86::Mnemonic::Ud2 => Ok(Next::End),
            _ => broken(Rule::Instruction, "no compiled code has this instruction"),
        }
    }

    fn call(&mut self, s: &mut State, instruction: &Instruction, target: crate::call::Target) -> Result<Next> {
        let back = instruction.next_ip() as u32;
        self.checker.call(s, target)?;
        let tables = self.checker.function.tables;
        if let Ok(i) = tables.handlers.binary_search_by_key(&back, |site| site.offset) {
            for (to, state) in self.checker.handlers(s, &tables.handlers[i])? {
                let Some(to) = self.inside(to.into()) else {
                    return broken(Rule::Table, "a handler is not in the function");
                };
                self.edge(to, &state)?;
            }
        }
        Ok(Next::Fall)
    }

    fn indirect_jump(&mut self, s: &mut State, instruction: &Instruction) -> Result<()> {
        let value = number_of(instruction.op0_register()).map(|n| s.registers[n]);
        let Some(Value { base: Base::JumpTarget(table), symbol, offset: 0, .. }) = value else {
            let target = self.checker.target(s, instruction)?;
            return self.checker.tail_call(s, target);
        };
        let fact = s.fact(symbol);
        let code = self.checker.function.code;
        let entries = code.len() as i64 / 4;
        if fact.low < 0 || fact.high >= entries {
            return broken(Rule::Control, "the number of a jump table's entry has no bound");
        }
        for entry in fact.low..=fact.high {
            let at = i64::from(table) + 4 * entry;
            let bytes = usize::try_from(at).ok().and_then(|at| code.get(at..)).and_then(|bytes| bytes.first_chunk());
            let Some(distance) = bytes.map(|bytes| i32::from_le_bytes(*bytes)) else {
                return broken(Rule::Control, "a jump table ends outside of the function");
            };
            let Some(to) = self.inside(i64::from(table) + i64::from(distance)) else {
                return broken(Rule::Control, "a jump table leads out of the function");
            };
            self.edge(to, s)?;
        }
        Ok(())
    }
}

impl Checker<'_> {
    /// The state in which the function is entered.
    fn entry(&self) -> State {
        // The return address is the first of what the reserve has room for.
        let mut s = State::new(-i64::from(STACK_RESERVE) - 8);
        for register in SAVED {
            s.registers[register] = Value::base(Base::Saved(register as u8));
        }
        s.registers[RSP] = Value::base(Base::Frame);
        s.set_cell(0, 8, Value::base(Base::ReturnAddress));
        for (kind, place) in self.signature.params.clone() {
            let value = match kind {
                Kind::Int32 | Kind::Int64 | Kind::Vector(_) | Kind::Pointer => continue,
                kind => self.of_kind(&mut s, kind),
            };
            match place {
                Place::Register(register) => s.registers[register] = value,
                Place::Memory(at) => s.set_cell(8 + i64::from(at), 8, value),
                Place::Vector => {}
            }
        }
        s
    }

    /// What tables say of instructions.
    fn check_tables(&self, scratch: &Scratch) -> Result<()> {
        for trap in &self.function.tables.traps {
            let start = scratch.starts.get(trap.offset as usize).copied().unwrap_or(INSIDE);
            // What is never reached may have any.
            if start == INSIDE {
                return broken(Rule::Table, format!("a trap at {:#x}, where no instruction begins", trap.offset));
            }
        }
        Ok(())
    }

    /// Whether the frame pointer leads to the caller's, and to where the function returns.
    pub(crate) fn check_frame(&self, s: &State) -> Result<()> {
        let linked = s.registers[RBP].distance_to(Base::Frame).is_some_and(|at| {
            s.cell(at, 8) == Some(Value::base(Base::Saved(RBP as u8)))
                && s.cell(at + 8, 8) == Some(Value::base(Base::ReturnAddress))
        });
        if linked { Ok(()) } else { broken(Rule::Frame, "the frame pointer does not lead to the caller's frame") }
    }
}
