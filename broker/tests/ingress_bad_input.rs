//! Malformed requests, and the exact answer to each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use heddle_broker::ingress::IngressOptions;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::Server;

/// The body limit of these tests.
const LIMIT: usize = 128 << 10;

/// What is sent before the case's own headers.
#[derive(Clone, Copy, PartialEq)]
enum Base {
    /// Nothing.
    Bare,
    /// Host.
    Host,
    /// Host, and the required attributes without the named one.
    BinaryWithout(&'static str),
    /// Host and the content type of one event in JSON.
    Json,
    /// Host and the content type of a batch.
    Batch,
}
use Base::{Bare, Batch, BinaryWithout, Host, Json};

/// A complete binary event.
const BINARY: Base = BinaryWithout("");

enum Body {
    /// With a Content-Length.
    Text(&'static str),
    /// So many letters, with a Content-Length.
    Long(usize),
    /// As it stands; the case's headers tell how long it is.
    Raw(&'static [u8]),
    /// So many letters in one chunk.
    LongChunk(usize),
    /// An envelope in JSON, with more members after the required ones.
    Envelope(&'static str),
    /// An envelope with a member `x` of so many letters.
    LongMember(usize),
    /// An envelope with so many extensions.
    Members(usize),
    /// A batch of one good element and this one.
    Second(&'static str),
}
use Body::{Envelope, Long, LongChunk, LongMember, Members, Raw, Second, Text};

struct Case {
    line: &'static str,
    base: Base,
    headers: &'static str,
    body: Body,
    status: u16,
    /// A part of the problem's detail; empty where there is no body, as for HEAD.
    detail: &'static str,
}

const fn case(
    line: &'static str,
    base: Base,
    headers: &'static str,
    body: Body,
    status: u16,
    detail: &'static str,
) -> Case {
    Case {
        line,
        base,
        headers,
        body,
        status,
        detail,
    }
}

/// A method of 200 letters; the answer does not repeat all of them.
const LONG_METHOD: &str = concat!(
    "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM",
    "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM",
    "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM",
    "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM",
    " /ns/b HTTP/1.1"
);

const P: &str = "POST /ns/b HTTP/1.1";

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Methods.
    case("GET /ns/b HTTP/1.1", Host, "", Text(""), 405, "GET is not supported here"),
    case("HEAD /ns/b HTTP/1.1", Host, "", Text(""), 405, ""),
    case("PUT /ns/b HTTP/1.1", BINARY, "", Text("x"), 405, "PUT is not supported here"),
    case("DELETE /ns/b HTTP/1.1", Host, "", Text(""), 405, "DELETE is not"),
    case("PATCH /ns/b HTTP/1.1", BINARY, "", Text("x"), 405, "PATCH is not"),
    case("TRACE / HTTP/1.1", Host, "", Text(""), 405, "TRACE is not"),
    case(LONG_METHOD, BINARY, "", Text("x"), 405, "MMMMMMMM is not supported"),
    case("BREW /ns/b HTTP/1.1", BINARY, "", Text("x"), 405, "BREW is not"),
    // Addresses.
    case("POST / HTTP/1.1", BINARY, "", Text("x"), 404, "sent to /<namespace>/<broker>"),
    case("POST // HTTP/1.1", BINARY, "", Text("x"), 400, "two parts"),
    case("POST /ns HTTP/1.1", BINARY, "", Text("x"), 400, "two parts"),
    case("POST /ns/ HTTP/1.1", BINARY, "", Text("x"), 400, "two parts"),
    case("POST //b HTTP/1.1", BINARY, "", Text("x"), 400, "two parts"),
    case("POST /ns/b/c HTTP/1.1", BINARY, "", Text("x"), 400, "two parts"),
    case("POST /ns/b// HTTP/1.1", BINARY, "", Text("x"), 400, "two parts"),
    case("POST /ns/none HTTP/1.1", BINARY, "", Text("x"), 404, "no broker or channel ns/none"),
    case("POST /other/b HTTP/1.1", BINARY, "", Text("x"), 404, "no broker or channel other/b"),
    case("POST /NS/B HTTP/1.1", BINARY, "", Text("x"), 404, "no broker or channel NS/B"),
    case("POST /ns/%62 HTTP/1.1", BINARY, "", Text("x"), 404, "no broker or channel ns/%62"),
    case("POST http://ch.ns.example/ns/b HTTP/1.1", BINARY, "", Text("x"), 400, "path / of its host"),
    case(P, Bare, "", Text(""), 400, "exactly one Host"),
    case(P, BINARY, "Host: y\r\n", Text("x"), 400, "exactly one Host"),
    case(P, Bare, "Host: CH.ns.example:80\r\n", Text(""), 400, "path / of its host"),
    // Binary mode.
    case(P, Host, "", Text("x"), 400, "not a CloudEvent"),
    case(P, Host, "Content-Type: application/json\r\n", Text("{}"), 400, "not a CloudEvent"),
    case(P, BinaryWithout("specversion"), "", Text("x"), 400, "`specversion` is missing"),
    case(P, BinaryWithout("id"), "", Text("x"), 400, "`id` is missing"),
    case(P, BinaryWithout("source"), "", Text("x"), 400, "`source` is missing"),
    case(P, BinaryWithout("type"), "", Text("x"), 400, "`type` is missing"),
    case(P, BinaryWithout("specversion"), "ce-specversion: 1.1\r\n", Text("x"), 400, "`specversion` is `1.1`"),
    case(P, BinaryWithout("specversion"), "ce-specversion: 0.2\r\n", Text("x"), 400, "`specversion` is `0.2`"),
    case(P, BinaryWithout("specversion"), "ce-specversion:\r\n", Text("x"), 400, "`specversion` is ``"),
    case(P, BinaryWithout("id"), "ce-id:\r\n", Text("x"), 400, "`id` must not be empty"),
    case(P, BinaryWithout("id"), "ce-id: \"\"\r\n", Text("x"), 400, "`id` must not be empty"),
    case(P, BinaryWithout("source"), "ce-source:\r\n", Text("x"), 400, "`source` must not be empty"),
    case(P, BinaryWithout("source"), "ce-source: a%20b\r\n", Text("x"), 400, "`source` is not a URI-reference"),
    case(P, BinaryWithout("type"), "ce-type:  \r\n", Text("x"), 400, "`type` must not be empty"),
    case(P, BINARY, "ce-id: 1\r\n", Text("x"), 400, "`id` is given more than once"),
    case(P, BINARY, "CE-Ext: 1\r\nce-ext: 2\r\n", Text("x"), 400, "`ext` is given more than once"),
    case(P, BINARY, "ce-my-ext: 1\r\n", Text("x"), 400, "`my-ext` has a name"),
    case(P, BINARY, "ce-data: 1\r\n", Text("x"), 400, "`data` has a name that is reserved"),
    case(P, BINARY, "ce-time: noon\r\n", Text("x"), 400, "`time` is not an RFC 3339"),
    case(P, BINARY, "ce-time: 2023-02-30T00:00:00Z\r\n", Text("x"), 400, "`time` is not an RFC 3339"),
    case(P, BINARY, "ce-subject:\r\n", Text("x"), 400, "`subject` must not be empty"),
    case(P, BINARY, "ce-dataschema: a b\r\n", Text("x"), 400, "`dataschema` is not a URI"),
    case(P, BINARY, "ce-ext: %C0%A0\r\n", Text("x"), 400, "`ext` is not UTF-8"),
    case(P, BINARY, "ce-ext: a%0Ab\r\n", Text("x"), 400, "`ext` has control characters"),
    case(P, BINARY, "ce-datacontenttype: text/plain\r\n", Text("x"), 400, "travels in the Content-Type"),
    case(P, BINARY, "Content-Type: json\r\n", Text("x"), 400, "`datacontenttype` is not a media type"),
    case(P, BINARY, "Content-Type: a/b\r\nContent-Type: a/c\r\n", Text("x"), 400, "`datacontenttype` is given more than once"),
    case(P, BINARY, "Content-Encoding: gzip\r\n", Text("x"), 415, "content coding `gzip`"),
    case(P, BINARY, "ce-knativebrokerttl: 1\r\n", Text("x"), 400, "`knativebrokerttl` is used up"),
    case(P, BINARY, "ce-knativebrokerttl: 0\r\n", Text("x"), 400, "`knativebrokerttl` is used up"),
    case(P, BINARY, "ce-knativebrokerttl: -3\r\n", Text("x"), 400, "`knativebrokerttl` is used up"),
    case(P, BINARY, "ce-knativebrokerttl: many\r\n", Text("x"), 400, "`knativebrokerttl` is not a whole number"),
    // Formats.
    case(P, Host, "Content-Type: application/cloudevents+xml\r\n", Text("<e/>"), 415, "`application/cloudevents+xml` is not known"),
    case(P, Host, "Content-Type: application/cloudevents\r\n", Text("{}"), 415, "`application/cloudevents` is not known"),
    case(P, Host, "Content-Type: application/cloudevents-batch+avro\r\n", Text("x"), 415, "batch+avro` is not known"),
    case(P, BINARY, "Content-Type: application/cloudevents+protobuf\r\n", Text("x"), 415, "protobuf` is not known"),
    case(P, Host, "Content-Type: application/cloudevents+json; charset=utf-16\r\n", Text("{}"), 415, "charset `utf-16`"),
    // Structured mode.
    case(P, Json, "", Text(""), 400, "not an event in JSON: EOF"),
    case(P, Json, "", Text("hello"), 400, "not an event in JSON: expected value at line 1 column 1"),
    case(P, Json, "", Text("\"{\\\"id\\\":1}\""), 400, "perhaps it was encoded twice"),
    case(P, Batch, "", Text(" \"[]\""), 400, "perhaps it was encoded twice"),
    case(P, Batch, "", Text("[\"{}\"]"), 400, "element 0 of the batch: the body is not an event in JSON: it is a JSON string"),
    case(P, Json, "", Text("[]"), 400, "an event, which is a JSON object"),
    case(P, Json, "", Text("{\"id\":\"1\""), 400, "EOF while parsing an object"),
    case(P, Json, "", Text("{} {}"), 400, "trailing characters"),
    case(P, Json, "", Text("{}"), 400, "`specversion` is missing"),
    case(P, Json, "", Text("{\"specversion\":1.0}"), 400, "`specversion` must be a JSON string"),
    case(P, Json, "", Text("{\"specversion\":\"1.0\",\"source\":\"/\",\"type\":\"t\"}"), 400, "`id` is missing"),
    case(P, Json, "", Text("{\"specversion\":\"1.0\",\"id\":null,\"source\":\"/\",\"type\":\"t\"}"), 400, "`id` is missing"),
    case(P, Json, "", Text("{\"id\":1}"), 400, "`id` must be a JSON string"),
    case(P, Json, "", Envelope(",\"id\":\"2\""), 400, "`id` is given more than once"),
    case(P, Json, "", Envelope(",\"data\":1,\"data\":2"), 400, "`data` is given more than once"),
    case(P, Json, "", Envelope(",\"x\":1.5"), 400, "`x` is a number with a fraction"),
    case(P, Json, "", Envelope(",\"x\":3000000000"), 400, "`x` does not fit into 32 bits"),
    case(P, Json, "", Envelope(",\"x\":{\"y\":1}"), 400, "`x` is an object"),
    case(P, Json, "", Envelope(",\"myExt\":1"), 400, "`myExt` has a name"),
    case(P, Json, "", Envelope(",\"x\":\"\\udc00\""), 400, "`x` has half of a surrogate pair"),
    case(P, Json, "", Envelope(",\"x\":\"\\u0000\""), 400, "`x` has control characters"),
    case(P, Json, "", Envelope(",\"data_base64\":\"!\""), 400, "`data_base64` is not base64"),
    case(P, Json, "", Envelope(",\"data\":1,\"data_base64\":\"YQ==\""), 400, "there beside `data`"),
    case(P, Json, "", Envelope(",\"time\":\"today\""), 400, "`time` is not an RFC 3339"),
    case(P, Json, "", Envelope(",\"knativebrokerttl\":0"), 400, "`knativebrokerttl` is used up"),
    case(P, Json, "", Envelope(",\"knativebrokerttl\":true"), 400, "`knativebrokerttl` is not a whole"),
    case(P, Json, "", LongMember(70_000), 400, "`x` has 70000 bytes; at most 65536"),
    case(P, Json, "", Members(253), 400, "an event has at most 255 attributes"),
    case(P, Json, "", Members(252), 400, "an event has at most 255 attributes"),
    case(P, Json, "Content-Length: 2\r\n", Raw(b"\xff\xfe"), 400, "the body is not UTF-8"),
    // Batches.
    case(P, Batch, "", Envelope(""), 400, "a batch, which is a JSON array"),
    case(P, Batch, "", Text("[1]"), 400, "element 0 of the batch"),
    case(P, Batch, "", Second("{}"), 400, "element 1 of the batch: attribute `specversion` is missing"),
    case(P, Batch, "", Second("null"), 400, "element 1 of the batch"),
    case(P, Batch, "", Second(""), 400, "trailing comma"),
    case(P, Batch, "", Second("{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/\",\"type\":\"t\",\"knativebrokerttl\":1}"), 400, "element 1 of the batch: attribute `knativebrokerttl` is used up"),
    // Sizes.
    case(P, BINARY, "", Long(LIMIT + 1), 413, "more than the 131072 bytes"),
    case(P, BINARY, "", Long(20 * LIMIT), 413, "more than the 131072 bytes"),
    case(P, BINARY, "Content-Length: 99999999999\r\nExpect: 100-continue\r\n", Raw(b""), 413, "more than the 131072 bytes"),
    case(P, BINARY, "", LongChunk(LIMIT + 1), 413, "more than the 131072 bytes"),
    // Not HTTP.
    case("POST", Bare, "", Raw(b""), 400, "not valid HTTP"),
    case("POST /ns/b HTTP/9.9", Host, "", Raw(b""), 400, "not valid HTTP"),
    case(P, BINARY, "Content-Length: many\r\n", Raw(b"x"), 400, "not valid HTTP"),
    case(P, BINARY, "Content-Length: -1\r\n", Raw(b"x"), 400, "not valid HTTP"),
    case(P, BINARY, "Content-Length: 1\r\nContent-Length: 2\r\n", Raw(b"xx"), 400, "not valid HTTP"),
    case(P, BINARY, "no colon\r\n", Text("x"), 400, "not valid HTTP"),
    case(P, BINARY, "ce-ext : x\r\n", Text("x"), 400, "not valid HTTP"),
    case(P, BINARY, "ce-ext: a\0b\r\n", Text("x"), 400, "not valid HTTP"),
    case(P, BINARY, "Transfer-Encoding: gzip\r\n", Raw(b"x"), 400, "not valid HTTP"),
    case(P, BINARY, "Transfer-Encoding: chunked\r\n", Raw(b"zz\r\nx\r\n0\r\n\r\n"), 400, "the body could not be read"),
];

impl Case {
    fn request(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        if self.base != Bare {
            head += "Host: x\r\n";
        }
        match self.base {
            BinaryWithout(missing) => {
                for (name, value) in [
                    ("specversion", "1.0"),
                    ("id", "1"),
                    ("source", "/s"),
                    ("type", "t"),
                ] {
                    if name != missing {
                        head += &format!("ce-{name}: {value}\r\n");
                    }
                }
            }
            Json => head += "Content-Type: application/cloudevents+json\r\n",
            Batch => head += "Content-Type: application/cloudevents-batch+json\r\n",
            Bare | Host => {}
        }
        head += self.headers;
        let envelope = |rest: &str| {
            format!(
                "{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"{rest}}}"
            )
        };
        let text = match &self.body {
            Raw(bytes) => return [head.as_bytes(), b"\r\n", bytes].concat(),
            LongChunk(length) => {
                let body = format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(*length));
                return format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
            }
            Text(text) => (*text).to_owned(),
            Long(length) => "x".repeat(*length),
            Envelope(rest) => envelope(rest),
            LongMember(length) => envelope(&format!(",\"x\":\"{}\"", "y".repeat(*length))),
            Members(count) => envelope(
                &(0..*count)
                    .map(|i| format!(",\"x{i}\":1"))
                    .collect::<String>(),
            ),
            Second(element) => format!("[{},{element}]", envelope("")),
        };
        format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
    }
}

#[tokio::test]
async fn every_bad_request_has_its_answer() {
    let options = IngressOptions {
        max_body_bytes: LIMIT,
        ..IngressOptions::default()
    };
    let server = Server::start(options).await;
    assert!(CASES.len() >= 60);
    for case in CASES {
        let request = case.request();
        let start = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
        let answer = server.ask(&request).await;
        assert_eq!(answer.status, case.status, "{start}\n{answer:?}");
        if case.detail.is_empty() {
            assert_eq!(answer.body, b"", "{start}");
        } else {
            let detail = answer.detail();
            assert!(detail.len() < 400, "{start}\n{detail}");
            assert!(detail.contains(case.detail), "{start}\n{detail}");
        }
        let retry = answer.header("retry-after");
        assert_eq!(retry, None, "{start}");
        if answer.status == 405 {
            assert_eq!(answer.header("allow"), Some("POST, OPTIONS"), "{start}");
        }
    }
    assert_eq!(
        server.broker.appends().len() + server.channel.appends().len(),
        0
    );
    // It still works.
    assert_eq!(
        server.ask(support::binary("/ns/b", "", "x")).await.status,
        202
    );
}

#[tokio::test]
async fn problems_name_attribute_element_and_limit() {
    let server = Server::start(IngressOptions::default()).await;
    let event = |id: &str, rest: &str| {
        format!("{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/\",\"type\":\"t\"{rest}}}")
    };
    let batch = |second: String| {
        support::json(
            "/ns/b",
            "cloudevents-batch+json",
            &format!("[{},{second}]", event("1", "")),
        )
    };
    let problem = server.ask(batch(event("", ""))).await.problem();
    assert_eq!(
        (&problem["element"], &problem["attribute"]),
        (&1.into(), &"id".into())
    );
    assert_eq!(problem["type"], "urn:heddle:problem:invalid-event");
    let problem = server
        .ask(batch(event("2", ",\"knativebrokerttl\":1")))
        .await
        .problem();
    assert_eq!(problem["element"], 1);
    assert_eq!(problem["attribute"], "knativebrokerttl");
    assert_eq!(problem["type"], "urn:heddle:problem:ttl-used-up");
    let huge = "POST /ns/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\
                Expect: 100-continue\r\n\r\n";
    let problem = server.ask(huge).await.problem();
    assert_eq!(problem["limit"], 1_048_576);
    assert_eq!(problem.get("attribute"), None);
    let coded = server
        .ask(support::binary("/ns/b", "Content-Encoding: br\r\n", "x"))
        .await;
    assert_eq!(coded.header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn header_floods_are_answered_with_431() {
    let server = Server::start(IngressOptions::default()).await;
    let many: String = (0..120).map(|i| format!("x-{i}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(70 << 10));
    // More than the sockets hold: the answer must not be lost with what nobody reads.
    let flood = format!("x-long: {}\r\n", "y".repeat(900 << 10));
    for headers in [&many, &long, &flood] {
        let answer = server.ask(support::binary("/ns/b", headers, "")).await;
        assert_eq!(answer.status, 431);
        assert_eq!(answer.header("connection"), Some("close"));
        let problem = answer.problem();
        assert_eq!(problem["type"], "urn:heddle:problem:head-too-large");
        assert_eq!(problem["limit"], 65536);
        let detail = "more than the 100 headers or 65536 bytes of them";
        assert!(answer.detail().contains(detail), "{problem}");
    }
    let address = format!("POST /ns/{} HTTP/1.1\r\n", "b".repeat(65535));
    let options = IngressOptions {
        max_header_bytes: 128 << 10,
        ..IngressOptions::default()
    };
    let wide = Server::start(options).await;
    let answer = wide.ask(format!("{address}Host: x\r\n\r\n")).await;
    assert_eq!(answer.status, 414);
    assert!(answer.detail().contains("too long"));
    assert!(server.metrics().contains("outcome=\"head-too-large\"} 3"));
    let fits: String = (0..80)
        .map(|i| format!("x-{i}: {}\r\n", "y".repeat(500)))
        .collect();
    assert_eq!(
        server.ask(support::binary("/ns/b", &fits, "")).await.status,
        202
    );

    let options = IngressOptions {
        max_headers: 200,
        max_header_bytes: 16 << 10,
        ..IngressOptions::default()
    };
    let server = Server::start(options).await;
    assert_eq!(
        server.ask(support::binary("/ns/b", &many, "")).await.status,
        202
    );
    assert_eq!(
        server.ask(support::binary("/ns/b", &fits, "")).await.status,
        431
    );
}

#[tokio::test]
async fn a_refusal_among_good_requests_is_seen() {
    let server = Server::start(IngressOptions::default()).await;
    let mut client = server.connect().await;
    let answer = client.ask(support::binary("/ns/b", "", "x")).await;
    assert_eq!(answer.status, 202);
    let answer = client.ask("\x16\x03\x01 a TLS hello, say\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.problem()["type"], "urn:heddle:problem:bad-http");
}

#[tokio::test]
async fn header_floods_in_http2_are_answered_with_431() {
    let server = Server::start(IngressOptions::default()).await;
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(16 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let event = |count: usize, length: usize| {
        let mut request = http::Request::post("http://x/ns/b");
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
        ] {
            request = request.header(name, value);
        }
        for i in 0..count {
            request = request.header(format!("x-{i}"), "y".repeat(length));
        }
        request.body(Full::<Bytes>::default()).unwrap()
    };
    // Within the limits, too many, too long, and longer than what is read.
    for (count, length, status, explained) in [
        (90, 500, 202, false),
        (120, 1, 431, true),
        (50, 1500, 431, true),
        (50, 3000, 431, false),
        (1, 1, 202, false),
    ] {
        let answer = sender.send_request(event(count, length)).await.unwrap();
        assert_eq!(answer.status(), status, "{count} headers of {length} bytes");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let named = String::from_utf8_lossy(&body).contains("urn:heddle:problem:head-too-large");
        assert_eq!(named, explained, "{count} headers of {length} bytes");
    }
    // A flood without end costs the producer the connection.
    let error = sender.send_request(event(50, 20_000)).await.unwrap_err();
    assert!(
        format!("{error:?}").contains("ENHANCE_YOUR_CALM"),
        "{error:?}"
    );
    assert_eq!(server.broker.appends().len(), 2);
}

#[tokio::test]
async fn odd_requests_that_are_good() {
    let server = Server::start(IngressOptions::default()).await;
    let good = [
        support::binary("/ns/b/", "", ""),
        support::binary("/ns/b?a=b", "", "x"),
        support::binary("http://anything/ns/b", "", "x"),
        support::binary("/ns/b", "Content-Encoding: identity\r\n", "x"),
        support::binary("/ns/b", "CE-Subject: 100%\r\nx-ignored: \u{e9}\r\n", "x"),
        support::binary(
            "/ns/b",
            "ce-traceparent: nonsense\r\ntraceparent: nonsense\r\n",
            "",
        ),
        support::binary("/ns/b", "", "").replace("HTTP/1.1\r\nHost: x", "HTTP/1.0"),
        support::binary("/ns/b", "", "").replace("\r\n", "\n"),
        support::json("/ns/b", "cloudevents-batch+json", "[]"),
    ];
    for request in good {
        let answer = server.ask(&request).await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (202, &b""[..]),
            "{request}"
        );
    }
    assert_eq!(server.broker.appends().len(), 8);
}
