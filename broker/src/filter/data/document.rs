//! The data of an event as JSON, taken apart only where a filter looks.
//!
//! The text is checked once as a whole. Then each object and array on the way of some path is taken
//! apart one level, and kept, so that many filters cost one reading each of what they have in
//! common. Nothing is copied but names with escapes.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::path::{Path, Step};
use super::{DataError, MAX_DEPTH, MAX_SIZE};
use crate::event::attributes::is_json;
use crate::event::{DataForm, Event};

/// One value.
#[derive(Debug)]
pub(super) struct Node<'a> {
    text: &'a str,
    parts: OnceCell<Parts<'a>>,
}

#[derive(Debug)]
enum Parts<'a> {
    /// Of members with the same name the last one counts.
    Object(HashMap<Cow<'a, str>, Node<'a>>),
    Array(Vec<Node<'a>>),
    Scalar,
    /// JSON by its grammar, with a name that is no text: half a surrogate pair.
    Unreadable,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum View<'n, 'a> {
    Text(Cow<'a, str>),
    Number(&'a str),
    Boolean(bool),
    Null,
    Array(&'n [Node<'a>]),
    /// An object, or what is no text although it has quotes.
    Other,
}

/// The data of an event, ready to be looked at.
pub(super) fn read(event: &Event) -> Result<Node<'_>, DataError> {
    let form = event.data_form();
    let content_type = event.attribute("datacontenttype");
    let json = match content_type {
        Some(content_type) => is_json(content_type.text),
        // In the JSON format, data without a type is JSON.
        None => form == DataForm::Json,
    };
    if form == DataForm::None {
        return Err(DataError::NoData);
    }
    if !json {
        return Err(DataError::NotJson);
    }
    let data = event.data_slice();
    if data.len() > MAX_SIZE {
        return Err(DataError::Size);
    }
    let text = std::str::from_utf8(data).map_err(|_| DataError::Syntax)?;
    if depth(text) > MAX_DEPTH {
        return Err(DataError::Depth);
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| DataError::Syntax)?;
    Ok(Node::new(raw))
}

/// How deep arrays and objects are nested, in a text that may be JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            bytes.next();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

impl<'a> Node<'a> {
    fn new(raw: &'a RawValue) -> Self {
        Self {
            text: raw.get(),
            parts: OnceCell::new(),
        }
    }

    /// The text of the value, as it came.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The value at a path, where there is one.
    pub(super) fn at(&self, path: &Path) -> Result<Option<&Self>, DataError> {
        let mut node = self;
        for step in path.steps() {
            let below = match (step, node.parts()) {
                (_, Parts::Unreadable) => return Err(DataError::Syntax),
                (Step::Member(name), Parts::Object(members)) => members.get(&**name),
                (Step::Element(place), Parts::Array(elements)) => elements.get(*place),
                _ => None,
            };
            let Some(below) = below else {
                return Ok(None);
            };
            node = below;
        }
        Ok(Some(node))
    }

    /// What the value is.
    pub(super) fn view(&self) -> View<'_, 'a> {
        match self.text.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<Text<'a>>(self.text) {
                Ok(text) => View::Text(text.0),
                // Half a surrogate pair: JSON by its grammar, and no text.
                Err(_) => View::Other,
            },
            Some(b't') => View::Boolean(true),
            Some(b'f') => View::Boolean(false),
            Some(b'n') => View::Null,
            _ => match self.parts() {
                Parts::Array(elements) => View::Array(elements),
                Parts::Object(_) | Parts::Unreadable => View::Other,
                Parts::Scalar => View::Number(self.text),
            },
        }
    }

    fn parts(&self) -> &Parts<'a> {
        self.parts.get_or_init(|| {
            let parts = match self.text.as_bytes().first() {
                Some(b'{') => serde_json::from_str(self.text).map(|Members(m)| Parts::Object(m)),
                Some(b'[') => serde_json::from_str(self.text).map(|Elements(e)| Parts::Array(e)),
                _ => return Parts::Scalar,
            };
            parts.unwrap_or(Parts::Unreadable)
        })
    }
}

/// Borrows where there are no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<'a>(HashMap<Cow<'a, str>, Node<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = HashMap::new();
                while let Some((Text(name), raw)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    members.insert(name, Node::new(raw));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visit)
    }
}

struct Elements<'a>(Vec<Node<'a>>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut elements = Vec::new();
                while let Some(raw) = seq.next_element::<&RawValue>()? {
                    elements.push(Node::new(raw));
                }
                Ok(Elements(elements))
            }
        }

        deserializer.deserialize_seq(Visit)
    }
}
