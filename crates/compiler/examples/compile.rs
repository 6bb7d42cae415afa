//! Compiles a wasm file and prints what that cost: `compile [-j THREADS] [-t TARGET] [-O0] [--validate] FILE`.

use std::time::Instant;

use kiln_compiler::{Compiler, CompilerConfig};
use kiln_env::settings::OptLevel;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = CompilerConfig::default();
    let mut file = None;
    let mut only_validate = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-j" => config.threads = args.next().ok_or("-j THREADS")?.parse()?,
            "-t" => config.target = args.next(),
            "-O0" => config.opt_level = OptLevel::None,
            "-R1" => config.regalloc = kiln_env::settings::RegallocAlgorithm::SinglePass,
            "--validate" => only_validate = true,
            _ => file = Some(arg),
        }
    }
    let source = std::fs::read(file.ok_or("no file")?)?;
    let compiler = Compiler::new(&config)?;
    let start = Instant::now();
    let parsed = compiler.parse(&source)?;
    let module = compiler.validate(parsed, &source)?;
    let (parse, validate) = module.times();
    let infos = module.infos();
    println!(
        "parse {parse:?}, validate {validate:?}; {} functions, {} bytes each",
        infos.len(),
        infos.memory_size() / infos.len().max(1)
    );
    if !only_validate {
        let (image, stats) = compiler.compile_module(&module, &source, &|_| {})?;
        println!("{stats:#?}\ntext {} bytes; whole time {:?}", image.text.len(), start.elapsed());
    }
    if let Some(peak) = std::fs::read_to_string("/proc/self/status")?.lines().find(|l| l.starts_with("VmHWM")) {
        println!("{peak}");
    }
    Ok(())
}
