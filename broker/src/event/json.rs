//! The JSON event format, in and out.
//!
//! # In
//!
//! The envelope is read member by member; the value of `data` is cut out as the text that it is:
//! key order, duplicate keys, long numbers and white space stay. A member whose value is `null` is
//! an absent attribute, but `"data": null` is data, namely `null` (section 3.1.1). A member
//! that appears twice is refused, because readers disagree about which one counts. Extensions
//! keep their type: string, boolean or integer.
//!
//! `data_base64` is kept decoded. In CloudEvents 0.3 there is none; `datacontentencoding: base64`
//! says there that the string in `data` is base64, and the attribute is kept.
//!
//! Nothing here recurses: nesting inside `data` costs no stack, however deep it is.
//!
//! # Out
//!
//! `data` that came in as JSON goes out as the same text. Bytes from a binary-mode message become
//! * the JSON value that they are, unchanged, where the content type says JSON (or nothing) and
//!   they are valid JSON;
//! * a string, where the content type says text ([`attributes::is_text`]) and they are UTF-8;
//! * base64 in all other cases.
//!
//! In the other direction, [`data_bytes`] gives the body of a binary-mode message: a string in
//! `data` whose content type is not JSON is unescaped; all other JSON is its text.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::attributes::{self, EventError, Rule, check_name, check_value, shown};
use super::draft::{Draft, ROOM};
use super::http::DecodeError;
use super::packed::{
    Attribute, AttributeKind, DataForm, Event, MAX_ATTRIBUTES, Packer, SpecVersion,
};

/// The most members of one envelope: all attributes, `specversion`, the data, and as many nulls.
const MAX_MEMBERS: usize = 2 * MAX_ATTRIBUTES;

/// How much of the reader's reason an error repeats, in characters.
const REASON_SHOWN: usize = 200;

/// Reads one event.
pub fn decode(text: &[u8]) -> Result<Event, DecodeError> {
    Ok(draft(text)?.finish()?)
}

/// Reads one event, whose attributes may still change.
pub fn draft(text: &[u8]) -> Result<Draft<'_>, DecodeError> {
    let text = std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)?;
    draft_text(text)
}

/// Reads a batch: an array of events. All are good, or the error names the first that is not.
pub fn decode_batch(text: &[u8]) -> Result<Vec<Draft<'_>>, DecodeError> {
    let text = std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)?;
    if is_string(text) {
        return Err(encoded_twice());
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut bad = None;
    let events = reader.deserialize_seq(Elements { bad: &mut bad });
    if let Some(error) = bad {
        return Err(error);
    }
    let events = events.map_err(not_json)?;
    reader.end().map_err(not_json)?;
    Ok(events)
}

fn draft_text(text: &str) -> Result<Draft<'_>, DecodeError> {
    if is_string(text) {
        return Err(encoded_twice());
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Members).map_err(not_json)?;
    reader.end().map_err(not_json)?;
    Envelope::read(&members)?
        .pack(text.len() + ROOM)
        .map_err(DecodeError::Attribute)
}

/// Whether the text is a JSON string, which is what an event that was encoded twice is.
fn is_string(text: &str) -> bool {
    text.trim_ascii_start().starts_with('"')
}

fn encoded_twice() -> DecodeError {
    DecodeError::Json("it is a JSON string; perhaps it was encoded twice".into())
}

#[allow(clippy::needless_pass_by_value)] // It stands in `map_err`.
fn not_json(error: serde_json::Error) -> DecodeError {
    DecodeError::Json(error.to_string().chars().take(REASON_SHOWN).collect())
}

/// The members of one JSON object, values as their text.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(name) = map.next_key_seed(Text)? {
            if members.len() == MAX_MEMBERS {
                return Err(serde::de::Error::custom(format_args!(
                    "more than {MAX_MEMBERS} members in an event"
                )));
            }
            members.push((name, map.next_value::<&RawValue>()?.get()));
        }
        Ok(members)
    }
}

/// A string that is borrowed where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The elements of a batch, decoded one by one.
struct Elements<'b> {
    bad: &'b mut Option<DecodeError>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Vec<Draft<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch, which is a JSON array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(element) = elements.next_element::<&RawValue>()? {
            match draft_text(element.get()) {
                Ok(event) => events.push(event),
                Err(error) => {
                    let error = DecodeError::Element {
                        index: events.len(),
                        error: error.into(),
                    };
                    *self.bad = Some(error);
                    return Err(serde::de::Error::custom("bad element"));
                }
            }
        }
        Ok(events)
    }
}

/// What stands in an envelope, checked but for the rules that need its version.
#[derive(Default)]
struct Envelope<'m, 'a> {
    version: Option<SpecVersion>,
    required: [Option<Cow<'a, str>>; 3],
    others: Vec<(&'m str, AttributeKind, Cow<'a, str>)>,
    data: Option<&'a str>,
    data_base64: Option<Cow<'a, str>>,
}

impl<'m, 'a> Envelope<'m, 'a> {
    fn read(members: &'m [(Cow<'a, str>, &'a str)]) -> Result<Self, EventError> {
        let mut envelope = Envelope::default();
        for (position, (name, value)) in members.iter().enumerate() {
            let fail = |rule| Err(EventError::new(name, rule));
            if members
                .iter()
                .take(position)
                .any(|(earlier, _)| earlier == name)
            {
                return fail(Rule::Once);
            }
            match &**name {
                "data" => envelope.data = Some(value),
                _ if *value == "null" => {}
                "data_base64" => envelope.data_base64 = Some(string(name, value)?),
                "specversion" => {
                    envelope.version = Some(match &*string(name, value)? {
                        "1.0" => SpecVersion::V1,
                        "0.3" => SpecVersion::V03,
                        found => {
                            return fail(Rule::SpecVersion {
                                found: shown(found),
                            });
                        }
                    });
                }
                name => envelope.attribute(name, value)?,
            }
        }
        Ok(envelope)
    }

    fn attribute(&mut self, name: &'m str, value: &'a str) -> Result<(), EventError> {
        check_name(name)?;
        let (kind, text) = match value.as_bytes().first() {
            Some(b'"') => (AttributeKind::String, string(name, value)?),
            _ if attributes::is_core(name) => return Err(EventError::new(name, Rule::String)),
            Some(b't' | b'f') => (AttributeKind::Boolean, Cow::Borrowed(value)),
            Some(b'-' | b'0'..=b'9') => (AttributeKind::Integer, integer(name, value)?),
            _ => return Err(EventError::new(name, Rule::Structure)),
        };
        check_value(name, &text)?;
        let [id, source, ty] = &mut self.required;
        match name {
            "id" => *id = Some(text),
            "source" => *source = Some(text),
            "type" => *ty = Some(text),
            _ => self.others.push((name, kind, text)),
        }
        Ok(())
    }

    fn pack(&self, capacity: usize) -> Result<Draft<'a>, EventError> {
        let missing = |name| EventError::new(name, Rule::Required);
        let version = self.version.ok_or_else(|| missing("specversion"))?;
        let (form, data) = self.data(version)?;
        let mut packer = Packer::new(version, capacity);
        for (name, text) in ["id", "source", "type"].into_iter().zip(&self.required) {
            let text = text.as_deref().ok_or_else(|| missing(name))?;
            packer.add(&Attribute {
                name,
                kind: AttributeKind::String,
                text,
                header: None,
            })?;
        }
        for (name, kind, text) in &self.others {
            packer.add(&Attribute {
                name,
                kind: *kind,
                text,
                header: None,
            })?;
        }
        Ok(Draft::new(packer, form, data))
    }

    fn data(&self, version: SpecVersion) -> Result<(DataForm, Cow<'a, [u8]>), EventError> {
        let fail = |name, rule| Err(EventError::new(name, rule));
        let decode = |name, text: &str| match BASE64.decode(text) {
            Ok(bytes) => Ok((DataForm::Base64, Cow::Owned(bytes))),
            Err(_) => fail(name, Rule::Base64),
        };
        match (self.data, &self.data_base64, version) {
            (Some(_), Some(_), _) => fail("data_base64", Rule::OneData),
            (None, Some(_), SpecVersion::V03) => fail("data_base64", Rule::DataBase64InV03),
            (None, Some(text), SpecVersion::V1) => decode("data_base64", text),
            (None, None, _) => Ok((DataForm::None, Cow::Borrowed(&[]))),
            (Some(data), None, SpecVersion::V03)
                if self.other("datacontentencoding").is_some_and(is_base64) && data != "null" =>
            {
                decode("data", &string("data", data)?)
            }
            (Some(data), None, _) => {
                // A string that is not JSON goes out unescaped, so it must be possible to.
                if data.starts_with('"') && data.contains('\\') && !self.says_json() {
                    string("data", data)?;
                }
                Ok((DataForm::Json, Cow::Borrowed(data.as_bytes())))
            }
        }
    }

    fn other(&self, wanted: &str) -> Option<&str> {
        self.others
            .iter()
            .find(|(name, ..)| *name == wanted)
            .map(|(.., text)| &**text)
    }

    fn says_json(&self) -> bool {
        self.other("datacontenttype")
            .is_none_or(attributes::is_json)
    }
}

fn is_base64(encoding: &str) -> bool {
    encoding.eq_ignore_ascii_case("base64")
}

/// The text of a JSON string.
fn string<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, EventError> {
    let Some(inner) = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return Err(EventError::new(name, Rule::String));
    };
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    // The reader has checked the escapes; what is left to go wrong are surrogates.
    serde_json::from_str(value)
        .map(Cow::Owned)
        .map_err(|_| EventError::new(name, Rule::Surrogate))
}

/// The canonical text of a JSON number that is a whole one of 32 bits.
fn integer<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, EventError> {
    if value.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return Err(EventError::new(name, Rule::Fraction));
    }
    match value.parse::<i32>() {
        Ok(0) => Ok(Cow::Borrowed("0")),
        Ok(_) => Ok(Cow::Borrowed(value)),
        Err(_) => Err(EventError::new(name, Rule::Integer32)),
    }
}

/// Writes one event, without the attributes named in `skip`.
#[must_use]
pub fn encode(event: &Event, skip: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.size() + event.size() / 8 + 64);
    out.extend_from_slice(b"{\"specversion\":\"");
    out.extend_from_slice(event.spec_version().as_str().as_bytes());
    out.push(b'"');
    let (member, value, encoding) = data_member(event);
    for attribute in event.attributes() {
        if skip.contains(&attribute.name) || (encoding && attribute.name == "datacontentencoding") {
            continue;
        }
        key(&mut out, attribute.name);
        match attribute.kind {
            AttributeKind::Integer if attribute.text.parse::<i32>().is_ok() => {
                out.extend_from_slice(attribute.text.as_bytes());
            }
            AttributeKind::Boolean if matches!(attribute.text, "true" | "false") => {
                out.extend_from_slice(attribute.text.as_bytes());
            }
            _ => quoted(&mut out, attribute.text),
        }
    }
    if encoding {
        key(&mut out, "datacontentencoding");
        quoted(&mut out, "base64");
    }
    match value {
        DataValue::None => {}
        DataValue::Json(bytes) => {
            key(&mut out, member);
            out.extend_from_slice(&bytes);
        }
        DataValue::Text(text) => {
            key(&mut out, member);
            quoted(&mut out, &text);
        }
    }
    out.push(b'}');
    out
}

enum DataValue {
    None,
    Json(Bytes),
    Text(String),
}

/// The member that holds the data, and whether `datacontentencoding: base64` must go with it.
fn data_member(event: &Event) -> (&'static str, DataValue, bool) {
    let data = event.data();
    let text = |name: &str| event.attribute(name).map(|attribute| attribute.text);
    let v03 = event.spec_version() == SpecVersion::V03;
    let base64 = |data: &Bytes| {
        let member = if v03 { "data" } else { "data_base64" };
        (member, DataValue::Text(BASE64.encode(data)), v03)
    };
    match event.data_form() {
        DataForm::None => ("data", DataValue::None, false),
        DataForm::Json => ("data", DataValue::Json(data), false),
        DataForm::Base64 => base64(&data),
        DataForm::Bytes => {
            let content_type = text("datacontenttype");
            // In 0.3 the attribute says that the body itself is base64 text.
            let is_string = if v03 && text("datacontentencoding").is_some_and(is_base64) {
                true
            } else if content_type.is_none_or(attributes::is_json) {
                if serde_json::from_slice::<&RawValue>(&data).is_ok() {
                    return ("data", DataValue::Json(data), false);
                }
                false
            } else {
                content_type.is_some_and(attributes::is_text)
            };
            match std::str::from_utf8(&data) {
                Ok(text) if is_string => ("data", DataValue::Text(text.to_owned()), false),
                _ => base64(&data),
            }
        }
    }
}

/// The data as the body of a binary-mode message. Shares the event's memory where it can.
#[must_use]
pub fn data_bytes(event: &Event) -> Bytes {
    let data = event.data();
    let is_string = event.data_form() == DataForm::Json
        && data.starts_with(b"\"")
        && event
            .attribute("datacontenttype")
            .is_some_and(|a| !attributes::is_json(a.text));
    if !is_string {
        return data;
    }
    match std::str::from_utf8(&data)
        .ok()
        .map(|text| string("data", text))
    {
        Some(Ok(Cow::Borrowed(inner))) => data.slice_ref(inner.as_bytes()),
        Some(Ok(Cow::Owned(text))) => text.into(),
        Some(Err(_)) | None => data,
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.push(b',');
    quoted(out, name);
    out.push(b':');
}

/// The JSON text of a string.
pub(super) fn string_text(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    quoted(&mut out, text);
    out
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory does not fail.
    let _written = serde_json::to_writer(out, text);
}
