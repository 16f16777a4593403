//! Events as messages of a bus that has headers: Kafka and NATS, in the binary mode of their bindings.
//!
//! The data is the message's value, byte for byte; each attribute is a header of its own, so that
//! every other reader of the topic or stream finds the CloudEvent that the binding promises. A
//! binding loses what a [`packed`](super::packed) event knows besides: the order of attributes, the
//! types of extensions, the form that the data came in, and how a producer spelt an HTTP header.
//! One more header, [`SHAPE`], keeps that:
//!
//! ```text
//! shape = form *( ";" name [ ":" flags ] )   the attributes in order; id, source and type only with flags
//! form  = "n" | "b" | "6" | "j" | "s"         no data, bytes, base64 in JSON, JSON text, and JSON text
//!                                             that is one string, of which the message has the inside
//! flags = 1*( "i" | "t" | "h" | "x" )         integer, truth value, an HTTP spelling is kept, and: the
//!                                             attribute is kept from other readers
//! ```
//!
//! Laws, each with a test: an event that was written here is read as the same block of bytes; a
//! message that somebody else wrote is read by the rules of the binding; whatever a message holds, it
//! is an event or an error.

use std::borrow::Cow;

use bytes::Bytes;

use super::attributes::{EventError, Rule, check_name, check_value};
use super::packed::{
    Attribute, AttributeKind, DataForm, Event, HEAD, Packer, SpecVersion, size_of,
};
use super::{header, json};

/// The header that keeps what a binding loses.
pub const SHAPE: &str = "heddle-shape";
/// What the names of headers begin with that keep the spelling of an HTTP header.
const SPELLING: &str = "heddle-http-";
const REQUIRED: [&str; 3] = ["id", "source", "type"];

/// How a bus names and writes headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// What the names of attributes begin with.
    pub prefix: &'static str,
    /// Whether values are percent-encoded, as in HTTP.
    pub encoded: bool,
}

/// The NATS binding of CloudEvents, section 3.1.3: as HTTP.
pub const NATS: Binding = Binding {
    prefix: "ce-",
    encoded: true,
};

/// The Kafka binding of CloudEvents, section 3.2.4: names with an underscore, values in UTF-8.
pub const KAFKA: Binding = Binding {
    prefix: "ce_",
    encoded: false,
};

/// The name of the header that holds `datacontenttype`.
pub const CONTENT_TYPE: &str = "content-type";

/// A message does not hold an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// An attribute breaks a rule.
    #[error(transparent)]
    Attribute(#[from] EventError),
    /// The header [`SHAPE`] is not what this module writes.
    #[error("the header {SHAPE} is damaged")]
    Shape,
}

impl Binding {
    /// Writes an event: calls `put` with the name and the value of each header, and returns the data.
    pub fn write(self, event: &Event, mut put: impl FnMut(&str, &str)) -> Bytes {
        let (form, data) = data_of(event);
        let mut shape = String::with_capacity(64);
        shape.push(form);
        // The message has what the base64 of a 0.3 event stood for, so that it is not base64 any more.
        let unpacked =
            event.spec_version() == SpecVersion::V03 && event.data_form() == DataForm::Base64;
        let mut typed = false;
        let mut name = String::with_capacity(32);
        let mut named = |prefix: &str, attribute: &str, value: &str| {
            name.clear();
            name.push_str(prefix);
            name.push_str(attribute);
            put(&name, value);
        };
        named(self.prefix, "specversion", event.spec_version().as_str());
        for (place, attribute) in event.attributes().enumerate() {
            let hidden = unpacked && attribute.name == "datacontentencoding";
            let kept = if hidden {
                Some(attribute.text)
            } else {
                attribute.header.filter(|_| !self.encoded)
            };
            if place >= REQUIRED.len() || kept.is_some() {
                let spelling = kept.map_or("", |_| if hidden { "x" } else { "h" });
                describe(&mut shape, &attribute, spelling);
            }
            if let Some(spelling) = kept {
                named(SPELLING, attribute.name, spelling);
            }
            if hidden {
                continue;
            }
            if attribute.name == "datacontenttype" {
                named("", CONTENT_TYPE, attribute.text);
                typed = true;
                continue;
            }
            let value = match attribute.header {
                _ if !self.encoded => Cow::Borrowed(attribute.text),
                Some(spelling) => Cow::Borrowed(spelling),
                None => header::encode(attribute.text),
            };
            named(self.prefix, attribute.name, &value);
        }
        if !typed && event.data_form() == DataForm::Json {
            named("", CONTENT_TYPE, "application/json");
        }
        named("", SHAPE, &shape);
        data
    }

    /// Reads an event that this module wrote. `get` gives the value of a header, `shape` is that of
    /// the header [`SHAPE`].
    ///
    /// # Errors
    ///
    /// What the message lacks, or what breaks a rule.
    pub fn read<'m>(
        self,
        shape: &str,
        get: impl Fn(&str) -> Option<&'m [u8]>,
        data: &Bytes,
    ) -> Result<Event, MessageError> {
        let mut parts = shape.split(';');
        let form = match parts.next() {
            Some("n") => DataForm::None,
            Some("b") => DataForm::Bytes,
            Some("6") => DataForm::Base64,
            Some("j" | "s") => DataForm::Json,
            _ => return Err(MessageError::Shape),
        };
        let prefixed = |name: &str| format!("{}{name}", self.prefix);
        let version = match get(&prefixed("specversion")) {
            Some(b"1.0") => SpecVersion::V1,
            Some(b"0.3") => SpecVersion::V03,
            _ => return Err(EventError::new("specversion", Rule::Required).into()),
        };
        let mut packer = Packer::new(version, HEAD + 64 * size_of("attribute", 0) + data.len());
        let described = || {
            let parts = parts.clone();
            parts.map(|part| part.split_once(':').unwrap_or((part, "")))
        };
        let required = REQUIRED.into_iter().map(|name| {
            let flagged = described().find(|(described, _)| *described == name);
            flagged.unwrap_or((name, ""))
        });
        let others = described().filter(|(name, _)| !REQUIRED.contains(name));
        for (name, flags) in required.chain(others) {
            let missing = || EventError::new(name, Rule::Required);
            let kept = || get(&format!("{SPELLING}{name}")).ok_or_else(missing);
            let hidden = flags.contains('x');
            let value = match name {
                _ if hidden => kept()?,
                "datacontenttype" => get(CONTENT_TYPE).ok_or_else(missing)?,
                _ => get(&prefixed(name)).ok_or_else(missing)?,
            };
            let spelling = if flags.contains('h') {
                Some(kept()?)
            } else {
                None
            };
            let encoded = self.encoded && !hidden && name != "datacontenttype";
            add(&mut packer, (name, flags), value, encoded, spelling)?;
        }
        if shape.starts_with('s') {
            let text = std::str::from_utf8(data).map_err(|_| MessageError::Shape)?;
            return Ok(packer.end(form, &json::string_text(text))?);
        }
        Ok(packer.end(form, data)?)
    }
}

/// How the data is written, and the data as the binding has it.
fn data_of(event: &Event) -> (char, Bytes) {
    let data = json::data_bytes(event);
    let form = match event.data_form() {
        DataForm::None => 'n',
        DataForm::Bytes => 'b',
        DataForm::Base64 => '6',
        DataForm::Json if data.len() == event.data_slice().len() => 'j',
        DataForm::Json => {
            let same = std::str::from_utf8(&data)
                .is_ok_and(|text| json::string_text(text) == event.data_slice());
            // A string that was written in another way than ours stays the JSON text that it is.
            return if same {
                ('s', data)
            } else {
                ('j', event.data())
            };
        }
    };
    (form, data)
}

/// Adds an attribute as it stands in a message.
fn add(
    packer: &mut Packer,
    (name, flags): (&str, &str),
    value: &[u8],
    encoded: bool,
    spelling: Option<&[u8]>,
) -> Result<(), EventError> {
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| EventError::new(name, Rule::Utf8));
    check_name(name)?;
    let raw = utf8(value)?;
    let text = if encoded {
        header::decode(value).map_err(|rule| EventError::new(name, rule))?
    } else {
        Cow::Borrowed(raw)
    };
    check_value(name, &text)?;
    let header = match spelling {
        Some(spelling) => Some(utf8(spelling)?),
        // The spelling that we would choose needs no mention.
        None if encoded => Some(raw).filter(|raw| header::encode(&text) != *raw),
        None => None,
    };
    let kind = match flags {
        flags if flags.contains('i') => AttributeKind::Integer,
        flags if flags.contains('t') => AttributeKind::Boolean,
        _ => AttributeKind::String,
    };
    packer.add(&Attribute {
        name,
        kind,
        text: &text,
        header,
    })
}

/// Adds an attribute to the shape.
fn describe(shape: &mut String, attribute: &Attribute<'_>, spelling: &str) {
    shape.push(';');
    shape.push_str(attribute.name);
    let kind = match attribute.kind {
        AttributeKind::String => "",
        AttributeKind::Integer => "i",
        AttributeKind::Boolean => "t",
    };
    if !kind.is_empty() || !spelling.is_empty() {
        shape.extend([":", kind, spelling]);
    }
}

#[cfg(test)]
mod tests;
