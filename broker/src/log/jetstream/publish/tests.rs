//! A publisher, and servers that are played here.

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::super::log::{JetStreamLog, Made, Place};
use super::super::stream::Template;
use super::super::wire::tests::{PATIENCE, Played, connected};
use super::*;
use crate::clock::ManualClock;
use crate::log::{Commit, Log as _, Retention, suite};

/// A log whose publisher is on the connections that it is given.
struct Subject {
    log: Arc<JetStreamLog>,
    wires: watch::Sender<Option<Arc<Wire>>>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// A server, and the inbox of its one connection.
struct Server {
    played: Played,
    inbox: String,
}

impl Subject {
    async fn start() -> (Self, Server) {
        let tracker = TaskTracker::new();
        let (wire, played, inbox) = connected(&tracker).await;
        let wires = watch::Sender::new(Some(wire));
        let context = async_nats::jetstream::new(Played::client().await);
        let context = Arc::new(ArcSwap::new(Arc::new(context)));
        let made = Made {
            place: Place::new(&context, "$JS.API", "S".to_owned()),
            template: Template::default(),
            owner: "test".to_owned(),
        };
        let never = "0001-01-01T00:00:00Z";
        let empty = serde_json::json!({
            "messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0,
            "first_ts": never, "last_ts": never, "consumer_count": 0,
        });
        let empty = serde_json::from_value(empty).unwrap();
        let stop = CancellationToken::new();
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let log = JetStreamLog::new(made, &empty, Retention::default(), clock, stop.clone());
        let (shared, queue) = (Arc::clone(log.shared()), Arc::clone(log.queue()));
        let publisher = Publisher::new(shared, queue, wires.subscribe());
        tracker.spawn(publisher.run(stop.clone()));
        let subject = Self {
            log,
            wires,
            tracker,
            stop,
        };
        (subject, Server { played, inbox })
    }

    fn append(&self, id: u64) -> Commit {
        self.log.append(vec![suite::event(id, 0)]).unwrap()
    }

    /// The publisher is given another connection.
    async fn rewire(&self) -> Server {
        let (wire, played, inbox) = connected(&self.tracker).await;
        self.wires.send_replace(Some(wire));
        Server { played, inbox }
    }
}

impl Server {
    /// Reads up to the event with that id, and says which came.
    async fn hears(&mut self, id: u64) -> Vec<u64> {
        let text = self
            .played
            .hears(&format!("Nats-Msg-Id: /suite {id} "))
            .await;
        let ids = text.lines().filter_map(|line| line.strip_prefix("ce-id: "));
        ids.map(|id| id.parse().unwrap()).collect()
    }

    /// What was said is heard, and nothing comes back but that it is, and the question whether the server
    /// is there, which comes at any time.
    async fn is_silent(&mut self) {
        self.played.says("PING\r\n").await;
        let heard = self.played.hears("PONG").await;
        assert_eq!(heard.replace("PING\r\n", ""), "PONG\r\n");
    }

    async fn acknowledges(&mut self, lane: u64, token: u64, sequence: u64) {
        let ack = format!("{{\"stream\":\"S\",\"seq\":{sequence}}}");
        let length = ack.len();
        let text = format!(
            "MSG {}.{lane:x}.{token:x} 1 {length}\r\n{ack}\r\n",
            self.inbox
        );
        self.played.says(&text).await;
    }
}

async fn outcome(commit: Commit) -> Outcome {
    tokio::time::timeout(PATIENCE, commit).await.unwrap()
}

fn is_unavailable(outcome: &Outcome, why: &str) -> bool {
    matches!(outcome, Err(AppendError::Unavailable { reason }) if reason.contains(why))
}

#[tokio::test]
async fn one_group_gathers_while_another_is_under_way() {
    let (subject, mut server) = Subject::start().await;
    let first = subject.append(1);
    assert_eq!(server.hears(1).await, [1]);
    let others = [subject.append(2), subject.append(3)];
    server.is_silent().await;
    server.acknowledges(0, 0, 1).await;
    assert_eq!(outcome(first).await, Ok(0..1));
    assert_eq!(server.hears(3).await, [2, 3]);
    // Answers in another order, one of them twice, and one that is for nobody.
    server.acknowledges(0, 2, 3).await;
    server.acknowledges(0, 9, 9).await;
    server.acknowledges(0, 0, 7).await;
    server.is_silent().await;
    assert_eq!(*subject.log.tail().borrow(), 1);
    server.acknowledges(0, 1, 2).await;
    let [second, third] = others;
    assert_eq!(outcome(second).await, Ok(1..2));
    assert_eq!(outcome(third).await, Ok(2..3));
    assert_eq!(*subject.log.tail().borrow(), 3);
    assert_eq!(
        subject.log.stats().bytes,
        3 * suite::event(1, 0).size() as u64
    );
}

#[tokio::test]
async fn a_lost_connection_fails_what_is_under_way_and_the_next_one_takes_over() {
    let (subject, mut server) = Subject::start().await;
    let lost = subject.append(1);
    server.hears(1).await;
    let waits = subject.append(2);
    drop(server);
    let lost = outcome(lost).await;
    assert!(is_unavailable(&lost, "was lost"), "{lost:?}");
    let waits = outcome(waits).await;
    assert!(is_unavailable(&waits, UNREACHABLE), "{waits:?}");
    let refused = subject.log.append(vec![suite::event(3, 0)]).unwrap_err();
    assert!(is_unavailable(&Err(refused), UNREACHABLE));

    let mut server = subject.rewire().await;
    let mut taken = None;
    let trying = async {
        while taken.is_none() {
            taken = subject.log.append(vec![suite::event(4, 0)]).ok();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.unwrap();
    let commit = taken.unwrap();
    assert_eq!(server.hears(4).await, [4]);
    server.acknowledges(0, 2, 5).await;
    assert_eq!(outcome(commit).await, Ok(4..5));
}

#[tokio::test]
async fn another_connection_is_used_when_what_is_under_way_is_answered() {
    let (subject, mut old) = Subject::start().await;
    let first = subject.append(1);
    old.hears(1).await;
    let mut new = subject.rewire().await;
    let second = subject.append(2);
    new.is_silent().await;
    old.acknowledges(0, 0, 1).await;
    assert_eq!(outcome(first).await, Ok(0..1));
    assert_eq!(new.hears(2).await, [2]);
    new.acknowledges(0, 1, 2).await;
    assert_eq!(outcome(second).await, Ok(1..2));
}

#[tokio::test]
async fn an_answer_that_stays_away_counts_as_failed() {
    let (subject, mut server) = Subject::start().await;
    let commit = subject.append(1);
    server.hears(1).await;
    tokio::time::pause();
    let outcome = commit.await;
    assert!(is_unavailable(&outcome, "in time"), "{outcome:?}");
}

#[tokio::test]
async fn what_was_sent_is_answered_at_the_end_and_what_waits_is_refused() {
    let (subject, mut server) = Subject::start().await;
    let sent = subject.append(1);
    server.hears(1).await;
    let waits = subject.append(2);
    subject.stop.cancel();
    let waits = outcome(waits).await;
    assert!(
        matches!(waits, Err(AppendError::Closed { .. })),
        "{waits:?}"
    );
    server.acknowledges(0, 0, 1).await;
    assert_eq!(outcome(sent).await, Ok(0..1));
    subject.wires.send_replace(None);
    subject.tracker.close();
    tokio::time::timeout(PATIENCE, subject.tracker.wait())
        .await
        .unwrap();
}
