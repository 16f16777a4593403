//! One test of each law. See the parent module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{ALL, KEEP, Subject, check_batch, event, fill, read_all, until};
use crate::clock::Clock as _;
use crate::event::Event;
use crate::log::{AppendError, Gap, GapReason, LogStore, ReadError, ReadLimit, Retention};

/// Law 1: what was committed is there, also after a reopen.
pub async fn durable<S: Subject>() {
    let mut subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    fill(&*log, 0..20, 100).await;
    let before = read_all(&*log, 0).await.0;
    assert_eq!(before.len(), 20);
    drop(log);
    let Some(store) = subject.reopen() else {
        return;
    };
    let log = store.open("log", KEEP).unwrap();
    let (after, gaps) = read_all(&*log, 0).await;
    assert_eq!(gaps, []);
    assert_eq!(after.len(), before.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.offset, after.offset);
        assert_eq!(before.accepted, after.accepted);
        assert_eq!(before.event, after.event);
    }
}

/// Law 2: the events of one append stand together.
pub async fn whole<S: Subject>() {
    let subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    let mut tasks = JoinSet::new();
    for writer in 0..8_u64 {
        let log = Arc::clone(&log);
        tasks.spawn(async move {
            for round in 0..10 {
                let id = writer * 100 + round * 10;
                let unit: Vec<Event> = (0..5).map(|n| event(id + n, 50)).collect();
                let offsets = log.append(unit).unwrap().await.unwrap();
                assert_eq!(offsets.end - offsets.start, 5);
                let limit = ReadLimit {
                    records: 5,
                    bytes: usize::MAX,
                };
                let batch = log.read(offsets.start, limit).await.unwrap();
                for (n, record) in batch.records.iter().enumerate() {
                    assert_eq!(record.event, event(id + n as u64, 50));
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(log.stats().next, 400);
}

/// Law 3: one caller's appends have growing offsets, awaited or not.
pub async fn ordered<S: Subject>() {
    let subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    let commits: Vec<_> = (0..200_u64)
        .map(|n| log.append(vec![event(n, 20)]).unwrap())
        .collect();
    let mut last = None;
    for (n, commit) in commits.into_iter().enumerate() {
        let offsets = commit.await.unwrap();
        assert!(
            last < Some(offsets.start),
            "append {n} stands before the one made earlier"
        );
        last = Some(offsets.start);
    }
    let records = read_all(&*log, 0).await.0;
    let ids: Vec<String> = records
        .iter()
        .map(|record| record.event.id().to_owned())
        .collect();
    let expected: Vec<String> = (0..200_u64).map(|n| n.to_string()).collect();
    assert_eq!(ids, expected);
}

/// Law 4: nothing is read before its commit, and the tail moves in steps of appends.
pub async fn visible_after_commit<S: Subject>() {
    let subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    let mut writer = JoinSet::new();
    writer.spawn({
        let log = Arc::clone(&log);
        async move {
            for n in 0..100_u64 {
                let unit = (0..3).map(|k| event(n * 3 + k, 30)).collect();
                let offsets = log.append(unit).unwrap().await.unwrap();
                assert!(
                    *log.tail().borrow() >= offsets.end,
                    "committed, but past the tail"
                );
            }
        }
    });
    let mut tail = log.tail();
    let mut at = 0;
    while at < 300 {
        let seen = *tail.wait_for(|tail| *tail > at).await.unwrap();
        assert_eq!(seen % 3, 0, "the tail stands inside of an append");
        // One read may return less than there is.
        while at < seen {
            let batch = log.read(at, ALL).await.unwrap();
            check_batch(&batch, at);
            assert!(batch.next > at, "the tail is not readable");
            assert!(batch.next <= *log.tail().borrow(), "read past the tail");
            at = batch.next;
        }
    }
    writer.join_next().await.unwrap().unwrap();
}

/// Law 5: bytes come back as they were appended.
pub async fn exact<S: Subject>() {
    let mut subject = S::create();
    let mut log = subject.store().open("log", KEEP).unwrap();
    let sizes = [0, 1, 7, 8, 9, 63, 500, 4095, 4096, 4097, 20_000];
    let now = subject.clock().now();
    for (n, size) in sizes.into_iter().enumerate() {
        log.append(vec![event(n as u64, size)])
            .unwrap()
            .await
            .unwrap();
        subject.advance(Duration::from_millis(10));
    }
    for _ in 0..2 {
        let records = read_all(&*log, 0).await.0;
        assert_eq!(records.len(), sizes.len());
        for (n, (record, size)) in records.iter().zip(sizes).enumerate() {
            assert_eq!(record.event.packed(), event(n as u64, size).packed());
            assert_eq!(record.accepted, now + Duration::from_millis(10 * n as u64));
        }
        drop(log);
        let Some(store) = subject.reopen() else {
            return;
        };
        log = store.open("log", KEEP).unwrap();
    }
}

/// Law 6: reads from any offset cover what they say; the end is empty, and past it is an error.
pub async fn continuous<S: Subject>() {
    let subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    assert_eq!(log.read(0, ALL).await.unwrap().next, 0);
    fill(&*log, 0..30, 40).await;
    for from in 0..=30 {
        let (records, gaps) = read_all(&*log, from).await;
        assert_eq!(records.len() as u64, 30 - from);
        assert_eq!(gaps, []);
    }
    let end = log.read(30, ALL).await.unwrap();
    assert!(end.records.is_empty() && end.gaps.is_empty() && end.next == 30);
    let past = log.read(31, ALL).await.unwrap_err();
    assert_eq!(past, ReadError::PastEnd { from: 31, next: 30 });
}

/// Law 7: what is still needed stays and is counted; what was released goes.
pub async fn released_then_trimmed<S: Subject>() {
    let subject = S::create();
    let retention = Retention {
        max_bytes: Some(20_000),
        ..KEEP
    };
    let log = subject.store().open("log", retention).unwrap();
    fill(&*log, 0..100, 1000).await;
    let stats = log.stats();
    assert_eq!(stats.first, 0, "removed what was still needed");
    assert!(stats.held_bytes > 50_000, "{stats:?}");
    assert_eq!(read_all(&*log, 0).await.0.len(), 100);
    log.release(50);
    log.release(40);
    until("what was released is removed", async || {
        log.stats().first == 50
    })
    .await;
    let (records, gaps) = read_all(&*log, 0).await;
    assert_eq!(
        gaps,
        [Gap {
            offsets: 0..50,
            reason: GapReason::Expired
        }]
    );
    assert_eq!(records.len(), 50);
    log.release(u64::MAX);
    until("the log is as small as asked", async || {
        log.stats().bytes <= 20_000
    })
    .await;
    let stats = log.stats();
    assert!(stats.first > 50 && stats.first < 100, "{stats:?}");
    assert_eq!((stats.held_bytes, stats.expired_unread), (0, 0));
}

/// Law 7: without protection limits apply to everything, and say what they cost.
pub async fn unprotected_is_trimmed<S: Subject>() {
    let subject = S::create();
    let retention = Retention {
        max_bytes: Some(20_000),
        max_age: None,
        protect: false,
    };
    let log = subject.store().open("log", retention).unwrap();
    fill(&*log, 0..100, 1000).await;
    until("the log is as small as asked", async || {
        log.stats().bytes <= 20_000
    })
    .await;
    let stats = log.stats();
    assert_eq!(stats.expired_unread, stats.first);
    assert_eq!(stats.held_bytes, 0);
    let (records, gaps) = read_all(&*log, 0).await;
    assert_eq!(
        gaps,
        [Gap {
            offsets: 0..stats.first,
            reason: GapReason::Expired
        }]
    );
    assert_eq!(records.len() as u64, 100 - stats.first);
}

/// Law 7: old events go, younger ones stay.
pub async fn trimmed_by_age<S: Subject>() {
    let subject = S::create();
    let retention = Retention {
        max_bytes: None,
        max_age: Some(Duration::from_secs(3600)),
        protect: true,
    };
    let log = subject.store().open("log", retention).unwrap();
    fill(&*log, 0..10, 100).await;
    subject.advance(Duration::from_secs(3000));
    fill(&*log, 10..20, 100).await;
    subject.advance(Duration::from_secs(1000));
    assert!(log.stats().held_bytes > 0, "{:?}", log.stats());
    assert_eq!(log.stats().first, 0);
    log.release(20);
    until("what is old is removed", async || log.stats().first == 10).await;
    subject.advance(Duration::from_secs(3000));
    until("the rest is old too", async || log.stats().first == 20).await;
    assert_eq!(log.stats().bytes, 0);
}

/// Law 8: reads keep to their limit, but always get on.
pub async fn bounded_reads<S: Subject>() {
    let subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    fill(&*log, 0..20, 1000).await;
    let one = log
        .read(
            3,
            ReadLimit {
                records: 1,
                bytes: usize::MAX,
            },
        )
        .await
        .unwrap();
    assert_eq!(one.records.len(), 1);
    let one = log
        .read(
            3,
            ReadLimit {
                records: 0,
                bytes: 0,
            },
        )
        .await
        .unwrap();
    assert_eq!(
        one.records.len(),
        1,
        "a read always returns a record where there is one"
    );
    let five = log
        .read(
            3,
            ReadLimit {
                records: 5,
                bytes: usize::MAX,
            },
        )
        .await
        .unwrap();
    assert_eq!(five.next, 8);
    let three = log
        .read(
            3,
            ReadLimit {
                records: 50,
                bytes: 2500,
            },
        )
        .await
        .unwrap();
    assert_eq!(
        three.records.len(),
        3,
        "reading stops after the record that reaches the limit"
    );
}

/// Law 8: a flood is refused in part, and what is refused leaves no trace.
pub async fn bounded_appends<S: Subject>() {
    let subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    let mut commits = Vec::new();
    for n in 0..2_000_u64 {
        match log.append(vec![event(n, 2_000)]) {
            Ok(commit) => commits.push(commit),
            Err(AppendError::Busy { pending_bytes }) => assert!(pending_bytes > 0),
            Err(AppendError::Full { bytes }) => assert!(bytes > 0),
            Err(other) => panic!("{other:?}"),
        }
    }
    let accepted = commits.len() as u64;
    for commit in commits {
        commit.await.unwrap();
    }
    assert_eq!(log.stats().next, accepted);
    assert_eq!(read_all(&*log, 0).await.0.len() as u64, accepted);
}

/// Law 9: a reopened log goes on where it ended.
pub async fn resuming<S: Subject>() {
    let mut subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    fill(&*log, 0..10, 100).await;
    drop(log);
    let mut next = 10;
    for _ in 0..3 {
        let Some(store) = subject.reopen() else {
            return;
        };
        let log = store.open("log", KEEP).unwrap();
        assert_eq!(*log.tail().borrow(), log.stats().next);
        assert!(log.stats().next >= next);
        let offsets = log.append(vec![event(next, 10)]).unwrap().await.unwrap();
        assert!(offsets.start >= next);
        next = offsets.end;
    }
}

/// Law 9: no offset is given twice, also when every event was removed in between.
pub async fn resuming_after_removal_of_all<S: Subject>() {
    let mut subject = S::create();
    let retention = Retention {
        max_bytes: Some(0),
        max_age: None,
        protect: false,
    };
    let log = subject.store().open("log", retention).unwrap();
    fill(&*log, 0..10, 100).await;
    until("all is removed", async || log.stats().first == 10).await;
    assert_eq!(log.stats().bytes, 0);
    drop(log);
    for expected in 10..13 {
        let Some(store) = subject.reopen() else {
            return;
        };
        let log = store.open("log", retention).unwrap();
        let offsets = log
            .append(vec![event(expected, 10)])
            .unwrap()
            .await
            .unwrap();
        assert!(
            offsets.start >= expected,
            "offset {} was given twice",
            offsets.start
        );
        until("all is removed again", async || {
            log.stats().first == offsets.end
        })
        .await;
    }
}

/// The first event that was accepted at a time or later.
pub async fn found_by_time<S: Subject>() {
    let subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    let start = subject.clock().now();
    for n in 0..20 {
        fill(&*log, n..n + 1, 10).await;
        subject.advance(Duration::from_secs(10));
    }
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    assert_eq!(
        log.offset_at(start - Duration::from_secs(5)).await.unwrap(),
        0
    );
    assert_eq!(log.offset_at(start).await.unwrap(), 0);
    assert_eq!(log.offset_at(at(1)).await.unwrap(), 1);
    assert_eq!(log.offset_at(at(100)).await.unwrap(), 10);
    assert_eq!(log.offset_at(at(101)).await.unwrap(), 11);
    assert_eq!(log.offset_at(at(1000)).await.unwrap(), 20);
}

/// Logs have names; removing one removes all of it, and leaves the others alone.
pub async fn named<S: Subject>() {
    let mut subject = S::create();
    let store = subject.store();
    assert!(store.names().is_empty());
    assert!(store.open("", KEEP).is_err());
    assert!(store.open(&"x".repeat(513), KEEP).is_err());
    let names = [
        "default/default",
        "with space, \u{e4} and \u{1f9f5}",
        &"x".repeat(512),
    ];
    for name in names {
        let log = store.open(name, KEEP).unwrap();
        fill(&*log, 0..3, 10).await;
        assert_eq!(
            store.open(name, KEEP).unwrap().stats().next,
            3,
            "not the same log"
        );
    }
    let mut expected: Vec<String> = names.iter().map(ToString::to_string).collect();
    expected.sort();
    let sorted = |store: &Arc<dyn LogStore>| {
        let mut names = store.names();
        names.sort();
        names
    };
    assert_eq!(sorted(&store), expected);
    let removed = store.open(names[0], KEEP).unwrap();
    store.remove(names[0]).unwrap();
    store.remove("never there").unwrap();
    assert!(matches!(
        removed.append(vec![event(9, 9)]),
        Err(AppendError::Closed { .. })
    ));
    assert_eq!(removed.read(0, ALL).await.unwrap_err(), ReadError::Closed);
    expected.retain(|name| name != names[0]);
    assert_eq!(sorted(&store), expected);
    drop((store, removed));
    let Some(store) = subject.reopen() else {
        return;
    };
    assert_eq!(sorted(&store), expected);
    assert!(
        read_all(&*store.open(names[0], KEEP).unwrap(), 0)
            .await
            .0
            .is_empty()
    );
    assert_eq!(
        read_all(&*store.open(names[1], KEEP).unwrap(), 0)
            .await
            .0
            .len(),
        3
    );
}

/// An append of nothing commits to an empty range, and changes nothing.
pub async fn empty_appends<S: Subject>() {
    let subject = S::create();
    let log = subject.store().open("log", KEEP).unwrap();
    fill(&*log, 0..2, 10).await;
    let offsets = log.append(Vec::new()).unwrap().await.unwrap();
    assert_eq!(offsets, 2..2);
    assert_eq!(log.stats().next, 2);
}
