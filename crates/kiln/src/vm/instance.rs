//! Instances: a context for compiled code, and what the runtime knows beside it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use anyhow::Result;
use kiln_env::artifact::bytes_of;
use kiln_env::layout::{MemoryPlace, Place, own_number};
use kiln_env::module::{ElemItems, SegmentMode};
use kiln_env::{
    DataIndex, DefinedTableIndex, ElemIndex, EntityIndex, FuncIndex, GlobalIndex, MemoryIndex, TableIndex, TagIndex,
    TrapCode,
};
use smallvec::SmallVec;

use super::const_expr;
use super::context::{
    ValRaw, VmContext, VmContextHeader, VmFuncRef, VmImportedFunc, VmMemory, VmStoreContext, VmTable, VmTag,
};
use super::global::{GlobalHandle, GlobalStorage};
use super::handle::{Handle, Owned};
use super::memory::{self, LinearMemory, RawMemory};
use super::module::ModuleData;
use super::store::StoreOpaque;
use super::table::{self, Element, TableData};

/// What an instance imports, each kind in order of index.
#[derive(Default)]
pub(crate) struct Imports {
    /// With code that wasm can call.
    pub(crate) funcs: Vec<NonNull<VmFuncRef>>,
    pub(crate) tables: SmallVec<[NonNull<TableData>; 1]>,
    pub(crate) memories: SmallVec<[NonNull<LinearMemory>; 1]>,
    pub(crate) globals: Vec<GlobalHandle>,
    pub(crate) tags: Vec<NonNull<VmTag>>,
}

/// One instance of a module in a store.
pub(crate) struct InstanceData {
    module: Arc<ModuleData>,
    context: ContextMemory,
    imports: Imports,
    memories: SmallVec<[LinearMemory; 1]>,
    tables: SmallVec<[TableData; 1]>,
    func_refs: FuncRefs,
    dropped_elems: Dropped,
    dropped_datas: Dropped,
}

/// The memory of a context.
struct ContextMemory {
    ptr: NonNull<VmContext>,
    layout: Layout,
}

impl ContextMemory {
    fn copy_of(template: &[ValRaw]) -> ContextMemory {
        let layout = Layout::for_value(template);
        // SAFETY: a template has a header at least, so the size is not zero.
        let Some(ptr) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: fresh memory of the same size.
        unsafe { ptr::copy_nonoverlapping(template.as_ptr().cast(), ptr.as_ptr(), layout.size()) };
        ContextMemory { ptr: ptr.cast(), layout }
    }

    /// The address of a field.
    fn at<X>(&self, offset: u32) -> *mut X {
        debug_assert!(offset as usize + size_of::<X>() <= self.layout.size());
        self.ptr.as_ptr().cast::<u8>().wrapping_add(offset as usize).cast()
    }
}

impl Drop for ContextMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `copy_of` with this layout.
        unsafe { dealloc(self.ptr.as_ptr().cast(), self.layout) };
    }
}

/// Segments that were dropped.
#[derive(Default)]
struct Dropped(SmallVec<[u64; 1]>);

impl Dropped {
    fn insert(&mut self, index: u32) {
        let word = index as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (index % 64);
    }

    fn contains(&self, index: u32) -> bool {
        self.0.get(index as usize / 64).is_some_and(|w| w >> (index % 64) & 1 != 0)
    }
}

const CHUNK: usize = 32;

/// References to the instance's own functions, built when somebody asks, in chunks that never move.
#[derive(Default)]
struct FuncRefs {
    chunks: Box<[Option<Owned<[VmFuncRef; CHUNK]>>]>,
}

impl InstanceData {
    /// Makes an instance: imports in place, memories and tables with their initial contents, globals evaluated, the
    /// segments that can fail applied. The start function has not run. Where a segment fails, the instance stays in the
    /// store, since what it wrote to imported tables may refer to it.
    ///
    /// # Safety
    /// The imports belong to the store and have the types that the module asks for.
    pub(crate) unsafe fn create(
        store: &mut StoreOpaque,
        module: &Arc<ModuleData>,
        imports: Imports,
    ) -> Result<NonNull<InstanceData>> {
        store.count_instance(module.tables.len(), module.memories.len())?;
        for plan in &module.memories {
            memory::check_new(store, plan)?;
        }
        for plan in &module.tables {
            table::check_new(store, &plan.ty)?;
        }
        let context = ContextMemory::copy_of(&module.template);
        let instance = InstanceData {
            module: module.clone(),
            context,
            imports,
            memories: SmallVec::new(),
            tables: SmallVec::new(),
            func_refs: FuncRefs::default(),
            dropped_elems: Dropped::default(),
            dropped_datas: Dropped::default(),
        };
        let mut instance = Owned::new(instance);
        let this = instance.ptr();
        instance.fill_header(this, &raw mut store.vm);
        instance.fill_imports(module);
        instance.make_memories(module)?;
        instance.make_tables(module, this)?;
        // SAFETY: the instance is whole but for its globals, which are made in order and only refer back.
        unsafe { Self::make_globals(module, this)? };
        store.instances.push(instance);
        // SAFETY: the store owns the instance now, and is borrowed mutably.
        unsafe {
            Self::fill_tables(store, module, this)?;
            if let Err(e) = Self::apply_elems(store, module, this) {
                (*this.as_ptr()).memories.iter_mut().for_each(LinearMemory::wipe);
                return Err(e);
            }
            Self::apply_datas(store, module, this)?;
        }
        Ok(this)
    }

    fn fill_header(&mut self, this: NonNull<InstanceData>, store: *mut VmStoreContext) {
        let header = self.context.at::<VmContextHeader>(0);
        // SAFETY: a context starts with a header.
        unsafe {
            (*header).store = store.cast();
            (*header).owner = this.as_ptr().cast();
        }
    }

    fn fill_imports(&mut self, module: &ModuleData) {
        let layout = &module.layout;
        for (i, func) in self.imports.funcs.iter().enumerate() {
            // SAFETY: function references of the store are alive.
            let VmFuncRef { code, context, .. } = unsafe { *func.as_ptr() };
            let at = self.context.at::<VmImportedFunc>(layout.imported_func(FuncIndex(i as u32)));
            // SAFETY: `at` is that field of the context, here and below.
            unsafe { at.write(VmImportedFunc { code, context }) };
        }
        for (i, table) in self.imports.tables.iter().enumerate() {
            let Place::Indirect(offset) = layout.table(TableIndex(i as u32)) else { unreachable!("imported") };
            // SAFETY: tables of the store are alive.
            unsafe { self.context.at::<*mut VmTable>(offset).write(table.as_ref().vm().as_ptr()) };
        }
        for (i, memory) in self.imports.memories.iter().enumerate() {
            // SAFETY: memories of the store are alive.
            self.put_memory(MemoryIndex(i as u32), unsafe { memory.as_ref() }.vm());
        }
        for (i, global) in self.imports.globals.iter().enumerate() {
            let Place::Indirect(offset) = layout.global(GlobalIndex(i as u32)) else { unreachable!("imported") };
            // SAFETY: as above.
            unsafe { self.context.at::<*mut GlobalStorage>(offset).write(global.storage.raw().as_ptr()) };
        }
        for (i, tag) in self.imports.tags.iter().enumerate() {
            let Place::Indirect(offset) = layout.tag(TagIndex(i as u32)) else { unreachable!("imported") };
            // SAFETY: as above.
            unsafe { self.context.at::<*mut VmTag>(offset).write(tag.as_ptr()) };
        }
    }

    /// Writes pointer and base of a memory that stands outside the context.
    fn put_memory(&self, index: MemoryIndex, vm: NonNull<VmMemory>) {
        let MemoryPlace::Indirect(offset) = self.module.layout.memory(index) else { unreachable!("by pointer") };
        let at = self.context.at::<*mut u8>(offset);
        // SAFETY: two fields of the context: the pointer and the copied base; the memory is alive.
        unsafe {
            at.write(vm.as_ptr().cast());
            at.add(1).write((*vm.as_ptr()).base);
        }
    }

    fn make_memories(&mut self, module: &ModuleData) -> Result<()> {
        for (i, plan) in module.memories.iter().enumerate() {
            let index = MemoryIndex(module.env.num_imported_memories + i as u32);
            let place = module.layout.memory(index);
            let vm = match place {
                MemoryPlace::Inline(offset) => self.context.at::<VmMemory>(offset),
                MemoryPlace::Indirect(_) => ptr::dangling_mut(),
            };
            let vm = NonNull::new(vm).expect("inside an allocation");
            // SAFETY: the descriptor is part of the context, which lives as long as the memory; a shared memory,
            // whose place is `Indirect`, brings its own.
            let memory = unsafe { LinearMemory::new(plan, vm, &|| module.memory_image(i))? };
            if let MemoryPlace::Indirect(_) = place {
                self.put_memory(index, memory.vm());
            }
            self.memories.push(memory);
        }
        Ok(())
    }

    fn make_tables(&mut self, module: &ModuleData, this: NonNull<InstanceData>) -> Result<()> {
        for (i, plan) in module.tables.iter().enumerate() {
            let defined = DefinedTableIndex(i as u32);
            let Place::Inline(offset) = module.layout.table(module.env.table_index(defined)) else {
                unreachable!("defined tables stand in the context")
            };
            let vm = NonNull::new(self.context.at::<VmTable>(offset)).expect("inside an allocation");
            // SAFETY: the descriptor is part of the context, and `this` owns the table.
            self.tables.push(unsafe { TableData::new(plan.ty, vm, Some((this, defined)))? });
        }
        Ok(())
    }

    /// # Safety
    /// `this` is an instance whose imports are in place.
    unsafe fn make_globals(module: &ModuleData, this: NonNull<InstanceData>) -> Result<()> {
        for defined in &module.dynamic_globals {
            let expr = &module.env.global_inits[*defined];
            // SAFETY: earlier globals have their values, and validation lets the expression see only those.
            unsafe {
                let value = const_expr::eval(this, expr)?;
                Self::global(this, module.env.global_index(*defined)).as_ref().set(value);
            }
        }
        Ok(())
    }

    /// Fills the tables whose first value is not null.
    ///
    /// # Safety
    /// `this` is a whole instance of a store that is borrowed mutably, here and below.
    unsafe fn fill_tables(store: &mut StoreOpaque, module: &ModuleData, this: NonNull<InstanceData>) -> Result<()> {
        let mut pace = Pace::default();
        for (defined, init) in module.env.table_inits.iter() {
            let Some(expr) = init else { continue };
            // SAFETY: the caller's; the table is borrowed after the expression was evaluated.
            unsafe {
                let value = Self::element_of(module, defined, const_expr::eval(this, expr)?);
                // Segments that the module's plan stands for come after the fill.
                let planned = &module.tables[defined.0 as usize].funcs;
                let len = (&(*this.as_ptr()).tables)[defined.0 as usize].len();
                for index in 0..len {
                    if planned.get(index as usize).is_none_or(Option::is_none) {
                        pace.take(store, PIECE_BYTES / PIECE_ELEMENTS)?;
                        (&mut (*this.as_ptr()).tables)[defined.0 as usize].fill(index, value, 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn element_of(module: &ModuleData, table: DefinedTableIndex, value: ValRaw) -> Element {
        element_from_raw(module.tables[table.0 as usize].ty.element.repr(), value)
    }

    unsafe fn apply_elems(store: &mut StoreOpaque, module: &ModuleData, this: NonNull<InstanceData>) -> Result<()> {
        let mut pace = Pace::default();
        for index in &module.eager_elems {
            let SegmentMode::Active { target, offset } = &module.env.elems[*index].mode else { continue };
            // SAFETY: the caller's.
            unsafe {
                let offset = offset_from_raw(const_expr::eval(this, offset)?, module.env.tables[*target].limits.is_64);
                let len = module.env.elems[*index].items.len() as u64;
                Self::table(this, *target).as_ref().check(offset, len)?;
                let mut done = 0;
                while done < len {
                    let next = (len - done).min(PIECE_ELEMENTS);
                    pace.take(store, next * (PIECE_BYTES / PIECE_ELEMENTS))?;
                    Self::table_init(this, *target, *index, offset + done, done, next)?;
                    done += next;
                }
            }
        }
        Ok(())
    }

    unsafe fn apply_datas(store: &mut StoreOpaque, module: &ModuleData, this: NonNull<InstanceData>) -> Result<()> {
        let mut pace = Pace::default();
        for index in &module.eager_datas {
            let segment = &module.env.datas[*index];
            let SegmentMode::Active { target, offset } = &segment.mode else { continue };
            // SAFETY: the caller's; the bytes are written to guest memory, of which there are no references.
            unsafe {
                let is_64 = module.env.memories[*target].limits.is_64;
                let offset = offset_from_raw(const_expr::eval(this, offset)?, is_64);
                let (start, end) = (segment.bytes.start, segment.bytes.end);
                Self::memory_range(this, *target, offset, (end - start).into())?;
                for from in (start..end).step_by(PIECE_BYTES as usize) {
                    let piece = from..end.min(from.saturating_add(PIECE_BYTES as u32));
                    pace.take(store, piece.len() as u64)?;
                    module.info.with_source(|source| {
                        let bytes = bytes_of(source, piece.clone());
                        let at = offset + u64::from(from - start);
                        let dst = Self::memory_range(this, *target, at, bytes.len() as u64)?;
                        ptr::copy_nonoverlapping(bytes.as_ptr(), dst, bytes.len());
                        Ok(())
                    })?;
                }
            }
        }
        Ok(())
    }

    // Access. `this` stands for an instance of a store that the caller has borrowed mutably, or whose code is suspended
    // in a call of a builtin.

    /// The instance that a context belongs to.
    ///
    /// # Safety
    /// `context` is the context of a live instance.
    #[inline]
    pub(crate) unsafe fn from_context(context: *mut VmContext) -> NonNull<InstanceData> {
        // SAFETY: `fill_header` wrote the owner.
        unsafe { NonNull::new_unchecked((*context).header.owner.cast()) }
    }

    /// Whether an address lies in one of the memories that it defines, accessible or not.
    pub(super) fn has_memory_at(&self, address: usize) -> bool {
        self.memories.iter().any(|memory| memory.reserves(address))
    }

    /// Its module.
    pub(crate) fn module(&self) -> &Arc<ModuleData> {
        &self.module
    }

    /// A reference to one of the functions in the instance's index space.
    ///
    /// # Safety
    /// See above; nobody else holds a reference to the instance's fields.
    pub(crate) unsafe fn func_ref(this: NonNull<InstanceData>, index: FuncIndex) -> NonNull<VmFuncRef> {
        // SAFETY: the caller's.
        let instance = unsafe { &mut *this.as_ptr() };
        let module = &*instance.module;
        let Some(defined) = module.env.defined_func(index) else {
            return instance.imports.funcs[index.0 as usize];
        };
        let refs = &mut instance.func_refs;
        if refs.chunks.is_empty() {
            let count = (module.env.funcs.len() - module.env.num_imported_funcs as usize).div_ceil(CHUNK);
            refs.chunks = (0..count).map(|_| None).collect();
        }
        let chunk = refs.chunks[defined.0 as usize / CHUNK].get_or_insert_with(|| Owned::new([VmFuncRef::ZERO; CHUNK]));
        let entry = &mut chunk[defined.0 as usize % CHUNK];
        if entry.code.is_null() {
            *entry = VmFuncRef {
                code: module.code.entry(defined).as_ptr(),
                type_id: u64::from(module.types.ids()[module.env.funcs[index].ty.0 as usize])
                    | u64::from(own_number(defined)) << 32,
                context: instance.context.ptr.as_ptr().cast(),
                reference: ptr::null_mut(),
            };
        }
        NonNull::from(entry)
    }

    /// What an untouched element of one of its tables is.
    ///
    /// # Safety
    /// As for [`InstanceData::func_ref`]; a table may be borrowed.
    pub(crate) unsafe fn lazy_element(
        this: NonNull<InstanceData>,
        table: DefinedTableIndex,
        index: u64,
    ) -> Result<Option<NonNull<VmFuncRef>>> {
        // SAFETY: the caller's; the module does not change.
        let module = unsafe { &*(*this.as_ptr()).module as *const ModuleData };
        // SAFETY: the instance keeps its module alive.
        let plan = unsafe { &(&(*module).tables)[table.0 as usize] };
        let func = usize::try_from(index).ok().and_then(|i| plan.funcs.get(i)).copied().flatten();
        // SAFETY: the caller's.
        Ok(func.map(|func| unsafe { Self::func_ref(this, func.get()) }))
    }

    /// The storage of a global.
    ///
    /// # Safety
    /// See above, here and below.
    pub(crate) unsafe fn global(this: NonNull<InstanceData>, index: GlobalIndex) -> NonNull<GlobalStorage> {
        // SAFETY: the caller's; fields of the context are where the layout says.
        unsafe {
            let instance = &*this.as_ptr();
            let ptr = match instance.module.layout.global(index) {
                Place::Inline(offset) => instance.context.at::<GlobalStorage>(offset),
                Place::Indirect(offset) => *instance.context.at::<*mut GlobalStorage>(offset),
            };
            NonNull::new_unchecked(ptr)
        }
    }

    /// A table.
    pub(crate) unsafe fn table(this: NonNull<InstanceData>, index: TableIndex) -> NonNull<TableData> {
        // SAFETY: the caller's.
        let instance = unsafe { &mut *this.as_ptr() };
        match instance.module.env.defined_table(index) {
            Some(defined) => NonNull::from(&mut instance.tables[defined.0 as usize]),
            None => instance.imports.tables[index.0 as usize],
        }
    }

    /// A memory.
    pub(crate) unsafe fn memory(this: NonNull<InstanceData>, index: MemoryIndex) -> NonNull<LinearMemory> {
        // SAFETY: the caller's.
        let instance = unsafe { &mut *this.as_ptr() };
        match instance.module.env.defined_memory(index) {
            Some(defined) => NonNull::from(&mut instance.memories[defined.0 as usize]),
            None => instance.imports.memories[index.0 as usize],
        }
    }

    /// A tag.
    pub(crate) unsafe fn tag(this: NonNull<InstanceData>, index: TagIndex) -> NonNull<VmTag> {
        // SAFETY: the caller's; fields of the context are where the layout says.
        unsafe {
            let instance = &*this.as_ptr();
            let ptr = match instance.module.layout.tag(index) {
                Place::Inline(offset) => instance.context.at::<VmTag>(offset),
                Place::Indirect(offset) => *instance.context.at::<*mut VmTag>(offset),
            };
            NonNull::new_unchecked(ptr)
        }
    }

    /// Base and size of a memory.
    pub(crate) unsafe fn raw_memory(this: NonNull<InstanceData>, index: MemoryIndex) -> RawMemory {
        // SAFETY: the caller's; fields of the context are where the layout says.
        unsafe {
            let instance = &*this.as_ptr();
            RawMemory::read(match instance.module.layout.memory(index) {
                MemoryPlace::Inline(offset) => instance.context.at::<VmMemory>(offset),
                MemoryPlace::Indirect(offset) => *instance.context.at::<*mut VmMemory>(offset),
            })
        }
    }

    /// The address of a range of a memory.
    pub(crate) unsafe fn memory_range(
        this: NonNull<InstanceData>,
        index: MemoryIndex,
        offset: u64,
        len: u64,
    ) -> Result<*mut u8, TrapCode> {
        // SAFETY: the caller's.
        unsafe { Self::raw_memory(this, index) }.range(offset, len)
    }

    /// Whether `memory.init` is within the segment and the memory.
    pub(crate) unsafe fn check_memory_init(
        this: NonNull<InstanceData>,
        memory: MemoryIndex,
        data: DataIndex,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Result<*mut u8, TrapCode> {
        // SAFETY: the caller's.
        unsafe {
            let bytes = (*this.as_ptr()).passive_bytes(data);
            if src.checked_add(len).is_none_or(|end| end > bytes.len() as u64) {
                return Err(TrapCode::MemoryOutOfBounds);
            }
            Self::memory_range(this, memory, dst, len)
        }
    }

    /// `memory.init`.
    pub(crate) unsafe fn memory_init(
        this: NonNull<InstanceData>,
        memory: MemoryIndex,
        data: DataIndex,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Result<(), TrapCode> {
        // SAFETY: the caller's; the bytes of the segment are not guest memory, so they do not overlap.
        unsafe {
            let to = Self::check_memory_init(this, memory, data, dst, src, len)?;
            let bytes = (*this.as_ptr()).passive_bytes(data);
            ptr::copy_nonoverlapping(bytes.as_ptr().wrapping_add(src as usize), to, len as usize);
        }
        Ok(())
    }

    fn passive_bytes(&self, index: DataIndex) -> &[u8] {
        // Artifacts leave out what is of no use any more.
        let passive = self.module.env.datas.get(index).filter(|segment| segment.mode == SegmentMode::Passive);
        let Some(segment) = passive.filter(|_| !self.dropped_datas.contains(index.0)) else { return &[] };
        self.module.info.bytes(&segment.bytes)
    }

    /// `data.drop`.
    pub(crate) fn drop_data(&mut self, index: DataIndex) {
        self.dropped_datas.insert(index.0);
    }

    /// `elem.drop`.
    pub(crate) fn drop_elem(&mut self, index: ElemIndex) {
        self.dropped_elems.insert(index.0);
    }

    /// Copies elements of a segment, whether it was dropped or not.
    unsafe fn table_init(
        this: NonNull<InstanceData>,
        table: TableIndex,
        elem: ElemIndex,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Result<()> {
        // SAFETY: the caller's. The table is borrowed while elements are evaluated, which touches no table.
        unsafe {
            let module = (*this.as_ptr()).module.clone();
            let segment = &module.env.elems[elem];
            if src.checked_add(len).is_none_or(|end| end > segment.items.len() as u64) {
                return Err(TrapCode::TableOutOfBounds.into());
            }
            let repr = segment.ty.repr();
            let mut table = Self::table(this, table);
            table.as_mut().write(dst, len, |i| {
                let i = (src + i) as usize;
                Ok(match &segment.items {
                    ElemItems::Funcs(funcs) => Element::Func(Some(Self::func_ref(this, funcs[i]))),
                    ElemItems::Exprs(exprs) => element_from_raw(repr, const_expr::eval(this, &exprs[i])?),
                })
            })
        }
    }

    /// Whether `table.init` is within the segment and the table.
    pub(crate) unsafe fn check_table_init(
        this: NonNull<InstanceData>,
        table: TableIndex,
        elem: ElemIndex,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Result<(), TrapCode> {
        // SAFETY: the caller's.
        unsafe {
            let instance = &*this.as_ptr();
            let segment = &instance.module.env.elems[elem];
            let is_empty = segment.mode != SegmentMode::Passive || instance.dropped_elems.contains(elem.0);
            let items = if is_empty { 0 } else { segment.items.len() as u64 };
            if src.checked_add(len).is_none_or(|end| end > items) {
                return Err(TrapCode::TableOutOfBounds);
            }
            Self::table(this, table).as_ref().check(dst, len)
        }
    }

    /// `table.init`.
    pub(crate) unsafe fn table_init_passive(
        this: NonNull<InstanceData>,
        table: TableIndex,
        elem: ElemIndex,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            Self::check_table_init(this, table, elem, dst, src, len)?;
            if len == 0 { Ok(()) } else { Self::table_init(this, table, elem, dst, src, len) }
        }
    }

    /// Reports every collected reference in its globals and tables.
    pub(crate) fn trace_roots(&self, f: &mut dyn FnMut(u32)) {
        for table in &self.tables {
            table.trace_roots(f);
        }
        let env = &self.module.env;
        for (index, ty) in env.globals.iter().skip(env.num_imported_globals as usize) {
            if ty.content.is_gc_ref() {
                let Place::Inline(offset) = self.module.layout.global(index) else { continue };
                // SAFETY: that field of the context; the store is borrowed.
                f(unsafe { (*self.context.at::<ValRaw>(offset)).get_u32() });
            }
        }
    }

    /// Names one of the things in its index spaces.
    ///
    /// # Safety
    /// `this` belongs to `store`.
    pub(crate) unsafe fn entity(store: &StoreOpaque, this: NonNull<InstanceData>, index: EntityIndex) -> Entity {
        // SAFETY: the caller's; all that is named belongs to the same store.
        unsafe {
            match index {
                EntityIndex::Func(i) => Entity::Func(store.handle(Self::func_ref(this, i))),
                EntityIndex::Table(i) => Entity::Table(store.handle(Self::table(this, i))),
                EntityIndex::Memory(i) => Entity::Memory(store.handle(Self::memory(this, i))),
                EntityIndex::Tag(i) => Entity::Tag(Self::tag(this, i)),
                EntityIndex::Global(i) => {
                    let instance = &*this.as_ptr();
                    Entity::Global(match instance.imports.globals.get(i.0 as usize) {
                        Some(imported) => *imported,
                        None => GlobalHandle {
                            storage: store.handle(Self::global(this, i)),
                            ty: instance.module.types.global_type(instance.module.env.globals[i]),
                        },
                    })
                }
            }
        }
    }
}

/// Bytes and elements that are worked on between two looks at the epoch: about a millisecond, where pages are touched for the
/// first time.
pub(super) const PIECE_BYTES: u64 = 2 << 20;
pub(super) const PIECE_ELEMENTS: u64 = 64 << 10;

/// Looks at the epoch as often as the work that is done demands.
#[derive(Default)]
struct Pace(u64);

impl Pace {
    /// So many bytes are about to be worked on.
    fn take(&mut self, store: &mut StoreOpaque, bytes: u64) -> Result<()> {
        self.0 += bytes;
        if self.0 <= PIECE_BYTES {
            return Ok(());
        }
        self.0 = bytes;
        store.check_epoch()
    }
}

/// Something that an instance exports.
pub(crate) enum Entity {
    Func(Handle<VmFuncRef>),
    Table(Handle<TableData>),
    Memory(Handle<LinearMemory>),
    Global(GlobalHandle),
    Tag(NonNull<VmTag>),
}

fn offset_from_raw(value: ValRaw, is_64: bool) -> u64 {
    if is_64 { value.get_u64() } else { value.get_u32().into() }
}

/// An element from the value of a constant expression.
pub(crate) fn element_from_raw(repr: kiln_env::types::RefRepr, value: ValRaw) -> Element {
    match repr {
        kiln_env::types::RefRepr::FuncPointer => {
            Element::Func(NonNull::new(ptr::with_exposed_provenance_mut(value.get_u64() as usize)))
        }
        kiln_env::types::RefRepr::Gc => Element::Gc(value.get_u32()),
    }
}
