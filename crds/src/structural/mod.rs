//! Structural schemas: what objects of a kind look like, as CustomResourceDefinitions say it.
//!
//! [`Schema`] is the compiled form of one version's OpenAPI v3 schema. It does to an object what an
//! API server does with the schema: [`Schema::prune`] drops what is not named,
//! [`Schema::fill_in`] writes defaults, [`Schema::validate`] reports everything that is wrong, in
//! the words of Kubernetes, [`Rules`] evaluates `x-kubernetes-validations`.
//!
//! Laws, each with a test:
//! - compiling, pruning, filling in and validating never panic, whatever the schema and the object;
//! - pruning and filling in change nothing the second time, and validation changes nothing at all;
//! - what a schema does not understand is refused when it is installed and not ignored: the
//!   compiled form is total, and `definitions` judges the schema before;
//! - recursion is as deep as the schema, whose depth is bounded by [`MAX_DEPTH`], and as the object,
//!   whose depth its reader bounds; errors are bounded by [`words::MAX_ERRORS`].

pub(crate) mod admission;
mod fill_in;
pub(crate) mod formats;
mod lists;
mod prune;
pub(crate) mod rules;
#[cfg(test)]
mod tests;
mod validate;
pub(crate) mod words;

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

pub(crate) use self::rules::Rules;

/// The deepest nesting of a schema.
pub(crate) const MAX_DEPTH: usize = 64;
/// Bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

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

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// What fields that are not named may be.
#[derive(Clone, Debug, Default)]
enum Additional {
    /// There are none.
    #[default]
    None,
    /// Anything.
    Any,
    /// Values of this schema: the object is a map.
    Of(Box<Schema>),
}

/// What the items of a list are to each other.
#[derive(Clone, Debug, Default)]
enum ListType {
    /// Nothing.
    #[default]
    Atomic,
    /// Each is there once.
    Set,
    /// Each combination of these fields is there once.
    Map(Vec<String>),
}

/// Bounds and patterns of a value.
#[derive(Clone, Debug, Default)]
struct Limits {
    minimum: Option<serde_json::Number>,
    maximum: Option<serde_json::Number>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    pattern: Option<(String, Regex)>,
    format: Option<formats::Format>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    unique: bool,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    choices: Vec<Value>,
}

/// Schemas that an object is held against besides.
#[derive(Clone, Debug, Default)]
struct Logic {
    all: Vec<Schema>,
    any: Vec<Schema>,
    one: Vec<Schema>,
    not: Option<Box<Schema>>,
}

/// A compiled schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    kind: Option<Type>,
    int_or_string: bool,
    nullable: bool,
    preserve: bool,
    embedded: bool,
    properties: BTreeMap<String, Self>,
    additional: Additional,
    items: Option<Box<Self>>,
    required: Vec<String>,
    default: Option<Value>,
    list: ListType,
    limits: Option<Box<Limits>>,
    logic: Option<Box<Logic>>,
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

impl Schema {
    /// Compiles the schema of a version. What it does not understand it leaves out.
    pub(crate) fn compile(schema: &Value) -> Self {
        compile(schema, 0)
    }

    /// The schema of a field.
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        self.properties.get(name)
    }

    /// The schema of the items of a list.
    pub(crate) fn item(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// The schema of the values of a map.
    pub(crate) fn value(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Of(schema) => Some(schema),
            Additional::None | Additional::Any => None,
        }
    }
}

fn compile(schema: &Value, depth: usize) -> Schema {
    let Some(fields) = schema.as_object().filter(|_| depth <= MAX_DEPTH) else {
        return Schema {
            preserve: true,
            ..Schema::default()
        };
    };
    let flag = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    let inner = |schema: &Value| compile(schema, depth + 1);
    let properties = fields.get("properties").and_then(Value::as_object);
    Schema {
        kind: text(fields, "type").and_then(Type::parse),
        int_or_string: flag("x-kubernetes-int-or-string"),
        nullable: flag("nullable"),
        preserve: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        properties: properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), inner(schema)))
            .collect(),
        additional: match fields.get("additionalProperties") {
            Some(Value::Object(map)) if !map.is_empty() => {
                Additional::Of(Box::new(inner(&Value::Object(map.clone()))))
            }
            Some(Value::Object(_) | Value::Bool(true)) => Additional::Any,
            _ => Additional::None,
        },
        items: fields
            .get("items")
            .filter(|items| items.is_object())
            .map(|items| Box::new(inner(items))),
        required: texts(fields, "required"),
        default: fields.get("default").cloned(),
        list: match text(fields, "x-kubernetes-list-type") {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map(texts(fields, "x-kubernetes-list-map-keys")),
            _ => ListType::Atomic,
        },
        limits: limits(fields),
        logic: logic(fields, depth),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn texts(fields: &Map<String, Value>, name: &str) -> Vec<String> {
    let all = fields.get(name).and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
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
            .map(|schema| compile(schema, depth + 1))
            .collect()
    };
    let logic = Logic {
        all: all_of("allOf"),
        any: all_of("anyOf"),
        one: all_of("oneOf"),
        not: fields
            .get("not")
            .filter(|not| not.is_object())
            .map(|not| Box::new(compile(not, depth + 1))),
    };
    let empty =
        logic.all.is_empty() && logic.any.is_empty() && logic.one.is_empty() && logic.not.is_none();
    (!empty).then(|| Box::new(logic))
}
