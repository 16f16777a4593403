//! The file system as a parameter: what the store needs of one, and the machine's own.
//!
//! Names are relative to the store's directory. Tests put a simulated file system here that
//! fails, tears writes, forgets what was not synced and runs out of space.

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What file systems and disks transfer at least at a time, or a multiple of it: bytes.
pub(crate) const BLOCK: u64 = 4096;

/// One file of a store.
pub trait SegmentFile: Send + Sync + Debug {
    /// Reads at a position, until `buffer` is full or the file ends. Returns how much it read.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at a position.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when what was written survives a power cut (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file, or extends it with a hole.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Keeps other processes out of a store for as long as it lives.
pub trait Lock: Send + Sync + Debug {}

/// A directory of files.
pub trait FileSystem: Send + Sync + Debug + 'static {
    /// Makes the directory `name` in the store's directory ("" is that itself) where it is
    /// missing.
    fn create_dir(&self, name: &str) -> io::Result<()>;
    /// Takes the store's lock, or fails with [`io::ErrorKind::WouldBlock`].
    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>>;
    /// The names of the files in the store's directory, without directories.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;
    /// Makes an empty file, in place of any that there is.
    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a file once more, for writes that need not stay in memory. They are of whole, aligned
    /// [`BLOCK`]s from memory aligned alike, and of ranges that the other handles do not touch yet.
    fn open_past_cache(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        self.open(name)
    }
    /// Gives a file another name, in place of any file of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when created, renamed and deleted names survive a power cut.
    fn sync_dir(&self) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug)]
pub struct RealFileSystem {
    root: PathBuf,
}

impl RealFileSystem {
    /// Works in the directory `root`.
    #[must_use]
    pub fn new(root: &Path) -> Arc<Self> {
        Arc::new(Self {
            root: root.to_owned(),
        })
    }
}

#[derive(Debug)]
struct RealFile(File);

#[derive(Debug)]
struct RealLock(#[allow(dead_code)] File); // The system releases the lock when it is closed.

impl Lock for RealLock {}

impl FileSystem for RealFileSystem {
    fn create_dir(&self, name: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.root.join(name))
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.root.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let path = self.root.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    #[cfg(target_os = "linux")]
    fn open_past_cache(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(self.root.join(name));
        match direct {
            Ok(file) => Ok(Arc::new(RealFile(file))),
            // Some file systems keep everything in memory.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.open(name),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.root.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

impl SegmentFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Whether an error says that there is no room, on the disk or in the quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes a small file so that it is there as a whole or not at all, also after a power cut.
pub(crate) fn replace(fs: &dyn FileSystem, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = fs.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    fs.rename(&temporary, name)?;
    fs.sync_dir()
}

/// Reads a whole file that should be no longer than `limit`.
pub(crate) fn read_all(file: &dyn SegmentFile, limit: u64) -> io::Result<Vec<u8>> {
    let len = file.len()?.min(limit);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Keeps a copy of damaged bytes for people to look at, unless they are all zeros. Best effort:
/// the log goes on without. Returns how many bytes were kept.
pub(crate) fn quarantine(fs: &dyn FileSystem, segment: u64, at: u64, bytes: &[u8]) -> u64 {
    if bytes.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let name = format!("quarantine/{segment:016x}-{at}.bin");
    let kept = fs
        .create_dir("quarantine")
        .and_then(|()| fs.create(&name))
        .and_then(|file| file.write_at(bytes, 0));
    if let Err(error) = kept {
        tracing::warn!(%name, %error, "damaged bytes could not be put into quarantine");
        return 0;
    }
    bytes.len() as u64
}
