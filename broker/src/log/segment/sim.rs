//! A simulated disk: it can fail an operation, run out of space, lose power and flip bits.
//!
//! Writes go to a cache; `sync_data` makes those of one file durable, `sync_dir` the names. When
//! the power is lost, of what was not durable any part of 512 bytes may have been kept or not, and
//! the changes of names up to any one of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;

use super::fs::{FileSystem, Lock, SegmentFile};

const SECTOR: usize = 512;

/// What a fault applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Sync,
    Rename,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

type Names = BTreeMap<String, usize>;

#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: Names,
    /// The durable names, and each state after them.
    history: Vec<Names>,
    /// Bytes that may be allocated.
    space: Option<u64>,
    /// The next so many operations of a kind succeed, those after them fail.
    fault: Option<(Operation, u64)>,
    /// The power goes after so many changing operations.
    power: Option<u64>,
    dead: bool,
    locked: bool,
    /// File names that were renamed from spares to segments, in order.
    pub(crate) reused: Vec<(String, String)>,
}

/// A simulated disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimFs(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct SimFile {
    disk: SimFs,
    inode: usize,
}

#[derive(Debug)]
struct SimLock(SimFs);

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.0.lock().locked = false;
    }
}

impl Disk {
    fn allow(&mut self, operation: Operation) -> io::Result<()> {
        if operation != Operation::Read {
            match &mut self.power {
                Some(0) => self.dead = true,
                Some(left) => *left -= 1,
                None => {}
            }
        }
        if self.dead {
            return Err(io::Error::other("the power is off"));
        }
        if let Some((faulty, left)) = &mut self.fault
            && *faulty == operation
        {
            if *left == 0 {
                return Err(io::Error::other("the device failed"));
            }
            *left -= 1;
        }
        Ok(())
    }

    fn allocated(&self) -> u64 {
        self.names
            .values()
            .map(|inode| self.inodes[*inode].now.len() as u64)
            .sum()
    }

    fn grow(&self, by: usize) -> io::Result<()> {
        match self.space {
            Some(space) if self.allocated() + by as u64 > space => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn renamed(&mut self) {
        let names = self.names.clone();
        self.history.push(names);
    }
}

impl SimFs {
    /// Another disk with the same content, as it would be found after `kill -9`.
    pub(crate) fn copy(&self) -> Self {
        let mut disk = self.0.lock().clone();
        (disk.locked, disk.fault, disk.power, disk.dead) = (false, None, None, false);
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Lets the power go after so many changing operations.
    pub(crate) fn lose_power_after(&self, operations: u64) {
        self.0.lock().power = Some(operations);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// What is found when the power is back.
    pub(crate) fn after_power_loss(&self, random: &mut impl Rng) -> Self {
        let mut disk = self.0.lock().clone();
        if !disk.history.is_empty() {
            let kept = random.random_range(0..disk.history.len());
            disk.names = disk.history[kept].clone();
        }
        for inode in &mut disk.inodes {
            let len = if random.random() {
                inode.now.len()
            } else {
                inode.durable.len()
            };
            let mut found = vec![0; len];
            for (n, sector) in found.chunks_mut(SECTOR).enumerate() {
                let from = if random.random() {
                    &inode.now
                } else {
                    &inode.durable
                };
                let bytes = from.get(n * SECTOR..).unwrap_or_default();
                let len = bytes.len().min(sector.len());
                sector[..len].copy_from_slice(&bytes[..len]);
            }
            inode.now.clone_from(&found);
            inode.durable = found;
        }
        disk.history = vec![disk.names.clone()];
        (disk.locked, disk.fault, disk.power, disk.dead) = (false, None, None, false);
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Fails operations of a kind, after `left` more that succeed.
    pub(crate) fn fail(&self, operation: Operation, left: u64) {
        self.0.lock().fault = Some((operation, left));
    }

    pub(crate) fn heal(&self) {
        self.0.lock().fault = None;
    }

    /// Allows so many bytes more than there are now; None: no limit.
    pub(crate) fn leave_space(&self, more: Option<u64>) {
        let mut disk = self.0.lock();
        disk.space = more.map(|more| disk.allocated() + more);
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let disk = self.0.lock();
        disk.inodes[disk.inode(name).unwrap()].now.clone()
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.0.lock();
        let inode = disk.inode(name).unwrap();
        change(&mut disk.inodes[inode].now);
        let now = disk.inodes[inode].now.clone();
        disk.inodes[inode].durable = now;
    }

    /// The names of segments, spares or indexes, by their ending.
    pub(crate) fn names(&self, suffix: &str) -> Vec<String> {
        let disk = self.0.lock();
        disk.names
            .keys()
            .filter(|name| name.ends_with(suffix))
            .cloned()
            .collect()
    }

    /// How often a file that had been a segment became one again.
    pub(crate) fn reused(&self) -> usize {
        let disk = self.0.lock();
        let mut freed = std::collections::BTreeSet::new();
        let mut reused = 0;
        for (from, to) in &disk.reused {
            if to.starts_with("spare") {
                freed.insert(to.clone());
            } else if freed.contains(from) {
                reused += 1;
            }
        }
        reused
    }
}

impl FileSystem for SimFs {
    fn create_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &str) -> io::Result<Box<dyn Lock>> {
        let mut disk = self.0.lock();
        if disk.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.locked = true;
        Ok(Box::new(SimLock(self.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut disk = self.0.lock();
        disk.allow(Operation::Read)?;
        Ok(disk
            .names
            .keys()
            .filter(|name| !name.contains('/'))
            .cloned()
            .collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let disk = self.0.lock();
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode: disk.inode(name)?,
        }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let mut disk = self.0.lock();
        disk.allow(Operation::Write)?;
        disk.inodes.push(Inode::default());
        let inode = disk.inodes.len() - 1;
        disk.names.insert(name.to_owned(), inode);
        disk.renamed();
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.allow(Operation::Rename)?;
        let inode = disk.inode(from)?;
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), inode);
        disk.renamed();
        if to.ends_with(".seg") {
            disk.reused.push((from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.allow(Operation::Rename)?;
        disk.inode(name)?;
        disk.names.remove(name);
        disk.renamed();
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.allow(Operation::Sync)?;
        disk.history = vec![disk.names.clone()];
        Ok(())
    }
}

impl SegmentFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut disk = self.disk.0.lock();
        disk.allow(Operation::Read)?;
        let at = usize::try_from(at).unwrap();
        let bytes = disk.inodes[self.inode].now.get(at..).unwrap_or_default();
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut disk = self.disk.0.lock();
        let at = usize::try_from(at).unwrap();
        let end = at + bytes.len();
        let len = disk.inodes[self.inode].now.len();
        if end > len {
            disk.grow(end - len)?;
        }
        let allowed = disk.allow(Operation::Write);
        let now = &mut disk.inodes[self.inode].now;
        now.resize(end.max(len), 0);
        // A write that the power cuts off may have been made.
        now[at..end].copy_from_slice(bytes);
        allowed
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.0.lock();
        disk.allow(Operation::Sync)?;
        let inode = &mut disk.inodes[self.inode];
        inode.durable = inode.now.clone();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.0.lock();
        disk.allow(Operation::Write)?;
        disk.inodes[self.inode]
            .now
            .resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].now.len() as u64)
    }
}
