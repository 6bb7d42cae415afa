//! The name section.

use kiln_env::FuncIndex;

use super::Reader;

const FUNCTION_NAMES: u8 = 1;

/// Names of a module's functions.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By ascending index.
    funcs: Vec<(u32, Box<str>)>,
}

impl Names {
    /// Reads the contents of a name section as far as they make sense.
    pub(crate) fn parse(section: &[u8]) -> Names {
        let mut reader = Reader { bytes: section, at: 0 };
        let mut names = Names::default();
        while let Some((id, contents)) = subsection(&mut reader) {
            if id == FUNCTION_NAMES {
                names.read_functions(&mut Reader { bytes: contents, at: 0 });
            }
        }
        // The format demands ascending order; `sort` is linear then.
        names.funcs.sort_by_key(|(index, _)| *index);
        names
    }

    fn read_functions(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        for _ in 0..reader.u32()? {
            let index = reader.u32()?;
            let len = reader.u32()? as usize;
            let name = String::from_utf8_lossy(reader.bytes(len)?);
            self.funcs.push((index, name.into()));
        }
        Some(())
    }

    /// The name of a function.
    pub(crate) fn func(&self, index: FuncIndex) -> Option<&str> {
        let at = self.funcs.binary_search_by_key(&index.0, |(i, _)| *i).ok()?;
        Some(&self.funcs[at].1)
    }
}

fn subsection<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let id = reader.byte()?;
    let size = reader.u32()? as usize;
    Some((id, reader.bytes(size)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_names_are_found_by_index() {
        // Module name, then functions 2 and 0 in the wrong order, then something unknown.
        let section = b"\x00\x02\x01m\x01\x09\x02\x02\x03two\x00\x01z\x7f\x01\x00";
        let names = Names::parse(section);
        assert_eq!(names.func(FuncIndex(0)), Some("z"));
        assert_eq!(names.func(FuncIndex(1)), None);
        assert_eq!(names.func(FuncIndex(2)), Some("two"));
        for end in 0..section.len() {
            Names::parse(&section[..end]);
        }
        assert!(Names::parse(b"\x01\x06\xff\xff\xff\xff\x0f\x00").funcs.is_empty());
    }
}
