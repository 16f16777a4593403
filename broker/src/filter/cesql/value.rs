//! Values of CESQL, and the casts between their types (specification, sections 3.1 and 3.7).
//!
//! Text is borrowed from the event or the expression wherever it is not made by a function, so that
//! looking at attributes allocates nothing.

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::event::{Attribute, AttributeKind};

/// The types of CESQL. Sets stand in expressions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Unicode text.
    String,
    /// A whole number of 32 bits.
    Integer,
    /// True or false.
    Boolean,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "String",
            Self::Integer => "Integer",
            Self::Boolean => "Boolean",
        })
    }
}

impl Type {
    /// The value that an operator of this type has where there is no better one.
    #[must_use]
    pub fn zero(self) -> Value<'static> {
        match self {
            Self::String => Value::String(Cow::Borrowed("")),
            Self::Integer => Value::Integer(0),
            Self::Boolean => Value::Boolean(false),
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text.
    String(Cow<'a, str>),
    /// A whole number.
    Integer(i32),
    /// True or false.
    Boolean(bool),
}

impl<'a> Value<'a> {
    /// The value of an event's attribute, of the type that it had on the wire.
    #[must_use]
    pub fn of(attribute: &Attribute<'a>) -> Self {
        let text = attribute.text;
        match attribute.kind {
            AttributeKind::Integer => text.parse().ok().map(Self::Integer),
            AttributeKind::Boolean => text.parse().ok().map(Self::Boolean),
            AttributeKind::String => None,
        }
        .unwrap_or(Self::String(Cow::Borrowed(text)))
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            Self::String(_) => Type::String,
            Self::Integer(_) => Type::Integer,
            Self::Boolean(_) => Type::Boolean,
        }
    }

    /// The value as an Integer. None where the text is no decimal number of 32 bits.
    #[must_use]
    pub fn to_integer(&self) -> Option<i32> {
        match self {
            Self::String(text) => text.parse().ok(),
            Self::Integer(number) => Some(*number),
            Self::Boolean(flag) => Some(i32::from(*flag)),
        }
    }

    /// The value as a Boolean. None where the text is neither `true` nor `false`, in any case.
    #[must_use]
    pub fn to_boolean(&self) -> Option<bool> {
        match self {
            Self::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Self::String(_) => None,
            Self::Integer(number) => Some(*number != 0),
            Self::Boolean(flag) => Some(*flag),
        }
    }

    /// The value as a String.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::String(text) => text,
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Boolean(flag) => Cow::Borrowed(boolean_text(flag)),
        }
    }

    /// Hands the value as a String to `look`, without allocating.
    pub fn with_text<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::String(text) => look(text),
            Self::Integer(number) => look(IntegerText::new(*number).as_str()),
            Self::Boolean(flag) => look(boolean_text(*flag)),
        }
    }

    /// Whether this value, cast to the type of `other`, equals it. None where the cast fails.
    #[must_use]
    pub fn equals(&self, other: &Self) -> Option<bool> {
        match other {
            Self::String(other) => Some(self.with_text(|text| text == other)),
            Self::Integer(other) => self.to_integer().map(|number| number == *other),
            Self::Boolean(other) => self.to_boolean().map(|flag| flag == *other),
        }
    }
}

fn boolean_text(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// The decimal text of an Integer, on the stack.
struct IntegerText {
    bytes: [u8; 11],
    len: usize,
}

impl IntegerText {
    fn new(number: i32) -> Self {
        let mut text = Self {
            bytes: [0; 11],
            len: 0,
        };
        // Eleven bytes hold every number, so that nothing is cut off.
        let _ = write!(text, "{number}");
        text
    }

    fn as_str(&self) -> &str {
        self.bytes
            .get(..self.len)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl Write for IntegerText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let place = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
