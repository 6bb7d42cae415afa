//! The example `untrusted` holds each of its limits, however functions are compiled.

#[path = "../examples/untrusted.rs"]
mod untrusted;

use kiln::Tiering;
use untrusted::{HOSTILE, Sandbox};

#[test]
fn every_hostile_guest_ends_as_it_should() {
    for tiering in [Tiering::Dynamic, Tiering::Lazy, Tiering::Eager] {
        let sandbox = Sandbox::new(tiering).unwrap();
        for hostile in HOSTILE {
            if let Err(error) = hostile.run(&sandbox) {
                panic!("{tiering:?}: {error}");
            }
            // The next guest finds the sandbox as it was.
            let next = r#"(module (memory 16) (func (export "run") (result i32) (i32.const 7)))"#;
            assert_eq!(sandbox.run(next.as_bytes()).unwrap(), 7, "{tiering:?}, after {}", hostile.name);
        }
    }
}

#[test]
fn a_large_module_is_not_even_read() {
    let sandbox = Sandbox::new(Tiering::Eager).unwrap();
    let error = sandbox.run(&vec![0; (1 << 20) + 1]).unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
}

/// A few kilobytes that stand for millions of operands: what a function may take to compile is bounded by those.
#[test]
fn a_small_module_that_is_much_work_to_compile_gets_no_more_than_the_limit() {
    let results = "i32 ".repeat(1_000);
    let zeros = "(i32.const 0) ".repeat(1_000);
    let calls = "(call $many) ".repeat(5_000);
    let bomb = format!(
        r#"(module (func $many (result {results}) {zeros}) (func (export "run") (result i32) {calls} (return)))"#
    );
    for tiering in [Tiering::Dynamic, Tiering::Lazy, Tiering::Eager] {
        let sandbox = Sandbox::new(tiering).unwrap();
        let error = format!("{:#}", sandbox.run(bomb.as_bytes()).unwrap_err());
        assert!(error.contains("operands of one function"), "{tiering:?}: {error}");
        assert_eq!(sandbox.run(br#"(module (func (export "run") (result i32) (i32.const 7)))"#).unwrap(), 7);
    }
}
