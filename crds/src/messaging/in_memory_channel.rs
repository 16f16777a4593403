//! InMemoryChannel: a channel that keeps its events in memory and loses them with the process.
//!
//! Its subscribers are written by the controller of Subscriptions. Admission knows no users, so
//! that nobody else writes them is for the authorization in front of it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backing::{self, Backing, BackingStatus, Backs};
use crate::admission::{Admit, Errors};
use crate::annotations::{Annotations, SUBSCRIBABLE};
use crate::conditions::ConditionSet;
use crate::duck::{DeliverySpec, SubscriberSpec};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// What an InMemoryChannel's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    backing::DISPATCHER_READY,
    backing::SERVICE_READY,
    backing::ENDPOINTS_READY,
    backing::ADDRESSABLE,
    backing::CHANNEL_SERVICE_READY,
    backing::DEAD_LETTER_SINK_RESOLVED,
    backing::EVENT_POLICIES_READY,
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
    status = "BackingStatus",
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

impl CustomKind for InMemoryChannel {
    const LABELS: &'static [(&'static str, &'static str)] = &[
        ("duck.knative.dev/addressable", "true"),
        (SUBSCRIBABLE, "true"),
    ];
}

impl Backs for InMemoryChannel {
    const KIND: &'static str = "InMemoryChannel";

    fn backing(&self) -> Backing<'_> {
        Backing {
            kind: Self::KIND,
            metadata: &self.metadata,
            subscribers: &self.spec.subscribers,
            delivery: self.spec.delivery.as_ref(),
            defaults: Annotations::new(),
            status: self.status.as_ref(),
        }
    }
}

impl Admit for InMemoryChannel {
    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        backing::fill_in(&mut self.metadata, self.spec.delivery.as_mut());
        Ok(())
    }

    fn check(&self, _old: Option<&Self>, _: &dyn AdmissionContext, errors: &mut Errors) {
        backing::check(&self.backing(), errors);
    }
}
