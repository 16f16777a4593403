//! KafkaSource -> members of a consumer group, and deliveries to its sink.
//!
//! A source whose sink has no address reads all the same: its events wait, so that the group has offsets
//! from its first moment on.

use std::collections::BTreeSet;

use heddle_broker::control::status_write;
use heddle_broker::log::kafka::Access;
use heddle_crds::annotations;
use heddle_crds::conditions::ConditionManager;
use heddle_crds::duck::Destination;
use heddle_crds::kube::queue::Key;
use heddle_crds::sources::kafka_source::{self as types, CloudEventAttributes, SecretValue};
use heddle_crds::sources::{KafkaSource, KafkaSourceStatus};
use heddle_crds::world::{Resolved, World};
use heddle_dispatcher::config::{Order, Target};
use heddle_dispatcher::control::delivery;
use jiff::Timestamp;
use kube::ResourceExt;

use super::Step;
use super::kafka_access::{AccessError, of_net};
use crate::kafka::record::TYPE;
use crate::kafka::{Initial, KeyType, MAX_CONSUMERS, Reader, Report, Sending, SourceConfig};

/// What was found out about what a source names.
struct Found {
    sink: Result<(Target, Resolved), String>,
    dead_letter: Option<Result<Target, String>>,
    access: Result<Access, AccessError>,
    reader: Reader,
}

/// What to do about a KafkaSource. `report` is what its members say, if it runs.
pub fn plan(
    world: &World,
    handlers: &BTreeSet<String>,
    report: Option<&Report>,
    key: &Key,
    now: Timestamp,
) -> Vec<Step> {
    let Some(source) = world.kafka_sources.get(&key.namespace, &key.name) else {
        return vec![Step::Stop];
    };
    if source.metadata.deletion_timestamp.is_some() {
        return vec![Step::Stop];
    }
    let found = look(world, handlers, source);
    let mut steps = Vec::new();
    match wanted(source, &found) {
        Some(config) => steps.push(Step::Run(Box::new(config))),
        // What runs goes on with what it was told: a Secret that is exchanged is missing for a moment.
        None if report.is_some() => {}
        None => steps.push(Step::Stop),
    }
    let status = status(source, &found, report, now);
    let write = status_write(key, &source.metadata, source.status.as_ref(), &status, &[]);
    steps.extend(write.map(Step::Write));
    steps
}

/// Whether a change of the object `key` may change what there is to do about a source.
#[must_use]
pub fn depends_on(source: &KafkaSource, key: &Key) -> bool {
    let named = |to: Option<&Destination>| {
        to.and_then(|to| to.reference.as_ref())
            .is_some_and(|to| to.kind == key.kind && to.name == key.name)
    };
    let spec = &source.spec;
    let letters = spec.delivery.as_ref();
    let letters = letters.and_then(|delivery| delivery.dead_letter_sink.as_ref());
    let (sasl, tls) = (&spec.net.sasl, &spec.net.tls);
    let secrets = [
        &sasl.user,
        &sasl.password,
        &sasl.mechanism,
        &tls.cert,
        &tls.key,
        &tls.ca_cert,
    ];
    let has = |value: &&SecretValue| {
        let place = value.secret_key_ref.as_ref();
        place.is_some_and(|place| place.name == key.name)
    };
    match key.kind {
        "Secret" => {
            source.namespace().as_deref() == Some(&key.namespace) && secrets.iter().any(has)
        }
        _ => named(spec.sink.as_ref()) || named(letters),
    }
}

fn look(world: &World, handlers: &BTreeSet<String>, source: &KafkaSource) -> Found {
    let namespace = source.namespace().unwrap_or_default();
    let protocol = delivery::protocol(source.annotations());
    let resolve = |to: &Destination| {
        let resolved = world.resolve(to, &namespace);
        let resolved = resolved.map_err(|error| error.to_string())?;
        let target = delivery::target(&resolved, protocol, handlers)?;
        Ok((target, resolved))
    };
    let spec = &source.spec;
    let letters = spec.delivery.as_ref();
    let letters = letters.and_then(|delivery| delivery.dead_letter_sink.as_ref());
    let key_type = source.labels().get(types::KEY_TYPE).map(String::as_str);
    let mut reader = Reader::new(&namespace, &source.name_any(), KeyType::named(key_type));
    if let Some(overrides) = &spec.ce_overrides {
        reader.overrides = overrides.extensions.clone().into_iter().collect();
    }
    let no_sink = || Err("the source names no sink".to_owned());
    Found {
        sink: spec.sink.as_ref().map_or_else(no_sink, resolve),
        dead_letter: letters.map(|to| resolve(to).map(|(target, _)| target)),
        access: of_net(world, &namespace, &spec.bootstrap_servers, &spec.net),
        reader,
    }
}

/// What runs; `None` where it is not known how to reach the servers.
fn wanted(source: &KafkaSource, found: &Found) -> Option<SourceConfig> {
    let spec = &source.spec;
    let annotations = source.annotations();
    let order = match annotations::order(annotations).ok().flatten() {
        Some(_) => delivery::order(annotations),
        None if spec.ordering.as_deref() == Some("unordered") => Order::Unordered,
        None => Order::Ordered,
    };
    // As for a Trigger: without the dead letter sink that was asked for, nothing is sent.
    let sink_missing = matches!(found.dead_letter, Some(Err(_)));
    let sink = found.sink.as_ref().ok().filter(|_| !sink_missing);
    let consumers = u32::try_from(spec.consumers.unwrap_or(1)).unwrap_or(0);
    Some(SourceConfig {
        uid: source.uid().unwrap_or_default().into(),
        access: found.access.clone().ok()?,
        topics: spec.topics.clone(),
        group: spec.consumer_group.clone()?,
        initial: match spec.initial_offset.as_deref() {
            Some("earliest") => Initial::Earliest,
            _ => Initial::Latest,
        },
        consumers: consumers.min(MAX_CONSUMERS),
        reader: found.reader.clone(),
        sending: Sending {
            sink: sink.map(|(target, _)| target.clone()),
            dead_letter: found.dead_letter.clone().and_then(Result::ok),
            policy: delivery::policy(spec.delivery.as_ref()),
            order,
            max_in_flight: delivery::max_in_flight(annotations),
        },
    })
}

fn status(
    source: &KafkaSource,
    found: &Found,
    report: Option<&Report>,
    now: Timestamp,
) -> KafkaSourceStatus {
    let mut status = source.status.clone().unwrap_or_default();
    status.observed_generation = source.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = types::CONDITIONS.manage(&mut conditions, now);
    manage.initialize();
    let sink = match (&found.sink, &found.dead_letter) {
        (Err(error), _) => Err(("NotFound", error)),
        (Ok(_), Some(Err(error))) => Err(("DeadLetterSinkNotFound", error)),
        (Ok((_, resolved)), _) => Ok(resolved),
    };
    match sink {
        Ok(_) => manage.mark_true(types::SINK_PROVIDED),
        Err((reason, error)) => manage.mark_false(types::SINK_PROVIDED, reason, error),
    }
    let resolved = found.sink.as_ref().ok().map(|(_, resolved)| resolved);
    status.sink_uri = resolved.map(|resolved| resolved.uri.clone());
    status.sink_ca_certs = resolved.and_then(|resolved| resolved.ca_certs.clone());
    status.sink_audience = resolved.and_then(|resolved| resolved.audience.clone());
    match &found.access {
        Ok(_) => manage.mark_true(types::DEPLOYED),
        Err(error) => manage.mark_false(types::DEPLOYED, error.reason(), &error.to_string()),
    }
    mark_group(&mut manage, source, report);
    manage.mark_true_with_reason(
        types::OIDC_IDENTITY_CREATED,
        "authentication-oidc feature disabled",
        "",
    );
    status.conditions = conditions;
    let topics = source.spec.topics.iter();
    status.ce_attributes = topics
        .map(|topic| CloudEventAttributes {
            ty: TYPE.to_owned(),
            source: found.reader.source(topic),
        })
        .collect();
    let members = report.map_or(0, |report| report.members);
    status.consumers = Some(i32::try_from(members).unwrap_or(i32::MAX));
    let claims = report.map(Report::claims_text);
    status.claims = claims.filter(|claims| !claims.is_empty());
    status
}

/// What the members say of the servers and of their partitions.
fn mark_group(manage: &mut ConditionManager<'_>, source: &KafkaSource, report: Option<&Report>) {
    let (connected, offsets) = (
        types::CONNECTION_ESTABLISHED,
        types::INITIAL_OFFSETS_COMMITTED,
    );
    if source.spec.consumers == Some(0) {
        for condition in [connected, offsets] {
            manage.mark_true_with_reason(condition, "Paused", "spec.consumers is 0.");
        }
        return;
    }
    let none = Report::default();
    let report = report.unwrap_or(&none);
    match (&report.problem, report.reached) {
        (_, true) => manage.mark_true(connected),
        (Some(problem), false) => manage.mark_false(connected, "ConnectionFailed", problem),
        (None, false) => {
            manage.mark_unknown(connected, "Connecting", "No server has answered yet.")
        }
    }
    match &report.problem {
        Some(problem) if report.claims.is_empty() => {
            manage.mark_false(offsets, "OffsetsNotCommitted", problem);
        }
        _ if report.claims.is_empty() => manage.mark_unknown(
            offsets,
            "NoPartitions",
            "The consumer group has given no partition to this source yet.",
        ),
        _ => manage.mark_true(offsets),
    }
}
