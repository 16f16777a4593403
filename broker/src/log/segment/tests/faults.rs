//! Devices that fail, disks that are full, directories that are in use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use super::{KEEP, SimFs, log, open, open_at};
use crate::event::Event;
use crate::log::segment::sim::Operation;
use crate::log::suite::{ALL, event, read_all, until};
use crate::log::{AppendError, Health, Log, LogStore as _, Offset, ReadError};

#[tokio::test]
async fn a_failed_sync_or_write_ends_all_acknowledgements() {
    for operation in [Operation::Sync, Operation::Write] {
        let disk = SimFs::default();
        let store = open_at(&disk, 1 << 20).unwrap();
        let first = log(&store, "a");
        first.append(vec![event(0, 10)]).unwrap().await.unwrap();
        store.maintain();
        disk.fail(operation, 0);
        let failed = first.append(vec![event(1, 10)]).unwrap().await.unwrap_err();
        assert!(matches!(failed, AppendError::Closed { .. }), "{failed:?}");
        assert!(matches!(store.health(), Health::Failed(_)));
        disk.heal();
        // The device works again, but what it forgot is unknowable.
        let refused = first.append(vec![event(2, 10)]).unwrap_err();
        assert!(matches!(refused, AppendError::Closed { .. }), "{refused:?}");
        let other = log(&store, "b");
        assert!(
            other.append(vec![event(3, 10)]).is_err(),
            "all logs share the failure"
        );
        assert_eq!(*first.tail().borrow(), 1);
        assert_eq!(
            read_all(&*first, 0).await.0.len(),
            1,
            "what was committed is readable"
        );
        store.close();
        let store = open_at(&disk, 1 << 20).unwrap();
        assert_eq!(store.health(), Health::Ready);
        let first = log(&store, "a");
        assert_eq!(read_all(&*first, 0).await.0[0].event, event(0, 10));
        first.append(vec![event(4, 10)]).unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let disk = SimFs::default();
    let store = open(&disk);
    let log = log(&store, "a");
    log.append(vec![event(0, 500)]).unwrap().await.unwrap();
    disk.leave_space(Some(4 << 10));
    let mut committed = 1;
    let refused = loop {
        match log.append(vec![event(committed, 500)]) {
            Ok(commit) => match commit.await {
                Ok(offsets) => assert_eq!(offsets.start, committed),
                Err(error) => break error,
            },
            Err(error) => break error,
        }
        committed += 1;
        assert!(committed < 1000, "never full");
    };
    assert_eq!(refused, AppendError::DiskFull);
    assert!(matches!(store.health(), Health::Degraded(_)));
    assert_eq!(
        log.append(vec![event(0, 500)]).unwrap_err(),
        AppendError::DiskFull
    );
    assert_eq!(read_all(&*log, 0).await.0.len() as u64, committed);
    disk.leave_space(None);
    until("appends are taken again", async || {
        store.health() == Health::Ready
    })
    .await;
    let offsets = log
        .append(vec![event(committed, 500)])
        .unwrap()
        .await
        .unwrap();
    assert_eq!(offsets.start, committed, "what was refused has left a hole");
    let (records, gaps) = read_all(&*log, 0).await;
    assert_eq!((records.len() as u64, gaps.len()), (committed + 1, 0));
}

/// Appends to two logs until told to stop. Returns what was acknowledged, by log and offset.
async fn append_until(
    logs: [Arc<dyn Log>; 2],
    worker: u64,
    stop: Arc<AtomicBool>,
) -> Vec<(usize, Offset, Event)> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let which = usize::from(n % 3 == 0);
        let id = worker << 32 | n << 8;
        let events: Vec<_> = (0..1 + n % 2).map(|m| event(id + m, 300)).collect();
        let outcome = match logs[which].append(events.clone()) {
            Ok(commit) => commit.await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(offsets) => acknowledged.extend(
                offsets
                    .zip(events)
                    .map(|(offset, event)| (which, offset, event)),
            ),
            Err(AppendError::DiskFull) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    acknowledged
}

/// A group that is refused has given offsets that nobody got: those behind it get them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_groups_leave_no_hole() {
    let disk = SimFs::default();
    let store = open(&disk);
    let logs = ["a", "b"].map(|name| log(&store, name));
    let stop = Arc::new(AtomicBool::new(false));
    let workers = (0..8).map(|n| append_until(logs.clone(), n, Arc::clone(&stop)));
    let workers: JoinSet<_> = workers.collect();
    for _ in 0..6 {
        let next = logs[0].stats().next;
        until("events are taken", async || logs[0].stats().next > next).await;
        disk.leave_space(Some(2 << 10));
        until("the disk is full", async || store.health() != Health::Ready).await;
        disk.leave_space(None);
        until("there is room", async || store.health() == Health::Ready).await;
    }
    stop.store(true, Ordering::Release);
    let mut acknowledged = [BTreeMap::new(), BTreeMap::new()];
    for (which, offset, event) in workers.join_all().await.into_iter().flatten() {
        let twice = acknowledged[which].insert(offset, event);
        assert_eq!(twice, None, "offset {offset} was given twice");
    }
    store.close();
    let store = open(&disk);
    for (name, acknowledged) in ["a", "b"].into_iter().zip(acknowledged) {
        let (records, gaps) = read_all(&*log(&store, name), 0).await;
        assert_eq!(gaps.len(), 0);
        let found: BTreeMap<_, _> = records
            .into_iter()
            .map(|record| (record.offset, record.event))
            .collect();
        assert_eq!(found.len(), acknowledged.len(), "{name}");
        assert!(found == acknowledged, "{name}");
    }
}

#[tokio::test]
async fn a_store_on_a_full_disk_can_be_opened_and_read() {
    let disk = SimFs::default();
    let store = open(&disk);
    log(&store, "a")
        .append(vec![event(0, 500)])
        .unwrap()
        .await
        .unwrap();
    store.close();
    for spare in disk
        .names(".seg")
        .into_iter()
        .filter(|name| name.starts_with("spare"))
    {
        crate::log::segment::fs::FileSystem::remove(&disk, &spare).unwrap();
    }
    disk.leave_space(Some(0));
    let store = open(&disk);
    let log = log(&store, "a");
    assert_eq!(read_all(&*log, 0).await.0.len(), 1);
    let refused = match log.append(vec![event(1, 10)]) {
        Ok(commit) => commit.await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(refused, AppendError::DiskFull);
    disk.leave_space(None);
    until("there is room", async || store.health() == Health::Ready).await;
    assert_eq!(log.append(vec![event(1, 10)]).unwrap().await.unwrap(), 1..2);
}

#[tokio::test]
async fn a_failed_read_may_be_tried_again() {
    let disk = SimFs::default();
    let store = open(&disk);
    let log = log(&store, "a");
    log.append(vec![event(0, 10)]).unwrap().await.unwrap();
    disk.fail(Operation::Read, 0);
    let failed = log.read(0, ALL).await.unwrap_err();
    assert!(matches!(failed, ReadError::Io { .. }), "{failed:?}");
    disk.heal();
    assert_eq!(log.read(0, ALL).await.unwrap().records.len(), 1);
    assert_eq!(log.stats().damaged, 0);
}

#[tokio::test]
async fn two_stores_cannot_open_the_same_directory() {
    let dir = tempfile::TempDir::new().unwrap();
    let open = || {
        crate::log::segment::SegmentStore::open(
            dir.path(),
            crate::log::segment::SegmentOptions {
                segment_bytes: 64 << 10,
                ..Default::default()
            },
        )
    };
    let store = open().unwrap();
    let refused = open().unwrap_err();
    assert!(
        refused.reason.contains("in use by another process"),
        "{refused}"
    );
    let log = store.open("a", KEEP).unwrap();
    store.close();
    assert!(open().is_ok(), "a closed store keeps its directory locked");
    let refused = log.append(vec![event(0, 1)]).unwrap_err();
    assert!(matches!(refused, AppendError::Closed { .. }));
    assert_eq!(log.read(0, ALL).await.unwrap_err(), ReadError::Closed);
}

#[tokio::test]
async fn closing_writes_what_was_taken() {
    let disk = SimFs::default();
    let store = open_at(&disk, 1 << 20).unwrap();
    let log = log(&store, "a");
    let commits: Vec<_> = (0..500)
        .map(|n| log.append(vec![event(n, 20)]).unwrap())
        .collect();
    drop(store);
    for (n, commit) in commits.into_iter().enumerate() {
        assert_eq!(commit.await.unwrap().start, n as u64);
    }
    let store = open_at(&disk, 1 << 20).unwrap();
    assert_eq!(read_all(&*super::log(&store, "a"), 0).await.0.len(), 500);
}
