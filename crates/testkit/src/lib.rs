//! What Kiln's tests share: the runner of `.wast` scripts, the golden-file runner, and the modes in which every semantic
//! test runs.
#![forbid(unsafe_code)]

pub mod expected;
pub mod golden;
pub mod legacy;
pub mod modes;
pub mod script;
pub mod suite;

pub use kiln_compiler::Features;
pub use modes::Mode;
