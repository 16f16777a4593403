//! Producers that post until they are told to end, and what they know afterwards.
//!
//! Each posts one event after the other; what is refused is not sent again. When the process that they
//! post to is killed, they wait until they are told where the next one is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Heddle, Http, Response, Subscriber, wait};

/// What producers know.
#[derive(Default)]
struct Known {
    acknowledged: Mutex<BTreeSet<String>>,
    refused: AtomicU64,
    /// Refusals that did not say when to come again.
    without_advice: AtomicU64,
    /// Posts that broke off; the events may have been kept.
    broken: AtomicU64,
    done: AtomicBool,
}

/// Producers at work.
pub(crate) struct Load {
    broker: String,
    known: Arc<Known>,
    url: watch::Sender<String>,
    producers: JoinSet<()>,
}

/// What producers knew in the end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: BTreeSet<String>,
    pub(crate) refused: u64,
    pub(crate) broken: u64,
}

impl Load {
    /// So many producers, whose events have ids like `2-17`: the producer, and a number that grows.
    pub(crate) fn on(heddle: &Heddle, broker: &str, producers: usize) -> Self {
        let mut this = Self {
            broker: broker.to_owned(),
            known: Arc::default(),
            url: watch::Sender::new(heddle.broker(broker)),
            producers: JoinSet::new(),
        };
        for producer in 0..producers {
            let work = produce(producer, Arc::clone(&this.known), this.url.subscribe());
            this.producers.spawn(work);
        }
        this
    }

    /// Goes on with another process.
    pub(crate) fn follow(&self, heddle: &Heddle) {
        self.url.send_replace(heddle.broker(&self.broker));
    }

    /// Waits until so many more events have been acknowledged.
    pub(crate) async fn acknowledged(&self, more: usize) {
        let known = || self.known.acknowledged.lock().len();
        let before = known();
        wait::until_now("events to be acknowledged", || match known() - before {
            now if now >= more => Ok(()),
            now => Err(format!("{now} of {more}")),
        })
        .await;
    }

    /// Waits until so many more posts have been refused.
    pub(crate) async fn refused(&self, more: u64) {
        let known = || self.known.refused.load(Ordering::Relaxed);
        let before = known();
        wait::until_now("events to be refused", || match known() - before {
            now if now >= more => Ok(()),
            now => Err(format!("{now} of {more}")),
        })
        .await;
    }

    /// Lets the producers end.
    pub(crate) async fn end(mut self) -> Outcome {
        self.known.done.store(true, Ordering::Relaxed);
        self.url.send_modify(|_| {});
        while let Some(ended) = self.producers.join_next().await {
            ended.unwrap();
        }
        let without_advice = self.known.without_advice.load(Ordering::Relaxed);
        assert_eq!(without_advice, 0, "a 503 has a Retry-After");
        Outcome {
            acknowledged: std::mem::take(&mut *self.known.acknowledged.lock()),
            refused: self.known.refused.load(Ordering::Relaxed),
            broken: self.known.broken.load(Ordering::Relaxed),
        }
    }
}

async fn produce(producer: usize, known: Arc<Known>, mut url: watch::Receiver<String>) {
    let http = Http::new();
    for n in 0_u64.. {
        if known.done.load(Ordering::Relaxed) {
            return;
        }
        let at = url.borrow_and_update().clone();
        let id = format!("{producer}-{n}");
        match post(&http, &at, &id).await {
            Ok(answer) if answer.status == 202 => drop(known.acknowledged.lock().insert(id)),
            Ok(answer) if answer.status == 503 => {
                let advice = answer.headers.contains_key("retry-after");
                let missing = u64::from(!advice);
                known.without_advice.fetch_add(missing, Ordering::Relaxed);
                known.refused.fetch_add(1, Ordering::Relaxed);
                // Less than the advice, so that much is tried while something is away.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            Err(_) => {
                known.broken.fetch_add(1, Ordering::Relaxed);
                // The sender is there until the producers have ended.
                url.changed().await.unwrap();
            }
        }
    }
}

async fn post(http: &Http, url: &str, id: &str) -> Result<Response, String> {
    let key = id.split('-').next().unwrap();
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-type", "t"),
        ("ce-source", "/tests"),
        ("ce-partitionkey", key),
        ("content-type", "application/json"),
    ];
    let post = hyper::Method::POST;
    http.try_send(post, url, &headers, "{}").await
}

impl Outcome {
    /// Waits until a subscriber has got everything that was acknowledged. How many it got more than once, and
    /// how many though they were not acknowledged.
    pub(crate) async fn reaches(&self, subscriber: &Subscriber) -> (u64, u64) {
        wait::until_now("everything acknowledged to be delivered", || {
            let seen: BTreeSet<String> = subscriber.ids().into_iter().collect();
            let lost: Vec<_> = self.acknowledged.difference(&seen).take(20).collect();
            if lost.is_empty() {
                Ok(())
            } else {
                Err(format!("{} seen, not {lost:?}", seen.len()))
            }
        })
        .await;
        let mut times: BTreeMap<String, u64> = BTreeMap::new();
        for id in subscriber.ids() {
            *times.entry(id).or_default() += 1;
        }
        let repeated = times.values().map(|times| times - 1).sum();
        let others = times.keys().filter(|id| !self.acknowledged.contains(*id));
        let others = others.count() as u64;
        assert!(
            others <= self.refused + self.broken,
            "{others} delivered that nobody sent"
        );
        (repeated, others)
    }
}
