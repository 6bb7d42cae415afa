//! One function in Cranelift's intermediate representation.

use cranelift_codegen::ir::Function;
use kiln_env::FuncKey;
use kiln_env::machine::InlinedBody;

/// A translated function: what the mid-end changes and code generation takes. There is one for each [`FuncKey`].
///
/// What the translator promises:
/// * `func.name` is free for its use; references to other functions are `UserExternalName`s packed by
///   [`FuncKey::pack`], `colocated`.
/// * A `SourceLoc` is a location as in [`kiln_env::machine::AddressEntry`]: the wasm offset counted from the first byte of
///   the function's body, or of an inlined body added to its `start`; the default location (`NO_WASM_OFFSET`) stands for
///   no operator.
/// * Trap codes come from [`crate::codegen::trap_code`].
/// * Tags of exception tables are `TagIndex`es.
/// * `func.stack_limit` is set if the function makes calls ([`crate::codegen::set_stack_limit`]).
pub struct FuncIr {
    /// Which function.
    pub key: FuncKey,
    /// Its body.
    pub func: Function,
    /// The bodies of other functions that were inlined, by ascending `start`: the code depends on these as well.
    pub inlined: Vec<InlinedBody>,
    /// Wasm offsets of the calls that have a record of their targets, by position of the record; in the first tier only.
    pub sites: Vec<u32>,
    /// What symbols in the function stand for, if numbers were taken out of it: see `midend/numbers.rs`.
    pub numbers: Vec<u32>,
}
