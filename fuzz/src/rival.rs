//! wasmtime as the oracle.

use wasmtime as api;

include!("glue.rs");

type Error = api::Error;

/// An engine with the proposals that Kiln has.
pub fn engine() -> Result<api::Engine> {
    let mut config = api::Config::new();
    config
        .wasm_tail_call(true)
        .wasm_exceptions(true)
        .wasm_memory64(true)
        .wasm_multi_memory(true)
        .wasm_function_references(true)
        .wasm_gc(true)
        .wasm_threads(true)
        .wasm_relaxed_simd(true)
        .wasm_extended_const(true)
        .shared_memory(true)
        .cranelift_nan_canonicalization(false)
        .max_wasm_stack(512 << 10);
    api::Engine::new(&config).map_err(|e| anyhow!("{e:?}"))
}

fn prepare(_store: &mut api::Store<State>) {}

fn host_error() -> Error {
    api::Error::msg("host error")
}

/// How a failed instantiation or call compares.
fn outcome(error: &api::Error) -> Outcome {
    use api::Trap;
    if error.is::<api::ThrownException>() {
        return Outcome::Exception;
    }
    if error.is::<api::GcHeapOutOfMemory<()>>() {
        return Outcome::Unordered("object heap exhausted".into());
    }
    let Some(trap) = error.downcast_ref::<Trap>() else { return Outcome::Error(format!("{error:?}")) };
    let name = match trap {
        Trap::StackOverflow => return Outcome::Unordered("stack overflow".into()),
        Trap::AllocationTooLarge => return Outcome::Unordered(format!("{trap:?}")),
        Trap::MemoryOutOfBounds => "MemoryOutOfBounds",
        Trap::HeapMisaligned => "HeapMisaligned",
        Trap::TableOutOfBounds => "TableOutOfBounds",
        Trap::IndirectCallToNull => "UninitializedElement",
        Trap::BadSignature => "BadSignature",
        Trap::IntegerOverflow => "IntegerOverflow",
        Trap::IntegerDivisionByZero => "IntegerDivideByZero",
        Trap::BadConversionToInteger => "BadConversionToInteger",
        Trap::UnreachableCodeReached => "Unreachable",
        Trap::Interrupt => "Interrupt",
        Trap::OutOfFuel => "OutOfFuel",
        Trap::AtomicWaitNonSharedMemory => "AtomicWaitNonShared",
        Trap::NullReference => "NullReference",
        other => return Outcome::Trap(format!("{other:?}")),
    };
    Outcome::Trap(name.into())
}
