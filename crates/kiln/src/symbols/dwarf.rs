//! Source positions from DWARF.

use addr2line::{Context, Location};
use gimli::{Dwarf, EndianSlice, LittleEndian};

use super::demangle;
use crate::backtrace::FrameSymbol;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Most functions inlined into one another that are reported.
const MAX_INLINED: usize = 64;

/// The functions and positions at offsets into the module whose custom sections `section` gives. `code` is where the
/// contents of its code section begin. What cannot be read is left out.
pub(super) fn symbolize<'a>(
    section: impl Fn(&str) -> Option<&'a [u8]>,
    code: usize,
    offsets: &[Option<usize>],
) -> Vec<Vec<FrameSymbol>> {
    let load = |id: gimli::SectionId| {
        Ok::<_, gimli::Error>(EndianSlice::new(section(id.name()).unwrap_or_default(), LittleEndian))
    };
    let context = Dwarf::load(load).and_then(Context::from_dwarf);
    let frames = |offset: &Option<usize>| match (&context, offset.and_then(|offset| offset.checked_sub(code))) {
        (Ok(context), Some(address)) => frames_at(context, address as u64).unwrap_or_default(),
        _ => Vec::new(),
    };
    offsets.iter().map(frames).collect()
}

fn frames_at(context: &Context<Slice<'_>>, address: u64) -> Result<Vec<FrameSymbol>, gimli::Error> {
    let mut symbols = Vec::new();
    let mut frames = context.find_frames(address).skip_all_loads()?;
    while let Some(frame) = frames.next()? {
        let name =
            frame.function.and_then(|function| function.raw_name().ok().map(|name| demangle(&name).into_owned()));
        symbols.push(symbol(name, frame.location));
        if symbols.len() == MAX_INLINED {
            break;
        }
    }
    // A function without debug information in a module that has some.
    symbols.retain(|s| *s != FrameSymbol::default());
    Ok(symbols)
}

fn symbol(name: Option<String>, location: Option<Location<'_>>) -> FrameSymbol {
    let Some(location) = location else { return FrameSymbol { name, ..FrameSymbol::default() } };
    // 0 stands for an unknown line or column.
    FrameSymbol {
        name,
        file: location.file.map(str::to_owned),
        line: location.line.filter(|line| *line != 0),
        column: location.column.filter(|column| *column != 0),
    }
}
