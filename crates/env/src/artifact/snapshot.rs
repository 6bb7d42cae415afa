//! Code of some functions of a module, as it was placed while the module ran: what the next run starts with.
//!
//! The file has the form of an artifact. Its text is a piece of an arena, to be put to the same offset of another one:
//! calls lead to entry stubs, which are at fixed offsets before it, and nothing else in it depends on where it is.
//! The module itself is described by another file, an artifact without code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::write::{Pieces, add_aliases, finish, is_big_endian, needed, put, put_tables, target};
use super::{CodePart, CodeTables, Header, Part, ReadError, U32s, WriteError, bytes_of};
use crate::image::Image;
use crate::module::Module;
use crate::profile::FuncCounts;
use crate::settings::Fingerprint;
use crate::tier::Tier;

/// First bytes of a snapshot's metadata.
const KIND: [u8; 8] = *b"snapshot";

/// What is known of a snapshot as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotMeta {
    kind: [u8; 8],
    /// The root hash of the artifact that describes the module.
    pub outline: [u8; 32],
    /// Offset of the text in the arena.
    pub text_at: u64,
    /// The chunks of entry stubs that the code refers to.
    pub stubs: Vec<u32>,
    /// For each function, whether its code is of the second tier.
    optimized: Vec<bool>,
    /// How the functions ran of which there is code, by ascending index.
    pub profile: Vec<(u32, FuncCounts)>,
}

impl SnapshotMeta {
    /// Describes functions of these tiers, in order.
    pub fn new(
        outline: [u8; 32],
        text_at: u64,
        stubs: Vec<u32>,
        tiers: impl Iterator<Item = Tier>,
        profile: Vec<(u32, FuncCounts)>,
    ) -> SnapshotMeta {
        let optimized = tiers.map(|tier| tier == Tier::Optimized).collect();
        SnapshotMeta { kind: KIND, outline, text_at, stubs, optimized, profile }
    }

    /// The tier of the code at a position.
    pub fn tier(&self, position: usize) -> Option<Tier> {
        let tier = |optimized: &bool| if *optimized { Tier::Optimized } else { Tier::Baseline };
        self.optimized.get(position).map(tier)
    }
}

/// What goes into a snapshot.
pub struct Snapshot<'a> {
    /// The declarations; only types matter.
    pub module: &'a Module,
    /// Under what the code was made.
    pub fingerprint: &'a Fingerprint,
    /// About all functions, those of `before` first.
    pub meta: &'a SnapshotMeta,
    /// The snapshot that the run began with, whose functions are part of this one as well.
    pub before: Option<(&'a [u8], &'a Header)>,
    /// All of the text, and the functions that are not in `before`: they come behind those.
    pub image: &'a Image,
}

/// Makes a file. Of code for one function that is there several times, the last is the one to be used.
///
/// # Errors
/// See [`WriteError`].
pub fn write_snapshot(contents: &Snapshot<'_>) -> Result<Vec<u8>, WriteError> {
    let (triple, machine) = target(contents.fingerprint)?;
    let mut parts = [const { Vec::new() }; CodePart::COUNT];
    if let Some((file, header)) = contents.before {
        let variant = header.variants.first().into_iter().flatten();
        for (part, range) in CodePart::ALL.iter().zip(variant).filter(|(part, _)| **part != CodePart::Text) {
            parts[*part as usize] = bytes_of(file, range.clone()).to_vec();
        }
    }
    for part in [CodePart::Trampolines, CodePart::EhFrame] {
        parts[part as usize].clear();
    }
    parts[CodePart::Fingerprint as usize] =
        postcard::to_stdvec(&needed(contents.fingerprint)).expect("plain data serialises");
    for func in &contents.image.funcs {
        let (namespace, index) = func.key.pack();
        put(&mut parts[CodePart::Keys as usize], [namespace, index]);
        let sites = parts[CodePart::Sites as usize].len() as u32;
        put(&mut parts[CodePart::Funcs as usize], [func.start, func.len, sites]);
        put_tables(&mut parts, func.start, &func.tables);
    }
    let mut places = BTreeMap::new();
    let keys = U32s::new(&parts[CodePart::Keys as usize]);
    for position in 0..keys.len() / 2 {
        if let (Some(namespace), Some(index)) = (keys.get(2 * position), keys.get(2 * position + 1)) {
            places.insert((namespace, index), position as u32);
        }
    }
    add_aliases(contents.module, &mut places);
    for ((namespace, index), position) in places {
        put(&mut parts[CodePart::Trampolines as usize], [namespace, index, position]);
    }
    let mut pieces = Pieces::new(1);
    pieces.add_part(Part::Meta, postcard::to_stdvec(contents.meta).expect("plain data serialises"));
    for (part, bytes) in CodePart::ALL.iter().zip(parts) {
        match part {
            CodePart::Text => pieces.add_code(0, *part, "", &*contents.image.text),
            _ => pieces.add_code(0, *part, "", bytes),
        }
    }
    finish(&pieces, 1, machine, is_big_endian(&triple))
}

/// Reads what is known of a snapshot as a whole, and checks that the parts of the file fit each other.
///
/// # Errors
/// They do not, or this is no snapshot.
pub fn read_snapshot(file: &[u8], header: &Header) -> Result<SnapshotMeta, ReadError> {
    let bytes = bytes_of(file, header.part(Part::Meta));
    let meta = postcard::from_bytes::<SnapshotMeta>(bytes).ok().filter(|meta| meta.kind == KIND);
    let meta = meta.ok_or(ReadError::Damaged("its metadata is not that of a snapshot"))?;
    let Some(parts) = header.variants.first() else { return Err(ReadError::Damaged("there is no code")) };
    let tables = CodeTables::new(file, parts, 0);
    tables.check()?;
    if tables.len() != meta.optimized.len() {
        return Err(ReadError::Damaged("its functions and their tiers are not as many"));
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{read_header, verify};
    use crate::func_key::FuncKey;
    use crate::image::ImageFunc;
    use crate::index::{DefinedFuncIndex, TypeIndex};
    use crate::machine::{FuncTables, TrapSite};
    use crate::settings::Tunables;
    use crate::trap::TrapCode;

    fn image(text: &[u8], funcs: &[(FuncKey, u32, u32)]) -> Image {
        let func = |(key, start, len): &(FuncKey, u32, u32)| {
            let traps = vec![TrapSite { offset: 1, code: TrapCode::Unreachable }];
            ImageFunc { key: *key, start: *start, len: *len, tables: FuncTables { traps, ..FuncTables::default() } }
        };
        Image { text: text.to_vec(), funcs: funcs.iter().map(func).collect() }
    }

    #[test]
    fn a_snapshot_grows_and_later_code_counts() {
        let (module, wasm) = (Module::default(), |i| FuncKey::Wasm(DefinedFuncIndex(i)));
        let (compiler, target) = ("a compiler".to_owned(), "x86_64-unknown-linux-gnu".to_owned());
        let fingerprint = Fingerprint { compiler, target, flags: Vec::new(), tunables: Tunables::default() };
        let first = image(b"0123456789abcdef0123", &[(wasm(5), 0, 4), (FuncKey::WasmToHost(TypeIndex(1)), 16, 4)]);
        let tiers = [Tier::Baseline, Tier::Optimized];
        let meta = SnapshotMeta::new([1; 32], 4096, vec![0, 3], tiers.into_iter(), Vec::new());
        let contents =
            Snapshot { module: &module, fingerprint: &fingerprint, meta: &meta, before: None, image: &first };
        let file = write_snapshot(&contents).unwrap();
        let header = read_header(&file).unwrap();
        verify(&file, &header).unwrap();
        assert_eq!(read_snapshot(&file, &header).unwrap(), meta);

        let second = image(b"0123456789abcdef0123____________ABCD", &[(wasm(5), 32, 4)]);
        let tiers = tiers.into_iter().chain([Tier::Optimized]);
        let meta = SnapshotMeta::new([1; 32], 4096, vec![0, 3], tiers, Vec::new());
        let before = Some((&*file, &header));
        let contents = Snapshot { module: &module, fingerprint: &fingerprint, meta: &meta, before, image: &second };
        let file = write_snapshot(&contents).unwrap();
        let header = read_header(&file).unwrap();
        let meta = read_snapshot(&file, &header).unwrap();
        let tables = CodeTables::new(&file, &header.variants[0], 0);
        assert_eq!(tables.len(), 3);
        assert_eq!((tables.key(0), tables.key(2)), (Some(wasm(5)), Some(wasm(5))));
        assert_eq!((meta.tier(0), meta.tier(2), meta.tier(3)), (Some(Tier::Baseline), Some(Tier::Optimized), None));
        assert_eq!(tables.position(FuncKey::WasmToHost(TypeIndex(1))), Some(1));
        assert_eq!(tables.position(FuncKey::WasmToHost(TypeIndex(2))), None);
        assert_eq!(tables.at(33), Some(2));
        assert!((0..3).all(|position| tables.trap(position, 1) == Some(TrapCode::Unreachable)));
        let text = bytes_of(&file, header.variants[0][CodePart::Text as usize].clone());
        assert_eq!(&text[32..36], b"ABCD");

        // To begin anew.
        let meta = SnapshotMeta::new([1; 32], 4096, Vec::new(), std::iter::empty(), Vec::new());
        let nothing = image(b"", &[]);
        let contents =
            Snapshot { module: &module, fingerprint: &fingerprint, meta: &meta, before: None, image: &nothing };
        let file = write_snapshot(&contents).unwrap();
        let header = read_header(&file).unwrap();
        assert_eq!(read_snapshot(&file, &header).unwrap(), meta);
        assert!(CodeTables::new(&file, &header.variants[0], 0).is_empty());
    }
}
