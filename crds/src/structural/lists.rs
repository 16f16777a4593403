//! Lists that are sets or maps: no item twice.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::words::{Faults, Path};
use super::{Additional, ListType, Schema};

impl Schema {
    /// Reports items that are there twice, wherever a list is a set or a map.
    pub(super) fn check_lists(&self, value: &Value, path: &Path<'_>, faults: &mut Faults) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(schema) = self.properties.get(name) {
                        schema.check_lists(value, &Path::Field(path, name), faults);
                    } else if let Additional::Of(schema) = &self.additional {
                        schema.check_lists(value, &Path::Key(path, name), faults);
                    }
                }
            }
            Value::Array(items) => {
                match &self.list {
                    ListType::Atomic => {}
                    ListType::Set => duplicates(items, path, faults),
                    ListType::Map(keys) => self.check_map(items, keys, path, faults),
                }
                let Some(schema) = &self.items else { return };
                for (at, item) in items.iter().enumerate() {
                    schema.check_lists(item, &Path::Index(path, at), faults);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn check_map(&self, items: &[Value], keys: &[Box<str>], path: &Path<'_>, faults: &mut Faults) {
        for (at, item) in items.iter().enumerate() {
            if !item.is_object() && !item.is_null() {
                let place = Path::Index(path, at).bracketed();
                let detail = "must be an object for an array of list-type map";
                faults.invalid(place, item, detail);
                return;
            }
        }
        let named: Vec<Value> = items.iter().map(|item| key_of(item, keys)).collect();
        duplicates(&named, path, faults);
    }
}

/// What names an item of a list that is a map: the fields that are its keys.
pub(super) fn key_of(item: &Value, keys: &[Box<str>]) -> Value {
    let named: Map<String, Value> = keys
        .iter()
        .filter_map(|key| Some((key.clone().into(), item.get(&**key)?.clone())))
        .collect();
    Value::Object(named)
}

/// Reports every value that is there more than once, at its second place.
fn duplicates(values: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            faults.duplicate(Path::Index(path, at).bracketed(), value);
        }
    }
}
