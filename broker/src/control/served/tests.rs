//! Logs of several partitions that are moved between stores with more and with fewer.

use std::collections::BTreeSet;

use super::*;
use crate::log::memory::{MemoryOptions, MemoryStore};
use crate::log::suite::{ALL, event};
use crate::log::{LogStore as _, Retention};

const LOG: &str = "broker/n/b/uid";

/// A log that is used, and what a Broker's status would say of it.
struct Moved {
    served: Served,
    store: Arc<MemoryStore>,
    told: watch::Receiver<u64>,
    spans: Vec<Span>,
    sent: u64,
}

impl Moved {
    fn new(partitions: usize) -> Self {
        let tell = Arc::new(watch::Sender::new(0));
        let told = tell.subscribe();
        let served = Served::new(TaskTracker::new(), CancellationToken::new(), tell);
        let mut this = Self {
            served,
            store: MemoryStore::new(MemoryOptions::default()),
            told,
            spans: Vec::new(),
            sent: 0,
        };
        let logs = this.logs("first", partitions);
        this.go_on("first", logs, Vec::new(), Vec::new());
        this
    }

    fn logs(&self, name: &str, partitions: usize) -> Partitions {
        let names = (0..partitions).map(|partition| format!("{name}#{partition}"));
        let logs = names.map(|name| self.store.open(&name, Retention::default()).unwrap());
        Partitions::new(logs.collect()).unwrap()
    }

    fn go_on(&mut self, name: &str, logs: Partitions, from: Vec<Offset>, begin: Vec<Offset>) {
        let log = name.to_owned();
        self.spans.push(Span {
            place: PartRef { log, from, begin },
            logs,
            is_open: true,
        });
        assert!(self.served.put_together(LOG, self.spans.clone()));
    }

    fn used(&self) -> Partitions {
        self.served.open().get(LOG).unwrap()
    }

    async fn send(&mut self, count: u64) {
        for _ in 0..count {
            let event = event(self.sent, 10);
            self.sent += 1;
            let used = self.used();
            used.of(&event)
                .append(vec![event.clone()])
                .unwrap()
                .await
                .unwrap();
        }
    }

    /// What closing has found, as soon as it has.
    async fn switch(&mut self) -> Switch {
        loop {
            self.told.changed().await.unwrap();
            if let Some((log, switch)) = self.served.switches().pop() {
                assert_eq!(log, LOG);
                return switch;
            }
        }
    }

    /// Moves it, as the steps of a plan would.
    async fn go_to(&mut self, name: &str, logs: Partitions) {
        assert!(self.served.close(LOG, name, &logs));
        let switch = self.switch().await;
        let mut from = switch.ends;
        let last = &self.spans.last().unwrap().place.from;
        from.extend(last.iter().skip(from.len()));
        self.go_on(name, logs, from, switch.begins);
    }

    /// Everything in all partitions from these positions on, which move to the end.
    async fn read(&self, positions: &mut Vec<Offset>) -> Vec<String> {
        let used = self.used();
        let firsts = used.all().iter().skip(positions.len());
        let firsts: Vec<_> = firsts.map(|log| log.stats().first).collect();
        positions.extend(firsts);
        let mut ids = Vec::new();
        for (log, at) in used.all().iter().zip(positions) {
            while *at < log.stats().next {
                let batch = log.read(*at, ALL).await.unwrap();
                assert!(batch.next > *at && batch.gaps.is_empty(), "{batch:?}");
                ids.extend(
                    batch
                        .records
                        .iter()
                        .map(|record| record.event.id().to_owned()),
                );
                *at = batch.next;
            }
        }
        ids
    }

    fn release(&self, positions: &[Offset]) {
        for (log, at) in self.used().all().iter().zip(positions) {
            log.release(*at);
        }
    }
}

fn all(count: u64) -> BTreeSet<String> {
    (0..count).map(|id| id.to_string()).collect()
}

#[tokio::test]
async fn each_event_is_read_once_however_many_partitions_come_and_go() {
    let mut moved = Moved::new(3);
    let (mut early, mut late) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for (name, partitions) in [("second", 1), ("third", 4), ("fourth", 2), ("fifth", 5)] {
        moved.send(20).await;
        seen.extend(moved.read(&mut early).await);
        moved.send(7).await;
        let logs = moved.logs(name, partitions);
        // What is there already is not the Broker's.
        let stranger = logs.first().append(vec![event(9_999, 10)]);
        stranger.unwrap().await.unwrap();
        moved.go_to(name, logs).await;
        let taking = moved.used();
        assert_eq!(taking.all().len().max(partitions), taking.all().len());
        moved.send(partitions as u64).await;
    }
    seen.extend(moved.read(&mut early).await);
    assert_eq!(seen.len() as u64, moved.sent, "{seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all(moved.sent));
    let seen = moved.read(&mut late).await;
    assert_eq!(seen.len() as u64, moved.sent);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all(moved.sent));
}

#[tokio::test]
async fn positions_outlive_partitions_that_go_and_come_back() {
    let mut moved = Moved::new(3);
    let mut positions = Vec::new();
    moved.send(30).await;
    let logs = moved.logs("second", 1);
    moved.go_to("second", logs).await;
    moved.send(3).await;
    assert_eq!(moved.used().all().len(), 3);
    // It is done with the first part when all of its partitions are.
    let from = moved.spans[1].place.from.clone();
    let done = |moved: &Moved| {
        let released = &moved.served.released("broker/n/b/")[LOG];
        from.iter().zip(released).all(|(from, at)| from <= at)
    };
    let mut seen = moved.read(&mut positions).await;
    moved.release(&positions[..1]);
    assert!(!done(&moved));
    moved.release(&positions);
    assert!(done(&moved));
    // Those that nobody needs are left out, and positions stay as they are.
    moved.spans.remove(0);
    let spans = moved.spans.clone();
    assert!(
        !moved.served.put_together(LOG, spans),
        "events go where they went"
    );
    assert_eq!(moved.used().all().len(), 1);
    moved.send(3).await;
    let logs = moved.logs("third", 3);
    moved.go_to("third", logs).await;
    moved.send(9).await;
    seen.extend(moved.read(&mut positions).await);
    assert_eq!(seen.len(), 45);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all(45));
}

#[tokio::test]
async fn an_older_gate_is_closed_by_the_doors_of_the_newer_one() {
    let mut moved = Moved::new(1);
    let logs = moved.logs("second", 1);
    moved.go_to("second", logs).await;
    let older = moved.used();
    moved.spans.remove(0);
    let spans = moved.spans.clone();
    assert!(!moved.served.put_together(LOG, spans));
    // Somebody still has what was there before; what is under way there counts.
    let under_way = older.first().append(vec![event(0, 10)]).unwrap();
    let logs = moved.logs("third", 1);
    assert!(moved.served.close(LOG, "third", &logs));
    older.first().append(vec![event(1, 10)]).unwrap_err();
    assert_eq!(under_way.await.unwrap(), 0..1);
    let switch = moved.switch().await;
    assert_eq!(switch.ends, [1]);
    // Nobody wants that any more.
    assert!(moved.served.reopen(LOG));
    assert!(!moved.served.reopen(LOG));
    moved.send(1).await;
    assert!(moved.served.close(LOG, "third", &logs));
    let switch = moved.switch().await;
    assert_eq!(switch.ends, [2]);
    moved.go_on("third", logs, switch.ends, switch.begins);
    older.first().append(vec![event(2, 10)]).unwrap_err();
}

#[tokio::test]
async fn what_is_released_is_not_known_while_a_part_is_away() {
    let mut moved = Moved::new(2);
    moved.send(4).await;
    let logs = moved.logs("second", 1);
    moved.go_to("second", logs).await;
    assert!(moved.served.released("broker/n/b/").contains_key(LOG));
    let mut spans = moved.spans.clone();
    spans[0].is_open = false;
    spans[0].logs = Partitions::from(Arc::new(AbsentLog::default()) as Arc<dyn Log>);
    moved.served.put_together(LOG, spans);
    assert!(moved.served.released("broker/n/b/").is_empty());
}
