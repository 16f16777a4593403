//! That a schema uses no unknown construct, and that its extensions fit together.

use serde_json::{Value, json};

use super::{
    EMBEDDED, Fields, KEYWORD, LIST_KEYS, LIST_TYPE, MAP_TYPE, PRESERVE, fields, items, on, text,
};
use crate::structural::rules;
use crate::structural::words::Faults;

/// Rules that one schema may have.
const MAX_RULES: usize = 100;
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// What holds for a part of a schema because of what is around it.
#[derive(Clone, Debug, Default)]
struct Around {
    /// Why there may be no defaults.
    no_defaults: Option<String>,
    /// Whether this is the metadata of a resource.
    metadata: bool,
    /// The part above in which old and new values cannot be told together.
    uncorrelated: Option<String>,
    /// Whether this stands in `allOf` and its like.
    combined: bool,
}

/// Reports what is wrong with a schema and all parts of it.
pub(super) fn check(schema: &Value, path: &str, faults: &mut Faults) {
    let mut count = 0;
    openapi(schema, path, true, &Around::default(), &mut count, faults);
}

fn openapi(
    schema: &Value,
    path: &str,
    root: bool,
    around: &Around,
    count: &mut usize,
    faults: &mut Faults,
) {
    let Some(given) = schema.as_object() else {
        return;
    };
    constructs(schema, given, path, around, faults);
    let before = faults.len();
    children(schema, path, root, around, count, faults);
    lists(schema, path, faults);
    // Rules of a schema that is wrong would be judged by what it does not say.
    let sound = faults.len() == before;
    for (at, rule) in items(schema, KEYWORD) {
        *count += 1;
        if *count > MAX_RULES {
            let detail = format!("a schema may have at most {MAX_RULES} rules");
            faults.forbidden(format!("{path}.{KEYWORD}[{at}]"), detail);
            return;
        }
        check_rule(
            rule,
            sound,
            &format!("{path}.{KEYWORD}[{at}]"),
            around,
            faults,
        );
    }
}

/// Refuses what structural schemas do not have.
fn constructs(schema: &Value, given: &Fields, path: &str, around: &Around, faults: &mut Faults) {
    let kind = text(schema, "type");
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        faults.forbidden(format!("{path}.type"), detail);
    } else if !kind.is_empty() && !TYPES.contains(&kind) {
        faults.unsupported(
            format!("{path}.type"),
            &json!(kind),
            &TYPES.map(Value::from),
        );
    }
    if given
        .get("default")
        .is_some_and(|default| !default.is_null())
        && let Some(reason) = &around.no_defaults
    {
        faults.forbidden(
            format!("{path}.default"),
            format!("must not be set {reason}"),
        );
    }
    for name in [
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ] {
        if given.get(name).is_some_and(|value| !value.is_null()) {
            faults.forbidden(format!("{path}.{name}"), format!("{name} is not supported"));
        }
    }
    if schema["items"].is_array() {
        let detail = "items must be a schema object and not an array";
        faults.forbidden(format!("{path}.items"), detail);
    }
    if around.metadata && on(schema, EMBEDDED) {
        let place = format!("{path}.{EMBEDDED}");
        faults.forbidden(place, "must not be used inside of resource meta");
    }
    if on(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes \
                      quadratic";
        faults.forbidden(format!("{path}.uniqueItems"), detail);
    }
    if schema[PRESERVE] == false {
        faults.invalid(
            format!("{path}.{PRESERVE}"),
            &json!(false),
            "must be true or undefined",
        );
    }
    let additional = &schema["additionalProperties"];
    let properties = schema["properties"]
        .as_object()
        .is_some_and(|p| !p.is_empty());
    if properties && (additional.is_object() || *additional == false) {
        let detail = "additionalProperties and properties are mutual exclusive";
        faults.forbidden(format!("{path}.additionalProperties"), detail);
    }
}

fn children(
    schema: &Value,
    path: &str,
    root: bool,
    around: &Around,
    count: &mut usize,
    faults: &mut Faults,
) {
    if schema["additionalProperties"].is_object() {
        let mut inner = around.clone();
        if around.metadata {
            let reason = "inside additionalProperties applying to object metadata";
            inner.no_defaults = Some(reason.to_owned());
        }
        let place = format!("{path}.additionalProperties");
        let values = &schema["additionalProperties"];
        openapi(values, &place, false, &inner, count, faults);
    }
    for (name, property) in fields(schema, "properties") {
        let mut inner = around.clone();
        if text(schema, MAP_TYPE) == "atomic" {
            inner.uncorrelated.get_or_insert_with(|| path.to_owned());
        }
        let meta = ["metadata", "kind", "apiVersion"].contains(&name.as_str());
        if meta && (root || on(schema, EMBEDDED)) {
            inner.metadata = true;
            if root {
                inner.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        let place = format!("{path}.properties[{name}]");
        openapi(property, &place, false, &inner, count, faults);
    }
    if schema["items"].is_object() {
        let mut inner = around.clone();
        if text(schema, LIST_TYPE) != "map" {
            inner.uncorrelated.get_or_insert_with(|| path.to_owned());
        }
        let place = format!("{path}.items");
        openapi(&schema["items"], &place, false, &inner, count, faults);
    }
    let combined = Around {
        combined: true,
        ..around.clone()
    };
    for name in ["allOf", "anyOf", "oneOf"] {
        for (at, inner) in items(schema, name) {
            let place = format!("{path}.{name}[{at}]");
            openapi(inner, &place, false, &combined, count, faults);
        }
    }
    let not = &schema["not"];
    openapi(not, &format!("{path}.not"), false, &combined, count, faults);
}

/// Checks the types of lists and maps.
fn lists(schema: &Value, path: &str, faults: &mut Faults) {
    let kind = text(schema, "type");
    for (name, wanted, known) in [
        (MAP_TYPE, "object", &["atomic", "granular"][..]),
        (LIST_TYPE, "array", &["atomic", "set", "map"][..]),
    ] {
        let Some(given) = schema[name].as_str() else {
            continue;
        };
        if kind != wanted {
            let detail = format!("must be {wanted} if {name} is specified");
            let place = format!("{path}.type");
            if kind.is_empty() {
                faults.required(place, &detail);
            } else {
                faults.invalid(place, &json!(kind), detail);
            }
        }
        if !known.contains(&given) {
            let known: Vec<Value> = known.iter().copied().map(Value::from).collect();
            faults.unsupported(format!("{path}.{name}"), &json!(given), &known);
        }
    }
    let inner = &schema["items"];
    let list = text(schema, LIST_TYPE);
    if (list == "set" || list == "map") && on(inner, "nullable") {
        let detail = format!("cannot be nullable when {LIST_TYPE} is {list}");
        faults.forbidden(format!("{path}.items.nullable"), detail);
    }
    if list == "set" {
        let (name, given) = match text(inner, "type") {
            "object" => (MAP_TYPE, text(inner, MAP_TYPE)),
            "array" if inner[LIST_TYPE].is_string() => (LIST_TYPE, text(inner, LIST_TYPE)),
            _ => return,
        };
        if given != "atomic" {
            let detail = format!("must be atomic as item of a list with {LIST_TYPE}=set");
            faults.invalid(format!("{path}.items.{name}"), &json!(given), detail);
        }
    }
    map_keys(schema, list, path, faults);
}

fn map_keys(schema: &Value, list: &str, path: &str, faults: &mut Faults) {
    let keys: Vec<&str> = items(schema, LIST_KEYS)
        .filter_map(|(_, key)| key.as_str())
        .collect();
    if list != "map" {
        if !keys.is_empty() {
            let detail = format!("must be map if {LIST_KEYS} is non-empty");
            let place = format!("{path}.{LIST_TYPE}");
            if list.is_empty() {
                faults.required(place, &detail);
            } else {
                faults.invalid(place, &json!(list), detail);
            }
        }
        return;
    }
    if keys.is_empty() {
        let detail = format!("must not be empty if {LIST_TYPE} is map");
        faults.required(format!("{path}.{LIST_KEYS}"), &detail);
    }
    let inner = &schema["items"];
    if inner.is_null() {
        let detail = format!("must have a schema if {LIST_TYPE} is map");
        faults.required(format!("{path}.items"), &detail);
        return;
    }
    if text(inner, "type") != "object" {
        let detail = format!("must be object if parent array's {LIST_TYPE} is map");
        faults.invalid(
            format!("{path}.items.type"),
            &json!(text(inner, "type")),
            detail,
        );
        return;
    }
    let required = |key: &str| items(inner, "required").any(|(_, name)| *name == key);
    for (at, key) in keys.iter().enumerate() {
        let all = format!("{path}.{LIST_KEYS}");
        let place = format!("{path}.items.properties[{key}]");
        let property = &inner["properties"][*key];
        if !property.is_object() {
            let detail = "entries must all be names of item properties";
            faults.invalid(&all, &schema[LIST_KEYS], detail);
        } else if ["array", "object"].contains(&text(property, "type")) {
            let detail = format!("must be a scalar type if parent array's {LIST_TYPE} is map");
            faults.invalid(format!("{place}.type"), &json!(text(inner, "type")), detail);
        } else if !required(key) && property["default"].is_null() {
            let detail = format!(
                "this property is in {LIST_KEYS}, so it must have a default or be a required \
                 property"
            );
            faults.required(format!("{place}.default"), &detail);
        }
        if on(property, "nullable") {
            let detail = format!("this property is in {LIST_KEYS}, so it cannot be nullable");
            faults.forbidden(format!("{place}.nullable"), detail);
        }
        if keys.iter().take(at).any(|other| other == key) {
            let detail = "must not contain duplicate entries";
            faults.invalid(&all, &schema[LIST_KEYS], detail);
        }
    }
}

fn check_rule(rule: &Value, sound: bool, path: &str, around: &Around, faults: &mut Faults) {
    let given = text(rule, "rule").trim();
    let (message, expression) = (text(rule, "message"), text(rule, "messageExpression"));
    let lines = |text: &str| text.contains(['\n', '\r']);
    if given.is_empty() {
        faults.required(format!("{path}.rule"), "rule is not specified");
        return;
    }
    let place = format!("{path}.message");
    if !message.is_empty() && message.trim().is_empty() {
        faults.invalid(
            place,
            &json!(message),
            "message must be non-empty if specified",
        );
    } else if lines(message.trim()) {
        faults.invalid(
            place,
            &json!(message),
            "message must not contain line breaks",
        );
    } else if lines(given) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        faults.required(place, detail);
    }
    if let Some(reason) = rule["reason"].as_str()
        && !REASONS.contains(&reason)
    {
        let known = REASONS.map(Value::from);
        faults.unsupported(format!("{path}.reason"), &json!(reason), &known);
    }
    if !sound || around.combined {
        return;
    }
    let place = format!("{path}.rule");
    match rules::check(given) {
        Err(why) => faults.invalid(place, &json!(given), why),
        Ok(true) => {
            if let Some(above) = &around.uncorrelated {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within \
                     {above}"
                );
                faults.invalid(place, &json!(given), detail);
            }
        }
        Ok(false) => {
            if rule["optionalOldSelf"].is_boolean() {
                let detail = "may not be set if oldSelf is not used in rule";
                let place = format!("{path}.optionalOldSelf");
                faults.invalid(place, &rule["optionalOldSelf"], detail);
            }
        }
    }
    if !expression.is_empty()
        && let Err(why) = rules::check(expression)
    {
        faults.invalid(format!("{path}.messageExpression"), &json!(expression), why);
    }
}
