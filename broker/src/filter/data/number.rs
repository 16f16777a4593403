//! Numbers of JSON, compared by their text, so that no digit is lost.

use std::cmp::Ordering;

/// A number as it stands in JSON, taken apart.
#[derive(Clone, Copy, Debug)]
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

/// Whether the text is a number as JSON writes it.
pub(super) fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<&serde_json::value::RawValue>(text)
            .is_ok_and(|raw| raw.get().len() == text.len())
}

/// Compares two numbers by their value: `1`, `1.0` and `10e-1` are equal. Exponents past 64 bits
/// count as the largest.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    let (order, negative) = match (a.magnitude(), b.magnitude()) {
        (None, None) => return Ordering::Equal,
        (None, Some(_)) => (Ordering::Less, b.negative),
        (Some(_), None) => (Ordering::Greater, a.negative),
        (Some(_), Some(_)) if a.negative != b.negative => (Ordering::Greater, a.negative),
        (Some(x), Some(y)) => (x.cmp(&y).then_with(|| a.compare_digits(&b)), a.negative),
    };
    if negative { order.reverse() } else { order }
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let largest = if exponent.starts_with('-') {
            i64::MIN / 4
        } else {
            i64::MAX / 4
        };
        let exponent = exponent.parse().unwrap_or(largest);
        Self {
            negative,
            whole,
            fraction,
            exponent: exponent.clamp(i64::MIN / 4, i64::MAX / 4),
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + 'a {
        self.whole.bytes().chain(self.fraction.bytes())
    }

    /// How many digits stand before the point, when the first digit is not 0. None for zero.
    fn magnitude(&self) -> Option<i64> {
        let zeros = self.digits().position(|digit| digit != b'0')?;
        Some(self.exponent + self.whole.len() as i64 - zeros as i64)
    }

    /// Compares the digits from the first that is not 0; those that are not there are 0.
    fn compare_digits(&self, other: &Self) -> Ordering {
        let mut a = self.digits().skip_while(|digit| *digit == b'0');
        let mut b = other.digits().skip_while(|digit| *digit == b'0');
        loop {
            let (x, y) = (a.next(), b.next());
            if x.is_none() && y.is_none() {
                return Ordering::Equal;
            }
            match x.unwrap_or(b'0').cmp(&y.unwrap_or(b'0')) {
                Ordering::Equal => {}
                order => return order,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_count_and_not_how_they_are_written() {
        for same in [
            "0 -0",
            "0 0.000e9",
            "1 1.0",
            "1 10e-1",
            "-20 -2E1",
            "100 1e+2",
        ] {
            let (a, b) = same.split_once(' ').unwrap();
            assert_eq!(compare(a, b), Ordering::Equal, "{same}");
        }
        for ascending in [
            "9007199254740992 9007199254740993",
            "0.1 0.10000000000000000000000001",
            "-1 0",
            "-2 -1",
            "0 1e-400",
            "9.99e99 1e100",
            "-1e100 -9.99e99",
            "-1 1e-9",
            "1e999999999999 1e9999999999999999999999",
        ] {
            let (a, b) = ascending.split_once(' ').unwrap();
            assert_eq!(compare(a, b), Ordering::Less, "{ascending}");
            assert_eq!(compare(b, a), Ordering::Greater, "{ascending}");
        }
        for number in ["0", "-1.5e+3", "12"] {
            assert!(is_number(number), "{number}");
        }
        for other in ["", "01", "1.", ".5", "+1", "1 ", "NaN", "\"1\"", "-", "1e"] {
            assert!(!is_number(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_values(
            (a, x) in (any::<i64>(), -6i32..6),
            (b, y) in (any::<i64>(), -6i32..6),
            near in any::<bool>(),
        ) {
            let b = if near { a / 10i64.pow(3) } else { b };
            let value = |n: i64, e: i32| i128::from(n) * 10i128.pow((e + 6) as u32);
            let text = |n: i64, e: i32| format!("{n}e{e}");
            prop_assert_eq!(compare(&text(a, x), &text(b, y)), value(a, x).cmp(&value(b, y)));
            // The same, written with a point.
            let digits = format!("{:09}", a.unsigned_abs());
            let (whole, fraction) = digits.split_at(digits.len() - 4);
            let sign = if a < 0 { "-" } else { "" };
            let pointed = format!("{sign}{whole}.{fraction}e{}", x + 4);
            prop_assert_eq!(compare(&pointed, &text(a, x)), Ordering::Equal);
        }
    }
}
