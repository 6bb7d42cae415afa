//! Looks for crashes of Kiln and for differences between its modes and another engine.
//!
//! A case is a seed: the module, the calls and their arguments follow from it. Targets are in [`targets`].

pub mod generate;
pub mod limits;
pub mod mutate;
pub mod passes;
pub mod rng;
pub mod script;
pub mod targets;
pub mod trace;

#[cfg(feature = "rival")]
pub mod rival;
pub mod subject;
