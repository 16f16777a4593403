//! Predicates and events, as keys of hash tables.
//!
//! A predicate becomes one or more keys; an event has a predicate's attribute in such a way that
//! the predicate holds if and only if one of the keys that the attribute gives is among them. (Two
//! values may share a key by chance. That makes a filter a candidate in vain, and no more.) Numbers
//! are looked up by their leading bits: a range is cut into the blocks of numbers that share them, of
//! which there are at most 62, and a number is in one block of each size.
//!
//! Each kind of key is a [`Probe`]. An event is only asked for keys of the probes that are in use,
//! so that their number is bounded: of the lengths of prefixes and suffixes, only some are
//! used, and a longer text is looked up by as much of it.

use std::hash::{BuildHasher, Hasher};

use super::condition::{Predicate, Test, Wanted};
use crate::event::{Attribute, Event};
use crate::filter::cesql::Value;

/// Makes keys. The same for an index and its snapshots. Seeded by chance, so that nobody can choose
/// texts that share a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(foldhash::quality::RandomState);

/// What of an attribute is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Probe {
    /// That it is there.
    Present,
    /// The value as a Boolean.
    Truth,
    /// The value as an Integer, without so many of its lower bits.
    Number(u8),
    /// The text.
    Text,
    /// So many bytes at the beginning of the text.
    Prefix(usize),
    /// So many bytes at the end of the text.
    Suffix(usize),
}

/// What there is to know of one attribute of an event.
#[derive(Debug)]
pub(super) struct Fact<'e> {
    /// The key of the name.
    pub(super) name: u64,
    text: &'e str,
    text_key: u64,
    /// The text that CESQL sees, where it is another one: an Integer that was spelled unusually.
    canonical: Option<String>,
    number: Option<i32>,
    truth: Option<bool>,
}

/// Every key that is not hashed is spread over the whole range, because tables look at the upper
/// bits first. No two numbers share a key.
pub(super) fn scatter(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The bits of a number in the order of numbers.
fn ordered(number: i32) -> u32 {
    number.cast_unsigned() ^ (1 << 31)
}

/// The longest length that is looked up of a text of this many bytes: all up to 32, then fewer and
/// fewer, so that there are some fifty in all.
fn looked_up(len: usize) -> usize {
    match len {
        0..=32 => len,
        33..=256 => len / 32 * 32,
        _ => 1 << len.ilog2(),
    }
}

impl Keys {
    pub(super) fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    /// Shows all keys of a predicate; each once.
    pub(super) fn of(&self, predicate: &Predicate<'_>) -> Vec<(Probe, u64)> {
        let mut all = match &predicate.test {
            Test::Present => vec![(Probe::Present, 0)],
            Test::OneOf(values) => values
                .iter()
                .map(|value| match value {
                    Wanted::Text(text) => (Probe::Text, self.bytes(text.as_bytes())),
                    Wanted::Number(number) => number_key(*number, 0),
                    Wanted::Truth(flag) => (Probe::Truth, scatter(u64::from(*flag))),
                })
                .collect(),
            Test::Range(from, to) => blocks(*from, *to).collect(),
            Test::Prefix(text) => {
                let len = looked_up(text.len());
                let head = text.as_bytes().get(..len).unwrap_or_default();
                vec![(Probe::Prefix(len), self.bytes(head))]
            }
            Test::Suffix(text) => {
                let len = looked_up(text.len());
                let tail = text.as_bytes().get(text.len() - len..).unwrap_or_default();
                vec![(Probe::Suffix(len), self.bytes(tail))]
            }
        };
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The facts of an event, in place of what `facts` held.
    pub(super) fn facts<'e>(&self, event: &'e Event, facts: &mut Vec<Fact<'e>>) {
        let version = event.attribute("specversion");
        facts.extend(
            event
                .attributes()
                .chain(version)
                .map(|attribute| self.fact(&attribute)),
        );
    }

    pub(super) fn fact<'e>(&self, attribute: &Attribute<'e>) -> Fact<'e> {
        let value = Value::of(attribute);
        let text = attribute.text;
        Fact {
            name: self.bytes(attribute.name.as_bytes()),
            text,
            text_key: self.bytes(text.as_bytes()),
            canonical: value.with_text(|seen| (seen != text).then(|| seen.to_owned())),
            number: value.to_integer(),
            truth: value.to_boolean(),
        }
    }
}

impl Fact<'_> {
    /// Shows the keys of one kind that the attribute gives.
    pub(super) fn keys(&self, probe: Probe, keys: &Keys, mut look: impl FnMut(u64)) {
        match probe {
            Probe::Present => look(0),
            Probe::Truth => {
                if let Some(flag) = self.truth {
                    look(scatter(u64::from(flag)));
                }
            }
            Probe::Number(shift) => {
                if let Some(number) = self.number {
                    look(number_key(number, shift).1);
                }
            }
            Probe::Text => {
                look(self.text_key);
                if let Some(text) = &self.canonical {
                    look(keys.bytes(text.as_bytes()));
                }
            }
            Probe::Prefix(len) => self.parts(|bytes| bytes.get(..len), keys, look),
            Probe::Suffix(len) => {
                self.parts(
                    |bytes| bytes.get(bytes.len().checked_sub(len)?..),
                    keys,
                    look,
                );
            }
        }
    }

    fn parts(&self, part: impl Fn(&[u8]) -> Option<&[u8]>, keys: &Keys, mut look: impl FnMut(u64)) {
        for text in std::iter::once(self.text).chain(self.canonical.as_deref()) {
            if let Some(part) = part(text.as_bytes()) {
                look(keys.bytes(part));
            }
        }
    }
}

fn number_key(number: i32, shift: u8) -> (Probe, u64) {
    let block = u64::from(ordered(number)) >> shift;
    (Probe::Number(shift), scatter(block))
}

/// The largest blocks of which a range consists.
pub(super) fn blocks(from: i32, to: i32) -> impl Iterator<Item = (Probe, u64)> {
    let (mut from, end) = (u64::from(ordered(from)), u64::from(ordered(to)) + 1);
    std::iter::from_fn(move || {
        if from >= end {
            return None;
        }
        // As large as the range still is, and as it is aligned.
        let room = (end - from).ilog2();
        let shift = from.trailing_zeros().min(room);
        let block = (
            Probe::Number(u8::try_from(shift).unwrap_or_default()),
            scatter(from >> shift),
        );
        from += 1 << shift;
        Some(block)
    })
}

/// A range around another that consists of at most so many blocks, at least one.
pub(super) fn around(from: i32, to: i32, most: usize) -> (i32, i32) {
    let number = |bits: u32| (bits ^ (1 << 31)).cast_signed();
    let rounded = |bits: u32| {
        let rest = (1 << bits) - 1;
        (number(ordered(from) & !rest), number(ordered(to) | rest))
    };
    (0..u32::BITS)
        .map(rounded)
        .find(|(from, to)| blocks(*from, *to).count() <= most)
        .unwrap_or((i32::MIN, i32::MAX))
}
