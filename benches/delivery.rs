//! One durable publish with one delivery, end to end: generator, broker and subscriber share the
//! cores of one machine, and every event is looked for at the subscriber.
//!
//! First as fast as it goes (closed loop, 64 connections, at most 2,048 events undelivered), then
//! at 1,000 events a second (open loop, latency from when an event was due; beside it, how late a
//! thread is woken that does nothing but sleep). Contenders in turns:
//! a relay that does the same HTTP from memory and stores nothing, `heddle up` with one Trigger,
//! and `heddle up` with ten Triggers of which one matches.
//!
//! `HEDDLE_BENCH_PART=triggers` compares one Trigger with ten thousand of which one matches instead,
//! as fast as it goes: two processes, in turns.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::bare::Role;
use support::ledger::{Account, Ledger};
use support::load::{self, CONNECTIONS, Load};
use support::pauses::Pauses;
use support::process::{Bare, Heddle};
use support::sink::Sink;
use support::stats::{Latencies, ratio, spread};
use support::{Result, procfs};

const WINDOW: usize = 2048;
const CEILING: u64 = 150_000;
const KIND: &str = "dev.heddle.benchmark.delivery";
/// Events a second of the open loop.
const RATE: u64 = 1_000;

/// One contender, with its samples, one a round.
struct Contender {
    name: &'static str,
    addr: SocketAddr,
    pid: u32,
    path: &'static str,
    delivered: Vec<f64>,
    cpu_us: Vec<f64>,
    resident: f64,
    acks: [Vec<f64>; 3],
    arrivals: [Vec<f64>; 3],
    pauses: [Vec<f64>; 3],
    total: Account,
}

const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

impl Contender {
    fn new(name: &'static str, addr: SocketAddr, pid: u32, path: &'static str) -> Self {
        Self {
            name,
            addr,
            pid,
            path,
            delivered: Vec::new(),
            cpu_us: Vec::new(),
            resident: 0.0,
            acks: Default::default(),
            arrivals: Default::default(),
            pauses: Default::default(),
            total: Account::default(),
        }
    }

    fn load(&self, connections: usize) -> Load {
        Load {
            connections,
            ..Load::new(self.addr, self.path, KIND)
        }
    }

    fn book(&mut self, account: Account) {
        self.total.acked += account.acked;
        self.total.lost += account.lost;
        self.total.duplicates += account.duplicates;
        self.total.foreign += account.foreign;
        self.total.refused += account.refused;
        self.total.refusal = self.total.refusal.max(account.refusal);
    }
}

fn main() -> std::process::ExitCode {
    support::main(bench)
}

fn bench() -> Result<()> {
    println!("{}", procfs::machine());
    if std::env::var("HEDDLE_BENCH_PART").is_ok_and(|part| part == "triggers") {
        return many_triggers();
    }
    let dir = tempfile::tempdir()?;
    let sink = Sink::start(true)?;
    let relay = Bare::start(Role::Relay, Some(sink.addr))?;
    let one = heddle(&dir.path().join("one"), 1, sink.addr)?;
    let ten = heddle(&dir.path().join("ten"), 10, sink.addr)?;
    let mut contenders = [
        Contender::new("relay, from memory", relay.addr, relay.process.pid(), "/"),
        Contender::new(
            "heddle, 1 Trigger",
            one.ingress,
            one.process.pid(),
            "/default/default",
        ),
        Contender::new(
            "heddle, 10 Triggers, 1 matches",
            ten.ingress,
            ten.process.pid(),
            "/default/default",
        ),
    ];
    let mut run = 0;
    for round in 1..=support::rounds() {
        for contender in &mut contenders {
            run += 1;
            let rate = closed(contender, &sink, run)?;
            println!("round {round}: {}: {rate:.0} delivered/s", contender.name);
        }
    }
    for round in 1..=support::rounds() {
        for contender in &mut contenders {
            run += 1;
            let text = open(contender, &sink, run)?;
            println!("round {round}: {} at {RATE}/s: {text}", contender.name);
        }
    }
    report(&contenders);
    for contender in &contenders {
        anyhow::ensure!(contender.total.lost == 0, "{} lost events", contender.name);
    }
    Ok(())
}

/// What ten thousand Triggers cost that do not want an event.
fn many_triggers() -> Result<()> {
    const MANY: usize = 10_000;
    let dir = tempfile::tempdir()?;
    let sink = Sink::start(true)?;
    let one = heddle(&dir.path().join("one"), 1, sink.addr)?;
    let many = heddle(&dir.path().join("many"), 1, sink.addr)?;
    let from = Instant::now();
    many.other_triggers(MANY - 1, sink.addr)?;
    println!(
        "{MANY} Triggers ready after {:.1} s",
        from.elapsed().as_secs_f64()
    );
    let contender =
        |name, of: &Heddle| Contender::new(name, of.ingress, of.process.pid(), "/default/default");
    let mut contenders = [
        contender("1 Trigger", &one),
        contender("10,000 Triggers, 1 matches", &many),
    ];
    for round in 0..support::rounds() {
        // Whoever comes second finds another machine: both come first in turns.
        for at in 0..contenders.len() as u64 {
            let which = ((round + at) % 2) as usize;
            let rate = closed(&mut contenders[which], &sink, round * 2 + at + 1)?;
            println!(
                "round {}: {}: {rate:.0} delivered/s",
                round + 1,
                contenders[which].name
            );
        }
    }
    println!(
        "\n| | delivered/s | time an event, of 1 Trigger's | CPU us/event | of 1 Trigger's | peak MiB |"
    );
    println!("|---|---|---|---|---|---|");
    let [first, _] = &contenders;
    for contender in &contenders {
        let Contender { name, total, .. } = contender;
        println!(
            "| {name} | {} | {} | {:.1} | {} | {:.0} |",
            spread(&contender.delivered).text(0),
            ratio(&first.delivered, &contender.delivered).text(3),
            spread(&contender.cpu_us).median,
            ratio(&contender.cpu_us, &first.cpu_us).text(3),
            contender.resident,
        );
        anyhow::ensure!(total.lost == 0, "{name} lost events");
    }
    Ok(())
}

/// A broker with that many Triggers, of which the first matches.
fn heddle(data: &Path, triggers: usize, sink: SocketAddr) -> Result<Heddle> {
    let heddle = Heddle::start(data)?;
    heddle.trigger("bench-0", KIND, sink)?;
    for number in 1..triggers {
        heddle.trigger(
            &format!("bench-{number}"),
            &format!("dev.heddle.other.{number}"),
            sink,
        )?;
    }
    Ok(heddle)
}

/// One turn as fast as it goes; returns the events delivered a second.
fn closed(contender: &mut Contender, sink: &Sink, run: u64) -> Result<f64> {
    let seconds = support::turn().as_secs() + 3;
    let ledger = Arc::new(Ledger::new(run, (CEILING * seconds) as usize, Some(WINDOW)));
    sink.record(&ledger);
    let before = procfs::cpu_seconds(contender.pid)?;
    let load = contender.load(CONNECTIONS);
    let rate = load::measure(sink.handle(), &load, &ledger)?;
    drain(&ledger);
    let cpu = procfs::cpu_seconds(contender.pid)? - before;
    contender.delivered.push(rate.arrivals);
    contender.cpu_us.push(cpu * 1e6 / ledger.arrivals() as f64);
    contender.resident = procfs::memory(contender.pid)?.peak;
    contender.book(ledger.account());
    Ok(rate.arrivals)
}

/// One turn at [`RATE`]; returns the latencies as text.
fn open(contender: &mut Contender, sink: &Sink, run: u64) -> Result<String> {
    let count = support::setting("HEDDLE_BENCH_OPEN_SECONDS", 5) * RATE;
    let ledger = Arc::new(Ledger::new(run, count as usize, None));
    sink.record(&ledger);
    // What other processes have left for the kernel to write would come between: every few seconds it
    // writes such pages to the same disk, and a sync of the log waits behind them.
    rustix::fs::sync();
    let pauses = Pauses::watch();
    load::open_loop(&contender.load(16), &ledger, RATE as f64, count as usize)?;
    drain(&ledger);
    let (acks, arrivals) = (ledger.ack_latencies(), ledger.arrival_latencies());
    let pauses = pauses.finish()?;
    keep(&mut contender.acks, &acks);
    keep(&mut contender.arrivals, &arrivals);
    keep(&mut contender.pauses, &pauses);
    contender.book(ledger.account());
    Ok(format!(
        "ack {} ms, end to end {} ms; a sleeping thread was late by {} ms",
        acks.text(),
        arrivals.text(),
        pauses.text()
    ))
}

/// Adds a round's quantiles to those of the rounds before.
fn keep(samples: &mut [Vec<f64>; 3], round: &Latencies) {
    for (samples, quantile) in samples.iter_mut().zip(QUANTILES) {
        samples.push(round.quantile_ms(quantile));
    }
}

/// Waits until all that was acknowledged has arrived, or nothing has for five seconds.
fn drain(ledger: &Ledger) {
    ledger.await_arrivals(ledger.acks(), Duration::from_secs(5));
}

fn report(contenders: &[Contender]) {
    println!(
        "\n| as fast as it goes | delivered/s | of the relay | CPU us/event | peak memory MiB |"
    );
    println!("|---|---|---|---|---|");
    for contender in contenders {
        println!(
            "| {} | {} | {} | {:.1} | {:.0} |",
            contender.name,
            spread(&contender.delivered).text(0),
            ratio(&contender.delivered, &contenders[0].delivered).text(2),
            spread(&contender.cpu_us).median,
            contender.resident,
        );
    }
    println!("\n| at {RATE}/s, ms | ack p50 | p99 | p99.9 | end to end p50 | p99 | p99.9 |");
    println!("|---|---|---|---|---|---|---|");
    for contender in contenders {
        let cells = contender.acks.iter().chain(&contender.arrivals);
        let cells: Vec<String> = cells.map(|samples| spread(samples).text(2)).collect();
        println!("| {} | {} |", contender.name, cells.join(" | "));
    }
    println!("\n| meanwhile, a thread that only sleeps was late by, ms | p50 | p99 | p99.9 |");
    println!("|---|---|---|---|");
    for contender in contenders {
        let cells = contender.pauses.iter();
        let cells: Vec<String> = cells.map(|samples| spread(samples).text(2)).collect();
        println!("| {} | {} |", contender.name, cells.join(" | "));
    }
    println!("\n| all turns | acknowledged | lost | duplicates | foreign | refused |");
    println!("|---|---|---|---|---|---|");
    for Contender { name, total, .. } in contenders {
        println!(
            "| {name} | {} | {} | {} | {} | {} |",
            total.acked, total.lost, total.duplicates, total.foreign, total.refused
        );
    }
}
