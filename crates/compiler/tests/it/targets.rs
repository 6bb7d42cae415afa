//! All targets compile; what they cannot do is said.

use kiln_compiler::{Compiler, CompilerConfig};
use kiln_env::settings::{OptLevel, RegallocAlgorithm};

use crate::{validate, varied_module};

const TARGETS: &[&str] = if cfg!(feature = "all-arch") {
    &["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu", "s390x-unknown-linux-gnu"]
} else if cfg!(target_arch = "x86_64") {
    &["x86_64-unknown-linux-gnu"]
} else {
    &[]
};

#[test]
fn every_target_and_optimisation_level_compiles() {
    let wasm = varied_module(5);
    for target in TARGETS {
        for (opt_level, regalloc) in [
            (OptLevel::None, RegallocAlgorithm::SinglePass),
            (OptLevel::Speed, RegallocAlgorithm::Backtracking),
            (OptLevel::SpeedAndSize, RegallocAlgorithm::Backtracking),
        ] {
            let target = Some(target.to_string());
            let config = CompilerConfig { target, opt_level, regalloc, verify: true, ..CompilerConfig::default() };
            let compiler = Compiler::new(&config).unwrap();
            let module = validate(&compiler, &wasm).unwrap();
            let (image, _) = compiler.compile_module(&module, &wasm, &|_| {}).unwrap();
            for func in &image.funcs {
                assert!(func.len > 0);
                assert!(func.tables.unwind.is_sorted_by_key(|op| op.offset));
                assert!(func.tables.traps.is_sorted_by_key(|t| t.offset));
                assert!(func.tables.addresses.is_sorted_by_key(|a| a.offset));
            }
        }
    }
}

#[test]
#[cfg(feature = "all-arch")]
fn riscv_without_vectors_refuses_vectors() {
    let config = CompilerConfig { target: Some("riscv64gc-unknown-linux-gnu".into()), ..CompilerConfig::default() };
    let compiler = Compiler::new(&config).unwrap();
    assert!(!compiler.features().simd);
    let wasm = crate::wasm("(module (func (result v128) (v128.const i64x2 0 0)))");
    assert!(validate(&compiler, &wasm).is_err());
}

#[test]
#[cfg(feature = "all-arch")]
fn errors_of_code_generation_carry_the_ir() {
    // Validated with vectors, compiled for a target without them.
    let wasm = crate::wasm("(module (func $vectors (param v128) (result v128) (i8x16.neg (local.get 0))))");
    let module = validate(&crate::compiler(), &wasm).unwrap();
    let config = CompilerConfig {
        target: Some("riscv64gc-unknown-linux-gnu".into()),
        verify: false,
        threads: 1,
        ..CompilerConfig::default()
    };
    let error = Compiler::new(&config).unwrap().compile_module(&module, &wasm, &|_| {}).map(|_| ()).unwrap_err();
    assert_eq!(error.func_name(), Some("vectors"));
    assert!(error.clif().unwrap().to_string().contains("ineg"), "{error}");
    let whole = format!("{error:#}");
    assert!(whole.contains("riscv64") && whole.contains("function u0:0"), "{whole}");
}
