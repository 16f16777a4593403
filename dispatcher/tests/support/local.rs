//! A subscriber in this process that answers by a script, for tests with paused time.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use heddle_dispatcher::subscriber::{
    Answer, Completeness, Delivery, LocalSubscribers, Outcome, Subscriber,
};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

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
