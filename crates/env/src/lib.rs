//! What Kiln's compiler, the code it makes and the runtime under that code agree on.
//!
//! Everything here is plain data: no Cranelift type, no `wasmparser` type, no address, no `unsafe`.
//! Each agreed fact stands in one table (traps, builtins, context layouts) from which both sides derive.
#![forbid(unsafe_code)]

pub mod abi;
pub mod artifact;
pub mod builtins;
pub mod cache;
pub mod func_key;
pub mod image;
pub mod index;
pub mod layout;
pub mod limits;
pub mod machine;
pub mod module;
pub mod opcode;
pub mod profile;
pub mod reloc;
pub mod settings;
pub mod stencil;
pub mod text;
pub mod tier;
pub mod trap;
pub mod types;
pub mod unbound;

pub use builtins::Builtin;
pub use cache::{CacheKey, CacheStore, MemoryStore};
pub use func_key::FuncKey;
pub use image::Image;
pub use index::{
    DataIndex, DefinedFuncIndex, DefinedGlobalIndex, DefinedMemoryIndex, DefinedTableIndex, DefinedTagIndex, ElemIndex,
    EntityIndex, FuncIndex, GlobalIndex, IndexVec, MemoryIndex, TableIndex, TagIndex, TypeIndex,
};
pub use layout::ContextLayout;
pub use machine::MachineFunc;
pub use module::Module;
pub use opcode::Op;
pub use settings::{Fingerprint, Tunables};
pub use trap::TrapCode;
pub use unbound::UnboundFunc;
