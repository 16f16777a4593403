#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use serde_json::Value;

use crate::cli::Failure;
use crate::cli::tests::Harness;

const EVENT: &str = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"data\":{\"b\":1.10,\"a\":2}}";

struct Ended {
    result: Result<(), Failure>,
    out: String,
    err: String,
}

/// Runs `listen` on a free port and lets `talk` speak to it.
async fn listen<F, T>(arguments: &[&str], stdin: &str, talk: F) -> Ended
where
    F: FnOnce(String) -> T,
    T: Future<Output = ()>,
{
    let mut line = vec!["listen", "--port", "0"];
    line.extend(arguments);
    let (mut harness, command) = Harness::new(&line, stdin);
    let (out, err) = (harness.out.clone(), harness.err.clone());
    let stop = harness.context.stop.clone();
    let run = crate::cli::run_command(command, &mut harness.context);
    let client = async {
        let url = loop {
            let text = err.text();
            match text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("listening at "))
            {
                Some(url) => break url.to_owned(),
                None => tokio::task::yield_now().await,
            }
        };
        talk(url).await;
        if !arguments.contains(&"--count") {
            stop.cancel();
        }
    };
    let both = async { tokio::join!(run, client) };
    let (result, ()) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("listening ends in time");
    Ended {
        result,
        out: out.text(),
        err: err.text(),
    }
}

fn client() -> reqwest::Client {
    crate::cli::http::client("http://x", "--url", 4).unwrap()
}

async fn post_json(url: &str, content_type: &str, body: &str) -> reqwest::Response {
    let request = client().post(url).header("content-type", content_type);
    request.body(body.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn events_are_printed_and_the_trigger_is_ready_to_paste() {
    let ended = listen(&["--count", "2", "-n", "shop"], "", async |url| {
        let answer = client()
            .post(&url)
            .header("ce-specversion", "1.0")
            .header("ce-id", "caf%C3%A9")
            .header("ce-source", "/s")
            .header("ce-type", "t")
            .header("content-type", "text/plain")
            .body("hello")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202);
        let answer = post_json(&url, "application/cloudevents+json", EVENT).await;
        assert_eq!(answer.status(), 202);
    })
    .await;
    assert_eq!(ended.result, Ok(()));
    assert!(
        ended
            .out
            .starts_with("event 1 (answered 202)\nspecversion      1.0\n"),
        "{}",
        ended.out
    );
    assert!(
        ended.out.contains("id               caf\u{e9}\n"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("\n\nhello\n\nevent 2"), "{}", ended.out);
    assert!(
        ended.out.ends_with("\n{\"b\":1.10,\"a\":2}\n\n"),
        "{}",
        ended.out
    );
    assert!(
        ended
            .err
            .ends_with("got 2 requests with 2 events; answered 2 with success\n"),
        "{}",
        ended.err
    );
    // The snippet is a manifest as it stands.
    let from = ended.err.find("apiVersion").unwrap();
    let to = ended.err.rfind("got 2").unwrap();
    let loaded = crate::cli::manifest::parse_text("f", &ended.err[from..to]).unwrap();
    let trigger = &loaded.resources[0];
    assert_eq!(
        (trigger.kind(), trigger.namespace()),
        ("Trigger", Some("shop"))
    );
    let url = ended
        .err
        .lines()
        .next()
        .unwrap()
        .strip_prefix("listening at ")
        .unwrap();
    assert_eq!(
        trigger.object["spec"]["subscriber"]["uri"],
        Value::from(url)
    );
}

#[tokio::test]
async fn the_first_ones_fail_and_then_a_reply_comes() {
    let reply = "specversion: \"1.0\"\nid: r\nsource: /r\ntype: reply\nsubject: two words\ndata: {ok: true}\n";
    let flags = [
        "--fail-first",
        "2",
        "--reply",
        "-",
        "--count",
        "3",
        "-o",
        "json",
    ];
    let ended = listen(&flags, reply, async |url| {
        for expected in [503, 503] {
            let answer = post_json(&url, "application/cloudevents+json", EVENT).await;
            assert_eq!(answer.status(), expected);
        }
        let answer = post_json(&url, "Application/CloudEvents+JSON; charset=utf-8", EVENT).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["ce-type"], "reply");
        assert_eq!(answer.headers()["ce-subject"], "two%20words");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.text().await.unwrap(), "{\"ok\":true}");
    })
    .await;
    assert_eq!(ended.result, Ok(()));
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines, [EVENT; 3]);
}

#[tokio::test]
async fn status_and_delay_are_as_told() {
    let ended = listen(
        &["--status", "404", "--delay", "30ms", "--quiet"],
        "",
        async |url| {
            let begun = tokio::time::Instant::now();
            let answer = post_json(&url, "application/cloudevents+json", EVENT).await;
            assert_eq!(answer.status(), 404);
            assert!(begun.elapsed() >= Duration::from_millis(30));
        },
    )
    .await;
    assert_eq!((ended.result, ended.out.as_str()), (Ok(()), ""));
    assert!(
        ended
            .err
            .ends_with("got 1 requests with 1 events; answered 0 with success\n")
    );
}

#[tokio::test]
async fn batches_and_requests_that_are_no_events_are_told_apart() {
    let ended = listen(&["-o", "json"], "", async |url| {
        let batch = format!("[{EVENT},{EVENT}]");
        let answer = post_json(&url, "application/cloudevents-batch+json", &batch).await;
        assert_eq!(answer.status(), 202);
        let answer = post_json(&url, "application/json", "{}").await;
        assert_eq!(answer.status(), 400);
        let answer = post_json(&url, "application/cloudevents+json", "not json").await;
        assert_eq!(answer.status(), 400);
        assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
        assert_eq!(client().delete(&url).send().await.unwrap().status(), 405);
        let options = client()
            .request(reqwest::Method::OPTIONS, &url)
            .header("webhook-request-origin", "example.com");
        let answer = options.send().await.unwrap();
        assert_eq!(answer.headers()["webhook-allowed-origin"], "example.com");
    })
    .await;
    assert_eq!(ended.out.lines().count(), 2);
    assert!(
        ended.err.contains("request 2: not a CloudEvent"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_taken_port_and_a_bad_reply_are_said_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (result, _) = Harness::run(&["listen", "--port", &port], "").await;
    let failure = result.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(format!("{failure:?}").contains("--port 0"), "{failure:?}");
    let (result, _) = Harness::run(&["listen", "--port", "0", "--reply", "-"], "id: 1\n").await;
    assert_eq!(result.unwrap_err().exit_code(), 64);
}
