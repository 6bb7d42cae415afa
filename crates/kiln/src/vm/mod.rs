//! What instances are made of in memory: contexts, linear memories, tables, globals, builtins.
//!
//! `unsafe` lives here so that the API above needs none.

pub(crate) mod context;
