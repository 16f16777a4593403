//! What every manifest must have, whatever its kind, checked before anything is sent.
//!
//! The API checks the rest; its answers are shown in the same way (see
//! [`Manifest::diagnostic`](super::Manifest::diagnostic)).

use std::sync::Arc;

use super::parse::child;
use super::source::{Diagnostic, Region, Source};
use super::tree::{Entry, Node, Yaml};

/// The longest name of an object (a DNS subdomain, RFC 1123).
const NAME_MAX: usize = 253;
/// The longest label value, and the longest name of a namespace (a DNS label).
const LABEL_MAX: usize = 63;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A Kubernetes object.
    Resource,
    /// A `List` of them.
    List,
    /// A CloudEvent: `specversion` and no `kind`.
    Event,
    /// A list of CloudEvents.
    Batch,
}

/// Says what a document is, by the fields that it has.
pub(super) fn form(node: &Node) -> Form {
    let is_event = |node: &Node| node.get("specversion").is_some() && node.get("kind").is_none();
    match &node.value {
        Yaml::List(items) if !items.is_empty() && items.iter().all(is_event) => Form::Batch,
        Yaml::Map(_) if is_event(node) => Form::Event,
        Yaml::Map(_) => match node.get("kind").and_then(|entry| entry.value.as_text()) {
            Some(kind) if kind.ends_with("List") && node.get("items").is_some() => Form::List,
            _ => Form::Resource,
        },
        _ => Form::Resource,
    }
}

/// Collects what is wrong with one document.
pub(super) struct Checker<'a> {
    source: &'a Arc<Source>,
    root: &'a Node,
    /// What was found, in the order of the checks.
    pub(super) found: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(source: &'a Arc<Source>, root: &'a Node) -> Self {
        Self {
            source,
            root,
            found: Vec::new(),
        }
    }

    /// Records a mistake in a field that is there.
    pub(super) fn wrong(&mut self, region: Region, field: &str, message: String) {
        self.found.push(Diagnostic {
            source: Arc::clone(self.source),
            region,
            field: field.to_owned(),
            message,
        });
    }

    /// Checks a Kubernetes object.
    pub(super) fn resource(&mut self) {
        let root = self.root;
        if !matches!(root.value, Yaml::Map(_)) {
            let message = format!(
                "expected a resource (a mapping with apiVersion, kind and metadata), found {}",
                root.describe()
            );
            return self.wrong(root.region, "", message);
        }
        if let Some(text) = self.required(
            root,
            "",
            "apiVersion",
            "a text like eventing.knative.dev/v1",
        ) && !is_api_version(text.value.as_text().unwrap_or_default())
        {
            let message = format!(
                "expected a version like v1 or eventing.knative.dev/v1, found {}",
                text.value.describe()
            );
            self.wrong(text.region(), "apiVersion", message);
        }
        if let Some(text) = self.required(root, "", "kind", "a text like Broker")
            && !text.value.as_text().is_some_and(is_kind)
        {
            let message = format!(
                "expected a kind like Broker, found {}",
                text.value.describe()
            );
            self.wrong(text.region(), "kind", message);
        }
        match root.get("metadata") {
            Some(entry) if matches!(entry.value.value, Yaml::Map(_)) => {
                self.metadata(&entry.value);
            }
            Some(entry) => {
                let message = format!("expected a mapping, found {}", entry.value.describe());
                self.wrong(entry.region(), "metadata", message);
            }
            None => self.missing(root, "", "metadata", "a mapping with a name"),
        }
        if let Some(entry) = root.get("spec")
            && !matches!(entry.value.value, Yaml::Map(_) | Yaml::Null)
        {
            let message = format!("expected a mapping, found {}", entry.value.describe());
            self.wrong(entry.region(), "spec", message);
        }
    }

    fn metadata(&mut self, metadata: &Node) {
        if let Some(entry) = metadata.get("generateName") {
            let message = "a manifest that is applied needs a name; write metadata.name";
            self.wrong(entry.region(), "metadata.generateName", message.to_owned());
        } else if let Some(entry) = self.required(metadata, "metadata", "name", "a text")
            && !entry.value.as_text().is_some_and(is_name)
        {
            let message = format!(
                "expected lower-case letters, digits, '-' and '.', at most {NAME_MAX}, \
                 with a letter or digit at both ends, found {}",
                entry.value.describe()
            );
            self.wrong(entry.region(), "metadata.name", message);
        }
        if let Some(entry) = metadata.get("namespace")
            && !entry.value.as_text().is_some_and(is_label_name)
        {
            let message = format!(
                "expected lower-case letters, digits and '-', at most {LABEL_MAX}, \
                 with a letter or digit at both ends, found {}",
                entry.value.describe()
            );
            self.wrong(entry.region(), "metadata.namespace", message);
        }
        self.texts(metadata, "labels", true);
        self.texts(metadata, "annotations", false);
    }

    /// Checks a mapping of texts to texts.
    fn texts(&mut self, metadata: &Node, name: &str, labels: bool) {
        let field = format!("metadata.{name}");
        let Some(entry) = metadata.get(name) else {
            return;
        };
        let entries = match &entry.value.value {
            Yaml::Null => return,
            Yaml::Map(entries) => entries,
            _ => {
                let message = format!(
                    "expected a mapping of texts, found {}",
                    entry.value.describe()
                );
                return self.wrong(entry.region(), &field, message);
            }
        };
        for text in entries {
            let path = child(&field, &text.key);
            match &text.value.value {
                Yaml::Text(value) if labels && !is_label_value(value) => {
                    let message = format!(
                        "expected at most {LABEL_MAX} letters, digits, '-', '_' and '.', \
                         with a letter or digit at both ends, found {}",
                        text.value.describe()
                    );
                    self.wrong(text.region(), &path, message);
                }
                Yaml::Text(_) => {}
                _ => {
                    let quoted = match &text.value.plain {
                        Some(plain) if !plain.is_empty() => format!("; write \"{plain}\""),
                        _ => String::new(),
                    };
                    let message =
                        format!("expected a text, found {}{quoted}", text.value.describe());
                    self.wrong(text.region(), &path, message);
                }
            }
        }
    }

    /// The field of that name, when it is a text; otherwise says what is wrong with it.
    fn required<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        name: &str,
        expected: &str,
    ) -> Option<&'n Entry> {
        let Some(entry) = node.get(name) else {
            self.missing(node, path, name, expected);
            return None;
        };
        if entry.value.as_text().is_none() {
            let message = format!("expected {expected}, found {}", entry.value.describe());
            self.wrong(entry.region(), &child(path, name), message);
            return None;
        }
        Some(entry)
    }

    /// Says that a field is missing, and points at one that may have been meant.
    pub(super) fn missing(&mut self, node: &Node, path: &str, name: &str, expected: &str) {
        let field = child(path, name);
        let meant = match &node.value {
            Yaml::Map(entries) => entries
                .iter()
                .find(|entry| entry.key.eq_ignore_ascii_case(name)),
            _ => None,
        };
        if let Some(entry) = meant {
            let message = format!("write {name:?}, not {:?}", entry.key);
            return self.wrong(entry.region(), &field, message);
        }
        let region = self.root.locate(path);
        self.wrong(region, &field, format!("missing; expected {expected}"));
    }
}

fn is_api_version(text: &str) -> bool {
    let (group, version) = text.split_once('/').unwrap_or(("v", text));
    is_name(group) && is_label_name(version) && version.starts_with('v')
}

fn is_kind(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether a text can be the name of an object.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('.').all(is_dns_part)
}

/// Whether a text can be the name of a namespace.
pub(crate) fn is_label_name(text: &str) -> bool {
    text.len() <= LABEL_MAX && is_dns_part(text)
}

fn is_dns_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a text can be the value of a label.
pub(crate) fn is_label_value(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.len() <= LABEL_MAX
            && text.bytes().all(inner)
            && text.starts_with(edge)
            && text.ends_with(edge))
}
