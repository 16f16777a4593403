//! Dropping the fields that a schema does not name.

use serde_json::Value;

use super::{Additional, Schema};

/// Fields that every resource has, beside those of its schema.
pub(crate) const ENVELOPE: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Drops what the schema of a whole object does not name. `apiVersion`, `kind` and `metadata`
    /// are not the schema's.
    pub(crate) fn prune(&self, object: &mut Value) {
        prune(self, object, true);
    }

    /// [`Schema::prune`] for a part of an object.
    pub(crate) fn prune_part(&self, value: &mut Value) {
        prune(self, value, self.embedded);
    }
}

fn prune(schema: &Schema, value: &mut Value, resource: bool) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            if resource && ENVELOPE.contains(&name.as_str()) {
                return true;
            }
            match (schema.properties.get(name), &schema.additional) {
                (Some(schema), _) => prune(schema, value, schema.embedded),
                (None, Additional::Of(schema)) => prune(schema, value, schema.embedded),
                (None, Additional::Any) => {}
                (None, Additional::None) => return schema.preserve,
            }
            true
        }),
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for item in items {
                    prune(schema, item, schema.embedded);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
