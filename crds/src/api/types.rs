//! What the schema says of how values are put together: which lists have items that can be told
//! apart, and which maps and lists are owned as a whole.
//!
//! Where the schema says nothing, in fields that it preserves unknown, the type is deduced from
//! the value: maps are granular, lists are atomic.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::managed::{Element, Literal};

/// The metadata that every object has.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({"type": "object", "properties": {
        "name": text(), "generateName": text(), "namespace": text(), "uid": text(),
        "resourceVersion": text(), "selfLink": text(), "creationTimestamp": text(),
        "deletionTimestamp": text(),
        "generation": {"type": "integer"},
        "deletionGracePeriodSeconds": {"type": "integer"},
        "labels": texts(), "annotations": texts(),
        "finalizers": {
            "type": "array", "items": text(), "x-kubernetes-list-type": "set",
            "x-kubernetes-patch-strategy": "merge",
        },
        "ownerReferences": {
            "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "uid",
            "items": {
                "type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {
                    "apiVersion": text(), "kind": text(), "name": text(), "uid": text(),
                    "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
                },
            },
        },
        "managedFields": {"type": "array", "items": {"type": "object"}},
    }})
});
static SCALAR: LazyLock<Value> = LazyLock::new(|| json!({"type": "string"}));

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type<'a> {
    /// A whole object of a kind with this schema.
    Object(&'a Value),
    /// What a schema describes; `open` where fields that it does not declare are kept.
    Known {
        /// The schema.
        schema: &'a Value,
        /// Whether a schema around it, or itself, preserves unknown fields.
        open: bool,
    },
    /// What the value is.
    Deduced,
}

/// How a strategic merge patch treats a value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strategy<'a> {
    /// Lists are merged.
    pub(crate) merge: bool,
    /// Maps are replaced.
    pub(crate) replace: bool,
    /// The field that tells the items of a list apart.
    pub(crate) key: Option<&'a str>,
}

/// How the items of a list are owned.
#[derive(Clone, Copy, Debug)]
enum List<'a> {
    Atomic,
    Set,
    Map(&'a [Value]),
}

impl<'a> Type<'a> {
    fn known(schema: &'a Value, open: bool) -> Self {
        // What is put together of other schemas is not understood here.
        if schema.get("$ref").is_some() || !schema.is_object() {
            return Self::Deduced;
        }
        let open = open || schema["x-kubernetes-preserve-unknown-fields"] == true;
        Self::Known { schema, open }
    }

    /// The type of a field, and whether the schema declares it by name; `None` where there may
    /// be no such field.
    pub(crate) fn field(self, name: &str) -> Option<(Self, bool)> {
        match self {
            Self::Deduced => Some((Self::Deduced, false)),
            Self::Object(schema) => match name {
                "metadata" => Some((Self::known(&METADATA, false), true)),
                "apiVersion" | "kind" => Some((Self::known(&SCALAR, false), true)),
                _ => Self::known(schema, false).field(name),
            },
            Self::Known { schema, open } => {
                let properties = schema["properties"].as_object();
                if let Some(field) = properties.and_then(|all| all.get(name)) {
                    return Some((Self::known(field, open), true));
                }
                match schema.get("additionalProperties") {
                    Some(Value::Bool(false)) => None,
                    Some(Value::Bool(true)) => Some((Self::Deduced, false)),
                    Some(others) => Some((Self::known(others, open), false)),
                    None if open || properties.is_none_or(serde_json::Map::is_empty) => {
                        Some((Self::Deduced, false))
                    }
                    None => None,
                }
            }
        }
    }

    /// The type behind a step, and whether the schema declares it by name.
    pub(crate) fn child(self, element: &Element) -> (Self, bool) {
        match element {
            Element::Field(name) => self.field(name).unwrap_or((Self::Deduced, false)),
            Element::Key(_) | Element::Item(_) | Element::Index(_) => (self.item(), false),
        }
    }

    /// The type of a list's items.
    pub(crate) fn item(self) -> Self {
        match self {
            Self::Known { schema, open } => schema
                .get("items")
                .map_or(Self::Deduced, |items| Self::known(items, open)),
            Self::Object(_) | Self::Deduced => Self::Deduced,
        }
    }

    /// Whether a map of this type is owned as a whole.
    pub(crate) fn is_atomic_map(self) -> bool {
        matches!(self, Self::Known { schema, .. } if schema["x-kubernetes-map-type"] == "atomic")
    }

    /// Whether the schema alone says that values are owned as a whole.
    pub(crate) fn is_atomic(self) -> bool {
        match self {
            Self::Known { schema, .. } if schema["type"] == "array" => {
                matches!(self.list(), List::Atomic)
            }
            _ => self.is_atomic_map(),
        }
    }

    /// How a strategic merge patch treats a value of this type.
    pub(crate) fn strategy(self) -> Strategy<'a> {
        let Self::Known { schema, .. } = self else {
            return Strategy::default();
        };
        let named = schema["x-kubernetes-patch-strategy"].as_str();
        let has = |strategy: &str| named.is_some_and(|all| all.split(',').any(|s| s == strategy));
        Strategy {
            merge: has("merge"),
            replace: has("replace"),
            key: schema["x-kubernetes-patch-merge-key"].as_str(),
        }
    }

    fn list(self) -> List<'a> {
        let Self::Known { schema, .. } = self else {
            return List::Atomic;
        };
        match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => List::Set,
            Some("map") => match schema["x-kubernetes-list-map-keys"].as_array() {
                Some(keys) if !keys.is_empty() => List::Map(keys),
                _ => List::Atomic,
            },
            _ => List::Atomic,
        }
    }

    /// The steps to the items of a list, in its order; `None` where the list is owned as a
    /// whole. The error says which item has no step of its own, and why.
    pub(crate) fn elements(self, items: &[Value]) -> Result<Option<Vec<Element>>, (usize, String)> {
        let element = |item: &Value| match self.list() {
            List::Atomic => Ok(None),
            List::Set => set_element(item).map(Some).map_err(str::to_owned),
            List::Map(keys) => self.key_element(keys, item).map(Some),
        };
        items
            .iter()
            .enumerate()
            .map(|(at, item)| element(item).map_err(|why| (at, why)))
            .collect::<Result<Option<Vec<Element>>, _>>()
            .map(|found| found.filter(|_| !matches!(self.list(), List::Atomic)))
    }

    fn key_element(self, keys: &[Value], item: &Value) -> Result<Element, String> {
        let Some(map) = item.as_object() else {
            let what = if item.is_null() { "a null" } else { "non-map" };
            return Err(format!(
                "associative list with keys may not have {what} element{}",
                if item.is_null() { "" } else { "s" }
            ));
        };
        let mut fields = Vec::with_capacity(keys.len());
        for key in keys.iter().filter_map(Value::as_str) {
            let default = || match self.item() {
                Self::Known { schema, .. } => schema["properties"][key].get("default"),
                Self::Object(_) | Self::Deduced => None,
            };
            // Items that leave out a key are told apart from those that have it.
            if let Some(value) = map.get(key).or_else(default) {
                fields.push((key.to_owned(), Literal(value.clone())));
            }
        }
        if fields.is_empty() {
            let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and \
                 doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        fields.sort();
        Ok(Element::Key(fields))
    }
}

fn set_element(item: &Value) -> Result<Element, &'static str> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type"),
        Value::Array(_) => Err("not supported: associative list with lists as elements"),
        Value::Null => Err("associative list without keys has an element that's an explicit null"),
        scalar => Ok(Element::Item(Literal(scalar.clone()))),
    }
}
