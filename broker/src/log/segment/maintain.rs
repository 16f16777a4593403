//! What goes on in the background: the manifest, indexes of sealed segments, retention, cleaning
//! and freeing.
//!
//! One thread does these one after the other, in passes. Invariants: an index file becomes visible
//! only after a manifest that knows all streams in its segment; a segment is freed only after the
//! trim points of its logs are durable in the log, nothing in the index refers to it and nobody
//! reads it; the newest segment is never freed, because it carries the stream table.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use super::encode::table_len;
use super::format::{HEAD, frame_len};
use super::fs::{self, is_full};
use super::index::{Place, Places, Run};
use super::queue::Item;
use super::reader;
use super::scan;
use super::shared::{Chores, Segment, Shared, count};
use super::sidecar;
use super::stream::{Stream, micros};
use super::table::MANIFEST;
use crate::log::{AppendError, Record};

/// How often retention looks although nobody asked.
const TICK: Duration = Duration::from_secs(1);
/// The shortest time between two passes that releases ask for.
const PAUSE: Duration = Duration::from_millis(20);
/// A segment is cleaned when no more than one part in so many of it is still needed.
const SPARSE: u64 = 4;

/// Works until it is told to stop.
pub(crate) fn run(shared: &Shared) {
    let mut leaving = Vec::new();
    loop {
        let chores = {
            let mut chores = shared.chores.lock();
            if !chores.stop && !chores.manifest && chores.seal.is_empty() {
                // A burst of releases is one pass.
                let wait = if chores.retain { PAUSE } else { TICK };
                shared.chores_changed.wait_for(&mut chores, wait);
            }
            let taken = Chores {
                seal: std::mem::take(&mut chores.seal),
                ..*chores
            };
            (chores.manifest, chores.retain) = (false, false);
            taken
        };
        let stop = chores.stop;
        pass(shared, chores, &mut leaving);
        shared.chores.lock().passes += 1;
        shared.chores_changed.notify_all();
        if stop {
            return;
        }
    }
}

fn pass(shared: &Shared, chores: Chores, leaving: &mut Vec<Arc<Segment>>) {
    if shared.failure().is_some() {
        return;
    }
    retain(shared);
    if !chores.seal.is_empty() || chores.manifest {
        if let Err(error) = fs::replace(&*shared.fs, MANIFEST, &shared.manifest().encode()) {
            later(shared, "the manifest", &error, |chores| {
                chores.manifest = true
            });
            shared.chore(|again| again.seal.extend(&chores.seal));
            return;
        }
        for number in chores.seal {
            if let Err(error) = seal(shared, number) {
                later(shared, "an index", &error, |again| again.seal.push(number));
            }
        }
    }
    if chores.stop {
        return;
    }
    if let Err(error) = reclaim(shared, leaving) {
        tracing::warn!(%error, "space of the event log could not be given back; trying again");
    }
}

/// Puts a chore back that failed.
fn later(shared: &Shared, what: &str, error: &io::Error, ask: impl FnOnce(&mut Chores)) {
    if !is_full(error) {
        tracing::warn!(%error, "{what} of the event log could not be written; trying again");
    }
    let mut chores = shared.chores.lock();
    ask(&mut chores);
    // Without haste: what failed once will fail again at once.
    let wait = if chores.stop { Duration::ZERO } else { TICK };
    shared.chores_changed.wait_for(&mut chores, wait);
}

fn all_streams(shared: &Shared) -> Vec<Arc<Stream>> {
    shared.streams.read().by_id.values().cloned().collect()
}

/// Applies the retention of every log.
fn retain(shared: &Shared) {
    let now = micros(shared.clock.now());
    for stream in all_streams(shared) {
        stream.state.lock().apply_retention(now);
    }
}

/// Writes the index of a segment that is not written any more, and lets go of it in memory.
fn seal(shared: &Shared, number: u64) -> io::Result<()> {
    let Some(segment) = shared.segments.lock().get(&number).cloned() else {
        return Ok(());
    };
    let mut runs: Vec<(u32, Run, Arc<Vec<Place>>)> = Vec::new();
    for stream in all_streams(shared) {
        for run in stream
            .state
            .lock()
            .runs
            .iter()
            .filter(|run| run.segment == number)
        {
            match &run.places {
                Places::Memory(places) => {
                    runs.push((stream.id, run.clone(), Arc::clone(places)));
                }
                // It has an index already.
                Places::Stored { .. } => return Ok(()),
            }
        }
    }
    if runs.is_empty() {
        // About to be freed.
        return Ok(());
    }
    let end = segment.end.load(Ordering::Acquire);
    let (bytes, stored) = sidecar::encode(number, end, &runs);
    fs::replace(&*shared.fs, &segment.index_name(), &bytes)?;
    let mut by_stream: HashMap<u32, Vec<(Run, Places)>> = HashMap::new();
    for ((stream, run, _), places) in runs.into_iter().zip(stored) {
        by_stream.entry(stream).or_default().push((run, places));
    }
    for stream in all_streams(shared) {
        let Some(sealed) = by_stream.get(&stream.id) else {
            continue;
        };
        stream.state.lock().runs.replace_places(number, |run| {
            // Retention may have cut the run since.
            let (whole, places) = sealed
                .iter()
                .find(|(whole, _)| whole.first <= run.first && run.end() <= whole.end())?;
            let skip = u32::try_from(run.first - whole.first).ok()?;
            Some((places.clone(), skip))
        });
    }
    give_back(shared, &segment, end)
}

/// Cuts off what a segment did not use, where that is much. (A whole file can be recycled.)
fn give_back(shared: &Shared, segment: &Segment, end: u64) -> io::Result<()> {
    if end < shared.sizes.segment / 4 * 3 {
        let file = shared.fs.open(&segment.file_name())?;
        if file.len()? > end {
            file.set_len(end)?;
        }
    }
    Ok(())
}

/// Finds the records of a segment again by reading it, because its index cannot be used.
pub(crate) fn reindex(shared: &Shared, segment: &Segment) -> io::Result<()> {
    let file = shared.fs.open(&segment.file_name())?;
    let scan = scan::scan(&*file, segment.number, shared.sizes.segment)?;
    let mut found: HashMap<u32, BTreeMap<u64, Place>> = HashMap::new();
    for frame in scan.frames {
        if let Ok(at) = u32::try_from(frame.at) {
            let place = Place {
                at,
                len: frame.head.len,
            };
            found
                .entry(frame.head.stream)
                .or_default()
                .insert(frame.head.offset, place);
        }
    }
    let none = BTreeMap::new();
    for stream in all_streams(shared) {
        let found = found.get(&stream.id).unwrap_or(&none);
        let mut state = stream.state.lock();
        let missing: Vec<u64> = state
            .runs
            .iter()
            .filter(|run| run.segment == segment.number)
            .flat_map(|run| run.first..run.end())
            .filter(|offset| !found.contains_key(offset))
            .collect();
        missing.into_iter().for_each(|offset| state.damage(offset));
        state.runs.replace_places(segment.number, |run| {
            let places = (run.first..run.end()).filter_map(|offset| found.get(&offset).copied());
            Some((Places::Memory(Arc::new(places.collect())), 0))
        });
    }
    shared.chore(|chores| chores.seal.push(segment.number));
    Ok(())
}

/// Frees segments that nobody needs, and cleans one that few need.
fn reclaim(shared: &Shared, leaving: &mut Vec<Arc<Segment>>) -> io::Result<()> {
    let mut live: HashMap<u64, u64> = HashMap::new();
    for stream in all_streams(shared) {
        for run in stream.state.lock().runs.iter() {
            let frames = run.bytes + u64::from(run.count) * HEAD as u64;
            *live.entry(run.segment).or_default() += frames;
        }
    }
    let newest = shared.newest.load(Ordering::Acquire);
    let old: Vec<Arc<Segment>> = {
        let segments = shared.segments.lock();
        let old = segments.values().filter(|segment| !segment.is_active());
        old.filter(|segment| segment.number < newest)
            .cloned()
            .collect()
    };
    let dead: Vec<_> = old
        .iter()
        .filter(|segment| !live.contains_key(&segment.number))
        .cloned()
        .collect();
    let sparse = old.iter().filter_map(|segment| {
        let live = *live.get(&segment.number)?;
        let end = segment.end.load(Ordering::Acquire);
        (live * SPARSE <= end).then_some((live, segment))
    });
    if let Some((_, segment)) = sparse.min_by_key(|(live, _)| *live)
        && clean(shared, segment)?
    {
        // With the next pass it is free.
        shared.chore(|chores| chores.retain = true);
    }
    drop(old);
    if !dead.is_empty() {
        if !make_trims_durable(shared) {
            return Ok(());
        }
        let mut segments = shared.segments.lock();
        dead.iter()
            .for_each(|segment| drop(segments.remove(&segment.number)));
        leaving.extend(dead);
    }
    free(shared, leaving)?;
    if leaving.is_empty() {
        forget_removed(shared);
    }
    Ok(())
}

/// Makes sure that what retention removed is known to be removed after a restart, before the
/// bytes go: it would be taken for damage otherwise.
fn make_trims_durable(shared: &Shared) -> bool {
    let mut changed = Vec::new();
    for stream in all_streams(shared) {
        let state = stream.state.lock();
        if state.trimmed > state.trimmed_durably && state.removed_in.is_none() {
            changed.push((Arc::clone(&stream), state.trimmed));
        }
    }
    if changed.is_empty() {
        return true;
    }
    let (done, wait) = mpsc::sync_channel(1);
    let streams = changed
        .iter()
        .map(|(stream, _)| Arc::clone(stream))
        .collect();
    if !finish(
        shared,
        Item::Streams {
            streams,
            remove: false,
            done: Some(done),
        },
        &wait,
    ) {
        return false;
    }
    for (stream, trimmed) in changed {
        stream.state.lock().trimmed_durably = trimmed;
    }
    true
}

/// Enqueues an item and waits for it.
fn finish(shared: &Shared, item: Item, wait: &mpsc::Receiver<Result<(), AppendError>>) -> bool {
    shared.queue.push(item).is_ok() && matches!(wait.recv(), Ok(Ok(())))
}

/// Writes what is still needed of a segment anew. False when something stood in the way.
fn clean(shared: &Shared, segment: &Segment) -> io::Result<bool> {
    for stream in all_streams(shared) {
        let runs: Vec<Run> = {
            let state = stream.state.lock();
            state
                .runs
                .iter()
                .filter(|run| run.segment == segment.number)
                .cloned()
                .collect()
        };
        for run in runs {
            let Some(records) = reader::read_whole(shared, &stream, &run)? else {
                return Ok(false);
            };
            for records in portions(records, shared.sizes.append) {
                let (done, wait) = mpsc::sync_channel(1);
                let stream = Arc::clone(&stream);
                if !finish(
                    shared,
                    Item::Move {
                        stream,
                        records,
                        done,
                    },
                    &wait,
                ) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// Cuts records into portions that the writer takes.
fn portions(records: Vec<Record>, limit: usize) -> Vec<Vec<Record>> {
    let mut portions: Vec<Vec<Record>> = Vec::new();
    let mut left = 0;
    for record in records {
        let len = frame_len(record.event.size());
        match portions.last_mut() {
            Some(portion) if len <= left => {
                left -= len;
                portion.push(record);
            }
            _ => {
                left = limit.saturating_sub(len);
                portions.push(vec![record]);
            }
        }
    }
    portions
}

/// Recycles or deletes the files of segments that nobody reads any more.
fn free(shared: &Shared, leaving: &mut Vec<Arc<Segment>>) -> io::Result<()> {
    if leaving.is_empty() {
        return Ok(());
    }
    let mut kept = Vec::new();
    for segment in std::mem::take(leaving) {
        if Arc::strong_count(&segment) > 1 {
            kept.push(segment);
            continue;
        }
        if let Err(error) = free_one(shared, &segment) {
            kept.push(segment);
            tracing::warn!(%error, "a segment could not be freed; trying again");
        }
    }
    *leaving = kept;
    shared.fs.sync_dir()
}

fn free_one(shared: &Shared, segment: &Segment) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone(shared.fs.remove(&segment.index_name()))?;
    let name = segment.file_name();
    let file = match shared.fs.open(&name) {
        Ok(file) => file,
        Err(error) => return gone(Err(error)),
    };
    if file.len()? == shared.sizes.segment && shared.pool.recycle(&name, file)? {
        count(&shared.counters.recycled, 1);
        return Ok(());
    }
    shared.fs.remove(&name)
}

/// Forgets removed logs of which no segment can hold anything.
fn forget_removed(shared: &Shared) {
    let Some(oldest) = shared.segments.lock().keys().next().copied() else {
        return;
    };
    let mut streams = shared.streams.write();
    let before = streams.by_id.len();
    let mut encoded = 0;
    streams.by_id.retain(|_, stream| {
        let keep = stream
            .state
            .lock()
            .removed_in
            .is_none_or(|segment| segment >= oldest);
        if !keep {
            encoded += table_len(&stream.name);
        }
        keep
    });
    streams.encoded = streams.encoded.saturating_sub(encoded);
    if streams.by_id.len() < before {
        drop(streams);
        shared.chore(|chores| chores.manifest = true);
    }
}
