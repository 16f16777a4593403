//! All consumers of a process: what the control plane talks to.
//!
//! [`Dispatcher::apply`] starts a consumer, or changes a running one; [`Dispatcher::begin`] does so
//! without waiting until its position is durable, so that many can begin together;
//! [`Dispatcher::remove`] ends one whose resource is gone. Everything else goes on by itself until the two tokens of
//! [`DispatcherOptions`] say otherwise: after `stop` nothing new is started and attempts under way
//! may end; after `force` they are given up. In both cases positions are written last.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use heddle_broker::clock::Clock;
use heddle_broker::filter::index::Pruning;
use heddle_broker::log::{LogStore, Offset, OpenError as LogOpenError, ReadError};
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::config::{ConsumerConfig, ConsumerId, Source};
use crate::consumer::{Ending, Ends, Tools};
use crate::feed::{Feeds, Seat};
use crate::metrics::{self, Metrics, Observed};
use crate::positions::{Durable, OpenError, Positions, Ticket, Writes};
use crate::route::{Roads, fnv1a};
use crate::stats::ConsumerStats;
use crate::subscriber::LocalSubscribers;
use crate::subscriber::http::Executor;
use crate::window::Budget;

mod letters;
mod parts;

pub use letters::DeadLetters;
use parts::Running;

/// What a dispatcher is opened with.
#[derive(Debug)]
pub struct DispatcherOptions {
    /// Opens what keeps positions; once more each time that it has failed.
    pub state: sled::Config,
    /// The directory that `state` names.
    pub state_dir: PathBuf,
    /// Keeps the dead letter logs of consumers without a sink.
    pub dead_letters: Arc<dyn LogStore>,
    /// What `local://` addresses name.
    pub locals: LocalSubscribers,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Spreads waits. The same seed gives the same waits.
    pub seed: u64,
    /// Runs all tasks.
    pub tracker: TaskTracker,
    /// Ends gracefully.
    pub stop: CancellationToken,
    /// Ends at once.
    pub force: CancellationToken,
    /// About the most bytes of events that one consumer holds.
    pub window_bytes: usize,
    /// About the most bytes of events that all consumers together hold. Past it, each still may
    /// hold one event.
    pub total_bytes: usize,
}

/// Between two times that positions are shown where logs are kept.
const SHOW: Duration = Duration::from_secs(5);

/// Changes that may go on at a time; each may wait for a server, or for the end of deliveries.
const TURNS: usize = 64;

/// The default of [`DispatcherOptions::window_bytes`].
pub const WINDOW_BYTES: usize = 8 << 20;
/// The default of [`DispatcherOptions::total_bytes`].
pub const TOTAL_BYTES: usize = 256 << 20;

/// A consumer could not be started. Trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Its place in the log could not be found.
    #[error("{id}: the place to start could not be found: {source}")]
    Start {
        /// Whose.
        id: ConsumerId,
        /// Why.
        source: ReadError,
    },
    /// The dispatcher is being shut down.
    #[error("the dispatcher is shutting down")]
    Stopped,
    /// Its dead letter log, which exists, could not be opened.
    #[error(transparent)]
    DeadLetters(#[from] LogOpenError),
}

/// The consumers that run.
type Consumers = Arc<Mutex<HashMap<ConsumerId, Running>>>;

/// See the module.
#[derive(Debug)]
pub struct Dispatcher {
    consumers: Consumers,
    /// One change of a consumer at a time. Consumers share one of these locks by their names.
    changes: [tokio::sync::Mutex<()>; TURNS],
    positions: Arc<Positions>,
    feeds: Feeds,
    metrics: Metrics,
    tools: Arc<Tools>,
    roads: Roads,
    with_dead_letters: HashSet<String>,
    seed: u64,
    window_bytes: usize,
}

impl Dispatcher {
    /// Opens the positions and starts what all consumers share.
    ///
    /// # Errors
    ///
    /// When the positions cannot be read.
    pub fn open(
        options: DispatcherOptions,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, OpenError> {
        let DispatcherOptions {
            state,
            state_dir,
            dead_letters,
            locals,
            clock,
            seed,
            tracker,
            stop,
            force,
            window_bytes,
            total_bytes,
        } = options;
        let writes = Writes::default();
        writes.register(registry);
        let positions = Positions::open(
            state,
            state_dir,
            Arc::clone(&dead_letters),
            Arc::clone(&clock),
            writes,
        )?;
        let connections = CancellationToken::new();
        let with_dead_letters = dead_letters.names().into_iter().collect();
        let this = Arc::new(Self {
            consumers: Consumers::default(),
            changes: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            feeds: Feeds::new(Arc::clone(&positions), tracker.clone(), stop.clone()),
            metrics: Metrics::register(registry),
            tools: Arc::new(Tools {
                clock,
                dead_letters,
                tracker: tracker.clone(),
                running: TaskTracker::new(),
                ends: Ends { stop, force },
                budget: Budget::new(total_bytes),
            }),
            roads: Roads {
                locals,
                executor: Executor {
                    tracker: tracker.clone(),
                    stop: connections.clone(),
                },
            },
            positions: Arc::clone(&positions),
            with_dead_letters,
            seed,
            window_bytes,
        });
        metrics::observe(&this, registry);
        let written = CancellationToken::new();
        tracker.spawn(positions.run(tracker.clone(), written.clone()));
        let stop = this.tools.ends.stop.clone();
        tracker.spawn(show(Arc::downgrade(&this), stop));
        tracker.spawn(close(
            Arc::clone(&this.tools),
            Arc::clone(&this.consumers),
            connections,
            written,
        ));
        Ok(this)
    }

    /// Starts a consumer, or changes a running one; its position stays. One that is as it should be
    /// is left alone. When this returns, the
    /// consumer has a durable position: what is accepted from now on will reach it.
    ///
    /// # Errors
    ///
    /// See [`ApplyError`]. Nothing has been started then.
    pub async fn apply(&self, config: ConsumerConfig) -> Result<(), ApplyError> {
        if let Some(ticket) = self.begin(config).await? {
            self.positions.wait(ticket).await;
        }
        Ok(())
    }

    /// Like [`Dispatcher::apply`], but returns as soon as the consumer runs. Where it has a new position
    /// there is a ticket for that, and what is accepted from now on is sure to reach it only once
    /// [`Dispatcher::durable`] covers it.
    ///
    /// # Errors
    ///
    /// See [`ApplyError`]. Nothing has been started then.
    pub async fn begin(&self, config: ConsumerConfig) -> Result<Option<Ticket>, ApplyError> {
        if self.tools.ends.stop.is_cancelled() {
            return Err(ApplyError::Stopped);
        }
        let _one = self.turn(&config.id).lock().await;
        if self.change(&config) {
            return Ok(None);
        }
        self.halt(&config.id).await;
        let fresh = self.start(config).await?;
        Ok(fresh.then(|| self.positions.ask()))
    }

    /// Which positions have become durable, and why others have not; more as it changes.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.positions.durable()
    }

    /// The resource is gone: ends its consumer, and forgets its position, or keeps it for as long
    /// as the consumer was told.
    pub async fn remove(&self, id: &ConsumerId) {
        let _one = self.turn(id).lock().await;
        self.halt(id).await;
        self.positions.forget(id);
        self.metrics.remove(id);
        info!(consumer = %id, "removed");
    }

    /// Ends a consumer that goes on later, or elsewhere: nothing new is started, and deliveries under
    /// way may end for as long as `patience`. Its position and its dead letters stay. Returns the
    /// offset below which it is done with everything, in the first partition of its log.
    pub async fn suspend(&self, id: &ConsumerId, patience: Duration) -> Option<Offset> {
        let ended = self.consumers.lock().get(id)?.end(Ending::Stop);
        let _ = tokio::time::timeout(patience, ended).await;
        let _one = self.turn(id).lock().await;
        self.halt(id).await;
        let position = self.positions.find(id)?;
        Some(position.look(|state| state.cursor.floor()))
    }

    /// Forgets where a consumer that does not run stands, but not its dead letters: it starts where it
    /// is told to.
    pub fn disown(&self, id: &ConsumerId) {
        if let Some(position) = self.positions.find(id) {
            position.update(|state| state.uid = "".into());
        }
    }

    /// Says which consumers exist, by their ids as text, after all of them have been applied: the
    /// positions of others are forgotten as if they had been removed now.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.positions.retain(exists);
    }

    /// Says that all consumers of a log have been applied. As long as it has none, retention may
    /// remove what is in it.
    pub fn settled(&self, source: &Source) {
        for (name, log) in source.parts() {
            self.positions.settled(&name, log);
        }
    }

    /// Says that a log is gone.
    pub fn forget_log(&self, name: &str) {
        self.positions.unserve(name);
    }

    /// How a consumer is doing.
    #[must_use]
    pub fn stats(&self, id: &ConsumerId) -> Option<ConsumerStats> {
        self.consumers.lock().get(id).map(Running::stats)
    }

    /// When the filter of a consumer is evaluated.
    #[must_use]
    pub fn pruning(&self, id: &ConsumerId) -> Option<Pruning> {
        let consumers = self.consumers.lock();
        let routes = Arc::clone(&consumers.get(id)?.first()?.routes.lock());
        drop(consumers);
        Some(routes.config.filter.pruning())
    }

    /// The consumers that run.
    #[must_use]
    pub fn consumers(&self) -> Vec<ConsumerId> {
        self.consumers.lock().keys().cloned().collect()
    }

    /// Bytes of events that all consumers together hold.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.tools.budget.used()
    }

    /// Who holds this is the only one to change the consumer.
    fn turn(&self, id: &ConsumerId) -> &tokio::sync::Mutex<()> {
        &self.changes[fnv1a(&id.name) as usize % TURNS]
    }

    /// Changes a running consumer. False when it does not run, or has to be started again.
    fn change(&self, config: &ConsumerConfig) -> bool {
        let consumers = self.consumers.lock();
        let running = consumers.get(&config.id);
        let changed = running.is_some_and(|running| running.change(config, self));
        if changed {
            debug!(consumer = %config.id, "changed");
        }
        changed
    }

    /// Ends a consumer and waits until nothing of it goes on. Its position stays.
    async fn halt(&self, id: &ConsumerId) {
        let running = self.consumers.lock().remove(id);
        if let Some(running) = running {
            running.end(Ending::Force).await;
        }
    }
}

impl Observed for Dispatcher {
    fn observe(&self) -> Vec<(ConsumerId, ConsumerStats, f64)> {
        let now = self.tools.clock.now();
        let consumers = self.consumers.lock();
        let observe = |(id, running): (&ConsumerId, &Running)| {
            let stats = running.stats();
            let age = |oldest: Timestamp| now.duration_since(oldest).as_secs_f64().max(0.0);
            let age = stats.oldest_undelivered.map_or(0.0, age);
            (id.clone(), stats, age)
        };
        consumers.iter().map(observe).collect()
    }
}

/// Shows the positions of all consumers where their logs are kept, until the dispatcher ends.
async fn show(dispatcher: Weak<Dispatcher>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(SHOW))
        .await
        .is_some()
    {
        let Some(this) = dispatcher.upgrade() else {
            return;
        };
        for (id, running) in this.consumers.lock().iter() {
            let id = id.to_string();
            running.show(&id);
        }
    }
}

/// Ends all consumers, then connections, and then lets positions be written a last time.
async fn close(
    tools: Arc<Tools>,
    consumers: Consumers,
    connections: CancellationToken,
    written: CancellationToken,
) {
    let Ends { stop, force } = &tools.ends;
    let tell = |how| consumers.lock().values().for_each(|one| one.tell(how));
    tokio::select! {
        () = stop.cancelled() => tell(Ending::Stop),
        () = force.cancelled() => tell(Ending::Force),
    }
    tools.running.close();
    let ended = force.run_until_cancelled(tools.running.wait()).await;
    if ended.is_none() {
        tell(Ending::Force);
        tools.running.wait().await;
    }
    connections.cancel();
    written.cancel();
}

/// Says which events a consumer wants, and how many may queue for it. Without a subscriber it takes
/// none: what it wants may change until it has one.
fn choose(seat: &Seat, config: &ConsumerConfig) {
    let takes = config.subscriber.is_some();
    seat.set_filter(takes.then_some(&config.filter));
    seat.inbox().set_max_events(queue(config));
}

/// How many events may queue for a consumer that shares the reading.
fn queue(config: &ConsumerConfig) -> usize {
    (2 * config.max_in_flight as usize).max(512)
}
