//! InMemoryChannel: a channel that keeps its events in memory and loses them with the process.
//!
//! Its subscribers are written by the controller of Subscriptions. Admission knows no users, so
//! that nobody else writes them is for the authorization in front of it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admission::{self, Admit, Errors, annotate_if_absent, annotation, namespace};
use crate::annotations::{SCOPE, SUBSCRIBABLE, SUBSCRIBABLE_VERSION};
use crate::conditions::{Condition, ConditionSet};
use crate::duck::{
    Addressable, AppliedEventPolicy, DeliverySpec, DeliveryStatus, KReference, StringMap,
    SubscriberSpec, SubscriberStatus,
};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// What delivers to subscribers runs.
pub const DISPATCHER_READY: &str = "DispatcherReady";
/// The service of the data plane is there.
pub const SERVICE_READY: &str = "ServiceReady";
/// The service of the data plane has endpoints.
pub const ENDPOINTS_READY: &str = "EndpointsReady";
/// The channel has an address.
pub const ADDRESSABLE: &str = "Addressable";
/// The channel's own host name leads to the data plane.
pub const CHANNEL_SERVICE_READY: &str = "ChannelServiceReady";
/// The dead letter sink was found, or none is named.
pub const DEAD_LETTER_SINK_RESOLVED: &str = "DeadLetterSinkResolved";
/// The policies that apply to the channel are in force.
pub const EVENT_POLICIES_READY: &str = "EventPoliciesReady";

/// What an InMemoryChannel's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    DISPATCHER_READY,
    SERVICE_READY,
    ENDPOINTS_READY,
    ADDRESSABLE,
    CHANNEL_SERVICE_READY,
    DEAD_LETTER_SINK_RESOLVED,
    EVENT_POLICIES_READY,
]);

/// What is wanted of an InMemoryChannel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "messaging.knative.dev",
    version = "v1",
    kind = "InMemoryChannel",
    plural = "inmemorychannels",
    shortname = "imc",
    namespaced,
    status = "InMemoryChannelStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A channel that keeps its events in memory and loses them with the process.",
    category = "all",
    category = "knative",
    category = "messaging",
    category = "channel",
    printcolumn = r#"{"name": "URL", "type": "string", "jsonPath": ".status.address.url"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct InMemoryChannelSpec {
    /// The subscribers, as the controller of Subscriptions writes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<SubscriberSpec>,
    /// How hard delivery is tried for subscribers that do not say so themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
}

/// What was found out about an InMemoryChannel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InMemoryChannelStatus {
    /// The generation of the channel that this speaks of.
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
    /// What is said of each subscriber.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<SubscriberStatus>,
    /// Where the implementation sends what it could not deliver, where it does so by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_channel: Option<KReference>,
    /// Where the dead letter sink turned out to be.
    #[serde(flatten)]
    pub delivery: DeliveryStatus,
    /// The policies that apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedEventPolicy>,
}

impl CustomKind for InMemoryChannel {
    const LABELS: &'static [(&'static str, &'static str)] = &[
        ("duck.knative.dev/addressable", "true"),
        (SUBSCRIBABLE, "true"),
    ];
}

impl Admit for InMemoryChannel {
    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        let namespace = namespace(&self.metadata).to_owned();
        annotate_if_absent(&mut self.metadata, SUBSCRIBABLE, SUBSCRIBABLE_VERSION);
        admission::delivery::fill_in(self.spec.delivery.as_mut(), &namespace);
        Ok(())
    }

    fn check(&self, _old: Option<&Self>, _: &dyn AdmissionContext, errors: &mut Errors) {
        admission::metadata::check_annotations(&self.metadata, errors);
        if let Some(scope) = annotation(&self.metadata, SCOPE)
            && !["cluster", "namespace"].contains(&scope)
        {
            let path = format!("metadata.annotations[{SCOPE}]");
            errors.unsupported(&path, scope, ["cluster", "namespace"]);
        }
        for (index, subscriber) in self.spec.subscribers.iter().enumerate() {
            let path = format!("spec.subscribers[{index}]");
            if subscriber.reply_uri.is_none() && subscriber.subscriber_uri.is_none() {
                errors.none_of(&path, &["replyUri", "subscriberUri"]);
            }
            let delivery = subscriber.delivery.as_ref();
            admission::delivery::check(delivery, &format!("{path}.delivery"), errors);
        }
        admission::delivery::check(self.spec.delivery.as_ref(), "spec.delivery", errors);
    }
}
