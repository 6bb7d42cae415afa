//! Names and source positions of wasm code, from what the module carries: the name section, DWARF, a source map.
//!
//! Nothing is read before somebody asks. What a module says may be wrong in every way: then the answer is that nothing
//! is known.

mod dwarf;
mod names;
mod source_map;

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::OnceLock;

use kiln_env::FuncKey;
use kiln_env::text::printable;

use crate::backtrace::FrameSymbol;
use crate::vm::module::ModuleInfo;

pub(crate) use names::Names;

/// What was read of a module's names so far.
#[derive(Default)]
pub(crate) struct Symbols {
    names: OnceLock<Names>,
}

impl Symbols {
    /// The names of the functions.
    pub(crate) fn names(&self, info: &ModuleInfo) -> &Names {
        self.names.get_or_init(|| {
            let section = info.env().custom("name").map(|range| info.checked_bytes(&range)).unwrap_or_default();
            Names::parse(&section)
        })
    }
}

/// What debuggers and profilers call a function: they print it.
pub(crate) fn code_name(info: &ModuleInfo, key: FuncKey) -> String {
    let Some(defined) = key.body() else { return key.to_string() };
    let index = info.env().func_index(defined);
    match info.symbols().names(info).func(index) {
        Some(name) => printable(&demangle(name)).into_owned(),
        None => format!("wasm[{}]", index.0),
    }
}

/// What a function is called in symbol tables: tools that read these demangle.
#[cfg(feature = "compiler")]
pub(crate) fn linker_name(module: &kiln_env::Module, names: &Names, key: FuncKey) -> String {
    let FuncKey::Wasm(defined) = key else { return key.to_string() };
    let index = module.func_index(defined);
    names.func(index).map_or_else(|| format!("wasm[{}]", index.0), str::to_owned)
}

/// The source functions and positions at offsets into a module, the innermost first.
pub(crate) fn symbolize(info: &ModuleInfo, offsets: &[Option<usize>]) -> Vec<Vec<FrameSymbol>> {
    let is_wanted = |name: &str| name.starts_with(".debug_") || name == "sourceMappingURL";
    let customs = info.env().customs.iter().filter(|(name, _)| is_wanted(name));
    let sections: Vec<_> = customs.map(|(name, range)| (name.as_str(), info.checked_bytes(range))).collect();
    let section = |name: &str| sections.iter().find(|(found, _)| *found == name).map(|(_, bytes)| &**bytes);
    if section(".debug_info").is_some() {
        let from_dwarf = code_section_start(info.source()).map(|start| dwarf::symbolize(section, start, offsets));
        return from_dwarf.unwrap_or_else(|| vec![Vec::new(); offsets.len()]);
    }
    let map = section("sourceMappingURL").and_then(source_map::SourceMap::from_section);
    let find = |offset: &Option<usize>| map.as_ref()?.find((*offset)?);
    offsets.iter().map(|offset| find(offset).into_iter().collect()).collect()
}

/// Where the contents of the code section begin: what addresses in DWARF count from.
fn code_section_start(wasm: &[u8]) -> Option<usize> {
    const HEADER: usize = 8;
    const CODE: u8 = 10;
    let mut reader = Reader { bytes: wasm, at: HEADER };
    loop {
        let id = reader.byte()?;
        let size = reader.u32()? as usize;
        if id == CODE {
            return Some(reader.at);
        }
        reader.bytes(size)?;
    }
}

/// Longest name that is demangled, and longest result: mangled names can be bombs.
const MAX_NAME: usize = 4096;

/// A function's name as its programmer wrote it: of C++ and Rust demangled, others as they are.
pub(crate) fn demangle(name: &str) -> Cow<'_, str> {
    if name.len() > MAX_NAME {
        return Cow::Borrowed(name);
    }
    let mut short = Bounded(String::new());
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        // `{:#}` leaves the hash off.
        return match write!(short, "{rust:#}") {
            Ok(()) => Cow::Owned(short.0),
            Err(_) => Cow::Borrowed(name),
        };
    }
    if !(name.starts_with("_Z") || name.starts_with("__Z")) {
        return Cow::Borrowed(name);
    }
    let options = cpp_demangle::DemangleOptions::new().recursion_limit(192);
    match cpp_demangle::Symbol::new(name).map(|symbol| symbol.structured_demangle(&mut short, &options)) {
        Ok(Ok(())) => Cow::Owned(short.0),
        _ => Cow::Borrowed(name),
    }
}

/// A string that refuses to become longer than [`MAX_NAME`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        if self.0.len() + s.len() > MAX_NAME {
            return Err(std::fmt::Error);
        }
        self.0.push_str(s);
        Ok(())
    }
}

/// Reads the few things of the binary format that symbols need. `None`: the bytes end too early or are wrong.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u32(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).ok();
            }
        }
        None
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cpp_and_rust_are_demangled_and_others_left() {
        let cases = [
            ("_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE", "core::fmt::Formatter::write_str"),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            ("_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)"),
            ("runtime.mallocgc", "runtime.mallocgc"),
            ("main", "main"),
            ("_Z", "_Z"),
        ];
        for (mangled, plain) in cases {
            assert_eq!(demangle(mangled), plain);
        }
    }

    #[test]
    fn a_name_that_grows_without_bound_is_left_as_it_is() {
        // Each substitution doubles the name.
        let mut bomb = String::from("_Z1fP1aS_");
        for i in 0..60 {
            let last = if i < 10 { char::from(b'0' + i) } else { char::from(b'A' + i - 10) };
            bomb.push_str(&format!("1gIS{last}_S{last}_E"));
        }
        assert_eq!(demangle(&bomb), bomb);
        let long = format!("_Z{}{}", 5000, "x".repeat(5000));
        assert_eq!(demangle(&long), long);
    }

    #[test]
    fn the_code_section_is_found() {
        let wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";
        assert_eq!(code_section_start(wasm), Some(20));
        assert_eq!(code_section_start(&wasm[..18]), None);
        assert_eq!(code_section_start(b"\0asm"), None);
        assert_eq!(code_section_start(b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f"), None);
    }
}
