//! Opens what an earlier life of the store left behind. See the parent module for the rules.
//!
//! Nothing that is found here stops the store from opening, but a device that fails and files of
//! a later version.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::encode::table_len;
use super::format::{FIRST_OF_UNIT, Kind, MOVED, SEGMENT_HEADER, SegmentHeader, frame_len};
use super::fs::{self, FileSystem, SegmentFile};
use super::index::{Indexed, Place, Run, RunLimit, RunList};
use super::scan::{Frame, Scan, scan};
use super::shared::{Segment, Streams, index_name, segment_name};
use super::sidecar;
use super::stream::Stream;
use super::table::{Entry, MANIFEST, MANIFEST_LIMIT, Manifest, Table};

/// Runs that are found by scanning are kept short, since the age limits of their logs are not
/// known yet: ten minutes.
const SCANNED_SPAN: i64 = 600 * 1_000_000;
/// The most that is copied of one damaged range.
const QUARANTINE: usize = 16 << 20;
/// The shortest frame of an event.
const SHORTEST: u64 = frame_len(8) as u64;

/// What a store starts with.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) streams: Streams,
    pub(crate) segments: BTreeMap<u64, Arc<Segment>>,
    pub(crate) newest: u64,
    pub(crate) spares: Vec<(String, Arc<dyn SegmentFile>)>,
    pub(crate) next_spare: u64,
    /// Segments without an index.
    pub(crate) unsealed: Vec<u64>,
    /// Bytes that were put into quarantine.
    pub(crate) quarantined: u64,
}

/// The names that were found, by what they are.
#[derive(Debug, Default)]
struct Files {
    segments: BTreeSet<u64>,
    indexes: BTreeSet<u64>,
    spares: BTreeMap<u64, String>,
}

/// What was read, before it is put together.
#[derive(Debug, Default)]
struct Found {
    table: Table,
    runs: HashMap<u32, RunList>,
    /// Offsets whose head was read but not their event: one past the highest, by stream.
    lost: HashMap<u32, BTreeSet<u64>>,
    scanned: BTreeSet<u64>,
    ends: BTreeMap<u64, u64>,
    damaged: Vec<(u64, Range<u64>)>,
    /// Frames of incomplete units, to be erased: segment and ranges.
    erase: Vec<(u64, Range<u64>)>,
    /// How many more events than were found may have been acknowledged at the end.
    unsure: u64,
}

/// Reads the directory.
pub(crate) fn recover(fs: &dyn FileSystem, capacity: u64) -> io::Result<Recovered> {
    let files = list(fs)?;
    let manifest = read_manifest(fs)?;
    if manifest.is_none() && !files.segments.is_empty() {
        tracing::warn!("the manifest is missing or damaged; reading all segments");
    }
    let mut found = read_segments(fs, &files, manifest.as_ref(), capacity)?;
    if manifest.is_some()
        && found
            .runs
            .keys()
            .any(|id| !found.table.streams.contains_key(id))
    {
        tracing::warn!("the manifest does not know all logs; reading all segments");
        found = read_segments(fs, &files, None, capacity)?;
    }
    if let Some(manifest) = &manifest {
        for (id, entry) in &manifest.table.streams {
            found.table.merge(*id, entry);
        }
        found.table.next_stream = found.table.next_stream.max(manifest.table.next_stream);
    }
    let present = files.segments.last().copied().unwrap_or(0);
    let newest = present.max(manifest.as_ref().map_or(0, |manifest| manifest.newest));
    if newest > present {
        tracing::error!(segment = newest, "the newest segment is missing");
        found.unsure = found.unsure.max(capacity / SHORTEST + 1);
    }
    let unsure = found.unsure > 0 || !found.erase.is_empty();
    let erase = std::mem::take(&mut found.erase);
    let damaged = std::mem::take(&mut found.damaged);
    let quarantined = quarantine(fs, &damaged)?;
    let mut recovered = Recovered {
        newest,
        quarantined,
        ..Recovered::default()
    };
    recovered.segments = found
        .ends
        .iter()
        .map(|(number, end)| (*number, Arc::new(Segment::new(*number, *end))))
        .collect();
    recovered.unsealed = found.scanned.iter().copied().collect();
    recovered.streams = streams(found);
    if unsure {
        settle(fs, &recovered, &erase)?;
    }
    spares(fs, &files, capacity, &mut recovered)?;
    Ok(recovered)
}

fn list(fs: &dyn FileSystem) -> io::Result<Files> {
    let mut files = Files::default();
    for name in fs.list()? {
        let number = |suffix| {
            let digits = name
                .strip_suffix(suffix)
                .filter(|digits| digits.len() == 16)?;
            u64::from_str_radix(digits, 16).ok()
        };
        if let Some(number) = number(".seg") {
            files.segments.insert(number);
        } else if let Some(number) = number(".idx") {
            files.indexes.insert(number);
        } else if let Some(number) = name
            .strip_prefix("spare-")
            .and_then(|rest| rest.strip_suffix(".seg")?.parse().ok())
        {
            files.spares.insert(number, name);
        } else if name.ends_with(".tmp") {
            fs.remove(&name)?;
        }
    }
    for orphan in files.indexes.difference(&files.segments) {
        tracing::error!(segment = orphan, "a segment is missing, its index is there");
        fs.remove(&index_name(*orphan))?;
    }
    Ok(files)
}

fn read_manifest(fs: &dyn FileSystem) -> io::Result<Option<Manifest>> {
    match fs.open(MANIFEST) {
        Ok(file) => Ok(Manifest::decode(&fs::read_all(&*file, MANIFEST_LIMIT)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_segments(
    fs: &dyn FileSystem,
    files: &Files,
    manifest: Option<&Manifest>,
    capacity: u64,
) -> io::Result<Found> {
    let mut found = Found::default();
    if let Some(manifest) = manifest {
        found.table = manifest.table.clone();
    }
    for &number in &files.segments {
        let file = fs.open(&segment_name(number))?;
        check_version(&*file)?;
        let mut sidecar = None;
        if manifest.is_some() && files.indexes.contains(&number) {
            sidecar = sidecar::read(&*fs.open(&index_name(number))?, number)?;
        }
        if let Some(sidecar) = sidecar {
            found.ends.insert(number, sidecar.end);
            for (stream, run) in sidecar.runs {
                found.runs.entry(stream).or_default().overlay(run);
            }
            continue;
        }
        // What a crash left in the system's cache becomes visible now, so it must stay.
        file.sync_data()?;
        let scan = scan(&*file, number, capacity)?;
        let is_last = files.segments.last() == Some(&number)
            && manifest.is_none_or(|manifest| manifest.newest <= number);
        found.take(number, scan, is_last, capacity);
    }
    Ok(found)
}

fn check_version(file: &dyn SegmentFile) -> io::Result<()> {
    let mut header = [0; SEGMENT_HEADER];
    file.read_at(&mut header, 0)?;
    SegmentHeader::decode(&header)
        .map(|_| ())
        .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))
}

impl Found {
    /// Takes in what a scan found.
    fn take(&mut self, number: u64, mut scan: Scan, is_last: bool, capacity: u64) {
        if let Some(header) = scan.header {
            self.table.next_stream = self.table.next_stream.max(header.next_stream);
        }
        if is_last {
            let closed = scan
                .frames
                .last()
                .is_some_and(|frame| frame.head.kind == Kind::End);
            if !scan.clean_end && !closed {
                tracing::error!(
                    segment = number,
                    at = scan.end,
                    "the end of the event log is torn; offsets are skipped"
                );
                let room = capacity.saturating_sub(scan.end);
                self.unsure = self.unsure.max(room / SHORTEST + 1);
            }
            // The head of a frame that is damaged does not say whose it was: any log may have
            // had its last events there.
            let explained = |range: &Range<u64>| {
                let lost = scan.lost.iter().filter(|(at, _)| range.contains(at));
                let lens = lost.map(|(_, head)| frame_len(head.len as usize) as u64);
                lens.sum::<u64>() == range.end - range.start
            };
            for range in scan.damaged.iter().filter(|range| !explained(range)) {
                self.unsure += (range.end - range.start) / SHORTEST + 1;
            }
            self.drop_incomplete(number, &mut scan);
        }
        for range in &scan.damaged {
            tracing::error!(segment = number, ?range, "damage in the event log");
        }
        self.damaged
            .extend(scan.damaged.iter().map(|range| (number, range.clone())));
        for (_, head) in &scan.lost {
            self.lost
                .entry(head.stream)
                .or_default()
                .insert(head.offset);
        }
        self.scanned.insert(number);
        self.ends.insert(number, scan.end);
        self.index(number, &scan.frames);
    }

    fn index(&mut self, number: u64, frames: &[Frame]) {
        let limit = RunLimit {
            span: SCANNED_SPAN,
            ..RunLimit::default()
        };
        let mut lists: HashMap<u32, Vec<RunList>> = HashMap::new();
        for frame in frames {
            let head = &frame.head;
            if let Some(entry) = &frame.entry {
                self.table.merge(head.stream, entry);
            }
            let Ok(at) = u32::try_from(frame.at) else {
                continue;
            };
            if head.kind != Kind::Event {
                continue;
            }
            let indexed = Indexed {
                offset: head.offset,
                accepted: head.accepted,
                place: Place { at, len: head.len },
            };
            // Moved records are older than those around them: a list of their own.
            let lists = lists.entry(head.stream).or_default();
            match lists.last_mut() {
                Some(list) if list.end().is_some_and(|end| end <= head.offset) => {
                    list.push(number, &indexed, &limit);
                }
                _ => {
                    let mut list = RunList::default();
                    list.push(number, &indexed, &limit);
                    lists.push(list);
                }
            }
        }
        for (stream, lists) in lists {
            let all = self.runs.entry(stream).or_default();
            for run in lists.iter().flat_map(RunList::iter) {
                all.overlay(run.clone());
            }
        }
    }

    /// Takes the frames out of units that are not complete. Only the last group can have such.
    fn drop_incomplete(&mut self, number: u64, scan: &mut Scan) {
        let group = scan.last_group();
        let in_question =
            |frame: &Frame| frame.head.group == group && frame.head.kind == Kind::Event;
        let mut kept = Vec::with_capacity(scan.frames.len());
        let mut frames = std::mem::take(&mut scan.frames).into_iter().peekable();
        while let Some(first) = frames.next() {
            if !in_question(&first) || first.head.flags & MOVED != 0 {
                kept.push(first);
                continue;
            }
            let mut unit = vec![first];
            while let Some(next) = frames.next_if(|next| follows(unit.last(), next)) {
                unit.push(next);
            }
            let is_whole = unit
                .first()
                .is_some_and(|f| f.head.flags & FIRST_OF_UNIT != 0)
                && unit.last().is_some_and(|f| f.head.left == 0);
            if is_whole {
                kept.append(&mut unit);
                continue;
            }
            for frame in unit {
                let end = frame.at + frame_len(frame.head.len as usize) as u64;
                self.erase.push((number, frame.at..end));
                scan.damaged.push(frame.at..end);
                scan.lost.push((frame.at, frame.head));
            }
        }
        scan.frames = kept;
    }
}

/// Copies damaged ranges, as far as there is anything in them. Returns how many bytes.
fn quarantine(fs: &dyn FileSystem, damaged: &[(u64, Range<u64>)]) -> io::Result<u64> {
    let mut total = 0;
    for (segment, range) in damaged {
        let len = usize::try_from(range.end - range.start)
            .unwrap_or(usize::MAX)
            .min(QUARANTINE);
        let mut bytes = vec![0; len];
        let read = fs
            .open(&segment_name(*segment))?
            .read_at(&mut bytes, range.start)?;
        bytes.truncate(read);
        total += fs::quarantine(fs, *segment, range.start, &bytes);
    }
    Ok(total)
}

/// Whether `next` is the frame of the same unit that comes directly after `last`.
fn follows(last: Option<&Frame>, next: &Frame) -> bool {
    last.is_some_and(|last| {
        last.at + frame_len(last.head.len as usize) as u64 == next.at
            && last.head.left == next.head.left + 1
            && last.head.stream == next.head.stream
            && last.head.group == next.head.group
            && last.head.offset + 1 == next.head.offset
            && next.head.kind == Kind::Event
            && next.head.flags & FIRST_OF_UNIT == 0
    })
}

/// Puts the logs together.
fn streams(mut found: Found) -> Streams {
    let ids: Vec<u32> = found
        .runs
        .keys()
        .chain(found.lost.keys())
        .copied()
        .collect();
    for id in ids {
        found.table.merge(id, &Entry::default());
    }
    let mut streams = Streams {
        next_id: found.table.next_stream,
        ..Streams::default()
    };
    for (id, mut entry) in found.table.streams {
        let mut runs = found.runs.remove(&id).unwrap_or_default();
        let lost = found.lost.remove(&id).unwrap_or_default();
        if entry.name.is_empty() {
            // All copies of its name are damaged. What it holds can still be read.
            entry.name = format!("lost-{id}");
        }
        entry.next = entry.next.max(runs.end().unwrap_or(0));
        entry.next = entry.next.max(lost.last().map_or(0, |last| last + 1));
        let mut damaged = damage_between(&runs, &found.scanned);
        damaged += lost
            .iter()
            .filter(|lost| runs.end().is_none_or(|end| **lost >= end))
            .count() as u64;
        entry.next += found.unsure;
        runs.cut(0, entry.trimmed);
        if entry.removed_in.is_some() {
            runs.clear();
        }
        let name = entry.name.clone();
        let is_removed = entry.removed_in.is_some();
        let stream = Arc::new(Stream::new(id, entry, runs, damaged, true));
        streams.encoded += table_len(&name);
        if !is_removed {
            streams.by_name.insert(name, Arc::clone(&stream));
        }
        streams.by_id.insert(id, stream);
    }
    streams
}

/// Offsets that are missing between records of the same scanned segment.
fn damage_between(runs: &RunList, scanned: &BTreeSet<u64>) -> u64 {
    let mut damaged = 0;
    let mut last: Option<&Run> = None;
    for run in runs.iter() {
        if let Some(last) = last
            && last.segment == run.segment
            && scanned.contains(&run.segment)
        {
            damaged += run.first - last.end();
        }
        last = Some(run);
    }
    damaged
}

/// Makes durable what was concluded from a torn end, and then removes what it was concluded from.
fn settle(
    fs: &dyn FileSystem,
    recovered: &Recovered,
    erase: &[(u64, Range<u64>)],
) -> io::Result<()> {
    let mut table = Table {
        next_stream: recovered.streams.next_id,
        ..Table::default()
    };
    for (id, stream) in &recovered.streams.by_id {
        table.streams.insert(*id, stream.entry());
    }
    let manifest = Manifest {
        table,
        newest: recovered.newest,
    };
    match fs::replace(fs, MANIFEST, &manifest.encode()) {
        Ok(()) => {}
        // The conclusions are drawn anew at the next start.
        Err(error) if fs::is_full(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    for (segment, range) in erase {
        let file = fs.open(&segment_name(*segment))?;
        let len = usize::try_from(range.end - range.start).unwrap_or(0);
        file.write_at(&vec![0; len], range.start)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Opens spares that have the size of a segment, and deletes the others.
fn spares(
    fs: &dyn FileSystem,
    files: &Files,
    capacity: u64,
    recovered: &mut Recovered,
) -> io::Result<()> {
    recovered.next_spare = files.spares.keys().last().map_or(0, |last| last + 1);
    for name in files.spares.values() {
        let file = fs.open(name)?;
        if file.len()? == capacity && recovered.spares.len() < 2 {
            recovered.spares.push((name.clone(), file));
        } else {
            fs.remove(name)?;
        }
    }
    Ok(())
}
