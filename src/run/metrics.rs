//! What the log and the process say of themselves, read when somebody asks.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `heddle_log_fsyncs_total` | | calls of fdatasync for events |
//! | `heddle_log_groups_total`, `heddle_log_group_events_total` | | groups written, and the events in them |
//! | `heddle_log_written_bytes_total` | | bytes written for groups |
//! | `heddle_log_moved_events_total` | | events written again so that their segment could be freed |
//! | `heddle_log_recycled_segments_total` | | segments whose file was used again |
//! | `heddle_log_disk_reads_total` | | reads that went to the disk |
//! | `heddle_log_quarantined_bytes` | | damaged bytes that were set aside since the start |
//! | `heddle_log_pending_bytes`, `heddle_log_tail_bytes` | | bytes that wait to be durable; recent events in memory |
//! | `heddle_log_segments`, `heddle_log_spare_segments` | | segments in use, and prepared ones |
//! | `heddle_log_kept_bytes` | `kind`, `namespace`, `name` | bytes of events kept |
//! | `heddle_log_held_bytes` | same | bytes past retention that a Trigger still needs |
//! | `heddle_log_damaged_events_total` | same | events lost to damage since the start |
//! | `heddle_log_expired_unread_events_total` | same | events that retention removed undelivered (`force`) |
//! | `heddle_log_healthy` | | 1 while appends can succeed, else 0 |

use std::sync::Arc;

use heddle_broker::directory::{Entry, SharedDirectory};
use heddle_broker::log::segment::SegmentStore;
use heddle_broker::log::{Health, LogStats, LogStore};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Registers the figures of the log, and of each broker and channel.
pub(super) fn register(
    store: &Arc<SegmentStore>,
    directory: &SharedDirectory,
    registry: &mut Registry,
) {
    let figures = Figures {
        store: Arc::clone(store),
        directory: Arc::clone(directory),
    };
    registry.register_collector(Box::new(figures));
}

#[derive(Debug)]
struct Figures {
    store: Arc<SegmentStore>,
    directory: SharedDirectory,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.store_figures(&mut encoder)?;
        let directory = self.directory.load();
        let entries: Vec<(&Arc<Entry>, LogStats)> = directory
            .brokers
            .values()
            .chain(directory.channels.values())
            .map(|entry| (entry, entry.logs.stats()))
            .collect();
        type Figure = fn(&LogStats) -> u64;
        let gauges: [(&str, &str, Figure); 2] = [
            ("heddle_log_kept_bytes", "Bytes of events kept", |stats| {
                stats.bytes
            }),
            (
                "heddle_log_held_bytes",
                "Bytes past retention that are still needed",
                |stats| stats.held_bytes,
            ),
        ];
        for (name, help, figure) in gauges {
            let value = |stats: &LogStats| ConstGauge::new(signed(figure(stats)));
            family(&mut encoder, name, help, &entries, value)?;
        }
        let counters: [(&str, &str, Figure); 2] = [
            (
                "heddle_log_damaged_events",
                "Events lost to damage since the start",
                |stats| stats.damaged,
            ),
            (
                "heddle_log_expired_unread_events",
                "Events removed undelivered",
                |stats| stats.expired_unread,
            ),
        ];
        for (name, help, figure) in counters {
            let value = |stats: &LogStats| ConstCounter::new(figure(stats));
            family(&mut encoder, name, help, &entries, value)?;
        }
        Ok(())
    }
}

impl Figures {
    fn store_figures(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.store.store_stats();
        for (name, help, value) in [
            (
                "heddle_log_fsyncs",
                "Calls of fdatasync for events",
                stats.fsyncs,
            ),
            ("heddle_log_groups", "Groups written", stats.groups),
            (
                "heddle_log_group_events",
                "Events in these groups",
                stats.group_events,
            ),
            (
                "heddle_log_written_bytes",
                "Bytes written for groups",
                stats.bytes_written,
            ),
            (
                "heddle_log_moved_events",
                "Events written again to free a segment",
                stats.moved_events,
            ),
            (
                "heddle_log_recycled_segments",
                "Segments used again",
                stats.recycled_segments,
            ),
            (
                "heddle_log_disk_reads",
                "Reads that went to the disk",
                stats.disk_reads,
            ),
        ] {
            one(encoder, name, help, &ConstCounter::new(value))?;
        }
        let healthy = u64::from(self.store.health() == Health::Ready);
        for (name, help, value) in [
            (
                "heddle_log_quarantined_bytes",
                "Damaged bytes set aside",
                stats.quarantined_bytes,
            ),
            (
                "heddle_log_pending_bytes",
                "Bytes that wait to be durable",
                stats.pending_bytes,
            ),
            (
                "heddle_log_tail_bytes",
                "Recent events in memory",
                stats.tail_bytes,
            ),
            (
                "heddle_log_segments",
                "Segments that hold events",
                stats.segments,
            ),
            (
                "heddle_log_spare_segments",
                "Prepared segments",
                stats.spare_segments,
            ),
            ("heddle_log_healthy", "Whether appends can succeed", healthy),
        ] {
            one(encoder, name, help, &ConstGauge::new(signed(value)))?;
        }
        Ok(())
    }
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn family<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    entries: &[(&Arc<Entry>, LogStats)],
    value: impl Fn(&LogStats) -> M,
) -> Result<(), std::fmt::Error> {
    let Some((_, first)) = entries.first() else {
        return Ok(());
    };
    let kind = value(first).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (entry, stats) in entries {
        let labels = [
            ("kind", entry.kind.name()),
            ("namespace", &*entry.namespace),
            ("name", &*entry.name),
        ];
        value(stats).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Gauges are signed in the text format's encoder; figures beyond that are as good as endless.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
