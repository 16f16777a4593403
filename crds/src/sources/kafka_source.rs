//! KafkaSource: the records of Kafka topics, sent to a sink as CloudEvents.

use k8s_openapi::api::core::v1::SecretKeySelector;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::admission::{self, Admit, Errors, destination, namespace};
use crate::conditions::{Condition, ConditionSet};
use crate::duck::{AuthStatus, DeliverySpec, Destination, StringMap};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};

/// The sink has an address.
pub const SINK_PROVIDED: &str = "SinkProvided";
/// What reads the topics runs.
pub const DEPLOYED: &str = "Deployed";
/// The servers were reached.
pub const CONNECTION_ESTABLISHED: &str = "ConnectionEstablished";
/// Each partition has an offset in the group, so that nothing from then on is passed over.
pub const INITIAL_OFFSETS_COMMITTED: &str = "InitialOffsetsCommitted";
/// The identity that events are sent with is there, or none is needed.
pub const OIDC_IDENTITY_CREATED: &str = "OIDCIdentityCreated";

/// What a KafkaSource's Ready depends on.
pub const CONDITIONS: ConditionSet = ConditionSet::living(&[
    SINK_PROVIDED,
    DEPLOYED,
    CONNECTION_ESTABLISHED,
    INITIAL_OFFSETS_COMMITTED,
    OIDC_IDENTITY_CREATED,
]);

/// The label that says how keys of records are read.
pub const KEY_TYPE: &str = "kafkasources.sources.knative.dev/key-type";
/// The values of [`KEY_TYPE`].
pub const KEY_TYPES: [&str; 4] = ["string", "int", "float", "byte-array"];
/// The values of `initialOffset`.
const OFFSETS: [&str; 2] = ["earliest", "latest"];
/// The values of `ordering`.
const ORDERS: [&str; 2] = ["ordered", "unordered"];
/// What the names of groups begin with that the user did not name.
const GROUP_PREFIX: &str = "knative-kafka-source-";
/// The most topics, and the most servers, of one source.
const MAX_NAMES: usize = 256;
/// The longest name of a topic that Kafka takes.
const MAX_TOPIC: usize = 249;

/// What is wanted of a KafkaSource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "sources.knative.dev",
    version = "v1beta1",
    kind = "KafkaSource",
    plural = "kafkasources",
    namespaced,
    status = "KafkaSourceStatus",
    scale = r#"{"specReplicasPath": ".spec.consumers", "statusReplicasPath": ".status.consumers", "labelSelectorPath": ".status.selector"}"#,
    derive = "PartialEq",
    derive = "Default",
    doc = "The records of Kafka topics, sent to a sink as CloudEvents.",
    category = "all",
    category = "knative",
    category = "eventing",
    category = "sources",
    printcolumn = r#"{"name": "Topics", "type": "string", "jsonPath": ".spec.topics"}"#,
    printcolumn = r#"{"name": "BootstrapServers", "type": "string", "jsonPath": ".spec.bootstrapServers"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaSourceSpec {
    /// Hosts and ports of some of the servers.
    #[schemars(required)]
    pub bootstrap_servers: Vec<String>,
    /// The topics that are read.
    #[schemars(required)]
    pub topics: Vec<String>,
    /// The consumer group that positions are kept in. It cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_group: Option<String>,
    /// How many members of the group run here; partitions are shared out among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumers: Option<i32>,
    /// Where a group without a position starts: `earliest` or `latest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_offset: Option<String>,
    /// `ordered` (one event after the other in each partition) or `unordered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering: Option<String>,
    /// How the servers are spoken to.
    #[serde(skip_serializing_if = "KafkaNet::is_empty")]
    pub net: KafkaNet,
    /// How hard delivery is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    /// Where events are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<Destination>,
    /// Attributes that are set on each event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ce_overrides: Option<CloudEventOverrides>,
}

/// Attributes that are set on each event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CloudEventOverrides {
    /// By name, in the place of what an event has already.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    pub extensions: StringMap,
}

/// How Kafka's servers are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KafkaNet {
    /// Who we are.
    #[serde(skip_serializing_if = "KafkaSasl::is_empty")]
    pub sasl: KafkaSasl,
    /// Encryption.
    #[serde(skip_serializing_if = "KafkaTls::is_empty")]
    pub tls: KafkaTls,
}

/// Name and password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KafkaSasl {
    /// Whether the servers want it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable: bool,
    /// The name.
    #[serde(skip_serializing_if = "SecretValue::is_empty")]
    pub user: SecretValue,
    /// The password.
    #[serde(skip_serializing_if = "SecretValue::is_empty")]
    pub password: SecretValue,
    /// The mechanism: PLAIN, which is the default, SCRAM-SHA-256 or SCRAM-SHA-512.
    #[serde(rename = "type", skip_serializing_if = "SecretValue::is_empty")]
    pub mechanism: SecretValue,
}

/// Encryption.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaTls {
    /// Whether connections are encrypted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable: bool,
    /// Our certificate, in PEM, where the servers want one.
    #[serde(skip_serializing_if = "SecretValue::is_empty")]
    pub cert: SecretValue,
    /// The key of our certificate, in PEM.
    #[serde(skip_serializing_if = "SecretValue::is_empty")]
    pub key: SecretValue,
    /// The certificates to trust, in PEM; the system's where they are left out.
    #[serde(skip_serializing_if = "SecretValue::is_empty")]
    pub ca_cert: SecretValue,
}

/// A value in a Secret of the source's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretValue {
    /// The Secret, and the key in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_key")]
    pub secret_key_ref: Option<SecretKeySelector>,
}

fn secret_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "The Secret, and the key in it.",
        "required": ["key"],
        "properties": {
            "key": {"type": "string", "description": "The key in the Secret."},
            "name": {"type": "string", "description": "The name of the Secret."},
            "optional": {
                "type": "boolean",
                "description": "Whether the Secret or its key may be missing.",
            },
        },
        "x-kubernetes-map-type": "atomic",
    })
}

impl SecretValue {
    fn is_empty(&self) -> bool {
        self.secret_key_ref.is_none()
    }
}

impl KafkaSasl {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl KafkaTls {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl KafkaNet {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was found out about a KafkaSource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaSourceStatus {
    /// The generation of the source that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Further facts, by name.
    #[serde(skip_serializing_if = "StringMap::is_empty")]
    pub annotations: StringMap,
    /// The observations, and whether they add up to Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Where events are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink_uri: Option<String>,
    /// Certificates of authorities (PEM) for the sink.
    #[serde(rename = "sinkCACerts", skip_serializing_if = "Option::is_none")]
    pub sink_ca_certs: Option<String>,
    /// The OIDC audience of the sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink_audience: Option<String>,
    /// Which events come from this source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ce_attributes: Vec<CloudEventAttributes>,
    /// The identity that events are sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
    /// The members of the group that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumers: Option<i32>,
    /// Selects the members, for what scales them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The partitions that are read here, topic by topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<String>,
    /// How many members may be placed; used by schedulers of Knative's.
    #[serde(
        rename = "maxAllowedVReplicas",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_allowed_v_replicas: Option<i32>,
    /// Where members are placed; used by schedulers of Knative's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<Placement>,
}

/// One kind of event that comes from a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CloudEventAttributes {
    /// The attribute `type`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub ty: String,
    /// The attribute `source`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// How many members run where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Placement {
    /// The name of a pod.
    #[serde(rename = "podName", skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    /// Members in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vreplicas: Option<i32>,
}

/// The definition of `v1`, whose objects look like those of `v1beta1`.
fn v1() -> CustomResourceDefinition {
    let mut crd = KafkaSource::crd();
    for version in &mut crd.spec.versions {
        "v1".clone_into(&mut version.name);
    }
    crd
}

impl CustomKind for KafkaSource {
    const LABELS: &'static [(&'static str, &'static str)] = &[
        ("duck.knative.dev/source", "true"),
        ("eventing.knative.dev/source", "true"),
    ];
    const VERSIONS: &'static [fn() -> CustomResourceDefinition] = &[v1];
}

impl Admit for KafkaSource {
    fn fill_in(
        &mut self,
        old: Option<&Self>,
        _context: &dyn AdmissionContext,
    ) -> Result<(), FieldError> {
        let namespace = namespace(&self.metadata).to_owned();
        let spec = &mut self.spec;
        if spec
            .consumer_group
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            // An object is told its uid before it is admitted.
            let uid = self.metadata.uid.as_deref();
            spec.consumer_group = old
                .and_then(|old| old.spec.consumer_group.clone())
                .or_else(|| uid.map(|uid| format!("{GROUP_PREFIX}{uid}")));
        }
        spec.consumers.get_or_insert(1);
        for (field, value) in [
            (&mut spec.initial_offset, "latest"),
            (&mut spec.ordering, "ordered"),
        ] {
            if field.as_deref().unwrap_or_default().is_empty() {
                *field = Some(value.to_owned());
            }
        }
        destination::fill_in(spec.sink.as_mut(), &namespace);
        admission::delivery::fill_in(spec.delivery.as_mut(), &namespace);
        Ok(())
    }

    fn check(&self, old: Option<&Self>, _: &dyn AdmissionContext, errors: &mut Errors) {
        admission::metadata::check_annotations(&self.metadata, errors);
        let labels = self.metadata.labels.as_ref();
        if let Some(key_type) = labels.and_then(|labels| labels.get(KEY_TYPE))
            && !KEY_TYPES.contains(&key_type.as_str())
        {
            errors.unsupported(&format!("metadata.labels[{KEY_TYPE}]"), key_type, KEY_TYPES);
        }
        let spec = &self.spec;
        check_names(&spec.bootstrap_servers, "spec.bootstrapServers", errors);
        check_names(&spec.topics, "spec.topics", errors);
        for (index, topic) in spec.topics.iter().enumerate() {
            if !is_topic(topic) {
                let path = format!("spec.topics[{index}]");
                errors.invalid(&path, topic, TOPIC_EXPECTED);
            }
        }
        if let Some(consumers) = spec.consumers.filter(|consumers| *consumers < 0) {
            errors.invalid("spec.consumers", consumers, "expected 0 or more");
        }
        for (value, path, allowed) in [
            (&spec.initial_offset, "spec.initialOffset", OFFSETS),
            (&spec.ordering, "spec.ordering", ORDERS),
        ] {
            if let Some(value) = value
                && !allowed.contains(&value.as_str())
            {
                errors.unsupported(path, value, allowed);
            }
        }
        match &spec.sink {
            None => errors.missing("spec.sink"),
            Some(sink) => destination::check(sink, "spec.sink", errors),
        }
        if let Some(overrides) = &spec.ce_overrides {
            for name in overrides.extensions.keys() {
                if !is_extension(name) {
                    let detail = "expected the name of an extension: lower-case letters and digits";
                    errors.invalid_key("spec.ceOverrides.extensions", name, detail);
                }
            }
        }
        admission::delivery::check(spec.delivery.as_ref(), "spec.delivery", errors);
        if let Some(before) = old.and_then(|old| old.spec.consumer_group.as_ref()) {
            let after = spec.consumer_group.clone().unwrap_or_default();
            let before = before.as_str().into();
            errors.immutable("spec.consumerGroup", &before, &after.into());
        }
    }
}

/// What the name of a topic looks like.
pub(crate) const TOPIC_EXPECTED: &str =
    "expected the name of a topic: 1 to 249 letters, digits, `.`, `_` or `-`";

/// Whether an event may have it as an extension.
fn is_extension(name: &str) -> bool {
    const CORE: [&str; 5] = ["data", "id", "source", "specversion", "type"];
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty() && name.chars().all(fits) && !CORE.contains(&name)
}

/// Whether Kafka would take it as the name of a topic.
pub(crate) fn is_topic(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=MAX_TOPIC).contains(&name.len()) && name.chars().all(fits) && ![".", ".."].contains(&name)
}

/// Reports what is wrong with a list of names that must not be empty.
pub(crate) fn check_names(names: &[String], path: &str, errors: &mut Errors) {
    if names.is_empty() {
        errors.missing(path);
    } else if names.len() > MAX_NAMES {
        errors.invalid(path, names.len(), &format!("expected at most {MAX_NAMES}"));
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == ',') {
            let path = format!("{path}[{index}]");
            errors.invalid(&path, name, "expected one name, without commas or spaces");
        }
    }
}
