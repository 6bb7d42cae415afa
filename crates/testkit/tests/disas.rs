//! Golden files: see `kiln_testkit::golden`. `KILN_BLESS=1` rewrites them, `KILN_FILTER` picks those whose name contains it.

use std::path::Path;

use kiln_testkit::golden::{self, Outcome};

#[test]
fn disas() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/disas");
    let filter = std::env::var("KILN_FILTER").unwrap_or_default();
    let bless = std::env::var_os("KILN_BLESS").is_some_and(|v| v != "0");
    let mut files = golden::files(&dir).unwrap();
    files.retain(|f| f.to_string_lossy().contains(&filter));
    assert!(!files.is_empty(), "no golden file in {} contains {filter:?}", dir.display());
    let mut failures = Vec::new();
    for path in &files {
        match golden::check(path) {
            Ok(Outcome::Same) => {}
            Ok(Outcome::Skipped) => println!("{}: skipped, needs --features all-arch", path.display()),
            Ok(Outcome::Changed(mismatch)) if bless => {
                mismatch.bless().unwrap();
                println!("{}: blessed", path.display());
            }
            Ok(Outcome::Changed(mismatch)) => failures.push(mismatch.to_string()),
            Err(error) => failures.push(format!("{error:#}\n")),
        }
    }
    assert!(failures.is_empty(), "{} of {} golden files:\n{}", failures.len(), files.len(), failures.join("\n"));
}
