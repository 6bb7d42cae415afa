//! Where functions go in the text of a module of which it is known how it ran.
//!
//! Functions that have run come first, so that a run touches few pages. Among them callees stand behind the caller that was
//! entered most, as long as such a *cluster* is not too large, and clusters by how often a byte of them is called. The order
//! follows from the code and what is known about it, and from nothing else.

use std::cmp::Reverse;

use kiln_env::{DefinedFuncIndex, FuncKey, MachineFunc};

use crate::profile::Profile;

/// Bytes of a cluster: what Linux maps at once of a file when a page of it is missing.
const CLUSTER: u64 = 64 << 10;

/// Functions that are called together.
struct Cluster {
    /// Their positions.
    funcs: Vec<usize>,
    /// Bytes of code.
    size: u64,
    /// Sum of entries.
    heat: u64,
}

/// The order in which functions are to be placed, by their positions among `funcs`, which are in ascending order of their
/// keys. What is no body of the module keeps its place behind these.
pub(crate) fn order(funcs: &[(FuncKey, MachineFunc)], profile: &Profile<'_>) -> Vec<usize> {
    let heat: Vec<Option<u64>> = funcs.iter().map(|(key, _)| heat_of(*key, profile)).collect();
    let mut clusters: Vec<Cluster> = (funcs.iter().zip(&heat).enumerate())
        .map(|(i, ((_, func), heat))| Cluster {
            funcs: vec![i],
            size: func.code.len() as u64,
            heat: heat.unwrap_or_default(),
        })
        .collect();
    let callers = hottest_callers(funcs, &heat);
    // Which cluster a function is in, known by the function that it began with.
    let mut of: Vec<usize> = (0..funcs.len()).collect();
    let mut hottest: Vec<usize> = (0..funcs.len()).filter(|i| heat[*i].is_some()).collect();
    hottest.sort_by_key(|i| (Reverse(heat[*i]), *i));
    for func in &hottest {
        let Some(caller) = callers[*func] else { continue };
        let (to, from) = (of[caller], of[*func]);
        if to == from || clusters[to].size + clusters[from].size > CLUSTER {
            continue;
        }
        let Cluster { funcs: moved, size, heat } =
            std::mem::replace(&mut clusters[from], Cluster { funcs: Vec::new(), size: 0, heat: 0 });
        moved.iter().for_each(|func| of[*func] = to);
        clusters[to].funcs.extend(moved);
        clusters[to].size += size;
        clusters[to].heat += heat;
    }
    let mut hot: Vec<usize> = hottest.into_iter().filter(|i| of[*i] == *i).collect();
    hot.sort_by(|a, b| {
        let (x, y) = (&clusters[*a], &clusters[*b]);
        let density = |x: &Cluster, y: &Cluster| u128::from(x.heat) * u128::from(y.size);
        density(y, x).cmp(&density(x, y)).then(a.cmp(b))
    });
    let mut order: Vec<usize> = hot.into_iter().flat_map(|i| std::mem::take(&mut clusters[i].funcs)).collect();
    order.extend((0..funcs.len()).filter(|i| heat[*i].is_none()));
    order
}

/// How often a function was entered, once at least, if it was called.
fn heat_of(key: FuncKey, profile: &Profile<'_>) -> Option<u64> {
    let FuncKey::Wasm(func) = key else { return None };
    let facts = profile.facts(func);
    facts.has_run.then(|| u64::from(facts.entries.max(1)))
}

/// For each function that has run the caller that was entered most, if one has run.
fn hottest_callers(funcs: &[(FuncKey, MachineFunc)], heat: &[Option<u64>]) -> Vec<Option<usize>> {
    let mut callers: Vec<Option<usize>> = vec![None; funcs.len()];
    for (caller, (_, func)) in funcs.iter().enumerate().filter(|(i, _)| heat[*i].is_some()) {
        let callees = func.relocs.iter().filter_map(|reloc| match reloc.target {
            FuncKey::Wasm(DefinedFuncIndex(callee)) => Some(callee as usize),
            _ => None,
        });
        for callee in callees {
            let is_called = callee != caller && heat.get(callee).is_some_and(Option::is_some);
            if is_called && callers[callee].is_none_or(|known| heat[known] < heat[caller]) {
                callers[callee] = Some(caller);
            }
        }
    }
    callers
}

#[cfg(test)]
mod tests {
    use kiln_env::machine::{Reloc, RelocKind};
    use kiln_env::profile::FuncFacts;
    use kiln_env::{Builtin, TypeIndex};

    use super::*;

    const KB: usize = 1024;

    /// The order of functions of so many bytes, with what they call and how often they were entered; behind them are two that
    /// are none of the module's.
    fn order_of(funcs: &[(usize, &[u32], Option<u32>)]) -> Vec<usize> {
        let wasm = |func| FuncKey::Wasm(DefinedFuncIndex(func));
        let reloc = |func: &u32| Reloc { offset: 0, kind: RelocKind::X86CallPcRel4, target: wasm(*func), addend: 0 };
        let code = |size: &usize, callees: &[u32]| MachineFunc {
            code: vec![0; *size],
            relocs: callees.iter().map(reloc).collect(),
            ..MachineFunc::default()
        };
        let mut all: Vec<_> = (0..).zip(funcs).map(|(i, (size, callees, _))| (wasm(i), code(size, callees))).collect();
        all.push((FuncKey::ArrayToWasm(TypeIndex(0)), code(&16, &[0])));
        all.push((FuncKey::WasmToBuiltin(Builtin::Raise), code(&16, &[])));
        let find = |func: DefinedFuncIndex| {
            let entries = funcs[func.0 as usize].2;
            FuncFacts { has_run: entries.is_some(), entries: entries.unwrap_or_default(), ..FuncFacts::default() }
        };
        let profile = Profile::new(&find);
        let found = order(&all, &profile);
        let (bodies, others) = found.split_at(funcs.len());
        assert_eq!(others, [funcs.len(), funcs.len() + 1]);
        bodies.to_vec()
    }

    #[test]
    fn what_has_run_comes_first_and_callees_behind_callers() {
        assert_eq!(order_of(&[(9, &[], None), (9, &[], None)]), [0, 1]);
        assert_eq!(order_of(&[(9, &[1], None), (9, &[], Some(0)), (9, &[], None), (9, &[], Some(5))]), [3, 1, 0, 2]);
        // 4 calls 0, which calls 2; 1 is hotter than these, and calls nobody.
        let funcs: [(usize, &[u32], _); 5] = [
            (10, &[2], Some(30)),
            (10, &[1], Some(90)),
            (10, &[], Some(20)),
            (10, &[0], None),
            (10, &[0, 4], Some(40)),
        ];
        assert_eq!(order_of(&funcs), [1, 4, 0, 2, 3]);
        // 2 is called by both others: it goes to the hotter one. They call each other.
        let funcs: [(usize, &[u32], _); 3] = [(10, &[2, 1], Some(3)), (10, &[2, 0], Some(4)), (10, &[], Some(1))];
        assert_eq!(order_of(&funcs), [0, 1, 2]);
    }

    #[test]
    fn clusters_have_a_limit_and_go_by_heat_for_their_size() {
        let funcs: [(usize, &[u32], _); 3] =
            [(40 * KB, &[1], Some(50)), (40 * KB, &[2], Some(50)), (10 * KB, &[], Some(50))];
        assert_eq!(order_of(&funcs), [1, 2, 0]);
        let funcs: [(usize, &[u32], _); 2] = [(KB, &[], Some(10)), (100 * KB, &[], Some(20))];
        assert_eq!(order_of(&funcs), [0, 1]);
    }
}
