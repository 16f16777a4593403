//! EventTypes over the real binary: whether their referent is there, and those that come about by
//! themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use hyper::Method;
use serde_json::{Value, json};
use support::api::{Event, condition, trigger};
use support::{Answer, Heddle, Subscriber, data_directory, wait};
use tempfile::TempDir;

async fn up() -> (TempDir, PathBuf, Heddle) {
    let (directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    (directory, data, heddle)
}

/// Waits until the condition `ReferenceExists` of an EventType has this status and reason.
async fn wait_reference(heddle: &Heddle, name: &str, status: &str, reason: Option<&str>) {
    let url = format!("{}/{name}", heddle.resources("eventtypes"));
    let what = format!("ReferenceExists of {name} to be {status}");
    wait::until(&what, || async {
        let object = heddle.http.get(&url).await.expect(200).json();
        let found = condition(&object, "ReferenceExists");
        let ready = condition(&object, "Ready");
        if found["status"] == status
            && found["reason"].as_str() == reason
            && ready["status"] == status
        {
            Ok(())
        } else {
            Err(object["status"].to_string())
        }
    })
    .await;
}

async fn delete(heddle: &Heddle, plural: &str, name: &str) {
    let url = format!("{}/{name}", heddle.resources(plural));
    heddle
        .http
        .send(Method::DELETE, &url, &[], "")
        .await
        .expect(200);
}

#[tokio::test]
async fn an_event_type_says_whether_its_referent_exists() {
    let (_directory, _data, heddle) = up().await;
    let object = json!({
        "apiVersion": "eventing.knative.dev/v1beta2",
        "kind": "EventType",
        "metadata": {"name": "order", "namespace": "default"},
        "spec": {
            "type": "com.example.order", "source": "/shop", "description": "An order.",
            "reference": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "shop"},
        },
    });
    let created = heddle.create("eventtypes", &object).await;
    assert_eq!(created["spec"]["reference"]["namespace"], "default");
    let missing = Some("ResourceDoesNotExist");
    wait_reference(&heddle, "order", "False", missing).await;
    heddle.create_broker("shop").await;
    wait_reference(&heddle, "order", "True", None).await;
    delete(&heddle, "brokers", "shop").await;
    wait_reference(&heddle, "order", "False", missing).await;

    // The command line finds a kind that its group does not have in the version it prefers.
    let output = support::heddle::run(&["get", "eventtypes", "--api", &heddle.api]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for word in [
        "order",
        "com.example.order",
        "/shop",
        "shop",
        "Broker",
        "An order.",
        "False",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test]
async fn an_event_type_is_one_object_in_every_version() {
    let (_directory, _data, heddle) = up().await;
    let stored = heddle.resources("eventtypes");
    let of = |version| stored.replace("v1beta2", version);
    let attributes = json!([
        {"name": "type", "required": true, "value": "com.example.order"},
        {"name": "source", "required": true, "value": "/shops/{shop}"},
        {"name": "specversion", "required": true, "value": "1.0"},
        {"name": "id", "required": true},
        {"name": "colour", "required": false},
    ]);
    let object = json!({
        "apiVersion": "eventing.knative.dev/v1beta3",
        "kind": "EventType",
        "metadata": {"name": "order", "namespace": "default"},
        "spec": {"attributes": attributes, "description": "An order."},
    });
    let http = &heddle.http;
    http.post_json(&of("v1beta3"), &object).await.expect(201);
    heddle.ready("eventtypes", "order").await;
    let newest = http
        .get(&format!("{}/order", of("v1beta3")))
        .await
        .expect(200)
        .json();
    assert_eq!(newest["spec"], object["spec"]);
    assert_eq!(
        condition(&newest, "ReferenceExists")["reason"],
        "ReferenceNotSet"
    );
    for version in ["v1beta1", "v1beta2"] {
        let older = http
            .get(&format!("{}/order", of(version)))
            .await
            .expect(200)
            .json();
        assert_eq!(
            older["apiVersion"],
            format!("eventing.knative.dev/{version}")
        );
        let spec = json!({
            "type": "com.example.order", "source": "/shops/{shop}", "description": "An order.",
        });
        assert_eq!(older["spec"], spec);
        assert_eq!(older["metadata"]["uid"], newest["metadata"]["uid"]);
    }
    let missing = json!({
        "apiVersion": "eventing.knative.dev/v1beta3",
        "kind": "EventType",
        "metadata": {"name": "bad", "namespace": "default"},
        "spec": {"attributes": [{"name": "type", "value": "t"}]},
    });
    let answer = http.post_json(&of("v1beta3"), &missing).await.expect(422);
    assert!(
        answer
            .text()
            .contains("missing field(s): spec.attributes.source"),
        "{}",
        answer.text()
    );
}

/// Turns the feature on.
async fn enable(heddle: &Heddle) {
    let namespaces = format!("{}/api/v1/namespaces", heddle.api);
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-features", "namespace": "knative-eventing"},
        "data": {"eventtype-auto-create": "enabled"},
    });
    let url = format!("{namespaces}/knative-eventing/configmaps");
    heddle.http.post_json(&url, &config).await.expect(201);
}

/// The EventTypes, as kind of referent, its name and type.
async fn found(heddle: &Heddle) -> Vec<(String, String, String)> {
    let list = heddle.http.get(&heddle.resources("eventtypes")).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list.expect(200).json()["items"].as_array().unwrap().clone();
    let facts = items.iter().map(|item| {
        let spec = &item["spec"];
        let reference = &spec["reference"];
        (
            text(&reference["kind"]),
            text(&reference["name"]),
            text(&spec["type"]),
        )
    });
    facts.collect()
}

/// Posts events of these types again and again until there are these EventTypes and no others.
async fn post_until(heddle: &Heddle, types: &[&str], wanted: &[(&str, &str, &str)]) {
    let own = |(kind, name, ty): &(&str, &str, &str)| {
        (kind.to_string(), name.to_string(), ty.to_string())
    };
    let mut wanted: Vec<_> = wanted.iter().map(own).collect();
    wanted.sort();
    wait::until(&format!("the EventTypes to be {wanted:?}"), || async {
        for ty in types {
            heddle.accepted("default", &Event::new("1", ty)).await;
        }
        let mut now = found(heddle).await;
        now.sort();
        if now == wanted {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn event_types_come_about_by_themselves_once() {
    let (_directory, data, heddle) = up().await;
    // A Trigger's reply goes back into the Broker, as another type.
    let answering = Subscriber::scripted(|_, _| {
        Answer::status(200)
            .header("ce-specversion", "1.0")
            .header("ce-id", "reply")
            .header("ce-type", "reply")
            .header("ce-source", "/checker")
            .body("checked")
    })
    .await;
    let spec = json!({"filter": {"attributes": {"type": "a"}}});
    let object = trigger("answers", "default", &answering.url("/"), spec);
    heddle.create_trigger(&object).await;
    heddle.accepted("default", &Event::new("1", "before")).await;
    assert_eq!(found(&heddle).await, [], "the feature is off");

    enable(&heddle).await;
    let of = |ty| ("Broker", "default", ty);
    let all = [of("a"), of("b"), of("reply")];
    post_until(&heddle, &["a", "b"], &all).await;
    let list = heddle
        .http
        .get(&heddle.resources("eventtypes"))
        .await
        .expect(200)
        .json();
    let items = list["items"].as_array().unwrap();
    for item in items {
        let name = item["metadata"]["name"].as_str().unwrap();
        heddle.ready("eventtypes", name).await;
        assert!(
            name.starts_with("et-default-") && name.len() == "et-default-".len() + 32,
            "{name}"
        );
        assert_eq!(item["metadata"]["ownerReferences"][0]["kind"], "Broker");
    }

    // After a crash there are those that were there, as long as nothing else comes in.
    let names = |items: &[Value]| -> BTreeSet<String> {
        items
            .iter()
            .map(|item| item["metadata"]["uid"].to_string())
            .collect()
    };
    let before = names(items);
    heddle.kill();
    let heddle = Heddle::up(&data).await;
    post_until(&heddle, &["a", "b", "c"], &[&all[..], &[of("c")]].concat()).await;
    let list = heddle
        .http
        .get(&heddle.resources("eventtypes"))
        .await
        .expect(200)
        .json();
    let after = names(list["items"].as_array().unwrap());
    assert!(after.is_superset(&before) && after.len() == before.len() + 1);

    // One that was deleted comes back with the next event, and all go with their Broker.
    let name = items[0]["metadata"]["name"].as_str().unwrap();
    delete(&heddle, "eventtypes", name).await;
    post_until(&heddle, &["a", "b", "c"], &[&all[..], &[of("c")]].concat()).await;
    delete(&heddle, "brokers", "default").await;
    wait::until("the EventTypes to go with their Broker", || async {
        let left = found(&heddle).await;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    let metrics = heddle.metrics().await;
    assert!(
        metrics.contains("heddle_event_types_made_total 2\n"),
        "{metrics}"
    );
}
