//! Brokers of the class `Kafka`: which cluster keeps their events, and in what kind of topic.
//!
//! All of it stands where Knative's Kafka Broker looks for it: in the ConfigMap that `spec.config` names, or
//! `kafka-broker-config` in the namespace `knative-eventing`, and in the Secret that the ConfigMap names,
//! which lies in the same namespace. The annotation `kafka.eventing.knative.dev/external.topic` names a
//! topic that is there already; it is neither made nor deleted.

use std::collections::BTreeMap;

use heddle_crds::eventing::Broker;
use heddle_crds::world::World;
use kube::ResourceExt;

use crate::log::kafka::{Access, Mechanism, Owner, Sasl, Template, Tls};

/// The class of these Brokers.
pub const CLASS: &str = "Kafka";
/// The annotation that names a topic which is there already.
pub const EXTERNAL_TOPIC: &str = "kafka.eventing.knative.dev/external.topic";

const NAMESPACE: &str = "knative-eventing";
const CONFIG_MAP: &str = "kafka-broker-config";
const SERVERS: &str = "bootstrap.servers";
const SECRET: &str = "auth.secret.ref.name";
const PARTITIONS: &str = "default.topic.partitions";
const REPLICATION: &str = "default.topic.replication.factor";
/// What names of more settings of a topic begin with.
const SETTING: &str = "default.topic.config.";
/// What Knative's own ConfigMap says.
const STANDARD: (u16, u16) = (10, 3);
/// The most partitions of one Broker: each is a reader and a position for each Trigger.
const MAX_PARTITIONS: u16 = 1_000;
/// The most servers that a partition can be kept on.
const MAX_REPLICATION: u16 = 1_000;

/// Where a log is kept, and in what kind of topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How to reach the cluster.
    pub access: Access,
    /// What the topic is made like.
    pub template: Template,
}

/// Where the Broker's events are kept, which `named` says (the namespace and the name of a ConfigMap), or
/// else the configuration of a Broker of this class; or what is wrong with that, for people.
///
/// # Errors
///
/// What is missing or cannot be read, and where it is looked for.
pub fn place(world: &World, broker: &Broker, named: Option<(&str, &str)>) -> Result<Place, String> {
    let own = broker.namespace().unwrap_or_default();
    let own_config = (broker.spec.config.as_ref()).filter(|_| super::broker::is_on_kafka(broker));
    let (namespace, name) = match own_config {
        _ if named.is_some() => named.unwrap_or_default(),
        None => (NAMESPACE, CONFIG_MAP),
        Some(config) if config.kind == "ConfigMap" => {
            let namespace = config
                .namespace
                .as_deref()
                .filter(|named| !named.is_empty());
            (namespace.unwrap_or(&own), config.name.as_str())
        }
        Some(config) => {
            return Err(format!(
                "spec.config refers to a {}; a ConfigMap was expected",
                config.kind
            ));
        }
    };
    let config = config(world, namespace, name)?;
    Ok(Place {
        access: access(world, namespace, &config)?,
        template: template(&config, broker)?,
    })
}

/// How to reach the cluster of a ConfigMap in Knative's own namespace.
pub(super) fn named(world: &World, name: &str) -> Result<Access, String> {
    access(world, NAMESPACE, &config(world, NAMESPACE, name)?)
}

fn config<'a>(world: &'a World, namespace: &str, name: &str) -> Result<Config<'a>, String> {
    let data = world.config_map(namespace, name).ok_or_else(|| {
        format!("ConfigMap {namespace}/{name} does not exist; it says where Kafka is, like {SERVERS}: kafka:9092")
    })?;
    Ok(Config {
        place: format!("ConfigMap {namespace}/{name}"),
        data,
    })
}

/// A ConfigMap that is being read.
struct Config<'a> {
    place: String,
    data: &'a BTreeMap<String, String>,
}

impl Config<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.data.get(key).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }

    fn number(&self, key: &str, standard: u16, most: u16) -> Result<u16, String> {
        let Some(text) = self.get(key) else {
            return Ok(standard);
        };
        let number = text.parse().ok();
        number
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| format!("{key} in {} is {text:?}; expected 1 to {most}", self.place))
    }
}

fn template(config: &Config<'_>, broker: &Broker) -> Result<Template, String> {
    let external = broker.annotations().get(EXTERNAL_TOPIC);
    let own = || {
        let namespace = broker.namespace().unwrap_or_default();
        format!("knative-broker-{namespace}-{}", broker.name_any())
    };
    let settings = config.data.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(SETTING)?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    let topic = external.cloned().unwrap_or_else(own);
    let owner = match external {
        Some(_) => Owner::Others,
        None => Owner::Log,
    };
    Ok(Template {
        owner,
        partitions: config
            .number(PARTITIONS, STANDARD.0, MAX_PARTITIONS)?
            .into(),
        replication: config.number(REPLICATION, STANDARD.1, MAX_REPLICATION)?,
        settings: settings.collect(),
        ..Template::new(&topic)
    })
}

fn access(world: &World, namespace: &str, config: &Config<'_>) -> Result<Access, String> {
    let servers = config.get(SERVERS).ok_or_else(|| {
        format!(
            "{} has no {SERVERS}; expected some, like kafka:9092",
            config.place
        )
    })?;
    let access = Access::plain(servers);
    let Some(name) = config.get(SECRET) else {
        return Ok(access);
    };
    let named = format!("{SECRET} in {}", config.place);
    guarded(world, access, (namespace, name), &named)
}

/// The same servers, entered with what a Secret says. `named` is what names the Secret.
pub(super) fn guarded(
    world: &World,
    access: Access,
    (namespace, name): (&str, &str),
    named: &str,
) -> Result<Access, String> {
    let place = format!("Secret {namespace}/{name}");
    let secret = world.secrets.get(namespace, name);
    let secret = secret.ok_or_else(|| format!("{place} does not exist; {named} names it"))?;
    let get = |key: &str| {
        let value = secret.data.as_ref()?.get(key)?;
        String::from_utf8(value.0.clone())
            .ok()
            .filter(|text| !text.is_empty())
    };
    secured(access, &place, get)
}

/// What the keys of a Secret say, as Knative's Kafka Broker has them.
fn secured(
    access: Access,
    place: &str,
    get: impl Fn(&str) -> Option<String>,
) -> Result<Access, String> {
    let need = |key: &str| get(key).ok_or_else(|| format!("{place} has no {key}"));
    let protocol = get("protocol").unwrap_or_else(|| "PLAINTEXT".to_owned());
    let (tls, sasl) = match protocol.as_str() {
        "PLAINTEXT" => (false, false),
        "SSL" => (true, false),
        "SASL_PLAINTEXT" => (false, true),
        "SASL_SSL" => (true, true),
        other => {
            return Err(format!(
                "protocol in {place} is {other:?}; expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
            ));
        }
    };
    let tls = tls.then(|| -> Result<Tls, String> {
        // A client without a certificate says so by user.skip, or by having none.
        let skip = get("user.skip").is_some_and(|skip| skip == "true");
        let certificate = get("user.crt").filter(|_| !skip);
        let identity = match certificate {
            Some(certificate) => Some((certificate, need("user.key")?)),
            None => None,
        };
        Ok(Tls {
            ca: get("ca.crt"),
            identity,
        })
    });
    let sasl = sasl.then(|| -> Result<Sasl, String> {
        let name = need("sasl.mechanism")?;
        let mechanism = Mechanism::parse(&name).ok_or_else(|| {
            format!(
                "sasl.mechanism in {place} is {name:?}; expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
            )
        })?;
        Ok(Sasl {
            mechanism,
            user: need("user")?,
            password: need("password")?,
        })
    });
    Ok(Access {
        tls: tls.transpose()?,
        sasl: sasl.transpose()?,
        ..access
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use serde_json::{Value, json};

    use super::*;

    fn world(config: &Value, secret: &Value) -> World {
        let mut world = World::default();
        world.config_maps.put(
            serde_json::from_value::<ConfigMap>(json!({
                "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE}, "data": config,
            }))
            .unwrap()
            .into(),
        );
        world.secrets.put(
            serde_json::from_value::<Secret>(json!({
                "metadata": {"name": "s", "namespace": NAMESPACE}, "data": secret,
            }))
            .unwrap()
            .into(),
        );
        world
    }

    fn broker() -> Broker {
        let mut broker = Broker::new("b", heddle_crds::eventing::BrokerSpec::default());
        broker.metadata.namespace = Some("ns".to_owned());
        broker
    }

    /// "c2VjcmV0" and the rest are "secret" and so on in base64.
    #[test]
    fn clusters_and_topics_are_as_knatives_config_map_says() {
        let config = json!({
            "bootstrap.servers": "a:9092, b:9092", "default.topic.partitions": "4",
            "default.topic.replication.factor": "2", "auth.secret.ref.name": "s",
            "default.topic.config.retention.ms": "1000",
        });
        let secret = json!({
            "protocol": "U0FTTF9TU0w=", "sasl.mechanism": "UExBSU4=", "user": "bWU=",
            "password": "c2VjcmV0", "ca.crt": "Y2E=",
        });
        let place = place(&world(&config, &secret), &broker(), None).unwrap();
        assert_eq!(
            place.access,
            Access {
                servers: "a:9092, b:9092".to_owned(),
                tls: Some(Tls {
                    ca: Some("ca".to_owned()),
                    identity: None
                }),
                sasl: Some(Sasl {
                    mechanism: Mechanism::Plain,
                    user: "me".to_owned(),
                    password: "secret".to_owned()
                }),
            }
        );
        assert_eq!(
            place.template,
            Template {
                partitions: 4,
                replication: 2,
                settings: [("retention.ms".to_owned(), "1000".to_owned())].into(),
                ..Template::new("knative-broker-ns-b")
            }
        );
    }

    #[test]
    fn a_topic_of_others_is_named_by_an_annotation() {
        let mut broker = broker();
        let annotation = (EXTERNAL_TOPIC.to_owned(), "theirs".to_owned());
        broker.annotations_mut().extend([annotation]);
        let world = world(&json!({"bootstrap.servers": "a:1"}), &json!({}));
        let template = place(&world, &broker, None).unwrap().template;
        assert_eq!(
            (template.topic.as_str(), template.owner),
            ("theirs", Owner::Others)
        );
        assert_eq!((template.partitions, template.replication), (10, 3));
    }

    #[test]
    fn what_is_missing_is_named() {
        let servers = "bootstrap.servers";
        for (config, secret, named) in [
            (json!({}), json!({}), servers),
            (
                json!({servers: "a", "default.topic.partitions": "0"}),
                json!({}),
                "1 to 1000",
            ),
            (
                json!({servers: "a", "default.topic.replication.factor": "x"}),
                json!({}),
                "\"x\"",
            ),
            (
                json!({servers: "a", "auth.secret.ref.name": "t"}),
                json!({}),
                "knative-eventing/t does not exist",
            ),
            (
                json!({servers: "a", "auth.secret.ref.name": "s"}),
                json!({"protocol": "SFRUUA=="}),
                "\"HTTP\"",
            ),
            (
                json!({servers: "a", "auth.secret.ref.name": "s"}),
                json!({"protocol": "U0FTTF9TU0w="}),
                "no sasl.mechanism",
            ),
        ] {
            let error = place(&world(&config, &secret), &broker(), None).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        let error = place(&World::default(), &broker(), None).unwrap_err();
        assert!(
            error.contains("knative-eventing/kafka-broker-config"),
            "{error}"
        );
    }
}
