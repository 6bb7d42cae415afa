//! The view of guest memory through which the functions read arguments and write results.
//!
//! The view is of the whole memory, so every access is checked against its end and a bad pointer of the guest is
//! [`Errno::Fault`]. A memory that only this guest's thread uses is a slice. A shared memory cannot be lent as a slice,
//! since other threads may write to it at any time: what is read from it is copied first, and what is written to it is
//! copied afterwards.

use std::borrow::Cow;
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;

use kiln::SharedMemory;

use crate::Errno;
use crate::abi::Iovec;
use crate::limits::{BOUNCE_BYTES, IOVECS, MOVED_BYTES, PIECE_BYTES};
use crate::pause::{GoOn, Progress, Wait};

/// Vectors up to this length are described to the host without allocation.
const INLINE: usize = 16;

/// The linear memory of a guest for the duration of one call.
#[derive(Debug)]
pub struct GuestMemory<'a> {
    bytes: Bytes<'a>,
    /// There if the call may be broken off and tried again.
    progress: Option<&'a mut Progress>,
}

#[derive(Debug)]
enum Bytes<'a> {
    Own(&'a mut [u8]),
    Shared(&'a SharedMemory),
}

impl<'a> GuestMemory<'a> {
    /// Wraps the bytes of an unshared memory, from its address 0 to its current end.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes: Bytes::Own(bytes), progress: None }
    }

    /// Wraps a shared memory. Transfers move at most 1 MiB of it at once.
    pub fn shared(memory: &'a SharedMemory) -> Self {
        Self { bytes: Bytes::Shared(memory), progress: None }
    }

    /// For a call that may be broken off.
    pub(crate) fn with_progress(mut self, progress: &'a mut Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// How far the call has come, if it may be broken off.
    pub(crate) fn progress(&mut self) -> Option<&mut Progress> {
        self.progress.as_deref_mut()
    }

    /// Whether the call may be broken off.
    pub(crate) fn may_pause(&self) -> bool {
        self.progress.is_some()
    }

    /// Bytes that were moved before the call was broken off.
    pub(crate) fn done(&self) -> usize {
        self.progress.as_ref().map_or(0, |progress| progress.done)
    }

    /// Size in bytes, at least: a shared memory may grow.
    fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Shared(memory) => memory.data_size(),
        }
    }

    /// The bytes `ptr .. ptr + len`; those of a shared memory as they are now.
    ///
    /// # Errors
    /// [`Errno::Fault`] where they do not lie in memory.
    pub fn slice(&self, ptr: u32, len: u32) -> Result<Cow<'_, [u8]>, Errno> {
        let range = range(ptr, len);
        match &self.bytes {
            Bytes::Own(bytes) => bytes.get(range).map(Cow::Borrowed).ok_or(Errno::Fault),
            Bytes::Shared(memory) => {
                if range.end > memory.data_size() {
                    return Err(Errno::Fault);
                }
                let mut copy = vec![0; range.len()];
                memory.read(range.start, &mut copy).map_err(|_| Errno::Fault)?;
                Ok(Cow::Owned(copy))
            }
        }
    }

    /// Calls `f` with the bytes `ptr .. ptr + len` to write to, from the first one; `f` returns how many it wrote. Of a
    /// shared memory and of a call that may be broken off it gets at most 1 MiB.
    ///
    /// # Errors
    /// [`Errno::Fault`] where the bytes do not lie in memory, and what `f` returns.
    pub fn fill(
        &mut self,
        ptr: u32,
        len: u32,
        f: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let mut range = range(ptr, len);
        if range.end > self.len() {
            return Err(Errno::Fault);
        }
        if self.may_pause() {
            range.end = range.end.min(range.start.saturating_add(PIECE_BYTES));
        }
        match &mut self.bytes {
            Bytes::Own(bytes) => f(bytes.get_mut(range).ok_or(Errno::Fault)?),
            Bytes::Shared(memory) => {
                let mut buffer = vec![0; range.len().min(BOUNCE_BYTES)];
                let used = f(&mut buffer)?;
                memory.write(range.start, &buffer[..used.min(buffer.len())]).map_err(|_| Errno::Fault)?;
                Ok(used)
            }
        }
    }

    /// Checks that a result of `len` bytes can be written at `ptr`. Functions with an effect outside
    /// of guest memory call this first, so that the effect is not lost with its result.
    pub(crate) fn check(&self, ptr: u32, len: usize) -> Result<(), Errno> {
        let end = ptr as usize + len;
        if end <= self.len() { Ok(()) } else { Err(Errno::Fault) }
    }

    /// Copies `N` bytes out.
    pub(crate) fn read<const N: usize>(&self, ptr: u32) -> Result<[u8; N], Errno> {
        let start = ptr as usize;
        match &self.bytes {
            Bytes::Own(bytes) => {
                let bytes = bytes.get(start..start + N).ok_or(Errno::Fault)?;
                <[u8; N]>::try_from(bytes).map_err(|_| Errno::Fault)
            }
            Bytes::Shared(memory) => {
                let mut copy = [0; N];
                memory.read(start, &mut copy).map_err(|_| Errno::Fault)?;
                Ok(copy)
            }
        }
    }

    /// Copies `bytes` in.
    pub(crate) fn write(&mut self, ptr: u32, bytes: &[u8]) -> Result<(), Errno> {
        let start = ptr as usize;
        match &mut self.bytes {
            Bytes::Own(memory) => {
                let place = memory.get_mut(start..start + bytes.len()).ok_or(Errno::Fault)?;
                place.copy_from_slice(bytes);
                Ok(())
            }
            Bytes::Shared(memory) => memory.write(start, bytes).map_err(|_| Errno::Fault),
        }
    }

    pub(crate) fn write_u16(&mut self, ptr: u32, value: u16) -> Result<(), Errno> {
        self.write(ptr, &value.to_le_bytes())
    }

    pub(crate) fn write_u32(&mut self, ptr: u32, value: u32) -> Result<(), Errno> {
        self.write(ptr, &value.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, ptr: u32, value: u64) -> Result<(), Errno> {
        self.write(ptr, &value.to_le_bytes())
    }

    /// Writes a count that a function returned. Counts fit: the kernel moves less than 2 GiB a call.
    pub(crate) fn write_size(&mut self, ptr: u32, size: usize) -> Result<(), Errno> {
        self.write_u32(ptr, u32::try_from(size).map_err(|_| Errno::Overflow)?)
    }

    /// Ends a transfer that returned `moved` bytes, or has it go on with its next piece. A transfer that fails after it has
    /// moved something has succeeded with that.
    pub(crate) fn moved(&mut self, result: u32, moved: Result<usize, Errno>, go_on: GoOn) -> Result<(), Errno> {
        let Some(progress) = &mut self.progress else {
            return self.write_size(result, moved?);
        };
        match moved {
            Ok(moved) => {
                progress.done += moved;
                let is_left = progress.is_cut || moved < progress.asked;
                let goes_on = match go_on {
                    GoOn::Never => false,
                    GoOn::WhileWhole => progress.is_cut && moved == progress.asked,
                    GoOn::ToTheEnd => is_left && moved > 0,
                };
                if goes_on && progress.done < MOVED_BYTES {
                    return Err(progress.pause(Wait::for_nothing()));
                }
            }
            Err(errno) if progress.wait.is_some() || progress.done == 0 => return Err(errno),
            Err(_) => {}
        }
        let done = progress.done;
        self.write_size(result, done)
    }

    /// The pieces that a vector names, without what was moved already, and no more of them than `most` bytes.
    fn pieces(&mut self, iovs: u32, count: u32, most: usize) -> Result<Vec<Range<usize>>, Errno> {
        self.check_range(range_of(iovs, u64::from(count) * Iovec::SIZE as u64))?;
        let taken = IOVECS.min(count as usize);
        let array = self.slice(iovs, (taken * Iovec::SIZE) as u32)?;
        let mut ranges = Vec::with_capacity(taken);
        for piece in array.as_chunks::<{ Iovec::SIZE }>().0 {
            let piece = Iovec::from_bytes(piece);
            let range = range(piece.buf, piece.len);
            self.check_range(range.clone())?;
            ranges.push(range);
        }
        let mut skipped = self.done();
        let mut room = most.min(MOVED_BYTES - skipped.min(MOVED_BYTES));
        let (mut asked, mut is_cut) = (0, false);
        for range in &mut ranges {
            let skip = skipped.min(range.len());
            skipped -= skip;
            range.start += skip;
            is_cut |= range.len() > room;
            range.end = range.start + range.len().min(room);
            room -= range.len();
            asked += range.len();
        }
        if let Some(progress) = &mut self.progress {
            (progress.asked, progress.is_cut) = (asked, is_cut);
        }
        Ok(ranges)
    }

    fn check_range(&self, range: Range<usize>) -> Result<(), Errno> {
        if range.end <= self.len() { Ok(()) } else { Err(Errno::Fault) }
    }

    /// Calls `f` with the pieces of memory that a `ciovec` array names, in order: what `f` gets is
    /// guest memory itself, nothing is copied unless the memory is shared.
    ///
    /// At most 1,024 pieces are passed on, the host's own limit, and of a shared memory at most 1 MiB.
    ///
    /// # Errors
    /// [`Errno::Fault`] where the array or a piece lies outside of memory, and what `f` returns.
    pub fn gather<R>(
        &mut self,
        iovs: u32,
        count: u32,
        f: impl FnOnce(&[IoSlice<'_>]) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        self.gather_most(iovs, count, PIECE_BYTES, f)
    }

    /// [`Self::gather`] with no more than `most` bytes of a call that may be broken off.
    pub(crate) fn gather_most<R>(
        &mut self,
        iovs: u32,
        count: u32,
        most: usize,
        f: impl FnOnce(&[IoSlice<'_>]) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        if let (Bytes::Own(bytes), None) = (&self.bytes, &self.progress) {
            return gather(bytes, iovs, count, f);
        }
        let most = if matches!(self.bytes, Bytes::Shared(_)) { most.min(BOUNCE_BYTES) } else { most };
        let ranges = self.pieces(iovs, count, most)?;
        match &self.bytes {
            Bytes::Own(bytes) => {
                let slices: Vec<_> = ranges.into_iter().map(|range| IoSlice::new(&bytes[range])).collect();
                f(&slices)
            }
            Bytes::Shared(memory) => {
                let mut buffer = vec![0; ranges.iter().map(Range::len).sum()];
                let mut rest = &mut buffer[..];
                for range in ranges {
                    let (now, later) = rest.split_at_mut(range.len());
                    memory.read(range.start, now).map_err(|_| Errno::Fault)?;
                    rest = later;
                }
                f(&[IoSlice::new(&buffer)])
            }
        }
    }

    /// Calls `f` with the pieces of memory that an `iovec` array names, in order, to be written to;
    /// `f` returns how many bytes it wrote. What `f` gets is guest memory itself, except when pieces
    /// overlap or the memory is shared: then it gets one buffer, which is copied to the pieces in order afterwards.
    ///
    /// At most 1,024 pieces are passed on, the host's own limit, and of a shared memory at most 1 MiB.
    ///
    /// # Errors
    /// [`Errno::Fault`] where the array or a piece lies outside of memory, and what `f` returns.
    pub fn scatter(
        &mut self,
        iovs: u32,
        count: u32,
        f: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if let (Bytes::Own(bytes), None) = (&mut self.bytes, &self.progress) {
            return scatter(bytes, iovs, count, f);
        }
        let ranges = self.pieces(iovs, count, PIECE_BYTES.min(BOUNCE_BYTES))?;
        match &mut self.bytes {
            Bytes::Own(bytes) => scatter_ranges(bytes, &ranges, f),
            Bytes::Shared(memory) => {
                bounce(&ranges, f, |start, bytes| memory.write(start, bytes).map_err(|_| Errno::Fault))
            }
        }
    }
}

/// Reads the vector of `count` pieces at `iovs` into `ranges` and returns how many were taken.
/// Pieces beyond `ranges` are left out, which callers see as a short transfer.
fn read_ranges(bytes: &[u8], iovs: u32, count: u32, ranges: &mut [Range<usize>]) -> Result<usize, Errno> {
    let array = bytes.get(range_of(iovs, u64::from(count) * Iovec::SIZE as u64)).ok_or(Errno::Fault)?;
    let (pieces, _) = array.as_chunks::<{ Iovec::SIZE }>();
    let taken = pieces.len().min(ranges.len());
    for (place, piece) in ranges.iter_mut().zip(pieces) {
        let piece = Iovec::from_bytes(piece);
        *place = range(piece.buf, piece.len);
        if place.end > bytes.len() {
            return Err(Errno::Fault);
        }
    }
    Ok(taken)
}

/// The only piece of a vector that has one.
fn only_piece(bytes: &[u8], iovs: u32) -> Result<Range<usize>, Errno> {
    let mut ranges = [const { 0..0 }; 1];
    read_ranges(bytes, iovs, 1, &mut ranges)?;
    let [range] = ranges;
    Ok(range)
}

/// [`GuestMemory::gather`] on a memory that is not shared.
fn gather<R>(
    bytes: &[u8],
    iovs: u32,
    count: u32,
    f: impl FnOnce(&[IoSlice<'_>]) -> Result<R, Errno>,
) -> Result<R, Errno> {
    if count == 1 {
        return f(&[IoSlice::new(&bytes[only_piece(bytes, iovs)?])]);
    }
    if count as usize <= INLINE {
        let mut ranges = [const { 0..0 }; INLINE];
        let taken = read_ranges(bytes, iovs, count, &mut ranges)?;
        let mut slices = [IoSlice::new(&[]); INLINE];
        for (slice, range) in slices.iter_mut().zip(&ranges[..taken]) {
            *slice = IoSlice::new(&bytes[range.clone()]);
        }
        f(&slices[..taken])
    } else {
        let mut ranges = vec![0..0; IOVECS.min(count as usize)];
        read_ranges(bytes, iovs, count, &mut ranges)?;
        let slices: Vec<_> = ranges.into_iter().map(|range| IoSlice::new(&bytes[range])).collect();
        f(&slices)
    }
}

/// [`GuestMemory::scatter`] on a memory that is not shared.
fn scatter(
    bytes: &mut [u8],
    iovs: u32,
    count: u32,
    f: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if count == 1 {
        let range = only_piece(bytes, iovs)?;
        return f(&mut [IoSliceMut::new(&mut bytes[range])]);
    }
    if count as usize <= INLINE {
        let mut ranges = [const { 0..0 }; INLINE];
        let taken = read_ranges(bytes, iovs, count, &mut ranges)?;
        let mut order = [0; INLINE];
        if !sort(&ranges[..taken], &mut order[..taken]) {
            return scatter_copying(bytes, &ranges[..taken], f);
        }
        let mut slices = std::array::from_fn::<_, INLINE, _>(|_| IoSliceMut::new(&mut []));
        split(bytes, &ranges[..taken], &order[..taken], &mut slices);
        f(&mut slices[..taken])
    } else {
        let mut ranges = vec![0..0; IOVECS.min(count as usize)];
        read_ranges(bytes, iovs, count, &mut ranges)?;
        scatter_ranges(bytes, &ranges, f)
    }
}

/// Calls `f` with pieces of a memory that is not shared, all of which lie in it.
fn scatter_ranges(
    bytes: &mut [u8],
    ranges: &[Range<usize>],
    f: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut order = vec![0; ranges.len()];
    if !sort(ranges, &mut order) {
        return scatter_copying(bytes, ranges, f);
    }
    let mut slices: Vec<_> = ranges.iter().map(|_| IoSliceMut::new(&mut [])).collect();
    split(bytes, ranges, &order, &mut slices);
    f(&mut slices)
}

/// The form of [`scatter`] for pieces that overlap.
fn scatter_copying(
    bytes: &mut [u8],
    ranges: &[Range<usize>],
    f: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    bounce(ranges, f, |start, piece| {
        bytes[start..start + piece.len()].copy_from_slice(piece);
        Ok(())
    })
}

/// Has `f` write to a buffer, and `put` copy that to the pieces, in order.
fn bounce(
    ranges: &[Range<usize>],
    f: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, Errno>,
    mut put: impl FnMut(usize, &[u8]) -> Result<(), Errno>,
) -> Result<usize, Errno> {
    let total = ranges.iter().map(Range::len).fold(0, usize::saturating_add);
    let mut buffer = vec![0; total.min(BOUNCE_BYTES)];
    let got = f(&mut [IoSliceMut::new(&mut buffer)])?;
    let mut rest = &buffer[..got.min(buffer.len())];
    for range in ranges {
        let (now, later) = rest.split_at(rest.len().min(range.len()));
        put(range.start, now)?;
        rest = later;
    }
    Ok(got)
}

/// `ptr .. ptr + len`; no overflow, since both are 32 bits wide.
fn range(ptr: u32, len: u32) -> Range<usize> {
    range_of(ptr, u64::from(len))
}

fn range_of(ptr: u32, len: u64) -> Range<usize> {
    let start = ptr as usize;
    start..start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX))
}

/// Fills `order` with the indices of `ranges` by address. False if two of them overlap.
fn sort(ranges: &[Range<usize>], order: &mut [u16]) -> bool {
    for (index, place) in order.iter_mut().enumerate() {
        *place = index as u16;
    }
    // The usual vector is in order already; sorting notices that in one pass.
    order.sort_unstable_by_key(|&index| (ranges[index as usize].start, ranges[index as usize].end));
    order.windows(2).all(|pair| ranges[pair[0] as usize].end <= ranges[pair[1] as usize].start)
}

/// Cuts disjoint `ranges`, whose order by address is `order`, out of `bytes` into `slices`.
fn split<'b>(mut bytes: &'b mut [u8], ranges: &[Range<usize>], order: &[u16], slices: &mut [IoSliceMut<'b>]) {
    let mut base = 0;
    for &index in order {
        let range = &ranges[index as usize];
        let (before, after) = bytes.split_at_mut(range.end - base);
        slices[index as usize] = IoSliceMut::new(&mut before[range.start - base..]);
        base = range.end;
        bytes = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory whose first bytes are the given vector.
    fn memory(pieces: &[(u32, u32)], len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (index, &(buf, len)) in pieces.iter().enumerate() {
            bytes[index * 8..index * 8 + 8].copy_from_slice(&Iovec { buf, len }.to_bytes());
        }
        bytes
    }

    /// Scatters `data` over the pieces; returns the memory and whether `f` saw one buffer per piece.
    fn scatter(pieces: &[(u32, u32)], data: &[u8]) -> (Vec<u8>, bool) {
        let mut bytes = memory(pieces, 65536);
        let mut direct = false;
        let got = GuestMemory::new(&mut bytes).scatter(0, pieces.len() as u32, |slices| {
            direct = slices.len() == pieces.len();
            let mut rest = data;
            let mut got = 0;
            for slice in slices {
                let (now, later) = rest.split_at(rest.len().min(slice.len()));
                slice[..now.len()].copy_from_slice(now);
                got += now.len();
                rest = later;
            }
            Ok(got)
        });
        assert_eq!(got, Ok(data.len()));
        (bytes, direct)
    }

    #[test]
    fn pieces_are_filled_in_the_guests_order() {
        let (bytes, direct) = scatter(&[(3000, 2), (2000, 3), (2500, 0), (4000, 4)], b"abcdefg");
        assert!(direct);
        assert_eq!(&bytes[3000..3003], b"ab\0");
        assert_eq!(&bytes[2000..2004], b"cde\0");
        assert_eq!(&bytes[4000..4004], b"fg\0\0");
    }

    #[test]
    fn adjacent_pieces_do_not_count_as_overlapping() {
        assert!(scatter(&[(2000, 4), (2004, 4), (1996, 4)], b"abcdefghijkl").1);
    }

    #[test]
    fn overlapping_pieces_are_filled_one_after_the_other() {
        let (bytes, direct) = scatter(&[(2000, 4), (2002, 4), (2000, 1)], b"abcdefghi");
        assert!(!direct);
        assert_eq!(&bytes[2000..2006], b"ibefgh");
    }

    #[test]
    fn many_pieces_go_in_order_too() {
        let pieces: Vec<_> = (0..500).map(|index| (30_000 - index * 2, 1)).collect();
        let data: Vec<u8> = (0..500).map(|index| index as u8).collect();
        let (bytes, direct) = scatter(&pieces, &data);
        assert!(direct);
        for (index, byte) in data.iter().enumerate() {
            assert_eq!(bytes[30_000 - index * 2], *byte);
        }
    }

    #[test]
    fn vectors_beyond_the_hosts_limit_are_cut() {
        let pieces: Vec<_> = (0..3000).map(|_| (40_000, 1)).collect();
        let mut bytes = memory(&pieces, 65536);
        let mut memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.gather(0, 3000, |slices| Ok(slices.len())), Ok(IOVECS));
    }

    #[test]
    fn whatever_lies_outside_is_a_fault() {
        let mut bytes = memory(&[(65530, 7), (u32::MAX, u32::MAX)], 65536);
        let mut memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.gather(0, 1, |_| Ok(())), Err(Errno::Fault));
        assert_eq!(memory.gather(8, 1, |_| Ok(())), Err(Errno::Fault));
        assert_eq!(memory.gather(65530, 1, |_| Ok(())), Err(Errno::Fault));
        assert_eq!(memory.gather(0, u32::MAX, |_| Ok(())), Err(Errno::Fault));
        assert_eq!(memory.scatter(0, 1, |_| Ok(0)), Err(Errno::Fault));
        assert_eq!(memory.slice(65536, 0).map(|bytes| bytes.len()), Ok(0));
        assert_eq!(memory.slice(65537, 0), Err(Errno::Fault));
        assert_eq!(memory.fill(1, u32::MAX, |_| Ok(0)), Err(Errno::Fault));
        assert_eq!(memory.write_u32(65533, 0), Err(Errno::Fault));
        assert_eq!(memory.read::<8>(u32::MAX), Err(Errno::Fault));
        assert_eq!(memory.check(65532, 4), Ok(()));
        assert_eq!(memory.check(65533, 4), Err(Errno::Fault));
    }

    #[test]
    fn an_empty_vector_is_no_error() {
        let mut bytes = vec![0; 16];
        let mut memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.gather(16, 0, |slices| Ok(slices.len())), Ok(0));
        assert_eq!(memory.scatter(0, 0, |slices| Ok(slices.len())), Ok(0));
    }
}
