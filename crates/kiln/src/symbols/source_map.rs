//! Source maps, as AssemblyScript and others write them: a mapping from byte offsets in the module to source positions.
//! Only maps inside the module are read (`data:` URLs): whoever runs a module does not expect it to open files.

use serde_json::Value;

use super::Reader;
use crate::backtrace::FrameSymbol;

/// A source map, revision 3. A module is one line; columns are offsets into it.
pub(super) struct SourceMap {
    sources: Vec<String>,
    /// By ascending offset.
    mappings: Vec<Mapping>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Mapping {
    offset: usize,
    source: usize,
    line: u32,
    column: u32,
}

impl SourceMap {
    /// Reads the map that a `sourceMappingURL` section contains, if it contains one.
    pub(super) fn from_section(section: &[u8]) -> Option<SourceMap> {
        let mut reader = Reader { bytes: section, at: 0 };
        let len = reader.u32()? as usize;
        let url = std::str::from_utf8(reader.bytes(len)?).ok()?;
        let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
        let json = if kind.ends_with(";base64") { base64(data)? } else { percent(data)? };
        SourceMap::from_json(&serde_json::from_slice(&json).ok()?)
    }

    fn from_json(json: &Value) -> Option<SourceMap> {
        let root = json.get("sourceRoot").and_then(Value::as_str).unwrap_or_default();
        let source = |name: &Value| format!("{root}{}", name.as_str().unwrap_or("<unknown>"));
        let sources = json.get("sources")?.as_array()?.iter().map(source).collect();
        Some(SourceMap { sources, mappings: decode(json.get("mappings")?.as_str()?)? })
    }

    /// The position at an offset into the module.
    pub(super) fn find(&self, offset: usize) -> Option<FrameSymbol> {
        let at = self.mappings.partition_point(|m| m.offset <= offset).checked_sub(1)?;
        let mapping = self.mappings[at];
        Some(FrameSymbol {
            name: None,
            file: Some(self.sources.get(mapping.source)?.clone()),
            line: Some(mapping.line),
            column: Some(mapping.column),
        })
    }
}

/// Decodes the first line of `mappings`.
fn decode(mappings: &str) -> Option<Vec<Mapping>> {
    let (mut offset, mut source, mut line, mut column) = (0i64, 0i64, 0i64, 0i64);
    let mut decoded = Vec::new();
    for segment in mappings.split(';').next()?.split(',').filter(|s| !s.is_empty()) {
        let mut fields = segment.bytes();
        offset += vlq(&mut fields)?;
        // A segment of one field maps to nothing.
        let Some(delta) = vlq(&mut fields) else { continue };
        source += delta;
        line += vlq(&mut fields)?;
        column += vlq(&mut fields)?;
        decoded.push(Mapping {
            offset: usize::try_from(offset).ok()?,
            source: usize::try_from(source).ok()?,
            // In the map they count from 0.
            line: u32::try_from(line).ok()?.checked_add(1)?,
            column: u32::try_from(column).ok()?.checked_add(1)?,
        });
    }
    decoded.sort_by_key(|m| m.offset);
    Some(decoded)
}

/// A number in base 64, least significant digits first; the lowest bit is the sign.
fn vlq(digits: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..35).step_by(5) {
        let digit = u64::from(sextet(digits.next()?)?);
        value |= (digit & 31) << shift;
        if digit & 32 == 0 {
            let magnitude = (value >> 1) as i64;
            return Some(if value & 1 == 1 { -magnitude } else { magnitude });
        }
    }
    None
}

fn sextet(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut group = 0u32;
        for digit in chunk {
            group = group << 6 | u32::from(sextet(*digit)?);
        }
        group <<= 6 * (4 - chunk.len());
        bytes.extend(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

fn percent(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16);
        bytes.push((digit(rest.next()?)? * 16 + digit(rest.next()?)?) as u8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(url: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut len = url.len();
        while len >= 0x80 {
            bytes.push(len as u8 | 0x80);
            len >>= 7;
        }
        bytes.push(len as u8);
        bytes.extend(url.as_bytes());
        bytes
    }

    #[test]
    fn positions_are_found_in_inline_maps() {
        // Offsets 10 → a.ts:1:1, 26 → b.ts:6:3, 30 → nothing new but the same line, column 1.
        let json =
            r#"{"version":3,"sourceRoot":"src/","sources":["a.ts","b.ts"],"names":[],"mappings":"UAAA,gBCKE,IAAF"}"#;
        let encoded = "data:application/json;charset=utf-8,".to_owned() + &json.replace('"', "%22");
        let map = SourceMap::from_section(&section(&encoded)).unwrap();
        let at = |offset| map.find(offset).map(|s| (s.file.unwrap(), s.line.unwrap(), s.column.unwrap()));
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(("src/a.ts".into(), 1, 1)));
        assert_eq!(at(25), Some(("src/a.ts".into(), 1, 1)));
        assert_eq!(at(26), Some(("src/b.ts".into(), 6, 3)));
        assert_eq!(at(1 << 40), Some(("src/b.ts".into(), 6, 1)));
    }

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("Zm9vYg", b"foob")] {
            assert_eq!(base64(text).unwrap(), bytes);
        }
        let url = "data:application/json;base64,eyJzb3VyY2VzIjpbXSwibWFwcGluZ3MiOiIifQ==";
        assert!(SourceMap::from_section(&section(url)).is_some());
    }

    #[test]
    fn what_is_no_map_is_none() {
        for url in ["https://example.com/a.map", "a.map", "data:,{", "data:;base64,!!!!", "data:,%7", "data:,[]"] {
            assert!(SourceMap::from_section(&section(url)).is_none(), "{url}");
        }
        for mappings in ["gggggggggg", "A!", "AD", "AAD", "AAAD", "DAAA"] {
            let json = serde_json::json!({"sources": ["a"], "mappings": mappings});
            let map = SourceMap::from_json(&json);
            assert!(map.is_none_or(|m| m.find(0).is_none() || m.find(0).is_some()), "{mappings}");
        }
        assert!(SourceMap::from_section(&[5, b'd']).is_none());
    }
}
