//! The one thread that writes segments: it gathers what waits into a group, writes and syncs the
//! group once, and only then makes it visible and acknowledges it.
//!
//! Invariants: offsets are given here, in the order of the queue. A group is written only after
//! the group before it is durable. Nothing is visible or acknowledged before `sync_data` has
//! returned for it; when a write or a sync fails, nothing is acknowledged ever after.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::encode::{encode, item_to_empty_group, need};
use super::format::{self, FRAMES_AT, HEAD, Head, Kind, SegmentHeader};
use super::fs::{BLOCK, SegmentFile, is_full};
use super::group::{Group, Unit, put_stream};
use super::pool::NoSpace;
use super::queue::Item;
use super::shared::{Segment, Shared, count, segment_name};
use super::stream::{State, Stream, micros};
use super::tail::Tail;
use crate::log::AppendError;

/// Why a group was not written.
#[derive(Debug)]
enum Refusal {
    /// There is no room; later there may be.
    Full,
    /// The store has failed, or stops.
    Closed(Arc<str>),
}

impl Refusal {
    fn error(&self) -> AppendError {
        match self {
            Self::Full => AppendError::DiskFull,
            Self::Closed(reason) => AppendError::Closed {
                reason: Arc::clone(reason),
            },
        }
    }
}

/// Tells whoever waits for an item that it was not written.
pub(crate) fn refuse(item: Item, error: &AppendError) {
    match item {
        Item::Append(append) => {
            let _ = append.reply.send(Err(error.clone()));
        }
        Item::Streams {
            done: Some(done), ..
        }
        | Item::Move { done, .. } => {
            let _ = done.try_send(Err(error.clone()));
        }
        Item::Streams { done: None, .. } => {}
    }
}

/// The segment that is being written.
#[derive(Debug)]
struct Active {
    number: u64,
    file: Arc<dyn SegmentFile>,
    /// Where the next group goes.
    end: u64,
    /// The number of the last group.
    group: u32,
}

/// The largest buffer that is kept from one group to the next: that of a busy moment must not stay
/// for ever.
const KEPT_BUFFER: usize = 1 << 20;

/// The writer's own state.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    tail: Tail,
    /// How many appends were in flight recently.
    company: usize,
    /// The bytes of the last group, to be filled again: a new buffer for each would grow, and move
    /// what it holds, several times.
    buffer: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            active: None,
            tail: Tail::default(),
            company: 0,
            buffer: Vec::new(),
        }
    }

    /// Writes until the queue is stopped and empty.
    pub(crate) fn run(mut self) {
        loop {
            let items = self.shared.queue.take(self.company);
            if items.is_empty() {
                break;
            }
            self.write(items);
        }
        if self.shared.failure().is_none() {
            self.end();
        }
    }

    fn write(&mut self, items: Vec<Item>) {
        let mut appends = 0;
        let mut sizes: Vec<(Arc<Stream>, usize)> = Vec::new();
        for item in &items {
            let Item::Append(append) = item else {
                continue;
            };
            appends += 1;
            match sizes.last_mut() {
                Some((stream, size)) if Arc::ptr_eq(stream, &append.stream) => *size += append.size,
                _ => sizes.push((Arc::clone(&append.stream), append.size)),
            }
        }
        let mut items = items.into_iter();
        if let Err((item, refusal)) = self.write_all(&mut items) {
            if matches!(refusal, Refusal::Full) {
                self.shared.refusing.store(true, Ordering::Release);
            }
            let error = refusal.error();
            item.into_iter()
                .chain(items)
                .for_each(|item| refuse(item, &error));
            // Room may have come between the refusal and the mark.
            if !self.shared.pool.is_full() {
                self.shared.refusing.store(false, Ordering::Release);
            }
        }
        let waiting = self.shared.queue.finished(&sizes);
        // Of those that were just answered, most come again at once. One that is alone must not
        // wait for others.
        self.company = if appends > 1 { appends + waiting } else { 0 };
    }

    /// Writes items in groups. On a refusal, returns the item that it met.
    fn write_all(
        &mut self,
        items: &mut impl Iterator<Item = Item>,
    ) -> Result<(), (Option<Item>, Refusal)> {
        let mut group = self.new_group();
        for item in items {
            let need = need(&item);
            if need == 0 && group.is_empty() && self.active.is_none() {
                // Nothing to write, and no segment to start for it.
                let number = self.shared.newest.load(Ordering::Acquire);
                self.publish(number, item_to_empty_group(item));
                continue;
            }
            if !self.fits(group.len() + need) {
                let full = std::mem::take(&mut group);
                if let Err(refusal) = self.commit(full).and_then(|()| self.rotate(need)) {
                    return Err((Some(item), refusal));
                }
                group = self.new_group();
            }
            if let Some(active) = &self.active {
                encode(&mut group, item, active.number, active.group + 1);
            }
        }
        self.commit(group).map_err(|refusal| (None, refusal))
    }

    /// A group for the end of the active segment.
    fn new_group(&mut self) -> Group {
        let mut group = Group::at(self.active.as_ref().map_or(0, |active| active.end));
        group.bytes = std::mem::take(&mut self.buffer);
        group.bytes.clear();
        group
    }

    /// Whether the active segment has room for a group of that length.
    fn fits(&self, len: usize) -> bool {
        let capacity = self.shared.sizes.segment;
        self.active
            .as_ref()
            .is_some_and(|active| active.end + len as u64 <= capacity)
    }

    /// Makes a group durable, then visible, then known to its callers.
    fn commit(&mut self, mut group: Group) -> Result<(), Refusal> {
        if group.is_empty() {
            return Ok(());
        }
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let len = group.len() as u64;
        let write = padded(active.end + len, self.shared.sizes.segment) - active.end;
        if len > 0 {
            if let Err(no_space) = self.shared.pool.reach(active.end + write) {
                let refusal = refusal(&self.shared, &no_space);
                group.fail(&refusal.error());
                return Err(refusal);
            }
            group
                .bytes
                .resize(usize::try_from(write).unwrap_or(usize::MAX), 0);
            let written = active.file.write_at(&group.bytes, active.end);
            if let Err(error) = written.as_ref()
                && is_full(error)
            {
                let refusal = self.give_up();
                group.fail(&refusal.error());
                return Err(refusal);
            }
            if let Err(error) = written.and_then(|()| active.file.sync_data()) {
                let reason = format!("writing segment {} failed: {error}", active.number);
                let refusal = Refusal::Closed(self.shared.fail(&reason));
                group.fail(&refusal.error());
                return Err(refusal);
            }
            count(&self.shared.counters.fsyncs, 1);
            count(&self.shared.counters.groups, 1);
            count(&self.shared.counters.bytes_written, write);
            active.end += len;
            active.group += 1;
            if group.bytes.capacity() <= KEPT_BUFFER {
                self.buffer = std::mem::take(&mut group.bytes);
            }
        }
        let number = active.number;
        self.publish(number, group);
        Ok(())
    }

    /// A file system that needs room even to overwrite had none, in the middle of a group. Cuts
    /// the group off, so that nothing of it is kept, and the segment is not written any more.
    fn give_up(&mut self) -> Refusal {
        let Some(active) = self.active.take() else {
            return Refusal::Full;
        };
        let cut = active
            .file
            .set_len(active.end)
            .and_then(|()| active.file.sync_data());
        if let Err(error) = cut {
            let reason = format!("segment {} could not be cut: {error}", active.number);
            return Refusal::Closed(self.shared.fail(&reason));
        }
        self.retire(&active);
        Refusal::Full
    }

    /// Hands a segment that is not written any more to maintenance.
    fn retire(&self, active: &Active) {
        if let Some(segment) = self.shared.segments.lock().get(&active.number) {
            segment.end.store(active.end, Ordering::Release);
        }
        self.shared.chore(|chores| chores.seal.push(active.number));
    }

    /// Starts the next segment.
    fn rotate(&mut self, need: usize) -> Result<(), Refusal> {
        let number = self.shared.newest.load(Ordering::Acquire) + 1;
        let streams: Vec<Arc<Stream>> =
            self.shared.streams.read().by_id.values().cloned().collect();
        let mut group = Group::default();
        for stream in &streams {
            put_stream(&mut group.bytes, stream, number, 1);
        }
        let end = FRAMES_AT + group.bytes.len() as u64;
        if end + need as u64 > self.shared.sizes.segment {
            let reason = "the table of logs does not fit into a segment; make segments larger";
            return Err(Refusal::Closed(self.shared.fail(reason)));
        }
        let spare = self
            .shared
            .pool
            .take(padded(end + need as u64, self.shared.sizes.segment))
            .map_err(|no_space| refusal(&self.shared, &no_space))?;
        if let Some(active) = self.active.take() {
            self.retire(&active);
        }
        let header = SegmentHeader {
            segment: number,
            capacity: self.shared.sizes.segment,
            next_stream: self.shared.streams.read().next_id,
        };
        let mut bytes = header.encode();
        bytes.extend_from_slice(&group.bytes);
        let write = padded(bytes.len() as u64, self.shared.sizes.segment);
        bytes.resize(usize::try_from(write).unwrap_or(usize::MAX), 0);
        let name = segment_name(number);
        let started = (|| -> io::Result<()> {
            spare.file.write_at(&bytes, 0)?;
            spare.file.sync_data()?;
            self.shared.fs.rename(&spare.name, &name)?;
            self.shared.fs.sync_dir()
        })();
        if let Err(error) = started {
            let reason = format!("segment {number} could not be started: {error}");
            return Err(Refusal::Closed(self.shared.fail(&reason)));
        }
        count(&self.shared.counters.fsyncs, 1);
        self.shared.newest.store(number, Ordering::Release);
        self.shared
            .segments
            .lock()
            .insert(number, Arc::new(Segment::new(number, u64::MAX)));
        for stream in &streams {
            stream.registered.store(true, Ordering::Release);
        }
        self.active = Some(Active {
            number,
            file: spare.file,
            end,
            group: 1,
        });
        self.shared.chore(|chores| chores.manifest = true);
        Ok(())
    }

    /// Makes a durable group visible, and answers its callers, each in one pass.
    fn publish(&mut self, segment: u64, group: Group) {
        let mut units = group.units.iter().peekable();
        while let Some(unit) = units.next() {
            match unit {
                Unit::Append { stream, .. } => {
                    // Appends to one log mostly come in a row. They become visible together.
                    let mut state = stream.state.lock();
                    self.show(segment, unit, &mut state);
                    while let Some(more) = units.next_if(|next| next.is_append_to(stream)) {
                        self.show(segment, more, &mut state);
                    }
                    stream.registered.store(true, Ordering::Release);
                    // Under the lock, so that nothing can be read past the tail.
                    stream.tail.send_replace(state.next);
                }
                Unit::Moved { stream, runs, .. } => {
                    let mut state = stream.state.lock();
                    for run in runs.iter().filter(|_| !stream.is_closed()) {
                        count(&self.shared.counters.moved_events, u64::from(run.count));
                        state.moved(run.clone());
                    }
                }
                Unit::Streams {
                    streams, remove, ..
                } => {
                    streams
                        .iter()
                        .for_each(|stream| self.wrote_stream(stream, *remove, segment));
                }
            }
        }
        self.tail.evict(self.shared.sizes.tail);
        let counters = &self.shared.counters;
        counters
            .tail_bytes
            .store(self.tail.bytes as u64, Ordering::Relaxed);
        group.answer();
    }

    /// Adds an append to the index and the tail of its log.
    fn show(&mut self, segment: u64, unit: &Unit, state: &mut State) {
        let Unit::Append {
            stream, records, ..
        } = unit
        else {
            return;
        };
        for (indexed, _) in records {
            state.commit(segment, indexed);
        }
        let records = records.iter().map(|(_, record)| record);
        count(&self.shared.counters.group_appends, 1);
        count(&self.shared.counters.group_events, records.len() as u64);
        self.tail.add(stream, state, records);
    }

    fn wrote_stream(&self, stream: &Stream, remove: bool, segment: u64) {
        stream.registered.store(true, Ordering::Release);
        if remove {
            let mut state = stream.state.lock();
            state.removed_in = Some(segment);
            state.runs.clear();
            state.cache.clear();
        }
        self.shared.chore(|chores| chores.manifest = true);
    }

    /// Says in the log that it was closed in order.
    fn end(&mut self) {
        let Some(active) = &self.active else { return };
        let mut group = Group::default();
        let head = Head {
            len: 0,
            payload_crc: 0,
            stream: 0,
            left: 0,
            offset: 0,
            accepted: micros(self.shared.clock.now()),
            group: active.group + 1,
            kind: Kind::End,
            flags: 0,
        };
        format::put_frame(&mut group.bytes, active.number, &head, &[]);
        if self.fits(group.len()) {
            // Should this fail, the next start reads a log that was not closed.
            let _ = self.commit(group);
        }
    }
}

/// Where a write ends whose last frame ends at `end`: behind zeros that say that nothing follows (see
/// the format), and at the end of a block, because the system has to read a block of which only the
/// beginning is written.
fn padded(end: u64, capacity: u64) -> u64 {
    (end + HEAD as u64).next_multiple_of(BLOCK).min(capacity)
}

fn refusal(shared: &Shared, no_space: &NoSpace) -> Refusal {
    match no_space {
        NoSpace::Full => Refusal::Full,
        NoSpace::Stopped => Refusal::Closed(
            shared
                .failure()
                .unwrap_or_else(|| "the store was closed".into()),
        ),
    }
}
