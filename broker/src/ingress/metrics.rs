//! What the ingress counts.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `heddle_ingress_requests_total` | `outcome` | requests answered; `accepted`, `handshake` or the kind of refusal |
//! | `heddle_ingress_events_total` | `namespace`, `name`, `kind` | events kept |
//! | `heddle_ingress_request_seconds` | | from the head of a request to its answer, accepted requests |
//! | `heddle_ingress_in_flight_bytes` | | bytes of bodies whose requests are not answered yet |
//! | `heddle_ingress_connections` | | open connections |
//!
//! Outcomes are a fixed set; namespace and name are those of brokers and channels that exist or
//! existed.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::directory::Entry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryLabels {
    namespace: Arc<str>,
    name: Arc<str>,
    kind: &'static str,
}

#[derive(Debug)]
pub(super) struct Metrics {
    requests: Family<OutcomeLabels, Counter>,
    /// The requests whose outcome is `accepted`.
    pub(super) accepted: Counter,
    events: Family<EntryLabels, Counter>,
    seconds: Histogram,
    pub(super) in_flight_bytes: Gauge,
    pub(super) connections: Gauge,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<OutcomeLabels, Counter>::default();
        let accepted = OutcomeLabels {
            outcome: "accepted",
        };
        let accepted = requests.get_or_create(&accepted).clone();
        let metrics = Self {
            accepted,
            requests,
            events: Family::default(),
            // 100 us to 13 s: a group commit takes a fraction of a millisecond.
            seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 18)),
            in_flight_bytes: Gauge::default(),
            connections: Gauge::default(),
        };
        let ingress = registry.sub_registry_with_prefix("heddle_ingress");
        ingress.register(
            "requests",
            "Requests answered, by outcome",
            metrics.requests.clone(),
        );
        ingress.register("events", "Events kept", metrics.events.clone());
        ingress.register_with_unit(
            "request",
            "Time from the head of an accepted request to its answer",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        ingress.register_with_unit(
            "in_flight",
            "Bodies of requests that are not answered yet",
            Unit::Bytes,
            metrics.in_flight_bytes.clone(),
        );
        ingress.register(
            "connections",
            "Open connections",
            metrics.connections.clone(),
        );
        metrics
    }

    /// A request was answered.
    pub(super) fn answered(&self, outcome: &'static str) {
        self.requests
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    /// `count` events were kept, in the given time.
    pub(super) fn kept(&self, entry: &Entry, count: usize, seconds: f64) {
        let counter = entry.kept.get_or_init(|| {
            let labels = EntryLabels {
                namespace: Arc::clone(&entry.namespace),
                name: Arc::clone(&entry.name),
                kind: entry.kind.name(),
            };
            self.events.get_or_create(&labels).clone()
        });
        counter.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        self.seconds.observe(seconds);
    }
}
