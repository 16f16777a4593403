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
//! | `heddle_delivery_seconds` | kind, namespace, name | time that attempts at the subscriber took |
//! | `heddle_delivery_dead_letters_total` | kind, namespace, name, to | dead letters, taken by the `sink` or kept in the `log` |
//! | `heddle_delivery_dropped_replies_total` | kind, namespace, name | replies whose TTL was used up |
//! | `heddle_delivery_missing_events_total` | kind, namespace, name, reason | events that were gone from the log before they were looked at |
//! | `heddle_redrive_events_total` | kind, namespace, name, outcome | dead letters that were redriven, by what came of them |
//!
//! `outcome` of an attempt is `delivered`, `failed`, `reply_failed`, `dead_letter_failed` or `keep_failed`;
//! that of a redriven dead letter is `delivered`, `dead_lettered` (the sink took it), `kept` (again) or
//! `expired`. Labels name resources, never events, so their number is bounded. Gauges are computed at scrape time.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::config::ConsumerId;
use crate::stats::ConsumerStats;

/// From a loopback answer to the default time-out.
const BUCKETS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    kind: &'static str,
    namespace: String,
    name: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToLabels {
    kind: &'static str,
    namespace: String,
    name: String,
    to: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    kind: &'static str,
    namespace: String,
    name: String,
    reason: &'static str,
}

/// All counters of the dispatcher.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    attempts: Family<OutcomeLabels, Counter>,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    dead_letters: Family<ToLabels, Counter>,
    dropped_replies: Family<Labels, Counter>,
    missing: Family<ReasonLabels, Counter>,
    redriven: Family<OutcomeLabels, Counter>,
}

/// The counters of one consumer, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    pub(crate) delivered: Counter,
    pub(crate) failed: Counter,
    pub(crate) reply_failed: Counter,
    pub(crate) dead_letter_failed: Counter,
    pub(crate) keep_failed: Counter,
    pub(crate) seconds: Histogram,
    pub(crate) dead_lettered: Counter,
    pub(crate) kept: Counter,
    pub(crate) dropped_replies: Counter,
    pub(crate) expired: Counter,
    pub(crate) damaged: Counter,
    pub(crate) redriven: Redriven,
}

/// What came of redriven dead letters.
#[derive(Clone, Debug)]
pub(crate) struct Redriven {
    pub(crate) delivered: Counter,
    pub(crate) dead_lettered: Counter,
    pub(crate) kept: Counter,
    pub(crate) expired: Counter,
}

const OUTCOMES: [&str; 5] = [
    "delivered",
    "failed",
    "reply_failed",
    "dead_letter_failed",
    "keep_failed",
];

const REDRIVEN: [&str; 4] = ["delivered", "dead_lettered", "kept", "expired"];

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self {
            attempts: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            dead_letters: Family::default(),
            dropped_replies: Family::default(),
            missing: Family::default(),
            redriven: Family::default(),
        };
        registry.register(
            "heddle_delivery_attempts",
            "Delivery attempts, by what came of them",
            this.attempts.clone(),
        );
        registry.register_with_unit(
            "heddle_delivery",
            "Time that attempts at the subscriber took",
            Unit::Seconds,
            this.seconds.clone(),
        );
        registry.register(
            "heddle_delivery_dead_letters",
            "Dead letters, taken by the sink or kept in the consumer's own log",
            this.dead_letters.clone(),
        );
        registry.register(
            "heddle_delivery_dropped_replies",
            "Replies that were dropped because their TTL was used up",
            this.dropped_replies.clone(),
        );
        registry.register(
            "heddle_delivery_missing_events",
            "Events that were gone from the log before the consumer looked at them",
            this.missing.clone(),
        );
        registry.register(
            "heddle_redrive_events",
            "Dead letters that were redriven, by what came of them",
            this.redriven.clone(),
        );
        this
    }

    pub(crate) fn meters(&self, id: &ConsumerId) -> Meters {
        let attempts = |outcome| {
            self.attempts
                .get_or_create_owned(&outcome_labels(id, outcome))
        };
        let to = |to| self.dead_letters.get_or_create_owned(&to_labels(id, to));
        let reason = |reason| self.missing.get_or_create_owned(&reason_labels(id, reason));
        let [
            delivered,
            failed,
            reply_failed,
            dead_letter_failed,
            keep_failed,
        ] = OUTCOMES.map(attempts);
        Meters {
            delivered,
            failed,
            reply_failed,
            dead_letter_failed,
            keep_failed,
            seconds: self.seconds.get_or_create_owned(&labels(id)),
            dead_lettered: to("sink"),
            kept: to("log"),
            dropped_replies: self.dropped_replies.get_or_create_owned(&labels(id)),
            expired: reason("expired"),
            damaged: reason("damaged"),
            redriven: self.redriven(id),
        }
    }

    fn redriven(&self, id: &ConsumerId) -> Redriven {
        let [delivered, dead_lettered, kept, expired] = REDRIVEN.map(|outcome| {
            self.redriven
                .get_or_create_owned(&outcome_labels(id, outcome))
        });
        Redriven {
            delivered,
            dead_lettered,
            kept,
            expired,
        }
    }

    /// Forgets the counters of a consumer that is gone.
    pub(crate) fn remove(&self, id: &ConsumerId) {
        for outcome in OUTCOMES {
            self.attempts.remove(&outcome_labels(id, outcome));
        }
        for outcome in REDRIVEN {
            self.redriven.remove(&outcome_labels(id, outcome));
        }
        for to in ["sink", "log"] {
            self.dead_letters.remove(&to_labels(id, to));
        }
        for reason in ["expired", "damaged"] {
            self.missing.remove(&reason_labels(id, reason));
        }
        self.seconds.remove(&labels(id));
        self.dropped_replies.remove(&labels(id));
    }
}

fn labels(id: &ConsumerId) -> Labels {
    Labels {
        kind: id.kind,
        namespace: id.namespace.to_string(),
        name: id.name.to_string(),
    }
}

fn outcome_labels(id: &ConsumerId, outcome: &'static str) -> OutcomeLabels {
    let Labels {
        kind,
        namespace,
        name,
    } = labels(id);
    OutcomeLabels {
        kind,
        namespace,
        name,
        outcome,
    }
}

fn to_labels(id: &ConsumerId, to: &'static str) -> ToLabels {
    let Labels {
        kind,
        namespace,
        name,
    } = labels(id);
    ToLabels {
        kind,
        namespace,
        name,
        to,
    }
}

fn reason_labels(id: &ConsumerId, reason: &'static str) -> ReasonLabels {
    let Labels {
        kind,
        namespace,
        name,
    } = labels(id);
    ReasonLabels {
        kind,
        namespace,
        name,
        reason,
    }
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
            let kind = ConstGauge::new(0.0f64).metric_type();
            let mut descriptor = encoder.encode_descriptor(name, help, None, kind)?;
            for (id, stats, age) in &all {
                let gauge = ConstGauge::new(read(stats, *age));
                gauge.encode(descriptor.encode_family(&labels(id))?)?;
            }
        }
        for (name, help, read) in COUNTERS {
            let kind = ConstCounter::new(0u64).metric_type();
            let mut descriptor = encoder.encode_descriptor(name, help, None, kind)?;
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
