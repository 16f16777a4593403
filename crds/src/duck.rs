//! The shapes that kinds share: references, destinations, addresses, delivery options.
//!
//! The JSON names are Knative's to the letter (`CACerts` keeps its capitals). Texts stay texts:
//! a URI, a duration or a policy is kept as the user wrote it and is checked at admission, so that
//! an object that was stored once can always be read again.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use crate::duration::{DurationError, parse_duration};

/// The schema of an object whose fields are kept, whatever they are.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A reference to another object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KReference {
    /// The kind of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The namespace of the object; that of the referring object where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group and version of the object, like `eventing.knative.dev/v1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The API group without a version, in place of `apiVersion`. Not supported, and refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The name of one of the object's addresses; the first where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Where events are sent: an object that has an address, or a URI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Destination {
    /// An object with an address, or a Kubernetes Service.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Box<KReference>>,
    /// An absolute URI; or, beside `ref`, a relative one that is resolved against its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Certificates of authorities (PEM) to trust besides those of the address.
    #[serde(rename = "CACerts", skip_serializing_if = "Option::is_none")]
    pub ca_certs: Option<String>,
    /// The OIDC audience of the target, over that of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

impl Destination {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One address of an object that receives events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Addressable {
    /// The name of the address: `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The URL to post events to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Certificates of authorities (PEM) that signed the address's own.
    #[serde(rename = "CACerts", skip_serializing_if = "Option::is_none")]
    pub ca_certs: Option<String>,
    /// The OIDC audience that a sender's token must name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// How attempts are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackoffPolicy {
    /// `backoffDelay` times the number of the retry.
    Linear,
    /// `backoffDelay` times two to the power of the number of the retry.
    Exponential,
}

impl BackoffPolicy {
    /// The policies' names in JSON.
    pub const NAMES: [&str; 2] = ["linear", "exponential"];

    /// The policy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "linear" => Some(Self::Linear),
            "exponential" => Some(Self::Exponential),
            _ => None,
        }
    }
}

/// How an event is laid out in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryFormat {
    /// Structured mode: one JSON document.
    Json,
    /// Binary mode: attributes in headers, data in the body.
    Binary,
}

impl DeliveryFormat {
    /// The formats' names in JSON.
    pub const NAMES: [&str; 2] = ["json", "binary"];

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "binary" => Some(Self::Binary),
            _ => None,
        }
    }
}

/// How hard delivery is tried, and where events go that could not be delivered.
///
/// What is None was left out by the user. The typed readers below give None also for a text that
/// admission would refuse, so that an object that came another way is delivered by the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct DeliverySpec {
    /// Where an event goes that could not be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink: Option<Destination>,
    /// How many times an event is tried again after the first attempt; at least 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<i32>,
    /// How long one attempt may take, as an ISO 8601 duration over zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How attempts are spaced: `linear` or `exponential`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_policy: Option<String>,
    /// The unit of the wait between attempts, as an ISO 8601 duration. By `linear` the wait before
    /// retry n is n times this, by `exponential` it is 2^n times this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_delay: Option<String>,
    /// The longest wait that a subscriber may ask for with Retry-After, as an ISO 8601 duration;
    /// zero means that Retry-After is not heeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_max: Option<String>,
    /// How events are laid out: `json` (structured) or `binary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

impl DeliverySpec {
    /// `timeout`, where it is valid.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
            .as_deref()
            .and_then(|t| parse_duration(t).ok())
            .filter(|t| !t.is_zero())
    }

    /// `backoffPolicy`, where it is valid.
    pub fn backoff_policy(&self) -> Option<BackoffPolicy> {
        self.backoff_policy
            .as_deref()
            .and_then(BackoffPolicy::from_name)
    }

    /// `backoffDelay`, where it is valid.
    pub fn backoff_delay(&self) -> Option<Duration> {
        self.backoff_delay
            .as_deref()
            .and_then(|t| parse_duration(t).ok())
    }

    /// `retryAfterMax`, where it is valid.
    pub fn retry_after_max(&self) -> Option<Duration> {
        self.retry_after_max
            .as_deref()
            .and_then(|t| parse_duration(t).ok())
    }

    /// `format`, where it is valid.
    pub fn format(&self) -> Option<DeliveryFormat> {
        self.format.as_deref().and_then(DeliveryFormat::from_name)
    }
}

/// Where the dead letter sink turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeliveryStatus {
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

/// The identity that deliveries are made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthStatus {
    /// The service account whose tokens are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// The service accounts, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_account_names: Vec<String>,
}

/// An EventPolicy that applies to the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AppliedEventPolicy {
    /// The API version of the policy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The name of the policy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// One subscriber of a channel, as its Subscription's controller writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriberSpec {
    /// The uid of the Subscription.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The generation of the Subscription that this was written from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The name of the Subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The namespace of the Subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Where events are delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_uri: Option<String>,
    /// Certificates of authorities (PEM) for the subscriber.
    #[serde(rename = "subscriberCACerts", skip_serializing_if = "Option::is_none")]
    pub subscriber_ca_certs: Option<String>,
    /// The OIDC audience of the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_audience: Option<String>,
    /// Where replies are delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_uri: Option<String>,
    /// Certificates of authorities (PEM) for the reply's target.
    #[serde(rename = "replyCACerts", skip_serializing_if = "Option::is_none")]
    pub reply_ca_certs: Option<String>,
    /// The OIDC audience of the reply's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_audience: Option<String>,
    /// How hard delivery to this subscriber is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
    /// The identity that deliveries are made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
}

/// What a channel says of one of its subscribers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriberStatus {
    /// The uid of the Subscription.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The generation of the Subscription that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// True, False or Unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ready: String,
    /// Why, as a sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The identity that deliveries are made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
}

/// Which channel is made behind another object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelTemplateSpec {
    /// The API version of the channel's kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The channel's kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The spec of the channel, taken over as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub spec: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Texts by name, as annotations are.
pub type StringMap = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;

    use super::*;

    #[test]
    fn names_in_json_are_those_of_knative() {
        let destination = json!({
            "ref": {"apiVersion": "v1", "kind": "Service", "name": "s", "namespace": "n"},
            "uri": "/path", "CACerts": "pem", "audience": "a",
        });
        let subscriber = json!({
            "uid": "u", "generation": 1, "name": "s", "namespace": "n", "subscriberUri": "http://s",
            "subscriberCACerts": "pem", "subscriberAudience": "a", "replyUri": "http://r",
            "replyCACerts": "pem", "replyAudience": "a", "auth": {"serviceAccountName": "sa"},
            "delivery": {
                "deadLetterSink": destination, "retry": 1, "timeout": "PT1S",
                "backoffPolicy": "linear", "backoffDelay": "PT1S", "retryAfterMax": "PT1S",
                "format": "json",
            },
        });
        let typed: SubscriberSpec = serde_json::from_value(subscriber.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), subscriber);
        let status = json!({
            "deadLetterSinkUri": "http://d", "deadLetterSinkCACerts": "pem",
            "deadLetterSinkAudience": "a",
        });
        let typed: DeliveryStatus = serde_json::from_value(status.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), status);
    }

    #[test]
    fn delivery_options_are_read_where_they_are_valid() {
        let delivery = |json| serde_json::from_value::<DeliverySpec>(json).unwrap();
        let good = delivery(json!({
            "timeout": "PT5S", "backoffPolicy": "exponential", "backoffDelay": "PT0.2S",
            "retryAfterMax": "PT0S", "format": "binary",
        }));
        assert_eq!(good.timeout(), Some(Duration::from_secs(5)));
        assert_eq!(good.backoff_policy(), Some(BackoffPolicy::Exponential));
        assert_eq!(good.backoff_delay(), Some(Duration::from_millis(200)));
        assert_eq!(good.retry_after_max(), Some(Duration::ZERO));
        assert_eq!(good.format(), Some(DeliveryFormat::Binary));
        let bad = delivery(json!({
            "timeout": "PT0S", "backoffPolicy": "Linear", "backoffDelay": "1s",
            "retryAfterMax": "-PT1S", "format": "xml",
        }));
        assert_eq!(
            (bad.timeout(), bad.backoff_policy(), bad.backoff_delay()),
            (None, None, None)
        );
        assert_eq!((bad.retry_after_max(), bad.format()), (None, None));
    }
}
