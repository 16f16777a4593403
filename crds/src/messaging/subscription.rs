//! Subscription: delivers a channel's events to a subscriber, and what it answers to a reply.
//!
//! The channel is fixed, because the Subscription's position is a place in it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admission::{self, Admit, Errors, config, destination, namespace};
use crate::conditions::{Condition, ConditionSet};
use crate::duck::{AuthStatus, DeliverySpec, Destination, KReference, StringMap};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// The subscriber, the reply and the dead letter sink were found.
pub const REFERENCES_RESOLVED: &str = "ReferencesResolved";
/// The channel knows the subscriber.
pub const ADDED_TO_CHANNEL: &str = "AddedToChannel";
/// The channel is ready to deliver to the subscriber.
pub const CHANNEL_READY: &str = "ChannelReady";
/// The identity that deliveries are made with exists, or none is asked for.
pub const OIDC_IDENTITY_CREATED: &str = "OIDCIdentityCreated";

/// What a Subscription's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    REFERENCES_RESOLVED,
    ADDED_TO_CHANNEL,
    CHANNEL_READY,
    OIDC_IDENTITY_CREATED,
]);

/// What is wanted of a Subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "messaging.knative.dev",
    version = "v1",
    kind = "Subscription",
    plural = "subscriptions",
    shortname = "sub",
    namespaced,
    status = "SubscriptionStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Delivers a channel's events to a subscriber, and what it answers to a reply.",
    category = "all",
    category = "knative",
    category = "messaging",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionSpec {
    /// The channel: apiVersion, kind and name, and with the feature `cross-namespace-event-links`
    /// a namespace. Cannot be changed.
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub channel: KReference,
    /// Where events are delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<Destination>,
    /// Where the subscriber's answers are delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Destination>,
    /// How hard delivery is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
}

/// What was found out about a Subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionStatus {
    /// The generation of the Subscription that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Further facts, by name.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub annotations: StringMap,
    /// The observations, and whether they add up to Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The Subscription with everything resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical_subscription: Option<PhysicalSubscription>,
    /// The identity that deliveries are made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
}

/// The targets of a Subscription, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PhysicalSubscription {
    /// The resolved URI of the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_uri: Option<String>,
    /// Certificates of authorities (PEM) for the subscriber.
    #[serde(rename = "subscriberCACerts", skip_serializing_if = "Option::is_none")]
    pub subscriber_ca_certs: Option<String>,
    /// The OIDC audience of the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_audience: Option<String>,
    /// The resolved URI of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_uri: Option<String>,
    /// Certificates of authorities (PEM) for the reply.
    #[serde(rename = "replyCACerts", skip_serializing_if = "Option::is_none")]
    pub reply_ca_certs: Option<String>,
    /// The OIDC audience of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_audience: Option<String>,
    /// The resolved URI of the dead letter sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_uri: Option<String>,
    /// Certificates of authorities (PEM) for the dead letter sink.
    #[serde(
        rename = "deadLetterSinkCACerts",
        skip_serializing_if = "Option::is_none"
    )]
    pub dead_letter_sink_ca_certs: Option<String>,
    /// The OIDC audience of the dead letter sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_audience: Option<String>,
}

impl Subscription {
    fn check_channel(&self, context: &dyn AdmissionContext, errors: &mut Errors) {
        let channel = &self.spec.channel;
        if *channel == KReference::default() {
            let detail = "the Subscription must reference a channel";
            errors.missing_because("spec.channel", detail);
            return;
        }
        destination::check_reference(channel, "spec.channel", errors);
        let own = namespace(&self.metadata);
        if let Some(other) = channel.namespace.as_deref()
            && other != own
            && !config::feature(context, config::CROSS_NAMESPACE)
        {
            let detail = format!(
                "\"{other}\" is not the Subscription's own namespace, which needs the feature \
                 cross-namespace-event-links of ConfigMap knative-eventing/config-features"
            );
            errors.forbidden("spec.channel.namespace", &detail);
        }
    }
}

impl CustomKind for Subscription {
    const LABELS: &'static [(&'static str, &'static str)] = &[];
}

impl Admit for Subscription {
    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        let namespace = namespace(&self.metadata).to_owned();
        // Without the feature a channel is of the same namespace, and Knative leaves that unsaid.
        if self.spec.channel != KReference::default()
            && config::feature(context, config::CROSS_NAMESPACE)
        {
            destination::fill_in_reference(&mut self.spec.channel, &namespace);
        }
        destination::fill_in(self.spec.subscriber.as_mut(), &namespace);
        destination::fill_in(self.spec.reply.as_mut(), &namespace);
        admission::delivery::fill_in(self.spec.delivery.as_mut(), &namespace);
        Ok(())
    }

    fn check(&self, old: Option<&Self>, context: &dyn AdmissionContext, errors: &mut Errors) {
        admission::metadata::check_annotations(&self.metadata, errors);
        self.check_channel(context, errors);
        match self
            .spec
            .subscriber
            .as_ref()
            .filter(|subscriber| !subscriber.is_empty())
        {
            None => errors.missing_because(
                "spec.subscriber",
                "the Subscription must reference a subscriber",
            ),
            Some(subscriber) => destination::check(subscriber, "spec.subscriber", errors),
        }
        if let Some(reply) = self.spec.reply.as_ref().filter(|reply| !reply.is_empty()) {
            destination::check(reply, "spec.reply", errors);
        }
        admission::delivery::check(self.spec.delivery.as_ref(), "spec.delivery", errors);
        if let Some(old) = old {
            let own = namespace(&self.metadata);
            let (before, after) = (&old.spec.channel, &self.spec.channel);
            if !same_channel(before, after, own) {
                errors.immutable("spec.channel", &json!(before), &json!(after));
            }
        }
    }
}

/// Whether two references name one channel; the namespace may be written or left out.
fn same_channel(a: &KReference, b: &KReference, own: &str) -> bool {
    let spelt_out = |reference: &KReference| {
        let mut reference = reference.clone();
        destination::fill_in_reference(&mut reference, own);
        reference
    };
    spelt_out(a) == spelt_out(b)
}
