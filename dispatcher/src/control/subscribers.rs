//! The Subscriptions of a channel -> its `spec.subscribers`, and a consumer of its log for each.
//!
//! The list is made anew from all Subscriptions each time, so that nothing is lost when two change
//! at once. Only the controller writes it: an entry that no Subscription asks for goes.

use heddle_broker::control::backing;
use heddle_broker::filter::Filter;
use heddle_crds::duck::{SubscriberSpec, SubscriberStatus};
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::messaging::{Backing, Subscription};
use heddle_crds::world::{Resolved, World};
use kube::ResourceExt;
use serde_json::json;

use super::subscription::{Destinations, channel_of, consumer, destinations, entry};
use super::{Facts, LogRef, Runs, Step, Wanted, WantedReply, delivery, unwritten};
use crate::config::Target;

pub(super) fn plan(world: &World, facts: &Facts, key: &Key) -> Vec<Step> {
    let Some(channel) = world.backing(key.kind, &key.namespace, &key.name) else {
        return Vec::new();
    };
    if channel.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let source = backing::store(world, &channel).ok().map(|store| LogRef {
        store,
        name: backing::log_of(&channel),
    });
    let mut steps = Vec::new();
    let mut entries: Vec<SubscriberSpec> = Vec::new();
    let mut statuses: Vec<SubscriberStatus> = Vec::new();
    for subscription in world.subscriptions.iter() {
        let mine = channel_of(world, subscription)
            .is_some_and(|of| of.metadata.uid == channel.metadata.uid);
        if !mine || subscription.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let found = destinations(world, facts, subscription);
        let to = found.clone().unwrap_or_default();
        entries.push(entry(subscription, &to));
        let open = source
            .as_ref()
            .filter(|source| facts.logs.contains(&source.name));
        if let Some(source) = open {
            let ready = found.is_ok();
            let wanted = wanted(&channel, subscription, &to, ready, source.clone(), facts);
            statuses.push(status(facts, subscription, &wanted));
            steps.push(Step::Consume(Box::new(wanted)));
        }
    }
    entries.sort_by(|a, b| a.uid.cmp(&b.uid));
    statuses.sort_by(|a, b| a.uid.cmp(&b.uid));
    if channel.subscribers != entries {
        let patch = json!({ "subscribers": entries });
        steps.push(Step::Write(Write::Spec(
            key.clone(),
            channel.metadata.resource_version.clone(),
            patch,
        )));
    }
    let current = channel.status.map(|status| &status.subscribers);
    if current.map_or(!statuses.is_empty(), |current| *current != statuses) {
        let patch = json!({ "subscribers": statuses });
        steps.push(Step::Write(Write::Status(
            key.clone(),
            channel.metadata.resource_version.clone(),
            patch,
        )));
    }
    steps
}

fn wanted(
    channel: &Backing<'_>,
    subscription: &Subscription,
    to: &Destinations,
    ready: bool,
    source: LogRef,
    facts: &Facts,
) -> Wanted {
    let mut annotations = channel.defaults.clone();
    annotations.extend(subscription.annotations().clone());
    let annotations = &annotations;
    let protocol = delivery::protocol(annotations);
    let target = |to: &Option<Resolved>| -> Option<Target> {
        to.as_ref()
            .and_then(|to| delivery::target(to, protocol, &facts.handlers).ok())
    };
    // A Subscription without a subscriber passes events on to its reply.
    let (subscriber, reply) = match &to.subscriber {
        Some(_) => (target(&to.subscriber), target(&to.reply)),
        None => (target(&to.reply), None),
    };
    let namespace = subscription.namespace().unwrap_or_default();
    Wanted {
        id: consumer(&namespace, &subscription.name_any()),
        uid: subscription.uid().unwrap_or_default().into(),
        source,
        filter: Filter::All,
        subscriber: subscriber.filter(|_| ready),
        reply: reply.map(WantedReply::Target),
        dead_letter: target(&to.dead_letter),
        policy: delivery::policy(subscription.spec.delivery.as_ref().or(channel.delivery)),
        order: delivery::order(annotations),
        max_in_flight: delivery::max_in_flight(annotations),
        start: delivery::start(annotations),
        keep_position: None,
    }
}

fn status(facts: &Facts, subscription: &Subscription, wanted: &Wanted) -> SubscriberStatus {
    let runs = facts.runs(&wanted.id, true);
    let (ready, message) = match (&wanted.subscriber, runs) {
        (None, _) => (
            "False",
            Some("The Subscription's destinations are not resolved.".to_owned()),
        ),
        (Some(_), Runs::NotYet) => ("Unknown", Some("The subscriber is being added.".to_owned())),
        (Some(_), Runs::Unwritten(reason)) => ("False", Some(unwritten(reason))),
        (Some(_), Runs::Yes) => ("True", None),
    };
    SubscriberStatus {
        uid: subscription.uid().unwrap_or_default(),
        observed_generation: subscription.metadata.generation,
        ready: ready.to_owned(),
        message,
        auth: None,
    }
}
