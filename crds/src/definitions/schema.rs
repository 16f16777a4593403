//! What is wrong with the schema of a definition.
//!
//! Two walks over the JSON, as API servers make them: one that every value is specified outside of
//! what combines schemas (the schema is structural), one that no unknown construct is used and
//! that the extensions fit together. Then defaults are held against the schema that they are in,
//! and rules are compiled.

mod openapi;

use serde_json::{Map, Value, json};

use crate::structural::rules::KEYWORD;
use crate::structural::words::Faults;
use crate::structural::{self, MAX_DEPTH, Schema};

const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const LIST_TYPE: &str = "x-kubernetes-list-type";
const LIST_KEYS: &str = "x-kubernetes-list-map-keys";
const MAP_TYPE: &str = "x-kubernetes-map-type";

type Fields = Map<String, Value>;

/// Where a schema stands in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Reports everything that is wrong with the schema at `path`.
pub(super) fn check(schema: &Value, path: &str, faults: &mut Faults) {
    if crate::api::deeper_than(schema, 2 * MAX_DEPTH) {
        let detail = format!("must not nest schemas deeper than {MAX_DEPTH} levels");
        faults.invalid(path, &json!(""), detail);
        return;
    }
    if on(schema, "nullable") {
        let place = format!("{path}.nullable");
        faults.forbidden(place, "nullable cannot be true at the root");
    }
    let before = faults.len();
    structure(schema, Level::Root, path, faults);
    if faults.len() == before {
        let compiled = Schema::compile(schema);
        defaults(schema, &compiled, path, faults);
    }
    openapi::check(schema, path, faults);
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema[name].as_str().unwrap_or_default()
}

fn on(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

fn fields<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema[name].as_object().into_iter().flatten()
}

fn items<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    schema[name].as_array().into_iter().flatten().enumerate()
}

/// A list of the alternatives that stand for `x-kubernetes-int-or-string`.
fn int_or_string(any: &Value) -> bool {
    *any == json!([{"type": "integer"}, {"type": "string"}])
}

fn structure(schema: &Value, level: Level, path: &str, faults: &mut Faults) {
    let kind = text(schema, "type");
    if kind == "array" && schema["items"].is_null() {
        faults.required(format!("{path}.items"), "must be specified");
    }
    if schema["items"].is_object() {
        structure(
            &schema["items"],
            Level::Item,
            &format!("{path}.items"),
            faults,
        );
    }
    for (name, inner) in fields(schema, "properties") {
        // Metadata at the root is the server's, and is checked below.
        if level != Level::Root || name != "metadata" {
            structure(
                inner,
                Level::Field,
                &format!("{path}.properties[{name}]"),
                faults,
            );
        }
    }
    let additional = &schema["additionalProperties"];
    let place = format!("{path}.additionalProperties");
    if !additional.is_null() {
        if level == Level::Root {
            faults.forbidden(&place, "must not be used at the root");
        }
        if on(schema, EMBEDDED) {
            faults.forbidden(&place, format!("must not be used if {EMBEDDED} is set"));
        }
        if additional.is_object() {
            structure(additional, Level::Field, &place, faults);
        }
    }
    extensions(schema, path, faults);
    values(schema, path, faults);
    types(schema, level, path, faults);
    if level == Level::Root || on(schema, EMBEDDED) {
        resource(schema, level, path, faults);
    }
}

fn extensions(schema: &Value, path: &str, faults: &mut Faults) {
    if on(schema, INT_OR_STRING) {
        for name in [PRESERVE, EMBEDDED] {
            if on(schema, name) {
                let detail = format!("must be false if {INT_OR_STRING} is true");
                faults.invalid(format!("{path}.{name}"), &json!(true), detail);
            }
        }
    }
}

/// Checks what combines schemas, but for the two ways to write that an integer may be a text.
fn values(schema: &Value, path: &str, faults: &mut Faults) {
    let skip_any = int_or_string(&schema["anyOf"]);
    let skip_all = int_or_string(&schema["allOf"][0]["anyOf"]);
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip_any {
            continue;
        }
        for (at, inner) in items(schema, name) {
            let skip = name == "allOf" && at == 0 && skip_all;
            nested(inner, skip, &format!("{path}.{name}[{at}]"), faults);
        }
    }
    if schema["not"].is_object() {
        nested(&schema["not"], false, &format!("{path}.not"), faults);
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(error) = structural::pattern(pattern)
    {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default().trim();
        let detail = format!("must be a valid regular expression, but isn't: {last}");
        faults.invalid(format!("{path}.pattern"), &json!(pattern), detail);
    }
}

fn types(schema: &Value, level: Level, path: &str, faults: &mut Faults) {
    let (kind, place) = (text(schema, "type"), format!("{path}.type"));
    if on(schema, EMBEDDED) && kind != "object" {
        let detail = format!("must be object if {EMBEDDED} is true");
        if kind.is_empty() {
            faults.required(place, &detail);
        } else {
            faults.invalid(place, &json!(kind), detail);
        }
    } else if kind.is_empty() && !on(schema, INT_OR_STRING) && !on(schema, PRESERVE) {
        faults.required(
            place,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    } else if level == Level::Root && !kind.is_empty() && kind != "object" {
        faults.invalid(place, &json!(kind), "must be object at the root");
    }
}

/// Checks the fields that every resource has.
fn resource(schema: &Value, level: Level, path: &str, faults: &mut Faults) {
    let properties = &schema["properties"];
    for name in ["kind", "apiVersion"] {
        let found = &properties[name];
        if found.is_object() && text(found, "type") != "string" {
            let place = format!("{path}.properties[{name}].type");
            faults.invalid(place, &json!(text(found, "type")), "must be string");
        }
    }
    let metadata = &properties["metadata"];
    if let Some(metadata_fields) = metadata.as_object() {
        let place = format!("{path}.properties[metadata]");
        if text(metadata, "type") != "object" {
            let kind = json!(text(metadata, "type"));
            faults.invalid(format!("{place}.type"), &kind, "must be object");
        }
        let named = fields(metadata, "properties").all(|(n, _)| n == "name" || n == "generateName");
        let known = ["type", "properties", "description", "default"];
        let plain = metadata_fields
            .keys()
            .all(|name| known.contains(&name.as_str()));
        if level == Level::Root && !(named && plain) {
            let detail = "must not specify anything other than name and generateName, but \
                          metadata is implicitly specified";
            faults.forbidden(place, detail);
        }
    }
    let empty = properties.as_object().is_none_or(Map::is_empty);
    if on(schema, EMBEDDED) && !on(schema, PRESERVE) && empty {
        let detail = format!("must not be empty if {EMBEDDED} is true without {PRESERVE}");
        faults.required(format!("{path}.properties"), &detail);
    }
}

/// Checks a schema that only restricts what is specified elsewhere.
fn nested(schema: &Value, skip_any: bool, path: &str, faults: &mut Faults) {
    for (name, inner) in fields(schema, "properties") {
        let place = format!("{path}.properties[{name}]");
        if name == "metadata" {
            faults.forbidden(&place, "must not be specified in a nested context");
        }
        nested(inner, false, &place, faults);
    }
    if schema["items"].is_object() {
        nested(&schema["items"], false, &format!("{path}.items"), faults);
    }
    if skip_any {
        let mut rest = schema.clone();
        if let Some(fields) = rest.as_object_mut() {
            fields.remove("anyOf");
        }
        values(&rest, path, faults);
    } else {
        values(schema, path, faults);
    }
    for (name, detail) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        (PRESERVE, "must be false to be structural"),
        (EMBEDDED, "must be false to be structural"),
        (INT_OR_STRING, "must be false to be structural"),
        (LIST_KEYS, "must be empty to be structural"),
        (LIST_TYPE, "must be undefined to be structural"),
        (MAP_TYPE, "must be undefined to be structural"),
        (KEYWORD, "must be empty to be structural"),
    ] {
        let given = &schema[name];
        let empty = given.is_null()
            || *given == false
            || *given == ""
            || given.as_array().is_some_and(Vec::is_empty);
        if !empty {
            faults.forbidden(format!("{path}.{name}"), detail);
        }
    }
}

/// Holds every default against its schema.
fn defaults(schema: &Value, compiled: &Schema, path: &str, faults: &mut Faults) {
    if let Some(default) = schema.get("default").filter(|value| !value.is_null()) {
        let place = format!("{path}.default");
        let mut pruned = default.clone();
        compiled.prune_part(&mut pruned);
        if pruned == *default {
            let mut filled = default.clone();
            compiled.fill_in_part(&mut filled);
            compiled.validate_at(&filled, &place, faults);
        } else {
            faults.invalid(place, default, "must not have unknown fields");
        }
    }
    for (name, inner) in fields(schema, "properties") {
        if let Some(compiled) = compiled.property(name) {
            defaults(
                inner,
                compiled,
                &format!("{path}.properties[{name}]"),
                faults,
            );
        }
    }
    for (name, compiled) in [
        ("items", compiled.item()),
        ("additionalProperties", compiled.value()),
    ] {
        if let Some(compiled) = compiled {
            defaults(&schema[name], compiled, &format!("{path}.{name}"), faults);
        }
    }
}
