//! What tests and fuzzers share: the golden-file runner.
#![forbid(unsafe_code)]

pub mod golden;
