//! An event that is being taken in: its attributes are packed and may still change, its data is
//! not copied yet.
//!
//! The broker adds attributes to nearly every event (when it arrived, how far it may travel).
//! A draft makes that cost no second copy of the event: they go behind the attributes that came in,
//! and the data follows once, at the end, in the same allocation.

use std::borrow::Cow;

use super::attributes::{EventError, Rule, check_name, check_value};
use super::builder::AttributeValue;
use super::packed::{Attribute, DataForm, Event, Packer, size_of};

/// How many bytes a decoder leaves free for attributes that are added to a draft: enough for what a
/// broker adds. What does not fit costs an allocation.
pub(super) const ROOM: usize = 160;

/// An event without its data. See the module.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    packer: Packer,
    form: DataForm,
    data: Cow<'a, [u8]>,
}

impl<'a> Draft<'a> {
    /// A draft of attributes that were checked, the required ones first.
    pub(super) fn new(packer: Packer, form: DataForm, data: Cow<'a, [u8]>) -> Self {
        Self { packer, form, data }
    }

    /// A draft of an event, with room for the changes that will be made to it.
    pub(crate) fn of(event: &'a Event, changes: &[(&str, AttributeValue<'_>)]) -> Self {
        let more: usize = changes
            .iter()
            .map(|(name, value)| size_of(name, value.len()))
            .sum();
        Self {
            packer: Packer::extend(event, more),
            form: event.data_form(),
            data: Cow::Borrowed(event.data_slice()),
        }
    }

    /// The attribute of that name, `specversion` excepted.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.packer.attributes().named(name)
    }

    /// Sets attributes: replaces them where they stand, and adds them at the end where they are new.
    ///
    /// # Errors
    ///
    /// When a name or a value is not valid, or there would be too many attributes.
    /// `specversion` cannot be changed.
    pub fn set(&mut self, changes: &[(&str, AttributeValue<'_>)]) -> Result<(), EventError> {
        let is_known = |name: &str| self.attribute(name).is_some();
        if changes.iter().any(|(name, _)| is_known(name)) {
            self.replace(changes)?;
        }
        for (name, value) in changes {
            if self.attribute(name).is_none() {
                add_new(&mut self.packer, name, value)?;
            }
        }
        Ok(())
    }

    /// Packs the attributes anew, with those changes that are not additions.
    fn replace(&mut self, changes: &[(&str, AttributeValue<'_>)]) -> Result<(), EventError> {
        let mut packer = self.packer.restart();
        for attribute in self.packer.attributes() {
            match changes.iter().find(|(name, _)| *name == attribute.name) {
                Some((name, value)) => add_new(&mut packer, name, value)?,
                None => packer.add(&attribute)?,
            }
        }
        self.packer = packer;
        Ok(())
    }

    /// The event, with its data.
    ///
    /// # Errors
    ///
    /// When all attributes together are too long to be described (4 GiB).
    pub fn finish(self) -> Result<Event, EventError> {
        self.packer.end(self.form, &self.data)
    }
}

/// Checks an attribute and adds it. The version is no attribute to be added.
pub(super) fn add_new(
    packer: &mut Packer,
    name: &str,
    value: &AttributeValue<'_>,
) -> Result<(), EventError> {
    if name == "specversion" {
        return Err(EventError::new(name, Rule::Once));
    }
    check_name(name)?;
    let text = value.text();
    check_value(name, &text)?;
    packer.add(&Attribute {
        name,
        kind: value.kind(),
        text: &text,
        header: None,
    })
}
