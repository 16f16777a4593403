//! What a server says to a message that was sent to a stream.

use std::borrow::Cow;
use std::ops::Range;

use async_nats::jetstream::{Error, ErrorCode as Code};
use serde::Deserialize;

use super::unavailable;
use crate::log::{AppendError, Offset};

/// What became of a message.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// It is kept.
    Stored {
        /// Where in the stream.
        sequence: u64,
        /// It was there already.
        duplicate: bool,
    },
    /// It is not kept.
    Refused(Error),
    /// Nobody takes messages of its subject.
    NoStream,
    /// Something that no server should say. Whether it is kept is not known.
    Nonsense,
}

/// An acknowledgement as the server writes it.
#[derive(Deserialize)]
struct Ack<'a> {
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Error>,
}

/// The status by which a server says that nobody listens.
const NO_RESPONDERS: u16 = 503;

/// Reads an answer, which is to come from `stream`.
pub(super) fn read(status: Option<u16>, payload: &[u8], stream: &str) -> Said {
    if status == Some(NO_RESPONDERS) {
        return Said::NoStream;
    }
    match serde_json::from_slice::<Ack<'_>>(payload) {
        Ok(Ack {
            error: Some(error), ..
        }) => Said::Refused(error),
        // A stream of another name that has our subject does not keep our log.
        Ok(ack) if ack.seq > 0 && ack.stream == stream => Said::Stored {
            sequence: ack.seq,
            duplicate: ack.duplicate,
        },
        _ => Said::Nonsense,
    }
}

/// Events that a stream keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) offsets: Range<Offset>,
    /// They were there already.
    pub(super) duplicate: bool,
}

/// What the server says when it has no room; it recovers by itself.
const NO_ROOM: [Code; 4] = [
    Code::INSUFFICIENT_RESOURCES,
    Code::STORAGE_RESOURCES_EXCEEDED,
    Code::STREAM_STORE_FAILED,
    Code::TEMP_STORAGE_FAILED,
];

/// The most bytes of headers that a stream takes with one message.
const MAX_HEADERS: usize = 64 << 10;

impl Said {
    /// What became of an append of so many events and bytes, whose last message this is the answer to.
    pub(super) fn fate(
        self,
        events: u64,
        bytes: usize,
        max_payload: usize,
    ) -> Result<Kept, AppendError> {
        let too_large = |limit| AppendError::TooLarge { bytes, limit };
        match self {
            Self::Stored {
                sequence,
                duplicate,
            } => Ok(Kept {
                offsets: sequence.saturating_sub(events)..sequence,
                duplicate,
            }),
            Self::Refused(error) => Err(match error.error_code() {
                Code::STREAM_MESSAGE_EXCEEDS_MAXIMUM => too_large(max_payload),
                Code::STREAM_HEADER_EXCEEDS_MAXIMUM => too_large(MAX_HEADERS),
                code if NO_ROOM.contains(&code) => AppendError::DiskFull,
                _ => unavailable(&error),
            }),
            Self::NoStream => Err(unavailable("no NATS server answers for its stream")),
            Self::Nonsense => Err(unavailable(
                "the NATS server gave an answer that makes no sense",
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn fate(status: Option<u16>, payload: &str) -> Result<Kept, AppendError> {
        read(status, payload.as_bytes(), "S").fate(3, 100, 1_000)
    }

    #[test]
    fn an_acknowledgement_gives_the_offsets_of_the_append() {
        let kept = |offsets, duplicate| Ok(Kept { offsets, duplicate });
        let plain = r#"{"stream":"S", "seq":12}"#;
        assert_eq!(fate(None, plain), kept(9..12, false));
        let rich =
            r#"{"stream":"S","domain":"d","seq":12,"duplicate": true,"batch":"b","count":3}"#;
        assert_eq!(fate(None, rich), kept(9..12, true));
    }

    #[test]
    fn a_refusal_is_told_in_our_terms() {
        let refused = |code: u64| {
            let error = format!(r#"{{"code":400,"err_code":{code},"description":"why"}}"#);
            fate(
                None,
                &format!(r#"{{"error":{error},"stream":"S","seq":0}}"#),
            )
            .unwrap_err()
        };
        let too_large = |limit| AppendError::TooLarge { bytes: 100, limit };
        assert_eq!(refused(10054), too_large(1_000));
        assert_eq!(refused(10097), too_large(MAX_HEADERS));
        for code in [10023, 10047, 10077] {
            assert_eq!(refused(code), AppendError::DiskFull);
        }
        let other = refused(10071).to_string();
        assert!(other.contains("why"), "{other}");
    }

    #[test]
    fn what_is_no_acknowledgement_of_the_stream_keeps_nothing() {
        for (status, payload) in [
            (Some(503), ""),
            (None, ""),
            (None, "{}"),
            (None, r#"{"stream":"S"}"#),
            (None, r#"{"stream":"T","seq":1}"#),
            (None, r#"{"stream":"S","seq":1"#),
            (Some(100), "x"),
        ] {
            let fate = fate(status, payload);
            assert!(
                matches!(fate, Err(AppendError::Unavailable { .. })),
                "{fate:?}"
            );
        }
    }
}
