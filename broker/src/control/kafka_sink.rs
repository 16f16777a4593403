//! KafkaSink -> a topic that is written to, an address, conditions.
//!
//! A sink is a log that nobody reads here: the topic belongs to those who read it in Kafka. Its records are
//! those of the binding alone, in the mode that the sink names. Where `numPartitions` and
//! `replicationFactor` are given, a topic that is not there is made; whether it was is written into
//! `status.annotations`, under the key that Knative has for it, so that such a topic and no other is
//! deleted with the sink. The finalizer that Knative has for it keeps the sink until that is done, also by a
//! later process: it is there before a topic is made.

use heddle_crds::eventing::broker as types;
use heddle_crds::eventing::kafka_sink::{CONDITIONS, EXTERNAL, FINALIZER, OWNED, TOPIC_OWNER};
use heddle_crds::eventing::{KafkaSink, KafkaSinkStatus};
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::world::World;
use jiff::Timestamp;
use kube::ResourceExt;

use super::{Facts, Place, Step, StoreKind, log_name, report, status_write};
use crate::directory::EntryKind;
use crate::log::Retention;

/// What the names of the logs of sinks begin with, up to the first slash.
pub(super) const LOG_KIND: &str = "kafkasink";

/// The name of the sink's log.
#[must_use]
pub fn log_of(sink: &KafkaSink) -> String {
    let (namespace, name) = (sink.namespace().unwrap_or_default(), sink.name_any());
    let uid = sink.uid().unwrap_or_default();
    log_name(LOG_KIND, &namespace, &name, &uid)
}

/// The sinks that have to be looked at again when the object `key` has changed.
pub(super) fn dependents(world: &World, key: &Key) -> Vec<Key> {
    if key.kind != "Secret" {
        return Vec::new();
    }
    let sinks = world.kafka_sinks.within(&key.namespace);
    let named = sinks.filter(|sink| sink.secret() == Some(&key.name));
    named.map(|sink| Key::of("KafkaSink", &**sink)).collect()
}

pub(super) fn plan(world: &World, facts: &Facts, key: &Key, now: Timestamp) -> Vec<Step> {
    let place = Place::new(EntryKind::KafkaSink, LOG_KIND, key);
    let Some(sink) = world.kafka_sinks.get(&key.namespace, &key.name) else {
        return place.remove(true);
    };
    if sink.metadata.deletion_timestamp.is_some() {
        return end(world, facts, sink, &place, now);
    }
    if sink.makes().is_some() && !sink.is_held() {
        return vec![finalizers(sink, key, true)];
    }
    let log = log_of(sink);
    let store = store(world, sink);
    let mut steps = match &store {
        Ok(store) => place.serve(facts, store.clone(), &log, Retention::default()),
        Err(_) => vec![place.withdraw()],
    };
    let refused = store.err();
    let status = status(facts, sink, &log, refused.as_deref(), now);
    let write = status_write(key, &sink.metadata, sink.status.as_ref(), &status, &[]);
    steps.extend(write.map(Step::Write));
    steps
}

/// Takes no events any more, and lets the sink go when its topic is gone.
fn end(
    world: &World,
    facts: &Facts,
    sink: &KafkaSink,
    place: &Place<'_>,
    now: Timestamp,
) -> Vec<Step> {
    let mut steps = vec![place.withdraw()];
    if !sink.is_held() {
        return steps;
    }
    let name = log_of(sink);
    match store(world, sink) {
        Ok(store) if !facts.removed.contains(&name) => {
            steps.push(Step::RemoveWhole {
                store,
                name: name.clone(),
            });
            let status = ending(facts, sink, &name, now);
            let metadata = &sink.metadata;
            let write = status_write(place.key, metadata, sink.status.as_ref(), &status, &[]);
            steps.extend(write.map(Step::Write));
        }
        // Without a way in, as where the Secret is deleted with the namespace, the topic stays, and the
        // sink is not to be in the namespace's way.
        Ok(_) | Err(_) => steps.push(finalizers(sink, place.key, false)),
    }
    steps
}

/// Says what a sink that is to go waits for.
fn ending(facts: &Facts, sink: &KafkaSink, log: &str, now: Timestamp) -> KafkaSinkStatus {
    let mut status = sink.status.clone().unwrap_or_default();
    let mut manage = CONDITIONS.manage(&mut status.conditions, now);
    let trouble = facts.troubles.get(log).map(String::as_str);
    let cause = trouble.unwrap_or("The topic is being deleted.");
    manage.mark_false(types::TOPIC_READY, "TopicBeingDeleted", cause);
    status
}

/// Adds or removes the finalizer, and leaves those of others.
fn finalizers(sink: &KafkaSink, key: &Key, held: bool) -> Step {
    let others = sink.metadata.finalizers.iter().flatten();
    let others = others.filter(|name| *name != FINALIZER).cloned();
    let all = others.chain(held.then(|| FINALIZER.to_owned()));
    let version = sink.metadata.resource_version.clone();
    Step::Write(Write::Finalizers(key.clone(), version, all.collect()))
}

/// Where the sink's records go; or what is wrong with what it says, for people.
#[cfg(feature = "kafka")]
fn store(world: &World, sink: &KafkaSink) -> Result<StoreKind, String> {
    use heddle_crds::eventing::kafka_sink::STRUCTURED;

    use super::kafka::{self, Place};
    use crate::log::kafka::{Access, Form, Owner, Template};

    let spec = &sink.spec;
    let namespace = sink.namespace().unwrap_or_default();
    let mut access = Access::plain(&spec.bootstrap_servers.join(","));
    if let Some(secret) = sink.secret() {
        let named = "spec.auth.secret.ref.name";
        access = kafka::guarded(world, access, (&namespace, secret), named)?;
    }
    let mut template = Template::new(&spec.topic);
    template.form = match spec.content_mode.as_deref() {
        Some(STRUCTURED) => Form::Structured,
        _ => Form::Binary,
    };
    template.owner = match sink.makes() {
        Some((partitions, replication)) => {
            template.partitions = partitions.unsigned_abs();
            template.replication = u16::try_from(replication).unwrap_or(u16::MAX);
            Owner::Readers {
                made: topic_owner(sink) == Some(OWNED),
            }
        }
        None => Owner::Others,
    };
    Ok(StoreKind::Kafka(Place { access, template }.into()))
}

#[cfg(not(feature = "kafka"))]
fn store(_: &World, _: &KafkaSink) -> Result<StoreKind, String> {
    Err("This build of Heddle has no Kafka: build it with the feature `kafka`.".to_owned())
}

/// Whose the topic was found to be.
#[cfg(feature = "kafka")]
fn topic_owner(sink: &KafkaSink) -> Option<&str> {
    let annotations = &sink.status.as_ref()?.annotations;
    annotations.get(TOPIC_OWNER).map(String::as_str)
}

fn status(
    facts: &Facts,
    sink: &KafkaSink,
    log: &str,
    refused: Option<&str>,
    now: Timestamp,
) -> KafkaSinkStatus {
    let mut status = sink.status.clone().unwrap_or_default();
    status.observed_generation = sink.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = CONDITIONS.manage(&mut conditions, now);
    manage.initialize();
    let fact = facts.logs.get(log);
    let opened = fact.map(|fact| match fact {
        Ok(_) => Ok(()),
        Err(reason) => Err(reason.as_str()),
    });
    report::mark_kafka(&mut manage, refused, opened);
    report::mark_policies(&mut manage, types::EVENT_POLICIES_READY);
    status.address = None;
    match (refused, opened) {
        (None, Some(Ok(()))) => {
            report::mark_store(&mut manage, facts.troubles.get(log));
            manage.mark_true(types::ADDRESSABLE);
            let namespace = sink.namespace().unwrap_or_default();
            let (base, name) = (&facts.ingress_url, sink.name_any());
            let url = format!("{base}/kafkasinks/{namespace}/{name}");
            status.address = Some(report::address(url));
            let owned = facts.owned.contains(log);
            let owner = if owned { OWNED } else { EXTERNAL };
            let annotations = &mut status.annotations;
            annotations.insert(TOPIC_OWNER.to_owned(), owner.to_owned());
        }
        (refused, opened) => {
            let cause = refused.or_else(|| opened?.err());
            let cause = cause.unwrap_or("The topic is being opened.");
            manage.mark_false(types::ADDRESSABLE, "NotServed", cause);
        }
    }
    status.addresses = status.address.iter().cloned().collect();
    status.conditions = conditions;
    status
}

#[cfg(all(test, feature = "kafka"))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
