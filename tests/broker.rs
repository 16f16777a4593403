//! From a POST to a delivery, over the listeners of the real binary: what arrives, at whom, how
//! often, and what happens to what nobody takes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};
use support::api::{Event, fast_retries, trigger};
use support::{Answer, Heddle, Subscriber, data_directory, wait};
use tempfile::TempDir;
use tokio::sync::Semaphore;

async fn up() -> (TempDir, Heddle) {
    let (directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    (directory, heddle)
}

#[tokio::test]
async fn an_event_arrives_as_it_was_sent() {
    let (_directory, heddle) = up().await;
    let subscriber = Subscriber::start().await;
    let object = trigger("all", "default", &subscriber.url("/in/here"), json!({}));
    heddle.create_trigger(&object).await;

    let event = Event::new("A234-1234-1234", "com.example.someevent")
        .with("ce-time", "2018-04-05T17:31:00.123456789+02:00")
        .with("ce-subject", "na%C3%AFve %22quoted%22")
        .with("ce-comexampleextension1", "value")
        .with("authorization", "Bearer of-the-producer")
        .with(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .with("content-type", "application/json; charset=utf-8")
        .data("{ \"b\": 1.10, \"a\": 123456789012345678901234567890, \"b\": 2 }");
    heddle.accepted("default", &event).await;

    let delivery = subscriber.wait_for_id("A234-1234-1234").await;
    assert_eq!(delivery.method, "POST");
    assert_eq!(delivery.path, "/in/here");
    assert_eq!(
        delivery.body,
        "{ \"b\": 1.10, \"a\": 123456789012345678901234567890, \"b\": 2 }"
    );
    let expected = [
        ("ce-specversion", "1.0"),
        ("ce-id", "A234-1234-1234"),
        ("ce-type", "com.example.someevent"),
        ("ce-source", "/tests"),
        ("ce-time", "2018-04-05T17:31:00.123456789+02:00"),
        ("ce-subject", "na%C3%AFve %22quoted%22"),
        ("ce-comexampleextension1", "value"),
        ("content-type", "application/json; charset=utf-8"),
        ("prefer", "reply"),
        ("kn-namespace", "default"),
        // The producer's credentials are not the subscriber's; the TTL is the broker's own.
        ("authorization", ""),
        ("ce-knativebrokerttl", ""),
    ];
    for (name, value) in expected {
        assert_eq!(delivery.header(name), value, "{name}");
    }
    assert_ne!(delivery.header("ce-knativearrivaltime"), "");
    assert_ne!(delivery.header("idempotency-key"), "");
    // One trace, from the producer to the subscriber.
    let parent = delivery.header("traceparent");
    assert!(
        parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "{parent}"
    );
}

#[tokio::test]
async fn filters_choose() {
    let (_directory, heddle) = up().await;
    let wants: [(&str, Value, &[&str]); 5] = [
        ("everything", json!({}), &["1", "2", "3", "4"]),
        ("by-type", json!({"type": "a"}), &["1", "3"]),
        ("by-two", json!({"type": "a", "subject": "x"}), &["3"]),
        // An empty value asks for presence.
        ("present", json!({"colour": ""}), &["4"]),
        ("by-integer", json!({"colour": "7"}), &["4"]),
    ];
    let mut subscribers = Vec::new();
    for (name, attributes, ids) in wants {
        let subscriber = Subscriber::start().await;
        let spec = json!({"filter": {"attributes": attributes}});
        let object = trigger(name, "default", &subscriber.url("/"), spec);
        heddle.create_trigger(&object).await;
        subscribers.push((name, subscriber, ids));
    }

    let broker = "default";
    heddle.accepted(broker, &Event::new("1", "a")).await;
    heddle.accepted(broker, &Event::new("2", "b")).await;
    heddle
        .accepted(broker, &Event::new("3", "a").with("ce-subject", "x"))
        .await;
    // An integer in structured mode is text for a filter.
    let fourth = json!({
        "specversion": "1.0", "id": "4", "type": "c", "source": "/tests", "colour": 7,
    });
    let structured = [("content-type", "application/cloudevents+json")];
    heddle
        .http
        .send(
            Method::POST,
            &heddle.broker(broker),
            &structured,
            fourth.to_string(),
        )
        .await
        .expect(202);

    for (name, subscriber, ids) in &subscribers {
        subscriber.wait_for(ids.len()).await;
        // All four have been looked at: what did not come will not come.
        heddle.wait_stat(name, "backlog", 0).await;
        let got: BTreeSet<String> = subscriber.ids().into_iter().collect();
        let want: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(got, want, "{name}");
    }
}

#[tokio::test]
async fn dialects_choose() {
    let (_directory, heddle) = up().await;
    let cesql = "subject LIKE 'order-%' AND INT(SUBSTRING(subject, 7)) > 1";
    let wants: [(&str, Value, &[&str]); 4] = [
        (
            "by-prefix",
            json!([{"prefix": {"type": "com.a."}}]),
            &["1", "2"],
        ),
        ("by-cesql", json!([{"cesql": cesql}]), &["2"]),
        (
            "nested",
            json!([{"any": [{"suffix": {"type": ".z"}}, {"not": {"exact": {"subject": "order-1"}}}]}]),
            &["2", "3"],
        ),
        (
            "both",
            json!([{"prefix": {"type": "com."}}, {"cesql": "NOT EXISTS subject"}]),
            &["3"],
        ),
    ];
    let mut subscribers = Vec::new();
    for (name, filters, ids) in wants {
        let subscriber = Subscriber::start().await;
        // What `filter` says does not count beside `filters`.
        let filter = json!({"attributes": {"type": "none"}});
        let spec = json!({"filter": filter, "filters": filters});
        let object = trigger(name, "default", &subscriber.url("/"), spec);
        heddle.create_trigger(&object).await;
        subscribers.push((name, subscriber, ids));
    }
    let events = [
        Event::new("1", "com.a.x").with("ce-subject", "order-1"),
        Event::new("2", "com.a.y").with("ce-subject", "order-2"),
        Event::new("3", "com.b.z"),
    ];
    for event in &events {
        heddle.accepted("default", event).await;
    }
    for (name, subscriber, ids) in &subscribers {
        subscriber.wait_for(ids.len()).await;
        heddle.wait_stat(name, "backlog", 0).await;
        let got: BTreeSet<String> = subscriber.ids().into_iter().collect();
        let want: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(got, want, "{name}");
    }

    let spec = json!({"filters": [{"all": [{"cesql": "type ="}]}]});
    let object = trigger("wrong", "default", "http://127.0.0.1:1/", spec);
    let answer = heddle
        .http
        .post_json(&heddle.resources("triggers"), &object)
        .await;
    let refused = answer.text();
    assert!(
        refused.contains("spec.filters[0].all[0].cesql: expected an expression")
            && refused.contains("(at byte 6)"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_reply_goes_back_into_the_broker() {
    let (_directory, heddle) = up().await;
    let asked = Subscriber::scripted(|delivery, _| {
        Answer::status(200)
            .header("ce-specversion", "1.0")
            .header("ce-id", &format!("re-{}", delivery.id()))
            .header("ce-type", "answer")
            .header("ce-source", "/subscriber")
            .header("content-type", "text/plain")
            .body("forty-two")
    })
    .await;
    let told = Subscriber::start().await;
    for (name, subscriber, kind) in [("asked", &asked, "question"), ("told", &told, "answer")] {
        let spec = json!({"filter": {"attributes": {"type": kind}}});
        let object = trigger(name, "default", &subscriber.url("/"), spec);
        heddle.create_trigger(&object).await;
    }
    heddle
        .accepted("default", &Event::new("q", "question"))
        .await;
    let reply = told.wait_for_id("re-q").await;
    assert_eq!(reply.body, "forty-two");
    assert_eq!(reply.header("ce-source"), "/subscriber");
    assert_eq!(reply.header("content-type"), "text/plain");
}

#[tokio::test]
async fn a_reply_loop_ends() {
    let (_directory, heddle) = up().await;
    let echo = Subscriber::scripted(|delivery, count| {
        Answer::status(200)
            .header("ce-specversion", "1.0")
            .header("ce-id", &format!("echo-{count}"))
            .header("ce-type", delivery.header("ce-type"))
            .header("ce-source", "/echo")
    })
    .await;
    let object = trigger(
        "echo",
        "default",
        &echo.url("/"),
        json!({"delivery": fast_retries(1)}),
    );
    heddle.create_trigger(&object).await;
    heddle.accepted("default", &Event::new("0", "loop")).await;
    // 255 passes are what Knative allows.
    echo.wait_for(200).await;
    let mut last = 0;
    wait::until("the loop to end", || {
        let stats = heddle.stats("echo");
        let count = echo.count();
        let settled = count == std::mem::replace(&mut last, count);
        async move {
            let stats = stats.await;
            if settled && stats["backlog"] == 0 {
                Ok(())
            } else {
                Err(format!("{count} passes, {stats}"))
            }
        }
    })
    .await;
    assert!(
        (250..=256).contains(&echo.count()),
        "{} passes",
        echo.count()
    );
}

#[tokio::test]
async fn what_is_refused_goes_to_the_dead_letter_sink() {
    let (_directory, heddle) = up().await;
    let broken = Subscriber::scripted(|_, _| Answer::status(500).body("out of order")).await;
    let sink = Subscriber::start().await;
    let mut delivery = fast_retries(2);
    delivery["deadLetterSink"] = json!({"uri": sink.url("/dead")});
    let object = trigger(
        "broken",
        "default",
        &broken.url("/b"),
        json!({"delivery": delivery}),
    );
    heddle.create_trigger(&object).await;

    let event = Event::new("x", "order.placed").data("{\"n\": 1.0}");
    heddle.accepted("default", &event).await;
    let dead = sink.wait_for_id("x").await;
    assert_eq!(dead.path, "/dead");
    assert_eq!(dead.body, "{\"n\": 1.0}");
    assert_eq!(dead.header("ce-type"), "order.placed");
    assert_eq!(dead.header("ce-knativeerrordest"), broken.url("/b"));
    assert_eq!(dead.header("ce-knativeerrorcode"), "500");
    assert_eq!(dead.header("ce-knativeerrordata"), "b3V0IG9mIG9yZGVy");

    // One attempt and two retries, all with the same key.
    let attempts = broken.deliveries();
    let keys: BTreeSet<&str> = attempts
        .iter()
        .map(|d| d.header("idempotency-key"))
        .collect();
    assert_eq!((attempts.len(), keys.len()), (3, 1), "{keys:?}");
    heddle.wait_stat("broken", "backlog", 0).await;
}

#[tokio::test]
async fn what_nobody_takes_is_kept() {
    let (_directory, heddle) = up().await;
    // A 400 is not worth a retry, a 503 is.
    let picky = Subscriber::scripted(|delivery, _| {
        Answer::status(if delivery.header("ce-type") == "bad" {
            400
        } else {
            503
        })
    })
    .await;
    // Without a dead letter sink, and with one that is itself out of order.
    let sink = Subscriber::scripted(|_, _| Answer::status(500)).await;
    let plain = fast_retries(1);
    let mut with_sink = fast_retries(1);
    with_sink["deadLetterSink"] = json!({"uri": sink.url("/")});
    for (name, delivery) in [("plain", plain), ("with-sink", with_sink)] {
        let spec = json!({"delivery": delivery});
        let object = trigger(name, "default", &picky.url(&format!("/{name}")), spec);
        heddle.create_trigger(&object).await;
    }
    heddle.accepted("default", &Event::new("1", "bad")).await;
    heddle.accepted("default", &Event::new("2", "busy")).await;

    for name in ["plain", "with-sink"] {
        heddle.wait_stat(name, "dead_letters_kept", 2).await;
        heddle.wait_stat(name, "backlog", 0).await;
        let path = format!("/{name}");
        let attempts = picky.deliveries();
        let count = |id: &str| {
            let of = |d: &&support::Delivery| d.path == path && d.id() == id;
            attempts.iter().filter(of).count()
        };
        assert_eq!((count("1"), count("2")), (1, 2), "{name}");
    }
}

#[tokio::test]
async fn a_batch_is_taken_as_a_whole() {
    let (_directory, heddle) = up().await;
    let subscriber = Subscriber::start().await;
    let object = trigger("all", "default", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&object).await;
    let one = |id: &str| json!({"specversion": "1.0", "id": id, "type": "t", "source": "/tests", "data": {"id": id}});
    let url = heddle.broker("default");
    let batch = [("content-type", "application/cloudevents-batch+json")];

    let mut bad = json!([one("a"), one("b"), one("c")]);
    bad[1]["specversion"] = json!("9.9");
    let refused = heddle
        .http
        .send(Method::POST, &url, &batch, bad.to_string())
        .await
        .expect(400);
    assert_eq!(
        refused.headers["content-type"],
        "application/problem+json",
        "{}",
        refused.text()
    );
    // The answer says which element was bad.
    assert!(refused.text().contains('1'), "{}", refused.text());
    assert!(refused.text().contains("specversion"), "{}", refused.text());

    let good = json!([one("d"), one("e"), one("f")]);
    heddle
        .http
        .send(Method::POST, &url, &batch, good.to_string())
        .await
        .expect(202);
    subscriber.wait_for(3).await;
    heddle.wait_stat("all", "backlog", 0).await;
    let ids: BTreeSet<String> = subscriber.ids().into_iter().collect();
    assert_eq!(ids, ["d", "e", "f"].map(str::to_owned).into());
    let stored = heddle.events("default", 100).await;
    assert_eq!(stored.len(), 3, "{stored:?}");
}

#[tokio::test]
async fn an_ordered_trigger_keeps_the_order_through_failures() {
    let (_directory, heddle) = up().await;
    let flaky =
        Subscriber::scripted(|_, count| Answer::status(if count % 3 == 1 { 503 } else { 200 }))
            .await;
    let spec = json!({
        "annotations": {"delivery.heddle.dev/order": "ordered"},
        "delivery": fast_retries(5),
    });
    let object = trigger("ordered", "default", &flaky.url("/"), spec);
    heddle.create_trigger(&object).await;
    for n in 0..40 {
        heddle
            .accepted("default", &Event::new(&n.to_string(), "t"))
            .await;
    }
    flaky.wait_for_id("39").await;
    heddle.wait_stat("ordered", "backlog", 0).await;
    // A retry repeats an id; nothing overtakes it.
    let mut ids = flaky.ids();
    ids.dedup();
    let expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn a_trigger_starts_where_it_is_told_to() {
    let (_directory, heddle) = up().await;
    for id in ["0", "1", "2"] {
        heddle.accepted("default", &Event::new(id, "t")).await;
    }
    let wants: [(&str, &[&str]); 3] = [
        ("latest", &["3"]),
        ("earliest", &["0", "1", "2", "3"]),
        ("2", &["2", "3"]),
    ];
    let mut subscribers = Vec::new();
    for (start, ids) in wants {
        let subscriber = Subscriber::start().await;
        let spec = json!({"annotations": {"delivery.heddle.dev/start": start}});
        let name = format!("from-{start}");
        let object = trigger(&name, "default", &subscriber.url("/"), spec);
        heddle.create_trigger(&object).await;
        subscribers.push((name, subscriber, ids));
    }
    heddle.accepted("default", &Event::new("3", "t")).await;
    for (name, subscriber, ids) in &subscribers {
        subscriber.wait_for(ids.len()).await;
        heddle.wait_stat(name, "backlog", 0).await;
        let got: BTreeSet<String> = subscriber.ids().into_iter().collect();
        let want: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(got, want, "{name}");
    }
}

#[tokio::test]
async fn a_window_bounds_what_is_under_way() {
    let (_directory, heddle) = up().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = {
        let gate = Arc::clone(&gate);
        Subscriber::scripted(move |_, _| Answer::status(200).after(&gate)).await
    };
    let free = Subscriber::start().await;
    let spec = json!({"annotations": {"delivery.heddle.dev/max-in-flight": "3"}});
    let object = trigger("held", "default", &held.url("/"), spec);
    heddle.create_trigger(&object).await;
    let object = trigger("free", "default", &free.url("/"), json!({}));
    heddle.create_trigger(&object).await;
    for n in 0..20 {
        heddle
            .accepted("default", &Event::new(&n.to_string(), "t"))
            .await;
    }
    // The other Trigger has had its chance at all of them.
    free.wait_for(20).await;
    held.wait_for(3).await;
    assert_eq!(held.count(), 3);
    gate.add_permits(100);
    held.wait_for(20).await;
    heddle.wait_stat("held", "backlog", 0).await;
    assert_eq!(held.count(), 20);
}

#[tokio::test]
async fn every_metric_is_documented() {
    let (_directory, heddle) = up().await;
    let subscriber = Subscriber::start().await;
    let object = trigger("all", "default", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&object).await;
    heddle.accepted("default", &Event::new("1", "t")).await;
    subscriber.wait_for(1).await;

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let documented = std::fs::read_to_string(path).unwrap();
    let metrics = heddle.metrics().await;
    let families: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(families.len() >= 5, "{families:?}");
    let missing: Vec<&&str> = families
        .iter()
        .filter(|name| {
            // Counters are read with `_total`.
            ["", "_total"]
                .iter()
                .all(|end| !documented.contains(&format!("`{name}{end}`")))
        })
        .collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    // What tells an operator most: how much each Trigger still has before it.
    let backlog = r#"heddle_trigger_backlog{kind="trigger",namespace="default",name="all"}"#;
    assert!(metrics.contains(backlog), "{metrics}");
}
