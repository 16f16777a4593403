//! The delivery specification and our annotations, resolved into what a consumer is told.
//!
//! Admission has refused what cannot be read; an object that came another way is delivered by the
//! defaults.

use std::sync::Arc;
use std::time::Duration;

use heddle_crds::annotations::{self, Annotations, DeliveryOrder, HttpVersion};
use heddle_crds::duck::{BackoffPolicy, DeliveryFormat, DeliverySpec};
use heddle_crds::world::Resolved;

use crate::config::{Backoff, DeliveryPolicy, Format, Order, Protocol, Start, Target};

/// How long one attempt may take where nothing is said; what Knative's broker for Kafka grants.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// Deliveries at the same time where nothing is said.
pub const DEFAULT_IN_FLIGHT: u32 = 64;

/// The policy that a specification asks for; without one, that of Knative's Broker.
#[must_use]
pub fn policy(spec: Option<&DeliverySpec>) -> DeliveryPolicy {
    let standard = DeliveryPolicy {
        timeout: DEFAULT_TIMEOUT,
        ..DeliveryPolicy::default()
    };
    let Some(spec) = spec else { return standard };
    DeliveryPolicy {
        retry: spec
            .retry
            .and_then(|retry| u32::try_from(retry).ok())
            .unwrap_or(0),
        backoff: match spec.backoff_policy() {
            Some(BackoffPolicy::Linear) => Backoff::Linear,
            Some(BackoffPolicy::Exponential) | None => Backoff::Exponential,
        },
        backoff_delay: spec.backoff_delay().unwrap_or(standard.backoff_delay),
        backoff_max: standard.backoff_max,
        timeout: spec.timeout().unwrap_or(standard.timeout),
        retry_after_max: spec.retry_after_max().filter(|max| !max.is_zero()),
        format: match spec.format() {
            Some(DeliveryFormat::Json) => Format::Json,
            Some(DeliveryFormat::Binary) | None => Format::Binary,
        },
    }
}

/// The order that annotations ask for.
#[must_use]
pub fn order(annotations: &Annotations) -> Order {
    match annotations::order(annotations).ok().flatten() {
        Some(DeliveryOrder::Ordered) => Order::Ordered,
        Some(DeliveryOrder::Key) => Order::Key,
        Some(DeliveryOrder::Unordered) | None => Order::Unordered,
    }
}

/// The deliveries at the same time that annotations ask for.
#[must_use]
pub fn max_in_flight(annotations: &Annotations) -> u32 {
    annotations::max_in_flight(annotations)
        .ok()
        .flatten()
        .unwrap_or(DEFAULT_IN_FLIGHT)
}

/// The start that annotations ask for.
#[must_use]
pub fn start(annotations: &Annotations) -> Start {
    match annotations::start(annotations).ok().flatten() {
        Some(annotations::Start::Earliest) => Start::Earliest,
        Some(annotations::Start::Time(time)) => Start::Time(time),
        Some(annotations::Start::Offset(offset)) => Start::Offset(offset),
        Some(annotations::Start::Latest) | None => Start::Latest,
    }
}

/// The protocol that annotations ask for.
#[must_use]
pub fn protocol(annotations: &Annotations) -> Protocol {
    match annotations::http(annotations).ok().flatten() {
        Some(HttpVersion::H2c) => Protocol::H2c,
        Some(HttpVersion::Http11) | None => Protocol::Http1,
    }
}

/// A target at a resolved address; or why nothing can be delivered there, for people.
pub fn target(
    resolved: &Resolved,
    protocol: Protocol,
    handlers: &std::collections::BTreeSet<String>,
) -> Result<Target, String> {
    let uri: http::Uri = resolved
        .uri
        .parse()
        .map_err(|error| format!("{:?} is not a URI: {error}", resolved.uri))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some("local") => {
            let handler = uri.host().unwrap_or_default();
            if !handlers.contains(handler) {
                let known: Vec<&str> = handlers.iter().map(String::as_str).collect();
                return Err(format!(
                    "this process has no handler local://{handler}; it has: {}",
                    known.join(", ")
                ));
            }
        }
        _ => {
            return Err(format!(
                "{:?} is neither http, https nor local",
                resolved.uri
            ));
        }
    }
    Ok(Target {
        uri,
        ca_certs: resolved.ca_certs.as_deref().map(Arc::from),
        protocol,
    })
}
