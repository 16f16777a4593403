//! The controllers, as one loop: watches feed the world and a queue of keys; each key is planned and
//! carried out. What takes its time goes on beside it, a bounded number at a time: writes to the API, and
//! changes of consumers, whose keys come again when they are done.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use heddle_broker::clock::Clock;
use heddle_broker::control::sightings::Sightings;
use heddle_broker::control::{
    Control as BrokerControl, dependents as broker_dependents, keeps_events,
};
use heddle_crds::eventing::{Broker, EventType, KafkaSink, Trigger};
use heddle_crds::kube::queue::{Key, Queue};
use heddle_crds::kube::watch::{Index, ObjectKey, watch};
use heddle_crds::kube::writer::{Write, Writer};
use heddle_crds::messaging::{
    Channel, InMemoryChannel, KafkaChannel, NatsJetStreamChannel, Subscription,
};
use heddle_crds::sources::KafkaSource;
use heddle_crds::world::{Shelf, World};
use heddle_dispatcher::control::{Control as ConsumerControl, dependents};
use heddle_sources::control::{Control as SourceControl, dependents as source_dependents};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::runtime::watcher;
use parking_lot::RwLock;
use tokio::sync::watch as progress;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Writes under way at once: as many as the API makes durable together.
const WRITES: usize = 256;
/// How often everything is looked at again, which repairs what was missed.
const RESYNC: Duration = Duration::from_secs(300);
/// How often Brokers are looked at again: what their logs hold changes without an event.
const BROKER_RESYNC: Duration = Duration::from_secs(10);

/// Everything that the loop needs.
#[derive(Debug)]
pub struct Controllers {
    /// Brokers and channels.
    pub brokers: BrokerControl,
    /// Triggers and Subscriptions.
    pub consumers: ConsumerControl,
    /// What makes events.
    pub sources: SourceControl,
    /// What EventTypes are made of.
    pub sightings: Sightings,
    /// Tells the time of conditions.
    pub clock: Arc<dyn Clock>,
}

/// What the watches write into and the loop reads.
#[derive(Clone, Debug, Default)]
struct Shared {
    world: Arc<RwLock<World>>,
    queue: Queue,
}

/// How far the controllers have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The watches have not shown everything yet.
    Watching,
    /// Everything that was there at the start has been looked at.
    Synced,
}

/// Starts the watches and the loop on `tracker`. They end when `stop` is cancelled.
pub fn start(
    controllers: Controllers,
    client: &Client,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> progress::Receiver<Progress> {
    let shared = Shared::default();
    let mut listed = Vec::new();
    macro_rules! follow {
        ($kind:ident, $shelf:ident) => {
            let index = Feed::<$kind> {
                kind: stringify!($kind),
                shelf: |world| &mut world.$shelf,
                shared: shared.clone(),
            };
            let config = watcher::Config::default();
            listed.push(watch(
                client.clone(),
                &(),
                config,
                index,
                tracker,
                stop.clone(),
            ));
        };
    }
    follow!(ConfigMap, config_maps);
    follow!(Secret, secrets);
    follow!(Broker, brokers);
    follow!(Channel, channels);
    follow!(InMemoryChannel, in_memory_channels);
    follow!(KafkaChannel, kafka_channels);
    follow!(NatsJetStreamChannel, nats_jet_stream_channels);
    follow!(Trigger, triggers);
    follow!(Subscription, subscriptions);
    follow!(EventType, event_types);
    follow!(KafkaSource, kafka_sources);
    follow!(KafkaSink, kafka_sinks);
    let (reached, synced) = progress::channel(Progress::Watching);
    let writer = Writer::new(client.clone());
    let stop = stop.clone();
    tracker.spawn(async move {
        let run = async {
            for listed in &mut listed {
                if !listed.ready().await {
                    return;
                }
            }
            reconcile(controllers, shared, &writer, &reached).await;
        };
        stop.run_until_cancelled(run).await
    });
    synced
}

/// Waits until everything that was there at the start has been looked at.
pub async fn wait_until_synced(mut progress: progress::Receiver<Progress>) -> anyhow::Result<()> {
    progress
        .wait_for(|progress| *progress == Progress::Synced)
        .await
        .map(|_| ())
        .map_err(|_| anyhow::anyhow!("the controllers stopped before they were ready"))
}

/// Takes in what a watch tells, and queues the keys of what has changed.
struct Feed<K> {
    kind: &'static str,
    shelf: fn(&mut World) -> &mut Shelf<K>,
    shared: Shared,
}

impl<K: kube::Resource + Send + Sync> Index<K> for Feed<K> {
    fn apply(&mut self, object: K) {
        let key = Key::of(self.kind, &object);
        (self.shelf)(&mut self.shared.world.write()).put(Arc::new(object));
        wake(&self.shared, key);
    }

    fn delete(&mut self, key: &ObjectKey) {
        let ObjectKey { namespace, name } = key;
        (self.shelf)(&mut self.shared.world.write()).remove(namespace, name);
        wake(&self.shared, Key::new(self.kind, namespace, name));
    }

    fn reset(&mut self, objects: Vec<K>) {
        let mut keys: Vec<Key> = objects
            .iter()
            .map(|object| Key::of(self.kind, object))
            .collect();
        let objects = objects.into_iter().map(Arc::new).collect();
        let gone = (self.shelf)(&mut self.shared.world.write()).replace(objects);
        keys.extend(
            gone.iter()
                .map(|(namespace, name)| Key::new(self.kind, namespace, name)),
        );
        for key in keys {
            wake(&self.shared, key);
        }
    }
}

/// Queues a key that has changed, and those that depend on it.
fn wake(shared: &Shared, key: Key) {
    let dependents = {
        let world = shared.world.read();
        let mut keys = broker_dependents(&world, &key);
        keys.extend(dependents(&world, &key));
        keys.extend(source_dependents(&world, &key));
        keys
    };
    shared.queue.push(key);
    for key in dependents {
        shared.queue.push(key);
    }
}

async fn reconcile(
    mut controllers: Controllers,
    shared: Shared,
    writer: &Writer,
    reached: &progress::Sender<Progress>,
) {
    controllers.brokers.remove_orphans(&shared.world.read());
    controllers.consumers.retain(&shared.world.read());
    let logs = controllers.brokers.open_logs();
    let mut writes = FuturesUnordered::new();
    let mut everything = tokio::time::interval(RESYNC);
    let mut brokers = tokio::time::interval(BROKER_RESYNC);
    let mut stores = controllers.brokers.changes();
    let mut sources = controllers.sources.changes();
    loop {
        let is_idle = shared.queue.is_empty() && writes.is_empty();
        if is_idle && !controllers.consumers.is_busy() {
            if controllers.consumers.settle() {
                push_all(&shared, |_| true);
                continue;
            }
            controllers.sightings.settle(&shared.world.read(), &logs);
            reached.send_replace(Progress::Synced);
        }
        tokio::select! {
            key = shared.queue.next(), if writes.len() < WRITES && controllers.consumers.has_room() => {
                for write in one(&mut controllers, &shared, &key) {
                    writes.push(carry_out(writer, write));
                }
            }
            sighting = controllers.sightings.next(), if writes.len() < WRITES => {
                let write = controllers.sightings.make(&shared.world.read(), &sighting);
                writes.extend(write.map(|write| carry_out(writer, write)));
            }
            Some(()) = writes.next() => {}
            keys = controllers.consumers.next() => push(&shared, keys),
            _ = everything.tick() => push_all(&shared, |_| true),
            Ok(()) = stores.changed() => {
                controllers.brokers.remove_orphans(&shared.world.read());
                push_all(&shared, keeps_events);
            }
            Ok(()) = sources.changed() => push_all(&shared, |kind| kind == "KafkaSource"),
            _ = brokers.tick() => push_all(&shared, keeps_events),
        }
    }
}

fn one(controllers: &mut Controllers, shared: &Shared, key: &Key) -> Vec<Write> {
    let now = controllers.clock.now();
    let world = &shared.world.read();
    controllers.sightings.heed(world, key);
    let mut writes = controllers.brokers.reconcile(world, key, now);
    writes.extend(controllers.consumers.reconcile(world, key, now));
    writes.extend(controllers.sources.reconcile(world, key, now));
    writes
}

async fn carry_out(writer: &Writer, write: Write) {
    if let Err(error) = writer.write(&write).await {
        // The next pass over all keys tries again.
        tracing::warn!(%error, "a controller could not write to the API");
    }
}

fn push_all(shared: &Shared, wanted: impl Fn(&str) -> bool) {
    let world = shared.world.read();
    let mut keys = Vec::new();
    keys.extend(
        world
            .brokers
            .iter()
            .map(|object| Key::of("Broker", &**object)),
    );
    keys.extend(
        world
            .channels
            .iter()
            .map(|object| Key::of("Channel", &**object)),
    );
    let channels = world.backings();
    keys.extend(channels.map(|one| Key::new(one.kind, one.namespace(), one.name())));
    keys.extend(
        world
            .triggers
            .iter()
            .map(|object| Key::of("Trigger", &**object)),
    );
    keys.extend(
        world
            .subscriptions
            .iter()
            .map(|object| Key::of("Subscription", &**object)),
    );
    keys.extend(
        world
            .event_types
            .iter()
            .map(|object| Key::of("EventType", &**object)),
    );
    keys.extend(
        world
            .kafka_sources
            .iter()
            .map(|object| Key::of("KafkaSource", &**object)),
    );
    keys.extend(
        world
            .kafka_sinks
            .iter()
            .map(|object| Key::of("KafkaSink", &**object)),
    );
    drop(world);
    push(shared, keys.into_iter().filter(|key| wanted(key.kind)));
}

fn push(shared: &Shared, keys: impl IntoIterator<Item = Key>) {
    for key in keys {
        shared.queue.push(key);
    }
}
