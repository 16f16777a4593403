//! Filters that change, and consumers that come and go, while events arrive: each event reaches
//! exactly those that wanted it at its time.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use heddle_broker::clock::SystemClock;
use heddle_broker::event::{Event, EventBuilder};
use heddle_broker::filter::{AttributesFilter, Filter, Spec};
use heddle_broker::log::Offset;
use heddle_dispatcher::config::{ConsumerConfig, Start};
use heddle_dispatcher::dispatcher::WINDOW_BYTES;
use support::local::{LocalScript, locals, takes_all};
use support::{World, id, until};

const KINDS: usize = 4;
const EVENTS: usize = 20_000;
const CHANGES: usize = 300;

/// Its id is its offset.
fn event(n: usize) -> Event {
    EventBuilder::new(n.to_string(), "/test", format!("kind.{}", kind(n)))
        .build()
        .unwrap()
}

fn kind(n: usize) -> usize {
    n % KINDS
}

/// Wants one kind, in one of several ways.
fn wants(kind: usize, way: usize) -> Filter {
    let text = format!("kind.{kind}");
    let spec = match way % 3 {
        0 => return Filter::Attributes(AttributesFilter::new([("type", text)])),
        1 => Spec {
            suffix: vec![("type".to_owned(), format!(".{kind}"))],
            ..Spec::default()
        },
        _ => Spec {
            cesql: Some(format!("type LIKE 'kind._' AND type = '{text}'")),
            ..Spec::default()
        },
    };
    Filter::compile(&[], &[spec]).unwrap()
}

/// How often each event was taken.
fn times(handler: &LocalScript) -> BTreeMap<usize, usize> {
    let mut times = BTreeMap::new();
    for event in handler.taken() {
        *times.entry(event).or_default() += 1;
    }
    times
}

fn consumer(world: &World, name: &str, filter: Filter) -> ConsumerConfig {
    ConsumerConfig {
        filter,
        start: Start::Latest,
        ..world.consumer(name, &format!("local://{name}/"))
    }
}

/// Produces all the time, but not so fast that changes fall behind.
async fn produce(world: &World, done: &AtomicUsize) {
    for n in (0..EVENTS).step_by(10) {
        let due = n * CHANGES / EVENTS;
        until("changes come", || done.load(Ordering::Relaxed) + 2 >= due).await;
        let commit = world.log.append((n..n + 10).map(event).collect()).unwrap();
        commit.await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// One version of a filter that changes: what it wants, and what was looked at and accepted.
#[derive(Debug)]
struct Version {
    wants: usize,
    /// Below this everything had been judged before this version.
    judged: Offset,
    /// From here on nothing is judged by an earlier version.
    accepted: Offset,
}

async fn change(world: &World, done: &AtomicUsize) -> Vec<Version> {
    let mut versions = vec![Version {
        wants: 0,
        judged: 0,
        accepted: 0,
    }];
    for change in 1..CHANGES {
        let wants_kind = change * 7 % KINDS;
        let judged = world.stats("changing").next;
        let config = consumer(world, "changing", wants(wants_kind, change));
        world.dispatcher.apply(config).await.unwrap();
        versions.push(Version {
            wants: wants_kind,
            judged,
            accepted: *world.log.tail().borrow(),
        });
        // Spread over the whole load, however fast it is.
        let due = change * EVENTS / CHANGES;
        until("events come", || *world.log.tail().borrow() >= due as u64).await;
        done.store(change, Ordering::Relaxed);
    }
    versions
}

/// Consumers that live for a while; returns which events each of them has to have got.
async fn come_and_go(world: &World, done: &AtomicUsize) -> Vec<(usize, Vec<usize>)> {
    let mut owed = Vec::new();
    let mut round = 0;
    while done.load(Ordering::Relaxed) + 1 < CHANGES {
        let which = round % 3;
        let name = format!("c{which}");
        let config = consumer(world, &name, wants(which, round));
        world.dispatcher.apply(config).await.unwrap();
        let from = *world.log.tail().borrow() as usize;
        let until_offset = (from + 150).min(EVENTS) as u64;
        until("it looks at some", || {
            world.stats(&name).position >= until_offset
        })
        .await;
        let to = world.stats(&name).position as usize;
        world.dispatcher.remove(&id(&name)).await;
        owed.push((which, (from..to).filter(|n| kind(*n) == which).collect()));
        round += 1;
    }
    owed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_reaches_those_that_wanted_it_at_its_time() {
    let names = ["s0", "s1", "s2", "s3", "changing", "c0", "c1", "c2"];
    let handlers: Vec<_> = names.iter().map(|_| takes_all()).collect();
    let named: Vec<_> = names.iter().copied().zip(&handlers).collect();
    let world = World::with(locals(&named), Arc::new(SystemClock), WINDOW_BYTES);
    for which in 0..KINDS {
        let config = consumer(&world, &format!("s{which}"), wants(which, which));
        world.dispatcher.apply(config).await.unwrap();
    }
    let first = consumer(&world, "changing", wants(0, 0));
    world.dispatcher.apply(first).await.unwrap();
    let done = AtomicUsize::new(0);
    let ((), versions, owed) = tokio::join!(
        produce(&world, &done),
        change(&world, &done),
        come_and_go(&world, &done)
    );
    for name in &names[..5] {
        world.idle(name).await;
    }
    for (which, handler) in handlers.iter().take(KINDS).enumerate() {
        let expected = (0..EVENTS).filter(|n| kind(*n) == which).map(|n| (n, 1));
        assert_eq!(times(handler), expected.collect(), "s{which}");
        let stats = world.stats(&format!("s{which}"));
        assert_eq!(stats.seen, EVENTS as u64);
        assert_eq!(stats.matched, (EVENTS / KINDS) as u64);
    }
    check_versions(&versions, &times(&handlers[4]));
    for (which, events) in owed {
        let times = times(&handlers[5 + which]);
        for event in events {
            assert_eq!(times.get(&event), Some(&1), "c{which} and event {event}");
        }
        assert!(times.values().all(|times| *times == 1), "c{which}: twice");
    }
}

/// Each event was taken once if all versions that may have judged it want it, and never if none does.
fn check_versions(versions: &[Version], times: &BTreeMap<usize, usize>) {
    let mut decided = 0;
    for n in 0..EVENTS {
        let offset = n as Offset;
        let first = versions
            .iter()
            .rposition(|v| v.accepted <= offset)
            .unwrap_or(0);
        let last = versions
            .iter()
            .skip(first + 1)
            .position(|v| offset < v.judged);
        let last = last.map_or(versions.len() - 1, |after| first + after);
        let may = &versions[first..=last];
        let wanting = may
            .iter()
            .filter(|version| version.wants == kind(n))
            .count();
        let taken = times.get(&n).copied().unwrap_or(0);
        assert!(taken <= 1, "event {n} was taken {taken} times");
        if wanting == 0 || wanting == may.len() {
            decided += 1;
            assert_eq!(
                taken,
                usize::from(wanting > 0),
                "event {n}, judged by {may:?}"
            );
        }
    }
    assert!(decided > EVENTS / 4, "only {decided} events say anything");
}
