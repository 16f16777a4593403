//! How fast events go into JetStream: a Broker of the class `NatsJetStreamBroker` over HTTP, and a bare
//! async-nats publisher, in turns, into streams of the same server.
//!
//! 64 connections with one event of 1 KiB outstanding on each, no Trigger that matches; the publisher has
//! one connection, as the Broker has, and 64 messages of 1 KiB in flight: once as they are, and once with
//! the headers that an event has and an id by which the server drops what it has already, as the Broker
//! asks for. All of it with the server's usual `sync_interval`, and with `always`.
//!
//! The generator, or the publisher, is one thread on the same cores as the server.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, context::Context as JetStream};
use bytes::Bytes;
use serde_json::{Value, json};
use support::ledger::Ledger;
use support::load::{self, Load};
use support::process::{Heddle, Nats};
use support::stats::{ratio, spread};
use support::{Result, WARM_UP, http, procfs};
use tokio::runtime::Handle;

const IN_FLIGHT: usize = 64;
const DATA: usize = 1024;
/// More events than are accepted in a second.
const CEILING: u64 = 250_000;
const BROKERS: &str = "/apis/eventing.knative.dev/v1/namespaces/default/brokers";
const CONFIG_MAPS: &str = "/api/v1/namespaces/knative-eventing/configmaps";

fn main() -> std::process::ExitCode {
    support::main(bench)
}

/// Messages of the bare publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    Event,
}

/// Acknowledged a second, and microseconds of the server's processor for each; one sample a round.
#[derive(Default)]
struct Contender {
    rates: Vec<f64>,
    heddle_us: Vec<f64>,
    nats_us: Vec<f64>,
}

impl Contender {
    fn print(&self, name: &str) {
        let cpu = |samples: &[f64]| match samples {
            [] => "-".to_owned(),
            samples => format!("{:.1}", spread(samples).median),
        };
        let rate = spread(&self.rates).text(0);
        let (heddle, nats) = (cpu(&self.heddle_us), cpu(&self.nats_us));
        println!("| {name} | {rate} | {heddle} | {nats} |");
    }
}

fn bench() -> Result<()> {
    println!("{}", procfs::machine());
    for sync in ["2m", "always"] {
        run(sync)?;
    }
    Ok(())
}

fn run(sync: &str) -> Result<()> {
    let generator = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let on = generator.handle();
    let dir = tempfile::tempdir()?;
    let nats = Nats::start_syncing(dir.path(), sync)?;
    let nats = nats.context("nats-server was not found (PATH, or NATS_SERVER)")?;
    let heddle = Heddle::start(&dir.path().join("data"))?;
    make_broker(&heddle, &nats)?;
    let context = on.block_on(publisher(&nats))?;
    let (mut plain, mut event, mut broker) = <(Contender, Contender, Contender)>::default();
    for round in 1..=support::rounds() {
        for (shape, into) in [(Shape::Plain, &mut plain), (Shape::Event, &mut event)] {
            let before = procfs::cpu_seconds(nats.process.pid())?;
            let rate = publish(on, &context, shape)?;
            into.nats_us.push(since(&nats, before, rate)?);
            into.rates.push(rate);
        }
        let before = procfs::cpu_seconds(nats.process.pid())?;
        let heddle_before = procfs::cpu_seconds(heddle.process.pid())?;
        let rate = ingest(on, round, &heddle)?;
        broker.nats_us.push(since(&nats, before, rate)?);
        let used = procfs::cpu_seconds(heddle.process.pid())? - heddle_before;
        broker.heddle_us.push(used * 1e6 / (rate * turn_seconds()));
        broker.rates.push(rate);
    }
    println!("\n{}, sync_interval {sync}", nats.version);
    println!("\n| | acknowledged/s | CPU us of heddle | CPU us of nats-server |");
    println!("|---|---|---|---|");
    plain.print("async-nats, 64 in flight");
    event.print("async-nats, 64 in flight, headers and id of an event");
    broker.print("heddle up, 64 connections");
    let to = |other: &Contender| ratio(&broker.rates, &other.rates).text(2);
    println!("\nheddle / async-nats: {}", to(&plain));
    println!("heddle / async-nats with headers and id: {}", to(&event));
    Ok(())
}

fn turn_seconds() -> f64 {
    (support::turn() + WARM_UP).as_secs_f64()
}

/// Microseconds of the server's processor for each message since then.
fn since(nats: &Nats, before: f64, rate: f64) -> Result<f64> {
    let used = procfs::cpu_seconds(nats.process.pid())? - before;
    Ok(used * 1e6 / (rate * turn_seconds()))
}

/// Makes the Broker `nats`, and waits until it is ready.
fn make_broker(heddle: &Heddle, nats: &Nats) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "config-nats", "namespace": "knative-eventing"},
        "data": {"eventing-nats": format!("url: nats://{}", nats.addr)},
    });
    let class = json!({"eventing.knative.dev/broker.class": "NatsJetStreamBroker"});
    let broker = json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
        "metadata": {"name": "nats", "namespace": "default", "annotations": class},
    });
    for (path, object) in [(CONFIG_MAPS, config), (BROKERS, broker)] {
        let (status, answer) = http::call(heddle.api, "POST", path, &object.to_string())?;
        anyhow::ensure!(status == 201, "{path}: {status} {answer}");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, text) = http::call(heddle.api, "GET", &format!("{BROKERS}/nats"), "")?;
        let object: Value = serde_json::from_str(&text)?;
        if support::process::is_ready(&object) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the Broker is not ready: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes a stream like that of the Broker for each shape of messages.
async fn publisher(nats: &Nats) -> Result<JetStream> {
    let client = async_nats::connect(nats.addr.to_string()).await?;
    let context = jetstream::new(client);
    for shape in [Shape::Plain, Shape::Event] {
        let name = format!("BENCHMARK-{shape:?}");
        let config = Config {
            subjects: vec![format!("benchmark.{shape:?}")],
            name,
            storage: StorageType::File,
            duplicate_window: Duration::from_secs(120),
            allow_direct: true,
            ..Config::default()
        };
        context.create_stream(config).await?;
    }
    Ok(context)
}

/// The headers that an event of the generator has as a message.
fn headers(number: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let id = format!("{number:015}");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", &id),
        ("ce-source", "/benchmark/generator"),
        ("ce-type", "dev.heddle.benchmark.jetstream"),
        ("ce-knativearrivaltime", "2026-01-31T11:59:00.123456Z"),
        ("ce-knativebrokerttl", "255"),
        ("content-type", "application/octet-stream"),
        ("heddle-accepted", "1769860740123456789"),
        (
            "Nats-Msg-Id",
            &format!("/benchmark/generator {id} dev.heddle.benchmark.jetstream 255"),
        ),
    ] {
        headers.insert(name, value);
    }
    headers
}

/// Acknowledged messages a second.
fn publish(on: &Handle, context: &JetStream, shape: Shape) -> Result<f64> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (stop, acks) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let data: Bytes = http::noise(DATA).collect();
    let one = || {
        let (context, data) = (context.clone(), data.clone());
        let (stop, acks) = (Arc::clone(&stop), Arc::clone(&acks));
        on.spawn(async move {
            let subject = format!("benchmark.{shape:?}");
            while !stop.load(Relaxed) {
                let (subject, data) = (subject.clone(), data.clone());
                let sent = match shape {
                    Shape::Plain => context.publish(subject, data).await?,
                    Shape::Event => {
                        let headers = headers(NUMBER.fetch_add(1, Relaxed));
                        context.publish_with_headers(subject, headers, data).await?
                    }
                };
                sent.await?;
                acks.fetch_add(1, Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        })
    };
    let tasks: Vec<_> = (0..IN_FLIGHT).map(|_| one()).collect();
    std::thread::sleep(WARM_UP);
    let (from, before) = (Instant::now(), acks.load(Relaxed));
    std::thread::sleep(support::turn());
    let rate = (acks.load(Relaxed) - before) as f64 / from.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    on.block_on(async {
        for task in tasks {
            task.await.context("a publisher panicked")??;
        }
        Ok(rate)
    })
}

/// Events accepted a second.
fn ingest(on: &Handle, round: u64, heddle: &Heddle) -> Result<f64> {
    let seconds = support::turn().as_secs() + 3;
    let ledger = Arc::new(Ledger::new(round, (CEILING * seconds) as usize, None));
    let load = Load {
        addr: heddle.ingress,
        path: "/default/nats".to_owned(),
        kind: "dev.heddle.benchmark.jetstream".to_owned(),
        data: DATA,
        connections: IN_FLIGHT,
    };
    let rate = load::measure(on, &load, &ledger, support::turn())?;
    let account = ledger.account();
    anyhow::ensure!(
        account.refused == 0,
        "{} events were refused, the last with {}",
        account.refused,
        account.refusal
    );
    Ok(rate.acks)
}
