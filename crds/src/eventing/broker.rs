//! Broker: takes events at one address and keeps them for the Triggers that read from it.
//!
//! Everything but `spec.delivery` is fixed once the Broker exists, its class included: the events
//! that it holds lie where the class put them.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admission::{
    self, Admit, Errors, annotate_if_absent, annotation, config, destination, namespace,
};
use crate::annotations::{BROKER_CLASS, SCOPE};
use crate::conditions::{Condition, ConditionSet};
use crate::duck::{
    Addressable, AppliedEventPolicy, DeliverySpec, DeliveryStatus, KReference, StringMap,
};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// The class of Brokers that name none: Knative's channel-based class, served by our log.
pub const DEFAULT_CLASS: &str = "MTChannelBasedBroker";
/// Our own name for the same.
pub const HEDDLE_CLASS: &str = "Heddle";

/// The ingress serves the Broker.
pub const INGRESS_READY: &str = "IngressReady";
/// The log that holds the Broker's events is open.
pub const TRIGGER_CHANNEL_READY: &str = "TriggerChannelReady";
/// What filters and delivers for the Triggers runs.
pub const FILTER_READY: &str = "FilterReady";
/// The Broker has an address.
pub const ADDRESSABLE: &str = "Addressable";
/// The dead letter sink was found, or none is named.
pub const DEAD_LETTER_SINK_RESOLVED: &str = "DeadLetterSinkResolved";
/// The policies that apply to the Broker are in force.
pub const EVENT_POLICIES_READY: &str = "EventPoliciesReady";

/// What a Broker's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    INGRESS_READY,
    TRIGGER_CHANNEL_READY,
    FILTER_READY,
    ADDRESSABLE,
    DEAD_LETTER_SINK_RESOLVED,
    EVENT_POLICIES_READY,
]);

/// Of the class `Kafka`: the data plane can take events.
pub const DATA_PLANE_AVAILABLE: &str = "DataPlaneAvailable";
/// Of the class `Kafka`: the topic is there.
pub const TOPIC_READY: &str = "TopicReady";
/// Of the class `Kafka`: the data plane knows of the Broker.
pub const CONFIG_MAP_UPDATED: &str = "ConfigMapUpdated";
/// Of the class `Kafka`: the configuration can be used.
pub const CONFIG_PARSED: &str = "ConfigParsed";
/// Of the class `Kafka`: the address answers.
pub const PROBE_SUCCEEDED: &str = "ProbeSucceeded";

/// What Ready depends on for a Broker of the class `Kafka`.
pub const KAFKA_CONDITIONS: ConditionSet = ConditionSet::living(&[
    ADDRESSABLE,
    DATA_PLANE_AVAILABLE,
    TOPIC_READY,
    CONFIG_MAP_UPDATED,
    CONFIG_PARSED,
    PROBE_SUCCEEDED,
    EVENT_POLICIES_READY,
]);

/// What is wanted of a Broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1",
    kind = "Broker",
    plural = "brokers",
    namespaced,
    status = "BrokerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Takes events at one address and keeps them for the Triggers that read from it.",
    category = "all",
    category = "knative",
    category = "eventing",
    printcolumn = r#"{"name": "URL", "type": "string", "jsonPath": ".status.address.url"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "Class", "type": "string", "priority": 1, "jsonPath": ".metadata.annotations.eventing\\.knative\\.dev/broker\\.class"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerSpec {
    /// The object that configures the Broker's class, such as a ConfigMap with the key
    /// `channel-template-spec`. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<KReference>,
    /// How hard delivery is tried for Triggers that do not say so themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
}

/// What was found out about a Broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatus {
    /// The generation of the Broker that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Further facts, by name.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub annotations: StringMap,
    /// The observations, and whether they add up to Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Where events are posted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    /// Every address, the preferred one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addressable>,
    /// Where the dead letter sink turned out to be.
    #[serde(flatten)]
    pub delivery: DeliveryStatus,
    /// The policies that apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedEventPolicy>,
}

impl Broker {
    /// The Broker's class; empty where it was never defaulted.
    pub fn class(&self) -> &str {
        annotation(&self.metadata, BROKER_CLASS).unwrap_or_default()
    }
}

impl CustomKind for Broker {
    const LABELS: &'static [(&'static str, &'static str)] =
        &[("duck.knative.dev/addressable", "true")];
}

/// The delivery options of an installation that has no `config-br-defaults`.
fn built_in_delivery() -> DeliverySpec {
    DeliverySpec {
        retry: Some(10),
        backoff_policy: Some("exponential".to_owned()),
        backoff_delay: Some("PT0.2S".to_owned()),
        ..DeliverySpec::default()
    }
}

impl Admit for Broker {
    fn fill_in(
        &mut self,
        old: Option<&Self>,
        context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        let defaults = config::broker_defaults(context)?;
        let namespace = namespace(&self.metadata).to_owned();
        // What cannot be changed is taken over from the stored object, so that applying the
        // original manifest again works whatever the defaults are by then.
        let class = old
            .map(Self::class)
            .filter(|class| !class.is_empty())
            .or_else(|| {
                defaults
                    .as_ref()
                    .and_then(|defaults| defaults.class(&namespace))
            })
            .unwrap_or(DEFAULT_CLASS);
        annotate_if_absent(&mut self.metadata, BROKER_CLASS, class);
        let config = match &defaults {
            Some(defaults) => defaults
                .config(&namespace, self.class())
                .unwrap_or_default(),
            None => config::BrokerConfig::of_delivery(built_in_delivery()),
        };
        if self.spec.config.is_none() {
            self.spec.config = match old {
                Some(old) => old.spec.config.clone(),
                None => config.reference(),
            };
        }
        if let Some(reference) = &mut self.spec.config {
            destination::fill_in_reference(reference, &namespace);
        }
        if self.spec.delivery.is_none() {
            self.spec.delivery = config.delivery.map(|delivery| DeliverySpec {
                dead_letter_sink: delivery.dead_letter_sink,
                retry: delivery.retry,
                backoff_policy: delivery.backoff_policy,
                backoff_delay: delivery.backoff_delay,
                ..DeliverySpec::default()
            });
        }
        admission::delivery::fill_in(self.spec.delivery.as_mut(), &namespace);
        Ok(())
    }

    fn check(&self, old: Option<&Self>, context: &dyn AdmissionContext, errors: &mut Errors) {
        admission::metadata::check_annotations(&self.metadata, errors);
        let class_path = format!("metadata.annotations[{BROKER_CLASS}]");
        if self.class().is_empty() {
            errors.missing(&class_path);
        }
        if let Some(scope) = annotation(&self.metadata, SCOPE)
            && !["cluster", "namespace", "resource"].contains(&scope)
        {
            let path = format!("metadata.annotations[{SCOPE}]");
            errors.unsupported(&path, scope, ["cluster", "namespace", "resource"]);
        }
        if let Some(reference) = &self.spec.config {
            destination::check_reference(reference, "spec.config", errors);
            let namespace = namespace(&self.metadata);
            let elsewhere = reference
                .namespace
                .as_deref()
                .is_some_and(|n| n != namespace);
            if elsewhere
                && config::broker_defaults(context)
                    .is_ok_and(|defaults| defaults.is_some_and(|d| d.pins_config(namespace)))
            {
                let found = reference.namespace.as_deref().unwrap_or_default();
                let detail = format!("expected the Broker's own namespace, \"{namespace}\"");
                errors.invalid("spec.config.namespace", found, &detail);
            }
        }
        admission::delivery::check(self.spec.delivery.as_ref(), "spec.delivery", errors);
        if let Some(old) = old {
            errors.immutable(
                "spec.config",
                &json!(old.spec.config),
                &json!(self.spec.config),
            );
            if !old.class().is_empty() {
                errors.immutable(&class_path, &json!(old.class()), &json!(self.class()));
            }
        }
    }
}
