//! The logs as they are used: each put together of its parts, behind doors that a move closes.
//!
//! A log is put together anew when its parts change. What its doors know outlives that as long as events go
//! to the same place, so that whoever still has the gates of before is held up by the same doors; when
//! they go to another place, the doors of before are walled up.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{OpenLogs, PartRef, Switch};
use crate::log::absent::AbsentLog;
use crate::log::chain::{Chain, Part};
use crate::log::gate::{Door, Gate};
use crate::log::{Log, Offset, Partitions};

/// One part of a log, with what keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) place: PartRef,
    pub(super) logs: Partitions,
    /// Whether this is what keeps it, and not only what stands there until that is open.
    pub(super) is_open: bool,
}

impl Span {
    fn count(&self) -> usize {
        self.logs.all().len()
    }

    /// The part of one partition of the whole.
    fn part(&self, partition: usize) -> Option<Part> {
        let at = |offsets: &[Offset]| offsets.get(partition).copied().unwrap_or_default();
        Some(Part {
            from: at(&self.place.from),
            begin: at(&self.place.begin),
            log: Arc::clone(self.logs.all().get(partition)?),
        })
    }

    /// What a partition of the whole ends with that has no place in this part any more.
    fn ended(&self, partition: usize) -> Part {
        Part {
            from: self.place.from.get(partition).copied().unwrap_or_default(),
            begin: 0,
            log: Arc::new(AbsentLog::ended()),
        }
    }
}

/// A log as it is used. Everything but the spans is there once a partition.
#[derive(Debug)]
struct Whole {
    spans: Vec<Span>,
    doors: Vec<Arc<Door>>,
    /// What is behind the doors.
    logs: Vec<Arc<dyn Log>>,
    /// Where a partition is not just what one store has under its name.
    chains: Vec<Option<Arc<Chain>>>,
    /// Where it is to go on, while its doors are closed for that; and what tells this time from others.
    closed_for: Option<(String, u64)>,
}

impl Whole {
    /// Whether its events go to the same place, which has begun there.
    fn ends_in(&self, last: &Span) -> bool {
        self.spans.last().is_some_and(|mine| mine == last)
    }

    /// How far nobody needs anything any more, in each partition; `None` where not all are known.
    fn released(&self) -> Option<Vec<Offset>> {
        let known = self.spans.iter().all(|span| span.is_open);
        let released = |chain: &Option<Arc<Chain>>| chain.as_ref().map_or(0, |one| one.released());
        known.then(|| self.chains.iter().map(released).collect())
    }
}

/// What closing doors has found.
#[derive(Debug)]
struct Found {
    log: String,
    time: u64,
    switch: Switch,
}

/// All logs as they are used, by name.
#[derive(Debug)]
pub(super) struct Served {
    open: OpenLogs,
    wholes: BTreeMap<String, Whole>,
    found: Arc<Mutex<Vec<Found>>>,
    /// Counts how often doors were closed.
    times: u64,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Grows when it is worth looking again.
    tell: Arc<watch::Sender<u64>>,
}

impl Served {
    /// None. Tasks run on `tracker` until `stop`, and let `tell` grow when they have found something out.
    pub(super) fn new(
        tracker: TaskTracker,
        stop: CancellationToken,
        tell: Arc<watch::Sender<u64>>,
    ) -> Self {
        Self {
            open: OpenLogs::default(),
            wholes: BTreeMap::new(),
            found: Arc::default(),
            times: 0,
            tracker,
            stop,
            tell,
        }
    }

    /// What consumers and producers use.
    pub(super) fn open(&self) -> &OpenLogs {
        &self.open
    }

    /// Where closed logs were found to end since the last time.
    pub(super) fn switches(&mut self) -> Vec<(String, Switch)> {
        let found = std::mem::take(&mut *self.found.lock());
        // One that was opened again meanwhile has no end.
        let stands = |found: &Found| {
            let whole = self.wholes.get(&found.log);
            let closed = whole.and_then(|whole| whole.closed_for.as_ref());
            closed.is_some_and(|(_, time)| *time == found.time)
        };
        let found = found.into_iter().filter(stands);
        found.map(|found| (found.log, found.switch)).collect()
    }

    /// How far nobody needs anything any more in the log of an object, in each partition, where several
    /// parts are known. Its name begins with `prefix`.
    pub(super) fn released(&self, prefix: &str) -> BTreeMap<String, Vec<Offset>> {
        let wholes = self.wholes.range(prefix.to_owned()..);
        let wholes = wholes.take_while(|(name, _)| name.starts_with(prefix));
        let several = wholes.filter(|(_, whole)| whole.spans.len() > 1);
        several
            .filter_map(|(name, whole)| Some((name.clone(), whole.released()?)))
            .collect()
    }

    /// Makes one log of its parts, unless that is what it is. Whether its events go to another place now.
    pub(super) fn put_together(&mut self, log: &str, spans: Vec<Span>) -> bool {
        let Some(last) = spans.last() else {
            return false;
        };
        let before = self.wholes.get(log);
        if before.is_some_and(|before| before.spans == spans) {
            return false;
        }
        let stays = before.filter(|before| before.ends_in(last));
        let partitions = spans.iter().map(Span::count).max().unwrap_or_default();
        let chains: Vec<_> = (0..partitions)
            .map(|partition| self.chain(&spans, partition))
            .collect();
        let behind = |(partition, chain): (usize, &Option<Arc<Chain>>)| match chain {
            Some(chain) => Some(Arc::clone(chain) as Arc<dyn Log>),
            None => last.logs.all().get(partition).cloned(),
        };
        let logs: Vec<_> = chains.iter().enumerate().filter_map(behind).collect();
        let mut doors = stays.map_or_else(Vec::new, |stays| stays.doors.clone());
        doors.resize_with(logs.len(), Arc::default);
        let gates = logs.iter().zip(&doors).map(|(log, door)| {
            let gate = Gate::new(Arc::clone(log), Arc::clone(door));
            Arc::new(gate) as Arc<dyn Log>
        });
        let Some(used) = Partitions::taking(gates.collect(), last.count()) else {
            return false;
        };
        let closed_for = stays.and_then(|stays| stays.closed_for.clone());
        let goes_on_elsewhere = stays.is_none();
        self.open.insert(log, used);
        let whole = Whole {
            spans,
            doors,
            logs,
            chains,
            closed_for,
        };
        let before = self.wholes.insert(log.to_owned(), whole);
        if let Some(before) = before.filter(|_| goes_on_elsewhere) {
            before.doors.iter().for_each(|door| door.wall_up());
        }
        goes_on_elsewhere
    }

    /// The parts of one partition as one log; `None` where that is the log of the last part, as it is.
    fn chain(&self, spans: &[Span], partition: usize) -> Option<Arc<Chain>> {
        let (last, older) = spans.split_last()?;
        let older: Vec<Part> = older
            .iter()
            .filter_map(|span| span.part(partition))
            .collect();
        let last = last
            .part(partition)
            .unwrap_or_else(|| last.ended(partition));
        if older.is_empty() && last.from == 0 && last.begin == 0 {
            return None;
        }
        let tell = Arc::clone(&self.tell);
        Some(Chain::new(older, last, tell, &self.tracker))
    }

    /// Takes no appends any more, to go on in `target`, which is a log called `name`. What is found out
    /// about the ends is told later. Whether that is new.
    pub(super) fn close(&mut self, log: &str, name: &str, target: &Partitions) -> bool {
        let Some(whole) = self.wholes.get_mut(log) else {
            return false;
        };
        let closed_for = whole.closed_for.as_ref();
        if closed_for.is_some_and(|(closed_for, _)| closed_for == name) {
            return false;
        }
        self.times += 1;
        let time = self.times;
        whole.closed_for = Some((name.to_owned(), time));
        let doors = whole.doors.iter().zip(&whole.logs);
        let doors: Vec<_> = doors
            .map(|(door, log)| (Arc::clone(door), door.close(), Arc::clone(log)))
            .collect();
        let (log, name, target) = (log.to_owned(), name.to_owned(), target.clone());
        let (found, tell) = (Arc::clone(&self.found), Arc::clone(&self.tell));
        let stop = self.stop.clone();
        self.tracker
            .spawn(stop.run_until_cancelled_owned(async move {
                let mut ends = Vec::new();
                for (door, time, log) in &doors {
                    let Some(end) = door.end(*time, &**log).await else {
                        return;
                    };
                    ends.push(end);
                }
                let begins = target.all().iter().map(|log| log.stats().next);
                let switch = Switch {
                    target: name,
                    begins: begins.collect(),
                    ends,
                };
                found.lock().push(Found { log, time, switch });
                tell.send_modify(|count| *count += 1);
            }));
        true
    }

    /// Opens doors again that were closed for a move which nobody wants any more. Whether there were any.
    pub(super) fn reopen(&mut self, log: &str) -> bool {
        let Some(whole) = self.wholes.get_mut(log) else {
            return false;
        };
        let closed = whole.closed_for.take().is_some();
        if closed {
            whole.doors.iter().for_each(|door| door.open());
        }
        closed
    }

    /// Forgets the logs whose names begin so, but for those that stay. Their names.
    pub(super) fn forget(&mut self, prefix: &str, stays: impl Fn(&str) -> bool) -> Vec<String> {
        let names = self.wholes.range(prefix.to_owned()..);
        let names = names.map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(prefix));
        let gone: Vec<String> = names.filter(|name| !stays(name)).cloned().collect();
        for name in &gone {
            self.wholes.remove(name);
            self.open.remove(name);
        }
        gone
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
