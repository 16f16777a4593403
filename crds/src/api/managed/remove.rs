//! An object without some of its fields.

use serde_json::{Map, Value};

use super::path::Element;
use super::set::Set;
use crate::api::types::Type;

/// Takes fields out, with all that is in them. `None` where a map or list has nothing left.
pub(crate) fn remove(ty: Type<'_>, value: &Value, fields: &Set) -> Option<Value> {
    match value {
        Value::Object(map) if !ty.is_atomic_map() && !map.is_empty() => {
            let mut left = Map::new();
            for (name, value) in map {
                let element = Element::field(name);
                let (child, _) = ty.child(&element);
                if let Some(value) = without(child, &element, value, fields) {
                    left.insert(name.clone(), value);
                }
            }
            (!left.is_empty()).then_some(Value::Object(left))
        }
        Value::Array(items) if !items.is_empty() => match ty.elements(items) {
            Ok(Some(elements)) => {
                let left: Vec<Value> = elements
                    .iter()
                    .zip(items)
                    .filter_map(|(element, item)| without(ty.item(), element, item, fields))
                    .collect();
                (!left.is_empty()).then_some(Value::Array(left))
            }
            Ok(None) | Err(_) => Some(value.clone()),
        },
        _ => Some(value.clone()),
    }
}

fn without(ty: Type<'_>, element: &Element, value: &Value, fields: &Set) -> Option<Value> {
    if fields.has(element) {
        return None;
    }
    match fields.below(element) {
        Some(below) => remove(ty, value, below),
        None => Some(value.clone()),
    }
}
