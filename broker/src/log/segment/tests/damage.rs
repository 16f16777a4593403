//! Damaged files: every bit of a small log flipped, the log cut at every byte, files missing.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{KEEP, SimFs, log, open_at};
use crate::event::Event;
use crate::log::segment::format::{FRAMES_AT, HEAD, Kind, frame_len};
use crate::log::segment::fs::FileSystem as _;
use crate::log::segment::scan::scan;
use crate::log::suite::{event, read_all};
use crate::log::{GapReason, LogStore as _, Offset};

const SEGMENT: u64 = 8 << 10;
const LOGS: [&str; 2] = ["a", "b"];

/// A small log as `kill -9` leaves it, and where its events stand.
struct Small {
    disk: SimFs,
    file: String,
    /// Log, offset, event, the bytes of its frame, whether it is of the last unit.
    events: Vec<(&'static str, Offset, Event, Range<u64>, bool)>,
    end: u64,
}

async fn small() -> Small {
    let disk = SimFs::default();
    let store = open_at(&disk, SEGMENT).unwrap();
    let logs = LOGS.map(|name| log(&store, name));
    let mut all = Vec::new();
    for (n, count) in [(0_usize, 1_u64), (1, 1), (0, 2), (1, 1), (0, 1), (1, 2)] {
        let events: Vec<Event> = (0..count)
            .map(|k| event(all.len() as u64 + k, 20))
            .collect();
        let offsets = logs[n].append(events.clone()).unwrap().await.unwrap();
        all.extend(
            offsets
                .zip(events)
                .map(|(offset, event)| (LOGS[n], offset, event)),
        );
    }
    store.maintain();
    let disk = disk.copy();
    drop(store);
    let file = disk
        .names(".seg")
        .into_iter()
        .find(|name| !name.starts_with("spare"))
        .unwrap();
    let scanned = scan(&*disk.open(&file).unwrap(), 1, SEGMENT).unwrap();
    assert!(scanned.clean_end && scanned.damaged.is_empty());
    let last = scanned.last_group();
    let frames: Vec<_> = scanned
        .frames
        .iter()
        .filter(|frame| frame.head.kind == Kind::Event)
        .collect();
    assert_eq!(frames.len(), all.len());
    let events = all
        .into_iter()
        .zip(frames)
        .map(|((log, offset, event), frame)| {
            assert_eq!(frame.head.offset, offset);
            let range = frame.at..frame.at + (HEAD + event.size()) as u64;
            (log, offset, event, range, frame.head.group == last)
        });
    let events = events.collect();
    Small {
        disk,
        file,
        events,
        end: scanned.end,
    }
}

/// Opens a damaged copy: all events but the `lost` ones must be there, what is not must be a
/// gap, and the log must go on without giving an offset twice.
async fn check(disk: &SimFs, small: &Small, lost: impl Fn(&Range<u64>, bool) -> bool, what: &str) {
    let store = open_at(disk, SEGMENT).unwrap();
    for name in LOGS {
        let log = log(&store, name);
        let (records, gaps) = read_all(&*log, 0).await;
        let found: BTreeSet<Offset> = records.iter().map(|record| record.offset).collect();
        let mut next = 0;
        for (of, offset, event, range, last) in &small.events {
            if *of != name {
                continue;
            }
            next = offset + 1;
            let record = records.iter().find(|record| record.offset == *offset);
            match record {
                Some(record) => assert_eq!(&record.event, event, "{what}"),
                None => assert!(lost(range, *last), "{what}: {name} {offset} is lost"),
            }
        }
        assert!(
            gaps.iter().all(|gap| gap.reason == GapReason::Damaged),
            "{what}: {gaps:?}"
        );
        assert!(
            found.iter().all(|offset| *offset < next),
            "{what}: events from nowhere"
        );
        let offsets = log.append(vec![event(99, 9)]).unwrap().await.unwrap();
        assert!(
            offsets.start >= next,
            "{what}: offset {} of {name} again",
            offsets.start
        );
        let again = read_all(&*log, offsets.start).await.0;
        assert_eq!(again.len(), 1, "{what}");
        assert_eq!(again[0].event, event(99, 9), "{what}");
    }
}

/// Flips the bits of every byte for which `choose` holds.
async fn flip(choose: impl Fn(u64) -> bool) {
    let small = small().await;
    for at in (0..small.end + HEAD as u64).filter(|at| choose(*at)) {
        for bit in 0..8 {
            let disk = small.disk.copy();
            let index = usize::try_from(at).unwrap();
            disk.change(&small.file, |bytes| bytes[index] ^= 1 << bit);
            let hit = small
                .events
                .iter()
                .find(|(.., range, _)| range.contains(&at));
            let in_last_unit = hit.is_some_and(|(.., last)| *last);
            // A damaged last unit may never have been complete: it is dropped as a whole.
            let lost =
                |range: &Range<u64>, last: bool| range.contains(&at) || (in_last_unit && last);
            check(&disk, &small, lost, &format!("bit {bit} of byte {at}")).await;
            if hit.is_some() {
                assert!(
                    !disk.names(".bin").is_empty(),
                    "byte {at} is not in quarantine"
                );
            }
        }
    }
}

/// Whether a byte of the header can matter: the rest of it is unused.
fn is_used(at: u64) -> bool {
    at >= FRAMES_AT || at % 512 < 40
}

#[tokio::test]
async fn every_even_bit_flip_costs_no_more_than_it_hit() {
    flip(|at| is_used(at) && at % 2 == 0).await;
}

#[tokio::test]
async fn every_odd_bit_flip_costs_no_more_than_it_hit() {
    flip(|at| is_used(at) && at % 2 == 1).await;
}

#[tokio::test]
async fn a_log_cut_anywhere_keeps_what_is_left() {
    let small = small().await;
    for len in 0..small.end + HEAD as u64 + 2 {
        let disk = small.disk.copy();
        disk.change(&small.file, |bytes| {
            bytes.truncate(usize::try_from(len).unwrap())
        });
        // A unit of which a part is cut off goes as a whole; only the last whole group is certain.
        let cut: Vec<_> = small
            .events
            .iter()
            .filter(|(.., range, _)| range.end.next_multiple_of(8) > len)
            .collect();
        let first_cut = cut.first().map_or(u64::MAX, |(.., range, _)| range.start);
        let lost = |range: &Range<u64>, _: bool| {
            range.end > len || range.start + 3 * frame_len(128) as u64 > first_cut
        };
        check(&disk, &small, lost, &format!("cut to {len}")).await;
    }
}

#[tokio::test]
async fn a_damaged_end_of_a_closed_log_is_certain() {
    let disk = SimFs::default();
    let store = open_at(&disk, SEGMENT).unwrap();
    let events = vec![event(0, 50), event(1, 50), event(2, 50)];
    log(&store, "a").append(events).unwrap().await.unwrap();
    store.maintain();
    store.close();
    let file = "0000000000000001.seg";
    let scanned = scan(&*disk.open(file).unwrap(), 1, SEGMENT).unwrap();
    let frame = scanned
        .frames
        .iter()
        .find(|frame| frame.head.offset == 1 && frame.entry.is_none());
    let at = usize::try_from(frame.unwrap().at).unwrap() + HEAD + 30;
    disk.change(file, |bytes| bytes[at] ^= 4);
    let store = open_at(&disk, SEGMENT).unwrap();
    let log = log(&store, "a");
    let (records, gaps) = read_all(&*log, 0).await;
    assert_eq!(
        records
            .iter()
            .map(|record| record.offset)
            .collect::<Vec<_>>(),
        [0, 2]
    );
    assert_eq!(gaps.len(), 1);
    assert_eq!((log.stats().next, log.stats().damaged), (3, 1));
}

/// Three segments' worth of events, with indexes.
async fn large() -> SimFs {
    let disk = SimFs::default();
    let store = open_at(&disk, SEGMENT).unwrap();
    let log = log(&store, "a");
    for n in 0..60 {
        log.append(vec![event(n, 300)]).unwrap().await.unwrap();
    }
    store.maintain();
    store.close();
    assert!(disk.names(".idx").len() >= 2);
    disk
}

async fn expect(disk: &SimFs, missing: std::ops::RangeInclusive<usize>) -> u64 {
    let store = open_at(disk, SEGMENT).unwrap();
    let log = log(&store, "a");
    let (records, gaps) = read_all(&*log, 0).await;
    assert!(
        missing.contains(&(60 - records.len())),
        "{} of 60",
        records.len()
    );
    for record in &records {
        assert_eq!(record.event, event(record.offset, 300));
    }
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Damaged));
    let offsets = log.append(vec![event(60, 10)]).unwrap().await.unwrap();
    assert!(offsets.start >= 60);
    let damaged = log.stats().damaged;
    store.maintain();
    store.close();
    damaged
}

#[tokio::test]
async fn damaged_indexes_and_manifests_are_made_anew() {
    let disk = large().await;
    for name in disk
        .names(".idx")
        .into_iter()
        .chain(["manifest".to_owned()])
    {
        for at in (0..disk.bytes(&name).len()).step_by(3) {
            let disk = disk.copy();
            disk.change(&name, |bytes| bytes[at] ^= 16);
            assert_eq!(expect(&disk, 0..=0).await, 0);
        }
        let half = disk.copy();
        half.change(&name, |bytes| bytes.truncate(bytes.len() / 2));
        assert_eq!(expect(&half, 0..=0).await, 0);
        let gone = disk.copy();
        gone.remove(&name).unwrap();
        assert_eq!(expect(&gone, 0..=0).await, 0);
        assert!(gone.names(".idx").len() >= 2, "the index was not made anew");
    }
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_found_when_it_is_read() {
    let disk = large().await;
    let len = disk.bytes("0000000000000001.seg").len();
    for at in (1024..len).step_by(97) {
        let disk = disk.copy();
        disk.change("0000000000000001.seg", |bytes| bytes[at] ^= 16);
        let damaged = expect(&disk, 0..=1).await;
        assert!(damaged <= 1);
        assert_eq!(damaged == 1, !disk.names(".bin").is_empty());
    }
}

#[tokio::test]
async fn a_missing_or_cut_segment_costs_its_own_events_only() {
    let disk = large().await;
    let segments: Vec<String> = disk
        .names(".seg")
        .into_iter()
        .filter(|name| !name.starts_with("spare"))
        .collect();
    assert!(segments.len() >= 3);
    for name in segments {
        let gone = disk.copy();
        gone.remove(&name).unwrap();
        expect(&gone, 1..=30).await;
        for len in [0, 100, 1024, 3000] {
            let cut = disk.copy();
            cut.change(&name, |bytes| bytes.truncate(len));
            expect(&cut, 1..=30).await;
        }
    }
}

#[tokio::test]
async fn a_later_version_is_not_touched() {
    let disk = large().await;
    disk.change("0000000000000001.seg", |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    });
    let error = open_at(&disk, SEGMENT).unwrap_err();
    assert!(error.reason.contains("version 2"), "{error}");
}

#[tokio::test]
async fn a_name_survives_damage_to_either_of_its_frames() {
    let small = small().await;
    assert_eq!(super::open(&small.disk.copy()).names(), LOGS);
    let store = open_at(&small.disk, SEGMENT).unwrap();
    assert!(store.open("a", KEEP).is_ok());
}
