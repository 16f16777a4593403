//! Where positions are kept: a tree of sled, which is opened anew after it has failed.
//!
//! sled writes nothing any more once a write has failed, as on a full disk, until it is opened again.
//! What is in it is then what was in it after the last write that succeeded, or some of what came
//! after. Whoever writes whole records writes those of the failed write once more, and all is well.
//!
//! # Laws
//!
//! 1. When [`Disk::write`] returns, the batch survives a power cut.
//! 2. There is one writer at a time: concurrent flushes of sled can lock up.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

const TREE: &str = "dispatcher/positions";

/// Positions could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// sled says so.
    #[error(transparent)]
    Sled(#[from] sled::Error),
    /// Its file is not there any more, or cannot be synced.
    #[error("{} cannot be synced: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// sled met something that it does not expect.
    #[error("the store in {} met a defect", dir.display())]
    Defect {
        /// Where its files are.
        dir: PathBuf,
    },
}

/// How often positions were written. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    groups: Counter,
    failures: Counter,
}

impl Writes {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "heddle_position_groups",
            "Groups of positions that were written, with one sync each",
            self.groups.clone(),
        );
        registry.register(
            "heddle_position_failures",
            "Times that the store of positions failed",
            self.failures.clone(),
        );
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Disk {
    config: sled::Config,
    dir: PathBuf,
    /// None after a failure.
    open: Mutex<Option<Open>>,
    writes: Writes,
}

#[derive(Debug)]
struct Open {
    // Dropped in this order.
    tree: sled::Tree,
    db: sled::Db,
}

impl Open {
    fn new(config: &sled::Config) -> Result<Self, sled::Error> {
        let db = config.open()?;
        let tree = db.open_tree(TREE)?;
        Ok(Self { tree, db })
    }

    /// Makes what was written survive a power cut. sled's flush alone does not on Linux: it leaves
    /// the bytes to the device's cache, which only an fdatasync empties.
    fn sync(&self, dir: &Path) -> Result<(), DiskError> {
        self.db.flush()?;
        sync(dir)
    }
}

fn sync(dir: &Path) -> Result<(), DiskError> {
    let path = dir.join("db");
    let synced = File::open(&path).and_then(|file| file.sync_data());
    synced.map_err(|source| DiskError::File { path, source })
}

impl Disk {
    /// Opens what `config` names, which keeps its files in `dir`.
    pub(super) fn open(
        config: sled::Config,
        dir: PathBuf,
        writes: Writes,
    ) -> Result<Self, sled::Error> {
        let open = Mutex::new(Some(Open::new(&config)?));
        Ok(Self {
            config,
            dir,
            open,
            writes,
        })
    }

    /// Looks at all records whose keys begin with `prefix`, in order: their keys and values.
    pub(super) fn scan(
        &self,
        prefix: &str,
        mut look: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), DiskError> {
        self.with(|open| {
            for record in open.tree.scan_prefix(prefix) {
                let (key, value) = record?;
                look(&key, &value);
            }
            Ok(())
        })
    }

    /// Makes a batch durable. Blocks.
    pub(super) fn write(&self, batch: sled::Batch) -> Result<(), DiskError> {
        self.with(|open| {
            open.tree.apply_batch(batch)?;
            open.sync(&self.dir)
        })?;
        self.writes.groups.inc();
        Ok(())
    }

    /// Works with the store, which is opened first if it failed before. One that fails is closed.
    fn with<T>(&self, work: impl FnOnce(&Open) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let mut open = self.open.lock();
        let worked = catch_unwind(AssertUnwindSafe(|| {
            if open.is_none() {
                // sled would begin a new one where it is gone, and nothing of the old one be in it.
                sync(&self.dir)?;
                *open = Some(Open::new(&self.config)?);
            }
            match &*open {
                Some(open) => work(open),
                None => Err(self.defect()),
            }
        }));
        let worked = worked.unwrap_or_else(|_| Err(self.defect()));
        if worked.is_err() {
            self.writes.failures.inc();
            // Whatever is wrong with it may be wrong with its end.
            let failed = open.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(failed)));
        }
        worked
    }

    /// The groups that were written, with one sync each.
    #[cfg(test)]
    pub(super) fn groups(&self) -> u64 {
        self.writes.groups.get()
    }

    /// How often it failed.
    #[cfg(test)]
    pub(super) fn failures(&self) -> u64 {
        self.writes.failures.get()
    }

    fn defect(&self) -> DiskError {
        DiskError::Defect {
            dir: self.dir.clone(),
        }
    }
}
