//! When one type may stand for another, and what a provided import must be. Types here are engine-numbered.

use std::fmt;

use kiln_env::types::{GlobalType, HeapType, Limits, MemoryType, RefType, TableType, ValType};

use super::registry::{TypeId, TypeRegistry};
use super::{EnvDisplay, ExternKind};

/// Why a provided import does not fit. Its message names both types.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

fn mismatch(expected: impl fmt::Display, found: impl fmt::Display) -> Mismatch {
    Mismatch(format!("expected type `{expected}`, found type `{found}`"))
}

/// The error for an import of another kind: `expected memory, found function`.
pub(crate) fn kind_mismatch(expected: ExternKind, found: ExternKind) -> Mismatch {
    Mismatch(format!("expected {expected}, found {found}"))
}

/// Whether every value of heap type `sub` is one of `sup`.
pub(crate) fn heap_matches(registry: &TypeRegistry, sub: HeapType, sup: HeapType) -> bool {
    match (sub, sup) {
        (HeapType::Concrete(_, a), HeapType::Concrete(_, b)) => {
            registry.is_subtype(TypeId::from_u32(a.0), TypeId::from_u32(b.0))
        }
        (sub, sup) => sub.is_below_abstract(sup),
    }
}

/// Whether every value of reference type `sub` is one of `sup`.
pub(crate) fn ref_matches(registry: &TypeRegistry, sub: RefType, sup: RefType) -> bool {
    (!sub.nullable || sup.nullable) && heap_matches(registry, sub.heap, sup.heap)
}

/// Whether every value of type `sub` is one of `sup`.
pub(crate) fn val_matches(registry: &TypeRegistry, sub: ValType, sup: ValType) -> bool {
    match (sub, sup) {
        (ValType::Ref(a), ValType::Ref(b)) => ref_matches(registry, a, b),
        (a, b) => a == b,
    }
}

/// Whether a memory or table of `found` limits, now of size `size`, may be imported as `expected`.
fn limits_match(expected: &Limits, found: &Limits, size: u64) -> bool {
    let max = match (expected.max, found.max) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wanted), Some(has)) => has <= wanted,
    };
    expected.is_64 == found.is_64 && size >= expected.min && max
}

/// Checks a function given for an import.
pub(crate) fn check_func(registry: &TypeRegistry, expected: TypeId, found: TypeId) -> Result<(), Mismatch> {
    if registry.is_subtype(found, expected) { Ok(()) } else { Err(numbered_mismatch(registry, expected, found)) }
}

/// Checks a tag given for an import.
pub(crate) fn check_tag(registry: &TypeRegistry, expected: TypeId, found: TypeId) -> Result<(), Mismatch> {
    if expected == found { Ok(()) } else { Err(numbered_mismatch(registry, expected, found)) }
}

fn numbered_mismatch(registry: &TypeRegistry, expected: TypeId, found: TypeId) -> Mismatch {
    mismatch(EnvDisplay(registry, expected), EnvDisplay(registry, found))
}

/// Checks a table, now of `size` elements, given for an import.
pub(crate) fn check_table(
    registry: &TypeRegistry,
    expected: &TableType,
    found: &TableType,
    size: u64,
) -> Result<(), Mismatch> {
    if expected.element == found.element && limits_match(&expected.limits, &found.limits, size) {
        return Ok(());
    }
    let now = TableType { limits: Limits { min: size, ..found.limits }, ..*found };
    Err(mismatch(EnvDisplay(registry, *expected), EnvDisplay(registry, now)))
}

/// Checks a memory, now of `size` pages, given for an import.
pub(crate) fn check_memory(expected: &MemoryType, found: &MemoryType, size: u64) -> Result<(), Mismatch> {
    if expected.shared == found.shared
        && expected.page_size_log2 == found.page_size_log2
        && limits_match(&expected.limits, &found.limits, size)
    {
        return Ok(());
    }
    let now = MemoryType { limits: Limits { min: size, ..found.limits }, ..*found };
    Err(mismatch(super::MemoryType::from_env(*expected), super::MemoryType::from_env(now)))
}

/// Checks a global given for an import.
pub(crate) fn check_global(registry: &TypeRegistry, expected: &GlobalType, found: &GlobalType) -> Result<(), Mismatch> {
    let fits = expected.mutable == found.mutable
        && if expected.mutable {
            expected.content == found.content
        } else {
            val_matches(registry, found.content, expected.content)
        };
    if fits { Ok(()) } else { Err(mismatch(EnvDisplay(registry, *expected), EnvDisplay(registry, *found))) }
}

#[cfg(test)]
mod tests {
    use kiln_env::types::{CompositeKind, FuncType};

    use super::*;

    fn limits(min: u64, max: Option<u64>) -> Limits {
        Limits { min, max, is_64: false }
    }

    #[test]
    fn limits_of_tables_and_memories() {
        let registry = TypeRegistry::default();
        // expected, found, size now, fits
        let cases = [
            (limits(1, None), limits(1, None), 1, true),
            (limits(2, None), limits(1, None), 1, false),
            (limits(2, None), limits(1, None), 2, true),
            (limits(1, Some(2)), limits(1, None), 1, false),
            (limits(1, Some(2)), limits(1, Some(2)), 1, true),
            (limits(1, Some(2)), limits(1, Some(3)), 1, false),
            (limits(1, Some(3)), limits(1, Some(2)), 1, true),
            (limits(0, None), limits(1, Some(1)), 1, true),
            (Limits { is_64: true, ..limits(1, None) }, limits(1, None), 1, false),
        ];
        for (expected, found, size, fits) in cases {
            let table = |limits| TableType { element: RefType::FUNCREF, limits };
            let memory = |limits| MemoryType { limits, shared: false, page_size_log2: 16 };
            assert_eq!(check_table(&registry, &table(expected), &table(found), size).is_ok(), fits);
            assert_eq!(check_memory(&memory(expected), &memory(found), size).is_ok(), fits, "{expected:?} {found:?}");
        }
        let plain = MemoryType { limits: limits(1, Some(1)), shared: false, page_size_log2: 16 };
        let shared = MemoryType { shared: true, ..plain };
        let bytes = MemoryType { page_size_log2: 0, ..plain };
        assert!(check_memory(&plain, &shared, 1).is_err() && check_memory(&shared, &plain, 1).is_err());
        assert_eq!(
            check_memory(&plain, &bytes, 1).unwrap_err().to_string(),
            "expected type `(memory 1 1)`, found type `(memory 1 1 (pagesize 1))`"
        );
    }

    #[test]
    fn globals_tables_and_functions() {
        let registry = TypeRegistry::default();
        let signature = |params: &[ValType]| FuncType { params: params.into(), results: [].into() };
        let f = registry.register_func(signature(&[])).unwrap();
        let g = registry.register_func(signature(&[ValType::I32])).unwrap();
        let concrete =
            ValType::Ref(RefType { nullable: true, heap: HeapType::Concrete(CompositeKind::Func, f.id().as_index()) });
        let non_null = ValType::Ref(RefType { nullable: false, heap: HeapType::Func });
        let null = ValType::Ref(RefType { nullable: true, heap: HeapType::NoFunc });
        // found, expected: as immutable globals, as mutable ones.
        let cases = [
            (ValType::I32, ValType::I32, true, true),
            (ValType::I32, ValType::I64, false, false),
            (concrete, ValType::FUNCREF, true, false),
            (non_null, ValType::FUNCREF, true, false),
            (ValType::FUNCREF, non_null, false, false),
            (null, concrete, true, false),
            (ValType::EXTERNREF, ValType::FUNCREF, false, false),
            (ValType::EXNREF, ValType::EXNREF, true, true),
        ];
        for (found, expected, immutable, mutable) in cases {
            let fits = |mutable: bool, other: bool| {
                let expected = GlobalType { content: expected, mutable };
                check_global(&registry, &expected, &GlobalType { content: found, mutable: other }).is_ok()
            };
            assert_eq!(fits(false, false), immutable, "{found} as {expected}");
            assert_eq!(fits(true, true), mutable, "{found} as mut {expected}");
            assert!(!fits(true, false) && !fits(false, true));
        }
        let table = |t| TableType { element: t, limits: limits(0, None) };
        let ValType::Ref(element) = concrete else { unreachable!() };
        assert!(check_table(&registry, &table(RefType::FUNCREF), &table(element), 0).is_err());
        assert!(check_func(&registry, f.id(), f.id()).is_ok());
        assert_eq!(
            check_func(&registry, f.id(), g.id()).unwrap_err().to_string(),
            "expected type `(func)`, found type `(func (param i32))`"
        );
        assert!(check_tag(&registry, g.id(), f.id()).is_err());
        assert_eq!(kind_mismatch(ExternKind::Memory, ExternKind::Func).to_string(), "expected memory, found function");
    }
}
