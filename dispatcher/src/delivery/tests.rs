#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_broker::event::{Attribute, AttributeKind, DataForm, Packer, SpecVersion};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::dead_letter::dead_letter;
use super::*;
use crate::config::Backoff;

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn failure(code: u16) -> Failure {
    Failure {
        destination: "http://subscriber.test/".to_owned(),
        code,
        data: b"no".to_vec(),
        reason: format!("answered {code}"),
        retriable: retry::retriable(code),
        retry_after: None,
    }
}

fn policy(retry: u32) -> DeliveryPolicy {
    DeliveryPolicy {
        retry,
        backoff_delay: Duration::from_secs(1),
        ..DeliveryPolicy::default()
    }
}

fn event() -> Event {
    let mut packer = Packer::new(SpecVersion::V1, 64);
    for (name, text) in [
        ("id", "1"),
        ("source", "/s"),
        ("type", "t"),
        ("knativeerrorcode", "1"),
    ] {
        assert!(packer.push(&Attribute {
            name,
            kind: AttributeKind::String,
            text,
            header: None
        }));
    }
    packer.finish(DataForm::Bytes, b"data").unwrap()
}

/// Runs a delivery against scripted answers of the subscriber and of the sink, and returns how
/// often each was asked and how it ended. The dead letter log takes everything.
fn run(subscriber: &[u16], sink: Option<&[u16]>, retry: u32) -> (usize, usize, End) {
    let policy = policy(retry);
    let mut delivery = Delivery::default();
    let (mut sent, mut dead) = (0, 0);
    let mut action = delivery.resume(sink.is_some());
    loop {
        let answer = |codes: &[u16], n: usize| {
            let code = *codes.get(n).or_else(|| codes.last()).unwrap();
            if code < 300 {
                Outcome::Taken
            } else {
                Outcome::Failed(failure(code))
            }
        };
        let outcome = match action {
            Action::Send => {
                sent += 1;
                answer(subscriber, sent - 1)
            }
            Action::DeadLetter => {
                dead += 1;
                answer(sink.unwrap(), dead - 1)
            }
            Action::WaitUntil(_) => {
                // A restart at this point changes nothing.
                let stored = serde_json::to_vec(&delivery).unwrap();
                delivery = serde_json::from_slice(&stored).unwrap();
                action = delivery.resume(sink.is_some());
                continue;
            }
            Action::Keep => Outcome::Taken,
            Action::Done(end) => return (sent, dead, end),
            Action::Reply(_) => panic!("no replies here"),
        };
        action = delivery.on(outcome, &policy, sink.is_some(), now(), 0.5);
    }
}

#[test]
fn the_delivery_matrix() {
    type Case<'a> = (&'a [u16], Option<&'a [u16]>, u32, (usize, usize, End));
    let cases: &[Case<'_>] = &[
        (&[202], None, 3, (1, 0, End::Delivered)),
        (&[500, 500, 200], None, 3, (3, 0, End::Delivered)),
        (&[500], Some(&[200]), 3, (4, 1, End::DeadLettered)),
        (&[500], Some(&[200]), 0, (1, 1, End::DeadLettered)),
        (&[500], None, 2, (3, 0, End::Kept)),
        (&[400], Some(&[200]), 3, (1, 1, End::DeadLettered)),
        (&[400], None, 3, (1, 0, End::Kept)),
        (&[500, 400], Some(&[200]), 3, (2, 1, End::DeadLettered)),
        (&[301], Some(&[200]), 3, (1, 1, End::DeadLettered)),
        (&[500], Some(&[500, 429, 200]), 3, (4, 3, End::DeadLettered)),
        (&[500], Some(&[500]), 2, (3, 3, End::Kept)),
        (&[500], Some(&[403]), 2, (3, 1, End::Kept)),
    ];
    for (subscriber, sink, retry, expected) in cases {
        assert_eq!(
            run(subscriber, *sink, *retry),
            *expected,
            "{subscriber:?}, sink {sink:?}, retry {retry}"
        );
    }
}

#[test]
fn codes_that_are_tried_again() {
    for code in 100..600 {
        let expected = [404, 408, 409, 429].contains(&code) || code >= 500;
        assert_eq!(retry::retriable(code), expected, "{code}");
    }
}

#[test]
fn a_reply_that_is_not_taken_is_a_failed_attempt() {
    let policy = policy(1);
    let mut delivery = Delivery::default();
    let reply = || Outcome::Replied(Box::new(event()));
    assert_eq!(delivery.resume(true), Action::Send);
    let action = delivery.on(reply(), &policy, true, now(), 0.5);
    assert!(matches!(action, Action::Reply(_)));
    let action = delivery.on(Outcome::Failed(failure(503)), &policy, true, now(), 0.5);
    assert!(matches!(action, Action::WaitUntil(_)), "{action:?}");
    assert_eq!(delivery.resume(true), Action::Send);
    delivery.on(reply(), &policy, true, now(), 0.5);
    let action = delivery.on(Outcome::Failed(failure(503)), &policy, true, now(), 0.5);
    assert_eq!(action, Action::DeadLetter);
    let action = delivery.on(reply(), &policy, true, now(), 0.5);
    assert_eq!(
        action,
        Action::Done(End::DeadLettered),
        "a sink's reply is ignored"
    );
}

#[test]
fn a_dead_letter_log_is_asked_until_it_takes_the_event() {
    let policy = policy(0);
    let mut delivery = Delivery::default();
    delivery.resume(false);
    assert_eq!(
        delivery.on(Outcome::Failed(failure(400)), &policy, false, now(), 0.5),
        Action::Keep
    );
    let mut last = Duration::ZERO;
    for _ in 0..100 {
        let action = delivery.on(Outcome::Failed(failure(507)), &policy, false, now(), 0.5);
        let Action::WaitUntil(until) = action else {
            panic!("{action:?}")
        };
        let wait = Duration::try_from(until.duration_since(now())).unwrap();
        assert!(wait >= last && wait <= KEEP_DELAY_MAX);
        last = wait;
        assert_eq!(delivery.resume(false), Action::Keep);
    }
    assert_eq!(last, KEEP_DELAY_MAX);
    let end = delivery.on(Outcome::Taken, &policy, false, now(), 0.5);
    assert_eq!(end, Action::Done(End::Kept));
}

#[test]
fn a_sink_that_is_gone_means_the_log() {
    let mut delivery = Delivery {
        stage: Stage::DeadLetter,
        attempts: 2,
        ..Delivery::default()
    };
    assert_eq!(delivery.resume(false), Action::Keep);
    assert_eq!((delivery.stage, delivery.attempts), (Stage::Keep, 0));
}

#[test]
fn waits_grow_as_the_policy_says() {
    let wait = |backoff, retry| {
        let policy = DeliveryPolicy {
            backoff,
            ..policy(10)
        };
        retry::wait(&policy, retry, None, 0.5).as_secs()
    };
    let linear: Vec<u64> = (1..=5).map(|n| wait(Backoff::Linear, n)).collect();
    assert_eq!(linear, [1, 2, 3, 4, 5], "the first linear retry waits, too");
    let exponential: Vec<u64> = (1..=5).map(|n| wait(Backoff::Exponential, n)).collect();
    assert_eq!(exponential, [1, 2, 4, 8, 16]);
    assert_eq!(wait(Backoff::Exponential, u32::MAX), 300, "the cap holds");
    let none = DeliveryPolicy {
        backoff_delay: Duration::ZERO,
        ..policy(3)
    };
    assert_eq!(retry::wait(&none, 3, None, 0.9), Duration::ZERO);
}

#[test]
fn retry_after_only_makes_waits_longer_and_has_a_limit() {
    let policy = DeliveryPolicy {
        retry_after_max: Some(Duration::from_secs(30)),
        ..policy(3)
    };
    let wait = |asked| retry::wait(&policy, 1, Some(Duration::from_secs(asked)), 0.5).as_secs();
    assert_eq!((wait(0), wait(10), wait(3600)), (1, 10, 30));
    let deaf = DeliveryPolicy {
        retry_after_max: None,
        ..policy
    };
    let wait = retry::wait(&deaf, 1, Some(Duration::from_secs(10)), 0.5);
    assert_eq!(wait.as_secs(), 1);
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let asked = |status, text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_str(text).unwrap());
        retry::retry_after(status, &headers, now()).map(|wait| wait.as_secs())
    };
    assert_eq!(asked(429, "120"), Some(120));
    assert_eq!(asked(503, " 7 "), Some(7));
    assert_eq!(asked(503, "Fri, 20 Nov 2026 12:00:30 GMT"), Some(30));
    assert_eq!(asked(503, "Fri, 20 Nov 2026 11:00:00 GMT"), Some(0));
    assert_eq!(asked(503, "99999999999999999999"), None);
    assert_eq!(asked(503, "soon"), None);
    assert_eq!(asked(500, "120"), None);
    assert_eq!(asked(404, "120"), None);
}

#[test]
fn a_dead_letter_says_why() {
    let mut why = failure(422);
    why.data = vec![b'x'; 5000];
    let letter = dead_letter(&event(), &why).unwrap();
    assert_eq!(
        letter.attribute("knativeerrordest").unwrap().text,
        "http://subscriber.test/"
    );
    let code = letter.attribute("knativeerrorcode").unwrap();
    assert_eq!((code.text, code.kind), ("422", AttributeKind::Integer));
    let data = letter.attribute("knativeerrordata").unwrap().text;
    assert_eq!(STANDARD.decode(data).unwrap(), vec![b'x'; 1024]);
    assert_eq!((letter.id(), &letter.data()[..]), ("1", &b"data"[..]));
    assert_eq!(
        letter.attributes().count(),
        6,
        "what was there before is replaced"
    );
}

proptest! {
    #[test]
    fn waits_stay_within_their_limits(
        linear in any::<bool>(),
        retry in 0..u32::MAX,
        delay in 0..u64::MAX / 4,
        most in 0..u64::MAX / 4,
        asked in prop::option::of(any::<u64>()),
        asked_most in prop::option::of(0..u64::MAX / 4),
        random in 0.0..1.0f64,
    ) {
        let policy = DeliveryPolicy {
            backoff: if linear { Backoff::Linear } else { Backoff::Exponential },
            backoff_delay: Duration::from_nanos(delay),
            backoff_max: Duration::from_nanos(most),
            retry_after_max: asked_most.map(Duration::from_nanos),
            ..policy(10)
        };
        let wait = retry::wait(&policy, retry, asked.map(Duration::from_secs), random);
        let limit = policy.backoff_max.max(policy.retry_after_max.unwrap_or_default());
        prop_assert!(wait <= limit, "{wait:?} > {limit:?}");
    }

    #[test]
    fn jitter_is_a_fifth_to_either_side(random in 0.0..1.0f64, retry in 1..8u32) {
        let policy = policy(10);
        let wait = retry::wait(&policy, retry, None, random).as_secs_f64();
        let plain = f64::from(1u32 << (retry - 1));
        prop_assert!((plain * 0.799..=plain * 1.201).contains(&wait));
    }

    #[test]
    fn every_script_ends_with_an_end(
        subscriber in prop::collection::vec(prop::sample::select(vec![200u16, 400, 404, 500]), 1..6),
        sink in prop::option::of(
            prop::collection::vec(prop::sample::select(vec![200u16, 400, 429, 503]), 1..6)
        ),
        retry in 0..5u32,
    ) {
        let (sent, dead, end) = run(&subscriber, sink.as_deref(), retry);
        prop_assert!(sent >= 1 && sent <= retry as usize + 1);
        prop_assert!(dead <= retry as usize + 1);
        prop_assert_eq!(dead > 0, sink.is_some() && end != End::Delivered);
    }
}
