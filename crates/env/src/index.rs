//! Typed indices, one for each index space of a module, and a vector keyed by one of them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// A dense index into one index space.
pub trait Idx: Copy + Eq + fmt::Debug {
    /// The index that stands for position `i`. Panics if `i` does not fit in 32 bits.
    fn from_usize(i: usize) -> Self;
    /// The position.
    fn index(self) -> usize;
}

macro_rules! index_types {
    ($($(#[$doc:meta])* $name:ident, $short:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl $name {
            /// The number itself.
            pub const fn as_u32(self) -> u32 {
                self.0
            }
        }

        impl Idx for $name {
            #[inline]
            fn from_usize(i: usize) -> Self {
                $name(u32::try_from(i).expect("index spaces are limited to 32 bits"))
            }
            #[inline]
            fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($short, "{}"), self.0)
            }
        }
    )*};
}

index_types! {
    /// A type, in the module's type index space.
    TypeIndex, "type";
    /// A function: imports first, then the module's own.
    FuncIndex, "func";
    /// A function with a body in this module, counted from 0.
    DefinedFuncIndex, "defined_func";
    /// A table: imports first.
    TableIndex, "table";
    /// A table defined in this module, counted from 0.
    DefinedTableIndex, "defined_table";
    /// A memory: imports first.
    MemoryIndex, "memory";
    /// A memory defined in this module, counted from 0.
    DefinedMemoryIndex, "defined_memory";
    /// A global: imports first.
    GlobalIndex, "global";
    /// A global defined in this module, counted from 0.
    DefinedGlobalIndex, "defined_global";
    /// An exception tag: imports first.
    TagIndex, "tag";
    /// An exception tag defined in this module, counted from 0.
    DefinedTagIndex, "defined_tag";
    /// An element segment.
    ElemIndex, "elem";
    /// A data segment.
    DataIndex, "data";
}

/// Anything a module can import or export, by its index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum EntityIndex {
    /// A function.
    Func(FuncIndex),
    /// A table.
    Table(TableIndex),
    /// A linear memory.
    Memory(MemoryIndex),
    /// A global.
    Global(GlobalIndex),
    /// An exception tag.
    Tag(TagIndex),
}

/// A vector that is indexed by one kind of index only.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IndexVec<K, V> {
    items: Vec<V>,
    key: PhantomData<K>,
}

impl<K: Idx, V> IndexVec<K, V> {
    /// An empty vector.
    pub const fn new() -> Self {
        IndexVec { items: Vec::new(), key: PhantomData }
    }

    /// An empty vector with room for `n` items.
    pub fn with_capacity(n: usize) -> Self {
        IndexVec { items: Vec::with_capacity(n), key: PhantomData }
    }

    /// Appends `value` and returns its index.
    pub fn push(&mut self, value: V) -> K {
        let key = K::from_usize(self.items.len());
        self.items.push(value);
        key
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The item at `key`, if there is one.
    pub fn get(&self, key: K) -> Option<&V> {
        self.items.get(key.index())
    }

    /// The items in order.
    pub fn values(&self) -> std::slice::Iter<'_, V> {
        self.items.iter()
    }

    /// The items in order, mutably.
    pub fn values_mut(&mut self) -> std::slice::IterMut<'_, V> {
        self.items.iter_mut()
    }

    /// Indices and items in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> + ExactSizeIterator {
        self.items.iter().enumerate().map(|(i, v)| (K::from_usize(i), v))
    }

    /// The indices in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> + ExactSizeIterator + use<K, V> {
        (0..self.items.len()).map(K::from_usize)
    }

    /// The items as a slice.
    pub fn as_slice(&self) -> &[V] {
        &self.items
    }
}

impl<K: Idx, V> Default for IndexVec<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Idx, V> Index<K> for IndexVec<K, V> {
    type Output = V;
    fn index(&self, key: K) -> &V {
        &self.items[key.index()]
    }
}

impl<K: Idx, V> IndexMut<K> for IndexVec<K, V> {
    fn index_mut(&mut self, key: K) -> &mut V {
        &mut self.items[key.index()]
    }
}

impl<K: Idx, V> FromIterator<V> for IndexVec<K, V> {
    fn from_iter<I: IntoIterator<Item = V>>(iter: I) -> Self {
        IndexVec { items: iter.into_iter().collect(), key: PhantomData }
    }
}

impl<K: Idx + fmt::Debug, V: fmt::Debug> fmt::Debug for IndexVec<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
