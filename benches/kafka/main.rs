//! Brokers whose events Kafka keeps, beside what Kafka gives its own clients.
//!
//! * `ingest`: events through HTTP, beside a producer of librdkafka with the same settings that is given
//!   the same records, and beside a bare HTTP server: how many are acknowledged a second with 64 and with
//!   512 under way.
//! * `fanout`: the bytes that Kafka sends to a process with one Trigger and to one with a hundred, for the
//!   same events, counted between the two.
//! * `backlog`: memory while a million events drain that were in the topic before.
//!
//! `HEDDLE_KAFKA` names the folder with Kafka's jars (`tests/scripts/kafka.sh` prints it), and
//! `HEDDLE_BENCH_PART` one part. One server with one replica, on the same cores as everything else.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

mod count;
mod produce;
#[path = "../../tests/support/kafka/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)] // The tests use the rest.
mod server;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../tests/support/wait.rs"]
#[allow(dead_code)]
mod wait;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tokio::runtime::Runtime;

use count::Counter;
use produce::Producing;
use server::{Cluster, Port, Protection};
use support::bare::Role;
use support::ledger::Ledger;
use support::load::{self, DATA, Load};
use support::process::{Bare, Heddle};
use support::sink::Sink;
use support::stats::ratio;
use support::turns::{Samples, median};
use support::{Result, procfs, turns};

const KIND: &str = "dev.heddle.benchmark.kafka";
const PARTITIONS: usize = 3;
/// The topic of the Broker that [`heddle`] makes.
const TOPIC: &str = "knative-broker-default-kafka";

fn main() -> std::process::ExitCode {
    support::main(bench)
}

fn bench() -> Result<()> {
    println!("{}", procfs::machine());
    let jars = std::env::var_os("HEDDLE_KAFKA").context("HEDDLE_KAFKA does not name a folder")?;
    let only = std::env::var("HEDDLE_BENCH_PART").unwrap_or_default();
    let all: [(&str, Part); 3] = [("ingest", ingest), ("fanout", fanout), ("backlog", backlog)];
    let field = Field {
        runtime: turns::generator()?,
        jars: PathBuf::from(jars),
    };
    for (name, part) in all {
        if only.is_empty() || only == name {
            println!("\n# {name}\n");
            part(&field)?;
        }
    }
    Ok(())
}

/// One part of the benchmark.
type Part = fn(&Field) -> Result<()>;

/// What all parts need.
struct Field {
    /// What the generator runs on.
    runtime: Runtime,
    jars: PathBuf,
}

impl Field {
    fn kafka(&self, protection: Protection) -> Cluster {
        let started = Cluster::start(&self.jars, 1, protection);
        self.runtime.block_on(started)
    }
}

/// A process with a Broker on these servers.
fn heddle(data: &Path, servers: &str) -> Result<Heddle> {
    let values = json!({
        "bootstrap.servers": servers,
        "default.topic.partitions": PARTITIONS.to_string(),
        "default.topic.replication.factor": "1",
    });
    let config = ("kafka-broker-config", &values);
    Heddle::start_with_broker(data, ("kafka", "Kafka"), config)
}

fn load_for(addr: SocketAddr, connections: usize) -> Load {
    Load {
        connections,
        ..Load::new(addr, "/default/kafka", KIND)
    }
}

fn print(contender: &Samples, name: &str) {
    let cpu = median(&contender.cpu_us, 1);
    println!("| {name} | {} | {cpu} |", contender.rate());
}

fn ingest(field: &Field) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let kafka = field.kafka(Protection::None);
    let heddle = heddle(&dir.path().join("data"), &kafka.servers())?;
    let bare = Bare::start(Role::Accept, None)?;
    let producing = Producing::new(&kafka.servers())?;
    let on = field.runtime.handle();
    println!("| under way | acknowledged/s | CPU us/event |\n|---|---|---|");
    for under_way in [64, 512] {
        let mut found: [Samples; 3] = Default::default();
        for round in 1..=support::rounds() {
            let [http, kafka, both] = &mut found;
            for (addr, pid, into) in [
                (bare.addr, bare.process.pid(), http),
                (heddle.ingress, heddle.process.pid(), both),
            ] {
                into.over_http(on, round, &load_for(addr, under_way), pid)?;
            }
            let measure = || producing.measure(TOPIC, under_way);
            kafka.other(std::process::id(), measure)?;
        }
        let [http, kafka, both] = &found;
        print(http, &format!("{under_way}: bare hyper, 202 only"));
        print(kafka, &format!("{under_way}: a producer of librdkafka"));
        print(both, &format!("{under_way}: heddle up, HTTP to Kafka"));
        println!(
            "\n{under_way} under way: heddle / the producer {}, heddle / bare hyper {}\n",
            ratio(&both.rates, &kafka.rates).text(2),
            ratio(&both.rates, &http.rates).text(2),
        );
    }
    let memory = procfs::memory(heddle.process.pid())?;
    println!("heddle memory, MiB: {memory:?}");
    Ok(())
}

/// What one turn of `fanout` found.
struct Fetched {
    bytes: u64,
    idle: u64,
    delivered: u64,
}

fn fanout(field: &Field) -> Result<()> {
    let events = support::setting("HEDDLE_BENCH_EVENTS", 1_000) as usize;
    let rate = support::setting("HEDDLE_BENCH_RATE", 100) as f64;
    println!("{events} events of {DATA} B at {rate}/s, every Trigger wants all of them\n");
    println!("| Triggers | delivered | bytes from Kafka, in all | of that when idle as long |");
    println!("|---|---|---|---|");
    let mut sums = Vec::new();
    for triggers in [1, 100] {
        let found = fetched(field, triggers, events, rate)?;
        let Fetched {
            bytes,
            idle,
            delivered,
        } = found;
        println!("| {triggers} | {delivered} | {bytes} | {idle} |");
        sums.push(bytes as f64);
    }
    println!(
        "\n100 Triggers / 1 Trigger: {:.3} of the bytes",
        sums[1] / sums[0]
    );
    Ok(())
}

fn fetched(field: &Field, triggers: usize, events: usize, rate: f64) -> Result<Fetched> {
    let dir = tempfile::tempdir()?;
    let port = Port::reserve();
    let kafka = field.kafka(Protection::Behind(port.number));
    let own: SocketAddr = kafka.protected().parse()?;
    let counter = Counter::start(field.runtime.handle(), port.number, own)?;
    let between = format!("127.0.0.1:{}", port.number);
    let heddle = heddle(&dir.path().join("data"), &between)?;
    let sink = Sink::start(true)?;
    for number in 0..triggers {
        heddle.trigger(&format!("all-{number}"), KIND, sink.addr)?;
    }
    let took = Duration::from_secs_f64(events as f64 / rate);
    let before = counter.bytes();
    std::thread::sleep(took);
    let idle = counter.bytes() - before;
    let ledger = Arc::new(Ledger::new(1, events, None));
    sink.record(&ledger);
    let before = counter.bytes();
    load::open_loop(&load_for(heddle.ingress, 16), &ledger, rate, events)?;
    let all = (events * triggers) as u64;
    let arrived = || ledger.arrivals() + ledger.account().duplicates;
    let deadline = Instant::now() + Duration::from_secs(60);
    while arrived() < all && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let bytes = counter.bytes() - before;
    let account = ledger.account();
    anyhow::ensure!(account.refused == 0, "some events were refused");
    anyhow::ensure!(arrived() >= all, "{} of {all} were delivered", arrived());
    Ok(Fetched {
        bytes,
        idle,
        delivered: arrived(),
    })
}

fn backlog(field: &Field) -> Result<()> {
    let count = support::setting("HEDDLE_BENCH_BACKLOG", 1_000_000) as usize;
    let dir = tempfile::tempdir()?;
    let kafka = field.kafka(Protection::None);
    let heddle = heddle(&dir.path().join("data"), &kafka.servers())?;
    let pid = heddle.process.pid();
    let from = Instant::now();
    Producing::new(&kafka.servers())?.fill(TOPIC, count, 200)?;
    let rate = count as f64 / from.elapsed().as_secs_f64();
    println!("{count} events of 200 B written by librdkafka at {rate:.0}/s");
    let before = procfs::memory(pid)?;
    let ledger = Arc::new(Ledger::new(produce::RUN, count, None));
    let sink = Sink::start(true)?;
    sink.record(&ledger);
    let stop = Arc::new(AtomicBool::new(false));
    let draining = procfs::sampler(pid, &stop);
    let from = Instant::now();
    heddle.trigger_from_start("backlog", KIND, sink.addr)?;
    ledger.await_arrivals(count as u64, Duration::from_secs(20));
    let seconds = from.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    let draining = draining.join().unwrap_or_default();
    let came = ledger.arrivals();
    println!(
        "drained at {:.0}/s: {came} came, {} of them more than once",
        came as f64 / seconds,
        ledger.account().duplicates
    );
    println!(
        "resident MiB: {:.1} before; draining {}; peak {:.1}",
        before.resident,
        procfs::tenths(&draining),
        procfs::memory(pid)?.peak
    );
    anyhow::ensure!(came == count as u64, "events were lost");
    Ok(())
}
