//! Objects on disk: sled 0.34, and around it what makes its acknowledgements true.
//!
//! The tree `objects` maps `group NUL plural NUL namespace NUL name` to the record (`record`) of the
//! object's JSON. The tree `meta` holds `format` (the version of this layout) and `version` (the newest
//! resourceVersion that was handed out, 8 bytes, big endian).
//!
//! Laws:
//! - When [`Disk::commit`] returns, the changes survive a power cut. sled's `flush` on Linux
//!   starts the write-back of its file without flushing the device, and it does not sync the
//!   separate files (`blobs/`) in which it keeps pages over 128 KiB. So after each flush the
//!   `db` file and every new blob are synced here.
//! - There is one caller at a time: concurrent flushes of sled can deadlock. Its own periodic
//!   flusher is off.
//! - The counter is written before the objects, and on opening the larger of the counter and
//!   the newest object wins, so it never goes back, whatever part of a batch survives a crash.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use sled::{Batch, Db, Tree};

use super::record::{self, RecordError};
use crate::api::access::private;
use crate::api::object::{Key, NotAnObject, Object};
use crate::api::version;
use crate::resource::ResourceKind;

const FORMAT: &[u8] = b"2";
/// Layouts that this program reads, and makes into its own: all objects of layout 1 were plain JSON.
const OLDER: &[u8] = b"1";
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The store has every object in memory itself: this is only for what is being written.
const CACHE_BYTES: u64 = 1024 * 1024;

/// Why the store cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// sled failed.
    #[error("the object store failed: {0}")]
    Sled(#[from] sled::Error),
    /// The file system failed.
    #[error("{what} failed: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error(
        "the object store in {} is in use by another process: stop that one, or use another data \
         directory",
        dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The layout is of another version of the program.
    #[error(
        "the object store has format {found:?}, but this program reads the formats \"1\" and \"2\": open \
         it with the version of the program that wrote it"
    )]
    Format {
        /// The format that was found.
        found: String,
    },
}

/// One change to be made durable.
#[derive(Debug)]
pub(crate) struct Write {
    /// Where: the key on disk.
    pub(crate) key: Vec<u8>,
    /// The new JSON, or nothing for a removal.
    pub(crate) json: Option<Bytes>,
}

/// The store on disk.
#[derive(Debug)]
pub(crate) struct Disk {
    db: Db,
    objects: Tree,
    meta: Tree,
    file: File,
    blobs: PathBuf,
    synced: HashSet<OsString>,
}

/// The key on disk.
pub(crate) fn disk_key(kind: &ResourceKind, key: &Key) -> Vec<u8> {
    [kind.group.as_str(), &kind.plural, &key.namespace, &key.name]
        .join("\0")
        .into_bytes()
}

/// Why an object on disk cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Object(#[from] NotAnObject),
}

fn read(kind: &ResourceKind, record: &[u8]) -> Result<Object, Unreadable> {
    let json = record::decode(record)?;
    let value = serde_json::from_slice(&json).map_err(NotAnObject::from)?;
    Ok(Object::from_value(&version::settled(kind, value))?)
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let what = format!("{what} {}", path.display());
    move |source| DiskError::Io { what, source }
}

/// Opens sled. Its lock can outlive its holder for a moment: a process that just ended, or one
/// that is about to become another program, still has the file open. So the lock is tried for a
/// second before the directory counts as in use.
fn open_db(dir: &Path) -> Result<Db, DiskError> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    let mut tries = 0;
    loop {
        tries += 1;
        match config.open() {
            Ok(db) => return Ok(db),
            // sled tells this apart in its text alone.
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                if tries == LOCK_TRIES {
                    return Err(DiskError::InUse {
                        dir: dir.to_owned(),
                    });
                }
                // The caller blocks on the disk anyway, and there is nothing to be woken by.
                std::thread::park_timeout(LOCK_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Disk {
    /// Opens the store in a directory, which is made if it is not there.
    pub(crate) fn open(dir: &Path) -> Result<Self, DiskError> {
        private::make_dir(dir).map_err(failed("creating", dir))?;
        let db = open_db(dir)?;
        let objects = db.open_tree("objects")?;
        let meta = db.open_tree("meta")?;
        match meta.get("format")? {
            Some(found) if found == FORMAT => {}
            Some(found) if found != OLDER => {
                return Err(DiskError::Format {
                    found: String::from_utf8_lossy(&found).into_owned(),
                });
            }
            // Durable before any record is: an older program must not take them for damaged.
            Some(_) | None => {
                meta.insert("format", FORMAT)?;
            }
        }
        let path = dir.join("db");
        let file = File::open(&path).map_err(failed("opening", &path))?;
        let mut disk = Self {
            db,
            objects,
            meta,
            file,
            blobs: dir.join("blobs"),
            synced: HashSet::new(),
        };
        disk.sync()?;
        // Secrets are in here, and sled makes its files readable by all.
        private::close_dir(dir).map_err(failed("protecting", dir))?;
        // The names of the new files are durable only with their directory.
        File::open(dir)
            .and_then(|d| d.sync_all())
            .map_err(failed("syncing", dir))?;
        Ok(disk)
    }

    /// The newest version that was handed out, going by the counter.
    pub(crate) fn version(&self) -> Result<u64, DiskError> {
        let bytes = self.meta.get("version")?;
        Ok(bytes
            .and_then(|b| <[u8; 8]>::try_from(b.as_ref()).ok())
            .map_or(0, u64::from_be_bytes))
    }

    /// All objects of a kind, as memory holds them. What cannot be read is reported and left alone.
    pub(crate) fn load(&self, kind: &ResourceKind) -> Result<Vec<Object>, DiskError> {
        let prefix = [kind.group.as_str(), &kind.plural, ""].join("\0");
        let mut objects = Vec::new();
        for entry in self.objects.scan_prefix(prefix.as_bytes()) {
            let (key, record) = entry?;
            match read(kind, &record) {
                Ok(object) => objects.push(object),
                Err(error) => tracing::warn!(
                    key = %String::from_utf8_lossy(&key).replace('\0', "/"),
                    %error,
                    "a stored object cannot be read and is not served; its bytes are kept"
                ),
            }
        }
        Ok(objects)
    }

    /// Makes the changes durable, and the counter with them.
    pub(crate) fn commit(&mut self, writes: Vec<Write>, version: u64) -> Result<(), DiskError> {
        self.meta.insert("version", &version.to_be_bytes())?;
        let mut batch = Batch::default();
        for write in writes {
            match write.json {
                Some(json) => batch.insert(write.key, &*record::encode(&json)),
                None => batch.remove(write.key),
            }
        }
        self.objects.apply_batch(batch)?;
        self.sync()
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.db.flush()?;
        self.sync_blobs()?;
        self.file
            .sync_data()
            .map_err(failed("syncing", &self.blobs.with_file_name("db")))
    }

    /// Syncs the blob files that appeared since the last time, and forgets those that went.
    fn sync_blobs(&mut self) -> Result<(), DiskError> {
        let entries = std::fs::read_dir(&self.blobs).map_err(failed("reading", &self.blobs))?;
        let mut present = HashSet::new();
        let mut fresh = false;
        for entry in entries {
            let entry = entry.map_err(failed("reading", &self.blobs))?;
            let name = entry.file_name();
            if !self.synced.contains(&name) {
                let path = entry.path();
                match File::open(&path).and_then(|f| f.sync_all()) {
                    Ok(()) => fresh = true,
                    // sled removes a blob once a newer page replaces it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failed("syncing", &path)(error)),
                }
            }
            present.insert(name);
        }
        self.synced = present;
        if fresh {
            File::open(&self.blobs)
                .and_then(|d| d.sync_all())
                .map_err(failed("syncing", &self.blobs))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind() -> ResourceKind {
        crate::api::tests::support::kind("Trigger", "triggers", true)
    }

    fn write(name: &str) -> Write {
        let conditions: Vec<_> = (0..7)
            .map(|n| json!({"type": n, "status": "True"}))
            .collect();
        let object = json!({
            "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
            "metadata": {"name": name, "namespace": "default", "resourceVersion": "7"},
            "status": {"conditions": conditions},
        });
        let key = [kind().group.as_str(), &kind().plural, "default", name].join("\0");
        Write {
            key: key.into_bytes(),
            json: Some(object.to_string().into()),
        }
    }

    fn names(disk: &Disk) -> Vec<String> {
        let objects = disk.load(&kind()).unwrap();
        objects
            .iter()
            .map(|object| object.key().name.clone())
            .collect()
    }

    #[test]
    fn a_store_of_the_first_layout_is_read_and_becomes_one_of_the_second() {
        let dir = tempfile::tempdir().unwrap();
        let Write { key, json } = write("old");
        let plain = json.unwrap();
        {
            let disk = Disk::open(dir.path()).unwrap();
            disk.meta.insert("format", OLDER).unwrap();
            disk.objects.insert(&key, plain.as_ref()).unwrap();
        }
        let mut disk = Disk::open(dir.path()).unwrap();
        disk.commit(vec![write("new")], 8).unwrap();
        assert_eq!(names(&disk), ["new", "old"]);
        assert_eq!(disk.meta.get("format").unwrap().unwrap(), FORMAT);
        let new = disk.objects.get(write("new").key).unwrap().unwrap();
        assert!(new.len() < plain.len(), "{} bytes", new.len());
    }

    #[test]
    fn damaged_records_are_left_out_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path()).unwrap();
        disk.commit(vec![write("whole"), write("cut")], 8).unwrap();
        let key = write("cut").key;
        let record = disk.objects.get(&key).unwrap().unwrap();
        let cut = &record[..record.len() / 2];
        disk.objects.insert(&key, cut).unwrap();
        assert_eq!(names(&disk), ["whole"]);
        assert_eq!(disk.objects.get(&key).unwrap().unwrap(), cut);
    }

    #[test]
    fn a_store_of_an_unknown_layout_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        disk.meta.insert("format", b"3").unwrap();
        drop(disk);
        let refused = Disk::open(dir.path()).unwrap_err();
        assert!(matches!(refused, DiskError::Format { found } if found == "3"));
    }
}
