//! The sources of a process: each with its members, and what is said of it.
//!
//! [`KafkaSources::apply`] and [`KafkaSources::remove`] say what should be, and return at once: one task
//! for each source brings it about, one change after the other, because two members must never have
//! the same partition in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heddle_broker::filter::Filter;
use heddle_broker::log::Offset;
use heddle_dispatcher::config::{ConsumerConfig, ConsumerId, Source, Start};
use heddle_dispatcher::{ApplyError, Dispatcher};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::member::Member;
use super::record::Reader;
use super::{CONSUMER_KIND, Sending, SourceConfig};
use crate::Tools;

/// By namespace and name.
type Sources = BTreeMap<(String, String), Running>;

/// All sources of a process. See the module.
#[derive(Debug)]
pub struct KafkaSources {
    tools: Tools,
    running: Arc<Mutex<Sources>>,
    changes: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
struct Running {
    /// `None` ends it.
    wanted: watch::Sender<Option<Arc<SourceConfig>>>,
    shared: Arc<Shared>,
}

/// What is found out about a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether the servers were reached.
    pub reached: bool,
    /// What stands in the way, for people.
    pub problem: Option<String>,
    /// The members that have partitions, or at least reach the servers.
    pub members: u32,
    /// The partitions that are read here.
    pub claims: BTreeMap<Arc<str>, BTreeSet<i32>>,
}

impl Report {
    /// The partitions by topic, as text: `orders[0,1] payments[2]`.
    #[must_use]
    pub fn claims_text(&self) -> String {
        let topics = self.claims.iter().map(|(topic, partitions)| {
            let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            format!("{topic}[{}]", numbers.join(","))
        });
        topics.collect::<Vec<_>>().join(" ")
    }
}

/// What is known of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    reached: bool,
    problem: Option<String>,
    claims: BTreeSet<(Arc<str>, i32)>,
}

/// What the members of a source say of themselves.
#[derive(Debug)]
pub(super) struct Reports {
    name: String,
    members: Mutex<BTreeMap<u32, Found>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Reports {
    fn change(&self, member: u32, change: impl FnOnce(&mut Found)) {
        let mut members = self.members.lock();
        let found = members.entry(member).or_default();
        let before = found.clone();
        change(found);
        if *found != before {
            drop(members);
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// The servers answer.
    pub(super) fn reached(&self, member: u32) {
        self.change(member, |found| {
            if !found.reached {
                tracing::info!(source = self.name, member, "Kafka can be reached");
                found.problem = None;
            }
            found.reached = true;
        });
    }

    /// The servers are away. The library tries again by itself.
    pub(super) fn lost(&self, member: u32, reason: &str) {
        self.change(member, |found| {
            // Only the change is logged, so that an outage is one line.
            if found.reached || found.problem.is_none() {
                tracing::warn!(
                    source = self.name,
                    member,
                    reason,
                    "Kafka cannot be reached"
                );
                found.problem = Some(reason.to_owned());
            }
            found.reached = false;
        });
    }

    /// The session has ended; another one will begin.
    pub(super) fn failed(&self, member: u32, reason: &str) {
        self.change(member, |found| {
            if found.problem.as_deref() != Some(reason) {
                tracing::warn!(
                    source = self.name,
                    member,
                    reason,
                    "a topic cannot be read for now"
                );
            }
            found.problem = Some(reason.to_owned());
        });
    }

    pub(super) fn assigned(&self, member: u32, place: &(Arc<str>, i32)) {
        self.change(member, |found| {
            found.reached = true;
            found.problem = None;
            found.claims.insert(place.clone());
        });
    }

    pub(super) fn revoked(&self, member: u32, place: &(Arc<str>, i32)) {
        self.change(member, |found| {
            found.claims.remove(place);
        });
    }

    pub(super) fn left(&self, member: u32) {
        self.members.lock().remove(&member);
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn report(&self) -> Report {
        let members = self.members.lock();
        let mut report = Report {
            reached: !members.is_empty() && members.values().all(|found| found.reached),
            problem: members.values().find_map(|found| found.problem.clone()),
            members: u32::try_from(members.len()).unwrap_or(u32::MAX),
            claims: BTreeMap::new(),
        };
        for (topic, number) in members.values().flat_map(|found| &found.claims) {
            let partitions = report.claims.entry(Arc::clone(topic)).or_default();
            partitions.insert(*number);
        }
        report
    }
}

/// What the members of a source share.
#[derive(Debug)]
pub(super) struct Shared {
    namespace: Arc<str>,
    pub(super) name: Arc<str>,
    uid: Mutex<Arc<str>>,
    /// By which the group's offsets are known as ours; also what its members are called.
    pub(super) marker: String,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) reader: Arc<RwLock<Reader>>,
    pub(super) report: Reports,
    pub(super) tracker: TaskTracker,
    sending: Mutex<Arc<Sending>>,
    /// The logs that are delivered from, and where each began.
    delivered: Mutex<BTreeMap<ConsumerId, (Source, Offset)>>,
    /// All that were delivered from since the start.
    known: Mutex<BTreeSet<ConsumerId>>,
}

impl Shared {
    /// Whose deliveries those of a partition are. Neither part of the name can have a colon.
    pub(super) fn consumer_id(&self, topic: &str, number: i32) -> ConsumerId {
        ConsumerId {
            kind: CONSUMER_KIND,
            namespace: Arc::clone(&self.namespace),
            name: format!("{}:{topic}:{number}", self.name).into(),
        }
    }

    /// Delivers from a log, at `at` where nothing else is known of it.
    pub(super) async fn deliver(
        &self,
        id: ConsumerId,
        source: Source,
        at: Offset,
    ) -> Result<(), ApplyError> {
        let config = self.consumer(id.clone(), source.clone(), at);
        self.known.lock().insert(id.clone());
        self.delivered.lock().insert(id, (source, at));
        self.dispatcher.apply(config).await
    }

    /// A log is not delivered from any more.
    pub(super) fn withdrawn(&self, id: &ConsumerId) {
        self.delivered.lock().remove(id);
        self.dispatcher.forget_log(&id.to_string());
    }

    fn consumer(&self, id: ConsumerId, source: Source, at: Offset) -> ConsumerConfig {
        let sending = Arc::clone(&self.sending.lock());
        ConsumerConfig {
            id,
            uid: Arc::clone(&self.uid.lock()),
            source,
            filter: Filter::All,
            subscriber: sending.sink.clone().map(Arc::new),
            reply: None,
            dead_letter: sending.dead_letter.clone().map(Arc::new),
            policy: sending.policy.clone(),
            order: sending.order,
            max_in_flight: sending.max_in_flight,
            start: Start::Offset(at),
            keep_position: None,
        }
    }

    /// Delivers by other rules from now on.
    async fn send_by(&self, config: &SourceConfig) {
        *self.reader.write() = config.reader.clone();
        *self.sending.lock() = Arc::new(config.sending.clone());
        let delivered = self.delivered.lock().clone();
        for (id, (source, at)) in delivered {
            let config = self.consumer(id, source, at);
            if let Err(error) = self.dispatcher.apply(config).await {
                tracing::warn!(source = &*self.name, %error, "deliveries could not be changed");
            }
        }
    }
}

impl KafkaSources {
    /// No sources yet.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self {
            tools,
            running: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Grows when there is something new in a report.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Starts a source, or changes it.
    pub fn apply(&self, namespace: &str, name: &str, config: SourceConfig) {
        let mut running = self.running.lock();
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(found) = running.get(&key) {
            found.wanted.send_if_modified(|wanted| {
                let news = wanted.as_deref() != Some(&config);
                if news {
                    *wanted = Some(Arc::new(config));
                }
                news
            });
            return;
        }
        let shared = Arc::new(Shared {
            namespace: namespace.into(),
            name: name.into(),
            uid: Mutex::new(Arc::clone(&config.uid)),
            marker: format!("heddle-{}-{namespace}-{name}", self.tools.installation),
            dispatcher: Arc::clone(&self.tools.dispatcher),
            reader: Arc::new(RwLock::new(config.reader.clone())),
            report: Reports {
                name: format!("{namespace}/{name}"),
                members: Mutex::default(),
                changes: Arc::clone(&self.changes),
            },
            tracker: self.tools.tracker.clone(),
            sending: Mutex::new(Arc::new(config.sending.clone())),
            delivered: Mutex::default(),
            known: Mutex::default(),
        });
        let (wanted, follow) = watch::channel(Some(Arc::new(config)));
        let task = Follower {
            key: key.clone(),
            shared: Arc::clone(&shared),
            running: Arc::clone(&self.running),
            members: Members::default(),
        };
        let task = task.run(follow, self.tools.stop.clone());
        self.tools.tracker.spawn(task);
        running.insert(key, Running { wanted, shared });
    }

    /// The resource is gone: ends the source, and forgets its positions and dead letters. The group's
    /// offsets stay with the servers.
    pub fn remove(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(running) = self.running.lock().get(&key) {
            running.wanted.send_replace(None);
        }
    }

    /// What is known of a source.
    #[must_use]
    pub fn report(&self, namespace: &str, name: &str) -> Option<Report> {
        let key = (namespace.to_owned(), name.to_owned());
        let running = self.running.lock();
        Some(running.get(&key)?.shared.report.report())
    }
}

/// Brings about what is wanted of a source.
#[derive(Debug)]
struct Follower {
    key: (String, String),
    shared: Arc<Shared>,
    running: Arc<Mutex<Sources>>,
    members: Members,
}

impl Follower {
    async fn run(
        mut self,
        mut wanted: watch::Receiver<Option<Arc<SourceConfig>>>,
        stop: CancellationToken,
    ) {
        loop {
            let config = wanted.borrow_and_update().clone();
            match config {
                Some(config) => self.bring_about(config, &stop).await,
                None => {
                    self.members.end().await;
                    self.members.config = None;
                    self.shared.forget().await;
                    let mut running = self.running.lock();
                    // It may be wanted again by now.
                    if wanted.borrow().is_none() {
                        running.remove(&self.key);
                        return;
                    }
                }
            }
            match stop.run_until_cancelled(wanted.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return self.members.end().await,
            }
        }
    }

    async fn bring_about(&mut self, config: Arc<SourceConfig>, stop: &CancellationToken) {
        let before = self.members.config.as_ref();
        let same = before.is_some_and(|before| before.same_members(&config));
        if !same {
            self.members.end().await;
            *self.shared.uid.lock() = Arc::clone(&config.uid);
        }
        self.shared.send_by(&config).await;
        if !same {
            self.members.begin(&self.shared, &config, stop);
        }
        self.members.config = Some(config);
    }
}

/// The members of a source that run.
#[derive(Debug, Default)]
struct Members {
    config: Option<Arc<SourceConfig>>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Members {
    fn begin(
        &mut self,
        shared: &Arc<Shared>,
        config: &Arc<SourceConfig>,
        stop: &CancellationToken,
    ) {
        self.stop = stop.child_token();
        for number in 0..config.consumers.min(super::MAX_CONSUMERS) {
            let member = Arc::new(Member {
                shared: Arc::clone(shared),
                config: Arc::clone(config),
                number,
                runtime: Handle::current(),
                stop: self.stop.clone(),
            });
            self.threads
                .push(shared.tracker.spawn_blocking(move || member.run()));
        }
    }

    async fn end(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            if let Err(error) = thread.await {
                tracing::error!(%error, "a member of a consumer group has failed");
            }
        }
    }
}

impl Shared {
    /// Forgets the positions and the dead letters of a source that is gone.
    async fn forget(&self) {
        let known = std::mem::take(&mut *self.known.lock());
        for id in &known {
            self.dispatcher.remove(id).await;
        }
        // Those of partitions that went elsewhere before the start.
        let mine = format!("{CONSUMER_KIND}/{}/{}:", self.namespace, self.name);
        self.dispatcher.retain(|id| !id.starts_with(&mine));
    }
}
