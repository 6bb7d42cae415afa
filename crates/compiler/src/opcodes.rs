//! `wasmparser`'s operators in the table of operators.

use kiln_env::Op;
use wasmparser::Operator;

/// One arm of the match: proposals that are not in the table first.
macro_rules! arm {
    (@custom_descriptors $op:ident) => {
        None
    };
    (@memory_control $op:ident) => {
        None
    };
    (@shared_everything_threads $op:ident) => {
        None
    };
    (@stack_switching $op:ident) => {
        None
    };
    (@acquire_release_atomics $op:ident) => {
        None
    };
    // `select` with a number of types that no valid module has.
    (@reference_types TypedSelectMulti) => {
        Some(Op::TypedSelect)
    };
    (@$proposal:ident $op:ident) => {
        Some(Op::$op)
    };
}

macro_rules! define_op_of {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        /// An operator without its immediates; `None` if it belongs to a proposal that the table has nothing of. An
        /// operator of any other proposal that the table does not have is an error of the Rust compiler.
        pub(crate) fn op_of(op: &Operator<'_>) -> Option<Op> {
            match op {
                $(Operator::$op { .. } => arm!(@$proposal $op),)*
                _ => None,
            }
        }
    };
}

wasmparser::for_each_operator!(define_op_of);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kiln_env::opcode::{Class, sample};
    use wasmparser::{Parser, Payload, Validator, WasmFeatures};

    use super::*;
    use crate::{Compiler, CompilerConfig};

    /// The operators of a module's only function, with the bytes from each on.
    fn operators(module: &[u8]) -> Vec<(Operator<'_>, &[u8])> {
        let body = Parser::new(0).parse_all(module).find_map(|payload| match payload {
            Ok(Payload::CodeSectionEntry(body)) => Some(body),
            _ => None,
        });
        let reader = body.unwrap().get_operators_reader().unwrap();
        reader.into_iter_with_offsets().map(|op| op.unwrap()).map(|(op, at)| (op, &module[at as usize..])).collect()
    }

    fn samples() -> impl Iterator<Item = (Op, Vec<u8>)> {
        Op::ALL.into_iter().map(|op| {
            let text = sample(op).unwrap_or_else(|| panic!("{op:?} has no sample"));
            (op, wat::parse_str(&text).unwrap_or_else(|e| panic!("{op:?}: {e}")))
        })
    }

    /// Names, encodings and types are those of `wasmparser`: each operator's sample, which is made from them, is valid and
    /// has the operator in it.
    #[test]
    fn the_table_agrees_with_wasmparser() {
        let mut found = BTreeSet::new();
        for (op, module) in samples() {
            let mut validator = Validator::new_with_features(WasmFeatures::all());
            validator.validate_all(&module).unwrap_or_else(|e| panic!("{op:?}: {e}"));
            let mut opcode = Vec::new();
            op.encode(&mut opcode);
            let operators = operators(&module);
            let (_, bytes) = operators
                .iter()
                .find(|(operator, _)| op_of(operator) == Some(op))
                .unwrap_or_else(|| panic!("{op:?} is called {:?}", op.name()));
            assert!(bytes.starts_with(&opcode), "{op:?} is {:02x?}", &bytes[..2]);
            assert_eq!(Op::decode(bytes), Some(op));
            found.insert(op);
        }
        assert_eq!(found.len(), Op::COUNT);
    }

    /// What `wasmparser` says about numbers of operands and results, the types in the table say, too.
    #[test]
    fn numbers_of_operands_and_results_are_those_of_wasmparser() {
        macro_rules! arity {
            (arity custom) => {
                None
            };
            (arity memarg $n:tt -> $m:tt) => {
                Some(($n, $m))
            };
            (arity $n:tt -> $m:tt) => {
                Some(($n, $m))
            };
        }
        macro_rules! list {
            ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
                [$((arm!(@$proposal $op), arity!($($ann)*))),*]
            };
        }
        let all = wasmparser::for_each_operator!(list);
        for (op, arity) in all {
            let Some((op, arity)): Option<(Op, (usize, usize))> = op.zip(arity) else { continue };
            if let Some(types) = op.signature() {
                assert_eq!((types.params.len(), types.results.len()), arity, "{op:?}");
            }
        }
    }

    /// Whether no tier compiles it yet. Everything else must compile.
    fn is_refused(op: Op) -> bool {
        op.class() == Class::Aggregate
    }

    #[test]
    fn every_operator_is_compiled_or_refused() {
        let mut config = CompilerConfig { threads: 1, ..CompilerConfig::default() };
        config.features.legacy_exceptions = true;
        config.features.wide_arithmetic = true;
        let compiler = Compiler::new(&config).unwrap();
        for (op, module) in samples() {
            let compiled = compiler
                .parse(&module)
                .and_then(|parsed| compiler.validate(parsed, &module))
                .and_then(|validated| compiler.compile_module(&validated, &module, &|_| {}));
            match compiled {
                Ok(_) => assert!(!is_refused(op), "{op:?} compiles: it is no longer one that no tier knows"),
                Err(e) => assert!(is_refused(op), "{op:?}: {e}"),
            }
        }
    }
}
