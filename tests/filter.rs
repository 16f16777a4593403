//! `heddle filter test` over the real binary: single events, and those that a broker keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::File;
use std::path::Path;
use std::process::{Output, Stdio};

use hyper::Method;
use serde_json::{Value, json};
use support::{Heddle, data_directory, heddle};
use tempfile::TempDir;

fn trigger(directory: &Path, name: &str, filters: &Value) -> String {
    let path = directory.join(format!("{name}.json"));
    let trigger = json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name},
        "spec": {
            "broker": "default",
            "filters": filters,
            "subscriber": {"uri": "http://127.0.0.1:1/"},
        },
    });
    std::fs::write(&path, trigger.to_string()).unwrap();
    path.display().to_string()
}

async fn run(admin: &str, arguments: &[&str]) -> (i32, String, String) {
    let test = ["filter", "test", "--admin", admin];
    said(heddle::run(&[&test, arguments].concat()).await)
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

const NOWHERE: &str = "http://127.0.0.1:1";

#[tokio::test]
async fn single_events_are_judged_and_explained() {
    let directory = tempfile::tempdir().unwrap();
    let filters = json!([
        {"prefix": {"type": "order."}},
        {"any": [
            {"cesql": "source = '/shop' AND\n  amount > 100"},
            {"heddle.dev/data": {"path": "$.vip", "exact": true}},
        ]},
    ]);
    let path = trigger(directory.path(), "t", &filters);
    let events = directory.path().join("events.yaml");
    let one = |id: &str, rest: &str| {
        format!("specversion: '1.0'\nid: {id}\nsource: /shop\ntype: order.made\n{rest}\n")
    };
    let text = [
        one("a", "amount: 99\ndata: {vip: false}"),
        one("b", "amount: 101"),
    ];
    std::fs::write(&events, text.join("---\n")).unwrap();
    let events = events.display().to_string();
    let (code, out, err) = run(NOWHERE, &["-f", &path, "--event", &events]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[..9],
        [
            &*format!("{events}:1: order.made /shop a: does not pass Trigger t"),
            "  FAIL  filters",
            "  pass    prefix: type begins with \"order.\"",
            "  FAIL    any",
            "  FAIL      cesql: source = '/shop' AND",
            "              amount > 100",
            "                     ^ amount is \"99\"",
            "  FAIL      heddle.dev/data: $.vip exact true  <- $.vip is false",
            &*format!("{events}:8: order.made /shop b: passes Trigger t"),
        ],
        "{out}"
    );
    let json = ["-f", &path, "--event", &events, "-o", "json"];
    let (_, out, _) = run(NOWHERE, &json).await;
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["passes"], json!(false));
    assert_eq!(lines[0]["filter"]["clauses"][1]["verdict"], "fail");
    assert_eq!(lines[1]["passes"], json!(true));

    let none = trigger(directory.path(), "none", &json!([{"exact": {"type": "x"}}]));
    let arguments = ["-f", &none, "--event", &events, "--exit-code"];
    assert_eq!(run(NOWHERE, &arguments).await.0, 1);
    let bad = trigger(directory.path(), "bad", &json!([{"cesql": "type ="}]));
    let (code, _, err) = run(NOWHERE, &["-f", &bad, "--event", &events]).await;
    assert_eq!(code, 64);
    assert!(
        err.contains("spec.filters[0].cesql: expected an expression"),
        "{err}"
    );
    let (code, _, err) = run(NOWHERE, &["-f", &path, "--broker", "default"]).await;
    assert_eq!(code, 69, "{err}");
}

/// A broker with fifty events, whose `amount` is their number.
async fn shop() -> (TempDir, Heddle, String) {
    let (directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let url = format!("{}/default/default", heddle.ingress);
    for n in 0..50 {
        let (id, amount) = (format!("e{n}"), n.to_string());
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", &*id),
            ("ce-type", "order"),
            ("ce-source", "/shop"),
            ("ce-amount", &*amount),
        ];
        let sent = heddle.http.send(Method::POST, &url, &headers, "").await;
        sent.expect(202);
    }
    (directory, heddle, url)
}

#[tokio::test]
async fn stored_events_are_counted_and_two_filters_compared() {
    let (directory, heddle, _) = shop().await;
    let filter = |text: &str| json!([{"cesql": text}]);
    let old = trigger(directory.path(), "old", &filter("amount >= 40"));
    let new = trigger(
        directory.path(),
        "new",
        &filter("amount >= 30 AND amount < 45"),
    );
    let broken = trigger(directory.path(), "broken", &filter("coupon = 'X'"));
    let admin = &heddle.admin;
    let (code, out, err) = run(admin, &["-f", &old, "--broker", "default", "--since", "1h"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("50 events judged, from offset 0 to 50\nold: 10 matched, 40 not"),
        "{out}"
    );
    assert!(
        out.contains("  offset 40, ") && out.contains(": order /shop e42\n"),
        "{out}"
    );

    let both = ["-f", &old, "-f", &new, "--broker", "default/default"];
    let (code, out, _) = run(admin, &[&both[..], &["--exit-code", "-o", "json"]].concat()).await;
    assert_eq!(code, 1, "they differ");
    let report: Value = serde_json::from_str(&out).unwrap();
    let count = |group: &str| report[group]["count"].as_u64().unwrap();
    assert_eq!(
        (count("onlyFirst"), count("onlySecond"), count("both")),
        (5, 10, 5)
    );
    assert_eq!(report["onlySecond"]["samples"][0]["id"], "e30");
    let limited = ["--from", "10", "--limit", "25", "-o", "json"];
    let (_, out, _) = run(admin, &[&both[..], &limited].concat()).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["judged"], &report["at"]), (&json!(25), &json!(35)));
    assert_eq!(report["filters"][1]["matched"], 5);

    let broken = ["-f", &broken, "--broker", "default", "--exit-code"];
    let (code, out, _) = run(admin, &broken).await;
    assert_eq!(code, 1, "nothing matched");
    assert!(
        out.contains("  50 with the error MissingAttribute\n"),
        "{out}"
    );
    let (code, _, err) = run(admin, &["-f", &old, "--broker", "other"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("default/other does not exist"), "{err}");
}

/// What one command prints of events, others take.
#[tokio::test]
async fn printed_events_are_judged_and_sent_again() {
    let (directory, heddle, url) = shop().await;
    let admin = &*heddle.admin;
    let list = ["events", "default", "-o", "json", "--admin", admin];
    let (code, printed, err) = said(heddle::run(&list).await);
    assert_eq!((code, printed.lines().count()), (0, 50), "{err}");
    let path = directory.path().join("printed");
    std::fs::write(&path, printed).unwrap();
    let path = path.display().to_string();
    let input = || Stdio::from(File::open(&path).unwrap());

    let filter = trigger(directory.path(), "t", &json!([{"cesql": "amount >= 40"}]));
    let test = ["filter", "test", "-f", &filter, "--event", "-"];
    let (code, out, err) = said(heddle::run_reading(input(), &test).await);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.matches(": passes Trigger t").count(), 10, "{out}");
    let line = "<stdin>:41: order /shop e40: passes Trigger t\n";
    assert!(out.contains(line), "{out}");

    let send = ["send", "--url", &url, "-f", "-"];
    let (code, _, err) = said(heddle::run_reading(input(), &send).await);
    assert_eq!(code, 0, "{err}");
    let again = ["-f", &filter, "--broker", "default", "-o", "json"];
    let (_, out, err) = run(admin, &again).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {err}"));
    let counts = (&report["judged"], &report["filters"][0]["matched"]);
    assert_eq!(counts, (&json!(100), &json!(20)));
}
