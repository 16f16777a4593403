//! The logs behind the connection to the NATS servers.
//!
//! Nothing here waits for a server: [`LogStore::open`] answers from memory. A log that is not known
//! yet is looked up or made by a task, and until that is done, opening it is an error that says what is
//! going on. A counter that the caller gives tells when it is worth asking again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::DeleteStreamErrorKind;
use futures::TryStreamExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::link::Link;
use super::log::{JetStreamLog, Made, Place};
use super::names;
use super::publish::{Publisher, Wires};
use super::stream::Template;
use super::upkeep::{self, Pace};
use crate::clock::{Clock, SystemClock};
use crate::log::{Health, Log, LogStore, OpenError, Outlook, Retention, check_name};

/// The oldest server that keeps the laws: atomic batches came with it.
const OLDEST: (i64, i64, i64) = (2, 12, 0);
/// How long to wait after something failed.
const PAUSE: Duration = Duration::from_secs(2);
/// The prefix of JetStream's API.
const API: &str = "$JS.API";

/// How to reach the servers, and what to call things there.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where they are, who we are, and whom we trust.
    pub access: Access,
    /// What the names of streams begin with: tells installations apart that share servers.
    pub prefix: String,
    /// Gives events their times.
    pub clock: Arc<dyn Clock>,
    /// How often to look after a stream that is busy, and after one that is idle.
    pub upkeep: (Duration, Duration),
}

impl Options {
    /// How to reach servers, by the machine's clock.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self {
            access,
            prefix: "heddle".to_owned(),
            clock: Arc::new(SystemClock),
            upkeep: (Duration::from_secs(1), Duration::from_secs(10)),
        }
    }
}

/// What is going on before anything was found out about a stream.
const LOOKING_UP: &str = "its stream is being looked up on the NATS server";

/// Logs in the streams of one NATS account.
#[derive(Clone, Debug)]
pub struct JetStreamStore {
    inner: Arc<Inner>,
    template: Template,
}

#[derive(Debug)]
struct Inner {
    prefix: String,
    clock: Arc<dyn Clock>,
    upkeep: (Duration, Duration),
    link: Arc<Link>,
    logs: Mutex<Logs>,
    changes: Arc<watch::Sender<u64>>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Logs {
    /// The logs of ours that the server has, as far as is known, and the names of their streams.
    kept: BTreeMap<String, String>,
    open: BTreeMap<String, Arc<JetStreamLog>>,
    /// Those that are being looked up, or why that has failed.
    opening: BTreeMap<String, String>,
    /// Those that are to be deleted, and the names of their streams.
    removing: BTreeMap<String, String>,
}

impl JetStreamStore {
    /// A store behind the servers in `options`. Connects in the background, and again whenever the
    /// connection is lost. All tasks run on `tracker` until `stop`. `changes` grows whenever a log was
    /// opened or could not be, or the names are known: opening and listing answer anew then.
    #[must_use]
    pub fn start(
        options: Options,
        changes: Arc<watch::Sender<u64>>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let link = Link::new(options.access, Arc::clone(&changes));
        let inner = Arc::new(Inner {
            prefix: options.prefix,
            clock: options.clock,
            upkeep: options.upkeep,
            link: Arc::new(link),
            logs: Mutex::default(),
            changes,
            tracker: tracker.clone(),
            stop: stop.clone(),
        });
        let starting = Arc::clone(&inner);
        tracker.spawn(async move {
            let link = &starting.link;
            let run = async { tokio::join!(link.run(&starting.tracker), starting.list()) };
            stop.run_until_cancelled(run).await;
            link.close();
        });
        Self {
            inner,
            template: Template::default(),
        }
    }

    /// The same store, whose new streams are made like `template`.
    #[must_use]
    pub fn with(&self, template: Template) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            template,
        }
    }

    /// Changes how the servers are reached. A connection that stands is used until the new one does.
    pub fn set_access(&self, access: &Access) {
        self.inner.link.set_access(access);
    }

    /// What a [`Template`] promises less than its user may think, as a word and a sentence; for a
    /// condition. How often a server syncs it tells nobody but the operator, so that its default is
    /// supposed.
    #[must_use]
    pub fn doubts(template: &Template) -> Option<(&'static str, &'static str)> {
        match (template.storage, template.replicas) {
            (super::Storage::Memory, _) => Some((
                "InMemory",
                "The stream is in the memory of the NATS server and does not survive it.",
            )),
            (super::Storage::File, 0 | 1) => Some((
                "NotReplicated",
                "The stream has one replica, and a NATS server acknowledges before its disk has the event (by default it syncs every two minutes) unless it runs with sync_interval: always.",
            )),
            (super::Storage::File, _) => None,
        }
    }
}

impl LogStore for JetStreamStore {
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError> {
        check_name(name)?;
        let mut logs = self.inner.logs.lock();
        if let Some(log) = logs.open.get(name) {
            log.set_retention(retention);
            log.shared().set_template(&self.template);
            return Ok(Arc::clone(log) as Arc<dyn Log>);
        }
        if !logs.opening.contains_key(name) {
            logs.opening.insert(name.to_owned(), LOOKING_UP.to_owned());
            let (inner, template) = (Arc::clone(&self.inner), self.template.clone());
            let name = name.to_owned();
            self.inner.tracker.spawn(async move {
                let stop = inner.stop.clone();
                stop.run_until_cancelled(inner.look_up(name, template, retention))
                    .await;
            });
        }
        let reason = logs.opening.get(name).cloned().unwrap_or_default();
        let outlook = match self.inner.link.connected() {
            Ok(_) if reason != LOOKING_UP => Outlook::Waiting,
            Ok(_) | Err(_) => Outlook::Opening,
        };
        Err(OpenError {
            name: name.to_owned(),
            reason,
            outlook,
        })
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        let mut logs = self.inner.logs.lock();
        logs.opening.remove(name);
        let known = logs.kept.remove(name);
        if let Some(log) = logs.open.remove(name) {
            log.shared().closed().cancel();
        }
        let Some(stream) = known else { return Ok(()) };
        if logs
            .removing
            .insert(name.to_owned(), stream.clone())
            .is_none()
        {
            let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
            self.inner.tracker.spawn(inner.delete(name, stream));
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.inner.logs.lock().kept.keys().cloned().collect()
    }

    fn health(&self) -> Health {
        (self.inner.link.trouble()).map_or(Health::Ready, Health::Degraded)
    }
}

impl Inner {
    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Learns the names of the streams that are there, once the server can be reached.
    async fn list(&self) {
        let mut trouble = String::new();
        let mut wires = self.link.wires();
        loop {
            match self.names().await {
                Ok(names) => {
                    let mut logs = self.logs.lock();
                    let removing = &logs.removing;
                    let names = names.into_iter();
                    let kept = names.filter(|(log, _)| !removing.contains_key(log));
                    let kept: Vec<_> = kept.collect();
                    logs.kept.extend(kept);
                    drop(logs);
                    return self.tell();
                }
                Err(error) => {
                    if error != trouble {
                        tracing::warn!(%error, "the streams could not be listed");
                    }
                    trouble = error;
                    pause(&mut wires).await;
                }
            }
        }
    }

    /// The logs of this installation that the server has, and the names of their streams.
    async fn names(&self) -> Result<BTreeMap<String, String>, String> {
        let streams = self.link.connected()?.load_full().streams();
        let names = streams.try_filter_map(|info| {
            let config = info.config;
            let log = names::log_of(&config.name, &config.metadata, &self.prefix);
            let log = log.map(str::to_owned);
            std::future::ready(Ok(log.map(|log| (log, config.name))))
        });
        names.try_collect().await.map_err(|error| error.to_string())
    }

    /// Opens a log, and tries until it is open or nobody wants it any more.
    async fn look_up(self: Arc<Self>, name: String, template: Template, retention: Retention) {
        let mut wires = self.link.wires();
        loop {
            let found = self.stream(&name, &template).await;
            match found {
                Ok((place, state)) => {
                    self.start(name, place, &state, template, retention);
                    return self.tell();
                }
                Err(reason) => {
                    let mut logs = self.logs.lock();
                    let Some(said) = logs.opening.get_mut(&name) else {
                        return;
                    };
                    let news = *said != reason;
                    *said = reason;
                    drop(logs);
                    if news {
                        // The caller reports it.
                        self.tell();
                    }
                }
            }
            pause(&mut wires).await;
        }
    }

    /// Opens a log whose stream was found, and starts its tasks; unless nobody wants it any more.
    fn start(
        &self,
        name: String,
        place: Place,
        state: &jetstream::stream::State,
        template: Template,
        retention: Retention,
    ) {
        let mut logs = self.logs.lock();
        if logs.opening.remove(&name).is_none() {
            return;
        }
        let clock = Arc::clone(&self.clock);
        let closed = self.stop.child_token();
        let made = Made {
            place,
            template,
            owner: self.prefix.clone(),
        };
        let log = JetStreamLog::new(made, state, retention, clock, closed);
        let (shared, queue) = (Arc::clone(log.shared()), Arc::clone(log.queue()));
        logs.kept
            .insert(name.clone(), shared.place().stream.clone());
        logs.open.insert(name.clone(), log);
        drop(logs);
        let stop = shared.closed().clone();
        let publisher = Publisher::new(Arc::clone(&shared), queue, self.link.wires());
        self.tracker.spawn(publisher.run(stop));
        let (least, most) = self.upkeep;
        let upkeep = upkeep::run(shared, name, Pace { least, most });
        self.tracker.spawn(upkeep);
    }

    /// The stream of a log, made where there is none.
    async fn stream(
        &self,
        name: &str,
        template: &Template,
    ) -> Result<(Place, jetstream::stream::State), String> {
        let way = self.link.connected()?;
        let context = way.load_full();
        let client = context.client();
        let (major, minor, patch) = OLDEST;
        if !client.is_server_compatible(major, minor, patch) {
            let version = client.server_info().version;
            return Err(format!(
                "the NATS server has version {version}; {major}.{minor} or later is needed"
            ));
        }
        // A log that is being removed has to be gone before another one takes its name.
        if self.logs.lock().removing.contains_key(name) {
            return Err("the stream that had its name is being deleted".to_owned());
        }
        let stream = template.stream(&self.prefix, name);
        let config = template.config(&stream, name, &self.prefix);
        let found = context.get_or_create_stream(config).await;
        let found = found.map_err(|error| error.to_string())?;
        let info = found.cached_info().clone();
        let kept = names::log_of(&stream, &info.config.metadata, &self.prefix);
        if kept != Some(name) {
            return Err(format!(
                "there is a stream {stream} already, which does not belong to this log"
            ));
        }
        // One that was made by an earlier process may have been made like something else.
        upkeep::shape(
            &context,
            &info.config,
            &template.config(&stream, name, &self.prefix),
        )
        .await?;
        let place = Place::new(way, API, stream);
        Ok((place, info.state))
    }

    /// Deletes the stream of a log, and tries until it is gone or the process ends. One attempt is
    /// always made; a stream that outlives the process is in [`LogStore::names`] of the next one.
    async fn delete(self: Arc<Self>, name: String, stream: String) {
        let mut trouble = String::new();
        loop {
            match self.delete_stream(&stream).await {
                Ok(()) => break,
                Err(reason) => {
                    if reason != trouble {
                        tracing::warn!(log = %name, %reason, "a stream could not be deleted");
                    }
                    trouble = reason;
                    let pause = tokio::time::sleep(PAUSE);
                    if self.stop.run_until_cancelled(pause).await.is_none() {
                        return;
                    }
                }
            }
        }
        self.logs.lock().removing.remove(&name);
        self.tell();
    }

    async fn delete_stream(&self, stream: &str) -> Result<(), String> {
        match self
            .link
            .connected()?
            .load_full()
            .delete_stream(stream)
            .await
        {
            Err(error) if !is_gone(&error.kind()) => Err(error.to_string()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Waits after something failed, and not longer than until there is a connection.
async fn pause(wires: &mut Wires) {
    let _waited = tokio::time::timeout(PAUSE, wires.changed()).await;
}

fn is_gone(kind: &DeleteStreamErrorKind) -> bool {
    matches!(kind, DeleteStreamErrorKind::JetStream(error)
        if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}
