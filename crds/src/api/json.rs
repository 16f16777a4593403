//! An object's JSON, of which it holds alone only what is its own.
//!
//! `metadata.managedFields` names the fields that somebody owns. These texts (`fieldsV1`) are about
//! half of a small object, and objects of one shape have the same ones. Each such text is held once,
//! and the rest is cut where it belongs. The rest is packed (see `packed.rs`).
//!
//! Laws: the whole is what `serde_json` writes of the value. The texts that are held together are
//! bounded by their pool and by [`LONGEST`]; what finds no place there is held by its object.

use std::sync::{Arc, LazyLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::packed::Own;
use crate::pool::Pool;

/// Where such texts stand in an object. Of a list, in every item.
const PLACE: [&str; 3] = ["metadata", "managedFields", "fieldsV1"];
/// The longest and the shortest texts that are held together, in bytes.
const LONGEST: usize = 8 * 1024;
const SHORTEST: usize = 64;

type Text = Arc<[u8]>;

/// Of the whole process, as the texts say nothing of where they belong.
static TEXTS: LazyLock<Pool<[u8]>> = LazyLock::new(Pool::default);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Json {
    own: Own,
    /// What belongs before which byte of its own text, in the order of places.
    shared: Box<[(usize, Text)]>,
}

impl Json {
    /// Writes a value down.
    pub(crate) fn of(value: &Value) -> Result<Self, serde_json::Error> {
        let mut writing = Writing::default();
        writing.put(value, &PLACE)?;
        let text = |field: &str| value[field].as_str().unwrap_or_default();
        Ok(Self {
            own: Own::new(writing.own, &[text("apiVersion"), text("kind")].join("\0")),
            shared: writing.shared.into_boxed_slice(),
        })
    }

    /// The length of the whole in bytes.
    pub(crate) fn len(&self) -> usize {
        let shared = self.shared.iter().map(|(_, text)| text.len());
        self.own.len() + shared.sum::<usize>()
    }

    /// Writes the whole.
    pub(crate) fn write(&self, out: &mut impl BufMut) {
        let own = self.own.text();
        let mut from = 0;
        for (at, text) in &self.shared {
            out.put_slice(own.get(from..*at).unwrap_or_default());
            out.put_slice(text);
            from = *at;
        }
        out.put_slice(own.get(from..).unwrap_or_default());
    }

    /// The whole in one piece.
    pub(crate) fn bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.len());
        self.write(&mut out);
        out.freeze()
    }

    /// The value.
    pub(crate) fn value(&self) -> Value {
        // It was made from a value.
        let parsed = if self.shared.is_empty() {
            serde_json::from_slice(&self.own.text())
        } else {
            serde_json::from_slice(&self.bytes())
        };
        parsed.unwrap_or(Value::Null)
    }
}

#[derive(Default)]
struct Writing {
    own: Vec<u8>,
    shared: Vec<(usize, Text)>,
}

impl Writing {
    /// Writes a value in which texts to be shared stand at `place`.
    fn put(&mut self, value: &Value, place: &[&str]) -> Result<(), serde_json::Error> {
        let Some((step, rest)) = place.split_first() else {
            return self.put_shared(value);
        };
        match value {
            Value::Object(fields) => {
                self.own.push(b'{');
                for (number, (name, value)) in fields.iter().enumerate() {
                    if number > 0 {
                        self.own.push(b',');
                    }
                    serde_json::to_writer(&mut self.own, name)?;
                    self.own.push(b':');
                    if name == step {
                        self.put(value, rest)?;
                    } else {
                        serde_json::to_writer(&mut self.own, value)?;
                    }
                }
                self.own.push(b'}');
            }
            Value::Array(items) => {
                self.own.push(b'[');
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        self.own.push(b',');
                    }
                    self.put(item, place)?;
                }
                self.own.push(b']');
            }
            other => serde_json::to_writer(&mut self.own, other)?,
        }
        Ok(())
    }

    fn put_shared(&mut self, value: &Value) -> Result<(), serde_json::Error> {
        let text = serde_json::to_vec(value)?;
        match shared(&text) {
            Some(text) => self.shared.push((self.own.len(), text)),
            None => self.own.extend_from_slice(&text),
        }
        Ok(())
    }
}

/// The text as all hold it; nothing where there is no place for it.
fn shared(text: &[u8]) -> Option<Text> {
    let fits = (SHORTEST..=LONGEST).contains(&text.len());
    fits.then(|| TEXTS.share(text, || text.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::{Value, json};

    use super::Json;

    fn object(name: &str, owned: &str) -> Value {
        let fields =
            json!({"f:spec": {"f:subscriber": {".": {}, owned: {}, "f:ref": {"f:name": {}}}}});
        json!({
            "apiVersion": "v1",
            "kind": "T",
            "metadata": {
                "name": name,
                "managedFields": [
                    {"manager": "a", "fieldsV1": fields, "time": "t"},
                    {"manager": "b", "fieldsV1": {}},
                    {"manager": "c", "fieldsV1": fields, "fieldsType": "FieldsV1"},
                ],
            },
            "spec": {"metadata": {"managedFields": [{"fieldsV1": fields}]}, "text": "\"\u{e9}\n"},
        })
    }

    #[test]
    fn the_whole_is_what_was_written() {
        for value in [
            object("a", "f:uri"),
            json!({}),
            json!({"metadata": {"managedFields": "none", "name": "a"}}),
            json!({"metadata": [{"managedFields": {"fieldsV1": "x".repeat(100)}}]}),
            json!([]),
        ] {
            let json = Json::of(&value).unwrap();
            assert_eq!(json.bytes(), value.to_string());
            assert_eq!(json.len(), value.to_string().len());
            assert_eq!(json.value(), value);
        }
    }

    #[test]
    fn what_objects_have_alike_is_held_once() {
        let one = Json::of(&object("a", "f:alike")).unwrap();
        let other = Json::of(&object("b", "f:alike")).unwrap();
        assert_eq!(one.shared.len(), 2, "the empty one is not worth it");
        for ((_, one), (_, other)) in one.shared.iter().zip(&other.shared) {
            assert!(std::sync::Arc::ptr_eq(one, other));
        }
        assert!(one.own.len() + 100 < one.len());
    }
}
