//! What keeps a topic small, and notices what others did to it.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;
use rdkafka::topic_partition_list::Offset as Place;

use super::cluster::PATIENCE;
use super::log::Shared;
use super::read;
use super::topic::{Owner, Topic};
use crate::log::{Offset, ReadLimit};

/// Looks of one round at the most.
const LOOKS: usize = 16;

/// How often to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two looks, at least.
    pub(super) least: Duration,
    /// Between two looks, when nothing happens.
    pub(super) most: Duration,
}

/// Looks after the partitions of a topic until they are closed.
pub(super) async fn run(topic: Arc<Topic>, logs: Vec<Arc<Shared>>, pace: Pace) {
    let Some(first) = logs.first() else { return };
    let closed = first.closed().clone();
    // Others may write to a topic that is not ours, which nobody tells us about.
    let most = if topic.owner == Owner::Others {
        pace.least
    } else {
        pace.most
    };
    let work = async {
        let mut trouble = false;
        loop {
            let looked = look(&topic, &logs).await;
            if let Err(reason) = &looked
                && !trouble
            {
                tracing::warn!(topic = topic.name, %reason, "a topic could not be looked after");
            }
            trouble = looked.is_err();
            tokio::time::sleep(pace.least).await;
            let idle = most.saturating_sub(pace.least);
            let _either = tokio::time::timeout(idle, topic.changed.notified()).await;
        }
    };
    closed.run_until_cancelled(work).await;
    for log in &logs {
        log.readers.close(log).await;
    }
}

/// Learns what is there, and removes what may go.
async fn look(topic: &Topic, logs: &[Arc<Shared>]) -> Result<(), String> {
    for _ in 0..LOOKS {
        let mut old = TopicPartitionList::new();
        for log in logs {
            log.ends().await?;
            if topic.owner != Owner::Log {
                continue;
            }
            let target = target(log).await?;
            if target > log.kept().0.start {
                let place = Place::Offset(i64::try_from(target).unwrap_or(i64::MAX));
                let added = old.add_partition_offset(&topic.name, log.partition, place);
                added.map_err(|error| error.to_string())?;
            }
        }
        if old.count() == 0 {
            return Ok(());
        }
        remove(&old, logs).await?;
    }
    Ok(())
}

/// Deletes records below the offsets in `old`.
async fn remove(old: &TopicPartitionList, logs: &[Arc<Shared>]) -> Result<(), String> {
    let Some(log) = logs.first() else {
        return Ok(());
    };
    let clients = log.cluster.clients().map_err(|reason| reason.to_string())?;
    let options = AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE));
    let removed = clients.admin.delete_records(old, &options).await;
    let removed = removed.map_err(|error| error.to_string())?;
    for element in removed.elements() {
        element.error().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Below which offset events are to be removed now.
async fn target(log: &Shared) -> Result<Offset, String> {
    let (retention, free) = log.retention();
    let (kept, oldest) = log.kept();
    let free = free.min(kept.end);
    let mut target = kept.start;
    if free <= kept.start {
        return Ok(target);
    }
    if let Some(max) = retention.max_bytes {
        let mean = log.mean();
        let bytes = (kept.end - kept.start) * mean;
        target += bytes.saturating_sub(max).div_ceil(mean);
    }
    if let Some(max) = retention.max_age {
        let oldest = match oldest {
            Some(oldest) => Some(oldest),
            None => {
                let one = ReadLimit {
                    records: 1,
                    bytes: 1,
                };
                let read = read::batch(log, kept.start, kept.end, one).await;
                let read = read.map_err(|error| error.to_string())?;
                let accepted = read.records.first().map(|record| record.accepted);
                log.set_oldest(accepted);
                accepted
            }
        };
        let max = SignedDuration::try_from(max).unwrap_or(SignedDuration::MAX);
        let limit = log.now().checked_sub(max);
        if let (Some(oldest), Ok(limit)) = (oldest, limit)
            && oldest < limit
        {
            let old = log.offset_at(limit).await;
            target = target.max(old.map_err(|error| error.to_string())?);
        }
    }
    Ok(target.min(free))
}
