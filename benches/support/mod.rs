//! What the benchmarks share: a load generator and a subscriber that cost little, a record of
//! every event, the processes under test, and the figures.
//!
//! Generator and subscriber speak HTTP/1.1 on raw sockets, because they run on the same cores as
//! what they measure: each microsecond that they take is taken from the broker. Contenders are
//! measured in turns within one run, and the figure to quote is their ratio: another program on
//! the machine then disturbs all of them alike.
//!
//! Each benchmark uses a part of this module.

#![allow(dead_code)]

pub(crate) mod bare;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod nats;
pub(crate) mod pauses;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod sink;
pub(crate) mod stats;
pub(crate) mod turns;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What goes wrong ends the benchmark with its message.
pub(crate) type Result<T> = anyhow::Result<T>;

/// Nanoseconds since this process first asked. Starts at 1, so that 0 can mean "never".
pub(crate) fn now_ns() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    u64::try_from(EPOCH.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX) + 1
}

/// A number from the environment, or its default.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Rounds in which the contenders take turns (`HEDDLE_BENCH_ROUNDS`).
pub(crate) fn rounds() -> u64 {
    setting("HEDDLE_BENCH_ROUNDS", 5)
}

/// How long each turn is measured, after its warm-up (`HEDDLE_BENCH_SECONDS`).
pub(crate) fn turn() -> Duration {
    Duration::from_secs(setting("HEDDLE_BENCH_SECONDS", 3))
}

/// How long each turn runs before it is measured.
pub(crate) const WARM_UP: Duration = Duration::from_millis(700);

/// Runs a benchmark, unless this is a child of one, or the test harness looking for tests.
pub(crate) fn main(bench: fn() -> Result<()>) -> std::process::ExitCode {
    let outcome = match bare::role() {
        Some(role) => bare::run(role),
        None if std::env::args().any(|argument| argument == "--bench") => bench(),
        None => {
            println!("this is a benchmark: run it with `cargo bench`");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
