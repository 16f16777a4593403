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
use std::time::{Duration, Instant};

use support::bare::Role;
use support::load::{CONNECTIONS, Load};
use support::process::{Bare, Heddle, Nats};
use support::stats::{ratio, spread};
use support::turns::{Samples, median};
use support::{Result, nats, procfs, turns};

const KIND: &str = "dev.heddle.benchmark.ingest";

fn print(contender: &Samples, name: &str) {
    println!(
        "| {name} | {} | {} | {} | {} |",
        contender.rate(),
        median(&contender.cpu_us, 1),
        median(&contender.p50, 2),
        median(&contender.p99, 2),
    );
}

fn main() -> std::process::ExitCode {
    support::main(bench)
}

/// All contenders, and what the disk does by itself.
#[derive(Default)]
struct Field {
    bare: Samples,
    sync: Samples,
    heddle: Samples,
    nats_one: Samples,
    nats_many: Samples,
    disk: Vec<f64>,
}

impl Field {
    fn print(&self, nats: Option<&Nats>) {
        println!("\n| server | requests/s | CPU us/request | ack p50 ms | ack p99 ms |");
        println!("|---|---|---|---|---|");
        print(&self.bare, "bare hyper, 202 only");
        print(&self.sync, "bare hyper, 202 after a shared fdatasync");
        print(&self.heddle, "heddle up, durable");
        if let Some(Nats { version, .. }) = nats {
            let (one, many) = ("1 connection x 64", "64 connections x 1");
            for (contender, shape) in [(&self.nats_one, one), (&self.nats_many, many)] {
                print(contender, &format!("{version}, sync always, {shape}"));
            }
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
    let generator = turns::generator()?;
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
            let load = Load::new(addr, "/default/default", KIND);
            let rate = into.over_http(on, round, &load, process.pid())?;
            println!("round {round}: {addr} {rate:.0}/s");
        }
        let Some(nats) = &nats else { continue };
        for (shape, into) in [
            ((1, CONNECTIONS), &mut field.nats_one),
            ((CONNECTIONS, 1), &mut field.nats_many),
        ] {
            let measure = || nats::measure(on, nats.addr, shape);
            let rate = into.other(nats.process.pid(), measure)?;
            println!("round {round}: nats {shape:?} {rate:.0}/s");
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
