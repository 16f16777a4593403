//! The annotations and labels that mean something, and what their values mean.
//!
//! Admission refuses a value that its reader here refuses, so a controller that reads an object
//! from the API may treat an error as "not set". An annotation under one of our own prefixes that
//! nobody reads is refused too: it is a slip of the pen that would be found too late otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::duration::parse_duration;

/// The class of a Broker: who serves it.
pub const BROKER_CLASS: &str = "eventing.knative.dev/broker.class";
/// Label of a Trigger, and of what belongs to a Broker: the Broker's name.
pub const BROKER_LABEL: &str = "eventing.knative.dev/broker";
/// A Trigger's dependency: a JSON object reference that must be ready first.
pub const DEPENDENCY: &str = "knative.dev/dependency";
/// Whether the `default` Broker is made for a Trigger: `enabled` or `disabled`.
pub const INJECTION: &str = "eventing.knative.dev/injection";
/// How widely a data plane is shared: `cluster`, `namespace` or `resource`.
pub const SCOPE: &str = "eventing.knative.dev/scope";
/// The version of the subscribable shape that a channel implements.
pub const SUBSCRIBABLE: &str = "messaging.knative.dev/subscribable";
/// The value of [`SUBSCRIBABLE`].
pub const SUBSCRIBABLE_VERSION: &str = "v1";
/// The order of deliveries, as Knative's broker for Kafka names it: `ordered` or `unordered`.
pub const KAFKA_ORDER: &str = "kafka.eventing.knative.dev/delivery.order";

/// Where `kubectl apply` without `--server-side` keeps what it applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The prefix of the annotations about delivery.
pub const DELIVERY_PREFIX: &str = "delivery.heddle.dev/";
/// The order of deliveries: `unordered`, `ordered` or `key`.
pub const ORDER: &str = "delivery.heddle.dev/order";
/// How many deliveries may be under way at once, 1 to [`MAX_IN_FLIGHT_LIMIT`].
pub const MAX_IN_FLIGHT: &str = "delivery.heddle.dev/max-in-flight";
/// Where a new Trigger starts to read: `latest`, `earliest`, an RFC 3339 time, or an offset.
pub const START: &str = "delivery.heddle.dev/start";
/// The HTTP version that is spoken to the subscriber: `1.1` or `h2c`.
pub const HTTP: &str = "delivery.heddle.dev/http";
/// How long the position outlives a deleted Trigger, as an ISO 8601 duration.
pub const KEEP_POSITION: &str = "delivery.heddle.dev/keep-position";

/// The prefix of the annotations about the log.
pub const LOG_PREFIX: &str = "log.heddle.dev/";
/// How large a Broker's log may grow, in bytes, like `1073741824` or `1Gi`.
pub const RETENTION_BYTES: &str = "log.heddle.dev/retention-bytes";
/// How long events are kept, as an ISO 8601 duration.
pub const RETENTION_AGE: &str = "log.heddle.dev/retention-age";
/// Whether retention may remove what a Trigger still has to deliver: `protect` or `force`.
pub const RETENTION_POLICY: &str = "log.heddle.dev/retention-policy";

/// Which store keeps a Broker's events, whatever its class says: `segment`, `memory`, `jetstream` or
/// `kafka`. A change moves the Broker.
pub const STORE: &str = "log.heddle.dev/store";

/// Which ConfigMap says where that store is, as `name` in the Broker's namespace or `namespace/name`; without
/// it, the one that the store's class of Brokers uses.
pub const STORE_CONFIG: &str = "log.heddle.dev/store-config";

/// The most deliveries that one Trigger may have under way.
pub const MAX_IN_FLIGHT_LIMIT: u32 = 10_000;

/// Every annotation under our own prefixes.
pub const OURS: [&str; 10] = [
    HTTP,
    KEEP_POSITION,
    MAX_IN_FLIGHT,
    ORDER,
    START,
    RETENTION_AGE,
    RETENTION_BYTES,
    RETENTION_POLICY,
    STORE,
    STORE_CONFIG,
];

/// The annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// Why the value of an annotation cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected}")]
pub struct AnnotationError {
    /// The annotation.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What was expected, as a phrase.
    pub expected: String,
}

/// In what order events are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeliveryOrder {
    /// As they come, many at once.
    #[default]
    Unordered,
    /// In log order, one at a time.
    Ordered,
    /// In log order within a key, different keys at once.
    Key,
}

/// Where a new Trigger starts to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// With what comes after it.
    #[default]
    Latest,
    /// With the oldest event that is kept.
    Earliest,
    /// With the first event that arrived at or after this time.
    Time(Timestamp),
    /// With the event at this offset.
    Offset(u64),
}

/// The version of HTTP that is spoken to a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2 without TLS, with prior knowledge.
    H2c,
}

/// What retention does with events that a Trigger still has to deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetentionPolicy {
    /// Keeps them.
    #[default]
    Protect,
    /// Removes them.
    Force,
}

type Read<T> = Result<Option<T>, AnnotationError>;

fn read<T>(
    annotations: &Annotations,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Read<T> {
    let Some(value) = annotations.get(name) else {
        return Ok(None);
    };
    parse(value).map(Some).map_err(|expected| AnnotationError {
        name,
        value: value.clone(),
        expected,
    })
}

fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, choice)| *choice)
        .ok_or_else(|| {
            let names: Vec<_> = choices
                .iter()
                .map(|(name, _)| format!("\"{name}\""))
                .collect();
            format!("expected one of {}", names.join(", "))
        })
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("expected a duration over zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// The order of deliveries. Ours counts before that of Knative's broker for Kafka.
///
/// # Errors
/// The value is not one of the names.
pub fn order(annotations: &Annotations) -> Read<DeliveryOrder> {
    let (unordered, ordered) = (DeliveryOrder::Unordered, DeliveryOrder::Ordered);
    let ours = read(annotations, ORDER, |text| {
        one_of(
            text,
            &[
                ("unordered", unordered),
                ("ordered", ordered),
                ("key", DeliveryOrder::Key),
            ],
        )
    })?;
    let kafka = read(annotations, KAFKA_ORDER, |text| {
        one_of(text, &[("unordered", unordered), ("ordered", ordered)])
    })?;
    Ok(ours.or(kafka))
}

/// How many deliveries may be under way at once.
///
/// # Errors
/// The value is not a number from 1 to [`MAX_IN_FLIGHT_LIMIT`].
pub fn max_in_flight(annotations: &Annotations) -> Read<u32> {
    read(annotations, MAX_IN_FLIGHT, |text| {
        text.parse()
            .ok()
            .filter(|count| (1..=MAX_IN_FLIGHT_LIMIT).contains(count))
            .ok_or_else(|| format!("expected a number from 1 to {MAX_IN_FLIGHT_LIMIT}"))
    })
}

/// Where a new Trigger starts to read.
///
/// # Errors
/// The value has none of the four forms.
pub fn start(annotations: &Annotations) -> Read<Start> {
    read(annotations, START, |text| match text {
        "latest" => Ok(Start::Latest),
        "earliest" => Ok(Start::Earliest),
        _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text
            .parse()
            .map(Start::Offset)
            .map_err(|_| format!("expected an offset of at most {}", u64::MAX)),
        _ => text.parse().map(Start::Time).map_err(|_| {
            "expected \"latest\", \"earliest\", a time like 2026-01-31T12:00:00Z, or an offset"
                .to_owned()
        }),
    })
}

/// The version of HTTP that is spoken to the subscriber.
///
/// # Errors
/// The value is not one of the names.
pub fn http(annotations: &Annotations) -> Read<HttpVersion> {
    read(annotations, HTTP, |text| {
        one_of(
            text,
            &[("1.1", HttpVersion::Http11), ("h2c", HttpVersion::H2c)],
        )
    })
}

/// How long the position outlives a deleted Trigger.
///
/// # Errors
/// The value is not an ISO 8601 duration.
pub fn keep_position(annotations: &Annotations) -> Read<Duration> {
    read(annotations, KEEP_POSITION, |text| {
        parse_duration(text).map_err(|e| e.to_string())
    })
}

/// How large the log may grow, in bytes.
///
/// # Errors
/// The value is not a number over zero with at most a unit behind it.
pub fn retention_bytes(annotations: &Annotations) -> Read<u64> {
    read(annotations, RETENTION_BYTES, |text| {
        bytes(text)
            .filter(|count| *count > 0)
            .ok_or_else(|| "expected a number of bytes over zero like 1073741824 or 1Gi".to_owned())
    })
}

/// How long events are kept.
///
/// # Errors
/// The value is not an ISO 8601 duration over zero.
pub fn retention_age(annotations: &Annotations) -> Read<Duration> {
    read(annotations, RETENTION_AGE, positive_duration)
}

/// Whether retention may remove what a Trigger still has to deliver.
///
/// # Errors
/// The value is not one of the names.
pub fn retention_policy(annotations: &Annotations) -> Read<RetentionPolicy> {
    read(annotations, RETENTION_POLICY, |text| {
        one_of(
            text,
            &[
                ("protect", RetentionPolicy::Protect),
                ("force", RetentionPolicy::Force),
            ],
        )
    })
}

/// Which store keeps a Broker's events.
///
/// # Errors
/// The value is not one of the names.
pub fn store(annotations: &Annotations) -> Read<&'static str> {
    read(annotations, STORE, |text| {
        let known = ["segment", "memory", "jetstream", "kafka"];
        one_of(text, &known.map(|name| (name, name)))
    })
}

/// Which ConfigMap says where the store is: `name` or `namespace/name`.
///
/// # Errors
/// The value does not name one.
pub fn store_config(annotations: &Annotations) -> Read<String> {
    read(annotations, STORE_CONFIG, |text| {
        let mut names = text.split('/');
        let plain = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        let named = names.by_ref().take(2).all(plain) && names.next().is_none();
        named
            .then(|| text.to_owned())
            .ok_or_else(|| "expected NAME or NAMESPACE/NAME of a ConfigMap".to_owned())
    })
}

/// A whole number of bytes with a unit of Kubernetes quantities.
fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1));
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Everything that is wrong with the values of annotations that are read here.
pub fn check(annotations: &Annotations) -> Vec<AnnotationError> {
    let mut errors: Vec<_> = [
        order(annotations).err(),
        max_in_flight(annotations).err(),
        start(annotations).err(),
        http(annotations).err(),
        keep_position(annotations).err(),
        retention_bytes(annotations).err(),
        retention_age(annotations).err(),
        retention_policy(annotations).err(),
        store(annotations).err(),
        store_config(annotations).err(),
    ]
    .into_iter()
    .flatten()
    .collect();
    errors.sort_by_key(|error| error.name);
    errors
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn with(name: &str, value: &str) -> Annotations {
        Annotations::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn values_are_read() {
        assert_eq!(order(&Annotations::new()), Ok(None));
        assert_eq!(order(&with(ORDER, "key")), Ok(Some(DeliveryOrder::Key)));
        assert_eq!(
            order(&with(KAFKA_ORDER, "ordered")),
            Ok(Some(DeliveryOrder::Ordered))
        );
        assert_eq!(
            max_in_flight(&with(MAX_IN_FLIGHT, "10000")),
            Ok(Some(10_000))
        );
        assert_eq!(start(&with(START, "latest")), Ok(Some(Start::Latest)));
        assert_eq!(start(&with(START, "earliest")), Ok(Some(Start::Earliest)));
        assert_eq!(start(&with(START, "42")), Ok(Some(Start::Offset(42))));
        assert_eq!(
            start(&with(START, "2026-01-31T12:00:00+02:00")),
            Ok(Some(Start::Time("2026-01-31T10:00:00Z".parse().unwrap())))
        );
        assert_eq!(http(&with(HTTP, "h2c")), Ok(Some(HttpVersion::H2c)));
        assert_eq!(
            keep_position(&with(KEEP_POSITION, "PT1H")),
            Ok(Some(Duration::from_secs(3600)))
        );
        assert_eq!(
            retention_bytes(&with(RETENTION_BYTES, "2Ki")),
            Ok(Some(2048))
        );
        assert_eq!(
            retention_bytes(&with(RETENTION_BYTES, "3M")),
            Ok(Some(3_000_000))
        );
        assert_eq!(retention_bytes(&with(RETENTION_BYTES, "7")), Ok(Some(7)));
        assert_eq!(
            retention_policy(&with(RETENTION_POLICY, "force")),
            Ok(Some(RetentionPolicy::Force))
        );
    }

    #[test]
    fn our_order_counts_before_that_of_kafka() {
        let mut both = with(ORDER, "key");
        both.insert(KAFKA_ORDER.to_owned(), "ordered".to_owned());
        assert_eq!(order(&both), Ok(Some(DeliveryOrder::Key)));
    }

    #[test]
    fn bad_values_say_what_was_expected() {
        for (name, value) in [
            (ORDER, "sorted"),
            (KAFKA_ORDER, "key"),
            (MAX_IN_FLIGHT, "0"),
            (MAX_IN_FLIGHT, "10001"),
            (MAX_IN_FLIGHT, "many"),
            (START, "yesterday"),
            (START, ""),
            (START, "99999999999999999999"),
            (HTTP, "2"),
            (KEEP_POSITION, "1h"),
            (RETENTION_BYTES, "-1"),
            (RETENTION_BYTES, "0"),
            (RETENTION_BYTES, "Gi"),
            (RETENTION_BYTES, "99999999999Ti"),
            (RETENTION_AGE, "PT0S"),
            (RETENTION_POLICY, "maybe"),
            (STORE, "tape"),
            (STORE_CONFIG, "a/b/c"),
        ] {
            let errors = check(&with(name, value));
            assert_eq!(errors.len(), 1, "{name}={value}");
            assert_eq!((errors[0].name, errors[0].value.as_str()), (name, value));
            assert!(errors[0].expected.starts_with("expected"), "{}", errors[0]);
        }
    }

    #[test]
    fn every_annotation_of_ours_has_one_of_our_prefixes() {
        for name in OURS {
            assert!(
                name.starts_with(DELIVERY_PREFIX) || name.starts_with(LOG_PREFIX),
                "{name}"
            );
        }
    }
}
