//! Kiln's own passes against Kiln without them: same results, traps at the same places, same memory.

mod shapes;

use anyhow::{Result, anyhow, bail};
use kiln::{
    Config, Engine, Func, Global, Inlining, Instance, Memory, Module, Store, ThrownException, Trap, Val, WasmBacktrace,
};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, FunctionSection, GlobalSection, GlobalType,
    MemorySection, MemoryType, TagKind, TagSection, TagType, TypeSection, ValType,
};

use crate::rng::Rng;

/// Calls of a module's functions that may be made in all while one of them is called from outside.
const CALLS: i32 = 40;
/// Calls from outside.
const RUNS: usize = 6;

/// A module of some functions that call each other, with a page of memory.
pub fn module(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let count = 1 + rng.below(3) as u32;
    let mut types = TypeSection::new();
    types.ty().function(shapes::PARAMS, [ValType::I64]);
    types.ty().function([ValType::I64], []);
    let (mut functions, mut exports, mut code) = (FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for n in 0..count {
        functions.function(0);
        // The first is what is called; the others are reached through it.
        let body = if n == 0 || rng.one_in(2) {
            shapes::Body::function(&mut rng, count)
        } else {
            shapes::Body::small(&mut rng, count)
        };
        code.function(&body);
    }
    exports.export("f", ExportKind::Func, 0).export("memory", ExportKind::Memory, 0);
    exports.export("calls", ExportKind::Global, 0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: Some(1), memory64: false, shared: false, page_size_log2: None });
    let mut tags = TagSection::new();
    for _ in 0..2 {
        tags.tag(TagType { kind: TagKind::Exception, func_type_idx: 1 });
    }
    let mut globals = GlobalSection::new();
    let global = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(global, &ConstExpr::i32_const(CALLS));
    let mut data = DataSection::new();
    // Few different bytes, so that comparisons go on for a while, and some at the memory's end.
    for offset in [0, 0x800, 0xff00] {
        let one = rng.below(4) as u8;
        let bytes = (0..256).map(|_| if rng.one_in(40) { rng.below(4) as u8 } else { one });
        let bytes: Vec<u8> = bytes.collect();
        data.active(0, &ConstExpr::i32_const(offset), bytes);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&memories).section(&tags).section(&globals);
    module.section(&exports).section(&code).section(&data);
    module.finish()
}

/// What runs a module.
struct Subject {
    name: String,
    engine: Engine,
}

impl Subject {
    /// With the passes for which `runs` says so.
    fn new(name: String, inlining: Inlining, runs: impl Fn(&str) -> bool) -> Result<Subject> {
        let mut config = Config::new();
        config.compilation_threads(1).compiler_inlining(inlining).native_unwind_info(false).share_code(true);
        for pass in Config::compiler_pass_names() {
            config.compiler_pass(pass, runs(pass));
        }
        let engine = Engine::new(&config).map_err(|e| anyhow!("{name}: {e:?}"))?;
        Ok(Subject { name, engine })
    }
}

/// Kiln with its passes switched on and off in several ways.
pub struct Passes {
    none: Subject,
    /// All of them, each alone, and all with as much inlined as there is room for.
    some: Vec<Subject>,
}

impl Passes {
    /// # Errors
    /// If an engine cannot be made.
    pub fn new() -> Result<Passes> {
        let mut some = vec![
            Subject::new("all passes".into(), Inlining::Yes, |_| true)?,
            Subject::new("all passes, inlining everything".into(), Inlining::Stress, |_| true)?,
        ];
        for pass in Config::compiler_pass_names() {
            some.push(Subject::new(format!("the pass {pass}"), Inlining::Yes, |name| name == pass)?);
        }
        Ok(Passes { none: Subject::new("no pass".into(), Inlining::No, |_| false)?, some })
    }

    /// Runs a module without passes and with one of the other choices, which the seed decides.
    ///
    /// # Errors
    /// They differ, in words.
    pub fn check(&self, module: &[u8], seed: u64) -> Result<()> {
        let mut rng = Rng::new(seed ^ 0x70a5_5e5);
        // Half of the cases are for all of them together.
        let subject = if rng.one_in(2) { &self.some[0] } else { rng.pick(&self.some) };
        let (mut a, mut b) = (Side::new(&self.none, module)?, Side::new(subject, module)?);
        for _ in 0..RUNS {
            let args = arguments(&mut rng);
            let (x, y) = (a.call(&args)?, b.call(&args)?);
            if x != y {
                bail!("{} and {} differ with {args:?}: {x:?} and {y:?}", self.none.name, subject.name);
            }
            if let Some(at) = a.difference(&b) {
                bail!("{} and {}: memory differs at {at:#x} behind {args:?}, {x:?}", self.none.name, subject.name);
            }
        }
        Ok(())
    }
}

/// Addresses near each other, near the memory's end or anywhere; lengths that mostly fit; numbers.
fn arguments(rng: &mut Rng) -> [Val; 5] {
    let address = |rng: &mut Rng| match rng.below(8) {
        0 => rng.next() as i32,
        1 | 2 => 65_536 - rng.below(100) as i32,
        3 => -(rng.below(20) as i32),
        _ => rng.below(256) as i32,
    };
    let a = address(rng);
    let b = if rng.one_in(2) { a.wrapping_add(rng.below(80) as i32 - 40) } else { address(rng) };
    let n = match rng.below(10) {
        0 => 0,
        1 => rng.interesting() as i32,
        2 => 65_400 + rng.below(200) as i32,
        _ => rng.below(140) as i32,
    };
    [Val::I32(a), Val::I32(b), Val::I32(n), Val::I64(rng.interesting() as i64), Val::I64(rng.interesting() as i64)]
}

/// How a call ended.
#[derive(PartialEq, Debug)]
enum Ending {
    Value(i64),
    Exception,
    /// The reason, and the functions and offsets of all frames.
    Trap(Trap, Vec<(u32, Option<usize>)>),
}

/// One instance.
struct Side {
    store: Store<()>,
    func: Func,
    memory: Memory,
    calls: Global,
}

impl Side {
    fn new(subject: &Subject, module: &[u8]) -> Result<Side> {
        let failed = |e: anyhow::Error| anyhow!("{}: {e:?}", subject.name);
        let module = Module::new(&subject.engine, module).map_err(failed)?;
        let mut store = Store::new(&subject.engine, ());
        let instance = Instance::new(&mut store, &module, &[]).map_err(failed)?;
        let func = instance.get_func(&mut store, "f");
        let memory = instance.get_memory(&mut store, "memory");
        let calls = instance.get_global(&mut store, "calls");
        let all = func.zip(memory).zip(calls);
        let ((func, memory), calls) = all.ok_or_else(|| anyhow!("an export is missing"))?;
        Ok(Side { store, func, memory, calls })
    }

    fn call(&mut self, args: &[Val]) -> Result<Ending> {
        self.calls.set(&mut self.store, Val::I32(CALLS)).map_err(|e| anyhow!("{e:?}"))?;
        let mut results = [Val::I64(0)];
        let error = match self.func.call(&mut self.store, args, &mut results) {
            Ok(()) => match results {
                [Val::I64(value)] => return Ok(Ending::Value(value)),
                _ => bail!("another type of result"),
            },
            Err(error) => error,
        };
        if error.is::<ThrownException>() {
            return Ok(Ending::Exception);
        }
        let Some(trap) = error.downcast_ref::<Trap>() else { bail!("no trap: {error:?}") };
        let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
        let frames: Vec<_> = frames.iter().map(|f| (f.func_index(), f.func_offset())).collect();
        Ok(Ending::Trap(*trap, frames))
    }

    /// The first address at which memories differ.
    fn difference(&self, other: &Side) -> Option<usize> {
        let (x, y) = (self.memory.data(&self.store), other.memory.data(&other.store));
        if x == y {
            return None;
        }
        x.iter().zip(y).position(|(x, y)| x != y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_valid() {
        for seed in 0..500 {
            let mut validator = wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all());
            validator.validate_all(&module(seed)).unwrap();
        }
    }
}
