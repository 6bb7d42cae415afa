//! Kiln: compiles WebAssembly to machine code and runs it.

mod code;
mod gc;
mod sys;
mod vm;

pub use vm::context::ValRaw;
