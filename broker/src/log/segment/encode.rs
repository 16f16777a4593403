//! From the items of the queue to the frames of a group.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::format::{self, FIRST_OF_UNIT, MOVED};
use super::group::{Group, Unit};
use super::queue::{Append, Item};
use super::stream::Stream;
use crate::log::{Offset, Record};

/// How many bytes the frames of a stream of that name take.
pub(crate) fn table_len(name: &str) -> usize {
    2 * format::frame_len(9 + name.len())
}

/// How many bytes an item takes in a segment.
pub(crate) fn need(item: &Item) -> usize {
    let stream_len = |stream: &Arc<Stream>| table_len(&stream.name);
    match item {
        Item::Append(append) if append.events.is_empty() => 0,
        Item::Append(append) => append.size + stream_len(&append.stream),
        Item::Streams { streams, .. } => streams.iter().map(stream_len).sum(),
        Item::Move { records, .. } => records
            .iter()
            .map(|record| format::frame_len(record.event.size()))
            .sum(),
    }
}

/// A group of an item for which nothing is written.
pub(crate) fn item_to_empty_group(item: Item) -> Group {
    let mut group = Group::default();
    encode(&mut group, item, 0, 0);
    group
}

/// Adds an item to a group that goes to the given segment.
pub(crate) fn encode(group: &mut Group, item: Item, segment: u64, number: u32) {
    match item {
        Item::Append(append) => encode_append(group, append, segment, number),
        Item::Streams {
            streams,
            remove,
            done,
        } => {
            for stream in &streams {
                group.put_stream(stream, remove, segment, number);
            }
            group.units.push(Unit::Streams {
                streams,
                remove,
                done,
            });
        }
        Item::Move {
            stream,
            mut records,
            done,
        } => {
            // Nothing of a removed log may come after the frame that says so.
            if stream.is_closed() {
                records.clear();
            }
            let runs = group.put_moved(&stream, &records, segment, number, MOVED | FIRST_OF_UNIT);
            group.units.push(Unit::Moved { stream, runs, done });
        }
    }
}

fn encode_append(group: &mut Group, append: Append, segment: u64, number: u32) {
    let Append {
        stream,
        events,
        accepted,
        reply,
        size: _,
    } = append;
    if !events.is_empty() && !stream.registered.load(Ordering::Acquire) {
        group.put_stream(&stream, false, segment, number);
    }
    let first = group.next_of(&stream);
    let mut left = u32::try_from(events.len()).unwrap_or(u32::MAX);
    let mut flags = FIRST_OF_UNIT;
    let mut records = Vec::with_capacity(events.len());
    let at = accepted_time(accepted);
    for event in events {
        left -= 1;
        let offset = group.advance(&stream);
        let record = Record {
            offset,
            accepted: at,
            event,
        };
        let indexed = group.put_event(&stream, &record, left, flags, segment, number);
        records.push((indexed, record));
        flags = 0;
    }
    let offsets: Range<Offset> = first..first + records.len() as u64;
    group.units.push(Unit::Append {
        stream,
        offsets,
        records,
        reply,
    });
}

/// The time that is read back for an event.
pub(crate) fn accepted_time(micros: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}
