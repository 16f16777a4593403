//! A configuration put over an object: no field goes, and what both have becomes as configured.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::Element;
use crate::api::types::Type;

/// Merges. Null states nothing of what is inside a map or list.
pub(crate) fn merge(ty: Type<'_>, live: &Value, config: &Value) -> Value {
    match (live, config) {
        (Value::Object(fields), Value::Null) if !fields.is_empty() && !ty.is_atomic_map() => {
            live.clone()
        }
        (Value::Array(items), Value::Null)
            if !items.is_empty() && matches!(ty.elements(items), Ok(Some(_))) =>
        {
            live.clone()
        }
        (Value::Object(fields), Value::Object(stated)) if !ty.is_atomic_map() => {
            let mut merged: Map<String, Value> = fields.clone();
            for (name, value) in stated {
                let (child, _) = ty.child(&Element::field(name));
                let value = fields
                    .get(name)
                    .map_or_else(|| value.clone(), |live| merge(child, live, value));
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(items), Value::Array(stated)) => {
            match (ty.elements(items), ty.elements(stated)) {
                (Ok(Some(live)), Ok(Some(config))) => {
                    let live: Vec<_> = live.iter().zip(items).collect();
                    let config: Vec<_> = config.iter().zip(stated).collect();
                    Value::Array(merge_items(ty, &live, &config))
                }
                _ => config.clone(),
            }
        }
        _ => config.clone(),
    }
}

/// Merges lists. The stated items keep their order; those that only the object has stay beside
/// the stated items that they stand beside.
fn merge_items(
    ty: Type<'_>,
    live: &[(&Element, &Value)],
    config: &[(&Element, &Value)],
) -> Vec<Value> {
    let mut found: BTreeMap<&Element, Option<&Value>> = BTreeMap::new();
    for (element, value) in live {
        // An item that is there several times cannot be merged with.
        found
            .entry(element)
            .and_modify(|value| *value = None)
            .or_insert(Some(value));
    }
    let stated: BTreeSet<&Element> = config.iter().map(|(element, _)| *element).collect();
    let mut anchors = config
        .iter()
        .map(|(element, _)| *element)
        .filter(|element| found.contains_key(element))
        .peekable();
    let mut rest = live.iter().peekable();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    for (element, value) in config {
        while let Some((next, own)) = rest.peek() {
            if !stated.contains(next) {
                merged.push((*own).clone());
            } else if anchors.peek() == Some(next) {
                // What follows stays behind the item that is stated next of those there are.
                break;
            }
            rest.next();
        }
        merged.push(match found.get(element) {
            Some(Some(live)) => merge(ty.item(), live, value),
            _ => (*value).clone(),
        });
        if rest.peek().is_some_and(|(next, _)| next == element) {
            rest.next();
        }
        if anchors.peek() == Some(element) {
            anchors.next();
        }
    }
    merged.extend(
        rest.filter(|(element, _)| !stated.contains(element))
            .map(|(_, value)| (*value).clone()),
    );
    merged
}
