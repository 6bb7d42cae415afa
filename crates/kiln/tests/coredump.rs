//! Wasm core dumps.

use anyhow::Result;
use kiln::*;
use wasmparser::{Parser, Payload};

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
                (global.set $g (i64.const 77))
                (call $deep)))"#,
    )?;
    let user = Module::new(
        &engine,
        r#"(module $user (import "m" "memory" (memory 1)) (global externref (ref.null extern)))"#,
    )?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let memory = instance.get_export(&mut store, "memory").unwrap();
    Instance::new(&mut store, &user, &[memory])?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    let error = run.call(&mut store, ()).unwrap_err();
    let dump = error.downcast_ref::<WasmBacktrace>().unwrap().core_dump(&mut store, "crasher.wasm");

    let mut seen = Vec::new();
    for payload in Parser::new(0).parse_all(&dump) {
        match payload? {
            Payload::CustomSection(section) => match section.as_known() {
                wasmparser::KnownCustom::CoreDump(core) => seen.push(format!("core {}", core.name)),
                wasmparser::KnownCustom::CoreDumpModules(modules) => {
                    seen.push(format!("modules {:?}", modules.modules))
                }
                wasmparser::KnownCustom::CoreDumpInstances(instances) => {
                    for i in instances.instances {
                        seen.push(format!("instance {} {:?} {:?}", i.module_index, i.memories, i.globals));
                    }
                }
                wasmparser::KnownCustom::CoreDumpStack(stack) => {
                    for frame in stack.frames {
                        seen.push(format!("frame {} {} {}", frame.instanceidx, frame.funcidx, frame.codeoffset));
                    }
                }
                _ => panic!("unknown section {}", section.name()),
            },
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory?;
                    seen.push(format!("memory {} {:?}", memory.initial, memory.maximum));
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    let global = global?;
                    let init = global.init_expr.get_operators_reader().read()?;
                    seen.push(format!("global {:?} {init:?}", global.ty.content_type));
                }
            }
            Payload::DataSection(data) => {
                for segment in data {
                    let segment = segment?;
                    seen.push(format!("data {} bytes, {:x?}", segment.data.len(), &segment.data[70000 % 4096..][..4]));
                }
            }
            _ => {}
        }
    }
    let expected = [
        "core crasher.wasm",
        "modules [\"crasher\", \"user\"]",
        "instance 0 [0] [0]",
        "instance 1 [0] [1]",
        "frame 0 0 1",
        "frame 0 1 18",
        "memory 3 Some(10)",
        "global I64 I64Const { value: 77 }",
        "global Ref(externref) RefNull { hty: Abstract { shared: false, ty: Extern } }",
        "data 4096 bytes, [4, 3, 2, 1]",
    ];
    assert_eq!(seen, expected);
    Ok(())
}
