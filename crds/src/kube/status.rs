//! The one writer of status.
//!
//! Controllers hand in the status that they want; one task compares it with what is there and
//! patches the difference. Laws: what is equal is not written; a write that lost a race is made
//! again from the newer object; a status for another object of the same name, or one that was
//! made from an older generation than the status that is there, is dropped; only a leader writes;
//! and the queue is bounded, so that controllers wait when the API is slow.

use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::diff::merge_patch;
use super::watch::ObjectKey;

/// Statuses that wait to be written.
const QUEUE: usize = 1_024;
/// How often one status is tried.
const ATTEMPTS: u32 = 5;
/// How long to wait after a failure; doubled each time.
const PAUSE: Duration = Duration::from_millis(50);

/// A status to be written.
#[derive(Clone, Debug)]
pub struct Update {
    /// The kind of the object.
    pub resource: ApiResource,
    /// Where the object is.
    pub key: ObjectKey,
    /// The identity of the object that the status is for.
    pub uid: String,
    /// The whole status.
    pub status: Value,
}

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// It was written.
    Written,
    /// It was there already.
    Unchanged,
    /// A status of a newer generation is there.
    Stale,
    /// The object is gone, or another one has its name.
    Gone,
    /// This process does not lead.
    NotLeader,
    /// It could not be written; the next resync tries again.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: String,
    outcome: Outcome,
}

/// The writer has ended; nothing more is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the status writer has ended because the process shuts down")]
pub struct Ended;

/// Hands statuses to the writer.
#[derive(Clone, Debug)]
pub struct StatusWriter {
    queue: mpsc::Sender<Update>,
    outcomes: Family<Labels, Counter>,
}

impl StatusWriter {
    /// Starts the writer on `tracker`. It ends when `token` is cancelled, after what waits
    /// already; it writes only while `leader` is true.
    pub fn start(
        client: Client,
        leader: watch::Receiver<bool>,
        registry: &mut Registry,
        tracker: &TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let outcomes = Family::<Labels, Counter>::default();
        registry.register(
            "controller_status_writes",
            "Statuses that controllers wanted written, by what became of them",
            outcomes.clone(),
        );
        let (queue, mut waiting) = mpsc::channel::<Update>(QUEUE);
        let counted = outcomes.clone();
        tracker.spawn(async move {
            loop {
                let update = tokio::select! {
                    biased;
                    () = token.cancelled() => {
                        // Closing gives what waits already, and then nothing.
                        waiting.close();
                        waiting.recv().await
                    }
                    update = waiting.recv() => update,
                };
                let Some(update) = update else { return };
                let outcome = if *leader.borrow() {
                    write(&client, &update).await
                } else {
                    Outcome::NotLeader
                };
                let labels = Labels {
                    kind: update.resource.kind,
                    outcome,
                };
                counted.get_or_create(&labels).inc();
            }
        });
        Self { queue, outcomes }
    }

    /// Hands in a status; waits while the queue is full.
    pub async fn write(&self, update: Update) -> Result<(), Ended> {
        self.queue.send(update).await.map_err(|_| Ended)
    }

    /// How many statuses of a kind came to this outcome.
    #[must_use]
    pub fn count(&self, kind: &str, outcome: Outcome) -> u64 {
        let labels = Labels {
            kind: kind.to_owned(),
            outcome,
        };
        self.outcomes
            .get(&labels)
            .map_or(0, |counter| counter.get())
    }
}

/// The API for one object, in its namespace or in none.
pub(crate) fn api_of(
    client: &Client,
    resource: &ApiResource,
    key: &ObjectKey,
) -> Api<DynamicObject> {
    if key.namespace.is_empty() {
        Api::all_with(client.clone(), resource)
    } else {
        Api::namespaced_with(client.clone(), &key.namespace, resource)
    }
}

async fn write(client: &Client, update: &Update) -> Outcome {
    let api = api_of(client, &update.resource, &update.key);
    let mut pause = PAUSE;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match attempt(&api, update).await {
            Ok(outcome) => return outcome,
            Err(kube::Error::Api(status)) if status.code == 404 => return Outcome::Gone,
            // Somebody was faster: look again at once.
            Err(kube::Error::Api(status)) if status.code == 409 => last = Some(status.message),
            Err(error) => {
                last = Some(error.to_string());
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
    tracing::warn!(
        kind = %update.resource.kind,
        namespace = %update.key.namespace,
        name = %update.key.name,
        error = last.unwrap_or_default(),
        "a status could not be written; it is tried again at the next resync"
    );
    Outcome::Failed
}

async fn attempt(api: &Api<DynamicObject>, update: &Update) -> kube::Result<Outcome> {
    let current = api.get(&update.key.name).await?;
    if current.uid().as_deref() != Some(&update.uid) {
        return Ok(Outcome::Gone);
    }
    let empty = json!({});
    let before = current
        .data
        .get("status")
        .filter(|s| s.is_object())
        .unwrap_or(&empty);
    let observed = |status: &Value| status["observedGeneration"].as_i64().unwrap_or(0);
    if observed(before) > observed(&update.status) {
        return Ok(Outcome::Stale);
    }
    let Some(change) = merge_patch(before, &update.status) else {
        return Ok(Outcome::Unchanged);
    };
    let patch = json!({
        "metadata": {"resourceVersion": current.resource_version()},
        "status": change,
    });
    api.patch_status(
        &update.key.name,
        &PatchParams::default(),
        &Patch::Merge(patch),
    )
    .await?;
    Ok(Outcome::Written)
}
