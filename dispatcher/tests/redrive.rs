//! Dead letters that are delivered once more. With paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heddle_broker::event::Event;
use heddle_dispatcher::redrive::{Progress, RedriveError, State};
use support::local::{LocalScript, world};
use support::{World, event, id, target, until};

/// Refuses for good until it is switched, then takes all but those that `refused` still names.
fn switched(refused: &'static [usize]) -> (Arc<AtomicBool>, Arc<LocalScript>) {
    let takes = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&takes);
    let script = LocalScript::new(move |id, _| {
        let ok = asked.load(Ordering::Relaxed) && !refused.contains(&id);
        if ok { 200 } else { 400 }
    });
    (takes, script)
}

async fn keep(world: &World, events: std::ops::Range<usize>) {
    let config = world.consumer("t", "local://h/");
    world.dispatcher.apply(config).await.unwrap();
    let count = world.stats("t").dead_letters_kept + events.len() as u64;
    world.publish(events.map(event)).await;
    until("all are kept", || {
        world.stats("t").dead_letters_kept == count
    })
    .await;
}

async fn redrive(world: &World, limit: u64) -> Progress {
    let mut redriving = world.dispatcher.redrive(&id("t"), limit).unwrap();
    while redriving.progress().state == State::Running {
        redriving.next().await;
    }
    redriving.progress()
}

fn text(event: &Event, name: &str) -> Option<String> {
    event.attribute(name).map(|found| found.text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_succeeds_leaves_and_what_fails_stays_with_its_newest_reason() {
    let (takes, handler) = switched(&[2, 5]);
    let mut world = world(&[("h", &handler)]);
    keep(&world, 0..10).await;
    takes.store(true, Ordering::Relaxed);
    let progress = redrive(&world, u64::MAX).await;
    assert_eq!(
        (progress.state, progress.total, progress.delivered),
        (State::Finished, 10, 8)
    );
    assert_eq!((progress.failed, progress.kept, progress.left()), (2, 2, 2));
    assert_eq!(world.stats("t").dead_letters_kept, 2);
    let letters = world.dead_letters("t").await;
    let ids: BTreeSet<&str> = letters.iter().map(|letter| letter.event.id()).collect();
    assert_eq!(ids, BTreeSet::from(["2", "5"]));
    // Each event has one key, however often and from where it is delivered.
    let calls = handler.calls();
    for event in 0..10 {
        let of = calls.iter().filter(|call| call.id == event);
        let keys: BTreeSet<&str> = of.map(|call| call.idempotency_key.as_str()).collect();
        assert_eq!(keys.len(), 1, "{event}: {keys:?}");
    }
    for letter in &letters {
        let key = text(&letter.event, "heddledeliverykey").unwrap();
        let id: usize = letter.event.id().parse().unwrap();
        let call = calls.iter().find(|call| call.id == id).unwrap();
        assert_eq!(call.idempotency_key, format!("\"{key}\""));
        assert_eq!(
            text(&letter.event, "knativeerrorcode").unwrap(),
            "400",
            "the reason is told"
        );
    }
    // A restart knows what has been redriven.
    world.crash().await;
    world
        .dispatcher
        .apply(world.consumer("t", "local://h/"))
        .await
        .unwrap();
    assert_eq!(world.stats("t").dead_letters_kept, 2);
    assert_eq!(redrive(&world, u64::MAX).await.total, 2);
    world.shut_down(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_takes_the_oldest_and_a_new_sink_takes_what_the_subscriber_refuses() {
    let (takes, handler) = switched(&[]);
    let sink = LocalScript::new(|_, _| 200);
    let mut world = world(&[("h", &handler), ("sink", &sink)]);
    keep(&world, 0..6).await;
    let letters = world.dead_letters("t").await;
    let oldest = letters
        .iter()
        .take(2)
        .map(|l| l.event.id().parse().unwrap());
    let oldest: BTreeSet<usize> = oldest.collect();
    takes.store(true, Ordering::Relaxed);
    let progress = redrive(&world, 2).await;
    assert_eq!((progress.delivered, progress.kept), (2, 4));
    assert_eq!(handler.taken().into_iter().collect::<BTreeSet<_>>(), oldest);
    takes.store(false, Ordering::Relaxed);
    let mut config = world.consumer("t", "local://h/");
    config.dead_letter = Some(target("local://sink/").into());
    world.dispatcher.apply(config).await.unwrap();
    let progress = redrive(&world, u64::MAX).await;
    assert_eq!((progress.dead_lettered, progress.kept), (4, 0));
    assert_eq!(progress.left(), 0);
    assert_eq!(sink.taken().len(), 4);
    let none = redrive(&world, u64::MAX).await;
    assert_eq!((none.state, none.total), (State::Finished, 0));
    world.shut_down(true).await;
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_and_dropping_it_ends_it_without_a_loss() {
    let up = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&up);
    // 400 gets them kept; after that 500 has them wait for retries.
    let handler =
        LocalScript::new(
            move |_, attempt| match (asked.load(Ordering::Relaxed), attempt) {
                (true, _) => 200,
                (false, 0) => 400,
                (false, _) => 500,
            },
        );
    let mut world = world(&[("h", &handler)]);
    keep(&world, 0..20).await;
    let mut config = world.consumer("t", "local://h/");
    config.policy.backoff_delay = std::time::Duration::from_secs(100);
    world.dispatcher.apply(config).await.unwrap();
    let mut redriving = world.dispatcher.redrive(&id("t"), u64::MAX).unwrap();
    while redriving.progress().waiting < 20 {
        redriving.next().await;
    }
    let second = world.dispatcher.redrive(&id("t"), u64::MAX).unwrap_err();
    assert_eq!(second, RedriveError::Busy(id("t")));
    drop(redriving);
    let mut again = None;
    until("the first one has ended", || {
        again = world.dispatcher.redrive(&id("t"), 0).ok();
        again.is_some()
    })
    .await;
    drop(again);
    assert_eq!(world.stats("t").dead_letters_kept, 20);
    assert_eq!(world.dead_letters("t").await.len(), 20);
    // Those that were open are taken up again, also after a crash.
    world.crash().await;
    up.store(true, Ordering::Relaxed);
    let config = world.consumer("t", "local://h/");
    world.dispatcher.apply(config).await.unwrap();
    assert_eq!(world.stats("t").dead_letters_kept, 20);
    let progress = redrive(&world, u64::MAX).await;
    assert_eq!((progress.delivered, progress.kept), (20, 0));
    world.shut_down(true).await;
    let stopped = world.dispatcher.redrive(&id("t"), 1).unwrap_err();
    assert_eq!(stopped, RedriveError::Stopped);
}
