//! NatsJetStreamChannel: a channel whose events NATS JetStream keeps.
//!
//! The fields are those of eventing-natss. Most words are texts here and are checked at admission,
//! as eventing-natss does not; what a field means, and which of them cannot be honoured, is for the
//! controller to say.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::backing::{self, Backing, BackingSpec, BackingStatus, Backs};
use crate::admission::{Admit, Errors};
use crate::annotations::{Annotations, MAX_IN_FLIGHT, MAX_IN_FLIGHT_LIMIT, START};
use crate::conditions::ConditionSet;
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// The stream is there.
pub const STREAM_READY: &str = "StreamReady";

/// What a NatsJetStreamChannel's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    backing::DISPATCHER_READY,
    backing::SERVICE_READY,
    backing::ENDPOINTS_READY,
    backing::ADDRESSABLE,
    backing::CHANNEL_SERVICE_READY,
    STREAM_READY,
]);

/// What is wanted of a NatsJetStreamChannel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "messaging.knative.dev",
    version = "v1alpha1",
    kind = "NatsJetStreamChannel",
    plural = "natsjetstreamchannels",
    shortname = "natsjsmc",
    namespaced,
    status = "BackingStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A channel whose events NATS JetStream keeps.",
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
pub struct NatsJetStreamChannelSpec {
    /// What is wanted of it as of every channel.
    #[serde(flatten)]
    pub common: BackingSpec,
    /// What the stream is made like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// How events are read for each subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_config_template: Option<ConsumerConfigTemplate>,
    /// What a Deployment of dispatchers would look like. There is none here, so that this has no
    /// effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::duck::any_object")]
    pub deployment_spec_template: Option<Map<String, Value>>,
}

/// The stream of a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Stream {
    /// The name of the stream; where it is left out, one is made of the channel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_name: Option<String>,
    /// What the stream is made like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<StreamConfig>,
}

/// What a stream is made like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamConfig {
    /// Subjects that the stream takes messages from besides its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_subjects: Vec<String>,
    /// When messages go: `Limits`, `Interest` or `Work`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
    /// How many consumers the stream may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_consumers: Option<i32>,
    /// How many messages the stream may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msgs: Option<i64>,
    /// How many bytes the stream may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<i64>,
    /// What happens at a limit: `Old` messages go, or `New` ones are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard: Option<String>,
    /// How old a message may become, like `168h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// How many bytes a message may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msg_size: Option<i32>,
    /// Where messages are kept: `File` or `Memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// On how many servers of a cluster messages are kept, 1 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Whether the server is not to acknowledge messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_ack: Option<bool>,
    /// How long the server remembers what it has, to drop what comes twice, like `2m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_window: Option<String>,
    /// On which servers the stream is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<StreamPlacement>,
    /// The stream that this one is a copy of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSource>,
    /// Streams whose messages this one takes too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<StreamSource>,
}

/// On which servers a stream is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamPlacement {
    /// The name of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Tags that the servers have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Another stream that messages come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamSource {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The sequence to start at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub opt_start_seq: Option<u64>,
    /// The time to start at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<String>,
    /// The subject that messages are to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_subject: Option<String>,
}

/// How events are read for each subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConfigTemplate {
    /// Where a new subscriber starts: `All`, `Last`, `New`, `ByStartSequence` or `ByStartTime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_policy: Option<String>,
    /// The sequence to start at, by `ByStartSequence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub opt_start_seq: Option<u64>,
    /// The time to start at, by `ByStartTime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<String>,
    /// How long an acknowledgement is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_wait: Option<String>,
    /// How often a message is delivered at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deliver: Option<i32>,
    /// The subject that messages are to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_subject: Option<String>,
    /// How fast messages come: `Instant` or `Original`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_policy: Option<String>,
    /// The most bits a second.
    #[serde(rename = "rateLimitBPS", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub rate_limit_bps: Option<u64>,
    /// The percentage of acknowledgements that are sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_frequency: Option<String>,
    /// How many deliveries may be under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ack_pending: Option<i32>,
    /// `Push` or `Pull`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_type: Option<String>,
    /// How long a fetch waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_max_wait: Option<String>,
    /// How many messages a fetch asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub fetch_batch_size: Option<i32>,
}

impl NatsJetStreamChannelSpec {
    /// The settings of the stream; those that nobody made where there are none.
    #[must_use]
    pub fn stream_config(&self) -> StreamConfig {
        let stream = self.stream.as_ref();
        let config = stream.and_then(|stream| stream.config.clone());
        config.unwrap_or_default()
    }
}

impl ConsumerConfigTemplate {
    /// What it says of each subscriber, as annotations of Subscriptions say it.
    fn annotations(&self) -> Annotations {
        let start = match self.deliver_policy.as_deref() {
            Some("All") => Some("earliest".to_owned()),
            Some("New") => Some("latest".to_owned()),
            // The server counts from one.
            Some("ByStartSequence") => {
                (self.opt_start_seq).map(|sequence| sequence.saturating_sub(1).to_string())
            }
            Some("ByStartTime") => self.opt_start_time.clone(),
            _ => None,
        };
        let pending = self
            .max_ack_pending
            .and_then(|most| u32::try_from(most).ok());
        let pending = pending.filter(|most| *most > 0);
        let pending = pending.map(|most| most.min(MAX_IN_FLIGHT_LIMIT).to_string());
        [(START, start), (MAX_IN_FLIGHT, pending)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// Reads a duration as Go writes it, like `2m30s`, or as ISO 8601 does.
///
/// # Errors
/// The text is something else, or less than nothing.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    let span: SignedDuration = text
        .parse()
        .map_err(|_| "expected a duration like 2m30s or PT2M30S")?;
    Duration::try_from(span).map_err(|_| "expected a duration that is not negative")
}

impl CustomKind for NatsJetStreamChannel {
    const LABELS: &'static [(&'static str, &'static str)] = backing::LABELS;
}

impl Backs for NatsJetStreamChannel {
    const KIND: &'static str = "NatsJetStreamChannel";

    fn backing(&self) -> Backing<'_> {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let template = spec.consumer_config_template.as_ref();
        Backing {
            defaults: template
                .map(ConsumerConfigTemplate::annotations)
                .unwrap_or_default(),
            ..Backing::new(Self::KIND, metadata, &spec.common, status.as_ref())
        }
    }
}

impl Admit for NatsJetStreamChannel {
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
        check_stream(&self.spec.stream_config(), errors);
        if let Some(template) = &self.spec.consumer_config_template {
            check_consumer(template, errors);
        }
    }
}

fn check_stream(config: &StreamConfig, errors: &mut Errors) {
    let path = |field: &str| format!("spec.stream.config.{field}");
    let retentions = ["Limits", "Interest", "Work"];
    word(&config.retention, &retentions, &path("retention"), errors);
    word(&config.discard, &["Old", "New"], &path("discard"), errors);
    word(
        &config.storage,
        &["File", "Memory"],
        &path("storage"),
        errors,
    );
    span(&config.max_age, &path("maxAge"), errors);
    span(&config.duplicate_window, &path("duplicateWindow"), errors);
    // Zero is what Go clients write for a field that nobody set.
    if let Some(replicas) = config
        .replicas
        .filter(|replicas| !(0..=5).contains(replicas))
    {
        errors.invalid(&path("replicas"), replicas, "expected 1 to 5");
    }
}

fn check_consumer(template: &ConsumerConfigTemplate, errors: &mut Errors) {
    let path = |field: &str| format!("spec.consumerConfigTemplate.{field}");
    let policies = ["All", "Last", "New", "ByStartSequence", "ByStartTime"];
    word(
        &template.deliver_policy,
        &policies,
        &path("deliverPolicy"),
        errors,
    );
    let replays = ["Instant", "Original"];
    word(
        &template.replay_policy,
        &replays,
        &path("replayPolicy"),
        errors,
    );
    span(&template.ack_wait, &path("ackWait"), errors);
    span(&template.fetch_max_wait, &path("fetchMaxWait"), errors);
    match template.deliver_policy.as_deref() {
        Some("ByStartSequence") if template.opt_start_seq.is_none() => {
            errors.missing_because(&path("optStartSeq"), "deliverPolicy is ByStartSequence");
        }
        Some("ByStartTime") if template.opt_start_time.is_none() => {
            errors.missing_because(&path("optStartTime"), "deliverPolicy is ByStartTime");
        }
        _ => {}
    }
    if let Some(time) = &template.opt_start_time
        && time.parse::<Timestamp>().is_err()
    {
        let detail = "expected a time like 2026-01-31T12:00:00Z";
        errors.invalid(&path("optStartTime"), time, detail);
    }
}

/// Checks one of some words; an empty one is what Go clients write for a field that nobody set.
fn word<const N: usize>(
    value: &Option<String>,
    known: &[&'static str; N],
    path: &str,
    errors: &mut Errors,
) {
    let value = value.as_deref().unwrap_or_default();
    if !value.is_empty() && !known.contains(&value) {
        errors.unsupported(path, value, *known);
    }
}

fn span(value: &Option<String>, path: &str, errors: &mut Errors) {
    if let Some(text) = value
        && let Err(detail) = duration(text)
    {
        errors.invalid(path, text, detail);
    }
}
