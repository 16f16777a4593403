//! Many logs in the same segments: shared syncs, retention, cleaning and recycling.

use super::{KEEP, SimFs, log, open, open_at};
use crate::log::suite::{event, read_all, until};
use crate::log::{LogStore as _, Retention};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_logs_share_their_syncs() {
    let disk = SimFs::default();
    let store = open_at(&disk, 4 << 20).unwrap();
    let logs: Vec<_> = (0..1000)
        .map(|n| log(&store, &format!("default/broker-{n}")))
        .collect();
    logs[0].append(vec![event(0, 10)]).unwrap().await.unwrap();
    let before = store.store_stats();
    for round in 0..5 {
        let commits: Vec<_> = logs
            .iter()
            .map(|log| log.append(vec![event(round, 100)]).unwrap())
            .collect();
        for commit in commits {
            commit.await.unwrap();
        }
    }
    let after = store.store_stats();
    assert_eq!(after.group_appends - before.group_appends, 5000);
    let syncs = after.fsyncs - before.fsyncs;
    assert!(syncs < 500, "{syncs} syncs for 5,000 appends of 1,000 logs");
    store.close();
    let store = open_at(&disk, 4 << 20).unwrap();
    assert_eq!(store.names().len(), 1000);
    for n in [1, 500, 999] {
        let log = log(&store, &format!("default/broker-{n}"));
        assert_eq!(read_all(&*log, 0).await.0.len(), 5);
    }
}

#[tokio::test]
async fn released_segments_are_used_again_and_their_old_bytes_stay_dead() {
    let disk = SimFs::default();
    let store = open(&disk);
    let retention = Retention {
        max_bytes: Some(10_000),
        max_age: None,
        protect: true,
    };
    let log = store.open("a", retention).unwrap();
    for n in 0..400_u64 {
        log.append(vec![event(n, 200)]).unwrap().await.unwrap();
        log.release(n);
        if n % 20 == 0 {
            store.maintain();
        }
        if n % 50 == 7 {
            // As if killed now: nothing of an earlier life of a segment may come back.
            let copy = open(&disk.copy());
            let log = super::log(&copy, "a");
            let (records, gaps) = read_all(&*log, log.stats().first).await;
            assert!(gaps.is_empty(), "{gaps:?} after {n}");
            assert_eq!(log.stats().next, n + 1);
            for record in records {
                assert_eq!(record.event, event(record.offset, 200));
            }
        }
    }
    let stats = store.store_stats();
    assert!(stats.recycled_segments >= 3, "{stats:?}");
    assert!(disk.reused() >= 2, "no file was used again");
    assert!(stats.segments <= 4, "{stats:?}");
}

#[tokio::test]
async fn a_stuck_log_does_not_keep_the_segments_of_others() {
    let disk = SimFs::default();
    let store = open(&disk);
    let stuck = log(&store, "stuck");
    let retention = Retention {
        max_bytes: Some(10_000),
        max_age: None,
        protect: true,
    };
    let busy = store.open("busy", retention).unwrap();
    let mut expected = Vec::new();
    for n in 0..600_u64 {
        if n % 60 == 0 {
            stuck.append(vec![event(n, 50)]).unwrap().await.unwrap();
            expected.push(event(n, 50));
        }
        busy.append(vec![event(n, 200)]).unwrap().await.unwrap();
        busy.release(n);
        if n % 30 == 0 {
            store.maintain();
        }
    }
    until("segments are cleaned", async || {
        store.maintain();
        store.store_stats().segments <= 5
    })
    .await;
    let stats = store.store_stats();
    assert!(
        stats.moved_events > 0 && stats.recycled_segments > 0,
        "{stats:?}"
    );
    // Killed, and closed in order: the moved events are there, once, and as they were.
    let killed = disk.copy();
    store.close();
    for disk in [killed, disk] {
        let store = open(&disk);
        let stuck = log(&store, "stuck");
        let (records, gaps) = read_all(&*stuck, 0).await;
        assert!(gaps.is_empty(), "{gaps:?}");
        let events: Vec<_> = records.into_iter().map(|record| record.event).collect();
        assert_eq!(events, expected);
        let (_, gaps) = read_all(&*log(&store, "busy"), 0).await;
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!(gaps[0].reason, crate::log::GapReason::Expired);
    }
}

#[tokio::test]
async fn removed_logs_give_their_space_back_and_stay_removed() {
    let disk = SimFs::default();
    let store = open(&disk);
    let gone = log(&store, "gone");
    let kept = log(&store, "kept");
    kept.append(vec![event(1, 10)]).unwrap().await.unwrap();
    for n in 0..200_u64 {
        gone.append(vec![event(n, 300)]).unwrap().await.unwrap();
    }
    assert!(store.store_stats().segments > 4);
    store.remove("gone").unwrap();
    until("the space is free", async || {
        store.maintain();
        store.store_stats().segments <= 2
    })
    .await;
    let killed = disk.copy();
    store.close();
    for disk in [killed, disk] {
        let store = open(&disk);
        assert_eq!(store.names(), ["kept"]);
        assert_eq!(read_all(&*log(&store, "kept"), 0).await.0.len(), 1);
        let new = store.open("gone", KEEP).unwrap();
        assert_eq!(new.append(vec![event(0, 1)]).unwrap().await.unwrap(), 0..1);
        assert_eq!(read_all(&*new, 0).await.0[0].event, event(0, 1));
    }
}
