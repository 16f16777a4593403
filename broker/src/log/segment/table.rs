//! The stream table: which streams there are, and what must be known of a stream when none of its
//! events are left.
//!
//! It is kept in stream frames (at the start of each segment and where something changes) and in
//! the manifest. The copies are merged: each of the values only grows.

use std::collections::BTreeMap;

use super::format::{VERSION, u32_at, u64_at};
use crate::log::Offset;

/// The manifest's file name.
pub(crate) const MANIFEST: &str = "manifest";
/// The longest manifest that is read: a million streams with long names.
pub(crate) const MANIFEST_LIMIT: u64 = 1 << 30;

const MAGIC: [u8; 8] = *b"HEDLMAN\0";
const STATE_REMOVED: u8 = 1;

/// What the store knows of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// No offset from here on was given to an event.
    pub(crate) next: Offset,
    /// Everything below was removed by retention.
    pub(crate) trimmed: Offset,
    /// The segment that was written when the stream was removed. No later one has events of it.
    pub(crate) removed_in: Option<u64>,
}

impl Entry {
    /// Takes what another copy knows better.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.next = self.next.max(other.next);
        self.trimmed = self.trimmed.max(other.trimmed);
        self.removed_in = self.removed_in.max(other.removed_in);
        if self.name.is_empty() {
            self.name.clone_from(&other.name);
        }
    }

    /// The payload of the stream's frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.name.len());
        out.extend_from_slice(&self.trimmed.to_le_bytes());
        out.push(if self.removed_in.is_some() {
            STATE_REMOVED
        } else {
            0
        });
        out.extend_from_slice(self.name.as_bytes());
        out
    }

    /// Reads the payload of a stream's frame that stands in `segment`.
    pub(crate) fn decode(payload: &[u8], next: Offset, segment: u64) -> Option<Self> {
        let (head, name) = payload.split_at_checked(9)?;
        Some(Self {
            name: std::str::from_utf8(name).ok()?.to_owned(),
            next,
            trimmed: u64_at(head, 0),
            removed_in: (head[8] == STATE_REMOVED).then_some(segment),
        })
    }
}

/// All streams, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) streams: BTreeMap<u32, Entry>,
    /// No stream has this id or a higher one.
    pub(crate) next_stream: u32,
}

impl Table {
    /// Merges what one copy says of a stream.
    pub(crate) fn merge(&mut self, id: u32, entry: &Entry) {
        self.next_stream = self.next_stream.max(id.saturating_add(1));
        self.streams.entry(id).or_default().merge(entry);
    }
}

/// The manifest: the table, and the newest segment when it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) table: Table,
    pub(crate) newest: u64,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.table.next_stream.to_le_bytes());
        out.extend_from_slice(&self.newest.to_le_bytes());
        let count = u32::try_from(self.table.streams.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for (id, entry) in &self.table.streams {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&entry.next.to_le_bytes());
            out.extend_from_slice(&entry.trimmed.to_le_bytes());
            out.push(if entry.removed_in.is_some() {
                STATE_REMOVED
            } else {
                0
            });
            out.extend_from_slice(&entry.removed_in.unwrap_or(0).to_le_bytes());
            // Names have 512 bytes at most.
            let len = u16::try_from(entry.name.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(entry.name.as_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a manifest. None when it is damaged, or newer than this program.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc)
            || !body.starts_with(&MAGIC)
            || u32_at(body, 8) != VERSION
        {
            return None;
        }
        let mut manifest = Self {
            newest: u64_at(body, 16),
            ..Self::default()
        };
        let mut rest = body.get(28..)?;
        for _ in 0..u32_at(body, 24) {
            let (head, after) = rest.split_at_checked(31)?;
            let len = usize::from(u16::from_le_bytes([head[29], head[30]]));
            let (name, after) = after.split_at_checked(len)?;
            let entry = Entry {
                name: std::str::from_utf8(name).ok()?.to_owned(),
                next: u64_at(head, 4),
                trimmed: u64_at(head, 12),
                removed_in: (head[20] == STATE_REMOVED).then(|| u64_at(head, 21)),
            };
            manifest.table.merge(u32_at(head, 0), &entry);
            rest = after;
        }
        manifest.table.next_stream = manifest.table.next_stream.max(u32_at(body, 12));
        Some(manifest)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let mut table = Table {
            next_stream: 9,
            ..Table::default()
        };
        let entry = Entry {
            name: "default/b".into(),
            next: 7,
            trimmed: 3,
            removed_in: None,
        };
        table.merge(2, &entry);
        table.merge(
            4,
            &Entry {
                removed_in: Some(6),
                ..entry
            },
        );
        Manifest { table, newest: 12 }
    }

    #[test]
    fn a_manifest_comes_back_or_not_at_all() {
        let bytes = sample().encode();
        assert_eq!(Manifest::decode(&bytes), Some(sample()));
        for len in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..len]), None, "cut to {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Manifest::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn a_merged_entry_knows_the_most() {
        let mut entry = Entry {
            name: "a".into(),
            next: 5,
            trimmed: 1,
            removed_in: None,
        };
        entry.merge(&Entry {
            name: "a".into(),
            next: 4,
            trimmed: 2,
            removed_in: None,
        });
        assert_eq!((entry.next, entry.trimmed), (5, 2));
        assert_eq!(Entry::decode(&entry.encode(), 5, 1), Some(entry));
    }
}
