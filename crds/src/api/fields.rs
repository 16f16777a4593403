//! The fields by which selectors select besides labels, as kube-apiserver has them for each kind.
//!
//! Kinds with a definition select by their name, their namespace and the `selectableFields` of the
//! version in which the request speaks of them. A few kinds of Kubernetes itself have lists of
//! their own, all others have the name and the namespace.

use serde_json::Value;

use super::error::ApiError;
use super::object::Object;
use super::table::evaluate;
use crate::resource::ResourceKind;

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

/// A label of a selector, where its value stands in a stored object (the first of these places that
/// is not empty), and what nothing counts as.
type Row = (&'static str, &'static [&'static str], &'static str);

const EVENTS: [Row; 11] = [
    ("involvedObject.kind", &[".involvedObject.kind"], ""),
    (
        "involvedObject.namespace",
        &[".involvedObject.namespace"],
        "",
    ),
    ("involvedObject.name", &[".involvedObject.name"], ""),
    ("involvedObject.uid", &[".involvedObject.uid"], ""),
    (
        "involvedObject.apiVersion",
        &[".involvedObject.apiVersion"],
        "",
    ),
    (
        "involvedObject.resourceVersion",
        &[".involvedObject.resourceVersion"],
        "",
    ),
    (
        "involvedObject.fieldPath",
        &[".involvedObject.fieldPath"],
        "",
    ),
    ("reason", &[".reason"], ""),
    ("reportingComponent", &[".reportingComponent"], ""),
    ("source", &[".source.component", ".reportingComponent"], ""),
    ("type", &[".type"], ""),
];
/// What `events.k8s.io` calls the fields of [`EVENTS`].
const NEWER_EVENTS: [(&str, &str); 10] = [
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    (
        "regarding.resourceVersion",
        "involvedObject.resourceVersion",
    ),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reason", "reason"),
    ("reportingController", "reportingComponent"),
    ("type", "type"),
];
const PODS: [Row; 10] = [
    ("spec.nodeName", &[".spec.nodeName"], ""),
    // What it was called once.
    ("spec.host", &[".spec.nodeName"], ""),
    ("spec.restartPolicy", &[".spec.restartPolicy"], ""),
    ("spec.schedulerName", &[".spec.schedulerName"], ""),
    ("spec.serviceAccountName", &[".spec.serviceAccountName"], ""),
    ("spec.hostNetwork", &[".spec.hostNetwork"], "false"),
    ("status.phase", &[".status.phase"], ""),
    (
        "status.podIP",
        &[".status.podIP", ".status.podIPs[0].ip"],
        "",
    ),
    // Accepted and never filled in, there as here.
    ("status.podIPs", &[], ""),
    (
        "status.nominatedNodeName",
        &[".status.nominatedNodeName"],
        "",
    ),
];
const SECRETS: [Row; 1] = [("type", &[".type"], "")];
const SERVICES: [Row; 2] = [
    ("spec.clusterIP", &[".spec.clusterIP"], ""),
    ("spec.type", &[".spec.type"], ""),
];
const NAMESPACES: [Row; 1] = [("status.phase", &[".status.phase"], "")];
const JOBS: [Row; 1] = [("status.successful", &[".status.succeeded"], "0")];

/// What a selector compares of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Its name.
    Name,
    /// Its namespace.
    Namespace,
    /// The text at the first of these JSON paths that is not empty, or else the other text.
    At(Vec<String>, &'static str),
}

impl Field {
    /// The field that a label names in selectors for a kind.
    pub(crate) fn find(kind: &ResourceKind, label: &str) -> Result<Self, ApiError> {
        match label {
            NAME => return Ok(Self::Name),
            NAMESPACE if has_namespace(kind) => return Ok(Self::Namespace),
            _ => {}
        }
        if let Some(paths) = &kind.selectable {
            let path = paths.iter().find(|path| {
                let name = path.strip_prefix('.').unwrap_or(path);
                name == label
            });
            return path
                .map(|path| Self::At(vec![path.clone()], ""))
                .ok_or_else(|| unsupported(label));
        }
        let Some(rows) = rows(kind) else {
            return Err(ApiError::bad_request(format!(
                "{label:?} is not a known field selector: only {NAME:?}, {NAMESPACE:?}"
            )));
        };
        let known = match kind.group.as_str() {
            "events.k8s.io" => NEWER_EVENTS
                .iter()
                .find(|(newer, _)| *newer == label)
                .map(|(_, older)| *older),
            _ => Some(label),
        };
        let row = rows.iter().find(|(name, ..)| known == Some(*name));
        match row {
            Some((_, paths, absent)) => {
                let paths = paths.iter().map(|path| (*path).to_owned()).collect();
                Ok(Self::At(paths, absent))
            }
            None if kind.group == "batch" => Err(ApiError::bad_request(format!(
                "field label {label:?} not supported for Job"
            ))),
            None => Err(unsupported(label)),
        }
    }

    /// Whether an object has this value there. `content` is its JSON, read when it is first needed.
    pub(crate) fn is(&self, value: &str, object: &Object, content: &mut Option<Value>) -> bool {
        match self {
            Self::Name => object.name() == value,
            Self::Namespace => object.namespace() == value,
            Self::At(paths, absent) => {
                let content = content.get_or_insert_with(|| object.value());
                let mut texts = paths.iter().map(|path| text(evaluate(content, path)));
                let found = texts.find(|text| !text.is_empty());
                found.as_deref().unwrap_or(absent) == value
            }
        }
    }
}

/// What a kind of Kubernetes itself selects by besides its name.
fn rows(kind: &ResourceKind) -> Option<&'static [Row]> {
    Some(match (kind.group.as_str(), kind.plural.as_str()) {
        ("" | "events.k8s.io", "events") => &EVENTS,
        ("", "pods") => &PODS,
        ("", "secrets") => &SECRETS,
        ("", "services") => &SERVICES,
        ("", "namespaces") => &NAMESPACES,
        ("batch", "jobs") => &JOBS,
        _ => return None,
    })
}

/// Whether selectors may name the namespace. Kinds without a list of their own take it even where
/// their objects have none.
fn has_namespace(kind: &ResourceKind) -> bool {
    kind.namespaced || (kind.selectable.is_none() && rows(kind).is_none())
}

fn unsupported(label: &str) -> ApiError {
    ApiError::bad_request(format!("field label not supported: {label}"))
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
