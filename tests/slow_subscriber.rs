//! Law 4: one slow subscriber costs the others nothing.
//!
//! Two brokers of one process get the same events at the same time. One has a fast subscriber
//! alone; the other has the same, beside one that is slower by far and one that never answers.
//! The comparison is within the run, in events: when the lone one has finished, the other fast
//! one has made nearly the same progress, while the slow one has hardly begun.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use serde_json::json;
use support::api::{Event, trigger};
use support::{Answer, Heddle, Subscriber, data_directory, report};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const EVENTS: usize = 4000;
const PRODUCERS: usize = 4;
/// The slow subscriber answers once for so many deliveries of the fast one.
const SLOWER: usize = 50;

/// Posts one event after the other, each to both brokers.
async fn produce(heddle: Arc<Heddle>, producer: usize) {
    for n in 0..EVENTS / PRODUCERS {
        let id = format!("{producer}-{n}");
        let event = Event::new(&id, "t").data(vec![b'x'; 1024]);
        tokio::join!(
            heddle.accepted("lone", &event),
            heddle.accepted("mixed", &event)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_costs_a_fast_one_nothing() {
    let (_directory, data) = data_directory();
    let heddle = Arc::new(Heddle::up(&data).await);
    heddle.create_broker("lone").await;
    heddle.create_broker("mixed").await;

    let pace = Arc::new(Semaphore::new(0));
    let never = Arc::new(Semaphore::new(0));
    let held_by = |gate: &Arc<Semaphore>| {
        let gate = Arc::clone(gate);
        Subscriber::scripted(move |_, _| Answer::status(200).after(&gate))
    };
    let slow = held_by(&pace).await;
    let dead = held_by(&never).await;
    let beside = {
        let pace = Arc::clone(&pace);
        Subscriber::scripted(move |_, count| {
            if count % SLOWER == 0 {
                pace.add_permits(1);
            }
            Answer::status(200)
        })
        .await
    };
    let lone = Subscriber::start().await;
    for (name, broker, subscriber) in [
        ("lone", "lone", &lone),
        ("slow", "mixed", &slow),
        ("dead", "mixed", &dead),
        ("beside", "mixed", &beside),
    ] {
        let spec = json!({"delivery": {"timeout": "PT5M"}});
        let object = trigger(name, broker, &subscriber.url("/"), spec);
        heddle.create_trigger(&object).await;
    }

    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        producers.spawn(produce(Arc::clone(&heddle), producer));
    }
    lone.wait_for(EVENTS).await;
    let progress = beside.count();
    let answered = heddle.stats("slow").await["delivered"].as_u64().unwrap();
    while let Some(producer) = producers.join_next().await {
        producer.unwrap();
    }
    report::line(&format!(
        "when the lone subscriber had {EVENTS} events, the one beside a slow and a dead one had \
         {progress}; the slow one had answered {answered}"
    ));
    assert!(
        progress >= EVENTS * 8 / 10,
        "{progress} of {EVENTS} beside a slow one"
    );
    assert!(
        usize::try_from(answered).unwrap() <= EVENTS / SLOWER + 1,
        "the slow one was slow"
    );

    // Slow is not lost: all of it arrives, once there is time.
    beside.wait_for(EVENTS).await;
    pace.add_permits(2 * EVENTS);
    slow.wait_for(EVENTS).await;
    heddle.wait_stat("slow", "backlog", 0).await;
}
