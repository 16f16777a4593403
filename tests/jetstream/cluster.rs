//! Three servers that keep three replicas: kills, stops and restarts under load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use super::support::api::{Event, condition, trigger};
use super::support::kafka::Port;
use super::support::nats::{Server, program};
use super::support::{Heddle, Subscriber, data_directory, wait};
use super::{broker, point_at};

/// Three servers that know each other.
struct Cluster {
    servers: Vec<Server>,
    ports: Vec<Port>,
    _routes: Vec<Port>,
}

impl Cluster {
    fn start(program: &Path) -> Self {
        let ports: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
        let routes: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
        let route = |port: &Port| format!("nats://127.0.0.1:{}", port.number);
        let all: Vec<String> = routes.iter().map(route).collect();
        let start = |(index, port): (usize, &Port)| {
            let name = format!("server-{index}");
            let arguments = [
                ["--server_name", &name],
                ["--cluster_name", "three"],
                ["--cluster", &all[index]],
                ["--routes", &all.join(",")],
            ];
            let arguments = arguments.concat().into_iter().map(str::to_owned);
            let mut server = Server::new(program, &arguments.collect::<Vec<_>>());
            server.run_on(port.number);
            server
        };
        Self {
            servers: ports.iter().enumerate().map(start).collect(),
            ports,
            _routes: routes,
        }
    }

    fn urls(&self) -> String {
        let urls = self.servers.iter().map(Server::url);
        urls.collect::<Vec<_>>().join(",")
    }

    /// Which server leads the one stream that there is.
    async fn leader(&self) -> usize {
        let urls: Vec<String> = self.servers.iter().map(Server::url).collect();
        let client = async_nats::connect(urls).await.unwrap();
        let context = async_nats::jetstream::new(client);
        wait::until("the stream to have a leader", || async {
            let names = context.stream_names();
            let names: Vec<String> = futures::TryStreamExt::try_collect(names)
                .await
                .map_err(|error| error.to_string())?;
            let name = names.first().ok_or("no stream")?;
            let stream = context.get_stream(name).await;
            let stream = stream.map_err(|error| error.to_string())?;
            let cluster = stream.cached_info().cluster.clone();
            let leader = cluster.and_then(|cluster| cluster.leader).ok_or("none")?;
            let index = leader.strip_prefix("server-").ok_or("strange")?;
            index.parse().map_err(|_| leader.clone())
        })
        .await
    }

    fn restart(&mut self, index: usize) {
        self.servers[index].kill();
        self.servers[index].run_on(self.ports[index].number);
    }
}

/// What producers know.
#[derive(Default)]
struct Known {
    acknowledged: parking_lot::Mutex<BTreeSet<String>>,
    refused: AtomicU64,
    done: AtomicBool,
}

/// Posts events one after the other until it is told to end; what is refused is not sent again.
async fn produce(heddle: Arc<Heddle>, known: Arc<Known>, producer: usize) {
    let mut n = 0_u64;
    while !known.done.load(Ordering::Relaxed) {
        let id = format!("{producer}-{n}");
        n += 1;
        let answer = heddle.post("nats", &Event::new(&id, "t")).await;
        match answer.status.as_u16() {
            202 => drop(known.acknowledged.lock().insert(id)),
            503 => drop(known.refused.fetch_add(1, Ordering::Relaxed)),
            other => panic!("{other}: {}", answer.text()),
        }
    }
}

/// Waits until `more` events have been acknowledged since now.
async fn acknowledged(known: &Known, more: usize) {
    let before = known.acknowledged.lock().len();
    wait::until("events to be acknowledged", || async {
        let now = known.acknowledged.lock().len();
        if now >= before + more {
            Ok(())
        } else {
            Err(format!("{} of {more}", now - before))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_servers_of_a_cluster_go() {
    let Some(program) = program() else { return };
    let mut cluster = Cluster::start(&program);
    let (_directory, data) = data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Arc::new(Heddle::up(&data).await);
    point_at(&heddle, &cluster.urls()).await;
    let mut wanted = broker("nats");
    wanted["metadata"]["annotations"]["natsjetstream.eventing.knative.dev/config"] =
        json!(r#"{"stream": {"replicas": 3}}"#);
    heddle.create("brokers", &wanted).await;
    let object = heddle.ready("brokers", "nats").await;
    assert_eq!(condition(&object, "LogDurability")["status"], "True");
    let wanted = trigger("all", "nats", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&wanted).await;

    let known = Arc::new(Known::default());
    let mut producers = JoinSet::new();
    for n in 0..4 {
        producers.spawn(produce(Arc::clone(&heddle), Arc::clone(&known), n));
    }
    acknowledged(&known, 100).await;
    // The leader goes as in a power cut, and comes back.
    let leader = cluster.leader().await;
    cluster.servers[leader].kill();
    acknowledged(&known, 100).await;
    heddle.accepted("default", &Event::new("other", "t")).await;
    cluster.restart(leader);
    acknowledged(&known, 100).await;
    // The next leader stands still: its connections stay, and it answers nothing.
    let leader = cluster.leader().await;
    cluster.servers[leader].signal("STOP");
    acknowledged(&known, 100).await;
    cluster.servers[leader].signal("CONT");
    acknowledged(&known, 100).await;
    known.done.store(true, Ordering::Relaxed);
    while let Some(ended) = producers.join_next().await {
        ended.unwrap();
    }

    let wanted = known.acknowledged.lock().clone();
    let lost = || {
        let seen: BTreeSet<String> = subscriber.ids().into_iter().collect();
        let lost: Vec<_> = wanted.difference(&seen).cloned().collect();
        if lost.is_empty() {
            Ok(())
        } else {
            Err(format!("{lost:?}"))
        }
    };
    wait::until_now("everything acknowledged to be delivered", lost).await;
    heddle.wait_stat("all", "backlog", 0).await;
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for id in subscriber.ids() {
        *times.entry(id).or_default() += 1;
    }
    let repeated = times.values().filter(|count| **count > 1).count();
    let unacknowledged = times.keys().filter(|id| !wanted.contains(*id)).count() as u64;
    let refused = known.refused.load(Ordering::Relaxed);
    println!(
        "{} acknowledged, {refused} refused, {repeated} delivered twice, {unacknowledged} delivered \
         though refused",
        wanted.len()
    );
    assert_eq!(repeated, 0, "no subscriber failed, and no process ended");
    assert!(unacknowledged <= refused);
    let url = format!("{}/default", heddle.resources("brokers"));
    let other = heddle.http.get(&url).await.json();
    assert_eq!(condition(&other, "Ready")["status"], "True");
}
