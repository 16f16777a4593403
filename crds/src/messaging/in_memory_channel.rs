//! InMemoryChannel: a channel that keeps its events in memory and loses them with the process.
//!
//! Its subscribers are written by the controller of Subscriptions. Admission knows no users, so
//! that nobody else writes them is for the authorization in front of it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backing::{self, Backing, BackingSpec, BackingStatus, Backs};
use crate::admission::{Admit, Errors};
use crate::conditions::ConditionSet;
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
    /// What is wanted of it as of every channel.
    #[serde(flatten)]
    pub common: BackingSpec,
}

impl CustomKind for InMemoryChannel {
    const LABELS: &'static [(&'static str, &'static str)] = backing::LABELS;
}

impl Backs for InMemoryChannel {
    const KIND: &'static str = "InMemoryChannel";

    fn backing(&self) -> Backing<'_> {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        Backing::new(Self::KIND, metadata, &spec.common, status.as_ref())
    }
}

impl Admit for InMemoryChannel {
    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        backing::fill_in(&mut self.metadata, &mut self.spec.common);
        Ok(())
    }

    fn check(&self, _old: Option<&Self>, _: &dyn AdmissionContext, errors: &mut Errors) {
        backing::check(&self.backing(), errors);
    }
}
