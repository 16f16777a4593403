//! Every filter, asked one after the other: what an [`super::Index`] must agree with.
//!
//! Tests, the fuzz target and the benches put events to both. It has no idea of how filters work,
//! which is what makes it an oracle.

use super::super::{Filter, Outcome};
use crate::event::Event;

/// Filters in a row.
#[derive(Clone, Debug, Default)]
pub struct Scan<T> {
    filters: Vec<(Filter, T)>,
}

impl<T> FromIterator<(Filter, T)> for Scan<T> {
    fn from_iter<I: IntoIterator<Item = (Filter, T)>>(filters: I) -> Self {
        Self {
            filters: filters.into_iter().collect(),
        }
    }
}

impl<T> Scan<T> {
    /// Hands every value whose filter wants the event, or met an error, to `found`.
    pub fn matches(&self, event: &Event, mut found: impl FnMut(&T, Outcome)) {
        for (filter, value) in &self.filters {
            let outcome = filter.outcome(event);
            if outcome.matched || outcome.error.is_some() {
                found(value, outcome);
            }
        }
    }
}
