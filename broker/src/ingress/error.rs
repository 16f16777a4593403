//! The answer to every refusal, in one table, as an RFC 9457 problem document.
//!
//! ```json
//! {"type":"urn:heddle:problem:invalid-event","title":"The event is not valid","status":400,
//!  "detail":"attribute `id` must not be empty","attribute":"id"}
//! ```
//!
//! `attribute`, `element` (a position in a batch, from 0) and `limit` (in bytes) are there where
//! the refusal is about one. The last part of `type` is also the outcome that the metrics count.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::admit::Refusal;
use crate::event::http::DecodeError;
use crate::log::AppendError;

/// The methods that are answered.
pub(super) const METHODS: &str = "POST, OPTIONS";

/// How much of what the producer sent an answer repeats, in characters.
const SHOWN: usize = 128;

/// Why a request was not accepted. Nothing of it was kept, except perhaps with
/// [`IngressError::CommitTimeout`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngressError {
    /// Neither POST nor OPTIONS.
    #[error("{method} is not supported here; events are sent with POST")]
    Method {
        /// The method, cut at 128 characters.
        method: String,
    },
    /// What came is not HTTP.
    #[error("the request line or a header is not valid HTTP; the request must be corrected")]
    NotHttp,
    /// The request line is too long.
    #[error("the address of the request is too long")]
    AddressTooLong,
    /// The head is too large.
    #[error(
        "the request has more than the {headers} headers or {limit} bytes of them that are taken"
    )]
    HeadTooLarge {
        /// The most headers.
        headers: usize,
        /// The most bytes of them.
        limit: usize,
    },
    /// HTTP/1.1 wants one Host.
    #[error("the request must have exactly one Host header with a valid value")]
    Host,
    /// The path `/`.
    #[error("there is nothing at this address; events are sent to /<namespace>/<broker>")]
    NoTarget,
    /// A path that can be no broker's.
    #[error("the path must be /<namespace>/<broker>: two parts, neither of them empty")]
    BadPath,
    /// The host of a channel with another path than `/`.
    #[error("events for a channel are sent to the path / of its host")]
    ChannelPath,
    /// No such broker or channel.
    #[error("there is no broker or channel {target}")]
    UnknownTarget {
        /// "namespace/name", as asked for.
        target: String,
    },
    /// The body is compressed or otherwise coded; subscribers could not know.
    #[error("the content coding `{coding}` is not supported; send the body as it is")]
    ContentCoding {
        /// The value of Content-Encoding.
        coding: String,
    },
    /// The body is too large.
    #[error("the body has more than the {limit} bytes that are taken")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive in time; send it again")]
    BodyTimeout,
    /// The body broke off, or is not valid HTTP.
    #[error("the body could not be read: {reason}")]
    BodyBroken {
        /// What went wrong.
        reason: String,
    },
    /// Too much is being worked on.
    #[error("the ingress holds as many bytes of unfinished requests as it may; try again soon")]
    OverBudget {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too many connections.
    #[error("the ingress has as many connections as it may; try again soon")]
    Crowded,
    /// The message holds no valid event.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The broker does not admit the event.
    #[error("{}{refusal}", element.map(|i| format!("element {i} of the batch: ")).unwrap_or_default())]
    Refused {
        /// The position of the event in its batch.
        element: Option<usize>,
        /// Why.
        refusal: Refusal,
    },
    /// The log did not take the events.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// The log did not say in time whether it kept the events.
    #[error(
        "the log did not answer in time; the event may have been kept, so that sending it again \
         may duplicate it"
    )]
    CommitTimeout,
}

/// One line of the table: status, the last part of `type`, and the title.
type Line = (StatusCode, &'static str, &'static str);

impl IngressError {
    /// The table of answers.
    fn line(&self) -> Line {
        use StatusCode as S;
        match self {
            Self::Method { .. } => (
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not supported",
            ),
            Self::NotHttp => (S::BAD_REQUEST, "bad-http", "The request is not HTTP"),
            Self::AddressTooLong => (S::URI_TOO_LONG, "bad-path", "The address is too long"),
            Self::HeadTooLarge { .. } => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "The headers are too many or too long",
            ),
            Self::Host => (S::BAD_REQUEST, "bad-host", "The Host header is not valid"),
            Self::NoTarget | Self::UnknownTarget { .. } => (
                S::NOT_FOUND,
                "not-found",
                "There is no such broker or channel",
            ),
            Self::BadPath | Self::ChannelPath => (
                S::BAD_REQUEST,
                "bad-path",
                "The path is not that of a broker or channel",
            ),
            Self::ContentCoding { .. } => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-content-coding",
                "The content coding is not supported",
            ),
            Self::TooLarge { .. } => TOO_LARGE,
            Self::BodyTimeout => (
                S::REQUEST_TIMEOUT,
                "body-timeout",
                "The body did not arrive in time",
            ),
            Self::BodyBroken { .. } => (S::BAD_REQUEST, "bad-body", "The body could not be read"),
            Self::OverBudget { .. } => (
                S::TOO_MANY_REQUESTS,
                "over-budget",
                "Too many bytes are in flight",
            ),
            Self::Crowded => (
                S::SERVICE_UNAVAILABLE,
                "too-many-connections",
                "There are too many connections",
            ),
            Self::Decode(error) => decode_line(error),
            Self::Refused {
                refusal: Refusal::TtlUsedUp,
                ..
            } => (
                S::BAD_REQUEST,
                "ttl-used-up",
                "The event has passed too many brokers",
            ),
            Self::Refused { .. } => (S::BAD_REQUEST, "invalid-event", "The event is not valid"),
            Self::Append(error) => append_line(error),
            Self::CommitTimeout => (
                S::SERVICE_UNAVAILABLE,
                "commit-timeout",
                "The log did not answer in time",
            ),
        }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.line().0
    }

    /// A short name of the refusal, from a fixed set.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        self.line().1
    }

    /// After how many seconds the producer should try again.
    fn retry_after(&self) -> Option<&'static str> {
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some("1"),
            // Room on a disk is not made within a second.
            StatusCode::INSUFFICIENT_STORAGE => Some("10"),
            _ => None,
        }
    }

    fn attribute(&self) -> Option<&str> {
        match self {
            Self::Decode(error) => error.attribute(),
            Self::Refused { refusal, .. } => Some(refusal.attribute()),
            _ => None,
        }
    }

    fn element(&self) -> Option<usize> {
        match self {
            Self::Decode(DecodeError::Element { index, .. }) => Some(*index),
            Self::Refused { element, .. } => *element,
            _ => None,
        }
    }

    fn limit(&self) -> Option<usize> {
        match self {
            Self::TooLarge { limit }
            | Self::HeadTooLarge { limit, .. }
            | Self::OverBudget { limit }
            | Self::Append(AppendError::TooLarge { limit, .. }) => Some(*limit),
            _ => None,
        }
    }

    /// The media type of [`Self::problem`].
    pub(super) const MEDIA_TYPE: &str = "application/problem+json";

    /// The body of the answer.
    pub(super) fn problem(&self) -> Vec<u8> {
        let (status, name, title) = self.line();
        let problem = Problem {
            r#type: format!("urn:heddle:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: self.to_string(),
            attribute: self.attribute(),
            element: self.element(),
            limit: self.limit(),
        };
        // A struct of text and numbers is always written.
        serde_json::to_vec(&problem).unwrap_or_default()
    }

    /// The answer.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.problem())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Self::MEDIA_TYPE));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if matches!(self, Self::Method { .. }) {
            headers.insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        if matches!(self, Self::ContentCoding { .. }) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        response
    }
}

const TOO_LARGE: Line = (
    StatusCode::PAYLOAD_TOO_LARGE,
    "too-large",
    "The request is too large",
);

fn append_line(error: &AppendError) -> Line {
    use StatusCode as S;
    match error {
        AppendError::Busy { .. } => (S::SERVICE_UNAVAILABLE, "log-busy", "The log is busy"),
        AppendError::Full { .. } => (S::SERVICE_UNAVAILABLE, "log-full", "The log is full"),
        AppendError::DiskFull => (S::INSUFFICIENT_STORAGE, "disk-full", "The disk is full"),
        AppendError::TooLarge { .. } | AppendError::TooMany { .. } => TOO_LARGE,
        AppendError::Unavailable { .. } => (
            S::SERVICE_UNAVAILABLE,
            "log-unavailable",
            "The log cannot be reached",
        ),
        AppendError::Closed { .. } => (
            S::SERVICE_UNAVAILABLE,
            "log-closed",
            "The log does not accept events",
        ),
    }
}

fn decode_line(error: &DecodeError) -> Line {
    match error {
        DecodeError::UnknownFormat { .. } | DecodeError::Charset { .. } => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-format",
            "The event format is not supported",
        ),
        DecodeError::NotAnEvent => (
            StatusCode::BAD_REQUEST,
            "not-an-event",
            "The request holds no event",
        ),
        DecodeError::NotUtf8
        | DecodeError::Json(_)
        | DecodeError::Attribute(_)
        | DecodeError::Element { .. }
        | DecodeError::BatchReply => (
            StatusCode::BAD_REQUEST,
            "invalid-event",
            "The event is not valid",
        ),
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribute: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
}

/// Shortens text that an answer repeats.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
