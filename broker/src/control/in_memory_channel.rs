//! InMemoryChannel -> a memory log, an address, conditions.
//!
//! Its subscribers are written into its spec by the Subscription controller and served by the
//! dispatcher, which also reports on them in `status.subscribers`; this plan leaves that field as it is.

use heddle_crds::kube::queue::Key;
use heddle_crds::messaging::in_memory_channel as types;
use heddle_crds::messaging::{InMemoryChannel, InMemoryChannelStatus};
use heddle_crds::world::World;
use jiff::Timestamp;
use kube::ResourceExt;

use super::report;
use super::{Facts, Place, Step, StoreKind, broker, log_name, status_write};
use crate::directory::EntryKind;

/// The name of the channel's log.
#[must_use]
pub fn log_of(channel: &InMemoryChannel) -> String {
    let (namespace, name) = (channel.namespace().unwrap_or_default(), channel.name_any());
    log_name(
        "channel",
        &namespace,
        &name,
        &channel.uid().unwrap_or_default(),
    )
}

pub(super) fn plan(world: &World, facts: &Facts, key: &Key, now: Timestamp) -> Vec<Step> {
    let place = Place::new(EntryKind::Channel, key);
    let Some(channel) = world.in_memory_channels.get(&key.namespace, &key.name) else {
        return place.remove();
    };
    if channel.metadata.deletion_timestamp.is_some() {
        return vec![place.withdraw()];
    }
    let log = log_of(channel);
    let retention = broker::retention(channel.annotations());
    let mut steps = place.serve(facts, StoreKind::Memory, &log, retention);
    let status = status(world, facts, channel, &log, now);
    let write = status_write(
        key,
        &**channel,
        channel.status.as_ref(),
        &status,
        &["subscribers"],
    );
    steps.extend(write.map(Step::Write));
    steps
}

fn status(
    world: &World,
    facts: &Facts,
    channel: &InMemoryChannel,
    log: &str,
    now: Timestamp,
) -> InMemoryChannelStatus {
    let mut status = channel.status.clone().unwrap_or_default();
    status.observed_generation = channel.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = types::CONDITIONS.manage(&mut conditions, now);
    manage.initialize();
    let namespace = channel.namespace().unwrap_or_default();
    status.address = None;
    match facts.logs.get(log) {
        Some(Ok(_)) => {
            manage.mark_true(types::DISPATCHER_READY);
            manage.mark_true(types::ADDRESSABLE);
            let name = channel.name_any();
            let url = format!("{}/channels/{namespace}/{name}", facts.ingress_url);
            status.address = Some(report::address(url));
        }
        other => {
            let reason = match other {
                Some(Err(reason)) => reason,
                _ => "The channel is being opened.",
            };
            manage.mark_false(types::DISPATCHER_READY, "LogNotOpen", reason);
            manage.mark_false(types::ADDRESSABLE, "LogNotOpen", reason);
        }
    }
    status.addresses = status.address.iter().cloned().collect();
    // The front door of all channels is the process's own ingress, which listens before this runs.
    for condition in [
        types::SERVICE_READY,
        types::ENDPOINTS_READY,
        types::CHANNEL_SERVICE_READY,
    ] {
        manage.mark_true(condition);
    }
    report::mark_policies(&mut manage, types::EVENT_POLICIES_READY);
    let sink = channel
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
