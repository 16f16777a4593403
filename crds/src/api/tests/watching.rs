//! Watches miss nothing and repeat nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, BodyStream, Full};
use kube::ResourceExt;
use kube::api::{DynamicObject, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use serde_json::{Value, json};

use super::support::{
    Fixture, LIMITS, WIDGETS, fixture, raw, reopen, resource, until, version, widget, widgets,
    with_limits,
};
use crate::api::store::HistoryLimits;
use crate::api::{Limits, http as protocol};

/// An open watch, line by line.
struct Lines {
    body: BodyStream<protocol::ResponseBody>,
    buffer: Vec<u8>,
}

async fn watch(fixture: &Fixture, query: &str) -> Lines {
    let uri = format!("{WIDGETS}?watch=true{query}");
    let request = Request::get(uri).body(Full::new(Bytes::new())).unwrap();
    let response = protocol::handle(Arc::clone(&fixture.api.inner), request).await;
    assert_eq!(response.status(), 200);
    Lines {
        body: BodyStream::new(response.into_body().boxed_unsync()),
        buffer: Vec::new(),
    }
}

impl Lines {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(3_600), self.body.next())
                .await
                .expect("the watch gives something")?;
            self.buffer
                .extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    async fn named(&mut self) -> (String, String) {
        let event = self.next().await.unwrap();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (
            text(&event["type"]),
            text(&event["object"]["metadata"]["name"]),
        )
    }
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watches_under_concurrent_writes_see_one_history() {
    const WRITERS: usize = 8;
    const WRITES: usize = 60;
    let fixture = Arc::new(fixture());
    let client = fixture.api.client();
    let start = version(&fixture.get(WIDGETS).await.1);
    let early = collect(&fixture, start, WRITERS * WRITES * 3);
    let writers = (0..WRITERS).map(|w| {
        let api = widgets(&client);
        async move {
            for n in 0..WRITES {
                let name = format!("w{w}-{n}");
                let made = api
                    .create(&PostParams::default(), &widget(&name, json!({})))
                    .await;
                let mut object = made.unwrap();
                object.data["spec"]["size"] = json!(n + 2);
                api.replace(&name, &PostParams::default(), &object)
                    .await
                    .unwrap();
                api.delete(&name, &Default::default()).await.unwrap();
            }
        }
    });
    let middle = async {
        until("some were written", async || {
            version(&fixture.get(WIDGETS).await.1) > start + 100
        })
        .await;
        collect(&fixture, start, WRITERS * WRITES * 3).await
    };
    let (_, early, middle) = tokio::join!(futures::future::join_all(writers), early, middle);
    let late = collect(&fixture, start, WRITERS * WRITES * 3).await;
    assert_eq!(early, late);
    assert_eq!(middle, late);
    let versions: Vec<u64> = late.iter().map(|(version, ..)| *version).collect();
    // Nothing else writes, so that the versions follow each other without a gap.
    let expected: Vec<u64> = (start + 1..=start + versions.len() as u64).collect();
    assert_eq!(versions, expected);
    let mut lives: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (_, what, name) in &late {
        lives.entry(name).or_default().push(what);
    }
    assert_eq!(lives.len(), WRITERS * WRITES);
    assert!(
        lives
            .values()
            .all(|life| *life == ["ADDED", "MODIFIED", "DELETED"])
    );
}

async fn collect(fixture: &Fixture, from: u64, count: usize) -> Vec<(u64, String, String)> {
    let mut lines = watch(fixture, &format!("&resourceVersion={from}")).await;
    let mut seen = Vec::new();
    while seen.len() < count {
        let event = lines.next().await.unwrap();
        let object = &event["object"];
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        seen.push((
            version(object),
            event["type"].as_str().unwrap().to_owned(),
            name,
        ));
    }
    seen
}

#[tokio::test]
async fn the_forgotten_past_is_expired() {
    let history = HistoryLimits {
        events: 10,
        bytes: 1 << 20,
    };
    let fixture = with_limits(Limits { history, ..LIMITS });
    let (_, first) = fixture.post(WIDGETS, &raw("w0")).await;
    let (_, page) = fixture.get(&format!("{WIDGETS}?limit=1")).await;
    assert!(page["metadata"]["continue"].is_null(), "one page is enough");
    fixture.post(WIDGETS, &raw("w00")).await;
    let (_, page) = fixture.get(&format!("{WIDGETS}?limit=1")).await;
    let token = page["metadata"]["continue"].as_str().unwrap();
    for n in 1..20 {
        fixture.post(WIDGETS, &raw(&format!("w{n}"))).await;
    }
    let mut lines = watch(&fixture, &format!("&resourceVersion={}", version(&first))).await;
    let event = lines.next().await.unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(
        (&event["object"]["code"], &event["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert!(lines.next().await.is_none(), "the watch ends with it");
    let (code, status) = fixture
        .get(&format!("{WIDGETS}?limit=1&continue={token}"))
        .await;
    assert_eq!((code.as_u16(), &status["reason"]), (410, &json!("Expired")));
    // Whoever goes on all the same gets the rest, with the version of today.
    let token = status["metadata"]["continue"].as_str().unwrap();
    let uri = format!("{WIDGETS}?limit=1&continue={token}");
    let (_, page) = fixture.get(&uri).await;
    assert_eq!(page["items"][0]["metadata"]["name"], "w00");
    assert_eq!(version(&page), version(&fixture.get(WIDGETS).await.1));
    assert!(page["metadata"]["continue"].is_string());
    let current = version(&fixture.get(WIDGETS).await.1);
    let mut lines = watch(&fixture, &format!("&resourceVersion={}", current - 10)).await;
    assert_eq!(lines.named().await, pair("ADDED", "w10"));
    let mut future = watch(&fixture, "&resourceVersion=999999").await;
    assert_eq!(future.next().await.unwrap()["object"]["code"], 410);
}

#[tokio::test]
async fn a_restart_expires_older_versions_only() {
    let fixture = fixture();
    let (_, first) = fixture.post(WIDGETS, &raw("a")).await;
    fixture.post(WIDGETS, &raw("b")).await;
    let current = version(&fixture.get(WIDGETS).await.1);
    let fixture = reopen(fixture);
    let mut old = watch(&fixture, &format!("&resourceVersion={}", version(&first))).await;
    assert_eq!(old.next().await.unwrap()["object"]["code"], 410);
    let mut new = watch(&fixture, &format!("&resourceVersion={current}")).await;
    fixture.post(WIDGETS, &raw("c")).await;
    assert_eq!(new.named().await, pair("ADDED", "c"));
}

#[tokio::test]
async fn selected_objects_come_and_go() {
    let fixture = fixture();
    let mut lines = watch(&fixture, "&labelSelector=shown&resourceVersion=0").await;
    fixture.post(WIDGETS, &raw("hidden")).await;
    fixture.post(WIDGETS, &raw("a")).await;
    let uri = format!("{WIDGETS}/a");
    fixture
        .merge(&uri, &json!({"metadata": {"labels": {"shown": "yes"}}}))
        .await;
    assert_eq!(lines.named().await, pair("ADDED", "a"));
    fixture.merge(&uri, &json!({"spec": {"size": 2}})).await;
    assert_eq!(lines.named().await, pair("MODIFIED", "a"));
    fixture
        .merge(&uri, &json!({"metadata": {"labels": null}}))
        .await;
    assert_eq!(lines.named().await, pair("DELETED", "a"));
    fixture.delete(&uri).await;
    fixture
        .merge(
            &format!("{WIDGETS}/hidden"),
            &json!({"metadata": {"labels": {"shown": ""}}}),
        )
        .await;
    assert_eq!(lines.named().await, pair("ADDED", "hidden"));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_and_the_end_come_in_time() {
    let fixture = fixture();
    fixture.post(WIDGETS, &raw("a")).await;
    let query = "&allowWatchBookmarks=true&sendInitialEvents=true\
        &resourceVersionMatch=NotOlderThan&timeoutSeconds=90";
    let began = tokio::time::Instant::now();
    let mut lines = watch(&fixture, query).await;
    assert_eq!(lines.named().await, pair("ADDED", "a"));
    let end = lines.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    // What happens to other kinds moves the bookmark of this one.
    fixture
        .post(
            "/api/v1/namespaces",
            &json!({"metadata": {"name": "other"}}),
        )
        .await;
    let current = version(&fixture.get(WIDGETS).await.1);
    let bookmark = lines.next().await.unwrap();
    assert_eq!(
        (&bookmark["type"], version(&bookmark["object"])),
        (&json!("BOOKMARK"), current)
    );
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(lines.next().await.unwrap()["type"], "BOOKMARK");
    assert_eq!(began.elapsed().as_secs(), 88);
    assert!(lines.next().await.is_none());
    assert_eq!(began.elapsed().as_secs(), 90);
}

#[tokio::test]
async fn kube_watches_and_reflectors_agree_with_the_store() {
    let fixture = fixture();
    let api = widgets(&fixture.api.client());
    for n in 0..7 {
        let object = widget(&format!("w{n}"), json!({}));
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    for config in [
        watcher::Config::default().page_size(3),
        watcher::Config::default().streaming_lists(),
    ] {
        let writer = reflector::store::Writer::new(resource("Widget", "widgets"));
        let reader = writer.as_reader();
        let stream = reflector(writer, watcher(api.clone(), config)).applied_objects();
        let drive = stream.for_each(|_| std::future::ready(()));
        let check = async {
            reader.wait_until_ready().await.unwrap();
            assert_eq!(reader.len(), 7);
            api.create(&PostParams::default(), &widget("x", json!({})))
                .await
                .unwrap();
            until("x is seen", async || reader.len() == 8).await;
            api.delete("x", &Default::default()).await.unwrap();
            until("x is gone", async || reader.len() == 7).await;
        };
        tokio::select! {
            () = drive => panic!("the watch ended"),
            () = check => {}
        }
    }
    let list: Vec<String> = api
        .list(&Default::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(list.len(), 7);
}

#[tokio::test]
async fn closing_ends_watches_and_refuses_writes() {
    let fixture = fixture();
    let client = fixture.api.client();
    let mut stream = widgets(&client)
        .watch(&WatchParams::default(), "0")
        .await
        .unwrap()
        .boxed();
    fixture.post(WIDGETS, &raw("a")).await;
    let first: WatchEvent<DynamicObject> = stream.next().await.unwrap().unwrap();
    assert!(matches!(first, WatchEvent::Added(_)));
    fixture.api.close();
    assert!(stream.next().await.is_none());
    let (code, status) = fixture.post(WIDGETS, &raw("b")).await;
    assert_eq!(
        (code.as_u16(), &status["reason"]),
        (503, &json!("ServiceUnavailable"))
    );
    assert_eq!(
        fixture.get(&format!("{WIDGETS}/a")).await.0,
        200,
        "reads go on"
    );
}

#[tokio::test]
async fn a_list_says_how_it_takes_its_version() {
    let fixture = fixture();
    let forbidden = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: \
                     resourceVersionMatch";
    for (query, message) in [
        (
            "resourceVersionMatch=Exact",
            format!("{forbidden} is forbidden unless resourceVersion is provided"),
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            format!("{forbidden} \"exact\" is forbidden for resourceVersion \"0\""),
        ),
        (
            "resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=x",
            format!("{forbidden} is forbidden when continue is provided"),
        ),
        (
            "resourceVersionMatch=Newest&resourceVersion=1",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \
             \"Newest\": supported values: \"Exact\", \"NotOlderThan\", \"\""
                .to_owned(),
        ),
    ] {
        let (code, answer) = fixture.get(&format!("{WIDGETS}?{query}")).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(answer["message"], message);
    }
    for (query, message) in [
        (
            "resourceVersionMatch=NotOlderThan&resourceVersion=1",
            format!("{forbidden} is forbidden for watch unless sendInitialEvents is provided"),
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            "ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: \
             sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, \
             resourceVersionMatch: Unsupported value: \"Exact\": supported values: \
             \"NotOlderThan\"]"
                .to_owned(),
        ),
    ] {
        let (code, answer) = fixture.get(&format!("{WIDGETS}?watch=true&{query}")).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(answer["message"], message);
    }
    let query = "resourceVersionMatch=NotOlderThan&resourceVersion=0";
    assert_eq!(fixture.get(&format!("{WIDGETS}?{query}")).await.0, 200);
}
