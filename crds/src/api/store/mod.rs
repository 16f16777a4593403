//! Objects with versions: durable before they are acknowledged, visible only once durable.
//!
//! One committer thread evaluates all writes, one after the other, against what is stored and
//! what the same group has staged before; then the whole group becomes durable with one flush,
//! then it becomes visible to readers and watches, then each writer is answered. So there are no
//! locks around decisions, no write can be seen and then lost, and versions are given in the
//! order in which changes become visible.
//!
//! After a failed commit the store refuses every further write: what is on disk is unknown until
//! it is opened again.

pub(crate) mod disk;
mod expiry;
mod garbage;
pub(crate) mod memory;
pub(crate) mod namespace;
mod record;
pub(crate) mod transaction;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{oneshot, watch};

pub(crate) use self::memory::{Change, Event, Happened, HistoryLimits, Memory};
pub(crate) use self::transaction::Transaction;

use self::disk::{Disk, DiskError, Write, disk_key};
use self::expiry::Expiry;
use self::garbage::Garbage;
use super::definitions::{self, Cleanup};
use super::error::ApiError;
use super::object::{Key, Object};
use super::registry::{KindId, Registry};
use super::{Limits, Now, OpenError, version};
use crate::resource::ResourceKind;

/// Writes in one group.
const MAX_GROUP: usize = 256;
/// Writes that may wait for the committer.
const MAX_QUEUE: usize = 4_096;
/// Bytes of request bodies that may wait for the committer.
const MAX_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// A write that waits for the committer.
trait Job: Send {
    /// Evaluates the write; false when nothing of it is to be kept.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> bool;
    /// Answers the writer, with the fate of the group.
    fn finish(self: Box<Self>, fate: &Result<(), ApiError>);
    /// The size of what waits.
    fn weight(&self) -> usize;
}

struct Writing<F, T> {
    operation: Option<F>,
    outcome: Option<Result<T, ApiError>>,
    reply: oneshot::Sender<Result<T, ApiError>>,
    weight: usize,
    keep: bool,
}

impl<F, T> Job for Writing<F, T>
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T, ApiError> + Send,
    T: Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) -> bool {
        let Some(operation) = self.operation.take() else {
            return false;
        };
        if !self.keep {
            transaction.rehearse();
        }
        let outcome = operation(transaction);
        let kept = outcome.is_ok() && self.keep;
        self.outcome = Some(outcome);
        kept
    }

    fn finish(self: Box<Self>, fate: &Result<(), ApiError>) {
        let outcome = match (self.outcome, fate) {
            (Some(Ok(_)), Err(error)) => Err(error.clone()),
            (Some(outcome), _) => outcome,
            (None, _) => Err(ApiError::internal(
                "the write could not be evaluated; this is a defect of the server, and the \
                 server's log says more",
            )),
        };
        // A writer that went away has no use for the answer.
        let _ = self.reply.send(outcome);
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    bytes: usize,
    closing: bool,
}

/// What the committer does of itself.
#[derive(Debug)]
struct Chores {
    garbage: Garbage,
    cleanup: Cleanup,
    expiry: Expiry,
}

impl Chores {
    /// Whether there is nothing to do at this time.
    fn is_empty(&self, now: jiff::Timestamp) -> bool {
        self.garbage.is_empty() && self.cleanup.is_empty() && !self.expiry.is_due(now)
    }

    fn clear(&mut self) {
        self.garbage.clear();
        self.cleanup.clear();
        self.expiry.clear();
    }
}

/// The store.
pub(crate) struct Store {
    /// Replaced by the committer alone.
    registry: RwLock<Arc<Registry>>,
    memory: RwLock<Memory>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    failure: Mutex<Option<String>>,
    committer: Mutex<Option<JoinHandle<()>>>,
    now: Now,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store and starts its committer.
    pub(crate) fn open(
        dir: &Path,
        registry: &Registry,
        limits: &Limits,
        now: Now,
        first: impl FnOnce(&mut Transaction<'_>) -> Result<(), ApiError>,
    ) -> Result<Arc<Self>, OpenError> {
        let mut disk = Disk::open(dir)?;
        let mut memory = Memory::new(disk.version()?, limits.history);
        let mut garbage = Garbage::default();
        let mut cleanup = Cleanup::default();
        load(&disk, registry, &mut memory, &mut garbage)?;
        let registry = definitions::with_stored(registry, &memory);
        load(&disk, &registry, &mut memory, &mut garbage)?;
        cleanup.look_at(&registry, &memory);
        let store = Arc::new(Self {
            registry: RwLock::new(Arc::new(registry)),
            memory: RwLock::new(memory),
            queue: Mutex::default(),
            arrived: Condvar::new(),
            failure: Mutex::default(),
            committer: Mutex::default(),
            now,
        });
        store.found(&mut disk, first, &mut garbage)?;
        let mut chores = Chores {
            garbage,
            cleanup,
            expiry: Expiry::new(limits.event_life),
        };
        let (registry, now) = (store.registry(), store.now());
        store.read(|memory| chores.expiry.look_at(&registry, memory, now));
        let working = Arc::clone(&store);
        let thread = std::thread::Builder::new()
            .name("api-commit".to_owned())
            .spawn(move || working.work(disk, chores))
            .map_err(|source| DiskError::Io {
                what: "starting the committer thread".to_owned(),
                source,
            })?;
        *store.committer.lock() = Some(thread);
        Ok(store)
    }

    /// Makes what must be there from the start, before there is anybody to see it.
    fn found(
        &self,
        disk: &mut Disk,
        first: impl FnOnce(&mut Transaction<'_>) -> Result<(), ApiError>,
        garbage: &mut Garbage,
    ) -> Result<(), OpenError> {
        let memory = self.memory.read();
        let registry = self.registry();
        let mut transaction = Transaction::new(&memory, &registry, self.now());
        first(&mut transaction).map_err(OpenError::Namespaces)?;
        let changes = transaction.into_changes();
        drop(memory);
        self.commit(disk, &registry, &changes)
            .map_err(OpenError::Namespaces)?;
        self.show(disk, &registry, &changes, garbage);
        Ok(())
    }

    /// The kinds that are served at this time.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read())
    }

    /// A kind that is served at this time, in the version that the id names.
    pub(crate) fn kind(&self, id: KindId) -> Result<Arc<ResourceKind>, ApiError> {
        self.registry
            .read()
            .kind(id)
            .cloned()
            .ok_or_else(ApiError::no_such_resource)
    }

    /// What the clock says.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        (self.now)()
    }

    /// Reads; the view is consistent, and must be left quickly.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Memory) -> T) -> T {
        look(&self.memory.read())
    }

    /// Tells when a kind changes, as the version of the change; closes when the kind is gone.
    pub(crate) fn news(&self, kind: KindId) -> Result<watch::Receiver<u64>, ApiError> {
        self.read(|memory| memory.news(kind))
            .ok_or_else(ApiError::no_such_resource)
    }

    /// Why writes are refused, if they are.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Evaluates a write and answers once it is durable. `weight` is about what it holds in
    /// bytes. With `keep` false nothing is kept: the answer is what it would have been, without a
    /// new version.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        weight: usize,
        keep: bool,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let job = Writing {
            operation: Some(operation),
            outcome: None,
            reply,
            weight,
            keep,
        };
        {
            let mut queue = self.queue.lock();
            if queue.closing {
                return Err(ApiError::closing());
            }
            if queue.jobs.len() >= MAX_QUEUE || queue.bytes + weight > MAX_QUEUE_BYTES {
                return Err(ApiError::too_many_requests(
                    "too many writes are waiting for the disk; try again later",
                ));
            }
            queue.bytes += weight;
            queue.jobs.push_back(Box::new(job));
        }
        self.arrived.notify_one();
        answer.await.unwrap_or_else(|_| {
            Err(self
                .failure()
                .map_or_else(ApiError::closing, ApiError::internal))
        })
    }

    /// Refuses new writes, answers those that wait, and ends the committer. Blocks meanwhile.
    pub(crate) fn close(&self) {
        self.queue.lock().closing = true;
        self.arrived.notify_all();
        let thread = self.committer.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the committer of the object store ended by a panic");
        }
    }

    fn work(&self, mut disk: Disk, mut chores: Chores) {
        loop {
            let (jobs, closing) = self.next_group(&chores);
            if jobs.is_empty() && closing {
                return;
            }
            let group = AssertUnwindSafe(|| self.commit_group(&mut disk, &mut chores, jobs));
            if catch_unwind(group).is_err() {
                // What was staged is lost or half visible: only opening again makes it whole.
                self.fail("the committer of the object store had a defect and was stopped");
                chores.clear();
            }
        }
    }

    fn next_group(&self, chores: &Chores) -> (Vec<Box<dyn Job>>, bool) {
        let mut queue = self.queue.lock();
        loop {
            let now = self.now();
            if !queue.jobs.is_empty() || !chores.is_empty(now) || queue.closing {
                break;
            }
            match chores.expiry.wait(now) {
                None => self.arrived.wait(&mut queue),
                Some(left) => {
                    self.arrived.wait_for(&mut queue, left);
                }
            }
        }
        let count = queue.jobs.len().min(MAX_GROUP);
        let jobs: Vec<_> = queue.jobs.drain(..count).collect();
        queue.bytes -= jobs.iter().map(|job| job.weight()).sum::<usize>();
        (jobs, queue.closing)
    }

    fn commit_group(&self, disk: &mut Disk, chores: &mut Chores, mut jobs: Vec<Box<dyn Job>>) {
        if let Some(failure) = self.failure() {
            chores.clear();
            finish(jobs, &Err(ApiError::internal(failure)));
            return;
        }
        let memory = self.memory.read();
        let registry = self.registry();
        let now = self.now();
        let mut transaction = Transaction::new(&memory, &registry, now);
        // Before the jobs: what follows from earlier groups must not depend on what came meanwhile.
        chores.garbage.collect(&mut transaction);
        for job in &mut jobs {
            let mark = transaction.mark();
            let kept = catch_unwind(AssertUnwindSafe(|| job.run(&mut transaction)));
            if !matches!(kept, Ok(true)) {
                transaction.roll_back(mark);
            }
        }
        chores.cleanup.collect(&mut transaction);
        chores.expiry.collect(&mut transaction);
        if transaction.touches(registry.definitions())
            && let Err(error) = definitions::settle(&mut transaction)
        {
            tracing::error!(%error, "names could not be granted to definitions of kinds");
        }
        let changes = transaction.into_changes();
        drop(memory);

        let fate = self.commit(disk, &registry, &changes);
        if fate.is_ok() {
            self.show(disk, &registry, &changes, &mut chores.garbage);
            let memory = self.memory.read();
            for change in &changes {
                chores.garbage.after(&registry, change, &memory);
                chores.cleanup.after(&registry, change);
                chores.expiry.after(&registry, change, now);
            }
        }
        finish(jobs, &fate);
        if fate.is_ok() {
            // After the writers: thousands of watches may be waiting, and an answer need not.
            let memory = self.memory.read();
            for (kind, version) in newest(&changes) {
                memory.tell(kind, version);
            }
        }
    }

    /// Makes durable changes visible, and with them the kinds that they define: whoever sees the
    /// one sees the other.
    fn show(&self, disk: &Disk, registry: &Registry, changes: &[Change], garbage: &mut Garbage) {
        let next = definitions::renewed(registry, changes);
        let mut memory = self.memory.write();
        memory.apply(changes);
        let Some(next) = next else { return };
        if let Err(error) = load(disk, &next, &mut memory, garbage) {
            self.fail(&error.to_string());
        }
        for id in next.renewed_since(registry) {
            let Some(kind) = next.kind(id) else { continue };
            for object in memory.objects(id) {
                memory.restore(id, &version::settle(kind, &object));
            }
        }
        *self.registry.write() = Arc::new(next);
    }

    fn commit(
        &self,
        disk: &mut Disk,
        registry: &Registry,
        changes: &[Change],
    ) -> Result<(), ApiError> {
        let Some(last) = changes.last() else {
            return Ok(());
        };
        let writes = changes.iter().filter_map(|change| {
            let object = &change.event.object;
            Some(Write {
                key: disk_key(&**registry.kind(change.kind)?, object.key()),
                json: (change.event.happened != Happened::Deleted).then(|| object.json().bytes()),
            })
        });
        disk.commit(writes.collect(), last.event.version)
            .map_err(|error| self.fail(&error.to_string()))
    }

    /// Refuses every write from now on.
    fn fail(&self, why: &str) -> ApiError {
        let text = format!(
            "{why}. Whether the last writes are stored is unknown, so no more are accepted: check \
             the disk, then restart"
        );
        tracing::error!(
            error = why,
            "the object store failed and accepts no more writes"
        );
        *self.failure.lock() = Some(text.clone());
        ApiError::internal(text)
    }

    /// One object.
    pub(crate) fn get(&self, kind: KindId, key: &Key) -> Result<Arc<Object>, ApiError> {
        self.read(|memory| memory.get(kind, key))
            .ok_or_else(|| match self.kind(kind) {
                Ok(kind) => ApiError::not_found(&kind, &key.name),
                Err(error) => error,
            })
    }
}

/// Reads the objects of the kinds that memory does not hold yet.
fn load(
    disk: &Disk,
    registry: &Registry,
    memory: &mut Memory,
    garbage: &mut Garbage,
) -> Result<(), DiskError> {
    let ids: BTreeSet<KindId> = registry.ids().collect();
    let fresh: Vec<KindId> = ids
        .iter()
        .copied()
        .filter(|id| !memory.holds(*id))
        .collect();
    memory.hold(&ids);
    for id in fresh {
        let Some(kind) = registry.kind(id) else {
            continue;
        };
        for object in disk.load(kind)? {
            memory.continue_after(object.version());
            let object = Arc::new(object);
            memory.restore(id, &object);
            garbage.look_at(registry, id, &object);
        }
    }
    Ok(())
}

/// The newest version of each kind that has changed.
fn newest(changes: &[Change]) -> BTreeMap<KindId, u64> {
    let changes = changes.iter();
    changes
        .map(|change| (change.kind, change.event.version))
        .collect()
}

fn finish(jobs: Vec<Box<dyn Job>>, fate: &Result<(), ApiError>) {
    for job in jobs {
        job.finish(fate);
    }
}
