//! The patterns of LIKE (specification, section 3.4.3), matched in time linear in the text.
//!
//! A pattern is cut at its `%` into segments of fixed length. The first and the last are compared
//! with the ends of the text; those between are searched for from left to right, each behind the one
//! before, which finds a match wherever there is one. Plain segments are found by substring search;
//! segments with `_` by a bit-parallel automaton that moves one step a character and 64 places of
//! the segment a machine word. There is no backtracking.
//!
//! `\%` and `\_` stand for themselves; any other backslash does too.

use std::borrow::Cow;

use super::error::MAX_PATTERN;

const WORD: usize = 64;
const WORDS: usize = MAX_PATTERN / WORD;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// At least one. With exactly one, it is the whole text.
    segments: Box<[Segment]>,
}

/// What stands between two `%`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Characters that stand for themselves.
    Plain(Box<str>),
    /// Characters, and `_` (`None`) for any.
    Wild(Box<Wild>),
}

impl Pattern {
    /// Compiles a pattern. None where it has more than [`MAX_PATTERN`] characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        if text.chars().nth(MAX_PATTERN).is_some() {
            return None;
        }
        let mut segments = Vec::new();
        let mut places = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '%' => segments.push(Segment::new(&std::mem::take(&mut places))),
                '_' => places.push(None),
                '\\' => {
                    let escaped = chars.next_if(|next| matches!(next, '%' | '_'));
                    places.push(Some(escaped.unwrap_or('\\')));
                }
                _ => places.push(Some(c)),
            }
        }
        segments.push(Segment::new(&places));
        Some(Self {
            text: text.into(),
            segments: segments.into(),
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one text that matches, where the pattern has neither `%` nor `_`.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match &*self.segments {
            [Segment::Plain(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with which every text that matches begins. Empty where there is none.
    #[must_use]
    pub fn head(&self) -> Cow<'_, str> {
        match self.segments.first() {
            Some(Segment::Plain(text)) => Cow::Borrowed(text),
            Some(Segment::Wild(wild)) => wild.places.iter().map_while(|place| *place).collect(),
            None => Cow::Borrowed(""),
        }
    }

    /// The text with which every text that matches ends. Empty where there is none.
    #[must_use]
    pub fn tail(&self) -> Cow<'_, str> {
        match self.segments.last() {
            Some(Segment::Plain(text)) => Cow::Borrowed(text),
            Some(Segment::Wild(wild)) => {
                let fixed = wild.places.iter().rev().map_while(|place| *place).count();
                let places = wild.places.iter().skip(wild.places.len() - fixed);
                places.map_while(|place| *place).collect()
            }
            None => Cow::Borrowed(""),
        }
    }

    /// Whether the text matches. Looks at each byte of the text at most twice, and at each
    /// character once for every 64 places of a segment with `_`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some((head, rest)) = self.segments.split_first() else {
            return text.is_empty();
        };
        let Some(mut text) = head.strip_from_start(text) else {
            return false;
        };
        let Some((tail, middle)) = rest.split_last() else {
            return text.is_empty();
        };
        for segment in middle {
            match segment.skip_past(text) {
                Some(rest) => text = rest,
                None => return false,
            }
        }
        tail.is_at_end(text)
    }
}

impl Segment {
    fn new(places: &[Option<char>]) -> Self {
        match places.iter().copied().collect::<Option<String>>() {
            Some(plain) => Self::Plain(plain.into()),
            None => Self::Wild(Box::new(Wild::new(places))),
        }
    }

    /// What follows the segment at the start of the text.
    fn strip_from_start<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Plain(plain) => text.strip_prefix(&**plain),
            Self::Wild(wild) => {
                let mut chars = text.chars();
                let fits = wild
                    .places
                    .iter()
                    .all(|place| chars.next().is_some_and(|c| place.is_none_or(|p| p == c)));
                fits.then_some(chars.as_str())
            }
        }
    }

    fn is_at_end(&self, text: &str) -> bool {
        match self {
            Self::Plain(plain) => text.ends_with(&**plain),
            Self::Wild(wild) => {
                let mut chars = text.chars().rev();
                let mut places = wild.places.iter().rev();
                places.all(|place| chars.next().is_some_and(|c| place.is_none_or(|p| p == c)))
            }
        }
    }

    /// What follows the first occurrence of the segment in the text.
    fn skip_past<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Plain(plain) => {
                let at = memchr::memmem::find(text.as_bytes(), plain.as_bytes())?;
                text.get(at + plain.len()..)
            }
            Self::Wild(wild) => wild.skip_past(text),
        }
    }
}

/// A segment with `_`, and where each character may stand in it, one bit for each place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wild {
    places: Box<[Option<char>]>,
    /// The places of `_`.
    any: Box<[u64]>,
    /// The places that each character fits, `_` included; in the order of the characters.
    fits: Box<[(char, Box<[u64]>)]>,
}

impl Wild {
    fn new(places: &[Option<char>]) -> Self {
        let words = places.len().div_ceil(WORD);
        let bits = |wanted: Option<char>| -> Box<[u64]> {
            let mut bits = vec![0; words];
            for (place, c) in places.iter().enumerate() {
                if (c.is_none() || *c == wanted)
                    && let Some(word) = bits.get_mut(place / WORD)
                {
                    *word |= 1 << (place % WORD);
                }
            }
            bits.into()
        };
        let mut chars: Vec<char> = places.iter().copied().flatten().collect();
        chars.sort_unstable();
        chars.dedup();
        Self {
            places: places.into(),
            any: bits(None),
            fits: chars.into_iter().map(|c| (c, bits(Some(c)))).collect(),
        }
    }

    fn skip_past<'t>(&self, text: &'t str) -> Option<&'t str> {
        let last = self.places.len().checked_sub(1)?;
        let mut state = [0_u64; WORDS];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let fits = match self.fits.binary_search_by_key(&c, |(known, _)| *known) {
                Ok(at) => self.fits.get(at).map_or(&*self.any, |(_, bits)| bits),
                Err(_) => &self.any,
            };
            let mut carry = 1;
            for (word, fits) in state.iter_mut().zip(fits) {
                let out = *word >> (WORD - 1);
                *word = ((*word << 1) | carry) & fits;
                carry = out;
            }
            if state
                .get(last / WORD)
                .is_some_and(|word| word >> (last % WORD) & 1 == 1)
            {
                return Some(chars.as_str());
            }
        }
        None
    }
}
