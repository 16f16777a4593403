//! Lists of versions that are past: each shows the state that was.

use http::StatusCode;
use serde_json::{Value, json};

use super::support::{Fixture, LIMITS, WIDGETS, fixture, raw, version, with_limits};
use crate::api::Limits;
use crate::api::store::HistoryLimits;

const ELSEWHERE: &str = "/apis/test.heddle.dev/v1/namespaces/kube-system/widgets";
const ALL: &str = "/apis/test.heddle.dev/v1/widgets";

/// Makes, changes and takes away six objects in two namespaces; gives the version after each step.
async fn live(fixture: &Fixture, steps: usize) -> Vec<u64> {
    let mut versions = Vec::new();
    for step in 0..steps {
        let name = ["a", "b", "c"][step * 7 % 3];
        let place = [WIDGETS, ELSEWHERE][step * 5 % 11 % 2];
        let one = format!("{place}/{name}");
        let colour = ["red", "blue"][step % 2];
        let colour = json!({"metadata": {"labels": {"colour": colour}}});
        match step * 3 % 5 {
            0 => drop(fixture.delete(&one).await),
            1 => drop(fixture.merge(&one, &colour).await),
            2 => drop(fixture.merge(&one, &json!({"spec": {"size": step}})).await),
            _ => drop(fixture.post(place, &raw(name)).await),
        }
        // Another kind has versions of its own in between.
        let map = json!({"metadata": {"name": format!("m{step}")}});
        fixture
            .post("/api/v1/namespaces/default/configmaps", &map)
            .await;
        versions.push(version(&fixture.get(ALL).await.1));
    }
    versions
}

/// The objects of a list, in all its pages.
async fn pages(fixture: &Fixture, uri: &str, at: u64) -> Vec<Value> {
    let (mut items, mut next) = (Vec::new(), String::new());
    loop {
        let query = if next.is_empty() {
            format!("&resourceVersion={at}")
        } else {
            format!("&continue={next}")
        };
        let (code, page) = fixture.get(&format!("{uri}limit=2{query}")).await;
        assert_eq!(code, StatusCode::OK, "{page}");
        assert_eq!(version(&page), at);
        let more = page["items"].as_array().unwrap();
        let rest = &page["metadata"]["remainingItemCount"];
        items.extend(more.iter().cloned());
        match page["metadata"]["continue"].as_str() {
            None => return items,
            Some(token) => token.clone_into(&mut next),
        }
        assert!(rest.is_u64() != uri.contains("Selector"), "{page}");
        // What happens between two pages is not seen.
        fixture.post(WIDGETS, &raw("between")).await;
        fixture.delete(&format!("{WIDGETS}/between")).await;
    }
}

#[tokio::test]
async fn every_remembered_version_can_be_listed() {
    let fixture = fixture();
    let queries = [
        format!("{ALL}?"),
        format!("{WIDGETS}?"),
        format!("{ELSEWHERE}?labelSelector=colour%3Dred&"),
        format!("{ALL}?labelSelector=!colour&"),
        format!("{ALL}?fieldSelector=metadata.name%3Db&"),
    ];
    // What lists showed when it was the present.
    let mut shown = Vec::new();
    for _ in 0..40 {
        for at in live(&fixture, 1 + shown.len() % 7).await {
            for query in &queries {
                let (_, list) = fixture.get(query).await;
                if version(&list) == at {
                    shown.push((query.clone(), list));
                }
            }
        }
    }
    assert!(shown.len() > 100);
    for (query, list) in shown {
        let at = version(&list);
        let uri = format!("{query}resourceVersion={at}&resourceVersionMatch=Exact");
        let (code, past) = fixture.get(&uri).await;
        assert_eq!((code, &past), (StatusCode::OK, &list), "{uri}");
        let past = pages(&fixture, &query, at).await;
        assert_eq!(Value::from(past), list["items"], "{uri}");
    }
}

#[tokio::test]
async fn a_forgotten_version_cannot_be_listed() {
    let history = HistoryLimits {
        events: 10,
        bytes: 1 << 20,
    };
    let fixture = with_limits(Limits { history, ..LIMITS });
    fixture.post(WIDGETS, &raw("a")).await;
    let old = version(&fixture.get(WIDGETS).await.1);
    for size in 2..20 {
        let one = format!("{WIDGETS}/a");
        fixture.merge(&one, &json!({"spec": {"size": size}})).await;
    }
    let current = version(&fixture.get(WIDGETS).await.1);
    for (query, size) in [("&resourceVersionMatch=Exact", 9), ("&limit=1", 9)] {
        let (code, list) = fixture
            .get(&format!(
                "{WIDGETS}?resourceVersion={}{query}",
                current - 10
            ))
            .await;
        assert_eq!(code, StatusCode::OK, "{list}");
        assert_eq!(list["items"][0]["spec"]["size"], size);
        for at in [old, current - 11] {
            let uri = format!("{WIDGETS}?resourceVersion={at}{query}");
            let (code, status) = fixture.get(&uri).await;
            assert_eq!((code.as_u16(), &status["reason"]), (410, &json!("Expired")));
            let message = "The resourceVersion for the provided list is too old.";
            assert_eq!(status["message"], message);
        }
    }
    // Where any state will do that is not older, there is the present one.
    for query in ["", "&resourceVersionMatch=NotOlderThan&limit=1"] {
        let uri = format!("{WIDGETS}?resourceVersion={old}{query}");
        let (_, list) = fixture.get(&uri).await;
        assert_eq!(version(&list), current, "{uri}");
        assert_eq!(list["items"][0]["spec"]["size"], 19);
    }
}
