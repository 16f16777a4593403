//! Three servers that keep three replicas: kills, stops and restarts under load.

use serde_json::{Value, json};

use super::support::api::{Event, condition, trigger};
use super::support::kafka::{Cluster, Protection, jars};
use super::support::load::Load;
use super::support::{Heddle, Subscriber, data_directory, report};
use super::{broker, configure};

/// Three replicas of each of three partitions, with more settings.
fn replicated(cluster: &Cluster, more: &Value) -> Value {
    let mut data = json!({
        "bootstrap.servers": cluster.servers(),
        "default.topic.partitions": "3",
        "default.topic.replication.factor": "3",
    });
    let more = more.as_object().unwrap().clone();
    data.as_object_mut().unwrap().extend(more);
    data
}

/// Makes a Broker that a ConfigMap of its own configures, and a Trigger for all of it.
async fn make(heddle: &Heddle, name: &str, data: &Value, subscriber: &Subscriber) {
    let config = format!("config-{name}");
    configure(heddle, &config, data).await;
    let mut object = broker(name, &json!({}));
    object["spec"]["config"] = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": config,
        "namespace": "knative-eventing"});
    heddle.create("brokers", &object).await;
    let object = heddle.ready("brokers", name).await;
    assert_eq!(condition(&object, "LogDurability")["status"], "True");
    let all = trigger(
        &format!("{name}-all"),
        name,
        &subscriber.url("/"),
        json!({}),
    );
    heddle.create_trigger(&all).await;
}

/// Ends the load, and checks what became of its events.
async fn check(name: &str, load: Load, subscriber: &Subscriber, heddle: &Heddle) {
    let outcome = load.end().await;
    let (repeated, others) = outcome.reaches(subscriber).await;
    heddle.wait_stat(&format!("{name}-all"), "backlog", 0).await;
    report::line(&format!(
        "{name}: {} acknowledged, 0 lost, {} refused, {repeated} delivered twice, {others} delivered \
         though refused",
        outcome.acknowledged.len(),
        outcome.refused,
    ));
    assert_eq!(repeated, 0, "no subscriber failed, and no process ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_servers_of_a_cluster_go() {
    let Some(jars) = jars() else { return };
    let mut cluster = Cluster::start(&jars, 3, Protection::None).await;
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let (two, three) = (Subscriber::start().await, Subscriber::start().await);
    // Of three replicas two have to have an event before it is acknowledged; or all of them.
    make(&heddle, "two", &replicated(&cluster, &json!({})), &two).await;
    let all = json!({"default.topic.config.min.insync.replicas": "3"});
    make(&heddle, "three", &replicated(&cluster, &all), &three).await;
    let (some, strict) = (Load::on(&heddle, "two", 4), Load::on(&heddle, "three", 2));
    some.acknowledged(100).await;
    strict.acknowledged(20).await;

    // One goes as in a power cut: the others go on, but where all three are asked for.
    cluster.kill(0);
    some.acknowledged(100).await;
    strict.refused(5).await;
    heddle.accepted("default", &Event::new("other", "t")).await;
    cluster.restart(0).await;
    some.acknowledged(100).await;
    strict.acknowledged(20).await;

    // Another one stands still: its connections stay, and it answers nothing.
    cluster.pause(1);
    some.acknowledged(100).await;
    cluster.resume(1);
    some.acknowledged(100).await;

    // All of them are away.
    (0..3).for_each(|server| cluster.kill(server));
    some.refused(10).await;
    heddle
        .accepted("default", &Event::new("another", "t"))
        .await;
    (0..3).for_each(|server| cluster.start_again(server));
    some.acknowledged(100).await;
    strict.acknowledged(20).await;

    check("two", some, &two, &heddle).await;
    check("three", strict, &three, &heddle).await;
    let url = format!("{}/default", heddle.resources("brokers"));
    let other = heddle.http.get(&url).await.json();
    assert_eq!(condition(&other, "Ready")["status"], "True");
    let output = heddle.output();
    let noise = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let lines = output.lines().filter(noise).count();
    report::line(&format!("{lines} warnings and errors in the log"));
    assert!(lines < 200, "the log floods: {output}");
}
