//! Bodies in the protobuf of Kubernetes: what Go's typed clients (`kubectl create`, Helm) send of
//! the built-in kinds. They become the JSON that the same client would have sent instead.
//!
//! A body is an envelope, with the kind and a message. `fields.txt` tells the fields of the
//! messages, by number. As in the JSON of Go's clients, what is zero and need not be told is left
//! out; a field that is not in the table is passed over. Answers are JSON always, which these
//! clients take too.
//!
//! Laws: bytes that are not a message are refused, never a panic; messages nest [`DEPTH`] deep at
//! most; a value takes no more memory than the same in JSON would.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::error::ApiError;

/// The content type.
pub(crate) const MEDIA: &str = "application/vnd.kubernetes.protobuf";

/// How an envelope starts.
const MAGIC: &[u8] = b"k8s\0";
/// How deep messages nest. The deepest of the table is below 20.
const DEPTH: usize = 32;

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    #[error("the body does not start with the envelope of Kubernetes' protobuf")]
    NoEnvelope,
    #[error("the message ends in the middle of a field")]
    Truncated,
    #[error("field {number} has the wire type {wire}, which its type does not have")]
    WireType {
        /// The number of the field.
        number: u64,
        /// What was found.
        wire: u64,
    },
    #[error("the field {field} is not {expected}")]
    Malformed {
        /// Its name.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    #[error("messages nest deeper than {DEPTH}")]
    TooDeep,
    #[error("{kind} of {api_version} cannot be read in protobuf here")]
    UnknownKind {
        /// The group and version.
        api_version: String,
        /// The kind.
        kind: String,
    },
}

impl From<ProtobufError> for ApiError {
    fn from(error: ProtobufError) -> Self {
        match error {
            // A client that speaks JSON too may try again with that.
            ProtobufError::UnknownKind { .. } => Self::unsupported_media_type("application/json"),
            error => Self::bad_request(format!("error decoding protobuf: {error}")),
        }
    }
}

/// What a field holds, each time that it occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Text,
    Flag,
    Number,
    /// Base64 in JSON.
    Bytes,
    /// RFC 3339 in JSON, to the second or to the microsecond.
    Time {
        micros: bool,
    },
    /// Text in a message of its own.
    Quantity,
    IntOrString,
    /// JSON as it is.
    Raw,
    Message(&'static str),
}

/// How often a field may occur, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One {
        /// Whether it is left out when it is zero.
        omitted: bool,
    },
    Many,
    /// Each time a key and a value.
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    number: u64,
    /// Its name in JSON: `-` for a message whose fields belong to the one around it, `*` for a
    /// message that is this list.
    name: &'static str,
    shape: Shape,
    of: Type,
}

/// The messages that are known.
#[derive(Debug, Default)]
struct Table {
    /// By group and version (`*` for any), and kind.
    kinds: HashMap<(&'static str, &'static str), &'static str>,
    /// The fields of each message.
    messages: HashMap<&'static str, Vec<Field>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("fields.txt")));

/// The object in a body.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
    let (mut kind, mut raw) = (Map::new(), &[][..]);
    let mut reader = Reader(envelope);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => kind = type_meta(bytes)?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let text = |name: &str| kind.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, name) = (text("apiVersion"), text("kind"));
    let message = TABLE
        .kind(version, name)
        .ok_or_else(|| ProtobufError::UnknownKind {
            api_version: version.to_owned(),
            kind: name.to_owned(),
        })?;
    let mut object = TABLE.message(message, raw, DEPTH)?;
    if let Value::Object(fields) = &mut object {
        fields.append(&mut kind);
    }
    Ok(object)
}

/// `apiVersion` and `kind`.
fn type_meta(bytes: &[u8]) -> Result<Map<String, Value>, ProtobufError> {
    let mut found = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.field()? {
        let name = match number {
            1 => "apiVersion",
            2 => "kind",
            _ => continue,
        };
        found.insert(name.to_owned(), text(name, number, wire)?.into());
    }
    Ok(found)
}

impl Table {
    /// Reads the text of the table; a line that is none of its forms counts for nothing.
    fn parse(text: &'static str) -> Self {
        let mut table = Self::default();
        let mut message = "";
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["kind", version, kind, message] => {
                    table.kinds.insert((version, kind), message);
                }
                ["message", name] => message = name,
                [number, name, of] => {
                    if let Ok(number) = number.parse() {
                        let fields = table.messages.entry(message).or_default();
                        fields.push(Field::parse(number, name, of));
                    }
                }
                _ => {}
            }
        }
        table
    }

    fn kind(&self, version: &str, kind: &str) -> Option<&'static str> {
        let found = self.kinds.get(&(version, kind));
        found.or_else(|| self.kinds.get(&("*", kind))).copied()
    }

    fn message(
        &self,
        name: &'static str,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, ProtobufError> {
        let depth = depth.checked_sub(1).ok_or(ProtobufError::TooDeep)?;
        // A message without a field that is told has no entry.
        let fields = self.messages.get(name).map_or(&[][..], Vec::as_slice);
        let mut object = Map::new();
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.field()? {
            if let Some(field) = fields.iter().find(|field| field.number == number) {
                self.field(field, wire, depth, &mut object)?;
            }
        }
        let is_list = fields.iter().any(|field| field.name == "*");
        Ok(if is_list {
            object.remove("*").unwrap_or_else(|| json!([]))
        } else {
            Value::Object(object)
        })
    }

    fn field(
        &self,
        field: &Field,
        wire: Wire<'_>,
        depth: usize,
        object: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        match field.shape {
            Shape::One { omitted } => {
                let value = self.value(field, wire, depth)?;
                match value {
                    Value::Object(mut inner) if field.name == "-" => object.append(&mut inner),
                    value if omitted && is_zero(&value) => {}
                    value => {
                        object.insert(field.name.to_owned(), value);
                    }
                }
            }
            Shape::Many => {
                let value = self.value(field, wire, depth)?;
                let list = object.entry(field.name).or_insert_with(|| json!([]));
                if let Value::Array(items) = list {
                    items.push(value);
                }
            }
            Shape::Map => {
                let (key, value) = self.entry(field, wire, depth)?;
                let map = object.entry(field.name).or_insert_with(|| json!({}));
                if let Value::Object(entries) = map {
                    entries.insert(key, value);
                }
            }
        }
        Ok(())
    }

    /// One entry of a map. A key or a value that is not there is empty.
    fn entry(
        &self,
        field: &Field,
        wire: Wire<'_>,
        depth: usize,
    ) -> Result<(String, Value), ProtobufError> {
        let mut reader = Reader(wire.bytes(field.number)?);
        let (mut key, mut value) = (String::new(), None);
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => key = text(field.name, number, wire)?,
                2 => value = Some(self.value(field, wire, depth)?),
                _ => {}
            }
        }
        let value = value.map_or_else(|| self.value(field, Wire::Bytes(&[]), depth), Ok)?;
        Ok((key, value))
    }

    fn value(&self, field: &Field, wire: Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
        let number = field.number;
        Ok(match field.of {
            Type::Text => text(field.name, number, wire)?.into(),
            Type::Flag => (wire.varint(number)? != 0).into(),
            Type::Number => wire.varint(number)?.cast_signed().into(),
            Type::Bytes => BASE64.encode(wire.bytes(number)?).into(),
            Type::Time { micros } => time(field.name, wire.bytes(number)?, micros)?,
            Type::Quantity => match part(wire.bytes(number)?, 1)? {
                Some(wire) => text(field.name, 1, wire)?.into(),
                None => "0".into(),
            },
            Type::IntOrString => int_or_string(field.name, wire.bytes(number)?)?,
            Type::Raw => match part(wire.bytes(number)?, 1)? {
                None => Value::Null,
                Some(wire) => serde_json::from_slice(wire.bytes(1)?).map_err(|_| {
                    let (field, expected) = (field.name, "JSON");
                    ProtobufError::Malformed { field, expected }
                })?,
            },
            Type::Message(name) => self.message(name, wire.bytes(number)?, depth)?,
        })
    }
}

impl Field {
    fn parse(number: u64, name: &'static str, of: &'static str) -> Self {
        let bare = of.trim_end_matches('?');
        let (shape, bare) = if let Some(item) = bare.strip_prefix("[]") {
            (Shape::Many, item)
        } else if let Some(item) = bare.strip_prefix("map:") {
            (Shape::Map, item)
        } else {
            let omitted = of.ends_with('?');
            (Shape::One { omitted }, bare)
        };
        let of = match bare {
            "string" => Type::Text,
            "bool" => Type::Flag,
            "int" => Type::Number,
            "bytes" => Type::Bytes,
            "time" => Type::Time { micros: false },
            "microtime" => Type::Time { micros: true },
            "quantity" => Type::Quantity,
            "intorstring" => Type::IntOrString,
            "raw" => Type::Raw,
            message => Type::Message(message),
        };
        Self {
            number,
            name,
            shape,
            of,
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => false,
    }
}

fn text(field: &'static str, number: u64, wire: Wire<'_>) -> Result<String, ProtobufError> {
    let expected = "UTF-8 text";
    String::from_utf8(wire.bytes(number)?.to_vec())
        .map_err(|_| ProtobufError::Malformed { field, expected })
}

/// The last field of that number.
fn part(bytes: &[u8], wanted: u64) -> Result<Option<Wire<'_>>, ProtobufError> {
    let mut found = None;
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == wanted {
            found = Some(wire);
        }
    }
    Ok(found)
}

/// Seconds and nanoseconds; null where there are none, as for Go's zero time.
fn time(field: &'static str, bytes: &[u8], micros: bool) -> Result<Value, ProtobufError> {
    let number = |wanted: u64| -> Result<Option<i64>, ProtobufError> {
        let wire = part(bytes, wanted)?;
        let number = wire.map(|wire| wire.varint(wanted)).transpose()?;
        Ok(number.map(u64::cast_signed))
    };
    let Some(seconds) = number(1)? else {
        return Ok(Value::Null);
    };
    let expected = "a time";
    let malformed = ProtobufError::Malformed { field, expected };
    let nanos = i32::try_from(number(2)?.unwrap_or(0)).map_err(|_| malformed.clone())?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| malformed)?;
    let format = if micros {
        "%Y-%m-%dT%H:%M:%S%.6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    Ok(time.strftime(format).to_string().into())
}

/// Which of the two, the number, the text.
fn int_or_string(field: &'static str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let varint = |wanted| -> Result<u64, ProtobufError> {
        part(bytes, wanted)?.map_or(Ok(0), |wire| wire.varint(wanted))
    };
    Ok(if varint(1)? == 0 {
        varint(2)?.cast_signed().into()
    } else {
        let wire = part(bytes, 3)?.unwrap_or(Wire::Bytes(&[]));
        text(field, 3, wire)?.into()
    })
}

/// A field as it was sent.
#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of 8 or 4 bytes: no type of the table is sent so.
    Fixed(u64),
}

impl<'a> Wire<'a> {
    fn kind(self) -> u64 {
        match self {
            Self::Varint(_) => 0,
            Self::Bytes(_) => 2,
            Self::Fixed(wire) => wire,
        }
    }

    fn bytes(self, number: u64) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.unexpected(number)),
        }
    }

    fn varint(self, number: u64) -> Result<u64, ProtobufError> {
        match self {
            Self::Varint(value) => Ok(value),
            // The value of a map's entry that is not there.
            Self::Bytes([]) => Ok(0),
            other => Err(other.unexpected(number)),
        }
    }

    fn unexpected(self, number: u64) -> ProtobufError {
        let wire = self.kind();
        ProtobufError::WireType { number, wire }
    }
}

/// What is left of a message.
#[derive(Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field, with its number.
    fn field(&mut self) -> Result<Option<(u64, Wire<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (number, wire) = (tag >> 3, tag & 7);
        let value = match wire {
            0 => Wire::Varint(self.varint()?),
            1 | 5 => {
                self.take(if wire == 1 { 8 } else { 4 })?;
                Wire::Fixed(wire)
            }
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            _ => return Err(ProtobufError::WireType { number, wire }),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtobufError> {
        let length = usize::try_from(length).map_err(|_| ProtobufError::Truncated)?;
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(ProtobufError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Truncated)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
