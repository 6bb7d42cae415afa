//! The hash tree: a list of the chunks' hashes, and the hash of that list in the header.

use super::{HEADER_AT, Header, ReadError};

/// What stands in a file for a module that is elsewhere.
pub fn source_hash(wasm: &[u8]) -> [u8; 32] {
    *blake3::hash(wasm).as_bytes()
}

/// Bytes that are hashed apart, and can be checked apart.
pub const CHUNK: usize = 64 << 10;

/// Bytes of a hash.
const HASH: usize = 32;

/// Where the root stands in the file.
const ROOT: std::ops::Range<usize> = HEADER_AT + super::write::ROOT_AT..HEADER_AT + super::write::ROOT_AT + HASH;

/// Where the signature stands. It and the root count as zeroes in their chunk's hash.
const SIGNATURE: std::ops::Range<usize> = ROOT.end..ROOT.end + HASH;

/// Bytes of the list of hashes for a body of so many bytes.
pub(super) fn list_len(body_len: usize) -> usize {
    body_len.div_ceil(CHUNK) * HASH
}

fn chunk_hash(index: usize, chunk: &[u8]) -> blake3::Hash {
    if index > 0 || chunk.len() < SIGNATURE.end {
        return blake3::hash(chunk);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&chunk[..ROOT.start]).update(&[0; 2 * HASH]).update(&chunk[SIGNATURE.end..]);
    hasher.finalize()
}

/// Appends the list of hashes to a body, and puts the root into its header.
pub(super) fn seal(file: &mut Vec<u8>) {
    let list: Vec<u8> = file.chunks(CHUNK).enumerate().flat_map(|(i, c)| *chunk_hash(i, c).as_bytes()).collect();
    let root = *blake3::hash(&list).as_bytes();
    file[ROOT].copy_from_slice(&root);
    file.extend(list);
}

/// Puts a signature into a file that was just written: what `signature` gives for the root. A file that is none stays as it
/// is.
pub fn sign(file: &mut [u8], signature: impl FnOnce(&[u8; 32]) -> [u8; 32]) {
    let Some(root) = file.get(ROOT).and_then(|root| root.first_chunk()) else { return };
    let signature = signature(root);
    if let Some(place) = file.get_mut(SIGNATURE) {
        place.copy_from_slice(&signature);
    }
}

/// Checks that the bytes of a file are those that were written.
///
/// # Errors
/// Names the first chunk that has changed.
pub fn verify(file: &[u8], header: &Header) -> Result<(), ReadError> {
    let body_len = usize::try_from(header.body_len).unwrap_or(usize::MAX);
    let Some((body, list)) = file.split_at_checked(body_len) else { return Err(ReadError::Hashes) };
    if list.len() != list_len(body.len()) || blake3::hash(list).as_bytes() != &header.root {
        return Err(ReadError::Hashes);
    }
    for (i, (chunk, hash)) in body.chunks(CHUNK).zip(list.chunks(HASH)).enumerate() {
        if chunk_hash(i, chunk).as_bytes().as_slice() != hash {
            let start = (i * CHUNK) as u64;
            return Err(ReadError::Changed(start..start + chunk.len() as u64));
        }
    }
    Ok(())
}
