//! Makes the libraries of stencils, verified, in the form in which they are used.

use std::fmt::Write as _;
use std::path::PathBuf;

use kiln_compiler::stencils::{Level, library};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut list = String::from("pub(crate) static LEVELS: &[Level] = &[\n");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        for level in Level::ALL {
            let made = library(level, 1).unwrap_or_else(|e| panic!("stencils for {}: {e}", level.name()));
            let path = out.join(format!("{}.bin", level.name()));
            std::fs::write(&path, &made.bytes).expect("OUT_DIR can be written");
            let flags = level.flags().unwrap_or_else(|e| panic!("{}: {e}", level.name()));
            writeln!(list, "Level {{ name: {:?}, flags: &{flags:?}, bytes: include_bytes!({path:?}) }},", level.name())
                .expect("strings can be written to");
        }
    }
    list.push_str("];\n");
    std::fs::write(out.join("levels.rs"), list).expect("OUT_DIR can be written");
}
