//! A running consumer and its parts: one for each partition of its log, each with a task, a position and
//! a window of its own.
//!
//! The parts share the subscriber, the limit of deliveries at a time, counters and the dead letter log.
//! Most logs have one partition, and their consumers one part.

use std::sync::{Arc, OnceLock};

use heddle_broker::log::partitions::name_of;
use heddle_broker::log::{Log, Offset, ReadError};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{ApplyError, Dispatcher, choose, letters};
use crate::config::{ConsumerConfig, Order, Source, Start};
use crate::consumer::{Ends, Reading, Resting, Shared, open_dead_letters};
use crate::cursor::Cursor;
use crate::delivery::dead_letter;
use crate::feed::Seat;
use crate::positions::{Position, Positions, State};
use crate::route::{Routes, fnv1a};
use crate::stats::{Board, ConsumerStats};
use crate::turns::{Hold, Turns};

/// The least that the window of a part holds, in bytes, however many parts there are.
const LEAST_WINDOW: usize = 256 << 10;

/// A consumer that runs.
#[derive(Debug)]
pub(super) struct Running {
    /// Never empty.
    pub(super) parts: Vec<Part>,
    turns: Option<Arc<Turns>>,
    pub(super) ends: Ends,
    pub(super) source: Source,
    /// Locked by whoever redrives its dead letters.
    pub(super) redriving: Arc<tokio::sync::Mutex<()>>,
}

/// What a consumer does about one partition.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) shared: Arc<Shared>,
    pub(super) done: CancellationToken,
    log: Arc<dyn Log>,
}

/// Where a part starts.
struct Place {
    name: Arc<str>,
    log: Arc<dyn Log>,
    position: Arc<Position>,
}

impl Running {
    /// The first part, which stands for the whole where there is one thing for all.
    pub(super) fn first(&self) -> Option<&Arc<Shared>> {
        self.parts.first().map(|part| &part.shared)
    }

    /// Takes over a changed configuration. False when the consumer has to be started again.
    pub(super) fn change(&self, config: &ConsumerConfig, dispatcher: &Dispatcher) -> bool {
        let Some(first) = self.first() else {
            return false;
        };
        let before = Arc::clone(&first.routes.lock());
        let same_source = self.source == config.source;
        let same_resource = before.config.uid == config.uid || config.keep_position.is_some();
        let ended = self.parts.iter().any(|part| part.done.is_cancelled());
        if !same_source || !same_resource || ended {
            return false;
        }
        let parts = || self.parts.iter().zip(config.source.parts());
        if parts().all(|(part, (name, log))| part.is(&of_part(config, &name, log))) {
            return true;
        }
        let resumes =
            before.config.uid != config.uid || before.config.keep_position != config.keep_position;
        if let Some(turns) = &self.turns {
            turns.set_limit(limit(config));
        }
        for (part, (name, log)) in parts() {
            let shared = &part.shared;
            if resumes {
                let uid = Arc::clone(&config.uid);
                Positions::resume(&shared.position, uid, config.keep_position);
            }
            choose(&shared.seat, config);
            let before = Arc::clone(&shared.routes.lock());
            let config = of_part(config, &name, log);
            let routes = Routes::new(config, &dispatcher.roads, Some(&before));
            *shared.routes.lock() = Arc::new(routes);
            shared.changed.notify_one();
        }
        true
    }

    /// How it is doing, all parts together.
    pub(super) fn stats(&self) -> ConsumerStats {
        let mut parts = self.parts.iter().map(Part::stats);
        let mut sum = parts.next().unwrap_or_default();
        parts.for_each(|part| sum.add(part));
        if let Some(first) = self.first() {
            let (letters, kept) = letters::count(first);
            sum.dead_letters_kept = kept;
            sum.dead_letters_expired = letters.expired_unread;
        }
        sum
    }
}

impl Part {
    /// Whether this is how it is configured.
    fn is(&self, config: &ConsumerConfig) -> bool {
        self.shared.routes.lock().config == *config
    }

    /// Shows its position where its log is kept.
    pub(super) fn show(&self, id: &str) {
        self.log.show(id, self.stats().position);
    }

    fn stats(&self) -> ConsumerStats {
        let shared = &self.shared;
        let inbox = shared.seat.inbox();
        // Looked at before the position: if that rides, it is done with everything up to there.
        let progress = inbox.progress();
        let (floor, next, open, rides) = shared.position.look(|state| {
            let cursor = &state.cursor;
            let rides = state.rides.is_some();
            (cursor.floor(), cursor.next(), cursor.open_len(), rides)
        });
        let (looked_at, queued) = progress.unwrap_or((next, 0));
        let looked_at = looked_at.max(next);
        let tail = *self.log.tail().borrow();
        ConsumerStats {
            position: if rides && open == 0 { looked_at } else { floor },
            following: progress.is_some(),
            next: looked_at,
            backlog: tail.saturating_sub(looked_at) + (queued + open) as u64,
            ..shared.board.stats(inbox.counts())
        }
    }
}

/// The configuration of one part. The name of its log goes into the keys of its deliveries.
fn of_part(config: &ConsumerConfig, name: &Arc<str>, log: &Arc<dyn Log>) -> ConsumerConfig {
    if config.source.logs.all().len() == 1 {
        return config.clone();
    }
    ConsumerConfig {
        source: Source {
            name: Arc::clone(name),
            logs: Arc::clone(log).into(),
        },
        ..config.clone()
    }
}

/// The most deliveries of all parts at the same time.
fn limit(config: &ConsumerConfig) -> usize {
    match config.order {
        // One for each partition, whose windows see to it.
        Order::Ordered => config.source.logs.all().len(),
        Order::Unordered | Order::Key => config.max_in_flight.max(1) as usize,
    }
}

impl Dispatcher {
    /// Starts a consumer. True when it has a new position.
    pub(super) async fn start(&self, config: ConsumerConfig) -> Result<bool, ApplyError> {
        let (places, fresh) = self.places(&config).await?;
        let count = places.len();
        let turns = (count > 1).then(|| Turns::new(limit(&config)));
        let ends = Ends {
            stop: self.ends.stop.child_token(),
            force: self.ends.force.child_token(),
        };
        let dead_letters = Arc::<OnceLock<_>>::default();
        let mut parts = Vec::with_capacity(count);
        for place in places {
            let shared = self.shared(&config, &place, &dead_letters, count);
            if parts.is_empty()
                && self
                    .with_dead_letters
                    .contains(&dead_letter::log_name(&config.id))
            {
                open_dead_letters(&shared, &self.tools).await?;
            }
            parts.push((shared, place));
        }
        let run = |(shared, place): (Arc<Shared>, Place)| {
            self.run(shared, place, &ends, Hold::new(turns.clone()), count)
        };
        let parts = parts.into_iter().map(run).collect();
        let running = Running {
            parts,
            turns,
            ends,
            source: config.source,
            redriving: Arc::default(),
        };
        self.consumers.lock().insert(config.id, running);
        Ok(fresh)
    }

    /// The bytes that the window of one of so many parts holds.
    fn window(&self, parts: usize) -> usize {
        (self.window_bytes / parts.max(1)).max(LEAST_WINDOW.min(self.window_bytes))
    }

    fn shared(
        &self,
        config: &ConsumerConfig,
        place: &Place,
        dead_letters: &Arc<OnceLock<Arc<dyn Log>>>,
        parts: usize,
    ) -> Arc<Shared> {
        let Place {
            name,
            log,
            position,
        } = place;
        self.positions.serve(name, log);
        let seat = Arc::new(Seat::take(
            self.feeds.get(name, log),
            self.window(parts) / 2,
            Arc::clone(&self.budget),
            Arc::clone(position),
        ));
        choose(&seat, config);
        let routes = Routes::new(of_part(config, name, log), &self.roads, None);
        Arc::new(Shared {
            id: config.id.clone(),
            routes: Mutex::new(Arc::new(routes)),
            changed: Notify::new(),
            position: Arc::clone(position),
            seat,
            board: Board::default(),
            meters: self.metrics.meters(&config.id),
            dead_letters: Arc::clone(dead_letters),
        })
    }

    /// Starts the task of a part.
    fn run(
        &self,
        shared: Arc<Shared>,
        place: Place,
        ends: &Ends,
        turns: Hold,
        parts: usize,
    ) -> Part {
        let Place { name, log, .. } = place;
        let floor = shared.position.look(|state| state.cursor.floor());
        let budget = Arc::clone(&self.budget);
        let seat = Arc::clone(&shared.seat);
        let whose = shared.position.name();
        let consumer = Resting::new(
            Arc::clone(&shared),
            Arc::clone(&self.tools),
            ends.clone(),
            Reading::new(Arc::clone(&log), seat, Arc::clone(&budget), floor),
            (self.window(parts), budget),
            turns,
            self.seed ^ fnv1a(whose),
        );
        let done = CancellationToken::new();
        let guard = done.clone().drop_guard();
        let task = self.running.track_future(async move {
            let _done = guard;
            consumer.run().await;
        });
        self.tools.tracker.spawn(task);
        tracing::debug!(consumer = %shared.id, log = %name, offset = floor, "started");
        Part { shared, done, log }
    }

    /// Where the parts of a consumer start. True when one of them has a new position.
    async fn places(&self, config: &ConsumerConfig) -> Result<(Vec<Place>, bool), ApplyError> {
        let mut places = Vec::new();
        let (mut fresh, mut resumed) = (false, false);
        for (number, (name, log)) in config.source.parts().enumerate() {
            let whose = name_of(&config.id.to_string(), number);
            let position = match self.resumed(config, &whose, &name, &**log) {
                Ok(position) => {
                    resumed = true;
                    position
                }
                Err(at) => {
                    fresh = true;
                    // A partition that came later is read from its beginning: nobody knew of it.
                    let at = match at.or_else(|| resumed.then(|| log.stats().first)) {
                        Some(at) => at,
                        None => self.first_of(config, &**log).await?,
                    };
                    self.positions.create(&whose, self.state(config, &name, at))
                }
            };
            let (name, log) = (Arc::clone(&name), Arc::clone(log));
            places.push(Place {
                name,
                log,
                position,
            });
        }
        Ok((places, fresh))
    }

    fn state(&self, config: &ConsumerConfig, log: &Arc<str>, at: Offset) -> State {
        let (uid, log) = (Arc::clone(&config.uid), Arc::clone(log));
        State::new(uid, log, Cursor::at(at), config.keep_position)
    }

    /// The stored position of a part, where it resumes; otherwise where it has to start, if that is known.
    fn resumed(
        &self,
        config: &ConsumerConfig,
        whose: &String,
        log_name: &Arc<str>,
        log: &dyn Log,
    ) -> Result<Arc<Position>, Option<Offset>> {
        let stats = log.stats();
        let found = self.positions.find(whose).ok_or(None)?;
        let (damaged, resumes, next) = found.look(|state| {
            let same = state.uid == config.uid || config.keep_position.is_some();
            let resumes = same && state.log == *log_name;
            (state.damaged, resumes, state.cursor.next())
        });
        if damaged || (resumes && next > stats.next) {
            // What it pointed to is not known, or was a log that is not there any more.
            return Err(Some(stats.first));
        }
        if !resumes {
            return Err(None);
        }
        Positions::resume(&found, Arc::clone(&config.uid), config.keep_position);
        Ok(found)
    }

    /// Where a part without a position starts.
    async fn first_of(&self, config: &ConsumerConfig, log: &dyn Log) -> Result<Offset, ApplyError> {
        let tail = *log.tail().borrow();
        let found = match config.start {
            Start::Latest => Ok(tail),
            Start::Earliest => Ok(log.stats().first),
            Start::Time(time) => log.offset_at(time).await,
            Start::Offset(offset) => Ok(offset.clamp(log.stats().first, tail)),
        };
        found.map_err(|source: ReadError| ApplyError::Start {
            id: config.id.clone(),
            source,
        })
    }
}
