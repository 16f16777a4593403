//! The commands against an API and an admin listener.

use serde_json::{Value, json};

use super::Harness;
use super::fake::Running;
use crate::cli::Failure;
use crate::cli::apply::{Outcome, apply_all};
use crate::cli::manifest;

const BROKERS: &str = "/apis/eventing.knative.dev/v1/namespaces/default/brokers";
const BROKER: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: b\nspec:\n  delivery:\n    retry: 3\n";

#[tokio::test]
async fn apply_creates_changes_and_leaves_alone() {
    let running = Running::start().await;
    let apply = ["apply", "-f", "-"];
    let (result, out, _) = running.run(&apply, BROKER).await;
    assert_eq!(
        (result, out.as_str()),
        (Ok(()), "broker.eventing.knative.dev/b created\n")
    );
    let (_, out, _) = running.run(&apply, BROKER).await;
    assert_eq!(out, "broker.eventing.knative.dev/b unchanged\n");
    let changed = BROKER.replace("    retry: 3\n", "    backoffDelay: PT1S\n");
    let (_, out, _) = running.run(&apply, &changed).await;
    assert_eq!(out, "broker.eventing.knative.dev/b configured\n");
    let object = running.fake.objects.lock()[&format!("{BROKERS}/b")].clone();
    assert_eq!(
        object["spec"],
        json!({"delivery": {"backoffDelay": "PT1S"}})
    );
    assert_eq!(object["metadata"]["namespace"], "default");
    let changes = running.fake.changes.lock().clone();
    assert_eq!(
        changes,
        [format!("POST {BROKERS}"), format!("PATCH {BROKERS}/b")]
    );
}

#[tokio::test]
async fn what_the_api_refuses_is_shown_in_the_file() {
    let running = Running::start().await;
    let text = format!(
        "{}---\n{BROKER}",
        BROKER.replace("retry: 3", "retry: three")
    );
    let (result, out, err) = running.run(&["apply", "-f", "-"], &text).await;
    assert_eq!(result, Err(Failure::Reported { code: 1 }));
    // The good one is applied all the same.
    assert_eq!(out, "broker.eventing.knative.dev/b created\n");
    assert_eq!(
        err,
        "<stdin>:7:5: spec.delivery.retry: expected an integer, found \"three\"\n  \
         |\n7 |     retry: three\n  |     ^^^^^^^^^^^^\n"
    );
    let (_, _, err) = running
        .run(&["apply", "-f", "-"], &BROKER.replace("Broker", "Brocken"))
        .await;
    assert!(
        err.starts_with("<stdin>:2:1: kind: eventing.knative.dev/v1 has no kind \"Brocken\"; it has Broker, Trigger"),
        "{err}"
    );
    let (_, _, err) = running
        .run(&["apply", "-f", "-"], &BROKER.replace("dev/v1", "dev/v9"))
        .await;
    assert!(
        err.starts_with("<stdin>:1:1: apiVersion: the API has no version"),
        "{err}"
    );
}

#[tokio::test]
async fn namespaces_are_applied_before_what_lives_in_them() {
    let running = Running::start().await;
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    let text = format!(
        "{}---\n{namespace}",
        BROKER.replace("name: b", "name: b\n  namespace: x")
    );
    let loaded = manifest::parse_text("f", &text).unwrap();
    let api = crate::cli::api::Api::connect(&format!("http://{}", running.address)).unwrap();
    let results = apply_all(api.client(), &loaded.resources).await;
    let outcomes: Vec<(String, Outcome)> = results
        .into_iter()
        .map(|result| result.unwrap())
        .map(|applied| (applied.kind.kind, applied.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("Broker".to_owned(), Outcome::Created),
            ("Namespace".to_owned(), Outcome::Created)
        ]
    );
    assert_eq!(running.fake.changes.lock()[0], "POST /api/v1/namespaces");
}

#[tokio::test]
async fn events_are_not_applied() {
    let running = Running::start().await;
    let event = "specversion: \"1.0\"\nid: a\nsource: /s\ntype: t\n";
    let (result, _, _) = running.run(&["apply", "-f", "-"], event).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.exit_code(), 64);
    assert!(
        format!("{failure:?}").contains("heddle send -f"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn resources_are_shown_and_deleted() {
    let running = Running::start().await;
    running.run(&["apply", "-f", "-"], BROKER).await.0.unwrap();
    let (_, out, _) = running.run(&["get", "Brokers"], "").await;
    assert_eq!(out, "NAME   READY\nb      True\n");
    let (_, out, _) = running.run(&["get", "broker", "b", "-o", "name"], "").await;
    assert_eq!(out, "broker.eventing.knative.dev/b\n");
    let (_, out, _) = running.run(&["get", "broker/b", "-o", "yaml"], "").await;
    assert!(
        out.starts_with("apiVersion: eventing.knative.dev/v1\nkind: Broker\n"),
        "{out}"
    );
    let (_, out, _) = running.run(&["get", "broker", "-o", "json"], "").await;
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&list["kind"], list["items"].as_array().unwrap().len()),
        (&json!("List"), 1)
    );
    let (result, out, err) = running.run(&["get", "triggers"], "").await;
    assert_eq!(
        (result, out.as_str(), err.as_str()),
        (Ok(()), "", "nothing found in namespace default\n")
    );
    let (result, _, _) = running.run(&["get", "broker", "none"], "").await;
    assert_eq!(result.unwrap_err().exit_code(), 1);
    let (_, out, _) = running.run(&["describe", "broker", "b"], "").await;
    assert!(
        out.contains("Triggers:\n  none; nobody gets its events"),
        "{out}"
    );
    let (_, out, _) = running.run(&["delete", "-f", "-"], BROKER).await;
    assert_eq!(out, "broker.eventing.knative.dev/b deleted\n");
    let (result, _, err) = running.run(&["delete", "broker", "b"], "").await;
    assert_eq!(result.unwrap_err().exit_code(), 1);
    assert!(err.contains("not found"), "{err}");
    let (result, _, _) = running
        .run(&["delete", "broker", "b", "--ignore-not-found"], "")
        .await;
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn changes_are_shown_as_they_come() {
    let running = Running::start().await;
    running.run(&["apply", "-f", "-"], BROKER).await.0.unwrap();
    let url = format!("http://{}", running.address);
    let (mut harness, command) = Harness::new(&["get", "brokers", "-w", "--api", &url], "");
    let (out, stop) = (harness.out.clone(), harness.context.stop.clone());
    let run = super::run_command(command, &mut harness.context);
    let until = async {
        while out.text().lines().count() < 4 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(run, until) };
    let (result, ()) = tokio::time::timeout(std::time::Duration::from_secs(20), both)
        .await
        .unwrap();
    assert_eq!(result, Ok(()));
    assert_eq!(
        out.text(),
        "NAME   READY\nb      True\nb      True\nb      True\n"
    );
}

#[tokio::test]
async fn a_trigger_is_described_with_what_it_is_doing() {
    let running = Running::start().await;
    let trigger = "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\nspec: {broker: b}\n";
    running.run(&["apply", "-f", "-"], trigger).await.0.unwrap();
    {
        let mut objects = running.fake.objects.lock();
        let object = objects.values_mut().next().unwrap();
        object["metadata"]["creationTimestamp"] = json!("2026-01-31T11:00:00Z");
        object["status"] = json!({"subscriberUri": "http://s", "conditions": [
            {"type": "Ready", "status": "False", "reason": "BrokerNotReady", "message": "the broker is not there",
             "lastTransitionTime": "2026-01-31T11:55:00Z"}]});
    }
    let (result, out, _) = running.run(&["describe", "trigger", "t"], "").await;
    assert_eq!(result, Ok(()));
    insta::assert_snapshot!(out);
    let url = format!("http://{}", running.address);
    let (result, harness) = Harness::run(
        &[
            "describe",
            "trigger",
            "t",
            "--api",
            &url,
            "--admin",
            "http://127.0.0.1:1",
        ],
        "",
    )
    .await;
    assert_eq!(result, Ok(()));
    let out = harness.out.text();
    assert!(
        out.contains("not known: cannot reach the admin listener at http://127.0.0.1:1"),
        "{out}"
    );
}

#[tokio::test]
async fn events_are_read_from_the_log() {
    let running = Running::start().await;
    let (_, out, _) = running
        .run(&["events", "b", "--from", "-10m", "--limit", "2"], "")
        .await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[0].starts_with("OFFSET"), "{out}");
    assert!(
        lines[1].contains("from=2026-01-31T11%3A50%3A00Z&limit=2"),
        "{out}"
    );
    let (_, out, _) = running.run(&["events", "b", "-o", "json"], "").await;
    assert_eq!(out.lines().count(), 3);
    assert!(out.starts_with("{\"accepted\""), "{out}");
    let (_, out, _) = running
        .run(&["events", "default/b", "--full", "--limit", "1"], "")
        .await;
    assert!(
        out.starts_with("offset 0, accepted 2026-01-31T12:00:00Z\nspecversion  1.0\n"),
        "{out}"
    );
    let (result, _, _) = running.run(&["events", "a/b/c"], "").await;
    assert_eq!(result.unwrap_err().exit_code(), 64);
}

#[tokio::test]
async fn the_log_level_is_shown_and_changed() {
    let running = Running::start().await;
    running.run(&["log-level", "debug"], "").await.0.unwrap();
    let (_, out, _) = running.run(&["log-level"], "").await;
    assert_eq!(out, "debug\n");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    for line in [
        &["get", "brokers"][..],
        &["events"],
        &["log-level"],
        &["send", "--data", "x"],
        &["delete", "broker", "b"],
    ] {
        let mut line = line.to_vec();
        line.extend([
            "--api",
            "http://127.0.0.1:1",
            "--admin",
            "http://127.0.0.1:1",
        ]);
        let (result, _) = Harness::run(&line, "").await;
        let failure = result.unwrap_err();
        assert_eq!(failure.exit_code(), 69, "{line:?}");
        let mut text = Vec::new();
        failure.report(&mut text, false).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("http://127.0.0.1:1: Connection refused"),
            "{text}"
        );
        assert!(text.contains("hint: start it with `heddle up`"), "{text}");
    }
    let (result, _) = Harness::run(&["get", "brokers", "--api", "ftp://x"], "").await;
    assert_eq!(result.unwrap_err().exit_code(), 64);
}
