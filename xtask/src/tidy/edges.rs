//! Rules about the crates: who may depend on whom, and which crates forbid `unsafe`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Finding, Rule};

/// A crate of the workspace, as `cargo metadata` tells it.
#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    optional: bool,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// What each crate may depend on within the workspace, tests aside: DESIGN's edges.
const EDGES: [(&str, &[&str]); 11] = [
    ("kiln-env", &[]),
    ("kiln-compiler", &["kiln-env"]),
    ("kiln-baseline", &["kiln-env", "kiln-compiler"]),
    ("kiln", &["kiln-env", "kiln-compiler", "kiln-baseline"]),
    ("kiln-verify", &["kiln-env"]),
    ("kiln-cache", &["kiln-env", "kiln"]),
    ("kiln-component", &["kiln", "kiln-env"]),
    ("kiln-wasi", &["kiln", "kiln-component"]),
    ("kiln-testkit", &["kiln", "kiln-compiler", "kiln-env", "kiln-wasi"]),
    ("kiln-cli", &["kiln", "kiln-env", "kiln-wasi", "kiln-cache", "kiln-component", "kiln-testkit", "kiln-verify"]),
    ("xtask", &[]),
];

/// Dependencies from outside that only some crates may name.
const RESERVED: [(&str, &[&str]); 2] = [("cranelift-", &["kiln-compiler"]), ("wasmparser", &["kiln-compiler"])];

/// Other engines: never a dependency of the product.
const ENGINES: [&str; 5] = ["wasmtime", "wasmer", "winch", "wasmi", "wasm3"];

impl Package {
    /// Source files that are roots of a crate of this package, relative to the workspace.
    pub(super) fn roots(&self, workspace: &Path) -> Vec<String> {
        self.targets.iter().map(|t| relative(workspace, &t.src_path)).collect()
    }

    /// Roots of what is built into the product or its tools: libraries and binaries.
    pub(super) fn product_roots(&self, workspace: &Path) -> Vec<String> {
        let shipped = |t: &&Target| t.kind.iter().any(|k| matches!(k.as_str(), "lib" | "bin" | "proc-macro"));
        self.targets.iter().filter(shipped).map(|t| relative(workspace, &t.src_path)).collect()
    }
}

fn relative(workspace: &Path, path: &str) -> String {
    let path = Path::new(path);
    path.strip_prefix(workspace).unwrap_or(path).to_string_lossy().into_owned()
}

/// The workspace's crates.
pub(super) fn packages(workspace: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not as expected")?;
    Ok(metadata.packages)
}

/// Dependencies that the design does not allow.
pub(super) fn forbidden(workspace: &Path, packages: &[Package]) -> Vec<Finding> {
    let mut out = Vec::new();
    for package in packages {
        let manifest = relative(workspace, &package.manifest_path);
        for message in package.dependencies.iter().filter_map(|d| verdict(&package.name, d)) {
            out.push(Finding::new(&manifest, 1, Rule::Edge, message));
        }
    }
    out
}

/// What is wrong with a dependency of a crate, if anything.
fn verdict(package: &str, dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    let dev = dependency.kind.as_deref() == Some("dev");
    if ENGINES.iter().any(|engine| name.starts_with(engine)) {
        return Some(format!("{package} depends on another engine: {name}"));
    }
    for (prefix, allowed) in RESERVED {
        if name.starts_with(prefix) && !allowed.contains(&package) {
            return Some(format!("{package} depends on {name}, which only {} may", allowed.join(", ")));
        }
    }
    if dev || !(name == "kiln" || name.starts_with("kiln-")) {
        return None;
    }
    let Some((_, allowed)) = EDGES.iter().find(|(p, _)| *p == package) else {
        return Some(format!("{package} is not in the table of crate edges"));
    };
    if !allowed.contains(&name) {
        return Some(format!("{package} may not depend on {name}"));
    }
    let hard = package == "kiln" && name == "kiln-compiler" && !dependency.optional;
    hard.then(|| "kiln must be able to build without the compiler: make the dependency optional".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(package: &str, name: &str, kind: Option<&str>, optional: bool) -> Option<String> {
        verdict(package, &Dependency { name: name.to_owned(), kind: kind.map(str::to_owned), optional })
    }

    #[test]
    fn edges_of_the_design() {
        assert_eq!(edge("kiln-compiler", "kiln-env", None, false), None);
        assert!(edge("kiln-env", "kiln-compiler", None, false).is_some());
        assert!(edge("kiln", "kiln-compiler", None, false).unwrap().contains("optional"));
        assert_eq!(edge("kiln", "kiln-compiler", None, true), None);
        assert_eq!(edge("kiln", "kiln-testkit", Some("dev"), false), None);
    }

    #[test]
    fn reserved_crates() {
        assert_eq!(edge("kiln-compiler", "cranelift-codegen", None, false), None);
        assert!(edge("kiln", "cranelift-codegen", None, false).is_some());
        assert!(edge("kiln-env", "wasmparser", None, false).is_some());
        assert!(edge("kiln-cli", "wasmtime-environ", None, false).is_some());
        assert!(edge("kiln-testkit", "wasmi", Some("dev"), false).is_some());
    }
}
