//! What the statuses of Brokers, channels and Triggers have in common.

use heddle_crds::conditions::ConditionManager;
use heddle_crds::duck::{Addressable, DeliveryStatus};
use heddle_crds::eventing::broker;
use heddle_crds::world::Resolved;

/// The one address of something that the ingress serves.
pub(super) fn address(url: String) -> Addressable {
    Addressable {
        name: Some("http".to_owned()),
        url: Some(url),
        ..Addressable::default()
    }
}

/// The condition that says what is wrong with the store of an open log, while something is.
/// Informational.
pub const LOG_REACHABLE: &str = "LogReachable";

/// Marks whether the store of a log that is open is as it should be.
pub(super) fn mark_store(manage: &mut ConditionManager<'_>, trouble: Option<&String>) {
    match trouble {
        Some(reason) => manage.mark_false(LOG_REACHABLE, "StoreInTrouble", reason),
        None => drop(manage.clear(LOG_REACHABLE)),
    }
}

/// Marks the conditions of what Kafka keeps: what is wrong with the configuration, or whether it is open.
pub(super) fn mark_kafka(
    manage: &mut ConditionManager<'_>,
    refused: Option<&str>,
    opened: Option<Result<(), &str>>,
) {
    manage.mark_true(broker::DATA_PLANE_AVAILABLE);
    let config = [broker::CONFIG_PARSED, broker::CONFIG_MAP_UPDATED];
    if let Some(reason) = refused {
        for condition in config {
            manage.mark_false(condition, "ConfigInvalid", reason);
        }
        for condition in [broker::TOPIC_READY, broker::PROBE_SUCCEEDED] {
            manage.mark_unknown(
                condition,
                "ConfigInvalid",
                "The configuration cannot be used.",
            );
        }
        return;
    }
    for condition in config {
        manage.mark_true(condition);
    }
    for condition in [broker::TOPIC_READY, broker::PROBE_SUCCEEDED] {
        match opened {
            Some(Ok(())) => manage.mark_true(condition),
            Some(Err(reason)) => manage.mark_false(condition, "TopicNotOpen", reason),
            None => manage.mark_unknown(condition, "TopicOpening", "The topic is being opened."),
        }
    }
}

/// No policies apply while authentication is off, which Knative says in these words.
pub(super) fn mark_policies(manage: &mut ConditionManager<'_>, condition: &str) {
    manage.mark_true_with_reason(
        condition,
        "OIDCDisabled",
        "Feature \"authentication-oidc\" must be enabled to support Authorization",
    );
}

/// Marks whether the dead letter sink was found, where one is configured, and returns the part of
/// the status that says where it is.
pub fn dead_letter_sink<E: std::fmt::Display>(
    manage: &mut ConditionManager<'_>,
    condition: &str,
    found: Option<Result<Resolved, E>>,
) -> DeliveryStatus {
    match found {
        None => manage.mark_true_with_reason(
            condition,
            "DeadLetterSinkNotConfigured",
            "No dead letter sink is configured.",
        ),
        Some(Ok(resolved)) => {
            manage.mark_true(condition);
            return DeliveryStatus {
                dead_letter_sink_uri: Some(resolved.uri),
                dead_letter_sink_ca_certs: resolved.ca_certs,
                dead_letter_sink_audience: resolved.audience,
            };
        }
        Some(Err(error)) => manage.mark_false(
            condition,
            "Unable to get the dead letter sink's URI",
            &error.to_string(),
        ),
    }
    DeliveryStatus::default()
}
