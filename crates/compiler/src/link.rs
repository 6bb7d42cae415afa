//! Places functions behind one another and resolves the references between them.

use std::collections::{BTreeMap, BTreeSet};

use kiln_env::image::ImageFunc;
use kiln_env::machine::Reloc;
use kiln_env::reloc::OutOfReach;
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

/// Where everything goes. Functions are known by their positions among the keys.
struct Layout {
    starts: Vec<u32>,
    /// Behind a function: the functions that its veneers jump to, in order.
    veneers: BTreeMap<usize, BTreeSet<usize>>,
    len: u32,
}

/// What is between functions, on a target that Cranelift calls so. It is never executed; if it is after all, it traps.
pub(crate) fn filler(target: &str) -> u8 {
    if target == "x64" { 0xcc } else { 0 }
}

/// Links functions, which are in ascending order of their keys, and puts them into the text in `order`, which names each by
/// its position once; without one as they are. `filler` goes between them.
///
/// # Errors
/// The text exceeds 2 GiB. A function that is referred to is missing (a bug of the caller).
pub(crate) fn link(
    mut funcs: Vec<(FuncKey, MachineFunc)>,
    order: Option<Vec<usize>>,
    options: LinkOptions,
    filler: u8,
) -> Result<Image> {
    debug_assert!(funcs.is_sorted_by_key(|(key, _)| *key));
    let order = order.unwrap_or_else(|| (0..funcs.len()).collect());
    debug_assert!(order.len() == funcs.len() && order.iter().collect::<BTreeSet<_>>().len() == funcs.len());
    let keys = Keys(funcs.iter().map(|(key, _)| *key).collect());
    let layout = Layout::new(&keys, (&funcs, &order), options)?;
    let mut image = Image { text: Vec::with_capacity(layout.len as usize), funcs: Vec::with_capacity(funcs.len()) };
    for i in order {
        let (key, func) = (funcs[i].0, std::mem::take(&mut funcs[i].1));
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
    let out_of_reach = |e: OutOfReach| CompileError::limit_message(e).for_key(keys.0[i]);
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
    fn new(keys: &Keys, (funcs, order): (&[(FuncKey, MachineFunc)], &[usize]), options: LinkOptions) -> Result<Layout> {
        let mut layout = Layout { starts: Vec::new(), veneers: BTreeMap::new(), len: 0 };
        if options.force_veneers {
            layout.add_veneers(keys, funcs, |_, _| false)?;
        }
        loop {
            layout.place(funcs, order, options)?;
            let least_reach = funcs.iter().flat_map(|(_, f)| &f.relocs).map(|r| r.kind.reach().1).next();
            if least_reach.is_none_or(|reach| i64::from(layout.len) <= reach) {
                return Ok(layout);
            }
            // Veneers are only ever added, so this ends: when all that is too far has one.
            let starts = std::mem::take(&mut layout.starts);
            let reaches = |(place, reloc): (usize, &Reloc), target: usize| {
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
        reaches: impl Fn((usize, &Reloc), usize) -> bool,
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

    fn place(&mut self, funcs: &[(FuncKey, MachineFunc)], order: &[usize], options: LinkOptions) -> Result<()> {
        self.starts.clear();
        self.starts.resize(funcs.len(), 0);
        let mut at = 0u64;
        for &i in order {
            let func = &funcs[i].1;
            at = at.next_multiple_of(func.align.into());
            self.starts[i] = u32::try_from(at).unwrap_or(u32::MAX);
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

#[cfg(test)]
mod tests {
    use kiln_env::machine::RelocKind;
    use kiln_env::{Builtin, DefinedFuncIndex};

    use super::*;

    const KINDS: [RelocKind; 4] =
        [RelocKind::X86CallPcRel4, RelocKind::Arm64Call, RelocKind::RiscvCallPlt, RelocKind::S390xPlt32Dbl];
    const FILLER: u8 = 0xcc;

    fn key(i: u32) -> FuncKey {
        FuncKey::Wasm(DefinedFuncIndex(i))
    }

    /// A function of `len` bytes that calls `targets`, each by its own instruction.
    fn func(kind: RelocKind, len: usize, targets: &[FuncKey]) -> MachineFunc {
        // Call instruction, offset of what is relocated in it, addend.
        let (call, at, addend): (&[u8], u32, i64) = match kind {
            RelocKind::X86CallPcRel4 => (&[0xe8, 0, 0, 0, 0, 0x90, 0x90, 0x90], 1, -4),
            RelocKind::Arm64Call => (&[0, 0, 0, 0x94, 0x1f, 0x20, 0x03, 0xd5], 0, 0),
            RelocKind::RiscvCallPlt => (&[0x97, 0, 0, 0, 0xe7, 0x80, 0, 0], 0, 0),
            RelocKind::S390xPlt32Dbl => (&[0xc0, 0xe5, 0, 0, 0, 0, 0x07, 0x07], 2, 2),
        };
        let mut code = call.repeat(targets.len());
        code.resize(len.max(code.len()), 0);
        let relocs = targets.iter().zip(0..).map(|(t, i)| Reloc { offset: 8 * i + at, kind, target: *t, addend });
        MachineFunc { code, align: 16, relocs: relocs.collect(), ..MachineFunc::default() }
    }

    fn word(text: &[u8], at: u64) -> u32 {
        u32::from_le_bytes(text[at as usize..at as usize + 4].try_into().unwrap())
    }

    /// Where the call or veneer at `at` goes, by its instruction.
    fn destination(kind: RelocKind, text: &[u8], at: u64) -> u64 {
        let half = |at: u64| i64::from(i32::from_be_bytes(text[at as usize..at as usize + 4].try_into().unwrap())) * 2;
        let riscv = |at| i64::from((word(text, at) & 0xffff_f000) as i32) + i64::from(word(text, at + 4) as i32 >> 20);
        match kind {
            RelocKind::X86CallPcRel4 => at.wrapping_add_signed(i64::from(word(text, at + 1) as i32) + 5),
            RelocKind::Arm64Call if word(text, at) >> 26 == 0x25 => {
                at.wrapping_add_signed(i64::from((word(text, at) << 6) as i32 >> 4))
            }
            RelocKind::Arm64Call => {
                let adrp = word(text, at);
                let pages = i64::from(((adrp >> 5 & 0x7_ffff) << 2 | adrp >> 29 & 3) << 11) << 32 >> 43;
                (at & !0xfff).wrapping_add_signed(pages << 12) + u64::from(word(text, at + 4) >> 10 & 0xfff)
            }
            RelocKind::RiscvCallPlt => at.wrapping_add_signed(riscv(at)),
            RelocKind::S390xPlt32Dbl => at.wrapping_add_signed(half(at + 2)),
        }
    }

    /// Checks that every call ends where it should, and returns how many took a veneer.
    fn check_calls(kind: RelocKind, image: &Image, funcs: &[(FuncKey, MachineFunc)]) -> usize {
        let mut veneers = 0;
        assert!(image.funcs.is_sorted_by_key(|f| f.start) && image.funcs.len() == funcs.len());
        for (key, func) in funcs {
            let placed = image.funcs.iter().find(|f| f.key == *key).unwrap();
            assert_eq!((placed.key, placed.len as usize, placed.start % func.align), (*key, func.code.len(), 0));
            for (reloc, i) in func.relocs.iter().zip(0..) {
                let wanted = image.funcs.iter().find(|f| f.key == reloc.target).unwrap().start;
                let mut reached = destination(kind, &image.text, u64::from(placed.start) + 8 * i);
                if image.func_at(reached as u32).is_none() {
                    veneers += 1;
                    reached = destination(kind, &image.text, reached);
                }
                assert_eq!(reached, u64::from(wanted), "{kind:?}: {key} to {}", reloc.target);
            }
        }
        veneers
    }

    #[test]
    fn calls_reach_their_targets_with_padding_and_veneers() {
        let builtin = FuncKey::WasmToBuiltin(Builtin::Raise);
        for kind in KINDS {
            let funcs = vec![
                (key(0), func(kind, 40, &[key(2), key(0), builtin])),
                (key(1), func(kind, 7, &[])),
                (key(2), func(kind, 0, &[key(1), key(1), key(5)])),
                (key(5), func(kind, 100, &[key(0)])),
                (builtin, func(kind, 16, &[])),
            ];
            for (padding, force_veneers) in [(0, false), (3, false), (1000, false), (0, true), (17, true)] {
                for order in [None, Some(vec![0, 1, 2, 3, 4]), Some(vec![3, 2, 0, 1, 4])] {
                    let options = LinkOptions { padding, force_veneers };
                    let image = link(funcs.clone(), order.clone(), options, FILLER).unwrap();
                    let veneers = check_calls(kind, &image, &funcs);
                    assert_eq!(veneers, if force_veneers { 7 } else { 0 }, "{kind:?}");
                    let gaps = image.funcs.windows(2).map(|w| w[1].start - w[0].start - w[0].len);
                    assert!(gaps.min().unwrap() >= padding);
                    let placed = image.funcs.iter().map(|f| f.key);
                    let order = order.unwrap_or_else(|| (0..5).collect());
                    assert!(placed.eq(order.iter().map(|i| funcs[*i].0)));
                }
            }
        }
    }

    #[test]
    fn far_targets_get_veneers() {
        let kind = RelocKind::Arm64Call;
        let far = (kind.reach().1 + 4096) as usize;
        let funcs = vec![
            (key(0), func(kind, 0, &[key(2), key(1)])),
            (key(1), func(kind, far, &[])),
            (key(2), func(kind, 0, &[key(0), key(1), key(3)])),
            (key(3), func(kind, 64, &[key(2)])),
        ];
        let image = link(funcs.clone(), None, LinkOptions::default(), 0).unwrap();
        assert_eq!(check_calls(kind, &image, &funcs), 3);
    }

    #[test]
    fn missing_functions_are_errors() {
        let funcs = vec![(key(0), func(KINDS[0], 0, &[key(1)]))];
        let error = link(funcs, None, LinkOptions::default(), FILLER).unwrap_err();
        assert!(error.to_string().contains("wasm[1]"), "{error}");
    }
}
