//! Errors say what, where, and in which function.

use kiln_compiler::{Compiler, CompilerConfig, ErrorKind, Features};
use kiln_env::{FuncIndex, FuncKey, TypeIndex};

use crate::{compiler, validate, wasm};

#[test]
fn invalid_bodies_carry_index_name_and_offset() {
    let bytes = wasm("(module (func $fine) (func $broken (result i32) i64.const 1) (func (result i32) f32.const 0))");
    let error = validate(&compiler(), &bytes).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!((error.func(), error.func_name()), (Some(FuncIndex(1)), Some("broken")));
    assert!(error.offset().is_some_and(|o| o < bytes.len() as u64));
    let message = error.to_string();
    assert!(message.starts_with("function 1 (broken): ") && message.contains("at offset 0x"), "{message}");
}

#[test]
fn the_first_invalid_function_is_reported_for_any_number_of_threads() {
    let mut text = String::from("(module\n");
    for i in 0..40_000 {
        let value = if i % 7_000 == 6_999 { "i64.const 1" } else { "i32.const 1" };
        text.push_str(&format!("(func (result i32) {value})\n"));
    }
    let bytes = wasm(&(text + ")"));
    for threads in [1, 2, 5] {
        let compiler = Compiler::new(&CompilerConfig { threads, ..CompilerConfig::default() }).unwrap();
        let error = validate(&compiler, &bytes).map(|_| ()).unwrap_err();
        assert_eq!(error.func(), Some(FuncIndex(6_999)), "{threads} threads");
    }
}

/// Lists of functions are read without the validator; what is wrong with one is said in its words, at its place.
#[test]
fn element_segments_are_valid_or_wrong_at_a_place() {
    let functions = |elems: &str, body: &str| {
        format!("(module (table 4 funcref) (table $e 1 externref) (func) (func {body}) (func) (func) {elems})")
    };
    let referenced = "(drop (ref.func 2))";
    let valid = [
        ("(elem declare func 2)", referenced),
        ("(elem func 3 2)", referenced),
        ("(elem (i32.const 0) func 0 1 2 3)", referenced),
        ("(elem (table 0) (i32.const 1) func 2 2)", referenced),
        ("(elem (table 0) (i32.const 1) funcref (ref.func 2) (ref.null func))", referenced),
        ("(elem func 0) (elem (i32.const 1) func) (elem declare funcref (ref.func 2))", referenced),
        ("(elem func 3) (elem func)", "(table.init 0 0 (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop 1)"),
    ];
    for (elems, body) in valid {
        let text = functions(elems, body);
        validate(&compiler(), &wasm(&text)).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    let invalid = [
        ("(elem func 3 1 0)", referenced),
        ("(elem declare func 0) (elem (i32.const 1) funcref (ref.func 3))", referenced),
        ("(elem func 0 1) (elem declare func 2 4 1)", ""),
        ("(elem func 0 4294967295)", ""),
        ("(elem (table $e) (i32.const 0) func 0)", ""),
        ("(elem (table 2) (i32.const 0) func 0)", ""),
        ("(elem (i64.const 0) func 0)", ""),
        ("(elem func 3)", "(elem.drop 1)"),
    ];
    for (elems, body) in invalid {
        let bytes = wasm(&functions(elems, body));
        let error = validate(&compiler(), &bytes).map(|_| ()).expect_err(elems);
        let expected = wasmparser::Validator::new().validate_all(&bytes).map(|_| ()).expect_err(elems);
        assert_eq!(error.offset(), Some(expected.offset()), "{elems}: {error}");
        assert!(error.to_string().contains(expected.message()), "{elems}: {error}, not {expected}");
    }
}

#[test]
fn names_come_from_exports_and_imports_too() {
    let bytes = wasm("(module (func (export \"exported\") (result i32)))");
    let error = validate(&compiler(), &bytes).map(|_| ()).unwrap_err();
    assert_eq!(error.func_name(), Some("exported"));
    let bytes = wasm("(module (import \"a\" \"b\" (func)))");
    let module = validate(&compiler(), &bytes).unwrap();
    let name = kiln_compiler::names::func_name(module.module(), &bytes, FuncIndex(0));
    assert_eq!(name.as_deref(), Some("a.b"));
}

#[test]
fn what_is_no_module_is_refused() {
    let compiler = compiler();
    for bytes in [&b""[..], b"\0asm", b"not wasm at all", b"\0asm\x02\0\0\0", b"\0asm\x01\0\0\0\x01\xff"] {
        assert_eq!(compiler.parse(bytes).map(|_| ()).unwrap_err().kind(), ErrorKind::Invalid, "{bytes:?}");
    }
    let component = wasm("(component)");
    let error = compiler.parse(&component).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("component"), "{error}");
}

#[test]
fn every_truncation_is_an_error_or_a_module() {
    let compiler = compiler();
    let bytes = crate::varied_module(3);
    for len in 0..bytes.len() {
        if let Ok(module) = validate(&compiler, &bytes[..len]) {
            // Cut off between sections: then there is no body without its bytes.
            assert!(module.module().bodies.values().all(|b| b.end <= len as u32));
        }
    }
}

#[test]
fn disabled_proposals_are_refused_by_name() {
    let mut features = Features::default();
    features.set("simd", false).unwrap();
    let compiler = Compiler::new(&CompilerConfig { features, ..CompilerConfig::default() }).unwrap();
    let bytes = wasm("(module (func (result v128) (v128.const i64x2 0 0)))");
    let error = validate(&compiler, &bytes).map(|_| ()).unwrap_err();
    assert!(error.to_string().to_lowercase().contains("simd"), "{error}");
}

#[test]
fn gc_types_are_refused() {
    let bytes = wasm("(module (type (struct (field i32))))");
    assert!(validate(&compiler(), &bytes).is_err());
}

#[test]
fn another_source_is_an_error() {
    let compiler = compiler();
    let bytes = crate::varied_module(3);
    let module = validate(&compiler, &bytes).unwrap();
    let error = compiler.compile_module(&module, &bytes[..20], &|_| {}).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let parsed = compiler.parse(&bytes).unwrap();
    assert!(compiler.validate(parsed, &bytes[..20]).is_err());
}

#[test]
fn unknown_keys_are_errors() {
    let compiler = compiler();
    let bytes = crate::varied_module(3);
    let module = validate(&compiler, &bytes).unwrap();
    for key in [FuncKey::Wasm(kiln_env::DefinedFuncIndex(3)), FuncKey::ArrayToWasm(TypeIndex(99))] {
        assert_eq!(compiler.compile_function(&module, &bytes, key).unwrap_err().kind(), ErrorKind::Config);
    }
}
