//! scratch
use kiln_compiler::{Compiler, CompilerConfig};
use kiln_env::*;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a: Vec<String> = std::env::args().collect();
    let source = std::fs::read(&a[1])?;
    let compiler = Compiler::new(&CompilerConfig::default())?;
    let module = compiler.validate(compiler.parse(&source)?, &source)?;
    let n: u32 = a[2].parse()?;
    let f = compiler.compile_function(&module, &source, FuncKey::Wasm(DefinedFuncIndex(n)))?;
    std::fs::write("/tmp/c2x/f.bin", &f.code)?;
    for r in &f.relocs {
        println!("reloc {:#x} {}", r.offset, r.target);
    }
    for r in &f.tables.traps {
        println!("trap {:#x} {:?}", r.offset, r.code);
    }
    Ok(())
}
