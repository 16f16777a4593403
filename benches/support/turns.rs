//! Turns over HTTP, as fast as events are acknowledged: what the benchmarks that compare rates have in
//! common. 64 connections with one event of 1 KiB outstanding on each, where nothing else is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::runtime::{Handle, Runtime};

use super::ledger::Ledger;
use super::load::{self, Load};
use super::stats::spread;
use super::{Result, WARM_UP, procfs, turn};

/// More events than any contender accepts in a second.
const CEILING: u64 = 250_000;

/// What generators and publishers run on: one thread.
pub(crate) fn generator() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(1).enable_all().build()?)
}

/// The samples of one contender, one a round.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Acknowledged a second.
    pub(crate) rates: Vec<f64>,
    /// Microseconds of its processor time for each that was acknowledged.
    pub(crate) cpu_us: Vec<f64>,
    /// Milliseconds until the acknowledgement, where they were measured.
    pub(crate) p50: Vec<f64>,
    pub(crate) p99: Vec<f64>,
}

impl Samples {
    /// The rate, as text.
    pub(crate) fn rate(&self) -> String {
        spread(&self.rates).text(0)
    }

    /// Takes one turn over HTTP, and gives its rate; the process is the one whose processor time counts.
    pub(crate) fn over_http(
        &mut self,
        on: &Handle,
        round: u64,
        load: &Load,
        pid: u32,
    ) -> Result<f64> {
        let seconds = turn().as_secs() + 3;
        let ledger = Arc::new(Ledger::new(round, (CEILING * seconds) as usize, None));
        let before = procfs::cpu_seconds(pid)?;
        let rate = load::measure(on, load, &ledger)?;
        let cpu = procfs::cpu_seconds(pid)? - before;
        let account = ledger.account();
        anyhow::ensure!(
            account.refused == 0,
            "{} events were refused, the last with {}",
            account.refused,
            account.refusal
        );
        let latencies = ledger.ack_latencies();
        self.rates.push(rate.acks);
        self.cpu_us.push(cpu * 1e6 / account.acked as f64);
        self.p50.push(latencies.quantile_ms(0.5));
        self.p99.push(latencies.quantile_ms(0.99));
        Ok(rate.acks)
    }

    /// Takes one turn of something else, and gives its rate too.
    pub(crate) fn other(&mut self, pid: u32, measure: impl FnOnce() -> Result<f64>) -> Result<f64> {
        let (rate, cpu_us) = costing(pid, measure)?;
        self.rates.push(rate);
        self.cpu_us.push(cpu_us);
        Ok(rate)
    }
}

/// The median of some samples with that many decimals, or a dash where there are none.
pub(crate) fn median(samples: &[f64], decimals: usize) -> String {
    match samples {
        [] => "-".to_owned(),
        samples => format!("{:.decimals$}", spread(samples).median),
    }
}

/// One turn that gives its rate, and the microseconds of that process for each.
pub(crate) fn costing(pid: u32, measure: impl FnOnce() -> Result<f64>) -> Result<(f64, f64)> {
    let before = procfs::cpu_seconds(pid)?;
    let rate = measure()?;
    let used = procfs::cpu_seconds(pid)? - before;
    let seconds = (turn() + WARM_UP).as_secs_f64();
    Ok((rate, used * 1e6 / (rate * seconds)))
}

/// Warms up, and then says by how much a counter grows in a second of a turn.
pub(crate) fn rate_of(counter: &AtomicU64) -> f64 {
    std::thread::sleep(WARM_UP);
    let (from, before) = (Instant::now(), counter.load(Relaxed));
    std::thread::sleep(turn());
    (counter.load(Relaxed) - before) as f64 / from.elapsed().as_secs_f64()
}
