//! A subscriber in this process that answers by a script, for tests with paused time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use heddle_dispatcher::dispatcher::WINDOW_BYTES;
use heddle_dispatcher::subscriber::{
    Answer, Completeness, Delivery, LocalSubscribers, Outcome, Subscriber,
};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{TokioClock, World};

type Script = dyn Fn(usize, usize) -> BoxFuture<'static, u16> + Send + Sync;

/// Answers event `id`, which has been sent `n` times before, with a status.
pub struct LocalScript {
    script: Box<Script>,
    calls: Mutex<Vec<Call>>,
    attempts: Mutex<HashMap<usize, usize>>,
}

/// One attempt, and when it was made.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: usize,
    pub at: Instant,
    pub idempotency_key: String,
    /// The status it was answered with.
    pub status: u16,
}

impl std::fmt::Debug for LocalScript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalScript").finish_non_exhaustive()
    }
}

impl LocalScript {
    pub fn later(
        script: impl Fn(usize, usize) -> BoxFuture<'static, u16> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            calls: Mutex::default(),
            attempts: Mutex::default(),
        })
    }

    pub fn new(script: impl Fn(usize, usize) -> u16 + Send + Sync + 'static) -> Arc<Self> {
        Self::later(move |id, n| {
            let status = script(id, n);
            Box::pin(async move {
                tokio::task::yield_now().await;
                status
            })
        })
    }

    /// Answers nothing until `gate` is opened.
    pub fn held(gate: Arc<Notify>) -> Arc<Self> {
        let open = Arc::new(Mutex::new(false));
        Self::later(move |_, _| {
            let (gate, open) = (Arc::clone(&gate), Arc::clone(&open));
            Box::pin(async move {
                if !*open.lock() {
                    gate.notified().await;
                    *open.lock() = true;
                    gate.notify_waiters();
                }
                200
            })
        })
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// The ids that were answered with 2xx, in that order.
    pub fn taken(&self) -> Vec<usize> {
        let calls = self.calls.lock();
        calls
            .iter()
            .filter(|call| call.status < 300)
            .map(|call| call.id)
            .collect()
    }
}

#[async_trait]
impl Subscriber for LocalScript {
    async fn deliver(&self, delivery: Delivery) -> Outcome {
        let id: usize = delivery.event.id().parse().unwrap();
        let at = Instant::now();
        let before = {
            let mut attempts = self.attempts.lock();
            let attempts = attempts.entry(id).or_default();
            *attempts += 1;
            *attempts - 1
        };
        let status = (self.script)(id, before).await;
        self.calls.lock().push(Call {
            id,
            at,
            idempotency_key: delivery.idempotency_key.to_str().unwrap().to_owned(),
            status,
        });
        Outcome::Answer(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            completeness: Completeness::Whole,
        })
    }
}

/// Handlers by name.
pub fn locals(handlers: &[(&str, &Arc<LocalScript>)]) -> LocalSubscribers {
    let mut locals = LocalSubscribers::default();
    for (name, handler) in handlers {
        let handler: Arc<LocalScript> = Arc::clone(handler);
        locals.insert(*name, handler);
    }
    locals
}

pub fn world(handlers: &[(&str, &Arc<LocalScript>)]) -> World {
    World::with(locals(handlers), TokioClock::new(), WINDOW_BYTES)
}

pub fn takes_all() -> Arc<LocalScript> {
    LocalScript::new(|_, _| 200)
}

/// A number that looks random and is always the same: from splitmix64.
pub fn noise(a: usize, b: usize) -> u64 {
    let mut x = (a as u64) << 32 | b as u64;
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Fails about one attempt in three, and takes some time for each.
pub fn flaky(seed: usize) -> Arc<LocalScript> {
    LocalScript::later(move |id, n| {
        Box::pin(async move {
            let noise = noise(id * 31 + seed, n);
            tokio::time::sleep(Duration::from_micros(noise % 5_000)).await;
            if noise.is_multiple_of(3) && n < 6 {
                503
            } else {
                200
            }
        })
    })
}

pub fn is_each_once(taken: &[usize], count: usize) -> bool {
    taken.len() == count && taken.iter().collect::<BTreeSet<_>>().len() == count
}
