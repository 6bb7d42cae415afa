//! The file that a compiler leaves behind: compiled code of one module with all that running it takes.
//!
//! An artifact is an ELF file, so that `readelf`, `objdump`, `gdb` and `perf` can look into it. Kiln itself finds its
//! parts through a header of its own at a fixed place in the first page, and reads them where they are:
//!
//! ```text
//! 0      ELF header, program headers
//! 1024   header: magic, format version, length, root hash, signature of that, where the parts are
//! …      metadata; flat tables, by ascending text offset; machine code, memory images (page-aligned);
//!        the wasm module or what is kept of it; symbols; section headers
//! body   BLAKE3 hashes of all chunks before, 64 KiB each; the root in the header is the hash of this list
//! ```
//! Numbers are little-endian. Addresses in the ELF structures are file offsets: whoever maps the whole file has each
//! segment at its address. Writer (`write`) and readers ([`Header`], [`Meta`], [`CodeTables`]) stand
//! side by side here.

mod eh_frame;
mod hash;
mod host;
mod image;
mod object_file;
mod read;
mod sites;
mod snapshot;
mod warmth;
mod write;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use hash::{CHUNK, sign, source_hash, verify};
pub use host::{Host, Mismatch, check};
pub use image::{DataPlan, plan_data};
pub use object_file::{ObjectFile, c_identifier, object_file};
pub use read::{CodeTables, FileHandlers, FileStackMap, U32s, is_artifact, read_header, read_meta};
pub use sites::Site;
pub use snapshot::{Snapshot, SnapshotMeta, read_snapshot, write_snapshot};
pub use warmth::{Warmth, read_warmth, write_warmth};
pub use write::{CodeVariant, Contents, WasmSource, WriteError, write};

use crate::module::Module;
use crate::settings::Fingerprint;

/// First bytes of the header.
pub const MAGIC: [u8; 8] = *b"kilncode";
/// Changes whenever the meaning of a byte does.
pub const FORMAT_VERSION: u32 = 3;
/// Where the header begins.
pub const HEADER_AT: usize = 1024;
/// Code of at most so many CPU levels is in one file.
pub const MAX_VARIANTS: usize = 8;
/// Alignment of what is mapped apart.
pub const PAGE: usize = 4096;

/// A part of the file, as a range of bytes.
pub type PartRange = Range<u64>;

macro_rules! parts {
    ($(#[$doc:meta])* $name:ident { $($(#[$pdoc:meta])* $part:ident, $section:literal, $align:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$pdoc])* $part,)*
        }

        impl $name {
            /// All parts in the order in which they stand in the file.
            pub const ALL: &'static [$name] = &[$($name::$part),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name of the ELF section.
            pub const fn section(self) -> &'static str {
                match self {
                    $($name::$part => $section,)*
                }
            }

            /// Alignment in the file, in bytes.
            pub const fn align(self) -> usize {
                match self {
                    $($name::$part => $align,)*
                }
            }
        }
    };
}

parts! {
    /// What exists once in a file.
    Part {
        /// [`Meta`], in postcard's encoding.
        Meta, ".kiln.meta", 16;
        /// A word for each function, imported ones included: its type's index, times two, plus one if it escapes.
        FuncDecls, ".kiln.funcdecls", 4;
        /// The functions that element segments list, as words, one segment after the other.
        ElemFuncs, ".kiln.elems", 4;
        /// Where the body of each defined function begins in the wasm module, as words.
        Bodies, ".kiln.bodies", 4;
        /// Pages of memories as they are at the start.
        Memory, ".kiln.memory", 4096;
        /// The wasm module, or what is kept of it: what ranges in the module's declarations refer to.
        Source, ".kiln.wasm", 16;
    }
}

parts! {
    /// What exists for each CPU level that there is code for.
    CodePart {
        /// The [`Fingerprint`], in postcard's encoding.
        Fingerprint, ".kiln.fingerprint", 16;
        /// For each function three words: text offset, length, first byte in `Sites`. Ascending; defined functions first.
        Funcs, ".kiln.funcs", 4;
        /// Empty if the defined functions are in order. Else for each its position in `Funcs`, then for each of these positions
        /// the function.
        Order, ".kiln.order", 4;
        /// For each other function two words: its packed [`FuncKey`](crate::FuncKey).
        Keys, ".kiln.keys", 4;
        /// Trampolines by ascending packed key, those of equal signatures included: three words, namespace, index and
        /// position in `Funcs`.
        Trampolines, ".kiln.trampolines", 4;
        /// The places in a function's code at which it may trap or be called back, by ascending offset, encoded as
        /// differences: see [`Site`].
        Sites, ".kiln.sites", 1;
        /// For each function into which others were inlined two words: text offset, first record in `InlinedBodies`.
        Inlined, ".kiln.inlined", 4;
        /// For each [inlined body](crate::machine::InlinedBody) three words: start, function, call.
        InlinedBodies, ".kiln.inlinedbodies", 4;
        /// For each return address with collected references two words: text offset, first word in `StackMapWords`.
        StackMaps, ".kiln.stackmaps", 4;
        /// For each of these: frame pointer minus stack pointer, number of slots, the slots.
        StackMapWords, ".kiln.stackmapwords", 4;
        /// For each call within reach of handlers two words: text offset, first word in `HandlerWords`.
        Handlers, ".kiln.handlers", 4;
        /// For each of these: frame pointer minus stack pointer, context slot plus one or 0, number of handlers, and for
        /// each handler tag plus one or 0 and the text offset of its code.
        HandlerWords, ".kiln.handlerwords", 4;
        /// Machine code.
        Text, ".text", 4096;
        /// How to unwind, for native tools.
        EhFrame, ".eh_frame", 8;
    }
}

/// Where everything is in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of the whole file.
    pub file_len: u64,
    /// Bytes before the list of hashes.
    pub body_len: u64,
    /// Hash of that list.
    pub root: [u8; 32],
    /// What whoever made the file says about the root with a key of theirs; zeroes if nothing.
    pub signature: [u8; 32],
    /// By [`Part`].
    pub parts: [PartRange; Part::COUNT],
    /// Code for one CPU level each, the most demanding last, by [`CodePart`].
    pub variants: Vec<[PartRange; CodePart::COUNT]>,
}

impl Header {
    /// Where a part is.
    pub fn part(&self, part: Part) -> PartRange {
        self.parts[part as usize].clone()
    }
}

/// The bytes of a part; empty where it is not within the file.
pub fn bytes_of(file: &[u8], range: Range<impl Into<u64>>) -> &[u8] {
    let range = usize::try_from(range.start.into()).ok().zip(usize::try_from(range.end.into()).ok());
    range.and_then(|(start, end)| file.get(start..end)).unwrap_or_default()
}

/// What is small and needed at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// The declarations. [`read_meta`] fills in what stands in flat tables.
    pub module: Module,
    /// How many of [`Part::ElemFuncs`] belong to each element segment.
    elem_lens: Vec<u32>,
    /// For each defined memory its pages, if they are in the file.
    pub images: Vec<Option<MemoryPages>>,
    /// Whether [`Part::Source`] is the wasm module as it was.
    pub has_wasm: bool,
}

/// First contents of a memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemoryPages {
    /// Bytes, in whole pages. What no run covers is zero.
    pub len: u64,
    /// What is not zero, by ascending offset.
    pub runs: Vec<MemoryRun>,
}

/// Consecutive pages of a memory. All numbers are multiples of [`PAGE`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MemoryRun {
    /// Offset in the memory.
    pub offset: u64,
    /// Offset in [`Part::Memory`].
    pub at: u64,
    /// Bytes.
    pub len: u64,
}

/// A file that cannot be used. The message says why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// Something else.
    #[error("this is not an artifact of Kiln")]
    NotAnArtifact,
    /// Written by a Kiln with another idea of the format.
    #[error("the artifact has format version {0}, but this Kiln reads version {FORMAT_VERSION}")]
    Version(u32),
    /// Not all bytes, or too many, are there.
    #[error("the artifact is truncated or has grown: it should have {expected} bytes, but has {found}")]
    Length {
        /// What the header says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Bytes have changed.
    #[error("the artifact is damaged: bytes {:#x} to {:#x} are not what was written", .0.start, .0.end)]
    Changed(PartRange),
    /// The list of hashes has changed.
    #[error("the artifact is damaged: its list of hashes is not what was written")]
    Hashes,
    /// Parts contradict each other.
    #[error("the artifact is damaged: {0}")]
    Damaged(&'static str),
}

/// Reads a variant's fingerprint.
///
/// # Errors
/// It cannot be decoded.
pub fn read_fingerprint(bytes: &[u8]) -> Result<Fingerprint, ReadError> {
    postcard::from_bytes(bytes).map_err(|_| ReadError::Damaged("its fingerprint cannot be decoded"))
}
