//! Engine-wide numbering of types: equal types of all modules of an engine have one number, so that indirect calls and
//! imports compare one integer.
//!
//! The unit is the recursion group. A group is brought into a form in which references to its own members are positions
//! and references to anything else are numbers given before; two groups are the same if these forms are (iso-recursive
//! equality). A group lives as long as somebody holds it: a module, a host's `FuncType`, or a group that refers to it.
//! A number is free again when its group is gone, so whoever keeps a number must keep the group.
//!
//! # Engine-numbered types
//! Beyond a module, types are the plain ones of `kiln_env::types` in which `HeapType::Concrete` holds the engine-wide
//! number in place of the module's index. They are `Copy`, and two of them are equal exactly if the types are.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use kiln_env::types::{CompositeType, FuncType, GlobalType, HeapType, RefType, SubType, TableType, ValType};
use kiln_env::{Module, TypeIndex, layout};

/// Engine-wide number of a type. Never `layout::TYPE_NULL` or `layout::TYPE_LAZY`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct TypeId(u32);

impl TypeId {
    /// The number in a `VmFuncRef` or a context's array of type numbers.
    pub(crate) const fn as_u32(self) -> u32 {
        self.0
    }

    /// The type with this number, read from a structure of compiled code or an engine-numbered type.
    pub(crate) const fn from_u32(n: u32) -> TypeId {
        TypeId(n)
    }

    /// The number as `HeapType::Concrete` of an engine-numbered type holds it.
    pub(crate) const fn as_index(self) -> TypeIndex {
        TypeIndex(self.0)
    }
}

/// In the canonical form of a group: set in references to the group's own members, whose positions the other bits are.
/// Numbers stay below it.
const IN_GROUP: u32 = 1 << 31;
const FIRST_ID: u32 = 1;
const _: () = assert!(layout::TYPE_LAZY < FIRST_ID && layout::TYPE_NULL == u32::MAX);

/// More than 2³¹ types are registered in an engine.
#[derive(Debug, thiserror::Error)]
#[error("the engine's type registry is full: more than {} types are in use", IN_GROUP - 1)]
pub(crate) struct TooManyTypes;

/// The types of an engine. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct TypeRegistry {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    groups: HashMap<Arc<[SubType]>, Weak<Group>>,
    /// By number, less [`FIRST_ID`].
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

struct Entry {
    data: Arc<TypeData>,
    group: Weak<Group>,
}

/// What is known about one registered type.
pub(crate) struct TypeData {
    id: TypeId,
    /// Engine-numbered.
    sub: SubType,
    /// The supertypes from the root down, this type last.
    chain: Box<[TypeId]>,
}

struct Group {
    types: Box<[Arc<TypeData>]>,
    /// The canonical form.
    key: Arc<[SubType]>,
    /// The groups that this one refers to.
    uses: Vec<Arc<Group>>,
    registry: Weak<Shared>,
}

/// A type that is kept registered.
#[derive(Clone)]
pub(crate) struct RegisteredType {
    data: Arc<TypeData>,
    group: Arc<Group>,
}

/// The types of a module, kept registered.
pub(crate) struct ModuleTypes {
    ids: Box<[u32]>,
    /// Number to index, for types with several indices the first.
    indices: HashMap<TypeId, TypeIndex>,
    _groups: Vec<Arc<Group>>,
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TypeRegistry {
    /// Registers all types of a module, which has been validated.
    pub(crate) fn register_module(&self, module: &Module) -> Result<ModuleTypes, TooManyTypes> {
        let mut ids: Vec<u32> = Vec::with_capacity(module.types.len());
        let mut groups = Vec::with_capacity(module.rec_groups.len());
        let mut state = self.shared.write();
        for range in &module.rec_groups {
            let renumber = |t: TypeIndex| match t.0.checked_sub(range.start) {
                Some(position) => TypeIndex(position | IN_GROUP),
                None => TypeIndex(ids[t.0 as usize]),
            };
            let types = &module.types.as_slice()[range.start as usize..range.end as usize];
            let key = types.iter().map(|t| map_sub(t, &renumber)).collect();
            let group = match state.intern(&self.shared, key) {
                Ok(group) => group,
                Err(full) => {
                    // Groups take the lock when they go.
                    drop(state);
                    return Err(full);
                }
            };
            ids.extend(group.types.iter().map(|t| t.id.0));
            groups.push(group);
        }
        drop(state);
        let mut indices = HashMap::with_capacity(ids.len());
        for (i, id) in ids.iter().enumerate() {
            indices.entry(TypeId(*id)).or_insert(TypeIndex(i as u32));
        }
        Ok(ModuleTypes { ids: ids.into(), indices, _groups: groups })
    }

    /// Registers a final function type on its own. `signature` is engine-numbered, and its types are registered here.
    pub(crate) fn register_func(&self, signature: FuncType) -> Result<RegisteredType, TooManyTypes> {
        self.register(SubType { is_final: true, supertype: None, composite: CompositeType::Func(signature) })
    }

    /// Registers a type on its own. `sub` is engine-numbered, and its types are registered here.
    pub(crate) fn register(&self, sub: SubType) -> Result<RegisteredType, TooManyTypes> {
        let group = self.shared.write().intern(&self.shared, Arc::new([sub]))?;
        Ok(RegisteredType { data: group.types[0].clone(), group })
    }

    /// The type with this number. `None` if there is none now.
    pub(crate) fn get(&self, id: TypeId) -> Option<RegisteredType> {
        let state = self.shared.read();
        let entry = state.entry(id)?;
        let group = entry.group.upgrade()?;
        Some(RegisteredType { data: entry.data.clone(), group })
    }

    /// Whether `sub` is `sup` or has it among its declared supertypes.
    pub(crate) fn is_subtype(&self, sub: TypeId, sup: TypeId) -> bool {
        if sub == sup {
            return true;
        }
        let state = self.shared.read();
        let (Some(sub), Some(target)) = (state.entry(sub), state.entry(sup)) else { return false };
        sub.data.chain.get(target.data.chain.len() - 1) == Some(&sup)
    }

    /// How many types are registered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shared.read().entries.iter().flatten().count()
    }
}

impl State {
    fn entry(&self, id: TypeId) -> Option<&Entry> {
        self.entries.get(id.0.checked_sub(FIRST_ID)? as usize)?.as_ref()
    }

    /// The group with this canonical form, made if there is none. The groups it refers to are held by the caller.
    fn intern(&mut self, registry: &Arc<Shared>, key: Arc<[SubType]>) -> Result<Arc<Group>, TooManyTypes> {
        if let Some(group) = self.groups.get(&key).and_then(Weak::upgrade) {
            return Ok(group);
        }
        let ids = self.take_ids(key.len())?;
        let resolve = |t: TypeIndex| if t.0 & IN_GROUP != 0 { ids[(t.0 & !IN_GROUP) as usize].as_index() } else { t };
        let mut types: Vec<Arc<TypeData>> = Vec::with_capacity(key.len());
        for (sub, id) in key.iter().zip(&ids) {
            let mut chain = match sub.supertype {
                None => Vec::new(),
                Some(t) if t.0 & IN_GROUP != 0 => types[(t.0 & !IN_GROUP) as usize].chain.to_vec(),
                Some(t) => self.entry(TypeId(t.0)).expect("held by the caller").data.chain.to_vec(),
            };
            chain.push(*id);
            types.push(Arc::new(TypeData { id: *id, sub: map_sub(sub, &resolve), chain: chain.into() }));
        }
        let uses = self.uses_of(&key);
        let group = Arc::new(Group { types: types.into(), key: key.clone(), uses, registry: Arc::downgrade(registry) });
        for data in &group.types {
            let entry = Entry { data: data.clone(), group: Arc::downgrade(&group) };
            self.entries[(data.id.0 - FIRST_ID) as usize] = Some(entry);
        }
        self.groups.insert(key, Arc::downgrade(&group));
        Ok(group)
    }

    /// Numbers for `n` types, their entries still empty.
    fn take_ids(&mut self, n: usize) -> Result<Vec<TypeId>, TooManyTypes> {
        let room = (IN_GROUP - FIRST_ID) as usize - self.entries.len() + self.free.len();
        if n > room {
            return Err(TooManyTypes);
        }
        Ok((0..n)
            .map(|_| {
                TypeId(self.free.pop().unwrap_or_else(|| {
                    self.entries.push(None);
                    self.entries.len() as u32 - 1 + FIRST_ID
                }))
            })
            .collect())
    }

    /// The groups that a canonical form refers to, each once.
    fn uses_of(&self, key: &[SubType]) -> Vec<Arc<Group>> {
        let mut ids = Vec::new();
        for sub in key {
            for_each_reference(sub, &mut |t| {
                if t.0 & IN_GROUP == 0 {
                    ids.push(t.0);
                }
            });
        }
        ids.sort_unstable();
        ids.dedup();
        let mut groups: Vec<Arc<Group>> = ids
            .into_iter()
            .map(|id| self.entry(TypeId(id)).and_then(|e| e.group.upgrade()).expect("held by the caller"))
            .collect();
        groups.sort_unstable_by_key(Arc::as_ptr);
        groups.dedup_by(|a, b| Arc::ptr_eq(a, b));
        groups
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(shared) = self.registry.upgrade() {
            let mut state = shared.write();
            // An equal group may have been registered since the last holder let go of this one.
            if state.groups.get(&self.key).is_some_and(|g| std::ptr::eq(g.as_ptr(), self)) {
                state.groups.remove(&self.key);
            }
            for data in &self.types {
                state.entries[(data.id.0 - FIRST_ID) as usize] = None;
                state.free.push(data.id.0);
            }
        }
        // Not by recursion: a module can make a chain of a million groups.
        let mut work = std::mem::take(&mut self.uses);
        while let Some(group) = work.pop() {
            if let Some(mut group) = Arc::into_inner(group) {
                work.append(&mut group.uses);
            }
        }
    }
}

impl RegisteredType {
    /// The number.
    pub(crate) fn id(&self) -> TypeId {
        self.data.id
    }

    /// The definition, engine-numbered.
    pub(crate) fn sub_type(&self) -> &SubType {
        &self.data.sub
    }

    /// The signature, engine-numbered.
    ///
    /// # Panics
    /// It is no function type: the handle would be of another kind.
    pub(crate) fn signature(&self) -> &FuncType {
        self.data.sub.as_func().expect("a handle of function types holds one")
    }

    /// Whether it is the other type, or is declared below it.
    pub(crate) fn is_subtype_of(&self, other: &RegisteredType) -> bool {
        self == other || self.data.chain.get(other.data.chain.len() - 1) == Some(&other.id()) && self.is_with(other)
    }

    /// Whether it is in the registry that the other one is in.
    fn is_with(&self, other: &RegisteredType) -> bool {
        std::ptr::eq(self.group.registry.as_ptr(), other.group.registry.as_ptr())
    }

    /// The registry it is in; `None` after the engine is gone.
    pub(crate) fn registry(&self) -> Option<TypeRegistry> {
        self.group.registry.upgrade().map(|shared| TypeRegistry { shared })
    }

    /// Whether it is registered in this registry.
    pub(crate) fn is_of(&self, registry: &TypeRegistry) -> bool {
        std::ptr::eq(self.group.registry.as_ptr(), Arc::as_ptr(&registry.shared))
    }
}

impl PartialEq for RegisteredType {
    fn eq(&self, other: &RegisteredType) -> bool {
        Arc::ptr_eq(&self.data, &other.data)
    }
}

impl Eq for RegisteredType {}

impl std::hash::Hash for RegisteredType {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.data.id.hash(hasher);
    }
}

impl fmt::Debug for RegisteredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredType").field("id", &self.data.id).field("sub", &self.data.sub).finish()
    }
}

impl ModuleTypes {
    /// The numbers by type index: the array in the module's contexts.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The number of a type of the module.
    pub(crate) fn id(&self, index: TypeIndex) -> TypeId {
        TypeId(self.ids[index.0 as usize])
    }

    /// The first index of a type in the module, if it has the type.
    pub(crate) fn index_of(&self, id: TypeId) -> Option<TypeIndex> {
        self.indices.get(&id).copied()
    }

    /// A value type of the module, engine-numbered.
    pub(crate) fn val_type(&self, ty: ValType) -> ValType {
        map_val(ty, &|t| self.id(t).as_index())
    }

    /// A heap type of the module, engine-numbered.
    pub(crate) fn heap_type(&self, ty: HeapType) -> HeapType {
        map_heap(ty, &|t| self.id(t).as_index())
    }

    /// A reference type of the module, engine-numbered.
    pub(crate) fn ref_type(&self, ty: RefType) -> RefType {
        RefType { heap: self.heap_type(ty.heap), ..ty }
    }

    /// A table type of the module, engine-numbered.
    pub(crate) fn table_type(&self, ty: TableType) -> TableType {
        TableType { element: self.ref_type(ty.element), ..ty }
    }

    /// A global type of the module, engine-numbered.
    pub(crate) fn global_type(&self, ty: GlobalType) -> GlobalType {
        GlobalType { content: self.val_type(ty.content), ..ty }
    }
}

fn map_heap(ty: HeapType, f: &impl Fn(TypeIndex) -> TypeIndex) -> HeapType {
    match ty {
        HeapType::Concrete(kind, t) => HeapType::Concrete(kind, f(t)),
        other => other,
    }
}

fn map_val(ty: ValType, f: &impl Fn(TypeIndex) -> TypeIndex) -> ValType {
    match ty {
        ValType::Ref(r) => ValType::Ref(RefType { heap: map_heap(r.heap, f), ..r }),
        other => other,
    }
}

fn map_sub(sub: &SubType, f: &impl Fn(TypeIndex) -> TypeIndex) -> SubType {
    SubType {
        is_final: sub.is_final,
        supertype: sub.supertype.map(f),
        composite: sub.composite.map(|ty| map_val(ty, f)),
    }
}

fn for_each_reference(sub: &SubType, f: &mut impl FnMut(TypeIndex)) {
    sub.supertype.into_iter().for_each(&mut *f);
    for ty in sub.composite.val_types() {
        if let ValType::Ref(RefType { heap: HeapType::Concrete(_, t), .. }) = ty {
            f(t);
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_env::types::{ArrayType, CompositeKind, FieldType, StorageType, StructType};

    use super::*;

    fn func(params: &[ValType], results: &[ValType]) -> SubType {
        let composite = CompositeType::Func(FuncType { params: params.into(), results: results.into() });
        SubType { is_final: true, supertype: None, composite }
    }

    fn to(index: u32) -> ValType {
        ValType::Ref(RefType { nullable: true, heap: HeapType::Concrete(CompositeKind::Func, TypeIndex(index)) })
    }

    fn module(groups: &[&[SubType]]) -> Module {
        let mut module = Module::default();
        for group in groups {
            let start = module.types.len() as u32;
            for ty in *group {
                module.types.push(ty.clone());
            }
            module.rec_groups.push(start..module.types.len() as u32);
        }
        module
    }

    #[test]
    fn equal_types_share_a_number_within_and_across_modules() {
        let registry = TypeRegistry::default();
        let a = func(&[ValType::I32], &[]);
        let b = func(&[ValType::I64], &[]);
        let (alone_a, alone_b) = (std::slice::from_ref(&a), std::slice::from_ref(&b));
        let m1 = registry.register_module(&module(&[alone_a, alone_b, alone_a])).unwrap();
        let m2 = registry.register_module(&module(&[alone_b, alone_a])).unwrap();
        assert_eq!(m1.ids()[0], m1.ids()[2]);
        assert_ne!(m1.ids()[0], m1.ids()[1]);
        assert_eq!(m1.ids()[0], m2.ids()[1]);
        assert_eq!(m1.ids()[1], m2.ids()[0]);
        assert_eq!(m1.index_of(m2.id(TypeIndex(1))), Some(TypeIndex(0)));
        let host = registry.register_func(a.as_func().unwrap().clone()).unwrap();
        assert_eq!(host.id(), m1.id(TypeIndex(0)));
        assert!(m1.ids().iter().all(|id| *id != layout::TYPE_NULL && *id != layout::TYPE_LAZY));
    }

    #[test]
    fn recursion_groups_are_equal_as_wholes() {
        let registry = TypeRegistry::default();
        // (rec (type (func (param (ref null 0))))) at different indices.
        let m1 = registry.register_module(&module(&[&[func(&[to(0)], &[])]])).unwrap();
        let m2 = registry.register_module(&module(&[&[func(&[], &[])], &[func(&[to(1)], &[])]])).unwrap();
        assert_eq!(m1.ids()[0], m2.ids()[1]);
        // Two members that are equal but for their position are different types.
        let m3 = registry.register_module(&module(&[&[func(&[], &[]), func(&[], &[])]])).unwrap();
        assert_ne!(m3.ids()[0], m3.ids()[1]);
        assert_ne!(m3.ids()[0], m2.ids()[0]);
        // The same pair again, with a reference between them, and mutual references swapped.
        let pair = |x, y| module(&[&[func(&[to(x)], &[]), func(&[to(y)], &[])]]);
        let ids = |m: &Module| registry.register_module(m).unwrap();
        let (p1, p2, p3) = (ids(&pair(0, 1)), ids(&pair(0, 1)), ids(&pair(1, 0)));
        assert_eq!(p1.ids(), p2.ids());
        assert_ne!(p1.ids(), p3.ids());
        // A reference out of the group to an equal type is equal; to a different one is not.
        let out = |inner: ValType| module(&[&[func(&[inner], &[])], &[func(&[to(0)], &[])]]);
        let (o1, o2, o3) = (ids(&out(ValType::I32)), ids(&out(ValType::I32)), ids(&out(ValType::F32)));
        assert_eq!(o1.ids()[1], o2.ids()[1]);
        assert_ne!(o1.ids()[1], o3.ids()[1]);
    }

    #[test]
    fn structures_and_arrays_are_told_apart_by_storage_and_mutability() {
        let registry = TypeRegistry::default();
        let kinds = [StorageType::I8, StorageType::I16, StorageType::Val(ValType::I32)];
        let fields = kinds.iter().flat_map(|s| [true, false].map(|mutable| FieldType { storage: *s, mutable }));
        let definitions = fields.flat_map(|element| {
            let fields = Box::new([element]);
            [CompositeType::Array(ArrayType { element }), CompositeType::Struct(StructType { fields })]
        });
        let subs: Vec<SubType> =
            definitions.map(|composite| SubType { is_final: true, supertype: None, composite }).collect();
        let groups: Vec<&[SubType]> = subs.chunks(1).collect();
        let first = registry.register_module(&module(&groups)).unwrap();
        let again = registry.register_module(&module(&groups)).unwrap();
        assert_eq!(first.ids(), again.ids());
        let distinct: std::collections::HashSet<u32> = first.ids().iter().copied().collect();
        assert_eq!(distinct.len(), subs.len());
    }

    #[test]
    fn subtypes_follow_declared_chains() {
        let registry = TypeRegistry::default();
        let sub = |supertype: Option<u32>| SubType {
            is_final: false,
            supertype: supertype.map(TypeIndex),
            ..func(&[], &[ValType::FUNCREF])
        };
        let groups: [&[SubType]; 4] = [&[sub(None)], &[sub(Some(0))], &[sub(Some(1)), sub(Some(2))], &[sub(Some(0))]];
        let types = registry.register_module(&module(&groups)).unwrap();
        let id = |i| types.id(TypeIndex(i));
        for (sub, sup) in [(0, 0), (1, 0), (2, 1), (2, 0), (3, 2), (3, 1), (3, 0), (4, 0)] {
            assert!(registry.is_subtype(id(sub), id(sup)), "{sub} <: {sup}");
        }
        for (sub, sup) in [(0, 1), (1, 2), (0, 3), (2, 3)] {
            assert!(!registry.is_subtype(id(sub), id(sup)), "{sub} </: {sup}");
        }
        // Type 4 is the same as type 1: final bit, supertype and shape agree.
        assert_eq!(id(4), id(1));
    }

    #[test]
    fn types_go_with_their_last_holder_and_numbers_are_used_again() {
        let registry = TypeRegistry::default();
        let m = module(&[&[func(&[ValType::I32], &[])], &[func(&[to(0)], &[])]]);
        let types = registry.register_module(&m).unwrap();
        let outer = registry.get(types.id(TypeIndex(1))).unwrap();
        let inner = types.id(TypeIndex(0));
        drop(types);
        assert_eq!(registry.len(), 2);
        assert_eq!(registry.get(inner).unwrap().signature().params[0], ValType::I32);
        drop(outer);
        assert_eq!(registry.len(), 0);
        let again = registry.register_module(&m).unwrap();
        assert!(again.ids().iter().all(|id| *id <= 2));
    }

    #[test]
    fn long_chains_of_groups_are_freed_without_recursion() {
        let registry = TypeRegistry::default();
        let mut groups = vec![func(&[ValType::I32], &[])];
        groups.extend((0..200_000).map(|i| func(&[to(i)], &[])));
        let slices: Vec<&[SubType]> = groups.chunks(1).collect();
        let types = registry.register_module(&module(&slices)).unwrap();
        let last = registry.get(types.id(TypeIndex(200_000))).unwrap();
        drop(types);
        assert_eq!(registry.len(), 200_001);
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || drop(last)).unwrap().join().unwrap();
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn many_threads_agree() {
        let registry = TypeRegistry::default();
        std::thread::scope(|scope| {
            for t in 0..8 {
                let registry = &registry;
                scope.spawn(move || {
                    for i in 0..2_000 {
                        let params = vec![ValType::I64; (i + t) % 7];
                        let a = registry.register_func(FuncType { params: params.clone().into(), results: [].into() });
                        let b = registry.register_func(FuncType { params: params.into(), results: [].into() });
                        assert_eq!(a.unwrap().id(), b.unwrap().id());
                    }
                });
            }
        });
        assert_eq!(registry.len(), 0);
    }
}
