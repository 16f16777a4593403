//! The filters of a Trigger: which events it is about.
//!
//! `filter.attributes` is the first dialect: every attribute must have the value, or be there where
//! the value is empty. `filters` is a list of elements that must all pass; each is written in one
//! dialect. Only the structure is judged here; what an expression means is the filter's matter.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::admission::{Errors, join};

/// Values of attributes by name, sorted. There is one as a rule, and a map would take half a
/// kilobyte for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Box<[(Box<str>, Box<str>)]>);

impl Attributes {
    /// The names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::deserialize(deserializer)?;
        Ok(Self(map.into_iter().collect()))
    }
}

/// Matches events by their attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerFilter {
    /// The value that each attribute must have; an empty value asks only that it be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub attributes: Option<Attributes>,
}

/// One element of `filters`. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionsApiFilter {
    /// Passes if every element passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub all: Option<Vec<Self>>,
    /// Passes if one element passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub any: Option<Vec<Self>>,
    /// Passes if the element does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub not: Option<Box<Self>>,
    /// Passes if every attribute has the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub exact: Option<Attributes>,
    /// Passes if every attribute begins with the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub prefix: Option<Attributes>,
    /// Passes if every attribute ends with the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub suffix: Option<Attributes>,
    /// Passes if the CloudEvents SQL expression is true of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cesql: Option<String>,
    /// Passes if what stands at a place in the event's data fits. Not a dialect of Knative's, which
    /// drops it.
    #[serde(rename = "heddle.dev/data", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub data: Option<serde_json::Value>,
}

fn any_objects(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

/// The dialects' names.
const DIALECTS: &str = "exact, prefix, suffix, all, any, not, cesql, heddle.dev/data";
const ATTRIBUTE: &str =
    "attribute names begin with a lower case letter and have only lower case letters and digits";

/// Reports what is wrong with `filter` at `path`.
pub(crate) fn check(filter: &TriggerFilter, path: &str, errors: &mut Errors) {
    check_attributes(
        filter.attributes.as_ref(),
        &join(path, "attributes"),
        errors,
    );
}

/// Reports what is wrong with the structure of `filters` at `path`.
pub(crate) fn check_all(filters: &[SubscriptionsApiFilter], path: &str, errors: &mut Errors) {
    for (index, filter) in filters.iter().enumerate() {
        check_element(filter, &format!("{path}[{index}]"), errors);
    }
}

fn check_element(filter: &SubscriptionsApiFilter, path: &str, errors: &mut Errors) {
    let set = |map: &Option<Attributes>| map.as_ref().is_some_and(|map| !map.is_empty());
    let some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let dialects = [
        set(&filter.exact),
        set(&filter.prefix),
        set(&filter.suffix),
        some(&filter.all),
        some(&filter.any),
        filter.not.is_some(),
        filter.cesql.as_ref().is_some_and(|text| !text.is_empty()),
        filter.data.is_some(),
    ];
    match dialects.iter().filter(|dialect| **dialect).count() {
        // An element that says nothing would let every event through, which nobody writes on
        // purpose; a dialect whose name was misspelt ends here too.
        0 => errors.missing_because(path, &format!("expected one of the dialects {DIALECTS}")),
        1 => {}
        _ => errors.push(
            "FieldValueInvalid",
            path,
            format!("multiple dialects found, filters can have only one dialect set: {path}"),
        ),
    }
    for (name, attributes) in [
        ("exact", &filter.exact),
        ("prefix", &filter.prefix),
        ("suffix", &filter.suffix),
    ] {
        check_attributes(attributes.as_ref(), &join(path, name), errors);
    }
    for (name, nested) in [("all", &filter.all), ("any", &filter.any)] {
        check_all(
            nested.as_deref().unwrap_or_default(),
            &join(path, name),
            errors,
        );
    }
    if let Some(nested) = &filter.not {
        check_element(nested, &join(path, "not"), errors);
    }
}

fn check_attributes(attributes: Option<&Attributes>, path: &str, errors: &mut Errors) {
    for (name, _) in attributes.into_iter().flat_map(Attributes::iter) {
        let good = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !good {
            errors.invalid_key(path, name, ATTRIBUTE);
        }
    }
}
