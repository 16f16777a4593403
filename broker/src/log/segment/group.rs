//! A group: what is written and synced at once, and who waits for it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::format::{self, FRAMES_AT, HEAD, Head, Kind};
use super::index::{Indexed, Place, Run, RunLimit, RunList};
use super::queue::{Done, Reply};
use super::stream::{Stream, micros};
use crate::log::{AppendError, Offset, Record};

/// What one item of the queue became.
#[derive(Debug)]
pub(crate) enum Unit {
    /// Events with their offsets and places.
    Append {
        stream: Arc<Stream>,
        offsets: Range<Offset>,
        records: Vec<(Indexed, Record)>,
        reply: Reply,
    },
    /// Records in their new places.
    Moved {
        stream: Arc<Stream>,
        runs: Vec<Run>,
        done: Done,
    },
    /// Stream frames.
    Streams {
        streams: Vec<Arc<Stream>>,
        remove: bool,
        done: Option<Done>,
    },
}

impl Unit {
    /// Whether these are events of that log.
    pub(crate) fn is_append_to(&self, log: &Arc<Stream>) -> bool {
        matches!(self, Self::Append { stream, .. } if Arc::ptr_eq(stream, log))
    }
}

/// Frames to be written at once.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) bytes: Vec<u8>,
    pub(crate) units: Vec<Unit>,
    /// The next offset of each log that the group gives offsets to.
    next: HashMap<u32, Offset>,
    /// Where the group will stand in its segment.
    base: u64,
}

/// Puts the frames of a stream, twice, so that damage to one of them loses nothing.
pub(crate) fn put_stream(out: &mut Vec<u8>, stream: &Stream, segment: u64, group: u32) {
    put_entry(out, stream, false, segment, group);
}

fn put_entry(out: &mut Vec<u8>, stream: &Stream, remove: bool, segment: u64, group: u32) {
    let mut entry = stream.entry();
    if remove {
        entry.removed_in = Some(segment);
    }
    let head = Head {
        len: 0,
        payload_crc: 0,
        stream: stream.id,
        left: 0,
        offset: entry.next,
        accepted: 0,
        group,
        kind: Kind::Stream,
        flags: 0,
    };
    let payload = entry.encode();
    for _ in 0..2 {
        format::put_frame(out, segment, &head, &payload);
    }
}

impl Group {
    /// An empty group that will stand at `base`.
    pub(crate) fn at(base: u64) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.units.is_empty()
    }

    /// The offset that the log's next event gets.
    pub(crate) fn next_of(&mut self, stream: &Stream) -> Offset {
        *self
            .next
            .entry(stream.id)
            .or_insert_with(|| stream.state.lock().next)
    }

    /// Gives the log's next offset away.
    pub(crate) fn advance(&mut self, stream: &Stream) -> Offset {
        let offset = self.next_of(stream);
        self.next.insert(stream.id, offset + 1);
        offset
    }

    pub(crate) fn put_stream(&mut self, stream: &Stream, remove: bool, segment: u64, group: u32) {
        put_entry(&mut self.bytes, stream, remove, segment, group);
    }

    /// Puts an event's frame, and says where.
    pub(crate) fn put_event(
        &mut self,
        stream: &Stream,
        record: &Record,
        left: u32,
        flags: u8,
        segment: u64,
        group: u32,
    ) -> Indexed {
        let accepted = micros(record.accepted);
        let head = Head {
            len: 0,
            payload_crc: 0,
            stream: stream.id,
            left,
            offset: record.offset,
            accepted,
            group,
            kind: Kind::Event,
            flags,
        };
        let at = self.base + self.bytes.len() as u64;
        format::put_frame(&mut self.bytes, segment, &head, record.event.packed());
        // Segments are shorter than 4 GiB.
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        let len = u32::try_from(record.event.size()).unwrap_or(u32::MAX);
        Indexed {
            offset: record.offset,
            accepted,
            place: Place { at, len },
        }
    }

    /// Puts the frames of records that are moved, each a unit of its own.
    pub(crate) fn put_moved(
        &mut self,
        stream: &Stream,
        records: &[Record],
        segment: u64,
        group: u32,
        flags: u8,
    ) -> Vec<Run> {
        let mut runs = RunList::default();
        for record in records {
            let indexed = self.put_event(stream, record, 0, flags, segment, group);
            runs.push(segment, &indexed, &RunLimit::default());
        }
        runs.iter().cloned().collect()
    }

    /// Tells everyone that the group is durable and visible.
    pub(crate) fn answer(self) {
        for unit in self.units {
            match unit {
                Unit::Append { offsets, reply, .. } => {
                    let _ = reply.send(Ok(offsets));
                }
                Unit::Moved { done, .. }
                | Unit::Streams {
                    done: Some(done), ..
                } => {
                    let _ = done.try_send(Ok(()));
                }
                Unit::Streams { done: None, .. } => {}
            }
        }
    }

    /// Tells everyone that the group was not written.
    pub(crate) fn fail(self, error: &AppendError) {
        for unit in self.units {
            match unit {
                Unit::Append { reply, .. } => {
                    let _ = reply.send(Err(error.clone()));
                }
                Unit::Moved { done, .. }
                | Unit::Streams {
                    done: Some(done), ..
                } => {
                    let _ = done.try_send(Err(error.clone()));
                }
                Unit::Streams { done: None, .. } => {}
            }
        }
    }
}

// Frames of a fresh segment start where the header ends, and a head is as long as its alignment
// allows; both are relied upon by the terminator.
const _: () = assert!(FRAMES_AT.is_multiple_of(8) && HEAD.is_multiple_of(8));
