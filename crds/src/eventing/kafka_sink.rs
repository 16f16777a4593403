//! KafkaSink: an address that writes the events it gets to a Kafka topic.

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admission::{self, Admit, Errors};
use crate::conditions::{Condition, ConditionSet};
use crate::duck::{Addressable, AppliedEventPolicy, StringMap};
use crate::kind::CustomKind;
use crate::resource::{AdmissionContext, FieldError};
use crate::sources::kafka_source::{TOPIC_EXPECTED, check_names, is_topic};

/// What a KafkaSink's Ready depends on: the same as that of a Broker of the class `Kafka`.
pub const CONDITIONS: ConditionSet = super::broker::KAFKA_CONDITIONS;

/// The key in `status.annotations` that says whose the topic is.
pub const TOPIC_OWNER: &str = "eventing.knative.dev/topic.owner";
/// The topic was made for the sink, and is deleted with it.
pub const OWNED: &str = "kafkasink-controller";
/// The topic was there before, and stays.
pub const EXTERNAL: &str = "external";

/// The finalizer of a sink whose topic may have been made for it.
pub const FINALIZER: &str = "kafkasinks.eventing.knative.dev";

/// Events become records in the binary mode of the Kafka binding.
pub const BINARY: &str = "binary";
/// Events become records in the structured mode of the Kafka binding.
pub const STRUCTURED: &str = "structured";

/// What is wanted of a KafkaSink.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema,
)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1alpha1",
    kind = "KafkaSink",
    plural = "kafkasinks",
    namespaced,
    status = "KafkaSinkStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "An address that writes the events it gets to a Kafka topic.",
    category = "all",
    category = "knative",
    category = "eventing",
    printcolumn = r#"{"name": "URL", "type": "string", "jsonPath": ".status.address.url"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaSinkSpec {
    /// The topic that events are written to. Cannot be changed.
    pub topic: String,
    /// The partitions of a topic that is made. Where this or `replicationFactor` is left out, the topic has to be
    /// there. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_partitions: Option<i32>,
    /// On how many servers each partition of a topic that is made is kept. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i32>,
    /// Hosts and ports of some of the servers.
    pub bootstrap_servers: Vec<String>,
    /// How events become records: `binary` or `structured`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "content_mode")]
    pub content_mode: Option<String>,
    /// Who we are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<KafkaAuth>,
}

fn content_mode(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "description": "How events become records: `binary` or `structured`.",
        "enum": [BINARY, STRUCTURED],
        "default": BINARY,
    })
}

/// Who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KafkaAuth {
    /// A Secret that says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<KafkaAuthSecret>,
}

/// A Secret that says who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KafkaAuthSecret {
    /// The Secret.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<SecretName>,
}

/// A Secret in the sink's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SecretName {
    /// Its name.
    pub name: String,
}

/// What was found out about a KafkaSink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaSinkStatus {
    /// The generation of the sink that this speaks of.
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
    /// The policies that apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AppliedEventPolicy>,
}

impl KafkaSink {
    /// The name of the Secret that says who we are.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        let secret = self.spec.auth.as_ref()?.secret.as_ref()?;
        Some(secret.reference.as_ref()?.name.as_str())
    }

    /// Whether it stays until its topic is deleted.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let finalizers = self.metadata.finalizers.iter().flatten();
        finalizers.into_iter().any(|name| name == FINALIZER)
    }

    /// The partitions and the replicas of a topic that is made; `None` where it has to be there.
    #[must_use]
    pub fn makes(&self) -> Option<(i32, i32)> {
        self.spec.num_partitions.zip(self.spec.replication_factor)
    }
}

impl CustomKind for KafkaSink {
    const LABELS: &'static [(&'static str, &'static str)] =
        &[("duck.knative.dev/addressable", "true")];
}

impl Admit for KafkaSink {
    fn fill_in(&mut self, _: Option<&Self>, _: &dyn AdmissionContext) -> Result<(), FieldError> {
        let mode = self.spec.content_mode.get_or_insert_default();
        if mode.is_empty() {
            BINARY.clone_into(mode);
        }
        Ok(())
    }

    fn check(&self, old: Option<&Self>, _: &dyn AdmissionContext, errors: &mut Errors) {
        admission::metadata::check_annotations(&self.metadata, errors);
        let spec = &self.spec;
        check_names(&spec.bootstrap_servers, "spec.bootstrapServers", errors);
        if spec.topic.is_empty() {
            errors.missing("spec.topic");
        } else if !is_topic(&spec.topic) {
            errors.invalid("spec.topic", &spec.topic, TOPIC_EXPECTED);
        }
        for (number, field, most) in [
            (spec.num_partitions, "spec.numPartitions", 1_000),
            (
                spec.replication_factor,
                "spec.replicationFactor",
                i16::MAX.into(),
            ),
        ] {
            if let Some(number) = number.filter(|number| !(1..=most).contains(number)) {
                errors.invalid(field, number, &format!("expected 1 to {most}"));
            }
        }
        if self.secret() == Some("") {
            errors.missing("spec.auth.secret.ref.name");
        }
        let Some(old) = old.map(|old| &old.spec) else {
            return;
        };
        for (path, old, new) in [
            ("spec.topic", json!(old.topic), json!(spec.topic)),
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
        ] {
            errors.immutable(path, &old, &new);
        }
    }
}
