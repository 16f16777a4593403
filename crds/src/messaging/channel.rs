//! Channel: a channel of whatever implementation the installation prefers.
//!
//! The implementation is named by `spec.channelTemplate`, which is filled in when the Channel is
//! made. The spec cannot be changed afterwards; its subscribers are written on the channel behind
//! it, never here.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::backing;
use crate::admission::{self, Admit, Errors, annotate_if_absent, config, namespace};
use crate::annotations::{SUBSCRIBABLE, SUBSCRIBABLE_VERSION};
use crate::conditions::{Condition, ConditionSet};
use crate::duck::{
    Addressable, AppliedEventPolicy, ChannelTemplateSpec, DeliverySpec, DeliveryStatus, KReference,
    StringMap, SubscriberSpec, SubscriberStatus,
};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// The channel behind this one is ready.
pub const BACKING_CHANNEL_READY: &str = "BackingChannelReady";
/// The Channel has an address.
pub const ADDRESSABLE: &str = "Addressable";
/// The dead letter sink was found, or none is named.
pub const DEAD_LETTER_SINK_RESOLVED: &str = "DeadLetterSinkResolved";
/// The policies that apply to the Channel are in force.
pub const EVENT_POLICIES_READY: &str = "EventPoliciesReady";

/// What a Channel's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    BACKING_CHANNEL_READY,
    ADDRESSABLE,
    DEAD_LETTER_SINK_RESOLVED,
    EVENT_POLICIES_READY,
]);

/// What is wanted of a Channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "messaging.knative.dev",
    version = "v1",
    kind = "Channel",
    plural = "channels",
    shortname = "ch",
    namespaced,
    status = "ChannelStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A channel of whatever implementation the installation prefers.",
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
pub struct ChannelSpec {
    /// Which channel is made behind this one. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_template: Option<ChannelTemplateSpec>,
    /// The subscribers; not for users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<SubscriberSpec>,
    /// How hard delivery is tried for subscribers that do not say so themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
}

/// What was found out about a Channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelStatus {
    /// The generation of the Channel that this speaks of.
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
    /// The channel behind this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<KReference>,
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

impl CustomKind for Channel {
    const LABELS: &'static [(&'static str, &'static str)] = backing::LABELS;
}

impl Admit for Channel {
    fn fill_in(
        &mut self,
        old: Option<&Self>,
        context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        let namespace = namespace(&self.metadata).to_owned();
        annotate_if_absent(&mut self.metadata, SUBSCRIBABLE, SUBSCRIBABLE_VERSION);
        if self.spec.channel_template.is_none() {
            let stored = old.and_then(|old| old.spec.channel_template.clone());
            let template = match stored {
                Some(template) => template,
                None => config::channel_defaults(context)?
                    .and_then(|defaults| defaults.template(&namespace).cloned())
                    .unwrap_or_else(|| ChannelTemplateSpec {
                        api_version: "messaging.knative.dev/v1".to_owned(),
                        kind: "InMemoryChannel".to_owned(),
                        spec: None,
                    }),
            };
            self.spec.channel_template = Some(template);
        }
        admission::delivery::fill_in(self.spec.delivery.as_mut(), &namespace);
        Ok(())
    }

    fn check(&self, old: Option<&Self>, _: &dyn AdmissionContext, errors: &mut Errors) {
        admission::metadata::check_annotations(&self.metadata, errors);
        match &self.spec.channel_template {
            None => errors.missing("spec.channelTemplate"),
            Some(template) => {
                if template.kind.is_empty() {
                    errors.missing("spec.channelTemplate.kind");
                }
                if template.api_version.is_empty() {
                    errors.missing("spec.channelTemplate.apiVersion");
                }
            }
        }
        if !self.spec.subscribers.is_empty() {
            let detail = "subscribers are added by making a Subscription";
            errors.forbidden("spec.subscribers", detail);
        }
        admission::delivery::check(self.spec.delivery.as_ref(), "spec.delivery", errors);
        if let Some(old) = old {
            let (old, new) = (&old.spec, &self.spec);
            let (before, after) = (json!(old.channel_template), json!(new.channel_template));
            errors.immutable("spec.channelTemplate", &before, &after);
            errors.immutable("spec.delivery", &json!(old.delivery), &json!(new.delivery));
        }
    }
}
