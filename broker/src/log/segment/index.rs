//! Where the records of a stream stand.
//!
//! A [`Run`] is a stretch of consecutive offsets in one segment; a [`RunList`] holds the runs of
//! one stream by ascending offset. Offsets between runs are missing. A run is short enough (see
//! [`RunLimit`]) that retention may act on whole runs where it would have to read records
//! otherwise.
//!
//! Invariants: runs do not overlap and are not empty; `count` places follow `skip` in the places
//! of a run. The bytes of a run that was cut are estimated by its average record.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::log::Offset;

/// Where one record stands in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The position of its frame.
    pub(crate) at: u32,
    /// The length of its payload.
    pub(crate) len: u32,
}

/// The places of a run's records.
#[derive(Clone, Debug)]
pub(crate) enum Places {
    /// In memory: the segment has no index file yet.
    Memory(Arc<Vec<Place>>),
    /// In the segment's index file.
    Stored {
        /// Their position in the file.
        at: u64,
        /// How many there are.
        count: u32,
        /// Their checksum.
        crc: u32,
    },
}

/// Consecutive records of one stream in one segment.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) first: Offset,
    pub(crate) count: u32,
    pub(crate) segment: u64,
    /// Bytes of events.
    pub(crate) bytes: u64,
    /// The earliest and the latest time of acceptance, in microseconds since 1970.
    pub(crate) oldest: i64,
    pub(crate) newest: i64,
    pub(crate) places: Places,
    /// How many of the places come before the first record.
    pub(crate) skip: u32,
}

impl Run {
    pub(crate) fn end(&self) -> Offset {
        self.first + u64::from(self.count)
    }

    /// A run of one record.
    pub(crate) fn of_one(segment: u64, record: &Indexed) -> Self {
        Self {
            first: record.offset,
            count: 1,
            segment,
            bytes: u64::from(record.place.len),
            oldest: record.accepted,
            newest: record.accepted,
            places: Places::Memory(Arc::new(vec![record.place])),
            skip: 0,
        }
    }

    /// The places of its records, out of those that were loaded or are in memory.
    pub(crate) fn own<'a>(&self, places: &'a [Place]) -> &'a [Place] {
        let from = self.skip as usize;
        places
            .get(from..from + self.count as usize)
            .unwrap_or_default()
    }

    /// The part of the run that lies in `[from, to)`.
    fn slice(&self, from: Offset, to: Offset) -> Option<Self> {
        let from = from.max(self.first);
        let to = to.min(self.end());
        if from >= to {
            return None;
        }
        // Both differ by less than `count`, so they fit.
        let skipped = u32::try_from(from - self.first).unwrap_or(u32::MAX);
        let count = u32::try_from(to - from).unwrap_or(u32::MAX);
        let mut slice = self.clone();
        slice.first = from;
        slice.count = count;
        slice.skip += skipped;
        let share = u128::from(self.bytes) * u128::from(count) / u128::from(self.count.max(1));
        slice.bytes = u64::try_from(share).unwrap_or(u64::MAX);
        Some(slice)
    }

    /// Extends the run by a record that follows it directly, if it may grow so far.
    fn extend(&mut self, segment: u64, record: &Indexed, limit: &RunLimit) -> bool {
        let oldest = self.oldest.min(record.accepted);
        let newest = self.newest.max(record.accepted);
        let fits = self.segment == segment
            && self.end() == record.offset
            && self.count < limit.records
            && self.bytes < limit.bytes
            && newest.saturating_sub(oldest) <= limit.span;
        let Places::Memory(places) = &mut self.places else {
            return false;
        };
        if !fits || places.len() != (self.skip + self.count) as usize {
            return false;
        }
        Arc::make_mut(places).push(record.place);
        self.count += 1;
        self.bytes += u64::from(record.place.len);
        self.oldest = oldest;
        self.newest = newest;
        true
    }
}

/// One record, to be put into an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Indexed {
    pub(crate) offset: Offset,
    pub(crate) accepted: i64,
    pub(crate) place: Place,
}

/// How far a run may grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLimit {
    /// In records.
    pub(crate) records: u32,
    /// In bytes of events.
    pub(crate) bytes: u64,
    /// Between its oldest and its newest record, in microseconds.
    pub(crate) span: i64,
}

impl Default for RunLimit {
    /// 4,096 records (32 KiB of places), a mebibyte, six hours.
    fn default() -> Self {
        Self {
            records: 4096,
            bytes: 1 << 20,
            span: 6 * 3600 * 1_000_000,
        }
    }
}

/// The runs of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunList {
    runs: VecDeque<Run>,
    bytes: u64,
}

impl RunList {
    /// Bytes of all events.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// One past the last record.
    pub(crate) fn end(&self) -> Option<Offset> {
        self.runs.back().map(Run::end)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The runs that hold `from` or something after it.
    pub(crate) fn from(&self, from: Offset) -> impl Iterator<Item = &Run> {
        let start = self.runs.partition_point(|run| run.end() <= from);
        self.runs.range(start..)
    }

    /// Adds a record behind all others.
    pub(crate) fn push(&mut self, segment: u64, record: &Indexed, limit: &RunLimit) {
        self.bytes += u64::from(record.place.len);
        if let Some(last) = self.runs.back_mut()
            && last.extend(segment, record, limit)
        {
            return;
        }
        self.runs.push_back(Run::of_one(segment, record));
    }

    /// Puts in a run; where it overlaps with others, it counts and they do not.
    pub(crate) fn overlay(&mut self, run: Run) {
        self.cut(run.first, run.end());
        let at = self.runs.partition_point(|other| other.first < run.first);
        self.bytes += run.bytes;
        self.runs.insert(at, run);
    }

    /// Takes the offsets `[from, to)` out.
    pub(crate) fn cut(&mut self, from: Offset, to: Offset) {
        let mut at = self.runs.partition_point(|run| run.end() <= from);
        while self.runs.get(at).is_some_and(|run| run.first < to) {
            let Some(run) = self.runs.remove(at) else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(run.bytes);
            for part in [run.slice(0, from), run.slice(to, Offset::MAX)]
                .into_iter()
                .flatten()
            {
                self.bytes += part.bytes;
                self.runs.insert(at, part);
                at += 1;
            }
        }
    }

    /// Changes the places of every run in `segment`; runs for which there are none any more are
    /// taken out.
    pub(crate) fn replace_places(
        &mut self,
        segment: u64,
        mut change: impl FnMut(&Run) -> Option<(Places, u32)>,
    ) {
        let mut lost = Vec::new();
        for run in &mut self.runs {
            if run.segment == segment {
                match change(run) {
                    Some((places, skip)) => {
                        run.places = places;
                        run.skip = skip;
                    }
                    None => lost.push(run.first..run.end()),
                }
            }
        }
        for range in lost {
            self.cut(range.start, range.end);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn run(first: Offset, count: u32, segment: u64) -> Run {
        let places = (0..count).map(|n| Place { at: n, len: 10 }).collect();
        Run {
            first,
            count,
            segment,
            bytes: u64::from(count) * 10,
            oldest: 0,
            newest: 0,
            places: Places::Memory(Arc::new(places)),
            skip: 0,
        }
    }

    fn flat(list: &RunList) -> BTreeMap<Offset, (u64, u32)> {
        let mut all = BTreeMap::new();
        for run in list.iter() {
            let Places::Memory(places) = &run.places else {
                panic!("stored")
            };
            let own = run.own(places);
            assert_eq!(own.len(), run.count as usize);
            for (n, place) in own.iter().enumerate() {
                let fresh = all
                    .insert(run.first + n as u64, (run.segment, place.at))
                    .is_none();
                assert!(fresh, "overlapping runs");
            }
        }
        all
    }

    proptest! {
        #[test]
        fn overlay_and_cut_are_those_of_a_map(
            steps in prop::collection::vec((any::<bool>(), 0_u64..60, 1_u32..20), 1..40),
        ) {
            let mut list = RunList::default();
            let mut model = BTreeMap::new();
            for (segment, (put, first, count)) in steps.into_iter().enumerate() {
                let (segment, end) = (segment as u64, first + u64::from(count));
                if put {
                    list.overlay(run(first, count, segment));
                    model.extend((0..count).map(|n| (first + u64::from(n), (segment, n))));
                } else {
                    list.cut(first, end);
                    model.retain(|offset, _| *offset < first || *offset >= end);
                }
                prop_assert_eq!(flat(&list), model.clone());
                prop_assert_eq!(list.bytes(), model.len() as u64 * 10);
                let firsts: Vec<_> = list.iter().map(|run| run.first).collect();
                prop_assert!(firsts.is_sorted());
            }
        }
    }

    #[test]
    fn a_run_ends_at_each_of_its_limits() {
        let limit = RunLimit {
            records: 3,
            bytes: 25,
            span: 100,
        };
        let mut list = RunList::default();
        let push = |list: &mut RunList, offset, accepted, segment| {
            let place = Place { at: 0, len: 1 };
            list.push(
                segment,
                &Indexed {
                    offset,
                    accepted,
                    place,
                },
                &limit,
            );
            list.iter().count()
        };
        assert_eq!(push(&mut list, 0, 0, 1), 1);
        assert_eq!(push(&mut list, 1, 100, 1), 1);
        assert_eq!(push(&mut list, 2, 101, 1), 2, "too long a span");
        assert_eq!(push(&mut list, 3, 101, 2), 3, "another segment");
        assert_eq!(push(&mut list, 5, 101, 2), 4, "not consecutive");
        assert_eq!(push(&mut list, 6, 101, 2), 4);
        assert_eq!(push(&mut list, 7, 101, 2), 4);
        assert_eq!(push(&mut list, 8, 101, 2), 5, "too many records");
    }
}
