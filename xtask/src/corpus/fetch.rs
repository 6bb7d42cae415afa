//! Downloading an archive with the registry's own client, checking it and laying out what is wanted of it.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::{Package, Program, sha256};
use crate::table;

/// A folder that is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dest: &Path) -> Result<Scratch> {
        let path = dest.join(format!(".incoming-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Scratch(path))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Fetches a package and lays these of its programs out in `dest`.
pub(super) fn package(package: &Package, programs: &[&Program], dest: &Path, workspace: &Path) -> Result<()> {
    let names: Vec<&str> = programs.iter().map(|p| p.name.as_str()).collect();
    let (kind, spec) = package.package.split_once(':').context("not KIND:NAME")?;
    println!("get  {} from {kind} {spec} ({})", names.join(", "), table::bytes(package.size));
    let scratch = Scratch::new(dest)?;
    let archive = scratch.folder("archive")?;
    let contents = match kind {
        "pypi" => {
            pip_download(spec, &archive)?;
            let wheel = verified(package, &archive)?;
            let into = scratch.folder("contents")?;
            tool(python().args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&into))?;
            into
        }
        "npm" => {
            npm_pack(spec, &archive)?;
            let tarball = verified(package, &archive)?;
            let into = scratch.folder("contents")?;
            untar(&tarball, &into)?;
            into
        }
        "tree" => workspace.join(spec),
        other => bail!("unknown kind of package: {other}"),
    };
    programs.iter().try_for_each(|p| lay_out(p, &contents, dest, &scratch).with_context(|| p.name.clone()))
}

/// Moves (or, from the tree, copies) the wanted parts of an unpacked archive to their places.
fn lay_out(program: &Program, contents: &Path, dest: &Path, scratch: &Scratch) -> Result<()> {
    for (member, folder) in &program.folders {
        replace_folder(&contents.join(member), &dest.join(folder))?;
    }
    for (i, (member, folder)) in program.tars.iter().enumerate() {
        let into = scratch.folder(&format!("tar-{}-{i}", program.name))?;
        untar(&contents.join(member), &into)?;
        replace_folder(&into, &dest.join(folder))?;
    }
    for file in &program.files {
        let incoming = scratch.0.join("file");
        unpack(&contents.join(&file.member), &incoming)?;
        let found = sha256(&incoming)?;
        ensure!(found == file.sha256, "{} has SHA-256 {found}, expected {}", file.member, file.sha256);
        let place = dest.join(&file.path);
        fs::create_dir_all(place.parent().context("a path without folder")?)?;
        fs::rename(&incoming, &place).with_context(|| format!("cannot move to {}", place.display()))?;
        println!("ok   {}", file.path);
    }
    Ok(())
}

/// A copy of a file, decompressed if its name ends in `.xz`.
fn unpack(from: &Path, to: &Path) -> Result<()> {
    if from.extension().is_some_and(|e| e == "xz") {
        let script = "import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], 'wb'))";
        return tool(python().args(["-c", script]).arg(from).arg(to));
    }
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}

fn replace_folder(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot replace {}", to.display()))?;
    }
    fs::create_dir_all(to.parent().context("a path without folder")?)?;
    fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// The only file in the folder, if its checksum is the listed one.
fn verified(package: &Package, folder: &Path) -> Result<PathBuf> {
    let files: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|e| e.path()).collect();
    let [file] = &files[..] else { bail!("the registry's client left {} files, expected one", files.len()) };
    let (found, expected) = (sha256(file)?, package.sha256.as_deref().context("no checksum is listed")?);
    ensure!(found == expected, "the archive has SHA-256 {found}, expected {expected}; nothing of it is used");
    Ok(file.clone())
}

fn python() -> Command {
    Command::new("python3")
}

fn pip_download(spec: &str, into: &Path) -> Result<()> {
    let present = python().args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(
        present.is_ok_and(|s| s.success()),
        "python3 with pip is needed to fetch from PyPI (Debian, Ubuntu: apt-get install python3-pip)"
    );
    let mut pip = python();
    pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    if !std::io::stderr().is_terminal() {
        pip.arg("--quiet");
    }
    tool(pip.arg("--dest").arg(into).arg(spec))
}

fn npm_pack(spec: &str, into: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.arg("pack").arg("--pack-destination").arg(into).arg(spec).stdout(Stdio::null());
    if !std::io::stderr().is_terminal() {
        npm.arg("--silent");
    }
    match npm.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("npm pack ended with {status}"),
        Err(_) => bail!("npm is needed to fetch from the npm registry (Debian, Ubuntu: apt-get install npm)"),
    }
}

fn untar(archive: &Path, into: &Path) -> Result<()> {
    tool(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(into))
}

/// Runs a command to its end; an error that names the command if it fails.
fn tool(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}
