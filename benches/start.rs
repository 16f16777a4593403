//! Size: how soon `heddle up` is ready, what it takes when idle, how big the binary is, and
//! whether memory stays flat while a backlog builds up and drains.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use support::ledger::Ledger;
use support::load::{self, Load};
use support::process::{BINARY, Heddle};
use support::procfs::{self, Memory};
use support::sink::Sink;
use support::stats::spread;
use support::{Result, http, turns};

const KIND: &str = "dev.heddle.benchmark.backlog";
const MIB: f64 = 1_048_576.0;

fn main() -> std::process::ExitCode {
    support::main(bench)
}

fn bench() -> Result<()> {
    println!("{}", procfs::machine());
    let only = std::env::var("HEDDLE_BENCH_PART").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    if wanted("size") {
        size()?;
    }
    if wanted("empty") {
        empty()?;
    }
    if wanted("idle") {
        idle()?;
    }
    if wanted("full") {
        full()?;
    }
    if wanted("backlog") {
        backlog()?;
    }
    Ok(())
}

fn size() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let stripped = dir.path().join("heddle");
    let tool = std::process::Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(BINARY)
        .status();
    print!(
        "binary: {:.1} MiB",
        std::fs::metadata(BINARY)?.len() as f64 / MIB
    );
    if tool.is_ok_and(|status| status.success()) {
        print!(
            ", stripped {:.1} MiB",
            std::fs::metadata(&stripped)?.len() as f64 / MIB
        );
    }
    println!();
    Ok(())
}

/// Starts on that directory, and waits until readiness says yes too. Milliseconds: to
/// `endpoints.json`, to `/readyz`.
fn start(data: &Path) -> Result<(Heddle, f64, f64)> {
    let from = Instant::now();
    let heddle = Heddle::start(data)?;
    while http::call(heddle.admin, "GET", "/readyz", "")?.0 != 200 {
        anyhow::ensure!(
            from.elapsed() < Duration::from_secs(60),
            "never ready: {}",
            heddle.said()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let ready = heddle.ready_after.as_secs_f64() * 1e3;
    Ok((heddle, ready, from.elapsed().as_secs_f64() * 1e3))
}

fn empty() -> Result<()> {
    let (mut files, mut ready, mut ends, mut resident) = (vec![], vec![], vec![], vec![]);
    for _ in 0..support::rounds().max(5) * 2 {
        let dir = tempfile::tempdir()?;
        let (mut heddle, file, yes) = start(&dir.path().join("data"))?;
        files.push(file);
        ready.push(yes);
        resident.push(procfs::memory(heddle.process.pid())?.resident);
        ends.push(heddle.process.terminate()?.as_secs_f64() * 1e3);
    }
    println!(
        "empty directory: ready after {} ms, /readyz after {} ms, ended {} ms after SIGTERM, \
         resident {:.1} MiB",
        spread(&files).text(1),
        spread(&ready).text(1),
        spread(&ends).text(1),
        spread(&resident).median
    );
    Ok(())
}

fn idle() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sink = Sink::start(true)?;
    let heddle = Heddle::start(&dir.path().join("data"))?;
    let pid = heddle.process.pid();
    for number in 0..100 {
        heddle.trigger(
            &format!("idle-{number}"),
            &format!("dev.heddle.idle.{number}"),
            sink.addr,
        )?;
    }
    std::thread::sleep(Duration::from_secs(2));
    let cpu = procfs::cpu_seconds(pid)?;
    std::thread::sleep(Duration::from_secs(5));
    let cpu = (procfs::cpu_seconds(pid)? - cpu) / 5.0;
    let Memory {
        resident,
        anonymous,
        peak,
    } = procfs::memory(pid)?;
    println!(
        "idle with 100 Triggers: resident {resident:.1} MiB (heap and stacks {anonymous:.1}, peak \
         {peak:.1}), {:.2} % of a core",
        cpu * 100.0
    );
    Ok(())
}

/// Publishes exactly that many events and returns how many a second were acknowledged.
fn fill(heddle: &Heddle, sink: &Sink, ledger: &Arc<Ledger>, data: usize) -> Result<f64> {
    sink.record(ledger);
    let load = Load {
        data,
        ..Load::new(heddle.ingress, "/default/default", KIND)
    };
    let generator = turns::generator()?;
    let from = Instant::now();
    let running = load::start(generator.handle(), &load, ledger);
    while !running.finished() {
        std::thread::sleep(Duration::from_millis(20));
    }
    running.stop(Duration::ZERO)?;
    let account = ledger.account();
    anyhow::ensure!(account.refused == 0, "{account:?}: {}", heddle.said());
    Ok(account.acked as f64 / from.elapsed().as_secs_f64())
}

fn full() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let sink = Sink::start(true)?;
    let mut heddle = Heddle::start(&data)?;
    let mut run = 0;
    while (procfs::disk_bytes(&data)? as f64) < 1024.0 * MIB || run == 0 {
        run += 1;
        let count = if run == 1 { 920_000 } else { 40_000 };
        fill(
            &heddle,
            &sink,
            &Arc::new(Ledger::new(run, count, None)),
            1024,
        )?;
        anyhow::ensure!(
            run < 40,
            "1 GiB of events does not stay in {}",
            data.display()
        );
    }
    println!(
        "log filled to {:.0} MiB",
        procfs::disk_bytes(&data)? as f64 / MIB
    );
    let (mut clean, mut crash) = (vec![], vec![]);
    for _ in 0..support::rounds() {
        heddle.process.terminate()?;
        let (next, _, ready) = start(&data)?;
        clean.push(ready);
        heddle = next;
        run += 1;
        fill(
            &heddle,
            &sink,
            &Arc::new(Ledger::new(run, 2_000, None)),
            1024,
        )?;
        heddle.process.kill()?;
        let (next, _, ready) = start(&data)?;
        crash.push(ready);
        heddle = next;
    }
    println!(
        "1 GiB of log (page cache warm): ready {} ms after a clean end, {} ms after kill -9; \
         resident {:.1} MiB",
        spread(&clean).text(0),
        spread(&crash).text(0),
        procfs::memory(heddle.process.pid())?.resident
    );
    Ok(())
}

fn backlog() -> Result<()> {
    let count = support::setting("HEDDLE_BENCH_BACKLOG", 1_000_000) as usize;
    let dir = tempfile::tempdir()?;
    let sink = Sink::start(false)?;
    let heddle = Heddle::start(&dir.path().join("data"))?;
    let pid = heddle.process.pid();
    heddle.trigger("backlog", KIND, sink.addr)?;
    let before = procfs::memory(pid)?;
    let ledger = Arc::new(Ledger::new(1, count, None));

    let stop = Arc::new(AtomicBool::new(false));
    let filling = procfs::sampler(pid, &stop);
    let rate = fill(&heddle, &sink, &ledger, 200)?;
    stop.store(true, Relaxed);
    let filling = filling.join().unwrap_or_default();
    println!(
        "backlog of {count} events of 200 B: accepted at {rate:.0}/s with a subscriber that hangs"
    );
    println!("  stats: {}", heddle.stats("backlog")?);

    let stop = Arc::new(AtomicBool::new(false));
    let draining = procfs::sampler(pid, &stop);
    let from = Instant::now();
    sink.open();
    ledger.await_arrivals(ledger.acks(), Duration::from_secs(15));
    let seconds = from.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    let draining = draining.join().unwrap_or_default();
    let account = ledger.account();
    println!(
        "  drained at {:.0}/s; {} acknowledged, {} lost, {} duplicates",
        ledger.arrivals() as f64 / seconds,
        account.acked,
        account.lost,
        account.duplicates
    );
    println!(
        "  resident MiB: {:.1} before; filling {}; draining {}",
        before.resident,
        procfs::tenths(&filling),
        procfs::tenths(&draining)
    );
    println!(
        "  peak {:.1} MiB; stats: {}",
        procfs::memory(pid)?.peak,
        heddle.stats("backlog")?
    );
    anyhow::ensure!(account.lost == 0, "events were lost");
    Ok(())
}
