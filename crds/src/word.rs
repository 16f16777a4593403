//! A short text that many objects have alike: the type of a condition, the reason for it.
//!
//! Each such text is held once, and a word is one pointer to it. Whatever is longer than
//! [`LONGEST`] is held by its object alone.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pool::Pool;

/// The longest text that is held together with others, in bytes.
const LONGEST: usize = 64;

type Text = Box<str>;

/// Of the whole process: most words are names that the program itself gives.
static WORDS: LazyLock<Pool<Text>> = LazyLock::new(Pool::default);

/// See the module. A box in an `Arc`, as a pointer to a `str` alone would be two words long.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Option<Arc<Text>>);

impl Word {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().map_or("", AsRef::as_ref)
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        if text.is_empty() {
            return Self(None);
        }
        let text = Text::from(text);
        Self(Some(if text.len() <= LONGEST {
            WORDS.share(&text, || Arc::new(text.clone()))
        } else {
            Arc::new(text)
        }))
    }
}

impl PartialEq<str> for Word {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(|text| Self::from(&*text))
    }
}

impl JsonSchema for Word {
    fn inline_schema() -> bool {
        String::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn words_are_texts_and_alike_ones_are_held_once() {
        assert_eq!(size_of::<Word>(), size_of::<usize>());
        let long =
            "a message of more than sixty-four bytes, which is hardly ever the same as another";
        for text in ["", "Ready", "\"\n\u{e9}", long] {
            let word = Word::from(text);
            let json = serde_json::to_string(&word).unwrap();
            assert_eq!(json, serde_json::to_string(text).unwrap());
            let read: Word = serde_json::from_str(&json).unwrap();
            assert_eq!((&read, read.as_str()), (&word, text));
            if let (Some(one), Some(other)) = (&read.0, &word.0) {
                assert_eq!(Arc::ptr_eq(one, other), text != long, "{text}");
            }
        }
        let mut words = ["b", "", "a"].map(Word::from);
        words.sort();
        assert_eq!(words, ["", "a", "b"]);
    }
}
