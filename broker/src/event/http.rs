//! The HTTP binding: events as headers and a body, in and out.
//!
//! The Content-Type decides how a message is read (binding, section 3):
//!
//! | Content-Type | read as |
//! |---|---|
//! | `application/cloudevents+json` | one event in JSON (structured mode) |
//! | `application/cloudevents-batch+json` | an array of events in JSON (batched mode) |
//! | any other `application/cloudevents...` | refused: an event format that is not known here |
//! | anything else, or none, with `ce-` headers | one event in headers and body (binary mode) |
//! | anything else, without `ce-` headers | refused: not an event |
//!
//! In binary mode the body is the data, byte for byte, and an empty body is no data. Where the
//! producer's spelling of a header value is not the one that [`super::header::encode`] gives, it
//! is kept beside the text, so that a binary message leaves as it came in. A raw UTF-8 value is
//! the exception: it is taken, but leaves percent-encoded, as the binding demands.
//!
//! Decoding a binary message looks at each header twice and allocates once, for the event. The data
//! is copied when the [`Draft`] that it gives is finished.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::attributes::{
    self, EventError, Rule, check_name, check_plain_value, check_value, shown,
};
use super::draft::{Draft, ROOM};
use super::packed::{
    Attribute, AttributeKind, DataForm, Event, HEAD, Packer, SpecVersion, size_of,
};
use super::{header, json};

/// The media type of one event in JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of a batch in JSON.
pub const BATCH: &str = "application/cloudevents-batch+json";

const CLOUDEVENTS: &str = "application/cloudevents";
const PREFIX: &str = "ce-";

/// What a message holds.
#[derive(Clone, Debug)]
pub enum Decoded<'a> {
    /// One event, in binary or structured mode.
    One(Draft<'a>),
    /// A batch, perhaps empty.
    Batch(Vec<Draft<'a>>),
}

/// A message does not hold the event that it should. The producer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Neither a CloudEvents content type nor `ce-` headers.
    #[error(
        "the message is not a CloudEvent: it has neither ce- headers nor a content type \
         application/cloudevents+json"
    )]
    NotAnEvent,
    /// An event format other than JSON.
    #[error(
        "the event format `{media_type}` is not known; application/cloudevents+json and \
         application/cloudevents-batch+json are"
    )]
    UnknownFormat {
        /// The media type, cut at 64 bytes.
        media_type: Box<str>,
    },
    /// JSON in another charset than UTF-8.
    #[error("the charset `{charset}` is not known; events in JSON are UTF-8")]
    Charset {
        /// The charset, cut at 64 bytes.
        charset: Box<str>,
    },
    /// The body of a structured or batched message is not UTF-8.
    #[error("the body is not UTF-8, which JSON is")]
    NotUtf8,
    /// The body of a structured or batched message is not the JSON that it should be.
    #[error("the body is not an event in JSON: {0}")]
    Json(String),
    /// An attribute breaks a rule.
    #[error(transparent)]
    Attribute(#[from] EventError),
    /// One element of a batch is bad, and so the batch is.
    #[error("element {index} of the batch: {error}")]
    Element {
        /// Its position, counted from 0.
        index: usize,
        /// What is wrong with it.
        error: Box<Self>,
    },
    /// A reply holds a batch.
    #[error("a reply is one event or none, not a batch")]
    BatchReply,
}

impl DecodeError {
    /// The attribute at fault, where it is one.
    #[must_use]
    pub fn attribute(&self) -> Option<&str> {
        match self {
            Self::Attribute(error) => Some(&error.attribute),
            Self::Element { error, .. } => error.attribute(),
            Self::NotAnEvent
            | Self::UnknownFormat { .. }
            | Self::Charset { .. }
            | Self::NotUtf8
            | Self::Json(_)
            | Self::BatchReply => None,
        }
    }
}

/// Reads a request, or any message that must hold an event.
pub fn decode<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Decoded<'a>, DecodeError> {
    match mode(headers)? {
        Mode::Structured => json::draft(body).map(Decoded::One),
        Mode::Batch => json::decode_batch(body).map(Decoded::Batch),
        Mode::Binary => decode_binary(headers, body).map(Decoded::One),
    }
}

/// Reads the answer of a subscriber: an event, or nothing. A body that is no event is an error.
pub fn decode_reply(headers: &HeaderMap, body: &Bytes) -> Result<Option<Event>, DecodeError> {
    let mode = match mode(headers) {
        Ok(mode) => mode,
        Err(_) if body.is_empty() => return Ok(None),
        Err(error) => return Err(error),
    };
    match mode {
        Mode::Structured | Mode::Batch if body.is_empty() => Ok(None),
        Mode::Structured => json::decode(body).map(Some),
        Mode::Batch => Err(DecodeError::BatchReply),
        Mode::Binary => match decode_binary(headers, body) {
            Err(DecodeError::NotAnEvent) if body.is_empty() => Ok(None),
            decoded => Ok(Some(decoded?.finish()?)),
        },
    }
}

enum Mode {
    Binary,
    Structured,
    Batch,
}

fn mode(headers: &HeaderMap) -> Result<Mode, DecodeError> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let Some(content_type) = types.next() else {
        return Ok(Mode::Binary);
    };
    if types.next().is_some() {
        return Err(EventError::new("datacontenttype", Rule::Once).into());
    }
    let bytes = content_type.as_bytes();
    let is_cloudevents = bytes.get(..CLOUDEVENTS.len()).is_some_and(|start| {
        start.eq_ignore_ascii_case(CLOUDEVENTS.as_bytes())
            && !bytes
                .get(CLOUDEVENTS.len())
                .is_some_and(u8::is_ascii_alphanumeric)
    });
    if !is_cloudevents {
        return Ok(Mode::Binary);
    }
    let text = String::from_utf8_lossy(bytes);
    let essence = attributes::essence(&text);
    let mode = if essence.eq_ignore_ascii_case(STRUCTURED) {
        Mode::Structured
    } else if essence.eq_ignore_ascii_case(BATCH) {
        Mode::Batch
    } else {
        return Err(DecodeError::UnknownFormat {
            media_type: shown(essence),
        });
    };
    match attributes::charset(&text) {
        Some(charset) if !attributes::is_utf8_charset(charset) => Err(DecodeError::Charset {
            charset: shown(charset),
        }),
        _ => Ok(mode),
    }
}

/// What the first look at the headers finds.
#[derive(Default)]
struct Found<'h> {
    version: Option<&'h HeaderValue>,
    required: [Option<&'h HeaderValue>; 3],
    any: bool,
    size: usize,
}

fn decode_binary<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Draft<'a>, DecodeError> {
    let found = look(headers)?;
    if !found.any {
        return Err(DecodeError::NotAnEvent);
    }
    let missing = |name| EventError::new(name, Rule::Required);
    let version = match found
        .version
        .ok_or_else(|| missing("specversion"))?
        .as_bytes()
    {
        b"1.0" => SpecVersion::V1,
        b"0.3" => SpecVersion::V03,
        other => {
            let found = shown(&String::from_utf8_lossy(other));
            return Err(EventError::new("specversion", Rule::SpecVersion { found }).into());
        }
    };
    let mut packer = Packer::new(version, found.size + ROOM + body.len());
    for (name, value) in ["id", "source", "type"].into_iter().zip(found.required) {
        add(&mut packer, name, value.ok_or_else(|| missing(name))?)?;
    }
    for (name, value) in headers {
        match name.as_str().strip_prefix(PREFIX) {
            Some("specversion" | "id" | "source" | "type") => {}
            Some("datacontenttype") => {
                return Err(EventError::new("datacontenttype", Rule::ContentTypeHeader).into());
            }
            Some(name) => {
                check_name(name)?;
                add(&mut packer, name, value)?;
            }
            None if name == CONTENT_TYPE => add_content_type(&mut packer, value)?,
            None => {}
        }
    }
    let form = if body.is_empty() {
        DataForm::None
    } else {
        DataForm::Bytes
    };
    Ok(Draft::new(packer, form, Cow::Borrowed(body)))
}

/// Finds the required attributes, repeated headers and the size of the event.
fn look(headers: &HeaderMap) -> Result<Found<'_>, EventError> {
    let mut found = Found {
        size: HEAD,
        ..Found::default()
    };
    let mut previous = "";
    for (name, value) in headers {
        let name = name.as_str();
        let Some(attribute) = name.strip_prefix(PREFIX) else {
            if name == CONTENT_TYPE {
                found.size += size_of("datacontenttype", value.len());
            }
            continue;
        };
        // The values of one header stand together.
        if name == previous {
            return Err(EventError::new(attribute, Rule::Once));
        }
        previous = name;
        found.any = true;
        if attribute != "specversion" {
            found.size += size_of(attribute, value.len());
        }
        let [id, source, ty] = &mut found.required;
        match attribute {
            "specversion" => found.version = Some(value),
            "id" => *id = Some(value),
            "source" => *source = Some(value),
            "type" => *ty = Some(value),
            _ => {}
        }
    }
    Ok(found)
}

fn add(packer: &mut Packer, name: &str, value: &HeaderValue) -> Result<(), EventError> {
    let raw = value.as_bytes();
    if header::is_all_plain(raw)
        && let Ok(text) = std::str::from_utf8(raw)
    {
        check_plain_value(name, text)?;
        let kind = AttributeKind::String;
        return packer.add(&Attribute {
            name,
            kind,
            text,
            header: None,
        });
    }
    let text = header::decode(raw).map_err(|rule| EventError::new(name, rule))?;
    check_value(name, &text)?;
    // The producer's spelling is kept where we would choose another one.
    let header = match header::encode(&text) {
        Cow::Borrowed(canonical) if canonical.as_bytes() == raw => None,
        Cow::Owned(canonical) if canonical.as_bytes() == raw => None,
        _ if raw.is_ascii() => std::str::from_utf8(raw).ok(),
        _ => None,
    };
    packer.add(&Attribute {
        name,
        kind: AttributeKind::String,
        text: &text,
        header,
    })
}

/// Content-Type is the one header whose value is not percent-encoded.
fn add_content_type(packer: &mut Packer, value: &HeaderValue) -> Result<(), EventError> {
    let name = "datacontenttype";
    let text = value
        .to_str()
        .map_err(|_| EventError::new(name, Rule::MediaType))?;
    check_value(name, text)?;
    packer.add(&Attribute {
        name,
        kind: AttributeKind::String,
        text,
        header: None,
    })
}

/// Writes an event as a binary-mode message, without the attributes named in `skip`.
///
/// Data that came in as JSON without a content type gets the one that JSON implies.
#[must_use]
pub fn encode_binary(event: &Event, skip: &[&str]) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(16);
    let version = HeaderValue::from_static(event.spec_version().as_str());
    headers.insert(SPECVERSION.clone(), version);
    let mut typed = false;
    // The body is what the base64 of a 0.3 event stood for, so the body is not base64 any more.
    let unpacked =
        event.spec_version() == SpecVersion::V03 && event.data_form() == DataForm::Base64;
    for attribute in event.attributes() {
        let name = attribute.name;
        if skip.contains(&name) || (unpacked && name == "datacontentencoding") {
            continue;
        }
        if name == "datacontenttype" {
            if let Some(value) = share(event, attribute.text) {
                headers.insert(CONTENT_TYPE, value);
                typed = true;
            }
            continue;
        }
        let value = match attribute.header {
            Some(text) => share(event, text),
            None => match header::encode(attribute.text) {
                Cow::Borrowed(text) => share(event, text),
                Cow::Owned(text) => HeaderValue::from_maybe_shared(Bytes::from(text)).ok(),
            },
        };
        // An event's names and encoded values are header names and values.
        if let (Some(name), Some(value)) = (header_name(name), value) {
            headers.insert(name, value);
        }
    }
    if !typed && event.data_form() == DataForm::Json && !skip.contains(&"datacontenttype") {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    (headers, json::data_bytes(event))
}

/// Writes an event as a structured-mode message in JSON, without the attributes named in `skip`.
#[must_use]
pub fn encode_structured(event: &Event, skip: &[&str]) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    (headers, json::encode(event, skip).into())
}

/// A header value in the event's own memory.
fn share(event: &Event, text: &str) -> Option<HeaderValue> {
    if text.is_empty() {
        return Some(HeaderValue::from_static(""));
    }
    HeaderValue::from_maybe_shared(event.packed().slice_ref(text.as_bytes())).ok()
}

/// The headers of nearly every event.
static USUAL: [(&str, HeaderName); 7] = [
    ("id", HeaderName::from_static("ce-id")),
    ("source", HeaderName::from_static("ce-source")),
    ("type", HeaderName::from_static("ce-type")),
    ("time", HeaderName::from_static("ce-time")),
    ("subject", HeaderName::from_static("ce-subject")),
    ("dataschema", HeaderName::from_static("ce-dataschema")),
    (
        "knativearrivaltime",
        HeaderName::from_static("ce-knativearrivaltime"),
    ),
];
static SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");

fn header_name(attribute: &str) -> Option<HeaderName> {
    match USUAL.iter().find(|(name, _)| *name == attribute) {
        Some((_, header)) => Some(header.clone()),
        None => HeaderName::try_from(format!("{PREFIX}{attribute}")).ok(),
    }
}
