//! The executor: opens logs, publishes the directory, and hands on what is to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::world::World;
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::served::{Served, Span};
use super::{Facts, PartRef, Step, StoreKind, Stores, kafka_sink, log_prefix, moving, plan};
use crate::directory::{Directory, Entry, EntryKind, SharedDirectory};
use crate::log::absent::AbsentLog;
use crate::log::{Health, Log, OpenError, Outlook, Partitions, Retention};

/// The logs that are open, by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct OpenLogs(Arc<RwLock<BTreeMap<String, Partitions>>>);

impl OpenLogs {
    /// The log of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Partitions> {
        self.0.read().get(name).cloned()
    }

    /// Whether the log is open.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.read().contains_key(name)
    }

    /// Takes in an open log.
    pub fn insert(&self, name: &str, logs: impl Into<Partitions>) {
        self.0.write().insert(name.to_owned(), logs.into());
    }

    /// All logs, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Partitions> {
        self.0.read().clone()
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }
}

/// Turns Brokers and channels into logs and addresses.
#[derive(Debug)]
pub struct Control {
    stores: Stores,
    /// Stands where a log cannot be opened.
    absent: Partitions,
    directory: SharedDirectory,
    facts: Facts,
    /// The logs in stores, by name.
    stored: BTreeMap<String, Partitions>,
    /// What consumers and producers use of them.
    served: Served,
    /// How the open logs were asked for.
    asked: BTreeMap<String, (StoreKind, Retention)>,
    /// What was last reported about those that are not open.
    hindered: BTreeMap<String, OpenError>,
    /// The logs that are kept, open or not; those of objects that are gone have to be removed.
    kept: BTreeSet<String>,
}

impl Control {
    /// A controller that keeps logs in `stores` and publishes `directory`. `ingress_url` is what
    /// addresses begin with.
    #[must_use]
    pub fn new(ingress_url: String, stores: Stores, directory: SharedDirectory) -> Self {
        let facts = Facts {
            ingress_url,
            ..Facts::default()
        };
        let served = stores.served();
        Self {
            stores,
            absent: Partitions::from(Arc::new(AbsentLog::default()) as Arc<dyn Log>),
            directory,
            facts,
            stored: BTreeMap::new(),
            served,
            asked: BTreeMap::new(),
            hindered: BTreeMap::new(),
            kept: BTreeSet::new(),
        }
    }

    /// Grows when opening logs, or the names of those that are kept, may have another outcome than
    /// before. Brokers are to be looked at again then, and [`Control::remove_orphans`] to be called.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.stores.changes()
    }

    /// The logs that are open.
    #[must_use]
    pub fn open_logs(&self) -> OpenLogs {
        self.served.open().clone()
    }

    /// Removes the logs of Brokers and channels that are gone, which plans for keys cannot see: nothing
    /// wakes up for an object that went while the process was down. To be called once the world
    /// is complete.
    pub fn remove_orphans(&mut self, world: &World) {
        for store in self.stores.all() {
            self.kept.extend(store.names());
        }
        let known: BTreeSet<String> = (world.brokers.iter())
            .map(|broker| super::broker::log_of(broker))
            .chain(
                world
                    .backings()
                    .map(|channel| super::backing::log_of(&channel)),
            )
            .chain(
                world
                    .kafka_sinks
                    .iter()
                    .map(|sink| kafka_sink::log_of(sink)),
            )
            .collect();
        let of_kinds = world
            .backing_kinds()
            .into_iter()
            .map(super::backing::log_kind);
        let ours: BTreeSet<String> = of_kinds
            .chain(["broker", kafka_sink::LOG_KIND].map(str::to_owned))
            .collect();
        let orphans: Vec<String> = (self.kept.iter())
            .filter(|name| {
                name.split('/')
                    .next()
                    .is_some_and(|kind| ours.contains(kind))
            })
            .filter(|name| !known.contains(moving::whole_of(name)))
            .cloned()
            .collect();
        for name in orphans {
            self.remove_log(&name);
        }
    }

    /// Does what is to be done about one key, and returns what is to be written.
    pub fn reconcile(&mut self, world: &World, key: &Key, now: Timestamp) -> Vec<Write> {
        self.look_at_moves(key);
        let mut steps = plan(world, &self.facts, key, now);
        // What was found out while opening logs changes the plan; once they are open, it does not.
        let news = self.open_logs_of(&steps) | self.remove_whole(&steps);
        if news {
            steps = plan(world, &self.facts, key, now);
        }
        let mut writes = Vec::new();
        let mut kept = Vec::new();
        for step in steps {
            match step {
                Step::OpenLog { store, name, .. } => kept.push((store, name)),
                Step::RemoveWhole { .. } => {}
                Step::RemoveLogs { prefix, keep } => self.remove_logs(&prefix, &keep),
                Step::Serve {
                    kind,
                    namespace,
                    name,
                    log,
                    parts,
                } => {
                    self.put_together(&log, parts);
                    self.serve(kind, &namespace, &name, &log);
                }
                Step::Close { log, target } => self.close(&log, target.as_deref()),
                Step::Withdraw {
                    kind,
                    namespace,
                    name,
                } => self.withdraw(kind, &namespace, &name),
                Step::Write(write) => writes.push(write),
            }
        }
        // Only now, as events that come in go to the directory's new entries.
        for (store, name) in kept {
            let serving = self.asked.get(&name).map(|(serving, _)| serving);
            let used: Vec<&StoreKind> = serving.into_iter().chain([&store]).collect();
            self.stores.leave(&name, &used);
        }
        self.stores.tidy();
        writes
    }

    /// Opens what is not open, and reads what open logs say. Whether anything is new.
    fn open_logs_of(&mut self, steps: &[Step]) -> bool {
        let mut news = false;
        for step in steps {
            let Step::OpenLog {
                store,
                name,
                retention,
            } = step
            else {
                continue;
            };
            let asked = Some((store.clone(), *retention));
            let found = match self.stored.get(name).cloned() {
                Some(logs) if self.asked.get(name) == asked.as_ref() => Ok(logs),
                // One that is open goes on as it is until it is what was asked for.
                open => match self.stores.of(store).open_all(name, *retention) {
                    Ok(logs) => {
                        self.asked.extend(asked.map(|asked| (name.clone(), asked)));
                        Ok(logs)
                    }
                    Err(error) => open.ok_or(error),
                },
            };
            // Also where it is not open yet: a server may have it.
            self.kept.insert(name.clone());
            let fact = match found {
                Ok(logs) => {
                    let stats = logs.stats();
                    self.stored.insert(name.clone(), logs);
                    self.hindered.remove(name);
                    Ok(stats)
                }
                Err(error) => {
                    // People know the object that shows it by another name than that of its log.
                    let reason = error.reason.clone();
                    self.report(error);
                    Err(reason)
                }
            };
            news |= self.look_at_store(store, name);
            if self.facts.logs.get(name) != Some(&fact) {
                self.facts.logs.insert(name.clone(), fact);
                news = true;
            }
        }
        news
    }

    /// Removes what is to be gone before its object may go. Whether some of it is.
    fn remove_whole(&mut self, steps: &[Step]) -> bool {
        let mut news = false;
        for step in steps {
            let Step::RemoveWhole { store, name } = step else {
                continue;
            };
            self.kept.insert(name.clone());
            match self.stores.remove_whole(store, name) {
                Ok(true) => news |= self.facts.removed.insert(name.clone()),
                Ok(false) => news |= self.look_at_store(store, name),
                Err(error) => tracing::error!(log = %name, %error, "a log could not be removed"),
            }
        }
        news
    }

    /// Tells why a log is not open, once.
    fn report(&mut self, error: OpenError) {
        if self.hindered.get(&error.name) == Some(&error) {
            return;
        }
        let OpenError {
            name: log,
            reason,
            outlook,
        } = &error;
        match outlook {
            Outlook::Opening => tracing::debug!(log, reason, "a log is being opened"),
            Outlook::Waiting => tracing::warn!(
                log,
                reason,
                "a log cannot be opened; it is tried again until what stands in the way is removed"
            ),
            Outlook::Failed => tracing::error!(log, reason, "a log could not be opened"),
        }
        self.hindered.insert(error.name.clone(), error);
    }

    /// Notes whether the store of a log can keep its promises, and owns what keeps it. Whether that is new.
    fn look_at_store(&mut self, store: &StoreKind, name: &str) -> bool {
        let store = self.stores.of(store);
        let owned = &mut self.facts.owned;
        let mut news = match store.owns(name) && self.stored.contains_key(name) {
            true => owned.insert(name.to_owned()),
            false => owned.remove(name),
        };
        let trouble = match store.health() {
            Health::Ready => None,
            Health::Degraded(reason) | Health::Failed(reason) => Some(reason),
        };
        let troubles = &mut self.facts.troubles;
        if troubles.get(name) != trouble.as_ref() {
            match trouble {
                Some(trouble) => troubles.insert(name.to_owned(), trouble),
                None => troubles.remove(name),
            };
            news = true;
        }
        news
    }

    /// Learns what was found out about moves, for the plan of a key.
    fn look_at_moves(&mut self, key: &Key) {
        self.facts.switches.extend(self.served.switches());
        if key.kind == "Broker" {
            let prefix = log_prefix("broker", &key.namespace, &key.name);
            self.facts.released = self.served.released(&prefix);
        }
    }

    /// Makes one log of its parts, as soon as the one that takes events is open.
    fn put_together(&mut self, log: &str, parts: Vec<PartRef>) {
        let span = |place: PartRef| {
            let stored = self.stored.get(&place.log).cloned();
            Span {
                is_open: stored.is_some(),
                logs: stored.unwrap_or_else(|| self.absent.clone()),
                place,
            }
        };
        let spans: Vec<Span> = parts.into_iter().map(span).collect();
        let takes = spans.last().is_some_and(|last| last.is_open);
        if takes && self.served.put_together(log, spans) {
            self.facts.switches.remove(log);
        }
    }

    /// Closes a log to appends, to go on in `target`; or opens it again when it is to go nowhere.
    fn close(&mut self, log: &str, target: Option<&str>) {
        let found = target.and_then(|target| self.stored.get_key_value(target));
        let news = match found {
            Some((name, logs)) => self.served.close(log, name, logs),
            None => self.served.reopen(log),
        };
        if news {
            self.facts.switches.remove(log);
        }
    }

    fn remove_logs(&mut self, prefix: &str, keep: &[String]) {
        let gone: Vec<String> = self
            .kept
            .range(prefix.to_owned()..)
            .take_while(|name| name.starts_with(prefix))
            .filter(|name| !keep.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.remove_log(&name);
        }
        let stays = |whole: &str| keep.iter().any(|name| moving::whole_of(name) == whole);
        for name in self.served.forget(prefix, stays) {
            self.facts.switches.remove(&name);
        }
    }

    fn remove_log(&mut self, name: &str) {
        tracing::info!(log = %name, "removing the log of an object that is gone");
        for store in self.stores.all() {
            if let Err(error) = store.remove(name) {
                tracing::error!(log = %name, %error, "a log could not be removed");
                return;
            }
        }
        self.kept.remove(name);
        self.stored.remove(name);
        self.asked.remove(name);
        self.hindered.remove(name);
        self.facts.logs.remove(name);
        self.facts.owned.remove(name);
        self.facts.removed.remove(name);
        self.facts.troubles.remove(name);
    }

    fn serve(&self, kind: EntryKind, namespace: &str, name: &str, log: &str) {
        let log = self.served.open().get(log);
        let log = log.unwrap_or_else(|| self.absent.clone());
        let address = format!("{namespace}/{name}");
        let current = self.directory.load();
        let served = current.of(kind).get(&address);
        if served.is_some_and(|entry| entry.logs == log) {
            return;
        }
        let entry = Arc::new(Entry::new(kind, namespace, name, log));
        let mut next = Directory::clone(&current);
        if kind == EntryKind::Channel {
            for host in hosts(namespace, name) {
                next.hosts.insert(host, Arc::clone(&entry));
            }
        }
        next.of_mut(kind).insert(address, entry);
        self.directory.store(Arc::new(next));
    }

    fn withdraw(&self, kind: EntryKind, namespace: &str, name: &str) {
        let address = format!("{namespace}/{name}");
        let current = self.directory.load();
        if !current.of(kind).contains_key(&address) {
            return;
        }
        let mut next = Directory::clone(&current);
        if kind == EntryKind::Channel {
            for host in hosts(namespace, name) {
                next.hosts.remove(&host);
            }
        }
        next.of_mut(kind).remove(&address);
        self.directory.store(Arc::new(next));
    }
}

/// The host names of a channel: those that Knative gives it in a cluster, and one for this machine.
fn hosts(namespace: &str, name: &str) -> [String; 4] {
    let base = format!("{name}-kn-channel.{namespace}");
    [
        format!("{base}.svc.cluster.local"),
        format!("{base}.svc"),
        format!("{base}.localhost"),
        base,
    ]
}
