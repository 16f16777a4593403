//! How the ingress gives way: logs that refuse, clients that are slow, and too much of everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use heddle_broker::ingress::IngressOptions;
use heddle_broker::log::AppendError;
use support::{Client, DEADLINE, Server, binary};

async fn start() -> Server {
    Server::start(IngressOptions::default()).await
}

#[tokio::test]
async fn refusals_of_the_log_have_their_answers() {
    let server = start().await;
    let cases = [
        (
            AppendError::Busy { pending_bytes: 9 },
            503,
            Some("1"),
            "9 bytes wait",
        ),
        (
            AppendError::Full { bytes: 7 },
            503,
            Some("1"),
            "holds 7 bytes",
        ),
        (AppendError::DiskFull, 507, Some("10"), "disk"),
        (
            AppendError::TooLarge { bytes: 8, limit: 5 },
            413,
            None,
            "8 bytes",
        ),
        (
            AppendError::Closed {
                reason: "an fsync failed".into(),
            },
            503,
            Some("1"),
            "an fsync failed",
        ),
    ];
    let mut client = server.connect().await;
    for (error, status, retry, detail) in cases {
        for commit in [false, true] {
            if commit {
                server.broker.fail_commit(error.clone());
            } else {
                server.broker.refuse(error.clone());
            }
            let answer = client.ask(binary("/ns/b", "", "x")).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("retry-after"), retry);
            assert!(answer.detail().contains(detail), "{}", answer.detail());
        }
    }
    server.broker.keep();
    assert_eq!(client.ask(binary("/ns/b", "", "x")).await.status, 202);
    assert_eq!(server.broker.appends().len(), 1);
}

#[tokio::test]
async fn a_log_that_never_answers_does_not_hang_the_producer() {
    let options = IngressOptions {
        commit_timeout: Duration::from_millis(50),
        ..IngressOptions::default()
    };
    let server = Server::start(options).await;
    server.broker.wait();
    let answer = server.ask(binary("/ns/b", "", "x")).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert!(answer.detail().contains("may have been kept"));
}

#[tokio::test]
async fn unfinished_requests_have_a_budget_of_bytes() {
    let options = IngressOptions {
        max_body_bytes: 1000,
        max_in_flight_bytes: 1500,
        ..IngressOptions::default()
    };
    let server = Server::start(options).await;
    server.broker.wait();
    let body = "x".repeat(900);
    let mut first = server.connect().await;
    first.send(binary("/ns/b", "", &body)).await;
    server.broker.appended(1).await;
    assert!(
        server
            .metrics()
            .contains("heddle_ingress_in_flight_bytes 900"),
        "{}",
        server.metrics()
    );
    let mut second = server.connect().await;
    let chunked = binary("/ns/ch", "", "").replace(
        "Content-Length: 0\r\n\r\n",
        &format!("Transfer-Encoding: chunked\r\n\r\n384\r\n{body}\r\n0\r\n\r\n"),
    );
    for request in [binary("/ns/ch", "", &body), chunked] {
        let answer = second.ask(&request).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (429, Some("1")),
            "{answer:?}"
        );
        assert_eq!(answer.problem()["limit"], 1500);
    }
    // What fits still passes.
    assert_eq!(second.ask(binary("/ns/ch", "", "small")).await.status, 202);
    server.broker.commit();
    assert_eq!(first.answer().await.status, 202);
    assert_eq!(second.ask(binary("/ns/ch", "", &body)).await.status, 202);
    assert!(
        server
            .metrics()
            .contains("heddle_ingress_in_flight_bytes 0")
    );
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let options = IngressOptions {
        idle_timeout: Duration::from_millis(150),
        body_timeout: Duration::from_millis(100),
        ..IngressOptions::default()
    };
    let server = Server::start(options).await;
    // Nothing at all; the start of either HTTP; half a head.
    for start in [
        "",
        "P",
        "PRI * HT",
        "POST /ns/b HTTP/1.1\r\nHost: x\r\nce-id",
    ] {
        let mut client = server.connect().await;
        client.send(start).await;
        client.closed().await;
    }
    // A body that does not come.
    let mut client = server.connect().await;
    let request = binary("/ns/b", "", "hello");
    let answer = client.ask(request.trim_end_matches("llo")).await;
    assert_eq!(answer.status, 408);
    assert!(answer.detail().contains("did not arrive in time"));
    assert_eq!(answer.header("connection"), Some("close"));
    client.closed().await;
    // An idle connection after a good request.
    let mut client = server.connect().await;
    assert_eq!(client.ask(binary("/ns/b", "", "x")).await.status, 202);
    client.closed().await;
    assert_eq!(server.broker.appends().len(), 1);
}

#[tokio::test]
async fn a_request_that_takes_long_is_not_idle() {
    let options = IngressOptions {
        idle_timeout: Duration::from_millis(30),
        ..IngressOptions::default()
    };
    let server = Server::start(options).await;
    server.broker.wait();
    let mut busy = server.connect().await;
    busy.send(binary("/ns/b", "", "x")).await;
    server.broker.appended(1).await;
    // Each of these takes as long as an idle connection may.
    for _ in 0..3 {
        server.connect().await.closed().await;
    }
    assert!(busy.silent());
    server.broker.commit();
    assert_eq!(busy.answer().await.status, 202);
    busy.closed().await;
}

#[tokio::test]
async fn expect_continue_is_honoured() {
    let server = start().await;
    let mut client = server.connect().await;
    let request = binary("/ns/b", "Expect: 100-continue\r\n", "hello");
    let (head, body) = request.split_at(request.len() - 5);
    assert_eq!(client.ask(head).await.status, 100);
    assert_eq!(client.ask(body).await.status, 202);
    assert_eq!(server.broker.only().data(), "hello");
    // What is refused by its head is refused without asking for the body.
    let too_large = head.replace("Content-Length: 5", "Content-Length: 2000000");
    assert_eq!(server.ask(&too_large).await.status, 413);
    assert_eq!(
        server.ask(head.replace("/ns/b", "/ns/none")).await.status,
        404
    );
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let options = IngressOptions {
        max_body_bytes: 64 << 10,
        ..IngressOptions::default()
    };
    let server = Server::start(options).await;
    let mut client = server.connect().await;
    let long = "x".repeat(200 << 10);
    for (request, status) in [
        (binary("/ns/none", "", &long), 404),
        (binary("/ns/b", "", &long), 413),
        (binary("/ns/b", "ce-id: 2\r\n", "x"), 400),
        (binary("/ns/b", "", "x").replacen("POST", "PUT", 1), 405),
        (binary("/ns/b", "Content-Encoding: gzip\r\n", &long), 415),
        (binary("/ns/b", "", "x"), 202),
    ] {
        assert_eq!(client.ask(&request).await.status, status);
    }
    // Two requests at once are answered in their order.
    client
        .send(binary("/ns/b", "", "y") + &binary("/", "", "y"))
        .await;
    assert_eq!(client.answer().await.status, 202);
    assert_eq!(client.answer().await.status, 404);
    // A chunked body in pieces is put together.
    let head = binary("/ns/b", "", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    client.send(head + "3\r\nabc\r\n").await;
    assert_eq!(client.ask("2\r\nde\r\n0\r\n\r\n").await.status, 202);
    let appends = server.broker.appends();
    assert_eq!(appends.last().unwrap()[0].data(), "abcde");
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let options = IngressOptions {
        max_connections: 1,
        ..IngressOptions::default()
    };
    let server = Server::start(options).await;
    let mut seated = server.connect().await;
    assert_eq!(seated.ask(binary("/ns/b", "", "x")).await.status, 202);
    let mut other = server.connect().await;
    let answer = other.ask(binary("/ns/b", "", "x")).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert!(answer.detail().contains("connections"));
    other.closed().await;
    assert_eq!(seated.ask(binary("/ns/b", "", "x")).await.status, 202);
    drop(seated);
    let again = async {
        while server.ask(binary("/ns/b", "", "x")).await.status != 202 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_harms_nothing() {
    let server = start().await;
    server.broker.wait();
    let mut leaving = server.connect().await;
    leaving.send(binary("/ns/b", "", "x")).await;
    server.broker.appended(1).await;
    drop(leaving);
    let mut half = Client::connect(server.address).await;
    half.send(binary("/ns/b", "", "hello").trim_end_matches("llo"))
        .await;
    drop(half);
    server.broker.commit();
    server.broker.keep();
    assert_eq!(server.ask(binary("/ns/b", "", "x")).await.status, 202);
    server.drain.cancel();
    server.ended().await;
    assert!(
        server
            .metrics()
            .contains("heddle_ingress_in_flight_bytes 0")
    );
    assert_eq!(server.broker.appends().len(), 2);
}
