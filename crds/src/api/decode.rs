//! Bodies as values: JSON and YAML.
//!
//! A field that is given twice is a mistake that JSON readers pass over; the last one counts, as
//! with Kubernetes, and the fields are reported so that clients who ask for it are warned.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, budget, options};

use super::patch::MAX_DEPTH;

/// Duplicates that are named in one answer.
const MAX_NAMED: usize = 20;

/// A body that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoded {
    /// Its value.
    pub(crate) value: Value,
    /// What is wrong with it and does not matter, in words.
    pub(crate) mistakes: Vec<String>,
}

impl Decoded {
    /// What was written in a form that knows no mistakes.
    pub(crate) fn of(value: Value) -> Self {
        Self {
            value,
            mistakes: Vec::new(),
        }
    }
}

/// Reads JSON. Nesting is bounded by the reader, at 128 levels.
pub(crate) fn json(body: &[u8]) -> Result<Decoded, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let mut path = String::new();
    let mut duplicates = Vec::new();
    let value = Tree {
        path: &mut path,
        duplicates: &mut duplicates,
    }
    .deserialize(&mut reader)?;
    reader.end()?;
    let mistakes = duplicates
        .iter()
        .map(|path| format!("duplicate field {path:?}"))
        .collect();
    Ok(Decoded { value, mistakes })
}

/// Reads YAML, of which JSON is a part. Nesting, aliases and the number of values are bounded.
pub(crate) fn yaml(body: &[u8]) -> Result<Decoded, serde_saphyr::Error> {
    if let Ok(decoded) = json(body) {
        return Ok(decoded);
    }
    let read = |duplicate_keys| {
        let options = options! {
            budget: budget! { max_depth: MAX_DEPTH, max_documents: 1 },
            duplicate_keys: duplicate_keys,
            with_snippet: false,
        };
        serde_saphyr::from_slice_with_options::<Value>(body, options)
    };
    match read(DuplicateKeyPolicy::Error) {
        Ok(value) => Ok(Decoded::of(value)),
        Err(error) => read(DuplicateKeyPolicy::LastWins).map(|value| Decoded {
            value,
            mistakes: vec![error.to_string()],
        }),
    }
}

/// Builds a value, and notes what stands in an object twice.
struct Tree<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Self { path, duplicates } = self;
        let mut values = Vec::new();
        let length = path.len();
        loop {
            path.push_str(&format!("[{}]", values.len()));
            let seed = Tree {
                path: &mut *path,
                duplicates: &mut *duplicates,
            };
            let next = items.next_element_seed(seed)?;
            path.truncate(length);
            match next {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let Self { path, duplicates } = self;
        let mut map = Map::new();
        let length = path.len();
        while let Some(name) = fields.next_key::<String>()? {
            if length > 0 {
                path.push('.');
            }
            path.push_str(&name);
            if map.contains_key(&name) && duplicates.len() < MAX_NAMED {
                duplicates.push(path.clone());
            }
            let value = fields.next_value_seed(Tree {
                path: &mut *path,
                duplicates: &mut *duplicates,
            })?;
            path.truncate(length);
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_of_two_fields_counts_and_both_are_reported() {
        let text = br#"{"a": 1, "b": [{"c": 1.5}, {"c": "x", "c": null}], "a": -2}"#;
        let decoded = json(text).unwrap();
        assert_eq!(
            decoded.value,
            json!({"a": -2, "b": [{"c": 1.5}, {"c": null}]})
        );
        assert_eq!(
            decoded.mistakes,
            [r#"duplicate field "b[1].c""#, r#"duplicate field "a""#]
        );
        assert!(json(b"{} x").is_err() && json(b"").is_err());
    }

    #[test]
    fn yaml_is_read_within_bounds() {
        let decoded = yaml(b"a: 1\nb: [true, null, \"x\"]\na: 2\n").unwrap();
        assert_eq!(decoded.value, json!({"a": 2, "b": [true, null, "x"]}));
        assert_eq!(decoded.mistakes.len(), 1, "{:?}", decoded.mistakes);
        assert!(yaml(b"a: [\n").is_err());
        let deep = "[".repeat(5_000);
        assert!(yaml(deep.as_bytes()).is_err());
        assert!(json(deep.as_bytes()).is_err());
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for n in 1..40 {
            let one = format!("*a{}", n - 1);
            bomb += &format!("a{n}: &a{n} [{}]\n", [one.as_str(); 9].join(", "));
        }
        assert!(yaml(bomb.as_bytes()).is_err());
    }
}
