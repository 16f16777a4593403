//! How an event looks: attributes in a column, data below; or one line of JSON.
//!
//! `heddle listen`, `heddle events` and the handler `local://event-display` print alike. What is
//! printed is what there was: an event that breaks the rules of CloudEvents is shown all the same,
//! because a subscriber that is being written needs to see it. Data is shown as text where it is
//! text, and by its size where it is not; JSON is set out for people only on a terminal.

use std::io::Write;

use base64::Engine as _;
use bytes::Bytes;
use heddle_broker::event::{DataForm, Event};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json_text;

/// Data longer than this many bytes is cut off when it is shown to people.
const DATA_SHOWN_MAX: usize = 64 * 1024;
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// An event, ready to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Names and texts, `specversion` first, then in the order of the event.
    pub attributes: Vec<(String, Text)>,
    /// The data.
    pub data: Data,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A string.
    String(String),
    /// A number or a boolean, as JSON text.
    Literal(String),
}

impl Text {
    /// The text of the value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::String(text) | Self::Literal(text) => text,
        }
    }
}

/// The data of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Data {
    /// There is none.
    #[default]
    None,
    /// Bytes, of the type that `datacontenttype` says.
    Bytes(Bytes),
    /// The text of a JSON value.
    Json(String),
}

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One line of structured JSON an event.
    JsonLines,
    /// For people: `pretty` sets JSON data out, `color` paints.
    Text {
        /// Set JSON data out.
        pretty: bool,
        /// Paint.
        color: bool,
    },
}

impl Shown {
    /// An event of the broker.
    #[must_use]
    pub fn from_event(event: &Event) -> Self {
        use heddle_broker::event::AttributeKind;
        let version = Text::String(event.spec_version().as_str().to_owned());
        let mut attributes = vec![("specversion".to_owned(), version)];
        attributes.extend(event.attributes().map(|attribute| {
            let text = attribute.text.to_owned();
            let text = match attribute.kind {
                AttributeKind::String => Text::String(text),
                AttributeKind::Integer | AttributeKind::Boolean => Text::Literal(text),
            };
            (attribute.name.to_owned(), text)
        }));
        let data = match event.data_form() {
            DataForm::None => Data::None,
            DataForm::Bytes | DataForm::Base64 => Data::Bytes(event.data()),
            DataForm::Json => Data::Json(String::from_utf8_lossy(&event.data()).into_owned()),
        };
        Self { attributes, data }
    }

    /// A request, in binary or structured mode; a batch is several events. `None` where it has no
    /// sign of a CloudEvent.
    #[must_use]
    pub fn from_http(headers: &HeaderMap, body: &Bytes) -> Option<Vec<Self>> {
        let content_type = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/cloudevents+json") {
            let text = std::str::from_utf8(body).ok()?;
            return Some(vec![Self::from_json(text)?]);
        }
        if media.eq_ignore_ascii_case("application/cloudevents-batch+json") {
            let items: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
            return items
                .iter()
                .map(|item| Self::from_json(item.get()))
                .collect();
        }
        headers.get("ce-specversion")?;
        let mut attributes = Vec::new();
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix("ce-") else {
                continue;
            };
            let text = percent_decode(value.as_bytes());
            let at = if name == "specversion" {
                0
            } else {
                attributes.len()
            };
            attributes.insert(at, (name.to_owned(), Text::String(text)));
        }
        if !content_type.is_empty() {
            let text = Text::String(content_type.to_owned());
            attributes.push(("datacontenttype".to_owned(), text));
        }
        let data = if body.is_empty() {
            Data::None
        } else {
            Data::Bytes(body.clone())
        };
        Some(vec![Self { attributes, data }])
    }

    /// An event in structured JSON. `None` where the text is not a JSON object.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let Fields(fields) = serde_json::from_str(text).ok()?;
        let mut shown = Self::default();
        for (name, raw) in fields {
            let string: Option<String> = serde_json::from_str(raw.get()).ok();
            match (name.as_str(), string) {
                ("data", _) => shown.data = Data::Json(raw.get().to_owned()),
                ("data_base64", Some(text)) => {
                    let bytes = base64::engine::general_purpose::STANDARD.decode(&text);
                    shown.data = Data::Bytes(bytes.unwrap_or_else(|_| text.into_bytes()).into());
                }
                ("specversion", Some(text)) => {
                    shown.attributes.insert(0, (name, Text::String(text)));
                }
                (_, Some(text)) => shown.attributes.push((name, Text::String(text))),
                (_, None) => {
                    let literal = Text::Literal(raw.get().to_owned());
                    shown.attributes.push((name, literal));
                }
            }
        }
        Some(shown)
    }

    /// The text of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(own, _)| own == name);
        found.map(|(_, text)| text.as_str())
    }

    /// Shows the event.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, out: &mut dyn Write, style: Style) -> std::io::Result<()> {
        match style {
            Style::JsonLines => writeln!(out, "{}", self.to_json()),
            Style::Text { pretty, color } => self.write_text(out, pretty, color),
        }
    }

    fn write_text(&self, out: &mut dyn Write, pretty: bool, color: bool) -> std::io::Result<()> {
        let (bold, dim, reset) = if color {
            (BOLD, DIM, RESET)
        } else {
            ("", "", "")
        };
        let width = self.attributes.iter().map(|(name, _)| name.len()).max();
        let width = width.unwrap_or_default();
        for (name, text) in &self.attributes {
            let emphasis = if matches!(name.as_str(), "type" | "source" | "id") {
                bold
            } else {
                ""
            };
            let end = if emphasis.is_empty() { "" } else { reset };
            let text = printable(text.as_str());
            writeln!(out, "{dim}{name:<width$}{reset}  {emphasis}{text}{end}")?;
        }
        match &self.data {
            Data::None => Ok(()),
            Data::Json(text) => write_text_data(out, text, pretty, color),
            Data::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if is_text(text) => {
                    write_text_data(out, text, pretty && self.is_json(), color)
                }
                _ => writeln!(
                    out,
                    "\n{dim}({} bytes that are not text){reset}",
                    bytes.len()
                ),
            },
        }
    }

    /// Whether the data is of a JSON type; that is so where no type is given.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.attribute("datacontenttype").is_none_or(|text| {
            let media = text.split(';').next().unwrap_or_default().trim();
            let subtype = media.rsplit('/').next().unwrap_or_default();
            subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json")
        })
    }

    /// The event as one line of structured JSON. Data that is JSON stays as it was, but for line
    /// breaks between its values.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (name, text) in &self.attributes {
            push_string(&mut out, name);
            out.push(':');
            match text {
                Text::String(text) => push_string(&mut out, text),
                Text::Literal(text) => out.push_str(text),
            }
            out.push(',');
        }
        match &self.data {
            Data::None => {}
            Data::Json(text) => push_data(&mut out, text),
            Data::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if self.is_json() && is_json_text(text) => push_data(&mut out, text),
                Ok(text) if !self.is_json() => {
                    out.push_str("\"data\":");
                    push_string(&mut out, text);
                    out.push(',');
                }
                _ => {
                    out.push_str("\"data_base64\":");
                    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                    push_string(&mut out, &text);
                    out.push(',');
                }
            },
        }
        if out.ends_with(',') {
            out.pop();
        }
        out.push('}');
        out
    }
}

fn push_data(out: &mut String, json: &str) {
    // Line breaks in JSON text stand only between its values: inside strings they are escaped.
    let line = json.replace(['\n', '\r'], " ");
    out.push_str("\"data\":");
    out.push_str(line.trim());
    out.push(',');
}

fn push_string(out: &mut String, text: &str) {
    // A string is always representable, so that the fallback is never taken.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

fn is_json_text(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn write_text_data(
    out: &mut dyn Write,
    text: &str,
    pretty: bool,
    color: bool,
) -> std::io::Result<()> {
    let set_out = (pretty && text.len() <= DATA_SHOWN_MAX)
        .then(|| json_text::pretty(text, color))
        .flatten();
    let painted = set_out.is_some();
    let text = set_out.as_deref().unwrap_or(text);
    let end = if painted {
        text.len()
    } else {
        (0..=DATA_SHOWN_MAX.min(text.len()))
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or_default()
    };
    let (shown, hidden) = text.split_at(end);
    // Colour is ours; whatever else would drive the terminal is not let through.
    let shown = if painted {
        shown.to_owned()
    } else {
        shown.lines().map(printable).collect::<Vec<_>>().join("\n")
    };
    writeln!(out, "\n{shown}")?;
    if !hidden.is_empty() {
        writeln!(out, "({} bytes more)", hidden.len())?;
    }
    Ok(())
}

/// A text without control characters, which could drive the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn is_text(text: &str) -> bool {
    !text.contains('\0')
}

/// Decodes a header value (CloudEvents HTTP binding 1.0, section 3.1.3.2).
fn percent_decode(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The fields of a JSON object in their order, doubles included.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
