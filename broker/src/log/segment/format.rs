//! The bytes of segments: headers and frames. See the parent module for the layout.
//!
//! Pure functions; nothing here reads or writes files. Decoding never trusts a length or a
//! position that it has not checked.

use crate::log::Offset;

/// The version of everything that this module writes.
pub(crate) const VERSION: u32 = 1;
/// Where frames start in a segment.
pub(crate) const FRAMES_AT: u64 = 1024;
/// Where the second copy of the segment header stands.
pub(crate) const SECOND_HEADER_AT: u64 = 512;
/// The length of a frame's head.
pub(crate) const HEAD: usize = 48;
/// Frames start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// The length of a segment header.
pub(crate) const SEGMENT_HEADER: usize = 36;

const SEGMENT_MAGIC: [u8; 8] = *b"HEDLSEG\0";

/// The frame is the first of its unit.
pub(crate) const FIRST_OF_UNIT: u8 = 1;
/// The frame was moved from an older segment.
pub(crate) const MOVED: u8 = 2;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A packed event.
    Event,
    /// The state of a stream.
    Stream,
    /// The end of a closed log.
    End,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) len: u32,
    pub(crate) payload_crc: u32,
    pub(crate) stream: u32,
    pub(crate) left: u32,
    pub(crate) offset: Offset,
    pub(crate) accepted: i64,
    pub(crate) group: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
}

/// How many bytes a frame with such a payload takes.
pub(crate) const fn frame_len(payload: usize) -> usize {
    HEAD + payload.next_multiple_of(ALIGN)
}

/// The low half of the segment number, which frames carry.
#[allow(clippy::cast_possible_truncation)] // The low half is what is wanted.
pub(crate) const fn epoch(segment: u64) -> u32 {
    segment as u32
}

fn head_crc(segment: u64, head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), head)
}

/// Appends a frame to `out`. `head.len` and `head.payload_crc` are computed here; the payload must
/// be shorter than 4 GiB, which the largest segment is too.
pub(crate) fn put_frame(out: &mut Vec<u8>, segment: u64, head: &Head, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = [0_u8; HEAD];
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8..12].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    bytes[12..16].copy_from_slice(&epoch(segment).to_le_bytes());
    bytes[16..20].copy_from_slice(&head.stream.to_le_bytes());
    bytes[20..24].copy_from_slice(&head.left.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.offset.to_le_bytes());
    bytes[32..40].copy_from_slice(&head.accepted.to_le_bytes());
    bytes[40..44].copy_from_slice(&head.group.to_le_bytes());
    bytes[44] = match head.kind {
        Kind::Event => 1,
        Kind::Stream => 2,
        Kind::End => 3,
    };
    bytes[45] = head.flags;
    let crc = head_crc(segment, &bytes[4..]);
    bytes[0..4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&bytes);
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(ALIGN), 0);
}

/// Reads the head at the start of `bytes`. None where there is no head that is valid in `segment`.
pub(crate) fn head(bytes: &[u8], segment: u64) -> Option<Head> {
    let bytes: &[u8; HEAD] = bytes.first_chunk()?;
    // Most candidates in a scan fail here, before a checksum is computed.
    if u32_at(bytes, 12) != epoch(segment) || head_crc(segment, &bytes[4..]) != u32_at(bytes, 0) {
        return None;
    }
    Some(Head {
        len: u32_at(bytes, 4),
        payload_crc: u32_at(bytes, 8),
        stream: u32_at(bytes, 16),
        left: u32_at(bytes, 20),
        offset: u64_at(bytes, 24),
        accepted: u64_at(bytes, 32).cast_signed(),
        group: u32_at(bytes, 40),
        kind: match bytes[44] {
            1 => Kind::Event,
            2 => Kind::Stream,
            3 => Kind::End,
            _ => return None,
        },
        flags: bytes[45],
    })
}

/// The payload of the frame at the start of `bytes`, if it is whole and undamaged.
pub(crate) fn payload<'a>(bytes: &'a [u8], head: &Head) -> Option<&'a [u8]> {
    let payload = bytes.get(HEAD..)?.get(..head.len as usize)?;
    (crc32c::crc32c(payload) == head.payload_crc).then_some(payload)
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) segment: u64,
    pub(crate) capacity: u64,
    pub(crate) next_stream: u32,
}

/// A segment was written by a later version of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {0} of the segment format is newer than this program reads ({VERSION})")]
pub(crate) struct NewerVersion(pub(crate) u32);

impl SegmentHeader {
    /// The bytes from the start of the file to the first frame, both copies included.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(SEGMENT_HEADER);
        copy.extend_from_slice(&SEGMENT_MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&self.next_stream.to_le_bytes());
        copy.extend_from_slice(&self.segment.to_le_bytes());
        copy.extend_from_slice(&self.capacity.to_le_bytes());
        let crc = crc32c::crc32c(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        let mut out = copy.clone();
        out.resize(512, 0);
        out.extend_from_slice(&copy);
        out.resize(1024, 0);
        out
    }

    /// Reads one copy. None when it is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, NewerVersion> {
        let Some(bytes) = bytes.first_chunk::<SEGMENT_HEADER>() else {
            return Ok(None);
        };
        if bytes[..8] != SEGMENT_MAGIC
            || crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]) != u32_at(bytes, SEGMENT_HEADER - 4)
        {
            return Ok(None);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(NewerVersion(version));
        }
        Ok(Some(Self {
            next_stream: u32_at(bytes, 12),
            segment: u64_at(bytes, 16),
            capacity: u64_at(bytes, 24),
        }))
    }
}

/// The u32 at a position, 0 past the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The u64 at a position, 0 past the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn sample() -> Head {
        Head {
            len: 5,
            payload_crc: crc32c::crc32c(b"hello"),
            stream: 3,
            left: 2,
            offset: 77,
            accepted: -5,
            group: 9,
            kind: Kind::Event,
            flags: FIRST_OF_UNIT,
        }
    }

    #[test]
    fn a_frame_comes_back_only_in_its_own_segment() {
        let mut out = Vec::new();
        put_frame(&mut out, 7, &sample(), b"hello");
        assert_eq!(out.len(), frame_len(5));
        let read = head(&out, 7).unwrap();
        assert_eq!(read, sample());
        assert_eq!(payload(&out, &read), Some(&b"hello"[..]));
        assert_eq!(head(&out, 8), None);
        assert_eq!(
            head(&out, 7 + (1 << 32)),
            None,
            "the same epoch, another segment"
        );
    }

    #[test]
    fn no_flipped_bit_of_a_frame_goes_unseen() {
        let mut out = Vec::new();
        put_frame(&mut out, 7, &sample(), b"hello");
        for bit in 0..(HEAD + 5) * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let intact = head(&bad, 7).is_some_and(|head| payload(&bad, &head).is_some());
            assert!(!intact, "bit {bit}");
        }
    }

    #[test]
    fn a_segment_header_stands_twice_and_refuses_newer_versions() {
        let header = SegmentHeader {
            segment: 5,
            capacity: 1 << 26,
            next_stream: 4,
        };
        let bytes = header.encode();
        assert_eq!(bytes.len() as u64, FRAMES_AT);
        assert_eq!(SegmentHeader::decode(&bytes), Ok(Some(header)));
        assert_eq!(SegmentHeader::decode(&bytes[512..]), Ok(Some(header)));
        assert_eq!(SegmentHeader::decode(&bytes[1..]), Ok(None));
        assert_eq!(SegmentHeader::decode(&bytes[..20]), Ok(None));
        let mut newer = bytes[..SEGMENT_HEADER].to_vec();
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..32]);
        newer[32..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(NewerVersion(2)));
    }
}
