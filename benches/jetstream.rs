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
use std::time::Duration;

use anyhow::Context;
use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, context::Context as JetStream};
use bytes::Bytes;
use serde_json::json;
use support::load::{CONNECTIONS, DATA, Load};
use support::process::{Heddle, Nats};
use support::stats::ratio;
use support::turns::{Samples, median};
use support::{Result, http, procfs, turns};
use tokio::runtime::Handle;

/// Messages under way: as many as there are connections over HTTP.
const IN_FLIGHT: usize = CONNECTIONS;
const KIND: &str = "dev.heddle.benchmark.jetstream";

fn main() -> std::process::ExitCode {
    support::main(bench)
}

/// Messages of the bare publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    Event,
}

/// What a contender takes of its own, and microseconds of the server's processor; one sample a round.
#[derive(Default)]
struct Contender {
    own: Samples,
    nats_us: Vec<f64>,
}

impl Contender {
    fn print(&self, name: &str) {
        let (heddle, nats) = (median(&self.own.cpu_us, 1), median(&self.nats_us, 1));
        println!("| {name} | {} | {heddle} | {nats} |", self.own.rate());
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
    let generator = turns::generator()?;
    let on = generator.handle();
    let dir = tempfile::tempdir()?;
    let nats = Nats::start_syncing(dir.path(), sync)?;
    let nats = nats.context("nats-server was not found (PATH, or NATS_SERVER)")?;
    let servers = json!({"eventing-nats": format!("url: nats://{}", nats.addr)});
    let broker = ("nats", "NatsJetStreamBroker");
    let config = ("config-nats", &servers);
    let heddle = Heddle::start_with_broker(&dir.path().join("data"), broker, config)?;
    let context = on.block_on(publisher(&nats))?;
    let (mut plain, mut event, mut broker) = <(Contender, Contender, Contender)>::default();
    let load = Load::new(heddle.ingress, "/default/nats", KIND);
    let (server, process) = (nats.process.pid(), heddle.process.pid());
    for round in 1..=support::rounds() {
        for (shape, into) in [(Shape::Plain, &mut plain), (Shape::Event, &mut event)] {
            let (rate, us) = turns::costing(server, || publish(on, &context, shape))?;
            into.nats_us.push(us);
            into.own.rates.push(rate);
        }
        let turn = || broker.own.over_http(on, round, &load, process);
        let (_, us) = turns::costing(server, turn)?;
        broker.nats_us.push(us);
    }
    println!("\n{}, sync_interval {sync}", nats.version);
    println!("\n| | acknowledged/s | CPU us of heddle | CPU us of nats-server |");
    println!("|---|---|---|---|");
    plain.print("async-nats, 64 in flight");
    event.print("async-nats, 64 in flight, headers and id of an event");
    broker.print("heddle up, 64 connections");
    let to = |other: &Contender| ratio(&broker.own.rates, &other.own.rates).text(2);
    println!("\nheddle / async-nats: {}", to(&plain));
    println!("heddle / async-nats with headers and id: {}", to(&event));
    Ok(())
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
        ("ce-type", KIND),
        ("ce-knativearrivaltime", "2026-01-31T11:59:00.123456Z"),
        ("ce-knativebrokerttl", "255"),
        ("content-type", "application/octet-stream"),
        ("heddle-accepted", "1769860740123456789"),
        (
            "Nats-Msg-Id",
            &format!("/benchmark/generator {id} {KIND} 255"),
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
    let rate = turns::rate_of(&acks);
    stop.store(true, Relaxed);
    on.block_on(async {
        for task in tasks {
            task.await.context("a publisher panicked")??;
        }
        Ok(rate)
    })
}
