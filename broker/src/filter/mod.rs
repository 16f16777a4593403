//! Which events a Trigger wants.
//!
//! A [`Filter`] is compiled once, when its Trigger changes, and asked for each event. The seam is
//! here: a consumer knows [`Filter::matches`] only.

pub mod attributes;
pub mod cesql;

use crate::event::Event;
pub use attributes::AttributesFilter;

/// A compiled filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Wants every event.
    #[default]
    All,
    /// Knative's `filter.attributes`.
    Attributes(AttributesFilter),
}

impl Filter {
    /// Whether the filter wants the event.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Attributes(filter) => filter.matches(event),
        }
    }
}
