//! Kiln's compiler: wasm bytes to machine code, on Cranelift.
//!
//! ```text
//! bytes ─parse→ ParsedModule ─validate→ ValidatedModule ─translate→ FuncIr ─midend→ FuncIr ─codegen→ MachineFunc ─link→ Image
//! ```
//! Each phase is a type; no half-filled value is visible. This is the only crate that names `cranelift_*`.
#![forbid(unsafe_code)]

mod body_key;
mod cache;
mod callees;
pub mod codegen;
mod compare;
mod compile;
pub mod convert;
pub mod error;
pub mod features;
pub mod func_ir;
mod heat;
pub mod info;
pub mod inspect;
pub mod isa;
pub mod link;
mod locations;
pub mod midend;
pub mod module_env;
pub mod names;
mod opcodes;
pub mod parse;
mod pool;
mod profile;
mod recall;
mod relax;
mod stack_guard;
pub mod stencils;
pub mod translate;
mod unwind;
pub mod validate;
pub mod wat;
mod worker;

pub use cache::CacheStatistics;
pub use compare::{Comparison, Difference, Pairing};
pub use compile::{Compiler, Progress, Stats, TrampolineKind};
pub use error::{CompileError, ErrorKind, Result};
pub use features::Features;
pub use func_ir::FuncIr;
pub use info::{FuncInfo, FuncInfos};
pub use isa::CompilerConfig;
pub use link::LinkOptions;
pub use midend::numbers::NAME as SHARING_PASS;
pub use midend::{Dump, PassConfig, PassTimes, pass_names};
pub use module_env::ModuleEnv;
pub use parse::{ParsedModule, parse};
pub use profile::Profile;
pub use validate::{Done, ValidatedModule};
