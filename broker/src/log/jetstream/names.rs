//! The name of a log as the name of a stream, and back.
//!
//! A stream's name may hold neither white space nor `.`, `*`, `>`, `/` and `\`. Letters, digits and `-`
//! stand for themselves, a slash is `_`, everything else is `=` and two hexadecimal digits a byte. What
//! would be too long is cut and ends in a checksum. The log's own name stands in the stream's metadata,
//! and decides.

use std::collections::HashMap;

/// The longest name of a stream that we make, in bytes.
const MAX: usize = 160;

/// The key of the log's name in the stream's metadata.
pub(super) const LOG: &str = "heddle.dev/log";

/// The key in the stream's metadata of the installation that it belongs to.
pub(super) const OWNER: &str = "heddle.dev/installation";

/// The log that a stream keeps, where it is one of the installation `owner`. Streams that were made
/// before they named their owner begin with its name.
pub(super) fn log_of<'a>(
    stream: &str,
    about: &'a HashMap<String, String>,
    owner: &str,
) -> Option<&'a str> {
    let ours = match about.get(OWNER) {
        Some(named) => named == owner,
        None => (stream.strip_prefix(owner)).is_some_and(|rest| rest.starts_with('_')),
    };
    about.get(LOG).map(String::as_str).filter(|_| ours)
}

/// The name of the stream of a log. `prefix` tells installations apart that share a server.
pub(super) fn stream(prefix: &str, log: &str) -> String {
    let mut name = format!("{prefix}_");
    for byte in log.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            b'/' => name.push('_'),
            _ => name.push_str(&format!("={byte:02X}")),
        }
    }
    if name.len() > MAX {
        let sum = crc32c::crc32c(log.as_bytes());
        let turned: Vec<u8> = log.bytes().rev().collect();
        name.truncate(MAX);
        name.push_str(&format!("~{sum:08x}{:08x}", crc32c::crc32c(&turned)));
    }
    name
}

/// The subject on which the events of a stream are published.
pub(super) fn subject(stream: &str) -> String {
    format!("heddle.{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_where_they_can_be() {
        let name = stream("heddle", "broker/default/my-broker/1b4e28ba-2fa1");
        assert_eq!(name, "heddle_broker_default_my-broker_1b4e28ba-2fa1");
        assert_eq!(subject(&name), format!("heddle.{name}"));
    }

    #[test]
    fn names_hold_nothing_that_a_server_refuses_and_stay_short() {
        for log in ["a.b c*d>e/f\\g", "\u{e4}\u{1f9f5}", &"x".repeat(512)] {
            let name = stream("heddle", log);
            assert!(name.len() <= MAX + 17, "{name}");
            assert!(
                !name.contains([' ', '.', '*', '>', '/', '\\', '\t']),
                "{name}"
            );
        }
        let other = format!("{}y", "x".repeat(511));
        assert_ne!(stream("heddle", &"x".repeat(512)), stream("heddle", &other));
    }
}
