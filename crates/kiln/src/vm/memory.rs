//! Linear memories.

use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result};
use kiln_env::layout::MemoryStyle;
use kiln_env::types::MemoryType;
use kiln_env::{TrapCode, Tunables};

use super::context::VmMemory;
use super::shared::{GrownShared, SharedMemoryInner};
use super::store::StoreOpaque;
use crate::Engine;
use crate::sys::MemoryImage;
use crate::sys::mmap::{Mapping, page_size, round_up_to_page};

/// How many memories of ended instances a module keeps mapped for the next ones.
const MAX_FREE: usize = 16;

/// How large a memory is before what it grows by may be in huge pages. What it has then takes small ones, so that of small
/// programs nothing becomes resident that they do not touch.
const SMALL: usize = 8 << 20;

/// What all memories made for one memory of a module have in common.
pub(crate) struct MemoryPlan {
    ty: MemoryType,
    style: MemoryStyle,
    /// Bytes of address space; `None` if that many cannot be addressed.
    reservation: Option<usize>,
    /// Bytes at the start; 0 if the memory cannot be made.
    min: usize,
    /// Whether huge pages are wanted for what large memories grow by.
    huge_pages: bool,
    image: OnceLock<Option<MemoryImage>>,
    free: Mutex<Vec<Mapping>>,
}

impl MemoryPlan {
    /// Plans memories of type `ty`. A module may define one that cannot be addressed; only making it fails.
    pub(crate) fn new(ty: &MemoryType, engine: &Engine) -> MemoryPlan {
        let (tunables, huge_pages) = (engine.tunables(), engine.memory_huge_pages());
        let style = MemoryStyle::of(ty, tunables);
        let sizes = sizes(ty, style, tunables);
        let (image, free) = (OnceLock::new(), Mutex::new(Vec::new()));
        let min = sizes.map_or(0, |(_, min)| min);
        let reservation = sizes.map(|(reservation, _)| reservation);
        MemoryPlan { ty: *ty, style, reservation, min, huge_pages, image, free }
    }

    /// Whether a segment of `len` bytes at `offset` lies within the initial size.
    pub(crate) fn fits(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.min as u64)
    }

    /// The least size in bytes.
    pub(crate) fn min(&self) -> usize {
        self.min
    }

    /// The type.
    pub(crate) fn ty(&self) -> &MemoryType {
        &self.ty
    }

    /// The initial contents, made by `make` for the first instance.
    pub(super) fn image(&self, make: &dyn Fn() -> Result<Option<MemoryImage>>) -> Result<Option<&MemoryImage>> {
        if let Some(image) = self.image.get() {
            return Ok(image.as_ref());
        }
        let made = make()?;
        Ok(self.image.get_or_init(|| made).as_ref())
    }

    /// Address space with the initial contents and size.
    pub(super) fn map(&self, make_image: &dyn Fn() -> Result<Option<MemoryImage>>) -> Result<Mapping> {
        let image = self.image(make_image)?;
        if let Some(mapping) = self.free.lock().unwrap_or_else(|e| e.into_inner()).pop() {
            return Ok(mapping);
        }
        let reservation = self.reservation.with_context(|| too_large(&self.ty))?;
        let mapping = Mapping::reserve(reservation).with_context(|| {
            format!(
                "cannot reserve {reservation:#x} bytes of address space for a memory; with a reservation of 0 \
                     (`-O memory-reservation=0`) it takes what it has, and is slower"
            )
        })?;
        let accessible = round_up(self.min);
        let imaged = image.map_or(0, MemoryImage::len).min(accessible);
        // SAFETY: the ranges are page multiples within the reservation, which nobody uses yet.
        unsafe {
            if let Some(image) = image {
                mapping.map_image(0, image)?;
            }
            if accessible > imaged {
                mapping.make_accessible(imaged, accessible - imaged)?;
            }
        }
        Ok(mapping)
    }

    /// Notes that of a mapping `after` bytes are accessible, of which `before` were. The first time that these go beyond
    /// what it began with and what is small, all further ones are to be in huge pages.
    pub(super) fn has_grown(&self, mapping: &Mapping, before: usize, after: usize) {
        let start = round_up(self.min.max(SMALL));
        if self.huge_pages && (before..after).contains(&start) {
            mapping.prefer_huge_pages(start, mapping.len() - start);
        }
    }

    /// Takes back the mapping of a memory whose instance is gone.
    fn recycle(&self, mapping: Mapping, accessible: usize) {
        let comes_back = self.image.get().is_none_or(|image| image.as_ref().is_none_or(MemoryImage::comes_back));
        if !comes_back || self.free.lock().unwrap_or_else(|e| e.into_inner()).len() >= MAX_FREE {
            return;
        }
        let start = round_up(self.min);
        // SAFETY: page multiples within the mapping; the instance that used it is gone.
        let reset = unsafe {
            mapping.decommit(0, accessible).and_then(|()| {
                if accessible > start { mapping.make_inaccessible(start, accessible - start) } else { Ok(()) }
            })
        };
        let mut free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        if reset.is_ok() && free.len() < MAX_FREE {
            free.push(mapping);
        }
    }
}

/// Bytes of address space, and of these the bytes at the start, if they can be addressed.
fn sizes(ty: &MemoryType, style: MemoryStyle, tunables: &Tunables) -> Option<(usize, usize)> {
    let min = addressable(ty.min_bytes())?;
    let reservation = match style {
        MemoryStyle::Reserved { guard } => addressable(tunables.memory_reservation.max(1 << 32).checked_add(guard)),
        MemoryStyle::Checked { fixed: true } => addressable(max_bytes(ty)),
        MemoryStyle::Checked { fixed: false } => {
            let wanted = max_bytes(ty).unwrap_or(u64::MAX).min(tunables.memory_reservation);
            addressable(Some(wanted)).map(|w| w.max(min))
        }
    };
    Some((reservation?, min))
}

fn too_large(ty: &MemoryType) -> String {
    format!("a memory of {} pages cannot be addressed on this host", ty.limits.min)
}

fn max_bytes(ty: &MemoryType) -> Option<u64> {
    ty.max_pages().checked_mul(1 << ty.page_size_log2)
}

/// The number of bytes if that, rounded up to pages, can be addressed.
fn addressable(bytes: Option<u64>) -> Option<usize> {
    let bytes = usize::try_from(bytes?).ok()?;
    round_up_to_page(bytes).filter(|b| *b <= isize::MAX as usize).map(|_| bytes)
}

fn round_up(bytes: usize) -> usize {
    bytes.next_multiple_of(page_size())
}

/// One linear memory of a store. Compiled code sees its `VmMemory`, which stands elsewhere and is kept up to date here.
pub(crate) struct LinearMemory {
    plan: Arc<MemoryPlan>,
    vm: NonNull<VmMemory>,
    backing: Backing,
}

enum Backing {
    /// Only this store uses it. `accessible` bytes of the mapping can be read and written.
    Own { mapping: Option<Mapping>, accessible: usize },
    /// Other stores and threads may use it too; `vm` stands in there.
    Shared(Arc<SharedMemoryInner>),
}

impl LinearMemory {
    /// Makes a memory with its initial contents, asking no limiter. Its descriptor will be `vm`, unless it is shared.
    ///
    /// # Safety
    /// `vm` stays valid and at its place until the memory is dropped, and is not written by others.
    pub(crate) unsafe fn new(
        plan: &Arc<MemoryPlan>,
        vm: NonNull<VmMemory>,
        make_image: &dyn Fn() -> Result<Option<MemoryImage>>,
    ) -> Result<LinearMemory> {
        let mapping = plan.map(make_image)?;
        if plan.ty.shared {
            return Ok(LinearMemory::from_shared(plan.clone(), SharedMemoryInner::from_mapping(plan, mapping)));
        }
        let descriptor = VmMemory { base: mapping.as_ptr(), len: plan.min as u64 };
        // SAFETY: the caller hands it over.
        unsafe { vm.write(descriptor) };
        let backing = Backing::Own { mapping: Some(mapping), accessible: round_up(plan.min) };
        Ok(LinearMemory { plan: plan.clone(), vm, backing })
    }

    /// A shared memory as a memory of one more store.
    pub(crate) fn from_shared(plan: Arc<MemoryPlan>, shared: Arc<SharedMemoryInner>) -> LinearMemory {
        LinearMemory { plan, vm: shared.vm(), backing: Backing::Shared(shared) }
    }

    /// Where its descriptor is.
    pub(crate) fn vm(&self) -> NonNull<VmMemory> {
        self.vm
    }

    /// The declared type.
    pub(crate) fn ty(&self) -> &MemoryType {
        &self.plan.ty
    }

    /// The shared memory behind it, if it is one.
    pub(crate) fn shared(&self) -> Option<&Arc<SharedMemoryInner>> {
        match &self.backing {
            Backing::Shared(s) => Some(s),
            Backing::Own { .. } => None,
        }
    }

    /// First byte.
    pub(crate) fn base(&self) -> *mut u8 {
        // SAFETY: `new`'s contract.
        unsafe { (*self.vm.as_ptr()).base }
    }

    /// Whether an address lies in its address space, guard included.
    pub(crate) fn reserves(&self, address: usize) -> bool {
        match &self.backing {
            Backing::Own { mapping, .. } => mapping.as_ref().is_some_and(|mapping| mapping.contains(address)),
            Backing::Shared(shared) => shared.reserves(address),
        }
    }

    /// Size in bytes.
    pub(crate) fn len(&self) -> usize {
        match &self.backing {
            Backing::Shared(s) => s.len(),
            // SAFETY: `new`'s contract.
            Backing::Own { .. } => unsafe { (*self.vm.as_ptr()).len as usize },
        }
    }

    /// Size in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.len() as u64 >> self.plan.ty.page_size_log2
    }

    /// Its bytes. Not for shared memories.
    pub(crate) fn data(&self) -> &[u8] {
        assert!(self.shared().is_none(), "a shared memory has no plain slice");
        // SAFETY: `len` bytes from `base` are mapped; only the store's borrower can write them.
        unsafe { std::slice::from_raw_parts(self.base(), self.len()) }
    }

    /// Its bytes. Not for shared memories.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        assert!(self.shared().is_none(), "a shared memory has no plain slice");
        // SAFETY: as for `data`; borrowed mutably with the store.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.len()) }
    }

    /// Forgets the initial contents: all bytes are zero afterwards.
    pub(crate) fn wipe(&mut self) {
        if self.plan.image.get().is_some_and(|i| i.is_some()) {
            let len = self.len();
            // SAFETY: `len` bytes from `base` are mapped.
            unsafe { ptr::write_bytes(self.base(), 0, len) };
        }
    }

    /// The size that growing by `delta` pages gives: `None` if the type forbids it.
    fn grown(&self, delta: u64) -> Option<(u64, u64)> {
        let pages = self.pages().checked_add(delta).filter(|p| *p <= self.plan.ty.max_pages())?;
        let bytes = pages.checked_mul(1 << self.plan.ty.page_size_log2)?;
        Some((pages, bytes))
    }

    /// Makes it `bytes` long. False if the system refuses.
    fn set_len(&mut self, bytes: usize) -> bool {
        let (plan, style) = (&self.plan, self.plan.style);
        let Backing::Own { mapping, accessible } = &mut self.backing else {
            unreachable!("shared memories grow by themselves");
        };
        let old = mapping.as_ref().expect("present until drop");
        let Some(needed) = round_up_to_page(bytes) else { return false };
        if needed > old.len() {
            if style.base_is_fixed() {
                return false;
            }
            let Some(moved) = move_to_larger(old, *accessible, needed) else { return false };
            plan.has_grown(&moved, 0, needed);
            *mapping = Some(moved);
            *accessible = needed;
        } else if needed > *accessible {
            // SAFETY: page multiples within the mapping; making more accessible disturbs nobody.
            if unsafe { old.make_accessible(*accessible, needed - *accessible) }.is_err() {
                return false;
            }
            plan.has_grown(old, *accessible, needed);
            *accessible = needed;
        }
        let base = mapping.as_ref().expect("set above").as_ptr();
        // SAFETY: `new`'s contract.
        unsafe { self.vm.write(VmMemory { base, len: bytes as u64 }) };
        true
    }
}

/// A larger mapping with the same contents, with room to grow.
fn move_to_larger(old: &Mapping, accessible: usize, needed: usize) -> Option<Mapping> {
    let roomy = needed.checked_add(needed / 2).map(round_up);
    let new = roomy.and_then(|r| Mapping::reserve(r).ok()).or_else(|| Mapping::reserve(needed).ok())?;
    // SAFETY: fresh memory; both ranges are accessible and disjoint.
    unsafe {
        new.make_accessible(0, needed).ok()?;
        ptr::copy_nonoverlapping(old.as_ptr(), new.as_ptr(), accessible.min(needed));
    }
    Some(new)
}

impl Drop for LinearMemory {
    fn drop(&mut self) {
        // A moved mapping has not the planned shape.
        if let Backing::Own { mapping, accessible } = &mut self.backing
            && let Some(mapping) = mapping.take()
            && Some(mapping.len()) >= self.plan.reservation
            && !matches!(self.plan.style, MemoryStyle::Checked { .. })
        {
            self.plan.recycle(mapping, *accessible);
        }
    }
}

/// Grows a memory by `delta` pages: the old size in pages, or `None` if it could not grow. Fails only if the limiter does.
pub(crate) fn grow(store: &mut StoreOpaque, mut memory: NonNull<LinearMemory>, delta: u64) -> Result<Option<u64>> {
    // SAFETY: the memory belongs to the store, which is borrowed mutably; the limiter below has no access to memories.
    let memory = unsafe { memory.as_mut() };
    if let Some(shared) = memory.shared() {
        return grow_shared(store, &shared.clone(), delta);
    }
    let old = memory.pages();
    let target = memory.grown(delta);
    if let Some(mut limiter) = store.limiter() {
        let maximum = max_bytes(memory.ty()).and_then(|b| usize::try_from(b).ok());
        let wanted = target.and_then(|(_, bytes)| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        if !limiter.get().memory_growing(memory.len(), wanted, maximum)? {
            return Ok(None);
        }
    }
    let Some((_, bytes)) = target else {
        return grow_failed(store, "memory maximum size exceeded");
    };
    match usize::try_from(bytes) {
        Ok(bytes) if memory.set_len(bytes) => Ok(Some(old)),
        _ => grow_failed(store, "the system refuses more memory"),
    }
}

/// The same for a shared memory, which other threads may grow meanwhile: what the limiter has agreed to is what is done.
fn grow_shared(store: &mut StoreOpaque, shared: &SharedMemoryInner, delta: u64) -> Result<Option<u64>> {
    loop {
        let current = shared.len();
        if let Some(mut limiter) = store.limiter() {
            let ty = shared.ty();
            let maximum = max_bytes(ty).and_then(|b| usize::try_from(b).ok());
            let more = delta.checked_mul(1 << ty.page_size_log2).and_then(|b| usize::try_from(b).ok());
            let wanted = more.and_then(|more| current.checked_add(more)).unwrap_or(usize::MAX);
            if !limiter.get().memory_growing(current, wanted, maximum)? {
                return Ok(None);
            }
        }
        match shared.grow_from(Some(current), delta) {
            GrownShared::From(old) => return Ok(Some(old)),
            GrownShared::Changed => {}
            GrownShared::Failed => return grow_failed(store, "memory maximum size exceeded"),
        }
    }
}

fn grow_failed(store: &mut StoreOpaque, why: &str) -> Result<Option<u64>> {
    if let Some(mut limiter) = store.limiter() {
        limiter.get().memory_grow_failed(anyhow::anyhow!("{why}"))?;
    }
    Ok(None)
}

/// Asks the limiter whether a memory may be made.
pub(crate) fn check_new(store: &mut StoreOpaque, plan: &MemoryPlan) -> Result<()> {
    if let Some(mut limiter) = store.limiter() {
        let maximum = max_bytes(&plan.ty).and_then(|b| usize::try_from(b).ok());
        let allowed = limiter.get().memory_growing(0, plan.min, maximum)?;
        anyhow::ensure!(allowed, "memory minimum size of {} pages exceeds memory limits", plan.ty.limits.min);
    }
    Ok(())
}

/// Base and size of a memory as compiled code sees them; the size of a shared one may grow at any time.
#[derive(Clone, Copy)]
pub(crate) struct RawMemory {
    pub(crate) base: *mut u8,
    pub(crate) len: u64,
}

impl RawMemory {
    /// Reads a descriptor.
    ///
    /// # Safety
    /// `vm` is the descriptor of a live memory.
    pub(crate) unsafe fn read(vm: *const VmMemory) -> RawMemory {
        // SAFETY: the caller's. The length may be written by other threads, hence the atomic view.
        unsafe {
            let len = std::sync::atomic::AtomicU64::from_ptr((&raw const (*vm).len).cast_mut());
            RawMemory { base: (*vm).base, len: len.load(std::sync::atomic::Ordering::Acquire) }
        }
    }

    /// The address of `len` bytes at `offset`, if they are all within.
    pub(crate) fn range(&self, offset: u64, len: u64) -> Result<*mut u8, TrapCode> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.base.wrapping_add(offset as usize)),
            _ => Err(TrapCode::MemoryOutOfBounds),
        }
    }
}
