//! Making events, and making events from events.
//!
//! [`EventBuilder`] is for code that makes events of its own. [`Event::with`] and
//! [`Event::without`] give a copy with a few attributes changed: what the broker adds (arrival
//! time, TTL, the reason of a dead letter) goes in this way. Data and all other attributes are
//! copied byte for byte, header texts included.

use std::borrow::Cow;

use super::attributes::{EventError, Rule};
use super::draft::{Draft, add_new};
use super::packed::{
    Attribute, AttributeKind, DataForm, Event, HEAD, Packer, SpecVersion, size_of,
};

/// The value of an attribute, with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue<'a> {
    /// Text, and everything that is written as text.
    String(Cow<'a, str>),
    /// A whole number.
    Integer(i32),
    /// True or false.
    Boolean(bool),
}

impl AttributeValue<'_> {
    pub(super) fn kind(&self) -> AttributeKind {
        match self {
            Self::String(_) => AttributeKind::String,
            Self::Integer(_) => AttributeKind::Integer,
            Self::Boolean(_) => AttributeKind::Boolean,
        }
    }

    /// The canonical text of the value.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::String(text) => Cow::Borrowed(text),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
        }
    }
}

impl AttributeValue<'_> {
    /// The length of the text, in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Integer(_) | Self::Boolean(_) => self.text().len(),
        }
    }
}

impl<'a> From<&'a str> for AttributeValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for AttributeValue<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<i32> for AttributeValue<'_> {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for AttributeValue<'_> {
    fn from(flag: bool) -> Self {
        Self::Boolean(flag)
    }
}

impl Packer {
    /// Adds an attribute whose name and value have been checked.
    pub(super) fn add(&mut self, attribute: &Attribute<'_>) -> Result<(), EventError> {
        if self.push(attribute) {
            Ok(())
        } else {
            Err(EventError::new(attribute.name, Rule::Count))
        }
    }

    /// [`Packer::finish`] for callers that pushed the required attributes.
    pub(super) fn end(self, form: DataForm, data: &[u8]) -> Result<Event, EventError> {
        self.finish(form, data)
            .map_err(|_| EventError::new("id", Rule::Required))
    }
}

/// Puts an event together from parts, and checks them at the end.
#[derive(Clone, Debug)]
pub struct EventBuilder<'a> {
    version: SpecVersion,
    attributes: Vec<(Cow<'a, str>, AttributeValue<'a>)>,
    form: DataForm,
    data: Cow<'a, [u8]>,
}

impl<'a> EventBuilder<'a> {
    /// Starts an event of CloudEvents 1.0 with its required attributes.
    #[must_use]
    pub fn new(
        id: impl Into<Cow<'a, str>>,
        source: impl Into<Cow<'a, str>>,
        ty: impl Into<Cow<'a, str>>,
    ) -> Self {
        let attributes = [
            ("id", id.into()),
            ("source", source.into()),
            ("type", ty.into()),
        ]
        .into_iter()
        .map(|(name, text)| (Cow::Borrowed(name), AttributeValue::String(text)))
        .collect();
        Self {
            version: SpecVersion::V1,
            attributes,
            form: DataForm::None,
            data: Cow::Borrowed(&[]),
        }
    }

    /// Chooses the version of the specification.
    #[must_use]
    pub fn version(mut self, version: SpecVersion) -> Self {
        self.version = version;
        self
    }

    /// Sets an attribute or an extension. The last value counts.
    #[must_use]
    pub fn attribute(
        mut self,
        name: impl Into<Cow<'a, str>>,
        value: impl Into<AttributeValue<'a>>,
    ) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name, value)),
        }
        self
    }

    /// Sets the data and its content type.
    #[must_use]
    pub fn data(self, content_type: &'a str, data: impl Into<Cow<'a, [u8]>>) -> Self {
        self.attribute("datacontenttype", content_type)
            .raw_data(DataForm::Bytes, data.into())
    }

    /// Sets data of which no content type is known.
    #[must_use]
    pub fn untyped_data(self, data: impl Into<Cow<'a, [u8]>>) -> Self {
        self.raw_data(DataForm::Bytes, data.into())
    }

    pub(super) fn raw_data(mut self, form: DataForm, data: Cow<'a, [u8]>) -> Self {
        self.form = form;
        self.data = data;
        self
    }

    /// Checks the parts and makes the event.
    pub fn build(self) -> Result<Event, EventError> {
        let size: usize = self
            .attributes
            .iter()
            .map(|(name, value)| size_of(name, value.len()))
            .sum();
        let mut packer = Packer::new(self.version, HEAD + size + self.data.len());
        for (name, value) in &self.attributes {
            add_new(&mut packer, name, value)?;
        }
        packer.end(self.form, &self.data)
    }
}

impl Event {
    /// A copy of the event with the given attributes set: replaced where they stand, and added at
    /// the end where they are new.
    ///
    /// # Errors
    ///
    /// When a name or a value is not valid, or there would be too many attributes.
    /// `specversion` cannot be changed.
    pub fn with(&self, changes: &[(&str, AttributeValue<'_>)]) -> Result<Self, EventError> {
        let mut draft = Draft::of(self, changes);
        draft.set(changes)?;
        draft.finish()
    }

    /// A copy of the event without the given attributes. `id`, `source`, `type` and
    /// `specversion` stay whatever is asked.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let mut packer = Packer::new(self.spec_version(), self.size());
        for (position, attribute) in self.attributes().enumerate() {
            // The first three are the required ones. What was in an event fits into a smaller one.
            if (position < 3 || !names.contains(&attribute.name)) && !packer.push(&attribute) {
                return self.clone();
            }
        }
        packer
            .end(self.data_form(), self.data_slice())
            .unwrap_or_else(|_| self.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn base() -> Event {
        EventBuilder::new("1", "/s", "t")
            .attribute("ext", "x")
            .attribute("n", 7)
            .data("text/plain", &b"data"[..])
            .build()
            .unwrap()
    }

    #[test]
    fn builds_what_was_asked() {
        let event = base();
        assert_eq!((event.id(), event.source(), event.ty()), ("1", "/s", "t"));
        assert_eq!(event.attribute("n").unwrap().kind, AttributeKind::Integer);
        assert_eq!(
            event.attribute("datacontenttype").unwrap().text,
            "text/plain"
        );
        assert_eq!(
            (&*event.data(), event.data_form()),
            (&b"data"[..], DataForm::Bytes)
        );
        assert_eq!(Event::unpack(event.packed().clone()).unwrap(), event);
    }

    #[test]
    fn refuses_what_is_not_valid() {
        let bad = |builder: EventBuilder<'_>| builder.build().unwrap_err().to_string();
        assert_eq!(
            bad(EventBuilder::new("", "/s", "t")),
            "attribute `id` must not be empty"
        );
        let builder = EventBuilder::new("1", "/s", "t");
        assert!(bad(builder.clone().attribute("Bad", "x")).contains("`Bad`"));
        assert!(bad(builder.clone().attribute("time", "now")).contains("RFC 3339"));
        assert!(bad(builder.clone().attribute("specversion", "1.0")).contains("specversion"));
        let many = (0..300).fold(builder, |b, i| b.attribute(format!("x{i}"), i));
        assert_eq!(
            many.build().unwrap_err(),
            EventError::new("x252", Rule::Count)
        );
    }

    #[test]
    fn changes_and_nothing_else() {
        let changed = base()
            .with(&[("ext", true.into()), ("new", "y".into())])
            .unwrap();
        let names: Vec<_> = changed.attributes().map(|a| (a.name, a.text)).collect();
        assert_eq!(
            names,
            [
                ("id", "1"),
                ("source", "/s"),
                ("type", "t"),
                ("ext", "true"),
                ("n", "7"),
                ("datacontenttype", "text/plain"),
                ("new", "y")
            ]
        );
        assert_eq!(changed.data(), base().data());
        let back = changed.without(&["new", "ext", "id"]);
        assert_eq!(back.attributes().count(), 5);
        assert_eq!(back.id(), "1");
        assert_eq!(back.data(), base().data());
        assert!(base().with(&[("specversion", "0.3".into())]).is_err());
        assert!(base().with(&[("time", "x".into())]).is_err());
    }
}
