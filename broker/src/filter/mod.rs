//! Which events a Trigger wants.
//!
//! A [`Filter`] is compiled once, when its Trigger changes, and asked for each event. The seam is
//! here: a consumer knows [`Filter::matches`] only.
//!
//! * [`spec`]: what was asked for, as plain data.
//! * [`attributes`]: `filter.attributes`, and the dialect `exact`.
//! * [`dialects`]: the elements of `filters`.
//! * [`cesql`]: CloudEvents SQL.
//! * [`data`]: the dialect `heddle.dev/data`, about what is in an event's data.
//! * [`explain`]: why an event passes or does not, for people.
//! * [`index`]: all filters of a broker, matched at once.

pub mod attributes;
pub mod cesql;
pub mod data;
pub mod dialects;
pub mod explain;
pub mod index;
pub mod spec;

use std::sync::Arc;

use crate::event::Event;
pub use attributes::AttributesFilter;
pub use data::Subject;
pub use dialects::{Dialects, FilterError, FilterFault, JudgeError, Outcome};
pub use spec::Spec;

/// A compiled filter. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Wants every event.
    #[default]
    All,
    /// Knative's `filter.attributes`.
    Attributes(AttributesFilter),
    /// Knative's `filters`.
    Dialects(Arc<Dialects>),
}

impl Filter {
    /// Compiles `filter.attributes` and `filters` of a Trigger. Where there are `filters`, they
    /// count, and `attributes` do not; where there is neither, the filter wants every event.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with `filters`, with paths that begin with `spec.filters`.
    pub fn compile(
        attributes: &[(String, String)],
        filters: &[Spec],
    ) -> Result<Self, Vec<FilterError>> {
        if !filters.is_empty() {
            let dialects = Dialects::compile(filters, "spec.filters")?;
            return Ok(Self::Dialects(Arc::new(dialects)));
        }
        if attributes.is_empty() {
            return Ok(Self::All);
        }
        let wanted = attributes.iter();
        Ok(Self::Attributes(AttributesFilter::new(
            wanted.map(|(name, value)| (name.as_str(), value.as_str())),
        )))
    }

    /// Whether the filter wants the event.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.outcome(event).matched
    }

    /// Whether the filter wants the event, and which error an element met.
    #[must_use]
    pub fn outcome(&self, event: &Event) -> Outcome {
        self.judge(&Subject::new(event))
    }

    /// As [`Filter::outcome`]. Where several filters judge the same event, they share what has to
    /// be read of its data.
    #[must_use]
    pub fn judge(&self, subject: &Subject<'_>) -> Outcome {
        let matched = match self {
            Self::All => true,
            Self::Attributes(filter) => filter.matches(subject.event()),
            Self::Dialects(dialects) => return dialects.judge(subject),
        };
        Outcome {
            matched,
            error: None,
        }
    }
}

#[cfg(test)]
mod tests;
