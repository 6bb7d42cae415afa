//! Names from the name section, read when somebody asks.

use kiln_env::{DefinedFuncIndex, EntityIndex, FuncIndex, Module};
use wasmparser::{BinaryReader, Name, NameSectionReader};

fn subsections<'a>(module: &Module, source: &'a [u8]) -> impl Iterator<Item = Name<'a>> {
    let section = module.custom("name").and_then(|range| {
        let bytes = source.get(range.start as usize..range.end as usize)?;
        Some(NameSectionReader::new(BinaryReader::new(bytes, range.start.into())))
    });
    // A damaged name section is as good as none.
    section.into_iter().flatten().map_while(|name| name.ok())
}

/// The module's own name.
pub fn module_name(module: &Module, source: &[u8]) -> Option<String> {
    subsections(module, source).find_map(|s| match s {
        Name::Module { name, .. } => Some(name.to_owned()),
        _ => None,
    })
}

/// The name of a function: from the name section, else its first export's, else that of its import.
///
/// Reads the whole section up to the name, so it is for errors, not for loops.
pub fn func_name(module: &Module, source: &[u8], func: FuncIndex) -> Option<String> {
    let named = subsections(module, source).find_map(|s| match s {
        Name::Function(map) => {
            let name = map.into_iter().map_while(|n| n.ok()).find(|n| n.index == func.0);
            name.map(|n| n.name.to_owned())
        }
        _ => None,
    });
    let is_it = |index| index == EntityIndex::Func(func);
    named
        .or_else(|| module.exports.iter().find(|e| is_it(e.index)).map(|e| e.name.clone()))
        .or_else(|| module.imports.iter().find(|i| is_it(i.index)).map(|i| format!("{}.{}", i.module, i.name)))
}

/// The function with a body that has this name, in the name section or as an export, or this index.
pub(crate) fn defined_func(module: &Module, source: &[u8], name: &str) -> Option<DefinedFuncIndex> {
    let named = defined_names(module, source).into_iter().find(|(_, n)| *n == name);
    let exported = || match module.exports.iter().find(|e| e.name == name)?.index {
        EntityIndex::Func(func) => module.defined_func(func),
        _ => None,
    };
    let indexed = || module.defined_func(FuncIndex(name.parse().ok()?));
    let func = named.map(|(func, _)| func).or_else(exported).or_else(indexed)?;
    module.bodies.get(func).map(|_| func)
}

/// The functions with a body that the name section names.
pub(crate) fn defined_names<'a>(module: &Module, source: &'a [u8]) -> Vec<(DefinedFuncIndex, &'a str)> {
    let mut out = Vec::new();
    for section in subsections(module, source) {
        if let Name::Function(map) = section {
            let names = map.into_iter().map_while(|n| n.ok());
            out.extend(names.filter_map(|n| Some((module.defined_func(FuncIndex(n.index))?, n.name))));
        }
    }
    out.retain(|(func, _)| module.bodies.get(*func).is_some());
    out
}
