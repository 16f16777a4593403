//! Structural schemas: making them from types, and holding objects against them.
//!
//! [`publish`] turns the CustomResourceDefinition that the derive makes into the one that is
//! installed. [`prune`] and [`check`] do to an object what an API server does with the schema:
//! drop what it does not name, then report everything that has a wrong type. Running the same
//! functions in the embedded API and in the webhook makes both answer alike.

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::admission::{Errors, join, shown};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// The schema of `metadata`, as far as its types are checked here; the rest is kept as it is.
pub(crate) fn metadata() -> Value {
    let strings = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        PRESERVE: true,
        "properties": {
            "name": {"type": "string"},
            "generateName": {"type": "string"},
            "namespace": {"type": "string"},
            "uid": {"type": "string"},
            "resourceVersion": {"type": "string"},
            "generation": {"type": "integer", "format": "int64"},
            "creationTimestamp": {"type": "string", "format": "date-time"},
            "deletionTimestamp": {"type": "string", "format": "date-time"},
            "labels": strings,
            "annotations": strings,
            "finalizers": {"type": "array", "items": {"type": "string"}},
        },
    })
}

/// The schema of a whole object: that of its kind, with the fields that every object has.
pub(crate) fn whole(schema: &Value) -> Value {
    let mut whole = schema.clone();
    if let Some(properties) = whole.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), metadata());
    }
    whole
}

/// Makes a derived schema one that API servers and other clients of Knative's kinds expect.
///
/// What Rust says with `Option` is said by a field not being required, so `nullable` goes; default
/// values are those of Rust's types and not the API's, so they go as well. Descriptions lose the
/// line breaks of the sources, as whoever shows them breaks lines itself. `spec` gets the default
/// `{}`: it may be left out, and objects read from any API server have it, as typed clients need.
pub(crate) fn publish(schema: &mut Value) {
    strip(schema);
    if let Some(root) = schema.as_object_mut() {
        root.remove("required");
        root.remove("title");
    }
    if let Some(spec) = schema
        .pointer_mut("/properties/spec")
        .and_then(Value::as_object_mut)
    {
        spec.insert("default".to_owned(), json!({}));
    }
}

fn strip(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    fields.remove("nullable");
    fields.remove("default");
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = flowing(text);
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(strip);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(nested) {
            strip(schema);
        }
    }
}

/// The text with each paragraph on one line. Items of lists keep their own.
fn flowing(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines().map(str::trim) {
        let apart = line.is_empty() || line.starts_with("- ") || line.starts_with("* ");
        if !out.is_empty() {
            out.push(if apart || out.ends_with('\n') {
                '\n'
            } else {
                ' '
            });
        }
        out.push_str(line);
    }
    out
}

fn preserves(schema: &Value) -> bool {
    schema.get(PRESERVE) == Some(&Value::Bool(true))
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// Fills in the schema's defaults at the top of an object.
pub(crate) fn apply_defaults(object: &mut Value, schema: &Value) {
    let (Some(fields), Some(properties)) = (object.as_object_mut(), properties(schema)) else {
        return;
    };
    for (name, schema) in properties {
        if let Some(default) = schema.get("default")
            && fields.get(name).is_none_or(Value::is_null)
        {
            fields.insert(name.clone(), default.clone());
        }
    }
}

/// Drops the fields that the schema does not name, and fields of its own that are null. What
/// stands inside an object that preserves unknown fields is kept.
pub(crate) fn prune(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            let known = properties(schema);
            let additional = schema.get("additionalProperties");
            let open = preserves(schema) || known.is_none() && additional.is_none();
            fields.retain(
                |name, value| match known.and_then(|known| known.get(name)) {
                    Some(schema) => {
                        prune(value, schema);
                        !value.is_null()
                    }
                    None => match additional {
                        Some(schema) => {
                            prune(value, schema);
                            true
                        }
                        None => open,
                    },
                },
            );
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| prune(item, schema));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Reports every value whose type is not the schema's, and every required field that is missing.
pub(crate) fn check(value: &Value, schema: &Value, path: &str, errors: &mut Errors) {
    let Some(wanted) = schema.get("type").and_then(Value::as_str) else {
        return;
    };
    if !has_type(value, wanted) {
        errors.wrong_type(
            path,
            &format!("must be of type {wanted}, got {}", kind_of(value)),
        );
        return;
    }
    if let Some(number) = value.as_number()
        && wanted == "integer"
        && !in_format(number, schema)
    {
        let format = schema
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or("int64");
        errors.wrong_type(
            path,
            &format!("must be an integer of type {format}, got {number}"),
        );
    }
    if value.is_string()
        && let Some(expected) = broken_text(value, schema)
    {
        errors.wrong_type(path, &format!("must be {expected}, got {}", kind_of(value)));
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        errors.unsupported(
            path,
            &shown(value),
            choices.iter().filter_map(Value::as_str),
        );
    }
    match value {
        Value::Object(fields) => check_fields(fields, schema, path, errors),
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    check(item, schema, &format!("{path}[{index}]"), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_fields(fields: &Map<String, Value>, schema: &Value, path: &str, errors: &mut Errors) {
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(name) = name.as_str()
            && fields.get(name).is_none_or(Value::is_null)
        {
            errors.missing(&join(path, name));
        }
    }
    let additional = schema.get("additionalProperties");
    for (name, value) in fields {
        if let Some(schema) = properties(schema).and_then(|known| known.get(name)) {
            if !value.is_null() {
                check(value, schema, &join(path, name), errors);
            }
        } else if let Some(schema) = additional {
            check(value, schema, &format!("{path}[{name}]"), errors);
        }
    }
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn in_format(number: &serde_json::Number, schema: &Value) -> bool {
    match (
        number.as_i64(),
        schema.get("format").and_then(Value::as_str),
    ) {
        (Some(number), Some("int32")) => i32::try_from(number).is_ok(),
        (number, _) => number.is_some(),
    }
}

/// What a text should have been by the format that the schema gives.
fn broken_text(text: &Value, schema: &Value) -> Option<&'static str> {
    match schema.get("format").and_then(Value::as_str)? {
        "date-time" if Time::deserialize(text).is_err() => Some("a time like 2026-01-31T12:00:00Z"),
        "byte" if ByteString::deserialize(text).is_err() => Some("base64"),
        _ => None,
    }
}

/// A value as it is called in a message.
pub(crate) fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => format!("boolean {value}"),
        Value::Number(_) => format!("number {value}"),
        Value::String(_) => format!("string {}", shown(value)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Does to `target` what leads from `before` to `after`, and leaves the rest of it alone.
pub(crate) fn apply_changes(target: &mut Value, before: &Value, after: &Value) {
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
            (Some(target), Some(before)) => apply_changes(target, before, after),
            _ => {
                fields.insert(name.clone(), after.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "known": {"type": "string"},
                "count": {"type": "integer", "format": "int32"},
                "open": {"type": "object", PRESERVE: true, "properties": {"n": {"type": "integer"}}},
                "free": {"type": "object", PRESERVE: true},
                "list": {"type": "array", "items": {
                    "type": "object", "required": ["a"], "properties": {"a": {"type": "string"}},
                }},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        })
    }

    #[test]
    fn a_description_has_a_line_for_each_paragraph_and_item() {
        let text = "One\n  and two.\n\nThree\nfour:\n- five\n  six\n- seven";
        let want = "One and two.\n\nThree four:\n- five six\n- seven";
        assert_eq!(flowing(text), want);
        assert_eq!(flowing(want), want, "and no change the second time");
        let mut schema = json!({
            "properties": {"description": {"type": "string", "description": "a\nb"}},
            "items": {"description": "c\nd"},
        });
        publish(&mut schema);
        assert_eq!(schema["properties"]["description"]["description"], "a b");
        assert_eq!(schema["items"]["description"], "c d");
    }

    #[test]
    fn what_the_schema_does_not_name_is_dropped_and_open_spots_are_kept() {
        let mut value = json!({
            "known": "x", "unknown": 1, "count": null,
            "open": {"n": 1, "other": {"deep": [1, null]}},
            "free": {"a": null, "b": {"c": 1}},
            "list": [{"a": "1", "b": "2"}],
            "map": {"k": "v"},
        });
        prune(&mut value, &schema());
        assert_eq!(
            value,
            json!({
                "known": "x",
                "open": {"n": 1, "other": {"deep": [1, null]}},
                "free": {"a": null, "b": {"c": 1}},
                "list": [{"a": "1"}],
                "map": {"k": "v"},
            })
        );
    }

    #[test]
    fn every_wrong_type_is_reported_with_its_path() {
        let value = json!({
            "known": 1, "count": 3_000_000_000_i64, "open": {"n": "1"}, "free": [],
            "list": [{}, "x"], "map": {"k": true},
        });
        let mut errors = Errors::default();
        check(&value, &schema(), "spec", &mut errors);
        let found: Vec<_> = errors
            .into_vec()
            .into_iter()
            .map(|e| format!("{}: {}", e.field, e.message))
            .collect();
        assert_eq!(
            found,
            [
                "spec.count: must be an integer of type int32, got 3000000000",
                "spec.free: must be of type object, got a list",
                "spec.known: must be of type string, got number 1",
                "spec.list[0].a: missing field(s): spec.list[0].a",
                "spec.list[1]: must be of type object, got string \"x\"",
                "spec.map[k]: must be of type string, got boolean true",
                "spec.open.n: must be of type integer, got string \"1\"",
            ]
        );
    }

    #[test]
    fn changes_are_carried_over_and_the_rest_stays() {
        let mut target = json!({"a": {"b": 1, "unknown": 2}, "gone": 1, "kept": [3]});
        apply_changes(
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
