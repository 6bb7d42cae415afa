//! Wasm core dumps. A dump is itself a module, so that the engine can read it back.

use anyhow::Result;
use kiln::*;

#[test]
fn a_core_dump_has_frames_instances_memories_and_globals() -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module $crasher
            (memory (export "memory") 3 10)
            (global $g (mut i64) (i64.const 5))
            (func $deep (unreachable))
            (func $run (export "run")
                (i32.store (i32.const 70000) (i32.const 0x01020304))
                (i32.store (i32.const 196604) (i32.const 0x0a0b0c0d))
                (global.set $g (i64.const 77))
                (call $deep)))"#,
    )?;
    let user = r#"(module $user (import "m" "memory" (memory 1)) (global externref (ref.null extern)))"#;
    let user = Module::new(&engine, user)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let memory = instance.get_export(&mut store, "memory").unwrap();
    Instance::new(&mut store, &user, &[memory])?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    let error = run.call(&mut store, ()).unwrap_err();
    let dump = error.downcast_ref::<WasmBacktrace>().unwrap().core_dump(&mut store, "crasher.wasm");

    let read_back = Module::new(&engine, &dump)?;
    let section = |name: &'static str| read_back.custom_sections(name).collect::<Vec<_>>().concat();
    assert_eq!(section("core"), b"\0\x0ccrasher.wasm");
    assert_eq!(section("coremodules"), b"\x02\0\x07crasher\0\x04user");
    // Two instances: of module 0 with memory 0 and global 0, of module 1 with memory 0 and global 1.
    assert_eq!(section("coreinstances"), b"\x02\0\x00\x01\x00\x01\x00\0\x01\x01\x00\x01\x01");
    // Two frames, without locals and operands: instance 0, functions 0 and 1, at 1 and 31.
    assert_eq!(section("corestack"), b"\0\x04main\x02\0\x00\x00\x01\0\0\0\x00\x01\x1f\0\0");

    // What the memories and globals held, by a copy of the dump that exports them.
    let mut with_exports = dump.clone();
    let data = find_section(&dump, 11);
    with_exports.splice(data..data, *b"\x07\x0d\x03\x01m\x02\0\x01g\x03\0\x01r\x03\x01");
    let copy = Instance::new(&mut store, &Module::new(&engine, with_exports)?, &[])?;
    let memory = copy.get_memory(&mut store, "m").unwrap();
    assert_eq!((memory.size(&store), memory.ty(&store).maximum()), (3, Some(10)));
    assert_eq!(memory.data(&store)[70000..70004], [4, 3, 2, 1]);
    assert_eq!(memory.data(&store)[196604..], [0xd, 0xc, 0xb, 0xa]);
    assert_eq!(memory.data(&store).iter().filter(|b| **b != 0).count(), 8);
    let mut global = |name| copy.get_global(&mut store, name).unwrap().get(&mut store);
    assert_eq!(global("g").unwrap_i64(), 77);
    assert!(global("r").unwrap_externref().is_none());
    Ok(())
}

/// Where the section with this id begins.
fn find_section(wasm: &[u8], id: u8) -> usize {
    let mut at = 8;
    while wasm[at] != id {
        let (mut size, mut shift, mut next) = (0, 0, at + 1);
        loop {
            size |= usize::from(wasm[next] & 0x7f) << shift;
            shift += 7;
            next += 1;
            if wasm[next - 1] & 0x80 == 0 {
                break;
            }
        }
        at = next + size;
    }
    at
}
