//! What errors say about where they happened.

use anyhow::Result;
use kiln::*;

fn engines() -> [Engine; 3] {
    [Tiering::Eager, Tiering::Lazy, Tiering::Dynamic]
        .map(|tiering| Engine::new(Config::new().tiering(tiering)).unwrap())
}

#[test]
fn a_trap_names_its_frames() -> Result<()> {
    for engine in engines() {
        let wat = r#"(module $m
            (func $inner (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
            (func $_ZN5outer4callEi (param i32) (result i32) (call $inner (local.get 0)))
            (func (export "run") (param i32) (result i32) (call $_ZN5outer4callEi (local.get 0))))"#;
        let module = Module::new(&engine, wat)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
        assert_eq!(run.call(&mut store, 1)?, 1);
        let error = run.call(&mut store, 0).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero));
        let text = format!("{error:?}");
        let expected = "\
error while executing
wasm backtrace:
    0: 0x28 - m!inner
    1: 0x2e - m!outer::call(int)
    2: 0x35 - m!<wasm function 2>

Caused by:
    wasm trap: integer divide by zero";
        // RUST_BACKTRACE may add a backtrace of the host behind it.
        assert!(text.starts_with(expected), "{text}");
        let frames = error.downcast_ref::<WasmBacktrace>().unwrap().frames();
        let of = |i: usize| {
            (frames[i].func_index(), frames[i].func_name(), frames[i].module_offset(), frames[i].func_offset())
        };
        assert_eq!(of(0), (0, Some("inner"), Some(0x28), Some(5)));
        assert_eq!(of(2), (2, None, Some(0x35), Some(3)));
        assert_eq!(frames[0].module_name(), Some("m"));
        assert!(frames[0].symbols().is_empty());
    }
    Ok(())
}

#[test]
fn errors_of_the_host_and_of_nested_calls_have_the_frames_of_all() -> Result<()> {
    for engine in engines() {
        let wat = r#"(module $m
            (import "host" "f" (func $f (param i32)))
            (func $deep (export "deep") (param i32) (call $f (i32.sub (local.get 0) (i32.const 1)))))"#;
        let module = Module::new(&engine, wat)?;
        let mut linker = Linker::<()>::new(&engine);
        let f = |mut caller: Caller<'_, ()>, n: i32| -> Result<()> {
            if n == 0 {
                assert_eq!(WasmBacktrace::capture(&caller).frames().len(), 3);
                anyhow::bail!("enough");
            }
            let deep = caller.get_export("deep").unwrap().into_func().unwrap();
            deep.call(&mut caller, &[Val::I32(n)], &mut [])
        };
        linker.func_wrap("host", "f", f)?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        let deep = instance.get_typed_func::<i32, ()>(&mut store, "deep")?;
        let error = deep.call(&mut store, 3).unwrap_err();
        let text = format!("{error:?}");
        let frame = "0x33 - m!deep\n";
        assert!(text.starts_with(&format!(
            "error while executing\nwasm backtrace:\n    0: {frame}    1: {frame}    2: {frame}\nCaused by:\n    enough"
        )), "{text}");
        assert_eq!(WasmBacktrace::capture(&store).frames().len(), 0);
    }
    Ok(())
}

#[test]
fn deep_recursion_is_cut_off() -> Result<()> {
    for engine in engines() {
        let module = Module::new(&engine, "(module (func $f (export \"f\") (call $f) (nop) (call $f)))")?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
        let error = f.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
        let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
        assert!(backtrace.is_truncated() && backtrace.frames().len() == 128);
        assert!(backtrace.frames().iter().all(|f| f.func_name() == Some("f")));
        assert!(backtrace.to_string().ends_with("\n      … older frames left out"));

        let module = r#"(module
            (table 1 funcref) (elem (i32.const 0) $f) (type $t (func (param i32)))
            (func $f (export "f") (type $t)
                (if (i32.eqz (local.get 0)) (then unreachable))
                (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))"#;
        let instance = Instance::new(&mut store, &Module::new(&engine, module)?, &[])?;
        let f = instance.get_typed_func::<i32, ()>(&mut store, "f")?;
        // The dynamic engine's frames are of both tiers then, and what is called indirectly gets inlined.
        for (depth, frames) in [(126, 127), (127, 128), (128, 128), (5_000, 128), (126, 127), (127, 128), (128, 128)] {
            let error = f.call(&mut store, depth).unwrap_err();
            let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
            assert_eq!(backtrace.frames().len(), frames);
            assert_eq!(backtrace.is_truncated(), depth > 127);
        }
    }
    Ok(())
}

/// `sections`: custom sections to put behind the module.
fn with_sections(wat: &str, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut wasm = wat::parse_str(wat).unwrap();
    let leb = |mut n: usize| {
        let mut bytes = Vec::new();
        loop {
            let byte = (n & 0x7f) as u8;
            n >>= 7;
            if n == 0 {
                bytes.push(byte);
                return bytes;
            }
            bytes.push(byte | 0x80);
        }
    };
    for (name, contents) in sections {
        let mut section = leb(name.len());
        section.extend(name.as_bytes());
        section.extend(*contents);
        wasm.push(0);
        wasm.extend(leb(section.len()));
        wasm.extend(section);
    }
    wasm
}

fn trap_text(wasm: &[u8]) -> Result<String> {
    let engine = Engine::default();
    let module = Module::new(&engine, wasm)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    Ok(run.call(&mut store, ()).unwrap_err().to_string())
}

#[test]
fn source_maps_inside_the_module_are_read() -> Result<()> {
    let wat = "(module $m (func $run (export \"run\") unreachable))";
    // The function's body begins at 0x1f: column 31 is `+B`.
    let url = "data:application/json,{\"version\":3,\"sources\":[\"run.ts\"],\"mappings\":\"8BAOE\"}";
    let mut section = vec![url.len() as u8];
    section.extend(url.as_bytes());
    let text = trap_text(&with_sections(wat, &[("sourceMappingURL", &section)]))?;
    assert_eq!(text, "error while executing\nwasm backtrace:\n    0: 0x20 - m!run\n                    at run.ts:8:3");
    Ok(())
}

#[test]
fn damaged_debug_information_is_left_out() -> Result<()> {
    let wat = "(module $m (func $run (export \"run\") unreachable))";
    let garbage: Vec<u8> = (0..200u32).map(|i| ((i * 7919) >> 3) as u8).collect();
    let plain = trap_text(&with_sections(wat, &[]))?;
    for name in [".debug_info", "name", "sourceMappingURL"] {
        let sections = [(name, &garbage[..]), (".debug_line", &garbage), (".debug_abbrev", &garbage)];
        let text = trap_text(&with_sections(wat, &sections))?;
        assert_eq!(text, plain, "{name}");
    }
    Ok(())
}

/// DWARF for a module whose first function's body begins at 2 in the code section and traps at 4: `main` in `outer.cpp`,
/// and there a call in line 20 of `crash`, line 3 of `inner.h`, inlined.
fn dwarf() -> Vec<(&'static str, Vec<u8>)> {
    use gimli::write::{Address, AttributeValue, Dwarf, EndianVec, LineProgram, LineString, Sections, Unit};
    use gimli::{Encoding, Format, LineEncoding, LittleEndian};

    let encoding = Encoding { format: Format::Dwarf32, version: 4, address_size: 4 };
    let text = |s: &str| LineString::String(s.as_bytes().to_vec());
    let mut lines = LineProgram::new(encoding, LineEncoding::default(), text("/src"), None, text("outer.cpp"), None);
    let folder = lines.default_directory();
    let outer = lines.add_file(text("outer.cpp"), folder, None);
    let inner = lines.add_file(text("inner.h"), folder, None);
    lines.begin_sequence(Some(Address::Constant(0)));
    for (address, file, line, column) in [(1, outer, 19, 1), (4, inner, 3, 7), (5, outer, 21, 0)] {
        let row = lines.row();
        (row.address_offset, row.file, row.line, row.column) = (address, file, line, column);
        lines.generate_row();
    }
    lines.end_sequence(8);

    let mut dwarf = Dwarf::new();
    let id = dwarf.units.add(Unit::new(encoding, lines));
    let unit = dwarf.units.get_mut(id);
    let root = unit.root();
    let name = |s: &str| AttributeValue::String(s.as_bytes().to_vec());
    let range = |entry: &mut gimli::write::DebuggingInformationEntry, low: u64, len: u64| {
        entry.set(gimli::DW_AT_low_pc, AttributeValue::Address(Address::Constant(low)));
        entry.set(gimli::DW_AT_high_pc, AttributeValue::Udata(len));
    };
    let entry = unit.get_mut(root);
    entry.set(gimli::DW_AT_name, name("outer.cpp"));
    entry.set(gimli::DW_AT_comp_dir, name("/src"));
    entry.set(gimli::DW_AT_language, AttributeValue::Language(gimli::DW_LANG_C_plus_plus));
    range(entry, 1, 7);
    let crash = unit.add(root, gimli::DW_TAG_subprogram);
    unit.get_mut(crash).set(gimli::DW_AT_linkage_name, name("_ZN2ns5crashEi"));
    unit.get_mut(crash).set(gimli::DW_AT_inline, AttributeValue::Inline(gimli::DW_INL_inlined));
    let main = unit.add(root, gimli::DW_TAG_subprogram);
    unit.get_mut(main).set(gimli::DW_AT_name, name("main"));
    range(unit.get_mut(main), 1, 7);
    let call = unit.add(main, gimli::DW_TAG_inlined_subroutine);
    let entry = unit.get_mut(call);
    entry.set(gimli::DW_AT_abstract_origin, AttributeValue::UnitRef(crash));
    entry.set(gimli::DW_AT_call_file, AttributeValue::FileIndex(Some(outer)));
    entry.set(gimli::DW_AT_call_line, AttributeValue::Udata(20));
    entry.set(gimli::DW_AT_call_column, AttributeValue::Udata(5));
    range(entry, 4, 1);

    let mut sections = Sections::new(EndianVec::new(LittleEndian));
    dwarf.write(&mut sections).unwrap();
    let mut all = Vec::new();
    sections
        .for_each(|id, data| -> gimli::write::Result<()> {
            if !data.slice().is_empty() {
                all.push((id.name(), data.slice().to_vec()));
            }
            Ok(())
        })
        .unwrap();
    all
}

#[test]
fn dwarf_gives_source_lines_and_inlined_functions() -> Result<()> {
    let wat = "(module $m (func $run (export \"run\") nop unreachable))";
    let sections = dwarf();
    let sections: Vec<(&str, &[u8])> = sections.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    let wasm = with_sections(wat, &sections);
    let expected = "\
error while executing
wasm backtrace:
    0: 0x21 - m!ns::crash(int)
                    at /src/inner.h:3:7
              - main
                    at /src/outer.cpp:20:5";
    assert_eq!(trap_text(&wasm)?, expected);
    // Damage to any one byte must not do more than change the text.
    let start = wasm.len() - sections.iter().map(|(name, bytes)| bytes.len() + name.len() + 8).sum::<usize>();
    for at in (start..wasm.len()).step_by(3) {
        let mut damaged = wasm.clone();
        damaged[at] ^= 0x55;
        let _ = trap_text(&damaged);
    }
    Ok(())
}

#[test]
fn a_load_that_is_part_of_another_instruction_traps_at_its_own_place() -> Result<()> {
    // Each function's only load may become the memory operand of what uses it.
    let bodies = [
        "(i32.add (local.get 1) (i32.load (local.get 0)))",
        "(i32.xor (i32.load offset=4 (local.get 0)) (local.get 1))",
        "(i32.store (local.get 0) (i32.add (i32.load (local.get 0)) (local.get 1))) (i32.const 0)",
        "(if (result i32) (i32.lt_u (local.get 1) (i32.load (local.get 0))) (then (i32.const 1)) (else (i32.const 2)))",
        "(select (local.get 0) (local.get 1) (i32.eq (i32.load (local.get 0)) (i32.const 5)))",
        "(i32.wrap_i64 (i64.add (i64.extend_i32_s (i32.load (local.get 0))) (i64.const 7)))",
        "(i32.mul (local.get 1) (i32.popcnt (i32.load (local.get 0))))",
        "(i32.trunc_sat_f32_s (f32.mul (f32.convert_i32_s (local.get 1)) (f32.load (local.get 0))))",
        "(i32x4.extract_lane 1 (i32x4.add (i32x4.splat (local.get 1)) (v128.load (local.get 0))))",
    ];
    for level in [OptLevel::Speed, OptLevel::None] {
        for tiering in [Tiering::Eager, Tiering::Dynamic] {
            let mut config = Config::new();
            config.tiering(tiering).tier_up(TierUp::AtOnce).cranelift_opt_level(level);
            let engine = Engine::new(&config)?;
            for body in bodies {
                let wat = format!("(module (memory 1) (func (export \"f\") (param i32 i32) (result i32) {body}))");
                let wasm = wat::parse_str(&wat)?;
                // Opcode, alignment and offset of the load.
                let is_load = |w: &[u8]| matches!(w, [0x28, 2, 0 | 4, _] | [0x2a, 2, 0, _] | [0xfd, 0, 4, 0]);
                let at = wasm.windows(4).rposition(is_load).expect("there is a load");
                let module = Module::new(&engine, &wasm)?;
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[])?;
                let f = instance.get_typed_func::<(i32, i32), i32>(&mut store, "f")?;
                for _ in 0..2 {
                    f.call(&mut store, (8, 3))?;
                    let error = f.call(&mut store, (65_535, 3)).unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds), "{body}");
                    let frames = error.downcast_ref::<WasmBacktrace>().expect("frames").frames();
                    assert_eq!(frames[0].module_offset(), Some(at), "{body}, {tiering:?}, {level:?}");
                }
            }
        }
    }
    Ok(())
}
