//! The user's key: what Kiln compiles for a user is known by it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// First bytes of a key's file.
const MAGIC: [u8; 16] = *b"kiln user key 1\n";

/// Bytes of a key.
const KEY: usize = 32;

/// Signs [artifacts](crate::Config::signing_key) and what else is kept of compiled code, so that what others put in its
/// place is not taken for it. Whoever can read the key can sign, too.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; KEY]);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl From<[u8; KEY]> for SigningKey {
    fn from(bytes: [u8; KEY]) -> SigningKey {
        SigningKey(bytes)
    }
}

impl SigningKey {
    /// Where the user's key is, as the environment says: `KILN_KEY_FILE`, else `kiln/key` in the user's folder for state
    /// (`XDG_STATE_HOME`, or `.local/state` at home). `None` if the environment names neither.
    pub fn default_path() -> Option<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(file) = set("KILN_KEY_FILE") {
            return Some(file);
        }
        // A relative path there is invalid by the specification.
        let state = set("XDG_STATE_HOME").filter(|p| p.is_absolute());
        let state = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
        Some(state.join("kiln/key"))
    }

    /// Reads the key in a file. If there is none, a new one is made there: random, for this user alone (mode 0600, in a
    /// folder of mode 0700). Of several processes that do so at once, all get the same key.
    ///
    /// # Errors
    /// The file cannot be read or made, is no key, belongs to somebody else, or others may read or replace it.
    pub fn load_or_create(path: &Path) -> io::Result<SigningKey> {
        match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        create(path)?;
        read(path)
    }

    /// What the key says about some bytes, in a matter of its own: what was signed in one says nothing in another.
    pub fn sign(&self, matter: &str, bytes: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(matter.len() as u64).to_le_bytes()).update(matter.as_bytes()).update(bytes);
        *hasher.finalize().as_bytes()
    }

    /// Whether this is what the key says. How long that takes tells nothing about the right answer.
    pub fn is_signed(&self, matter: &str, bytes: &[u8], signature: &[u8; 32]) -> bool {
        blake3::Hash::from(self.sign(matter, bytes)) == blake3::Hash::from(*signature)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(path: &Path) -> io::Result<SigningKey> {
    let refuse = |what: &str| io::Error::other(format!("{} {what}", path.display()));
    let no_follow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(no_follow.bits().cast_signed()).open(path)?;
    let (found, folder) = (file.metadata()?, fs::metadata(folder_of(path))?);
    let user = rustix::process::geteuid().as_raw();
    if !found.is_file() || found.uid() != user || found.mode() & 0o077 != 0 {
        return Err(refuse("is not a file that only this user may read and write (mode 0600)"));
    }
    if ![0, user].contains(&folder.uid()) || folder.mode() & 0o022 != 0 {
        return Err(refuse("is in a folder that others may write to"));
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take((MAGIC.len() + KEY + 1) as u64).read_to_end(&mut bytes)?;
    let key = bytes.strip_prefix(&MAGIC).and_then(|key| <[u8; KEY]>::try_from(key).ok());
    key.map(SigningKey).ok_or_else(|| refuse("is not a key of Kiln; remove it, and another one is made"))
}

fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder_of(path))?;
    let (mut key, mut nonce) = ([0; KEY], [0; 8]);
    random(&mut key)?;
    random(&mut nonce)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.tmp", u64::from_le_bytes(nonce)));
    let unfinished = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&MAGIC)?;
        file.write_all(&key)?;
        file.sync_all()
    };
    // Who comes second finds that there is one, which is whole.
    let made = write().and_then(|()| match fs::hard_link(&unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    _ = fs::remove_file(&unfinished);
    made
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_for_its_user() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state/kiln/key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let made: Vec<_> = (0..8).map(|_| scope.spawn(|| SigningKey::load_or_create(&path).unwrap())).collect();
            made.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");

        let refused = || SigningKey::load_or_create(&path).unwrap_err().to_string();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(&path, 0o640);
        assert!(refused().contains("mode 0600"), "{}", refused());
        set(&path, 0o600);
        set(path.parent().unwrap(), 0o777);
        assert!(refused().contains("others may write to"), "{}", refused());
        set(path.parent().unwrap(), 0o700);
        fs::write(&path, b"something else").unwrap();
        assert!(refused().contains("not a key"), "{}", refused());
        fs::rename(&path, temp.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(temp.path().join("elsewhere"), &path).unwrap();
        assert!(SigningKey::load_or_create(&path).is_err(), "links are not followed");
    }

    #[test]
    fn what_is_signed_in_one_matter_says_nothing_in_another() {
        let (key, other) = (SigningKey::from([1; 32]), SigningKey::from([2; 32]));
        let signature = key.sign("artifact", b"bytes");
        assert!(key.is_signed("artifact", b"bytes", &signature));
        assert!(!key.is_signed("artifact", b"other", &signature));
        assert!(!key.is_signed("artifac", b"tbytes", &signature));
        assert!(!other.is_signed("artifact", b"bytes", &signature));
        assert_eq!(format!("{key:?}"), "SigningKey(..)");
    }
}
