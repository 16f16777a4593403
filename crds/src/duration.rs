//! ISO 8601 durations, as the delivery options write them: `PT0.2S`, `P1D`, `P2DT3M`.
//!
//! A day is 24 hours and a week seven days. Months and years are refused, because how long they
//! are depends on when they start; so are negative durations, which mean nothing here.

use std::time::Duration;

use jiff::Span;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text has another form.
    #[error("expected an ISO 8601 duration like PT0.2S, PT5M or P1DT12H")]
    Form,
    /// Years or months, whose length is not fixed.
    #[error("years and months have no fixed length: expected days, hours, minutes or seconds")]
    Calendar,
    /// Less than nothing.
    #[error("expected a duration that is not negative")]
    Negative,
    /// More than can be counted in nanoseconds of 64 bits, about 292 years.
    #[error("expected a duration of less than 292 years")]
    TooLong,
}

/// Reads an ISO 8601 duration.
///
/// The designators are upper case, as the standard has them; only the smallest part, and only of
/// the time, may have a fraction (up to nine digits, with a point or a comma).
///
/// # Errors
/// A [`DurationError`] that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    // The parser also takes other notations ("2 hours"), which Kubernetes objects do not use.
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with('P') || text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(DurationError::Form);
    }
    let span: Span = text.parse().map_err(|_| DurationError::Form)?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(DurationError::Calendar);
    }
    if span.is_negative() {
        return Err(DurationError::Negative);
    }
    // Spans bound each of their parts far below what overflows 128 bits.
    let seconds = i128::from(span.get_weeks()) * 604_800
        + i128::from(span.get_days()) * 86_400
        + i128::from(span.get_hours()) * 3_600
        + i128::from(span.get_minutes()) * 60
        + i128::from(span.get_seconds());
    let nanos = seconds * 1_000_000_000
        + i128::from(span.get_milliseconds()) * 1_000_000
        + i128::from(span.get_microseconds()) * 1_000
        + i128::from(span.get_nanoseconds());
    i64::try_from(nanos)
        .ok()
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map(Duration::from_nanos)
        .ok_or(DurationError::TooLong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_field_writes_is_read() {
        for (text, millis) in [
            ("PT0.2S", 200),
            ("PT0,2S", 200),
            ("PT0S", 0),
            ("P0D", 0),
            ("PT30S", 30_000),
            ("PT5M30S", 330_000),
            ("PT1.5H", 5_400_000),
            ("PT168H", 604_800_000),
            ("P1D", 86_400_000),
            ("P1W", 604_800_000),
            ("P2DT3M", 172_980_000),
            ("+PT1S", 1_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(
            parse_duration("PT0.000000001S"),
            Ok(Duration::from_nanos(1))
        );
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_the_reason() {
        for (text, error) in [
            ("", DurationError::Form),
            ("P", DurationError::Form),
            ("PT", DurationError::Form),
            ("5s", DurationError::Form),
            ("2 hours", DurationError::Form),
            ("pt5s", DurationError::Form),
            ("PT5s", DurationError::Form),
            ("PT5", DurationError::Form),
            ("P5H", DurationError::Form),
            (" PT5S", DurationError::Form),
            ("PT5S ", DurationError::Form),
            ("P1Y", DurationError::Calendar),
            ("P1M", DurationError::Calendar),
            ("-PT1S", DurationError::Negative),
            ("P4000000D", DurationError::TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[-+]?P?[0-9.,YMWDTHS]{0,24}|.{0,12}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn whole_parts_add_up(d in 0u64..1000, h in 0u64..1000, m in 0u64..1000, s in 0u64..1000) {
            let want = Duration::from_secs(((d * 24 + h) * 60 + m) * 60 + s);
            prop_assert_eq!(parse_duration(&format!("P{d}DT{h}H{m}M{s}S")), Ok(want));
        }
    }
}
