//! An object without some of its fields.

use serde_json::{Map, Value};

use super::path::Element;
use super::set::Set;
use crate::api::types::Type;

/// Takes fields out, with all that is in them. A map or list of which nothing is left stays, empty:
/// it is taken out where it is itself in the set.
pub(crate) fn remove(ty: Type<'_>, value: &Value, fields: &Set) -> Value {
    match value {
        Value::Object(map) if !ty.is_atomic_map() => {
            let mut left = Map::new();
            for (name, value) in map {
                let element = Element::field(name);
                let (child, _) = ty.child(&element);
                if let Some(value) = without(child, &element, value, fields) {
                    left.insert(name.clone(), value);
                }
            }
            Value::Object(left)
        }
        Value::Array(items) => match ty.elements(items) {
            Ok(Some(elements)) => elements
                .iter()
                .zip(items)
                .filter_map(|(element, item)| without(ty.item(), element, item, fields))
                .collect(),
            Ok(None) | Err(_) => value.clone(),
        },
        _ => value.clone(),
    }
}

fn without(ty: Type<'_>, element: &Element, value: &Value, fields: &Set) -> Option<Value> {
    if fields.has(element) {
        return None;
    }
    Some(match fields.below(element) {
        Some(below) => remove(ty, value, below),
        None => value.clone(),
    })
}
