//! Structural schemas: what objects of a kind look like, as CustomResourceDefinitions say it.
//!
//! [`Schema`] is the compiled form of one version's OpenAPI v3 schema. It does to an object what an
//! API server does with the schema: [`Schema::prune`] drops what is not named,
//! [`Schema::fill_in`] writes defaults, [`Schema::validate`] reports everything that is wrong, in
//! the words of Kubernetes, [`Schema::unknown`] names the fields that are not known, [`Rules`]
//! evaluates `x-kubernetes-validations`. It also says how lists and maps are merged and owned, so
//! that nobody else reads schemas. Texts are left out, and fields stand in sorted slices: every
//! kind that is in use has its compiled form in memory for good.
//!
//! Laws, each with a test:
//! - compiling, pruning, filling in and validating never panic, whatever the schema and the object;
//! - pruning and filling in change nothing the second time, and validation changes nothing at all;
//! - what a schema does not understand is refused when it is installed and not ignored: the
//!   compiled form is total, and `definitions` judges the schema before;
//! - recursion is as deep as the schema, whose depth is bounded by [`MAX_DEPTH`], and as the object,
//!   whose depth its reader bounds; errors are bounded by [`words::MAX_ERRORS`].

mod compile;
mod fill_in;
pub(crate) mod formats;
mod lists;
mod prune;
pub(crate) mod rules;
#[cfg(test)]
mod tests;
mod unknown;
mod validate;
pub(crate) mod words;

use regex::Regex;
use serde_json::Value;

pub(crate) use self::compile::{pattern, whole_bounds};
pub(crate) use self::rules::Rules;

/// The deepest nesting of a schema.
pub(crate) const MAX_DEPTH: usize = 64;

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

/// The fields that a schema names, sorted.
#[derive(Clone, Debug, Default)]
struct Fields(Box<[(Box<str>, Schema)]>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Schema> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(name));
        self.0.get(at.ok()?).map(|(_, schema)| schema)
    }

    fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.0.iter().map(|(name, schema)| (&**name, schema))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
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
pub(crate) enum ListType {
    /// Nothing.
    #[default]
    Atomic,
    /// Each is there once.
    Set,
    /// Each combination of these fields is there once.
    Map(Box<[Box<str>]>),
}

/// How a strategic merge patch treats values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strategy {
    /// Lists are merged.
    pub(crate) merge: bool,
    /// Maps are replaced.
    pub(crate) replace: bool,
    /// The field that tells the items of a list apart.
    pub(crate) key: Option<Box<str>>,
}

/// The numbers that a format has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Int32,
    Int64,
    Float,
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
    range: Option<Range>,
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
pub struct Schema {
    kind: Option<Type>,
    int_or_string: bool,
    nullable: bool,
    preserve: bool,
    embedded: bool,
    /// Maps of it are owned as a whole.
    atomic: bool,
    properties: Fields,
    additional: Additional,
    items: Option<Box<Self>>,
    required: Box<[Box<str>]>,
    default: Option<Box<Value>>,
    list: ListType,
    strategy: Option<Box<Strategy>>,
    limits: Option<Box<Limits>>,
    logic: Option<Box<Logic>>,
}

impl Schema {
    /// Compiles the schema of a version. What it does not understand it leaves out.
    pub(crate) fn compile(schema: &Value) -> Self {
        compile::schema(schema, 0)
    }

    /// The type of values; none where the schema does not say it.
    pub(crate) fn kind(&self) -> Option<Type> {
        self.kind
    }

    /// Whether fields that are not named are kept.
    pub(crate) fn preserves(&self) -> bool {
        self.preserve
    }

    /// Whether maps are owned as a whole.
    pub(crate) fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// What the items of a list are to each other.
    pub(crate) fn list(&self) -> &ListType {
        &self.list
    }

    /// How a strategic merge patch treats values, where the schema says it.
    pub(crate) fn strategy(&self) -> Option<&Strategy> {
        self.strategy.as_deref()
    }

    /// The default of the value.
    pub(crate) fn default_value(&self) -> Option<&Value> {
        self.default.as_deref()
    }

    /// Whether the schema names fields.
    pub(crate) fn has_properties(&self) -> bool {
        !self.properties.is_empty()
    }

    /// Whether fields that the schema does not name may be anything.
    pub(crate) fn takes_anything(&self) -> bool {
        matches!(self.additional, Additional::Any)
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
