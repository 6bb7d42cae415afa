//! The baseline compiler by itself. What its code does is tested by running it, in every mode of the test kit.

use kiln_baseline::{Baseline, Body, Error, Facts};
use kiln_compiler::{Compiler, CompilerConfig};
use kiln_env::{DefinedFuncIndex, MachineFunc, TrapCode, Tunables};

fn compile(wat: &str) -> Result<MachineFunc, Error> {
    let config = CompilerConfig::default();
    let compiler = Compiler::new(&config).unwrap();
    let wasm = wat::parse_str(wat).unwrap();
    let validated = compiler.validate(compiler.parse(&wasm).unwrap(), &wasm).unwrap();
    let module = validated.module();
    let facts = Facts { module, layout: validated.layout(), tunables: &config.tunables, counters: true };
    let range = &module.bodies[DefinedFuncIndex(0)];
    let info = validated.infos().get(DefinedFuncIndex(0));
    let weights: Vec<(u32, u64)> = info.local_weights().map(|w| (w.local, w.weight)).collect();
    let bytes = &wasm[range.start as usize..range.end as usize];
    let body = Body { func: DefinedFuncIndex(0), bytes, weights: &weights, catches: info.catches() };
    let baseline = Baseline::new(&compiler.fingerprint().flags, &config.tunables).expect("tests run on x86-64");
    let code = baseline.compile(&facts, &body)?;
    assert_eq!(baseline.compile(&facts, &body)?, code, "the same again");
    Ok(code)
}

#[test]
fn targets_without_stencils() {
    let flags = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<Vec<_>>();
    assert!(Baseline::new(&flags(&[]), &Tunables::default()).is_none());
    let compiler = Compiler::new(&CompilerConfig::default()).unwrap();
    let host = &compiler.fingerprint().flags;
    assert!(Baseline::new(host, &Tunables { signals: false, ..Tunables::default() }).is_none());
    let mut other = host.clone();
    other.iter_mut().filter(|(n, _)| n == "enable_nan_canonicalization").for_each(|(_, v)| *v = "true".into());
    assert!(Baseline::new(&other, &Tunables::default()).is_none());
    let v2 = Compiler::new(&CompilerConfig {
        target: Some("x86_64-unknown-linux-gnu".into()),
        flags: flags(&[("x86-64-v2", "true")]),
        ..CompilerConfig::default()
    });
    let level = Baseline::new(&v2.unwrap().fingerprint().flags, &Tunables::default()).map(|b| b.level());
    assert_eq!(level, Some("x86-64-v2"));
}

#[test]
fn tables_ascend_and_name_what_is_called() {
    let code = compile(
        "(module (memory 1) (func (param i32) (result i32)
            (loop (drop (memory.grow (local.get 0))) (br_if 0 (i32.div_u (i32.const 7) (local.get 0))))
            (call 0 (i32.load (local.get 0)))))",
    )
    .unwrap();
    assert!(code.relocs.is_sorted_by_key(|r| r.offset) && code.tables.traps.is_sorted_by_key(|t| t.offset));
    assert!(code.tables.addresses.is_sorted_by_key(|a| a.offset));
    let names: Vec<String> = code.relocs.iter().map(|r| r.target.to_string()).collect();
    for name in ["builtin[memory_grow]", "builtin[tier_up]", "builtin[osr]", "wasm[0]"] {
        assert!(names.iter().any(|n| n == name), "{name} is not among {names:?}");
    }
}

#[test]
fn references_are_found_at_calls() {
    let code = compile(
        "(module (import \"\" \"f\" (func $f (param externref)))
            (func (param externref i32) (call $f (local.get 0)) (call $f (ref.null extern))))",
    )
    .unwrap();
    assert!(code.tables.stack_maps.iter().all(|m| m.slots == [0] && m.fp_to_sp.is_multiple_of(16)));
    assert!(code.tables.stack_maps.len() >= 2);
}

#[test]
fn atomic_accesses_have_any_offset() {
    for (index, offset) in [("i32", 1), ("i32", 6), ("i32", u64::from(u32::MAX)), ("i64", u64::MAX - 3)] {
        let wat = format!(
            "(module (memory {index} 1) (func (param {index}) (result i64)
                (i64.atomic.rmw32.add_u offset={offset} (local.get 0) (i64.const 3))))"
        );
        let traps = compile(&wat).unwrap().tables.traps;
        let aligned = traps.iter().any(|t| t.code == TrapCode::HeapMisaligned);
        let bounds = traps.iter().any(|t| t.code == TrapCode::MemoryOutOfBounds);
        assert!(aligned && bounds, "offset {offset}: {traps:?}");
    }
}
