//! What each call does to an object.

use http::Method;
use kube::ResourceExt;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::support::{WIDGETS, fixture, raw, reopen, resource, until, version, widget, widgets};

#[tokio::test]
async fn objects_live_from_create_to_delete() {
    let fixture = fixture();
    every_call(fixture.api.client()).await;
}

#[tokio::test]
async fn a_socket_serves_the_same() {
    let fixture = fixture();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tracker, drain) = (TaskTracker::new(), CancellationToken::new());
    fixture.api.serve(listener, None, &tracker, &drain);
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    every_call(kube::Client::try_from(config).unwrap()).await;
    drain.cancel();
    tracker.close();
    tracker.wait().await;
}

async fn every_call(client: kube::Client) {
    let api = widgets(&client);
    let made = api
        .create(&PostParams::default(), &widget("a", json!({"size": 3})))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(api.get("a").await.unwrap(), made);
    let again = api
        .create(&PostParams::default(), &widget("a", json!({})))
        .await
        .unwrap_err();
    assert!(matches!(again, kube::Error::Api(s) if s.code == 409 && s.reason == "AlreadyExists"));

    let mut next = made.clone();
    next.data["spec"]["size"] = json!(4);
    let next = api
        .replace("a", &PostParams::default(), &next)
        .await
        .unwrap();
    assert_eq!(next.metadata.generation, Some(2));
    let stale = api
        .replace("a", &PostParams::default(), &made)
        .await
        .unwrap_err();
    assert!(matches!(stale, kube::Error::Api(s) if s.code == 409 && s.reason == "Conflict"));

    patches_and_reads(&api).await;
    let gone = api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(gone.is_right());
    assert!(api.get_opt("a").await.unwrap().is_none());
    let found = kube::discovery::Discovery::new(client).run().await.unwrap();
    assert!(found.groups().any(|g| g.name() == "test.heddle.dev"));
}

async fn patches_and_reads(api: &Api<DynamicObject>) {
    let patch = Patch::Merge(json!({"status": {"n": 1}, "spec": {"size": 9}}));
    let status = api
        .patch_status("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(
        (&status.data["status"]["n"], &status.data["spec"]["size"]),
        (&json!(1), &json!(4))
    );
    assert_eq!(
        status.metadata.generation,
        Some(2),
        "a status is no new generation"
    );
    let spec = api
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(
        (&spec.data["status"]["n"], &spec.data["spec"]["size"]),
        (&json!(1), &json!(9))
    );
    let patch: Patch<DynamicObject> = Patch::Json(
        serde_json::from_value(json!([{"op": "replace", "path": "/spec/size", "value": 5}]))
            .unwrap(),
    );
    let spec = api
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(
        (spec.metadata.generation, &spec.data["spec"]["size"]),
        (Some(4), &json!(5))
    );
    let list = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert!(list.metadata.resource_version.is_some());
    let metadata = api.get_metadata("a").await.unwrap();
    assert_eq!(metadata.metadata.uid, spec.metadata.uid);
}

#[tokio::test]
async fn nothing_changed_is_no_new_version() {
    let fixture = fixture();
    let (_, made) = fixture.post(WIDGETS, &raw("a")).await;
    let uri = format!("{WIDGETS}/a");
    assert_eq!(fixture.put(&uri, &made).await.1, made);
    assert_eq!(
        fixture.merge(&uri, &json!({"spec": {"size": 1}})).await.1,
        made
    );
    let (_, labelled) = fixture
        .merge(&uri, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await;
    assert!(version(&labelled) > version(&made));
    assert_eq!(
        labelled["metadata"]["generation"], 1,
        "labels are no new generation"
    );
}

#[tokio::test]
async fn clients_do_not_write_the_servers_fields() {
    let fixture = fixture();
    let mut body = raw("a");
    body["metadata"]["uid"] = json!("mine");
    body["metadata"]["generation"] = json!(7);
    body["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    body["metadata"]["managedFields"] = json!([{}]);
    body["status"] = json!({"n": 1});
    let (code, made) = fixture.post(WIDGETS, &body).await;
    assert_eq!(code, 201, "{made}");
    let metadata = &made["metadata"];
    assert_ne!(metadata["uid"], "mine");
    assert_eq!(metadata["generation"], 1);
    assert!(metadata.get("deletionTimestamp").is_none());
    assert_eq!(metadata["managedFields"][0]["manager"], "unknown");
    assert!(made.get("status").is_none(), "status is a subresource");
}

#[tokio::test]
async fn finalizers_hold_an_object_back() {
    let fixture = fixture();
    let mut body = raw("a");
    body["metadata"]["finalizers"] = json!(["heddle.dev/hold", "heddle.dev/too"]);
    fixture.post(WIDGETS, &body).await;
    let uri = format!("{WIDGETS}/a");
    let (code, marked) = fixture.delete(&uri).await;
    assert_eq!((code.as_u16(), &marked["kind"]), (200, &json!("Widget")));
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["generation"], 2);
    assert_eq!(fixture.delete(&uri).await.1, marked, "marked once");
    let add = json!({"metadata": {"finalizers": ["heddle.dev/hold", "heddle.dev/new"]}});
    assert_eq!(fixture.merge(&uri, &add).await.0, 422);
    let one = json!({"metadata": {"finalizers": ["heddle.dev/hold"]}});
    assert_eq!(fixture.merge(&uri, &one).await.0, 200);
    assert_eq!(fixture.get(&uri).await.0, 200);
    assert_eq!(
        fixture
            .merge(&uri, &json!({"metadata": {"finalizers": null}}))
            .await
            .0,
        200
    );
    assert_eq!(fixture.get(&uri).await.0, 404);
}

#[tokio::test]
async fn dependents_go_after_their_last_owner() {
    let fixture = fixture();
    let mut owners = Vec::new();
    for name in ["a", "b"] {
        let (_, made) = fixture.post(WIDGETS, &raw(name)).await;
        owners.push(json!({
            "apiVersion": "test.heddle.dev/v1", "kind": "Widget", "name": name,
            "uid": made["metadata"]["uid"],
        }));
    }
    let mut child = raw("child");
    child["metadata"]["ownerReferences"] = json!(owners);
    fixture.post(WIDGETS, &child).await;
    let (_, child_now) = fixture.get(&format!("{WIDGETS}/child")).await;
    let mut grandchild = raw("grandchild");
    grandchild["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "test.heddle.dev/v1", "kind": "Widget", "name": "child",
        "uid": child_now["metadata"]["uid"],
    }]);
    fixture.post(WIDGETS, &grandchild).await;
    let mut foreign = raw("foreign");
    foreign["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "y"}]);
    fixture.post(WIDGETS, &foreign).await;

    fixture.delete(&format!("{WIDGETS}/a")).await;
    until("the reference to the first owner is gone", async || {
        let (_, child) = fixture.get(&format!("{WIDGETS}/child")).await;
        child["metadata"]["ownerReferences"]
            .as_array()
            .unwrap()
            .len()
            == 1
    })
    .await;
    fixture.delete(&format!("{WIDGETS}/b")).await;
    until("child and grandchild are gone", async || {
        fixture.get(&format!("{WIDGETS}/child")).await.0 == 404
            && fixture.get(&format!("{WIDGETS}/grandchild")).await.0 == 404
    })
    .await;
    assert_eq!(
        fixture.get(&format!("{WIDGETS}/foreign")).await.0,
        200,
        "its owner is unknown"
    );
}

#[tokio::test]
async fn a_namespace_takes_its_contents_with_it() {
    let fixture = fixture();
    let namespace = json!({"metadata": {"name": "shop"}});
    assert_eq!(fixture.post("/api/v1/namespaces", &namespace).await.0, 201);
    let inside = "/apis/test.heddle.dev/v1/namespaces/shop/widgets";
    let mut held = raw("held");
    held["metadata"]["finalizers"] = json!(["heddle.dev/hold"]);
    fixture.post(inside, &held).await;
    for n in 0..300 {
        assert_eq!(fixture.post(inside, &raw(&format!("w{n}"))).await.0, 201);
    }
    let (_, marked) = fixture.delete("/api/v1/namespaces/shop").await;
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert_eq!(fixture.post(inside, &raw("late")).await.0, 403);
    until("only the held one is left", async || {
        fixture.get(inside).await.1["items"]
            .as_array()
            .unwrap()
            .len()
            == 1
    })
    .await;
    // What was not finished goes on after a restart.
    let fixture = reopen(fixture);
    assert_eq!(fixture.get("/api/v1/namespaces/shop").await.0, 200);
    fixture
        .merge(
            &format!("{inside}/held"),
            &json!({"metadata": {"finalizers": null}}),
        )
        .await;
    until("the namespace is gone", async || {
        fixture.get("/api/v1/namespaces/shop").await.0 == 404
    })
    .await;
    assert_eq!(fixture.post(inside, &raw("late")).await.0, 404);
}

#[tokio::test]
async fn lists_select_and_page() {
    let fixture = fixture();
    for n in 0..25 {
        let mut body = raw(&format!("w{n:02}"));
        body["metadata"]["labels"] = json!({"parity": if n % 2 == 0 { "even" } else { "odd" }});
        fixture.post(WIDGETS, &body).await;
    }
    let all = "/apis/test.heddle.dev/v1/widgets";
    let (_, odd) = fixture
        .get(&format!("{all}?labelSelector=parity%20in%20(odd,x)"))
        .await;
    assert_eq!(odd["items"].as_array().unwrap().len(), 12);
    let (_, one) = fixture
        .get(&format!("{all}?fieldSelector=metadata.name%3Dw03"))
        .await;
    assert_eq!(one["items"].as_array().unwrap().len(), 1);

    let (mut names, mut next, mut first) = (Vec::new(), String::new(), 0);
    loop {
        let (code, page) = fixture
            .get(&format!("{WIDGETS}?limit=10&continue={next}"))
            .await;
        assert_eq!(code, 200, "{page}");
        if names.is_empty() {
            first = version(&page);
            assert_eq!(page["metadata"]["remainingItemCount"], 15);
            fixture.post(WIDGETS, &raw("aaa")).await;
        }
        assert_eq!(
            version(&page),
            first,
            "all pages name the version of the first"
        );
        for item in page["items"].as_array().unwrap() {
            names.push(item["metadata"]["name"].as_str().unwrap().to_owned());
        }
        match page["metadata"]["continue"].as_str() {
            Some(token) => next = token.to_owned(),
            None => break,
        }
    }
    assert_eq!(names.len(), 25);
    assert!(names.is_sorted());
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let fixture = fixture();
    let (code, made) = fixture
        .post(&format!("{WIDGETS}?dryRun=All"), &raw("a"))
        .await;
    assert_eq!(
        (code.as_u16(), &made["metadata"]["name"]),
        (201, &json!("a"))
    );
    assert_eq!(made["metadata"]["resourceVersion"], Value::Null);
    assert_eq!(fixture.get(&format!("{WIDGETS}/a")).await.0, 404);
    let (_, kept) = fixture.post(WIDGETS, &raw("a")).await;
    let dry = format!("{WIDGETS}/a?dryRun=All");
    fixture.delete(&dry).await;
    assert_eq!(fixture.get(&format!("{WIDGETS}/a")).await.1, kept);
    // What is tried keeps the version that is stored.
    let larger = json!({"spec": {"size": 9}});
    let (_, tried) = fixture.merge(&dry, &larger).await;
    assert_eq!(tried["spec"]["size"], 9);
    assert_eq!(tried["metadata"]["generation"], 2);
    assert_eq!(version(&tried), version(&kept));
    let mut next = kept.clone();
    next["spec"]["size"] = json!(8);
    let (_, tried) = fixture.put(&dry, &next).await;
    assert_eq!(
        (&tried["spec"]["size"], version(&tried)),
        (&json!(8), version(&kept))
    );
    assert_eq!(fixture.get(&format!("{WIDGETS}/a")).await.1, kept);
    // The next write that is kept takes the next version.
    let (_, after) = fixture.merge(&format!("{WIDGETS}/a"), &larger).await;
    assert_eq!(version(&after), version(&kept) + 1);
}

#[tokio::test]
async fn defaults_come_from_config_maps_and_names_are_made() {
    let fixture = fixture();
    let map = json!({"metadata": {"name": "widgets"}, "data": {"size": "7"}});
    let (code, _) = fixture
        .post("/api/v1/namespaces/knative-eventing/configmaps", &map)
        .await;
    assert_eq!(code, 201);
    let body = json!({
        "apiVersion": "test.heddle.dev/v1", "kind": "Widget", "metadata": {"generateName": "w-"},
    });
    let (_, made) = fixture.post(WIDGETS, &body).await;
    assert_eq!(made["spec"]["size"], 7);
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("w-") && name.len() == 7, "{name}");
}

#[tokio::test]
async fn an_admission_that_panics_harms_one_call() {
    let fixture = fixture();
    let mut body = raw("a");
    body["spec"]["panic"] = json!(true);
    let (code, status) = fixture.post(WIDGETS, &body).await;
    assert_eq!(
        (code.as_u16(), &status["reason"]),
        (500, &json!("InternalError"))
    );
    assert_eq!(fixture.post(WIDGETS, &raw("a")).await.0, 201);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let fixture = fixture();
    for name in ["a", "b", "c"] {
        let mut body = raw(name);
        body["metadata"]["labels"] = json!({"name": name});
        fixture.post(WIDGETS, &body).await;
    }
    let (_, deleted) = fixture
        .delete(&format!("{WIDGETS}?labelSelector=name!%3Db"))
        .await;
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    let (_, left) = fixture.get(WIDGETS).await;
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
}

#[tokio::test]
async fn people_get_tables() {
    let fixture = fixture();
    fixture.post(WIDGETS, &raw("a")).await;
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    fixture.merge(&format!("{WIDGETS}/a/status"), &status).await;
    let request = http::Request::get(WIDGETS)
        .header(
            "accept",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        )
        .body(Vec::new())
        .unwrap();
    let table: serde_json::Value = fixture.api.client().request(request).await.unwrap();
    assert_eq!(table["kind"], "Table");
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..3], [json!("a"), json!(1), json!("True")]);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn cluster_scoped_kinds_have_no_namespace() {
    let fixture = fixture();
    let api: Api<DynamicObject> = Api::all_with(fixture.api.client(), &resource("Globe", "globes"));
    let mut globe = DynamicObject::new("g", &resource("Globe", "globes")).data(json!({}));
    globe.metadata = ObjectMeta {
        name: Some("g".to_owned()),
        ..ObjectMeta::default()
    };
    assert_eq!(
        api.create(&PostParams::default(), &globe)
            .await
            .unwrap()
            .namespace(),
        None
    );
    let (code, _) = fixture
        .call(
            Method::GET,
            "/apis/test.heddle.dev/v1/globes/g/status",
            "",
            "",
        )
        .await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn objects_outlive_the_process() {
    let fixture = fixture();
    let (_, made) = fixture.post(WIDGETS, &raw("a")).await;
    // Larger than a page of the store, which goes to a file of its own there.
    let mut big = raw("big");
    big["spec"]["text"] = json!("x".repeat(1 << 20));
    let (_, big) = fixture.post(WIDGETS, &big).await;
    fixture.delete(&format!("{WIDGETS}/a")).await;
    let before = version(&fixture.get(WIDGETS).await.1);
    let fixture = reopen(fixture);
    assert_eq!(fixture.get(&format!("{WIDGETS}/a")).await.0, 404);
    assert_eq!(fixture.get(&format!("{WIDGETS}/big")).await.1, big);
    let (_, next) = fixture.post(WIDGETS, &raw("a")).await;
    assert!(version(&next) > before && version(&next) > version(&made) + 2);
}
