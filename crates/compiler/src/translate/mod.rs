//! From wasm function bodies to Cranelift's intermediate representation.

pub(crate) mod emitter;
pub(crate) mod ops;
