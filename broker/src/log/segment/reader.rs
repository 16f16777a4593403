//! Reads records from segments.
//!
//! What is wanted is looked up in the index, and frames that stand close together are read at
//! once. Each frame is checked against what the index says of it and by its checksums; one that
//! does not hold is damaged: it is quarantined and taken out of the index, and its offset reads as
//! a gap from then on.
//!
//! A segment cannot be recycled while it is read: maintenance waits until nobody holds the
//! [`Segment`].

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::encode::accepted_time;
use super::format::{self, HEAD, Kind, frame_len};
use super::fs::{self, SegmentFile};
use super::index::{Place, Places, Run};
use super::maintain::reindex;
use super::shared::{Segment, Shared, count};
use super::sidecar;
use super::stream::Stream;
use crate::event::Event;
use crate::log::{Gap, GapReason, Offset, ReadBatch, ReadError, ReadLimit, Record};

/// The most that one read takes from a disk, whatever it was asked for.
const MOST: ReadLimit = ReadLimit {
    records: 8192,
    bytes: 4 << 20,
};
/// Frames that are no further apart are read at once.
const NEAR: u64 = 8 << 10;
/// The longest piece that is read at once, unless one frame is longer.
const PIECE: u64 = 1 << 20;
/// How often a read starts anew because what it looked for was moved meanwhile.
const TRIES: usize = 16;

/// One record to be read.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    offset: Offset,
    place: Place,
}

impl Wanted {
    fn at(&self) -> u64 {
        u64::from(self.place.at)
    }

    fn end(&self) -> u64 {
        self.at() + frame_len(self.place.len as usize) as u64
    }
}

/// Why reading a run came to nothing.
enum Obstacle {
    /// The index has changed; look again.
    Moved,
    Io(io::Error),
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads from the disk. Blocks.
pub(crate) fn read(
    shared: &Shared,
    stream: &Stream,
    from: Offset,
    limit: ReadLimit,
) -> Result<ReadBatch, ReadError> {
    let limit = ReadLimit {
        records: limit.records.clamp(1, MOST.records),
        bytes: limit.bytes.min(MOST.bytes),
    };
    count(&shared.counters.disk_reads, 1);
    let mut batch = ReadBatch {
        next: from,
        ..ReadBatch::default()
    };
    let mut tries = 0;
    let mut bytes = 0;
    while batch.records.len() < limit.records && (bytes < limit.bytes || bytes == 0) {
        let Some(run) = next_run(stream, &mut batch)? else {
            break;
        };
        let left = ReadLimit {
            records: limit.records - batch.records.len(),
            bytes: limit.bytes.saturating_sub(bytes),
        };
        match read_run(shared, stream, &run, batch.next, left) {
            Ok((records, to)) => {
                for record in records {
                    miss(&mut batch, record.offset);
                    bytes += record.event.size();
                    batch.next = record.offset + 1;
                    batch.records.push(record);
                }
                miss(&mut batch, to);
            }
            Err(Obstacle::Moved) => {
                tries += 1;
                if tries > TRIES {
                    return Err(ReadError::Io {
                        reason: "its segment was moved too often".into(),
                    });
                }
            }
            // What was read before the obstacle is an answer too.
            Err(Obstacle::Io(_)) if !batch.records.is_empty() => break,
            Err(Obstacle::Io(error)) => {
                return Err(ReadError::Io {
                    reason: error.to_string().into(),
                });
            }
        }
    }
    Ok(batch)
}

/// Says that everything from where the batch ends to `to` is missing.
fn miss(batch: &mut ReadBatch, to: Offset) {
    gap(batch, to, GapReason::Damaged);
}

fn gap(batch: &mut ReadBatch, to: Offset, reason: GapReason) {
    if to <= batch.next {
        return;
    }
    match batch.gaps.last_mut() {
        Some(last) if last.offsets.end == batch.next && last.reason == reason => {
            last.offsets.end = to;
        }
        _ => batch.gaps.push(Gap {
            offsets: batch.next..to,
            reason,
        }),
    }
    batch.next = to;
}

/// The run at the end of the batch, after the gaps before it. None at the end of the log.
fn next_run(stream: &Stream, batch: &mut ReadBatch) -> Result<Option<Run>, ReadError> {
    let state = stream.state.lock();
    if stream.is_closed() {
        return Err(ReadError::Closed);
    }
    gap(batch, state.trimmed, GapReason::Expired);
    let run = state.runs.from(batch.next).next().cloned();
    miss(batch, run.as_ref().map_or(state.next, |run| run.first));
    Ok(run)
}

/// Reads records of one run from `from` on. Returns them, and up to where it is known now that
/// there are no others.
fn read_run(
    shared: &Shared,
    stream: &Stream,
    run: &Run,
    from: Offset,
    limit: ReadLimit,
) -> Result<(Vec<Record>, Offset), Obstacle> {
    let segment = shared
        .segments
        .lock()
        .get(&run.segment)
        .cloned()
        .ok_or(Obstacle::Moved)?;
    let places = places(shared, &segment, run)?;
    let skip = usize::try_from(from.saturating_sub(run.first)).unwrap_or(usize::MAX);
    let own = run.own(&places).get(skip..).unwrap_or_default();
    let mut wanted = Vec::new();
    let mut bytes = 0;
    for (place, offset) in own.iter().zip(from..).take(limit.records) {
        wanted.push(Wanted {
            offset,
            place: *place,
        });
        bytes += place.len as usize;
        if bytes >= limit.bytes {
            break;
        }
    }
    let to = from + wanted.len() as u64;
    let file = match shared.fs.open(&segment.file_name()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            lose(stream, run.segment, &wanted);
            return Ok((Vec::new(), to));
        }
        Err(error) => return Err(error.into()),
    };
    let mut records = Vec::with_capacity(wanted.len());
    for piece in pieces(&wanted) {
        read_piece(shared, stream, &segment, &*file, piece, &mut records)?;
    }
    Ok((records, to))
}

/// Cuts what is wanted into pieces that are read at once.
fn pieces(wanted: &[Wanted]) -> impl Iterator<Item = &[Wanted]> {
    let mut rest = wanted;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let len = 1 + rest
            .windows(2)
            .take_while(|pair| {
                let (before, next) = (pair[0], pair[1]);
                next.at() >= before.end()
                    && next.at() - before.end() <= NEAR
                    && next.end() - first.at() <= PIECE
            })
            .count();
        let (piece, after) = rest.split_at(len);
        rest = after;
        Some(piece)
    })
}

fn read_piece(
    shared: &Shared,
    stream: &Stream,
    segment: &Segment,
    file: &dyn SegmentFile,
    piece: &[Wanted],
    records: &mut Vec<Record>,
) -> io::Result<()> {
    let (Some(first), Some(last)) = (piece.first(), piece.last()) else {
        return Ok(());
    };
    let start = first.at();
    let mut bytes = vec![0; usize::try_from(last.end() - start).unwrap_or(0)];
    let read = file.read_at(&mut bytes, start)?;
    bytes.truncate(read);
    for wanted in piece {
        let from = usize::try_from(wanted.at() - start).unwrap_or(usize::MAX);
        let frame = bytes.get(from..).unwrap_or_default();
        match decode(frame, segment.number, stream.id, wanted) {
            Some(record) => records.push(record),
            None => {
                let end = frame.len().min(frame_len(wanted.place.len as usize));
                quarantine(shared, segment.number, wanted.at(), &frame[..end]);
                lose(stream, segment.number, &[*wanted]);
            }
        }
    }
    Ok(())
}

fn decode(frame: &[u8], segment: u64, stream: u32, wanted: &Wanted) -> Option<Record> {
    let head = format::head(frame, segment)?;
    if head.kind != Kind::Event || head.stream != stream || head.offset != wanted.offset {
        return None;
    }
    let payload = format::payload(frame, &head)?;
    // Copied, so that one kept event does not keep what was read with it.
    let event = Event::unpack(Bytes::copy_from_slice(payload)).ok()?;
    Some(Record {
        offset: head.offset,
        accepted: accepted_time(head.accepted),
        event,
    })
}

/// Takes records that could not be read out of the index, if they still stand where they were
/// looked for.
fn lose(stream: &Stream, segment: u64, wanted: &[Wanted]) {
    let mut state = stream.state.lock();
    for wanted in wanted {
        let run = state.runs.from(wanted.offset).next();
        if run.is_some_and(|run| run.segment == segment && run.first <= wanted.offset) {
            state.damage(wanted.offset);
            tracing::error!(
                log = %stream.name, offset = wanted.offset, segment,
                "an event is damaged and cannot be read"
            );
        }
    }
}

fn quarantine(shared: &Shared, segment: u64, at: u64, bytes: &[u8]) {
    /// More damage than this needs no further evidence.
    const MOST: u64 = 256 << 20;
    let counter = &shared.counters.quarantined_bytes;
    if counter.load(std::sync::atomic::Ordering::Relaxed) < MOST {
        count(counter, fs::quarantine(&*shared.fs, segment, at, bytes));
    }
}

/// The places of a run, from memory or from the index of its segment.
fn places(shared: &Shared, segment: &Segment, run: &Run) -> Result<Arc<Vec<Place>>, Obstacle> {
    let Places::Stored { at, count, crc } = run.places else {
        let Places::Memory(places) = &run.places else {
            return Err(Obstacle::Moved);
        };
        return Ok(Arc::clone(places));
    };
    let stored = match shared.fs.open(&segment.index_name()) {
        Ok(file) => sidecar::read_places(&*file, at, count, crc)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    match stored {
        Some(places) => Ok(Arc::new(places)),
        None => {
            tracing::warn!(
                segment = segment.number,
                "the index is damaged and is made anew"
            );
            reindex(shared, segment)?;
            Err(Obstacle::Moved)
        }
    }
}

/// The first kept offset whose event was accepted at `time` or later. Blocks.
pub(crate) fn offset_at(shared: &Shared, stream: &Stream, time: i64) -> Result<Offset, ReadError> {
    let mut from = 0;
    let mut tries = 0;
    loop {
        let run = {
            let state = stream.state.lock();
            if stream.is_closed() {
                return Err(ReadError::Closed);
            }
            match state
                .runs
                .from(from.max(state.trimmed))
                .find(|run| run.newest >= time)
            {
                Some(run) => run.clone(),
                None => return Ok(state.next),
            }
        };
        match find_in(shared, &run, time) {
            Ok(Some(offset)) => return Ok(offset),
            Ok(None) => from = run.end(),
            Err(Obstacle::Moved) if tries < TRIES => tries += 1,
            Err(Obstacle::Moved) => {
                return Err(ReadError::Io {
                    reason: "its segment was moved too often".into(),
                });
            }
            Err(Obstacle::Io(error)) => {
                return Err(ReadError::Io {
                    reason: error.to_string().into(),
                });
            }
        }
    }
}

fn find_in(shared: &Shared, run: &Run, time: i64) -> Result<Option<Offset>, Obstacle> {
    if run.oldest >= time {
        return Ok(Some(run.first));
    }
    let segment = shared
        .segments
        .lock()
        .get(&run.segment)
        .cloned()
        .ok_or(Obstacle::Moved)?;
    let places = places(shared, &segment, run)?;
    let file = shared.fs.open(&segment.file_name())?;
    for (place, offset) in run.own(&places).iter().zip(run.first..) {
        let mut head = [0; HEAD];
        file.read_at(&mut head, u64::from(place.at))?;
        if format::head(&head, segment.number).is_some_and(|head| head.accepted >= time) {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// All records of a run that can be read. None when the run has moved.
pub(crate) fn read_whole(
    shared: &Shared,
    stream: &Stream,
    run: &Run,
) -> io::Result<Option<Vec<Record>>> {
    let all = ReadLimit {
        records: usize::MAX,
        bytes: usize::MAX,
    };
    match read_run(shared, stream, run, run.first, all) {
        Ok((records, _)) => Ok(Some(records)),
        Err(Obstacle::Moved) => Ok(None),
        Err(Obstacle::Io(error)) => Err(error),
    }
}
