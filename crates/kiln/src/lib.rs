//! Kiln: compiles WebAssembly to machine code and runs it.
//!
//! An [`Engine`] compiles a [`Module`]; a [`Linker`] finds what it imports; an [`Instance`] of it lives in a [`Store`],
//! and so do its functions, memories, tables and globals. The names are those that users of other engines' APIs know.
//!
//! ```
//! use kiln::*;
//!
//! let engine = Engine::default();
//! let module = Module::new(&engine, r#"
//!     (module
//!         (import "host" "greet" (func $greet (param i32)))
//!         (func (export "run") (call $greet (i32.const 3))))
//! "#)?;
//! let mut linker = Linker::new(&engine);
//! linker.func_wrap("host", "greet", |mut caller: Caller<'_, u32>, times: u32| *caller.data_mut() += times)?;
//! let mut store = Store::new(&engine, 0);
//! let instance = linker.instantiate(&mut store, &module)?;
//! instance.get_typed_func::<(), ()>(&mut store, "run")?.call(&mut store, ())?;
//! assert_eq!(*store.data(), 3);
//! # anyhow::Ok(())
//! ```

#![cfg_attr(not(feature = "compiler"), allow(dead_code, reason = "much of it is for code that is compiled here"))]

mod artifact;
#[cfg(feature = "compiler")]
mod artifact_options;
mod backtrace;
mod code;
#[cfg(feature = "compiler")]
mod compile;
mod config;
mod coredump;
mod engine;
mod externs;
#[cfg(feature = "compiler")]
mod first_tier;
mod func;
mod gc;
mod global;
#[cfg(feature = "compiler")]
mod inspect;
mod instance;
mod key;
mod limits;
mod linker;
mod memory;
mod module;
#[cfg(feature = "compiler")]
mod module_file;
#[cfg(feature = "compiler")]
mod on_demand;
#[cfg(feature = "compiler")]
mod profile;
#[cfg(feature = "compiler")]
mod resume;
mod similar;
mod store;
mod symbols;
mod sync;
mod sys;
mod table;
mod tier;
mod trampolines;
mod trap;
mod typed;
mod types;
mod values;
mod vm;

pub use artifact::{IncompatibleArtifact, Verification};
#[cfg(feature = "compiler")]
pub use artifact_options::ArtifactOptions;
pub use backtrace::{FrameInfo, FrameSymbol, WasmBacktrace};
#[cfg(feature = "compiler")]
pub use compile::{CompileStatistics, StencilStatistics, TierStatistics};
pub use config::{BaselineCompiler, Config, Inlining, OptLevel, ProfilingStrategy, RegallocAlgorithm, Tiering};
pub use engine::Engine;
pub use externs::{Export, Extern};
pub use func::{Caller, Func, IntoFunc, WasmRet};
pub use gc::{AnyRef, ExnRef, ExternRef, OwnedRooted, RootScope, Rooted, Tag, ThrownException};
pub use global::Global;
#[cfg(feature = "compiler")]
pub use inspect::{CompiledFunction, CompiledObject, IrFunction, IrStage};
pub use instance::Instance;
pub use key::SigningKey;
#[cfg(feature = "compiler")]
pub use kiln_compiler::{Comparison, Difference, Pairing, codegen::claims_panic};
pub use kiln_env::cache::{CacheStore, MemoryStore};
pub use limits::{ResourceLimiter, StoreLimits, StoreLimitsBuilder, UpdateDeadline};
pub use linker::{InstancePre, Linker, UnknownImportError};
pub use memory::{Memory, MemoryAccessError, SharedMemory, WaitResult};
pub use module::Module;
#[cfg(feature = "compiler")]
pub use module_file::ModuleFile;
#[cfg(feature = "compiler")]
pub use profile::Profile;
pub use store::{AsContext, AsContextMut, Store, StoreContext, StoreContextMut};
pub use sys::file::{close_files_on_exec, survive_file_size_limit};
pub use table::Table;
pub use tier::TierUp;
pub use trap::Trap;
pub use typed::{TypedFunc, WasmParams, WasmResults, WasmTy};
pub use types::{
    ArrayType, ExportType, ExternType, FieldType, Finality, FuncType, GlobalType, HeapType, ImportType, MemoryType,
    MemoryTypeBuilder, Mutability, RefType, StorageType, StructType, TableType, TagType, ValType,
};
pub use values::{Ref, V128, Val};
pub use vm::context::ValRaw;

/// What may be shared between threads, and what may be sent.
const _: () = {
    const fn shared<X: Send + Sync>() {}
    const fn sent<X: Send>() {}
    shared::<Engine>();
    shared::<Module>();
    shared::<InstancePre<std::cell::Cell<u8>>>();
    shared::<Linker<std::cell::Cell<u8>>>();
    shared::<SharedMemory>();
    shared::<Func>();
    shared::<Memory>();
    sent::<Store<std::cell::Cell<u8>>>();
};
