//! Trigger -> a consumer of its Broker's log.
//!
//! A Trigger that cannot deliver yet (its subscriber has no address, its filter cannot be built)
//! gets a consumer all the same, without a subscriber: from its first moment on, events wait for it.

use heddle_broker::control::{StoreKind, admission, broker as brokers, report, status_write};
use heddle_broker::filter::Filter;
use heddle_broker::filter::index::Pruning;
use heddle_crds::annotations::{BROKER_CLASS, DEPENDENCY, INJECTION};
use heddle_crds::conditions::{self, ConditionManager, ConditionStatus};
use heddle_crds::duck::DeliverySpec;
use heddle_crds::eventing::trigger as types;
use heddle_crds::eventing::{Broker, Trigger, TriggerStatus};
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::{Write, resource_of};
use heddle_crds::world::{Resolved, World};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Facts, LogRef, Runs, Step, Wanted, WantedReply, delivery, unwritten};
use crate::config::{ConsumerId, Start, Target};

pub(super) fn plan(world: &World, facts: &Facts, key: &Key, now: Timestamp) -> Vec<Step> {
    let id = ConsumerId {
        kind: "trigger",
        namespace: key.namespace.as_str().into(),
        name: key.name.as_str().into(),
    };
    let Some(trigger) = world.triggers.get(&key.namespace, &key.name) else {
        return vec![Step::Stop(id)];
    };
    if trigger.metadata.deletion_timestamp.is_some() {
        return vec![Step::Stop(id)];
    }
    let mut steps = Vec::new();
    let (broker_namespace, broker_name) = trigger.broker();
    let broker = world
        .brokers
        .get(broker_namespace, broker_name)
        .filter(|broker| brokers::is_ours(broker));
    if broker.is_none() && wants_injection(trigger) {
        let object = Box::new(injected(&key.namespace));
        steps.push(Step::Write(Write::Create("Broker", object)));
    }
    let found = look(world, facts, trigger, broker.map(AsRef::as_ref));
    let log = broker.and_then(|broker| log_of(world, facts, broker));
    let runs = facts.runs(&id, log.is_some());
    if let Some(source) = log {
        let mut wanted = wanted(trigger, &id, source, &found);
        if wanted.start == Start::Latest && is_older(trigger, broker.map(AsRef::as_ref)) {
            // It was there before the first event of this log, so that none may pass it by.
            wanted.start = Start::Earliest;
        }
        steps.push(Step::Consume(Box::new(wanted)));
    }
    let status = status(trigger, broker.map(AsRef::as_ref), &id, &found, runs, now);
    let write = status_write(
        key,
        &trigger.metadata,
        trigger.status.as_ref(),
        &status,
        &[],
    );
    steps.extend(write.map(Step::Write));
    steps
}

/// Whether the Trigger was there before its Broker, as when the Broker was made anew.
fn is_older(trigger: &Trigger, broker: Option<&Broker>) -> bool {
    let born = |metadata: &ObjectMeta| metadata.creation_timestamp.as_ref().map(|time| time.0);
    match (
        born(&trigger.metadata),
        broker.and_then(|broker| born(&broker.metadata)),
    ) {
        (Some(trigger), Some(broker)) => trigger < broker,
        _ => false,
    }
}

/// What was found out about the destinations and the filter.
struct Found {
    subscriber: Result<(Target, Resolved), String>,
    dead_letter: Option<Result<(Target, Resolved), String>>,
    filter: Result<Filter, String>,
    dependency: Result<(), (ConditionStatus, &'static str, String)>,
    delivery: Option<DeliverySpec>,
}

fn look(world: &World, facts: &Facts, trigger: &Trigger, broker: Option<&Broker>) -> Found {
    let namespace = trigger.namespace().unwrap_or_default();
    let protocol = delivery::protocol(trigger.annotations());
    let resolve = |to: &heddle_crds::duck::Destination, namespace: &str| {
        let resolved = world
            .resolve(to, namespace)
            .map_err(|error| error.to_string())?;
        let target = delivery::target(&resolved, protocol, &facts.handlers)?;
        Ok((target, resolved))
    };
    let of_broker = broker.and_then(|broker| broker.spec.delivery.clone());
    // A Trigger's own specification replaces the Broker's as a whole, except the dead letter sink.
    let own = trigger.spec.delivery.as_deref().cloned();
    let sink = own
        .as_ref()
        .and_then(|delivery| delivery.dead_letter_sink.clone())
        .or_else(|| {
            of_broker
                .as_ref()
                .and_then(|delivery| delivery.dead_letter_sink.clone())
        });
    Found {
        subscriber: resolve(&trigger.spec.subscriber, &namespace),
        dead_letter: sink.map(|sink| resolve(&sink, &namespace)),
        filter: filter(trigger),
        dependency: dependency(world, trigger),
        delivery: own.or(of_broker),
    }
}

fn wanted(trigger: &Trigger, id: &ConsumerId, source: LogRef, found: &Found) -> Wanted {
    let annotations = trigger.annotations();
    let ready = found.filter.is_ok() && found.dependency.is_ok();
    // A configured dead letter sink without an address holds deliveries back: without it, an
    // event that fails would end up elsewhere than the user said.
    let sink_missing = matches!(found.dead_letter, Some(Err(_)));
    let subscriber = match &found.subscriber {
        Ok((target, _)) if ready && !sink_missing => Some(target.clone()),
        _ => None,
    };
    Wanted {
        id: id.clone(),
        uid: trigger.uid().unwrap_or_default().into(),
        reply: Some(WantedReply::Log(source.clone())),
        source,
        filter: found.filter.clone().unwrap_or_default(),
        subscriber,
        dead_letter: found
            .dead_letter
            .clone()
            .and_then(Result::ok)
            .map(|(target, _)| target),
        policy: delivery::policy(found.delivery.as_ref()),
        order: delivery::order(annotations),
        max_in_flight: delivery::max_in_flight(annotations),
        start: delivery::start(annotations),
        keep_position: heddle_crds::annotations::keep_position(annotations)
            .ok()
            .flatten(),
    }
}

fn log_of(world: &World, facts: &Facts, broker: &Broker) -> Option<LogRef> {
    let name = brokers::log_of(broker);
    let store = brokers::store(world, broker).unwrap_or(StoreKind::Segment);
    facts.logs.contains(&name).then_some(LogRef { store, name })
}

/// The most characters of a condition's message about a filter.
const MAX_MESSAGE: usize = 1024;

/// The compiled filter; or why it cannot be built, for people. Such a filter matches nothing: it
/// must never match more than was asked for.
fn filter(trigger: &Trigger) -> Result<Filter, String> {
    admission::filter(trigger).map_err(|errors| {
        let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
        all.join("; ").chars().take(MAX_MESSAGE).collect()
    })
}

/// What there is to say about a filter that works: a reason and a message for the condition, which
/// stays true. Both are empty where there is nothing.
fn advice(filter: &Filter) -> (&'static str, &'static str) {
    if *filter == Filter::All {
        return ("", "");
    }
    match filter.pruning() {
        Pruning::By(_) => ("", ""),
        Pruning::Never => (
            "FilterNotIndexed",
            "The filter is evaluated for every event of the Broker, because nothing in it rules \
             events out by an attribute alone. It works; with many such Triggers matching slows \
             down. To change that, add an element that every wanted event passes: exact, prefix or \
             suffix of an attribute such as type, or in CESQL a comparison with =, IN, LIKE 'text%' \
             or EXISTS, joined with AND.",
        ),
        Pruning::Always => (
            "FilterPassesNothing",
            "No event can pass the filter, so that nothing will be delivered. Its conditions \
             contradict each other.",
        ),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    kind: String,
    name: String,
    #[serde(default)]
    api_version: String,
}

fn dependency(
    world: &World,
    trigger: &Trigger,
) -> Result<(), (ConditionStatus, &'static str, String)> {
    let Some(text) = trigger.annotations().get(DEPENDENCY) else {
        return Ok(());
    };
    let namespace = trigger.namespace().unwrap_or_default();
    let on: Dependency = serde_json::from_str(text).map_err(|error| {
        (
            ConditionStatus::False,
            "ReferenceError",
            format!("{DEPENDENCY} is not a reference: {error}"),
        )
    })?;
    let found = match on.kind.as_str() {
        "Broker" => world.brokers.get(&namespace, &on.name).map(|object| {
            object
                .status
                .as_ref()
                .map(|status| status.conditions.clone())
        }),
        "Trigger" => world.triggers.get(&namespace, &on.name).map(|object| {
            object
                .status
                .as_ref()
                .map(|status| status.conditions.clone())
        }),
        "Channel" => world.channels.get(&namespace, &on.name).map(|object| {
            object
                .status
                .as_ref()
                .map(|status| status.conditions.clone())
        }),
        kind => world
            .backing(kind, &namespace, &on.name)
            .map(|channel| channel.status.map(|status| status.conditions.clone())),
    };
    let what = format!("{} ({}) {namespace}/{}", on.kind, on.api_version, on.name);
    match found {
        None => Err((
            ConditionStatus::False,
            "DependencyDoesNotExist",
            format!("Dependency does not exist: {what}"),
        )),
        Some(Some(found)) if conditions::is_true(&found, "Ready") => Ok(()),
        Some(_) => Err((
            ConditionStatus::Unknown,
            "DependencyNotReady",
            format!("Dependency is not ready: {what}"),
        )),
    }
}

fn status(
    trigger: &Trigger,
    broker: Option<&Broker>,
    id: &ConsumerId,
    found: &Found,
    runs: Runs<'_>,
    now: Timestamp,
) -> TriggerStatus {
    let mut status = trigger.status.clone().unwrap_or_default();
    status.observed_generation = trigger.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = types::CONDITIONS.manage(&mut conditions, now);
    manage.initialize();
    mark_broker(&mut manage, trigger, broker);
    match &found.subscriber {
        Ok((_, resolved)) => {
            manage.mark_true(types::SUBSCRIBER_RESOLVED);
            status.subscriber_uri = Some(resolved.uri.clone());
            status.subscriber_ca_certs.clone_from(&resolved.ca_certs);
            status.subscriber_audience.clone_from(&resolved.audience);
        }
        Err(error) => {
            manage.mark_false(
                types::SUBSCRIBER_RESOLVED,
                "Unable to get the Subscriber's URI",
                error,
            );
            status.subscriber_uri = None;
            status.subscriber_ca_certs = None;
            status.subscriber_audience = None;
        }
    }
    status.delivery = report::dead_letter_sink(
        &mut manage,
        types::DEAD_LETTER_SINK_RESOLVED,
        found
            .dead_letter
            .clone()
            .map(|found| found.map(|(_, resolved)| resolved)),
    );
    match &found.dependency {
        Ok(()) => manage.mark_true(types::DEPENDENCY_READY),
        Err((ConditionStatus::Unknown, reason, message)) => {
            manage.mark_unknown(types::DEPENDENCY_READY, reason, message);
        }
        Err((_, reason, message)) => manage.mark_false(types::DEPENDENCY_READY, reason, message),
    }
    mark_subscription(&mut manage, &found.filter, runs);
    manage.mark_true_with_reason(
        types::OIDC_IDENTITY_CREATED,
        "authentication-oidc feature disabled",
        "",
    );
    status.conditions = conditions;
    mark_group(&mut status, id, broker.is_some_and(brokers::is_on_kafka));
    status
}

/// Says whether the Trigger's consumer runs.
fn mark_subscription(
    manage: &mut ConditionManager<'_>,
    filter: &Result<Filter, String>,
    runs: Runs<'_>,
) {
    let ready = types::SUBSCRIPTION_READY;
    match (filter, runs) {
        (Err(error), _) => manage.mark_false(ready, "FilterInvalid", error),
        (Ok(filter), Runs::Yes) => {
            let (reason, message) = advice(filter);
            manage.mark_true_with_reason(ready, reason, message);
        }
        (Ok(_), Runs::NotYet) => manage.mark_unknown(
            ready,
            "NotConsuming",
            "The Trigger does not read its Broker's log yet.",
        ),
        (Ok(_), Runs::Unwritten(reason)) => {
            manage.mark_false(ready, "PositionNotWritten", &unwritten(reason));
        }
    }
}

/// Names the group under which Kafka shows the positions of a Trigger that has some there.
fn mark_group(status: &mut TriggerStatus, id: &ConsumerId, on_kafka: bool) {
    if on_kafka {
        let group = format!("knative-trigger-{}-{}", id.namespace, id.name);
        status.annotations.insert(GROUP_ID.to_owned(), group);
    } else {
        status.annotations.remove(GROUP_ID);
    }
}

/// The fact of a Trigger on Kafka that names the group under which its positions are shown there.
const GROUP_ID: &str = "group.id";

fn mark_broker(manage: &mut ConditionManager<'_>, trigger: &Trigger, broker: Option<&Broker>) {
    let Some(broker) = broker else {
        let (_, name) = trigger.broker();
        let message = format!(
            "Broker {name:?} does not exist or there is no matching BrokerClass ({})",
            brokers::CLASSES.join(", ")
        );
        return manage.mark_false(types::BROKER_READY, "BrokerDoesNotExist", &message);
    };
    debug_assert!(
        broker
            .annotations()
            .get(BROKER_CLASS)
            .is_none_or(|class| { brokers::CLASSES.contains(&class.as_str()) }),
        "only our Brokers get here"
    );
    let ready = broker
        .status
        .as_ref()
        .and_then(|status| conditions::find(&status.conditions, "Ready").cloned());
    match ready {
        Some(ready) if ready.status == ConditionStatus::True => {
            manage.mark_true(types::BROKER_READY);
        }
        Some(ready) if ready.status == ConditionStatus::False => {
            manage.mark_false(types::BROKER_READY, &ready.reason, &ready.message);
        }
        _ => manage.mark_unknown(
            types::BROKER_READY,
            "BrokerNotConfigured",
            "Broker has not yet been reconciled.",
        ),
    }
}

fn wants_injection(trigger: &Trigger) -> bool {
    trigger.spec.broker == "default"
        && trigger
            .annotations()
            .get(INJECTION)
            .is_some_and(|value| value == "enabled")
}

/// The Broker that `eventing.knative.dev/injection: enabled` asks for.
fn injected(namespace: &str) -> DynamicObject {
    let mut object = DynamicObject::new("default", &resource_of("Broker")).within(namespace);
    object.metadata.labels = Some(
        [(
            "eventing.knative.dev/injected".to_owned(),
            "true".to_owned(),
        )]
        .into(),
    );
    object.data = json!({ "spec": Value::Object(serde_json::Map::new()) });
    object
}

#[cfg(test)]
mod tests;
