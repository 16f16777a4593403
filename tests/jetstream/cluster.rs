//! Three servers that keep three replicas: kills, stops and restarts under load.

use std::path::Path;

use serde_json::json;

use super::support::api::{Event, condition, trigger};
use super::support::kafka::Port;
use super::support::load::Load;
use super::support::nats::{Server, program};
use super::support::{Heddle, Subscriber, data_directory, report, wait};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_servers_of_a_cluster_go() {
    let Some(program) = program() else { return };
    let mut cluster = Cluster::start(&program);
    let (_directory, data) = data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    point_at(&heddle, &cluster.urls()).await;
    let mut wanted = broker("nats");
    wanted["metadata"]["annotations"]["natsjetstream.eventing.knative.dev/config"] =
        json!(r#"{"stream": {"replicas": 3}}"#);
    heddle.create("brokers", &wanted).await;
    let object = heddle.ready("brokers", "nats").await;
    assert_eq!(condition(&object, "LogDurability")["status"], "True");
    let wanted = trigger("all", "nats", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&wanted).await;

    let load = Load::on(&heddle, "nats", 4);
    load.acknowledged(100).await;
    // The leader goes as in a power cut, and comes back.
    let leader = cluster.leader().await;
    cluster.servers[leader].kill();
    load.acknowledged(100).await;
    heddle.accepted("default", &Event::new("other", "t")).await;
    cluster.restart(leader);
    load.acknowledged(100).await;
    // The next leader stands still: its connections stay, and it answers nothing.
    let leader = cluster.leader().await;
    cluster.servers[leader].signal("STOP");
    load.acknowledged(100).await;
    cluster.servers[leader].signal("CONT");
    load.acknowledged(100).await;

    let outcome = load.end().await;
    let (repeated, others) = outcome.reaches(&subscriber).await;
    heddle.wait_stat("all", "backlog", 0).await;
    report::line(&format!(
        "{} acknowledged, {} refused, {repeated} delivered twice, {others} delivered though refused",
        outcome.acknowledged.len(),
        outcome.refused,
    ));
    assert_eq!(repeated, 0, "no subscriber failed, and no process ended");
    let url = format!("{}/default", heddle.resources("brokers"));
    let other = heddle.http.get(&url).await.json();
    assert_eq!(condition(&other, "Ready")["status"], "True");
}
