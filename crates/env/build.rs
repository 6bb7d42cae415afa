//! Hashes the sources that decide about generated code, so that code made by one build is not taken for code of another
//! that has the same version number. The compilers' are among them, although a build without compiler has none: it runs
//! what others compiled.

use std::path::Path;

fn main() {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for dir in ["src", "../compiler/src", "../baseline/src"] {
        println!("cargo::rerun-if-changed={dir}");
        hash_dir(Path::new(dir), &mut hash);
    }
    println!("cargo::rustc-env=KILN_BUILD={hash:016x}");
}

/// Adds the Rust files below `dir` to the hash (FNV-1a), in order of their names. A missing folder adds nothing.
fn hash_dir(dir: &Path, hash: &mut u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            hash_dir(&path, hash);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read(&path).unwrap_or_default();
            for byte in path.to_string_lossy().bytes().chain(text) {
                *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }
}
