// Runs a script in the engine that the including module calls `api`. Kiln's API has the names of wasmtime's, so that
// one text serves both.

use anyhow::{Result, anyhow};

use crate::script::{Script, Value};
use crate::trace::{Event, Outcome, Trace, hash};

/// What the host functions of a run have seen.
#[derive(Default)]
struct State {
    calls: u64,
    log: u64,
}

impl State {
    /// A host function was called: its results follow from how many calls there were. `None`: it fails.
    fn call(&mut self, args: &[api::Val]) -> Option<u64> {
        self.calls += 1;
        for arg in args {
            self.log = hash(format!("{} {:?}", self.log, from_val(arg)).as_bytes());
        }
        (self.calls % 64 != 63).then(|| hash(&self.calls.to_le_bytes()))
    }
}

/// Functions with results of their own; everything else empty or zero.
fn define_imports(
    linker: &mut api::Linker<State>,
    store: &mut api::Store<State>,
    module: &api::Module,
) -> std::result::Result<(), Error> {
    let mut seen = std::collections::BTreeSet::new();
    for import in module.imports() {
        let api::ExternType::Func(ty) = import.ty() else { continue };
        if !seen.insert((import.module().to_owned(), import.name().to_owned())) {
            continue;
        }
        let types: Vec<_> = ty.results().collect();
        linker.func_new(import.module(), import.name(), ty, move |mut caller, args, results| {
            let Some(mut bits) = caller.data_mut().call(args) else { return Err(host_error()) };
            for (result, ty) in results.iter_mut().zip(&types) {
                bits = bits.rotate_left(9);
                *result = match ty {
                    api::ValType::I32 => api::Val::I32(bits as i32),
                    api::ValType::I64 => api::Val::I64(bits as i64),
                    api::ValType::F32 => api::Val::F32(bits as u32 & 0xbfff_ffff),
                    api::ValType::F64 => api::Val::F64(bits & 0xbfff_ffff_ffff_ffff),
                    api::ValType::V128 => api::Val::V128(u128::from(bits).into()),
                    _ => api::Val::default_for_ty(ty).ok_or_else(host_error)?,
                };
            }
            Ok(())
        })?;
    }
    linker.define_unknown_imports_as_default_values(store, module)
}

fn to_val(value: &Value) -> api::Val {
    match *value {
        Value::I32(n) => api::Val::I32(n),
        Value::I64(n) => api::Val::I64(n),
        Value::F32(bits) => api::Val::F32(bits),
        Value::F64(bits) => api::Val::F64(bits),
        Value::V128(bits) => api::Val::V128(bits.into()),
        Value::NullFunc | Value::NonNull => api::Val::FuncRef(None),
        Value::NullExtern => api::Val::ExternRef(None),
        Value::NullExn => api::Val::ExnRef(None),
    }
}

fn from_val(val: &api::Val) -> Value {
    match val {
        api::Val::I32(n) => Value::I32(*n),
        api::Val::I64(n) => Value::I64(*n),
        api::Val::F32(bits) => Value::F32(*bits),
        api::Val::F64(bits) => Value::F64(*bits),
        api::Val::V128(bits) => Value::V128(bits.as_u128()),
        api::Val::FuncRef(None) => Value::NullFunc,
        api::Val::ExternRef(None) => Value::NullExtern,
        api::Val::ExnRef(None) => Value::NullExn,
        _ => Value::NonNull,
    }
}

/// Compiles a module.
pub fn compile(engine: &api::Engine, wasm: &[u8]) -> Result<api::Module> {
    api::Module::new(engine, wasm).map_err(|e| anyhow!("{e:?}"))
}

/// Instantiates a compiled module with default values for its imports, and does what the script says.
pub fn run(engine: &api::Engine, module: &api::Module, script: &Script) -> Result<Trace> {
    let mut store = api::Store::new(engine, State::default());
    prepare(&mut store);
    let mut linker = api::Linker::new(engine);
    let mut trace = Trace::default();
    if let Err(error) = define_imports(&mut linker, &mut store, module) {
        trace.events.push(Event { what: "imports".into(), outcome: Outcome::Error(format!("{error:?}")), state: 0 });
        return Ok(trace);
    }
    let instance = match linker.instantiate(&mut store, module) {
        Ok(instance) => instance,
        Err(error) => {
            trace.events.push(Event { what: "instantiate".into(), outcome: outcome(&error), state: 0 });
            return Ok(trace);
        }
    };
    for (name, args) in &script.calls {
        let func = instance.get_func(&mut store, name).ok_or_else(|| anyhow!("no export {name}"))?;
        let args: Vec<_> = args.iter().map(to_val).collect();
        let mut results = vec![api::Val::I32(0); func.ty(&store).results().len()];
        let outcome = match func.call(&mut store, &args, &mut results) {
            Ok(()) => Outcome::Values(results.iter().map(from_val).collect()),
            Err(error) => outcome(&error),
        };
        let last = matches!(outcome, Outcome::Unordered(_));
        let state = if last { 0 } else { small_state(&mut store, &instance) };
        trace.events.push(Event { what: name.clone(), outcome, state });
        if last {
            return Ok(trace);
        }
    }
    let state = large_state(&mut store, &instance);
    trace.events.push(Event { what: "end".into(), outcome: Outcome::Values(Vec::new()), state });
    Ok(trace)
}

fn exports(store: &mut api::Store<State>, instance: &api::Instance) -> Vec<(String, api::Extern)> {
    instance.exports(store).map(|e| (e.name().to_owned(), e.into_extern())).collect()
}

/// Globals, and sizes of memories and tables.
fn small_state(store: &mut api::Store<State>, instance: &api::Instance) -> u64 {
    let mut words = String::new();
    for (name, export) in exports(store, instance) {
        match export {
            api::Extern::Global(g) => words.push_str(&format!("{name}={:?};", from_val(&g.get(&mut *store)))),
            api::Extern::Memory(m) => words.push_str(&format!("{name}={};", m.size(&mut *store))),
            api::Extern::Table(t) => words.push_str(&format!("{name}={};", t.size(&mut *store))),
            api::Extern::SharedMemory(m) => words.push_str(&format!("{name}={};", m.size())),
            _ => {}
        }
    }
    words.push_str(&format!("log={}", store.data().log));
    hash(words.as_bytes())
}

/// That and contents of memories and tables.
fn large_state(store: &mut api::Store<State>, instance: &api::Instance) -> u64 {
    let mut state = small_state(store, instance);
    for (_, export) in exports(store, instance) {
        let part = match export {
            api::Extern::Memory(m) => hash(m.data(&*store)),
            api::Extern::Table(t) => {
                let nulls: Vec<u8> = (0..t.size(&mut *store))
                    .map(|i| t.get(&mut *store, i).is_some_and(|r| !r.is_null()).into())
                    .collect();
                hash(&nulls)
            }
            _ => 0,
        };
        state = state.rotate_left(7) ^ part;
    }
    state
}
