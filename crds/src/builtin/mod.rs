//! The kinds of Kubernetes itself that people use beside ours, as one table.
//!
//! They are stored and served with their real schemas, the columns that `kubectl get` shows, and
//! the defaults and checks without which clients stumble. Nothing acts on them here: a Deployment
//! that is stored starts no Pods. Their schemas come from `schemas.json`, which
//! `tests/scripts/kubernetes-schemas.py` makes of Kubernetes' OpenAPI documents: facts without
//! texts, one line for each type, with how lists and maps are merged.
//!
//! A new kind is a row of [`ROWS`], its type in the script, and where it needs them a function for
//! its cells, its defaults and its checks.

mod admission;
mod autoscaling;
pub(crate) mod cells;
mod events;
mod must;
mod others;
mod pods;
mod rights;
mod service;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use self::admission::Extras;
use self::table::{ROWS, Row};
use crate::admission::BySchema;
use crate::resource::{Column, KindSchema, ResourceKind, Scale};
use crate::structural::words::Faults;

/// The types by name, with references to each other.
const TYPES: &str = include_str!("schemas.json");
/// How deep types refer to each other.
const MAX_REFERENCES: usize = 32;

/// Fills in what the schema cannot say.
type Complete = fn(object: &mut Value);
/// Reports what the schema cannot say.
type Check = fn(object: &Value, old: Option<&Value>, faults: &mut Faults);

/// Every kind of the table.
pub(crate) fn kinds() -> Vec<ResourceKind> {
    ROWS.iter().map(kind).collect()
}

fn kind(row: &Row) -> ResourceKind {
    let schema = KindSchema::built_in(row.schema);
    let extras = Extras {
        complete: row.complete,
        check: row.check,
    };
    let columns = row.columns.iter().map(|(name, priority)| Column {
        name: (*name).to_owned(),
        kind: "string".to_owned(),
        json_path: ".metadata".to_owned(),
        priority: *priority,
    });
    let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    let events = row.plural == "events";
    ResourceKind {
        group: row.group.to_owned(),
        version: row.version.to_owned(),
        kind: row.kind.to_owned(),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: owned(row.short_names),
        categories: owned(row.categories),
        namespaced: row.namespaced,
        status_subresource: row.status,
        scale: row.scale.then(|| Scale {
            spec_replicas: ".spec.replicas".to_owned(),
            status_replicas: ".status.replicas".to_owned(),
            label_selector: None,
        }),
        selectable: None,
        columns: columns.collect(),
        cells: Some(row.cells),
        admission: Arc::new(BySchema::new(&schema, extras)),
        schema,
        served: true,
        storage: match row.group {
            events::GROUP => false,
            autoscaling::GROUP => row.version == autoscaling::STORED,
            _ => true,
        },
        stored_in: events.then(String::new),
        deprecation: row.deprecation.map(ToOwned::to_owned),
        conversion: match row.group {
            autoscaling::GROUP => Some(autoscaling::convert),
            _ => events.then_some(events::convert),
        },
        definition: None,
    }
}

/// The types by name. What a schema does not refer to stays text.
type Types<'a> = BTreeMap<&'a str, &'a RawValue>;

fn types() -> Types<'static> {
    serde_json::from_str(TYPES).unwrap_or_default()
}

/// The schema of a type, without references and without the fields that every object has.
pub(crate) fn schema(name: &str) -> Value {
    let mut schema = named(name, &types(), 0).map_or(Value::Null, Value::Object);
    if let Some(properties) = schema["properties"].as_object_mut() {
        for field in ["apiVersion", "kind", "metadata"] {
            properties.remove(field);
        }
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|field| field != "metadata");
    }
    schema
}

fn named(name: &str, types: &Types<'_>, depth: usize) -> Option<Map<String, Value>> {
    let text = types.get(name).filter(|_| depth <= MAX_REFERENCES)?;
    let schema = serde_json::from_str(text.get()).ok()?;
    Some(expanded(schema, types, depth))
}

fn expanded(fields: Map<String, Value>, types: &Types<'_>, depth: usize) -> Map<String, Value> {
    let reference = fields.get("$ref").and_then(Value::as_str);
    let found = reference.and_then(|name| named(name, types, depth + 1));
    let mut all = found.unwrap_or_default();
    let within = |schema: Value| match schema {
        Value::Object(fields) => Value::Object(expanded(fields, types, depth)),
        other => other,
    };
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("$ref", _) => continue,
            ("properties", Value::Object(inner)) => {
                let inner = inner.into_iter();
                let inner = inner.map(|(name, schema)| (name, within(schema)));
                Value::Object(inner.collect())
            }
            ("items" | "additionalProperties", inner) => within(inner),
            (_, value) => value,
        };
        all.insert(name, value);
    }
    all
}
