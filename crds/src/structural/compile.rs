//! Making the compiled form of a schema.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::{
    Additional, Fields, Limits, ListType, Logic, MAX_DEPTH, Range, Schema, Strategy, Type, formats,
};

/// Bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;

impl Type {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }
}

/// Compiles a pattern, whose size is bounded.
pub(crate) fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(MAX_PATTERN).build()
}

/// Writes whole bounds as whole numbers: the type reads them all as fractions.
pub(crate) fn whole_bounds(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let bound = ["minimum", "maximum", "multipleOf"].contains(&name.as_str());
                match value
                    .as_f64()
                    .filter(|n| bound && n.fract() == 0.0 && n.abs() < 1e15)
                {
                    #[allow(clippy::cast_possible_truncation)] // Whole, and small enough.
                    Some(number) => *value = (number as i64).into(),
                    None => whole_bounds(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_bounds),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Compiles the schema at a depth.
pub(super) fn schema(schema: &Value, depth: usize) -> Schema {
    match schema {
        Value::Object(fields) if depth <= MAX_DEPTH => compiled(fields, depth),
        // What is no schema, or nests too deep, lets everything pass.
        _ => Schema {
            preserve: true,
            ..Schema::default()
        },
    }
}

fn compiled(fields: &Map<String, Value>, depth: usize) -> Schema {
    let flag = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    let inner = |inner: &Value| schema(inner, depth + 1);
    let properties = fields.get("properties").and_then(Value::as_object);
    // The map has its fields in their order, which is the one that is searched.
    let properties = properties.into_iter().flatten();
    Schema {
        kind: text(fields, "type").and_then(Type::parse),
        int_or_string: flag("x-kubernetes-int-or-string"),
        nullable: flag("nullable"),
        preserve: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        atomic: text(fields, "x-kubernetes-map-type") == Some("atomic"),
        properties: Fields(
            properties
                .map(|(name, schema)| (name.as_str().into(), inner(schema)))
                .collect(),
        ),
        additional: match fields.get("additionalProperties") {
            Some(values @ Value::Object(map)) if !map.is_empty() => {
                Additional::Of(Box::new(inner(values)))
            }
            Some(Value::Object(_) | Value::Bool(true)) => Additional::Any,
            _ => Additional::None,
        },
        items: fields
            .get("items")
            .filter(|items| items.is_object())
            .map(|items| Box::new(inner(items))),
        required: texts(fields, "required"),
        default: fields.get("default").cloned().map(Box::new),
        list: match text(fields, "x-kubernetes-list-type") {
            Some("set") => ListType::Set,
            Some("map") => match texts(fields, "x-kubernetes-list-map-keys") {
                keys if keys.is_empty() => ListType::Atomic,
                keys => ListType::Map(keys),
            },
            _ => ListType::Atomic,
        },
        strategy: strategy(fields),
        limits: limits(fields),
        logic: logic(fields, depth),
    }
}

/// The text of a field.
pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

/// The texts of a list.
pub(super) fn texts(fields: &Map<String, Value>, name: &str) -> Box<[Box<str>]> {
    let all = fields.get(name).and_then(Value::as_array);
    let all = all.into_iter().flatten();
    all.filter_map(|item| item.as_str().map(Into::into))
        .collect()
}

fn strategy(fields: &Map<String, Value>) -> Option<Box<Strategy>> {
    let named = text(fields, "x-kubernetes-patch-strategy");
    let key = text(fields, "x-kubernetes-patch-merge-key");
    if named.is_none() && key.is_none() {
        return None;
    }
    let has = |strategy: &str| named.is_some_and(|all| all.split(',').any(|s| s == strategy));
    Some(Box::new(Strategy {
        merge: has("merge"),
        replace: has("replace"),
        key: key.map(Into::into),
    }))
}

fn range(fields: &Map<String, Value>) -> Option<Range> {
    match (text(fields, "type")?, text(fields, "format")?) {
        ("integer", "int32") => Some(Range::Int32),
        ("integer", "int64") => Some(Range::Int64),
        ("number", "float" | "float32") => Some(Range::Float),
        _ => None,
    }
}

fn limits(fields: &Map<String, Value>) -> Option<Box<Limits>> {
    let number = |name: &str| fields.get(name).and_then(Value::as_number).cloned();
    let count = |name: &str| fields.get(name).and_then(Value::as_u64);
    let flag = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    const NAMES: [&str; 15] = [
        "minimum",
        "maximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "enum",
        "exclusiveMinimum",
        "exclusiveMaximum",
    ];
    if !NAMES.iter().any(|name| fields.contains_key(*name)) {
        return None;
    }
    Some(Box::new(Limits {
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: fields.get("multipleOf").and_then(Value::as_f64),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        pattern: text(fields, "pattern")
            .and_then(|text| Some((text.to_owned(), pattern(text).ok()?))),
        format: text(fields, "format").and_then(formats::Format::parse),
        range: range(fields),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        unique: flag("uniqueItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        choices: fields
            .get("enum")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
    }))
}

fn logic(fields: &Map<String, Value>, depth: usize) -> Option<Box<Logic>> {
    let all_of = |name: &str| -> Vec<Schema> {
        let all = fields.get(name).and_then(Value::as_array);
        all.into_iter()
            .flatten()
            .map(|inner| schema(inner, depth + 1))
            .collect()
    };
    let logic = Logic {
        all: all_of("allOf"),
        any: all_of("anyOf"),
        one: all_of("oneOf"),
        not: fields
            .get("not")
            .filter(|not| not.is_object())
            .map(|not| Box::new(schema(not, depth + 1))),
    };
    let empty =
        logic.all.is_empty() && logic.any.is_empty() && logic.one.is_empty() && logic.not.is_none();
    (!empty).then(|| Box::new(logic))
}
