//! What is done to an event before it is kept. Pure: the time is a parameter.
//!
//! * A broker stamps every event with `knativearrivaltime`, in place of one that it may have.
//! * A broker guards against events that replies send round and round: `knativebrokerttl` counts
//!   down with each pass. An event without one gets the full count; an event whose count is used
//!   up is refused. A count that is no whole number is refused too, since guessing one could
//!   keep a loop alive.
//! * A channel does neither; its events pass as they are.
//! * Trace context (W3C) in the headers of the request is kept with an event that has no
//!   `traceparent` of its own, as the distributed-tracing extension: attributes `traceparent`
//!   and `tracestate`. It would be lost otherwise, because a delivery is another request, made
//!   later. What is not valid trace context is ignored, as that specification wants it.

use http::HeaderMap;
use jiff::Timestamp;

use crate::directory::EntryKind;
use crate::event::attributes::TTL;
use crate::event::http::Decoded;
use crate::event::{Draft, Event, EventError};

/// When the broker took the event.
pub(super) const ARRIVAL_TIME: &str = "knativearrivaltime";

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The longest `tracestate` that is kept, in bytes; what the specification asks of everybody.
const MAX_TRACESTATE: usize = 512;

/// Why an event is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The event has passed too many brokers.
    #[error(
        "attribute `knativebrokerttl` is used up: the event has come back through brokers too \
         often, which looks like a loop of replies"
    )]
    TtlUsedUp,
    /// The TTL is no number.
    #[error("attribute `knativebrokerttl` is not a whole number")]
    TtlNotANumber,
    /// There is no room for what the broker adds.
    #[error(transparent)]
    Attribute(#[from] EventError),
}

impl Refusal {
    /// The attribute at fault.
    pub(super) fn attribute(&self) -> &str {
        match self {
            Self::TtlUsedUp | Self::TtlNotANumber => TTL,
            Self::Attribute(error) => &error.attribute,
        }
    }
}

/// Valid trace context of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TraceContext {
    parent: Option<String>,
    state: Option<String>,
}

impl TraceContext {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = match (
            parents.next().and_then(|value| value.to_str().ok()),
            parents.next(),
        ) {
            (Some(text), None) if is_traceparent(text) => text.to_owned(),
            _ => return Self::default(),
        };
        let states: Vec<_> = headers
            .get_all(TRACESTATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let state = states.join(",");
        let keep = !state.is_empty() && state.len() <= MAX_TRACESTATE && !state.contains('\t');
        Self {
            parent: Some(parent),
            state: keep.then_some(state),
        }
    }
}

/// `version-traceid-parentid-flags`, as of version 00 or a later one that may go on.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.splitn(5, '-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && trace.bytes().any(|b| b != b'0')
        && hex(parent, 16)
        && parent.bytes().any(|b| b != b'0')
        && hex(flags, 2)
        && (version != "00" || parts.next().is_none())
        && text.len() <= MAX_TRACESTATE
        && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What an event of this request becomes at this entry.
#[derive(Debug)]
pub(super) struct Admission<'a> {
    /// What the events are sent to.
    pub(super) kind: EntryKind,
    /// The trace context of the request.
    pub(super) trace: &'a TraceContext,
    /// The time of their arrival.
    pub(super) now: Timestamp,
    /// The TTL of events that have none.
    pub(super) broker_ttl: i32,
}

impl Admission<'_> {
    /// Admits all events of a message, or tells which one is refused (its position in a batch).
    pub(super) fn admit(
        &self,
        decoded: Decoded<'_>,
    ) -> Result<Vec<Event>, (Option<usize>, Refusal)> {
        match decoded {
            Decoded::One(draft) => Ok(vec![self.event(draft).map_err(|refusal| (None, refusal))?]),
            Decoded::Batch(drafts) => {
                let admit =
                    |(index, draft)| self.event(draft).map_err(|refusal| (Some(index), refusal));
                drafts.into_iter().enumerate().map(admit).collect()
            }
        }
    }

    fn event(&self, mut draft: Draft<'_>) -> Result<Event, Refusal> {
        if self.kind == EntryKind::Broker {
            let ttl = self.ttl(&draft)?;
            draft.set(&[
                (ARRIVAL_TIME, self.now.to_string().into()),
                (TTL, ttl.into()),
            ])?;
        }
        if let Some(parent) = &self.trace.parent
            && draft.attribute(TRACEPARENT).is_none()
        {
            draft.set(&[(TRACEPARENT, parent.as_str().into())])?;
            if let Some(state) = &self.trace.state {
                draft.set(&[(TRACESTATE, state.as_str().into())])?;
            }
        }
        Ok(draft.finish()?)
    }

    fn ttl(&self, draft: &Draft<'_>) -> Result<i32, Refusal> {
        let Some(attribute) = draft.attribute(TTL) else {
            return Ok(self.broker_ttl);
        };
        let ttl: i32 = attribute.text.parse().map_err(|_| Refusal::TtlNotANumber)?;
        if ttl > 1 {
            Ok(ttl - 1)
        } else {
            Err(Refusal::TtlUsedUp)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::event::{AttributeKind, EventBuilder};

    fn admit(kind: EntryKind, trace: &TraceContext, event: &Event) -> Result<Event, Refusal> {
        let now = "2024-05-06T07:08:09.123456789Z".parse().unwrap();
        let admission = Admission {
            kind,
            trace,
            now,
            broker_ttl: 255,
        };
        match admission.admit(Decoded::One(Draft::of(event, &[]))) {
            Ok(mut events) => Ok(events.pop().unwrap()),
            Err((index, refusal)) => {
                assert_eq!(index, None);
                Err(refusal)
            }
        }
    }

    fn event(attributes: &[(&'static str, &'static str)]) -> Event {
        let start = EventBuilder::new("1", "/s", "t").data("text/plain", &b"x"[..]);
        attributes
            .iter()
            .fold(start, |b, (name, value)| b.attribute(*name, *value))
            .build()
            .unwrap()
    }

    #[test]
    fn a_broker_stamps_and_a_channel_does_not() {
        let trace = TraceContext::default();
        let sent = event(&[(ARRIVAL_TIME, "1999-01-01T00:00:00Z")]);
        let kept = admit(EntryKind::Broker, &trace, &sent).unwrap();
        assert_eq!(
            kept.attribute(ARRIVAL_TIME).unwrap().text,
            "2024-05-06T07:08:09.123456789Z"
        );
        let ttl = kept.attribute(TTL).unwrap();
        assert_eq!((ttl.text, ttl.kind), ("255", AttributeKind::Integer));
        assert_eq!(kept.data(), sent.data());
        assert_eq!(admit(EntryKind::Channel, &trace, &sent).unwrap(), sent);
    }

    #[test]
    fn the_ttl_counts_down() {
        let trace = TraceContext::default();
        let pass = |ttl| admit(EntryKind::Broker, &trace, &event(&[(TTL, ttl)]));
        assert_eq!(pass("255").unwrap().attribute(TTL).unwrap().text, "254");
        assert_eq!(pass("2").unwrap().attribute(TTL).unwrap().text, "1");
        for used_up in ["1", "0", "-5"] {
            assert_eq!(pass(used_up).unwrap_err(), Refusal::TtlUsedUp, "{used_up}");
        }
        for bad in ["", "x", "1.5", "99999999999"] {
            assert_eq!(pass(bad).unwrap_err(), Refusal::TtlNotANumber, "{bad}");
        }
        assert!(admit(EntryKind::Channel, &trace, &event(&[(TTL, "0")])).is_ok());
    }

    #[test]
    fn trace_context_is_kept_where_there_is_none() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, parent.parse().unwrap());
        headers.append(TRACESTATE, "a=1".parse().unwrap());
        headers.append(TRACESTATE, "b=2".parse().unwrap());
        let trace = TraceContext::of(&headers);
        for kind in [EntryKind::Broker, EntryKind::Channel] {
            let kept = admit(kind, &trace, &event(&[])).unwrap();
            assert_eq!(kept.attribute(TRACEPARENT).unwrap().text, parent);
            assert_eq!(kept.attribute(TRACESTATE).unwrap().text, "a=1,b=2");
            let own = admit(kind, &trace, &event(&[(TRACEPARENT, "own")])).unwrap();
            assert_eq!(own.attribute(TRACEPARENT).unwrap().text, "own");
            assert!(own.attribute(TRACESTATE).is_none());
        }
        headers.append(TRACEPARENT, parent.parse().unwrap());
        assert_eq!(TraceContext::of(&headers), TraceContext::default());
    }

    #[test]
    fn only_valid_trace_context() {
        let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        assert!(is_traceparent(&format!("00-{trace}-{parent}-00")));
        assert!(is_traceparent(&format!("cc-{trace}-{parent}-00-more")));
        for bad in [
            String::new(),
            format!("00-{trace}-{parent}"),
            format!("00-{trace}-{parent}-00-more"),
            format!("ff-{trace}-{parent}-00"),
            format!("00-{trace}-0000000000000000-00"),
            format!("00-00000000000000000000000000000000-{parent}-00"),
            format!("00-{}-{parent}-00", trace.to_uppercase()),
        ] {
            assert!(!is_traceparent(&bad), "{bad}");
        }
    }
}
