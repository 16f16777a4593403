//! The executor: starts, changes and stops consumers, and hands on what is to be written.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use heddle_broker::control::OpenLogs;
use heddle_broker::log::Partitions;
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::world::World;
use jiff::Timestamp;
use kube::ResourceExt;
use parking_lot::RwLock;

use super::{Facts, LogRef, Step, Wanted, WantedReply, plan};
use crate::Dispatcher;
use crate::config::{ConsumerConfig, ConsumerId, ReplyTo, Source};

/// Turns Triggers and Subscriptions into consumers.
#[derive(Debug)]
pub struct Control {
    dispatcher: Arc<Dispatcher>,
    facts: Facts,
    settled: BTreeMap<String, Settled>,
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
            dispatcher,
            facts,
            settled: BTreeMap::new(),
        }
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

    /// Does what is to be done about one key, and returns what is to be written.
    pub async fn reconcile(
        &mut self,
        world: &RwLock<World>,
        key: &Key,
        now: Timestamp,
    ) -> Vec<Write> {
        let mut steps = plan(&world.read(), &self.facts, key, now);
        // Statuses are planned for consumers that start.
        if !self.run(&steps).await {
            steps = plan(&world.read(), &self.facts, key, now);
        }
        let writes = steps.into_iter().filter_map(|step| match step {
            Step::Write(write) => Some(write),
            Step::Consume(_) | Step::Stop(_) => None,
        });
        writes.collect()
    }

    /// Starts, changes and stops consumers. False where one newly turned out not to start.
    async fn run(&mut self, steps: &[Step]) -> bool {
        let mut as_planned = true;
        for step in steps {
            match step {
                Step::Consume(wanted) => {
                    let id = &wanted.id;
                    if self.apply(wanted).await {
                        self.facts.failed.remove(id);
                        self.facts.running.insert(id.clone());
                    } else if !self.facts.running.contains(id) {
                        as_planned &= !self.facts.failed.insert(id.clone());
                    }
                }
                Step::Stop(id) => {
                    self.facts.failed.remove(id);
                    if self.facts.running.remove(id) {
                        self.dispatcher.remove(id).await;
                    }
                }
                Step::Write(_) => {}
            }
        }
        as_planned
    }

    /// Starts or changes a consumer. False when that failed.
    async fn apply(&self, wanted: &Wanted) -> bool {
        let Some(config) = self.resolve(wanted) else {
            return false;
        };
        let applied = self.dispatcher.apply(config).await;
        if let Err(error) = &applied {
            tracing::error!(consumer = %wanted.id, %error, "a consumer could not be started");
        }
        applied.is_ok()
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
