//! Same input, same output: for any number of threads, in any order.

use std::sync::atomic::{AtomicU64, Ordering};

use kiln_compiler::{Compiler, CompilerConfig, LinkOptions, TrampolineKind};
use kiln_env::types::{FuncType, ValType};
use kiln_env::{DefinedFuncIndex, FuncKey, Image, MachineFunc, TypeIndex};

use crate::{compiler, validate, varied_module};

fn image(threads: usize, wasm: &[u8]) -> Image {
    let compiler = Compiler::new(&CompilerConfig { threads, ..CompilerConfig::default() }).unwrap();
    let module = validate(&compiler, wasm).unwrap();
    compiler.compile_module(&module, wasm, &|_| {}).unwrap().0
}

#[test]
fn images_do_not_depend_on_threads() {
    let wasm = varied_module(60);
    let one = image(1, &wasm);
    assert!(one.funcs.is_sorted_by_key(|f| f.key));
    for threads in [2, 3, 8] {
        assert!(image(threads, &wasm) == one, "{threads} threads");
    }
}

#[test]
fn functions_do_not_depend_on_order_or_on_what_was_compiled_before() {
    let wasm = varied_module(20);
    let reused = compiler();
    let module = validate(&reused, &wasm).unwrap();
    let compile = |compiler: &Compiler, i| -> MachineFunc {
        compiler.compile_function(&module, &wasm, FuncKey::Wasm(DefinedFuncIndex(i))).unwrap()
    };
    let fresh: Vec<_> = (0..20).map(|i| compile(&compiler(), i)).collect();
    for round in 0..3 {
        for n in 0..20 {
            let i = (n * 7 + round * 3) % 20;
            assert!(compile(&reused, i) == fresh[i as usize], "function {i} in round {round}");
        }
    }
    // One code shape: in an image it differs only where references are resolved.
    let (image, _) = reused.compile_module(&module, &wasm, &|_| {}).unwrap();
    for (placed, func) in image.funcs.iter().zip(&fresh) {
        let mut code = image.text[placed.start as usize..][..placed.len as usize].to_vec();
        for reloc in &func.relocs {
            let at = reloc.offset as usize;
            code[at..at + 4].copy_from_slice(&func.code[at..at + 4]);
        }
        assert!(code == func.code && placed.tables == func.tables);
    }
}

#[test]
fn trampolines_for_signatures_equal_those_of_modules() {
    let wasm = crate::wasm("(module (import \"m\" \"f\" (func (param i32 f64) (result i64))) (export \"g\" (func 0)))");
    let compiler = compiler();
    let module = validate(&compiler, &wasm).unwrap();
    let ty = FuncType { params: [ValType::I32, ValType::F64].into(), results: [ValType::I64].into() };
    for (kind, key) in [
        (TrampolineKind::ArrayToWasm, FuncKey::ArrayToWasm(TypeIndex(0))),
        (TrampolineKind::WasmToHost, FuncKey::WasmToHost(TypeIndex(0))),
    ] {
        let of_module = compiler.compile_function(&module, &wasm, key).unwrap();
        assert!(compiler.compile_trampoline_for(&ty, kind).unwrap() == of_module, "{kind:?}");
    }
    assert_eq!(compiler.take_stats().trampolines, 4);
}

#[test]
fn link_options_keep_the_code() {
    let wasm = varied_module(10);
    let plain = image(2, &wasm);
    let link = LinkOptions { padding: 100, force_veneers: true };
    let compiler = Compiler::new(&CompilerConfig { link, ..CompilerConfig::default() }).unwrap();
    let module = validate(&compiler, &wasm).unwrap();
    let (spread, _) = compiler.compile_module(&module, &wasm, &|_| {}).unwrap();
    assert!(spread.text.len() > plain.text.len() + 100 * plain.funcs.len());
    for (a, b) in plain.funcs.iter().zip(&spread.funcs) {
        assert!(a.key == b.key && a.len == b.len && a.tables == b.tables);
    }
}

#[test]
fn progress_and_statistics_add_up() {
    let wasm = varied_module(30);
    let compiler = Compiler::new(&CompilerConfig { threads: 2, ..CompilerConfig::default() }).unwrap();
    let module = validate(&compiler, &wasm).unwrap();
    let last = AtomicU64::new(0);
    let progress = |p: kiln_compiler::Progress| {
        assert!(p.done <= p.total);
        last.fetch_max(p.done, Ordering::Relaxed);
    };
    let (image, stats) = compiler.compile_module(&module, &wasm, &progress).unwrap();
    assert_eq!((stats.functions, last.into_inner()), (30, stats.wasm_bytes));
    assert_eq!(stats.functions + stats.trampolines, image.funcs.len() as u64);
    assert!(stats.code_bytes <= image.text.len() as u64);
}
