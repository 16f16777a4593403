//! What others do to a topic: write to it, delete from it, make it late.

use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::SystemClock;
use heddle_broker::log::kafka::{Access, Owner, Template};
use heddle_broker::log::suite::{ALL, event, fill, opened, read_all, until};
use heddle_broker::log::{AppendError, Gap, GapReason, Log, LogStore as _, Partitions, Retention};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::server::{Cluster, jars};
use super::{Connected, PATIENCE, connect};

fn config(server: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.servers());
    config
}

async fn make(server: &Cluster, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = config(server).create().unwrap();
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await;
    made.unwrap().remove(0).unwrap();
}

fn external(connected: &Connected, topic: &str) -> Partitions {
    let mut template = Template::new(topic);
    template.owner = Owner::Others;
    let store = connected.store.with(template);
    let keep = Retention::default();
    opened(connected.changes.clone(), PATIENCE, || {
        store.open_all(topic, keep)
    })
}

fn headers(pairs: &[(&str, &str)]) -> OwnedHeaders {
    let add = |headers: OwnedHeaders, (key, value): &(&str, &str)| {
        let value = Some(*value);
        headers.insert(Header { key, value })
    };
    pairs.iter().fold(OwnedHeaders::new(), add)
}

/// Writes two events and something else, in a transaction, whose end has an offset of its own.
fn write_as_others_do(server: &Cluster, topic: &str) {
    let mut config = config(server);
    let producer: BaseProducer = config.set("transactional.id", "others").create().unwrap();
    let patience = Duration::from_secs(60);
    producer.init_transactions(patience).unwrap();
    producer.begin_transaction().unwrap();
    let structured = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#;
    let binary = [
        ("ce_specversion", "1.0"),
        ("ce_id", "2"),
        ("ce_source", "/\u{e4}"),
        ("ce_type", "t"),
        ("content-type", "text/plain"),
    ];
    let structured_type = [(
        "content-type",
        "application/cloudevents+json; charset=UTF-8",
    )];
    for (headers, payload) in [
        (headers(&structured_type), structured),
        (headers(&[]), "no event"),
        (headers(&binary), "hello"),
    ] {
        let record = BaseRecord::<str, str>::to(topic);
        let record = record.partition(0).headers(headers).payload(payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.commit_transaction(patience).unwrap();
}

/// Waits until the log knows of what others wrote.
async fn known(log: &Arc<dyn Log>, tail: u64) {
    let mut tails = log.tail();
    let known = tails.wait_for(|known| *known >= tail);
    let known = tokio::time::timeout(PATIENCE, known).await;
    assert_eq!(*known.expect("the tail does not move").unwrap(), tail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_others_is_read_to_its_end_and_never_deleted() {
    let Some(jars) = jars() else { return };
    let server = Cluster::single(&jars).await;
    let connected = connect(
        Access::plain(&server.servers()),
        Arc::new(SystemClock),
        PATIENCE,
    );
    make(&server, "theirs", 2).await;
    let partitions = external(&connected, "theirs");
    assert_eq!(partitions.all().len(), 2);
    let log = partitions.first();

    let theirs = server.servers();
    assert!(!theirs.is_empty());
    tokio::task::block_in_place(|| write_as_others_do(&server, "theirs"));
    known(log, 4).await;
    let (records, gaps) = read_all(&**log, 0).await;
    let ids: Vec<_> = records
        .iter()
        .map(|record| (record.offset, record.event.id()))
        .collect();
    assert_eq!(ids, [(0, "1"), (2, "2")]);
    assert_eq!(records[1].event.source(), "/\u{e4}");
    assert_eq!(records[1].event.data(), &b"hello"[..]);
    let gap = |offset, reason| Gap {
        offsets: offset..offset + 1,
        reason,
    };
    assert_eq!(
        gaps,
        [gap(1, GapReason::Damaged), gap(3, GapReason::Absent)]
    );

    // The reader goes on behind the hole.
    fill(&**log, 7..8, 10).await;
    let next = log.read(4, ALL).await.unwrap();
    assert_eq!(next.records[0].event, event(7, 10));

    // What its owner deletes is gone, and counted.
    let admin: AdminClient<DefaultClientContext> = config(&server).create().unwrap();
    let mut old = TopicPartitionList::new();
    old.add_partition_offset("theirs", 0, Offset::Offset(3))
        .unwrap();
    admin
        .delete_records(&old, &AdminOptions::new())
        .await
        .unwrap();
    until("the deletion is seen", async || log.stats().first == 3).await;
    assert_eq!(log.stats().expired_unread, 3);
    let (records, gaps) = read_all(&**log, 0).await;
    assert_eq!(records.len(), 1);
    let all: Vec<_> = gaps.iter().map(|gap| gap.offsets.clone()).collect();
    assert_eq!(all, [0..3, 3..4]);

    // Removing the log leaves the topic there.
    connected.store.remove("theirs").unwrap();
    let again = external(&connected, "theirs");
    assert_eq!(*again.first().tail().borrow(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_there_yet_is_waited_for() {
    let Some(jars) = jars() else { return };
    let server = Cluster::single(&jars).await;
    let connected = connect(
        Access::plain(&server.servers()),
        Arc::new(SystemClock),
        PATIENCE,
    );
    let mut template = Template::new("late");
    template.owner = Owner::Others;
    let store = connected.store.with(template);
    until("it is said that the topic is missing", async || {
        let opened = store.open_all("late", Retention::default());
        opened.is_err_and(|error| error.reason.contains("the topic late does not exist"))
    })
    .await;
    make(&server, "late", 3).await;
    assert_eq!(external(&connected, "late").all().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_left_keeps_its_topic_and_no_clients() {
    let Some(jars) = jars() else { return };
    let server = Cluster::single(&jars).await;
    let access = Access::plain(&server.servers());
    let connected = connect(access.clone(), Arc::new(SystemClock), PATIENCE);
    let logs = connected.open("left", Retention::default());
    fill(&**logs.first(), 0..10, 10).await;
    assert!(!connected.store.is_idle());
    connected.store.close("left");
    assert!(connected.store.is_idle());
    let refused = logs.first().append(vec![event(10, 1)]).unwrap_err();
    assert!(matches!(refused, AppendError::Closed { .. }), "{refused}");
    // By itself, while the process goes on.
    connected.store.end();
    connected.tracker.close();
    let ended = tokio::time::timeout(PATIENCE, connected.tracker.wait()).await;
    ended.expect("the tasks of the store do not end");
    let again = connect(access, Arc::new(SystemClock), PATIENCE);
    let logs = again.open("left", Retention::default());
    assert_eq!(read_all(&**logs.first(), 0).await.0.len(), 10);
    again.end().await;
}
