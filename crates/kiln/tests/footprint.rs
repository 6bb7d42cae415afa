//! What a function costs that is never called: modules of hundreds of thousands of functions exist.

use kiln::{Config, Engine, Instance, Module, Store, Tiering};

const FUNCS: u32 = 400_000;

/// A module of functions that call their predecessor, as small as functions of real programs' tails are.
fn module() -> Vec<u8> {
    fn leb(mut value: u32, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    fn section(id: u8, content: &[u8], out: &mut Vec<u8>) {
        out.push(id);
        leb(u32::try_from(content.len()).unwrap(), out);
        out.extend_from_slice(content);
    }
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    // One type: [i32] -> [i32].
    section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f], &mut out);
    let mut decls = Vec::new();
    leb(FUNCS, &mut decls);
    decls.resize(decls.len() + FUNCS as usize, 0);
    section(3, &decls, &mut out);
    section(7, &[1, 1, b'f', 0, 0], &mut out);
    let mut code = Vec::new();
    leb(FUNCS, &mut code);
    for func in 0..FUNCS {
        // local.get 0; call func - 1; i32.const 1; i32.add; end; without locals.
        let mut body = vec![0, 0x20, 0, 0x10];
        leb(func.saturating_sub(1), &mut body);
        body.extend([0x41, 1, 0x6a, 0x0b]);
        leb(u32::try_from(body.len()).unwrap(), &mut code);
        code.extend(body);
    }
    section(10, &code, &mut out);
    out
}

/// Bytes of this process's memory that no file is behind.
#[cfg(target_os = "linux")]
fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).expect("since Linux 4.5");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib << 10
}

#[test]
#[cfg(target_os = "linux")]
fn a_function_that_is_not_called_costs_64_bytes() {
    // What is counted is beside the bytes of the module, of which each module keeps a copy.
    let bytes = module();
    let copy = bytes.len() as u64;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    drop(bytes);
    for tiering in [Tiering::Lazy, Tiering::Dynamic] {
        let engine = Engine::new(Config::new().tiering(tiering).compilation_threads(1)).unwrap();
        // What an engine needs once is not counted.
        let small = Module::new(&engine, "(module (func (export \"f\")))").unwrap();
        Instance::new(&mut Store::new(&engine, ()), &small, &[]).unwrap();

        let before = private_bytes();
        let module = Module::from_file(&engine, file.path()).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let cost = private_bytes().saturating_sub(before + copy) / u64::from(FUNCS);
        println!("{tiering:?}: {cost} bytes a function");
        assert!(cost <= 64, "{tiering:?}: a function costs {cost} bytes");
        assert!(instance.get_func(&mut store, "f").is_some());
    }
}
