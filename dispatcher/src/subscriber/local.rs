//! Handlers in this process, addressed as `local://<name>`.
//!
//! They are subscribers like any other: the same window, retries, time-outs, dead letters and
//! replies. A handler that panics has failed this attempt, and nothing else.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;

use super::{Delivery, Outcome, Problem, Subscriber};

/// The handlers that `local://` addresses can name.
#[derive(Clone, Debug, Default)]
pub struct LocalSubscribers(HashMap<String, Arc<dyn Subscriber>>);

impl LocalSubscribers {
    /// Makes a handler known under a name, in the place of one that has the name already.
    pub fn insert(&mut self, name: impl Into<String>, handler: Arc<dyn Subscriber>) {
        self.0.insert(name.into(), handler);
    }

    /// The handler of that name, guarded against its panics and time-outs.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Subscriber>> {
        let handler = Arc::clone(self.0.get(name)?);
        Some(Arc::new(Guarded(handler)))
    }
}

#[derive(Debug)]
struct Guarded(Arc<dyn Subscriber>);

#[async_trait]
impl Subscriber for Guarded {
    async fn deliver(&self, delivery: Delivery) -> Outcome {
        let timeout = delivery.timeout;
        let attempt = AssertUnwindSafe(self.0.deliver(delivery)).catch_unwind();
        match tokio::time::timeout(timeout, attempt).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Problem(Problem::Connection("the handler panicked".to_owned())),
            Err(_) => Outcome::Problem(Problem::Timeout(timeout)),
        }
    }
}

/// Stands in for a subscriber that cannot be: each attempt fails with the reason, so that the
/// events are retried, and kept, as for a subscriber that is down.
#[derive(Debug)]
pub(crate) struct Unavailable(pub(crate) String);

#[async_trait]
impl Subscriber for Unavailable {
    async fn deliver(&self, _: Delivery) -> Outcome {
        Outcome::Problem(Problem::Connection(self.0.clone()))
    }
}
