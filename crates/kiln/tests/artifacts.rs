//! Artifacts: what is in them, what is refused, and what happens when their files change.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;
use kiln::*;
use kiln_env::artifact;
use tempfile::TempDir;

/// Functions, a memory, a table, a passive and a dynamic segment, an exception: something for every part of the format.
const SMALL: &str = r#"
    (module $small
        (import "host" "base" (global $base i32))
        (import "host" "call" (func $call (param i32)))
        (tag $oops (param i32))
        (memory (export "memory") 2)
        (data (i32.const 16) "static")
        (data (i32.const 70000) "far")
        (data $passive "passive")
        (data (global.get $base) "dynamic")
        (table (export "table") 4 funcref)
        (elem (i32.const 1) $double $div)
        (func $double (export "double") (param i32) (result i32) (i32.add (local.get 0) (local.get 0)))
        (func $div (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
        (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
        (func (export "init") (memory.init $passive (i32.const 100) (i32.const 0) (i32.const 7)))
        (func (export "indirect") (param i32 i32) (result i32)
            (call_indirect (param i32) (result i32) (local.get 1) (local.get 0)))
        (func $throw (param i32) (throw $oops (local.get 0)))
        (func (export "catch") (param i32) (result i32)
            (block $caught (result i32)
                (try_table (catch $oops $caught) (call $throw (local.get 0)))
                (i32.const -1)))
        (func (export "host") (param i32) (call $call (local.get 0))))
"#;

fn compile(engine: &Engine, options: &ArtifactOptions) -> Vec<u8> {
    engine.precompile_module(SMALL.as_bytes(), options).unwrap()
}

/// Loads bytes as a user does: from a file.
fn load(engine: &Engine, bytes: &[u8]) -> Result<Module> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    Module::deserialize_file(engine, file.path())
}

fn instance(module: &Module) -> Result<(Store<Vec<i32>>, Instance)> {
    let mut store = Store::new(module.engine(), Vec::new());
    let mut linker = Linker::new(module.engine());
    linker.func_wrap("host", "call", |mut caller: Caller<'_, Vec<i32>>, n: i32| caller.data_mut().push(n))?;
    let base = Global::new(&mut store, GlobalType::new(ValType::I32, Mutability::Const), Val::I32(40))?;
    linker.define(&store, "host", "base", base)?;
    let instance = linker.instantiate(&mut store, module)?;
    Ok((store, instance))
}

/// Uses every part of the small module.
fn exercise(module: &Module) -> Result<()> {
    let (mut store, instance) = instance(module)?;
    let call = |store: &mut Store<Vec<i32>>, name: &str, arg: i32| -> Result<i32> {
        instance.get_typed_func::<i32, i32>(&mut *store, name)?.call(store, arg)
    };
    assert_eq!(call(&mut store, "double", 21)?, 42);
    assert_eq!(call(&mut store, "catch", 7)?, 7);
    for (address, byte) in [(16, b's'), (70002, b'r'), (40, b'd'), (100, 0)] {
        assert_eq!(call(&mut store, "load", address)?, i32::from(byte), "{address}");
    }
    instance.get_typed_func::<(), ()>(&mut store, "init")?.call(&mut store, ())?;
    assert_eq!(call(&mut store, "load", 101)?, i32::from(b'a'));
    let indirect = instance.get_typed_func::<(i32, i32), i32>(&mut store, "indirect")?;
    assert_eq!(indirect.call(&mut store, (1, 8))?, 16);
    let error = indirect.call(&mut store, (2, 8)).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::BadSignature));
    assert_eq!(indirect.call(&mut store, (3, 8)).unwrap_err().downcast_ref(), Some(&Trap::IndirectCallToNull));
    let div = instance.get_typed_func::<(i32, i32), i32>(&mut store, "div")?;
    let error = div.call(&mut store, (1, 0)).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero));
    let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
    assert_eq!(backtrace.frames()[0].func_name(), Some("div"));
    assert!(backtrace.frames()[0].module_offset().is_some());
    instance.get_typed_func::<i32, ()>(&mut store, "host")?.call(&mut store, 5)?;
    assert_eq!(store.data(), &[5]);
    Ok(())
}

#[test]
fn modules_from_artifacts_do_what_they_do() {
    let engine = Engine::default();
    for embed in [true, false] {
        let bytes = compile(&engine, ArtifactOptions::new().embed_wasm(embed));
        let module = load(&engine, &bytes).unwrap();
        exercise(&module).unwrap();
        assert_eq!(module.name(), Some("small"));
        assert_eq!(module.serialize().unwrap(), bytes);
        assert_eq!(module.custom_sections("name").count(), 1);
    }
    let compiled = Module::new(&engine, SMALL).unwrap();
    assert_eq!(compiled.serialize().unwrap(), compile(&engine, &ArtifactOptions::new()));
    let lazy = Engine::new(Config::new().tiering(Tiering::Lazy)).unwrap();
    assert_eq!(Module::new(&lazy, SMALL).unwrap().serialize().unwrap(), compile(&engine, &ArtifactOptions::new()));
}

#[test]
fn the_same_module_gives_the_same_bytes_whatever_the_threads() {
    let wat = many_functions(300);
    let one = Engine::new(Config::new().parallel_compilation(false)).unwrap();
    let expected = one.precompile_module(wat.as_bytes(), &ArtifactOptions::new()).unwrap();
    for _ in 0..3 {
        let made = Engine::default().precompile_module(wat.as_bytes(), &ArtifactOptions::new()).unwrap();
        assert!(made == expected, "artifacts differ");
    }
}

fn many_functions(count: usize) -> String {
    let mut wat = String::from("(module (memory (export \"memory\") 64)\n");
    for i in 0..count {
        wat += &format!(
            "(func (export \"f{i}\") (param i32) (result i32) (i32.store (local.get 0) (i32.const {i})) \
             (i32.add (i32.load offset=4 (local.get 0)) (i32.mul (local.get 0) (i32.const {}))))\n",
            i * 7 + 1
        );
        wat += &format!("(data (i32.const {}) \"{i:08}\")\n", i * 256);
    }
    wat + ")"
}

/// What checking the bytes says, as loading does it first of all.
fn refusal(bytes: &[u8]) -> Option<String> {
    let verify = || {
        let header = artifact::read_header(bytes)?;
        artifact::verify(bytes, &header)
    };
    verify().err().map(|e| e.to_string())
}

/// Where the signature is, which is checked where there is a key.
const SIGNATURE: std::ops::Range<usize> = 1024 + 64..1024 + 96;

#[test]
fn every_single_bit_that_is_flipped_is_noticed() {
    let engine = Engine::default();
    let mut bytes = compile(&engine, &ArtifactOptions::new());
    assert_eq!(refusal(&bytes), None);
    for bit in (0..bytes.len() * 8).filter(|bit| !SIGNATURE.contains(&(bit / 8))) {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let message = refusal(&bytes).unwrap_or_else(|| panic!("bit {bit} does not matter"));
        assert!(message.contains("artifact"), "{message}");
        if bit % 997 == 0 {
            assert!(load(&engine, &bytes).is_err(), "bit {bit} does not matter");
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    exercise(&load(&engine, &bytes).unwrap()).unwrap();
}

#[test]
fn bits_of_a_large_artifact_and_missing_bytes_are_noticed() {
    bits_of_a_large_artifact(200);
}

#[test]
#[ignore = "takes minutes; the same at full size"]
fn ten_thousand_bits_of_a_large_artifact_are_noticed() {
    bits_of_a_large_artifact(10_000);
}

/// Flips so many bits of an artifact, one at a time, chosen at random.
fn bits_of_a_large_artifact(flips: u32) {
    let engine = Engine::default();
    let mut bytes = engine.precompile_module(many_functions(1500).as_bytes(), &ArtifactOptions::new()).unwrap();
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..flips {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let bit = (random % (bytes.len() as u64 * 8)) as usize;
        if SIGNATURE.contains(&(bit / 8)) {
            continue;
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(refusal(&bytes).is_some(), "bit {bit} does not matter");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for len in (0..bytes.len()).step_by(10_007).chain([1023, 1024, 1100, 4096, bytes.len() - 1]) {
        assert!(refusal(&bytes[..len]).is_some(), "the first {len} bytes are enough");
    }
    let message = refusal(&bytes[..bytes.len() - 1]).unwrap();
    assert!(message.contains("truncated"), "{message}");
    bytes.push(0);
    assert!(refusal(&bytes).unwrap().contains("has grown"));
}

#[test]
fn mismatches_are_named() {
    let bytes = compile(&Engine::default(), &ArtifactOptions::new());
    let refused = |config: &Config| {
        let error = load(&Engine::new(config).unwrap(), &bytes).unwrap_err();
        assert!(error.is::<IncompatibleArtifact>(), "{error:#}");
        format!("{error:#}")
    };
    assert!(refused(Config::new().consume_fuel(true)).contains("fuel = false, but this engine has fuel = true"));
    assert!(refused(Config::new().epoch_interruption(true)).contains("epochs = false"));
    assert!(refused(Config::new().memory_guard_size(1 << 16)).contains("memory_guard"));
    assert!(refused(Config::new().signals_based_traps(false)).contains("signals = true"));
    let error = load(&Engine::default(), b"not at all").unwrap_err();
    assert!(format!("{error:#}").contains("not an artifact"), "{error:#}");
    let error = Module::deserialize_file(&Engine::default(), "/nowhere/at.all").unwrap_err();
    assert!(format!("{error:#}").contains("/nowhere/at.all"), "{error:#}");
    let folder = TempDir::new().unwrap();
    assert!(Module::deserialize_file(&Engine::default(), folder.path()).is_err());
}

/// An engine that notes in a folder what it has checked.
fn marking(records: &Path) -> Engine {
    let records = records.to_owned();
    let mut config = Config::new();
    config.artifact_verification(Verification::Marked { records }).artifacts_in_place(true);
    Engine::new(&config).unwrap()
}

fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(30));
}

#[test]
fn files_are_checked_once_and_again_when_they_have_changed() {
    let folder = TempDir::new().unwrap();
    let (records, path) = (folder.path().join("records"), folder.path().join("a.kiln"));
    let engine = marking(&records);
    let bytes = compile(&engine, &ArtifactOptions::new());
    fs::write(&path, &bytes).unwrap();
    let marks = || fs::read_dir(&records).map_or(0, Iterator::count);
    settle();
    exercise(&Module::deserialize_file(&engine, &path).unwrap()).unwrap();
    assert_eq!(marks(), 1);
    exercise(&Module::deserialize_file(&engine, &path).unwrap()).unwrap();

    // Every write is seen, wherever it is and although the length stays.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for at in [64, 2000, bytes.len() / 2, bytes.len() - 1] {
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        let error = Module::deserialize_file(&engine, &path).unwrap_err();
        assert!(format!("{error:#}").contains("damaged"), "{error:#}");
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
        exercise(&Module::deserialize_file(&engine, &path).unwrap()).unwrap();
    }

    // A record that others could have written counts for nothing, nor does one that makes no sense.
    settle();
    exercise(&Module::deserialize_file(&engine, &path).unwrap()).unwrap();
    for record in fs::read_dir(&records).unwrap() {
        fs::write(record.unwrap().path(), b"nonsense").unwrap();
    }
    exercise(&Module::deserialize_file(&engine, &path).unwrap()).unwrap();
}

#[test]
fn a_file_that_everybody_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let engine = Engine::default();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), compile(&engine, &ArtifactOptions::new())).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let error = Module::deserialize_file(&engine, file.path()).unwrap_err();
    assert!(error.is::<IncompatibleArtifact>() && format!("{error:#}").contains("everybody"), "{error:#}");
}

#[test]
fn a_file_that_is_truncated_while_it_is_mapped_is_an_error() {
    let folder = TempDir::new().unwrap();
    let engine = marking(&folder.path().join("records"));
    let bytes = engine.precompile_module(many_functions(1500).as_bytes(), &ArtifactOptions::new()).unwrap();
    let path = folder.path().join("a.kiln");
    for keep in [0, 4096, bytes.len() as u64 / 2] {
        fs::write(&path, &bytes).unwrap();
        let module = Module::deserialize_file(&engine, &path).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let first = instance.get_typed_func::<i32, i32>(&mut store, "f0").unwrap();
        assert_eq!(first.call(&mut store, 512).unwrap(), 512 + i32::from_le_bytes(*b"0002"));
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(keep).unwrap();
        let failed = (0..1500).any(|i| {
            let f = instance.get_typed_func::<i32, i32>(&mut store, &format!("f{i}")).unwrap();
            match f.call(&mut store, 256 * i) {
                Ok(_) => false,
                Err(error) => {
                    assert_eq!(error.downcast_ref(), Some(&Trap::FileTruncated), "{error:#}");
                    true
                }
            }
        });
        assert!(failed, "all was read before the file was truncated to {keep} bytes");
        // From then on nothing runs any more; the host may look, and sees what is left.
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert!(memory.data(&store).iter().map(|b| u64::from(*b)).sum::<u64>() < u64::MAX);
        assert_eq!(first.call(&mut store, 0).unwrap_err().downcast_ref(), Some(&Trap::FileTruncated));
        // Others are not affected.
        let other = Module::new(&engine, "(module (func (export \"f\") (result i32) i32.const 1))").unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &other, &[]).unwrap();
        let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
        assert_eq!(f.call(&mut store, ()).unwrap(), 1);
        assert!(Module::deserialize_file(&engine, &path).is_err());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_best_code_for_the_processor_is_chosen() {
    use object::{Object, ObjectSection};
    let engine = Engine::default();
    let bytes = compile(&engine, ArtifactOptions::new().cpus(["baseline", "v3"]));
    let file = object::File::parse(&*bytes).unwrap();
    let sections: Vec<_> = file.sections().filter_map(|s| Some(s.name().ok()?.to_owned())).collect();
    assert!(sections.iter().any(|n| n == ".text") && sections.iter().any(|n| n == ".text.v3"), "{sections:?}");
    exercise(&load(&engine, &bytes).unwrap()).unwrap();
    let error = engine.precompile_module(SMALL.as_bytes(), ArtifactOptions::new().cpus(["v9"])).unwrap_err();
    assert!(format!("{error:#}").contains("v9"), "{error:#}");
}

#[test]
fn native_tools_see_functions_by_name() {
    use object::{Object, ObjectSymbol};
    let bytes = compile(&Engine::default(), &ArtifactOptions::new());
    let file = object::File::parse(&*bytes).unwrap();
    let symbols: Vec<_> = file.symbols().filter_map(|s| Some((s.name().ok()?.to_owned(), s.size()))).collect();
    let double = symbols.iter().find(|(name, _)| name == "double").expect("a symbol");
    assert!(double.1 > 0);
}

#[test]
fn the_wasm_module_can_be_had_back() {
    let engine = Engine::default();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), compile(&engine, &ArtifactOptions::new())).unwrap();
    assert!(Module::is_artifact_file(file.path()));
    let bytes = fs::read(file.path()).unwrap();
    exercise(&Module::new(&engine, Module::embedded_wasm(&bytes).expect("it is there")).unwrap()).unwrap();
    let without = compile(&engine, ArtifactOptions::new().embed_wasm(false));
    assert_eq!(Module::embedded_wasm(&without), None);
    assert_eq!(Module::embedded_wasm(b"nothing"), None);
}
