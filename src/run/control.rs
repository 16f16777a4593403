//! The controllers, as one loop: watches feed the world and a queue of keys; each key is planned and
//! carried out; writes to the API go on beside it, a bounded number at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use heddle_broker::clock::Clock;
use heddle_broker::control::Control as BrokerControl;
use heddle_crds::queue::{Key, Queue};
use heddle_crds::world::{Shelf, World};
use heddle_crds::writer::{Write, Writer, resource_of};
use heddle_dispatcher::control::{Control as ConsumerControl, dependents};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Writes under way at once. The API groups them, so that many cost little more than one.
const WRITES: usize = 64;
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
) -> watch::Receiver<Progress> {
    let shared = Shared::default();
    let (listed, mut all_listed) = watch::channel(0_usize);
    let listed = Arc::new(listed);
    let mut kinds = 0;
    let mut follow = |task| {
        kinds += 1;
        let stop = stop.clone();
        tracker.spawn(async move { stop.run_until_cancelled(task).await });
    };
    macro_rules! follow {
        ($kind:literal, $shelf:ident) => {
            let (client, shared, listed) = (client.clone(), shared.clone(), Arc::clone(&listed));
            follow(Box::pin(observe(client, $kind, |world| &mut world.$shelf, shared, listed))
                as futures::future::BoxFuture<'static, ()>);
        };
    }
    follow!("ConfigMap", config_maps);
    follow!("Broker", brokers);
    follow!("Channel", channels);
    follow!("InMemoryChannel", in_memory_channels);
    follow!("Trigger", triggers);
    follow!("Subscription", subscriptions);
    let (progress, synced) = watch::channel(Progress::Watching);
    let writer = Writer::new(client.clone());
    let stop = stop.clone();
    tracker.spawn(async move {
        let run = async {
            if all_listed.wait_for(|listed| *listed >= kinds).await.is_ok() {
                reconcile(controllers, shared, &writer, &progress).await;
            }
        };
        stop.run_until_cancelled(run).await
    });
    synced
}

/// Waits until everything that was there at the start has been looked at.
pub async fn wait_until_synced(mut progress: watch::Receiver<Progress>) -> anyhow::Result<()> {
    progress
        .wait_for(|progress| *progress == Progress::Synced)
        .await
        .map(|_| ())
        .map_err(|_| anyhow::anyhow!("the controllers stopped before they were ready"))
}

/// Follows one kind for ever. Objects that cannot be decoded are reported and skipped.
async fn observe<K>(
    client: Client,
    kind: &'static str,
    shelf: fn(&mut World) -> &mut Shelf<K>,
    shared: Shared,
    listed: Arc<watch::Sender<usize>>,
) where
    K: kube::Resource + DeserializeOwned,
{
    let resource = resource_of(kind);
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut events = watcher::watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    let mut list = Vec::new();
    let mut first = true;
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => list.clear(),
            Ok(Some(Event::InitApply(object))) => list.extend(decode(kind, object)),
            Ok(Some(Event::InitDone)) => {
                let (there, gone) = {
                    let mut world = shared.world.write();
                    let objects = std::mem::take(&mut list);
                    let there: Vec<_> =
                        objects.iter().map(|object: &Arc<K>| key_of(kind, &**object)).collect();
                    (there, shelf(&mut world).replace(objects))
                };
                let gone = gone.into_iter().map(|(namespace, name)| Key { kind, namespace, name });
                for key in there.into_iter().chain(gone) {
                    wake(&shared, key);
                }
                if std::mem::take(&mut first) {
                    listed.send_modify(|listed| *listed += 1);
                }
            }
            Ok(Some(Event::Apply(object))) => {
                if let Some(object) = decode::<K>(kind, object) {
                    let key = key_of(kind, &*object);
                    shelf(&mut shared.world.write()).put(object);
                    wake(&shared, key);
                }
            }
            Ok(Some(Event::Delete(object))) => {
                let key = key_of(kind, &object);
                shelf(&mut shared.world.write()).remove(&key.namespace, &key.name);
                wake(&shared, key);
            }
            Ok(None) => return,
            Err(error) => tracing::warn!(kind, %error, "the watch was interrupted"),
        }
    }
}

fn decode<K: kube::Resource + DeserializeOwned>(kind: &'static str, object: DynamicObject) -> Option<Arc<K>> {
    let name = object.name_any();
    match object.try_parse() {
        Ok(object) => Some(Arc::new(object)),
        Err(error) => {
            tracing::warn!(kind, name, %error, "an object that cannot be read is left alone");
            None
        }
    }
}

fn key_of<K: ResourceExt>(kind: &'static str, object: &K) -> Key {
    Key { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// Queues a key that has changed, and those that depend on it.
fn wake(shared: &Shared, key: Key) {
    let dependents = dependents(&shared.world.read(), &key);
    shared.queue.push(key);
    for key in dependents {
        shared.queue.push(key);
    }
}

async fn reconcile(
    mut controllers: Controllers,
    shared: Shared,
    writer: &Writer,
    progress: &watch::Sender<Progress>,
) {
    controllers.brokers.remove_orphans(&shared.world.read());
    controllers.consumers.retain(&shared.world.read());
    let mut writes = FuturesUnordered::new();
    let mut everything = tokio::time::interval(RESYNC);
    let mut brokers = tokio::time::interval(BROKER_RESYNC);
    loop {
        if shared.queue.is_empty() && writes.is_empty() {
            controllers.consumers.settle();
            progress.send_replace(Progress::Synced);
        }
        tokio::select! {
            key = shared.queue.next(), if writes.len() < WRITES => {
                for write in one(&mut controllers, &shared, &key).await {
                    writes.push(carry_out(writer, write));
                }
            }
            Some(()) = writes.next() => {}
            _ = everything.tick() => push_all(&shared, |_| true),
            _ = brokers.tick() => push_all(&shared, |kind| kind == "Broker"),
        }
    }
}

async fn one(controllers: &mut Controllers, shared: &Shared, key: &Key) -> Vec<Write> {
    let now = controllers.clock.now();
    let mut writes = controllers.brokers.reconcile(&shared.world.read(), key, now);
    writes.extend(controllers.consumers.reconcile(&shared.world, key, now).await);
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
    keys.extend(world.brokers.iter().map(|object| key_of("Broker", &**object)));
    keys.extend(world.channels.iter().map(|object| key_of("Channel", &**object)));
    keys.extend(world.in_memory_channels.iter().map(|object| key_of("InMemoryChannel", &**object)));
    keys.extend(world.triggers.iter().map(|object| key_of("Trigger", &**object)));
    keys.extend(world.subscriptions.iter().map(|object| key_of("Subscription", &**object)));
    drop(world);
    for key in keys.into_iter().filter(|key| wanted(key.kind)) {
        shared.queue.push(key);
    }
}
