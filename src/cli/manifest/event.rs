//! CloudEvents in files: documents with `specversion` and without `kind`.
//!
//! They are the structured JSON form (CloudEvents JSON event format 1.0), written as JSON or as
//! YAML. Data keeps its keys' order and its numbers' text.

use std::sync::Arc;

use super::check::Checker;
use super::source::{Diagnostic, Source};
use super::tree::{Node, Yaml};

/// Attributes that are texts by the specification, so that a plain `1.0` or `42` is taken as it
/// was written.
const TEXTS: [&str; 9] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "partitionkey",
];
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// A CloudEvent that was read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDocument {
    /// The event as structured JSON text, in one line.
    pub json: String,
    /// The file and the place of the event in it, as `file:line`.
    pub origin: String,
}

/// Checks an event and writes it as JSON.
pub(super) fn read(source: &Arc<Source>, node: &Node) -> Result<EventDocument, Vec<Diagnostic>> {
    let mut checker = Checker::new(source, node);
    check(&mut checker, node);
    if !checker.found.is_empty() {
        return Err(checker.found);
    }
    let mut json = String::new();
    as_texts(node).write_json(&mut json);
    Ok(EventDocument {
        json,
        origin: format!("{}:{}", source.name, node.region.start.line),
    })
}

fn check(checker: &mut Checker<'_>, node: &Node) {
    let Yaml::Map(entries) = &node.value else {
        return;
    };
    for name in REQUIRED {
        if node.get(name).is_none() {
            checker.missing(node, "", name, "a text; every CloudEvent has it");
        }
    }
    for entry in entries {
        let key = entry.key.as_str();
        let value = &entry.value;
        match key {
            "data" => {}
            "data_base64" if node.get("data").is_some() => {
                let message = "an event has data or data_base64, not both".to_owned();
                checker.wrong(entry.region(), key, message);
            }
            "data_base64" => {
                use base64::Engine as _;
                let engine = base64::engine::general_purpose::STANDARD;
                let good = value
                    .as_text()
                    .is_some_and(|text| engine.decode(text).is_ok());
                if !good {
                    let message = format!("expected base64 text, found {}", value.describe());
                    checker.wrong(entry.region(), key, message);
                }
            }
            _ if !is_attribute_name(key) => {
                let message = "names of attributes are lower-case letters and digits; \
                               expected an attribute, data or data_base64"
                    .to_owned();
                checker.wrong(entry.region(), key, message);
            }
            _ => {
                if let Some(message) = wrong_value(key, value) {
                    checker.wrong(entry.region(), key, message);
                }
            }
        }
    }
}

fn wrong_value(key: &str, value: &Node) -> Option<String> {
    let text = text_of(value);
    match key {
        "specversion" => (!matches!(text, Some("1.0" | "0.3")))
            .then(|| format!("expected \"1.0\" or \"0.3\", found {}", value.describe())),
        "time" => {
            let parses = text.is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok());
            (!parses).then(|| {
                format!(
                    "expected a time like 2026-01-31T12:00:00Z, found {}",
                    value.describe()
                )
            })
        }
        _ if TEXTS.contains(&key) => text
            .is_none_or(str::is_empty)
            .then(|| format!("expected a text, found {}", value.describe())),
        _ => match &value.value {
            Yaml::Text(_) | Yaml::Bool(_) | Yaml::Null => None,
            Yaml::Number(number) if number.parse::<i32>().is_ok() => None,
            _ => Some(format!(
                "expected a text, a boolean or an integer of 32 bits, found {}",
                value.describe()
            )),
        },
    }
}

/// The text of a scalar, whatever it resolved to. Nothing is not a text.
fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Yaml::Text(text) => Some(text),
        Yaml::Bool(_) | Yaml::Number(_) => node.plain.as_deref(),
        _ => None,
    }
}

/// The event with all attributes that are texts written as texts.
fn as_texts(node: &Node) -> Node {
    let mut node = node.clone();
    if let Yaml::Map(entries) = &mut node.value {
        for entry in entries {
            if TEXTS.contains(&entry.key.as_str())
                && let Some(text) = text_of(&entry.value)
            {
                entry.value.value = Yaml::Text(text.to_owned());
            }
        }
    }
    node
}

/// Whether a text can name an attribute (CloudEvents 1.0, section "Naming Conventions").
pub(crate) fn is_attribute_name(name: &str) -> bool {
    !name.is_empty()
        && name != "data"
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
