//! Deliveries over HTTP: what a subscriber sees, and what becomes of its answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_broker::event::AttributeKind;
use heddle_dispatcher::config::{
    ConsumerConfig, DeliveryPolicy, Format, Protocol, ReplyTo, Target,
};
use http::Version;
use support::http::{Answer, HttpSubscriber};
use support::{World, event, policy, read_all, target, until};

/// Delivers one event to a subscriber with these answers, with a sink that has those answers, and
/// returns how often each was asked and how many dead letters were kept.
async fn run(
    subscriber: Vec<Answer>,
    sink: Option<Vec<Answer>>,
    retry: u32,
) -> (usize, usize, usize) {
    let world = World::new();
    let subscriber = HttpSubscriber::answers(subscriber).await;
    let sink = match sink {
        Some(answers) => Some(HttpSubscriber::answers(answers).await),
        None => None,
    };
    let config = ConsumerConfig {
        dead_letter: sink.as_ref().map(|sink| Arc::new(target(&sink.url))),
        policy: policy(retry),
        ..world.consumer("t", &subscriber.url)
    };
    world.dispatcher.apply(config).await.unwrap();
    world.publish([event(1)]).await;
    world.idle("t").await;
    let kept = world.dead_letters("t").await.len();
    assert_eq!(world.stats("t").dead_letters_kept, kept as u64);
    (
        subscriber.count(),
        sink.map_or(0, |sink| sink.count()),
        kept,
    )
}

#[tokio::test]
async fn retries_and_dead_letters() {
    use Answer::{Reset, Status};
    type Case = (Vec<Answer>, Option<Vec<Answer>>, u32, (usize, usize, usize));
    let ok = || Some(vec![Status(200)]);
    let cases: Vec<Case> = vec![
        (vec![Status(202)], ok(), 3, (1, 0, 0)),
        (vec![Status(500), Status(200)], ok(), 3, (2, 0, 0)),
        (vec![Reset, Reset, Status(200)], ok(), 3, (3, 0, 0)),
        (vec![Status(500)], ok(), 3, (4, 1, 0)),
        (vec![Status(404)], ok(), 2, (3, 1, 0)),
        (vec![Status(408)], ok(), 1, (2, 1, 0)),
        (vec![Status(409)], ok(), 1, (2, 1, 0)),
        (vec![Status(429)], ok(), 1, (2, 1, 0)),
        (vec![Status(503)], ok(), 0, (1, 1, 0)),
        (vec![Reset], ok(), 2, (3, 1, 0)),
        (vec![Status(400)], ok(), 3, (1, 1, 0)),
        (vec![Status(403)], ok(), 3, (1, 1, 0)),
        (vec![Status(301)], ok(), 3, (1, 1, 0)),
        (
            vec![Status(500)],
            Some(vec![Status(503), Status(200)]),
            2,
            (3, 2, 0),
        ),
        (vec![Status(500)], Some(vec![Status(503)]), 2, (3, 3, 1)),
        (vec![Status(500)], Some(vec![Status(400)]), 2, (3, 1, 1)),
        (vec![Status(500)], None, 2, (3, 0, 1)),
        (vec![Status(400)], None, 2, (1, 0, 1)),
    ];
    for (subscriber, sink, retry, expected) in cases {
        let case = format!("{subscriber:?}, sink {sink:?}, retry {retry}");
        assert_eq!(run(subscriber, sink, retry).await, expected, "{case}");
    }
}

#[tokio::test]
async fn what_a_subscriber_sees() {
    let world = World::new();
    let subscriber = HttpSubscriber::answers(vec![Answer::Status(503), Answer::Status(200)]).await;
    let config = ConsumerConfig {
        reply: Some(ReplyTo::Log(Arc::clone(&world.log).into())),
        ..world.consumer("t", &subscriber.url)
    };
    world.dispatcher.apply(config).await.unwrap();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent = event(1)
        .with(&[
            ("knativebrokerttl", 5.into()),
            ("traceparent", trace.into()),
            ("tracestate", "a=1".into()),
            ("number", 7.into()),
        ])
        .unwrap();
    world.publish([sent]).await;
    world.idle("t").await;
    let received = subscriber.received();
    let [first, second] = &received[..] else {
        panic!("{} requests", received.len())
    };
    assert_eq!((&*first.method, &*first.path), ("POST", "/events"));
    assert_eq!(&first.body[..], b"data 1");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/test"),
        ("ce-type", "test.event"),
        ("ce-number", "7"),
        ("content-type", "text/plain"),
        ("ce-knativebrokerttl", ""),
        ("kn-namespace", "default"),
        ("prefer", "reply"),
        ("traceparent", trace),
        ("tracestate", "a=1"),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    let key = first.header("idempotency-key");
    assert!(
        key.starts_with("\"uid-t-") && key.ends_with("-0\""),
        "{key}"
    );
    assert_eq!(second.header("idempotency-key"), key);
}

#[tokio::test]
async fn structured_mode_and_no_reply() {
    let world = World::new();
    let subscriber = HttpSubscriber::takes_all().await;
    let config = ConsumerConfig {
        policy: DeliveryPolicy {
            format: Format::Json,
            ..policy(0)
        },
        ..world.consumer("t", &subscriber.url)
    };
    world.dispatcher.apply(config).await.unwrap();
    world.publish([event(1)]).await;
    world.idle("t").await;
    let received = subscriber.received();
    let received = &received[0];
    assert!(
        received
            .header("content-type")
            .starts_with("application/cloudevents+json")
    );
    let json: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(
        (&json["id"], &json["data"]),
        (&"1".into(), &"data 1".into())
    );
    assert_eq!(received.header("prefer"), "", "nobody wants the reply");
}

#[tokio::test]
async fn both_protocols_over_plain_tcp() {
    for (protocol, version) in [
        (Protocol::Http1, Version::HTTP_11),
        (Protocol::H2c, Version::HTTP_2),
    ] {
        let world = World::new();
        let subscriber = HttpSubscriber::takes_all().await;
        let mut config = world.consumer("t", &subscriber.url);
        config.subscriber = Some(Arc::new(Target {
            protocol,
            ..target(&subscriber.url)
        }));
        world.dispatcher.apply(config).await.unwrap();
        world.publish((0..50).map(event)).await;
        world.idle("t").await;
        let received = subscriber.received();
        assert_eq!(received.len(), 50);
        assert!(received.iter().all(|request| request.version == version));
    }
}

#[tokio::test]
async fn a_dead_letter_carries_the_reason() {
    let world = World::new();
    let body = vec![b'e'; 4000];
    let subscriber =
        HttpSubscriber::answers(vec![Answer::With(422, Vec::new(), body.clone())]).await;
    let sink = HttpSubscriber::takes_all().await;
    let config = ConsumerConfig {
        dead_letter: Some(Arc::new(target(&sink.url))),
        ..world.consumer("t", &subscriber.url)
    };
    world.dispatcher.apply(config.clone()).await.unwrap();
    world.publish([event(1)]).await;
    world.idle("t").await;
    let received = sink.received();
    assert_eq!(received[0].header("ce-id"), "1");
    assert_eq!(&received[0].body[..], b"data 1");
    assert_eq!(received[0].header("ce-knativeerrordest"), subscriber.url);
    assert_eq!(received[0].header("ce-knativeerrorcode"), "422");
    let data = STANDARD
        .decode(received[0].header("ce-knativeerrordata"))
        .unwrap();
    assert_eq!(data, body[..1024]);
    assert_eq!(world.stats("t").dead_lettered, 1);

    // Without a sink the same is kept, and the code is a number.
    let without = ConsumerConfig {
        dead_letter: None,
        ..config
    };
    world.dispatcher.apply(without).await.unwrap();
    world.publish([event(2)]).await;
    world.idle("t").await;
    let kept = world.dead_letters("t").await;
    let code = kept[0].event.attribute("knativeerrorcode").unwrap();
    assert_eq!((code.text, code.kind), ("422", AttributeKind::Integer));
    assert_eq!(kept[0].event.id(), "2");
}

#[tokio::test]
async fn no_answer_is_an_error_too() {
    let world = World::new();
    let hanging = HttpSubscriber::answers(vec![Answer::Hang]).await;
    let config = ConsumerConfig {
        policy: DeliveryPolicy {
            timeout: Duration::from_millis(50),
            ..policy(1)
        },
        ..world.consumer("hangs", &hanging.url)
    };
    world.dispatcher.apply(config).await.unwrap();
    let nobody = world.consumer("nobody", "http://127.0.0.1:1/");
    world.dispatcher.apply(nobody).await.unwrap();
    let nonsense = world.consumer("nonsense", "ftp://127.0.0.1/");
    world.dispatcher.apply(nonsense).await.unwrap();
    world.publish([event(1)]).await;
    for (name, code) in [("hangs", "504"), ("nobody", "500"), ("nonsense", "500")] {
        world.idle(name).await;
        let kept = world.dead_letters(name).await;
        let of = |attribute| kept[0].event.attribute(attribute).unwrap().text.to_owned();
        assert_eq!(of("knativeerrorcode"), code, "{name}");
        let data = STANDARD.decode(of("knativeerrordata")).unwrap();
        assert!(!data.is_empty(), "{name} says why");
        assert!(world.stats(name).last_error.is_some());
    }
    assert_eq!(hanging.count(), 2);
}

/// Delivers one event with TTL 5 to a subscriber with these answers, whose replies go into the
/// log; returns how often it was asked for the event, and the log's other events.
async fn replies(
    answers: Vec<Answer>,
    ttl: i32,
) -> (usize, Vec<heddle_broker::event::Event>, World) {
    let world = World::new();
    let subscriber = HttpSubscriber::start(move |received, n| {
        if received.header("ce-type") == "test.reply" {
            return Answer::Status(200);
        }
        answers.get(n).or_else(|| answers.last()).unwrap().clone()
    })
    .await;
    let config = ConsumerConfig {
        reply: Some(ReplyTo::Log(Arc::clone(&world.log).into())),
        policy: policy(2),
        ..world.consumer("t", &subscriber.url)
    };
    world.dispatcher.apply(config).await.unwrap();
    let sent = event(1).with(&[("knativebrokerttl", ttl.into())]).unwrap();
    world.publish([sent]).await;
    world.idle("t").await;
    let asked = subscriber
        .received()
        .iter()
        .filter(|r| r.header("ce-id") == "1")
        .count();
    let log = read_all(&*world.log).await;
    let replies = log.into_iter().skip(1).map(|record| record.event).collect();
    (asked, replies, world)
}

#[tokio::test]
async fn a_reply_goes_back_into_the_broker() {
    let (asked, replies, world) = replies(vec![Answer::reply("r")], 5).await;
    assert_eq!((asked, replies.len()), (1, 1));
    let reply = &replies[0];
    assert_eq!((reply.id(), reply.ty()), ("r", "test.reply"));
    assert_eq!(&reply.data()[..], b"reply data");
    let ttl = reply.attribute("knativebrokerttl").unwrap();
    assert_eq!((ttl.text, ttl.kind), ("4", AttributeKind::Integer));
    let arrival = reply.attribute("knativearrivaltime").unwrap().text;
    assert!(arrival.parse::<jiff::Timestamp>().is_ok(), "{arrival}");
    assert_eq!(world.stats("t").replies, 1);
}

#[tokio::test]
async fn a_reply_without_a_ttl_left_is_dropped_and_counted() {
    let (asked, replies, world) = replies(vec![Answer::reply("r")], 1).await;
    assert_eq!((asked, replies.len()), (1, 0));
    let stats = world.stats("t");
    assert_eq!(
        (stats.dropped_replies, stats.delivered, stats.replies),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn what_is_a_reply_and_what_is_not() {
    let event_of = |status| match Answer::reply("r") {
        Answer::With(_, headers, body) => Answer::With(status, headers, body),
        other => other,
    };
    let headers = |headers: &[(&'static str, &str)]| {
        headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let no_type = headers(&[
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/"),
    ]);
    let structured = headers(&[("content-type", "application/cloudevents+json")]);
    let json = br#"{"specversion":"1.0","id":"r","source":"/r","type":"test.reply","data":[1]}"#;
    let text = headers(&[("content-type", "text/plain")]);
    let Answer::With(_, whole, _) = Answer::reply("r") else {
        panic!()
    };
    let cases = [
        ("202's body is not a reply", event_of(202), (1, 0)),
        ("201's is", event_of(201), (1, 1)),
        ("an empty 200", Answer::Status(200), (1, 0)),
        ("204", Answer::Status(204), (1, 0)),
        (
            "structured",
            Answer::With(200, structured.clone(), json.to_vec()),
            (1, 1),
        ),
        (
            "text with 200",
            Answer::With(200, text.clone(), b"thanks".to_vec()),
            (3, 0),
        ),
        (
            "text with 201",
            Answer::With(201, text, b"thanks".to_vec()),
            (1, 0),
        ),
        ("no type", Answer::With(200, no_type, b"x".to_vec()), (3, 0)),
        (
            "bad JSON",
            Answer::With(200, structured, b"{".to_vec()),
            (3, 0),
        ),
        ("cut off", Answer::Truncated(200, whole.clone()), (3, 0)),
        (
            "too long",
            Answer::With(200, whole, vec![b'x'; (1 << 20) + 1]),
            (3, 0),
        ),
    ];
    for (what, answer, expected) in cases {
        let (asked, replies, world) = replies(vec![answer], 5).await;
        assert_eq!((asked, replies.len()), expected, "{what}");
        let kept = world.dead_letters("t").await;
        assert_eq!(kept.len(), usize::from(expected.0 > 1), "{what}");
        if let Some(letter) = kept.first() {
            let code = letter.event.attribute("knativeerrorcode").unwrap().text;
            assert_eq!(code, "502", "{what}");
        }
    }
}

#[tokio::test]
async fn bodies_do_not_matter_where_replies_are_not_wanted() {
    let headers = vec![("content-type", "text/plain".to_owned())];
    for answer in [
        Answer::With(200, headers.clone(), b"thanks".to_vec()),
        Answer::With(200, headers.clone(), vec![b'x'; 3 << 20]),
        Answer::Truncated(200, headers),
        Answer::Stalled(200),
        Answer::reply("r"),
    ] {
        let asked = run(vec![answer.clone()], None, 3).await;
        assert_eq!(asked, (1, 0, 0), "{answer:?}");
    }
}

#[tokio::test]
async fn a_reply_that_is_not_taken_fails_the_delivery() {
    let world = World::new();
    let subscriber = HttpSubscriber::answers(vec![Answer::reply("r")]).await;
    let replies = HttpSubscriber::answers(vec![Answer::Status(503), Answer::Status(202)]).await;
    let config = ConsumerConfig {
        reply: Some(ReplyTo::Target(Arc::new(target(&replies.url)))),
        ..world.consumer("t", &subscriber.url)
    };
    world.dispatcher.apply(config).await.unwrap();
    let sent = event(1).with(&[("knativebrokerttl", 9.into())]).unwrap();
    world.publish([sent]).await;
    world.idle("t").await;
    assert_eq!(
        (subscriber.count(), replies.count()),
        (2, 2),
        "the original is sent again"
    );
    assert_eq!(world.dead_letters("t").await.len(), 0);
    let reply = &replies.received()[1];
    assert_eq!(
        (reply.header("ce-id"), &reply.body[..]),
        ("r", &b"reply data"[..])
    );
    assert_eq!(reply.header("ce-knativebrokerttl"), "8");
    assert_eq!(reply.header("prefer"), "");
    assert_ne!(
        reply.header("idempotency-key"),
        subscriber.received()[0].header("idempotency-key")
    );

    // One that is never taken makes a dead letter that names where it failed.
    let refused = HttpSubscriber::answers(vec![Answer::Status(400)]).await;
    let config = ConsumerConfig {
        reply: Some(ReplyTo::Target(Arc::new(target(&refused.url)))),
        policy: policy(1),
        ..world.consumer("refused", &subscriber.url)
    };
    world.dispatcher.apply(config).await.unwrap();
    world.idle("refused").await;
    assert_eq!(refused.count(), 2);
    let kept = world.dead_letters("refused").await;
    let dest = kept[0].event.attribute("knativeerrordest").unwrap().text;
    assert_eq!(dest, refused.url);
}

#[tokio::test]
async fn metrics_name_what_happened() {
    let world = World::new();
    let subscriber = HttpSubscriber::answers(vec![Answer::Status(500), Answer::Status(200)]).await;
    let config = world.consumer("t", &subscriber.url);
    world.dispatcher.apply(config).await.unwrap();
    world.publish([event(1), event(2)]).await;
    world.idle("t").await;
    let scrape = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &world.registry).unwrap();
        text
    };
    let text = scrape();
    let labels = r#"kind="trigger",namespace="default",name="t""#;
    for line in [
        format!("heddle_trigger_backlog{{{labels}}} 0"),
        format!("heddle_trigger_oldest_undelivered_seconds{{{labels}}} 0"),
        format!("heddle_delivery_attempts_total{{{labels},outcome=\"delivered\"}} 2"),
        format!("heddle_delivery_attempts_total{{{labels},outcome=\"failed\"}} 2"),
        format!("heddle_delivery_seconds_count{{{labels}}} 4"),
        format!("heddle_filter_seen_events_total{{{labels}}} 2"),
        format!("heddle_filter_matched_events_total{{{labels}}} 2"),
        format!("heddle_filter_errors_total{{{labels}}} 0"),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    world.dispatcher.remove(&support::id("t")).await;
    assert!(
        !scrape().contains(labels),
        "a consumer that is gone has no metrics"
    );
}

#[tokio::test]
async fn shutting_down_lets_attempts_end() {
    let mut world = World::new();
    let subscriber = HttpSubscriber::takes_all().await;
    world
        .dispatcher
        .apply(world.consumer("t", &subscriber.url))
        .await
        .unwrap();
    world.publish((0..100).map(event)).await;
    until("some have been delivered", || subscriber.count() > 0).await;
    world.shut_down(true).await;
    let count = subscriber.count();
    assert_eq!(
        world.stats("t").delivered as usize,
        count,
        "what was sent is known to be"
    );
    world.start_again();
    world
        .dispatcher
        .apply(world.consumer("t", &subscriber.url))
        .await
        .unwrap();
    world.idle("t").await;
    assert_eq!(subscriber.count(), 100, "nothing is sent twice");
}
