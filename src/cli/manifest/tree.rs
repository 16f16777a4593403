//! A document as a tree that remembers where everything stood.
//!
//! Values follow the YAML 1.2 core schema (JSON is a subset of it), keep the order of their keys
//! and the text of their numbers. What has no meaning in JSON (other tags, infinities, keys that
//! are not scalars) is refused by the parser, so that a tree can always be written as JSON.

use serde_json::Value;

use super::source::{Mark, Region};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands. For an alias, where the alias stands.
    pub region: Region,
    /// What it is.
    pub value: Yaml,
    /// The text of a plain scalar that is not a string, as it was written (`1.0`, `yes`).
    pub plain: Option<Box<str>>,
}

/// A value of the JSON data model.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as JSON text.
    Number(Box<str>),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the document. Keys are unique.
    Map(Vec<Entry>),
}

/// One field of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name.
    pub key: String,
    /// Where the name stands.
    pub key_region: Region,
    /// The value.
    pub value: Node,
}

impl Entry {
    /// What to underline for this field: the name, and the value where it ends on the same line.
    #[must_use]
    pub fn region(&self) -> Region {
        let end = self.value.region.end;
        let same_line = end.line == self.key_region.start.line;
        Region {
            start: self.key_region.start,
            end: if same_line && end > self.key_region.end {
                end
            } else {
                self.key_region.end
            },
        }
    }
}

impl Node {
    /// The field of that name, where this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Yaml::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What this is, for "expected ..., found ...".
    #[must_use]
    pub fn describe(&self) -> String {
        let plain = self.plain.as_deref().unwrap_or_default();
        match &self.value {
            Yaml::Null => "nothing".to_owned(),
            Yaml::Bool(_) => format!("the boolean {plain}"),
            Yaml::Number(_) => format!("the number {plain}"),
            Yaml::Text(text) => {
                let short: String = text.chars().take(40).collect();
                let dots = if short.len() < text.len() { "..." } else { "" };
                format!("{:?}", format!("{short}{dots}"))
            }
            Yaml::List(_) => "a list".to_owned(),
            Yaml::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The tree as a JSON value. Numbers outside the range of `i64`, `u64` and `f64` become the
    /// nearest that a Kubernetes API can keep.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.value {
            Yaml::Null => Value::Null,
            Yaml::Bool(value) => Value::Bool(*value),
            Yaml::Number(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            Yaml::Text(text) => Value::String(text.clone()),
            Yaml::List(items) => items.iter().map(Self::to_value).collect(),
            Yaml::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_value()))
                .collect(),
        }
    }

    /// Writes the tree as compact JSON text: keys in their order, numbers as they were written.
    pub fn write_json(&self, out: &mut String) {
        match &self.value {
            Yaml::Null => out.push_str("null"),
            Yaml::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Yaml::Number(text) => out.push_str(text),
            Yaml::Text(text) => push_json_string(text, out),
            Yaml::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    out.push(if index == 0 { '[' } else { ',' });
                    item.write_json(out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Yaml::Map(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    out.push(if index == 0 { '{' } else { ',' });
                    push_json_string(&entry.key, out);
                    out.push(':');
                    entry.value.write_json(out);
                }
                out.push_str(if entries.is_empty() { "{}" } else { "}" });
            }
        }
    }

    /// Where the field of that path stands, or the nearest thing around it that the document has.
    ///
    /// Paths are those of Kubernetes: `spec.filters[0].exact`, `metadata.annotations[a.b/c]`; a key
    /// with dots is found in `metadata.annotations.a.b/c` too.
    #[must_use]
    pub fn locate(&self, path: &str) -> Region {
        let mut node = self;
        let mut found = Region {
            start: self.region.start,
            end: Mark {
                line: self.region.start.line,
                column: self.region.start.column,
            },
        };
        // Without any step, the first field stands for the document.
        if let Yaml::Map(entries) = &self.value
            && let Some(first) = entries.first()
        {
            found = first.region();
        }
        let mut rest = path;
        while let Some((region, next, after)) = step(node, rest) {
            found = region;
            node = next;
            rest = after;
        }
        found
    }
}

/// Takes one step along a path: the place of what was found, the value, and the rest of the path.
fn step<'n, 'p>(node: &'n Node, path: &'p str) -> Option<(Region, &'n Node, &'p str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if path.is_empty() {
        return None;
    }
    let bracket = path
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'))
        .map(|(inside, after)| (inside.trim_matches(['"', '\'']), after));
    match &node.value {
        Yaml::List(items) => {
            let (index, after) = bracket?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some((item_region(item), item, after))
        }
        Yaml::Map(entries) => {
            let (entry, after) = match bracket {
                Some((key, after)) => (entries.iter().find(|entry| entry.key == key)?, after),
                None => entries
                    .iter()
                    .filter_map(|entry| {
                        let after = path.strip_prefix(entry.key.as_str())?;
                        let ends = after.is_empty() || after.starts_with(['.', '[']);
                        ends.then_some((entry, after))
                    })
                    .min_by_key(|(_, after)| after.len())?,
            };
            Some((entry.region(), &entry.value, after))
        }
        _ => None,
    }
}

/// What to underline for an item of a list: its first line.
fn item_region(item: &Node) -> Region {
    match &item.value {
        Yaml::Map(entries) => entries.first().map_or(item.region, Entry::region),
        _ => item.region,
    }
}

fn push_json_string(text: &str, out: &mut String) {
    // A string is always representable, so that the fallback is never taken.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}
