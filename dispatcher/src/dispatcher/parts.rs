//! A running consumer and its parts: one for each partition of its log, each with a task where it has
//! something to do, a position and a window of its own.
//!
//! The parts share the subscriber, the limit of deliveries at a time, counters and the dead letter log.
//! Most logs have one partition, and their consumers one part.

use std::sync::{Arc, OnceLock};

use futures::future::join_all;
use heddle_broker::log::partitions::name_of;
use heddle_broker::log::{Log, Offset, ReadError};

use super::{ApplyError, Dispatcher, choose, letters};
use crate::config::{ConsumerConfig, Order, Source, Start};
use crate::consumer::{Ending, Shared, Whole, open_dead_letters};
use crate::cursor::Cursor;
use crate::delivery::dead_letter;
use crate::feed::{Called, Seat};
use crate::positions::{Position, Positions, State};
use crate::route::{Routes, fnv1a};
use crate::stats::{ConsumerStats, read};
use crate::turns::Turns;

/// The least that the window of a part holds, in bytes, however many parts there are.
const LEAST_WINDOW: usize = 256 << 10;

/// A consumer that runs: its parts, of which there is at least one.
#[derive(Debug)]
pub(super) struct Running(Box<[Arc<Shared>]>);

/// Where a part starts.
struct Place {
    name: Arc<str>,
    log: Arc<dyn Log>,
    position: Arc<Position>,
}

impl Running {
    /// The first part, which stands for the whole where there is one thing for all.
    pub(super) fn first(&self) -> Option<&Arc<Shared>> {
        self.0.first()
    }

    fn whole(&self) -> Option<&Whole> {
        self.first().map(|part| &*part.whole)
    }

    /// Tells all that goes on to end.
    pub(super) fn tell(&self, how: Ending) {
        self.0.iter().for_each(|part| part.tell(how));
    }

    /// Ends it. What is returned waits for the end of its deliveries.
    pub(super) fn end(&self, how: Ending) -> impl Future<Output = ()> + Send + use<> {
        let parts: Vec<_> = self.0.iter().map(|part| part.end(how)).collect();
        let redrives = self.whole().and_then(|whole| whole.redrives.get());
        let one = redrives.map(|redrives| {
            match how {
                Ending::Stop => redrives.ends.stop.cancel(),
                Ending::Force => redrives.ends.force.cancel(),
            }
            Arc::clone(&redrives.one)
        });
        async move {
            join_all(parts).await;
            if let Some(one) = one {
                drop(one.lock().await);
            }
        }
    }

    /// Takes over a changed configuration. False when the consumer has to be started again.
    pub(super) fn change(&self, config: &ConsumerConfig, dispatcher: &Dispatcher) -> bool {
        let Some(first) = self.first() else {
            return false;
        };
        let before = Arc::clone(&first.routes.lock());
        let same_source = first.whole.source == config.source;
        let same_resource = before.config.uid == config.uid || config.keep_position.is_some();
        let ended = self.0.iter().any(|part| part.has_ended());
        if !same_source || !same_resource || ended {
            return false;
        }
        let parts = || self.0.iter().zip(config.source.parts());
        let is = |part: &Shared, config: &ConsumerConfig| part.routes.lock().config == *config;
        if parts().all(|(part, (name, log))| is(part, &of_part(config, &name, log))) {
            return true;
        }
        let resumes =
            before.config.uid != config.uid || before.config.keep_position != config.keep_position;
        if let Some(turns) = &first.whole.turns {
            turns.set_limit(limit(config));
        }
        for (shared, (name, log)) in parts() {
            if resumes {
                let uid = Arc::clone(&config.uid);
                Positions::resume(&shared.position, uid, config.keep_position);
            }
            choose(&shared.seat, config);
            let before = Arc::clone(&shared.routes.lock());
            let config = of_part(config, &name, log);
            let routes = Routes::new(config, &dispatcher.roads, Some(&before));
            *shared.routes.lock() = Arc::new(routes);
            Arc::clone(shared).call();
        }
        true
    }

    /// Shows its positions where its logs are kept.
    pub(super) fn show(&self, id: &str) {
        for part in &self.0 {
            part.log().show(id, stats(part).position);
        }
    }

    /// How it is doing, all parts together.
    pub(super) fn stats(&self) -> ConsumerStats {
        let mut parts = self.0.iter().map(|part| stats(part));
        let mut sum = parts.next().unwrap_or_default();
        parts.for_each(|part| sum.add(part));
        if let Some(first) = self.first() {
            let (letters, kept) = letters::count(first);
            sum.dead_letters_kept = kept;
            sum.dead_letters_expired = letters.expired_unread;
            let meters = &first.whole.meters;
            sum.dead_lettered = read(&meters.dead_lettered);
            sum.kept = read(&meters.kept);
            sum.dropped_replies = read(&meters.dropped_replies);
        }
        sum
    }
}

/// How one part is doing.
fn stats(shared: &Shared) -> ConsumerStats {
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
    let tail = *shared.log().tail().borrow();
    ConsumerStats {
        position: if rides && open == 0 { looked_at } else { floor },
        following: progress.is_some(),
        next: looked_at,
        backlog: tail.saturating_sub(looked_at) + (queued + open) as u64,
        ..shared.board.stats(inbox.counts())
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
        let whole = Arc::new(Whole {
            source: config.source.clone(),
            meters: self.metrics.meters(&config.id),
            turns: (count > 1).then(|| Turns::new(limit(&config))),
            window_bytes: self.window(count),
            dead_letters: OnceLock::new(),
            redrives: OnceLock::new(),
        });
        let parts: Box<[_]> = places
            .iter()
            .map(|place| self.shared(&config, place, &whole))
            .collect();
        let letters = dead_letter::log_name(&config.id);
        if let Some(first) = parts.first()
            && self.with_dead_letters.contains(&letters)
        {
            open_dead_letters(first).await?;
        }
        let running = Running(parts.clone());
        // Known before there is a task of it, so that who ends all finds it.
        self.consumers.lock().insert(config.id, running);
        for part in parts {
            tracing::debug!(consumer = %part.id(), position = part.position.name(), "started");
            part.call();
        }
        Ok(fresh)
    }

    /// The bytes that the window of one of so many parts holds.
    fn window(&self, parts: usize) -> usize {
        (self.window_bytes / parts.max(1)).max(LEAST_WINDOW.min(self.window_bytes))
    }

    /// A part, which rests.
    fn shared(&self, config: &ConsumerConfig, place: &Place, whole: &Arc<Whole>) -> Arc<Shared> {
        let Place {
            name,
            log,
            position,
        } = place;
        self.positions.serve(name, log);
        let routes = Routes::new(of_part(config, name, log), &self.roads, None);
        let seed = self.seed ^ fnv1a(position.name());
        Shared::new(whole, &self.tools, routes, position, seed, |owner| {
            let feed = self.feeds.get(name, log);
            let (bytes, budget) = (whole.window_bytes / 2, Arc::clone(&self.tools.budget));
            let seat = Seat::take(feed, owner, bytes, budget, Arc::clone(position));
            choose(&seat, config);
            seat
        })
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
