//! Naming the fields that a schema does not know, as strict clients want it: those that pruning drops.
//! What combines schemas (`anyOf` and its like) names no fields, as definitions must name them outside.

use serde_json::Value;

use super::prune::ENVELOPE;
use super::words::Path;
use super::{Additional, Schema, Type};

impl Schema {
    /// The paths of fields that the schema of a whole object does not know, at most `most`.
    pub(crate) fn unknown(&self, object: &Value, most: usize) -> Vec<String> {
        let mut found = Found {
            paths: Vec::new(),
            most,
        };
        collect(self, object, &Path::Root, true, &mut found);
        found.paths
    }

    /// [`Schema::unknown`] for the value of one field of an object.
    pub(crate) fn unknown_at(&self, value: &Value, field: &str, most: usize) -> Vec<String> {
        let mut found = Found {
            paths: Vec::new(),
            most,
        };
        let path = Path::Field(&Path::Root, field);
        collect(self, value, &path, self.embedded, &mut found);
        found.paths
    }
}

/// What was found, within its bound.
struct Found {
    paths: Vec<String>,
    most: usize,
}

impl Found {
    fn add(&mut self, path: &Path<'_>) {
        if self.paths.len() < self.most {
            self.paths.push(path.to_string());
        }
    }
}

/// `resource` says whether the value has the fields of every object.
fn collect(schema: &Schema, value: &Value, path: &Path<'_>, resource: bool, found: &mut Found) {
    if schema.preserve {
        return;
    }
    match value {
        // A value of another type than it should have is reported as that alone.
        Value::Object(fields) if schema.kind == Some(Type::Object) => {
            for (name, value) in fields {
                if resource && ENVELOPE.contains(&name.as_str()) {
                    continue;
                }
                let path = Path::Field(path, name);
                match (schema.properties.get(name), &schema.additional) {
                    (Some(schema), _) => collect(schema, value, &path, schema.embedded, found),
                    (None, Additional::Of(schema)) => {
                        collect(schema, value, &path, schema.embedded, found)
                    }
                    (None, Additional::Any) => {}
                    (None, Additional::None) => found.add(&path),
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (at, item) in items.iter().enumerate() {
                collect(schema, item, &Path::Index(path, at), schema.embedded, found);
            }
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
