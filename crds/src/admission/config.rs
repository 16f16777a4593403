//! The ConfigMaps that administrators set defaults and features with, by Knative's names and keys.
//!
//! A ConfigMap that is not there means the built-in values. One that cannot be read is an error of
//! the installation: it is refused when it is written ([`check`]), and where it came in another
//! way, objects whose defaults depend on it are refused rather than given other ones.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::duck::{ChannelTemplateSpec, DeliverySpec, KReference};
use crate::resource::{AdmissionContext, FieldError};

/// The namespace of the ConfigMaps.
pub(crate) const NAMESPACE: &str = "knative-eventing";
const BROKER_DEFAULTS: (&str, &str) = ("config-br-defaults", "default-br-config");
const CHANNEL_DEFAULTS: (&str, &str) = ("default-ch-webhook", "default-ch-config");
const FEATURES: &str = "config-features";
/// The feature that lets Triggers and Subscriptions refer to other namespaces.
pub(crate) const CROSS_NAMESPACE: &str = "cross-namespace-event-links";

/// Defaults of Brokers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BrokerDefaults {
    cluster_default: Option<BrokerDefault>,
    namespace_defaults: BTreeMap<String, BrokerDefault>,
}

/// Defaults of Brokers in the cluster or in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BrokerDefault {
    broker_class: String,
    api_version: String,
    kind: String,
    name: String,
    namespace: Option<String>,
    delivery: Option<DeliverySpec>,
    broker_classes: BTreeMap<String, BrokerConfig>,
    disallow_different_namespace_config: bool,
}

/// What a Broker of some class gets.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BrokerConfig {
    api_version: String,
    kind: String,
    name: String,
    namespace: Option<String>,
    /// The delivery options.
    pub(crate) delivery: Option<DeliverySpec>,
}

impl BrokerConfig {
    /// Delivery options without an object that configures the Broker.
    pub(crate) fn of_delivery(delivery: DeliverySpec) -> Self {
        Self {
            delivery: Some(delivery),
            ..Self::default()
        }
    }

    /// The object that configures the Broker, where one is named.
    pub(crate) fn reference(&self) -> Option<KReference> {
        let reference = KReference {
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            api_version: self.api_version.clone(),
            ..KReference::default()
        };
        (reference != KReference::default()).then_some(reference)
    }
}

impl BrokerDefault {
    fn config(&self) -> Option<BrokerConfig> {
        let config = BrokerConfig {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            delivery: self.delivery.clone(),
        };
        (config != BrokerConfig::default()).then_some(config)
    }

    fn of_class(&self, class: &str) -> Option<BrokerConfig> {
        if self.broker_class == class {
            return self.config();
        }
        self.broker_classes.get(class).cloned()
    }
}

impl BrokerDefaults {
    /// The class of Brokers that name none.
    pub(crate) fn class(&self, namespace: &str) -> Option<&str> {
        [
            self.namespace_defaults.get(namespace),
            self.cluster_default.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(|default| default.broker_class.as_str())
        .find(|class| !class.is_empty())
    }

    /// What a Broker of this class gets: what the namespace says of the class, else what the
    /// cluster says of the class, else the namespace's default, else the cluster's.
    pub(crate) fn config(&self, namespace: &str, class: &str) -> Option<BrokerConfig> {
        let places = [
            self.namespace_defaults.get(namespace),
            self.cluster_default.as_ref(),
        ];
        let of_class = places
            .into_iter()
            .flatten()
            .find_map(|default| default.of_class(class));
        let general = || places.into_iter().flatten().find_map(BrokerDefault::config);
        of_class.or_else(general)
    }

    /// Whether Brokers of this namespace must keep their configuration in it.
    pub(crate) fn pins_config(&self, namespace: &str) -> bool {
        self.namespace_defaults
            .get(namespace)
            .or(self.cluster_default.as_ref())
            .is_some_and(|default| default.disallow_different_namespace_config)
    }
}

/// Defaults of Channels.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ChannelDefaults {
    cluster_default: Option<ChannelTemplateSpec>,
    namespace_defaults: BTreeMap<String, ChannelTemplateSpec>,
}

impl ChannelDefaults {
    /// The template of Channels that have none.
    pub(crate) fn template(&self, namespace: &str) -> Option<&ChannelTemplateSpec> {
        self.namespace_defaults
            .get(namespace)
            .or(self.cluster_default.as_ref())
    }
}

fn parse<T: DeserializeOwned>(
    data: &BTreeMap<String, String>,
    key: &str,
) -> Result<Option<T>, String> {
    match data.get(key).filter(|text| !text.trim().is_empty()) {
        None => Ok(None),
        Some(text) => serde_saphyr::from_str(text).map(Some).map_err(|error| {
            // The parser draws a picture over several lines; its first says what is wrong.
            let text = error.to_string();
            let first = text.lines().next().unwrap_or("not YAML");
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }),
    }
}

fn load<T: DeserializeOwned>(
    context: &dyn AdmissionContext,
    (name, key): (&str, &str),
) -> Result<Option<T>, FieldError> {
    let Some(data) = context.config_map(NAMESPACE, name) else {
        return Ok(None);
    };
    parse(&data, key).map_err(|error| FieldError {
        field: String::new(),
        message: format!(
            "the defaults in ConfigMap {NAMESPACE}/{name}, key {key}, cannot be read ({error}): \
             an administrator must correct them"
        ),
        reason: "FieldValueInvalid",
    })
}

/// The defaults of Brokers, where they are set.
pub(crate) fn broker_defaults(
    context: &dyn AdmissionContext,
) -> Result<Option<BrokerDefaults>, FieldError> {
    load(context, BROKER_DEFAULTS)
}

/// The defaults of Channels, where they are set.
pub(crate) fn channel_defaults(
    context: &dyn AdmissionContext,
) -> Result<Option<ChannelDefaults>, FieldError> {
    load(context, CHANNEL_DEFAULTS)
}

/// Whether a feature is turned on in `config-features`.
pub(crate) fn feature(context: &dyn AdmissionContext, name: &str) -> bool {
    context
        .config_map(NAMESPACE, FEATURES)
        .and_then(|data| {
            data.get(name)
                .map(|value| value.eq_ignore_ascii_case("enabled"))
        })
        .unwrap_or(false)
}

/// What is wrong with a ConfigMap of defaults, as the key and the fault.
pub(crate) fn check(
    namespace: &str,
    name: &str,
    data: &BTreeMap<String, String>,
) -> Option<(&'static str, String)> {
    if namespace != NAMESPACE {
        return None;
    }
    let (key, error) = match name {
        _ if name == BROKER_DEFAULTS.0 => (
            BROKER_DEFAULTS.1,
            parse::<BrokerDefaults>(data, BROKER_DEFAULTS.1).err(),
        ),
        _ if name == CHANNEL_DEFAULTS.0 => (
            CHANNEL_DEFAULTS.1,
            parse::<ChannelDefaults>(data, CHANNEL_DEFAULTS.1).err(),
        ),
        _ => return None,
    };
    error.map(|error| (key, error))
}
