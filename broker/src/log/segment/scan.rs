//! Reads a whole segment, frame by frame, and finds its way past damage.
//!
//! Used when a segment has no usable index: after a crash for the newest one, and to rebuild.
//! What a scan finds depends on the bytes of the segment alone.

use std::io;
use std::ops::Range;

use super::format::{self, ALIGN, FRAMES_AT, HEAD, Head, Kind, SegmentHeader, frame_len};
use super::fs::SegmentFile;
use super::table::Entry;

/// How much of a segment is read at once.
const CHUNK: usize = 1 << 20;

/// One valid frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) at: u64,
    pub(crate) head: Head,
    /// What a stream frame says.
    pub(crate) entry: Option<Entry>,
}

/// What stands in a segment.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) header: Option<SegmentHeader>,
    /// Whether a copy of the header was damaged.
    pub(crate) header_damaged: bool,
    pub(crate) frames: Vec<Frame>,
    /// Where bytes between frames could not be read as frames.
    pub(crate) damaged: Vec<Range<u64>>,
    /// Heads of events in damaged ranges whose payload did not match, with their positions: what
    /// was lost there is known.
    pub(crate) lost: Vec<(u64, Head)>,
    /// Where the last frame ends.
    pub(crate) end: u64,
    /// Whether the bytes after the last frame are what the writer leaves there. When they are not,
    /// more may have stood there.
    pub(crate) clean_end: bool,
}

impl Scan {
    /// The highest group number.
    pub(crate) fn last_group(&self) -> u32 {
        self.frames
            .iter()
            .map(|frame| frame.head.group)
            .max()
            .unwrap_or(0)
    }
}

/// Scans `file` as the segment of that number.
///
/// # Errors
///
/// When the device fails, or ([`io::ErrorKind::Unsupported`]) the segment is of a newer version.
pub(crate) fn scan(file: &dyn SegmentFile, segment: u64, capacity: u64) -> io::Result<Scan> {
    let mut window = Window::new(file)?;
    let mut scan = Scan::default();
    read_header(&mut window, segment, &mut scan)?;
    let capacity = scan.header.map_or(capacity, |header| header.capacity);
    let mut at = FRAMES_AT;
    // Where the bytes started that are no frame, since the last frame.
    let mut bad_from = None;
    scan.end = at;
    while at + HEAD as u64 <= window.len {
        let (frame, next) = step(&mut window, segment, at, &mut scan.lost)?;
        match frame {
            Some(frame) => {
                if let Some(from) = bad_from.take() {
                    scan.damaged.push(from..at);
                }
                scan.end = next;
                scan.frames.push(frame);
            }
            None => {
                bad_from.get_or_insert(at);
            }
        }
        at = next;
    }
    let room = capacity.saturating_sub(scan.end);
    let after = window.get(scan.end, HEAD)?;
    scan.clean_end = room < HEAD as u64 || (after.len() == HEAD && is_zero(after));
    if !scan.clean_end {
        let from = scan.end;
        let len = window.get(from, frame_len(4096))?.len() as u64;
        scan.damaged.push(from..from + len);
    }
    Ok(scan)
}

fn read_header(window: &mut Window<'_>, segment: u64, scan: &mut Scan) -> io::Result<()> {
    for at in [0, format::SECOND_HEADER_AT] {
        let bytes = window.get(at, format::SEGMENT_HEADER)?;
        let header = SegmentHeader::decode(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        match header.filter(|header| header.segment == segment) {
            Some(header) => scan.header = Some(header),
            None => scan.header_damaged = true,
        }
    }
    Ok(())
}

/// Looks for a frame at `at`. Returns it, and where to look next.
fn step(
    window: &mut Window<'_>,
    segment: u64,
    at: u64,
    lost: &mut Vec<(u64, Head)>,
) -> io::Result<(Option<Frame>, u64)> {
    let bytes = window.get(at, HEAD)?;
    let Some(head) = format::head(bytes, segment) else {
        let step = window.skip_zeros(at)?;
        return Ok((None, at + step));
    };
    let len = frame_len(head.len as usize);
    let bytes = window.get(at, len)?;
    let Some(payload) = format::payload(bytes, &head) else {
        if head.kind == Kind::Event {
            lost.push((at, head));
        }
        // Where its length leads to a frame or to unused space, it is believed, so that nothing
        // inside of a payload is taken for a frame. In a torn group it may lead nowhere.
        let after = window.get(at + len as u64, HEAD)?;
        let believed = is_zero(after) || format::head(after, segment).is_some();
        return Ok((None, at + if believed { len } else { ALIGN } as u64));
    };
    let entry = match head.kind {
        Kind::Stream => match Entry::decode(payload, head.offset, segment) {
            Some(entry) => Some(entry),
            None => return Ok((None, at + ALIGN as u64)),
        },
        Kind::Event | Kind::End => None,
    };
    Ok((Some(Frame { at, head, entry }), at + len as u64))
}

/// A part of the file in memory.
struct Window<'a> {
    file: &'a dyn SegmentFile,
    len: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn SegmentFile) -> io::Result<Self> {
        Ok(Self {
            file,
            len: file.len()?,
            at: 0,
            bytes: Vec::new(),
        })
    }

    /// Up to `len` bytes at `at`, fewer at the end of the file.
    fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let len = self.len.saturating_sub(at).min(len as u64) as usize;
        let end = at + len as u64;
        if at < self.at || end > self.at + self.bytes.len() as u64 {
            let want = self.len.saturating_sub(at).min(len.max(CHUNK) as u64) as usize;
            self.bytes.resize(want, 0);
            let read = self.file.read_at(&mut self.bytes, at)?;
            self.bytes.truncate(read);
            self.at = at;
        }
        let from = (at - self.at) as usize;
        let to = (from + len).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    /// How far to the next position at which a head may stand: past a stretch of zeros in one
    /// step, because the unused part of a segment is all zeros.
    fn skip_zeros(&mut self, at: u64) -> io::Result<u64> {
        const BLOCK: usize = 4096;
        let mut skipped = 0;
        loop {
            let block = self.get(at + skipped, BLOCK)?;
            if block.len() < BLOCK || !is_zero(block) {
                // A head may start in the last bytes of the zeros: its checksum may end in zeros.
                let back = if skipped == 0 { 0 } else { HEAD as u64 };
                return Ok((skipped - back.min(skipped)).max(ALIGN as u64));
            }
            skipped += BLOCK as u64;
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
