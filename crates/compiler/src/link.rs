//! Places functions behind one another and resolves the references between them.

use std::collections::{BTreeMap, BTreeSet};

use cranelift_codegen::isa::TargetIsa;
use kiln_env::image::ImageFunc;
use kiln_env::{FuncKey, Image, MachineFunc};

use crate::error::{CompileError, Result};

/// Greatest text: displacements within it are 32-bit everywhere.
const MAX_TEXT: u64 = i32::MAX as u64;

/// How to link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LinkOptions {
    /// Bytes of padding behind each function: to test that nothing depends on distances.
    pub padding: u32,
    /// Let every reference between functions take the long way: to test veneers.
    pub force_veneers: bool,
}

/// Where everything goes.
struct Layout {
    starts: Vec<u32>,
    /// Behind a function: the functions that its veneers jump to, in order.
    veneers: BTreeMap<usize, BTreeSet<usize>>,
    len: u32,
}

/// Links functions, which are in ascending order of their keys.
///
/// # Errors
/// The text exceeds 2 GiB. A function that is referred to is missing (a bug of the caller).
pub(crate) fn link(isa: &dyn TargetIsa, funcs: Vec<(FuncKey, MachineFunc)>, options: LinkOptions) -> Result<Image> {
    debug_assert!(funcs.is_sorted_by_key(|(key, _)| *key));
    let keys = Keys(funcs.iter().map(|(key, _)| *key).collect());
    let layout = Layout::new(&keys, &funcs, options)?;
    // What is between functions is never executed; if it is after all, it traps.
    let filler = if isa.name() == "x64" { 0xcc } else { 0 };
    let mut image = Image { text: Vec::with_capacity(layout.len as usize), funcs: Vec::with_capacity(funcs.len()) };
    for (i, (key, func)) in funcs.into_iter().enumerate() {
        let start = layout.starts[i];
        image.text.resize(start as usize, filler);
        image.text.extend_from_slice(&func.code);
        place_relocs(&keys, &layout, i, &func, &mut image.text)?;
        image.funcs.push(ImageFunc { key, start, len: func.code.len() as u32, tables: func.tables });
    }
    image.text.resize(layout.len as usize, filler);
    Ok(image)
}

/// Resolves the references of the function that was placed last, through veneers where there are any.
fn place_relocs(keys: &Keys, layout: &Layout, i: usize, func: &MachineFunc, text: &mut Vec<u8>) -> Result<()> {
    let start = layout.starts[i] as usize;
    let out_of_reach = |e: kiln_env::reloc::OutOfReach| CompileError::limit_message(e).for_key(keys.0[i]);
    let mut veneers = BTreeMap::new();
    for &target in layout.veneers.get(&i).into_iter().flatten() {
        let Some(kind) = func.relocs.first().map(|r| r.kind) else { break };
        let at = text.len().next_multiple_of(kind.veneer_align() as usize);
        text.resize(at + kind.veneer_size() as usize, 0);
        kind.write_veneer(&mut text[at..], at as u64, layout.starts[target].into()).map_err(out_of_reach)?;
        veneers.insert(target, at as u64);
    }
    for reloc in &func.relocs {
        let target = keys.position(reloc.target)?;
        let address = veneers.get(&target).copied().unwrap_or(layout.starts[target].into());
        reloc.apply(&mut text[start..start + func.code.len()], start as u64, address).map_err(out_of_reach)?;
    }
    Ok(())
}

impl Layout {
    fn new(keys: &Keys, funcs: &[(FuncKey, MachineFunc)], options: LinkOptions) -> Result<Layout> {
        let mut layout = Layout { starts: Vec::with_capacity(funcs.len()), veneers: BTreeMap::new(), len: 0 };
        if options.force_veneers {
            layout.add_veneers(keys, funcs, |_, _| false)?;
        }
        loop {
            layout.place(funcs, options)?;
            let least_reach = funcs.iter().flat_map(|(_, f)| &f.relocs).map(|r| r.kind.reach().1).next();
            if least_reach.is_none_or(|reach| i64::from(layout.len) <= reach) {
                return Ok(layout);
            }
            // Veneers are only ever added, so this ends: when all that is too far has one.
            let starts = std::mem::take(&mut layout.starts);
            let reaches = |(place, reloc): (usize, &kiln_env::machine::Reloc), target: usize| {
                let place = i64::from(starts[place]) + i64::from(reloc.offset);
                reloc.kind.reaches(i64::from(starts[target]) + reloc.addend - place)
            };
            let added = layout.add_veneers(keys, funcs, reaches)?;
            layout.starts = starts;
            if !added {
                return Ok(layout);
            }
        }
    }

    /// Adds the veneers for references that `reaches` denies; returns whether there are new ones.
    fn add_veneers(
        &mut self,
        keys: &Keys,
        funcs: &[(FuncKey, MachineFunc)],
        reaches: impl Fn((usize, &kiln_env::machine::Reloc), usize) -> bool,
    ) -> Result<bool> {
        let mut added = false;
        for (i, (_, func)) in funcs.iter().enumerate() {
            for reloc in &func.relocs {
                let target = keys.position(reloc.target)?;
                if reaches((i, reloc), target) {
                    continue;
                }
                added |= self.veneers.entry(i).or_default().insert(target);
            }
        }
        Ok(added)
    }

    fn place(&mut self, funcs: &[(FuncKey, MachineFunc)], options: LinkOptions) -> Result<()> {
        self.starts.clear();
        let mut at = 0u64;
        for (i, (_, func)) in funcs.iter().enumerate() {
            at = at.next_multiple_of(func.align.into());
            self.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            at += func.code.len() as u64;
            if let (Some(veneers), Some(reloc)) = (self.veneers.get(&i), func.relocs.first()) {
                let size = reloc.kind.veneer_size().next_multiple_of(reloc.kind.veneer_align());
                at = at.next_multiple_of(reloc.kind.veneer_align().into()) + u64::from(size) * veneers.len() as u64;
            }
            at += u64::from(options.padding);
        }
        if at > MAX_TEXT {
            return Err(CompileError::limit("bytes of machine code", at, MAX_TEXT));
        }
        self.len = at as u32;
        Ok(())
    }
}

/// The keys of all functions, ascending.
struct Keys(Vec<FuncKey>);

impl Keys {
    /// Where a function stands among them.
    fn position(&self, key: FuncKey) -> Result<usize> {
        // In a whole module the wasm functions are the first ones, without gaps.
        if let FuncKey::Wasm(f) = key
            && self.0.get(f.0 as usize) == Some(&key)
        {
            return Ok(f.0 as usize);
        }
        self.0
            .binary_search(&key)
            .map_err(|_| CompileError::internal(format_args!("{key} is called, but is not linked")))
    }
}
