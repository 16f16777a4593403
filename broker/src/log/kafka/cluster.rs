//! The clients of one cluster, and what watches over them.
//!
//! A producer for all topics, a few readers (see [`super::read`]), and one for administration. All
//! are made by a task, so that nothing else waits for it; until then the cluster cannot be reached.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::RwLock;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer as _, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::context::{Context, Reach};
use super::produce;
use super::read::{self, LANES, Lane};
use super::shown::{self, Shown};
use crate::clock::Clock;
use crate::log::Offset;

/// How long to wait after something failed.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// How long servers are waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long one question may take that only asks whether anybody is there.
const PROBE: Duration = Duration::from_secs(2);
/// How often the clients' own news is fetched.
const TICK: Duration = Duration::from_millis(100);
/// A topic that is asked for to see whether anybody answers. It need not exist.
const ANY_TOPIC: &str = "__consumer_offsets";

/// Why there are no clients of a cluster that can be reached.
const ENDED: &str = "the clients of the Kafka servers have ended";

pub(super) type Producer = ThreadedProducer<Context>;
pub(super) type Consumer = BaseConsumer<Context>;

/// The clients of a cluster.
pub(super) struct Clients {
    pub(super) admin: AdminClient<Context>,
    pub(super) lanes: [Lane; LANES],
    tracker: TaskTracker,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Clients {
    /// Asks something that waits for servers, where waiting is no harm.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Consumer) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, String> {
        // The last reader is the one that is used least.
        let lane = self.lanes[LANES - 1].clone();
        let asked = self.tracker.spawn_blocking(move || question(&lane));
        match asked.await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Where a partition begins and ends.
    pub(super) async fn ends(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<(Offset, Offset), String> {
        let topic = topic.to_owned();
        let asked =
            self.ask(move |consumer| consumer.fetch_watermarks(&topic, partition, PATIENCE));
        let (low, high) = asked.await?;
        let offset = |offset: i64| Offset::try_from(offset).unwrap_or_default();
        Ok((offset(low), offset(high)))
    }

    /// How many partitions the topic has, if it is there and all of them have a leader.
    pub(super) async fn partitions(&self, topic: &str) -> Result<Option<i32>, String> {
        let name = topic.to_owned();
        self.ask(move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&name), PATIENCE)?;
            let Some(topic) = metadata.topics().first() else {
                return Ok(None);
            };
            match topic.error() {
                None => {}
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => return Ok(None),
                Some(error) => return Err(KafkaError::MetadataFetch(error.into())),
            }
            let led = topic.partitions().iter().all(|one| one.leader() >= 0);
            let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
            Ok((led && count > 0).then_some(count))
        })
        .await
    }
}

/// One cluster, reached or not.
#[derive(Debug)]
pub(super) struct Cluster {
    access: Access,
    /// How long an append may take.
    timeout: Duration,
    /// Positions that are to be seen in the cluster.
    pub(super) shown: Shown,
    pub(super) reach: Arc<Reach>,
    clients: RwLock<Option<Arc<Clients>>>,
    producer: RwLock<Option<Producing>>,
    /// Bytes of all appends that are under way.
    pub(super) pending: AtomicUsize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tracker: TaskTracker,
    /// The tasks that look after topics, whose readers leave before the clients end.
    pub(super) upkeeps: TaskTracker,
    pub(super) stop: CancellationToken,
}

struct Producing(Producer);

impl std::fmt::Debug for Producing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producing").finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster behind `access`, whose tasks run on `tracker` until `stop`.
    pub(super) fn start(
        (access, timeout): (Access, Duration),
        clock: Arc<dyn Clock>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let this = Arc::new(Self {
            reach: Arc::new(Reach::new(&access.servers)),
            access,
            timeout,
            shown: Shown::default(),
            clients: RwLock::default(),
            producer: RwLock::default(),
            pending: AtomicUsize::new(0),
            clock,
            tracker: tracker.clone(),
            upkeeps: TaskTracker::new(),
            stop,
        });
        tracker.spawn(Arc::clone(&this).run());
        this
    }

    /// The clients; or why there are none, for people.
    pub(super) fn clients(&self) -> Result<Arc<Clients>, Arc<str>> {
        let clients = self.clients.read().clone();
        match clients {
            Some(clients) => Ok(clients),
            None => Err(match self.reach.check() {
                Err(reason) => reason,
                Ok(()) => ENDED.into(),
            }),
        }
    }

    /// Uses the producer, as long as the cluster can be reached; or tells why not, for people. The producer
    /// stays meanwhile, as its own thread comes here too, and must not be the one that ends it.
    pub(super) fn with_producer<T>(
        &self,
        user: impl FnOnce(Result<&Producer, Arc<str>>) -> T,
    ) -> T {
        if let Err(reason) = self.reach.check() {
            return user(Err(reason));
        }
        let producer = self.producer.read();
        let producer = producer.as_ref().map(|producer| &producer.0);
        user(producer.ok_or_else(|| ENDED.into()))
    }

    async fn run(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            self.make().await;
            tokio::join!(self.watch(), self.tick(), shown::run(&self));
        })
        .await;
        self.upkeeps.close();
        self.upkeeps.wait().await;
        // Clients end by talking to servers, which no worker may wait for.
        let clients = self.clients.write().take();
        let producer = self.producer.write().take();
        self.tracker
            .spawn_blocking(move || drop((clients, producer)));
    }

    /// Makes the clients; what is wrong with the configuration shows here.
    async fn make(self: &Arc<Self>) {
        let mut told = String::new();
        loop {
            let this = Arc::clone(self);
            let made = self.tracker.spawn_blocking(move || this.new_clients());
            match made.await.map_err(|error| error.to_string()) {
                Ok(Ok((clients, producer))) => {
                    *self.clients.write() = Some(Arc::new(clients));
                    *self.producer.write() = Some(Producing(producer));
                    return;
                }
                Ok(Err(reason)) | Err(reason) => {
                    let servers = &self.access.servers;
                    if told != reason {
                        tracing::error!(%reason, servers, "no client for the Kafka servers can be made");
                    }
                    self.reach.refuse(&reason);
                    told = reason;
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn context(&self, authority: bool) -> Context {
        Context {
            reach: Arc::clone(&self.reach),
            authority,
            sasl: self.access.sasl.clone().map(Arc::new),
            clock: Arc::clone(&self.clock),
        }
    }

    fn new_clients(&self) -> Result<(Clients, Producer), String> {
        let new = || -> Result<_, KafkaError> {
            let config = self.access.config();
            let admin = ClientConfig::create_with_context(&config, self.context(false))?;
            let reader = read::config(&self.access);
            let lane = || -> Result<Lane, KafkaError> {
                Ok(Arc::new(reader.create_with_context(self.context(false))?))
            };
            let clients = Clients {
                admin,
                lanes: [lane()?, lane()?, lane()?],
                tracker: self.tracker.clone(),
            };
            Ok((clients, self.new_producer()?))
        };
        new().map_err(|error| error.to_string())
    }

    fn new_producer(&self) -> Result<Producer, KafkaError> {
        produce::config(&self.access, self.timeout).create_with_context(self.context(true))
    }

    /// Finds out whether the cluster can be reached, whenever that is in doubt.
    async fn watch(self: &Arc<Self>) {
        let mut reach = self.reach.watch();
        loop {
            // Only changes for the worse wake this up; it makes those for the better itself.
            if reach.wait_for(Result::is_err).await.is_err() {
                return;
            }
            self.renew().await;
            let Ok(clients) = self.clients() else {
                return;
            };
            let probe =
                clients.ask(|consumer| consumer.fetch_metadata(Some(ANY_TOPIC), PROBE).map(|_| ()));
            match probe.await {
                Ok(()) => self.reach.found(),
                Err(reason) => {
                    self.reach.lost(&reason);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Makes a new producer in the place of one that has given up, which is how the library ends where
    /// it could no longer promise that nothing is sent twice.
    async fn renew(self: &Arc<Self>) {
        let dead = {
            let producer = self.producer.read();
            let fatal = producer
                .as_ref()
                .and_then(|one| one.0.client().fatal_error());
            fatal.map(|(code, reason)| format!("{code}: {reason}"))
        };
        let Some(reason) = dead else { return };
        tracing::warn!(
            reason,
            "the Kafka producer has given up; a new one takes its place"
        );
        let this = Arc::clone(self);
        let made = self.tracker.spawn_blocking(move || {
            let before = match this.new_producer() {
                Ok(producer) => this.producer.write().replace(Producing(producer)),
                Err(error) => return Err(error.to_string()),
            };
            drop(before);
            Ok(())
        });
        match made.await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => tracing::error!(reason, "no new Kafka producer could be made"),
            Err(error) => tracing::error!(%error, "no new Kafka producer could be made"),
        }
    }

    /// Fetches what readers have to say besides records, which the library asks of its users.
    async fn tick(&self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let Ok(clients) = self.clients() else {
                return;
            };
            for lane in &clients.lanes {
                read::serve(lane);
            }
        }
    }
}

/// Whether a producer has given up for good.
pub(super) fn is_fatal(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
}
