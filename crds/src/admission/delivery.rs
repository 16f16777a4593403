//! Rules of the delivery options, wherever they stand.

use super::{Errors, destination, join};
use crate::duck::{BackoffPolicy, DeliveryFormat, DeliverySpec};
use crate::duration::parse_duration;

/// Gives the dead letter sink's reference the namespace of the object.
pub(crate) fn fill_in(delivery: Option<&mut DeliverySpec>, namespace: &str) {
    destination::fill_in(
        delivery.and_then(|d| d.dead_letter_sink.as_mut()),
        namespace,
    );
}

/// Reports what is wrong with delivery options at `path`.
pub(crate) fn check(delivery: Option<&DeliverySpec>, path: &str, errors: &mut Errors) {
    let Some(delivery) = delivery else { return };
    if let Some(sink) = &delivery.dead_letter_sink {
        destination::check(sink, &join(path, "deadLetterSink"), errors);
    }
    if let Some(retry) = delivery.retry.filter(|retry| *retry < 0) {
        errors.invalid(
            &join(path, "retry"),
            retry,
            "expected a number of retries, 0 or more",
        );
    }
    if let Some(policy) = &delivery.backoff_policy
        && BackoffPolicy::from_name(policy).is_none()
    {
        errors.unsupported(&join(path, "backoffPolicy"), policy, BackoffPolicy::NAMES);
    }
    if let Some(format) = &delivery.format
        && DeliveryFormat::from_name(format).is_none()
    {
        errors.unsupported(&join(path, "format"), format, DeliveryFormat::NAMES);
    }
    for (field, text, zero_allowed) in [
        ("timeout", &delivery.timeout, false),
        ("backoffDelay", &delivery.backoff_delay, true),
        ("retryAfterMax", &delivery.retry_after_max, true),
    ] {
        let Some(text) = text else { continue };
        match parse_duration(text) {
            Err(error) => errors.invalid(&join(path, field), text, &error.to_string()),
            Ok(duration) if duration.is_zero() && !zero_allowed => {
                errors.invalid(&join(path, field), text, "expected a duration over zero");
            }
            Ok(_) => {}
        }
    }
}
