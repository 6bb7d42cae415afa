//! Which proposals a module may use: run-time configuration.

use wasmparser::WasmFeatures;

use crate::error::{CompileError, Result};

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident: $flag:ident = $default:literal;)*) => {
        /// The proposals of WebAssembly that modules may use.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub struct Features {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Default for Features {
            fn default() -> Features {
                Features::DEFAULT
            }
        }

        impl Features {
            /// What is on unless someone says otherwise: the proposals that are finished.
            pub const DEFAULT: Features = Features { $($name: $default,)* };

            /// The names of all proposals, as [`Features::set`] takes them.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Switches a proposal by its name. Hyphens and underscores are the same.
            pub fn set(&mut self, name: &str, on: bool) -> Result<()> {
                match name.replace('-', "_").as_str() {
                    $(stringify!($name) => self.$name = on,)*
                    _ => return Err(CompileError::config(format_args!(
                        "no wasm proposal is called {name}; there are: {}", Self::NAMES.join(", ")
                    ))),
                }
                Ok(())
            }

            /// Each proposal with its state.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, bool)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// The same for `wasmparser`.
            pub fn to_wasmparser(&self) -> WasmFeatures {
                // Floats and the reference types of proposals that are on are never refused.
                let mut flags = WasmFeatures::FLOATS | WasmFeatures::GC_TYPES;
                $(flags.set(WasmFeatures::$flag, self.$name);)*
                flags
            }
        }
    };
}

features! {
    /// Import and export of mutable globals.
    mutable_global: MUTABLE_GLOBAL = true;
    /// Saturating conversions from float to integer.
    saturating_float_to_int: SATURATING_FLOAT_TO_INT = true;
    /// Sign extension operators.
    sign_extension: SIGN_EXTENSION = true;
    /// Several results of functions and blocks.
    multi_value: MULTI_VALUE = true;
    /// `externref`, `funcref` and operators for tables.
    reference_types: REFERENCE_TYPES = true;
    /// `memory.copy` and its like.
    bulk_memory: BULK_MEMORY = true;
    /// 128-bit vectors.
    simd: SIMD = true;
    /// Vector operators with results that may differ between machines.
    relaxed_simd: RELAXED_SIMD = true;
    /// Arithmetic in constant expressions.
    extended_const: EXTENDED_CONST = true;
    /// More than one memory.
    multi_memory: MULTI_MEMORY = true;
    /// 64-bit indices of memories and tables.
    memory64: MEMORY64 = true;
    /// Atomic operators and shared memories.
    threads: THREADS = true;
    /// `return_call` and its like.
    tail_call: TAIL_CALL = true;
    /// Exceptions with `try_table` and `exnref`.
    exceptions: EXCEPTIONS = true;
    /// Exceptions with `try` and `catch`.
    legacy_exceptions: LEGACY_EXCEPTIONS = true;
    /// Typed function references.
    function_references: FUNCTION_REFERENCES = true;
    /// Structures, arrays, casts, recursive types.
    gc: GC = false;
    /// Memory pages of one byte.
    custom_page_sizes: CUSTOM_PAGE_SIZES = false;
    /// Sums, differences and products of 128 bits.
    wide_arithmetic: WIDE_ARITHMETIC = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_switch_and_unknown_names_are_errors() {
        let mut f = Features::default();
        f.set("tail-call", false).unwrap();
        assert!(!f.to_wasmparser().contains(WasmFeatures::TAIL_CALL));
        let e = f.set("tail-calls", true).unwrap_err();
        assert!(e.to_string().contains("tail_call"), "{e}");
    }
}
