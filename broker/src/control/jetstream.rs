//! Which NATS servers keep events, and in what kind of stream.
//!
//! The servers stand where eventing-natss looks for them: in the ConfigMap `config-nats` of the
//! namespace `knative-eventing`, in the YAML under `eventing-nats`: `url`, `auth.credentialFile.secret`
//! (`name`, `key`), `auth.tls.secret.name` (`tls.crt` and `tls.key`), and `tls.caBundle` or
//! `tls.secret.name` (`ca.crt`). The Secrets are those of the same namespace, and are followed. A Broker that
//! is moved may name another ConfigMap. What a stream is made
//! like stands in the NatsJetStreamChannel, or in the annotation
//! `natsjetstream.eventing.knative.dev/config` of a Broker of the class `NatsJetStreamBroker`, as JSON with
//! the fields that a NatsJetStreamChannel has in `spec.stream.config`, under `stream`.
//!
//! Some fields would break a law of the log, or mean nothing here ([`without_effect`]). A Broker's
//! annotation that has one, or one that is not known, is refused by its name; a channel, which may have
//! been written for others, says which have no effect.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heddle_crds::eventing::Broker;
use heddle_crds::kube::queue::Key;
use heddle_crds::messaging::NatsJetStreamChannelSpec;
use heddle_crds::messaging::nats_jet_stream_channel::{StreamConfig, StreamSource, duration};
use heddle_crds::world::World;
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::Value;

use crate::log::jetstream::{Access, Discard, Identity, Source, Storage, Template};

/// The class of these Brokers.
pub const CLASS: &str = "NatsJetStreamBroker";
/// The annotation that says what a Broker's stream is made like.
pub const CONFIG: &str = "natsjetstream.eventing.knative.dev/config";

const NAMESPACE: &str = "knative-eventing";
const CONFIG_MAP: &str = "config-nats";
/// The ConfigMap that says where NATS is, unless another one is named.
const STANDARD_MAP: (&str, &str) = (NAMESPACE, CONFIG_MAP);
const KEY: &str = "eventing-nats";

/// Where a log is kept, and in what kind of stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How the servers are reached.
    pub access: Access,
    /// What the stream is made like.
    pub template: Template,
}

#[derive(Deserialize)]
struct Connection {
    url: Option<String>,
    auth: Option<Auth>,
    tls: Option<Roots>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    credential_file: Option<Reference>,
    tls: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    secret: Option<SecretKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Roots {
    ca_bundle: Option<String>,
    secret: Option<SecretKey>,
}

#[derive(Deserialize)]
struct SecretKey {
    name: String,
    key: Option<String>,
}

impl SecretKey {
    /// The text under a key of the Secret; or what is missing, for people.
    fn text(
        &self,
        world: &World,
        (namespace, map): (&str, &str),
        key: &str,
    ) -> Result<String, String> {
        let place = format!("Secret {namespace}/{}", self.name);
        let secret = world.secrets.get(namespace, &self.name);
        let secret = secret.ok_or_else(|| {
            format!("{place} does not exist; {KEY} in ConfigMap {namespace}/{map} names it")
        })?;
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        let data = data.ok_or_else(|| format!("{place} has no key {key}"))?;
        String::from_utf8(data.0.clone()).map_err(|_| format!("key {key} of {place} is no text"))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    stream: Value,
}

/// Where a Broker's events are kept, on the servers that `named` says (the namespace and the name of a
/// ConfigMap) or else on the usual ones; or what is wrong with its configuration, for people.
pub(super) fn place(
    world: &World,
    broker: &Broker,
    named: Option<(&str, &str)>,
) -> Result<Place, String> {
    Ok(Place {
        access: access(world, named.unwrap_or(STANDARD_MAP))?,
        template: of_broker(broker)?,
    })
}

/// Where the events of a NatsJetStreamChannel are kept; or what is wrong with it, for people.
pub(super) fn keeping(world: &World, spec: &NatsJetStreamChannelSpec) -> Result<Place, String> {
    let mut template = template(&spec.stream_config())?;
    let name = spec
        .stream
        .as_ref()
        .and_then(|stream| stream.override_name.clone());
    template.name = name.filter(|name| !name.is_empty());
    Ok(Place {
        access: access(world, STANDARD_MAP)?,
        template,
    })
}

/// Whether what the usual ConfigMap says may change with the object `key`.
pub(super) fn depends_on(key: &Key) -> bool {
    key.namespace == NAMESPACE
        && (key.kind == "Secret" || (key.kind == "ConfigMap" && key.name == CONFIG_MAP))
}

fn access(world: &World, map: (&str, &str)) -> Result<Access, String> {
    let place = format!("ConfigMap {}/{}", map.0, map.1);
    let example = "eventing-nats: \"url: nats://nats.example.com:4222\"";
    let data = world
        .config_map(map.0, map.1)
        .ok_or_else(|| format!("{place} does not exist; it says where NATS is, like {example}"))?;
    let text = data
        .get(KEY)
        .ok_or_else(|| format!("{place} has no key {KEY}; expected {example}"))?;
    let connection: Connection = serde_saphyr::from_str(text)
        .map_err(|error| format!("{KEY} in {place} cannot be read: {error}"))?;
    let servers = connection
        .url
        .filter(|url| !url.trim().is_empty())
        .ok_or_else(|| format!("{KEY} in {place} has no url; expected {example}"))?;
    let auth = connection.auth.as_ref();
    let credentials = auth.and_then(|auth| auth.credential_file.as_ref()?.secret.as_ref());
    let identity = auth.and_then(|auth| auth.tls.as_ref()?.secret.as_ref());
    Ok(Access {
        servers: servers.split_whitespace().collect(),
        credentials: credentials
            .map(|secret| secret.text(world, map, secret.key.as_deref().unwrap_or("nats.creds")))
            .transpose()?,
        identity: identity
            .map(|secret| {
                Ok::<_, String>(Identity {
                    certificates: secret.text(world, map, "tls.crt")?,
                    key: secret.text(world, map, "tls.key")?,
                })
            })
            .transpose()?,
        roots: roots(world, map, connection.tls.as_ref(), identity)?,
    })
}

/// The authorities that are named; or those that came with our own certificate.
fn roots(
    world: &World,
    map: (&str, &str),
    named: Option<&Roots>,
    identity: Option<&SecretKey>,
) -> Result<Option<String>, String> {
    let bundle = named.and_then(|roots| roots.ca_bundle.as_deref());
    if let Some(bundle) = bundle.filter(|bundle| !bundle.is_empty()) {
        let wrong = || format!("tls.caBundle of {KEY} is not a certificate in PEM in base64");
        let packed: String = bundle.split_whitespace().collect();
        let decoded = STANDARD.decode(packed).map_err(|_| wrong())?;
        return String::from_utf8(decoded).map(Some).map_err(|_| wrong());
    }
    if let Some(secret) = named.and_then(|roots| roots.secret.as_ref()) {
        return secret.text(world, map, "ca.crt").map(Some);
    }
    Ok(identity.and_then(|secret| secret.text(world, map, "ca.crt").ok()))
}

fn of_broker(broker: &Broker) -> Result<Template, String> {
    let Some(text) = broker.annotations().get(CONFIG) else {
        return Ok(Template::default());
    };
    let wrong = |what: String| format!("annotation {CONFIG}: {what}");
    let read = |error: serde_json::Error| wrong(error.to_string());
    let Config { stream: given } = serde_json::from_str(text).map_err(read)?;
    if given.is_null() {
        return Ok(Template::default());
    }
    let config: StreamConfig = serde_json::from_value(given.clone()).map_err(read)?;
    let known = serde_json::to_value(&config).map_err(read)?;
    let mut fields = given.as_object().into_iter().flat_map(|given| given.keys());
    if let Some(field) = fields.find(|field| known.get(field).is_none()) {
        return Err(wrong(format!("stream.{field} is not known")));
    }
    if let Some(field) = without_effect(&config).into_iter().next() {
        return Err(wrong(format!("{field} cannot be had here")));
    }
    template(&config).map_err(wrong)
}

/// The fields that have no effect, each with the reason.
pub(super) fn without_effect(config: &StreamConfig) -> Vec<String> {
    let mut without = Vec::new();
    if let Some(retention @ ("Interest" | "Work")) = config.retention.as_deref() {
        without.push(format!(
            "stream.config.retention {retention} (events stay until log.heddle.dev/retention-* lets them go)"
        ));
    }
    if config.no_ack == Some(true) {
        let why = "stream.config.noAck (every event is acknowledged before its producer is)";
        without.push(why.to_owned());
    }
    without
}

/// What a stream is made like. Zeros and empty texts are what Go clients write for fields that nobody
/// set.
fn template(config: &StreamConfig) -> Result<Template, String> {
    let standard = Template::default();
    if config.mirror.is_some() {
        return Err("stream.config.mirror: a stream that is a copy takes no events".to_owned());
    }
    Ok(Template {
        name: None,
        storage: match config.storage.as_deref() {
            None | Some("" | "File") => Storage::File,
            Some("Memory") => Storage::Memory,
            Some(other) => {
                return Err(format!(
                    "stream.storage is {other:?}; expected File or Memory"
                ));
            }
        },
        discard: match config.discard.as_deref() {
            None | Some("" | "Old") => Discard::Old,
            Some("New") => Discard::New,
            Some(other) => return Err(format!("stream.discard is {other:?}; expected Old or New")),
        },
        replicas: match config.replicas.unwrap_or_default() {
            0 => standard.replicas,
            replicas @ 1..=5 => usize::try_from(replicas).unwrap_or(standard.replicas),
            other => return Err(format!("stream.replicas is {other}; expected 1 to 5")),
        },
        duplicate_window: span(config.duplicate_window.as_deref(), "stream.duplicateWindow")?
            .unwrap_or(standard.duplicate_window),
        max_bytes: config.max_bytes.and_then(positive),
        max_messages: config.max_msgs.and_then(positive),
        max_message_bytes: config.max_msg_size.map(i64::from).and_then(positive),
        max_consumers: config.max_consumers.filter(|most| *most > 0),
        max_age: span(config.max_age.as_deref(), "stream.maxAge")?.filter(|age| !age.is_zero()),
        additional_subjects: config.additional_subjects.clone(),
        cluster: (config.placement.as_ref()).and_then(|placement| placement.cluster.clone()),
        tags: (config.placement.as_ref()).map_or_else(Vec::new, |placement| placement.tags.clone()),
        sources: config
            .sources
            .iter()
            .map(source)
            .collect::<Result<_, _>>()?,
    })
}

fn positive(most: i64) -> Option<u64> {
    u64::try_from(most).ok().filter(|most| *most > 0)
}

fn source(source: &StreamSource) -> Result<Source, String> {
    let stream = source.name.clone().unwrap_or_default();
    let time = source.opt_start_time.as_deref().map(str::parse).transpose();
    Ok(Source {
        from_time: time.map_err(|_| format!("source {stream}: optStartTime is no time"))?,
        from_sequence: source.opt_start_seq.filter(|sequence| *sequence > 0),
        subject: source
            .filter_subject
            .clone()
            .filter(|subject| !subject.is_empty()),
        stream,
    })
}

fn span(text: Option<&str>, field: &str) -> Result<Option<Duration>, String> {
    let read = |text: &str| duration(text).map_err(|what| format!("{field} is {text:?}; {what}"));
    text.map(read).transpose()
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
            of_broker(&broker(text)).unwrap(),
            Template {
                storage: Storage::Memory,
                replicas: 3,
                duplicate_window: Duration::from_secs(300),
                max_bytes: Some(1000),
                max_age: Some(Duration::from_secs(3600)),
                ..Template::default()
            }
        );
        assert_eq!(of_broker(&broker("{}")).unwrap(), Template::default());
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        for (config, named) in [
            (r#"{"stream": {"noAck": true}}"#, "noAck"),
            (r#"{"stream": {"retention": "Interest"}}"#, "retention"),
            (r#"{"stream": {"storage": "Tape"}}"#, "Tape"),
            (r#"{"stream": {"replicas": 9}}"#, "replicas"),
            (r#"{"stream": {"mirror": {"name": "s"}}}"#, "mirror"),
            (r#"{"stream": {"colour": "red"}}"#, "colour"),
            (r#"{"stream": {"maxAge": "soon"}}"#, "maxAge"),
            (r#"{"stream": {"maxAge": "-1s"}}"#, "negative"),
            ("no json", CONFIG),
        ] {
            let error = of_broker(&broker(config)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn servers_that_are_not_named_are_asked_for() {
        let error = access(&World::default(), STANDARD_MAP).unwrap_err();
        assert!(error.contains("knative-eventing/config-nats"), "{error}");
    }
}
