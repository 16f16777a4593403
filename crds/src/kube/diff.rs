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
