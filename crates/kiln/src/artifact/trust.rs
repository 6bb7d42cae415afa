//! Whose code runs: the one place that decides whether a file is trusted, or compiled again.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln_env::artifact::Header;

use super::IncompatibleArtifact;
use crate::config::Config;
#[cfg(feature = "compiler")]
use crate::key::SigningKey;

/// In which matter artifacts are signed.
const MATTER: &str = "artifact";

/// Where an artifact comes from.
pub(crate) enum Origin<'a> {
    /// A file, as it was found, at a path.
    File(&'a Metadata, &'a Path),
    /// The program that runs.
    Own,
}

/// Decides whether the code of an artifact may run. Its contents are those of which the header has the root.
///
/// A verifier of machine code would be asked here, before the refusal.
///
/// # Errors
/// It may not; the message says why. It can be compiled again from the module that is in it.
pub(crate) fn decide(config: &Config, origin: &Origin<'_>, header: &Header) -> Result<(), IncompatibleArtifact> {
    let Origin::File(found, path) = origin else { return Ok(()) };
    check_access(found, path)?;
    match &config.signing_key {
        Some(key) if !config.trust_unsigned && !key.is_signed(MATTER, &header.root, &header.signature) => {
            let why = "you have not compiled it: the signature in it is not that of your key";
            Err(IncompatibleArtifact(why.to_owned()))
        }
        _ => Ok(()),
    }
}

/// An artifact that was just made, signed if there is a key.
#[cfg(feature = "compiler")]
pub(crate) fn signed(key: Option<&SigningKey>, mut artifact: Vec<u8>) -> Vec<u8> {
    if let Some(key) = key {
        kiln_env::artifact::sign(&mut artifact, |root| key.sign(MATTER, root));
    }
    artifact
}

/// Whether nobody but the user and the administrator can have put something else into a file, or in its place.
fn check_access(found: &Metadata, path: &Path) -> Result<(), IncompatibleArtifact> {
    let user = rustix::process::geteuid().as_raw();
    let refuse = |why: String| Err(IncompatibleArtifact(why));
    let others = |mode: u32| match (mode & 0o002, mode & 0o020) {
        (0, 0) => None,
        (0, _) => Some("its group"),
        _ => Some("everybody"),
    };
    if ![0, user].contains(&found.uid()) {
        return refuse(format!("it belongs to user {}, and this is user {user}", found.uid()));
    }
    if let Some(others) = others(found.mode()) {
        return refuse(format!("{others} may write to it"));
    }
    // Links are followed: what matters is where the file is.
    let folder = fs::canonicalize(path).ok().and_then(|path| fs::metadata(path.parent()?).ok());
    let Some(folder) = folder else { return refuse("its folder cannot be looked at".to_owned()) };
    if ![0, user].contains(&folder.uid()) {
        return refuse(format!("its folder belongs to user {}, and this is user {user}", folder.uid()));
    }
    // In a sticky folder nobody can remove or rename what is not theirs, and the file is the user's.
    const STICKY: u32 = 0o1000;
    match others(folder.mode()) {
        Some(others) if folder.mode() & STICKY == 0 => refuse(format!("{others} may write to its folder")),
        _ => Ok(()),
    }
}
