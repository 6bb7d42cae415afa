//! Whether an error is the trap or the exception that a script expects.

use anyhow::{Error, Result, bail};
use kiln::{Store, ThrownException, Trap};

/// Whether the error is an exception that nothing caught.
pub(super) fn is_exception(error: &Error) -> bool {
    error.is::<ThrownException>()
}

/// Takes the exception that an assertion was about out of the store.
pub(super) fn forget_exception(store: &mut Store<()>) {
    _ = store.take_pending_exception();
}

/// Whether the error is a trap.
pub(super) fn is_trap(error: &Error) -> bool {
    error.is::<Trap>()
}

/// Compares a trap with the message of an assertion, as the official harness does: one must begin with the other.
pub(super) fn compare(error: &Error, expected: &str) -> Result<()> {
    let Some(trap) = error.downcast_ref::<Trap>() else {
        bail!("expected the trap {expected:?}, but failed otherwise: {error:#}");
    };
    let text = trap.to_string();
    let got = text.strip_prefix("wasm trap: ").unwrap_or(&text);
    if same(got, expected) {
        return Ok(());
    }
    bail!("trapped with {got:?}, expected {expected:?}")
}

fn same(got: &str, expected: &str) -> bool {
    // The suite names the kind of the null reference where the specification has one trap.
    let null = |s: &str| s.starts_with("null ") && s.ends_with("reference");
    expected.starts_with(got) || got.starts_with(expected) || (null(got) && null(expected))
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn messages() {
        assert!(same("uninitialized element", "uninitialized element 2"));
        assert!(same("out of bounds memory access", "out of bounds"));
        assert!(same("null reference", "null function reference"));
        assert!(!same("unreachable", "integer overflow"));
    }
}
