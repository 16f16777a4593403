//! What a consumer is told: everything that the control plane has resolved for one Trigger or
//! Subscription.
//!
//! There is no Kubernetes here: addresses are resolved, durations are parsed, filters are
//! compiled. Two equal configurations behave the same, so that a change is a comparison.

use std::sync::Arc;
use std::time::Duration;

use heddle_broker::filter::Filter;
use heddle_broker::log::partitions::name_of;
use heddle_broker::log::{Log, Offset, Partitions};
use http::Uri;
use jiff::Timestamp;

/// Whose deliveries these are. Positions, retries and dead letters belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId {
    /// The kind of the resource, lower case: `trigger` or `subscription`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl std::fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// Where events come from: an open log under the name that its store knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The log's name. Consumers with the same name share one reader.
    pub name: Arc<str>,
    /// The log, or the partitions of one, which are read side by side.
    pub logs: Partitions,
}

impl Source {
    /// The partitions, each under a name of its own.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Arc<str>, &Arc<dyn Log>)> {
        let logs = self.logs.all().iter().enumerate();
        logs.map(|(number, log)| (name_of(&self.name, number).into(), log))
    }
}

/// Somewhere that events are delivered to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// `http`, `https`, or `local` for a handler in this process (`local://<handler>`).
    pub uri: Uri,
    /// Certificates to trust besides the system's, in PEM.
    pub ca_certs: Option<Arc<str>>,
    /// Which protocol to speak over plain TCP.
    pub protocol: Protocol,
}

/// The protocol of plain-text deliveries. With TLS it is negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 over pooled connections.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

/// Where a subscriber's reply goes.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyTo {
    /// Back into the broker's log, with its TTL counted down.
    Log(Partitions),
    /// To an address.
    Target(Arc<Target>),
}

/// The content mode of deliveries (`delivery.format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Attributes in headers, data in the body.
    #[default]
    Binary,
    /// Everything in one JSON document.
    Json,
}

/// How waits between attempts grow (`delivery.backoffPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backoff {
    /// The delay times the number of the retry.
    Linear,
    /// The delay, doubled with each retry.
    #[default]
    Exponential,
}

/// The delivery specification, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryPolicy {
    /// Retries after the first attempt.
    pub retry: u32,
    /// How waits grow.
    pub backoff: Backoff,
    /// The first wait.
    pub backoff_delay: Duration,
    /// The longest wait between two attempts, whatever the growth.
    pub backoff_max: Duration,
    /// The time that one attempt may take.
    pub timeout: Duration,
    /// Honour `Retry-After` on 429 and 503, up to this long. `None` ignores it.
    pub retry_after_max: Option<Duration>,
    /// Content mode.
    pub format: Format,
}

impl Default for DeliveryPolicy {
    /// Knative's defaults for a Broker: ten retries, doubling from 0.2 s; one attempt may take 60 s,
    /// one wait at most five minutes.
    fn default() -> Self {
        Self {
            retry: 10,
            backoff: Backoff::Exponential,
            backoff_delay: Duration::from_millis(200),
            backoff_max: Duration::from_secs(300),
            timeout: Duration::from_secs(60),
            retry_after_max: None,
            format: Format::Binary,
        }
    }
}

/// In which order events are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As fast as the window allows.
    #[default]
    Unordered,
    /// One after the other, in log order; a retry holds up what follows. Each partition is a line of
    /// its own.
    Ordered,
    /// In log order among events with the same key (`partitionkey`, else `subject`); events
    /// without a key are unordered.
    Key,
}

/// Where a consumer without a stored position starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first event after the consumer came to be.
    #[default]
    Latest,
    /// At the oldest event that is kept.
    Earliest,
    /// At the first event that was accepted then or later.
    Time(Timestamp),
    /// At this offset, or the oldest that is kept after it.
    Offset(Offset),
}

/// One consumer of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerConfig {
    /// Whose deliveries these are.
    pub id: ConsumerId,
    /// The resource's uid: a new one means a new resource under an old name, which starts afresh
    /// unless `keep_position` says that it resumes.
    pub uid: Arc<str>,
    /// Where events come from.
    pub source: Source,
    /// Which events are wanted.
    pub filter: Filter,
    /// Who gets them. While this is `None`, because its address is not known, events wait.
    pub subscriber: Option<Arc<Target>>,
    /// Where replies go; replies are ignored where this is `None`.
    pub reply: Option<ReplyTo>,
    /// Who gets the events that the subscriber did not take. Without one they are kept in the
    /// consumer's own dead letter log.
    pub dead_letter: Option<Arc<Target>>,
    /// Retries and the rest.
    pub policy: DeliveryPolicy,
    /// Order of deliveries.
    pub order: Order,
    /// The most deliveries at the same time, over all partitions.
    pub max_in_flight: u32,
    /// Where to start without a stored position: in each partition.
    pub start: Start,
    /// How long the position outlives a deleted resource, for one of the same name to resume.
    pub keep_position: Option<Duration>,
}
