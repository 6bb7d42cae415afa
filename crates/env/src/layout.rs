//! Layouts of the structures that compiled code reads and writes. Offsets in bytes.
//!
//! Fixed structures come from [`for_each_vm_struct`](crate::for_each_vm_struct); the runtime defines its `repr(C)` types from the same table and
//! asserts that offsets agree. An instance's context has a fixed header and then what its module needs: [`ContextLayout`].

use crate::index::*;
use crate::module::Module;
use crate::settings::Tunables;
use crate::types::{HeapType, MemoryType, RefRepr, RefType, SubType, ValType};

/// Hands the table of fixed structures to a macro. Every field is 8 bytes; `ptr` is a host pointer, `u64`/`i64` numbers.
#[macro_export]
macro_rules! for_each_vm_struct {
    ($callback:ident) => {
        $callback! {
            /// First fields of every context, of instances and of host functions alike.
            VmContextHeader context {
                /// `kiln` and the kind of context, to catch mistakes.
                magic: u64,
                /// Lowest stack address that code of this context may use.
                stack_limit: u64,
                /// The store's context.
                store: ptr,
                /// Context of the newest caller that came from elsewhere; written by that caller.
                caller: ptr,
                /// Addresses of the builtins, in order of number.
                builtins: ptr,
                /// The runtime's own data about the instance or host function.
                owner: ptr,
                /// Counters of the module's functions, where functions change their tier: see `tier`. Null otherwise.
                counters: ptr,
            }
            /// What all instances of a store share with compiled code.
            VmStoreContext store_context {
                /// Stack pointer of the newest entry trampoline.
                entry_sp: u64,
                /// Frame pointer of the newest entry trampoline.
                entry_fp: u64,
                /// Where the newest entry trampoline wants to be resumed.
                entry_handler: u64,
                /// Return address into the newest wasm frame, at the newest exit to the host.
                exit_pc: u64,
                /// Frame pointer of the newest wasm frame, at the newest exit to the host.
                exit_fp: u64,
                /// Fuel consumed, counted up from minus the budget: above 0 is out of fuel.
                fuel: i64,
                /// The epoch at which `new_epoch` is to be called.
                epoch_deadline: u64,
                /// Address of the engine's epoch counter.
                epoch: ptr,
                /// Stack limit of the store's current stack.
                stack_limit: u64,
                /// The runtime's own data about the store.
                owner: ptr,
                /// Where a function that changes its tier in a loop leaves its state: see `tier`.
                osr_buffer: ptr,
            }
            /// A linear memory, as compiled code sees it.
            VmMemory memory {
                /// First byte.
                base: ptr,
                /// Size in bytes.
                len: u64,
            }
            /// A table, as compiled code sees it.
            VmTable table {
                /// First element.
                base: ptr,
                /// Number of elements.
                len: u64,
            }
            /// An element of a function table, and what a function reference points to.
            VmFuncRef func_ref {
                /// Code in the wasm convention; the entry stub while the function may change.
                code: ptr,
                /// Engine-wide number of the function's type in the low 32 bits; see `TYPE_NULL` and `TYPE_LAZY`. In the high 32
                /// bits, for a function with a body, 1 more than its index among its instance's: see `own_number`.
                type_id: u64,
                /// The callee's context.
                context: ptr,
                /// In a table element: the function reference (0 for null). In a function reference: the `ArrayToWasm`
                /// trampoline of its type, or 0 while nobody asked for it.
                reference: ptr,
            }
            /// An imported function.
            VmImportedFunc imported_func {
                /// Code in the wasm convention.
                code: ptr,
                /// The callee's context.
                context: ptr,
            }
            /// An exception tag; its address is its identity.
            VmTag tag {
                /// Engine-wide number of its type in the low 32 bits.
                type_id: u64,
            }
        }
    };
}

macro_rules! define_offsets {
    ($($(#[$doc:meta])* $name:ident $module:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ident,)* })*) => {$(
        $(#[$doc])*
        #[allow(non_upper_case_globals, reason = "named as the fields are")]
        pub mod $module {
            define_offsets!(@fields 0; $($(#[$fdoc])* $field,)*);
        }
    )*};
    (@fields $at:expr; $(#[$fdoc:meta])* $field:ident, $($rest:tt)*) => {
        $(#[$fdoc])*
        pub const $field: u32 = $at;
        define_offsets!(@fields $at + 8; $($rest)*);
    };
    (@fields $at:expr;) => {
        /// Bytes of the whole structure.
        pub const SIZE: u32 = $at;
    };
}

for_each_vm_struct!(define_offsets);

/// Offset of the stack limit in every context.
pub const STACK_LIMIT: u32 = context::stack_limit;
/// Offset of the builtin array's address in every context.
pub const BUILTINS: u32 = context::builtins;
/// In a host function's context, after the header: the function pointer of the array convention.
pub const HOST_ARRAY_CALL: u32 = context::SIZE;

/// `magic` of an instance's context.
pub const MAGIC_INSTANCE: u64 = u64::from_le_bytes(*b"kilninst");
/// `magic` of a host function's context.
pub const MAGIC_HOST: u64 = u64::from_le_bytes(*b"kilnhost");

/// Type number of a table element that is not built yet: `ResolveIndirect` and `TableGetFunc` build it. Zero, so that
/// fresh memory is a table of such elements.
pub const TYPE_LAZY: u32 = 0;
/// Type number of a null table element; its other fields are zero.
pub const TYPE_NULL: u32 = u32::MAX;

/// What the high 32 bits of a `VmFuncRef`'s type number say of a function with a body. Together with the context it tells
/// which function it is.
pub const fn own_number(func: DefinedFuncIndex) -> u32 {
    // Limits are far below.
    func.0 + 1
}

/// Bytes of an element of a table of collected references.
pub const GC_ELEMENT_SIZE: u32 = 4;
/// Bytes of a global's storage, and its alignment.
pub const GLOBAL_SIZE: u32 = 16;

/// Bytes of an element of a table with this representation.
pub fn table_element_size(repr: RefRepr) -> u32 {
    match repr {
        RefRepr::FuncPointer => func_ref::SIZE,
        RefRepr::Gc => GC_ELEMENT_SIZE,
    }
}

/// How compiled code checks accesses to a memory. Follows from its type and the tunables alone, so that both sides and
/// all modules of an engine agree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryStyle {
    /// The whole index range is reserved and followed by a guard of `guard` bytes: the base never moves, and only
    /// accesses with `offset + size > guard` need a check.
    Reserved {
        /// Bytes that fault behind the 4 GiB.
        guard: u64,
    },
    /// Every access is checked against the current length. The base does not move if `fixed`.
    Checked {
        /// Whether the base never moves (shared memories).
        fixed: bool,
    },
}

impl MemoryStyle {
    /// The style of a memory.
    pub fn of(ty: &MemoryType, tunables: &Tunables) -> MemoryStyle {
        if !ty.limits.is_64 && ty.page_size_log2 == 16 && tunables.signals && tunables.memory_reservation >= 1 << 32 {
            MemoryStyle::Reserved { guard: tunables.memory_guard }
        } else {
            MemoryStyle::Checked { fixed: ty.shared }
        }
    }

    /// Whether the base address never changes.
    pub fn base_is_fixed(self) -> bool {
        matches!(self, MemoryStyle::Reserved { .. } | MemoryStyle::Checked { fixed: true })
    }
}

/// Where a memory's `VmMemory` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryPlace {
    /// Inside the context, at this offset.
    Inline(u32),
    /// The context holds, at this offset, a pointer to the `VmMemory` and then (8 bytes on) a copy of the base, which is
    /// valid if the base is fixed. Imported and shared memories.
    Indirect(u32),
}

/// Where a table's `VmTable`, a global's storage or a tag is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Inside the context, at this offset.
    Inline(u32),
    /// The context holds a pointer to it at this offset.
    Indirect(u32),
}

/// Offsets of everything in an instance's context.
///
/// Order: header, memories, inline tables, tags, inline globals (16-aligned), imported tables, imported globals, imported
/// tags, imported functions, type numbers. What compilers make most use of comes first: it is in reach of short
/// displacements, and in the same place in all programs of a language, so that these can share code. Imported functions
/// have slots by their names for the same reason, and types by their contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextLayout {
    imported_funcs: Box<[u32]>,
    imported_tables: u32,
    imported_globals: u32,
    imported_tags: u32,
    memories: Box<[MemoryPlace]>,
    tables: u32,
    tags: u32,
    type_ids: Box<[u32]>,
    globals: u32,
    num_imported_tables: u32,
    num_imported_globals: u32,
    num_imported_tags: u32,
    size: u32,
}

/// Slots for imported functions, in modules that import some.
const IMPORT_SLOTS: u64 = 64;
/// Imports from which on there are slots: with fewer, no other program is likely to have the same ones.
const MIN_SLOTTED_IMPORTS: u32 = 4;
/// Slots for the numbers of types, in modules that have some: more than a program has signatures, as a rule.
const TYPE_SLOTS: u64 = 128;
/// Types from which on there are slots.
const MIN_SLOTTED_TYPES: usize = 8;

fn import_slots(module: &Module) -> u64 {
    if module.num_imported_funcs < MIN_SLOTTED_IMPORTS { 0 } else { IMPORT_SLOTS }
}

fn type_slots(module: &Module) -> u64 {
    if module.types.len() < MIN_SLOTTED_TYPES { 0 } else { TYPE_SLOTS }
}

/// Slots of so many bytes each, and where what has none goes, one behind the other.
struct Slots {
    at: u32,
    count: u64,
    rest: u32,
    size: u32,
}

impl Slots {
    /// Where each of the things with these hashes is: in the slot that its hash stands for, so that it is in the same place
    /// in most programs that have it, whatever else they have. Of several with one slot the least hash has it; the others
    /// follow in order, and then what has no hash.
    fn place(&self, hashes: impl Iterator<Item = Option<u64>>) -> Box<[u32]> {
        let slot = |hash: u64| hash.checked_rem(self.count).unwrap_or(0);
        let by_slot = hashes.enumerate().map(|(i, hash)| hash.map_or((u64::MAX, 0, i), |hash| (slot(hash), hash, i)));
        let mut by_slot: Vec<(u64, u64, usize)> = by_slot.collect();
        by_slot.sort_unstable();
        let mut places = vec![0; by_slot.len()];
        let (mut next, mut taken) = (self.rest, None);
        for (slot, _, index) in by_slot {
            places[index] = if slot < self.count && taken != Some(slot) {
                taken = Some(slot);
                self.at + slot as u32 * self.size
            } else {
                next += self.size;
                next - self.size
            };
        }
        places.into()
    }
}

/// What stands for a signature in all modules; `None` if it names types of its module.
fn signature_hash(ty: &SubType) -> Option<u64> {
    let func = ty.as_func()?;
    let code = |ty: &ValType| match ty {
        ValType::Ref(RefType { heap: HeapType::Concrete(..), .. }) => None,
        ty => Some(ty.number()),
    };
    let params = func.params.iter().map(code);
    let bytes = params.chain([Some(0)]).chain(func.results.iter().map(code)).collect::<Option<Vec<u8>>>()?;
    Some(fnv(bytes.into_iter()))
}

/// FNV-1a of an import's two names.
fn name_hash(module: &str, name: &str) -> u64 {
    fnv(module.bytes().chain([0]).chain(name.bytes()))
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// An instance's context would be larger than [`crate::limits::MAX_CONTEXT_SIZE`].
#[derive(Debug, thiserror::Error)]
#[error(
    "the module declares so many imports, types, tables and globals that an instance's context would exceed {} bytes",
    crate::limits::MAX_CONTEXT_SIZE
)]
pub struct ContextTooLarge;

impl ContextLayout {
    /// Lays out the context for instances of `module`.
    pub fn new(module: &Module) -> Result<ContextLayout, ContextTooLarge> {
        let mut next = u64::from(context::SIZE);
        let mut place = |count: u64, size: u32, align: u64| {
            next = next.next_multiple_of(align);
            let at = next;
            next += count * u64::from(size);
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        let mut memories = Vec::with_capacity(module.memories.len());
        for (index, ty) in module.memories.iter() {
            memories.push(if module.defined_memory(index).is_none() || ty.shared {
                MemoryPlace::Indirect(place(1, 16, 8))
            } else {
                MemoryPlace::Inline(place(1, memory::SIZE, 8))
            });
        }
        let tables = place(module.table_inits.len() as u64, table::SIZE, 8);
        let tags = place(module.tags.len() as u64 - u64::from(module.num_imported_tags), tag::SIZE, 8);
        let globals = place(module.global_inits.len() as u64, GLOBAL_SIZE, 16);
        let imported_tables = place(module.num_imported_tables.into(), 8, 8);
        let imported_globals = place(module.num_imported_globals.into(), 8, 8);
        let imported_tags = place(module.num_imported_tags.into(), 8, 8);
        let import_slots = (place(import_slots(module), imported_func::SIZE, 8), import_slots(module));
        let type_slots = (place(type_slots(module), 4, 4), type_slots(module));
        let imports = place(module.num_imported_funcs.into(), imported_func::SIZE, 8);
        let types = place(module.types.len() as u64, 4, 4);
        let size = place(0, 0, 16);
        if next > u64::from(crate::limits::MAX_CONTEXT_SIZE) {
            return Err(ContextTooLarge);
        }
        let slots = |(at, count), rest, size| Slots { at, count, rest, size };
        let names = module.imports.iter().filter(|import| matches!(import.index, EntityIndex::Func(_)));
        let names = names.map(|import| Some(name_hash(&import.module, &import.name)));
        let imported_funcs = slots(import_slots, imports, imported_func::SIZE).place(names);
        let type_ids = slots(type_slots, types, 4).place(module.types.values().map(signature_hash));
        Ok(ContextLayout {
            imported_funcs,
            imported_tables,
            imported_globals,
            imported_tags,
            memories: memories.into(),
            tables,
            tags,
            type_ids,
            globals,
            num_imported_tables: module.num_imported_tables,
            num_imported_globals: module.num_imported_globals,
            num_imported_tags: module.num_imported_tags,
            size,
        })
    }

    /// A layout for code that is made before its module is known: entity number `index` of every kind is at `at` (behind a
    /// pointer there if `indirect`), the number of type 0 at `type_at`. There are `memories` memories, all at the same place.
    pub fn of_one(index: u32, at: u32, type_at: u32, indirect: bool, memories: usize) -> ContextLayout {
        let imported = if indirect { u32::MAX } else { 0 };
        let place = if indirect { MemoryPlace::Indirect(at) } else { MemoryPlace::Inline(at) };
        ContextLayout {
            imported_funcs: vec![at; index as usize + 1].into(),
            imported_tables: at - index * 8,
            imported_globals: at - index * 8,
            imported_tags: at - index * 8,
            memories: vec![place; memories].into(),
            tables: at - index * table::SIZE,
            tags: at - index * tag::SIZE,
            type_ids: [type_at].into(),
            globals: at - index * GLOBAL_SIZE,
            num_imported_tables: imported,
            num_imported_globals: imported,
            num_imported_tags: imported,
            size: u32::MAX,
        }
    }

    /// Bytes of the whole context; its alignment is 16.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The `VmImportedFunc` of an imported function.
    pub fn imported_func(&self, index: FuncIndex) -> u32 {
        self.imported_funcs[index.0 as usize]
    }

    /// Where a memory's `VmMemory` is.
    pub fn memory(&self, index: MemoryIndex) -> MemoryPlace {
        self.memories[index.0 as usize]
    }

    /// Where a table's `VmTable` is.
    pub fn table(&self, index: TableIndex) -> Place {
        match index.0.checked_sub(self.num_imported_tables) {
            None => Place::Indirect(self.imported_tables + index.0 * 8),
            Some(defined) => Place::Inline(self.tables + defined * table::SIZE),
        }
    }

    /// Where a global's storage is.
    #[inline]
    pub fn global(&self, index: GlobalIndex) -> Place {
        match index.0.checked_sub(self.num_imported_globals) {
            None => Place::Indirect(self.imported_globals + index.0 * 8),
            Some(defined) => Place::Inline(self.globals + defined * GLOBAL_SIZE),
        }
    }

    /// Where a tag's `VmTag` is.
    pub fn tag(&self, index: TagIndex) -> Place {
        match index.0.checked_sub(self.num_imported_tags) {
            None => Place::Indirect(self.imported_tags + index.0 * 8),
            Some(defined) => Place::Inline(self.tags + defined * tag::SIZE),
        }
    }

    /// The engine-wide number (4 bytes) of a type of the module.
    pub fn type_id(&self, index: TypeIndex) -> u32 {
        self.type_ids[index.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::Import;
    use crate::types::{CompositeKind, CompositeType, FuncType};

    /// A module that imports functions of these names.
    fn importing(names: &[&str]) -> Module {
        let import = |(name, i): (&&str, u32)| Import {
            module: "wasi".to_owned(),
            name: (*name).to_owned(),
            index: EntityIndex::Func(FuncIndex(i)),
        };
        Module {
            imports: names.iter().zip(0..).map(import).collect(),
            num_imported_funcs: names.len() as u32,
            ..Module::default()
        }
    }

    fn places(names: &[&str]) -> Vec<u32> {
        let layout = ContextLayout::new(&importing(names)).unwrap();
        (0..names.len() as u32).map(|i| layout.imported_func(FuncIndex(i))).collect()
    }

    #[test]
    fn types_keep_their_place_whatever_others_there_are() {
        let signature = |n: usize, concrete: bool| {
            let reference = RefType { nullable: true, heap: HeapType::Concrete(CompositeKind::Func, TypeIndex(0)) };
            let first = if concrete { ValType::Ref(reference) } else { ValType::I64 };
            let params =
                std::iter::once(first).chain((0..n).map(|i| if i % 2 == 0 { ValType::I32 } else { ValType::F64 }));
            let func = FuncType { params: params.collect(), results: [ValType::I32].into() };
            SubType { is_final: true, supertype: None, composite: CompositeType::Func(func) }
        };
        let layout = |types: &[(usize, bool)]| {
            let types = types.iter().map(|(n, concrete)| signature(*n, *concrete)).collect();
            ContextLayout::new(&Module { types, ..Module::default() }).unwrap()
        };
        let one: Vec<_> = (0..20).map(|n| (n, false)).collect();
        let mut other: Vec<_> = (5..30).rev().map(|n| (n, false)).collect();
        // One that names a type of the module, and one that is there twice.
        other.extend([(3, true), (7, false)]);
        let (first, second) = (layout(&one), layout(&other));
        let common = (5..20).filter(|n| first.type_id(TypeIndex(*n)) == second.type_id(TypeIndex(29 - n))).count();
        assert!(common > 10, "{common} of 15");
        let mut places: Vec<u32> = (0..27).map(|i| second.type_id(TypeIndex(i))).collect();
        assert!(places.iter().all(|at| at.is_multiple_of(4) && at + 4 <= second.size()));
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 27);
    }

    #[test]
    fn imports_keep_their_place_whatever_else_is_imported() {
        let one = places(&["fd_read", "fd_write", "proc_exit", "fd_close"]);
        let other = places(&["args_get", "proc_exit", "fd_close", "clock_time_get", "fd_write"]);
        assert_eq!([one[1], one[2], one[3]], [other[4], other[1], other[2]]);
    }

    #[test]
    fn every_import_has_a_place_of_its_own() {
        let names: Vec<String> = (0..300).map(|i| format!("f{i}")).collect();
        for count in [1, 3, 4, 64, 300] {
            let names: Vec<&str> = names[..count].iter().map(String::as_str).collect();
            let layout = ContextLayout::new(&importing(&names)).unwrap();
            let mut places = places(&names);
            places.sort_unstable();
            assert!(places.windows(2).all(|w| w[0] + imported_func::SIZE <= w[1]), "{places:?}");
            assert!(places[0] >= context::SIZE && places[count - 1] + imported_func::SIZE <= layout.size());
        }
    }
}
