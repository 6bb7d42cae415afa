//! Kiln: compiles WebAssembly to machine code and runs it.

mod code;
mod gc;
mod sys;
mod types;
mod vm;

pub use types::{
    ExportType, ExternType, FuncType, GlobalType, HeapType, ImportType, MemoryType, MemoryTypeBuilder, Mutability,
    RefType, TableType, TagType, ValType,
};
pub use vm::context::ValRaw;
