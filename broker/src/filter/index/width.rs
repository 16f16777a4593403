//! How many places one filter takes in the index, and how they are kept few.
//!
//! A branch is filed under one of its predicates after the other, each time in a bucket for every
//! key, so that it takes at most as many places as the product of its predicates' keys. The *width*
//! of a condition is the sum of that over its branches. It bounds what it costs to file a filter, to
//! remove it and to keep it, and is itself bounded by [`MAX_WIDTH`]: what is wider is weakened, which
//! is always sound.
//!
//! - A range becomes one around it that consists of fewer blocks.
//! - A set of numbers becomes the range from the least to the greatest.
//! - A set of texts becomes the beginning that they share.
//!
//! Predicates of few keys are kept before those of many.

use std::borrow::Cow;

use super::condition::{Branch, Condition, Predicate, Test, Wanted};
use super::facts::{around, blocks};

/// The most places of one filter. Of 128 places an update took 1.3 ms beside 100,000 filters as wide.
pub(super) const MAX_WIDTH: usize = 64;

impl<'f> Condition<'f> {
    /// The same, or a weaker condition that is not too wide.
    pub(super) fn bounded(self) -> Self {
        let width = self.branches().iter().map(places).sum::<usize>();
        if width <= MAX_WIDTH {
            return self;
        }
        let each = (MAX_WIDTH / self.branches().len()).max(1);
        let narrow = |branch| Self::branch(narrow(branch, each));
        self.into_branches()
            .map(narrow)
            .fold(Self::never(), Self::or)
    }
}

/// How many places a branch takes at the most, counted up to more than enough.
fn places(branch: &Branch<'_>) -> usize {
    let widths = branch.iter().map(Predicate::width);
    widths.fold(1, |all, width| (all * width).min(MAX_WIDTH + 1))
}

/// A weaker branch that takes at most so many places, at least one.
fn narrow(mut branch: Branch<'_>, most: usize) -> Branch<'_> {
    branch.sort_by_key(Predicate::width);
    let mut left = most;
    branch.retain_mut(|predicate| {
        predicate.weaken(left);
        left /= predicate.width();
        !predicate.is_given()
    });
    branch
}

impl Predicate<'_> {
    /// How many keys it has at the most.
    fn width(&self) -> usize {
        match &self.test {
            Test::Present | Test::Prefix(_) | Test::Suffix(_) => 1,
            Test::OneOf(values) => values.len(),
            Test::Range(from, to) => blocks(*from, *to).count(),
        }
    }

    /// Makes it one of at most so many keys, at least one, that holds wherever it did.
    pub(super) fn weaken(&mut self, most: usize) {
        if self.width() <= most {
            return;
        }
        let range = match &self.test {
            Test::Range(from, to) => Some((*from, *to)),
            Test::OneOf(values) => span(values),
            Test::Present | Test::Prefix(_) | Test::Suffix(_) => None,
        };
        self.test = match (range, &self.test) {
            (Some((from, to)), _) => {
                let (from, to) = around(from, to, most);
                Test::Range(from, to)
            }
            (None, Test::OneOf(values)) => match shared(values) {
                Some(head) => Test::Prefix(head),
                None => Test::Present,
            },
            (None, _) => Test::Present,
        };
    }
}

/// The least and the greatest, where all are numbers.
fn span(values: &[Wanted<'_>]) -> Option<(i32, i32)> {
    values
        .iter()
        .try_fold((i32::MAX, i32::MIN), |(from, to), value| {
            let Wanted::Number(number) = value else {
                return None;
            };
            Some((from.min(*number), to.max(*number)))
        })
}

/// The text with which all begin, where all are texts and there is one.
fn shared<'f>(values: &[Wanted<'f>]) -> Option<Cow<'f, str>> {
    let mut texts = values.iter().map(|value| match value {
        Wanted::Text(text) => Some(text),
        Wanted::Number(_) | Wanted::Truth(_) => None,
    });
    let first = texts.next()??;
    let len = texts.try_fold(first.len(), |len, text| {
        let pairs = first.char_indices().zip(text?.chars());
        let same = pairs.take_while(|((_, a), b)| a == b);
        let end = same.last().map_or(0, |((at, c), _)| at + c.len_utf8());
        Some(len.min(end))
    })?;
    let head = match first {
        Cow::Borrowed(first) => Cow::Borrowed(first.get(..len)?),
        Cow::Owned(first) => Cow::Owned(first.get(..len)?.to_owned()),
    };
    (!head.is_empty()).then_some(head)
}
