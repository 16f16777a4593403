//! What a JSON merge patch must say to make one value of another.

use serde_json::{Map, Value};

/// The merge patch from `current` to `desired`; nothing when they are equal.
///
/// A `null` in `desired` cannot be told by a merge patch; it counts as absent.
pub(crate) fn merge_patch(current: &Value, desired: &Value) -> Option<Value> {
    match (current, desired) {
        (Value::Object(current), Value::Object(desired)) => {
            let mut patch = Map::new();
            for (key, value) in current {
                let gone = desired.get(key).is_none_or(Value::is_null);
                if gone && !value.is_null() {
                    patch.insert(key.clone(), Value::Null);
                }
            }
            for (key, value) in desired.iter().filter(|(_, value)| !value.is_null()) {
                let change = match current.get(key) {
                    Some(before) => merge_patch(before, value),
                    None => Some(value.clone()),
                };
                if let Some(change) = change {
                    patch.insert(key.clone(), change);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ => (current != desired).then(|| desired.clone()),
    }
}

/// Whether everything that `desired` says is so in `current`, which may say more.
pub(crate) fn covers(current: &Value, desired: &Value) -> bool {
    match (current, desired) {
        (Value::Object(current), Value::Object(desired)) => {
            desired.iter().all(|(key, value)| match current.get(key) {
                Some(found) => covers(found, value),
                None => value.is_null(),
            })
        }
        (Value::Array(current), Value::Array(desired)) => {
            current.len() == desired.len() && current.iter().zip(desired).all(|(c, d)| covers(c, d))
        }
        _ => current == desired,
    }
}

/// A merge patch that sets `desired` and takes out what `last` said and `desired` does not.
pub(crate) fn three_way(last: &Value, desired: &Value) -> Value {
    let (Value::Object(last), Value::Object(desired)) = (last, desired) else {
        return desired.clone();
    };
    let mut patch = Map::new();
    for key in last.keys().filter(|key| !desired.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in desired {
        let before = last.get(key).unwrap_or(&Value::Null);
        patch.insert(key.clone(), three_way(before, value));
    }
    Value::Object(patch)
}
