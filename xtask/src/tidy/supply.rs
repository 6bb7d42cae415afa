//! Rules about code from outside: where each crate comes from, and under which licence.
//!
//! Known vulnerabilities are not looked up here: the list of advisories is in a repository, not in a package registry, and
//! this check must pass wherever the build does. `cargo xtask audit` looks them up.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Finding, Rule};

const LOCK: &str = "Cargo.lock";
/// What `Cargo.lock` says of crates of the public registry.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Licences that ask for no more than their notice: one of the alternatives that a crate offers must be one of them.
const LICENCES: [&str; 7] =
    ["Apache-2.0", "Apache-2.0 WITH LLVM-exception", "MIT", "MIT-0", "Zlib", "Unicode-3.0", "BSD-3-Clause"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

/// Crates that do not come from the registry with a checksum, or whose licence is not one that the project takes.
pub(super) fn findings(workspace: &Path) -> Result<Vec<Finding>> {
    let lock = std::fs::read_to_string(workspace.join(LOCK)).context("cannot read Cargo.lock")?;
    let mut out = sources(&lock);
    for Package { name, version, license } in packages(workspace)? {
        let license = license.unwrap_or_default();
        if !is_taken(&license) {
            let message =
                format!("{name} {version} has the licence \"{license}\", which is not in the list of xtask/src/tidy");
            out.push(Finding::new(LOCK, 1, Rule::Supply, message));
        }
    }
    Ok(out)
}

fn packages(workspace: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(workspace)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not as expected")?;
    Ok(metadata.packages)
}

/// What is wrong with where the crates of a lock file come from. Crates without a source are the workspace's own.
fn sources(lock: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut at = 1;
    for package in lock.split("[[package]]") {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            line.and_then(|value| value.strip_suffix('"'))
        };
        let message = match (value("name"), value("source"), value("checksum")) {
            (Some(name), Some(source), _) if source != REGISTRY => {
                Some(format!("{name} comes from {source}, not from the public registry"))
            }
            (Some(name), Some(_), None) => Some(format!("{name} has no checksum")),
            _ => None,
        };
        out.extend(message.map(|message| Finding::new(LOCK, at, Rule::Supply, message)));
        at += package.matches('\n').count();
    }
    out
}

/// Whether a licence expression can be met with licences of the list. `OR` binds weaker than `AND`, as in SPDX; the slash is
/// what old manifests write for `OR`.
fn is_taken(expression: &str) -> bool {
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    if let Some(inner) = expression.strip_prefix('(')
        && let Some((first, rest)) = inner.split_once(')')
        && let Some(rest) = rest.strip_prefix(" AND ")
    {
        return is_taken(first) && is_taken(rest);
    }
    expression.split(" OR ").any(|all| all.split(" AND ").all(|one| LICENCES.contains(&one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_of_the_list_in_any_combination() {
        for taken in
            ["MIT", "MIT/Apache-2.0", "Apache-2.0 / MIT", "GPL-3.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"]
        {
            assert!(is_taken(taken), "{taken}");
        }
        for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-2.0"] {
            assert!(!is_taken(refused), "{refused}");
        }
    }

    #[test]
    fn crates_from_elsewhere_and_without_checksum() {
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"own\"\n\n[[package]]\nname = \"a\"\nsource = \"{REGISTRY}\"\n\
             checksum = \"00\"\n\n[[package]]\nname = \"b\"\nsource = \"git+https://example.com/b\"\n\n[[package]]\n\
             name = \"c\"\nsource = \"{REGISTRY}\"\n"
        );
        let found: Vec<String> = sources(&lock).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("Cargo.lock:11: supply: b comes from git"), "{found:?}");
        assert!(found[1].contains("c has no checksum"), "{found:?}");
    }
}
