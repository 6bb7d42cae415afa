//! What instances are made of in memory: contexts, linear memories, tables, globals, builtins.
//!
//! `unsafe` lives here so that the API above needs none.

pub(crate) mod builtins;
pub(crate) mod call;
pub(crate) mod const_expr;
pub(crate) mod context;
pub(crate) mod global;
pub(crate) mod handle;
pub(crate) mod host;
pub(crate) mod instance;
pub(crate) mod memory;
pub(crate) mod module;
pub(crate) mod parking;
pub(crate) mod shared;
pub(crate) mod store;
pub(crate) mod table;
pub(crate) mod waiting;
