//! Objects of the guest.

/// A structure, an array, or a number of 31 bits: a value of the hierarchy of `any`. It is in the heap of a store and is
/// used through [`Rooted<AnyRef>`](super::Rooted).
#[derive(Debug)]
pub struct AnyRef {
    _none: std::convert::Infallible,
}
