//! The table of a guest's open descriptors.

use crate::Errno;
use crate::descriptor::Descriptor;

/// Descriptors by number. As in POSIX, a new one gets the lowest number that is free.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Descriptor>>,
    /// No number below this one is free.
    full_below: usize,
}

impl Table {
    /// Adds a descriptor and returns its number.
    ///
    /// # Errors
    /// `mfile` when 32 bits do not suffice. The host's limit on open files comes long before.
    pub(crate) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let start = self.full_below.min(self.slots.len());
        let free = self.slots[start..].iter().position(Option::is_none);
        let index = free.map_or(self.slots.len(), |offset| start + offset);
        let fd = u32::try_from(index).map_err(|_| Errno::Mfile)?;
        match self.slots.get_mut(index) {
            Some(slot) => *slot = Some(descriptor),
            None => self.slots.push(Some(descriptor)),
        }
        self.full_below = index + 1;
        Ok(fd)
    }

    /// The descriptor of a number.
    ///
    /// # Errors
    /// `badf` where it is not open.
    #[inline]
    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.slots.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::Badf)
    }

    /// [`Self::get`], to change.
    #[inline]
    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.slots.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::Badf)
    }

    /// The descriptor of a number, on which the guest has the rights `wanted`.
    ///
    /// # Errors
    /// `badf`, or what [`Descriptor::require`] says.
    #[inline]
    pub(crate) fn with(&mut self, fd: u32, wanted: u64) -> Result<&mut Descriptor, Errno> {
        let descriptor = self.get_mut(fd)?;
        descriptor.require(wanted)?;
        Ok(descriptor)
    }

    /// Takes a descriptor out; dropping it closes it.
    pub(crate) fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        let descriptor = self.slots.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::Badf)?;
        self.full_below = self.full_below.min(fd as usize);
        Ok(descriptor)
    }

    /// Moves `from` to the number `to`, whose descriptor is closed. Both have to be open: a guest
    /// cannot choose numbers that nobody gave it.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.get(from)?;
        self.get(to)?;
        if from != to {
            let descriptor = self.remove(from)?;
            self.slots[to as usize] = Some(descriptor);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdio::Stdin;

    fn table(len: u32) -> Table {
        let mut table = Table::default();
        for fd in 0..len {
            assert_eq!(table.insert(Descriptor::stdin(Stdin::Empty, false)), Ok(fd));
        }
        table
    }

    #[test]
    fn the_lowest_free_number_is_given() {
        let mut table = table(6);
        for fd in [4, 1, 3] {
            table.remove(fd).unwrap();
        }
        for fd in [1, 3, 4, 6, 7] {
            assert_eq!(table.insert(Descriptor::stdin(Stdin::Empty, false)), Ok(fd));
        }
    }

    #[test]
    fn renumbering_frees_the_old_number() {
        let mut table = table(4);
        table.renumber(3, 1).unwrap();
        assert_eq!(table.get(3).map(|_| ()), Err(Errno::Badf));
        assert_eq!(table.renumber(1, 1), Ok(()));
        assert_eq!(table.renumber(3, 1), Err(Errno::Badf));
        assert_eq!(table.renumber(1, 3), Err(Errno::Badf));
        assert_eq!(table.renumber(1, u32::MAX), Err(Errno::Badf));
        assert_eq!(table.insert(Descriptor::stdin(Stdin::Empty, false)), Ok(3));
    }
}
