//! The index file of a sealed segment. See the parent module for the layout.
//!
//! It can be lost: a scan of the segment makes it anew. Its head (the runs) is read when the store
//! opens; places are read when records of their run are, and checked by a checksum of their own.

use std::io;
use std::sync::Arc;

use super::format::{VERSION, u32_at, u64_at};
use super::fs::SegmentFile;
use super::index::{Place, Places, Run};

const MAGIC: [u8; 8] = *b"HEDLIDX\0";
const FIXED: usize = 32;
const RUN: usize = 56;
const PLACE: usize = 8;

/// What the head of an index file says.
#[derive(Debug)]
pub(crate) struct Sidecar {
    /// Where the frames of the segment end.
    pub(crate) end: u64,
    /// The runs, each with the id of its stream.
    pub(crate) runs: Vec<(u32, Run)>,
}

/// Makes an index file of runs with their places. Returns its bytes, and the places of the runs as
/// they are found in it.
pub(crate) fn encode(
    segment: u64,
    end: u64,
    runs: &[(u32, Run, Arc<Vec<Place>>)],
) -> (Vec<u8>, Vec<Places>) {
    let mut out = Vec::new();
    let mut body = Vec::new();
    let mut stored = Vec::with_capacity(runs.len());
    let places_at = FIXED + runs.len() * RUN + 4;
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&u32::try_from(runs.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&segment.to_le_bytes());
    out.extend_from_slice(&end.to_le_bytes());
    for (stream, run, places) in runs {
        let at = (places_at + body.len()) as u64;
        let start = body.len();
        for place in run.own(places) {
            body.extend_from_slice(&place.at.to_le_bytes());
            body.extend_from_slice(&place.len.to_le_bytes());
        }
        let crc = crc32c::crc32c(&body[start..]);
        out.extend_from_slice(&stream.to_le_bytes());
        out.extend_from_slice(&run.count.to_le_bytes());
        out.extend_from_slice(&run.first.to_le_bytes());
        out.extend_from_slice(&run.bytes.to_le_bytes());
        out.extend_from_slice(&run.oldest.to_le_bytes());
        out.extend_from_slice(&run.newest.to_le_bytes());
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        stored.push(Places::Stored {
            at,
            count: run.count,
            crc,
        });
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&body);
    (out, stored)
}

/// Reads the head of an index file. None when it is damaged or of another segment.
pub(crate) fn read(file: &dyn SegmentFile, segment: u64) -> io::Result<Option<Sidecar>> {
    let mut fixed = [0; FIXED];
    if file.read_at(&mut fixed, 0)? < FIXED
        || !fixed.starts_with(&MAGIC)
        || u32_at(&fixed, 8) != VERSION
        || u64_at(&fixed, 16) != segment
    {
        return Ok(None);
    }
    let count = u32_at(&fixed, 12) as usize;
    let len = FIXED + count.saturating_mul(RUN) + 4;
    if len as u64 > file.len()? {
        return Ok(None);
    }
    let mut head = vec![0; len];
    if file.read_at(&mut head, 0)? < len {
        return Ok(None);
    }
    let Some((body, crc)) = head.split_last_chunk::<4>() else {
        return Ok(None);
    };
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Ok(None);
    }
    let mut runs = Vec::with_capacity(count);
    for bytes in body[FIXED..].chunks_exact(RUN) {
        let count = u32_at(bytes, 4);
        let places = Places::Stored {
            at: u64_at(bytes, 40),
            count,
            crc: u32_at(bytes, 48),
        };
        let run = Run {
            first: u64_at(bytes, 8),
            count,
            segment,
            bytes: u64_at(bytes, 16),
            oldest: u64_at(bytes, 24).cast_signed(),
            newest: u64_at(bytes, 32).cast_signed(),
            places,
            skip: 0,
        };
        runs.push((u32_at(bytes, 0), run));
    }
    Ok(Some(Sidecar {
        end: u64_at(body, 24),
        runs,
    }))
}

/// Reads places. None when they are damaged.
pub(crate) fn read_places(
    file: &dyn SegmentFile,
    at: u64,
    count: u32,
    crc: u32,
) -> io::Result<Option<Vec<Place>>> {
    let mut bytes = vec![0; count as usize * PLACE];
    if file.read_at(&mut bytes, at)? < bytes.len() || crc32c::crc32c(&bytes) != crc {
        return Ok(None);
    }
    let places = bytes.chunks_exact(PLACE);
    Ok(Some(
        places
            .map(|b| Place {
                at: u32_at(b, 0),
                len: u32_at(b, 4),
            })
            .collect(),
    ))
}
