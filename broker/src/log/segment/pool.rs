//! Space ahead of need: files of zeros that become segments, and recycled ones.
//!
//! One thread writes zeros and syncs them, so that the writer only ever overwrites blocks that
//! the file has already. A full disk is therefore met here, before any event is at stake; it is
//! tried again until there is room. The first segment of a store does not exist in full when the
//! first event comes: its file grows ahead of the writer, in chunks, and the writer waits for the
//! chunk that it needs. That makes a start on an empty directory cheap.
//!
//! Invariant: of a file that was taken, the bytes below `prepared` are allocated and durable.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::fs::{BLOCK, FileSystem, SegmentFile, is_full};

/// The first piece of a new file: enough to begin, and written in a few milliseconds.
const FIRST_CHUNK: u64 = 1 << 20;
/// The other pieces.
const CHUNK: u64 = 4 << 20;
/// What is written at a time. It goes past the page cache: through it, preparing took a sixth of all
/// the CPU time of an event, and the zeros pushed out of the caches what the process works on.
static ZEROS: Zeros = Zeros([0; 256 << 10]);

/// Zeros as direct writes need them: aligned to [`BLOCK`].
#[repr(align(4096))]
struct Zeros([u8; 256 << 10]);

const _: () = assert!(align_of::<Zeros>() as u64 == BLOCK);
/// How far the active segment is prepared ahead of what is written.
const AHEAD: u64 = 16 << 20;
/// How long a full disk is left alone before it is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// A file to become a segment.
#[derive(Clone, Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn SegmentFile>,
    prepared: u64,
}

/// There is no space to be had now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoSpace {
    /// The disk is full.
    Full,
    /// The store fails or stops.
    Stopped,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Spare>,
    /// The file that is being extended.
    growing: Option<Spare>,
    /// A handle on it that writes past the page cache.
    filler: Option<Arc<dyn SegmentFile>>,
    /// Whether that file is the active segment.
    is_active: bool,
    /// How much of the active segment is written.
    used: u64,
    /// How far the active segment is prepared, if it was given up before it was prepared whole.
    bound: Option<u64>,
    /// The writer waits for a spare.
    wanted: bool,
    full: bool,
    stopped: bool,
    next_name: u64,
}

/// Files ahead of need.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    fs: Arc<dyn FileSystem>,
    /// The size of a segment.
    capacity: u64,
}

impl Pool {
    /// A pool that starts with the spares that were found, and names new ones from `next_name`.
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        capacity: u64,
        spares: Vec<(String, Arc<dyn SegmentFile>)>,
        next_name: u64,
    ) -> Self {
        let ready = spares
            .into_iter()
            .map(|(name, file)| Spare {
                name,
                file,
                prepared: capacity,
            })
            .collect();
        // One spare is wanted from the start: for the first segment.
        let state = State {
            ready,
            next_name,
            wanted: true,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            fs,
            capacity,
        }
    }

    /// How many whole spares there are.
    pub(crate) fn spares(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// Whether the disk was full when space was last asked of it.
    pub(crate) fn is_full(&self) -> bool {
        self.state.lock().full
    }

    /// Ends all waiting.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Takes in a file of a freed segment. False when there are enough already.
    pub(crate) fn recycle(&self, from: &str, file: Arc<dyn SegmentFile>) -> io::Result<bool> {
        let name = {
            let mut state = self.state.lock();
            // One in hand, one coming: a third would only take space.
            if state.ready.len() >= 2 {
                return Ok(false);
            }
            state.next_name += 1;
            format!("spare-{}.seg", state.next_name)
        };
        self.fs.rename(from, &name)?;
        let mut state = self.state.lock();
        state.ready.push_back(Spare {
            name,
            file,
            prepared: self.capacity,
        });
        self.changed.notify_all();
        Ok(true)
    }

    /// Waits for a file with at least `need` prepared bytes, and takes it as the active segment.
    pub(crate) fn take(&self, need: u64) -> Result<Spare, NoSpace> {
        let mut state = self.state.lock();
        // An unfinished active segment is not extended any more: the room is needed elsewhere.
        if state.is_active {
            state.bound = state.growing.take().map(|growing| growing.prepared);
            state.filler = None;
            state.is_active = false;
        }
        loop {
            if state.stopped {
                return Err(NoSpace::Stopped);
            }
            if let Some(spare) = state.ready.pop_front() {
                (state.wanted, state.used, state.bound) = (false, 0, None);
                return Ok(spare);
            }
            if !state.is_active
                && let Some(growing) = &state.growing
                && growing.prepared >= need.min(self.capacity)
            {
                let spare = growing.clone();
                state.is_active = true;
                (state.wanted, state.used, state.bound) = (false, 0, None);
                return Ok(spare);
            }
            if state.full {
                return Err(NoSpace::Full);
            }
            state.wanted = true;
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
    }

    /// Waits until the active segment is prepared up to `end`, which is about to be written.
    pub(crate) fn reach(&self, end: u64) -> Result<(), NoSpace> {
        let mut state = self.state.lock();
        let wake = state.used < end;
        state.used = state.used.max(end);
        if wake && self.has_work(&state) {
            self.changed.notify_all();
        }
        if state.bound.is_some_and(|bound| end > bound) {
            return Err(NoSpace::Full);
        }
        loop {
            let Some(growing) = state.growing.as_ref().filter(|_| state.is_active) else {
                return Ok(());
            };
            if growing.prepared >= end.min(self.capacity) {
                return Ok(());
            }
            if state.stopped {
                return Err(NoSpace::Stopped);
            }
            if state.full {
                return Err(NoSpace::Full);
            }
            self.changed.wait(&mut state);
        }
    }

    /// Prepares space until the pool is stopped. `report` is told of each change between full
    /// (true) and not. Ends with an error that is not a full disk.
    pub(crate) fn run(&self, report: impl Fn(bool)) -> io::Result<()> {
        let mut state = self.state.lock();
        while !state.stopped {
            if state.full && !state.ready.is_empty() {
                // A freed segment is room too.
                state.full = false;
                report(false);
                self.changed.notify_all();
            }
            if !self.has_work(&state) {
                self.changed.wait(&mut state);
                continue;
            }
            let outcome = MutexGuard::unlocked(&mut state, || self.step());
            match outcome {
                Ok(()) if state.full => {
                    state.full = false;
                    report(false);
                }
                Ok(()) => {}
                Err(error) if is_full(&error) => {
                    if !state.full {
                        state.full = true;
                        report(true);
                    }
                    self.changed.notify_all();
                    self.changed.wait_for(&mut state, RETRY);
                }
                Err(error) => return Err(error),
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    /// A spare is prepared during the second half of the active segment, at twice the pace of the
    /// writer: in one go it would hold up the syncs of events for as long as it takes.
    fn has_work(&self, state: &State) -> bool {
        let urgent = state.wanted || state.full;
        let past_half = state.used.saturating_sub(self.capacity / 2);
        match &state.growing {
            Some(active) if state.is_active => {
                active.prepared < self.capacity && active.prepared < state.used + AHEAD
            }
            Some(spare) => urgent || spare.prepared < CHUNK + 2 * past_half,
            None => state.ready.is_empty() && (urgent || state.used >= self.capacity / 2),
        }
    }

    /// Writes the next piece of zeros, in a new file where none is growing.
    fn step(&self) -> io::Result<()> {
        let growing = self.state.lock().growing.clone();
        let growing = match growing {
            Some(growing) => growing,
            None => self.create()?,
        };
        let chunk = if growing.prepared == 0 {
            FIRST_CHUNK
        } else {
            CHUNK
        };
        let chunk = chunk.min(self.capacity - growing.prepared);
        self.fill(&growing, chunk)?;
        let mut state = self.state.lock();
        let Some(current) = state
            .growing
            .as_mut()
            .filter(|file| file.name == growing.name)
        else {
            return Ok(()); // The writer has gone on to another file.
        };
        current.prepared += chunk;
        if current.prepared >= self.capacity {
            let whole = state.growing.take();
            state.filler = None;
            if !std::mem::take(&mut state.is_active) {
                state.ready.extend(whole);
            }
        }
        Ok(())
    }

    /// Writes zeros behind what is prepared of a file.
    fn fill(&self, growing: &Spare, len: u64) -> io::Result<()> {
        let (mut at, end) = (growing.prepared, growing.prepared + len);
        while at < end {
            let piece = usize::try_from(end - at).unwrap_or(usize::MAX);
            let zeros = &ZEROS.0[..ZEROS.0.len().min(piece)];
            let whole = at.is_multiple_of(BLOCK) && (zeros.len() as u64).is_multiple_of(BLOCK);
            let filler = self.state.lock().filler.clone().filter(|_| whole);
            match filler.as_ref().unwrap_or(&growing.file).write_at(zeros, at) {
                Ok(()) => at += zeros.len() as u64,
                // The disk wants larger blocks than these.
                Err(error) if filler.is_some() && error.kind() == io::ErrorKind::InvalidInput => {
                    self.state.lock().filler = None;
                }
                Err(error) => return Err(error),
            }
        }
        growing.file.sync_data()
    }

    fn create(&self) -> io::Result<Spare> {
        let name = {
            let mut state = self.state.lock();
            state.next_name += 1;
            format!("spare-{}.seg", state.next_name)
        };
        let spare = Spare {
            file: self.fs.create(&name)?,
            name,
            prepared: 0,
        };
        let filler = self.fs.open_past_cache(&spare.name)?;
        let mut state = self.state.lock();
        state.growing = Some(spare.clone());
        state.filler = Some(filler);
        drop(state);
        Ok(spare)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fs::RealFileSystem;
    use super::*;

    #[test]
    fn a_spare_is_prepared_at_the_pace_of_the_writer_unless_it_is_waited_for() {
        let capacity = 64 << 20;
        let dir = tempfile::tempdir().unwrap();
        let pool = Pool::new(RealFileSystem::new(dir.path()), capacity, Vec::new(), 0);
        pool.create().unwrap();
        let mut state = pool.state.lock();
        state.wanted = false;
        let mut works = |used, prepared| {
            state.used = used;
            state.growing.as_mut().unwrap().prepared = prepared;
            pool.has_work(&state)
        };
        assert!(works(capacity / 2, 0));
        assert!(!works(capacity / 2, CHUNK));
        assert!(works(capacity / 2 + CHUNK, CHUNK));
        assert!(!works(capacity / 2 + CHUNK, 3 * CHUNK));
        // Before the active segment is full, the spare is whole.
        assert!(works(capacity - CHUNK, capacity - CHUNK - 1));
        state.wanted = true;
        assert!(pool.has_work(&state));
    }
}
