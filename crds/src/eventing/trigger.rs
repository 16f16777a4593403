//! Trigger: asks for the events of a Broker that pass its filters to be delivered to a subscriber.
//!
//! The Broker of a Trigger is fixed, because the Trigger's position is a place in that Broker's
//! log. `filters`, where there are any, count in place of `filter`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::filter::{self, SubscriptionsApiFilter, TriggerFilter};
use crate::admission::{self, Admit, Errors, NameRule, annotation, config, destination, namespace};
use crate::annotations::{BROKER_LABEL, DEPENDENCY, INJECTION};
use crate::conditions::{Condition, ConditionSet};
use crate::duck::{AuthStatus, DeliverySpec, DeliveryStatus, Destination, KReference, StringMap};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// The most characters of a Broker's name that has Triggers, which carry it in a label.
const MAX_BROKER_NAME: usize = 63;

/// The Broker is ready.
pub const BROKER_READY: &str = "BrokerReady";
/// The Trigger reads from the Broker.
pub const SUBSCRIPTION_READY: &str = "SubscriptionReady";
/// The dependency is ready, or none is named.
pub const DEPENDENCY_READY: &str = "DependencyReady";
/// The subscriber was found.
pub const SUBSCRIBER_RESOLVED: &str = "SubscriberResolved";
/// The dead letter sink was found, or none is named.
pub const DEAD_LETTER_SINK_RESOLVED: &str = "DeadLetterSinkResolved";
/// The identity that deliveries are made with exists, or none is asked for.
pub const OIDC_IDENTITY_CREATED: &str = "OIDCIdentityCreated";

/// What a Trigger's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    BROKER_READY,
    SUBSCRIPTION_READY,
    DEPENDENCY_READY,
    SUBSCRIBER_RESOLVED,
    DEAD_LETTER_SINK_RESOLVED,
    OIDC_IDENTITY_CREATED,
]);

/// What is wanted of a Trigger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1",
    kind = "Trigger",
    plural = "triggers",
    namespaced,
    status = "TriggerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Asks for the events of a Broker that pass its filters to be delivered to a subscriber.",
    category = "all",
    category = "knative",
    category = "eventing",
    printcolumn = r#"{"name": "Broker", "type": "string", "jsonPath": ".spec.broker"}"#,
    printcolumn = r#"{"name": "Subscriber_URI", "type": "string", "jsonPath": ".status.subscriberUri"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct TriggerSpec {
    /// The name of the Broker, in the Trigger's namespace. Cannot be changed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub broker: String,
    /// A Broker that may stand in another namespace, in place of `broker`. Needs the feature
    /// `cross-namespace-event-links`. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_ref: Option<Box<KReference>>,
    /// Which events are delivered, by exact values of their attributes. All, where it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<TriggerFilter>,
    /// Which events are delivered: those that pass every element. Counts in place of `filter`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<SubscriptionsApiFilter>,
    /// Where events are delivered to.
    #[serde(skip_serializing_if = "Destination::is_empty")]
    pub subscriber: Destination,
    /// How hard delivery is tried. Where it is set it counts in place of the Broker's, but for the
    /// dead letter sink, which is the Broker's where this names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Box<DeliverySpec>>,
}

/// What was found out about a Trigger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerStatus {
    /// The generation of the Trigger that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Further facts, by name.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub annotations: StringMap,
    /// The observations, and whether they add up to Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The resolved URI of the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_uri: Option<String>,
    /// Certificates of authorities (PEM) for the subscriber.
    #[serde(rename = "subscriberCACerts", skip_serializing_if = "Option::is_none")]
    pub subscriber_ca_certs: Option<String>,
    /// The OIDC audience of the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_audience: Option<String>,
    /// Where the dead letter sink turned out to be.
    #[serde(flatten)]
    pub delivery: DeliveryStatus,
    /// The identity that deliveries are made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Box<AuthStatus>>,
}

impl Trigger {
    /// The namespace and name of the Trigger's Broker.
    pub fn broker(&self) -> (&str, &str) {
        let own = namespace(&self.metadata);
        match &self.spec.broker_ref {
            Some(broker) => (broker.namespace.as_deref().unwrap_or(own), &broker.name),
            None => (own, &self.spec.broker),
        }
    }

    fn check_broker(&self, context: &dyn AdmissionContext, errors: &mut Errors) {
        let Some(reference) = &self.spec.broker_ref else {
            if self.spec.broker.is_empty() {
                errors.missing("spec.broker");
            } else if !NameRule::Subdomain.allows(&self.spec.broker) {
                let expected = NameRule::Subdomain.expectation();
                errors.invalid("spec.broker", &self.spec.broker, expected);
            } else if self.spec.broker.len() > MAX_BROKER_NAME {
                let detail = "expected at most 63 characters, as the name is a label's value too";
                errors.invalid("spec.broker", &self.spec.broker, detail);
            }
            return;
        };
        if !config::feature(context, config::CROSS_NAMESPACE) {
            let detail = "needs the feature cross-namespace-event-links of ConfigMap \
                          knative-eventing/config-features; name a Broker of this namespace in \
                          spec.broker";
            errors.forbidden("spec.brokerRef", detail);
            return;
        }
        if !self.spec.broker.is_empty() {
            let message = "expected exactly one, got both: spec.broker, spec.brokerRef".to_owned();
            errors.push("FieldValueInvalid", "spec.brokerRef", message);
        }
        destination::check_reference(reference, "spec.brokerRef", errors);
    }

    fn check_dependency(&self, errors: &mut Errors) {
        let Some(text) = annotation(&self.metadata, DEPENDENCY) else {
            return;
        };
        let path = format!("metadata.annotations[{DEPENDENCY}]");
        let Ok(dependency) = serde_json::from_str::<ObjectReference>(text) else {
            let message = format!(
                "The provided annotation was not a corev1.ObjectReference: {text:?}: {path}: \
                 expected JSON with apiVersion, kind and name"
            );
            errors.push("FieldValueInvalid", &path, message);
            return;
        };
        let own = namespace(&self.metadata);
        if let Some(other) = dependency.namespace.as_deref()
            && !other.is_empty()
            && other != own
        {
            let message = format!(
                "Namespace must be empty or equal to the trigger namespace {own:?}: \
                 {path}.namespace"
            );
            errors.push("FieldValueInvalid", &format!("{path}.namespace"), message);
        }
        for (field, value) in [
            ("kind", &dependency.kind),
            ("name", &dependency.name),
            ("apiVersion", &dependency.api_version),
        ] {
            if value.as_deref().unwrap_or_default().is_empty() {
                errors.missing(&format!("{path}.{field}"));
            }
        }
    }

    fn check_injection(&self, errors: &mut Errors) {
        let Some(value) = annotation(&self.metadata, INJECTION) else {
            return;
        };
        let path = format!("metadata.annotations[{INJECTION}]");
        if !["enabled", "disabled"].contains(&value) {
            let message = format!(
                "The provided injection annotation value can only be \"enabled\" or \"disabled\", \
                 not {value:?}: {path}"
            );
            errors.push("FieldValueNotSupported", &path, message);
        } else if self.spec.broker != "default" {
            let message = format!(
                "The provided injection annotation is only used for default broker, but \
                 non-default broker specified here: {:?}: {path}",
                self.spec.broker
            );
            errors.push("FieldValueInvalid", &path, message);
        }
    }
}

impl CustomKind for Trigger {
    const LABELS: &'static [(&'static str, &'static str)] = &[];
}

impl Admit for Trigger {
    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        let namespace = namespace(&self.metadata).to_owned();
        self.spec.filter.get_or_insert_default();
        // A name that cannot be a label's value is reported where it was written.
        let broker = &self.spec.broker;
        if NameRule::Subdomain.allows(broker) && broker.len() <= MAX_BROKER_NAME {
            let labels = self.metadata.labels.get_or_insert_default();
            labels.insert(BROKER_LABEL.to_owned(), self.spec.broker.clone());
        }
        if let Some(broker) = &mut self.spec.broker_ref {
            destination::fill_in_reference(broker, &namespace);
        }
        destination::fill_in(Some(&mut self.spec.subscriber), &namespace);
        admission::delivery::fill_in(self.spec.delivery.as_deref_mut(), &namespace);
        Ok(())
    }

    fn check(&self, old: Option<&Self>, context: &dyn AdmissionContext, errors: &mut Errors) {
        admission::metadata::check_annotations(&self.metadata, errors);
        self.check_dependency(errors);
        self.check_injection(errors);
        self.check_broker(context, errors);
        if let Some(filter) = &self.spec.filter {
            filter::check(filter, "spec.filter", errors);
        }
        filter::check_all(&self.spec.filters, "spec.filters", errors);
        if self.spec.subscriber.is_empty() {
            errors.missing("spec.subscriber");
        } else {
            destination::check(&self.spec.subscriber, "spec.subscriber", errors);
        }
        admission::delivery::check(self.spec.delivery.as_deref(), "spec.delivery", errors);
        if let Some(old) = old {
            let (old, new) = (&old.spec, &self.spec);
            errors.immutable("spec.broker", &json!(old.broker), &json!(new.broker));
            errors.immutable(
                "spec.brokerRef",
                &json!(old.broker_ref),
                &json!(new.broker_ref),
            );
        }
    }
}
