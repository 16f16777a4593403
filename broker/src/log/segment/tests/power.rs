//! Power loss at random moments: what was committed stays, whatever of the rest the disk kept.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{SimFs, open_at};
use crate::event::Event;
use crate::log::suite::{event, read_all};
use crate::log::{AppendError, LogStore as _, Offset, Retention};

const SEGMENT: u64 = 16 << 10;

/// What must be so, of one log.
#[derive(Default)]
struct Model {
    /// Committed events.
    committed: BTreeMap<Offset, Event>,
    /// Offsets that were seen on any event.
    next: Offset,
    /// Released, so retention may have removed them.
    released: Offset,
}

/// Events whose ids say which unit they are of, so that a part of a unit can be told.
fn unit(random: &mut StdRng, serial: &mut u64) -> Vec<Event> {
    let count = if random.random_bool(0.3) {
        random.random_range(2..6)
    } else {
        1
    };
    *serial += 10;
    (0..count)
        .map(|n| event(*serial + n, random.random_range(0..900)))
        .collect()
}

async fn verify(store: &super::SegmentStore, names: &[String], models: &mut [Model], seed: u64) {
    for (name, model) in names.iter().zip(models) {
        let log = store.open(name, retention()).unwrap();
        let first = log.stats().first;
        assert!(
            first <= model.released,
            "seed {seed}: {name} lost what was not released"
        );
        let records: BTreeMap<Offset, Event> = read_all(&*log, 0)
            .await
            .0
            .into_iter()
            .map(|record| (record.offset, record.event))
            .collect();
        for (offset, event) in model.committed.range(first..) {
            let found = records.get(offset);
            assert_eq!(
                found,
                Some(event),
                "seed {seed}: {name} {offset} was committed"
            );
        }
        // What was not committed is there as a whole or not at all.
        for (offset, event) in &records {
            let id: u64 = event.id().parse().unwrap();
            if !id.is_multiple_of(10) && *offset > first {
                let before = records
                    .get(&(offset - 1))
                    .map(|event| event.id().to_owned());
                assert_eq!(
                    before,
                    Some((id - 1).to_string()),
                    "seed {seed}: {name} {offset}"
                );
            }
        }
        assert!(
            log.stats().next >= model.next,
            "seed {seed}: {name} gives offsets again"
        );
        model.next = log.stats().next;
        // What is there now has been seen, and must stay.
        model.committed = records;
    }
}

fn retention() -> Retention {
    Retention {
        max_bytes: Some(6_000),
        max_age: None,
        protect: true,
    }
}

/// Works on the disk until the power goes; then looks what is left; several times.
async fn cycles(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = SimFs::default();
    let names: Vec<String> = (0..3).map(|n| format!("log-{n}")).collect();
    let mut models: Vec<Model> = names.iter().map(|_| Model::default()).collect();
    let mut serial = 0;
    for _ in 0..4 {
        let most = [30, 120, 600][random.random_range(0..3)];
        let operations = random.random_range(0..most);
        disk.lose_power_after(operations);
        if let Ok(store) = open_at(&disk, SEGMENT) {
            work(&store, &disk, &names, &mut models, &mut random, &mut serial).await;
            store.close();
        }
        disk = disk.after_power_loss(&mut random);
        let store = open_at(&disk, SEGMENT).unwrap();
        verify(&store, &names, &mut models, seed).await;
        store.close();
    }
}

fn note(model: &mut Model, events: Vec<Event>, outcome: Result<Range<Offset>, AppendError>) {
    if let Ok(offsets) = outcome {
        model.next = model.next.max(offsets.end);
        model.committed.extend(offsets.zip(events));
    }
}

async fn work(
    store: &super::SegmentStore,
    disk: &SimFs,
    names: &[String],
    models: &mut [Model],
    random: &mut StdRng,
    serial: &mut u64,
) {
    let logs: Vec<_> = names
        .iter()
        .map(|name| store.open(name, retention()).unwrap())
        .collect();
    // Appends that are waited for later, so that more of them are on their way at once.
    let mut waiting = Vec::new();
    while !disk.is_dead() {
        let mut commits = Vec::new();
        for _ in 0..random.random_range(1..5) {
            let n = random.random_range(0..logs.len());
            let events = unit(random, serial);
            if let Ok(commit) = logs[n].append(events.clone()) {
                commits.push((n, events, commit));
            }
        }
        if random.random_bool(0.5) {
            std::mem::swap(&mut waiting, &mut commits);
        } else {
            commits.splice(0..0, waiting.drain(..));
        }
        for (n, events, commit) in commits {
            note(&mut models[n], events, commit.await);
        }
        let n = random.random_range(0..logs.len());
        if random.random_bool(0.3) {
            models[n].released = models[n].next.saturating_sub(2);
            logs[n].release(models[n].released);
        }
        if random.random_bool(0.1) {
            store.maintain();
        }
    }
    for (n, events, commit) in waiting {
        note(&mut models[n], events, commit.await);
    }
}

#[tokio::test]
async fn committed_events_survive_power_loss() {
    for seed in 0..60 {
        cycles(seed).await;
    }
}

#[tokio::test]
async fn committed_events_survive_power_loss_again() {
    for seed in 1000..1060 {
        cycles(seed).await;
    }
}
