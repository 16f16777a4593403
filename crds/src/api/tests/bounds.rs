//! Bounds that hold on sockets: watches, slow clients, the memory of bodies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::support::{Fixture, LIMITS, WIDGETS, now, raw, until, with_limits};
use crate::api::access::Access;
use crate::api::{Limits, MAX_WATCHES};

async fn serve(fixture: &Fixture) -> (SocketAddr, DropGuard) {
    serve_behind(fixture, None).await
}

async fn serve_behind(fixture: &Fixture, access: Option<Arc<Access>>) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = CancellationToken::new();
    fixture
        .api
        .serve(listener, access, &TaskTracker::new(), &drain);
    (address, drain.drop_guard())
}

/// A connection on which this was sent.
async fn sent(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// A POST of a widget that announces `length` bytes, and begins with `body`.
fn post(address: SocketAddr, length: usize, body: &str) -> String {
    format!(
        "POST {WIDGETS} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // The server may close while there is still something to be sent to it.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_see_one_change() {
    let fixture = with_limits(Limits {
        watches: MAX_WATCHES,
        ..LIMITS
    });
    let (address, _served) = serve(&fixture).await;
    let request = format!("GET {WIDGETS}?watch=true HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut watchers = Vec::new();
    for _ in 0..1_000 {
        let mut watcher = BufReader::new(sent(address, &request).await).lines();
        let status = watcher.next_line().await.unwrap().unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        watchers.push(watcher);
    }
    // They leave room for others.
    let others = format!("GET {WIDGETS} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    for _ in 0..10 {
        let answer = rest(sent(address, &others).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let (code, _) = fixture.post(WIDGETS, &raw("only")).await;
    assert_eq!(code, StatusCode::CREATED);
    for mut watcher in watchers {
        let event = loop {
            let line = watcher.next_line().await.unwrap().unwrap();
            if line.starts_with('{') {
                break line;
            }
        };
        let event: serde_json::Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event["type"], "ADDED");
        assert_eq!(event["object"]["metadata"]["name"], "only");
    }
}

#[tokio::test]
async fn a_slow_body_is_refused_in_time() {
    let fixture = with_limits(Limits {
        body_time: Duration::from_millis(100),
        ..LIMITS
    });
    let (address, _served) = serve(&fixture).await;
    let answer = rest(sent(address, &post(address, 100, "{\"kind\":")).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.contains("\"reason\":\"Timeout\"")
            && answer.contains("the body of the request did not arrive within 0.1 seconds"),
        "{answer}"
    );
    assert_eq!(fixture.get(WIDGETS).await.1["items"], json!([]));
}

/// What begins a connection in HTTP/2, and the settings that follow.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The beginning of a frame of headers, of which there are 16 bytes.
const HEADERS: &[u8] = &[0, 0, 16, 1, 5, 0, 0, 0, 1, 0x82];

#[tokio::test]
async fn a_connection_that_brings_no_request_is_closed_in_time() {
    let fixture = with_limits(Limits {
        head_time: Duration::from_millis(200),
        ..LIMITS
    });
    let (address, _served) = serve(&fixture).await;
    let whole = format!("GET {WIDGETS}?watch=true HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut watcher = BufReader::new(sent(address, &whole).await).lines();
    for begun_with in [
        b"".to_vec(),
        b"GET /version HTTP/1.1\r\nHo".to_vec(),
        b"PRI * HT".to_vec(),
        PREFACE.to_vec(),
        [PREFACE, SETTINGS].concat(),
        [PREFACE, SETTINGS, HEADERS].concat(),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&begun_with).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(30), rest(stream));
        let answer = closed.await.expect("the server closes the connection");
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    // One that brought its request in time lasts.
    fixture.post(WIDGETS, &raw("late")).await;
    loop {
        let line = watcher.next_line().await.unwrap().unwrap();
        if line.starts_with('{') {
            assert!(line.contains("\"late\""), "{line}");
            return;
        }
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_is_closed_in_time() {
    let fixture = with_limits(Limits {
        head_time: Duration::from_millis(200),
        ..LIMITS
    });
    let names = vec!["127.0.0.1".to_owned()];
    let access = Access::open(&fixture.dir.path().join("access"), names, now()).unwrap();
    let (address, _served) = serve_behind(&fixture, Some(Arc::new(access))).await;
    // The beginning of a handshake record that says to be longer.
    for begun_with in [&b""[..], &[0x16], &[0x16, 3, 1, 1, 0, 1, 0, 0]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun_with).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(30), rest(stream));
        closed.await.expect("the server closes the connection");
    }
}

#[tokio::test]
async fn bodies_are_bounded_in_sum() {
    let fixture = with_limits(Limits {
        bodies: 1_000,
        ..LIMITS
    });
    let (address, _served) = serve(&fixture).await;
    let mut widget = raw("");
    widget["metadata"] = json!({"generateName": "some-"});
    let body = widget.to_string();
    let ask = async || rest(sent(address, &post(address, body.len(), &body)).await).await;
    // What is announced counts for nothing, what has arrived does.
    let announced = sent(address, &post(address, 2_000_000, "")).await;
    assert!(ask().await.starts_with("HTTP/1.1 201 "));
    let slow = sent(address, &post(address, 2_000, &"x".repeat(990))).await;
    until("there is no room", async || {
        let answer = ask().await;
        let full = answer.starts_with("HTTP/1.1 429 ");
        assert_eq!(full, answer.contains("retry-after: 1"), "{answer}");
        full
    })
    .await;
    // Those within the process have room of their own.
    let json = "application/json";
    let (code, _) = fixture
        .call(Method::POST, WIDGETS, json, body.clone())
        .await;
    assert_eq!(code, StatusCode::CREATED);
    // One that takes more than is left is refused itself, and gives back what it took.
    drop(slow);
    until("there is room again", async || {
        ask().await.starts_with("HTTP/1.1 201 ")
    })
    .await;
    let large = rest(sent(address, &post(address, 1_500, &"x".repeat(1_500))).await).await;
    assert!(large.starts_with("HTTP/1.1 429 "), "{large}");
    assert!(ask().await.starts_with("HTTP/1.1 201 "));
    drop(announced);
}
