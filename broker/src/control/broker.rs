//! Broker -> a log, an address, conditions.
//!
//! The class `MTChannelBasedBroker` (Knative's default) and `Heddle` keep events in the segment log.
//! A ConfigMap in `spec.config` whose channel template names InMemoryChannel chooses memory, as it
//! does in Knative. Brokers of other classes belong to other controllers and are left alone.

use heddle_crds::annotations::{self, BROKER_CLASS, RetentionPolicy};
use heddle_crds::conditions::ConditionManager;
use heddle_crds::eventing::broker as types;
use heddle_crds::eventing::{Broker, BrokerStatus};
use heddle_crds::kube::queue::Key;
use heddle_crds::world::World;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Deserialize;

use super::moving::Logs;
use super::report;
use super::{Facts, Place, Step, StoreKind, log_name, status_write};
use crate::directory::EntryKind;
use crate::log::{LogStats, Retention};

/// The classes that are ours.
pub const CLASSES: &[&str] = &[
    "MTChannelBasedBroker",
    "Heddle",
    #[cfg(feature = "jetstream")]
    super::jetstream::CLASS,
    #[cfg(feature = "kafka")]
    super::kafka::CLASS,
];

fn has_class(broker: &Broker, class: &str) -> bool {
    broker.annotations().get(BROKER_CLASS).map(String::as_str) == Some(class)
}

/// Whether Kafka keeps the Broker's events, and its conditions are of that class.
#[must_use]
pub fn is_on_kafka(broker: &Broker) -> bool {
    CLASSES.contains(&KAFKA_CLASS) && has_class(broker, KAFKA_CLASS)
}

const KAFKA_CLASS: &str = "Kafka";

/// Whether the Broker is ours to look after.
#[must_use]
pub fn is_ours(broker: &Broker) -> bool {
    broker
        .annotations()
        .get(BROKER_CLASS)
        .is_none_or(|class| CLASSES.contains(&class.as_str()))
}

/// The name of the Broker's log.
#[must_use]
pub fn log_of(broker: &Broker) -> String {
    let (namespace, name) = (broker.namespace().unwrap_or_default(), broker.name_any());
    log_name(
        "broker",
        &namespace,
        &name,
        &broker.uid().unwrap_or_default(),
    )
}

pub(super) fn plan(world: &World, facts: &Facts, key: &Key, now: Timestamp) -> Vec<Step> {
    let place = Place::new(EntryKind::Broker, "broker", key);
    let Some(broker) = world.brokers.get(&key.namespace, &key.name) else {
        return place.remove(true);
    };
    if broker.metadata.deletion_timestamp.is_some() || !is_ours(broker) {
        return vec![place.withdraw()];
    }
    let logs = Logs::of(world, broker);
    let mut steps = match &logs {
        Ok(logs) => keep(&place, logs, facts, broker),
        Err(_) => vec![place.withdraw()],
    };
    let status = status(world, facts, broker, logs.as_ref(), now);
    let metadata = &broker.metadata;
    let write = status_write(key, metadata, broker.status.as_ref(), &status, &[]);
    steps.extend(write.map(Step::Write));
    steps
}

/// Keeps events in these logs and no others, and takes them as soon as it was tried to open the last.
fn keep(place: &Place<'_>, logs: &Logs, facts: &Facts, broker: &Broker) -> Vec<Step> {
    let retention = retention(broker.annotations());
    let mut steps = vec![Step::RemoveLogs {
        prefix: place.logs.clone(),
        keep: logs.all().map(|placed| placed.log.clone()).collect(),
    }];
    steps.extend(logs.all().map(|placed| Step::OpenLog {
        store: placed.store.clone(),
        name: placed.log.clone(),
        retention,
    }));
    let last = logs.last();
    if last.is_some_and(|last| facts.logs.contains_key(&last.log)) {
        steps.push(place.step(&log_of(broker), logs.served()));
    }
    steps.push(logs.close(facts));
    steps
}

/// How long the log keeps events, by annotations.
#[must_use]
pub fn retention(annotations: &annotations::Annotations) -> Retention {
    let standard = Retention::default();
    let limits = (
        annotations::retention_bytes(annotations).ok().flatten(),
        annotations::retention_age(annotations).ok().flatten(),
    );
    let policy = annotations::retention_policy(annotations)
        .ok()
        .flatten()
        .unwrap_or_default();
    Retention {
        max_bytes: limits.0.or(standard.max_bytes),
        max_age: limits.1.or(standard.max_age),
        protect: policy == RetentionPolicy::Protect,
    }
}

#[derive(Deserialize)]
struct Template {
    kind: String,
    #[cfg(feature = "jetstream")]
    #[serde(default)]
    spec: serde_json::Value,
}

/// Which store keeps the Broker's events; or what is wrong with its configuration, for people.
pub fn store(world: &World, broker: &Broker) -> Result<StoreKind, String> {
    #[cfg(feature = "jetstream")]
    if has_class(broker, super::jetstream::CLASS) {
        let place = super::jetstream::place(world, broker, None)?;
        return Ok(StoreKind::JetStream(place.into()));
    }
    #[cfg(feature = "kafka")]
    if is_on_kafka(broker) {
        let place = super::kafka::place(world, broker, None)?;
        return Ok(StoreKind::Kafka(place.into()));
    }
    let Some(config) = &broker.spec.config else {
        return Ok(StoreKind::Segment);
    };
    let own = broker.namespace().unwrap_or_default();
    let namespace = config
        .namespace
        .as_deref()
        .filter(|ns| !ns.is_empty())
        .unwrap_or(&own);
    if config.kind != "ConfigMap" {
        return Err(format!(
            "spec.config refers to a {}; a ConfigMap was expected",
            config.kind
        ));
    }
    let data = world
        .config_map(namespace, &config.name)
        .ok_or_else(|| format!("ConfigMap {namespace}/{} does not exist", config.name))?;
    let text = data.get("channel-template-spec").ok_or_else(|| {
        format!(
            "ConfigMap {namespace}/{} has no key channel-template-spec",
            config.name
        )
    })?;
    let template: Template = serde_saphyr::from_str(text)
        .map_err(|error| format!("channel-template-spec is not a channel template: {error}"))?;
    match template.kind.as_str() {
        "InMemoryChannel" => Ok(StoreKind::Memory),
        #[cfg(feature = "jetstream")]
        "NatsJetStreamChannel" => {
            let spec = Some(template.spec).filter(|spec| !spec.is_null());
            let spec = spec.map(serde_json::from_value).transpose();
            let spec = spec.map_err(|error| format!("spec of channel-template-spec: {error}"))?;
            let place = super::jetstream::keeping(world, &spec.unwrap_or_default())?;
            Ok(StoreKind::JetStream(place.into()))
        }
        kind => Err(format!(
            "channel template kind {kind} is not supported; use {}, or leave spec.config out for the durable log",
            super::backing::kinds().join(" or ")
        )),
    }
}

fn status(
    world: &World,
    facts: &Facts,
    broker: &Broker,
    logs: Result<&Logs, &String>,
    now: Timestamp,
) -> BrokerStatus {
    let refused = logs.err().map(String::as_str);
    let last = logs.ok().and_then(Logs::last);
    let mut status = broker.status.clone().unwrap_or_default();
    status.observed_generation = broker.metadata.generation;
    let namespace = broker.namespace().unwrap_or_default();
    let fact = last.and_then(|last| facts.logs.get(&last.log));
    let mut conditions = std::mem::take(&mut status.conditions);
    let set = if is_on_kafka(broker) {
        types::KAFKA_CONDITIONS
    } else {
        types::CONDITIONS
    };
    let mut manage = set.manage(&mut conditions, now);
    manage.initialize();
    if is_on_kafka(broker) {
        mark_kafka(&mut manage, refused, fact);
    } else {
        mark_log(&mut manage, refused, fact);
        manage.mark_true(types::INGRESS_READY);
        manage.mark_true(types::FILTER_READY);
    }
    if let Some(last) = last {
        mark_durability(&mut manage, &last.store);
        report::mark_store(&mut manage, facts.troubles.get(&last.log));
    }
    if let Ok(logs) = logs {
        logs.report(facts, &mut status.annotations, &mut manage);
    }
    report::mark_policies(&mut manage, types::EVENT_POLICIES_READY);
    status.address = None;
    if refused.is_none() && matches!(fact, Some(Ok(_))) {
        manage.mark_true(types::ADDRESSABLE);
        let url = format!("{}/{namespace}/{}", facts.ingress_url, broker.name_any());
        status.address = Some(report::address(url));
    } else {
        let cause = match fact {
            Some(Err(reason)) => Some(reason.as_str()),
            Some(Ok(_)) | None => refused,
        };
        let cause = cause.unwrap_or("The broker has no log yet.");
        manage.mark_false(types::ADDRESSABLE, "NotServed", cause);
    }
    status.addresses = status.address.iter().cloned().collect();
    let sink = broker
        .spec
        .delivery
        .as_ref()
        .and_then(|d| d.dead_letter_sink.as_ref());
    let found = sink.map(|sink| world.resolve(sink, &namespace));
    status.delivery =
        report::dead_letter_sink(&mut manage, types::DEAD_LETTER_SINK_RESOLVED, found);
    status.conditions = conditions;
    status
}

/// What Brokers of the class `Kafka` say in the place of [`mark_log`].
fn mark_kafka(
    manage: &mut ConditionManager<'_>,
    refused: Option<&str>,
    fact: Option<&Result<LogStats, String>>,
) {
    report::mark_kafka(
        manage,
        refused,
        fact.map(|fact| match fact {
            Ok(_) => Ok(()),
            Err(reason) => Err(reason.as_str()),
        }),
    );
    if let (None, Some(Ok(stats))) = (refused, fact) {
        mark_retention(manage, stats);
    }
}

fn mark_log(
    manage: &mut ConditionManager<'_>,
    refused: Option<&str>,
    fact: Option<&Result<LogStats, String>>,
) {
    let condition = types::TRIGGER_CHANNEL_READY;
    match (refused, fact) {
        (Some(reason), _) => manage.mark_false(condition, "ChannelTemplateFailed", reason),
        (None, Some(Err(reason))) => manage.mark_false(condition, "LogFailed", reason),
        (None, None) => {
            manage.mark_unknown(condition, "LogOpening", "The log is being opened.");
        }
        (None, Some(Ok(stats))) => {
            manage.mark_true(condition);
            mark_retention(manage, stats);
        }
    }
}

/// The condition that says whether what keeps the log promises less than people may think.
/// Informational.
pub const LOG_DURABILITY: &str = "LogDurability";

pub(super) fn mark_durability(manage: &mut ConditionManager<'_>, store: &StoreKind) {
    if matches!(store, StoreKind::Segment | StoreKind::Memory) {
        // One that was moved here has the condition of where it was before.
        manage.clear(LOG_DURABILITY);
        return;
    }
    let doubts = match store {
        #[cfg(feature = "jetstream")]
        StoreKind::JetStream(place) => {
            crate::log::jetstream::JetStreamStore::doubts(&place.template)
        }
        #[cfg(feature = "kafka")]
        StoreKind::Kafka(place) => place.template.doubts(),
        StoreKind::Segment | StoreKind::Memory => None,
    };
    match doubts {
        Some((reason, doubt)) => manage.mark_false(LOG_DURABILITY, reason, doubt),
        None => manage.mark_true(LOG_DURABILITY),
    }
}

/// The condition that says whether retention is in the way of delivery. Informational.
pub const LOG_RETENTION: &str = "LogRetention";

fn mark_retention(manage: &mut ConditionManager<'_>, stats: &LogStats) {
    if stats.expired_unread > 0 {
        manage.mark_false(
            LOG_RETENTION,
            "UndeliveredEventsExpired",
            "Retention removed events that a Trigger had not delivered, as log.heddle.dev/retention-policy allows.",
        );
    } else if stats.held_bytes > 0 {
        manage.mark_true_with_reason(
            LOG_RETENTION,
            "HeldForDelivery",
            "The log is past its retention, but a Trigger still has to deliver what it holds.",
        );
    } else {
        manage.mark_true(LOG_RETENTION);
    }
}
