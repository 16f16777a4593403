//! How fast events are made durable: `heddle up`, a bare hyper server that only answers 202, and
//! nats-server with JetStream files and `sync_interval: always`, in turns.
//!
//! 64 connections, one event of 1 KiB outstanding on each, no Trigger that matches. Every 202 of
//! the broker means that fdatasync has returned for the event; a second bare server does that much
//! and nothing else, which shows what the promise costs on this machine. The generator is one
//! thread on the same cores.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::bare::Role;
use support::ledger::Ledger;
use support::load::{self, Load};
use support::process::{Bare, Heddle, Nats};
use support::stats::{Latencies, ratio, spread};
use support::{Result, nats, procfs};
use tokio::runtime::Handle;

const CONNECTIONS: usize = 64;
const DATA: usize = 1024;
/// More events than any contender accepts in a second.
const CEILING: u64 = 250_000;

/// The samples of one contender, one a round.
#[derive(Default)]
struct Contender {
    rates: Vec<f64>,
    cpu_us: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Contender {
    fn print(&self, name: &str) {
        let latency = |samples: &[f64]| match samples {
            [] => "-".to_owned(),
            samples => format!("{:.2}", spread(samples).median),
        };
        println!(
            "| {name} | {} | {:.1} | {} | {} |",
            spread(&self.rates).text(0),
            spread(&self.cpu_us).median,
            latency(&self.p50),
            latency(&self.p99),
        );
    }
}

fn main() -> std::process::ExitCode {
    support::main(bench)
}

/// All contenders, and what the disk does by itself.
#[derive(Default)]
struct Field {
    bare: Contender,
    sync: Contender,
    heddle: Contender,
    nats_one: Contender,
    nats_many: Contender,
    disk: Vec<f64>,
}

impl Field {
    fn print(&self, nats: Option<&Nats>) {
        println!("\n| server | requests/s | CPU us/request | ack p50 ms | ack p99 ms |");
        println!("|---|---|---|---|---|");
        self.bare.print("bare hyper, 202 only");
        self.sync.print("bare hyper, 202 after a shared fdatasync");
        self.heddle.print("heddle up, durable");
        if let Some(Nats { version, .. }) = nats {
            let (one, many) = ("1 connection x 64", "64 connections x 1");
            self.nats_one
                .print(&format!("{version}, sync always, {one}"));
            self.nats_many
                .print(&format!("{version}, sync always, {many}"));
        }
        let to = |other: &[f64]| ratio(&self.heddle.rates, other);
        println!("\nheddle / bare hyper: {}", to(&self.bare.rates).text(2));
        println!(
            "heddle / bare hyper with a shared fdatasync: {}",
            to(&self.sync.rates).text(2)
        );
        if nats.is_some() {
            let both = self.nats_one.rates.iter().zip(&self.nats_many.rates);
            let best: Vec<f64> = both.map(|(one, many)| one.max(*many)).collect();
            println!(
                "heddle / nats (the better of the two): {}",
                to(&best).text(1)
            );
        }
        println!(
            "the disk alone, 64 KiB overwritten and synced: {} times a second",
            spread(&self.disk).text(0)
        );
    }
}

fn bench() -> Result<()> {
    println!("{}", procfs::machine());
    let generator = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let on = generator.handle();
    let dir = tempfile::tempdir()?;
    let bare = Bare::start(Role::Accept, None)?;
    let sync = Bare::start(Role::Sync, None)?;
    let heddle = Heddle::start(&dir.path().join("data"))?;
    let nats = Nats::start(dir.path())?;
    match &nats {
        Some(nats) => nats::create_stream(on, nats.addr)?,
        None => println!("nats-server was not found (PATH, or NATS_SERVER): left out"),
    }

    let mut field = Field::default();
    for round in 1..=support::rounds() {
        field.disk.push(disk_floor(dir.path())?);
        for (addr, process, into) in [
            (bare.addr, &bare.process, &mut field.bare),
            (sync.addr, &sync.process, &mut field.sync),
            (heddle.ingress, &heddle.process, &mut field.heddle),
        ] {
            turn(on, round, &load_for(addr), process.pid(), into)?;
        }
        if let Some(nats) = &nats {
            nats_turn(on, nats, (1, CONNECTIONS), &mut field.nats_one)?;
            nats_turn(on, nats, (CONNECTIONS, 1), &mut field.nats_many)?;
        }
    }
    field.print(nats.as_ref());
    println!(
        "heddle memory, MiB: {:?}",
        procfs::memory(heddle.process.pid())?
    );
    Ok(())
}

/// How often a second one thread can overwrite 64 KiB of a written file and sync it: no broker on
/// this disk commits more groups of that size.
fn disk_floor(dir: &Path) -> Result<f64> {
    let file = File::create(dir.join("floor"))?;
    let (slots, block) = (256, vec![0xA5_u8; 64 << 10]);
    for slot in 0..slots {
        file.write_all_at(&block, slot * block.len() as u64)?;
    }
    file.sync_all()?;
    let (from, mut count) = (Instant::now(), 0_u64);
    while from.elapsed() < Duration::from_millis(700) {
        file.write_all_at(&block, (count % slots) * block.len() as u64)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / from.elapsed().as_secs_f64())
}

fn load_for(addr: std::net::SocketAddr) -> Load {
    Load {
        addr,
        path: "/default/default".to_owned(),
        kind: "dev.heddle.benchmark.ingest".to_owned(),
        data: DATA,
        connections: CONNECTIONS,
    }
}

fn turn(on: &Handle, round: u64, load: &Load, pid: u32, into: &mut Contender) -> Result<()> {
    let seconds = support::turn().as_secs() + 3;
    let ledger = Arc::new(Ledger::new(round, (CEILING * seconds) as usize, None));
    let before = procfs::cpu_seconds(pid)?;
    let rate = load::measure(on, load, &ledger, support::turn())?;
    let cpu = procfs::cpu_seconds(pid)? - before;
    let account = ledger.account();
    anyhow::ensure!(
        account.refused == 0,
        "{} events were refused, the last with {}",
        account.refused,
        account.refusal
    );
    let latencies: Latencies = ledger.ack_latencies();
    into.rates.push(rate.acks);
    into.cpu_us.push(cpu * 1e6 / account.acked as f64);
    into.p50.push(latencies.quantile_ms(0.5));
    into.p99.push(latencies.quantile_ms(0.99));
    println!("round {round}: {} {:.0}/s", load.addr, rate.acks);
    Ok(())
}

fn nats_turn(on: &Handle, nats: &Nats, shape: (usize, usize), into: &mut Contender) -> Result<()> {
    let pid = nats.process.pid();
    let before = procfs::cpu_seconds(pid)?;
    let rate = nats::measure(on, nats.addr, shape, support::turn())?;
    let seconds = (support::turn() + support::WARM_UP).as_secs_f64();
    into.cpu_us
        .push((procfs::cpu_seconds(pid)? - before) * 1e6 / (rate * seconds));
    into.rates.push(rate);
    println!("nats {shape:?}: {rate:.0}/s");
    Ok(())
}
