//! Brokers of the class `NatsJetStreamBroker`: which servers keep their events, and in what kind of
//! stream.
//!
//! The servers stand where eventing-natss looks for them: in the ConfigMap `config-nats` of the
//! namespace `knative-eventing`, as the key `url` of the YAML under `eventing-nats`. What a Broker's
//! stream is made like stands in the Broker's annotation
//! `natsjetstream.eventing.knative.dev/config`, as JSON with the fields that a NatsJetStreamChannel has
//! in `spec.stream.config`, under `stream`. Those that would break a law of the log (`retention`,
//! `noAck`, ...) and those that are not known are refused by name rather than ignored.

use std::time::Duration;

use heddle_crds::eventing::Broker;
use heddle_crds::world::World;
use kube::ResourceExt;
use serde::Deserialize;

use crate::log::jetstream::{Storage, Template};

/// The class of these Brokers.
pub const CLASS: &str = "NatsJetStreamBroker";
/// The annotation that says what a Broker's stream is made like.
pub const CONFIG: &str = "natsjetstream.eventing.knative.dev/config";

const NAMESPACE: &str = "knative-eventing";
const CONFIG_MAP: &str = "config-nats";
const KEY: &str = "eventing-nats";

/// Where a log is kept, and in what kind of stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// URLs of servers, separated by commas.
    pub servers: String,
    /// What the stream is made like.
    pub template: Template,
}

#[derive(Deserialize)]
struct Connection {
    url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    stream: Stream,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Stream {
    storage: Option<String>,
    replicas: Option<usize>,
    duplicate_window: Option<String>,
    max_bytes: Option<u64>,
    max_age: Option<String>,
}

/// Where the Broker's events are kept; or what is wrong with its configuration, for people.
pub fn place(world: &World, broker: &Broker) -> Result<Place, String> {
    Ok(Place {
        servers: servers(world)?,
        template: template(broker)?,
    })
}

fn servers(world: &World) -> Result<String, String> {
    let place = format!("ConfigMap {NAMESPACE}/{CONFIG_MAP}");
    let example = "eventing-nats: \"url: nats://nats.example.com:4222\"";
    let data = world
        .config_map(NAMESPACE, CONFIG_MAP)
        .ok_or_else(|| format!("{place} does not exist; it says where NATS is, like {example}"))?;
    let text = data
        .get(KEY)
        .ok_or_else(|| format!("{place} has no key {KEY}; expected {example}"))?;
    let connection: Connection = serde_saphyr::from_str(text)
        .map_err(|error| format!("{KEY} in {place} cannot be read: {error}"))?;
    connection
        .url
        .filter(|url| !url.trim().is_empty())
        .ok_or_else(|| format!("{KEY} in {place} has no url; expected {example}"))
}

fn template(broker: &Broker) -> Result<Template, String> {
    let Some(text) = broker.annotations().get(CONFIG) else {
        return Ok(Template::default());
    };
    let wrong = |what: String| format!("annotation {CONFIG}: {what}");
    let config: Config = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let stream = config.stream;
    let standard = Template::default();
    Ok(Template {
        storage: match stream.storage.as_deref() {
            None | Some("File") => Storage::File,
            Some("Memory") => Storage::Memory,
            Some(other) => {
                return Err(wrong(format!(
                    "stream.storage is {other:?}; expected File or Memory"
                )));
            }
        },
        replicas: match stream.replicas.unwrap_or(standard.replicas) {
            replicas @ 1..=5 => replicas,
            other => {
                return Err(wrong(format!(
                    "stream.replicas is {other}; expected 1 to 5"
                )));
            }
        },
        duplicate_window: duration(stream.duplicate_window, "stream.duplicateWindow")
            .map_err(&wrong)?
            .unwrap_or(standard.duplicate_window),
        max_bytes: stream.max_bytes,
        max_age: duration(stream.max_age, "stream.maxAge").map_err(&wrong)?,
    })
}

/// A duration as Go writes it, like `2m30s`, or as ISO 8601 does.
fn duration(text: Option<String>, field: &str) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{field} is {text:?}; expected a duration like 2m30s or PT2M30S"))?;
    Duration::try_from(span)
        .map(Some)
        .map_err(|_| format!("{field} is {text:?}; a duration must not be negative"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn broker(config: &str) -> Broker {
        let mut broker = Broker::new("b", heddle_crds::eventing::BrokerSpec::default());
        broker
            .annotations_mut()
            .insert(CONFIG.to_owned(), config.to_owned());
        broker
    }

    #[test]
    fn streams_are_made_as_the_annotation_says() {
        let text = r#"{"stream": {"storage": "Memory", "replicas": 3, "duplicateWindow": "5m",
            "maxBytes": 1000, "maxAge": "PT1H"}}"#;
        assert_eq!(
            template(&broker(text)).unwrap(),
            Template {
                storage: Storage::Memory,
                replicas: 3,
                duplicate_window: Duration::from_secs(300),
                max_bytes: Some(1000),
                max_age: Some(Duration::from_secs(3600)),
            }
        );
        assert_eq!(template(&broker("{}")).unwrap(), Template::default());
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        for (config, named) in [
            (r#"{"stream": {"noAck": true}}"#, "noAck"),
            (r#"{"stream": {"retention": "Interest"}}"#, "retention"),
            (r#"{"stream": {"storage": "Tape"}}"#, "Tape"),
            (r#"{"stream": {"replicas": 0}}"#, "replicas"),
            (r#"{"stream": {"maxAge": "soon"}}"#, "maxAge"),
            (r#"{"stream": {"maxAge": "-1s"}}"#, "negative"),
            ("no json", CONFIG),
        ] {
            let error = template(&broker(config)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn servers_that_are_not_named_are_asked_for() {
        let error = servers(&World::default()).unwrap_err();
        assert!(error.contains("knative-eventing/config-nats"), "{error}");
    }
}
