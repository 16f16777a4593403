//! The channels that keep events -> a log, an address, conditions.
//!
//! What is peculiar to a kind stands in its [`Implementation`]: which store keeps its events, and what
//! else it reports. The subscribers of a channel are written into its spec by the Subscription
//! controller and served by the dispatcher, which also reports on them in `status.subscribers`; this
//! plan leaves that field as it is.
//!
//! Channels are addressed by namespace and name, so that two of different kinds with one name are in
//! each other's way. The older one has the address.

use heddle_crds::conditions::{ConditionManager, ConditionSet};
use heddle_crds::kube::queue::Key;
use heddle_crds::messaging::backing as types;
use heddle_crds::messaging::{Backing, BackingStatus, Backs as _, InMemoryChannel};
use heddle_crds::world::World;
use jiff::Timestamp;

use super::report;
use super::{Facts, Place, Step, StoreKind, broker, log_name, status_write};
use crate::directory::EntryKind;

/// What is peculiar to one kind of channel.
pub(super) struct Implementation {
    /// The kind.
    pub(super) kind: &'static str,
    /// What Ready depends on.
    pub(super) conditions: ConditionSet,
    /// Which store keeps the channel's events; or what is wrong with it, for people.
    pub(super) store: fn(&World, &Backing<'_>) -> Result<StoreKind, String>,
    /// What else is reported; with what is wrong with its log, if anything.
    pub(super) remarks: fn(&World, &Backing<'_>, Option<&str>, &mut ConditionManager<'_>),
}

/// The kinds that this build has.
const IMPLEMENTATIONS: &[Implementation] = &[
    Implementation {
        kind: InMemoryChannel::KIND,
        conditions: heddle_crds::messaging::in_memory_channel::CONDITIONS,
        store: |_, _| Ok(StoreKind::Memory),
        remarks: |_, _, _, _| {},
    },
    #[cfg(feature = "kafka")]
    super::kafka_channel::IMPLEMENTATION,
    #[cfg(feature = "jetstream")]
    super::nats_jet_stream_channel::IMPLEMENTATION,
];

/// The kinds that this build has, for people.
#[must_use]
pub fn kinds() -> Vec<&'static str> {
    IMPLEMENTATIONS.iter().map(|known| known.kind).collect()
}

pub(super) fn implementation(kind: &str) -> Option<&'static Implementation> {
    IMPLEMENTATIONS.iter().find(|known| known.kind == kind)
}

/// What the names of the logs of a kind begin with, up to the first slash.
pub(super) fn log_kind(kind: &str) -> String {
    if kind == InMemoryChannel::KIND {
        "channel".to_owned()
    } else {
        kind.to_ascii_lowercase()
    }
}

/// The name of the channel's log.
#[must_use]
pub fn log_of(channel: &Backing<'_>) -> String {
    log_name(
        &log_kind(channel.kind),
        channel.namespace(),
        channel.name(),
        channel.uid(),
    )
}

/// Which store keeps the channel's events; or what is wrong with it, for people.
///
/// # Errors
///
/// Its kind is not built in, or its configuration cannot be used.
pub fn store(world: &World, channel: &Backing<'_>) -> Result<StoreKind, String> {
    let known = implementation(channel.kind)
        .ok_or_else(|| format!("{} is not part of this build", channel.kind))?;
    (known.store)(world, channel)
}

/// Why a channel has no address although it may open its log.
const TAKEN: &str = "A channel of another kind has the name: rename or delete one of them.";

/// Of the channels with one name, the one that has the address.
fn holder<'a>(world: &'a World, namespace: &str, name: &str) -> Option<Backing<'a>> {
    let namesakes = world
        .backing_kinds()
        .into_iter()
        .filter_map(|kind| world.backing(kind, namespace, name))
        .filter(|channel| channel.metadata.deletion_timestamp.is_none());
    namesakes.min_by_key(|channel| (channel.created(), channel.kind))
}

pub(super) fn plan(
    known: &Implementation,
    world: &World,
    facts: &Facts,
    key: &Key,
    now: Timestamp,
) -> Vec<Step> {
    let place = Place::new(EntryKind::Channel, &log_kind(known.kind), key);
    let holder = holder(world, &key.namespace, &key.name);
    let Some(channel) = world.backing(known.kind, &key.namespace, &key.name) else {
        return place.remove(holder.is_none());
    };
    if channel.metadata.deletion_timestamp.is_some() {
        return if holder.is_none() {
            vec![place.withdraw()]
        } else {
            Vec::new()
        };
    }
    let log = log_of(&channel);
    let holds = holder.is_none_or(|holder| holder.uid() == channel.uid());
    let no_annotations = std::collections::BTreeMap::new();
    let annotations = channel.metadata.annotations.as_ref();
    let retention = broker::retention(annotations.unwrap_or(&no_annotations));
    let store = store(world, &channel);
    let mut steps = match &store {
        Ok(store) if holds => place.serve(facts, store.clone(), &log, retention),
        Err(_) if holds => vec![place.withdraw()],
        Ok(_) | Err(_) => Vec::new(),
    };
    let refused = store.err();
    let status = status(
        known,
        world,
        facts,
        &channel,
        holds,
        refused.as_deref(),
        now,
    );
    let write = status_write(
        key,
        channel.metadata,
        channel.status,
        &status,
        &["subscribers"],
    );
    steps.extend(write.map(Step::Write));
    steps
}

fn status(
    known: &Implementation,
    world: &World,
    facts: &Facts,
    channel: &Backing<'_>,
    holds: bool,
    refused: Option<&str>,
    now: Timestamp,
) -> BackingStatus {
    let mut status = channel.status.cloned().unwrap_or_default();
    status.observed_generation = channel.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = known.conditions.manage(&mut conditions, now);
    manage.initialize();
    let (namespace, name) = (channel.namespace(), channel.name());
    status.address = None;
    let trouble = match (refused, facts.logs.get(&log_of(channel))) {
        // It has no log as long as another channel has its name.
        _ if !holds => Some(("AddressTaken", TAKEN.to_owned())),
        (Some(reason), _) => Some(("LogNotOpen", reason.to_owned())),
        (None, Some(Err(reason))) => Some(("LogNotOpen", reason.clone())),
        (None, Some(Ok(_))) => None,
        (None, None) => Some(("LogNotOpen", "The channel is being opened.".to_owned())),
    };
    if let Some((reason, message)) = &trouble {
        manage.mark_false(types::DISPATCHER_READY, reason, message);
        manage.mark_false(types::ADDRESSABLE, reason, message);
    } else {
        manage.mark_true(types::DISPATCHER_READY);
        manage.mark_true(types::ADDRESSABLE);
        let url = format!("{}/channels/{namespace}/{name}", facts.ingress_url);
        status.address = Some(report::address(url));
    }
    status.addresses = status.address.iter().cloned().collect();
    // The front door of all channels is the process's own ingress, which listens before this runs.
    manage.mark_true(types::SERVICE_READY);
    manage.mark_true(types::ENDPOINTS_READY);
    if holds {
        manage.mark_true(types::CHANNEL_SERVICE_READY);
    } else {
        let reason = format!("An older channel of another kind is called {namespace}/{name} too.");
        manage.mark_false(
            types::CHANNEL_SERVICE_READY,
            "ChannelServiceFailed",
            &reason,
        );
    }
    report::mark_policies(&mut manage, types::EVENT_POLICIES_READY);
    let sink = channel
        .delivery
        .and_then(|delivery| delivery.dead_letter_sink.as_ref());
    let found = sink.map(|sink| world.resolve(sink, namespace));
    status.delivery =
        report::dead_letter_sink(&mut manage, types::DEAD_LETTER_SINK_RESOLVED, found);
    report::mark_store(&mut manage, facts.troubles.get(&log_of(channel)));
    let trouble = trouble.as_ref().map(|(_, message)| message.as_str());
    (known.remarks)(world, channel, trouble, &mut manage);
    status.conditions = conditions;
    status
}
