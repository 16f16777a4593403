//! Subscription -> whether its destinations are known and its channel delivers to them.
//!
//! What a Subscription wants of its channel is an entry in the `spec.subscribers` of the channel that
//! does the work; [`super::subscribers`] gathers the entries of all Subscriptions of a channel. This
//! plan reports.

use heddle_broker::control::status_write;
use heddle_crds::conditions::{self, ConditionManager};
use heddle_crds::duck::SubscriberSpec;
use heddle_crds::kube::queue::Key;
use heddle_crds::messaging::subscription as types;
use heddle_crds::messaging::{Backing, PhysicalSubscription, Subscription};
use heddle_crds::world::{Resolved, Unresolved, World};
use jiff::Timestamp;
use kube::ResourceExt;

use super::{Facts, Step, delivery};
use crate::config::ConsumerId;

/// Whose deliveries a Subscription's are.
pub(super) fn consumer(namespace: &str, name: &str) -> ConsumerId {
    ConsumerId {
        kind: "subscription",
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// The channel that does the work for the channel that a Subscription names.
pub(super) fn channel_of<'a>(world: &'a World, subscription: &Subscription) -> Option<Backing<'a>> {
    let own = subscription.namespace().unwrap_or_default();
    let to = &subscription.spec.channel;
    let namespace = to
        .namespace
        .as_deref()
        .filter(|ns| !ns.is_empty())
        .unwrap_or(&own);
    if to.kind != "Channel" {
        return world.backing(&to.kind, namespace, &to.name);
    }
    // The channel behind a Channel has its name.
    let template = world
        .channels
        .get(namespace, &to.name)?
        .spec
        .channel_template
        .clone();
    world.backing(&template?.kind, namespace, &to.name)
}

/// Where a Subscription's events, replies and dead letters go.
#[derive(Clone, Debug, Default)]
pub(super) struct Destinations {
    pub subscriber: Option<Resolved>,
    pub reply: Option<Resolved>,
    pub dead_letter: Option<Resolved>,
}

/// Finds out where everything goes; or what cannot be found, as (reason, message).
pub(super) fn destinations(
    world: &World,
    facts: &Facts,
    subscription: &Subscription,
) -> Result<Destinations, (&'static str, String)> {
    let namespace = subscription.namespace().unwrap_or_default();
    let spec = &subscription.spec;
    let find = |to: &heddle_crds::duck::Destination, reason| {
        let checked = |resolved: Resolved| {
            let protocol = delivery::protocol(subscription.annotations());
            delivery::target(&resolved, protocol, &facts.handlers).map(|_| resolved)
        };
        world
            .resolve(to, &namespace)
            .map_err(|error: Unresolved| error.to_string())
            .and_then(checked)
            .map_err(|message| (reason, message))
    };
    let present =
        |to: &Option<heddle_crds::duck::Destination>| to.clone().filter(|to| !to.is_empty());
    let sink = spec
        .delivery
        .as_ref()
        .and_then(|delivery| delivery.dead_letter_sink.clone());
    let of_channel = channel_of(world, subscription)
        .and_then(|channel| channel.status)
        .and_then(|status| {
            status
                .delivery
                .dead_letter_sink_uri
                .clone()
                .map(|uri| Resolved {
                    uri,
                    ca_certs: status.delivery.dead_letter_sink_ca_certs.clone(),
                    audience: status.delivery.dead_letter_sink_audience.clone(),
                })
        });
    Ok(Destinations {
        subscriber: present(&spec.subscriber)
            .map(|to| find(&to, "SubscriberResolveFailed"))
            .transpose()?,
        reply: present(&spec.reply)
            .map(|to| find(&to, "ReplyResolveFailed"))
            .transpose()?,
        dead_letter: sink
            .map(|to| find(&to, "DeadLetterSinkResolveFailed"))
            .transpose()?
            .or(of_channel),
    })
}

/// The entry that a Subscription wants in its channel.
pub(super) fn entry(subscription: &Subscription, to: &Destinations) -> SubscriberSpec {
    let spec = &subscription.spec;
    let mut delivery = spec.delivery.clone();
    if let (Some(delivery), Some(sink)) = (&mut delivery, &to.dead_letter) {
        delivery.dead_letter_sink = Some(heddle_crds::duck::Destination {
            uri: Some(sink.uri.clone()),
            ca_certs: sink.ca_certs.clone(),
            audience: sink.audience.clone(),
            reference: None,
        });
    }
    let part = |to: &Option<Resolved>| to.clone().unwrap_or_default();
    let uri = |to: &Option<Resolved>| to.as_ref().map(|to| to.uri.clone());
    SubscriberSpec {
        uid: subscription.uid().unwrap_or_default(),
        generation: subscription.metadata.generation,
        name: Some(subscription.name_any()),
        namespace: None,
        subscriber_uri: uri(&to.subscriber),
        subscriber_ca_certs: part(&to.subscriber).ca_certs,
        subscriber_audience: part(&to.subscriber).audience,
        reply_uri: uri(&to.reply),
        reply_ca_certs: part(&to.reply).ca_certs,
        reply_audience: part(&to.reply).audience,
        delivery,
        auth: None,
    }
}

pub(super) fn plan(world: &World, facts: &Facts, key: &Key, now: Timestamp) -> Vec<Step> {
    let id = consumer(&key.namespace, &key.name);
    let Some(subscription) = world.subscriptions.get(&key.namespace, &key.name) else {
        return vec![Step::Stop(id)];
    };
    if subscription.metadata.deletion_timestamp.is_some() {
        return vec![Step::Stop(id)];
    }
    let mut status = subscription.status.clone().unwrap_or_default();
    status.observed_generation = subscription.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = types::CONDITIONS.manage(&mut conditions, now);
    manage.initialize();
    let channel = channel_of(world, subscription);
    mark_channel(&mut manage, subscription, channel.as_ref());
    match destinations(world, facts, subscription) {
        Ok(to) => {
            manage.mark_true(types::REFERENCES_RESOLVED);
            status.physical_subscription = Some(physical(&to));
        }
        Err((reason, message)) => {
            manage.mark_false(types::REFERENCES_RESOLVED, reason, &message);
            status.physical_subscription = None;
        }
    }
    manage.mark_true_with_reason(
        types::OIDC_IDENTITY_CREATED,
        "authentication-oidc feature disabled",
        "",
    );
    status.conditions = conditions;
    let write = status_write(
        key,
        &subscription.metadata,
        subscription.status.as_ref(),
        &status,
        &[],
    );
    write.map(Step::Write).into_iter().collect()
}

/// Marks what the channel says: whether it is ready, and whether it delivers to the Subscription.
fn mark_channel(
    manage: &mut ConditionManager<'_>,
    subscription: &Subscription,
    channel: Option<&Backing<'_>>,
) {
    match channel.map(|channel| channel.status.cloned().unwrap_or_default()) {
        Some(status) if conditions::is_true(&status.conditions, "Ready") => {
            manage.mark_true(types::CHANNEL_READY);
        }
        Some(_) => manage.mark_unknown(
            types::CHANNEL_READY,
            "ChannelNotReady",
            "Channel is not ready yet.",
        ),
        None => {
            let to = &subscription.spec.channel;
            let message = format!(
                "Failed to get the channel: {} {} does not exist",
                to.kind, to.name
            );
            manage.mark_false(types::CHANNEL_READY, "ChannelReferenceFailed", &message);
        }
    }
    let uid = subscription.uid().unwrap_or_default();
    let added = channel
        .and_then(|channel| channel.status)
        .and_then(|status| status.subscribers.iter().find(|entry| entry.uid == uid));
    match added {
        Some(entry) if entry.ready == "True" => manage.mark_true(types::ADDED_TO_CHANNEL),
        Some(entry) => manage.mark_unknown(
            types::ADDED_TO_CHANNEL,
            "SubscriptionNotMarkedReadyByChannel",
            entry
                .message
                .as_deref()
                .unwrap_or("The channel does not deliver to it yet."),
        ),
        None => manage.mark_unknown(
            types::ADDED_TO_CHANNEL,
            "SubscriptionNotMarkedReadyByChannel",
            "Subscription not yet marked ready by Channel",
        ),
    }
}

fn physical(to: &Destinations) -> PhysicalSubscription {
    let mut physical = PhysicalSubscription::default();
    if let Some(to) = to.subscriber.clone() {
        physical.subscriber_uri = Some(to.uri);
        physical.subscriber_ca_certs = to.ca_certs;
        physical.subscriber_audience = to.audience;
    }
    if let Some(to) = to.reply.clone() {
        physical.reply_uri = Some(to.uri);
        physical.reply_ca_certs = to.ca_certs;
        physical.reply_audience = to.audience;
    }
    if let Some(to) = to.dead_letter.clone() {
        physical.dead_letter_sink_uri = Some(to.uri);
        physical.dead_letter_sink_ca_certs = to.ca_certs;
        physical.dead_letter_sink_audience = to.audience;
    }
    physical
}
