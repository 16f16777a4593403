//! What the channels that keep events have in common.
//!
//! Each of these kinds can be used by itself, or stand behind a Channel. Controllers see them all as a
//! [`Backing`], so that a new kind takes its type, a shelf in the world ([`crate::world`]) and what is
//! peculiar to it, and nothing else.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admission::{self, Errors, annotate_if_absent, annotation, namespace};
use crate::annotations::{Annotations, SCOPE, SUBSCRIBABLE, SUBSCRIBABLE_VERSION};
use crate::conditions::Condition;
use crate::duck::{
    Addressable, AppliedEventPolicy, DeliverySpec, DeliveryStatus, KReference, StringMap,
    SubscriberSpec, SubscriberStatus,
};

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

/// The labels of the definitions of channels, by which clients find what they can address and subscribe to.
pub(crate) const LABELS: &[(&str, &str)] = &[
    ("duck.knative.dev/addressable", "true"),
    (SUBSCRIBABLE, "true"),
];

/// What is wanted of each of these channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackingSpec {
    /// The subscribers, as the controller of Subscriptions writes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<SubscriberSpec>,
    /// How hard delivery is tried for subscribers that do not say so themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
}

/// What was found out about a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackingStatus {
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

/// A channel that keeps events, of whatever kind.
#[derive(Clone, Debug)]
pub struct Backing<'a> {
    /// The kind, like `InMemoryChannel`.
    pub kind: &'static str,
    /// Its name, uid and annotations.
    pub metadata: &'a ObjectMeta,
    /// The subscribers, as the controller of Subscriptions writes them.
    pub subscribers: &'a [SubscriberSpec],
    /// How hard delivery is tried for subscribers that do not say so themselves.
    pub delivery: Option<&'a DeliverySpec>,
    /// Annotations that hold for Subscriptions which do not have them.
    pub defaults: Annotations,
    /// What was found out about it.
    pub status: Option<&'a BackingStatus>,
}

impl<'a> Backing<'a> {
    /// A channel of that kind, which says nothing of its Subscriptions' annotations.
    pub(super) fn new(
        kind: &'static str,
        metadata: &'a ObjectMeta,
        spec: &'a BackingSpec,
        status: Option<&'a BackingStatus>,
    ) -> Self {
        Self {
            kind,
            metadata,
            subscribers: &spec.subscribers,
            delivery: spec.delivery.as_ref(),
            defaults: Annotations::new(),
            status,
        }
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &'a str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> &'a str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.as_ref().map(|at| at.0)
    }
}

/// A kind of channel that keeps events.
pub trait Backs: Resource<DynamicType = ()> {
    /// The name of the kind.
    const KIND: &'static str;

    /// This channel, as one of all.
    fn backing(&self) -> Backing<'_>;
}

/// Fills in what all these channels have.
pub(super) fn fill_in(metadata: &mut ObjectMeta, spec: &mut BackingSpec) {
    let namespace = namespace(metadata).to_owned();
    annotate_if_absent(metadata, SUBSCRIBABLE, SUBSCRIBABLE_VERSION);
    admission::delivery::fill_in(spec.delivery.as_mut(), &namespace);
}

/// Checks what all these channels have.
pub(super) fn check(channel: &Backing<'_>, errors: &mut Errors) {
    admission::metadata::check_annotations(channel.metadata, errors);
    if let Some(scope) = annotation(channel.metadata, SCOPE)
        && !["cluster", "namespace"].contains(&scope)
    {
        let path = format!("metadata.annotations[{SCOPE}]");
        errors.unsupported(&path, scope, ["cluster", "namespace"]);
    }
    for (index, subscriber) in channel.subscribers.iter().enumerate() {
        let path = format!("spec.subscribers[{index}]");
        if subscriber.reply_uri.is_none() && subscriber.subscriber_uri.is_none() {
            errors.none_of(&path, &["replyUri", "subscriberUri"]);
        }
        let delivery = subscriber.delivery.as_ref();
        admission::delivery::check(delivery, &format!("{path}.delivery"), errors);
    }
    admission::delivery::check(channel.delivery, "spec.delivery", errors);
}
