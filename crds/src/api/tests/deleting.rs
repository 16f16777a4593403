//! Deletion: options, owners and dependents, namespaces.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{Fixture, WIDGETS, fixture, raw, reopen, until};
use crate::api::deletion::{self, Options, Propagation};
use crate::api::object::Key;

impl Fixture {
    /// Makes a widget with owners (name, whether it blocks) and finalizers.
    async fn make(&self, name: &str, owners: &[(&str, bool)], finalizers: &[&str]) -> String {
        let mut body = raw(name);
        let mut references = Vec::new();
        for (owner, blocks) in owners {
            references.push(json!({
                "apiVersion": "test.heddle.dev/v1", "kind": "Widget", "name": owner,
                "uid": self.uid(owner).await, "blockOwnerDeletion": blocks,
            }));
        }
        body["metadata"]["ownerReferences"] = json!(references);
        body["metadata"]["finalizers"] = json!(finalizers);
        let (code, made) = self.post(WIDGETS, &body).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
        made["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    async fn uid(&self, name: &str) -> String {
        let (code, found) = self.get(&format!("{WIDGETS}/{name}")).await;
        assert_eq!(code, StatusCode::OK, "{found}");
        found["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    async fn delete_with(&self, name: &str, options: &Value) -> (StatusCode, Value) {
        let uri = format!("{WIDGETS}/{name}");
        let body = options.to_string();
        self.call(Method::DELETE, &uri, "application/json", body)
            .await
    }

    async fn is_there(&self, name: &str) -> bool {
        self.get(&format!("{WIDGETS}/{name}")).await.0 == StatusCode::OK
    }

    async fn release(&self, name: &str) {
        let body = json!({"metadata": {"finalizers": null}});
        let (code, answer) = self.merge(&format!("{WIDGETS}/{name}"), &body).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
    }

    async fn until_gone(&self, name: &str) {
        until(&format!("{name} is gone"), async || {
            !self.is_there(name).await
        })
        .await;
    }

    /// Waits until the collector has nothing to do that was noted before: each write is a group,
    /// and each group collects.
    async fn settled(&self) {
        for round in 0..4 {
            let name = format!("settle-{round}");
            self.make(&name, &[], &[]).await;
            assert_eq!(self.delete_with(&name, &json!({})).await.0, 200);
        }
    }
}

fn policy(name: &str) -> Value {
    json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": name})
}

#[tokio::test]
async fn in_the_background_dependents_go_after_their_owner() {
    let fixture = fixture();
    fixture.make("owner", &[], &[]).await;
    fixture.make("child", &[("owner", true)], &[]).await;
    fixture.make("grandchild", &[("child", true)], &[]).await;
    fixture
        .make("held", &[("owner", true)], &["example.com/hold"])
        .await;
    let (code, status) = fixture.delete_with("owner", &policy("Background")).await;
    assert_eq!((code.as_u16(), &status["status"]), (200, &json!("Success")));
    assert!(!fixture.is_there("owner").await);
    fixture.until_gone("child").await;
    fixture.until_gone("grandchild").await;
    let (_, held) = fixture.get(&format!("{WIDGETS}/held")).await;
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    fixture.release("held").await;
    assert!(!fixture.is_there("held").await);
}

#[tokio::test]
async fn in_the_foreground_an_owner_waits_for_what_blocks_it() {
    let fixture = fixture();
    fixture.make("owner", &[], &[]).await;
    fixture.make("child", &[("owner", true)], &[]).await;
    fixture
        .make("grandchild", &[("child", true)], &["example.com/hold"])
        .await;
    fixture
        .make("loose", &[("owner", false)], &["example.com/hold"])
        .await;
    let (code, owner) = fixture.delete_with("owner", &policy("Foreground")).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(
        owner["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    assert_eq!(owner["metadata"]["deletionGracePeriodSeconds"], 0);
    until("the grandchild is going", async || {
        let (_, found) = fixture.get(&format!("{WIDGETS}/grandchild")).await;
        found["metadata"]["deletionTimestamp"].is_string()
    })
    .await;
    fixture.settled().await;
    // The whole chain waits for its end.
    let (_, child) = fixture.get(&format!("{WIDGETS}/child")).await;
    assert_eq!(
        child["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    assert!(fixture.is_there("owner").await);
    fixture.release("grandchild").await;
    fixture.until_gone("child").await;
    fixture.until_gone("owner").await;
    // What does not block may stay longer, but goes as well.
    let (_, loose) = fixture.get(&format!("{WIDGETS}/loose")).await;
    assert!(loose["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test]
async fn an_owner_in_the_foreground_goes_once_nobody_blocks_it() {
    let fixture = fixture();
    fixture.make("owner", &[], &[]).await;
    fixture
        .make("child", &[("owner", true)], &["example.com/hold"])
        .await;
    fixture.delete_with("owner", &policy("Foreground")).await;
    fixture.settled().await;
    assert!(fixture.is_there("owner").await);
    let uid = fixture.uid("owner").await;
    let free = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "test.heddle.dev/v1", "kind": "Widget", "name": "owner", "uid": uid,
    }]}});
    let (code, _) = fixture.merge(&format!("{WIDGETS}/child"), &free).await;
    assert_eq!(code, StatusCode::OK);
    fixture.until_gone("owner").await;
    assert!(fixture.is_there("child").await);
}

/// What does not block its owner goes in the foreground as well, before the owner is let go:
/// whichever name comes first, and whatever else was to be looked at just then.
#[tokio::test]
async fn what_does_not_block_goes_in_the_foreground_too() {
    for name in ["a-owner", "z-owner"] {
        let fixture = fixture();
        fixture.make(name, &[], &[]).await;
        fixture.make("other", &[(name, true)], &[]).await;
        fixture.make("child", &[(name, false)], &[]).await;
        fixture
            .make("grandchild", &[("child", true)], &["example.com/hold"])
            .await;
        let store = &fixture.api.inner.store;
        let widgets = store
            .registry()
            .by_reference("test.heddle.dev/v1", "Widget");
        let widgets = widgets.unwrap();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (queued, queues) = std::sync::mpsc::sync_channel(1);
        let disowned = store.write(0, true, move |transaction| {
            begun.send(()).unwrap();
            // The deletion waits for the next group, with what follows from this one.
            queues.recv_timeout(Duration::from_secs(10)).unwrap();
            let other = transaction.get(widgets, &Key::new("default", "other"));
            let mut other = other.unwrap().value();
            other["metadata"]["ownerReferences"] = json!([]);
            transaction.put(widgets, other).map(drop)
        });
        let deleted = async {
            begins.await.unwrap();
            let deleted = store.write(0, true, move |transaction| {
                let options = Options {
                    propagation: Some(Propagation::Foreground),
                    ..Options::default()
                };
                let owner = Key::new("default", name);
                deletion::delete(transaction, widgets, &owner, &options).map(drop)
            });
            tokio::join!(deleted, async { queued.send(()).unwrap() }).0
        };
        let (disowned, deleted) = tokio::join!(disowned, deleted);
        disowned.and(deleted).unwrap();
        fixture.until_gone(name).await;
        fixture.settled().await;
        let (_, child) = fixture.get(&format!("{WIDGETS}/child")).await;
        let waits = &child["metadata"]["finalizers"];
        assert_eq!(*waits, json!(["foregroundDeletion"]), "{name}: {child}");
        fixture.release("grandchild").await;
        fixture.until_gone("child").await;
    }
}

/// The same where the owner of what does not block is held by a finalizer of somebody else, and is
/// therefore still there when it has nothing to wait for.
#[tokio::test]
async fn what_does_not_block_goes_though_its_owner_is_held() {
    let fixture = fixture();
    fixture.make("owner", &[], &[]).await;
    fixture
        .make("held", &[("owner", true)], &["example.com/hold"])
        .await;
    fixture.make("loose", &[("held", false)], &[]).await;
    fixture.delete_with("owner", &policy("Foreground")).await;
    fixture.until_gone("loose").await;
    assert!(fixture.is_there("held").await && fixture.is_there("owner").await);
    fixture.release("held").await;
    fixture.until_gone("owner").await;
}

#[tokio::test]
async fn what_was_said_last_of_the_dependents_counts() {
    let fixture = fixture();
    fixture.make("owner", &[], &[]).await;
    fixture
        .make("child", &[("owner", true)], &["example.com/hold"])
        .await;
    fixture.delete_with("owner", &policy("Foreground")).await;
    fixture.settled().await;
    assert!(fixture.is_there("owner").await);
    let (code, status) = fixture.delete_with("owner", &policy("Background")).await;
    assert_eq!((code.as_u16(), &status["kind"]), (200, &json!("Status")));
    assert!(!fixture.is_there("owner").await);
    assert!(fixture.is_there("child").await);
}

#[tokio::test]
async fn orphans_stay_without_their_owner() {
    for options in [policy("Orphan"), json!({"orphanDependents": true})] {
        let fixture = fixture();
        fixture.make("owner", &[], &[]).await;
        fixture.make("other", &[], &[]).await;
        fixture.make("child", &[("owner", true)], &[]).await;
        fixture
            .make("shared", &[("owner", true), ("other", true)], &[])
            .await;
        let (code, owner) = fixture.delete_with("owner", &options).await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(owner["metadata"]["finalizers"], json!(["orphan"]));
        fixture.until_gone("owner").await;
        fixture.settled().await;
        let (_, child) = fixture.get(&format!("{WIDGETS}/child")).await;
        assert!(
            child["metadata"].get("ownerReferences").is_none(),
            "{child}"
        );
        let (_, shared) = fixture.get(&format!("{WIDGETS}/shared")).await;
        assert_eq!(shared["metadata"]["ownerReferences"][0]["name"], "other");
        assert!(shared["metadata"].get("deletionTimestamp").is_none());
    }
}

#[tokio::test]
async fn only_the_last_owner_takes_its_dependents_along() {
    for how in ["Background", "Foreground"] {
        let fixture = fixture();
        fixture.make("one", &[], &[]).await;
        fixture.make("two", &[], &[]).await;
        fixture
            .make("child", &[("one", true), ("two", true)], &[])
            .await;
        fixture.delete_with("one", &policy(how)).await;
        fixture.until_gone("one").await;
        until("the reference is gone", async || {
            let (_, child) = fixture.get(&format!("{WIDGETS}/child")).await;
            child["metadata"]["ownerReferences"]
                .as_array()
                .map(Vec::len)
                == Some(1)
        })
        .await;
        fixture.delete_with("two", &policy(how)).await;
        fixture.until_gone("child").await;
        fixture.until_gone("two").await;
    }
}

#[tokio::test]
async fn owners_in_a_circle_do_not_wait_for_each_other() {
    let fixture = fixture();
    let first = fixture.make("first", &[], &[]).await;
    let second = fixture.make("second", &[("first", true)], &[]).await;
    let circle = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "test.heddle.dev/v1", "kind": "Widget", "name": "second", "uid": second,
        "blockOwnerDeletion": true,
    }]}});
    let (code, _) = fixture.merge(&format!("{WIDGETS}/first"), &circle).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(fixture.uid("first").await, first);
    fixture.delete_with("first", &policy("Foreground")).await;
    fixture.until_gone("first").await;
    fixture.until_gone("second").await;
}

#[tokio::test]
async fn owners_that_are_elsewhere_are_none() {
    let fixture = fixture();
    let elsewhere = WIDGETS.replace("default", "kube-system");
    let (_, owner) = fixture.post(&elsewhere, &raw("owner")).await;
    let reference = |uid: &Value, kind: &str| {
        json!([{
            "apiVersion": "test.heddle.dev/v1", "kind": kind, "name": "owner", "uid": uid,
        }])
    };
    let mut child = raw("child");
    child["metadata"]["ownerReferences"] = reference(&owner["metadata"]["uid"], "Widget");
    fixture.post(WIDGETS, &child).await;
    fixture.until_gone("child").await;
    child["metadata"]["ownerReferences"] = reference(&json!("never-was"), "Widget");
    fixture.post(WIDGETS, &child).await;
    fixture.until_gone("child").await;
    // Nothing is known of a kind that is not served.
    child["metadata"]["ownerReferences"] = reference(&json!("never-was"), "Unheard");
    fixture.post(WIDGETS, &child).await;
    // A cluster-scoped object cannot say in which namespace its owner is.
    let mut globe = raw("globe");
    globe["kind"] = json!("Globe");
    globe["metadata"]["ownerReferences"] = reference(&owner["metadata"]["uid"], "Widget");
    let globes = "/apis/test.heddle.dev/v1/globes";
    fixture.post(globes, &globe).await;
    fixture.settled().await;
    assert!(fixture.is_there("child").await);
    assert_eq!(fixture.get(&format!("{globes}/globe")).await.0, 200);
}

#[tokio::test]
async fn options_are_checked() {
    let fixture = fixture();
    let uid = fixture.make("it", &[], &[]).await;
    let prefix = "DeleteOptions.meta.k8s.io \"\" is invalid: ";
    for (options, code, message) in [
        (
            json!({"propagationPolicy": "Sometimes"}),
            422,
            format!(
                "{prefix}propagationPolicy: Unsupported value: \"Sometimes\": supported values: \
                 \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            ),
        ),
        (
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            422,
            format!(
                "{prefix}propagationPolicy: Invalid value: \"Orphan\": orphanDependents and \
                 deletionPropagation cannot be both set"
            ),
        ),
        (
            json!({"dryRun": ["Some"]}),
            422,
            format!("{prefix}dryRun: Unsupported value: \"Some\": supported values: \"All\""),
        ),
        (
            json!({"gracePeriodSeconds": "soon"}),
            400,
            "DeleteOptions: gracePeriodSeconds must be a whole number".to_owned(),
        ),
        (
            json!({"kind": "Widget"}),
            400,
            "the body of the request is a Widget, but a DeleteOptions is expected".to_owned(),
        ),
        (
            json!({"preconditions": {"uid": "other"}}),
            409,
            format!(
                "Operation cannot be fulfilled on Widget.test.heddle.dev \"it\": the UID in the \
                 precondition (other) does not match the UID in record ({uid}). The object might \
                 have been deleted and then recreated"
            ),
        ),
    ] {
        let (found, status) = fixture.delete_with("it", &options).await;
        assert_eq!(
            (found.as_u16(), status["message"].as_str().unwrap()),
            (code, message.as_str()),
            "{options}"
        );
    }
    let it = format!("{WIDGETS}/it");
    for query in [
        "?propagationPolicy=Never",
        "?orphanDependents=maybe",
        "?gracePeriodSeconds=x",
    ] {
        let (code, _) = fixture.delete(&format!("{it}{query}")).await;
        assert!(code.is_client_error(), "{query}");
    }
    for dry in ["?dryRun=All", "?gracePeriodSeconds=-1&dryRun=All"] {
        assert_eq!(fixture.delete(&format!("{it}{dry}")).await.0, 200);
    }
    assert_eq!(
        fixture
            .delete_with("it", &json!({"dryRun": ["All"]}))
            .await
            .0,
        200
    );
    assert!(fixture.is_there("it").await);
    let (code, it) = fixture
        .delete(&format!("{it}?propagationPolicy=Foreground"))
        .await;
    assert_eq!((code.as_u16(), &it["kind"]), (200, &json!("Widget")));
    fixture.until_gone("it").await;
}

#[tokio::test]
async fn a_collection_is_deleted_with_the_same_options() {
    let fixture = fixture();
    for name in ["a", "b", "c"] {
        fixture.make(name, &[], &[]).await;
    }
    fixture.make("child", &[("a", true)], &[]).await;
    let body = json!({"metadata": {"labels": {"go": "yes"}}});
    for name in ["a", "b"] {
        fixture.merge(&format!("{WIDGETS}/{name}"), &body).await;
    }
    let uri = format!("{WIDGETS}?labelSelector=go%3Dyes&propagationPolicy=Orphan");
    let (code, list) = fixture.delete(&uri).await;
    assert_eq!(
        (code.as_u16(), list["items"].as_array().unwrap().len()),
        (200, 2)
    );
    fixture.until_gone("a").await;
    fixture.until_gone("b").await;
    fixture.settled().await;
    assert!(fixture.is_there("c").await && fixture.is_there("child").await);
}

#[tokio::test]
async fn what_was_begun_goes_on_after_a_restart() {
    let mut fixture = fixture();
    fixture.make("orphaning", &[], &[]).await;
    fixture.make("foreground", &[], &[]).await;
    for n in 0..150 {
        fixture
            .make(&format!("orphan-{n}"), &[("orphaning", true)], &[])
            .await;
        fixture
            .make(&format!("child-{n}"), &[("foreground", true)], &[])
            .await;
    }
    for (name, how) in [("orphaning", "Orphan"), ("foreground", "Foreground")] {
        fixture.delete_with(name, &policy(how)).await;
        fixture = reopen(fixture);
    }
    fixture.until_gone("orphaning").await;
    fixture.until_gone("foreground").await;
    let (_, left) = fixture.get(WIDGETS).await;
    let left = left["items"].as_array().unwrap();
    assert_eq!(left.len(), 150);
    for item in left {
        assert!(
            item["metadata"]["name"]
                .as_str()
                .unwrap()
                .starts_with("orphan-")
        );
        assert!(item["metadata"].get("ownerReferences").is_none());
    }
}
