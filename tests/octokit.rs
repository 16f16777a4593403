//! Real payloads, byte for byte: every example payload of the npm package
//! `@octokit/webhooks-examples` goes through the broker as a CloudEvent, and arrives with the same
//! bytes, so that GitHub's signature over them still verifies.
//!
//! `tests/scripts/octokit-examples.sh` fetches the package and prints its folder, which belongs in
//! `HEDDLE_OCTOKIT_EXAMPLES`. Without it the same test runs over `tests/data/payloads`, a few
//! payloads chosen to be hard.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::Method;
use ring::hmac;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use support::api::trigger;
use support::{Delivery, Heddle, Http, Subscriber, data_directory, report};

const SECRET: &[u8] = b"It's a Secret to Everybody";

/// One payload, as it stands in its file.
#[derive(Debug)]
struct Payload {
    event: String,
    text: Bytes,
}

/// A webhook event of the package's `index.json`.
#[derive(Debug, serde::Deserialize)]
struct Webhook<'a> {
    name: String,
    #[serde(borrow)]
    examples: Vec<&'a RawValue>,
}

/// All payloads below `directory`: those in files called `index.json`, and each other file as one.
fn payloads(directory: &Path) -> Vec<Payload> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "json")
                && path.file_name().is_some_and(|name| name != "package.json")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Vec<Payload> {
    let text = std::fs::read_to_string(file).unwrap();
    if file.file_name().is_some_and(|name| name == "index.json") {
        let webhooks: Vec<Webhook<'_>> = serde_json::from_str(&text).unwrap();
        let one = |name: &str, raw: &RawValue| Payload {
            event: name.to_owned(),
            text: Bytes::copy_from_slice(raw.get().as_bytes()),
        };
        return webhooks
            .iter()
            .flat_map(|w| w.examples.iter().map(|raw| one(&w.name, raw)))
            .collect();
    }
    vec![Payload {
        event: file.file_stem().unwrap().to_string_lossy().into_owned(),
        text: Bytes::from(text.trim().to_owned()),
    }]
}

fn signature(body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), body);
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256={hex}")
}

fn verifies(body: &[u8], signature: &str) -> bool {
    let hex = signature.strip_prefix("sha256=").unwrap_or_default();
    let tag: Vec<u8> = (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    hmac::verify(&key, body, &tag).is_ok()
}

/// Posts the payload in one of the two modes.
async fn post(http: &Http, url: &str, id: &str, payload: &Payload, binary: bool) {
    let kind = format!("dev.knative.source.github.{}", payload.event);
    let signature = signature(&payload.text);
    let answer = if binary {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-type", &kind),
            ("ce-source", "https://github.com/octokit/webhooks"),
            ("ce-signature", &signature),
            ("content-type", "application/json"),
        ];
        http.send(Method::POST, url, &headers, payload.text.clone())
            .await
    } else {
        let text = std::str::from_utf8(&payload.text).unwrap();
        let message = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"type\":\"{kind}\",\
             \"source\":\"https://github.com/octokit/webhooks\",\"signature\":\"{signature}\",\
             \"datacontenttype\":\"application/json\",\"data\":{text}}}"
        );
        let headers = [("content-type", "application/cloudevents+json")];
        http.send(Method::POST, url, &headers, message).await
    };
    assert_eq!(answer.status, 202, "{id} {kind}: {}", answer.text());
}

/// Id, type, signature and data of a delivery in binary mode.
fn from_binary(delivery: &Delivery) -> (String, String, String, Bytes) {
    assert_eq!(delivery.header("content-type"), "application/json");
    assert_eq!(delivery.header("ce-specversion"), "1.0");
    (
        delivery.id().to_owned(),
        delivery.header("ce-type").to_owned(),
        delivery.header("ce-signature").to_owned(),
        delivery.body.clone(),
    )
}

/// The same of a delivery in structured mode; the data is the text in the message.
fn from_structured(delivery: &Delivery) -> (String, String, String, Bytes) {
    let content_type = delivery.header("content-type");
    assert!(
        content_type.starts_with("application/cloudevents+json"),
        "{content_type}"
    );
    let message: HashMap<String, &RawValue> = serde_json::from_slice(&delivery.body).unwrap();
    let text = |name: &str| -> String { serde_json::from_str(message[name].get()).unwrap() };
    assert_eq!(text("specversion"), "1.0");
    (
        text("id"),
        text("type"),
        text("signature"),
        Bytes::copy_from_slice(message["data"].get().as_bytes()),
    )
}

/// Every payload arrived once or more, each time whole.
fn check(
    payloads: &[Payload],
    deliveries: &[Delivery],
    read: fn(&Delivery) -> (String, String, String, Bytes),
) {
    let mut seen = vec![0_usize; payloads.len() * 2];
    for delivery in deliveries {
        let (id, kind, signature, data) = read(delivery);
        let number: usize = id[1..].parse().unwrap();
        let payload = &payloads[number % payloads.len()];
        assert_eq!(kind, format!("dev.knative.source.github.{}", payload.event));
        assert!(data == payload.text, "the bytes of {id} ({kind}) changed");
        assert!(
            verifies(&data, &signature),
            "the signature of {id} ({kind})"
        );
        seen[number] += 1;
    }
    let missing = seen.iter().filter(|n| **n == 0).count();
    assert_eq!(missing, 0, "payloads that never arrived");
}

async fn through_the_broker(payloads: &[Payload]) {
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let binary = Subscriber::start().await;
    let structured = Subscriber::start().await;
    let formats: [(&str, &Subscriber, Value); 2] = [
        ("binary", &binary, json!({"delivery": {"format": "binary"}})),
        (
            "structured",
            &structured,
            json!({"delivery": {"format": "json"}}),
        ),
    ];
    for (name, subscriber, spec) in formats {
        let object = trigger(name, "default", &subscriber.url("/"), spec);
        heddle.create_trigger(&object).await;
    }

    let url = heddle.broker("default");
    for (number, payload) in payloads.iter().enumerate() {
        post(&heddle.http, &url, &format!("p{number}"), payload, true).await;
        let again = format!("p{}", number + payloads.len());
        post(&heddle.http, &url, &again, payload, false).await;
    }

    let count = payloads.len() * 2;
    check(payloads, &binary.wait_for(count).await, from_binary);
    check(payloads, &structured.wait_for(count).await, from_structured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hard_payloads_arrive_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads");
    let payloads = payloads(&folder);
    assert!(payloads.len() >= 5, "tests/data/payloads is there");
    through_the_broker(&payloads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_octokit_payload_arrives_byte_for_byte() {
    let Some(folder) = std::env::var_os("HEDDLE_OCTOKIT_EXAMPLES") else {
        assert!(
            std::env::var_os("HEDDLE_REQUIRE_CONFORMANCE").is_none(),
            "HEDDLE_OCTOKIT_EXAMPLES is not set"
        );
        report::line(
            "not run: HEDDLE_OCTOKIT_EXAMPLES is not set (see tests/scripts/octokit-examples.sh)",
        );
        return;
    };
    let payloads = payloads(Path::new(&folder));
    report::line(&format!("octokit: {} payloads", payloads.len()));
    assert!(payloads.len() >= 300, "only {} payloads", payloads.len());
    through_the_broker(&payloads).await;
}
