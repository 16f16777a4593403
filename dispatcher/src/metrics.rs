//! What the dispatcher measures.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `heddle_trigger_backlog` | kind, namespace, name | events not delivered or not looked at |
//! | `heddle_trigger_oldest_undelivered_seconds` | kind, namespace, name | age of the oldest event that was taken from the log and not delivered |
//! | `heddle_trigger_in_flight` | kind, namespace, name | attempts under way |
//! | `heddle_trigger_waiting_retries` | kind, namespace, name | events that wait for their next attempt |
//! | `heddle_trigger_dead_letters_kept` | kind, namespace, name | events in the consumer's own dead letter log |
//! | `heddle_trigger_dead_letters_expired` | kind, namespace, name | dead letters removed since the start, too old or too many |
//! | `heddle_filter_seen_events_total` | kind, namespace, name | events that the filter judged |
//! | `heddle_filter_matched_events_total` | kind, namespace, name | events that passed it |
//! | `heddle_filter_errors_total` | kind, namespace, name | events on which its evaluation met an error |
//! | `heddle_delivery_attempts_total` | kind, namespace, name, outcome | attempts, by what came of them |
//! | `heddle_delivery_seconds` | kind, namespace, name | time that attempts at the subscriber took; from the first one on |
//! | `heddle_delivery_dead_letters_total` | kind, namespace, name, to | dead letters, taken by the `sink` or kept in the `log` |
//! | `heddle_delivery_dropped_replies_total` | kind, namespace, name | replies whose TTL was used up |
//! | `heddle_delivery_missing_events_total` | kind, namespace, name, reason | events that were gone from the log before they were looked at |
//! | `heddle_position_groups_total` | | groups of positions that were written, with one sync each |
//! | `heddle_position_failures_total` | | times that the store of positions failed; it is tried again until it works |
//! | `heddle_redrive_events_total` | kind, namespace, name, outcome | dead letters that were redriven, by what came of them |
//!
//! `outcome` of an attempt is `delivered`, `failed`, `reply_failed`, `dead_letter_failed` or `keep_failed`;
//! that of a redriven dead letter is `delivered`, `dead_lettered` (the sink took it), `kept` (again) or
//! `expired`. Labels name resources, never events, so their number is bounded. Gauges are computed at scrape time.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::config::ConsumerId;
use crate::stats::ConsumerStats;

/// From a loopback answer to the default time-out.
const BUCKETS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0,
];

/// The counters of all consumers. Clones share them.
///
/// They are plain numbers that get their names and labels at scrape time: there may be ten thousand
/// consumers, most of which count nothing for long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Mutex<BTreeSet<Row>>>);

/// The counters of one consumer, looked up once.
#[derive(Debug)]
pub(crate) struct Meters {
    /// Whose they are.
    pub(crate) id: ConsumerId,
    pub(crate) delivered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) reply_failed: AtomicU64,
    pub(crate) dead_letter_failed: AtomicU64,
    pub(crate) keep_failed: AtomicU64,
    /// Made at the first attempt.
    seconds: OnceLock<Histogram>,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) dropped_replies: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) redriven: Redriven,
}

/// What came of redriven dead letters.
#[derive(Debug, Default)]
pub(crate) struct Redriven {
    pub(crate) delivered: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) expired: AtomicU64,
}

/// The counters of a consumer where they are found and ordered by whose they are.
#[derive(Debug)]
struct Row(Arc<Meters>);

impl Borrow<ConsumerId> for Row {
    fn borrow(&self) -> &ConsumerId {
        &self.0.id
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Row {}

impl Meters {
    fn new(id: ConsumerId) -> Self {
        Self {
            id,
            delivered: AtomicU64::default(),
            failed: AtomicU64::default(),
            reply_failed: AtomicU64::default(),
            dead_letter_failed: AtomicU64::default(),
            keep_failed: AtomicU64::default(),
            seconds: OnceLock::new(),
            dead_lettered: AtomicU64::default(),
            kept: AtomicU64::default(),
            dropped_replies: AtomicU64::default(),
            expired: AtomicU64::default(),
            damaged: AtomicU64::default(),
            redriven: Redriven::default(),
        }
    }

    /// Notes how long an attempt at the subscriber took.
    pub(crate) fn observe(&self, took: Duration) {
        let seconds = self.seconds.get_or_init(|| Histogram::new(BUCKETS));
        seconds.observe(took.as_secs_f64());
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register_collector(Box::new(this.clone()));
        this
    }

    /// The counters of a consumer, which go on where it is started again.
    pub(crate) fn meters(&self, id: &ConsumerId) -> Arc<Meters> {
        let mut all = self.0.lock();
        if let Some(Row(meters)) = all.get(id) {
            return Arc::clone(meters);
        }
        let meters = Arc::new(Meters::new(id.clone()));
        all.insert(Row(Arc::clone(&meters)));
        meters
    }

    /// Forgets the counters of a consumer that is gone.
    pub(crate) fn remove(&self, id: &ConsumerId) {
        self.0.lock().remove(id);
    }
}

/// A counter of several: the value of the label that tells them apart, and where it is.
type Counter = (&'static str, fn(&Meters) -> &AtomicU64);

/// A family of counters: its name, its help, the label that tells its counters apart (none where
/// there is one), and the counters.
type Family = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [Counter],
);

const FAMILIES: [Family; 5] = [
    (
        "heddle_delivery_attempts",
        "Delivery attempts, by what came of them",
        Some("outcome"),
        &[
            ("delivered", |m| &m.delivered),
            ("failed", |m| &m.failed),
            ("reply_failed", |m| &m.reply_failed),
            ("dead_letter_failed", |m| &m.dead_letter_failed),
            ("keep_failed", |m| &m.keep_failed),
        ],
    ),
    (
        "heddle_delivery_dead_letters",
        "Dead letters, taken by the sink or kept in the consumer's own log",
        Some("to"),
        &[("sink", |m| &m.dead_lettered), ("log", |m| &m.kept)],
    ),
    (
        "heddle_delivery_dropped_replies",
        "Replies that were dropped because their TTL was used up",
        None,
        &[("", |m| &m.dropped_replies)],
    ),
    (
        "heddle_delivery_missing_events",
        "Events that were gone from the log before the consumer looked at them",
        Some("reason"),
        &[("expired", |m| &m.expired), ("damaged", |m| &m.damaged)],
    ),
    (
        "heddle_redrive_events",
        "Dead letters that were redriven, by what came of them",
        Some("outcome"),
        &[
            ("delivered", |m| &m.redriven.delivered),
            ("dead_lettered", |m| &m.redriven.dead_lettered),
            ("kept", |m| &m.redriven.kept),
            ("expired", |m| &m.redriven.expired),
        ],
    ),
];

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all: Vec<Arc<Meters>> = {
            let all = self.0.lock();
            all.iter().map(|Row(meters)| Arc::clone(meters)).collect()
        };
        for (name, help, label, counters) in FAMILIES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for meters in &all {
                for (value, counter) in counters {
                    let count = ConstCounter::new(counter(meters).load(Ordering::Relaxed));
                    let mut labels = labels(&meters.id).to_vec();
                    labels.extend(label.map(|label| (label, *value)));
                    count.encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let mut family = encoder.encode_descriptor(
            "heddle_delivery",
            "Time that attempts at the subscriber took",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for meters in &all {
            if let Some(seconds) = meters.seconds.get() {
                seconds.encode(family.encode_family(&labels(&meters.id))?)?;
            }
        }
        Ok(())
    }
}

fn labels(id: &ConsumerId) -> [(&'static str, &str); 3] {
    [
        ("kind", id.kind),
        ("namespace", &*id.namespace),
        ("name", &*id.name),
    ]
}

/// Where gauges come from.
pub(crate) trait Observed: fmt::Debug + Send + Sync + 'static {
    /// The statistics of all consumers, each with the age of its oldest undelivered event in
    /// seconds.
    fn observe(&self) -> Vec<(ConsumerId, ConsumerStats, f64)>;
}

/// Computes the gauges, and the counters of filters, at scrape time.
#[derive(Debug)]
pub(crate) struct Gauges<T>(pub(crate) Weak<T>);

type Read = fn(&ConsumerStats, f64) -> f64;
type Count = fn(&ConsumerStats) -> u64;

const GAUGES: [(&str, &str, Read); 6] = [
    (
        "heddle_trigger_backlog",
        "Events not delivered or not looked at",
        |s, _| s.backlog as f64,
    ),
    (
        "heddle_trigger_oldest_undelivered_seconds",
        "Age of the oldest event that was taken from the log and not delivered",
        |_, age| age,
    ),
    ("heddle_trigger_in_flight", "Attempts under way", |s, _| {
        s.in_flight as f64
    }),
    (
        "heddle_trigger_waiting_retries",
        "Events that wait for their next attempt",
        |s, _| s.waiting_retry as f64,
    ),
    (
        "heddle_trigger_dead_letters_kept",
        "Events in the consumer's own dead letter log",
        |s, _| s.dead_letters_kept as f64,
    ),
    (
        "heddle_trigger_dead_letters_expired",
        "Dead letters removed since the start, too old or too many",
        |s, _| s.dead_letters_expired as f64,
    ),
];

const COUNTERS: [(&str, &str, Count); 3] = [
    (
        "heddle_filter_seen_events",
        "Events that the filter judged",
        |s| s.seen,
    ),
    (
        "heddle_filter_matched_events",
        "Events that passed the filter",
        |s| s.matched,
    ),
    (
        "heddle_filter_errors",
        "Events on which the evaluation of the filter met an error",
        |s| s.filter_errors,
    ),
];

impl<T: Observed> Collector for Gauges<T> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(observed) = self.0.upgrade() else {
            return Ok(());
        };
        let all = observed.observe();
        for (name, help, read) in GAUGES {
            let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, stats, age) in &all {
                let gauge = ConstGauge::new(read(stats, *age));
                gauge.encode(descriptor.encode_family(&labels(id))?)?;
            }
        }
        for (name, help, read) in COUNTERS {
            let mut descriptor =
                encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (id, stats, _) in &all {
                let counter = ConstCounter::new(read(stats));
                counter.encode(descriptor.encode_family(&labels(id))?)?;
            }
        }
        Ok(())
    }
}

/// Registers the gauges of `observed`.
pub(crate) fn observe<T: Observed>(observed: &Arc<T>, registry: &mut Registry) {
    registry.register_collector(Box::new(Gauges(Arc::downgrade(observed))));
}
