//! How fast it is; printed to be looked at, since the machine that runs tests is shared.

use tokio::time::Instant;

use futures::StreamExt;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use super::support::{fixture, widget, widgets};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_share_flushes_and_lists_copy_nothing() {
    const OBJECTS: usize = 2_000;
    let fixture = fixture();
    let api = &widgets(&fixture.api.client());
    let began = Instant::now();
    futures::stream::iter(0..OBJECTS)
        .for_each_concurrent(64, |n| async move {
            let object = widget(&format!("w{n}"), json!({"text": "x".repeat(500)}));
            api.create(&PostParams::default(), &object).await.unwrap();
        })
        .await;
    let written = began.elapsed();
    let began = Instant::now();
    let list = api.list(&ListParams::default()).await.unwrap();
    let listed = began.elapsed();
    assert_eq!(list.items.len(), OBJECTS);
    println!("{OBJECTS} durable creations by 64 writers: {written:?}; their list: {listed:?}");
    let counts = fixture.api.counts();
    assert!(
        counts.contains(&("widgets.test.heddle.dev".to_owned(), OBJECTS)),
        "{counts:?}"
    );
}
