//! KafkaChannel: a channel whose events Kafka keeps, in a topic of its own.
//!
//! What the topic is made like is fixed once the channel exists, as in Knative: the topic has been made.
//! Subscribers get events in order unless they say otherwise.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::backing::{self, Backing, BackingSpec, BackingStatus, Backs};
use crate::admission::{Admit, Errors};
use crate::annotations::ORDER;
use crate::conditions::ConditionSet;
use crate::duration::parse_duration;
use crate::eventing::broker::{
    CONFIG_MAP_UPDATED, CONFIG_PARSED, DATA_PLANE_AVAILABLE, PROBE_SUCCEEDED, TOPIC_READY,
};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// How long events are kept where nobody says: seven days.
pub const RETENTION: &str = "PT168H";

/// What a KafkaChannel's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    backing::ADDRESSABLE,
    backing::CHANNEL_SERVICE_READY,
    DATA_PLANE_AVAILABLE,
    TOPIC_READY,
    CONFIG_MAP_UPDATED,
    CONFIG_PARSED,
    PROBE_SUCCEEDED,
    backing::EVENT_POLICIES_READY,
]);

/// What is wanted of a KafkaChannel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "messaging.knative.dev",
    version = "v1beta1",
    kind = "KafkaChannel",
    plural = "kafkachannels",
    shortname = "kc",
    namespaced,
    status = "BackingStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A channel whose events Kafka keeps.",
    category = "all",
    category = "knative",
    category = "messaging",
    category = "channel",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "URL", "type": "string", "jsonPath": ".status.address.url"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaChannelSpec {
    /// How many partitions the topic has. Cannot be changed.
    pub num_partitions: i32,
    /// On how many servers each partition is kept. Cannot be changed.
    pub replication_factor: i16,
    /// How long the servers keep an event, as an ISO 8601 duration. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_duration: Option<String>,
    /// What is wanted of it as of every channel.
    #[serde(flatten)]
    pub common: BackingSpec,
}

impl Default for KafkaChannelSpec {
    fn default() -> Self {
        Self {
            num_partitions: 1,
            replication_factor: 1,
            retention_duration: None,
            common: BackingSpec::default(),
        }
    }
}

impl KafkaChannelSpec {
    /// How long the servers keep an event.
    #[must_use]
    pub fn retention(&self) -> &str {
        self.retention_duration.as_deref().unwrap_or(RETENTION)
    }
}

impl CustomKind for KafkaChannel {
    const LABELS: &'static [(&'static str, &'static str)] = backing::LABELS;
}

impl Backs for KafkaChannel {
    const KIND: &'static str = "KafkaChannel";

    fn backing(&self) -> Backing<'_> {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        Backing {
            defaults: [(ORDER.to_owned(), "ordered".to_owned())].into(),
            ..Backing::new(Self::KIND, metadata, &spec.common, status.as_ref())
        }
    }
}

impl Admit for KafkaChannel {
    fn fill_in(
        &mut self,
        _old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        // Zero is what Go clients write for a field that nobody set.
        let standard = KafkaChannelSpec::default();
        let spec = &mut self.spec;
        if spec.num_partitions == 0 {
            spec.num_partitions = standard.num_partitions;
        }
        if spec.replication_factor == 0 {
            spec.replication_factor = standard.replication_factor;
        }
        spec.retention_duration
            .get_or_insert_with(|| RETENTION.to_owned());
        backing::fill_in(&mut self.metadata, &mut self.spec.common);
        Ok(())
    }

    fn check(&self, old: Option<&Self>, _: &dyn AdmissionContext, errors: &mut Errors) {
        backing::check(&self.backing(), errors);
        let spec = &self.spec;
        if !(1..=1_000).contains(&spec.num_partitions) {
            errors.invalid(
                "spec.numPartitions",
                spec.num_partitions,
                "expected 1 to 1000",
            );
        }
        if spec.replication_factor < 1 {
            let factor = spec.replication_factor;
            errors.invalid("spec.replicationFactor", factor, "expected 1 at least");
        }
        if let Err(error) = parse_duration(spec.retention()) {
            let text = spec.retention();
            errors.invalid("spec.retentionDuration", text, &error.to_string());
        }
        let Some(old) = old.map(|old| &old.spec) else {
            return;
        };
        let rows = [
            (
                "spec.numPartitions",
                json!(old.num_partitions),
                json!(spec.num_partitions),
            ),
            (
                "spec.replicationFactor",
                json!(old.replication_factor),
                json!(spec.replication_factor),
            ),
            (
                "spec.retentionDuration",
                json!(old.retention_duration),
                json!(spec.retention_duration),
            ),
        ];
        for (path, old, new) in rows {
            errors.immutable(path, &old, &new);
        }
    }
}
