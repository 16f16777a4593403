//! Writing defaults.
//!
//! A field that is null and may not be null counts as left out: it gets its default, and goes
//! where it has none.

use serde_json::Value;

use super::prune::ENVELOPE;
use super::{Additional, Schema};

impl Schema {
    /// Writes the defaults of the schema of a whole object.
    pub(crate) fn fill_in(&self, object: &mut Value) {
        fill_in(self, object, true);
    }

    /// [`Schema::fill_in`] for a part of an object.
    pub(crate) fn fill_in_part(&self, value: &mut Value) {
        fill_in(self, value, self.embedded);
    }
}

fn fill_in(schema: &Schema, value: &mut Value, resource: bool) {
    match value {
        Value::Object(fields) => {
            let ours = |name: &str| !(resource && ENVELOPE.contains(&name));
            fields.retain(|name, value| {
                if !value.is_null() || !ours(name) {
                    return true;
                }
                match (schema.properties.get(name), &schema.additional) {
                    (Some(schema), _) => keeps_null(schema),
                    (None, Additional::Of(schema)) => keeps_null(schema),
                    (None, Additional::Any | Additional::None) => true,
                }
            });
            for (name, schema) in schema.properties.iter() {
                if !ours(name) {
                    continue;
                }
                if let Some(default) = &schema.default
                    && !fields.contains_key(name)
                {
                    fields.insert(name.to_owned(), (**default).clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    one(schema, value);
                }
            }
            if let Additional::Of(inner) = &schema.additional {
                for (name, value) in fields {
                    if ours(name) && !schema.properties.contains(name) {
                        one(inner, value);
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for item in items {
                    one(schema, item);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a null stays, as itself or until its default takes its place.
fn keeps_null(schema: &Schema) -> bool {
    schema.nullable || schema.default.is_some()
}

fn one(schema: &Schema, value: &mut Value) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = (**default).clone();
    }
    fill_in(schema, value, schema.embedded);
}
