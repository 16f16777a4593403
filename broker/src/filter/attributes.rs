//! `filter.attributes`: every named attribute has the given value.
//!
//! An empty value means that the attribute is present, with any value that is not empty. Values
//! are compared with the canonical text of the event's attribute, so that an extension that came
//! in as the integer `7` or the boolean `true` matches `"7"` or `"true"`.

use crate::event::Event;

/// A conjunction of attribute values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributesFilter {
    wanted: Box<[(Box<str>, Box<str>)]>,
}

impl AttributesFilter {
    /// The filter that wants all of the given (name, value) pairs; all events where there are none.
    pub fn new<N, V>(wanted: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Box<str>>,
        V: Into<Box<str>>,
    {
        Self {
            wanted: wanted
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }

    /// The (name, value) pairs.
    pub fn wanted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.wanted.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether the event has all of the values.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.wanted.iter().all(|(name, value)| {
            event.attribute(name).is_some_and(|attribute| {
                if value.is_empty() {
                    !attribute.text.is_empty()
                } else {
                    attribute.text == &**value
                }
            })
        })
    }
}
