//! Tables for people: the printer columns of a kind, evaluated for each object.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::format::{Include, metadata_of};
use crate::resource::{Column, ResourceKind};

/// A `Table` of rows.
pub(crate) fn table(kind: &ResourceKind, rows: &[Value], metadata: &Value) -> Value {
    let mut columns = vec![json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "The name of the object, unique in its namespace.",
    })];
    for column in columns_of(kind).iter() {
        columns.push(json!({
            "name": column.name,
            "type": column.kind,
            "format": "",
            "priority": column.priority,
            "description": format!("Custom resource definition column (in JSONPath format): {}",
                column.json_path),
        }));
    }
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata, "columnDefinitions": columns, "rows": rows,
    })
}

/// Kinds without columns show their age.
fn columns_of(kind: &ResourceKind) -> std::borrow::Cow<'_, [Column]> {
    if kind.columns.is_empty() {
        vec![Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            json_path: ".metadata.creationTimestamp".to_owned(),
            priority: 0,
        }]
        .into()
    } else {
        kind.columns.as_slice().into()
    }
}

/// The row of an object.
pub(crate) fn row(kind: &ResourceKind, object: &Value, now: Timestamp, include: Include) -> Value {
    let mut cells = vec![object["metadata"]["name"].clone()];
    for column in columns_of(kind).iter() {
        cells.push(cell(column, object, now));
    }
    let object = match include {
        Include::None => Value::Null,
        Include::Metadata => metadata_of(object),
        Include::Object => object.clone(),
    };
    json!({"cells": cells, "object": object})
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let Some(value) = evaluate(object, &column.json_path) else {
        return Value::Null;
    };
    match (column.kind.as_str(), value) {
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(then) => json!(age(now.as_second() - then.as_second())),
            Err(_) => json!("<unknown>"),
        },
        ("integer", Value::Number(_)) | ("boolean", Value::Bool(_)) | (_, Value::Null) => {
            value.clone()
        }
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => json!(other.to_string()),
        _ => Value::Null,
    }
}

/// A duration as `kubectl` writes it: the two largest units where the larger is small.
fn age(seconds: i64) -> String {
    let s = seconds.max(0);
    let (minutes, hours, days) = (s / 60, s / 3_600, s / 86_400);
    let two = |a: i64, unit: char, b: i64, small: char| {
        if b == 0 {
            format!("{a}{unit}")
        } else {
            format!("{a}{unit}{b}{small}")
        }
    };
    if s < 120 {
        format!("{s}s")
    } else if minutes < 10 {
        two(minutes, 'm', s % 60, 's')
    } else if hours < 3 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, 'h', minutes % 60, 'm')
    } else if hours < 48 {
        format!("{hours}h")
    } else if days < 8 {
        two(days, 'd', hours % 24, 'h')
    } else if days < 730 {
        format!("{days}d")
    } else {
        two(days / 365, 'y', days % 365, 'd')
    }
}

/// The first match of the JSON paths that printer columns use: fields (with `\.` for a dot in a
/// name, or `['name']`), indexes, and `[?(@.field=="text")]`.
pub(crate) fn evaluate<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = object;
    let mut rest = path
        .trim_start_matches('{')
        .trim_end_matches('}')
        .trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[?(@.") {
            let (condition, tail) = after.split_once(")]")?;
            let (field, wanted) = condition.split_once("==")?;
            let wanted = wanted.trim().trim_matches(['"', '\'']);
            at = at
                .as_array()?
                .iter()
                .find(|item| item[field.trim()] == wanted)?;
            rest = tail;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, tail) = after.split_once(']')?;
            at = match inside.parse::<usize>() {
                Ok(index) => at.get(index)?,
                Err(_) => at.get(inside.trim_matches(['"', '\'']))?,
            };
            rest = tail;
        } else {
            let (field, tail) = field(rest.strip_prefix('.').unwrap_or(rest))?;
            at = at.get(field)?;
            rest = tail;
        }
    }
    Some(at)
}

fn field(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => return (at > 0).then(|| (name, text.get(at..).unwrap_or_default())),
            other => name.push(other),
        }
    }
    (!name.is_empty()).then_some((name, ""))
}

#[cfg(test)]
#[path = "tests/table.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
