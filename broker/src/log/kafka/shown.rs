//! Positions of consumers, committed to the cluster for people and tools that look there.
//!
//! Nothing here reads them: they are kept by the dispatcher, durably, and what is committed lags by some
//! seconds. The library commits for one group a client, so that a client is made for each group that has
//! moved, one after the other, and a bounded number in each round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset as Place;

use super::cluster::{Cluster, Consumer};
use super::context::Context;
use super::log::Shared;
use super::read;
use crate::log::Offset;

/// Between two rounds.
const PACE: Duration = Duration::from_secs(5);
/// Groups of one round at the most; the others come in the next ones.
const GROUPS: usize = 16;

/// Where a group stands in each partition, by topic and number.
type Places = BTreeMap<(Arc<str>, i32), Offset>;

/// What is to be committed.
#[derive(Debug, Default)]
pub(super) struct Shown {
    waiting: Mutex<BTreeMap<String, Places>>,
    committed: Mutex<BTreeMap<String, Places>>,
}

impl Shown {
    /// Remembers where a consumer stands, as `<kind>/<namespace>/<name>`.
    pub(super) fn note(&self, consumer: &str, log: &Shared, at: Offset) {
        let group = group(consumer);
        let place = (Arc::from(log.topic.name.as_str()), log.partition);
        let committed = self.committed.lock();
        let known = committed.get(&group).and_then(|places| places.get(&place));
        if known != Some(&at) {
            drop(committed);
            self.waiting
                .lock()
                .entry(group)
                .or_default()
                .insert(place, at);
        }
    }

    fn next(&self) -> Option<(String, Places)> {
        self.waiting.lock().pop_first()
    }
}

/// The name of a consumer's group: for Triggers as Knative names it.
fn group(consumer: &str) -> String {
    format!("knative-{}", consumer.replace('/', "-"))
}

/// Commits what has moved, until it is dropped.
pub(super) async fn run(cluster: &Arc<Cluster>) {
    loop {
        tokio::time::sleep(PACE).await;
        for _ in 0..GROUPS {
            if cluster.reach.check().is_err() {
                break;
            }
            let Some((group, places)) = cluster.shown.next() else {
                break;
            };
            let (name, list, context) = (group.clone(), places.clone(), cluster.context(false));
            let mut config = read::config(cluster.access());
            let committing = cluster.tracker.spawn_blocking(move || {
                let consumer: Consumer =
                    config.set("group.id", name).create_with_context(context)?;
                commit(&consumer, &list)
            });
            match committing.await {
                Ok(Ok(())) => {
                    let mut committed = cluster.shown.committed.lock();
                    committed.entry(group).or_default().extend(places);
                }
                Ok(Err(error)) => tracing::debug!(group, %error, "positions are not shown"),
                Err(error) => tracing::debug!(group, %error, "positions are not shown"),
            }
        }
    }
}

fn commit(
    consumer: &rdkafka::consumer::BaseConsumer<Context>,
    places: &Places,
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for ((topic, partition), at) in places {
        let at = Place::Offset(i64::try_from(*at).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, *partition, at)?;
    }
    // The token comes with the news, before which nothing can be sent.
    consumer.poll(Duration::ZERO);
    consumer.commit(&list, CommitMode::Sync)
}
