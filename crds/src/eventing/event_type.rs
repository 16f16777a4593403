//! EventType: a type of event that can be had from a Broker, a channel or a source, so that people
//! can find out what there is to subscribe to.
//!
//! The form of `v1beta2` is the one that is stored, as in Knative; `v1beta1` is the same form under
//! an older name, and [`v1beta3`] is another form, converted by [`convert`]. Nothing about an
//! EventType is fixed: Knative has a rule for it and does not apply it, and people rely on that.

pub mod convert;
pub mod v1beta3;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admission::{self, Admit, Errors, NameRule, destination, namespace};
use crate::conditions::{Condition, ConditionSet};
use crate::duck::{KReference, StringMap};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, Conversion, FieldError};

/// The object that `spec.reference` names exists, or none is named.
pub const REFERENCE_EXISTS: &str = "ReferenceExists";

/// What an EventType's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[REFERENCE_EXISTS]);

/// The feature that makes EventTypes of what Brokers and channels take.
pub const AUTO_CREATE: &str = "eventtype-auto-create";

/// The `apiVersion` of Brokers, which the field `broker` stands for.
const BROKER_API_VERSION: &str = "eventing.knative.dev/v1";
/// What users of `v1beta1` are told, in Knative's words.
const DEPRECATED: &str = "eventing.knative.dev/v1beta1 EventType is deprecated; see \
                          https://knative.dev/docs/eventing/event-registry/ for instructions to \
                          migrate to eventing.knative.dev/v1beta2 EventType";
/// The most bytes of `source` and `schema`.
const MAX_URI: usize = 4096;

/// What is said of a type of event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1beta2",
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
    printcolumn = r#"{"name": "Type", "type": "string", "jsonPath": ".spec.type"}"#,
    printcolumn = r#"{"name": "Source", "type": "string", "jsonPath": ".spec.source"}"#,
    printcolumn = r#"{"name": "Schema", "type": "string", "jsonPath": ".spec.schema"}"#,
    printcolumn = r#"{"name": "Reference Name", "type": "string", "jsonPath": ".spec.reference.name"}"#,
    printcolumn = r#"{"name": "Reference Kind", "type": "string", "jsonPath": ".spec.reference.kind"}"#,
    printcolumn = r#"{"name": "Description", "type": "string", "jsonPath": ".spec.description"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTypeSpec {
    /// The `type` of the events. Required.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// The `source` of the events, a URI reference; any, where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where the schema of the events' data is, a URI reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The schema itself, in any form. It is kept and not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_data: Option<String>,
    /// The name of the Broker that has such events. Deprecated: `reference` says more, and counts
    /// where both are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// The object that has such events, like a Broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<KReference>,
    /// What the events mean, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What was found out about an EventType.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTypeStatus {
    /// The generation of the EventType that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Further facts, by name.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub annotations: StringMap,
    /// The observations, and whether they add up to Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl EventTypeSpec {
    /// The object that has such events: the reference, or the Broker that `broker` names.
    #[must_use]
    pub fn referent(&self) -> Option<KReference> {
        if let Some(reference) = self.reference.as_ref().filter(|to| names_something(to)) {
            return Some(reference.clone());
        }
        let broker = self.broker.as_deref().filter(|name| !name.is_empty())?;
        Some(broker_named(broker))
    }
}

/// The reference that the field `broker` stands for.
fn broker_named(name: &str) -> KReference {
    KReference {
        kind: "Broker".to_owned(),
        name: name.to_owned(),
        api_version: BROKER_API_VERSION.to_owned(),
        ..KReference::default()
    }
}

/// Whether a reference says more than a namespace. An empty one counts as none, as in Knative.
fn names_something(reference: &KReference) -> bool {
    let KReference {
        kind,
        namespace: _,
        name,
        api_version,
        group,
        address,
    } = reference;
    let given = [kind, name, api_version]
        .into_iter()
        .any(|text| !text.is_empty());
    given || group.is_some() || address.as_ref().is_some_and(|text| !text.is_empty())
}

/// Gives the reference the namespace of the EventType.
fn fill_in_reference(reference: Option<&mut KReference>, namespace: &str) {
    if let Some(reference) = reference.filter(|to| names_something(to)) {
        destination::fill_in_reference(reference, namespace);
    }
}

/// Reports what is wrong with the reference.
fn check_reference(reference: Option<&KReference>, errors: &mut Errors) {
    if let Some(reference) = reference.filter(|to| names_something(to)) {
        destination::check_reference(reference, "spec.reference", errors);
    }
}

/// Reports a value that cannot be (a template of) a URI reference.
fn check_uri(value: &str, path: &str, errors: &mut Errors) {
    if value.len() > MAX_URI {
        errors.invalid(path, value, &format!("expected at most {MAX_URI} bytes"));
    } else if value.chars().any(char::is_control) {
        errors.invalid(
            path,
            value,
            "expected a URI, which has no control characters",
        );
    }
}

/// The definition of `v1beta1`, whose objects look like those of `v1beta2`.
fn v1beta1() -> CustomResourceDefinition {
    let mut crd = EventType::crd();
    for version in &mut crd.spec.versions {
        "v1beta1".clone_into(&mut version.name);
        version.deprecated = Some(true);
        version.deprecation_warning = Some(DEPRECATED.to_owned());
    }
    crd
}

impl CustomKind for EventType {
    const LABELS: &'static [(&'static str, &'static str)] = &[];
    const VERSIONS: &'static [fn() -> CustomResourceDefinition] =
        &[v1beta3::EventType::crd, v1beta1];
    const CONVERSION: Option<Conversion> = Some(convert::convert);

    fn check_version(version: &str, object: &Value, errors: &mut Errors) {
        if version == "v1beta3" {
            // A list that cannot be read is reported by the conversion.
            let attributes = Vec::deserialize(&object["spec"]["attributes"]).unwrap_or_default();
            v1beta3::check(&attributes, errors);
        }
    }
}

impl Admit for EventType {
    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        let namespace = namespace(&self.metadata).to_owned();
        fill_in_reference(self.spec.reference.as_mut(), &namespace);
        Ok(())
    }

    fn check(&self, _old: Option<&Self>, _context: &dyn AdmissionContext, errors: &mut Errors) {
        admission::metadata::check_annotations(&self.metadata, errors);
        let spec = &self.spec;
        if spec.type_.is_empty() {
            errors.missing("spec.type");
        }
        for (value, path) in [(&spec.source, "spec.source"), (&spec.schema, "spec.schema")] {
            check_uri(value.as_deref().unwrap_or_default(), path, errors);
        }
        if let Some(broker) = spec.broker.as_deref().filter(|name| !name.is_empty())
            && !NameRule::Subdomain.allows(broker)
        {
            errors.invalid("spec.broker", broker, NameRule::Subdomain.expectation());
        }
        check_reference(spec.reference.as_ref(), errors);
    }
}
