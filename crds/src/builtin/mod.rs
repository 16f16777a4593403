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
pub(crate) mod cells;
mod events;
mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use self::admission::BuiltInAdmission;
use self::table::{ROWS, Row};
use crate::resource::{Column, ResourceKind, Scale};
use crate::structural::words::Faults;

/// The types by name, with references to each other.
static TYPES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("schemas.json")).unwrap_or_default());
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
    let schema = schema(row.schema);
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
        status_subresource: schema.pointer("/properties/status").is_some(),
        scale: row.scale.then(|| Scale {
            spec_replicas: ".spec.replicas".to_owned(),
            status_replicas: ".status.replicas".to_owned(),
            label_selector: None,
        }),
        selectable: None,
        columns: columns.collect(),
        cells: Some(row.cells),
        admission: Arc::new(BuiltInAdmission::new(&schema, row.complete, row.check)),
        schema,
        served: true,
        storage: !(events && row.group == events::GROUP),
        stored_in: events.then(String::new),
        deprecation: None,
        conversion: events.then_some(events::convert),
        definition: None,
    }
}

/// The schema of a type, without references and without the fields that every object has.
pub(crate) fn schema(name: &str) -> Value {
    let mut schema = TYPES.get(name).map(|ty| expand(ty, 0)).unwrap_or_default();
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

fn expand(schema: &Value, depth: usize) -> Value {
    let Some(fields) = schema.as_object().filter(|_| depth <= MAX_REFERENCES) else {
        return schema.clone();
    };
    let mut expanded = Map::new();
    if let Some(ty) = fields
        .get("$ref")
        .and_then(|name| TYPES.get(name.as_str()?))
        && let Value::Object(inner) = expand(ty, depth + 1)
    {
        expanded = inner;
    }
    for (name, value) in fields {
        let value = match name.as_str() {
            "$ref" => continue,
            "properties" => {
                let inner = value.as_object().into_iter().flatten();
                let inner = inner.map(|(name, schema)| (name.clone(), expand(schema, depth)));
                Value::Object(inner.collect())
            }
            "items" | "additionalProperties" => expand(value, depth),
            _ => value.clone(),
        };
        expanded.insert(name.clone(), value);
    }
    Value::Object(expanded)
}
