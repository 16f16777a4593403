//! The executor: starts, changes and stops consumers, and hands on what is to be written.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures::FutureExt;
use heddle_broker::control::OpenLogs;
use heddle_broker::log::Partitions;
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::world::World;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::watch;

use super::changes::{Changes, Done};
use super::{Facts, LogRef, Runs, Step, Wanted, WantedReply, plan};
use crate::config::{ConsumerConfig, ConsumerId, ReplyTo, Source};
use crate::{Dispatcher, Durable};

/// Turns Triggers and Subscriptions into consumers.
#[derive(Debug)]
pub struct Control {
    dispatcher: Arc<Dispatcher>,
    facts: Facts,
    settled: BTreeMap<String, Settled>,
    changes: Changes,
    durable: watch::Receiver<Durable>,
}

/// How what was planned has gone. A later one tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ran {
    /// A status may say what was planned.
    AsPlanned,
    /// Otherwise; what is known now makes another plan.
    Otherwise,
    /// It is not known yet: a change is under way, or a position is not durable.
    Waits,
}

/// A log whose consumers have been applied.
#[derive(Debug)]
struct Settled {
    logs: Partitions,
    /// Whether that was said of these very logs; others of the name may have been there before.
    told: bool,
}

impl Control {
    /// A controller that tells `dispatcher` what to deliver. `handlers` are the names that `local://`
    /// addresses may have.
    #[must_use]
    pub fn new(dispatcher: Arc<Dispatcher>, logs: OpenLogs, handlers: BTreeSet<String>) -> Self {
        let facts = Facts {
            handlers,
            logs,
            ..Facts::default()
        };
        Self {
            durable: dispatcher.durable(),
            dispatcher,
            facts,
            settled: BTreeMap::new(),
            changes: Changes::default(),
        }
    }

    /// Waits until a change of a consumer is done that took its time, or there is news of positions that
    /// were not durable, and returns the keys that are to be looked at again for it. Nothing is lost when
    /// this is dropped before it is done.
    pub async fn next(&mut self) -> Vec<Key> {
        tokio::select! {
            (done, keys) = self.changes.next() => {
                if let Some(key) = keys.first() {
                    self.finish(done, key);
                }
                keys
            }
            keys = self.facts.beginning.next(&mut self.durable) => keys,
        }
    }

    /// Whether changes of consumers are under way, or consumers wait for their positions to be durable and
    /// nothing is known to be in the way of that: [`Control::next`] will have keys.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.changes.is_empty() || self.facts.beginning.goes_on()
    }

    /// Whether another key may be looked at. If not, [`Control::next`] makes room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.changes.have_room()
    }

    /// Forgets the positions of consumers whose resources went while the process was down. To be
    /// called once the world is complete.
    pub fn retain(&self, world: &World) {
        let existing = consumers(world);
        self.dispatcher
            .retain(|id| existing.contains(id) || is_of_source(world, id));
    }

    /// Says that all consumers that there are have been applied, so that logs without one may be
    /// trimmed, and that logs are gone which are not open any more. To be called when no key waits.
    /// True when a log was replaced by another one of its name, under those that read it: all are to be
    /// looked at again, and only then are those of the new one known.
    pub fn settle(&mut self) -> bool {
        let open = self.facts.logs.all();
        self.settled.retain(|name, _| {
            let stays = open.contains_key(name);
            if !stays {
                self.dispatcher.forget_log(name);
            }
            stays
        });
        let mut replaced = false;
        for (name, logs) in open {
            let known = self.settled.get_mut(&name);
            if let Some(known) = known.filter(|known| known.logs != logs) {
                *known = Settled { logs, told: false };
                replaced = true;
                continue;
            }
            let known = self.settled.entry(name.clone());
            let known = known.or_insert_with(|| Settled {
                logs: logs.clone(),
                told: false,
            });
            if !std::mem::replace(&mut known.told, true) {
                let name = name.into();
                self.dispatcher.settled(&Source { name, logs });
            }
        }
        replaced
    }

    /// Does what is to be done about one key, or starts it, and returns what is to be written. What there
    /// is to say about consumers that are not done with, or whose positions are not durable yet, comes when
    /// their keys come again.
    pub fn reconcile(&mut self, world: &World, key: &Key, now: Timestamp) -> Vec<Write> {
        let mut steps = plan(world, &self.facts, key, now);
        // Statuses are planned for consumers that start.
        let ran = self.run(&steps, key);
        if ran == Ran::Otherwise {
            steps = plan(world, &self.facts, key, now);
        }
        let writes = steps.into_iter().filter_map(|step| match step {
            Step::Write(Write::Status(..)) if ran == Ran::Waits => None,
            Step::Write(write) => Some(write),
            Step::Consume(_) | Step::Stop(_) => None,
        });
        writes.collect()
    }

    /// Starts, changes and stops consumers.
    fn run(&mut self, steps: &[Step], key: &Key) -> Ran {
        let mut ran = Ran::AsPlanned;
        for step in steps {
            match step {
                Step::Consume(wanted) => ran = ran.max(self.consume(wanted, key)),
                Step::Stop(id) => self.stop(id, key),
                Step::Write(_) => {}
            }
        }
        ran
    }

    /// Starts or changes a consumer that `key` asks for.
    fn consume(&mut self, wanted: &Wanted, key: &Key) -> Ran {
        let id = &wanted.id;
        if self.changes.hold(id, key) {
            return Ran::Waits;
        }
        if self.changes.was_refused(wanted) {
            return Ran::AsPlanned;
        }
        let Some(config) = self.resolve(wanted) else {
            return self.fail(id);
        };
        let (dispatcher, wanted) = (Arc::clone(&self.dispatcher), Box::new(wanted.clone()));
        let change = async move { Done::Begun(wanted, dispatcher.begin(config).await) };
        match self.changes.start(id, key, change.boxed()) {
            Some(done) => self.finish(done, key),
            None => Ran::Waits,
        }
    }

    /// Ends a consumer whose resource is gone.
    fn stop(&mut self, id: &ConsumerId, key: &Key) {
        if self.changes.hold(id, key) {
            return;
        }
        self.changes.forget(id);
        self.facts.failed.remove(id);
        self.facts.beginning.remove(id);
        if !self.facts.running.remove(id) {
            return;
        }
        let (dispatcher, gone) = (Arc::clone(&self.dispatcher), id.clone());
        let change = async move {
            dispatcher.remove(&gone).await;
            Done::Removed(gone)
        };
        // There is nothing to say of it when it is done.
        let _ = self.changes.start(id, key, change.boxed());
    }

    /// Notes what came of a change that `key` asked for.
    fn finish(&mut self, done: Done, key: &Key) -> Ran {
        let (id, begun) = match done {
            Done::Begun(wanted, begun) => (wanted.id, begun),
            Done::Removed(_) => return Ran::AsPlanned,
        };
        let ticket = match begun {
            Ok(ticket) => ticket,
            Err(error) => {
                tracing::error!(consumer = %id, %error, "a consumer could not be started");
                return self.fail(&id);
            }
        };
        let known = self.facts.beginning.contains(&id);
        if let Some(ticket) = ticket {
            self.facts.beginning.insert(&id, ticket, key);
        }
        let ran = match self.facts.runs(&id, true) {
            Runs::NotYet if self.facts.beginning.contains(&id) => Ran::Waits,
            Runs::Unwritten(_) if !known => Ran::Otherwise,
            _ => Ran::AsPlanned,
        };
        self.facts.failed.remove(&id);
        self.facts.running.insert(id);
        ran
    }

    /// Notes that a consumer could not be started, which one that runs goes on without.
    fn fail(&mut self, id: &ConsumerId) -> Ran {
        let is_news = !self.facts.running.contains(id) && self.facts.failed.insert(id.clone());
        if is_news {
            Ran::Otherwise
        } else {
            Ran::AsPlanned
        }
    }

    fn resolve(&self, wanted: &Wanted) -> Option<ConsumerConfig> {
        let open = |log: &LogRef| self.facts.logs.get(&log.name);
        let reply = match &wanted.reply {
            None => None,
            Some(WantedReply::Log(log)) => Some(ReplyTo::Log(open(log)?)),
            Some(WantedReply::Target(target)) => Some(ReplyTo::Target(Arc::new(target.clone()))),
        };
        Some(ConsumerConfig {
            id: wanted.id.clone(),
            uid: Arc::clone(&wanted.uid),
            source: Source {
                name: wanted.source.name.as_str().into(),
                logs: open(&wanted.source)?,
            },
            filter: wanted.filter.clone(),
            subscriber: wanted.subscriber.clone().map(Arc::new),
            reply,
            dead_letter: wanted.dead_letter.clone().map(Arc::new),
            policy: wanted.policy.clone(),
            order: wanted.order,
            max_in_flight: wanted.max_in_flight,
            start: wanted.start,
            keep_position: wanted.keep_position,
        })
    }
}

/// Whether it is the consumer of a part of a source that there is: `kafkasource/<namespace>/<name>:...`.
fn is_of_source(world: &World, id: &str) -> bool {
    let of = id
        .strip_prefix("kafkasource/")
        .and_then(|id| id.split_once('/'));
    of.is_some_and(|(namespace, part)| {
        let name = part.split(':').next().unwrap_or_default();
        world.kafka_sources.get(namespace, name).is_some()
    })
}

fn consumers(world: &World) -> HashSet<String> {
    let triggers = world
        .triggers
        .iter()
        .map(|trigger| id_of("trigger", &**trigger));
    let subscriptions = world
        .subscriptions
        .iter()
        .map(|subscription| id_of("subscription", &**subscription));
    triggers
        .chain(subscriptions)
        .map(|id| id.to_string())
        .collect()
}

fn id_of<K: kube::Resource>(kind: &'static str, object: &K) -> ConsumerId {
    ConsumerId {
        kind,
        namespace: object.namespace().unwrap_or_default().into(),
        name: object.name_any().into(),
    }
}
