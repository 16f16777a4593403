//! Law 2, by force: the process is killed with SIGKILL at random moments, under load, again and
//! again, on one data directory. Every event that was acknowledged in any of its lives arrives at
//! the subscriber, with the bytes that were sent. Duplicates are allowed; they are counted.
//!
//! `HEDDLE_SEED` repeats a run's choices (its moments remain those of the machine), and
//! `HEDDLE_ROUNDS` makes it longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use support::api::trigger;
use support::heddle::Start;
use support::{Answer, Heddle, Http, Subscriber, data_directory, report, wait};
use tokio::task::JoinSet;

const PRODUCERS: usize = 4;
const ROUNDS: usize = 30;
/// One life acknowledges at most about so many events before it is killed.
const MOST_ACKS: usize = 1500;

/// What is known on the producers' side.
#[derive(Debug, Default)]
struct Ledger {
    acked: Mutex<HashSet<String>>,
    acks: AtomicUsize,
    posted: AtomicU64,
    refused: AtomicU64,
}

impl Ledger {
    fn ack(&self, ids: Vec<String>) {
        self.acks.fetch_add(ids.len(), Ordering::Relaxed);
        self.acked.lock().extend(ids);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// The data of an event follows from its id, so that the subscriber can check it.
fn data_of(id: &str) -> String {
    let sum = id
        .bytes()
        .fold(7_usize, |sum, b| (sum * 31 + usize::from(b)) % 4001);
    format!("{{\"id\":\"{id}\",\"pad\":\"{}\"}}", "x".repeat(sum))
}

/// One event as a structured message.
fn structured(id: &str) -> String {
    format!(
        "{{\"specversion\":\"1.0\",\"type\":\"torture\",\"source\":\"/tests\",\"id\":\"{id}\",\
         \"datacontenttype\":\"application/json\",\"data\":{}}}",
        data_of(id)
    )
}

/// A request that posts `ids`: one event in binary or structured mode, or a batch.
fn request(ids: &[String], binary: bool) -> (Vec<(&str, &str)>, String) {
    match ids {
        [id] if binary => (
            vec![
                ("ce-specversion", "1.0"),
                ("ce-type", "torture"),
                ("ce-source", "/tests"),
                ("ce-id", id),
                ("content-type", "application/json"),
            ],
            data_of(id),
        ),
        [id] => (
            vec![("content-type", "application/cloudevents+json")],
            structured(id),
        ),
        many => {
            let events: Vec<String> = many.iter().map(|id| structured(id)).collect();
            (
                vec![("content-type", "application/cloudevents-batch+json")],
                format!("[{}]", events.join(",")),
            )
        }
    }
}

/// Posts events, one request after the other, until the connection breaks or `stop` is set.
async fn produce(
    url: String,
    name: String,
    mut random: StdRng,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
) {
    let http = Http::new();
    let mut serial = 0;
    while !stop.load(Ordering::Relaxed) {
        let count = if random.random_bool(0.1) {
            random.random_range(2..20)
        } else {
            1
        };
        let ids: Vec<String> = (serial..serial + count)
            .map(|n| format!("{name}-{n}"))
            .collect();
        serial += count;
        let (headers, body) = request(&ids, random.random_bool(0.5));
        ledger.posted.fetch_add(count, Ordering::Relaxed);
        match http.try_send(Method::POST, &url, &headers, body).await {
            Ok(answer) if answer.status == 202 => ledger.ack(ids),
            // Back-pressure is an answer; the events were not taken, and are not counted on.
            Ok(answer) if answer.status == 429 || answer.status == 503 => {
                ledger.refused.fetch_add(count, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
            Ok(answer) => panic!("{} {}", answer.status, answer.text()),
            // The process is gone. Whether the events were kept is open.
            Err(_) => return,
        }
    }
}

/// One life: start, load, and SIGKILL after a random number of acknowledgements.
async fn live_and_die(heddle: Heddle, round: usize, random: &mut StdRng, ledger: &Arc<Ledger>) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        producers.spawn(produce(
            heddle.broker("default"),
            format!("r{round}-p{producer}"),
            StdRng::seed_from_u64(random.random()),
            Arc::clone(ledger),
            Arc::clone(&stop),
        ));
    }
    let target = ledger.acks.load(Ordering::Relaxed) + random.random_range(1..MOST_ACKS);
    // A busy wait of yields, not of sleeps: the kill lands between any two steps of the process.
    let reached = async {
        while ledger.acks.load(Ordering::Relaxed) < target {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(wait::DEADLINE, reached)
        .await
        .expect("events are acknowledged");
    heddle.kill();
    stop.store(true, Ordering::Relaxed);
    while let Some(producer) = producers.join_next().await {
        producer.unwrap();
    }
}

/// A subscriber that takes most deliveries at once and refuses some at first.
async fn subscriber() -> Subscriber {
    let refusals = AtomicU64::new(0);
    Subscriber::scripted(move |delivery, _| {
        let first_of_some = delivery.id().ends_with('7')
            && refusals.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        Answer::status(if first_of_some { 503 } else { 200 })
    })
    .await
}

/// Counts what arrived, by id, and checks the bytes of each delivery.
fn arrivals(subscriber: &Subscriber) -> HashMap<String, usize> {
    let mut arrived = HashMap::new();
    for delivery in subscriber.deliveries() {
        let id = delivery.id().to_owned();
        assert_eq!(delivery.body, Bytes::from(data_of(&id)), "the data of {id}");
        *arrived.entry(id).or_insert(0) += 1;
    }
    arrived
}

/// The offsets of a log go up by one, whatever happened to the process in between.
async fn offsets_are_continuous(heddle: &Heddle) {
    let events = heddle.events("default", 1_000_000).await;
    let offsets: Vec<u64> = events
        .iter()
        .map(|e| e["offset"].as_u64().unwrap())
        .collect();
    for pair in offsets.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "the log has a hole");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_arrives_whatever_is_killed() {
    let seed = number("HEDDLE_SEED").unwrap_or_else(|| rand::rng().random());
    let rounds = number("HEDDLE_ROUNDS").map_or(ROUNDS, |n| usize::try_from(n).unwrap());
    report::line(&format!(
        "kill -9: {rounds} rounds, {PRODUCERS} producers, HEDDLE_SEED={seed}"
    ));
    let mut random = StdRng::seed_from_u64(seed);
    let (_directory, data) = data_directory();
    let subscriber = subscriber().await;
    let ledger = Arc::new(Ledger::default());
    let mut killed_in_start = 0;

    for round in 0..rounds {
        if round > 0 && random.random_bool(0.3) {
            // Also while it recovers.
            let moment = Duration::from_micros(random.random_range(0..150_000));
            Start::on(&data).spawn().kill_after(moment).await;
            killed_in_start += 1;
        }
        let heddle = Heddle::up(&data).await;
        if round == 0 {
            let delivery = json!({
                "retry": 1000, "backoffPolicy": "linear", "backoffDelay": "PT0.001S",
            });
            let object = trigger(
                "all",
                "default",
                &subscriber.url("/"),
                json!({"delivery": delivery}),
            );
            heddle.create_trigger(&object).await;
        }
        live_and_die(heddle, round, &mut random, &ledger).await;
    }

    let heddle = Heddle::up(&data).await;
    let acked = ledger.acked.lock().clone();
    wait::until_now("all acknowledged events to arrive", || {
        let arrived: HashSet<String> = subscriber.ids().into_iter().collect();
        let missing: Vec<&String> = acked.difference(&arrived).take(5).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            let count = acked.difference(&arrived).count();
            Err(format!("{count} of {} missing: {missing:?}", acked.len()))
        }
    })
    .await;
    offsets_are_continuous(&heddle).await;

    let arrived = arrivals(&subscriber);
    let deliveries: usize = arrived.values().sum();
    report::line(&format!(
        "kill -9: {} posted, {} acknowledged, {} refused, {} distinct events arrived, \
         {} repeated deliveries, {killed_in_start} more kills during recovery",
        ledger.posted.load(Ordering::Relaxed),
        acked.len(),
        ledger.refused.load(Ordering::Relaxed),
        arrived.len(),
        deliveries - arrived.len(),
    ));
}
