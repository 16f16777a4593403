//! Bad input, and the exact answer to each.

use std::sync::Arc;

use http::Request;
use http_body_util::Full;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bad_rows::{self, ALL, ONE, Row};
use super::support::{LIMITS, WIDGETS, fixture, raw, with_limits};
use crate::api::{Limits, http as protocol};

#[tokio::test]
async fn each_bad_request_has_its_answer_and_harms_nothing() {
    let fixture = fixture();
    fixture.post(WIDGETS, &raw("a")).await;
    let before = fixture.get(WIDGETS).await;
    let rows = [
        bad_rows::reads(),
        bad_rows::methods(),
        bad_rows::metadata(),
        bad_rows::bodies(),
        bad_rows::updates(),
        bad_rows::patches(),
        bad_rows::deletes(),
    ];
    for Row {
        what,
        method,
        uri,
        media,
        body,
        code,
        reason,
        part,
    } in rows.into_iter().flatten()
    {
        let (got, status) = fixture.call(method, &uri, media, body).await;
        let message = status["message"].as_str().unwrap_or_default();
        assert_eq!(got.as_u16(), code, "{what}: {status}");
        assert_eq!(status["reason"], reason, "{what}: {status}");
        assert!(message.contains(part), "{what}: {message}");
        assert_eq!(
            (
                &status["kind"],
                &status["apiVersion"],
                &status["status"],
                &status["code"]
            ),
            (
                &json!("Status"),
                &json!("v1"),
                &json!("Failure"),
                &json!(code)
            ),
            "{what}"
        );
    }
    assert_eq!(fixture.get(WIDGETS).await, before);
}

#[tokio::test]
async fn unknown_fields_are_warned_of() {
    let fixture = fixture();
    let mut body = raw("a");
    body["spec"]["typo\n\""] = json!(1);
    let request = Request::post(WIDGETS)
        .body(Full::new(body.to_string().into()))
        .unwrap();
    let response = protocol::handle(Arc::clone(&fixture.api.inner), request).await;
    assert_eq!(response.status(), 201);
    let warning = response.headers()["warning"].to_str().unwrap();
    assert!(
        warning.starts_with("299 - \"unknown field") && warning.contains("typo"),
        "{warning}"
    );
    let (_, document) = fixture.get("/openapi/v3/apis/test.heddle.dev/v1").await;
    let schema = &document["components"]["schemas"]["dev.heddle.test.v1.Widget"];
    assert_eq!(
        schema["x-kubernetes-group-version-kind"][0]["kind"],
        "Widget"
    );
    assert!(fixture.get("/openapi/v3").await.1["paths"]["api/v1"].is_object());
}

#[tokio::test]
async fn every_cause_is_named() {
    let fixture = fixture();
    let mut body = raw("a");
    body["spec"] = json!({"size": 1, "fixed": 1});
    fixture.post(WIDGETS, &body).await;
    let (_, status) = fixture
        .merge(ONE, &json!({"spec": {"size": -1, "fixed": 2}}))
        .await;
    assert_eq!(
        status["message"],
        "Widget.test.heddle.dev \"a\" is invalid: [spec.size: Invalid value: -1: must not be \
         negative, spec.fixed: Forbidden: is immutable]"
    );
    assert_eq!(
        status["details"],
        json!({
            "name": "a", "group": "test.heddle.dev", "kind": "Widget",
            "causes": [
                {"reason": "FieldValueInvalid", "field": "spec.size",
                 "message": "Invalid value: -1: must not be negative"},
                {"reason": "FieldValueForbidden", "field": "spec.fixed",
                 "message": "Forbidden: is immutable"},
            ],
        })
    );
}

#[tokio::test]
async fn too_many_watches_are_refused_and_room_comes_back() {
    let fixture = with_limits(Limits {
        watches: 2,
        ..LIMITS
    });
    let open = async || {
        let uri = format!("{ALL}?watch=true");
        let request = Request::get(uri)
            .body(Full::new(bytes::Bytes::new()))
            .unwrap();
        protocol::handle(Arc::clone(&fixture.api.inner), request).await
    };
    let (first, _second) = (open().await, open().await);
    let third = open().await;
    assert_eq!(third.status(), 429);
    assert_eq!(third.headers()["retry-after"], "1");
    drop(first);
    assert_eq!(open().await.status(), 200);
}

#[tokio::test]
async fn web_pages_are_refused() {
    let fixture = fixture();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tracker, drain) = (TaskTracker::new(), CancellationToken::new());
    fixture.api.serve(listener, None, &tracker, &drain);
    for (headers, code) in [
        (format!("Host: {address}\r\n"), "200"),
        (format!("Host: localhost:{}\r\n", address.port()), "200"),
        ("Host: evil.example\r\n".to_owned(), "403"),
        (
            format!("Host: {address}\r\nOrigin: http://evil.example\r\n"),
            "403",
        ),
        (
            format!("Host: {address}\r\nX-Flood: {}\r\n", "x".repeat(100_000)),
            "431",
        ),
    ] {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /version HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        // The server may answer and close before it has read a flood to its end.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[9..], *code.as_bytes(), "{:.80}", headers);
    }
    drain.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn calls_under_way_are_bounded() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let fixture = with_limits(Limits {
        calls: 2,
        ..super::support::LIMITS
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tracker, drain) = (TaskTracker::new(), CancellationToken::new());
    fixture.api.serve(listener, None, &tracker, &drain);
    // Two callers announce bodies and do not send them.
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head =
            format!("POST {WIDGETS} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let ask = async || {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /version HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    super::support::until("there is no room", async || {
        let answer = ask().await;
        let full = answer.starts_with("HTTP/1.1 429");
        assert!(full == answer.contains("retry-after: 1"), "{answer}");
        full
    })
    .await;
    drop(slow);
    super::support::until("there is room again", async || {
        ask().await.starts_with("HTTP/1.1 200")
    })
    .await;
    drain.cancel();
}
