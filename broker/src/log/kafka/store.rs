//! The logs behind one cluster.
//!
//! Nothing here waits for a server: opening answers from memory. A topic that is not known yet is looked up
//! or made by a task, and until that is done, opening is an error that says what is going on. A counter
//! that the caller gives tells when it is worth asking again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::cluster::{Cluster, PAUSE};
use super::log::{KafkaLog, Shared};
use super::topic::{self, Owner, Template, Topic};
use super::upkeep::{self, Pace};
use crate::clock::{Clock, SystemClock};
use crate::log::{Health, Log, LogStore, OpenError, Outlook, Partitions, Retention, check_name};

/// How to reach a cluster, and how to treat it.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to reach it.
    pub access: Access,
    /// Gives events their times.
    pub clock: Arc<dyn Clock>,
    /// How often to look after a topic that is busy, and after one that is idle.
    pub upkeep: (Duration, Duration),
    /// How long an append may take. The servers may have kept one that took longer.
    pub timeout: Duration,
}

impl Options {
    /// The usual ones, by the machine's clock.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self {
            access,
            clock: Arc::new(SystemClock),
            upkeep: (Duration::from_secs(1), Duration::from_secs(10)),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Logs in the topics of one cluster, all made like one template.
#[derive(Clone, Debug)]
pub struct KafkaStore {
    inner: Arc<Inner>,
    template: Template,
}

#[derive(Debug)]
struct Inner {
    cluster: Arc<Cluster>,
    pace: Pace,
    logs: Mutex<Logs>,
    changes: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Logs {
    open: BTreeMap<String, Open>,
    opening: BTreeMap<String, Opening>,
    /// Logs whose topics this process has made.
    made: BTreeSet<String>,
    /// Logs that are gone, whose topics are to be deleted.
    removing: BTreeMap<String, Removing>,
    /// Logs whose topics were deleted, until somebody asks.
    removed: BTreeSet<String>,
}

#[derive(Debug)]
struct Open {
    partitions: Partitions,
    topic: Arc<Topic>,
    closed: CancellationToken,
}

/// A log whose topic is being deleted.
#[derive(Debug)]
struct Removing {
    topic: String,
    /// Whether somebody asks when it is gone.
    asked: bool,
}

/// A log whose topic is being looked up.
#[derive(Debug)]
struct Opening {
    template: Template,
    /// What is going on, or why it has failed.
    state: String,
    outlook: Outlook,
}

impl Logs {
    /// Lets go of a log.
    fn close(&mut self, name: &str) {
        if let Some(open) = self.open.remove(name) {
            open.closed.cancel();
        }
        self.opening.remove(name);
        self.made.remove(name);
    }

    fn is_idle(&self) -> bool {
        let logs = self.open.is_empty() && self.opening.is_empty();
        logs && self.removing.is_empty() && self.removed.is_empty()
    }
}

impl Opening {
    /// Notes what stands in the way. Whether that is new.
    ///
    /// What is gone at the next attempt, as a leader that is not elected yet, is nobody's to remove; and
    /// that the servers are away is told once for all logs.
    fn hindered_by(&mut self, reason: String, reached: bool) -> bool {
        let outlook = match reached && self.state == reason {
            true => Outlook::Waiting,
            false => Outlook::Opening,
        };
        let news = self.state != reason || self.outlook != outlook;
        self.state = reason;
        self.outlook = outlook;
        news
    }
}

impl KafkaStore {
    /// A store behind the servers in `options`. Connects in the background, and again whenever the
    /// connection is lost. All tasks run on `tracker` until `stop`. `changes` grows whenever a log was
    /// opened or could not be: opening answers anew then.
    #[must_use]
    pub fn start(
        options: Options,
        template: Template,
        changes: Arc<watch::Sender<u64>>,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let Options {
            access,
            clock,
            upkeep: (least, most),
            timeout,
        } = options;
        Self {
            inner: Arc::new(Inner {
                cluster: Cluster::start((access, timeout), clock, tracker, stop.child_token()),
                pace: Pace { least, most },
                logs: Mutex::default(),
                changes,
            }),
            template,
        }
    }

    /// The same store for logs whose topics are as in `template`.
    #[must_use]
    pub fn with(&self, template: Template) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            template,
        }
    }
}

/// Coming and going of whole stores.
impl KafkaStore {
    /// Lets go of a log that is kept elsewhere now. Nothing of it is removed.
    pub fn close(&self, name: &str) {
        self.inner.logs.lock().close(name);
    }

    /// Removes a log, open or not, and the topic of this store's template where that goes with the log.
    /// Whether all of it is gone; if not, `changes` grows when it is, and this is to be asked again.
    #[must_use]
    pub fn remove_whole(&self, name: &str) -> bool {
        let mut logs = self.inner.logs.lock();
        if logs.removed.remove(name) {
            return true;
        }
        if is_owned(self.template.owner, logs.made.contains(name)) {
            let topic = &self.template.topic;
            self.inner.delete_topic(&mut logs, name, topic);
        }
        logs.close(name);
        let removing = logs.removing.get_mut(name);
        removing.map(|removing| removing.asked = true).is_none()
    }

    /// Whether there is nothing to do here: no log is open, being opened or being removed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.logs.lock().is_idle()
    }

    /// Ends the clients of the cluster, and all tasks. The store opens nothing any more.
    pub fn end(&self) {
        self.inner.cluster.stop.cancel();
    }
}

impl LogStore for KafkaStore {
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError> {
        let partitions = self.open_all(name, retention)?;
        Ok(Arc::clone(partitions.first()))
    }

    fn open_all(&self, name: &str, retention: Retention) -> Result<Partitions, OpenError> {
        check_name(name)?;
        let mut logs = self.inner.logs.lock();
        if let Some(open) = logs.open.get(name) {
            open.partitions.set_retention(retention);
            *open.topic.form.write() = self.template.form;
            return Ok(open.partitions.clone());
        }
        let known = logs.opening.get(name);
        if known.is_none_or(|known| known.template != self.template) {
            let state = "its topic is being looked up on the Kafka servers".to_owned();
            let opening = Opening {
                template: self.template.clone(),
                state,
                outlook: Outlook::Opening,
            };
            // A task that looks for another topic ends when it sees that it is not wanted.
            logs.opening.insert(name.to_owned(), opening);
            let (inner, template) = (Arc::clone(&self.inner), self.template.clone());
            let name = name.to_owned();
            self.inner.cluster.tracker.spawn(async move {
                let stop = inner.cluster.stop.clone();
                let look_up = inner.look_up(name, template, retention);
                stop.run_until_cancelled(look_up).await;
            });
        }
        let opening = logs.opening.get(name);
        let known = opening.map(|opening| (opening.state.clone(), opening.outlook));
        let (reason, outlook) = known.unwrap_or((String::new(), Outlook::Opening));
        Err(OpenError {
            name: name.to_owned(),
            reason,
            outlook,
        })
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        let mut logs = self.inner.logs.lock();
        let open = logs.open.remove(name).map(|open| {
            open.closed.cancel();
            (open.topic.name.clone(), open.topic.owner)
        });
        let opening = logs.opening.remove(name);
        let opening = opening.map(|one| (one.template.topic, one.template.owner));
        let made_here = logs.made.remove(name);
        logs.removed.remove(name);
        let Some((topic, owner)) = open.or(opening) else {
            return Ok(());
        };
        if is_owned(owner, made_here) {
            self.inner.delete_topic(&mut logs, name, &topic);
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        let logs = self.inner.logs.lock();
        let names = logs.open.keys().chain(logs.opening.keys());
        names.cloned().collect()
    }

    fn owns(&self, name: &str) -> bool {
        let logs = self.inner.logs.lock();
        let open = logs.open.get(name);
        open.is_some_and(|open| is_owned(open.topic.owner, logs.made.contains(name)))
    }

    fn health(&self) -> Health {
        match self.inner.cluster.reach.check() {
            Ok(()) => Health::Ready,
            Err(reason) => Health::Degraded(reason.to_string()),
        }
    }
}

/// Whether a topic is deleted with its log.
fn is_owned(owner: Owner, made_here: bool) -> bool {
    match owner {
        Owner::Log => true,
        Owner::Others => false,
        Owner::Readers { made } => made || made_here,
    }
}

impl Inner {
    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Opens a log, and tries until it is open or nobody wants it any more.
    async fn look_up(self: Arc<Self>, name: String, template: Template, retention: Retention) {
        loop {
            match self.find(&name, &template).await {
                Ok((topic, ends)) => {
                    self.open(&name, &topic, &ends, retention, &template);
                    return self.tell();
                }
                Err(reason) => {
                    let mut logs = self.logs.lock();
                    let opening = logs.opening.get_mut(&name);
                    let Some(opening) = opening.filter(|one| one.template == template) else {
                        return;
                    };
                    let news = opening.hindered_by(reason, self.cluster.reach.check().is_ok());
                    drop(logs);
                    if news {
                        self.tell();
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Finds the topic of a log, and where its partitions begin and end.
    async fn find(
        &self,
        name: &str,
        template: &Template,
    ) -> Result<(Arc<Topic>, Vec<(u64, u64)>), String> {
        self.cluster
            .reach
            .check()
            .map_err(|reason| reason.to_string())?;
        // A log that is being removed has to be gone before another one takes its topic.
        let removed = |logs: &Logs| {
            let mut removing = logs.removing.values();
            removing.any(|removing| removing.topic == template.topic)
        };
        if removed(&self.logs.lock()) {
            return Err("the topic that had its name is being deleted".to_owned());
        }
        let clients = self
            .cluster
            .clients()
            .map_err(|reason| reason.to_string())?;
        let made = || {
            self.logs.lock().made.insert(name.to_owned());
        };
        let topic = Topic::find(&clients, template, made).await?;
        let mut ends = Vec::new();
        for partition in 0..topic.partitions {
            ends.push(clients.ends(&topic.name, partition).await?);
        }
        Ok((topic, ends))
    }

    /// Opens the log of a topic that was found, and starts its tasks; unless nobody wants it any more.
    fn open(
        &self,
        name: &str,
        topic: &Arc<Topic>,
        ends: &[(u64, u64)],
        retention: Retention,
        template: &Template,
    ) {
        let mut logs = self.logs.lock();
        let wanted = logs
            .opening
            .get(name)
            .is_some_and(|one| one.template == *template);
        if !wanted {
            return;
        }
        let closed = self.cluster.stop.child_token();
        let partition = |(number, ends): (i32, &(u64, u64))| {
            let closed = closed.clone();
            Arc::new(KafkaLog::new(
                &self.cluster,
                topic,
                number,
                *ends,
                retention,
                closed,
            ))
        };
        let made: Vec<Arc<KafkaLog>> = (0..).zip(ends).map(partition).collect();
        let shared: Vec<Arc<Shared>> = made.iter().map(|log| Arc::clone(log.shared())).collect();
        let dynamic = made.into_iter().map(|log| log as Arc<dyn Log>);
        let Some(partitions) = Partitions::new(dynamic.collect()) else {
            return;
        };
        partitions.set_retention(retention);
        logs.opening.remove(name);
        let open = Open {
            partitions,
            topic: Arc::clone(topic),
            closed,
        };
        logs.open.insert(name.to_owned(), open);
        let upkeep = upkeep::run(Arc::clone(topic), shared, self.pace);
        let upkeep = self.cluster.upkeeps.track_future(upkeep);
        self.cluster.tracker.spawn(upkeep);
    }

    /// Begins to delete the topic of a log, unless that has begun.
    fn delete_topic(self: &Arc<Self>, logs: &mut Logs, name: &str, topic: &str) {
        if logs.removing.contains_key(name) {
            return;
        }
        let removing = Removing {
            topic: topic.to_owned(),
            asked: false,
        };
        logs.removing.insert(name.to_owned(), removing);
        let deleting = Arc::clone(self).delete(name.to_owned(), topic.to_owned());
        self.cluster.tracker.spawn(deleting);
    }

    /// Deletes the topic of a log, and tries until it is gone or the process ends. One attempt is always
    /// made.
    async fn delete(self: Arc<Self>, name: String, topic: String) {
        loop {
            let deleted = match self.cluster.clients() {
                Ok(clients) => topic::delete(&clients, &topic).await,
                Err(reason) => Err(reason.to_string()),
            };
            match deleted {
                Ok(()) => break,
                Err(reason) => {
                    tracing::debug!(topic, %reason, "a topic is not deleted yet");
                    let pause = tokio::time::sleep(PAUSE);
                    if self.cluster.stop.run_until_cancelled(pause).await.is_none() {
                        tracing::warn!(topic, %reason, "a topic was not deleted before the end");
                        return;
                    }
                }
            }
        }
        tracing::info!(topic, "a topic was deleted");
        let mut logs = self.logs.lock();
        let removing = logs.removing.remove(&name);
        if removing.is_some_and(|removing| removing.asked) {
            logs.removed.insert(name);
        }
        drop(logs);
        self.tell();
    }
}
