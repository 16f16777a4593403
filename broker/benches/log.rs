//! Durable append throughput of the segment log, beside the floor of the same disk in the same run.
//!
//! 64 appenders append events of 1 KiB and wait for each commit. The floor writes and syncs
//! batches of the size that the log's groups had, over blocks that were written before, and does
//! nothing else. Their ratio is what carries over to other machines.
//!
//! ```text
//! cargo bench -p heddle-broker --bench log
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use heddle_broker::event::{Attribute, AttributeKind, DataForm, Event, Packer, SpecVersion};
use heddle_broker::log::segment::{SegmentOptions, SegmentStore, StoreStats};
use heddle_broker::log::{LogStore as _, Retention};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(1000);

fn event() -> Event {
    let mut packer = Packer::new(SpecVersion::V1, 1200);
    for (name, text) in [
        ("id", "0123456789"),
        ("source", "/bench"),
        ("type", "bench.made"),
    ] {
        let kind = AttributeKind::String;
        assert!(packer.push(&Attribute {
            name,
            kind,
            text,
            header: None
        }));
    }
    let mut state = 1_u64;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(1024)
    .collect();
    packer.finish(DataForm::Bytes, &data).unwrap()
}

/// Events a second with that many appenders, and the mean number of events in a group.
fn append(dir: &Path, appenders: usize) -> (f64, f64) {
    let store = SegmentStore::open(dir, SegmentOptions::default()).unwrap();
    let retention = Retention {
        max_bytes: Some(128 << 20),
        max_age: None,
        protect: false,
    };
    let logs: Vec<_> = (0..8)
        .map(|n| store.open(&format!("bench/{n}"), retention).unwrap())
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let run = |time: Duration| -> (f64, StoreStats) {
        stop.store(false, Ordering::Relaxed);
        done.store(0, Ordering::Relaxed);
        let before = store.store_stats();
        let start = Instant::now();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..appenders {
                let (log, stop, done) = (logs[n % 8].clone(), stop.clone(), done.clone());
                let event = event();
                tasks.spawn(async move {
                    while !stop.load(Ordering::Relaxed) && start.elapsed() < time {
                        log.append(vec![event.clone()]).unwrap().await.unwrap();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while tasks.join_next().await.is_some() {}
        });
        let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        let after = store.store_stats();
        let groups = after.groups - before.groups;
        (
            rate,
            StoreStats {
                groups,
                group_events: after.group_events - before.group_events,
                ..after
            },
        )
    };
    run(ROUND / 2);
    let (rate, stats) = run(ROUND);
    store.close();
    (rate, stats.group_events as f64 / stats.groups as f64)
}

/// Events a second when batches of that many are written over old blocks and synced, in a loop.
fn floor(dir: &Path, batch: f64) -> f64 {
    let path = dir.join("floor");
    let file = std::fs::File::create(path).unwrap();
    let len = 64 << 20;
    file.write_all_at(&vec![0; len], 0).unwrap();
    file.sync_data().unwrap();
    let frame = event().size() + 48;
    let bytes = vec![7; (batch * frame as f64) as usize];
    let (mut at, mut batches) = (0, 0_u64);
    let start = Instant::now();
    while start.elapsed() < ROUND {
        file.write_all_at(&bytes, at).unwrap();
        file.sync_data().unwrap();
        at += bytes.len() as u64;
        if at + bytes.len() as u64 > len as u64 {
            at = 0;
        }
        batches += 1;
    }
    batches as f64 * batch / start.elapsed().as_secs_f64()
}

fn main() {
    println!("appenders  events/s  events/group  floor events/s  ratio");
    for appenders in [1, 16, 64, 256] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let dir = tempfile::TempDir::new_in(".").unwrap();
            let (rate, batch) = append(dir.path(), appenders);
            rounds.push((rate, batch, floor(dir.path(), batch)));
        }
        rounds.sort_by(|a, b| (a.0 / a.2).total_cmp(&(b.0 / b.2)));
        let (rate, batch, floor) = rounds[ROUNDS / 2];
        let ratio = rate / floor;
        println!("{appenders:>9}  {rate:>8.0}  {batch:>12.1}  {floor:>14.0}  {ratio:>5.2}");
    }
}
