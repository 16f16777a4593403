//! A store that version 1 of the format left behind is opened and read, for ever.
//!
//! `tests/fixtures/segment-v1` holds the files as they were when the format was fixed. It is never
//! written anew: a change of the format makes a new version with a fixture of its own, written by
//!
//! ```text
//! HEDDLE_WRITE_FIXTURE=tests/fixtures/segment-v2 cargo test -p heddle-broker --test segment_fixture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use heddle_broker::clock::{Clock as _, ManualClock};
use heddle_broker::event::{Attribute, AttributeKind, DataForm, Event, Packer, SpecVersion};
use heddle_broker::log::segment::{SegmentOptions, SegmentStore};
use heddle_broker::log::{GapReason, Log, LogStore as _, ReadLimit, Retention};
use jiff::Timestamp;

const ALL: ReadLimit = ReadLimit {
    records: 1000,
    bytes: 1 << 20,
};
const KEEP: Retention = Retention {
    max_bytes: None,
    max_age: None,
    protect: true,
};
const NONE: Retention = Retention {
    max_bytes: Some(0),
    max_age: None,
    protect: true,
};

fn event(n: u64) -> Event {
    let mut packer = Packer::new(SpecVersion::V1, 256);
    let id = format!("event-{n}");
    for (name, text) in [
        ("id", id.as_str()),
        ("source", "/fixture"),
        ("type", "fixture.made"),
    ] {
        let kind = AttributeKind::String;
        assert!(packer.push(&Attribute {
            name,
            kind,
            text,
            header: None
        }));
    }
    let data: Vec<u8> = (0..n * 37 % 300)
        .map(|k| (k * 7 + n).to_le_bytes()[0])
        .collect();
    packer.finish(DataForm::Bytes, &data).unwrap()
}

fn start() -> Timestamp {
    "2026-01-02T03:04:05.678901Z".parse().unwrap()
}

fn open(dir: &Path, clock: std::sync::Arc<ManualClock>) -> std::sync::Arc<SegmentStore> {
    let options = SegmentOptions {
        segment_bytes: 8 << 10,
        clock,
        ..SegmentOptions::default()
    };
    SegmentStore::open(dir, options).unwrap()
}

/// Makes the files that the other test reads.
async fn write(dir: &Path) {
    let clock = ManualClock::new(start());
    let store = open(dir, clock.clone());
    let logs: Vec<_> = [
        "default/default",
        "default/units",
        "default/trimmed",
        "default/removed",
    ]
    .into_iter()
    .map(|name| store.open(name, KEEP).unwrap())
    .collect();
    for n in 0..40 {
        clock.set(start() + Duration::from_secs(n));
        logs[0].append(vec![event(n)]).unwrap().await.unwrap();
        if n < 5 {
            let unit = (0..3).map(|k| event(1000 + n * 3 + k)).collect();
            logs[1].append(unit).unwrap().await.unwrap();
        }
        if n < 10 {
            logs[2]
                .append(vec![event(2000 + n)])
                .unwrap()
                .await
                .unwrap();
            logs[3]
                .append(vec![event(3000 + n)])
                .unwrap()
                .await
                .unwrap();
        }
    }
    store.remove("default/removed").unwrap();
    logs[2].release(6);
    logs[2].set_retention(NONE);
    store.maintain();
    store.close();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("spare") || name == "lock" {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

async fn read(log: &dyn Log) -> Vec<(u64, Timestamp, Event)> {
    let mut all = Vec::new();
    let mut from = log.stats().first;
    loop {
        let batch = log.read(from, ALL).await.unwrap();
        assert!(batch.gaps.is_empty(), "{:?}", batch.gaps);
        if batch.next == from {
            return all;
        }
        from = batch.next;
        let records = batch.records.into_iter();
        all.extend(records.map(|record| (record.offset, record.accepted, record.event)));
    }
}

async fn check(dir: &Path, first: u64) {
    let clock = ManualClock::new(start());
    let store = open(dir, clock.clone());
    assert_eq!(
        store.names(),
        ["default/default", "default/trimmed", "default/units"]
    );
    let at = |n: u64| start() + Duration::from_secs(n);
    let log = store.open("default/default", KEEP).unwrap();
    let expected: Vec<_> = (0..40).map(|n| (n, at(n), event(n))).collect();
    assert_eq!(read(&*log).await, expected);
    assert_eq!(log.offset_at(at(17)).await.unwrap(), 17);
    let units = store.open("default/units", KEEP).unwrap();
    let expected: Vec<_> = (0..15).map(|n| (n, at(n / 3), event(1000 + n))).collect();
    assert_eq!(read(&*units).await, expected);
    let trimmed = store.open("default/trimmed", KEEP).unwrap();
    assert_eq!(trimmed.stats().first, first);
    let expected: Vec<_> = (first..10).map(|n| (n, at(n), event(2000 + n))).collect();
    assert_eq!(read(&*trimmed).await, expected);
    if first > 0 {
        let gaps = trimmed.read(0, ALL).await.unwrap().gaps;
        assert_eq!(
            (gaps[0].offsets.clone(), gaps[0].reason),
            (0..first, GapReason::Expired)
        );
    }
    assert_eq!(log.append(vec![event(40)]).unwrap().await.unwrap(), 40..41);
    assert_eq!(
        log.stats().damaged + units.stats().damaged + trimmed.stats().damaged,
        0
    );
    assert_eq!(clock.now(), start());
    store.close();
}

#[tokio::test]
async fn version_1_is_read_for_ever() {
    if let Some(dir) = std::env::var_os("HEDDLE_WRITE_FIXTURE") {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dir);
        assert!(!dir.exists(), "a fixture is written once");
        write(&dir).await;
    }
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/segment-v1");
    let copy = tempfile::TempDir::new().unwrap();
    let mut copied: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(fixture).unwrap() {
        let to = copy.path().join(entry.as_ref().unwrap().file_name());
        std::fs::copy(entry.unwrap().path(), &to).unwrap();
        copied.push(to);
    }
    assert!(copied.len() >= 4, "{copied:?}");
    check(copy.path(), 6).await;
    // Without its indexes and manifest. Of what was trimmed nothing was overwritten yet: it is back.
    let bare = tempfile::TempDir::new().unwrap();
    for path in copied
        .iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "seg"))
    {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/segment-v1");
        let name = path.file_name().unwrap();
        std::fs::copy(original.join(name), bare.path().join(name)).unwrap();
    }
    check(bare.path(), 0).await;
}

#[tokio::test]
async fn what_is_written_now_reads_the_same() {
    let dir = tempfile::TempDir::new().unwrap();
    write(dir.path()).await;
    check(dir.path(), 6).await;
}
