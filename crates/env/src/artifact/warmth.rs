//! How much each function of a module was used while it was at the first tier, in all runs together: programs that end
//! before a function is worth optimising go on counting in their next run.
//!
//! A snapshot's profile also counts ([`crate::profile`]), but what is written with code, for who compiles it anew: entries and
//! callees, at whatever tier. Most runs compile nothing new and write no snapshot, of megabytes; all of them use functions.

use super::U32s;
use crate::cache::{CacheKey, seal, unseal};

/// Functions with a number of uses each, by ascending index. A use is worth an entry.
pub type Warmth = Vec<(u32, u32)>;

/// The bytes of a file. `outline` is the root hash of the artifact that describes the module.
pub fn write_warmth(outline: &[u8; 32], warmth: &[(u32, u32)]) -> Vec<u8> {
    let bytes: Vec<u8> = warmth.iter().flat_map(|(func, uses)| [*func, *uses]).flat_map(u32::to_le_bytes).collect();
    seal(&CacheKey(*outline), &bytes)
}

/// What was written for this outline; `None` if these are any other bytes.
pub fn read_warmth(outline: &[u8; 32], file: &[u8]) -> Option<Warmth> {
    let words = U32s::new(unseal(&CacheKey(*outline), file)?);
    let pair = |i| Some((words.get(2 * i)?, words.get(2 * i + 1)?));
    let warmth = (0..words.len() / 2).map(pair).collect::<Option<Warmth>>()?;
    warmth.is_sorted_by_key(|(func, _)| *func).then_some(warmth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_not_otherwise() {
        let warmth = vec![(3, 17), (9, u32::MAX), (1 << 20, 1)];
        let file = write_warmth(&[7; 32], &warmth);
        assert_eq!(read_warmth(&[7; 32], &file), Some(warmth));
        assert_eq!(read_warmth(&[8; 32], &file), None);
        for at in 0..file.len() {
            let mut other = file.clone();
            other[at] ^= 4;
            assert_eq!(read_warmth(&[7; 32], &other), None);
            assert_eq!(read_warmth(&[7; 32], &file[..at]), None);
        }
        assert_eq!(read_warmth(&[7; 32], &write_warmth(&[7; 32], &[(2, 1), (1, 1)])), None);
        assert_eq!(read_warmth(&[7; 32], &write_warmth(&[7; 32], &[])), Some(Vec::new()));
    }
}
