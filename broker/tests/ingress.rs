//! The ingress over real connections: what it keeps, when it answers, and how it gives way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use heddle_broker::event::http::encode_binary;
use heddle_broker::event::{AttributeKind, DataForm};
use heddle_broker::ingress::IngressOptions;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{DEADLINE, NOW, Server, binary, json};
use tokio::net::TcpStream;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn envelope(id: &str, rest: &str) -> String {
    format!("{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"t\"{rest}}}")
}

async fn start() -> Server {
    Server::start(IngressOptions::default()).await
}

#[tokio::test]
async fn a_binary_event_is_kept_byte_for_byte() {
    let server = start().await;
    let more = format!(
        "ce-subject: \"a b\" 100%\r\nce-ext: Euro%20%E2%82%AC\r\ntraceparent: {TRACE}\r\n\
         Content-Type: application/json\r\n"
    );
    let body = " {\"b\":1.10,\"a\":123456789012345678901234567890,\"a\":null}\n";
    let answer = server.ask(binary("/ns/b", &more, body)).await;
    assert_eq!((answer.status, &answer.body[..]), (202, &b""[..]));
    let event = server.broker.only();
    assert_eq!(event.attribute("knativearrivaltime").unwrap().text, NOW);
    let ttl = event.attribute("knativebrokerttl").unwrap();
    assert_eq!((ttl.text, ttl.kind), ("255", AttributeKind::Integer));
    assert_eq!(event.attribute("traceparent").unwrap().text, TRACE);
    let (headers, data) = encode_binary(
        &event,
        &["knativearrivaltime", "knativebrokerttl", "traceparent"],
    );
    assert_eq!(data, body);
    assert_eq!(headers["ce-subject"], "\"a b\" 100%");
    assert_eq!(headers["ce-ext"], "Euro%20%E2%82%AC");
    assert_eq!(headers.len(), 7);
}

#[tokio::test]
async fn a_structured_event_is_kept_byte_for_byte() {
    let server = start().await;
    let data = "{ \"b\":1.10,\"a\":123456789012345678901234567890, \"a\" :null}";
    let rest = format!(",\"n\":7,\"knativebrokerttl\":9,\"data\":{data}");
    let request = json("/ns/b", "cloudevents+json", &envelope("1", &rest));
    assert_eq!(server.ask(request).await.status, 202);
    let event = server.broker.only();
    assert_eq!(
        (event.data_form(), &event.data()[..]),
        (DataForm::Json, data.as_bytes())
    );
    assert_eq!(event.attribute("n").unwrap().kind, AttributeKind::Integer);
    assert_eq!(event.attribute("knativebrokerttl").unwrap().text, "8");
}

#[tokio::test]
async fn channels_and_sinks_are_reached_by_host_and_by_path_and_change_nothing() {
    let server = start().await;
    for (path, host) in [
        ("/", "CH.ns.example:8080"),
        ("/ns/ch", "x"),
        ("/channels/ns/ch", "x"),
        ("http://ch.ns.example/", "x"),
        ("/ns/ks", "x"),
        ("/kafkasinks/ns/ks", "x"),
    ] {
        let request = binary(path, "ce-knativebrokerttl: 0\r\n", "x")
            .replace("Host: x", &format!("Host: {host}"));
        assert_eq!(server.ask(request).await.status, 202, "{path} {host}");
    }
    let appends = server.channel.appends();
    assert_eq!(appends.len(), 6);
    for append in appends {
        let names: Vec<_> = append[0].attributes().map(|a| (a.name, a.text)).collect();
        assert_eq!(
            names,
            [
                ("id", "1"),
                ("source", "/s"),
                ("type", "t"),
                ("knativebrokerttl", "0")
            ]
        );
    }
    assert!(server.broker.appends().is_empty());
}

#[tokio::test]
async fn options_is_the_webhook_handshake() {
    let server = start().await;
    for path in ["/ns/b", "/", "*"] {
        let request =
            format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\nWebHook-Request-Origin: y\r\n\r\n");
        let answer = server.ask(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
        assert_eq!(answer.header("webhook-allowed-origin"), Some("*"));
        assert_eq!(answer.header("webhook-allowed-rate"), Some("*"));
    }
}

#[tokio::test]
async fn a_batch_is_one_append_or_none() {
    let server = start().await;
    let send = |body: String| json("/ns/b", "cloudevents-batch+json; charset=UTF-8", &body);
    let good: Vec<_> = (0..100)
        .map(|i| envelope(&i.to_string(), ",\"data\":1"))
        .collect();
    let mut bad = good.clone();
    bad[57] = envelope("57", ",\"data_base64\":\"*\"");
    assert_eq!(
        server
            .ask(send(format!("[{}]", bad.join(","))))
            .await
            .problem()["element"],
        57
    );
    assert_eq!(server.ask(send("[]".into())).await.status, 202);
    assert!(server.broker.appends().is_empty());
    assert_eq!(
        server
            .ask(send(format!("[{}]", good.join(","))))
            .await
            .status,
        202
    );
    let appends = server.broker.appends();
    assert_eq!(appends.len(), 1);
    let ids: Vec<_> = appends[0]
        .iter()
        .map(|event| event.id().to_owned())
        .collect();
    assert_eq!(ids, (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_answer_waits_for_the_commit() {
    let server = start().await;
    server.broker.wait();
    let mut client = server.connect().await;
    client.send(binary("/ns/b", "", "x")).await;
    server.broker.appended(1).await;
    // Another request on another connection goes through meanwhile.
    assert_eq!(server.ask(binary("/ns/ch", "", "x")).await.status, 202);
    assert!(client.silent());
    server.broker.commit();
    assert_eq!(client.answer().await.status, 202);
}

#[tokio::test]
async fn http2_is_served_on_the_same_port() {
    let server = start().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let request = |uri: String, body: String| {
        let builder = Request::post(uri)
            .header("ce-specversion", "1.0")
            .header("ce-source", "/s")
            .header("ce-type", "t");
        builder
            .header("ce-id", "1")
            .body(Full::new(Bytes::from(body)))
            .unwrap()
    };
    let uri = |path: &str| format!("http://{}{path}", server.address);
    let sends = (0..50).map(|i| {
        let mut sender = sender.clone();
        let request = request(uri("/ns/b"), i.to_string());
        async move { sender.send_request(request).await.unwrap().status() }
    });
    let statuses = futures::future::join_all(sends).await;
    assert!(
        statuses
            .iter()
            .all(|status| *status == StatusCode::ACCEPTED),
        "{statuses:?}"
    );
    assert_eq!(server.broker.appends().len(), 50);
    let mut sender = sender;
    for (request, status) in [
        (request("http://ch.ns.example/".into(), "x".into()), 202),
        (request(uri("/ns/none"), "x".into()), 404),
        (request(uri("/ns/b"), "x".repeat(2 << 20)), 413),
        (request(uri("/ns/b"), "x".into()), 202),
    ] {
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.is_empty(), status == 202);
    }
    assert_eq!(server.channel.appends().len(), 1);
    drop(sender);
    let ended = tokio::time::timeout(DEADLINE, driver.join_next())
        .await
        .unwrap();
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_finishes_what_was_begun() {
    let server = start().await;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask(binary("/ns/ch", "", "x")).await.status, 202);
    server.broker.wait();
    let mut busy = server.connect().await;
    busy.send(binary("/ns/b", "", "x")).await;
    server.broker.appended(1).await;
    server.drain.cancel();
    idle.closed().await;
    assert!(busy.silent());
    server.broker.commit();
    assert_eq!(busy.answer().await.status, 202);
    busy.closed().await;
    server.ended().await;
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn force_drops_what_was_begun() {
    let server = start().await;
    server.broker.wait();
    let mut busy = server.connect().await;
    busy.send(binary("/ns/b", "", "x")).await;
    server.broker.appended(1).await;
    server.force.cancel();
    busy.closed().await;
    server.ended().await;
    assert!(server.metrics().contains("heddle_ingress_connections 0"));
}

#[tokio::test]
async fn requests_need_no_socket() {
    let server = start().await;
    let request = Request::post("/ns/b")
        .header("host", "x")
        .header("content-type", "application/cloudevents+json")
        .body(Full::new(Bytes::from(envelope("1", ""))))
        .unwrap();
    let answer = server.ingress.handle(request).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(server.broker.only().id(), "1");
}

#[tokio::test]
async fn what_happens_is_counted() {
    let server = start().await;
    server.ask(binary("/ns/b", "", "x")).await;
    let batch = format!("[{},{}]", envelope("1", ""), envelope("2", ""));
    server
        .ask(json("/ns/ch", "cloudevents-batch+json", &batch))
        .await;
    server.ask(binary("/ns/none", "", "x")).await;
    server.ask("OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let text = server.metrics();
    for line in [
        "heddle_ingress_requests_total{outcome=\"accepted\"} 2",
        "heddle_ingress_requests_total{outcome=\"not-found\"} 1",
        "heddle_ingress_requests_total{outcome=\"handshake\"} 1",
        "heddle_ingress_events_total{namespace=\"ns\",name=\"b\",kind=\"broker\"} 1",
        "heddle_ingress_events_total{namespace=\"ns\",name=\"ch\",kind=\"channel\"} 2",
        "heddle_ingress_request_seconds_count 2",
        "heddle_ingress_in_flight_bytes 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
