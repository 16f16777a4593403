//! The store's front: opening, the table of logs, its threads and its end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::encode::table_len;
use super::format::{FRAMES_AT, HEAD};
use super::fs::{FileSystem, Lock, RealFileSystem};
use super::index::RunList;
use super::log::SegmentLog;
use super::maintain;
use super::pool::Pool;
use super::queue::{Item, Queue};
use super::recover::{Recovered, recover};
use super::shared::{Shared, Sizes, count};
use super::stream::Stream;
use super::table::Entry;
use super::writer::Writer;
use super::{SegmentOptions, StoreStats};
use crate::log::{Health, Log, LogStore, OpenError, Retention, check_name};

/// The smallest segment: room for a table of some logs and an append.
const SMALLEST: u64 = 8 << 10;
/// The largest segment: positions in it have 32 bits.
const LARGEST: u64 = 2 << 30;

/// All logs of a data directory. See the module's documentation.
#[derive(Debug)]
pub struct SegmentStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    others: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl SegmentStore {
    /// Opens the store in `dir`, which is made where it is missing.
    ///
    /// # Errors
    ///
    /// When another process has it open, a device fails, or its files are of a later version.
    /// Damage is no error: it is passed over, reported and quarantined.
    pub fn open(dir: &Path, options: SegmentOptions) -> Result<Arc<Self>, OpenError> {
        let failed = |reason: String| OpenError::failed(&dir.display().to_string(), reason);
        let SegmentOptions {
            segment_bytes,
            max_pending_bytes,
            tail_bytes,
            clock,
            fs,
        } = options;
        if !(SMALLEST..=LARGEST).contains(&segment_bytes) {
            return Err(failed(format!(
                "a segment has {SMALLEST} to {LARGEST} bytes, {segment_bytes} were asked for"
            )));
        }
        let segment_bytes = segment_bytes.next_multiple_of(8);
        let fs = fs.unwrap_or_else(|| RealFileSystem::new(dir));
        let lock = take_lock(&*fs).map_err(failed)?;
        let Recovered {
            streams,
            segments,
            newest,
            spares,
            next_spare,
            unsealed,
            quarantined,
        } = recover(&*fs, segment_bytes).map_err(|error| failed(error.to_string()))?;
        let quarter = usize::try_from(segment_bytes / 4).unwrap_or(usize::MAX);
        let sizes = Sizes {
            segment: segment_bytes,
            tail: tail_bytes,
            append: quarter.min(max_pending_bytes),
        };
        let shared = Arc::new(Shared::new(
            Arc::clone(&fs),
            clock,
            sizes,
            Queue::new(max_pending_bytes),
            Pool::new(fs, segment_bytes, spares, next_spare),
            streams,
            segments,
            newest,
        ));
        count(&shared.counters.quarantined_bytes, quarantined);
        shared.chore(|chores| chores.seal.extend(unsealed));
        let store = Arc::new(Self {
            shared: Arc::clone(&shared),
            writer: Mutex::default(),
            others: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        store
            .start()
            .map_err(|error| failed(format!("no thread could be started: {error}")))?;
        Ok(store)
    }

    fn start(&self) -> io::Result<()> {
        // A thread that ends otherwise than in order takes the store with it.
        let spawn = |name: &str, work: fn(&Arc<Shared>)| {
            let shared = Arc::clone(&self.shared);
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    let guard = Essential(shared);
                    work(&guard.0);
                })
        };
        *self.writer.lock() = Some(spawn("log-writer", |shared| {
            Writer::new(Arc::clone(shared)).run()
        })?);
        let mut others = self.others.lock();
        others.push(spawn("log-prepare", prepare)?);
        others.push(spawn("log-maintain", |shared| maintain::run(shared))?);
        Ok(())
    }

    /// Writes what is enqueued, and ends. All logs of the store are closed then. Blocks.
    pub fn close(&self) {
        self.shared.queue.stop("the store was closed");
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
        self.shared.pool.stop();
        // The manifest tells the next start what retention removed since the last one.
        self.shared
            .chore(|chores| (chores.manifest, chores.stop) = (true, true));
        for thread in self.others.lock().drain(..) {
            let _ = thread.join();
        }
        self.shared.closed.store(true, Ordering::Release);
        self.lock.lock().take();
    }

    /// Does now what is otherwise done in the background: retention, indexes, freeing. Blocks.
    pub fn maintain(&self) {
        let mut chores = self.shared.chores.lock();
        chores.retain = true;
        // The pass that goes on now may have looked already.
        let wanted = chores.passes + 2;
        while chores.passes < wanted && !chores.stop {
            chores.retain = true;
            self.shared.chores_changed.notify_all();
            let moment = std::time::Duration::from_millis(50);
            self.shared.chores_changed.wait_for(&mut chores, moment);
            if self.shared.failure().is_some() {
                return;
            }
        }
    }

    /// What the store did and holds.
    #[must_use]
    pub fn store_stats(&self) -> StoreStats {
        let counters = &self.shared.counters;
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            fsyncs: get(&counters.fsyncs),
            groups: get(&counters.groups),
            group_appends: get(&counters.group_appends),
            group_events: get(&counters.group_events),
            bytes_written: get(&counters.bytes_written),
            moved_events: get(&counters.moved_events),
            recycled_segments: get(&counters.recycled),
            quarantined_bytes: get(&counters.quarantined_bytes),
            disk_reads: get(&counters.disk_reads),
            tail_bytes: get(&counters.tail_bytes),
            pending_bytes: self.shared.queue.pending() as u64,
            segments: self.shared.segments.lock().len() as u64,
            spare_segments: self.shared.pool.spares() as u64,
            logs: self.shared.streams.read().by_name.len() as u64,
        }
    }

    /// Enqueues the stream frame of a log, so that its name is kept though it gets no events.
    fn register(&self, stream: &Arc<Stream>) {
        let streams = vec![Arc::clone(stream)];
        // A failed store says so when an event is appended.
        let _ = self.shared.queue.push(Item::Streams {
            streams,
            remove: false,
            done: None,
        });
    }
}

/// The work of the thread that prepares space.
fn prepare(shared: &Arc<Shared>) {
    let report = |full: bool| {
        if !full {
            shared.refusing.store(false, Ordering::Release);
        }
    };
    if let Err(error) = shared.pool.run(report) {
        shared.fail(&format!("space for events could not be prepared: {error}"));
    }
}

/// Fails the store when one of its threads panics.
struct Essential(Arc<Shared>);

impl Drop for Essential {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("one of its threads has stopped unexpectedly");
        }
    }
}

fn take_lock(fs: &dyn FileSystem) -> Result<Box<dyn Lock>, String> {
    fs.create_dir("").map_err(|error| error.to_string())?;
    fs.lock("lock").map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            "it is in use by another process; stop that one, or choose another directory".into()
        }
        _ => format!("its lock could not be taken: {error}"),
    })
}

impl LogStore for SegmentStore {
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError> {
        check_name(name)?;
        let mut streams = self.shared.streams.write();
        let stream = match streams.by_name.get(name) {
            Some(stream) => Arc::clone(stream),
            None => {
                let failed = |reason: &str| OpenError::failed(name, reason);
                let encoded = table_len(name);
                // Each segment starts with the table: it must leave room for events.
                let room = usize::try_from(self.shared.sizes.segment / 2).unwrap_or(usize::MAX);
                if streams.encoded + encoded + FRAMES_AT as usize + HEAD > room {
                    return Err(failed("there are too many logs for the size of a segment"));
                }
                let id = streams.next_id;
                let next = id
                    .checked_add(1)
                    .ok_or_else(|| failed("all log ids are used up"))?;
                let entry = Entry {
                    name: name.into(),
                    ..Entry::default()
                };
                let stream = Arc::new(Stream::new(id, entry, RunList::default(), 0, false));
                streams.next_id = next;
                streams.encoded += encoded;
                streams.by_id.insert(id, Arc::clone(&stream));
                streams.by_name.insert(name.into(), Arc::clone(&stream));
                self.register(&stream);
                stream
            }
        };
        drop(streams);
        stream.state.lock().set_retention(retention);
        self.shared.chore(|chores| chores.retain = true);
        Ok(Arc::new(SegmentLog {
            shared: Arc::clone(&self.shared),
            stream,
        }))
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        let Some(stream) = self.shared.streams.write().by_name.remove(name) else {
            return Ok(());
        };
        stream.set_closed(true);
        let (done, wait) = mpsc::sync_channel(1);
        let item = Item::Streams {
            streams: vec![Arc::clone(&stream)],
            remove: true,
            done: Some(done),
        };
        let outcome = self.shared.queue.push(item).and_then(|()| {
            wait.recv().unwrap_or_else(|_| {
                Err(crate::log::AppendError::Closed {
                    reason: "its writer has stopped".into(),
                })
            })
        });
        let Err(error) = outcome else {
            self.shared.chore(|chores| chores.retain = true);
            return Ok(());
        };
        // Not removed durably: it is still there, unless a new one took its place.
        stream.set_closed(false);
        self.shared
            .streams
            .write()
            .by_name
            .entry(name.into())
            .or_insert(stream);
        let reason = format!("it could not be removed: {error}");
        Err(OpenError::failed(name, reason))
    }

    fn names(&self) -> Vec<String> {
        self.shared.streams.read().by_name.keys().cloned().collect()
    }

    fn health(&self) -> Health {
        if let Some(reason) = self.shared.failure() {
            return Health::Failed(format!(
                "the event log has failed: {reason}; restart to recover"
            ));
        }
        if self.shared.closed.load(Ordering::Acquire) {
            return Health::Failed("the event log was closed".into());
        }
        if self.shared.pool.is_full() || self.shared.refusing.load(Ordering::Acquire) {
            return Health::Degraded(
                "the disk of the event log is full; free space, events are refused until then"
                    .into(),
            );
        }
        Health::Ready
    }
}

impl Drop for SegmentStore {
    fn drop(&mut self) {
        self.close();
    }
}
