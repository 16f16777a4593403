//! The formats of texts that API servers check. Others are ignored, as there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use regex::RegexSet;

/// A format that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format(usize);

/// The names of formats, without `-`, and the patterns of those that a pattern tells.
const FORMATS: [(&str, Option<&str>); 23] = [
    ("bsonobjectid", Some(r"^[0-9a-fA-F]{24}$")),
    ("uri", None),
    (
        "email",
        Some(r"^[^\s@<>]+@[^\s@<>]+$|^[^<>]*<[^\s@<>]+@[^\s@<>]+>$"),
    ),
    ("hostname", None),
    ("ipv4", None),
    ("ipv6", None),
    ("cidr", None),
    (
        "mac",
        Some(
            r"^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}(([:-][0-9a-fA-F]{2}){2}|([:-][0-9a-fA-F]{2}){14})?|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4})?)$",
        ),
    ),
    (
        "uuid",
        Some(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
    ),
    (
        "uuid3",
        Some(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
    ),
    (
        "uuid4",
        Some(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
    ),
    (
        "uuid5",
        Some(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
    ),
    ("isbn", None),
    ("isbn10", None),
    ("isbn13", None),
    ("creditcard", Some(r"^[0-9][0-9 -]{11,22}$")),
    ("ssn", Some(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$")),
    ("hexcolor", Some(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")),
    (
        "rgbcolor",
        Some(
            r"^rgb\(\s*(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*(,\s*(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*){2}\)$",
        ),
    ),
    ("byte", None),
    ("date", None),
    (
        "duration",
        Some(
            r"^[-+]?(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w|nanoseconds?|nanos?|microseconds?|micros?|milliseconds?|millis?|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|wks?)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*$|^[-+]?0$",
        ),
    ),
    ("datetime", None),
];

/// All patterns, in the order of the formats; those without one never match.
static PATTERNS: LazyLock<Option<RegexSet>> = LazyLock::new(|| {
    let patterns = FORMATS
        .iter()
        .map(|(_, pattern)| pattern.unwrap_or(r"[^\s\S]"));
    RegexSet::new(patterns).ok()
});

impl Format {
    /// The format of that name, if it is checked.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let name = name.replace('-', "");
        FORMATS
            .iter()
            .position(|(known, _)| *known == name)
            .map(Self)
    }

    /// Whether a text is of this format.
    pub(crate) fn fits(self, text: &str) -> bool {
        let Some((name, pattern)) = FORMATS.get(self.0) else {
            return true;
        };
        if pattern.is_some() {
            let patterns = PATTERNS.as_ref();
            return patterns.is_none_or(|all| all.matches(text).matched(self.0));
        }
        match *name {
            "uri" => uri(text),
            "hostname" => hostname(text),
            "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
            "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
            "cidr" => cidr(text),
            "isbn" => isbn10(text) || isbn13(text),
            "isbn10" => isbn10(text),
            "isbn13" => isbn13(text),
            "byte" => BASE64_STANDARD.decode(text).is_ok(),
            "date" => text.len() == 10 && jiff::civil::Date::from_str(text).is_ok(),
            _ => jiff::Timestamp::from_str(text).is_ok(),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FORMATS.get(self.0).map_or("", |(name, _)| *name);
        // The one name that is written with a dash.
        f.write_str(if name == "datetime" {
            "date-time"
        } else {
            name
        })
    }
}

/// An absolute URI or an absolute path.
fn uri(text: &str) -> bool {
    let clean = text.bytes().all(|b| b > b' ' && b != 0x7f);
    let scheme = text.split_once(':').is_some_and(|(scheme, _)| {
        scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
    });
    clean && (scheme || text.starts_with('/'))
}

fn hostname(text: &str) -> bool {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 255 && text.trim_end_matches('.').split('.').all(part)
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn digits(text: &str) -> Vec<u32> {
    let clean = text.chars().filter(|c| !matches!(c, '-' | ' '));
    clean
        .map(|c| {
            c.to_digit(10)
                .unwrap_or(if c == 'X' { 10 } else { u32::MAX })
        })
        .collect()
}

fn isbn10(text: &str) -> bool {
    let digits = digits(text);
    let good = digits.iter().rev().skip(1).all(|d| *d < 10);
    digits.len() == 10
        && good
        && digits.last().is_some_and(|last| *last <= 10)
        && digits
            .iter()
            .zip((1..=10).rev())
            .map(|(d, weight)| d * weight)
            .sum::<u32>()
            .is_multiple_of(11)
}

fn isbn13(text: &str) -> bool {
    let digits = digits(text);
    digits.len() == 13
        && digits.iter().all(|d| *d < 10)
        && digits
            .iter()
            .zip([1, 3].into_iter().cycle())
            .map(|(d, weight)| d * weight)
            .sum::<u32>()
            .is_multiple_of(10)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart() {
        for (format, good, bad) in [
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "1.2.3.4"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("date", "2026-01-31", "2026-02-31"),
            ("date-time", "2026-01-31T12:00:00Z", "2026-01-31"),
            ("duration", "1h30m", "soon"),
            ("byte", "aGk=", "a!"),
            (
                "uuid4",
                "5b1f8a40-7e50-4f1e-9d2d-0a7a3b1c2d3e",
                "5b1f8a40-7e50-1f1e-9d2d-0a7a3b1c2d3e",
            ),
            ("uri", "http://x.y/z", "x y"),
            ("hostname", "a-b.example.com", "-a"),
            ("mac", "00:00:5e:00:53:01", "00:00:5e"),
            ("email", "a@b.c", "a.b"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("hexcolor", "#fff", "#ff"),
            ("rgbcolor", "rgb(255,255,255)", "rgb(256,0,0)"),
        ] {
            let parsed = Format::parse(format).unwrap();
            assert!(parsed.fits(good), "{format} {good}");
            assert!(!parsed.fits(bad), "{format} {bad}");
        }
        assert_eq!(Format::parse("int32"), None);
        assert_eq!(Format::parse("datetime").unwrap().to_string(), "date-time");
    }
}
