//! A map from 64-bit hashes to values that is cheap to copy.
//!
//! A radix tree over the key, four bits a level from the top, whose leaves hold up to [`LEAF`]
//! entries in the order of their keys. A copy shares the whole tree with its original; whoever
//! changes one of the two copies the nodes on the way to the change and nothing else, and copies
//! nothing at all where nobody shares. So a change costs the same few microseconds in a map of ten
//! entries and in one of a million, and the other copy never notices.
//!
//! Keys are hashes, so that the tree is balanced without any rebalancing. It is at most sixteen
//! levels deep, whatever the keys.

use std::sync::Arc;

/// Bits of the key that one level looks at.
const BITS: u32 = 4;
const FANOUT: usize = 1 << BITS;
/// The most entries of a leaf.
const LEAF: usize = 32;
/// The shift that leaves the topmost bits.
const TOP: u32 = u64::BITS - BITS;

/// A map from hashes to values. `clone` costs a reference.
#[derive(Debug)]
pub(super) struct Table<V> {
    len: usize,
    /// None where the table is empty.
    root: Option<Arc<Tree<V>>>,
}

#[derive(Clone, Debug)]
enum Tree<V> {
    Leaf(Leaf<V>),
    Branch(Box<[Arc<Self>; FANOUT]>),
}

/// Keys in order, and the value of each at the same place. Apart, because a search looks at keys
/// only.
#[derive(Clone, Debug)]
struct Leaf<V> {
    keys: Vec<u64>,
    values: Vec<V>,
}

impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        Self {
            len: self.len,
            root: self.root.clone(),
        }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { len: 0, root: None }
    }
}

impl<V> Default for Tree<V> {
    fn default() -> Self {
        Self::Leaf(Leaf::default())
    }
}

impl<V> Default for Leaf<V> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

/// Which child of a branch leads to the key.
fn digit(key: u64, shift: u32) -> usize {
    (key >> shift) as usize % FANOUT
}

impl<V> Table<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, key: u64) -> Option<&V> {
        let mut tree = self.root.as_deref()?;
        let mut shift = TOP;
        loop {
            match tree {
                Tree::Branch(children) => tree = &children[digit(key, shift)],
                Tree::Leaf(leaf) => {
                    let at = leaf.keys.binary_search(&key).ok()?;
                    return leaf.values.get(at);
                }
            }
            shift = shift.saturating_sub(BITS);
        }
    }

    /// Shows every entry, in the order of the keys.
    pub(super) fn each<'a>(&'a self, mut look: impl FnMut(u64, &'a V)) {
        if let Some(root) = &self.root {
            root.each(&mut look);
        }
    }
}

impl<V: Clone> Table<V> {
    /// The value of the key, which is put there where there was none.
    pub(super) fn entry(&mut self, key: u64, new: impl FnOnce() -> V) -> &mut V {
        if self.get(key).is_none() {
            self.len += 1;
        }
        let root = self.root.get_or_insert_default();
        Arc::make_mut(root).entry(key, TOP, new)
    }

    /// The value of the key.
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        // Where there is none, nothing may be copied.
        self.get(key)?;
        Arc::make_mut(self.root.as_mut()?).get_mut(key, TOP)
    }

    /// Removes the key. False where it was not there.
    pub(super) fn remove(&mut self, key: u64) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
        } else if let Some(root) = &mut self.root {
            Arc::make_mut(root).remove(key, TOP);
        }
        true
    }
}

impl<V> Tree<V> {
    fn each<'a>(&'a self, look: &mut impl FnMut(u64, &'a V)) {
        match self {
            Self::Leaf(leaf) => {
                for (key, value) in leaf.keys.iter().zip(&leaf.values) {
                    look(*key, value);
                }
            }
            Self::Branch(children) => {
                for child in children.iter() {
                    child.each(look);
                }
            }
        }
    }
}

impl<V: Clone> Tree<V> {
    fn entry(&mut self, key: u64, shift: u32, new: impl FnOnce() -> V) -> &mut V {
        if let Self::Leaf(leaf) = self
            && leaf.keys.len() >= LEAF
            && leaf.keys.binary_search(&key).is_err()
        {
            *self = std::mem::take(leaf).split(shift);
        }
        match self {
            Self::Branch(children) => {
                let child = &mut children[digit(key, shift)];
                Arc::make_mut(child).entry(key, shift.saturating_sub(BITS), new)
            }
            Self::Leaf(leaf) => {
                let at = match leaf.keys.binary_search(&key) {
                    Ok(at) => at,
                    Err(at) => {
                        leaf.keys.insert(at, key);
                        leaf.values.insert(at, new());
                        at
                    }
                };
                &mut leaf.values[at]
            }
        }
    }

    fn get_mut(&mut self, key: u64, shift: u32) -> Option<&mut V> {
        match self {
            Self::Branch(children) => {
                let child = &mut children[digit(key, shift)];
                Arc::make_mut(child).get_mut(key, shift.saturating_sub(BITS))
            }
            Self::Leaf(leaf) => {
                let at = leaf.keys.binary_search(&key).ok()?;
                leaf.values.get_mut(at)
            }
        }
    }

    /// Removes a key that is there.
    fn remove(&mut self, key: u64, shift: u32) {
        match self {
            Self::Leaf(leaf) => {
                if let Ok(at) = leaf.keys.binary_search(&key) {
                    leaf.keys.remove(at);
                    leaf.values.remove(at);
                }
            }
            Self::Branch(children) => {
                let child = &mut children[digit(key, shift)];
                Arc::make_mut(child).remove(key, shift.saturating_sub(BITS));
                if let Some(leaf) = join(children) {
                    *self = Self::Leaf(leaf);
                }
            }
        }
    }
}

/// One leaf in place of a branch whose leaves have become so small that they will not soon be
/// split again.
fn join<V: Clone>(children: &[Arc<Tree<V>>; FANOUT]) -> Option<Leaf<V>> {
    let mut total = 0;
    for child in children {
        match &**child {
            Tree::Leaf(leaf) => total += leaf.keys.len(),
            Tree::Branch(_) => return None,
        }
    }
    if total > LEAF / 2 {
        return None;
    }
    let mut all = Leaf::default();
    for child in children {
        child.each(&mut |key, value| {
            all.keys.push(key);
            all.values.push(value.clone());
        });
    }
    Some(all)
}

impl<V> Leaf<V> {
    /// A branch with the same entries.
    fn split(self, shift: u32) -> Tree<V> {
        let mut leaves: [Self; FANOUT] = Default::default();
        for (key, value) in self.keys.into_iter().zip(self.values) {
            let leaf = &mut leaves[digit(key, shift)];
            leaf.keys.push(key);
            leaf.values.push(value);
        }
        Tree::Branch(Box::new(leaves.map(|leaf| Arc::new(Tree::Leaf(leaf)))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{LEAF, Table, Tree};

    fn contents(table: &Table<u64>) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        table.each(|key, value| all.push((key, *value)));
        all
    }

    /// Keys that fall into few leaves, and keys that share all of their upper bits.
    fn key() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0..100_u64,
            (0..4_u64, 0..50_u64).prop_map(|(high, low)| high << 60 | low),
        ]
    }

    proptest! {
        #[test]
        fn is_a_map_and_copies_are_apart(
            first in prop::collection::vec((key(), prop::option::of(any::<u64>())), 0..400),
            second in prop::collection::vec((key(), prop::option::of(any::<u64>())), 0..400),
        ) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for changes in [first, second] {
                for (key, change) in changes {
                    match change {
                        Some(value) => {
                            *table.entry(key, || 0) = value;
                            model.insert(key, value);
                        }
                        None => {
                            prop_assert_eq!(table.get_mut(key).copied(), model.get(&key).copied());
                            prop_assert_eq!(table.remove(key), model.remove(&key).is_some());
                        }
                    }
                    prop_assert_eq!(table.get(key), model.get(&key));
                }
                copies.push((table.clone(), model.clone()));
            }
            for (table, model) in copies {
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(contents(&table), model.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn shrinks_as_it_is_emptied() {
        let mut table = Table::default();
        let keys = || (0..10_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for key in keys() {
            table.entry(key, || key);
        }
        assert_eq!(table.len(), 10_000);
        for key in keys().skip(LEAF / 2) {
            assert!(table.remove(key));
        }
        assert!(matches!(table.root.as_deref(), Some(Tree::Leaf(_))));
        for key in keys().take(LEAF / 2) {
            assert!(table.remove(key));
        }
        assert!(table.is_empty() && table.root.is_none());
    }
}
