//! Strategic merge patch: a merge patch for kinds whose schema says which lists are merged, and by
//! which field their items are told apart.
//!
//! Directives in the patch say what a merge cannot: `$patch` deletes or replaces,
//! `$retainKeys` names all fields that stay, `$deleteFromPrimitiveList/<list>` takes items out, and
//! `$setElementOrder/<list>` says how items are ordered. Items that only the object has keep their
//! place among those that the patch knows, as far as that is possible.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::json::PatchError;
use crate::api::managed::{Element, Literal};
use crate::api::types::Type;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

type Outcome<T> = Result<T, PatchError>;

fn is_directive(name: &str) -> bool {
    name == PATCH || name == RETAIN || name.starts_with(DELETE_FROM) || name.starts_with(ORDER)
}

fn malformed(of: &str) -> PatchError {
    PatchError::Malformed(format!("invalid patch format of {of}"))
}

/// Applies a patch to an object, which is in an unspecified state after an error.
pub(super) fn merge(ty: Type<'_>, object: &mut Value, patch: Value) -> Outcome<()> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::Malformed(
            "a strategic merge patch is an object".to_owned(),
        ));
    };
    let fields = match object.take() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    *object = Value::Object(maps(ty, fields, patch)?);
    Ok(())
}

fn maps(
    ty: Type<'_>,
    mut fields: Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Outcome<Map<String, Value>> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => Err(unknown(&directive, &patch)),
        };
    }
    retain(&mut fields, &mut patch)?;
    let orders: Vec<String> = patch
        .keys()
        .filter(|name| name.starts_with(ORDER))
        .cloned()
        .collect();
    for directive in orders {
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(malformed("setElementOrder list"));
        };
        let name = &directive[ORDER.len()..];
        let (child, _) = ty.child(&Element::field(name));
        ordered(child, name, &mut fields, &mut patch, &order)?;
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            let Value::Array(gone) = value else {
                return Err(malformed("primitive list"));
            };
            let gone: BTreeSet<Literal> = gone.into_iter().map(Literal).collect();
            if let Some(Value::Array(items)) = fields.get_mut(list) {
                items.retain(|item| !gone.contains(&Literal(item.clone())));
            }
            continue;
        }
        if value.is_null() {
            fields.remove(&name);
            continue;
        }
        let (child, _) = ty.child(&Element::field(&name));
        let merged = match (fields.remove(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if !child.strategy().replace => {
                Some(Value::Object(maps(child, old, new)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) if child.strategy().merge => {
                Some(Value::Array(lists(child, old, new)?))
            }
            (_, new) => plain(new),
        };
        if let Some(merged) = merged {
            fields.insert(name, merged);
        }
    }
    Ok(fields)
}

fn unknown(directive: &Value, patch: &Map<String, Value>) -> PatchError {
    PatchError::Malformed(format!(
        "unknown patch type: {directive} in map: {}",
        Value::Object(patch.clone())
    ))
}

/// Drops the fields that `$retainKeys` does not name.
fn retain(fields: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Outcome<()> {
    let Some(names) = patch.remove(RETAIN) else {
        return Ok(());
    };
    let names: BTreeSet<&str> = names
        .as_array()
        .and_then(|names| names.iter().map(Value::as_str).collect())
        .ok_or_else(|| malformed("retainKeys"))?;
    let stated = patch
        .iter()
        .filter(|(name, value)| !value.is_null() && !is_directive(name))
        .all(|(name, _)| names.contains(name.as_str()));
    if !stated {
        return Err(malformed("retainKeys"));
    }
    fields.retain(|name, _| names.contains(name.as_str()));
    Ok(())
}

/// What a new value is without directives and nulls; `None` if it was nothing but a directive.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map
                .get(PATCH)
                .is_some_and(|directive| directive == "delete")
            {
                return None;
            }
            let fields = map
                .into_iter()
                .filter(|(name, value)| !is_directive(name) && !value.is_null())
                .filter_map(|(name, value)| Some((name, plain(value)?)));
            Some(Value::Object(fields.collect()))
        }
        Value::Array(items) => {
            let directive = |item: &Value| item.as_object().is_some_and(only_directive);
            let items = items.into_iter().filter(|item| !directive(item));
            Some(Value::Array(items.filter_map(plain).collect()))
        }
        scalar => Some(scalar),
    }
}

fn only_directive(item: &Map<String, Value>) -> bool {
    item.len() == 1 && item.contains_key(PATCH)
}

/// What tells an item apart from the others of its list.
fn identity(key: Option<&str>, item: &Value) -> Outcome<Literal> {
    match (key, item) {
        (Some(key), Value::Object(map)) => match map.get(key) {
            Some(value) => Ok(Literal(value.clone())),
            None => Err(PatchError::Inapplicable(format!(
                "map: {item} does not contain declared merge key: {key}"
            ))),
        },
        (None, Value::Object(_)) => Err(PatchError::Inapplicable(
            "cannot merge lists without merge key".to_owned(),
        )),
        (_, Value::Array(_)) => Err(PatchError::Inapplicable(
            "lists of lists are not supported".to_owned(),
        )),
        (_, scalar) => Ok(Literal(scalar.clone())),
    }
}

/// Merges lists, and orders them as the patch does.
fn lists(ty: Type<'_>, old: Vec<Value>, patch: Vec<Value>) -> Outcome<Vec<Value>> {
    let key = ty.strategy().key.as_deref();
    let server = identities(key, &old)?;
    let (merged, order) = items(ty, old, patch)?;
    arrange(key, merged, &order, &server)
}

fn identities(key: Option<&str>, items: &[Value]) -> Outcome<Vec<Literal>> {
    items.iter().map(|item| identity(key, item)).collect()
}

/// Merges the items of lists; gives also the order that the patch has them in.
fn items(ty: Type<'_>, old: Vec<Value>, patch: Vec<Value>) -> Outcome<(Vec<Value>, Vec<Literal>)> {
    let key = ty.strategy().key.as_deref();
    let (mut gone, mut replaces, mut stated) = (BTreeSet::new(), false, Vec::new());
    for item in patch {
        let directive = item.get(PATCH).cloned();
        match directive.as_ref().map(|directive| directive.as_str()) {
            None => stated.push(item),
            Some(Some("delete")) => {
                gone.insert(identity(key, &item)?);
            }
            Some(Some("replace")) => replaces = true,
            Some(_) => {
                let map = item.as_object().cloned().unwrap_or_default();
                return Err(unknown(&directive.unwrap_or_default(), &map));
            }
        }
    }
    let order = identities(key, &stated)?;
    let mut merged: Vec<Value> = Vec::new();
    let mut at: BTreeMap<Literal, usize> = BTreeMap::new();
    if !replaces {
        for item in old {
            let identity = identity(key, &item)?;
            if !gone.contains(&identity) {
                at.entry(identity).or_insert(merged.len());
                merged.push(item);
            }
        }
    }
    for (item, identity) in stated.into_iter().zip(&order) {
        match (at.get(identity), item) {
            (Some(at), Value::Object(new)) => {
                let old = match merged[*at].take() {
                    Value::Object(old) => old,
                    _ => Map::new(),
                };
                merged[*at] = Value::Object(maps(ty.item(), old, new)?);
            }
            (Some(_), _) => {}
            (None, item) => {
                at.insert(identity.clone(), merged.len());
                merged.extend(plain(item));
            }
        }
    }
    Ok((merged, order))
}

/// Merges a list for which the patch gives an order.
fn ordered(
    ty: Type<'_>,
    name: &str,
    fields: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    order: &[Value],
) -> Outcome<()> {
    let list = |value: Option<Value>| match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(malformed("setElementOrder list")),
    };
    let new = match patch.get(name) {
        Some(Value::Null) => return Ok(()),
        _ => list(patch.remove(name))?,
    };
    let old = list(fields.remove(name))?;
    let key = ty.strategy().key.as_deref();
    let order = identities(key, order)?;
    if let Some(new) = &new {
        in_order(key, new, &order)?;
    }
    let server = identities(key, old.as_deref().unwrap_or_default())?;
    let merged = match (old, new) {
        (None, None) => return Ok(()),
        (Some(old), None) => old,
        (Some(old), Some(new)) if ty.strategy().merge => items(ty, old, new)?.0,
        (_, Some(new)) => match plain(Value::Array(new)) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
    };
    let arranged = arrange(key, merged, &order, &server)?;
    fields.insert(name.to_owned(), Value::Array(arranged));
    Ok(())
}

/// Checks that the items of a patch stand in the order that it gives.
fn in_order(key: Option<&str>, items: &[Value], order: &[Literal]) -> Outcome<()> {
    let mut rest = order.iter();
    for item in items.iter().filter(|item| item.get(PATCH).is_none()) {
        let identity = identity(key, item)?;
        if !rest.any(|next| *next == identity) {
            return Err(PatchError::Inapplicable(
                "The order in patch list doesn't match $setElementOrder list".to_owned(),
            ));
        }
    }
    Ok(())
}

/// Orders a list: the items that `order` names as it does, and among them the others as the
/// object had them.
fn arrange(
    key: Option<&str>,
    merged: Vec<Value>,
    order: &[Literal],
    server: &[Literal],
) -> Outcome<Vec<Value>> {
    let places = |list: &[Literal]| -> BTreeMap<Literal, usize> {
        let places = list.iter().cloned().enumerate();
        // The first of equals counts.
        places.rev().map(|(at, identity)| (identity, at)).collect()
    };
    let (order, server) = (places(order), places(server));
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let identity = identity(key, &item)?;
        let before = server.get(&identity).copied();
        match order.get(&identity) {
            Some(at) => known.push((*at, before, item)),
            None => others.push((before.unwrap_or(usize::MAX), before, item)),
        }
    }
    known.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(at, ..)| *at);
    let mut all = Vec::with_capacity(known.len() + others.len());
    let (mut known, mut others) = (known.into_iter().peekable(), others.into_iter().peekable());
    while let (Some((_, a, _)), Some((_, b, _))) = (known.peek(), others.peek()) {
        let other_first = matches!((a, b), (Some(a), Some(b)) if b < a);
        let next = if other_first {
            others.next()
        } else {
            known.next()
        };
        all.extend(next.map(|(.., item)| item));
    }
    all.extend(known.chain(others).map(|(.., item)| item));
    Ok(all)
}

#[cfg(test)]
#[path = "../tests/strategic.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
