//! Moving a Broker's events from one store to another, while it goes on.
//!
//! The annotation `log.heddle.dev/store` says where events are to be kept, and `log.heddle.dev/store-config`
//! which ConfigMap says where that is. Where they are, and which offset each store begins at, stands in the
//! Broker's status, in the annotation `log.heddle.dev/parts`, as soon as somebody has asked for a store or
//! it is more than one log in the store of the Broker's class:
//!
//! 1. The new log is opened. Nothing else happens while that fails.
//! 2. The [doors](crate::log::gate) of the old one are closed: producers get 503 and come again.
//! 3. Its end is known, and is written into the status as the beginning of the new log. A process that
//!    ends before this was written begins again at 1, with the old log as it was; one that ends after it,
//!    goes on at 4.
//! 4. Both are served as one [chain](crate::log::chain). Positions stay as they are.
//! 5. The old log is removed when no position needs anything in it any more.
//!
//! The new log may have more partitions than the old one, or fewer. Those that go take no events any more
//! and are read to their end; where they ended is remembered, so that positions in them stay true if
//! there ever are as many again.

use heddle_crds::annotations;
use heddle_crds::conditions::ConditionManager;
use heddle_crds::eventing::{Broker, BrokerStatus};
use heddle_crds::world::World;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};

use super::{Facts, PartRef, Step, StoreKind, Switch, broker};
use crate::log::Offset;

/// The key of the parts in the annotations of a Broker's status.
pub const PARTS: &str = "log.heddle.dev/parts";

/// The condition that says how far a move is, while there is one. Informational.
pub const LOG_MOVED: &str = "LogMoved";

/// One log of a Broker, as the status has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The word for its store.
    pub store: String,
    /// The ConfigMap that says where the store is, as `namespace/name`; where it is left out, the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// How many moves had begun when it was opened.
    #[serde(rename = "move")]
    pub number: u32,
    /// The offset of its first event among all events of the Broker, for each partition that there is or
    /// ever was; zero where it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Offset>,
    /// The offset of that event in the log itself, for each of its partitions; zero where it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begin: Vec<Offset>,
}

/// One log of a Broker, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    part: Part,
    pub(super) store: StoreKind,
    /// The name of the log.
    pub(super) log: String,
}

/// The logs of a Broker, and the one that its events are to go to from now on.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    whole: String,
    pub(super) parts: Vec<Placed>,
    pub(super) target: Option<Placed>,
    /// Whether somebody has said where events are to be kept.
    asked: bool,
    /// Why events cannot go where they are wanted, for people.
    refused: Option<String>,
}

/// The word for a store.
#[must_use]
pub fn word(store: &StoreKind) -> &'static str {
    match store {
        StoreKind::Segment => "segment",
        StoreKind::Memory => "memory",
        #[cfg(feature = "jetstream")]
        StoreKind::JetStream(_) => "jetstream",
        #[cfg(feature = "kafka")]
        StoreKind::Kafka(_) => "kafka",
    }
}

/// The store that a word stands for; or why it cannot be used, for people. `config` is the ConfigMap that
/// says where it is.
#[cfg_attr(
    not(any(feature = "jetstream", feature = "kafka")),
    allow(unused_variables)
)]
fn store_of(
    world: &World,
    broker: &Broker,
    word: &str,
    config: Option<&str>,
) -> Result<StoreKind, String> {
    let config = config.and_then(|config| config.split_once('/'));
    match word {
        "segment" => Ok(StoreKind::Segment),
        "memory" => Ok(StoreKind::Memory),
        #[cfg(feature = "jetstream")]
        "jetstream" => {
            let place = super::jetstream::place(world, broker, config)?;
            Ok(StoreKind::JetStream(place.into()))
        }
        #[cfg(feature = "kafka")]
        "kafka" => {
            let place = super::kafka::place(world, broker, config)?;
            Ok(StoreKind::Kafka(place.into()))
        }
        other => Err(format!("this build has no store {other:?}")),
    }
}

/// Whether two logs would be one and the same on their server: what its name does not depend on the log's.
fn is_one_place(one: &StoreKind, other: &StoreKind) -> bool {
    match (one, other) {
        #[cfg(feature = "jetstream")]
        (StoreKind::JetStream(one), StoreKind::JetStream(other)) => {
            one.access.shown() == other.access.shown()
                && one.template.name.is_some()
                && one.template.name == other.template.name
        }
        #[cfg(feature = "kafka")]
        (StoreKind::Kafka(one), StoreKind::Kafka(other)) => {
            one.access == other.access && one.template.topic == other.template.topic
        }
        _ => false,
    }
}

/// The parts that the status names; none where it names none.
fn recorded(status: Option<&BrokerStatus>) -> Result<Vec<Part>, String> {
    let Some(text) = status.and_then(|status| status.annotations.get(PARTS)) else {
        return Ok(Vec::new());
    };
    serde_json::from_str(text).map_err(|error| format!("status.annotations[{PARTS}]: {error}"))
}

/// The name of a part's log. The first has the name of the whole, as if nothing ever moved.
fn name_of(whole: &str, part: &Part) -> String {
    match part.number {
        0 => whole.to_owned(),
        number => format!("{whole}~{number}-{}", part.store),
    }
}

/// The name of the whole that a log is a part of. No object's name has a `~`.
pub(super) fn whole_of(log: &str) -> &str {
    log.split_once('~').map_or(log, |(whole, _)| whole)
}

/// The ConfigMap that the Broker names for its store, as `namespace/name`.
fn config_of(broker: &Broker) -> Option<String> {
    let named = annotations::store_config(broker.annotations());
    let named = named.ok().flatten()?;
    if named.contains('/') {
        return Some(named);
    }
    Some(format!("{}/{named}", broker.namespace()?))
}

/// What the Broker wants, where that is not what it has; its parts are these.
fn wanted(broker: &Broker, parts: &[Part]) -> Option<Part> {
    let store = annotations::store(broker.annotations()).ok().flatten()?;
    let config = config_of(broker);
    let last = parts.last()?;
    let elsewhere = config.is_some() && config != last.config;
    let number = parts.iter().map(|part| part.number).max()?;
    (last.store != store || elsewhere).then(|| Part {
        store: store.to_owned(),
        config,
        number: number + 1,
        from: Vec::new(),
        begin: Vec::new(),
    })
}

impl Logs {
    /// What there is, and what is to come; or what is wrong with the configuration, for people.
    pub(super) fn of(world: &World, broker: &Broker) -> Result<Self, String> {
        let whole = broker::log_of(broker);
        let natural = || broker::store(world, broker);
        let mut parts = recorded(broker.status.as_ref())?;
        if parts.is_empty() {
            parts.push(Part {
                store: word(&natural()?).to_owned(),
                config: None,
                number: 0,
                from: Vec::new(),
                begin: Vec::new(),
            });
        }
        let place = |part: Part| {
            // What the class and the configuration of the Broker say holds for its first log, and for
            // every other one in the same store that says nothing else.
            let natural = match natural() {
                Ok(store) if part.config.is_none() && word(&store) == part.store => Some(store),
                Err(reason) if part.number == 0 => return Err(reason),
                _ => None,
            };
            let store = match natural {
                Some(store) => store,
                None => store_of(world, broker, &part.store, part.config.as_deref())?,
            };
            let log = name_of(&whole, &part);
            Ok::<_, String>(Placed { part, store, log })
        };
        let target = wanted(broker, &parts);
        let parts = parts
            .into_iter()
            .map(place)
            .collect::<Result<Vec<_>, _>>()?;
        // What is wrong with where events are to go does not touch where they are.
        let (target, refused) = match target.map(place).transpose() {
            Ok(target) => (target, None),
            Err(reason) => (None, Some(reason)),
        };
        let asked = annotations::store(broker.annotations());
        let mut logs = Self {
            whole,
            parts,
            target,
            asked: matches!(asked, Ok(Some(_))),
            refused,
        };
        logs.keep_apart();
        Ok(logs)
    }

    /// Refuses to move to a place that one of the logs is in already: they could not be told apart there.
    fn keep_apart(&mut self) {
        let taken = |target: &&mut Placed| {
            let mut parts = self.parts.iter();
            parts.any(|part| is_one_place(&part.store, &target.store))
        };
        let taken = self.target.as_mut().filter(taken).is_some();
        if taken && let Some(target) = self.target.take() {
            let store = &target.part.store;
            self.refused = Some(if self.parts.len() > 1 {
                format!(
                    "{store} still holds what has to be delivered; events can go back there after that"
                )
            } else {
                "its events are kept there already".to_owned()
            });
        }
    }

    /// All logs that have to be there.
    pub(super) fn all(&self) -> impl Iterator<Item = &Placed> {
        self.parts.iter().chain(&self.target)
    }

    /// The log that takes events, and what its store is.
    pub(super) fn last(&self) -> Option<&Placed> {
        self.parts.last()
    }

    /// The parts, as they are served.
    pub(super) fn served(&self) -> Vec<PartRef> {
        let parts = self.parts.iter();
        parts
            .map(|placed| PartRef {
                log: placed.log.clone(),
                from: placed.part.from.clone(),
                begin: placed.part.begin.clone(),
            })
            .collect()
    }

    /// Closes the log that takes events, and keeps it closed, as soon as the one that is to come is open.
    pub(super) fn close(&self, facts: &Facts) -> Step {
        let open = |target: &&Placed| matches!(facts.logs.get(&target.log), Some(Ok(_)));
        let target = self.target.as_ref().filter(open);
        Step::Close {
            log: self.whole.clone(),
            target: target.map(|target| target.log.clone()),
        }
    }

    /// The log that is to come, and where it begins, when that is known.
    fn switch<'a>(&'a self, facts: &'a Facts) -> Option<(&'a Placed, &'a Switch)> {
        let target = self.target.as_ref()?;
        let switch = facts.switches.get(&self.whole)?;
        // One that was found for another target says nothing of this one.
        (switch.target == target.log).then_some((target, switch))
    }

    /// The parts as they should be written down: with the new one as soon as the end of the old one is
    /// known, and without those that nobody needs any more.
    fn next(&self, facts: &Facts) -> Vec<Part> {
        let parts = self.parts.iter();
        let mut parts: Vec<Part> = parts.map(|placed| placed.part.clone()).collect();
        if let Some(released) = facts.released.get(&self.whole) {
            // Partitions that are not there any more had been done with before.
            let done = |next: &Part| next.from.iter().zip(released).all(|(from, at)| from <= at);
            while parts.get(1).is_some_and(done) {
                parts.remove(0);
            }
        }
        if let Some((target, switch)) = self.switch(facts) {
            let mut from = switch.ends.clone();
            let last = parts.last().map_or(&[][..], |last| &last.from);
            from.extend(last.iter().skip(from.len()));
            parts.push(Part {
                from,
                begin: switch.begins.clone(),
                ..target.part.clone()
            });
        }
        parts
    }

    /// Writes the parts and how far a move is into the status.
    pub(super) fn report(
        &self,
        facts: &Facts,
        annotations: &mut std::collections::BTreeMap<String, String>,
        manage: &mut ConditionManager<'_>,
    ) {
        let parts = self.next(facts);
        let usual = !self.asked && parts.iter().all(|part| part.number == 0);
        match serde_json::to_string(&parts) {
            Ok(text) if !usual => drop(annotations.insert(PARTS.to_owned(), text)),
            Ok(_) | Err(_) => drop(annotations.remove(PARTS)),
        }
        let word = |part: Option<&Part>| part.map_or("", |part| part.store.as_str()).to_owned();
        let (oldest, newest) = (word(parts.first()), word(parts.last()));
        if let Some(reason) = &self.refused {
            manage.mark_false(LOG_MOVED, "CannotMove", reason);
        } else if let Some((reason, message)) = self.progress(facts) {
            manage.mark_unknown(LOG_MOVED, reason, &message);
        } else if parts.len() > 1 {
            let message = format!(
                "Events are kept in {newest} now; what {oldest} still holds is being delivered."
            );
            manage.mark_unknown(LOG_MOVED, "Draining", &message);
        } else if usual {
            manage.clear(LOG_MOVED);
        } else {
            let message = format!("All events are kept in {newest}.");
            manage.mark_true_with_reason(LOG_MOVED, "Moved", &message);
        }
    }

    /// How far it is on the way to the log that is to come, where that is not written down yet.
    fn progress(&self, facts: &Facts) -> Option<(&'static str, String)> {
        let target = self.target.as_ref()?;
        if self.switch(facts).is_some() {
            return None;
        }
        let to = &target.part.store;
        let is_open = |log: &Placed| facts.logs.get(&log.log);
        Some(match (is_open(target), self.last().and_then(is_open)) {
            (None, _) => ("Opening", format!("The log in {to} is being opened.")),
            (Some(Err(reason)), _) => ("Opening", format!("The log in {to} is not open: {reason}")),
            (Some(Ok(_)), None | Some(Err(_))) => (
                "Waiting",
                format!(
                    "The log that is to go on in {to} is not open, so that its end is not known."
                ),
            ),
            (Some(Ok(_)), Some(Ok(_))) => (
                "Closing",
                format!("The log is closed for a moment, to go on in {to}."),
            ),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
