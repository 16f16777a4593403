//! When to try again: which answers are worth it, and how long to wait.
//!
//! Retried are 404, 408, 409, 429, every 5xx, and attempts without an answer (connection errors,
//! time-outs). Every other 1xx, 3xx and 4xx is final: redirects are not followed, and what a
//! subscriber calls a bad request stays one.
//!
//! The first retry waits one delay, with both policies: linear waits are 1, 2, 3, ... delays,
//! exponential ones 1, 2, 4, .... Each is spread by 20 % to either side, so that events that
//! failed together do not come back together, and none is longer than `backoff_max`. A
//! `Retry-After` can only make a wait longer.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::config::{Backoff, DeliveryPolicy};

/// Waits are spread by this share of themselves to either side.
pub const JITTER: f64 = 0.2;

/// Whether an answer with this status may be followed by another attempt.
#[must_use]
pub fn retriable(status: u16) -> bool {
    matches!(status, 404 | 408 | 409 | 429 | 500..=599)
}

/// How long to wait before a retry. `retry` is its number: 1 for the first. `random` is from
/// `0.0..1.0`. `retry_after` is what the answer asked for.
#[must_use]
pub fn wait(
    policy: &DeliveryPolicy,
    retry: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let factor = match policy.backoff {
        Backoff::Linear => retry.max(1),
        Backoff::Exponential => 2u32.saturating_pow(retry.saturating_sub(1)),
    };
    let plain = policy.backoff_delay.saturating_mul(factor);
    let spread = 1.0 + JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0);
    let spread = Duration::try_from_secs_f64(plain.as_secs_f64() * spread).unwrap_or(Duration::MAX);
    let own = spread.min(policy.backoff_max);
    match (retry_after, policy.retry_after_max) {
        (Some(asked), Some(most)) => own.max(asked.min(most)),
        _ => own,
    }
}

/// What a `Retry-After` header asks for, on the answers where it counts (429 and 503).
/// A date in the past asks for no wait. Nonsense is ignored.
#[must_use]
pub fn retry_after(status: u16, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if !matches!(status, 429 | 503) {
        return None;
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}
