//! The cache of compiled functions.
//!
//! Two levels, both in one store:
//! 1. *What the function is made from*: a hash of its body and of what that uses of the module ([`crate::body_key`]). Found
//!    without translating. The value names the entry of the second level, says which callee stands at which position of
//!    the function's table of names, and which bodies must be inlined for it to hold.
//! 2. *What code generation sees*: a hash of the final IR, without the numbers that are open in it
//!    (`midend/numbers.rs`). The value is the code, unbound.
//!
//! Both keys cover the compiler's build, the target and all settings. The second finds what the first misses: functions
//! that differ, and become the same code.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cranelift_codegen::ir::function::FunctionStencil;
use kiln_env::cache::{CacheKey, CacheStore, KEY_BYTES, seal, unseal};
use kiln_env::machine::InlinedBody;
use kiln_env::unbound::{Names, OpenNumber};
use kiln_env::{Builtin, DefinedFuncIndex, Fingerprint, FuncKey, MachineFunc, UnboundFunc};
use serde::{Deserialize, Serialize};

use crate::error::{CompileError, Result};
use crate::features::Features;
use crate::func_ir::FuncIr;

/// Goes into every key; to be changed with the form of values.
const FORMAT: &[u8] = b"kiln functions 2";

/// A store, and what keys have in common.
pub(crate) struct FuncCache {
    store: Arc<dyn CacheStore>,
    bodies: [u8; KEY_BYTES],
    stencils: [u8; KEY_BYTES],
}

/// How often the cache was asked, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatistics {
    /// Functions found by their body: nothing was translated.
    pub body_hits: u64,
    /// Functions and trampolines found by their IR: no code was generated.
    pub stencil_hits: u64,
    /// Functions and trampolines that were compiled.
    pub misses: u64,
    /// Entries that the store took.
    pub inserts: u64,
    /// Bytes of the entries that the store took.
    pub inserted_bytes: u64,
}

impl std::ops::AddAssign for CacheStatistics {
    fn add_assign(&mut self, other: CacheStatistics) {
        let CacheStatistics { body_hits, stencil_hits, misses, inserts, inserted_bytes } = other;
        self.body_hits += body_hits;
        self.stencil_hits += stencil_hits;
        self.misses += misses;
        self.inserts += inserts;
        self.inserted_bytes += inserted_bytes;
    }
}

/// Which function stands at one position of a table of names: in terms of the body alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Name {
    /// The function with this number among its [callees](crate::callees::Callees).
    Callee(u32),
    /// A builtin's trampoline.
    Builtin(Builtin),
}

/// The value of a first-level entry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BodyEntry {
    stencil: [u8; KEY_BYTES],
    names: Vec<Name>,
    /// The wasm offset from which those of the code are counted.
    base: u32,
    /// The numbers that are open in the code.
    numbers: Vec<u32>,
    /// The functions that were inlined, by their numbers, with what they must be for this entry to hold.
    pub(crate) inlined: Vec<(u32, [u8; KEY_BYTES])>,
}

/// What code generation knows only as numbers.
pub(crate) struct Bindings {
    names: Vec<FuncKey>,
    base: u32,
    numbers: Vec<u32>,
}

/// The first byte of a second-level entry: code for any numbers, or for those it was made for.
const CODE: u8 = 0;
/// The same: code under this key would depend on the numbers, which are part of another key.
const FIXED: u8 = 1;

impl Bindings {
    fn as_names(&self) -> Names<'_> {
        Names { funcs: &self.names, base: self.base, numbers: &self.numbers }
    }

    /// The names and the base of a function that is about to be compiled.
    pub(crate) fn of(ir: &FuncIr) -> Result<Bindings> {
        let names = ir.func.params.user_named_funcs().values();
        let names = names.map(|n| FuncKey::unpack(n.namespace, n.index).map_err(CompileError::internal));
        let mut names = names.collect::<Result<Vec<_>>>()?;
        let mut known: HashSet<FuncKey> = names.iter().copied().collect();
        // Functions whose bodies stand here need not be called as well.
        let inlined = ir.inlined.iter().map(|body| FuncKey::Wasm(body.func));
        names.extend(inlined.filter(|key| known.insert(*key)));
        Ok(Bindings { names, base: ir.func.params.base_srcloc().bits(), numbers: ir.numbers.clone() })
    }
}

impl FuncCache {
    pub(crate) fn new(store: Arc<dyn CacheStore>, fingerprint: &Fingerprint) -> FuncCache {
        let common = |level: &[u8]| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(FORMAT).update(level).update(&fingerprint.digest());
            *hasher.finalize().as_bytes()
        };
        FuncCache { store, bodies: common(b"body"), stencils: common(b"stencil") }
    }

    /// The key of the validity under a set of proposals of a module with this hash.
    pub(crate) fn module_key(&self, source: &[u8; 32], features: &Features) -> CacheKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.bodies);
        hasher.update(b"module").update(source);
        for (name, on) in features.iter() {
            hasher.update(name.as_bytes()).update(&[0, u8::from(on)]);
        }
        CacheKey(*hasher.finalize().as_bytes())
    }

    /// What is known of a module that was validated.
    pub(crate) fn findings(&self, key: &CacheKey) -> Option<Vec<u8>> {
        Some(unseal(key, &self.store.get(&key.0)?)?.to_vec())
    }

    /// Notes what is known of a module that is valid.
    pub(crate) fn note_findings(&self, key: &CacheKey, findings: &[u8]) {
        self.store.insert(&key.0, seal(key, findings));
    }

    /// The first-level key of a body, as a function or entered at a loop.
    pub(crate) fn body_key(&self, body: &blake3::Hash, key: FuncKey) -> CacheKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.bodies);
        hasher.update(body.as_bytes());
        if let FuncKey::Osr { offset, .. } = key {
            hasher.update(&offset.to_le_bytes());
        }
        CacheKey(*hasher.finalize().as_bytes())
    }

    /// The second-level key of a function as it goes to code generation, which changes it. `plain`: without optimisation,
    /// because that would take too long. `buffer` is scratch memory.
    pub(crate) fn stencil_key(&self, ir: &FuncIr, bindings: &Bindings, plain: bool, buffer: &mut Vec<u8>) -> CacheKey {
        buffer.clear();
        // Functions have a pass behind Cranelift's that trampolines have not.
        buffer.extend([u8::from(plain), u8::from(ir.key.body().is_some())]);
        // The code names builtins themselves; of other functions it knows positions only.
        for name in &bindings.names {
            let builtin = if let FuncKey::WasmToBuiltin(builtin) = name { Some(*builtin as u32) } else { None };
            builtin.hash(&mut Collect(buffer));
        }
        for body in &ir.inlined {
            let InlinedBody { start, func, call } = *body;
            let name = bindings.names.iter().position(|n| *n == FuncKey::Wasm(func));
            let locations = [start, call].map(|l| l.wrapping_sub(bindings.base));
            (locations, name).hash(&mut Collect(buffer));
        }
        bindings.numbers.len().hash(&mut Collect(buffer));
        let stencil: &FunctionStencil = &ir.func.stencil;
        stencil.hash(&mut Collect(buffer));
        CacheKey(*blake3::keyed_hash(&self.stencils, buffer).as_bytes())
    }

    /// The first-level entry of a body.
    pub(crate) fn body_entry(&self, key: &CacheKey) -> Option<BodyEntry> {
        postcard::from_bytes(unseal(key, &self.store.get(&key.0)?)?).ok()
    }

    /// The function that a first-level entry names; `callee` tells its callees by their numbers.
    pub(crate) fn by_entry(&self, entry: &BodyEntry, callee: impl Fn(u32) -> Option<FuncKey>) -> Option<MachineFunc> {
        let names = entry.names.iter().map(|name| match *name {
            Name::Callee(n) => callee(n),
            Name::Builtin(builtin) => Some(FuncKey::WasmToBuiltin(builtin)),
        });
        let names = names.collect::<Option<_>>()?;
        let bindings = Bindings { names, base: entry.base, numbers: entry.numbers.clone() };
        self.by_stencil(&CacheKey(entry.stencil), &bindings)
    }

    /// The function that has this IR.
    pub(crate) fn by_stencil(&self, key: &CacheKey, bindings: &Bindings) -> Option<MachineFunc> {
        let sealed = self.store.get(&key.0)?;
        match unseal(key, &sealed)?.split_first()? {
            (&CODE, code) => UnboundFunc::decode(code)?.bind(bindings.as_names()),
            (&FIXED, []) => {
                let key = self.fixed_key(key, bindings);
                let sealed = self.store.get(&key.0)?;
                let code = unseal(&key, &sealed)?.strip_prefix(&[CODE])?;
                UnboundFunc::decode(code)?.bind(bindings.as_names())
            }
            _ => None,
        }
    }

    /// The key of code for certain numbers.
    fn fixed_key(&self, key: &CacheKey, bindings: &Bindings) -> CacheKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.stencils);
        hasher.update(b"numbers").update(&key.0);
        bindings.numbers.iter().for_each(|number| {
            hasher.update(&number.to_le_bytes());
        });
        CacheKey(*hasher.finalize().as_bytes())
    }

    /// Keeps a function under the key of its IR. `open`: where its numbers are, if it is for any.
    pub(crate) fn insert_stencil(
        &self,
        key: &CacheKey,
        func: &MachineFunc,
        bindings: &Bindings,
        open: &[OpenNumber],
        statistics: &mut CacheStatistics,
    ) {
        let Some(unbound) = UnboundFunc::unbind(func, bindings.as_names(), open) else { return };
        let code = [&[CODE], &unbound.encode()[..]].concat();
        if open.is_empty() && !bindings.numbers.is_empty() {
            self.insert(key, &[FIXED], statistics);
            self.insert(&self.fixed_key(key, bindings), &code, statistics);
        } else {
            self.insert(key, &code, statistics);
        }
    }

    /// Notes which IR a body became. `number` tells the numbers of callees, `inlined` are those whose bodies stand in
    /// place of calls, with their [descriptions](crate::callees::Callees::describe).
    pub(crate) fn insert_body(
        &self,
        key: &CacheKey,
        stencil: &CacheKey,
        bindings: &Bindings,
        inlined: Vec<(u32, [u8; KEY_BYTES])>,
        number: impl Fn(DefinedFuncIndex) -> Option<u32>,
        statistics: &mut CacheStatistics,
    ) {
        let names = bindings.names.iter().map(|name| match *name {
            FuncKey::Wasm(func) => number(func).map(Name::Callee),
            FuncKey::WasmToBuiltin(builtin) => Some(Name::Builtin(builtin)),
            _ => None,
        });
        let Some(names) = names.collect() else { return };
        let entry =
            BodyEntry { stencil: stencil.0, names, base: bindings.base, numbers: bindings.numbers.clone(), inlined };
        self.insert(key, &postcard::to_stdvec(&entry).expect("plain data serialises"), statistics);
    }

    fn insert(&self, key: &CacheKey, value: &[u8], statistics: &mut CacheStatistics) {
        let sealed = seal(key, value);
        let bytes = sealed.len() as u64;
        if self.store.insert(&key.0, sealed) {
            statistics.inserts += 1;
            statistics.inserted_bytes += bytes;
        }
    }
}

/// Keeps what is to be hashed.
struct Collect<'a>(&'a mut Vec<u8>);

impl Hasher for Collect<'_> {
    fn finish(&self) -> u64 {
        unreachable!("only the bytes are wanted")
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}
