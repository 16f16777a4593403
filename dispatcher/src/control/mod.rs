//! From Triggers and Subscriptions to consumers.
//!
//! As in `heddle_broker::control`, a pure `plan` turns the [`World`] into [`Step`]s for one key, and
//! [`Control`] carries them out. What a consumer should be is plain data ([`Wanted`]), so that
//! "has it changed" is a comparison.
//!
//! * [`trigger`]: Trigger -> a consumer of its Broker's log.
//! * [`subscription`]: Subscription -> an entry in its channel's `spec.subscribers`.
//! * [`subscribers`]: the entries of a channel -> consumers of its log.
//! * [`delivery`]: the delivery specification and annotations, resolved.
//! * [`apply`]: the executor.
//! * `changes`: changes of consumers that take their time.
//! * `beginning`: which consumers wait for their first positions to be durable.
//!
//! Nothing here waits: what takes its time goes on beside all other keys, and its key comes again. A
//! status says that a consumer runs only once its position is durable. Until then the writes about
//! it are held back; its key comes again when the position is durable, or when that turns out not to work
//! for now.

pub mod apply;
mod beginning;
mod changes;
pub mod delivery;
pub mod subscribers;
pub mod subscription;
pub mod trigger;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use heddle_broker::control::{OpenLogs, StoreKind};
use heddle_broker::filter::Filter;
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::world::World;
use jiff::Timestamp;

pub use apply::Control;
use beginning::Beginning;

use crate::config::{ConsumerId, DeliveryPolicy, Order, Start, Target};

/// A log, by the store that keeps it and its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRef {
    /// Which store.
    pub store: StoreKind,
    /// Which log.
    pub name: String,
}

/// Where replies should go.
#[derive(Clone, Debug, PartialEq)]
pub enum WantedReply {
    /// Back into a broker's log.
    Log(LogRef),
    /// To an address.
    Target(Target),
}

/// A consumer as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Whose deliveries these are.
    pub id: ConsumerId,
    /// The resource's uid.
    pub uid: Arc<str>,
    /// Where events come from.
    pub source: LogRef,
    /// Which events are wanted.
    pub filter: Filter,
    /// Who gets them; events wait while this is `None`.
    pub subscriber: Option<Target>,
    /// Where replies go.
    pub reply: Option<WantedReply>,
    /// Who gets what the subscriber did not take.
    pub dead_letter: Option<Target>,
    /// Retries and the rest.
    pub policy: DeliveryPolicy,
    /// Order of deliveries.
    pub order: Order,
    /// The most deliveries at the same time.
    pub max_in_flight: u32,
    /// Where to start without a stored position.
    pub start: Start,
    /// How long the position outlives the resource.
    pub keep_position: Option<Duration>,
}

/// What plans know besides objects.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The handlers that `local://` addresses may name.
    pub handlers: BTreeSet<String>,
    /// The consumers that run.
    pub running: BTreeSet<ConsumerId>,
    /// Those that could not be started.
    pub failed: BTreeSet<ConsumerId>,
    /// The logs that are open.
    pub logs: OpenLogs,
    /// The consumers that run, but whose positions are not durable yet.
    beginning: Beginning,
}

/// Whether a consumer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs<'a> {
    /// It does, or will once the planned steps have been carried out.
    Yes,
    /// Not yet.
    NotYet,
    /// Where it begins cannot be written down, for this reason.
    Unwritten(&'a str),
}

impl Facts {
    /// Whether a consumer runs once the steps that are being planned have been carried out, so that a
    /// status says what is, not what should be. `starts` says that one of them starts it.
    fn runs(&self, id: &ConsumerId, starts: bool) -> Runs<'_> {
        if self.beginning.contains(id) {
            return match self.beginning.failure() {
                Some(reason) => Runs::Unwritten(reason),
                None => Runs::NotYet,
            };
        }
        match self.running.contains(id) || (starts && !self.failed.contains(id)) {
            true => Runs::Yes,
            false => Runs::NotYet,
        }
    }
}

/// What a status says of a position that cannot be written.
fn unwritten(reason: &str) -> String {
    format!(
        "Where it begins to read cannot be written down: {reason}. Events are delivered, but a crash \
         could lose those that came before this works again. It is tried twice a second: see to the \
         disk of the data directory, as by freeing space."
    )
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Start or change a consumer.
    Consume(Box<Wanted>),
    /// Stop a consumer, because its resource is gone.
    Stop(ConsumerId),
    /// Write an object, a spec or a status.
    Write(Write),
}

/// What to do about one key.
#[must_use]
pub fn plan(world: &World, facts: &Facts, key: &Key, now: Timestamp) -> Vec<Step> {
    match key.kind {
        "Trigger" => trigger::plan(world, facts, key, now),
        "Subscription" => subscription::plan(world, facts, key, now),
        _ => subscribers::plan(world, facts, key),
    }
}

/// The keys that have to be looked at again when the object `key` has changed: those that refer to
/// it, directly or through an address.
#[must_use]
pub fn dependents(world: &World, key: &Key) -> Vec<Key> {
    let named = |to: &Option<heddle_crds::duck::Destination>| {
        to.as_ref()
            .and_then(|to| to.reference.as_ref())
            .is_some_and(|to| to.name == key.name)
    };
    let mut keys = Vec::new();
    let kinds = world.backing_kinds();
    let known = ["Broker", "Channel", "ConfigMap", "KafkaSink"];
    if known.contains(&key.kind) || kinds.contains(&key.kind) {
        for trigger in world.triggers.iter() {
            let spec = &trigger.spec;
            let mine =
                key.kind == "Broker" && trigger.broker() == (key.namespace.as_str(), &key.name);
            let sink = spec
                .delivery
                .as_ref()
                .and_then(|delivery| delivery.dead_letter_sink.clone());
            let waits = trigger
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|all| all.contains_key(heddle_crds::annotations::DEPENDENCY));
            if mine || waits || named(&Some(spec.subscriber.clone())) || named(&sink) {
                keys.push(Key::of("Trigger", &**trigger));
            }
        }
        for subscription in world.subscriptions.iter() {
            let spec = &subscription.spec;
            let sink = spec
                .delivery
                .as_ref()
                .and_then(|delivery| delivery.dead_letter_sink.clone());
            if spec.channel.name == key.name
                || named(&spec.subscriber)
                || named(&spec.reply)
                || named(&sink)
            {
                keys.push(Key::of("Subscription", &**subscription));
            }
        }
    }
    if key.kind == "Subscription" {
        // The channel may still list a subscription that is gone.
        let channels = world.backings();
        let near = channels.filter(|channel| channel.namespace() == key.namespace);
        keys.extend(near.map(|near| Key::new(near.kind, near.namespace(), near.name())));
    }
    keys
}
