//! How far a consumer has come: which offsets of its log it is done with.
//!
//! Deliveries finish out of order, and most events of a log are not wanted by most of its
//! consumers. A [`Cursor`] therefore keeps one offset, below which everything has been looked at,
//! and the few offsets below it that are still to be finished:
//!
//! ```text
//!          floor                               next
//!            |                                  |
//!   done     v open  done  open open   done     v  not looked at
//!  ----------+-------------------------------------------------
//! ```
//!
//! The open offsets are also what has to be delivered again after a restart. What is done above
//! the floor is their complement ([`Cursor::completed`]), so that its size is bounded by the
//! number of open offsets, however many events were passed over.
//!
//! # Laws
//!
//! 1. An offset below `floor` is done. `floor` and `next` never move backwards.
//! 2. An offset is open from its [`Cursor::begin`] to its [`Cursor::complete`], and only then.
//! 3. What was encoded is decoded to an equal cursor.
//!
//! The number of open offsets is bounded by the caller's window; [`MAX_OPEN`] is the most that a
//! stored cursor may have.

use std::collections::BTreeSet;
use std::ops::Range;

use heddle_broker::log::Offset;

#[cfg(test)]
mod tests;

/// The most open offsets that a stored cursor may have: far above any window.
pub const MAX_OPEN: usize = 1 << 20;

const LAYOUT: u8 = 1;

/// A position with its unfinished offsets. See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    next: Offset,
    open: BTreeSet<Offset>,
}

/// Bytes are not a stored cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a stored cursor: {0}")]
pub struct DecodeError(&'static str);

impl Cursor {
    /// A cursor that is done with everything below `next`.
    #[must_use]
    pub const fn at(next: Offset) -> Self {
        Self {
            next,
            open: BTreeSet::new(),
        }
    }

    /// The offset of the first event that has not been looked at.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Everything below this offset is done.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// The open offsets, ascending.
    pub fn open(&self) -> impl Iterator<Item = Offset> + '_ {
        self.open.iter().copied()
    }

    /// How many offsets are open.
    #[must_use]
    pub fn open_len(&self) -> usize {
        self.open.len()
    }

    /// Whether the offset is open.
    #[must_use]
    pub fn is_open(&self, offset: Offset) -> bool {
        self.open.contains(&offset)
    }

    /// Whether this is done with the offset: it was looked at and is not open.
    #[must_use]
    pub fn is_done(&self, offset: Offset) -> bool {
        offset < self.next && !self.is_open(offset)
    }

    /// How many of these offsets it is not done with.
    #[must_use]
    pub fn left(&self, offsets: Range<Offset>) -> u64 {
        let unseen = offsets.end.saturating_sub(self.next.max(offsets.start));
        if offsets.is_empty() {
            return 0;
        }
        unseen + self.open.range(offsets).count() as u64
    }

    /// The first open offset at `from` or above.
    #[must_use]
    pub fn open_from(&self, from: Offset) -> Option<Offset> {
        self.open.range(from..).next().copied()
    }

    /// Opens an offset that has not been looked at, and passes over those before it. False, and
    /// nothing changed, for an offset below `next`.
    pub fn begin(&mut self, offset: Offset) -> bool {
        if offset < self.next {
            return false;
        }
        self.open.insert(offset);
        self.next = offset.saturating_add(1);
        true
    }

    /// Passes over everything up to `to`: nothing in between is wanted, or it is gone.
    pub fn pass(&mut self, to: Offset) {
        self.next = self.next.max(to);
    }

    /// Finishes an open offset. False for one that is not open.
    pub fn complete(&mut self, offset: Offset) -> bool {
        self.open.remove(&offset)
    }

    /// The ranges between `floor` and `next` that are done, ascending.
    pub fn completed(&self) -> impl Iterator<Item = Range<Offset>> + '_ {
        let starts = self.open.iter().map(|open| open + 1);
        let ends = self.open.iter().skip(1).copied().chain([self.next]);
        starts
            .zip(ends)
            .map(|(start, end)| start..end)
            .filter(|range| !range.is_empty())
    }

    /// The stored form: a layout byte, then `next`, the number of open offsets, the first of them
    /// and each one's distance from the one before, all as LEB128.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 2 * self.open.len());
        out.push(LAYOUT);
        put(&mut out, self.next);
        put(&mut out, self.open.len() as u64);
        let mut before = 0;
        for &offset in &self.open {
            put(&mut out, offset - before);
            before = offset;
        }
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// When the bytes are not what [`Cursor::encode`] makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (&layout, mut rest) = bytes.split_first().ok_or(DecodeError("empty"))?;
        if layout != LAYOUT {
            return Err(DecodeError("unknown layout"));
        }
        let next = take(&mut rest)?;
        let count = take(&mut rest)?;
        if count > MAX_OPEN as u64 {
            return Err(DecodeError("too many open offsets"));
        }
        let mut open = BTreeSet::new();
        let mut before: Offset = 0;
        for position in 0..count {
            let step = take(&mut rest)?;
            if position > 0 && step == 0 {
                return Err(DecodeError("an open offset twice"));
            }
            before = before
                .checked_add(step)
                .filter(|offset| *offset < next)
                .ok_or(DecodeError("an open offset that was not looked at"))?;
            open.insert(before);
        }
        if !rest.is_empty() {
            return Err(DecodeError("bytes after the end"));
        }
        Ok(Self { next, open })
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take(rest: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(DecodeError("cut off"))?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError("a number that is too large"))
}
