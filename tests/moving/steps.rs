//! The steps of a move between the log on disk and JetStream, one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::support::api::{condition, trigger};
use super::support::nats::{Server, program};
use super::support::{Answer, Heddle, Subscriber, data_directory, wait};
use super::{accepted, keep_in, point_at_nats, stores, until, until_moved};

/// Refuses everything until it is told otherwise.
async fn unwilling() -> (Subscriber, Arc<AtomicBool>) {
    let willing = Arc::new(AtomicBool::new(false));
    let will = Arc::clone(&willing);
    let subscriber = Subscriber::scripted(move |_, _| {
        Answer::status(if will.load(Ordering::Relaxed) {
            200
        } else {
            503
        })
    });
    (subscriber.await, willing)
}

fn patient() -> Value {
    json!({"delivery": {"retry": 200, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}})
}

/// How often each event was delivered.
fn times(subscriber: &Subscriber) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for id in subscriber.ids() {
        *times.entry(id).or_default() += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_goes_to_jetstream_and_back_with_its_backlog() {
    let Some(program) = program() else { return };
    let server = Server::start(&program);
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    heddle.create_broker("b").await;
    let quick = Subscriber::start().await;
    heddle
        .create_trigger(&trigger("quick", "b", &quick.url("/"), json!({})))
        .await;
    let (waiting, willing) = unwilling().await;
    heddle
        .create_trigger(&trigger("waiting", "b", &waiting.url("/"), patient()))
        .await;
    let mut all = BTreeSet::new();
    let mut n = 0;
    let mut more = async |count: usize| {
        for _ in 0..count {
            n += 1;
            all.insert(n.to_string());
            accepted(&heddle, "b", &n.to_string()).await;
        }
        all.clone()
    };
    more(30).await;

    // Where it cannot go, it stays, and says so.
    keep_in(&heddle, "b", "jetstream").await;
    let refused = |object: &Value| {
        let message = condition(object, "LogMoved")["message"].to_string();
        message.contains("config-nats") && condition(object, "Ready")["status"] == "True"
    };
    until(&heddle, "b", "the Broker to say what is missing", refused).await;
    more(5).await;
    point_at_nats(&heddle, &server).await;
    let begun = |object: &Value| stores(object) == ["segment", "jetstream"];
    until(&heddle, "b", "events to go to JetStream", begun).await;
    let wanted = more(30).await;
    quick.wait_for(wanted.len()).await;
    assert_eq!(server.streams().await.len(), 1);
    // What waits on disk holds nothing up, and keeps the disk's log until it is delivered.
    until(&heddle, "b", "the log on disk to be drained", |object| {
        condition(object, "LogMoved")["reason"] == "Draining"
    })
    .await;
    willing.store(true, Ordering::Relaxed);
    until_moved(&heddle, "b", "jetstream").await;
    more(5).await;

    keep_in(&heddle, "b", "segment").await;
    until_moved(&heddle, "b", "segment").await;
    let wanted = more(5).await;
    let seen = || {
        let quick: BTreeSet<String> = quick.ids().into_iter().collect();
        let waiting: BTreeSet<String> = waiting.ids().into_iter().collect();
        if quick == wanted && waiting == wanted {
            Ok(())
        } else {
            Err(format!("{quick:?}"))
        }
    };
    wait::until_now("both Triggers to get everything", seen).await;
    wait::until("the stream to be deleted", || async {
        let streams = server.streams().await;
        if streams.is_empty() {
            Ok(())
        } else {
            Err(format!("{streams:?}"))
        }
    })
    .await;
    // Positions were carried along: only what was under way at a move may come again.
    let repeated: usize = times(&quick).values().map(|times| times - 1).sum();
    println!(
        "{} events over two moves, {repeated} delivered again",
        wanted.len()
    );
    assert!(repeated <= 30, "{:?}", times(&quick));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_in_the_middle_of_a_move_loses_nothing() {
    let Some(program) = program() else { return };
    let server = Server::start(&program);
    let (_directory, data) = data_directory();
    let mut heddle = Heddle::up(&data).await;
    point_at_nats(&heddle, &server).await;
    let subscriber = Subscriber::start().await;
    let (waiting, willing) = unwilling().await;
    type Moment = fn(&Value) -> bool;
    let moments: [(&str, Moment); 3] = [
        ("at-once", |_| true),
        ("begun", |object| !condition(object, "LogMoved").is_null()),
        ("written", |object| stores(object).len() == 2),
    ];
    let mut wanted = BTreeSet::new();
    for (name, moment) in moments {
        heddle.create_broker(name).await;
        let all = trigger(
            &format!("{name}-all"),
            name,
            &subscriber.url("/"),
            json!({}),
        );
        heddle.create_trigger(&all).await;
        let waits = trigger(&format!("{name}-waits"), name, &waiting.url("/"), patient());
        heddle.create_trigger(&waits).await;
        let mut post = async |heddle: &Heddle, when: &str| {
            for n in 0..10 {
                let id = format!("{name}-{when}-{n}");
                accepted(heddle, name, &id).await;
                wanted.insert(id);
            }
        };
        post(&heddle, "before").await;
        keep_in(&heddle, name, "jetstream").await;
        until(&heddle, name, "the moment", moment).await;
        heddle.kill();
        heddle = Heddle::up(&data).await;
        post(&heddle, "after").await;
        let begun = |object: &Value| {
            stores(object)
                .last()
                .is_some_and(|last| last == "jetstream")
        };
        until(&heddle, name, "events to go to JetStream", begun).await;
        post(&heddle, "then").await;
    }
    willing.store(true, Ordering::Relaxed);
    for subscriber in [&subscriber, &waiting] {
        let all = || {
            let seen: BTreeSet<String> = subscriber.ids().into_iter().collect();
            let lost: Vec<_> = wanted.difference(&seen).collect();
            if lost.is_empty() {
                Ok(())
            } else {
                Err(format!("{lost:?}"))
            }
        };
        wait::until_now("everything acknowledged to be delivered", all).await;
    }
    for (name, _) in moments {
        until_moved(&heddle, name, "jetstream").await;
    }
}
