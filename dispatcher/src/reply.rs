//! What an answer means, and where the event in it goes.
//!
//! | answer | meaning |
//! |---|---|
//! | 202 | taken; its body is never a reply (Knative's data plane specification) |
//! | other 2xx with an event | taken, once the reply has been taken, too |
//! | other 2xx without a body | taken |
//! | 200 with a body that is no event | failed, as 502 |
//! | other 2xx with a body that is no event | taken |
//! | 2xx with a broken or too long body, or a malformed event | failed, as 502 |
//! | anything else | failed |
//!
//! Where replies are not wanted, each 2xx means taken. A reply that goes back into a broker's log
//! gets the original's TTL, less one, and a new arrival time; when nothing is left of the TTL the
//! reply is dropped and counted, as that is what the TTL is for.

use std::fmt::Display;

use heddle_broker::event::http::{self as codec, DecodeError};
use heddle_broker::event::{Event, EventError};
use jiff::Timestamp;

use crate::delivery::{ERROR_DATA, Failure, Outcome, retry};
use crate::subscriber::{self, Answer, Completeness, Problem};

/// The extension that counts how often an event may still pass through a broker.
pub const TTL: &str = "knativebrokerttl";
/// The extension that says when a broker took the event.
pub const ARRIVAL_TIME: &str = "knativearrivaltime";
/// The TTL of an event that has none.
const MAX_TTL: i32 = 255;

/// What the outcome of an attempt at `destination` means for the delivery.
pub(crate) fn judge(
    outcome: subscriber::Outcome,
    destination: impl Display,
    wants_reply: bool,
    now: Timestamp,
) -> Outcome {
    let answer = match outcome {
        subscriber::Outcome::Problem(problem) => return failed(&destination, &problem),
        subscriber::Outcome::Answer(answer) => answer,
    };
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        let retry_after = retry::retry_after(status, &answer.headers, now);
        return Outcome::Failed(Failure {
            destination: destination.to_string(),
            code: status,
            data: start(&answer.body),
            reason: format!("answered {}", answer.status),
            retriable: retry::retriable(status),
            retry_after,
        });
    }
    if !wants_reply || status == 202 {
        return Outcome::Taken;
    }
    match reply(&answer) {
        Ok(None) => Outcome::Taken,
        Ok(Some(reply)) => Outcome::Replied(Box::new(reply)),
        Err(reason) => Outcome::Failed(Failure {
            destination: destination.to_string(),
            code: 502,
            data: if answer.body.is_empty() {
                start(reason.as_bytes())
            } else {
                start(&answer.body)
            },
            reason,
            retriable: true,
            retry_after: None,
        }),
    }
}

fn reply(answer: &Answer) -> Result<Option<Event>, String> {
    match &answer.completeness {
        Completeness::Whole | Completeness::Start => {}
        Completeness::TooLong(limit) => {
            return Err(format!("the reply is longer than {limit} bytes"));
        }
        Completeness::Broken(cause) => {
            return Err(format!("the reply broke off: {cause}"));
        }
    }
    match codec::decode_reply(&answer.headers, &answer.body) {
        Ok(reply) => Ok(reply),
        Err(DecodeError::NotAnEvent) if answer.status != 200 => Ok(None),
        Err(DecodeError::NotAnEvent) => {
            Err("answered 200 with a body that is not a CloudEvent".to_owned())
        }
        Err(error) => Err(format!("the reply is not a valid CloudEvent: {error}")),
    }
}

fn failed(destination: &impl Display, problem: &Problem) -> Outcome {
    let (code, retriable) = match problem {
        Problem::Connection(_) => (500, true),
        Problem::Timeout(_) => (504, true),
        Problem::Unsendable(_) => (400, false),
    };
    let reason = problem.to_string();
    Outcome::Failed(Failure {
        destination: destination.to_string(),
        code,
        data: start(reason.as_bytes()),
        reason,
        retriable,
        retry_after: None,
    })
}

/// A reply that was not taken: a failed attempt to deliver the original, which is sent again as
/// long as retries are left, whatever the code.
pub(crate) fn refused(mut failure: Failure) -> Failure {
    failure.reason = format!("the reply was not taken: {}", failure.reason);
    failure.retriable = true;
    failure
}

fn start(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..ERROR_DATA).unwrap_or(bytes).to_vec()
}

/// The reply as it goes into a broker's log; `None` when the original's TTL is used up.
pub(crate) fn into_broker(
    reply: &Event,
    original: &Event,
    now: Timestamp,
) -> Result<Option<Event>, EventError> {
    let ttl = ttl(original).unwrap_or(MAX_TTL) - 1;
    if ttl <= 0 {
        return Ok(None);
    }
    let changes = [(TTL, ttl.into()), (ARRIVAL_TIME, now.to_string().into())];
    reply.with(&changes).map(Some)
}

/// The reply as it goes to an address: with the original's TTL, less one, where that has one.
/// `None` when it is used up.
pub(crate) fn to_address(reply: Event, original: &Event) -> Result<Option<Event>, EventError> {
    match ttl(original) {
        None => Ok(Some(reply)),
        Some(..=1) => Ok(None),
        Some(ttl) => reply.with(&[(TTL, (ttl - 1).into())]).map(Some),
    }
}

fn ttl(event: &Event) -> Option<i32> {
    let ttl: i32 = event.attribute(TTL)?.text.parse().ok()?;
    Some(ttl.min(MAX_TTL))
}
