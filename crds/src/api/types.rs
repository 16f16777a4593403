//! What the schema says of how values are put together: which lists have items that can be told
//! apart, and which maps and lists are owned as a whole.
//!
//! Where the schema says nothing, in fields that it preserves unknown, the type is deduced from
//! the value: maps are granular, lists are atomic.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::managed::{Element, Literal};
use crate::structural::{self, ListType, Schema, Strategy};

/// The metadata that every object has.
static METADATA: LazyLock<Schema> = LazyLock::new(|| {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    Schema::compile(&json!({"type": "object", "properties": {
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
    }}))
});
static SCALAR: LazyLock<Schema> = LazyLock::new(|| Schema::compile(&json!({"type": "string"})));

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type<'a> {
    /// A whole object of a kind with this schema.
    Object(&'a Schema),
    /// What a schema describes; `open` where fields that it does not declare are kept.
    Known {
        /// The schema.
        schema: &'a Schema,
        /// Whether a schema around it, or itself, preserves unknown fields.
        open: bool,
    },
    /// What the value is.
    Deduced,
}

impl<'a> Type<'a> {
    fn known(schema: &'a Schema, open: bool) -> Self {
        let open = open || schema.preserves();
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
                if let Some(field) = schema.property(name) {
                    return Some((Self::known(field, open), true));
                }
                if let Some(others) = schema.value() {
                    return Some((Self::known(others, open), false));
                }
                let anything = open || schema.takes_anything() || !schema.has_properties();
                anything.then_some((Self::Deduced, false))
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
                .item()
                .map_or(Self::Deduced, |items| Self::known(items, open)),
            Self::Object(_) | Self::Deduced => Self::Deduced,
        }
    }

    /// Whether a map of this type is owned as a whole.
    pub(crate) fn is_atomic_map(self) -> bool {
        matches!(self, Self::Known { schema, .. } if schema.is_atomic())
    }

    /// Whether the schema alone says that values are owned as a whole.
    pub(crate) fn is_atomic(self) -> bool {
        match self {
            Self::Known { schema, .. } if schema.kind() == Some(structural::Type::Array) => {
                matches!(self.list(), ListType::Atomic)
            }
            _ => self.is_atomic_map(),
        }
    }

    /// How a strategic merge patch treats a value of this type.
    pub(crate) fn strategy(self) -> &'a Strategy {
        static NONE: Strategy = Strategy {
            merge: false,
            replace: false,
            key: None,
        };
        match self {
            Self::Known { schema, .. } => schema.strategy().unwrap_or(&NONE),
            Self::Object(_) | Self::Deduced => &NONE,
        }
    }

    fn list(self) -> &'a ListType {
        match self {
            Self::Known { schema, .. } => schema.list(),
            Self::Object(_) | Self::Deduced => &ListType::Atomic,
        }
    }

    /// The steps to the items of a list, in its order; `None` where the list is owned as a
    /// whole. The error says which item has no step of its own, and why.
    pub(crate) fn elements(self, items: &[Value]) -> Result<Option<Vec<Element>>, (usize, String)> {
        let element = |item: &Value| match self.list() {
            ListType::Atomic => Ok(None),
            ListType::Set => set_element(item).map(Some).map_err(str::to_owned),
            ListType::Map(keys) => self.key_element(keys, item).map(Some),
        };
        items
            .iter()
            .enumerate()
            .map(|(at, item)| element(item).map_err(|why| (at, why)))
            .collect::<Result<Option<Vec<Element>>, _>>()
            .map(|found| found.filter(|_| !matches!(self.list(), ListType::Atomic)))
    }

    fn key_element(self, keys: &[Box<str>], item: &Value) -> Result<Element, String> {
        let Some(map) = item.as_object() else {
            let what = if item.is_null() { "a null" } else { "non-map" };
            return Err(format!(
                "associative list with keys may not have {what} element{}",
                if item.is_null() { "" } else { "s" }
            ));
        };
        let mut fields = Vec::with_capacity(keys.len());
        for key in keys.iter().map(AsRef::as_ref) {
            let default = || match self.item() {
                Self::Known { schema, .. } => schema.property(key)?.default_value(),
                Self::Object(_) | Self::Deduced => None,
            };
            // Items that leave out a key are told apart from those that have it.
            if let Some(value) = map.get(key).or_else(default) {
                fields.push((key.to_owned(), Literal(value.clone())));
            }
        }
        if fields.is_empty() {
            let names: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
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
