//! Consumers that have nothing to do: they have no task, and miss nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::time::Duration;

use heddle_dispatcher::config::ConsumerConfig;
use support::local::{flaky, takes_all, world};
use support::{World, event, id, policy, until};

/// The tasks of the dispatcher, once no consumer has one.
async fn at_rest(world: &World, tasks: usize) {
    until("no consumer has a task", || world.tasks() == tasks).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_rests_has_no_task() {
    let handler = takes_all();
    let mut world = world(&[("h", &handler)]);
    let before = world.tasks();
    for number in 0..100 {
        let config = world.consumer(&format!("t-{number}"), "local://h/");
        world.dispatcher.apply(config).await.unwrap();
    }
    // The one that reads for all of them.
    let reading = before + 1;
    at_rest(&world, reading).await;
    world.publish([event(1)]).await;
    until("each has it", || handler.taken().len() == 100).await;
    at_rest(&world, reading).await;
    world.dispatcher.remove(&id("t-0")).await;
    world.publish([event(2)]).await;
    until("the others have it", || handler.taken().len() == 199).await;
    at_rest(&world, reading).await;
    // A part that rests ends at once.
    let id = id("t-1");
    let suspended = world.dispatcher.suspend(&id, Duration::from_secs(60)).await;
    assert_eq!(suspended, Some(2));
    world.shut_down(true).await;
}

/// Without a subscriber as well: whoever waits for an address waits for a change.
#[tokio::test(start_paused = true)]
async fn one_without_a_subscriber_rests_too() {
    let handler = takes_all();
    let world = world(&[("h", &handler)]);
    let before = world.tasks();
    let known = world.consumer("t", "local://h/");
    let unknown = ConsumerConfig {
        subscriber: None,
        ..known.clone()
    };
    for round in 1..4 {
        world.dispatcher.apply(unknown.clone()).await.unwrap();
        at_rest(&world, before + 1).await;
        world.publish([event(round)]).await;
        assert_eq!(world.stats("t").backlog, 1);
        world.dispatcher.apply(known.clone()).await.unwrap();
        until("it comes", || handler.taken().len() == round).await;
        at_rest(&world, before + 1).await;
    }
}

/// Events come while consumers go to rest, and are never left lying: on threads, in real time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_goes_to_rest_misses_nothing() {
    const EVENTS: usize = 400;
    const CONSUMERS: usize = 4;
    let handler = flaky(7);
    let mut world = world(&[("h", &handler)]);
    for number in 0..CONSUMERS {
        let config = ConsumerConfig {
            policy: policy(20),
            ..world.consumer(&format!("t-{number}"), "local://h/")
        };
        world.dispatcher.apply(config).await.unwrap();
    }
    for number in 0..EVENTS {
        world.publish([event(number)]).await;
        if number % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for number in 0..CONSUMERS {
        let name = format!("t-{number}");
        world.idle(&name).await;
        assert_eq!(world.stats(&name).delivered, EVENTS as u64);
    }
    world.shut_down(true).await;
}
