//! Carrying over to an object what was changed in its typed form.

use serde_json::Value;

/// Does to `target` what leads from `before` to `after`, and leaves the rest of it alone.
pub(super) fn apply(target: &mut Value, before: &Value, after: &Value) {
    if before == after {
        return;
    }
    let (Value::Object(fields), Value::Object(before), Value::Object(after)) =
        (&mut *target, before, after)
    else {
        *target = after.clone();
        return;
    };
    fields.retain(|name, _| after.contains_key(name) || !before.contains_key(name));
    for (name, after) in after {
        match (fields.get_mut(name), before.get(name)) {
            (_, Some(before)) if before == after => {}
            (Some(target), Some(before)) => apply(target, before, after),
            _ => {
                fields.insert(name.clone(), after.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_carried_over_and_the_rest_stays() {
        let mut target = json!({"a": {"b": 1, "unknown": 2}, "gone": 1, "kept": [3]});
        apply(
            &mut target,
            &json!({"a": {"b": 1}, "gone": 1}),
            &json!({"a": {"b": 5, "c": {}}, "new": "x"}),
        );
        assert_eq!(
            target,
            json!({"a": {"b": 5, "c": {}, "unknown": 2}, "kept": [3], "new": "x"})
        );
    }
}
