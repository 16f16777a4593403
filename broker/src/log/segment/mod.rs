//! A durable log: one shared, append-only, checksummed store for all logs of a data directory.
//!
//! One writer thread appends the events of all logs to one segment file, in groups: one write and
//! one `fdatasync` a group, however many logs take part, and acknowledges only after it. Segments
//! are written with zeros ahead of need and recycled, because overwriting costs half of appending.
//!
//! # Files
//!
//! ```text
//! lock                    held while the store is open
//! manifest                the stream table, replaced as a whole
//! 0000000000000007.seg    segment 7: header, then frames
//! 0000000000000007.idx    its index; rebuilt from the segment when missing or damaged
//! spare-3.seg             a file of zeros or old bytes, to become a segment
//! quarantine/             copies of damaged bytes: <segment>-<position>.bin
//! ```
//!
//! All integers are little-endian. All checksums are CRC32C. Version 1 is what follows.
//!
//! ## Segment
//!
//! Two copies of the header, at 0 and at 512, and frames from 1024 on. Segment numbers (16 hex
//! digits in the name) grow and are never reused.
//!
//! ```text
//! u8[8]  "HEDLSEG\0"
//! u32    version, 1
//! u32    the stream id from which on no ids had been given when the segment was started
//! u64    segment number
//! u64    capacity: frames end before this position
//! u32    checksum of the bytes before it
//! ```
//!
//! ## Frame
//!
//! A head of 48 bytes, the payload, and zeros up to a multiple of 8.
//!
//! ```text
//!  0 u32  checksum of bytes 4..48, seeded with the segment number
//!  4 u32  length of the payload
//!  8 u32  checksum of the payload
//! 12 u32  epoch: the low half of the segment number
//! 16 u32  stream id
//! 20 u32  how many frames of the same unit (append) follow this one
//! 24 u64  stream offset
//! 32 i64  accepted, in microseconds since 1970
//! 40 u32  group: 1 for the first group of the segment, then growing by one
//! 44 u8   kind: 1 event, 2 stream, 3 end
//! 45 u8   flags: 1 = first of its unit, 2 = moved here from an older segment
//! 46 u16  zero
//! ```
//!
//! The seeded checksum and the epoch make bytes that are left from an earlier life of a recycled
//! file invalid. Each group is followed by zeros, in the same write, where the segment has room for
//! them: 48 bytes at least, and on to the next multiple of 4096. The next group overwrites them.
//!
//! * *Event*: the payload is `Event::packed()`.
//! * *Stream*: what the store knows of one stream: `offset` is its `next`; the payload is the trim
//!   point (u64: everything below was removed by retention), a state (u8: 0 kept, 1 removed), and
//!   the log's name. Written twice in a row, so that no single damage loses a name, and always
//!   before the stream's first event. Every segment starts with the frames of all streams.
//! * *End*: the store was closed, and everything before it is durable. No payload.
//!
//! ## Index (`.idx`)
//!
//! ```text
//! u8[8]  "HEDLIDX\0"
//! u32    version, 1
//! u32    number of runs
//! u64    segment number
//! u64    where the frames of the segment end
//! then for each run (consecutive offsets of one stream):
//!   u32 stream, u32 count, u64 first offset, u64 bytes of events,
//!   i64 oldest and i64 newest accepted, u64 position of its places, u32 their checksum, u32 zero
//! u32    checksum of everything before it
//! then the places of all runs: for each record u32 position of its frame, u32 payload length
//! ```
//!
//! ## Manifest
//!
//! ```text
//! u8[8]  "HEDLMAN\0"
//! u32    version, 1
//! u32    next stream id
//! u64    number of the newest segment
//! u32    number of streams
//! then for each stream:
//!   u32 id, u64 next, u64 trim point, u8 state, u64 segment of its removal, u16 length, name
//! u32    checksum of everything before it
//! ```
//!
//! Replaced by rename after each start of a segment and each change of the table. It saves reading
//! sealed segments when opening, and it is evidence: a segment that it names must exist.
//!
//! # Recovery
//!
//! Segments that have an index are taken by it. The others are scanned whole. A damaged range is
//! passed over by searching, at multiples of 8, for the next head that is valid in this segment;
//! the bytes are copied to `quarantine/`, and offsets that are missing between kept records read
//! as gaps. Without a usable manifest all segments are scanned for stream frames.
//!
//! In the newest segment the last group may be torn: a group is written only after the one before
//! it is durable, so only the group with the highest number can be. Units of it that are not
//! complete are erased (copied to quarantine, overwritten with zeros): an append is kept as a
//! whole or not at all. If what follows the last frame is not 48 zero bytes, or the newest segment
//! of the manifest is missing, then acknowledged events may have been lost at the end: every
//! stream's `next` moves on by more than can have been there, so that no offset is given twice.
//! A log whose name was lost with all of its events is a new log.
//!
//! After recovery a new segment is started always; the scanned ones get their index in the
//! background, and give back the space that they did not use.
//!
//! # Space
//!
//! Retention trims logs by dropping index entries. A segment without kept records is freed: the
//! trim points are made durable first, then the file is renamed to a spare or deleted. A segment
//! of which little is still needed is cleaned: its records are written anew at the end of the log
//! (with flag 2, same stream, offset and time), and freed when that is durable. Where two segments
//! hold the same offset, the newer one counts.
//!
//! # Failure
//!
//! A failed write or fdatasync poisons the store: whether the bytes are on the disk is unknowable,
//! so nothing is acknowledged any more before a restart. A full disk shows while space is
//! prepared, before events are written to it: appends are refused, and taken again when there is
//! room. A zeroed-out device block at the very end of the log cannot be told from its end.

mod encode;
mod format;
pub mod fs;
mod group;
mod index;
mod log;
mod maintain;
mod pool;
mod queue;
mod reader;
mod recover;
mod scan;
mod shared;
mod sidecar;
mod store;
mod stream;
mod table;
mod tail;
mod writer;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};

pub use store::SegmentStore;

/// How a [`SegmentStore`] works.
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    /// The size of a segment: 8 KiB to 2 GiB. An append takes a quarter of it at most.
    pub segment_bytes: u64,
    /// The most bytes that may wait to become durable, of all logs together. One log may have as
    /// many as are still free, so that a busy one alone gets half of them.
    pub max_pending_bytes: usize,
    /// About how many bytes of recent events are kept in memory for readers that keep up.
    pub tail_bytes: usize,
    /// Gives events their times.
    pub clock: Arc<dyn Clock>,
    /// The file system; the machine's, in the directory that is opened, by default.
    pub fs: Option<Arc<dyn fs::FileSystem>>,
}

impl Default for SegmentOptions {
    /// 64 MiB a segment, 32 MiB waiting, 8 MiB in memory.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_pending_bytes: 32 << 20,
            tail_bytes: 8 << 20,
            clock: Arc::new(SystemClock),
            fs: None,
        }
    }
}

/// What a store did since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Calls of fdatasync for events.
    pub fsyncs: u64,
    /// Groups written.
    pub groups: u64,
    /// Appends in these groups.
    pub group_appends: u64,
    /// Events in these appends.
    pub group_events: u64,
    /// Bytes written for groups.
    pub bytes_written: u64,
    /// Events that were written again so that their segment could be freed.
    pub moved_events: u64,
    /// Segments whose file was kept to be used again.
    pub recycled_segments: u64,
    /// Damaged bytes that were copied to the quarantine.
    pub quarantined_bytes: u64,
    /// Reads that went to the disk.
    pub disk_reads: u64,
    /// Bytes of recent events in memory.
    pub tail_bytes: u64,
    /// Bytes that wait to become durable.
    pub pending_bytes: u64,
    /// Segments that hold events.
    pub segments: u64,
    /// Prepared segments.
    pub spare_segments: u64,
    /// Logs.
    pub logs: u64,
}
