//! The fields that a configuration states, and whether it can be applied at all.

use std::collections::BTreeMap;

use serde_json::Value;

use super::path::{self, Element};
use super::set::Set;
use crate::api::types::Type;

/// The leaves of a value, and the items and keys on the way to them. Declared fields on the way
/// are not among them: who states `spec.broker` does not own all of `spec`.
pub(crate) fn fields_of(ty: Type<'_>, value: &Value) -> Set {
    let mut set = Set::default();
    collect(ty, value, &mut Vec::new(), &mut set);
    set
}

fn collect(ty: Type<'_>, value: &Value, at: &mut Vec<Element>, set: &mut Set) {
    match value {
        Value::Object(map) if !ty.is_atomic_map() => {
            for (name, value) in map {
                let element = Element::field(name);
                let (child, declared) = ty.child(&element);
                at.push(element);
                collect(child, value, at, set);
                if !declared || value.is_null() || value.as_object().is_some_and(|m| m.is_empty()) {
                    set.insert(at);
                }
                at.pop();
            }
        }
        Value::Array(items) => match ty.elements(items) {
            Ok(Some(elements)) => {
                let mut by: BTreeMap<&Element, Vec<&Value>> = BTreeMap::new();
                for (element, item) in elements.iter().zip(items) {
                    by.entry(element).or_default().push(item);
                }
                for (element, items) in by {
                    at.push(element.clone());
                    if let [item] = items.as_slice() {
                        collect(ty.item(), item, at, set);
                    }
                    set.insert(at);
                    at.pop();
                }
            }
            Ok(None) | Err(_) => set.insert(at),
        },
        _ => set.insert(at),
    }
}

/// Everything about a configuration that cannot be merged, each as the path and what is wrong.
pub(crate) fn mistakes(ty: Type<'_>, config: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    check(ty, config, &mut Vec::new(), &mut found);
    found
}

/// Mistakes that are named in one answer.
const MAX_NAMED: usize = 20;

fn check(ty: Type<'_>, value: &Value, at: &mut Vec<Element>, found: &mut Vec<(String, String)>) {
    if found.len() >= MAX_NAMED {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let field = ty.field(name);
                at.push(Element::field(name));
                match field {
                    Some((child, _)) => check(child, value, at, found),
                    None if found.len() < MAX_NAMED => {
                        found.push((path::text(at), "field not declared in schema".to_owned()));
                    }
                    None => {}
                }
                at.pop();
            }
        }
        Value::Array(items) => {
            let elements = match ty.elements(items) {
                Ok(elements) => elements,
                Err((index, why)) => {
                    found.push((path::text(at), format!("element {index}: {why}")));
                    return;
                }
            };
            let mut seen = std::collections::BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let element = elements.as_ref().map_or_else(
                    || Element::Index(i64::try_from(index).unwrap_or(i64::MAX)),
                    |all| all[index].clone(),
                );
                if elements.is_some() && !seen.insert(element.clone()) {
                    let why = format!("duplicate entries for key {element}");
                    found.push((path::text(at), why));
                }
                at.push(element);
                check(ty.item(), item, at, found);
                at.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
