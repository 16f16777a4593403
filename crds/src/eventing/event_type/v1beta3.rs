//! The form of EventTypes in `v1beta3`: a list of attributes that events have.
//!
//! Knative says which attributes must be in the list; its webhook does not look at it. Here an
//! object is refused that could not be read as the other versions promise.

use std::collections::BTreeSet;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EventTypeStatus, check_uri};
use crate::admission::Errors;
use crate::duck::KReference;

/// The attributes that must be in the list, as every event has them.
pub const REQUIRED: [&str; 4] = ["type", "source", "specversion", "id"];
/// The most attributes of one EventType.
const MAX_ATTRIBUTES: usize = 256;

/// What is said of a type of event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1beta3",
    kind = "EventType",
    plural = "eventtypes",
    namespaced,
    status = "EventTypeStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A type of event that can be had from a Broker, a channel or a source.",
    category = "all",
    category = "knative",
    category = "eventing",
    printcolumn = r#"{"name": "Type", "type": "string", "jsonPath": ".spec.attributes[?(@.name=='type')].value"}"#,
    printcolumn = r#"{"name": "Source", "type": "string", "jsonPath": ".spec.attributes[?(@.name=='source')].value"}"#,
    printcolumn = r#"{"name": "Reference Name", "type": "string", "jsonPath": ".spec.reference.name"}"#,
    printcolumn = r#"{"name": "Reference Kind", "type": "string", "jsonPath": ".spec.reference.kind"}"#,
    printcolumn = r#"{"name": "Description", "type": "string", "jsonPath": ".spec.description"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTypeSpec {
    /// The object that has such events, like a Broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<KReference>,
    /// What the events mean, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The attributes of the events, and extension attributes.
    pub attributes: Vec<EventAttribute>,
}

/// One attribute of the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventAttribute {
    /// The name of the attribute.
    pub name: String,
    /// Whether every event has it.
    #[serde(default)]
    pub required: bool,
    /// Its value; any, where it is left out. Parts in curly brackets stand for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl EventAttribute {
    /// An attribute.
    #[must_use]
    pub fn new(name: &str, required: bool, value: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            required,
            value: value.map(str::to_owned),
        }
    }
}

/// Reports what is wrong with the list.
pub(super) fn check(attributes: &[EventAttribute], errors: &mut Errors) {
    let path = "spec.attributes";
    if attributes.len() > MAX_ATTRIBUTES {
        let detail = format!("expected at most {MAX_ATTRIBUTES} attributes");
        errors.invalid(path, attributes.len(), &detail);
        return;
    }
    let names: BTreeSet<&str> = attributes.iter().map(|one| one.name.as_str()).collect();
    for name in REQUIRED {
        if !names.contains(name) {
            errors.missing(&format!("{path}.{name}"));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, attribute) in attributes.iter().enumerate() {
        let at = |field: &str| format!("{path}[{index}].{field}");
        let EventAttribute {
            name,
            required: _,
            value,
        } = attribute;
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            let detail = "expected the name of an attribute, of lower case letters and digits";
            errors.invalid(&at("name"), name, detail);
        } else if !seen.insert(name.as_str()) {
            errors.invalid(&at("name"), name, "expected each attribute once");
        }
        match (name.as_str(), value.as_deref()) {
            ("type", None | Some("")) => errors.missing(&at("value")),
            ("source" | "schemadata", Some(value)) => check_uri(value, &at("value"), errors),
            _ => {}
        }
    }
}
