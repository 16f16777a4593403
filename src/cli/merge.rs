//! What `apply` changes: a three-way comparison of the last applied object, the new one and the
//! live one, as a JSON merge patch (RFC 7396).
//!
//! Fields that others have set (defaults, status, annotations of controllers) stay; fields that
//! the last applied object had and the new one lacks are removed. Lists are replaced whole.

/// The annotation that remembers what was applied last; the same as `kubectl` uses, so that both
/// can take turns.
pub use heddle_crds::annotations::LAST_APPLIED;
use serde_json::{Map, Value};

/// Fields of `metadata` that only the API sets; a manifest that was exported may have them.
const SERVER_FIELDS: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The object as it is applied: without `status`, without what only the API sets, without nulls,
/// in `namespace` where it names none (and `namespace` is given), and with the annotation that
/// remembers it.
#[must_use]
pub fn prepare(object: &Value, namespace: Option<&str>) -> Value {
    let mut object = without_nulls(object);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVER_FIELDS {
            metadata.remove(field);
        }
        if let Some(namespace) = namespace {
            metadata
                .entry("namespace")
                .or_insert_with(|| Value::String(namespace.to_owned()));
        }
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove(LAST_APPLIED);
        }
    }
    let remembered = object.to_string();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata
            .entry("annotations")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(LAST_APPLIED.to_owned(), Value::String(remembered));
        }
    }
    object
}

/// The patch that turns `live` into what `new` asks for, or `None` where nothing differs. `new`
/// comes from [`prepare`].
#[must_use]
pub fn patch(new: &Value, live: &Value) -> Option<Value> {
    let last: Option<Value> = live
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(LAST_APPLIED))
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok());
    match difference(last.as_ref(), new, live) {
        Value::Object(fields) if fields.is_empty() => None,
        patch => Some(patch),
    }
}

fn difference(last: Option<&Value>, new: &Value, live: &Value) -> Value {
    let (Value::Object(new), Value::Object(live)) = (new, live) else {
        return new.clone();
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match live.get(key) {
            Some(present) if present == value => {}
            Some(present) if value.is_object() && present.is_object() => {
                let inner = difference(last.and_then(|last| last.get(key)), value, present);
                if inner.as_object().is_none_or(|fields| !fields.is_empty()) {
                    patch.insert(key.clone(), inner);
                }
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    let removed = last
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::keys)
        .filter(|key| !new.contains_key(*key) && live.contains_key(*key));
    for key in removed {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// A field of an object that is null is one that is not there; in a list, null is a value.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        scalar => scalar.clone(),
    }
}
