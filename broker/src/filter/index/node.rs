//! Where filters are filed, and how they are found.
//!
//! A branch of a filter's condition is filed under one of its predicates, the one that promises to
//! be rarest, in a bucket for each key of that predicate. A bucket of more than a few branches
//! becomes a [`Node`] of its own, in which each of them is filed again under one of the
//! predicates that it has left. So branches that share one attribute's value are told apart by the
//! next, as deep as it takes, and a match goes only to buckets whose predicates all hold.
//!
//! Invariant: a branch is in the buckets of all keys of each predicate under which it is filed, so
//! that an event for which the branch holds finds it.
//!
//! Nodes are shared between copies of the index as [`Table`]s are.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Entry;
use super::condition::{Branch, Condition, MAX_BRANCHES, MAX_PREDICATES, Predicate};
use super::facts::{Fact, Keys, Probe, scatter};
use super::table::Table;

/// The most branches of a bucket that is no node.
const FEW: usize = 4;

/// One branch of one filter's condition.
#[derive(Debug)]
pub(super) struct Posting<T> {
    pub(super) entry: Arc<Entry<T>>,
    /// Which branch.
    branch: u8,
    /// How many of its predicates it is not filed under.
    left: u8,
    /// Where it is filed.
    path: Path,
}

/// The predicates under which a branch is filed, in that order: four bits for each, its number plus
/// one. Says in which bucket a branch is even where two of its predicates share a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Path(u32);

const STEP: u32 = 4;

impl Path {
    /// Further, under one more predicate.
    fn under(self, number: u8) -> Self {
        Self(self.0 << STEP | (u32::from(number) + 1))
    }

    fn has(self, number: u8) -> bool {
        let wanted = u32::from(number) + 1;
        let steps = std::iter::successors(Some(self.0), |rest| Some(rest >> STEP));
        let mut steps = steps.take_while(|rest| *rest > 0);
        steps.any(|rest| rest & ((1 << STEP) - 1) == wanted)
    }
}

/// Branches, filed by their predicates.
#[derive(Debug)]
pub(super) struct Node<T> {
    /// How many branches there are.
    len: usize,
    /// Branches without any other predicate: candidates, whatever the event.
    here: Table<Posting<T>>,
    /// By the key of an attribute's name, what is filed under that attribute.
    attributes: Table<Vec<Dimension<T>>>,
}

/// What is filed under one kind of key of one attribute.
#[derive(Debug)]
struct Dimension<T> {
    probe: Probe,
    buckets: Table<Bucket<T>>,
}

/// Branches for which the same predicates hold.
#[derive(Debug)]
enum Bucket<T> {
    Few(SmallVec<[Posting<T>; 1]>),
    Many(Arc<Node<T>>),
}

const _: () = assert!(MAX_PREDICATES * (STEP as usize) <= u32::BITS as usize);
const _: () = assert!(MAX_PREDICATES + 1 < 1 << STEP && MAX_BRANCHES <= u8::MAX as usize);

impl<T> Clone for Posting<T> {
    fn clone(&self) -> Self {
        Self {
            entry: Arc::clone(&self.entry),
            ..*self
        }
    }
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        Self {
            len: self.len,
            here: self.here.clone(),
            attributes: self.attributes.clone(),
        }
    }
}

impl<T> Clone for Dimension<T> {
    fn clone(&self) -> Self {
        Self {
            probe: self.probe,
            buckets: self.buckets.clone(),
        }
    }
}

impl<T> Clone for Bucket<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Few(postings) => Self::Few(postings.clone()),
            Self::Many(node) => Self::Many(Arc::clone(node)),
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            len: 0,
            here: Table::default(),
            attributes: Table::default(),
        }
    }
}

impl<T> Posting<T> {
    /// All branches of a filter, not filed yet.
    pub(super) fn all<'f>(
        entry: &Arc<Entry<T>>,
        condition: &'f Condition<'f>,
    ) -> impl Iterator<Item = (Self, &'f Branch<'f>)> {
        let numbered = (0..).zip(condition.branches());
        numbered.map(|(number, branch)| {
            let posting = Self {
                entry: Arc::clone(entry),
                branch: number,
                left: u8::try_from(branch.len()).unwrap_or(u8::MAX),
                path: Path::default(),
            };
            (posting, branch)
        })
    }

    fn key(&self) -> u64 {
        scatter((self.entry.slot.0 as u64) << 8 | u64::from(self.branch))
    }

    fn is(&self, other: &Self) -> bool {
        self.entry.slot == other.entry.slot
            && self.branch == other.branch
            && self.path == other.path
    }

    /// The predicates under which it may still be filed.
    fn left<'p>(&self, branch: &'p Branch<'p>) -> impl Iterator<Item = (u8, &'p Predicate<'p>)> {
        let path = self.path;
        (0..).zip(branch).filter(move |(n, _)| !path.has(*n))
    }
}

impl<T> Node<T> {
    /// Whether there is neither a branch nor a place for one.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn is_bare(&self) -> bool {
        self.len == 0 && self.here.is_empty() && self.attributes.is_empty()
    }

    /// How many places are in use, here and in nodes below.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn places(&self) -> usize {
        let mut places = self.here.len();
        self.attributes.each(|_, dimensions| {
            for dimension in dimensions {
                dimension.buckets.each(|_, bucket| {
                    places += match bucket {
                        Bucket::Few(postings) => postings.len(),
                        Bucket::Many(node) => node.places(),
                    };
                });
            }
        });
        places
    }

    /// Files a branch.
    pub(super) fn insert(&mut self, mut posting: Posting<T>, branch: &Branch<'_>, keys: &Keys) {
        self.len += 1;
        let Some((number, predicate)) = self.choose(&posting, branch, keys) else {
            self.here.entry(posting.key(), || posting);
            return;
        };
        posting = posting.under(number);
        let name = keys.bytes(predicate.name.as_bytes());
        let dimensions = self.attributes.entry(name, Vec::new);
        for (probe, key) in keys.of(predicate) {
            let at = match dimensions.iter().position(|known| known.probe == probe) {
                Some(at) => at,
                None => {
                    dimensions.push(Dimension {
                        probe,
                        buckets: Table::default(),
                    });
                    dimensions.len() - 1
                }
            };
            if let Some(dimension) = dimensions.get_mut(at) {
                let bucket = dimension
                    .buckets
                    .entry(key, || Bucket::Few(SmallVec::new()));
                bucket.insert(posting.clone(), branch, keys);
            }
        }
    }

    /// The predicate under which a branch is best filed: one that few events pass, and that has not
    /// many branches under it already. None where it has none left.
    fn choose<'p>(
        &self,
        posting: &Posting<T>,
        branch: &'p Branch<'p>,
        keys: &Keys,
    ) -> Option<(u8, &'p Predicate<'p>)> {
        let mut left = posting.left(branch);
        let first = left.next()?;
        let mut rest = left.peekable();
        if rest.peek().is_none() {
            return Some(first);
        }
        std::iter::once(first)
            .chain(rest)
            .min_by_key(|(_, predicate)| {
                let name = keys.bytes(predicate.name.as_bytes());
                let keys = keys.of(predicate);
                // A sample will do of a predicate with very many keys.
                let sample = keys.iter().take(8);
                let fullest = sample.map(|(probe, key)| {
                    let bucket = self.bucket(name, *probe, *key);
                    bucket.map_or(0, Bucket::len)
                });
                let fullest = fullest.max().unwrap_or_default();
                predicate.weight() * (4 + (1 + fullest).ilog2() as usize) + keys.len() / 8
            })
    }

    fn bucket(&self, name: u64, probe: Probe, key: u64) -> Option<&Bucket<T>> {
        let dimensions = self.attributes.get(name)?;
        let dimension = dimensions.iter().find(|known| known.probe == probe)?;
        dimension.buckets.get(key)
    }

    /// The predicate under which a branch is filed; none where it is filed under no more. `Err`
    /// where it is not here.
    fn filed<'p>(
        &self,
        posting: &Posting<T>,
        branch: &'p Branch<'p>,
        keys: &Keys,
    ) -> Result<Option<(u8, &'p Predicate<'p>)>, Absent> {
        if self
            .here
            .get(posting.key())
            .is_some_and(|known| known.is(posting))
        {
            return Ok(None);
        }
        let mut left = posting.left(branch);
        let found = left.find(|(number, predicate)| {
            let name = keys.bytes(predicate.name.as_bytes());
            // It is under all keys or under none.
            let first = keys.of(predicate).into_iter().next();
            first
                .and_then(|(probe, key)| self.bucket(name, probe, key))
                .is_some_and(|bucket| bucket.has(&posting.under(*number), branch, keys))
        });
        found.map(Some).ok_or(Absent)
    }

    /// Removes a branch, which has been filed with this `posting`.
    pub(super) fn remove(&mut self, posting: &Posting<T>, branch: &Branch<'_>, keys: &Keys) {
        let Ok(place) = self.filed(posting, branch, keys) else {
            return;
        };
        self.len -= 1;
        let Some((number, predicate)) = place else {
            self.here.remove(posting.key());
            return;
        };
        let posting = posting.under(number);
        let name = keys.bytes(predicate.name.as_bytes());
        let Some(dimensions) = self.attributes.get_mut(name) else {
            return;
        };
        for (probe, key) in keys.of(predicate) {
            let mut dimensions = dimensions.iter_mut();
            if let Some(dimension) = dimensions.find(|known| known.probe == probe)
                && let Some(bucket) = dimension.buckets.get_mut(key)
            {
                bucket.remove(&posting, branch, keys);
                if bucket.len() == 0 {
                    dimension.buckets.remove(key);
                }
            }
        }
        dimensions.retain(|dimension| !dimension.buckets.is_empty());
        if dimensions.is_empty() {
            self.attributes.remove(name);
        }
    }

    /// Shows every filter of which a branch may hold, some of them more than once. Recurses
    /// once for each predicate of a branch, of which there are at most [`MAX_PREDICATES`].
    pub(super) fn candidates(
        &self,
        facts: &[Fact<'_>],
        keys: &Keys,
        look: &mut impl FnMut(&Entry<T>),
    ) {
        self.here.each(|_, posting| look(&posting.entry));
        let mut visit = |fact: &Fact<'_>, dimensions: &[Dimension<T>]| {
            for dimension in dimensions {
                fact.keys(dimension.probe, keys, |key| {
                    match dimension.buckets.get(key) {
                        Some(Bucket::Few(postings)) => {
                            for posting in postings {
                                look(&posting.entry);
                            }
                        }
                        Some(Bucket::Many(node)) => node.candidates(facts, keys, look),
                        None => {}
                    }
                });
            }
        };
        if self.attributes.len() < facts.len() {
            self.attributes.each(|name, dimensions| {
                if let Some(fact) = facts.iter().find(|fact| fact.name == name) {
                    visit(fact, dimensions);
                }
            });
        } else {
            for fact in facts {
                if let Some(dimensions) = self.attributes.get(fact.name) {
                    visit(fact, dimensions);
                }
            }
        }
    }
}

/// A branch is not in a node.
struct Absent;

impl<T> Posting<T> {
    /// The same branch in a bucket of one of its predicates.
    fn under(&self, number: u8) -> Self {
        Self {
            path: self.path.under(number),
            left: self.left.saturating_sub(1),
            ..self.clone()
        }
    }
}

impl<T> Bucket<T> {
    fn len(&self) -> usize {
        match self {
            Self::Few(postings) => postings.len(),
            Self::Many(node) => node.len,
        }
    }

    fn insert(&mut self, posting: Posting<T>, branch: &Branch<'_>, keys: &Keys) {
        match self {
            Self::Few(postings) if postings.len() < FEW => {
                postings.reserve_exact(1);
                postings.push(posting);
            }
            Self::Few(postings) => {
                let mut node = Node::default();
                for known in std::mem::take(postings) {
                    if known.left == 0 {
                        // Its condition, which may be wide, has nothing more to say.
                        node.insert(known, &Branch::new(), keys);
                        continue;
                    }
                    let entry = Arc::clone(&known.entry);
                    let condition = Condition::of(&entry.filter);
                    if let Some(branch) = condition.branches().get(usize::from(known.branch)) {
                        node.insert(known, branch, keys);
                    }
                }
                node.insert(posting, branch, keys);
                *self = Self::Many(Arc::new(node));
            }
            Self::Many(node) => Arc::make_mut(node).insert(posting, branch, keys),
        }
    }

    fn has(&self, posting: &Posting<T>, branch: &Branch<'_>, keys: &Keys) -> bool {
        match self {
            Self::Few(postings) => postings.iter().any(|known| known.is(posting)),
            Self::Many(node) => node.filed(posting, branch, keys).is_ok(),
        }
    }

    fn remove(&mut self, posting: &Posting<T>, branch: &Branch<'_>, keys: &Keys) {
        match self {
            Self::Few(postings) => postings.retain(|known| !known.is(posting)),
            Self::Many(node) => Arc::make_mut(node).remove(posting, branch, keys),
        }
    }
}
