//! Tables for people: the printer columns of a kind, evaluated for each object.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::format::{Include, metadata_of};
use crate::resource::{Column, ResourceKind};

/// A `Table` of rows. The name comes first, but for kinds that have it elsewhere among their columns.
pub(crate) fn table(kind: &ResourceKind, rows: &[Value], metadata: &Value) -> Value {
    let mut columns = Vec::new();
    if !has_name(kind) {
        columns.push(json!({
            "name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "The name of the object, unique in its namespace.",
        }));
    }
    for column in columns_of(kind).iter() {
        columns.push(json!({
            "name": column.name,
            "type": column.kind,
            "format": "",
            "priority": column.priority,
            "description": describe(kind, column),
        }));
    }
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata, "columnDefinitions": columns, "rows": rows,
    })
}

fn has_name(kind: &ResourceKind) -> bool {
    kind.cells.is_some() && kind.columns.iter().any(|column| column.name == "Name")
}

fn describe(kind: &ResourceKind, column: &Column) -> String {
    let path = &column.json_path;
    if kind.cells.is_some() {
        column.name.clone()
    } else {
        format!("Custom resource definition column (in JSONPath format): {path}")
    }
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
    let mut cells = Vec::new();
    if !has_name(kind) {
        cells.push(object["metadata"]["name"].clone());
    }
    match kind.cells {
        Some(make) => cells.extend(make(object, now)),
        None => {
            for column in columns_of(kind).iter() {
                cells.push(cell(column, object, now));
            }
        }
    }
    json!({"cells": cells, "object": included(object, include)})
}

/// The `Table` of a scale, which is of no kind that has columns.
pub(crate) fn scale(scale: &Value, now: Timestamp, include: Include) -> Value {
    let column = |name: &str, kind: &str, format: &str| json!({"name": name, "type": kind, "format": format, "priority": 0, "description": name});
    let since = scale["metadata"]["creationTimestamp"].as_str();
    let since = since.and_then(|text| text.parse::<Timestamp>().ok());
    let old = since.map(|then| age(now.as_second() - then.as_second()));
    let cells = json!([
        scale["metadata"]["name"],
        scale["spec"]["replicas"],
        scale["status"]["replicas"],
        old,
    ]);
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
        "columnDefinitions": [
            column("Name", "string", "name"), column("Desired", "integer", ""),
            column("Available", "integer", ""), column("Age", "string", ""),
        ],
        "rows": [{"cells": cells, "object": included(scale, include)}],
    })
}

fn included(object: &Value, include: Include) -> Value {
    match include {
        Include::None => Value::Null,
        Include::Metadata => metadata_of(object),
        Include::Object => object.clone(),
    }
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
pub(crate) fn age(seconds: i64) -> String {
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

/// One step of a JSON path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A field of an object.
    Field(String),
    /// An item of a list, from its end where it is negative.
    Item(i64),
    /// The first value of a list or an object.
    First,
    /// The first item with a field of this value.
    Where(Vec<Self>, String),
}

/// Whether a JSON path is one that printer columns can have: fields (with `\.` for a dot in a name,
/// or `['name']`), items, `[*]`, and `[?(@.field=="text")]`.
pub(crate) fn is_path(path: &str) -> bool {
    parse(path).is_some()
}

/// The first match of a JSON path.
pub(crate) fn evaluate<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    follow(object, &parse(path)?)
}

fn follow<'a>(object: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(object, |at, step| match step {
        Step::Field(name) => at.get(name),
        Step::Item(index) => {
            let items = at.as_array()?;
            let from_end = usize::try_from(-index)
                .ok()
                .and_then(|n| items.len().checked_sub(n));
            items.get(usize::try_from(*index).ok().or(from_end)?)
        }
        Step::First => match at {
            Value::Array(items) => items.first(),
            Value::Object(fields) => fields.values().next(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        },
        Step::Where(path, wanted) => at.as_array()?.iter().find(|item| {
            let found = follow(item, path);
            found.is_some_and(|found| match found.as_str() {
                Some(text) => text == wanted,
                None => serde_json::from_str::<Value>(wanted).is_ok_and(|w| w == *found),
            })
        }),
    })
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path
        .trim_start_matches('{')
        .trim_end_matches('}')
        .trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[?(@") {
            let (condition, tail) = after.split_once(")]")?;
            let (field, wanted) = condition.split_once("==")?;
            let wanted = wanted.trim().trim_matches(['"', '\'']);
            steps.push(Step::Where(parse(field.trim())?, wanted.to_owned()));
            rest = tail;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, tail) = after.split_once(']')?;
            let quoted = inside.strip_prefix(['"', '\'']);
            steps.push(match (inside, quoted) {
                ("*", _) => Step::First,
                (_, Some(name)) => Step::Field(name.trim_end_matches(['"', '\'']).to_owned()),
                (index, None) => Step::Item(index.trim_end_matches(':').parse().ok()?),
            });
            rest = tail;
        } else {
            let (field, tail) = field(rest.strip_prefix('.').unwrap_or(rest))?;
            steps.push(Step::Field(field));
            rest = tail;
        }
    }
    Some(steps)
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
