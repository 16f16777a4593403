//! Random histories against a simple model: what is read is what was appended, and not released.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{SimFs, open};
use crate::event::Event;
use crate::log::suite::{event, read_all};
use crate::log::{GapReason, LogStore as _, Offset, Retention};

#[derive(Clone, Debug)]
enum Step {
    Append { log: usize, sizes: Vec<usize> },
    Release { log: usize, back: u64 },
    Maintain,
    Reopen,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_usize, prop::collection::vec(0..700_usize, 1..5))
            .prop_map(|(log, sizes)| Step::Append { log, sizes }),
        3 => (0..3_usize, 0..10_u64).prop_map(|(log, back)| Step::Release { log, back }),
        1 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

#[derive(Default)]
struct Model {
    events: BTreeMap<Offset, Event>,
    next: Offset,
    released: Offset,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn retention(log: usize) -> Retention {
    let max_bytes = [None, Some(0), Some(4_000)][log];
    Retention {
        max_bytes,
        max_age: None,
        protect: true,
    }
}

async fn run(steps: Vec<Step>) {
    let mut disk = SimFs::default();
    let mut store = open(&disk);
    let mut models: [Model; 3] = Default::default();
    let mut serial = 0;
    for step in steps {
        match step {
            Step::Append { log, sizes } => {
                let events: Vec<Event> = sizes
                    .into_iter()
                    .map(|size| {
                        serial += 1;
                        event(serial, size)
                    })
                    .collect();
                let handle = store.open(NAMES[log], retention(log)).unwrap();
                let offsets = handle.append(events.clone()).unwrap().await.unwrap();
                assert_eq!(offsets.start, models[log].next);
                models[log].next = offsets.end;
                models[log].events.extend(offsets.zip(events));
            }
            Step::Release { log, back } => {
                let handle = store.open(NAMES[log], retention(log)).unwrap();
                let up_to = models[log].next.saturating_sub(back);
                models[log].released = models[log].released.max(up_to);
                handle.release(up_to);
            }
            Step::Maintain => store.maintain(),
            Step::Reopen => {
                store.close();
                store = open(&disk);
            }
            Step::Kill => {
                disk = disk.copy();
                store.close();
                store = open(&disk);
            }
        }
    }
    for (log, model) in models.iter().enumerate() {
        let handle = store.open(NAMES[log], retention(log)).unwrap();
        // Opening makes retention look again, in the background: not between the two reads below.
        store.maintain();
        let first = handle.stats().first;
        assert!(first <= model.released, "removed what was not released");
        let (records, gaps) = read_all(&*handle, 0).await;
        assert!(
            gaps.iter().all(|gap| gap.reason == GapReason::Expired),
            "{gaps:?}"
        );
        let found: BTreeMap<Offset, Event> = records
            .into_iter()
            .filter(|record| record.offset >= first)
            .map(|record| (record.offset, record.event))
            .collect();
        let expected: BTreeMap<Offset, Event> = model
            .events
            .range(first..)
            .map(|(offset, event)| (*offset, event.clone()))
            .collect();
        assert_eq!(found, expected, "log {log}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn histories_are_those_of_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
