//! Which proposals the scripts of the official suite expect: they lie in folders by version and by proposal.

use std::path::Path;

use kiln_compiler::Features;

/// What came after WebAssembly 2.0: scripts of that time call invalid what came later.
const AFTER_2: [&str; 10] = [
    "relaxed_simd",
    "extended_const",
    "multi_memory",
    "memory64",
    "threads",
    "tail_call",
    "exceptions",
    "legacy_exceptions",
    "function_references",
    "gc",
];
/// What came between WebAssembly 1.0 and 2.0.
const AFTER_1: [&str; 7] = [
    "mutable_global",
    "saturating_float_to_int",
    "sign_extension",
    "multi_value",
    "reference_types",
    "bulk_memory",
    "simd",
];
/// Proposals that are part of version 2.0, whose scripts know nothing later.
const OF_VERSION_2: [&str; 5] =
    ["multi-value", "mutable-global", "nontrapping-float-to-int-conversions", "reference-types", "sign-extension-ops"];

/// The proposals that a script expects to be on, by the folders on its path: WebAssembly 3.0 with threads, unless the script is
/// older than some of it, or of a proposal that came later.
///
/// ```
/// use kiln_testkit::suite::features;
///
/// let is_on = |path: &str, name: &str| features(path.as_ref()).iter().any(|(n, on)| n == name && on);
/// assert!(is_on("proposals/custom-page-sizes/memory.wast", "custom_page_sizes"));
/// assert!(!is_on("memory.wast", "custom_page_sizes"));
/// assert!(is_on("memory.wast", "multi_memory") && !is_on("proposals/threads/memory.wast", "multi_memory"));
/// ```
#[must_use]
pub fn features(script: &Path) -> Features {
    let folders = script.parent().into_iter().flat_map(Path::components);
    let mut features = Features::default();
    of_folder("wasm-v3", &mut features);
    for folder in folders.filter_map(|c| c.as_os_str().to_str()) {
        of_folder(folder, &mut features);
    }
    features
}

fn of_folder(folder: &str, features: &mut Features) {
    let mut switch = |names: &[&str], on: bool| {
        // The names are those of proposals: a test says so.
        names.iter().for_each(|name| _ = features.set(name, on));
    };
    match folder {
        "wasm-v1" => {
            switch(&AFTER_1, false);
            switch(&AFTER_2, false);
        }
        "wasm-v2" => switch(&AFTER_2, false),
        "wasm-v3" => switch(&["gc"], true),
        name if OF_VERSION_2.contains(&name) => switch(&AFTER_2, false),
        // They know one memory only.
        "memory64" | "function-references" => switch(&["multi_memory"], false),
        "threads" => {
            switch(&AFTER_2, false);
            switch(&["reference_types"], false);
            switch(&["threads"], true);
        }
        "custom-page-sizes" | "wide-arithmetic" => switch(&[folder], true),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_proposals() {
        for name in AFTER_1.iter().chain(&AFTER_2).chain(&["gc", "threads", "custom_page_sizes", "wide_arithmetic"]) {
            Features::default().set(name, false).unwrap();
        }
    }
}
