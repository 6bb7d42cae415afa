//! The objects themselves: allocation, marking, sweeping. Nothing moves.
//!
//! A reference is `block << 12 | granule`: blocks of 64 KiB are numbered from 1, so that 0 is null, and cells begin at
//! granules of 16 bytes. All cells of a block have one size. Which cells are in use is a bitmap beside the block; a
//! collection fills a second bitmap and lets it take the place of the first, so sweeping touches no cell but dead host
//! values. Allocation takes the free bits of one bitmap word at a time.
//!
//! # Invariants
//! 1. A block's memory is `BLOCK_BYTES` long, aligned to a granule, and freed only when none of its cells is in use.
//! 2. A cell whose bit in `allocated` is set and is not among its class's `free` bits is initialised as its class says:
//!    a `HostValue`, or an `ExnHeader` and as many slots as that says.
//! 3. Whoever holds a reference got it from here and keeps it reachable from a root, so the bit of its cell is set.
//!    Debug builds check that at every use; release builds check that it is a cell of the block at all.

use std::alloc::{self, Layout};
use std::any::Any;
use std::collections::HashMap;
use std::ptr::NonNull;

use crate::vm::context::{ValRaw, VmTag};

/// What an `externref` holds.
pub(crate) type HostValue = Box<dyn Any + Send + Sync>;

const GRANULE: usize = 16;
const GRANULE_BITS: u32 = 12;
const GRANULES: usize = 1 << GRANULE_BITS;
pub(crate) const BLOCK_BYTES: usize = GRANULES * GRANULE;
const BLOCK_LAYOUT: Layout = match Layout::from_size_align(BLOCK_BYTES, GRANULE) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};
/// Block numbers fit beside a granule, and 0 is none.
const MAX_BLOCKS: usize = (1 << (32 - GRANULE_BITS)) - 1;
const WORDS: usize = GRANULES / 64;
/// What a program may allocate before a collection is worth its while: about what stays in a level-2 cache.
const MIN_THRESHOLD: usize = 512 << 10;
/// Bytes of allocation that cost about as much as looking at one root.
const ROOT_COST: usize = 4;
/// Blocks that are kept when nothing lives in them.
const SPARE_BLOCKS: usize = 2 * MIN_THRESHOLD / BLOCK_BYTES;
/// What a host value costs beside itself: its cell and the allocator's bookkeeping.
const HOST_VALUE_COST: usize = 32;

/// Granules of the cells of each class. Class 0 holds host values, the others exceptions.
const CLASS_GRANULES: [u16; 25] =
    [1, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];
const CLASSES: usize = CLASS_GRANULES.len();
const HOST_CLASS: usize = 0;
const MAX_CELL: usize = CLASS_GRANULES[CLASSES - 1] as usize;
const _: () = assert!(kiln_env::limits::MAX_PARAMS as usize + size_of::<ExnHeader>() / GRANULE <= MAX_CELL);
const _: () = assert!(size_of::<HostValue>() == GRANULE && size_of::<ValRaw>() == GRANULE);

/// The least class for exceptions of this many granules.
const CLASS_OF: [u8; MAX_CELL + 1] = {
    let mut table = [0; MAX_CELL + 1];
    let mut class = 1;
    let mut granules = 0;
    while granules <= MAX_CELL {
        if granules > CLASS_GRANULES[class] as usize {
            class += 1;
        }
        table[granules] = class as u8;
        granules += 1;
    }
    table
};

/// An object of the heap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct GcRef(std::num::NonZeroU32);

impl GcRef {
    /// The reference with this number; `None` for null.
    pub(crate) fn from_u32(n: u32) -> Option<GcRef> {
        std::num::NonZeroU32::new(n).map(GcRef)
    }

    /// Its number, as compiled code has it.
    pub(crate) fn as_u32(self) -> u32 {
        self.0.get()
    }

    fn block(self) -> usize {
        (self.as_u32() >> GRANULE_BITS) as usize
    }

    fn granule(self) -> usize {
        self.as_u32() as usize % GRANULES
    }
}

/// Which slots of an exception's payload are references of the heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PayloadLayout(u32);

const NO_REFERENCES: PayloadLayout = PayloadLayout(0);

/// First granule of an exception; the payload slots follow.
#[repr(C, align(16))]
struct ExnHeader {
    tag: NonNull<VmTag>,
    len: u32,
    layout: PayloadLayout,
}

struct Block {
    memory: NonNull<u8>,
    class: usize,
    /// Cells in use when the last collection ended.
    live: u32,
    allocated: [u64; WORDS],
    marked: [u64; WORDS],
}

/// Where the next cells of a class come from.
#[derive(Clone)]
struct Cursor {
    /// Number of the block that is being filled; 0 for none.
    block: u32,
    /// The word of its bitmap that is being filled.
    word: u32,
    /// Cells of that word that are still free; their bits are set in `allocated` already.
    free: u64,
    memory: *mut u8,
    /// Other blocks of the class that had free cells when the last collection ended.
    partial: Vec<u32>,
}

/// The objects of a store.
pub(crate) struct Heap {
    /// By number, less 1. `None`: given back to the system.
    blocks: Vec<Option<Box<Block>>>,
    /// Numbers of the blocks that were given back.
    vacant: Vec<u32>,
    /// Numbers of blocks without a cell in use.
    empty: Vec<u32>,
    cursors: [Cursor; CLASSES],
    /// The payload layouts, by number; 0 is that without references.
    layouts: Vec<Box<[u32]>>,
    layout_of_type: HashMap<u32, PayloadLayout>,
    last_layout: (u32, PayloadLayout),
    /// Bytes allocated since the last collection.
    allocated: usize,
    /// How many of them call for the next one.
    threshold: usize,
    max_blocks: usize,
    /// What host values take that are in the heap.
    host_bytes: usize,
    /// Bytes that blocks and host values may take in all.
    granted: usize,
    mark_stack: Vec<GcRef>,
}

/// What lives in a heap.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct HeapStats {
    /// Objects, as of the last collection.
    pub(crate) live: usize,
    /// Bytes of all blocks.
    pub(crate) bytes: usize,
}

// SAFETY: 1. The raw pointers lead to memory that the heap owns. 2. Host values in it are `Send + Sync`. 3. Tags are only
// pointed to; whoever reads one does so by the rules of the store, which is where the heap lives and moves with it.
unsafe impl Send for Heap {}
// SAFETY: as above; `&Heap` gives no way to write.
unsafe impl Sync for Heap {}

impl Block {
    fn cells(&self) -> usize {
        GRANULES / self.granules()
    }

    fn granules(&self) -> usize {
        usize::from(CLASS_GRANULES[self.class])
    }

    fn words(&self) -> usize {
        self.cells().div_ceil(64)
    }

    /// The bits of `word` that stand for cells.
    fn valid(&self, word: usize) -> u64 {
        match self.cells() - word * 64 {
            n @ 0..64 => (1 << n) - 1,
            _ => u64::MAX,
        }
    }

    fn cell_at(&self, granule: usize) -> Option<(usize, u64)> {
        let (cell, rest) = (granule / self.granules(), granule % self.granules());
        (rest == 0 && cell < self.cells()).then_some((cell / 64, 1 << (cell % 64)))
    }
}

impl Heap {
    /// An empty heap of at most `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Heap {
        let nowhere = Cursor { block: 0, word: 0, free: 0, memory: std::ptr::null_mut(), partial: Vec::new() };
        Heap {
            blocks: Vec::new(),
            vacant: Vec::new(),
            empty: Vec::new(),
            cursors: std::array::from_fn(|_| nowhere.clone()),
            layouts: vec![Box::default()],
            layout_of_type: HashMap::new(),
            last_layout: (kiln_env::layout::TYPE_LAZY, NO_REFERENCES),
            allocated: 0,
            threshold: MIN_THRESHOLD,
            max_blocks: (max_bytes / BLOCK_BYTES).min(MAX_BLOCKS),
            host_bytes: 0,
            granted: max_bytes,
            mark_stack: Vec::new(),
        }
    }

    /// Bytes that blocks and host values take.
    pub(crate) fn bytes(&self) -> usize {
        (self.blocks.len() - self.vacant.len()) * BLOCK_BYTES + self.host_bytes
    }

    /// Bytes that they may take.
    pub(crate) fn granted(&self) -> usize {
        self.granted
    }

    /// Lets them take so much.
    pub(crate) fn grant(&mut self, bytes: usize) {
        self.granted = bytes;
    }

    /// Whether as much was allocated since the last collection as calls for the next one.
    pub(crate) fn is_due(&self) -> bool {
        self.allocated >= self.threshold
    }

    /// Puts a host value into the heap, or gives it back: then collect and try again, with `force` set. If it comes back
    /// even so, the heap is full.
    pub(crate) fn alloc_host(&mut self, value: HostValue, force: bool) -> Result<GcRef, HostValue> {
        let cost = host_cost(&value);
        if self.bytes().saturating_add(cost) > self.granted {
            return Err(value);
        }
        let Some((object, cell)) = self.alloc(HOST_CLASS, force) else { return Err(value) };
        self.allocated += cost;
        self.host_bytes += cost;
        // SAFETY: by `alloc` the cell is free, of one granule, which is the size of a `HostValue`, and aligned.
        unsafe { cell.cast::<HostValue>().write(value) };
        Ok(object)
    }

    /// Puts an exception into the heap. `None`: as for `alloc_host`.
    ///
    /// # Safety
    /// `payload` points to `len` readable slots, and `len` is at most `limits::MAX_PARAMS`.
    pub(crate) unsafe fn alloc_exn(
        &mut self,
        tag: NonNull<VmTag>,
        layout: PayloadLayout,
        payload: *const ValRaw,
        len: u32,
        force: bool,
    ) -> Option<GcRef> {
        let (object, cell) = self.alloc(usize::from(CLASS_OF[len as usize + 1]), force)?;
        let header = cell.cast::<ExnHeader>();
        // SAFETY: by `alloc` the cell is free and has at least `len + 1` granules; the rest is the caller's promise.
        unsafe {
            header.write(ExnHeader { tag, len, layout });
            std::ptr::copy_nonoverlapping(payload, header.add(1).cast::<ValRaw>().as_ptr(), len as usize);
        }
        Some(object)
    }

    /// The layout for tags of the type with this number, if it is known.
    pub(crate) fn known_layout(&mut self, type_id: u32) -> Option<PayloadLayout> {
        if self.last_layout.0 != type_id {
            self.last_layout = (type_id, *self.layout_of_type.get(&type_id)?);
        }
        Some(self.last_layout.1)
    }

    /// Makes known which payload slots of exceptions with tags of this type are references. Type numbers must stay
    /// valid as long as the heap, as they do for tags of a store.
    pub(crate) fn add_layout(&mut self, type_id: u32, references: Box<[u32]>) -> PayloadLayout {
        let layout = match self.layouts.iter().position(|l| *l == references) {
            Some(known) => PayloadLayout(known as u32),
            None => {
                self.layouts.push(references);
                PayloadLayout(self.layouts.len() as u32 - 1)
            }
        };
        self.layout_of_type.insert(type_id, layout);
        layout
    }

    /// The references in a payload that is not in the heap yet.
    pub(crate) fn payload_references<'a>(
        &'a self,
        layout: PayloadLayout,
        payload: &'a [ValRaw],
    ) -> impl Iterator<Item = GcRef> + 'a {
        let slots = &self.layouts[layout.0 as usize];
        slots.iter().filter_map(|slot| GcRef::from_u32(payload.get(*slot as usize)?.get_u32()))
    }

    #[inline]
    fn alloc(&mut self, class: usize, force: bool) -> Option<(GcRef, NonNull<u8>)> {
        if self.cursors[class].free == 0 && !self.refill(class, force) {
            return None;
        }
        let cursor = &mut self.cursors[class];
        let cell = cursor.word * 64 + cursor.free.trailing_zeros();
        cursor.free &= cursor.free - 1;
        let granule = cell * u32::from(CLASS_GRANULES[class]);
        let object = GcRef::from_u32(cursor.block << GRANULE_BITS | granule)?;
        // SAFETY: invariant 1, and the cell is one of the block's. A cursor with a free bit has a block.
        Some((object, unsafe { NonNull::new_unchecked(cursor.memory.add(granule as usize * GRANULE)) }))
    }

    /// Finds the next word with free bits. False if a collection is due (and not `force`) or the heap is full.
    #[cold]
    fn refill(&mut self, class: usize, force: bool) -> bool {
        if self.allocated >= self.threshold && !force {
            return false;
        }
        loop {
            let (number, first) = match self.cursors[class].block {
                0 => match self.next_block(class) {
                    Some(number) => (number, 0),
                    None => return false,
                },
                number => (number, self.cursors[class].word as usize + 1),
            };
            let block = self.blocks[number as usize - 1].as_deref_mut().expect("cursors are at blocks with memory");
            let found = (first..block.words()).find(|w| block.valid(*w) & !block.allocated[*w] != 0);
            let cursor = &mut self.cursors[class];
            let Some(word) = found else {
                cursor.block = 0;
                continue;
            };
            cursor.block = number;
            cursor.word = word as u32;
            cursor.memory = block.memory.as_ptr();
            cursor.free = block.valid(word) & !block.allocated[word];
            block.allocated[word] |= cursor.free;
            if class != HOST_CLASS {
                self.allocated += cursor.free.count_ones() as usize * block.granules() * GRANULE;
            }
            return true;
        }
    }

    fn next_block(&mut self, class: usize) -> Option<u32> {
        if let Some(number) = self.cursors[class].partial.pop() {
            return Some(number);
        }
        if let Some(number) = self.empty.pop() {
            let block = self.blocks[number as usize - 1].as_deref_mut().expect("empty blocks have memory");
            block.class = class;
            return Some(number);
        }
        if self.blocks.len() - self.vacant.len() >= self.max_blocks || self.bytes() + BLOCK_BYTES > self.granted {
            return None;
        }
        // SAFETY: the layout's size is not zero.
        let memory = NonNull::new(unsafe { alloc::alloc(BLOCK_LAYOUT) })?;
        let block = Box::new(Block { memory, class, live: 0, allocated: [0; WORDS], marked: [0; WORDS] });
        match self.vacant.pop() {
            Some(number) => {
                self.blocks[number as usize - 1] = Some(block);
                Some(number)
            }
            None => {
                self.blocks.push(Some(block));
                Some(self.blocks.len() as u32)
            }
        }
    }

    fn block(&self, object: GcRef) -> Option<&Block> {
        self.blocks.get(object.block().checked_sub(1)?)?.as_deref()
    }

    /// Whether an object is there: of host values if `host`, else of exceptions.
    pub(crate) fn is_live(&self, object: GcRef, host: bool) -> bool {
        let Some(block) = self.block(object) else { return false };
        let Some((word, bit)) = block.cell_at(object.granule()) else { return false };
        let cursor = &self.cursors[block.class];
        let free = cursor.block as usize == object.block() && cursor.word as usize == word && cursor.free & bit != 0;
        (block.class == HOST_CLASS) == host && block.allocated[word] & bit != 0 && !free
    }

    /// Whether an object is there, of either kind.
    pub(crate) fn is_object(&self, object: GcRef) -> bool {
        self.is_live(object, true) || self.is_live(object, false)
    }

    fn cell(&self, object: GcRef, host: bool) -> NonNull<u8> {
        // Memory safety rests on this one check: a wrong reference is a bug of the engine and stops here.
        assert!(self.is_live(object, host), "no such object in the store's heap: {object:?}");
        let block = self.block(object).expect("checked");
        // SAFETY: invariant 1; the granule is below `GRANULES`.
        unsafe { block.memory.add(object.granule() * GRANULE) }
    }

    /// The host value behind an `externref`.
    pub(crate) fn host_value(&self, object: GcRef) -> &(dyn Any + Send + Sync) {
        // SAFETY: invariant 2, checked by `cell`; the value lives as long as a collection, which borrows the heap mutably.
        unsafe { &**self.cell(object, true).cast::<HostValue>().as_ptr() }
    }

    /// The host value behind an `externref`, mutably.
    pub(crate) fn host_value_mut(&mut self, object: GcRef) -> &mut (dyn Any + Send + Sync) {
        // SAFETY: as `host_value`; the heap is borrowed mutably, so this is the only reference.
        unsafe { &mut **self.cell(object, true).cast::<HostValue>().as_ptr() }
    }

    /// The tag of an exception.
    pub(crate) fn exn_tag(&self, object: GcRef) -> NonNull<VmTag> {
        // SAFETY: invariant 2, checked by `cell`.
        unsafe { self.cell(object, false).cast::<ExnHeader>().as_ref().tag }
    }

    /// The payload of an exception. The slots stay where they are as long as the exception lives.
    pub(crate) fn exn_payload(&self, object: GcRef) -> NonNull<[ValRaw]> {
        let header = self.cell(object, false).cast::<ExnHeader>();
        // SAFETY: invariant 2, checked by `cell`: the header is there and so many slots follow it.
        unsafe { NonNull::slice_from_raw_parts(header.add(1).cast(), header.as_ref().len as usize) }
    }

    /// Begins a collection: no object is marked, and all bitmaps are exact.
    pub(crate) fn begin(&mut self) {
        for cursor in &mut self.cursors {
            if cursor.block != 0 {
                let block = self.blocks[cursor.block as usize - 1].as_deref_mut().expect("cursors are at blocks");
                block.allocated[cursor.word as usize] &= !cursor.free;
            }
            (cursor.block, cursor.free) = (0, 0);
            cursor.partial.clear();
        }
        self.empty.clear();
    }

    /// Marks an object and, in time, what it refers to.
    pub(crate) fn mark(&mut self, object: GcRef) {
        debug_assert!(self.is_object(object), "a root is no object: {object:?}");
        let Some(block) = object.block().checked_sub(1).and_then(|b| self.blocks.get_mut(b)) else { return };
        let Some(block) = block.as_deref_mut() else { return };
        let Some((word, bit)) = block.cell_at(object.granule()) else { return };
        if block.allocated[word] & !block.marked[word] & bit != 0 {
            block.marked[word] |= bit;
            if block.class != HOST_CLASS {
                self.mark_stack.push(object);
            }
        }
    }

    /// Marks everything that marked objects refer to.
    pub(crate) fn trace(&mut self) {
        while let Some(object) = self.mark_stack.pop() {
            let cell = self.cell(object, false);
            // SAFETY: invariant 2, checked by `cell`.
            let header = unsafe { cell.cast::<ExnHeader>().as_ref() };
            let layout = header.layout;
            if layout == NO_REFERENCES {
                continue;
            }
            let payload = self.exn_payload(object);
            for i in 0..self.layouts[layout.0 as usize].len() {
                let slot = self.layouts[layout.0 as usize][i] as usize;
                // SAFETY: the layout was made for this payload's type, so the slot is one of it.
                let raw = unsafe { payload.cast::<ValRaw>().add(slot).read() };
                if let Some(inner) = GcRef::from_u32(raw.get_u32()) {
                    self.mark(inner);
                }
            }
        }
    }

    /// Ends a collection: objects that are not marked are gone. Host values among them are moved to `dead`; the caller
    /// drops them where their destructors may run. `roots`: how many places were looked at for references.
    pub(crate) fn sweep(&mut self, roots: usize, dead: &mut Vec<HostValue>) {
        let (mut live_bytes, mut blocks_in_use, already_dead) = (0, 0, dead.len());
        for (index, place) in self.blocks.iter_mut().enumerate() {
            let Some(block) = place.as_deref_mut() else { continue };
            if block.class == HOST_CLASS {
                take_dead(block, dead);
            } else if cfg!(debug_assertions) {
                poison_dead(block);
            }
            let words = block.words();
            block.allocated[..words].copy_from_slice(&block.marked[..words]);
            block.marked[..words].fill(0);
            block.live = block.allocated[..words].iter().map(|w| w.count_ones()).sum();
            let number = index as u32 + 1;
            if block.live == 0 {
                self.empty.push(number);
                continue;
            }
            blocks_in_use += 1;
            live_bytes += block.live as usize * block.granules() * GRANULE;
            if (block.live as usize) < block.cells() {
                self.cursors[block.class].partial.push(number);
            }
        }
        while self.empty.len() > SPARE_BLOCKS.max(blocks_in_use) {
            let Some(number) = self.empty.pop() else { break };
            self.free_block(number);
        }
        self.host_bytes -= dead[already_dead..].iter().map(host_cost).sum::<usize>();
        self.allocated = 0;
        // A collection costs about as much as what lives and the roots; as much has to be allocated before the next.
        self.threshold = MIN_THRESHOLD.max(live_bytes).max(roots.saturating_mul(ROOT_COST));
    }

    fn free_block(&mut self, number: u32) {
        if let Some(block) = self.blocks[number as usize - 1].take() {
            // SAFETY: allocated with this layout, and no cell is in use.
            unsafe { alloc::dealloc(block.memory.as_ptr(), BLOCK_LAYOUT) };
            self.vacant.push(number);
        }
    }

    /// Calls `f` with every object that lives. For verification.
    pub(crate) fn each_reference(&self, mut f: impl FnMut(GcRef)) {
        for (index, block) in self.blocks.iter().enumerate() {
            let Some(block) = block.as_deref().filter(|b| b.class != HOST_CLASS) else { continue };
            for cell in 0..block.cells() {
                let number = ((index as u32 + 1) << GRANULE_BITS) | (cell * block.granules()) as u32;
                let Some(object) = GcRef::from_u32(number).filter(|o| self.is_live(*o, false)) else { continue };
                // SAFETY: invariant 2, checked by `cell`.
                let layout = unsafe { self.cell(object, false).cast::<ExnHeader>().as_ref().layout };
                for slot in &self.layouts[layout.0 as usize] {
                    // SAFETY: the layout was made for this payload's type, so the slot is one of it.
                    let raw = unsafe { self.exn_payload(object).cast::<ValRaw>().add(*slot as usize).read() };
                    GcRef::from_u32(raw.get_u32()).into_iter().for_each(&mut f);
                }
            }
        }
    }

    /// Sizes.
    #[cfg(test)]
    pub(crate) fn stats(&self) -> HeapStats {
        let blocks = || self.blocks.iter().flatten();
        HeapStats { live: blocks().map(|b| b.live as usize).sum(), bytes: blocks().count() * BLOCK_BYTES }
    }
}

/// Bytes that a host value takes.
pub(crate) fn host_cost(value: &HostValue) -> usize {
    size_of_val(&**value) + HOST_VALUE_COST
}

/// Moves the host values that are not marked out of a block.
fn take_dead(block: &mut Block, dead: &mut Vec<HostValue>) {
    for word in 0..block.words() {
        let mut bits = block.allocated[word] & !block.marked[word];
        while bits != 0 {
            let cell = word * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            // SAFETY: invariant 2: the cell holds a value. Its bit goes with this collection, so nobody reads it again.
            dead.push(unsafe { block.memory.add(cell * GRANULE).cast::<HostValue>().read() });
        }
    }
}

/// Overwrites the exceptions that are not marked, so that a missing root shows itself.
fn poison_dead(block: &mut Block) {
    for cell in 0..block.cells() {
        let (word, bit) = (cell / 64, 1 << (cell % 64));
        if block.allocated[word] & !block.marked[word] & bit != 0 {
            let bytes = block.granules() * GRANULE;
            // SAFETY: the cell is one of the block's, and nothing refers to it any more.
            unsafe { block.memory.add(cell * bytes).write_bytes(0xdd, bytes) };
        }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        let mut dead = Vec::new();
        self.begin();
        self.sweep(0, &mut dead);
        for number in 1..=self.blocks.len() as u32 {
            self.free_block(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Arc<AtomicUsize>, usize);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn counted(live: &Arc<AtomicUsize>, n: usize) -> HostValue {
        live.fetch_add(1, Ordering::Relaxed);
        Box::new(Counted(live.clone(), n))
    }

    fn collect(heap: &mut Heap, roots: &[GcRef]) {
        heap.begin();
        roots.iter().for_each(|r| heap.mark(*r));
        heap.trace();
        heap.sweep(0, &mut Vec::new());
        heap.each_reference(|r| assert!(heap.is_object(r)));
    }

    fn host(heap: &mut Heap, roots: &[GcRef], value: HostValue) -> GcRef {
        heap.alloc_host(value, false).unwrap_or_else(|value| {
            collect(heap, roots);
            heap.alloc_host(value, true).map_err(drop).unwrap()
        })
    }

    fn exn(heap: &mut Heap, tag: &VmTag, layout: PayloadLayout, payload: &[ValRaw], roots: &[GcRef]) -> GcRef {
        let make = |heap: &mut Heap, force| {
            // SAFETY: a slice of so many slots.
            unsafe { heap.alloc_exn(NonNull::from(tag), layout, payload.as_ptr(), payload.len() as u32, force) }
        };
        make(heap, false).unwrap_or_else(|| {
            collect(heap, roots);
            make(heap, true).unwrap()
        })
    }

    #[test]
    fn ten_million_host_values_take_constant_memory() {
        let live = Arc::new(AtomicUsize::new(0));
        let mut heap = Heap::new(1 << 30);
        let mut roots = Vec::new();
        for i in 0..10_000_000 {
            let object = host(&mut heap, &roots, counted(&live, i));
            if i % 100_000 == 0 {
                roots.push(object);
            }
        }
        assert!(heap.stats().bytes <= 2 << 20, "{:?}", heap.stats());
        collect(&mut heap, &roots);
        assert_eq!((heap.stats().live, live.load(Ordering::Relaxed)), (100, 100));
        for (i, root) in roots.iter().enumerate() {
            let value: &Counted = heap.host_value(*root).downcast_ref().unwrap();
            assert_eq!(value.1, i * 100_000);
        }
        drop(heap);
        assert_eq!(live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn payloads_keep_what_they_refer_to() {
        let live = Arc::new(AtomicUsize::new(0));
        let mut heap = Heap::new(1 << 30);
        let tag = VmTag::ZERO;
        let layout = heap.add_layout(7, Box::new([1]));
        assert_eq!((heap.known_layout(7), heap.known_layout(8)), (Some(layout), None));
        let value = host(&mut heap, &[], counted(&live, 42));
        // A list of a million exceptions with the value at its end: marking must not recurse.
        let mut head = value;
        for i in 0..1_000_000u32 {
            head = exn(&mut heap, &tag, layout, &[ValRaw::u32(i), ValRaw::u32(head.as_u32())], &[head]);
        }
        collect(&mut heap, &[head]);
        assert_eq!(heap.stats().live, 1_000_001);
        // SAFETY: the slots are there as long as `head` lives.
        let slots = unsafe { heap.exn_payload(head).as_ref() };
        assert_eq!(slots[0].get_u32(), 999_999);
        assert_eq!(heap.exn_tag(head), NonNull::from(&tag));
        collect(&mut heap, &[]);
        assert_eq!((heap.stats().live, live.load(Ordering::Relaxed)), (0, 0));
        assert!(heap.stats().bytes <= 2 << 20);
    }

    #[test]
    fn every_size_of_payload_has_a_cell() {
        let mut heap = Heap::new(1 << 30);
        let tag = VmTag::ZERO;
        let (mut objects, mut roots) = (Vec::new(), Vec::new());
        for len in 0..=kiln_env::limits::MAX_PARAMS {
            let payload: Vec<ValRaw> = (0..len).map(|i| ValRaw::u32(i ^ len)).collect();
            for _ in 0..3 {
                let object = exn(&mut heap, &tag, NO_REFERENCES, &payload, &roots);
                roots.push(object);
                objects.push((len, object));
            }
            if len % 100 == 99 {
                collect(&mut heap, &roots);
            }
        }
        // Every second one goes.
        objects.retain(|(len, _)| len % 2 == 0);
        let roots: Vec<GcRef> = objects.iter().map(|(_, o)| *o).collect();
        collect(&mut heap, &roots);
        assert_eq!(heap.stats().live, objects.len());
        for (len, object) in objects {
            // SAFETY: the slots are there as long as the object lives.
            let slots = unsafe { heap.exn_payload(object).as_ref() };
            assert!(slots.len() == len as usize && (0..len).all(|i| slots[i as usize] == ValRaw::u32(i ^ len)));
        }
    }

    #[test]
    fn a_full_heap_says_so() {
        let mut heap = Heap::new(4 * BLOCK_BYTES);
        let mut roots = Vec::new();
        let full = loop {
            match heap.alloc_host(Box::new(0u8), true) {
                Ok(object) => roots.push(object),
                Err(value) => break value,
            }
        };
        // What the values take by themselves counts as well.
        let most = 4 * BLOCK_BYTES / (GRANULE + host_cost(&full));
        assert!((most / 2..=most).contains(&roots.len()), "{}", roots.len());
        assert!(heap.bytes() <= 4 * BLOCK_BYTES);
        assert!(heap.alloc_host(full, false).is_err());
        roots.truncate(100);
        collect(&mut heap, &roots);
        assert_eq!(heap.host_bytes, 100 * (1 + HOST_VALUE_COST));
        assert!(heap.alloc_host(Box::new(0u8), false).is_ok());
    }

    #[test]
    #[should_panic(expected = "no such object")]
    fn a_stale_reference_is_noticed() {
        let mut heap = Heap::new(1 << 30);
        let object = host(&mut heap, &[], Box::new(1u8));
        collect(&mut heap, &[]);
        heap.host_value(object);
    }
}
